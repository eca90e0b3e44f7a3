/* Policy stages with every algorithm: each improves its policy, keeps no critic where it has none, and killing it
 * changes no bit. */
#include "rl/algorithm.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "support/learner/tiny_run.h"

#define POLICY(name, more)                                                                                    \
    "  - policy: {name: " name ", from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 8, "    \
    "prompts_per_iteration: 6, samples: 4, minibatch: 8, checkpoint_every: 2, "                               \
    "sampling: {max_new_tokens: 8}, optimizer: {learning_rate: 5e-3}, algorithm: " more "}\n"
#define BASE TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
/* All that a state may hold. */
#define EVERYTHING                                                                                            \
    "  - policy: {name: everything, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 3, "  \
    "prompts_per_iteration: 6, minibatch: 8, checkpoint_every: 1, sampling: {max_new_tokens: 8}, average: 0.5, kl_target: 6, lag: 1, " \
    "rewards: [{reward_model: {weight: 1}}, {length: {name: short, at_most: 100}}]}\n"
/* The rest of each are keys that the algorithm reads. */
#define RUN                                                                                                   \
    BASE POLICY("grpo", "grpo, ratio_limit: 3, kl_estimator: k2")                                             \
    POLICY("bnpo", "bnpo, inner_epochs: 2, advantage_scale: batch")                                           \
    POLICY("dr_grpo", "dr_grpo, kl_coefficient: 0.01, kl_corrected: true")                                    \
    POLICY("dapo", "dapo, dynamic_sampling: 3, dynamic_sampling_spread: 0.01, overlong_cache: 4, "            \
                   "overlong_filter: true")                                                                   \
    POLICY("gspo", "gspo, clip_low: 0.1, clip_high: 0.2")                                                     \
    POLICY("cispo", "cispo, clip_high: 4") POLICY("sapo", "sapo, temperature_negative: 1.1")                  \
    POLICY("rloo", "rloo, kl_coefficient: 0.02, advantage_scale: whiten")                                     \
    POLICY("reinforce_plus_plus", "reinforce_plus_plus, discount: 0.99")                                      \
    POLICY("reinforce_plus_plus_baseline", "reinforce_plus_plus_baseline, loss_mean: completions")            \
    POLICY("averaged", "grpo, average: 0.8, adapter: {rank: 4}")                                              \
    POLICY("adaptive", "ppo, average: 0.5, kl_target: 0.1, kl_horizon: 50")                                   \
    EVERYTHING

static const char *const stages[] = {"grpo",  "bnpo", "dr_grpo", "dapo",
                                     "gspo",  "cispo", "sapo",   "rloo",
                                     "reinforce_plus_plus", "reinforce_plus_plus_baseline",
                                     "averaged", "adaptive", "everything"};
enum { STAGES = sizeof stages / sizeof *stages, ALGORITHMS = STAGES - 1 /* but everything */ };

static struct local_port port;
static const char *world, *calm;
static struct rlhf_digest expected[STAGES];
static unsigned calm_asks;

static void calm_run(void)
{
    tiny_calm(RUN, &world, &calm, &port);
    calm_asks = port.asks;
    tiny_expect_checkpoints(calm, stages, expected, STAGES);
}

static double metric(const char *dir, const char *stage, const char *key, int from, int to)
{
    return tiny_metric(dir, stage, key, from, to, NULL);
}

START_TEST(every_formula_has_its_name_in_run_files_and_means_the_same)
{
    struct rlhf_stage_policy s = {0};

    ck_assert_uint_eq(rlhf_algorithms_count, RLHF_RUN_ALGORITHMS);
    for (s.algorithm = 0; s.algorithm < RLHF_RUN_ALGORITHMS; s.algorithm++) {
        const struct rlhf_algorithm *a = rlhf_algorithm_named(rlhf_run_algorithm(&s));

        ck_assert_msg(a != NULL, "%s has no formula", rlhf_run_algorithm(&s));
        ck_assert_msg((a->credit == RLHF_CREDIT_CRITIC) == rlhf_run_algorithm_has_critic(s.algorithm), "%s", a->name);
        ck_assert_msg((a->baseline != RLHF_BASELINE_NONE) == rlhf_run_algorithm_compares(s.algorithm), "%s", a->name);
        ck_assert_msg(!a->kl_in_reward == rlhf_run_algorithm_kl_in_loss(s.algorithm), "%s", a->name);
    }
}
END_TEST

