#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define WHERE "tokenizer.json: normalizer"

static const struct {
    const char *type;
    int kind;
} plain[] = {
    { "NFC", TK_NFC },   { "NFD", TK_NFD },
    { "NFKC", TK_NFKC }, { "NFKD", TK_NFKD },
    { "Nmt", TK_NMT },   { "Lowercase", TK_LOWERCASE },
    { "StripAccents", TK_STRIP_ACCENTS },
    { "ByteLevel", TK_BYTES },
};

static int copy_text(struct tk_normalizer *n, const json_t *value, const char *where, const char *key,
                     struct rlhf_error *err)
{
    if (!json_is_string(value))
        return rlhf_fail(err, RLHF_REJECT, "%s: \"%s\" is not a string", where, key);
    n->size = json_string_length(value);
    n->text = malloc(n->size + 1);
    if (!n->text)
        return rlhf_fail(err, RLHF_FULL, "%s: out of memory", where);
    memcpy(n->text, json_string_value(value), n->size + 1);
    return 0;
}

/* strip_accents null: as lowercase. */
static int load_bert(struct tk_normalizer *n, const json_t *json, const char *where, struct rlhf_error *err)
{
    n->kind = TK_BERT;
    return tk_json_bool(json, "clean_text", true, &n->clean, where, err) < 0 ||
                   tk_json_bool(json, "handle_chinese_chars", true, &n->chinese, where, err) < 0 ||
                   tk_json_bool(json, "lowercase", true, &n->lower, where, err) < 0 ||
                   tk_json_bool(json, "strip_accents", n->lower, &n->accents, where, err) < 0
               ? -1
               : 0;
}

static int load(void *normalizers, const json_t *json, const char *type, struct rlhf_error *err)
{
    static const char where[] = WHERE;
    struct tk_normalizers *all = normalizers;
    struct tk_normalizer *n;

    if (all->count == TK_STEP_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, "%s: more than %d steps", where, TK_STEP_LIMIT);
    n = &all->step[all->count++];
    for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
        if (!strcmp(type, plain[i].type)) {
            n->kind = plain[i].kind;
            return 0;
        }
    if (!strcmp(type, "BertNormalizer"))
        return load_bert(n, json, where, err);
    if (!strcmp(type, "Precompiled")) {
        n->kind = TK_PRECOMPILED;
        return tk_precompiled_load(n, json, err);
    }
    if (!strcmp(type, "Prepend")) {
        n->kind = TK_PREPEND;
        return copy_text(n, json_object_get(json, "prepend"), where, "prepend", err);
    }
    if (!strcmp(type, "Replace")) {
        n->kind = TK_REPLACE;
        n->regex = tk_json_pattern(json_object_get(json, "pattern"), where, err);
        return n->regex ? copy_text(n, json_object_get(json, "content"), where, "content", err) : -1;
    }
    if (!strcmp(type, "Strip")) {
        n->kind = TK_STRIP;
        return tk_json_bool(json, "strip_left", true, &n->left, where, err) < 0
                   ? -1
                   : tk_json_bool(json, "strip_right", true, &n->right, where, err);
    }
    return rlhf_fail(err, RLHF_REJECT, "%s: type \"%.40s\" is not supported", where, type);
}

int tk_normalizers_load(struct tk_normalizers *n, const json_t *json, struct rlhf_error *err)
{
    return tk_json_steps(json, "normalizers", WHERE, n, load, err);
}

void tk_normalizers_free(struct tk_normalizers *n)
{
    for (size_t i = 0; i < n->count; i++) {
        free(n->step[i].text);
        tk_regex_free(n->step[i].regex);
        free(n->step[i].unit);
    }
    n->count = 0;
}

/* No character below U+0300 composes or is out of order, none below U+0080 decomposes. */
static bool is_normal_already(int kind, const char *text, size_t size)
{
    uint8_t limit = kind == TK_NFC ? 0xcc : 0x80; /* 0xcc 0x80 is U+0300 */

    for (size_t i = 0; i < size; i++)
        if ((uint8_t)text[i] >= limit)
            return false;
    return true;
}

/* The library normalises by Unicode 9; utf8proc knows 15. These are the characters that decompose, compose or are
 * reordered since: they pass through as if unassigned, and nothing moves across them. Found by comparing the two over all
 * code points. */
