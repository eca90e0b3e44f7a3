/* metrics.h - metrics.jsonl, turned from lines of steps into a table a stage. */
#ifndef REPORT_METRICS_H
#define REPORT_METRICS_H

#include "report/rundir.h"

struct report_metric {
    char *key;
    double *value; /* [rows of its stage]; NaN where a line has none */
};
struct report_stage {
    char *name;
    size_t rows, capacity;
    struct report_metric *metrics;
    size_t metric_count;
};
struct report_metrics {
    struct report_stage *stages; /* in the order of the file */
    size_t count;
};
/* Lines at fault become problems of the run. */
int report_metrics_read(struct report_metrics *m, struct rundir *run, struct rlhf_error *err);
void report_metrics_free(struct report_metrics *m); /* leaves it zeroed */

const struct report_stage *report_metrics_stage(const struct report_metrics *m, const char *stage); /* NULL: no line of it */
/* [rows]; NULL: no line has that key, or no number there. */
const double *report_metrics_of(const struct report_stage *s, const char *key);

#endif
