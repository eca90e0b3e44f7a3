/* What expressions are worth, by Python's and jinja2's rules. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chat/parts.h"

int ct_fail(struct ct_run *r, const char *fmt, ...)
{
    char message[300];
    va_list args;

    if (r->err && r->err->code != RLHF_OK) /* the first failure is the one to report */
        return -1;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    return ct_source_fail(&r->template->source, r->at, r->err, "%s", message);
}

int ct_charge(struct ct_run *r, size_t steps)
{
    r->steps += steps;
    return r->steps <= CT_STEP_LIMIT ? 0 : ct_fail(r, "the template takes more than %d steps", CT_STEP_LIMIT);
}

int ct_undefined(struct ct_run *r, struct ct_value *out, const char *fmt, ...)
{
    char text[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (ct_copy(r, text, strlen(text), out) < 0)
        return -1;
    out->type = CT_UNDEFINED;
    return 0;
}

int ct_defined(struct ct_run *r, struct ct_value v)
{
    return v.type == CT_UNDEFINED ? ct_fail(r, "%.*s", (int)v.text.size, v.text.data) : 0;
}

static int shown(struct ct_text t)
{
    return t.size > 80 ? 80 : (int)t.size;
}

/* ---- attributes and items -------------------------------------------------------------------------- */

static const struct ct_value *namespace_get(const struct ct_dict *d, struct ct_text name)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->pair[i].key.type == CT_TEXT_VALUE && ct_text_equal(d->pair[i].key.text, name))
            return &d->pair[i].value;
    return NULL;
}

