/* tile.c - the micro-kernel: up to 14 rows by up to 8 panels of 16 columns, all of k, in registers.
 *
 * Each output is one chain of FMAs in k order, whatever the tile: so a row's bits depend neither on the rows
 * beside it nor on the kernel set. */
#include "tensor/kernel/lanes.h"
#include "tensor/kernel/table.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The tiles that the registers hold: X(rows, panels). */
#if defined(RLHF_KERNELS_AVX512) /* 28 accumulators of 32 registers */
enum { ACCUMULATORS = 28, MOST_PANELS = 8, MOST_ROWS = KERNEL_ROWS };
#define TILES(X) \
    X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(8, 1) X(9, 1) X(10, 1) X(11, 1) X(12, 1) X(13, 1) \
    X(14, 1) X(1, 2) X(2, 2) X(3, 2) X(4, 2) X(5, 2) X(6, 2) X(7, 2) X(8, 2) X(9, 2) X(10, 2) X(11, 2) X(12, 2) \
    X(13, 2) X(14, 2) X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 4) X(6, 4) X(7, 4) X(1, 8) X(2, 8) X(3, 8)
#elif KERNEL_ROWS == 6 /* AVX2: 12 of 16; NEON: 24 of 32 */
enum { ACCUMULATORS = 6, MOST_PANELS = 4, MOST_ROWS = KERNEL_ROWS };
#define TILES(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(1, 2) X(2, 2) X(3, 2) X(1, 4)
#else /* 12 of 16 */
enum { ACCUMULATORS = 3, MOST_PANELS = 2, MOST_ROWS = KERNEL_ROWS };
#define TILES(X) X(1, 1) X(2, 1) X(3, 1) X(1, 2)
#endif

/* How a and b lie: as kernels.h says of tiles, tiles_columns and tiles_halves. */
enum { ROWS, COLUMNS, HALVES };

enum {
    BLOCK_K = 256, /* steps of k (even) between two visits to y where rows share a panel: two panels of them stay in L1 */
    NEAR = 32,     /* steps by which a panel that few rows read is fetched before it is wanted */
};

/* What step fetches while it works, a line for each step of k. Memory that is read once arrives at 12 cycles a line at best, which
 * the processor's own prefetcher hides neither at the ends of pages nor between the FMAs of many rows. */
struct ahead {
    const float *at;
    size_t panel; /* to L1, from each panel at this distance; 0: to L2, from one */
};

/* One step of k. Rows lie at three a pointer, so that fourteen of them need five pointers and one stride. */
INLINE void step(const int rows, const int panels, const int kind, v16 acc[MOST_ROWS][MOST_PANELS],
                 const float *const row[5], size_t a_stride, const float *b, size_t panel_size, int k)
{
    v16 w[MOST_PANELS];

    UNROLL for (int v = 0; v < panels; v++)
        w[v] = kind != HALVES ? v16_load(b + (size_t)v * panel_size)
               : k % 2        ? v16_odd(b + (size_t)v * panel_size)
                              : v16_even(b + (size_t)v * panel_size);
    UNROLL for (int r = 0; r < rows; r++) {
        v16 x = v16_set(kind == COLUMNS ? row[0][r] : row[r / 3][(size_t)(r % 3) * a_stride + (size_t)k]);
        UNROLL for (int v = 0; v < panels; v++)
            acc[r][v] = v16_fma(x, w[v], acc[r][v]);
    }
}

INLINE void fetch(const int panels, struct ahead *next, size_t b_stride)
{
    if (next->panel) {
        UNROLL for (int v = 0; v < panels; v++)
            __builtin_prefetch(next->at + (size_t)v * next->panel, 0, 3);
    } else {
        __builtin_prefetch(next->at, 0, 2);
    }
    next->at += b_stride;
}

