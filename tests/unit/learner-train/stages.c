/* Every stage of a tiny run, end to end, against an answerer in this process. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "support/learner/tiny_run.h"

static json_t *read_json(const char *dir, const char *name)
{
    json_error_t e;
    json_t *o = json_load_file(in_directory(dir, name), 0, &e);

    ck_assert_msg(o != NULL, "%s/%s: %s", dir, name, e.text);
    return o;
}

static double at(json_t *o, const char *a, const char *b, const char *c, const char *d)
{
    o = json_object_get(o, a);
    o = b ? json_object_get(o, b) : o;
    o = c ? json_object_get(o, c) : o;
    o = d ? json_object_get(o, d) : o;
    ck_assert_msg(json_is_number(o), "no number at %s %s %s %s", a, b ? b : "", c ? c : "", d ? d : "");
    return json_number_value(o);
}

static struct local_port port;
static const char *world, *dir; /* of the run done before, for the tests that only look at it */

static void done_run(void)
{
    struct rlhf_error err = {0};

    tiny_place(&world, &dir);
    local_port_init(&port, tiny_utility);
    expect_ok(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, 1000, &err), err);
}

/* For a test that does a run of its own. */
static void fresh(void)
{
    local_port_free(&port);
    tiny_place(&world, &dir);
    local_port_init(&port, tiny_utility);
}

START_TEST(pretraining_and_fine_tuning_learn_what_they_are_given)
{
    int lines;

    ck_assert_double_lt(tiny_metric(dir, "pre", "loss", 10, 12, &lines),
                        tiny_metric(dir, "pre", "loss", 0, 2, NULL) - 0.5);
    ck_assert_int_eq(lines, 12);
    /* Two answers, equally often: the best loss is ln 2 on the first token of three (answer, stop, end). */
    ck_assert_double_lt(tiny_metric(dir, "sft", "loss_demonstrations", 50, 60, &lines), 0.40);
    ck_assert_int_eq(lines, 60);
}
END_TEST

START_TEST(completions_that_people_compare_are_different_and_keep_their_token_ids)
{
    FILE *f = fopen(in_directory(dir, "comparisons/round-1.jsonl"), "r");
    char line[1 << 16];
    int n = 0;

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL), *list = json_object_get(o, "completions"), *tasks;
        const char *id = json_string_value(json_object_get(o, "task"));
        ck_assert_uint_ge(json_array_size(list), 2);
        for (size_t i = 0; i < json_array_size(list); i++) {
            json_t *a = json_array_get(list, i);
            int found = 0;
            for (size_t j = 0; j < i; j++)
                ck_assert_str_ne(json_string_value(json_object_get(a, "text")),
                                 json_string_value(json_object_get(json_array_get(list, j), "text")));
            /* the ids are those that were sampled for this task */
            FILE *t = fopen(in_directory(dir, "comparisons/round-1.tasks.jsonl"), "r");
            char task_line[1 << 16];
            while (fgets(task_line, sizeof task_line, t)) {
                size_t k;
                json_t *entry, *task = json_loads(task_line, 0, NULL);
                if (strcmp(json_string_value(json_object_get(task, "id")), id) == 0) {
                    tasks = json_object_get(task, "completions");
                    json_array_foreach(tasks, k, entry) found |=
                        json_equal(json_object_get(entry, "ids"), json_object_get(a, "ids"));
                }
                json_decref(task);
            }
            fclose(t);
            ck_assert_msg(found, "completion %zu of %s has other ids", i, id);
        }
        json_decref(o);
        n++;
    }
    fclose(f);
    ck_assert_int_gt(n, 5);
    ck_assert_uint_eq((unsigned)n, port.submitted);
}
END_TEST

START_TEST(the_reward_model_orders_held_out_pairs_and_demonstrations_average_zero)
{
    json_t *o = read_json(dir, "evaluations/rm/metrics.json");

    ck_assert_double_gt(at(o, "pairs", NULL, NULL, NULL), 3);
    ck_assert_double_ge(at(o, "accuracy", NULL, NULL, NULL), 0.75);
    ck_assert_double_le(at(o, "low", NULL, NULL, NULL), at(o, "accuracy", NULL, NULL, NULL));
    ck_assert_double_ge(at(o, "high", NULL, NULL, NULL), at(o, "accuracy", NULL, NULL, NULL));
    ck_assert_double_gt(at(o, "demonstrations_sd", NULL, NULL, NULL), 0.1);
    ck_assert_double_eq_tol(at(o, "demonstrations_mean", NULL, NULL, NULL), 0, 1e-5);
    json_decref(o);
}
END_TEST

