#include "model/panel_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/internal.h"
#include "tensor/panel.h"

enum { ALIGNMENT = 64, COPY = 1 << 18 /* floats a task copies or looks at: about 100 us */ };

static const char *const places[] = { "qkv", "out", "up", "down" };
enum { PLACES = sizeof places / sizeof places[0] };

/* Product i of the file: the layers' four each, then the head. */
static struct rlhf_product *product_at(struct rlhf_model *m, size_t i, char name[RLHF_PARAMETER_NAME])
{
    struct rlhf_layer *l = &m->layers[i / PLACES];

    if (i == (size_t)m->config.layers * PLACES) {
        snprintf(name, RLHF_PARAMETER_NAME, "panels.head");
        return &m->head;
    }
    snprintf(name, RLHF_PARAMETER_NAME, "panels.%zu.%s", i / PLACES, places[i % PLACES]);
    return (struct rlhf_product *[]){ &l->qkv, &l->out, &l->up, &l->down }[i % PLACES];
}

static size_t products(const struct rlhf_model *m)
{
    return (size_t)m->config.layers * PLACES + 1;
}

/* [panels][words of a column][16 lanes], words of fp32 or of two bfloat16. */
static struct rlhf_safetensor shape_of(const struct rlhf_model *m, const struct rlhf_product *p, const char *name)
{
    const bool halves = rlhf_product_products(m, p) == RLHF_PRODUCTS_BF16;
    const size_t panel = rlhf_panel_words(p->k, halves), count = rlhf_panel_count(p->n);

    return (struct rlhf_safetensor){
        .name = name, .dtype = halves ? RLHF_DTYPE_BF16 : RLHF_DTYPE_F32, .dims = halves ? 4 : 3,
        .shape = { count, panel / RLHF_PANEL_LANES, RLHF_PANEL_LANES, 2 }, .size = count * panel * sizeof(float),
    };
}

/* Whether a tensor of the table is a product's, its panels fp32, so that its rows are nowhere else. */
static bool in_panels(const struct rlhf_model *m, size_t tensor)
{
    const struct rlhf_parameter *t = &m->table[tensor];
    char name[RLHF_PARAMETER_NAME];

    if (t->dims == 1)
        return false;
    for (size_t i = 0; i < products(m); i++) {
        const struct rlhf_product *p = product_at((struct rlhf_model *)m, i, name);

        if (t->offset >= p->weight && t->offset < p->weight + p->n * p->k)
            return t->offset != m->embedding || rlhf_product_products(m, p) == RLHF_PRODUCTS_F32;
    }
    return false;
}

/* ---- writing ----------------------------------------------------------------------------------------- */

void rlhf_panel_file_free(struct rlhf_panel_file *p)
{
    rlhf_bytes_free(&p->config);
    rlhf_bytes_free(&p->head);
    *p = (struct rlhf_panel_file){ 0 };
}

/* The file's tensors in their order; names holds those of the products. Returns how many. */
static size_t list(const struct rlhf_model *m, struct rlhf_safetensor *t, char (*names)[RLHF_PARAMETER_NAME])
{
    size_t count = 0;

    for (; count < products(m); count++) {
        const struct rlhf_product *p = product_at((struct rlhf_model *)m, count, names[count]);

        t[count] = shape_of(m, p, names[count]);
    }
    for (size_t i = 0; i < m->tensors; i++) {
        const struct rlhf_parameter *p = &m->table[i];

        if (!in_panels(m, i))
            t[count++] = (struct rlhf_safetensor){ .name = p->name, .dtype = RLHF_DTYPE_F32, .dims = p->dims,
                                                   .shape = { p->shape[0], p->shape[1] },
                                                   .data = (const uint8_t *)(m->block + p->offset),
                                                   .size = p->count * sizeof(float) };
    }
    return count;
}

struct tensors {
    struct rlhf_safetensor *list;
    char (*names)[RLHF_PARAMETER_NAME];
    size_t count;
};

static int list_tensors(struct tensors *t, const struct rlhf_model *m, struct rlhf_error *err)
{
    t->list = calloc(products(m) + m->tensors, sizeof *t->list);
    t->names = calloc(products(m), sizeof *t->names);
    if (!t->list || !t->names)
        return rlhf_fail(err, RLHF_FULL, "no memory for a table of %zu tensors", products(m) + m->tensors);
    t->count = list(m, t->list, t->names);
    return 0;
}

static void free_tensors(struct tensors *t)
{
    free(t->list);
    free(t->names);
}

