#include "chat/chat.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"

enum { FILE_LIMIT = 64 * 1024 * 1024, TEMPLATE_LIMIT = 64 };

struct named {
    char *name, *source, *where;
    size_t size;
    struct rlhf_template *template; /* NULL: not parsed yet */
};
struct rlhf_chat {
    char *dir;
    struct named named[TEMPLATE_LIMIT];
    size_t count;
    json_t *tokens; /* bos_token and its like */
};

/* ---- loading --------------------------------------------------------------------------------------- */

/* A later template takes the place of an earlier one of its name. */
static int add(struct rlhf_chat *c, const char *name, const char *source, size_t size, const char *file,
               struct rlhf_error *err)
{
    struct named n = { .name = strdup(name), .source = malloc(size + 1), .where = NULL, .size = size };
    size_t at = 0;

    if (asprintf(&n.where, "%s/%s", c->dir, file) < 0)
        n.where = NULL;
    if (!n.name || !n.source || !n.where) {
        free(n.name);
        free(n.source);
        free(n.where);
        return rlhf_fail(err, RLHF_FULL, "%s: out of memory for a template", c->dir);
    }
    memcpy(n.source, source, size);
    n.source[size] = '\0';
    while (at < c->count && strcmp(c->named[at].name, name) != 0)
        at++;
    if (at == TEMPLATE_LIMIT) {
        free(n.name);
        free(n.source);
        free(n.where);
        return rlhf_fail(err, RLHF_REJECT, "%s: more than %d chat templates", c->dir, TEMPLATE_LIMIT);
    }
    if (at < c->count) {
        free(c->named[at].name);
        free(c->named[at].source);
        free(c->named[at].where);
    } else
        c->count++;
    c->named[at] = n;
    return 0;
}

/* DIR/file as bytes; 0 where it is not there, 1 where it was read. */
static int read_file(const struct rlhf_chat *c, const char *file, struct rlhf_bytes *out, struct rlhf_error *err)
{
    char path[4096];

    rlhf_bytes_clear(out);
    if (rlhf_path(path, sizeof(path), c->dir, file, err) < 0)
        return -1;
    if (!rlhf_exists(&rlhf_system_io, path))
        return 0;
    if (rlhf_read_file(&rlhf_system_io, path, FILE_LIMIT, out, err) < 0 || rlhf_bytes_append(out, "", 0, err) < 0)
        return -1;
    return 1;
}

static int read_json(const struct rlhf_chat *c, const char *file, json_t **out, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    json_error_t bad;
    int found = read_file(c, file, &text, err);

    *out = NULL;
    /* Integers may be of any size ("model_max_length"), and none is looked at. */
    if (found > 0 && !(*out = json_loadb(text.data, text.size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &bad)))
        found = rlhf_fail(err, RLHF_REJECT, "%s/%s:%d: not JSON: %s", c->dir, file, bad.line, bad.text);
    rlhf_bytes_free(&text);
    return found < 0 ? -1 : 0;
}

static int load_listed(struct rlhf_chat *c, const json_t *value, struct rlhf_error *err)
{
    static const char file[] = "tokenizer_config.json: chat_template";
    size_t i;
    json_t *item;

    if (!value || json_is_null(value))
        return 0;
    if (json_is_string(value))
        return add(c, "default", json_string_value(value), json_string_length(value), file, err);
    if (!json_is_array(value))
        return rlhf_fail(err, RLHF_REJECT, "%s/%s: neither a text nor a list", c->dir, file);
    json_array_foreach(value, i, item) {
        const json_t *name = json_object_get(item, "name"), *source = json_object_get(item, "template");

        if (!json_is_string(name) || !json_is_string(source))
            return rlhf_fail(err, RLHF_REJECT, "%s/%s: entry %zu has no \"name\" and \"template\"", c->dir, file, i);
        if (add(c, json_string_value(name), json_string_value(source), json_string_length(source), file, err) < 0)
            return -1;
    }
    return 0;
}

static int load_file(struct rlhf_chat *c, const char *file, const char *name, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    int found = read_file(c, file, &text, err);

    if (found > 0)
        found = add(c, name, text.data, text.size, file, err);
    rlhf_bytes_free(&text);
    return found < 0 ? -1 : 0;
}

