#include "tensor/ops_reference.h"

#include <math.h>
#include <string.h>

void rlhf_reference_linear(const double *w, const double *x, size_t x_stride, size_t m, size_t n, size_t k,
                           bool transposed, const double *bias, bool accumulate, double *y, size_t y_stride)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = accumulate ? y[i * y_stride + j] : 0;
            if (bias)
                sum += bias[j];
            for (size_t l = 0; l < k; l++)
                sum += x[i * x_stride + l] * (transposed ? w[l * n + j] : w[j * k + l]);
            y[i * y_stride + j] = sum;
        }
}

/* A sum in double, which is as good as exact here, rounded to float; what is below the normal numbers then becomes 0. */
static float rounded_sum(double sum)
{
    return fabs(sum) < 0x1p-126 - 0x1p-151 ? copysignf(0, (float)sum) : (float)sum;
}

static float no_subnormal(float x)
{
    return rounded_sum((double)x);
}

static double as_bfloat16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if (!isnan(x))
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return (double)no_subnormal(x);
}

/* Intel's manual of the TDPBF16PS instruction. */
void rlhf_reference_linear_rounded(const float *w, const float *x, size_t x_stride, size_t m, size_t n, size_t k,
                                   bool transposed, const float *bias, bool accumulate, float *y, size_t y_stride)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = accumulate ? y[i * y_stride + j] : bias ? bias[j] : 0;
            if (accumulate && bias)
                sum += bias[j];
            for (size_t from = 0; from < k; from += 32) {
                float chain[2] = { 0, 0 };
                for (size_t l = from; l < from + 32 && l < k; l++)
                    chain[l % 2] = rounded_sum(as_bfloat16(x[i * x_stride + l])
                                               * as_bfloat16(transposed ? w[l * n + j] : w[j * k + l])
                                               + (double)chain[l % 2]);
                sum = rounded_sum((double)no_subnormal(sum)
                                  + (double)rounded_sum((double)chain[0] + (double)chain[1]));
            }
            y[i * y_stride + j] = sum;
        }
}

void rlhf_reference_linear_backward_weight(const double *dy, size_t dy_stride, const double *x,
                                           size_t x_stride, size_t m, size_t n, size_t k, bool transposed,
                                           double *dw, double *db)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double g = dy[i * dy_stride + j];
            if (db)
                db[j] += g;
            for (size_t l = 0; l < k; l++)
                dw[transposed ? l * n + j : j * k + l] += g * x[i * x_stride + l];
        }
}

void rlhf_reference_embed(const double *table, const int32_t *token, const double *position_table,
                          const uint32_t *position, size_t t, size_t c, double *y)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < c; j++)
            y[i * c + j] = table[(size_t)token[i] * c + j]
                           + (position_table ? position_table[(size_t)position[i] * c + j] : 0);
}

void rlhf_reference_embed_backward(const double *dy, const int32_t *token, const uint32_t *position, size_t t,
                                   size_t c, double *d_table, double *d_position_table)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < c; j++) {
            d_table[(size_t)token[i] * c + j] += dy[i * c + j];
            if (d_position_table)
                d_position_table[(size_t)position[i] * c + j] += dy[i * c + j];
        }
}

/* Ba, Kiros, Hinton 2016; the variance is the biased one, as in PyTorch. */
void rlhf_reference_layernorm(const double *x, const double *gain, const double *shift, double epsilon,
                              size_t t, size_t c, double *y, double *mean, double *rstd)
{
    for (size_t i = 0; i < t; i++, x += c, y += c) {
        double sum = 0, square = 0;
        for (size_t j = 0; j < c; j++)
            sum += x[j];
        mean[i] = sum / (double)c;
        for (size_t j = 0; j < c; j++)
            square += (x[j] - mean[i]) * (x[j] - mean[i]);
        rstd[i] = 1 / sqrt(square / (double)c + epsilon);
        for (size_t j = 0; j < c; j++)
            y[j] = (x[j] - mean[i]) * rstd[i] * gain[j] + shift[j];
    }
}

