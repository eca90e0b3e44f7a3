/* attention.c - causal attention over packed sequences and over caches: one task a sequence and key/value head. */
#include "tensor/ops.h"

#include <math.h>
#include <string.h>

#include "tensor/kernels.h"

/* Items' heads are shared among so many tasks at least: cores are seldom equally fast, and wait for the last. */
enum { EXTEND_TASKS = 48 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t whole_panels(size_t n)
{
    return (n + RLHF_LANES - 1) / RLHF_LANES * RLHF_LANES;
}

/* Where in a row of qkv a head's query, key and value begin. */
static size_t query_at(const struct rlhf_attention_shape *s, size_t h)
{
    return (s->interleaved ? 3 * h : h) * s->d;
}

static size_t key_at(const struct rlhf_attention_shape *s, size_t g)
{
    return (s->interleaved ? 3 * g + 1 : s->heads + g) * s->d;
}

static size_t value_at(const struct rlhf_attention_shape *s, size_t g)
{
    return (s->interleaved ? 3 * g + 2 : s->heads + s->kv_heads + g) * s->d;
}

static float scale_of(const struct rlhf_attention_shape *s)
{
    return s->scale > 0 ? s->scale : 1.0f / sqrtf((float)s->d);
}

/* Keys that a block of queries sees at most, in whole panels. */
static size_t widest(const struct rlhf_attention_shape *s, size_t n)
{
    return whole_panels(s->window ? least(n, s->window + RLHF_ATTENTION_ROWS + RLHF_LANES) : n);
}

struct attention {
    const struct rlhf_attention_shape *s;
    const float *qkv, *out, *lse, *d_out;
    float *y, *y_lse, *d_qkv;
};

/* [n][d] rows as panels of 16 rows, [panel][d][16]. */
static void to_panels(const float *rows, size_t stride, size_t n, size_t d, float *panels)
{
    for (size_t i = 0; i < n; i += RLHF_LANES)
        rlhf_kernels()->transpose_panel(rows + i * stride, stride, least(n - i, RLHF_LANES), d, panels + i * d);
}

/* Micro-kernels read sixteen columns at a time. Where D is no multiple of 16, heads are copied to rows that
 * are; `from` and `stride` then name the copy in `room`, [n][whole_panels(d)]. */
static float *widen(const float **from, size_t *stride, size_t n, size_t d, float *room)
{
    size_t wide = whole_panels(d);

    if (wide == d)
        return room;
    memset(room, 0, n * wide * sizeof *room);
    for (size_t i = 0; i < n; i++)
        memcpy(room + i * wide, *from + i * *stride, d * sizeof *room);
    *from = room;
    *stride = wide;
    return room + n * wide;
}

/* Rows of D that stand apart, side by side: [n][D] behind each other at `to`, which is returned past them. */
static float *gather(const float *from, size_t stride, size_t n, size_t d, float *to)
{
    for (size_t i = 0; i < n; i++, to += d)
        memcpy(to, from + i * stride, d * sizeof *to);
    return to;
}

static void forward_part(void *ctx, size_t index)
{
    const struct attention *a = ctx;
    const struct rlhf_attention_shape *s = a->s;
    size_t sequence = index / s->kv_heads, g = index % s->kv_heads, group = s->heads / s->kv_heads, d = s->d;
    size_t row = (s->heads + 2 * s->kv_heads) * d, start = s->start[sequence], n = s->start[sequence + 1] - start;
    size_t before = s->prefix ? s->prefix[sequence] : 0, all = before + n, stride = row;
    const float *first = a->qkv + start * row, *keys = first + key_at(s, g), *values = first + value_at(s, g);

    if (n == 0)
        return;
    float *panels = rlhf_scratch(all * whole_panels(d) + whole_panels(all) * d + widest(s, all) * RLHF_ATTENTION_ROWS + 2 * all * d);
    float *room = panels + whole_panels(all) * d;
    if (before > 0) {
        size_t leader = sequence;

        while (s->prefix[leader] > 0)
            leader--;
        const float *shared = a->qkv + s->start[leader] * row;
        float *gathered = gather(shared + key_at(s, g), row, before, d, room);

        gathered = gather(keys, row, n, d, gathered);
        keys = room;
        room = gather(shared + value_at(s, g), row, before, d, gathered);
        room = gather(values, row, n, d, room);
        values = gathered;
        stride = d;
    }
    struct rlhf_attention_task t = {
        .d = d, .group = group, .from = before, .to = all, .scale = scale_of(s), .cap = s->cap, .window = s->window,
        .q = first + query_at(s, g * group), .q_stride = row, .keys = panels,
        .keys_panel = d * RLHF_LANES, .values = values, .values_stride = stride,
        .out = a->y + (start * s->heads + g * group) * d, .out_stride = s->heads * d,
        .lse = a->y_lse ? a->y_lse + g * group * s->start[s->sequences] + start : NULL,
        .lse_stride = s->start[s->sequences],
    };
    to_panels(keys, stride, all, d, panels);
    t.scratch = widen(&t.values, &t.values_stride, all, d, room);
    rlhf_kernels()->attention(&t);
}

void rlhf_attention(const struct rlhf_attention_shape *s, const float *qkv, float *out, float *lse,
                    struct rlhf_pool *pool)
{
    struct attention a = { .s = s, .qkv = qkv, .y = out, .y_lse = lse };
    rlhf_pool_for(pool, s->sequences * s->kv_heads, forward_part, &a);
}

static void backward_part(void *ctx, size_t index)
{
    const struct attention *a = ctx;
    const struct rlhf_attention_shape *s = a->s;
    size_t sequence = index / s->kv_heads, g = index % s->kv_heads, group = s->heads / s->kv_heads, d = s->d;
    size_t row = (s->heads + 2 * s->kv_heads) * d, start = s->start[sequence], n = s->start[sequence + 1] - start;
    size_t wide = whole_panels(d), size = whole_panels(n);
    const float *first = a->qkv + start * row, *keys = first + key_at(s, g), *values = first + value_at(s, g);
    float *d_first = a->d_qkv + start * row;

    if (n == 0)
        return;
    float *panels = rlhf_scratch(2 * (size * d + widest(s, n) * RLHF_ATTENTION_ROWS) + 3 * n * wide);
    float *room = panels + 2 * size * d;
    struct rlhf_attention_task t = {
        .d = d, .group = 1, .to = n, .scale = scale_of(s), .cap = s->cap, .window = s->window, .keys = panels, .value_panels = panels + size * d,
        .keys_panel = d * RLHF_LANES, .lse_stride = s->start[s->sequences], .key_rows = keys, .values_stride = row,
        .d_k = d_first + key_at(s, g), .d_v = d_first + value_at(s, g),
        .d_stride = row,
    };
    to_panels(keys, row, n, d, panels);
    to_panels(values, row, n, d, panels + size * d);
    room = widen(&t.key_rows, &t.values_stride, n, d, room);
    for (size_t i = 0; i < n; i++) {
        memset(t.d_k + i * row, 0, d * sizeof *t.d_k);
        memset(t.d_v + i * row, 0, d * sizeof *t.d_v);
    }
    for (size_t h = g * group; h < (g + 1) * group; h++) {
        const float *out = a->out + (start * s->heads + h) * d;
        size_t out_stride = s->heads * d;
        t.q = first + query_at(s, h);
        t.q_stride = row;
        t.d_out = a->d_out + (start * s->heads + h) * d;
        t.out_stride = s->heads * d;
        float *rest = widen(&t.q, &t.q_stride, n, d, room);
        rest = widen(&t.d_out, &t.out_stride, n, d, rest);
        t.y = out;
        t.y_stride = out_stride;
        t.logsum = a->lse + h * s->start[s->sequences] + start;
        t.d_q = d_first + query_at(s, h);
        t.scratch = rest;
        rlhf_kernels()->attention_backward(&t);
    }
}

void rlhf_attention_backward(const struct rlhf_attention_shape *s, const float *d_out, const float *qkv,
                             const float *out, const float *lse, float *d_qkv, struct rlhf_pool *pool)
{
    struct attention a = { .s = s, .qkv = qkv, .out = out, .lse = lse, .d_out = d_out, .d_qkv = d_qkv };
    rlhf_pool_for(pool, s->sequences * s->kv_heads, backward_part, &a);
}

/* ---- behind a cache -------------------------------------------------------------------------------- */

struct extend {
    const struct rlhf_attention_shape *s;
    const struct rlhf_attention_item *items;
    size_t count;
    size_t heads; /* a task */
    const float *qkv;
    float *out;
};

/* A head's share of a block: `room` keys or values. */
static size_t head_block(const struct rlhf_attention_shape *s, size_t room)
{
    return room * whole_panels(s->d) / (s->halves ? 2 : 1);
}

size_t rlhf_attention_block(const struct rlhf_attention_shape *s, size_t room)
{
    return s->kv_heads * head_block(s, room);
}

void rlhf_attention_copy(const struct rlhf_attention_shape *s, const struct rlhf_attention_item *from,
                         const struct rlhf_attention_item *to, size_t length)
{
    size_t size = head_block(s, whole_panels(length)) * sizeof(float);

    for (size_t g = 0; g < s->kv_heads; g++) {
        memcpy(to->keys + g * head_block(s, to->room), from->keys + g * head_block(s, from->room), size);
        memcpy(to->values + g * head_block(s, to->room), from->values + g * head_block(s, from->room), size);
    }
}

/* Puts x[l], exactly a bfloat16, where step l of a chain of words `next` apart belongs; odd steps are high halves. */
static void put_half(float *words, size_t next, size_t step, float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    uint16_t half = (uint16_t)(bits >> 16);
    memcpy((uint16_t *)(void *)(words + step / 2 * next) + step % 2, &half, sizeof half);
}

/* The key and the value at position p. */
static void put(const struct rlhf_attention_shape *s, const float *key, const float *value, size_t p, float *keys, float *values)
{
    size_t d = s->d, wide = whole_panels(d);
    float *panel = keys + head_block(s, p / RLHF_LANES * RLHF_LANES) + p % RLHF_LANES;

    if (s->halves) {
        for (size_t l = 0; l < d; l++) {
            put_half(panel, RLHF_LANES, l, key[l]);
            put_half(values + l, wide, p, value[l]);
        }
        return;
    }
    for (size_t l = 0; l < d; l++)
        panel[l * RLHF_LANES] = key[l];
    memcpy(values + p * wide, value, d * sizeof *value);
}

/* Stores the item's new keys and values of head g, and says what its queries see. Scratch is still wanted. */
static struct rlhf_attention_task item_task(const struct extend *e, const struct rlhf_attention_item *it, size_t g, size_t before)
{
    const struct rlhf_attention_shape *s = e->s;
    size_t d = s->d, group = s->heads / s->kv_heads, row = (s->heads + 2 * s->kv_heads) * d;
    const float *first = e->qkv + before * row;
    float *keys = it->keys + g * head_block(s, it->room), *values = it->values + g * head_block(s, it->room);

