/* rows.c - operations on rows and elements, split into blocks by their shape. */
#include "tensor/ops.h"

#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

/* A task has about this many floats: 5 to 20 us of work, so that waking a thread for it pays. */
enum { BLOCK_FLOATS = 16384, EMBED_COLS = 64 };
/* Rows whose gain and shift gradients are summed together before the blocks' sums are. */
enum { NORM_ROWS = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks(size_t count, size_t block)
{
    return (count + block - 1) / block;
}

/* One operation's arguments; each uses those it knows. */
struct rows {
    const float *x, *dy, *gain, *shift, *mean_in, *rstd_in, *cos_sin, *position_table;
    const int32_t *token;
    const uint32_t *position;
    float *y, *dx, *mean, *rstd, *d_position_table, *partial;
    float epsilon, offset, by;
    size_t t, c, block, stride, x_stride, heads, head_stride;
    bool backward;
    enum rlhf_activation activation;
};

static size_t rows_a_task(size_t c)
{
    return c >= BLOCK_FLOATS ? 1 : BLOCK_FLOATS / (c ? c : 1);
}

static void run(struct rlhf_pool *pool, struct rows *r, void (*part)(void *ctx, size_t index))
{
    size_t tasks = blocks(r->t, r->block);
    rlhf_pool_for(tasks > 1 ? pool : NULL, tasks, part, r);
}

/* ---- embedding ------------------------------------------------------------------------------------- */

static void embed_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block, to = least(from + r->block, r->t);

    for (size_t i = from; i < to; i++) {
        memcpy(r->y + i * r->c, r->x + (size_t)r->token[i] * r->c, r->c * sizeof *r->y);
        if (r->position_table)
            rlhf_kernels()->add(r->position_table + (size_t)r->position[i] * r->c, r->c, r->y + i * r->c);
    }
}

void rlhf_embed(const float *table, const int32_t *token, const float *position_table, const uint32_t *position,
                size_t t, size_t c, float *y, struct rlhf_pool *pool)
{
    struct rows r = { .x = table, .token = token, .position_table = position_table, .position = position,
                      .t = t, .c = c, .y = y, .block = rows_a_task(c) };
    run(pool, &r, embed_part);
}

/* Columns are shared out, not tokens: two tokens may be the same row of the table. */
static void embed_backward_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * EMBED_COLS, width = least(r->c - from, EMBED_COLS);

    for (size_t i = 0; i < r->t; i++) {
        const float *dy = r->dy + i * r->c + from;
        rlhf_kernels()->add(dy, width, r->y + (size_t)r->token[i] * r->c + from);
        if (r->d_position_table)
            rlhf_kernels()->add(dy, width, r->d_position_table + (size_t)r->position[i] * r->c + from);
    }
}

void rlhf_embed_backward(const float *dy, const int32_t *token, const uint32_t *position, size_t t, size_t c,
                         float *d_table, float *d_position_table, struct rlhf_pool *pool)
{
    struct rows r = { .dy = dy, .token = token, .position = position, .t = t, .c = c, .y = d_table,
                      .d_position_table = d_position_table };
    rlhf_pool_for(t * c > BLOCK_FLOATS ? pool : NULL, blocks(c, EMBED_COLS), embed_backward_part, &r);
}

/* ---- norms ----------------------------------------------------------------------------------------- */

static void layernorm_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block, n = least(r->t - from, r->block);
    rlhf_kernels()->layernorm(r->x + from * r->c, r->gain, r->shift, r->epsilon, n, r->c, r->y + from * r->c,
                              r->mean + from, r->rstd + from);
}

void rlhf_layernorm(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c,
                    float *y, float *mean, float *rstd, struct rlhf_pool *pool)
{
    struct rows r = { .x = x, .gain = gain, .shift = shift, .epsilon = epsilon, .t = t, .c = c, .y = y,
                      .mean = mean, .rstd = rstd, .block = rows_a_task(c) };
    run(pool, &r, layernorm_part);
}

static void rmsnorm_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block, n = least(r->t - from, r->block);
    rlhf_kernels()->rmsnorm(r->x + from * r->c, r->gain, r->offset, r->epsilon, n, r->c, r->y + from * r->c,
                            r->rstd + from);
}

