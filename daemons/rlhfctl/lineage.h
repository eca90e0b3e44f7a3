/* lineage.h - where labels went in a run: the updates that they were in, and what was made of those. */
#ifndef RLHFCTL_LINEAGE_H
#define RLHFCTL_LINEAGE_H

#include "report/rundir.h"

struct ctl_lineage {
    struct rundir *run;
    json_t *labels; /* {key: {"id", "labeler", ..., "uses": [{"stage", "updates" or "held_out"}]}} */
    bool *trained;  /* [stages] on one of them                                                    */
    bool *made;     /* [stages] of one of those, by any number of steps                             */
};
/* Finds the labels that wanted() wants, in the checkpoints' labels.jsonl and in the rounds that were pulled. */
int ctl_lineage_find(struct ctl_lineage *l, struct rundir *run, bool (*wanted)(const json_t *label, const char *what),
                     const char *what, struct rlhf_error *err);
void ctl_lineage_free(struct ctl_lineage *l);

/* Stages of the run that trained on them or were made of such, each with what a gate had done again of it, in order, as JSON: "stage", "kind", "done", "trained", and
 * "through", the affected stages that it reads itself. */
json_t *ctl_lineage_affected(const struct ctl_lineage *l);

#endif
