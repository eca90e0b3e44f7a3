/* Byte-pair encoding (Sennrich et al., "Neural machine translation of rare words with subword units"):
 * the adjacent pair that was learnt first is merged first, the leftmost among equals, until none is left. */
#include "tokenizer/parts.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define WHERE "tokenizer.json: model"

/* Up to here the next merge is found by looking at all of them; above, by a heap. Measured on English: words
 * have 5 letters, and at 32 the scan still beats the heap. */
enum { SHORT = 32 };

struct tk_symbol {
    uint32_t id, previous, next; /* TK_NONE: no neighbour; id TK_NONE: merged away. Before merging, next is where in
                                  * the piece the symbol's text ends */
};
struct tk_merge {
    uint32_t rank, at, left, right, id;
};

/* ---- loading --------------------------------------------------------------------------------------- */

static size_t pair_hash(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);

    return (size_t)(h ^ h >> 32);
}

static struct tk_pair_slot *pair_find(const struct tk_bpe *b, uint32_t left, uint32_t right)
{
    for (size_t i = pair_hash(left, right) & b->mask;; i = (i + 1) & b->mask) {
        struct tk_pair_slot *slot = &b->pairs[i];

        if ((slot->left == left && slot->right == right) || slot->left == TK_NONE)
            return slot;
    }
}

static int pairs_init(struct tk_bpe *b, size_t merges, struct rlhf_error *err)
{
    size_t slots = 64, bytes;

    while (slots < 2 * merges)
        slots *= 2;
    if (!rlhf_mul_size(slots, sizeof(*b->pairs), &bytes) || !(b->pairs = malloc(bytes)))
        return rlhf_fail(err, RLHF_FULL, WHERE ": out of memory for %zu merges", merges);
    memset(b->pairs, 0xff, bytes);
    b->mask = slots - 1;
    return 0;
}

/* One merge: ["a", "b"], or "a b" as older files have it. */
static int split_merge(const json_t *item, const char **left, size_t *left_size, const char **right,
                       size_t *right_size)
{
    if (json_is_array(item) && json_array_size(item) == 2) {
        *left = json_string_value(json_array_get(item, 0));
        *right = json_string_value(json_array_get(item, 1));
        *left_size = json_string_length(json_array_get(item, 0));
        *right_size = json_string_length(json_array_get(item, 1));
        return *left && *right ? 0 : -1;
    }
    if (!json_is_string(item))
        return -1;
    size_t size = json_string_length(item);
    const char *space = memchr(json_string_value(item), ' ', size);
    if (!space)
        return -1;
    *left = json_string_value(item);
    *left_size = (size_t)(space - *left);
    *right = space + 1;
    *right_size = size - *left_size - 1;
    return memchr(*right, ' ', *right_size) ? -1 : 0;
}

static int load_merge(struct rlhf_tokenizer *t, const json_t *item, size_t index, struct rlhf_bytes *joined,
                      struct rlhf_error *err)
{
    struct tk_bpe *b = &t->bpe;
    size_t skip = strlen(b->word_prefix), left_size = 0, right_size = 0;
    const char *left = NULL, *right = NULL;
    uint32_t left_id, right_id, id;

    if (split_merge(item, &left, &left_size, &right, &right_size) < 0)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": merge %zu is not a pair of strings", index);
    rlhf_bytes_clear(joined);
    if (rlhf_bytes_append(joined, left, left_size, err) < 0 ||
        rlhf_bytes_append(joined, right + (skip < right_size ? skip : right_size),
                          right_size > skip ? right_size - skip : 0, err) < 0)
        return -1;
    left_id = tk_table_get(&t->names, left, left_size);
    right_id = tk_table_get(&t->names, right, right_size);
    id = tk_table_get(&t->names, joined->data, joined->size);
    if (left_id == TK_NONE || right_id == TK_NONE || id == TK_NONE)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": merge %zu: \"%.60s\" is not in the vocabulary", index,
                         left_id == TK_NONE ? left : right_id == TK_NONE ? right : joined->data);
    *pair_find(b, left_id, right_id) = (struct tk_pair_slot){ left_id, right_id, (uint32_t)index, id };
    return 0;
}

