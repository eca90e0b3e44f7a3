/* lanes.h - sixteen floats that every instruction set handles alike.
 *
 * A kernel is written once on struct-like values of sixteen lanes and compiled once a kernel set: one
 * register with AVX-512, two with AVX2, four on any other processor. Every function here rounds as IEEE 754
 * says, once where it says fma, so the sets with FMA give the same bits. (The generic set of a processor
 * without FMA rounds the product as well.) Compiled with -ffp-contract=off: nothing is fused behind our back. */
#ifndef RLHF_TENSOR_KERNEL_LANES_H
#define RLHF_TENSOR_KERNEL_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))
/* Long ones, which sanitizers' checks make so long that compiling them where they are used takes minutes. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LONG_INLINE static __attribute__((noinline, unused))
#else
#define LONG_INLINE INLINE
#endif

#if defined(RLHF_KERNELS_AVX512) || defined(RLHF_KERNELS_AVX2)
#include <immintrin.h>
#endif

#if defined(RLHF_KERNELS_AVX512)

typedef __m512 v16;
enum { REGISTERS = 32, REGISTERS_A_V16 = 1 };

INLINE v16 v16_set(float x) { return _mm512_set1_ps(x); }
INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
INLINE v16 v16_load_part(const float *p, size_t n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
INLINE void v16_store_part(float *p, v16 a, size_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a); }
INLINE v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
INLINE v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
INLINE v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
INLINE v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
INLINE v16 v16_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
INLINE v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
INLINE v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE v16 v16_first(v16 a, size_t n, v16 other) { return _mm512_mask_blend_ps((__mmask16)((1u << n) - 1), other, a); }
INLINE v16 v16_if_less(v16 a, v16 b, v16 yes, v16 no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
INLINE v16 v16_power_of_two(v16 magic, int bias)
{
    __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(magic), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(bias << 23)));
}
/* Sixteen words, each of two bfloat16: the low ones, the high ones. */
INLINE v16 v16_even(const float *words)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(words), 16));
}
INLINE v16 v16_odd(const float *words)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(words), _mm512_set1_epi32(-65536)));
}
INLINE void v16_halves(v16 a, __m256 *low, __m256 *high)
{
    *low = _mm512_castps512_ps256(a);
    *high = _mm512_extractf32x8_ps(a, 1);
}

#elif defined(RLHF_KERNELS_AVX2)

typedef struct {
    __m256 h[2];
} v16;
enum { REGISTERS = 16, REGISTERS_A_V16 = 2 };

#define EACH(expression) \
    v16 r; \
    for (int i = 0; i < 2; i++) \
        r.h[i] = (expression); \
    return r
INLINE __m256i lanes_below(size_t n, int from)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n - from), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE v16 v16_set(float x) { EACH(_mm256_set1_ps(x)); }
INLINE v16 v16_load(const float *p) { EACH(_mm256_loadu_ps(p + 8 * i)); }
INLINE void v16_store(float *p, v16 a)
{
    _mm256_storeu_ps(p, a.h[0]);
    _mm256_storeu_ps(p + 8, a.h[1]);
}
INLINE v16 v16_load_part(const float *p, size_t n) { EACH(_mm256_maskload_ps(p + 8 * i, lanes_below(n, 8 * i))); }
INLINE void v16_store_part(float *p, v16 a, size_t n)
{
    for (int i = 0; i < 2; i++)
        _mm256_maskstore_ps(p + 8 * i, lanes_below(n, 8 * i), a.h[i]);
}
INLINE v16 v16_add(v16 a, v16 b) { EACH(_mm256_add_ps(a.h[i], b.h[i])); }
INLINE v16 v16_sub(v16 a, v16 b) { EACH(_mm256_sub_ps(a.h[i], b.h[i])); }
INLINE v16 v16_mul(v16 a, v16 b) { EACH(_mm256_mul_ps(a.h[i], b.h[i])); }
INLINE v16 v16_div(v16 a, v16 b) { EACH(_mm256_div_ps(a.h[i], b.h[i])); }
INLINE v16 v16_sqrt(v16 a) { EACH(_mm256_sqrt_ps(a.h[i])); }
INLINE v16 v16_max(v16 a, v16 b) { EACH(_mm256_max_ps(a.h[i], b.h[i])); }
INLINE v16 v16_min(v16 a, v16 b) { EACH(_mm256_min_ps(a.h[i], b.h[i])); }
INLINE v16 v16_fma(v16 a, v16 b, v16 c) { EACH(_mm256_fmadd_ps(a.h[i], b.h[i], c.h[i])); }
INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { EACH(_mm256_fnmadd_ps(a.h[i], b.h[i], c.h[i])); }
INLINE v16 v16_first(v16 a, size_t n, v16 other)
{
    EACH(_mm256_blendv_ps(other.h[i], a.h[i], _mm256_castsi256_ps(lanes_below(n, 8 * i))));
}
INLINE v16 v16_if_less(v16 a, v16 b, v16 yes, v16 no)
{
    EACH(_mm256_blendv_ps(no.h[i], yes.h[i], _mm256_cmp_ps(a.h[i], b.h[i], _CMP_LT_OQ)));
}
INLINE v16 v16_power_of_two(v16 magic, int bias)
{
    EACH(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(magic.h[i]), 23),
                                              _mm256_set1_epi32(bias << 23))));
}
INLINE v16 v16_even(const float *words)
{
    EACH(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(words + 8 * i)), 16)));
}
INLINE v16 v16_odd(const float *words)
{
    EACH(_mm256_and_ps(_mm256_loadu_ps(words + 8 * i), _mm256_castsi256_ps(_mm256_set1_epi32(-65536))));
}
INLINE void v16_halves(v16 a, __m256 *low, __m256 *high)
{
    *low = a.h[0];
    *high = a.h[1];
}
#undef EACH

