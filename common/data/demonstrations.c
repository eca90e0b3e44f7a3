#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "data/lines.h"
#include "data/transcript.h"

struct reader {
    const struct rlhf_form *form;
    size_t max_tokens;
    bool completions; /* demonstrations, not prompts */
    struct rlhf_demonstrations *out;
    struct rlhf_tokens ids;
    struct rlhf_bytes prompt, completion;
};

static int tokenise(struct reader *r, size_t *prompt_size, struct rlhf_error *err)
{
    rlhf_tokens_clear(&r->ids);
    if (rlhf_form_prompt(r->form, r->prompt.data, &r->ids, err) < 0)
        return -1;
    *prompt_size = r->ids.size;
    return r->completions ? rlhf_form_completion(r->form, r->prompt.data, r->completion.data, &r->ids, err) : 0;
}

static int push(struct reader *r, size_t prompt_size, const char *expected, struct rlhf_error *err)
{
    struct rlhf_demonstrations *d = r->out;
    size_t count = d->sequences.count;
    char *text = strdup(r->prompt.data), *wanted = expected ? strdup(expected) : NULL;

    if ((count & (count - 1)) == 0) { /* doubles at powers of two */
        size_t capacity = count ? 2 * count : 1;
        uint32_t *sizes = reallocarray(d->prompt_size, capacity, sizeof *sizes);
        char **texts, **expects;

        d->prompt_size = sizes ? sizes : d->prompt_size;
        texts = reallocarray(d->text, capacity, sizeof *texts);
        d->text = texts ? texts : d->text;
        expects = reallocarray(d->expected, capacity, sizeof *expects);
        d->expected = expects ? expects : d->expected;
        if (!sizes || !texts || !expects)
            goto full;
    }
    if (!text || (expected && !wanted) || rlhf_sequences_append(&d->sequences, r->ids.data, r->ids.size, err) < 0)
        goto full;
    d->prompt_size[count] = (uint32_t)prompt_size;
    d->text[count] = text;
    d->expected[count] = wanted;
    return 0;
full:
    free(text);
    free(wanted);
    return rlhf_fail(err, RLHF_FULL, "no memory for %zu prompts", count + 1);
}

/* A string or a list of turns under key. */
static int append_value(const json_t *json, const char *key, struct rlhf_bytes *out, struct rlhf_error *err)
{
    const json_t *value = json_object_get(json, key);

    if (json_is_string(value))
        return rlhf_bytes_append(out, json_string_value(value), json_string_length(value), err);
    if (!value)
        return rlhf_fail(err, RLHF_REJECT, "key \"%s\" is missing", key);
    return rlhf_transcript_append(value, key, out, err);
}

/* Cuts the transcript in r->prompt behind its last "\n\nAssistant:"; what follows is the completion. */
static int cut_transcript(struct reader *r, const char *key, struct rlhf_error *err)
{
    size_t size = rlhf_transcript_prompt(r->prompt.data, r->prompt.size);

    if (size == 0)
        return rlhf_fail(err, RLHF_REJECT, "\"%s\" has no assistant turn, so no prompt can be told apart", key);
    if (rlhf_bytes_append(&r->completion, r->prompt.data + size, r->prompt.size - size, err) < 0)
        return -1;
    r->prompt.size = size;
    r->prompt.data[size] = '\0';
    return 0;
}

/* A dialogue under one key: "messages", or an HH transcript in "chosen". A prompt may end in a user's turn. */
static int split_dialogue(struct reader *r, const json_t *json, const char *key, struct rlhf_error *err)
{
    const json_t *turns = json_object_get(json, key), *last = json_array_get(turns, json_array_size(turns) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));

    if (append_value(json, key, &r->prompt, err) < 0)
        return -1;
    if (!r->completions && role && strcmp(role, "assistant") != 0)
        return rlhf_bytes_append(&r->prompt, RLHF_ASSISTANT_TURN, strlen(RLHF_ASSISTANT_TURN), err);
    return cut_transcript(r, key, err);
}

