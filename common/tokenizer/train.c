/* Learning byte-pair merges from text: count words once, then merge the most frequent pair again and again,
 * touching only the words that hold it and the counts of the pairs beside it. */
#include "tokenizer/parts.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPECIALS = 3, FIRST_BYTE = SPECIALS, FIRST_MERGE = FIRST_BYTE + 256 };

struct pair {
    uint32_t left, right;
    uint64_t count;  /* occurrences in the text as it is merged by now                */
    uint32_t *word;  /* the words that (may) hold it, each at least once              */
    size_t words, room;
};
struct candidate {
    uint64_t count; /* the pair's when it was put here */
    uint32_t left, right, pair;
};

struct trainer {
    struct tk_table index; /* word -> its number */
    uint32_t *symbol;      /* the words laid end to end, one symbol a byte at first                 */
    size_t symbols, symbol_room;
    struct word {
        size_t start, size; /* in symbols; merging makes it smaller in its place */
        uint64_t count;
    } *word;
    size_t words, word_room;

    struct pair *pair;
    size_t pairs, pair_room;
    uint32_t *slot; /* hash table: number of the pair, TK_NONE free */
    size_t mask;
    struct candidate *heap;
    size_t heap_size, heap_room;

    struct tk_table token; /* bytes and merges: text -> id; their texts lie end to end in it, in order */
    size_t *token_end;     /* [tokens] */
    size_t tokens, token_room;
    uint32_t (*merge)[2];
    size_t merges, merge_room;
    uint32_t *gained; /* pairs that were seen more often in the last merge */
    size_t gains, gain_room;
    const char *const *names; /* [SPECIALS] */
};

static void trainer_free(struct trainer *r)
{
    tk_table_free(&r->index);
    free(r->symbol);
    free(r->word);
    for (size_t i = 0; i < r->pairs; i++)
        free(r->pair[i].word);
    free(r->pair);
    free(r->slot);
    free(r->heap);
    tk_table_free(&r->token);
    free(r->token_end);
    free(r->merge);
    free(r->gained);
}

/* ---- counting words -------------------------------------------------------------------------------- */

static int count_word(struct trainer *r, const char *text, size_t size, struct rlhf_error *err)
{
    uint32_t number = tk_table_get(&r->index, text, size);

    if (number != TK_NONE) {
        r->word[number].count++;
        return 0;
    }
    if (size >= 1 << 24) /* longer than a table's key: no word, and no loss */
        return 0;
    if (r->words >= TK_NONE - 1)
        return rlhf_fail(err, RLHF_FULL, "training a tokenizer: too many different words");
    if (tk_reserve((void **)&r->word, &r->word_room, r->words + 1, sizeof(*r->word), err) < 0 ||
        tk_reserve((void **)&r->symbol, &r->symbol_room, r->symbols + size, sizeof(*r->symbol), err) < 0 ||
        tk_table_put(&r->index, text, size, (uint32_t)r->words, err) < 0)
        return -1;
    r->word[r->words++] = (struct word){ .start = r->symbols, .size = size, .count = 1 };
    for (size_t i = 0; i < size; i++)
        r->symbol[r->symbols++] = FIRST_BYTE + (uint8_t)text[i];
    return 0;
}

static int count_words(struct trainer *r, const struct rlhf_tokenizer *t, const char *text, size_t size,
                       struct rlhf_error *err)
{
    struct tk_scratch s;
    int result = tk_scratch_init(&s, err);

    for (size_t at = 0; result == 0 && at < size; at++) { /* past the byte that ended the valid stretch */
        size_t valid = tk_utf8_valid(text + at, size - at);

        result = tk_split(&t->splitters, &s, text + at, valid, at == 0, err);
        for (size_t i = 0; result == 0 && i < s.pieces.count; i++) {
            size_t start = tk_piece_start(&s.pieces, i);
            result = count_word(r, s.pieces.text.data + start, s.pieces.end[i] - start, err);
        }
        at += valid;
    }
    tk_scratch_free(&s);
    return result;
}

/* ---- counting pairs -------------------------------------------------------------------------------- */

