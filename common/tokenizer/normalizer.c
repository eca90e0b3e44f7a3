#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const struct {
    const char *type;
    int kind;
} plain[] = {
    { "NFC", TK_NFC },   { "NFD", TK_NFD },
    { "NFKC", TK_NFKC }, { "NFKD", TK_NFKD },
    { "Nmt", TK_NMT },   { "Lowercase", TK_LOWERCASE },
    { "StripAccents", TK_STRIP_ACCENTS },
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

static int load(struct tk_normalizers *all, const json_t *json, unsigned depth, struct rlhf_error *err)
{
    const char *where = "tokenizer.json: normalizer", *type;
    struct tk_normalizer *n;

    if (json_is_null(json) || !json)
        return 0;
    if (!(type = tk_json_type(json, where, err)))
        return -1;
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(json, "normalizers");
        size_t i;
        json_t *item;

        if (!json_is_array(list) || depth == TK_STEP_LIMIT)
            return rlhf_fail(err, RLHF_REJECT, "%s: Sequence without \"normalizers\", or too deep", where);
        json_array_foreach(list, i, item)
            if (load(all, item, depth + 1, err) < 0)
                return -1;
        return 0;
    }
    if (all->count == TK_STEP_LIMIT)
        return rlhf_fail(err, RLHF_REJECT, "%s: more than %d steps", where, TK_STEP_LIMIT);
    n = &all->step[all->count++];
    for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++)
        if (!strcmp(type, plain[i].type)) {
            n->kind = plain[i].kind;
            return 0;
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
    return load(n, json, 0, err);
}

void tk_normalizers_free(struct tk_normalizers *n)
{
    for (size_t i = 0; i < n->count; i++) {
        free(n->step[i].text);
        tk_regex_free(n->step[i].regex);
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

static int compose(int kind, const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    utf8proc_option_t options = UTF8PROC_STABLE;
    utf8proc_uint8_t *mapped;
    utf8proc_ssize_t length;
    int result;

    if (is_normal_already(kind, text, size))
        return rlhf_bytes_append(out, text, size, err);
    options |= kind == TK_NFC || kind == TK_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    options |= kind == TK_NFKC || kind == TK_NFKD ? UTF8PROC_COMPAT : 0;
    length = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &mapped, options);
    if (length < 0)
        return rlhf_fail(err, RLHF_FULL, "normalising %zu bytes of text: %s", size, utf8proc_errmsg(length));
    result = rlhf_bytes_append(out, mapped, (size_t)length, err);
    free(mapped);
    return result;
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
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN ? 0 : append_char(out, c, err);
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

static int strip(const struct tk_normalizer *n, const char *text, size_t size, struct rlhf_bytes *out,
                 struct rlhf_error *err)
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
    return rlhf_bytes_append(out, text + from, to - from, err);
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
    case TK_STRIP:
        return strip(n, text, size, out, err);
    case TK_PREPEND:
        if (size && rlhf_bytes_append(out, n->text, n->size, err) < 0)
            return -1;
        return rlhf_bytes_append(out, text, size, err);
    case TK_REPLACE:
        return tk_replace(n->regex, n->text, n->size, s->match, text, size, out, err);
    }
    return -1;
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
        if (apply(&all->step[i], s, i ? s->spare.data : text, i ? s->spare.size : size, out, err) < 0)
            return -1;
    }
    return all->count ? 0 : rlhf_bytes_append(out, text, size, err);
}
