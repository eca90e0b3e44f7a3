#include "tokenizer/parts.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* One call's work. */
struct job {
    const struct rlhf_tokenizer *tokenizer;
    struct tk_scratch scratch;
    struct rlhf_bytes normal; /* of the stretch between two added tokens */
    bool special;             /* special tokens are looked for */
    struct rlhf_tokens *out;
    struct rlhf_error *err;
    const char *text;                 /* all of it                      */
    struct rlhf_token_ranges *ranges; /* NULL: nobody asks              */
    struct tk_origins between;        /* of what is in normal, if asked */
};

static int push_range(struct job *j, size_t start, size_t end)
{
    struct rlhf_token_ranges *r = j->ranges;

    if (!r)
        return 0;
    if (tk_reserve((void **)&r->at, &r->capacity, r->size + 1, sizeof(*r->at), j->err) < 0)
        return -1;
    r->at[r->size++] = (struct rlhf_token_range){ start, end };
    return 0;
}

static int push(struct job *j, uint32_t id, size_t start, size_t end)
{
    int32_t one = (int32_t)id;

    return push_range(j, start, end) < 0 ? -1 : rlhf_tokens_append(j->out, &one, 1, j->err);
}

/* ---- where the tokens of a piece stand ------------------------------------------------------------- */

/* How many bytes of a BPE piece's rest the token stands for. */
static size_t bpe_size(const struct rlhf_tokenizer *t, uint32_t id, const char *rest, size_t size)
{
    size_t own = t->word_size[id], n = t->splitters.byte_level ? 1 : tk_utf8_size(rest, size), count = n;

    if (own && own <= size && tk_table_get(&t->words, rest, own) == id)
        return own;
    if (id == t->unknown) {
        for (; t->bpe.fuse_unknown && count < size; count += n) { /* all that the vocabulary does not know */
            n = tk_utf8_size(rest + count, size - count);
            if (tk_table_get(&t->words, rest + count, n) != TK_NONE)
                break;
        }
        return count;
    }
    if (t->letter[(uint8_t)*rest] == id)
        return 1;
    size_t affixes = strlen(t->bpe.word_suffix) + strlen(t->bpe.word_prefix);
    return own > affixes ? own - affixes : own;
}

static int cover_bpe(struct job *j, const char *piece, size_t size, size_t first_id)
{
    size_t at = 0;

    for (size_t i = first_id; i < j->out->size; i++) {
        size_t count = at < size ? bpe_size(j->tokenizer, (uint32_t)j->out->data[i], piece + at, size - at) : 0;

        count = count < size - at ? count : size - at;
        if (tk_cover(&j->scratch, at, at + count, j->err) < 0)
            return -1;
        at += count;
    }
    return 0;
}

/* From the pieces' bytes to those of the given text. */
static int push_ranges(struct job *j, size_t piece)
{
    const struct tk_scratch *s = &j->scratch;

    for (size_t i = 0; i < s->covers; i++) {
        size_t start = piece + s->cover[i].start, end = piece + s->cover[i].end;

        if (start < end ? push_range(j, s->origins.at[start].start, s->origins.at[end - 1].end) < 0 : push_range(j, 0, 0) < 0)
            return -1;
    }
    return 0;
}

/* ---- encoding -------------------------------------------------------------------------------------- */

/* Text without added tokens, normalised. */
static int encode_plain(struct job *j, const char *text, size_t size, bool first)
{
    const struct rlhf_tokenizer *t = j->tokenizer;
    const struct tk_pieces *p = &j->scratch.pieces;
    int (*encode_piece)(const struct rlhf_tokenizer *, struct tk_scratch *, const char *, size_t,
                        struct rlhf_tokens *, struct rlhf_error *);

    if (j->ranges && tk_origins_take(&j->scratch.origins, &j->between, (size_t)(text - j->normal.data), size, j->err) < 0)
        return -1;
    if (tk_split(&t->splitters, &j->scratch, text, size, first, j->err) < 0)
        return -1;
    encode_piece = t->model == TK_BPE ? tk_bpe_encode : tk_unigram_encode;
    for (size_t i = 0; i < p->count; i++) {
        size_t start = tk_piece_start(p, i), before = j->out->size;

        j->scratch.covers = 0;
        if (encode_piece(t, &j->scratch, p->text.data + start, p->end[i] - start, j->out, j->err) < 0)
            return -1;
        if (j->ranges && ((t->model == TK_BPE && cover_bpe(j, p->text.data + start, p->end[i] - start, before) < 0) ||
                          push_ranges(j, start) < 0))
            return -1;
    }
    return 0;
}

