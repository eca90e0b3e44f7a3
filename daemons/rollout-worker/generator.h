/* generator.h - continuous batching: completions from prompts.
 *
 * A fixed number of slots, each a sequence with its keys and values cached. Every step extends all of them by what
 * they lack (a prompt at first, then the token sampled last) in one pass; a finished sequence leaves and the next job
 * enters at once. Jobs with the same prompt share its prefill, also one that comes when the others have ended, as long as
 * no other sequence took their slots. Jobs of one model go before those of the next, which enter when none of its own
 * waits any more, beside those that are still under way.
 *
 * Promise: a completion depends on (weights, prompt, sampling, key) alone: not on the other jobs, their order, the number
 * of slots or of threads. No I/O, no clock; belongs to one thread. */
#ifndef ROLLOUT_WORKER_GENERATOR_H
#define ROLLOUT_WORKER_GENERATOR_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/pool.h"
#include "model/model.h"
#include "model/sampler.h"

struct generator;

/* One completion wanted. */
struct generator_job {
    uint64_t tag; /* the caller's */
    struct rlhf_digest weights;
    struct rlhf_sampling sampling;
    struct rlhf_sample_key key;
    int32_t end_token; /* -1 none */
    struct rlhf_ends more_ends; /* one place is left free for it */
    const int32_t *prompt; /* [prompt_count]; copied by generator_add() */
    size_t prompt_count;
};

/* What became of it: arrays [count], valid during the call; or an error (then count is 0). */
struct generator_result {
    uint64_t tag;
    const int32_t *ids;
    const float *logprob, *logprob_raw;
    size_t count;
    bool ended; /* with an end token */
    const struct rlhf_error *error;
};
typedef void generator_done(void *ctx, const struct generator_result *r);

/* Borrows pool. max_prefill: prompt tokens taken into one step at most (one prompt is always taken). */
struct generator *generator_new(size_t slots, size_t max_prefill, struct rlhf_pool *pool, generator_done *done, void *ctx,
                                struct rlhf_error *err);
/* Takes m, also on failure. */
int generator_add_model(struct generator *g, const struct rlhf_digest *digest, struct rlhf_model *m,
                        struct rlhf_error *err);
/* Jobs that name it end with an error. */
void generator_drop_model(struct generator *g, const struct rlhf_digest *digest);
/* A job whose model is missing, whose prompt is empty, too long or outside the vocabulary ends at once, with an error. */
int generator_add(struct generator *g, const struct generator_job *job, struct rlhf_error *err);
/* Forgets all jobs, without results. */
void generator_cancel(struct generator *g);
/* One step for every slot; false when there are no jobs. */
bool generator_step(struct generator *g);
/* Prompt tokens computed so far: the samples that share a prompt add one each to what its first added. */
size_t generator_prefilled(const struct generator *g);
void generator_free(struct generator *g); /* NULL is fine */

#endif
