/* status - asks running daemons what they do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "config/run.h"
#include "rlhfctl/ctl.h"
#include "rlhfctl/link.h"
#include "rlhfctl/screen.h"

enum { MAX_DAEMONS = 32, TURN_MS = 50, KEY_KEY = 256, KEY_PEERS };

struct status_options {
    const char *arguments[MAX_DAEMONS];
    size_t count;
    double seconds;
    const char *key, *peers;
};

struct asked {
    char name[80], endpoint[300];
    Rlhf__V1__Role role;
    struct ctl_link *link;
};

static void add(struct asked *list, size_t *count, Rlhf__V1__Role role, const char *name,
                const char *endpoint)
{
    struct asked *a = &list[*count];

    if (*count == MAX_DAEMONS)
        return;
    *a = (struct asked){.role = role};
    snprintf(a->name, sizeof a->name, "%s", name);
    snprintf(a->endpoint, sizeof a->endpoint, "%s", endpoint);
    (*count)++;
}

static void add_numbered(struct asked *list, size_t *count, Rlhf__V1__Role role, const char *dir,
                         const char *program, int64_t many)
{
    for (int64_t i = 1; i <= many; i++) {
        char name[80], endpoint[300];
        snprintf(name, sizeof name, "%s-%lld", program, (long long)i);
        snprintf(endpoint, sizeof endpoint, "ipc://%s/%s.sock", dir, name);
        add(list, count, role, name, endpoint);
    }
}

/* The daemons that `rlhfctl up FILE` starts. */
static int add_run(struct asked *list, size_t *count, const char *file, struct rlhf_error *err)
{
    struct rlhf_run run;

    if (rlhf_run_read(&run, file, err) < 0)
        return -1;
    add(list, count, RLHF__V1__ROLE__ROLE_LEARNER, "learner", run.learner.listen);
    if (run.up.label_collector.start)
        add(list, count, RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, "label-collector", run.labels);
    add_numbered(list, count, RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER, run.run.dir, "rollout-worker",
                 run.up.rollout_workers);
    add_numbered(list, count, RLHF__V1__ROLE__ROLE_REWARD_SCORER, run.run.dir, "reward-scorer",
                 run.up.reward_scorers);
    rlhf_run_free(&run);
    return 0;
}

static void print(const struct asked *a, const Rlhf__V1__Status *s)
{
    char line[400];

    if (!s) {
        printf("%s: no answer at %s\n", a->name, a->endpoint);
        return;
    }
    printf("%s %s, run %s: %s, up %.0f s%s%s\n", s->daemon, s->version, *s->run ? s->run : "-", s->state,
           (double)s->uptime_ms / 1000, *s->error ? ": " : "", s->error);
    for (size_t i = 0; i < s->n_stages; i++) {
        ctl_stage_line(line, sizeof line, 110, s->stages[i], i == s->stage, 0);
        puts(line);
    }
    for (size_t i = 0; i < s->n_peers; i++)
        printf("  peer %s: %u jobs held, %llu done\n", s->peers[i]->software, s->peers[i]->jobs,
               (unsigned long long)s->peers[i]->done);
    for (size_t i = 0; i < s->n_gauges; i++)
        printf("  %s %.10g%s%s\n", s->gauges[i]->name, s->gauges[i]->value, *s->gauges[i]->unit ? " " : "",
               s->gauges[i]->unit);
}

static size_t ask_all(struct asked *list, size_t count, double seconds)
{
    int64_t until = rlhf_now(&rlhf_system_clock) + (int64_t)(seconds * 1e6);
    struct ctl_link *links[MAX_DAEMONS];
    size_t answered;

    for (size_t i = 0; i < count; i++)
        links[i] = list[i].link;
    do {
        ctl_links_wait(links, count, TURN_MS);
        answered = 0;
        for (size_t i = 0; i < count; i++)
            answered += ctl_link_status(links[i]) != NULL;
    } while (answered < count && rlhf_now(&rlhf_system_clock) < until);
    return answered;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct status_options *o = state->input;

    switch (key) {
    case 't':
        o->seconds = ctl_number(state, "--timeout", text, 0.1, 3600);
        break;
    case KEY_KEY:
        o->key = text;
        break;
    case KEY_PEERS:
        o->peers = text;
        break;
    case ARGP_KEY_ARG:
        if (o->count == MAX_DAEMONS)
            argp_error(state, "at most %d endpoints", MAX_DAEMONS);
        o->arguments[o->count++] = text;
        break;
    case ARGP_KEY_END:
        if (o->count == 0)
            argp_error(state, "which run file, or which endpoint?");
        if (!o->key != !o->peers)
            argp_error(state, "--key and --peers belong together");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_status(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option argp_options[] = {
        {"timeout", 't', "SECONDS", 0, "wait so long for answers (default 3)", 0},
        {"key", KEY_KEY, "FILE", 0, "our secret key, for tcp:// endpoints under CURVE", 0},
        {"peers", KEY_PEERS, "FILE", 0, "the known public keys, the endpoint's among them", 0},
        {0}};
    static const struct argp parser = {
        argp_options,
        parse,
        "FILE | ENDPOINT...",
        "Asks the daemons of a run file, or those at tcp:// and ipc:// endpoints, what they do. "
        "Status 1 when one does not answer.",
        NULL,
        NULL,
        NULL};
    struct status_options o = {.seconds = 3};
    struct asked list[MAX_DAEMONS];
    struct rlhf_keys *keys = NULL;
    size_t count = 0, answered = 0;
    int result = 0;

    argp_parse(&parser, argc, argv, 0, NULL, &o);
    ctl_log_level("error");
    for (size_t i = 0; result == 0 && i < o.count; i++)
        if (rlhf_starts_with(o.arguments[i], "tcp://") || rlhf_starts_with(o.arguments[i], "ipc://"))
            add(list, &count, RLHF__V1__ROLE__ROLE_LEARNER, o.arguments[i],
                o.arguments[i]); /* any daemon answers this */
        else
            result = add_run(list, &count, o.arguments[i], err);
    if (result == 0 && o.key && !(keys = rlhf_keys_open(o.key, o.peers, err)))
        result = -1;
    for (size_t i = 0; result == 0 && i < count; i++)
        if (!(list[i].link = ctl_link_new(list[i].endpoint, list[i].role, keys, err)))
            result = -1;
    if (result == 0) {
        answered = ask_all(list, count, o.seconds);
        for (size_t i = 0; i < count; i++)
            print(&list[i], ctl_link_status(list[i].link));
        if (answered < count)
            result = rlhf_fail(err, RLHF_AGAIN, "%zu of %zu daemons did not answer in %.1f s",
                               count - answered, count, o.seconds);
    }
    for (size_t i = 0; i < count; i++)
        ctl_link_free(list[i].link);
    rlhf_keys_free(keys);
    return result;
}
