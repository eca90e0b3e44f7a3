#include "model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "model/internal.h"

enum { CONFIG_BYTES = 1 << 20 }; /* longest config.json accepted */

/* ---- the two families ------------------------------------------------------------------------------ */

/* All that differs between the families as far as their shape goes; names of tensors are in table.c. */
static const struct family {
    const char *style, *causal, *classifier; /* model_type, and the two architectures */
    enum rlhf_norm norm;
    enum rlhf_position position;
    enum rlhf_mlp mlp;
    bool bias, tied;
    float norm_epsilon;
    int32_t begin_id, end_id; /* what transformers assumes where config.json is silent */
} families[] = {
    { "gpt2", "GPT2LMHeadModel", "GPT2ForSequenceClassification", RLHF_NORM_LAYER, RLHF_POSITION_LEARNED,
      RLHF_MLP_GELU_TANH, true, true, 1e-5F, 50256, 50256 },
    { "llama", "LlamaForCausalLM", "LlamaForSequenceClassification", RLHF_NORM_RMS, RLHF_POSITION_ROTARY,
      RLHF_MLP_SWIGLU, false, false, 1e-6F, 1, 2 },
};
enum { FAMILIES = sizeof families / sizeof families[0] };

static const struct family *family_by_name(const char *style)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].style, style) == 0)
            return &families[i];
    return NULL;
}

static const struct family *family_of(const struct rlhf_model_config *c)
{
    return &families[c->norm == RLHF_NORM_RMS];
}

int rlhf_model_config_style(struct rlhf_model_config *c, const char *style, struct rlhf_error *err)
{
    const struct family *f = family_by_name(style);

    if (!f)
        return rlhf_fail(err, RLHF_REJECT, "style \"%.40s\" is not known; use gpt2 or llama", style);
    *c = (struct rlhf_model_config){
        .norm = f->norm, .position = f->position, .mlp = f->mlp, .head = RLHF_HEAD_LM,
        .norm_epsilon = f->norm_epsilon, .rope_theta = 10000, .tied = f->tied, .bias = f->bias,
        .begin_id = -1, .end_id = -1, .pad_id = -1,
    };
    return 0;
}

/* ---- the rules ------------------------------------------------------------------------------------- */

static int check_family(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    const struct family *f = family_of(c);
    const char *field = c->position != f->position ? "position" : c->mlp != f->mlp ? "mlp"
                        : c->bias != f->bias ? "bias" : NULL;

    if (c->norm != RLHF_NORM_LAYER && c->norm != RLHF_NORM_RMS)
        field = "norm";
    if (c->head != RLHF_HEAD_LM && c->head != RLHF_HEAD_SCALAR)
        field = "head";
    if (field)
        return rlhf_fail(err, RLHF_REJECT, "%s: not a value that goes with a model of %s style", field, f->style);
    return 0;
}

static int check_ranges(const struct rlhf_model_config *c, struct rlhf_error *err)
{
    const struct {
        const char *field;
        uint32_t value, most;
    } ranges[] = {
        { "layers", c->layers, 1024 },        { "heads", c->heads, 1024 },       { "kv_heads", c->kv_heads, 1024 },
        { "head_size", c->head_size, 1024 },  { "channels", c->channels, 65536 }, { "mlp_size", c->mlp_size, 1 << 20 },
        { "vocabulary", c->vocabulary, 1 << 24 }, { "context", c->context, 1 << 24 },
    };
    const struct {
        const char *field;
        int32_t value;
    } ids[] = { { "begin_id", c->begin_id }, { "end_id", c->end_id }, { "pad_id", c->pad_id } };

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (ranges[i].value < 1 || ranges[i].value > ranges[i].most)
            return rlhf_fail(err, RLHF_REJECT, "%s: %u is not between 1 and %u", ranges[i].field, ranges[i].value,
                             ranges[i].most);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].value < -1 || ids[i].value >= (int64_t)c->vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "%s: %d is neither -1 (none) nor below the vocabulary of %u",
                             ids[i].field, ids[i].value, c->vocabulary);
    if (!(c->norm_epsilon > 0 && c->norm_epsilon < 1))
        return rlhf_fail(err, RLHF_REJECT, "norm_epsilon: %g is not between 0 and 1", (double)c->norm_epsilon);
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
        return rlhf_fail(err, RLHF_REJECT, "kv_heads: gpt2 style has no grouped queries, use %u", c->heads);
    if (c->position == RLHF_POSITION_ROTARY && c->head_size % 2 != 0)
        return rlhf_fail(err, RLHF_REJECT, "head_size: rotary positions need an even one, not %u", c->head_size);
    if (c->position == RLHF_POSITION_ROTARY && !(c->rope_theta >= 1 && isfinite(c->rope_theta)))
        return rlhf_fail(err, RLHF_REJECT, "rope_theta: %g is not at least 1", (double)c->rope_theta);
    return 0;
}

