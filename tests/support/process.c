#include "support/process.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 2, GIVE_UP_MS = 60000 }; /* the deadline ends hangs, it measures nothing */

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

pid_t start_daemon(const char *name, const char *config, const char *log)
{
    const char *build = getenv("RLHF_BUILD");
    char path[512];

    ck_assert_msg(build != NULL, "RLHF_BUILD is not set: run through ctest");
    snprintf(path, sizeof(path), "%s/daemons/%s", build, name);
    ck_assert_msg(access(path, X_OK) == 0, "%s is not there", path);
    pid_t pid = fork();
    if (pid != 0) { /* no assertion in the child: a thread of the test may have held Check's lock */
        ck_assert_int_gt(pid, 0);
        return pid;
    }
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl(path, path, "--config", config, (char *)NULL);
    _exit(127);
}

static void show(const char *log)
{
    char line[512];
    FILE *f = fopen(log, "r");

    while (f && fgets(line, sizeof(line), f))
        fputs(line, stderr);
    if (f)
        fclose(f);
}

void wait_for_file(const char *path, char *text, size_t size, pid_t pid, const char *log)
{
    for (int waited = 0; waited < GIVE_UP_MS; waited += POLL_MS) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
        if (fd >= 0)
            close(fd);
        if (n > 0) {
            text[n] = '\0';
            return;
        }
        if (waitpid(pid, NULL, WNOHANG) == pid) {
            show(log);
            ck_abort_msg("the daemon ended before it wrote %s", path);
        }
        pause_ms(POLL_MS);
    }
    show(log);
    ck_abort_msg("%s was not written", path);
}

int end_process(pid_t pid, int signal)
{
    int status = 0;

    kill(pid, signal);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

int wait_for_end(pid_t pid)
{
    int status = 0;

    for (int waited = 0; waited < GIVE_UP_MS; waited += POLL_MS) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        pause_ms(POLL_MS);
    }
    end_process(pid, SIGKILL);
    ck_abort_msg("process %d did not end", (int)pid);
}

void write_file(const char *path, const char *fmt, ...)
{
    FILE *f = fopen(path, "w");
    va_list args;

    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    va_start(args, fmt);
    vfprintf(f, fmt, args);
    va_end(args);
    ck_assert_int_eq(fclose(f), 0);
}
