#include "rl/group.h"

#include <math.h>

static const double epsilon = 1e-4;

/* Of what is not missing. */
struct spread {
    double count, sum, mean, deviation;
};

static struct spread spread_of(const float *x, size_t from, size_t to)
{
    struct spread s = {.mean = NAN, .deviation = NAN};
    double squares = 0;

    for (size_t i = from; i < to; i++)
        if (!isnan(x[i])) {
            s.count++;
            s.sum += x[i];
        }
    if (s.count > 0)
        s.mean = s.sum / s.count;
    for (size_t i = from; i < to; i++)
        if (!isnan(x[i]))
            squares += (x[i] - s.mean) * (x[i] - s.mean);
    if (s.count > 1)
        s.deviation = sqrt(squares / (s.count - 1));
    return s;
}

static double minus_baseline(enum rlhf_baseline baseline, const struct spread *group, double reward)
{
    switch (baseline) {
    case RLHF_BASELINE_MEAN:
        return reward - group->mean;
    case RLHF_BASELINE_LEAVE_ONE_OUT:
        return group->count > 1 ? reward - (group->sum - reward) / (group->count - 1) : NAN;
    default:
        return reward;
    }
}

int rlhf_group_advantages(const struct rlhf_ragged *groups, const float *reward, enum rlhf_baseline baseline,
                          enum rlhf_scale scale, float *advantage, double *mean, double *deviation,
                          struct rlhf_error *err)
{
    uint32_t from = groups->start[0], to = groups->start[groups->count];
    struct spread batch;

    for (uint32_t i = from; i < to; i++)
        if (isinf(reward[i]))
            return rlhf_fail(err, RLHF_REJECT,
                             "reward[%u] is infinite: a reward is finite, or NaN when missing", i);
    batch = spread_of(reward, from, to);
    for (size_t p = 0; p < groups->count; p++) {
        struct spread group = spread_of(reward, groups->start[p], groups->start[p + 1]);
        if (mean)
            mean[p] = group.mean;
        if (deviation)
            deviation[p] = group.deviation;
        for (uint32_t i = groups->start[p]; i < groups->start[p + 1]; i++) {
            double a = minus_baseline(baseline, &group, reward[i]);
            if (scale == RLHF_SCALE_GROUP)
                a /= group.deviation + epsilon;
            if (scale == RLHF_SCALE_BATCH)
                a /= batch.deviation + epsilon;
            advantage[i] =
                (float)a; /* NaN where there is none: until the end, so that whitening leaves it out */
        }
    }
    if (scale == RLHF_SCALE_WHITEN) {
        struct spread all = spread_of(advantage, from, to);
        for (uint32_t i = from; i < to; i++)
            advantage[i] = (float)((advantage[i] - all.mean) / (all.deviation + epsilon));
    }
    for (uint32_t i = from; i < to; i++)
        if (isnan(advantage[i]))
            advantage[i] = 0;
    return 0;
}

size_t rlhf_group_filter(const struct rlhf_ragged *groups, const float *reward, double spread, bool *keep)
{
    size_t kept = 0;

    for (size_t p = 0; p < groups->count; p++) {
        double low = INFINITY, high = -INFINITY;
        for (uint32_t i = groups->start[p]; i < groups->start[p + 1]; i++)
            if (!isnan(reward[i])) {
                low = fmin(low, reward[i]);
                high = fmax(high, reward[i]);
            }
        keep[p] = high - low > spread;
        kept += keep[p];
    }
    return kept;
}

void rlhf_group_extremes(const struct rlhf_ragged *groups, const float *reward, int64_t *best, int64_t *worst)
{
    for (size_t p = 0; p < groups->count; p++) {
        int64_t high = RLHF_NOBODY, low = RLHF_NOBODY;
        for (uint32_t i = groups->start[p]; i < groups->start[p + 1]; i++) {
            if (isnan(reward[i]))
                continue;
            if (high == RLHF_NOBODY || reward[i] > reward[high])
                high = i;
            if (low == RLHF_NOBODY || reward[i] < reward[low])
                low = i;
        }
        if (best)
            best[p] = high;
        if (worst)
            worst[p] = low;
    }
}