START_TEST(every_algorithm_raises_the_reward)
{
    for (size_t i = 0; i < ALGORITHMS; i++) {
        double first = metric(calm, stages[i], "reward", 0, 2), last = metric(calm, stages[i], "reward", 6, 8);

        ck_assert_msg(last > first + 0.1, "%s: the reward went from %g to %g", stages[i], first, last);
        ck_assert_double_eq(metric(calm, stages[i], "skipped", 7, 8), 0);
        ck_assert_double_ne(metric(calm, stages[i], "kl", 7, 8), 0); /* an estimate: it may be below */
    }
}
END_TEST

START_TEST(every_algorithm_ends_with_a_policy_of_its_own)
{
    for (size_t i = 0; i < STAGES; i++)
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(!rlhf_digest_equal(&expected[i], &expected[j]), "%s and %s", stages[i], stages[j]);
}
END_TEST

START_TEST(dynamic_sampling_fills_an_iteration_with_prompts_that_teach)
{
    double rounds = metric(calm, "dapo", "rounds", 0, 8);
    int filled = 0;

    ck_assert_double_gt(rounds, 1);
    ck_assert_double_le(rounds, 3);
    for (int i = 0; i < 8; i++) {
        double prompts = metric(calm, "dapo", "prompts", i, i + 1);

        ck_assert_double_le(prompts, 6);
        filled += prompts == 6 && metric(calm, "dapo", "rounds", i, i + 1) > 1;
    }
    ck_assert_int_gt(filled, 0);
}
END_TEST

START_TEST(the_coefficient_rises_while_the_kl_is_above_its_target_and_falls_below)
{
    double below = metric(calm, "adaptive", "kl_coefficient", 1, 2), last = metric(calm, "adaptive", "kl_coefficient", 7, 8);

    ck_assert_double_eq_tol(metric(calm, "adaptive", "kl_coefficient", 0, 1), 0.05, 1e-9);
    /* The first iteration's KL is 0, the error cut at -0.2, and 24 completions of 50 were seen. */
    ck_assert_double_eq_tol(below, 0.05 * (1 - 0.2 * 24 / 50), 1e-8);
    ck_assert_double_gt(metric(calm, "adaptive", "kl", 7, 8), 0.1);
    ck_assert_double_gt(last, below);
}
END_TEST

START_TEST(a_stage_ends_with_the_average_of_its_weights)
{
    static const char plain[] = BASE POLICY("p", "grpo") "  - evaluate: {name: e, policies: [p], reference: sft, prompts: "
                                                         "[{name: all, file: %s/prompts.jsonl}], samples: 4, "
                                                         "sampling: {max_new_tokens: 8}}\n";
    static const char averaged[] =
        BASE POLICY("p", "grpo, average: 0.99") "  - evaluate: {name: e, policies: [p], reference: sft, prompts: "
                                                "[{name: all, file: %s/prompts.jsonl}], samples: 4, "
                                                "sampling: {max_new_tokens: 8}}\n";
    const char *const texts[] = {plain, averaged}, *base = a_directory();
    double kl[2];

    for (int i = 0; i < 2; i++) {
        struct rlhf_error err = {0};
        char dir[600];
        json_t *o, *model;

        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        snprintf(dir, sizeof dir, "%s/average-%d", base, i);
        expect_ok(tiny_go(texts[i], dir, world, &rlhf_system_io, &port, 1000, &err), err);
        o = json_load_file(in_directory(dir, "evaluations/e/metrics.json"), 0, NULL);
        model = json_object_get(json_object_get(o, "models"), "p");
        ck_assert(json_is_number(json_object_get(model, "kl")));
        kl[i] = json_number_value(json_object_get(model, "kl"));
        json_decref(o);
    }
    ck_assert_double_gt(kl[1], 0); /* it moved, and less far: 24 updates of 100 */
    ck_assert_double_lt(kl[1], 0.7 * kl[0]);
}
END_TEST

START_TEST(a_penalty_on_the_kl_keeps_the_policy_near)
{
    static const char text[] = BASE POLICY("free", "grpo, kl_coefficient: 0") POLICY("near", "grpo, kl_coefficient: 1")
        POLICY("free-rewards", "rloo, kl_coefficient: 0") POLICY("near-rewards", "rloo, kl_coefficient: 1");
    struct rlhf_error err = {0};
    const char *dir;

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    tiny_place(&world, &dir);
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    ck_assert_double_lt(metric(dir, "near", "kl", 6, 8), metric(dir, "free", "kl", 6, 8));
    ck_assert_double_lt(metric(dir, "near-rewards", "kl", 6, 8), metric(dir, "free-rewards", "kl", 6, 8));
    ck_assert(isnan(metric(dir, "free", "kl_loss", 0, 8)));
    ck_assert(!isnan(metric(dir, "near", "kl_loss", 0, 8)));
}
END_TEST

