#include "transfer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "data/data.h"
#include "store_parts.h"
#include "store_vendors.h"
#include "telemetry/log.h"
#include "vendors.h"

enum {
    MAX_LINE = 16 * 1024 * 1024, /* K texts of 256 KiB, escaped */
};

/* ---- import ------------------------------------------------------------------------------------ */

/* What the parser of comparisons puts in front of its errors. */
#define PLACE "this line"

/* Ratings, flags and demonstrations have no ranks, and are read as the API takes them. */
static bool is_ranking(const json_t *json)
{
    const char *kind = json_string_value(json_object_get(json, "kind"));

    return !kind || strcmp(kind, "ranking") == 0 || json_array_size(json_object_get(json, "ranks")) > 0;
}

static int read_content(struct collector_label *l, struct rlhf_comparison *comparison, const json_t *json, const char *line,
                        size_t size, const struct collector_import *i, struct rlhf_error *err)
{
    if (!is_ranking(json)) {
        if (collector_label_parse(l, json, false, err) < 0)
            return -1;
        l->round = json_object_get(json, "round") ? l->round : i->round;
        return 0;
    }
    if (rlhf_comparison_parse(comparison, line, size, PLACE, err) < 0 || collector_label_borrow(l, comparison, err) < 0)
        return -1;
    l->round = i->round;
    return collector_label_parse_extras(l, json, err);
}

/* The task of a line that says of which kind it is, or whose its completions are: neither stands in a label. A task that is
 * known stays as it is, and the label tells whether it fits. */
static int put_its_task(struct collector_store *s, const struct collector_label *l, const json_t *json, struct rlhf_error *err)
{
    const char *kind = json_string_value(json_object_get(json, "kind"));
    const json_t *policies = json_object_get(json, "policies");
    struct collector_task t = { .id = l->task, .round = l->round, .content = l->content };
    struct collector_receipt receipt;
    struct rlhf_error why = { .code = RLHF_OK };

    if (!l->task || (is_ranking(json) && !json_is_array(policies)) || !l->content.prompt
        || collector_kind_parse(&t.kind, kind ? kind : "ranking", &why) < 0)
        return 0;
    t.policies = json_is_array(policies) ? json_dumps(policies, JSON_COMPACT) : NULL;
    int rc = collector_task_check(&t, &why) < 0 ? -1 : collector_store_put_task(s, &t, &receipt, &why);
    free(t.policies);
    if (rc == 0 || why.code == RLHF_REJECT)
        return 0;
    *err = why;
    return -1;
}

