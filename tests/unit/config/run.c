#include "config/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/suite.h"

#define HEAD "run: {name: t, seed: 7}\ntokenizer: {train: {files: [a.txt]}}\nstages:\n"
#define PRETRAIN "  - pretrain: {name: pre, data: [a.txt], epochs: 1}\n"

static int parse(struct rlhf_run *run, const char *text, struct rlhf_error *err)
{
    return rlhf_run_parse(run, text, strlen(text), "t.yaml", err);
}

static void refused(const char *text, const char *part, const char *other)
{
    struct rlhf_run run;
    struct rlhf_error err = {0};

    ck_assert_msg(parse(&run, text, &err) < 0, "accepted: %s", text);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, part);
    expect_contains(err.text, other);
}

START_TEST(the_example_in_the_header_is_a_run_file)
{
    const char *source = getenv("RLHF_SOURCE");
    static char header[1 << 16], text[1 << 15];
    char path[1000], *line, *at;
    struct rlhf_run run;
    struct rlhf_error err = {0};
    FILE *f;

    snprintf(path, sizeof path, "%s/common/config/run.h", source ? source : ".");
    if (!(f = fopen(path, "r")))
        skip("%s is not there", path);
    header[fread(header, 1, sizeof header - 1, f)] = '\0';
    fclose(f);
    at = strstr(header, " *   run:");
    ck_assert_ptr_nonnull(at);
    while ((line = strsep(&at, "\n")) && strncmp(line, " * A stage", 10) != 0) {
        if (strlen(line) > 5)
            strcat(text, line + 5);
        strcat(text, "\n");
    }
    expect_ok(parse(&run, text, &err), err);
    ck_assert_uint_eq(rlhf_run_stages(&run), 6);
    ck_assert_str_eq(run.run.dir, "runs/quickstart");
    ck_assert_str_eq(run.learner.listen, "ipc://runs/quickstart/learner.sock");
    ck_assert_double_eq_tol(rlhf_run_stage(&run, 1)->sft->mix.weight, 0.5, 1e-12);
    ck_assert_double_eq_tol(rlhf_run_stage(&run, 4)->policy->kl_coefficient, 0.2, 1e-12);
    ck_assert_double_eq_tol(rlhf_run_stage(&run, 4)->policy->gae_lambda, 0.95, 1e-12);
    ck_assert_int_eq(rlhf_run_stage(&run, 0)->pretrain->optimizer.schedule, RLHF_RUN_COSINE);
    ck_assert_str_eq(rlhf_stage_from(&run, 1), "pretrained");
    rlhf_run_free(&run);
}
END_TEST

START_TEST(a_stage_without_from_starts_from_the_last_policy)
{
    struct rlhf_run run;
    struct rlhf_error err = {0};

    expect_ok(parse(&run,
                    HEAD PRETRAIN "  - sft: {name: s, data: [d.jsonl], steps: 3}\n"
                                  "  - collect: {name: c, want: 5}\n"
                                  "  - reward: {name: r, rounds: [c]}\n"
                                  "  - policy: {name: p, reward_model: r, prompts: q.jsonl}\n",
                    &err),
              err);
    ck_assert_ptr_null(rlhf_stage_from(&run, 0));
    ck_assert_str_eq(rlhf_stage_from(&run, 3), "s");
    ck_assert_str_eq(rlhf_stage_from(&run, 4), "s");
    ck_assert_int_eq(rlhf_run_find(&run, "r"), 3);
    ck_assert_int_eq(rlhf_run_find(&run, "x"), -1);
    ck_assert_int_eq(rlhf_stage_kind(rlhf_run_stage(&run, 4)), RLHF_STAGE_POLICY);
    rlhf_run_free(&run);
}
END_TEST

START_TEST(a_key_of_another_kind_is_refused_with_its_name)
{
    refused(HEAD "  - pretrain: {name: pre, data: [a.txt], epochs: 1, kl_coefficient: 1}\n", "kl_coefficient",
            "t.yaml");
    refused(HEAD PRETRAIN "  - collect: {name: c, want: 5, epochs: 2}\n", "epochs", "t.yaml");
}
END_TEST

