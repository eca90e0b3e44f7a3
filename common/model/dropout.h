/* dropout.h - residual dropout (Srivastava et al. 2014; GPT-2's resid_pdrop): of what a block's branches add to the residual
 * stream, each element is dropped with probability `rate`, and the others are divided by 1 - rate; and LoRA's, of what goes into
 * each pair of an adapter's matrices (PEFT's lora_dropout), with probability `adapter_rate`.
 *
 * Counter-based: whether an element is dropped is a function of (key, sequence, position, place, channel), so the same bits
 * come of any number of threads and however sequences are put into batches. For training; generation has none. */
#ifndef RLHF_MODEL_DROPOUT_H
#define RLHF_MODEL_DROPOUT_H

#include <stdbool.h>

#include "model/model.h"

struct rlhf_dropout {
    float rate;         /* below 1; 0: none */
    float adapter_rate; /* the same */
    uint32_t key[2];    /* from rlhf_dropout_key() */
    uint32_t sequence;  /* number of the batch's first sequence; the others follow */
};

/* The key of a training step. */
void rlhf_dropout_key(uint64_t seed, uint32_t stage, uint64_t step, uint32_t key[2]);

/* From now on p's forwards drop, and backwards with them. Copies d. RLHF_REJECT for models with norms behind their branches, whose
 * families know no dropout. */
int rlhf_pass_set_dropout(struct rlhf_pass *p, const struct rlhf_dropout *d, struct rlhf_error *err);

/* y = x dropped; [T, C], y may be x. place: 2 · block, and 1 for its feed-forward. */
void rlhf_dropout_apply(const struct rlhf_dropout *d, uint32_t place, const struct rlhf_batch *b, const uint32_t *position,
                        size_t channels, const float *x, float *y, struct rlhf_pool *pool);

/* The same with adapter_rate, for pair `pair` of an adapter. less: y is x dropped less x, what dropping changes. */
void rlhf_dropout_adapter(const struct rlhf_dropout *d, size_t pair, bool less, const struct rlhf_batch *b,
                          const uint32_t *position, size_t channels, const float *x, float *y, struct rlhf_pool *pool);

#endif
