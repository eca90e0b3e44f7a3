/* Agreement, position bias and weights over a store with labelers of known habits. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "label-collector/quality.h"
#include "support/suite.h"

static struct rlhf_error err;

static struct collector_store *a_store(void)
{
    struct collector_store *s =
        collector_store_open(&(struct collector_store_config){.database = ":memory:", .labels_per_task = 3},
                             &rlhf_system_clock, &err);

    expect_some(s, err);
    expect_ok(collector_store_begin(s, &err), err);
    return s;
}

static void judge(struct collector_store *s, const char *task, const char *labeler, bool first_better,
                  uint8_t shown_first)
{
    char id[64];
    struct collector_label l = {.id = id,
                                .source = "page",
                                .labeler = labeler,
                                .task = task,
                                .round = "",
                                .rank = {2, 1},
                                .rank_count = 2,
                                .seconds = -1,
                                .presented_count = 2,
                                .presented = {shown_first, (uint8_t)(1 - shown_first)}};
    struct collector_receipt r;

    snprintf(id, sizeof(id), "%s@%s", labeler, task);
    if (first_better) {
        l.rank[0] = 1;
        l.rank[1] = 2;
    }
    expect_ok(collector_store_put_label(s, &l, &r, &err), err);
}

enum { TASKS = 300 };

/* ada and bob are right in 9 of 10, cat takes what is shown first. */
static struct collector_agreement measured(void)
{
    struct collector_store *s = a_store();
    struct rlhf_random random;
    struct collector_agreement a;

    rlhf_random_init(&random, 3, RLHF_PURPOSE_FAULT, 0, 0);
    for (int i = 0; i < TASKS; ++i) {
        char id[16];
        struct collector_task t = {
            .id = id, .round = "r", .content = {.prompt = id, .completion = {"x", "y"}, .count = 2}};
        struct collector_receipt r;
        snprintf(id, sizeof(id), "t%d", i);
        expect_ok(collector_store_put_task(s, &t, &r, &err), err);
        bool truth = rlhf_random_below(&random, 2);
        uint8_t shown[3];
        for (int k = 0; k < 3; ++k)
            shown[k] = (uint8_t)rlhf_random_below(&random, 2);
        judge(s, id, "ada", rlhf_random_below(&random, 10) ? truth : !truth, shown[0]);
        judge(s, id, "bob", rlhf_random_below(&random, 10) ? truth : !truth, shown[1]);
        judge(s, id, "cat", shown[2] == 0, shown[2]);
    }
    expect_ok(collector_store_commit(s, &err), err);
    expect_ok(collector_measure_agreement(s, "r", &a, &err), err);
    collector_store_close(s);
    return a;
}

START_TEST(who_clicks_what_is_shown_first_weighs_nothing)
{
    struct collector_agreement a = measured();

    ck_assert_uint_eq(a.pairs, TASKS);
    ck_assert_uint_eq(a.answers, 3 * TASKS);
    ck_assert_uint_eq(a.people, 3);
    for (size_t i = 0; i < 3; ++i) {
        bool cat = strcmp(a.person[i].name, "cat") == 0;
        ck_assert_uint_eq(a.person[i].shared, TASKS);
        if (cat)
            ck_assert_double_lt(a.person[i].weight, 0.6);
        else
            ck_assert_double_gt(a.person[i].weight, 0.9);
    }
    collector_agreement_free(&a);
}
END_TEST

START_TEST(agreement_and_position_bias_come_with_intervals)
{
    struct collector_agreement a = measured();

    ck_assert(a.raw.low < a.raw.value && a.raw.value < a.raw.high);
    ck_assert(a.alpha.low > 0.05 && a.alpha.high < 0.6);
    ck_assert_double_eq_tol(a.fleiss.value, a.alpha.value,
                            0.01);                /* three answers each: nearly the same measure */
    ck_assert_uint_ne(a.one, a.other); /* all three share everything: any two of them */
    ck_assert(a.one < a.people && a.other < a.people);
    ck_assert(a.cohen.low <= a.cohen.value && a.cohen.value <= a.cohen.high && a.cohen.low > -0.2);
    ck_assert_double_gt(a.first_shown.low, 0.55); /* a third of the answers always takes the first */
    collector_agreement_free(&a);
}
END_TEST

