/* ops.h - the operations a transformer is made of, forward and backward, in fp32.
 *
 * Arrays are row-major and packed. Letters: T tokens (rows), K inputs and N outputs of a product, C
 * channels, H heads, G key/value heads, D head size, V vocabulary.
 *
 * Promises: a row of a forward result depends only on that row's inputs and the weights, not on how many
 * other rows there are, where the row stands, or how many threads work (batch invariance, bit for bit);
 * every reduction has a fixed order that no instruction set with FMA changes (16 virtual lanes, folded as a
 * tree). Weight gradients are sums over tokens in an order fixed by the shapes. Each operation has its plain
 * twin in ops_reference.h (double inside) that the tests compare it with. Gradients are added to (+=) where
 * the comment says "adds", overwritten elsewhere. pool may be NULL. */
#ifndef RLHF_TENSOR_OPS_H
#define RLHF_TENSOR_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"

/* ---- numbers as files store them -------------------------------------------------------------------- */

enum rlhf_number { RLHF_NUMBER_F32, RLHF_NUMBER_BF16, RLHF_NUMBER_F16 };
static inline size_t rlhf_number_size(enum rlhf_number n) { return n == RLHF_NUMBER_F32 ? 4 : 2; }

/* Exactly to fp32. from may be of any alignment. */
void rlhf_widen(enum rlhf_number number, const void *from, size_t count, float *to);
/* Rounded to nearest, ties to even. Returns how many could be written before one that is not finite or too large for the
 * number: count when all were. */
size_t rlhf_narrow(enum rlhf_number number, const float *from, size_t count, void *to);
bool rlhf_weights_finite(const float *x, size_t count);
/* Each of `cols` numbers in rows of stride becomes the bfloat16 next to it (ties to even), still as a float. */
void rlhf_round_halves(float *x, size_t stride, size_t rows, size_t cols, struct rlhf_pool *pool);

/* ---- products -------------------------------------------------------------------------------------- */

/* How a product multiplies: its operands as they are, or both rounded to bfloat16 (nearest, ties to even). Sums are fp32
 * either way. Of rounded operands an output's order is that of the TDPBF16PS instruction, with or without it: blocks of 32
 * steps of K are added one after another, each the sum of a chain of its even and a chain of its odd steps, subnormal numbers
 * taken for zeros. So all processors give the same bits. */
enum rlhf_products { RLHF_PRODUCTS_F32, RLHF_PRODUCTS_BF16 };
const char *rlhf_products_name(enum rlhf_products p); /* "fp32", "bf16" */
bool rlhf_products_named(const char *name, enum rlhf_products *p);

/* Weights laid out for the micro-kernel: panels of output columns, K innermost order fixed. Halves are bfloat16, two steps of
 * K in a word of panels: half the memory to read, and the bits that the same weights in fp32 give. Only halves may be
 * multiplied by rounded inputs, RLHF_PRODUCTS_BF16. */
struct rlhf_packed {
    float *panels;
    size_t n, k;
    bool halves;
    enum rlhf_products products;
    size_t room; /* bytes at panels, of which a smaller weight leaves some unused */
};
/* w is [n, k] (transposed = false: torch Linear) or [k, n] (transposed = true: GPT-2's Conv1D, or the same
 * Linear weight for the backward product). Reuses p's memory when there is enough of it. */
int rlhf_pack(struct rlhf_packed *p, const float *w, size_t n, size_t k, bool transposed,
              struct rlhf_pool *pool, struct rlhf_error *err);
/* The same for products of rounded operands. */
int rlhf_pack_rounded(struct rlhf_packed *p, const float *w, size_t n, size_t k, bool transposed, struct rlhf_pool *pool,
                      struct rlhf_error *err);
/* The same for a weight that is never trained and lies in pieces: those matrices one below another, as files store them.
 * With halves they are rounded to bfloat16. RLHF_CORRUPT when a weight is not finite (or, with halves, too large). */
struct rlhf_piece {
    const void *data; /* of any alignment */
    enum rlhf_number number;
    size_t rows;
};
int rlhf_pack_pieces(struct rlhf_packed *p, const struct rlhf_piece *pieces, size_t count, size_t n, size_t k,
                     bool transposed, bool halves, struct rlhf_pool *pool, struct rlhf_error *err);
void rlhf_packed_free(struct rlhf_packed *p);

/* y[m, n] = x[m, k] · w + bias (bias may be NULL), or y += with accumulate. Rows of x are x_stride floats
 * apart and rows of y y_stride. Each output is one chain of FMAs in k order, starting from bias (or y); with
 * RLHF_PRODUCTS_BF16 the chain of blocks above. */
