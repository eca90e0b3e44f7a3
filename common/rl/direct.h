/* direct.h - losses that learn a policy from preferences without a reward model: DPO and its relatives, KTO, ORPO.
 *
 * Log-probs are of completion tokens (ragged.h); a log-ratio is the sum of a completion's log-probs under the policy
 * less that under the reference. Derivatives d_logprob [T] are overwritten; statistics are added to *sum, so that a
 * minibatch may be worked off in pieces. NaN in, NaN out: a log-ratio that is not finite makes the loss NaN. */
#ifndef RLHF_RL_DIRECT_H
#define RLHF_RL_DIRECT_H

#include <stdbool.h>

#include "base/error.h"
#include "rl/ragged.h"

/* With u, v the log-ratios of the chosen and the rejected completion, s = f'(ratio) their scores under the
 * divergence, h = beta · (s(u) - s(v)), eps the label smoothing, mean(.) divided by the completion's tokens: */
enum rlhf_dpo_kind {
    RLHF_DPO_SIGMOID,      /* -(1 - eps) log σ(h) - eps log σ(-h): Rafailov et al. 2023, eq. 7; eps: Mitchell 2023     */
    RLHF_DPO_SIGMOID_NORM, /* -log σ(beta · (mean s(u) - mean s(v))): length-normalised (Meng et al. 2024)          */
    RLHF_DPO_HINGE,        /* max(0, 1 - h): SLiC (Zhao et al. 2023)                                             */
    RLHF_DPO_IPO,          /* (mean s(u) - mean s(v) - 1 / (2 beta))²: Azar et al. 2023, eq. 17, by token means      */
    RLHF_DPO_EXO_PAIR,     /* KL(softmax(h, 0) || (1 - eps, eps)), eps > 0: Ji et al. 2024, eq. 16                  */
    RLHF_DPO_ROBUST,       /* (-(1 - eps) log σ(h) + eps log σ(-h)) / (1 - 2 eps): Chowdhury et al. 2024           */
    RLHF_DPO_NCA_PAIR,     /* -log σ(beta u) - ½ log σ(-beta u) - ½ log σ(-beta v): Chen et al. 2024              */
    RLHF_DPO_BCO_PAIR,     /* -log σ(beta u) - log σ(-beta v): Jung et al. 2024, its shift 0                      */
    RLHF_DPO_SPPO_HARD,    /* (u - 1 / (2 beta))² + (v + 1 / (2 beta))²: Wu et al. 2024, eq. 4.7 with P = 1 and 0  */
    RLHF_DPO_APO_ZERO,     /* 1 - σ(beta u) + σ(beta v): D'Oosterlinck et al. 2024, eq. 7                         */
    RLHF_DPO_APO_DOWN,     /* σ(beta u) + 1 - σ(beta (u - v)): the same, eq. 8                                   */
    RLHF_DPO_DISCOPOP,     /* -log σ(h) (1 - m) + exp(-h) m, m = σ(h / 0.05): Lu et al. 2024, eq. 5               */
    RLHF_DPO_SFT,          /* the mean over all chosen tokens of the minibatch of -log pi (RPO, Pang et al. 2024)   */
};

/* s(u), exp(u) being the ratio: Wang et al. 2024 ("f-DPO"), table 1. */
enum rlhf_divergence {
    RLHF_DIVERGENCE_REVERSE_KL, /* u: DPO itself                                             */
    RLHF_DIVERGENCE_FORWARD_KL, /* 1 - exp(-u)                                               */
    RLHF_DIVERGENCE_JS,         /* log 2 + log σ(u)                                          */
    RLHF_DIVERGENCE_ALPHA,      /* (exp((alpha - 1) u) - 1) / (alpha - 1); u where alpha = 1  */
};

struct rlhf_dpo_term {
    enum rlhf_dpo_kind kind;
    double weight, label_smoothing;
};

struct rlhf_dpo {
    double beta;
    enum rlhf_divergence divergence;
    double alpha;                      /* of RLHF_DIVERGENCE_ALPHA                                                */
    bool desensitized;                 /* LD-DPO (Liu et al. 2024): the tokens of a completion beyond the  */
    double tail;                       /* length of its pair's shorter one weigh `tail`, others 1                   */
    const struct rlhf_dpo_term *terms; /* their weighted losses are added                                           */
    size_t count;
};

