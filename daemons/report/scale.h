/* scale.h - from values to places on an axis, with ticks at round numbers. */
#ifndef REPORT_SCALE_H
#define REPORT_SCALE_H

#include <stddef.h>

struct scale {
    double low, high; /* of the values shown: multiples of step */
    double step;      /* between ticks: 1, 2 or 5 times a power of ten */
    double from, to;  /* places of low and high                 */
};
/* Covers [low, high], but for a twentieth of a step, with about `ticks` ticks. Nothing to cover (low > high, or not finite) is taken as [0, 1], one value as a
 * stretch around it. */
struct scale scale_of(double low, double high, unsigned ticks, double from, double to);
double scale_at(const struct scale *s, double value);
size_t scale_ticks(const struct scale *s); /* how many */
double scale_tick(const struct scale *s, size_t index);
/* As the step asks for: 0.25, 1 500, 2k, 1e-05. */
enum { SCALE_LABEL = 32 };
void scale_label(const struct scale *s, double tick, char out[SCALE_LABEL]);

/* The smallest and largest of values that are finite: extends [*low, *high]. */
void scale_extend(const double *values, size_t count, double *low, double *high);

#endif
