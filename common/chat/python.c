/* Text as Python's str, repr and json.dumps write it, and its notions of space and case. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "chat/parts.h"

/* ---- characters ------------------------------------------------------------------------------------ */

size_t ct_count_chars(struct ct_text t)
{
    size_t count = 0;

    for (size_t i = 0; i < t.size; i++)
        count += ((uint8_t)t.data[i] & 0xc0) != 0x80;
    return count;
}

size_t ct_char_offset(struct ct_text t, size_t index)
{
    size_t at = 0;

    while (index-- > 0 && at < t.size)
        at += rlhf_char_size(t.data + at);
    return at;
}

static bool is_stripped(const char *text, const struct ct_text *chars)
{
    size_t n;
    uint32_t c = rlhf_char(text, &n);

    return chars ? n && memmem(chars->data, chars->size, text, n) != NULL : rlhf_is_space(c);
}

struct ct_text ct_strip(struct ct_text t, const struct ct_text *chars, bool left, bool right)
{
    while (left && t.size && is_stripped(t.data, chars)) {
        size_t n = rlhf_char_size(t.data);

        t.data += n;
        t.size -= n;
    }
    while (right && t.size) {
        size_t start = t.size - 1;

        while (((uint8_t)t.data[start] & 0xc0) == 0x80)
            start--;
        if (!is_stripped(t.data + start, chars))
            break;
        t.size = start;
    }
    return t;
}

/* ---- case ------------------------------------------------------------------------------------------ */

/* Characters whose upper (or title) case is several, as far as they occur in text; from SpecialCasing.txt. */
static const struct {
    uint32_t from;
    const char *upper, *title;
} several[] = {
    { 0xdf, "SS", "Ss" },        { 0x149, "\u02bcN", NULL },  { 0x1f0, "J\u030c", NULL },
    { 0x390, "\u0399\u0308\u0301", NULL }, { 0x3b0, "\u03a5\u0308\u0301", NULL }, { 0x587, "\u0535\u0552", "\u0535\u0582" },
    { 0x1e96, "H\u0331", NULL }, { 0x1e97, "T\u0308", NULL }, { 0x1e98, "W\u030a", NULL }, { 0x1e99, "Y\u030a", NULL },
    { 0x1e9a, "A\u02be", NULL }, { 0xfb00, "FF", "Ff" },      { 0xfb01, "FI", "Fi" },      { 0xfb02, "FL", "Fl" },
    { 0xfb03, "FFI", "Ffi" },    { 0xfb04, "FFL", "Ffl" },    { 0xfb05, "ST", "St" },      { 0xfb06, "ST", "St" },
};

static int append_upper(struct ct_run *r, uint32_t c, bool title, struct rlhf_bytes *out)
{
    char bytes[4];

    for (size_t i = 0; c >= 0xdf && i < sizeof(several) / sizeof(*several); i++)
        if (several[i].from == c) {
            const char *text = title && several[i].title ? several[i].title : several[i].upper;
            return ct_append(r, out, text, strlen(text));
        }
    c = (uint32_t)(title ? utf8proc_totitle((utf8proc_int32_t)c) : utf8proc_toupper((utf8proc_int32_t)c));
    return ct_append(r, out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)bytes));
}

static bool is_cased(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);

    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT ||
           (c >= 0x2b0 && c <= 0x2b8) || c == 0xaa || c == 0xba || (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9);
}

/* What words go on across: Case_Ignorable, as far as it is likely. */
static bool is_ignorable(uint32_t c)
{
    return c == '\'' || c == '.' || c == ':' || c == '^' || c == '`' ||
           utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN;
}

/* A sigma at the end of a word is written in another way. */
static bool is_final_sigma(struct ct_text t, size_t at)
{
    size_t n, after = at + 2, before = at;

    while (before > 0) {
        do
            before--;
        while (((uint8_t)t.data[before] & 0xc0) == 0x80);
        uint32_t c = rlhf_char(t.data + before, &n);
        if (is_cased(c))
            break;
        if (!is_ignorable(c))
            return false;
        if (before == 0)
            return false;
    }
    if (at == 0)
        return false;
    for (; after < t.size; after += n) {
        uint32_t c = rlhf_char(t.data + after, &n);
        if (is_cased(c))
            return false;
        if (!is_ignorable(c))
            return true;
    }
    return true;
}

