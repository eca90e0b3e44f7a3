/* number.c - numbers as files store them, and halves in panels. */
#include <math.h>
#include <string.h>

#include "tensor/kernel/table.h"

/* Files align nothing. */
typedef uint16_t loose16 __attribute__((aligned(1), may_alias));

static inline float as_float(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t as_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

void KERNEL(widen_bf16)(const void *from, size_t count, float *to)
{
    const loose16 *h = from;

    for (size_t i = 0; i < count; i++)
        to[i] = as_float((uint32_t)h[i] << 16);
}

/* Exponent and fraction shifted into place are the number times 2^-112, subnormals included. */
void KERNEL(widen_f16)(const void *from, size_t count, float *to)
{
    const loose16 *h = from;

    for (size_t i = 0; i < count; i++) {
        uint32_t magnitude = h[i] & 0x7fffu, sign = (uint32_t)(h[i] & 0x8000u) << 16;
        uint32_t bits = as_bits(as_float(magnitude << 13) * 0x1p112f);

        bits |= magnitude >= 0x7c00u ? 0x7f800000u : 0; /* infinite, NaN */
        to[i] = as_float(bits | sign);
    }
}

bool KERNEL(all_finite)(const float *x, size_t count)
{
    uint32_t bad = 0;

    for (size_t i = 0; i < count; i++)
        bad |= (as_bits(x[i]) & 0x7f800000u) == 0x7f800000u;
    return !bad;
}

/* To nearest, ties to even, in the upper half. */
static inline uint32_t rounded(float x)
{
    uint32_t bits = as_bits(x);

    return bits + 0x7fffu + (bits >> 16 & 1u);
}

void KERNEL(round_halves)(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = as_bits(x[i]), quiet = bits | 0x00400000u; /* NaN stays NaN */

        x[i] = as_float(((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded(x[i])) & 0xffff0000u);
    }
}

bool KERNEL(halve)(const float *from, size_t k, float *to)
{
    uint32_t bad = 0;

    for (size_t l = 0; l + 2 <= k; l += 2, from += 32, to += 16)
        for (size_t i = 0; i < 16; i++) {
            uint32_t even = rounded(from[i]), odd = rounded(from[16 + i]);

            bad |= (even & 0x7f800000u) == 0x7f800000u || (odd & 0x7f800000u) == 0x7f800000u;
            to[i] = as_float(even >> 16 | (odd & 0xffff0000u));
        }
    for (size_t i = 0; k % 2 && i < 16; i++) {
        uint32_t even = rounded(from[i]);

        bad |= (even & 0x7f800000u) == 0x7f800000u;
        to[i] = as_float(even >> 16);
    }
    return !bad;
}
