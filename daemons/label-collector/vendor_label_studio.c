/* vendor_label_studio.c - Label Studio: exports JSON, JSON_MIN and CSV (whose lines are JSON_MIN's records).
 *
 * Measured with 1.23.2: a pair says "left" or "right" of the control's two texts; a ranker's submission
 * without a move stores the given order; results are not checked against the project's configuration by
 * anybody. */
#include "export.h"
#include "judgement.h"
#include "vendors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* completed_by is a number in exports and an object in a task's details. */
static const char *labeler_of(const json_t *who, char text[64])
{
    const json_t *id = json_is_object(who) ? json_object_get(who, "id") : who;

    snprintf(text, 64, "annotator-%.40s", *collector_text_of(id) ? collector_text_of(id) : "unknown");
    return text;
}

/* Prompt and completions of a list, where the data have both. */
static void read_texts(json_t *said, const json_t *data)
{
    json_t *item, *completions = json_array(), *prompt = json_object_get(data, "prompt");
    size_t i;

    json_array_foreach (json_object_get(data, "items"), i, item)
        json_array_append(completions, json_object_get(item, "body"));
    if (json_is_string(prompt) && json_array_size(completions) > 1) {
        json_object_set(said, "prompt", prompt);
        json_object_set(said, "completions", completions);
    }
    json_decref(completions);
}

/* An order that is the one shown, given in no time: perhaps nobody has moved anything. */
static void flag_untouched(json_t *said, const struct collector_guesses *g)
{
    const json_t *seconds = json_object_get(said, "seconds"), *ranks = json_object_get(said, "ranks");
    json_t *flags = json_object_get(said, "flags");

    for (size_t i = 0; i < json_array_size(ranks); ++i)
        if (json_integer_value(json_array_get(ranks, i)) != (json_int_t)i + 1)
            return;
    if (!json_is_number(seconds) || json_number_value(seconds) >= g->untouched_seconds)
        return;
    if (!json_is_array(flags)) {
        flags = json_array();
        json_object_set_new(said, "flags", flags);
    }
    json_array_append_new(flags, json_string("untouched?"));
}

/* Ranks from the ids of items, best first. */
static int read_ranking(json_t *said, const json_t *data, const json_t *order, const struct collector_guesses *g)
{
    const json_t *items = json_object_get(data, "items");
    size_t k = json_array_size(items), i, j;
    json_t *ranks = json_array(), *item, *id;

    json_array_foreach ((json_t *)(uintptr_t)items, i, item) {
        size_t place = 0;
        json_array_foreach ((json_t *)(uintptr_t)order, j, id)
            if (strcmp(collector_text_of(id), collector_text_of(json_object_get(item, "id"))) == 0)
                place = j + 1;
        json_array_append_new(ranks, json_integer((json_int_t)place));
        if (place == 0)
            k = 0;
    }
    bool whole = k > 1 && json_array_size(order) == k;
    if (whole)
        json_object_set(said, "ranks", ranks);
    json_decref(ranks);
    if (!whole)
        return collector_said_wrongly(said, "the ranking does not name each item once");
    read_texts(said, data);
    flag_untouched(said, g);
    return 0;
}

/* What stands beside the judgement. */
static void read_besides(json_t *said, const json_t *value)
{
    json_t *rating = json_object_get(value, "rating"), *text = json_object_get(value, "text"), *flags, *choice;
    size_t i;

    if (json_is_integer(rating))
        json_object_set(said, "strength", rating);
    if (json_is_string(json_array_get(text, 0)))
        json_object_set(said, "note", json_array_get(text, 0));
    if (!json_is_array(json_object_get(value, "choices")))
        return;
    if (!(flags = json_object_get(said, "flags"))) {
        flags = json_array();
        json_object_set_new(said, "flags", flags);
    }
    json_array_foreach (json_object_get(value, "choices"), i, choice)
        json_array_append(flags, choice);
}

/* One control's value: 1 it was the judgement, 0 something beside it, and an error in said where it makes no
 * sense. */
static int read_value(json_t *said, const char *type, const char *control, const json_t *value, const json_t *data,
                      const struct collector_guesses *g)
{
    const char *selected = json_string_value(json_object_get(value, "selected"));
    const json_t *ranker = json_object_get(value, "ranker"), *before = json_object_get(said, "ranks");
    json_t *ranks = json_incref((json_t *)(uintptr_t)before);

    if (strcmp(type, "pairwise") == 0 || selected) {
        if (selected && (strcmp(selected, "left") == 0 || strcmp(selected, "right") == 0))
            collector_said_best(said, 2, strcmp(selected, "right") == 0);
        else
            collector_said_wrongly(said, "a pair was judged as %.40s, not left or right",
                                   selected ? selected : "nothing");
    } else if (ranker) { /* under the control's name; buckets have names of their own */
        const json_t *named = json_object_get(ranker, control), *order = named ? named : json_object_get(ranker, "rank");
        if (order)
            read_ranking(said, data, order, g);
        else
            collector_said_wrongly(said, "a ranker with buckets has no order");
    } else {
        read_besides(said, value);
    }
    if (ranks && !json_equal(ranks, json_object_get(said, "ranks")))
        collector_said_wrongly(said, "its results contradict each other");
    json_decref(ranks);
    return selected || ranker || strcmp(type, "pairwise") == 0;
}

