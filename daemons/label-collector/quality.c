#include "quality.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200, MOST_COUPLES = 512 /* people looked at for Cohen's */, BETTER = 0, WORSE = 1, EQUAL = 2, CATEGORIES = 3 };
static const struct rlhf_dawid_skene_prior prior = {.expected = 0.85, .strength = 10};

/* ---- gathering --------------------------------------------------------------------------------- */

struct judgement {
    int64_t pair; /* of a task's completions: its number, and the two */
    uint32_t person, category;
    size_t order; /* in which it came */
};

/* Judgements of pairs as they come, with people numbered. */
struct gathered {
    struct judgement *judgement;
    size_t count, capacity;
    json_t *people;        /* name to number */
    double first, decided; /* comparisons of two that the completion shown first won, of those not tied */
    bool failed;
};

static uint32_t number_of(struct gathered *g, const char *name)
{
    json_t *known = json_object_get(g->people, name);

    if (known)
        return (uint32_t)json_integer_value(known);
    size_t number = json_object_size(g->people);
    g->failed =
        g->failed || json_object_set_new_nocheck(g->people, name, json_integer((json_int_t)number)) < 0;
    return (uint32_t)number;
}

static void add_judgement(struct gathered *g, int64_t pair, uint32_t person, uint32_t category)
{
    if (g->count == g->capacity) {
        size_t capacity = g->capacity ? 2 * g->capacity : 1024;
        struct judgement *more = reallocarray(g->judgement, capacity, sizeof(*more));
        if (!more) {
            g->failed = true;
            return;
        }
        g->judgement = more;
        g->capacity = capacity;
    }
    g->judgement[g->count] = (struct judgement){pair, person, category, g->count};
    g->count++;
}

static void gather(void *ctx, const struct collector_judged *l)
{
    struct gathered *g = ctx;
    uint32_t person = number_of(g, l->labeler);

    for (size_t i = 0; i < l->rank_count; ++i)
        for (size_t j = i + 1; j < l->rank_count; ++j)
            add_judgement(g, (l->task * COLLECTOR_MAX_COMPLETIONS + (int64_t)i) * COLLECTOR_MAX_COMPLETIONS + (int64_t)j,
                          person,
                          l->rank[i] < l->rank[j]   ? BETTER
                          : l->rank[i] > l->rank[j] ? WORSE
                                                    : EQUAL);
    if (l->rank_count == 2 && l->first_shown >= 0 && l->first_shown < 2 && l->rank[0] != l->rank[1]) {
        g->decided++;
        g->first += l->rank[l->first_shown] == 1;
    }
}

static int gather_all(struct collector_store *s, const char *round, struct gathered *g,
                      struct rlhf_error *err)
{
    struct collector_counts counts;

    if (collector_store_counts(s, "", &counts, err) < 0)
        return -1;
    uint64_t cursor =
        counts.sequence > COLLECTOR_AGREEMENT_LABELS ? counts.sequence - COLLECTOR_AGREEMENT_LABELS : 0;
    if (collector_store_judged(s, round, cursor, gather, g, err) < 0)
        return -1;
    return g->failed ? rlhf_fail(err, RLHF_FULL, "out of memory for the answers of %zu people",
                                 json_object_size(g->people))
                     : 0;
}

