/* figures.h - the numbers of an evaluation, whatever was measured: every number below a policy's entry of metrics.json by its
 * path ("perplexity.all", "exact.sums", "kl"); {"value", "low", "high"} is one number with its interval. */
#ifndef REPORT_FIGURES_H
#define REPORT_FIGURES_H

#include <jansson.h>

enum { FIGURE_PATH = 160 };
struct figure {
    char path[FIGURE_PATH];
    double value, low, high; /* low > high: no interval */
};
struct figures {
    struct figure *items;
    size_t count;
};
/* Those of one policy. What does not fit into memory is not there. */
struct figures figures_of(const json_t *model);
void figures_free(struct figures *f); /* leaves it zeroed */
const struct figure *figures_find(const struct figures *f, const char *path); /* NULL: it has none */

#endif
