/* rlhf-kingdom: the quickstart's world - its texts, its simulated labeler, its judge. */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hack.h"
#include "labeler.h"
#include "make.h"
#include "report.h"
#include "service.h"

const char *argp_program_version = "rlhf-kingdom " RLHF_VERSION;

static volatile int stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

struct arguments {
    uint64_t seed;
    uint64_t port;
    const char *out, *world, *run;
    struct kingdom_labeler_options labeler;
    bool check;
};

static uint64_t parse_number(struct argp_state *state, const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*end || end == text || text[0] == '-')
        argp_error(state, "'%s' is not a number", text);
    return value;
}

enum { KEY_ADDRESS_FILE = 256, KEY_NO_NOISE, KEY_UNTIL_IDLE, KEY_STATS, KEY_CHECK, KEY_PORT };

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *a = state->input;

    switch (key) {
    case 's':
        a->seed = parse_number(state, text);
        break;
    case 'o':
        a->out = text;
        break;
    case 'w':
        a->world = text;
        break;
    case 'd':
        a->run = text;
        break;
    case 'u':
        a->labeler.url = text;
        break;
    case 'r':
        a->labeler.round = text;
        break;
    case 'n':
        a->labeler.name = text;
        break;
    case 'c':
        a->labeler.count = parse_number(state, text);
        break;
    case KEY_ADDRESS_FILE:
        a->labeler.address_file = text;
        break;
    case KEY_NO_NOISE:
        a->labeler.noise = false;
        break;
    case KEY_UNTIL_IDLE:
        a->labeler.idle_seconds = (double)parse_number(state, text);
        break;
    case KEY_STATS:
        a->labeler.stats = text;
        break;
    case KEY_PORT:
        if ((a->port = parse_number(state, text)) > 65535)
            argp_error(state, "'%s' is not a port", text);
        break;
    case KEY_CHECK:
        a->check = true;
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected here", text);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- the commands ------------------------------------------------------------------------------------ */

static const struct argp_option make_options[] = {{"seed", 's', "N", 0, "which kingdom (default 1)", 0},
                                                  {"out", 'o', "DIR", 0, "where to (default world)", 0},
                                                  {0}};

static int run_make(const struct arguments *a, struct rlhf_error *err)
{
    struct kingdom_world w;

    kingdom_world_make(&w, a->seed);
    if (kingdom_make(&w, &kingdom_default_sizes, a->out, err) < 0)
        return -1;
    printf("The kingdom of seed %llu is in %s. Held out of all training prompts:",
           (unsigned long long)a->seed, a->out);
    for (size_t i = 0; i < KINGDOM_TOWNS; i++)
        if (w.held_out[i])
            printf(" %s", kingdom_towns[i]);
    printf(".\n");
    return 0;
}

static const struct argp_option label_options[] = {
    {"world", 'w', "FILE", 0, "the kingdom's world.json (default world/world.json)", 0},
    {"url", 'u', "URL", 0, "the label-collector (default http://127.0.0.1:8477)", 0},
    {"address-file", KEY_ADDRESS_FILE, "FILE", 0,
     "read the URL from FILE (the collector's http_address_file)", 0},
    {"round", 'r', "NAME", 0, "label this round's tasks only", 0},
    {"labeler", 'n', "NAME", 0, "under which name to label (default simulated)", 0},
    {"no-noise", KEY_NO_NOISE, 0, 0, "judge without a person's noise", 0},
    {"count", 'c', "N", 0, "stop after N labels", 0},
    {"until-idle", KEY_UNTIL_IDLE, "SECONDS", 0, "stop when no task came for so long", 0},
    {"stats", KEY_STATS, "FILE", 0, "keep in FILE how often a perfect judge agrees with the labels", 0},
    {0}};

static int run_label(const struct arguments *a, struct rlhf_error *err)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct kingdom_labeler_options options = a->labeler;
    struct kingdom_world w;

    if (!options.url && !options.address_file)
        options.url = "http://127.0.0.1:8477";
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    return kingdom_world_read(&w, a->world, err) < 0 || kingdom_label(&w, &options, &stop, err) < 0 ? -1 : 0;
}