static int loop_attribute(struct ct_run *r, const struct ct_loop *l, struct ct_text name, struct ct_value *out)
{
    int64_t index = (int64_t)l->index, count = (int64_t)l->count;
    const struct {
        const char *name;
        struct ct_value value;
    } known[] = {
        { "index", ct_int(index + 1) },          { "index0", ct_int(index) },
        { "revindex", ct_int(count - index) },   { "revindex0", ct_int(count - index - 1) },
        { "first", ct_bool(index == 0) },        { "last", ct_bool(index + 1 == count) },
        { "length", ct_int(count) },             { "depth", ct_int((int64_t)l->depth) },
        { "depth0", ct_int((int64_t)l->depth - 1) },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (ct_text_is(name, known[i].name)) {
            *out = known[i].value;
            return 1;
        }
    if (ct_text_is(name, "previtem") || ct_text_is(name, "nextitem")) {
        bool next = name.data[0] == 'n';

        if (next ? index + 1 < count : index > 0)
            *out = l->item[next ? index + 1 : index - 1];
        else if (ct_undefined(r, out, "there is no %s item", next ? "next" : "previous") < 0)
            return -1;
        return 1;
    }
    return 0;
}

/* getattr(v, name): 1 where there is one, 0 where not. */
static int own_attribute(struct ct_run *r, struct ct_value v, struct ct_text name, struct ct_value *out)
{
    const struct ct_native *native;
    struct ct_method *method;

    if (v.type == CT_NAMESPACE) {
        const struct ct_value *value = namespace_get(v.dict, name);

        if (value)
            *out = *value;
        return value != NULL;
    }
    if (v.type == CT_LOOP) {
        int found = loop_attribute(r, v.loop, name, out);

        if (found)
            return found;
    }
    if (v.type == CT_MACRO && ct_text_is(name, "name")) {
        *out = ct_string(v.macro->node->name);
        return 1;
    }
    if (ct_method_is_unsafe(v.type, name))
        return ct_fail(r, "access to attribute '%.*s' of '%s' object is unsafe", shown(name), name.data, ct_type_name(v));
    if (!(native = ct_method_of(v.type, name)))
        return 0;
    if (!(method = ct_get(r, 1, sizeof(*method))))
        return -1;
    *method = (struct ct_method){ v, native };
    *out = (struct ct_value){ .type = CT_METHOD, .method = method };
    return 1;
}

static int no_attribute(struct ct_run *r, struct ct_value v, struct ct_text name, struct ct_value *out)
{
    if (v.type == CT_NONE)
        return ct_undefined(r, out, "'None' has no attribute '%.*s'", shown(name), name.data);
    return ct_undefined(r, out, "'%s object' has no attribute '%.*s'", ct_type_name(v), shown(name), name.data);
}

int ct_attribute(struct ct_run *r, struct ct_value v, struct ct_text name, struct ct_value *out)
{
    const struct ct_value *item;
    int found;

    if (ct_defined(r, v) < 0 || (found = own_attribute(r, v, name, out)) < 0)
        return -1;
    if (found)
        return 0;
    if (v.type == CT_DICT && (item = ct_dict_get(r, v.dict, ct_string(name)))) {
        *out = *item;
        return 0;
    }
    return no_attribute(r, v, name, out);
}

/* v[index] of something in order: false where there is none. */
static bool item_at(struct ct_value v, int64_t index, struct ct_value *out)
{
    int64_t count;

    if (v.type == CT_RANGE) {
        count = v.range->count;
        index += index < 0 ? count : 0;
        if (index < 0 || index >= count)
            return false;
        *out = ct_int(v.range->start + index * v.range->step);
        return true;
    }
    if (v.type == CT_TEXT_VALUE) {
        count = (int64_t)ct_count_chars(v.text);
        index += index < 0 ? count : 0;
        if (index < 0 || index >= count)
            return false;
        v.text.data += ct_char_offset(v.text, (size_t)index);
        *out = ct_string((struct ct_text){ v.text.data, rlhf_char_size(v.text.data) });
        return true;
    }
    if (v.type != CT_LIST && v.type != CT_TUPLE)
        return false;
    count = (int64_t)v.list->count;
    index += index < 0 ? count : 0;
    if (index < 0 || index >= count)
        return false;
    *out = v.list->item[index];
    return true;
}

int ct_item(struct ct_run *r, struct ct_value v, struct ct_value key, struct ct_value *out)
{
    const struct ct_value *item;
    int found;

    if (ct_defined(r, v) < 0 || ct_charge(r, v.type == CT_TEXT_VALUE ? v.text.size / 64 : 0) < 0)
        return -1;
    if (v.type == CT_DICT && (item = ct_dict_get(r, v.dict, key))) {
        *out = *item;
        return 0;
    }
    if (ct_is_integer(key) && item_at(v, ct_integer(key), out))
        return 0;
    if (key.type == CT_TEXT_VALUE) {
        if ((found = own_attribute(r, v, key.text, out)) != 0)
            return found < 0 ? -1 : 0;
        return no_attribute(r, v, key.text, out);
    }
    if (ct_is_integer(key))
        return ct_undefined(r, out, "%s object has no element %lld", ct_type_name(v), (long long)ct_integer(key));
    return ct_undefined(r, out, "%s object has no element of type %s", ct_type_name(v), ct_type_name(key));
}

/* ---- slices ---------------------------------------------------------------------------------------- */

static int slice_bound(struct ct_run *r, const struct ct_node *n, int64_t fallback, int64_t low, int64_t high,
                       int64_t count, int64_t *out)
{
    struct ct_value v = ct_none();

    if (n && ct_evaluate(r, n, &v) < 0)
        return -1;
    *out = fallback;
    if (v.type == CT_NONE)
        return 0;
    if (!ct_is_integer(v))
        return ct_defined(r, v) < 0 ? -1 : ct_fail(r, "slice indices must be integers or None");
    *out = ct_integer(v);
    if (*out < 0)
        *out += count;
    *out = *out < low ? low : *out > high ? high : *out;
    return 0;
}

static int slice_text(struct ct_run *r, struct ct_text t, int64_t start, int64_t step, int64_t count, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 };

    if (step == 1) {
        size_t from = ct_char_offset(t, (size_t)start);

        t = (struct ct_text){ t.data + from, t.size - from };
        *out = ct_string((struct ct_text){ t.data, ct_char_offset(t, (size_t)count) });
        return 0;
    }
    struct ct_value chars = ct_string(t);
    const struct ct_value *item;
    size_t all;
    int result = ct_items(r, chars, &item, &all);
    for (int64_t i = 0; result == 0 && i < count; i++)
        result = ct_append_str(r, item[start + i * step], &text);
    return result < 0 ? (rlhf_bytes_free(&text), -1) : ct_take(r, &text, out);
}

