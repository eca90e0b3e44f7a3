/* Batches that an older policy sampled while others were trained on. */
#include <math.h>

#include "support/learner/tiny_run.h"

#define POLICY(name, more)                                                                                    \
    "  - policy: {name: " name ", from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 8, "    \
    "prompts_per_iteration: 6, samples: 4, minibatch: 8, checkpoint_every: 3, "                               \
    "sampling: {max_new_tokens: 8}, optimizer: {learning_rate: 2e-3}, algorithm: " more "}\n"
#define BASE TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
#define RUN                                                                                                   \
    BASE POLICY("none", "ppo") POLICY("one", "ppo, lag: 1") POLICY("two", "ppo, lag: 2, value_optimizer: {learning_rate: 1e-2}") \
    POLICY("three", "grpo, lag: 3, importance: mask, importance_low: 0.5") \
    POLICY("ratio", "ppo, lag: 2, off_policy: ratio")                                     \
    POLICY("whole", "rloo, lag: 1, importance_by_completion: true, dynamic_sampling: 2, adapter: {rank: 4}")

static const char *const stages[] = {"none", "one", "two", "three", "ratio", "whole"};
enum { STAGES = sizeof stages / sizeof *stages };

static struct local_port port;
static const char *world, *calm;
static struct rlhf_digest expected[STAGES];
static unsigned calm_asks, calm_overlapped;

static void calm_run(void)
{
    tiny_calm(RUN, &world, &calm, &port);
    calm_asks = port.asks;
    calm_overlapped = port.overlapped;
    tiny_expect_checkpoints(calm, stages, expected, STAGES);
}

static double metric(const char *stage, const char *key, int from, int to)
{
    return tiny_metric(calm, stage, key, from, to, NULL);
}

START_TEST(batch_n_is_sampled_by_the_policy_of_iteration_n_less_the_lag)
{
    static const struct {
        const char *stage;
        int lag;
    } lagged[] = {{"one", 1}, {"two", 2}, {"ratio", 2}, {"three", 3}, {"whole", 1}};

    for (size_t i = 0; i < sizeof lagged / sizeof *lagged; i++)
        for (int n = 0; n < 8; n++)
            ck_assert_double_eq(metric(lagged[i].stage, "staleness", n, n + 1), n < lagged[i].lag ? n : lagged[i].lag);
    ck_assert(isnan(metric("none", "staleness", 0, 8)));
    ck_assert_uint_eq(calm_overlapped, 5 * 8); /* every batch of the five was begun before it was waited for */
}
END_TEST

START_TEST(tokens_of_the_present_policy_weigh_one_and_older_ones_what_it_gives_them_now)
{
    ck_assert_double_eq(metric("one", "importance", 0, 1), 1); /* sampled by the policy at hand, to the bit */
    ck_assert_double_eq(metric("three", "importance_cut", 0, 1), 0);
    ck_assert(metric("one", "importance", 7, 8) != 1);
    ck_assert_double_eq_tol(metric("one", "importance", 1, 8), 1, 0.3); /* a mean of ratios of two distributions */
    ck_assert(isnan(metric("ratio", "importance", 0, 8)));
    ck_assert(isnan(metric("none", "importance", 0, 8)));
}
END_TEST

START_TEST(the_first_batch_is_as_without_a_lag)
{
    static const char *const same[] = {"reward", "kl", "policy_loss", "entropy", "length", "grad_norm"};
    const char *base = a_directory();
    struct rlhf_error err = {0};
    char dir[600];

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    snprintf(dir, sizeof dir, "%s/lagged", base); /* in the stage's place, which names its draws */
    expect_ok(tiny_go(BASE POLICY("none", "ppo, lag: 2"), dir, world, &rlhf_system_io, &port, 1000, &err), err);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        ck_assert_double_eq(tiny_metric(dir, "none", same[i], 0, 1, NULL), metric("none", same[i], 0, 1));
    ck_assert_double_ne(tiny_metric(dir, "none", "reward", 2, 3, NULL), metric("none", "reward", 2, 3)); /* then they part */
}
END_TEST

