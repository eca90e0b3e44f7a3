/* What can stand behind |. Definitions: jinja2's documentation of its built-in filters; tojson: transformers'. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/parts.h"

static bool given(struct ct_value v)
{
    return v.type != CT_MISSING && v.type != CT_NONE;
}

static bool flag(struct ct_value v, bool fallback)
{
    return v.type == CT_MISSING ? fallback : ct_truth(v);
}

/* ---- text ------------------------------------------------------------------------------------------ */

static int change_case(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text;

    return ct_str(r, c->self, &text) < 0 ? -1 : ct_change_case(r, text, (enum ct_case)c->tag, out);
}

/* jinja2's own: a word begins behind white space and - ( { [ <, at nothing else. */
static int title(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes all = { 0 };
    struct ct_text text;
    int result = ct_str(r, c->self, &text);
    size_t start = 0, at = 0, n = 0;

    while (result == 0 && at < text.size) {
        struct ct_value word;

        for (at = start; at < text.size; at += n) {
            uint32_t ch = rlhf_char(text.data + at, &n);

            if (rlhf_is_space(ch) || (ch < 0x80 && ch && strchr("-({[<", (int)ch)))
                break;
        }
        result = ct_change_case(r, (struct ct_text){ text.data + start, at - start }, CT_CAPITALIZE, &word);
        if (result == 0)
            result = ct_append_str(r, word, &all);
        if (result == 0 && at < text.size)
            result = ct_append(r, &all, text.data + at, n);
        start = at += at < text.size ? n : 0;
    }
    return result < 0 ? (rlhf_bytes_free(&all), -1) : ct_take(r, &all, out);
}

static int trim(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text, chars;

    if (ct_str(r, c->self, &text) < 0 || (given(c->arg[0]) && ct_str(r, c->arg[0], &chars) < 0))
        return -1;
    *out = ct_string(ct_strip(text, given(c->arg[0]) ? &chars : NULL, true, true));
    return 0;
}

static int string(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text;

    if (ct_str(r, c->self, &text) < 0)
        return -1;
    *out = ct_string(text);
    return 0;
}

static int replace(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text;
    struct ct_argument items[] = { { { 0 }, c->arg[0] }, { { 0 }, c->arg[1] }, { { 0 }, c->arg[2] } };
    struct ct_arguments arguments = { items, given(c->arg[2]) ? 3 : 2 };

    for (size_t i = 0; i < 2; i++) {
        if (ct_str(r, items[i].value, &text) < 0)
            return -1;
        items[i].value = ct_string(text);
    }
    if (ct_str(r, c->self, &text) < 0)
        return -1;
    return ct_apply(r, ct_method_of(CT_TEXT_VALUE, CT_TEXT("replace")), ct_string(text), &arguments, out);
}

static int indent(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes all = { 0 };
    struct ct_value lines, width = c->arg[0].type == CT_MISSING ? ct_int(4) : c->arg[0];
    struct ct_text text, margin;
    char spaces[256];
    int result;

    if (c->self.type != CT_TEXT_VALUE)
        return ct_defined(r, c->self) < 0 ? -1 : ct_fail(r, "indent: a str is expected, not a %s", ct_type_name(c->self));
    text = c->self.text;
    if (width.type == CT_TEXT_VALUE)
        margin = width.text;
    else if (ct_is_integer(width) && ct_integer(width) <= (int64_t)sizeof(spaces)) {
        margin = (struct ct_text){ spaces, ct_integer(width) < 0 ? 0 : (size_t)ct_integer(width) };
        memset(spaces, ' ', sizeof(spaces));
    } else
        return ct_fail(r, "indent: the width is neither a string nor an integer up to %zu", sizeof(spaces));
    if (ct_apply(r, ct_method_of(CT_TEXT_VALUE, CT_TEXT("splitlines")), ct_string(text), &(struct ct_arguments){ 0 },
                 &lines) < 0)
        return -1;
    if (lines.list->count == 0 || (text.size && text.data[text.size - 1] == '\n')) { /* the last line is empty */
        struct ct_value more;

        if (ct_list_new(r, CT_LIST, lines.list->count + 1, &more) < 0)
            return -1;
        if (lines.list->count)
            memcpy(more.list->item, lines.list->item, lines.list->count * sizeof(more));
        more.list->item[lines.list->count] = ct_string(CT_TEXT(""));
        lines = more;
    }
    bool first = flag(c->arg[1], false), blank = flag(c->arg[2], false);
    result = 0;
    for (size_t i = 0; result == 0 && i < lines.list->count; i++) {
        struct ct_text line = lines.list->item[i].text;

        if (i > 0)
            result = ct_append(r, &all, "\n", 1);
        if (result == 0 && (i == 0 ? first : blank || line.size))
            result = ct_append(r, &all, margin.data, margin.size);
        if (result == 0)
            result = ct_append(r, &all, line.data, line.size);
    }
    return result < 0 ? (rlhf_bytes_free(&all), -1) : ct_take(r, &all, out);
}

