/* rows.c - operations on rows and elements, split into blocks of rows, elements, or columns (sums over tokens). */
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

enum { BLOCK = 1 << 14, COLUMNS = 64 }; /* elements a task; columns a task */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* What all of these need; each uses its part. */
struct job {
    const float *x, *y, *gain, *shift, *mean, *rstd, *table;
    float *out, *out2, *out3;
    const int32_t *token;
    const uint32_t *position;
    size_t t, c, stride, heads;
    float epsilon;
    bool backward;
    size_t block; /* rows or elements a task */
};

static size_t rows_a_task(size_t c)
{
    return c < BLOCK ? BLOCK / (c ? c : 1) : 1;
}

/* Runs task over t rows of c; small ones at once. */
static void each_rows(struct job *j, void (*task)(void *ctx, size_t index), struct rlhf_pool *pool)
{
    size_t tasks;

    j->block = rows_a_task(j->c);
    tasks = (j->t + j->block - 1) / j->block;
    rlhf_pool_for(tasks > 1 ? pool : NULL, tasks, task, j);
}

static void each_columns(struct job *j, void (*task)(void *ctx, size_t index), struct rlhf_pool *pool)
{
    size_t tasks = (j->c + COLUMNS - 1) / COLUMNS;

    rlhf_pool_for(j->t * j->c > BLOCK ? pool : NULL, tasks, task, j);
}

#define ROWS(j, index) \
    size_t from = (index) * (j)->block, t = smaller((j)->block, (j)->t - from); \
    size_t at = from * (j)->c

/* ---- embedding ------------------------------------------------------------------------------------- */

static void embed_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    for (size_t i = 0; i < t; i++) {
        float *y = j->out + at + i * j->c;

        memcpy(y, j->table + (size_t)j->token[from + i] * j->c, j->c * sizeof *y);
        if (j->y)
            rlhf_kernels()->add(j->y + (size_t)j->position[from + i] * j->c, j->c, y);
    }
}

void rlhf_embed(const float *table, const int32_t *token, const float *position_table, const uint32_t *position, size_t t,
                size_t c, float *y, struct rlhf_pool *pool)
{
    struct job j = { .table = table, .token = token, .y = position_table, .position = position, .t = t, .c = c, .out = y };

    each_rows(&j, embed_rows, pool);
}

static void embed_columns(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t from = index * COLUMNS, width = smaller(COLUMNS, j->c - from);

    for (size_t i = 0; i < j->t; i++) {
        rlhf_kernels()->add(j->x + i * j->c + from, width, j->out + (size_t)j->token[i] * j->c + from);
        if (j->out2)
            rlhf_kernels()->add(j->x + i * j->c + from, width, j->out2 + (size_t)j->position[i] * j->c + from);
    }
}

void rlhf_embed_backward(const float *dy, const int32_t *token, const uint32_t *position, size_t t, size_t c,
                         float *d_table, float *d_position_table, struct rlhf_pool *pool)
{
    struct job j = { .x = dy, .token = token, .position = position, .t = t, .c = c, .out = d_table,
                     .out2 = d_position_table };

    each_columns(&j, embed_columns, pool);
}

/* ---- norms ----------------------------------------------------------------------------------------- */

static void layernorm_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->layernorm(j->x + at, j->gain, j->shift, j->epsilon, t, j->c, j->out + at, j->out2 + from,
                              j->out3 + from);
}

void rlhf_layernorm(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c, float *y,
                    float *mean, float *rstd, struct rlhf_pool *pool)
{
    struct job j = { .x = x, .gain = gain, .shift = shift, .epsilon = epsilon, .t = t, .c = c, .out = y, .out2 = mean,
                     .out3 = rstd };

    each_rows(&j, layernorm_rows, pool);
}

static void layernorm_backward_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->layernorm_backward(j->y + at, j->x + at, j->gain, j->mean + from, j->rstd + from, t, j->c, j->out + at);
}

static void norm_backward_columns(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t from = index * COLUMNS;

    rlhf_kernels()->norm_backward_gain(j->y, j->x, j->mean, j->rstd, j->t, j->c, from, smaller(from + COLUMNS, j->c),
                                       j->out2, j->out3);
}

void rlhf_layernorm_backward(const float *dy, const float *x, const float *gain, const float *mean, const float *rstd,
                             size_t t, size_t c, float *dx, float *d_gain, float *d_shift, struct rlhf_pool *pool)
{
    struct job j = { .y = dy, .x = x, .gain = gain, .mean = mean, .rstd = rstd, .t = t, .c = c, .out = dx, .out2 = d_gain,
                     .out3 = d_shift };

    each_rows(&j, layernorm_backward_rows, pool);
    each_columns(&j, norm_backward_columns, pool);
}

