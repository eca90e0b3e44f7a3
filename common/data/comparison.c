#include "data/data.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "data/lines.h"
#include "data/transcript.h"

enum { MAX_COMPLETIONS = 64 };

/* A whole conversation as one transcript; NULL and *err. Owned by the caller. */
static char *transcript_of(const json_t *prompt, const json_t *answer, const char *key, struct rlhf_error *err)
{
    struct rlhf_bytes out = { 0 };

    if ((prompt && rlhf_transcript_append(prompt, "prompt", &out, err) < 0)
        || rlhf_transcript_append(answer, key, &out, err) < 0) {
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

static int parse_transcripts(struct rlhf_comparison *c, const char *chosen, const char *rejected,
                             struct rlhf_error *err)
{
    size_t common = 0, end;

    while (chosen[common] && chosen[common] == rejected[common])
        common++;
    if (!chosen[common] && !rejected[common])
        return rlhf_fail(err, RLHF_REJECT, "chosen and rejected are equal");
    end = rlhf_transcript_prompt(chosen, common);
    if (end == 0 || rlhf_transcript_has_turn(chosen + end) || rlhf_transcript_has_turn(rejected + end))
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
    if (!json_is_array(chosen) || !json_is_array(rejected) || (prompt && !json_is_array(prompt)))
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
    json_t *object = rlhf_parse_object(json, size, where, err);
    int rc;

    *c = (struct rlhf_comparison){ 0 };
    if (!object)
        return -1;
    if (json_object_get(object, "responses"))
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
