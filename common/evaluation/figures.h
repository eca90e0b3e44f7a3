/* figures.h - numbers with what they are made of, so that they come with intervals, and differences of two models with theirs. */
#ifndef RLHF_EVALUATION_FIGURES_H
#define RLHF_EVALUATION_FIGURES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A figure of n units (questions, pairs, completions, windows of text) with values x and weights w:
 * RATE        mean of x in [0, 1]: Wilson's interval (1927)
 * MEAN        mean of x: normal, with the standard error of the mean
 * PERPLEXITY  exp(sum x / sum w): normal on the scale of the logarithm, the standard error being that of a ratio
 * BITS        sum x / sum w / ln 2: normal, likewise */
enum rlhf_figure_kind { RLHF_RATE, RLHF_MEAN, RLHF_PERPLEXITY, RLHF_BITS };
enum rlhf_better { RLHF_NEITHER, RLHF_HIGHER, RLHF_LOWER };

enum { RLHF_FIGURE_NAME = 64 };
struct rlhf_figure {
    char name[RLHF_FIGURE_NAME];
    enum rlhf_figure_kind kind;
    enum rlhf_better better;
    double *value;  /* [count] */
    double *weight; /* [count]; NULL: all 1 */
    size_t count, capacity;
};

struct rlhf_figures {
    struct rlhf_figure *at;
    size_t count, capacity;
};

/* A figure of no units yet; valid until the next one is added. NULL when out of memory. */
struct rlhf_figure *rlhf_figures_add(struct rlhf_figures *f, const char *name, enum rlhf_figure_kind kind,
                                     enum rlhf_better better, struct rlhf_error *err);
/* One unit more, NaN where its value is missing: it keeps its place, and counts for nothing. weight is looked at by PERPLEXITY and BITS alone. */
int rlhf_figure_append(struct rlhf_figure *f, double value, double weight, struct rlhf_error *err);
size_t rlhf_figure_units(const struct rlhf_figure *f); /* those that are not missing */
const struct rlhf_figure *rlhf_figures_find(const struct rlhf_figures *f, const char *name); /* NULL: there is none */
void rlhf_figures_free(struct rlhf_figures *f);

/* 95 %. error: the standard error, of a mean with n - 1; of a PERPLEXITY that of its value. */
struct rlhf_estimate {
    double value, low, high, error;
    size_t count;
    bool interval; /* false: fewer than two units, there is no interval nor error */
    const char *method; /* "wilson", "normal", "normal-log" */
};
/* Of a figure with at least one unit. */
struct rlhf_estimate rlhf_estimate(const struct rlhf_figure *f);
/* a less b over the units that neither misses, which makes the interval narrow: normal, of the paired differences (of a ratio, of its first-order
 * terms). Without an interval where the units are not as many; NaN where there is none in common. */
struct rlhf_estimate rlhf_difference(const struct rlhf_figure *a, const struct rlhf_figure *b);

#endif
