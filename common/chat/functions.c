/* What templates can call by name: jinja2's range and namespace, transformers' dict, raise_exception, strftime_now. */
#include <stdlib.h>
#include <string.h>

#include "chat/parts.h"

static int range(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    int64_t bound[3] = { 0, 0, 1 };
    struct ct_steps *s;

    if (c->given.count < 1 || c->given.count > 3)
        return ct_fail(r, "range() takes 1 to 3 arguments");
    for (size_t i = 0; i < c->given.count; i++) {
        struct ct_value v = c->given.item[i].value;

        if (c->given.item[i].name.data || !ct_is_integer(v))
            return ct_defined(r, v) < 0 ? -1 : ct_fail(r, "range() needs integers, not a %s", ct_type_name(v));
        bound[c->given.count == 1 ? 1 : i] = ct_integer(v);
    }
    if (bound[2] == 0)
        return ct_fail(r, "range() arg 3 must not be zero");
    __int128 count = bound[2] > 0 ? ((__int128)bound[1] - bound[0] + bound[2] - 1) / bound[2]
                                  : ((__int128)bound[0] - bound[1] - bound[2] - 1) / -(__int128)bound[2];
    if (count > CT_RANGE_LIMIT)
        return ct_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", CT_RANGE_LIMIT);
    if (!(s = ct_get(r, 1, sizeof(*s))))
        return -1;
    *s = (struct ct_steps){ bound[0], bound[2], count < 0 ? 0 : (int64_t)count, bound[1] };
    *out = (struct ct_value){ .type = CT_RANGE, .range = s };
    return 0;
}

/* dict(...) and namespace(...): a dict to begin with, pairs, and names. */
static int make_dict(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    if (ct_dict_new(r, (enum ct_type)c->tag, 0, out) < 0)
        return -1;
    for (size_t i = 0; i < c->given.count; i++) {
        struct ct_value v = c->given.item[i].value;
        const struct ct_value *item;
        size_t count;

        if (c->given.item[i].name.data) {
            if (c->tag == CT_NAMESPACE && c->given.item[i].name.data[0] == '_')
                return ct_fail(r, "a namespace cannot have attributes that begin with an underscore");
            if (ct_dict_put(r, out->dict, ct_string(c->given.item[i].name), v) < 0)
                return -1;
            continue;
        }
        if (i)
            return ct_fail(r, "dict expected at most 1 argument");
        if (v.type == CT_DICT) {
            for (size_t k = 0; k < v.dict->count; k++)
                if (ct_dict_put(r, out->dict, v.dict->pair[k].key, v.dict->pair[k].value) < 0)
                    return -1;
            continue;
        }
        if (ct_items(r, v, &item, &count) < 0)
            return -1;
        for (size_t k = 0; k < count; k++)
            if (!ct_is_sequence(item[k]) || item[k].list->count != 2)
                return ct_fail(r, "dict() of something else than pairs");
            else if (ct_dict_put(r, out->dict, item[k].list->item[0], item[k].list->item[1]) < 0)
                return -1;
    }
    return 0;
}

static int raise_exception(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text message;

    (void)out;
    return ct_str(r, c->arg[0], &message) < 0
               ? -1
               : rlhf_fail(r->err, RLHF_REJECT, "%.*s", (int)message.size, message.data);
}

static int strftime_now(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    char text[4096];
    struct tm local;

    if (c->arg[0].type != CT_TEXT_VALUE || memchr(c->arg[0].text.data, '\0', c->arg[0].text.size))
        return ct_fail(r, "strftime_now() needs a format");
    char *format = ct_get(r, c->arg[0].text.size + 2, 1);
    if (!format || !localtime_r(&r->now, &local))
        return format ? ct_fail(r, "the time cannot be told") : -1;
    memcpy(format, c->arg[0].text.data, c->arg[0].text.size);
    strcpy(format + c->arg[0].text.size, "."); /* so that an empty result can be told from a failure */
    size_t size = strftime(text, sizeof(text), format, &local);
    return size ? ct_copy(r, text, size - 1, out) : ct_fail(r, "strftime_now() gives more than %zu bytes", sizeof(text));
}

static const struct ct_native functions[] = {
    { "range", NULL, range, 0 },
    { "dict", NULL, make_dict, CT_DICT },
    { "namespace", NULL, make_dict, CT_NAMESPACE },
    { "raise_exception", "message", raise_exception, 0 },
    { "strftime_now", "format", strftime_now, 0 },
};

const struct ct_native *ct_function(struct ct_text name)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
        if (ct_text_is(name, functions[i].name))
            return &functions[i];
    return NULL;
}
