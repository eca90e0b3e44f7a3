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

/* Zhang, Sennrich 2019. */
void rlhf_reference_rmsnorm(const double *x, const double *gain, double epsilon, size_t t, size_t c, double *y,
                            double *rstd)
{
    for (size_t i = 0; i < t; i++, x += c, y += c) {
        double square = 0;
        for (size_t j = 0; j < c; j++)
            square += x[j] * x[j];
        rstd[i] = 1 / sqrt(square / (double)c + epsilon);
        for (size_t j = 0; j < c; j++)
            y[j] = x[j] * rstd[i] * gain[j];
    }
}

void rlhf_reference_rmsnorm_backward(const double *dy, const double *x, const double *gain, const double *rstd,
                                     size_t t, size_t c, double *dx, double *d_gain)
{
    for (size_t i = 0; i < t; i++, x += c, dy += c, dx += c) {
        double dot = 0;
        for (size_t j = 0; j < c; j++) {
            dot += dy[j] * gain[j] * x[j] * rstd[i];
            d_gain[j] += dy[j] * x[j] * rstd[i];
        }
        for (size_t j = 0; j < c; j++)
            dx[j] += rstd[i] * (dy[j] * gain[j] - x[j] * rstd[i] * dot / (double)c);
    }
}

/* Hendrycks, Gimpel 2016, the tanh form: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))). */
static const double root_2_over_pi = 0.79788456080286535588, gelu_cubic = 0.044715;

void rlhf_reference_gelu(const double *x, size_t count, double *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = 0.5 * x[i] * (1 + tanh(root_2_over_pi * (x[i] + gelu_cubic * x[i] * x[i] * x[i])));
}

void rlhf_reference_gelu_backward(const double *dy, const double *x, size_t count, double *dx)
{
    for (size_t i = 0; i < count; i++) {
        double h = tanh(root_2_over_pi * (x[i] + gelu_cubic * x[i] * x[i] * x[i]));
        double du = root_2_over_pi * (1 + 3 * gelu_cubic * x[i] * x[i]);
        dx[i] = dy[i] * (0.5 * (1 + h) + 0.5 * x[i] * (1 - h * h) * du);
    }
}

/* Shazeer 2020: silu(gate)·up with silu(z) = z/(1 + exp(-z)). */
void rlhf_reference_swiglu(const double *gate_up, size_t t, size_t m, double *y)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < m; j++) {
            double gate = gate_up[i * 2 * m + j], up = gate_up[i * 2 * m + m + j];
            y[i * m + j] = gate / (1 + exp(-gate)) * up;
        }
}

void rlhf_reference_swiglu_backward(const double *dy, const double *gate_up, size_t t, size_t m,
                                    double *d_gate_up)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < m; j++) {
            double gate = gate_up[i * 2 * m + j], up = gate_up[i * 2 * m + m + j];
            double s = 1 / (1 + exp(-gate));
            d_gate_up[i * 2 * m + j] = dy[i * m + j] * up * s * (1 + gate * (1 - s));
            d_gate_up[i * 2 * m + m + j] = dy[i * m + j] * gate * s;
        }
}

/* Su et al. 2021: pair j of D/2 turns by position·theta^(-2j/D). */
void rlhf_reference_rope_table(double theta, size_t context, size_t d, double *cos_sin)
{
    for (size_t p = 0; p < context; p++)
        for (size_t j = 0; j < d / 2; j++) {
            double angle = (double)p * pow(theta, -2.0 * (double)j / (double)d);
            cos_sin[p * d + j] = cos(angle);
            cos_sin[p * d + d / 2 + j] = sin(angle);
        }
}

void rlhf_reference_rope(double *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t,
                         const double *cos_sin, bool backward)
{
    for (size_t i = 0; i < t; i++)
        for (size_t h = 0; h < heads; h++)
            for (size_t j = 0; j < d / 2; j++) {
                double *a = &x[i * stride + h * d + j], *b = a + d / 2, first = *a, second = *b;
                double c = cos_sin[(size_t)position[i] * d + j], s = cos_sin[(size_t)position[i] * d + d / 2 + j];
                if (backward)
                    s = -s;
                *a = first * c - second * s;
                *b = second * c + first * s;
            }
}

