#include "model/generation.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"

enum { MAX_FILE = 1 << 20 };

const struct rlhf_generation rlhf_generation_default = {
    .sampling = { .temperature = 1, .top_k = 50, .top_p = 1 }, .pad = -1,
};

enum kind { FLOAT, DOUBLE, COUNT, FLAG, ENDS, PAD, STOPS, PROMPT_LENGTH, PASSED, OFF };

#define AT(member) offsetof(struct rlhf_generation, member)

/* OFF: taken with this value (or null) alone, which changes nothing. */
static const struct setting {
    const char *key;
    enum kind kind;
    size_t offset;
    double least, most; /* FLOAT and DOUBLE */
    const char *off;
    bool params_only;
} settings[] = {
    { .key = "temperature", .kind = FLOAT, .offset = AT(sampling.temperature), .least = 1e-4, .most = 1e6 },
    { .key = "top_k", .kind = COUNT, .offset = AT(sampling.top_k) },
    { .key = "top_p", .kind = DOUBLE, .offset = AT(sampling.top_p), .least = 0, .most = 1 },
    { .key = "min_p", .kind = FLOAT, .offset = AT(sampling.min_p), .least = 0, .most = 1 },
    { .key = "typical_p", .kind = FLOAT, .offset = AT(sampling.typical_p), .least = 1e-30, .most = 1 },
    { .key = "repetition_penalty", .kind = FLOAT, .offset = AT(sampling.repetition_penalty), .least = 1e-4, .most = 1e4 },
    { .key = "no_repeat_ngram_size", .kind = COUNT, .offset = AT(sampling.no_repeat_ngram) },
    { .key = "min_new_tokens", .kind = COUNT, .offset = AT(sampling.min_new_tokens) },
    { .key = "max_new_tokens", .kind = COUNT, .offset = AT(sampling.max_new_tokens) },
    { .key = "do_sample", .kind = FLAG, .offset = AT(do_sample) },
    { .key = "eos_token_id", .kind = ENDS },
    { .key = "pad_token_id", .kind = PAD },
    { .key = "stop_strings", .kind = STOPS },
    { .key = "eos", .kind = ENDS, .params_only = true },
    { .key = "min_tokens_to_keep", .kind = COUNT, .offset = AT(sampling.min_tokens_to_keep), .params_only = true },
    { .key = "prompt_length", .kind = PROMPT_LENGTH, .params_only = true },
    /* what cannot change a completion */
    { .key = "bos_token_id", .kind = PASSED },
    { .key = "decoder_start_token_id", .kind = PASSED },
    { .key = "transformers_version", .kind = PASSED },
    { .key = "_from_model_config", .kind = PASSED },
    { .key = "_commit_hash", .kind = PASSED },
    { .key = "max_length", .kind = PASSED }, /* the number of new tokens is always said */
    { .key = "use_cache", .kind = PASSED },
    { .key = "cache_implementation", .kind = PASSED },
    { .key = "cache_config", .kind = PASSED },
    { .key = "prefill_chunk_size", .kind = PASSED },
    { .key = "compile_config", .kind = PASSED },
    { .key = "disable_compile", .kind = PASSED },
    { .key = "return_dict_in_generate", .kind = PASSED },
    { .key = "return_legacy_cache", .kind = PASSED },
    { .key = "output_attentions", .kind = PASSED },
    { .key = "output_hidden_states", .kind = PASSED },
    { .key = "output_scores", .kind = PASSED },
    { .key = "output_logits", .kind = PASSED },
    { .key = "renormalize_logits", .kind = PASSED }, /* moves scores, not probabilities */
    { .key = "length_penalty", .kind = PASSED },     /* of beams, which are refused */
    { .key = "early_stopping", .kind = PASSED },
    { .key = "low_memory", .kind = PASSED },
    { .key = "chat_format", .kind = PASSED }, /* of Qwen's first generation */
    { .key = "max_window_size", .kind = PASSED },
    /* what is not built */
    { .key = "num_beams", .kind = OFF, .off = "1" },
    { .key = "num_beam_groups", .kind = OFF, .off = "1" },
    { .key = "num_return_sequences", .kind = OFF, .off = "1" },
    { .key = "diversity_penalty", .kind = OFF, .off = "0" },
    { .key = "min_length", .kind = OFF, .off = "0" },
    { .key = "max_time", .kind = OFF },
    { .key = "penalty_alpha", .kind = OFF },
    { .key = "dola_layers", .kind = OFF },
    { .key = "top_h", .kind = OFF },
    { .key = "epsilon_cutoff", .kind = OFF, .off = "0" },
    { .key = "eta_cutoff", .kind = OFF, .off = "0" },
    { .key = "encoder_repetition_penalty", .kind = OFF, .off = "1" },
    { .key = "encoder_no_repeat_ngram_size", .kind = OFF, .off = "0" },
    { .key = "guidance_scale", .kind = OFF, .off = "1" },
    { .key = "remove_invalid_values", .kind = OFF, .off = "false" },
    { .key = "token_healing", .kind = OFF, .off = "false" },
    { .key = "sequence_bias", .kind = OFF },
    { .key = "bad_words_ids", .kind = OFF },
    { .key = "force_words_ids", .kind = OFF },
    { .key = "constraints", .kind = OFF },
    { .key = "forced_bos_token_id", .kind = OFF },
    { .key = "forced_eos_token_id", .kind = OFF },
    { .key = "exponential_decay_length_penalty", .kind = OFF },
    { .key = "suppress_tokens", .kind = OFF, .off = "[]" },
    { .key = "begin_suppress_tokens", .kind = OFF, .off = "[]" },
    { .key = "watermarking_config", .kind = OFF },
    { .key = "prompt_lookup_num_tokens", .kind = OFF },
    { .key = "is_assistant", .kind = OFF, .off = "false" },
    { .key = "num_assistant_tokens", .kind = PASSED }, /* these three only with an assistant */
    { .key = "num_assistant_tokens_schedule", .kind = PASSED },
    { .key = "assistant_confidence_threshold", .kind = PASSED },
};

