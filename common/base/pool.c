#include "base/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

/* How long to spin before sleeping. Between the products of one training step the pool rests 5 to 30 us; waking a
 * sleeping thread costs about as much as 50 us of spinning. */
enum { SPIN_US = 50 };
enum { MOST_THREADS = 1024 };

/* A job is published by storing a new ticket: its number in the high half, how many tasks are left in the low half.
 * Taking a task is one compare-and-swap of the ticket, and succeeds only while the job is the one that was looked at. The
 * fields of a job change only when no task of the last one is left, so a swap that succeeds proves that the fields
 * read before it belong to the job. */
struct rlhf_pool {
    unsigned threads;
    bool spin;
    pthread_t *ids; /* [threads - 1] */
    _Atomic(uint64_t) ticket;
    _Atomic(uint32_t) job; /* what sleeping threads wait on: changes with every job, and at the end */
    _Atomic(uint32_t) sleepers;
    _Atomic(uint32_t) done; /* tasks of this job; what a sleeping caller waits on */
    _Atomic(bool) caller_sleeps;
    _Atomic(bool) leaving;
    _Atomic(bool) busy;
    _Atomic(uint32_t) tasks;
    _Atomic(void *) ctx;
    void (*_Atomic task)(void *ctx, size_t index);
};

static void futex_wait(_Atomic(uint32_t) *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic(uint32_t) *word, int threads)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spins until *word is no longer seen, for SPIN_US at most. */
static bool spin_until_changed(const struct rlhf_pool *p, _Atomic(uint32_t) *word, uint32_t seen)
{
    int64_t end;

    if (!p->spin)
        return atomic_load(word) != seen;
    end = rlhf_now(&rlhf_system_clock) + SPIN_US;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != seen)
                return true;
            pause_briefly();
        }
    } while (rlhf_now(&rlhf_system_clock) < end);
    return false;
}

/* Does tasks of the job in the ticket until none is left. */
static void work(struct rlhf_pool *p)
{
    uint64_t ticket = atomic_load(&p->ticket);

    while ((uint32_t)ticket > 0) {
        uint32_t tasks = atomic_load_explicit(&p->tasks, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&p->ctx, memory_order_relaxed);
        void (*task)(void *, size_t) = atomic_load_explicit(&p->task, memory_order_relaxed);

        /* The fields are read before the swap: acquire on the ticket's load orders them behind it, and the swap
         * itself is sequentially consistent. */
        if (!atomic_compare_exchange_weak(&p->ticket, &ticket, ticket - 1))
            continue;
        task(ctx, tasks - (uint32_t)ticket);
        if (atomic_fetch_add(&p->done, 1) + 1 == tasks && atomic_load(&p->caller_sleeps))
            futex_wake(&p->done, 1);
        ticket = atomic_load(&p->ticket);
    }
}

static void *run(void *pool)
{
    struct rlhf_pool *p = pool;
    uint32_t seen = 0;

    for (;;) {
        while (!spin_until_changed(p, &p->job, seen)) {
            atomic_fetch_add(&p->sleepers, 1);
            futex_wait(&p->job, seen);
            atomic_fetch_sub(&p->sleepers, 1);
        }
        seen = atomic_load(&p->job);
        if (atomic_load(&p->leaving))
            return NULL;
        work(p);
    }
}

struct rlhf_pool *rlhf_pool_new(unsigned threads, struct rlhf_error *err)
{
    unsigned cores = rlhf_available_cores();
    struct rlhf_pool *p = calloc(1, sizeof *p);
    sigset_t all, before;
    int reason = 0;

