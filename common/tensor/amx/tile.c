/* tile.c - the micro-kernel of operands rounded to bfloat16, for processors with matrix tiles (AMX).
 *
 * TDPBF16PS multiplies 16 rows with 16 columns, 32 steps of k at once: 2 by 2 such tiles of output, or 1 by 4 for up to 16 rows,
 * need one load a multiplication. Every output is one chain of them in k order, whatever is beside it. Tiles are configured in
 * every call and released at its end, so that a thread that waits has no tile state to save. */
#include <string.h>
#include <xmmintrin.h>

#include "tensor/kernel/table.h"

enum {
    TILE = 16,               /* rows, and columns, of a tile            */
    TILE_WORDS = 256,
    STEPS = 32,
    TILE_BYTES = 64,         /* from one row of a packed tile to the next */
    FEW_ROWS = 4,            /* up to here a tile is mostly empty, and FMAs keep up with memory */
    BLOCK_WORDS = 1 << 17,   /* of weights that stay in L2 while rows pass: half a MB */
    AHEAD = 2,               /* tiles fetched to L1 before they are used */
};

/* Assembly, for GCC 12's intrinsics do not say that they read and write memory. */
#define LOAD(tile, at, stride) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(at), "r"((size_t)(stride)) : "memory")
#define STORE(tile, at, stride) \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(at), "r"((size_t)(stride)) : "memory")
#define MULTIPLY(y, x, w) __asm__ volatile("tdpbf16ps %%tmm" #w ", %%tmm" #x ", %%tmm" #y :::)

static void configure(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) config = { .palette = 1 };

    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = TILE_BYTES;
        config.rows[i] = TILE;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(config));
}

static void release(void)
{
    __asm__ volatile("tilerelease" ::);
}

static inline void fetch(const float *tile)
{
    for (int i = 0; i < TILE; i++)
        _mm_prefetch((const char *)(tile + i * TILE), _MM_HINT_T0);
}

/* Where a micro-kernel's operands are: x and w of its first tile, and from one tile of rows, or panel, to the next. */
struct place {
    const float *x, *w[4];
    size_t x_next, tiles; /* of k */
    float *y;             /* holds what the sums start from */
    size_t y_stride;
};

static void two_by_two(const struct place *p)
{
    const float *x = p->x, *w0 = p->w[0], *w1 = p->w[1];
    const size_t stride = p->y_stride * sizeof(float);
    float *y0 = p->y, *y1 = p->y + TILE * p->y_stride;

    LOAD(0, y0, stride);
    LOAD(1, y0 + TILE, stride);
    LOAD(2, y1, stride);
    LOAD(3, y1 + TILE, stride);
    for (size_t k = 0; k < p->tiles; k++, x += TILE_WORDS, w0 += TILE_WORDS, w1 += TILE_WORDS) {
        LOAD(6, w0, TILE_BYTES);
        LOAD(4, x, TILE_BYTES);
        MULTIPLY(0, 4, 6);
        fetch(x + AHEAD * TILE_WORDS);
        LOAD(7, w1, TILE_BYTES);
        MULTIPLY(1, 4, 7);
        fetch(x + p->x_next + AHEAD * TILE_WORDS);
        LOAD(5, x + p->x_next, TILE_BYTES);
        MULTIPLY(2, 5, 6);
        fetch(w0 + AHEAD * TILE_WORDS);
        MULTIPLY(3, 5, 7);
        fetch(w1 + AHEAD * TILE_WORDS);
    }
    STORE(0, y0, stride);
    STORE(1, y0 + TILE, stride);
    STORE(2, y1, stride);
    STORE(3, y1 + TILE, stride);
}

static void one_by_four(const struct place *p)
{
    const size_t stride = p->y_stride * sizeof(float);
    const float *x = p->x;

    LOAD(0, p->y, stride);
    LOAD(1, p->y + TILE, stride);
    LOAD(2, p->y + 2 * TILE, stride);
    LOAD(3, p->y + 3 * TILE, stride);
    for (size_t k = 0, at = 0; k < p->tiles; k++, x += TILE_WORDS, at += TILE_WORDS) {
        LOAD(4, x, TILE_BYTES);
        LOAD(5, p->w[0] + at, TILE_BYTES);
        MULTIPLY(0, 4, 5);
        LOAD(6, p->w[1] + at, TILE_BYTES);
        MULTIPLY(1, 4, 6);
        LOAD(7, p->w[2] + at, TILE_BYTES);
        MULTIPLY(2, 4, 7);
        LOAD(5, p->w[3] + at, TILE_BYTES);
        MULTIPLY(3, 4, 5);
        for (int v = 0; v < 4; v++)
            fetch(p->w[v] + at + AHEAD * TILE_WORDS);
    }
    STORE(0, p->y, stride);
    STORE(1, p->y + TILE, stride);
    STORE(2, p->y + 2 * TILE, stride);
    STORE(3, p->y + 3 * TILE, stride);
}

/* Rows of y become what the sums start from. */
static void begin(const struct rlhf_operands *o, size_t row, size_t col, size_t rows, size_t cols, float *y, size_t stride)
{
    for (size_t r = 0; r < rows; r++) {
        if (o->start)
            memcpy(y + r * stride, o->start + (row + r) * o->start_stride + col, cols * sizeof *y);
        else
            memset(y + r * stride, 0, cols * sizeof *y);
    }
}

/* One micro-kernel's rows and columns; at the edges of y it works on a copy. Panels beyond the last repeat the first. */
static void block(const struct rlhf_operands *o, size_t row, size_t col, size_t rows, size_t cols, size_t k)
{
    const size_t tall = rows > TILE ? 2 * TILE : TILE, wide = rows > TILE ? 2 * TILE : 4 * TILE;
    const bool whole = rows == tall && cols == wide;
    float part[4 * TILE * TILE] __attribute__((aligned(64)));
    float *y = o->y + row * o->y_stride + col;
    struct place p = { .x = o->a + row / TILE * o->a_stride, .x_next = o->a_stride, .tiles = k / STEPS,
                       .y = whole ? y : part, .y_stride = whole ? o->y_stride : wide };

    for (size_t v = 0; v < wide / TILE; v++)
        p.w[v] = o->b + (col + (v * TILE < cols ? v * TILE : 0)) / TILE * o->panel_size;
    if (!whole || o->start != o->y)
        begin(o, row, col, rows, cols, p.y, p.y_stride);
    if (rows > TILE)
        two_by_two(&p);
    else
        one_by_four(&p);
    for (size_t r = 0; !whole && r < rows; r++)
        memcpy(y + r * o->y_stride, part + r * wide, cols * sizeof *y);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void TILES_ROUNDED(const struct rlhf_operands *o, size_t m, size_t cols, size_t k)
{
    /* A column is k/2 words. */
    const size_t group = 4 * TILE * (k > 0 && 2 * BLOCK_WORDS / k > 4 * TILE ? 2 * BLOCK_WORDS / k / (4 * TILE) : 1);

    if (m <= FEW_ROWS) {
        KERNEL(tiles_rounded)(o, m, cols, k);
        return;
    }
    configure();
    for (size_t from = 0; from < cols; from += group) {
        const size_t to = least(from + group, cols);

        for (size_t row = 0, rows; row < m; row += rows) {
            rows = least(m - row, 2 * TILE);
            for (size_t col = from, wide = rows > TILE ? 2 * TILE : 4 * TILE; col < to; col += wide)
                block(o, row, col, rows, least(to - col, wide), k);
        }
    }
    release();
}
