#include "report/scale.h"

#include <math.h>
#include <stdio.h>

/* 1, 2 or 5 times a power of ten, near x (Heckbert, "Nice numbers for graph labels", Graphics Gems, 1990). */
static double nice(double x)
{
    double power = pow(10, floor(log10(x))), f = x / power;

    return (f < 1.5 ? 1 : f < 3 ? 2 : f < 7 ? 5 : 10) * power;
}

struct scale scale_of(double low, double high, unsigned ticks, double from, double to)
{
    struct scale s = {.from = from, .to = to};

    if (!isfinite(low) || !isfinite(high) || low > high) {
        low = 0;
        high = 1;
    }
    if (high - low < 1e-12 * fmax(1e-30, fmax(fabs(low), fabs(high)))) {
        double around = low == 0 ? 1 : fabs(low) / 2;
        low -= around;
        high += around;
    }
    s.step = nice((high - low) / (ticks > 1 ? ticks - 1 : 1));
    s.low = floor(low / s.step + 0.05) * s.step; /* what sticks out by less than a twentieth of a step may */
    s.high = ceil(high / s.step - 0.05) * s.step;
    return s;
}

double scale_at(const struct scale *s, double value)
{
    return s->from + (value - s->low) / (s->high - s->low) * (s->to - s->from);
}

size_t scale_ticks(const struct scale *s)
{
    return (size_t)lround((s->high - s->low) / s->step) + 1;
}

double scale_tick(const struct scale *s, size_t index)
{
    double tick = s->low + (double)index * s->step;

    return fabs(tick) < s->step * 1e-9 ? 0 : tick;
}

void scale_label(const struct scale *s, double tick, char out[SCALE_LABEL])
{
    double largest = fmax(fabs(s->low), fabs(s->high));
    const char *sign = tick < 0 ? "\u2212" : "";
    int decimals = (int)fmax(0, -floor(log10(s->step) + 1e-9));

    if (largest >= 1e7 || s->step < 1e-3)
        snprintf(out, SCALE_LABEL, "%s%.3g", sign, fabs(tick));
    else if (largest >= 1e4 && fmod(s->step, 100) < 1e-9)
        snprintf(out, SCALE_LABEL, "%s%.*fk", sign, fmod(s->step, 1000) < 1e-9 ? 0 : 1, fabs(tick) / 1000);
    else
        snprintf(out, SCALE_LABEL, "%s%.*f", sign, decimals, fabs(tick));
}

void scale_extend(const double *values, size_t count, double *low, double *high)
{
    for (size_t i = 0; values && i < count; i++)
        if (isfinite(values[i])) {
            *low = values[i] < *low ? values[i] : *low;
            *high = values[i] > *high ? values[i] : *high;
        }
}
