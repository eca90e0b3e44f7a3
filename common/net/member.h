/* member.h - what a rollout-worker and a reward-scorer have in common: their side of the conversations "work" and
 * "weights", Status and Drain.
 *
 * It is their state machine: the learner's peer, credit, the jobs held (listed in every heartbeat), the weights that jobs
 * wait for, giving jobs back, results that travel together. The daemon says what a job and a result are; an engine does
 * the work.
 *
 * Promise: a job is begun once, when all its weights are there; it ends by rlhf_member_finish(), by being returned to the
 * learner, or by being dropped because the learner was lost (which then gives it to somebody else). */
#ifndef RLHF_NET_MEMBER_H
#define RLHF_NET_MEMBER_H

#include "net/node.h"
#include "net/weights.h"

enum {
    RLHF_JOB_WEIGHTS = 2,
    RLHF_RESULTS_A_MESSAGE = 256, /* at most; then they are sent */
};

struct rlhf_member;

/* Embedded in the daemon's own job, as its first member. */
struct rlhf_member_job {
    uint64_t id;
    uint32_t attempt;
    struct rlhf_digest weights[RLHF_JOB_WEIGHTS];
    size_t weights_count;
    size_t size; /* bytes of the daemon's whole job, so that an engine can copy it */
    bool begun;
    struct rlhf_member_job *next;
};

/* What computes: on another thread (daemon/engine.h), or in a test. It answers later, on the machine's thread. life names the
 * time between two cancels: what comes from an earlier one is dropped. */
struct rlhf_member_engine {
    void (*add_weights)(struct rlhf_member_engine *e, struct rlhf_weights *w); /* takes; jobs that name it will follow */
    void (*drop_weights)(struct rlhf_member_engine *e, const struct rlhf_digest *digest); /* no job held names it */
    void (*begin)(struct rlhf_member_engine *e, uint64_t life, const struct rlhf_member_job *job); /* borrows for the call */
    void (*cancel)(struct rlhf_member_engine *e); /* forget everything begun */
};

/* What a daemon is. */
struct rlhf_member_ops {
    const char *daemon, *results;                     /* "rollout-worker", "rollouts": their names in its Status */
    uint32_t type;                                    /* the message that brings its jobs ... */
    const ProtobufCMessageDescriptor *schema;
    int (*check)(const struct rlhf_message *m, struct rlhf_error *err);
    int (*take)(void *ctx, const struct rlhf_message *m, struct rlhf_error *err); /* ... and makes jobs of it */
    void (*send)(void *ctx);                          /* what was finished, and forgets it */
    void (*forget)(void *ctx);                        /* what was finished: nobody waits for it any more */
};

struct rlhf_member_config {
    uint32_t credit;          /* jobs held at most               */
    size_t max_weights_bytes; /* of one payload                  */
    size_t max_weights;       /* payloads kept, used ones aside  */
    const char *host;         /* boot id                         */
    int64_t flush_us;         /* results wait at most this long to travel together */
};

/* Borrows env, ops, engine and ctx. */
struct rlhf_member *rlhf_member_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                                    const struct rlhf_member_ops *ops, struct rlhf_member_engine *engine, void *ctx,
                                    struct rlhf_error *err);
const struct rlhf_machine *rlhf_member_machine(struct rlhf_member *m);
void rlhf_member_join(struct rlhf_member *m, struct rlhf_node *n); /* borrows */

/* A new job of so many bytes, zeroed but for the two; its arrays lie behind it. NULL: it goes back for want of memory. */
void *rlhf_member_job(struct rlhf_member *m, uint64_t id, uint32_t attempt, size_t size, struct rlhf_error *err);
/* Takes a job of the learner's: begins it, or waits for its weights. A second copy of one held is dropped. */
void rlhf_member_take(struct rlhf_member *m, struct rlhf_member_job *job);
/* The job that a result is of; NULL when it is not held any more. */
struct rlhf_member_job *rlhf_member_current(struct rlhf_member *m, uint64_t life, uint64_t id);
/* Its result is among those to send; full: no other fits beside it. Frees it. */
void rlhf_member_finish(struct rlhf_member *m, struct rlhf_member_job *job, uint64_t tokens, bool full);
void rlhf_member_return(struct rlhf_member *m, struct rlhf_member_job *job, const char *reason); /* frees it */
/* From the engine: a job that cannot be done here. */
void rlhf_member_failed(struct rlhf_member *m, uint64_t life, uint64_t id, const struct rlhf_error *why);
void rlhf_member_flush(struct rlhf_member *m); /* sends what was finished, now */
/* To the learner, if there is one. A failure is logged under that name, and the work done again by somebody. */
void rlhf_member_send(struct rlhf_member *m, const struct rlhf_message *msg, const char *failure);

/* Hands everything back and takes no more; then calls what was given to on_drain. */
void rlhf_member_drain(struct rlhf_member *m, const char *reason);
void rlhf_member_on_drain(struct rlhf_member *m, void (*drained)(void *ctx), void *ctx);
void rlhf_member_free(struct rlhf_member *m); /* NULL is fine */

#endif
