/* engine.h - the compute thread of a rollout-worker or reward-scorer: a struct rlhf_member_engine (net/member.h) over a core
 * that does the work there.
 *
 * The reactor thread tells the engine commands; the compute thread takes them all, does a step, looks again, and sleeps
 * when there is nothing to do. Results go back to the reactor thread. */
#ifndef RLHF_DAEMON_ENGINE_H
#define RLHF_DAEMON_ENGINE_H

#include "daemon/daemon.h"
#include "net/member.h"

struct rlhf_engine;

/* A result on its way to the reactor thread: the first member of the daemon's own. */
struct rlhf_engine_result {
    struct rlhf_engine *engine;
    uint64_t life, id;
    struct rlhf_error error; /* RLHF_OK, or why the job cannot be done here */
};

struct rlhf_engine_ops {
    /* Compute thread, in the order told. */
    void (*add_weights)(void *core, struct rlhf_weights *w); /* takes */
    void (*drop_weights)(void *core, const struct rlhf_digest *digest);
    int (*begin)(void *core, const struct rlhf_member_job *job, struct rlhf_error *err); /* copies what it needs */
    void (*cancel)(void *core);
    /* Some milliseconds of work. False when there is none until another command comes. */
    bool (*step)(void *core);
    /* Reactor thread: a result without an error. */
    void (*deliver)(void *core, const struct rlhf_engine_result *r);
    /* Any thread, at rlhf_engine_stop(): results that other threads send later than that would be lost. May be NULL. */
    void (*stop)(void *core);
};

/* Borrows all. */
struct rlhf_engine *rlhf_engine_new(struct rlhf_daemon *d, const struct rlhf_engine_ops *ops, void *core,
                                    struct rlhf_error *err);
struct rlhf_member_engine *rlhf_engine_interface(struct rlhf_engine *e);
void rlhf_engine_join(struct rlhf_engine *e, struct rlhf_member *m); /* where failures go; borrows */

/* Compute thread: a result of so many bytes for the job begun under this id, to be filled and sent. Without memory for it
 * the process ends: the job would be held for ever, and every heartbeat would renew its lease; ended, it is started again,
 * and the learner gives its jobs to others. */
void *rlhf_engine_result(struct rlhf_engine *e, uint64_t id, size_t size);
void rlhf_engine_send(struct rlhf_engine_result *r); /* takes */
void rlhf_engine_failed(struct rlhf_engine *e, uint64_t id, const struct rlhf_error *why);

/* Any thread: the compute thread returns after its present step. */
void rlhf_engine_stop(struct rlhf_engine *e);
void rlhf_engine_free(struct rlhf_engine *e); /* after the daemon's loop has ended; NULL is fine */

#endif