/* Blanks behind the header's JSON, so that the data begin at a multiple of 64 bytes. */
static int pad(struct rlhf_bytes *head, struct rlhf_error *err)
{
    uint64_t size;

    while (head->size % ALIGNMENT)
        if (rlhf_bytes_append(head, " ", 1, err) < 0)
            return -1;
    size = head->size - sizeof size;
    memcpy(head->data, &size, sizeof size);
    return 0;
}

int rlhf_panel_file_plan(struct rlhf_panel_file *p, const struct rlhf_model *m, struct rlhf_error *err)
{
    struct tensors t = { 0 };
    int rc;

    RLHF_ASSERT(!m->frozen);
    *p = (struct rlhf_panel_file){ 0 };
    rc = list_tensors(&t, m, err) < 0 || rlhf_model_config_write(&m->config, m->bias, &p->config, err) < 0
                 || rlhf_safetensors_header(t.list, t.count, &p->head, err) < 0 || pad(&p->head, err) < 0 ? -1 : 0;
    p->size = p->head.size;
    for (size_t i = 0; rc == 0 && i < t.count; i++)
        p->size += t.list[i].size;
    free_tensors(&t);
    if (rc < 0)
        rlhf_panel_file_free(p);
    return rc;
}

struct copying {
    const uint8_t *from;
    uint8_t *to;
    size_t size;
};

static void copy_part(void *ctx, size_t index)
{
    const struct copying *c = ctx;
    size_t at = index * COPY * sizeof(float), left = c->size - at;

    memcpy(c->to + at, c->from + at, left < COPY * sizeof(float) ? left : COPY * sizeof(float));
}

static void copy(const struct rlhf_safetensor *t, void *to, struct rlhf_pool *pool)
{
    rlhf_pool_for(pool, (t->size / sizeof(float) + COPY - 1) / COPY, copy_part, &(struct copying){ t->data, to, t->size });
}

/* Packs product i where it lies in the file. */
static int pack_at(const struct rlhf_model *m, size_t i, void *to, struct rlhf_pool *pool, struct rlhf_error *err)
{
    char name[RLHF_PARAMETER_NAME];
    const struct rlhf_product *p = product_at((struct rlhf_model *)m, i, name);
    const bool halves = rlhf_product_products(m, p) == RLHF_PRODUCTS_BF16;
    struct rlhf_packed place = { .panels = to, .room = rlhf_panel_count(p->n) * rlhf_panel_words(p->k, halves) * sizeof(float) };

    if (rlhf_product_pack(m, p, false, &place, pool, err) < 0)
        return -1;
    RLHF_ASSERT(place.panels == to); /* as large as it was said to be */
    return 0;
}

int rlhf_panel_file_write(const struct rlhf_panel_file *p, const struct rlhf_model *m, void *to, struct rlhf_pool *pool,
                      struct rlhf_error *err)
{
    uint8_t *at = (uint8_t *)to + p->head.size;
    struct tensors t = { 0 };
    int rc = rlhf_model_check_finite(m, pool, err) < 0 ? rlhf_fail_prefix(err, "the model is not published")
                                                       : list_tensors(&t, m, err);

    memcpy(to, p->head.data, p->head.size);
    for (size_t i = 0; rc == 0 && i < t.count; at += t.list[i++].size)
        if (i < products(m))
            rc = pack_at(m, i, at, pool, err);
        else
            copy(&t.list[i], at, pool);
    free_tensors(&t);
    return rc;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

bool rlhf_panels_present(const struct rlhf_checkpoint *k)
{
    return rlhf_checkpoint_find(k, "panels.head");
}

static const struct rlhf_safetensor *find(const struct rlhf_checkpoint *k, const struct rlhf_safetensor *wanted,
                                          struct rlhf_error *err)
{
    const struct rlhf_safetensor *t = rlhf_checkpoint_find(k, wanted->name);
    char is[96], want[96];