START_TEST(references_must_name_earlier_stages_of_the_right_kind)
{
    refused(HEAD PRETRAIN "  - sft: {name: s, from: nobody, data: [d], steps: 1}\n", "nobody",
            "stage 2 (sft): from");
    refused(HEAD PRETRAIN "  - policy: {name: p, reward_model: pre, prompts: q}\n", "reward_model",
            "pretrain stage");
    refused(HEAD PRETRAIN "  - reward: {name: r, rounds: [pre]}\n", "rounds", "a collect stage");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [later], prompts: [{name: a, file: b}]}\n",
            "policies", "later");
}
END_TEST

START_TEST(names_are_unique_and_can_be_directories)
{
    refused(HEAD PRETRAIN PRETRAIN, "stage 2", "'pre'");
    refused(HEAD "  - pretrain: {name: ../x, data: [a], epochs: 1}\n", "name", "directory");
}
END_TEST

START_TEST(sources_of_rewards_have_one_kind_one_name_and_a_use)
{
    static const char grpo[] = HEAD PRETRAIN "  - policy: {name: p, prompts: q, samples: 2, algorithm: grpo, ";
    static const char *const bad[][3] = {
        {"rewards: [{pattern: {name: a, expression: x}, length: {name: b}}]}\n", "exactly one key", "has 2"},
        {"rewards: [{pattern: {name: a, expression: x}}, {length: {name: a}}]}\n", "two sources", "'a'"},
        {"rewards: [{pattern: {name: a}}]}\n", "expression", "missing"},
        {"rewards: [{reward_model: {weight: 2}}]}\n", "rewards", "no reward_model"},
        {"rewards: []}\n", "reward_model, rewards", "missing"},
        {"rewards: [{service: {name: a, url: 'http://a/', batch: 0}}]}\n", "batch", "1"},
        {"rewards: [{judge: {name: a, url: 'http://a/', model: m}}]}\n", "question", "missing"},
        {"ensemble: [x], rewards: [{length: {name: b}}]}\n", "ensemble", "x"},
    };
    struct rlhf_run run;
    struct rlhf_error err = {0};
    char text[2000];
    int kind;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "%s%s", grpo, bad[i][0]);
        refused(text, bad[i][1], bad[i][2]);
    }
    refused(HEAD PRETRAIN "  - policy: {name: p, prompts: q, rewards: [{length: {name: a}}]}\n", "reward_model", "critic");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [pre], prompts: [{name: a, file: b}], rewards: [{length: {name: a, "
            "normalize: running}}]}\n", "normalize", "another scale");
    snprintf(text, sizeof text, "%s%s", grpo, "rewards: [{exact: {name: right, numbers: true, weight: -2}}]}\n");
    expect_ok(parse(&run, text, &err), err);
    const struct rlhf_config_list *list = &rlhf_run_stage(&run, 1)->policy->rewards;
    const struct rlhf_run_source *s = rlhf_run_source(list->items, &kind);
    ck_assert_int_eq(kind, 3);
    ck_assert_str_eq(s->name, "right");
    ck_assert_double_eq(s->weight, -2);
    ck_assert_double_eq(s->matched, 1);
    rlhf_run_free(&run);
}
END_TEST

START_TEST(what_the_table_cannot_say_is_checked)
{
    refused(HEAD "  - pretrain: {name: pre, data: [a]}\n", "steps, epochs, tokens", "exactly one");
    refused(HEAD "  - pretrain: {name: pre, data: [a], steps: 1, epochs: 1}\n", "steps, epochs, tokens",
            "exactly one");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], samples: 4}\n", "prompts", "missing");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, samples: 1}\n", "samples",
            "2 or more");
    refused(HEAD PRETRAIN "  - collect: {name: c}\n", "want", "imported");
    refused(HEAD PRETRAIN "  - collect: {name: c, want: 5, at_least: 6}\n", "at_least", "more than want");
    refused(HEAD PRETRAIN "  - collect: {name: c, want: 5, deadline_seconds: 60}\n", "at_least", "suffice");
    refused(HEAD PRETRAIN "  - sft: {name: s, data: [d], steps: 1, mix: {weight: 1}}\n", "mix.data",
            "missing");
    refused(HEAD PRETRAIN "  - collect: {name: c, want: 5}\n  - reward: {name: r, rounds: [c], unit_deviation: true}\n",
            "unit_deviation", "zero_mean_on");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [pre]}\n", "prompts, perplexity, exact",
            "nothing");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [pre], suites: [{suite: truthfullqa, file: f}]}\n", "suites",
            "did you mean 'truthfulqa'");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [pre], suites: [{suite: gsm8k, file: f}, {suite: gsm8k, file: f}]}\n",
            "suites", "twice");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [pre], suites: [{suite: toxicity, file: f}]}\n", "suites", "lexicon");
    refused(HEAD PRETRAIN "  - evaluate: {name: e, policies: [pre], suites: [{suite: gsm8k, file: f, shots: 2}]}\n", "suites",
            "examples");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {max_new_tokens: 4, "
            "min_new_tokens: 5}}\n", "sampling.min_new_tokens", "max_new_tokens");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {stop: [\"\"]}}\n",
            "sampling.stop", "empty");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {stop_after: 3}}\n", "sampling.stop_after",
            "no text");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {max_new_tokens: 3, stop: [e], stop_after: 3}}\n",
            "sampling.stop_after", "max_new_tokens");
    refused(HEAD PRETRAIN "  - collect: {name: c, policies: [pre], prompts: q, sampling: {min_p: 1.5}}\n", "min_p",
            "1");
    refused(HEAD PRETRAIN "  - direct: {name: d, data: [c], epochs: 1, adapter: {dropout: 0.1}}\n", "adapter.dropout", "sft");
    refused("tokenizer: {load: a, train: {files: [b]}}\nstages:\n" PRETRAIN, "tokenizer", "keep one");
    refused("stages:\n" PRETRAIN, "tokenizer", "needs load");
    refused(HEAD "  - pretrain: {name: pre, data: [a], epochs: 1}\n    sft: {name: s, data: [d], steps: 1}\n",
            "exactly one", "2");
}
END_TEST

