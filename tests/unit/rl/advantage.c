#include <math.h>

#include "rl/advantage.h"
#include "rl/kl.h"
#include "support/suite.h"

START_TEST(gae_of_three_tokens_is_what_one_computes_by_hand)
{
    /* discount 0.5, lambda 0.5: delta = r + 0.5 v' - v = {1 + 1 - 1, 0 + 1.5 - 2, 2 - 3} = {1, -0.5, -1};
     * advantage = {1 + 0.25·(-0.75), -0.5 + 0.25·(-1), -1}. The second completion has one token. */
    const uint32_t start[] = {0, 3, 4};
    const float reward[] = {1, 0, 2, 5}, value[] = {1, 2, 3, 4};
    float advantage[4], ret[4];

    rlhf_gae(&(struct rlhf_ragged){start, 2}, reward, value, 0.5, 0.5, advantage, ret);
    ck_assert_float_eq_tol(advantage[0], 0.8125f, 1e-6f);
    ck_assert_float_eq_tol(advantage[1], -0.75f, 1e-6f);
    ck_assert_float_eq_tol(advantage[2], -1, 1e-6f);
    ck_assert_float_eq_tol(advantage[3], 1, 1e-6f);
    ck_assert_float_eq_tol(ret[0], 1.8125f, 1e-6f);
    ck_assert_float_eq_tol(ret[3], 5, 1e-6f);
}
END_TEST

START_TEST(without_discount_and_with_lambda_one_the_return_is_the_sum_of_rewards_to_come)
{
    const uint32_t start[] = {0, 4};
    const float reward[] = {0.1f, 0.2f, 0.3f, 0.4f}, value[] = {9, -9, 3, 0.5f};
    float advantage[4], ret[4];

    rlhf_gae(&(struct rlhf_ragged){start, 1}, reward, value, 1, 1, advantage, ret);
    ck_assert_float_eq_tol(ret[0], 1.0f, 1e-5f);
    ck_assert_float_eq_tol(ret[2], 0.7f, 1e-5f);
}
END_TEST

START_TEST(whitening_gives_mean_zero_and_variance_one_or_keeps_the_mean)
{
    float x[] = {1, 2, 3, 6}, y[] = {1, 2, 3, 6}, one[] = {7};
    struct rlhf_moments m;

    rlhf_whiten(x, 4, false);
    m = rlhf_moments(x, 4);
    ck_assert_double_eq_tol(m.mean, 0, 1e-6);
    ck_assert_double_eq_tol(m.variance, 1, 1e-6);
    rlhf_whiten(y, 4, true);
    m = rlhf_moments(y, 4);
    ck_assert_double_eq_tol(m.mean, 3, 1e-6);
    ck_assert_double_eq_tol(m.variance, 1, 1e-6);
    rlhf_whiten(one, 1, false);
    ck_assert_float_eq(one[0], 0);
}
END_TEST

START_TEST(normalising_divides_by_the_deviation_over_n_and_never_by_less_than_its_floor)
{
    float x[] = {1, 2, 3, 6}, equal[] = {5, 5, 5}, one[] = {7};

    rlhf_normalize(x, 4);
    ck_assert_float_eq_tol(x[3], (float)(3 / sqrt(14.0 / 4)), 1e-6f);
    rlhf_normalize(equal, 3);
    ck_assert_float_eq(equal[1], 0);
    rlhf_normalize(one, 1);
    ck_assert_float_eq(one[0], 0);
    rlhf_normalize(one, 0);
    rlhf_whiten(one, 0, false);
}
END_TEST

START_TEST(returns_are_gae_with_lambda_one_and_no_critic_also_in_place)
{
    const uint32_t start[] = {0, 3, 3, 4};
    const struct rlhf_ragged c = {start, 3};
    const float value[4] = {0};
    float reward[] = {0.5f, -1, 2, 4}, advantage[4], ret[4];

    rlhf_gae(&c, reward, value, 0.9, 1, advantage, ret);
    rlhf_returns(&c, reward, 0.9, reward);
    ck_assert_mem_eq(reward, ret, sizeof ret);
}
END_TEST

START_TEST(the_kl_penalty_is_on_every_token_and_the_score_on_the_last)
{
    const uint32_t start[] = {0, 2, 2, 3};
    const float logprob[] = {-1, -2, -1}, ref[] = {-2, -1, -1}, score[] = {10, 99, -3};
    float reward[3];
    double kl[3];

    rlhf_kl_rewards(RLHF_KL_K1, &(struct rlhf_ragged){start, 3}, logprob, ref, score, 0.5, reward, kl);
    ck_assert_float_eq_tol(reward[0], -0.5f, 1e-6f);
    ck_assert_float_eq_tol(reward[1], 10.5f, 1e-6f);
    ck_assert_float_eq_tol(reward[2], -3, 1e-6f);
    ck_assert_double_eq_tol(kl[0], 0, 1e-9);
    ck_assert_double_eq_tol(kl[1], 0, 1e-9);
}
END_TEST

START_TEST(the_slopes_of_the_kl_estimators_are_their_finite_differences)
{
    const enum rlhf_kl_estimator all[] = {RLHF_KL_K1, RLHF_KL_K2, RLHF_KL_K3};

    for (size_t e = 0; e < 3; e++)
        for (double lp = -3; lp < 0; lp += 0.7) {
            double h = 1e-6,
                   slope = (rlhf_kl(all[e], lp + h, -1.1) - rlhf_kl(all[e], lp - h, -1.1)) / (2 * h);
            ck_assert_double_eq_tol(rlhf_kl_slope(all[e], lp, -1.1), slope, 1e-7);
        }
    ck_assert_double_ge(rlhf_kl(RLHF_KL_K3, -1, -5), 0);
    ck_assert_double_ge(rlhf_kl(RLHF_KL_K3, -5, -1), 0);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rl/advantage", gae_of_three_tokens_is_what_one_computes_by_hand,
                     without_discount_and_with_lambda_one_the_return_is_the_sum_of_rewards_to_come,
                     whitening_gives_mean_zero_and_variance_one_or_keeps_the_mean,
                     normalising_divides_by_the_deviation_over_n_and_never_by_less_than_its_floor,
                     returns_are_gae_with_lambda_one_and_no_critic_also_in_place,
                     the_kl_penalty_is_on_every_token_and_the_score_on_the_last,
                     the_slopes_of_the_kl_estimators_are_their_finite_differences);
}