static size_t slot_of(const struct trainer *r, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);

    for (size_t i = (size_t)(h ^ h >> 32) & r->mask;; i = (i + 1) & r->mask)
        if (r->slot[i] == TK_NONE || (r->pair[r->slot[i]].left == left && r->pair[r->slot[i]].right == right))
            return i;
}

static int grow_slots(struct trainer *r, struct rlhf_error *err)
{
    size_t slots = r->slot ? 2 * (r->mask + 1) : 1024;
    uint32_t *larger = malloc(slots * sizeof(*larger));

    if (!larger)
        return rlhf_fail(err, RLHF_FULL, "training a tokenizer: out of memory for pairs");
    memset(larger, 0xff, slots * sizeof(*larger));
    free(r->slot);
    r->slot = larger;
    r->mask = slots - 1;
    for (size_t i = 0; i < r->pairs; i++)
        r->slot[slot_of(r, r->pair[i].left, r->pair[i].right)] = (uint32_t)i;
    return 0;
}

/* count more occurrences of the pair in a word. */
static int add_pair(struct trainer *r, uint32_t left, uint32_t right, uint64_t count, uint32_t word,
                    struct rlhf_error *err)
{
    if (2 * (r->pairs + 1) > r->mask && grow_slots(r, err) < 0)
        return -1;
    size_t at = slot_of(r, left, right);
    if (r->slot[at] == TK_NONE) {
        if (tk_reserve((void **)&r->pair, &r->pair_room, r->pairs + 1, sizeof(*r->pair), err) < 0)
            return -1;
        r->slot[at] = (uint32_t)r->pairs;
        r->pair[r->pairs++] = (struct pair){ .left = left, .right = right };
    }
    struct pair *p = &r->pair[r->slot[at]];
    p->count += count;
    if (r->gains == 0 || r->gained[r->gains - 1] != r->slot[at]) {
        if (tk_reserve((void **)&r->gained, &r->gain_room, r->gains + 1, sizeof(*r->gained), err) < 0)
            return -1;
        r->gained[r->gains++] = r->slot[at];
    }
    if (p->words && p->word[p->words - 1] == word)
        return 0;
    if (tk_reserve((void **)&p->word, &p->room, p->words + 1, sizeof(*p->word), err) < 0)
        return -1;
    p->word[p->words++] = word;
    return 0;
}

static void take_pair(struct trainer *r, uint32_t left, uint32_t right, uint64_t count)
{
    r->pair[r->slot[slot_of(r, left, right)]].count -= count;
}