/* ---- config.json: the settings known -------------------------------------------------------------- */

/* What a key may hold. All but the first four must state what this program does anyway. */
enum kind {
    SIZE,      /* a positive integer, into a uint32_t                               */
    SIZE_NULL, /* the same, or null: derived later                                  */
    NUMBER,    /* into a float                                                      */
    ID,        /* a token id, null, or a list of one, into an int32_t               */
    FLAG,      /* into a bool                                                       */
    IS_TRUE,
    IS_FALSE,
    IS_ONE,
    IS_NULL,
    IS_WORD,   /* one of the words in `words`                                       */
    ROPE,      /* null, or an object that says "default"; may hold rope_theta       */
    LABELS,    /* id2label or label2id: one entry when the head is a scalar         */
    BIAS,      /* rlhf_reward_bias                                                  */
    ANYTHING,  /* changes nothing that this program computes                        */
};

struct setting {
    const char *key;
    enum kind kind;
    size_t offset;     /* in struct rlhf_model_config */
    const char *words; /* " word word " */
    bool required;
};
#define FIELD(name) offsetof(struct rlhf_model_config, name)

/* Any model. Dropout is off in rlhfd (the recipe's choice), so what a config says of it is no matter; the
 * summary_* keys belong to a head that is not built. */
static const struct setting common_settings[] = {
    { "architectures", ANYTHING, 0, NULL, false }, /* read first, by parse_head() */
    { "model_type", ANYTHING, 0, NULL, true },     /* read first */
    { "vocab_size", SIZE, FIELD(vocabulary), NULL, true },
    { "bos_token_id", ID, FIELD(begin_id), NULL, false },
    { "eos_token_id", ID, FIELD(end_id), NULL, false },
    { "pad_token_id", ID, FIELD(pad_id), NULL, false },
    { "tie_word_embeddings", FLAG, FIELD(tied), NULL, false },
    { "dtype", IS_WORD, 0, " float32 float16 bfloat16 ", false },
    { "torch_dtype", IS_WORD, 0, " float32 float16 bfloat16 ", false },
    { "num_labels", LABELS, 0, NULL, false },
    { "_num_labels", LABELS, 0, NULL, false }, /* its older name */
    { "id2label", LABELS, 0, NULL, false },
    { "label2id", LABELS, 0, NULL, false },
    { "rlhf_reward_bias", BIAS, 0, NULL, false },
    { "add_cross_attention", IS_FALSE, 0, NULL, false },
    { "is_encoder_decoder", IS_FALSE, 0, NULL, false },
    { "cross_attention_hidden_size", IS_NULL, 0, NULL, false },
    { "quantization_config", IS_NULL, 0, NULL, false },
    { "pruned_heads", IS_NULL, 0, NULL, false },
    { "problem_type", ANYTHING, 0, NULL, false },
    { "transformers_version", ANYTHING, 0, NULL, false },
    { "_name_or_path", ANYTHING, 0, NULL, false },
    { "_attn_implementation_autoset", ANYTHING, 0, NULL, false },
    { "initializer_range", ANYTHING, 0, NULL, false },
    { "use_cache", ANYTHING, 0, NULL, false },
    { "is_decoder", ANYTHING, 0, NULL, false },
    { "chunk_size_feed_forward", ANYTHING, 0, NULL, false },
    { "output_attentions", ANYTHING, 0, NULL, false },
    { "output_hidden_states", ANYTHING, 0, NULL, false },
    { "return_dict", ANYTHING, 0, NULL, false },
    { "gradient_checkpointing", ANYTHING, 0, NULL, false },
    { "task_specific_params", ANYTHING, 0, NULL, false },
    { "finetuning_task", ANYTHING, 0, NULL, false },
};