static void rmsnorm_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->rmsnorm(j->x + at, j->gain, j->epsilon, t, j->c, j->out + at, j->out3 + from);
}

void rlhf_rmsnorm(const float *x, const float *gain, float epsilon, size_t t, size_t c, float *y, float *rstd,
                  struct rlhf_pool *pool)
{
    struct job j = { .x = x, .gain = gain, .epsilon = epsilon, .t = t, .c = c, .out = y, .out3 = rstd };

    each_rows(&j, rmsnorm_rows, pool);
}

static void rmsnorm_backward_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->rmsnorm_backward(j->y + at, j->x + at, j->gain, j->rstd + from, t, j->c, j->out + at);
}

void rlhf_rmsnorm_backward(const float *dy, const float *x, const float *gain, const float *rstd, size_t t, size_t c,
                           float *dx, float *d_gain, struct rlhf_pool *pool)
{
    struct job j = { .y = dy, .x = x, .gain = gain, .rstd = rstd, .t = t, .c = c, .out = dx, .out2 = d_gain };

    each_rows(&j, rmsnorm_backward_rows, pool);
    each_columns(&j, norm_backward_columns, pool);
}

/* ---- elements -------------------------------------------------------------------------------------- */

static void each_elements(struct job *j, size_t count, void (*task)(void *ctx, size_t index), struct rlhf_pool *pool)
{
    j->t = count;
    j->c = 1;
    each_rows(j, task, pool);
}

static void gelu_elements(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->gelu(j->x + at, t, j->out + at);
}

void rlhf_gelu(const float *x, size_t count, float *y, struct rlhf_pool *pool)
{
    each_elements(&(struct job){ .x = x, .out = y }, count, gelu_elements, pool);
}

static void gelu_backward_elements(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->gelu_backward(j->y + at, j->x + at, t, j->out + at);
}

void rlhf_gelu_backward(const float *dy, const float *x, size_t count, float *dx, struct rlhf_pool *pool)
{
    each_elements(&(struct job){ .y = dy, .x = x, .out = dx }, count, gelu_backward_elements, pool);
}

static void add_elements(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->add(j->x + at, t, j->out + at);
}

void rlhf_add(const float *x, size_t count, float *y, struct rlhf_pool *pool)
{
    each_elements(&(struct job){ .x = x, .out = y }, count, add_elements, pool);
}

static void swiglu_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->swiglu(j->x + 2 * at, t, j->c, j->out + at);
}

void rlhf_swiglu(const float *gate_up, size_t t, size_t m, float *y, struct rlhf_pool *pool)
{
    struct job j = { .x = gate_up, .t = t, .c = m, .out = y };

    each_rows(&j, swiglu_rows, pool);
}

static void swiglu_backward_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    ROWS(j, index);

    rlhf_kernels()->swiglu_backward(j->y + at, j->x + 2 * at, t, j->c, j->out + 2 * at);
}

void rlhf_swiglu_backward(const float *dy, const float *gate_up, size_t t, size_t m, float *d_gate_up,
                          struct rlhf_pool *pool)
{
    struct job j = { .y = dy, .x = gate_up, .t = t, .c = m, .out = d_gate_up };

    each_rows(&j, swiglu_backward_rows, pool);
}

/* ---- rotary ---------------------------------------------------------------------------------------- */

/* Su et al. 2021: pair j of D/2 turns by position·theta^(-2j/D). */
void rlhf_rope_table(float theta, size_t context, size_t d, float *cos_sin)
{
    for (size_t p = 0; p < context; p++)
        for (size_t j = 0; j < d / 2; j++) {
            /* in single precision where transformers is: inverse frequency and angle */
            float inverse = (float)(1 / pow((double)theta, 2 * (double)j / (double)d)), angle = (float)p * inverse;

            cos_sin[p * d + j] = (float)cos((double)angle);
            cos_sin[p * d + d / 2 + j] = (float)sin((double)angle);
        }
}

static void rope_rows(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t from = index * j->block, t = smaller(j->block, j->t - from);

    rlhf_kernels()->rope(j->out + from * j->stride, j->stride, j->heads, j->c / j->heads, j->position + from, t, j->table,
                         j->backward);
}

void rlhf_rope(float *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t, const float *cos_sin,
               bool backward, struct rlhf_pool *pool)
{
    struct job j = { .out = x, .stride = stride, .heads = heads, .c = heads * d, .position = position, .t = t,
                     .table = cos_sin, .backward = backward };

    each_rows(&j, rope_rows, pool);
}
