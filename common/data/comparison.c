#include "data/data.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Turns of a transcript. What only looks like one ("\n\nHuman-like") is text, because of the colon. */
static const char human[] = "\n\nHuman:", assistant[] = "\n\nAssistant:";

enum { MAX_COMPLETIONS = 64 };

/* ---- role/content lists become transcripts ---------------------------------------------------------- */

static bool is_conversation(const json_t *value)
{
    return json_is_array(value) && json_array_size(value) > 0;
}

/* The messages [from, to) of a list, each as "\n\nHuman: text" or "\n\nAssistant: text". */
static int write_turns(const json_t *list, size_t from, size_t to, const char *key, struct rlhf_bytes *out,
                       struct rlhf_error *err)
{
    for (size_t i = from; i < to; i++) {
        const json_t *message = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        const char *content = json_string_value(json_object_get(message, "content"));
        const char *name;

        if (!role || !content)
            return rlhf_fail(err, RLHF_REJECT, "%s[%zu] must have \"role\" and \"content\", both strings", key, i);
        name = strcmp(role, "user") == 0 ? "Human" : strcmp(role, "assistant") == 0 ? "Assistant" : NULL;
        if (!name && strcmp(role, "system") == 0)
            name = "System";
        if (!name)
            return rlhf_fail(err, RLHF_REJECT, "%s[%zu] has the role \"%s\"; user, assistant and system are known",
                             key, i, role);
        if (rlhf_bytes_printf(out, err, "\n\n%s: %s", name, content) < 0)
            return -1;
    }
    return 0;
}

/* A whole conversation as one transcript; NULL and *err. Owned by the caller. */
static char *transcript_of(const json_t *prompt, const json_t *answer, const char *key, struct rlhf_error *err)
{
    struct rlhf_bytes out = { 0 };

    if ((prompt && write_turns(prompt, 0, json_array_size(prompt), "prompt", &out, err) < 0)
        || write_turns(answer, 0, json_array_size(answer), key, &out, err) < 0) {
        rlhf_bytes_free(&out);
        return NULL;
    }
    return out.data;
}

/* ---- pairs -------------------------------------------------------------------------------------------- */

static int make_room(struct rlhf_comparison *c, size_t count, struct rlhf_error *err)
{
    c->completion = calloc(count, sizeof *c->completion);
    c->rank = calloc(count, sizeof *c->rank);
    return c->completion && c->rank ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for a comparison");
}

/* Copies; the first of the two is the better one. */
static int set_pair(struct rlhf_comparison *c, const char *prompt, size_t prompt_size, const char *chosen,
                    const char *rejected, struct rlhf_error *err)
{
    if (strcmp(chosen, rejected) == 0)
        return rlhf_fail(err, RLHF_REJECT, "chosen and rejected are equal");
    if (make_room(c, 2, err) < 0)
        return -1;
    c->prompt = strndup(prompt, prompt_size);
    c->completion[0] = strdup(chosen);
    c->completion[1] = strdup(rejected);
    c->rank[0] = 1;
    c->rank[1] = 2;
    c->count = 2;
    return c->prompt && c->completion[0] && c->completion[1]
               ? 0
               : rlhf_fail(err, RLHF_FULL, "no memory for a comparison");
}

/* Where the prompt of two transcripts ends: behind the last "\n\nAssistant:" that they have in common. 0: nowhere. */
static size_t prompt_end(const char *a, const char *b)
{
    size_t common = 0, end = 0;
    const char *turn;

    while (a[common] && a[common] == b[common])
        common++;
    for (const char *at = a; (turn = strstr(at, assistant)) && turn + strlen(assistant) <= a + common; at = turn + 1)
        end = (size_t)(turn - a) + strlen(assistant);
    return end;
}

static bool has_turn(const char *text)
{
    return strstr(text, human) || strstr(text, assistant);
}

static int parse_transcripts(struct rlhf_comparison *c, const char *chosen, const char *rejected,
                             struct rlhf_error *err)
{
    size_t end = prompt_end(chosen, rejected);

    if (strcmp(chosen, rejected) == 0)
        return rlhf_fail(err, RLHF_REJECT, "chosen and rejected are equal");
    if (end == 0 || has_turn(chosen + end) || has_turn(rejected + end))
        return rlhf_fail(err, RLHF_REJECT, "chosen and rejected have different prompts: without \"prompt\", they must be"
                                           " transcripts that differ in their last assistant turn only");
    return set_pair(c, chosen, end, chosen + end, rejected + end, err);
}

