/* rows.c - operations on rows and elements. Sums over a row run in sixteen lanes, folded at the end. */
#include "tensor/kernel/lanes.h"
#include "tensor/kernel/name.h"
#include "tensor/kernel/set.h"

/* A row or an array in steps of sixteen; the last step may have fewer lanes, the others then are zero and not stored. */
#define EACH16(i, count) for (size_t i = 0, left = (count); left > 0; i += 16, left = left > 16 ? left - 16 : 0)
#define LOAD(p) (left >= 16 ? v16_load(p) : v16_load_part((p), left))
#define STORE(p, a) \
    do { \
        if (left >= 16) \
            v16_store((p), (a)); \
        else \
            v16_store_part((p), (a), left); \
    } while (0)

void KERNEL(pack)(const float *w, size_t n, size_t k, bool transposed, size_t panel, float *out)
{
    size_t from = 16 * panel, width = n - from < 16 ? n - from : 16;

    if (transposed) {
        for (size_t l = 0; l < k; l++)
            v16_store(out + 16 * l, width == 16 ? v16_load(w + l * n + from) : v16_load_part(w + l * n + from, width));
        return;
    }
    for (size_t l = 0; l < k; l++)
        for (size_t j = 0; j < 16; j++)
            out[16 * l + j] = j < width ? w[(from + j) * k + l] : 0;
}

static v16 zero(void)
{
    return v16_set(0);
}

/* Ba, Kiros, Hinton 2016; the variance is the biased one, as in PyTorch. */
void KERNEL(layernorm)(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c, float *y,
                       float *mean, float *rstd)
{
    for (size_t r = 0; r < t; r++, x += c, y += c) {
        v16 sum = zero(), square = zero(), center;

        EACH16(i, c) sum = v16_add(sum, LOAD(x + i));
        mean[r] = v16_sum(sum) / (float)c;
        center = v16_set(mean[r]);
        EACH16(i, c) {
            v16 d = v16_sub(LOAD(x + i), center);
            if (left < 16)
                d = v16_first(d, left, zero());
            square = v16_fma(d, d, square);
        }
        rstd[r] = 1 / v16_get(v16_sqrt(v16_set(v16_sum(square) / (float)c + epsilon)));
        EACH16(i, c) {
            v16 n = v16_mul(v16_sub(LOAD(x + i), center), v16_set(rstd[r]));
            STORE(y + i, v16_fma(n, LOAD(gain + i), LOAD(shift + i)));
        }
    }
}

/* With n = (x - mean)·rstd and g = dy·gain: dx += rstd·(g - mean(g) - n·mean(g·n)). */
void KERNEL(layernorm_backward)(const float *dy, const float *x, const float *gain, const float *mean, const float *rstd,
                                size_t t, size_t c, float *dx)
{
    for (size_t r = 0; r < t; r++, x += c, dy += c, dx += c) {
        v16 sum = zero(), dot = zero(), center = v16_set(mean[r]), scale = v16_set(rstd[r]), a, b;

        EACH16(i, c) {
            v16 g = v16_mul(LOAD(dy + i), LOAD(gain + i)); /* (0 in lanes past the end) */
            sum = v16_add(sum, g);
            dot = v16_fma(g, v16_mul(v16_sub(LOAD(x + i), center), scale), dot);
        }
        a = v16_set(v16_sum(sum) / (float)c);
        b = v16_set(v16_sum(dot) / (float)c);
        EACH16(i, c) {
            v16 g = v16_mul(LOAD(dy + i), LOAD(gain + i)), n = v16_mul(v16_sub(LOAD(x + i), center), scale);
            STORE(dx + i, v16_fma(scale, v16_fnma(n, b, v16_sub(g, a)), LOAD(dx + i)));
        }
    }
}

