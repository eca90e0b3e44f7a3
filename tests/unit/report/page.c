/* The numbers on the page of a run whose files are written by hand. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "report/figures.h"
#include "report/report.h"
#include "support/process.h"
#include "support/suite.h"

static const char *dir;

static const char settings[] =
    "run: {name: by-hand, seed: 7}\n"
    "tokenizer: {train: {files: [a], vocab_size: 300}}\n"
    "stages:\n"
    "  - pretrain: {name: pre, data: [a], steps: 1, batch: 1, window: 8}\n"
    "  - collect: {name: round, policies: [pre], prompts: a}\n"
    "  - reward: {name: rm, from: pre, rounds: [round], epochs: 1, batch: 1}\n"
    "  - policy: {name: ppo, from: pre, reward_model: rm, prompts: a, iterations: 12, prompts_per_iteration: 1}\n"
    "  - evaluate: {name: report, policies: [pre, ppo], reference: pre, reward_model: rm, prompts: [{name: a, file: a}]}\n";

static void make_dirs(const char *name)
{
    struct rlhf_error err = {0};

    expect_ok(rlhf_make_dirs(&rlhf_system_io, in_directory(dir, name), &err), err);
}

static void a_run(void)
{
    dir = a_directory();
    make_dirs("evaluations/rm");
    make_dirs("evaluations/report");
    write_file(in_directory(dir, "settings.yaml"), "%s", settings);
}

/* The page as text; freed by the caller. */
static char *page(void)
{
    struct rlhf_bytes out = {0};
    struct rlhf_error err = {0};
    struct rundir run;

    expect_ok(rundir_open(&run, dir, &err), err);
    expect_ok(report_page(&run, &out, &err), err);
    rundir_close(&run);
    return out.data;
}

START_TEST(a_directory_without_settings_is_no_run_s)
{
    struct rlhf_error err = {0};
    struct rundir run;

    ck_assert_int_lt(rundir_open(&run, a_directory(), &err), 0);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "is no run's directory");
}
END_TEST

START_TEST(a_run_that_has_only_begun_has_a_page)
{
    char *text;

    a_run();
    text = page();
    expect_contains(text, "0 of 5");
    expect_contains(text, "No stage has made a step yet");
    expect_contains(text, "rm has no held-out pairs yet");
    expect_contains(text, "report has not measured its policies yet");
    free(text);
}
END_TEST

/* Four pairs at a probability of 3/4, three of which people see alike, and two at 9/10, one of which they do: the first bin is
 * right, the second 0.4 off for a third of the pairs. */
START_TEST(calibration_is_what_its_definition_says)
{
    char lines[2000] = "";
    char *text;

    a_run();
    for (int i = 0; i < 6; i++)
        sprintf(lines + strlen(lines), "{\"ranks\": [%s], \"scores\": [%.17g, 0]}\n", i == 0 || i == 5 ? "2, 1" : "1, 2",
                log(i < 4 ? 3 : 9));
    strcat(lines, "{\"ranks\": [1, 1], \"scores\": [1, 0]}\n{\"ranks\": [1, 2], \"scores\": [null, 0]}\n");
    write_file(in_directory(dir, "evaluations/rm/validation.jsonl"), "%s", lines);
    text = page();
    expect_contains(text, "6 pairs; 66.7\u202f% ordered as people did; expected calibration error 0.1333; 1 ties left out.");
    expect_contains(text, "4 pairs");
    expect_contains(text, "2 pairs");
    free(text);
}
END_TEST

/* Reward rises with KL to 1.1 and then falls. */
START_TEST(the_front_names_where_more_kl_stopped_paying)
{
    FILE *f;
    char *text;

    a_run();
    f = fopen(in_directory(dir, "metrics.jsonl"), "w");
    for (int i = 0; i < 12; i++)
        fprintf(f, "{\"stage\": \"ppo\", \"step\": %d, \"kl\": %g, \"reward\": %g}\n", i + 1, 0.2 * i, i < 6 ? 0.2 * i : 1 - 0.2 * (i - 5));
    fclose(f);
    text = page();
    expect_contains(text, "Dashed: the front. ppo: best 0.76 at KL 1, and 0 at the end, at KL 2.");
    expect_contains(text, "iteration 12");
    free(text);
}
END_TEST

