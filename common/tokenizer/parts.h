/* parts.h - the steps of a tokenizer, private to this room.
 *
 * Text goes through four of them: added tokens are cut out (added.c), what lies between is normalised
 * (normalizer.c), split into pieces (splitter.c), and each piece becomes ids (bpe.c, unigram.c). Names and
 * behaviour are those of a tokenizer.json; definitions follow the documented behaviour of Hugging Face's
 * `tokenizers` and are checked against it (tests/parity/tokenizer). Everything built at load is read-only
 * afterwards; what a call needs to write is in its struct tk_scratch. */
#ifndef RLHF_TOKENIZER_PARTS_H
#define RLHF_TOKENIZER_PARTS_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

enum {
    TK_ID_LIMIT = 1 << 22,            /* ids must be below; the largest published vocabularies have 2^18     */
    TK_STEP_LIMIT = 32,               /* normalizers, pre-tokenizers, decoders each, and depth of Sequences  */
    TK_TEXT_LIMIT = 1 << 30,          /* bytes of one text                                                   */
    TK_FILE_LIMIT = 256 * 1024 * 1024 /* bytes of tokenizer.json                                             */
};

/* ---- Unicode (utf8.c) ---------------------------------------------------------------------------- */

/* Size of the valid UTF-8 character at text[0], 0 where there is none (Unicode 15, table 3-7). */
size_t tk_utf8_size(const char *text, size_t size);
/* Size of the longest valid prefix. */
size_t tk_utf8_valid(const char *text, size_t size);
uint32_t tk_utf8_get(const char *text, size_t char_size); /* of a valid character */
size_t tk_utf8_put(char out[4], uint32_t codepoint);
/* Appends text with every maximal ill-formed part replaced by U+FFFD, as Rust's from_utf8_lossy does. */
int tk_utf8_lossy(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err);
bool tk_is_space(uint32_t codepoint); /* White_Space                                             */
bool tk_is_word(uint32_t codepoint);  /* Alphabetic, mark, decimal number, connector punctuation */

/* The alphabet of byte-level tokenizers: a printable character for every byte (GPT-2's bytes_to_unicode). */
uint32_t tk_byte_char(uint8_t byte);
int tk_char_byte(uint32_t codepoint); /* -1 where it stands for no byte */

/* ---- where text comes from (origin.c) -------------------------------------------------------------- */

struct tk_scratch;
/* For every byte of a text, the characters of the given text that it stands for, as a range of bytes. */
struct tk_origins {
    struct tk_origin {
        uint32_t start, end;
    } *at;
    size_t count, capacity;
};
/* The text itself, which begins base bytes into what was given. */
int tk_origins_begin(struct tk_origins *o, const char *text, size_t size, size_t base, struct rlhf_error *err);
/* Those of a part of another text. */
int tk_origins_take(struct tk_origins *o, const struct tk_origins *from, size_t start, size_t size, struct rlhf_error *err);
/* While a step writes: it copied size bytes; all it wrote up to made_size comes from the bytes [from, to). Nothing is done
 * where nobody asks for ranges. */
int tk_origins_keep(struct tk_scratch *s, size_t from, size_t size, struct rlhf_error *err);
int tk_origins_note(struct tk_scratch *s, size_t made_size, size_t from, size_t to, struct rlhf_error *err);
void tk_origins_turn(struct tk_scratch *s); /* the step is done: what it made is the next one's text */

/* ---- a growing array of pieces that tile a text ---------------------------------------------------- */

struct tk_pieces {
    struct rlhf_bytes text;
    size_t *end; /* piece i is text[end[i - 1]] .. [end[i]), with end[-1] = 0 */
    size_t count, capacity;
};
int tk_pieces_cut(struct tk_pieces *p, size_t end, struct rlhf_error *err); /* empty pieces are left out */
/* Appends to the text and cuts behind it; an empty one is kept (decoders count tokens). */
int tk_pieces_append(struct tk_pieces *p, const char *text, size_t size, struct rlhf_error *err);
void tk_pieces_clear(struct tk_pieces *p);
void tk_pieces_free(struct tk_pieces *p);
static inline size_t tk_piece_start(const struct tk_pieces *p, size_t i)
{
    return i ? p->end[i - 1] : 0;
}

/* ---- strings to ids (table.c) ---------------------------------------------------------------------- */

