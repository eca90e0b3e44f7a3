#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chat/parts.h"

bool ct_text_is(struct ct_text t, const char *text)
{
    return strlen(text) == t.size && !memcmp(t.data, text, t.size);
}

bool ct_text_equal(struct ct_text a, struct ct_text b)
{
    return a.size == b.size && (a.size == 0 || !memcmp(a.data, b.data, a.size));
}

const char *ct_type_name(struct ct_value v)
{
    static const char *const names[] = {
        [CT_MISSING] = "nothing",   [CT_UNDEFINED] = "Undefined", [CT_NONE] = "NoneType",
        [CT_BOOL] = "bool",         [CT_INT] = "int",             [CT_REAL] = "float",
        [CT_TEXT_VALUE] = "str",    [CT_LIST] = "list",           [CT_TUPLE] = "tuple",
        [CT_VIEW] = "dict view",    [CT_GENERATOR] = "generator", [CT_RANGE] = "range",
        [CT_DICT] = "dict",         [CT_NAMESPACE] = "Namespace", [CT_MACRO] = "Macro",
        [CT_LOOP] = "LoopContext",  [CT_METHOD] = "method",       [CT_FUNCTION] = "function",
    };

    return v.type == CT_VIEW ? v.list->name : names[v.type];
}

bool ct_truth(struct ct_value v)
{
    switch (v.type) {
    case CT_MISSING:
    case CT_UNDEFINED:
    case CT_NONE:
        return false;
    case CT_BOOL:
        return v.truth;
    case CT_INT:
        return v.integer != 0;
    case CT_REAL:
        return v.real != 0;
    case CT_TEXT_VALUE:
        return v.text.size > 0;
    case CT_LIST:
    case CT_TUPLE:
    case CT_VIEW:
        return v.list->count > 0;
    case CT_RANGE:
        return v.range->count > 0;
    case CT_DICT:
        return v.dict->count > 0;
    default:
        return true;
    }
}

/* ---- making ---------------------------------------------------------------------------------------- */

void *ct_get(struct ct_run *r, size_t count, size_t size)
{
    void *p = rlhf_arena_get(r->arena, count ? count : 1, size);

    if (!p)
        ct_fail(r, "the values take more than %d MiB of memory", CT_MEMORY_LIMIT >> 20);
    return p;
}

int ct_copy(struct ct_run *r, const char *data, size_t size, struct ct_value *out)
{
    char *copy;

    if (size > CT_TEXT_LIMIT)
        return ct_fail(r, "a string is longer than %d MiB", CT_TEXT_LIMIT >> 20);
    if (!(copy = ct_get(r, size + 1, 1)))
        return -1;
    if (size)
        memcpy(copy, data, size);
    copy[size] = '\0';
    *out = ct_string((struct ct_text){ copy, size });
    return 0;
}

