#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "data/data.h"
#include "data/lines.h"

typedef int each_text(void *ctx, const char *text, size_t size, const char *where, struct rlhf_error *err);

static bool is_plain(const char *path)
{
    return rlhf_ends_with(path, ".txt") || rlhf_ends_with(path, ".txt.gz");
}

/* Paragraphs of a plain text: what blank lines divide. */
static int each_paragraph(const char *path, each_text *each, void *ctx, struct rlhf_error *err)
{
    struct rlhf_lines l;
    const char *line, *begin = NULL, *end = NULL;
    size_t size;
    int rc = rlhf_lines_open(&l, path, err);

    if (rc == 0 && !rlhf_utf8_valid(l.file.data, l.file.size))
        rc = rlhf_fail(err, RLHF_REJECT, "%s: not UTF-8 text", path);
    while (rc == 0) {
        int more = rlhf_lines_next(&l, &line, &size, err);

        if (more < 0)
            rc = -1;
        else if (begin && (more == 0 || line != end + 1 + (end[0] == '\r')))
            rc = each(ctx, begin, (size_t)(end - begin), l.where, err);
        if (more <= 0 || rc < 0)
            break;
        if (!begin || line != end + 1 + (end[0] == '\r'))
            begin = line;
        end = line + size;
    }
    rlhf_lines_close(&l);
    return rc;
}

/* The text of a line: "text", or the transcript in "chosen". */
static int get_document(const json_t *json, const char *where, const char **text, struct rlhf_error *err)
{
    const char *key = !json_object_get(json, "text") && json_object_get(json, "chosen") ? "chosen" : "text";

    return rlhf_get_text(json, key, true, where, text, err);
}

static int each_document(const char *path, each_text *each, void *ctx, struct rlhf_error *err)
{
    struct rlhf_lines l;
    const char *line, *text;
    size_t size;
    int rc = rlhf_lines_open(&l, path, err), more;

    while (rc == 0 && (more = rlhf_lines_next(&l, &line, &size, err)) != 0) {
        json_t *json = more < 0 ? NULL : rlhf_parse_object(line, size, l.where, err);

        rc = !json || get_document(json, l.where, &text, err) < 0
                 ? -1
                 : each(ctx, text, strlen(text), l.where, err);
        json_decref(json);
    }
    rlhf_lines_close(&l);
    return rc;
}

static int each_in(const char *path, each_text *each, void *ctx, struct rlhf_error *err)
{
    return is_plain(path) ? each_paragraph(path, each, ctx, err) : each_document(path, each, ctx, err);
}

struct tokenised {
    const struct rlhf_tokenizer *tokenizer;
    struct rlhf_sequences *out;
    struct rlhf_tokens ids;
};

static int append_special(struct rlhf_tokens *ids, int32_t id, struct rlhf_error *err)
{
    return id < 0 ? 0 : rlhf_tokens_append(ids, &id, 1, err);
}

static int tokenise(void *ctx, const char *text, size_t size, const char *where, struct rlhf_error *err)
{
    struct tokenised *t = ctx;

    rlhf_tokens_clear(&t->ids);
    if (append_special(&t->ids, rlhf_tokenizer_begin(t->tokenizer), err) < 0)
        return -1;
    if (rlhf_tokenizer_encode(t->tokenizer, text, size, &t->ids, err) < 0)
        return rlhf_fail_prefix(err, "%s", where);
    return append_special(&t->ids, rlhf_tokenizer_end(t->tokenizer), err) < 0
               ? -1
               : rlhf_sequences_append(t->out, t->ids.data, t->ids.size, err);
}

int rlhf_read_documents(const char *path, const struct rlhf_tokenizer *t, struct rlhf_sequences *out,
                        struct rlhf_error *err)
{
    struct tokenised ctx = { .tokenizer = t, .out = out };
    size_t tokens = out->tokens.size, count = out->count;
    int rc = each_in(path, tokenise, &ctx, err);

    if (rc < 0) {
        out->tokens.size = tokens;
        out->count = count;
    }
    rlhf_tokens_free(&ctx.ids);
    return rc;
}

struct texts {
    struct rlhf_bytes *text;
    size_t **sizes, *count;
};

static int keep(void *ctx, const char *text, size_t size, const char *where, struct rlhf_error *err)
{
    struct texts *t = ctx;
    size_t *more;

    (void)where;
    if ((*t->count & (*t->count - 1)) == 0) { /* doubles at powers of two */
        if (!(more = reallocarray(*t->sizes, *t->count ? 2 * *t->count : 1, sizeof *more)))
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu texts", *t->count);
        *t->sizes = more;
    }
    if (rlhf_bytes_append(t->text, text, size, err) < 0)
        return -1;
    (*t->sizes)[(*t->count)++] = size;
    return 0;
}

int rlhf_read_texts(const char *path, struct rlhf_bytes *text, size_t **sizes, size_t *count, struct rlhf_error *err)
{
    return each_in(path, keep, &(struct texts){ text, sizes, count }, err);
}
