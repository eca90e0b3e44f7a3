/* pool.h - the one thread pool of a process.
 *
 * Promise: the pool decides who does a task, never what a task is. Callers split work by its shape, not
 * by the number of threads, so results do not depend on it. */
#ifndef RLHF_BASE_POOL_H
#define RLHF_BASE_POOL_H

#include <stddef.h>

#include "base/error.h"

struct rlhf_pool;

/* threads counts the caller: 1 makes a pool without threads of its own; 0 asks for the number of cores
 * this process may run on. */
struct rlhf_pool *rlhf_pool_new(unsigned threads, struct rlhf_error *err);
unsigned rlhf_pool_threads(const struct rlhf_pool *p);
unsigned rlhf_available_cores(void); /* sched_getaffinity, and the cgroup's CPU quota rounded up */

/* Runs task(ctx, 0) ... task(ctx, tasks - 1), the caller helping, and returns when all are done. One call
 * at a time; tasks must not call it. Waits by spinning briefly, then sleeping. p may be NULL: a loop. */
void rlhf_pool_for(struct rlhf_pool *p, size_t tasks, void (*task)(void *ctx, size_t index), void *ctx);

void rlhf_pool_free(struct rlhf_pool *p); /* NULL is fine */

#endif