/* More frequent first; ties go to the smaller pair of ids. */
static bool comes_before(const struct candidate *a, const struct candidate *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static int push_candidate(struct trainer *r, uint32_t number, struct rlhf_error *err)
{
    const struct pair *p = &r->pair[number];
    struct candidate c = { p->count, p->left, p->right, number };
    size_t i = r->heap_size;

    if (tk_reserve((void **)&r->heap, &r->heap_room, r->heap_size + 1, sizeof(*r->heap), err) < 0)
        return -1;
    r->heap_size++;
    for (; i > 0 && comes_before(&c, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = c;
    return 0;
}

static struct candidate pop_candidate(struct trainer *r)
{
    struct candidate top = r->heap[0], last = r->heap[--r->heap_size];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < r->heap_size; i = child) {
        if (child + 1 < r->heap_size && comes_before(&r->heap[child + 1], &r->heap[child]))
            child++;
        if (!comes_before(&r->heap[child], &last))
            break;
        r->heap[i] = r->heap[child];
    }
    r->heap[i] = last;
    return top;
}

/* A byte string in the alphabet of byte-level tokenizers. */
static int print_token(const char *bytes, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    rlhf_bytes_clear(out);
    for (size_t i = 0; i < size; i++) {
        char c[4];
        if (rlhf_bytes_append(out, c, tk_utf8_put(c, tk_byte_char((uint8_t)bytes[i])), err) < 0)
            return -1;
    }
    return 0;
}

/* ---- merging --------------------------------------------------------------------------------------- */

/* Replaces left right by id all over one word, from left to right. */
static int merge_word(struct trainer *r, uint32_t number, uint32_t left, uint32_t right, uint32_t id,
                      struct rlhf_error *err)
{
    struct word *w = &r->word[number];
    uint32_t *s = r->symbol + w->start;
    size_t kept = 0;

    for (size_t i = 0; i < w->size; i++) {
        if (i + 1 == w->size || s[i] != left || s[i + 1] != right) {
            s[kept++] = s[i];
            continue;
        }
        if (kept) {
            take_pair(r, s[kept - 1], left, w->count);
            if (add_pair(r, s[kept - 1], id, w->count, number, err) < 0)
                return -1;
        }
        if (i + 2 < w->size) {
            take_pair(r, right, s[i + 2], w->count);
            if (add_pair(r, id, s[i + 2], w->count, number, err) < 0)
                return -1;
        }
        s[kept++] = id;
        i++;
    }
    w->size = kept;
    return 0;
}

static void token_text(const struct trainer *r, uint32_t id, const char **text, size_t *size)
{
    size_t i = id - FIRST_BYTE, start = i ? r->token_end[i - 1] : 0;

    *text = r->token.text.data + start;
    *size = r->token_end[i] - start;
}

/* The id of a token, a new one if need be. */
static int put_token(struct trainer *r, const char *text, size_t size, uint32_t *id, struct rlhf_error *err)
{
    *id = tk_table_get(&r->token, text, size);
    if (*id != TK_NONE)
        return 0;
    *id = (uint32_t)(FIRST_BYTE + r->tokens);
    if (tk_reserve((void **)&r->token_end, &r->token_room, r->tokens + 1, sizeof(*r->token_end), err) < 0 ||
        tk_table_put(&r->token, text, size, *id, err) < 0)
        return -1;
    r->token_end[r->tokens++] = r->token.text.size;
    return 0;
}

/* The text that left and right make together, as it is written in the file; and its raw bytes. */
static int join_tokens(const struct trainer *r, const struct pair *p, struct rlhf_bytes *raw,
                       struct rlhf_bytes *printed, struct rlhf_error *err)
{
    const char *text;
    size_t size;

    rlhf_bytes_clear(raw);
    for (size_t i = 0; i < 2; i++) {
        token_text(r, i ? p->right : p->left, &text, &size);
        if (rlhf_bytes_append(raw, text, size, err) < 0)
            return -1;
    }
    return print_token(raw->data, raw->size, printed, err);
}

static int learn_merge(struct trainer *r, uint32_t number, uint32_t id, struct rlhf_error *err)
{
    struct pair p = r->pair[number]; /* a copy: the array may move below */
    int result = 0;

    if (tk_reserve((void **)&r->merge, &r->merge_room, r->merges + 1, sizeof(*r->merge), err) < 0)
        return -1;
    r->merge[r->merges][0] = p.left;
    r->merge[r->merges++][1] = p.right;

    r->pair[number].word = NULL;
    r->pair[number].words = r->pair[number].room = r->gains = 0;
    for (size_t i = 0; result == 0 && i < p.words; i++)
        result = merge_word(r, p.word[i], p.left, p.right, id, err);
    free(p.word);
    r->pair[number].count = 0;
    for (size_t i = 0; result == 0 && i < r->gains; i++)
        if (r->pair[r->gained[i]].count)
            result = push_candidate(r, r->gained[i], err);
    return result;
}

/* The next merge. Returns 0 when there is none that is seen min_count times. */
static int learn_next(struct trainer *r, uint64_t min_count, struct rlhf_bytes *raw, struct rlhf_bytes *printed,
                      struct rlhf_error *err)
{
    struct candidate c = pop_candidate(r);
    struct pair *p = &r->pair[c.pair];
    uint32_t id;

    if (p->count > c.count) /* gained since: a newer candidate stands for it */
        return 1;
    if (p->count < c.count) /* lost some since: back to its place */
        return p->count && push_candidate(r, c.pair, err) < 0 ? -1 : 1;
    if (p->count < min_count || p->count == 0)
        return 0;
    if (join_tokens(r, p, raw, printed, err) < 0)
        return -1;
    for (int i = 0; i < SPECIALS; i++)
        if (!strcmp(printed->data, r->names[i])) { /* text must never become a special token by merging */
            p->count = 0;
            return 1;
        }
    if (put_token(r, raw->data, raw->size, &id, err) < 0)
        return -1;
    return learn_merge(r, c.pair, id, err) < 0 ? -1 : 1;
}

static int count_pairs(struct trainer *r, struct rlhf_error *err)
{
    for (size_t i = 0; i < r->words; i++) {
        const uint32_t *s = r->symbol + r->word[i].start;

        r->gains = 0;
        for (size_t k = 1; k < r->word[i].size; k++)
            if (add_pair(r, s[k - 1], s[k], r->word[i].count, (uint32_t)i, err) < 0)
                return -1;
    }
    for (size_t i = 0; i < r->pairs; i++)
        if (push_candidate(r, (uint32_t)i, err) < 0)
            return -1;
    return 0;
}

static int learn(struct trainer *r, size_t tokens, uint64_t min_count, struct rlhf_error *err)
{
    struct rlhf_bytes raw = { 0 }, printed = { 0 };
    int result = tk_table_init(&r->token, tokens, err);

    for (unsigned byte = 0; result == 0 && byte < 256; byte++) {
        uint32_t id;
        result = put_token(r, (char[]){ (char)byte }, 1, &id, err);
    }
    if (result == 0)
        result = count_pairs(r, err);
    if (result == 0)
        result = 1;
    while (result > 0 && r->tokens < tokens && r->heap_size)
        result = learn_next(r, min_count, &raw, &printed, err);
    rlhf_bytes_free(&raw);
    rlhf_bytes_free(&printed);
    return result < 0 ? -1 : 0;
}

/* ---- the file -------------------------------------------------------------------------------------- */

static json_t *byte_level(bool offsets)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", offsets,
                     "use_regex", 1);
}

