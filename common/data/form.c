#include "data/form.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "data/transcript.h"

time_t rlhf_form_day(const char *text)
{
    struct tm day = {0};

    strptime(text, "%Y-%m-%d", &day);
    day.tm_hour = 12;
    day.tm_isdst = -1;
    return mktime(&day);
}

/* ---- text as it stands --------------------------------------------------------------------------------- */

static int append_special(struct rlhf_tokens *out, int32_t id, struct rlhf_error *err)
{
    return id < 0 ? 0 : rlhf_tokens_append(out, &id, 1, err);
}

static int plain_prompt(const struct rlhf_form *f, const char *prompt, struct rlhf_tokens *out, struct rlhf_error *err)
{
    return append_special(out, rlhf_tokenizer_begin(f->tokenizer), err) < 0
               ? -1
               : rlhf_tokenizer_encode(f->tokenizer, prompt, strlen(prompt), out, err);
}

static int plain_completion(const struct rlhf_form *f, const char *completion, struct rlhf_tokens *out, struct rlhf_error *err)
{
    return rlhf_tokenizer_encode(f->tokenizer, completion, strlen(completion), out, err) < 0
               ? -1
               : append_special(out, rlhf_tokenizer_end(f->tokenizer), err);
}

/* ---- a chat template ----------------------------------------------------------------------------------- */

/* What people write must not become the template's own tokens: a mark inside whatever they wrote that reads like a special
 * token, where the rendered text is cut before it is encoded. U+FDD0 is no character, and never will be. */
#define CUT "\xEF\xB7\x90"

static bool is_special(const struct rlhf_tokenizer *t, int32_t id)
{
    struct rlhf_bytes text = {0};
    bool special = rlhf_tokenizer_decode(t, &id, 1, 0, &text, NULL) == 0 && text.size == 0;

    rlhf_bytes_free(&text);
    return special;
}

static int append_guarded(const struct rlhf_form *f, const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct rlhf_token_ranges ranges = {0};
    struct rlhf_tokens ids = {0};
    size_t done = 0;
    int rc = rlhf_tokenizer_encode_ranges(f->tokenizer, text, size, &ids, &ranges, err);

    for (size_t i = 0; rc == 0 && i < ids.size; i++) {
        size_t start = ranges.at[i].start;
        if (start < done || ranges.at[i].end <= start + 1 || !is_special(f->tokenizer, ids.data[i]))
            continue;
        rc = rlhf_bytes_append(out, text + done, start + 1 - done, err) < 0 ? -1 : rlhf_bytes_append(out, CUT, strlen(CUT), err);
        done = start + 1;
    }
    if (rc == 0)
        rc = rlhf_bytes_append(out, text + done, size - done, err);
    rlhf_token_ranges_free(&ranges);
    rlhf_tokens_free(&ids);
    return rc;
}

/* The turns of prompt, with completion at the end of the assistant's last one; NULL and *err. */
static json_t *dialogue(const struct rlhf_form *f, const char *prompt, const char *completion, struct rlhf_error *err)
{
    json_t *turns = rlhf_transcript_turns(prompt), *turn;
    size_t i, last = json_array_size(turns) - 1;
    struct rlhf_bytes text = {0};
    int rc = turns ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for a dialogue, or it is not UTF-8");

    json_array_foreach(turns, i, turn) {
        json_t *content = json_object_get(turn, "content");
        rlhf_bytes_clear(&text);
        if (rc < 0 || (rc = append_guarded(f, json_string_value(content), json_string_length(content), &text, err)) < 0)
            break;
        if (completion && i == last)
            rc = append_guarded(f, completion + (*completion == ' '), strlen(completion) - (*completion == ' '), &text, err);
        if (rc == 0 && json_object_set_new(turn, "content", json_stringn(text.data ? text.data : "", text.size)) < 0)
            rc = rlhf_fail(err, RLHF_REJECT, "a completion is not UTF-8, or there is no memory for it");
    }
    rlhf_bytes_free(&text);
    if (rc == 0)
        return turns;
    json_decref(turns);
    return NULL;
}

