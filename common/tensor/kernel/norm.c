/* norm.c - LayerNorm and RMSNorm, a row at a time. Sums go lane by lane (j = 16·i + lane), then the fixed fold. */
#include "tensor/kernel/rows.h"

void KERNEL(layernorm)(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c,
                       float *y, float *mean, float *rstd)
{
    for (size_t i = 0; i < t; i++, x += c, y += c) {
        v16 sum = v16_set(0), square = v16_set(0);
        FOR_LANES(c) sum = v16_add(sum, LOAD(x));
        mean[i] = v16_sum(sum) / (float)c;
        v16 middle = v16_set(mean[i]);
        FOR_LANES(c)
        {
            v16 e = v16_sub(LOAD(x), middle);
            if (j + 16 > c)
                e = v16_first(e, c - j, v16_set(0));
            square = v16_fma(e, e, square);
        }
        rstd[i] = 1.0f / sqrtf(v16_sum(square) / (float)c + epsilon);
        v16 r = v16_set(rstd[i]);
        FOR_LANES(c) STORE(y, v16_fma(v16_mul(v16_sub(LOAD(x), middle), r), LOAD(gain), LOAD(shift)));
    }
}

/* With n = (x - mean)·rstd and g = dy·gain: dx = rstd·(g - mean(g) - n·mean(g·n)). */
void KERNEL(layernorm_backward)(const float *dy, const float *x, const float *gain, const float *mean,
                                const float *rstd, size_t t, size_t c, float *dx, float *d_gain, float *d_shift)
{
    for (size_t i = 0; i < t; i++, x += c, dy += c, dx += c) {
        v16 sum = v16_set(0), dot = v16_set(0), middle = v16_set(mean[i]), r = v16_set(rstd[i]);
        FOR_LANES(c)
        {
            v16 n = v16_mul(v16_sub(LOAD(x), middle), r), d = LOAD(dy), g = v16_mul(d, LOAD(gain));
            sum = v16_add(sum, g);
            dot = v16_fma(g, n, dot);
            STORE(d_gain, v16_fma(d, n, LOAD(d_gain)));
            STORE(d_shift, v16_add(d, LOAD(d_shift)));
        }
        v16 a = v16_set(v16_sum(sum) / (float)c), b = v16_set(v16_sum(dot) / (float)c);
        FOR_LANES(c)
        {
            v16 n = v16_mul(v16_sub(LOAD(x), middle), r), g = v16_mul(LOAD(dy), LOAD(gain));
            STORE(dx, v16_fma(r, v16_fnma(n, b, v16_sub(g, a)), LOAD(dx)));
        }
    }
}

void KERNEL(rmsnorm)(const float *x, const float *gain, float offset, float epsilon, size_t t, size_t c, float *y,
                     float *rstd)
{
    v16 by = v16_set(offset);

    for (size_t i = 0; i < t; i++, x += c, y += c) {
        v16 square = v16_set(0);
        FOR_LANES(c)
        {
            v16 e = LOAD(x);
            square = v16_fma(e, e, square);
        }
        rstd[i] = 1.0f / sqrtf(v16_sum(square) / (float)c + epsilon);
        v16 r = v16_set(rstd[i]);
        FOR_LANES(c) STORE(y, v16_mul(v16_mul(LOAD(x), r), v16_add(by, LOAD(gain))));
    }
}

void KERNEL(rmsnorm_backward)(const float *dy, const float *x, const float *gain, float offset, const float *rstd,
                              size_t t, size_t c, float *dx, float *d_gain)
{
    v16 by = v16_set(offset);

    for (size_t i = 0; i < t; i++, x += c, dy += c, dx += c) {
        v16 dot = v16_set(0), r = v16_set(rstd[i]);
        FOR_LANES(c)
        {
            v16 n = v16_mul(LOAD(x), r), d = LOAD(dy);
            dot = v16_fma(v16_mul(d, v16_add(by, LOAD(gain))), n, dot);
            STORE(d_gain, v16_fma(d, n, LOAD(d_gain)));
        }
        v16 b = v16_set(v16_sum(dot) / (float)c);
        FOR_LANES(c)
        {
            v16 n = v16_mul(LOAD(x), r), g = v16_mul(LOAD(dy), v16_add(by, LOAD(gain)));
            STORE(dx, v16_fma(r, v16_fnma(n, b, g), LOAD(dx)));
        }
    }
}
