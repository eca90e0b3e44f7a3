/* advantage.h - from token rewards and values to advantages. Packed arrays as in kl.h. */
#ifndef RLHF_RL_ADVANTAGE_H
#define RLHF_RL_ADVANTAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Generalised advantage estimation (Schulman et al. 2016, eq. 16), the value behind a completion's last token
 * being 0: delta[t] = reward[t] + discount · value[t + 1] - value[t] advantage[t] = delta[t] + discount ·
 * lambda · advantage[t + 1],  ret[t] = advantage[t] + value[t]. */
void rlhf_gae(const uint32_t *start, size_t completions, const float *reward, const float *value,
              double discount, double lambda, float *advantage, float *ret);

struct rlhf_moments {
    double mean, variance; /* variance unbiased: over n - 1; 0 for fewer than two */
};
struct rlhf_moments rlhf_moments(const float *x, size_t count);

/* x = (x - mean) / sqrt(variance + 1e-8), and with keep_mean + mean ("whiten without mean shift",
 * lm-human-preferences). */
void rlhf_whiten(float *x, size_t count, bool keep_mean);

#endif
