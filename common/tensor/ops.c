/* ops.c - the first, plain form of the operations: one thread, no blocking. */
#include "tensor/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"


static void plain_linear(const float *w, const float *x, size_t x_stride, size_t m, size_t n, size_t k,
                           bool transposed, const float *bias, bool accumulate, float *y, size_t y_stride)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = accumulate ? y[i * y_stride + j] : 0;
            if (bias)
                sum += bias[j];
            for (size_t l = 0; l < k; l++)
                sum += x[i * x_stride + l] * (transposed ? w[l * n + j] : w[j * k + l]);
            y[i * y_stride + j] = sum;
        }
}

static void plain_linear_backward_weight(const float *dy, size_t dy_stride, const float *x,
                                           size_t x_stride, size_t m, size_t n, size_t k, bool transposed,
                                           float *dw, float *db)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float g = dy[i * dy_stride + j];
            if (db)
                db[j] += g;
            for (size_t l = 0; l < k; l++)
                dw[transposed ? l * n + j : j * k + l] += g * x[i * x_stride + l];
        }
}

static void plain_embed(const float *table, const int32_t *token, const float *position_table,
                          const uint32_t *position, size_t t, size_t c, float *y)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < c; j++)
            y[i * c + j] = table[(size_t)token[i] * c + j]
                           + (position_table ? position_table[(size_t)position[i] * c + j] : 0);
}

static void plain_embed_backward(const float *dy, const int32_t *token, const uint32_t *position, size_t t,
                                   size_t c, float *d_table, float *d_position_table)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < c; j++) {
            d_table[(size_t)token[i] * c + j] += dy[i * c + j];
            if (d_position_table)
                d_position_table[(size_t)position[i] * c + j] += dy[i * c + j];
        }
}

/* Ba, Kiros, Hinton 2016; the variance is the biased one, as in PyTorch. */
static void plain_layernorm(const float *x, const float *gain, const float *shift, float epsilon,
                              size_t t, size_t c, float *y, float *mean, float *rstd)
{
    for (size_t i = 0; i < t; i++, x += c, y += c) {
        float sum = 0, square = 0;
        for (size_t j = 0; j < c; j++)
            sum += x[j];
        mean[i] = sum / (float)c;
        for (size_t j = 0; j < c; j++)
            square += (x[j] - mean[i]) * (x[j] - mean[i]);
        rstd[i] = 1 / sqrt(square / (float)c + epsilon);
        for (size_t j = 0; j < c; j++)
            y[j] = (x[j] - mean[i]) * rstd[i] * gain[j] + shift[j];
    }
}

/* With n = (x - mean)·rstd and g = dy·gain: dx = rstd·(g - mean(g) - n·mean(g·n)). */
static void plain_layernorm_backward(const float *dy, const float *x, const float *gain,
                                       const float *mean, const float *rstd, size_t t, size_t c, float *dx,
                                       float *d_gain, float *d_shift)
{
    for (size_t i = 0; i < t; i++, x += c, dy += c, dx += c) {
        float sum = 0, dot = 0;
        for (size_t j = 0; j < c; j++) {
            float n = (x[j] - mean[i]) * rstd[i], g = dy[j] * gain[j];
            sum += g;
            dot += g * n;
            d_gain[j] += dy[j] * n;
            d_shift[j] += dy[j];
        }
        for (size_t j = 0; j < c; j++) {
            float n = (x[j] - mean[i]) * rstd[i], g = dy[j] * gain[j];
            dx[j] += rstd[i] * (g - sum / (float)c - n * dot / (float)c);
        }
    }
}

/* Zhang, Sennrich 2019. */
static void plain_rmsnorm(const float *x, const float *gain, float epsilon, size_t t, size_t c, float *y,
                            float *rstd)
{
    for (size_t i = 0; i < t; i++, x += c, y += c) {
        float square = 0;
        for (size_t j = 0; j < c; j++)
            square += x[j] * x[j];
        rstd[i] = 1 / sqrt(square / (float)c + epsilon);
        for (size_t j = 0; j < c; j++)
            y[j] = x[j] * rstd[i] * gain[j];
    }
}

