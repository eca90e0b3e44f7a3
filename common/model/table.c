/* table.c - the table of parameters: names and layouts as in Hugging Face files, places in the block. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"

/* Matrices, their rows and columns as stored, in the order in which they stand in the block: q, k, v are
 * neighbours, and gate and up, so that each group is one product. GPT-2's Conv1D stores [in, out], Llama's
 * Linear [out, in]. */
struct names {
    const char *prefix; /* before the names of the body, those of `outside` and layers */
    const char *embedding, *positions, *norm; /* outside the layers */
    const char *layer;
    const char *norm1, *norm2, *post1, *post2;
    const char *qkv[3], *q_norm, *k_norm, *out;
    const char *up[2], *down;
    const char *head_in_files; /* where they do not say lm_head.weight, as transformers does in memory */
    bool conv1d;
};

static const struct names gpt2 = {
    .prefix = "transformer.", .embedding = "wte", .positions = "wpe", .norm = "ln_f", .layer = "h",
    .norm1 = "ln_1", .norm2 = "ln_2", .qkv = { "attn.c_attn" }, .out = "attn.c_proj",
    .up = { "mlp.c_fc" }, .down = "mlp.c_proj",
    .conv1d = true,
};
static const struct names llama = {
    .prefix = "model.", .embedding = "embed_tokens", .norm = "norm", .layer = "layers",
    .norm1 = "input_layernorm", .norm2 = "post_attention_layernorm",
    .qkv = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" }, .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm", .out = "self_attn.o_proj",
    .up = { "mlp.gate_proj", "mlp.up_proj" }, .down = "mlp.down_proj",
};
static const struct names neox = {
    .prefix = "gpt_neox.", .embedding = "embed_in", .norm = "final_layer_norm", .layer = "layers",
    .norm1 = "input_layernorm", .norm2 = "post_attention_layernorm", .qkv = { "attention.query_key_value" },
    .out = "attention.dense", .up = { "mlp.dense_h_to_4h" }, .down = "mlp.dense_4h_to_h", .head_in_files = "embed_out.weight",
};
static const struct names gemma2 = {
    .prefix = "model.", .embedding = "embed_tokens", .norm = "norm", .layer = "layers",
    .norm1 = "input_layernorm", .post1 = "post_attention_layernorm", .norm2 = "pre_feedforward_layernorm",
    .post2 = "post_feedforward_layernorm",
    .qkv = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" }, .out = "self_attn.o_proj",
    .up = { "mlp.gate_proj", "mlp.up_proj" }, .down = "mlp.down_proj",
};
static const struct names *const names_of[RLHF_FAMILIES] = {
    [RLHF_GPT2] = &gpt2, [RLHF_LLAMA] = &llama, [RLHF_MISTRAL] = &llama, [RLHF_QWEN2] = &llama, [RLHF_QWEN3] = &llama,
    [RLHF_GPT_NEOX] = &neox, [RLHF_GEMMA2] = &gemma2,
};

enum { PER_LAYER = 24, OUTSIDE = 5 }; /* most tensors in a layer, and outside */

const char *rlhf_model_file_name(const struct rlhf_model_config *c, const char *parameter)
{
    const struct names *n = names_of[c->family];

    return n->head_in_files && strcmp(parameter, "lm_head.weight") == 0 ? n->head_in_files : parameter;
}

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

/* One product of parts[i] outputs each, stored one after another, as are their biases; all take `in` inputs. */
static struct rlhf_product add_product(struct plan *p, const char *const *names, const size_t *parts, size_t count,
                                       size_t in, bool bias)
{
    struct rlhf_product product = { .k = in, .bias = RLHF_NOWHERE, .transposed = p->names->conv1d };

    for (size_t i = 0; i < count; i++) {
        size_t offset = p->names->conv1d ? add(p, names[i], "weight", in, parts[i])
                                         : add(p, names[i], "weight", parts[i], in);

        if (i == 0)
            product.weight = offset;
        product.n += parts[i];
    }
    for (size_t i = 0; bias && i < count; i++) {
        size_t offset = add(p, names[i], "bias", 0, parts[i]);

        if (i == 0)
            product.bias = offset;
    }
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

static struct rlhf_norm_place add_head_norm(struct plan *p, const char *name)
{
    return (struct rlhf_norm_place){ .gain = add(p, name, "weight", 0, p->m->config.head_size), .shift = RLHF_NOWHERE };
}

static void add_layer(struct plan *p, struct rlhf_layer *l)
{
    const struct rlhf_model_config *c = &p->m->config;
    const struct names *n = p->names;
    size_t q = (size_t)c->heads * c->head_size, kv = (size_t)c->kv_heads * c->head_size, mlp = c->mlp_size;

    l->norm1 = add_norm(p, n->norm1);
    if (n->qkv[1])
        l->qkv = add_product(p, n->qkv, (size_t[]){ q, kv, kv }, 3, c->channels, c->bias_qkv);
    else
        l->qkv = add_product(p, n->qkv, (size_t[]){ q + 2 * kv }, 1, c->channels, c->bias_qkv);
    if (c->norm_qk) {
        l->q = add_head_norm(p, n->q_norm);
        l->k = add_head_norm(p, n->k_norm);
    }
    l->out = add_product(p, &n->out, (size_t[]){ c->channels }, 1, q, c->bias_out);
    if (c->norm_post)
        l->post1 = add_norm(p, n->post1);
    l->norm2 = add_norm(p, n->norm2);
    l->up = add_product(p, n->up, (size_t[]){ mlp, mlp }, c->gated ? 2 : 1, c->channels, c->bias_mlp);
    l->down = add_product(p, &n->down, (size_t[]){ c->channels }, 1, mlp, c->bias_mlp);
    if (c->norm_post)
        l->post2 = add_norm(p, n->post2);
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
    struct plan p = { .fits = true };
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
    p.names = names_of[c->family];
    snprintf(p.prefix, sizeof p.prefix, "%s", p.names->prefix);
    m->embedding = add(&p, p.names->embedding, "weight", c->vocabulary, c->channels);
    m->positions = p.names->positions ? add(&p, p.names->positions, "weight", c->context, c->channels)
                                      : RLHF_NOWHERE;
    for (uint32_t i = 0; i < c->layers; i++) {
        snprintf(p.prefix, sizeof p.prefix, "%s%s.%u.", p.names->prefix, p.names->layer, i);
        m->layers[i].index = i;
        add_layer(&p, &m->layers[i]);
    }
    snprintf(p.prefix, sizeof p.prefix, "%s", p.names->prefix);
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
