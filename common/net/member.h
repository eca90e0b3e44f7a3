/* member.h - a rollout-worker's or reward-scorer's side of the conversations "work" and "weights".
 *
 * Keeps what both have in common: the learner's peer, credit, the jobs held (listed in every heartbeat), the weights that
 * jobs wait for, and giving jobs back. The daemon says what a job is and does it.
 *
 * Promise: a job is begun once, when all its weights are there; it ends by rlhf_member_finish(), by being returned to the
 * learner, or by being dropped because the learner was lost (which then gives it to somebody else). */
#ifndef RLHF_NET_MEMBER_H
#define RLHF_NET_MEMBER_H

#include "net/node.h"
#include "net/weights.h"

enum { RLHF_JOB_WEIGHTS = 2 };

/* Embedded in the daemon's own job, as its first member. */
struct rlhf_member_job {
    uint64_t id;
    uint32_t attempt;
    struct rlhf_digest weights[RLHF_JOB_WEIGHTS];
    size_t weights_count;
    bool begun;
    struct rlhf_member_job *next;
};

struct rlhf_member_ops {
    void (*add_weights)(void *ctx, struct rlhf_weights *w);                /* takes w; jobs that name it will follow */
    void (*drop_weights)(void *ctx, const struct rlhf_digest *digest);     /* no job held names it                   */
    void (*begin)(void *ctx, struct rlhf_member_job *job);                 /* borrows until the job ends             */
    void (*cancel)(void *ctx);                                             /* every job begun is about to be freed   */
    void (*free_job)(void *ctx, struct rlhf_member_job *job);
};

struct rlhf_member_config {
    uint32_t credit;          /* jobs held at most               */
    size_t max_weights_bytes; /* of one payload                  */
    size_t max_weights;       /* payloads kept, used ones aside  */
    const char *host;         /* boot id                         */
};

struct rlhf_member;
/* Borrows env, ops and ctx. */
struct rlhf_member *rlhf_member_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                                    const struct rlhf_member_ops *ops, void *ctx, struct rlhf_error *err);
void rlhf_member_join(struct rlhf_member *m, struct rlhf_node *n); /* borrows */

/* Takes a job of the learner's: begins it, or waits for its weights. A second copy of one held is dropped. */
void rlhf_member_take(struct rlhf_member *m, struct rlhf_member_job *job);
struct rlhf_member_job *rlhf_member_find(struct rlhf_member *m, uint64_t id);
void rlhf_member_finish(struct rlhf_member *m, struct rlhf_member_job *job); /* its result is sent; frees it */
void rlhf_member_return(struct rlhf_member *m, struct rlhf_member_job *job, const char *reason); /* frees it */
/* Jobs that never were held (refused on arrival). */
void rlhf_member_return_ids(struct rlhf_member *m, uint64_t *ids, size_t count, const char *reason);
/* No more jobs; gives all back. */
void rlhf_member_drain(struct rlhf_member *m, const char *reason);
struct rlhf_peer *rlhf_member_learner(struct rlhf_member *m); /* NULL: not connected */
size_t rlhf_member_held(const struct rlhf_member *m);

/* For the daemon's struct rlhf_machine and its handler table, as they are. They take the machine's state, which must begin with
 * its `struct rlhf_member *`. Ticks and deadlines are passed on by the daemon, which has its own. */
void rlhf_member_peer_up(void *machine, struct rlhf_peer *peer);
void rlhf_member_peer_lost(void *machine, struct rlhf_peer *peer);
int rlhf_member_on_announce(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err);
int rlhf_member_on_manifest(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err);
int rlhf_member_on_chunk(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err);
int rlhf_member_on_error(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err);
size_t rlhf_member_held_jobs(struct rlhf_member *m, uint64_t *ids, size_t max);
void rlhf_member_tick(struct rlhf_member *m, int64_t now_us);
int64_t rlhf_member_deadline(struct rlhf_member *m);

/* What the daemon adds to its Status: strings are borrowed for the call. */
struct rlhf_member_status {
    const char *daemon, *results; /* "rollout-worker"; what its results are called: "rollouts" */
    uint64_t done, tokens;
    bool draining;
};
int rlhf_member_send_status(struct rlhf_member *m, struct rlhf_peer *peer, const struct rlhf_message *msg,
                            const struct rlhf_member_status *status, struct rlhf_error *err);

void rlhf_member_free(struct rlhf_member *m); /* NULL is fine */

#endif