/* With n = (x - mean)·rstd and g = dy·gain: dx = rstd·(g - mean(g) - n·mean(g·n)). */
void rlhf_reference_layernorm_backward(const double *dy, const double *x, const double *gain,
                                       const double *mean, const double *rstd, size_t t, size_t c, double *dx,
                                       double *d_gain, double *d_shift)
{
    for (size_t i = 0; i < t; i++, x += c, dy += c, dx += c) {
        double sum = 0, dot = 0;
        for (size_t j = 0; j < c; j++) {
            double n = (x[j] - mean[i]) * rstd[i], g = dy[j] * gain[j];
            sum += g;
            dot += g * n;
            d_gain[j] += dy[j] * n;
            d_shift[j] += dy[j];
        }
        for (size_t j = 0; j < c; j++) {
            double n = (x[j] - mean[i]) * rstd[i], g = dy[j] * gain[j];
            dx[j] += rstd[i] * (g - sum / (double)c - n * dot / (double)c);
        }
    }
}

/* Zhang, Sennrich 2019; Gemma's gain is an offset from 1. */
void rlhf_reference_rmsnorm(const double *x, const double *gain, double offset, double epsilon, size_t t, size_t c,
                            double *y, double *rstd)
{
    for (size_t i = 0; i < t; i++, x += c, y += c) {
        double square = 0;
        for (size_t j = 0; j < c; j++)
            square += x[j] * x[j];
        rstd[i] = 1 / sqrt(square / (double)c + epsilon);
        for (size_t j = 0; j < c; j++)
            y[j] = x[j] * rstd[i] * (offset + gain[j]);
    }
}

void rlhf_reference_rmsnorm_backward(const double *dy, const double *x, const double *gain, double offset,
                                     const double *rstd, size_t t, size_t c, double *dx, double *d_gain)
{
    for (size_t i = 0; i < t; i++, x += c, dy += c, dx += c) {
        double dot = 0;
        for (size_t j = 0; j < c; j++) {
            dot += dy[j] * (offset + gain[j]) * x[j] * rstd[i];
            d_gain[j] += dy[j] * x[j] * rstd[i];
        }
        for (size_t j = 0; j < c; j++)
            dx[j] += rstd[i] * (dy[j] * (offset + gain[j]) - x[j] * rstd[i] * dot / (double)c);
    }
}

void rlhf_reference_head_norm(const double *x, size_t x_stride, const double *gain, double offset, double epsilon,
                              size_t t, size_t heads, size_t d, double *y, size_t y_stride, double *rstd)
{
    for (size_t i = 0; i < t; i++)
        for (size_t h = 0; h < heads; h++)
            rlhf_reference_rmsnorm(x + i * x_stride + h * d, gain, offset, epsilon, 1, d, y + i * y_stride + h * d,
                                   rstd + i * heads + h);
}

void rlhf_reference_head_norm_backward(const double *x, size_t x_stride, const double *gain, double offset,
                                       const double *rstd, size_t t, size_t heads, size_t d, double *dy,
                                       size_t dy_stride, double *d_gain)
{
    for (size_t i = 0; i < t; i++)
        for (size_t h = 0; h < heads; h++) {
            double dx[1024] = { 0 }, *at = dy + i * dy_stride + h * d;
            rlhf_reference_rmsnorm_backward(at, x + i * x_stride + h * d, gain, offset, rstd + i * heads + h, 1, d, dx,
                                            d_gain);
            memcpy(at, dx, d * sizeof *dx);
        }
}

static const double root_2_over_pi = 0.79788456080286535588, gelu_cubic = 0.044715, pi = 3.14159265358979323846;

/* Hendrycks, Gimpel 2016: x·Φ(x), and its tanh form x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))); silu(x) = x/(1 + exp(-x)). */
static double activation(enum rlhf_activation f, double x)
{
    if (f == RLHF_GELU_TANH)
        return 0.5 * x * (1 + tanh(root_2_over_pi * (x + gelu_cubic * x * x * x)));
    if (f == RLHF_GELU)
        return 0.5 * x * erfc(-x / sqrt(2));
    return x / (1 + exp(-x));
}

static double activation_slope(enum rlhf_activation f, double x)
{
    if (f == RLHF_GELU_TANH) {
        double h = tanh(root_2_over_pi * (x + gelu_cubic * x * x * x));
        double du = root_2_over_pi * (1 + 3 * gelu_cubic * x * x);
        return 0.5 * (1 + h) + 0.5 * x * (1 - h * h) * du;
    }
    if (f == RLHF_GELU)
        return 0.5 * erfc(-x / sqrt(2)) + x * exp(-0.5 * x * x) / sqrt(2 * pi);
    double s = 1 / (1 + exp(-x));
    return s * (1 + x * (1 - s));
}

