/* `rlhfctl up` on a terminal of its own: Ctrl-C, an order to stop and kill -9 all end every daemon, each asked once. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "support/process.h"
#include "support/suite.h"

static const char *const daemons[] = { "learner", "label-collector", "rollout-worker-1", "rollout-worker-2",
                                       "reward-scorer-1" };
enum { DAEMONS = sizeof daemons / sizeof *daemons, GIVE_UP_MS = 120000, POLL_MS = 5 };

static char dir[300];
static int terminal;

/* More steps than anybody waits for. */
static void write_run(void)
{
    write_file(in_directory(dir, "documents.txt"), "The tide comes in.\n\nThe tide goes out.\n");
    write_file(in_directory(dir, "run.yaml"),
               "run: {name: long, dir: %s/run}\n"
               "tokenizer: {train: {files: [%s/documents.txt], vocab_size: 270}}\n"
               "model: {style: gpt2, layers: 1, heads: 1, channels: 8, context: 32}\n"
               "learner: {threads: 1}\n"
               "up: {rollout_workers: 2, reward_scorers: 1, worker_threads: 1, scorer_threads: 1,\n"
               "     label_collector: {http: \"127.0.0.1:0\"}}\n"
               "stages:\n"
               "  - pretrain: {name: pre, data: [%s/documents.txt], steps: 100000000, batch: 1, window: 8}\n",
               dir, dir, dir);
}

static char *log_of(const char *daemon)
{
    static struct rlhf_bytes text;
    char path[400];

    snprintf(path, sizeof path, "%s/run/log/%s.log", dir, daemon);
    text.size = 0;
    if (rlhf_read_file(&rlhf_system_io, path, 1 << 24, &text, NULL) < 0)
        return "";
    return text.data;
}

static bool all_say(const char *words)
{
    for (size_t i = 0; i < DAEMONS; i++)
        if (!strstr(log_of(daemons[i]), words))
            return false;
    return true;
}

/* What the screen shows is taken away, or rlhfctl would wait for room. */
static void read_terminal(void)
{
    char some[4096];

    while (read(terminal, some, sizeof some) > 0)
        ;
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000 }, NULL);
}

static pid_t bring_up(void)
{
    char program[512], run[400];
    pid_t pid;

    ck_assert_ptr_nonnull(getenv("RLHF_BUILD"));
    snprintf(program, sizeof program, "%s/daemons/rlhfctl", getenv("RLHF_BUILD"));
    snprintf(dir, sizeof dir, "%s", a_directory());
    write_run();
    snprintf(run, sizeof run, "%s", in_directory(dir, "run.yaml"));
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* daemons that lose their parent become this process's: they can be waited for */
    if ((pid = forkpty(&terminal, NULL, NULL, NULL)) == 0) {
        execl(program, program, "up", run, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_gt(pid, 0);
    fcntl(terminal, F_SETFL, O_NONBLOCK);
    for (int waited = 0; !all_say(" ready "); waited += POLL_MS) {
        ck_assert_msg(waited < GIVE_UP_MS && waitpid(pid, NULL, WNOHANG) == 0, "the daemons are not up: %s",
                      log_of(daemons[0]));
        read_terminal();
        pause_a_little();
    }
    return pid;
}

/* Waits until no process is left, and expects that every daemon was asked once and ended by itself. Returns the wait
 * status of pid. */
static int expect_all_end(pid_t pid)
{
    int result = -1;

    for (int waited = 0;; waited += POLL_MS) {
        int status;
        pid_t ended = waitpid(-1, &status, WNOHANG);

        if (ended < 0 && errno == ECHILD)
            break;
        if (ended == pid)
            result = status;
        ck_assert_msg(waited < GIVE_UP_MS, "some are left");
        read_terminal();
        pause_a_little();
    }
    for (size_t i = 0; i < DAEMONS; i++) {
        char *log = log_of(daemons[i]), *asked = strstr(log, "stopping signal=");

        ck_assert_msg(asked && strncmp(asked, "stopping signal=TERM", 20) == 0, "%s: %s", daemons[i], log);
        ck_assert_msg(!strstr(asked + 1, "stopping signal="), "%s was asked twice: %s", daemons[i], log);
        ck_assert_msg(strstr(asked, " stopped"), "%s was cut off: %s", daemons[i], log);
    }
    return result;
}

START_TEST(ctrl_c_asks_every_daemon_once)
{
    pid_t pid = bring_up();

    ck_assert_int_eq(write(terminal, "\003", 1), 1);
    ck_assert(WIFEXITED(expect_all_end(pid)));
}
END_TEST

START_TEST(a_signal_to_the_whole_group_asks_every_daemon_once)
{
    pid_t pid = bring_up();

    kill(-pid, SIGTERM);
    ck_assert(WIFEXITED(expect_all_end(pid)));
}
END_TEST

START_TEST(kill_9_of_rlhfctl_leaves_nobody_behind)
{
    pid_t pid = bring_up();

    kill(pid, SIGKILL);
    ck_assert(WIFSIGNALED(expect_all_end(pid)));
}
END_TEST

int main(void)
{
    return RUN_SUITE("rlhfctl/up", ctrl_c_asks_every_daemon_once, a_signal_to_the_whole_group_asks_every_daemon_once,
                     kill_9_of_rlhfctl_leaves_nobody_behind);
}
