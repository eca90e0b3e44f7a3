/* What can stand behind is. Definitions: jinja2's documentation of its built-in tests. */
#include <math.h>
#include <string.h>

#include "chat/parts.h"

static int defined(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    (void)r;
    *out = ct_bool((c->self.type == CT_UNDEFINED) == c->tag);
    return 0;
}

/* tag: a bit a type. */
static int of_type(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    (void)r;
    *out = ct_bool(c->tag >> c->self.type & 1);
    return 0;
}

static int constant(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    (void)r;
    *out = ct_bool(c->self.type == CT_BOOL && c->self.truth == c->tag);
    return 0;
}

static int remainder_is(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value by = c->arg[0].type == CT_MISSING ? ct_int(2) : c->arg[0];

    if (!ct_is_number(c->self) || !ct_is_number(by))
        return ct_defined(r, c->self) < 0 ? -1 : ct_fail(r, "a %s has no remainder", ct_type_name(c->self));
    if (ct_number(by) == 0)
        return ct_fail(r, "division by zero");
    double remainder = fmod(ct_number(c->self), ct_number(by));
    if (ct_is_integer(c->self) && ct_is_integer(by))
        remainder = ct_integer(by) == -1 ? 0 : (double)(ct_integer(c->self) % ct_integer(by));
    *out = ct_bool(fabs(remainder) == c->tag);
    return 0;
}

static int cased(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_text text;

    if (ct_str(r, c->self, &text) < 0)
        return -1;
    return ct_apply(r, ct_method_of(CT_TEXT_VALUE, c->tag ? CT_TEXT("isupper") : CT_TEXT("islower")), ct_string(text),
                    &(struct ct_arguments){ 0 }, out);
}

static int equal(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    bool same;

    if (ct_equal(r, c->self, c->arg[0], &same) < 0)
        return -1;
    *out = ct_bool(same == c->tag);
    return 0;
}

enum { LESS = 1, SAME = 2, GREATER = 4 };

static int ordered(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    int order;

    if (ct_order(r, c->self, c->arg[0], &order) < 0)
        return -1;
    *out = ct_bool(c->tag & (order < 0 ? LESS : order > 0 ? GREATER : SAME));
    return 0;
}

static int in(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    bool found;

    if (ct_contains(r, c->arg[0], c->self, &found) < 0)
        return -1;
    *out = ct_bool(found);
    return 0;
}

/* Python's `is`, as far as templates can tell: the same object, or the same small constant. */
static int same(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    struct ct_value other = c->arg[0];
    bool is_same = false;

    if (c->self.type == other.type && c->self.type >= CT_LIST)
        is_same = c->self.list == other.list;
    else if (c->self.type == other.type && ct_equal(r, c->self, other, &is_same) < 0)
        return -1;
    *out = ct_bool(is_same);
    return 0;
}

static int known(struct ct_run *r, const struct ct_call *c, struct ct_value *out)
{
    if (c->self.type != CT_TEXT_VALUE)
        return ct_fail(r, "the name of a filter or test is a string");
    *out = ct_bool((c->tag ? ct_test(c->self.text) : ct_filter(c->self.text)) != NULL);
    return 0;
}

#define BIT(type) (1 << (type))
#define LISTS (BIT(CT_LIST) | BIT(CT_TUPLE) | BIT(CT_RANGE) | BIT(CT_DICT) | BIT(CT_TEXT_VALUE) | BIT(CT_UNDEFINED))

static const struct ct_native tests[] = {
    { "defined", "", defined, 0 },
    { "undefined", "", defined, 1 },
    { "none", "", of_type, BIT(CT_NONE) },
    { "boolean", "", of_type, BIT(CT_BOOL) },
    { "integer", "", of_type, BIT(CT_INT) },
    { "float", "", of_type, BIT(CT_REAL) },
    { "number", "", of_type, BIT(CT_INT) | BIT(CT_BOOL) | BIT(CT_REAL) },
    { "string", "", of_type, BIT(CT_TEXT_VALUE) },
    { "mapping", "", of_type, BIT(CT_DICT) },
    { "sequence", "", of_type, LISTS },
    { "iterable", "", of_type, LISTS | BIT(CT_VIEW) | BIT(CT_GENERATOR) | BIT(CT_LOOP) },
    { "callable", "", of_type,
      BIT(CT_MACRO) | BIT(CT_LOOP) | BIT(CT_METHOD) | BIT(CT_FUNCTION) | BIT(CT_UNDEFINED) },
    { "true", "", constant, 1 },
    { "false", "", constant, 0 },
    { "even", "", remainder_is, 0 },
    { "odd", "", remainder_is, 1 },
    { "divisibleby", "num", remainder_is, 0 },
    { "upper", "", cased, 1 },
    { "lower", "", cased, 0 },
    { "eq", "other", equal, 1 },
    { "equalto", "other", equal, 1 },
    { "==", "other", equal, 1 },
    { "ne", "other", equal, 0 },
    { "!=", "other", equal, 0 },
    { "lt", "other", ordered, LESS },
    { "lessthan", "other", ordered, LESS },
    { "<", "other", ordered, LESS },
    { "le", "other", ordered, LESS | SAME },
    { "<=", "other", ordered, LESS | SAME },
    { "gt", "other", ordered, GREATER },
    { "greaterthan", "other", ordered, GREATER },
    { ">", "other", ordered, GREATER },
    { "ge", "other", ordered, GREATER | SAME },
    { ">=", "other", ordered, GREATER | SAME },
    { "in", "seq", in, 0 },
    { "sameas", "other", same, 0 },
    { "filter", "", known, 0 },
    { "test", "", known, 1 },
};

const struct ct_native *ct_test(struct ct_text name)
{
    for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
        if (ct_text_is(name, tests[i].name))
            return &tests[i];
    return NULL;
}
