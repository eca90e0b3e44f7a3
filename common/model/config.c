#include "model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "model/internal.h"

enum { CONFIG_BYTES = 1 << 20 }; /* longest config.json accepted */

/* ---- the families ---------------------------------------------------------------------------------- */

/* How a family says which layers have a window. */
enum windows { WINDOW_NEVER, WINDOW_EVERY, WINDOW_FROM, WINDOW_EVEN };

/* All that differs between the families as far as their shape goes; names of tensors are in table.c. Numbers are what
 * transformers assumes where config.json is silent. */
static const struct family {
    const char *style, *causal, *classifier; /* model_type, and the two architectures */
    enum windows windows;
    uint32_t kv_heads, head_size; /* 0: as many as heads, and channels / heads */
    uint32_t window;
    uint32_t scalar;              /* query_scalar */
    int32_t begin_id, end_id, pad_id;
    struct rlhf_model_config c;
} families[RLHF_FAMILIES] = {
    [RLHF_GPT2] = {
        "gpt2", "GPT2LMHeadModel", "GPT2ForSequenceClassification", WINDOW_NEVER, 0, 0, 0, 0, 50256, 50256, -1,
        { .norm = RLHF_NORM_LAYER, .position = RLHF_POSITION_LEARNED, .activation = RLHF_GELU_TANH, .tied = true,
          .bias_qkv = true, .bias_out = true, .bias_mlp = true, .norm_epsilon = 1e-5F },
    },
    [RLHF_LLAMA] = {
        "llama", "LlamaForCausalLM", "LlamaForSequenceClassification", WINDOW_NEVER, 0, 0, 0, 0, 1, 2, -1,
        { .norm = RLHF_NORM_RMS, .position = RLHF_POSITION_ROTARY, .activation = RLHF_SILU, .gated = true,
          .norm_epsilon = 1e-6F },
    },
    [RLHF_MISTRAL] = {
        "mistral", "MistralForCausalLM", "MistralForSequenceClassification", WINDOW_EVERY, 8, 0, 4096, 0, 1, 2, -1,
        { .norm = RLHF_NORM_RMS, .position = RLHF_POSITION_ROTARY, .activation = RLHF_SILU, .gated = true,
          .norm_epsilon = 1e-6F },
    },
    [RLHF_QWEN2] = {
        "qwen2", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification", WINDOW_FROM, 32, 0, 4096, 0, -1, -1, -1,
        { .norm = RLHF_NORM_RMS, .position = RLHF_POSITION_ROTARY, .activation = RLHF_SILU, .gated = true,
          .bias_qkv = true, .norm_epsilon = 1e-6F },
    },
    [RLHF_QWEN3] = {
        "qwen3", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification", WINDOW_FROM, 32, 128, 4096, 0, -1, -1, -1,
        { .norm = RLHF_NORM_RMS, .position = RLHF_POSITION_ROTARY, .activation = RLHF_SILU, .gated = true,
          .norm_qk = true, .norm_epsilon = 1e-6F },
    },
    [RLHF_GPT_NEOX] = {
        "gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXForSequenceClassification", WINDOW_NEVER, 0, 0, 0, 0, 0, 2, -1,
        { .norm = RLHF_NORM_LAYER, .position = RLHF_POSITION_ROTARY, .activation = RLHF_GELU, .bias_qkv = true,
          .bias_out = true, .bias_mlp = true, .interleaved = true, .parallel = true, .rotary_part = 0.25,
          .norm_epsilon = 1e-5F },
    },
    [RLHF_GEMMA2] = {
        "gemma2", "Gemma2ForCausalLM", "Gemma2ForSequenceClassification", WINDOW_EVEN, 4, 256, 4096, 256, 2, 1, 0,
        { .norm = RLHF_NORM_RMS, .position = RLHF_POSITION_ROTARY, .activation = RLHF_GELU_TANH, .activation_name = 1,
          .gated = true, .tied = true, .norm_offset = true, .norm_post = true, .embedding_scaled = true, .attention_cap = 50,
          .logit_cap = 30, .norm_epsilon = 1e-6F },
    },
};

/* Which families a setting belongs to. */
enum {
    GPT2 = 1 << RLHF_GPT2, LLAMA = 1 << RLHF_LLAMA, MISTRAL = 1 << RLHF_MISTRAL, QWEN2 = 1 << RLHF_QWEN2,
    QWEN3 = 1 << RLHF_QWEN3, NEOX = 1 << RLHF_GPT_NEOX, GEMMA2 = 1 << RLHF_GEMMA2,
    QWEN = QWEN2 | QWEN3,
    LLAMAS = LLAMA | MISTRAL | QWEN | GEMMA2, /* RMSNorm, rotary, gated, products apart */
    ROTARY = LLAMAS | NEOX,
    ALL = (1 << RLHF_FAMILIES) - 1,
};

static const char *const activations[][3] = {
    [RLHF_GELU_TANH] = { "gelu_new", "gelu_pytorch_tanh", "gelu_fast" },
    [RLHF_GELU] = { "gelu", "gelu_python", NULL },
    [RLHF_SILU] = { "silu", "swish", NULL },
};
static const char *const rope_types[] = {
    [RLHF_ROPE_PLAIN] = "default", [RLHF_ROPE_LINEAR] = "linear", [RLHF_ROPE_DYNAMIC] = "dynamic",
    [RLHF_ROPE_YARN] = "yarn", [RLHF_ROPE_LLAMA3] = "llama3",
};
enum { ROPE_TYPES = sizeof rope_types / sizeof rope_types[0] };

static const struct family *family_of(const struct rlhf_model_config *c)
{
    return &families[c->family];
}

int rlhf_model_config_style(struct rlhf_model_config *c, const char *style, struct rlhf_error *err)
{
    for (unsigned i = 0; i < RLHF_FAMILIES; i++)
        if (strcmp(families[i].style, style) == 0) {
            *c = families[i].c;
            c->family = (enum rlhf_family)i;
            c->rope_theta = 10000;
            if (!(c->rotary_part > 0))
                c->rotary_part = 1;
            c->begin_id = c->end_id = c->pad_id = -1;
            return 0;
        }
    return rlhf_fail(err, RLHF_REJECT, "style \"%.40s\" is not known; use gpt2, llama, mistral, qwen2, qwen3, gpt_neox "
                     "or gemma2", style);
}

const char *rlhf_model_config_name(const struct rlhf_model_config *c)
{
    return family_of(c)->style;
}

uint32_t rlhf_model_config_rotary(const struct rlhf_model_config *c)
{
    return (uint32_t)(c->head_size * c->rotary_part);
}

uint32_t rlhf_model_config_window(const struct rlhf_model_config *c, uint32_t layer)
{
    return c->windowed[layer / 8] >> layer % 8 & 1 ? c->window : 0;
}

void rlhf_model_config_set_window(struct rlhf_model_config *c, uint32_t layer, bool windowed)
{
    const unsigned bit = 1U << layer % 8;

    c->windowed[layer / 8] = (uint8_t)(windowed ? c->windowed[layer / 8] | bit : c->windowed[layer / 8] & ~bit);
}

/* ---- the rules ------------------------------------------------------------------------------------- */

