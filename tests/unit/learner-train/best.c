/* The best of n: demonstrations and comparisons by a reward model, and what is learnt from them. */
#include <jansson.h>
#include <math.h>

#include "support/learner/tiny_run.h"

#define BASE TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
#define BEST                                                                                                  \
    "  - best_of: {name: best, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, samples: 6, sampling: " \
    "{max_new_tokens: 8}}\n"
#define RUN                                                                                                   \
    BASE BEST "  - sft: {name: again, from: sft, best_of: [best], epochs: 6, batch: 8, optimizer: "            \
              "{learning_rate: 5e-3}}\n"                                                                      \
              "  - direct: {name: online, from: sft, rounds: [best], epochs: 4, batch: 8, optimizer: "          \
              "{learning_rate: 5e-3}}\n"                                                                      \
              "  - evaluate: {name: report, policies: [sft, again, online], reward_model: rm, samples: 4, "     \
              "prompts: [{name: all, file: %s/prompts.jsonl}], sampling: {max_new_tokens: 8}}\n"

static const char *const results[] = {"comparisons/best.jsonl", "demonstrations/best.jsonl",
                                      "evaluations/best/metrics.json", "checkpoints/again/model.safetensors",
                                      "checkpoints/online/model.safetensors"};
enum { RESULTS = sizeof results / sizeof *results };

static struct local_port port;
static const char *world, *calm;
static struct rlhf_digest expected[RESULTS];
static unsigned calm_asks;

static void calm_run(void)
{
    tiny_calm(RUN, &world, &calm, &port);
    calm_asks = port.asks;
    tiny_expect(calm, results, expected, RESULTS);
}

static json_t *read_json(const char *name)
{
    json_t *o = json_load_file(in_directory(calm, name), 0, NULL);

    ck_assert_msg(o != NULL, "no %s", name);
    return o;
}

static double number(const json_t *o, const char *key)
{
    ck_assert_msg(json_is_number(json_object_get(o, key)), "no number %s", key);
    return json_number_value(json_object_get(o, key));
}

START_TEST(the_best_is_above_the_mean_and_the_worst_below)
{
    json_t *o = read_json("evaluations/best/metrics.json");

    ck_assert_double_gt(number(o, "best"), number(o, "reward"));
    ck_assert_double_lt(number(o, "worst"), number(o, "reward"));
    ck_assert_double_eq(number(o, "prompts"), TINY_WORDS);
    ck_assert_double_eq(number(o, "missing"), 0);
    ck_assert_double_gt(number(o, "pairs"), TINY_WORDS / 2);
    ck_assert_double_gt(number(o, "demonstrations"), TINY_WORDS / 2);
    json_decref(o);
}
END_TEST

START_TEST(its_comparisons_prefer_the_larger_reward)
{
    FILE *f = fopen(in_directory(calm, "comparisons/best.jsonl"), "r");
    char line[1 << 14];
    int lines = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL), *list = json_object_get(o, "completions"), *ranks = json_object_get(o, "ranks");

        ck_assert_uint_eq(json_array_size(list), 2);
        ck_assert_int_lt(json_integer_value(json_array_get(ranks, 0)), json_integer_value(json_array_get(ranks, 1)));
        ck_assert_double_gt(number(json_array_get(list, 0), "reward"), number(json_array_get(list, 1), "reward"));
        ck_assert_uint_gt(json_array_size(json_object_get(json_array_get(list, 0), "ids")), 0);
        ck_assert_uint_gt(json_array_size(json_object_get(o, "prompt_ids")), 0);
        json_decref(o);
        lines++;
    }
    fclose(f);
    ck_assert_int_gt(lines, TINY_WORDS / 2);
}
END_TEST

START_TEST(both_ways_to_learn_from_it_raise_the_reward)
{
    json_t *o = read_json("evaluations/report/metrics.json"), *models = json_object_get(o, "models");
    double sft = number(json_object_get(models, "sft"), "reward");

    ck_assert_double_gt(number(json_object_get(models, "again"), "reward"), sft + 0.1);
    ck_assert_double_gt(number(json_object_get(models, "online"), "reward"), sft + 0.1);
    json_decref(o);
}
END_TEST

START_TEST(a_learner_killed_while_it_waits_chooses_the_same)
{
    const char *base = a_directory();

    for (unsigned n = calm_asks - 6; n <= calm_asks; n += 2) { /* from publishing on */
        char dir[600];

        snprintf(dir, sizeof dir, "%s/run-%u", base, n);
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        tiny_kill(RUN, dir, world, &port, 1000, n);
        tiny_same(dir, results, expected, RESULTS, "a kill at ask", n);
    }
}
END_TEST

static void half_are_missing(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    (void)p;
    for (size_t i = 0; a->kind == LEARNER_SCORE && answer->count == 6 * TINY_WORDS && i < answer->count / 2; i++)
        answer->scores[i].missing = true;
}

START_TEST(prompts_without_a_reward_choose_nothing)
{
    static const char text[] = BASE BEST;
    struct rlhf_error err = {0};
    const char *dir;
    char line[1 << 14];
    int lines = 0;
    FILE *f;

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    tiny_place(&world, &dir);
    port.spoil = half_are_missing;
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    f = fopen(in_directory(dir, "demonstrations/best.jsonl"), "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f))
        lines++;
    fclose(f);
    ck_assert_int_gt(lines, 0);
    ck_assert_int_le(lines, TINY_WORDS / 2);
}
END_TEST

START_TEST(a_reward_that_none_reaches_is_told)
{
    static const char text[] = BASE "  - best_of: {name: best, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, "
                                    "samples: 2, at_least: 1e6, sampling: {max_new_tokens: 8}}\n";
    struct rlhf_error err = {0};
    const char *dir;

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    tiny_place(&world, &dir);
    ck_assert_int_lt(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_contains(err.text, "at_least");
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(calm_run, "learner/best", the_best_is_above_the_mean_and_the_worst_below,
                           its_comparisons_prefer_the_larger_reward, both_ways_to_learn_from_it_raise_the_reward,
                           a_learner_killed_while_it_waits_chooses_the_same, prompts_without_a_reward_choose_nothing,
                           a_reward_that_none_reaches_is_told);
}
