/* adapter_config.c - PEFT's adapter_config.json: which modules, of what rank and scale. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "model/adapter_internal.h"

enum { MATCH_LIMIT = 10000, MAX_PATTERN = 1000, MAX_PATTERNS = 256, MAX_LIST = 10000 };

struct rlhf_adapter_config {
    json_t *root;
    int64_t rank;
    double alpha;
    bool rslora;
    /* borrowed of root; NULL where not given */
    const json_t *targets, *excluded, *layers, *rank_pattern, *alpha_pattern, *saved;
};

/* What a key may hold: any value of no consequence; what means "off"; or it is read below. */
enum kind { PASSED, OFF, READ };

static const struct setting {
    const char *key;
    enum kind kind;
} settings[] = {
    { "r", READ }, { "lora_alpha", READ }, { "use_rslora", READ }, { "target_modules", READ }, { "exclude_modules", READ },
    { "layers_to_transform", READ }, { "rank_pattern", READ }, { "alpha_pattern", READ }, { "modules_to_save", READ },
    { "peft_type", READ }, { "task_type", READ }, { "bias", READ }, { "init_lora_weights", READ }, { "lora_dropout", READ },
    { "fan_in_fan_out", READ },
    /* where it comes from, how it is loaded elsewhere */
    { "auto_mapping", PASSED }, { "base_model_name_or_path", PASSED }, { "revision", PASSED }, { "inference_mode", PASSED },
    { "peft_version", PASSED }, { "megatron_core", PASSED }, { "qalora_group_size", PASSED }, { "runtime_config", PASSED },
    /* other ways of adapting */
    { "layers_pattern", OFF }, { "use_dora", OFF }, { "use_qalora", OFF }, { "use_bdlora", OFF }, { "lora_bias", OFF },
    { "layer_replication", OFF }, { "loftq_config", OFF }, { "eva_config", OFF }, { "corda_config", OFF },
    { "lora_ga_config", OFF }, { "kasa_config", OFF }, { "velora_config", OFF }, { "monteclora_config", OFF },
    { "arrow_config", OFF }, { "megatron_config", OFF }, { "alora_invocation_tokens", OFF }, { "target_parameters", OFF },
    { "trainable_token_indices", OFF }, { "ensure_weight_tying", OFF },
};

static int refuse(const char *key, const json_t *value, const char *wanted, struct rlhf_error *err)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    rlhf_fail(err, RLHF_REJECT, "%s: %.60s is not supported, must be %s", key, text ? text : "nothing", wanted);
    free(text);
    return -1;
}

static bool is_off(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0)
           || (json_is_array(v) && json_array_size(v) == 0);
}

static int check_keys(json_t *root, struct rlhf_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value) {
        size_t i = 0, count = sizeof settings / sizeof *settings;

        while (i < count && strcmp(settings[i].key, key) != 0)
            i++;
        if (i == count)
            return rlhf_fail(err, RLHF_REJECT, "%.60s: no such setting is known", key);
        if (settings[i].kind == OFF && !is_off(value))
            return refuse(key, value, "off (null, false or empty)", err);
    }
    return 0;
}

/* Names: null, one string (a pattern), or a list. */
static int read_names(json_t *root, const char *key, const json_t **out, struct rlhf_error *err)
{
    const json_t *v = json_object_get(root, key);

    *out = NULL;
    if (!v || json_is_null(v))
        return 0;
    if (json_is_string(v) && json_string_length(v) > 0 && json_string_length(v) <= MAX_PATTERN) {
        *out = v;
        return 0;
    }
    if (!json_is_array(v) || json_array_size(v) > MAX_LIST)
        return refuse(key, v, "a list of names or a pattern", err);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i)))
            return refuse(key, v, "a list of names", err);
    *out = json_array_size(v) ? v : NULL;
    return 0;
}