void rlhf_linear(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, const float *bias,
                 bool accumulate, float *y, size_t y_stride, struct rlhf_pool *pool);

/* dw adds dyᵀ·x: dw is [n, k], or [k, n] when transposed; db (may be NULL) adds the column sums of dy. Through
 * OpenBLAS in slabs fixed by the shapes. */
void rlhf_linear_backward_weight(const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t m,
                                 size_t n, size_t k, bool transposed, float *dw, float *db,
                                 struct rlhf_pool *pool);
/* The same of dy and x rounded to bfloat16, with tokens for K: one chain of blocks of 32 tokens, from dw. */
void rlhf_linear_backward_weight_rounded(const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t m,
                                         size_t n, size_t k, bool transposed, float *dw, float *db,
                                         struct rlhf_pool *pool);

/* ---- rows ------------------------------------------------------------------------------------------ */

/* y[t] = table[token[t]] (+ position_table[position[t]] when not NULL); rows of C. */
void rlhf_embed(const float *table, const int32_t *token, const float *position_table, const uint32_t *position,
                size_t t, size_t c, float *y, struct rlhf_pool *pool);
/* Adds dy to the rows of the tables' gradients, in token order. */
void rlhf_embed_backward(const float *dy, const int32_t *token, const uint32_t *position, size_t t, size_t c,
                         float *d_table, float *d_position_table, struct rlhf_pool *pool);

/* y = (x - mean) · rstd · gain + shift; statistics kept for backward: mean[T], rstd[T]. */
void rlhf_layernorm(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c,
                    float *y, float *mean, float *rstd, struct rlhf_pool *pool);
/* dx adds (residual streams meet there); d_gain, d_shift add. */
void rlhf_layernorm_backward(const float *dy, const float *x, const float *gain, const float *mean,
                             const float *rstd, size_t t, size_t c, float *dx, float *d_gain, float *d_shift,
                             struct rlhf_pool *pool);
/* y = x · rstd · (offset + gain), rstd = 1/sqrt(mean(x²) + epsilon). Offset is 0, or 1 (Gemma). */
void rlhf_rmsnorm(const float *x, const float *gain, float offset, float epsilon, size_t t, size_t c, float *y,
                  float *rstd, struct rlhf_pool *pool);
void rlhf_rmsnorm_backward(const float *dy, const float *x, const float *gain, float offset, const float *rstd,
                           size_t t, size_t c, float *dx, float *d_gain, struct rlhf_pool *pool);
/* The same of each of `heads` heads of D that begin each of T rows: x has rows of x_stride, y of y_stride (x may be
 * y); rstd is [T, heads]. Backward overwrites: dy becomes dx in place. */
void rlhf_head_norm(const float *x, size_t x_stride, const float *gain, float offset, float epsilon, size_t t,
                    size_t heads, size_t d, float *y, size_t y_stride, float *rstd, struct rlhf_pool *pool);
void rlhf_head_norm_backward(const float *x, size_t x_stride, const float *gain, float offset, const float *rstd,
                             size_t t, size_t heads, size_t d, float *dy, size_t dy_stride, float *d_gain,
                             struct rlhf_pool *pool);

/* f of the feed-forward layer: GELU in its tanh form (GPT-2's gelu_new), GELU as it is defined (x·Φ(x)), SiLU. */
enum rlhf_activation { RLHF_GELU_TANH, RLHF_GELU, RLHF_SILU, RLHF_ACTIVATIONS };
void rlhf_activate(enum rlhf_activation f, const float *x, size_t count, float *y, struct rlhf_pool *pool);
/* y is written again, which costs little beside its slope, so that forward need not keep it. */
void rlhf_activate_backward(enum rlhf_activation f, const float *dy, const float *x, size_t count, float *y, float *dx,
                            struct rlhf_pool *pool);
/* y = f(gate) · up, gate and up in one row [gate M | up M] of gate_up [T, 2M]; dgate_up likewise. Backward writes y again. */
void rlhf_gate(enum rlhf_activation f, const float *gate_up, size_t t, size_t m, float *y, struct rlhf_pool *pool);
void rlhf_gate_backward(enum rlhf_activation f, const float *dy, const float *gate_up, size_t t, size_t m,
                        float *y, float *d_gate_up, struct rlhf_pool *pool);

