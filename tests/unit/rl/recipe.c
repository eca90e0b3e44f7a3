/* The details of recipe.md that are formulas of this room, one a test; and what a missing score does in each.
 * Others stand where their code is: the optimiser's in tensor and learner-train, the head's first weights in
 * model. */
#include <math.h>
#include <string.h>

#include "rl/advantage.h"
#include "rl/algorithm.h"
#include "rl/average.h"
#include "rl/kl.h"
#include "rl/ppo.h"
#include "rl/preference.h"
#include "rl/reward.h"
#include "rl/schedule.h"
#include "tensor/ops.h"
#include "support/suite.h"

/* ---- InstructGPT: the table "Training" ----------------------------------------------------------------- */

START_TEST(reward_loss_is_over_all_pairs_of_a_prompt_divided_by_their_number)
{
    const uint32_t rank[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const float equal[9] = {0};
    const struct rlhf_preference paper = {0};

    for (size_t k = 2; k <= 9; k++) {
        float d[9] = {0};
        size_t pairs;
        double loss = rlhf_kway_loss(&paper, equal, rank, k, 1, d, &pairs);

        ck_assert_uint_eq(pairs, k * (k - 1) / 2);
        ck_assert_double_eq_tol(loss, log(2), 1e-12);
        ck_assert_float_eq_tol(d[0], (float)(-0.5 * (double)(k - 1) / (double)pairs),
                               1e-6f); /* best of all */
    }
}
END_TEST

START_TEST(ties_are_dropped)
{
    const uint32_t rank[] = {1, 1, 2};
    const float reward[] = {3, -3, 0};
    float d[3] = {0};
    size_t pairs;

    rlhf_kway_loss(&(struct rlhf_preference){0}, reward, rank, 3, 1, d, &pairs);
    ck_assert_uint_eq(pairs, 2);
}
END_TEST

START_TEST(the_reward_models_bias_gives_demonstrations_a_mean_of_zero)
{
    float demonstrations[] = {3, 5, NAN, 10}, other[] = {6, 7};
    struct rlhf_reward_scale s = rlhf_reward_bias_fit(demonstrations, 4, 0);

    ck_assert_double_eq(s.gain, 1);
    ck_assert_double_eq(s.bias, -6);
    rlhf_reward_scale_apply(&s, other, 2);
    ck_assert_float_eq(other[0], 0);
    ck_assert_float_eq(other[1], 1);
    rlhf_reward_scale_apply(&s, demonstrations, 4);
    ck_assert(isnan(demonstrations[2]));
}
END_TEST

START_TEST(there_is_no_discount_so_a_score_reaches_the_first_token_whole)
{
    const uint32_t start[] = {0, 3};
    const struct rlhf_ragged c = {start, 1};
    const float logprob[] = {-1, -1, -1}, score = 2, value[3] = {0};
    float reward[3], advantage[3], ret[3];

    rlhf_kl_rewards(RLHF_KL_K1, &c, logprob, logprob, &score, 0.02, reward, NULL);
    rlhf_gae(&c, reward, value, 1, 1, advantage, ret);
    ck_assert_float_eq(ret[0], 2);
    rlhf_returns(&c, reward, 1, ret);
    ck_assert_float_eq(ret[0], 2);
}
END_TEST

START_TEST(the_rate_warms_up_over_ten_iterations_from_a_tenth_and_stays)
{
    const struct rlhf_schedule_settings s = {.warmup = 10, .warmup_from = 0.1};

    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 0), 0.1, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 5), 0.55, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 10), 1, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 500), 1, 1e-12);
}
END_TEST

START_TEST(the_average_of_the_weights_forgets_with_0_992)
{
    float average[] = {1, 0, -2};
    const float weight[] = {1, 1, -2};
    double rest = 1;

    rlhf_average_update(average, weight, 3, 0.992);
    ck_assert_float_eq(average[0], 1);
    ck_assert_float_eq(average[1], 0.008f);
    ck_assert_float_eq(average[2], -2);
    for (int i = 1; i < 100; i++)
        rlhf_average_update(average, weight, 3, 0.992);
    for (int i = 0; i < 100; i++)
        rest *= 0.992;
    ck_assert_float_eq_tol(average[1], (float)(1 - rest), 1e-5f);
}
END_TEST

START_TEST(ppo_clips_at_0_2)
{
    const struct rlhf_algorithm *ppo = rlhf_algorithm_named("ppo");

    ck_assert_double_eq(ppo->loss.clip_low, 0.2);
    ck_assert_double_eq(ppo->loss.clip_high, 0.2);
    ck_assert(ppo->kl_in_reward);
    ck_assert_double_eq(ppo->loss.beta, 0);
}
END_TEST