static const struct argp_option report_options[] = {
    {"world", 'w', "FILE", 0, "the kingdom's world.json (default world/world.json)", 0},
    {"run", 'd', "DIR", 0, "the finished run (default runs/quickstart)", 0},
    {"check", KEY_CHECK, 0, 0,
     "also check what the recipe promises of any seed; status 1 when a clause fails", 0},
    {0}};

static int run_report(const struct arguments *a, struct rlhf_error *err)
{
    static struct kingdom_report report; /* large */
    struct kingdom_world w;
    unsigned failed = 0;

    if (kingdom_world_read(&w, a->world, err) < 0 || kingdom_report_make(&report, &w, a->run, err) < 0 ||
        kingdom_report_write(&report, a->run, err) < 0)
        return -1;
    kingdom_report_print(&report, a->run, stdout);
    if (a->check && (failed = kingdom_report_check(&report, stdout)) > 0)
        return rlhf_fail(err, RLHF_REJECT, "%u of the demands fail", failed);
    return 0;
}

static const struct argp_option judge_options[] = {
    {"world", 'w', "FILE", 0, "the kingdom's world.json (default world/world.json)", 0},
    {"port", KEY_PORT, "N", 0, "on 127.0.0.1 (default 0: any free one)", 0},
    {"address-file", KEY_ADDRESS_FILE, "FILE", 0, "write the URL into FILE", 0},
    {0}};

static int run_judge(const struct arguments *a, struct rlhf_error *err)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct kingdom_world w;

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    return kingdom_world_read(&w, a->world, err) < 0
               ? -1
               : kingdom_serve_judge(&w, (unsigned)a->port, a->labeler.address_file, &stop, err);
}

static const struct argp_option hack_options[] = {
    {"run", 'd', "DIR", 0, "the run of deploy/quickstart.sh --hack (default runs/hack)", 0},
    {"check", KEY_CHECK, 0, 0, "status 1 when it does not show what it is for", 0},
    {0}};

static int run_hack(const struct arguments *a, struct rlhf_error *err)
{
    return kingdom_hack_print(a->run, a->check, stdout, err);
}

static const struct command {
    const char *name, *does;
    const struct argp_option *options;
    int (*run)(const struct arguments *a, struct rlhf_error *err);
} commands[] = {
    {"make", "Writes the kingdom's texts, prompts and exercises into a directory.", make_options, run_make},
    {"label", "Labels tasks of the label-collector as a person with the judge's taste would.", label_options,
     run_label},
    {"report", "Judges a finished run's answers, prints the table, writes report.json.", report_options,
     run_report},
    {"judge", "Answers as a reward service: what the judge thinks of answers, without noise.", judge_options, run_judge},
    {"hack", "Shows how the score of a hacked reward model rose and the judge's fell.", hack_options, run_hack},
};

static int usage(FILE *out)
{
    fprintf(out, "Usage: rlhf-kingdom COMMAND [OPTION...]\n\nThe quickstart's world: a tiny kingdom in which "
                 "the whole RLHF recipe "
                 "shows.\n\n");
    for (size_t i = 0; i < KINGDOM_COUNT(commands); i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].does);
    fprintf(out, "\n`rlhf-kingdom COMMAND --help` lists its options.\n");
    return out == stdout ? EXIT_SUCCESS : 64;
}

int main(int argc, char **argv)
{
    struct arguments a = {.seed = 1,
                          .out = "world",
                          .world = "world/world.json",
                          .run = "runs/quickstart",
                          .labeler = {.name = "simulated", .noise = true}};
    struct rlhf_error err = {0};
    char name[64];

    if (argc < 2)
        return usage(stderr);
    if (strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    if (strcmp(argv[1], "--version") == 0) {
        puts(argp_program_version);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < KINGDOM_COUNT(commands); i++) {
        const struct argp parser = {commands[i].options, parse, NULL, commands[i].does, NULL, NULL, NULL};
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        snprintf(name, sizeof name, "rlhf-kingdom %s", commands[i].name);
        argv[1] = name;
        argp_parse(&parser, argc - 1, argv + 1, 0, NULL, &a);
        if (commands[i].run(&a, &err) == 0)
            return EXIT_SUCCESS;
        fprintf(stderr, "rlhf-kingdom: %s\n", err.text);
        return EXIT_FAILURE;
    }
    fprintf(stderr, "rlhf-kingdom: there is no command '%s'\n", argv[1]);
    return usage(stderr);
}