/* RLHF_REJECT with the setting that makes no sense. */
int rlhf_dpo_check(const struct rlhf_dpo *s, struct rlhf_error *err);
/* The kind of that name ("sigmoid", "exo_pair", "sft"; as TRL spells them), or -1. */
int rlhf_dpo_kind_named(const char *name);

struct rlhf_pairs {
    struct rlhf_ragged completions; /* 2B rows: the chosen ones of B pairs, then their rejected ones                */
    const float *logprob;           /* [T]                                                                         */
    const double *reference;        /* [2B] log-probs under the reference, from rlhf_ragged_sums() or, in LD-DPO's
                                     * own form, rlhf_pair_sums() (TRL takes that when it does not precompute them).
                                     * NULL: no reference, 0                                                        */
    const float *weight;            /* [B] what each pair counts for, in every term; NULL: all 1                    */
    size_t of_pairs;                /* what the means are over when this is a piece of a minibatch: its pairs        */
    size_t of_tokens;               /* and its chosen tokens; 0: those here                                          */
};

/* sum[2B] of x[T] over completions as the settings weigh their tokens. */
void rlhf_pair_sums(const struct rlhf_dpo *s, const struct rlhf_ragged *completions, const float *x, double *sum);

/* Sums over pairs, but for the loss: divide by pairs. */
struct rlhf_pairs_statistics {
    double loss;             /* final                                               */
    double pairs;
    double chosen, rejected; /* beta · log-ratios (ORPO: mean log-probs of a token) */
    double right;            /* pairs whose chosen one has the larger               */
};

void rlhf_dpo_loss(const struct rlhf_dpo *s, const struct rlhf_pairs *b, float *d_logprob,
                   struct rlhf_pairs_statistics *sum);

/* ORPO's preference part (Hong et al. 2024, eqs. 4 and 7): -beta · mean over pairs of log σ(log odds(chosen) - log
 * odds(rejected)), odds(p) = p / (1 - p), p the geometric mean of a completion's token probabilities. `reference` is
 * not read. The whole loss adds the mean -log-prob of the chosen sequences' tokens, prompt included. A mean log-prob
 * above -1e-12 counts as that, so that certainty has finite odds. *log_odds (may be NULL): the pairs' sum of the
 * difference of log odds. */
void rlhf_orpo_loss(double beta, const struct rlhf_pairs *b, float *d_logprob, struct rlhf_pairs_statistics *sum,
                    double *log_odds);

/* ---- single completions with a thumb up or down ------------------------------------------------------- */

struct rlhf_kto {
    double beta;
    double desirable, undesirable; /* weights of good and bad completions; Ethayarajh et al. advise to balance their
                                    * numbers within 1 to 4/3                                                       */
};

/* The reference point: max(0, mean of logprob[n] - logprob_ref[n]), log-probs of mismatched completions under policy
 * and reference (Ethayarajh et al. 2024, section 4.1). 0 for n = 0. No gradient flows through it. */
double rlhf_kto_kl(const float *logprob, const float *logprob_ref, size_t n);

/* Sums, but for the loss: divide by good + bad. */
struct rlhf_kto_statistics {
    double loss;
    double good, bad;               /* completions                */
    double good_reward, bad_reward; /* their beta · log-ratios     */
};

/* KTO (eq. 7): the mean over completions [B] of desirable · (1 - σ(beta (u - kl))) where good[B], and of
 * undesirable · (1 - σ(beta (kl - u))) elsewhere. With kl 0 it is the unpaired form of APO-zero. reference [B] and weight [B]
 * as in rlhf_pairs. `of`: the completions that the mean is over, 0: those here. */
void rlhf_kto_loss(const struct rlhf_kto *s, const struct rlhf_ragged *completions, const float *logprob,
                   const double *reference, const bool *good, const float *weight, double kl, size_t of, float *d_logprob,
                   struct rlhf_kto_statistics *sum);

#endif