static const struct span {
    uint32_t from, to;
} newer[] = {
    { 0x7fd, 0x7fd },     { 0x898, 0x89f },     { 0x8ca, 0x8d3 },     { 0x9fe, 0x9fe },     { 0xc3c, 0xc3c },
    { 0xd3b, 0xd3c },     { 0xeba, 0xeba },     { 0xece, 0xece },     { 0x1715, 0x1715 },   { 0x1abf, 0x1ace },
    { 0x1df6, 0x1dfa },   { 0x32ff, 0x32ff },   { 0xa7f2, 0xa7f4 },   { 0xa82c, 0xa82c },   { 0xab69, 0xab69 },
    { 0x10781, 0x107ba }, { 0x10d24, 0x10d27 }, { 0x10eab, 0x10eac }, { 0x10efd, 0x10eff }, { 0x10f46, 0x10f50 },
    { 0x10f82, 0x10f85 }, { 0x11070, 0x11070 }, { 0x1133b, 0x1133b }, { 0x1145e, 0x1145e }, { 0x11839, 0x1183a },
    { 0x11930, 0x11930 }, { 0x11935, 0x11935 }, { 0x11938, 0x11938 }, { 0x1193d, 0x1193e }, { 0x11943, 0x11943 },
    { 0x119e0, 0x119e0 }, { 0x11a34, 0x11a34 }, { 0x11a47, 0x11a47 }, { 0x11a99, 0x11a99 }, { 0x11d42, 0x11d45 },
    { 0x11d97, 0x11d97 }, { 0x11f41, 0x11f42 }, { 0x16ff0, 0x16ff1 }, { 0x1e030, 0x1e06d }, { 0x1e08f, 0x1e08f },
    { 0x1e130, 0x1e136 }, { 0x1e2ae, 0x1e2ae }, { 0x1e2ec, 0x1e2ef }, { 0x1e4ec, 0x1e4ef }, { 0x1f16c, 0x1f16c },
    { 0x1fbf0, 0x1fbf9 },
};

/* The same for marks: those newer than the library's tables are no accents to it. */
static const struct span newer_marks[] = {
    { 0x7fd, 0x7fd }, { 0x898, 0x89f }, { 0x8ca, 0x8d3 }, { 0x9fe, 0x9fe }, { 0xafa, 0xaff }, { 0xb55, 0xb55 },
    { 0xc04, 0xc04 }, { 0xc3c, 0xc3c }, { 0xcf3, 0xcf3 }, { 0xd00, 0xd00 }, { 0xd3b, 0xd3c }, { 0xd81, 0xd81 },
    { 0xeba, 0xeba }, { 0xece, 0xece }, { 0x1715, 0x1715 }, { 0x180f, 0x180f }, { 0x1abf, 0x1ace },
    { 0x1cf7, 0x1cf7 }, { 0x1df6, 0x1dfa }, { 0xa82c, 0xa82c }, { 0xa8ff, 0xa8ff }, { 0x10d24, 0x10d27 },
    { 0x10eab, 0x10eac }, { 0x10efd, 0x10eff }, { 0x10f46, 0x10f50 }, { 0x10f82, 0x10f85 },
    { 0x11070, 0x11070 }, { 0x11073, 0x11074 }, { 0x110c2, 0x110c2 }, { 0x11145, 0x11146 },
    { 0x111c9, 0x111c9 }, { 0x111ce, 0x111cf }, { 0x11241, 0x11241 }, { 0x1133b, 0x1133b },
    { 0x1145e, 0x1145e }, { 0x1182c, 0x1183a }, { 0x11930, 0x11935 }, { 0x11937, 0x11938 },
    { 0x1193b, 0x1193e }, { 0x11940, 0x11940 }, { 0x11942, 0x11943 }, { 0x119d1, 0x119d7 },
    { 0x119da, 0x119e0 }, { 0x119e4, 0x119e4 }, { 0x11a01, 0x11a0a }, { 0x11a33, 0x11a39 },
    { 0x11a3b, 0x11a3e }, { 0x11a47, 0x11a47 }, { 0x11a51, 0x11a5b }, { 0x11a8a, 0x11a99 },
    { 0x11d31, 0x11d36 }, { 0x11d3a, 0x11d3a }, { 0x11d3c, 0x11d3d }, { 0x11d3f, 0x11d45 },
    { 0x11d47, 0x11d47 }, { 0x11d8a, 0x11d8e }, { 0x11d90, 0x11d91 }, { 0x11d93, 0x11d97 },
    { 0x11ef3, 0x11ef6 }, { 0x11f00, 0x11f42 }, { 0x13440, 0x13455 }, { 0x16f4f, 0x16f4f },
    { 0x16f7f, 0x16f87 }, { 0x16fe4, 0x16fe4 }, { 0x16ff0, 0x16ff1 }, { 0x1cf00, 0x1cf2d },
    { 0x1cf30, 0x1cf46 }, { 0x1e08f, 0x1e08f }, { 0x1e130, 0x1e136 }, { 0x1e2ae, 0x1e2ae },
    { 0x1e2ec, 0x1e2ef }, { 0x1e4ec, 0x1e4ef },
};