void rlhf_rmsnorm(const float *x, const float *gain, float offset, float epsilon, size_t t, size_t c, float *y,
                  float *rstd, struct rlhf_pool *pool)
{
    struct rows r = { .x = x, .gain = gain, .offset = offset, .epsilon = epsilon, .t = t, .c = c, .y = y, .rstd = rstd,
                      .block = rows_a_task(c) };
    run(pool, &r, rmsnorm_part);
}

/* Block b's sums go to partial[b][gain C | shift C]. */
static void norm_backward_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * NORM_ROWS, n = least(r->t - from, NORM_ROWS), at = from * r->c;
    float *d_gain = r->partial + index * 2 * r->c;

    memset(d_gain, 0, 2 * r->c * sizeof *d_gain);
    if (r->mean_in)
        rlhf_kernels()->layernorm_backward(r->dy + at, r->x + at, r->gain, r->mean_in + from, r->rstd_in + from,
                                           n, r->c, r->y + at, d_gain, d_gain + r->c);
    else
        rlhf_kernels()->rmsnorm_backward(r->dy + at, r->x + at, r->gain, r->offset, r->rstd_in + from, n, r->c,
                                         r->y + at, d_gain);
}

static void norm_backward(struct rows *r, float *d_gain, float *d_shift, struct rlhf_pool *pool)
{
    size_t tasks = blocks(r->t, NORM_ROWS);

    r->block = NORM_ROWS;
    r->partial = rlhf_shared_scratch(tasks * 2 * r->c);
    run(r->t * r->c > BLOCK_FLOATS ? pool : NULL, r, norm_backward_part);
    rlhf_kernels()->column_sums(r->partial, 2 * r->c, tasks, r->c, d_gain);
    if (d_shift)
        rlhf_kernels()->column_sums(r->partial + r->c, 2 * r->c, tasks, r->c, d_shift);
}

void rlhf_layernorm_backward(const float *dy, const float *x, const float *gain, const float *mean,
                             const float *rstd, size_t t, size_t c, float *dx, float *d_gain, float *d_shift,
                             struct rlhf_pool *pool)
{
    struct rows r = { .dy = dy, .x = x, .gain = gain, .mean_in = mean, .rstd_in = rstd, .t = t, .c = c, .y = dx };
    norm_backward(&r, d_gain, d_shift, pool);
}

void rlhf_rmsnorm_backward(const float *dy, const float *x, const float *gain, float offset, const float *rstd,
                           size_t t, size_t c, float *dx, float *d_gain, struct rlhf_pool *pool)
{
    struct rows r = { .dy = dy, .x = x, .gain = gain, .offset = offset, .rstd_in = rstd, .t = t, .c = c, .y = dx };
    norm_backward(&r, d_gain, NULL, pool);
}

/* A token's heads are neighbours: rows of D to the norm's kernel. */
static void head_norm_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block, to = least(from + r->block, r->t);

    for (size_t i = from; i < to; i++)
        rlhf_kernels()->rmsnorm(r->x + i * r->x_stride, r->gain, r->offset, r->epsilon, r->heads, r->c,
                                r->y + i * r->stride, r->rstd + i * r->heads);
}

void rlhf_head_norm(const float *x, size_t x_stride, const float *gain, float offset, float epsilon, size_t t,
                    size_t heads, size_t d, float *y, size_t y_stride, float *rstd, struct rlhf_pool *pool)
{
    struct rows r = { .x = x, .x_stride = x_stride, .gain = gain, .offset = offset, .epsilon = epsilon, .t = t,
                      .heads = heads, .c = d, .y = y, .stride = y_stride, .rstd = rstd,
                      .block = rows_a_task(heads * d) };
    run(pool, &r, head_norm_part);
}

/* Block b's sums go to partial[b][gain D]; a token's dx is summed in scratch, then takes dy's place. */
static void head_norm_backward_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * NORM_ROWS, to = least(from + NORM_ROWS, r->t), width = r->heads * r->c;
    float *d_gain = r->partial + index * r->c, *dx = rlhf_scratch(width);

    memset(d_gain, 0, r->c * sizeof *d_gain);
    for (size_t i = from; i < to; i++) {
        memset(dx, 0, width * sizeof *dx);
        rlhf_kernels()->rmsnorm_backward(r->y + i * r->stride, r->x + i * r->x_stride, r->gain, r->offset,
                                         r->rstd_in + i * r->heads, r->heads, r->c, dx, d_gain);
        memcpy(r->y + i * r->stride, dx, width * sizeof *dx);
    }
}