static int read_pattern_map(json_t *root, const char *key, bool ranks, const json_t **out, struct rlhf_error *err)
{
    json_t *v = json_object_get(root, key), *value;
    const char *pattern;

    *out = v && !is_off(v) ? v : NULL;
    if (!*out)
        return 0;
    if (!json_is_object(v))
        return refuse(key, v, "an object of patterns", err);
    if (json_object_size(v) > MAX_PATTERNS)
        return rlhf_fail(err, RLHF_REJECT, "%s: %zu patterns; at most %d are supported", key, json_object_size(v),
                         MAX_PATTERNS);
    json_object_foreach(v, pattern, value) {
        if (strlen(pattern) > MAX_PATTERN)
            return rlhf_fail(err, RLHF_REJECT, "%s: a pattern is longer than %d bytes", key, MAX_PATTERN);
        if (ranks ? !json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > RLHF_ADAPTER_RANK
                  : !json_is_number(value) || !isfinite(json_number_value(value)))
            return refuse(key, v, ranks ? "ranks from 1 to 4096" : "numbers", err);
    }
    return 0;
}

/* Initial values that are replaced by the file's; those that change the base model are not among them. */
static int check_init(const json_t *v, struct rlhf_error *err)
{
    const char *word = json_string_value(v);

    if (!v || json_is_null(v) || json_is_boolean(v)
        || (word && (strcmp(word, "gaussian") == 0 || strcmp(word, "eva") == 0 || strcmp(word, "orthogonal") == 0)))
        return 0;
    return refuse("init_lora_weights", v, "true, false, \"gaussian\", \"eva\" or \"orthogonal\": others change the base model "
                  "(PEFT can convert such an adapter)", err);
}

static int check_word(json_t *root, const char *key, const char *a, const char *b, bool optional, struct rlhf_error *err)
{
    const json_t *v = json_object_get(root, key);
    const char *word = json_string_value(v);
    char wanted[60];

    if ((optional && (!v || json_is_null(v))) || (word && (strcmp(word, a) == 0 || (b && strcmp(word, b) == 0))))
        return 0;
    snprintf(wanted, sizeof wanted, b ? "\"%s\" or \"%s\"" : "\"%s\"", a, b ? b : "");
    return refuse(key, v, wanted, err);
}

static int read_flag(json_t *root, const char *key, bool *out, struct rlhf_error *err)
{
    const json_t *v = json_object_get(root, key);

    *out = json_is_true(v);
    return !v || json_is_null(v) || json_is_boolean(v) ? 0 : refuse(key, v, "true or false", err);
}

static int read_numbers(struct rlhf_adapter_config *c, struct rlhf_error *err)
{
    const json_t *rank = json_object_get(c->root, "r"), *alpha = json_object_get(c->root, "lora_alpha");
    const json_t *dropout = json_object_get(c->root, "lora_dropout");

    c->rank = rank ? json_integer_value(rank) : 8; /* PEFT's defaults */
    c->alpha = alpha ? json_number_value(alpha) : 8;
    if (rank && (!json_is_integer(rank) || c->rank < 1 || c->rank > RLHF_ADAPTER_RANK))
        return refuse("r", rank, "a whole number from 1 to 4096", err);
    if (alpha && (!json_is_number(alpha) || !isfinite(c->alpha)))
        return refuse("lora_alpha", alpha, "a number", err);
    if (dropout && !(json_is_number(dropout) && json_number_value(dropout) >= 0 && json_number_value(dropout) <= 1))
        return refuse("lora_dropout", dropout, "a number from 0 to 1", err);
    return 0;
}

static int read_layers(struct rlhf_adapter_config *c, struct rlhf_error *err)
{
    const json_t *v = json_object_get(c->root, "layers_to_transform");

    c->layers = v && !is_off(v) ? v : NULL;
    if (!c->layers || json_is_integer(v))
        return 0;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_integer(json_array_get(v, i)))
            return refuse("layers_to_transform", v, "a layer's number or a list of them", err);
    return json_is_array(v) ? 0 : refuse("layers_to_transform", v, "a layer's number or a list of them", err);
}