static const struct setting gpt2_settings[] = {
    { "n_embd", SIZE, FIELD(channels), NULL, true },
    { "n_layer", SIZE, FIELD(layers), NULL, true },
    { "n_head", SIZE, FIELD(heads), NULL, true },
    { "n_positions", SIZE, FIELD(context), NULL, true },
    { "n_ctx", ANYTHING, 0, NULL, false }, /* an older name of n_positions that transformers does not read */
    { "n_inner", SIZE_NULL, FIELD(mlp_size), NULL, false },
    { "layer_norm_epsilon", NUMBER, FIELD(norm_epsilon), NULL, false },
    { "activation_function", IS_WORD, 0, " gelu_new gelu_pytorch_tanh ", false },
    { "scale_attn_weights", IS_TRUE, 0, NULL, false },
    { "scale_attn_by_inverse_layer_idx", IS_FALSE, 0, NULL, false },
    { "reorder_and_upcast_attn", ANYTHING, 0, NULL, false }, /* the same product, in fp32, as here */
    { "attn_pdrop", ANYTHING, 0, NULL, false },
    { "embd_pdrop", ANYTHING, 0, NULL, false },
    { "resid_pdrop", ANYTHING, 0, NULL, false },
    { "summary_activation", ANYTHING, 0, NULL, false },
    { "summary_first_dropout", ANYTHING, 0, NULL, false },
    { "summary_proj_to_labels", ANYTHING, 0, NULL, false },
    { "summary_type", ANYTHING, 0, NULL, false },
    { "summary_use_proj", ANYTHING, 0, NULL, false },
};

static const struct setting llama_settings[] = {
    { "hidden_size", SIZE, FIELD(channels), NULL, true },
    { "num_hidden_layers", SIZE, FIELD(layers), NULL, true },
    { "num_attention_heads", SIZE, FIELD(heads), NULL, true },
    { "num_key_value_heads", SIZE_NULL, FIELD(kv_heads), NULL, false },
    { "head_dim", SIZE_NULL, FIELD(head_size), NULL, false },
    { "intermediate_size", SIZE, FIELD(mlp_size), NULL, true },
    { "max_position_embeddings", SIZE, FIELD(context), NULL, true },
    { "rms_norm_eps", NUMBER, FIELD(norm_epsilon), NULL, false },
    { "rope_theta", NUMBER, FIELD(rope_theta), NULL, false },
    { "rope_scaling", ROPE, 0, NULL, false },
    { "rope_parameters", ROPE, 0, NULL, false },
    { "hidden_act", IS_WORD, 0, " silu swish ", false },
    { "attention_bias", IS_FALSE, 0, NULL, false },
    { "mlp_bias", IS_FALSE, 0, NULL, false },
    { "pretraining_tp", IS_ONE, 0, NULL, false },
    { "attention_dropout", ANYTHING, 0, NULL, false },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct setting *find_setting(const struct family *f, const char *key)
{
    const struct setting *own = f == &families[0] ? gpt2_settings : llama_settings;
    size_t count = f == &families[0] ? COUNT(gpt2_settings) : COUNT(llama_settings);

    for (size_t i = 0; i < count; i++)
        if (strcmp(own[i].key, key) == 0)
            return &own[i];
    for (size_t i = 0; i < COUNT(common_settings); i++)
        if (strcmp(common_settings[i].key, key) == 0)
            return &common_settings[i];
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

/* v5 of transformers writes {"rope_type": "default", "rope_theta": ...}, v4 null or {"type": ...}. */
static int read_rope(struct rlhf_model_config *c, const char *key, const json_t *value, struct rlhf_error *err)
{
    const char *name;
    json_t *member;

    if (json_is_null(value))
        return 0;
    if (!json_is_object(value))
        return unsupported(key, value, "null or an object", err);
    json_object_foreach((json_t *)value, name, member) {
        if (strcmp(name, "rope_theta") == 0 && json_is_number(member))
            c->rope_theta = (float)json_number_value(member);
        else if ((strcmp(name, "rope_type") != 0 && strcmp(name, "type") != 0) || !json_is_string(member)
                 || strcmp(json_string_value(member), "default") != 0)
            return unsupported(key, value, "of rope_type \"default\"", err);
    }
    return 0;
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

struct reading {
    struct rlhf_model_config *c;
    float bias;
    bool one_label;
};

/* Settings that hold a value: into c. */
static int read_value(struct reading *r, const struct setting *s, const json_t *value, struct rlhf_error *err)
{
    char *field = (char *)r->c + s->offset;

    switch (s->kind) {
    case SIZE:
    case SIZE_NULL:
        if (s->kind == SIZE_NULL && json_is_null(value))
            return 0;
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > UINT32_MAX)
            return unsupported(s->key, value, "a positive integer", err);
        *(uint32_t *)field = (uint32_t)json_integer_value(value);
        return 0;
    case NUMBER:
        if (!json_is_number(value) || !isfinite((float)json_number_value(value)))
            return unsupported(s->key, value, "a number", err);
        *(float *)field = (float)json_number_value(value);
        return 0;
    case ID:
        return read_id(s, value, (int32_t *)field, err);
    case FLAG:
        if (!json_is_boolean(value))
            return unsupported(s->key, value, "true or false", err);
        *(bool *)field = json_is_true(value);
        return 0;
    case BIAS:
        if (!json_is_number(value) || !isfinite((float)json_number_value(value)))
            return unsupported(s->key, value, "a number", err);
        r->bias = (float)json_number_value(value);
        return 0;
    case ROPE:
        return read_rope(r->c, s->key, value, err);
    case LABELS:
        return read_labels(r->c, s->key, value, &r->one_label, err);
    default:
        return 0;
    }
}

/* Settings that hold a choice of which only one is built. */
static int read_choice(const struct setting *s, const json_t *value, struct rlhf_error *err)
{
    const char *word = json_string_value(value);
    char padded[64];

    switch (s->kind) {
    case IS_TRUE:
        return json_is_true(value) ? 0 : unsupported(s->key, value, "true", err);
    case IS_FALSE:
        return json_is_false(value) || json_is_null(value) ? 0 : unsupported(s->key, value, "false", err);
    case IS_ONE:
        return json_is_integer(value) && json_integer_value(value) == 1 ? 0 : unsupported(s->key, value, "1", err);
    case IS_NULL:
        return json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0)
                   ? 0 : unsupported(s->key, value, "null", err);
    case IS_WORD:
        snprintf(padded, sizeof padded, " %.60s ", word ? word : "?");
        return word && strstr(s->words, padded) ? 0 : unsupported(s->key, value, s->words, err);
    default:
        return 0;
    }
}

static int parse_head(struct rlhf_model_config *c, const struct family *f, const json_t *architectures,
                      struct rlhf_error *err)
{
    const char *name = json_string_value(json_array_get(architectures, 0));

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
    return unsupported("architectures", architectures, f == &families[0]
                       ? "[\"GPT2LMHeadModel\"] or [\"GPT2ForSequenceClassification\"]"
                       : "[\"LlamaForCausalLM\"] or [\"LlamaForSequenceClassification\"]", err);
}

static int parse_settings(struct reading *r, const struct family *f, json_t *root, struct rlhf_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value) {
        const struct setting *s = find_setting(f, key);

        if (!s)
            return rlhf_fail(err, RLHF_REJECT, "%.60s: not a setting of a %s model that is known here", key,
                             f->style);
        if (read_value(r, s, value, err) < 0 || read_choice(s, value, err) < 0)
            return -1;
    }
    for (int own = 0; own < 2; own++) {
        const struct setting *list = !own ? common_settings : f == &families[0] ? gpt2_settings : llama_settings;
        size_t count = !own ? COUNT(common_settings) : f == &families[0] ? COUNT(gpt2_settings)
                       : COUNT(llama_settings);

        for (size_t i = 0; i < count; i++)
            if (list[i].required && !json_object_get(root, list[i].key))
                return rlhf_fail(err, RLHF_REJECT, "%s: missing", list[i].key);
    }
    return 0;
}

