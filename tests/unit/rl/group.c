#include "rl/group.h"

#include <math.h>

#include "support/suite.h"

#define NEAR(got, want) ck_assert_double_eq_tol(got, want, 1e-5)

/* Two prompts of three, one of one, one of none. */
static const uint32_t start[] = {0, 3, 6, 7, 7};
static const struct rlhf_ragged groups = {start, 4};
enum { B = 7, P = 4 };
static const float reward[B] = {1, 2, 6, 4, 4, 4, 9};

static void advantages(enum rlhf_baseline baseline, enum rlhf_scale scale, const float *r, float *a)
{
    struct rlhf_error err = {0};

    expect_ok(rlhf_group_advantages(&groups, r, baseline, scale, a, NULL, NULL, &err), err);
}

START_TEST(grpo_divides_by_the_groups_deviation_and_dr_grpo_does_not)
{
    const double deviation = sqrt(7); /* of 1, 2, 6 over n - 1 */
    float a[B];

    advantages(RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, reward, a);
    NEAR(a[0], -2 / (deviation + 1e-4));
    NEAR(a[2], 3 / (deviation + 1e-4));
    NEAR(a[4], 0); /* all equal */
    advantages(RLHF_BASELINE_MEAN, RLHF_SCALE_NONE, reward, a);
    NEAR(a[0], -2);
    NEAR(a[1], -1);
    NEAR(a[2], 3);
    NEAR(a[3], 0);
}
END_TEST

START_TEST(the_batchs_deviation_is_of_all_rewards)
{
    float a[B];

    /* 1 2 6 4 4 4 9: mean 30/7, squares 170 - 900/7, over 6 */
    advantages(RLHF_BASELINE_MEAN, RLHF_SCALE_BATCH, reward, a);
    NEAR(a[2], 3 / (sqrt((170 - 900.0 / 7) / 6) + 1e-4));
}
END_TEST

START_TEST(rloos_baseline_is_the_mean_of_the_others)
{
    float a[B], w[B];
    double sum = 0, squares = 0;

    advantages(RLHF_BASELINE_LEAVE_ONE_OUT, RLHF_SCALE_NONE, reward, a);
    NEAR(a[0], 1 - 4);
    NEAR(a[1], 2 - 3.5);
    NEAR(a[2], 6 - 1.5);
    NEAR(a[6], 0);
    advantages(RLHF_BASELINE_LEAVE_ONE_OUT, RLHF_SCALE_WHITEN, reward, w);
    for (size_t i = 0; i < 6; i++) { /* the lone one takes no part */
        sum += w[i];
        squares += w[i] * w[i];
    }
    NEAR(sum, 0);
    ck_assert_double_eq_tol(squares / 5, 1, 1e-3);
    NEAR(w[6], 0);
}
END_TEST

START_TEST(one_completion_alone_and_a_group_of_none_have_no_advantage_and_no_nan)
{
    const enum rlhf_baseline baselines[] = {RLHF_BASELINE_MEAN, RLHF_BASELINE_LEAVE_ONE_OUT};
    struct rlhf_error err = {0};
    double mean[P], deviation[P];
    float a[B];

    for (size_t b = 0; b < 2; b++)
        for (int scale = RLHF_SCALE_NONE; scale <= RLHF_SCALE_WHITEN; scale++) {
            expect_ok(rlhf_group_advantages(&groups, reward, baselines[b], (enum rlhf_scale)scale, a, mean,
                                            deviation, &err),
                      err);
            for (size_t i = 0; i < B; i++)
                ck_assert(isfinite(a[i]));
        }
    advantages(RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, reward, a);
    ck_assert_float_eq(a[6], 0);
    ck_assert_double_eq(mean[2], 9);
    ck_assert(isnan(deviation[2]));
    ck_assert(isnan(mean[3]));
    ck_assert(isnan(deviation[3]));
}
END_TEST