static int parse_pair(struct rlhf_comparison *c, const json_t *json, struct rlhf_error *err)
{
    const json_t *prompt = json_object_get(json, "prompt");
    const json_t *chosen = json_object_get(json, "chosen"), *rejected = json_object_get(json, "rejected");

    if (json_is_string(chosen) && json_is_string(rejected) && (!prompt || json_is_string(prompt))) {
        const char *good = json_string_value(chosen), *bad = json_string_value(rejected);
        if (!prompt)
            return parse_transcripts(c, good, bad, err);
        return set_pair(c, json_string_value(prompt), json_string_length(prompt), good, bad, err);
    }
    if (!is_conversation(chosen) || !is_conversation(rejected) || (prompt && !is_conversation(prompt)))
        return rlhf_fail(err, RLHF_REJECT,
                         "\"chosen\", \"rejected\" and \"prompt\" must all be strings or all be role/content lists");
    char *good = transcript_of(prompt, chosen, "chosen", err);
    char *bad = good ? transcript_of(prompt, rejected, "rejected", err) : NULL;
    int rc = bad ? parse_transcripts(c, good, bad, err) : -1;
    free(good);
    free(bad);
    return rc;
}

/* ---- K-way -------------------------------------------------------------------------------------------- */

static int parse_ranking(struct rlhf_comparison *c, const json_t *json, struct rlhf_error *err)
{
    const json_t *prompt = json_object_get(json, "prompt"), *list = json_object_get(json, "responses");
    const json_t *ranks = json_object_get(json, "ranks");
    size_t count = json_array_size(list);

    if (!json_is_string(prompt))
        return rlhf_fail(err, RLHF_REJECT, "\"prompt\" must be a string");
    if (!json_is_array(list) || count < 2 || count > MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "\"responses\" must be a list of 2 to %d strings", MAX_COMPLETIONS);
    if (!json_is_array(ranks) || json_array_size(ranks) != count)
        return rlhf_fail(err, RLHF_REJECT, "\"ranks\" must be a list of %zu numbers, one a response", count);
    if (make_room(c, count, err) < 0)
        return -1;
    for (; c->count < count; c->count++) {
        const json_t *text = json_array_get(list, c->count), *rank = json_array_get(ranks, c->count);
        json_int_t value = json_integer_value(rank);

        if (!json_is_string(text))
            return rlhf_fail(err, RLHF_REJECT, "responses[%zu] must be a string", c->count);
        if (!json_is_integer(rank) || value < 1 || value > (json_int_t)count)
            return rlhf_fail(err, RLHF_REJECT, "ranks[%zu] must be an integer, 1 (best) to %zu", c->count, count);
        c->rank[c->count] = (uint32_t)value;
        if (!(c->completion[c->count] = strdup(json_string_value(text))))
            return rlhf_fail(err, RLHF_FULL, "no memory for a comparison");
    }
    return (c->prompt = strdup(json_string_value(prompt))) ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for a comparison");
}

int rlhf_comparison_parse(struct rlhf_comparison *c, const char *json, size_t size, const char *where,
                          struct rlhf_error *err)
{
    json_error_t at;
    json_t *object = json_loadb(json, size, JSON_REJECT_DUPLICATES, &at);
    int rc;

    *c = (struct rlhf_comparison){ 0 };
    if (!object)
        return rlhf_fail(err, RLHF_REJECT, "%s: not JSON: %s (column %d)", where, at.text, at.column);
    if (!json_is_object(object))
        rc = rlhf_fail(err, RLHF_REJECT, "not a JSON object");
    else if (json_object_get(object, "responses"))
        rc = parse_ranking(c, object, err);
    else if (json_object_get(object, "chosen") && json_object_get(object, "rejected"))
        rc = parse_pair(c, object, err);
    else
        rc = rlhf_fail(err, RLHF_REJECT, "has neither \"chosen\" and \"rejected\" nor \"responses\" and \"ranks\"");
    json_decref(object);
    if (rc < 0) {
        rlhf_comparison_free(c);
        return rlhf_fail_prefix(err, "%s", where);
    }
    return 0;
}

int rlhf_comparison_print(const struct rlhf_comparison *c, struct rlhf_bytes *out, struct rlhf_error *err)
{
    json_t *responses = json_array(), *ranks = json_array();
    json_t *object;
    char *line;
    int rc;

    for (size_t i = 0; i < c->count; i++) {
        json_array_append_new(responses, json_string(c->completion[i]));
        json_array_append_new(ranks, json_integer(c->rank[i]));
    }
    object = json_pack("{s:s, s:o, s:o}", "prompt", c->prompt, "responses", responses, "ranks", ranks);
    line = object ? json_dumps(object, JSON_COMPACT) : NULL;
    rc = line ? rlhf_bytes_printf(out, err, "%s\n", line)
              : rlhf_fail(err, RLHF_REJECT, "a comparison's text is not UTF-8, or there is no memory for it");
    free(line);
    json_decref(object);
    return rc;
}

void rlhf_comparison_free(struct rlhf_comparison *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->completion[i]);
    free(c->completion);
    free(c->rank);
    free(c->prompt);
    *c = (struct rlhf_comparison){ 0 };
}
