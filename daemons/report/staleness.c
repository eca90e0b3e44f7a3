/* staleness.c - how many versions lay between the policy that sampled a batch and the one that it trained. */
#include <math.h>
#include <stdio.h>

#include "report/sections.h"

bool report_staleness(struct report *r)
{
    static const char *const keys[] = {"staleness", "staleness_mean", "lag"};
    struct plot p = {.title = "Staleness of each batch", .x = "iteration", .y = "policy versions", .wide = true, .y_low = 0,
                     .y_high = 1};
    size_t stages = rlhf_run_stages(&r->run->run), policies = 0;

    for (size_t i = 0; (i = report_next(r, i, RLHF_STAGE_POLICY)) < stages; i++) {
        const struct report_stage *s = report_metrics_stage(&r->metrics, report_stage_name(r, i));
        const double *y = NULL;
        policies += s != NULL;
        for (size_t k = 0; !y && k < sizeof keys / sizeof *keys; k++)
            y = report_metrics_of(s, keys[k]);
        if (y && p.count < PLOT_SERIES) {
            p.series[p.count] = (struct plot_series){.name = s->name, .x = report_metrics_of(s, "step"), .y = y,
                                                     .count = s->rows, .colour = (unsigned)p.count, .line = true};
            p.count++;
        }
    }
    if (p.count > 0)
        plot_put(&r->page, &p);
    else if (policies > 0)
        markup_put(&r->page, "<p>Every batch was sampled by the version of the policy that it trained: staleness 0 throughout.</p>\n");
    else
        report_missing(r, "No policy stage has sampled a batch yet.");
    return p.count > 0;
}