#define REWARDED                                                                                              \
    HEAD PRETRAIN "  - collect: {name: c, want: 5}\n  - reward: {name: r, rounds: [c]}\n"
#define POLICY(more) REWARDED "  - policy: {name: p, reward_model: r, prompts: q, " more "}\n"

START_TEST(an_algorithm_is_ppo_unless_it_is_named_and_keeps_its_own_numbers)
{
    struct rlhf_run run;
    struct rlhf_error err = {0};
    const struct rlhf_stage_policy *p;

    expect_ok(parse(&run, POLICY("minibatch: 8"), &err), err);
    p = rlhf_run_stage(&run, 3)->policy;
    ck_assert_str_eq(rlhf_run_algorithm(p), "ppo");
    ck_assert_double_eq(p->clip_high, RLHF_RUN_OWN);
    rlhf_run_free(&run);
    expect_ok(parse(&run, POLICY("algorithm: dr_grpo, samples: 8, clip_high: 0.28, loss_mean: items"), &err), err);
    p = rlhf_run_stage(&run, 3)->policy;
    ck_assert_str_eq(rlhf_run_algorithm(p), "dr_grpo");
    ck_assert_double_eq_tol(p->clip_high, 0.28, 1e-12);
    ck_assert_double_eq(p->clip_low, RLHF_RUN_OWN);
    rlhf_run_free(&run);
}
END_TEST