/* softmax(QKᵀ/√D, causal)·V, one query at a time. */
void rlhf_reference_attention(const struct rlhf_attention_shape *s, const double *qkv, double *out,
                              double *lse)
{
    size_t d = s->d, row = (s->heads + 2 * s->kv_heads) * d, total = s->start[s->sequences];
    double scale = 1 / sqrt((double)d);

    for (size_t b = 0; b < s->sequences; b++)
        for (size_t i = s->start[b]; i < s->start[b + 1]; i++)
            for (size_t h = 0; h < s->heads; h++) {
                size_t g = h / (s->heads / s->kv_heads);
                const double *q = qkv + i * row + h * d;
                double max = -INFINITY, sum = 0, *y = out + i * s->heads * d + h * d;
                for (size_t pass = 0; pass < 2; pass++) {
                    if (pass == 1)
                        memset(y, 0, d * sizeof *y);
                    for (size_t j = s->start[b]; j <= i; j++) {
                        const double *key = qkv + j * row + (s->heads + g) * d, *value = key + s->kv_heads * d;
                        double score = 0;
                        for (size_t l = 0; l < d; l++)
                            score += q[l] * key[l];
                        score *= scale;
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
    double scale = 1 / sqrt((double)d);

    memset(d_qkv, 0, total * row * sizeof *d_qkv);
    for (size_t b = 0; b < s->sequences; b++)
        for (size_t i = s->start[b]; i < s->start[b + 1]; i++)
            for (size_t h = 0; h < s->heads; h++) {
                size_t g = h / (s->heads / s->kv_heads);
                const double *q = qkv + i * row + h * d, *dy = d_out + (i * s->heads + h) * d,
                             *y = out + (i * s->heads + h) * d;
                double delta = 0;
                for (size_t l = 0; l < d; l++)
                    delta += dy[l] * y[l];
                for (size_t j = s->start[b]; j <= i; j++) {
                    size_t at = j * row + (s->heads + g) * d, behind = s->kv_heads * d;
                    double score = 0, dp = 0;
                    for (size_t l = 0; l < d; l++) {
                        score += q[l] * qkv[at + l];
                        dp += dy[l] * qkv[at + behind + l];
                    }
                    double p = exp(score * scale - lse[h * total + i]), ds = p * (dp - delta) * scale;
                    for (size_t l = 0; l < d; l++) {
                        d_qkv[i * row + h * d + l] += ds * qkv[at + l];
                        d_qkv[at + l] += ds * q[l];
                        d_qkv[at + behind + l] += p * dy[l];
                    }
                }
            }
}

static double logit(const double *w, const double *hidden, size_t c, double temperature)
{
    double sum = 0;
    for (size_t l = 0; l < c; l++)
        sum += hidden[l] * w[l];
    return sum / temperature;
}

void rlhf_reference_vocab_logprobs(const double *w, const double *hidden, const int32_t *target, size_t n,
                                   size_t v, size_t c, double temperature, double *logprob, double *entropy,
                                   double *lse)
{
    for (size_t i = 0; i < n; i++, hidden += c) {
        double max = -INFINITY, sum = 0, weighted = 0;
        for (size_t j = 0; j < v; j++)
            max = fmax(max, logit(w + j * c, hidden, c, temperature));
        for (size_t j = 0; j < v; j++) {
            double z = logit(w + j * c, hidden, c, temperature);
            sum += exp(z - max);
            weighted += exp(z - max) * (z - max);
        }
        lse[i] = max + log(sum);
        logprob[i] = logit(w + (size_t)target[i] * c, hidden, c, temperature) - lse[i];
        if (entropy)
            entropy[i] = log(sum) - weighted / sum;
    }
}

/* d logprob / dz_j = [j = target] - p_j and d entropy / dz_j = -p_j·(log p_j + entropy), z = logits / temperature. */
void rlhf_reference_vocab_logprobs_backward(const double *w, const double *hidden, const int32_t *target,
                                            size_t n, size_t v, size_t c, double temperature,
                                            const double *lse, const double *entropy, const double *d_logprob,
                                            const double *d_entropy, double *d_hidden, double *d_w)
{
    memset(d_hidden, 0, n * c * sizeof *d_hidden);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < v; j++) {
            double logp = logit(w + j * c, hidden + i * c, c, temperature) - lse[i], p = exp(logp);
            double dz = d_logprob[i] * ((j == (size_t)target[i]) - p);
            if (d_entropy && p > 0)
                dz -= d_entropy[i] * p * (logp + entropy[i]);
            dz /= temperature;
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