/* What the files of a family cannot say otherwise. */
static int check_family(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    const char *field = NULL;
    const struct rlhf_model_config *f;
    unsigned own;

    if ((unsigned)c->family >= RLHF_FAMILIES)
        return rlhf_fail(err, RLHF_REJECT, "family: %u is none", (unsigned)c->family);
    f = &families[c->family].c;
    own = 1U << c->family;
#define FIXED(name, varies) \
    if (c->name != f->name && !(own & (varies))) \
    field = #name
    FIXED(norm, 0);
    FIXED(position, 0);
    FIXED(gated, 0);
    FIXED(bias_qkv, LLAMA | QWEN3 | NEOX | GEMMA2);
    FIXED(bias_out, LLAMA | QWEN3 | NEOX | GEMMA2);
    FIXED(bias_mlp, LLAMA);
    FIXED(interleaved, 0);
    FIXED(norm_offset, 0);
    FIXED(norm_qk, 0);
    FIXED(norm_post, 0);
    FIXED(embedding_scaled, 0);
    FIXED(parallel, NEOX);
    FIXED(scale_by_layer, GPT2);
    FIXED(query_scalar, GPT2 | GEMMA2);
    FIXED(attention_cap, GEMMA2);
    FIXED(logit_cap, GEMMA2);
#undef FIXED
    if (c->family == RLHF_GPT2 && c->query_scalar > 1)
        field = "query_scalar";
    if (c->bias_out != c->bias_qkv && c->family != RLHF_QWEN2)
        field = "bias_out";
    if (c->rotary_part != 1 && c->family != RLHF_GPT_NEOX)
        field = "rotary_part";
    if (c->window && families[c->family].windows == WINDOW_NEVER)
        field = "window";
    if ((unsigned)c->activation >= RLHF_ACTIVATIONS || c->activation_name >= 3
        || !activations[c->activation][c->activation_name])
        field = "activation";
    if (c->head != RLHF_HEAD_LM && c->head != RLHF_HEAD_SCALAR)
        field = "head";
    if (field)
        return rlhf_fail(err, RLHF_REJECT, "%s: not a value that goes with a model of %s style", field,
                         family_of(c)->style);
    return 0;
}

static int check_ids(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    const struct {
        const char *field;
        int32_t value;
    } ids[] = { { "begin_id", c->begin_id }, { "end_id", c->end_id }, { "pad_id", c->pad_id } };

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].value < -1 || ids[i].value >= (int64_t)c->vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "%s: %d is neither -1 (none) nor below the vocabulary of %u",
                             ids[i].field, ids[i].value, c->vocabulary);
    if (c->more_ends > RLHF_MODEL_ENDS || (c->more_ends && c->end_id < 0))
        return rlhf_fail(err, RLHF_REJECT, "more_ends: %u of at most %d, behind end_id %d", c->more_ends,
                         RLHF_MODEL_ENDS, c->end_id);
    for (uint32_t i = 0; i < c->more_ends; i++)
        if (c->more_end_ids[i] < 0 || c->more_end_ids[i] >= (int64_t)c->vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "more_end_ids: %d is not in the vocabulary of %u", c->more_end_ids[i],
                             c->vocabulary);
    return 0;
}

static int check_ranges(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    const struct {
        const char *field;
        uint32_t value, most;
    } ranges[] = {
        { "layers", c->layers, RLHF_MODEL_LAYERS }, { "heads", c->heads, 1024 }, { "kv_heads", c->kv_heads, 1024 },
        { "head_size", c->head_size, 1024 },  { "channels", c->channels, 65536 }, { "mlp_size", c->mlp_size, 1 << 20 },
        { "vocabulary", c->vocabulary, 1 << 24 }, { "context", c->context, 1 << 24 },
    };

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (ranges[i].value < 1 || ranges[i].value > ranges[i].most)
            return rlhf_fail(err, RLHF_REJECT, "%s: %u is not between 1 and %u", ranges[i].field, ranges[i].value,
                             ranges[i].most);
    if (!(c->norm_epsilon > 0 && c->norm_epsilon < 1))
        return rlhf_fail(err, RLHF_REJECT, "norm_epsilon: %g is not between 0 and 1", (double)c->norm_epsilon);
    if (!(c->attention_cap >= 0 && c->attention_cap < 1e6F) || !(c->logit_cap >= 0 && c->logit_cap < 1e6F))
        return rlhf_fail(err, RLHF_REJECT, "%s: a cap is 0 (none) or above, and below 1e6",
                         c->attention_cap >= 0 && c->attention_cap < 1e6F ? "logit_cap" : "attention_cap");
    return check_ids(c, err);
}

static bool above(double value, double least)
{
    return value >= least && isfinite(value);
}

static int check_rope(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    const struct rlhf_rope_scaling *r = &c->rope;
    const uint32_t turning = rlhf_model_config_rotary(c);

    if (!(c->rotary_part > 0 && c->rotary_part <= 1) || turning < 2)
        return rlhf_fail(err, RLHF_REJECT, "rotary_part: %g of %u dimensions are not between 2 and all", c->rotary_part,
                         c->head_size);
    if (turning % 2 != 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: rotary positions need an even one, not %u",
                         c->rotary_part < 1 ? "rotary_part" : "head_size", turning);
    if (!above((double)c->rope_theta, 1))
        return rlhf_fail(err, RLHF_REJECT, "rope_theta: %g is not at least 1", (double)c->rope_theta);
    if ((unsigned)r->type >= ROPE_TYPES)
        return rlhf_fail(err, RLHF_REJECT, "rope.type: %u is none", (unsigned)r->type);
    if (r->type != RLHF_ROPE_PLAIN && !(above(r->factor, 1e-3) && r->factor <= 1e6))
        return rlhf_fail(err, RLHF_REJECT, "rope factor: %g is not between 0.001 and 1e6", r->factor);
    if (r->type > RLHF_ROPE_LINEAR && (r->original < 1 || r->original > 1 << 24))
        return rlhf_fail(err, RLHF_REJECT, "rope original_max_position_embeddings: %u is not between 1 and 2^24",
                         r->original);
    if (r->type == RLHF_ROPE_DYNAMIC && (turning < 4 || r->factor < 1))
        return rlhf_fail(err, RLHF_REJECT, "rope factor: dynamic scaling needs one of at least 1, and 4 dimensions that "
                         "turn");
    if (r->type == RLHF_ROPE_LLAMA3 && !(above(r->low_frequency, 1e-6) && above(r->high_frequency, 1e-6)
                                         && r->high_frequency > r->low_frequency))
        return rlhf_fail(err, RLHF_REJECT, "rope high_freq_factor: %g is not above low_freq_factor %g, and both above 0",
                         r->high_frequency, r->low_frequency);
    if (r->type == RLHF_ROPE_YARN && !(above(r->beta_fast, 1e-6) && above(r->beta_slow, 1e-6)
                                       && above(r->amplitude, 1e-6) && r->amplitude <= 1e6 && c->rope_theta > 1))
        return rlhf_fail(err, RLHF_REJECT, "rope beta_fast, beta_slow, attention_factor: %g, %g, %g must be above 0, and "
                         "rope_theta above 1", r->beta_fast, r->beta_slow, r->amplitude);
    return 0;
}

