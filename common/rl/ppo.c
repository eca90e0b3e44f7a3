#include "rl/ppo.h"

#include "rl/policy.h"

void rlhf_ppo_policy(const float *logprob_new, const float *logprob_old, const float *advantage, size_t n,
                     double clip, double weight, float *d_logprob, struct rlhf_ppo_statistics *s)
{
    const struct rlhf_policy_loss loss = {.clip_low = clip, .clip_high = clip};
    const uint32_t start[] = {0, (uint32_t)n};
    const struct rlhf_policy_batch batch = {
        .completions = {start, 1},
        .logprob_new = logprob_new,
        .logprob_old = logprob_old,
        .advantage_token = advantage,
        .weight = &weight,
    };
    struct rlhf_policy_statistics sum = {.loss = s->loss};

    rlhf_policy_loss(&loss, &batch, d_logprob, &sum);
    s->loss = sum.loss;
    s->clip_fraction += weight * (sum.clipped_low + sum.clipped_high);
    s->ratio += weight * sum.ratio;
    s->kl_k1 += weight * sum.kl_old_k1;
    s->kl_k2 += weight * sum.kl_old_k2;
    s->kl_k3 += weight * sum.kl_old_k3;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

void rlhf_ppo_value(const float *value, const float *value_old, const float *ret, size_t n, double clip,
                    double weight, float *d_value, struct rlhf_ppo_statistics *s)
{
    for (size_t t = 0; t < n; t++) {
        double plain = (double)value[t] - ret[t];
        double kept = clip > 0 ? clamp(value[t], value_old[t] - clip, value_old[t] + clip) : value[t];
        double clipped = kept - ret[t];
        int cut = clipped * clipped > plain * plain;

        d_value[t] = (float)(cut ? 0 : weight * plain);
        s->loss += weight * 0.5 * (cut ? clipped * clipped : plain * plain);
        s->clip_fraction += cut ? weight : 0;
    }
}
