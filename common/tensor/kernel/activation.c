/* activation.c - element by element: activations, gated or not, sums, soft caps, rotary embedding. */
#include "tensor/kernel/rows.h"

/* A value f(x) and its slope f'(x); what is not asked for costs nothing. */
struct activation {
    v16 value, slope;
};

static const float root_8_over_pi = 1.59576912160573071f, cubic = 0.044715f;

/* x/2·(1 + tanh u) = x·sigmoid(2u), u = √(2/π)·(x + 0.044715·x³); d/dx x·s(2u) = s + x·s·(1 - s)·2u', 2u' =
 * √(8/π)·(1 + 3·0.044715·x²). */
LONG_INLINE struct activation gelu_tanh(v16 x)
{
    v16 one = v16_set(1.0f), square = v16_mul(x, x), u = v16_mul(x, v16_fma(square, v16_set(cubic), one));
    v16 s = v16_sigmoid(v16_mul(u, v16_set(root_8_over_pi)));
    v16 steep = v16_mul(v16_set(root_8_over_pi), v16_fma(square, v16_set(3 * cubic), one));
    return (struct activation){ v16_mul(x, s), v16_add(s, v16_mul(v16_mul(x, s), v16_mul(v16_sub(one, s), steep))) };
}

/* x·Φ(x), Φ(x) + x·φ(x). Φ(x) = erfc(-x/√2)/2. */
LONG_INLINE struct activation gelu(v16 x)
{
    v16 density, phi = v16_normal(x, &density);
    return (struct activation){ v16_mul(x, phi), v16_fma(x, density, phi) };
}

/* silu'(g) = s·(1 + g·(1 - s)). */
LONG_INLINE struct activation silu(v16 g)
{
    v16 one = v16_set(1.0f), s = v16_sigmoid(g);
    return (struct activation){ v16_mul(g, s), v16_mul(s, v16_fma(g, v16_sub(one, s), one)) };
}

/* The four forms of one activation. Those of backward give the value, too. */
#define FORMS(f) \
    static void f##_forward(const float *x, size_t c, float *y) \
    { \
        FOR_LANES(c) STORE(y, f(LOAD(x)).value); \
    } \
    static void f##_backward(const float *dy, const float *x, size_t c, float *y, float *dx) \
    { \
        FOR_LANES(c) \
        { \
            struct activation a = f(LOAD(x)); \
            STORE(y, a.value); \
            STORE(dx, v16_mul(LOAD(dy), a.slope)); \
        } \
    } \
    static void f##_gate(const float *gate, const float *up, size_t c, float *y) \
    { \
        FOR_LANES(c) STORE(y, v16_mul(f(LOAD(gate)).value, LOAD(up))); \
    } \
    static void f##_gate_backward(const float *dy, const float *gate, const float *up, size_t c, float *y, \
                                  float *d_gate, float *d_up) \
    { \
        FOR_LANES(c) \
        { \
            struct activation a = f(LOAD(gate)); \
            v16 d = LOAD(dy), u = LOAD(up); \
            STORE(y, v16_mul(a.value, u)); \
            STORE(d_gate, v16_mul(v16_mul(d, u), a.slope)); \
            STORE(d_up, v16_mul(d, a.value)); \
        } \
    }
FORMS(gelu_tanh)
FORMS(gelu)
FORMS(silu)

static const struct {
    void (*forward)(const float *x, size_t c, float *y);
    void (*backward)(const float *dy, const float *x, size_t c, float *y, float *dx);
    void (*gate)(const float *gate, const float *up, size_t c, float *y);
    void (*gate_backward)(const float *dy, const float *gate, const float *up, size_t c, float *y, float *d_gate, float *d_up);
} forms[RLHF_ACTIVATIONS] = {
    [RLHF_GELU_TANH] = { gelu_tanh_forward, gelu_tanh_backward, gelu_tanh_gate, gelu_tanh_gate_backward },
    [RLHF_GELU] = { gelu_forward, gelu_backward, gelu_gate, gelu_gate_backward },
    [RLHF_SILU] = { silu_forward, silu_backward, silu_gate, silu_gate_backward },
};

void KERNEL(activate)(enum rlhf_activation f, const float *x, size_t c, float *y)
{
    forms[f].forward(x, c, y);
}

void KERNEL(activate_backward)(enum rlhf_activation f, const float *dy, const float *x, size_t c, float *y, float *dx)
{
    forms[f].backward(dy, x, c, y, dx);
}

void KERNEL(gate)(enum rlhf_activation f, const float *gate_up, size_t t, size_t c, float *y)
{
    for (size_t i = 0; i < t; i++, gate_up += 2 * c, y += c)
        forms[f].gate(gate_up, gate_up + c, c, y);
}

void KERNEL(gate_backward)(enum rlhf_activation f, const float *dy, const float *gate_up, size_t t, size_t c, float *y,
                           float *d_gate_up)
{
    for (size_t i = 0; i < t; i++, gate_up += 2 * c, d_gate_up += 2 * c, dy += c, y += c)
        forms[f].gate_backward(dy, gate_up, gate_up + c, c, y, d_gate_up, d_gate_up + c);
}

void KERNEL(scale)(float *x, size_t c, float by)
{
    FOR_LANES(c) STORE(x, v16_mul(LOAD(x), v16_set(by)));
}

void KERNEL(soft_cap)(float *x, size_t c, float cap)
{
    v16 most = v16_set(cap), inverse = v16_set(1.0f / cap);
    FOR_LANES(c) STORE(x, v16_mul(most, v16_tanh(v16_mul(LOAD(x), inverse))));
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

void KERNEL(rope)(float *x, size_t stride, size_t heads, size_t head_stride, size_t turning, const uint32_t *position,
                  size_t t, const float *cos_sin, bool backward)
{
    size_t c = turning / 2;
    v16 sign = v16_set(backward ? -1.0f : 1.0f);

    for (size_t i = 0; i < t; i++) {
        const float *cosine = cos_sin + (size_t)position[i] * turning, *sine = cosine + c;
        for (size_t h = 0; h < heads; h++) {
            float *first = x + i * stride + h * head_stride, *second = first + c;
            FOR_LANES(c)
            {
                v16 a = LOAD(first), b = LOAD(second), co = LOAD(cosine), si = v16_mul(sign, LOAD(sine));
                STORE(first, v16_fnma(b, si, v16_mul(a, co)));
                STORE(second, v16_fma(a, si, v16_mul(b, co)));
            }
        }
    }
}