static int slice(struct ct_run *r, const struct ct_node *n, struct ct_value v, struct ct_value *out)
{
    struct ct_value by = ct_none();
    size_t length;
    int64_t start, stop, step, size, count;

    if (ct_defined(r, v) < 0 || (n->c && ct_evaluate(r, n->c, &by) < 0))
        return -1;
    if (by.type != CT_NONE && (!ct_is_integer(by) || ct_integer(by) == 0))
        return ct_fail(r, "slice step must be an integer other than 0");
    step = by.type == CT_NONE ? 1 : ct_integer(by);
    step = step > INT32_MAX ? INT32_MAX : step < -INT32_MAX ? -INT32_MAX : step;
    if (v.type != CT_TEXT_VALUE && v.type != CT_LIST && v.type != CT_TUPLE && v.type != CT_RANGE)
        return ct_fail(r, "'%s' object cannot be sliced", ct_type_name(v));
    if (ct_length(r, v, &length) < 0)
        return -1;
    size = (int64_t)length;
    if (slice_bound(r, n->a, step > 0 ? 0 : size - 1, step > 0 ? 0 : -1, step > 0 ? size : size - 1, size, &start) < 0 ||
        slice_bound(r, n->b, step > 0 ? size : -1, step > 0 ? 0 : -1, step > 0 ? size : size - 1, size, &stop) < 0)
        return -1;
    count = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
    count = count < 0 ? 0 : count;
    if (v.type == CT_TEXT_VALUE)
        return slice_text(r, v.text, start, step, count, out);
    if (ct_list_new(r, v.type == CT_TUPLE ? CT_TUPLE : CT_LIST, (size_t)count, out) < 0)
        return -1;
    for (int64_t i = 0; i < count; i++)
        item_at(v, start + i * step, &out->list->item[i]);
    return 0;
}

/* ---- operators ------------------------------------------------------------------------------------- */

int ct_contains(struct ct_run *r, struct ct_value v, struct ct_value item, bool *found)
{
    const struct ct_value *items;
    size_t count;

    *found = false;
    if (v.type == CT_TEXT_VALUE) {
        if (ct_charge(r, v.text.size / 64) < 0 || ct_defined(r, item) < 0)
            return -1;
        if (item.type != CT_TEXT_VALUE)
            return ct_fail(r, "'in <string>' requires string as left operand, not %s", ct_type_name(item));
        *found = item.text.size == 0 || memmem(v.text.data, v.text.size, item.text.data, item.text.size) != NULL;
        return 0;
    }
    if (v.type == CT_DICT) {
        if (item.type == CT_LIST || item.type == CT_DICT)
            return ct_fail(r, "unhashable type: '%s'", ct_type_name(item));
        *found = ct_dict_get(r, v.dict, item) != NULL;
        return ct_charge(r, 0);
    }
    if (ct_items(r, v, &items, &count) < 0)
        return -1;
    for (size_t i = 0; i < count && !*found; i++)
        if (ct_equal(r, items[i], item, found) < 0)
            return -1;
    return 0;
}

static int compare(struct ct_run *r, int op, struct ct_value a, struct ct_value b, bool *truth)
{
    int order, result;

    switch (op) {
    case CT_EQ:
    case CT_NE:
        result = ct_equal(r, a, b, truth);
        *truth = *truth == (op == CT_EQ);
        return result;
    case CT_IN:
    case CT_NOT_IN:
        result = ct_contains(r, b, a, truth);
        *truth = *truth == (op == CT_IN);
        return result;
    default:
        if (ct_order(r, a, b, &order) < 0)
            return -1;
        if (ct_is_number(a) && ct_is_number(b) && (isnan(ct_number(a)) || isnan(ct_number(b))))
            *truth = false;
        else
            *truth = op == '<' ? order < 0 : op == '>' ? order > 0 : op == CT_LE ? order <= 0 : order >= 0;
        return 0;
    }
}

static int join_lists(struct ct_run *r, struct ct_value a, struct ct_value b, struct ct_value *out)
{
    if (ct_list_new(r, a.type, a.list->count + b.list->count, out) < 0)
        return -1;
    for (size_t i = 0; i < a.list->count; i++)
        out->list->item[i] = a.list->item[i];
    for (size_t i = 0; i < b.list->count; i++)
        out->list->item[a.list->count + i] = b.list->item[i];
    return 0;
}

static int join_texts(struct ct_run *r, struct ct_text a, struct ct_text b, struct ct_value *out)
{
    char *text;

    if (a.size + b.size > CT_TEXT_LIMIT)
        return ct_fail(r, "a string is longer than %d MiB", CT_TEXT_LIMIT >> 20);
    if (ct_charge(r, (a.size + b.size) / 256) < 0 || !(text = ct_get(r, a.size + b.size + 1, 1)))
        return -1;
    if (a.size)
        memcpy(text, a.data, a.size);
    if (b.size)
        memcpy(text + a.size, b.data, b.size);
    text[a.size + b.size] = '\0';
    *out = ct_string((struct ct_text){ text, a.size + b.size });
    return 0;
}

