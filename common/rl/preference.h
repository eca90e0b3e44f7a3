/* preference.h - reward-model losses on comparisons (Bradley-Terry), and how well a model predicts them. */
#ifndef RLHF_RL_PREFERENCE_H
#define RLHF_RL_PREFERENCE_H

#include <stddef.h>
#include <stdint.h>

/* All 0 is InstructGPT's. */
struct rlhf_preference {
    double label_smoothing; /* eps, the share of labels thought wrong, below 0.5 (Mitchell 2023)                      */
    double center;          /* keeps rewards near 0 (Eisenstein et al. 2023; TRL's 0.01)                                */
    double margin;          /* K-wise: what one step of rank asks between two rewards (Touvron et al. 2023, eq. 2)     */
};

/* One pair: -(1 - eps) log σ(d) - eps log σ(-d) + center · (chosen + rejected)², d = chosen - rejected - margin; its
 * derivatives by chosen and rejected. The margin is this pair's own, beside which that of *s is not read. */
double rlhf_pair_loss(const struct rlhf_preference *s, double chosen, double rejected, double margin,
                      double *d_chosen, double *d_rejected);

/* InstructGPT eq. 1 for one prompt: the mean of rlhf_pair_loss() over its strictly ordered pairs; ties give none.
 * reward[K], rank[K] (smaller is better). Adds scale times the derivative to d_reward[K]. Returns the mean (0 where
 * there is no pair) and, where pairs is not NULL, how many pairs there are: scale 1/P and the mean over P prompts,
 * or scale pairs/N and the mean over all N pairs of a batch. */
double rlhf_kway_loss(const struct rlhf_preference *s, const float *reward, const uint32_t *rank, size_t k,
                      double scale, float *d_reward, size_t *pairs);

/* How a score orders the pairs of comparisons; equal scores count half. */
struct rlhf_agreement {
    double right;          /* pairs ordered as the people did, of */
    size_t pairs;          /* strictly ordered ones                */
    size_t ties;           /* pairs that people found equal, and   */
    double margin;         /* their mean |difference| of scores    */
    double ordered_margin; /* the same of the strictly ordered pairs */
};
/* Adds one prompt's pairs to *a (margins as sums: rlhf_agreement_end() divides them). */
void rlhf_agreement_add(struct rlhf_agreement *a, const float *score, const uint32_t *rank, size_t k);
void rlhf_agreement_end(struct rlhf_agreement *a);

#endif
