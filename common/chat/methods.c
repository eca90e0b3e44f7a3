/* What can be called behind a dot: the methods of Python's str, dict, list and tuple that change nothing, and loop's. */
#include <string.h>
#include <utf8proc.h>

#include "chat/parts.h"

static int text_argument(struct ct_run *r, const struct ct_call *c, size_t index, struct ct_text *out)
{
    struct ct_value v = c->arg[index];

    if (v.type != CT_TEXT_VALUE)
        return ct_defined(r, v) < 0 ? -1 : ct_fail(r, "a str is expected as argument %zu, not a %s", index + 1, ct_type_name(v));
    *out = v.text;
    return 0;
}

static int integer_argument(struct ct_run *r, const struct ct_call *c, size_t index, int64_t fallback, int64_t *out)
{
    struct ct_value v = c->arg[index];

    if (v.type != CT_MISSING && v.type != CT_NONE && !ct_is_integer(v))
        return ct_defined(r, v) < 0 ? -1 : ct_fail(r, "an int is expected as argument %zu, not a %s", index + 1, ct_type_name(v));
    *out = ct_is_integer(v) ? ct_integer(v) : fallback;
    return 0;
}

static bool is_given(struct ct_value v)
{
    return v.type != CT_MISSING && v.type != CT_NONE;
}

/* ---- str ------------------------------------------------------------------------------------------- */

enum { LEFT = 1, RIGHT = 2 };

static int strip(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text chars;

    if (is_given(c->arg[0]) && text_argument(r, c, 0, &chars) < 0)
        return -1;
    *out = ct_string(ct_strip(c->self.text, is_given(c->arg[0]) ? &chars : NULL, c->tag & LEFT, c->tag & RIGHT));
    return 0;
}

static int change_case(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    return ct_change_case(r, c->self.text, (enum ct_case)c->tag, out);
}

static bool has_affix(struct ct_text t, struct ct_text affix, bool at_end)
{
    return t.size >= affix.size &&
           (affix.size == 0 || !memcmp(at_end ? t.data + t.size - affix.size : t.data, affix.data, affix.size));
}

/* text[start:end] as startswith(), find() and their like take it: false where start lies behind the end. */
static int part(struct ct_run *r, const struct ct_call *c, struct ct_text *out, int64_t *from, bool *empty)
{
    int64_t size = (int64_t)ct_count_chars(c->self.text), to;

    if (integer_argument(r, c, 1, 0, from) < 0 || integer_argument(r, c, 2, size, &to) < 0)
        return -1;
    *from += *from < 0 ? size : 0;
    *from = *from < 0 ? 0 : *from;
    to += to < 0 ? size : 0;
    to = to < 0 ? 0 : to > size ? size : to;
    *empty = *from > to;
    if (*empty)
        return 0;
    size_t start = ct_char_offset(c->self.text, (size_t)*from);
    *out = (struct ct_text){ c->self.text.data + start, ct_char_offset(c->self.text, (size_t)to) - start };
    return 0;
}

static int starts_or_ends(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text, affix;
    int64_t from;
    bool empty, found = false;

    if (part(r, c, &text, &from, &empty) < 0)
        return -1;
    if (c->arg[0].type == CT_TUPLE) {
        for (size_t i = 0; i < c->arg[0].list->count; i++) {
            struct ct_value v = c->arg[0].list->item[i];

            if (v.type != CT_TEXT_VALUE)
                return ct_fail(r, "the tuple must hold only str, not %s", ct_type_name(v));
            found |= !empty && has_affix(text, v.text, c->tag);
        }
    } else {
        if (text_argument(r, c, 0, &affix) < 0)
            return -1;
        found = !empty && has_affix(text, affix, c->tag);
    }
    *out = ct_bool(found);
    return 0;
}

static int remove_affix(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text affix, text = c->self.text;

    if (text_argument(r, c, 0, &affix) < 0)
        return -1;
    if (has_affix(text, affix, c->tag)) {
        text.size -= affix.size;
        text.data += c->tag ? 0 : affix.size;
    }
    *out = ct_string(text);
    return 0;
}