void KERNEL(norm_backward_gain)(const float *dy, const float *x, const float *mean, const float *rstd, size_t t, size_t c,
                                size_t from, size_t to, float *d_gain, float *d_shift)
{
    EACH16(step, to - from) {
        size_t i = from + step;
        v16 gain = LOAD(d_gain + i), shift = d_shift ? LOAD(d_shift + i) : zero();

        for (size_t r = 0; r < t; r++) {
            v16 d = LOAD(dy + r * c + i), v = LOAD(x + r * c + i);
            v16 n = v16_mul(mean ? v16_sub(v, v16_set(mean[r])) : v, v16_set(rstd[r]));
            gain = v16_fma(d, n, gain);
            shift = v16_add(shift, d);
        }
        STORE(d_gain + i, gain);
        if (d_shift)
            STORE(d_shift + i, shift);
    }
}

/* Zhang, Sennrich 2019. */
void KERNEL(rmsnorm)(const float *x, const float *gain, float epsilon, size_t t, size_t c, float *y, float *rstd)
{
    for (size_t r = 0; r < t; r++, x += c, y += c) {
        v16 square = zero();

        EACH16(i, c) {
            v16 v = LOAD(x + i);
            square = v16_fma(v, v, square);
        }
        rstd[r] = 1 / v16_get(v16_sqrt(v16_set(v16_sum(square) / (float)c + epsilon)));
        EACH16(i, c) STORE(y + i, v16_mul(v16_mul(LOAD(x + i), v16_set(rstd[r])), LOAD(gain + i)));
    }
}

void KERNEL(rmsnorm_backward)(const float *dy, const float *x, const float *gain, const float *rstd, size_t t, size_t c,
                              float *dx)
{
    for (size_t r = 0; r < t; r++, x += c, dy += c, dx += c) {
        v16 dot = zero(), scale = v16_set(rstd[r]), b;

        EACH16(i, c) dot = v16_fma(v16_mul(LOAD(dy + i), LOAD(gain + i)), v16_mul(LOAD(x + i), scale), dot);
        b = v16_set(v16_sum(dot) / (float)c);
        EACH16(i, c) {
            v16 g = v16_mul(LOAD(dy + i), LOAD(gain + i)), n = v16_mul(LOAD(x + i), scale);
            STORE(dx + i, v16_fma(scale, v16_fnma(n, b, g), LOAD(dx + i)));
        }
    }
}

/* Hendrycks, Gimpel 2016, the tanh form: x/2·(1 + tanh u) = x·sigmoid(2u), u = √(2/π)·(x + 0.044715·x³). */
static v16 gelu_gate(v16 x, v16 square)
{
    const v16 two_root = v16_set(1.5957691216057308f), cubic = v16_set(0.044715f);

    return v16_sigmoid(v16_mul(v16_mul(two_root, x), v16_fma(cubic, square, v16_set(1))));
}

void KERNEL(gelu)(const float *x, size_t count, float *y)
{
    EACH16(i, count) {
        v16 v = LOAD(x + i);
        STORE(y + i, v16_mul(v, gelu_gate(v, v16_mul(v, v))));
    }
}

void KERNEL(gelu_backward)(const float *dy, const float *x, size_t count, float *dx)
{
    const v16 two_root = v16_set(1.5957691216057308f), cubic3 = v16_set(3 * 0.044715f), one = v16_set(1);

    EACH16(i, count) {
        v16 v = LOAD(x + i), square = v16_mul(v, v), s = gelu_gate(v, square);
        v16 slope = v16_mul(two_root, v16_fma(cubic3, square, one)); /* of 2u */
        v16 d = v16_fma(v16_mul(v, v16_mul(s, v16_sub(one, s))), slope, s);
        STORE(dx + i, v16_mul(LOAD(dy + i), d));
    }
}