struct tk_table {
    struct tk_slot {
        uint32_t hash, id; /* id TK_NONE: free */
        uint64_t start : 40, size : 24;
    } *slots;
    size_t mask, count; /* slots less 1, a power of two less 1 */
    struct rlhf_bytes text;
};
#define TK_NONE UINT32_MAX
int tk_table_init(struct tk_table *t, size_t expected, struct rlhf_error *err);
/* A key that is there already gets the new id. */
int tk_table_put(struct tk_table *t, const char *key, size_t size, uint32_t id, struct rlhf_error *err);
uint32_t tk_table_get(const struct tk_table *t, const char *key, size_t size); /* TK_NONE where absent */
void tk_table_free(struct tk_table *t);

/* ---- regular expressions (regex.c) ----------------------------------------------------------------- */

/* Oniguruma's dialect, as tokenizer.json uses it, run by PCRE2. What differs is translated; what cannot be
 * is an error at load. */
struct tk_regex;
struct tk_regex *tk_regex_new(const char *pattern, size_t size, const char *where, struct rlhf_error *err);
struct tk_regex *tk_regex_literal(const char *text, size_t size, const char *where, struct rlhf_error *err);
void tk_regex_free(struct tk_regex *r);

struct tk_span {
    size_t start, end;
    bool match;
};
/* Walks over all matches in valid UTF-8; zero-initialise. */
struct tk_search {
    size_t from, last_end;
    bool any;
};
/* 1 and *span for the next match, 0 at the end, -1 and *err where PCRE2 gave up. */
int tk_regex_next(const struct tk_regex *r, struct tk_search *s, pcre2_match_data *scratch, const char *text,
                  size_t size, struct tk_span *span, struct rlhf_error *err);

/* ---- steps ----------------------------------------------------------------------------------------- */

enum tk_behavior { TK_ISOLATED, TK_REMOVED, TK_CONTIGUOUS, TK_MERGED_WITH_PREVIOUS, TK_MERGED_WITH_NEXT };
enum tk_prefix { TK_PREFIX_NEVER, TK_PREFIX_FIRST, TK_PREFIX_ALWAYS };

/* One pre-tokenizer: change every piece, then split it. */
struct tk_splitter {
    enum { TK_SPLIT, TK_METASPACE, TK_BYTE_LEVEL } kind;
    bool invert, map_bytes; /* map_bytes: write bytes as their characters (not needed when last) */
    enum tk_behavior behavior;
    enum tk_prefix prefix;
    char replacement[5]; /* Metaspace's character, NUL-terminated UTF-8 */
    struct tk_regex *regex; /* NULL: no split */
};
struct tk_splitters {
    struct tk_splitter step[TK_STEP_LIMIT];
    size_t count;
    bool byte_level; /* the last step is ByteLevel: pieces are raw bytes and so are the model's keys */
};
int tk_splitters_load(struct tk_splitters *s, const json_t *json, struct rlhf_error *err);
void tk_splitters_free(struct tk_splitters *s);

struct tk_normalizer {
    enum {
        TK_NFC, TK_NFD, TK_NFKC, TK_NFKD, TK_LOWERCASE, TK_STRIP, TK_STRIP_ACCENTS, TK_PREPEND, TK_REPLACE,
        TK_NMT, TK_PRECOMPILED, TK_BERT, TK_BYTES
    } kind;
    bool left, right;      /* Strip                    */
    bool clean, chinese, accents, lower; /* BertNormalizer; accents: they are stripped */
    char *text;            /* Prepend, Replace, Precompiled: owned  */
    size_t size;
    struct tk_regex *regex; /* Replace                 */
    uint32_t *unit;         /* [units] Precompiled: its trie */
    size_t units;
};
int tk_precompiled_load(struct tk_normalizer *n, const json_t *json, struct rlhf_error *err);
size_t tk_grapheme_size(const char *text, size_t size); /* of the grapheme cluster that begins here */
int tk_precompiled_apply(const struct tk_normalizer *n, const char *text, size_t size, struct rlhf_bytes *out,
                         struct rlhf_error *err);
struct tk_normalizers {
    struct tk_normalizer step[TK_STEP_LIMIT];
    size_t count;
};
int tk_normalizers_load(struct tk_normalizers *n, const json_t *json, struct rlhf_error *err);
void tk_normalizers_free(struct tk_normalizers *n);

struct tk_decoder {
    enum { TK_DECODE_BYTE_LEVEL, TK_DECODE_METASPACE, TK_DECODE_REPLACE, TK_DECODE_BYTE_FALLBACK, TK_DECODE_FUSE,
           TK_DECODE_STRIP, TK_DECODE_BPE } kind;
    enum tk_prefix prefix;  /* Metaspace          */
    char character[5];      /* Metaspace, Strip   */
    size_t start, stop;     /* Strip              */
    char *text;             /* Replace; BPEDecoder: its suffix; owned */
    size_t size;
    struct tk_regex *regex; /* Replace            */
};
struct tk_decoders {
    struct tk_decoder step[TK_STEP_LIMIT];
    size_t count;
    bool present; /* without a decoder, tokens are joined by spaces */
};
int tk_decoders_load(struct tk_decoders *d, const json_t *json, struct rlhf_error *err);
void tk_decoders_free(struct tk_decoders *d);

