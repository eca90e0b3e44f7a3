/* ppo.h - the two losses of proximal policy optimisation with a critic (Schulman et al. 2017), by tokens.
 *
 * `weight` is what each of the n tokens weighs: 1/n for the mean over a minibatch of n. So a minibatch may be worked
 * off in pieces, the sums adding up. NaN in, NaN out, as in policy.h. */
#ifndef RLHF_RL_PPO_H
#define RLHF_RL_PPO_H

#include <stddef.h>

struct rlhf_ppo_statistics {
    double loss;
    double clip_fraction;       /* tokens whose clipped branch is the larger loss (weighted mean)   */
    double ratio;               /* mean of pi_new / pi_old                                          */
    double kl_k1, kl_k2, kl_k3; /* old to new policy, means of -d, d²/2 and exp(d) - 1 - d          */
};

/* rlhf_policy_loss() with the clipped surrogate, a ratio and an advantage a token: eq. 7, loss += weight · max(-A·r,
 * -A·clip(r, 1 - clip, 1 + clip)), r = exp(logprob_new - logprob_old). d_logprob [n] is overwritten with the
 * loss's derivative by logprob_new; statistics are added to *s. */
void rlhf_ppo_policy(const float *logprob_new, const float *logprob_old, const float *advantage, size_t n,
                     double clip, double weight, float *d_logprob, struct rlhf_ppo_statistics *s);

/* loss += weight · ½ (V - R)², the ½ included; with clip > 0 the larger of that and ½ (clip(V, old ± clip) -
 * R)² (Schulman's baselines). d_value [n] is overwritten; loss and clip_fraction are added to *s. */
void rlhf_ppo_value(const float *value, const float *value_old, const float *ret, size_t n, double clip,
                    double weight, float *d_value, struct rlhf_ppo_statistics *s);

#endif
