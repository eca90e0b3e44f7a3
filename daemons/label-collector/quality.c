#include "quality.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200, MOST_COUPLES = 512 /* people looked at for Cohen's */, BETTER = 0, WORSE = 1, EQUAL = 2, CATEGORIES = 3, PAGE = 1000 };
static const struct rlhf_dawid_skene_prior prior = {.expected = 0.85, .strength = 10};

/* ---- gathering --------------------------------------------------------------------------------- */

struct judgement {
    struct rlhf_answer answer;
    size_t order; /* in which it came */
};

/* Judgements of pairs as they come, with people and pairs numbered. */
struct gathered {
    struct judgement *judgement;
    size_t count, capacity;
    json_t *people, *items; /* name to number */
    uint64_t cursor;
    double first, decided; /* comparisons of two that the completion shown first won, of those not tied */
    bool failed;
};

static uint32_t number_of(struct gathered *g, json_t *numbers, const char *name)
{
    json_t *known = json_object_get(numbers, name);

    if (known)
        return (uint32_t)json_integer_value(known);
    size_t number = json_object_size(numbers);
    g->failed = g->failed || json_object_set_new_nocheck(numbers, name, json_integer((json_int_t)number)) < 0;
    return (uint32_t)number;
}

static void add_answer(struct gathered *g, uint32_t item, uint32_t person, uint32_t category)
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
    g->judgement[g->count] = (struct judgement){{item, person, category}, g->count};
    g->count++;
}

static bool gather(void *ctx, const struct collector_row *row)
{
    struct gathered *g = ctx;
    const struct collector_label *l = &row->label;
    char item[COLLECTOR_MAX_NAME + 16];

    g->cursor = row->sequence;
    if (row->excluded || !l->task || l->rank_count < 2)
        return true;
    uint32_t person = number_of(g, g->people, l->labeler);
    for (size_t i = 0; i < l->rank_count; ++i) {
        for (size_t j = i + 1; j < l->rank_count; ++j) {
            snprintf(item, sizeof(item), "%zu-%zu %s", i, j, l->task);
            add_answer(g, number_of(g, g->items, item), person,
                       l->rank[i] < l->rank[j]   ? BETTER
                       : l->rank[i] > l->rank[j] ? WORSE
                                                 : EQUAL);
        }
    }
    if (l->rank_count == 2 && l->has_presented && l->rank[0] != l->rank[1]) {
        g->decided++;
        g->first += l->rank[l->presented[0]] == 1;
    }
    return !g->failed;
}

static int gather_all(struct collector_store *s, const char *round, struct gathered *g,
                      struct rlhf_error *err)
{
    struct collector_counts counts;
    uint64_t before;

    if (collector_store_counts(s, "", &counts, err) < 0)
        return -1;
    g->cursor =
        counts.sequence > COLLECTOR_AGREEMENT_LABELS ? counts.sequence - COLLECTOR_AGREEMENT_LABELS : 0;
    do {
        before = g->cursor;
        struct collector_range range = {
            .round = round, .cursor = before, .last = UINT64_MAX, .limit = PAGE, .latest = true};
        if (collector_store_list(s, &range, gather, g, err) < 0)
            return -1;
        if (g->failed)
            return rlhf_fail(err, RLHF_FULL, "out of memory for the answers of %zu people",
                             json_object_size(g->people));
    } while (g->cursor > before);
    return 0;
}

/* The same person may have judged a task twice under two ids: the later one is what is meant. */
static int by_item_and_person(const void *x, const void *y)
{
    const struct judgement *a = x, *b = y;

    if (a->answer.item != b->answer.item)
        return a->answer.item < b->answer.item ? -1 : 1;
    if (a->answer.person != b->answer.person)
        return a->answer.person < b->answer.person ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static struct rlhf_answer *latest_answers(struct gathered *g)
{
    struct rlhf_answer *answer = calloc(g->count + 1, sizeof(*answer));
    size_t n = 0;

    if (g->count)
        qsort(g->judgement, g->count, sizeof(*g->judgement), by_item_and_person);
    for (size_t i = 0; answer && i < g->count; ++i) {
        const struct rlhf_answer *a = &g->judgement[i].answer;
        if (n > 0 && answer[n - 1].item == a->item && answer[n - 1].person == a->person)
            --n;
        answer[n++] = *a;
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

static int measure(struct collector_agreement *to, struct gathered *g, struct rlhf_error *err)
{
    struct rlhf_interval first = rlhf_wilson(g->first, g->decided, 1.96);
    struct rlhf_answer *answer = latest_answers(g);
    struct rlhf_answers a;
    int rc = answer ? rlhf_answers_new(&a, answer, g->count, CATEGORIES, err)
                    : rlhf_fail(err, RLHF_FULL, "out of memory");

    free(answer);
    if (rc < 0)
        return -1;
    rc = -1;
    struct couple two = {0, 0};
    size_t n = commonest(&a, &to->pairs);
    to->answers = g->count;
    to->first_shown =
        (struct rlhf_estimate){g->decided > 0 ? g->first / g->decided : NAN, first.low, first.high};
    if (rlhf_bootstrap(&a, raw, NULL, ROUNDS, 1, &to->raw, err) == 0 &&
        rlhf_bootstrap(&a, alpha, NULL, ROUNDS, 1, &to->alpha, err) == 0 &&
        rlhf_bootstrap(&a, fleiss, &n, ROUNDS, 1, &to->fleiss, err) == 0 && closest(&a, &two, err) == 0 &&
        rlhf_bootstrap(&a, cohen, &two, ROUNDS, 1, &to->cohen, err) == 0)
        rc = g->count ? measure_people(to, &a, g->people, err) : 0;
    to->one = two.one;
    to->other = two.other;
    rlhf_answers_free(&a);
    return rc;
}

int collector_measure_agreement(struct collector_store *s, const char *round, struct collector_agreement *a,
                                struct rlhf_error *err)
{
    struct gathered g = {.people = json_object(), .items = json_object()};
    int rc = -1;

    *a = (struct collector_agreement){0};
    if (!g.people || !g.items)
        rlhf_fail(err, RLHF_FULL, "out of memory");
    else if (gather_all(s, round, &g, err) == 0)
        rc = measure(a, &g, err);
    if (rc < 0)
        collector_agreement_free(a);
    free(g.judgement);
    json_decref(g.people);
    json_decref(g.items);
    return rc;
}

void collector_agreement_free(struct collector_agreement *a)
{
    for (size_t i = 0; i < a->people && a->person; ++i)
        free(a->person[i].name);
    free(a->person);
    *a = (struct collector_agreement){0};
}

struct rlhf_interval collector_gold_interval(const struct collector_standing *s)
{
    return rlhf_wilson((double)s->gold_right, (double)s->gold_seen, 1.96);
}
