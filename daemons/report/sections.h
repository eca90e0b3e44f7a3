/* sections.h - what the files of the report share: the page at work, and a function for each section. Private to it. */
#ifndef REPORT_SECTIONS_H
#define REPORT_SECTIONS_H

#include "report/markup.h"
#include "report/metrics.h"
#include "report/plot.h"
#include "report/rundir.h"

struct report {
    struct rundir *run;
    struct report_metrics metrics;
    struct markup page;
};

/* Each appends its section's content; false where there was nothing to show, which it has said. */
bool report_curves(struct report *r);      /* learning curves, a stage after the other            */
bool report_front(struct report *r);       /* KL against reward, and how far more KL still pays   */
bool report_tax(struct report *r);         /* what each policy lost, by evaluation                */
bool report_gates(struct report *r);       /* who was promoted, and by which clauses              */
bool report_figures(struct report *r);     /* every number of the evaluations, with intervals     */
bool report_calibration(struct report *r); /* does the reward model know how sure it may be?      */
bool report_length(struct report *r);      /* reward against length                               */
bool report_staleness(struct report *r);   /* versions between sampling and training              */
bool report_samples(struct report *r);     /* completions side by side                            */
bool report_watch(struct report *r);       /* the completions that the reward model likes best    */
bool report_stages(struct report *r);      /* times; where everything came from; settings         */

/* A sentence in place of what is missing. Returns false, for return. */
bool report_missing(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The stages of a kind, in order: the index of the next at or behind `from`, or the number of stages. */
size_t report_next(const struct report *r, size_t from, enum rlhf_stage_kind kind);
const char *report_stage_name(const struct report *r, size_t index);

/* The policies of an evaluate stage. */
const struct rlhf_config_strings *report_policies(const struct report *r, size_t index);

#endif
