#include "reward/answers.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static int put(json_t *o, struct rlhf_bytes *out, struct rlhf_error *err)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    int rc = text ? rlhf_bytes_append(out, text, strlen(text), err)
                  : rlhf_fail(err, RLHF_REJECT, "a request cannot be written: no memory, or a text that is not UTF-8");

    free(text);
    json_decref(o);
    return rc;
}

/* ---- services ---------------------------------------------------------------------------------------- */

int rlhf_service_request(const struct rlhf_source *s, const struct rlhf_source_text *text, size_t count, struct rlhf_bytes *out,
                         struct rlhf_error *err)
{
    json_t *prompts = json_array(), *completions = json_array(), *answers = json_array();
    bool whole = true;

    for (size_t i = 0; i < count; i++)
        whole = whole && json_array_append_new(prompts, json_string(text[i].prompt)) == 0
                && json_array_append_new(completions, json_string(text[i].completion)) == 0
                && json_array_append_new(answers, text[i].answer ? json_string(text[i].answer) : json_null()) == 0;
    json_t *o = json_pack("{s:s, s:o, s:o, s:o}", "source", rlhf_source_settings(s)->name, "prompts", prompts, "completions",
                          completions, "answers", answers);
    if (!whole) {
        json_decref(o);
        o = NULL;
    }
    return put(o, out, err);
}

int rlhf_service_rewards(const char *json, size_t size, size_t count, float *reward, struct rlhf_error *err)
{
    json_t *o = json_loadb(json, size, JSON_REJECT_DUPLICATES, NULL), *list = json_object_get(o, "rewards");
    int rc = 0;

    if (!o)
        rc = rlhf_fail(err, RLHF_REJECT, "the answer is not JSON");
    else if (!json_is_array(list) || json_array_size(list) != count)
        rc = rlhf_fail(err, RLHF_REJECT, "the answer has no list \"rewards\" of %zu", count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const json_t *one = json_array_get(list, i);

        if (!json_is_number(one) && !json_is_null(one))
            rc = rlhf_fail(err, RLHF_REJECT, "reward %zu of the answer is neither a number nor null", i);
        reward[i] = json_is_number(one) ? (float)json_number_value(one) : NAN;
        if (rc == 0 && isinf(reward[i]))
            rc = rlhf_fail(err, RLHF_REJECT, "reward %zu of the answer is too large", i);
    }
    json_decref(o);
    return rc;
}

/* ---- judges ------------------------------------------------------------------------------------------ */

/* The question with its places filled in; what is filled in is not looked at again. */
static int fill(const char *question, const struct rlhf_source_text *t, struct rlhf_bytes *out, struct rlhf_error *err)
{
    const struct {
        const char *place, *text;
    } places[] = { { "{prompt}", t->prompt }, { "{completion}", t->completion }, { "{answer}", t->answer ? t->answer : "" } };
    int rc = 0;

    while (rc == 0 && *question) {
        size_t p = 0;

        while (p < 3 && !rlhf_starts_with(question, places[p].place))
            p++;
        rc = p < 3 ? rlhf_bytes_append(out, places[p].text, strlen(places[p].text), err)
                   : rlhf_bytes_append(out, question, 1, err);
        question += p < 3 ? strlen(places[p].place) : 1;
    }
    return rc;
}

int rlhf_judge_request(const struct rlhf_source *s, const struct rlhf_source_text *t, struct rlhf_bytes *out,
                       struct rlhf_error *err)
{
    const struct rlhf_source_settings *o = rlhf_source_settings(s);
    struct rlhf_bytes question = { 0 };
    json_t *messages = json_array();
    int rc = fill(o->question, t, &question, err);

    if (rc == 0) {
        if (o->system[0])
            json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", o->system));
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user", "content", question.data ? question.data : ""));
        rc = json_array_size(messages) == (o->system[0] ? 2u : 1u)
                 ? put(json_pack("{s:s, s:i, s:I, s:O}", "model", o->model, "temperature", 0, "max_tokens",
                                 (json_int_t)o->max_tokens, "messages", messages),
                       out, err)
                 : rlhf_fail(err, RLHF_REJECT, "a question cannot be written: no memory, or a text that is not UTF-8");
    }
    json_decref(messages);
    rlhf_bytes_free(&question);
    return rc;
}

char *rlhf_judge_words(const char *json, size_t size, struct rlhf_error *err)
{
    json_t *o = json_loadb(json, size, 0, NULL);
    const char *words = json_string_value(
        json_object_get(json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message"), "content"));
    char *out = words ? strdup(words) : NULL;

    if (!words)
        rlhf_fail(err, RLHF_REJECT, "the answer is not a chat completion: no choices[0].message.content");
    else if (!out)
        rlhf_fail(err, RLHF_FULL, "no memory for an answer");
    json_decref(o);
    return out;
}

static bool number_in(const char *at, size_t size, double *value)
{
    char text[64], *end;

    if (size == 0 || size >= sizeof text || !strchr("+-.0123456789", at[0]))
        return false;
    memcpy(text, at, size);
    text[size] = '\0';
    *value = strtod(text, &end);
    return *end == '\0' && isfinite(*value) && !strpbrk(text, "xX");
}

/* Chat models like to put JSON into a Markdown code block: what stands inside, of *size bytes, where that is all of words. */
static const char *unfenced(const char *words, size_t *size)
{
    static const char fence[] = "```", blanks[] = " \t\r\n";
    const char *from = words + strspn(words, blanks), *end = from + strlen(from);

    while (end > from && strchr(blanks, end[-1]))
        end--;
    if (rlhf_starts_with(from, fence) && end - from >= 6 && strncmp(end - 3, fence, 3) == 0) {
        from += strcspn(from, "\n"); /* and the language's name */
        end -= 3;
    }
    *size = end > from ? (size_t)(end - from) : 0;
    return from;
}

float rlhf_judge_score(const struct rlhf_source *s, const char *words, struct rlhf_error *why)
{
    const struct rlhf_source_settings *o = rlhf_source_settings(s);
    double value = NAN;
    bool found = false;
    const char *at;
    size_t size;

    if (o->expression[0]) {
        if (rlhf_source_find(s, words, &at, &size, &found, why) < 0)
            return NAN;
        found = found && number_in(at, size, &value);
    } else {
        size_t within;
        const char *text = unfenced(words, &within);
        json_t *json = json_loadb(text, within, JSON_REJECT_DUPLICATES, NULL), *score = json_object_get(json, o->key);

        found = json_is_number(score);
        value = found ? json_number_value(score) : NAN;
        json_decref(json);
    }
    if (found && value >= o->low && value <= o->high)
        return (float)value;
    if (found)
        rlhf_fail(why, RLHF_REJECT, "the judge's score %g is outside of %g to %g", value, o->low, o->high);
    else
        rlhf_fail(why, RLHF_REJECT, "the judge's answer holds no score");
    return NAN;
}
