/* layer.c - one block of the transformer, forward: the same for training, scoring and generation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/adapter_internal.h"
#include "model/dropout.h"

int rlhf_activations_get(struct rlhf_activations *a, const struct rlhf_model_config *c, size_t t, bool keep,
                         const struct rlhf_activations *first, struct rlhf_arena *arena)
{
    const size_t channels = c->channels, q = (size_t)c->heads * c->head_size, kv = (size_t)c->kv_heads * c->head_size;
    const size_t shared = !first;
    const size_t post = c->norm_post ? channels : 0, post_row = c->norm_post, qk = c->norm_qk;
    const struct {
        float **place;
        size_t width;
    } parts[] = {
        { &a->x, channels },      { &a->norm1, shared * channels },  { &a->mean1, 1 },     { &a->rstd1, 1 },
        { &a->qkv, q + 2 * kv },  { &a->attention, q },     { &a->middle, channels }, { &a->norm2, shared * channels },
        { &a->mean2, 1 },         { &a->rstd2, 1 },         { &a->up, (c->gated ? 2 : 1) * (size_t)c->mlp_size },
        { &a->activated, shared * c->mlp_size }, { &a->lse, keep ? c->heads : 0 },
        { &a->raw, keep && qk ? q + kv : 0 }, { &a->rstd_q, qk * c->heads }, { &a->rstd_k, qk * c->kv_heads },
        { &a->post1, post }, { &a->mean3, post_row }, { &a->rstd3, post_row },
        { &a->post2, post }, { &a->mean4, post_row }, { &a->rstd4, post_row },
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].place = parts[i].width ? rlhf_arena_get(arena, t, parts[i].width * sizeof(float)) : NULL;
        if (parts[i].width && !*parts[i].place)
            return -1;
    }
    if (first) {
        a->norm1 = first->norm1;
        a->norm2 = first->norm2;
        a->activated = first->activated;
    }
    return 0;
}

/* ---- rotary positions ------------------------------------------------------------------------------ */

int rlhf_rope_grow(struct rlhf_rope *r, size_t length, const struct rlhf_model_config *c, struct rlhf_error *err)
{
    const size_t turning = rlhf_model_config_rotary(c);
    size_t wanted = 64, longest = c->rope.type == RLHF_ROPE_DYNAMIC && length > c->rope.original ? length : 0;
    float *grown;

    if (c->position != RLHF_POSITION_ROTARY || (length <= r->have && longest == r->length))
        return 0;
    while (wanted < length)
        wanted *= 2;
    if (!(grown = rlhf_aligned_new(wanted, turning * sizeof *grown, err)))
        return -1;
    rlhf_rope_table(c->rope_theta, &c->rope, longest, wanted, turning, grown);
    free(r->cos_sin);
    *r = (struct rlhf_rope){ .cos_sin = grown, .have = wanted, .length = longest };
    return 0;
}

void rlhf_layer_rotate(const struct rlhf_model_config *c, float *qkv, const uint32_t *position, size_t t,
                       const float *cos_sin, bool backward, struct rlhf_pool *pool)
{
    const size_t d = c->head_size, width = (c->heads + 2 * (size_t)c->kv_heads) * d, turning = rlhf_model_config_rotary(c);

    if (c->interleaved) {
        rlhf_rope(qkv, width, c->heads, 3 * d, turning, position, t, cos_sin, backward, pool);
        rlhf_rope(qkv + d, width, c->heads, 3 * d, turning, position, t, cos_sin, backward, pool);
    } else { /* q and k are neighbours: one call turns both */
        rlhf_rope(qkv, width, c->heads + c->kv_heads, d, turning, position, t, cos_sin, backward, pool);
    }
}

/* ---- the block ------------------------------------------------------------------------------------- */

static const float *at(const struct rlhf_model *m, size_t offset)
{
    return offset == RLHF_NOWHERE ? NULL : m->block + offset;
}

void rlhf_norm_forward(const struct rlhf_model *m, const struct rlhf_norm_place *place, const float *x, size_t t,
                       float *y, float *mean, float *rstd, struct rlhf_pool *pool)
{
    const struct rlhf_model_config *c = &m->config;

    if (c->norm == RLHF_NORM_LAYER)
        rlhf_layernorm(x, at(m, place->gain), at(m, place->shift), c->norm_epsilon, t, c->channels, y, mean, rstd,
                       pool);
    else
        rlhf_rmsnorm(x, at(m, place->gain), c->norm_offset, c->norm_epsilon, t, c->channels, y, rstd, pool);
}

void rlhf_product_forward(const struct rlhf_model *m, const struct rlhf_product *p, const float *x, size_t t,
                          float *y, struct rlhf_pool *pool)
{
    rlhf_linear(&p->packed, x, p->k, t, at(m, p->bias), false, y, p->n, pool);
}

struct rlhf_attention_shape rlhf_layer_attention(const struct rlhf_model_config *c, uint32_t layer,
                                                 const uint32_t *start, size_t sequences)
{
    float scale = 1.0F / sqrtf((float)(c->query_scalar ? c->query_scalar : c->head_size));

    return (struct rlhf_attention_shape){
        .start = start, .sequences = sequences, .heads = c->heads, .kv_heads = c->kv_heads, .d = c->head_size,
        .scale = c->scale_by_layer ? scale / (float)(layer + 1) : scale, .cap = c->attention_cap,
        .window = rlhf_model_config_window(c, layer), .interleaved = c->interleaved,
        .halves = c->products == RLHF_PRODUCTS_BF16,
    };
}