static int tojson(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 };
    struct ct_value indent = c->arg[1], separators = c->arg[2];
    struct ct_json_style style = { .ensure_ascii = flag(c->arg[0], false), .sort_keys = flag(c->arg[3], false),
                                   .pretty = given(indent), .item_separator = given(indent) ? CT_TEXT(",") : CT_TEXT(", "),
                                   .key_separator = CT_TEXT(": ") };
    char spaces[64];

    memset(spaces, ' ', sizeof(spaces));
    if (indent.type == CT_TEXT_VALUE)
        style.indent = indent.text;
    else if (style.pretty) {
        if (!ct_is_integer(indent) || ct_integer(indent) > (int64_t)sizeof(spaces))
            return ct_fail(r, "tojson: the indent is neither a string nor an integer up to %zu", sizeof(spaces));
        style.indent = (struct ct_text){ spaces, ct_integer(indent) < 0 ? 0 : (size_t)ct_integer(indent) };
    }
    if (given(separators)) {
        if (!ct_is_sequence(separators) || separators.list->count != 2 ||
            separators.list->item[0].type != CT_TEXT_VALUE || separators.list->item[1].type != CT_TEXT_VALUE)
            return ct_fail(r, "tojson: the separators are no pair of strings");
        style.item_separator = separators.list->item[0].text;
        style.key_separator = separators.list->item[1].text;
    }
    return ct_append_json(r, c->self, &style, 0, &text) < 0 ? (rlhf_bytes_free(&text), -1) : ct_take(r, &text, out);
}

