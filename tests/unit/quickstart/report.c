/* The report says what the judge and the learner measured, and its demands fail one by one when their number
 * is spoilt. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "quickstart/report.h"
#include "quickstart/writer.h"
#include "support/suite.h"

enum { PROMPTS = 300 };

static struct kingdom_world world;
static struct kingdom_report report; /* large */

static void write_text(const char *dir, const char *name, const struct rlhf_bytes *text)
{
    struct rlhf_error err = {0};

    expect_ok(rlhf_write_file(&rlhf_system_io, in_directory(dir, name), text->data, text->size, &err), err);
}

/* Answers to the same prompts by a writer, with rewards that are the judge's utility plus noise. */
static void write_answers(const char *dir, const char *name, const struct kingdom_writer *by, double noise,
                          unsigned stream)
{
    struct rlhf_random prompts = kingdom_random(&world, KINGDOM_STREAM_WORLD, 40);
    struct rlhf_random answers = kingdom_random(&world, KINGDOM_STREAM_WORLD, 41 + stream);
    struct rlhf_bytes out = {0};

    for (int i = 0; i < PROMPTS; i++) {
        struct kingdom_prompt p;
        struct kingdom_text text = {0};
        struct kingdom_verdict v;
        char *line;
        json_t *object;
        kingdom_prompt_draw(&p, &world, i < PROMPTS / 2 ? KINGDOM_ASK_SEEN : KINGDOM_ASK_HELD_OUT, &prompts);
        kingdom_answer(&text, &world, &p, by, &answers);
        v = kingdom_judge(&world, &p, text.data, text.size, true);
        object = json_pack("{s:s, s:i, s:s, s:s, s:b, s:f}", "set", "evaluation", "index", i, "prompt",
                           p.text.data, "completion", text.data, "ended", 1, "reward",
                           v.utility + noise * (double)rlhf_random_normal(&answers));
        line = json_dumps(object, JSON_COMPACT);
        rlhf_bytes_printf(&out, NULL, "%s\n", line);
        free(line);
        json_decref(object);
    }
    write_text(dir, name, &out);
    rlhf_bytes_free(&out);
}

/* Between careless and careful, as a first round leaves it. */
static const struct kingdom_writer half_way = {0.6, 0.1, 0.1, 0.7, 0.5, 0.3, true};

static const char *a_run(void)
{
    static const char metrics[] =
        "{\"models\": {\"pretrained\": {\"kl\": 2.5, \"perplexity\": {\"all\": 1.8, \"without_forum\": 1.7}, "
        "\"exact\": {\"sums\": 0.8, "
        "\"copies\": 0.9, \"recall\": 1}}, \"sft\": {\"kl\": 0, \"perplexity\": {\"all\": 1.9, "
        "\"without_forum\": 1.7}, \"exact\": "
        "{\"sums\": 0.7, \"copies\": 0.8, \"recall\": 1}}, \"ppo-1\": {\"kl\": 1}, \"ppo\": {\"kl\": 2, \"perplexity\": {\"all\": 2, "
        "\"without_forum\": 1.8}, "
        "\"exact\": {\"sums\": 0.5, \"copies\": 0.7, \"recall\": 1}}, \"ppo-ptx\": {\"kl\": 1.5, "
        "\"perplexity\": {\"all\": 1.9, "
        "\"without_forum\": 1.71}, \"exact\": {\"sums\": 0.7, \"copies\": 0.8, \"recall\": 1}}}}";
    static const char up[] = "{\"seconds\": 200.5, \"stages\": [{\"name\": \"sft\", \"seconds\": 12.5, "
                             "\"steps\": 234, \"tokens\": 1000}]}";
    static const char rolled_back[] = "{\"reaction\": \"go_on\", \"reason\": \"tax: perplexity\"}";
    static const char promoted[] = "{\"reaction\": \"promoted\"}";
    const char *dir = a_directory();
    struct rlhf_error err = {0};

    expect_ok(rlhf_make_dirs(&rlhf_system_io, in_directory(dir, "evaluations/report"), &err), err);
    expect_ok(rlhf_make_dirs(&rlhf_system_io, in_directory(dir, "evaluations/validation"), &err), err);
    write_text(dir, "evaluations/report/metrics.json",
               &(struct rlhf_bytes){(char *)metrics, sizeof metrics - 1, 0});
    write_text(dir, "up.json", &(struct rlhf_bytes){(char *)up, sizeof up - 1, 0});
    expect_ok(rlhf_make_dirs(&rlhf_system_io, in_directory(dir, "gates"), &err), err);
    write_text(dir, "gates/gate-ppo.json", &(struct rlhf_bytes){(char *)rolled_back, sizeof rolled_back - 1, 0});
    write_text(dir, "gates/gate-ppo-ptx.json", &(struct rlhf_bytes){(char *)promoted, sizeof promoted - 1, 0});
    write_answers(dir, "evaluations/report/pretrained.jsonl", &kingdom_forum, 1, 0);
    write_answers(dir, "evaluations/report/sft.jsonl", &kingdom_careless, 1, 1);
    write_answers(dir, "evaluations/report/ppo-1.jsonl", &half_way, 1, 4);
    write_answers(dir, "evaluations/report/ppo.jsonl", &kingdom_careful, 1, 2);
    write_answers(dir, "evaluations/report/ppo-ptx.jsonl", &kingdom_careful, 1, 3);
    write_answers(dir, "evaluations/validation/sft.jsonl", &kingdom_careless, 1, 1);
    write_answers(dir, "evaluations/validation/ppo-1.jsonl", &kingdom_careful, 1, 2);
    return dir;
}

