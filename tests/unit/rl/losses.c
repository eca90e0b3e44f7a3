/* Each loss against hand-computed values, and its derivative against finite differences of a plain double
 * twin. */
#include <math.h>

#include "rl/ppo.h"
#include "rl/preference.h"
#include "rl/statistics.h"
#include "rl/sigmoid.h"
#include "support/suite.h"

static const struct rlhf_preference paper = {0}, centred = {.center = 0.01};

static double plain_policy(double d, double a, double clip)
{
    double r = exp(d), c = fmin(fmax(r, 1 - clip), 1 + clip);
    return fmax(-a * r, -a * c);
}

START_TEST(the_policy_loss_and_its_derivative_are_right_on_both_sides_of_the_clip_range)
{
    const float d[] = {-0.5f, -0.1f, 0, 0.1f, 0.5f, -0.5f, -0.1f, 0, 0.1f, 0.5f};
    const float advantage[] = {2, 2, 2, 2, 2, -2, -2, -2, -2, -2};
    const double w = 0.25;

    for (size_t i = 0; i < 10; i++) {
        float old = -1, new = -1 + d[i], slope;
        double delta = (double)new - old, h = 1e-6;
        struct rlhf_ppo_statistics s = {0};

        rlhf_ppo_policy(&new, &old, &advantage[i], 1, 0.2, w, &slope, &s);
        ck_assert_double_eq_tol(s.loss, w * plain_policy(delta, advantage[i], 0.2), 1e-9);
        ck_assert_double_eq_tol(
            slope,
            w * (plain_policy(delta + h, advantage[i], 0.2) - plain_policy(delta - h, advantage[i], 0.2)) /
                (2 * h),
            1e-6);
    }
}
END_TEST

START_TEST(only_a_ratio_that_already_gained_is_clipped)
{
    /* exp(0.5) is above 1.2: clipped for a good token, not for a bad one; exp(-0.5) below 0.8 the other way
     * round. */
    const float old[] = {0, 0, 0, 0}, new[] = {0.5f, 0.5f, -0.5f, -0.5f}, advantage[] = {1, -1, 1, -1};
    const double quarter = 0.25;
    struct rlhf_ppo_statistics s = {0};
    float slope[4];

    rlhf_ppo_policy(new, old, advantage, 4, 0.2, quarter, slope, &s);
    ck_assert_float_eq(slope[0], 0);
    ck_assert_float_gt(slope[1], 0);
    ck_assert_float_lt(slope[2], 0);
    ck_assert_float_eq(slope[3], 0);
    ck_assert_double_eq_tol(s.clip_fraction, 0.5, 1e-12);
    ck_assert_double_eq_tol(s.kl_k1, 0, 1e-12);
    ck_assert_double_eq_tol(s.kl_k2, 0.125, 1e-12);
}
END_TEST

START_TEST(minibatches_worked_off_in_pieces_add_up_to_the_whole)
{
    const float old[] = {-1, -2, -3}, new[] = {-1.3f, -1.9f, -2.2f}, advantage[] = {1, -0.5f, 0.3f};
    const double third = 1.0 / 3;
    struct rlhf_ppo_statistics whole = {0}, pieces = {0};
    float a[3], b[3];

    rlhf_ppo_policy(new, old, advantage, 3, 0.2, third, a, &whole);
    rlhf_ppo_policy(new, old, advantage, 1, 0.2, third, b, &pieces);
    rlhf_ppo_policy(new + 1, old + 1, advantage + 1, 2, 0.2, third, b + 1, &pieces);
    ck_assert_double_eq(whole.loss, pieces.loss);
    for (int i = 0; i < 3; i++)
        ck_assert_float_eq(a[i], b[i]);
}
END_TEST

static double plain_value(double v, double old, double ret, double clip)
{
    double c = fmin(fmax(v, old - clip), old + clip);
    return clip > 0 ? 0.5 * fmax((v - ret) * (v - ret), (c - ret) * (c - ret)) : 0.5 * (v - ret) * (v - ret);
}