void rlhf_add(const float *x, size_t count, float *y, struct rlhf_pool *pool); /* y += x */
void rlhf_scale(float *x, size_t count, float by, struct rlhf_pool *pool);     /* x *= by */
/* x = cap · tanh(x / cap), in place. */
void rlhf_soft_cap(float *x, size_t count, float cap, struct rlhf_pool *pool);

/* How rotary frequencies are stretched beyond the context that a model was first trained with. */
enum rlhf_rope_type { RLHF_ROPE_PLAIN, RLHF_ROPE_LINEAR, RLHF_ROPE_DYNAMIC, RLHF_ROPE_YARN, RLHF_ROPE_LLAMA3 };
struct rlhf_rope_scaling {
    enum rlhf_rope_type type;
    double factor;
    double low_frequency, high_frequency; /* Llama 3: wavelengths from original/high to original/low are blended    */
    double beta_fast, beta_slow;          /* YaRN: turns within `original` between which dimensions are blended     */
    bool whole;                           /* YaRN: the dimensions found from these are rounded outwards              */
    double amplitude;                     /* YaRN: of cosine and sine (transformers' attention_factor); 0 = 1        */
    uint32_t original;                    /* positions of the first training; linear: not used                      */
};
/* cos_sin is [context][D] (cos D/2, sin D/2) of D dimensions that turn. scaling may be NULL (plain). Frequencies and angles
 * are rounded to fp32 as models that transformers trained have them: far from the start that rounding is most of an
 * angle's error. Dynamic: `length` is the longest sequence computed together, from which the frequencies follow once it is above `original`. */
void rlhf_rope_table(float theta, const struct rlhf_rope_scaling *scaling, size_t length, size_t context, size_t d,
                     float *cos_sin);
/* Rotary position embedding in place, halves convention, on the first `turning` dimensions of `heads` heads that stand
 * head_stride floats apart in rows of `stride`. cos_sin is of `turning` dimensions. backward = true is its transpose. */
void rlhf_rope(float *x, size_t stride, size_t heads, size_t head_stride, size_t turning, const uint32_t *position,
               size_t t, const float *cos_sin, bool backward, struct rlhf_pool *pool);

/* ---- attention ------------------------------------------------------------------------------------- */

/* Causal attention over packed sequences. qkv rows are [q H·D | k G·D | v G·D], or, interleaved and G = H, [H][q D | k D
 * | v D]; sequence s is rows start[s] .. start[s+1]. A score is q·k times scale, then capped (cap·tanh(score/cap)); a
 * token sees the last `window` tokens up to itself, and work and memory follow the window. out is [T, H·D]. lse [H, T]
 * (natural log-sum-exp of the scores) is kept for backward; may be NULL. Memory beyond out and lse is bounded by blocks,
 * not T². */
struct rlhf_attention_shape {
    const uint32_t *start; /* [B + 1] */
    size_t sequences;
    const uint32_t *prefix; /* [B], forward only: tokens before a sequence's rows, which are the first of the last sequence before
                             * it that has none; NULL: none has any */
    size_t heads, kv_heads, d;
    float scale;   /* 0: 1/sqrt(D) */
    float cap;     /* 0: none      */
    size_t window; /* 0: none      */
    bool interleaved;
    bool halves; /* of caches: they hold bfloat16 */
};
void rlhf_attention(const struct rlhf_attention_shape *s, const float *qkv, float *out, float *lse,
                    struct rlhf_pool *pool);
void rlhf_attention_backward(const struct rlhf_attention_shape *s, const float *d_out, const float *qkv,
                             const float *out, const float *lse, float *d_qkv, struct rlhf_pool *pool);

/* The same for rows whose keys and values are in a cache: bit-equal to rlhf_attention for the same tokens. The shape's
 * start and sequences are not looked at.
 * Item i has count[i] new rows of qkv (packed one item after another); its cache already holds length[i]
 * tokens; the new keys and values are stored behind them first. One item's cache for one layer has room for `room`
 * tokens, a multiple of 16, in a block each for keys and values: panels of 16 keys and rows of values, heads apart. With halves,
 * which wants keys and values that rlhf_round_halves() has rounded, a word holds two steps: of D in keys, two tokens in values. */
struct rlhf_attention_item {
    float *keys, *values;
    size_t room, length, count;
    size_t shared; /* of its tokens, how many at the beginning are those of the item before it: then they are read once for both */
};
/* Floats of either block, no fewer with a larger room. */
size_t rlhf_attention_block(const struct rlhf_attention_shape *s, size_t room);
/* Item `to` gets the first `length` tokens of `from`; their rooms may differ. */
void rlhf_attention_copy(const struct rlhf_attention_shape *s, const struct rlhf_attention_item *from,
                         const struct rlhf_attention_item *to, size_t length);
