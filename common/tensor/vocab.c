/* vocab.c - log-probs over a vocabulary, logits in tiles or kept for backward.
 *
 * A row's sums are those of its chunks of CHUNK columns, joined in order: whoever computes a chunk, and
 * whether the logits come from a product or from memory, the bits are the same. */
#include "tensor/ops.h"

#include <string.h>

#include "tensor/kernels.h"

enum {
    CHUNK = 512,
    WIDE = 4 * CHUNK, /* columns that backward does at once where logits are kept */
    BLOCK_ROWS = 112, /* rows a task takes, at most: 8 micro-kernels of 14 */
    BLOCK_K = 256,
    TILE_COLS = 32,
    LEAST_WORK = 1 << 20, /* multiplications worth a task of their own */
    IN_L2 = 200000,       /* numbers of a weight that a task multiplies all its rows by, 0.8 MB */
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks(size_t count, size_t block)
{
    return (count + block - 1) / block;
}

struct vocab {
    const struct rlhf_packed *w, *back;
    const float *hidden, *lse, *entropy, *d_logprob, *d_entropy;
    const int32_t *target;
    size_t n, chunks, row_blocks, rows, chunks_a_task;
    float scale; /* 1/temperature */
    float cap;   /* 0: none */
    float *mst;    /* [n][chunks][3], and behind it the targets' logits [n] */
    float *target_logit;
    float *logits;      /* rows of `stride`; forward: NULL when they are not kept */
    size_t stride;
    size_t back_cols;   /* backward: of d_hidden that a task does */
    size_t col, cols;   /* backward: those being done, which are logits' first unless all are kept */
    bool kept;
    float *d_hidden;
};

/* Columns [col, col + cols) of start + x·w over k from .. to - 1, one chain as in rlhf_linear(); x begins at `from`. */
static void product(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, size_t col, size_t cols,
                    size_t from, size_t to, const float *start, float *y, size_t y_stride)
{
    if (w->products == RLHF_PRODUCTS_BF16) {
        rlhf_rounded_product(w, x, x_stride, m, col, cols, from, to, start, y, y_stride);
        return;
    }
    struct rlhf_operands o = { .a = x, .a_stride = x_stride, .start = start, .start_stride = y_stride, .y = y,
                               .y_stride = y_stride };
    do {
        size_t step = least(to - from, BLOCK_K);
        rlhf_operands_weight(&o, w, col, from);
        rlhf_tiles(w, &o, m, cols, step);
        from += step;
        o.a += step;
        o.start = y;
    } while (from < to);
}

/* Tasks of as many rows each as possible, two at least where there are rows for two threads. */
static void share_rows(struct vocab *v)
{
    v->row_blocks = blocks(v->n, BLOCK_ROWS);
    if (v->row_blocks % 2 && v->n > BLOCK_ROWS / 4)
        v->row_blocks++;
    v->rows = blocks(v->n, v->row_blocks);
    v->row_blocks = blocks(v->n, v->rows);
}

static void logprobs_part(void *ctx, size_t index)
{
    const struct vocab *v = ctx;
    size_t row = index % v->row_blocks * v->rows, m = least(v->n - row, v->rows);
    size_t first = index / v->row_blocks * v->chunks_a_task, last = least(first + v->chunks_a_task, v->chunks);
    float *tile = v->logits ? NULL : rlhf_scratch(BLOCK_ROWS * CHUNK);

    for (size_t chunk = first; chunk < last; chunk++) {
        size_t col = chunk * CHUNK, cols = least(v->w->n - col, CHUNK);
        float *logits = tile ? tile : v->logits + row * v->stride + col;
        product(v->w, v->hidden + row * v->w->k, v->w->k, m, col, cols, 0, v->w->k, NULL, logits, v->stride);
        for (size_t i = 0; i < m; i++, logits += v->stride) {
            size_t at = (size_t)v->target[row + i] - col;
            if (v->cap > 0)
                rlhf_kernels()->soft_cap(logits, cols, v->cap);
            rlhf_kernels()->vocab_chunk(logits, cols, v->scale, v->mst + ((row + i) * v->chunks + chunk) * 3);
            if (at < cols)
                v->target_logit[row + i] = logits[at];
        }
    }
}

/* The scaled logit is rounded as the kernels round it. In double the rest is exact enough for any order. */
static float logprob_of(float logit, float scale, float most, float log_sum)
{
    float z = logit * scale;
    return (float)((double)z - (double)most - (double)log_sum);
}

void rlhf_vocab_logprobs(const struct rlhf_packed *w, const float *hidden, const int32_t *target, size_t n,
                         float cap, float temperature, float *logprob, float *entropy, float *lse, float *logits,
                         struct rlhf_pool *pool)
{
    struct vocab v = { .w = w, .hidden = hidden, .target = target, .n = n, .chunks = blocks(w->n, CHUNK),
                       .scale = 1.0f / temperature, .cap = cap, .logits = logits, .stride = logits ? w->n : CHUNK };

