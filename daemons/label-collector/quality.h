/* quality.h - how far the labels in a store can be relied on: agreement, position bias, weights.
 *
 * A ranking of K completions is taken as its K (K - 1) / 2 pairs, each a judgement of its own with three
 * answers: the first is better, the second is, or they are equal. */
#ifndef LABEL_COLLECTOR_QUALITY_H
#define LABEL_COLLECTOR_QUALITY_H

#include "agreement/labelers.h"
#include "rl/statistics.h"
#include "store.h"

struct collector_person {
    char *name;
    size_t shared;           /* judgements of pairs that somebody else judged, too */
    double accuracy, weight; /* by Dawid and Skene; accuracy NAN where nothing is shared */
};
struct collector_agreement {
    size_t pairs, answers; /* pairs judged by two people or more, and what was said of them */
    struct rlhf_estimate raw, alpha, fleiss; /* fleiss: over the commonest number of answers a pair */
    struct rlhf_estimate cohen; /* of the two people who judged most pairs together ... */
    size_t one, other;          /* ... by their places in person[]; equal where there are no two */
    struct rlhf_estimate
        first_shown; /* how often the completion shown first won, ties apart; Wilson's interval */
    struct collector_person *person; /* [people] */
    size_t people;
};
/* Over the labels of a round ("" = all) that count, among the newest COLLECTOR_AGREEMENT_LABELS of the store:
 * what people do now matters, and the answer must not keep others waiting. */
enum { COLLECTOR_AGREEMENT_LABELS = 5000 };
int collector_measure_agreement(struct collector_store *s, const char *round, struct collector_agreement *a,
                                struct rlhf_error *err);
/* The people of it alone: quicker by far. */
int collector_measure_weights(struct collector_store *s, const char *round, struct collector_agreement *a,
                              struct rlhf_error *err);
void collector_agreement_free(struct collector_agreement *a); /* leaves it zeroed */

/* The same, remembered: measured again when there are new labels, but never so often that it takes more than a twentieth of the
 * time. */
struct collector_measured;
struct collector_measured *collector_measured_new(struct rlhf_error *err);
/* Borrowed until the next call. NULL and *err. */
const struct collector_agreement *collector_measured_agreement(struct collector_measured *m,
                                                               struct collector_store *s, const char *round,
                                                               const struct rlhf_clock *clock,
                                                               struct rlhf_error *err);
void collector_measured_free(struct collector_measured *m); /* NULL is fine */

/* Wilson's 95 % interval of a labeler's share of right gold answers. */
struct rlhf_interval collector_gold_interval(const struct collector_standing *s);

#endif
