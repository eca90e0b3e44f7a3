#include "config/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/suite.h"

#define HEAD "run: {name: t, seed: 7}\ntokenizer: {train: {files: [a.txt]}}\nstages:\n"
#define PRETRAIN "  - pretrain: {name: pre, data: [a.txt], epochs: 1}\n"

static int parse(struct rlhf_run *run, const char *text, struct rlhf_error *err)
{
    return rlhf_run_parse(run, text, strlen(text), "t.yaml", err);
}

static void refused(const char *text, const char *part, const char *other)
{
    struct rlhf_run run;
    struct rlhf_error err = {0};

    ck_assert_msg(parse(&run, text, &err) < 0, "accepted: %s", text);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, part);
    expect_contains(err.text, other);
}

START_TEST(the_example_in_the_header_is_a_run_file)
{
    const char *source = getenv("RLHF_SOURCE");
    static char header[1 << 16], text[1 << 15];
    char path[1000], *line, *at;
    struct rlhf_run run;
    struct rlhf_error err = {0};
    FILE *f;

    snprintf(path, sizeof path, "%s/common/config/run.h", source ? source : ".");
    if (!(f = fopen(path, "r")))
        skip("%s is not there", path);
    header[fread(header, 1, sizeof header - 1, f)] = '\0';
    fclose(f);
    at = strstr(header, " *   run:");
    ck_assert_ptr_nonnull(at);
    while ((line = strsep(&at, "\n")) && strncmp(line, " * A stage", 10) != 0) {
        if (strlen(line) > 5)
            strcat(text, line + 5);
        strcat(text, "\n");
    }
    expect_ok(parse(&run, text, &err), err);
    ck_assert_uint_eq(rlhf_run_stages(&run), 6);
    ck_assert_str_eq(run.run.dir, "runs/quickstart");
    ck_assert_str_eq(run.learner.listen, "ipc://runs/quickstart/learner.sock");
    ck_assert_double_eq_tol(rlhf_run_stage(&run, 1)->sft->mix.weight, 0.5, 1e-12);
    ck_assert_double_eq_tol(rlhf_run_stage(&run, 4)->policy->kl_coefficient, 0.2, 1e-12);
    ck_assert_double_eq_tol(rlhf_run_stage(&run, 4)->policy->gae_lambda, 0.95, 1e-12);
    ck_assert_int_eq(rlhf_run_stage(&run, 0)->pretrain->optimizer.schedule, RLHF_RUN_COSINE);
    ck_assert_str_eq(rlhf_stage_from(&run, 1), "pretrained");
    rlhf_run_free(&run);
}
END_TEST

START_TEST(a_stage_without_from_starts_from_the_last_policy)
{
    struct rlhf_run run;
    struct rlhf_error err = {0};

    expect_ok(parse(&run,
                    HEAD PRETRAIN "  - sft: {name: s, data: [d.jsonl], steps: 3}\n"
                                  "  - collect: {name: c, want: 5}\n"
                                  "  - reward: {name: r, rounds: [c]}\n"
                                  "  - policy: {name: p, reward_model: r, prompts: q.jsonl}\n",
                    &err),
              err);
    ck_assert_ptr_null(rlhf_stage_from(&run, 0));
    ck_assert_str_eq(rlhf_stage_from(&run, 3), "s");
    ck_assert_str_eq(rlhf_stage_from(&run, 4), "s");
    ck_assert_int_eq(rlhf_run_find(&run, "r"), 3);
    ck_assert_int_eq(rlhf_run_find(&run, "x"), -1);
    ck_assert_int_eq(rlhf_stage_kind(rlhf_run_stage(&run, 4)), RLHF_STAGE_POLICY);
    rlhf_run_free(&run);
}
END_TEST

START_TEST(a_key_of_another_kind_is_refused_with_its_name)
{
    refused(HEAD "  - pretrain: {name: pre, data: [a.txt], epochs: 1, kl_coefficient: 1}\n", "kl_coefficient",
            "t.yaml");
    refused(HEAD PRETRAIN "  - collect: {name: c, want: 5, epochs: 2}\n", "epochs", "t.yaml");
}
END_TEST

START_TEST(references_must_name_earlier_stages_of_the_right_kind)
{
    refused(HEAD PRETRAIN "  - sft: {name: s, from: nobody, data: [d], steps: 1}\n", "nobody",
            "stage 2 (sft): from");
    refused(HEAD PRETRAIN "  - policy: {name: p, reward_model: pre, prompts: q}\n", "reward_model",
            "pretrain stage");
    refused(HEAD PRETRAIN "  - reward: {name: r, rounds: [pre]}\n", "rounds", "a collect stage");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [later], prompts: [{name: a, file: b}]}\n",
            "policies", "later");
}
END_TEST

START_TEST(names_are_unique_and_can_be_directories)
{
    refused(HEAD PRETRAIN PRETRAIN, "stage 2", "'pre'");
    refused(HEAD "  - pretrain: {name: ../x, data: [a], epochs: 1}\n", "name", "directory");
}
END_TEST

START_TEST(what_the_table_cannot_say_is_checked)
{
    refused(HEAD "  - pretrain: {name: pre, data: [a]}\n", "steps, epochs, tokens", "exactly one");
    refused(HEAD "  - pretrain: {name: pre, data: [a], steps: 1, epochs: 1}\n", "steps, epochs, tokens",
            "exactly one");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], samples: 4}\n", "prompts", "missing");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, samples: 1}\n", "samples",
            "2 or more");
    refused(HEAD PRETRAIN "  - collect: {name: c}\n", "want", "imported");
    refused(HEAD PRETRAIN "  - sft: {name: s, data: [d], steps: 1, mix: {weight: 1}}\n", "mix.data",
            "missing");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [pre]}\n", "prompts, perplexity, exact",
            "nothing");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {max_new_tokens: 4, "
            "min_new_tokens: 5}}\n", "sampling.min_new_tokens", "max_new_tokens");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {stop: [\"\"]}}\n",
            "sampling.stop", "empty");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {min_p: 1.5}}\n", "min_p",
            "1");
    refused("tokenizer: {load: a, train: {files: [b]}}\nstages:\n" PRETRAIN, "tokenizer", "keep one");
    refused("stages:\n" PRETRAIN, "tokenizer", "needs load");
    refused(HEAD "  - pretrain: {name: pre, data: [a], epochs: 1}\n    sft: {name: s, data: [d], steps: 1}\n",
            "exactly one", "2");
}
END_TEST

START_TEST(an_empty_list_of_stages_is_refused)
{
    refused("tokenizer: {load: a}\nstages: []\n", "stages", "t.yaml");
    refused("tokenizer: {load: a}\n", "stages", "t.yaml");
}
END_TEST

int main(void)
{
    return RUN_SUITE(
        "config/run", the_example_in_the_header_is_a_run_file,
        a_stage_without_from_starts_from_the_last_policy, a_key_of_another_kind_is_refused_with_its_name,
        references_must_name_earlier_stages_of_the_right_kind, names_are_unique_and_can_be_directories,
        what_the_table_cannot_say_is_checked, an_empty_list_of_stages_is_refused);
}
