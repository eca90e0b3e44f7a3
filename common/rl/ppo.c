#include "rl/ppo.h"

#include <math.h>

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

void rlhf_ppo_policy(const float *logprob_new, const float *logprob_old, const float *advantage, size_t n,
                     double clip, const double *weight, size_t weight_step, float *d_logprob,
                     struct rlhf_ppo_statistics *s)
{
    for (size_t t = 0; t < n; t++) {
        double w = weight[t * weight_step];
        double d = (double)logprob_new[t] - logprob_old[t];
        double r = exp(d), a = advantage[t];
        double plain = -a * r, clipped = -a * clamp(r, 1 - clip, 1 + clip);
        int cut = clipped > plain; /* only then is the clipped branch, which is constant in r, the loss */

        d_logprob[t] = (float)(cut ? 0 : w * plain);
        s->loss += w * (cut ? clipped : plain);
        s->clip_fraction += cut ? w : 0;
        s->ratio += w * r;
        s->kl_k1 -= w * d;
        s->kl_k2 += w * 0.5 * d * d;
        s->kl_k3 += w * (expm1(d) - d);
    }
}

void rlhf_ppo_value(const float *value, const float *value_old, const float *ret, size_t n, double clip,
                    const double *weight, size_t weight_step, float *d_value, struct rlhf_ppo_statistics *s)
{
    for (size_t t = 0; t < n; t++) {
        double w = weight[t * weight_step];
        double plain = (double)value[t] - ret[t];
        double kept = clip > 0 ? clamp(value[t], value_old[t] - clip, value_old[t] + clip) : value[t];
        double clipped = kept - ret[t];
        int cut = clipped * clipped > plain * plain;

        d_value[t] = (float)(cut ? 0 : w * plain);
        s->loss += w * 0.5 * (cut ? clipped * clipped : plain * plain);
        s->clip_fraction += cut ? w : 0;
    }
}