static const char *find_last(struct ct_text t, struct ct_text what)
{
    for (size_t at = t.size >= what.size ? t.size - what.size + 1 : 0; at-- > 0;)
        if (what.size == 0 || !memcmp(t.data + at, what.data, what.size))
            return t.data + at;
    return NULL;
}

enum { LAST = 1, MUST = 2 };

static int find(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text = { 0 }, what;
    const char *at = NULL;
    int64_t from;
    bool empty;

    if (text_argument(r, c, 0, &what) < 0 || part(r, c, &text, &from, &empty) < 0 || ct_charge(r, text.size / 16) < 0)
        return -1;
    if (!empty)
        at = c->tag & LAST ? find_last(text, what) : what.size ? memmem(text.data, text.size, what.data, what.size) : text.data;
    if (!at && c->tag & MUST)
        return ct_fail(r, "substring not found");
    *out = ct_int(at ? from + (int64_t)ct_count_chars((struct ct_text){ text.data, (size_t)(at - text.data) }) : -1);
    return 0;
}

static int count_in(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text = { 0 }, what;
    int64_t count = 0, from;
    bool empty;

    if (text_argument(r, c, 0, &what) < 0 || part(r, c, &text, &from, &empty) < 0 || ct_charge(r, text.size / 16) < 0)
        return -1;
    if (!empty && what.size == 0)
        count = (int64_t)ct_count_chars(text) + 1;
    for (const char *at; !empty && what.size && (at = memmem(text.data, text.size, what.data, what.size)); count++) {
        text.size -= (size_t)(at - text.data) + what.size;
        text.data = at + what.size;
    }
    *out = ct_int(count);
    return 0;
}

static int replace(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes all = { 0 };
    struct ct_text old, new, text = c->self.text;
    int64_t count;
    int result = 0;

    if (text_argument(r, c, 0, &old) < 0 || text_argument(r, c, 1, &new) < 0 || integer_argument(r, c, 2, -1, &count) < 0)
        return -1;
    while (result == 0 && count-- != 0) {
        const char *at = old.size ? memmem(text.data, text.size, old.data, old.size) : text.data;
        size_t step;

        if (!at || ct_charge(r, 1) < 0)
            break;
        /* An empty pattern stands before every character and at the end. */
        step = old.size ? (size_t)(at - text.data) : text.size ? rlhf_char_size(text.data) : 0;
        if (old.size)
            result = ct_append(r, &all, text.data, step) < 0 ? -1 : ct_append(r, &all, new.data, new.size);
        else
            result = ct_append(r, &all, new.data, new.size) < 0 ? -1 : ct_append(r, &all, text.data, step);
        bool at_end = text.size == 0;
        text.data += step + old.size;
        text.size -= step + old.size;
        if (at_end)
            break;
    }
    if (result == 0)
        result = ct_append(r, &all, text.data, text.size);
    return result < 0 ? (rlhf_bytes_free(&all), -1) : ct_take(r, &all, out);
}

/* A list of texts whose number is not known before. */
struct texts {
    struct ct_value list;
    size_t room;
};

static int push(struct ct_run *r, struct texts *t, struct ct_text text)
{
    struct ct_list *l = t->list.list;

    if (ct_charge(r, 1) < 0)
        return -1;
    if (l->count == t->room) {
        struct ct_value *larger = ct_get(r, 2 * t->room + 8, sizeof(*larger));

        if (!larger)
            return -1;
        if (l->count)
            memcpy(larger, l->item, l->count * sizeof(*larger));
        l->item = larger;
        t->room = 2 * t->room + 8;
    }
    l->item[l->count++] = ct_string(text);
    return 0;
}

static void turn_around(struct ct_list *l)
{
    for (size_t i = 0, k = l->count; i + 1 < k; i++) {
        struct ct_value swap = l->item[i];

        l->item[i] = l->item[--k];
        l->item[k] = swap;
    }
}