static int check_window(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    bool any = false, all = true;

    if (c->window > 1 << 24)
        return rlhf_fail(err, RLHF_REJECT, "window: %u is more than 2^24", c->window);
    for (uint32_t i = 0; i < c->layers; i++) {
        bool windowed = c->windowed[i / 8] >> i % 8 & 1;

        any |= windowed;
        all &= windowed;
    }
    if (any != (c->window > 0))
        return rlhf_fail(err, RLHF_REJECT, "window: %u, but %s layer has one", c->window, any ? "some" : "no");
    if (c->window && !all && family_of(c)->windows == WINDOW_EVERY)
        return rlhf_fail(err, RLHF_REJECT, "window: every layer of a model of %s style has it, or none",
                         family_of(c)->style);
    return 0;
}

int rlhf_model_config_check(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    if (check_family(c, err) < 0 || check_ranges(c, err) < 0)
        return -1;
    if (c->heads % c->kv_heads != 0)
        return rlhf_fail(err, RLHF_REJECT, "kv_heads: %u does not divide heads, %u", c->kv_heads, c->heads);
    if (c->norm == RLHF_NORM_LAYER && c->heads * c->head_size != c->channels)
        return rlhf_fail(err, RLHF_REJECT, "channels: %u is not heads * head_size = %u * %u", c->channels, c->heads,
                         c->head_size);
    if (c->norm == RLHF_NORM_LAYER && c->kv_heads != c->heads)
        return rlhf_fail(err, RLHF_REJECT, "kv_heads: %s style has no grouped queries, use %u", family_of(c)->style,
                         c->heads);
    if (c->position == RLHF_POSITION_ROTARY && check_rope(c, err) < 0)
        return -1;
    return check_window(c, err);
}

/* ---- config.json: the settings known -------------------------------------------------------------- */

/* What a key may hold. */
enum kind {
    SIZE,        /* a positive integer, into a uint32_t                               */
    SIZE_NULL,   /* the same, or null: derived later                                  */
    SCALAR,      /* a positive integer that is query_scalar                           */
    NUMBER,      /* into a float                                                      */
    CAP,         /* the same, or null: 0                                              */
    PART,        /* into a double                                                     */
    ID,          /* a token id, null, or a list of one, into an int32_t               */
    IDS,         /* eos_token_id: also a list of several                              */
    FLAG,        /* into a bool                                                       */
    BIASES,      /* into bias_qkv and bias_out                                        */
    UNSCALED,    /* scale_attn_weights: false makes query_scalar 1                    */
    ACTIVATION,  /* the name of one                                                   */
    ROPE,        /* null, or an object                                                */
    WINDOW,      /* a positive integer or null                                        */
    USE_WINDOW,  /* true or false                                                     */
    FIRST_LAYER, /* max_window_layers: the first layer that has a window              */
    LAYER_TYPES, /* a list of full_attention and sliding_attention                    */
    LABELS,      /* id2label or label2id: one entry when the head is a scalar         */
    BIAS,        /* rlhf_reward_bias                                                  */
    PRODUCTS,    /* rlhf_products: fp32 or bf16                                       */
    /* the rest must state what this program does anyway */
    IS_FALSE,
    IS_ONE,
    IS_NULL,
    IS_DTYPE,
    ANYTHING,    /* changes nothing that this program computes                        */
};

enum { REQUIRED = 1, READ_ONLY = 2 }; /* READ_ONLY: understood, but said by another key when we write */

struct setting {
    const char *key;
    unsigned families;
    enum kind kind;
    size_t offset; /* in struct rlhf_model_config */
    unsigned how;
};
#define FIELD(name) offsetof(struct rlhf_model_config, name)