void rlhf_reference_activate(enum rlhf_activation f, const double *x, size_t count, double *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = activation(f, x[i]);
}

void rlhf_reference_activate_backward(enum rlhf_activation f, const double *dy, const double *x, size_t count,
                                      double *dx)
{
    for (size_t i = 0; i < count; i++)
        dx[i] = dy[i] * activation_slope(f, x[i]);
}

/* Shazeer 2020: f(gate)·up. */
void rlhf_reference_gate(enum rlhf_activation f, const double *gate_up, size_t t, size_t m, double *y)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < m; j++)
            y[i * m + j] = activation(f, gate_up[i * 2 * m + j]) * gate_up[i * 2 * m + m + j];
}

void rlhf_reference_gate_backward(enum rlhf_activation f, const double *dy, const double *gate_up, size_t t, size_t m,
                                  double *d_gate_up)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < m; j++) {
            double gate = gate_up[i * 2 * m + j], up = gate_up[i * 2 * m + m + j];
            d_gate_up[i * 2 * m + j] = dy[i * m + j] * up * activation_slope(f, gate);
            d_gate_up[i * 2 * m + m + j] = dy[i * m + j] * activation(f, gate);
        }
}

/* Gemma Team 2024. */
static double capped(double x, double cap)
{
    return cap > 0 ? cap * tanh(x / cap) : x;
}

/* Its slope, by what it gave. */
static double capped_slope(double y, double cap)
{
    return cap > 0 ? 1 - y / cap * (y / cap) : 1;
}

void rlhf_reference_soft_cap(double *x, size_t count, double cap)
{
    for (size_t i = 0; i < count; i++)
        x[i] = capped(x[i], cap);
}

/* Su et al. 2021: pair j of D/2 turns by position·theta^(-2j/D). YaRN (Peng et al. 2023, 3.2) blends by a ramp over
 * pairs, Llama 3 by one over wavelengths; blend is the part that is divided by the factor. */
static double turn_of(size_t j, double theta, const struct rlhf_rope_scaling *s, size_t length, size_t d)
{
    double n = (double)d, turn = pow(theta, -2.0 * (double)j / n), blend = 0;

    if (!s || s->type == RLHF_ROPE_PLAIN)
        return turn;
    if (s->type == RLHF_ROPE_LINEAR)
        blend = 1;
    if (s->type == RLHF_ROPE_DYNAMIC) {
        double longest = length > s->original ? (double)length : s->original;
        double base = theta * pow(s->factor * longest / s->original - (s->factor - 1), n / (n - 2));
        return pow(base, -2.0 * (double)j / n);
    }
    if (s->type == RLHF_ROPE_YARN) {
        double low = n * log(s->original / (s->beta_fast * 2 * pi)) / (2 * log(theta));
        double high = n * log(s->original / (s->beta_slow * 2 * pi)) / (2 * log(theta));
        low = fmax(s->whole ? floor(low) : low, 0);
        high = fmin(s->whole ? ceil(high) : high, n - 1);
        blend = ((double)j - low) / (high == low ? 0.001 : high - low);
    }
    if (s->type == RLHF_ROPE_LLAMA3) {
        double wave = 2 * pi / turn, longest = s->original / s->low_frequency, shortest = s->original / s->high_frequency;
        blend = wave < shortest ? 0 : wave > longest ? 1
                : 1 - (s->original / wave - s->low_frequency) / (s->high_frequency - s->low_frequency);
    }
    blend = fmin(fmax(blend, 0), 1);
    return turn * (1 - blend + blend / s->factor);
}

void rlhf_reference_rope_table(double theta, const struct rlhf_rope_scaling *scaling, size_t length, size_t context,
                               size_t d, double *cos_sin)
{
    double amplitude = scaling && scaling->amplitude > 0 ? scaling->amplitude : 1;

    for (size_t p = 0; p < context; p++)
        for (size_t j = 0; j < d / 2; j++) {
            float turn = (float)turn_of(j, theta, scaling, length, d);
            double angle = (double)((float)p * turn);
            cos_sin[p * d + j] = amplitude * cos(angle);
            cos_sin[p * d + d / 2 + j] = amplitude * sin(angle);
        }
}

