#include "agreement/agreement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

static int by_item(const void *x, const void *y)
{
    const struct rlhf_answer *a = x, *b = y;

    if (a->item != b->item)
        return a->item < b->item ? -1 : 1;
    return (a->person > b->person) - (a->person < b->person);
}

static int check(const struct rlhf_answers *a, struct rlhf_error *err)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct rlhf_answer *x = &a->answer[i];
        if (x->category >= a->categories)
            return rlhf_fail(err, RLHF_REJECT, "answer of person %u to item %u: category %u, there are %u", x->person,
                             x->item, x->category, a->categories);
        if (i > 0 && x[-1].item == x->item && x[-1].person == x->person)
            return rlhf_fail(err, RLHF_REJECT, "person %u answered item %u twice", x->person, x->item);
    }
    return 0;
}

/* start[] and people, of sorted answers. */
static void index_items(struct rlhf_answers *a)
{
    a->items = 0;
    a->people = 0;
    for (size_t i = 0; i < a->count; i++) {
        if (i == 0 || a->answer[i].item != a->answer[i - 1].item)
            a->start[a->items++] = i;
        if (a->answer[i].person >= a->people)
            a->people = a->answer[i].person + 1;
    }
    a->start[a->items] = a->count;
}

int rlhf_answers_new(struct rlhf_answers *a, const struct rlhf_answer *answer, size_t count, uint32_t categories,
                     struct rlhf_error *err)
{
    *a = (struct rlhf_answers){ .count = count, .categories = categories };
    if (!(a->answer = calloc(count + 1, sizeof *a->answer)) || !(a->start = calloc(count + 1, sizeof *a->start))) {
        rlhf_answers_free(a);
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu answers", count);
    }
    if (count > 0)
        memcpy(a->answer, answer, count * sizeof *answer);
    qsort(a->answer, count, sizeof *a->answer, by_item);
    if (check(a, err) < 0) {
        rlhf_answers_free(a);
        return -1;
    }
    index_items(a);
    return 0;
}

void rlhf_answers_free(struct rlhf_answers *a)
{
    free(a->answer);
    free(a->start);
    *a = (struct rlhf_answers){ 0 };
}

/* How often each category was chosen for item i. Returns how many answers that makes. */
static size_t tally(const struct rlhf_answers *a, size_t i, double *votes)
{
    memset(votes, 0, a->categories * sizeof *votes);
    for (size_t j = a->start[i]; j < a->start[i + 1]; j++)
        votes[a->answer[j].category]++;
    return a->start[i + 1] - a->start[i];
}

/* Share of the ordered pairs of n answers that are equal. */
static double equal_pairs(const double *votes, size_t categories, double n)
{
    double sum = 0;

    for (size_t c = 0; c < categories; c++)
        sum += votes[c] * (votes[c] - 1);
    return sum / (n * (n - 1));
}

double rlhf_raw_agreement(const struct rlhf_answers *a)
{
    double *votes = calloc(a->categories + 1, sizeof *votes), sum = 0;
    size_t items = 0;

    for (size_t i = 0; votes && i < a->items; i++) {
        size_t n = tally(a, i, votes);
        if (n < 2)
            continue;
        sum += equal_pairs(votes, a->categories, (double)n);
        items++;
    }
    free(votes);
    return items > 0 ? sum / (double)items : NAN;
}

static const struct rlhf_answer *answer_of(const struct rlhf_answers *a, size_t item, uint32_t person)
{
    for (size_t j = a->start[item]; j < a->start[item + 1]; j++)
        if (a->answer[j].person == person)
            return &a->answer[j];
    return NULL;
}

double rlhf_cohen_kappa(const struct rlhf_answers *a, uint32_t one, uint32_t other)
{
    double *first = calloc(2 * (size_t)a->categories + 1, sizeof *first), *second = first + a->categories;
    double n = 0, equal = 0, chance = 0;

    if (!first)
        return NAN;
    for (size_t i = 0; i < a->items; i++) {
        const struct rlhf_answer *x = answer_of(a, i, one), *y = answer_of(a, i, other);
        if (!x || !y)
            continue;
        n++;
        equal += x->category == y->category;
        first[x->category]++;
        second[y->category]++;
    }
    for (size_t c = 0; c < a->categories; c++)
        chance += first[c] * second[c];
    free(first);
    return n > 0 && chance < n * n ? (equal / n - chance / (n * n)) / (1 - chance / (n * n)) : NAN;
}

double rlhf_fleiss_kappa(const struct rlhf_answers *a, size_t n)
{
    double *votes = calloc(2 * (size_t)a->categories + 1, sizeof *votes), *total = votes + a->categories;
    double items = 0, equal = 0, chance = 0;

    if (!votes)
        return NAN;
    for (size_t i = 0; n >= 2 && i < a->items; i++) {
        if (tally(a, i, votes) != n)
            continue;
        items++;
        equal += equal_pairs(votes, a->categories, (double)n);
        for (size_t c = 0; c < a->categories; c++)
            total[c] += votes[c];
    }
    for (size_t c = 0; items > 0 && c < a->categories; c++)
        chance += pow(total[c] / (items * (double)n), 2);
    free(votes);
    return items > 0 && chance < 1 ? (equal / items - chance) / (1 - chance) : NAN;
}