static void look_for_a_critic(const char *dir, const char *stage, bool wanted)
{
    struct rlhf_bytes names = {0};
    char path[600];
    bool found = false;

    rlhf_system_io.list(&rlhf_system_io, in_directory(dir, "state"), &names);
    for (char *at = names.data, *name; at && (name = strsep(&at, "\n"));)
        if (strncmp(name, stage, strlen(stage)) == 0) {
            found = true;
            snprintf(path, sizeof path, "state/%s/critic.weights", name);
            ck_assert_int_eq(rlhf_exists(&rlhf_system_io, in_directory(dir, path)), wanted);
            snprintf(path, sizeof path, "state/%s/policy.weights", name);
            ck_assert(rlhf_exists(&rlhf_system_io, in_directory(dir, path)));
        }
    rlhf_bytes_free(&names);
    ck_assert_msg(found, "no state of %s", stage);
}

START_TEST(a_critic_is_kept_where_there_is_one_only)
{
    static const char *const texts[] = {BASE POLICY("p", "ppo"), BASE POLICY("p", "grpo")};
    const char *base = a_directory();

    for (int i = 0; i < 2; i++) {
        struct rlhf_error err = {0};
        char dir[600];

        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        snprintf(dir, sizeof dir, "%s/critic-%d", base, i);
        expect_ok(tiny_go(BASE, dir, world, &rlhf_system_io, &port, 1000, &err), err);
        port.die_at = 2 + 3 * 6; /* reward model, reference; publish, generate, score an iteration */
        ck_assert_int_lt(tiny_go(texts[i], dir, world, &rlhf_system_io, &port, 1000, &err), 0);
        look_for_a_critic(dir, "p", i == 0);
        ck_assert(isnan(metric(dir, "p", "value_loss", 0, 8)) == (i == 1));
    }
}
END_TEST

/* More tokens than a pass takes at once: before the first update the policy is the one that sampled, whose ratios are 1,
 * and a prompt's advantages sum to 0, whatever piece they are in. */
START_TEST(a_minibatch_may_be_larger_than_a_pass)
{
#define LARGE(name, more)                                                                                     \
    "  - policy: {name: " name ", from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 1, "    \
    "prompts_per_iteration: 24, samples: 32, minibatch: 768, sampling: {max_new_tokens: 8}, algorithm: " more "}\n"
    static const char text[] = BASE LARGE("grpo", "grpo") LARGE("gspo", "gspo") LARGE("rloo", "rloo")
        LARGE("ppo", "ppo") LARGE("rf", "reinforce_plus_plus");
    struct rlhf_error err = {0};
    const char *dir;

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    tiny_place(&world, &dir);
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    for (int i = 0; i < 5; i++) {
        const char *stage = (const char *const[]){"grpo", "gspo", "rloo", "ppo", "rf"}[i];

        ck_assert_double_gt(metric(dir, stage, "tokens", 0, 1), 8192);
        ck_assert_double_eq_tol(metric(dir, stage, "ratio", 0, 1), 1, 1e-5);
        ck_assert_double_eq_tol(metric(dir, stage, "approx_kl", 0, 1), 0, 1e-9);
        ck_assert_double_eq_tol(metric(dir, stage, "policy_loss", 0, 1), 0, 1e-5);
        ck_assert_double_gt(metric(dir, stage, "grad_norm", 0, 1), 1e-3);
    }
}
END_TEST

#define SECOND                                                                                                \
    "  - reward: {name: rm-2, from: pre, rounds: [round-1], epochs: 20, batch: 4, held_out: 0, "              \
    "optimizer: {learning_rate: 1e-2}}\n"

START_TEST(an_ensemble_takes_its_disagreement_off_the_reward)
{
    static const char text[] = BASE SECOND POLICY("mean", "grpo, ensemble: [rm-2]")
        POLICY("careful", "grpo, ensemble: [rm-2], ensemble_deviations: 0.5") POLICY("alone", "grpo");
    struct rlhf_error err = {0};
    const char *dir;
    json_t *o;

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    tiny_place(&world, &dir);
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    for (int i = 0; i < 2; i++) {
        const char *stage = i ? "careful" : "mean";

        ck_assert_double_gt(metric(dir, stage, "disagreement", 0, 1), 0.01);
        ck_assert_double_gt(metric(dir, stage, "reward", 6, 8), metric(dir, stage, "reward", 0, 2) + 0.1);
    }
    ck_assert(isnan(metric(dir, "alone", "disagreement", 0, 8)));
    o = json_load_file(in_directory(dir, "checkpoints/careful/provenance.json"), 0, NULL);
    ck_assert_ptr_nonnull(json_object_get(json_object_get(o, "parents"), "rm-2"));
    json_decref(o);
}
END_TEST