/* ---- lm-human-preferences ------------------------------------------------------------------------------ */

START_TEST(a_tokens_reward_is_minus_beta_times_its_log_ratio_and_the_score_stands_at_the_last)
{
    const uint32_t start[] = {0, 2};
    const float logprob[] = {-1, -2}, ref[] = {-3, -1.5f}, score = 4;
    float reward[2];

    rlhf_kl_rewards(RLHF_KL_K1, &(struct rlhf_ragged){start, 1}, logprob, ref, &score, 0.1, reward, NULL);
    ck_assert_float_eq_tol(reward[0], -0.2f, 1e-6f);
    ck_assert_float_eq_tol(reward[1], 4.05f, 1e-6f);
}
END_TEST

START_TEST(rewards_are_whitened_without_a_shift_of_their_mean_and_advantages_with_one)
{
    float reward[] = {5, 7, 9, 11}, advantage[] = {5, 7, 9, 11};

    rlhf_whiten(reward, 4, true);
    rlhf_whiten(advantage, 4, false);
    ck_assert_double_eq_tol(rlhf_moments(reward, 4).mean, 8, 1e-5);
    ck_assert_double_eq_tol(rlhf_moments(reward, 4).variance, 1, 1e-5);
    ck_assert_double_eq_tol(rlhf_moments(advantage, 4).mean, 0, 1e-5);
}
END_TEST

START_TEST(values_are_clipped_around_the_old_ones_and_the_larger_loss_counts)
{
    const float old = 1, ret = 2, values[] = {1.5f, 0.5f};
    const double losses[] = {0.5 * 0.8 * 0.8, 0.5 * 1.5 * 1.5}; /* cut at 1.2; cut at 0.8, but 0.5 is worse */
    const float slopes[] = {0, -1.5f};

    for (size_t i = 0; i < 2; i++) {
        struct rlhf_ppo_statistics s = {0};
        float d;
        rlhf_ppo_value(&values[i], &old, &ret, 1, 0.2, 1, &d, &s);
        ck_assert_double_eq_tol(s.loss, losses[i], 1e-6);
        ck_assert_float_eq_tol(d, slopes[i], 1e-6f);
    }
}
END_TEST

START_TEST(the_adaptive_kl_coefficient_moves_by_a_fifth_of_episodes_over_horizon_at_most)
{
    struct rlhf_kl_controller c = {.beta = 0.15, .target = 6, .horizon = 10000},
                              fixed = {.beta = 0.02, .target = 6};

    rlhf_kl_controller_update(&c, 6, 512);
    ck_assert_double_eq(c.beta, 0.15);
    rlhf_kl_controller_update(&c, 6.6, 512); /* error 0.1 */
    ck_assert_double_eq_tol(c.beta, 0.15 * (1 + 0.1 * 512 / 10000), 1e-12);
    c.beta = 0.15;
    rlhf_kl_controller_update(&c, 60, 512);
    ck_assert_double_eq_tol(c.beta, 0.15 * (1 + 0.2 * 512 / 10000), 1e-12);
    c.beta = 0.15;
    rlhf_kl_controller_update(&c, -1, 512); /* an estimate may be negative */
    ck_assert_double_eq_tol(c.beta, 0.15 * (1 - 0.2 * 512 / 10000), 1e-12);
    c.beta = 0.15;
    rlhf_kl_controller_update(&c, NAN, 512);
    ck_assert_double_eq(c.beta, 0.15);
    rlhf_kl_controller_update(&c, 0, 1e9);
    ck_assert_double_eq(c.beta, 0);
    rlhf_kl_controller_update(&fixed, 60, 512);
    ck_assert_double_eq(fixed.beta, 0.02);
}
END_TEST

START_TEST(gain_and_bias_make_the_reference_policys_samples_standard)
{
    enum { SAMPLES = 256 };
    float score[SAMPLES];
    struct rlhf_reward_scale s;
    struct rlhf_moments m;

    for (int i = 0; i < SAMPLES; i++)
        score[i] = 3 + 0.1f * (float)((i * 37) % SAMPLES);
    s = rlhf_reward_scale_fit(score, SAMPLES, 0, 1);
    rlhf_reward_scale_apply(&s, score, SAMPLES);
    m = rlhf_moments(score, SAMPLES);
    ck_assert_double_eq_tol(m.mean, 0, 1e-5);
    ck_assert_double_eq_tol(m.variance, 1, 1e-5);
}
END_TEST

