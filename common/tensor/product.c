/* product.c - products with packed weights, and weight gradients. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/kernels.h"

enum {
    BLOCK_ROWS = 112,     /* of x a task: eight tiles of fourteen; it stays in the second-level cache        */
    SMALL = 1 << 17,      /* multiply-adds below which one thread is quicker than waking another            */
    TASKS = 8,            /* wanted at least, for two threads to end at about the same time                 */
    BLOCK_TOKENS = 256,   /* of a weight gradient's chain at a time: 16 KB of x a pair of panels            */
    BLAS_LEAST = 256,     /* all three sizes at least: OpenBLAS then packs both sides and is quicker        */
    BLAS_SLAB = 128,      /* rows of dw a call to OpenBLAS: fixed by the shape, so that threads do not matter */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- packing --------------------------------------------------------------------------------------- */

struct packing {
    const float *w;
    struct rlhf_packed *p;
    bool transposed;
};

static void pack_panel(void *ctx, size_t panel)
{
    const struct packing *a = ctx;

    rlhf_kernels()->pack(a->w, a->p->n, a->p->k, a->transposed, panel, a->p->panels + panel * 16 * a->p->k);
}

int rlhf_pack(struct rlhf_packed *p, const float *w, size_t n, size_t k, bool transposed, struct rlhf_pool *pool,
              struct rlhf_error *err)
{
    size_t panels = (n + 15) / 16;
    struct packing a = { w, p, transposed };

    if (!p->panels || p->n != n || p->k != k) {
        float *memory = rlhf_aligned_new(panels * 16 * (k ? k : 1), sizeof *memory, err);

        if (!memory)
            return -1;
        free(p->panels);
        *p = (struct rlhf_packed){ .panels = memory, .n = n, .k = k };
    }
    rlhf_pool_for(n * k < SMALL ? NULL : pool, panels, pack_panel, &a);
    return 0;
}

void rlhf_packed_free(struct rlhf_packed *p)
{
    free(p->panels);
    *p = (struct rlhf_packed){ 0 };
}

/* ---- y = x·w --------------------------------------------------------------------------------------- */

struct linear {
    const struct rlhf_packed *w;
    const float *x, *bias;
    size_t x_stride, m, y_stride;
    float *y;
    bool accumulate;
    size_t row_blocks, rows, columns; /* a task's share */
};

static void linear_block(void *ctx, size_t index)
{
    const struct linear *a = ctx;
    size_t row = index % a->row_blocks * a->rows, column = index / a->row_blocks * a->columns;
    struct rlhf_product p = { .a = a->x + row * a->x_stride, .a_stride = a->x_stride,
                              .b = a->w->panels + column * a->w->k, .b_stride = 16, .panel_size = 16 * a->w->k,
                              .y = a->y + row * a->y_stride + column, .y_stride = a->y_stride };

    if (row >= a->m || column >= a->w->n)
        return;
    if (a->accumulate) {
        p.start = p.y;
        p.start_stride = a->y_stride;
    } else if (a->bias) {
        p.start = a->bias + column;
    }
    rlhf_kernels()->product(&p, false, smaller(a->rows, a->m - row), smaller(a->columns, a->w->n - column), a->w->k);
}

void rlhf_linear(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, const float *bias,
                 bool accumulate, float *y, size_t y_stride, struct rlhf_pool *pool)
{
    struct linear a = { .w = w, .x = x, .bias = bias, .x_stride = x_stride, .m = m, .y_stride = y_stride, .y = y,
                        .accumulate = accumulate };
    size_t blocks;

    if (m == 0 || w->n == 0)
        return;
    a.row_blocks = (m + BLOCK_ROWS - 1) / BLOCK_ROWS;
    a.rows = (m + a.row_blocks - 1) / a.row_blocks;
    blocks = a.row_blocks < TASKS ? (TASKS + a.row_blocks - 1) / a.row_blocks : 1;
    if (m * w->n * w->k < SMALL)
        blocks = 1;
    a.columns = (w->n + blocks - 1) / blocks;
    a.columns = (a.columns + 31) / 32 * 32;
    blocks = (w->n + a.columns - 1) / a.columns;
    rlhf_pool_for(m * w->n * w->k < SMALL ? NULL : pool, a.row_blocks * blocks, linear_block, &a);
}

