#include "evaluation/requests.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

int rlhf_framing_init(struct rlhf_framing *f, const struct rlhf_tokenizer *t, size_t context, struct rlhf_error *err)
{
    *f = (struct rlhf_framing){ .tokenizer = t, .prefix = rlhf_tokenizer_begin(t), .context = context };
    if (f->prefix < 0)
        f->prefix = rlhf_tokenizer_end(t);
    return f->prefix < 0 ? 0 : rlhf_tokenizer_decode_text(t, &f->prefix, 1, 1, &f->begins, err);
}

void rlhf_framing_free(struct rlhf_framing *f)
{
    rlhf_bytes_free(&f->begins);
}

/* Special tokens go around a text as the tokenizer's file says, unless it begins with the prefix already. */
static int encode(const struct rlhf_framing *f, const char *text, size_t size, struct rlhf_tokens *out, struct rlhf_error *err)
{
    const size_t begins = f->begins.size;

    if (f->prefix >= 0 && size >= begins && (begins == 0 || memcmp(text, f->begins.data, begins) == 0))
        return rlhf_tokenizer_encode_special(f->tokenizer, text, size, out, err);
    return rlhf_tokenizer_encode_wrapped(f->tokenizer, text, size, out, err);
}

static int need_prefix(const struct rlhf_framing *f, struct rlhf_error *err)
{
    return f->prefix >= 0 ? 0
                          : rlhf_fail(err, RLHF_REJECT, "the tokenizer names neither a token to begin with nor an end token, and "
                                                        "an empty context needs one");
}

/* Bytes of text without the white space at its end. */
static size_t without_end_space(const char *text)
{
    size_t end = 0, n;

    for (size_t at = 0; text[at]; at += n)
        if (!rlhf_is_space(rlhf_char(text + at, &n)))
            end = at + n;
    return end;
}

/* Takes the tokens from `start` on as one request. */
static int append(struct rlhf_requests *r, size_t start, size_t size, size_t wanted, struct rlhf_error *err)
{
    if (r->count == r->capacity) {
        size_t more = r->capacity ? 2 * r->capacity : 64;
        struct rlhf_request *grown = reallocarray(r->at, more, sizeof *grown);

        if (!grown)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu requests", more);
        r->at = grown;
        r->capacity = more;
    }
    r->at[r->count++] = (struct rlhf_request){ .start = start, .size = (uint32_t)size, .wanted = (uint32_t)wanted };
    return 0;
}

/* The context is a single token, or what the harness takes it for: a text that begins with that token has it once. */
static int frame_alone(struct rlhf_requests *r, const struct rlhf_framing *f, const char *text, size_t *context,
                       struct rlhf_error *err)
{
    const size_t start = r->tokens.size;

    *context = 1;
    if (need_prefix(f, err) < 0 || rlhf_tokens_append(&r->tokens, &f->prefix, 1, err) < 0
        || rlhf_tokenizer_encode_special(f->tokenizer, text, strlen(text), &r->tokens, err) < 0)
        return -1;
    if (r->tokens.size > start + 1 && r->tokens.data[start + 1] == f->prefix) {
        r->tokens.size--;
        memmove(r->tokens.data + start, r->tokens.data + start + 1, (r->tokens.size - start) * sizeof *r->tokens.data);
    }
    return 0;
}

/* The context's own tokens, and those of both together behind as many: where a word goes across the border the two need not fit. */
static int frame_pair(struct rlhf_requests *r, const struct rlhf_framing *f, const char *context, const char *continuation,
                      size_t *context_size, struct rlhf_error *err)
{
    const size_t start = r->tokens.size;
    struct rlhf_bytes text = { 0 };
    struct rlhf_tokens whole = { 0 };
    int rc = -1;

    if (encode(f, context, without_end_space(context), &r->tokens, err) == 0
        && rlhf_bytes_printf(&text, err, "%s%s", context, continuation) == 0
        && encode(f, text.data, text.size, &whole, err) == 0) {
        *context_size = r->tokens.size - start;
        rc = whole.size < *context_size ? 0
             : rlhf_tokens_append(&r->tokens, whole.data + *context_size, whole.size - *context_size, err);
    }
    rlhf_bytes_free(&text);
    rlhf_tokens_free(&whole);
    return rc;
}

int rlhf_requests_add(struct rlhf_requests *r, const struct rlhf_framing *f, const char *context, const char *continuation,
                      struct rlhf_error *err)
{
    const size_t start = r->tokens.size;
    size_t context_size, size, wanted, cut;
    int rc = *context ? frame_pair(r, f, context, continuation, &context_size, err)
                      : frame_alone(r, f, continuation, &context_size, err);

    size = r->tokens.size - start;
    wanted = rc < 0 ? 0 : size - context_size;
    cut = size > f->context + 1 ? size - f->context - 1 : 0;
    if (rc == 0 && (context_size == 0 || wanted == 0))
        rc = rlhf_fail(err, RLHF_REJECT, "\"%.60s\" adds no token to what stands before it, and cannot be scored", continuation);
    else if (rc == 0 && wanted > f->context)
        rc = rlhf_fail(err, RLHF_REJECT, "\"%.60s...\" has %zu tokens; the model's context is %zu", continuation, wanted, f->context);
    if (rc == 0)
        rc = append(r, start + cut, size - cut, wanted, err);
    if (rc < 0)
        r->tokens.size = start;
    return rc;
}

int rlhf_requests_add_text(struct rlhf_requests *r, const struct rlhf_framing *f, const char *text, size_t size,
                           struct rlhf_error *err)
{
    const size_t start = r->tokens.size, count = r->count;
    size_t tokens;

    if (need_prefix(f, err) < 0 || rlhf_tokens_append(&r->tokens, &f->prefix, 1, err) < 0)
        return -1;
    if (encode(f, text, size, &r->tokens, err) < 0)
        goto failed;
    tokens = r->tokens.size - start - 1;
    /* The first window begins with the prefix; those that follow with the last token of the one before. But the last is filled up
     * with what stands before it. */
    for (size_t done = 0; done < tokens;) {
        size_t wanted = tokens - done < f->context ? tokens - done : f->context;
        size_t before = done == 0 ? 1 : f->context + 1 - wanted;

        if (append(r, start + 1 + done - before, before + wanted, wanted, err) < 0)
            goto failed;
        done += wanted;
    }
    return 0;
failed:
    r->tokens.size = start;
    r->count = count;
    return -1;
}

void rlhf_frame_cut(struct rlhf_tokens *tokens, size_t start, size_t most)
{
    size_t size = tokens->size - start, cut = size > most ? size - most : 0;

    if (cut)
        memmove(tokens->data + start, tokens->data + start + cut, (size - cut) * sizeof *tokens->data);
    tokens->size -= cut;
}

int rlhf_frame_prompt(const struct rlhf_framing *f, const char *prompt, size_t most, struct rlhf_tokens *out,
                      struct rlhf_error *err)
{
    const size_t start = out->size;

    if (encode(f, prompt, strlen(prompt), out, err) < 0)
        return -1;
    if (out->size == start && (need_prefix(f, err) < 0 || rlhf_tokens_append(out, &f->prefix, 1, err) < 0))
        return -1;
    rlhf_frame_cut(out, start, most);
    return 0;
}

void rlhf_requests_free(struct rlhf_requests *r)
{
    rlhf_tokens_free(&r->tokens);
    free(r->at);
    *r = (struct rlhf_requests){ 0 };
}
