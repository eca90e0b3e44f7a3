/* Rewards from several sources: rules, a service and a judge beside the reward model and without it. */
#include <jansson.h>
#include <math.h>

#include "support/learner/tiny_run.h"

#define POLICY(name, prompts, more)                                                                           \
    "  - policy: {name: " name ", from: sft, prompts: %s/" prompts ", iterations: 6, prompts_per_iteration: 12, samples: 4, " \
    "minibatch: 8, checkpoint_every: 2, sampling: {max_new_tokens: 8}, optimizer: {learning_rate: 5e-3}, " more "}\n"
#define YES "pattern: {name: yes, expression: '^ yes[.]$'}"
#define SERVICE "service: {name: service, weight: 0.3, normalize: first, url: 'http://127.0.0.1:1/', when_missing: leave_out}"
#define JUDGE                                                                                                 \
    "judge: {name: judge, weight: 0.1, url: 'http://127.0.0.1:1/', model: m, question: 'Is {completion} good?', at_least: -100}"
#define RUN                                                                                                   \
    TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD                                                 \
    POLICY("rules", "prompts.jsonl", "algorithm: grpo, rewards: [{" YES "}, {length: {name: short, unit: characters, at_most: 5, " \
                    "per_unit: 0.25}}]")                                                                      \
    POLICY("mixed", "exact.jsonl",                                                                            \
           "algorithm: ppo, reward_model: rm, rewards: [{exact: {name: right, expression: '[a-z]+', weight: 2}}, "               \
           "{reward_model: {weight: 0.5, normalize: running, clip: 2}}, {" SERVICE "}, {" JUDGE "}]")                         \
    "  - best_of: {name: best, from: sft, prompts: %s/exact.jsonl, samples: 6, sampling: {max_new_tokens: 8}, "  \
    "rewards: [{exact: {name: right, expression: '[a-z]+'}}, {" JUDGE "}]}\n"                                  \
    "  - evaluate: {name: report, policies: [sft, rules], prompts: [{name: all, file: %s/prompts.jsonl}], samples: 4, "          \
    "sampling: {max_new_tokens: 8}, rewards: [{" YES "}, {" JUDGE "}]}\n"

static const char *const results[] = {"checkpoints/rules/model.safetensors", "checkpoints/mixed/model.safetensors",
                                      "demonstrations/best.jsonl", "evaluations/report/metrics.json"};
enum { RESULTS = sizeof results / sizeof *results };

static struct local_port port;
static const char *world, *calm;
static struct rlhf_digest expected[RESULTS];
static unsigned calm_asks;

/* Whoever is asked again says something else; one text in nine has no reward. */
static float moody(struct local_port *p, const struct rlhf_source_settings *s, const struct rlhf_source_text *t)
{
    unsigned n = p->said * 31 + (unsigned)strlen(t->completion) * 7 + (unsigned char)t->prompt[6];

    ck_assert(strcmp(s->name, "judge") == 0 || s->kind == RLHF_SOURCE_SERVICE);
    return n % 9 == 0 ? NAN : (float)tiny_utility(t->prompt, t->completion) + (float)(n % 5) / 8;
}

static void calm_run(void)
{
    struct rlhf_error err = {0};

    tiny_place(&world, &calm);
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    port.say = moody;
    expect_ok(tiny_go(RUN, calm, world, &rlhf_system_io, &port, 1000, &err), err);
    calm_asks = port.asks;
    tiny_expect(calm, results, expected, RESULTS);
}

static double metric(const char *stage, const char *key, int from, int to)
{
    return tiny_metric(calm, stage, key, from, to, NULL);
}

START_TEST(rules_alone_teach_what_they_reward)
{
    ck_assert_double_gt(metric("rules", "reward.yes", 5, 6), metric("rules", "reward.yes", 0, 1) + 0.2);
    ck_assert_double_le(metric("rules", "reward.short", 0, 1), 0);
    ck_assert_double_eq(metric("rules", "missing.yes", 0, 6), 0);
    ck_assert_double_eq_tol(metric("rules", "reward", 0, 1),
                            metric("rules", "reward.yes", 0, 1) + metric("rules", "reward.short", 0, 1), 1e-6);
    ck_assert(isnan(metric("rules", "reward.reward_model", 0, 6))); /* there is none */
}
END_TEST

