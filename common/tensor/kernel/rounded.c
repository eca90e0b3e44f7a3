/* rounded.c - the micro-kernel of operands rounded to bfloat16, in the order of the TDPBF16PS instruction.
 *
 * Intel's manual defines it: of 32 steps of k the even and the odd ones are two chains of FMAs that begin at 0, their sum is
 * added to the output; subnormal numbers count as zeros wherever they go in or come out. Here fp32 FMAs do the same, so that
 * processors with and without matrix tiles give the same bits (but for the payload of a NaN). */
#include "tensor/kernel/lanes.h"
#include "tensor/kernel/table.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum {
    STEPS = 32,
    TILE_WORDS = 256,
    CHUNK = 16,        /* blocks of STEPS widened at once */
    FEW_ROWS = 3,      /* wait for memory */
    NEAR = TILE_WORDS, /* words by which weights are then fetched before they are wanted */
};

/* What the registers hold, two chains an output: X(rows, panels). */
#if defined(RLHF_KERNELS_AVX512)
enum { MOST_ROWS = 7 };
#define TILES(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(1, 2) X(2, 2) X(3, 2) X(4, 2) X(5, 2) X(6, 2) \
    X(7, 2) X(1, 4) X(2, 4) X(3, 4)
#elif defined(RLHF_KERNELS_AVX2)
enum { MOST_ROWS = 3 };
#define TILES(X) X(1, 1) X(2, 1) X(3, 1) X(1, 2)
#else
enum { MOST_ROWS = 1 };
#define TILES(X) X(1, 1)
#endif
enum { MOST_PANELS = 4 };

/* a·b + c, rounded once. A product of two bfloat16 is exact in double, and its sum with a float is so close to exact there that
 * rounding it again gives the float next to the exact one. */
#if defined(RLHF_KERNELS_AVX512) || defined(RLHF_KERNELS_AVX2) || defined(__FP_FAST_FMAF)
INLINE v16 fma_of_halves(v16 a, v16 b, v16 c) { return v16_fma(a, b, c); }
#else
INLINE v16 fma_of_halves(v16 a, v16 b, v16 c)
{
    float x[16], y[16], z[16];

    v16_store(x, a);
    v16_store(y, b);
    v16_store(z, c);
    for (int i = 0; i < 16; i++)
        z[i] = (float)((double)x[i] * (double)y[i] + (double)z[i]);
    return v16_load(z);
}
#endif

/* Adds STEPS steps to rows of y: x [rows][CHUNK·STEPS] widened, b the panels' words. `width` columns of the last panel. */
INLINE void tile(const int rows, const int panels, const float *x, const float *b, size_t panel_size, float *y,
                 size_t y_stride, size_t width)
{
    v16 even[MOST_ROWS][MOST_PANELS], odd[MOST_ROWS][MOST_PANELS];

    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < panels; v++)
            even[r][v] = odd[r][v] = v16_set(0);
    for (int k = 0; k < STEPS; k += 2, b += RLHF_LANES) {
        UNROLL for (int v = 0; v < panels; v++) {
            if (rows <= FEW_ROWS)
                __builtin_prefetch(b + (size_t)v * panel_size + NEAR);
            v16 low = v16_even(b + (size_t)v * panel_size), high = v16_odd(b + (size_t)v * panel_size);
            UNROLL for (int r = 0; r < rows; r++) {
                even[r][v] = fma_of_halves(v16_set(x[r * CHUNK * STEPS + k]), low, even[r][v]);
                odd[r][v] = fma_of_halves(v16_set(x[r * CHUNK * STEPS + k + 1]), high, odd[r][v]);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < panels; v++) {
            float *at = y + (size_t)r * y_stride + 16 * v;
            v16 sum = v16_add(even[r][v], odd[r][v]);
            if (v + 1 < panels || width == RLHF_LANES)
                v16_store(at, v16_add(v16_load(at), sum));
            else
                v16_store_part(at, v16_add(v16_load_part(at, width), sum), width);
        }
}

typedef void tile_fn(const float *x, const float *b, size_t panel_size, float *y, size_t y_stride, size_t width);
#define DEFINE(rows, panels) \
    static void tile_##rows##_##panels(const float *x, const float *b, size_t panel_size, float *y, size_t y_stride, \
                                       size_t width) \
    { \
        tile(rows, panels, x, b, panel_size, y, y_stride, width); \
    }
