#include "tokenizer/parts.h"
#include "tokenizer/tokenizer.h"

/* One call's work. */
struct job {
    const struct rlhf_tokenizer *tokenizer;
    struct tk_scratch scratch;
    struct rlhf_bytes normal; /* of the stretch between two added tokens */
    bool special;             /* special tokens are looked for */
    struct rlhf_tokens *out;
    struct rlhf_error *err;
};

static int push(struct job *j, uint32_t id)
{
    int32_t one = (int32_t)id;

    return rlhf_tokens_append(j->out, &one, 1, j->err);
}

/* Text without added tokens, normalised. */
static int encode_plain(struct job *j, const char *text, size_t size, bool first)
{
    const struct rlhf_tokenizer *t = j->tokenizer;
    const struct tk_pieces *p = &j->scratch.pieces;
    int (*encode_piece)(const struct rlhf_tokenizer *, struct tk_scratch *, const char *, size_t,
                        struct rlhf_tokens *, struct rlhf_error *);

    if (tk_split(&t->splitters, &j->scratch, text, size, first, j->err) < 0)
        return -1;
    encode_piece = t->model == TK_BPE ? tk_bpe_encode : tk_unigram_encode;
    for (size_t i = 0; i < p->count; i++) {
        size_t start = tk_piece_start(p, i);

        if (encode_piece(t, &j->scratch, p->text.data + start, p->end[i] - start, j->out, j->err) < 0)
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
        if (push(j, token->id) < 0)
            return -1;
        done = to;
    }
    return done < size ? rest(j, text + done, size - done, first && done == 0) : 0;
}

static int encode_between(struct job *j, const char *text, size_t size, bool first)
{
    const struct rlhf_tokenizer *t = j->tokenizer;

    if (t->normalizers.count) {
        if (tk_normalize(&t->normalizers, &j->scratch, text, size, &j->normal, j->err) < 0)
            return -1;
        text = j->normal.data;
        size = j->normal.size;
    }
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
    return push(j, id);
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

static int encode(const struct rlhf_tokenizer *t, const char *text, size_t size, bool special,
                  struct rlhf_tokens *out, struct rlhf_error *err)
{
    struct job j = { .tokenizer = t, .special = special, .out = out, .err = err };
    size_t before = out->size;
    int result;

    if (size > TK_TEXT_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, "a text of %zu bytes is too long; %d are allowed", size, TK_TEXT_LIMIT);
    if (tk_scratch_init(&j.scratch, err) < 0)
        return -1;
    result = encode_all(&j, text, size);
    if (result < 0)
        out->size = before;
    rlhf_bytes_free(&j.normal);
    tk_scratch_free(&j.scratch);
    return result;
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