/* split() at white space: empty parts do not count. */
static int split_words(struct ct_run *r, struct ct_text text, int64_t limit, bool from_right, struct texts *t)
{
    for (;;) {
        struct ct_text word = text = ct_strip(text, NULL, !from_right, from_right);
        size_t at = 0, n;

        if (text.size == 0)
            return 0;
        if (limit-- == 0)
            return push(r, t, text);
        if (from_right) {
            size_t start = text.size;

            while (start > 0) {
                size_t before = start - 1;

                while (((uint8_t)text.data[before] & 0xc0) == 0x80)
                    before--;
                if (rlhf_is_space(rlhf_char(text.data + before, &n)))
                    break;
                start = before;
            }
            word = (struct ct_text){ text.data + start, text.size - start };
            text.size = start;
        } else {
            while (at < text.size && !rlhf_is_space(rlhf_char(text.data + at, &n)))
                at += n;
            word.size = at;
            text = (struct ct_text){ text.data + at, text.size - at };
        }
        if (push(r, t, word) < 0)
            return -1;
    }
}

static int split(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text by = { 0 }, text = c->self.text;
    struct texts t = { 0 };
    int64_t limit;
    const char *at;

    if (ct_list_new(r, CT_LIST, 0, &t.list) < 0 || integer_argument(r, c, 1, -1, &limit) < 0 ||
        ct_charge(r, text.size / 16) < 0)
        return -1;
    *out = t.list;
    if (!is_given(c->arg[0])) {
        if (split_words(r, text, limit, c->tag, &t) < 0)
            return -1;
    } else {
        if (text_argument(r, c, 0, &by) < 0)
            return -1;
        if (by.size == 0)
            return ct_fail(r, "empty separator");
        while (limit-- != 0 && (at = c->tag ? find_last(text, by) : memmem(text.data, text.size, by.data, by.size))) {
            size_t before = (size_t)(at - text.data), after = text.size - before - by.size;
            struct ct_text left = { text.data, before }, right = { at + by.size, after };

            if (push(r, &t, c->tag ? right : left) < 0)
                return -1;
            text = c->tag ? left : right;
        }
        if (push(r, &t, text) < 0)
            return -1;
    }
    if (c->tag)
        turn_around(out->list);
    return 0;
}

static bool ends_line(uint32_t c)
{
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static int split_lines(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    bool keep = c->arg[0].type != CT_MISSING && ct_truth(c->arg[0]);
    struct ct_text text = c->self.text;
    struct texts t = { 0 };
    size_t start = 0, n;

    if (ct_list_new(r, CT_LIST, 0, &t.list) < 0 || ct_charge(r, text.size / 16) < 0)
        return -1;
    *out = t.list;
    for (size_t at = 0; at < text.size;) {
        uint32_t ch = rlhf_char(text.data + at, &n);
        size_t end = at;

        at += n;
        if (!ends_line(ch))
            continue;
        at += ch == '\r' && at < text.size && text.data[at] == '\n';
        if (push(r, &t, (struct ct_text){ text.data + start, (keep ? at : end) - start }) < 0)
            return -1;
        start = at;
    }
    return start < text.size ? push(r, &t, (struct ct_text){ text.data + start, text.size - start }) : 0;
}

static int partition(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text by, text = c->self.text, parts[3] = { { "", 0 }, { "", 0 }, { "", 0 } };
    const char *at;

    if (text_argument(r, c, 0, &by) < 0 || ct_charge(r, text.size / 16) < 0)
        return -1;
    if (by.size == 0)
        return ct_fail(r, "empty separator");
    at = c->tag ? find_last(text, by) : memmem(text.data, text.size, by.data, by.size);
    if (at) {
        parts[0] = (struct ct_text){ text.data, (size_t)(at - text.data) };
        parts[1] = by;
        parts[2] = (struct ct_text){ at + by.size, text.size - parts[0].size - by.size };
    } else
        parts[c->tag ? 2 : 0] = text;
    if (ct_list_new(r, CT_TUPLE, 3, out) < 0)
        return -1;
    for (size_t i = 0; i < 3; i++)
        out->list->item[i] = ct_string(parts[i]);
    return 0;
}

static int join(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes all = { 0 };
    const struct ct_value *item;
    size_t count;
    int result = ct_items(r, c->arg[0], &item, &count);

    for (size_t i = 0; result == 0 && i < count; i++) {
        if (item[i].type != CT_TEXT_VALUE)
            result = ct_fail(r, "sequence item %zu: expected str instance, %s found", i, ct_type_name(item[i]));
        if (result == 0 && i)
            result = ct_append(r, &all, c->self.text.data, c->self.text.size);
        if (result == 0)
            result = ct_append_str(r, item[i], &all);
    }
    return result < 0 ? (rlhf_bytes_free(&all), -1) : ct_take(r, &all, out);
}

enum { ALPHA = 1, DECIMAL = 2, DIGIT = 4, NUMERIC = 8, SPACE = 16 };

static int classes_of(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    int classes = rlhf_is_space(c) ? SPACE : 0;

    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO)
        classes |= ALPHA;
    if (category == UTF8PROC_CATEGORY_ND)
        classes |= DECIMAL | DIGIT | NUMERIC;
    if (c == 0xb2 || c == 0xb3 || c == 0xb9 || (c >= 0x2070 && c <= 0x2089 && category == UTF8PROC_CATEGORY_NO))
        classes |= DIGIT;
    if (category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO)
        classes |= NUMERIC;
    return classes;
}