#else /* any processor: GCC's vector extension, four lanes at a time */

typedef float v4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef struct {
    v4 q[4];
} v16;
#if defined(__aarch64__)
enum { REGISTERS = 32, REGISTERS_A_V16 = 4 };
#else
enum { REGISTERS = 16, REGISTERS_A_V16 = 4 };
#endif

#define EACH(expression) \
    v16 r; \
    for (int i = 0; i < 4; i++) \
        r.q[i] = (expression); \
    return r
INLINE v4 v4_load(const float *p)
{
    v4 r;
    memcpy(&r, p, sizeof r);
    return r;
}
INLINE v4 v4_pick(i4 mask, v4 yes, v4 no) { return (v4)(((i4)yes & mask) | ((i4)no & ~mask)); }
INLINE v4 v4_sqrt(v4 a)
{
    v4 r;
    for (int i = 0; i < 4; i++)
        r[i] = sqrtf(a[i]);
    return r;
}
INLINE v4 v4_fma(v4 a, v4 b, v4 c)
{
#ifdef __FP_FAST_FMAF
    v4 r;
    for (int i = 0; i < 4; i++)
        r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return r;
#else
    return a * b + c;
#endif
}
INLINE i4 lanes_below(size_t n, int from)
{
    int32_t left = (int32_t)n - from;
    return (i4){ 0, 1, 2, 3 } < (i4){ left, left, left, left };
}
INLINE v16 v16_set(float x) { EACH(((v4){ x, x, x, x })); }
INLINE v16 v16_load(const float *p) { EACH(v4_load(p + 4 * i)); }
INLINE void v16_store(float *p, v16 a) { memcpy(p, &a, sizeof a); }
INLINE v16 v16_load_part(const float *p, size_t n)
{
    v16 r = { 0 };
    memcpy(&r, p, n * sizeof *p);
    return r;
}
INLINE void v16_store_part(float *p, v16 a, size_t n) { memcpy(p, &a, n * sizeof *p); }
INLINE v16 v16_add(v16 a, v16 b) { EACH(a.q[i] + b.q[i]); }
INLINE v16 v16_sub(v16 a, v16 b) { EACH(a.q[i] - b.q[i]); }
INLINE v16 v16_mul(v16 a, v16 b) { EACH(a.q[i] * b.q[i]); }
INLINE v16 v16_div(v16 a, v16 b) { EACH(a.q[i] / b.q[i]); }
INLINE v16 v16_sqrt(v16 a) { EACH(v4_sqrt(a.q[i])); }
INLINE v16 v16_max(v16 a, v16 b) { EACH(v4_pick(a.q[i] > b.q[i], a.q[i], b.q[i])); }
INLINE v16 v16_min(v16 a, v16 b) { EACH(v4_pick(a.q[i] < b.q[i], a.q[i], b.q[i])); }
INLINE v16 v16_fma(v16 a, v16 b, v16 c) { EACH(v4_fma(a.q[i], b.q[i], c.q[i])); }
INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { EACH(v4_fma(-a.q[i], b.q[i], c.q[i])); }
INLINE v16 v16_first(v16 a, size_t n, v16 other) { EACH(v4_pick(lanes_below(n, 4 * i), a.q[i], other.q[i])); }
INLINE v16 v16_if_less(v16 a, v16 b, v16 yes, v16 no) { EACH(v4_pick(a.q[i] < b.q[i], yes.q[i], no.q[i])); }
INLINE v16 v16_power_of_two(v16 magic, int bias)
{
    EACH((v4)(((i4)magic.q[i] << 23) + (i4){ bias << 23, bias << 23, bias << 23, bias << 23 }));
}
INLINE v16 v16_even(const float *words) { EACH((v4)((i4)v4_load(words + 4 * i) << 16)); }
INLINE v16 v16_odd(const float *words)
{
    EACH((v4)((i4)v4_load(words + 4 * i) & (i4){ -65536, -65536, -65536, -65536 }));
}
#undef EACH

