/* generate.h - what the two ways to generate, text and tensors, share. */
#ifndef RLHFCTL_GENERATE_H
#define RLHFCTL_GENERATE_H

#include "base/pool.h"
#include "model/adapter.h"
#include "model/generation.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

struct generate {
    const char *dir, *adapter_dir, *input, *output;
    uint64_t seed;
    struct rlhf_generation settings; /* temperature 0 when greedy */

    struct rlhf_model *model;
    struct rlhf_adapter *adapter; /* NULL: none */
    struct rlhf_tokenizer *tokenizer; /* NULL for tensors without stop strings */
    struct rlhf_pool *pool;
};

/* One token more for what came before; *ended when the completion is complete with it: an end token, or a stop
 * string. h's completion is completion, its count the token's position; the array has room for it. */
int generate_token(const struct generate *g, const float *logits, struct rlhf_history *h, int32_t *completion,
                   const struct rlhf_sample_key *key, float *scratch, struct rlhf_sampled *out, bool *ended,
                   struct rlhf_error *err);

/* Completes the rows of --input into --output. */
int generate_tensors(const struct generate *g, struct rlhf_error *err);

#endif
