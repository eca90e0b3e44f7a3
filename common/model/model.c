#include "model/model.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"
#include "model/internal.h"

/* ---- life ------------------------------------------------------------------------------------------ */

int rlhf_model_allocate(struct rlhf_model *m, struct rlhf_error *err)
{
    m->block = rlhf_aligned_new(m->count, sizeof *m->block, err);
    return m->block ? 0 : -1;
}

void rlhf_model_free(struct rlhf_model *m)
{
    if (!m)
        return;
    rlhf_model_thaw(m);
    for (uint32_t i = 0; m->layers && i < m->config.layers; i++) {
        rlhf_packed_free(&m->layers[i].qkv.packed);
        rlhf_packed_free(&m->layers[i].out.packed);
        rlhf_packed_free(&m->layers[i].up.packed);
        rlhf_packed_free(&m->layers[i].down.packed);
    }
    rlhf_packed_free(&m->head.packed);
    rlhf_packing_free(m->packing);
    free(m->layers);
    free(m->block);
    free(m->table);
    free(m);
}

/* Normal with standard deviation sd; the stream is named by the seed and the tensor's place in the table. */
static void fill_normal(float *x, size_t count, double sd, uint64_t seed, enum rlhf_purpose purpose, size_t tensor)
{
    struct rlhf_random random;

    rlhf_random_init(&random, seed, purpose, (uint32_t)tensor, 0);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(sd * (double)rlhf_random_normal(&random));
}

static void initialise_scalar_head(struct rlhf_model *m, uint64_t seed)
{
    fill_normal(m->block + m->head.weight, m->config.channels, 1 / sqrt(m->config.channels + 1.0), seed,
                RLHF_PURPOSE_HEAD, 0);
    m->bias = 0;
}

/* Where norms multiply by 1 + gain, 0 is the gain of nothing done. */
static void set_gain(struct rlhf_model *m, const struct rlhf_norm_place *place, size_t count)
{
    for (size_t i = 0; i < count; i++)
        m->block[place->gain + i] = m->config.norm_offset ? 0 : 1;
}

/* GPT-2's scheme: what writes into the residual stream starts smaller, by the number of such matrices. */
static void initialise(struct rlhf_model *m, uint64_t seed)
{
    const double sd = 0.02, residual = sd / sqrt(2.0 * m->config.layers);

    for (size_t i = 0; i < m->tensors; i++)
        if (m->table[i].dims == 2)
            fill_normal(m->block + m->table[i].offset, m->table[i].count, sd, seed, RLHF_PURPOSE_INIT, i);
    for (uint32_t i = 0; i < m->config.layers; i++) {
        const struct rlhf_layer *l = &m->layers[i];
        const struct rlhf_product *writers[] = { &l->out, &l->down };

        for (int w = 0; w < 2; w++)
            for (size_t j = 0; j < writers[w]->n * writers[w]->k; j++)
                m->block[writers[w]->weight + j] *= (float)(residual / sd);
        set_gain(m, &l->norm1, m->config.channels);
        set_gain(m, &l->norm2, m->config.channels);
        if (m->config.norm_post) {
            set_gain(m, &l->post1, m->config.channels);
            set_gain(m, &l->post2, m->config.channels);
        }
        if (m->config.norm_qk) {
            set_gain(m, &l->q, m->config.head_size);
            set_gain(m, &l->k, m->config.head_size);
        }
    }
    set_gain(m, &m->norm, m->config.channels);
    if (m->config.head == RLHF_HEAD_SCALAR)
        initialise_scalar_head(m, seed);
}

struct rlhf_model *rlhf_model_new(const struct rlhf_model_config *c, uint64_t seed, struct rlhf_error *err)
{
    struct rlhf_model *m = rlhf_model_plan(c, err);

    if (!m)
        return NULL;
    if (rlhf_model_allocate(m, err) == 0) {
        initialise(m, seed);
        rlhf_model_touch(m, NULL);
        return m;
    }
    rlhf_model_free(m);
    return NULL;
}

/* The tensors of the body come first in both tables, the head's last. */
static void copy_body(struct rlhf_model *copy, const struct rlhf_model *m, bool head)
{
    for (size_t i = 0; i < m->tensors; i++)
        if (head || m->table[i].offset + m->table[i].count <= m->body_count)
            rlhf_model_values(m, i, 0, m->table[i].count, copy->block + copy->table[i].offset);
}

struct rlhf_model *rlhf_model_clone(const struct rlhf_model *m, enum rlhf_head head, uint64_t seed,
                                    struct rlhf_error *err)
{
    struct rlhf_model_config c = m->config;
    struct rlhf_model *copy;
    bool same = head == c.head;

    if (head == RLHF_HEAD_LM && !same && !c.tied) {
        rlhf_fail(err, RLHF_REJECT, "a reward model with untied embeddings has no language-model head to go back to");
        return NULL;
    }
    c.head = head;
    if (!(copy = rlhf_model_plan(&c, err)))
        return NULL;
    if (rlhf_model_allocate(copy, err) == 0) {
        copy_body(copy, m, same);
        copy->bias = same ? m->bias : 0;
        if (!same && head == RLHF_HEAD_SCALAR)
            initialise_scalar_head(copy, seed);
        rlhf_model_touch(copy, NULL);
        return copy;
    }
    rlhf_model_free(copy);
    return NULL;
}

/* ---- weights --------------------------------------------------------------------------------------- */

/* Passes pack when they meet a version that is not packed. */
void rlhf_model_touch(struct rlhf_model *m, struct rlhf_pool *pool)
{
    static atomic_uint_fast64_t versions;

    (void)pool;
    m->version = 1 + atomic_fetch_add(&versions, 1);
}

void rlhf_model_set_products(struct rlhf_model *m, enum rlhf_products products)
{
    if (m->config.products == products)
        return;
    m->config.products = products;
    rlhf_model_touch(m, NULL); /* packed anew */
}

const struct rlhf_model_config *rlhf_model_get_config(const struct rlhf_model *m)
{
    return &m->config;
}

float *rlhf_model_parameters(struct rlhf_model *m, size_t *count)
{
    RLHF_ASSERT(!m->frozen);
    *count = m->count;
    return m->block;
}

const struct rlhf_parameter *rlhf_model_table(const struct rlhf_model *m, size_t *count)
{
    *count = m->tensors;
    return m->table;
}

float rlhf_model_bias(const struct rlhf_model *m)
{
    return m->bias;
}

void rlhf_model_set_bias(struct rlhf_model *m, float bias)
{
    m->bias = bias;
}
