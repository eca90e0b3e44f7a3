/* `rlhfctl label forget` against a real label-collector, and over a run that was trained on the labels. */
#include <signal.h>
#include <stdlib.h>

#include "support/collector.h"
#include "support/learner/tiny_run.h"
#include "support/process.h"

static const char *world, *dir;
static struct local_port port;
static char said[8192];

static void setup(void)
{
    struct rlhf_error err = {0};

    tiny_place(&world, &dir);
    local_port_init(&port, tiny_utility);
    expect_ok(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, 1000, &err), err);
    collector_place(world, NULL);
    collector_start("");
}

static void teardown(void)
{
    if (collector_pid)
        end_process(collector_pid, SIGTERM);
}

static void judge(const char *id, const char *labeler)
{
    char text[300];
    struct http_answer a;

    snprintf(text, sizeof text,
             "{\"id\": \"%s\", \"labeler\": \"%s\", \"round\": \"r\", \"prompt\": \"good?\", \"chosen\": \"yes\", \"rejected\": \"no %s\"}", id,
             labeler, id);
    a = http_post(collector_address, "/api/v1/comparisons", text);
    ck_assert_msg(a.status == 200, "%d %s", a.status, a.body);
    http_answer_free(&a);
}

/* Runs rlhfctl; what it says goes into said. Its exit status. */
static int ctl(const char *arguments)
{
    char command[1400];
    FILE *out;
    int status;

    snprintf(command, sizeof command, "'%s/daemons/rlhfctl' label forget %s --address-file '%s/address' 2>&1", getenv("RLHF_BUILD"),
             arguments, world);
    ck_assert_ptr_nonnull(out = popen(command, "r"));
    said[fread(said, 1, sizeof said - 1, out)] = '\0';
    status = pclose(out);
    return WEXITSTATUS(status);
}

/* Revisions of a label that count, or do not. */
static void expect_revisions(const char *id, int count, bool last_counts)
{
    struct http_answer a = http_get(collector_address, "/api/v1/comparisons?limit=1000");
    json_t *page = a.status == 200 ? json_loads(a.body, 0, NULL) : NULL, *row;
    bool counts = false;
    int seen = 0;
    size_t i;

    json_array_foreach(json_object_get(page, "comparisons"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "id")), id) != 0)
            continue;
        seen++;
        counts = !json_is_string(json_object_get(row, "excluded"));
    }
    ck_assert_msg(seen == count && counts == last_counts, "%s has %d revisions, the last %s", id, seen,
                  counts ? "counts" : "does not count");
    json_decref(page);
    http_answer_free(&a);
}

START_TEST(a_labeler_s_labels_stay_and_do_not_count)
{
    judge("a-1", "ada"), judge("b-1", "bo"), judge("b-2", "bo");
    ck_assert_msg(ctl("--labeler bo --why 'pressed A all day' --who eve") == 0, "%s", said);
    expect_contains(said, "2 labels of bo are taken back");
    expect_revisions("a-1", 1, true);
    expect_revisions("b-1", 2, false);
    expect_revisions("b-2", 2, false);
    judge("b-3", "bo"); /* too late */
    expect_revisions("b-3", 1, false);
    ck_assert_int_eq(ctl("--labeler bo"), 0); /* again: nothing more to take back */
    expect_contains(said, "0 labels of bo");
    expect_revisions("b-1", 2, false);
}
END_TEST

START_TEST(what_was_made_of_them_is_named_in_order)
{
    char arguments[800];
    const char *rm, *ppo, *report;

    snprintf(arguments, sizeof arguments, "--labeler bo --dry-run --run '%s'", dir);
    ck_assert_msg(ctl(arguments) == 0, "%s", said);
    expect_contains(said, "8 labels of theirs were pulled");
    rm = strstr(said, "\n  rm ");
    ppo = strstr(said, "\n  ppo ");
    report = strstr(said, "\n  report ");
    ck_assert_msg(rm && ppo && report && rm < ppo && ppo < report, "%s", said);
    ck_assert_ptr_null(strstr(said, "\n  sft "));
    snprintf(arguments, sizeof arguments, "--labeler nobody --dry-run --run '%s'", dir);
    ck_assert_int_eq(ctl(arguments), 0);
    expect_contains(said, "0 labels of theirs");
}
END_TEST

START_TEST(without_a_label_collector_it_says_where_it_looked)
{
    end_process(collector_pid, SIGKILL);
    collector_pid = 0;
    ck_assert_int_ne(ctl("--labeler bo"), 0);
    expect_contains(said, collector_address);
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH("report/forget", setup, teardown, a_labeler_s_labels_stay_and_do_not_count,
                          what_was_made_of_them_is_named_in_order, without_a_label_collector_it_says_where_it_looked);
}
