/* worker.h - the rollout-worker's state machine: leased prompts in, rollouts out.
 *
 * Stateless towards the run: whatever it holds can be done again by any other worker with the same bits. */
#ifndef ROLLOUT_WORKER_WORKER_H
#define ROLLOUT_WORKER_WORKER_H

#include "model/sampler.h"
#include "net/member.h"
#include "net/node.h"

struct worker;

/* A job as the worker holds it; the engine borrows it from begin until it reports a result or cancel. */
struct worker_job {
    struct rlhf_member_job member; /* first */
    struct rlhf_sampling sampling;
    struct rlhf_sample_key key;
    int32_t end_token; /* -1 none */
    struct rlhf_ends more_ends;
    uint32_t prompt_count;
    int32_t prompt[];
};

/* What computes. Results come back, later, by worker_finished() or worker_failed() on the machine's thread. */
struct worker_engine {
    void (*add_weights)(struct worker_engine *e, struct rlhf_weights *w); /* takes */
    void (*drop_weights)(struct worker_engine *e, const struct rlhf_digest *digest);
    void (*begin)(struct worker_engine *e, uint64_t life, const struct worker_job *job);
    void (*cancel)(struct worker_engine *e); /* forget everything begun */
};

struct worker_options {
    struct rlhf_member_config member;
    int64_t flush_us; /* results wait at most this long to travel together */
};

/* Borrows env and engine. */
struct worker *worker_new(const struct worker_options *o, const struct rlhf_env *env, struct worker_engine *engine,
                          struct rlhf_error *err);
const struct rlhf_machine *worker_machine(struct worker *w);
void worker_join(struct worker *w, struct rlhf_node *n);

/* From the engine. life is the one given to begin: results of a life that was cancelled are dropped. Copies. */
struct worker_result {
    uint64_t id;
    const int32_t *ids;
    const float *logprob, *logprob_raw;
    size_t count;
    bool ended;
};
void worker_finished(struct worker *w, uint64_t life, const struct worker_result *r);
void worker_failed(struct worker *w, uint64_t life, uint64_t id, const struct rlhf_error *why);

/* Hands everything back and takes no more; `drained` is called at once. */
void worker_drain(struct worker *w, const char *reason);
void worker_on_drain(struct worker *w, void (*drained)(void *ctx), void *ctx); /* Drain from rlhfctl */
void worker_free(struct worker *w); /* NULL is fine */

#endif