/* Takes back what says nothing: an empty submission is no judgement. */
static void drop_last(json_t *list)
{
    json_array_remove(list, json_array_size(list) - 1);
}

/* Of a record that we have exported ourselves: as it was. */
static bool read_facts(json_t *said, const json_t *data)
{
    const json_t *facts = json_object_get(data, "rlhfd");

    if (facts)
        read_texts(said, data);
    collector_said_facts(said, facts);
    return json_object_get(facts, "ranks") != NULL;
}

static void read_annotation(const json_t *annotation, const json_t *data, const struct collector_guesses *g, json_t *list)
{
    const json_t *seconds = json_object_get(annotation, "lead_time"),
                 *result = json_object_get(annotation, "result");
    char labeler[64];
    json_t *said = collector_said(list, collector_text_of(json_object_get(annotation, "id")),
                                  labeler_of(json_object_get(annotation, "completed_by"), labeler));
    json_t *item;
    size_t i;
    int judged = 0;

    collector_said_task(said, json_object_get(data, "uid"));
    collector_said_of(said, data, "answer%d");
    if (json_is_true(json_object_get(annotation, "was_cancelled"))) {
        json_object_set_new(said, "skip", json_string("skipped in Label Studio"));
        return;
    }
    if (json_is_number(seconds))
        json_object_set(said, "seconds", (json_t *)(uintptr_t)seconds);
    json_array_foreach ((json_t *)(uintptr_t)result, i, item)
        judged |= read_value(said, collector_text_of(json_object_get(item, "type")),
                             collector_text_of(json_object_get(item, "from_name")), json_object_get(item, "value"), data, g);
    if (read_facts(said, data) || judged)
        return;
    drop_last(list);
}

/* What a control has in JSON_MIN: a list of its values, or one object of choices. Anything else is the task's own, or a text
 * or a single choice, which cannot be told from that. */
static const json_t *flat_value(const json_t *value)
{
    const json_t *first = json_array_get(value, 0);

    if (json_is_object(value) && json_object_size(value) == 1 && json_is_array(json_object_get(value, "choices")))
        return value;
    return json_object_get(first, "selected") || json_object_get(first, "ranker") || json_object_get(first, "rating") ? first
                                                                                                                    : NULL;
}

/* JSON_MIN: the controls' names are keys beside the data's, each with its values. */
static void read_flat(const json_t *record, const struct collector_guesses *g, json_t *list)
{
    const json_t *seconds = json_object_get(record, "lead_time");
    char labeler[64];
    json_t *said = collector_said(list, collector_text_of(json_object_get(record, "annotation_id")),
                                  labeler_of(json_object_get(record, "annotator"), labeler));
    const char *key;
    json_t *value;
    int judged = 0;

    collector_said_task(said, json_object_get(record, "uid"));
    collector_said_of(said, record, "answer%d");
    if (json_is_number(seconds))
        json_object_set(said, "seconds", (json_t *)(uintptr_t)seconds);
    json_object_foreach((json_t *)(uintptr_t)record, key, value)
    {
        if (flat_value(value))
            judged |= read_value(said, "", key, flat_value(value), record, g);
    }
    if (read_facts(said, record) || judged)
        return;
    drop_last(list);
}

/* ---- the way back ---------------------------------------------------------------------------------- */

/* What people see of it: two answers side by side, or a list. */
static json_t *data_of(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;
    json_t *data = json_pack("{s:s, s:s, s:o}", "prompt", l->content.prompt, "uid", l->task ? l->task : l->id, "rlhfd",
                             collector_facts_of(row));
    json_t *items = json_array();
    char name[32];

    for (size_t i = 0; i < l->rank_count; ++i) {
        if (l->rank_count == 2) {
            snprintf(name, sizeof(name), "answer%zu", i + 1);
            json_object_set_new(data, name, json_string(l->content.completion[i]));
        } else {
            snprintf(name, sizeof(name), "r%zu", i);
            json_array_append_new(items,
                                  json_pack("{s:s, s:s, s:s}", "id", name, "title", "", "body", l->content.completion[i]));
        }
    }
    if (l->rank_count > 2)
        json_object_set(data, "items", items);
    json_decref(items);
    return data;
}