/* In the order in which they are written. */
static const struct setting settings[] = {
    { "n_embd", GPT2, SIZE, FIELD(channels), REQUIRED },
    { "n_layer", GPT2, SIZE, FIELD(layers), REQUIRED },
    { "n_head", GPT2, SIZE, FIELD(heads), REQUIRED },
    { "n_positions", GPT2, SIZE, FIELD(context), REQUIRED },
    { "n_inner", GPT2, SIZE_NULL, FIELD(mlp_size), 0 },
    { "layer_norm_epsilon", GPT2, NUMBER, FIELD(norm_epsilon), 0 },
    { "activation_function", GPT2, ACTIVATION, FIELD(activation), 0 },
    { "scale_attn_weights", GPT2, UNSCALED, FIELD(query_scalar), 0 },
    { "scale_attn_by_inverse_layer_idx", GPT2, FLAG, FIELD(scale_by_layer), 0 },

    { "hidden_size", ROTARY, SIZE, FIELD(channels), REQUIRED },
    { "num_hidden_layers", ROTARY, SIZE, FIELD(layers), REQUIRED },
    { "num_attention_heads", ROTARY, SIZE, FIELD(heads), REQUIRED },
    { "num_key_value_heads", LLAMAS, SIZE_NULL, FIELD(kv_heads), 0 },
    { "head_dim", LLAMAS, SIZE_NULL, FIELD(head_size), 0 },
    { "intermediate_size", ROTARY, SIZE, FIELD(mlp_size), REQUIRED },
    { "max_position_embeddings", ROTARY, SIZE, FIELD(context), REQUIRED },
    { "rms_norm_eps", LLAMAS, NUMBER, FIELD(norm_epsilon), 0 },
    { "layer_norm_eps", NEOX, NUMBER, FIELD(norm_epsilon), 0 },
    { "hidden_act", ROTARY & ~GEMMA2, ACTIVATION, FIELD(activation), 0 },
    { "hidden_activation", GEMMA2, ACTIVATION, FIELD(activation), 0 },
    { "attention_bias", LLAMA | QWEN3 | NEOX | GEMMA2, BIASES, FIELD(bias_qkv), 0 },
    { "mlp_bias", LLAMA, FLAG, FIELD(bias_mlp), 0 },
    { "rope_theta", LLAMAS, NUMBER, FIELD(rope_theta), 0 },
    { "rotary_emb_base", NEOX, NUMBER, FIELD(rope_theta), 0 },
    { "rotary_pct", NEOX, PART, FIELD(rotary_part), 0 },
    { "rope_scaling", ROTARY, ROPE, 0, 0 },
    { "rope_parameters", ROTARY, ROPE, 0, READ_ONLY }, /* as version 5 says all three of them */
    { "use_parallel_residual", NEOX, FLAG, FIELD(parallel), 0 },
    { "sliding_window", MISTRAL | QWEN | GEMMA2, WINDOW, FIELD(window), 0 },
    { "use_sliding_window", QWEN, USE_WINDOW, 0, 0 },
    { "max_window_layers", QWEN, FIRST_LAYER, 0, 0 },
    { "layer_types", MISTRAL | QWEN | GEMMA2, LAYER_TYPES, 0, 0 },
    { "query_pre_attn_scalar", GEMMA2, SCALAR, FIELD(query_scalar), 0 },
    { "attn_logit_softcapping", GEMMA2, CAP, FIELD(attention_cap), 0 },
    { "final_logit_softcapping", GEMMA2, CAP, FIELD(logit_cap), 0 },

    { "bos_token_id", ALL, ID, FIELD(begin_id), 0 },
    { "eos_token_id", ALL, IDS, FIELD(end_id), 0 },
    { "pad_token_id", ALL, ID, FIELD(pad_id), 0 },
    { "tie_word_embeddings", ALL, FLAG, FIELD(tied), 0 },
    { "vocab_size", ALL, SIZE, FIELD(vocabulary), REQUIRED },

    { "model_type", ALL, ANYTHING, 0, REQUIRED | READ_ONLY }, /* read, and written, first */
    { "architectures", ALL, ANYTHING, 0, 0 },
    { "num_labels", ALL, LABELS, 0, READ_ONLY },
    { "_num_labels", ALL, LABELS, 0, READ_ONLY }, /* its older name */
    { "id2label", ALL, LABELS, 0, READ_ONLY },
    { "label2id", ALL, LABELS, 0, READ_ONLY },
    { "rlhf_reward_bias", ALL, BIAS, 0, READ_ONLY },
    { "rlhf_products", ALL, PRODUCTS, 0, READ_ONLY },
    { "dtype", ALL, IS_DTYPE, 0, 0 },
    { "torch_dtype", ALL, IS_DTYPE, 0, 0 },

    { "add_cross_attention", ALL, IS_FALSE, 0, 0 },
    { "is_encoder_decoder", ALL, IS_FALSE, 0, 0 },
    { "use_bidirectional_attention", GEMMA2, IS_FALSE, 0, 0 },
    { "use_mrope", QWEN, IS_FALSE, 0, 0 },
    { "pretraining_tp", LLAMA, IS_ONE, 0, 0 },
    { "cross_attention_hidden_size", ALL, IS_NULL, 0, 0 },
    { "quantization_config", ALL, IS_NULL, 0, 0 },
    { "pruned_heads", ALL, IS_NULL, 0, 0 },
    { "auto_map", ALL, IS_NULL, 0, 0 },
    { "partial_rotary_factor", LLAMAS, IS_ONE, 0, 0 },

    /* Dropout is off in rlhfd (the recipe's choice), so what a config says of it is no matter; the summary_* keys belong
     * to a head that is not built; n_ctx is an older name of n_positions that transformers does not read, as is
     * hidden_act of Gemma 2; reorder_and_upcast_attn is the same product, in fp32, as here. */
    { "n_ctx", GPT2, ANYTHING, 0, 0 },
    { "hidden_act", GEMMA2, ANYTHING, 0, 0 },
    { "reorder_and_upcast_attn", GPT2, ANYTHING, 0, 0 },
    { "attn_pdrop", GPT2, ANYTHING, 0, 0 },
    { "embd_pdrop", GPT2, ANYTHING, 0, 0 },
    { "resid_pdrop", GPT2, ANYTHING, 0, 0 },
    { "summary_activation", GPT2, ANYTHING, 0, 0 },
    { "summary_first_dropout", GPT2, ANYTHING, 0, 0 },
    { "summary_proj_to_labels", GPT2, ANYTHING, 0, 0 },
    { "summary_type", GPT2, ANYTHING, 0, 0 },
    { "summary_use_proj", GPT2, ANYTHING, 0, 0 },
    { "attention_dropout", ROTARY, ANYTHING, 0, 0 },
    { "hidden_dropout", NEOX, ANYTHING, 0, 0 },
    { "classifier_dropout", ALL, ANYTHING, 0, 0 },
    { "cache_implementation", ALL, ANYTHING, 0, 0 },
    { "problem_type", ALL, ANYTHING, 0, 0 },
    { "transformers_version", ALL, ANYTHING, 0, 0 },
    { "tokenizer_class", ALL, ANYTHING, 0, 0 },
    { "_name_or_path", ALL, ANYTHING, 0, 0 },
    { "_attn_implementation", ALL, ANYTHING, 0, 0 },
    { "_attn_implementation_autoset", ALL, ANYTHING, 0, 0 },
    { "_flash_attn_2_enabled", ALL, ANYTHING, 0, 0 },
    { "attn_implementation", ALL, ANYTHING, 0, 0 },
    { "initializer_range", ALL, ANYTHING, 0, 0 },
    { "use_cache", ALL, ANYTHING, 0, 0 },
    { "is_decoder", ALL, ANYTHING, 0, 0 },
    { "chunk_size_feed_forward", ALL, ANYTHING, 0, 0 },
    { "output_attentions", ALL, ANYTHING, 0, 0 },
    { "output_hidden_states", ALL, ANYTHING, 0, 0 },
    { "return_dict", ALL, ANYTHING, 0, 0 },
    { "torchscript", ALL, ANYTHING, 0, 0 },
    { "use_bfloat16", ALL, ANYTHING, 0, 0 },
    { "tf_legacy_loss", ALL, ANYTHING, 0, 0 },
    { "tie_encoder_decoder", ALL, ANYTHING, 0, 0 },
    { "gradient_checkpointing", ALL, ANYTHING, 0, 0 },
    { "task_specific_params", ALL, ANYTHING, 0, 0 },
    { "finetuning_task", ALL, ANYTHING, 0, 0 },
    { "prefix", ALL, ANYTHING, 0, 0 },
    { "sep_token_id", ALL, ANYTHING, 0, 0 },
    { "decoder_start_token_id", ALL, ANYTHING, 0, 0 },
    /* Older versions kept the defaults of generation here; generation_config.json has them now. */
    { "max_length", ALL, ANYTHING, 0, 0 },
    { "min_length", ALL, ANYTHING, 0, 0 },
    { "do_sample", ALL, ANYTHING, 0, 0 },
    { "early_stopping", ALL, ANYTHING, 0, 0 },
    { "num_beams", ALL, ANYTHING, 0, 0 },
    { "num_beam_groups", ALL, ANYTHING, 0, 0 },
    { "diversity_penalty", ALL, ANYTHING, 0, 0 },
    { "temperature", ALL, ANYTHING, 0, 0 },
    { "top_k", ALL, ANYTHING, 0, 0 },
    { "top_p", ALL, ANYTHING, 0, 0 },
    { "typical_p", ALL, ANYTHING, 0, 0 },
    { "repetition_penalty", ALL, ANYTHING, 0, 0 },
    { "length_penalty", ALL, ANYTHING, 0, 0 },
    { "no_repeat_ngram_size", ALL, ANYTHING, 0, 0 },
    { "encoder_no_repeat_ngram_size", ALL, ANYTHING, 0, 0 },
    { "bad_words_ids", ALL, ANYTHING, 0, 0 },
    { "num_return_sequences", ALL, ANYTHING, 0, 0 },
    { "output_scores", ALL, ANYTHING, 0, 0 },
    { "return_dict_in_generate", ALL, ANYTHING, 0, 0 },
    { "forced_bos_token_id", ALL, ANYTHING, 0, 0 },
    { "forced_eos_token_id", ALL, ANYTHING, 0, 0 },
    { "remove_invalid_values", ALL, ANYTHING, 0, 0 },
    { "exponential_decay_length_penalty", ALL, ANYTHING, 0, 0 },
    { "suppress_tokens", ALL, ANYTHING, 0, 0 },
    { "begin_suppress_tokens", ALL, ANYTHING, 0, 0 },
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static const struct setting *find_setting(const struct rlhf_model_config *c, const char *key)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].families & 1U << c->family && strcmp(settings[i].key, key) == 0)
            return &settings[i];
    return NULL;
}

/* ---- config.json: reading -------------------------------------------------------------------------- */

static int unsupported(const char *key, const json_t *value, const char *wanted, struct rlhf_error *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    rlhf_fail(err, RLHF_REJECT, "%.60s: %.80s is not supported, must be %s", key, text ? text : "its value", wanted);
    free(text);
    return -1;
}