static int render(const struct rlhf_form *f, json_t *turns, const char *rule, struct rlhf_rendered *out, struct rlhf_error *err)
{
    json_t *request = turns ? json_pack("{s:o}", "messages", turns) : NULL;
    int rc = -1;

    if (request && rule)
        json_object_set_new(request, rule, json_true());
    if (request)
        rc = rlhf_chat_render(f->chat, request, f->today, out, err);
    else if (turns)
        rlhf_fail(err, RLHF_FULL, "out of memory for a dialogue");
    json_decref(request);
    return rc;
}

/* What the template writes up to where the assistant is to go on. */
static int render_prompt(const struct rlhf_form *f, const char *prompt, struct rlhf_rendered *out, struct rlhf_error *err)
{
    json_t *turns = dialogue(f, prompt, NULL, err);
    const json_t *last = json_array_get(turns, json_array_size(turns) - 1);

    if (json_string_length(json_object_get(last, "content")) > 0)
        return render(f, turns, "continue_final_message", out, err);
    if (turns)
        json_array_remove(turns, json_array_size(turns) - 1);
    return render(f, turns, "add_generation_prompt", out, err);
}

static int encode(const struct rlhf_form *f, const char *text, size_t size, struct rlhf_tokens *out, struct rlhf_error *err)
{
    const char *end = text + size, *cut;

    for (; (cut = memmem(text, (size_t)(end - text), CUT, strlen(CUT))); text = cut + strlen(CUT))
        if (rlhf_tokenizer_encode_special(f->tokenizer, text, (size_t)(cut - text), out, err) < 0)
            return -1;
    return rlhf_tokenizer_encode_special(f->tokenizer, text, (size_t)(end - text), out, err);
}

static int chat_completion(const struct rlhf_form *f, const char *prompt, const char *completion, struct rlhf_tokens *out,
                           struct rlhf_error *err)
{
    struct rlhf_rendered before = {0}, whole = {0};
    int32_t end = rlhf_tokenizer_end(f->tokenizer);
    size_t first = out->size, size;
    int rc = render_prompt(f, prompt, &before, err) < 0 ? -1 : render(f, dialogue(f, prompt, completion, err), NULL, &whole, err);

    if (rc == 0 && (whole.text.size < before.text.size || memcmp(whole.text.data, before.text.data, before.text.size) != 0))
        rc = rlhf_fail(err, RLHF_REJECT, "the chat template writes a dialogue otherwise once it is answered, so that what was asked "
                                         "is not what was answered: use a template for training, or tokenizer.chat: false");
    if (rc == 0)
        rc = encode(f, whole.text.data + before.text.size, whole.text.size - before.text.size, out, err);
    for (size = out->size; rc == 0 && end >= 0 && size > first && out->data[size - 1] != end; size--)
        ;
    if (rc == 0 && end >= 0 && size > first)
        out->size = size; /* "\n" behind <|im_end|> is never sampled */
    else if (rc == 0)
        rc = append_special(out, end, err);
    rlhf_rendered_free(&before);
    rlhf_rendered_free(&whole);
    return rc;
}

/* ---------------------------------------------------------------------------------------------------------- */

int rlhf_form_prompt(const struct rlhf_form *f, const char *prompt, struct rlhf_tokens *out, struct rlhf_error *err)
{
    struct rlhf_rendered rendered = {0};
    int rc;

    if (!f->chat)
        return plain_prompt(f, prompt, out, err);
    rc = render_prompt(f, prompt, &rendered, err) < 0 ? -1 : encode(f, rendered.text.data, rendered.text.size, out, err);
    rlhf_rendered_free(&rendered);
    return rc;
}

int rlhf_form_completion(const struct rlhf_form *f, const char *prompt, const char *completion, struct rlhf_tokens *out,
                         struct rlhf_error *err)
{
    return f->chat ? chat_completion(f, prompt, completion, out, err) : plain_completion(f, completion, out, err);
}
