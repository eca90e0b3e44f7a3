/* agreement.h - how far people agree beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha.
 *
 * Pure functions of answers. An answer is what one person said of one item: a category 0 .. categories - 1, with an order
 * where the measure is ordinal. A person answers an item once at most. Everything is NAN where it is not defined: nothing that
 * two people judged, or only one category seen (agreement beyond chance has no meaning then). */
#ifndef RLHF_AGREEMENT_AGREEMENT_H
#define RLHF_AGREEMENT_AGREEMENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct rlhf_answer {
    uint32_t item, person, category;
};

/* Answers sorted by item and person, with what the measures need to know of them. */
struct rlhf_answers {
    struct rlhf_answer *answer; /* [count] */
    size_t count, items;        /* items with an answer; their numbers need not be dense */
    size_t *start;              /* [items + 1] into answer */
    uint32_t categories, people; /* one more than the largest */
};
/* Sorts a copy. RLHF_REJECT: a category beyond `categories`, or a person who answered an item twice. */
int rlhf_answers_new(struct rlhf_answers *a, const struct rlhf_answer *answer, size_t count, uint32_t categories,
                     struct rlhf_error *err);
void rlhf_answers_free(struct rlhf_answers *a); /* leaves it zeroed */

/* Share of the pairs of answers to one item that are equal, a mean over items. */
double rlhf_raw_agreement(const struct rlhf_answers *a);
/* Of two people, over the items that both answered (Cohen 1960). */
double rlhf_cohen_kappa(const struct rlhf_answers *a, uint32_t one, uint32_t other);
/* Over the items with exactly n answers (Fleiss 1971). */
double rlhf_fleiss_kappa(const struct rlhf_answers *a, size_t n);
/* Any number of answers an item; items with one say nothing (Krippendorff, Content Analysis, 2004, chapter 11). */
enum rlhf_metric { RLHF_NOMINAL, RLHF_ORDINAL };
double rlhf_krippendorff_alpha(const struct rlhf_answers *a, enum rlhf_metric metric);

/* The same with a 95 % percentile interval over `rounds` resamplings of items, drawn from seed, the same for all measures. Rounds
 * without a value are left out; low and high are NAN when fewer than half have one. */
struct rlhf_estimate {
    double value, low, high;
};
struct rlhf_measure {
    double (*of)(const struct rlhf_answers *a, const void *ctx);
    const void *ctx;
    struct rlhf_estimate *out;
};
int rlhf_bootstrap(const struct rlhf_answers *a, const struct rlhf_measure *measures, size_t count, size_t rounds,
                   uint64_t seed, struct rlhf_error *err);

#endif