/* What follows from other settings. */
static int derive(struct rlhf_model_config *c, const struct family *f, json_t *root, struct rlhf_error *err)
{
    if (!c->kv_heads)
        c->kv_heads = c->heads;
    if (!c->head_size) {
        if (c->channels % c->heads)
            return rlhf_fail(err, RLHF_REJECT, "%s: %u does not divide the width, %u",
                             f == &families[0] ? "n_head" : "num_attention_heads", c->heads, c->channels);
        c->head_size = c->channels / c->heads;
    }
    if (!c->mlp_size)
        c->mlp_size = c->channels > UINT32_MAX / 4 ? 0 : 4 * c->channels;
    /* transformers has ids of its own for a silent config.json; they may lie outside a small vocabulary */
    if (!json_object_get(root, "bos_token_id") && (uint32_t)f->begin_id < c->vocabulary)
        c->begin_id = f->begin_id;
    if (!json_object_get(root, "eos_token_id") && (uint32_t)f->end_id < c->vocabulary)
        c->end_id = f->end_id;
    return 0;
}

static int parse_root(struct reading *r, json_t *root, struct rlhf_error *err)
{
    const char *type = json_string_value(json_object_get(root, "model_type"));
    const struct family *f = type ? family_by_name(type) : NULL;

    if (!json_is_object(root))
        return rlhf_fail(err, RLHF_REJECT, "not a JSON object");
    if (!f)
        return rlhf_fail(err, RLHF_REJECT, "model_type: \"%.40s\" is not supported, must be gpt2 or llama",
                         type ? type : "(missing)");
    if (rlhf_model_config_style(r->c, f->style, err) < 0
        || parse_head(r->c, f, json_object_get(root, "architectures"), err) < 0
        || parse_settings(r, f, root, err) < 0)
        return -1;
    if (r->c->head == RLHF_HEAD_SCALAR && !r->one_label)
        return rlhf_fail(err, RLHF_REJECT, "id2label: missing; without it transformers assumes two labels, and a "
                         "reward model has one");
    if (derive(r->c, f, root, err) < 0)
        return -1;
    return rlhf_model_config_check(r->c, err);
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

/* The shortest text that reads back as the same float, and as a float rather than an integer. */
static const char *float_text(float value, char text[32])
{
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, 32, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    if (!strpbrk(text, ".en"))
        strcat(text, ".0");
    return text;
}

static const char *id_text(int32_t id, char text[16])
{
    if (id < 0)
        return "null";
    snprintf(text, 16, "%d", id);
    return text;
}

static int print_family(const struct rlhf_model_config *c, struct rlhf_bytes *json, struct rlhf_error *err)
{
    char epsilon[32], theta[32];

    if (c->norm == RLHF_NORM_LAYER)
        return rlhf_bytes_printf(json, err,
            "  \"activation_function\": \"gelu_new\",\n  \"attn_pdrop\": 0.0,\n  \"embd_pdrop\": 0.0,\n"
            "  \"resid_pdrop\": 0.0,\n  \"layer_norm_epsilon\": %s,\n  \"n_embd\": %u,\n  \"n_head\": %u,\n"
            "  \"n_inner\": %u,\n  \"n_layer\": %u,\n  \"n_positions\": %u,\n",
            float_text(c->norm_epsilon, epsilon), c->channels, c->heads, c->mlp_size, c->layers, c->context);
    return rlhf_bytes_printf(json, err,
        "  \"attention_bias\": false,\n  \"attention_dropout\": 0.0,\n  \"head_dim\": %u,\n"
        "  \"hidden_act\": \"silu\",\n  \"hidden_size\": %u,\n  \"intermediate_size\": %u,\n"
        "  \"max_position_embeddings\": %u,\n  \"mlp_bias\": false,\n  \"num_attention_heads\": %u,\n"
        "  \"num_hidden_layers\": %u,\n  \"num_key_value_heads\": %u,\n  \"rms_norm_eps\": %s,\n"
        "  \"rope_scaling\": null,\n  \"rope_theta\": %s,\n",
        c->head_size, c->channels, c->mlp_size, c->context, c->heads, c->layers, c->kv_heads,
        float_text(c->norm_epsilon, epsilon), float_text(c->rope_theta, theta));
}

int rlhf_model_config_write(const struct rlhf_model_config *c, float bias, struct rlhf_bytes *json,
                            struct rlhf_error *err)
{
    const struct family *f = family_of(c);
    bool scalar = c->head == RLHF_HEAD_SCALAR;
    char text[32], begin[16], end[16], pad[16];

    if (rlhf_model_config_check(c, err) < 0
        || rlhf_bytes_printf(json, err, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n  \"model_type\": \"%s\",\n",
                             scalar ? f->classifier : f->causal, f->style) < 0
        || print_family(c, json, err) < 0
        || (scalar && rlhf_bytes_printf(json, err, "  \"id2label\": {\n    \"0\": \"LABEL_0\"\n  },\n"
                                        "  \"label2id\": {\n    \"LABEL_0\": 0\n  },\n"
                                        "  \"rlhf_reward_bias\": %s,\n", float_text(bias, text)) < 0))
        return -1;
    return rlhf_bytes_printf(json, err,
        "  \"bos_token_id\": %s,\n  \"eos_token_id\": %s,\n  \"pad_token_id\": %s,\n"
        "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"float32\",\n  \"use_cache\": true,\n"
        "  \"vocab_size\": %u\n}\n",
        id_text(c->begin_id, begin), id_text(c->end_id, end), id_text(c->pad_id, pad), c->tied ? "true" : "false",
        c->vocabulary);
}

int rlhf_model_config_print(const struct rlhf_model_config *c, struct rlhf_bytes *json, struct rlhf_error *err)
{
    return rlhf_model_config_write(c, 0, json, err);
}
