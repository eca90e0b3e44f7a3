#include "rl/advantage.h"

#include <math.h>

void rlhf_gae(const struct rlhf_ragged *completions, const float *reward, const float *value, double discount,
              double lambda, float *advantage, float *ret)
{
    const uint32_t *start = completions->start;

    for (size_t i = 0; i < completions->count; i++) {
        double next_value = 0, next_advantage = 0;
        for (uint32_t t = start[i + 1]; t-- > start[i];) {
            double delta = reward[t] + discount * next_value - value[t];
            next_advantage = delta + discount * lambda * next_advantage;
            next_value = value[t];
            advantage[t] = (float)next_advantage;
            ret[t] = (float)(next_advantage + value[t]);
        }
    }
}

void rlhf_returns(const struct rlhf_ragged *completions, const float *reward, double discount, float *ret)
{
    const uint32_t *start = completions->start;

    for (size_t i = 0; i < completions->count; i++) {
        double next = 0;
        for (uint32_t t = start[i + 1]; t-- > start[i];) {
            next = reward[t] + discount * next;
            ret[t] = (float)next;
        }
    }
}

struct rlhf_moments rlhf_moments(const float *x, size_t count)
{
    struct rlhf_moments m = {0};
    double sum = 0, squares = 0;

    if (count == 0)
        return m;
    for (size_t i = 0; i < count; i++)
        sum += x[i];
    m.mean = sum / (double)count;
    for (size_t i = 0; i < count; i++)
        squares += (x[i] - m.mean) * (x[i] - m.mean);
    m.variance = count > 1 ? squares / (double)(count - 1) : 0;
    return m;
}

void rlhf_whiten(float *x, size_t count, bool keep_mean)
{
    struct rlhf_moments m = rlhf_moments(x, count);
    double scale = 1 / sqrt(m.variance + 1e-8);

    for (size_t i = 0; i < count; i++)
        x[i] = (float)((x[i] - m.mean) * scale + (keep_mean ? m.mean : 0));
}

void rlhf_normalize(float *x, size_t count)
{
    struct rlhf_moments m = rlhf_moments(x, count);
    double biased = count ? m.variance * (double)(count - 1) / (double)count : 0;
    double scale = 1 / sqrt(fmax(biased, 1e-8));

    for (size_t i = 0; i < count; i++)
        x[i] = (float)((x[i] - m.mean) * scale);
}