START_TEST(ppo_raises_the_reward_and_moves_away_from_its_reference)
{
    json_t *o = read_json(dir, "evaluations/report/metrics.json");
    int lines;

    tiny_metric(dir, "ppo", "reward", 0, 0, &lines);
    ck_assert_int_eq(lines, 10);
    ck_assert_double_gt(at(o, "models", "ppo", "reward", NULL), at(o, "models", "sft", "reward", NULL) + 0.1);
    ck_assert_double_gt(at(o, "models", "ppo", "kl", NULL), 0.01);
    ck_assert_double_eq_tol(tiny_metric(dir, "ppo", "ratio", 0, 1, NULL), 1, 0.2);
    ck_assert_double_eq_tol(tiny_metric(dir, "ppo", "kl", 0, 1, NULL), 0, 1e-6);
    json_decref(o);
}
END_TEST

START_TEST(an_evaluation_measures_every_policy_with_the_same_draws)
{
    json_t *o = read_json(dir, "evaluations/report/metrics.json");
    struct rlhf_digest a, b;

    /* A policy that is its own reference has no KL, to the bit: scored log-probs are the sampled ones. */
    ck_assert_double_eq(at(o, "models", "sft", "kl", NULL), 0);
    ck_assert_double_gt(at(o, "models", "sft", "perplexity", "text"), 1);
    ck_assert_double_eq_tol(at(o, "models", "sft", "perplexity", "text"),
                            at(o, "models", "sft", "perplexity_overall", NULL), 1e-9);
    ck_assert_double_ge(at(o, "models", "ppo", "exact", "yes"), 0.5);
    for (size_t i = 0; i < 2; i++) {
        json_t *suites = json_object_get(json_object_get(json_object_get(o, "models"), i ? "ppo" : "sft"), "suites");
        double value = at(suites, "perplexity", "token_perplexity", "value", NULL), said = at(suites, "toxicity", "lexicon_neutral", "value", NULL);

        ck_assert_double_gt(value, 1);
        ck_assert_double_lt(at(suites, "perplexity", "token_perplexity", "low", NULL), value);
        ck_assert(said >= 0 && said <= 1 && at(suites, "toxicity", "lexicon_biased", "n", NULL) == 5);
    }
    ck_assert_uint_eq(
        json_object_size(json_object_get(json_object_get(json_object_get(o, "models"), "sft"), "sets")), 2);
    a = tiny_digest(dir, "evaluations/report/sft.jsonl");
    b = tiny_digest(dir, "evaluations/report/ppo.jsonl");
    ck_assert(!rlhf_digest_equal(&a, &b));
    json_decref(o);
}
END_TEST

START_TEST(finished_stages_are_hugging_face_directories_with_their_provenance)
{
    const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json", "provenance.json",
                                 "MANIFEST"};
    json_t *o = read_json(dir, "checkpoints/ppo/provenance.json"), *stages = read_json(dir, "stages.json");
    char path[200];

    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "checkpoints/ppo/%s", files[i]);
        ck_assert_msg(rlhf_exists(&rlhf_system_io, in_directory(dir, path)), "no %s", path);
    }
    ck_assert_ptr_nonnull(json_object_get(json_object_get(o, "parents"), "sft"));
    ck_assert_ptr_nonnull(json_object_get(json_object_get(o, "parents"), "rm"));
    ck_assert_uint_eq(json_array_size(stages), 6);
    json_decref(o);
    json_decref(stages);
}
END_TEST

START_TEST(weights_that_no_job_will_name_again_are_dropped)
{
    ck_assert_uint_gt(port.dropped, 3);
}
END_TEST

/* The answerer knows of products what the published config.json says: were it fp32, the log-probs that every iteration
 * compares bit for bit would stop the run. */