START_TEST(scores_that_do_not_vary_or_are_missing_keep_a_gain_of_one)
{
    const float equal[] = {4, 4, 4}, one[] = {NAN, 7}, none[] = {NAN, NAN};

    ck_assert_double_eq(rlhf_reward_scale_fit(equal, 3, 0, 1).gain, 1);
    ck_assert_double_eq(rlhf_reward_scale_fit(equal, 3, 0, 1).bias, -4);
    ck_assert_double_eq(rlhf_reward_scale_fit(one, 2, 0, 1).bias, -7);
    ck_assert_double_eq(rlhf_reward_scale_fit(none, 2, 5, 1).bias, 0);
    ck_assert_double_eq(rlhf_reward_scale_fit(none, 0, 5, 1).gain, 1);
}
END_TEST

START_TEST(a_completion_without_its_end_token_scores_minus_one_whatever_the_model_says)
{
    float score[] = {8, -5, 2, NAN};
    const bool finished[] = {true, false, false, false};

    rlhf_eos_penalty(score, finished, 4, -1);
    ck_assert_float_eq(score[0], 8);
    ck_assert_float_eq(score[1], -1);
    ck_assert_float_eq(score[2], -1);
    ck_assert(isnan(score[3])); /* missing stays missing */
}
END_TEST

START_TEST(labels_are_best_of_four)
{
    const uint32_t start[] = {0, 4};
    const float score[] = {0.1f, 0.4f, NAN, 0.3f};
    int64_t best;

    rlhf_group_extremes(&(struct rlhf_ragged){start, 1}, score, &best, NULL);
    ck_assert_int_eq(best, 1);
}
END_TEST

/* TF1 divides by sqrt(v) + epsilon and then corrects the bias, which makes epsilon 1/sqrt(1 - beta2^t) times as large: 31
 * times at the first update, so that small gradients move their weights visibly less early on. */
START_TEST(tf1s_adam_places_its_epsilon_before_the_bias_correction)
{
    struct rlhf_adamw pytorch = {.lr = 1, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-5f, .step = 1}, tf1 = pytorch;
    float grad[2] = {1e-5f, 1e-5f}; /* as large as epsilon */
    float m[2] = {0}, v[2] = {0}, param[2] = {0};
    double corrected = sqrt(1 - 0.999);

    tf1.epsilon_inside_tf1 = true;
    rlhf_adamw_step(&pytorch, 1, false, &grad[0], &m[0], &v[0], &param[0], 1, NULL);
    rlhf_adamw_step(&tf1, 1, false, &grad[1], &m[1], &v[1], &param[1], 1, NULL);
    ck_assert_double_eq_tol(param[0], -0.5, 1e-3);
    ck_assert_double_eq_tol(param[1], -1 / (1 + 1 / corrected), 1e-3);
}
END_TEST

/* ---- summarize_from_feedback_details ------------------------------------------------------------------- */

/* There INVALID_LOGPROB, 1.0, stands on padding in old and new log-probs alike, so that its ratio stays 1. Here nothing is
 * padded: the same loss, and the same derivatives on what is not padding. */
START_TEST(padding_whose_ratio_stays_one_and_no_padding_are_the_same_loss)
{
    enum { LONG = 4, SHORT = 2, T = LONG + SHORT };
    const uint32_t start[] = {0, LONG, T}, padded_start[] = {0, LONG, 2 * LONG};
    const float now[T] = {-1, -2, -0.5f, -1.5f, -0.7f, -0.2f}, old[T] = {-1.1f, -1.5f, -0.5f, -2, -1, -0.3f};
    const float advantage[T] = {1, -1, 0.5f, 2, -2, 0.3f};
    float wide_now[2 * LONG], wide_old[2 * LONG], wide_advantage[2 * LONG] = {0}, d[T], wide_d[2 * LONG];
    const double weight[] = {1.0 / T, 1.0 / T};
    struct rlhf_policy_statistics s = {0}, wide = {0};
    const struct rlhf_policy_loss *ppo = &rlhf_algorithm_named("ppo")->loss;

    for (int i = 0; i < 2 * LONG; i++)
        wide_now[i] = wide_old[i] = 1.0f;
    for (int i = 0; i < T; i++) { /* the short one's tokens are the first of its row */
        wide_now[i] = now[i], wide_old[i] = old[i], wide_advantage[i] = advantage[i];
    }
    rlhf_policy_loss(ppo, &(struct rlhf_policy_batch){.completions = {start, 2}, .logprob_new = now, .logprob_old = old,
                                                      .advantage_token = advantage, .weight = weight}, d, &s);
    rlhf_policy_loss(ppo, &(struct rlhf_policy_batch){.completions = {padded_start, 2}, .logprob_new = wide_now,
                                                      .logprob_old = wide_old, .advantage_token = wide_advantage,
                                                      .weight = weight}, wide_d, &wide);
    ck_assert_double_eq(wide.loss, s.loss);
    for (int i = 0; i < 2 * LONG; i++)
        ck_assert_double_eq(wide_d[i], i < T ? d[i] : 0);
    ck_assert_double_eq_tol(wide.ratio - s.ratio, 2 * LONG - T, 1e-12); /* each is 1: in sums they would count */
}
END_TEST