static uint32_t char_before(const char *text, size_t at, size_t *start)
{
    *start = at - 1;
    while (((uint8_t)text[*start] & 0xc0) == 0x80)
        --*start;
    return tk_utf8_get(text + *start, at - *start);
}

/* Whether a token found at [from, to) counts, and how far lstrip and rstrip let it reach. */
static bool accept(const struct job *j, const struct tk_added *token, const char *text, size_t size, size_t done,
                   size_t *from, size_t *to)
{
    size_t n;

    if (token->special && !j->special)
        return false;
    if (token->single_word) {
        if (*from && tk_is_word(char_before(text, *from, &n)))
            return false;
        if (*to < size && tk_is_word(tk_utf8_get(text + *to, tk_utf8_size(text + *to, size - *to))))
            return false;
    }
    while (token->lstrip && *from > done && tk_is_space(char_before(text, *from, &n)))
        *from = n;
    while (token->rstrip && *to < size) {
        n = tk_utf8_size(text + *to, size - *to);
        if (!tk_is_space(tk_utf8_get(text + *to, n)))
            break;
        *to += n;
    }
    return true;
}

/* The characters of the given text that a byte of what is looked through stands for. */
static struct tk_origin place(const struct job *j, const struct tk_matcher *m, const char *text, size_t at)
{
    if (!j->ranges)
        return (struct tk_origin){ 0, 0 };
    if (m == &j->tokenizer->raw) {
        size_t raw = (size_t)(text - j->text) + at;

        return (struct tk_origin){ (uint32_t)raw, (uint32_t)raw + 1 };
    }
    return j->between.at[(size_t)(text - j->normal.data) + at];
}

/* Cuts added tokens out of text; what lies between goes to rest(). */
static int cut_added(struct job *j, const struct tk_matcher *m, const char *text, size_t size, bool first,
                     int (*rest)(struct job *, const char *, size_t, bool))
{
    const struct tk_added *token;
    size_t done = 0, at = 0;

    while ((token = tk_matcher_next(m, text, size, &at))) {
        size_t from = at, to = at + token->size;

        at = to; /* the search goes on behind the match, whatever was stripped */
        if (!accept(j, token, text, size, done, &from, &to))
            continue;
        if (from > done && rest(j, text + done, from - done, first && done == 0) < 0)
            return -1;
        if (push(j, token->id, place(j, m, text, from).start, place(j, m, text, to - 1).end) < 0)
            return -1;
        done = to;
    }
    return done < size ? rest(j, text + done, size - done, first && done == 0) : 0;
}

static int encode_between(struct job *j, const char *text, size_t size, bool first)
{
    const struct rlhf_tokenizer *t = j->tokenizer;

    if (j->ranges && tk_origins_begin(&j->scratch.origins, text, size, (size_t)(text - j->text), j->err) < 0)
        return -1;
    if (t->normalizers.count || j->ranges) {
        if (tk_normalize(&t->normalizers, &j->scratch, text, size, &j->normal, j->err) < 0)
            return -1;
        text = j->normal.data;
        size = j->normal.size;
    }
    if (j->ranges && tk_origins_take(&j->between, &j->scratch.origins, 0, size, j->err) < 0)
        return -1;
    return cut_added(j, &t->normalized, text, size, first, encode_plain);
}

/* A byte that belongs to no character: its own token. */
static int encode_byte(struct job *j, uint8_t byte, size_t at)
{
    const struct rlhf_tokenizer *t = j->tokenizer;
    uint32_t id = t->letter[byte] != TK_NONE ? t->letter[byte] : t->unknown;

    if (id == TK_NONE)
        return rlhf_fail(j->err, RLHF_REJECT, "byte %zu of the text is no UTF-8 and the tokenizer has no token for it",
                         at);
    return push(j, id, at, at + 1);
}