/* All characters have one of the classes, and there is one. */
static int is_all(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text = c->self.text;
    bool all = text.size > 0;

    for (size_t at = 0, n; all && at < text.size; at += n)
        all = classes_of(rlhf_char(text.data + at, &n)) & c->tag;
    *out = ct_bool(all);
    return ct_charge(r, text.size / 16);
}

static int is_cased(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text = c->self.text;
    bool any = false, all = true;

    for (size_t at = 0, n; all && at < text.size; at += n) {
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)rlhf_char(text.data + at, &n));
        bool upper = category == UTF8PROC_CATEGORY_LU, lower = category == UTF8PROC_CATEGORY_LL;

        any |= c->tag ? upper : lower;
        all = !(c->tag ? lower : upper) && category != UTF8PROC_CATEGORY_LT;
    }
    *out = ct_bool(any && all);
    return ct_charge(r, text.size / 16);
}

enum { ZEROS = 4 };

/* ljust, rjust, center and zfill: tag says on which side the padding goes. */
static int pad(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes all = { 0 };
    struct ct_text text = c->self.text, fill = CT_TEXT(" ");
    int64_t width, size = (int64_t)ct_count_chars(text), total, left;
    size_t sign = 0;
    int result = 0;

    if (integer_argument(r, c, 0, 0, &width) < 0 || (c->arg[1].type != CT_MISSING && text_argument(r, c, 1, &fill) < 0))
        return -1;
    if (ct_count_chars(fill) != 1 || width > CT_RANGE_LIMIT)
        return ct_fail(r, width > CT_RANGE_LIMIT ? "a width of more than %d" : "The fill character must be exactly one "
                                                                              "character long", CT_RANGE_LIMIT);
    total = width > size ? width - size : 0;
    left = c->tag & RIGHT ? (c->tag & LEFT ? total / 2 + (total & width & 1) : 0) : total;
    if (c->tag & ZEROS) {
        fill = CT_TEXT("0");
        sign = text.size && (text.data[0] == '+' || text.data[0] == '-');
    }
    result = ct_append(r, &all, text.data, sign);
    for (int64_t i = 0; result == 0 && i < left; i++)
        result = ct_append(r, &all, fill.data, fill.size);
    if (result == 0)
        result = ct_append(r, &all, text.data + sign, text.size - sign);
    for (int64_t i = left; result == 0 && i < total; i++)
        result = ct_append(r, &all, fill.data, fill.size);
    return result < 0 ? (rlhf_bytes_free(&all), -1) : ct_take(r, &all, out);
}

/* One {field} of str.format(): what stands between the braces. Attributes and formats are not supported. */
static int append_field(struct ct_run *r, const struct ct_call *c, struct ct_text field, size_t *next,
                        struct rlhf_bytes *out)
{
    struct ct_value value = { .type = CT_MISSING };

