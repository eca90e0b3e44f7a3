/* table.c - the table of parameters: names and layouts as in Hugging Face files, places in the block. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

/* Matrices, their rows and columns as stored, in the order in which they stand in the block: q, k, v are
 * neighbours, and gate and up, so that each group is one product. GPT-2's Conv1D stores [in, out], Llama's
 * Linear [out, in]. */
struct names {
    const char *embedding, *positions;
    const char *layer;
    const char *norm1, *norm2;
    const char *qkv[3], *out;
    const char *up[2], *down;
    const char *norm;
    bool conv1d;
};

static const struct names gpt2 = {
    .embedding = "transformer.wte", .positions = "transformer.wpe", .layer = "transformer.h",
    .norm1 = "ln_1", .norm2 = "ln_2", .qkv = { "attn.c_attn" }, .out = "attn.c_proj",
    .up = { "mlp.c_fc" }, .down = "mlp.c_proj", .norm = "transformer.ln_f", .conv1d = true,
};
static const struct names llama = {
    .embedding = "model.embed_tokens", .layer = "model.layers",
    .norm1 = "input_layernorm", .norm2 = "post_attention_layernorm",
    .qkv = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" }, .out = "self_attn.o_proj",
    .up = { "mlp.gate_proj", "mlp.up_proj" }, .down = "mlp.down_proj", .norm = "model.norm", .conv1d = false,
};

enum { PER_LAYER = 12, OUTSIDE = 5 }; /* most tensors in a layer, and outside */

/* The table as it grows; fits turns false when a size overflows. */
struct plan {
    struct rlhf_model *m;
    const struct names *names;
    char prefix[48];
    bool fits;
};

static size_t add(struct plan *p, const char *name, const char *suffix, size_t rows, size_t columns)
{
    struct rlhf_model *m = p->m;
    struct rlhf_parameter *e = &m->table[m->tensors++];
    size_t bytes;

    snprintf(e->name, sizeof e->name, "%s%s.%s", p->prefix, name, suffix);
    e->dims = rows ? 2 : 1;
    e->shape[0] = rows ? rows : columns;
    e->shape[1] = rows ? columns : 0;
    e->offset = m->count;
    e->decayed = rows != 0;
    p->fits = p->fits && rlhf_mul_size(rows ? rows : 1, columns, &e->count)
              && rlhf_add_size(m->count, e->count, &m->count) && rlhf_mul_size(m->count, sizeof(float), &bytes);
    return e->offset;
}

/* One product of parts[i] outputs each, stored one after another; all take `in` inputs. */
static struct rlhf_product add_product(struct plan *p, const char *const *names, const size_t *parts, size_t count,
                                       size_t in)
{
    struct rlhf_product product = { .k = in, .bias = RLHF_NOWHERE, .transposed = p->names->conv1d };

    for (size_t i = 0; i < count; i++) {
        size_t offset = p->names->conv1d ? add(p, names[i], "weight", in, parts[i])
                                         : add(p, names[i], "weight", parts[i], in);

        if (i == 0)
            product.weight = offset;
        product.n += parts[i];
    }
    if (p->m->config.bias)
        product.bias = add(p, names[0], "bias", 0, product.n);
    return product;
}

static struct rlhf_norm_place add_norm(struct plan *p, const char *name)
{
    const struct rlhf_model_config *c = &p->m->config;
    struct rlhf_norm_place place = { .shift = RLHF_NOWHERE };

    place.gain = add(p, name, "weight", 0, c->channels);
    if (c->norm == RLHF_NORM_LAYER)
        place.shift = add(p, name, "bias", 0, c->channels);
    return place;
}

static void add_layer(struct plan *p, struct rlhf_layer *l)
{
    const struct rlhf_model_config *c = &p->m->config;
    size_t q = (size_t)c->heads * c->head_size, kv = (size_t)c->kv_heads * c->head_size, mlp = c->mlp_size;

    l->norm1 = add_norm(p, p->names->norm1);
    if (p->names->conv1d)
        l->qkv = add_product(p, p->names->qkv, (size_t[]){ q + 2 * kv }, 1, c->channels);
    else
        l->qkv = add_product(p, p->names->qkv, (size_t[]){ q, kv, kv }, 3, c->channels);
    l->out = add_product(p, &p->names->out, (size_t[]){ c->channels }, 1, q);
    l->norm2 = add_norm(p, p->names->norm2);
    l->up = add_product(p, p->names->up, (size_t[]){ mlp, mlp }, c->mlp == RLHF_MLP_SWIGLU ? 2 : 1, c->channels);
    l->down = add_product(p, &p->names->down, (size_t[]){ c->channels }, 1, mlp);
}

static void add_head(struct plan *p)
{
    struct rlhf_model *m = p->m;
    const struct rlhf_model_config *c = &m->config;

    m->head = (struct rlhf_product){ .n = c->head == RLHF_HEAD_LM ? c->vocabulary : 1, .k = c->channels,
                                     .bias = RLHF_NOWHERE };
    p->prefix[0] = '\0';
    if (c->head == RLHF_HEAD_SCALAR)
        m->head.weight = add(p, "score", "weight", 1, c->channels);
    else if (c->tied)
        m->head.weight = m->embedding;
    else
        m->head.weight = add(p, "lm_head", "weight", c->vocabulary, c->channels);
}

struct rlhf_model *rlhf_model_plan(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    struct plan p = { .names = c->norm == RLHF_NORM_LAYER ? &gpt2 : &llama, .fits = true };
    struct rlhf_model *m;

    if (rlhf_model_config_check(c, err) < 0)
        return NULL;
    p.m = m = calloc(1, sizeof *m);
    if (!m || !(m->table = calloc((size_t)c->layers * PER_LAYER + OUTSIDE, sizeof *m->table))
        || !(m->layers = calloc(c->layers, sizeof *m->layers)) || !(m->packing = rlhf_packing_new(NULL))) {
        rlhf_fail(err, RLHF_FULL, "no memory for the table of a model of %u layers", c->layers);
        rlhf_model_free(m);
        return NULL;
    }
    m->config = *c;
    m->embedding = add(&p, p.names->embedding, "weight", c->vocabulary, c->channels);
    m->positions = p.names->positions ? add(&p, p.names->positions, "weight", c->context, c->channels)
                                      : RLHF_NOWHERE;
    for (uint32_t i = 0; i < c->layers; i++) {
        snprintf(p.prefix, sizeof p.prefix, "%s.%u.", p.names->layer, i);
        add_layer(&p, &m->layers[i]);
    }
    p.prefix[0] = '\0';
    m->norm = add_norm(&p, p.names->norm);
    m->body_count = m->count;
    add_head(&p);
    if (!p.fits) {
        rlhf_fail(err, RLHF_REJECT, "a model of %u layers and %u channels has more parameters than memory can "
                  "address", c->layers, c->channels);
        rlhf_model_free(m);
        return NULL;
    }
    return m;
}