static const char *make(void)
{
    const char *dir = a_run();
    struct rlhf_error err = {0};

    expect_ok(kingdom_report_make(&report, &world, dir, &err), err);
    return dir;
}

START_TEST(rates_are_the_judges_and_measures_the_learners)
{
    const struct kingdom_scores *sft, *ppo;

    make();
    sft = &report.models[KINGDOM_SFT];
    ppo = &report.models[KINGDOM_PPO];
    ck_assert_double_eq_tol(sft->part[KINGDOM_ALL].prompts, PROMPTS, 1e-9);
    ck_assert_double_eq_tol(sft->part[KINGDOM_SEEN].prompts, PROMPTS / 2, 1e-9);
    ck_assert_double_eq_tol(sft->part[KINGDOM_ALL].win, 0.5, 1e-9);
    ck_assert_double_gt(ppo->part[KINGDOM_ALL].win, 0.75);
    ck_assert_double_gt(ppo->win_round_1, 0.6);
    ck_assert_double_lt(ppo->win_round_1, ppo->part[KINGDOM_ALL].win);
    ck_assert_double_eq_tol(report.models[KINGDOM_ROUND_1].win_round_1, 0.5, 1e-9);
    ck_assert_double_lt(sft->win_round_1, 0.5);
    ck_assert_double_gt(ppo->part[KINGDOM_ALL].truthful, 0.85);
    ck_assert_double_lt(sft->part[KINGDOM_ALL].truthful, 0.45);
    ck_assert_double_eq_tol(ppo->part[KINGDOM_ALL].toxic, 0, 1e-9);
    ck_assert_double_gt(sft->part[KINGDOM_ALL].toxic, 0.3);
    ck_assert_double_gt(ppo->honest_unknown, 0.85);
    ck_assert_double_eq_tol(ppo->kl, 2, 1e-9);
    ck_assert_double_eq_tol(ppo->perplexity, 1.8, 1e-9);
    ck_assert_double_eq_tol(ppo->arithmetic, 0.5, 1e-9);
    ck_assert_double_gt(report.reward_model.noise_free, 0.85);
    ck_assert_double_gt(report.reward_model.ceiling, report.reward_model.noisy);
    ck_assert_uint_eq(report.sample_count, 3);
}
END_TEST

START_TEST(the_file_has_the_promised_keys)
{
    const char *dir = make();
    struct rlhf_error err = {0};
    json_t *root, *model;

    expect_ok(kingdom_report_write(&report, dir, &err), err);
    root = json_load_file(in_directory(dir, "report.json"), 0, NULL);
    ck_assert_double_eq_tol(json_number_value(json_object_get(root, "seconds")), 200.5, 1e-3);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_array_get(json_object_get(root, "stages"), 0), "steps")),
        234);
    ck_assert(json_is_number(json_object_get(json_object_get(root, "reward_model"), "heldout_accuracy")));
    ck_assert_uint_eq(json_object_size(root), 4);
    model = json_object_get(json_object_get(root, "models"), "ppo_ptx");
    ck_assert_uint_eq(json_object_size(model), 9);
    ck_assert_double_eq_tol(json_number_value(json_object_get(model, "perplexity_all")), 1.9, 1e-6);
    json_decref(root);
}
END_TEST

