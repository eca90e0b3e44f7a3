/* A gate promotes a policy or keeps the one before it, says by which numbers, and tries again as it is told. */
#include "support/learner/tiny_run.h"

enum { EVERY_CALL_US = 200000 };

/* The candidate forgets its text; how much of it may be lost is what the tests vary. */
#define GATE(more)                                                                                           \
    "  - gate:\n"                                                                                            \
    "      name: gate\n"                                                                                     \
    "      candidate: ppo\n"                                                                                 \
    "      evaluation: report\n"                                                                             \
    "      win_rate: 0.2\n"                                                                                  \
    "      truthfulness: [{metrics: [exact.yes]}]\n" more
#define NEXT                                                                                                 \
    "  - sft: {name: next, data: [%s/demonstrations.jsonl], steps: 1, optimizer: {learning_rate: 1e-3}}\n"
#define TAX(budget) "      tax: [{metrics: [perplexity.text], better: lower, budget: " budget "}]\n"

static const char *world, *measured, *mine, *dir; /* measured: a run that has come as far as its evaluation; mine: a test's */
static struct local_port port;

static void measure(void)
{
    tiny_calm(TINY_RUN, &world, &measured, &port);
}

/* Another run that has come as far. */
static void fresh(unsigned n)
{
    static char path[600];

    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    snprintf(path, sizeof path, "%s/run-%u", mine, n);
    tiny_copy(measured, path);
    dir = path;
}

static void set_up(void)
{
    mine = a_directory();
    fresh(0);
}

static int go(const char *text, struct rlhf_error *err)
{
    return tiny_go(text, dir, world, &rlhf_system_io, &port, EVERY_CALL_US, err);
}

static json_t *read_json(const char *name)
{
    json_error_t why;
    json_t *o = json_load_file(in_directory(dir, name), 0, &why);

    ck_assert_msg(o != NULL, "%s: %s", name, why.text);
    return o;
}

/* That a stage began with the weights of this one. */
static void began_with(const char *stage, const char *parent)
{
    char path[200];
    json_t *o;

    snprintf(path, sizeof path, "checkpoints/%s/provenance.json", stage);
    o = read_json(path);
    ck_assert_msg(json_object_get(json_object_get(o, "parents"), parent) != NULL, "%s did not start from %s", stage, parent);
    json_decref(o);
}

/* The clause of the last try so named. Borrowed from o. */
static json_t *clause_of(json_t *o, const char *name)
{
    json_t *tries = json_object_get(o, "tries"), *clause;
    size_t i;

    json_array_foreach(json_object_get(json_array_get(tries, json_array_size(tries) - 1), "clauses"), i, clause)
    {
        if (strcmp(json_string_value(json_object_get(clause, "clause")), name) == 0)
            return clause;
    }
    ck_abort_msg("no clause %s", name);
}

START_TEST(a_candidate_that_wins_and_loses_nothing_is_what_later_stages_start_from)
{
    struct rlhf_error err = {0};
    json_t *o;

    set_up();
    expect_ok(go(TINY_RUN GATE(TAX("1000")) NEXT, &err), err);
    o = read_json("gates/gate.json");
    ck_assert_str_eq(json_string_value(json_object_get(o, "promoted")), "ppo");
    ck_assert_str_eq(json_string_value(json_object_get(o, "incumbent")), "sft");
    ck_assert(json_is_true(json_object_get(clause_of(o, "tax"), "holds")));
    ck_assert(json_number_value(json_object_get(clause_of(o, "win_rate"), "low")) > 0.2);
    json_decref(o);
    began_with("next", "ppo");
}
END_TEST

START_TEST(a_figure_of_a_suite_is_a_clause_by_its_value)
{
    struct rlhf_error err = {0};
    json_t *o;

    set_up();
    expect_ok(go(TINY_RUN GATE("      tax: [{metrics: [suites.perplexity.byte_perplexity], better: lower, budget: 1000}]\n") NEXT, &err), err);
    o = read_json("gates/gate.json");
    ck_assert(json_is_true(json_object_get(clause_of(o, "tax"), "holds")));
    json_decref(o);
}
END_TEST