void rlhf_head_norm_backward(const float *x, size_t x_stride, const float *gain, float offset, const float *rstd,
                             size_t t, size_t heads, size_t d, float *dy, size_t dy_stride, float *d_gain,
                             struct rlhf_pool *pool)
{
    struct rows r = { .x = x, .x_stride = x_stride, .gain = gain, .offset = offset, .rstd_in = rstd, .t = t,
                      .heads = heads, .c = d, .y = dy, .stride = dy_stride, .block = NORM_ROWS };
    size_t tasks = blocks(t, NORM_ROWS);

    r.partial = rlhf_shared_scratch(tasks * d);
    run(t * heads * d > BLOCK_FLOATS ? pool : NULL, &r, head_norm_backward_part);
    rlhf_kernels()->column_sums(r.partial, d, tasks, d, d_gain);
}

/* ---- activations ----------------------------------------------------------------------------------- */

static void activate_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block, n = least(r->t - from, r->block);
    if (r->dy)
        rlhf_kernels()->activate_backward(r->activation, r->dy + from, r->x + from, n, r->y + from, r->dx + from);
    else
        rlhf_kernels()->activate(r->activation, r->x + from, n, r->y + from);
}

void rlhf_activate(enum rlhf_activation f, const float *x, size_t count, float *y, struct rlhf_pool *pool)
{
    struct rows r = { .activation = f, .x = x, .t = count, .y = y, .block = BLOCK_FLOATS };
    run(pool, &r, activate_part);
}

void rlhf_activate_backward(enum rlhf_activation f, const float *dy, const float *x, size_t count, float *y, float *dx,
                            struct rlhf_pool *pool)
{
    struct rows r = { .activation = f, .x = x, .dy = dy, .t = count, .y = y, .dx = dx, .block = BLOCK_FLOATS };
    run(pool, &r, activate_part);
}

static void gate_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block, n = least(r->t - from, r->block);
    if (r->dy)
        rlhf_kernels()->gate_backward(r->activation, r->dy + from * r->c, r->x + from * 2 * r->c, n, r->c,
                                      r->y + from * r->c, r->dx + from * 2 * r->c);
    else
        rlhf_kernels()->gate(r->activation, r->x + from * 2 * r->c, n, r->c, r->y + from * r->c);
}

void rlhf_gate(enum rlhf_activation f, const float *gate_up, size_t t, size_t m, float *y, struct rlhf_pool *pool)
{
    struct rows r = { .activation = f, .x = gate_up, .t = t, .c = m, .y = y, .block = rows_a_task(m) };
    run(pool, &r, gate_part);
}

void rlhf_gate_backward(enum rlhf_activation f, const float *dy, const float *gate_up, size_t t, size_t m,
                        float *y, float *d_gate_up, struct rlhf_pool *pool)
{
    struct rows r = { .activation = f, .x = gate_up, .dy = dy, .t = t, .c = m, .y = y, .dx = d_gate_up,
                      .block = rows_a_task(m) };
    run(pool, &r, gate_part);
}

static void scale_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block;
    rlhf_kernels()->scale(r->y + from, least(r->t - from, r->block), r->by);
}

void rlhf_scale(float *x, size_t count, float by, struct rlhf_pool *pool)
{
    struct rows r = { .y = x, .t = count, .by = by, .block = BLOCK_FLOATS };
    run(pool, &r, scale_part);
}

static void soft_cap_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block;
    rlhf_kernels()->soft_cap(r->y + from, least(r->t - from, r->block), r->by);
}

void rlhf_soft_cap(float *x, size_t count, float cap, struct rlhf_pool *pool)
{
    struct rows r = { .y = x, .t = count, .by = cap, .block = BLOCK_FLOATS };
    run(pool, &r, soft_cap_part);
}

static void add_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block;
    rlhf_kernels()->add(r->x + from, least(r->t - from, r->block), r->y + from);
}

