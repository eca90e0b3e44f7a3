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
#include "tensor/ops_reference.h"

/* Each family, and what a family may be otherwise. The first two have as many key/value heads as heads, as has GPT-NeoX. */
enum variant {
    GPT2, GPT2_UNTIED, LLAMA, LLAMA_TIED, LLAMA_BIASED, MISTRAL, QWEN2, QWEN3, NEOX, NEOX_SEQUENTIAL, GEMMA2, VARIANTS
};

static inline const char *variant_style(enum variant variant)
{
    static const char *const styles[] = {
        [GPT2] = "gpt2", [GPT2_UNTIED] = "gpt2", [LLAMA] = "llama", [LLAMA_TIED] = "llama", [LLAMA_BIASED] = "llama",
        [MISTRAL] = "mistral", [QWEN2] = "qwen2", [QWEN3] = "qwen3", [NEOX] = "gpt_neox", [NEOX_SEQUENTIAL] = "gpt_neox",
        [GEMMA2] = "gemma2",
    };

    return styles[variant];
}

/* What makes a variant differ from its family's defaults, whatever its sizes. */
static inline void set_variant(struct rlhf_model_config *c, enum variant variant)
{
    switch (variant) {
    case GPT2_UNTIED:
        c->query_scalar = 1;
        c->scale_by_layer = true;
        break;
    case LLAMA_BIASED:
        c->bias_qkv = c->bias_out = c->bias_mlp = true;
        c->activation = RLHF_GELU;
        c->rope = (struct rlhf_rope_scaling){ .type = RLHF_ROPE_YARN, .factor = 3, .original = 16, .beta_fast = 4,
                                              .beta_slow = 1, .whole = true, .amplitude = 1.1 };
        break;
    case NEOX:
        c->rotary_part = 0.5;
        c->rope = (struct rlhf_rope_scaling){ .type = RLHF_ROPE_LINEAR, .factor = 2 };
        break;
    case NEOX_SEQUENTIAL:
        c->parallel = c->bias_qkv = c->bias_out = false;
        c->rotary_part = 1;
        c->activation = RLHF_SILU;
        break;
    case GEMMA2:
        c->query_scalar = 5;
        c->attention_cap = 1.5F;
        c->logit_cap = 2;
        break;
    default:
        break;
    }
    if (variant == MISTRAL || variant == QWEN2 || variant == GEMMA2) {
        c->window = variant == QWEN2 ? 5 : 3;
        for (uint32_t l = 0; l < c->layers; l++)
            rlhf_model_config_set_window(c, l, variant == MISTRAL || l % 2 == (variant == QWEN2));
    }
    if (variant == QWEN3)
        c->bias_qkv = c->bias_out = true;
}