static int load_additional(struct rlhf_chat *c, struct rlhf_error *err)
{
    static const char folder[] = "additional_chat_templates", suffix[] = ".jinja";
    char path[4096], file[600], name[300];
    struct dirent *entry;
    DIR *dir;
    int result = 0;

    if (rlhf_path(path, sizeof(path), c->dir, folder, err) < 0)
        return -1;
    if (!(dir = opendir(path)))
        return 0;
    while (result == 0 && (entry = readdir(dir))) {
        if (!rlhf_ends_with(entry->d_name, suffix))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(strlen(entry->d_name) - strlen(suffix)), entry->d_name);
        snprintf(file, sizeof(file), "%s/%s", folder, entry->d_name);
        result = load_file(c, file, name, err);
    }
    closedir(dir);
    return result;
}

/* Those of the special tokens that are set, as texts; what is known already stays. */
static void load_tokens(struct rlhf_chat *c, const json_t *config)
{
    static const char *const names[] = { "bos_token",  "eos_token",  "unk_token",  "sep_token",
                                         "pad_token", "cls_token", "mask_token" };

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        json_t *value = json_object_get(config, names[i]);

        if (json_is_object(value))
            value = json_object_get(value, "content");
        if (json_is_string(value) && !json_object_get(c->tokens, names[i]))
            json_object_set(c->tokens, names[i], value);
    }
}

static int load(struct rlhf_chat *c, struct rlhf_error *err)
{
    json_t *config = NULL, *map = NULL;
    int result;

    result = read_json(c, "tokenizer_config.json", &config, err) < 0 ||
                     load_listed(c, json_object_get(config, "chat_template"), err) < 0 ||
                     load_file(c, "chat_template.jinja", "default", err) < 0 || load_additional(c, err) < 0 ||
                     read_json(c, "special_tokens_map.json", &map, err) < 0
                 ? -1
                 : 0;
    if (result == 0) {
        load_tokens(c, config);
        load_tokens(c, map);
    }
    json_decref(config);
    json_decref(map);
    if (result == 0 && c->count == 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: no chat template, neither chat_template.jinja nor \"chat_template\" in "
                                           "tokenizer_config.json", c->dir);
    return result;
}

struct rlhf_chat *rlhf_chat_load(const char *dir, struct rlhf_error *err)
{
    struct rlhf_chat *c = calloc(1, sizeof(*c));

    if (!c || !(c->dir = strdup(dir)) || !(c->tokens = json_object())) {
        rlhf_fail(err, RLHF_FULL, "%s: out of memory for chat templates", dir);
        rlhf_chat_free(c);
        return NULL;
    }
    if (load(c, err) == 0)
        return c;
    rlhf_chat_free(c);
    return NULL;
}

void rlhf_chat_free(struct rlhf_chat *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++) {
        rlhf_template_free(c->named[i].template);
        free(c->named[i].name);
        free(c->named[i].source);
        free(c->named[i].where);
    }
    json_decref(c->tokens);
    free(c->dir);
    free(c);
}

/* ---- choosing -------------------------------------------------------------------------------------- */

static struct named *find(struct rlhf_chat *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->named[i].name, name))
            return &c->named[i];
    return NULL;
}

static struct rlhf_template *choose(struct rlhf_chat *c, const json_t *request, struct rlhf_error *err)
{
    const json_t *wanted = json_object_get(request, "chat_template"), *tools = json_object_get(request, "tools");
    struct named *n = NULL;

    if (json_is_string(wanted)) {
        if (!(n = find(c, json_string_value(wanted))))
            rlhf_fail(err, RLHF_REJECT, "%s: no chat template is called \"%.80s\"", c->dir, json_string_value(wanted));
    } else {
        if (tools && !json_is_null(tools))
            n = find(c, "tool_use");
        if (!n && !(n = find(c, "default")))
            rlhf_fail(err, RLHF_REJECT, "%s: none of the chat templates is called \"default\"; choose one by \"chat_template\"",
                      c->dir);
    }
    if (n && !n->template)
        n->template = rlhf_template_new(n->source, n->size, n->where, err);
    return n ? n->template : NULL;
}