START_TEST(keys_that_an_algorithm_has_no_use_for_are_refused_with_who_has)
{
    refused(POLICY("algorithm: grpp"), "algorithm", "did you mean grpo");
    refused(POLICY("algorithm: grpo"), "samples", "2 or more");
    refused(POLICY("algorithm: rloo, samples: 4, value_clip: 0.2"), "value_clip", "ppo, which has a critic");
    refused(POLICY("algorithm: rloo, samples: 4, whiten_rewards: true"), "whiten_rewards", "rloo has no use for it");
    refused(POLICY("algorithm: grpo, samples: 4, discount: 0.9"), "discount", "reinforce_plus_plus");
    refused(POLICY("samples: 4, advantage_scale: group"), "advantage_scale", "ppo has no use for it");
    refused(POLICY("algorithm: rloo, samples: 4, kl_corrected: true"), "kl_corrected", "in the loss");
    refused(POLICY("algorithm: sapo, samples: 4, clip: 0.2"), "clip", "that clip the ratio");
    refused(POLICY("algorithm: cispo, samples: 4, clip_low: 0.2"), "clip_low", "clip_high");
    refused(POLICY("temperature_positive: 2"), "temperature_positive", "sapo");
    refused(POLICY("algorithm: cispo, samples: 4, ratio_limit: 2"), "ratio_limit", "both sides");
}
END_TEST

START_TEST(numbers_of_an_algorithm_are_refused_where_they_make_no_sense)
{
    refused(HEAD PRETRAIN "  - policy: {name: p, prompts: q, reward_model: r, lag: up_to 2}\n", "lag", "up_to 2");
    refused(POLICY("kl_coefficient: -0.5"), "kl_coefficient", "-1 for the algorithm's own");
    refused(POLICY("clip: 0"), "clip", "more than 0");
    refused(POLICY("clip: 2"), "clip", "clip_low and clip_high");
    refused(POLICY("ratio_limit: 0.5"), "ratio_limit", "above 1");
    refused(POLICY("algorithm: bnpo, samples: 2, kl_target: 6"), "kl_target", "set it above");
    refused(POLICY("kl_coefficient: 0, kl_target: 6"), "kl_target", "set it above");
    refused(POLICY("ensemble: [pre]"), "ensemble", "a reward stage");
    refused(POLICY("ensemble: [r]"), "ensemble", "already");
    refused(POLICY("ensemble_deviations: 1"), "ensemble_deviations", "name others");
    refused(POLICY("dynamic_sampling: 2"), "dynamic_sampling", "samples");
    refused(POLICY("dynamic_sampling_spread: 0.1"), "dynamic_sampling_spread", "not used");
    refused(POLICY("overlong_cache: 65"), "overlong_cache", "max_new_tokens");
}
END_TEST

#define DIRECTLY(more) HEAD PRETRAIN "  - collect: {name: c, want: 5}\n  - direct: {name: d, " more "}\n"

START_TEST(a_direct_stage_makes_a_policy_of_comparisons)
{
    struct rlhf_run run;
    struct rlhf_error err = {0};

    expect_ok(parse(&run,
                    DIRECTLY("rounds: [c], epochs: 1, loss: ipo") "  - sft: {name: s, data: [d.jsonl], steps: 3}\n", &err),
              err);
    ck_assert_int_eq(rlhf_stage_kind(rlhf_run_stage(&run, 2)), RLHF_STAGE_DIRECT);
    ck_assert_str_eq(rlhf_stage_kind_name(RLHF_STAGE_DIRECT), "direct");
    ck_assert_str_eq(rlhf_run_direct_loss(rlhf_run_stage(&run, 2)->direct), "ipo");
    ck_assert_str_eq(rlhf_stage_from(&run, 2), "pre");
    ck_assert_str_eq(rlhf_stage_from(&run, 3), "d");
    rlhf_run_free(&run);
    refused(DIRECTLY("epochs: 1"), "rounds, data", "both missing");
    refused(DIRECTLY("rounds: [c]"), "steps, epochs", "exactly one");
    refused(DIRECTLY("rounds: [pre], epochs: 1"), "rounds", "a collect stage");
    refused(DIRECTLY("rounds: [c], epochs: 1, loss: sigmoids"), "loss", "did you mean sigmoid");
    refused(DIRECTLY("rounds: [c], epochs: 1, loss: exo_pair"), "label_smoothing", "0.001");
    refused(DIRECTLY("rounds: [c], epochs: 1, loss: ipo, label_smoothing: 0.1"), "label_smoothing", "ipo has no use");
    refused(DIRECTLY("rounds: [c], epochs: 1, loss: kto, tail: 0.5"), "tail", "kinds of DPO");
    refused(DIRECTLY("rounds: [c], epochs: 1, desirable: 2"), "desirable", "kto");
    refused(DIRECTLY("rounds: [c], epochs: 1, loss: orpo, reference: pre"), "reference", "orpo has none");
}
END_TEST