INLINE void tile(const int rows, const int panels, const int kind, const struct rlhf_operands *o, size_t k,
                 struct ahead next)
{
    v16 acc[MOST_ROWS][MOST_PANELS];
    const float *b = o->b, *row[5];
    size_t a_stride = o->a_stride, b_stride = o->b_stride, panel_size = o->panel_size;

    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < panels; v++)
            acc[r][v] = v16_load(o->start + (size_t)r * o->start_stride + 16 * v);
    UNROLL for (int i = 0; i < 5; i++)
        row[i] = kind == COLUMNS || 3 * i >= rows ? o->a : o->a + (size_t)(3 * i) * a_stride;
    if (kind == COLUMNS) {
        for (; k > 0; k--, b += b_stride, row[0] += a_stride)
            step(rows, panels, kind, acc, row, a_stride, b, panel_size, 0);
    } else {
        for (; k >= 4; k -= 4) {
            UNROLL for (int i = 0; i < 4; i++) {
                if (kind != HALVES || i % 2 == 0)
                    fetch(panels, &next, b_stride);
                step(rows, panels, kind, acc, row, a_stride, b, panel_size, i);
                b += kind != HALVES || i % 2 ? b_stride : 0;
            }
            UNROLL for (int i = 0; i < 5; i++)
                row[i] += 4;
        }
        for (; k >= 2; k -= 2) {
            UNROLL for (int i = 0; i < 2; i++) {
                step(rows, panels, kind, acc, row, a_stride, b, panel_size, i);
                b += kind != HALVES || i % 2 ? b_stride : 0;
            }
            UNROLL for (int i = 0; i < 5; i++)
                row[i] += 2;
        }
        if (k > 0)
            step(rows, panels, kind, acc, row, a_stride, b, panel_size, 0);
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < panels; v++)
            v16_store(o->y + (size_t)r * o->y_stride + 16 * v, acc[r][v]);
}

typedef void tile_fn(const struct rlhf_operands *o, size_t k, struct ahead next);

#define DEFINE(rows, panels) \
    static void tile_##rows##_##panels(const struct rlhf_operands *o, size_t k, struct ahead next) \
    { \
        tile(rows, panels, ROWS, o, k, next); \
    } \
    static void columns_##rows##_##panels(const struct rlhf_operands *o, size_t k, struct ahead next) \
    { \
        tile(rows, panels, COLUMNS, o, k, next); \
    } \
    static void halves_##rows##_##panels(const struct rlhf_operands *o, size_t k, struct ahead next) \
    { \
        tile(rows, panels, HALVES, o, k, next); \
    }
#define BY_ROWS(rows, panels) [panels][rows] = tile_##rows##_##panels,
#define BY_COLUMNS(rows, panels) [panels][rows] = columns_##rows##_##panels,
#define BY_HALVES(rows, panels) [panels][rows] = halves_##rows##_##panels,

TILES(DEFINE)
static tile_fn *const tile_by_rows[MOST_PANELS + 1][MOST_ROWS + 1] = { TILES(BY_ROWS) };
static tile_fn *const tile_by_columns[MOST_PANELS + 1][MOST_ROWS + 1] = { TILES(BY_COLUMNS) };
static tile_fn *const tile_by_halves[MOST_PANELS + 1][MOST_ROWS + 1] = { TILES(BY_HALVES) };

static const float zeros[16 * MOST_PANELS];

/* The last tile of a product may be narrower than its panels: it works on a copy. */
static void tile_part(tile_fn *fn, const struct rlhf_operands *o, size_t rows, size_t panels, size_t cols, size_t k,
                      struct ahead next)
{
    float y[MOST_ROWS * MOST_PANELS * 16];
    struct rlhf_operands part = *o;

    part.start = part.y = y;
    part.start_stride = part.y_stride = 16 * panels;
    for (size_t r = 0; r < rows; r++) {
        memset(y + r * 16 * panels, 0, 16 * panels * sizeof *y);
        memcpy(y + r * 16 * panels, o->start + r * o->start_stride, cols * sizeof *y);
    }
    fn(&part, k, next);
    for (size_t r = 0; r < rows; r++)
        memcpy(o->y + r * o->y_stride, y + r * 16 * panels, cols * sizeof *y);
}