static int too_large(struct ct_run *r)
{
    return ct_fail(r, "integers beyond 64 bits are not supported");
}

static int integer_power(struct ct_run *r, int64_t base, int64_t exponent, struct ct_value *out)
{
    int64_t power = 1;

    if (exponent < 0) {
        if (base == 0)
            return ct_fail(r, "0 cannot be raised to a negative power");
        *out = ct_real(pow((double)base, (double)exponent));
        return 0;
    }
    if (base == 1 || base == 0 || base == -1)
        exponent = exponent == 0 ? 0 : 2 - (exponent & 1);
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(power, base, &power))
            return too_large(r);
    *out = ct_int(power);
    return 0;
}

static int integer_arithmetic(struct ct_run *r, int op, int64_t a, int64_t b, struct ct_value *out)
{
    int64_t c;
    bool over = false;

    if ((op == '/' || op == '%' || op == CT_FLOOR_DIVIDE) && b == 0)
        return ct_fail(r, "division by zero");
    switch (op) {
    case '+':
        over = __builtin_add_overflow(a, b, &c);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &c);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &c);
        break;
    case '/':
        *out = ct_real((double)a / (double)b);
        return 0;
    case '%':
        c = b == -1 ? 0 : a % b;
        c += c && (c < 0) != (b < 0) ? b : 0;
        break;
    case CT_FLOOR_DIVIDE:
        if (b == -1) {
            over = __builtin_sub_overflow(0, a, &c);
            break;
        }
        c = a / b - (a % b && (a < 0) != (b < 0));
        break;
    default:
        return integer_power(r, a, b, out);
    }
    if (over)
        return too_large(r);
    *out = ct_int(c);
    return 0;
}

static int real_arithmetic(struct ct_run *r, int op, double a, double b, struct ct_value *out)
{
    double c;

    if ((op == '/' || op == '%' || op == CT_FLOOR_DIVIDE) && b == 0)
        return ct_fail(r, "division by zero");
    switch (op) {
    case '+':
        c = a + b;
        break;
    case '-':
        c = a - b;
        break;
    case '*':
        c = a * b;
        break;
    case '/':
        c = a / b;
        break;
    case '%':
        c = fmod(a, b);
        c = c != 0 ? c + ((c < 0) != (b < 0) ? b : 0) : copysign(0.0, b);
        break;
    case CT_FLOOR_DIVIDE:
        c = floor(a / b);
        break;
    default:
        c = pow(a, b);
        if (isnan(c) && !isnan(a) && !isnan(b))
            return ct_fail(r, "complex numbers are not supported");
    }
    *out = ct_real(c);
    return 0;
}

static int repeat(struct ct_run *r, struct ct_value v, int64_t times, struct ct_value *out)
{
    size_t count = times < 0 ? 0 : (size_t)times, each = v.type == CT_TEXT_VALUE ? v.text.size : v.list->count, total;

    if (each == 0)
        count = 0;
    if (!rlhf_mul_size(count, each, &total) || total > CT_TEXT_LIMIT)
        return ct_fail(r, "a repetition is longer than %d", CT_TEXT_LIMIT);
    if (v.type == CT_TEXT_VALUE) {
        char *text = ct_get(r, total + 1, 1);

        if (!text || ct_charge(r, count / 64) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            memcpy(text + i * each, v.text.data, each);
        text[total] = '\0';
        *out = ct_string((struct ct_text){ text, total });
        return 0;
    }
    if (ct_list_new(r, v.type, total, out) < 0)
        return -1;
    for (size_t i = 0; i < total; i++)
        out->list->item[i] = v.list->item[i % each];
    return 0;
}

static bool repeats(struct ct_value v)
{
    return v.type == CT_TEXT_VALUE || v.type == CT_LIST || v.type == CT_TUPLE;
}

static const char *op_text(int op, char small[2])
{
    small[0] = (char)op;
    small[1] = '\0';
    return op == CT_POWER ? "**" : op == CT_FLOOR_DIVIDE ? "//" : small;
}

static int arithmetic(struct ct_run *r, int op, struct ct_value a, struct ct_value b, struct ct_value *out)
{
    char small[2];

    if (op == '%' && a.type == CT_TEXT_VALUE)
        return ct_percent(r, a.text, b, out);
    if (ct_defined(r, a) < 0 || ct_defined(r, b) < 0)
        return -1;
    if (ct_is_integer(a) && ct_is_integer(b))
        return integer_arithmetic(r, op, ct_integer(a), ct_integer(b), out);
    if (ct_is_number(a) && ct_is_number(b))
        return real_arithmetic(r, op, ct_number(a), ct_number(b), out);
    if (op == '+' && a.type == b.type) {
        if (a.type == CT_TEXT_VALUE)
            return join_texts(r, a.text, b.text, out);
        if (a.type == CT_LIST || a.type == CT_TUPLE)
            return join_lists(r, a, b, out);
    }
    if (op == '*' && repeats(a) && ct_is_integer(b))
        return repeat(r, a, ct_integer(b), out);
    if (op == '*' && repeats(b) && ct_is_integer(a))
        return repeat(r, b, ct_integer(a), out);
    if (op == '+' && a.type == CT_TEXT_VALUE)
        return ct_fail(r, "can only concatenate str (not \"%s\") to str", ct_type_name(b));
    return ct_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op_text(op, small), ct_type_name(a),
                   ct_type_name(b));
}