/* Iteration 2 is sampled by the reference itself, whose own penalty is 0; the policy has moved away by then. */
START_TEST(the_penalty_is_of_the_policy_that_is_corrected_for_else_of_the_one_that_sampled)
{
    static const char *const how[] = {"ppo, lag: 2, kl_coefficient: ", "rloo, lag: 2, kl_coefficient: ",
                                      "reinforce_plus_plus, lag: 2, kl_coefficient: ",
                                      "ppo, lag: 2, off_policy: ratio, kl_coefficient: "};
    const char *base = a_directory();

    for (size_t i = 0; i < 4; i++) {
        double loss[2];
        for (int dear = 0; dear < 2; dear++) {
            struct rlhf_error err = {0};
            char dir[600], text[1 << 13];
            local_port_free(&port);
            local_port_init(&port, tiny_utility);
            snprintf(dir, sizeof dir, "%s/penalty-%zu-%d", base, i, dear);
            snprintf(text, sizeof text, "%s  - policy: {name: p, from: sft, reward_model: rm, prompts: %%s/prompts.jsonl, "
                     "iterations: 2, prompts_per_iteration: 6, samples: 4, minibatch: 8, sampling: {max_new_tokens: 8}, "
                     "optimizer: {learning_rate: 2e-3}, algorithm: %s%s}\n", BASE, how[i], dear ? "3" : "0.05");
            expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
            loss[dear] = tiny_metric(dir, "p", "policy_loss", 1, 2, NULL);
        }
        ck_assert_msg((loss[0] != loss[1]) == (i < 3), "%s: losses %g and %g", how[i], loss[0], loss[1]);
    }
}
END_TEST

START_TEST(what_is_corrected_for_its_lag_learns_all_the_same)
{
    static const char *const corrected[] = {"one", "two", "three"};

    for (size_t i = 0; i < 3; i++)
        ck_assert_double_gt(metric(corrected[i], "reward", 6, 8), metric(corrected[i], "reward", 0, 2) + 1);
}
END_TEST

START_TEST(a_learner_killed_at_any_ask_goes_on_with_the_same_bits)
{
    const char *base = a_directory();

    for (unsigned n = calm_asks / 5; n <= calm_asks; n += calm_asks / 9) {
        char dir[600];

        snprintf(dir, sizeof dir, "%s/run-%u", base, n);
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        tiny_kill(RUN, dir, world, &port, 1000, n);
        tiny_same_checkpoints(dir, stages, expected, STAGES, "a kill at ask", n);
    }
}
END_TEST

/* The stop arrives while a batch is being sampled: what was begun is dropped, and begun again by the next life. */
START_TEST(a_learner_stopped_with_a_batch_under_way_goes_on_with_the_same_bits)
{
    struct rlhf_error err = {0};
    const char *own, *dir;

    tiny_place(&own, &dir);
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    port.stop_at = 122; /* calls: steps of the stages before come first */
    ck_assert_int_lt(tiny_go(RUN, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_code(err, RLHF_AGAIN);
    ck_assert(!port.begun);
    port.stop_at = 0;
    expect_ok(tiny_go(RUN, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    tiny_same_checkpoints(dir, stages, expected, STAGES, "a stop", 1);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner-train/lag", batch_n_is_sampled_by_the_policy_of_iteration_n_less_the_lag,
                           tokens_of_the_present_policy_weigh_one_and_older_ones_what_it_gives_them_now,
                           the_first_batch_is_as_without_a_lag,
                           the_penalty_is_of_the_policy_that_is_corrected_for_else_of_the_one_that_sampled, what_is_corrected_for_its_lag_learns_all_the_same,
                           a_learner_killed_at_any_ask_goes_on_with_the_same_bits,
                           a_learner_stopped_with_a_batch_under_way_goes_on_with_the_same_bits);
}
