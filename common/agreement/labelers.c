#include "agreement/labelers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ITERATIONS = 200 };
static const double settled = 1e-7; /* largest change of a probability between two iterations */

/* Everybody's answers to an item make its truth as likely as their confusion matrices say. Returns the largest change.
 * log_confusion: as large as they are, and written to. */
static double expect(struct rlhf_dawid_skene *d, const struct rlhf_answers *a, double *log_confusion)
{
    const size_t categories = d->categories;
    double change = 0, log_p[64];

    for (size_t i = 0; i < d->people * categories * categories; i++)
        log_confusion[i] = log(d->confusion[i]);
    for (size_t i = 0; i < d->items; i++) {
        double *truth = d->truth + i * categories, most = -INFINITY, sum = 0;
        for (size_t c = 0; c < categories; c++) {
            log_p[c] = log(d->share[c]);
            for (size_t j = a->start[i]; j < a->start[i + 1]; j++)
                log_p[c] += log_confusion[(a->answer[j].person * categories + c) * categories + a->answer[j].category];
            most = log_p[c] > most ? log_p[c] : most;
        }
        for (size_t c = 0; c < categories; c++)
            sum += log_p[c] = exp(log_p[c] - most);
        for (size_t c = 0; c < categories; c++) {
            double p = log_p[c] / sum;
            change = fabs(p - truth[c]) > change ? fabs(p - truth[c]) : change;
            truth[c] = p;
        }
    }
    return change;
}

/* Confusion matrices and shares from the present truth, with the priors' pseudo-counts. */
static void maximise(struct rlhf_dawid_skene *d, const struct rlhf_answers *a, const struct rlhf_dawid_skene_prior *prior)
{
    const size_t categories = d->categories;
    const double right = prior->strength * prior->expected;
    const double wrong = prior->strength * (1 - prior->expected) / (double)(categories - 1);

    for (size_t i = 0; i < d->people * categories * categories; i++)
        d->confusion[i] = i % (categories * categories) % (categories + 1) == 0 ? right : wrong;
    for (size_t c = 0; c < categories; c++)
        d->share[c] = 1;
    for (size_t i = 0; i < d->items; i++) {
        const double *truth = d->truth + i * categories;
        for (size_t c = 0; c < categories; c++) {
            d->share[c] += truth[c];
            for (size_t j = a->start[i]; j < a->start[i + 1]; j++)
                d->confusion[(a->answer[j].person * categories + c) * categories + a->answer[j].category] += truth[c];
        }
    }
    for (size_t c = 0; c < categories; c++)
        d->share[c] /= (double)(d->items + categories);
    for (size_t row = 0; row < d->people * categories; row++) {
        double sum = 0;
        for (size_t c = 0; c < categories; c++)
            sum += d->confusion[row * categories + c];
        for (size_t c = 0; c < categories; c++)
            d->confusion[row * categories + c] /= sum;
    }
}

/* The truth as votes have it, before anything is known of anybody. */
static void vote(struct rlhf_dawid_skene *d, const struct rlhf_answers *a)
{
    for (size_t i = 0; i < d->items; i++) {
        double n = (double)(a->start[i + 1] - a->start[i]);
        for (size_t j = a->start[i]; j < a->start[i + 1]; j++) {
            d->truth[i * d->categories + a->answer[j].category] += 1 / n;
            d->shared[a->answer[j].person] += n > 1;
        }
    }
}

int rlhf_dawid_skene_fit(struct rlhf_dawid_skene *d, const struct rlhf_answers *a, const struct rlhf_dawid_skene_prior *prior,
                         struct rlhf_error *err)
{
    const size_t categories = a->categories;
    double *log_confusion = NULL;

    *d = (struct rlhf_dawid_skene){ .items = a->items, .people = a->people, .categories = categories };
    if (categories < 2 || categories > 64)
        return rlhf_fail(err, RLHF_REJECT, "%zu categories: 2 to 64 can be told apart", categories);
    if (!(d->truth = calloc(a->items * categories + 1, sizeof *d->truth))
        || !(d->confusion = calloc(a->people * categories * categories + 1, sizeof *d->confusion))
        || !(log_confusion = calloc(a->people * categories * categories + 1, sizeof *log_confusion))
        || !(d->share = calloc(categories, sizeof *d->share)) || !(d->shared = calloc(a->people + 1UL, sizeof *d->shared))) {
        rlhf_dawid_skene_free(d);
        free(log_confusion);
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu people and %zu items", (size_t)a->people, a->items);
    }
    vote(d, a);
    do
        maximise(d, a, prior);
    while (expect(d, a, log_confusion) > settled && ++d->iterations < MOST_ITERATIONS);
    maximise(d, a, prior);
    free(log_confusion);
    return 0;
}

void rlhf_dawid_skene_free(struct rlhf_dawid_skene *d)
{
    free(d->truth);
    free(d->confusion);
    free(d->share);
    free(d->shared);
    *d = (struct rlhf_dawid_skene){ 0 };
}

double rlhf_dawid_skene_accuracy(const struct rlhf_dawid_skene *d, size_t person)
{
    double sum = 0;

    for (size_t c = 0; c < d->categories; c++)
        sum += d->share[c] * d->confusion[(person * d->categories + c) * d->categories + c];
    return sum;
}

double rlhf_dawid_skene_weight(const struct rlhf_dawid_skene *d, const struct rlhf_dawid_skene_prior *prior, size_t person)
{
    const double chance = 1.0 / (double)d->categories;

    if (d->shared[person] == 0)
        return 1;
    return fmin(1, fmax(0, (rlhf_dawid_skene_accuracy(d, person) - chance) / (prior->expected - chance)));
}

const struct rlhf_gold_test rlhf_gold_test_default = { .good = 0.75, .bad = 0.5, .false_alarm = 0.005, .miss = 0.01 };

enum rlhf_verdict rlhf_gold_test_step(const struct rlhf_gold_test *t, double *ratio, bool right)
{
    *ratio += right ? log(t->bad / t->good) : log((1 - t->bad) / (1 - t->good));
    if (*ratio >= log((1 - t->miss) / t->false_alarm))
        return RLHF_BAD;
    if (*ratio > log(t->miss / (1 - t->false_alarm)))
        return RLHF_UNDECIDED;
    *ratio = 0;
    return RLHF_GOOD;
}