static json_t *pre_tokenizer(bool digits_alone)
{
    return digits_alone ? json_pack("{s:s, s:[{s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Digits",
                                    "individual_digits", 1, byte_level(true))
                        : byte_level(true);
}

static json_t *added_token(int id, const char *content)
{
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", content, "single_word", 0, "lstrip",
                     0, "rstrip", 0, "normalized", 0, "special", 1);
}

static int add_vocab(const struct trainer *r, const char *const names[SPECIALS], json_t *vocab, json_t *merges,
                     struct rlhf_error *err)
{
    struct rlhf_bytes left = { 0 }, right = { 0 };
    const char *text;
    size_t size;
    int result = 0;

    for (int i = 0; i < SPECIALS; i++)
        json_object_set_new(vocab, names[i], json_integer(i));
    for (size_t i = 0; result == 0 && r && i < r->tokens; i++) {
        token_text(r, (uint32_t)(FIRST_BYTE + i), &text, &size);
        result = print_token(text, size, &left, err);
        if (result == 0 && json_object_set_new(vocab, left.data, json_integer((json_int_t)(FIRST_BYTE + i))) < 0)
            result = rlhf_fail(err, RLHF_FULL, "training a tokenizer: out of memory for the vocabulary");
    }
    for (size_t i = 0; result == 0 && r && i < r->merges; i++) {
        token_text(r, r->merge[i][0], &text, &size);
        result = print_token(text, size, &left, err);
        token_text(r, r->merge[i][1], &text, &size);
        if (result == 0)
            result = print_token(text, size, &right, err);
        if (result == 0 && json_array_append_new(merges, json_pack("[ss]", left.data, right.data)) < 0)
            result = rlhf_fail(err, RLHF_FULL, "training a tokenizer: out of memory for the merges");
    }
    rlhf_bytes_free(&left);
    rlhf_bytes_free(&right);
    return result;
}

static struct rlhf_tokenizer *build(const struct trainer *r, const char *const names[SPECIALS], bool digits_alone,
                                    struct rlhf_error *err)
{
    json_t *vocab = json_object(), *merges = json_array(), *root, *config;
    struct rlhf_tokenizer *t = NULL;
    char *text = NULL, *config_text = NULL;

