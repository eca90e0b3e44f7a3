/* summary.h - DIR/up.json: how long a run took, stage by stage, over all lives of `rlhfctl up`. */
#ifndef RLHFCTL_SUMMARY_H
#define RLHFCTL_SUMMARY_H

#include <stdbool.h>

#include "base/error.h"
#include "proto/control.pb-c.h"

/* Merges what this life saw (status: the learner's last one, may be NULL; seconds: of this life) with what
 * the file says. done: the run is complete. */
int ctl_summary_write(const char *path, const Rlhf__V1__Status *status, double seconds, unsigned restarts,
                      bool done, struct rlhf_error *err);

#endif
