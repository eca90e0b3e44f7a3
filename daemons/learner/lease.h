/* lease.h - who is working on which job of the current action, and until when.
 *
 * Promise: a job is done once. After learner_leases_done() returned LEARNER_FIRST for it, every later result for the
 * same job is LEARNER_LATE; so is every result for a job of an earlier action. Jobs are granted in their order, those
 * that came back first. Time comes from the clock given. */
#ifndef LEARNER_LEASE_H
#define LEARNER_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

struct learner_leases;

/* What a worker holds; lives with the peer, zeroed at first. Everything about one holder costs what it holds, never
 * what there is. */
struct learner_holder {
    size_t held;       /* jobs leased to it                                  */
    size_t first_plus; /* index of its first job + 1, 0 = none; table's own */
};

enum learner_result {
    LEARNER_FIRST,   /* the one that counts                              */
    LEARNER_LATE,    /* done already, set aside, or of an earlier action */
    LEARNER_UNKNOWN, /* no such job was ever given out                   */
};

/* Borrows clock. A lease lasts lease_us unless renewed; a job that was granted max_attempts times and came back each
 * time is set aside. NULL and *err on failure. */
struct learner_leases *learner_leases_new(const struct rlhf_clock *clock, int64_t lease_us,
                                          uint32_t max_attempts, struct rlhf_error *err);

/* room(ctx, h) is called whenever a holder holds less than before, from inside the calls below. */
void learner_leases_on_room(struct learner_leases *t, void (*room)(void *ctx, struct learner_holder *h), void *ctx);

/* Starts an action of count jobs; whatever was open before is forgotten. Job i has id first + i; ids grow over the
 * life of the table. */
int learner_leases_open(struct learner_leases *t, size_t count, uint64_t *first, struct rlhf_error *err);

/* Grants up to credit pending jobs to h (borrowed until released): fills index[] and attempt[] (1 at first), returns
 * how many. */
size_t learner_leases_grant(struct learner_leases *t, struct learner_holder *h, size_t credit, size_t *index,
                            uint32_t *attempt);
/* The lease of id begins anew if h holds it. */
void learner_leases_renew(struct learner_leases *t, const struct learner_holder *h, uint64_t id);
/* True, and *index set, when id is a job of the current action that is not finished: a result may count. */
bool learner_leases_wanted(const struct learner_leases *t, uint64_t id, size_t *index);
enum learner_result learner_leases_done(struct learner_leases *t, uint64_t id);
/* h gives one job back, or is gone and gives back all. */
void learner_leases_return(struct learner_leases *t, struct learner_holder *h, uint64_t id);
void learner_leases_release(struct learner_leases *t, struct learner_holder *h);
/* Takes back what has expired; returns how many leases. Looks at every job: call it now and then. */
size_t learner_leases_expire(struct learner_leases *t);

size_t learner_leases_pending(const struct learner_leases *t);
size_t learner_leases_open_jobs(const struct learner_leases *t); /* neither done nor set aside */
bool learner_leases_is_aside(const struct learner_leases *t, size_t index);
size_t learner_leases_aside(const struct learner_leases *t);

void learner_leases_free(struct learner_leases *t); /* NULL is fine */

#endif