static void plain_rmsnorm_backward(const float *dy, const float *x, const float *gain, const float *rstd,
                                     size_t t, size_t c, float *dx, float *d_gain)
{
    for (size_t i = 0; i < t; i++, x += c, dy += c, dx += c) {
        float dot = 0;
        for (size_t j = 0; j < c; j++) {
            dot += dy[j] * gain[j] * x[j] * rstd[i];
            d_gain[j] += dy[j] * x[j] * rstd[i];
        }
        for (size_t j = 0; j < c; j++)
            dx[j] += rstd[i] * (dy[j] * gain[j] - x[j] * rstd[i] * dot / (float)c);
    }
}

/* Hendrycks, Gimpel 2016, the tanh form: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))). */
static const float root_2_over_pi = 0.79788456080286535588, gelu_cubic = 0.044715;

static void plain_gelu(const float *x, size_t count, float *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] = 0.5 * x[i] * (1 + tanh(root_2_over_pi * (x[i] + gelu_cubic * x[i] * x[i] * x[i])));
}

static void plain_gelu_backward(const float *dy, const float *x, size_t count, float *dx)
{
    for (size_t i = 0; i < count; i++) {
        float h = tanh(root_2_over_pi * (x[i] + gelu_cubic * x[i] * x[i] * x[i]));
        float du = root_2_over_pi * (1 + 3 * gelu_cubic * x[i] * x[i]);
        dx[i] = dy[i] * (0.5 * (1 + h) + 0.5 * x[i] * (1 - h * h) * du);
    }
}

/* Shazeer 2020: silu(gate)·up with silu(z) = z/(1 + exp(-z)). */
static void plain_swiglu(const float *gate_up, size_t t, size_t m, float *y)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < m; j++) {
            float gate = gate_up[i * 2 * m + j], up = gate_up[i * 2 * m + m + j];
            y[i * m + j] = gate / (1 + exp(-gate)) * up;
        }
}

static void plain_swiglu_backward(const float *dy, const float *gate_up, size_t t, size_t m,
                                    float *d_gate_up)
{
    for (size_t i = 0; i < t; i++)
        for (size_t j = 0; j < m; j++) {
            float gate = gate_up[i * 2 * m + j], up = gate_up[i * 2 * m + m + j];
            float s = 1 / (1 + exp(-gate));
            d_gate_up[i * 2 * m + j] = dy[i * m + j] * up * s * (1 + gate * (1 - s));
            d_gate_up[i * 2 * m + m + j] = dy[i * m + j] * gate * s;
        }
}

/* Su et al. 2021: pair j of D/2 turns by position·theta^(-2j/D). */
static void plain_rope_table(float theta, size_t context, size_t d, float *cos_sin)
{
    for (size_t p = 0; p < context; p++)
        for (size_t j = 0; j < d / 2; j++) {
            float angle = (float)p * pow(theta, -2.0 * (float)j / (float)d);
            cos_sin[p * d + j] = cos(angle);
            cos_sin[p * d + d / 2 + j] = sin(angle);
        }
}

static void plain_rope(float *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t,
                         const float *cos_sin, bool backward)
{
    for (size_t i = 0; i < t; i++)
        for (size_t h = 0; h < heads; h++)
            for (size_t j = 0; j < d / 2; j++) {
                float *a = &x[i * stride + h * d + j], *b = a + d / 2, first = *a, second = *b;
                float c = cos_sin[(size_t)position[i] * d + j], s = cos_sin[(size_t)position[i] * d + d / 2 + j];
                if (backward)
                    s = -s;
                *a = first * c - second * s;
                *b = second * c + first * s;
            }
}

