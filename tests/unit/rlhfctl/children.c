/* Processes are started, started again, given up, and stopped as promised. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rlhfctl/children.h"
#include "support/suite.h"

static char said[2000];
static char place[300]; /* a test's directory */

static void hear(void *ctx, const char *text)
{
    (void)ctx;
    strncat(said, text, sizeof said - strlen(said) - 1);
}

static struct ctl_child *add(struct ctl_children *c, const char *script)
{
    char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)script, NULL};
    struct rlhf_error err = {0};
    struct ctl_child *child;

    c->say = hear;
    if (!*place)
        snprintf(place, sizeof place, "%s", a_directory());
    child = ctl_children_add(c, "child", in_directory(place, "log"), argv, &err);
    expect_some(child, err);
    return child;
}

/* Turns with a clock of our own until the condition holds; the nap only leaves the kernel time to report a
 * death. */
#define TURN_UNTIL(children, now, condition)                                                                 \
    for (int turns_ = 0; !(condition); turns_++) {                                                           \
        struct rlhf_error err_ = {0};                                                                        \
        struct timespec nap_ = {0, 1000000};                                                                 \
        ck_assert_msg(turns_ < 20000, "%s does not come true", #condition);                                  \
        expect_ok(ctl_children_turn(children, now, &err_), err_);                                            \
        nanosleep(&nap_, NULL);                                                                              \
    }

START_TEST(who_completes_is_finished_and_its_words_are_in_its_log)
{
    struct ctl_children c = {0};
    struct ctl_child *child = add(&c, "echo one; echo two >&2");
    char tail[100];

    child->completes = true;
    TURN_UNTIL(&c, 1, child->finished);
    ctl_log_tail(tail, sizeof tail, child->log);
    ck_assert_str_eq(tail, "two");
    ctl_children_free(&c);
}
END_TEST

START_TEST(who_is_killed_is_started_again_after_a_delay_that_doubles)
{
    struct ctl_children c = {0};
    struct ctl_child *child = add(&c, "exec sleep 1000");
    int64_t now = 1, before = 0;

    for (unsigned n = 1; n <= 4; n++) {
        TURN_UNTIL(&c, now, child->pid > 0);
        kill(child->pid, SIGKILL);
        TURN_UNTIL(&c, now, child->pid == 0); /* not started again at once */
        ck_assert_uint_eq(child->restarts, n);
        ck_assert_int_ge(child->restart_us - now, 2 * before);
        before = child->restart_us - now;
        now = child->restart_us;
    }
    ck_assert_ptr_ne(strstr(said, "killed by signal 9"), NULL);
    ck_assert(!child->failed);
    TURN_UNTIL(&c, now, child->pid > 0);
    ctl_children_stop(&c, 10000);
    ctl_children_free(&c);
}
END_TEST

START_TEST(who_ends_at_once_by_itself_is_given_up)
{
    struct ctl_children c = {0};
    struct ctl_child *child = add(&c, "echo no such file >&2; exit 3");

    TURN_UNTIL(&c, 1, child->failed);
    ck_assert_str_eq(child->why, "ended with status 3");
    ctl_children_free(&c);
}
END_TEST

START_TEST(what_is_not_there_is_a_failure_with_its_name)
{
    struct ctl_children c = {0};
    char *argv[] = {(char *)"/nowhere/learner", NULL}, tail[200];
    struct rlhf_error err = {0};
    struct ctl_child *child = ctl_children_add(&c, "learner", in_directory(a_directory(), "log"), argv, &err);

    expect_some(child, err);
    TURN_UNTIL(&c, 1, child->failed);
    ctl_log_tail(tail, sizeof tail, child->log);
    expect_contains(tail, "/nowhere/learner");
    ctl_children_free(&c);
}
END_TEST

START_TEST(who_serves_and_ends_well_is_started_again)
{
    struct ctl_children c = {0};
    struct ctl_child *child = add(&c, "exit 0");

    TURN_UNTIL(&c, 1, child->restarts == 1);
    ck_assert(!child->finished && !child->failed);
    ctl_children_free(&c);
}
END_TEST

START_TEST(who_fails_again_and_again_is_given_up_in_the_end)
{
    struct ctl_children c = {0};
    struct ctl_child *child = add(&c, "exit 1");
    int64_t now = 1;

    for (int i = 0; i < 10 && !child->failed; i++) {
        TURN_UNTIL(&c, now, child->pid > 0);
        child->started_us = now - 4000000; /* it lived for a while */
        TURN_UNTIL(&c, now, child->pid == 0);
        now = child->restart_us > now ? child->restart_us : now;
    }
    ck_assert(child->failed);
    ctl_children_free(&c);
}
END_TEST

START_TEST(stopping_asks_first_and_kills_the_stubborn)
{
    struct ctl_children c = {0};
    struct ctl_child *child;
    char ready[320], script[600];
    pid_t pid;

    snprintf(place, sizeof place, "%s", a_directory());
    snprintf(ready, sizeof ready, "%s/ready", place);
    snprintf(script, sizeof script, "trap '' TERM; : >%s; while :; do sleep 0.1; done", ready);
    child = add(&c, script);
    TURN_UNTIL(&c, 1, access(ready, F_OK) == 0);
    pid = child->pid;
    ctl_children_stop(&c, 100);
    ck_assert_int_eq(kill(pid, 0), -1);
    ck_assert_ptr_ne(strstr(said, "does not end"), NULL);
    ctl_children_free(&c);
}
END_TEST

START_TEST(a_child_dies_with_its_parent)
{
    int pipes[2];
    pid_t parent, child = 0;
    char byte;

    ck_assert_int_eq(pipe(pipes), 0);
    if ((parent = fork()) == 0) {
        struct ctl_children c = {0};
        struct ctl_child *kept = add(&c, "exec sleep 1000"); /* inherits the pipe's writing end */
        struct rlhf_error err = {0};
        close(pipes[0]);
        ctl_children_turn(&c, 1, &err);
        if (write(pipes[1], &kept->pid, sizeof kept->pid) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    close(pipes[1]);
    ck_assert_int_eq(read(pipes[0], &child, sizeof child), sizeof child);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    ck_assert_int_eq(read(pipes[0], &byte, 1), 0); /* end of file: nobody holds it any more */
    close(pipes[0]);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rlhfctl/children", who_completes_is_finished_and_its_words_are_in_its_log,
                     who_is_killed_is_started_again_after_a_delay_that_doubles,
                     who_ends_at_once_by_itself_is_given_up, what_is_not_there_is_a_failure_with_its_name,
                     who_serves_and_ends_well_is_started_again,
                     who_fails_again_and_again_is_given_up_in_the_end,
                     stopping_asks_first_and_kills_the_stubborn, a_child_dies_with_its_parent);
}
