/* The details of recipe.md that show in a stage only, one a test: the formulas are tested in rl, the optimiser's in tensor. */
#include <math.h>

#include "support/learner/tiny_run.h"

#define BASE TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
#define POLICY(name, more)                                                                                    \
    "  - policy: {name: " name ", from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 4, "    \
    "prompts_per_iteration: 12, samples: 2, minibatch: 8, optimizer: {learning_rate: 2e-3}, " more "}\n"
#define EIGHT "sampling: {max_new_tokens: 8}"
/* lm-human-preferences: 4 epochs, 1 minibatch, rates to 0, KL 0.15 to a target of 6 over 10,000, its Adam. */
#define ZIEGLER                                                                                               \
    "  - policy: {name: ziegler, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 4, prompts_per_iteration: 24, " \
    "minibatch: 24, inner_epochs: 4, gae_lambda: 0.95, discount: 1, clip: 0.2, value_clip: 0.2, kl_coefficient: 0.15, "         \
    "kl_target: 6, kl_horizon: 10000, whiten_rewards: true, whiten_minibatches: true, penalize_missing_end: true, "            \
    "missing_end_reward: -1, optimizer: {learning_rate: 2e-3, schedule: linear, final_rate: 0, epsilon_inside: true}, "        \
    "value_optimizer: {learning_rate: 2e-3, schedule: linear, final_rate: 0, epsilon_inside: true}, "                           \
    "sampling: {max_new_tokens: 8, temperature: 0.7}}\n"
/* InstructGPT: one epoch, a constant rate after a warm-up of 10 iterations from a tenth, gamma 27.8, averaged weights. */
#define OUYANG                                                                                                \
    "  - policy: {name: ouyang, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 12, prompts_per_iteration: 16, " \
    "minibatch: 8, kl_coefficient: 0.02, average: 0.992, optimizer: {learning_rate: 1e-3, warmup: 10, warmup_from: 0.1, "       \
    "beta2: 0.95}, value_optimizer: {learning_rate: 1e-3}, mix: {data: [%s/documents.txt], weight: 27.8, windows: 8, window: 24}, "  \
    EIGHT "}\n"
#define RUN                                                                                                   \
    BASE POLICY("whole", EIGHT) POLICY("cold", "whiten_rewards: true, sampling: {max_new_tokens: 8, temperature: 0.7}")       \
    POLICY("cut", "penalize_missing_end: true, missing_end_reward: -1, sampling: {max_new_tokens: 1}")        \
    POLICY("standard", "rewards: [{reward_model: {normalize: first}}], " EIGHT) ZIEGLER OUYANG

static struct local_port port;
static const char *world, *calm;

static void calm_run(void)
{
    tiny_calm(RUN, &world, &calm, &port);
}

static double metric(const char *stage, const char *key, int from, int to)
{
    return tiny_metric(calm, stage, key, from, to, NULL);
}

/* A policy that is its reference has no KL and ratios of 1, to the bit, only where the temperature divides the logits of the
 * sampler, of the learner and of the reference alike. */
START_TEST(the_temperature_divides_the_references_logits_too)
{
    ck_assert_double_eq(metric("whole", "kl", 0, 1), 0);
    ck_assert_double_eq(metric("cold", "kl", 0, 1), 0);
    ck_assert_double_eq(metric("ziegler", "kl", 0, 1), 0);
    ck_assert_double_ne(metric("cold", "kl", 1, 4), 0);
}
END_TEST

START_TEST(completions_cut_before_their_end_token_score_minus_one_whatever_the_model_says)
{
    ck_assert_double_eq(metric("cut", "ended", 0, 4), 0); /* one token cannot be an answer and an end */
    ck_assert_double_eq(metric("cut", "score", 0, 4), -1);
    ck_assert_double_ne(metric("cut", "reward", 0, 4), -1);
}
END_TEST

/* Gain and bias of the rewards are such that the reference policy's samples have mean 0 and deviation 1. */
START_TEST(rewards_are_measured_from_what_the_reference_policy_gets)
{
    ck_assert_double_eq_tol(metric("standard", "reward", 0, 1), 0, 1e-6);
    ck_assert_double_gt(fabs(metric("standard", "reward.reward_model", 0, 1)), 1e-3);
    ck_assert_double_gt(metric("standard", "reward", 3, 4), 0);
}
END_TEST

START_TEST(rates_fall_to_nothing_over_the_stage_as_in_lm_human_preferences)
{
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(metric("ziegler", "learning_rate", i, i + 1), 2e-3 * (4 - i) / 4, 1e-9);
    ck_assert_double_eq(metric("ziegler", "kl_coefficient", 0, 1), 0.15);
    ck_assert_double_lt(metric("ziegler", "kl_coefficient", 1, 2), 0.15); /* far below its target of 6 nats */
    ck_assert(!isnan(metric("ziegler", "value_clip_fraction", 0, 4)));
}
END_TEST

START_TEST(the_rate_rises_over_ten_iterations_from_a_tenth_as_in_instructgpt)
{
    for (int i = 0; i < 12; i++)
        ck_assert_double_eq_tol(metric("ouyang", "learning_rate", i, i + 1), 1e-3 * (i < 10 ? 0.1 + 0.09 * i : 1), 1e-9);
    ck_assert(!isnan(metric("ouyang", "mix_loss", 0, 12)));
}
END_TEST

START_TEST(with_a_weight_of_27_8_the_pretraining_text_is_not_forgotten)
{
    ck_assert_double_le(metric("ouyang", "mix_loss", 9, 12), metric("ouyang", "mix_loss", 0, 3));
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner-train/recipe", the_temperature_divides_the_references_logits_too,
                           completions_cut_before_their_end_token_score_minus_one_whatever_the_model_says,
                           rewards_are_measured_from_what_the_reference_policy_gets,
                           rates_fall_to_nothing_over_the_stage_as_in_lm_human_preferences,
                           the_rate_rises_over_ten_iterations_from_a_tenth_as_in_instructgpt,
                           with_a_weight_of_27_8_the_pretraining_text_is_not_forgotten);
}