/* Shazeer 2020: silu(gate)·up, silu(z) = z·sigmoid(z). */
void KERNEL(swiglu)(const float *gate_up, size_t t, size_t m, float *y)
{
    for (size_t r = 0; r < t; r++, gate_up += 2 * m, y += m)
        EACH16(i, m) {
            v16 gate = LOAD(gate_up + i);
            STORE(y + i, v16_mul(v16_mul(gate, v16_sigmoid(gate)), LOAD(gate_up + m + i)));
        }
}

void KERNEL(swiglu_backward)(const float *dy, const float *gate_up, size_t t, size_t m, float *d_gate_up)
{
    const v16 one = v16_set(1);

    for (size_t r = 0; r < t; r++, dy += m, gate_up += 2 * m, d_gate_up += 2 * m)
        EACH16(i, m) {
            v16 gate = LOAD(gate_up + i), up = LOAD(gate_up + m + i), d = LOAD(dy + i), s = v16_sigmoid(gate);
            v16 slope = v16_mul(s, v16_fma(gate, v16_sub(one, s), one));
            STORE(d_gate_up + i, v16_mul(v16_mul(d, up), slope));
            STORE(d_gate_up + m + i, v16_mul(d, v16_mul(gate, s)));
        }
}

void KERNEL(add)(const float *x, size_t count, float *y)
{
    EACH16(i, count) STORE(y + i, v16_add(LOAD(y + i), LOAD(x + i)));
}

void KERNEL(column_sums)(const float *x, size_t x_stride, size_t t, size_t from, size_t to, float *sum)
{
    EACH16(step, to - from) {
        v16 s = LOAD(sum + from + step);

        for (size_t r = 0; r < t; r++)
            s = v16_add(s, LOAD(x + r * x_stride + from + step));
        STORE(sum + from + step, s);
    }
}

/* Su et al. 2021, halves convention: (a, b) turns to (a·cos - b·sin, b·cos + a·sin). */
void KERNEL(rope)(float *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t, const float *cos_sin,
                  bool backward)
{
    for (size_t r = 0; r < t; r++, x += stride) {
        const float *cosine = cos_sin + position[r] * d, *sine = cosine + d / 2;

        for (size_t h = 0; h < heads; h++)
            EACH16(i, d / 2) {
                float *pa = x + h * d + i, *pb = pa + d / 2;
                v16 a = LOAD(pa), b = LOAD(pb), c = LOAD(cosine + i), s = LOAD(sine + i);
                if (backward)
                    s = v16_sub(zero(), s);
                STORE(pa, v16_fnma(b, s, v16_mul(a, c)));
                STORE(pb, v16_fma(a, s, v16_mul(b, c)));
            }
    }
}

void KERNEL(vocab_chunk)(const float *logits, size_t count, float scale, float *m, float *s, float *t)
{
    v16 largest = v16_set(-INFINITY), sum = zero(), weighted = zero(), by = v16_set(scale), top;

    EACH16(i, count) {
        v16 z = v16_mul(LOAD(logits + i), by);
        largest = v16_max(left < 16 ? v16_first(z, left, v16_set(-INFINITY)) : z, largest);
    }
    *m = v16_largest(largest);
    *s = *t = 0;
    if (*m == -INFINITY)
        return;
    top = v16_set(*m);
    EACH16(i, count) {
        v16 z = v16_sub(v16_mul(LOAD(logits + i), by), top), e;
        if (left < 16)
            z = v16_first(z, left, v16_set(-200)); /* e^-200 is exactly 0 here */
        e = v16_exp(z);
        sum = v16_add(sum, e);
        weighted = v16_fma(e, v16_max(z, v16_set(-200)), weighted); /* never 0·-inf */
    }
    *s = v16_sum(sum);
    *t = v16_sum(weighted);
}