static int append_lower(struct ct_run *r, struct ct_text t, size_t at, uint32_t c, struct rlhf_bytes *out)
{
    char bytes[4];

    if (c == 0x130)
        return ct_append(r, out, "i\u0307", 3);
    c = c == 0x3a3 && is_final_sigma(t, at) ? 0x3c2 : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    return ct_append(r, out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)bytes));
}

static bool is_lower(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LL;
}

int ct_change_case(struct ct_run *r, struct ct_text t, enum ct_case how, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 };
    bool in_word = false;
    int result = ct_charge(r, t.size / 8);

    for (size_t at = 0, n; result == 0 && at < t.size; at += n) {
        uint32_t c = rlhf_char(t.data + at, &n);
        bool upper = how == CT_UPPER || (how == CT_CAPITALIZE && at == 0) || (how == CT_TITLE && !in_word) ||
                     (how == CT_SWAP && is_lower(c));

        result = upper ? append_upper(r, c, how == CT_CAPITALIZE || how == CT_TITLE, &text)
                       : append_lower(r, t, at, c, &text);
        in_word = is_cased(c);
    }
    return result < 0 ? (rlhf_bytes_free(&text), -1) : ct_take(r, &text, out);
}

/* ---- buffers --------------------------------------------------------------------------------------- */

int ct_append(struct ct_run *r, struct rlhf_bytes *out, const char *data, size_t size)
{
    if (size > CT_TEXT_LIMIT || out->size > CT_TEXT_LIMIT - size)
        return ct_fail(r, "a text is longer than %d MiB", CT_TEXT_LIMIT >> 20);
    return rlhf_bytes_append(out, data, size, r->err);
}

int ct_take(struct ct_run *r, struct rlhf_bytes *buffer, struct ct_value *out)
{
    int result = ct_copy(r, buffer->data, buffer->size, out);

    rlhf_bytes_free(buffer);
    return result;
}

/* ---- str and repr ---------------------------------------------------------------------------------- */

