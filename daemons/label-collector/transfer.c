#include "transfer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "data/data.h"
#include "store_parts.h"
#include "store_vendors.h"
#include "vendors.h"

enum {
    MAX_LINE = 16 * 1024 * 1024, /* K texts of 256 KiB, escaped */
    EXPORT_ROWS = 256,           /* read from the store at a time ... */
    EXPORT_BYTES = 1 << 20,      /* ... or until so much text is waiting to be sent */
};

/* ---- import ------------------------------------------------------------------------------------ */

/* What the parser of comparisons puts in front of its errors. */
#define PLACE "this line"

/* Fills the label from one line. Its text is borrowed from *comparison, json and name. */
static int read_line(struct collector_label *l, struct rlhf_comparison *comparison, const json_t *json,
                     const char *line, size_t size, const struct collector_import *i,
                     char name[RLHF_DIGEST_TEXT], struct rlhf_error *err)
{
    struct rlhf_digest content, digest;

    if (rlhf_comparison_parse(comparison, line, size, PLACE, err) < 0
        || collector_label_borrow(l, comparison, err) < 0)
        return -1;
    l->round = i->round;
    if (collector_label_parse_extras(l, json, err) < 0)
        return -1;
    l->revision = 0; /* of the store it came from */
    l->source = l->source ? l->source : i->source;
    l->labeler = l->labeler ? l->labeler : i->labeler;
    if (i->only_source && strcmp(l->source, i->only_source) != 0)
        return rlhf_fail(err, RLHF_REJECT, "source is %.60s, but this is %.60s's token", l->source, i->only_source);
    bool named = l->id != NULL;
    l->id = named ? l->id : "line";
    if (collector_label_check(l, err) < 0)
        return -1;
    if (named)
        return 0;
    /* A line without a name is named by its content, so that the same line again is a retry. */
    if (collector_content_digest(&l->content, &content, err) < 0
        || collector_label_digest(l, &content, &digest, err) < 0)
        return -1;
    rlhf_digest_text(&digest, name);
    l->id = name;
    return 0;
}

static void count(struct collector_import *i, enum collector_outcome outcome)
{
    ++*(outcome == COLLECTOR_STORED ? &i->stored : outcome == COLLECTOR_REVISED ? &i->revised : &i->known);
}

/* 0 when the line was stored or refused, -1 when the database failed. */
static int import_line(struct collector_store *s, const char *line, size_t size, struct collector_import *i,
                       struct rlhf_error *err)
{
    struct rlhf_comparison comparison = { 0 };
    struct collector_label l = { 0 };
    struct collector_receipt receipt;
    struct rlhf_error why = { .code = RLHF_OK };
    char name[RLHF_DIGEST_TEXT];
    json_error_t where;
    json_t *json = json_loadb(line, size, JSON_REJECT_DUPLICATES, &where);
    int rc = -1;

    if (!json_is_object(json))
        rlhf_fail(&why, RLHF_REJECT, "%s", json ? "not a JSON object" : where.text);
    else if (read_line(&l, &comparison, json, line, size, i, name, &why) == 0)
        rc = collector_store_put_label(s, &l, &receipt, &why);
    if (rc == 0) {
        count(i, receipt.outcome);
    } else if (why.code == RLHF_REJECT) {
        ++i->rejected;
        if (i->refused) /* which has the line's number */
            i->refused(i->ctx, i->lines,
                       why.text + (rlhf_starts_with(why.text, PLACE ": ") ? sizeof(PLACE) + 1 : 0));
        rc = 0;
    } else if (err) {
        *err = why;
    }
    collector_label_free(&l);
    rlhf_comparison_free(&comparison);
    json_decref(json);
    return rc;
}

int collector_import(struct collector_store *s, const char *text, size_t size, struct collector_import *i,
                     struct rlhf_error *err)
{
    const char *end = text + size;

