#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

#define WHERE "tokenizer.json: pre_tokenizer"
#define PUNCTUATION "\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e\\p{P}" /* inside a class */

/* What GPT-2 splits text by; ByteLevel's use_regex. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static int load_regex(struct tk_splitter *s, const char *pattern, struct rlhf_error *err)
{
    s->regex = tk_regex_new(pattern, strlen(pattern), WHERE, err);
    return s->regex ? 0 : -1;
}

static int load_behavior(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    static const char *const names[] = { "Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext" };
    const char *name = json_string_value(json_object_get(json, "behavior"));

    for (size_t i = 0; name && i < sizeof(names) / sizeof(*names); i++)
        if (!strcmp(name, names[i])) {
            s->behavior = (enum tk_behavior)i;
            return 0;
        }
    return rlhf_fail(err, RLHF_REJECT, WHERE ": behavior \"%.40s\" is not known", name ? name : "(none)");
}

static int load_byte_level(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    bool prefix, use_regex;

    s->kind = TK_BYTE_LEVEL;
    s->map_bytes = true;
    if (tk_json_bool(json, "add_prefix_space", true, &prefix, WHERE, err) < 0 ||
        tk_json_bool(json, "use_regex", true, &use_regex, WHERE, err) < 0)
        return -1;
    s->prefix = prefix ? TK_PREFIX_ALWAYS : TK_PREFIX_NEVER;
    strcpy(s->replacement, " ");
    return use_regex ? load_regex(s, gpt2_pattern, err) : 0;
}

static int load_split(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    if (load_behavior(s, json, err) < 0 || tk_json_bool(json, "invert", false, &s->invert, WHERE, err) < 0)
        return -1;
    s->regex = tk_json_pattern(json_object_get(json, "pattern"), WHERE, err);
    return s->regex ? 0 : -1;
}

static int load_digits(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    bool alone;

    if (tk_json_bool(json, "individual_digits", false, &alone, WHERE, err) < 0)
        return -1;
    s->behavior = alone ? TK_ISOLATED : TK_CONTIGUOUS;
    return load_regex(s, "\\p{N}", err);
}

static int load_metaspace(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    bool split;

    s->kind = TK_METASPACE;
    s->behavior = TK_MERGED_WITH_NEXT;
    if (tk_json_metaspace(json, s->replacement, &s->prefix, WHERE, err) < 0 ||
        tk_json_bool(json, "split", true, &split, WHERE, err) < 0)
        return -1;
    if (!split)
        return 0;
    s->regex = tk_regex_literal(s->replacement, strlen(s->replacement), WHERE, err);
    return s->regex ? 0 : -1;
}

static int load_whitespace(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    (void)json;
    s->behavior = TK_REMOVED;
    s->invert = true;
    /* The library uses another engine here, whose \w has other members. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
    return load_regex(s, "[" WORD "]+|[^" WORD "\\s]+", err);
}

static int load_whitespace_split(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    (void)json;
    s->behavior = TK_REMOVED;
    return load_regex(s, "\\s", err);
}

static int load_punctuation(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    if (json_object_get(json, "behavior") && load_behavior(s, json, err) < 0)
        return -1;
    return load_regex(s, "[" PUNCTUATION "]", err);
}

/* White space goes, every punctuation character stands alone: two steps in one pattern. */
static int load_bert(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    (void)json;
    s->behavior = TK_REMOVED;
    s->invert = true;
    return load_regex(s, "[" PUNCTUATION "]|[^\\s" PUNCTUATION "]+", err);
}

static int load_delimiter(struct tk_splitter *s, const json_t *json, struct rlhf_error *err)
{
    const json_t *c = json_object_get(json, "delimiter");
    size_t size = json_string_length(c);

    s->behavior = TK_REMOVED;
    if (size == 0 || tk_utf8_size(json_string_value(c), size) != size)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": \"delimiter\" is not one character");
    s->regex = tk_regex_literal(json_string_value(c), size, WHERE, err);
    return s->regex ? 0 : -1;
}

static const struct {
    const char *type;
    int (*load)(struct tk_splitter *s, const json_t *json, struct rlhf_error *err);
} loaders[] = {
    { "ByteLevel", load_byte_level },   { "Split", load_split },
    { "Digits", load_digits },          { "Metaspace", load_metaspace },
    { "Whitespace", load_whitespace },  { "WhitespaceSplit", load_whitespace_split },
    { "BertPreTokenizer", load_bert },
    { "Punctuation", load_punctuation }, { "CharDelimiterSplit", load_delimiter },
};

