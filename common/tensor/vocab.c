/* vocab.c - log-probs of targets under a vocabulary's softmax, without holding all logits. */
#include <string.h>

#include "tensor/kernels.h"

enum {
    BLOCK_ROWS = 56,            /* a task's rows: four tiles of fourteen */
    GRADIENT_FLOATS = 1 << 22,  /* of logits held at a time backwards    */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

struct job {
    const struct rlhf_packed *w, *w_back;
    const float *hidden, *lse_in, *entropy_in, *d_logprob, *d_entropy;
    const int32_t *target;
    size_t n; /* rows */
    float scale;
    float *logprob, *entropy, *lse, *logits, *d_hidden;
};

static void logits_of(const struct job *j, size_t row, size_t rows, size_t from, size_t count, float *logits, size_t stride)
{
    struct rlhf_product p = { .a = j->hidden + row * j->w->k, .a_stride = j->w->k, .b = j->w->panels + from * j->w->k,
                              .b_stride = 16, .panel_size = 16 * j->w->k, .y = logits, .y_stride = stride };

    rlhf_kernels()->product(&p, false, rows, count, j->w->k);
}

static void forward(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t row = index * BLOCK_ROWS, rows = smaller(BLOCK_ROWS, j->n - row), v = j->w->n;
    size_t chunks = (v + RLHF_VOCAB_CHUNK - 1) / RLHF_VOCAB_CHUNK;
    float *logits = rlhf_scratch(0, BLOCK_ROWS * RLHF_VOCAB_CHUNK), *m = rlhf_scratch(1, 3 * rows * chunks);
    float *s = m + rows * chunks, *t = s + rows * chunks, chosen[BLOCK_ROWS];

    for (size_t c = 0; c < chunks; c++) {
        size_t from = c * RLHF_VOCAB_CHUNK, count = smaller(RLHF_VOCAB_CHUNK, v - from);

        logits_of(j, row, rows, from, count, logits, RLHF_VOCAB_CHUNK);
        for (size_t r = 0; r < rows; r++) {
            size_t target = (size_t)j->target[row + r], at = r * chunks + c;

            rlhf_kernels()->vocab_chunk(logits + r * RLHF_VOCAB_CHUNK, count, j->scale, &m[at], &s[at], &t[at]);
            if (target >= from && target < from + count)
                chosen[r] = logits[r * RLHF_VOCAB_CHUNK + target - from];
        }
    }
    for (size_t r = 0; r < rows; r++) {
        float max, log_sum;

        rlhf_kernels()->vocab_join(m + r * chunks, s + r * chunks, t + r * chunks, chunks, &max, &log_sum,
                                   j->entropy ? &j->entropy[row + r] : NULL);
        j->lse[row + r] = max + log_sum;
        j->logprob[row + r] = chosen[r] * j->scale - max - log_sum;
    }
}

void rlhf_vocab_logprobs(const struct rlhf_packed *w, const float *hidden, const int32_t *target, size_t n,
                         float temperature, float *logprob, float *entropy, float *lse, struct rlhf_pool *pool)
{
    struct job j = { .w = w, .hidden = hidden, .target = target, .n = n, .scale = 1 / temperature, .logprob = logprob,
                     .entropy = entropy, .lse = lse };

    rlhf_pool_for(pool, (n + BLOCK_ROWS - 1) / BLOCK_ROWS, forward, &j);
}

float rlhf_vocab_logprob_row(const float *logits, size_t v, float temperature, int32_t target)
{
    size_t chunks = (v + RLHF_VOCAB_CHUNK - 1) / RLHF_VOCAB_CHUNK;
    float *m = rlhf_scratch(1, 3 * chunks), *s = m + chunks, *t = s + chunks, scale = 1 / temperature, max, log_sum;

    for (size_t c = 0; c < chunks; c++) {
        size_t from = c * RLHF_VOCAB_CHUNK;

        rlhf_kernels()->vocab_chunk(logits + from, smaller(RLHF_VOCAB_CHUNK, v - from), scale, &m[c], &s[c], &t[c]);
    }
    rlhf_kernels()->vocab_join(m, s, t, chunks, &max, &log_sum, NULL);
    return logits[target] * scale - max - log_sum;
}

/* ---- backwards: a block of rows at a time, its logits held ------------------------------------------- */

static void gradient_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t row = index * BLOCK_ROWS, rows = smaller(BLOCK_ROWS, j->n - row), v = j->w->n, wide = rlhf_round16(v);
    struct rlhf_product back = { .a = j->logits + row * wide, .a_stride = wide, .b = j->w_back->panels, .b_stride = 16,
                                 .panel_size = 16 * j->w_back->k, .y = j->d_hidden + row * j->w->k, .y_stride = j->w->k };

    for (size_t from = 0; from < v; from += RLHF_VOCAB_CHUNK) {
        size_t count = smaller(RLHF_VOCAB_CHUNK, v - from);

        logits_of(j, row, rows, from, count, j->logits + row * wide + from, wide);
        for (size_t r = row; r < row + rows; r++)
            rlhf_kernels()->vocab_gradient(j->logits + r * wide + from, count, j->scale, j->lse_in[r],
                                           j->entropy_in ? j->entropy_in[r] : 0, (size_t)j->target[r] - from,
                                           j->d_logprob[r], j->d_entropy ? j->d_entropy[r] : 0);
    }
    rlhf_kernels()->product(&back, false, rows, j->w->k, v);
}

void rlhf_vocab_logprobs_backward(const struct rlhf_packed *w, const struct rlhf_packed *w_back, const float *hidden,
                                  const int32_t *target, size_t n, float temperature, const float *lse,
                                  const float *entropy, const float *d_logprob, const float *d_entropy, float *d_hidden,
                                  float *d_w, struct rlhf_pool *pool)
{
    size_t wide = rlhf_round16(w->n), block = GRADIENT_FLOATS / wide / BLOCK_ROWS * BLOCK_ROWS;

    if (block == 0)
        block = BLOCK_ROWS;
    for (size_t row = 0; row < n; row += block) {
        size_t rows = smaller(block, n - row);
        struct job j = { .w = w, .w_back = w_back, .hidden = hidden + row * w->k, .target = target + row, .n = rows,
                         .scale = 1 / temperature, .lse_in = lse + row, .entropy_in = entropy ? entropy + row : NULL,
                         .d_logprob = d_logprob + row, .d_entropy = d_entropy ? d_entropy + row : NULL,
                         .d_hidden = d_hidden + row * w->k };

        /* slot 2 of this thread; the tasks' products use none of it */
        j.logits = rlhf_scratch(2, smaller(block, n) * wide);
        rlhf_pool_for(pool, (rows + BLOCK_ROWS - 1) / BLOCK_ROWS, gradient_rows, &j);
        rlhf_linear_backward_weight(j.logits, wide, j.hidden, w->k, rows, w->n, w->k, false, d_w, NULL, pool);
    }
}
