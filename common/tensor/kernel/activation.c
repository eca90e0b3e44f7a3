/* activation.c - element by element: GELU, SwiGLU, sums, rotary embedding. */
#include "tensor/kernel/rows.h"

static const float root_8_over_pi = 1.59576912160573071f, cubic = 0.044715f;

/* x/2·(1 + tanh u) = x·sigmoid(2u), u = √(2/π)·(x + 0.044715·x³). */
INLINE v16 gelu_sigmoid(v16 x, v16 square)
{
    v16 u = v16_mul(x, v16_fma(square, v16_set(cubic), v16_set(1.0f)));
    return v16_sigmoid(v16_mul(u, v16_set(root_8_over_pi)));
}

void KERNEL(gelu)(const float *x, size_t c, float *y)
{
    FOR_LANES(c)
    {
        v16 a = LOAD(x);
        STORE(y, v16_mul(a, gelu_sigmoid(a, v16_mul(a, a))));
    }
}

/* d/dx x·s(2u) = s + x·s·(1 - s)·2u', 2u' = √(8/π)·(1 + 3·0.044715·x²). */
void KERNEL(gelu_backward)(const float *dy, const float *x, size_t c, float *dx)
{
    v16 one = v16_set(1.0f);
    FOR_LANES(c)
    {
        v16 a = LOAD(x), square = v16_mul(a, a), s = gelu_sigmoid(a, square);
        v16 slope = v16_mul(v16_set(root_8_over_pi), v16_fma(square, v16_set(3 * cubic), one));
        v16 turn = v16_mul(v16_mul(a, s), v16_mul(v16_sub(one, s), slope));
        STORE(dx, v16_mul(LOAD(dy), v16_add(s, turn)));
    }
}

void KERNEL(swiglu)(const float *gate_up, size_t t, size_t c, float *y)
{
    for (size_t i = 0; i < t; i++, gate_up += 2 * c, y += c) {
        const float *up = gate_up + c;
        FOR_LANES(c)
        {
            v16 g = LOAD(gate_up);
            STORE(y, v16_mul(v16_mul(g, v16_sigmoid(g)), LOAD(up)));
        }
    }
}

/* silu'(g) = s·(1 + g·(1 - s)). */
void KERNEL(swiglu_backward)(const float *dy, const float *gate_up, size_t t, size_t c, float *d_gate_up)
{
    v16 one = v16_set(1.0f);
    for (size_t i = 0; i < t; i++, gate_up += 2 * c, d_gate_up += 2 * c, dy += c) {
        const float *up = gate_up + c;
        float *d_up = d_gate_up + c;
        FOR_LANES(c)
        {
            v16 g = LOAD(gate_up), d = LOAD(dy), s = v16_sigmoid(g);
            v16 slope = v16_mul(s, v16_fma(g, v16_sub(one, s), one));
            STORE(d_gate_up, v16_mul(v16_mul(d, LOAD(up)), slope));
            STORE(d_up, v16_mul(d, v16_mul(g, s)));
        }
    }
}

void KERNEL(add)(const float *x, size_t c, float *y)
{
    FOR_LANES(c) STORE(y, v16_add(LOAD(y), LOAD(x)));
}

void KERNEL(column_sums)(const float *x, size_t x_stride, size_t m, size_t c, float *sum)
{
    FOR_LANES(c)
    {
        v16 s = LOAD(sum);
        for (size_t i = 0; i < m; i++)
            s = v16_add(s, LOAD(x + i * x_stride));
        STORE(sum, s);
    }
}

void KERNEL(rope)(float *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t,
                  const float *cos_sin, bool backward)
{
    size_t c = d / 2;
    v16 sign = v16_set(backward ? -1.0f : 1.0f);

    for (size_t i = 0; i < t; i++) {
        const float *cosine = cos_sin + (size_t)position[i] * d, *sine = cosine + c;
        for (size_t h = 0; h < heads; h++) {
            float *first = x + i * stride + h * d, *second = first + c;
            FOR_LANES(c)
            {
                v16 a = LOAD(first), b = LOAD(second), co = LOAD(cosine), si = v16_mul(sign, LOAD(sine));
                STORE(first, v16_fnma(b, si, v16_mul(a, co)));
                STORE(second, v16_fma(a, si, v16_mul(b, co)));
            }
        }
    }
}