bool rlhf_chat_marks(struct rlhf_chat *c, const json_t *request)
{
    const struct rlhf_template *t = choose(c, request, NULL);

    return t && rlhf_template_marks(t);
}

/* ---- the template's variables ---------------------------------------------------------------------- */

static const char *const reasoning_names[] = { "reasoning_content", "thinking", "reasoning" };

/* A message without its nulls; reasoning under the names that templates look for. */
static json_t *clean_message(const json_t *message)
{
    json_t *clean = json_object(), *item, *reasoning = NULL;
    const char *key;

    for (size_t i = 0; !reasoning && i < 3; i++) {
        reasoning = json_object_get(message, reasoning_names[i]);
        if (json_is_null(reasoning))
            reasoning = NULL;
    }
    if (reasoning && json_object_set(clean, "thinking", reasoning) < 0)
        goto fail;
    json_object_foreach((json_t *)message, key, item)
        if (!json_is_null(item) && json_object_set(clean, key, item) < 0)
            goto fail;
    if (reasoning && json_object_set(clean, "reasoning_content", reasoning) < 0)
        goto fail;
    return clean;
fail:
    json_decref(clean);
    return NULL;
}

static json_t *clean_messages(const json_t *request, struct rlhf_error *err)
{
    const json_t *messages = json_object_get(request, "messages");
    json_t *clean, *message;
    size_t i;

    if (!json_is_array(messages) || json_array_size(messages) == 0) {
        rlhf_fail(err, RLHF_REJECT, "\"messages\" is no list of at least one message");
        return NULL;
    }
    clean = json_array();
    json_array_foreach(messages, i, message) {
        if (!json_is_object(message)) {
            rlhf_fail(err, RLHF_REJECT, "messages[%zu] is not an object", i);
            json_decref(clean);
            return NULL;
        }
        if (json_array_append_new(clean, clean_message(message)) < 0) {
            rlhf_fail(err, RLHF_FULL, "out of memory for %zu messages", json_array_size(messages));
            json_decref(clean);
            return NULL;
        }
    }
    return clean;
}

static int check_object_list(const json_t *request, const char *key, struct rlhf_error *err)
{
    const json_t *list = json_object_get(request, key);
    json_t *item;
    size_t i;

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return rlhf_fail(err, RLHF_REJECT, "\"%s\" is not a list", key);
    json_array_foreach(list, i, item)
        if (!json_is_object(item))
            return rlhf_fail(err, RLHF_REJECT, "%s[%zu] is not an object", key, i);
    return 0;
}

/* Takes messages. */
static json_t *variables(const struct rlhf_chat *c, const json_t *request, json_t *messages, struct rlhf_error *err)
{
    json_t *all = json_copy(c->tokens), *item;
    const char *key;
    bool bad = !all;

    json_object_foreach((json_t *)request, key, item)
        if (strcmp(key, "chat_template") != 0 && strcmp(key, "continue_final_message") != 0)
            bad |= json_object_set(all, key, item) < 0;
    bad |= json_object_set_new(all, "messages", messages) < 0;
    if (!json_object_get(all, "tools"))
        bad |= json_object_set_new(all, "tools", json_null()) < 0;
    if (!json_object_get(all, "documents"))
        bad |= json_object_set_new(all, "documents", json_null()) < 0;
    if (!json_object_get(all, "add_generation_prompt"))
        bad |= json_object_set_new(all, "add_generation_prompt", json_false()) < 0;
    if (!bad)
        return all;
    json_decref(all);
    rlhf_fail(err, RLHF_FULL, "out of memory for a template's variables");
    return NULL;
}

/* ---- a last message that goes on ------------------------------------------------------------------- */

#define MARK "CONTINUE_FINAL_MESSAGE_TAG"

/* A string with the mark and a space behind it. */
static json_t *marked(const json_t *text)
{
    struct rlhf_bytes all = { 0 };
    json_t *result = NULL;

    if (rlhf_bytes_append(&all, json_string_value(text), json_string_length(text), NULL) == 0 &&
        rlhf_bytes_append(&all, MARK " ", strlen(MARK " "), NULL) == 0)
        result = json_stringn(all.data, all.size);
    rlhf_bytes_free(&all);
    return result;
}