    i->lines = i->stored = i->known = i->revised = i->rejected = 0;
    for (const char *line = text, *next; line < end; line = next) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline ? newline : end) - line);
        next = newline ? newline + 1 : end;
        ++i->lines;
        while (length && strchr(" \t\r", line[length - 1]))
            --length;
        if (!length)
            continue;
        if (length > MAX_LINE) {
            ++i->rejected;
            if (i->refused)
                i->refused(i->ctx, i->lines, "longer than 16 MiB");
        } else if (import_line(s, line, length, i, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- vendors' files ------------------------------------------------------------------------------ */

static void refuse(struct collector_import *i, const char *why)
{
    ++i->rejected;
    if (i->refused)
        i->refused(i->ctx, i->lines, why);
}

/* Somebody passed a task on. Nobody here may know of it. */
static int put_skipped(struct collector_store *s, const json_t *said, struct collector_import *i, struct rlhf_error *why)
{
    const char *task = json_string_value(json_object_get(said, "task"));
    const char *labeler = json_string_value(json_object_get(said, "labeler"));
    const char *reason = json_string_value(json_object_get(said, "skip"));
    struct collector_receipt receipt = { .outcome = COLLECTOR_MISSING };

    if (collector_name_check("labeler", labeler, false, why) < 0 || collector_name_check("skip", reason, true, why) < 0)
        return -1;
    ++i->skipped;
    if (!task || collector_name_check("task", task, false, why) < 0
        || collector_store_put_skip(s, task, labeler, reason, &receipt, why) == 0
        || receipt.outcome == COLLECTOR_MISSING || receipt.outcome == COLLECTOR_CONFLICT)
        return 0;
    return -1;
}

/* list in the order of the task: its element i stands for completion presented[i]. */
static void reorder(json_t *said, const char *key, const uint32_t *presented, size_t k)
{
    json_t *list = json_object_get(said, key), *ordered = json_array();

    if (json_array_size(list) != k) {
        json_decref(ordered);
        return;
    }
    for (size_t c = 0; c < k; ++c)
        for (size_t i = 0; i < k; ++i)
            if (presented[i] == c)
                json_array_append(ordered, json_array_get(list, i));
    json_object_set_new(said, key, ordered);
}

/* A task given to a vendor was given with its completions in an order chosen at random; so it comes back. */
static int restore_order(struct collector_store *s, json_t *said, const char *vendor, struct rlhf_error *err)
{
    const char *task = json_string_value(json_object_get(said, "task"));
    char text[128];
    uint32_t presented[COLLECTOR_MAX_COMPLETIONS];

    if (!task)
        return 0;
    if (collector_vendor_order(s, vendor, task, text, sizeof(text), err) < 0)
        return -1;
    size_t k = collector_parse_numbers(text, presented);
    if (!k)
        return 0;
    if (json_array_size(json_object_get(said, "ranks")) != k)
        return rlhf_fail(err, RLHF_REJECT, "task %s has %zu completions, %zu were judged", task, k,
                         json_array_size(json_object_get(said, "ranks")));
    reorder(said, "ranks", presented, k);
    reorder(said, "completions", presented, k);
    json_t *strength = json_object_get(said, "strength");
    if (json_is_true(json_object_get(said, "directed")) && k == 2 && presented[0] == 1)
        json_object_set_new(said, "strength", json_integer(-json_integer_value(strength)));
    json_t *order = json_loads(text, 0, NULL);
    json_object_set_new(said, "presented", order);
    return 0;
}

static int put_judged(struct collector_store *s, json_t *said, struct collector_import *i, struct rlhf_error *err)
{
    struct collector_label l = { 0 };
    struct collector_receipt receipt = { .outcome = COLLECTOR_INVALID };
    int rc = restore_order(s, said, i->source, err) < 0 || collector_label_parse(&l, said, false, err) < 0 ? -1 : 0;

    l.source = i->source;
    l.round = i->round;
    if (rc == 0 && (rc = collector_label_check(&l, err)) == 0
        && (rc = collector_store_put_label(s, &l, &receipt, err)) == 0)
        count(i, receipt.outcome);
    collector_label_free(&l);
    return rc;
}

/* One thing that a record says; a judgement that stands has its id added to ids. 0 also when it was refused, -1 *err when
 * the database failed. */
static int put_said(struct collector_store *s, json_t *said, struct collector_import *i, json_t *ids, struct rlhf_error *err)
{
    const char *error = json_string_value(json_object_get(said, "error"));
    bool skip = json_object_get(said, "skip") != NULL;
    struct rlhf_error why = { .code = RLHF_OK };

    if (error) {
        refuse(i, error);
        return 0;
    }
    int rc = skip ? put_skipped(s, said, i, &why) : put_judged(s, said, i, &why);
    if (rc == 0 && !skip)
        json_array_append(ids, json_object_get(said, "id"));
    if (rc < 0 && why.code == RLHF_REJECT) {
        refuse(i, why.text);
        return 0;
    }
    if (rc < 0 && err)
        *err = why;
    return rc;
}

int collector_put_record(struct collector_store *s, const struct collector_vendor *v, const struct collector_guesses *g,
                         const json_t *record, int64_t as_of_us, struct collector_import *i, struct rlhf_error *err)
{
    json_t *list = json_array(), *ids = json_array(), *said;
    struct collector_vendor_task task;
    struct rlhf_error why;
    size_t k, deleted = 0;
    int rc = 0;

    ++i->lines;
    if (v->judgements(record, g, list, &why) < 0) {
        refuse(i, why.text);
        as_of_us = 0;
    }
    json_array_foreach (list, k, said) {
        if (rc == 0)
            rc = put_said(s, said, i, ids, err);
    }
    if (rc == 0 && as_of_us && v->task(record, &task))
        rc = collector_vendor_labels(s, i->source, task.uid, ids, as_of_us, &deleted, err);
    i->deleted += deleted;
    json_decref(ids);
    json_decref(list);
    return rc;
}

int collector_import_vendor(struct collector_store *s, const struct collector_vendor *v, const char *text, size_t size,
                            struct collector_import *i, struct rlhf_error *err)
{
    json_t *records, *record;
    struct rlhf_error why = { .code = RLHF_OK };
    size_t n;
    int rc = 0;

    i->lines = i->stored = i->known = i->revised = i->skipped = i->rejected = i->deleted = 0;
    if (!(records = collector_vendor_records(v, text, size, &why))) {
        refuse(i, why.text);
        return 0;
    }
    json_array_foreach (records, n, record) {
        if (rc == 0)
            rc = collector_put_record(s, v, &collector_default_guesses, record, 0, i, err);
    }
    json_decref(records);
    return rc;
}

/* ---- rows as JSON ------------------------------------------------------------------------------ */

void collector_time_text(int64_t wall_us, char out[32])
{
    time_t seconds = wall_us / 1000000;
    struct tm tm;
    size_t used;

    gmtime_r(&seconds, &tm);
    used = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + used, 32 - used, ".%06dZ", (int)(wall_us % 1000000));
}

static json_t *strings_json(const struct collector_content *c)
{
    json_t *list = json_array();

    for (size_t k = 0; k < c->count; ++k)
        json_array_append_new(list, json_string(c->completion[k]));
    return list;
}

static json_t *ranks_json(const struct collector_label *l)
{
    json_t *ranks = json_array();

    for (size_t k = 0; k < l->rank_count; ++k)
        json_array_append_new(ranks, json_integer(l->rank[k]));
    return ranks;
}

/* Everything about a label but prompt, completions and ranks. */
static json_t *facts_json(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;
    json_t *presented = l->has_presented ? json_array() : json_null();
    char time[32];

    for (size_t k = 0; l->has_presented && k < l->rank_count; ++k)
        json_array_append_new(presented, json_integer(l->presented[k]));
    collector_time_text(row->stored_us, time);
    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:s?, s:s, s:s, s:o, s:s?, s:s?, s:o}", "id", l->id, "source", l->source,
        "task", l->task, "round", l->round, "labeler", l->labeler, "revision", (json_int_t)row->revision,
        "presented", presented, "seconds", l->seconds < 0 ? json_null() : json_real(l->seconds), "strength",
        l->has_strength ? json_integer(l->strength) : json_null(), "flags",
        l->flags ? json_loads(l->flags, 0, NULL) : json_null(), "note", l->note, "stored_at", time, "kind",
        collector_kind_name(row->kind), "ratings", l->ratings ? json_loads(l->ratings, 0, NULL) : json_null(), "answer",
        l->answer, "excluded", row->excluded, "policies",
        row->policies ? json_loads(row->policies, 0, NULL) : json_null());
}

