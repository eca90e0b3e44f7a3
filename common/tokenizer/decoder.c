#include "tokenizer/parts.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define WHERE "tokenizer.json: decoder"

/* ---- loading --------------------------------------------------------------------------------------- */

static int load_strip(struct tk_decoder *d, const json_t *json, struct rlhf_error *err)
{
    const char *c = json_string_value(json_object_get(json, "content"));
    const json_t *start = json_object_get(json, "start"), *stop = json_object_get(json, "stop");

    if (!c || !*c || tk_utf8_size(c, strlen(c)) != strlen(c) || !json_is_integer(start) || !json_is_integer(stop) ||
        json_integer_value(start) < 0 || json_integer_value(stop) < 0)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": Strip needs one character \"content\", and \"start\", \"stop\"");
    strcpy(d->character, c);
    d->start = (size_t)json_integer_value(start);
    d->stop = (size_t)json_integer_value(stop);
    return 0;
}

static int load_replace(struct tk_decoder *d, const json_t *json, struct rlhf_error *err)
{
    const json_t *content = json_object_get(json, "content");

    if (!json_is_string(content))
        return rlhf_fail(err, RLHF_REJECT, WHERE ": Replace without \"content\"");
    d->size = json_string_length(content);
    if (!(d->text = malloc(d->size + 1)))
        return rlhf_fail(err, RLHF_FULL, WHERE ": out of memory");
    memcpy(d->text, json_string_value(content), d->size + 1);
    d->regex = tk_json_pattern(json_object_get(json, "pattern"), WHERE, err);
    return d->regex ? 0 : -1;
}

static int load_bpe(struct tk_decoder *d, const json_t *json, struct rlhf_error *err)
{
    const json_t *suffix = json_object_get(json, "suffix");

    d->text = strdup(json_is_string(suffix) ? json_string_value(suffix) : "</w>");
    d->size = d->text ? strlen(d->text) : 0;
    return d->size ? 0 : rlhf_fail(err, RLHF_REJECT, WHERE ": BPEDecoder with an empty suffix");
}

static int load_metaspace(struct tk_decoder *d, const json_t *json, struct rlhf_error *err)
{
    return tk_json_metaspace(json, d->character, &d->prefix, WHERE, err);
}

static const struct {
    const char *type;
    int kind;
    int (*load)(struct tk_decoder *d, const json_t *json, struct rlhf_error *err);
} loaders[] = {
    { "ByteLevel", TK_DECODE_BYTE_LEVEL, NULL },
    { "Metaspace", TK_DECODE_METASPACE, load_metaspace },
    { "Replace", TK_DECODE_REPLACE, load_replace },
    { "ByteFallback", TK_DECODE_BYTE_FALLBACK, NULL },
    { "Fuse", TK_DECODE_FUSE, NULL },
    { "Strip", TK_DECODE_STRIP, load_strip },
    { "BPEDecoder", TK_DECODE_BPE, load_bpe },
};

static int load(void *decoders, const json_t *json, const char *type, struct rlhf_error *err)
{
    struct tk_decoders *all = decoders;

    for (size_t i = 0; i < sizeof(loaders) / sizeof(*loaders); i++)
        if (!strcmp(type, loaders[i].type)) {
            if (all->count == TK_STEP_LIMIT)
                return rlhf_fail(err, RLHF_REJECT, WHERE ": more than %d steps", TK_STEP_LIMIT);
            all->step[all->count].kind = loaders[i].kind;
            struct tk_decoder *d = &all->step[all->count++];
            return loaders[i].load ? loaders[i].load(d, json, err) : 0;
        }
    return rlhf_fail(err, RLHF_REJECT, WHERE ": type \"%.40s\" is not supported", type);
}

int tk_decoders_load(struct tk_decoders *d, const json_t *json, struct rlhf_error *err)
{
    d->present = json && !json_is_null(json);
    return tk_json_steps(json, "decoders", WHERE, d, load, err);
}

void tk_decoders_free(struct tk_decoders *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(d->step[i].text);
        tk_regex_free(d->step[i].regex);
    }
    d->count = 0;
}

/* ---- decoding -------------------------------------------------------------------------------------- */

int tk_decode_bytes(const char *token, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t before = out->size;

    for (size_t at = 0, n; at < size; at += n) {
        n = tk_utf8_size(token + at, size - at);
        int byte = n ? tk_char_byte(tk_utf8_get(token + at, n)) : -1;
        if (byte < 0) { /* one character that stands for no byte: all of it is plain text */
            out->size = before;
            return rlhf_bytes_append(out, token, size, err);
        }
        if (rlhf_bytes_append(out, (char[]){ (char)byte }, 1, err) < 0)
            return -1;
    }
    return 0;
}