START_TEST(a_run_in_bfloat16_learns_the_same_and_samples_the_bits_it_trains_on)
{
    const char *exact = dir;
    double loss[2], reward[2];
    struct rlhf_error err = {0};
    json_t *config;

    loss[0] = tiny_metric(exact, "sft", "loss", 50, 60, NULL);
    fresh();
    expect_ok(tiny_go(TINY_HEAD_WITH(", products: bf16") TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD TINY_POLICY,
                      dir, world, &rlhf_system_io, &port, 1000, &err), err);
    config = read_json(dir, "checkpoints/ppo/config.json");
    ck_assert_str_eq(json_string_value(json_object_get(config, "rlhf_products")), "bf16");
    json_decref(config);
    loss[1] = tiny_metric(dir, "sft", "loss", 50, 60, NULL);
    ck_assert_msg(loss[1] != loss[0] && fabs(loss[1] - loss[0]) < 0.1 * loss[0], "the loss is %g, in fp32 %g", loss[1], loss[0]);
    reward[0] = tiny_metric(dir, "ppo", "reward", 0, 2, NULL);
    reward[1] = tiny_metric(dir, "ppo", "reward", 8, 10, NULL);
    ck_assert_msg(reward[1] > reward[0] + 0.1, "the reward went from %g to %g", reward[0], reward[1]);
}
END_TEST

/* ---- what must stop a run ---------------------------------------------------------------------------- */

static void change_a_bit(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    (void)p;
    if (a->kind == LEARNER_GENERATE && a->purpose == RLHF_PURPOSE_SAMPLE && a->generate[0].step == 1)
        for (size_t i = 0; i < answer->count; i++)
            answer->rollouts[i].logprob_raw[0] = nextafterf(answer->rollouts[i].logprob_raw[0], 0);
}

