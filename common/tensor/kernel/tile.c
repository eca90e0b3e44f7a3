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

INLINE void tile(const int rows, const int panels, const int kind, const struct rlhf_operands *o, size_t k)
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

typedef void tile_fn(const struct rlhf_operands *o, size_t k);

#define DEFINE(rows, panels) \
    static void tile_##rows##_##panels(const struct rlhf_operands *o, size_t k) \
    { \
        tile(rows, panels, ROWS, o, k); \
    } \
    static void columns_##rows##_##panels(const struct rlhf_operands *o, size_t k) \
    { \
        tile(rows, panels, COLUMNS, o, k); \
    } \
    static void halves_##rows##_##panels(const struct rlhf_operands *o, size_t k) \
    { \
        tile(rows, panels, HALVES, o, k); \
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
static void tile_part(tile_fn *fn, const struct rlhf_operands *o, size_t rows, size_t panels, size_t cols, size_t k)
{
    float y[MOST_ROWS * MOST_PANELS * 16];
    struct rlhf_operands part = *o;

    part.start = part.y = y;
    part.start_stride = part.y_stride = 16 * panels;
    for (size_t r = 0; r < rows; r++) {
        memset(y + r * 16 * panels, 0, 16 * panels * sizeof *y);
        memcpy(y + r * 16 * panels, o->start + r * o->start_stride, cols * sizeof *y);
    }
    fn(&part, k);
    for (size_t r = 0; r < rows; r++)
        memcpy(o->y + r * o->y_stride, y + r * 16 * panels, cols * sizeof *y);
}

static size_t most_rows(size_t panels)
{
    return ACCUMULATORS / panels < MOST_ROWS ? ACCUMULATORS / panels : MOST_ROWS;
}

static void cut(tile_fn *const table[MOST_PANELS + 1][MOST_ROWS + 1], size_t a_row, const struct rlhf_operands *o,
                size_t m, size_t cols, size_t k)
{
    struct rlhf_operands at = *o;
    size_t widest = MOST_PANELS, panels;

    if (m == 0 || cols == 0)
        return;
    /* Wide for few rows, so that enough chains run at once; two panels or one for many, so that what is loaded
     * serves many FMAs. */
    while (widest > 1 && m * widest > ACCUMULATORS && MOST_ROWS * widest > ACCUMULATORS)
        widest /= 2;
    /* Rows outside: y is written, and x read, a few rows at a time; the panels come again from L2. */
    for (size_t r = 0, rows, most = most_rows(widest), left = (m + most - 1) / most; r < m; r += rows, left--) {
        rows = (m - r) / left;
        at.a = o->a + r * a_row;
        at.start_stride = o->start ? o->start_stride : 0;
        for (size_t col = 0; col < cols; col += 16 * panels) {
            size_t width = cols - col;
            for (panels = widest; panels > (width + 15) / 16; panels /= 2)
                ;
            at.b = o->b + col / 16 * o->panel_size;
            at.start = o->start ? o->start + r * o->start_stride + col : zeros;
            at.y = o->y + r * o->y_stride + col;
            if (width < 16 * panels)
                tile_part(table[panels][rows], &at, rows, panels, width, k);
            else
                table[panels][rows](&at, k);
        }
    }
}

void KERNEL(tiles)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    cut(tile_by_rows, o->a_stride, o, m, cols, k);
}

void KERNEL(tiles_columns)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    cut(tile_by_columns, 1, o, m, cols, k);
}

void KERNEL(tiles_halves)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    cut(tile_by_halves, o->a_stride, o, m, cols, k);
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

void KERNEL(transpose_panel)(const float *from, size_t stride, size_t rows, size_t cols, float *to)
{
    size_t quads = rows / 4 * 4, col = 0;

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
