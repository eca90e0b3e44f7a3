#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "support/suite.h"

struct counts {
    _Atomic(unsigned) *of; /* [tasks] how often each was done */
};

static void count(void *ctx, size_t index)
{
    struct counts *c = ctx;

    atomic_fetch_add(&c->of[index], 1);
}

static void expect_each_once(struct rlhf_pool *p, size_t tasks)
{
    struct counts c = { .of = calloc(tasks + 1, sizeof *c.of) };

    rlhf_pool_for(p, tasks, count, &c);
    for (size_t i = 0; i < tasks; i++)
        ck_assert_uint_eq(c.of[i], 1);
    ck_assert_uint_eq(c.of[tasks], 0);
    free(c.of);
}

START_TEST(every_task_is_done_once_with_any_number_of_threads)
{
    static const unsigned threads[] = { 0, 1, 2, 3, 8, 33 };
    static const size_t tasks[] = { 0, 1, 2, 3, 7, 100, 4096 };

    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        struct rlhf_pool *p = rlhf_pool_new(threads[i], NULL);

        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq(rlhf_pool_threads(p), threads[i] ? threads[i] : rlhf_available_cores());
        for (int round = 0; round < 20; round++)
            for (size_t k = 0; k < sizeof tasks / sizeof tasks[0]; k++)
                expect_each_once(p, tasks[k]);
        rlhf_pool_free(p);
    }
    expect_each_once(NULL, 10);
    ck_assert_uint_eq(rlhf_pool_threads(NULL), 1);
    rlhf_pool_free(NULL);
}
END_TEST

static void set_true(void *ctx, size_t index)
{
    ((bool *)ctx)[index] = true; /* plain memory: the pool orders it before its return */
}

START_TEST(many_small_jobs_in_a_row_never_mix)
{
    struct rlhf_pool *p = rlhf_pool_new(4, NULL);

    for (int job = 0; job < 20000; job++) {
        bool done[5] = { false };
        size_t tasks = (size_t)(job % 5) + 1;

        rlhf_pool_for(p, tasks, set_true, done);
        for (size_t i = 0; i < 5; i++)
            ck_assert_int_eq(done[i], i < tasks);
    }
    rlhf_pool_free(p);
}
END_TEST

struct meeting {
    pthread_barrier_t barrier;
};

static void meet(void *ctx, size_t index)
{
    (void)index;
    pthread_barrier_wait(&((struct meeting *)ctx)->barrier);
}

START_TEST(sleeping_threads_wake_up_and_share_the_work)
{
    /* Four tasks that wait for each other: finished only when four threads do one each. */
    struct rlhf_pool *p = rlhf_pool_new(4, NULL);
    struct meeting m;

    pthread_barrier_init(&m.barrier, NULL, 4);
    for (int round = 0; round < 200; round++) {
        if (round % 20 == 0) { /* let them fall asleep */
            int64_t until = rlhf_now(&rlhf_system_clock) + 2000;

            while (rlhf_now(&rlhf_system_clock) < until)
                sched_yield();
        }
        rlhf_pool_for(p, 4, meet, &m);
    }
    pthread_barrier_destroy(&m.barrier);
    rlhf_pool_free(p);
}
END_TEST

START_TEST(pools_come_and_go)
{
    for (int i = 0; i < 200; i++) {
        struct rlhf_pool *p = rlhf_pool_new(3, NULL);

        if (i % 2)
            expect_each_once(p, 5);
        rlhf_pool_free(p);
    }
}
END_TEST

START_TEST(available_cores_follow_the_affinity)
{
    cpu_set_t all, one;

    ck_assert_uint_ge(rlhf_available_cores(), 1);
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    ck_assert_uint_le(rlhf_available_cores(), (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_uint_eq(rlhf_available_cores(), 1);
    expect_each_once(NULL, 3);
    struct rlhf_pool *p = rlhf_pool_new(4, NULL); /* more threads than cores: no spinning, and it works */

    for (int i = 0; i < 100; i++)
        expect_each_once(p, 9);
    rlhf_pool_free(p);
}
END_TEST

int main(void)
{
    return RUN_SUITE("base/pool", every_task_is_done_once_with_any_number_of_threads,
                     many_small_jobs_in_a_row_never_mix, sleeping_threads_wake_up_and_share_the_work,
                     pools_come_and_go, available_cores_follow_the_affinity);
}