START_TEST(a_log_prob_that_differs_by_a_bit_stops_the_run)
{
    struct rlhf_error err = {0};

    fresh();
    port.spoil = change_a_bit;
    ck_assert_int_lt(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_code(err, RLHF_FATAL);
    expect_contains(err.text, "iteration 2");
    expect_contains(err.text, "log-prob");
}
END_TEST

/* In the third iteration of ppo. */
static void one_reward_is_infinite(struct local_port *p, const struct learner_action *a,
                                   struct learner_answer *answer)
{
    static int iteration;

    (void)p;
    if (a->kind == LEARNER_SCORE && a->score_count == 24 && iteration++ == 2)
        answer->scores[3].reward = INFINITY;
}

static void one_reward_is_missing(struct local_port *p, const struct learner_action *a,
                                  struct learner_answer *answer)
{
    static int iteration;

    (void)p;
    if (a->kind == LEARNER_SCORE && a->score_count == 24 && iteration++ == 2)
        answer->scores[3].reward = NAN;
}

START_TEST(a_reward_that_is_not_finite_costs_its_step_and_no_weights)
{
    struct rlhf_error err = {0};

    fresh();
    port.spoil = one_reward_is_infinite;
    expect_ok(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    ck_assert_double_eq(tiny_metric(dir, "ppo", "skipped", 1, 2, NULL), 0);
    ck_assert_double_eq(tiny_metric(dir, "ppo", "skipped", 9, 10, NULL), 1);
}
END_TEST

START_TEST(a_missing_reward_leaves_its_completion_out_and_costs_no_step)
{
    struct rlhf_error err = {0};

    fresh();
    port.spoil = one_reward_is_missing;
    expect_ok(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    ck_assert_double_eq(tiny_metric(dir, "ppo", "skipped", 9, 10, NULL), 0);
    ck_assert_double_eq(tiny_metric(dir, "ppo", "missing", 2, 3, NULL), 1);
    ck_assert(isnan(tiny_metric(dir, "ppo", "missing", 3, 10, NULL))); /* said where some are, only */
}
END_TEST

static void every_reward_is_nan(struct local_port *p, const struct learner_action *a,
                                struct learner_answer *answer)
{
    (void)p;
    for (size_t i = 0; a->kind == LEARNER_SCORE && i < answer->count; i++)
        answer->scores[i].reward = NAN;
}

START_TEST(ten_steps_in_a_row_that_are_not_finite_stop_the_run)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
        "  - policy: {name: p, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 50, "
        "prompts_per_iteration: 2, sampling: {max_new_tokens: 4}}\n";
    struct rlhf_error err = {0};

    fresh();
    port.spoil = every_reward_is_nan;
    ck_assert_int_lt(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_code(err, RLHF_FATAL);
    expect_contains(err.text, "10 steps in a row");
    expect_contains(err.text, "stage p");
}
END_TEST

START_TEST(a_policy_that_runs_away_is_stopped_and_told_why)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
        "  - policy: {name: p, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 50, "
        "prompts_per_iteration: 8, kl_coefficient: 0, stop_at_kl: 0.3, optimizer: {learning_rate: 0.1}, "
        "sampling: {max_new_tokens: 8}}\n";
    struct rlhf_error err = {0};

    fresh();
    ck_assert_int_lt(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_code(err, RLHF_FATAL);
    expect_contains(err.text, "stop_at_kl");
}
END_TEST

START_TEST(a_missing_file_is_named)
{
    static const char text[] = TINY_HEAD "  - pretrain: {name: pre, data: [%s/nowhere.txt], steps: 1}\n";
    struct rlhf_error err = {0};

    fresh();
    ck_assert_int_lt(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_contains(err.text, "nowhere.txt");
    expect_contains(err.text, "stage pre");
}
END_TEST

/* What evaluations/rm/metrics.json of a run whose reward stage has these keys says. */
static json_t *rewarded_with(const char *base, const char *more)
{
    static char text[8192], place[4][600];
    static int n;
    struct rlhf_error err = {0};

    snprintf(text, sizeof text, "%s      %s\n", TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD, more);
    snprintf(place[n % 4], sizeof place[0], "%s/run-%d", base, n);
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    expect_ok(tiny_go(text, place[n % 4], world, &rlhf_system_io, &port, 1000, &err), err);
    return read_json(place[n++ % 4], "evaluations/rm/metrics.json");
}

/* As InstructGPT's 6B reward model and critic stand beside a 1.3B policy. */
START_TEST(a_reward_model_and_its_critic_may_be_of_another_size_than_the_policy)
{
    struct rlhf_error err = {0};
    json_t *config;

    fresh();
    expect_ok(tiny_go(TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT
                      "  - pretrain: {name: wide, data: [%s/documents.txt], steps: 12, batch: 4, window: 24, "
                      "shape: {layers: 2, channels: 32, heads: 4}, optimizer: {learning_rate: 1e-2, warmup: 2}}\n"
                      "  - reward: {name: rm, from: wide, rounds: [round-1], held_out: 0.3, epochs: 20, batch: 4, "
                      "optimizer: {learning_rate: 1e-2}}\n"
                      "  - policy: {name: ppo, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 8, "
                      "prompts_per_iteration: 12, samples: 2, minibatch: 8, sampling: {max_new_tokens: 8}, "
                      "optimizer: {learning_rate: 5e-3}, value_optimizer: {learning_rate: 5e-3}}\n",
                      dir, world, &rlhf_system_io, &port, 1000, &err), err);
    config = read_json(dir, "checkpoints/rm/config.json");
    ck_assert_double_eq(at(config, "n_embd", NULL, NULL, NULL), 32);
    json_decref(config);
    config = read_json(dir, "checkpoints/ppo/config.json");
    ck_assert_double_eq(at(config, "n_embd", NULL, NULL, NULL), 16);
    json_decref(config);
    ck_assert_double_gt(tiny_metric(dir, "ppo", "reward", 6, 8, NULL), tiny_metric(dir, "ppo", "reward", 0, 2, NULL));
}
END_TEST

START_TEST(reward_models_learn_with_smoothed_labels_margins_and_around_zero)
{
    const char *base = a_directory();
    json_t *plain = rewarded_with(base, "margin: 0"), *smooth = rewarded_with(base, "label_smoothing: 0.2"),
           *wide = rewarded_with(base, "margin: 3"), *centred = rewarded_with(base, "center: 0.5");

    ck_assert_double_lt(at(smooth, "margin_of_pairs", NULL, NULL, NULL), at(plain, "margin_of_pairs", NULL, NULL, NULL));
    ck_assert_double_gt(at(wide, "margin_of_pairs", NULL, NULL, NULL), at(plain, "margin_of_pairs", NULL, NULL, NULL));
    ck_assert_double_ge(at(smooth, "accuracy", NULL, NULL, NULL), 0.7);
    ck_assert_double_ge(at(wide, "accuracy", NULL, NULL, NULL), 0.7);
    ck_assert_double_ge(at(centred, "accuracy", NULL, NULL, NULL), 0.7);
    /* the bias is what makes demonstrations average 0 */
    ck_assert_double_lt(fabs(at(centred, "bias", NULL, NULL, NULL)), 0.5 * fabs(at(plain, "bias", NULL, NULL, NULL)));
    json_decref(plain), json_decref(smooth), json_decref(wide), json_decref(centred);
}
END_TEST

START_TEST(a_reward_model_may_be_scaled_to_demonstrations_of_deviation_one)
{
    const char *base = a_directory();
    json_t *plain = rewarded_with(base, "margin: 0"), *scaled = rewarded_with(base, "unit_deviation: true");
    double gain = at(scaled, "gain", NULL, NULL, NULL);

    ck_assert_double_ne(gain, 1);
    ck_assert_double_eq_tol(at(scaled, "demonstrations_sd", NULL, NULL, NULL), 1, 1e-4);
    ck_assert_double_eq_tol(at(scaled, "margin_of_pairs", NULL, NULL, NULL),
                            gain * at(plain, "margin_of_pairs", NULL, NULL, NULL), 1e-3);
    ck_assert_double_eq_tol(at(scaled, "bias", NULL, NULL, NULL), gain * at(plain, "bias", NULL, NULL, NULL), 1e-3);
    ck_assert_double_eq(at(scaled, "accuracy", NULL, NULL, NULL), at(plain, "accuracy", NULL, NULL, NULL));
    json_decref(plain), json_decref(scaled);
}
END_TEST

START_TEST(imported_comparisons_are_tokenised_from_their_text)
{
    /* The round's comparisons have no task of this run. */
    static const char text[] = TINY_HEAD TINY_PRETRAIN
        "  - collect: {name: imported, want: 2}\n"
        "  - reward: {name: rm, rounds: [imported], held_out: 0, epochs: 2, batch: 1}\n";
    const char *completions[] = {" yes.", " no."};
    struct rlhf_error err = {0};
    char line[1 << 14];
    int lines = 0;
    FILE *f;

    fresh();
    for (int i = 0; i < 2; i++) {
        struct local_task *t = &port.tasks[port.task_count++];
        char id[40];
        snprintf(id, sizeof id, "elsewhere-%d", i);
        *t = (struct local_task){strdup(id), strdup("Q: is rye good?\nA:"), strdup("imported"),
                                 calloc(2, sizeof(char *)), 2};
        for (int k = 0; k < 2; k++)
            t->completions[k] = strdup(completions[k]);
    }
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    f = fopen(in_directory(dir, "comparisons/imported.jsonl"), "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL), *ids = json_object_get(o, "prompt_ids"), *entry;
        size_t i;
        ck_assert_int_eq(json_integer_value(json_array_get(ids, 0)), 0); /* begin */
        json_array_foreach(json_object_get(o, "completions"), i, entry)
        {
            ids = json_object_get(entry, "ids");
            ck_assert_int_eq(json_integer_value(json_array_get(ids, json_array_size(ids) - 1)), 1); /* end */
        }
        json_decref(o);
        lines++;
    }
    fclose(f);
    ck_assert_int_eq(lines, 2);
}
END_TEST

START_TEST(truncated_sampling_is_corrected_for_and_every_option_of_ppo_works)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN TINY_SFT TINY_COLLECT TINY_REWARD
        "  - policy: {name: p, from: sft, reward_model: rm, prompts: %s/prompts.jsonl, iterations: 3, "
        "prompts_per_iteration: 8, minibatch: 5, inner_epochs: 2, value_clip: 0.2, whiten_rewards: true, "
        "whiten_advantages: false, penalize_missing_end: true, gae_lambda: 0.9, discount: 0.99, "
        "optimizer: {epsilon_inside: true, clip_norm: 0}, sampling: {max_new_tokens: 8, temperature: 0.7, "
        "top_k: 3}}\n";
    struct rlhf_error err = {0};
    int lines;

    fresh();
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    /* Policy and reference are one model at first: their distributions agree although the sampler's was cut.
     */
    ck_assert_double_eq_tol(tiny_metric(dir, "p", "kl", 0, 1, &lines), 0, 1e-5);
    ck_assert_int_eq(lines, 3);
    ck_assert_double_gt(tiny_metric(dir, "p", "value_clip_fraction", 0, 0, NULL), -1);
}
END_TEST

#define VALIDATED                                                                                            \
    TINY_HEAD TINY_PRETRAIN TINY_COLLECT_ONE                                                                 \
        "  - reward: {name: rm, rounds: [round-1], validation: [%s/validation.jsonl], epochs: 1}\n"
#define TINY_COLLECT_ONE                                                                                     \
    "  - collect: {name: round-1, policies: [pre], prompts: %s/prompts.jsonl, samples: 3, sampling: "        \
    "{max_new_tokens: 8}}\n"

/* Texts differ, so that the untrained policy's babble has an order. */
static double shorter(const char *prompt, const char *completion)
{
    (void)prompt;
    return -(double)strlen(completion);
}

/* Every completion of every task. */
static void each_completion(void (*look)(const char *text, size_t tokens))
{
    FILE *f = fopen(in_directory(dir, "comparisons/round-1.jsonl"), "r");
    char line[1 << 16];

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        json_t *o = json_loads(line, 0, NULL), *one;
        size_t i;
        json_array_foreach(json_object_get(o, "completions"), i, one)
            look(json_string_value(json_object_get(one, "text")),
                 json_array_size(json_object_get(one, "ids")));
        json_decref(o);
    }
    fclose(f);
}

static unsigned with_stop, looked_at;

static void ends_at_the_stop(const char *text, size_t tokens)
{
    const char *first;

    (void)tokens;
    ck_assert_ptr_nonnull(text);
    looked_at++;
    if (!(first = strstr(text, "e")))
        return;
    with_stop++;
    ck_assert_msg(strlen(first) < 10, "'%s' goes on behind its stop", text); /* the rest of a token */
}

START_TEST(completions_end_with_the_texts_and_tokens_that_were_named)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN
        "  - collect: {name: round-1, policies: [pre], prompts: %s/prompts.jsonl, samples: 4, sampling: "
        "{max_new_tokens: 12, min_new_tokens: 2, repetition_penalty: 1.2, no_repeat_ngram_size: 3, min_p: 0.001, "
        "typical_p: 0.99, stop: [e]}}\n";
    struct rlhf_error err = {0};

    fresh();
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    each_completion(ends_at_the_stop);
    ck_assert_uint_gt(looked_at, 10);
    ck_assert_uint_gt(with_stop, 5);
}
END_TEST

/* Labels of two vendors: each counts its own from 0. */
static void two_vendors(struct local_port *p, const struct learner_action *a, struct learner_answer *answer)
{
    static unsigned count;

    (void)p;
    for (size_t i = 0; a->kind == LEARNER_PULL && i < answer->count; i++, count++) {
        struct learner_comparison *c = &answer->comparisons[i];

        free(c->id), free(c->source);
        ck_assert_int_gt(asprintf(&c->id, "%u", count / 2), 0);
        ck_assert_int_gt(asprintf(&c->source, "vendor-%u", count % 2), 0);
    }
}

START_TEST(labels_of_two_sources_may_have_one_id)
{
    static const char text[] = TINY_HEAD TINY_PRETRAIN
        "  - collect: {name: round-1, policies: [pre], prompts: %s/prompts.jsonl, samples: 4, sampling: {max_new_tokens: 6}}\n";
    struct rlhf_error err = {0};
    unsigned lines = 0;
    FILE *f;
    int c;

    fresh();
    port.spoil = two_vendors;
    expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    ck_assert_ptr_nonnull(f = fopen(in_directory(dir, "comparisons/round-1.jsonl"), "r"));
    while ((c = fgetc(f)) != EOF)
        lines += c == '\n';
    fclose(f);
    ck_assert_uint_gt(lines, 10);
    ck_assert_uint_eq(lines, (unsigned)port.submitted);
}
END_TEST

static size_t shortest;

static void measure_shortest(const char *text, size_t tokens)
{
    (void)text;
    shortest = tokens < shortest ? tokens : shortest;
}

/* Of lm-human-preferences: a response ends with the first "." at position 16 or later. */
START_TEST(a_text_ends_a_completion_only_behind_so_many_tokens)
{
    static const char *const stops[] = {"stop: [e]", "stop: [e], stop_after: 4", "stop: [e], stop_after: 5"};
    static const size_t wanted[] = {1, 5, 6};
    static char text[2048], run[700];
    const char *base;

    fresh();
    base = dir;
    dir = run;
    for (size_t i = 0; i < 3; i++) {
        struct rlhf_error err = {0};

        snprintf(run, sizeof run, "%s-%zu", base, i);
        local_port_free(&port);
        local_port_init(&port, tiny_utility);
        snprintf(text, sizeof text, "%s%s%s}}\n", TINY_HEAD TINY_PRETRAIN,
                 "  - collect: {name: round-1, policies: [pre], prompts: %s/prompts.jsonl, samples: 6, sampling: "
                 "{max_new_tokens: 12, min_new_tokens: 7, ", stops[i]);
        expect_ok(tiny_go(text, dir, world, &rlhf_system_io, &port, 1000, &err), err);
        shortest = SIZE_MAX;
        each_completion(measure_shortest);
        ck_assert_uint_eq(shortest, wanted[i]);
    }
}
END_TEST

START_TEST(an_end_token_that_the_tokenizer_lacks_is_named)
{
    static const char unknown[] = TINY_HEAD TINY_PRETRAIN
        "  - collect: {name: round-1, policies: [pre], prompts: %s/prompts.jsonl, samples: 4, sampling: "
        "{max_new_tokens: 8, end_tokens: [\"<|eot_id|>\"]}}\n";
    struct rlhf_error err = {0};

    fresh();
    ck_assert_int_eq(tiny_go(unknown, dir, world, &rlhf_system_io, &port, 1000, &err), -1);
    expect_contains(err.text, "<|eot_id|>");
}
END_TEST

START_TEST(validation_files_are_read_whatever_form_they_have)
{
    struct rlhf_error err = {0};
    json_t *o;
    FILE *f;

    fresh();
    port.utility = shorter;
    f = fopen(in_directory(world, "validation.jsonl"), "w");
    fputs("{\"prompt\": \"Q: a\\nA:\", \"chosen\": \" yes.\", \"rejected\": \" no.\"}\n"
          "{\"prompt\": \"Q: b\\nA:\", \"responses\": [\" x\", \" y\", \" zz\"], \"ranks\": [1, 2, 2]}\n"
          "{\"prompt\": \"Q: c\\nA:\", \"chosen\": \" same\", \"rejected\": \" same\"}\n",
          f);
    fclose(f);
    expect_ok(tiny_go(VALIDATED, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    o = read_json(dir, "evaluations/rm/metrics.json");
    ck_assert_int_eq(json_integer_value(json_object_get(o, "comparisons")), 2); /* the third is none */
    ck_assert_int_eq(json_integer_value(json_object_get(o, "pairs")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(o, "ties")), 1);
    json_decref(o);
}
END_TEST

START_TEST(a_validation_line_that_is_not_json_is_named)
{
    struct rlhf_error err = {0};
    FILE *f;

    fresh();
    port.utility = shorter;
    f = fopen(in_directory(world, "validation.jsonl"), "w");
    fputs("{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": \n", f);
    fclose(f);
    ck_assert_int_lt(tiny_go(VALIDATED, dir, world, &rlhf_system_io, &port, 1000, &err), 0);
    expect_contains(err.text, "validation.jsonl:2");
    expect_contains(err.text, "not JSON");
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(
        done_run, "learner/stages", pretraining_and_fine_tuning_learn_what_they_are_given,
        completions_that_people_compare_are_different_and_keep_their_token_ids,
        the_reward_model_orders_held_out_pairs_and_demonstrations_average_zero,
        ppo_raises_the_reward_and_moves_away_from_its_reference,
        an_evaluation_measures_every_policy_with_the_same_draws,
        finished_stages_are_hugging_face_directories_with_their_provenance,
        a_run_in_bfloat16_learns_the_same_and_samples_the_bits_it_trains_on,
        weights_that_no_job_will_name_again_are_dropped, a_log_prob_that_differs_by_a_bit_stops_the_run,
        a_reward_that_is_not_finite_costs_its_step_and_no_weights,
        a_missing_reward_leaves_its_completion_out_and_costs_no_step,
        ten_steps_in_a_row_that_are_not_finite_stop_the_run, a_policy_that_runs_away_is_stopped_and_told_why,
        a_missing_file_is_named, truncated_sampling_is_corrected_for_and_every_option_of_ppo_works,
        completions_end_with_the_texts_and_tokens_that_were_named,
        a_text_ends_a_completion_only_behind_so_many_tokens, labels_of_two_sources_may_have_one_id, an_end_token_that_the_tokenizer_lacks_is_named,
        validation_files_are_read_whatever_form_they_have, a_validation_line_that_is_not_json_is_named,
        a_reward_model_may_be_scaled_to_demonstrations_of_deviation_one,
        reward_models_learn_with_smoothed_labels_margins_and_around_zero,
        a_reward_model_and_its_critic_may_be_of_another_size_than_the_policy,
        imported_comparisons_are_tokenised_from_their_text);
}