    if (threads == 0)
        threads = cores;
    if (threads > MOST_THREADS)
        threads = MOST_THREADS;
    if (!p || (threads > 1 && !(p->ids = calloc(threads - 1, sizeof *p->ids)))) {
        rlhf_fail(err, RLHF_FULL, "out of memory for a pool of %u threads", threads);
        rlhf_pool_free(p);
        return NULL;
    }
    p->spin = threads <= cores;
    p->threads = 1;
    sigfillset(&all); /* signals are the main thread's business */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (p->threads < threads) {
        reason = pthread_create(&p->ids[p->threads - 1], NULL, run, p);
        if (reason)
            break;
        pthread_setname_np(p->ids[p->threads - 1], "pool");
        p->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (reason) {
        rlhf_fail_errno(err, reason, "cannot start thread %u of %u of the pool", p->threads + 1, threads);
        rlhf_pool_free(p);
        return NULL;
    }
    return p;
}

unsigned rlhf_pool_threads(const struct rlhf_pool *p)
{
    return p ? p->threads : 1;
}

static void tell_threads(struct rlhf_pool *p, int threads)
{
    atomic_fetch_add(&p->job, 1);
    if (atomic_load(&p->sleepers) > 0)
        futex_wake(&p->job, threads);
}

static void wait_for_tasks(struct rlhf_pool *p, uint32_t tasks)
{
    uint32_t done = atomic_load(&p->done);

    while (done < tasks && spin_until_changed(p, &p->done, done))
        done = atomic_load(&p->done);
    if (done == tasks)
        return;
    atomic_store(&p->caller_sleeps, true);
    while ((done = atomic_load(&p->done)) < tasks)
        futex_wait(&p->done, done);
    atomic_store(&p->caller_sleeps, false);
}

static void run_job(struct rlhf_pool *p, uint32_t tasks, void (*task)(void *ctx, size_t index), void *ctx)
{
    uint32_t number = (uint32_t)(atomic_load(&p->ticket) >> 32) + 1;
    uint32_t helpers = tasks - 1 < p->threads - 1 ? tasks - 1 : p->threads - 1;

    atomic_store(&p->done, 0);
    atomic_store(&p->tasks, tasks);
    atomic_store(&p->ctx, ctx);
    atomic_store(&p->task, task);
    atomic_store(&p->ticket, (uint64_t)number << 32 | tasks);
    tell_threads(p, (int)helpers);
    work(p);
    wait_for_tasks(p, tasks);
}

/* Tasks of a loop that is longer than a ticket counts: shifts the index. */
struct shifted {
    void (*task)(void *ctx, size_t index);
    void *ctx;
    size_t first;
};

static void do_shifted(void *ctx, size_t index)
{
    const struct shifted *s = ctx;

    s->task(s->ctx, s->first + index);
}

void rlhf_pool_for(struct rlhf_pool *p, size_t tasks, void (*task)(void *ctx, size_t index), void *ctx)
{
    if (!p || p->threads == 1 || tasks <= 1) {
        for (size_t i = 0; i < tasks; i++)
            task(ctx, i);
        return;
    }
    RLHF_ASSERT(!atomic_exchange(&p->busy, true)); /* two callers, or a task that calls */
    for (size_t first = 0; first < tasks;) {
        size_t count = tasks - first < UINT32_MAX ? tasks - first : UINT32_MAX;
        struct shifted part = { .task = task, .ctx = ctx, .first = first };

        if (count == tasks)
            run_job(p, (uint32_t)count, task, ctx);
        else
            run_job(p, (uint32_t)count, do_shifted, &part);
        first += count;
    }
    atomic_store(&p->busy, false);
}

void rlhf_pool_free(struct rlhf_pool *p)
{
    if (!p)
        return;
    if (p->threads > 1) {
        atomic_store(&p->leaving, true);
        tell_threads(p, INT_MAX);
        for (unsigned i = 0; i + 1 < p->threads; i++)
            pthread_join(p->ids[i], NULL);
    }
    free(p->ids);
    free(p);
}

static unsigned cores_by_affinity(void)
{
    for (int most = 1024; most <= 1 << 18; most *= 4) {
        size_t size = CPU_ALLOC_SIZE(most);
        cpu_set_t *set = CPU_ALLOC(most);
        int cores = 0, reason;

        if (!set)
            break;
        reason = sched_getaffinity(0, size, set) < 0 ? errno : 0;
        if (!reason)
            cores = CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (!reason)
            return cores > 0 ? (unsigned)cores : 1;
        if (reason != EINVAL) /* EINVAL: this machine has more */
            break;
    }
    return 1;
}

/* The cores that a quota file allows, rounded up; UINT_MAX when it sets no limit. Version 2 keeps quota and period in
 * cpu.max, version 1 in two files. */
static unsigned cores_by_quota(const char *quota_path, const char *period_path)
{
    double quota = -1, period = 0;
    FILE *f = fopen(quota_path, "re");

    if (!f)
        return UINT_MAX;
    if (fscanf(f, "%lf %lf", &quota, &period) < 1)
        quota = -1; /* "max" */
    fclose(f);
    if (period_path && (f = fopen(period_path, "re"))) {
        if (fscanf(f, "%lf", &period) != 1)
            period = 0;
        fclose(f);
    }
    if (quota <= 0 || period <= 0 || quota / period >= UINT_MAX)
        return UINT_MAX;
    double cores = quota / period;

    return (unsigned)cores + ((double)(unsigned)cores < cores);
}

/* The narrowest quota between our control group and the root. */
static unsigned cores_by_cgroup(void)
{
    char line[4096] = "", path[4200];
    unsigned cores = cores_by_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    FILE *f = fopen("/proc/self/cgroup", "re");

    if (!f)
        return cores;
    while (fgets(line, sizeof line, f) && strncmp(line, "0::/", 4) != 0)
        line[0] = '\0';
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
    for (char *group = line[0] ? line + 3 : NULL; group;) {
        char *slash = strrchr(group, '/');
        unsigned here;

        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        here = cores_by_quota(path, NULL);
        cores = here < cores ? here : cores;
        if (!slash)
            break;
        *slash = '\0'; /* the empty name is the root */
    }
    return cores;
}

unsigned rlhf_available_cores(void)
{
    unsigned affinity = cores_by_affinity(), quota = cores_by_cgroup();

    return quota < affinity ? quota : affinity;
}
