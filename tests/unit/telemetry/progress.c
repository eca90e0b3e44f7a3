#include "telemetry/progress.h"

#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/fake_clock.h"
#include "support/suite.h"

START_TEST(a_bar_shows_share_rate_and_time_left)
{
    char text[200];

    rlhf_progress_text(text, sizeof text, 80, "sft", 50, 100, 5.0, "steps", "loss 1.5");
    ck_assert_str_eq(text, "sft [##################                  ]  50%  10 steps/s  0:05 left  loss 1.5");
    rlhf_progress_text(text, sizeof text, 100, "sft", 100, 100, 3723.0, "steps", NULL);
    expect_contains(text, "[########################################] 100%  0.03 steps/s  in 1:02:03");
    rlhf_progress_text(text, sizeof text, 80, "sft", 0, 100, 5.0, NULL, NULL);
    expect_contains(text, "[                                        ]   0%");
    rlhf_progress_text(text, sizeof text, 80, "reading", 1234567, 0, 10.0, "bytes", NULL);
    ck_assert_str_eq(text, "reading 1.23M bytes  123k/s  0:10");
}
END_TEST

START_TEST(a_bar_fits_any_width)
{
    char text[300];

    for (unsigned columns = 0; columns < 150; columns++) {
        size_t length = rlhf_progress_text(text, sizeof text, columns, "policy", 999, 1000, 77.0, "tokens", "é1234");
        size_t width = 0;

        ck_assert_uint_eq(length, strlen(text));
        for (size_t i = 0; i < length; i++)
            width += ((unsigned char)text[i] & 0xc0) != 0x80;
        ck_assert_uint_le(width, columns);
        if (columns > 40)
            expect_contains(text, " 99%");
    }
    ck_assert_uint_eq(rlhf_progress_text(text, 5, 80, "policy", 1, 2, 1, NULL, NULL), 4);
    rlhf_progress_text(text, sizeof text, 80, "policy", 300, 2, 1, NULL, "new\nline"); /* more than all */
    expect_contains(text, "100%");
    expect_contains(text, "new line");
}
END_TEST

/* Runs 1000 updates over 100 s with stderr on fd; returns how often it was written to in text. */
static void updates(int fd)
{
    struct fake_clock clock;
    struct rlhf_progress *p;
    int before = dup(STDERR_FILENO);

    dup2(fd, STDERR_FILENO);
    fake_clock_init(&clock);
    p = rlhf_progress_new(&clock.clock, "sft", 10000, "steps");
    for (unsigned i = 1; i <= 10000; i++) {
        fake_clock_advance(&clock, 10000);
        rlhf_progress_update(p, i, "loss 1.5");
    }
    rlhf_progress_end(p);
    dup2(before, STDERR_FILENO);
}

START_TEST(without_a_terminal_progress_is_a_few_log_lines)
{
    char text[20000] = "";
    unsigned lines = 0;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    updates(ends[1]);
    ck_assert_int_gt(read(ends[0], text, sizeof text - 1), 0);
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    ck_assert_uint_eq(lines, 7); /* 100 s, one every 15 s, and the last */
    expect_contains(text, "progress what=\"sft\" done=10000 total=10000 seconds=100.0");
    ck_assert_ptr_null(strchr(text, '\r'));
}
END_TEST

START_TEST(on_a_terminal_one_line_is_drawn_ten_times_a_second)
{
    static char text[1 << 20];
    unsigned drawn = 0, lines = 0;
    size_t size = 0;
    int master, slave;
    pid_t child;

    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    setenv("TERM", "xterm", 1);
    child = fork();
    if (child == 0) {
        close(master);
        updates(slave);
        _exit(0);
    }
    close(slave);
    for (ssize_t n; size < sizeof text - 1 && (n = read(master, text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)n;
    for (const char *c = text; *c; c++) {
        drawn += strncmp(c, "\r\033[K", 4) == 0;
        lines += *c == '\n';
    }
    ck_assert_uint_ge(drawn, 990);
    ck_assert_uint_le(drawn, 1010);
    ck_assert_uint_eq(lines, 1);
    expect_contains(text, "in 1:40  loss 1.5");
}
END_TEST

START_TEST(a_resumed_run_is_timed_from_where_it_goes_on)
{
    char text[2000] = "";
    struct fake_clock clock;
    struct rlhf_progress *p;
    int ends[2], before = dup(STDERR_FILENO);

    ck_assert_int_eq(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    fake_clock_init(&clock);
    p = rlhf_progress_new(&clock.clock, "sft", 1000, "steps");
    for (unsigned i = 900; i <= 920; i++) {
        rlhf_progress_update(p, i, NULL);
        fake_clock_advance(&clock, 1000000);
    }
    rlhf_progress_end(p);
    dup2(before, STDERR_FILENO);
    ck_assert_int_gt(read(ends[0], text, sizeof text - 1), 0);
    expect_contains(text, "state=\" 91%  1.00 steps/s  1:25 left\"");
}
END_TEST

START_TEST(progress_may_be_missing)
{
    rlhf_progress_update(NULL, 1, NULL);
    rlhf_progress_end(NULL);
}
END_TEST

int main(void)
{
    return RUN_SUITE("telemetry/progress", a_bar_shows_share_rate_and_time_left, a_bar_fits_any_width,
                     without_a_terminal_progress_is_a_few_log_lines,
                     on_a_terminal_one_line_is_drawn_ten_times_a_second,
                     a_resumed_run_is_timed_from_where_it_goes_on, progress_may_be_missing);
}