static int read_all(struct rlhf_adapter_config *c, struct rlhf_error *err)
{
    bool fan;

    if (check_keys(c->root, err) < 0 || check_word(c->root, "peft_type", "LORA", NULL, false, err) < 0
        || check_word(c->root, "task_type", "CAUSAL_LM", "SEQ_CLS", true, err) < 0
        || check_word(c->root, "bias", "none", NULL, true, err) < 0
        || check_init(json_object_get(c->root, "init_lora_weights"), err) < 0 || read_numbers(c, err) < 0
        || read_flag(c->root, "use_rslora", &c->rslora, err) < 0
        || read_flag(c->root, "fan_in_fan_out", &fan, err) < 0 /* how the base stores a matrix: the table knows */
        || read_names(c->root, "target_modules", &c->targets, err) < 0
        || read_names(c->root, "exclude_modules", &c->excluded, err) < 0
        || read_names(c->root, "modules_to_save", &c->saved, err) < 0 || read_layers(c, err) < 0
        || read_pattern_map(c->root, "rank_pattern", true, &c->rank_pattern, err) < 0
        || read_pattern_map(c->root, "alpha_pattern", false, &c->alpha_pattern, err) < 0)
        return -1;
    if (!c->targets)
        return rlhf_fail(err, RLHF_REJECT, "target_modules: names no module");
    if (c->saved && !json_is_array(c->saved))
        return refuse("modules_to_save", c->saved, "a list of names", err);
    return 0;
}

struct rlhf_adapter_config *rlhf_adapter_config_parse(const char *json, size_t size, struct rlhf_error *err)
{
    struct rlhf_adapter_config *c = calloc(1, sizeof *c);
    json_error_t wrong;

    if (!c) {
        rlhf_fail(err, RLHF_FULL, "no memory for a configuration");
        return NULL;
    }
    if (!(c->root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &wrong)))
        rlhf_fail(err, RLHF_REJECT, "line %d: %s", wrong.line, wrong.text);
    else if (!json_is_object(c->root))
        rlhf_fail(err, RLHF_REJECT, "it is no JSON object");
    else if (read_all(c, err) == 0)
        return c;
    rlhf_adapter_config_free(c);
    return NULL;
}

void rlhf_adapter_config_free(struct rlhf_adapter_config *c)
{
    if (!c)
        return;
    json_decref(c->root);
    free(c);
}

/* ---- matching -------------------------------------------------------------------------------------- */

/* Python's regular expressions by PCRE2, whose language is the same for what names are matched with. All of module when
 * whole, else as get_pattern_key() of PEFT has it: a last part of it, behind a dot. */
static int match_pattern(const char *key, const char *pattern, const char *module, bool whole, bool *matched,
                         struct rlhf_error *err)
{
    char text[MAX_PATTERN + 40];
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_match_data *data = NULL;
    pcre2_code *code;
    PCRE2_SIZE where;
    int number, rc = -1;

    snprintf(text, sizeof text, whole ? "^(?:%s)\\z" : "^(?:.*\\.)?(?:%s)\\z", pattern);
    code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &number, &where, NULL);
    if (!code || !limits || !(data = pcre2_match_data_create(1, NULL))) {
        rlhf_fail(err, RLHF_REJECT, "%s: '%.60s' does not compile as a pattern", key, pattern);
        goto out;
    }
    pcre2_set_match_limit(limits, MATCH_LIMIT);
    pcre2_set_depth_limit(limits, MATCH_LIMIT);
    pcre2_set_heap_limit(limits, 1024);
    number = pcre2_match(code, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, 0, data, limits);
    *matched = number >= 0;
    rc = number >= 0 || number == PCRE2_ERROR_NOMATCH
             ? 0
             : rlhf_fail(err, RLHF_REJECT, "%s: '%.60s' takes too long to match", key, pattern);