    if (field.size && strspn(field.data, "0123456789") >= field.size && field.size < 6) {
        *next = 0;
        for (size_t i = 0; i < field.size; i++)
            *next = *next * 10 + (size_t)(field.data[i] - '0');
        if (*next < c->given.count && !c->given.item[*next].name.data)
            value = c->given.item[*next].value;
    } else if (field.size == 0) {
        if (*next < c->given.count && !c->given.item[*next].name.data)
            value = c->given.item[*next].value;
        ++*next;
    } else
        for (size_t i = 0; i < c->given.count; i++)
            if (c->given.item[i].name.data && ct_text_equal(c->given.item[i].name, field))
                value = c->given.item[i].value;
    if (value.type == CT_MISSING)
        return ct_fail(r, "format(): the field {%.*s} has no value, or is of a kind that is not supported",
                       field.size > 60 ? 60 : (int)field.size, field.data);
    return ct_append_str(r, value, out);
}

static int format_all(struct ct_run *r, const struct ct_call *c, struct rlhf_bytes *out)
{
    struct ct_text text = c->self.text;
    size_t next = 0;

    for (size_t at = 0; at < text.size;) {
        size_t to = at;
        const char *end;

        while (to < text.size && text.data[to] != '{' && text.data[to] != '}')
            to++;
        if (ct_append(r, out, text.data + at, to - at) < 0)
            return -1;
        if (to == text.size)
            return 0;
        if (to + 1 < text.size && text.data[to + 1] == text.data[to]) { /* {{ or }} */
            if (ct_append(r, out, text.data + to, 1) < 0)
                return -1;
            at = to + 2;
            continue;
        }
        if (text.data[to] == '}' || !(end = memchr(text.data + to, '}', text.size - to)))
            return ct_fail(r, "format(): a single '%c'", text.data[to]);
        struct ct_text field = { text.data + to + 1, (size_t)(end - text.data) - to - 1 };
        if (append_field(r, c, field, &next, out) < 0)
            return -1;
        at = (size_t)(end - text.data) + 1;
    }
    return 0;
}

static int format(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct rlhf_bytes all = { 0 };

    return format_all(r, c, &all) < 0 ? (rlhf_bytes_free(&all), -1) : ct_take(r, &all, out);
}

/* ---- dict, list, tuple ----------------------------------------------------------------------------- */

static int get(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    const struct ct_value *found = ct_dict_get(r, c->self.dict, c->arg[0]);

    *out = found ? *found : c->arg[1].type == CT_MISSING ? ct_none() : c->arg[1];
    return ct_charge(r, 0);
}

enum { KEYS = 1, VALUES = 2 };

static int view(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    const struct ct_dict *d = c->self.dict;

    if (ct_list_new(r, CT_VIEW, d->count, out) < 0)
        return -1;
    out->list->name = c->tag == KEYS ? "dict_keys" : c->tag == VALUES ? "dict_values" : "dict_items";
    for (size_t i = 0; i < d->count; i++) {
        struct ct_value *item = &out->list->item[i];

        if (c->tag == KEYS || c->tag == VALUES)
            *item = c->tag == KEYS ? d->pair[i].key : d->pair[i].value;
        else {
            if (ct_list_new(r, CT_TUPLE, 2, item) < 0)
                return -1;
            item->list->item[0] = d->pair[i].key;
            item->list->item[1] = d->pair[i].value;
        }
    }
    return 0;
}

static int copy(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    (void)r;
    *out = c->self; /* nothing can change it */
    return 0;
}

static int index_or_count(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    int64_t count = 0;

    for (size_t i = 0; i < c->self.list->count; i++) {
        bool equal;

        if (ct_equal(r, c->self.list->item[i], c->arg[0], &equal) < 0)
            return -1;
        if (equal && !c->tag) {
            *out = ct_int((int64_t)i);
            return 0;
        }
        count += equal;
    }
    *out = ct_int(count);
    return c->tag ? 0 : ct_fail(r, "the value is not in the %s", ct_type_name(c->self));
}

/* ---- loop ------------------------------------------------------------------------------------------ */

static int cycle(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    if (c->given.count == 0)
        return ct_fail(r, "no items for cycling given");
    *out = c->given.item[c->self.loop->index % c->given.count].value;
    return 0;
}