START_TEST(what_a_best_of_stage_chose_is_learnt_from_by_name)
{
    static const char best[] = REWARDED "  - best_of: {name: b, reward_model: r, prompts: q}\n";
    struct rlhf_run run;
    struct rlhf_error err = {0};
    char text[4096];

    snprintf(text, sizeof text, "%s%s", best, "  - sft: {name: s, best_of: [b], steps: 3}\n"
                                              "  - direct: {name: d, rounds: [b, c], epochs: 1}\n");
    expect_ok(parse(&run, text, &err), err);
    ck_assert_int_eq(rlhf_stage_kind(rlhf_run_stage(&run, 3)), RLHF_STAGE_BEST_OF);
    ck_assert_str_eq(rlhf_stage_kind_name(RLHF_STAGE_BEST_OF), "best_of");
    ck_assert_str_eq(rlhf_stage_from(&run, 3), "pre");
    ck_assert_str_eq(rlhf_stage_from(&run, 4), "pre"); /* choosing makes no policy */
    rlhf_run_free(&run);
    snprintf(text, sizeof text, "%s%s", best, "  - reward: {name: r2, rounds: [b]}\n");
    refused(text, "rounds", "a collect stage");
    snprintf(text, sizeof text, "%s%s", best, "  - sft: {name: s, best_of: [c], steps: 3}\n");
    refused(text, "best_of", "a best_of stage");
    refused(HEAD PRETRAIN "  - sft: {name: s, steps: 3}\n", "data, best_of", "both missing");
    refused(REWARDED "  - best_of: {name: b, reward_model: r, prompts: q, sampling: {temperature: 0}}\n",
            "sampling.temperature", "above 0");
}
END_TEST

START_TEST(a_stage_is_made_of_what_it_reads_and_of_what_that_was_made_of)
{
    static const char text[] =
        "run: {name: r}\n"
        "tokenizer: {train: {files: [a], vocab_size: 300}}\n"
        "stages:\n"
        "  - pretrain: {name: pre, data: [a], steps: 1, batch: 1, window: 8}\n"
        "  - sft: {name: sft, data: [a], epochs: 1, batch: 1}\n"
        "  - collect: {name: round, policies: [sft], prompts: a}\n"
        "  - reward: {name: rm, from: pre, rounds: [round], epochs: 1, batch: 1}\n"
        "  - policy: {name: ppo, from: sft, reward_model: rm, prompts: a, iterations: 1, prompts_per_iteration: 1}\n"
        "  - best_of: {name: best, from: sft, reward_model: rm, prompts: a, samples: 2}\n"
        "  - sft: {name: last, from: pre, best_of: [best], epochs: 1, batch: 1}\n"
        "  - evaluate: {name: report, policies: [last], prompts: [{name: a, file: a}]}\n";
    enum { PRE, SFT, ROUND, RM, PPO, BEST, LAST, REPORT, STAGES };
    static const bool direct[STAGES][STAGES] = {[SFT] = {[PRE] = true},
                                                [ROUND] = {[SFT] = true},
                                                [RM] = {[PRE] = true, [ROUND] = true},
                                                [PPO] = {[SFT] = true, [RM] = true},
                                                [BEST] = {[SFT] = true, [RM] = true},
                                                [LAST] = {[PRE] = true, [BEST] = true},
                                                [REPORT] = {[LAST] = true}};
    bool made_of[STAGES];
    struct rlhf_error err = {0};
    struct rlhf_run run;

    expect_ok(parse(&run, text, &err), err);
    ck_assert_uint_eq(rlhf_run_stages(&run), STAGES);
    for (size_t i = 0; i < STAGES; i++) {
        rlhf_run_made_of(&run, i, false, made_of);
        for (size_t j = 0; j < STAGES; j++)
            ck_assert_msg(made_of[j] == direct[i][j], "stage %zu of %zu", i, j);
    }
    rlhf_run_made_of(&run, REPORT, true, made_of);
    for (size_t j = 0; j < REPORT; j++)
        ck_assert_msg(made_of[j] == (j != PPO), "the report of stage %zu", j);
    rlhf_run_free(&run);
}
END_TEST

