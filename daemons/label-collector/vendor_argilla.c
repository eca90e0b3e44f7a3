/* vendor_argilla.c - Argilla: records with fields prompt, response1, response2 ... and a question that names
 * the best of them or a tie, or ranks them (equal ranks tie). Suggestions are a model's, and no judgement. */
#include "export.h"
#include "judgement.h"
#include "vendors.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* response3 -> 2; -1: no such name. */
static int index_of(const char *name)
{
    int number, end = 0;

    return sscanf(name, "response%2d%n", &number, &end) == 1 && name[end] == '\0' && number >= 1 ? number - 1
                                                                                                 : -1;
}

/* A label that is one of the words for a tie: anything longer is somebody's own words. */
static bool means_tie(const struct collector_guesses *g, const char *label)
{
    for (size_t i = 0; i < g->tie_words.count; ++i)
        if (strcasecmp(label, g->tie_words.items[i]) == 0)
            return true;
    return false;
}

static int read_ranking(json_t *said, const json_t *order, size_t k)
{
    json_int_t rank[COLLECTOR_MAX_COMPLETIONS] = {0};
    json_t *one, *ranks;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)order, i, one)
    {
        int at = index_of(collector_text_of(json_object_get(one, "value")));
        if (at >= 0 && (size_t)at < k)
            rank[at] = json_integer_value(json_object_get(one, "rank"));
    }
    ranks = json_array();
    for (i = 0; i < k; ++i) {
        json_array_append_new(ranks, json_integer(rank[i]));
        if (rank[i] < 1) {
            json_decref(ranks);
            return collector_said_wrongly(said, "the ranking leaves out response%zu", i + 1);
        }
    }
    json_object_set_new(said, "ranks", ranks);
    return 0;
}

static void read_response(const json_t *record, const json_t *response, const struct collector_guesses *g, json_t *list)
{
    const char *user = collector_text_of(json_object_get(response, "user_id"));
    const char *status = collector_text_of(json_object_get(response, "status")), *question;
    char id[COLLECTOR_MAX_NAME];
    json_t *answer;

    bool discarded = strcmp(status, "discarded") == 0;
    if (*status && !discarded && strcmp(status, "submitted") != 0)
        return; /* a draft */
    snprintf(id, sizeof(id), "%.60s@%.50s", collector_text_of(json_object_get(record, "id")), user);
    json_t *said = collector_said(list, id, user);
    collector_said_of(said, json_object_get(record, "fields"), "response%d");
    collector_said_task(said, json_object_get(record, "external_id"));
    if (discarded) {
        json_object_set_new(said, "skip", json_string("discarded in Argilla"));
        return;
    }
    size_t k = json_array_size(json_object_get(said, "completions"));
    json_object_foreach(json_object_get(response, "values"), question, answer)
    {
        const json_t *value = json_object_get(answer, "value");
        int best = json_is_string(value) ? index_of(json_string_value(value)) : -1;
        if (json_is_array(value))
            read_ranking(said, value, k);
        else if (best >= 0 && (size_t)best < k)
            collector_said_best(said, k, best);
        else if (json_is_string(value) && k && means_tie(g, json_string_value(value)))
            collector_said_best(said, k, -1);
    }
    collector_said_facts(said, json_object_get(json_object_get(record, "metadata"), "rlhfd"));
    if (!json_object_get(said, "ranks") && !json_object_get(said, "error"))
        json_array_remove(list, json_array_size(list) - 1);
}

json_t *collector_argilla_record(const struct collector_row *row)
{
    const struct collector_label *l = &row->label;
    json_t *fields = json_pack("{s:s}", "prompt", l->content.prompt), *order = json_array();
    char name[32];

    for (size_t i = 0; i < l->rank_count; ++i) {
        snprintf(name, sizeof(name), "response%zu", i + 1);
        json_object_set_new(fields, name, json_string(l->content.completion[i]));
        json_array_append_new(order, json_pack("{s:s, s:I}", "value", name, "rank", (json_int_t)l->rank[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:{s:o}, s:[], s:[{s:s, s:s, s:{s:{s:o}}}]}", "id", l->id, "external_id",
                     l->task ? l->task : l->id, "status", "completed", "fields", fields, "metadata", "rlhfd",
                     collector_facts_of(row), "suggestions", "responses", "user_id", l->labeler, "status", "submitted", "values",
                     "ranking", "value", order);
}

static int judgements(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    json_t *response;
    size_t i;

    if (!json_is_object(json_object_get(record, "fields")))
        return rlhf_fail(err, RLHF_REJECT, "not a record of Argilla: fields is missing");
    json_array_foreach(json_object_get(record, "responses"), i, response)
        read_response(record, response, g, list);
    return 0;
}

static bool task(const json_t *record, struct collector_vendor_task *t)
{
    return collector_task_named(t, json_object_get(record, "external_id"), json_object_get(record, "id"));
}

const struct collector_vendor collector_argilla = {
    .name = "argilla", .list = "items", .judgements = judgements, .task = task};
