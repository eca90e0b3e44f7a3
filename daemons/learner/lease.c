#include "learner/lease.h"

#include <stdlib.h>

enum job_state { PENDING, LEASED, DONE, ASIDE };

struct job {
    struct learner_holder *holder; /* while leased */
    size_t next_plus, before_plus; /* neighbours in the holder's list, index + 1, 0 = none */
    int64_t expires;               /* monotonic us */
    uint32_t attempts;
    enum job_state state;
};

struct learner_leases {
    const struct rlhf_clock *clock;
    int64_t lease_us;
    uint32_t max_attempts;
    uint64_t first; /* id of jobs[0] */
    struct job *jobs;
    size_t count, capacity;
    size_t hint; /* no job before it is pending */
    size_t pending, leased, aside;
    void (*room)(void *ctx, struct learner_holder *h); /* may be NULL */
    void *room_ctx;
};

struct learner_leases *learner_leases_new(const struct rlhf_clock *clock, int64_t lease_us,
                                          uint32_t max_attempts, struct rlhf_error *err)
{
    struct learner_leases *t = calloc(1, sizeof *t);

    if (!t) {
        rlhf_fail(err, RLHF_FULL, "no memory for the lease table");
        return NULL;
    }
    t->clock = clock;
    t->lease_us = lease_us;
    t->max_attempts = max_attempts;
    t->first = 1;
    return t;
}

void learner_leases_on_room(struct learner_leases *t, void (*room)(void *ctx, struct learner_holder *h), void *ctx)
{
    t->room = room;
    t->room_ctx = ctx;
}

static void hold(struct learner_leases *t, struct learner_holder *h, struct job *job)
{
    size_t self = (size_t)(job - t->jobs) + 1;

    job->state = LEASED;
    job->holder = h;
    job->before_plus = 0;
    job->next_plus = h->first_plus;
    if (h->first_plus)
        t->jobs[h->first_plus - 1].before_plus = self;
    h->first_plus = self;
    h->held++;
    t->leased++;
}

static void unhold(struct learner_leases *t, struct job *job)
{
    struct learner_holder *h = job->holder;

    if (job->before_plus)
        t->jobs[job->before_plus - 1].next_plus = job->next_plus;
    else
        h->first_plus = job->next_plus;
    if (job->next_plus)
        t->jobs[job->next_plus - 1].before_plus = job->before_plus;
    h->held--;
    job->holder = NULL;
    t->leased--;
    if (t->room)
        t->room(t->room_ctx, h);
}

int learner_leases_open(struct learner_leases *t, size_t count, uint64_t *first, struct rlhf_error *err)
{
    if (count > t->capacity) {
        struct job *jobs = reallocarray(t->jobs, count, sizeof *jobs);

        if (!jobs)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu jobs", count);
        t->jobs = jobs;
        t->capacity = count;
    }
    for (size_t i = 0; t->leased > 0 && i < t->count; i++)
        if (t->jobs[i].state == LEASED)
            unhold(t, &t->jobs[i]);
    t->first += t->count;
    t->count = count;
    for (size_t i = 0; i < count; i++)
        t->jobs[i] = (struct job){ .state = PENDING };
    t->hint = 0;
    t->pending = count;
    t->aside = 0;
    *first = t->first;
    return 0;
}

static struct job *find(const struct learner_leases *t, uint64_t id)
{
    return id >= t->first && id - t->first < t->count ? &t->jobs[id - t->first] : NULL;
}

size_t learner_leases_grant(struct learner_leases *t, struct learner_holder *h, size_t credit, size_t *index,
                            uint32_t *attempt)
{
    size_t granted = 0;

    for (; t->hint < t->count && granted < credit; t->hint++) {
        struct job *job = &t->jobs[t->hint];

        if (job->state != PENDING)
            continue;
        hold(t, h, job);
        job->expires = rlhf_now(t->clock) + t->lease_us;
        index[granted] = t->hint;
        attempt[granted++] = ++job->attempts;
    }
    t->pending -= granted;
    return granted;
}

void learner_leases_renew(struct learner_leases *t, const struct learner_holder *h, uint64_t id)
{
    struct job *job = find(t, id);

    if (job && job->state == LEASED && job->holder == h)
        job->expires = rlhf_now(t->clock) + t->lease_us;
}

bool learner_leases_wanted(const struct learner_leases *t, uint64_t id, size_t *index)
{
    const struct job *job = find(t, id);

    if (!job || job->attempts == 0 || job->state == DONE || job->state == ASIDE)
        return false;
    *index = (size_t)(job - t->jobs);
    return true;
}

enum learner_result learner_leases_done(struct learner_leases *t, uint64_t id)
{
    struct job *job = find(t, id);

    if (!job)
        return id != 0 && id < t->first ? LEARNER_LATE : LEARNER_UNKNOWN;
    if (job->attempts == 0)
        return LEARNER_UNKNOWN;
    if (job->state == DONE || job->state == ASIDE)
        return LEARNER_LATE;
    if (job->state == LEASED)
        unhold(t, job);
    else
        t->pending--; /* it was taken back, yet its first worker finished */
    job->state = DONE;
    return LEARNER_FIRST;
}

static void take_back(struct learner_leases *t, struct job *job)
{
    size_t index = (size_t)(job - t->jobs);

    unhold(t, job);
    if (job->attempts >= t->max_attempts) {
        job->state = ASIDE;
        t->aside++;
        return;
    }
    job->state = PENDING;
    t->pending++;
    if (index < t->hint)
        t->hint = index;
}

void learner_leases_return(struct learner_leases *t, struct learner_holder *h, uint64_t id)
{
    struct job *job = find(t, id);

    if (job && job->state == LEASED && job->holder == h)
        take_back(t, job);
}

void learner_leases_release(struct learner_leases *t, struct learner_holder *h)
{
    while (h->first_plus)
        take_back(t, &t->jobs[h->first_plus - 1]);
}

size_t learner_leases_expire(struct learner_leases *t)
{
    int64_t now = rlhf_now(t->clock);
    size_t expired = 0;

    for (size_t i = 0; t->leased > 0 && i < t->count; i++)
        if (t->jobs[i].state == LEASED && t->jobs[i].expires <= now) {
            take_back(t, &t->jobs[i]);
            expired++;
        }
    return expired;
}

size_t learner_leases_pending(const struct learner_leases *t)
{
    return t->pending;
}

size_t learner_leases_open_jobs(const struct learner_leases *t)
{
    return t->pending + t->leased;
}

bool learner_leases_is_aside(const struct learner_leases *t, size_t index)
{
    return index < t->count && t->jobs[index].state == ASIDE;
}

size_t learner_leases_aside(const struct learner_leases *t)
{
    return t->aside;
}

void learner_leases_free(struct learner_leases *t)
{
    if (t)
        free(t->jobs);
    free(t);
}
