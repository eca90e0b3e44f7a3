/* optimiser.c - AdamW and the gradient's norm. */
#include "tensor/kernel/rows.h"

void KERNEL(adamw)(const struct rlhf_adamw_factors *f, float *grad, float *m, float *v, float *param, size_t c)
{
    v16 scale = v16_set(f->grad_scale), b1 = v16_set(f->beta1), c1 = v16_set(f->one_minus_beta1),
        b2 = v16_set(f->beta2), c2 = v16_set(f->one_minus_beta2), keep = v16_set(f->keep),
        rate = v16_set(f->rate), root = v16_set(f->root_v_scale), epsilon = v16_set(f->epsilon);
    FOR_LANES(c)
    {
        v16 g = v16_mul(LOAD(grad), scale);
        v16 first = v16_fma(b1, LOAD(m), v16_mul(c1, g));
        v16 second = v16_fma(b2, LOAD(v), v16_mul(c2, v16_mul(g, g)));
        v16 below = v16_fma(v16_sqrt(second), root, epsilon);
        STORE(grad, v16_set(0));
        STORE(m, first);
        STORE(v, second);
        STORE(param, v16_fnma(rate, v16_div(first, below), v16_mul(keep, LOAD(param))));
    }
}

/* Squares of floats are exact in double, so that only the sixteen sums' order matters. */
double KERNEL(sum_squares)(const float *x, size_t count)
{
    double sum[16] = { 0 };
    size_t j = 0;

    for (; j + 16 <= count; j += 16)
        for (size_t i = 0; i < 16; i++)
            sum[i] += (double)x[j + i] * (double)x[j + i];
    for (size_t i = 0; j + i < count; i++)
        sum[i] += (double)x[j + i] * (double)x[j + i];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}
