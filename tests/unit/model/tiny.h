/* tiny.h - small models with lively weights, and a plain forward pass in double to compare with. */
#ifndef TESTS_UNIT_MODEL_TINY_H
#define TESTS_UNIT_MODEL_TINY_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "model/model.h"
#include "support/suite.h"
#include "tensor/ops.h"

enum variant { GPT2, GPT2_UNTIED, LLAMA, LLAMA_TIED, VARIANTS };

/* Sizes that no kernel likes: nothing is a multiple of a vector or a panel. */
static inline struct rlhf_model_config tiny_config(enum variant variant, enum rlhf_head head)
{
    struct rlhf_model_config c;

    ck_assert_int_eq(rlhf_model_config_style(&c, variant <= GPT2_UNTIED ? "gpt2" : "llama", NULL), 0);
    c.layers = 2;
    c.context = 40;
    c.head = head;
    c.tied = variant == GPT2 || variant == LLAMA_TIED;
    if (variant <= GPT2_UNTIED) {
        c.heads = c.kv_heads = 2;
        c.head_size = 5;
        c.channels = 10;
        c.mlp_size = 13;
        c.vocabulary = 11;
    } else {
        c.heads = 4;
        c.kv_heads = 2;
        c.head_size = 6; /* heads * head_size is not channels */
        c.channels = 9;
        c.mlp_size = 7;
        c.vocabulary = 19;
    }
    return c;
}

/* Weights around 0.4 and gains around 1: far from the small initial ones, where little would show. */
static inline void enliven(struct rlhf_model *m, uint64_t seed)
{
    struct rlhf_random random;
    size_t count;
    float *w = rlhf_model_parameters(m, &count);

    rlhf_random_init(&random, seed, RLHF_PURPOSE_FAULT, 1, 1);
    for (size_t i = 0; i < count; i++)
        w[i] += 0.4F * rlhf_random_normal(&random);
    rlhf_model_touch(m, NULL);
    if (rlhf_model_get_config(m)->head == RLHF_HEAD_SCALAR)
        rlhf_model_set_bias(m, 0.25F);
}

static inline struct rlhf_model *tiny_model(enum variant variant, enum rlhf_head head)
{
    const struct rlhf_model_config c = tiny_config(variant, head);
    struct rlhf_error err = { 0 };
    struct rlhf_model *m;

    expect_ok(rlhf_tensor_start(&err), err);
    m = rlhf_model_new(&c, 7 + variant, &err);
    expect_some(m, err);
    enliven(m, 70 + variant);
    return m;
}

/* Ragged sequences of random tokens with these lengths, which a 0 ends. */
struct ragged {
    struct rlhf_batch batch;
    size_t t;
    int32_t *tokens, *target; /* target: the next token, -1 at the end of each sequence and here and there */
    uint32_t *start;
};

static inline struct ragged ragged(const size_t *lengths, uint32_t vocabulary, uint32_t seed)
{
    struct ragged r = { 0 };
    struct rlhf_random random;
    size_t n = 0;

    while (lengths[n])
        r.t += lengths[n++];
    r.tokens = calloc(r.t, sizeof *r.tokens);
    r.target = calloc(r.t, sizeof *r.target);
    r.start = calloc(n + 1, sizeof *r.start);
    rlhf_random_init(&random, seed, RLHF_PURPOSE_FAULT, 2, 2);
    for (size_t i = 0; i < r.t; i++)
        r.tokens[i] = (int32_t)rlhf_random_below(&random, vocabulary);
    for (size_t s = 0; s < n; s++) {
        r.start[s + 1] = r.start[s] + (uint32_t)lengths[s];
        for (size_t i = r.start[s]; i < r.start[s + 1]; i++)
            r.target[i] = i + 1 < r.start[s + 1] && i % 5 != 3 ? r.tokens[i + 1] : -1;
    }
    r.batch = (struct rlhf_batch){ .tokens = r.tokens, .start = r.start, .sequences = n };
    return r;
}

static inline void free_ragged(struct ragged *r)
{
    free(r->tokens);
    free(r->target);
    free(r->start);
}

/* ---- the same model in double, a loop a formula, one sequence at a time ----------------------------- */

struct plain {
    const struct rlhf_model *m;
    const double *w; /* the parameter block in double */
};

