#include "config/config.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/io.h"
#include "config/table.h"
#include "config/tree.h"

/* The way of a document: text -> tree (tree.c, libyaml's events, with lines) -> checked and completed by the table
 * (table.c) -> text again -> struct (libcyaml, by a schema made from the same table). The first half finds every mistake
 * a person can make and knows its line; the second half is a plain, strict load of a document without gaps. */

static void *memory(void *ctx, void *block, size_t size)
{
    (void)ctx;
    if (size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, size);
}

/* Keeps the first thing that libcyaml complains of. */
static void remember(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
    struct rlhf_error *first = ctx;

    (void)level;
    if (first->text[0] == '\0')
        vsnprintf(first->text, sizeof first->text, fmt, args);
}

static int fields_of(const struct rlhf_config_schema *s, struct rlhf_arena *a, const cyaml_schema_field_t **out);

/* One row of the table as libcyaml describes it. false when memory runs out. */
static int field_of(const struct rlhf_config_key *k, struct rlhf_arena *a, cyaml_schema_field_t *f)
{
    static const cyaml_schema_value_t text = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED) };
    cyaml_schema_value_t *entry;
    cyaml_strval_t *choices;
    size_t count = 0;

    f->key = k->key;
    f->data_offset = (uint32_t)k->offset;
    f->value.flags = CYAML_FLAG_OPTIONAL; /* what is required has been checked, with its line */
    switch (k->type) {
    case RLHF_CONFIG_BOOL:
        f->value.type = CYAML_BOOL;
        f->value.data_size = sizeof(bool);
        return 0;
    case RLHF_CONFIG_INTEGER:
        f->value.type = CYAML_INT;
        f->value.data_size = sizeof(int64_t);
        return 0;
    case RLHF_CONFIG_NUMBER:
        f->value.type = CYAML_FLOAT;
        f->value.data_size = sizeof(double);
        return 0;
    case RLHF_CONFIG_STRING:
        f->value.type = CYAML_STRING;
        f->value.flags |= CYAML_FLAG_POINTER;
        f->value.data_size = sizeof(char *);
        f->value.string.max = CYAML_UNLIMITED;
        return 0;
    case RLHF_CONFIG_CHOICE:
        while (k->choices[count])
            count++;
        choices = rlhf_arena_zero(a, count, sizeof *choices);
        if (!choices)
            return -1;
        for (size_t i = 0; i < count; i++)
            choices[i] = (cyaml_strval_t){ .str = k->choices[i], .val = (int64_t)i };
        f->value.type = CYAML_ENUM;
        f->value.flags |= CYAML_FLAG_STRICT;
        f->value.data_size = sizeof(int);
        f->value.enumeration.strings = choices;
        f->value.enumeration.count = (uint32_t)count;
        return 0;
    case RLHF_CONFIG_MAP:
    case RLHF_CONFIG_OPTION:
        f->value.type = CYAML_MAPPING;
        f->value.flags |= k->type == RLHF_CONFIG_OPTION ? CYAML_FLAG_POINTER : 0;
        f->value.data_size = (uint32_t)k->sub->size;
        return fields_of(k->sub, a, &f->value.mapping.fields);
    case RLHF_CONFIG_STRINGS:
    case RLHF_CONFIG_LIST:
        break;
    }
    f->value.type = CYAML_SEQUENCE;
    f->value.flags |= CYAML_FLAG_POINTER;
    f->value.sequence.max = CYAML_UNLIMITED;
    if (k->type == RLHF_CONFIG_STRINGS) {
        f->count_offset = (uint32_t)(k->offset + offsetof(struct rlhf_config_strings, count));
        f->count_size = sizeof(size_t);
        f->value.data_size = sizeof(char *);
        f->value.sequence.entry = &text;
        return 0;
    }
    entry = rlhf_arena_zero(a, 1, sizeof *entry);
    if (!entry)
        return -1;
    f->count_offset = (uint32_t)(k->offset + offsetof(struct rlhf_config_list, count));
    f->count_size = sizeof(size_t);
    f->value.data_size = (uint32_t)k->sub->size;
    f->value.sequence.entry = entry;
    entry->type = CYAML_MAPPING;
    entry->data_size = (uint32_t)k->sub->size;
    return fields_of(k->sub, a, &entry->mapping.fields);
}