/* A clock by which everything takes this long: it moves whenever it is looked at. */
struct ticking {
    struct rlhf_clock clock;
    int64_t now_us, tick_us;
};

static int64_t tick(const struct rlhf_clock *c)
{
    struct ticking *t = (struct ticking *)(uintptr_t)c;

    return t->now_us += t->tick_us;
}

START_TEST(what_was_measured_is_measured_again_when_there_are_new_labels)
{
    struct collector_store *s = a_store();
    struct collector_measured *m = collector_measured_new(&err);
    struct ticking quick = {{tick, tick}, 1000000, 1}, slow = {{tick, tick}, 1000000, 10000};
    struct collector_task t = {
        .id = "t", .round = "r", .content = {.prompt = "p", .completion = {"x", "y"}, .count = 2}};
    struct collector_receipt r;

    expect_some(m, err);
    expect_ok(collector_store_put_task(s, &t, &r, &err), err);
    judge(s, "t", "ada", true, 0);
    expect_ok(collector_store_commit(s, &err), err);
    ck_assert_uint_eq(collector_measured_agreement(m, s, "r", &quick.clock, &err)->answers, 1);
    expect_ok(collector_store_begin(s, &err), err);
    judge(s, "t", "bob", true, 0);
    expect_ok(collector_store_commit(s, &err), err);
    ck_assert_uint_eq(collector_measured_agreement(m, s, "r", &quick.clock, &err)->answers, 2);
    ck_assert_uint_eq(collector_measured_agreement(m, s, "other", &quick.clock, &err)->answers, 0);

    ck_assert_uint_eq(collector_measured_agreement(m, s, "r", &slow.clock, &err)->answers, 2);
    expect_ok(collector_store_begin(s, &err), err);
    judge(s, "t", "cat", true, 0);
    expect_ok(collector_store_commit(s, &err), err);
    ck_assert_uint_eq(collector_measured_agreement(m, s, "r", &slow.clock, &err)->answers, 2); /* it was dear */
    slow.now_us += 1000000;
    ck_assert_uint_eq(collector_measured_agreement(m, s, "r", &slow.clock, &err)->answers, 3);
    collector_measured_free(m);
    collector_store_close(s);
}
END_TEST

static struct collector_standing standing;

static void see(void *ctx, const struct collector_standing *st)
{
    (void)ctx;
    standing = *st;
}

START_TEST(a_new_weight_leaves_quota_and_quarantine)
{
    struct collector_store *s = a_store();
    const int64_t quota = 7;
    const double weight = 0.25;
    uint64_t changed;

    expect_ok(collector_store_set_standing(s, "labeler", "cat", &(struct collector_change){.quota = &quota}, "owner", &err), err);
    expect_ok(collector_store_quarantine(s, "labeler", "cat", "clicks", "owner", &changed, &err), err);
    expect_ok(collector_store_set_standing(s, "labeler", "cat", &(struct collector_change){.weight = &weight}, "owner", &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    expect_ok(collector_store_standing(s, "labeler", "cat", NULL, 1, see, NULL, &err), err);
    ck_assert_double_eq_tol(standing.weight, 0.25, 1e-9);
    ck_assert_int_eq(standing.quota, 7);
    ck_assert_ptr_nonnull(standing.quarantine);
    collector_store_close(s);
}
END_TEST

START_TEST(an_empty_store_has_no_agreement)
{
    struct collector_store *s = a_store();
    struct collector_agreement a;

    expect_ok(collector_store_commit(s, &err), err);
    expect_ok(collector_measure_agreement(s, "", &a, &err), err);
    ck_assert(isnan(a.alpha.value) && isnan(a.first_shown.value) && a.people == 0);
    collector_agreement_free(&a);
    collector_store_close(s);
}
END_TEST

int main(void)
{
    return RUN_SUITE("label-collector/quality", who_clicks_what_is_shown_first_weighs_nothing,
                     agreement_and_position_bias_come_with_intervals,
                     what_was_measured_is_measured_again_when_there_are_new_labels,
                     a_new_weight_leaves_quota_and_quarantine, an_empty_store_has_no_agreement);
}
