/* ragged.h - rows of unequal length behind each other: the tokens of completions, the completions of prompts.
 *
 * Every function of this room that takes one promises: a row may be empty; arrays said to be [T] have one entry a
 * token and arrays said to be [B] one a completion, in this order; prompt tokens, padding and whatever else a mask
 * would take out are not there (pack by the mask; a completion that is masked as a whole is an empty row). Sums run
 * in index order and in double: the same input gives the same bits. */
#ifndef RLHF_RL_RAGGED_H
#define RLHF_RL_RAGGED_H

#include <stddef.h>
#include <stdint.h>

struct rlhf_ragged {
    const uint32_t *start; /* [count + 1] rising; row i is the entries [start[i], start[i + 1]) */
    size_t count;          /* rows                                                              */
};

static inline uint32_t rlhf_ragged_length(const struct rlhf_ragged *r, size_t row)
{
    return r->start[row + 1] - r->start[row];
}

static inline size_t rlhf_ragged_total(const struct rlhf_ragged *r)
{
    return r->start[r->count] - r->start[0];
}

/* sum[row] of x over each row. */
void rlhf_ragged_sums(const struct rlhf_ragged *r, const float *x, double *sum);

#endif
