#include "evaluation/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static const double z95 = 1.959963984540054; /* 97.5 % of the normal distribution */

struct rlhf_figure *rlhf_figures_add(struct rlhf_figures *f, const char *name, enum rlhf_figure_kind kind,
                                     enum rlhf_better better, struct rlhf_error *err)
{
    struct rlhf_figure *more = reallocarray(f->at, f->count + 1, sizeof *more);

    if (!more) {
        rlhf_fail(err, RLHF_FULL, "no memory for %zu figures", f->count + 1);
        return NULL;
    }
    f->at = more;
    more += f->count++;
    *more = (struct rlhf_figure){ .kind = kind, .better = better };
    snprintf(more->name, sizeof more->name, "%s", name);
    return more;
}

static bool is_ratio(const struct rlhf_figure *f)
{
    return f->kind == RLHF_PERPLEXITY || f->kind == RLHF_BITS;
}

static int grow(double **block, size_t count, struct rlhf_error *err)
{
    double *grown = reallocarray(*block, count, sizeof *grown);

    if (!grown)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu values of a figure", count);
    *block = grown;
    return 0;
}

int rlhf_figure_append(struct rlhf_figure *f, double value, double weight, struct rlhf_error *err)
{
    if (f->count == f->capacity) {
        size_t more = f->capacity ? 2 * f->capacity : 64;

        if (grow(&f->value, more, err) < 0 || (is_ratio(f) && grow(&f->weight, more, err) < 0))
            return -1;
        f->capacity = more;
    }
    f->value[f->count] = value;
    if (is_ratio(f))
        f->weight[f->count] = weight;
    f->count++;
    return 0;
}

const struct rlhf_figure *rlhf_figures_find(const struct rlhf_figures *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->at[i].name, name) == 0)
            return &f->at[i];
    return NULL;
}

void rlhf_figures_free(struct rlhf_figures *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free(f->at[i].value);
        free(f->at[i].weight);
    }
    free(f->at);
    *f = (struct rlhf_figures){ 0 };
}

/* ---- estimates --------------------------------------------------------------------------------------- */

static double weight_of(const struct rlhf_figure *f, size_t i)
{
    return f->weight ? f->weight[i] : 1;
}

/* sum x / sum w, and what turns it into the figure: its value and the slope there. */
struct point {
    double ratio, mean_weight, value, slope;
    size_t count;
};

/* Whether unit i is there, in both figures. */
static bool is_there(const struct rlhf_figure *f, const struct rlhf_figure *other, size_t i)
{
    return !isnan(f->value[i]) && (!other || !isnan(other->value[i]));
}

/* other: the one it is paired with, so that only units of both count; NULL: none. */
static struct point point_of(const struct rlhf_figure *f, const struct rlhf_figure *other)
{
    struct point p = { 0 };
    double x = 0, w = 0;

    for (size_t i = 0; i < f->count; i++)
        if (is_there(f, other, i)) {
            x += f->value[i];
            w += weight_of(f, i);
            p.count++;
        }
    p.ratio = x / w;
    p.mean_weight = w / (double)p.count;
    p.value = f->kind == RLHF_PERPLEXITY ? exp(p.ratio) : f->kind == RLHF_BITS ? p.ratio / M_LN2 : p.ratio;
    p.slope = f->kind == RLHF_PERPLEXITY ? p.value : f->kind == RLHF_BITS ? 1 / M_LN2 : 1;
    return p;
}

/* By how much unit i moves the ratio, to first order, times the number of units. */
static double influence(const struct rlhf_figure *f, const struct point *p, size_t i)
{
    return (f->value[i] - p->ratio * weight_of(f, i)) / p->mean_weight;
}

/* The standard error of a mean of values whose squared deviations add up to this. */
static double standard_error(double squares, size_t count)
{
    return sqrt(squares / (double)(count - 1) / (double)count);
}

/* Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). */
static void wilson(struct rlhf_estimate *e)
{
    const double n = (double)e->count, z2 = z95 * z95, p = e->value;
    const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
    const double half = z95 / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n));

    e->low = fmin(p, fmax(0, middle - half)); /* rounding shall not part it from its value */
    e->high = fmax(p, fmin(1, middle + half));
    e->method = "wilson";
}

size_t rlhf_figure_units(const struct rlhf_figure *f)
{
    size_t count = 0;

    for (size_t i = 0; i < f->count; i++)
        count += is_there(f, NULL, i);
    return count;
}

struct rlhf_estimate rlhf_estimate(const struct rlhf_figure *f)
{
    struct point p = point_of(f, NULL);
    struct rlhf_estimate e = { .count = p.count, .interval = p.count > 1 };
    double squares = 0, error;

    RLHF_ASSERT(p.count > 0);
    e.value = e.low = e.high = p.value;
    e.method = f->kind == RLHF_RATE ? "wilson" : f->kind == RLHF_PERPLEXITY ? "normal-log" : "normal";
    if (!e.interval)
        return e;
    for (size_t i = 0; i < f->count; i++)
        if (is_there(f, NULL, i))
            squares += influence(f, &p, i) * influence(f, &p, i);
    error = standard_error(squares, p.count);
    e.error = error * p.slope;
    if (f->kind == RLHF_RATE) {
        wilson(&e);
    } else if (f->kind == RLHF_PERPLEXITY) {
        e.low = exp(p.ratio - z95 * error);
        e.high = exp(p.ratio + z95 * error);
    } else {
        e.low = p.value - z95 * e.error;
        e.high = p.value + z95 * e.error;
    }
    return e;
}

struct rlhf_estimate rlhf_difference(const struct rlhf_figure *a, const struct rlhf_figure *b)
{
    const bool paired = a->count == b->count;
    const struct point p = point_of(a, paired ? b : NULL), q = point_of(b, paired ? a : NULL);
    struct rlhf_estimate e = { .count = p.count, .interval = paired && p.count > 1, .method = "paired-normal" };
    double squares = 0;

    RLHF_ASSERT(a->kind == b->kind);
    e.value = e.low = e.high = p.value - q.value;
    if (!e.interval)
        return e;
    for (size_t i = 0; i < a->count; i++)
        if (is_there(a, b, i)) {
            double moved = influence(a, &p, i) * p.slope - influence(b, &q, i) * q.slope;

            squares += moved * moved;
        }
    e.error = standard_error(squares, p.count);
    e.low = e.value - z95 * e.error;
    e.high = e.value + z95 * e.error;
    return e;
}