static bool is_in(uint32_t c, const struct span *spans, size_t count)
{
    for (size_t i = 0; i < count && spans[i].from <= c; i++)
        if (c <= spans[i].to)
            return true;
    return false;
}

static bool is_newer(uint32_t c)
{
    return is_in(c, newer, sizeof(newer) / sizeof(*newer));
}

static int compose_old(int kind, const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    utf8proc_option_t options = UTF8PROC_STABLE;
    utf8proc_uint8_t *mapped;
    utf8proc_ssize_t length;
    int result;

    options |= kind == TK_NFC || kind == TK_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    options |= kind == TK_NFKC || kind == TK_NFKD ? UTF8PROC_COMPAT : 0;
    length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &mapped, options);
    if (length < 0)
        return rlhf_fail(err, RLHF_FULL, "normalising %zu bytes of text: %s", size, utf8proc_errmsg(length));
    result = rlhf_bytes_append(out, mapped, (size_t)length, err);
    free(mapped);
    return result;
}

static int compose(int kind, const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t done = 0;

    if (is_normal_already(kind, text, size))
        return rlhf_bytes_append(out, text, size, err);
    for (size_t at = 0, n; at < size; at += n) {
        n = tk_utf8_size(text + at, size - at);
        if (n == 1 || !is_newer(tk_utf8_get(text + at, n)))
            continue;
        if ((at > done && compose_old(kind, text + done, at - done, out, err) < 0) ||
            rlhf_bytes_append(out, text + at, n, err) < 0)
            return -1;
        done = at + n;
    }
    return done < size ? compose_old(kind, text + done, size - done, out, err) : 0;
}

static int append_char(struct rlhf_bytes *out, uint32_t c, struct rlhf_error *err)
{
    char bytes[4];

    return rlhf_bytes_append(out, bytes, tk_utf8_put(bytes, c), err);
}

/* SentencePiece's "nmt" rules: controls go, odd spaces become spaces. */
static int map_nmt(uint32_t c, struct rlhf_bytes *out, struct rlhf_error *err)
{
    if ((c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
        return 0;
    if (c == 0x09 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
        c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
        c = ' ';
    return append_char(out, c, err);
}

static int map_lower(uint32_t c, struct rlhf_bytes *out, struct rlhf_error *err)
{
    if (c == 0x130) /* the one character whose lower case is two: i and a dot above */
        return rlhf_bytes_append(out, "i\xcc\x87", 3, err);
    return append_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c), err);
}

static int map_unaccented(uint32_t c, struct rlhf_bytes *out, struct rlhf_error *err)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);

    bool mark = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                category == UTF8PROC_CATEGORY_ME || c == 0x1cf2 || c == 0x1cf3; /* these two were marks once */

    return mark && !is_in(c, newer_marks, sizeof(newer_marks) / sizeof(*newer_marks)) ? 0 : append_char(out, c, err);
}

static int map_chars(int (*map)(uint32_t, struct rlhf_bytes *, struct rlhf_error *), const char *text, size_t size,
                     struct rlhf_bytes *out, struct rlhf_error *err)
{
    for (size_t at = 0, n; at < size; at += n) {
        n = tk_utf8_size(text + at, size - at);
        if (map(tk_utf8_get(text + at, n), out, err) < 0)
            return -1;
    }
    return 0;
}

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* Control characters go, white space becomes spaces. */
static int map_clean(uint32_t c, struct rlhf_bytes *out, struct rlhf_error *err)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);

    if (c == '\t' || c == '\n' || c == '\r' || (tk_is_space(c) && category != UTF8PROC_CATEGORY_CC))
        return append_char(out, ' ', err);
    if (c == 0 || c == 0xfffd || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
        category == UTF8PROC_CATEGORY_CO)
        return 0;
    return append_char(out, c, err);
}

static int map_chinese(uint32_t c, struct rlhf_bytes *out, struct rlhf_error *err)
{
    if (!is_chinese(c))
        return append_char(out, c, err);
    return append_char(out, ' ', err) < 0 || append_char(out, c, err) < 0 ? -1 : append_char(out, ' ', err);
}

