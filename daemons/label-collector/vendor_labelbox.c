/* vendor_labelbox.c - Labelbox: rows of an export (version 2), one JSON text a line.
 *
 * From its documents: a preference is a radio answer whose name ends in the letter of the response; how a tie
 * is named is each project's own (guesses.tie_words). Rankings of its chat
 * editor name messages by model and id: which completions they are is known where the task has its policies. */
#include "export.h"
#include "judgement.h"
#include "vendors.h"

#include <ctype.h>
#include <stdlib.h>
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

/* The one among the answers that is to the question; NULL where it was not asked. */
static const json_t *answer_to(const json_t *classes, const char *question)
{
    json_t *class;
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)classes, i, class)
        if (strcmp(collector_text_of(json_object_get(class, "name")), question) == 0)
            return class;
    return NULL;
}

/* What was ticked in a list. */
static void add_flags(json_t *said, const json_t *ticked)
{
    json_t *one, *flags = json_object_get(said, "flags");
    size_t i;

    if (json_array_size(ticked) && !flags) {
        flags = json_array();
        json_object_set_new(said, "flags", flags);
    }
    json_array_foreach ((json_t *)(uintptr_t)ticked, i, one)
        if (json_is_string(json_object_get(one, "name")))
            json_array_append(flags, json_object_get(one, "name"));
}

/* own: texts and facts of a row that we have exported ourselves; NULL: it is not. */
static void read_label(const json_t *label, const char *task, const struct collector_guesses *g, const json_t *own,
                       json_t *list)
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
    const json_t *asked = answer_to(classes, g->question);
    json_array_foreach ((json_t *)(uintptr_t)classes, i, class) {
        const char *radio =
            json_string_value(json_object_get(json_object_get(class, "radio_answer"), "name"));
        const char *text =
            json_string_value(json_object_get(json_object_get(class, "text_answer"), "content"));
        if (radio && best < -1 && (!asked || asked == class))
            best = meant(g, radio);
        if (text)
            json_object_set_new(said, "note", json_string(text));
        add_flags(said, json_object_get(class, "checklist_answers"));
    }
    if (json_object_get(own, "completions")) {
        collector_said_facts(said, own);
        return;
    }
    if (best == -3)
        json_array_remove(list, json_array_size(list) - 1); /* without a choice */
    else if (best < -1 || best > 1)
        collector_said_wrongly(said, "the answer names no response of two, nor a tie");
    else
        collector_said_best(said, 2, best);
}

static void add_message(json_t *ranked, const json_t *message, const json_t *order)
{
    json_array_append_new(ranked, json_pack("{s:s, s:s, s:O}", "message", collector_text_of(json_object_get(message, "messageId")),
                                            "policy", collector_text_of(json_object_get(message, "modelConfigName")), "order",
                                            order));
}

/* A line of its chat editor's import: messages in an order, or the best of them. They are named, and their texts are not in
 * it: whose they are is looked up with the task. */
static int read_messages(const json_t *record, json_t *list, struct rlhf_error *err)
{
    const json_t *row = json_object_get(record, "dataRow"), *evaluation = json_object_get(record, "messageEvaluationTask");
    const json_t *data = json_object_get(evaluation, "data"), *messages = json_object_get(data, "rankedMessages");
    const char *format = collector_text_of(json_object_get(evaluation, "format"));
    const char *key = collector_text_of(json_object_get(row, "globalKey")), *id = collector_text_of(json_object_get(row, "id"));
    json_t *ranked = json_array(), *message, *first = json_integer(1);
    size_t i;

    if (strcmp(format, "message-single-selection") == 0)
        add_message(ranked, data, first);
    json_array_foreach((json_t *)(uintptr_t)messages, i, message)
        add_message(ranked, message, json_object_get(message, "order"));
    json_decref(first);
    if (json_array_size(ranked) == 0 || (!*key && !*id)) {
        json_decref(ranked);
        return rlhf_fail(err, RLHF_REJECT, "not a ranking or single selection of messages of a data row");
    }
    json_t *said = collector_said(list, collector_text_of(json_object_get(record, "uuid")), "labelbox");
    json_object_set_new(said, "task", json_string(*key ? key : id));
    json_object_set_new(said, "ranked", ranked);
    return 0;
}

static int judgements(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    const json_t *row = json_object_get(record, "data_row"), *projects = json_object_get(record, "projects");
    const char *task = collector_text_of(json_object_get(row, "global_key"));
    const char *name;
    json_t *project, *label;
    size_t i;

    if (json_object_get(record, "messageEvaluationTask"))
        return read_messages(record, list, err);
    if (!json_is_object(row) || !json_is_object(projects))
        return rlhf_fail(err, RLHF_REJECT, "not a row of a Labelbox export: data_row or projects is missing");
    if (!*task)
        return rlhf_fail(err, RLHF_REJECT,
                         "the data row has no global_key: which task it is cannot be known");
    json_t *own = json_loads(collector_text_of(json_object_get(row, "row_data")), JSON_DECODE_ANY, NULL);
    json_object_foreach((json_t *)(uintptr_t)projects, name, project)
        json_array_foreach(json_object_get(project, "labels"), i, label) read_label(label, task, g, own, list);
    json_decref(own);
    return 0;
}

/* Texts and facts travel in row_data, which is the exporter's own. */
json_t *collector_labelbox_record(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;
    json_t *own = collector_facts_of(row), *texts = json_array(), *answers = json_array();
    size_t best = 0, bests = 0;

    for (size_t i = 0; i < l->rank_count; ++i) {
        json_array_append_new(texts, json_string(l->content.completion[i]));
        best = l->rank[i] == 1 ? i : best;
        bests += l->rank[i] == 1;
    }
    json_object_set_new(own, "prompt", json_string(l->content.prompt));
    json_object_set_new(own, "completions", texts);
    json_array_append_new(answers, json_pack("{s:s, s:{s:o}}", "name", "Which response is better?", "radio_answer", "name",
                                             bests > 1 ? json_string("Tie")
                                                       : json_sprintf("Response %c", (char)('A' + best))));
    if (l->note)
        json_array_append_new(answers, json_pack("{s:s, s:{s:s}}", "name", "Why?", "text_answer", "content", l->note));
    char *data = json_dumps(own, JSON_COMPACT);
    json_t *record = json_pack(
        "{s:{s:s, s:s, s:s, s:s}, s:{s:{s:s, s:[{s:s, s:{s:s}, s:{s:o, s:b}, s:{s:[], s:o, s:[]}}]}}}", "data_row", "id", l->id,
        "global_key", l->task ? l->task : l->id, "external_id", l->id, "row_data", data ? data : "", "projects", "rlhfd", "name",
        "rlhfd", "labels", "id", l->id, "label_details", "created_by", l->labeler, "performance_details", "seconds_to_create",
        l->seconds < 0 ? json_null() : json_real(l->seconds), "skipped", false, "annotations", "objects", "classifications",
        answers, "relationships");
    free(data);
    json_decref(own);
    return record;
}

static bool names_task(const json_t *record, struct collector_vendor_task *t)
{
    const json_t *row = json_object_get(record, "data_row");

    return collector_task_named(t, json_object_get(row, "global_key"), json_object_get(row, "id"));
}

const struct collector_vendor collector_labelbox = {
    .name = "labelbox", .judgements = judgements, .task = names_task};