static int load_merges(struct rlhf_tokenizer *t, const json_t *merges, struct rlhf_error *err)
{
    struct rlhf_bytes joined = { 0 };
    size_t i;
    json_t *item;
    int result = 0;

    if (!json_is_array(merges) || json_array_size(merges) > TK_ID_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": \"merges\" is not a list, or is longer than %d", TK_ID_LIMIT);
    if (pairs_init(&t->bpe, json_array_size(merges), err) < 0)
        return -1;
    json_array_foreach(merges, i, item)
        if (result == 0)
            result = load_merge(t, item, i, &joined, err);
    rlhf_bytes_free(&joined);
    return result;
}

static int load_affix(const json_t *model, const char *key, char **out, struct rlhf_error *err)
{
    const json_t *value = json_object_get(model, key);

    if (value && !json_is_null(value) && !json_is_string(value))
        return rlhf_fail(err, RLHF_REJECT, WHERE ": \"%s\" is not a string", key);
    *out = strdup(json_is_string(value) ? json_string_value(value) : "");
    return *out ? 0 : rlhf_fail(err, RLHF_FULL, WHERE ": out of memory");
}

static int load_settings(struct rlhf_tokenizer *t, const json_t *model, struct rlhf_error *err)
{
    struct tk_bpe *b = &t->bpe;
    const json_t *dropout = json_object_get(model, "dropout");

    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0.0)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": \"dropout\" makes ids random, which is not supported");
    if (tk_json_bool(model, "byte_fallback", false, &t->byte_fallback, WHERE, err) < 0 ||
        tk_json_bool(model, "fuse_unk", false, &b->fuse_unknown, WHERE, err) < 0 ||
        tk_json_bool(model, "ignore_merges", false, &b->ignore_merges, WHERE, err) < 0 ||
        load_affix(model, "continuing_subword_prefix", &b->word_prefix, err) < 0 ||
        load_affix(model, "end_of_word_suffix", &b->word_suffix, err) < 0)
        return -1;
    if (t->splitters.byte_level && (*b->word_prefix || *b->word_suffix))
        return rlhf_fail(err, RLHF_REJECT, WHERE ": continuing_subword_prefix and end_of_word_suffix are not "
                                                 "supported together with ByteLevel");
    return 0;
}

int tk_bpe_load(struct rlhf_tokenizer *t, const json_t *model, struct rlhf_error *err)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unknown = json_object_get(model, "unk_token");
    const char *name;
    json_t *id;

    if (load_settings(t, model, err) < 0)
        return -1;
    if (!json_is_object(vocab))
        return rlhf_fail(err, RLHF_REJECT, WHERE ": \"vocab\" is not an object");
    if (tk_table_init(&t->names, json_object_size(vocab), err) < 0 ||
        tk_table_init(&t->words, json_object_size(vocab), err) < 0)
        return -1;
    json_object_foreach((json_t *)vocab, name, id) {
        if (!json_is_integer(id))
            return rlhf_fail(err, RLHF_REJECT, WHERE ": the id of \"%.60s\" is not an integer", name);
        if (tk_vocab_put(t, name, strlen(name), json_integer_value(id), err) < 0)
            return -1;
    }
    if (json_is_string(unknown)) {
        t->unknown = tk_vocab_find(t, json_string_value(unknown));
        if (t->unknown == TK_NONE)
            return rlhf_fail(err, RLHF_REJECT, WHERE ": unk_token \"%.60s\" is not in the vocabulary",
                             json_string_value(unknown));
    }
    return load_merges(t, json_object_get(model, "merges"), err);
}

/* ---- what can never be joined ---- */

enum { JOIN_BITS = 21 }; /* of the set: at 2^18 merges one boundary in eight is taken for one that can be joined */

static size_t join_hash(uint32_t left, uint32_t right)
{
    return pair_hash(left, right) >> 7 & ((1u << JOIN_BITS) - 1);
}

static bool can_join(const struct tk_bpe *b, uint32_t left, uint32_t right)
{
    size_t at = join_hash(left, right);

    return b->joins[at / 64] >> (at % 64) & 1;
}

static int by_rank(const void *a, const void *b)
{
    const struct tk_pair_slot *const *x = a, *const *y = b;

    return ((*x)->rank > (*y)->rank) - ((*x)->rank < (*y)->rank);
}

/* A merge joins two neighbours: the symbol that the left one ends with and the one that the right one begins with. Where no
 * merge joins two symbols, none ever crosses between them, and what stands left and right is merged on its own. Not known
 * where one token is made in two ways with different ends. */