static void the_second_model_is_away(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    (void)p;
    for (size_t i = 0; a->kind == LEARNER_SCORE && rlhf_digest_is_zero(&a->reference) && i < answer->count; i++)
        answer->scores[i].missing = true; /* as set aside: its reward is still 0 */
}

START_TEST(an_ensemble_does_without_a_model_whose_reward_is_missing)
{
    static const char together[] = BASE SECOND POLICY("p", "grpo, ensemble: [rm-2], ensemble_deviations: 1");
    static const char alone[] = BASE SECOND POLICY("p", "grpo");
    const char *base = a_directory();
    struct rlhf_digest d[2];

    for (int i = 0; i < 2; i++) {
        struct rlhf_error err = {0};
        char dir[600];

        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        port.spoil = the_second_model_is_away;
        snprintf(dir, sizeof dir, "%s/ensemble-%d", base, i);
        expect_ok(tiny_go(i ? alone : together, dir, world, &rlhf_system_io, &port, 1000, &err), err);
        d[i] = tiny_checkpoint(dir, "p");
        ck_assert(isnan(metric(dir, "p", "missing", 0, 8)));
    }
    ck_assert(rlhf_digest_equal(&d[0], &d[1]));
}
END_TEST

static void one_reward_in_four_is_missing(struct local_port *p, const struct learner_action *a,
                                          struct learner_answer *answer)
{
    (void)p;
    for (size_t i = 0; a->kind == LEARNER_SCORE && i < answer->count; i += 4)
        answer->scores[i].missing = true;
}

START_TEST(groups_do_without_the_completions_whose_reward_is_missing)
{
    static const char text[] = BASE POLICY("grpo", "grpo") POLICY("rloo", "rloo")
        POLICY("rf", "reinforce_plus_plus_baseline");
    struct rlhf_error err = {0};
    const char *dir;

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    tiny_place(&world, &dir);
    port.spoil = one_reward_in_four_is_missing;
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    for (int i = 0; i < 3; i++) {
        const char *stage = (const char *const[]){"grpo", "rloo", "rf"}[i];

        ck_assert_double_eq(metric(dir, stage, "missing", 0, 8), 6);
        ck_assert_double_eq(metric(dir, stage, "skipped", 7, 8), 0);
        ck_assert_double_gt(metric(dir, stage, "reward", 6, 8), metric(dir, stage, "reward", 0, 2));
    }
}
END_TEST

START_TEST(a_learner_killed_in_any_algorithm_goes_on_with_the_same_bits)
{
    struct rlhf_error err = {0};
    const char *dir;
    unsigned lives = 0;

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    tiny_place(&world, &dir);
    /* Far enough to reach the next state, never through two stages. */
    for (port.die_at = calm_asks / STAGES + 1; tiny_go(RUN, dir, world, &rlhf_system_io, &port, 1000, &err) < 0; lives++)
        ck_assert_msg(lives < 100, "no end after %u lives: %s", lives, err.text);
    ck_assert_uint_ge(lives, STAGES - 1);
    tiny_same_checkpoints(dir, stages, expected, STAGES, "lives", lives);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner/algorithms", every_formula_has_its_name_in_run_files_and_means_the_same,
                           every_algorithm_raises_the_reward, every_algorithm_ends_with_a_policy_of_its_own,
                           dynamic_sampling_fills_an_iteration_with_prompts_that_teach,
                           the_coefficient_rises_while_the_kl_is_above_its_target_and_falls_below,
                           a_stage_ends_with_the_average_of_its_weights, a_penalty_on_the_kl_keeps_the_policy_near, a_critic_is_kept_where_there_is_one_only,
                           a_minibatch_may_be_larger_than_a_pass, an_ensemble_takes_its_disagreement_off_the_reward,
                           an_ensemble_does_without_a_model_whose_reward_is_missing,
                           groups_do_without_the_completions_whose_reward_is_missing,
                           a_learner_killed_in_any_algorithm_goes_on_with_the_same_bits);
}