#endif

/* Lane i meets lane i + 8, then i + 4, i + 2, i + 1: the one order in which lanes are folded. */
#if defined(RLHF_KERNELS_AVX512) || defined(RLHF_KERNELS_AVX2)
#define FOLD(name, join8, join4, join1) \
    INLINE float name(v16 a) \
    { \
        __m256 low, high; \
        v16_halves(a, &low, &high); \
        low = join8(low, high); \
        __m128 four = join4(_mm256_castps256_ps128(low), _mm256_extractf128_ps(low, 1)); \
        four = join4(four, _mm_movehl_ps(four, four)); \
        return _mm_cvtss_f32(join1(four, _mm_shuffle_ps(four, four, 1))); \
    }
FOLD(v16_sum, _mm256_add_ps, _mm_add_ps, _mm_add_ss)
FOLD(v16_largest, _mm256_max_ps, _mm_max_ps, _mm_max_ss)
#else
#define FOLD(name, join) \
    INLINE float name(v16 a) \
    { \
        v4 b = join(a.q[0], a.q[2]), c = join(a.q[1], a.q[3]), f = join(b, c); \
        v4 g = join(f, ((v4){ f[2], f[3], f[2], f[3] })), h = join(g, ((v4){ g[1], g[1], g[1], g[1] })); \
        return h[0]; \
    }
INLINE v4 v4_add(v4 a, v4 b) { return a + b; }
INLINE v4 v4_max(v4 a, v4 b) { return v4_pick(a > b, a, b); }
FOLD(v16_sum, v4_add)
FOLD(v16_largest, v4_max)
#endif
#undef FOLD

INLINE float v16_get(v16 a)
{
    float f[16];
    v16_store(f, a);
    return f[0];
}

/* eˣ within 1 ulp or so: x = n·ln 2 + r, |r| <= ln 2/2, a polynomial in r (coefficients of Cephes' expf, Moshier), times
 * 2ⁿ. n comes from adding 1.5·2²³, whose low bits then hold it. Below -86.5 (1e-38·…) the result is exactly 0, above 88.72
 * infinite; NaN stays NaN. */
INLINE v16 v16_exp(v16 x)
{
    const v16 shift = v16_set(12582912.0f);
    v16 y = v16_max(v16_set(-100.0f), v16_min(v16_set(89.0f), x));
    v16 magic = v16_fma(y, v16_set(1.44269504088896341f), shift), n = v16_sub(magic, shift);
    v16 r = v16_fnma(n, v16_set(0.693359375f), y);
    r = v16_fnma(n, v16_set(-2.12194440e-4f), r);
    v16 p = v16_fma(v16_set(1.9875691500e-4f), r, v16_set(1.3981999507e-3f));
    p = v16_fma(p, r, v16_set(8.3334519073e-3f));
    p = v16_fma(p, r, v16_set(4.1665795894e-2f));
    p = v16_fma(p, r, v16_set(1.6666665459e-1f));
    p = v16_fma(p, r, v16_set(5.0000001201e-1f));
    p = v16_add(v16_fma(p, v16_mul(r, r), r), v16_set(1.0f));
    /* 2p times 2ⁿ⁻¹, so that n = 128 overflows to infinity as it should. */
    p = v16_mul(v16_add(p, p), v16_power_of_two(magic, 126));
    return v16_if_less(x, v16_set(-86.5f), v16_set(0.0f), p);
}

/* ln x of a positive normal number, within 1 ulp or so (Cephes' logf, Moshier). One number only, but by way of
 * the lanes, whose rounding is the same everywhere. */
INLINE float lanes_log(float x)
{
    static const float c[] = { 7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                               -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                               2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f };
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (bits >= 0x7f800000u) /* infinite, NaN, negative: not a sum of exponentials */
        return x;
    int exponent = (int)(bits >> 23) - 127;
    bits = (bits & 0x007fffffu) | 0x3f800000u;
    memcpy(&x, &bits, sizeof x);
    if (x > 1.41421356f) {
        x *= 0.5f;
        exponent++;
    }
    v16 r = v16_set(x - 1.0f), e = v16_set((float)exponent), square = v16_mul(r, r), p = v16_set(c[0]);
    for (int i = 1; i < 9; i++)
        p = v16_fma(p, r, v16_set(c[i]));
    p = v16_mul(v16_mul(p, r), square);
    p = v16_fma(e, v16_set(-2.12194440e-4f), p);
    p = v16_fnma(v16_set(0.5f), square, p);
    return v16_get(v16_fma(e, v16_set(0.693359375f), v16_add(r, p)));
}

