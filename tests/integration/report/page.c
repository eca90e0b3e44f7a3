/* The report of a run of every kind of stage, in a real browser: every plot is there, nothing is loaded from anywhere, and
 * nothing that a policy wrote is taken for markup. Screenshots are kept in $RLHF_BUILD/artefacts. */
#include <stdlib.h>
#include <unistd.h>

#include "support/browser.h"
#include "support/learner/tiny_run.h"

static const char *world, *dir;
static struct local_port port;

static void report(const char *run, const char *name)
{
    char command[1400];

    snprintf(command, sizeof command, "'%s/daemons/rlhfctl' report '%s' -o '%s/%s' >/dev/null 2>'%s/err'", getenv("RLHF_BUILD"), run,
             world, name, world);
    ck_assert_msg(system(command) == 0, "%s", command);
}

static void done_run(void)
{
    struct rlhf_error err = {0};

    browser_or_skip();
    tiny_place(&world, &dir);
    local_port_init(&port, tiny_utility);
    expect_ok(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, 1000, &err), err);
}

static void open_report(const char *name)
{
    char url[1200];

    snprintf(url, sizeof url, "file://%s/%s", world, name);
    browser_open(url);
    browser_wait_until("document.readyState === 'complete'");
}

/* What the browser has to complain of: files it was refused, scripts that failed. */
static void expect_no_complaint(void)
{
    json_t *log = browser_command("/se/log", json_pack("{s:s}", "type", "browser"), "POST");
    char *text = json_dumps(log, 0);

    ck_assert_msg(json_array_size(log) == 0, "the browser says %s", text);
    free(text);
    json_decref(log);
}

static char mine[400]; /* of a test */

static void start(void)
{
    snprintf(mine, sizeof mine, "%s", a_directory());
    browser_start(mine);
}

START_TEST(every_section_of_a_finished_run_has_its_plots)
{
    start();
    report(dir, "report.html");
    open_report("report.html");
    expect_no_complaint();
    ck_assert(browser_holds("document.querySelectorAll('main > section').length === 11"));
    ck_assert(browser_holds("document.querySelectorAll('#curves svg').length >= 20"));
    ck_assert(browser_holds("document.querySelectorAll('#front svg').length === 1"));
    ck_assert(browser_holds("document.querySelectorAll('#front circle title').length === 10")); /* iterations */
    ck_assert(browser_holds("document.querySelectorAll('#tax svg').length === 3"));
    ck_assert(browser_holds("document.querySelectorAll('#calibration svg').length === 1"));
    ck_assert(browser_holds("document.querySelector('#calibration').innerText.includes('expected calibration error')"));
    ck_assert(browser_holds("document.querySelectorAll('#length svg').length === 1"));
    ck_assert(browser_holds("document.querySelectorAll('#stages svg').length === 1"));
    ck_assert(browser_holds("document.querySelector('#staleness').innerText.includes('staleness 0 throughout')"));
    ck_assert(browser_holds("document.querySelectorAll('#samples .sample').length === 12"));
    ck_assert(browser_holds("document.querySelectorAll('#samples .answer').length === 24"));
    ck_assert(browser_holds("document.querySelectorAll('#figures tbody tr').length > 5"));
    ck_assert(browser_holds("document.querySelector('#gate .missing') !== null"));
    ck_assert(browser_holds("document.querySelector('#problems') === null"));
    ck_assert(browser_holds("[...document.querySelectorAll('svg')].every((s) => s.getAttribute('aria-label').length > 10)"));
    ck_assert(browser_holds("performance.getEntriesByType('resource').length === 0"));
    ck_assert(browser_holds("document.documentElement.scrollWidth <= window.innerWidth"));
    browser_screenshot("report");
    browser_stop();
}
END_TEST

START_TEST(it_fits_a_phone_in_the_dark)
{
    start();
    report(dir, "report.html");
    browser_resize(390, 844);
    browser_scheme("dark");
    open_report("report.html");
    ck_assert(browser_holds("document.documentElement.scrollWidth <= 390"));
    ck_assert(browser_holds("getComputedStyle(document.body).backgroundColor !== 'rgb(246, 247, 249)'"));
    browser_screenshot("report-phone");
    browser_stop();
}
END_TEST

/* A copy of the run, in which a test may do what it likes. */
static const char *a_copy(void)
{
    static char copy[600];
    char command[1400];

    snprintf(copy, sizeof copy, "%s/copy", mine);
    snprintf(command, sizeof command, "cp -r '%s' '%s'", dir, copy);
    ck_assert_int_eq(system(command), 0);
    return copy;
}