static int find_joins(struct rlhf_tokenizer *t, struct rlhf_error *err)
{
    struct tk_bpe *b = &t->bpe;
    size_t merges = 0, vocab = t->vocab;
    uint32_t *first = malloc(2 * vocab * sizeof(*first) + 1), *last = first ? first + vocab : NULL;
    const struct tk_pair_slot **sorted = malloc((b->mask + 1) * sizeof(*sorted));
    uint64_t *joins = calloc((1u << JOIN_BITS) / 64, sizeof(*joins));
    bool known = true;

    if (!first || !sorted || !joins) {
        free(first);
        free(sorted);
        free(joins);
        return rlhf_fail(err, RLHF_FULL, WHERE ": out of memory");
    }
    memset(first, 0xff, 2 * vocab * sizeof(*first));
    for (size_t i = 0; i <= b->mask; i++)
        if (b->pairs[i].left != TK_NONE)
            sorted[merges++] = &b->pairs[i];
    qsort(sorted, merges, sizeof(*sorted), by_rank);
    for (size_t i = 0; i < merges; i++) {
        const struct tk_pair_slot *m = sorted[i];
        uint32_t from = first[m->left] == TK_NONE ? m->left : first[m->left];
        uint32_t to = last[m->right] == TK_NONE ? m->right : last[m->right];
        uint32_t inner_left = last[m->left] == TK_NONE ? m->left : last[m->left];
        uint32_t inner_right = first[m->right] == TK_NONE ? m->right : first[m->right];
        size_t at = join_hash(inner_left, inner_right);

        known &= first[m->id] == TK_NONE || (first[m->id] == from && last[m->id] == to);
        first[m->id] = from;
        last[m->id] = to;
        joins[at / 64] |= UINT64_C(1) << (at % 64);
    }
    /* A merge may stand before those that make its parts: then the ends it was given are not the symbols' own. */
    for (size_t i = 0; i < merges; i++)
        known &= (first[first[sorted[i]->id]] == TK_NONE) & (last[last[sorted[i]->id]] == TK_NONE);
    free(first);
    free(sorted);
    if (known)
        b->joins = joins;
    else
        free(joins);
    return 0;
}

int tk_bpe_finish(struct rlhf_tokenizer *t, struct rlhf_error *err)
{
    struct tk_bpe *b = &t->bpe;

    if (find_joins(t, err) < 0)
        return -1;
    if (*b->word_prefix || *b->word_suffix || b->ignore_merges)
        return 0;
    return tk_find_whole(t, t->vocab, tk_bpe_encode, &b->whole, err);
}

void tk_bpe_free(struct tk_bpe *b)
{
    free(b->pairs);
    free(b->whole);
    free(b->joins);
    free(b->word_prefix);
    free(b->word_suffix);
    *b = (struct tk_bpe){ 0 };
}

/* ---- encoding -------------------------------------------------------------------------------------- */

static int push_symbol(struct tk_scratch *s, size_t *count, uint32_t id, size_t end, struct rlhf_error *err)
{
    if (*count == s->symbol_capacity &&
        tk_reserve((void **)&s->symbol, &s->symbol_capacity, *count + 1, sizeof(*s->symbol), err) < 0)
        return -1;
    s->symbol[*count].id = id;
    s->symbol[(*count)++].next = (uint32_t)end;
    return 0;
}

/* The id of one character with the affixes that its place in the word gives it. */
static uint32_t find_letter(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *text, size_t size,
                            bool first, bool last)
{
    const char *before = first ? "" : t->bpe.word_prefix, *after = last ? t->bpe.word_suffix : "";

    if (!*before && !*after)
        return tk_table_get(&t->words, text, size);
    rlhf_bytes_clear(&s->spare);
    return rlhf_bytes_printf(&s->spare, NULL, "%s%.*s%s", before, (int)size, text, after) < 0
               ? TK_NONE
               : tk_table_get(&t->words, s->spare.data, s->spare.size);
}

/* An unknown character becomes the unknown token, joined with the one before where fuse_unk asks for it. It
 * waits until the next known character, so byte-fallback tokens pass it: what `tokenizers` does. *plain becomes false
 * where a symbol is not the text that it stands for. */
