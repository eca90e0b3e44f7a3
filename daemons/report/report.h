/* report.h - what came of a run as one HTML page that needs nothing else: no network, no script, plots as inline SVG.
 *
 * It can be made at any moment of a run. What is not there yet is said where it would stand; what is damaged is named at
 * the top, and the rest is shown. Nothing in a run's files, completions least of all, is taken for markup. */
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include "base/memory.h"
#include "report/rundir.h"

/* Appends the page to out. */
int report_page(struct rundir *run, struct rlhf_bytes *out, struct rlhf_error *err);

#endif
