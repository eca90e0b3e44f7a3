#include "rlhfctl/children.h"

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

#include "base/clock.h"

enum {
    SOON_US = 3000000, /* who ends by itself so soon after its start would do it again */
    DELAY_US = 200000, /* before the first restart, doubled up to ...                  */
    DELAY_MAX_US = 5000000,
    MAX_REFUSALS = 4,
    STEADY_US = 60000000, /* who ran so long starts with a clean record                   */
};

struct ctl_child *ctl_children_add(struct ctl_children *c, const char *name, const char *log,
                                   char *const *argv, struct rlhf_error *err)
{
    struct ctl_child *grown = reallocarray(c->items, c->count + 1, sizeof *grown), *child;
    size_t n = 0;

    if (!grown) {
        rlhf_fail(err, RLHF_FULL, "out of memory for a process");
        return NULL;
    }
    c->items = grown;
    child = &c->items[c->count];
    memset(child, 0, sizeof *child);
    snprintf(child->name, sizeof child->name, "%s", name);
    snprintf(child->log, sizeof child->log, "%s", log);
    while (argv[n])
        n++;
    if (!(child->argv = calloc(n + 1, sizeof *child->argv))) {
        rlhf_fail(err, RLHF_FULL, "out of memory for a process");
        return NULL;
    }
    c->count++;
    for (size_t i = 0; i < n; i++)
        if (!(child->argv[i] = strdup(argv[i]))) {
            rlhf_fail(err, RLHF_FULL, "out of memory for a process");
            return NULL;
        }
    return child;
}

static void say(struct ctl_children *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct ctl_children *c, const char *fmt, ...)
{
    char text[600];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (c->say)
        c->say(c->ctx, text);
}

/* In the child, after the fork, with all signals blocked: only async-signal-safe calls. */
static _Noreturn void become(const struct ctl_child *child, int log, pid_t parent)
{
    sigset_t none;

    int nothing = open("/dev/null", O_RDONLY);

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    signal(SIGHUP, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(nothing, STDIN_FILENO); /* who read the terminal would be stopped */
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execvp(child->argv[0], child->argv);
    dprintf(STDERR_FILENO, "cannot start %s: %s\n", child->argv[0], strerror(errno));
    _exit(127);
}

static int start(struct ctl_child *child, int64_t now_us, struct rlhf_error *err)
{
    pid_t parent = getpid();
    int log = open(child->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    sigset_t all, before;

    if (log < 0)
        return rlhf_fail(err, RLHF_FATAL, "%s: %s", child->log, strerror(errno));
    fflush(NULL);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* our handlers must not take what is meant for the child */
    child->pid = fork();
    if (child->pid == 0)
        become(child, log, parent);
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(log);
    if (child->pid < 0) {
        child->pid = 0;
        return rlhf_fail(err, RLHF_FATAL, "cannot start %s: %s", child->name, strerror(errno));
    }
    setpgid(child->pid, child->pid); /* as the child does itself: whoever comes first */
    child->started_us = now_us;
    return 0;
}

static void explain(struct ctl_child *child, int status)
{
    if (WIFSIGNALED(status))
        snprintf(child->why, sizeof child->why, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(child->why, sizeof child->why, "ended with status %d", WEXITSTATUS(status));
}

static void bury(struct ctl_children *c, struct ctl_child *child, int status, int64_t now_us)
{
    int64_t lived = now_us - child->started_us, delay = DELAY_US;
    bool refused = WIFEXITED(status) && WEXITSTATUS(status) != 0;

    child->pid = 0;
    explain(child, status);
    if (child->completes && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        child->finished = true;
        return;
    }
    if (lived > STEADY_US)
        child->restarts = child->refusals = 0;
    child->refusals += refused;
    if (!child->gentle && (child->restarts >= CTL_MAX_RESTARTS || child->refusals >= MAX_REFUSALS ||
                           (refused && lived < SOON_US))) {
        child->failed = true;
        return;
    }
    for (unsigned i = 0; i < child->restarts && delay < DELAY_MAX_US; i++)
        delay *= 2;
    child->restarts++;
    child->restart_us = now_us + (delay < DELAY_MAX_US ? delay : DELAY_MAX_US);
    say(c, "%s %s after %.1f s; starting it again", child->name, child->why, (double)lived * 1e-6);
}

int ctl_children_turn(struct ctl_children *c, int64_t now_us, struct rlhf_error *err)
{
    for (size_t i = 0; i < c->count; i++) {
        struct ctl_child *child = &c->items[i];
        int status;
        if (child->pid > 0 && waitpid(child->pid, &status, WNOHANG) == child->pid)
            bury(c, child, status, now_us);
        if (child->pid == 0 && !child->finished && !child->failed && now_us >= child->restart_us &&
            start(child, now_us, err) < 0)
            return -1;
    }
    return 0;
}

static bool all_gone(struct ctl_children *c)
{
    bool gone = true;

    for (size_t i = 0; i < c->count; i++) {
        struct ctl_child *child = &c->items[i];
        if (child->pid > 0 && waitpid(child->pid, NULL, WNOHANG) == child->pid)
            child->pid = 0;
        gone &= child->pid == 0;
    }
    return gone;
}

void ctl_children_stop(struct ctl_children *c, int patience_ms)
{
    int64_t until = rlhf_now(&rlhf_system_clock) + (int64_t)patience_ms * 1000;
    struct timespec nap = {0, 10000000};

    for (size_t i = c->count; i-- > 0;)
        if (c->items[i].pid > 0)
            kill(-c->items[i].pid, SIGTERM);
    while (!all_gone(c)) {
        if (rlhf_now(&rlhf_system_clock) >= until) {
            for (size_t i = 0; i < c->count; i++)
                if (c->items[i].pid > 0) {
                    say(c, "%s does not end; killing it", c->items[i].name);
                    kill(-c->items[i].pid, SIGKILL);
                    waitpid(c->items[i].pid, NULL, 0);
                    c->items[i].pid = 0;
                }
            return;
        }
        nanosleep(&nap, NULL);
    }
}

void ctl_children_free(struct ctl_children *c)
{
    for (size_t i = 0; i < c->count; i++) {
        for (char **a = c->items[i].argv; a && *a; a++)
            free(*a);
        free(c->items[i].argv);
    }
    free(c->items);
    *c = (struct ctl_children){0};
}

void ctl_log_tail(char *out, size_t size, const char *path)
{
    char text[2048];
    FILE *f = fopen(path, "r");
    size_t length;
    char *at;

    *out = '\0';
    if (!f)
        return;
    if (fseek(f, -(long)(sizeof text - 1), SEEK_END) < 0)
        rewind(f);
    length = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    while (length > 0 && text[length - 1] == '\n')
        length--;
    text[length] = '\0';
    at = strrchr(text, '\n');
    snprintf(out, size, "%s", at ? at + 1 : text);
}