static void put(const char *run, const char *name, const char *mode, const char *text)
{
    FILE *f = fopen(in_directory(run, name), mode);

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(hostile_completions_and_damaged_lines_are_shown_as_what_they_are)
{
    const char *copy;

    start();
    copy = a_copy();
    put(copy, "evaluations/report/ppo.jsonl", "w",
        "{\"set\": \"all\", \"index\": 0, \"sample\": 0, \"prompt\": \"Q: is ash good?\\nA:\", \"reward\": 99, \"ended\": true, \"tokens\": 3, "
        "\"completion\": \"<script>window.pwned = 1</script><img src=x onerror=window.pwned=2></p></section><style>*{display:none}</style>\"}\n"
        "{\"set\": \"all\", broken\n");
    put(copy, "metrics.jsonl", "a", "not JSON\n{\"stage\": \"ppo\", \"st");
    report(copy, "hostile.html");
    open_report("hostile.html");
    ck_assert(browser_holds("window.pwned === undefined"));
    ck_assert(browser_holds("document.querySelectorAll('main script, main img, main style').length === 0"));
    ck_assert(browser_holds("document.querySelector('#watch').textContent.includes('<script>window.pwned = 1</script>')"));
    ck_assert(browser_holds("document.querySelector('#problems').innerText.includes('evaluations/report/ppo.jsonl:2')"));
    ck_assert(browser_holds("document.querySelector('#problems').innerText.includes('metrics.jsonl:')"));
    ck_assert(browser_holds("document.querySelectorAll('#curves svg').length >= 20"));
    browser_screenshot("report-hostile");
    browser_stop();
}
END_TEST

START_TEST(a_decision_of_a_gate_is_shown_with_every_clause)
{
    const char *copy;
    struct rlhf_error err = {0};

    start();
    copy = a_copy();
    expect_ok(rlhf_make_dirs(&rlhf_system_io, in_directory(copy, "gates"), &err), err);
    put(copy, "gates/report.json", "w",
        "{\"gate\": \"report\", \"incumbent\": \"sft\", \"promoted\": \"sft\", \"reaction\": \"stop\", \"reason\": \"tax: too much\", \"tries\": "
        "[{\"candidate\": \"ppo\", \"promoted\": false, \"clauses\": [{\"clause\": \"win_rate\", \"metric\": \"reward\", \"holds\": true, "
        "\"candidate\": 0.8, \"low\": 0.7, \"high\": 0.9, \"bound\": 0.5}, {\"clause\": \"tax\", \"metric\": \"perplexity.text\", "
        "\"holds\": false, \"candidate\": 3, \"incumbent\": 2, \"bound\": 2.1}]}]}\n");
    report(copy, "gate.html");
    open_report("gate.html");
    ck_assert(browser_holds("document.querySelectorAll('#gate tr.holds').length === 1"));
    ck_assert(browser_holds("document.querySelector('#gate tr.fails').innerText.includes('perplexity.text')"));
    ck_assert(browser_holds("document.querySelector('#gate .verdict').innerText.includes('sft stays')"));
    browser_stop();
}
END_TEST

/* Stopped in the middle of sft: what is there is shown, what is missing is named. */
START_TEST(a_run_that_is_not_done_has_a_report_of_what_there_is)
{
    struct rlhf_error err = {0};
    static char half[600];

    start();
    snprintf(half, sizeof half, "%s/half", mine);
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    port.stop_at = 30;
    ck_assert_int_lt(tiny_go(TINY_RUN, half, world, &rlhf_system_io, &port, 1000, &err), 0);
    report(half, "half.html");
    open_report("half.html");
    expect_no_complaint();
    ck_assert(browser_holds("document.querySelector('.tile b').innerText === '1 of 6'"));
    ck_assert(browser_holds("document.querySelectorAll('#curves details').length === 2"));
    ck_assert(browser_holds("['front', 'tax', 'gate', 'calibration', 'samples', 'watch', 'length', 'staleness']"
                            ".every((id) => document.querySelector('#' + id + ' .missing'))"));
    browser_stop();
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(done_run, "report/page", every_section_of_a_finished_run_has_its_plots, it_fits_a_phone_in_the_dark,
                           hostile_completions_and_damaged_lines_are_shown_as_what_they_are,
                           a_decision_of_a_gate_is_shown_with_every_clause, a_run_that_is_not_done_has_a_report_of_what_there_is);
}