/* Sizes that no kernel likes: nothing is a multiple of a vector or a panel. */
static inline struct rlhf_model_config tiny_config(enum variant variant, enum rlhf_head head)
{
    struct rlhf_model_config c;

    ck_assert_int_eq(rlhf_model_config_style(&c, variant_style(variant), NULL), 0);
    c.layers = 2;
    c.context = 40;
    c.head = head;
    c.tied = variant == GPT2 || variant == LLAMA_TIED || variant == QWEN2 || variant == NEOX_SEQUENTIAL || variant == GEMMA2;
    if (c.norm == RLHF_NORM_LAYER) {
        c.heads = c.kv_heads = 2;
        c.head_size = variant <= GPT2_UNTIED ? 5 : 4;
        c.channels = 2 * c.head_size;
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
    set_variant(&c, variant);
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

/* The first that there is of some names, which blanks part, with this ending; each also behind every family's words for
 * the body. NULL: none. */
static inline const double *plain_search(const struct plain *p, int layer, const char *names, const char *ending)
{
    static const char *const bodies[] = { "transformer.h.%d.", "model.layers.%d.", "gpt_neox.layers.%d.", "transformer.",
                                          "model.", "gpt_neox.", "" };
    char list[200], *rest, *name, full[200];

    snprintf(list, sizeof list, "%s", names);
    for (name = strtok_r(list, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
        for (int b = layer < 0 ? 3 : 0; b < (layer < 0 ? 7 : 3); b++) {
            int n = snprintf(full, sizeof full, bodies[b], layer);
            const double *w;

            snprintf(full + n, sizeof full - (size_t)n, "%s.%s", name, ending);
            if ((w = plain_named(p, full)))
                return w;
        }
    return NULL;
}

/* The same, remembered by the texts' addresses: differences ask for it some million times. */
static inline const double *plain_any(const struct plain *p, int layer, const char *names, const char *ending)
{
    static struct {
        const char *names, *ending;
        int layer;
        const double *at;
    } known[256];
    static const double *of;
    static struct rlhf_model_config shape; /* another model may be where one was */
    static size_t count;

    if (of != p->w || memcmp(&shape, rlhf_model_get_config(p->m), sizeof shape) != 0)
        count = 0;
    of = p->w;
    shape = *rlhf_model_get_config(p->m);
    for (size_t i = 0; i < count; i++)
        if (known[i].names == names && known[i].ending == ending && known[i].layer == layer)
            return known[i].at;
    ck_assert_uint_lt(count, 256);
    known[count].names = names;
    known[count].ending = ending;
    known[count].layer = layer;
    return known[count++].at = plain_search(p, layer, names, ending);
}

static const char plain_weight[] = "weight", plain_bias[] = "bias";

/* y[n] = x[k] W + b of the product of one of these names; GPT-2's matrices are [k, n], all others [n, k]. */
static inline void plain_product(const struct plain *p, int layer, const char *names, const double *x, int k, int n,
                                 double *y)
{
    const bool conv1d = rlhf_model_get_config(p->m)->family == RLHF_GPT2 && layer >= 0;
    const double *w = plain_any(p, layer, names, plain_weight), *b = plain_any(p, layer, names, plain_bias);

    ck_assert_msg(w != NULL, "no %s", names);
    for (int j = 0; j < n; j++) {
        y[j] = b ? b[j] : 0;
        for (int i = 0; i < k; i++)
            y[j] += x[i] * (conv1d ? w[i * n + j] : w[j * k + i]);
    }
}

/* Over n channels; with the configuration's kind of norm, or of q and k (whose norm is RMS). */
static inline void plain_norm(const struct plain *p, int layer, const char *name, int n, const double *x, double *y)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const double *gain = plain_any(p, layer, name, plain_weight);
    const double *shift = c->norm == RLHF_NORM_LAYER ? plain_any(p, layer, name, plain_bias) : NULL;
    double mean = 0, square = 0;

    ck_assert_msg(gain != NULL, "no %s", name);
    for (int i = 0; shift && i < n; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / n;
    square = sqrt(square + (double)c->norm_epsilon);
    for (int i = 0; i < n; i++)
        y[i] = (x[i] - mean) / square * (gain[i] + c->norm_offset) + (shift ? shift[i] : 0);
}

static inline void plain_rotate(const struct rlhf_model_config *c, double *head, int position)
{
    const int turning = (int)rlhf_model_config_rotary(c), half = turning / 2;
    static double table[64 * 64];
    static struct rlhf_model_config of;

    if (memcmp(&of, c, sizeof of) != 0)
        rlhf_reference_rope_table((double)c->rope_theta, &c->rope, 0, 64, (size_t)turning, table);
    of = *c;
    for (int i = 0; i < half; i++) {
        double co = table[position * turning + i], si = table[position * turning + half + i];
        double a = head[i], b = head[i + half];

        head[i] = a * co - b * si;
        head[i + half] = b * co + a * si;
    }
}

static inline double plain_cap(double x, float cap)
{
    return cap > 0 ? (double)cap * tanh(x / (double)cap) : x;
}

/* Attention of the last of t rows of qkv over those of them that it sees. */
static inline void plain_attention(const struct rlhf_model_config *c, int layer, const double *qkv, int t, double *out)
{
    const int d = (int)c->head_size, h = (int)c->heads, g = (int)c->kv_heads, width = (h + 2 * g) * d;
    const int window = (int)rlhf_model_config_window(c, (uint32_t)layer), from = window && t > window ? t - window : 0;
    const double scale = 1 / sqrt(c->query_scalar ? (double)c->query_scalar : d) / (c->scale_by_layer ? layer + 1 : 1);

    for (int i = 0; i < h; i++) {
        const double *q = qkv + (t - 1) * width + i * d;
        double score[64], sum = 0;

        for (int s = from; s < t; s++) {
            const double *k = qkv + s * width + (h + i / (h / g)) * d;

            score[s] = 0;
            for (int j = 0; j < d; j++)
                score[s] += q[j] * k[j] * scale;
            sum += score[s] = exp(plain_cap(score[s], c->attention_cap));
        }
        for (int j = 0; j < d; j++)
            out[i * d + j] = 0;
        for (int s = from; s < t; s++)
            for (int j = 0; j < d; j++)
                out[i * d + j] += score[s] / sum * qkv[s * width + (h + g + i / (h / g)) * d + j];
    }
}

static inline double plain_activation(enum rlhf_activation f, double x)
{
    return f == RLHF_SILU ? x / (1 + exp(-x))
           : f == RLHF_GELU ? x * erfc(-x / sqrt(2)) / 2
                            : 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static inline void plain_mlp(const struct plain *p, int layer, const double *x, double *y)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const int n = (int)c->channels, mlp = (int)c->mlp_size;
    double up[64], gate[64];

    plain_product(p, layer, "mlp.c_fc mlp.dense_h_to_4h mlp.up_proj", x, n, mlp, up);
    if (c->gated)
        plain_product(p, layer, "mlp.gate_proj", x, n, mlp, gate);
    for (int i = 0; i < mlp; i++)
        up[i] = c->gated ? plain_activation(c->activation, gate[i]) * up[i] : plain_activation(c->activation, up[i]);
    plain_product(p, layer, "mlp.c_proj mlp.dense_4h_to_h mlp.down_proj", up, mlp, n, y);
}

static inline void plain_qkv(const struct plain *p, int layer, const double *x, int position, double *qkv)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const int n = (int)c->channels, d = (int)c->head_size, q = (int)c->heads * d, kv = (int)c->kv_heads * d;
    double heads[256];

    if (c->family == RLHF_GPT2) {
        plain_product(p, layer, "attn.c_attn", x, n, q + 2 * kv, qkv);
    } else if (c->interleaved) {
        plain_product(p, layer, "attention.query_key_value", x, n, 3 * q, heads);
        for (int i = 0; i < 3 * q; i++)
            qkv[i / d % 3 * q + i / (3 * d) * d + i % d] = heads[i];
    } else {
        plain_product(p, layer, "self_attn.q_proj", x, n, q, qkv);
        plain_product(p, layer, "self_attn.k_proj", x, n, kv, qkv + q);
        plain_product(p, layer, "self_attn.v_proj", x, n, kv, qkv + q + kv);
    }
    for (int h = 0; h < (int)(c->heads + c->kv_heads); h++) {
        if (c->norm_qk) {
            plain_norm(p, layer, h < (int)c->heads ? "self_attn.q_norm" : "self_attn.k_norm", d, qkv + h * d, heads);
            memcpy(qkv + h * d, heads, (size_t)d * sizeof *heads);
        }
        if (c->position == RLHF_POSITION_ROTARY)
            plain_rotate(c, qkv + h * d, position);
    }
}

/* One layer, one row x [C]; qkv are all rows of its sequence, of which this is row t. */
static inline void plain_layer(const struct plain *p, int l, int t, double *x, double *qkv)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const int n = (int)c->channels, q = (int)(c->heads * c->head_size), width = q + 2 * (int)(c->kv_heads * c->head_size);
    double normed[64], out[64], attention[64], mlp[64], before[64];

    plain_norm(p, l, c->family == RLHF_GPT2 ? "ln_1" : "input_layernorm", n, x, normed);
    plain_qkv(p, l, normed, t, qkv + t * width);
    plain_attention(c, l, qkv, t + 1, out);
    plain_product(p, l, "attn.c_proj attention.dense self_attn.o_proj", out, q, n, attention);
    if (c->norm_post) {
        plain_norm(p, l, "post_attention_layernorm", n, attention, normed);
        memcpy(attention, normed, sizeof normed);
    }
    memcpy(before, x, (size_t)n * sizeof *x);
    for (int i = 0; i < n; i++)
        x[i] += attention[i];
    plain_norm(p, l, c->family == RLHF_GPT2 ? "ln_2" : c->norm_post ? "pre_feedforward_layernorm"
                                                                    : "post_attention_layernorm", n,
               c->parallel ? before : x, normed);
    plain_mlp(p, l, normed, mlp);
    if (c->norm_post) {
        plain_norm(p, l, "post_feedforward_layernorm", n, mlp, normed);
        memcpy(mlp, normed, sizeof normed);
    }
    for (int i = 0; i < n; i++)
        x[i] += mlp[i];
}

/* The final hidden states [length, C] of one sequence. */
static inline void plain_hidden(const struct plain *p, const int32_t *tokens, int length, double *x)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(p->m);
    const int n = (int)c->channels, width = (int)((c->heads + 2 * c->kv_heads) * c->head_size);
    const double *embedding = plain_any(p, -1, "wte embed_tokens embed_in", plain_weight);
    const double *positions = plain_any(p, -1, "wpe", plain_weight);
    double *qkv = calloc((size_t)(length * width), sizeof *qkv), normed[64];

    for (int t = 0; t < length; t++)
        for (int i = 0; i < n; i++)
            x[t * n + i] = embedding[tokens[t] * n + i] * (c->embedding_scaled ? sqrt(n) : 1)
                           + (positions ? positions[t * n + i] : 0);
    for (int l = 0; l < (int)c->layers; l++)
        for (int t = 0; t < length; t++)
            plain_layer(p, l, t, x + t * n, qkv);
    for (int t = 0; t < length; t++) {
        plain_norm(p, -1, c->family == RLHF_GPT2 ? "ln_f" : c->family == RLHF_GPT_NEOX ? "final_layer_norm" : "norm", n,
                   x + t * n, normed);
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
    const char *head = c->head == RLHF_HEAD_SCALAR ? "score" : !c->tied ? "lm_head" : "wte embed_tokens embed_in";
    double *x = calloc(r->t * c->channels, sizeof *x), logit[64];

    for (size_t s = 0; s < r->batch.sequences; s++)
        plain_hidden(p, r->tokens + r->start[s], (int)(r->start[s + 1] - r->start[s]), x + r->start[s] * c->channels);
    for (size_t t = 0; t < r->t; t++) {
        double sum = 0;

        if (scalar) {
            plain_product(p, -1, head, x + t * c->channels, n, 1, &scalar[t]);
            scalar[t] += (double)rlhf_model_bias(p->m);
            continue;
        }
        logprob[t] = entropy[t] = 0;
        if (r->target[t] < 0)
            continue;
        plain_product(p, -1, head, x + t * c->channels, n, v, logit);
        for (int i = 0; i < v; i++)
            sum += exp(logit[i] = plain_cap(logit[i], c->logit_cap) / temperature);
        for (int i = 0; i < v; i++)
            entropy[t] -= exp(logit[i]) / sum * (logit[i] - log(sum));
        logprob[t] = logit[r->target[t]] - log(sum);
    }
    free(x);
}

#endif