struct reading {
    struct rlhf_model_config *c;
    const struct family *f;
    float bias;
    bool one_label;
    bool use_window;
    bool window_given;
    uint32_t first_layer;      /* that has a window, where layer_types is silent */
    const json_t *layer_types; /* borrowed */
    const json_t *rope;        /* the object of rope_scaling or rope_parameters; borrowed */
    const char *rope_key;
};

static int read_size(const struct setting *s, const json_t *value, uint32_t *out, struct rlhf_error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > UINT32_MAX)
        return unsupported(s->key, value, "a positive integer", err);
    *out = (uint32_t)json_integer_value(value);
    return 0;
}

static int read_flag(const struct setting *s, const json_t *value, bool *out, struct rlhf_error *err)
{
    if (!json_is_boolean(value))
        return unsupported(s->key, value, "true or false", err);
    *out = json_is_true(value);
    return 0;
}

static int read_number(const char *key, const json_t *value, double *out, struct rlhf_error *err)
{
    if (!json_is_number(value) || !isfinite((float)json_number_value(value)))
        return unsupported(key, value, "a number", err);
    *out = json_number_value(value);
    return 0;
}

static int read_id(const struct setting *s, const json_t *value, int32_t *out, struct rlhf_error *err)
{
    const json_t *one = json_is_array(value) && json_array_size(value) == 1 ? json_array_get(value, 0) : value;

    if (json_is_null(one))
        *out = -1;
    else if (json_is_integer(one) && json_integer_value(one) >= -1 && json_integer_value(one) <= INT32_MAX)
        *out = (int32_t)json_integer_value(one);
    else
        return unsupported(s->key, value, "one token id or null", err);
    return 0;
}

static int read_ids(struct rlhf_model_config *c, const struct setting *s, const json_t *value, struct rlhf_error *err)
{
    const size_t count = json_array_size(value); /* 0 of what is no array */

    if (count < 2)
        return read_id(s, value, &c->end_id, err);
    if (count > 1 + RLHF_MODEL_ENDS)
        return unsupported(s->key, value, "at most 16 token ids", err);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(value, i);

        if (!json_is_integer(one) || json_integer_value(one) < 0 || json_integer_value(one) > INT32_MAX)
            return unsupported(s->key, value, "token ids", err);
        *(i == 0 ? &c->end_id : &c->more_end_ids[i - 1]) = (int32_t)json_integer_value(one);
    }
    c->more_ends = (uint32_t)count - 1;
    return 0;
}

static int read_activation(struct rlhf_model_config *c, const struct setting *s, const json_t *value,
                           struct rlhf_error *err)
{
    const char *word = json_string_value(value);

    for (unsigned i = 0; word && i < RLHF_ACTIVATIONS; i++)
        for (int j = 0; j < 3 && activations[i][j]; j++)
            if (strcmp(word, activations[i][j]) == 0) {
                c->activation = (enum rlhf_activation)i;
                c->activation_name = (uint8_t)j;
                return 0;
            }
    return unsupported(s->key, value, "gelu_new, gelu_pytorch_tanh, gelu, silu or swish", err);
}

static int read_labels(const struct rlhf_model_config *c, const char *key, const json_t *value, bool *one,
                       struct rlhf_error *err)
{
    size_t count = json_is_object(value) ? json_object_size(value)
                   : json_is_integer(value) && json_integer_value(value) > 0 ? (size_t)json_integer_value(value) : 0;

    if (c->head == RLHF_HEAD_SCALAR && count != 1)
        return unsupported(key, value, "a single label (a reward model has one output)", err);
    *one |= strcmp(key, "label2id") != 0;
    return 0;
}

/* Version 4 says rope_scaling, version 5 rope_parameters. */
static int keep_rope(struct reading *r, const char *key, const json_t *value, struct rlhf_error *err)
{
    if (json_is_null(value))
        return 0;
    if (!json_is_object(value))
        return unsupported(key, value, "null or an object", err);
    if (r->rope && !json_equal((json_t *)r->rope, (json_t *)value))
        return rlhf_fail(err, RLHF_REJECT, "%s: another one than %s; keep one of them", key, r->rope_key);
    r->rope = value;
    r->rope_key = key;
    return 0;
}

/* Settings that hold a value: into c. */
static int read_value(struct reading *r, const struct setting *s, const json_t *value, struct rlhf_error *err)
{
    struct rlhf_model_config *c = r->c;
    char *field = (char *)c + s->offset;
    double number = 0;
    bool flag;

    switch (s->kind) {
    case SIZE:
    case SCALAR:
        return read_size(s, value, (uint32_t *)field, err);
    case SIZE_NULL:
        return json_is_null(value) ? 0 : read_size(s, value, (uint32_t *)field, err);
    case CAP:
        if (!json_is_null(value) && (read_number(s->key, value, &number, err) < 0 || !(number > 0)))
            return unsupported(s->key, value, "null or a number above 0", err);
        *(float *)field = (float)number;
        return 0;
    case NUMBER:
        if (read_number(s->key, value, &number, err) < 0)
            return -1;
        *(float *)field = (float)number;
        return 0;
    case PART:
        return read_number(s->key, value, (double *)field, err);
    case ID:
        return read_id(s, value, (int32_t *)field, err);
    case IDS:
        return read_ids(c, s, value, err);
    case FLAG:
        return read_flag(s, value, (bool *)field, err);
    case BIASES:
        if (read_flag(s, value, &c->bias_qkv, err) < 0)
            return -1;
        c->bias_out = c->bias_qkv;
        return 0;
    case UNSCALED:
        if (read_flag(s, value, &flag, err) < 0)
            return -1;
        c->query_scalar = flag ? 0 : 1;
        return 0;
    case ACTIVATION:
        return read_activation(c, s, value, err);
    case ROPE:
        return keep_rope(r, s->key, value, err);
    case WINDOW:
        r->window_given = true;
        c->window = 0;
        return json_is_null(value) ? 0 : read_size(s, value, &c->window, err);
    case USE_WINDOW:
        return read_flag(s, value, &r->use_window, err);
    case FIRST_LAYER:
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > UINT32_MAX)
            return unsupported(s->key, value, "0 or a positive integer", err);
        r->first_layer = (uint32_t)json_integer_value(value);
        return 0;
    case LAYER_TYPES:
        r->layer_types = json_is_null(value) ? NULL : value;
        return 0;
    case BIAS:
        if (read_number(s->key, value, &number, err) < 0)
            return -1;
        r->bias = (float)number;
        return 0;
    case PRODUCTS:
        if (!json_is_string(value) || !rlhf_products_named(json_string_value(value), &c->products))
            return unsupported(s->key, value, "fp32 or bf16", err);
        return 0;
    case LABELS:
        return read_labels(c, s->key, value, &r->one_label, err);
    default:
        return 0;
    }
}

/* Settings that hold a choice of which only one is built. */
static int read_choice(const struct setting *s, const json_t *value, struct rlhf_error *err)
{
    const char *word = json_string_value(value);

    switch (s->kind) {
    case IS_FALSE:
        return json_is_false(value) || json_is_null(value) ? 0 : unsupported(s->key, value, "false", err);
    case IS_ONE:
        return json_is_number(value) && json_number_value(value) == 1 ? 0 : unsupported(s->key, value, "1", err);
    case IS_NULL:
        return json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0)
                   ? 0 : unsupported(s->key, value, "null", err);
    case IS_DTYPE:
        if (word && strncmp(word, "torch.", 6) == 0)
            word += 6;
        return json_is_null(value) || (word && (strcmp(word, "float32") == 0 || strcmp(word, "float16") == 0
                                                || strcmp(word, "bfloat16") == 0 || strcmp(word, "auto") == 0))
                   ? 0 : unsupported(s->key, value, "float32, float16 or bfloat16", err);
    default:
        return 0;
    }
}