static int encode_all(struct job *j, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t n = tk_utf8_valid(text + at, size - at);

        if (n && cut_added(j, &j->tokenizer->raw, text + at, n, at == 0, encode_between) < 0)
            return -1;
        at += n;
        if (at < size && encode_byte(j, (uint8_t)text[at], at) < 0)
            return -1;
        at += at < size;
    }
    return 0;
}

/* A token's range without the spaces that its text begins and ends with. */
static void trim_range(const struct rlhf_tokenizer *t, int32_t id, size_t index, struct rlhf_token_range *r)
{
    const char *name = t->names.text.data + t->name[id].start;
    size_t size = t->name[id].size, leading = 0, trailing = 0, n;

    for (size_t at = 0; at < size; at += n, leading++) {
        n = tk_utf8_size(name + at, size - at);
        uint32_t c = tk_utf8_get(name + at, n);
        if (c != tk_byte_char(' ') && !tk_is_space(c))
            break;
    }
    for (size_t end = size; end > 0; trailing++) {
        uint32_t c = char_before(name, end, &n);

        if (c != tk_byte_char(' ') && !tk_is_space(c))
            break;
        end = n;
    }
    if (leading && (index == 0 || r->start == 0) && t->trim_keeps_prefix)
        leading--;
    r->start = r->start + leading < r->end ? r->start + leading : r->end;
    if (trailing && r->end >= trailing)
        r->end = r->end - trailing > r->start ? r->end - trailing : r->start;
}

static int encode_ranges(const struct rlhf_tokenizer *t, const char *text, size_t size, bool special,
                         struct rlhf_tokens *out, struct rlhf_token_ranges *ranges, struct rlhf_error *err)
{
    struct job j = { .tokenizer = t, .special = special, .out = out, .err = err, .text = text, .ranges = ranges };
    size_t before = out->size;
    int result;

    if (size > TK_TEXT_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, "a text of %zu bytes is too long; %d are allowed", size, TK_TEXT_LIMIT);
    if (tk_scratch_init(&j.scratch, err) < 0)
        return -1;
    j.scratch.track = ranges != NULL;
    result = encode_all(&j, text, size);
    if (result < 0)
        out->size = before;
    for (size_t i = 0; result == 0 && ranges && t->trim_ranges && i < ranges->size; i++)
        trim_range(t, out->data[before + i], i, &ranges->at[i]);
    rlhf_bytes_free(&j.normal);
    free(j.between.at);
    tk_scratch_free(&j.scratch);
    return result;
}

static int encode(const struct rlhf_tokenizer *t, const char *text, size_t size, bool special,
                  struct rlhf_tokens *out, struct rlhf_error *err)
{
    return encode_ranges(t, text, size, special, out, NULL, err);
}

int rlhf_tokenizer_encode_ranges(const struct rlhf_tokenizer *t, const char *text, size_t size, struct rlhf_tokens *out,
                                 struct rlhf_token_ranges *ranges, struct rlhf_error *err)
{
    ranges->size = 0;
    return encode_ranges(t, text, size, true, out, ranges, err);
}

void rlhf_token_ranges_free(struct rlhf_token_ranges *r)
{
    free(r->at);
    *r = (struct rlhf_token_ranges){ 0 };
}

int rlhf_tokenizer_encode(const struct rlhf_tokenizer *t, const char *text, size_t size, struct rlhf_tokens *out,
                          struct rlhf_error *err)
{
    return encode(t, text, size, false, out, err);
}

int rlhf_tokenizer_encode_special(const struct rlhf_tokenizer *t, const char *text, size_t size,
                                  struct rlhf_tokens *out, struct rlhf_error *err)
{
    return encode(t, text, size, true, out, err);
}

int rlhf_tokenizer_encode_wrapped(const struct rlhf_tokenizer *t, const char *text, size_t size,
                                  struct rlhf_tokens *out, struct rlhf_error *err)
{
    size_t before = out->size;
    int result = 0;

    if (t->wrap.count == 0)
        return encode(t, text, size, true, out, err);
    for (size_t i = 0; result == 0 && i < t->wrap.count; i++) {
        int32_t id = (int32_t)t->wrap.item[i];

        result = t->wrap.item[i] == TK_NONE ? encode(t, text, size, true, out, err)
                                            : rlhf_tokens_append(out, &id, 1, err);
    }
    if (result < 0)
        out->size = before;
    return result;
}
