/* weights.c - how passes get at weights, in the block or in files: packed products, rows of the embedding. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
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

/* ---- weights that stay in files ---------------------------------------------------------------------- */

struct rlhf_frozen {
    struct rlhf_source source;
    size_t reserved; /* bytes of address space at m->block */
};

/* Gains, shifts and biases are where a block would have them; the rest of it is address space that nobody may touch, so
 * that whoever takes a frozen model for another is stopped at once. */
static int read_vectors(struct rlhf_model *m, const struct rlhf_source *s, struct rlhf_error *err)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];
        uintptr_t from = (uintptr_t)(m->block + p->offset), to = (uintptr_t)(m->block + p->offset + p->count);

        if (p->dims != 1)
            continue;
        from -= from % page;
        if (mprotect((void *)from, to - from, PROT_READ | PROT_WRITE) < 0)
            return rlhf_fail_errno(err, errno, "cannot hold %s", p->name);
        rlhf_source_read(s, i, 0, p->count, m->block + p->offset);
        if (rlhf_source_bad(m, s, i, err) < 0)
            return -1;
    }
    return 0;
}

int rlhf_model_freeze(struct rlhf_model *m, struct rlhf_source *s, struct rlhf_error *err)
{
    struct rlhf_frozen *f = calloc(1, sizeof *f);
    void *block;

    if (!f)
        return rlhf_fail(err, RLHF_FULL, "no memory for a model");
    f->reserved = m->count * sizeof *m->block;
    block = mmap(NULL, f->reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) {
        rlhf_fail_errno(err, errno, "no address space for a model of %zu parameters", m->count);
        free(f);
        return -1;
    }
    m->block = block;
    m->frozen = f;
    if (read_vectors(m, s, err) < 0)
        return -1;
    f->source = *s;
    *s = (struct rlhf_source){ 0 };
    return 0;
}

void rlhf_model_thaw(struct rlhf_model *m)
{
    if (!m->frozen)
        return;
    if (m->frozen->source.products)
        rlhf_panels_lend(m, NULL);
    munmap(m->block, m->frozen->reserved);
    m->block = NULL;
    rlhf_source_close(&m->frozen->source);
    free(m->frozen);
    m->frozen = NULL;
}

const struct rlhf_source *rlhf_model_source(const struct rlhf_model *m)
{
    return m->frozen ? &m->frozen->source : NULL;
}

int rlhf_model_is_frozen(const struct rlhf_model *m)
{
    return m->frozen != NULL;
}

void rlhf_model_values(const struct rlhf_model *m, size_t tensor, size_t from, size_t count, float *out)
{
    if (m->frozen && !m->frozen->source.of[tensor])
        rlhf_panels_values(m, tensor, from, count, out);
    else if (m->frozen)
        rlhf_source_read(&m->frozen->source, tensor, from, count, out);
    else
        memcpy(out, m->block + m->table[tensor].offset + from, count * sizeof *out);
}