    for (size_t i = 0; i < it->count; i++)
        put(s, first + i * row + key_at(s, g), first + i * row + value_at(s, g), it->length + i, keys, values);
    /* Positions are counted from the first panel that the window reaches: what is before it is not touched. */
    size_t low = s->window && it->length + 1 > s->window ? (it->length + 1 - s->window) / RLHF_LANES * RLHF_LANES : 0;
    size_t from = it->length - low;

    return (struct rlhf_attention_task){
        .d = d, .group = group, .from = from, .to = from + it->count, .scale = scale_of(s), .cap = s->cap, .window = s->window,
        .q = first + query_at(s, g * group), .q_stride = row,
        .keys = keys + head_block(s, low), .keys_panel = head_block(s, RLHF_LANES),
        .values = values + head_block(s, low), .values_stride = whole_panels(d), .halves = s->halves,
        .to_next = it->count == 1 && g + 1 < s->kv_heads ? keys + head_block(s, it->room) - values : 0,
        .out = e->out + (before * s->heads + g * group) * d, .out_stride = s->heads * d,
    };
}

/* How many items from `first` on are done together: those of one new row each that begin with the same tokens, whole panels of
 * them, *shared; or one alone. */
static size_t together(const struct extend *e, size_t first, size_t *shared)
{
    size_t n = 1, least_shared = SIZE_MAX;

    *shared = 0;
    for (; first + n < e->count && n < RLHF_ATTENTION_ROWS && !e->s->window; n++) {
        const struct rlhf_attention_item *it = &e->items[first + n];
        size_t common = least(least_shared, it->shared / RLHF_LANES * RLHF_LANES);

        if (it->count != 1 || it[-1].count != 1 || common == 0)
            break;
        *shared = least_shared = common;
    }
    return n;
}

static void extend_together(const struct extend *e, size_t first, size_t n, size_t shared, size_t g, size_t before)
{
    struct rlhf_attention_task t[RLHF_ATTENTION_ROWS];
    size_t longest = 0;

    for (size_t i = 0; i < n; i++) {
        t[i] = item_task(e, &e->items[first + i], g, before + i);
        longest = t[i].to > longest ? t[i].to : longest;
    }
    t[0].scratch = rlhf_scratch(widest(e->s, longest) * RLHF_ATTENTION_ROWS);
    if (n == 1)
        rlhf_kernels()->attention(t);
    else
        rlhf_kernels()->attention_shared(t, n, shared);
}

/* A task walks the items and so knows which are its own, and the rows before them. */
static void extend_part(void *ctx, size_t index)
{
    const struct extend *e = ctx;
    size_t parts = e->s->kv_heads / e->heads, first = 0, before = 0, shared, n = together(e, 0, &shared);

    for (size_t i = 0; i < index / parts; i++) {
        for (; n > 0; n--)
            before += e->items[first++].count;
        n = together(e, first, &shared);
    }
    if (e->items[first].count == 0)
        return;
    for (size_t i = 0; i < e->heads; i++)
        extend_together(e, first, n, shared, index % parts * e->heads + i, before);
}

void rlhf_attention_extend(const struct rlhf_attention_shape *s, const struct rlhf_attention_item *items, size_t count,
                           const float *qkv, float *out, struct rlhf_pool *pool)
{
    struct extend e = { .s = s, .items = items, .count = count, .heads = s->kv_heads, .qkv = qkv, .out = out };
    size_t runs = 0, shared;

    for (size_t i = 0; i < count; i += together(&e, i, &shared))
        runs++;
    while (e.heads > 1 && (runs * (s->kv_heads / e.heads) < EXTEND_TASKS || s->kv_heads % e.heads))
        e.heads--;
    rlhf_pool_for(pool, runs * (s->kv_heads / e.heads), extend_part, &e);
}