static int format(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value values;
    struct ct_text text;
    size_t count = c->given.count;

    if (ct_str(r, c->self, &text) < 0)
        return -1;
    if (count && c->given.item[count - 1].name.data) {
        if (ct_dict_new(r, CT_DICT, count, &values) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            if (!c->given.item[i].name.data)
                return ct_fail(r, "format: can't handle positional and keyword arguments at the same time");
            else if (ct_dict_put(r, values.dict, ct_string(c->given.item[i].name), c->given.item[i].value) < 0)
                return -1;
    } else {
        if (ct_list_new(r, CT_TUPLE, count, &values) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            values.list->item[i] = c->given.item[i].value;
    }
    return ct_percent(r, text, values, out);
}

/* ---- numbers --------------------------------------------------------------------------------------- */

/* A number as Python's int() or float() reads it from text; false where it is none. */
static bool read_number(struct ct_text t, bool real, int base, struct ct_value *out)
{
    char digits[64], *end;
    size_t size = 0;

    t = ct_strip(t, NULL, true, true);
    for (size_t i = 0; i < t.size; i++) {
        bool between = i > 0 && i + 1 < t.size && t.data[i - 1] != '_' && t.data[i + 1] != '_';

        if (t.data[i] == '_' ? !between : size + 1 >= sizeof(digits) || !t.data[i])
            return false;
        if (t.data[i] != '_')
            digits[size++] = t.data[i];
    }
    digits[size] = '\0';
    if (!size || (real && strpbrk(digits, "xX(")))
        return false;
    errno = 0;
    *out = real ? ct_real(strtod(digits, &end)) : ct_int(strtoll(digits, &end, base));
    return !*end && (real || !errno);
}

static int truncated(struct ct_run *r, double x, struct ct_value *out)
{
    if (!(fabs(x) < 9.2e18))
        return ct_fail(r, "integers beyond 64 bits are not supported");
    *out = ct_int((int64_t)x);
    return 0;
}

static int to_int(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value v = c->self, fallback = c->arg[0].type == CT_MISSING ? ct_int(0) : c->arg[0], real;
    int64_t base = c->arg[1].type == CT_INT ? c->arg[1].integer : 10;

    if (ct_is_integer(v))
        *out = ct_int(ct_integer(v));
    else if (v.type == CT_REAL)
        return isfinite(v.real) ? truncated(r, v.real, out) : (*out = fallback, 0);
    else if (v.type == CT_TEXT_VALUE && base >= 2 && base <= 36 && read_number(v.text, false, (int)base, out))
        return 0;
    else if (v.type == CT_TEXT_VALUE && read_number(v.text, true, 0, &real) && isfinite(real.real))
        return truncated(r, real.real, out);
    else if (ct_defined(r, v) < 0)
        return -1;
    else
        *out = fallback;
    return 0;
}

static int to_float(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    if (ct_defined(r, c->self) < 0)
        return -1;
    if (ct_is_number(c->self))
        *out = ct_real(ct_number(c->self));
    else if (c->self.type != CT_TEXT_VALUE || !read_number(c->self.text, true, 0, out))
        *out = c->arg[0].type == CT_MISSING ? ct_real(0) : c->arg[0];
    return 0;
}

static int absolute(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    if (!ct_is_number(c->self))
        return ct_defined(r, c->self) < 0 ? -1 : ct_fail(r, "bad operand type for abs(): '%s'", ct_type_name(c->self));
    if (c->self.type == CT_REAL)
        *out = ct_real(fabs(c->self.real));
    else if (ct_integer(c->self) == INT64_MIN)
        return ct_fail(r, "integers beyond 64 bits are not supported");
    else
        *out = ct_int(ct_integer(c->self) < 0 ? -ct_integer(c->self) : ct_integer(c->self));
    return 0;
}

static int round_number(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value method = c->arg[1].type == CT_MISSING ? ct_string(CT_TEXT("common")) : c->arg[1];
    int64_t places = ct_is_integer(c->arg[0]) ? ct_integer(c->arg[0]) : 0;
    char digits[400];

    if (!ct_is_number(c->self))
        return ct_defined(r, c->self) < 0 ? -1 : ct_fail(r, "round: '%s' is no number", ct_type_name(c->self));
    if (places < 0 || places > 60)
        return ct_fail(r, "round: a precision of %lld is not supported", (long long)places);
    if (method.type == CT_TEXT_VALUE && ct_text_is(method.text, "common")) {
        if (ct_is_integer(c->self)) {
            *out = ct_int(ct_integer(c->self));
            return 0;
        }
        snprintf(digits, sizeof(digits), "%.*f", (int)places, c->self.real);
        *out = ct_real(strtod(digits, NULL));
        return 0;
    }
    bool up = method.type == CT_TEXT_VALUE && ct_text_is(method.text, "ceil");
    if (!up && !(method.type == CT_TEXT_VALUE && ct_text_is(method.text, "floor")))
        return ct_fail(r, "round: the method must be common, ceil or floor");
    double scale = pow(10, (double)places), scaled = ct_number(c->self) * scale;
    *out = ct_real((up ? ceil(scaled) : floor(scaled)) / scale);
    return 0;
}

/* ---- parts of items -------------------------------------------------------------------------------- */

/* "a.b.0" of an item, or item[3] for an integer. */
static int part_of(struct ct_run *r, struct ct_value item, struct ct_value attribute, struct ct_value *out)
{
    struct ct_text path;

    if (attribute.type != CT_TEXT_VALUE)
        return ct_item(r, item, attribute, out);
    path = attribute.text;
    for (bool more = true; more;) {
        const char *dot = memchr(path.data, '.', path.size);
        struct ct_text name = { path.data, dot ? (size_t)(dot - path.data) : path.size };
        struct ct_value key = ct_string(name);

        if (name.size && name.size < 10 && strspn(name.data, "0123456789") >= name.size)
            key = ct_int(strtol(name.data, NULL, 10));
        if (ct_item(r, item, key, &item) < 0)
            return -1;
        more = dot != NULL;
        path = (struct ct_text){ name.data + name.size + 1, path.size - name.size - more };
    }
    *out = item;
    return 0;
}

/* What items are compared by: their attribute, lower case unless case counts. */
static int sort_key(struct ct_run *r, struct ct_value item, struct ct_value attribute, bool case_sensitive,
                    struct ct_value *out)
{
    if (given(attribute) && part_of(r, item, attribute, &item) < 0)
        return -1;
    *out = item;
    return item.type == CT_TEXT_VALUE && !case_sensitive ? ct_change_case(r, item.text, CT_LOWER, out) : 0;
}

struct keyed {
    struct ct_value key, item;
};

/* Merge sort, stable in both directions. */
static int sort_keyed(struct ct_run *r, struct keyed *items, struct keyed *spare, size_t count, bool reverse)
{
    size_t half = count / 2, left = 0, right = half;
    int order;

    if (count < 2)
        return 0;
    if (sort_keyed(r, items, spare, half, reverse) < 0 ||
        sort_keyed(r, items + half, spare + half, count - half, reverse) < 0)
        return -1;
    memcpy(spare, items, count * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        bool take_left = right == count;

        if (left < half && right < count) {
            if (ct_order(r, spare[left].key, spare[right].key, &order) < 0)
                return -1;
            take_left = reverse ? order >= 0 : order <= 0;
        }
        items[i] = spare[take_left ? left++ : right++];
    }
    return 0;
}

static int sort_values(struct ct_run *r, const struct ct_value *item, size_t count, struct ct_value attribute,
                       bool case_sensitive, bool reverse, struct ct_value *out)
{
    struct keyed *keyed = ct_get(r, count, sizeof(*keyed)), *spare = ct_get(r, count, sizeof(*spare));

    if (!keyed || !spare || ct_list_new(r, CT_LIST, count, out) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        keyed[i].item = item[i];
        if (sort_key(r, item[i], attribute, case_sensitive, &keyed[i].key) < 0)
            return -1;
    }
    if (sort_keyed(r, keyed, spare, count, reverse) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        out->list->item[i] = keyed[i].item;
    return 0;
}

static int sort(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    const struct ct_value *item;
    size_t count;

    if (c->arg[2].type == CT_TEXT_VALUE && memchr(c->arg[2].text.data, ',', c->arg[2].text.size))
        return ct_fail(r, "sort by several attributes is not supported");
    return ct_items(r, c->self, &item, &count) < 0
               ? -1
               : sort_values(r, item, count, c->arg[2], flag(c->arg[1], false), flag(c->arg[0], false), out);
}

/* The pairs of a dict as tuples. */
static int pairs_of(struct ct_run *r, const struct ct_dict *d, enum ct_type type, struct ct_value *out)
{
    if (ct_list_new(r, type, d->count, out) < 0)
        return -1;
    for (size_t i = 0; i < d->count; i++) {
        if (ct_list_new(r, CT_TUPLE, 2, &out->list->item[i]) < 0)
            return -1;
        out->list->item[i].list->item[0] = d->pair[i].key;
        out->list->item[i].list->item[1] = d->pair[i].value;
    }
    return 0;
}

static int dictsort(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    bool by_value = c->arg[1].type == CT_TEXT_VALUE && ct_text_is(c->arg[1].text, "value");
    struct ct_value pairs;

    if (c->self.type != CT_DICT)
        return ct_defined(r, c->self) < 0 ? -1 : ct_fail(r, "dictsort of a %s", ct_type_name(c->self));
    if (given(c->arg[1]) && !by_value && !(c->arg[1].type == CT_TEXT_VALUE && ct_text_is(c->arg[1].text, "key")))
        return ct_fail(r, "dictsort: by must be key or value");
    return pairs_of(r, c->self.dict, CT_LIST, &pairs) < 0
               ? -1
               : sort_values(r, pairs.list->item, pairs.list->count, ct_int(by_value), flag(c->arg[0], false),
                             flag(c->arg[2], false), out);
}

static int items(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    if (c->self.type == CT_UNDEFINED)
        return ct_list_new(r, CT_GENERATOR, 0, out);
    if (c->self.type != CT_DICT)
        return ct_fail(r, "Can only get item pairs from a mapping.");
    return pairs_of(r, c->self.dict, CT_GENERATOR, out);
}

/* ---- lists ----------------------------------------------------------------------------------------- */

static int length(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    size_t n;

    if (ct_length(r, c->self, &n) < 0)
        return -1;
    *out = ct_int((int64_t)n);
    return 0;
}

static int first_or_last(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value v = c->self;
    bool last = c->tag;
    const struct ct_value *item;
    size_t count;

    if (!last && v.type == CT_GENERATOR && v.list->done < v.list->count) {
        *out = v.list->item[v.list->done++];
        return 0;
    }
    if (last && v.type == CT_GENERATOR)
        return ct_fail(r, "'generator' object is not reversible");
    if (ct_items(r, v, &item, &count) < 0)
        return -1;
    if (count == 0)
        return ct_undefined(r, out, "No %s item, sequence was empty.", last ? "last" : "first");
    *out = item[last ? count - 1 : 0];
    return 0;
}

static int copy_items(struct ct_run *r, struct ct_value v, enum ct_type type, struct ct_value *out)
{
    const struct ct_value *item;
    size_t count;

    if (ct_items(r, v, &item, &count) < 0 || ct_list_new(r, type, count, out) < 0)
        return -1;
    if (count)
        memcpy(out->list->item, item, count * sizeof(*item));
    return 0;
}

static int list(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    return copy_items(r, c->self, CT_LIST, out);
}

static int reverse(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 };
    const struct ct_value *item;
    size_t count;
    int result = 0;

    if (c->self.type != CT_TEXT_VALUE) {
        if (copy_items(r, c->self, CT_GENERATOR, out) < 0)
            return -1;
        for (size_t i = 0, k = out->list->count; i + 1 < k; i++) {
            struct ct_value swap = out->list->item[i];

            out->list->item[i] = out->list->item[--k];
            out->list->item[k] = swap;
        }
        return 0;
    }
    if (ct_items(r, c->self, &item, &count) < 0)
        return -1;
    while (result == 0 && count-- > 0)
        result = ct_append_str(r, item[count], &text);
    return result < 0 ? (rlhf_bytes_free(&text), -1) : ct_take(r, &text, out);
}

static int join(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 };
    const struct ct_value *item;
    struct ct_text between = { 0 };
    size_t count;
    int result;

    if (ct_items(r, c->self, &item, &count) < 0 || (c->arg[0].type != CT_MISSING && ct_str(r, c->arg[0], &between) < 0))
        return -1;
    result = 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        struct ct_value part = item[i];

        if (given(c->arg[1]))
            result = part_of(r, item[i], c->arg[1], &part);
        if (result == 0 && i)
            result = ct_append(r, &text, between.data, between.size);
        if (result == 0)
            result = ct_append_str(r, part, &text);
    }
    return result < 0 ? (rlhf_bytes_free(&text), -1) : ct_take(r, &text, out);
}

