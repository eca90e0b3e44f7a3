/* parts.c - floats taken apart into three bfloat16 each, laid out in tiles.
 *
 * The highest part is the float rounded, the middle one the rest of it rounded, the low one what is then left: their sum is the
 * float. VCVTNEPS2BF16 takes subnormal numbers for zeros, as the product does. */
#include <immintrin.h>

#include "tensor/kernel/table.h"

/* Sixteen bfloat16 as floats. */
static inline __m512 widened(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* Two times 16 floats: the parts' words, a tile apart, have the bfloat16 in the order `in_turn` says, 0 to 15 being the first. */
static inline void part(__m512 first, __m512 second, __m512i in_turn, float *to)
{
    for (int i = 0; i < RLHF_PARTS; i++, to += RLHF_TILE_WORDS) {
        __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(second, first);

        _mm512_storeu_si512(to, _mm512_permutexvar_epi16(in_turn, rounded));
        first = _mm512_sub_ps(first, widened(_mm512_castsi512_si256(rounded)));
        second = _mm512_sub_ps(second, widened(_mm512_extracti64x4_epi64(rounded, 1)));
    }
}

/* The first `count` of 16 floats, and zeros. */
static inline __m512 load(const float *from, size_t count)
{
    const unsigned lanes = count >= RLHF_LANES ? 0xffff : (1u << count) - 1;

    return _mm512_maskz_loadu_ps((__mmask16)lanes, from);
}

static const uint16_t as_they_are[32] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                          16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 };
static const uint16_t in_pairs[32] = { 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31 };

void rlhf_amx_part_rows(const float *from, size_t stride, size_t rows, size_t cols, float *to)
{
    const __m512i in_turn = _mm512_loadu_si512(as_they_are);

    for (size_t col = 0; col < cols; col += RLHF_TILE_STEPS, to += RLHF_PARTS * RLHF_TILE_WORDS)
        for (size_t r = 0; r < RLHF_LANES; r++) {
            const size_t left = r < rows ? cols - col : 0;
            const float *at = from + (r < rows ? r * stride + col : 0);

            part(load(at, left), load(at + RLHF_LANES, left > RLHF_LANES ? left - RLHF_LANES : 0), in_turn, to + r * RLHF_LANES);
        }
}

void rlhf_amx_part_columns(const float *from, size_t stride, size_t rows, size_t cols, float *to)
{
    const __m512i in_turn = _mm512_loadu_si512(in_pairs);

    for (size_t row = 0; row < RLHF_TILE_STEPS; row += 2, to += RLHF_LANES)
        part(load(from + (row < rows ? row * stride : 0), row < rows ? cols : 0),
             load(from + (row + 1 < rows ? (row + 1) * stride : 0), row + 1 < rows ? cols : 0), in_turn, to);
}