/* ---- dw += dyᵀ·x ----------------------------------------------------------------------------------- */

/* As the product of a [rows, m] that lies as [m, rows] with b [m, columns]: rows are n, columns k; transposed the other way
 * round. */
struct gradient {
    const float *a, *b;
    size_t a_stride, b_stride, m, rows, columns;
    float *dw;
    size_t slab; /* rows of dw a task */
    bool blas;
};

static void gradient_slab(void *ctx, size_t index)
{
    const struct gradient *g = ctx;
    size_t row = index * g->slab, rows = smaller(g->slab, g->rows - row), whole = g->columns / 16 * 16;
    float *dw = g->dw + row * g->columns;

    if (g->blas) {
        enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };

        rlhf_blas_sgemm(ROW_MAJOR, TRANSPOSE, NO_TRANSPOSE, (int)rows, (int)g->columns, (int)g->m, 1, g->a + row,
                        (int)g->a_stride, g->b, (int)g->b_stride, 1, dw, (int)g->columns);
        return;
    }
    for (size_t t = 0; t < g->m; t += BLOCK_TOKENS) {
        size_t tokens = smaller(BLOCK_TOKENS, g->m - t);
        struct rlhf_product p = { .a = g->a + t * g->a_stride + row, .a_stride = g->a_stride, .b = g->b + t * g->b_stride,
                                  .b_stride = g->b_stride, .panel_size = 16, .start = dw, .start_stride = g->columns,
                                  .y = dw, .y_stride = g->columns };

        rlhf_kernels()->product(&p, true, rows, whole, tokens);
        if (whole < g->columns) { /* the last, narrow panel is copied: a whole one would reach behind the row */
            float *panel = rlhf_scratch(3, 16 * BLOCK_TOKENS);
            size_t width = g->columns - whole;

            for (size_t i = 0; i < tokens; i++) {
                memset(panel + 16 * i, 0, 16 * sizeof *panel);
                memcpy(panel + 16 * i, g->b + (t + i) * g->b_stride + whole, width * sizeof *panel);
            }
            p.b = panel;
            p.b_stride = 16;
            p.start = p.y = dw + whole;
            rlhf_kernels()->product(&p, true, rows, width, tokens);
        }
    }
}

struct sums {
    const float *x;
    size_t x_stride, m, n;
    float *sum;
};

enum { SUM_COLUMNS = 64 };

static void sum_columns(void *ctx, size_t index)
{
    const struct sums *s = ctx;
    size_t from = index * SUM_COLUMNS;

    rlhf_kernels()->column_sums(s->x, s->x_stride, s->m, from, smaller(from + SUM_COLUMNS, s->n), s->sum);
}

void rlhf_linear_backward_weight(const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t m, size_t n,
                                 size_t k, bool transposed, float *dw, float *db, struct rlhf_pool *pool)
{
    struct gradient g = { .a = transposed ? x : dy, .b = transposed ? dy : x, .a_stride = transposed ? x_stride : dy_stride,
                          .b_stride = transposed ? dy_stride : x_stride, .m = m, .rows = transposed ? k : n,
                          .columns = transposed ? n : k, .dw = dw };

    if (m == 0 || n == 0 || k == 0)
        return;
    g.blas = rlhf_blas_sgemm && m >= BLAS_LEAST && n >= BLAS_LEAST && k >= BLAS_LEAST;
    g.slab = g.blas ? BLAS_SLAB : 56;
    rlhf_pool_for(m * n * k < SMALL ? NULL : pool, (g.rows + g.slab - 1) / g.slab, gradient_slab, &g);
    if (db)
        rlhf_pool_for(m * n < SMALL / 4 ? NULL : pool, (n + SUM_COLUMNS - 1) / SUM_COLUMNS, sum_columns,
                      &(struct sums){ dy, dy_stride, m, n, db });
}
