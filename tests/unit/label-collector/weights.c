/* Weights that are measured and put to use by themselves. */
#include "label-collector/weights.h"

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "support/fake_clock.h"
#include "support/suite.h"

static struct fake_clock fake;
static struct rlhf_env env;
static struct collector_config config;
static struct collector *collector;
static struct rlhf_error err;

static void setup(void)
{
    setenv("RLHF_LOG", "error", 1);
    fake_clock_init(&fake);
    env = (struct rlhf_env){.clock = &fake.clock, .io = &rlhf_system_io};
    config = (struct collector_config){.database = (char *)":memory:", .labels_per_task = 3, .weights_seconds = 600,
                                       .weights_labels = 90};
    collector = collector_new(&env, &config, &err);
    expect_some(collector, err);
}

static void teardown(void)
{
    collector_free(collector);
}

static void label(const char *task, const char *labeler, bool first)
{
    char id[32];
    struct collector_receipt r;
    struct collector_label l = {.id = id, .source = "page", .labeler = labeler, .task = task, .round = "",
                                .rank = {first ? 1 : 2, first ? 2 : 1}, .rank_count = 2, .seconds = -1};

    snprintf(id, sizeof(id), "%s@%s", labeler, task);
    expect_ok(collector_store_put_label(collector->store, &l, &r, &err), err);
}

/* Ada and bob agree, cat says the opposite of every second. */
static void judge(int from, int to)
{
    char id[16];

    expect_ok(collector_store_begin(collector->store, &err), err);
    for (int i = from; i < to; ++i) {
        struct collector_task t = {.id = id, .round = "r", .content = {.prompt = id, .completion = {"x", "y"}, .count = 2}};
        struct collector_receipt r;
        snprintf(id, sizeof(id), "t%d", i);
        expect_ok(collector_store_put_task(collector->store, &t, &r, &err), err);
        label(id, "ada", i % 2);
        label(id, "bob", i % 2);
        label(id, "cat", i % 4 < 2 ? i % 2 : !(i % 2));
    }
    expect_ok(collector_store_commit(collector->store, &err), err);
}

static struct collector_standing seen;
static void see(void *ctx, const struct collector_standing *s)
{
    (void)ctx;
    seen = *s;
}

static double weight_of(const char *name)
{
    seen.weight = -1;
    expect_ok(collector_store_standing(collector->store, "labeler", name, NULL, 1, see, NULL, &err), err);
    return seen.weight;
}

static void count_deed(void *ctx, const struct collector_deed *d)
{
    (void)d;
    ++*(int *)ctx;
}

static int deeds(void)
{
    int count = 0;

    expect_ok(collector_store_deeds(collector->store, INT64_MAX, 1000, count_deed, &count, &err), err);
    return count;
}

START_TEST(weights_follow_when_enough_came_and_not_too_often)
{
    judge(0, 29);
    collector_weigh_when_due(collector); /* 87 labels are too few */
    ck_assert_double_eq(weight_of("cat"), 1);
    judge(29, 60);
    collector_weigh_when_due(collector); /* it is too soon */
    ck_assert_double_eq(weight_of("cat"), 1);
    fake_clock_advance(&fake, 600 * 1000000ll);
    collector_weigh_when_due(collector);
    ck_assert_double_lt(weight_of("cat"), 0.6);
    ck_assert_double_gt(weight_of("ada"), 0.95);
    int before = deeds();
    ck_assert_int_ge(before, 1);
    fake_clock_advance(&fake, 600 * 1000000ll);
    collector_weigh_when_due(collector); /* nothing new */
    ck_assert_int_eq(deeds(), before);
}
END_TEST

START_TEST(what_the_owner_set_is_left_alone_until_given_back)
{
    const double own = 0.9;
    const bool yes = true, no = false;

    judge(0, 60);
    expect_ok(collector_store_begin(collector->store, &err), err);
    expect_ok(collector_store_set_standing(collector->store, "labeler", "cat",
                                           &(struct collector_change){.weight = &own, .by_hand = &yes}, "owner", &err),
              err);
    expect_ok(collector_store_commit(collector->store, &err), err);
    collector_weigh_when_due(collector);
    ck_assert_double_eq(weight_of("cat"), 0.9);
    expect_ok(collector_store_begin(collector->store, &err), err);
    expect_ok(collector_store_set_standing(collector->store, "labeler", "cat", &(struct collector_change){.by_hand = &no},
                                           "owner", &err),
              err);
    expect_ok(collector_store_commit(collector->store, &err), err);
    judge(60, 100);
    fake_clock_advance(&fake, 600 * 1000000ll);
    collector_weigh_when_due(collector);
    ck_assert_double_lt(weight_of("cat"), 0.6);
}
END_TEST

START_TEST(nothing_is_weighed_where_that_is_switched_off)
{
    config.weights_seconds = 0;
    judge(0, 60);
    collector_weigh_when_due(collector);
    ck_assert_double_eq(weight_of("cat"), 1);
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH("label-collector/weights", setup, teardown, weights_follow_when_enough_came_and_not_too_often,
                          what_the_owner_set_is_left_alone_until_given_back, nothing_is_weighed_where_that_is_switched_off);
}