/* ---- several sources, long answers --------------------------------------------------------------------- */

START_TEST(an_ensembles_reward_is_its_mean_less_k_deviations)
{
    const float a[] = {1, 1, NAN, NAN}, b[] = {3, NAN, NAN, 2}, c[] = {5, 1, NAN, 2};
    const float *const models[] = {a, b, c};
    float out[4];

    rlhf_reward_ensemble(models, 3, 4, 0.5, out);
    ck_assert_float_eq_tol(out[0], 3 - 0.5f * 2, 1e-6f);
    ck_assert_float_eq(out[1], 1);
    ck_assert(isnan(out[2]));
    ck_assert_float_eq(out[3], 2);
    rlhf_reward_ensemble(models, 1, 1, 9, out);
    ck_assert_float_eq(out[0], 1);
}
END_TEST

START_TEST(a_mix_of_sources_is_missing_where_one_that_counts_is_missing)
{
    const float a[] = {1, NAN, 3}, b[] = {10, 20, NAN}, c[] = {NAN, NAN, NAN};
    const float *const sources[] = {a, b, c};
    const double weight[] = {2, 0.5, 0};
    float out[3];

    rlhf_reward_mix(sources, weight, 3, 3, out);
    ck_assert_float_eq(out[0], 7);
    ck_assert(isnan(out[1]));
    ck_assert(isnan(out[2]));
}
END_TEST

START_TEST(clipping_leaves_what_is_inside_and_what_is_missing)
{
    float score[] = {-9, -1, 0.5f, 9, NAN};

    rlhf_reward_clip(score, 5, -2, 1);
    ck_assert_float_eq(score[0], -2);
    ck_assert_float_eq(score[1], -1);
    ck_assert_float_eq(score[2], 0.5f);
    ck_assert_float_eq(score[3], 1);
    ck_assert(isnan(score[4]));
}
END_TEST

START_TEST(an_overlong_answer_loses_up_to_one_over_the_last_tokens)
{
    /* DAPO's own: 16,384 expected tokens and a cache of 4,096 */
    ck_assert_double_eq(rlhf_overlong_penalty(16384, 20480, 4096), 0);
    ck_assert_double_eq(rlhf_overlong_penalty(18432, 20480, 4096), -0.5);
    ck_assert_double_eq(rlhf_overlong_penalty(20480, 20480, 4096), -1);
    ck_assert_double_eq(rlhf_overlong_penalty(30000, 20480, 4096), -1);
    ck_assert_double_eq(rlhf_overlong_penalty(9, 10, 0), 0); /* no cache: a cliff, at the limit */
    ck_assert_double_eq(rlhf_overlong_penalty(11, 10, 0), -1);
    ck_assert_double_eq(rlhf_overlong_penalty(5, 10, 20), -0.5);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rl/recipe", reward_loss_is_over_all_pairs_of_a_prompt_divided_by_their_number,
                     ties_are_dropped, the_reward_models_bias_gives_demonstrations_a_mean_of_zero,
                     there_is_no_discount_so_a_score_reaches_the_first_token_whole,
                     the_rate_warms_up_over_ten_iterations_from_a_tenth_and_stays,
                     the_average_of_the_weights_forgets_with_0_992, ppo_clips_at_0_2,
                     a_tokens_reward_is_minus_beta_times_its_log_ratio_and_the_score_stands_at_the_last,
                     rewards_are_whitened_without_a_shift_of_their_mean_and_advantages_with_one,
                     values_are_clipped_around_the_old_ones_and_the_larger_loss_counts,
                     the_adaptive_kl_coefficient_moves_by_a_fifth_of_episodes_over_horizon_at_most,
                     gain_and_bias_make_the_reference_policys_samples_standard,
                     scores_that_do_not_vary_or_are_missing_keep_a_gain_of_one,
                     a_completion_without_its_end_token_scores_minus_one_whatever_the_model_says,
                     labels_are_best_of_four, tf1s_adam_places_its_epsilon_before_the_bias_correction,
                     padding_whose_ratio_stays_one_and_no_padding_are_the_same_loss, an_ensembles_reward_is_its_mean_less_k_deviations,
                     a_mix_of_sources_is_missing_where_one_that_counts_is_missing,
                     clipping_leaves_what_is_inside_and_what_is_missing,
                     an_overlong_answer_loses_up_to_one_over_the_last_tokens);
}
