#include "tokenizer/parts.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#define ADDED "tokenizer.json: added_tokens"

/* ---- reading JSON ---------------------------------------------------------------------------------- */

int tk_json_bool(const json_t *object, const char *key, bool fallback, bool *out, const char *where,
                 struct rlhf_error *err)
{
    const json_t *value = json_object_get(object, key);

    if (value && !json_is_null(value) && !json_is_boolean(value))
        return rlhf_fail(err, RLHF_REJECT, "%s: \"%s\" is not true or false", where, key);
    *out = json_is_boolean(value) ? json_is_true(value) : fallback;
    return 0;
}

const char *tk_json_type(const json_t *component, const char *where, struct rlhf_error *err)
{
    const char *type = json_string_value(json_object_get(component, "type"));

    if (!type)
        rlhf_fail(err, RLHF_REJECT, "%s: a step without a \"type\"", where);
    return type;
}

static int load_steps(const json_t *json, const char *list, const char *where, unsigned depth, void *all,
                      int (*one)(void *all, const json_t *step, const char *type, struct rlhf_error *err),
                      struct rlhf_error *err)
{
    const char *type;
    const json_t *steps;
    json_t *item;
    size_t i;

    if (!json || json_is_null(json))
        return 0;
    if (!(type = tk_json_type(json, where, err)))
        return -1;
    if (strcmp(type, "Sequence") != 0)
        return one(all, json, type, err);
    steps = json_object_get(json, list);
    if (!json_is_array(steps) || depth == TK_STEP_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, "%s: Sequence without \"%s\", or too deep", where, list);
    json_array_foreach(steps, i, item)
        if (load_steps(item, list, where, depth + 1, all, one, err) < 0)
            return -1;
    return 0;
}

int tk_json_steps(const json_t *json, const char *list, const char *where, void *all,
                  int (*one)(void *all, const json_t *step, const char *type, struct rlhf_error *err),
                  struct rlhf_error *err)
{
    return load_steps(json, list, where, 0, all, one, err);
}

struct tk_regex *tk_json_pattern(const json_t *pattern, const char *where, struct rlhf_error *err)
{
    const json_t *regex = json_object_get(pattern, "Regex"), *string = json_object_get(pattern, "String");

    if (json_is_string(regex))
        return tk_regex_new(json_string_value(regex), json_string_length(regex), where, err);
    if (json_is_string(string))
        return tk_regex_literal(json_string_value(string), json_string_length(string), where, err);
    rlhf_fail(err, RLHF_REJECT, "%s: \"pattern\" is neither {\"Regex\"} nor {\"String\"}", where);
    return NULL;
}

int tk_json_metaspace(const json_t *json, char replacement[5], enum tk_prefix *prefix, const char *where,
                      struct rlhf_error *err)
{
    const char *character = json_string_value(json_object_get(json, "replacement"));
    const json_t *scheme = json_object_get(json, "prepend_scheme");
    bool always;

    if (!character || !*character || tk_utf8_size(character, strlen(character)) != strlen(character))
        return rlhf_fail(err, RLHF_REJECT, "%s: Metaspace's \"replacement\" is not one character", where);
    strcpy(replacement, character);
    if (tk_json_bool(json, "add_prefix_space", true, &always, where, err) < 0)
        return -1;
    *prefix = always ? TK_PREFIX_ALWAYS : TK_PREFIX_NEVER;
    if (!scheme)
        return 0;
    for (enum tk_prefix p = TK_PREFIX_NEVER; p <= TK_PREFIX_ALWAYS; p++)
        if (json_is_string(scheme) &&
            !strcmp(json_string_value(scheme), (const char *[]){ "never", "first", "always" }[p])) {
            *prefix = p;
            return 0;
        }
    return rlhf_fail(err, RLHF_REJECT, "%s: \"prepend_scheme\" is not always, first or never", where);
}