#define BY_SHAPE(rows, panels) [panels][rows] = tile_##rows##_##panels,
TILES(DEFINE)
static tile_fn *const tiles[MOST_PANELS + 1][MOST_ROWS + 1] = { TILES(BY_SHAPE) };

/* `blocks` tiles of row r as floats. */
static void widen_row(const struct rlhf_operands *o, size_t r, size_t from, size_t blocks, float *x)
{
    const float *words = o->a + r / 16 * o->a_stride + from * TILE_WORDS + r % 16 * 16;

    for (size_t i = 0; i < blocks; i++, words += TILE_WORDS)
        for (size_t j = 0; j < 16; j++) {
            uint32_t word, low, high;

            memcpy(&word, words + j, sizeof word);
            low = word << 16;
            high = word & 0xffff0000u;
            memcpy(x + i * STEPS + 2 * j, &low, sizeof low);
            memcpy(x + i * STEPS + 2 * j + 1, &high, sizeof high);
        }
}

/* rows of y, all columns, `blocks` blocks of k from block `from` on. */
static void strip(const struct rlhf_operands *o, size_t row, size_t rows, size_t cols, size_t from, size_t blocks)
{
    float x[MOST_ROWS * CHUNK * STEPS];
    size_t panels, widest = MOST_PANELS;

    for (size_t r = 0; r < rows; r++)
        widen_row(o, row + r, from, blocks, x + r * CHUNK * STEPS);
    while (widest > 1 && !tiles[widest][rows])
        widest /= 2;
    for (size_t col = 0; col < cols; col += 16 * panels) {
        size_t left = (cols - col + 15) / 16;
        const float *b = o->b + col / 16 * o->panel_size + from * TILE_WORDS;
        float *y = o->y + row * o->y_stride + col;

        for (panels = widest; panels > left; panels /= 2)
            ;
        for (size_t i = 0; i < blocks; i++)
            tiles[panels][rows](x + i * STEPS, b + i * TILE_WORDS, o->panel_size, y, o->y_stride,
                                cols - col < 16 * panels ? cols - col - 16 * (panels - 1) : RLHF_LANES);
    }
}

/* Out of line: what is computed must stay between the switches of the control register. */
static __attribute__((noinline)) void all_strips(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    for (size_t row = 0, rows, left = (m + MOST_ROWS - 1) / MOST_ROWS; row < m; row += rows, left--) {
        rows = (m - row) / left;
        for (size_t r = row; r < row + rows; r++) {
            if (!o->start)
                memset(o->y + r * o->y_stride, 0, cols * sizeof *o->y);
            else if (o->start != o->y)
                memcpy(o->y + r * o->y_stride, o->start + r * o->start_stride, cols * sizeof *o->y);
        }
        for (size_t from = 0, blocks; from < k / STEPS; from += blocks) {
            blocks = k / STEPS - from < CHUNK ? k / STEPS - from : CHUNK;
            strip(o, row, rows, cols, from, blocks);
        }
    }
}

void KERNEL(tiles_rounded)(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
#if defined(__x86_64__)
    enum { SUBNORMALS_ARE_ZERO = 0x8040 }; /* MXCSR's FTZ and DAZ */
    unsigned control = _mm_getcsr();
    _mm_setcsr(control | SUBNORMALS_ARE_ZERO);
    all_strips(o, m, cols, k);
    _mm_setcsr(control);
#else /* keeps subnormal numbers: results may differ from other processors' by less than 1e-37 */
    all_strips(o, m, cols, k);
#endif
}
