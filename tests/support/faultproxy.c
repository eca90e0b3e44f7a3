#include "support/faultproxy.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"

enum {
    PAIRS = 32,
    PIECE = 4096,
    BEGINNING = 64, /* bytes of a connection that may be corrupted */
    /* in a thousand pieces */
    CUT = 20,
    TRUNCATE = 20,
    DELAY = 60,
    CORRUPT = 200,
    DELAY_MS = 120, /* at most */
};

struct pair {
    int fd[2];         /* the client's, the daemon's; -1: free */
    size_t relayed[2]; /* bytes that came from it */
    struct {
        char data[PIECE];
        size_t size; /* 0: nothing is held back */
        int64_t until_us;
    } held[2];
};

struct faultproxy {
    char target[108];
    int listener, stop[2];
    pthread_t thread;
    struct rlhf_random random;
    struct pair pairs[PAIRS];
    struct faultproxy_counters counters;
};

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    return a;
}

static void close_pair(struct pair *p)
{
    for (int i = 0; i < 2; i++)
        if (p->fd[i] >= 0)
            close(p->fd[i]);
    memset(p, 0, sizeof *p);
    p->fd[0] = p->fd[1] = -1;
}

static void take_client(struct faultproxy *p)
{
    struct sockaddr_un a = address_of(p->target);
    int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC), fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    for (size_t i = 0; client >= 0 && i < PAIRS; i++)
        if (p->pairs[i].fd[0] < 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
            p->counters.connections++;
            p->pairs[i].fd[0] = client;
            p->pairs[i].fd[1] = fd;
            return;
        }
    close(client); /* nobody there, or no room: as if refused */
    close(fd);
}

static bool chance(struct faultproxy *p, uint32_t in_thousand)
{
    return rlhf_random_below(&p->random, 1000) < in_thousand;
}

static void forward(struct pair *c, int from, const char *data, size_t size)
{
    if (send(c->fd[!from], data, size, MSG_NOSIGNAL) != (ssize_t)size)
        close_pair(c);
}

static void relay(struct faultproxy *p, struct pair *c, int from)
{
    char data[PIECE];
    ssize_t n = recv(c->fd[from], data, sizeof data, 0);
    size_t size = n > 0 ? (size_t)n : 0;

    if (n <= 0) {
        close_pair(c);
        return;
    }
    if (c->relayed[from] < BEGINNING && chance(p, CORRUPT)) {
        size_t left = BEGINNING - c->relayed[from];

        data[rlhf_random_below(&p->random, (uint32_t)(size < left ? size : left))] ^=
            (char)(1 << rlhf_random_below(&p->random, 8));
        p->counters.corruptions++;
    }
    c->relayed[from] += size;
    if (chance(p, CUT)) {
        p->counters.cuts++;
        close_pair(c);
    } else if (chance(p, TRUNCATE)) {
        p->counters.truncations++;
        forward(c, from, data, rlhf_random_below(&p->random, (uint32_t)size) + 1);
        close_pair(c);
    } else if (chance(p, DELAY)) {
        p->counters.delays++;
        memcpy(c->held[from].data, data, size);
        c->held[from].size = size;
        c->held[from].until_us =
            rlhf_now(&rlhf_system_clock) + 1000 * (int64_t)(1 + rlhf_random_below(&p->random, DELAY_MS));
    } else {
        forward(c, from, data, size);
    }
}

/* Lets go what was held back long enough. */
static void release(struct pair *c, int64_t now)
{
    for (int from = 0; from < 2; from++)
        if (c->fd[0] >= 0 && c->held[from].size > 0 && now >= c->held[from].until_us) {
            size_t size = c->held[from].size;

            c->held[from].size = 0;
            forward(c, from, c->held[from].data, size);
        }
}

static void *run(void *arg)
{
    struct faultproxy *p = arg;

    for (;;) {
        struct pollfd fds[2 + 2 * PAIRS];
        struct {
            struct pair *pair;
            int from;
        } of[2 + 2 * PAIRS];
        nfds_t count = 2;

        fds[0] = (struct pollfd){ .fd = p->stop[0], .events = POLLIN };
        fds[1] = (struct pollfd){ .fd = p->listener, .events = POLLIN };
        for (size_t i = 0; i < PAIRS; i++)
            for (int from = 0; from < 2; from++)
                if (p->pairs[i].fd[0] >= 0 && p->pairs[i].held[from].size == 0) {
                    of[count].pair = &p->pairs[i];
                    of[count].from = from;
                    fds[count++] = (struct pollfd){ .fd = p->pairs[i].fd[from], .events = POLLIN };
                }
        poll(fds, count, 5);
        if (fds[0].revents)
            return NULL;
        for (nfds_t i = 2; i < count; i++)
            if (fds[i].revents && of[i].pair->fd[of[i].from] == fds[i].fd)
                relay(p, of[i].pair, of[i].from);
        for (size_t i = 0; i < PAIRS; i++)
            release(&p->pairs[i], rlhf_now(&rlhf_system_clock));
        if (fds[1].revents)
            take_client(p);
    }
}

struct faultproxy *faultproxy_new(const char *path, const char *target, uint64_t seed)
{
    struct faultproxy *p = calloc(1, sizeof *p);
    struct sockaddr_un a = address_of(path);

    ck_assert_ptr_nonnull(p);
    snprintf(p->target, sizeof p->target, "%s", target);
    rlhf_random_init(&p->random, seed, RLHF_PURPOSE_FAULT, 0, 0);
    for (size_t i = 0; i < PAIRS; i++)
        p->pairs[i].fd[0] = p->pairs[i].fd[1] = -1;
    ck_assert_int_ge(p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 0);
    ck_assert_int_eq(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(p->listener, PAIRS) | pipe(p->stop), 0);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, run, p), 0);
    return p;
}

struct faultproxy_counters faultproxy_free(struct faultproxy *p)
{
    struct faultproxy_counters counters;

    ck_assert_int_eq(write(p->stop[1], "x", 1), 1);
    pthread_join(p->thread, NULL);
    counters = p->counters;
    for (size_t i = 0; i < PAIRS; i++)
        close_pair(&p->pairs[i]);
    close(p->listener);
    close(p->stop[0]);
    close(p->stop[1]);
    free(p);
    return counters;
}
