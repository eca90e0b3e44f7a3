/* vendor_scale.c - Scale AI: chat tasks as GET /v2/task(s) gives them.
 *
 * From its published library: completions are a turn's assistant messages, named by source_id; ranked_choices
 * lists them best first, ranked_groups with ties; a pair names selected_model_id. Which end of a Likert scale
 * is which response is each project's own, so it is kept as strength and decides nothing unless that is configured. */
#include "base/memory.h"
#include "judgement.h"
#include "vendors.h"

#include <stdio.h>
#include <string.h>

/* Prompt and completions of a turn into said, where it has both; ids gets the completions' source_id, responses their texts.
 * Returns what the user said, "" where that is missing. */
static const char *read_messages(json_t *said, const json_t *turn, json_t *ids, json_t *responses)
{
    json_t *message;
    const char *prompt = NULL;
    size_t i;

    json_array_foreach (json_object_get(turn, "messages"), i, message) {
        json_t *text = json_object_get(json_object_get(message, "content"), "text");
        const char *role = collector_text_of(json_object_get(message, "role"));
        if (strcmp(role, "user") == 0) {
            prompt = json_string_value(text);
        } else if (strcmp(role, "assistant") == 0 && json_is_string(text)) {
            json_array_append(responses, text);
            json_array_append_new(ids, json_string(collector_text_of(json_object_get(message, "source_id"))));
        }
    }
    if (prompt && json_array_size(responses) > 1) {
        json_object_set_new(said, "prompt", json_string(prompt));
        json_object_set(said, "completions", responses);
    }
    return prompt ? prompt : "";
}

static bool names(const json_t *place, const char *id)
{
    json_t *one;
    size_t i;

    if (json_is_string(place))
        return strcmp(json_string_value(place), id) == 0;
    json_array_foreach((json_t *)(uintptr_t)place, i,
                       one) if (strcmp(collector_text_of(one), id) == 0) return true;
    return false;
}

/* Two samples of one model may have one name: then nobody knows which of them is meant. */
static bool is_ambiguous(const json_t *ids)
{
    for (size_t i = 0; i < json_array_size(ids); ++i)
        for (size_t j = 0; j < i; ++j)
            if (json_equal(json_array_get(ids, i), json_array_get(ids, j)))
                return true;
    return false;
}

/* order: ids, or lists of ids that tie, best first. */
static int read_order(json_t *said, const json_t *order, const json_t *ids)
{
    json_t *ranks = json_array(), *place, *id;
    size_t i, j, found = 0, named = 0;

    json_array_foreach((json_t *)(uintptr_t)ids, i, id)
    {
        size_t rank = 1;
        json_array_foreach((json_t *)(uintptr_t)order, j, place)
        {
            if (names(place, json_string_value(id))) {
                json_array_append_new(ranks, json_integer((json_int_t)rank));
                ++found;
                break;
            }
            rank += json_is_array(place) ? json_array_size(place) : 1;
        }
    }
    json_array_foreach ((json_t *)(uintptr_t)order, j, place)
        named += json_is_array(place) ? json_array_size(place) : 1;
    if (found != json_array_size(ids) || found != named || found < 2 || is_ambiguous(ids)) {
        json_decref(ranks);
        return collector_said_wrongly(said, "the ranking does not name each response once");
    }
    json_object_set_new(said, "ranks", ranks);
    return 0;
}

/* Of seven steps, where the project's direction is known and nothing else has decided. */
static void read_likert(json_t *said, json_int_t value, size_t k, const struct collector_guesses *g)
{
    if (g->likert == COLLECTOR_LIKERT_NONE || k != 2 || json_object_get(said, "ranks") || value < 1 || value > 7)
        return;
    bool first = g->likert == COLLECTOR_LIKERT_LOW ? value < 4 : value > 4;
    collector_said_best(said, 2, value == 4 ? -1 : first ? 0 : 1);
}