/* Puts the mark behind the last message's text, or its last block of text. */
static int mark_last(json_t *messages, const char *field, struct rlhf_error *err)
{
    json_t *last = json_array_get(messages, json_array_size(messages) - 1), *content = json_object_get(last, field);

    if (json_is_string(content) && json_object_set_new(last, field, marked(content)) == 0)
        return 0;
    if (json_is_array(content)) {
        json_t *copy = json_deep_copy(content);

        json_object_set_new(last, field, copy);
        for (size_t i = json_array_size(copy); i-- > 0;) {
            json_t *block = json_array_get(copy, i), *text = json_object_get(block, "text");

            if (json_is_string(text))
                return json_object_set_new(block, "text", marked(text));
        }
    }
    return rlhf_fail(err, RLHF_REJECT, "continue_final_message: the last message has no \"%s\" to continue", field);
}

/* Ends the text at the mark; at what stands before the white space there, where the template took the space away. */
static int cut_at_mark(struct rlhf_rendered *out, struct rlhf_error *err)
{
    char *at = NULL, *text = out->text.data;

    for (char *next = text; next && (next = memmem(next, out->text.size - (size_t)(next - text), MARK, strlen(MARK)));
         next++)
        at = next;
    if (!at)
        return rlhf_fail(err, RLHF_REJECT, "continue_final_message: the template leaves the last message out");
    bool spaced = (size_t)(at - text) + strlen(MARK) < out->text.size && at[strlen(MARK)] == ' ';
    out->text.size = (size_t)(at - text);
    while (!spaced && out->text.size && strchr(" \t\n\r\v\f", text[out->text.size - 1]))
        out->text.size--;
    text[out->text.size] = '\0';
    return 0;
}

/* The field that goes on; NULL: none. */
static const char *continued_field(const json_t *request)
{
    const json_t *value = json_object_get(request, "continue_final_message");

    return json_is_true(value) ? "content" : json_is_string(value) ? json_string_value(value) : NULL;
}

int rlhf_chat_render(struct rlhf_chat *c, const json_t *request, time_t now, struct rlhf_rendered *out,
                     struct rlhf_error *err)
{
    const char *field = continued_field(request);
    const struct rlhf_template *t;
    json_t *messages, *given;
    int result;

    if (field && json_is_true(json_object_get(request, "add_generation_prompt")))
        return rlhf_fail(err, RLHF_REJECT, "continue_final_message and add_generation_prompt exclude each other");
    if (check_object_list(request, "tools", err) < 0 || check_object_list(request, "documents", err) < 0 ||
        !(t = choose(c, request, err)) || !(messages = clean_messages(request, err)))
        return -1;
    if (field && mark_last(messages, field, err) < 0) {
        json_decref(messages);
        return -1;
    }
    if (!(given = variables(c, request, messages, err)))
        return -1;
    result = rlhf_template_render(t, given, now, out, err);
    json_decref(given);
    return result == 0 && field ? cut_at_mark(out, err) : result;
}

/* ---- what the assistant wrote ---------------------------------------------------------------------- */

/* The first token that a byte of the text belongs to; count where none does. */
static size_t token_at(const struct rlhf_token_range *ranges, size_t count, size_t at)
{
    for (size_t i = 0; i < count; i++)
        if (ranges[i].start <= at && at < ranges[i].end)
            return i;
    return count;
}

void rlhf_chat_mask(const struct rlhf_rendered *r, const struct rlhf_token_range *ranges, size_t count, uint8_t *mask)
{
    memset(mask, 0, count);
    for (size_t i = 0; i < r->generated_count; i++) {
        size_t first = token_at(ranges, count, r->generated[i].start);
        size_t last = r->generated[i].end ? token_at(ranges, count, r->generated[i].end - 1) : count;

        if (first == count)
            break;
        if (last == 0 || last == count) /* transformers takes token 0 for none */
            last = count - 1;
        for (size_t k = first; k <= last; k++)
            mask[k] = 1;
    }
}