/* Squared distance of two categories, of which n[c] values were paired. Nominal: 1 when they differ. Ordinal: the values
 * that lie between, those at the ends by half. */
static double distance(enum rlhf_metric metric, const double *n, size_t c, size_t k)
{
    double between = 0;

    if (c == k)
        return 0;
    if (metric == RLHF_NOMINAL)
        return 1;
    for (size_t g = c < k ? c : k; g <= (c < k ? k : c); g++)
        between += n[g];
    between -= (n[c] + n[k]) / 2;
    return between * between;
}

double rlhf_krippendorff_alpha(const struct rlhf_answers *a, enum rlhf_metric metric)
{
    const size_t categories = a->categories;
    /* coincidences o[c][k], their marginals n[c], an item's votes */
    double *o = calloc(categories * categories + 2 * categories + 1, sizeof *o), *n = o + categories * categories;
    double *votes = n + categories, total = 0, observed = 0, expected = 0;

    if (!o)
        return NAN;
    for (size_t i = 0; i < a->items; i++) {
        double m = (double)tally(a, i, votes);
        if (m < 2)
            continue;
        for (size_t c = 0; c < categories; c++)
            for (size_t k = 0; k < categories; k++)
                o[c * categories + k] += votes[c] * (c == k ? votes[k] - 1 : votes[k]) / (m - 1);
        for (size_t c = 0; c < categories; c++)
            n[c] += votes[c];
        total += m;
    }
    for (size_t c = 0; c < categories; c++) {
        for (size_t k = 0; k < categories; k++) {
            double d = distance(metric, n, c, k);
            observed += o[c * categories + k] * d;
            expected += n[c] * n[k] * d;
        }
    }
    free(o);
    return expected > 0 ? 1 - (total - 1) * observed / expected : NAN;
}

/* ---- intervals ------------------------------------------------------------------------------------- */

/* As many items as a has, drawn with replacement, into b, which has room for the largest item as often. */
static void resample(const struct rlhf_answers *a, struct rlhf_answers *b, struct rlhf_random *random)
{
    b->count = 0;
    for (size_t i = 0; i < a->items; i++) {
        size_t drawn = rlhf_random_below(random, (uint32_t)a->items);
        b->start[i] = b->count;
        for (size_t j = a->start[drawn]; j < a->start[drawn + 1]; j++) {
            b->answer[b->count] = a->answer[j];
            b->answer[b->count++].item = (uint32_t)i; /* drawn twice it is two items */
        }
    }
    b->items = a->items;
    b->start[b->items] = b->count;
}

static size_t largest_item(const struct rlhf_answers *a)
{
    size_t most = 0;

    for (size_t i = 0; i < a->items; i++)
        if (a->start[i + 1] - a->start[i] > most)
            most = a->start[i + 1] - a->start[i];
    return most;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return (a > b) - (a < b);
}

/* The interval that the middle 95 % of value[have] make, if enough rounds have one. Sorts. */
static void set_interval(struct rlhf_estimate *to, double *value, size_t have, size_t rounds)
{
    to->low = to->high = NAN;
    qsort(value, have, sizeof *value, by_value);
    if (have == 0 || 2 * have < rounds)
        return;
    to->low = value[(size_t)(0.025 * (double)(have - 1))];
    to->high = value[(size_t)ceil(0.975 * (double)(have - 1))];
}

int rlhf_bootstrap(const struct rlhf_answers *a, const struct rlhf_measure *measures, size_t count, size_t rounds,
                   uint64_t seed, struct rlhf_error *err)
{
    struct rlhf_answers b = { .categories = a->categories, .people = a->people };
    double *value = calloc(count * rounds + 1, sizeof *value); /* [count, rounds] */
    size_t *have = calloc(count + 1, sizeof *have), room;
    struct rlhf_random random;
    int rc = -1;

    if (!rlhf_mul_size(a->items + 1, largest_item(a) + 1, &room) || !value || !have
        || !(b.answer = calloc(room, sizeof *b.answer)) || !(b.start = calloc(a->items + 1, sizeof *b.start))) {
        rlhf_fail(err, RLHF_FULL, "no memory to resample %zu answers", a->count);
        goto out;
    }
    rlhf_random_init(&random, seed, RLHF_PURPOSE_AGREEMENT, 0, 0);
    for (size_t i = 0; a->items > 0 && i < rounds; i++) {
        resample(a, &b, &random);
        for (size_t m = 0; m < count; m++) {
            double v = measures[m].of(&b, measures[m].ctx);
            if (!isnan(v))
                value[m * rounds + have[m]++] = v;
        }
    }
    for (size_t m = 0; m < count; m++) {
        measures[m].out->value = measures[m].of(a, measures[m].ctx);
        set_interval(measures[m].out, value + m * rounds, have[m], rounds);
    }
    rc = 0;
out:
    free(value);
    free(have);
    rlhf_answers_free(&b);
    return rc;
}