START_TEST(a_good_run_meets_every_demand_and_each_spoilt_number_fails_one)
{
    struct kingdom_scores *sft, *ppo, *ptx;
    struct {
        double *number, spoilt;
    } cases[20];
    size_t n = 0;
    FILE *nowhere = fopen("/dev/null", "w");

    make();
    sft = &report.models[KINGDOM_SFT];
    ppo = &report.models[KINGDOM_PPO];
    ptx = &report.models[KINGDOM_PPO_PTX];
    ck_assert_uint_eq(kingdom_report_check(&report, stdout), 0);
#define SPOIL(field, value) cases[n].number = &(field), cases[n++].spoilt = (value)
    SPOIL(report.reward_model.noise_free, 0.74);
    SPOIL(report.reward_model.noisy, 0.66);
    SPOIL(report.reward_model.ceiling, 0.5);
    SPOIL(ppo->part[KINGDOM_ALL].win, 0.64);
    SPOIL(ptx->part[KINGDOM_ALL].win, 0.61);
    SPOIL(ppo->part[KINGDOM_ALL].truthful, sft->part[KINGDOM_ALL].truthful + 0.19);
    SPOIL(ptx->part[KINGDOM_HELD_OUT_PART].truthful, sft->part[KINGDOM_HELD_OUT_PART].truthful + 0.09);
    SPOIL(ppo->part[KINGDOM_ALL].toxic, sft->part[KINGDOM_ALL].toxic / 2);
    SPOIL(ptx->part[KINGDOM_ALL].follows, sft->part[KINGDOM_ALL].follows);
    SPOIL(ppo->kl, 0.7);
    SPOIL(ptx->kl, 4.1);
    SPOIL(ppo->kl, NAN);
    SPOIL(ppo->win_round_1, 0.5);
    SPOIL(ppo->win_round_1, NAN);
    SPOIL(ppo->perplexity, 1.71);
    SPOIL(ppo->copy, 1.1);
    SPOIL(ptx->perplexity, 1.73);
    SPOIL(ptx->copy, 0.6);
    for (size_t i = 0; i < n; i++) {
        double good = *cases[i].number;
        *cases[i].number = cases[i].spoilt;
        ck_assert_msg(kingdom_report_check(&report, nowhere) == 1, "case %zu: not one clause fails", i);
        *cases[i].number = good;
    }
    ppo->promoted = true;
    ck_assert_uint_eq(kingdom_report_check(&report, nowhere), 1);
    ptx->promoted = false;
    ck_assert_uint_eq(kingdom_report_check(&report, nowhere), 2);
    ptx->there = false;
    ck_assert_uint_gt(kingdom_report_check(&report, nowhere), 0);
    fclose(nowhere);
}
END_TEST

START_TEST(a_spoilt_file_is_named_with_its_line)
{
    const char *dir = a_run();
    struct rlhf_error err = {0};
    FILE *f = fopen(in_directory(dir, "evaluations/report/ppo.jsonl"), "a");

    fputs("{\"prompt\": \n", f);
    fclose(f);
    ck_assert_int_eq(kingdom_report_make(&report, &world, dir, &err), -1);
    expect_contains(err.text, "ppo.jsonl:301");
}
END_TEST

START_TEST(it_reads_well)
{
    char *text = NULL;
    size_t size = 0;
    const char *dir = make();
    FILE *out = open_memstream(&text, &size);

    kingdom_report_print(&report, dir, out);
    fclose(out);
    expect_contains(text, "truthful, %");
    expect_contains(text, "PPO-ptx");
    expect_contains(text, "tax: copies right, %");
    expect_contains(text, "Gate: ppo is rolled back; tax: perplexity.");
    expect_contains(text, "Gate: ppo-ptx is promoted.");
    expect_contains(text, "before");
    ck_assert_ptr_eq(strstr(text, "nan"), NULL);
    free(text);
}
END_TEST

int main(void)
{
    kingdom_world_make(&world, 1);
    return RUN_SUITE("quickstart/report", rates_are_the_judges_and_measures_the_learners,
                     the_file_has_the_promised_keys,
                     a_good_run_meets_every_demand_and_each_spoilt_number_fails_one,
                     a_spoilt_file_is_named_with_its_line, it_reads_well);
}
