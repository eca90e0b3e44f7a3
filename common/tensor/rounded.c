/* rounded.c - products of operands that are both rounded to bfloat16.
 *
 * Inputs are rounded once a product, into tiles that all tasks share. How rows and columns are cut changes no bit. */
#include <string.h>

#include "tensor/kernels.h"

enum {
    BLOCK_ROWS = 128,     /* rows of x a task takes: 4 micro-kernels of two tiles                        */
    OWN_LEAST = 128,      /* with as many rows tasks round their own, not more than these:               */
    OWN_ROWS = 256,
    OWN_TASKS = 4,        /* at least so many                                                            */
    OWN_WORDS = 1 << 17,  /* half a MB of rounded rows at a time                                         */
    LEAST_WORK = 1 << 22, /* multiplications worth a task of their own: about 6 us with matrix tiles      */
    TASKS = 64,           /* of few rows, at most: cores are seldom equally fast, and wait for the last    */
    READING = 64,         /* multiplications that take as long as reading a weight from memory            */
    GROUP = 8,            /* tiles of many rows or columns that a task rounds                             */
    LEAST_ROUNDED = 1 << 14, /* numbers worth a second thread: about 5 us                                  */
};

static const char *const names[] = { [RLHF_PRODUCTS_F32] = "fp32", [RLHF_PRODUCTS_BF16] = "bf16" };

const char *rlhf_products_name(enum rlhf_products p)
{
    return names[p];
}

bool rlhf_products_named(const char *name, enum rlhf_products *p)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) {
            *p = (enum rlhf_products)i;
            return true;
        }
    return false;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks(size_t count, size_t block)
{
    return (count + block - 1) / block;
}

/* ---- operands --------------------------------------------------------------------------------------- */

/* A tile of each in turn, so that rows are read some lines at a time. */
void rlhf_round_panels(const float *from, size_t stride, size_t rows, size_t cols, float *to, size_t panel)
{
    for (size_t row = 0; row < rows; row += RLHF_TILE_STEPS, to += RLHF_TILE_WORDS)
        for (size_t col = 0; col < cols; col += RLHF_LANES)
            rlhf_kernels()->round_columns(from + row * stride + col, stride, least(rows - row, RLHF_TILE_STEPS),
                                          least(cols - col, RLHF_LANES), to + col / RLHF_LANES * panel);
}

/* x as tiles: of 16 of its `lanes` rows each, along k; or, turned, of 16 of its `lanes` columns, along its k rows. */
struct rounding {
    const float *x;
    size_t stride, lanes, k, tiles, group; /* tiles of 16 lanes; lanes of a task */
    enum { ROWS, COLUMNS, COLUMNS_AS_ROWS } kind;
    float *to;
};

/* As rlhf_round_panels(), but every tile turned. */
static void turn_panels(const struct rounding *r, const float *from, size_t lanes, float *to, size_t panel)
{
    float tile[RLHF_TILE_WORDS] __attribute__((aligned(64)));

    for (size_t row = 0; row < r->k; row += RLHF_TILE_STEPS, to += RLHF_TILE_WORDS)
        for (size_t lane = 0; lane < lanes; lane += RLHF_LANES) {
            rlhf_round_panels(from + row * r->stride + lane, r->stride, least(r->k - row, RLHF_TILE_STEPS),
                              least(lanes - lane, RLHF_LANES), tile, 0);
            rlhf_kernels()->transpose_panel(tile, RLHF_LANES, RLHF_LANES, RLHF_LANES, to + lane / RLHF_LANES * panel);
        }
}