static int unique(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    const struct ct_value *item;
    struct ct_value seen, key;
    size_t count;

    if (ct_items(r, c->self, &item, &count) < 0 || ct_list_new(r, CT_GENERATOR, count, out) < 0 ||
        ct_dict_new(r, CT_DICT, 0, &seen) < 0)
        return -1;
    out->list->count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t before = seen.dict->count;

        if (sort_key(r, item[i], c->arg[1], flag(c->arg[0], false), &key) < 0 ||
            ct_dict_put(r, seen.dict, key, ct_none()) < 0)
            return -1;
        if (seen.dict->count > before)
            out->list->item[out->list->count++] = item[i];
    }
    return 0;
}

/* tag: -1 for the least, 1 for the greatest. */
static int extreme(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    const struct ct_value *item;
    struct ct_value best = ct_none(), key;
    size_t count;

    if (ct_items(r, c->self, &item, &count) < 0)
        return -1;
    if (count == 0)
        return ct_undefined(r, out, "No aggregated item, sequence was empty.");
    for (size_t i = 0; i < count; i++) {
        int order = -1;

        if (sort_key(r, item[i], c->arg[1], flag(c->arg[0], false), &key) < 0 ||
            (i && ct_order(r, key, best, &order) < 0))
            return -1;
        if (i == 0 || order * c->tag > 0) {
            best = key;
            *out = item[i];
        }
    }
    return 0;
}