void KERNEL(vocab_join)(const float *m, const float *s, const float *t, size_t chunks, float *max, float *log_sum,
                        float *entropy)
{
    float top = -INFINITY, sum = 0, weighted = 0;

    for (size_t i = 0; i < chunks; i++)
        if (!(m[i] <= top)) /* (a NaN goes on to the result) */
            top = m[i];
    for (size_t i = 0; i < chunks; i++) {
        float down, part;

        if (m[i] == -INFINITY)
            continue;
        down = m[i] - top;
        part = v16_get(v16_exp(v16_set(down)));
        sum = v16_get(v16_fma(v16_set(s[i]), v16_set(part), v16_set(sum)));
        /* (t + (m - top)·s)·e^(m - top): the chunk's sum about the common maximum */
        if (part > 0)
            weighted = v16_get(v16_fma(v16_fma(v16_set(down), v16_set(s[i]), v16_set(t[i])), v16_set(part), v16_set(weighted)));
    }
    *max = top;
    *log_sum = lanes_log(sum);
    if (entropy)
        *entropy = *log_sum - weighted / sum;
}

/* d logprob / dz_j = [j = target] - p_j, d entropy / dz_j = -p_j·(log p_j + entropy), z = logit·scale. */
void KERNEL(vocab_gradient)(float *logits, size_t count, float scale, float lse, float entropy, size_t target,
                            float d_logprob, float d_entropy)
{
    const v16 by = v16_set(scale), sum = v16_set(lse), by_logprob = v16_set(-d_logprob * scale),
              by_entropy = v16_set(-d_entropy * scale);

    EACH16(i, count) {
        v16 logp = v16_sub(v16_mul(LOAD(logits + i), by), sum), p = v16_exp(logp);
        v16 about = v16_add(v16_max(logp, v16_set(-200)), v16_set(entropy));
        STORE(logits + i, v16_mul(p, v16_fma(by_entropy, about, by_logprob)));
    }
    if (target < count)
        logits[target] += d_logprob * scale;
}

/* Loshchilov, Hutter 2019, decay first as PyTorch does. TF1's Adam folds the bias corrections into the rate and adds epsilon
 * to the uncorrected √v (recipe.md). */
void KERNEL(adamw)(const struct rlhf_adamw *a, float grad_scale, bool decay, const float *grad, float *m, float *v,
                   float *param, size_t count)
{
    const double c1 = 1 - pow((double)a->beta1, (double)a->step), c2 = 1 - pow((double)a->beta2, (double)a->step);
    const double root = sqrt(c2);
    const v16 beta1 = v16_set(a->beta1), rest1 = v16_set((float)(1 - (double)a->beta1)), beta2 = v16_set(a->beta2),
              rest2 = v16_set((float)(1 - (double)a->beta2)), clip = v16_set(grad_scale), epsilon = v16_set(a->epsilon),
              keep = v16_set(decay ? (float)(1 - (double)a->lr * (double)a->weight_decay) : 1),
              rate = v16_set(a->epsilon_inside_tf1 ? (float)(a->lr * root / c1) : (float)(a->lr / c1)),
              spread = v16_set(a->epsilon_inside_tf1 ? 1 : (float)(1 / root));

    EACH16(i, count) {
        v16 g = v16_mul(LOAD(grad + i), clip);
        v16 m1 = v16_fma(beta1, LOAD(m + i), v16_mul(rest1, g));
        v16 v1 = v16_fma(beta2, LOAD(v + i), v16_mul(rest2, v16_mul(g, g)));
        v16 bottom = v16_fma(v16_sqrt(v1), spread, epsilon);
        STORE(m + i, m1);
        STORE(v + i, v1);
        STORE(param + i, v16_fnma(rate, v16_div(m1, bottom), v16_mul(LOAD(param + i), keep)));
    }
}

double KERNEL(sum_squares)(const float *x, size_t count)
{
    double lane[16] = { 0 };

    for (size_t i = 0; i < count; i += 16)
        for (size_t j = 0; j < 16 && i + j < count; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    for (size_t width = 8; width > 0; width /= 2)
        for (size_t j = 0; j < width; j++)
            lane[j] += lane[j + width];
    return lane[0];
}