static void round_part(void *ctx, size_t index)
{
    const struct rounding *r = ctx;
    size_t from = index * r->group, lanes = least(r->lanes - from, r->group);
    size_t size = r->tiles * RLHF_TILE_WORDS;
    float *to = r->to + from / RLHF_LANES * size;

    for (size_t i = 0; r->kind == ROWS && i < lanes; i += RLHF_LANES)
        rlhf_kernels()->round_rows(r->x + (from + i) * r->stride, r->stride, least(lanes - i, RLHF_LANES), r->k,
                                   to + i / RLHF_LANES * size);
    if (r->kind == COLUMNS)
        rlhf_round_panels(r->x + from, r->stride, r->k, lanes, to, size);
    if (r->kind == COLUMNS_AS_ROWS)
        turn_panels(r, r->x + from, lanes, to, size);
}

static void round_all(struct rounding r, struct rlhf_pool *pool)
{
    r.tiles = blocks(r.k, RLHF_TILE_STEPS);
    r.group = r.lanes > 2 * GROUP * RLHF_LANES ? GROUP * RLHF_LANES : RLHF_LANES;
    rlhf_pool_for(r.lanes * r.k < LEAST_ROUNDED ? NULL : pool, blocks(r.lanes, r.group), round_part, &r);
}

/* Words of `lanes` rows or columns of k steps. */
static size_t rounded_size(size_t lanes, size_t k)
{
    return blocks(lanes, RLHF_LANES) * blocks(k, RLHF_TILE_STEPS) * RLHF_TILE_WORDS;
}

void rlhf_rounded_product(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, size_t col, size_t cols,
                          size_t from, size_t to, const float *start, float *y, size_t y_stride)
{
    const size_t k = to - from, steps = blocks(k, RLHF_TILE_STEPS) * RLHF_TILE_STEPS;
    float *rounded = rlhf_rounded_scratch(rounded_size(m, k));
    struct rlhf_operands o = { .a = rounded, .a_stride = steps / 2 * RLHF_LANES, .start = start,
                               .start_stride = y_stride, .y = y, .y_stride = y_stride };

    round_all((struct rounding){ .x = x, .stride = x_stride, .lanes = m, .k = k, .to = rounded }, NULL);
    rlhf_operands_weight(&o, w, col, from);
    rlhf_kernels()->tiles_rounded(&o, m, cols, steps);
}

/* ---- y = x·w ---------------------------------------------------------------------------------------- */

/* o's product cut into tasks of at most rows times cols. */
struct product {
    struct rlhf_operands o;
    size_t m, n, k;    /* k a multiple of 32 */
    const float *bias; /* added to y first, where that is what o starts from */
    struct rounding x; /* what o.a is rounded from; its `to` is NULL where each task does that for its own rows */
    size_t row_blocks, rows, cols;
};

/* Rows row .. of y, columns as o says. Rounded rows stay in L2 while weights pass: as much of k at a time as does. */
static void own_rows(const struct product *p, struct rlhf_operands o, size_t row, size_t m, size_t n)
{
    struct rounding x = p->x;
    size_t most = OWN_WORDS / rounded_size(m, RLHF_TILE_STEPS) * RLHF_TILE_STEPS, steps;

    o.a = x.to = rlhf_rounded_scratch(rounded_size(m, least(p->k, most)));
    x.lanes = m;
    for (size_t from = 0; from < p->k; from += steps) {
        steps = least(p->k - from, most);
        x.x = p->x.x + (x.kind == ROWS ? row * x.stride + from : from * x.stride + row);
        x.k = least(p->x.k - from, steps);
        round_all(x, NULL);
        o.a_stride = steps / 2 * RLHF_LANES;
        rlhf_kernels()->tiles_rounded(&o, m, n, steps);
        o.b += o.a_stride;
        o.start = o.y;
        o.start_stride = o.y_stride;
    }
}

static void product_part(void *ctx, size_t index)
{
    const struct product *p = ctx;
    size_t row = index % p->row_blocks * p->rows, col = index / p->row_blocks * p->cols;
    size_t m = least(p->m - row, p->rows), n = least(p->n - col, p->cols);
    struct rlhf_operands o = p->o;

    o.b += col / RLHF_LANES * o.panel_size;
    o.y += row * o.y_stride + col;
    if (o.start)
        o.start += row * o.start_stride + col;
    for (size_t i = 0; p->bias && i < m; i++)
        rlhf_kernels()->add(p->bias + col, n, o.y + i * o.y_stride);
    if (!p->x.to) {
        own_rows(p, o, row, m, n);
        return;
    }
    o.a += row / RLHF_LANES * o.a_stride;
    rlhf_kernels()->tiles_rounded(&o, m, n, p->k);
}

