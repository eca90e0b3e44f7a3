/* A daemon's life as its supervisor sees it: systemd's socket, its watchdog, and signals. */
#include "daemon/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/process.h"
#include "support/suite.h"

struct config {
    int64_t number;
};
static const struct rlhf_config_key keys[] = {
    { .key = "number", .type = RLHF_CONFIG_INTEGER, .offset = offsetof(struct config, number), .max = 9, .help = "Any." },
    { 0 },
};
static const struct rlhf_config_schema schema = { "daemon", keys, sizeof(struct config) };
static const struct rlhf_daemon_info info = { "patient", "Waits.", RLHF__V1__ROLE__ROLE_LEARNER, &schema,
                                              sizeof(struct config), NULL };

static int supervisor;      /* the socket that NOTIFY_SOCKET names */
static int gate[2], log_to[2]; /* one byte lets the work go on; what the daemon logs */

static void supervise(bool abstract)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = 60 }; /* ends hangs */
    static unsigned number;
    static const char *dir;
    size_t size;

    if (!dir)
        dir = a_directory();
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify-%u", dir, number++);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    size = strlen(address.sun_path);
    if (abstract) {
        char *name = getenv("NOTIFY_SOCKET");

        name[0] = '@';
        address.sun_path[0] = '\0';
    }
    ck_assert_int_ge(supervisor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 0);
    ck_assert_int_eq(bind(supervisor, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)),
                     0);
    setsockopt(supervisor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(pipe(gate) | pipe(log_to), 0);
}

/* The next datagram, whole. Static storage. */
static const char *told(void)
{
    static char text[500];
    ssize_t n = recv(supervisor, text, sizeof text - 1, 0);

    ck_assert_msg(n > 0, "the supervisor is told nothing");
    text[n] = '\0';
    return text;
}

/* Until the daemon says so on its log. */
static void await_log(const char *words)
{
    static char text[1 << 14];
    size_t size = 0;

    for (text[0] = '\0'; !strstr(text, words); text[size] = '\0') {
        ssize_t n = read(log_to[0], text + size, sizeof text - 1 - size);

        ck_assert_msg(n > 0, "the log ends without \"%s\": %s", words, text);
        size += (size_t)n;
    }
}

static void run_daemon(void (*prepare)(struct rlhf_daemon *d))
{
    char *argv[] = { (char *)"patient", NULL };
    struct config config;
    struct rlhf_error err = { 0 };
    struct rlhf_daemon *d;

    signal(SIGTERM, SIG_DFL); /* Check's handlers would end the test */
    signal(SIGINT, SIG_DFL);
    dup2(log_to[1], STDERR_FILENO);
    d = rlhf_daemon_new(&info, 1, argv, &config, &err);
    if (!d)
        _exit(2);
    if (prepare)
        prepare(d);
    rlhf_daemon_run(d, &err);
    rlhf_daemon_free(d);
    _exit(err.code == RLHF_OK ? 0 : 1);
}

static pid_t start(void (*prepare)(struct rlhf_daemon *d))
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        run_daemon(prepare);
    close(log_to[1]);
    return pid;
}

/* ---- what the daemons of the tests do ------------------------------------------------------------------ */

static void say_what(struct rlhf_daemon *d)
{
    rlhf_daemon_status(d, "stage %s, %u of 2", "one", 1u);
}

static void fail_with_words(struct rlhf_daemon *d)
{
    struct rlhf_error err;

    rlhf_fail(&err, RLHF_FATAL, "the disk\nREADY=1");
    rlhf_daemon_fail(d, &err);
}

static void never_ready(void *ctx)
{
    (void)ctx;
}

/* Drains for as long as it is let. */
static void drain_slowly(struct rlhf_daemon *d)
{
    rlhf_daemon_on_drain(d, never_ready, NULL);
}

static void hang(void *ctx)
{
    (void)ctx;
    for (;;)
        pause();
}

static void drain_never(struct rlhf_daemon *d)
{
    rlhf_daemon_on_drain(d, hang, NULL);
}

static void wait_at_gate(void *ctx)
{
    char byte;

    rlhf_daemon_progress(ctx);
    if (read(gate[0], &byte, 1) != 1)
        _exit(3);
}

