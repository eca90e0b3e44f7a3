#include "rl/kl.h"

#include <math.h>

double rlhf_kl(enum rlhf_kl_estimator e, double logprob, double logprob_ref)
{
    double d = logprob - logprob_ref;

    switch (e) {
    case RLHF_KL_K2:
        return 0.5 * d * d;
    case RLHF_KL_K3:
        return expm1(-d) + d;
    default:
        return d;
    }
}

double rlhf_kl_slope(enum rlhf_kl_estimator e, double logprob, double logprob_ref)
{
    double d = logprob - logprob_ref;

    switch (e) {
    case RLHF_KL_K2:
        return d;
    case RLHF_KL_K3:
        return -expm1(-d);
    default:
        return 1;
    }
}

void rlhf_kl_rewards(enum rlhf_kl_estimator e, const struct rlhf_ragged *completions, const float *logprob,
                     const float *logprob_ref, const float *score, double beta, float *reward, double *kl_sum)
{
    const uint32_t *start = completions->start;

    for (size_t i = 0; i < completions->count; i++) {
        double sum = 0;
        for (uint32_t t = start[i]; t < start[i + 1]; t++) {
            double kl = rlhf_kl(e, logprob[t], logprob_ref[t]);
            double last = t + 1 == start[i + 1] ? score[i] : 0;
            reward[t] = (float)(last - beta * kl);
            sum += kl;
        }
        if (kl_sum)
            kl_sum[i] = sum;
    }
}

void rlhf_kl_controller_update(struct rlhf_kl_controller *c, double kl, double episodes)
{
    double error = kl / c->target - 1;

    if (c->horizon <= 0 || !isfinite(error))
        return;
    error = fmin(fmax(error, -0.2), 0.2);
    /* More than horizon / 0.2 episodes at once would turn the sign. */
    c->beta *= fmax(1 + error * episodes / c->horizon, 0);
}