static int load(void *splitters, const json_t *json, const char *type, struct rlhf_error *err)
{
    struct tk_splitters *all = splitters;

    for (size_t i = 0; i < sizeof(loaders) / sizeof(*loaders); i++)
        if (!strcmp(type, loaders[i].type)) {
            if (all->count == TK_STEP_LIMIT)
                return rlhf_fail(err, RLHF_REJECT, WHERE ": more than %d steps", TK_STEP_LIMIT);
            return loaders[i].load(&all->step[all->count++], json, err);
        }
    return rlhf_fail(err, RLHF_REJECT, WHERE ": type \"%.40s\" is not supported", type);
}

int tk_splitters_load(struct tk_splitters *s, const json_t *json, struct rlhf_error *err)
{
    unsigned mapping = 0;

    if (tk_json_steps(json, "pretokenizers", WHERE, s, load, err) < 0)
        return -1;
    for (size_t i = 0; i < s->count; i++)
        mapping += s->step[i].kind == TK_BYTE_LEVEL;
    if (mapping > 1)
        return rlhf_fail(err, RLHF_REJECT, WHERE ": more than one ByteLevel is not supported");
    if (s->count && s->step[s->count - 1].kind == TK_BYTE_LEVEL) {
        s->byte_level = true;
        s->step[s->count - 1].map_bytes = false;
    }
    return 0;
}

void tk_splitters_free(struct tk_splitters *s)
{
    for (size_t i = 0; i < s->count; i++)
        tk_regex_free(s->step[i].regex);
    s->count = 0;
}

/* Every match and every gap between matches of s->regex in one piece, in order, into scratch->span. */
static int find_spans(const struct tk_splitter *s, struct tk_scratch *scratch, const char *text, size_t size,
                      struct rlhf_error *err)
{
    struct tk_search search = { 0 };
    size_t done = 0;
    int found;

    scratch->spans = 0;
    do {
        struct tk_span span = { size, size, false };

        if ((found = tk_regex_next(s->regex, &search, scratch->match, text, size, &span, err)) < 0 ||
            tk_reserve((void **)&scratch->span, &scratch->span_capacity, scratch->spans + 2, sizeof(*scratch->span),
                       err) < 0)
            return -1;
        if (span.start > done)
            scratch->span[scratch->spans++] = (struct tk_span){ done, span.start, s->invert };
        if (found)
            scratch->span[scratch->spans++] = (struct tk_span){ span.start, span.end, !s->invert };
        done = span.end;
    } while (found);
    return 0;
}

/* Joins spans as the behaviour asks. Only neighbours are joined, so spans still tile the piece. */
static void join_spans(enum tk_behavior behavior, struct tk_scratch *s)
{
    size_t kept = 0;
    bool last = false;

    if (behavior == TK_MERGED_WITH_NEXT) { /* from the end: a match joins what follows it */
        size_t to = s->spans;

        for (size_t i = s->spans; i-- > 0;) {
            struct tk_span span = s->span[i];

            if (span.match && !last && to < s->spans)
                s->span[to].start = span.start;
            else
                s->span[--to] = span;
            last = span.match;
        }
        memmove(s->span, s->span + to, (s->spans - to) * sizeof(*s->span));
        s->spans -= to;
        return;
    }
    for (size_t i = 0; i < s->spans; i++) {
        struct tk_span span = s->span[i];
        bool join = behavior == TK_CONTIGUOUS ? span.match == last : span.match && !last;

        if (join && kept)
            s->span[kept - 1].end = span.end;
        else
            s->span[kept++] = span;
        last = span.match;
    }
    s->spans = kept;
}