static void work(struct rlhf_daemon *d)
{
    if (rlhf_daemon_compute(d, wait_at_gate, NULL, d, NULL) < 0)
        _exit(4);
}

/* ---- the tests ----------------------------------------------------------------------------------------- */

START_TEST(the_supervisor_hears_of_start_and_end)
{
    static const bool abstract[] = { false, true };

    for (size_t i = 0; i < 2; i++) {
        pid_t pid;

        supervise(abstract[i]);
        pid = start(say_what);
        ck_assert_str_eq(told(), "STATUS=stage one, 1 of 2");
        ck_assert_str_eq(told(), "READY=1\nSTATUS=at work");
        kill(pid, SIGTERM);
        ck_assert_str_eq(told(), "STOPPING=1\nSTATUS=finishing what is under way");
        ck_assert_int_eq(wait_for_end(pid), 0);
    }
}
END_TEST

START_TEST(the_supervisor_hears_why_a_daemon_fails)
{
    pid_t pid;

    supervise(false);
    pid = start(fail_with_words);
    expect_contains(told(), "READY=1");
    ck_assert_str_eq(told(), "STOPPING=1\nSTATUS=the disk READY=1");
    ck_assert(WIFEXITED(wait_for_end(pid)));
}
END_TEST

START_TEST(a_second_signal_ends_a_daemon_that_still_drains)
{
    static void (*const ways[])(struct rlhf_daemon *) = { drain_slowly, drain_never };

    for (size_t i = 0; i < 2; i++) {
        pid_t pid;
        int status;

        supervise(false);
        pid = start(ways[i]);
        expect_contains(told(), "READY=1");
        kill(pid, SIGTERM);
        expect_contains(told(), "STOPPING=1");
        await_log("stopping signal=TERM");
        /* The signal is let through right after; one that comes before is kept by the kernel. */
        kill(pid, i ? SIGINT : SIGTERM);
        status = wait_for_end(pid);
        ck_assert_msg(WIFSIGNALED(status), "it ended by itself with %d", status);
        ck_assert_int_eq(WTERMSIG(status), i ? SIGINT : SIGTERM);
    }
}
END_TEST

START_TEST(the_watchdog_is_fed_only_while_the_work_gets_on)
{
    pid_t pid;

    setenv("WATCHDOG_USEC", "60000", 1);
    supervise(false);
    pid = start(work);
    expect_contains(told(), "READY=1");
    await_log("compute_stalled");
    while (recv(supervisor, &(char){ 0 }, 1, MSG_DONTWAIT) >= 0) /* what it said before the work hung */
        ;
    ck_assert_int_eq(write(gate[1], "x", 1), 1);
    expect_contains(told(), "WATCHDOG=1"); /* nobody is at work, nobody hangs */
    kill(pid, SIGTERM);
    while (!strstr(told(), "STOPPING=1"))
        ;
    ck_assert_int_eq(wait_for_end(pid), 0);
}
END_TEST

START_TEST(a_watchdog_for_another_process_is_not_fed)
{
    pid_t pid;

    setenv("WATCHDOG_USEC", "1000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    supervise(false);
    pid = start(NULL);
    expect_contains(told(), "READY=1");
    kill(pid, SIGTERM);
    expect_contains(told(), "STOPPING=1"); /* and nothing before it */
    ck_assert_int_eq(wait_for_end(pid), 0);
}
END_TEST

START_TEST(without_a_supervisor_nothing_is_told_and_nothing_fails)
{
    static const char *const nowhere[] = { "", "x", "relative/path", "/nowhere/at/all" };

    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        pid_t pid;

        setenv("NOTIFY_SOCKET", nowhere[i], 1);
        ck_assert_int_eq(pipe(log_to), 0);
        pid = start(NULL);
        await_log("ready");
        kill(pid, SIGTERM);
        ck_assert_int_eq(wait_for_end(pid), 0);
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE("daemon/life", the_supervisor_hears_of_start_and_end, the_supervisor_hears_why_a_daemon_fails,
                     a_second_signal_ends_a_daemon_that_still_drains,
                     the_watchdog_is_fed_only_while_the_work_gets_on, a_watchdog_for_another_process_is_not_fed,
                     without_a_supervisor_nothing_is_told_and_nothing_fails);
}