static inline const double *plain_named(const struct plain *p, const char *name)
{
    size_t count;
    const struct rlhf_parameter *table = rlhf_model_table(p->m, &count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return p->w + table[i].offset;
    return NULL;
}

static inline const double *plain_weight(const struct plain *p, int layer, const char *gpt2, const char *llama)
{
    bool first = rlhf_model_get_config(p->m)->norm == RLHF_NORM_LAYER;
    char name[200];

    snprintf(name, sizeof name, "%s.%d.%s", first ? "transformer.h" : "model.layers", layer, first ? gpt2 : llama);
    return plain_named(p, name);
}

/* y[n] = x[k] W + b; stride: outputs in a row of GPT-2's matrix, 0 for a Linear. */
static inline void plain_product(const double *w, const double *b, const double *x, int k, int n, int stride,
                                 double *y)
{
    for (int j = 0; j < n; j++) {
        y[j] = b ? b[j] : 0;
        for (int i = 0; i < k; i++)
            y[j] += x[i] * (stride ? w[i * stride + j] : w[j * k + i]);
    }
}

static inline void plain_norm(const struct rlhf_model_config *c, const double *gain, const double *shift,
                              const double *x, double *y)
{
    double mean = 0, square = 0;
    const int n = (int)c->channels;

    for (int i = 0; shift && i < n; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / n;
    for (int i = 0; i < n; i++)
        y[i] = (x[i] - mean) / sqrt(square + (double)c->norm_epsilon) * gain[i] + (shift ? shift[i] : 0);
}

static inline void plain_rotate(const struct rlhf_model_config *c, double *head, int position)
{
    const int half = (int)c->head_size / 2;

    for (int i = 0; i < half; i++) {
        double angle = position * pow((double)c->rope_theta, -2.0 * i / c->head_size);
        double a = head[i], b = head[i + half];

        head[i] = a * cos(angle) - b * sin(angle);
        head[i + half] = b * cos(angle) + a * sin(angle);
    }
}

/* Attention of the last of t rows of qkv over all of them. */
static inline void plain_attention(const struct rlhf_model_config *c, const double *qkv, int t, double *out)
{
    const int d = (int)c->head_size, h = (int)c->heads, g = (int)c->kv_heads, width = (h + 2 * g) * d;

    for (int i = 0; i < h; i++) {
        const double *q = qkv + (t - 1) * width + i * d;
        double score[64], largest = -INFINITY, sum = 0;

        for (int s = 0; s < t; s++) {
            const double *k = qkv + s * width + (h + i / (h / g)) * d;

            score[s] = 0;
            for (int j = 0; j < d; j++)
                score[s] += q[j] * k[j] / sqrt(d);
            largest = fmax(largest, score[s]);
        }
        for (int s = 0; s < t; s++)
            sum += score[s] = exp(score[s] - largest);
        for (int j = 0; j < d; j++)
            out[i * d + j] = 0;
        for (int s = 0; s < t; s++)
            for (int j = 0; j < d; j++)
                out[i * d + j] += score[s] / sum * qkv[s * width + (h + g + i / (h / g)) * d + j];
    }
}

static inline void plain_mlp(const struct plain *p, int layer, const double *x, double *y)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const int n = (int)c->channels, mlp = (int)c->mlp_size;
    double up[64], gate[64];

    if (c->norm == RLHF_NORM_LAYER) {
        plain_product(plain_weight(p, layer, "mlp.c_fc.weight", ""), plain_weight(p, layer, "mlp.c_fc.bias", ""), x,
                      n, mlp, mlp, up);
        for (int i = 0; i < mlp; i++)
            up[i] = 0.5 * up[i] * (1 + tanh(sqrt(2 / M_PI) * (up[i] + 0.044715 * up[i] * up[i] * up[i])));
        plain_product(plain_weight(p, layer, "mlp.c_proj.weight", ""), plain_weight(p, layer, "mlp.c_proj.bias", ""),
                      up, mlp, n, n, y);
        return;
    }
    plain_product(plain_weight(p, layer, "", "mlp.gate_proj.weight"), NULL, x, n, mlp, 0, gate);
    plain_product(plain_weight(p, layer, "", "mlp.up_proj.weight"), NULL, x, n, mlp, 0, up);
    for (int i = 0; i < mlp; i++)
        up[i] *= gate[i] / (1 + exp(-gate[i]));
    plain_product(plain_weight(p, layer, "", "mlp.down_proj.weight"), NULL, up, mlp, n, 0, y);
}

static inline void plain_qkv(const struct plain *p, int layer, const double *x, int position, double *qkv)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const int n = (int)c->channels, d = (int)c->head_size, q = (int)c->heads * d, kv = (int)c->kv_heads * d;

    if (c->norm == RLHF_NORM_LAYER) {
        plain_product(plain_weight(p, layer, "attn.c_attn.weight", ""), plain_weight(p, layer, "attn.c_attn.bias", ""),
                      x, n, q + 2 * kv, q + 2 * kv, qkv);
        return;
    }
    plain_product(plain_weight(p, layer, "", "self_attn.q_proj.weight"), NULL, x, n, q, 0, qkv);
    plain_product(plain_weight(p, layer, "", "self_attn.k_proj.weight"), NULL, x, n, kv, 0, qkv + q);
    plain_product(plain_weight(p, layer, "", "self_attn.v_proj.weight"), NULL, x, n, kv, 0, qkv + q + kv);
    for (int h = 0; h < (int)(c->heads + c->kv_heads); h++)
        plain_rotate(c, qkv + h * d, position);
}