static int by_pair_and_person(const void *x, const void *y)
{
    const struct judgement *a = x, *b = y;

    if (a->pair != b->pair)
        return a->pair < b->pair ? -1 : 1;
    if (a->person != b->person)
        return a->person < b->person ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

/* Numbers the pairs. The same person may have judged a task twice under two ids: the later one is what is meant. */
static struct rlhf_answer *latest_answers(struct gathered *g)
{
    struct rlhf_answer *answer = calloc(g->count + 1, sizeof(*answer));
    uint32_t item = 0;
    size_t n = 0;

    if (g->count)
        qsort(g->judgement, g->count, sizeof(*g->judgement), by_pair_and_person);
    for (size_t i = 0; answer && i < g->count; ++i) {
        const struct judgement *j = &g->judgement[i];
        bool same_pair = i > 0 && j->pair == j[-1].pair;
        item += i > 0 && !same_pair;
        n -= same_pair && j->person == j[-1].person;
        answer[n++] = (struct rlhf_answer){item, j->person, j->category};
    }
    g->count = n;
    return answer;
}

/* ---- measures ---------------------------------------------------------------------------------- */

static double raw(const struct rlhf_answers *a, const void *ctx)
{
    (void)ctx;
    return rlhf_raw_agreement(a);
}

static double alpha(const struct rlhf_answers *a, const void *ctx)
{
    (void)ctx;
    return rlhf_krippendorff_alpha(a, RLHF_NOMINAL);
}

static double fleiss(const struct rlhf_answers *a, const void *ctx)
{
    return rlhf_fleiss_kappa(a, *(const size_t *)ctx);
}

struct couple {
    uint32_t one, other;
};

static double cohen(const struct rlhf_answers *a, const void *ctx)
{
    const struct couple *two = ctx;

    return rlhf_cohen_kappa(a, two->one, two->other);
}

/* Who judged most pairs together; equal numbers where nobody shares one. */
static int closest(const struct rlhf_answers *a, struct couple *two, struct rlhf_error *err)
{
    uint32_t people = a->people < MOST_COUPLES ? a->people : MOST_COUPLES, best = 0;
    uint32_t *shared = calloc((size_t)people * people + 1, sizeof(*shared));

    *two = (struct couple){0, 0};
    if (!shared)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    for (size_t i = 0; i < a->items; ++i) {
        for (size_t x = a->start[i]; x < a->start[i + 1]; ++x) {
            for (size_t y = x + 1; y < a->start[i + 1]; ++y) {
                uint32_t one = a->answer[x].person, other = a->answer[y].person;
                if (one < people && other < people && ++shared[(size_t)one * people + other] > best) {
                    best = shared[(size_t)one * people + other];
                    *two = (struct couple){one, other};
                }
            }
        }
    }
    free(shared);
    return 0;
}

/* The number of answers (2 or more) that most pairs have. */
static size_t commonest(const struct rlhf_answers *a, size_t *shared_pairs)
{
    size_t seen[COLLECTOR_MAX_WANTED + 1] = {0}, best = 2;

    *shared_pairs = 0;
    for (size_t i = 0; i < a->items; ++i) {
        size_t n = a->start[i + 1] - a->start[i];
        if (n >= 2)
            ++*shared_pairs;
        if (n >= 2 && n <= COLLECTOR_MAX_WANTED && ++seen[n] > seen[best])
            best = n;
    }
    return best;
}

static int measure_people(struct collector_agreement *to, const struct rlhf_answers *a, const json_t *people,
                          struct rlhf_error *err)
{
    struct rlhf_dawid_skene d;
    const char *name;
    json_t *number;

    if (rlhf_dawid_skene_fit(&d, a, &prior, err) < 0)
        return -1;
    to->people = json_object_size(people);
    to->person = calloc(to->people + 1, sizeof(*to->person));
    bool whole = to->person != NULL;
    json_object_foreach((json_t *)(uintptr_t)people, name, number)
    {
        size_t i = (size_t)json_integer_value(number);
        if (!whole || i >= d.people)
            break;
        to->person[i] =
            (struct collector_person){.name = strdup(name),
                                      .shared = d.shared[i],
                                      .accuracy = d.shared[i] ? rlhf_dawid_skene_accuracy(&d, i) : NAN,
                                      .weight = rlhf_dawid_skene_weight(&d, &prior, i)};
        whole = to->person[i].name != NULL;
    }
    rlhf_dawid_skene_free(&d);
    return whole ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for %zu labelers", to->people);
}

static int measure_agreement(struct collector_agreement *to, const struct rlhf_answers *a, const struct gathered *g,
                             struct rlhf_error *err)
{
    struct rlhf_interval first = rlhf_wilson(g->first, g->decided, 1.96);
    struct couple two = {0, 0};
    size_t n = commonest(a, &to->pairs);

    to->first_shown =
        (struct rlhf_estimate){g->decided > 0 ? g->first / g->decided : NAN, first.low, first.high};
    const struct rlhf_measure measures[] = {
        {raw, NULL, &to->raw}, {alpha, NULL, &to->alpha}, {fleiss, &n, &to->fleiss}, {cohen, &two, &to->cohen}};
    if (closest(a, &two, err) < 0 || rlhf_bootstrap(a, measures, sizeof(measures) / sizeof(measures[0]), ROUNDS, 1, err) < 0)
        return -1;
    to->one = two.one;
    to->other = two.other;
    return 0;
}

static int measure(struct collector_agreement *to, struct gathered *g, bool agreement, struct rlhf_error *err)
{
    struct rlhf_answer *answer = latest_answers(g);
    struct rlhf_answers a;
    int rc = answer ? rlhf_answers_new(&a, answer, g->count, CATEGORIES, err)
                    : rlhf_fail(err, RLHF_FULL, "out of memory");

    free(answer);
    if (rc < 0)
        return -1;
    to->answers = g->count;
    rc = agreement ? measure_agreement(to, &a, g, err) : 0;
    if (rc == 0 && g->count)
        rc = measure_people(to, &a, g->people, err);
    rlhf_answers_free(&a);
    return rc;
}

static int gather_and_measure(struct collector_store *s, const char *round, bool agreement, struct collector_agreement *a,
                              struct rlhf_error *err)
{
    struct gathered g = {.people = json_object()};
    int rc = -1;

    *a = (struct collector_agreement){0};
    if (!g.people)
        rlhf_fail(err, RLHF_FULL, "out of memory");
    else if (gather_all(s, round, &g, err) == 0)
        rc = measure(a, &g, agreement, err);
    if (rc < 0)
        collector_agreement_free(a);
    free(g.judgement);
    json_decref(g.people);
    return rc;
}

int collector_measure_agreement(struct collector_store *s, const char *round, struct collector_agreement *a,
                                struct rlhf_error *err)
{
    return gather_and_measure(s, round, true, a, err);
}

int collector_measure_weights(struct collector_store *s, const char *round, struct collector_agreement *a,
                              struct rlhf_error *err)
{
    return gather_and_measure(s, round, false, a, err);
}

void collector_agreement_free(struct collector_agreement *a)
{
    for (size_t i = 0; i < a->people && a->person; ++i)
        free(a->person[i].name);
    free(a->person);
    *a = (struct collector_agreement){0};
}

/* ---- what was measured last ---------------------------------------------------------------------- */

/* Measuring a full store takes some 50 ms, in which nobody else is answered, and pages ask again and again. */
enum { CHEAP_US = 5000, REST = 20 };

struct collector_measured {
    struct collector_agreement agreement;
    char round[COLLECTOR_MAX_NAME + 1];
    uint64_t sequence; /* the newest when it was measured */
    int64_t until_us;  /* good whatever has come since */
    bool there;
};

struct collector_measured *collector_measured_new(struct rlhf_error *err)
{
    struct collector_measured *m = calloc(1, sizeof(*m));

    if (!m)
        rlhf_fail(err, RLHF_FULL, "out of memory");
    return m;
}

const struct collector_agreement *collector_measured_agreement(struct collector_measured *m,
                                                               struct collector_store *s, const char *round,
                                                               const struct rlhf_clock *clock,
                                                               struct rlhf_error *err)
{
    int64_t begun = rlhf_now(clock);
    struct collector_counts counts;

    if (collector_store_counts(s, "", &counts, err) < 0)
        return NULL;
    if (m->there && strcmp(m->round, round) == 0 && (m->sequence == counts.sequence || begun < m->until_us))
        return &m->agreement;
    collector_agreement_free(&m->agreement);
    m->there = collector_measure_agreement(s, round, &m->agreement, err) == 0;
    snprintf(m->round, sizeof(m->round), "%s", round);
    m->sequence = counts.sequence;
    int64_t end = rlhf_now(clock);
    m->until_us = end - begun < CHEAP_US ? end : end + REST * (end - begun);
    return m->there ? &m->agreement : NULL;
}

void collector_measured_free(struct collector_measured *m)
{
    if (!m)
        return;
    collector_agreement_free(&m->agreement);
    free(m);
}

struct rlhf_interval collector_gold_interval(const struct collector_standing *s)
{
    return rlhf_wilson((double)s->gold_right, (double)s->gold_seen, 1.96);
}