/* first and then the facts, in one object; takes first. */
static json_t *with_facts(json_t *first, const struct collector_row *row)
{
    json_t *facts = facts_json(row);

    if (!first || !facts || json_object_update(first, facts) < 0) {
        json_decref(first);
        first = NULL;
    }
    json_decref(facts);
    return first;
}

json_t *collector_row_json(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;

    return with_facts(json_pack("{s:I, s:s, s:o, s:o}", "sequence", (json_int_t)row->sequence, "prompt",
                                l->content.prompt, "completions", strings_json(&l->content), "ranks",
                                ranks_json(l)),
                      row);
}

/* ---- export ------------------------------------------------------------------------------------ */

struct collector_export {
    struct collector_store *store;
    char *round;
    enum collector_format format;
    uint64_t cursor, last;
    struct rlhf_bytes text; /* lines not read yet, from taken on */
    size_t taken;
    struct rlhf_error err; /* of writing a line */
};

static int write_json(void *ctx, json_t *json)
{
    struct collector_export *e = ctx;
    char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
    int rc = line ? rlhf_bytes_printf(&e->text, &e->err, "%s\n", line)
                  : rlhf_fail(&e->err, RLHF_FULL, "out of memory");

    free(line);
    json_decref(json);
    return rc;
}

static json_t *kway_json(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;

    return with_facts(json_pack("{s:s, s:o, s:o}", "prompt", l->content.prompt, "responses",
                                strings_json(&l->content), "ranks", ranks_json(l)),
                      row);
}