static int sum(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    const struct ct_value *item;
    size_t count;

    *out = c->arg[1].type == CT_MISSING ? ct_int(0) : c->arg[1];
    if (ct_items(r, c->self, &item, &count) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct ct_value part = item[i];

        if ((given(c->arg[0]) && part_of(r, item[i], c->arg[0], &part) < 0) || ct_add(r, *out, part, out) < 0)
            return -1;
    }
    return 0;
}

/* ---- filters and tests on every item --------------------------------------------------------------- */

/* The filter or test that the first of the remaining arguments names; NULL and an error. */
static const struct ct_native *named(struct ct_run *r, struct ct_value name, bool test)
{
    const struct ct_native *n = NULL;

    if (name.type != CT_TEXT_VALUE)
        ct_fail(r, "the name of a %s is expected, not a %s", test ? "test" : "filter", ct_type_name(name));
    else if (!(n = test ? ct_test(name.text) : ct_filter(name.text)))
        ct_fail(r, "the %s '%.*s' is not supported", test ? "test" : "filter",
                name.text.size > 60 ? 60 : (int)name.text.size, name.text.data);
    return n;
}

static struct ct_value argument(const struct ct_arguments *a, const char *name)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->item[i].name.data && ct_text_is(a->item[i].name, name))
            return a->item[i].value;
    return (struct ct_value){ .type = CT_MISSING };
}