static int parse_head(struct rlhf_model_config *c, const struct family *f, const json_t *architectures,
                      struct rlhf_error *err)
{
    const char *name = json_string_value(json_array_get(architectures, 0));
    char wanted[120];

    c->head = RLHF_HEAD_LM;
    if (!architectures || json_is_null(architectures))
        return 0;
    if (json_array_size(architectures) == 1 && name) {
        if (strcmp(name, f->causal) == 0)
            return 0;
        if (strcmp(name, f->classifier) == 0) {
            c->head = RLHF_HEAD_SCALAR;
            return 0;
        }
    }
    snprintf(wanted, sizeof wanted, "[\"%s\"] or [\"%s\"]", f->causal, f->classifier);
    return unsupported("architectures", architectures, wanted, err);
}

static int parse_settings(struct reading *r, json_t *root, struct rlhf_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value) {
        const struct setting *s = find_setting(r->c, key);

        if (!s)
            return rlhf_fail(err, RLHF_REJECT, "%.60s: not a setting of a %s model that is known here", key,
                             r->f->style);
        if (read_value(r, s, value, err) < 0 || read_choice(s, value, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < SETTINGS; i++)
        if (settings[i].families & 1U << r->c->family && settings[i].how & REQUIRED
            && !json_object_get(root, settings[i].key))
            return rlhf_fail(err, RLHF_REJECT, "%s: missing", settings[i].key);
    return 0;
}

/* ---- rope_scaling and rope_parameters */

/* One member of the object; `seen` collects the types of scaling that know it. */
struct rope_member {
    const char *name;
    unsigned types; /* one bit a type */
    double *place;
};
enum { ROPE_ANY = (1 << ROPE_TYPES) - 1, YARN = 1 << RLHF_ROPE_YARN, LLAMA3 = 1 << RLHF_ROPE_LLAMA3 };

static int rope_type(enum rlhf_rope_type *type, const char *key, const json_t *rope, struct rlhf_error *err)
{
    const json_t *word = json_object_get(rope, "rope_type");

    if (!word)
        word = json_object_get(rope, "type");
    *type = RLHF_ROPE_PLAIN;
    for (unsigned i = 0; json_is_string(word) && i < ROPE_TYPES; i++)
        if (strcmp(rope_types[i], json_string_value(word)) == 0) {
            *type = (enum rlhf_rope_type)i;
            return 0;
        }
    return word ? unsupported(key, word, "of rope_type default, linear, dynamic, yarn or llama3", err) : 0;
}

/* Peng et al. 2023 (YaRN), equation 22; transformers lets a model weigh it. */
static double yarn_amplitude(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

static int read_rope(struct reading *r, struct rlhf_error *err)
{
    struct rlhf_model_config *c = r->c;
    struct rlhf_rope_scaling *s = &c->rope;
    double theta = (double)c->rope_theta, mscale = 0, mscale_all = 0, original = 0;
    const struct rope_member members[] = {
        { "rope_theta", ROPE_ANY, &theta },
        { "partial_rotary_factor", ROPE_ANY, &c->rotary_part },
        { "factor", ROPE_ANY & ~1, &s->factor },
        { "low_freq_factor", LLAMA3, &s->low_frequency },
        { "high_freq_factor", LLAMA3, &s->high_frequency },
        { "original_max_position_embeddings", YARN | LLAMA3, &original },
        { "beta_fast", YARN, &s->beta_fast },
        { "beta_slow", YARN, &s->beta_slow },
        { "attention_factor", YARN, &s->amplitude },
        { "mscale", YARN, &mscale },
        { "mscale_all_dim", YARN, &mscale_all },
    };
    const char *name;
    json_t *member;

    if (rope_type(&s->type, r->rope_key, r->rope, err) < 0)
        return -1;
    s->whole = s->type == RLHF_ROPE_YARN;
    json_object_foreach((json_t *)r->rope, name, member) {
        size_t i = 0;

        if (strcmp(name, "rope_type") == 0 || strcmp(name, "type") == 0)
            continue;
        if (strcmp(name, "truncate") == 0 && s->type == RLHF_ROPE_YARN && json_is_boolean(member)) {
            s->whole = json_is_true(member);
            continue;
        }
        while (i < sizeof members / sizeof members[0] && strcmp(members[i].name, name) != 0)
            i++;
        if (i == sizeof members / sizeof members[0] || !(members[i].types & 1U << s->type))
            return rlhf_fail(err, RLHF_REJECT, "%s: %.40s is not known for rope_type %s", r->rope_key, name,
                             rope_types[s->type]);
        if (!json_is_null(member) && read_number(name, member, members[i].place, err) < 0)
            return rlhf_fail_prefix(err, "%s", r->rope_key);
    }
    c->rope_theta = (float)theta;
    if (c->rotary_part != 1 && c->family != RLHF_GPT_NEOX)
        return rlhf_fail(err, RLHF_REJECT, "%s: partial_rotary_factor %g is not supported, must be 1 in a %s model",
                         r->rope_key, c->rotary_part, r->f->style);
    if (s->type != RLHF_ROPE_PLAIN && !(s->factor > 0))
        return rlhf_fail(err, RLHF_REJECT, "%s: factor is missing or not above 0", r->rope_key);
    if (original < 0 || original > 1 << 24 || original != floor(original))
        return rlhf_fail(err, RLHF_REJECT, "%s: original_max_position_embeddings %g is not a number of positions",
                         r->rope_key, original);
    if (s->type > RLHF_ROPE_LINEAR)
        s->original = original > 0 ? (uint32_t)original : c->context;
    if (s->type == RLHF_ROPE_YARN) {
        s->beta_fast = s->beta_fast != 0 ? s->beta_fast : 32;
        s->beta_slow = s->beta_slow != 0 ? s->beta_slow : 1;
        if (!json_is_number(json_object_get(r->rope, "attention_factor")))
            s->amplitude = mscale != 0 && mscale_all != 0
                           ? yarn_amplitude(s->factor, mscale) / yarn_amplitude(s->factor, mscale_all)
                           : yarn_amplitude(s->factor, 1);
    }
    return 0;
}

/* ---- windows */

static int read_layer_types(struct reading *r, struct rlhf_error *err)
{
    const json_t *types = r->layer_types;

    if (!json_is_array(types) || json_array_size(types) != r->c->layers)
        return unsupported("layer_types", types, "one word for each layer", err);
    for (uint32_t i = 0; i < r->c->layers; i++) {
        const char *word = json_string_value(json_array_get(types, i));

        if (!word || (strcmp(word, "sliding_attention") != 0 && strcmp(word, "full_attention") != 0))
            return unsupported("layer_types", json_array_get(types, i), "full_attention or sliding_attention", err);
        rlhf_model_config_set_window(r->c, i, *word == 's');
    }
    return 0;
}

static int derive_windows(struct reading *r, struct rlhf_error *err)
{
    struct rlhf_model_config *c = r->c;
    bool any = false;

    if (c->layers > RLHF_MODEL_LAYERS)
        return rlhf_fail(err, RLHF_REJECT, "layers: %u is not between 1 and %d", c->layers, RLHF_MODEL_LAYERS);
    if (!r->window_given)
        c->window = r->f->window;
    if (r->f->windows == WINDOW_FROM && !r->use_window)
        c->window = 0;
    for (uint32_t i = 0; i < c->layers; i++)
        rlhf_model_config_set_window(c, i, c->window && (r->f->windows == WINDOW_EVERY
                                                         || (r->f->windows == WINDOW_FROM && i >= r->first_layer)
                                                         || (r->f->windows == WINDOW_EVEN && i % 2 == 0)));
    if (r->layer_types && read_layer_types(r, err) < 0)
        return -1;
    for (uint32_t i = 0; i < c->layers; i++)
        any |= c->windowed[i / 8] >> i % 8 & 1;
    if (any && !c->window)
        return rlhf_fail(err, RLHF_REJECT, "layer_types: sliding_attention, but sliding_window says no window");
    if (!any && c->window && r->f->windows == WINDOW_EVERY)
        return rlhf_fail(err, RLHF_REJECT, "layer_types: full_attention, but sliding_window of a %s model is for every "
                         "layer", r->f->style);
    if (!any)
        c->window = 0;
    return 0;
}

/* What follows from other settings. */
static int derive(struct reading *r, json_t *root, struct rlhf_error *err)
{
    struct rlhf_model_config *c = r->c;
    const struct family *f = r->f;

    if (!c->kv_heads)
        c->kv_heads = f->kv_heads && !json_object_get(root, "num_key_value_heads") ? f->kv_heads : c->heads;
    if (!c->head_size && f->head_size && !json_object_get(root, "head_dim"))
        c->head_size = f->head_size;
    if (!c->head_size) {
        if (c->channels % c->heads)
            return rlhf_fail(err, RLHF_REJECT, "%s: %u does not divide the width, %u",
                             c->family == RLHF_GPT2 ? "n_head" : "num_attention_heads", c->heads, c->channels);
        c->head_size = c->channels / c->heads;
    }
    if (!c->mlp_size)
        c->mlp_size = c->channels > UINT32_MAX / 4 ? 0 : 4 * c->channels;
    if (f->scalar && !json_object_get(root, "query_pre_attn_scalar"))
        c->query_scalar = f->scalar;
    /* transformers has ids of its own for a silent config.json; they may lie outside a small vocabulary */
    if (!json_object_get(root, "bos_token_id") && (uint32_t)f->begin_id < c->vocabulary)
        c->begin_id = f->begin_id;
    if (!json_object_get(root, "eos_token_id") && (uint32_t)f->end_id < c->vocabulary)
        c->end_id = f->end_id;
    if (!json_object_get(root, "pad_token_id") && (uint32_t)f->pad_id < c->vocabulary)
        c->pad_id = f->pad_id;
    if (r->rope && read_rope(r, err) < 0)
        return -1;
    return derive_windows(r, err);
}

/* A shape that cannot be: the error names a field, and the key that set it goes before. */
static int check_read(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    static const struct {
        const char *field;
        size_t offset;
    } fields[] = {
        { "layers:", FIELD(layers) },         { "heads:", FIELD(heads) },         { "kv_heads:", FIELD(kv_heads) },
        { "head_size:", FIELD(head_size) },   { "channels:", FIELD(channels) },   { "mlp_size:", FIELD(mlp_size) },
        { "vocabulary:", FIELD(vocabulary) }, { "context:", FIELD(context) },     { "window:", FIELD(window) },
        { "begin_id:", FIELD(begin_id) },     { "end_id:", FIELD(end_id) },       { "pad_id:", FIELD(pad_id) },
        { "more_end_ids:", FIELD(end_id) },   { "rotary_part:", FIELD(rotary_part) },
        { "norm_epsilon:", FIELD(norm_epsilon) }, { "rope_theta:", FIELD(rope_theta) },
        { "attention_cap:", FIELD(attention_cap) }, { "logit_cap:", FIELD(logit_cap) },
    };
    struct rlhf_error why = { 0 };

    if (rlhf_model_config_check(c, &why) == 0)
        return 0;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        for (size_t j = 0; strncmp(why.text, fields[i].field, strlen(fields[i].field)) == 0 && j < SETTINGS; j++)
            if (settings[j].families & 1U << c->family && settings[j].kind <= WINDOW
                && settings[j].kind != BIASES && settings[j].kind != ACTIVATION && settings[j].kind != ROPE
                && settings[j].offset == fields[i].offset)
                return rlhf_fail(err, why.code, "%s: %s", settings[j].key, why.text);
    return rlhf_fail(err, why.code, "%s", why.text);
}

static int parse_root(struct reading *r, json_t *root, struct rlhf_error *err)
{
    const char *type = json_string_value(json_object_get(root, "model_type"));

    if (!json_is_object(root))
        return rlhf_fail(err, RLHF_REJECT, "not a JSON object");
    if (!type || rlhf_model_config_style(r->c, type, NULL) < 0)
        return rlhf_fail(err, RLHF_REJECT, "model_type: \"%.40s\" is not supported, must be gpt2, llama, mistral, qwen2, "
                         "qwen3, gpt_neox or gemma2", type ? type : "(missing)");
    r->f = family_of(r->c);
    r->first_layer = 28; /* of Qwen, when it does not say */
    if (parse_head(r->c, r->f, json_object_get(root, "architectures"), err) < 0 || parse_settings(r, root, err) < 0)
        return -1;
    if (r->c->head == RLHF_HEAD_SCALAR && !r->one_label)
        return rlhf_fail(err, RLHF_REJECT, "id2label: missing; without it transformers assumes two labels, and a "
                         "reward model has one");
    if (derive(r, root, err) < 0)
        return -1;
    return check_read(r->c, err);
}

int rlhf_model_config_read(struct rlhf_model_config *c, float *bias, const char *json, size_t size,
                           struct rlhf_error *err)
{
    struct rlhf_model_config read = { 0 };
    struct reading r = { .c = &read };
    json_error_t wrong;
    json_t *root;
    int rc;

    if (size > CONFIG_BYTES)
        return rlhf_fail(err, RLHF_REJECT, "config.json: %zu bytes are more than %d", size, CONFIG_BYTES);
    root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &wrong);
    if (!root)
        return rlhf_fail(err, RLHF_REJECT, "config.json: line %d column %d: %s", wrong.line, wrong.column,
                         wrong.text);
    rc = parse_root(&r, root, err);
    json_decref(root);
    if (rc < 0)
        return rlhf_fail_prefix(err, "config.json");
    *c = read;
    *bias = r.bias;
    return 0;
}

int rlhf_model_config_parse(struct rlhf_model_config *c, const char *json, size_t size, struct rlhf_error *err)
{
    float bias;

    return rlhf_model_config_read(c, &bias, json, size, err);
}

/* ---- config.json: writing -------------------------------------------------------------------------- */

/* A double's or float's shortest text that reads back as the same, and as a float rather than an integer. */
static const char *number_text(double value, bool single, char text[40])
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        if (single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    if (!strpbrk(text, ".en"))
        strcat(text, ".0");
    return text;
}

static const char *float_text(float value, char text[40])
{
    return number_text((double)value, true, text);
}

static int print_id(int32_t id, struct rlhf_bytes *json, struct rlhf_error *err)
{
    return id < 0 ? rlhf_bytes_printf(json, err, "null") : rlhf_bytes_printf(json, err, "%d", id);
}

static int print_ids(const struct rlhf_model_config *c, struct rlhf_bytes *json, struct rlhf_error *err)
{
    if (!c->more_ends)
        return print_id(c->end_id, json, err);
    if (rlhf_bytes_printf(json, err, "[%d", c->end_id) < 0)
        return -1;
    for (uint32_t i = 0; i < c->more_ends; i++)
        if (rlhf_bytes_printf(json, err, ", %d", c->more_end_ids[i]) < 0)
            return -1;
    return rlhf_bytes_printf(json, err, "]");
}

static int print_rope(const struct rlhf_rope_scaling *r, struct rlhf_bytes *json, struct rlhf_error *err)
{
    char a[40], b[40], c[40], d[40];

    if (r->type == RLHF_ROPE_PLAIN)
        return rlhf_bytes_printf(json, err, "null");
    if (rlhf_bytes_printf(json, err, "{ \"rope_type\": \"%s\", \"factor\": %s", rope_types[r->type],
                          number_text(r->factor, false, a)) < 0)
        return -1;
    if (r->type == RLHF_ROPE_LLAMA3)
        return rlhf_bytes_printf(json, err, ", \"low_freq_factor\": %s, \"high_freq_factor\": %s, "
                                 "\"original_max_position_embeddings\": %u }", number_text(r->low_frequency, false, b),
                                 number_text(r->high_frequency, false, c), r->original);
    if (r->type == RLHF_ROPE_YARN)
        return rlhf_bytes_printf(json, err, ", \"original_max_position_embeddings\": %u, \"beta_fast\": %s, "
                                 "\"beta_slow\": %s, \"attention_factor\": %s%s }", r->original,
                                 number_text(r->beta_fast, false, b), number_text(r->beta_slow, false, c),
                                 number_text(r->amplitude, false, d), r->whole ? "" : ", \"truncate\": false");
    return rlhf_bytes_printf(json, err, " }");
}

static int print_layer_types(const struct rlhf_model_config *c, struct rlhf_bytes *json, struct rlhf_error *err)
{
    for (uint32_t i = 0; i < c->layers; i++)
        if (rlhf_bytes_printf(json, err, "%s\"%s_attention\"", i ? ", " : "[",
                              rlhf_model_config_window(c, i) ? "sliding" : "full") < 0)
            return -1;
    return rlhf_bytes_printf(json, err, "]");
}

static uint32_t first_windowed(const struct rlhf_model_config *c)
{
    uint32_t i = 0;

    while (i < c->layers && !rlhf_model_config_window(c, i))
        i++;
    return i;
}

/* Mistral has no layer_types: every layer is alike. */
static bool is_printed(const struct rlhf_model_config *c, const struct setting *s)
{
    return s->families & 1U << c->family && s->kind < LABELS && !(s->how & READ_ONLY)
           && !(s->kind == LAYER_TYPES && family_of(c)->windows == WINDOW_EVERY);
}

static int print_value(const struct rlhf_model_config *c, const struct setting *s, struct rlhf_bytes *json,
                       struct rlhf_error *err)
{
    const char *field = (const char *)c + s->offset;
    char text[40];

    switch (s->kind) {
    case SIZE:
    case SIZE_NULL:
        return rlhf_bytes_printf(json, err, "%u", *(const uint32_t *)field);
    case SCALAR:
        return rlhf_bytes_printf(json, err, "%u", c->query_scalar ? c->query_scalar : c->head_size);
    case NUMBER:
        return rlhf_bytes_printf(json, err, "%s", float_text(*(const float *)field, text));
    case CAP:
        return rlhf_bytes_printf(json, err, "%s", *(const float *)field > 0 ? float_text(*(const float *)field, text)
                                                                           : "null");
    case PART:
        return rlhf_bytes_printf(json, err, "%s", number_text(*(const double *)field, false, text));
    case ID:
        return print_id(*(const int32_t *)field, json, err);
    case IDS:
        return print_ids(c, json, err);
    case FLAG:
    case BIASES:
        return rlhf_bytes_printf(json, err, "%s", *(const bool *)field ? "true" : "false");
    case UNSCALED:
        return rlhf_bytes_printf(json, err, "%s", c->query_scalar ? "false" : "true");
    case ACTIVATION:
        return rlhf_bytes_printf(json, err, "\"%s\"", activations[c->activation][c->activation_name]);
    case ROPE:
        return print_rope(&c->rope, json, err);
    case WINDOW:
        /* transformers wants Gemma 2 to have one even where no layer uses it */
        if (!c->window && family_of(c)->windows != WINDOW_EVEN)
            return rlhf_bytes_printf(json, err, "null");
        return rlhf_bytes_printf(json, err, "%u", c->window ? c->window : family_of(c)->window);
    case USE_WINDOW:
        return rlhf_bytes_printf(json, err, "%s", c->window ? "true" : "false");
    case FIRST_LAYER:
        return rlhf_bytes_printf(json, err, "%u", first_windowed(c));
    default:
        return print_layer_types(c, json, err);
    }
}

int rlhf_model_config_write(const struct rlhf_model_config *c, float bias, struct rlhf_bytes *json,
                            struct rlhf_error *err)
{
    bool scalar = c->head == RLHF_HEAD_SCALAR;
    char text[40];

    if (rlhf_model_config_check(c, err) < 0
        || rlhf_bytes_printf(json, err, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n  \"model_type\": \"%s\",\n",
                             scalar ? family_of(c)->classifier : family_of(c)->causal, family_of(c)->style) < 0)
        return -1;
    for (size_t i = 0; i < SETTINGS; i++)
        if (is_printed(c, &settings[i])
            && (rlhf_bytes_printf(json, err, "  \"%s\": ", settings[i].key) < 0
                || print_value(c, &settings[i], json, err) < 0 || rlhf_bytes_printf(json, err, ",\n") < 0))
            return -1;
    if (scalar && rlhf_bytes_printf(json, err, "  \"id2label\": {\n    \"0\": \"LABEL_0\"\n  },\n"
                                    "  \"label2id\": {\n    \"LABEL_0\": 0\n  },\n"
                                    "  \"rlhf_reward_bias\": %s,\n", float_text(bias, text)) < 0)
        return -1;
    if (c->products != RLHF_PRODUCTS_F32
        && rlhf_bytes_printf(json, err, "  \"rlhf_products\": \"%s\",\n", rlhf_products_name(c->products)) < 0)
        return -1;
    /* Dropout is off here; transformers would assume some. */
    if (c->family == RLHF_GPT2 && rlhf_bytes_printf(json, err, "  \"attn_pdrop\": 0.0,\n  \"embd_pdrop\": 0.0,\n"
                                                    "  \"resid_pdrop\": 0.0,\n") < 0)
        return -1;
    return rlhf_bytes_printf(json, err, "  \"torch_dtype\": \"float32\",\n  \"use_cache\": true\n}\n");
}

int rlhf_model_config_print(const struct rlhf_model_config *c, struct rlhf_bytes *json, struct rlhf_error *err)
{
    return rlhf_model_config_write(c, 0, json, err);
}