static int push_characters(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                           size_t *count, bool *plain, struct rlhf_error *err)
{
    const struct tk_bpe *b = &t->bpe;
    bool waiting = false;

    for (size_t at = 0, n; at < size; at += n) {
        n = tk_utf8_size(piece + at, size - at);
        uint32_t id = find_letter(t, s, piece + at, n, at == 0, at + n == size);
        bool bytes = id == TK_NONE && t->byte_fallback;

        *plain &= id != TK_NONE;
        for (size_t i = 0; bytes && i < n; i++)
            bytes = t->letter[(uint8_t)piece[at + i]] != TK_NONE;
        if (bytes) {
            for (size_t i = 0; i < n; i++)
                if (push_symbol(s, count, t->letter[(uint8_t)piece[at + i]], at + n, err) < 0)
                    return -1;
            continue;
        }
        bool unknown = id == TK_NONE;
        if (unknown && t->unknown == TK_NONE)
            continue;
        if (waiting && !(unknown && b->fuse_unknown) && push_symbol(s, count, t->unknown, at, err) < 0)
            return -1;
        waiting = unknown;
        if (!unknown && push_symbol(s, count, id, at + n, err) < 0)
            return -1;
    }
    return waiting ? push_symbol(s, count, t->unknown, size, err) : 0;
}

static int push_bytes(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                      size_t *count, bool *plain, struct rlhf_error *err)
{
    if (tk_reserve((void **)&s->symbol, &s->symbol_capacity, size, sizeof(*s->symbol), err) < 0)
        return -1;
    for (size_t i = 0; i < size; i++) {
        uint32_t id = t->letter[(uint8_t)piece[i]];

        *plain &= id != TK_NONE;
        if (id == TK_NONE)
            id = t->unknown;
        if (id == TK_NONE)
            continue;
        s->symbol[*count].id = id;
        s->symbol[(*count)++].next = (uint32_t)(i + 1);
    }
    return 0;
}

static size_t merge_short(const struct tk_bpe *b, struct tk_symbol *symbol, size_t count)
{
    const struct tk_pair_slot *pair[SHORT] = { 0 };

    for (size_t i = 0; i + 1 < count; i++)
        pair[i] = pair_find(b, symbol[i].id, symbol[i + 1].id);
    for (;;) {
        uint32_t best = TK_NONE; /* a free slot's rank is TK_NONE */
        size_t at = 0;

        for (size_t i = 0; i + 1 < count; i++)
            if (pair[i]->rank < best) {
                best = pair[i]->rank;
                at = i;
            }
        if (best == TK_NONE)
            return count;
        symbol[at].id = pair[at]->id;
        count--;
        for (size_t i = at + 1; i < count; i++) {
            symbol[i].id = symbol[i + 1].id;
            pair[i] = pair[i + 1];
        }
        if (at + 1 < count)
            pair[at] = pair_find(b, symbol[at].id, symbol[at + 1].id);
        if (at > 0)
            pair[at - 1] = pair_find(b, symbol[at - 1].id, symbol[at].id);
    }
}