START_TEST(a_missing_reward_takes_part_in_nothing_and_is_not_zero)
{
    const float some[B] = {1, NAN, 6, NAN, NAN, NAN, NAN}, without[B] = {1, 6, 0, 0, 0, 0, 0};
    const uint32_t two[] = {0, 2};
    struct rlhf_error err = {0};
    double mean[P], deviation[P];
    float a[B], b[2];

    for (int baseline = RLHF_BASELINE_MEAN; baseline <= RLHF_BASELINE_LEAVE_ONE_OUT; baseline++)
        for (int scale = RLHF_SCALE_NONE; scale <= RLHF_SCALE_WHITEN; scale++) {
            const struct rlhf_ragged pair = {two, 1};
            expect_ok(rlhf_group_advantages(&groups, some, (enum rlhf_baseline)baseline,
                                            (enum rlhf_scale)scale, a, mean, deviation, &err),
                      err);
            expect_ok(rlhf_group_advantages(&pair, without, (enum rlhf_baseline)baseline,
                                            (enum rlhf_scale)scale, b, NULL, NULL, &err),
                      err);
            ck_assert_float_eq(a[0], b[0]);
            ck_assert_float_eq(a[2], b[1]);
            ck_assert_float_ne(a[0], 0);
            for (size_t i = 1; i < B; i++)
                ck_assert(i == 2 || a[i] == 0);
        }
    ck_assert_double_eq(mean[0], 3.5);
    ck_assert(isnan(mean[1]));
}
END_TEST

START_TEST(an_infinite_reward_is_refused_and_nothing_written)
{
    const float infinite[B] = {1, 2, 3, 4, -INFINITY, 6, 7};
    struct rlhf_error err = {0};
    float a[B] = {5, 5, 5, 5, 5, 5, 5};

    ck_assert_int_eq(
        rlhf_group_advantages(&groups, infinite, RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, a, NULL, NULL, &err),
        -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "reward[4]");
    for (size_t i = 0; i < B; i++)
        ck_assert_float_eq(a[i], 5);
}
END_TEST

START_TEST(advantages_may_take_the_place_of_their_rewards)
{
    float a[B], here[B];

    for (int baseline = RLHF_BASELINE_NONE; baseline <= RLHF_BASELINE_LEAVE_ONE_OUT; baseline++)
        for (int scale = RLHF_SCALE_NONE; scale <= RLHF_SCALE_WHITEN; scale++) {
            for (size_t i = 0; i < B; i++)
                here[i] = reward[i];
            advantages((enum rlhf_baseline)baseline, (enum rlhf_scale)scale, reward, a);
            advantages((enum rlhf_baseline)baseline, (enum rlhf_scale)scale, here, here);
            ck_assert_mem_eq(a, here, sizeof a);
        }
}
END_TEST

START_TEST(dynamic_sampling_keeps_the_groups_that_are_neither_all_right_nor_all_wrong)
{
    const uint32_t rows[] = {0, 3, 6, 9, 12, 12, 13};
    const struct rlhf_ragged c = {rows, 6};
    const float correct[] = {1, 1, 1, 0, 1, 0, 0, 0, 0, NAN, 0, 1, 1};
    bool keep[6];

    ck_assert_uint_eq(rlhf_group_filter(&c, correct, 0, keep), 2);
    ck_assert(!keep[0] && keep[1] && !keep[2] && keep[3] && !keep[4] && !keep[5]);
    ck_assert_uint_eq(rlhf_group_filter(&c, correct, 1, keep), 0);
}
END_TEST

START_TEST(best_and_worst_of_n_are_the_first_of_equals_and_nobody_without_a_reward)
{
    const float some[B] = {2, 7, 7, NAN, 1, 1, NAN};
    int64_t best[P], worst[P];

    rlhf_group_extremes(&groups, some, best, worst);
    ck_assert_int_eq(best[0], 1);
    ck_assert_int_eq(worst[0], 0);
    ck_assert_int_eq(best[1], 4);
    ck_assert_int_eq(worst[1], 4);
    ck_assert_int_eq(best[2], RLHF_NOBODY);
    ck_assert_int_eq(worst[3], RLHF_NOBODY);
    rlhf_group_extremes(&groups, some, NULL, worst);
    rlhf_group_extremes(&groups, some, best, NULL);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rl/group", grpo_divides_by_the_groups_deviation_and_dr_grpo_does_not,
                     the_batchs_deviation_is_of_all_rewards, rloos_baseline_is_the_mean_of_the_others,
                     one_completion_alone_and_a_group_of_none_have_no_advantage_and_no_nan,
                     a_missing_reward_takes_part_in_nothing_and_is_not_zero,
                     an_infinite_reward_is_refused_and_nothing_written,
                     advantages_may_take_the_place_of_their_rewards,
                     dynamic_sampling_keeps_the_groups_that_are_neither_all_right_nor_all_wrong,
                     best_and_worst_of_n_are_the_first_of_equals_and_nobody_without_a_reward);
}