static int refuse(const char *key, const json_t *value, const char *wanted, struct rlhf_error *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    rlhf_fail(err, RLHF_REJECT, "%s: %.60s is not %s", key, text ? text : "it", wanted);
    free(text);
    return -1;
}

static int read_id(const char *key, const json_t *value, int32_t *out, struct rlhf_error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > INT32_MAX)
        return refuse(key, value, "a token id", err);
    *out = (int32_t)json_integer_value(value);
    return 0;
}

static int read_ends(struct rlhf_generation *g, const char *key, json_t *value, struct rlhf_error *err)
{
    size_t i;
    json_t *one;

    g->ends.count = 0;
    if (!json_is_array(value)) {
        if (read_id(key, value, &g->ends.id[0], err) < 0)
            return -1;
        g->ends.count = 1;
        return 0;
    }
    if (json_array_size(value) > RLHF_MAX_ENDS)
        return rlhf_fail(err, RLHF_REJECT, "%s: %zu end tokens; %d are allowed", key, json_array_size(value),
                         RLHF_MAX_ENDS);
    json_array_foreach(value, i, one) {
        if (read_id(key, one, &g->ends.id[i], err) < 0)
            return -1;
        g->ends.count = (uint32_t)i + 1;
    }
    return 0;
}

static int read_stop(struct rlhf_generation *g, const char *key, const json_t *value, struct rlhf_error *err)
{
    if (!json_is_string(value) || json_string_length(value) == 0 || json_string_length(value) >= RLHF_MAX_STOP
        || g->stop_count == RLHF_MAX_STOPS)
        return rlhf_fail(err, RLHF_REJECT, "%s: up to %d strings of 1 to %d bytes are allowed", key, RLHF_MAX_STOPS,
                         RLHF_MAX_STOP - 1);
    memcpy(g->stops[g->stop_count++], json_string_value(value), json_string_length(value) + 1);
    return 0;
}

static int read_stops(struct rlhf_generation *g, const char *key, json_t *value, struct rlhf_error *err)
{
    size_t i;
    json_t *one;

    g->stop_count = 0;
    if (!json_is_array(value))
        return read_stop(g, key, value, err);
    json_array_foreach(value, i, one)
        if (read_stop(g, key, one, err) < 0)
            return -1;
    return 0;
}

static int read_number(const struct setting *s, const json_t *value, double *out, struct rlhf_error *err)
{
    double x = json_number_value(value);

    if (!json_is_number(value) || !(x >= s->least && x <= s->most)) {
        char wanted[60];

        snprintf(wanted, sizeof wanted, "a number from %g to %g", s->least, s->most);
        return refuse(s->key, value, wanted, err);
    }
    *out = x;
    return 0;
}

static bool is_off(const char *off, const json_t *value)
{
    json_t *wanted = off ? json_loads(off, JSON_DECODE_ANY, NULL) : NULL;
    bool same = wanted && (json_is_number(wanted) ? json_is_number(value) && json_number_value(value) == json_number_value(wanted)
                                                  : json_equal(wanted, value));

    json_decref(wanted);
    return same;
}

/* null is "not given" for every key. */
static int read_setting(struct rlhf_generation *g, int64_t *prompt_length, const struct setting *s, json_t *value,
                        struct rlhf_error *err)
{
    void *field = (char *)g + s->offset;
    double x;

