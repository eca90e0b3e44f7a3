#include "daemon/compute.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* A call to make: on the compute thread (work, then done is posted), or on the reactor thread (call). */
struct item {
    void (*call)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
    struct item *next;
};
struct queue {
    struct item *first, *last;
};

struct rlhf_compute {
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    pthread_t thread;
    bool started, stopping, running;
    struct queue works, posts;
    int fd;
    atomic_uint progress;     /* reports of the work that runs, 0 when it has made none */
    unsigned progress_seen;
};

static void put(struct queue *q, struct item *i)
{
    i->next = NULL;
    if (q->last)
        q->last->next = i;
    else
        q->first = i;
    q->last = i;
}

static struct item *get(struct queue *q)
{
    struct item *i = q->first;

    if (i && !(q->first = i->next))
        q->last = NULL;
    return i;
}

static void clear(struct queue *q)
{
    for (struct item *i; (i = get(q));)
        free(i);
}

static struct item *new_item(void (*call)(void *ctx), void (*done)(void *ctx), void *ctx, struct rlhf_error *err)
{
    struct item *i = malloc(sizeof *i);

    if (!i) {
        rlhf_fail(err, RLHF_FULL, "no memory for a task");
        return NULL;
    }
    *i = (struct item){ .call = call, .done = done, .ctx = ctx };
    return i;
}

static void ring(struct rlhf_compute *c)
{
    uint64_t one = 1;

    while (write(c->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void *compute_thread(void *arg)
{
    struct rlhf_compute *c = arg;

    pthread_setname_np(pthread_self(), "compute");
    pthread_mutex_lock(&c->lock);
    while (!c->stopping) {
        struct item *i = get(&c->works);

        if (!i) {
            pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        c->running = true;
        atomic_store(&c->progress, 0);
        pthread_mutex_unlock(&c->lock);
        i->call(i->ctx);
        pthread_mutex_lock(&c->lock);
        c->running = false;
        pthread_cond_signal(&c->idle);
        if (i->done) { /* the same item goes back as a post */
            i->call = i->done;
            put(&c->posts, i);
            ring(c);
        } else {
            free(i);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct rlhf_compute *rlhf_compute_new(struct rlhf_error *err)
{
    struct rlhf_compute *c = calloc(1, sizeof *c);
    pthread_condattr_t monotonic;

    if (!c || (c->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        free(c);
        rlhf_fail(err, RLHF_FATAL, "no compute thread: %s", strerror(errno));
        return NULL;
    }
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    pthread_cond_init(&c->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return c;
}

int rlhf_compute_fd(const struct rlhf_compute *c)
{
    return c->fd;
}

void rlhf_compute_posted(struct rlhf_compute *c)
{
    struct queue posts;
    uint64_t count;

    while (read(c->fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&c->lock);
    posts = c->posts; /* what these calls post comes next time */
    c->posts = (struct queue){ 0 };
    pthread_mutex_unlock(&c->lock);
    for (struct item *i; (i = get(&posts));) {
        i->call(i->ctx);
        free(i);
    }
}

int rlhf_compute_post(struct rlhf_compute *c, void (*call)(void *ctx), void *ctx, struct rlhf_error *err)
{
    struct item *i = new_item(call, NULL, ctx, err);

    if (!i)
        return -1;
    pthread_mutex_lock(&c->lock);
    put(&c->posts, i);
    pthread_mutex_unlock(&c->lock);
    ring(c);
    return 0;
}

int rlhf_compute_submit(struct rlhf_compute *c, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx,
                        struct rlhf_error *err)
{
    struct item *i = new_item(work, done, ctx, err);
    int failed = 0;

    if (!i)
        return -1;
    pthread_mutex_lock(&c->lock);
    if (!c->started && (failed = pthread_create(&c->thread, NULL, compute_thread, c)) == 0)
        c->started = true;
    if (c->started && !c->stopping) {
        put(&c->works, i);
        pthread_cond_signal(&c->wake);
        i = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    if (i) {
        free(i);
        return rlhf_fail(err, RLHF_AGAIN, "no compute thread: %s", failed ? strerror(failed) : "stopping");
    }
    return 0;
}

void rlhf_compute_progress(struct rlhf_compute *c)
{
    if (atomic_fetch_add(&c->progress, 1) == UINT32_MAX)
        atomic_store(&c->progress, 1);
}

bool rlhf_compute_alive(struct rlhf_compute *c)
{
    unsigned progress = atomic_load(&c->progress);
    bool running, alive;

    pthread_mutex_lock(&c->lock);
    running = c->running;
    pthread_mutex_unlock(&c->lock);
    alive = !running || progress == 0 || progress != c->progress_seen;
    c->progress_seen = progress;
    return alive;
}

bool rlhf_compute_stop(struct rlhf_compute *c, int64_t until_us)
{
    struct timespec until = { .tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000 };
    bool running;

    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    clear(&c->works);
    pthread_cond_signal(&c->wake);
    while (c->running && pthread_cond_timedwait(&c->idle, &c->lock, &until) != ETIMEDOUT)
        ;
    running = c->running;
    pthread_mutex_unlock(&c->lock);
    if (running)
        return false;
    if (c->started)
        pthread_join(c->thread, NULL);
    c->started = false;
    return true;
}

void rlhf_compute_free(struct rlhf_compute *c)
{
    if (!c)
        return;
    clear(&c->works);
    clear(&c->posts);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->idle);
    pthread_mutex_destroy(&c->lock);
    close(c->fd);
    free(c);
}
