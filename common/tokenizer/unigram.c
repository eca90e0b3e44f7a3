/* The unigram language model of SentencePiece (Kudo, "Subword regularization"): of all ways to cut a piece into tokens
 * the one with the largest sum of log-probabilities, by Viterbi over the positions. */
#include "tokenizer/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WHERE "tokenizer.json: model"

enum { TOKEN_LIMIT = 512 }; /* bytes, which bound the trie's depth; published tokens have at most some 100 */

/* What an unknown character costs below the least likely token. */
static const double unknown_penalty = 10.0;

struct tk_path {
    double score;
    uint32_t start, id; /* the last token of the best path to here; start TK_NONE: no path yet */
};

/* ---- the trie -------------------------------------------------------------------------------------- */

/* Tokens in the order of their bytes, so that those below a node are neighbours. */
struct builder {
    struct tk_unigram *u;
    const struct tk_table *words;
    const struct tk_slot **token;
    size_t room, first_free;
    struct rlhf_error *err;
};

static const char *text_of(const struct builder *b, size_t i)
{
    return b->words->text.data + b->token[i]->start;
}

static int by_text(const void *left, const void *right, void *table)
{
    const struct tk_slot *a = *(const struct tk_slot *const *)left, *b = *(const struct tk_slot *const *)right;
    const char *text = ((const struct tk_table *)table)->text.data;
    int order = memcmp(text + a->start, text + b->start, a->size < b->size ? a->size : b->size);

    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int grow(struct builder *b, size_t want)
{
    size_t room = b->room ? b->room : 1024;
    struct tk_unit *larger;

    while (room < want)
        room *= 2;
    if (room == b->room)
        return 0;
    if (!(larger = reallocarray(b->u->unit, room, sizeof(*larger))))
        return rlhf_fail(b->err, RLHF_FULL, WHERE ": out of memory for %zu nodes", room);
    for (size_t i = b->room; i < room; i++)
        larger[i] = (struct tk_unit){ TK_NONE, 0, TK_NONE };
    b->u->unit = larger;
    b->room = room;
    return 0;
}

/* A base from which all these bytes lead to free units. */
static int find_base(struct builder *b, const uint8_t *bytes, size_t count, uint32_t *base)
{
    while (b->first_free < b->room && b->u->unit[b->first_free].from != TK_NONE)
        b->first_free++;
    for (size_t at = b->first_free > bytes[0] ? b->first_free : bytes[0], tried = 0;; at++) {
        bool fits = true;

        if (grow(b, at + 256) < 0)
            return -1;
        if (++tried == 256) /* holes that nothing fits into are given up */
            b->first_free = at;
        if (b->u->unit[at].from != TK_NONE)
            continue;
        for (size_t i = 1; fits && i < count; i++)
            fits = b->u->unit[at - bytes[0] + bytes[i]].from == TK_NONE;
        if (fits) {
            *base = (uint32_t)(at - bytes[0]);
            return 0;
        }
    }
}

/* The tokens [low, high) share their first depth bytes, which lead to node. */
static int build(struct builder *b, uint32_t node, size_t low, size_t high, size_t depth)
{
    uint8_t bytes[256];
    size_t start[257], count = 0;
    uint32_t base;

    while (low < high && b->token[low]->size == depth)
        b->u->unit[node].id = b->token[low++]->id;
    for (size_t i = low; i < high; i++) {
        uint8_t byte = (uint8_t)text_of(b, i)[depth];

        if (count == 0 || bytes[count - 1] != byte) {
            start[count] = i;
            bytes[count++] = byte;
        }
    }
    start[count] = high;
    if (count == 0)
        return 0;
    if (find_base(b, bytes, count, &base) < 0)
        return -1;
    b->u->unit[node].base = base;
    for (size_t i = 0; i < count; i++)
        b->u->unit[base + bytes[i]].from = node;
    for (size_t i = 0; i < count; i++)
        if (build(b, base + bytes[i], start[i], start[i + 1], depth + 1) < 0)
            return -1;
    return 0;
}

static int make_trie(struct rlhf_tokenizer *t, struct rlhf_error *err)
{
    struct builder b = { .u = &t->unigram, .words = &t->words, .first_free = 1, .err = err };
    size_t count = 0;
    int result = -1;

    if (!(b.token = calloc(t->words.count + 1, sizeof(*b.token))))
        return rlhf_fail(err, RLHF_FULL, WHERE ": out of memory for %zu tokens", t->words.count);
    for (size_t i = 0; i <= t->words.mask; i++) {
        const struct tk_slot *s = &t->words.slots[i];

        if (s->id != TK_NONE && s->size > TOKEN_LIMIT) {
            rlhf_fail(err, RLHF_REJECT, WHERE ": a token of more than %d bytes", TOKEN_LIMIT);
            goto out;
        }
        if (s->id != TK_NONE && s->size)
            b.token[count++] = s;
    }
    qsort_r(b.token, count, sizeof(*b.token), by_text, &t->words);
    if (grow(&b, 1) < 0)
        goto out;
    b.u->unit[0].from = 0; /* the root */
    result = build(&b, 0, 0, count, 0);
    b.u->units = b.room;
out:
    free(b.token);
    return result;
}

/* ---- loading --------------------------------------------------------------------------------------- */

int tk_unigram_load(struct rlhf_tokenizer *t, const json_t *model, struct rlhf_error *err)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unknown = json_object_get(model, "unk_id");
    struct tk_unigram *u = &t->unigram;
    double least = INFINITY;
    size_t id;
    json_t *item;

    if (t->splitters.byte_level)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": Unigram behind ByteLevel is not supported");
    if (tk_json_bool(model, "byte_fallback", false, &t->byte_fallback, WHERE, err) < 0)
        return -1;
    if (!json_is_array(vocab) || json_array_size(vocab) == 0 || json_array_size(vocab) > TK_ID_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": \"vocab\" is not a list of 1 to %d tokens", TK_ID_LIMIT);
    if (tk_table_init(&t->names, json_array_size(vocab), err) < 0 ||
        tk_table_init(&t->words, json_array_size(vocab), err) < 0)
        return -1;
    if (!(u->score = calloc(json_array_size(vocab), sizeof(*u->score))))
        return rlhf_fail(err, RLHF_FULL, WHERE ": out of memory");
    json_array_foreach(vocab, id, item) {
        const json_t *text = json_array_get(item, 0), *score = json_array_get(item, 1);

        if (!json_is_string(text) || !json_is_number(score))
            return rlhf_fail(err, RLHF_REJECT, WHERE ": vocab[%zu] is not a pair of text and score", id);
        u->score[id] = json_number_value(score);
        least = fmin(least, u->score[id]);
        if (tk_vocab_put(t, json_string_value(text), json_string_length(text), (json_int_t)id, err) < 0)
            return -1;
    }
    u->unknown_score = least - unknown_penalty;
    if (unknown && !json_is_null(unknown)) {
        if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
            json_integer_value(unknown) >= (json_int_t)json_array_size(vocab))
            return rlhf_fail(err, RLHF_REJECT, WHERE ": \"unk_id\" is not in the vocabulary");
        t->unknown = (uint32_t)json_integer_value(unknown);
    }
    return make_trie(t, err);
}

