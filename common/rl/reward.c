#include "rl/reward.h"

#include <math.h>

/* ---- scales ------------------------------------------------------------------------------------------- */

static double mean_of(const float *x, size_t count, size_t *present)
{
    double sum = 0;

    *present = 0;
    for (size_t i = 0; i < count; i++)
        if (!isnan(x[i])) {
            sum += x[i];
            ++*present;
        }
    return *present ? sum / (double)*present : 0;
}

struct rlhf_reward_scale rlhf_reward_scale_fit(const float *score, size_t count, double mean,
                                               double deviation)
{
    struct rlhf_reward_scale s = {.gain = 1};
    size_t present;
    double m = mean_of(score, count, &present), squares = 0;

    if (present == 0)
        return s;
    for (size_t i = 0; i < count; i++)
        if (!isnan(score[i]))
            squares += (score[i] - m) * (score[i] - m);
    if (squares > 0) /* so there are two at least */
        s.gain = deviation / sqrt(squares / (double)(present - 1));
    s.bias = mean - s.gain * m;
    return s;
}

struct rlhf_reward_scale rlhf_reward_bias_fit(const float *score, size_t count, double mean)
{
    size_t present;
    double m = mean_of(score, count, &present);

    return (struct rlhf_reward_scale){.gain = 1, .bias = present ? mean - m : 0};
}

void rlhf_reward_scale_apply(const struct rlhf_reward_scale *s, float *score, size_t count)
{
    for (size_t i = 0; i < count; i++)
        score[i] = (float)(s->gain * score[i] + s->bias);
}

void rlhf_reward_clip(float *score, size_t count, double low, double high)
{
    for (size_t i = 0; i < count; i++)
        score[i] = (float)(score[i] > high ? high : score[i] < low ? low : score[i]);
}

/* ---- several sources ---------------------------------------------------------------------------------- */

void rlhf_reward_ensemble(const float *const *score, size_t models, size_t count, double k, float *out)
{
    for (size_t i = 0; i < count; i++) {
        double sum = 0, squares = 0, n = 0, mean;
        for (size_t m = 0; m < models; m++)
            if (!isnan(score[m][i])) {
                sum += score[m][i];
                n++;
            }
        mean = n > 0 ? sum / n : NAN;
        for (size_t m = 0; m < models; m++)
            if (!isnan(score[m][i]))
                squares += (score[m][i] - mean) * (score[m][i] - mean);
        out[i] = (float)(mean - (n > 1 ? k * sqrt(squares / (n - 1)) : 0));
    }
}

void rlhf_reward_mix(const float *const *score, const double *weight, size_t sources, size_t count,
                     float *out)
{
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (size_t s = 0; s < sources; s++)
            if (weight[s] != 0)
                sum += weight[s] * score[s][i];
        out[i] = (float)sum;
    }
}

/* ---- ends of completions ------------------------------------------------------------------------------ */

void rlhf_eos_penalty(float *score, const bool *finished, size_t count, double penalty)
{
    for (size_t i = 0; i < count; i++)
        if (!finished[i] && !isnan(score[i]))
            score[i] = (float)penalty;
}

double rlhf_overlong_penalty(size_t length, size_t limit, size_t cache)
{
    size_t soft = limit > cache ? limit - cache : 0;

    if (length <= soft)
        return 0;
    if (length >= limit)
        return -1;
    return -(double)(length - soft) / (double)(limit - soft);
}
