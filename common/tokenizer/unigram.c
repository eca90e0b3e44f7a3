/* The unigram language model of SentencePiece (Kudo, "Subword regularization"): of all ways to cut a piece into tokens
 * the one with the largest sum of log-probabilities, by Viterbi over the positions. */
#include "tokenizer/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WHERE "tokenizer.json: model"

/* What an unknown character costs below the least likely token. */
static const double unknown_penalty = 10.0;

struct tk_path {
    double score;
    uint32_t start, id; /* the last token of the best path to here; start TK_NONE: no path yet */
};
struct tk_edge {
    uint64_t key; /* node * 256 + byte; UINT64_MAX: free */
    uint32_t node;
};

/* ---- loading --------------------------------------------------------------------------------------- */

static struct tk_edge *find_edge(const struct tk_unigram *u, uint32_t node, uint8_t byte)
{
    uint64_t key = (uint64_t)node << 8 | byte, h = key * UINT64_C(0x9e3779b97f4a7c15);

    for (size_t i = (size_t)(h >> 32) & u->edge_mask;; i = (i + 1) & u->edge_mask)
        if (u->edge[i].key == key || u->edge[i].key == UINT64_MAX)
            return &u->edge[i];
}

static int insert(struct tk_unigram *u, const char *text, size_t size, uint32_t id, struct rlhf_error *err)
{
    uint32_t node = 0;

    for (size_t i = 0; i < size; i++) {
        struct tk_edge *e = find_edge(u, node, (uint8_t)text[i]);

        if (e->key == UINT64_MAX) {
            if (tk_reserve((void **)&u->node_id, &u->node_room, u->nodes + 1, sizeof(*u->node_id), err) < 0)
                return -1;
            *e = (struct tk_edge){ .key = (uint64_t)node << 8 | (uint8_t)text[i], .node = u->nodes };
            u->node_id[u->nodes++] = TK_NONE;
        }
        node = e->node;
    }
    u->node_id[node] = id;
    return 0;
}

/* Room for every byte of every token; the trie shares prefixes, so the table stays less than half full. */
static int make_trie(struct rlhf_tokenizer *t, struct rlhf_error *err)
{
    struct tk_unigram *u = &t->unigram;
    size_t slots = 64;

    while (slots < 2 * t->words.text.size)
        slots *= 2;
    u->edge = malloc(slots * sizeof(*u->edge));
    if (!u->edge || tk_reserve((void **)&u->node_id, &u->node_room, 1, sizeof(*u->node_id), err) < 0)
        return rlhf_fail(err, RLHF_FULL, WHERE ": out of memory for %zu bytes of tokens", t->words.text.size);
    for (size_t i = 0; i < slots; i++)
        u->edge[i].key = UINT64_MAX;
    u->edge_mask = slots - 1;
    u->nodes = 1;
    u->node_id[0] = TK_NONE;
    for (size_t i = 0; i <= t->words.mask; i++) {
        const struct tk_slot *s = &t->words.slots[i];

        if (s->id != TK_NONE && s->size && insert(u, t->words.text.data + s->start, s->size, s->id, err) < 0)
            return -1;
    }
    return 0;
}

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

void tk_unigram_free(struct tk_unigram *u)
{
    free(u->score);
    free(u->edge);
    free(u->node_id);
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
            const struct tk_edge *e = find_edge(u, node, (uint8_t)piece[to]);

            if (e->key == UINT64_MAX)
                break;
            node = e->node;
            to++;
            uint32_t id = u->node_id[node];
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

        if ((span->match ? push_unknown(t, piece + span->start, span->end - span->start, out, err)
                         : rlhf_tokens_append(out, &id, 1, err)) < 0)
            return -1;
    }
    return 0;
}
