/* advantage.h - from token rewards and values to advantages. Ragged batches: ragged.h. */
#ifndef RLHF_RL_ADVANTAGE_H
#define RLHF_RL_ADVANTAGE_H

#include <stdbool.h>

#include "rl/ragged.h"

/* Generalised advantage estimation (Schulman et al. 2016, eq. 16), the value behind a completion's last token being
 * 0: delta[t] = reward[t] + discount · value[t + 1] - value[t], advantage[t] = delta[t] + discount · lambda ·
 * advantage[t + 1], ret[t] = advantage[t] + value[t]; all [T]. */
void rlhf_gae(const struct rlhf_ragged *completions, const float *reward, const float *value, double discount,
              double lambda, float *advantage, float *ret);

/* What is still to come, without a critic: ret[t] = reward[t] + discount · ret[t + 1]; [T]. ret may be reward. */
void rlhf_returns(const struct rlhf_ragged *completions, const float *reward, double discount, float *ret);

struct rlhf_moments {
    double mean, variance; /* variance unbiased: over n - 1; 0 for fewer than two */
};
struct rlhf_moments rlhf_moments(const float *x, size_t count);

/* x = (x - mean) / sqrt(variance + 1e-8), and with keep_mean + mean ("whiten without mean shift",
 * lm-human-preferences). */
void rlhf_whiten(float *x, size_t count, bool keep_mean);

/* x = (x - mean) / sqrt(max(variance over n, 1e-8)): the batch-wide normalisation of REINFORCE++ (Hu 2025). */
void rlhf_normalize(float *x, size_t count);

#endif