START_TEST(a_try_that_is_not_in_the_run_file_is_shown)
{
    char *text;

    a_run();
    write_file(in_directory(dir, "metrics.jsonl"), "%s",
               "{\"stage\": \"ppo.try-2\", \"step\": 1, \"kl\": 1, \"reward\": 1}\n{\"stage\": \"ppo.try-2\", \"step\": 2, \"kl\": 2, \"reward\": 2}\n");
    text = page();
    expect_contains(text, "a gate's further try");
    expect_contains(text, "ppo.try-2: ends at its best");
    free(text);
}
END_TEST

START_TEST(a_policy_without_a_single_number_has_no_front)
{
    char *text;

    a_run();
    write_file(in_directory(dir, "metrics.jsonl"), "%s",
               "{\"stage\": \"ppo\", \"step\": 1, \"kl\": 1, \"reward\": null}\n{\"stage\": \"ppo\", \"step\": 2, \"kl\": null, \"reward\": 2}\n"
               "{\"stage\": \"ppo\", \"step\": 3}\n{\"stage\": \"ppo\", \"step\": 4}\n{\"stage\": \"ppo\", \"step\": 5}\n");
    text = page();
    ck_assert_ptr_null(strstr(text, "nan"));
    free(text);
}
END_TEST

START_TEST(figures_are_found_by_their_path_with_their_interval)
{
    json_t *o = json_loads("{\"kl\": 1.5, \"ended\": true, \"exact\": {\"sums\": 0.25}, \"suites\": {\"truthfulqa\": {\"mc1\": "
                           "{\"value\": 0.3, \"low\": 0.2, \"high\": 0.4, \"n\": 817, \"better\": \"higher\"}}}}",
                           0, NULL);
    struct figures f = figures_of(o);

    ck_assert_uint_eq(f.count, 3);
    ck_assert(figures_find(&f, "kl")->value == 1.5 && figures_find(&f, "kl")->low > figures_find(&f, "kl")->high);
    ck_assert(figures_find(&f, "exact.sums")->value == 0.25);
    ck_assert(figures_find(&f, "suites.truthfulqa.mc1")->value == 0.3);
    ck_assert(figures_find(&f, "suites.truthfulqa.mc1")->low == 0.2 && figures_find(&f, "suites.truthfulqa.mc1")->high == 0.4);
    ck_assert_ptr_null(figures_find(&f, "suites"));
    figures_free(&f);
    json_decref(o);
}
END_TEST

START_TEST(the_tax_is_counted_from_the_reference)
{
    char *text;

    a_run();
    write_file(in_directory(dir, "evaluations/report/metrics.json"),
               "{\"models\": {\"pre\": {\"perplexity\": {\"web\": 4}, \"exact\": {\"sums\": 0.5}},"
               " \"ppo\": {\"perplexity\": {\"web\": 5}, \"exact\": {\"sums\": 0.25}}}}");
    write_file(in_directory(dir, "evaluations/report/ppo.exact.jsonl"), "{\"set\": \"sums\"}\n{\"set\": \"other\"}\n{\"set\": \"sums\"}\n"
                                                                        "{\"set\": \"sums\"}\n{\"set\": \"sums\"}\n");
    text = page();
    expect_contains(text, "5 (+25.0\u202f%)");
    expect_contains(text, "25 (\u221225.0)");
    expect_contains(text, "4.559 to 69.94"); /* Wilson's interval of one of four */
    free(text);
}
END_TEST

int main(void)
{
    return RUN_SUITE("report/page", a_directory_without_settings_is_no_run_s, a_run_that_has_only_begun_has_a_page,
                     calibration_is_what_its_definition_says, the_front_names_where_more_kl_stopped_paying,
                     a_try_that_is_not_in_the_run_file_is_shown, a_policy_without_a_single_number_has_no_front, figures_are_found_by_their_path_with_their_interval, the_tax_is_counted_from_the_reference);
}