int ct_print(struct ct_run *r, struct ct_value *out, const char *fmt, ...)
{
    char text[400];
    va_list args;

    va_start(args, fmt);
    int size = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return ct_copy(r, text, (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1, out);
}

int ct_list_new(struct ct_run *r, enum ct_type type, size_t count, struct ct_value *out)
{
    struct ct_list *l;

    if (ct_charge(r, count) < 0 || !(l = ct_get(r, 1, sizeof(*l))))
        return -1;
    *l = (struct ct_list){ .count = count };
    if (!(l->item = ct_get(r, count, sizeof(*l->item))))
        return -1;
    *out = (struct ct_value){ .type = type, .list = l };
    return 0;
}

int ct_dict_new(struct ct_run *r, enum ct_type type, size_t room, struct ct_value *out)
{
    struct ct_dict *d = ct_get(r, 1, sizeof(*d));

    if (!d)
        return -1;
    *d = (struct ct_dict){ .room = room };
    if (room && !(d->pair = ct_get(r, room, sizeof(*d->pair))))
        return -1;
    *out = (struct ct_value){ .type = type, .dict = d };
    return 0;
}

/* Its callers check for an exhausted budget, which looks like absence here. */
static struct ct_value *find(struct ct_run *r, const struct ct_dict *d, struct ct_value key)
{
    bool equal;

    for (size_t i = 0; i < d->count; i++)
        if (ct_equal(r, d->pair[i].key, key, &equal) == 0 && equal)
            return &d->pair[i].value;
    return NULL;
}

const struct ct_value *ct_dict_get(struct ct_run *r, const struct ct_dict *d, struct ct_value key)
{
    return find(r, d, key);
}

int ct_dict_put(struct ct_run *r, struct ct_dict *d, struct ct_value key, struct ct_value value)
{
    struct ct_value *there = find(r, d, key);

    if (ct_charge(r, 1) < 0)
        return -1;
    if (there) {
        *there = value;
        return 0;
    }
    if (key.type >= CT_LIST && key.type != CT_TUPLE)
        return ct_fail(r, "%s cannot be the key of a dict", ct_type_name(key));
    if (d->count == d->room) {
        struct ct_pair *larger = ct_get(r, d->room ? 2 * d->room : 4, sizeof(*larger));

        if (!larger)
            return -1;
        if (d->count)
            memcpy(larger, d->pair, d->count * sizeof(*larger));
        d->pair = larger;
        d->room = d->room ? 2 * d->room : 4;
    }
    d->pair[d->count++] = (struct ct_pair){ key, value };
    return 0;
}

static int from_object(struct ct_run *r, const json_t *json, unsigned depth, struct ct_value *out)
{
    const char *key;
    json_t *item;

    if (ct_dict_new(r, CT_DICT, json_object_size(json), out) < 0)
        return -1;
    json_object_foreach((json_t *)json, key, item) { /* jansson keeps the order; keys differ */
        struct ct_pair *pair = &out->dict->pair[out->dict->count++];

        pair->key = ct_string((struct ct_text){ key, strlen(key) });
        if (ct_from_json(r, item, depth + 1, &pair->value) < 0)
            return -1;
    }
    return 0;
}

int ct_from_json(struct ct_run *r, const json_t *json, unsigned depth, struct ct_value *out)
{
    if (depth > CT_NESTING_LIMIT)
        return ct_fail(r, "the variables are nested deeper than %d", CT_NESTING_LIMIT);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return from_object(r, json, depth, out);
    case JSON_ARRAY:
        if (ct_list_new(r, CT_LIST, json_array_size(json), out) < 0)
            return -1;
        for (size_t i = 0; i < out->list->count; i++)
            if (ct_from_json(r, json_array_get(json, i), depth + 1, &out->list->item[i]) < 0)
                return -1;
        return 0;
    case JSON_STRING:
        *out = ct_string((struct ct_text){ json_string_value(json), json_string_length(json) });
        return 0;
    case JSON_INTEGER:
        *out = ct_int(json_integer_value(json));
        return 0;
    case JSON_REAL:
        *out = ct_real(json_real_value(json));
        return 0;
    case JSON_NULL:
        *out = ct_none();
        return 0;
    default:
        *out = ct_bool(json_is_true(json));
        return 0;
    }
}

/* ---- comparing ------------------------------------------------------------------------------------- */

static int same_items(struct ct_run *r, const struct ct_list *a, const struct ct_list *b, bool *equal)
{
    *equal = a->count == b->count;
    for (size_t i = 0; *equal && i < a->count; i++)
        if (ct_equal(r, a->item[i], b->item[i], equal) < 0)
            return -1;
    return 0;
}

static int same_pairs(struct ct_run *r, const struct ct_dict *a, const struct ct_dict *b, bool *equal)
{
    *equal = a->count == b->count;
    for (size_t i = 0; *equal && i < a->count; i++) {
        const struct ct_value *other = ct_dict_get(r, b, a->pair[i].key);

        *equal = other != NULL;
        if (other && ct_equal(r, a->pair[i].value, *other, equal) < 0)
            return -1;
    }
    return 0;
}

/* Values of one type that is neither a number nor text. */
static int same_type_equal(struct ct_run *r, struct ct_value a, struct ct_value b, bool *equal)
{
    int result = 0;

    switch (a.type) {
    case CT_MISSING:
    case CT_UNDEFINED:
    case CT_NONE:
        *equal = true;
        return 0;
    case CT_LIST:
    case CT_TUPLE:
    case CT_VIEW:
    case CT_DICT:
        break;
    case CT_RANGE:
        *equal = a.range->count == b.range->count &&
                 (a.range->count == 0 || (a.range->start == b.range->start &&
                                          (a.range->count == 1 || a.range->step == b.range->step)));
        return 0;
    default:
        *equal = a.dict == b.dict; /* the same object */
        return 0;
    }
    if (++r->depth > CT_DEPTH_LIMIT)
        result = ct_fail(r, "values are nested too deeply to compare");
    else
        result = a.type == CT_DICT ? same_pairs(r, a.dict, b.dict, equal) : same_items(r, a.list, b.list, equal);
    r->depth--;
    return result;
}

int ct_equal(struct ct_run *r, struct ct_value a, struct ct_value b, bool *equal)
{
    if (ct_charge(r, 1) < 0)
        return -1;
    if (a.type == CT_TEXT_VALUE && b.type == CT_TEXT_VALUE)
        *equal = ct_text_equal(a.text, b.text);
    else if (ct_is_integer(a) && ct_is_integer(b))
        *equal = ct_integer(a) == ct_integer(b);
    else if (ct_is_number(a) && ct_is_number(b))
        *equal = ct_number(a) == ct_number(b);
    else if (a.type == b.type)
        return same_type_equal(r, a, b, equal);
    else
        *equal = false;
    return 0;
}