/* What StripAccents leaves of decomposed text; BertNormalizer takes the nonspacing marks alone. */
static int map_nonspacing(uint32_t c, struct rlhf_bytes *out, struct rlhf_error *err)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN &&
                   !is_in(c, newer_marks, sizeof(newer_marks) / sizeof(*newer_marks))
               ? 0
               : append_char(out, c, err);
}

static int decompose(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    return compose(TK_NFD, text, size, out, err);
}

static int strip_nonspacing(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    return map_chars(map_nonspacing, text, size, out, err);
}

static int clean(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    return map_chars(map_clean, text, size, out, err);
}

static int space_chinese(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    return map_chars(map_chinese, text, size, out, err);
}

static int lower(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    return map_chars(map_lower, text, size, out, err);
}

static int bert(const struct tk_normalizer *n, const char *text, size_t size, struct rlhf_bytes *out,
                struct rlhf_error *err)
{
    const struct {
        bool wanted;
        int (*apply)(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err);
    } steps[] = { { n->clean, clean },
                  { n->chinese, space_chinese },
                  { n->accents, decompose },
                  { n->accents, strip_nonspacing },
                  { n->lower, lower } };
    struct rlhf_bytes from = { 0 }, to = { 0 };
    int result = rlhf_bytes_append(&from, text, size, err);

    for (size_t i = 0; result == 0 && i < sizeof(steps) / sizeof(*steps); i++) {
        struct rlhf_bytes swap = from;

        if (!steps[i].wanted)
            continue;
        rlhf_bytes_clear(&to);
        result = steps[i].apply(from.data, from.size, &to, err);
        from = to;
        to = swap;
    }
    if (result == 0)
        result = rlhf_bytes_append(out, from.data, from.size, err);
    rlhf_bytes_free(&from);
    rlhf_bytes_free(&to);
    return result;
}

static int map_bytes(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    for (size_t i = 0; i < size; i++)
        if (append_char(out, tk_byte_char((uint8_t)text[i]), err) < 0)
            return -1;
    return 0;
}

static int strip(const struct tk_normalizer *n, struct tk_scratch *s, const char *text, size_t size,
                 struct rlhf_bytes *out, struct rlhf_error *err)
{
    size_t from = 0, to = size;

    while (n->left && from < to) {
        size_t step = tk_utf8_size(text + from, to - from);
        if (!tk_is_space(tk_utf8_get(text + from, step)))
            break;
        from += step;
    }
    while (n->right && from < to) {
        size_t start = to - 1;
        while (((uint8_t)text[start] & 0xc0) == 0x80)
            start--;
        if (!tk_is_space(tk_utf8_get(text + start, to - start)))
            break;
        to = start;
    }
    return tk_origins_keep(s, from, to - from, err) < 0 ? -1 : rlhf_bytes_append(out, text + from, to - from, err);
}

int tk_replace(const struct tk_regex *regex, const char *content, size_t content_size, pcre2_match_data *match,
               const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct tk_search search = { 0 };
    struct tk_span span;
    size_t done = 0;
    int found;

    while ((found = tk_regex_next(regex, &search, match, text, size, &span, err)) > 0) {
        if (rlhf_bytes_append(out, text + done, span.start - done, err) < 0 ||
            rlhf_bytes_append(out, content, content_size, err) < 0)
            return -1;
        if (out->size > TK_TEXT_LIMIT)
            return rlhf_fail(err, RLHF_REJECT, "a text grows beyond %d bytes when it is normalised", TK_TEXT_LIMIT);
        done = span.end;
    }
    return found < 0 ? -1 : rlhf_bytes_append(out, text + done, size - done, err);
}

static int apply(const struct tk_normalizer *n, struct tk_scratch *s, const char *text, size_t size,
                 struct rlhf_bytes *out, struct rlhf_error *err)
{
    switch (n->kind) {
    case TK_NFC:
    case TK_NFD:
    case TK_NFKC:
    case TK_NFKD:
        return compose(n->kind, text, size, out, err);
    case TK_LOWERCASE:
        return map_chars(map_lower, text, size, out, err);
    case TK_STRIP_ACCENTS:
        return map_chars(map_unaccented, text, size, out, err);
    case TK_NMT:
        return map_chars(map_nmt, text, size, out, err);
    case TK_PRECOMPILED:
        return tk_precompiled_apply(n, text, size, out, err);
    case TK_BERT:
        return bert(n, text, size, out, err);
    case TK_BYTES:
        return map_bytes(text, size, out, err);
    case TK_STRIP:
        return strip(n, s, text, size, out, err);
    case TK_PREPEND:
        if (size && rlhf_bytes_append(out, n->text, n->size, err) < 0)
            return -1;
        return rlhf_bytes_append(out, text, size, err);
    case TK_REPLACE:
        return tk_replace(n->regex, n->text, n->size, s->match, text, size, out, err);
    }
    return -1;
}