/* How rows and columns are cut into tiles, and where a row or a step of k is. */
struct cutting {
    tile_fn *const (*table)[MOST_ROWS + 1];
    size_t a_row, a_step, steps_a_line; /* of b */
    size_t panels, rows, row_blocks;    /* of a tile at most */
};

/* Few blocks of rows fetch what they read themselves soon; of several each fetches a panel of the next columns. */
static struct ahead what_next(const struct cutting *c, const struct rlhf_operands *o, size_t block, size_t panels)
{
    if (o->next && block == 0)
        return (struct ahead){ o->b + o->next, o->panel_size };
    if (!o->stream || (c->row_blocks > 2 ? block >= panels : block > 0))
        return (struct ahead){ o->b, o->panel_size };
    if (c->row_blocks > 2)
        return (struct ahead){ o->b + (c->panels + block) * o->panel_size, 0 };
    return (struct ahead){ o->b + NEAR * o->b_stride, o->panel_size };
}

/* All rows of a few panels' columns: o's are those. */
static void cut_rows(const struct cutting *c, const struct rlhf_operands *o, size_t m, size_t cols, size_t panels, size_t k)
{
    struct rlhf_operands at = *o;

    for (size_t r = 0, rows, block = 0; r < m; r += rows, block++) {
        const struct ahead next = what_next(c, o, block, panels);
        tile_fn *fn;

        rows = (m - r) / (c->row_blocks - block);
        fn = c->table[panels][rows];
        at.a = o->a + r * c->a_row;
        at.start = o->start + r * o->start_stride;
        at.y = o->y + r * o->y_stride;
        if (cols < 16 * panels)
            tile_part(fn, &at, rows, panels, cols, k, next);
        else
            fn(&at, k, next);
    }
}

static void cut(const struct cutting *kind, const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    struct cutting c = *kind;

    if (m == 0 || cols == 0)
        return;
    /* Wide for few rows, so that enough chains run at once; two panels or one for many, so that what is loaded
     * serves many FMAs. */
    for (c.panels = MOST_PANELS; c.panels > 1 && m * c.panels > ACCUMULATORS && MOST_ROWS * c.panels > ACCUMULATORS;)
        c.panels /= 2;
    c.rows = ACCUMULATORS / c.panels < MOST_ROWS ? ACCUMULATORS / c.panels : MOST_ROWS;
    c.row_blocks = (m + c.rows - 1) / c.rows;
    /* Columns outside, so that a panel is read from memory once, in order; where several blocks of rows read it, as much
     * of k at a time as stays in L1. */
    for (size_t col = 0, panels; col < cols; col += 16 * panels) {
        size_t width = cols - col, from = 0;
        struct rlhf_operands at = *o;

        for (panels = c.panels; panels > (width + 15) / 16; panels /= 2)
            ;
        at.b += col / 16 * o->panel_size;
        at.y += col;
        at.start = o->start ? o->start + col : zeros;
        at.start_stride = o->start ? o->start_stride : 0;
        do {
            size_t step = c.row_blocks == 1 || k - from < BLOCK_K ? k - from : BLOCK_K;

            cut_rows(&c, &at, m, width < 16 * panels ? width : 16 * panels, panels, step);
            from += step;
            at.a += step * c.a_step;
            at.b += step / c.steps_a_line * o->b_stride;
            at.start = at.y;
            at.start_stride = at.y_stride;
        } while (from < k);
    }
}

void KERNEL(tiles)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    const struct cutting c = { .table = tile_by_rows, .a_row = o->a_stride, .a_step = 1, .steps_a_line = 1 };

    cut(&c, o, m, cols, k);
}

void KERNEL(tiles_columns)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    const struct cutting c = { .table = tile_by_columns, .a_row = 1, .a_step = o->a_stride, .steps_a_line = 1 };

    cut(&c, o, m, cols, k);
}

void KERNEL(tiles_halves)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    const struct cutting c = { .table = tile_by_halves, .a_row = o->a_stride, .a_step = 1, .steps_a_line = 2 };

    cut(&c, o, m, cols, k);
}

