/* layer.c - one block of the transformer, forward: the same for training, scoring and generation. */
#include <stdlib.h>

#include "model/internal.h"

int rlhf_activations_get(struct rlhf_activations *a, const struct rlhf_model_config *c, size_t t, bool keep,
                         struct rlhf_arena *arena)
{
    const size_t channels = c->channels, q = (size_t)c->heads * c->head_size;
    const size_t qkv = q + 2 * (size_t)c->kv_heads * c->head_size;
    const size_t up = (c->mlp == RLHF_MLP_SWIGLU ? 2 : 1) * (size_t)c->mlp_size;
    const struct {
        float **place;
        size_t width;
    } parts[] = {
        { &a->x, channels },      { &a->norm1, channels },  { &a->mean1, 1 },     { &a->rstd1, 1 },
        { &a->qkv, qkv },         { &a->attention, q },     { &a->middle, channels }, { &a->norm2, channels },
        { &a->mean2, 1 },         { &a->rstd2, 1 },         { &a->up, up },       { &a->activated, c->mlp_size },
        { &a->lse, keep ? c->heads : 0 },
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].place = parts[i].width ? rlhf_arena_get(arena, t, parts[i].width * sizeof(float)) : NULL;
        if (parts[i].width && !*parts[i].place)
            return -1;
    }
    return 0;
}

int rlhf_rope_grow(float **table, size_t *have, size_t length, const struct rlhf_model_config *c,
                   struct rlhf_error *err)
{
    size_t wanted = 64;
    float *grown;

    if (c->position != RLHF_POSITION_ROTARY || length <= *have)
        return 0;
    while (wanted < length)
        wanted *= 2;
    if (!(grown = rlhf_aligned_new(wanted, c->head_size * sizeof *grown, err)))
        return -1;
    rlhf_rope_table(c->rope_theta, wanted, c->head_size, grown);
    free(*table);
    *table = grown;
    *have = wanted;
    return 0;
}

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
        rlhf_rmsnorm(x, at(m, place->gain), c->norm_epsilon, t, c->channels, y, rstd, pool);
}

void rlhf_product_forward(const struct rlhf_model *m, const struct rlhf_product *p, const float *x, size_t t,
                          float *y, struct rlhf_pool *pool)
{
    rlhf_linear(&p->packed, x, p->k, t, at(m, p->bias), false, y, p->n, pool);
}

static void attend(const struct rlhf_model_config *c, const struct rlhf_activations *a,
                   const struct rlhf_attending *over, size_t t, struct rlhf_pool *pool)
{
    const size_t width = (size_t)(c->heads + 2 * c->kv_heads) * c->head_size;

    if (over->cos_sin) /* q and k are neighbours: one call turns both */
        rlhf_rope(a->qkv, width, c->heads + c->kv_heads, c->head_size, over->position, t, over->cos_sin, false, pool);
    if (over->items)
        rlhf_attention_extend(over->items, over->count, c->heads, c->kv_heads, c->head_size, a->qkv, a->attention,
                              pool);
    else
        rlhf_attention(over->shape, a->qkv, a->attention, a->lse, pool);
}

void rlhf_layer_forward(const struct rlhf_model *m, const struct rlhf_layer *l, const struct rlhf_activations *a,
                        const struct rlhf_attending *over, size_t t, float *y, struct rlhf_pool *pool)
{
    const struct rlhf_model_config *c = &m->config;
    const size_t stream = t * c->channels;

    rlhf_norm_forward(m, &l->norm1, a->x, t, a->norm1, a->mean1, a->rstd1, pool);
    rlhf_product_forward(m, &l->qkv, a->norm1, t, a->qkv, pool);
    attend(c, a, over, t, pool);
    rlhf_product_forward(m, &l->out, a->attention, t, a->middle, pool);
    rlhf_add(a->x, stream, a->middle, pool);

    rlhf_norm_forward(m, &l->norm2, a->middle, t, a->norm2, a->mean2, a->rstd2, pool);
    rlhf_product_forward(m, &l->up, a->norm2, t, a->up, pool);
    if (c->mlp == RLHF_MLP_SWIGLU)
        rlhf_swiglu(a->up, t, c->mlp_size, a->activated, pool);
    else
        rlhf_gelu(a->up, t * c->mlp_size, a->activated, pool);
    rlhf_product_forward(m, &l->down, a->activated, t, y, pool);
    rlhf_add(a->middle, stream, y, pool);
}