/* The better one of two, or a word for a tie. */
static void read_selected(json_t *said, json_t *value, const json_t *ids, const struct collector_guesses *g)
{
    bool first = names(value, json_string_value(json_array_get(ids, 0)));
    json_t *order = json_pack("[O, O]", value, json_array_get(ids, first ? 1 : 0));

    if (!first && !names(value, json_string_value(json_array_get(ids, 1))) && collector_means_tie(g, collector_text_of(value)))
        collector_said_best(said, 2, -1);
    else
        read_order(said, order, ids);
    json_decref(order);
}

/* of: a turn, or the thread of a single one. */
static void read_annotations(json_t *said, const json_t *of, const json_t *ids, const struct collector_guesses *g)
{
    json_t *annotation;
    size_t i;

    json_array_foreach (json_object_get(of, "annotations"), i, annotation) {
        const char *key = collector_text_of(json_object_get(annotation, "key"));
        const char *type = collector_text_of(json_object_get(annotation, "type"));
        json_t *value = json_object_get(annotation, "value"),
               *why = json_object_get(annotation, "justification");
        bool ranking = strcmp(type, "ranked_choices") == 0 || strcmp(type, "ranked_groups") == 0;
        bool pair = strcmp(key, "selected_model_id") == 0 && json_array_size(ids) == 2;
        if (json_is_true(json_object_get(annotation, "not_applicable"))
            || json_is_true(json_object_get(annotation, "cannot_assess"))) { /* its value, if it has one, is a default */
            if (ranking || pair)
                json_object_set_new(said, "skip", json_string("cannot be assessed, says Scale"));
        } else if (ranking) {
            read_order(said, value, ids);
        } else if (pair) {
            read_selected(said, value, ids, g);
        } else if (strcmp(key, "likert_value") == 0 && json_is_integer(value)) {
            json_object_set(said, "strength", value);
            read_likert(said, json_integer_value(value), json_array_size(ids), g);
        } else if (strcmp(key, "justification") == 0 && json_is_string(value)) {
            json_object_set(said, "note", value);
        }
        if (json_is_string(why))
            json_object_set(said, "note", why);
    }
}

/* What was said before a turn, as a transcript. */
struct dialogue {
    struct rlhf_bytes text;
    bool unknown; /* which response an earlier turn went on with */
};

/* Of a turn's responses, the one that the dialogue went on with: the only one, or the best. -1: nobody knows. */
static int gone_on_with(const json_t *said, const json_t *responses)
{
    const json_t *ranks = json_object_get(said, "ranks");
    int best = json_array_size(responses) == 1 ? 0 : -1;

    for (size_t i = 0, bests = 0; i < json_array_size(ranks); ++i)
        if (json_integer_value(json_array_get(ranks, i)) == 1)
            best = bests++ ? -1 : (int)i;
    return best;
}

/* Puts what was said before in front of prompt and completions. */
static void put_behind(json_t *said, const struct dialogue *before, const char *user, const json_t *responses)
{
    json_t *completions, *one;
    size_t i;

    if (!before->text.size || !json_object_get(said, "completions") || !json_object_get(said, "ranks"))
        return;
    if (before->unknown) {
        collector_said_wrongly(said, "which response the turn before it went on with is not known");
        return;
    }
    completions = json_array();
    json_array_foreach ((json_t *)(uintptr_t)responses, i, one)
        json_array_append_new(completions, json_sprintf(" %s", json_string_value(one)));
    json_object_set_new(said, "prompt", json_sprintf("%s\n\nHuman: %s\n\nAssistant:", before->text.data, user));
    json_object_set_new(said, "completions", completions);
}

static void go_on(struct dialogue *d, const char *user, const json_t *said, const json_t *responses)
{
    int best = gone_on_with(said, responses);

    d->unknown = d->unknown || best < 0 || !*user;
    rlhf_bytes_printf(&d->text, NULL, "\n\nHuman: %s\n\nAssistant: %s", user,
                      best < 0 ? "" : json_string_value(json_array_get(responses, (size_t)best)));
}