static int map(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value attribute = argument(&c->given, "attribute"), fallback = argument(&c->given, "default");
    bool by_attribute = c->given.count && c->given.item[0].name.data;
    const struct ct_native *filter = NULL;
    struct ct_arguments rest = { 0 };

    if (!ct_truth(c->self)) /* none and 0, too; what else is given is not looked at */
        return ct_list_new(r, CT_GENERATOR, 0, out);
    if (by_attribute && (!given(attribute) || c->given.count > (size_t)1 + (fallback.type != CT_MISSING)))
        return ct_fail(r, "map: only attribute and default can be given by name");
    if (!by_attribute && c->given.count == 0)
        return ct_fail(r, "map requires a filter argument");
    if (!by_attribute)
        rest = (struct ct_arguments){ c->given.item + 1, c->given.count - 1 };
    if ((!by_attribute && !(filter = named(r, c->given.item[0].value, false))) ||
        copy_items(r, c->self, CT_GENERATOR, out) < 0)
        return -1;
    for (size_t i = 0; i < out->list->count; i++) {
        struct ct_value item = out->list->item[i], *to = &out->list->item[i];

        if ((filter ? ct_apply(r, filter, item, &rest, to) : part_of(r, item, attribute, to)) < 0)
            return -1;
        if (to->type == CT_UNDEFINED && fallback.type != CT_MISSING)
            *to = fallback;
    }
    return 0;
}

enum { KEEP = 1, BY_ATTRIBUTE = 2 };

