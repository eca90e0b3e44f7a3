/* attention.c - causal attention, split into heads of sequences; keys and values brought into the kernel's form. */
#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

struct job {
    const struct rlhf_attention_shape *shape;
    const struct rlhf_attention_item *items;
    const size_t *first; /* of an item: its first row of qkv */
    size_t heads, kv_heads, d, row, total;
    const float *qkv, *d_out, *out_in, *lse_in;
    float *out, *lse, *d_qkv;
};

static float scale_of(size_t d)
{
    return (float)(1 / sqrt((double)d));
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* x [t] rows of d, stride apart, as panels [t/16][D][16] with zeros behind the end. */
static void to_panels(const float *x, size_t stride, size_t t, size_t d, float *panels)
{
    for (size_t p = 0; p < t; p += 16, panels += 16 * d) {
        size_t width = smaller(16, t - p);

        for (size_t l = 0; l < d; l++) {
            for (size_t i = 0; i < width; i++)
                panels[16 * l + i] = x[(p + i) * stride + l];
            for (size_t i = width; i < 16; i++)
                panels[16 * l + i] = 0;
        }
    }
}

/* Rows padded with zeros to a multiple of 16 columns. */
static void to_rows(const float *x, size_t stride, size_t t, size_t d, float *rows)
{
    size_t wide = rlhf_round16(d);

    for (size_t i = 0; i < t; i++) {
        memcpy(rows + i * wide, x + i * stride, d * sizeof *rows);
        memset(rows + i * wide + d, 0, (wide - d) * sizeof *rows);
    }
}

static void queries(const struct job *j, size_t first, size_t count, size_t before, size_t head, const float *keys,
                    size_t panel_size, const float *values, size_t value_stride)
{
    struct rlhf_attention_rows a = { .q_stride = j->row, .d = j->d, .scale = scale_of(j->d), .keys = keys,
                                     .panel_size = panel_size, .values = values, .value_stride = value_stride,
                                     .out_stride = j->heads * j->d };

    a.scratch = rlhf_scratch(2, RLHF_ATTENTION_ROWS * rlhf_round16(before + count));
    for (size_t r = 0; r < count; r += RLHF_ATTENTION_ROWS) {
        a.q = j->qkv + (first + r) * j->row + head * j->d;
        a.rows = smaller(RLHF_ATTENTION_ROWS, count - r);
        a.before = before + r;
        a.out = j->out + (first + r) * j->heads * j->d + head * j->d;
        a.lse = j->lse ? j->lse + head * j->total + first + r : NULL;
        rlhf_kernels()->attention(&a);
    }
}

/* One key/value head of one sequence, with the query heads that share it. */
static void forward(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t s = index / j->kv_heads, g = index % j->kv_heads, group = j->heads / j->kv_heads;
    size_t first = j->shape->start[s], count = j->shape->start[s + 1] - first, wide = rlhf_round16(j->d);
    const float *k = j->qkv + first * j->row + (j->heads + g) * j->d;
    float *keys = rlhf_scratch(0, rlhf_round16(count) * j->d), *values = rlhf_scratch(1, count * wide);

    to_panels(k, j->row, count, j->d, keys);
    to_rows(k + j->kv_heads * j->d, j->row, count, j->d, values);
    for (size_t h = g * group; h < (g + 1) * group; h++)
        queries(j, first, count, 0, h, keys, 16 * j->d, values, wide);
}

static struct job job_of(const struct rlhf_attention_shape *s)
{
    return (struct job){ .shape = s, .heads = s->heads, .kv_heads = s->kv_heads, .d = s->d,
                         .row = (s->heads + 2 * s->kv_heads) * s->d, .total = s->start[s->sequences] };
}

void rlhf_attention(const struct rlhf_attention_shape *s, const float *qkv, float *out, float *lse, struct rlhf_pool *pool)
{
    struct job j = job_of(s);

    j.qkv = qkv;
    j.out = out;
    j.lse = lse;
    rlhf_pool_for(pool, s->sequences * s->kv_heads, forward, &j);
}

static void extend(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t n = index / j->kv_heads, g = index % j->kv_heads, group = j->heads / j->kv_heads, d = j->d;
    const struct rlhf_attention_item *it = &j->items[n];
    size_t first = j->first[n], length = it->length + it->count, value_stride = j->kv_heads * d;
    const float *k = j->qkv + first * j->row + (j->heads + g) * d, *values = it->values + g * d;

    for (size_t i = 0; i < it->count; i++) {
        size_t at = it->length + i;
        float *panel = it->keys + (at / 16 * j->kv_heads + g) * 16 * d + at % 16;

        for (size_t l = 0; l < d; l++)
            panel[16 * l] = k[i * j->row + l];
        memcpy(it->values + at * value_stride + g * d, k + i * j->row + j->kv_heads * d, d * sizeof *values);
    }
    if (d % 16 != 0) { /* the kernel reads whole panels of columns */
        float *rows = rlhf_scratch(1, length * rlhf_round16(d));

        to_rows(values, value_stride, length, d, rows);
        values = rows;
        value_stride = rlhf_round16(d);
    }
    for (size_t h = g * group; h < (g + 1) * group; h++)
        queries(j, first, it->count, it->length, h, it->keys + g * 16 * d, j->kv_heads * 16 * d, values, value_stride);
}

void rlhf_attention_extend(const struct rlhf_attention_item *items, size_t count, size_t heads, size_t kv_heads, size_t d,
                           const float *qkv, float *out, struct rlhf_pool *pool)
{
    size_t *first = (size_t *)rlhf_scratch(3, (count + 1) * sizeof *first / sizeof(float));
    struct job j = { .items = items, .first = first, .heads = heads, .kv_heads = kv_heads, .d = d,
                     .row = (heads + 2 * kv_heads) * d, .qkv = qkv, .out = out };

    first[0] = 0;
    for (size_t i = 0; i < count; i++)
        first[i + 1] = first[i] + items[i].count;
    rlhf_pool_for(pool, count * kv_heads, extend, &j);
}

static void from_rows(const float *rows, size_t wide, size_t t, size_t d, float *x, size_t stride)
{
    for (size_t i = 0; i < t; i++)
        memcpy(x + i * stride, rows + i * wide, d * sizeof *x);
}

static void backward(void *ctx, size_t index)
{
    const struct job *j = ctx;
    size_t s = index / j->kv_heads, g = index % j->kv_heads, group = j->heads / j->kv_heads, d = j->d;
    size_t first = j->shape->start[s], count = j->shape->start[s + 1] - first, wide = rlhf_round16(d);
    size_t panels = rlhf_round16(count) * d, rows = count * wide, out_stride = j->heads * d;
    const float *k = j->qkv + first * j->row + (j->heads + g) * d;
    float *keys = rlhf_scratch(0, 2 * panels), *key_rows = rlhf_scratch(1, 5 * rows);
    float *q_rows = key_rows + rows, *d_out_rows = q_rows + rows, *d_keys = d_out_rows + rows;
    struct rlhf_attention_rows_backward a = {
        .q_stride = j->row, .out_stride = out_stride, .d = d, .scale = scale_of(d), .keys = keys, .values = keys + panels,
        .panel_size = 16 * d, .key_rows = key_rows, .key_stride = wide, .q_rows_stride = wide, .d_out_rows_stride = wide,
        .d_q_stride = j->row, .d_keys = d_keys, .d_values = d_keys + rows, .d_stride = wide,
    };

    to_panels(k, j->row, count, d, keys);
    to_panels(k + j->kv_heads * d, j->row, count, d, keys + panels);
    to_rows(k, j->row, count, d, key_rows);
    memset(d_keys, 0, 2 * rows * sizeof *d_keys);
    a.scratch = rlhf_scratch(2, 2 * RLHF_ATTENTION_ROWS * rlhf_round16(count));
    for (size_t h = g * group; h < (g + 1) * group; h++) {
        const float *q = j->qkv + first * j->row + h * d, *dy = j->d_out + first * out_stride + h * d;

        to_rows(q, j->row, count, d, q_rows);
        to_rows(dy, out_stride, count, d, d_out_rows);
        for (size_t r = 0; r < count; r += RLHF_ATTENTION_ROWS) {
            a.q = q + r * j->row;
            a.d_out = dy + r * out_stride;
            a.out = j->out_in + (first + r) * out_stride + h * d;
            a.rows = smaller(RLHF_ATTENTION_ROWS, count - r);
            a.before = r;
            a.q_rows = q_rows + r * wide;
            a.d_out_rows = d_out_rows + r * wide;
            a.lse = j->lse_in + h * j->total + first + r;
            a.d_q = j->d_qkv + (first + r) * j->row + h * d;
            rlhf_kernels()->attention_backward(&a);
        }
    }
    from_rows(d_keys, wide, count, d, j->d_qkv + first * j->row + (j->heads + g) * d, j->row);
    from_rows(d_keys + rows, wide, count, d, j->d_qkv + first * j->row + (j->heads + j->kv_heads + g) * d, j->row);
}

void rlhf_attention_backward(const struct rlhf_attention_shape *s, const float *d_out, const float *qkv, const float *out,
                             const float *lse, float *d_qkv, struct rlhf_pool *pool)
{
    struct job j = job_of(s);

    j.qkv = qkv;
    j.d_out = d_out;
    j.out_in = out;
    j.lse_in = lse;
    j.d_qkv = d_qkv;
    rlhf_pool_for(pool, s->sequences * s->kv_heads, backward, &j);
}