/* The final hidden states [length, C] of one sequence. */
static inline void plain_hidden(const struct plain *p, const int32_t *tokens, int length, double *x)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const bool first = c->norm == RLHF_NORM_LAYER;
    const int n = (int)c->channels, q = (int)(c->heads * c->head_size);
    const int width = (int)((c->heads + 2 * c->kv_heads) * c->head_size);
    double *qkv = calloc((size_t)(length * width), sizeof *qkv), normed[64], out[64], y[64];

    for (int t = 0; t < length; t++)
        for (int i = 0; i < n; i++)
            x[t * n + i] = plain_named(p, first ? "transformer.wte.weight" : "model.embed_tokens.weight")
                               [tokens[t] * n + i]
                           + (first ? plain_named(p, "transformer.wpe.weight")[t * n + i] : 0);
    for (int l = 0; l < (int)c->layers; l++)
        for (int t = 0; t < length; t++) {
            plain_norm(c, plain_weight(p, l, "ln_1.weight", "input_layernorm.weight"),
                       first ? plain_weight(p, l, "ln_1.bias", "") : NULL, x + t * n, normed);
            plain_qkv(p, l, normed, t, qkv + t * width);
            plain_attention(c, qkv, t + 1, out);
            plain_product(plain_weight(p, l, "attn.c_proj.weight", "self_attn.o_proj.weight"),
                          first ? plain_weight(p, l, "attn.c_proj.bias", "") : NULL, out, q, n, first ? n : 0, y);
            for (int i = 0; i < n; i++)
                x[t * n + i] += y[i];
            plain_norm(c, plain_weight(p, l, "ln_2.weight", "post_attention_layernorm.weight"),
                       first ? plain_weight(p, l, "ln_2.bias", "") : NULL, x + t * n, normed);
            plain_mlp(p, l, normed, y);
            for (int i = 0; i < n; i++)
                x[t * n + i] += y[i];
        }
    for (int t = 0; t < length; t++) {
        plain_norm(c, plain_named(p, first ? "transformer.ln_f.weight" : "model.norm.weight"),
                   first ? plain_named(p, "transformer.ln_f.bias") : NULL, x + t * n, normed);
        memcpy(x + t * n, normed, (size_t)n * sizeof *x);
    }
    free(qkv);
}

/* Log-probs and entropies (or scalars) of a batch, as rlhf_pass_logprobs() and rlhf_pass_scalars(). */
static inline void plain_heads(const struct plain *p, const struct ragged *r, double temperature, double *logprob,
                               double *entropy, double *scalar)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const int n = (int)c->channels, v = (int)c->vocabulary;
    const double *head = plain_named(p, !c->tied ? "lm_head.weight" : c->norm == RLHF_NORM_LAYER
                                            ? "transformer.wte.weight" : "model.embed_tokens.weight");
    double *x = calloc(r->t * c->channels, sizeof *x), logit[64];

    if (c->head == RLHF_HEAD_SCALAR)
        head = plain_named(p, "score.weight");
    for (size_t s = 0; s < r->batch.sequences; s++)
        plain_hidden(p, r->tokens + r->start[s], (int)(r->start[s + 1] - r->start[s]), x + r->start[s] * c->channels);
    for (size_t t = 0; t < r->t; t++) {
        double sum = 0;

        if (scalar) {
            plain_product(head, NULL, x + t * c->channels, n, 1, 0, &scalar[t]);
            scalar[t] += (double)rlhf_model_bias(p->m);
            continue;
        }
        logprob[t] = entropy[t] = 0;
        if (r->target[t] < 0)
            continue;
        plain_product(head, NULL, x + t * c->channels, n, v, 0, logit);
        for (int i = 0; i < v; i++)
            sum += exp(logit[i] /= temperature);
        for (int i = 0; i < v; i++)
            entropy[t] -= exp(logit[i]) / sum * (logit[i] - log(sum));
        logprob[t] = logit[r->target[t]] - log(sum);
    }
    free(x);
}

#endif