START_TEST(the_value_loss_has_its_half_and_its_derivative_clipped_and_not)
{
    const double w = 0.5, clips[] = {0, 0.2};

    for (size_t k = 0; k < 2; k++)
        for (float v = -0.97f; v <= 1; v += 0.3f) /* off the kinks */
            for (float ret = -1; ret <= 1; ret += 0.45f) {
                float old = 0.1f, slope;
                double h = 1e-6;
                struct rlhf_ppo_statistics s = {0};

                rlhf_ppo_value(&v, &old, &ret, 1, clips[k], w, &slope, &s);
                ck_assert_double_eq_tol(s.loss, w * plain_value(v, old, ret, clips[k]), 1e-7);
                ck_assert_double_eq_tol(
                    slope,
                    w * (plain_value(v + h, old, ret, clips[k]) - plain_value(v - h, old, ret, clips[k])) /
                        (2 * h),
                    1e-5);
            }
}
END_TEST

START_TEST(the_k_way_loss_is_the_mean_over_ordered_pairs_and_drops_ties)
{
    const float reward[] = {1, 0, -1};
    const uint32_t strict[] = {1, 2, 3}, tied[] = {1, 1, 3}, all_tied[] = {2, 2, 2};
    float d[3] = {0};
    size_t pairs;
    double l1 = log1p(exp(-1)), l2 = log1p(exp(-2));

    ck_assert_double_eq_tol(rlhf_kway_loss(&paper, reward, strict, 3, 1, d, &pairs), (2 * l1 + l2) / 3,
                            1e-12);
    ck_assert_uint_eq(pairs, 3);
    ck_assert_double_eq_tol(rlhf_kway_loss(&paper, reward, tied, 3, 1, d, &pairs), (l1 + l2) / 2, 1e-12);
    ck_assert_uint_eq(pairs, 2);
    d[0] = d[1] = d[2] = 5;
    ck_assert_double_eq(rlhf_kway_loss(&paper, reward, all_tied, 3, 1, d, &pairs), 0);
    ck_assert_uint_eq(pairs, 0);
    ck_assert_float_eq(d[0], 5);
}
END_TEST

START_TEST(the_derivative_of_the_k_way_loss_is_its_finite_difference_and_adds)
{
    const uint32_t rank[] = {2, 1, 2, 4};
    const float reward[] = {0.3f, -0.7f, 1.1f, 0.2f};
    float d[4] = {1, 1, 1, 1}, ignored[4] = {0};

    rlhf_kway_loss(&paper, reward, rank, 4, 0.5, d, NULL);
    for (size_t i = 0; i < 4; i++) {
        float up[4], down[4];
        const float h = 1.0f / 256; /* exact in fp32 */
        for (size_t j = 0; j < 4; j++)
            up[j] = down[j] = reward[j];
        up[i] += h, down[i] -= h;
        double slope = (rlhf_kway_loss(&paper, up, rank, 4, 1, ignored, NULL) -
                        rlhf_kway_loss(&paper, down, rank, 4, 1, ignored, NULL)) /
                       ((double)up[i] - down[i]);
        ck_assert_double_eq_tol(d[i] - 1, 0.5 * slope, 1e-5);
    }
}
END_TEST

START_TEST(smoothing_margin_and_centring_keep_the_k_way_loss_and_its_derivative_in_step)
{
    const struct rlhf_preference all = {.label_smoothing = 0.1, .center = 0.05, .margin = 0.3};
    const uint32_t rank[] = {2, 1, 2, 4}, two[] = {1, 3};
    const float reward[] = {0.3f, -0.7f, 1.1f, 0.2f};
    float d[4] = {0}, ignored[4] = {0};
    double dc, dr;

    rlhf_kway_loss(&all, reward, rank, 4, 1, d, NULL);
    for (size_t i = 0; i < 4; i++) {
        float up[4], down[4];
        const float h = 1.0f / 256;
        for (size_t j = 0; j < 4; j++)
            up[j] = down[j] = reward[j];
        up[i] += h, down[i] -= h;
        double slope = (rlhf_kway_loss(&all, up, rank, 4, 1, ignored, NULL) -
                        rlhf_kway_loss(&all, down, rank, 4, 1, ignored, NULL)) /
                       ((double)up[i] - down[i]);
        ck_assert_double_eq_tol(d[i], slope, 1e-5);
    }
    /* two steps of rank ask twice the margin */
    ck_assert_double_eq_tol(rlhf_kway_loss(&all, reward, two, 2, 1, ignored, NULL),
                            rlhf_pair_loss(&all, reward[0], reward[1], 0.6, &dc, &dr), 1e-12);
}
END_TEST