static json_t *parse(const char *text, size_t size, size_t flags, const char *where, const char *file, struct rlhf_error *err)
{
    json_error_t bad;
    json_t *json = json_loadb(text, size, JSON_ALLOW_NUL | flags, &bad);

    if (json && !json_is_object(json)) {
        json_decref(json);
        rlhf_fail(err, RLHF_REJECT, "%s/%s: not a JSON object", where, file);
        return NULL;
    }
    if (!json)
        rlhf_fail(err, RLHF_REJECT, "%s/%s:%d: not JSON: %s", where, file, bad.line, bad.text);
    return json;
}

/* ---- vocabulary ------------------------------------------------------------------------------------ */

/* A token's text as raw bytes, where every character stands for one. */
static bool raw_bytes(const char *text, size_t size, char *out, size_t *out_size)
{
    *out_size = 0;
    for (size_t at = 0, n; at < size; at += n) {
        n = tk_utf8_size(text + at, size - at);
        int byte = tk_char_byte(tk_utf8_get(text + at, n));
        if (byte < 0)
            return false;
        out[(*out_size)++] = (char)byte;
    }
    return true;
}

int tk_vocab_put(struct rlhf_tokenizer *t, const char *text, size_t size, json_int_t id, struct rlhf_error *err)
{
    char raw[256];
    size_t raw_size;

    if (id < 0 || id >= TK_ID_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, "tokenizer.json: model: \"%.60s\" has id %lld; 0 to %d are allowed", text,
                         (long long)id, TK_ID_LIMIT - 1);
    if (tk_table_put(&t->names, text, size, (uint32_t)id, err) < 0)
        return -1;
    if ((size_t)id >= t->vocab)
        t->vocab = (size_t)id + 1;
    if (!t->splitters.byte_level)
        return tk_table_put(&t->words, text, size, (uint32_t)id, err);
    if (size <= sizeof(raw))
        return raw_bytes(text, size, raw, &raw_size) ? tk_table_put(&t->words, raw, raw_size, (uint32_t)id, err) : 0;

    char *large = malloc(size);
    int result = 0;
    if (!large)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a token of %zu bytes", size);
    if (raw_bytes(text, size, large, &raw_size))
        result = tk_table_put(&t->words, large, raw_size, (uint32_t)id, err);
    free(large);
    return result;
}

uint32_t tk_vocab_find(const struct rlhf_tokenizer *t, const char *text)
{
    return tk_table_get(&t->names, text, strlen(text));
}

static int load_added_token(struct rlhf_tokenizer *t, const json_t *json, size_t model_vocab, struct rlhf_error *err)
{
    const json_t *content = json_object_get(json, "content"), *id = json_object_get(json, "id");
    struct tk_added token = { .size = json_string_length(content), .text = (char *)json_string_value(content) };
    struct rlhf_bytes normal = { 0 };
    struct tk_scratch scratch;
    int result;

    if (!json_is_string(content) || !json_is_integer(id))
        return rlhf_fail(err, RLHF_REJECT, ADDED ": an entry without \"content\" and \"id\"");
    if (token.size == 0)
        return 0;
    if (tk_json_bool(json, "special", false, &token.special, ADDED, err) < 0 ||
        tk_json_bool(json, "single_word", false, &token.single_word, ADDED, err) < 0 ||
        tk_json_bool(json, "lstrip", false, &token.lstrip, ADDED, err) < 0 ||
        tk_json_bool(json, "rstrip", false, &token.rstrip, ADDED, err) < 0 ||
        tk_json_bool(json, "normalized", !token.special, &token.normalized, ADDED, err) < 0)
        return -1;
    /* The library numbers added tokens itself: the vocabulary's id where the text is in it, else the next free
     * one. A file that says otherwise would mean one thing to it and another to its reader. */
    token.id = tk_table_get(&t->names, token.text, token.size);
    if (token.id == TK_NONE)
        token.id = (uint32_t)(t->vocab > model_vocab ? t->vocab : model_vocab);
    if ((json_int_t)token.id != json_integer_value(id))
        return rlhf_fail(err, RLHF_REJECT, ADDED ": \"%.60s\" has id %lld where %u is expected", token.text,
                         (long long)json_integer_value(id), token.id);
    if (token.id >= TK_ID_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, ADDED ": more than %d tokens", TK_ID_LIMIT);
    if (token.id >= t->vocab)
        t->vocab = token.id + 1;
    if (tk_table_put(&t->names, token.text, token.size, token.id, err) < 0)
        return -1;
    if (!token.normalized)
        return tk_matcher_add(&t->raw, &token, err);
    if (tk_scratch_init(&scratch, err) < 0)
        return -1;
    result = tk_normalize(&t->normalizers, &scratch, token.text, token.size, &normal, err);
    token.text = normal.data;
    token.size = normal.size;
    if (result == 0 && token.size)
        result = tk_matcher_add(&t->normalized, &token, err);
    rlhf_bytes_free(&normal);
    tk_scratch_free(&scratch);
    return result;
}

