/* vendor_surge.c - Surge AI: tasks as GET projects/{id}/tasks lists them.
 *
 * From its published library: an answer of a Likert question is the text of the option. Which options a
 * project has is its own; read here are those that begin with the response's letter ("A much better") or say
 * same, equal or tie. It is the answer to guesses.question, where that was asked; another's words may hold any letter. What
 * a ranking's answer looks like is not documented. */
#include "judgement.h"
#include "vendors.h"

#include <string.h>
#include <strings.h>

enum { LONGEST_OPTION = 60 }; /* where no question is the one we know: longer ones are people's own words */

/* 0 for A, 1 for B, -1 for a tie, -2 for none of them; strength 3 (much) to 1 (slightly). */
static int meant(const struct collector_guesses *g, const char *option, int *strength)
{
    *strength = strcasestr(option, "much") ? 3 : strcasestr(option, "slightly") ? 1 : 2;
    if (collector_means_tie(g, option))
        return -1;
    if ((*option == 'A' || *option == 'B') && (option[1] == ' ' || option[1] == '\0'))
        return *option - 'A';
    return -2;
}

static void read_response(const json_t *response, const json_t *fields, const struct collector_guesses *g, json_t *list)
{
    json_t *said = collector_said(list, collector_text_of(json_object_get(response, "id")),
                                  collector_text_of(json_object_get(response, "worker_id")));
    int best = -3, strength = 0;
    const char *question;
    json_t *answer, *a = json_object_get(fields, "response_a"), *b = json_object_get(fields, "response_b");

    collector_said_task(said, json_object_get(fields, "pair_id"));
    if (json_is_string(a) && json_is_string(b) && json_is_string(json_object_get(fields, "prompt"))) {
        json_object_set(said, "prompt", json_object_get(fields, "prompt"));
        json_object_set_new(said, "completions", json_pack("[O, O]", a, b));
    }
    json_t *data = json_object_get(response, "data"), *asked = json_object_get(data, g->question);
    json_object_foreach (data, question, answer) {
        bool option = asked ? answer == asked : strlen(collector_text_of(answer)) <= LONGEST_OPTION;
        if (json_is_string(answer) && option && best < -1)
            best = meant(g, json_string_value(answer), &strength);
        else if (json_is_string(answer) && *json_string_value(answer) && !option)
            json_object_set(said, "note", answer);
    }
    if (best == -3) {
        json_array_remove(list, json_array_size(list) - 1);
    } else if (best == -2) {
        collector_said_wrongly(said, "the answer names neither A nor B, nor a tie");
    } else {
        collector_said_best(said, 2, best);
        json_object_set_new(said, "strength", json_integer(best < 0 ? 0 : best == 0 ? strength : -strength));
        json_object_set_new(said, "directed", json_true()); /* positive: the first one shown */
    }
}

static int judgements(const json_t *record, const struct collector_guesses *g, json_t *list, struct rlhf_error *err)
{
    const json_t *fields = json_object_get(record, "fields"),
                 *responses = json_object_get(record, "responses");
    json_t *response;
    size_t i;

    if (!json_is_object(fields) || !json_is_array(responses))
        return rlhf_fail(err, RLHF_REJECT, "not a task of Surge: fields or responses is missing");
    if (json_is_true(json_object_get(record, "is_gold_standard")))
        return 0; /* the vendor's own test of its people */
    json_array_foreach((json_t *)(uintptr_t)responses, i, response) read_response(response, fields, g, list);
    return 0;
}

static bool names_task(const json_t *record, struct collector_vendor_task *t)
{
    return collector_task_named(t, json_object_get(json_object_get(record, "fields"), "pair_id"),
                                json_object_get(record, "id"));
}

const struct collector_vendor collector_surge = {
    .name = "surge", .judgements = judgements, .task = names_task};
