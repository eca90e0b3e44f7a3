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

void rlhf_kl_rewards(enum rlhf_kl_estimator e, const uint32_t *start, size_t completions,
                     const float *logprob, const float *logprob_ref, const float *score, double beta,
                     float *reward, double *kl_sum)
{
    for (size_t i = 0; i < completions; i++) {
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