/* What add_special_tokens puts around one text: ids, with TK_NONE standing for the text. */
struct tk_template {
    uint32_t *item;
    size_t count;
};
struct rlhf_tokenizer;

/* ---- added tokens (added.c) ------------------------------------------------------------------------ */

struct tk_added {
    uint32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
    char *text; /* owned; as it is looked for, so normalised where `normalized` */
    size_t size;
};
/* Sorted by text, so that the tokens that share a prefix are neighbours. */
struct tk_matcher {
    struct tk_added *token;
    size_t count;
    bool first[256]; /* some token begins with this byte */
};
int tk_matcher_add(struct tk_matcher *m, const struct tk_added *token, struct rlhf_error *err); /* copies text */
void tk_matcher_sort(struct tk_matcher *m);
/* The leftmost longest token at or after *at; NULL where none is left. *at becomes its first byte. */
const struct tk_added *tk_matcher_next(const struct tk_matcher *m, const char *text, size_t size, size_t *at);
void tk_matcher_free(struct tk_matcher *m);

/* ---- models ---------------------------------------------------------------------------------------- */

struct tk_pair_slot {
    uint32_t left, right, rank, id; /* left TK_NONE: free */
};
struct tk_bpe {
    struct tk_pair_slot *pairs;
    size_t mask;
    bool *whole;      /* [vocab] BPE of this token's text is the token itself; NULL: not known      */
    uint64_t *joins;  /* a set, by hash: pairs of first symbols that some merge joins; NULL: not known */
    bool fuse_unknown, ignore_merges;
    char *word_prefix, *word_suffix; /* continuing_subword_prefix, end_of_word_suffix; "" for none  */
};

struct tk_unigram {
    double *score; /* [vocab of the model] natural log */
    double unknown_score;
    bool *whole; /* [vocab of the model] the best path of this token's text is the token itself; NULL: not known */
    /* A trie of all tokens as a double array: from a node, byte leads to unit[node.base + byte] if that says so. */
    struct tk_unit {
        uint32_t from, base, id; /* from TK_NONE: free; id: the token that ends here, TK_NONE */
    } *unit;
    size_t units;
};

/* What one call writes to. */
struct tk_scratch {
    pcre2_match_data *match;
    struct rlhf_bytes normal, spare;
    struct tk_pieces pieces, spare_pieces;
    struct tk_span *span;
    size_t spans, span_capacity;
    struct tk_symbol *symbol;
    size_t symbol_capacity;
    struct tk_merge *heap;
    size_t heap_size, heap_capacity;
    struct tk_path *path;
    size_t path_room;
    bool track; /* somebody wants to know where tokens stand */
    struct tk_origins origins, made;
    struct tk_span *cover; /* while tracking: where in its piece each token stands */
    size_t covers, cover_capacity;
};
/* While tracking: the next token stands for these bytes of its piece. */
int tk_cover(struct tk_scratch *s, size_t start, size_t end, struct rlhf_error *err);
int tk_scratch_init(struct tk_scratch *s, struct rlhf_error *err);
void tk_scratch_free(struct tk_scratch *s);
/* Makes room for want elements of size bytes in *items, growing geometrically. */
int tk_reserve(void **items, size_t *capacity, size_t want, size_t size, struct rlhf_error *err);

/* Appends text with every match replaced by content. */
int tk_replace(const struct tk_regex *regex, const char *content, size_t content_size, pcre2_match_data *match,
               const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err);
/* text (valid UTF-8) into out, which is cleared first; text must not lie in out or scratch. */
int tk_normalize(const struct tk_normalizers *n, struct tk_scratch *s, const char *text, size_t size,
                 struct rlhf_bytes *out, struct rlhf_error *err);
/* text (valid UTF-8) into s->pieces; first: it stands at the very start of the input. */
int tk_split(const struct tk_splitters *p, struct tk_scratch *s, const char *text, size_t size, bool first,
             struct rlhf_error *err);
/* The tokens in s->pieces through the decoder; lossy: ill-formed UTF-8 becomes U+FFFD as in `tokenizers`. */
int tk_decode(const struct tk_decoders *d, struct tk_scratch *s, bool lossy, struct rlhf_bytes *out,
              struct rlhf_error *err);