START_TEST(a_reward_that_is_not_a_number_makes_the_loss_none)
{
    const uint32_t rank[] = {1, 2};
    const float reward[] = {NAN, 0};
    float d[2] = {0};

    ck_assert(isnan(rlhf_kway_loss(&paper, reward, rank, 2, 1, d, NULL)));
    ck_assert_double_eq(rlhf_kway_loss(&paper, reward, rank, 0, 1, d, NULL), 0);
    ck_assert_double_eq(rlhf_kway_loss(&paper, reward, rank, 1, 1, d, NULL), 0);
}
END_TEST

START_TEST(the_pair_loss_keeps_its_linear_tail_and_its_derivatives)
{
    double dc, dr, h = 1e-6, x, y;

    ck_assert_double_eq_tol(rlhf_pair_loss(&paper, -200, 200, 0, &dc, &dr), 400, 1e-9);
    ck_assert_double_eq_tol(dc, -1, 1e-12);
    ck_assert_double_eq_tol(rlhf_log_sigmoid(800), 0, 1e-12);
    rlhf_pair_loss(&centred, 0.3, 0.9, 0.5, &dc, &dr);
    x = (rlhf_pair_loss(&centred, 0.3 + h, 0.9, 0.5, &x, &y) -
         rlhf_pair_loss(&centred, 0.3 - h, 0.9, 0.5, &x, &y)) /
        (2 * h);
    ck_assert_double_eq_tol(dc, x, 1e-8);
    x = (rlhf_pair_loss(&centred, 0.3, 0.9 + h, 0.5, &x, &y) -
         rlhf_pair_loss(&centred, 0.3, 0.9 - h, 0.5, &x, &y)) /
        (2 * h);
    ck_assert_double_eq_tol(dr, x, 1e-8);
}
END_TEST

START_TEST(agreement_counts_equal_scores_half_and_keeps_ties_apart)
{
    const float score[] = {2, 1, 1, 0};
    const uint32_t rank[] = {1, 2, 3, 3};
    struct rlhf_agreement a = {0};

    /* ordered pairs: 01 02 03 right, 12 equal, 13 right; tie: 23, difference 1 */
    rlhf_agreement_add(&a, score, rank, 4);
    rlhf_agreement_end(&a);
    ck_assert_uint_eq(a.pairs, 5);
    ck_assert_uint_eq(a.ties, 1);
    ck_assert_double_eq_tol(a.right, 4.5, 1e-12);
    ck_assert_double_eq_tol(a.margin, 1, 1e-12);
}
END_TEST

START_TEST(a_correlation_is_pearsons_and_0_of_what_does_not_vary)
{
    static const float x[] = {1, 2, 3, 4, 5}, y[] = {2, 1, 4, 3, 5}, down[] = {5, 4, 3, 2, 1}, flat[] = {7, 7, 7, 7, 7};

    ck_assert_double_eq_tol(rlhf_correlation(x, y, 5), 0.8, 1e-12);
    ck_assert_double_eq_tol(rlhf_correlation(x, down, 5), -1, 1e-12);
    ck_assert_double_eq(rlhf_correlation(x, flat, 5), 0);
    ck_assert_double_eq(rlhf_correlation(x, y, 0), 0);
}
END_TEST