/* Prompt and completion of a line, in one of the forms of data.h. */
static int split(struct reader *r, const json_t *json, struct rlhf_error *err)
{
    const json_t *prompt = json_object_get(json, "prompt");

    rlhf_bytes_clear(&r->prompt);
    rlhf_bytes_clear(&r->completion);
    if (!prompt && json_object_get(json, "messages"))
        return split_dialogue(r, json, "messages", err);
    if (!prompt && json_object_get(json, "chosen"))
        return split_dialogue(r, json, "chosen", err);
    if (append_value(json, prompt || r->completions || !json_object_get(json, "question") ? "prompt" : "question", &r->prompt, err)
        < 0)
        return -1;
    if (!r->completions)
        return json_is_array(prompt) ? rlhf_bytes_append(&r->prompt, RLHF_ASSISTANT_TURN, strlen(RLHF_ASSISTANT_TURN), err) : 0;
    if (!json_is_array(prompt))
        return append_value(json, "completion", &r->completion, err);
    /* Turns on both sides are one dialogue; a plain completion answers the last of them. */
    if (!json_is_array(json_object_get(json, "completion"))
        && rlhf_bytes_append(&r->prompt, RLHF_ASSISTANT_TURN " ", strlen(RLHF_ASSISTANT_TURN " "), err) < 0)
        return -1;
    return append_value(json, "completion", &r->prompt, err) < 0 ? -1 : cut_transcript(r, "completion", err);
}

static int read_line(struct reader *r, const json_t *json, const char *where, struct rlhf_error *err)
{
    const char *expected;
    size_t prompt_size;

    if (rlhf_get_text(json, "expected", false, where, &expected, err) < 0)
        return -1;
    if (!expected)
        expected = json_string_value(json_object_get(json, "answer"));
    if (split(r, json, err) < 0)
        return rlhf_fail_prefix(err, "%s", where);
    if (r->completions && r->completion.size == 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: the completion is empty", where);
    if (tokenise(r, &prompt_size, err) < 0)
        return rlhf_fail_prefix(err, "%s", where);
    if (r->max_tokens && r->ids.size > r->max_tokens) {
        r->out->skipped++;
        return 0;
    }
    return push(r, prompt_size, r->completions ? NULL : expected, err);
}

static int read_all(struct reader *r, const char *path, struct rlhf_error *err)
{
    struct rlhf_lines l;
    const char *line;
    size_t size;
    int rc = rlhf_lines_open(&l, path, err), more;

    /* (an empty buffer is still a string) */
    if (rc == 0 && (rlhf_bytes_append(&r->prompt, "", 0, err) < 0 || rlhf_bytes_append(&r->completion, "", 0, err) < 0))
        rc = -1;
    while (rc == 0 && (more = rlhf_lines_next(&l, &line, &size, err)) != 0) {
        json_t *json = more < 0 ? NULL : rlhf_parse_object(line, size, l.where, err);

        rc = json ? read_line(r, json, l.where, err) : -1;
        json_decref(json);
    }
    rlhf_lines_close(&l);
    rlhf_tokens_free(&r->ids);
    rlhf_bytes_free(&r->prompt);
    rlhf_bytes_free(&r->completion);
    if (rc < 0)
        rlhf_demonstrations_free(r->out);
    return rc;
}

int rlhf_read_demonstrations(const char *path, const struct rlhf_form *form, size_t max_tokens,
                             struct rlhf_demonstrations *out, struct rlhf_error *err)
{
    return read_all(&(struct reader){ .form = form, .max_tokens = max_tokens, .completions = true, .out = out }, path,
                    err);
}

int rlhf_read_prompts(const char *path, const struct rlhf_form *form, size_t max_tokens,
                      struct rlhf_demonstrations *out, struct rlhf_error *err)
{
    return read_all(&(struct reader){ .form = form, .max_tokens = max_tokens, .out = out }, path, err);
}

void rlhf_demonstrations_free(struct rlhf_demonstrations *d)
{
    for (size_t i = 0; i < d->sequences.count; i++) {
        free(d->text[i]);
        free(d->expected[i]);
    }
    rlhf_sequences_free(&d->sequences);
    free(d->prompt_size);
    free(d->text);
    free(d->expected);
    *d = (struct rlhf_demonstrations){ 0 };
}