static int load_added(struct rlhf_tokenizer *t, const json_t *list, struct rlhf_error *err)
{
    size_t i, model_vocab = t->names.count;
    json_t *item;

    if (list && !json_is_null(list) && !json_is_array(list))
        return rlhf_fail(err, RLHF_REJECT, ADDED ": not a list");
    json_array_foreach(list, i, item)
        if (load_added_token(t, item, model_vocab, err) < 0)
            return -1;
    tk_matcher_sort(&t->raw);
    tk_matcher_sort(&t->normalized);
    return 0;
}

/* Names by id, which ids are special, and what each decodes to where that depends on nothing else. */
static int index_ids(struct rlhf_tokenizer *t, const json_t *added, struct rlhf_error *err)
{
    size_t i;
    json_t *item;

    t->name = calloc(t->vocab + 1, sizeof(*t->name));
    t->present = calloc(t->vocab + 1, sizeof(*t->present));
    t->special = calloc(t->vocab + 1, sizeof(*t->special));
    t->byte_start = calloc(t->vocab + 1, sizeof(*t->byte_start));
    t->word_size = calloc(t->vocab + 1, sizeof(*t->word_size));
    if (!t->name || !t->present || !t->special || !t->byte_start || !t->word_size)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a vocabulary of %zu", t->vocab);
    for (i = 0; i <= t->names.mask; i++) {
        const struct tk_slot *slot = &t->names.slots[i];

        if (slot->id == TK_NONE)
            continue;
        if (t->present[slot->id])
            return rlhf_fail(err, RLHF_REJECT, "tokenizer.json: two tokens have id %u, one is \"%.*s\"", slot->id,
                             slot->size > 60 ? 60 : (int)slot->size, t->names.text.data + slot->start);
        t->present[slot->id] = true;
        t->name[slot->id] = (struct tk_name){ .start = slot->start, .size = slot->size };
    }
    for (i = 0; i <= t->words.mask; i++)
        if (t->words.slots[i].id != TK_NONE)
            t->word_size[t->words.slots[i].id] = (uint32_t)t->words.slots[i].size;
    json_array_foreach(added, i, item) {
        const json_t *content = json_object_get(item, "content");
        uint32_t id = tk_table_get(&t->names, json_string_value(content), json_string_length(content));

        if (id != TK_NONE && json_is_true(json_object_get(item, "special")))
            t->special[id] = true;
    }
    /* An added token that is looked for in normalised text also decodes to normalised text. */
    for (i = 0; i < t->normalized.count; i++) {
        const struct tk_added *token = &t->normalized.token[i];

        t->name[token->id] = (struct tk_name){ .start = t->names.text.size & 0xffffffffffu, .size = token->size & 0xffffff };
        if (rlhf_bytes_append(&t->names.text, token->text, token->size, err) < 0)
            return -1;
    }
    t->plain_decode = t->decoders.count == 1 && t->decoders.step[0].kind == TK_DECODE_BYTE_LEVEL;
    for (i = 0; t->plain_decode && i < t->vocab; i++) {
        const char *name = t->names.text.data + t->name[i].start;

        if (tk_decode_bytes(name, t->name[i].size, &t->byte_text, err) < 0)
            return -1;
        t->byte_start[i + 1] = t->byte_text.size;
    }
    return 0;
}

/* ---- what is around a text ------------------------------------------------------------------------- */

#define POST "tokenizer.json: post_processor"