/* A source of weight 0 measures and changes no reward; its name stands behind a dot. */
START_TEST(a_clause_can_be_over_a_reward_source)
{
    struct rlhf_error err = {0};
    json_t *o, *clause;

    set_up();
    expect_ok(go(TINY_RUN "  - evaluate: {name: rules, policies: [sft, ppo], reward_model: rm, samples: 4, "
                 "rewards: [{pattern: {name: no, weight: 0, expression: no}}], "
                 "prompts: [{name: all, file: %s/prompts.jsonl}], sampling: {max_new_tokens: 8}}\n"
                 "  - gate: {name: gate, candidate: ppo, evaluation: rules, win_rate: 0.2, "
                 "toxicity: [{metrics: [reward.no]}]}\n", &err), err);
    o = read_json("gates/gate.json");
    clause = clause_of(o, "toxicity");
    ck_assert(json_is_true(json_object_get(clause, "holds")));
    ck_assert_double_gt(json_number_value(json_object_get(clause, "incumbent")), 0.3);
    ck_assert_double_lt(json_number_value(json_object_get(clause, "candidate")), 0.3);
    json_decref(o);
}
END_TEST

START_TEST(a_candidate_over_its_tax_budget_is_rolled_back_and_the_clause_is_named)
{
    struct rlhf_error err = {0};
    json_t *o;

    set_up();
    ck_assert_int_lt(go(TINY_RUN GATE(TAX("0")) NEXT, &err), 0);
    ck_assert_int_eq(err.code, RLHF_REJECT);
    ck_assert_msg(strstr(err.text, "tax: perplexity.text") && strstr(err.text, "go_on"), "%s", err.text);
    o = read_json("gates/gate.json");
    ck_assert_str_eq(json_string_value(json_object_get(o, "promoted")), "sft");
    ck_assert(json_is_false(json_object_get(clause_of(o, "tax"), "holds")));
    ck_assert(json_is_true(json_object_get(clause_of(o, "win_rate"), "holds")));
    json_decref(o);
    /* The reaction may be changed when the numbers are known. */
    err = (struct rlhf_error){0};
    expect_ok(go(TINY_RUN GATE(TAX("0") "      otherwise: go_on\n") NEXT, &err), err);
    began_with("next", "sft");
}
END_TEST

START_TEST(a_candidate_that_does_not_win_is_not_promoted_whatever_it_kept)
{
    struct rlhf_error err = {0};

    set_up();
    ck_assert_int_lt(go(TINY_RUN "  - gate: {name: gate, candidate: sft, incumbent: ppo, evaluation: report}\n", &err), 0);
    ck_assert_msg(strstr(err.text, "win_rate: wins"), "%s", err.text);
}
END_TEST

/* Answers to the same questions: those that both have right or wrong say nothing of the difference. */
START_TEST(a_clause_may_leave_to_chance_what_chance_may_take)
{
    static const char gate[] = TINY_RUN "  - gate: {name: gate, candidate: sft, incumbent: ppo, evaluation: report, win_rate: 0, "
                                        "truthfulness: [{metrics: [exact.yes], budget: 0.01, standard_errors: 2}]}\n";
    struct rlhf_error err = {0};
    char command[1500];
    json_t *o, *clause;

    set_up();
    /* The candidate has none right and the incumbent all of 24: let 6 of them be right in both. */
    snprintf(command, sizeof command, "sed -i '1,6s/\"right\": *false/\"right\": true/' '%s'",
             in_directory(dir, "evaluations/report/sft.exact.jsonl"));
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_lt(go(gate, &err), 0);
    ck_assert_msg(strstr(err.text, "truthfulness: exact.yes"), "%s", err.text);
    o = read_json("gates/gate.json");
    clause = clause_of(o, "truthfulness");
    ck_assert_double_eq(json_number_value(json_object_get(clause, "incumbent")), 1);
    ck_assert_double_eq_tol(json_number_value(json_object_get(clause, "standard_error")), sqrt(0.25 * 0.75 / (TINY_WORDS - 1)), 1e-9);
    ck_assert_double_eq_tol(json_number_value(json_object_get(clause, "bound")), 1 - 0.01 - 2 * sqrt(0.25 * 0.75 / (TINY_WORDS - 1)), 1e-9);
    json_decref(o);
}
END_TEST