/* Cuts every piece of in by the regex. Isolated, the only frequent case, needs no list of spans. */
static int split_pieces(const struct tk_splitter *s, struct tk_scratch *scratch, const struct tk_pieces *in,
                        struct tk_pieces *out, struct rlhf_error *err)
{
    for (size_t i = 0; i < in->count; i++) {
        const char *text = in->text.data + tk_piece_start(in, i);
        size_t size = in->end[i] - tk_piece_start(in, i), base = out->text.size;

        if (s->behavior == TK_ISOLATED) {
            struct tk_search search = { 0 };
            struct tk_span span;
            int found;

            if (rlhf_bytes_append(&out->text, text, size, err) < 0 ||
                tk_origins_keep(scratch, tk_piece_start(in, i), size, err) < 0)
                return -1;
            while ((found = tk_regex_next(s->regex, &search, scratch->match, text, size, &span, err)) > 0)
                if (tk_pieces_cut(out, base + span.start, err) < 0 || tk_pieces_cut(out, base + span.end, err) < 0)
                    return -1;
            if (found < 0 || tk_pieces_cut(out, out->text.size, err) < 0)
                return -1;
            continue;
        }
        if (find_spans(s, scratch, text, size, err) < 0)
            return -1;
        if (s->behavior != TK_REMOVED)
            join_spans(s->behavior, scratch);
        for (size_t k = 0; k < scratch->spans; k++) {
            const struct tk_span *span = &scratch->span[k];

            if (s->behavior == TK_REMOVED && span->match)
                continue;
            if (rlhf_bytes_append(&out->text, text + span->start, span->end - span->start, err) < 0 ||
                tk_origins_keep(scratch, tk_piece_start(in, i) + span->start, span->end - span->start, err) < 0 ||
                tk_pieces_cut(out, out->text.size, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* A piece with its prefix, and (Metaspace) its spaces replaced. */
static int change_piece(const struct tk_splitter *s, struct tk_scratch *scratch, const struct tk_pieces *in, size_t piece,
                        bool first, struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t start = tk_piece_start(in, piece), size = in->end[piece] - start, mark = strlen(s->replacement), done = 0;
    const char *text = in->text.data + start;
    bool has = size >= mark && !memcmp(text, s->replacement, mark);

    if (s->kind == TK_METASPACE)
        has = has || text[0] == ' ';
    if (!has && (s->prefix == TK_PREFIX_ALWAYS || (s->prefix == TK_PREFIX_FIRST && first)) &&
        (rlhf_bytes_append(out, s->replacement, mark, err) < 0 ||
         tk_origins_note(scratch, out->size, start, start + tk_utf8_size(text, size), err) < 0))
        return -1;
    for (const char *space; s->kind == TK_METASPACE && (space = memchr(text + done, ' ', size - done));) {
        size_t to = (size_t)(space - text);

        if (rlhf_bytes_append(out, text + done, to - done, err) < 0 ||
            tk_origins_keep(scratch, start + done, to - done, err) < 0 ||
            rlhf_bytes_append(out, s->replacement, mark, err) < 0 ||
            tk_origins_note(scratch, out->size, start + to, start + to + 1, err) < 0)
            return -1;
        done = to + 1;
    }
    return tk_origins_keep(scratch, start + done, size - done, err) < 0
               ? -1
               : rlhf_bytes_append(out, text + done, size - done, err);
}

static int change_pieces(const struct tk_splitter *s, struct tk_scratch *scratch, const struct tk_pieces *in,
                         struct tk_pieces *out, bool first, struct rlhf_error *err)
{
    for (size_t i = 0; i < in->count; i++)
        if (change_piece(s, scratch, in, i, first && i == 0, &out->text, err) < 0 ||
            tk_pieces_cut(out, out->text.size, err) < 0)
            return -1;
    return 0;
}

static int map_pieces(struct tk_scratch *scratch, const struct tk_pieces *in, struct tk_pieces *out, struct rlhf_error *err)
{
    for (size_t i = 0; i < in->count; i++) {
        for (size_t at = tk_piece_start(in, i); at < in->end[i]; at++) {
            char c[4];

            if (rlhf_bytes_append(&out->text, c, tk_utf8_put(c, tk_byte_char((uint8_t)in->text.data[at])), err) < 0 ||
                tk_origins_note(scratch, out->text.size, at, at + 1, err) < 0)
                return -1;
        }
        if (tk_pieces_cut(out, out->text.size, err) < 0)
            return -1;
    }
    return 0;
}

static void swap_pieces(struct tk_scratch *s)
{
    struct tk_pieces swap = s->pieces;

    s->pieces = s->spare_pieces;
    s->spare_pieces = swap;
    tk_pieces_clear(&s->pieces);
}

int tk_split(const struct tk_splitters *p, struct tk_scratch *s, const char *text, size_t size, bool first,
             struct rlhf_error *err)
{
    tk_pieces_clear(&s->pieces);
    if (size == 0)
        return 0;
    if (tk_pieces_append(&s->pieces, text, size, err) < 0)
        return -1;
    for (size_t i = 0; i < p->count; i++) {
        const struct tk_splitter *step = &p->step[i];

        if (step->kind == TK_METASPACE || step->prefix != TK_PREFIX_NEVER) {
            swap_pieces(s);
            if (change_pieces(step, s, &s->spare_pieces, &s->pieces, first, err) < 0)
                return -1;
            tk_origins_turn(s);
        }
        if (step->regex) {
            swap_pieces(s);
            if (split_pieces(step, s, &s->spare_pieces, &s->pieces, err) < 0)
                return -1;
            tk_origins_turn(s);
        }
        if (step->map_bytes) {
            swap_pieces(s);
            if (map_pieces(s, &s->spare_pieces, &s->pieces, err) < 0)
                return -1;
            tk_origins_turn(s);
        }
    }
    return 0;
}
