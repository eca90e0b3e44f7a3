#include "telemetry/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "support/suite.h"

static int saved_stderr;

/* Sends stderr into a file until shown() gives back what was written. */
static void catch_stderr(void)
{
    const char *path = in_directory(a_directory(), "stderr");

    saved_stderr = dup(STDERR_FILENO);
    ck_assert_ptr_nonnull(freopen(path, "w+", stderr));
}

static const char *shown(void)
{
    static char text[1 << 16];
    ssize_t size = pread(STDERR_FILENO, text, sizeof text - 1, 0);

    ck_assert_int_ge(size, 0);
    text[size] = '\0';
    dup2(saved_stderr, STDERR_FILENO);
    return text;
}

START_TEST(a_line_has_level_time_daemon_event_and_values)
{
    const char *line;
    int year, month, day, hour, minute, second, ms, end = 0;

    unsetenv("RLHF_LOG");
    catch_stderr();
    rlhf_log_open("rollout-worker");
    rlhf_log(RLHF_LEVEL_INFO, "lease job=%d", 7);
    line = shown();
    ck_assert_int_eq(sscanf(line, "<6>%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %n", &year, &month, &day, &hour, &minute, &second,
                            &ms, &end), 7);
    ck_assert_str_eq(line + end, "rollout-worker: lease job=7\n");
}
END_TEST

START_TEST(an_event_stays_on_one_line_whatever_is_in_it)
{
    const char *text;

    catch_stderr();
    rlhf_log(RLHF_LEVEL_WARNING, "refused peer=%s", "evil\n<0>forged\r\033[2J");
    text = shown();
    expect_contains(text, "<4>");
    expect_contains(text, "evil <0>forged  [2J\n");
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(levels_below_the_least_are_not_shown)
{
    const char *text;

    setenv("RLHF_LOG", "warning", 1);
    rlhf_log_open("x");
    catch_stderr();
    rlhf_log(RLHF_LEVEL_INFO, "hidden");
    rlhf_log(RLHF_LEVEL_ERROR, "seen");
    text = shown();
    ck_assert_ptr_null(strstr(text, "hidden"));
    expect_contains(text, "seen");
    ck_assert(!rlhf_log_shows(RLHF_LEVEL_INFO));
    setenv("RLHF_LOG", "debug", 1);
    rlhf_log_open("x");
    ck_assert(rlhf_log_shows(RLHF_LEVEL_DEBUG));
    setenv("RLHF_LOG", "nonsense", 1);
    rlhf_log_open("x");
    ck_assert(rlhf_log_shows(RLHF_LEVEL_INFO));
    ck_assert(!rlhf_log_shows(RLHF_LEVEL_DEBUG));
}
END_TEST

START_TEST(a_line_too_long_is_cut_and_ends)
{
    char longer[5000];
    const char *text;

    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    catch_stderr();
    rlhf_log(RLHF_LEVEL_INFO, "%s", longer);
    rlhf_log(RLHF_LEVEL_INFO, "next");
    text = shown();
    ck_assert_uint_lt(strcspn(text, "\n"), 2048);
    expect_contains(text, "x\n<6>");
    expect_contains(text, "next\n");
}
END_TEST

START_TEST(errors_are_logged_with_their_code)
{
    struct rlhf_error err = { 0 };

    catch_stderr();
    rlhf_fail(&err, RLHF_CORRUPT, "record 3 is damaged");
    rlhf_log_error("journal", &err);
    expect_contains(shown(), "journal code=CORRUPT reason=\"record 3 is damaged\"\n");
}
END_TEST

int main(void)
{
    return RUN_SUITE("telemetry/log", a_line_has_level_time_daemon_event_and_values,
                     an_event_stays_on_one_line_whatever_is_in_it, levels_below_the_least_are_not_shown,
                     a_line_too_long_is_cut_and_ends, errors_are_logged_with_their_code);
}