int tk_unigram_finish(struct rlhf_tokenizer *t, struct rlhf_error *err)
{
    bool *whole = NULL;

    if (t->unknown == TK_NONE) /* a token may have a character that none knows */
        return 0;
    if (tk_find_whole(t, t->vocab, tk_unigram_encode, &whole, err) < 0) {
        free(whole);
        return -1;
    }
    t->unigram.whole = whole;
    return 0;
}

void tk_unigram_free(struct tk_unigram *u)
{
    free(u->score);
    free(u->whole);
    free(u->unit);
    *u = (struct tk_unigram){ 0 };
}

/* ---- encoding -------------------------------------------------------------------------------------- */

static void offer(struct tk_path *target, double score, size_t start, uint32_t id)
{
    if (target->start == TK_NONE || score > target->score)
        *target = (struct tk_path){ score, (uint32_t)start, id };
}

static int find_path(const struct rlhf_tokenizer *t, struct tk_path *path, const char *piece, size_t size,
                     struct rlhf_error *err)
{
    const struct tk_unigram *u = &t->unigram;

    for (size_t i = 0; i <= size; i++)
        path[i] = (struct tk_path){ 0.0, TK_NONE, 0 };
    for (size_t at = 0, n; at < size; at += n) {
        double here = path[at].score;
        bool alone = false; /* the character is a token by itself */
        uint32_t node = 0;

        n = tk_utf8_size(piece + at, size - at);
        for (size_t to = at; to < size;) {
            uint32_t next = u->unit[node].base + (uint8_t)piece[to];

            if (next >= u->units || u->unit[next].from != node || next == 0)
                break;
            node = next;
            to++;
            uint32_t id = u->unit[node].id;
            if (id == TK_NONE)
                continue;
            offer(&path[to], u->score[id] + here, at, id);
            alone |= to == at + n;
        }
        if (alone)
            continue;
        if (t->unknown == TK_NONE)
            return rlhf_fail(err, RLHF_REJECT, "the text holds \"%.*s\", which the vocabulary does not know, and "
                                               "there is no token for the unknown", (int)n, piece + at);
        offer(&path[at + n], u->unknown_score + here, at, t->unknown);
    }
    return 0;
}

