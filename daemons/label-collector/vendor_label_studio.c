/* vendor_label_studio.c - Label Studio: exports JSON, JSON_MIN and CSV (whose lines are JSON_MIN's records).
 *
 * Measured with 1.23.2: a pair says "left" or "right" of the control's two texts; a ranker's submission
 * without a move stores the given order; results are not checked against the project's configuration by
 * anybody. */
#include "judgement.h"
#include "vendors.h"

#include <stdio.h>
#include <string.h>

/* completed_by is a number in exports and an object in a task's details. */
static const char *labeler_of(const json_t *who, char text[64])
{
    const json_t *id = json_is_object(who) ? json_object_get(who, "id") : who;

    snprintf(text, 64, "annotator-%.40s", *collector_text_of(id) ? collector_text_of(id) : "unknown");
    return text;
}

/* Ranks from the ids of items, best first. */
static int read_ranking(json_t *said, const json_t *items, const json_t *order)
{
    size_t k = json_array_size(items), i, j;
    json_t *ranks = json_array(), *item, *id, *completions = json_array();

    json_array_foreach((json_t *)(uintptr_t)items, i, item)
    {
        size_t place = 0;
        json_array_foreach((json_t *)(uintptr_t)order, j,
                           id) if (strcmp(collector_text_of(id),
                                          collector_text_of(json_object_get(item, "id"))) == 0) place = j + 1;
        json_array_append_new(ranks, json_integer((json_int_t)place));
        json_array_append(completions, json_object_get(item, "body"));
        if (place == 0)
            k = 0;
    }
    bool whole = k > 1 && json_array_size(order) == k && json_array_size(completions) == k;
    if (whole && json_object_get(said, "prompt") == NULL)
        json_object_del(said, "completions");
    if (whole) {
        json_object_set(said, "ranks", ranks);
        json_object_set(said, "completions", completions);
    }
    json_decref(ranks);
    json_decref(completions);
    return whole ? 0 : collector_said_wrongly(said, "the ranking does not name each item once");
}

/* One control's value: 1 it was the judgement, 0 something beside it, and an error in said where it makes no
 * sense. */
static int read_value(json_t *said, const char *type, const json_t *value, const json_t *data)
{
    const char *selected = json_string_value(json_object_get(value, "selected"));
    const json_t *ranker = json_object_get(value, "ranker"), *rating = json_object_get(value, "rating");
    const json_t *choices = json_object_get(value, "choices"), *text = json_object_get(value, "text");

    if (strcmp(type, "pairwise") == 0 || selected) {
        if (selected && (strcmp(selected, "left") == 0 || strcmp(selected, "right") == 0))
            collector_said_best(said, 2, strcmp(selected, "right") == 0);
        else
            collector_said_wrongly(said, "a pair was judged as %.40s, not left or right",
                                   selected ? selected : "nothing");
        return 1;
    }
    if (ranker) {
        const json_t *order = json_object_get(ranker, "rank");
        if (order)
            read_ranking(said, json_object_get(data, "items"), order);
        else
            collector_said_wrongly(said, "a ranker with buckets has no order");
        return 1;
    }
    if (json_is_integer(rating))
        json_object_set(said, "strength", (json_t *)(uintptr_t)rating);
    if (json_is_array(choices))
        json_object_set(said, "flags", (json_t *)(uintptr_t)choices);
    if (json_is_string(json_array_get(text, 0)))
        json_object_set(said, "note", json_array_get(text, 0));
    return 0;
}

/* Takes back what says nothing: an empty submission is no judgement. */
static void drop_last(json_t *list)
{
    json_array_remove(list, json_array_size(list) - 1);
}

static void read_annotation(const json_t *annotation, const json_t *data, json_t *list)
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
    json_array_foreach((json_t *)(uintptr_t)result, i, item) judged |= read_value(
        said, collector_text_of(json_object_get(item, "type")), json_object_get(item, "value"), data);
    if (!judged)
        drop_last(list);
}

/* JSON_MIN: the controls' names are keys beside the data's, each with its values. */
static void read_flat(const json_t *record, json_t *list)
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
        const json_t *first = json_is_array(value) ? json_array_get(value, 0) : value;
        if (json_is_object(first) && (json_object_get(first, "selected") || json_object_get(first, "ranker")))
            judged |= read_value(said, "", first, record);
    }
    if (!judged)
        drop_last(list);
}

static int judgements(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    const json_t *annotations = json_object_get(record, "annotations"),
                 *data = json_object_get(record, "data");
    json_t *annotation;
    size_t i;

    (void)g;
    if (json_is_array(annotations) && json_is_object(data)) {
        json_array_foreach((json_t *)(uintptr_t)annotations, i, annotation)
            read_annotation(annotation, data, list);
        return 0;
    }
    if (!json_object_get(record, "annotation_id"))
        return rlhf_fail(err, RLHF_REJECT,
                         "not a task of Label Studio: neither data with annotations nor annotation_id");
    read_flat(record, list);
    return 0;
}

static bool task(const json_t *record, struct collector_vendor_task *t)
{
    return collector_task_named(t, json_object_get(json_object_get(record, "data"), "uid"), json_object_get(record, "id"));
}

const struct collector_vendor collector_label_studio = {
    .name = "label_studio", .list = "tasks", .judgements = judgements, .task = task};