/* 4 by 4 at a time, with shuffles that every processor has. */
typedef float quad __attribute__((vector_size(16)));
#define SHUFFLE __builtin_shufflevector

INLINE void transpose_4(const float *from, size_t stride, float *to)
{
    quad a, b, c, d;

    memcpy(&a, from, sizeof a);
    memcpy(&b, from + stride, sizeof b);
    memcpy(&c, from + 2 * stride, sizeof c);
    memcpy(&d, from + 3 * stride, sizeof d);
    quad ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c, d, 0, 4, 1, 5);
    quad AB = SHUFFLE(a, b, 2, 6, 3, 7), CD = SHUFFLE(c, d, 2, 6, 3, 7);
    a = SHUFFLE(ab, cd, 0, 1, 4, 5);
    b = SHUFFLE(ab, cd, 2, 3, 6, 7);
    c = SHUFFLE(AB, CD, 0, 1, 4, 5);
    d = SHUFFLE(AB, CD, 2, 3, 6, 7);
    memcpy(to, &a, sizeof a);
    memcpy(to + 16, &b, sizeof b);
    memcpy(to + 32, &c, sizeof c);
    memcpy(to + 48, &d, sizeof d);
}

#if defined(RLHF_KERNELS_AVX512)
INLINE v16 low_pairs(v16 a, v16 b) { return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))); }
INLINE v16 high_pairs(v16 a, v16 b) { return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))); }
INLINE v16 even_quads(v16 a, v16 b) { return _mm512_shuffle_f32x4(a, b, 0x88); }
INLINE v16 odd_quads(v16 a, v16 b) { return _mm512_shuffle_f32x4(a, b, 0xdd); }

/* 16 by 16 in registers. */
INLINE void transpose_16(const float *from, size_t stride, float *to)
{
    v16 row[16], four[16];

    for (size_t i = 0; i < 16; i++)
        row[i] = v16_load(from + i * stride);
    for (size_t i = 0; i < 16; i += 4) { /* four[i + j]: for each q column 4q + j of rows i to i + 3 */
        v16 low[2] = { _mm512_unpacklo_ps(row[i], row[i + 1]), _mm512_unpacklo_ps(row[i + 2], row[i + 3]) };
        v16 high[2] = { _mm512_unpackhi_ps(row[i], row[i + 1]), _mm512_unpackhi_ps(row[i + 2], row[i + 3]) };

        four[i] = low_pairs(low[0], low[1]);
        four[i + 1] = high_pairs(low[0], low[1]);
        four[i + 2] = low_pairs(high[0], high[1]);
        four[i + 3] = high_pairs(high[0], high[1]);
    }
    for (size_t j = 0; j < 4; j++, to += 16) {
        v16 first = even_quads(four[j], four[4 + j]), second = even_quads(four[8 + j], four[12 + j]);

        v16_store(to, even_quads(first, second));
        v16_store(to + 8 * 16, odd_quads(first, second));
        first = odd_quads(four[j], four[4 + j]);
        second = odd_quads(four[8 + j], four[12 + j]);
        v16_store(to + 4 * 16, even_quads(first, second));
        v16_store(to + 12 * 16, odd_quads(first, second));
    }
}
#endif

void KERNEL(transpose_panel)(const float *from, size_t stride, size_t rows, size_t cols, float *to)
{
    size_t quads = rows / 4 * 4, col = 0;

#if defined(RLHF_KERNELS_AVX512)
    for (; rows == 16 && col + 16 <= cols; col += 16)
        transpose_16(from + col, stride, to + col * 16);
#endif
    for (; col + 4 <= cols; col += 4)
        for (size_t r = 0; r < quads; r += 4)
            transpose_4(from + r * stride + col, stride, to + col * 16 + r);
    for (; col < cols; col++)
        for (size_t r = 0; r < quads; r++)
            to[col * 16 + r] = from[r * stride + col];
    for (size_t r = quads; r < 16; r++)
        for (col = 0; col < cols; col++)
            to[col * 16 + r] = r < rows ? from[r * stride + col] : 0;
}
