#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "data/lines.h"
#include "data/transcript.h"

struct reader {
    const struct rlhf_tokenizer *tokenizer;
    size_t max_tokens;
    bool completions; /* demonstrations, not prompts */
    struct rlhf_demonstrations *out;
    struct rlhf_tokens ids;
    struct rlhf_bytes prompt, completion;
};

/* Prompt and completion are encoded apart: the prompt's ids must be the same when it is sampled from, whatever will be
 * answered. */
static int tokenise(struct reader *r, size_t *prompt_size, struct rlhf_error *err)
{
    int32_t begin = rlhf_tokenizer_begin(r->tokenizer), end = rlhf_tokenizer_end(r->tokenizer);

    rlhf_tokens_clear(&r->ids);
    if ((begin >= 0 && rlhf_tokens_append(&r->ids, &begin, 1, err) < 0)
        || rlhf_tokenizer_encode(r->tokenizer, r->prompt.data, r->prompt.size, &r->ids, err) < 0)
        return -1;
    *prompt_size = r->ids.size;
    if (!r->completions)
        return 0;
    if (rlhf_tokenizer_encode(r->tokenizer, r->completion.data, r->completion.size, &r->ids, err) < 0)
        return -1;
    return end >= 0 ? rlhf_tokens_append(&r->ids, &end, 1, err) : 0;
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

/* Prompt and completion of a line, in one of the forms of data.h. */
static int split(struct reader *r, const json_t *json, const char *where, struct rlhf_error *err)
{
    const json_t *turns = json_object_get(json, "prompt");
    const char *prompt, *completion, *chosen;
    size_t size;

    rlhf_bytes_clear(&r->prompt);
    rlhf_bytes_clear(&r->completion);
    if (json_is_array(turns)) {
        if (rlhf_transcript_render(turns, true, where, "prompt", &r->prompt, err) < 0)
            return -1;
    } else if (turns) {
        if (rlhf_get_text(json, "prompt", true, where, &prompt, err) < 0
            || rlhf_bytes_append(&r->prompt, prompt, strlen(prompt), err) < 0)
            return -1;
    } else if (json_object_get(json, "chosen")) {
        if (rlhf_get_text(json, "chosen", true, where, &chosen, err) < 0)
            return -1;
        if ((size = rlhf_transcript_prompt(chosen, strlen(chosen))) == 0)
            return rlhf_fail(err, RLHF_REJECT, "%s: \"chosen\" has no \"\\n\\nAssistant:\", so no prompt can be told apart",
                             where);
        return rlhf_bytes_append(&r->prompt, chosen, size, err) < 0
                       || rlhf_bytes_append(&r->completion, chosen + size, strlen(chosen + size), err) < 0
                   ? -1
                   : 0;
    } else {
        return rlhf_fail(err, RLHF_REJECT, "%s: key \"prompt\" is missing (a transcript in \"chosen\" would do)", where);
    }
    if (!r->completions)
        return 0;
    turns = json_object_get(json, "completion");
    if (json_is_array(turns))
        return rlhf_transcript_render(turns, false, where, "completion", &r->completion, err);
    return rlhf_get_text(json, "completion", true, where, &completion, err) < 0
                   || rlhf_bytes_append(&r->completion, completion, strlen(completion), err) < 0
               ? -1
               : 0;
}

static int read_line(struct reader *r, const json_t *json, const char *where, struct rlhf_error *err)
{
    const char *expected;
    size_t prompt_size;

    if (rlhf_get_text(json, "expected", false, where, &expected, err) < 0 || split(r, json, where, err) < 0)
        return -1;
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

int rlhf_read_demonstrations(const char *path, const struct rlhf_tokenizer *t, size_t max_tokens,
                             struct rlhf_demonstrations *out, struct rlhf_error *err)
{
    return read_all(&(struct reader){ .tokenizer = t, .max_tokens = max_tokens, .completions = true, .out = out }, path,
                    err);
}

int rlhf_read_prompts(const char *path, const struct rlhf_tokenizer *t, size_t max_tokens,
                      struct rlhf_demonstrations *out, struct rlhf_error *err)
{
    return read_all(&(struct reader){ .tokenizer = t, .max_tokens = max_tokens, .out = out }, path, err);
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