    if (n == 0)
        return;
    share_rows(&v);
    v.mst = rlhf_shared_scratch(n * v.chunks * 3 + n);
    v.target_logit = v.mst + n * v.chunks * 3;
    v.chunks_a_task = blocks(LEAST_WORK, v.rows * CHUNK * w->k);
    rlhf_pool_for(n * w->n * w->k < (1 << 20) ? NULL : pool, v.row_blocks * blocks(v.chunks, v.chunks_a_task),
                  logprobs_part, &v);
    for (size_t i = 0; i < n; i++) {
        float most, log_sum;
        rlhf_kernels()->vocab_join(v.mst + i * v.chunks * 3, v.chunks, &most, &log_sum,
                                   entropy ? &entropy[i] : NULL);
        lse[i] = most + log_sum;
        logprob[i] = logprob_of(v.target_logit[i], v.scale, most, log_sum);
    }
}

/* [chunks][3] */
static void sum_chunks(const float *logits, size_t v, float scale, float *mst)
{
    for (size_t from = 0; from < v; from += CHUNK, mst += 3)
        rlhf_kernels()->vocab_chunk(logits + from, least(v - from, CHUNK), scale, mst);
}

void rlhf_vocab_row(const float *logits, size_t v, float temperature, float *most, float *log_sum, float *entropy)
{
    size_t chunks = blocks(v, CHUNK);
    float *mst = rlhf_scratch(chunks * 3);

    sum_chunks(logits, v, 1.0f / temperature, mst);
    rlhf_kernels()->vocab_join(mst, chunks, most, log_sum, entropy);
}

float rlhf_vocab_logprob_row(const float *logits, size_t v, float temperature, int32_t target)
{
    float most, log_sum;

    rlhf_vocab_row(logits, v, temperature, &most, &log_sum, NULL);
    return logprob_of(logits[target], 1.0f / temperature, most, log_sum);
}

void rlhf_vocab_weights_row(const float *logits, size_t v, float temperature, float most, float *weight)
{
    rlhf_kernels()->vocab_weights(logits, v, 1.0f / temperature, most, weight);
}

size_t rlhf_vocab_largest(const float *x, size_t count)
{
    return rlhf_kernels()->largest(x, count);
}

/* The first of `count` logits up to which the weights e^(logit·scale - max), max being theirs, sum to more than `share`. */
static size_t draw_in_chunk(const float *logits, size_t count, float scale, float max, double share)
{
    float weight[CHUNK];
    double sum = 0;
    size_t i = 0;

    rlhf_kernels()->vocab_weights(logits, count, scale, max, weight);
    for (; i < count; i++)
        if ((sum += (double)weight[i]) > share)
            return i;
    while (!(weight[--i] > 0)) /* rounded, the sum fell short of its share: the last that can be */
        ;
    return i;
}

/* Chunks are skipped by their sums. Those are of 32 floats a lane: their error is about that of a draw, 2^-24. */
size_t rlhf_vocab_draw_row(const float *logits, size_t v, float temperature, float u, float *logprob)
{
    const float scale = 1.0f / temperature;
    const size_t chunks = blocks(v, CHUNK);
    float *mst = rlhf_scratch(chunks * 4), *max = mst + chunks * 3, most, log_sum;
    double total = 0, wanted;
    size_t chunk, last = 0;

    sum_chunks(logits, v, scale, mst);
    rlhf_kernels()->vocab_join(mst, chunks, &most, &log_sum, NULL);
    for (size_t i = 0; i < chunks; i++)
        max[i] = mst[3 * i];
    rlhf_kernels()->vocab_weights(max, chunks, 1, most, max); /* e^(max - most) */
    for (size_t i = 0; i < chunks; i++) {
        double share = (double)max[i] * (double)mst[3 * i + 1];

        total += share;
        last = share > 0 ? i : last;
    }
    wanted = (double)u * total;
    for (chunk = 0; chunk < last && (double)max[chunk] * (double)mst[3 * chunk + 1] <= wanted; chunk++)
        wanted -= (double)max[chunk] * (double)mst[3 * chunk + 1];
    size_t token = chunk * CHUNK + draw_in_chunk(logits + chunk * CHUNK, least(v - chunk * CHUNK, CHUNK), scale, mst[3 * chunk],
                                                 wanted / (double)max[chunk]);
    *logprob = logprob_of(logits[token], scale, most, log_sum);
    return token;
}

/* ---- backward -------------------------------------------------------------------------------------- */

static float *gradient_at(const struct vocab *v, size_t row)
{
    return v->logits + row * v->stride + (v->kept ? v->col : 0);
}

static void gradient_part(void *ctx, size_t index)
{
    const struct vocab *v = ctx;
    size_t row = index * v->rows, m = least(v->n - row, v->rows), c = v->back->n;
    float *logits = gradient_at(v, row);

    if (!v->kept)
        product(v->w, v->hidden + row * c, c, m, v->col, v->cols, 0, c, NULL, logits, v->stride);
    for (size_t i = 0; i < m; i++) {
        float *z = logits + i * v->stride;

        if (v->cap > 0 && !v->kept)
            rlhf_kernels()->soft_cap(z, v->cols, v->cap);
        rlhf_kernels()->vocab_gradient(z, v->cols, v->scale, v->cap, v->lse[row + i],
                                       v->d_entropy ? v->entropy[row + i] : 0, (size_t)v->target[row + i] - v->col,
                                       v->d_logprob[row + i], v->d_entropy ? v->d_entropy[row + i] : 0);
    }
}

/* The part of d_hidden that comes from the columns being done; a task's share of the weight stays in L2 for all rows. */
static void hidden_part(void *ctx, size_t index)
{
    const struct vocab *v = ctx;
    size_t row = index % v->row_blocks * v->rows, m = least(v->n - row, v->rows), c = v->back->n;
    size_t col = index / v->row_blocks * v->back_cols;
    float *d_hidden = v->d_hidden + row * c + col;

    product(v->back, gradient_at(v, row), v->stride, m, col, least(c - col, v->back_cols), v->col, v->col + v->cols,
            v->col ? d_hidden : NULL, d_hidden, c);
}

void rlhf_vocab_logprobs_backward(const struct rlhf_packed *w, const struct rlhf_packed *w_back,
                                  const float *hidden, const int32_t *target, size_t n, float cap,
                                  float temperature, const float *lse, const float *entropy, const float *d_logprob,
                                  const float *d_entropy, float *logits, float *d_hidden, float *d_w,
                                  struct rlhf_pool *pool)
{
    struct vocab v = { .w = w, .back = w_back, .hidden = hidden, .lse = lse, .entropy = entropy,
                       .d_logprob = d_logprob, .d_entropy = d_entropy, .target = target, .n = n,
                       .scale = 1.0f / temperature, .cap = cap, .logits = logits, .stride = logits ? w_back->k : CHUNK,
                       .kept = logits != NULL, .d_hidden = d_hidden };
    size_t step = logits ? WIDE : CHUNK, c = w_back->n;

    if (n == 0)
        return;
    share_rows(&v);
    v.back_cols = blocks(c, blocks(c * least(step, w_back->k), IN_L2));
    v.back_cols = blocks(v.back_cols, TILE_COLS) * TILE_COLS;
    if (!logits)
        v.logits = rlhf_shared_scratch(n * CHUNK);
    for (; v.col < w_back->k; v.col += step) {
        v.cols = least(w_back->k - v.col, step);
        rlhf_pool_for(pool, v.row_blocks, gradient_part, &v);
        rlhf_pool_for(pool, v.row_blocks * blocks(c, v.back_cols), hidden_part, &v);
        if (d_w)
            (w_back->products == RLHF_PRODUCTS_BF16 ? rlhf_linear_backward_weight_rounded : rlhf_linear_backward_weight)(
                v.logits + (logits ? v.col : 0), v.stride, hidden, c, n, v.cols, c, false, d_w + v.col * c, NULL, pool);
    }
}
