/* rundir.h - a run's directory as people's tools read it: whole or half done, while a learner writes to it or after it.
 *
 * Nothing that is missing or damaged in it is fatal: it is named in `problems`, and the rest is used. */
#ifndef REPORT_RUNDIR_H
#define REPORT_RUNDIR_H

#include <jansson.h>
#include <stdbool.h>

#include "config/run.h"

struct rundir {
    const char *path;   /* borrowed */
    struct rlhf_run run; /* of DIR/settings.yaml */
    json_t *done;       /* {stage: its entry of stages.json} */
    json_t *problems;   /* [text, ...] for people */
};
/* A failure, RLHF_REJECT, only where path is no run's directory. */
int rundir_open(struct rundir *d, const char *path, struct rlhf_error *err);
void rundir_close(struct rundir *d); /* leaves it zeroed */

/* The entry of stages.json; NULL when the stage is not done. */
const json_t *rundir_done(const struct rundir *d, const char *stage);
void rundir_problem(struct rundir *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints them on stderr. */
void rundir_warn(const struct rundir *d);

/* The file NAME... below it as JSON, owned by the caller: NULL where it is not there, or is damaged, which is a problem. */
json_t *rundir_json(struct rundir *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Calls each for the lines of a file of JSON objects, until it returns false; false where there is no such file. Lines that
 * are none are counted in one problem, which names the first; a last one without its newline is being written. */
bool rundir_lines(struct rundir *d, bool (*each)(void *ctx, json_t *line), void *ctx, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