/* Where a step can be taken apart: behind it stands a part that it would treat alike alone. */
static size_t part_size(const struct tk_normalizer *n, const char *text, size_t size)
{
    size_t end = tk_utf8_size(text, size), step;

    if (n->kind == TK_PRECOMPILED)
        return tk_grapheme_size(text, size);
    if (n->kind > TK_NFKD)
        return end;
    for (; end < size; end += step) { /* only marks, and vowels and finals of Hangul, go together with what is before them */
        step = tk_utf8_size(text + end, size - end);
        uint32_t c = tk_utf8_get(text + end, step);
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
        if (category != UTF8PROC_CATEGORY_MN && category != UTF8PROC_CATEGORY_MC && category != UTF8PROC_CATEGORY_ME &&
            !(c >= 0x1160 && c <= 0x11ff))
            break;
    }
    return end;
}

static int replace_tracked(const struct tk_normalizer *n, struct tk_scratch *s, const char *text, size_t size,
                           struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct tk_search search = { 0 };
    struct tk_span span;
    size_t done = 0;
    int found;

    while ((found = tk_regex_next(n->regex, &search, s->match, text, size, &span, err)) > 0) {
        size_t last = span.end;

        if (rlhf_bytes_append(out, text + done, span.start - done, err) < 0 ||
            tk_origins_keep(s, done, span.start - done, err) < 0 || rlhf_bytes_append(out, n->text, n->size, err) < 0)
            return -1;
        while (last > span.start && ((uint8_t)text[--last] & 0xc0) == 0x80)
            continue;
        if (out->size > TK_TEXT_LIMIT)
            return rlhf_fail(err, RLHF_REJECT, "a text grows beyond %d bytes when it is normalised", TK_TEXT_LIMIT);
        if (tk_origins_note(s, out->size, last, span.end, err) < 0) /* what is new stands for the last character replaced */
            return -1;
        done = span.end;
    }
    return found < 0 || tk_origins_keep(s, done, size - done, err) < 0 ? -1
                                                                        : rlhf_bytes_append(out, text + done, size - done, err);
}

/* apply(), noting where everything comes from. */
static int apply_tracked(const struct tk_normalizer *n, struct tk_scratch *s, const char *text, size_t size,
                         struct rlhf_bytes *out, struct rlhf_error *err)
{
    if (n->kind == TK_STRIP)
        return apply(n, s, text, size, out, err);
    if (n->kind == TK_REPLACE)
        return replace_tracked(n, s, text, size, out, err);
    if (n->kind == TK_PREPEND)
        return apply(n, s, text, size, out, err) < 0 ||
                       tk_origins_note(s, out->size - size, 0, tk_utf8_size(text, size), err) < 0
                   ? -1
                   : tk_origins_keep(s, 0, size, err);
    for (size_t at = 0, count; at < size; at += count) {
        size_t before = out->size;

        count = part_size(n, text + at, size - at);
        if (apply(n, s, text + at, count, out, err) < 0)
            return -1;
        bool same = out->size - before == count && !memcmp(out->data + before, text + at, count);
        if ((same ? tk_origins_keep(s, at, count, err) : tk_origins_note(s, out->size, at, at + count, err)) < 0)
            return -1;
    }
    return 0;
}

int tk_normalize(const struct tk_normalizers *all, struct tk_scratch *s, const char *text, size_t size,
                 struct rlhf_bytes *out, struct rlhf_error *err)
{
    rlhf_bytes_clear(out);
    for (size_t i = 0; i < all->count; i++) {
        struct rlhf_bytes swap = s->spare; /* the last step's result is this one's text */

        if (i > 0) {
            s->spare = *out;
            *out = swap;
            rlhf_bytes_clear(out);
        }
        if ((s->track ? apply_tracked : apply)(&all->step[i], s, i ? s->spare.data : text, i ? s->spare.size : size, out,
                                               err) < 0)
            return -1;
        if (s->track)
            tk_origins_turn(s);
    }
    return all->count ? 0 : rlhf_bytes_append(out, text, size, err);
}
