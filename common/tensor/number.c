/* number.c - numbers as files store them. */
#include <string.h>

#include "tensor/kernels.h"

void rlhf_widen(enum rlhf_number number, const void *from, size_t count, float *to)
{
    if (number == RLHF_NUMBER_BF16)
        rlhf_kernels()->widen_bf16(from, count, to);
    else if (number == RLHF_NUMBER_F16)
        rlhf_kernels()->widen_f16(from, count, to);
    else if (count)
        memcpy(to, from, count * sizeof *to);
}

bool rlhf_weights_finite(const float *x, size_t count)
{
    return rlhf_kernels()->all_finite(x, count);
}

enum { ROUNDED_A_TASK = 1 << 15 }; /* about 5 us */

struct rounding {
    float *x;
    size_t stride, rows, cols, block; /* of rows a task */
};

static void round_part(void *ctx, size_t index)
{
    const struct rounding *r = ctx;
    size_t from = index * r->block, to = r->rows - from < r->block ? r->rows : from + r->block;

    for (size_t i = from; i < to; i++)
        rlhf_kernels()->round_halves(r->x + i * r->stride, r->cols);
}

void rlhf_round_halves(float *x, size_t stride, size_t rows, size_t cols, struct rlhf_pool *pool)
{
    struct rounding r = { x, stride, rows, cols, cols < ROUNDED_A_TASK ? ROUNDED_A_TASK / (cols ? cols : 1) : 1 };

    rlhf_pool_for(pool, (rows + r.block - 1) / r.block, round_part, &r);
}

/* Both return the half's bits, an exponent of ones when x is not finite or rounds to no finite half. */
static uint16_t to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000u) == 0x7f800000u) /* rounding would carry a NaN's fraction into its sign */
        return 0x7f80;
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static uint16_t to_f16(float x)
{
    uint32_t bits, sign;
    float shifted;

    memcpy(&bits, &x, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits >= 143u << 23) /* 2^16 and above, infinite, NaN */
        return 0x7c00;
    if (bits >= 113u << 23) /* normal: 2^-14 and above */
        return (uint16_t)(sign | ((bits - (112u << 23) + 0xfffu + (bits >> 13 & 1u)) >> 13));
    /* Subnormal: adding 0.5, whose last bit is worth 2^-24, rounds as wanted. */
    memcpy(&shifted, &bits, sizeof shifted);
    shifted += 0.5f;
    memcpy(&bits, &shifted, sizeof bits);
    return (uint16_t)(sign | (bits - (126u << 23)));
}

size_t rlhf_narrow(enum rlhf_number number, const float *from, size_t count, void *to)
{
    const uint16_t ones = number == RLHF_NUMBER_BF16 ? 0x7f80 : 0x7c00;
    uint8_t *out = to;

    if (number == RLHF_NUMBER_F32) {
        size_t finite = count;

        while (!rlhf_weights_finite(from, finite))
            for (finite = 0; rlhf_weights_finite(from + finite, 1);)
                finite++;
        memcpy(to, from, finite * sizeof *from);
        return finite;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half = number == RLHF_NUMBER_BF16 ? to_bf16(from[i]) : to_f16(from[i]);

        if ((half & ones) == ones)
            return i;
        memcpy(out + 2 * i, &half, sizeof half);
    }
    return count;
}