static int wrap_push(struct tk_template *w, uint32_t id, struct rlhf_error *err)
{
    uint32_t *larger = reallocarray(w->item, w->count + 1, sizeof(*larger));

    if (!larger)
        return rlhf_fail(err, RLHF_FULL, POST ": out of memory");
    w->item = larger;
    w->item[w->count++] = id;
    return 0;
}

static int load_wrap_item(struct rlhf_tokenizer *t, const json_t *json, const json_t *item, struct rlhf_error *err)
{
    const json_t *special = json_object_get(item, "SpecialToken"), *sequence = json_object_get(item, "Sequence");
    const char *name = json_string_value(json_object_get(special ? special : sequence, "id"));
    const json_t *ids;
    json_t *id;
    size_t i;

    if (sequence && name && !strcmp(name, "A"))
        return wrap_push(&t->wrap, TK_NONE, err);
    if (!special || !name)
        return rlhf_fail(err, RLHF_REJECT, POST ": an item of \"single\" is neither a SpecialToken nor Sequence A");
    ids = json_object_get(json_object_get(json_object_get(json, "special_tokens"), name), "ids");
    if (!json_is_array(ids))
        return rlhf_fail(err, RLHF_REJECT, POST ": special_tokens has no ids for \"%.60s\"", name);
    json_array_foreach(ids, i, id) {
        json_int_t value = json_integer_value(id);

        if (!json_is_integer(id) || value < 0 || value >= (json_int_t)t->vocab)
            return rlhf_fail(err, RLHF_REJECT, POST ": \"%.60s\" has an id outside the vocabulary", name);
        if (wrap_push(&t->wrap, (uint32_t)value, err) < 0)
            return -1;
    }
    return 0;
}

/* BertProcessing and RobertaProcessing: cls text sep, each ["text", id]. */
static int load_wrap_pair(struct rlhf_tokenizer *t, const json_t *json, struct rlhf_error *err)
{
    static const char *const keys[] = { "cls", NULL, "sep" };

    for (size_t i = 0; i < 3; i++) {
        const json_t *id = keys[i] ? json_array_get(json_object_get(json, keys[i]), 1) : NULL;
        json_int_t value = json_integer_value(id);

        if (keys[i] && (!json_is_integer(id) || value < 0 || value >= (json_int_t)t->vocab))
            return rlhf_fail(err, RLHF_REJECT, POST ": \"%s\" is not a pair of text and id", keys[i]);
        if (wrap_push(&t->wrap, keys[i] ? (uint32_t)value : TK_NONE, err) < 0)
            return -1;
    }
    return 0;
}

static int load_post(void *all, const json_t *json, const char *type, struct rlhf_error *err)
{
    struct rlhf_tokenizer *t = all;
    const json_t *list;
    json_t *item;
    size_t i;

    if (!strcmp(type, "ByteLevel") || !strcmp(type, "RobertaProcessing")) { /* the one moves ranges only, the other too */
        if (tk_json_bool(json, "trim_offsets", true, &t->trim_ranges, POST, err) < 0 ||
            tk_json_bool(json, "add_prefix_space", true, &t->trim_keeps_prefix, POST, err) < 0)
            return -1;
        if (*type == 'B')
            return 0;
    }
    if (t->wrap.count)
        return rlhf_fail(err, RLHF_REJECT, POST ": more than one step that adds tokens is not supported");
    if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing"))
        return load_wrap_pair(t, json, err);
    if (strcmp(type, "TemplateProcessing"))
        return rlhf_fail(err, RLHF_REJECT, POST ": type \"%.40s\" is not supported", type);
    list = json_object_get(json, "single");
    if (!json_is_array(list) || json_array_size(list) > TK_STEP_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, POST ": \"single\" is not a list of at most %d items", TK_STEP_LIMIT);
    json_array_foreach(list, i, item)
        if (load_wrap_item(t, json, item, err) < 0)
            return -1;
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

/* The tokens of single bytes: what invalid UTF-8 and byte fallback become. */
static void find_letters(struct rlhf_tokenizer *t)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8] = { (char)byte };

        if (!t->splitters.byte_level)
            snprintf(text, sizeof(text), "<0x%02X>", byte);
        t->letter[byte] = tk_table_get(&t->words, text, t->splitters.byte_level ? 1 : 6);
    }
}