/* Many rows are each task's own; few are rounded first, so that columns can be shared. */
static void multiply(struct product *p, struct rlhf_pool *pool)
{
    size_t work = (p->m + READING) * p->n * p->k, group = (p->m > RLHF_LANES ? 2 : 4) * RLHF_LANES, col_blocks = 1;
    bool own = p->m >= OWN_LEAST;

    p->row_blocks = own ? blocks(p->m, OWN_ROWS) : blocks(p->m, BLOCK_ROWS);
    if (own && p->row_blocks < OWN_TASKS)
        p->row_blocks = OWN_TASKS;
    p->rows = blocks(blocks(p->m, p->row_blocks), 2 * RLHF_LANES) * 2 * RLHF_LANES;
    p->row_blocks = blocks(p->m, p->rows);
    if (!own) /* in whole groups of the panels that a micro-kernel takes */
        col_blocks = least(least(work / p->row_blocks / LEAST_WORK, blocks(TASKS, p->row_blocks)), blocks(p->n, group));
    p->cols = blocks(blocks(p->n, col_blocks ? col_blocks : 1), group) * group;
    if (!own) {
        p->x.to = rlhf_shared_rounded_scratch(rounded_size(p->m, p->k));
        p->o.a = p->x.to;
        p->o.a_stride = p->k / 2 * RLHF_LANES;
        round_all(p->x, pool);
    }
    rlhf_pool_for(work < 2 * LEAST_WORK ? NULL : pool, p->row_blocks * blocks(p->n, p->cols), product_part, p);
}

void rlhf_rounded_linear(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, const float *bias,
                         bool accumulate, float *y, size_t y_stride, struct rlhf_pool *pool)
{
    struct product p = {
        .m = m, .n = w->n, .k = blocks(w->k, RLHF_TILE_STEPS) * RLHF_TILE_STEPS,
        .o = { .start = accumulate ? y : bias, .start_stride = accumulate ? y_stride : 0, .y = y, .y_stride = y_stride },
        .bias = accumulate ? bias : NULL, .x = { .x = x, .stride = x_stride, .lanes = m, .k = w->k },
    };

    rlhf_operands_weight(&p.o, w, 0, 0);
    multiply(&p, pool);
}

/* ---- dw += dyᵀ·x ------------------------------------------------------------------------------------ */

void rlhf_linear_backward_weight_rounded(const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t m,
                                         size_t n, size_t k, bool transposed, float *dw, float *db,
                                         struct rlhf_pool *pool)
{
    struct rounding by_n = { .x = dy, .stride = dy_stride, .lanes = n, .k = m };
    struct rounding by_k = { .x = x, .stride = x_stride, .lanes = k, .k = m };
    struct rounding rows = transposed ? by_k : by_n, cols = transposed ? by_n : by_k;
    const size_t steps = blocks(m, RLHF_TILE_STEPS) * RLHF_TILE_STEPS;
    struct product p = {
        .m = rows.lanes, .n = cols.lanes, .k = steps, .x = rows,
        .o = { .panel_size = steps / 2 * RLHF_LANES, .start = dw, .start_stride = cols.lanes, .y = dw, .y_stride = cols.lanes },
    };

    p.x.kind = COLUMNS_AS_ROWS;
    cols.kind = COLUMNS;
    p.o.b = cols.to = rlhf_shared_columns_scratch(rounded_size(cols.lanes, m));
    round_all(cols, pool);
    multiply(&p, pool);
    if (db)
        rlhf_column_sums(dy, dy_stride, m, n, db, pool);
}
