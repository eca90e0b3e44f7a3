/* kernels.h - the inner loops, as a table: one table a kernel set, one chosen at start.
 *
 * A kernel works on one thread and on the part of an operation that it is given; the files beside this
 * one (product.c, rows.c, ...) split an operation into such parts by its shape alone. kernel/NAME.c is compiled once
 * for every kernel set. Private to the room. */
#ifndef RLHF_TENSOR_KERNELS_H
#define RLHF_TENSOR_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/ops.h"

/* Weights and keys lie in panels of 16 columns, [panel][k][16]; weights in halves [panel][k/2][16] words, the even step of
 * k in the low half, and zeros up to a multiple of 32 steps. */
enum { RLHF_LANES = 16 };
/* Sixteen panels' rows of such words are a tile of 32 steps: what one matrix instruction takes. */
enum { RLHF_TILE_STEPS = 32, RLHF_TILE_WORDS = 256 };
/* Rows of queries whose scores are held at once. */
enum { RLHF_ATTENTION_ROWS = 28 };

/* Where a product's operands lie: y[r][16·v + lane] = start + Σ_k a(r, k)·b(k, v, lane). a(r, k) is at
 * a[r·a_stride + k], or for tiles_columns at a[k·a_stride + r]; b(k, v, ·) is the 16 floats at
 * b[k·b_stride + v·panel_size], read whole even where fewer columns are wanted. start_stride 0 repeats one
 * row; start NULL is zero; start may be y. With stream b comes from memory, not from a cache, and is fetched ahead; what lies
 * `next` floats behind it, where not 0, is fetched meanwhile, a line for each of b. */
struct rlhf_operands {
    const float *a;
    size_t a_stride;
    const float *b;
    size_t b_stride, panel_size;
    const float *start;
    size_t start_stride;
    float *y;
    size_t y_stride;
    bool stream;
    ptrdiff_t next;
};

/* One key/value head of one sequence and the `group` query heads that share it, for the queries at positions
 * from .. to - 1; rows of queries begin at that of position `from`. Backward takes one query head at a time, and all
 * of its queries. */
struct rlhf_attention_task {
    size_t d, group, from, to;
    float scale, cap; /* of scores; cap 0: none */
    size_t window;    /* 0: none */
    const float *q, *keys, *values; /* keys in panels keys_panel floats apart; head h of the group d behind q */
    size_t q_stride, keys_panel, values_stride;
    float *out, *lse; /* lse may be NULL; the rows of heads are lse_stride floats apart */
    size_t out_stride, lse_stride;
    ptrdiff_t to_next;              /* from values to keys that are read after them; 0: nobody knows */
    bool halves;                    /* keys and values are words of two steps; values_stride is of such words */
    float *scratch; /* RLHF_ATTENTION_ROWS times `to`, in whole panels, or less with a window; backward twice that */
    /* backward only: */
    const float *key_rows;     /* keys again, rows of values_stride                  */
    const float *value_panels; /* as keys                                            */
    const float *d_out;        /* rows of out_stride                                 */
    const float *y, *logsum;   /* what forward gave; rows of y_stride                */
    float *d_q, *d_k, *d_v;    /* rows of d_stride; d_q overwritten, d_k and d_v add */
    size_t y_stride, d_stride;
};

/* AdamW's step with everything that does not depend on the element folded. */
struct rlhf_adamw_factors {
    float grad_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
    float keep;              /* 1 - lr·decay                                  */
    float rate;              /* param -= rate·m/(√(v·v_scale) + epsilon)      */
    float root_v_scale, epsilon;
};

struct rlhf_kernels {
    const char *set;
    size_t rows_a_tile; /* of the tallest micro-kernel, at most 16 */