/* One turn; number: of the task's turns. */
static void read_turn(const json_t *task, const json_t *thread, const json_t *turn, size_t number, struct dialogue *before,
                      const struct collector_guesses *g, json_t *list)
{
    const json_t *submission = json_array_get(json_object_get(thread, "submissions"), 0);
    const json_t *metadata = json_object_get(task, "metadata");
    const char *who = collector_text_of(json_object_get(submission, "contributor_id"));
    char id[COLLECTOR_MAX_NAME];
    json_t *ids = json_array(), *responses = json_array();

    snprintf(id, sizeof(id), number ? "%.80s/%zu" : "%.80s",
             collector_text_of(json_object_get(task, "task_id")), number);
    json_t *said = collector_said(list, id, *who ? who : "scale");
    if (number == 0)
        collector_said_task(said, json_object_get(metadata, "pair_id"));
    const char *user = read_messages(said, turn, ids, responses);
    read_annotations(said, turn, ids, g);
    if (!json_object_get(said, "ranks") && json_array_size(json_object_get(thread, "turns")) == 1)
        read_annotations(said, thread, ids, g);
    put_behind(said, before, user, responses);
    go_on(before, user, said, responses);
    if (json_object_get(said, "ranks"))
        json_object_del(said, "skip");
    else if (!json_object_get(said, "error") && !json_object_get(said, "skip"))
        json_array_remove(list, json_array_size(list) - 1); /* a turn that nobody was asked to rank */
    json_decref(ids);
    json_decref(responses);
}

/* What its people cannot do is passed on, with the reason. */
static void read_failure(const json_t *task, json_t *list)
{
    const json_t *first = json_array_get(json_object_get(task, "errors"), 0);
    const char *why = collector_text_of(json_object_get(first, "type"));
    json_t *said = collector_said(list, collector_text_of(json_object_get(task, "task_id")), "scale");

    collector_said_task(said, json_object_get(json_object_get(task, "metadata"), "pair_id"));
    json_object_set_new(said, "skip", json_sprintf("refused by Scale: %.60s", *why ? why : "no reason given"));
}

/* A comparison of version 1, as its callback brings it (a guess: neither request nor response is documented). */
static int read_comparison(const json_t *record, json_t *list)
{
    const json_t *task = json_object_get(record, "task"), *params = json_object_get(task, "params");
    const json_t *choice = json_object_get(json_object_get(record, "response"), "choice");
    json_t *said = collector_said(list, collector_text_of(json_object_get(task, "task_id")), "scale");
    int best = -2;

    collector_said_task(said, json_object_get(json_object_get(task, "metadata"), "pair_id"));
    for (int i = 0; i < 3; ++i)
        if (json_is_string(choice) && json_equal(choice, json_array_get(json_object_get(params, "choices"), (size_t)i)))
            best = i < 2 ? i : -1;
    if (best == -2 || json_array_size(json_object_get(params, "attachments")) != 2)
        return collector_said_wrongly(said, "the choice is none of the first, the second and a tie");
    collector_said_best(said, 2, best);
    return 0;
}

static int judgements(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    const char *status = collector_text_of(json_object_get(record, "status"));
    json_t *thread, *turn;
    size_t i, j, number = 0;

    if (json_object_get(record, "task") && json_object_get(record, "response"))
        return read_comparison(record, list);
    if (!json_object_get(record, "task_id"))
        return rlhf_fail(err, RLHF_REJECT, "not a task of Scale: task_id is missing");
    if (strcmp(status, "error") == 0)
        read_failure(record, list);
    if (strcmp(status, "completed") != 0)
        return 0; /* pending, canceled: nobody has judged it */
    json_array_foreach (json_object_get(record, "threads"), i, thread) {
        struct dialogue before = { .unknown = false };
        json_array_foreach (json_object_get(thread, "turns"), j, turn)
            read_turn(record, thread, turn, number++, &before, g, list);
        rlhf_bytes_free(&before.text);
    }
    return 0;
}

static bool names_task(const json_t *record, struct collector_vendor_task *t)
{
    const json_t *task = json_object_get(record, "task") ? json_object_get(record, "task") : record; /* v1 */

    return collector_task_named(t, json_object_get(json_object_get(task, "metadata"), "pair_id"),
                                json_object_get(task, "task_id"));
}

const struct collector_vendor collector_scale = {
    .name = "scale", .list = "tasks", .judgements = judgements, .task = names_task};