void rlhf_add(const float *x, size_t count, float *y, struct rlhf_pool *pool)
{
    struct rows r = { .x = x, .t = count, .y = y, .block = BLOCK_FLOATS };
    run(pool, &r, add_part);
}

/* ---- rotary embedding ------------------------------------------------------------------------------ */

/* Peng et al. 2023 (YaRN), 3.2: which pair of dimensions turns `turns` times within the first training. */
static double yarn_pair(double turns, double theta, const struct rlhf_rope_scaling *s, size_t d)
{
    return (double)d * log(s->original / (turns * 2 * 3.14159265358979323846)) / (2 * log(theta));
}

/* How much of pair j's frequency is divided by the factor: 0 none of it, 1 all. */
static double yarn_blend(size_t j, double theta, const struct rlhf_rope_scaling *s, size_t d)
{
    double low = yarn_pair(s->beta_fast, theta, s, d), high = yarn_pair(s->beta_slow, theta, s, d);

    if (s->whole) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)d - 1);
    if (low == high)
        high += 0.001;
    return fmin(fmax(((double)j - low) / (high - low), 0), 1);
}

/* Llama 3: wavelengths shorter than original/high stay, longer than original/low are stretched, and between them the
 * frequency goes from one to the other with the number of turns within `original`. */
static double llama3_blend(double turn, const struct rlhf_rope_scaling *s)
{
    double turns = s->original * turn / (2 * 3.14159265358979323846);

    return fmin(fmax((s->high_frequency - turns) / (s->high_frequency - s->low_frequency), 0), 1);
}

/* The angle by which pair j of d/2 turns a position; plain: Su et al. 2021, theta^(-2j/d). */
static double rope_turn(size_t j, double theta, const struct rlhf_rope_scaling *s, size_t length, size_t d)
{
    double turn = pow(theta, -2.0 * (double)j / (double)d), blend = 0;

    switch (s ? s->type : RLHF_ROPE_PLAIN) {
    case RLHF_ROPE_PLAIN:
        return turn;
    case RLHF_ROPE_LINEAR: /* Chen et al. 2023 */
        return turn / s->factor;
    case RLHF_ROPE_DYNAMIC: /* the base grows with the sequence so that the slowest pair still fits */
        if (length <= s->original)
            return turn;
        theta *= pow(s->factor * (double)length / s->original - (s->factor - 1), (double)d / ((double)d - 2));
        return pow(theta, -2.0 * (double)j / (double)d);
    case RLHF_ROPE_YARN:
        blend = yarn_blend(j, theta, s, d);
        break;
    case RLHF_ROPE_LLAMA3:
        blend = llama3_blend(turn, s);
        break;
    }
    return turn * (1 - blend) + turn / s->factor * blend;
}

void rlhf_rope_table(float theta, const struct rlhf_rope_scaling *scaling, size_t length, size_t context, size_t d,
                     float *cos_sin)
{
    double amplitude = scaling && scaling->amplitude > 0 ? scaling->amplitude : 1;

    for (size_t j = 0; j < d / 2; j++) {
        float turn = (float)rope_turn(j, (double)theta, scaling, length, d);
        for (size_t p = 0; p < context; p++) {
            double angle = (double)((float)p * turn);
            cos_sin[p * d + j] = (float)(amplitude * cos(angle));
            cos_sin[p * d + d / 2 + j] = (float)(amplitude * sin(angle));
        }
    }
}

static void rope_part(void *ctx, size_t index)
{
    const struct rows *r = ctx;
    size_t from = index * r->block;
    rlhf_kernels()->rope(r->y + from * r->stride, r->stride, r->heads, r->head_stride, r->c, r->position + from,
                         least(r->t - from, r->block), r->cos_sin, r->backward);
}

void rlhf_rope(float *x, size_t stride, size_t heads, size_t head_stride, size_t turning, const uint32_t *position,
               size_t t, const float *cos_sin, bool backward, struct rlhf_pool *pool)
{
    struct rows r = { .y = x, .stride = stride, .heads = heads, .head_stride = head_stride, .c = turning,
                      .position = position, .t = t, .cos_sin = cos_sin, .backward = backward,
                      .block = rows_a_task(heads * turning) };
    run(pool, &r, rope_part);
}