    if (!vocab || !merges || add_vocab(r, names, vocab, merges, err) < 0) {
        json_decref(vocab);
        json_decref(merges);
        return NULL;
    }
    root = json_pack(
        "{s:s, s:n, s:n, s:[ooo], s:n, s:o, s:{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, "
        "{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], s:{s:{s:s, s:[i], s:[s]}}}, s:o, "
        "s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
        "version", "1.0", "truncation", "padding", "added_tokens", added_token(0, names[0]), added_token(1, names[1]),
        added_token(2, names[2]), "normalizer", "pre_tokenizer", pre_tokenizer(digits_alone), "post_processor", "type",
        "TemplateProcessing", "single", "SpecialToken", "id", names[0], "type_id", 0, "Sequence", "id", "A", "type_id",
        0, "pair", "SpecialToken", "id", names[0], "type_id", 0, "Sequence", "id", "A", "type_id", 0, "SpecialToken",
        "id", names[0], "type_id", 1, "Sequence", "id", "B", "type_id", 1, "special_tokens", names[0], "id", names[0],
        "ids", 0, "tokens", names[0], "decoder", byte_level(true), "model", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0,
        "vocab", vocab, "merges", merges);
    config = json_pack("{s:s, s:s, s:s, s:b, s:b, s:s}", "bos_token", names[0], "eos_token", names[1], "pad_token",
                       names[2], "add_prefix_space", 0, "clean_up_tokenization_spaces", 0, "tokenizer_class",
                       "PreTrainedTokenizerFast");
    text = json_dumps(root, JSON_INDENT(1));
    config_text = json_dumps(config, JSON_INDENT(1));
    if (text && config_text)
        t = rlhf_tokenizer_parse(text, strlen(text), config_text, strlen(config_text), "trained tokenizer", err);
    else
        rlhf_fail(err, RLHF_FULL, "training a tokenizer: out of memory, or a special token is no UTF-8");
    free(text);
    free(config_text);
    json_decref(root);
    json_decref(config);
    return t;
}

static int check_options(const struct rlhf_bpe_options *o, const char *const names[SPECIALS], struct rlhf_error *err)
{
    if (o->vocab_size < FIRST_MERGE || o->vocab_size > TK_ID_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, "a vocabulary of %zu is not possible: %d to %d are (3 special tokens, 256 "
                         "bytes, merges)", o->vocab_size, FIRST_MERGE, TK_ID_LIMIT);
    for (int i = 0; i < SPECIALS; i++)
        for (int k = 0; k <= i; k++)
            if (tk_utf8_size(names[i], strlen(names[i])) == strlen(names[i]) || (k < i && !strcmp(names[i], names[k])))
                return rlhf_fail(err, RLHF_REJECT, "special tokens must be three different texts of at least two "
                                 "characters; \"%.60s\" is not", names[i]);
    return 0;
}

struct rlhf_tokenizer *rlhf_tokenizer_train(const char *const *texts, const size_t *sizes, size_t count,
                                            const struct rlhf_bpe_options *options, struct rlhf_error *err)
{
    const char *const names[SPECIALS] = { options->begin ? options->begin : "<|begin|>",
                                          options->end ? options->end : "<|end|>",
                                          options->pad ? options->pad : "<|pad|>" };
    struct rlhf_tokenizer *untrained, *t = NULL;
    struct trainer r = { .names = names };
    int result;

    if (check_options(options, names, err) < 0 || !(untrained = build(NULL, names, options->digits_alone, err)))
        return NULL;
    result = tk_table_init(&r.index, 1024, err);
    for (size_t i = 0; result == 0 && i < count; i++)
        result = count_words(&r, untrained, texts[i], sizes[i], err);
    if (result == 0)
        result = learn(&r, options->vocab_size - FIRST_BYTE, options->min_count, err);
    if (result == 0)
        t = build(&r, names, options->digits_alone, err);
    rlhf_tokenizer_free(untrained);
    trainer_free(&r);
    return t;
}
