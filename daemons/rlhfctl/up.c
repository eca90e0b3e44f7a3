/* up - starts all daemons of a run on this host, shows their progress, starts again who dies, stops them
 * cleanly.
 *
 * DIR/etc holds the configuration written for each daemon, DIR/log what each says. DIR/up.json tells
 * afterwards how long the stages took. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "config/run.h"
#include "rlhfctl/children.h"
#include "rlhfctl/ctl.h"
#include "rlhfctl/link.h"
#include "rlhfctl/screen.h"
#include "rlhfctl/summary.h"
#include "telemetry/log.h"

enum { TURN_MS = 100, PATIENCE_MS = 12000, AT_ONCE_US = 3000000, MAX_BESIDE = 8, MAX_PATH = 400 };

struct up {
    const char *file;               /* the run file */
    const char *beside[MAX_BESIDE]; /* commands that run as long as the run does */
    size_t beside_count;
    bool plain;

    struct rlhf_run run;
    struct ctl_children children;
    struct ctl_link *links[2]; /* learner, label-collector */
    size_t link_count;
    struct ctl_screen *screen;
    int lock;
    int64_t started_us;
    unsigned restarts;
    bool at_last_stage; /* when the learner was heard of last */
};

static volatile sig_atomic_t asked_to_stop;

static void on_signal(int number)
{
    asked_to_stop = number;
}

static void say(void *ctx, const char *text)
{
    struct up *u = ctx;

    u->restarts++;
    ctl_screen_say(u->screen, text);
}

/* ---- what each daemon is told ------------------------------------------------------------------------ */

