/* rounding.c - floats rounded to bfloat16, to nearest, ties to even, laid out in tiles for products of rounded operands. */
#include <string.h>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "tensor/kernel/table.h"

enum { TILE_STEPS = 32, TILE_WORDS = 256 };

static inline uint16_t rounded(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    uint32_t to_even = bits + 0x7fffu + (bits >> 16 & 1u);
    return (uint16_t)(((bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x00400000u : to_even) >> 16); /* NaN stays NaN */
}

static void round_plainly(const float *from, size_t count, uint16_t *to)
{
    for (size_t i = 0; i < count; i++)
        to[i] = rounded(from[i]);
}

static void round_pair_plainly(const float *even, const float *odd, float *to)
{
    uint32_t words[16];

    for (size_t i = 0; i < 16; i++)
        words[i] = rounded(even[i]) | (uint32_t)rounded(odd[i]) << 16;
    memcpy(to, words, sizeof words);
}

#if defined(__AVX512BF16__)
/* VCVTNEPS2BF16 takes subnormal numbers for zeros, the other sets do not: the largest of them round to a number that
 * is normal. They are rare. */
static void round_steps(const float *from, uint16_t *to)
{
    __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + 16);

    if (_mm512_fpclass_ps_mask(low, 0x20) | _mm512_fpclass_ps_mask(high, 0x20))
        round_plainly(from, TILE_STEPS, to);
    else
        _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* Two rows of 16 floats as 16 words. */
static void round_pair(const float *even, const float *odd, float *to)
{
    static const uint16_t in_turn[32] = { 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                          8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31 };
    __m512 low = _mm512_loadu_ps(even), high = _mm512_loadu_ps(odd);

    if (_mm512_fpclass_ps_mask(low, 0x20) | _mm512_fpclass_ps_mask(high, 0x20))
        round_pair_plainly(even, odd, to);
    else
        _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_loadu_si512(in_turn),
                                                         (__m512i)_mm512_cvtne2ps_pbh(high, low)));
}
#else
static void round_steps(const float *from, uint16_t *to)
{
    round_plainly(from, TILE_STEPS, to);
}

static void round_pair(const float *even, const float *odd, float *to)
{
    round_pair_plainly(even, odd, to);
}
#endif

void ROUNDING(round_rows)(const float *from, size_t stride, size_t rows, size_t cols, float *to)
{
    for (size_t r = 0; r < rows; r++) {
        uint16_t steps[TILE_STEPS];
        float *at = to + r * 16;
        size_t col = 0;

        for (; col + TILE_STEPS <= cols; col += TILE_STEPS, at += TILE_WORDS) {
            round_steps(from + r * stride + col, steps);
            memcpy(at, steps, sizeof steps);
        }
        if (col < cols) {
            memset(steps, 0, sizeof steps);
            round_plainly(from + r * stride + col, cols - col, steps);
            memcpy(at, steps, sizeof steps);
        }
    }
    for (size_t r = rows; r < 16; r++)
        for (size_t col = 0; col < cols; col += TILE_STEPS)
            memset(to + col * 8 + r * 16, 0, 16 * sizeof *to);
}

void ROUNDING(round_columns)(const float *from, size_t stride, size_t rows, size_t cols, float *to)
{
    static const float zeros[16];
    size_t row = 0;

    for (; cols == 16 && row + 2 <= rows; row += 2)
        round_pair(from + row * stride, from + (row + 1) * stride, to + row * 8);
    for (; row < rows; row += 2) {
        float part[2][16] = { { 0 } };

        memcpy(part[0], from + row * stride, cols * sizeof *from);
        if (row + 1 < rows)
            memcpy(part[1], from + (row + 1) * stride, cols * sizeof *from);
        round_pair(part[0], part[1], to + row * 8);
    }
    for (; row % TILE_STEPS; row += 2)
        memcpy(to + row * 8, zeros, sizeof zeros);
}
