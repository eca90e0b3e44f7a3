#include "rlhfctl/eval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL = 40 };

/* Four digits behind the point are what the harness is compared by; large numbers need fewer. */
static void put_number(char out[CELL], double x)
{
    snprintf(out, CELL, fabs(x) < 100 ? "%.4f" : fabs(x) < 1e6 ? "%.2f" : "%.4g", x);
}

static void put_interval(char out[CELL], const struct rlhf_estimate *e)
{
    char low[CELL], high[CELL];

    put_number(low, e->low);
    put_number(high, e->high);
    if (e->interval)
        snprintf(out, CELL, "%.15s to %.15s", low, high);
    else
        snprintf(out, CELL, "-");
}

/* What the difference says, when its interval does not hold 0. */
static const char *verdict(const struct rlhf_figure *f, const struct rlhf_estimate *e)
{
    if (!e->interval || (e->low <= 0 && e->high >= 0))
        return "";
    return f->better == RLHF_NEITHER ? "differs" : (e->value > 0) == (f->better == RLHF_HIGHER) ? "better" : "worse";
}

static void print_figure(const char *suite, const struct rlhf_figure *f, const struct rlhf_figure *other)
{
    static const char *const arrows[] = { [RLHF_NEITHER] = " ", [RLHF_HIGHER] = "\u2191", [RLHF_LOWER] = "\u2193" };
    struct rlhf_estimate e = rlhf_estimate(f), o, d;
    char value[CELL], interval[CELL];

    put_number(value, e.value);
    put_interval(interval, &e);
    printf("%-12s %-34s %s %10s  %-20s %7zu", suite, f->name, arrows[f->better], value, interval, e.count);
    if (!other) {
        printf("  %s\n", e.interval ? e.method : "");
        return;
    }
    o = rlhf_estimate(other);
    d = rlhf_difference(f, other);
    put_number(value, o.value);
    printf(" %10s", value);
    put_number(value, d.value);
    put_interval(interval, &d);
    printf(" %10s  %-20s %s\n", value, interval, verdict(f, &d));
}

void eval_print_table(char *const *suites, size_t count, const struct eval_model *m, const struct eval_model *against,
                      const struct rlhf_figures *compared)
{
    printf("%s%s%s", m->dir, m->adapter ? " with " : "", m->adapter ? m->adapter : "");
    if (against)
        printf(" against %s%s%s", against->dir, against->adapter ? " with " : "", against->adapter ? against->adapter : "");
    printf("\n%-12s %-34s   %10s  %-20s %7s", "suite", "figure", "value", "95 % interval", "n");
    if (against)
        printf(" %10s %10s  %s\n", "other", "difference", "95 % interval");
    else
        printf("  method\n");
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < m->figures[i].count; j++) {
            const struct rlhf_figure *f = &m->figures[i].at[j];
            const struct rlhf_figure *other = against ? rlhf_figures_find(&against->figures[i], f->name) : NULL;

            if (rlhf_figure_units(f) > 0 && (!against || (other && rlhf_figure_units(other) > 0)))
                print_figure(j == 0 ? suites[i] : "", f, other);
        }
        for (size_t j = 0; j < compared[i].count && rlhf_figure_units(&compared[i].at[j]) > 0; j++)
            print_figure("", &compared[i].at[j], NULL);
    }
}
