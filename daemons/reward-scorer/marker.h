/* marker.h - rewards and reference log-probs of whole sequences, in packed batches.
 *
 * Promise: a score depends on (models, sequence, temperature) alone: not on the batch it is computed in, nor on the number of
 * threads. No I/O, no clock; belongs to one thread. */
#ifndef REWARD_SCORER_MARKER_H
#define REWARD_SCORER_MARKER_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/pool.h"
#include "model/model.h"

struct marker;

struct marker_job {
    uint64_t tag;                                 /* the caller's */
    struct rlhf_digest reward_model, reference;   /* zero: not wanted */
    float temperature;                            /* of the reference's logits */
    const int32_t *ids;                           /* [count] prompt + completion; copied by marker_add() */
    size_t count, prompt_count;
};

struct marker_result {
    uint64_t tag;
    float reward;             /* the reward model's scalar at the last token; 0 when not wanted */
    const float *logprob_ref; /* [count] of the completion's tokens, valid during the call      */
    size_t count;             /* 0 when not wanted                                              */
    const struct rlhf_error *error; /* NULL: none */
};
typedef void marker_done(void *ctx, const struct marker_result *r);

/* Borrows pool. max_tokens: in one batch (one sequence is always taken). */
struct marker *marker_new(size_t max_tokens, struct rlhf_pool *pool, marker_done *done, void *ctx, struct rlhf_error *err);
int marker_add_model(struct marker *k, const struct rlhf_digest *digest, struct rlhf_model *m,
                     struct rlhf_error *err); /* takes m, also on failure */
void marker_drop_model(struct marker *k, const struct rlhf_digest *digest);
int marker_add(struct marker *k, const struct marker_job *job, struct rlhf_error *err);
void marker_cancel(struct marker *k); /* forgets all jobs, without results */
bool marker_step(struct marker *k);   /* one batch; false when there are no jobs */
void marker_free(struct marker *k);   /* NULL is fine */

#endif