int ct_add(struct ct_run *r, struct ct_value a, struct ct_value b, struct ct_value *out)
{
    return arithmetic(r, '+', a, b, out);
}

/* ---- calls ----------------------------------------------------------------------------------------- */

/* Index of a name among a native's parameters, or of the place-th one where name is empty; -1. */
static int find_parameter(const char *parameters, struct ct_text name, size_t place)
{
    int index = 0;

    for (const char *at = parameters; *at; index++) {
        size_t size = strcspn(at, " ");

        if (name.data ? name.size == size - (at[size - 1] == '?') && !memcmp(at, name.data, name.size)
                      : (size_t)index == place)
            return index;
        at += size + (at[size] == ' ');
    }
    return -1;
}

static int check_required(struct ct_run *r, const struct ct_native *n, const struct ct_call *call)
{
    int index = 0;

    for (const char *at = n->parameters; *at; index++) {
        size_t size = strcspn(at, " ");

        if (at[size - 1] != '?' && call->arg[index].type == CT_MISSING)
            return ct_fail(r, "%s() needs the argument '%.*s'", n->name, (int)size, at);
        at += size + (at[size] == ' ');
    }
    return 0;
}

int ct_apply(struct ct_run *r, const struct ct_native *n, struct ct_value self, const struct ct_arguments *given,
             struct ct_value *out)
{
    struct ct_call call = { .self = self, .given = *given, .tag = n->tag };

    if (ct_charge(r, 1) < 0)
        return -1;
    if (!n->parameters)
        return n->apply(r, &call, out);
    for (size_t i = 0; i < given->count; i++) {
        const struct ct_argument *a = &given->item[i];
        int index = find_parameter(n->parameters, a->name, i);

        if (index < 0 && a->name.data)
            return ct_fail(r, "%s() got an unexpected argument '%.*s'", n->name, shown(a->name), a->name.data);
        if (index < 0)
            return ct_fail(r, "%s() takes fewer than %zu arguments", n->name, given->count);
        if (call.arg[index].type != CT_MISSING)
            return ct_fail(r, "%s() got its argument %d twice", n->name, index + 1);
        call.arg[index] = a->value;
    }
    return check_required(r, n, &call) < 0 ? -1 : n->apply(r, &call, out);
}

int ct_invoke(struct ct_run *r, struct ct_value callee, const struct ct_arguments *given, struct ct_value *out)
{
    switch (callee.type) {
    case CT_FUNCTION:
        return ct_apply(r, callee.function, (struct ct_value){ .type = CT_MISSING }, given, out);
    case CT_METHOD:
        return ct_apply(r, callee.method->native, callee.method->self, given, out);
    case CT_MACRO:
        return ct_call_macro(r, callee.macro, given, out);
    case CT_LOOP:
        if (given->count != 1)
            return ct_fail(r, "loop() takes one argument");
        return ct_call_loop(r, callee.loop, given->item[0].value, out);
    default:
        return ct_defined(r, callee) < 0 ? -1 : ct_fail(r, "'%s' object is not callable", ct_type_name(callee));
    }
}