START_TEST(sources_side_by_side_have_their_means_and_missing_counts_in_the_metrics)
{
    ck_assert_double_gt(metric("mixed", "reward.right", 5, 6), metric("mixed", "reward.right", 0, 1));
    ck_assert(!isnan(metric("mixed", "reward.reward_model", 0, 6)));
    ck_assert_double_gt(metric("mixed", "reward.service", 0, 6), 0.5);
    ck_assert_double_gt(metric("mixed", "missing.service", 0, 6), 0);
    ck_assert_double_gt(metric("mixed", "missing.judge", 0, 6), 0);
    /* a completion is left out where any source that counts is missing */
    ck_assert_double_ge(metric("mixed", "missing", 0, 6), metric("mixed", "missing.service", 0, 6));
    ck_assert_double_le(metric("mixed", "missing", 0, 6),
                        metric("mixed", "missing.service", 0, 6) + metric("mixed", "missing.judge", 0, 6));
}
END_TEST

static double number(const char *file, const char *key)
{
    json_t *o = json_load_file(in_directory(calm, file), 0, NULL), *one = json_object_get(o, "models");
    double value = json_number_value(json_object_get(one ? json_object_get(one, "rules") : o, key));

    json_decref(o);
    return value;
}

START_TEST(the_best_of_n_and_an_evaluation_are_measured_by_sources_too)
{
    ck_assert_double_gt(number("evaluations/best/metrics.json", "reward.right"), 0.1);
    ck_assert_double_gt(number("evaluations/best/metrics.json", "missing.judge"), 0);
    ck_assert_double_gt(number("evaluations/report/metrics.json", "reward.yes"), 0.3);
    ck_assert_double_gt(number("evaluations/report/metrics.json", "missing"), 0);
}
END_TEST

START_TEST(what_services_said_is_used_again_by_a_learner_that_was_killed)
{
    const char *base = a_directory();

    for (unsigned n = calm_asks / 2; n <= calm_asks; n += calm_asks / 8) {
        char dir[600];

        snprintf(dir, sizeof dir, "%s/run-%u", base, n);
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        port.say = moody;
        tiny_kill(RUN, dir, world, &port, 1000, n);
        tiny_same(dir, results, expected, RESULTS, "a kill at ask", n);
    }
}
END_TEST

/* Of two lives: nobody answers in the first. */
static float silent(struct local_port *p, const struct rlhf_source_settings *s, const struct rlhf_source_text *t)
{
    (void)p, (void)s, (void)t;
    return NAN;
}

#define STOPPING                                                                                              \
    TINY_HEAD TINY_PRETRAIN TINY_SFT POLICY("p", "prompts.jsonl", "algorithm: grpo, rewards: [{" YES "}, {service: {name: service, " \
                                            "url: 'http://127.0.0.1:1/', when_missing: stop}}]")

static float steady(struct local_port *p, const struct rlhf_source_settings *s, const struct rlhf_source_text *t)
{
    (void)p, (void)s;
    return (float)tiny_utility(t->prompt, t->completion);
}

START_TEST(a_run_that_wants_no_missing_reward_stops_says_whose_and_goes_on_later)
{
    struct rlhf_error err = {0};
    const char *dir, *own;

    tiny_place(&own, &dir);
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    port.say = silent;
    ck_assert_int_lt(tiny_go(STOPPING, dir, own, &rlhf_system_io, &port, 1000, &err), 0);
    expect_contains(err.text, "'service' has none for 48 of 48 completions (nobody answers)");
    port.say = steady; /* and what was missing is asked for again */
    expect_ok(tiny_go(STOPPING, dir, own, &rlhf_system_io, &port, 1000, &err), err);
    ck_assert_double_eq(tiny_metric(dir, "p", "missing.service", 0, 6, NULL), 0);
    local_port_free(&port);
}
END_TEST

START_TEST(a_source_that_makes_no_sense_is_told_before_the_run_starts)
{
    const char *text = tiny_fill(TINY_HEAD TINY_PRETRAIN TINY_SFT
                                 POLICY("p", "prompts.jsonl", "algorithm: grpo, rewards: [{pattern: {name: odd, expression: '('}}]"),
                                 "d", "w");
    struct rlhf_error err = {0};
    struct rlhf_run run;

    expect_ok(rlhf_run_parse(&run, text, strlen(text), "run.yaml", &err), err);
    ck_assert_int_lt(learner_check_rewards(&run, &err), 0);
    expect_contains(err.text, "stage p");
    expect_contains(err.text, "'odd'");
    rlhf_run_free(&run);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner-train/rewards", rules_alone_teach_what_they_reward,
                           sources_side_by_side_have_their_means_and_missing_counts_in_the_metrics,
                           the_best_of_n_and_an_evaluation_are_measured_by_sources_too,
                           what_services_said_is_used_again_by_a_learner_that_was_killed,
                           a_run_that_wants_no_missing_reward_stops_says_whose_and_goes_on_later,
                           a_source_that_makes_no_sense_is_told_before_the_run_starts);
}