/* softmax(QKᵀ/√D, causal)·V, one query at a time. */
static void plain_attention(const struct rlhf_attention_shape *s, const float *qkv, float *out,
                              float *lse)
{
    size_t d = s->d, row = (s->heads + 2 * s->kv_heads) * d, total = s->start[s->sequences];
    float scale = 1 / sqrt((float)d);

    for (size_t b = 0; b < s->sequences; b++)
        for (size_t i = s->start[b]; i < s->start[b + 1]; i++)
            for (size_t h = 0; h < s->heads; h++) {
                size_t g = h / (s->heads / s->kv_heads);
                const float *q = qkv + i * row + h * d;
                float max = -INFINITY, sum = 0, *y = out + i * s->heads * d + h * d;
                for (size_t pass = 0; pass < 2; pass++) {
                    if (pass == 1)
                        memset(y, 0, d * sizeof *y);
                    for (size_t j = s->start[b]; j <= i; j++) {
                        const float *key = qkv + j * row + (s->heads + g) * d, *value = key + s->kv_heads * d;
                        float score = 0;
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
static void plain_attention_backward(const struct rlhf_attention_shape *s, const float *d_out,
                                       const float *qkv, const float *out, const float *lse,
                                       float *d_qkv)
{
    size_t d = s->d, row = (s->heads + 2 * s->kv_heads) * d, total = s->start[s->sequences];
    float scale = 1 / sqrt((float)d);

    memset(d_qkv, 0, total * row * sizeof *d_qkv);
    for (size_t b = 0; b < s->sequences; b++)
        for (size_t i = s->start[b]; i < s->start[b + 1]; i++)
            for (size_t h = 0; h < s->heads; h++) {
                size_t g = h / (s->heads / s->kv_heads);
                const float *q = qkv + i * row + h * d, *dy = d_out + (i * s->heads + h) * d,
                             *y = out + (i * s->heads + h) * d;
                float delta = 0;
                for (size_t l = 0; l < d; l++)
                    delta += dy[l] * y[l];
                for (size_t j = s->start[b]; j <= i; j++) {
                    size_t at = j * row + (s->heads + g) * d, behind = s->kv_heads * d;
                    float score = 0, dp = 0;
                    for (size_t l = 0; l < d; l++) {
                        score += q[l] * qkv[at + l];
                        dp += dy[l] * qkv[at + behind + l];
                    }
                    float p = exp(score * scale - lse[h * total + i]), ds = p * (dp - delta) * scale;
                    for (size_t l = 0; l < d; l++) {
                        d_qkv[i * row + h * d + l] += ds * qkv[at + l];
                        d_qkv[at + l] += ds * q[l];
                        d_qkv[at + behind + l] += p * dy[l];
                    }
                }
            }
}

static float logit(const float *w, const float *hidden, size_t c, float temperature)
{
    float sum = 0;
    for (size_t l = 0; l < c; l++)
        sum += hidden[l] * w[l];
    return sum / temperature;
}

static void plain_vocab_logprobs(const float *w, const float *hidden, const int32_t *target, size_t n,
                                   size_t v, size_t c, float temperature, float *logprob, float *entropy,
                                   float *lse)
{
    for (size_t i = 0; i < n; i++, hidden += c) {
        float max = -INFINITY, sum = 0, weighted = 0;
        for (size_t j = 0; j < v; j++)
            max = fmax(max, logit(w + j * c, hidden, c, temperature));
        for (size_t j = 0; j < v; j++) {
            float z = logit(w + j * c, hidden, c, temperature);
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
static void plain_vocab_logprobs_backward(const float *w, const float *hidden, const int32_t *target,
                                            size_t n, size_t v, size_t c, float temperature,
                                            const float *lse, const float *entropy, const float *d_logprob,
                                            const float *d_entropy, float *d_hidden, float *d_w)
{
    memset(d_hidden, 0, n * c * sizeof *d_hidden);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < v; j++) {
            float logp = logit(w + j * c, hidden + i * c, c, temperature) - lse[i], p = exp(logp);
            float dz = d_logprob[i] * ((j == (size_t)target[i]) - p);
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
static void plain_adamw_step(const struct rlhf_adamw *a, float grad_scale, bool decay, const float *grad,
                               float *m, float *v, float *param, size_t count)
{
    float b1 = a->beta1, b2 = a->beta2, c1 = 1 - pow(b1, (float)a->step), c2 = 1 - pow(b2, (float)a->step);
    for (size_t i = 0; i < count; i++) {
        float g = grad[i] * grad_scale;
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

int rlhf_pack(struct rlhf_packed *p, const float *w, size_t n, size_t k, bool transposed,
              struct rlhf_pool *pool, struct rlhf_error *err)
{
    (void)pool;
    if (!p->panels || p->n != n || p->k != k) {
        float *panels = rlhf_aligned_new(n * k + 1, sizeof *panels, err);
        if (!panels)
            return -1;
        free(p->panels);
        *p = (struct rlhf_packed){ .panels = panels, .n = n, .k = k };
    }
    for (size_t j = 0; j < n; j++)
        for (size_t l = 0; l < k; l++)
            p->panels[j * k + l] = transposed ? w[l * n + j] : w[j * k + l];
    return 0;
}
void rlhf_packed_free(struct rlhf_packed *p)
{
    free(p->panels);
    *p = (struct rlhf_packed){ 0 };
}
void rlhf_linear(const struct rlhf_packed *w, const float *x, size_t x_stride, size_t m, const float *bias,
                 bool accumulate, float *y, size_t y_stride, struct rlhf_pool *pool)
{
    (void)pool;
    plain_linear(w->panels, x, x_stride, m, w->n, w->k, false, bias, accumulate, y, y_stride);
}
void rlhf_linear_backward_weight(const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t m,
                                 size_t n, size_t k, bool transposed, float *dw, float *db,
                                 struct rlhf_pool *pool)
{
    (void)pool;
    plain_linear_backward_weight(dy, dy_stride, x, x_stride, m, n, k, transposed, dw, db);
}
void rlhf_embed(const float *table, const int32_t *token, const float *position_table, const uint32_t *position,
                size_t t, size_t c, float *y, struct rlhf_pool *pool)
{
    (void)pool;
    plain_embed(table, token, position_table, position, t, c, y);
}
void rlhf_embed_backward(const float *dy, const int32_t *token, const uint32_t *position, size_t t, size_t c,
                         float *d_table, float *d_position_table, struct rlhf_pool *pool)
{
    (void)pool;
    plain_embed_backward(dy, token, position, t, c, d_table, d_position_table);
}
void rlhf_layernorm(const float *x, const float *gain, const float *shift, float epsilon, size_t t, size_t c,
                    float *y, float *mean, float *rstd, struct rlhf_pool *pool)
{
    (void)pool;
    plain_layernorm(x, gain, shift, epsilon, t, c, y, mean, rstd);
}
void rlhf_layernorm_backward(const float *dy, const float *x, const float *gain, const float *mean,
                             const float *rstd, size_t t, size_t c, float *dx, float *d_gain, float *d_shift,
                             struct rlhf_pool *pool)
{
    (void)pool;
    plain_layernorm_backward(dy, x, gain, mean, rstd, t, c, dx, d_gain, d_shift);
}
void rlhf_rmsnorm(const float *x, const float *gain, float epsilon, size_t t, size_t c, float *y, float *rstd,
                  struct rlhf_pool *pool)
{
    (void)pool;
    plain_rmsnorm(x, gain, epsilon, t, c, y, rstd);
}
void rlhf_rmsnorm_backward(const float *dy, const float *x, const float *gain, const float *rstd, size_t t,
                           size_t c, float *dx, float *d_gain, struct rlhf_pool *pool)
{
    (void)pool;
    plain_rmsnorm_backward(dy, x, gain, rstd, t, c, dx, d_gain);
}
void rlhf_gelu(const float *x, size_t count, float *y, struct rlhf_pool *pool)
{
    (void)pool;
    plain_gelu(x, count, y);
}
void rlhf_gelu_backward(const float *dy, const float *x, size_t count, float *dx, struct rlhf_pool *pool)
{
    (void)pool;
    plain_gelu_backward(dy, x, count, dx);
}
void rlhf_swiglu(const float *gate_up, size_t t, size_t m, float *y, struct rlhf_pool *pool)
{
    (void)pool;
    plain_swiglu(gate_up, t, m, y);
}
void rlhf_swiglu_backward(const float *dy, const float *gate_up, size_t t, size_t m, float *d_gate_up,
                          struct rlhf_pool *pool)
{
    (void)pool;
    plain_swiglu_backward(dy, gate_up, t, m, d_gate_up);
}
void rlhf_add(const float *x, size_t count, float *y, struct rlhf_pool *pool)
{
    (void)pool;
    for (size_t i = 0; i < count; i++)
        y[i] += x[i];
}
void rlhf_rope_table(float theta, size_t context, size_t d, float *cos_sin)
{
    plain_rope_table(theta, context, d, cos_sin);
}
void rlhf_rope(float *x, size_t stride, size_t heads, size_t d, const uint32_t *position, size_t t,
               const float *cos_sin, bool backward, struct rlhf_pool *pool)
{
    (void)pool;
    plain_rope(x, stride, heads, d, position, t, cos_sin, backward);
}
void rlhf_attention(const struct rlhf_attention_shape *s, const float *qkv, float *out, float *lse,
                    struct rlhf_pool *pool)
{
    (void)pool;
    plain_attention(s, qkv, out, lse);
}
void rlhf_attention_backward(const struct rlhf_attention_shape *s, const float *d_out, const float *qkv,
                             const float *out, const float *lse, float *d_qkv, struct rlhf_pool *pool)
{
    (void)pool;
    plain_attention_backward(s, d_out, qkv, out, lse, d_qkv);
}
void rlhf_attention_extend(const struct rlhf_attention_item *items, size_t count, size_t heads, size_t kv_heads,
                           size_t d, const float *qkv, float *out, struct rlhf_pool *pool)
{
    (void)pool;
    size_t row = (heads + 2 * kv_heads) * d;
    for (size_t n = 0; n < count; n++) {
        const struct rlhf_attention_item *it = &items[n];
        uint32_t start[2] = { 0, (uint32_t)(it->length + it->count) };
        float *all = calloc(start[1] * row + 1, sizeof *all), *y = calloc(start[1] * heads * d + 1, sizeof *y);
        struct rlhf_attention_shape s = { start, 1, heads, kv_heads, d };
        if (!all || !y)
            abort();
        for (size_t i = 0; i < it->count; i++) {
            size_t p = it->length + i;
            memcpy(all + p * row, qkv + i * row, heads * d * sizeof *all);
            for (size_t g = 0; g < kv_heads; g++)
                for (size_t l = 0; l < d; l++) {
                    it->keys[((p / 16 * kv_heads + g) * d + l) * 16 + p % 16] = qkv[i * row + (heads + g) * d + l];
                    it->values[(p * kv_heads + g) * d + l] = qkv[i * row + (heads + kv_heads + g) * d + l];
                }
        }
        for (size_t p = 0; p < start[1]; p++)
            for (size_t g = 0; g < kv_heads; g++)
                for (size_t l = 0; l < d; l++) {
                    all[p * row + (heads + g) * d + l] = it->keys[((p / 16 * kv_heads + g) * d + l) * 16 + p % 16];
                    all[p * row + (heads + kv_heads + g) * d + l] = it->values[(p * kv_heads + g) * d + l];
                }
        plain_attention(&s, all, y, NULL);
        memcpy(out, y + it->length * heads * d, it->count * heads * d * sizeof *out);
        out += it->count * heads * d;
        qkv += it->count * row;
        free(all);
        free(y);
    }
}
void rlhf_vocab_logprobs(const struct rlhf_packed *w, const float *hidden, const int32_t *target, size_t n,
                         float temperature, float *logprob, float *entropy, float *lse, struct rlhf_pool *pool)
{
    (void)pool;
    float *row = calloc(w->n + 1, sizeof *row);
    if (!row)
        abort();
    plain_vocab_logprobs(w->panels, hidden, target, n, w->n, w->k, temperature, logprob, entropy, lse);
    for (size_t i = 0; i < n; i++) {
        rlhf_linear(w, hidden + i * w->k, w->k, 1, NULL, false, row, w->n, NULL);
        logprob[i] = rlhf_vocab_logprob_row(row, w->n, temperature, target[i]);
    }
    free(row);
}
float rlhf_vocab_logprob_row(const float *logits, size_t v, float temperature, int32_t target)
{
    float max = -INFINITY, sum = 0;
    for (size_t j = 0; j < v; j++)
        max = fmaxf(max, logits[j] / temperature);
    for (size_t j = 0; j < v; j++)
        sum += expf(logits[j] / temperature - max);
    return logits[target] / temperature - max - logf(sum);
}
void rlhf_vocab_logprobs_backward(const struct rlhf_packed *w, const struct rlhf_packed *w_back,
                                  const float *hidden, const int32_t *target, size_t n, float temperature,
                                  const float *lse, const float *entropy, const float *d_logprob,
                                  const float *d_entropy, float *d_hidden, float *d_w, struct rlhf_pool *pool)
{
    (void)pool, (void)w_back;
    plain_vocab_logprobs_backward(w->panels, hidden, target, n, w->n, w->k, temperature, lse, entropy, d_logprob,
                                  d_entropy, d_hidden, d_w);
}
void rlhf_adamw_step(const struct rlhf_adamw *a, float grad_scale, bool decay, const float *grad, float *m,
                     float *v, float *param, size_t count, struct rlhf_pool *pool)
{
    (void)pool;
    plain_adamw_step(a, grad_scale, decay, grad, m, v, param, count);
}
double rlhf_sum_squares(const float *x, size_t count, struct rlhf_pool *pool)
{
    (void)pool;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}
int rlhf_tensor_start(struct rlhf_error *err)
{
    (void)err;
    return 0;
}
const char *rlhf_tensor_profile(void)
{
    return "kernels=plain";
}