START_TEST(a_metric_that_was_not_measured_stops_the_run)
{
    struct rlhf_error err = {0};

    set_up();
    ck_assert_int_lt(go(TINY_RUN GATE("      toxicity: [{metrics: [nothing.none]}]\n"), &err), 0);
    ck_assert_msg(strstr(err.text, "metrics.json has no number nothing.none for ppo"), "%s", err.text);
}
END_TEST

static const char *const results[] = {"checkpoints/ppo.try-2/model.safetensors", "checkpoints/next/model.safetensors",
                                      "evaluations/report.try-2/ppo.try-2.jsonl", "gates/gate.json"};
enum { RESULTS = sizeof results / sizeof *results };
#define AGAIN TINY_RUN GATE(TAX("0.1") "      retries: 2\n      retry_mix: 30\n") NEXT

START_TEST(a_retry_with_more_pretraining_text_keeps_the_budget_and_survives_kills)
{
    struct rlhf_error err = {0};
    struct rlhf_digest expected[RESULTS];
    unsigned asks;
    json_t *o;

    set_up();
    expect_ok(go(AGAIN, &err), err);
    asks = port.asks;
    o = read_json("gates/gate.json");
    ck_assert_str_eq(json_string_value(json_object_get(o, "promoted")), "ppo.try-2");
    ck_assert_uint_eq(json_array_size(json_object_get(o, "tries")), 2);
    json_decref(o);
    began_with("next", "ppo.try-2");
    for (size_t i = 0; i < RESULTS; i++)
        expected[i] = tiny_digest(dir, results[i]);
    for (unsigned n = 1; n <= asks; n += 9) {
        fresh(n);
        tiny_kill(AGAIN, dir, world, &port, EVERY_CALL_US, n);
        tiny_same(dir, results, expected, RESULTS, "a kill at ask", n);
    }
}
END_TEST

START_TEST(a_retry_whose_policy_is_damaged_is_trained_again_to_the_same_bits)
{
    struct rlhf_error err = {0};
    struct rlhf_digest expected[RESULTS];
    FILE *f;

    set_up();
    expect_ok(go(AGAIN, &err), err);
    for (size_t i = 0; i < RESULTS; i++)
        expected[i] = tiny_digest(dir, results[i]);
    f = fopen(in_directory(dir, results[0]), "r+");
    fputc('x', f);
    fclose(f);
    expect_ok(go(AGAIN, &err), err);
    tiny_same(dir, results, expected, RESULTS, "damage", 1);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(measure, "learner/gate", a_candidate_that_wins_and_loses_nothing_is_what_later_stages_start_from,
                     a_figure_of_a_suite_is_a_clause_by_its_value, a_clause_can_be_over_a_reward_source,
                     a_candidate_over_its_tax_budget_is_rolled_back_and_the_clause_is_named,
                     a_candidate_that_does_not_win_is_not_promoted_whatever_it_kept,
                     a_clause_may_leave_to_chance_what_chance_may_take,
                     a_metric_that_was_not_measured_stops_the_run,
                     a_retry_with_more_pretraining_text_keeps_the_budget_and_survives_kills,
                     a_retry_whose_policy_is_damaged_is_trained_again_to_the_same_bits);
}