/* Which tensor begins at this place of the block. */
static size_t tensor_at(const struct rlhf_model *m, size_t offset)
{
    size_t low = 0, high = m->tensors - 1;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (m->table[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    RLHF_ASSERT(m->table[low].offset == offset);
    return low;
}

enum { PIECES = 4 }; /* q, k and v at most */

/* A head of one column is a sliver of the work, and rewards are compared by what little they differ. */
enum rlhf_products rlhf_product_products(const struct rlhf_model *m, const struct rlhf_product *p)
{
    return p == &m->head && m->config.head == RLHF_HEAD_SCALAR ? RLHF_PRODUCTS_F32 : m->config.products;
}

static int pack_stored(const struct rlhf_model *m, const struct rlhf_product *p, bool back, struct rlhf_packed *to,
                       struct rlhf_pool *pool, struct rlhf_error *err)
{
    const struct rlhf_source *s = &m->frozen->source;
    const size_t first = tensor_at(m, p->weight), rows = p->transposed ? p->k : p->n;
    struct rlhf_piece pieces[PIECES];
    size_t count = 0;
    bool rounded = rlhf_product_products(m, p) == RLHF_PRODUCTS_BF16, halves = s->panels != RLHF_PANELS_F32;
    int rc;

    if (p == &m->head && rlhf_source_check_tied(m, s, err) < 0)
        return -1;
    for (size_t have = 0; have < rows; have += pieces[count++].rows) {
        size_t tensor = first + count;

        RLHF_ASSERT(count < PIECES && tensor < m->tensors);
        pieces[count] = (struct rlhf_piece){ s->of[tensor]->data, s->number[tensor], m->table[tensor].shape[0] };
        halves = halves && (s->panels == RLHF_PANELS_BF16 || s->number[tensor] == RLHF_NUMBER_BF16);
    }
    rc = rlhf_pack_pieces(to, pieces, count, back ? p->k : p->n, back ? p->n : p->k, p->transposed != back,
                          halves || rounded, pool, err);
    to->products = rlhf_product_products(m, p);
    for (size_t i = 0; rc < 0 && i < count; i++) /* which weight it was */
        if (rlhf_source_bad(m, s, first + i, err) < 0)
            return -1;
    if (rc < 0)
        return rlhf_fail_prefix(err, "%s", m->table[first].name);
    for (size_t i = 0; i < count; i++)
        rlhf_checkpoint_release(&s->files, s->of[first + i]);
    if (p == &m->head && s->tied)
        rlhf_checkpoint_release(&s->files, s->tied);
    return 0;
}

static int store_row(const struct rlhf_model *m, size_t tensor, size_t row, size_t c, float *y)
{
    rlhf_model_values(m, tensor, row * c, c, y);
    return rlhf_weights_finite(y, c) ? 0 : -1;
}

struct lookup {
    const struct rlhf_model *m;
    const int32_t *token;
    const uint32_t *position;
    size_t t;
    float *y, *room; /* [T, C]; [C] a task where there are learned positions */
    atomic_size_t bad; /* a tensor that is not finite, and one; 0: none */
};

enum { ROWS_A_TASK = 16 };

static void lookup_part(void *ctx, size_t index)
{
    struct lookup *l = ctx;
    const size_t c = l->m->config.channels, embedding = tensor_at(l->m, l->m->embedding);
    const size_t to = (index + 1) * ROWS_A_TASK < l->t ? (index + 1) * ROWS_A_TASK : l->t;
    float *position = l->room ? l->room + index * c : NULL;

    for (size_t i = index * ROWS_A_TASK; i < to; i++) {
        float *y = l->y + i * c;

        if (store_row(l->m, embedding, (size_t)l->token[i], c, y) < 0)
            atomic_store(&l->bad, embedding + 1);
        if (!position)
            continue;
        if (store_row(l->m, tensor_at(l->m, l->m->positions), l->position[i], c, position) < 0)
            atomic_store(&l->bad, tensor_at(l->m, l->m->positions) + 1);
        for (size_t j = 0; j < c; j++)
            y[j] += position[j];
    }
}

static int look_up(const struct rlhf_model *m, const int32_t *token, const uint32_t *position, size_t t, float *y,
                   struct rlhf_pool *pool, struct rlhf_error *err)
{
    const size_t tasks = (t + ROWS_A_TASK - 1) / ROWS_A_TASK;
    struct lookup l = { .m = m, .token = token, .position = position, .t = t, .y = y };

    if (m->positions != RLHF_NOWHERE
        && !(l.room = rlhf_aligned_new(tasks * m->config.channels, sizeof *l.room, err)))
        return -1;
    rlhf_pool_for(tasks > 1 ? pool : NULL, tasks, lookup_part, &l);
    free(l.room);
    return atomic_load(&l.bad) ? rlhf_source_bad(m, &m->frozen->source, atomic_load(&l.bad) - 1, err) : 0;
}

/* ---- for passes --------------------------------------------------------------------------------------- */

int rlhf_product_pack(const struct rlhf_model *m, const struct rlhf_product *p, bool back, struct rlhf_packed *to,
                      struct rlhf_pool *pool, struct rlhf_error *err)
{
    if (m->frozen && m->frozen->source.products)
        return rlhf_panels_pack(m, p, back, to, pool, err);
    if (m->frozen)
        return pack_stored(m, p, back, to, pool, err);
    return (rlhf_product_products(m, p) == RLHF_PRODUCTS_BF16 ? rlhf_pack_rounded : rlhf_pack)(
        to, m->block + p->weight, back ? p->k : p->n, back ? p->n : p->k, p->transposed != back, pool, err);
}

static int pack(const struct rlhf_model *m, struct rlhf_product *p, struct rlhf_pool *pool, struct rlhf_error *err)
{
    return rlhf_product_pack(m, p, false, &p->packed, pool, err);
}

/* The head's panels are a part of m, not behind a pointer as the layers' are; only who holds the lock writes them. */
static int pack_all(struct rlhf_model *m, struct rlhf_pool *pool, struct rlhf_error *err)
{
    if (m->frozen && m->frozen->source.products) {
        rlhf_panels_lend(m, &m->frozen->source);
        return 0;
    }
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
    if (m->frozen) {
        if (look_up(m, token, position, t, y, pool, err) < 0)
            return -1;
    } else {
        rlhf_embed(m->block + m->embedding, token, m->positions == RLHF_NOWHERE ? NULL : m->block + m->positions,
                   position, t, m->config.channels, y, pool);
    }
    if (m->config.embedding_scaled)
        rlhf_scale(y, t * m->config.channels, sqrtf((float)m->config.channels), pool);
    return 0;
}
