/* kl.h - how far a policy is from its reference, estimated from samples of the policy, and the penalty for it.
 * Ragged batches: ragged.h. */
#ifndef RLHF_RL_KL_H
#define RLHF_RL_KL_H

#include "rl/ragged.h"

/* Schulman, "Approximating KL divergence" (2020). With d = log pi - log pi_ref of a token sampled from pi:
 * k1 = d unbiased; k2 = d²/2; k3 = exp(-d) - 1 + d unbiased and never negative. Nats. */
enum rlhf_kl_estimator { RLHF_KL_K1, RLHF_KL_K2, RLHF_KL_K3 };

double rlhf_kl(enum rlhf_kl_estimator e, double logprob, double logprob_ref);
/* Its derivative by logprob. */
double rlhf_kl_slope(enum rlhf_kl_estimator e, double logprob, double logprob_ref);

/* Token rewards of the KL-penalised bandit (Ziegler et al. 2019, section 2.1; InstructGPT eq. 2 by tokens):
 * reward[T] = -beta · kl[T], and the score[B] of a completion added at its last token. kl_sum[B] (may be NULL) is
 * the completion's sum of kl, in nats. An empty completion gets nothing: its score has no token to go to. */
void rlhf_kl_rewards(enum rlhf_kl_estimator e, const struct rlhf_ragged *completions, const float *logprob,
                     const float *logprob_ref, const float *score, double beta, float *reward, double *kl_sum);

/* The adaptive coefficient of Ziegler et al. 2019, section 2.2: a proportional controller in the logarithm of beta. */
struct rlhf_kl_controller {
    double beta;    /* now; lm-human-preferences starts at 0.15            */
    double target;  /* nats a completion; theirs 6                         */
    double horizon; /* episodes; theirs 10,000; 0 = a fixed coefficient    */
};
/* error = clip(kl / target - 1, ±0.2); beta *= 1 + error · episodes / horizon. kl: mean nats a completion over the
 * `episodes` since the last call. One that is not finite moves nothing. */
void rlhf_kl_controller_update(struct rlhf_kl_controller *c, double kl, double episodes);

#endif