/* prompt and completion as one transcript. */
static json_t *transcript_json(const char *prompt, const char *completion)
{
    bool spaced = *completion == ' ' || *completion == '\n';

    return collector_is_transcript(prompt)
               ? json_sprintf("%s%s", prompt, completion)
               : json_sprintf("\n\nHuman: %s\n\nAssistant:%s%s", prompt, spaced ? "" : " ", completion);
}

static json_t *pair_json(const struct collector_export *e, const struct collector_label *l, size_t chosen,
                         size_t rejected)
{
    const struct collector_content *c = &l->content;
    const char *best = c->completion[chosen], *worse = c->completion[rejected];

    if (e->format == COLLECTOR_HH)
        return json_pack("{s:o, s:o}", "chosen", transcript_json(c->prompt, best), "rejected",
                         transcript_json(c->prompt, worse));
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "prompt", c->prompt, "chosen", best, "rejected", worse,
                     "id",
                     c->count == 2 ? json_string(l->id) : json_sprintf("%s/%zu-%zu", l->id, chosen, rejected),
                     "labeler", l->labeler, "round", l->round);
}

static int write_pairs(struct collector_export *e, const struct collector_label *l)
{
    for (size_t i = 0; i < l->rank_count; ++i)
        for (size_t j = 0; j < l->rank_count; ++j)
            if (l->rank[i] < l->rank[j] && strcmp(l->content.completion[i], l->content.completion[j]) != 0
                && write_json(e, pair_json(e, l, i, j)) < 0)
                return -1;
    return 0;
}

static bool export_row(void *ctx, const struct collector_row *row)
{
    struct collector_export *e = ctx;
    int rc = 0;

    if (!row->excluded) /* what does not count is nobody's training data */
        rc = e->format == COLLECTOR_KWAY ? write_json(e, kway_json(row)) : write_pairs(e, &row->label);
    e->cursor = row->sequence;
    return rc == 0 && e->text.size < EXPORT_BYTES;
}

struct collector_export *collector_export_new(struct collector_store *s, const char *round,
                                              enum collector_format format, struct rlhf_error *err)
{
    struct collector_export *e = calloc(1, sizeof(*e));
    struct collector_counts counts;

    if (!e || !(e->round = strdup(round))) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        goto failed;
    }
    if (collector_store_counts(s, "", &counts, err) < 0)
        goto failed;
    e->store = s;
    e->format = format;
    e->last = counts.sequence;
    return e;
failed:
    collector_export_free(e);
    return NULL;
}

ptrdiff_t collector_export_read(struct collector_export *e, char *out, size_t max, struct rlhf_error *err)
{
    while (e->taken == e->text.size && e->cursor < e->last) {
        uint64_t before = e->cursor;
        struct collector_range range = {
            .round = e->round, .cursor = before, .last = e->last, .limit = EXPORT_ROWS, .latest = true
        };
        rlhf_bytes_clear(&e->text);
        e->taken = 0;
        if (collector_store_list(e->store, &range, export_row, e, err) < 0)
            return -1;
        if (e->err.code != RLHF_OK) {
            if (err)
                *err = e->err;
            return -1;
        }
        if (e->cursor == before)
            e->cursor = e->last;
    }
    size_t size = e->text.size - e->taken;
    size = size < max ? size : max;
    if (size) /* the buffer may not exist */
        memcpy(out, e->text.data + e->taken, size);
    e->taken += size;
    return (ptrdiff_t)size;
}

void collector_export_free(struct collector_export *e)
{
    if (!e)
        return;
    rlhf_bytes_free(&e->text);
    free(e->round);
    free(e);
}