static int order_items(struct ct_run *r, const struct ct_list *a, const struct ct_list *b, int *order)
{
    size_t shared = a->count < b->count ? a->count : b->count;

    for (size_t i = 0; i < shared; i++) {
        bool equal;

        if (ct_equal(r, a->item[i], b->item[i], &equal) < 0)
            return -1;
        if (!equal)
            return ct_order(r, a->item[i], b->item[i], order);
    }
    *order = (a->count > b->count) - (a->count < b->count);
    return 0;
}

int ct_order(struct ct_run *r, struct ct_value a, struct ct_value b, int *order)
{
    if (ct_charge(r, 1) < 0 || ct_defined(r, a) < 0 || ct_defined(r, b) < 0)
        return -1;
    if (a.type == CT_TEXT_VALUE && b.type == CT_TEXT_VALUE) {
        size_t shared = a.text.size < b.text.size ? a.text.size : b.text.size;
        int bytes = shared ? memcmp(a.text.data, b.text.data, shared) : 0;

        *order = bytes ? (bytes > 0) - (bytes < 0) : (a.text.size > b.text.size) - (a.text.size < b.text.size);
        return 0;
    }
    if (ct_is_integer(a) && ct_is_integer(b)) {
        *order = (ct_integer(a) > ct_integer(b)) - (ct_integer(a) < ct_integer(b));
        return 0;
    }
    if (ct_is_number(a) && ct_is_number(b)) {
        *order = (ct_number(a) > ct_number(b)) - (ct_number(a) < ct_number(b));
        return 0;
    }
    if (a.type != b.type || (a.type != CT_LIST && a.type != CT_TUPLE))
        return ct_fail(r, "%s and %s have no order", ct_type_name(a), ct_type_name(b));
    if (++r->depth > CT_DEPTH_LIMIT)
        return ct_fail(r, "values are nested too deeply to compare");
    int result = order_items(r, a.list, b.list, order);
    r->depth--;
    return result;
}

/* ---- walking --------------------------------------------------------------------------------------- */

static int chars_of(struct ct_run *r, struct ct_text t, struct ct_value *out)
{
    size_t count = ct_count_chars(t);

    if (ct_list_new(r, CT_LIST, count, out) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        size_t n = rlhf_char_size(t.data);

        out->list->item[i] = ct_string((struct ct_text){ t.data, n });
        t.data += n;
    }
    return 0;
}

int ct_items(struct ct_run *r, struct ct_value v, const struct ct_value **items, size_t *count)
{
    struct ct_value made = { .type = CT_MISSING };

    if (v.type == CT_UNDEFINED) {
        *items = NULL;
        *count = 0;
        return 0;
    }
    if (v.type == CT_TEXT_VALUE) {
        if (chars_of(r, v.text, &made) < 0)
            return -1;
        v = made;
    } else if (v.type == CT_RANGE) {
        if (ct_list_new(r, CT_LIST, (size_t)v.range->count, &made) < 0)
            return -1;
        for (int64_t i = 0; i < v.range->count; i++)
            made.list->item[i] = ct_int(v.range->start + i * v.range->step);
        v = made;
    } else if (v.type == CT_DICT) {
        if (ct_list_new(r, CT_LIST, v.dict->count, &made) < 0)
            return -1;
        for (size_t i = 0; i < v.dict->count; i++)
            made.list->item[i] = v.dict->pair[i].key;
        v = made;
    }
    if (!ct_is_sequence(v))
        return ct_fail(r, "'%s' object is not iterable", ct_type_name(v));
    *items = v.list->item + v.list->done;
    *count = v.list->count - v.list->done;
    if (v.type == CT_GENERATOR)
        v.list->done = v.list->count;
    return ct_charge(r, *count);
}

int ct_length(struct ct_run *r, struct ct_value v, size_t *length)
{
    switch (v.type) {
    case CT_UNDEFINED:
        *length = 0;
        return 0;
    case CT_TEXT_VALUE:
        *length = ct_count_chars(v.text);
        return ct_charge(r, v.text.size / 64);
    case CT_LIST:
    case CT_TUPLE:
    case CT_VIEW:
        *length = v.list->count;
        return 0;
    case CT_RANGE:
        *length = (size_t)v.range->count;
        return 0;
    case CT_DICT:
        *length = v.dict->count;
        return 0;
    case CT_LOOP:
        *length = v.loop->count;
        return 0;
    default:
        return ct_fail(r, "object of type '%s' has no len()", ct_type_name(v));
    }
}
