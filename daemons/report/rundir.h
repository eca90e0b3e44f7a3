/* rundir.h - a run's directory as rlhfctl reads it: whole or half done, while a learner writes to it or after it.
 *
 * Nothing that is missing or damaged in it is fatal: it is named in `problems`, and the rest is used. */
#ifndef RLHFCTL_RUNDIR_H
#define RLHFCTL_RUNDIR_H

#include <jansson.h>
#include <stdbool.h>

#include "config/run.h"

struct ctl_rundir {
    const char *path;   /* borrowed */
    struct rlhf_run run; /* of DIR/settings.yaml */
    json_t *done;       /* {stage: its entry of stages.json} */
    json_t *problems;   /* [text, ...] for people */
};
/* A failure, RLHF_REJECT, only where path is no run's directory. */
int ctl_rundir_open(struct ctl_rundir *d, const char *path, struct rlhf_error *err);
void ctl_rundir_close(struct ctl_rundir *d); /* leaves it zeroed */

/* The entry of stages.json; NULL when the stage is not done. */
const json_t *ctl_rundir_done(const struct ctl_rundir *d, const char *stage);
void ctl_rundir_problem(struct ctl_rundir *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints them on stderr. */
void ctl_rundir_warn(const struct ctl_rundir *d);

/* The file NAME... below it as JSON, owned by the caller: NULL where it is not there, or is damaged, which is a problem. */
json_t *ctl_rundir_json(struct ctl_rundir *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Calls each for the lines of a file of JSON objects, until it returns false; false where there is no such file. Lines that
 * are none are counted in one problem, which names the first; a last one without its newline is being written. */
bool ctl_rundir_lines(struct ctl_rundir *d, bool (*each)(void *ctx, json_t *line), void *ctx, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
