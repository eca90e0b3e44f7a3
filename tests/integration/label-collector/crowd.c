/* Ten thousand connections that ask for nothing, others that ask for ever, and one that asks and is answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "support/collector.h"
#include "support/suite.h"

#if defined(__SANITIZE_ADDRESS__)
enum { MOST_MEMORY_MIB = 4096 }; /* of which the sanitizer keeps the most */
#else
enum { MOST_MEMORY_MIB = 256 };
#endif
enum { CLIENTS = 10000, SPARE = 200 };

static int fd[CLIENTS];

static void expect_served(void)
{
    struct http_answer a = http_get(collector_address, "/");

    ck_assert_int_eq(a.status, 200);
    http_answer_free(&a);
    a = http_get(collector_address, "/api/v1/stats");
    ck_assert_int_eq(a.status, 200);
    http_answer_free(&a);
}

/* Every other one begins a request that it does not end. */
static void come_in_thousands(void)
{
    static const char begun[] = "POST /api/v1/tasks HTTP/1.1\r\nHost: local";

    for (int i = 0; i < CLIENTS; ++i) {
        fd[i] = http_connect(collector_address);
        ck_assert_msg(fd[i] >= 0, "connection %d: %s", i, strerror(errno));
        if (i % 2)
            http_send(fd[i], begun, sizeof(begun) - 1);
        if (i % 1000 == 999)
            expect_served();
    }
}

static bool is_open(int socket)
{
    char byte;
    ssize_t n = recv(socket, &byte, 1, MSG_DONTWAIT);

    return n > 0 || (n < 0 && errno == EAGAIN);
}

static double memory_mib(void)
{
    char path[64], line[256];
    double kilobytes = 0;

    sprintf(path, "/proc/%d/status", (int)collector_pid);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kilobytes = atof(line + 6);
    fclose(f);
    return kilobytes / 1024;
}

static void leave(void)
{
    for (int i = 0; i < CLIENTS; ++i)
        close(fd[i]);
    collector_stop();
}

START_TEST(ten_thousand_idle_connections_leave_room_for_a_request)
{
    int open = 0;

    collector_start("");
    come_in_thousands();
    expect_served();
    for (int i = 0; i < CLIENTS; ++i)
        open += is_open(fd[i]);
    ck_assert_int_le(open, 1024); /* max_connections: those that were idle for the longest time have gone */
    ck_assert_double_lt(memory_mib(), MOST_MEMORY_MIB);
    leave();
}
END_TEST

START_TEST(ten_thousand_connections_stay_where_they_may)
{
    static const char rest[] = "host\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]";

    collector_start("max_connections: 12000\nrequest_seconds: 600\n");
    come_in_thousands();
    expect_served();
    ck_assert(is_open(fd[0]));
    ck_assert(http_send(fd[1], rest, sizeof(rest) - 1)); /* the first that had begun is heard out */
    struct http_answer a = http_read(fd[1]);
    ck_assert_int_eq(a.status, 422);
    http_answer_free(&a);
    ck_assert_double_lt(memory_mib(), MOST_MEMORY_MIB);
    leave();
}
END_TEST

/* A byte at a time, of a header or of a body: neither holds a place for longer than a request may take. */
START_TEST(requests_that_trickle_in_are_cut_off)
{
    static const char *const begun[] = { "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
                                         "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                         "Content-Length: 1000000\r\n\r\n" };

    collector_start("request_seconds: 1\n");
    for (size_t i = 0; i < 2; ++i) {
        int slow = http_connect(collector_address);
        ck_assert(http_send(slow, begun[i], strlen(begun[i])));
        while (http_send(slow, "x", 1)) { /* until the daemon has closed */
            expect_served();
            nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
        }
        close(slow);
    }
    collector_stop();
}
END_TEST

int main(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < CLIENTS + 2500)
        skip("%d open files are needed, %lld are allowed", CLIENTS + 2500, (long long)limit.rlim_max);
    limit.rlim_cur = CLIENTS + SPARE; /* the daemon raises its own */
    setrlimit(RLIMIT_NOFILE, &limit);
    return RUN_SUITE("label-collector/crowd", ten_thousand_idle_connections_leave_room_for_a_request,
                     ten_thousand_connections_stay_where_they_may, requests_that_trickle_in_are_cut_off);
}
