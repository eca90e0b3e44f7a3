/* kl.h - how far a policy is from its reference, estimated from samples of the policy, and the penalty for
 * it.
 *
 * Packed arrays: completion i of B is [start[i], start[i + 1]) of the T tokens. Prompt tokens are not in
 * them. */
#ifndef RLHF_RL_KL_H
#define RLHF_RL_KL_H

#include <stddef.h>
#include <stdint.h>

/* Schulman, "Approximating KL divergence" (2020). With d = log pi - log pi_ref of a token sampled from pi:
 * k1 = d unbiased; k2 = d²/2; k3 = exp(-d) - 1 + d unbiased and never negative. */
enum rlhf_kl_estimator { RLHF_KL_K1, RLHF_KL_K2, RLHF_KL_K3 };

double rlhf_kl(enum rlhf_kl_estimator e, double logprob, double logprob_ref);
/* Its derivative by logprob. */
double rlhf_kl_slope(enum rlhf_kl_estimator e, double logprob, double logprob_ref);

/* Token rewards of the KL-penalised bandit (Ziegler et al. 2019, section 2.1; InstructGPT eq. 2 by tokens):
 * reward[t] = -beta · kl[t], and the score of its completion added at its last token. kl_sum[i] (may be NULL)
 * is the completion's sum of kl[t], in nats. An empty completion gets nothing. */
void rlhf_kl_rewards(enum rlhf_kl_estimator e, const uint32_t *start, size_t completions,
                     const float *logprob, const float *logprob_ref, const float *score, double beta,
                     float *reward, double *kl_sum);

#endif