struct given {
    struct ct_argument *item;
    size_t count, room;
};

static int give(struct ct_run *r, struct given *g, struct ct_text name, struct ct_value value)
{
    if (g->count == g->room) {
        struct ct_argument *larger = ct_get(r, 2 * g->room + 4, sizeof(*larger));

        if (!larger)
            return -1;
        if (g->count)
            memcpy(larger, g->item, g->count * sizeof(*larger));
        g->item = larger;
        g->room = 2 * g->room + 4;
    }
    g->item[g->count++] = (struct ct_argument){ name, value };
    return 0;
}

static int spread(struct ct_run *r, int op, struct ct_value v, struct given *g)
{
    const struct ct_value *item;
    size_t count;

    if (op == '*') {
        if (ct_items(r, v, &item, &count) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            if (give(r, g, (struct ct_text){ 0 }, item[i]) < 0)
                return -1;
        return 0;
    }
    if (v.type != CT_DICT)
        return ct_fail(r, "argument after ** must be a mapping, not %s", ct_type_name(v));
    for (size_t i = 0; i < v.dict->count; i++)
        if (v.dict->pair[i].key.type != CT_TEXT_VALUE)
            return ct_fail(r, "keywords must be strings");
        else if (give(r, g, v.dict->pair[i].key.text, v.dict->pair[i].value) < 0)
            return -1;
    return 0;
}

static int evaluate_arguments(struct ct_run *r, const struct ct_node *list, struct ct_arguments *out)
{
    struct given g = { 0 };
    bool named = false;

    for (const struct ct_node *n = list; n; n = n->next) {
        struct ct_value v;

        if (ct_evaluate(r, n->a, &v) < 0)
            return -1;
        r->at = n->at;
        if (n->op == '*' && named)
            return ct_fail(r, "* behind an argument with a name is not supported");
        if ((n->op ? spread(r, n->op, v, &g) : give(r, &g, n->name, v)) < 0)
            return -1;
        named |= n->name.size || n->op == CT_SPREAD_DICT;
    }
    *out = (struct ct_arguments){ g.item, g.count };
    return 0;
}

static int evaluate_call(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct ct_arguments given;
    struct ct_value callee;

    if (ct_evaluate(r, n->a, &callee) < 0 || evaluate_arguments(r, n->list, &given) < 0)
        return -1;
    r->at = n->at;
    return ct_invoke(r, callee, &given, out);
}

/* A filter or a test. */
static int evaluate_native(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct ct_arguments given;
    struct ct_value self;

    if (ct_evaluate(r, n->a, &self) < 0 || evaluate_arguments(r, n->list, &given) < 0)
        return -1;
    r->at = n->at;
    return ct_apply(r, n->native, self, &given, out);
}

/* ---- the rest -------------------------------------------------------------------------------------- */

static int lookup(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    const struct ct_native *function;
    size_t steps = 0;

    for (const struct ct_scope *s = r->scope; s; s = s->parent)
        for (const struct ct_binding *b = s->first; b; b = b->next, steps++)
            if (ct_text_equal(b->name, n->name)) {
                *out = b->value;
                return ct_charge(r, steps / 4);
            }
    if ((function = ct_function(n->name))) {
        *out = (struct ct_value){ .type = CT_FUNCTION, .function = function };
        return ct_charge(r, steps / 4);
    }
    return ct_undefined(r, out, "'%.*s' is undefined", shown(n->name), n->name.data);
}

static int make_list(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    size_t count = 0;

    for (const struct ct_node *item = n->list; item; item = item->next)
        count++;
    if (ct_list_new(r, n->kind == CT_MAKE_LIST ? CT_LIST : CT_TUPLE, count, out) < 0)
        return -1;
    count = 0;
    for (const struct ct_node *item = n->list; item; item = item->next)
        if (ct_evaluate(r, item, &out->list->item[count++]) < 0)
            return -1;
    return 0;
}

static int make_dict(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    if (ct_dict_new(r, CT_DICT, 0, out) < 0)
        return -1;
    for (const struct ct_node *entry = n->list; entry; entry = entry->next) {
        struct ct_value key, value;

        if (ct_evaluate(r, entry->a, &key) < 0 || ct_evaluate(r, entry->b, &value) < 0)
            return -1;
        r->at = entry->at;
        if (ct_dict_put(r, out->dict, key, value) < 0)
            return -1;
    }
    return 0;
}

static int evaluate_compare(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct ct_value left, right;
    bool truth = true;

    if (ct_evaluate(r, n->a, &left) < 0)
        return -1;
    for (const struct ct_node *o = n->list; o && truth; o = o->next, left = right) {
        if (ct_evaluate(r, o->a, &right) < 0)
            return -1;
        r->at = o->at;
        if (compare(r, o->op, left, right, &truth) < 0)
            return -1;
    }
    *out = ct_bool(truth);
    return 0;
}

static int concatenate(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 };
    struct ct_value v;

    for (const struct ct_node *item = n->list; item; item = item->next)
        if (ct_evaluate(r, item, &v) < 0 || ct_append_str(r, v, &text) < 0) {
            rlhf_bytes_free(&text);
            return -1;
        }
    r->at = n->at;
    return ct_take(r, &text, out);
}

