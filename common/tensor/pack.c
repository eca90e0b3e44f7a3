/* pack.c - weights into the panels that the micro-kernel reads. */
#include "tensor/ops.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/kernels.h"
#include "tensor/panel.h"

_Static_assert((int)RLHF_PANEL_LANES == (int)RLHF_LANES, "panels are as wide as they are said to be");

enum {
    LEAST_WEIGHTS = 1 << 16, /* worth a second thread: about 20 us */
    CHUNK_K = 256,           /* steps of k (even) converted at once: a panel of them fits L1 */
    GROUP = 8,               /* panels a task fills from rows across them, so that it reads whole lines */
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks(size_t count, size_t block)
{
    return (count + block - 1) / block;
}

size_t rlhf_panel_count(size_t n)
{
    return blocks(n, RLHF_LANES);
}

size_t rlhf_panel_words(size_t k, bool halves)
{
    return (halves ? blocks(k, RLHF_TILE_STEPS) * RLHF_TILE_STEPS / 2 : k) * RLHF_LANES;
}

void rlhf_panel_read(const void *panels, size_t k, bool halves, size_t n, size_t from, size_t count, float *out)
{
    const float *column = (const float *)panels + n / RLHF_LANES * rlhf_panel_words(k, halves) + n % RLHF_LANES;

    for (size_t i = from; i < from + count; i++)
        if (halves)
            rlhf_widen(RLHF_NUMBER_BF16, (const char *)(column + i / 2 * RLHF_LANES) + i % 2 * 2, 1, out++);
        else
            *out++ = column[i * RLHF_LANES];
}

static size_t panel_size(const struct rlhf_packed *p)
{
    return rlhf_panel_words(p->k, p->halves);
}

/* Of `wanted` all but panels and room is set. */
static int make_room(struct rlhf_packed *p, struct rlhf_packed wanted, struct rlhf_error *err)
{
    const size_t n = wanted.n, k = wanted.k;
    size_t size;
    float *memory;

    if (!rlhf_mul_size(blocks(n, RLHF_LANES), panel_size(&wanted), &size) || !rlhf_mul_size(size, sizeof *memory, &size))
        return rlhf_fail(err, RLHF_FULL, "a weight of %zu x %zu is too large to pack", n, k);
    wanted.panels = p->panels;
    wanted.room = p->room;
    if (size > p->room || !p->panels) {
        if (!(memory = rlhf_block_new(size, err)))
            return -1;
        free(p->panels);
        wanted.panels = memory;
        wanted.room = size;
    }
    *p = wanted;
    return 0;
}

void rlhf_packed_free(struct rlhf_packed *p)
{
    free(p->panels);
    *p = (struct rlhf_packed){ 0 };
}

void rlhf_operands_weight(struct rlhf_operands *o, const struct rlhf_packed *w, size_t col, size_t from)
{
    o->panel_size = panel_size(w);
    o->b = w->panels + col / RLHF_LANES * o->panel_size + (w->halves ? from / 2 : from) * RLHF_LANES;
    o->b_stride = RLHF_LANES;
}

void rlhf_tiles(const struct rlhf_packed *w, const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    (w->halves ? rlhf_kernels()->tiles_halves : rlhf_kernels()->tiles)(o, m, cols, k);
}

/* ---- one matrix of floats: training's, packed after every step -------------------------------------- */

struct packing {
    const float *w;
    size_t n, k;
    bool transposed;
    float *panels;
};

static void pack_panel(void *ctx, size_t panel)
{
    const struct packing *p = ctx;
    size_t from = panel * RLHF_LANES, width = least(p->n - from, RLHF_LANES);

    rlhf_kernels()->transpose_panel(p->w + from * p->k, p->k, width, p->k, p->panels + from * p->k);
}

/* Panels from .. to - 1 of a matrix that lies across them: some at once, so that each of its rows is read a whole page's part
 * at a time. */
static void pack_across(void *ctx, size_t index)
{
    const struct packing *p = ctx;
    size_t from = index * GROUP * RLHF_LANES, width = least(p->n - from, GROUP * RLHF_LANES), whole = width / RLHF_LANES;
    size_t rest = width % RLHF_LANES;

    for (size_t l = 0; l < p->k; l++) {
        const float *row = p->w + l * p->n + from;
        float *to = p->panels + from * p->k + l * RLHF_LANES;

        for (size_t i = 0; i < whole; i++, row += RLHF_LANES, to += p->k * RLHF_LANES)
            memcpy(to, row, RLHF_LANES * sizeof *to);
        if (rest) {
            memcpy(to, row, rest * sizeof *to);
            memset(to + rest, 0, (RLHF_LANES - rest) * sizeof *to);
        }
    }
}

/* Tiles of 16 rows turned are those of a panel. */
static void round_panel(void *ctx, size_t panel)
{
    const struct packing *p = ctx;
    size_t from = panel * RLHF_LANES, width = least(p->n - from, RLHF_LANES);
    size_t size = blocks(p->k, RLHF_TILE_STEPS) * RLHF_TILE_WORDS;
    float *to = p->panels + panel * size, *rows = rlhf_scratch(size);

    rlhf_kernels()->round_rows(p->w + from * p->k, p->k, width, p->k, rows);
    for (size_t i = 0; i < size; i += RLHF_TILE_WORDS)
        rlhf_kernels()->transpose_panel(rows + i, RLHF_LANES, RLHF_LANES, RLHF_LANES, to + i);
}

static void round_across(void *ctx, size_t index)
{
    const struct packing *p = ctx;
    size_t from = index * GROUP * RLHF_LANES, size = blocks(p->k, RLHF_TILE_STEPS) * RLHF_TILE_WORDS;

    rlhf_round_panels(p->w + from, p->n, p->k, least(p->n - from, GROUP * RLHF_LANES), p->panels + index * GROUP * size, size);
}

static int pack(struct rlhf_packed *p, const struct rlhf_packed *wanted, const float *w, bool transposed,
                struct rlhf_pool *pool, struct rlhf_error *err)
{
    const size_t n = wanted->n, k = wanted->k;
    const bool rounds = wanted->products == RLHF_PRODUCTS_BF16;
    struct packing job = { w, n, k, transposed, NULL };