    void (*tiles)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
    void (*tiles_columns)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
    void (*tiles_halves)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k); /* b_stride is of two steps */
    /* Both operands bfloat16, in tiles of [16][16] words: a's tile of rows 16 i .. and steps 32 j .. is at
     * a[i·a_stride + 256 j], words [row][step/2]; b's panels are halves. k is a multiple of 32. Each output is start, plus block
     * after block of 32 steps: the sum of a chain of the even and a chain of the odd ones. */
    void (*tiles_rounded)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k);
    /* Up to 16 rows as tiles of a; `rows` steps of up to 16 columns as a panel of b. Zeros beyond them. */
    void (*round_rows)(const float *from, size_t stride, size_t rows, size_t cols, float *to);
    void (*round_columns)(const float *from, size_t stride, size_t rows, size_t cols, float *to);
    /* to[j][i] = from[i][j] for 16 rows i (zeros past `rows`) and cols columns j: one panel of [cols][16]. */
    void (*transpose_panel)(const float *from, size_t stride, size_t rows, size_t cols, float *to);
    void (*widen_bf16)(const void *from, size_t count, float *to);
    void (*widen_f16)(const void *from, size_t count, float *to);
    bool (*all_finite)(const float *x, size_t count);
    void (*round_halves)(float *x, size_t count);
    /* [k][16] floats as [ceil(k/2)][16] words of halves. False when one is too large. */
    bool (*halve)(const float *from, size_t k, float *to);

    void (*layernorm)(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c,
                      float *y, float *mean, float *rstd);
    void (*layernorm_backward)(const float *dy, const float *x, const float *gain, const float *mean,
                               const float *rstd, size_t t, size_t c, float *dx, float *d_gain, float *d_shift);
    void (*rmsnorm)(const float *x, const float *gain, float offset, float epsilon, size_t t, size_t c,
                         float *y, float *rstd);
    void (*rmsnorm_backward)(const float *dy, const float *x, const float *gain, float offset, const float *rstd,
                                  size_t t, size_t c, float *dx, float *d_gain);

    void (*activate)(enum rlhf_activation f, const float *x, size_t c, float *y);
    void (*activate_backward)(enum rlhf_activation f, const float *dy, const float *x, size_t c, float *y, float *dx);
    void (*gate)(enum rlhf_activation f, const float *gate_up, size_t t, size_t c, float *y);
    void (*gate_backward)(enum rlhf_activation f, const float *dy, const float *gate_up, size_t t, size_t c, float *y,
                          float *d_gate_up);
    void (*scale)(float *x, size_t c, float by);
    void (*soft_cap)(float *x, size_t c, float cap);
    void (*add)(const float *x, size_t count, float *y);
    void (*rope)(float *x, size_t stride, size_t heads, size_t head_stride, size_t turning,
                      const uint32_t *position, size_t t, const float *cos_sin, bool backward);
    void (*column_sums)(const float *x, size_t x_stride, size_t m, size_t n, float *sum); /* adds */

    void (*attention)(const struct rlhf_attention_task *a);
    /* The same for n tasks of one query each, in rows one behind another, whose first `shared` keys and values are those of the
     * first task: a multiple of 16, fewer than any of them has. Scratch is the first task's, for n rows of the longest. */
    void (*attention_shared)(const struct rlhf_attention_task *a, size_t n, size_t shared);
    void (*attention_backward)(const struct rlhf_attention_task *a);

    /* Over one chunk of a row of logits: m = max z, s = Σ exp(z - m), t = Σ exp(z - m)·(z - m), z = logits·scale. */
    void (*vocab_chunk)(const float *logits, size_t count, float scale, float mst[3]);
    /* The chunks' sums, [chunks][3], joined in order: log-sum-exp is most + log_sum, apart because the sum of huge logits'
     * most with it would round it away. entropy may be NULL. */
    void (*vocab_join)(const float *mst, size_t chunks, float *most, float *log_sum, float *entropy);
    /* Logits become the loss's derivative by them. target is an index into them, or anything outside. */
    void (*vocab_gradient)(float *logits, size_t count, float scale, float cap, float lse, float entropy, size_t target,
                           float d_logprob, float d_entropy);
    /* weight[i] = e^(scale logits[i] - most), the product rounded as in vocab_chunk. */
    void (*vocab_weights)(const float *logits, size_t count, float scale, float most, float *weight);

    size_t (*largest)(const float *x, size_t count);

    void (*adamw)(const struct rlhf_adamw_factors *f, float *grad, float *m, float *v, float *param,
                  size_t count);
    double (*sum_squares)(const float *x, size_t count);
};

extern const struct rlhf_kernels rlhf_generic_table, rlhf_avx2_table, rlhf_avx512_table, rlhf_avx512_bf16_table,
    rlhf_amx_table;

/* From where the micro-kernel reads w: o->b at column col (of a panel's first) and step `from` of k (even). */
void rlhf_operands_weight(struct rlhf_operands *o, const struct rlhf_packed *w, size_t col, size_t from);
/* The micro-kernel over those. */
void rlhf_tiles(const struct rlhf_packed *w, const struct rlhf_operands *o, size_t m, size_t cols, size_t k);

/* product.c: sum[n] adds the columns of x [m, n]. */
void rlhf_column_sums(const float *x, size_t stride, size_t m, size_t n, float *sum, struct rlhf_pool *pool);

/* rounded.c: `rows` steps of cols columns as panels, `panel` words apart. */
void rlhf_round_panels(const float *from, size_t stride, size_t rows, size_t cols, float *to, size_t panel);
/* Columns col .. of y = start + x·w over steps from .. to - 1 of k (from is a multiple of 32, to is or is k), x and
 * w rounded to bfloat16; x begins at step `from`. On this thread. */
void rlhf_rounded_product(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, size_t col, size_t cols,
                          size_t from, size_t to, const float *start, float *y, size_t y_stride);
/* rlhf_linear() of a w whose products are RLHF_PRODUCTS_BF16. */
void rlhf_rounded_linear(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, const float *bias,
                         bool accumulate, float *y, size_t y_stride, struct rlhf_pool *pool);
/* The chosen set. Before rlhf_tensor_start() the one that cpuid suggests. */
const struct rlhf_kernels *rlhf_kernels(void);
/* For tests: makes the named set the chosen one. False when this machine (or build) has none of that name. */
bool rlhf_kernels_choose(const char *name);

/* This thread's scratch memory, at least that many floats, aligned to 64 bytes, valid until the next call on
 * this thread. The second is another block of the calling thread, for what an operation shares with its tasks. */
float *rlhf_scratch(size_t floats);
float *rlhf_shared_scratch(size_t floats);
/* Three more such blocks, for operands that were rounded: they live beside the others. */
float *rlhf_rounded_scratch(size_t floats);
float *rlhf_shared_rounded_scratch(size_t floats);
float *rlhf_shared_columns_scratch(size_t floats);

#endif