/* A side, or the items best first; a tie has no words here: NULL. */
static json_t *value_of(const struct collector_label *l)
{
    json_t *order = json_array();

    for (size_t place = 1; place <= l->rank_count; ++place)
        for (size_t i = 0; i < l->rank_count; ++i)
            if (l->rank[i] == place)
                json_array_append_new(order, json_sprintf("r%zu", i));
    bool ties = false;
    for (size_t i = 0; i < l->rank_count; ++i)
        for (size_t j = 0; j < i; ++j)
            ties = ties || l->rank[i] == l->rank[j];
    json_t *value = ties                ? NULL
                    : l->rank_count > 2 ? json_pack("{s:{s:O}}", "ranker", "rank", order)
                                        : json_pack("{s:s}", "selected", l->rank[0] == 1 ? "left" : "right");
    json_decref(order);
    return value;
}

json_t *collector_label_studio_record(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;
    const char *control = l->rank_count > 2 ? "rank" : "comparison", *type = l->rank_count > 2 ? "ranker" : "pairwise";
    json_t *result = json_array(), *value = value_of(l);

    if (value)
        json_array_append_new(result, json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", "judgement", "from_name", control, "to_name",
                                                l->rank_count > 2 ? "answers" : control, "type", type, "value", value));
    return json_pack("{s:I, s:o, s:[{s:I, s:s, s:o, s:b, s:o}]}", "id", (json_int_t)row->sequence, "data", data_of(row),
                     "annotations", "id", (json_int_t)row->sequence, "completed_by", l->labeler, "result", result,
                     "was_cancelled", false, "lead_time", l->seconds < 0 ? json_null() : json_real(l->seconds));
}

json_t *collector_label_studio_flat(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;
    json_t *flat = data_of(row), *value = value_of(l);

    json_object_set_new(flat, "id", json_integer((json_int_t)row->sequence));
    json_object_set_new(flat, "annotation_id", json_integer((json_int_t)row->sequence));
    json_object_set_new(flat, "annotator", json_string(l->labeler));
    json_object_set_new(flat, "lead_time", l->seconds < 0 ? json_null() : json_real(l->seconds));
    if (value)
        json_object_set_new(flat, l->rank_count > 2 ? "rank" : "comparison", json_pack("[o]", value));
    return flat;
}

/* One cell: a text as it is, anything else as JSON; quotes are doubled. */
static int write_cell(const json_t *value, struct rlhf_bytes *out, struct rlhf_error *err)
{
    char *text = !value || json_is_null(value) ? strdup("")
                 : json_is_string(value)       ? strdup(json_string_value(value))
                                               : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    int rc = text ? rlhf_bytes_append(out, "\"", 1, err) : rlhf_fail(err, RLHF_FULL, "out of memory");

    for (const char *at = text; rc == 0 && at && *at; ++at)
        rc = rlhf_bytes_append(out, *at == '"' ? "\"\"" : at, *at == '"' ? 2 : 1, err);
    free(text);
    return rc < 0 ? -1 : rlhf_bytes_append(out, "\"", 1, err);
}

int collector_label_studio_line(const json_t *flat, struct rlhf_bytes *out, struct rlhf_error *err)
{
    static const char *const columns[] = { "annotation_id", "annotator", "answer1", "answer2", "comparison", "id",
                                           "items", "lead_time", "prompt", "rank", "rlhfd", "uid" };

    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); ++i)
        if ((i && rlhf_bytes_append(out, ",", 1, err) < 0) || write_cell(json_object_get(flat, columns[i]), out, err) < 0)
            return -1;
    return 0;
}

static int judgements(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    const json_t *annotations = json_object_get(record, "annotations"),
                 *data = json_object_get(record, "data");
    json_t *annotation;
    size_t i;

    if (json_is_array(annotations) && json_is_object(data)) {
        json_array_foreach ((json_t *)(uintptr_t)annotations, i, annotation)
            read_annotation(annotation, data, g, list);
        return 0;
    }
    if (!json_object_get(record, "annotation_id"))
        return rlhf_fail(err, RLHF_REJECT,
                         "not a task of Label Studio: neither data with annotations nor annotation_id");
    read_flat(record, g, list);
    return 0;
}

static bool task(const json_t *record, struct collector_vendor_task *t)
{
    return collector_task_named(t, json_object_get(json_object_get(record, "data"), "uid"), json_object_get(record, "id"));
}

const struct collector_vendor collector_label_studio = {
    .name = "label_studio", .list = "tasks", .judgements = judgements, .task = task};