static int load_model(struct rlhf_tokenizer *t, const json_t *model, struct rlhf_error *err)
{
    const char *type = json_string_value(json_object_get(model, "type"));

    if (!type && json_object_get(model, "merges")) /* files written before the type was */
        type = "BPE";
    t->unknown = TK_NONE;
    if (type && !strcmp(type, "BPE"))
        return tk_bpe_load(t, model, err);
    if (type && !strcmp(type, "Unigram")) {
        t->model = TK_UNIGRAM;
        return tk_unigram_load(t, model, err);
    }
    return rlhf_fail(err, RLHF_REJECT, "tokenizer.json: model: type \"%.40s\" is not supported",
                     type ? type : "(none)");
}

int tk_find_whole(const struct rlhf_tokenizer *t, size_t count,
                  int (*encode_piece)(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                                      struct rlhf_tokens *out, struct rlhf_error *err),
                  bool **out, struct rlhf_error *err)
{
    struct rlhf_tokens ids = { 0 };
    struct tk_scratch scratch;
    bool *whole = calloc(count + 1, sizeof(*whole));
    int result = 0;

    if (!whole)
        return rlhf_fail(err, RLHF_FULL, "tokenizer.json: model: out of memory");
    if (tk_scratch_init(&scratch, err) < 0) {
        free(whole);
        return -1;
    }
    for (size_t i = 0; result == 0 && i <= t->words.mask; i++) {
        const struct tk_slot *slot = &t->words.slots[i];

        if (slot->id == TK_NONE)
            continue;
        rlhf_tokens_clear(&ids);
        result = encode_piece(t, &scratch, t->words.text.data + slot->start, slot->size, &ids, err);
        whole[slot->id] = ids.size == 1 && ids.data[0] == (int32_t)slot->id;
    }
    rlhf_tokens_free(&ids);
    tk_scratch_free(&scratch);
    *out = whole; /* only now: the loop above must not use it */
    return result;
}

static int load_json(struct rlhf_tokenizer *t, const json_t *json, struct rlhf_error *err)
{
    const json_t *added = json_object_get(json, "added_tokens");

    if (tk_normalizers_load(&t->normalizers, json_object_get(json, "normalizer"), err) < 0 ||
        tk_splitters_load(&t->splitters, json_object_get(json, "pre_tokenizer"), err) < 0 ||
        tk_decoders_load(&t->decoders, json_object_get(json, "decoder"), err) < 0 ||
        load_model(t, json_object_get(json, "model"), err) < 0 || load_added(t, added, err) < 0 ||
        tk_json_steps(json_object_get(json, "post_processor"), "processors", POST, t, load_post, err) < 0 || index_ids(t, added, err) < 0)
        return -1;
    find_letters(t);
    return t->model == TK_BPE ? tk_bpe_finish(t, err) : tk_unigram_finish(t, err);
}

/* bos_token and its like: a string, {"content"}, or null. -1 where absent or not in the vocabulary. */
static int32_t special_id(const struct rlhf_tokenizer *t, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);

    if (json_is_object(value))
        value = json_object_get(value, "content");
    return json_is_string(value) ? (int32_t)tk_vocab_find(t, json_string_value(value)) : -1;
}

static int load_config(struct rlhf_tokenizer *t, const char *text, size_t size, const char *where,
                       struct rlhf_error *err)
{
    /* "No limit" is often a model_max_length of 10^30. */
    json_t *config = parse(text, size, JSON_DECODE_INT_AS_REAL, where, "tokenizer_config.json", err);

    if (!config)
        return -1;
    t->begin = special_id(t, config, "bos_token");
    t->end = special_id(t, config, "eos_token");
    t->pad = special_id(t, config, "pad_token");
    json_decref(config);
    return 0;
}