#define GATED(gate)                                                                                                    \
    REWARDED "  - policy: {name: p, reward_model: r, prompts: q, iterations: 1}\n"                                     \
             "  - evaluate: {name: e, policies: [pre, p], reward_model: r, prompts: [{name: a, file: b}], "             \
             "exact: [{name: sums, file: s}]}\n"                                                                      \
             "  - gate: {name: g, candidate: p, evaluation: e, " gate "}\n"

START_TEST(a_selection_has_shares_and_who_says)
{
#define SELECTED(more) REWARDED "  - collect: {name: k, policies: [pre], prompts: q, " more "}\n"
    struct rlhf_run run;
    struct rlhf_error err = {0};

    expect_ok(parse(&run, SELECTED("count: 9, select: {random: 1}"), &err), err);
    ck_assert(rlhf_run_stage(&run, 3)->collect->select->random == 1);
    rlhf_run_free(&run);
    refused(SELECTED("select: {random: 1}"), "count", "how many of the candidates");
    refused(SELECTED("count: 9, select: {random: 0.5}"), "select", "add up to 0.5");
    refused(SELECTED("count: 9, select: {random: 1, candidates: 3}"), "select.candidates", "fewer than count");
    refused(SELECTED("count: 9, select: {disagreement: 0.5, reward_models: [r]}"), "select.reward_models", "two or more");
    refused(SELECTED("count: 9, select: {reward_kl: 0.5, reward_models: [r]}"), "select.reference", "reward_kl needs it");
    refused(SELECTED("count: 9, select: {reward_kl: 0.5, reward_models: [c], reference: pre}"), "select.reward_models",
            "a reward stage");
}
END_TEST

START_TEST(a_pretrain_stage_may_make_a_model_of_another_size)
{
#define SHAPED(more) HEAD "  - pretrain: {name: pre, data: [a.txt], epochs: 1, shape: {" more "}}\n"
    struct rlhf_run run;
    struct rlhf_error err = {0};

    expect_ok(parse(&run, SHAPED("layers: 1, channels: 64"), &err), err);
    ck_assert_int_eq(rlhf_run_stage(&run, 0)->pretrain->shape.channels, 64);
    ck_assert_int_eq(rlhf_run_stage(&run, 0)->pretrain->shape.heads, 0);
    rlhf_run_free(&run);
    refused(SHAPED("channels: 64, heads: 3"), "shape.channels", "64 is not a multiple of heads 3");
    refused(HEAD PRETRAIN "  - pretrain: {name: more, from: pre, data: [a.txt], epochs: 1, shape: {layers: 1}}\n", "shape",
            "comes from pre");
}
END_TEST

START_TEST(a_watch_has_limits_that_say_something)
{
#define WATCHED(watch) REWARDED "  - policy: {name: p, reward_model: r, prompts: q, iterations: 1, watch: {" watch "}}\n"
    struct rlhf_run run;
    struct rlhf_error err = {0};
    const struct rlhf_run_limit *limit;

    expect_ok(parse(&run, WATCHED("limits: [{metric: kl, at_most: 6}]"), &err), err);
    limit = rlhf_run_stage(&run, 3)->policy->watch.limits.items;
    ck_assert(limit->at_most == 6 && limit->at_least < -1e14 && limit->fall == 0);
    ck_assert_int_eq(rlhf_run_stage(&run, 3)->policy->watch.over, 5);
    rlhf_run_free(&run);
    refused(WATCHED("limits: [{metric: kl}]"), "watch.limits", "kl has no limit");
    refused(WATCHED("over: 100"), "over", "64");
}
END_TEST