    if (make_room(p, *wanted, err) < 0)
        return -1;
    job.panels = p->panels;
    rlhf_pool_for(n * k < LEAST_WEIGHTS ? NULL : pool, blocks(n, transposed ? GROUP * RLHF_LANES : RLHF_LANES),
                  transposed ? rounds ? round_across : pack_across : rounds ? round_panel : pack_panel, &job);
    return 0;
}

int rlhf_pack(struct rlhf_packed *p, const float *w, size_t n, size_t k, bool transposed,
              struct rlhf_pool *pool, struct rlhf_error *err)
{
    return pack(p, &(struct rlhf_packed){ .n = n, .k = k }, w, transposed, pool, err);
}

int rlhf_pack_rounded(struct rlhf_packed *p, const float *w, size_t n, size_t k, bool transposed, struct rlhf_pool *pool,
                      struct rlhf_error *err)
{
    return pack(p, &(struct rlhf_packed){ .n = n, .k = k, .halves = true, .products = RLHF_PRODUCTS_BF16 }, w, transposed,
                pool, err);
}

/* ---- pieces of files -------------------------------------------------------------------------------- */

struct pieces {
    const struct rlhf_piece *pieces;
    size_t count, group; /* panels a task */
    bool transposed;
    struct rlhf_packed *p;
    atomic_bool bad;
};

/* `count` floats of the pieces' row `row`, which is `width` wide, from its element `from` on. */
static void read_row(struct pieces *job, size_t row, size_t width, size_t from, size_t count, float *to)
{
    const struct rlhf_piece *piece = job->pieces;

    while (row >= piece->rows)
        row -= piece++->rows;
    rlhf_widen(piece->number, (const char *)piece->data + (row * width + from) * rlhf_number_size(piece->number), count,
               to);
    if (!rlhf_weights_finite(to, count))
        atomic_store_explicit(&job->bad, true, memory_order_relaxed);
}

/* Steps from .. from + steps of k of one panel, out of rows that lie along it. */
static void chunk_along(struct pieces *job, size_t col, size_t from, size_t steps, float *rows, float *to)
{
    size_t width = least(job->p->n - col, RLHF_LANES);

    for (size_t i = 0; i < width; i++)
        read_row(job, col + i, job->p->k, from, steps, rows + i * CHUNK_K);
    rlhf_kernels()->transpose_panel(rows, CHUNK_K, width, steps, to);
}

/* The same of `group` panels that lie `stride` floats apart, out of rows across them. */
static void chunk_across(struct pieces *job, size_t col, size_t from, size_t steps, float *to, size_t stride)
{
    size_t width = least(job->p->n - col, job->group * RLHF_LANES);
    float row[GROUP * RLHF_LANES] = { 0 };

    for (size_t l = 0; l < steps; l++) {
        read_row(job, from + l, job->p->n, col, width, row);
        for (size_t i = 0; i * RLHF_LANES < width; i++)
            memcpy(to + i * stride + l * RLHF_LANES, row + i * RLHF_LANES, RLHF_LANES * sizeof *to);
    }
}

static void pack_pieces_part(void *ctx, size_t index)
{
    struct pieces *job = ctx;
    const struct rlhf_packed *p = job->p;
    size_t col = index * job->group * RLHF_LANES, panels = least(blocks(p->n - col, RLHF_LANES), job->group);
    float *rows = rlhf_scratch((GROUP + 1) * CHUNK_K * RLHF_LANES), *chunk = rows + CHUNK_K * RLHF_LANES;

    for (size_t from = 0, steps; from < p->k; from += steps) {
        struct rlhf_operands at;
        float *to, *floats;
        size_t stride;

        steps = least(p->k - from, CHUNK_K);
        rlhf_operands_weight(&at, p, col, from);
        to = p->panels + (at.b - p->panels);
        floats = p->halves ? chunk : to;
        stride = p->halves ? CHUNK_K * RLHF_LANES : at.panel_size;
        if (job->transposed)
            chunk_across(job, col, from, steps, floats, stride);
        else
            chunk_along(job, col, from, steps, rows, floats);
        for (size_t i = 0; p->halves && i < panels; i++)
            if (!rlhf_kernels()->halve(floats + i * stride, steps, to + i * at.panel_size))
                atomic_store_explicit(&job->bad, true, memory_order_relaxed);
    }
    for (size_t i = 0; p->halves && i < panels; i++) { /* steps that only tiles read, up to a whole one */
        size_t size = panel_size(p), used = blocks(p->k, 2) * RLHF_LANES;

        memset(p->panels + (col / RLHF_LANES + i) * size + used, 0, (size - used) * sizeof *p->panels);
    }
}

int rlhf_pack_pieces(struct rlhf_packed *p, const struct rlhf_piece *pieces, size_t count, size_t n, size_t k,
                     bool transposed, bool halves, struct rlhf_pool *pool, struct rlhf_error *err)
{
    struct pieces job = { .pieces = pieces, .count = count, .group = transposed ? GROUP : 1, .transposed = transposed,
                          .p = p };

    if (make_room(p, (struct rlhf_packed){ .n = n, .k = k, .halves = halves }, err) < 0)
        return -1;
    rlhf_pool_for(n * k < LEAST_WEIGHTS ? NULL : pool, blocks(n, job.group * RLHF_LANES), pack_pieces_part, &job);
    if (atomic_load(&job.bad))
        return rlhf_fail(err, RLHF_CORRUPT, "a weight is not finite%s", halves ? ", or too large for bfloat16" : "");
    return 0;
}