/* All tokens become one. */
static int decode_byte_level(const struct tk_pieces *in, bool lossy, struct tk_pieces *out, struct rlhf_bytes *spare,
                             struct rlhf_error *err)
{
    rlhf_bytes_clear(spare);
    for (size_t i = 0; i < in->count; i++) {
        size_t start = tk_piece_start(in, i);
        if (tk_decode_bytes(in->text.data + start, in->end[i] - start, spare, err) < 0)
            return -1;
    }
    if (lossy && tk_utf8_lossy(spare->data, spare->size, &out->text, err) < 0)
        return -1;
    return tk_pieces_append(out, spare->data, lossy ? 0 : spare->size, err);
}

/* The byte of "<0xXX>", -1 for any other token. */
static int fallback_byte(const char *token, size_t size)
{
    int byte = 0;

    if (size != 6 || memcmp(token, "<0x", 3) || token[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF", *digit = memchr(digits, token[i], 32);
        if (!digit)
            return -1;
        byte = byte * 16 + (int)((digit - digits) % 16);
    }
    return byte;
}

/* A run of bytes is one token where it is UTF-8, else one U+FFFD a byte (the bytes themselves if not lossy). */
static int end_bytes(struct rlhf_bytes *run, bool lossy, struct tk_pieces *out, struct rlhf_error *err)
{
    int result = 0;

    if (run->size == 0)
        return 0;
    if (!lossy || tk_utf8_valid(run->data, run->size) == run->size)
        result = tk_pieces_append(out, run->data, run->size, err);
    else
        for (size_t i = 0; result == 0 && i < run->size; i++)
            result = tk_pieces_append(out, "\xef\xbf\xbd", 3, err);
    rlhf_bytes_clear(run);
    return result;
}

static int decode_byte_fallback(const struct tk_pieces *in, bool lossy, struct tk_pieces *out,
                                struct rlhf_bytes *run, struct rlhf_error *err)
{
    rlhf_bytes_clear(run);
    for (size_t i = 0; i < in->count; i++) {
        const char *token = in->text.data + tk_piece_start(in, i);
        size_t size = in->end[i] - tk_piece_start(in, i);
        int byte = fallback_byte(token, size);

        if (byte >= 0) {
            if (rlhf_bytes_append(run, (char[]){ (char)byte }, 1, err) < 0)
                return -1;
        } else if (end_bytes(run, lossy, out, err) < 0 || tk_pieces_append(out, token, size, err) < 0)
            return -1;
    }
    return end_bytes(run, lossy, out, err);
}

/* The mark becomes a space; in the first token it goes, where the pre-tokenizer put it there. */
static int decode_metaspace(const struct tk_decoder *d, const char *token, size_t size, bool first,
                            struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t mark = strlen(d->character), done = 0;
    const char *at;

    while ((at = memmem(token + done, size - done, d->character, mark))) {
        size_t to = (size_t)(at - token);

        if (rlhf_bytes_append(out, token + done, to - done, err) < 0 ||
            (!(first && d->prefix != TK_PREFIX_NEVER) && rlhf_bytes_append(out, " ", 1, err) < 0))
            return -1;
        done = to + mark;
    }
    return rlhf_bytes_append(out, token + done, size - done, err);
}

static int decode_strip(const struct tk_decoder *d, const char *token, size_t size, struct rlhf_bytes *out,
                        struct rlhf_error *err)
{
    size_t mark = strlen(d->character), from = 0, to = size;

    for (size_t i = 0; i < d->start && to - from >= mark && !memcmp(token + from, d->character, mark); i++)
        from += mark;
    for (size_t i = 0; i < d->stop && to - from >= mark && !memcmp(token + to - mark, d->character, mark); i++)
        to -= mark;
    return rlhf_bytes_append(out, token + from, to - from, err);
}

/* The suffix that ends a word becomes a space; behind the last token, nothing. */
static int decode_bpe(const struct tk_decoder *d, const char *token, size_t size, bool last, struct rlhf_bytes *out,
                      struct rlhf_error *err)
{
    size_t done = 0;
    const char *at;

    while ((at = memmem(token + done, size - done, d->text, d->size))) {
        if (rlhf_bytes_append(out, token + done, (size_t)(at - token) - done, err) < 0 ||
            (!last && rlhf_bytes_append(out, " ", 1, err) < 0))
            return -1;
        done = (size_t)(at - token) + d->size;
    }
    return rlhf_bytes_append(out, token + done, size - done, err);
}

static int decode_token(const struct tk_decoder *d, struct tk_scratch *s, const char *token, size_t size, bool first,
                        bool last, struct rlhf_bytes *out, struct rlhf_error *err)
{
    switch (d->kind) {
    case TK_DECODE_METASPACE:
        return decode_metaspace(d, token, size, first, out, err);
    case TK_DECODE_BPE:
        return decode_bpe(d, token, size, last, out, err);
    case TK_DECODE_STRIP:
        return decode_strip(d, token, size, out, err);
    case TK_DECODE_REPLACE:
        /* Bytes that are no UTF-8 (not lossy) are no business of a pattern. */
        if (tk_utf8_valid(token, size) == size)
            return tk_replace(d->regex, d->text, d->size, s->match, token, size, out, err);
        return rlhf_bytes_append(out, token, size, err);
    default:
        return rlhf_bytes_append(out, token, size, err);
    }
}

static int decode_step(const struct tk_decoder *d, struct tk_scratch *s, const struct tk_pieces *in, bool lossy,
                       struct tk_pieces *out, struct rlhf_error *err)
{
    if (d->kind == TK_DECODE_BYTE_LEVEL)
        return decode_byte_level(in, lossy, out, &s->spare, err);
    if (d->kind == TK_DECODE_BYTE_FALLBACK)
        return decode_byte_fallback(in, lossy, out, &s->spare, err);
    if (d->kind == TK_DECODE_FUSE)
        return tk_pieces_append(out, in->text.data, in->text.size, err);
    for (size_t i = 0; i < in->count; i++) {
        size_t start = tk_piece_start(in, i);

        if (decode_token(d, s, in->text.data + start, in->end[i] - start, i == 0, i + 1 == in->count, &out->text,
                         err) < 0 ||
            tk_pieces_append(out, NULL, 0, err) < 0)
            return -1;
    }
    return 0;
}

int tk_decode(const struct tk_decoders *d, struct tk_scratch *s, bool lossy, struct rlhf_bytes *out,
              struct rlhf_error *err)
{
    for (size_t i = 0; i < d->count; i++) {
        struct tk_pieces swap = s->pieces;

        s->pieces = s->spare_pieces;
        s->spare_pieces = swap;
        tk_pieces_clear(&s->pieces);
        if (decode_step(&d->step[i], s, &s->spare_pieces, lossy, &s->pieces, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < s->pieces.count; i++) {
        size_t start = tk_piece_start(&s->pieces, i);

        if ((i && !d->present && rlhf_bytes_append(out, " ", 1, err) < 0) ||
            rlhf_bytes_append(out, s->pieces.text.data + start, s->pieces.end[i] - start, err) < 0)
            return -1;
    }
    return 0;
}

static int decode(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, bool keep_special, bool lossy,
                  struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct tk_scratch s;
    int result = 0;

    if (tk_scratch_init(&s, err) < 0)
        return -1;
    for (size_t i = 0; result == 0 && i < count; i++) {
        size_t id = (size_t)ids[i];

        if (ids[i] >= 0 && id < t->vocab && t->present[id] && (keep_special || !t->special[id]))
            result = tk_pieces_append(&s.pieces, t->names.text.data + t->name[id].start, t->name[id].size, err);
    }
    if (result == 0)
        result = tk_decode(&t->decoders, &s, lossy, out, err);
    tk_scratch_free(&s);
    return result;
}

static int decode_plain(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, bool keep_special,
                        struct rlhf_bytes *out, struct rlhf_error *err)
{
    for (size_t i = 0; i < count; i++) {
        size_t id = (size_t)ids[i];

        if ((keep_special || !t->special[id]) &&
            rlhf_bytes_append(out, t->byte_text.data + t->byte_start[id], t->byte_start[id + 1] - t->byte_start[id],
                              err) < 0)
            return -1;
    }
    return 0;
}

int rlhf_tokenizer_decode(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, int keep_special,
                          struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t before = out->size;

    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= t->vocab)
            return rlhf_fail(err, RLHF_REJECT, "token %zu is %d, but the tokenizer's ids end at %zu", i, ids[i],
                             t->vocab ? t->vocab - 1 : 0);
    if ((t->plain_decode ? decode_plain(t, ids, count, keep_special, out, err)
                         : decode(t, ids, count, keep_special, false, out, err)) == 0)
        return 0;
    out->size = before;
    return -1;
}

int rlhf_tokenizer_decode_text(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, int keep_special,
                               struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t before = out->size;

    if (decode(t, ids, count, keep_special, true, out, err) == 0)
        return 0;
    out->size = before;
    return -1;
}
