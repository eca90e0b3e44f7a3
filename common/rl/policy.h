/* policy.h - the losses that move a policy by advantages: PPO, GRPO and its relatives, RLOO, REINFORCE++.
 *
 * They are one loss with five switches: which surrogate of the ratio pi_new / pi_old, whether that ratio is a
 * token's or a completion's, what mean is taken, where it is clipped, and whether a KL penalty stands in the loss.
 * algorithm.h lists which algorithm is which setting.
 *
 * loss = sum over completions i and their tokens t of weight[i] · (importance · surrogate[t] + beta · kl[t])
 *
 * NaN in, NaN out: a NaN or infinite log-prob, or a NaN anywhere, makes the loss NaN, so that the optimiser's check
 * of its loss drops the update. Ragged batches: ragged.h. */
#ifndef RLHF_RL_POLICY_H
#define RLHF_RL_POLICY_H

#include <stdbool.h>

#include "base/error.h"
#include "rl/kl.h"
#include "rl/ragged.h"

/* With A the advantage, r the ratio, c = clip(r, 1 - clip_low, 1 + clip_high): */
enum rlhf_surrogate {
    RLHF_SURROGATE_CLIP,  /* -min(A·r, A·c): PPO (Schulman et al. 2017, eq. 7); clip_low < clip_high is DAPO's
                           * clip-higher (Yu et al. 2025, eq. 10); with ratio_limit r is cut at it from above, also
                           * where A < 0: dual clip (Ye et al. 2020; INTELLECT-2, 2025)                          */
    RLHF_SURROGATE_CISPO, /* -A·min(r, clip_high)·log pi_new, the factor held constant: no token's gradient is lost;
                           * clip_high is the bound itself (MiniMax-M1 2025, eq. 4 without its lower bound)      */
    RLHF_SURROGATE_SAPO,  /* -A·(4/tau)·sigmoid(tau·(r - 1)), tau = temperature of A's sign (Gao et al. 2025)      */
};

enum rlhf_ratio {
    RLHF_RATIO_TOKEN,    /* r[t] = pi_new / pi_old of the token                                                  */
    RLHF_RATIO_MEAN,     /* the geometric mean of its completion's token ratios: GSPO (Zheng et al. 2025, eq. 7)  */
    RLHF_RATIO_SEQUENCE, /* their product, the ratio of the completion: RLOO (Ahmadian et al. 2024)               */
};

/* What a token of completion i of B weighs; length limit L. */
enum rlhf_mean {
    RLHF_MEAN_TOKENS,      /* 1 / tokens of the batch: PPO, BNPO                                    */
    RLHF_MEAN_COMPLETIONS, /* 1 / (B · length[i]): GRPO (Shao et al. 2024, eq. 3)                    */
    RLHF_MEAN_LIMIT,       /* 1 / (B · L): Dr. GRPO (Liu et al. 2025), which has no length bias      */
    RLHF_MEAN_ITEMS,       /* 1 / tokens of all batches of the update: DAPO (Yu et al. 2025, eq. 8)  */
};

struct rlhf_policy_loss {
    enum rlhf_surrogate surrogate;
    enum rlhf_ratio ratio;
    enum rlhf_mean mean;
    double clip_low, clip_high;
    double ratio_limit;                /* 0: none; above 1, and of use above 1 + clip_high                     */
    double temperature_positive;       /* SAPO's tau for A > 0; theirs 1                                        */
    double temperature_negative;       /* and for the rest; theirs 1.05                                         */
    double beta;                       /* of the KL penalty in the loss; 0: none, logprob_ref is not read       */
    enum rlhf_kl_estimator kl;         /* GRPO: k3                                                              */
    bool kl_corrected;                 /* kl[t] is multiplied by r, which makes its gradient unbiased off policy
                                        * (DeepSeek-V3.2, 2025, "unbiased KL estimate")                         */
};

/* RLHF_REJECT with the setting that makes no sense. */
int rlhf_policy_loss_check(const struct rlhf_policy_loss *s, struct rlhf_error *err);

/* weight[B] for the batch that the mean is over. A batch worked off in pieces takes the weights of the whole: the
 * pieces' losses and derivatives add up. limit: L of RLHF_MEAN_LIMIT, tokens. items: the tokens of RLHF_MEAN_ITEMS,
 * over all micro-batches of an update; the other means know one micro-batch and are divided by accumulation, the
 * number of them (1: none). No token at all divides by 1, not by 0. */
void rlhf_policy_weights(enum rlhf_mean mean, const struct rlhf_ragged *completions, double limit, double items,
                         double accumulation, double *weight);

struct rlhf_policy_batch {
    struct rlhf_ragged completions;
    const float *logprob_new;       /* [T] under the policy that moves                                           */
    const float *logprob_old;       /* [T] under the one that ratios are taken against                           */
    const float *logprob_ref;       /* [T] under the reference; read when beta is not 0                          */
    const float *advantage;         /* [B], or NULL and                                                          */
    const float *advantage_token;   /* [T]                                                                       */
    const float *importance;        /* [B] and                                                                   */
    const float *importance_token;  /* [T] multiply the surrogate; NULL is 1. From rlhf_importance()              */
    const double *weight;           /* [B] from rlhf_policy_weights()                                            */
};

/* Sums, so that pieces add up. Divide ratio, clipped_* by ratios and kl, kl_old_* by tokens. */
struct rlhf_policy_statistics {
    double loss;                            /* weighted, final                                                  */
    double tokens, ratios;                  /* a ratio a token, or one a completion                             */
    double ratio;                           /* r before any cut                                                 */
    double clipped_low, clipped_high;       /* r < 1 - clip_low with A < 0, r > 1 + clip_high with A > 0        */
    double kl;                              /* new to reference, as penalised; 0 without beta                   */
    double kl_old_k1, kl_old_k2, kl_old_k3; /* old to new: -d, d²/2, exp(d) - 1 - d, d = log pi_new / pi_old    */
};

/* d_logprob [T] is overwritten with the loss's derivative by logprob_new; statistics are added to *sum. An empty
 * completion adds nothing, but for RLHF_RATIO_SEQUENCE, where its ratio is 1 and its loss -A (as in TRL). */
void rlhf_policy_loss(const struct rlhf_policy_loss *s, const struct rlhf_policy_batch *b, float *d_logprob,
                      struct rlhf_policy_statistics *sum);

/* ---- importance weights ------------------------------------------------------------------------------- */

/* For tokens sampled by another distribution than logprob_old's: an engine that rounds differently, or an older policy.
 * Truncation is Yao et al. 2025 ("TIS"; Ionides 2008), masking drops what is outside (Liu et al. 2025, "MIS"). With
 * logprob_old the proximal and logprob_sampled the behaviour policy this is the decoupled PPO objective
 * (Hilton et al. 2021, section 3; for lagged rollouts Fu et al. 2025, "AReaL"). */
enum rlhf_importance { RLHF_IMPORTANCE_TRUNCATE, RLHF_IMPORTANCE_MASK };

/* w = pi_old / pi_sampled, of tokens (weight [T]) or, where by_sequence, of completions (weight [B]; an empty one: 1).
 * TRUNCATE: clip(w, low, high); MASK: w where low <= w <= high, else 0. low 0 and high INFINITY: no bound. A token
 * whose log-prob was not recorded (NaN) counts as sampled by pi_old: w = 1. No gradient flows through w. */
void rlhf_importance(enum rlhf_importance mode, bool by_sequence, const struct rlhf_ragged *completions,
                     const float *logprob_old, const float *logprob_sampled, double low, double high, float *weight);

#endif
