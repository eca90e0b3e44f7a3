/* rlhfctl: the person's hand on a run, its daemons, labels and models. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rlhfctl/ctl.h"

static const struct ctl_command commands[] = {
    {"up", "FILE", "starts all daemons of a run on this host, shows them, stops them", ctl_up},
    {"status", "FILE | ENDPOINT...", "asks running daemons what they do", ctl_status},
    {"resume", "FILE", "goes on with a stage that its watch paused", ctl_resume},
    {"events", "FILE", "prints a TensorBoard event file as JSON", ctl_events},
    {"generate", "--model DIR [PROMPT]", "completes a prompt with a model on disk", ctl_generate},
    {"eval", "--model DIR --suite ...", "how well a model does on published sets of questions", ctl_eval},
    {"sample", "probs", "the probabilities that given logits lead to", ctl_sample},
    {"label", "import | export | ...", "brings comparisons in and out of the label-collector", ctl_label},
    {"token", "add | list | revoke", "who may use the label-collector", ctl_token},
    {"trace", "label", "follows what a run was made of", ctl_trace},
    {"report", "DIR [-o FILE]", "what came of a run, as one HTML page", ctl_report},
    {"keys", "new | public", "makes and shows keys for daemons on other hosts", ctl_keys},
    {"tokenizer", "train | encode | decode", "learns and applies a tokenizer", ctl_tokenizer},
    {"model", "inspect | convert | ...", "looks into model directories, writes them anew, runs them", ctl_model},
    {0}};

int main(int argc, char **argv)
{
    struct rlhf_error err = {0};

    setlocale(LC_ALL, "C.UTF-8");
    if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        puts("rlhfctl " RLHF_VERSION);
        return EXIT_SUCCESS;
    }
    if (ctl_dispatch("rlhfctl", "Runs, watches and uses rlhfd.", commands, argc, argv, &err) == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "rlhfctl: %s\n", err.text);
    return EXIT_FAILURE;
}
