/* product.c - products with packed weights, and the gradients of weights. */
#include "tensor/ops.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/blas.h"
#include "tensor/kernels.h"

enum {
    BLOCK_ROWS = 112,  /* rows of x a task takes: 8 micro-kernels of 14                              */
    BLOCK_K = 256,     /* tokens of a weight's gradient between two visits to it                           */
    TILES_A_BLOCK = 16, /* micro-kernels' rows of a weight's gradient a task takes, 224 with AVX-512     */
    BLOCK_COLS = 256,  /* and its columns                                                            */
    BLAS_SLAB = 384,   /* of the longer side of a weight's gradient in one call of OpenBLAS, at most    */
    BLAS_LEAST = 32,   /* smaller matrices are not what it is good at                                 */
    IN_L2 = 200000,    /* numbers of x that a task works on, and of its weight: 0.8 MB each               */
    READING = 24,      /* rows whose multiplications take as long as reading their weight from memory    */
    LEAST_WORK = 1 << 19, /* multiplications worth a task of their own: about 10 us                   */
    TASKS = 64,           /* of few rows, at most: cores are seldom equally fast, and wait for the last */
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks(size_t count, size_t block)
{
    return (count + block - 1) / block;
}

/* ---- y = x·w --------------------------------------------------------------------------------------- */

struct linear {
    const struct rlhf_packed *w;
    const float *x, *bias;
    size_t x_stride, m, y_stride;
    bool accumulate;
    float *y;
    size_t row_blocks, rows, cols; /* a task's part, at most */
};

static void linear_part(void *ctx, size_t index)
{
    const struct linear *l = ctx;
    size_t row = index % l->row_blocks * l->rows, col = index / l->row_blocks * l->cols;
    size_t m = least(l->m - row, l->rows), n = least(l->w->n - col, l->cols);
    struct rlhf_operands o = {
        .a = l->x + row * l->x_stride, .a_stride = l->x_stride,
        .y = l->y + row * l->y_stride + col, .y_stride = l->y_stride, .stream = true,
    };

    if (l->accumulate) {
        o.start = o.y;
        o.start_stride = o.y_stride;
        for (size_t i = 0; l->bias && i < m; i++)
            rlhf_kernels()->add(l->bias + col, n, o.y + i * o.y_stride);
    } else if (l->bias) {
        o.start = l->bias + col;
    }
    rlhf_operands_weight(&o, l->w, col, 0);
    rlhf_tiles(l->w, &o, m, n, l->w->k);
}

/* A task's rows of x and columns of w stay in L2, so that neither comes from memory again with every block of the other: the
 * tasks of one block of columns follow each other. */
static void cut_linear(struct linear *l)
{
    const size_t n = l->w->n, k = l->w->k, most = k < IN_L2 ? IN_L2 / (k + 1) : 1;
    size_t col_blocks = 1;

    l->row_blocks = l->m > BLOCK_ROWS ? blocks(l->m, least(BLOCK_ROWS, most)) : 1;
    l->rows = blocks(l->m, l->row_blocks);
    /* Few rows leave the columns to be shared, in whole groups of the panels that a micro-kernel of so many rows takes. */
    size_t work = (l->rows + READING) * k * n, group = (l->m <= 3 ? 8 : l->m <= 7 ? 4 : 2) * RLHF_LANES;
    if (l->row_blocks < TASKS && work > LEAST_WORK)
        col_blocks = least(least(work / LEAST_WORK, blocks(TASKS, l->row_blocks)), blocks(n, group));
    if (l->row_blocks > 1 && most >= group)
        col_blocks = col_blocks > blocks(n, most) ? col_blocks : blocks(n, most);
    l->cols = blocks(blocks(n, col_blocks), group) * group;
}

void rlhf_linear(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, const float *bias,
                 bool accumulate, float *y, size_t y_stride, struct rlhf_pool *pool)
{
    struct linear l = { .w = w, .x = x, .bias = bias, .x_stride = x_stride, .m = m, .y_stride = y_stride,
                        .accumulate = accumulate, .y = y };

    if (m == 0 || w->n == 0)
        return;
    if (w->products == RLHF_PRODUCTS_BF16) {
        rlhf_rounded_linear(w, x, x_stride, m, bias, accumulate, y, y_stride, pool);
        return;
    }
    cut_linear(&l);
    rlhf_pool_for((m + READING) * w->k * w->n < 2 * LEAST_WORK ? NULL : pool, l.row_blocks * blocks(w->n, l.cols),
                  linear_part, &l);
}

/* ---- dw += dyᵀ·x ----------------------------------------------------------------------------------- */

/* out[rows, cols] += aᵀ·b over m tokens; a [m, rows], b [m, cols]. */
struct gradient {
    const float *a, *b;
    size_t a_stride, b_stride, m, rows, cols, out_stride, row_blocks, block_rows, slab;
    float *out;
};

/* OpenBLAS copies both operands in every call, so the longer side is cut, into as few slabs as two threads or the
 * limit ask for. It makes 135 to 145 GFLOP/s a core here, our own micro-kernel on copied panels 100 to 130. */
static void gradient_slab(void *ctx, size_t index)
{
    const struct gradient *g = ctx;
    bool by_rows = g->rows >= g->cols;
    size_t row = by_rows ? index * g->slab : 0, col = by_rows ? 0 : index * g->slab;
    size_t rows = least(g->rows - row, by_rows ? g->slab : g->rows), cols = least(g->cols - col, by_rows ? g->cols : g->slab);

    rlhf_blas.sgemm(RLHF_BLAS_ROW_MAJOR, RLHF_BLAS_TRANSPOSED, RLHF_BLAS_PLAIN, (int)rows, (int)cols, (int)g->m, 1,
                    g->a + row, (int)g->a_stride, g->b + col, (int)g->b_stride, 1, g->out + row * g->out_stride + col,
                    (int)g->out_stride);
}

/* ---- the same with our own micro-kernel: for small shapes, and where OpenBLAS is not loaded ---------- */

/* Both operands are copied into panels of 16, [panel][token][16]: rows of a KB apart would fight for the same lines of
 * L1. a's panels hold as many columns as a micro-kernel has rows. */
static void copy_panels(const float *from, size_t stride, size_t tokens, size_t cols, size_t a_panel, float *to)
{
    for (size_t t = 0; t < tokens; t++, from += stride) {
        float *at = to + t * RLHF_LANES;
        for (size_t col = 0; col < cols; col += a_panel, at += tokens * RLHF_LANES) {
            if (cols - col >= RLHF_LANES) { /* a whole line, although a panel may want less of it */
                memcpy(at, from + col, RLHF_LANES * sizeof *at);
                continue;
            }
            memset(at, 0, RLHF_LANES * sizeof *at);
            memcpy(at, from + col, least(cols - col, a_panel) * sizeof *at);
        }
    }
}

static void gradient_part(void *ctx, size_t index)
{
    const struct gradient *g = ctx;
    size_t row = index % g->row_blocks * g->block_rows, col = index / g->row_blocks * BLOCK_COLS;
    size_t rows = least(g->rows - row, g->block_rows), cols = least(g->cols - col, BLOCK_COLS);
    size_t tall = rlhf_kernels()->rows_a_tile;
    float *a = rlhf_scratch((TILES_A_BLOCK * RLHF_LANES + BLOCK_COLS) * BLOCK_K);
    float *b = a + TILES_A_BLOCK * RLHF_LANES * BLOCK_K;

    for (size_t from = 0, step; from < g->m; from += step) {
        step = least(g->m - from, BLOCK_K);
        copy_panels(g->a + from * g->a_stride + row, g->a_stride, step, rows, tall, a);
        copy_panels(g->b + from * g->b_stride + col, g->b_stride, step, cols, RLHF_LANES, b);
        for (size_t r = 0; r < rows; r += tall) {
            float *out = g->out + (row + r) * g->out_stride + col;
            struct rlhf_operands o = { .a = a + r / tall * step * RLHF_LANES, .a_stride = RLHF_LANES, .b = b,
                                       .b_stride = RLHF_LANES, .panel_size = step * RLHF_LANES, .start = out,
                                       .start_stride = g->out_stride, .y = out, .y_stride = g->out_stride };
            rlhf_kernels()->tiles_columns(&o, least(rows - r, tall), cols, step);
        }
    }
}

struct column_sums {
    const float *x;
    size_t stride, m, n;
    float *sum;
};

static void column_sums_part(void *ctx, size_t index)
{
    const struct column_sums *s = ctx;
    size_t from = index * BLOCK_COLS;
    rlhf_kernels()->column_sums(s->x + from, s->stride, s->m, least(s->n - from, BLOCK_COLS), s->sum + from);
}

void rlhf_column_sums(const float *x, size_t stride, size_t m, size_t n, float *sum, struct rlhf_pool *pool)
{
    struct column_sums s = { x, stride, m, n, sum };

    rlhf_pool_for(m * n < LEAST_WORK ? NULL : pool, blocks(n, BLOCK_COLS), column_sums_part, &s);
}

void rlhf_linear_backward_weight(const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t m,
                                 size_t n, size_t k, bool transposed, float *dw, float *db,
                                 struct rlhf_pool *pool)
{
    struct gradient g = { .a = dy, .b = x, .a_stride = dy_stride, .b_stride = x_stride, .m = m, .rows = n,
                          .cols = k, .out = dw };

    if (m * n * k < 2 * LEAST_WORK)
        pool = NULL;
    if (transposed)
        g = (struct gradient){ .a = x, .b = dy, .a_stride = x_stride, .b_stride = dy_stride, .m = m, .rows = k,
                               .cols = n, .out = dw };
    g.out_stride = g.cols;
    g.block_rows = TILES_A_BLOCK * rlhf_kernels()->rows_a_tile;
    g.row_blocks = blocks(g.rows, g.block_rows);
    if (rlhf_blas.sgemm && m >= BLAS_LEAST && n >= BLAS_LEAST && k >= BLAS_LEAST) {
        size_t side = n > k ? n : k, slabs = blocks(side, BLAS_SLAB);
        g.slab = blocks(blocks(side, slabs > 2 ? slabs : 2), RLHF_LANES) * RLHF_LANES;
        rlhf_pool_for(pool, blocks(side, g.slab), gradient_slab, &g);
    } else {
        rlhf_pool_for(pool, g.row_blocks * blocks(g.cols, BLOCK_COLS), gradient_part, &g);
    }
    if (db)
        rlhf_column_sums(dy, dy_stride, m, n, db, pool);
}