void rlhf_attention_extend(const struct rlhf_attention_shape *s, const struct rlhf_attention_item *items, size_t count,
                           const float *qkv, float *out, struct rlhf_pool *pool);

/* ---- vocabulary ------------------------------------------------------------------------------------ */

/* For each of n rows of hidden [n, C]: logprob = log softmax(logits / temperature)[target], logits = hidden·w, or
 * cap·tanh(hidden·w / cap) with a cap that is not 0; entropy (may be NULL) of that distribution, lse kept for backward.
 * Logits exist in tiles only, unless there is room to keep them, logits [n, V]: that saves backward a product. */
void rlhf_vocab_logprobs(const struct rlhf_packed *w, const float *hidden, const int32_t *target, size_t n,
                         float cap, float temperature, float *logprob, float *entropy, float *lse, float *logits,
                         struct rlhf_pool *pool);
/* The same for one row of logits that is in memory, bit for bit, so that what a sampler records is what
 * scoring computes: log softmax(logits / temperature)[target]. -inf logits have probability 0. */
float rlhf_vocab_logprob_row(const float *logits, size_t v, float temperature, int32_t target);
/* The same row's softmax in parts: log p_i = logits[i]/temperature - *most - *log_sum; entropy in nats. */
void rlhf_vocab_row(const float *logits, size_t v, float temperature, float *most, float *log_sum, float *entropy);
/* weight[i] = e^(logits[i]/temperature - most), 0 below e^-86.5; the same bits on all processors of one class. */
void rlhf_vocab_weights_row(const float *logits, size_t v, float temperature, float most, float *weight);
/* The first of the largest of count > 0 floats, none of them NaN. */
size_t rlhf_vocab_largest(const float *x, size_t count);
/* The token below which a share u, from 0 to below 1, of softmax(logits / temperature) lies, in order of ids, and its log-prob:
 * that of rlhf_vocab_logprob_row(), which reads the row as often. */
size_t rlhf_vocab_draw_row(const float *logits, size_t v, float temperature, float u, float *logprob);
/* d_hidden [n, C] overwritten; d_w [V, C] adds; NULL: not wanted. w_back is the packed transpose (for d_hidden). d_entropy may
 * be NULL. logits are those that were kept, and become their gradient; NULL: they are computed anew, from w, which else is not looked at. */
void rlhf_vocab_logprobs_backward(const struct rlhf_packed *w, const struct rlhf_packed *w_back,
                                  const float *hidden, const int32_t *target, size_t n, float cap,
                                  float temperature, const float *lse, const float *entropy, const float *d_logprob,
                                  const float *d_entropy, float *logits, float *d_hidden, float *d_w,
                                  struct rlhf_pool *pool);

/* ---- optimiser ------------------------------------------------------------------------------------- */

struct rlhf_adamw {
    float lr, beta1, beta2, epsilon, weight_decay; /* decoupled decay (Loshchilov & Hutter 2019) */
    uint64_t step;                                 /* 1 at the first update: bias correction     */
    bool epsilon_inside_tf1; /* epsilon placed as TF1's Adam does (recipe.md), not as PyTorch's  */
};
/* grad is multiplied by grad_scale first (clipping), and is zeros afterwards, ready for the next step. weight_decay applies where
 * decay is true. */
void rlhf_adamw_step(const struct rlhf_adamw *a, float grad_scale, bool decay, float *grad, float *m,
                     float *v, float *param, size_t count, struct rlhf_pool *pool);
/* Sum of squares in double, fixed order; NaN or Inf inside shows in the result. */
double rlhf_sum_squares(const float *x, size_t count, struct rlhf_pool *pool);

/* ---- the machine ----------------------------------------------------------------------------------- */

/* Chooses kernels from cpuid (RLHF_ISA=generic|avx2|avx512|avx512_bf16|amx overrides), sets OPENBLAS_CORETYPE and
 * OPENBLAS_NUM_THREADS=1, then loads OpenBLAS with dlopen and checks openblas_get_corename(). Matrix tiles (amx) are tried in a
 * child process first, since there are machines that announce them and then kill who uses them, and used if a short
 * measurement says that they pay. The sets avx512, avx512_bf16 and amx differ in speed alone. Call once before anything else
 * here; a second call is free. */
int rlhf_tensor_start(struct rlhf_error *err);
/* One line for the log: kernel set, OpenBLAS version, core type wanted and loaded. Static storage. */
const char *rlhf_tensor_profile(void);

#endif