out:
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
    return rc;
}

static bool ends_with_name(const char *module, const char *name)
{
    size_t whole = strlen(module), length = strlen(name);

    return whole >= length && strcmp(module + whole - length, name) == 0
           && (whole == length || module[whole - length - 1] == '.');
}

static int match_names(const char *key, const json_t *names, const char *module, bool *matched, struct rlhf_error *err)
{
    *matched = false;
    if (!names)
        return 0;
    if (json_is_string(names))
        return match_pattern(key, json_string_value(names), module, true, matched, err);
    for (size_t i = 0; i < json_array_size(names) && !*matched; i++)
        *matched = ends_with_name(module, json_string_value(json_array_get(names, i)));
    return 0;
}

/* The value of the first pattern that the module has; NULL: none. */
static int match_map(const char *key, const json_t *map, const char *module, const json_t **out, struct rlhf_error *err)
{
    const char *pattern;
    json_t *value;

    *out = NULL;
    json_object_foreach((json_t *)map, pattern, value) {
        bool matched;

        if (match_pattern(key, pattern, module, false, &matched, err) < 0)
            return -1;
        if (matched) {
            *out = value;
            return 0;
        }
    }
    return 0;
}

static bool has_layer(const json_t *layers, uint32_t layer)
{
    if (!layers || json_is_integer(layers))
        return !layers || json_integer_value(layers) == layer;
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (json_integer_value(json_array_get(layers, i)) == layer)
            return true;
    return false;
}

int rlhf_adapter_config_module(const struct rlhf_adapter_config *c, const char *module, uint32_t layer, bool product,
                               bool *targeted, uint32_t *rank, float *scale, struct rlhf_error *err)
{
    const char *word = json_string_value(c->targets);
    const json_t *own_rank, *own_alpha;
    bool excluded;
    double alpha;

    *targeted = false;
    if (match_names("exclude_modules", c->excluded, module, &excluded, err) < 0)
        return -1;
    if (excluded)
        return 0;
    if (word && strcasecmp(word, "all-linear") == 0)
        *targeted = product;
    else if (match_names("target_modules", c->targets, module, targeted, err) < 0)
        return -1;
    if (*targeted && !product)
        return rlhf_fail(err, RLHF_REJECT, "target_modules: %s is targeted, but only the products of the layers can be", module);
    *targeted = *targeted && has_layer(c->layers, layer);
    if (!*targeted)
        return 0;
    if (match_map("rank_pattern", c->rank_pattern, module, &own_rank, err) < 0
        || match_map("alpha_pattern", c->alpha_pattern, module, &own_alpha, err) < 0)
        return -1;
    *rank = (uint32_t)(own_rank ? json_integer_value(own_rank) : c->rank);
    alpha = own_alpha ? json_number_value(own_alpha) : c->alpha;
    *scale = (float)(c->rslora ? alpha / sqrt(*rank) : alpha / *rank);
    return isfinite(*scale) ? 0 : rlhf_fail(err, RLHF_REJECT, "lora_alpha: %g is too large", alpha);
}

int rlhf_adapter_config_saved(const struct rlhf_adapter_config *c, const struct rlhf_model *m, bool *head,
                              struct rlhf_error *err)
{
    *head = false;
    for (size_t i = 0; i < json_array_size(c->saved); i++) {
        const char *name = json_string_value(json_array_get(c->saved, i));

        if (strcmp(name, "score") == 0 && m->config.head == RLHF_HEAD_SCALAR)
            *head = true;
        else if (strcmp(name, "classifier") != 0) /* PEFT names it beside score; no model of ours has one */
            return rlhf_fail(err, RLHF_REJECT, "modules_to_save: '%.60s' is not supported; a reward model's \"score\" is", name);
    }
    return 0;
}
