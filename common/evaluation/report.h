/* report.h - figures as JSON, for scripts and for the gate of a run. */
#ifndef RLHF_EVALUATION_REPORT_H
#define RLHF_EVALUATION_REPORT_H

#include <jansson.h>

#include "evaluation/figures.h"

/* {NAME: {"value", "low", "high", "stderr", "n", "interval": "wilson" and its like, "better": "higher", "lower" or "neither"}}; low, high and
 * stderr are null where there is no interval. Figures of no units are left out. New reference; NULL when out of memory. */
json_t *rlhf_figures_json(const struct rlhf_figures *f);
/* The same of a less b, for the figures that both have. */
json_t *rlhf_differences_json(const struct rlhf_figures *a, const struct rlhf_figures *b);

#endif
