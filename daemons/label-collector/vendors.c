#include "vendors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "export.h"
#include "judgement.h"

static const struct collector_vendor *const vendors[] = {
    &collector_label_studio, &collector_labelbox, &collector_scale, &collector_surge, &collector_argilla};

const struct collector_vendor *collector_vendor_find(const char *name)
{
    for (size_t i = 0; i < sizeof(vendors) / sizeof(vendors[0]); ++i)
        if (strcmp(vendors[i]->name, name) == 0)
            return vendors[i];
    return NULL;
}

/* ---- our own words ------------------------------------------------------------------------------- */

static int own_judgement(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    (void)g;
    if (!json_is_object(record) || !*collector_text_of(json_object_get(record, "id"))
        || !*collector_text_of(json_object_get(record, "labeler")))
        return rlhf_fail(err, RLHF_REJECT, "a judgement must be an object with id and labeler");
    if (json_object_get(record, "skip") && !json_is_string(json_object_get(record, "skip")))
        return rlhf_fail(err, RLHF_REJECT, "skip must be a text: why it was passed on");
    json_t *said = json_copy((json_t *)(uintptr_t)record);
    static const char *const ours[] = { "error", "directed", "ordered", "ranked" };
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); ++i) /* words among ourselves */
        json_object_del(said, ours[i]);
    return json_array_append_new(list, said) == 0 ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory");
}

static bool own_task(const json_t *record, struct collector_vendor_task *t)
{
    return collector_task_named(t, json_object_get(record, "task"), NULL);
}

const struct collector_vendor collector_own_words = { .name = "webhook", .judgements = own_judgement, .task = own_task };

/* ---- what was said ------------------------------------------------------------------------------- */

json_t *collector_said(json_t *list, const char *id, const char *labeler)
{
    json_t *said = json_pack("{s:s, s:s}", "id", id, "labeler", labeler);

    json_array_append_new(list, said);
    return said;
}

int collector_said_wrongly(json_t *said, const char *fmt, ...)
{
    char text[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    json_object_set_new(said, "error", json_string(text));
    return 0;
}

void collector_said_task(json_t *said, const json_t *id)
{
    const char *text = collector_text_of(id);

    if (*text)
        json_object_set_new(said, "task", json_string(text));
}

void collector_said_of(json_t *said, const json_t *fields, const char *completion_keys)
{
    json_t *completions = json_array(), *prompt = json_object_get(fields, "prompt");
    char key[64];

    for (int i = 1; i <= COLLECTOR_MAX_COMPLETIONS; ++i) {
        snprintf(key, sizeof(key), completion_keys, i);
        json_t *text = json_object_get(fields, key);
        if (!json_is_string(text))
            break;
        json_array_append(completions, text);
    }
    if (json_is_string(prompt) && json_array_size(completions) > 1) {
        json_object_set(said, "prompt", prompt);
        json_object_set(said, "completions", completions);
    }
    json_decref(completions);
}

void collector_said_best(json_t *said, size_t k, int best)
{
    json_t *ranks = json_array();

    for (size_t i = 0; i < k; ++i)
        json_array_append_new(ranks, json_integer(best < 0 || i == (size_t)best ? 1 : 2));
    json_object_set_new(said, "ranks", ranks);
}

static const char *const facts_kept[] = { "id",       "labeler", "task",  "round", "ranks",   "presented", "seconds",
                                          "strength", "flags",   "note",  "ratings", "prompt", "completions" };

void collector_said_facts(json_t *said, const json_t *facts)
{
    enum { FACTS = sizeof(facts_kept) / sizeof(facts_kept[0]), TEXTS = 2 };

    if (!json_object_get(facts, "ranks")) /* none of ours */
        return;
    json_object_del(said, "directed");
    json_object_del(said, "error");
    for (size_t i = 0; i < FACTS; ++i) {
        json_t *fact = json_object_get(facts, facts_kept[i]);
        if (i < FACTS - TEXTS) /* what a record says of itself is less */
            json_object_del(said, facts_kept[i]);
        if (fact && !json_is_null(fact))
            json_object_set(said, facts_kept[i], fact);
    }
    json_object_set_new(said, "ordered", json_true()); /* as the task has them, whatever a vendor was shown */
}

json_t *collector_facts_of(const struct collector_row *row)
{
    json_t *all = collector_row_json(row), *facts = json_object();

    for (size_t i = 0; i < sizeof(facts_kept) / sizeof(facts_kept[0]) - 2; ++i) { /* the texts stand in the record itself */
        json_t *fact = json_object_get(all, facts_kept[i]);
        if (fact && !json_is_null(fact))
            json_object_set(facts, facts_kept[i], fact);
    }
    json_decref(all);
    return facts;
}

bool collector_task_named(struct collector_vendor_task *t, const json_t *uid, const json_t *remote)
{
    int size = snprintf(t->uid, sizeof(t->uid), "%s", collector_text_of(uid));

    snprintf(t->remote, sizeof(t->remote), "%s", collector_text_of(remote));
    return size > 0 && (size_t)size < sizeof(t->uid);
}

bool collector_means_tie(const struct collector_guesses *g, const char *answer)
{
    for (size_t i = 0; i < g->tie_words.count; ++i)
        if (strcasestr(answer, g->tie_words.items[i]))
            return true;
    return false;
}

const char *collector_text_of(const json_t *value)
{
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % 4];

    if (json_is_string(value))
        return json_string_value(value);
    *text = '\0';
    if (json_is_integer(value))
        snprintf(text, sizeof(texts[0]), "%lld", (long long)json_integer_value(value));
    return text;
}