/* The fewest digits that read back as the same number, in Python's form. */
static void print_real(double x, char out[40])
{
    char digits[40];
    int precision = 0, exponent, count = 0;

    if (isnan(x) || isinf(x)) {
        strcpy(out, isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
        return;
    }
    do
        snprintf(digits, sizeof(digits), "%.*e", precision, x);
    while (strtod(digits, NULL) != x && ++precision < 17);
    exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        *strchr(digits, 'e') = '\0';
        snprintf(out, 40, "%.24se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    for (const char *d = digits; *d != 'e'; d++)
        count += *d >= '0' && *d <= '9';
    int decimals = count - 1 - exponent;
    snprintf(out, 40, "%.*f", decimals > 1 ? decimals : 1, x);
}

static int append_real(struct ct_run *r, double x, struct rlhf_bytes *out)
{
    char text[40];

    print_real(x, text);
    return ct_append(r, out, text, strlen(text));
}

static bool is_printable(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

static int append_quoted(struct ct_run *r, struct ct_text t, struct rlhf_bytes *out)
{
    char quote = memchr(t.data, '\'', t.size) && !memchr(t.data, '"', t.size) ? '"' : '\'', text[16];
    int result = ct_append(r, out, &quote, 1);

    for (size_t at = 0, n; result == 0 && at < t.size; at += n) {
        uint32_t c = rlhf_char(t.data + at, &n);
        static const char special[] = "\\\n\r\t", letter[] = "\\nrt";
        const char *known = c && c < 0x80 ? strchr(special, (int)c) : NULL;

        if (known || c == (uint32_t)quote) {
            snprintf(text, sizeof(text), "\\%c", known ? letter[known - special] : quote);
            result = ct_append(r, out, text, 2);
        } else if (is_printable(c))
            result = ct_append(r, out, t.data + at, n);
        else {
            snprintf(text, sizeof(text), c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
            result = ct_append(r, out, text, strlen(text));
        }
    }
    return result < 0 ? -1 : ct_append(r, out, &quote, 1);
}

static int append_items(struct ct_run *r, const struct ct_list *l, const char *open, const char *close, unsigned depth,
                        struct rlhf_bytes *out)
{
    if (ct_append(r, out, open, strlen(open)) < 0)
        return -1;
    for (size_t i = 0; i < l->count; i++)
        if ((i && ct_append(r, out, ", ", 2) < 0) || ct_append_repr(r, l->item[i], depth + 1, out) < 0)
            return -1;
    return ct_append(r, out, close, strlen(close));
}

static int append_dict(struct ct_run *r, const struct ct_dict *d, unsigned depth, struct rlhf_bytes *out)
{
    if (ct_append(r, out, "{", 1) < 0)
        return -1;
    for (size_t i = 0; i < d->count; i++)
        if ((i && ct_append(r, out, ", ", 2) < 0) || ct_append_repr(r, d->pair[i].key, depth + 1, out) < 0 ||
            ct_append(r, out, ": ", 2) < 0 || ct_append_repr(r, d->pair[i].value, depth + 1, out) < 0)
            return -1;
    return ct_append(r, out, "}", 1);
}

static int append_range(struct ct_run *r, const struct ct_steps *s, struct rlhf_bytes *out)
{
    char text[100];
    int size = s->step == 1 ? snprintf(text, sizeof(text), "range(%lld, %lld)", (long long)s->start, (long long)s->stop)
                            : snprintf(text, sizeof(text), "range(%lld, %lld, %lld)", (long long)s->start,
                                       (long long)s->stop, (long long)s->step);

    return ct_append(r, out, text, (size_t)size);
}

int ct_append_repr(struct ct_run *r, struct ct_value v, unsigned depth, struct rlhf_bytes *out)
{
    char text[100];

    if (depth > CT_NESTING_LIMIT)
        return ct_fail(r, "a value is nested deeper than %d", CT_NESTING_LIMIT);
    if (ct_charge(r, 1) < 0)
        return -1;
    switch (v.type) {
    case CT_UNDEFINED:
        return ct_append(r, out, "Undefined", 9);
    case CT_NONE:
        return ct_append(r, out, "None", 4);
    case CT_BOOL:
        return v.truth ? ct_append(r, out, "True", 4) : ct_append(r, out, "False", 5);
    case CT_INT:
        return ct_append(r, out, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)v.integer));
    case CT_REAL:
        return append_real(r, v.real, out);
    case CT_TEXT_VALUE:
        return append_quoted(r, v.text, out);
    case CT_LIST:
        return append_items(r, v.list, "[", "]", depth, out);
    case CT_TUPLE:
        return append_items(r, v.list, "(", v.list->count == 1 ? ",)" : ")", depth, out);
    case CT_VIEW:
        snprintf(text, sizeof(text), "%s([", v.list->name);
        return append_items(r, v.list, text, "])", depth, out);
    case CT_RANGE:
        return append_range(r, v.range, out);
    case CT_DICT:
        return append_dict(r, v.dict, depth, out);
    case CT_NAMESPACE:
        return ct_append(r, out, "<Namespace ", 11) < 0 || append_dict(r, v.dict, depth, out) < 0
                   ? -1
                   : ct_append(r, out, ">", 1);
    default:
        return ct_fail(r, "a %s has no text", ct_type_name(v));
    }
}

int ct_append_str(struct ct_run *r, struct ct_value v, struct rlhf_bytes *out)
{
    if (v.type == CT_UNDEFINED)
        return 0;
    return v.type == CT_TEXT_VALUE ? ct_append(r, out, v.text.data, v.text.size) : ct_append_repr(r, v, 0, out);
}

int ct_str(struct ct_run *r, struct ct_value v, struct ct_text *out)
{
    struct rlhf_bytes text = { 0 };

    if (v.type != CT_TEXT_VALUE && (ct_append_str(r, v, &text) < 0 || ct_take(r, &text, &v) < 0)) {
        rlhf_bytes_free(&text);
        return -1;
    }
    *out = v.text;
    return 0;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static int append_json_text(struct ct_run *r, struct ct_text t, bool ascii, struct rlhf_bytes *out)
{
    int result = ct_append(r, out, "\"", 1);

    for (size_t at = 0, n; result == 0 && at < t.size; at += n) {
        static const char special[] = "\"\\\n\r\t\f\b", letter[] = "\"\\nrtfb";
        uint32_t c = rlhf_char(t.data + at, &n);
        const char *known = c && c < 0x80 ? strchr(special, (int)c) : NULL;
        char text[16];

        if (known)
            snprintf(text, sizeof(text), "\\%c", letter[known - special]);
        else if (c < 0x20 || (ascii && c >= 0x7f && c < 0x10000))
            snprintf(text, sizeof(text), "\\u%04x", c);
        else if (ascii && c >= 0x10000)
            snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
        else {
            result = ct_append(r, out, t.data + at, n);
            continue;
        }
        result = ct_append(r, out, text, strlen(text));
    }
    return result < 0 ? -1 : ct_append(r, out, "\"", 1);
}

static int json_break(struct ct_run *r, const struct ct_json_style *style, unsigned depth, struct rlhf_bytes *out)
{
    if (!style->pretty)
        return 0;
    int result = ct_append(r, out, "\n", 1);
    for (unsigned i = 0; result == 0 && i < depth; i++)
        result = ct_append(r, out, style->indent.data, style->indent.size);
    return result;
}

static int append_json_key(struct ct_run *r, struct ct_value key, const struct ct_json_style *style,
                           struct rlhf_bytes *out)
{
    struct ct_value text = key;
    struct rlhf_bytes number = { 0 };

    if (key.type == CT_NONE || key.type == CT_BOOL || key.type == CT_INT || key.type == CT_REAL) {
        if (ct_append_json(r, key, style, 0, &number) < 0 || ct_take(r, &number, &text) < 0) {
            rlhf_bytes_free(&number);
            return -1;
        }
    } else if (key.type != CT_TEXT_VALUE)
        return ct_fail(r, "tojson: the key of a dict is a %s", ct_type_name(key));
    return append_json_text(r, text.text, style->ensure_ascii, out);
}

/* The pairs of a dict in the order of their keys. */
static int sorted_pairs(struct ct_run *r, const struct ct_dict *d, const struct ct_pair **out)
{
    struct ct_pair *sorted = ct_get(r, d->count, sizeof(*sorted));

    if (!sorted)
        return -1;
    for (size_t i = 0; i < d->count; i++) {
        size_t to = i;

        for (int order = 0; to > 0; to--) {
            if (ct_order(r, d->pair[i].key, sorted[to - 1].key, &order) < 0)
                return -1;
            if (order >= 0)
                break;
            sorted[to] = sorted[to - 1];
        }
        sorted[to] = d->pair[i];
    }
    *out = sorted;
    return 0;
}

static int append_json_dict(struct ct_run *r, const struct ct_dict *d, const struct ct_json_style *style,
                            unsigned depth, struct rlhf_bytes *out)
{
    const struct ct_pair *pair = d->pair;

    if (d->count == 0)
        return ct_append(r, out, "{}", 2);
    if ((style->sort_keys && sorted_pairs(r, d, &pair) < 0) || ct_append(r, out, "{", 1) < 0)
        return -1;
    for (size_t i = 0; i < d->count; i++)
        if ((i && ct_append(r, out, style->item_separator.data, style->item_separator.size) < 0) ||
            json_break(r, style, depth + 1, out) < 0 || append_json_key(r, pair[i].key, style, out) < 0 ||
            ct_append(r, out, style->key_separator.data, style->key_separator.size) < 0 ||
            ct_append_json(r, pair[i].value, style, depth + 1, out) < 0)
            return -1;
    return json_break(r, style, depth, out) < 0 ? -1 : ct_append(r, out, "}", 1);
}

static int append_json_list(struct ct_run *r, const struct ct_list *l, const struct ct_json_style *style,
                            unsigned depth, struct rlhf_bytes *out)
{
    if (l->count == 0)
        return ct_append(r, out, "[]", 2);
    if (ct_append(r, out, "[", 1) < 0)
        return -1;
    for (size_t i = 0; i < l->count; i++)
        if ((i && ct_append(r, out, style->item_separator.data, style->item_separator.size) < 0) ||
            json_break(r, style, depth + 1, out) < 0 || ct_append_json(r, l->item[i], style, depth + 1, out) < 0)
            return -1;
    return json_break(r, style, depth, out) < 0 ? -1 : ct_append(r, out, "]", 1);
}

int ct_append_json(struct ct_run *r, struct ct_value v, const struct ct_json_style *style, unsigned depth,
                   struct rlhf_bytes *out)
{
    if (depth > CT_NESTING_LIMIT)
        return ct_fail(r, "tojson: nested deeper than %d", CT_NESTING_LIMIT);
    if (ct_charge(r, 1) < 0)
        return -1;
    switch (v.type) {
    case CT_NONE:
        return ct_append(r, out, "null", 4);
    case CT_BOOL:
        return v.truth ? ct_append(r, out, "true", 4) : ct_append(r, out, "false", 5);
    case CT_INT:
        return ct_append_repr(r, v, depth, out);
    case CT_REAL:
        if (isnan(v.real))
            return ct_append(r, out, "NaN", 3);
        if (isinf(v.real))
            return v.real > 0 ? ct_append(r, out, "Infinity", 8) : ct_append(r, out, "-Infinity", 9);
        return append_real(r, v.real, out);
    case CT_TEXT_VALUE:
        return append_json_text(r, v.text, style->ensure_ascii, out);
    case CT_LIST:
    case CT_TUPLE:
        return append_json_list(r, v.list, style, depth, out);
    case CT_DICT:
        return append_json_dict(r, v.dict, style, depth, out);
    default:
        return ct_fail(r, "tojson: a %s cannot be written as JSON", ct_type_name(v));
    }
}

/* ---- format % values ------------------------------------------------------------------------------- */

struct directive {
    struct ct_text key; /* of %(key)s; data NULL: none */
    bool left, zero, plus, space;
    int width, precision; /* -1: not given */
    char type;
};

static int read_directive(struct ct_run *r, struct ct_text format, size_t *at, struct directive *d)
{
    *d = (struct directive){ .width = -1, .precision = -1 };
    if (*at < format.size && format.data[*at] == '(') {
        const char *end = memchr(format.data + *at, ')', format.size - *at);

        if (!end)
            return ct_fail(r, "a %%(key) without its ')'");
        d->key = (struct ct_text){ format.data + *at + 1, (size_t)(end - format.data) - *at - 1 };
        *at = (size_t)(end - format.data) + 1;
    }
    for (; *at < format.size && format.data[*at] && strchr("-0+ ", format.data[*at]); ++*at)
        *(format.data[*at] == '-'   ? &d->left
          : format.data[*at] == '0' ? &d->zero
          : format.data[*at] == '+' ? &d->plus
                                    : &d->space) = true;
    for (int *number = &d->width;; number = &d->precision) {
        for (; *at < format.size && format.data[*at] >= '0' && format.data[*at] <= '9'; ++*at)
            if ((*number = (*number < 0 ? 0 : *number) * 10 + (format.data[*at] - '0')) > 1000)
                return ct_fail(r, "a %% with more than 1000 places");
        if (number == &d->precision || *at >= format.size || format.data[*at] != '.')
            break;
        d->precision = 0;
        ++*at;
    }
    d->type = *at < format.size ? format.data[(*at)++] : '\0';
    return d->type && strchr("sdifFeEgGxXr%", d->type) ? 0 : ct_fail(r, "a %% with '%c' behind it is not supported", d->type);
}

/* Sign and digits of a number, without padding. */
static int number_text(struct ct_run *r, const struct directive *d, struct ct_value v, char *text, size_t room)
{
    char format[8] = { '%', '.', '*', d->type };
    const char *sign;

    if (!ct_is_number(v))
        return ct_fail(r, "%%%c needs a number, not a %s", d->type, ct_type_name(v));
    if (strchr("di", d->type)) {
        if (v.type == CT_REAL && !(fabs(v.real) < 9e18))
            return ct_fail(r, "%%%c of a number beyond 64 bits is not supported", d->type);
        long long value = v.type == CT_REAL ? (long long)v.real : (long long)ct_integer(v);
        sign = value >= 0 && d->plus ? "+" : value >= 0 && d->space ? " " : "";
        return snprintf(text, room, "%s%lld", sign, value);
    }
    if (strchr("xX", d->type)) {
        if (!ct_is_integer(v) || ct_integer(v) < 0)
            return ct_fail(r, "%%%c needs an integer that is not negative", d->type);
        return snprintf(text, room, d->type == 'x' ? "%llx" : "%llX", (long long)ct_integer(v));
    }
    sign = !signbit(ct_number(v)) && d->plus ? "+" : !signbit(ct_number(v)) && d->space ? " " : "";
    int size = snprintf(text, room, "%s", sign);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size += snprintf(text + size, room - (size_t)size, format, d->precision < 0 ? 6 : d->precision, ct_number(v));
#pragma GCC diagnostic pop
    return size;
}

static int append_padded(struct ct_run *r, const struct directive *d, struct ct_text t, bool number,
                         struct rlhf_bytes *out)
{
    size_t chars = ct_count_chars(t), pad = d->width > 0 && (size_t)d->width > chars ? (size_t)d->width - chars : 0;
    bool zero = number && d->zero && !d->left;
    size_t sign = zero && t.size && strchr("+- ", t.data[0]) ? 1 : 0;
    int result = ct_append(r, out, t.data, sign);

    for (size_t i = 0; result == 0 && !d->left && i < pad; i++)
        result = ct_append(r, out, zero ? "0" : " ", 1);
    if (result == 0)
        result = ct_append(r, out, t.data + sign, t.size - sign);
    for (size_t i = 0; result == 0 && d->left && i < pad; i++)
        result = ct_append(r, out, " ", 1);
    return result;
}

static int append_directive(struct ct_run *r, const struct directive *d, struct ct_value v, struct rlhf_bytes *out)
{
    char number[1600];
    struct ct_text text;
    struct rlhf_bytes repr = { 0 };
    struct ct_value made;
    int size;

    if (d->type == 's' || d->type == 'r') {
        if (d->type == 's' ? ct_str(r, v, &text) < 0 : ct_append_repr(r, v, 0, &repr) < 0) {
            rlhf_bytes_free(&repr);
            return -1;
        }
        if (d->type == 'r') {
            if (ct_take(r, &repr, &made) < 0)
                return -1;
            text = made.text;
        }
        if (d->precision >= 0)
            text.size = ct_char_offset(text, (size_t)d->precision);
        return append_padded(r, d, text, false, out);
    }
    if ((size = number_text(r, d, v, number, sizeof(number))) < 0)
        return -1;
    return append_padded(r, d, (struct ct_text){ number, (size_t)size }, true, out);
}

static int format_all(struct ct_run *r, struct ct_text format, struct ct_value values, struct rlhf_bytes *out)
{
    /* What can be subscripted Python takes for a mapping, of which not every value need be used. */
    bool subscripted = values.type == CT_DICT || values.type == CT_LIST || values.type == CT_RANGE || values.type == CT_UNDEFINED;
    size_t used = 0;

    for (size_t at = 0; at < format.size;) {
        const char *percent = memchr(format.data + at, '%', format.size - at);
        size_t to = percent ? (size_t)(percent - format.data) : format.size;
        struct directive d;
        struct ct_value v = values;

        if (ct_append(r, out, format.data + at, to - at) < 0)
            return -1;
        if (!percent)
            break;
        at = to + 1;
        if (read_directive(r, format, &at, &d) < 0)
            return -1;
        if (d.type == '%') {
            if (ct_append(r, out, "%", 1) < 0)
                return -1;
            continue;
        }
        if (d.key.data) {
            const struct ct_value *found = values.type == CT_DICT ? ct_dict_get(r, values.dict, ct_string(d.key)) : NULL;

            if (!found)
                return ct_fail(r, "%%(%.*s)%c has no value", d.key.size > 60 ? 60 : (int)d.key.size, d.key.data, d.type);
            v = *found;
        } else {
            if (used >= (values.type == CT_TUPLE ? values.list->count : 1))
                return ct_fail(r, "not enough arguments for format string");
            if (values.type == CT_TUPLE)
                v = values.list->item[used];
            used++;
        }
        if (append_directive(r, &d, v, out) < 0)
            return -1;
    }
    if (!subscripted && used < (values.type == CT_TUPLE ? values.list->count : 1))
        return ct_fail(r, "not all arguments converted during string formatting");
    return 0;
}

int ct_percent(struct ct_run *r, struct ct_text format, struct ct_value values, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 };

    if (format_all(r, format, values, &text) < 0) {
        rlhf_bytes_free(&text);
        return -1;
    }
    return ct_take(r, &text, out);
}