static int in_dir(const struct up *u, char out[MAX_PATH], struct rlhf_error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int in_dir(const struct up *u, char out[MAX_PATH], struct rlhf_error *err, const char *fmt, ...)
{
    char name[MAX_PATH];
    va_list args;

    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    return rlhf_path(out, MAX_PATH, u->run.run.dir, name, err);
}

/* Writes DIR/etc/NAME.yaml, and adds the process. */
static struct ctl_child *add_daemon(struct up *u, const char *program, const char *name, const char *config,
                                    struct rlhf_error *err)
{
    char path[MAX_PATH], log[MAX_PATH], executable[600];
    char *argv[] = {executable, (char *)"--config", path, NULL};

    ctl_find_program(executable, sizeof executable, program);
    if (in_dir(u, log, err, "log/%s.log", name) < 0)
        return NULL;
    if (!config)
        snprintf(path, sizeof path, "%s", u->file);
    else if (in_dir(u, path, err, "etc/%s.yaml", name) < 0 ||
             rlhf_write_file(&rlhf_system_io, path, config, strlen(config), err) < 0)
        return NULL;
    return ctl_children_add(&u->children, name, log, argv, err);
}

static int add_collector(struct up *u, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    char address[MAX_PATH];
    int result;

    if (in_dir(u, address, err, "labels.http") < 0)
        return -1;
    unlink(address); /* an earlier life's */
    result = rlhf_bytes_printf(&text, err,
                               "# Written by `rlhfctl up`.\nlisten: \"%s\"\nhttp: \"%s\"\nhttp_address_file: "
                               "\"%s/labels.http\"\n"
                               "database: \"%s\"\nrun: \"%s\"\n",
                               u->run.labels, u->run.up.label_collector.http, u->run.run.dir,
                               u->run.up.label_collector.database, u->run.run.name) < 0 ||
                     !add_daemon(u, "label-collector", "label-collector", text.data, err)
                 ? -1
                 : 0;

    rlhf_bytes_free(&text);
    return result;
}

static int add_workers(struct up *u, const char *program, int64_t count, int64_t threads,
                       struct rlhf_error *err)
{
    for (int64_t i = 1; i <= count; i++) {
        struct rlhf_bytes text = {0};
        char name[48];
        int result;
        snprintf(name, sizeof name, "%s-%lld", program, (long long)i);
        result =
            rlhf_bytes_printf(
                &text, err,
                "# Written by `rlhfctl up`.\nlearner: \"%s\"\ncontrol: \"ipc://%s/%s.sock\"\nthreads: %lld\n",
                u->run.learner.listen, u->run.run.dir, name, (long long)threads) < 0 ||
                    !add_daemon(u, program, name, text.data, err)
                ? -1
                : 0;
        rlhf_bytes_free(&text);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int add_beside(struct up *u, struct rlhf_error *err)
{
    for (size_t i = 0; i < u->beside_count; i++) {
        char name[48], log[MAX_PATH];
        char *argv[] = {(char *)"/bin/sh", (char *)"-c", NULL, NULL};
        struct ctl_child *child;
        struct rlhf_bytes command = {0};
        snprintf(name, sizeof name, "beside-%zu", i + 1);
        if (in_dir(u, log, err, "log/%s.log", name) < 0 ||
            rlhf_bytes_printf(&command, err, "exec %s", u->beside[i]) < 0)
            return -1;
        argv[2] = command.data;
        child = ctl_children_add(&u->children, name, log, argv, err);
        rlhf_bytes_free(&command);
        if (!child)
            return -1;
        child->completes = child->gentle = true;
    }
    return 0;
}

static int add_all(struct up *u, struct rlhf_error *err)
{
    struct ctl_child *learner;

    if (u->run.up.label_collector.start && add_collector(u, err) < 0)
        return -1;
    if (!(learner = add_daemon(u, "learner", "learner", NULL, err)))
        return -1;
    learner->completes = true;
    return add_workers(u, "rollout-worker", u->run.up.rollout_workers, u->run.up.worker_threads, err) < 0 ||
                   add_workers(u, "reward-scorer", u->run.up.reward_scorers, u->run.up.scorer_threads, err) <
                       0 ||
                   add_beside(u, err) < 0
               ? -1
               : 0;
}

/* ---- running ----------------------------------------------------------------------------------------- */

static int make_place(struct up *u, struct rlhf_error *err)
{
    char path[MAX_PATH], holder[32] = "";
    int size;

    if (in_dir(u, path, err, "etc") < 0 || rlhf_make_dirs(&rlhf_system_io, path, err) < 0 ||
        in_dir(u, path, err, "log") < 0 || rlhf_make_dirs(&rlhf_system_io, path, err) < 0 ||
        in_dir(u, path, err, "up.lock") < 0)
        return -1;
    if ((u->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644)) < 0)
        return rlhf_fail(err, RLHF_FATAL, "%s: cannot be opened for writing", path);
    if (flock(u->lock, LOCK_EX | LOCK_NB) < 0) {
        if (read(u->lock, holder, sizeof holder - 1) < 0)
            holder[0] = '\0';
        return rlhf_fail(err, RLHF_REJECT, "%s is being run by process %.*s already; stop that one first",
                         u->run.run.dir, (int)strcspn(holder, "\n"), holder);
    }
    size = snprintf(holder, sizeof holder, "%d\n", (int)getpid());
    if (ftruncate(u->lock, 0) < 0 || write(u->lock, holder, (size_t)size) != size)
        return rlhf_fail(err, RLHF_FULL, "%s: cannot be written", path);
    return 0;
}

static int add_link(struct up *u, const char *endpoint, Rlhf__V1__Role role, struct rlhf_error *err)
{
    if (!(u->links[u->link_count] = ctl_link_new(endpoint, role, NULL, err)))
        return -1;
    u->link_count++;
    return 0;
}

static unsigned running(const struct up *u, const char *prefix)
{
    unsigned count = 0;

    for (size_t i = 0; i < u->children.count; i++)
        count +=
            u->children.items[i].pid > 0 && strncmp(u->children.items[i].name, prefix, strlen(prefix)) == 0;
    return count;
}

/* Where people find the labeling page. */
static void labeling_address(const struct up *u, char *out, size_t size)
{
    struct rlhf_bytes text = {0};
    char path[MAX_PATH];

    snprintf(out, size, "http://%s", u->run.up.label_collector.http);
    if (in_dir(u, path, NULL, "labels.http") == 0 && rlhf_exists(&rlhf_system_io, path) &&
        rlhf_read_file(&rlhf_system_io, path, 200, &text, NULL) == 0)
        snprintf(out, size, "%.*s", (int)strcspn(text.data, "\r\n"), text.data);
    rlhf_bytes_free(&text);
}

static void describe(const struct up *u, const Rlhf__V1__Status *learner, char *out, size_t size)
{
    char address[200];
    size_t n;

    snprintf(out, size, "learner %s, %u/%lld rollout-workers, %u/%lld reward-scorers",
             learner                 ? learner->state
             : running(u, "learner") ? "starting"
                                     : "down",
             running(u, "rollout-worker"), (long long)u->run.up.rollout_workers, running(u, "reward-scorer"),
             (long long)u->run.up.reward_scorers);
    n = strlen(out);
    if (u->run.up.label_collector.start) {
        labeling_address(u, address, sizeof address);
        snprintf(out + n, size - n, ", labels %s", running(u, "label-collector") ? address : "down");
    }
    n = strlen(out);
    if (u->restarts && n < size)
        snprintf(out + n, size - n, ", %u restarts", u->restarts);
}

/* The learner ended well. Either the run is complete, perhaps by a last stage too short to have been heard of, or somebody
 * else asked it to stop: then it is started again, and if it has nothing to do it says so by ending at once. */
static bool is_complete(struct up *u, struct ctl_child *learner)
{
    int64_t now = rlhf_now(&rlhf_system_clock);

    if (u->at_last_stage || now - learner->started_us < AT_ONCE_US)
        return true;
    ctl_screen_say(u->screen, "the learner ended before it was heard of in the last stage; starting it again, in case the run is not complete");
    learner->finished = false;
    return false;
}

/* 1: the run is complete; 0: goes on; -1: cannot. */
static int turn(struct up *u, struct rlhf_error *err)
{
    const Rlhf__V1__Status *learner;
    char daemons[300];

    if (ctl_children_turn(&u->children, rlhf_now(&rlhf_system_clock), err) < 0)
        return -1;
    ctl_links_wait(u->links, u->link_count, TURN_MS);
    learner = ctl_link_status(u->links[0]);
    if (learner && strcmp(learner->state, "failed") == 0)
        return rlhf_fail(err, RLHF_FATAL, "the run failed: %s", learner->error);
    if (learner && learner->n_stages > 0)
        u->at_last_stage = learner->stage + 1 == learner->n_stages;
    describe(u, learner, daemons, sizeof daemons);
    ctl_screen_show(u->screen, learner, daemons);
    for (size_t i = 0; i < u->children.count; i++) {
        struct ctl_child *c = &u->children.items[i];
        char tail[300];
        if (c->finished && strcmp(c->name, "learner") == 0 && is_complete(u, c))
            return 1;
        if (c->failed) {
            ctl_log_tail(tail, sizeof tail, c->log);
            return rlhf_fail(err, RLHF_FATAL, "%s %s: %s (all of it: %s)", c->name, c->why, tail, c->log);
        }
    }
    return 0;
}

static int supervise(struct up *u, struct rlhf_error *err)
{
    char path[MAX_PATH];
    Rlhf__V1__Status *last = NULL;
    int result = 0;

    while (result == 0 && !asked_to_stop) {
        const Rlhf__V1__Status *now;
        result = turn(u, err);
        if ((now = ctl_link_status(u->links[0])) &&
            now->n_stages > 0) { /* kept: the learner says goodbye when it is done */
            size_t size = rlhf__v1__status__get_packed_size(now);
            uint8_t *packed = malloc(size);
            if (packed) {
                rlhf__v1__status__pack(now, packed);
                if (last)
                    rlhf__v1__status__free_unpacked(last, NULL);
                last = rlhf__v1__status__unpack(NULL, size, packed);
                free(packed);
            }
        }
    }
    for (size_t i = 0; result == 1 && last && i < last->n_stages; i++)
        last->stages[i]->done = true;
    if (result == 1 && last)
        ctl_screen_finish(u->screen, last, "the run is complete");
    if (in_dir(u, path, err, "up.json") < 0 ||
        ctl_summary_write(path, last, (double)(rlhf_now(&rlhf_system_clock) - u->started_us) * 1e-6,
                          u->restarts, result == 1, result < 0 ? NULL : err) < 0)
        result = -1;
    if (last)
        rlhf__v1__status__free_unpacked(last, NULL);
    if (result == 0)
        return rlhf_fail(err, RLHF_AGAIN, "stopped; the same command goes on from here");
    return result < 0 ? -1 : 0;
}

static int run_all(struct up *u, struct rlhf_error *err)
{
    struct sigaction action = {.sa_handler = on_signal};
    int result;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    u->started_us = rlhf_now(&rlhf_system_clock);
    u->screen = ctl_screen_new(!u->plain);
    u->children.say = say;
    u->children.ctx = u;
    result = add_all(u, err) < 0 || add_link(u, u->run.learner.listen, RLHF__V1__ROLE__ROLE_LEARNER, err) < 0
                 ? -1
                 : supervise(u, err);
    ctl_children_stop(&u->children, PATIENCE_MS);
    return result;
}

/* ---- the command ------------------------------------------------------------------------------------- */

enum { KEY_WITH = 256, KEY_PLAIN };

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct up *u = state->input;

    switch (key) {
    case KEY_WITH:
        if (u->beside_count == MAX_BESIDE)
            argp_error(state, "--with: at most %d commands", MAX_BESIDE);
        u->beside[u->beside_count++] = text;
        break;
    case KEY_PLAIN:
        u->plain = true;
        break;
    case ARGP_KEY_ARG:
        if (u->file)
            argp_error(state, "one run file, not two: '%s'", text);
        u->file = text;
        break;
    case ARGP_KEY_END:
        if (!u->file)
            argp_error(state, "which run file?");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int ctl_up(int argc, char **argv, struct rlhf_error *err)
{
    static const struct argp_option options[] = {
        {"with", KEY_WITH, "COMMAND", 0,
         "run this shell command beside the daemons, for as long as the run goes on", 0},
        {"plain", KEY_PLAIN, 0, 0, "log lines, no screen, also on a terminal", 0},
        {0}};
    static const struct argp parser = {
        options,
        parse,
        "FILE",
        "Starts learner, label-collector, rollout-workers and reward-scorers of the run FILE on this "
        "host, shows their progress, starts again who dies, and stops all at the end or on "
        "Ctrl-C. A run that was stopped goes on where it was.",
        NULL,
        NULL,
        NULL};
    struct up u = {.lock = -1};
    int result;

    argp_parse(&parser, argc, argv, 0, NULL, &u);
    u.plain |= !isatty(STDOUT_FILENO);
    ctl_log_level(u.plain ? "info" : "error"); /* the screen says the rest */
    if (rlhf_run_read(&u.run, u.file, err) < 0)
        return -1;
    result = make_place(&u, err) < 0 || run_all(&u, err) < 0 ? -1 : 0;
    ctl_screen_free(u.screen);
    for (size_t i = 0; i < u.link_count; i++)
        ctl_link_free(u.links[i]);
    ctl_children_free(&u.children);
    if (u.lock >= 0)
        close(u.lock);
    rlhf_run_free(&u.run);
    return result;
}
