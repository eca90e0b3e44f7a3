/* weights.c - how passes get at weights: packed products, rows of the embedding. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "model/internal.h"

struct rlhf_packing {
    pthread_mutex_t lock;     /* of whoever packs */
    atomic_uint_fast64_t version; /* that is packed; 0: none */
};

struct rlhf_packing *rlhf_packing_new(struct rlhf_error *err)
{
    struct rlhf_packing *p = calloc(1, sizeof *p);

    if (!p) {
        rlhf_fail(err, RLHF_FULL, "no memory for a model");
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void rlhf_packing_free(struct rlhf_packing *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int rlhf_product_pack(const struct rlhf_model *m, const struct rlhf_product *p, bool back, struct rlhf_packed *to,
                      struct rlhf_pool *pool, struct rlhf_error *err)
{
    return rlhf_pack(to, m->block + p->weight, back ? p->k : p->n, back ? p->n : p->k, p->transposed != back, pool, err);
}

static int pack(const struct rlhf_model *m, struct rlhf_product *p, struct rlhf_pool *pool, struct rlhf_error *err)
{
    return rlhf_product_pack(m, p, false, &p->packed, pool, err);
}

/* The head's panels are a part of m, not behind a pointer as the layers' are; only who holds the lock writes them. */
static int pack_all(struct rlhf_model *m, struct rlhf_pool *pool, struct rlhf_error *err)
{
    for (uint32_t i = 0; i < m->config.layers; i++) {
        struct rlhf_layer *l = &m->layers[i];

        if (pack(m, &l->qkv, pool, err) < 0 || pack(m, &l->out, pool, err) < 0 || pack(m, &l->up, pool, err) < 0
            || pack(m, &l->down, pool, err) < 0)
            return -1;
    }
    return pack(m, &m->head, pool, err);
}

int rlhf_model_ready(const struct rlhf_model *m, struct rlhf_pool *pool, struct rlhf_error *err)
{
    struct rlhf_packing *p = m->packing;
    int rc = 0;

    if (atomic_load_explicit(&p->version, memory_order_acquire) == m->version)
        return 0;
    pthread_mutex_lock(&p->lock);
    if (atomic_load_explicit(&p->version, memory_order_relaxed) != m->version
        && (rc = pack_all((struct rlhf_model *)m, pool, err)) == 0)
        atomic_store_explicit(&p->version, m->version, memory_order_release);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int rlhf_model_embed(const struct rlhf_model *m, const int32_t *token, const uint32_t *position, size_t t, float *y,
                     struct rlhf_pool *pool, struct rlhf_error *err)
{
    (void)err;
    rlhf_embed(m->block + m->embedding, token, m->positions == RLHF_NOWHERE ? NULL : m->block + m->positions, position,
               t, m->config.channels, y, pool);
    return 0;
}
