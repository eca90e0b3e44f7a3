#include "support/postgresql.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "support/suite.h"

enum { DEADLINE_S = 120 };

static char directory[64], data[80];
static pid_t server, owner;

/* Debian keeps servers by version, and no links to them on the path. */
static const char *binary(const char *name)
{
    static char path[160];
    FILE *p = popen("ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; "
                    "dirname \"$(command -v postgres)\" 2>/dev/null", "r");
    char folder[120] = "";

    while (p && fgets(folder, sizeof folder, p)) {
        folder[strcspn(folder, "\n")] = '\0';
        snprintf(path, sizeof path, "%s/%s", folder, name);
        if (*folder && access(path, X_OK) == 0) {
            pclose(p);
            return path;
        }
    }
    if (p)
        pclose(p);
    return NULL;
}

/* A server refuses to run as root. */
static struct passwd *other_user(void)
{
    struct passwd *user;

    if (geteuid() != 0)
        return NULL;
    return (user = getpwnam("postgres")) ? user : getpwnam("nobody");
}

static pid_t spawn(const char *const *argv)
{
    struct passwd *user = other_user();
    char log[96];
    pid_t pid;

    snprintf(log, sizeof log, "%s/log", directory);
    fflush(NULL);
    pid = fork();
    if (pid != 0)
        return pid;
    if (user && (setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* after setuid(), which clears it */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    if (chdir(directory) < 0)
        _exit(126);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void show_log(void)
{
    char command[128];

    snprintf(command, sizeof command, "tail -20 %s/log", directory);
    if (system(command) != 0)
        printf("(no log)\n");
}

static void address(char *to, size_t size, const char *database)
{
    snprintf(to, size, "postgresql:///%s?host=%s&user=rlhf", database, directory);
}

static bool start_server(void)
{
    const char *path = binary("postgres");
    const char *const argv[] = { path, "-D", data, "-k", directory, "-c", "listen_addresses=", "-c",
                                 "max_connections=40", "-c", "shared_buffers=16MB", "-c",
                                 "fsync=off", NULL }; /* no test cuts its power */
    char where[160];
    int64_t end = rlhf_now(&rlhf_system_clock) + DEADLINE_S * 1000000LL;

    server = spawn(argv);
    address(where, sizeof where, "postgres");
    while (PQping(where) != PQPING_OK) {
        if (rlhf_now(&rlhf_system_clock) > end || waitpid(server, NULL, WNOHANG) == server) {
            show_log();
            return false;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL); /* between two looks */
    }
    return true;
}

static void end_server(void)
{
    if (getpid() != owner)
        return;
    kill(server, SIGQUIT);
    waitpid(server, NULL, 0);
    rlhf_remove_tree(&rlhf_system_io, directory, NULL);
}

bool start_postgresql(void)
{
    const char *path = binary("initdb");
    const char *const argv[] = { path, "-D", data, "-U", "rlhf", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", NULL };
    struct passwd *user = other_user();
    int status = -1;

    if (!path) {
        printf("skipped: no PostgreSQL server is installed (package postgresql)\n");
        return false;
    }
    strcpy(directory, "/tmp/rlhf-postgresql-XXXXXX"); /* short: it holds a socket */
    if (!mkdtemp(directory) || (user && chown(directory, user->pw_uid, user->pw_gid) < 0)) {
        printf("cannot make %s\n", directory);
        exit(EXIT_FAILURE);
    }
    snprintf(data, sizeof data, "%s/data", directory);
    owner = getpid();
    waitpid(spawn(argv), &status, 0);
    if (status != 0 || !start_server()) {
        show_log();
        exit(EXIT_FAILURE);
    }
    atexit(end_server);
    return true;
}

void crash_postgresql(void)
{
    kill(server, SIGQUIT); /* no checkpoint, no good-byes: the log is replayed at the start */
    waitpid(server, NULL, 0);
    ck_assert(start_server());
}

void run_in_postgresql(const char *database, const char *sql)
{
    PGconn *c = PQconnectdb(database);
    PGresult *r = PQexec(c, sql);
    ExecStatusType status = PQresultStatus(r);

    ck_assert_msg(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, "%s: %s", sql, PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
}

const char *a_postgresql_database(void)
{
    static char where[160];
    static unsigned count;
    char name[32], sql[64];

    address(where, sizeof where, "postgres");
    snprintf(name, sizeof name, "test_%d_%u", getpid(), count++);
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    run_in_postgresql(where, sql);
    address(where, sizeof where, name);
    return where;
}
