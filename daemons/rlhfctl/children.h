/* children.h - the processes that `rlhfctl up` keeps running.
 *
 * Promise: a child is asked to end when rlhfctl ends, even by kill -9 (the kernel sends it SIGTERM when its parent
 * dies). It leads a process group of its own, which the terminal's Ctrl-C does not reach and which is asked as a
 * whole, so everybody hears of the end once. It reads nothing and writes to a log of its own. One that dies is
 * started again, after a delay that doubles; one that ends by itself soon after its start is not, because what it
 * says in its log will not change. */
#ifndef RLHFCTL_CHILDREN_H
#define RLHFCTL_CHILDREN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum { CTL_MAX_RESTARTS = 20 };

struct ctl_child {
    char name[48]; /* "rollout-worker-2" */
    char **argv;   /* owned */
    char log[400];
    bool completes; /* status 0 is its natural end; others are started again after it */
    bool gentle;    /* its failure harms nobody: started again, never a reason to stop */
    pid_t pid;      /* 0: not running */
    int64_t started_us, restart_us;
    unsigned restarts, refusals; /* refusals: ends of its own will, with a status that is not 0 */
    bool finished;               /* ended well, and completes */
    bool failed;                 /* ended for good */
    char why[160];               /* of the last end */
};

struct ctl_children {
    struct ctl_child *items;
    size_t count;
    void (*say)(void *ctx, const char *text); /* one line about a death or a restart */
    void *ctx;
};

/* argv ends with NULL and is copied. The first start comes with the next turn. */
struct ctl_child *ctl_children_add(struct ctl_children *c, const char *name, const char *log,
                                   char *const *argv, struct rlhf_error *err);
/* Starts what is due, notices who died. */
int ctl_children_turn(struct ctl_children *c, int64_t now_us, struct rlhf_error *err);
/* Asks all to end, the first added last; waits up to patience_ms, then kills. */
void ctl_children_stop(struct ctl_children *c, int patience_ms);
void ctl_children_free(struct ctl_children *c);

/* The last lines of a log, for an error message. */
void ctl_log_tail(char *out, size_t size, const char *path);

#endif