START_TEST(wilsons_interval_is_the_published_one)
{
    /* Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20 at 95 %. */
    const double x[] = {81, 15, 0}, n[] = {263, 148, 20};
    const double low[] = {0.2553, 0.0624, 0}, high[] = {0.3662, 0.1605, 0.1611};

    for (int i = 0; i < 3; i++) {
        struct rlhf_interval w = rlhf_wilson(x[i], n[i], 1.959964);
        ck_assert_double_eq_tol(w.low, low[i], 6e-5);
        ck_assert_double_eq_tol(w.high, high[i], 6e-5);
    }
    ck_assert_double_eq(rlhf_wilson(0, 0, 1.96).high, 1);
}
END_TEST

/* Values that are 0 or 1 are trials, less the one that their mean cost; ties tell more than wins and losses do; samples that all
 * say the same are one. */
START_TEST(an_interval_of_shares_counts_what_they_tell_and_not_how_many_they_are)
{
    const double coins[] = {1, 0, 1, 1, 0, 1, 1, 1}, ties[] = {1, 0.5, 0.5, 1, 0.5, 0.5, 1, 1}, same[] = {0.75, 0.75, 0.75};
    double mean;
    struct rlhf_interval a = rlhf_wilson_mean(coins, 8, 1.96, &mean), b = rlhf_wilson(0.75 * 7, 7, 1.96);

    ck_assert_double_eq(mean, 0.75);
    ck_assert_double_eq_tol(a.low, b.low, 1e-12);
    ck_assert_double_eq_tol(a.high, b.high, 1e-12);
    a = rlhf_wilson_mean(ties, 8, 1.96, &mean);
    ck_assert_double_eq(mean, 0.75);
    ck_assert_double_eq_tol(a.low, rlhf_wilson(0.75 * 21, 21, 1.96).low, 1e-12); /* their variance is a third of coins' */
    ck_assert_double_eq(rlhf_wilson_mean(same, 3, 1.96, &mean).low, rlhf_wilson(0.75 * 3, 3, 1.96).low);
    ck_assert_double_eq(rlhf_wilson_mean(same, 0, 1.96, &mean).high, 1);
}
END_TEST

START_TEST(explained_variance_is_one_for_a_perfect_critic_and_zero_for_the_mean)
{
    const float ret[] = {1, 2, 4}, mean[] = {2, 2, 2};

    ck_assert_double_eq_tol(rlhf_explained_variance(ret, ret, 3), 1, 1e-9);
    ck_assert_double_eq_tol(rlhf_explained_variance(mean, ret, 3), 0, 1e-9);
    ck_assert_double_eq(rlhf_explained_variance(ret, mean, 3), 0);
}
END_TEST

START_TEST(nan_and_infinity_are_seen)
{
    const float x[] = {1, NAN}, y[] = {INFINITY, 0}, z[] = {0, -1};

    ck_assert(!rlhf_all_finite(x, 2));
    ck_assert(!rlhf_all_finite(y, 2));
    ck_assert(rlhf_all_finite(z, 2));
    ck_assert(rlhf_all_finite(x, 1));
}
END_TEST

int main(void)
{
    return RUN_SUITE(
        "rl/losses", the_policy_loss_and_its_derivative_are_right_on_both_sides_of_the_clip_range,
        only_a_ratio_that_already_gained_is_clipped, minibatches_worked_off_in_pieces_add_up_to_the_whole,
        the_value_loss_has_its_half_and_its_derivative_clipped_and_not,
        the_k_way_loss_is_the_mean_over_ordered_pairs_and_drops_ties,
        the_derivative_of_the_k_way_loss_is_its_finite_difference_and_adds,
        smoothing_margin_and_centring_keep_the_k_way_loss_and_its_derivative_in_step,
        a_reward_that_is_not_a_number_makes_the_loss_none,
        the_pair_loss_keeps_its_linear_tail_and_its_derivatives,
        agreement_counts_equal_scores_half_and_keeps_ties_apart, a_correlation_is_pearsons_and_0_of_what_does_not_vary,
        wilsons_interval_is_the_published_one, an_interval_of_shares_counts_what_they_tell_and_not_how_many_they_are,
        explained_variance_is_one_for_a_perfect_critic_and_zero_for_the_mean, nan_and_infinity_are_seen);
}
