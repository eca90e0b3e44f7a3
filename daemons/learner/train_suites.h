/* train_suites.h - published questions that an evaluate stage asks every policy, as `rlhfctl eval` does. */
#ifndef LEARNER_TRAIN_SUITES_H
#define LEARNER_TRAIN_SUITES_H

#include "learner/train_parts.h"

struct learner_suites;

/* Reads the files of the list, of struct rlhf_run_suite; none is fine. */
struct learner_suites *learner_suites_read(const struct rlhf_config_list *list, struct rlhf_error *err);
/* Adds "suites": {SUITE: {FIGURE: {"value", "low", "high", ...}}} to metrics, unless there are none. RLHF_AGAIN when w is to stop. */
int learner_suites_measure(const struct learner_suites *s, struct learner_work *w, const struct rlhf_model *m,
                           const char *policy, json_t *metrics, struct rlhf_error *err);
void learner_suites_free(struct learner_suites *s); /* NULL is fine */

#endif