/* A stretch of unknown characters: its bytes where there are tokens for them all. */
static int push_unknown(const struct rlhf_tokenizer *t, const char *text, size_t size, struct rlhf_tokens *out,
                        struct rlhf_error *err)
{
    uint32_t id = tk_table_get(&t->words, text, size);
    bool bytes = id == TK_NONE && t->byte_fallback;
    int32_t one;

    for (size_t i = 0; bytes && i < size; i++)
        bytes = t->letter[(uint8_t)text[i]] != TK_NONE;
    for (size_t i = 0; bytes && i < size; i++) {
        one = (int32_t)t->letter[(uint8_t)text[i]];
        if (rlhf_tokens_append(out, &one, 1, err) < 0)
            return -1;
    }
    one = (int32_t)(id == TK_NONE ? t->unknown : id);
    return bytes ? 0 : rlhf_tokens_append(out, &one, 1, err);
}

int tk_unigram_encode(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                      struct rlhf_tokens *out, struct rlhf_error *err)
{
    if (size == 0)
        return 0;
    if (t->unigram.whole) {
        uint32_t id = tk_table_get(&t->words, piece, size);

        if (id != TK_NONE && t->unigram.whole[id])
            return tk_cover(s, 0, size, err) < 0 ? -1 : rlhf_tokens_append(out, (int32_t[]){ (int32_t)id }, 1, err);
    }
    if (tk_reserve((void **)&s->path, &s->path_room, size + 1, sizeof(*s->path), err) < 0 ||
        find_path(t, s->path, piece, size, err) < 0)
        return -1;
    s->spans = 0;
    for (size_t to = size, from; to > 0; to = from) { /* from the end; unknown neighbours are one */
        bool unknown = s->path[to].id == t->unknown;

        from = s->path[to].start;
        if (unknown && s->spans && s->span[s->spans - 1].match) {
            s->span[s->spans - 1].start = from;
            continue;
        }
        if (tk_reserve((void **)&s->span, &s->span_capacity, s->spans + 1, sizeof(*s->span), err) < 0)
            return -1;
        s->span[s->spans++] = (struct tk_span){ from, to, unknown };
    }
    while (s->spans-- > 0) {
        const struct tk_span *span = &s->span[s->spans];
        int32_t id = (int32_t)s->path[span->end].id;
        size_t before = out->size;

        if ((span->match ? push_unknown(t, piece + span->start, span->end - span->start, out, err)
                         : rlhf_tokens_append(out, &id, 1, err)) < 0)
            return -1;
        for (; before < out->size; before++)
            if (tk_cover(s, span->start, span->end, err) < 0)
                return -1;
    }
    return 0;
}