struct rlhf_tokenizer *rlhf_tokenizer_parse(const char *json, size_t size, const char *config, size_t config_size,
                                        const char *where, struct rlhf_error *err)
{
    struct rlhf_tokenizer *t = calloc(1, sizeof(*t));
    json_t *root = NULL;
    int result = -1;

    if (!t) {
        rlhf_fail(err, RLHF_FULL, "%s: out of memory for a tokenizer", where);
        return NULL;
    }
    t->begin = t->end = t->pad = -1;
    if (rlhf_bytes_append(&t->json, json, size, err) == 0 &&
        rlhf_bytes_append(&t->config, config ? config : "", config_size, err) == 0 &&
        (root = parse(json, size, 0, where, "tokenizer.json", err))) {
        result = load_json(t, root, err);
        if (result < 0)
            rlhf_fail_prefix(err, "%s", where);
        else if (config)
            result = load_config(t, config, config_size, where, err);
    }
    json_decref(root);
    if (result == 0)
        return t;
    rlhf_tokenizer_free(t);
    return NULL;
}

struct rlhf_tokenizer *rlhf_tokenizer_load(const char *dir, struct rlhf_error *err)
{
    struct rlhf_bytes json = { 0 }, config = { 0 };
    struct rlhf_tokenizer *t = NULL;
    char path[4096];
    bool has_config = false;

    if (rlhf_path(path, sizeof(path), dir, "tokenizer.json", err) < 0 ||
        rlhf_read_file(&rlhf_system_io, path, TK_FILE_LIMIT, &json, err) < 0 ||
        rlhf_path(path, sizeof(path), dir, "tokenizer_config.json", err) < 0)
        goto out;
    has_config = rlhf_exists(&rlhf_system_io, path);
    if (has_config && rlhf_read_file(&rlhf_system_io, path, TK_FILE_LIMIT, &config, err) < 0)
        goto out;
    t = rlhf_tokenizer_parse(json.data ? json.data : "", json.size, has_config ? config.data : NULL, config.size, dir,
                         err);
out:
    rlhf_bytes_free(&json);
    rlhf_bytes_free(&config);
    return t;
}

int rlhf_tokenizer_save(const struct rlhf_tokenizer *t, const char *dir, struct rlhf_error *err)
{
    char path[4096];

    if (rlhf_make_dirs(&rlhf_system_io, dir, err) < 0 ||
        rlhf_path(path, sizeof(path), dir, "tokenizer.json", err) < 0 ||
        rlhf_write_file(&rlhf_system_io, path, t->json.data, t->json.size, err) < 0)
        return -1;
    if (t->config.size == 0)
        return 0;
    return rlhf_path(path, sizeof(path), dir, "tokenizer_config.json", err) < 0
               ? -1
               : rlhf_write_file(&rlhf_system_io, path, t->config.data, t->config.size, err);
}

void rlhf_tokenizer_free(struct rlhf_tokenizer *t)
{
    if (!t)
        return;
    tk_bpe_free(&t->bpe);
    tk_unigram_free(&t->unigram);
    tk_table_free(&t->words);
    tk_table_free(&t->names);
    free(t->name);
    free(t->present);
    free(t->special);
    free(t->word_size);
    rlhf_bytes_free(&t->byte_text);
    free(t->byte_start);
    tk_matcher_free(&t->raw);
    tk_matcher_free(&t->normalized);
    tk_normalizers_free(&t->normalizers);
    tk_splitters_free(&t->splitters);
    tk_decoders_free(&t->decoders);
    free(t->wrap.item);
    rlhf_bytes_free(&t->json);
    rlhf_bytes_free(&t->config);
    free(t);
}

size_t rlhf_tokenizer_vocab(const struct rlhf_tokenizer *t)
{
    return t->vocab;
}

int32_t rlhf_tokenizer_begin(const struct rlhf_tokenizer *t)
{
    return t->begin;
}

int32_t rlhf_tokenizer_end(const struct rlhf_tokenizer *t)
{
    return t->end;
}

int32_t rlhf_tokenizer_pad(const struct rlhf_tokenizer *t)
{
    return t->pad;
}

int32_t rlhf_tokenizer_find(const struct rlhf_tokenizer *t, const char *token)
{
    return (int32_t)tk_vocab_find(t, token);
}
