/* worker.h - the rollout-worker's state machine: leased prompts in, rollouts out.
 *
 * Stateless towards the run: whatever it holds can be done again by any other worker with the same bits. */
#ifndef ROLLOUT_WORKER_WORKER_H
#define ROLLOUT_WORKER_WORKER_H

#include "model/sampler.h"
#include "net/member.h"
#include "net/node.h"

struct worker;

/* A job as the worker holds it, and its engine takes it. */
struct worker_job {
    struct rlhf_member_job member; /* first */
    struct rlhf_sampling sampling;
    struct rlhf_sample_key key;
    int32_t end_token; /* -1 none */
    struct rlhf_ends more_ends;
    uint32_t prompt_count;
    int32_t prompt[];
};

/* Borrows env and engine. */
struct worker *worker_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                          struct rlhf_member_engine *engine, struct rlhf_error *err);
struct rlhf_member *worker_member(struct worker *w); /* its machine; the worker's own */

/* From the engine. life is the one given to begin: results of a life that was cancelled are dropped. Copies. */
struct worker_result {
    uint64_t id;
    const int32_t *ids;
    const float *logprob, *logprob_raw;
    size_t count;
    bool ended;
};
void worker_finished(struct worker *w, uint64_t life, const struct worker_result *r);
void worker_free(struct worker *w); /* NULL is fine */

#endif
