/* vendor_labelbox.c - Labelbox: rows of an export (version 2), one JSON text a line.
 *
 * From its documents: a preference is a radio answer whose name ends in the letter of the response; how a tie
 * is named is each project's own (guesses.tie_words). Rankings of its chat
 * editor name messages that an export does not hold. */
#include "judgement.h"
#include "vendors.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* Which response a name means: 0 for A, -1 for a tie, -2 for none of them. */
static int meant(const struct collector_guesses *g, const char *name)
{
    size_t size = strlen(name);

    if (collector_means_tie(g, name))
        return -1;
    if (size > 0 && (size == 1 || name[size - 2] == ' ') && isalpha((unsigned char)name[size - 1]))
        return toupper((unsigned char)name[size - 1]) - 'A';
    return -2;
}

static void read_label(const json_t *label, const char *task, const struct collector_guesses *g, json_t *list)
{
    const json_t *performance = json_object_get(label, "performance_details");
    const json_t *seconds = json_object_get(performance, "seconds_to_create");
    const json_t *classes = json_object_get(json_object_get(label, "annotations"), "classifications");
    const char *who =
        collector_text_of(json_object_get(json_object_get(label, "label_details"), "created_by"));
    json_t *said =
        collector_said(list, collector_text_of(json_object_get(label, "id")), *who ? who : "labelbox");
    json_t *class;
    size_t i;
    int best = -3;

    json_object_set_new(said, "task", json_string(task));
    if (json_is_true(json_object_get(performance, "skipped"))) {
        json_object_set_new(said, "skip", json_string("skipped in Labelbox"));
        return;
    }
    if (json_is_number(seconds))
        json_object_set(said, "seconds", (json_t *)(uintptr_t)seconds);
    json_array_foreach((json_t *)(uintptr_t)classes, i, class)
    {
        const char *radio =
            json_string_value(json_object_get(json_object_get(class, "radio_answer"), "name"));
        const char *text =
            json_string_value(json_object_get(json_object_get(class, "text_answer"), "content"));
        if (radio && best < -1)
            best = meant(g, radio);
        if (text)
            json_object_set_new(said, "note", json_string(text));
    }
    if (best == -3)
        json_array_remove(list, json_array_size(list) - 1); /* without a choice */
    else if (best < -1 || best > 1)
        collector_said_wrongly(said, "the answer names no response of two, nor a tie");
    else
        collector_said_best(said, 2, best);
}

static int judgements(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    const json_t *row = json_object_get(record, "data_row"), *projects = json_object_get(record, "projects");
    const char *task = collector_text_of(json_object_get(row, "global_key"));
    const char *name;
    json_t *project, *label;
    size_t i;

    if (json_object_get(record, "messageEvaluationTask"))
        return rlhf_fail(
            err, RLHF_REJECT,
            "a ranking of messages: it names them by Labelbox's ids, and the texts are not in it");
    if (!json_is_object(row) || !json_is_object(projects))
        return rlhf_fail(err, RLHF_REJECT, "not a row of a Labelbox export: data_row or projects is missing");
    if (!*task)
        return rlhf_fail(err, RLHF_REJECT,
                         "the data row has no global_key: which task it is cannot be known");
    json_object_foreach((json_t *)(uintptr_t)projects, name, project)
        json_array_foreach(json_object_get(project, "labels"), i, label) read_label(label, task, g, list);
    return 0;
}

static bool names_task(const json_t *record, struct collector_vendor_task *t)
{
    const json_t *row = json_object_get(record, "data_row");

    return collector_task_named(t, json_object_get(row, "global_key"), json_object_get(row, "id"));
}

const struct collector_vendor collector_labelbox = {
    .name = "labelbox", .judgements = judgements, .task = names_task};