static int sign(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct ct_value v;

    if (ct_evaluate(r, n->a, &v) < 0 || ct_defined(r, v) < 0)
        return -1;
    r->at = n->at;
    if (!ct_is_number(v))
        return ct_fail(r, "bad operand type for unary %c: '%s'", n->kind == CT_NEGATE ? '-' : '+', ct_type_name(v));
    if (v.type == CT_REAL)
        *out = ct_real(n->kind == CT_NEGATE ? -v.real : v.real);
    else if (n->kind == CT_NEGATE)
        return integer_arithmetic(r, '-', 0, ct_integer(v), out);
    else
        *out = ct_int(ct_integer(v));
    return 0;
}

static int binary(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct ct_value a, b;

    if (ct_evaluate(r, n->a, &a) < 0 || ct_evaluate(r, n->b, &b) < 0)
        return -1;
    r->at = n->at;
    return arithmetic(r, n->op, a, b, out);
}

static int evaluate(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct ct_value a, b;

    switch (n->kind) {
    case CT_CONSTANT:
        *out = n->value;
        return 0;
    case CT_VARIABLE:
        return lookup(r, n, out);
    case CT_MAKE_LIST:
    case CT_MAKE_TUPLE:
        return make_list(r, n, out);
    case CT_MAKE_DICT:
        return make_dict(r, n, out);
    case CT_ATTRIBUTE:
        if (ct_evaluate(r, n->a, &a) < 0)
            return -1;
        r->at = n->at;
        return ct_attribute(r, a, n->name, out);
    case CT_ITEM:
        if (ct_evaluate(r, n->a, &a) < 0 || (n->b->kind != CT_SLICE && ct_evaluate(r, n->b, &b) < 0))
            return -1;
        r->at = n->at;
        return n->b->kind == CT_SLICE ? slice(r, n->b, a, out) : ct_item(r, a, b, out);
    case CT_CALL:
        return evaluate_call(r, n, out);
    case CT_FILTER:
    case CT_TEST:
        return evaluate_native(r, n, out);
    case CT_CONDITION:
        if (ct_evaluate(r, n->a, &a) < 0)
            return -1;
        if (ct_truth(a))
            return ct_evaluate(r, n->b, out);
        r->at = n->at;
        return n->c ? ct_evaluate(r, n->c, out)
                    : ct_undefined(r, out, "the inline if-expression evaluated to false and no else section was defined.");
    case CT_OR:
    case CT_AND:
        if (ct_evaluate(r, n->a, out) < 0)
            return -1;
        return ct_truth(*out) == (n->kind == CT_AND) ? ct_evaluate(r, n->b, out) : 0;
    case CT_NOT:
        if (ct_evaluate(r, n->a, &a) < 0)
            return -1;
        *out = ct_bool(!ct_truth(a));
        return 0;
    case CT_COMPARE:
        return evaluate_compare(r, n, out);
    case CT_BINARY:
        return binary(r, n, out);
    case CT_CONCAT:
        return concatenate(r, n, out);
    case CT_NEGATE:
    case CT_POSITIVE:
        return sign(r, n, out);
    default:
        return ct_fail(r, "this is no expression");
    }
}

int ct_evaluate(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    int result = -1;

    r->at = n->at;
    if (++r->depth > CT_DEPTH_LIMIT)
        ct_fail(r, "evaluated deeper than %d levels", CT_DEPTH_LIMIT);
    else if (ct_charge(r, 1) == 0)
        result = evaluate(r, n, out);
    r->depth--;
    return result;
}