static int changed(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value now;
    bool same = false;

    if (ct_list_new(r, CT_TUPLE, c->given.count, &now) < 0)
        return -1;
    for (size_t i = 0; i < c->given.count; i++)
        now.list->item[i] = c->given.item[i].value;
    if (c->self.loop->changed.type != CT_MISSING && ct_equal(r, now, c->self.loop->changed, &same) < 0)
        return -1;
    c->self.loop->changed = now;
    *out = ct_bool(!same);
    return 0;
}

static const struct ct_native text_methods[] = {
    { "strip", "chars?", strip, LEFT | RIGHT },
    { "lstrip", "chars?", strip, LEFT },
    { "rstrip", "chars?", strip, RIGHT },
    { "upper", "", change_case, CT_UPPER },
    { "lower", "", change_case, CT_LOWER },
    { "title", "", change_case, CT_TITLE },
    { "capitalize", "", change_case, CT_CAPITALIZE },
    { "swapcase", "", change_case, CT_SWAP },
    { "startswith", "prefix start? end?", starts_or_ends, 0 },
    { "endswith", "suffix start? end?", starts_or_ends, 1 },
    { "removeprefix", "prefix", remove_affix, 0 },
    { "removesuffix", "suffix", remove_affix, 1 },
    { "find", "sub start? end?", find, 0 },
    { "rfind", "sub start? end?", find, LAST },
    { "index", "sub start? end?", find, MUST },
    { "rindex", "sub start? end?", find, LAST | MUST },
    { "count", "sub start? end?", count_in, 0 },
    { "replace", "old new count?", replace, 0 },
    { "split", "sep? maxsplit?", split, 0 },
    { "rsplit", "sep? maxsplit?", split, 1 },
    { "splitlines", "keepends?", split_lines, 0 },
    { "partition", "sep", partition, 0 },
    { "rpartition", "sep", partition, 1 },
    { "join", "iterable", join, 0 },
    { "isalpha", "", is_all, ALPHA },
    { "isdecimal", "", is_all, DECIMAL },
    { "isdigit", "", is_all, DIGIT },
    { "isnumeric", "", is_all, NUMERIC | DIGIT },
    { "isalnum", "", is_all, ALPHA | NUMERIC | DIGIT },
    { "isspace", "", is_all, SPACE },
    { "isupper", "", is_cased, 1 },
    { "islower", "", is_cased, 0 },
    { "ljust", "width fillchar?", pad, RIGHT },
    { "rjust", "width fillchar?", pad, LEFT },
    { "center", "width fillchar?", pad, LEFT | RIGHT },
    { "zfill", "width", pad, LEFT | ZEROS },
    { "format", NULL, format, 0 },
    { NULL, NULL, NULL, 0 },
};
static const struct ct_native dict_methods[] = {
    { "get", "key default?", get, 0 }, { "keys", "", view, KEYS },  { "values", "", view, VALUES },
    { "items", "", view, 0 },          { "copy", "", copy, 0 },     { NULL, NULL, NULL, 0 },
};
static const struct ct_native list_methods[] = {
    { "index", "value", index_or_count, 0 },
    { "count", "value", index_or_count, 1 },
    { "copy", "", copy, 0 },
    { NULL, NULL, NULL, 0 },
};
static const struct ct_native loop_methods[] = {
    { "cycle", NULL, cycle, 0 },
    { "changed", NULL, changed, 0 },
    { NULL, NULL, NULL, 0 },
};

const struct ct_native *ct_method_of(enum ct_type type, struct ct_text name)
{
    const struct ct_native *m = type == CT_TEXT_VALUE                   ? text_methods
                                : type == CT_DICT                      ? dict_methods
                                : type == CT_LIST || type == CT_TUPLE ? list_methods
                                : type == CT_LOOP                      ? loop_methods
                                                                       : NULL;

    for (; m && m->name; m++)
        if (ct_text_is(name, m->name))
            return m;
    return NULL;
}

bool ct_method_is_unsafe(enum ct_type type, struct ct_text name)
{
    static const char *const of_dict[] = { "clear", "pop", "popitem", "setdefault", "update", NULL };
    static const char *const of_list[] = { "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort", NULL };
    const char *const *n = type == CT_DICT ? of_dict : type == CT_LIST ? of_list : NULL;

    for (; n && *n; n++)
        if (ct_text_is(name, *n))
            return true;
    return false;
}
