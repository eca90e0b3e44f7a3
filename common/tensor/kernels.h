/* kernels.h - the inner loops, as a table: one table a kernel set, one chosen at start.
 *
 * A kernel works on one thread and on the part of an operation that it is given; the files beside this folder
 * (product.c, rows.c, ...) split an operation into such parts. kernel/NAME.c is compiled once for every kernel
 * set. Private to the room. */
#ifndef RLHF_TENSOR_KERNELS_H
#define RLHF_TENSOR_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/ops.h"

enum {
    RLHF_LANES = 16,          /* weights and keys are kept in panels of 16 columns, [panel][k][16] */
    RLHF_VOCAB_CHUNK = 512,   /* logits are summed up in chunks of so many, then the chunks        */
    RLHF_ATTENTION_ROWS = 28, /* queries a block                                                   */
};

/* y[m, cols] = start + a·b, each output one chain of FMAs in k order. a(r, k) is a[r·a_stride + k], or with by_columns
 * a[k·a_stride + r]. b(k, v, ·) is the 16 floats at b[k·b_stride + v·panel_size]; whole panels are read. start_stride 0
 * repeats one row; start NULL is zero; start may be y. */
struct rlhf_product {
    const float *a;
    size_t a_stride;
    const float *b;
    size_t b_stride, panel_size;
    const float *start;
    size_t start_stride;
    float *y;
    size_t y_stride;
};

/* Queries of one head, rows consecutive positions from `before` on; query r attends to keys 0 .. before + r. Keys in panels
 * [D][16] every panel_size floats, values as rows of at least D rounded up to 16. scratch: [rows, keys rounded up to 16]. */
struct rlhf_attention_rows {
    const float *q;
    size_t q_stride, rows, before, d;
    float scale;
    const float *keys;
    size_t panel_size;
    const float *values;
    size_t value_stride;
    float *out;
    size_t out_stride;
    float *lse; /* [rows], may be NULL */
    float *scratch;
};

/* The same backwards. key_rows, query rows and d_out rows as they lie; value_panels as keys. d_q is overwritten, d_keys and d_values
 * [keys, d_stride] add. scratch: twice [rows, keys rounded up to 16]. */
struct rlhf_attention_rows_backward {
    const float *q, *d_out, *out;
    size_t q_stride, out_stride, rows, before, d;
    float scale;
    const float *keys, *values; /* panels, panel_size apart */
    size_t panel_size;
    const float *key_rows, *q_rows, *d_out_rows; /* padded to a multiple of 16 columns */
    size_t key_stride, q_rows_stride, d_out_rows_stride;
    const float *lse;
    float *d_q;
    size_t d_q_stride;
    float *d_keys, *d_values;
    size_t d_stride;
    float *scratch;
};

struct rlhf_kernels {
    const char *name;
    void (*product)(const struct rlhf_product *p, bool by_columns, size_t m, size_t cols, size_t k);
    /* Panel number `panel` of the packed form of w, zeros in columns past n. */
    void (*pack)(const float *w, size_t n, size_t k, bool transposed, size_t panel, float *out);

    void (*layernorm)(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c, float *y,
                      float *mean, float *rstd);
    void (*layernorm_backward)(const float *dy, const float *x, const float *gain, const float *mean, const float *rstd,
                               size_t t, size_t c, float *dx);
    /* Columns [from, to): d_gain += Σ_t dy·(x - mean)·rstd, d_shift += Σ_t dy; mean and d_shift may be NULL. */
    void (*norm_backward_gain)(const float *dy, const float *x, const float *mean, const float *rstd, size_t t, size_t c,
                               size_t from, size_t to, float *d_gain, float *d_shift);
    void (*rmsnorm)(const float *x, const float *gain, float epsilon, size_t t, size_t c, float *y, float *rstd);
    void (*rmsnorm_backward)(const float *dy, const float *x, const float *gain, const float *rstd, size_t t, size_t c,
                             float *dx);
    void (*gelu)(const float *x, size_t count, float *y);
    void (*gelu_backward)(const float *dy, const float *x, size_t count, float *dx);
    void (*swiglu)(const float *gate_up, size_t t, size_t m, float *y);
    void (*swiglu_backward)(const float *dy, const float *gate_up, size_t t, size_t m, float *d_gate_up);
    void (*add)(const float *x, size_t count, float *y);
    void (*column_sums)(const float *x, size_t x_stride, size_t t, size_t from, size_t to, float *sum); /* adds */
    void (*rope)(float *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t, const float *cos_sin,
                 bool backward);

    void (*attention)(const struct rlhf_attention_rows *a);
    void (*attention_backward)(const struct rlhf_attention_rows_backward *a);

    /* Over up to RLHF_VOCAB_CHUNK logits of a row, z = logit·scale: m = max z, s = Σ e^(z-m), t = Σ e^(z-m)·(z-m). */
    void (*vocab_chunk)(const float *logits, size_t count, float scale, float *m, float *s, float *t);
    /* The chunks of a row together: the largest z, ln Σ e^(z-max), and the distribution's entropy. */
    void (*vocab_join)(const float *m, const float *s, const float *t, size_t chunks, float *max, float *log_sum,
                       float *entropy);
    /* logits become the loss's derivative by them. target: index in this chunk, or anything outside of it. */
    void (*vocab_gradient)(float *logits, size_t count, float scale, float lse, float entropy, size_t target,
                           float d_logprob, float d_entropy);

    void (*adamw)(const struct rlhf_adamw *a, float grad_scale, bool decay, const float *grad, float *m, float *v,
                  float *param, size_t count);
    double (*sum_squares)(const float *x, size_t count);
};

/* machine.c: the set in use; chosen at the first call. */
const struct rlhf_kernels *rlhf_kernels(void);
/* For tests: the set of that name, NULL where this machine cannot run it; and which one is in use. */
const struct rlhf_kernels *rlhf_kernels_named(const char *name);
void rlhf_kernels_use(const struct rlhf_kernels *k);

/* machine.c: row-major sgemm of OpenBLAS, c[m, n] += op(a)·op(b); NULL until rlhf_tensor_start() loaded it. */
typedef void rlhf_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc);
extern rlhf_sgemm *rlhf_blas_sgemm;

/* scratch.c: memory of the calling thread that only grows; slot 0 .. 3 are independent. Aborts when there is none: a
 * kernel cannot fail. */
float *rlhf_scratch(unsigned slot, size_t count);

static inline size_t rlhf_round16(size_t n)
{
    return (n + 15) / 16 * 16;
}

#endif