    if (!t)
        rlhf_fail(err, RLHF_CORRUPT, "missing %s: do weights and config.json belong together?", wanted->name);
    else if (t->dtype == wanted->dtype && t->dims == wanted->dims
             && memcmp(t->shape, wanted->shape, t->dims * sizeof *t->shape) == 0)
        return t;
    else
        rlhf_fail(err, RLHF_CORRUPT, "misshapen %s: %s %s, not %s %s", wanted->name, rlhf_dtype_name(t->dtype),
                  rlhf_safetensor_shape(t, is, sizeof is), rlhf_dtype_name(wanted->dtype),
                  rlhf_safetensor_shape(wanted, want, sizeof want));
    return NULL;
}

int rlhf_panels_match(const struct rlhf_model *m, struct rlhf_source *s, struct rlhf_error *err)
{
    struct tensors t = { 0 };
    int rc = list_tensors(&t, m, err);

    s->of = calloc(m->tensors, sizeof *s->of);
    s->number = calloc(m->tensors, sizeof *s->number); /* zero is fp32 */
    s->products = calloc(products(m), sizeof *s->products);
    if (rc == 0 && (!s->of || !s->number || !s->products))
        rc = rlhf_fail(err, RLHF_FULL, "no memory for a list of %zu tensors", m->tensors);
    for (size_t i = 0; rc == 0 && i < products(m); i++)
        if (!(s->products[i] = find(&s->files, &t.list[i], err)))
            rc = -1;
    for (size_t i = 0, row = products(m); rc == 0 && i < m->tensors; i++)
        if (!in_panels(m, i) && !(s->of[i] = find(&s->files, &t.list[row++], err)))
            rc = -1;
    if (rc == 0 && s->files.count != t.count)
        rc = rlhf_fail(err, RLHF_CORRUPT, "%zu tensors; this model's panels and rows are %zu", s->files.count, t.count);
    free_tensors(&t);
    return rc;
}

void rlhf_panels_lend(struct rlhf_model *m, const struct rlhf_source *s)
{
    char name[RLHF_PARAMETER_NAME];

    for (size_t i = 0; i < products(m); i++) {
        struct rlhf_product *p = product_at(m, i, name);

        p->packed = (struct rlhf_packed){ .n = p->n, .k = p->k };
        if (!s)
            continue;
        p->packed.panels = (float *)s->products[i]->data; /* only read, as all panels of a frozen model */
        p->packed.halves = s->products[i]->dtype == RLHF_DTYPE_BF16;
        p->packed.products = p->packed.halves ? RLHF_PRODUCTS_BF16 : RLHF_PRODUCTS_F32;
    }
}

/* The panels of the product that the block's place `offset` belongs to; a tied embedding's is the head's. */
static const struct rlhf_product *product_of(const struct rlhf_model *m, size_t offset, const struct rlhf_safetensor **panels)
{
    const struct rlhf_source *s = rlhf_model_source(m);
    char name[RLHF_PARAMETER_NAME];

    for (size_t i = products(m); i-- > 0;) {
        const struct rlhf_product *p = product_at((struct rlhf_model *)m, i, name);

        *panels = s->products[i];
        if (offset >= p->weight && offset < p->weight + p->n * p->k)
            return p;
    }
    RLHF_ASSERT(false); /* rows have their own tensor */
    return NULL;
}

/* `count` floats of the block from `offset` on. */
static void read_block(const struct rlhf_model *m, size_t offset, size_t count, float *out)
{
    const struct rlhf_safetensor *t;
    const struct rlhf_product *p = product_of(m, offset, &t);
    const bool halves = t->dtype == RLHF_DTYPE_BF16;

    for (size_t at = offset - p->weight, end = at + count, part; at < end; at += part, out += part)
        if (p->transposed) { /* a row goes across the panels */
            part = 1;
            rlhf_panel_read(t->data, p->k, halves, at % p->n, at / p->n, part, out);
        } else {
            part = p->k - at % p->k < end - at ? p->k - at % p->k : end - at;
            rlhf_panel_read(t->data, p->k, halves, at / p->k, at % p->k, part, out);
        }
}

void rlhf_panels_values(const struct rlhf_model *m, size_t tensor, size_t from, size_t count, float *out)
{
    read_block(m, m->table[tensor].offset + from, count, out);
}

int rlhf_panels_pack(const struct rlhf_model *m, const struct rlhf_product *p, bool back, struct rlhf_packed *to,
                     struct rlhf_pool *pool, struct rlhf_error *err)
{
    float *rows = rlhf_aligned_new(p->n * p->k, sizeof *rows, err);
    int rc;

    if (!rows)
        return -1;
    read_block(m, p->weight, p->n * p->k, rows);
    rc = (rlhf_product_products(m, p) == RLHF_PRODUCTS_BF16 ? rlhf_pack_rounded : rlhf_pack)(
        to, rows, back ? p->k : p->n, back ? p->n : p->k, p->transposed != back, pool, err);
    free(rows);
    return rc;
}