static bool comes_before(const struct tk_merge *a, const struct tk_merge *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static int heap_push(const struct tk_bpe *b, struct tk_scratch *s, uint32_t at, struct rlhf_error *err)
{
    uint32_t next = s->symbol[at].next;
    const struct tk_pair_slot *pair;

    if (next == TK_NONE)
        return 0;
    pair = pair_find(b, s->symbol[at].id, s->symbol[next].id);
    if (pair->left == TK_NONE)
        return 0;
    if (s->heap_size == s->heap_capacity &&
        tk_reserve((void **)&s->heap, &s->heap_capacity, s->heap_size + 1, sizeof(*s->heap), err) < 0)
        return -1;
    struct tk_merge merge = { pair->rank, at, pair->left, pair->right, pair->id };
    size_t i = s->heap_size++;
    for (; i > 0 && comes_before(&merge, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = merge;
    return 0;
}

static struct tk_merge heap_pop(struct tk_scratch *s)
{
    struct tk_merge top = s->heap[0], last = s->heap[--s->heap_size];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < s->heap_size; i = child) {
        if (child + 1 < s->heap_size && comes_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!comes_before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return top;
}

static int merge_long(const struct tk_bpe *b, struct tk_scratch *s, size_t from, size_t *count, struct rlhf_error *err)
{
    size_t kept = from, end = from + *count;

    for (size_t i = from; i < end; i++) {
        s->symbol[i].previous = i > from ? (uint32_t)(i - 1) : TK_NONE;
        s->symbol[i].next = i + 1 < end ? (uint32_t)(i + 1) : TK_NONE;
    }
    s->heap_size = 0;
    for (size_t i = from; i < end; i++)
        if (heap_push(b, s, (uint32_t)i, err) < 0)
            return -1;
    while (s->heap_size) {
        struct tk_merge m = heap_pop(s);
        struct tk_symbol *left = &s->symbol[m.at], *right;

        if (left->id != m.left || left->next == TK_NONE)
            continue; /* the pair is gone by now */
        right = &s->symbol[left->next];
        if (right->id != m.right)
            continue;
        left->id = m.id;
        right->id = TK_NONE;
        left->next = right->next;
        if (left->next != TK_NONE)
            s->symbol[left->next].previous = m.at;
        if ((left->previous != TK_NONE && heap_push(b, s, left->previous, err) < 0) ||
            heap_push(b, s, m.at, err) < 0)
            return -1;
    }
    for (size_t i = from; i < end; i++)
        if (s->symbol[i].id != TK_NONE)
            s->symbol[kept++].id = s->symbol[i].id;
    *count = kept - from;
    return 0;
}

/* Merges count symbols and appends what is left of them. */
static int merge(const struct tk_bpe *b, struct tk_scratch *s, size_t from, size_t count, struct rlhf_tokens *out,
                 struct rlhf_error *err)
{
    int32_t short_ids[SHORT];

    if (count > SHORT) {
        if (merge_long(b, s, from, &count, err) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            if (rlhf_tokens_append(out, (int32_t[]){ (int32_t)s->symbol[from + i].id }, 1, err) < 0)
                return -1;
        return 0;
    }
    count = merge_short(b, s->symbol + from, count);
    for (size_t i = 0; i < count; i++)
        short_ids[i] = (int32_t)s->symbol[from + i].id;
    return rlhf_tokens_append(out, short_ids, count, err);
}

/* The token that a text is by itself; TK_NONE where that is not known. */
static uint32_t whole_token(const struct rlhf_tokenizer *t, const char *text, size_t size)
{
    uint32_t id = t->bpe.ignore_merges || t->bpe.whole ? tk_table_get(&t->words, text, size) : TK_NONE;

    return id != TK_NONE && (t->bpe.ignore_merges || t->bpe.whole[id]) ? id : TK_NONE;
}

/* Symbols [from, to) of a piece, which nothing is joined with. */
static int encode_run(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t from, size_t to, bool plain,
                      struct rlhf_tokens *out, struct rlhf_error *err)
{
    size_t start = from ? s->symbol[from - 1].next : 0;
    uint32_t id = plain && t->bpe.whole ? whole_token(t, piece + start, s->symbol[to - 1].next - start) : TK_NONE;

    return id == TK_NONE ? merge(&t->bpe, s, from, to - from, out, err)
                         : rlhf_tokens_append(out, (int32_t[]){ (int32_t)id }, 1, err);
}

int tk_bpe_encode(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                  struct rlhf_tokens *out, struct rlhf_error *err)
{
    const struct tk_bpe *b = &t->bpe;
    uint32_t id = whole_token(t, piece, size);
    size_t count = 0, from = 0;
    bool plain = true;

    if (size == 0)
        return 0;
    if (id != TK_NONE)
        return rlhf_tokens_append(out, (int32_t[]){ (int32_t)id }, 1, err);
    if ((t->splitters.byte_level ? push_bytes : push_characters)(t, s, piece, size, &count, &plain, err) < 0)
        return -1;
    /* Merging a run leaves its last symbol changed, but where that ended is where the next run begins. */
    for (size_t i = 1; b->joins && i < count; i++)
        if (!can_join(b, s->symbol[i - 1].id, s->symbol[i].id)) {
            uint32_t end = s->symbol[i - 1].next;

            if (encode_run(t, s, piece, from, i, plain, out, err) < 0)
                return -1;
            s->symbol[i - 1].next = end;
            from = i;
        }
    if (from > 0)
        return encode_run(t, s, piece, from, count, plain, out, err);
    return count ? merge(b, s, 0, count, out, err) : 0;
}