START_TEST(a_gate_stands_for_the_policy_that_it_promotes)
{
    struct rlhf_run run;
    struct rlhf_error err = {0};

    expect_ok(parse(&run, GATED("tax: [{metrics: [exact.sums], better: higher}]") "  - sft: {name: s, data: [d], steps: 3}\n",
                    &err),
              err);
    ck_assert_str_eq(rlhf_stage_kind_name(rlhf_stage_kind(rlhf_run_stage(&run, 5))), "gate");
    ck_assert_str_eq(rlhf_run_incumbent(&run, 5), "pre"); /* what the candidate started from */
    ck_assert_str_eq(rlhf_stage_from(&run, 6), "g");
    rlhf_run_free(&run);
    refused(GATED("incumbent: p"), "incumbent", "is the candidate");
    refused(GATED("tax: [{metrics: [exact.sums]}]"), "tax", "is higher or lower better?");
    refused(GATED("truthfulness: [{metrics: [reward.rude], standard_errors: 2}]"), "truthfulness", "exact.* alone");
    refused(GATED("truthfulness: [{metrics: [exact.facts]}]"), "truthfulness", "stage e measures no exact.facts");
    refused(GATED("toxicity: [{metrics: [perplexity.x]}]"), "toxicity", "stage e measures no perplexity.x");
    refused(GATED("retries: 1"), "retry_mix", "p has no mix");
    refused(GATED("retries: 1, retry_kl: 2"), "retry_kl", "p sets no kl_coefficient");
    refused(GATED("retries: 1, retry_mix: 1"), "retry_mix, retry_kl", "the same again");
    refused(REWARDED "  - evaluate: {name: e, policies: [pre], exact: [{name: a, file: b}]}\n"
                     "  - gate: {name: g, candidate: pre, evaluation: e}\n",
            "incumbent", "no earlier stage");
    refused(REWARDED "  - sft: {name: s, data: [d], steps: 3}\n"
                     "  - evaluate: {name: e, policies: [s], exact: [{name: a, file: b}]}\n"
                     "  - gate: {name: g, candidate: s, evaluation: e}\n",
            "evaluation", "must measure both s and pre");
    refused(REWARDED "  - sft: {name: s, data: [d], steps: 3}\n"
                     "  - evaluate: {name: e, policies: [pre, s], exact: [{name: a, file: b}]}\n"
                     "  - gate: {name: g, candidate: s, evaluation: e}\n",
            "evaluation", "nobody can win");
    refused(REWARDED "  - sft: {name: s.try-2, data: [d], steps: 3}\n", "name", "what a gate tries again");
}
END_TEST

START_TEST(an_empty_list_of_stages_is_refused)
{
    refused("tokenizer: {load: a}\nstages: []\n", "stages", "t.yaml");
    refused("tokenizer: {load: a}\n", "stages", "t.yaml");
}
END_TEST

int main(void)
{
    return RUN_SUITE(
        "config/run", the_example_in_the_header_is_a_run_file,
        a_stage_without_from_starts_from_the_last_policy,
        a_stage_is_made_of_what_it_reads_and_of_what_that_was_made_of, a_key_of_another_kind_is_refused_with_its_name,
        references_must_name_earlier_stages_of_the_right_kind, names_are_unique_and_can_be_directories,
        sources_of_rewards_have_one_kind_one_name_and_a_use, what_the_table_cannot_say_is_checked,
        an_algorithm_is_ppo_unless_it_is_named_and_keeps_its_own_numbers,
        keys_that_an_algorithm_has_no_use_for_are_refused_with_who_has,
        numbers_of_an_algorithm_are_refused_where_they_make_no_sense,
        a_direct_stage_makes_a_policy_of_comparisons,
        what_a_best_of_stage_chose_is_learnt_from_by_name, a_gate_stands_for_the_policy_that_it_promotes,
        a_watch_has_limits_that_say_something, a_pretrain_stage_may_make_a_model_of_another_size, a_selection_has_shares_and_who_says,
        an_empty_list_of_stages_is_refused);
}