void rlhf_reference_rope(double *x, size_t stride, size_t heads, size_t head_stride, size_t turning,
                         const uint32_t *position, size_t t, const double *cos_sin, bool backward)
{
    for (size_t i = 0; i < t; i++)
        for (size_t h = 0; h < heads; h++)
            for (size_t j = 0; j < turning / 2; j++) {
                double *a = &x[i * stride + h * head_stride + j], *b = a + turning / 2, first = *a, second = *b;
                const double *table = cos_sin + (size_t)position[i] * turning;
                double c = table[j], s = table[turning / 2 + j];
                if (backward)
                    s = -s;
                *a = first * c - second * s;
                *b = second * c + first * s;
            }
}

/* Where head h's query, or its key or value (which: 1, 2), begins in a row of qkv. */
static size_t place(const struct rlhf_attention_shape *s, size_t h, size_t which)
{
    size_t g = which ? h / (s->heads / s->kv_heads) : h, before = which > 0 ? s->heads + (which - 1) * s->kv_heads : 0;
    return (s->interleaved ? 3 * h + which : before + g) * s->d;
}

static double attention_scale(const struct rlhf_attention_shape *s)
{
    return s->scale > 0 ? (double)s->scale : 1 / sqrt((double)s->d);
}

/* The first row of sequence b that row i sees. */
static size_t seen_from(const struct rlhf_attention_shape *s, size_t b, size_t i)
{
    return s->window && i + 1 > s->start[b] + s->window ? i + 1 - s->window : s->start[b];
}

/* softmax(QKᵀ·scale, causal)·V, one query at a time. */
void rlhf_reference_attention(const struct rlhf_attention_shape *s, const double *qkv, double *out,
                              double *lse)
{
    size_t d = s->d, row = (s->heads + 2 * s->kv_heads) * d, total = s->start[s->sequences];

    for (size_t b = 0; b < s->sequences; b++)
        for (size_t i = s->start[b]; i < s->start[b + 1]; i++)
            for (size_t h = 0; h < s->heads; h++) {
                const double *q = qkv + i * row + place(s, h, 0);
                double max = -INFINITY, sum = 0, *y = out + i * s->heads * d + h * d;
                for (size_t pass = 0; pass < 2; pass++) {
                    if (pass == 1)
                        memset(y, 0, d * sizeof *y);
                    for (size_t j = seen_from(s, b, i); j <= i; j++) {
                        const double *key = qkv + j * row + place(s, h, 1), *value = qkv + j * row + place(s, h, 2);
                        double score = 0;
                        for (size_t l = 0; l < d; l++)
                            score += q[l] * key[l];
                        score = capped(score * attention_scale(s), (double)s->cap);
                        if (pass == 0) {
                            max = fmax(max, score);
                            continue;
                        }
                        sum += exp(score - max);
                        for (size_t l = 0; l < d; l++)
                            y[l] += exp(score - max) * value[l];
                    }
                }
                for (size_t l = 0; l < d; l++)
                    y[l] /= sum;
                if (lse)
                    lse[h * total + i] = max + log(sum);
            }
}

/* dS = P·(dP - Σ dO·O) (Dao 2022, appendix B); the gradients of q, k and v are overwritten. */
void rlhf_reference_attention_backward(const struct rlhf_attention_shape *s, const double *d_out,
                                       const double *qkv, const double *out, const double *lse,
                                       double *d_qkv)
{
    size_t d = s->d, row = (s->heads + 2 * s->kv_heads) * d, total = s->start[s->sequences];
    double scale = attention_scale(s);

    memset(d_qkv, 0, total * row * sizeof *d_qkv);
    for (size_t b = 0; b < s->sequences; b++)
        for (size_t i = s->start[b]; i < s->start[b + 1]; i++)
            for (size_t h = 0; h < s->heads; h++) {
                size_t query = i * row + place(s, h, 0);
                const double *dy = d_out + (i * s->heads + h) * d, *y = out + (i * s->heads + h) * d;
                double delta = 0;
                for (size_t l = 0; l < d; l++)
                    delta += dy[l] * y[l];
                for (size_t j = seen_from(s, b, i); j <= i; j++) {
                    size_t key = j * row + place(s, h, 1), value = j * row + place(s, h, 2);
                    double score = 0, dp = 0;
                    for (size_t l = 0; l < d; l++) {
                        score += qkv[query + l] * qkv[key + l];
                        dp += dy[l] * qkv[value + l];
                    }
                    score = capped(score * scale, (double)s->cap);
                    double p = exp(score - lse[h * total + i]);
                    double ds = p * (dp - delta) * scale * capped_slope(score, (double)s->cap);
                    for (size_t l = 0; l < d; l++) {
                        d_qkv[query + l] += ds * qkv[key + l];
                        d_qkv[key + l] += ds * qkv[query + l];
                        d_qkv[value + l] += p * dy[l];
                    }
                }
            }
}