    if (json_is_null(value))
        return 0;
    switch (s->kind) {
    case FLOAT:
        if (read_number(s, value, &x, err) < 0)
            return -1;
        *(float *)field = (float)x;
        return 0;
    case DOUBLE: /* top_p 0 keeps the likeliest alone, as the least number above it does */
        if (read_number(s, value, &x, err) < 0)
            return -1;
        *(double *)field = x > 0 ? x : 1e-300;
        return 0;
    case COUNT:
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > INT32_MAX)
            return refuse(s->key, value, "a whole number of at least 0", err);
        *(uint32_t *)field = (uint32_t)json_integer_value(value);
        return 0;
    case FLAG:
        if (!json_is_boolean(value))
            return refuse(s->key, value, "true or false", err);
        *(bool *)field = json_is_true(value);
        return 0;
    case ENDS:
        return read_ends(g, s->key, value, err);
    case PAD:
        return read_id(s->key, value, &g->pad, err);
    case STOPS:
        return read_stops(g, s->key, value, err);
    case PROMPT_LENGTH:
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return refuse(s->key, value, "a whole number of at least 0", err);
        *prompt_length = json_integer_value(value);
        return 0;
    case PASSED:
        return 0;
    case OFF:
        break;
    }
    if (!is_off(s->off, value))
        return refuse(s->key, value, s->off ? s->off : "null, and nothing else is supported", err);
    return 0;
}

static const struct setting *find(const char *key, bool params)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (strcmp(settings[i].key, key) == 0 && (params || !settings[i].params_only))
            return &settings[i];
    return NULL;
}

static int read_all(struct rlhf_generation *g, int64_t *prompt_length, json_t *root, bool params,
                    struct rlhf_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(root, key, value) {
        const struct setting *s = find(key, params);

        if (!s)
            return rlhf_fail(err, RLHF_REJECT, "%.60s: no such setting is known", key);
        if (read_setting(g, prompt_length, s, value, err) < 0)
            return -1;
    }
    return 0;
}

static json_t *parse(const char *json, size_t size, struct rlhf_error *err)
{
    json_error_t wrong;
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &wrong);

    if (!root)
        rlhf_fail(err, RLHF_REJECT, "line %d: %s", wrong.line, wrong.text);
    else if (!json_is_object(root)) {
        rlhf_fail(err, RLHF_REJECT, "it is no JSON object");
        json_decref(root);
        root = NULL;
    }
    return root;
}

static void name_pad(struct rlhf_generation *g)
{
    if (g->pad < 0 && g->ends.count > 0)
        g->pad = g->ends.id[0];
}

int rlhf_generation_read(struct rlhf_generation *g, const char *json, size_t size, struct rlhf_error *err)
{
    struct rlhf_generation read = *g;
    json_t *root = parse(json, size, err);
    int rc = root && read_all(&read, NULL, root, false, err) == 0 ? 0 : -1;

    json_decref(root);
    if (rc == 0) {
        *g = read;
        name_pad(g);
    }
    return rc;
}

int rlhf_generation_params(struct rlhf_generation *g, int64_t *prompt_length, const char *json, size_t size,
                           struct rlhf_error *err)
{
    json_t *root = parse(json, size, err);
    int rc;

    *g = rlhf_generation_default;
    g->sampling.top_k = 0;
    g->sampling.max_new_tokens = INT32_MAX;
    g->do_sample = true;
    *prompt_length = -1;
    rc = root && read_all(g, prompt_length, root, true, err) == 0 && rlhf_sampling_check(&g->sampling, err) == 0 ? 0 : -1;
    json_decref(root);
    return rc;
}

/* Where a checkpoint has no generation_config.json. */
static int read_model_config(struct rlhf_generation *g, json_t *root, struct rlhf_error *err)
{
    json_t *ends = json_object_get(root, "eos_token_id"), *pad = json_object_get(root, "pad_token_id");

    /* -1 and absurd values are config.json's to judge */
    if (ends && !json_is_null(ends) && !(json_is_integer(ends) && json_integer_value(ends) < 0)
        && read_ends(g, "eos_token_id", ends, err) < 0)
        return -1;
    if (json_is_integer(pad) && json_integer_value(pad) >= 0 && json_integer_value(pad) <= INT32_MAX)
        g->pad = (int32_t)json_integer_value(pad);
    name_pad(g);
    return 0;
}

int rlhf_generation_load(struct rlhf_generation *g, const char *dir, struct rlhf_error *err)
{
    char path[4096];
    const char *file = "generation_config.json";
    struct rlhf_bytes text = { 0 };
    struct rlhf_error why = { 0 };
    json_t *root = NULL;
    bool own;
    int rc = -1;

    *g = rlhf_generation_default;
    if (rlhf_path(path, sizeof path, dir, file, err) < 0)
        return -1;
    own = rlhf_exists(&rlhf_system_io, path);
    if ((!own && rlhf_path(path, sizeof path, dir, file = "config.json", err) < 0)
        || rlhf_read_file(&rlhf_system_io, path, MAX_FILE, &text, err) < 0)
        goto out;
    if (own)
        rc = rlhf_generation_read(g, text.data, text.size, &why);
    else
        rc = (root = parse(text.data, text.size, &why)) ? read_model_config(g, root, &why) : -1;
    if (rc < 0)
        rlhf_fail(err, why.code, "%s: %s", path, why.text);
out:
    json_decref(root);
    rlhf_bytes_free(&text);
    return rc;
}