/* Queries and keys, head by head, in place; what they were is kept when there is room for it. */
static void norm_heads(const struct rlhf_model *m, const struct rlhf_layer *l, const struct rlhf_activations *a, size_t t,
                       struct rlhf_pool *pool)
{
    const struct rlhf_model_config *c = &m->config;
    const size_t d = c->head_size, q = c->heads * d, kept = q + c->kv_heads * d, width = kept + c->kv_heads * d;
    const float *from = a->raw ? a->raw : a->qkv;
    const size_t stride = a->raw ? kept : width;

    for (size_t i = 0; a->raw && i < t; i++)
        memcpy(a->raw + i * kept, a->qkv + i * width, kept * sizeof *a->raw);
    rlhf_head_norm(from, stride, at(m, l->q.gain), c->norm_offset, c->norm_epsilon, t, c->heads, d, a->qkv, width,
                   a->rstd_q, pool);
    rlhf_head_norm(from + q, stride, at(m, l->k.gain), c->norm_offset, c->norm_epsilon, t, c->kv_heads, d, a->qkv + q,
                   width, a->rstd_k, pool);
}

/* As a cache keeps them; training and scoring do the same, so that all have the same bits. */
static void round_keys_and_values(const struct rlhf_model_config *c, float *qkv, size_t t, struct rlhf_pool *pool)
{
    const size_t d = c->head_size, both = 2 * (size_t)c->kv_heads * d, queries = c->heads * d;

    if (c->interleaved)
        rlhf_round_halves(qkv + d, 3 * d, t * c->heads, 2 * d, pool);
    else
        rlhf_round_halves(qkv + queries, queries + both, t, both, pool);
}

static void attend(const struct rlhf_model *m, const struct rlhf_layer *l, const struct rlhf_activations *a,
                   const struct rlhf_attending *over, size_t t, struct rlhf_pool *pool)
{
    const struct rlhf_model_config *c = &m->config;
    struct rlhf_attention_shape shape = rlhf_layer_attention(c, l->index, over->start, over->sequences);

    shape.prefix = over->prefix;
    if (c->norm_qk)
        norm_heads(m, l, a, t, pool);
    if (over->cos_sin)
        rlhf_layer_rotate(c, a->qkv, over->position, t, over->cos_sin, false, pool);
    if (shape.halves)
        round_keys_and_values(c, a->qkv, t, pool);
    if (over->items)
        rlhf_attention_extend(&shape, over->items, over->count, a->qkv, a->attention, pool);
    else
        rlhf_attention(&shape, a->qkv, a->attention, a->lse, pool);
}

/* A product of layer l, and what an adapter adds to it. */
static void project(const struct rlhf_model *m, const struct rlhf_layer *l, enum rlhf_slot slot,
                    const struct rlhf_attending *over, const float *x, size_t t, float *y, struct rlhf_pool *pool)
{
    const struct rlhf_product *p = rlhf_layer_product(l, slot);

    rlhf_product_forward(m, p, x, t, y, pool);
    if (over->adapting)
        rlhf_adapter_forward(over->adapting, l->index, slot, x, t, y, p->n, pool);
}

void rlhf_layer_activate(const struct rlhf_model_config *c, const struct rlhf_activations *a, size_t t,
                         struct rlhf_pool *pool)
{
    if (c->gated)
        rlhf_gate(c->activation, a->up, t, c->mlp_size, a->activated, pool);
    else
        rlhf_activate(c->activation, a->up, t * c->mlp_size, a->activated, pool);
}

/* What a branch of layer l adds to the stream, less what is dropped of it. */
static void drop(const struct rlhf_model *m, const struct rlhf_layer *l, uint32_t branch, const struct rlhf_attending *over,
                 float *x, struct rlhf_pool *pool)
{
    const struct rlhf_batch b = { .start = over->start, .sequences = over->sequences };

    if (over->dropout)
        rlhf_dropout_apply(over->dropout, 2 * l->index + branch, &b, over->position, m->config.channels, x, x,
                           pool);
}

void rlhf_layer_forward(const struct rlhf_model *m, const struct rlhf_layer *l, const struct rlhf_activations *a,
                        const struct rlhf_attending *over, size_t t, float *y, struct rlhf_pool *pool)
{
    const struct rlhf_model_config *c = &m->config;
    const size_t stream = t * c->channels;

    rlhf_norm_forward(m, &l->norm1, a->x, t, a->norm1, a->mean1, a->rstd1, pool);
    project(m, l, RLHF_SLOT_QKV, over, a->norm1, t, a->qkv, pool);
    attend(m, l, a, over, t, pool);
    project(m, l, RLHF_SLOT_OUT, over, a->attention, t, c->norm_post ? a->post1 : a->middle, pool);
    if (c->norm_post)
        rlhf_norm_forward(m, &l->post1, a->post1, t, a->middle, a->mean3, a->rstd3, pool);
    drop(m, l, 0, over, a->middle, pool);
    rlhf_add(a->x, stream, a->middle, pool);

    rlhf_norm_forward(m, &l->norm2, c->parallel ? a->x : a->middle, t, a->norm2, a->mean2, a->rstd2, pool);
    project(m, l, RLHF_SLOT_UP, over, a->norm2, t, a->up, pool);
    rlhf_layer_activate(c, a, t, pool);
    project(m, l, RLHF_SLOT_DOWN, over, a->activated, t, c->norm_post ? a->post2 : y, pool);
    if (c->norm_post)
        rlhf_norm_forward(m, &l->post2, a->post2, t, y, a->mean4, a->rstd4, pool);
    drop(m, l, 1, over, y, pool);
    rlhf_add(a->middle, stream, y, pool);
}