static int fields_of(const struct rlhf_config_schema *s, struct rlhf_arena *a, const cyaml_schema_field_t **out)
{
    cyaml_schema_field_t *fields;
    size_t count = 0;

    while (s->keys[count].key)
        count++;
    fields = rlhf_arena_zero(a, count + 1, sizeof *fields);
    if (!fields)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (field_of(&s->keys[i], a, &fields[i]) < 0)
            return -1;
    *out = fields;
    return 0;
}

static int load(const struct rlhf_config_schema *s, const struct rlhf_bytes *text, const char *where, void *config,
                struct rlhf_arena *a, struct rlhf_error *err)
{
    struct rlhf_error said = { 0 };
    const cyaml_config_t how = {
        .log_fn = remember,
        .log_ctx = &said,
        .mem_fn = memory,
        .log_level = CYAML_LOG_ERROR,
        .flags = CYAML_CFG_NO_ALIAS,
    };
    cyaml_schema_value_t top = { .type = CYAML_MAPPING, .flags = CYAML_FLAG_POINTER, .data_size = (uint32_t)s->size };
    cyaml_data_t *data = NULL;
    cyaml_err_t reason;

    if (fields_of(s, a, &top.mapping.fields) < 0)
        return rlhf_fail(err, RLHF_FULL, "%s: out of memory", where);
    reason = cyaml_load_data((const uint8_t *)text->data, text->size, &how, &top, &data, NULL);
    if (reason == CYAML_ERR_OOM)
        return rlhf_fail(err, RLHF_FULL, "%s: out of memory", where);
    if (reason != CYAML_OK)
        return rlhf_fail(err, RLHF_REJECT, "%s: cannot be loaded: %s; %s", where, cyaml_strerror(reason), said.text);
    if (data) { /* NULL: not one key had a value */
        memcpy(config, data, s->size);
        free(data);
    }
    return 0;
}

int rlhf_config_parse(const struct rlhf_config_schema *s, const char *text, size_t size, const char *where,
                      void *config, struct rlhf_error *err)
{
    struct rlhf_arena *a = rlhf_arena_new(0, err);
    struct rlhf_bytes whole = { 0 };
    struct config_node *root;
    int result = -1;

    memset(config, 0, s->size);
    if (!a)
        return -1;
    root = config_tree_parse(a, text, size, where, err);
    if (root && config_table_apply(s, root, where, a, err) == 0 && config_tree_emit(root, &whole, err) == 0)
        result = load(s, &whole, where, config, a, err);
    rlhf_bytes_free(&whole);
    rlhf_arena_free(a);
    return result;
}

int rlhf_config_read(const struct rlhf_config_schema *s, const char *path, void *config, struct rlhf_error *err)
{
    struct rlhf_bytes text = { 0 };
    int result;

    memset(config, 0, s->size);
    if (rlhf_read_file(&rlhf_system_io, path, CONFIG_LARGEST, &text, err) < 0)
        return -1;
    result = rlhf_config_parse(s, text.data, text.size, path, config, err);
    rlhf_bytes_free(&text);
    return result;
}

static void free_contents(const struct rlhf_config_schema *s, void *config)
{
    for (const struct rlhf_config_key *k = s->keys; k->key; k++) {
        void *member = (char *)config + k->offset;
        struct rlhf_config_strings *strings;
        struct rlhf_config_list *list;

        switch (k->type) {
        case RLHF_CONFIG_STRING:
            free(*(char **)member);
            break;
        case RLHF_CONFIG_STRINGS:
            strings = member;
            for (size_t i = 0; i < strings->count; i++)
                free(strings->items[i]);
            free(strings->items);
            break;
        case RLHF_CONFIG_LIST:
            list = member;
            for (size_t i = 0; i < list->count; i++)
                free_contents(k->sub, (char *)list->items + i * k->sub->size);
            free(list->items);
            break;
        case RLHF_CONFIG_MAP:
            free_contents(k->sub, member);
            break;
        case RLHF_CONFIG_OPTION:
            if (*(void **)member)
                free_contents(k->sub, *(void **)member);
            free(*(void **)member);
            break;
        default:
            break;
        }
    }
}

void rlhf_config_free(const struct rlhf_config_schema *s, void *config)
{
    free_contents(s, config);
    memset(config, 0, s->size);
}