/* ---- files ---------------------------------------------------------------------------------------- */

/* One cell from *at on, unquoted, into cell; *at moves behind it. Returns what ended it: ',', '\n' or 0. RFC
 * 4180. */
static char read_cell(const char **at, const char *end, struct rlhf_bytes *cell)
{
    const char *c = *at;
    bool quoted = c < end && *c == '"';

    rlhf_bytes_clear(cell);
    c += quoted;
    for (; c < end; ++c) {
        if (quoted && *c == '"') {
            if (c + 1 < end && c[1] == '"')
                ++c;
            else {
                quoted = false;
                continue;
            }
        } else if (!quoted && (*c == ',' || *c == '\n')) {
            *at = c + 1;
            return *c;
        } else if (!quoted && *c == '\r') {
            continue;
        }
        rlhf_bytes_append(cell, c, 1, NULL);
    }
    *at = end;
    return 0;
}

/* Cells that hold JSON become what they hold. */
static json_t *cell_json(const struct rlhf_bytes *cell)
{
    json_t *json = cell->size ? json_loadb(cell->data, cell->size, JSON_DECODE_ANY, NULL) : NULL;

    return json ? json : json_stringn(cell->size ? cell->data : "", cell->size);
}

/* Texts of people and models, which are never taken for JSON. */
static bool is_text(const char *column)
{
    return strcmp(column, "prompt") == 0 || strcmp(column, "uid") == 0 || strncmp(column, "answer", 6) == 0;
}

/* A line of CSV as an object (names: the header), or as the list of its cells. */
static json_t *read_line(const char **at, const char *end, const json_t *names, struct rlhf_bytes *cell)
{
    json_t *line = names ? json_object() : json_array();
    size_t column = 0;
    char ended;

    do {
        ended = read_cell(at, end, cell);
        const char *name = json_string_value(json_array_get(names, column++));
        if (!names)
            json_array_append_new(line, json_stringn(cell->size ? cell->data : "", cell->size));
        else if (name)
            json_object_set_new(line, name,
                                is_text(name) ? json_stringn(cell->size ? cell->data : "", cell->size) : cell_json(cell));
    } while (ended == ',');
    return line;
}

static json_t *read_csv(const char *text, size_t size)
{
    const char *at = text, *end = text + size;
    struct rlhf_bytes cell = {0};
    json_t *names = read_line(&at, end, NULL, &cell), *records = json_array();

    while (at < end)
        json_array_append_new(records, read_line(&at, end, names, &cell));
    json_decref(names);
    rlhf_bytes_free(&cell);
    return records;
}

/* JSON texts one behind another. NULL and the line at fault. */
static json_t *read_lines(const char *text, size_t size, struct rlhf_error *err)
{
    json_t *records = json_array(), *one;
    json_error_t where;
    size_t line = 0;

    for (const char *at = text, *end = text + size; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline ? newline : end) - at);
        ++line;
        if (length > strspn(at, " \t\r") || !newline) {
            if (!(one = json_loadb(at, length, 0, &where))) {
                json_decref(records);
                rlhf_fail(err, RLHF_REJECT, "line %zu, column %d: %s", line, where.column, where.text);
                return NULL;
            }
            json_array_append_new(records, one);
        }
        at += length + 1;
    }
    return records;
}

json_t *collector_vendor_records(const struct collector_vendor *v, const char *text, size_t size,
                                 struct rlhf_error *err)
{
    size_t blank = 0;
    json_t *document, *records;

    if (memchr(text, '\0', size)) {
        rlhf_fail(err, RLHF_REJECT, "a NUL byte: this is no text");
        return NULL;
    }
    while (blank < size && strchr(" \t\r\n", text[blank]))
        ++blank;
    if (blank == size) {
        rlhf_fail(err, RLHF_REJECT, "the file is empty");
        return NULL;
    }
    if (text[blank] != '{' && text[blank] != '[')
        return v == &collector_label_studio ? read_csv(text, size) : read_lines(text, size, err);
    if (!(document = json_loadb(text, size, 0, NULL)))
        return read_lines(text, size, err);
    json_t *inside = v->list ? json_object_get(document, v->list) : NULL;
    records = json_is_array(document) ? json_incref(document)
              : json_is_array(inside) ? json_incref(inside)
                                      : json_pack("[O]", document);
    json_decref(document);
    return records;
}
