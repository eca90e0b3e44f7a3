/* preference.h - reward-model losses on comparisons (Bradley-Terry), and how well a model predicts them. */
#ifndef RLHF_RL_PREFERENCE_H
#define RLHF_RL_PREFERENCE_H

#include <stddef.h>
#include <stdint.h>

double rlhf_log_sigmoid(double x); /* log σ(x) with its linear tail */

/* InstructGPT eq. 1 for one prompt: the mean of -log σ(r_better - r_worse) over its strictly ordered pairs;
 * ties give none. reward[K], rank[K] (smaller is better). Adds scale times the derivative to d_reward[K].
 * Returns the mean (0 where there is no pair) and, where pairs is not NULL, how many pairs there are. */
double rlhf_kway_loss(const float *reward, const uint32_t *rank, size_t k, double scale, float *d_reward,
                      size_t *pairs);

/* -log σ(chosen - rejected - margin) + center · (chosen + rejected)²; its derivatives by chosen and rejected.
 */
double rlhf_pair_loss(double chosen, double rejected, double margin, double center, double *d_chosen,
                      double *d_rejected);

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