/* The bytes that a byte-level token's characters stand for. */
int tk_decode_bytes(const char *token, size_t size, struct rlhf_bytes *out, struct rlhf_error *err);

/* ---- the tokenizer --------------------------------------------------------------------------------- */

struct rlhf_tokenizer {
    enum { TK_BPE, TK_UNIGRAM } model;
    struct tk_bpe bpe;
    struct tk_unigram unigram;
    uint32_t letter[256]; /* the token of one byte: byte-level, or <0xXX>; TK_NONE where missing */
    uint32_t unknown;     /* TK_NONE: none. Unknown characters vanish (BPE) or are an error (Unigram) */
    bool byte_fallback;   /* unknown characters become the tokens of their bytes, if all are there    */

    size_t vocab;          /* largest id + 1                                                       */
    struct tk_table words; /* the model's view of its vocabulary: raw bytes where it is byte-level */
    struct tk_table names; /* tokens as written, added ones included                               */
    struct tk_name {
        uint64_t start : 40, size : 24; /* into names.text */
    } *name;             /* [vocab] */
    bool *present, *special; /* [vocab] */
    uint32_t *word_size;     /* [vocab] bytes of the token in words, 0 where it is not there */

    /* Where the decoder is ByteLevel alone, the bytes of every token: decoding is copying. */
    bool plain_decode;
    struct rlhf_bytes byte_text;
    size_t *byte_start; /* [vocab + 1] */

    struct tk_matcher raw, normalized; /* added tokens looked for before and after normalisation */
    struct tk_normalizers normalizers;
    struct tk_splitters splitters;
    struct tk_decoders decoders;
    struct tk_template wrap;

    bool trim_ranges, trim_keeps_prefix; /* tokens' ranges are without their spaces; the first keeps one */

    int32_t begin, end, pad;
    struct rlhf_bytes json, config; /* the files as read, for saving */
};

/* Finds the tokens that their own text encodes to by encode_piece(). */
int tk_find_whole(const struct rlhf_tokenizer *t, size_t count,
                  int (*encode_piece)(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                                      struct rlhf_tokens *out, struct rlhf_error *err),
                  bool **out, struct rlhf_error *err);
/* Reads "vocab" and "merges"; t->splitters is there already. */
int tk_bpe_load(struct rlhf_tokenizer *t, const json_t *model, struct rlhf_error *err);
/* After all ids are known: finds the tokens that their own text encodes to. */
int tk_bpe_finish(struct rlhf_tokenizer *t, struct rlhf_error *err);
int tk_bpe_encode(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                  struct rlhf_tokens *out, struct rlhf_error *err);
void tk_bpe_free(struct tk_bpe *b);

int tk_unigram_load(struct rlhf_tokenizer *t, const json_t *model, struct rlhf_error *err);
int tk_unigram_finish(struct rlhf_tokenizer *t, struct rlhf_error *err); /* as tk_bpe_finish() */
int tk_unigram_encode(const struct rlhf_tokenizer *t, struct tk_scratch *s, const char *piece, size_t size,
                      struct rlhf_tokens *out, struct rlhf_error *err);
void tk_unigram_free(struct tk_unigram *u);

/* A token of the model's own vocabulary under its id. */
int tk_vocab_put(struct rlhf_tokenizer *t, const char *text, size_t size, json_int_t id, struct rlhf_error *err);
uint32_t tk_vocab_find(const struct rlhf_tokenizer *t, const char *text); /* among names; TK_NONE */

/* Reads a component that may be a Sequence: one() for each of its steps, whose list is called `list`. */
int tk_json_steps(const json_t *json, const char *list, const char *where, void *all,
                  int (*one)(void *all, const json_t *step, const char *type, struct rlhf_error *err),
                  struct rlhf_error *err);

/* Small helpers for reading JSON (load.c); where names the object in errors. */
int tk_json_bool(const json_t *object, const char *key, bool fallback, bool *out, const char *where,
                 struct rlhf_error *err);
const char *tk_json_type(const json_t *component, const char *where, struct rlhf_error *err); /* its "type" */
/* {"String": …} or {"Regex": …}, compiled. */
struct tk_regex *tk_json_pattern(const json_t *pattern, const char *where, struct rlhf_error *err);
/* "replacement" and "prepend_scheme" of a Metaspace, the older "add_prefix_space" too. */
int tk_json_metaspace(const json_t *json, char replacement[5], enum tk_prefix *prefix, const char *where,
                      struct rlhf_error *err);

#endif
