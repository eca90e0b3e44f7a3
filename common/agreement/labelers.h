/* labelers.h - how far each person is to be believed: from each other (Dawid and Skene) and from gold items.
 *
 * Pure functions of answers (agreement.h). */
#ifndef RLHF_AGREEMENT_LABELERS_H
#define RLHF_AGREEMENT_LABELERS_H

#include <stdbool.h>

#include "agreement/agreement.h"

/* Dawid & Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979): the truth of every item
 * and every person's confusion matrix, each from the other. Dirichlet priors keep people with few answers near what is
 * expected of anybody: `expected` right of the answers, worth `strength` answers. Items that one person answered take part, and say little. */
struct rlhf_dawid_skene {
    size_t items, people, categories;
    double *truth;     /* [items, categories], items in the order of struct rlhf_answers    */
    double *confusion; /* [people, categories (true), categories (answered)], rows sum to 1 */
    double *share;     /* [categories] of the truth                                         */
    size_t *shared;    /* [people] answers to items that somebody else answered, too        */
    size_t iterations;
};
struct rlhf_dawid_skene_prior {
    double expected, strength;
};
int rlhf_dawid_skene_fit(struct rlhf_dawid_skene *d, const struct rlhf_answers *a, const struct rlhf_dawid_skene_prior *prior,
                         struct rlhf_error *err);
void rlhf_dawid_skene_free(struct rlhf_dawid_skene *d); /* leaves it zeroed */
/* The share of the truth that a person hits: the diagonal, weighed by share. */
double rlhf_dawid_skene_accuracy(const struct rlhf_dawid_skene *d, size_t person);
/* What a person's label is worth in training: (accuracy - chance) / (expected - chance) inside [0, 1]. 1 for
 * who does as expected or better, and for who shares no item with anybody; 0 for who does not beat chance. */
double rlhf_dawid_skene_weight(const struct rlhf_dawid_skene *d, const struct rlhf_dawid_skene_prior *prior, size_t person);

/* A running test of gold answers: Wald's sequential probability ratio test (1945) of "right in `good` of them" against "in
 * `bad`", begun anew each time it has found somebody good, so that who turns bad later is found as well. */
struct rlhf_gold_test {
    double good, bad;
    double false_alarm; /* of somebody just `good`, in one run of the test */
    double miss;        /* of somebody just `bad` */
};
/* 75 % is the agreement that InstructGPT asked of its labelers (recipe.md), 50 % is what a coin gives. Somebody right in 85 % of
 * all gold pairs is called bad in less than 1 % of 1,000 answers; who is right in 15 % is, within some ten. */
extern const struct rlhf_gold_test rlhf_gold_test_default;
enum rlhf_verdict { RLHF_UNDECIDED, RLHF_GOOD, RLHF_BAD };
/* Takes one more answer into *ratio, 0 at first, and says what it makes of it. */
enum rlhf_verdict rlhf_gold_test_step(const struct rlhf_gold_test *t, double *ratio, bool right);

#endif