/* Capped, not yet divided by the temperature. */
static double logit(const double *w, const double *hidden, size_t c, double cap)
{
    double sum = 0;
    for (size_t l = 0; l < c; l++)
        sum += hidden[l] * w[l];
    return capped(sum, cap);
}

void rlhf_reference_vocab_logprobs(const double *w, const double *hidden, const int32_t *target, size_t n,
                                   size_t v, size_t c, double cap, double temperature, double *logprob,
                                   double *entropy, double *lse)
{
    for (size_t i = 0; i < n; i++, hidden += c) {
        double max = -INFINITY, sum = 0, weighted = 0;
        for (size_t j = 0; j < v; j++)
            max = fmax(max, logit(w + j * c, hidden, c, cap) / temperature);
        for (size_t j = 0; j < v; j++) {
            double z = logit(w + j * c, hidden, c, cap) / temperature;
            sum += exp(z - max);
            weighted += exp(z - max) * (z - max);
        }
        lse[i] = max + log(sum);
        logprob[i] = logit(w + (size_t)target[i] * c, hidden, c, cap) / temperature - lse[i];
        if (entropy)
            entropy[i] = log(sum) - weighted / sum;
    }
}

/* d logprob / dz_j = [j = target] - p_j and d entropy / dz_j = -p_j·(log p_j + entropy), z = logits / temperature. */
void rlhf_reference_vocab_logprobs_backward(const double *w, const double *hidden, const int32_t *target,
                                            size_t n, size_t v, size_t c, double cap, double temperature,
                                            const double *lse, const double *entropy, const double *d_logprob,
                                            const double *d_entropy, double *d_hidden, double *d_w)
{
    memset(d_hidden, 0, n * c * sizeof *d_hidden);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < v; j++) {
            double z = logit(w + j * c, hidden + i * c, c, cap), logp = z / temperature - lse[i], p = exp(logp);
            double dz = d_logprob[i] * ((j == (size_t)target[i]) - p);
            if (d_entropy && p > 0)
                dz -= d_entropy[i] * p * (logp + entropy[i]);
            dz *= capped_slope(z, cap) / temperature;
            for (size_t l = 0; l < c; l++) {
                d_hidden[i * c + l] += dz * w[j * c + l];
                d_w[j * c + l] += dz * hidden[i * c + l];
            }
        }
}

/* Loshchilov, Hutter 2019, decay first as PyTorch does. TF1's Adam folds the bias corrections into the step
 * size and adds epsilon to the uncorrected √v (recipe.md). */
void rlhf_reference_adamw_step(const struct rlhf_adamw *a, double grad_scale, bool decay, const double *grad,
                               double *m, double *v, double *param, size_t count)
{
    double b1 = a->beta1, b2 = a->beta2, c1 = 1 - pow(b1, (double)a->step), c2 = 1 - pow(b2, (double)a->step);
    for (size_t i = 0; i < count; i++) {
        double g = grad[i] * grad_scale;
        m[i] = b1 * m[i] + (1 - b1) * g;
        v[i] = b2 * v[i] + (1 - b2) * g * g;
        if (decay)
            param[i] -= a->lr * a->weight_decay * param[i];
        if (a->epsilon_inside_tf1)
            param[i] -= a->lr * sqrt(c2) / c1 * m[i] / (sqrt(v[i]) + a->epsilon);
        else
            param[i] -= a->lr * (m[i] / c1) / (sqrt(v[i] / c2) + a->epsilon);
    }
}
