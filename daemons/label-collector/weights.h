/* weights.h - how much each labeler's comparisons weigh in training, measured (Dawid and Skene) and put to use without
 * anybody asking: after enough new labels, and not too often. What the owner set by hand stays. Each change stands in
 * the audit; comparisons carry the weight that their labeler has when they are pulled. */
#ifndef LABEL_COLLECTOR_WEIGHTS_H
#define LABEL_COLLECTOR_WEIGHTS_H

#include "collector.h"

/* Measures of a round ("" = all), and sets every weight that moved, but for those set by hand unless `all`. Within a
 * transaction; set: how many. */
int collector_weigh(struct collector *c, const char *round, const char *who, bool all, size_t *set,
                    struct rlhf_error *err);
/* Does so in a transaction of its own when it is due. Called now and then, outside of any other. */
void collector_weigh_when_due(struct collector *c);

#endif