/* 1/(1 + e⁻ˣ). */
INLINE v16 v16_sigmoid(v16 x)
{
    v16 one = v16_set(1.0f);
    return v16_div(one, v16_add(one, v16_exp(v16_sub(v16_set(0.0f), x))));
}

/* tanh x, within 2 ulp or so: near 0 an odd polynomial (Cephes' tanhf, Moshier), beyond it 1 - 2/(e²ˣ + 1). */
LONG_INLINE v16 v16_tanh(v16 x)
{
    const v16 zero = v16_set(0), one = v16_set(1.0f), edge = v16_set(0.625f);
    v16 square = v16_mul(x, x), size = v16_max(x, v16_sub(zero, x));
    v16 p = v16_fma(v16_set(-5.70498872745e-3f), square, v16_set(2.06390887954e-2f));
    p = v16_fma(p, square, v16_set(-5.37397155531e-2f));
    p = v16_fma(p, square, v16_set(1.33314422036e-1f));
    p = v16_fma(p, square, v16_set(-3.33332819422e-1f));
    p = v16_fma(v16_mul(p, square), x, x);
    v16 far = v16_sub(one, v16_div(v16_set(2.0f), v16_add(v16_exp(v16_add(size, size)), one)));
    far = v16_if_less(x, zero, v16_sub(zero, far), far);
    return v16_if_less(size, edge, p, v16_if_less(edge, size, far, v16_add(x, p))); /* NaN stays NaN */
}

/* The normal distribution's Φ(x) = erfc(-x/√2)/2, and its density e^(-x²/2)/√(2π). With z = |x|/√2, below 1 erf z is an odd
 * polynomial, above it erfc z = e^(-z²)/z times one in 1/z² (coefficients of Cephes' erff and erfcf, Moshier). */
LONG_INLINE v16 v16_normal(v16 x, v16 *density)
{
    static const float near[] = { 7.853861353153693e-5f,  -8.010193625184903e-4f, 5.188327685732524e-3f,
                                  -2.685381193529856e-2f, 1.128358514861418e-1f,  -3.761262582423300e-1f,
                                  1.128379165726710e+0f };
    static const float middle[] = { 2.326819970068386e-2f,  -1.387039388740657e-1f, 3.687424674597105e-1f,
                                    -5.824733027278666e-1f, 6.210004621745983e-1f,  -4.944515323274145e-1f,
                                    3.404879937665872e-1f,  -2.741127028184656e-1f, 5.638259427386472e-1f };
    static const float far[] = { -1.047766399936249e+1f, 1.297719955372516e+1f,  -7.495518717768503e+0f,
                                 2.921019019210786e+0f,  -1.015265279202700e+0f, 4.218463358204948e-1f,
                                 -2.820767439740514e-1f, 5.641895067754075e-1f };
    const v16 zero = v16_set(0), one = v16_set(1.0f), half = v16_set(0.5f);
    v16 z = v16_mul(v16_max(x, v16_sub(zero, x)), v16_set(0.70710678118654752f)), square = v16_mul(z, z);
    v16 e = v16_exp(v16_mul(v16_mul(x, x), v16_set(-0.5f)));
    v16 inverse = v16_div(one, v16_max(z, half)), q = v16_mul(inverse, inverse);
    v16 a = v16_set(near[0]), b = v16_set(middle[0]), c = v16_set(far[0]);

    for (int i = 1; i < 7; i++)
        a = v16_fma(a, square, v16_set(near[i]));
    for (int i = 1; i < 9; i++)
        b = v16_fma(b, q, v16_set(middle[i]));
    for (int i = 1; i < 8; i++)
        c = v16_fma(c, q, v16_set(far[i]));
    b = v16_if_less(z, v16_set(2.0f), b, c);
    v16 tail = v16_mul(half, v16_mul(v16_mul(e, inverse), b)); /* of |x| and beyond */
    v16 inner = v16_mul(half, v16_mul(z, a));                  /* from 0 to |x| */
    v16 below = v16_if_less(z, one, v16_sub(half, inner), tail);
    v16 above = v16_if_less(z, one, v16_add(half, inner), v16_sub(one, tail));
    *density = v16_mul(e, v16_set(0.39894228040143268f));
    return v16_if_less(x, zero, below, above);
}

#endif