/* Keeps the items (or those whose attribute) that pass the test, or that do not. */
static int choose(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    bool by_attribute = c->tag & BY_ATTRIBUTE, keep = c->tag & KEEP;
    const struct ct_value *item;
    const struct ct_native *test = NULL;
    struct ct_arguments rest = c->given;
    struct ct_value attribute = ct_none();
    size_t count;

    if (!ct_truth(c->self)) /* as in map() */
        return ct_list_new(r, CT_GENERATOR, 0, out);
    if (by_attribute) {
        if (rest.count == 0)
            return ct_fail(r, "Missing parameter for attribute name");
        attribute = rest.item[0].value;
        rest = (struct ct_arguments){ rest.item + 1, rest.count - 1 };
    }
    if (rest.count) {
        if (!(test = named(r, rest.item[0].value, true)))
            return -1;
        rest = (struct ct_arguments){ rest.item + 1, rest.count - 1 };
    }
    if (ct_items(r, c->self, &item, &count) < 0 || ct_list_new(r, CT_GENERATOR, count, out) < 0)
        return -1;
    out->list->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct ct_value v = item[i];

        if ((by_attribute && part_of(r, item[i], attribute, &v) < 0) || (test && ct_apply(r, test, v, &rest, &v) < 0))
            return -1;
        if (ct_truth(v) == keep)
            out->list->item[out->list->count++] = item[i];
    }
    return 0;
}

/* ---- the rest -------------------------------------------------------------------------------------- */

static int fall_back(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    bool use = c->self.type == CT_UNDEFINED || (flag(c->arg[1], false) && !ct_truth(c->self));

    (void)r;
    *out = !use ? c->self : c->arg[0].type == CT_MISSING ? ct_string(CT_TEXT("")) : c->arg[0];
    return 0;
}

static int attribute_of(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text name;

    return ct_str(r, c->arg[0], &name) < 0 ? -1 : ct_attribute(r, c->self, name, out);
}

static const struct ct_native filters[] = {
    { "abs", "", absolute, 0 },
    { "attr", "name", attribute_of, 0 },
    { "capitalize", "", change_case, CT_CAPITALIZE },
    { "count", "", length, 0 },
    { "d", "default_value? boolean?", fall_back, 0 },
    { "default", "default_value? boolean?", fall_back, 0 },
    { "dictsort", "case_sensitive? by? reverse?", dictsort, 0 },
    { "first", "", first_or_last, 0 },
    { "float", "default?", to_float, 0 },
    { "format", NULL, format, 0 },
    { "indent", "width? first? blank?", indent, 0 },
    { "int", "default? base?", to_int, 0 },
    { "items", "", items, 0 },
    { "join", "d? attribute?", join, 0 },
    { "last", "", first_or_last, 1 },
    { "length", "", length, 0 },
    { "list", "", list, 0 },
    { "lower", "", change_case, CT_LOWER },
    { "map", NULL, map, 0 },
    { "max", "case_sensitive? attribute?", extreme, 1 },
    { "min", "case_sensitive? attribute?", extreme, -1 },
    { "reject", NULL, choose, 0 },
    { "rejectattr", NULL, choose, BY_ATTRIBUTE },
    { "replace", "old new count?", replace, 0 },
    { "reverse", "", reverse, 0 },
    { "round", "precision? method?", round_number, 0 },
    { "safe", "", string, 0 },
    { "select", NULL, choose, KEEP },
    { "selectattr", NULL, choose, KEEP | BY_ATTRIBUTE },
    { "sort", "reverse? case_sensitive? attribute?", sort, 0 },
    { "string", "", string, 0 },
    { "sum", "attribute? start?", sum, 0 },
    { "title", "", title, 0 },
    { "tojson", "ensure_ascii? indent? separators? sort_keys?", tojson, 0 },
    { "trim", "chars?", trim, 0 },
    { "unique", "case_sensitive? attribute?", unique, 0 },
    { "upper", "", change_case, CT_UPPER },
};

const struct ct_native *ct_filter(struct ct_text name)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++)
        if (ct_text_is(name, filters[i].name))
            return &filters[i];
    return NULL;
}