/* Fills the label from one line. Its text is borrowed from *comparison, json and name. */
static int read_line(struct collector_label *l, struct rlhf_comparison *comparison, const json_t *json,
                     const char *line, size_t size, const struct collector_import *i,
                     char name[RLHF_DIGEST_TEXT], struct rlhf_error *err)
{
    struct rlhf_digest content, digest;

    if (read_content(l, comparison, json, line, size, i, err) < 0)
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

/* What the field's files call otherwise. */
static void rename_key(json_t *json, const char *from, const char *to)
{
    if (json_object_get(json, from) && !json_object_get(json, to))
        json_object_set(json, to, json_object_get(json, from));
}

/* Fields that are known by other names. Scores are not kept: the same pair without them is the same comparison. */
static void read_habits(json_t *json, struct collector_import *i)
{
    const json_t *better = json_object_get(json, "score_chosen"), *worse = json_object_get(json, "score_rejected");

    rename_key(json, "worker", "labeler");
    rename_key(json, "annotator", "labeler");
    rename_key(json, "likert", "ratings");
    i->warned += json_is_number(better) && json_is_number(worse) && json_number_value(better) < json_number_value(worse);
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

    if (json_is_object(json) && !is_ranking(json))
        json_object_del(json, "ranks"); /* an export writes an empty list */
    if (json_is_object(json))
        read_habits(json, i);
    if (!json_is_object(json))
        rlhf_fail(&why, RLHF_REJECT, "%s", json ? "not a JSON object" : where.text);
    else if (read_line(&l, &comparison, json, line, size, i, name, &why) == 0 && put_its_task(s, &l, json, &why) == 0)
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

    i->lines = i->stored = i->known = i->revised = i->rejected = i->warned = 0;
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
    if (i->warned)
        rlhf_log(RLHF_LEVEL_WARNING, "import lines=%zu: %zu have the lower score on what was chosen", i->lines, i->warned);
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
    if (!task || collector_name_check("task", task, false, why) < 0)
        return 0;
    if (collector_store_put_skip(s, task, labeler, reason, &receipt, why) == 0)
        return receipt.outcome == COLLECTOR_STORED ? collector_vendor_paid(s, i->source, task, why) : 0;
    return receipt.outcome == COLLECTOR_MISSING || receipt.outcome == COLLECTOR_CONFLICT ? 0 : -1;
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

    if (!task || json_object_get(said, "ordered"))
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

/* The completion that a message is: by its policy, in the task's order; else "Response B", in the order it was given in. */
static int completion_of(const json_t *message, const json_t *policies, size_t count, bool *by_policy)
{
    const char *policy = collector_text_of(json_object_get(message, "policy"));
    const char *name = collector_text_of(json_object_get(message, "message"));
    int found = -1, times = 0;

    for (size_t k = 0; k < count && *policy; ++k)
        if (strcmp(collector_text_of(json_array_get(policies, k)), policy) == 0) {
            found = (int)k;
            ++times;
        }
    *by_policy = times == 1;
    if (times == 1)
        return found;
    size_t letter = strlen(name) == 10 && strncmp(name, "Response ", 9) == 0 ? (size_t)(name[9] - 'A') : count;
    return letter < count ? (int)letter : -1;
}

/* Ranks of messages that are only named; what is not among them comes after those that are. */
static int rank_messages(json_t *said, const json_t *ranked, const json_t *policies, size_t count, struct rlhf_error *err)
{
    json_int_t rank[COLLECTOR_MAX_COMPLETIONS] = { 0 };
    json_t *message, *ranks;
    bool by_policy = false, first = false;
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)ranked, i, message) {
        int k = completion_of(message, policies, count, &by_policy);
        first = i ? first : by_policy;
        if (k < 0 || rank[k] || by_policy != first)
            return rlhf_fail(err, RLHF_REJECT,
                             "message %.60s of %.60s is no completion of the task: its policies tell whose they are",
                             collector_text_of(json_object_get(message, "message")),
                             collector_text_of(json_object_get(message, "policy")));
        rank[k] = json_integer_value(json_object_get(message, "order"));
    }
    ranks = json_array();
    for (i = 0; i < count; ++i)
        json_array_append_new(ranks, json_integer(rank[i] ? rank[i] : (json_int_t)json_array_size(ranked) + 1));
    json_object_set_new(said, "ranks", ranks);
    if (first)
        json_object_set_new(said, "ordered", json_true());
    return 0;
}

static int name_ranks(struct collector_store *s, json_t *said, const char *vendor, struct rlhf_error *err)
{
    const json_t *ranked = json_object_get(said, "ranked");
    char task[COLLECTOR_MAX_NAME + 1];
    json_t *policies = NULL;
    size_t count = 0;

    if (!json_is_array(ranked) || json_object_get(said, "ranks"))
        return 0;
    snprintf(task, sizeof(task), "%s", collector_text_of(json_object_get(said, "task")));
    if (collector_vendor_policies(s, vendor, task, sizeof(task), &policies, &count, err) < 0)
        return -1;
    int rc = count ? rank_messages(said, ranked, policies, count, err)
                   : rlhf_fail(err, RLHF_REJECT, "there is no task %s: give tasks the ids or global keys of data rows", task);
    json_decref(policies);
    json_object_set_new(said, "task", json_string(task));
    return rc;
}

static int put_judged(struct collector_store *s, json_t *said, struct collector_import *i, struct rlhf_error *err)
{
    struct collector_label l = { 0 };
    struct collector_receipt receipt = { .outcome = COLLECTOR_INVALID };
    int rc = name_ranks(s, said, i->source, err) < 0 || restore_order(s, said, i->source, err) < 0
                     || collector_label_parse(&l, said, false, err) < 0
                 ? -1
                 : 0;

    l.source = i->source;
    l.round = *i->round || !l.round ? i->round : l.round;
    if (rc == 0 && (rc = collector_label_check(&l, err)) == 0
        && (rc = collector_store_put_label(s, &l, &receipt, err)) == 0) {
        count(i, receipt.outcome);
        if (l.task && receipt.outcome == COLLECTOR_STORED)
            rc = collector_vendor_paid(s, i->source, l.task, err);
    }
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

    i->lines = i->stored = i->known = i->revised = i->skipped = i->rejected = i->deleted = i->warned = 0;
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
