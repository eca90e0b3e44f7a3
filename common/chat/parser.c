/* The grammar of jinja2: statements by a table, expressions by descent from the weakest operator to the strongest. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chat/parts.h"

struct parser {
    struct rlhf_template *template;
    const struct ct_token *token;
    struct ct_node *macro; /* the innermost macro or call block, whose special names are noted */
    unsigned depth, loops;
    struct rlhf_error *err;
};
/* A list under construction. */
struct chain {
    struct ct_node *first, **last;
};

static struct ct_node *expression(struct parser *p);
static struct ct_node *unary(struct parser *p, bool with_filter);
static struct ct_node *either(struct parser *p);
static struct ct_node *primary(struct parser *p);
static struct ct_node *postfix(struct parser *p, struct ct_node *n);
static struct ct_node *filters(struct parser *p, struct ct_node *n, bool in_line);

/* ---- tokens ---------------------------------------------------------------------------------------- */

/* An error at an offset: -1, or NULL where a node is returned. */
#define WRONG(p, at, ...) ct_source_fail(&(p)->template->source, (at), (p)->err, __VA_ARGS__)
#define FAIL(p, at, ...) (WRONG(p, at, __VA_ARGS__), (struct ct_node *)NULL)

static bool at_op(const struct parser *p, const char *op)
{
    return p->token->kind == CT_OPERATOR && ct_text_is(p->token->text, op);
}

static bool at_name(const struct parser *p, const char *name)
{
    return p->token->kind == CT_NAME && ct_text_is(p->token->text, name);
}

static bool skip_op(struct parser *p, const char *op)
{
    bool there = at_op(p, op);

    p->token += there;
    return there;
}

static bool skip_name(struct parser *p, const char *name)
{
    bool there = at_name(p, name);

    p->token += there;
    return there;
}

static struct ct_node *expected(struct parser *p, const char *what)
{
    struct ct_text t = p->token->text;

    if (p->token->kind == CT_END)
        return FAIL(p, p->token->at, "%s expected, but the template ends", what);
    return FAIL(p, p->token->at, "%s expected, but '%.*s' is there", what, t.size > 40 ? 40 : (int)t.size, t.data);
}

static int expect_op(struct parser *p, const char *op)
{
    char what[8] = { '\'' };

    if (skip_op(p, op))
        return 0;
    expected(p, strcat(strcat(what, op), "'"));
    return -1;
}

static struct ct_node *node(struct parser *p, enum ct_kind kind, uint32_t at)
{
    struct ct_node *n = rlhf_arena_zero(p->template->arena, 1, sizeof(*n));

    if (!n) {
        rlhf_fail(p->err, RLHF_FULL, "%s: out of memory for a template", p->template->source.where);
        return NULL;
    }
    n->kind = kind;
    n->at = at;
    return n;
}

static void add(struct chain *c, struct ct_node *n)
{
    if (!c->last)
        c->last = &c->first;
    *c->last = n;
    c->last = &n->next;
}

/* Bounds the recursion; every enter() that returns 0 needs a leave. */
static int enter(struct parser *p)
{
    if (++p->depth <= CT_NESTING_LIMIT)
        return 0;
    p->depth--;
    WRONG(p, p->token->at, "nested deeper than %d", CT_NESTING_LIMIT);
    return -1;
}

/* ---- literals -------------------------------------------------------------------------------------- */

/* The value of digits digits in a base, -1 where they are not that. */
static long escape_number(const char *text, size_t size, size_t count, int base)
{
    char number[12] = "", *end;

    if (size < count)
        return -1;
    memcpy(number, text, count);
    long value = strtol(number, &end, base);
    return end == number + count && number[0] != '-' && number[0] != '+' && number[0] != ' ' ? value : -1;
}

static size_t put_char(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00u >> n) | c);
    return n;
}

/* One escape of a Python string, text[0] being the backslash: its size, 0 on failure. Unknown ones stay as they are. */
static size_t unescape(struct parser *p, const char *text, size_t size, char *out, size_t *written)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = size > 1 && text[1] ? strchr(from, text[1]) : NULL;
    size_t count;
    long value;

    *written = 1;
    if (known) {
        *out = to[known - from];
        return 2;
    }
    if (size > 1 && text[1] == '\n') {
        *written = 0;
        return 2;
    }
    if (size > 1 && text[1] >= '0' && text[1] <= '7') {
        for (count = 1; count < 3 && count + 1 < size && text[count + 1] >= '0' && text[count + 1] <= '7'; count++)
            continue;
        *written = put_char(out, (uint32_t)escape_number(text + 1, size - 1, count, 8));
        return 1 + count;
    }
    count = size < 2 ? 0 : text[1] == 'x' ? 2 : text[1] == 'u' ? 4 : text[1] == 'U' ? 8 : 0;
    if (!count) {
        if (size > 1 && text[1] == 'N') {
            WRONG(p, p->token->at, "\\N{...} in a string is not supported");
            return 0;
        }
        *out = '\\';
        return 1;
    }
    value = escape_number(text + 2, size - 2, count, 16);
    if (value < 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
        WRONG(p, p->token->at, "the string has \\%c without a character's %zu hexadecimal digits", text[1], count);
        return 0;
    }
    *written = put_char(out, (uint32_t)value);
    return 2 + count;
}

/* The characters of one string token, behind what is in out already. */
static int string_value(struct parser *p, char *out, size_t *size)
{
    const char *text = p->token->text.data + 1;

    for (size_t at = 0, end = p->token->text.size - 2, n, written; at < end; at += n) {
        n = written = 1;
        if (text[at] != '\\')
            out[*size] = text[at];
        else if ((n = unescape(p, text + at, end - at, out + *size, &written)) == 0)
            return -1;
        *size += written;
    }
    return 0;
}

/* Strings that follow each other are one. */
static struct ct_node *string(struct parser *p)
{
    struct ct_node *n = node(p, CT_CONSTANT, p->token->at);
    size_t room = 0, size = 0;
    char *text;

    for (const struct ct_token *t = p->token; t->kind == CT_STRING; t++)
        room += t->text.size;
    if (!n)
        return NULL;
    if (!(text = rlhf_arena_get(p->template->arena, room + 1, 1)))
        return FAIL(p, p->token->at, "out of memory for a string of %zu bytes", room);
    for (; p->token->kind == CT_STRING; p->token++)
        if (string_value(p, text, &size) < 0)
            return NULL;
    text[size] = '\0';
    n->value = ct_string((struct ct_text){ text, size });
    return n;
}

static struct ct_node *number(struct parser *p)
{
    struct ct_node *n = node(p, CT_CONSTANT, p->token->at);
    char digits[400], *end;
    size_t size = 0;

    if (!n)
        return NULL;
    for (size_t i = 0; i < p->token->text.size && size < sizeof(digits) - 1; i++)
        if (p->token->text.data[i] != '_')
            digits[size++] = p->token->text.data[i];
    digits[size] = '\0';
    errno = 0;
    if (p->token->kind == CT_FLOAT)
        n->value = ct_real(strtod(digits, &end));
    else {
        if (size > 1 && digits[0] == '0' && digits[strspn(digits, "0")])
            return FAIL(p, p->token->at, "a number must not begin with 0");
        n->value = ct_int(strtoll(digits, &end, 10));
        if (errno)
            return FAIL(p, p->token->at, "numbers beyond 64 bits are not supported");
    }
    p->token++;
    return n;
}

/* ---- expressions ----------------------------------------------------------------------------------- */

/* a, b, c up to a closing bracket; what begins is stepped over already. */
static int items(struct parser *p, const char *close, struct chain *c)
{
    while (!skip_op(p, close)) {
        struct ct_node *item;

        if (c->first && expect_op(p, ",") < 0)
            return -1;
        if (skip_op(p, close))
            return 0;
        if (!(item = expression(p)))
            return -1;
        add(c, item);
    }
    return 0;
}

static struct ct_node *dict(struct parser *p, uint32_t at)
{
    struct ct_node *n = node(p, CT_MAKE_DICT, at), *entry;
    struct chain c = { 0 };

    while (n && !skip_op(p, "}")) {
        if (c.first && expect_op(p, ",") < 0)
            return NULL;
        if (skip_op(p, "}"))
            break;
        if (!(entry = node(p, CT_ENTRY, p->token->at)) || !(entry->a = expression(p)) || expect_op(p, ":") < 0 ||
            !(entry->b = expression(p)))
            return NULL;
        add(&c, entry);
    }
    if (n)
        n->list = c.first;
    return n;
}

/* One expression, or several with commas as a tuple; each: how one is read. */
static struct ct_node *tuple(struct parser *p, struct ct_node *(*each)(struct parser *))
{
    struct ct_node *first, *n;
    struct chain c = { 0 };
    uint32_t at = p->token->at;

    if (!(first = each(p)))
        return NULL;
    if (!at_op(p, ","))
        return first;
    if (!(n = node(p, CT_MAKE_TUPLE, at)))
        return NULL;
    add(&c, first);
    while (skip_op(p, ",")) {
        if (p->token->kind == CT_BLOCK_END || p->token->kind == CT_PRINT_END || at_op(p, ")") || at_op(p, "="))
            break;
        if (!(first = each(p)))
            return NULL;
        add(&c, first);
    }
    n->list = c.first;
    return n;
}

static struct ct_node *parenthesis(struct parser *p, uint32_t at)
{
    struct ct_node *n;

    if (skip_op(p, ")"))
        return node(p, CT_MAKE_TUPLE, at);
    n = tuple(p, expression);
    return n && expect_op(p, ")") == 0 ? n : NULL;
}

static const struct {
    const char *name;
    struct ct_value value;
} constants[] = {
    { "true", { .type = CT_BOOL, .truth = true } },   { "True", { .type = CT_BOOL, .truth = true } },
    { "false", { .type = CT_BOOL, .truth = false } }, { "False", { .type = CT_BOOL, .truth = false } },
    { "none", { .type = CT_NONE } },                  { "None", { .type = CT_NONE } },
};

static struct ct_node *name(struct parser *p)
{
    const struct ct_token *t = p->token++;
    struct ct_node *n;

    for (size_t i = 0; i < sizeof(constants) / sizeof(*constants); i++)
        if (ct_text_is(t->text, constants[i].name)) {
            if ((n = node(p, CT_CONSTANT, t->at)))
                n->value = constants[i].value;
            return n;
        }
    if (!(n = node(p, CT_VARIABLE, t->at)))
        return NULL;
    n->name = t->text;
    if (p->macro) {
        p->macro->takes_varargs |= ct_text_is(t->text, "varargs");
        p->macro->takes_kwargs |= ct_text_is(t->text, "kwargs");
        p->macro->takes_caller |= ct_text_is(t->text, "caller");
    }
    return n;
}

static struct ct_node *primary(struct parser *p)
{
    uint32_t at = p->token->at;
    struct ct_node *n;
    struct chain c = { 0 };

    switch (p->token->kind) {
    case CT_NAME:
        return name(p);
    case CT_STRING:
        return string(p);
    case CT_INTEGER:
    case CT_FLOAT:
        return number(p);
    default:
        break;
    }
    if (skip_op(p, "("))
        return parenthesis(p, at);
    if (skip_op(p, "{"))
        return dict(p, at);
    if (!skip_op(p, "["))
        return expected(p, "an expression");
    if (!(n = node(p, CT_MAKE_LIST, at)) || items(p, "]", &c) < 0)
        return NULL;
    n->list = c.first;
    return n;
}

/* What stands between [ and ]: an index or a slice. */
static struct ct_node *subscript(struct parser *p)
{
    struct ct_node *slice = node(p, CT_SLICE, p->token->at), *part;
    bool is_slice = false;

    if (!slice)
        return NULL;
    for (struct ct_node **to[] = { &slice->a, &slice->b, &slice->c }, ***t = to; t < to + 3; t++) {
        if (!at_op(p, ":") && !at_op(p, "]")) {
            if (!(part = t == to ? tuple(p, expression) : expression(p)))
                return NULL;
            **t = part;
        }
        if (!skip_op(p, ":"))
            break;
        is_slice = true;
    }
    if (!is_slice && !slice->a)
        return expected(p, "an index");
    return expect_op(p, "]") < 0 ? NULL : is_slice ? slice : slice->a;
}

/* (a, b=c, *d, **e) behind what is called. */
static int arguments(struct parser *p, struct ct_node **list)
{
    struct chain c = { 0 };
    bool named = false;

    for (p->token++; !skip_op(p, ")");) {
        struct ct_node *n;

        if (c.first && expect_op(p, ",") < 0)
            return -1;
        if (skip_op(p, ")"))
            break;
        if (!(n = node(p, CT_ARGUMENT, p->token->at)))
            return -1;
        if (skip_op(p, "*"))
            n->op = '*';
        else if (skip_op(p, "**"))
            n->op = CT_SPREAD_DICT;
        else if (p->token->kind == CT_NAME && p->token[1].kind == CT_OPERATOR && ct_text_is(p->token[1].text, "=")) {
            n->name = p->token->text;
            p->token += 2;
        } else if (named) {
            WRONG(p, p->token->at, "an argument without a name behind one with a name");
            return -1;
        }
        named |= n->name.size || n->op;
        if (!(n->a = expression(p)))
            return -1;
        add(&c, n);
    }
    *list = c.first;
    return 0;
}

static struct ct_node *call(struct parser *p, struct ct_node *callee)
{
    struct ct_node *n = node(p, CT_CALL, p->token->at);

    if (!n || arguments(p, &n->list) < 0)
        return NULL;
    n->at = callee->at;
    n->a = callee;
    return n;
}

static struct ct_node *postfix_once(struct parser *p, struct ct_node *of)
{
    struct ct_node *n;

    if (at_op(p, "("))
        return call(p, of);
    bool dot = skip_op(p, ".");
    if (dot && p->token->kind == CT_NAME) {
        if ((n = node(p, CT_ATTRIBUTE, p->token->at))) {
            n->a = of;
            n->name = p->token++->text;
        }
        return n;
    }
    if (dot && p->token->kind != CT_INTEGER)
        return expected(p, "a name or number behind '.'");
    if (!(n = node(p, CT_ITEM, p->token->at)))
        return NULL;
    n->a = of;
    p->token += !dot;
    n->b = dot ? number(p) : subscript(p);
    return n->b ? n : NULL;
}

static struct ct_node *postfix(struct parser *p, struct ct_node *n)
{
    unsigned chained = 0;

    while (n && (at_op(p, ".") || at_op(p, "[") || at_op(p, "("))) {
        if (++chained > CT_NESTING_LIMIT)
            return FAIL(p, p->token->at, "more than %d in a chain", CT_NESTING_LIMIT);
        n = postfix_once(p, n);
    }
    return n;
}

/* The name of a filter or test, and what it is. */
static struct ct_node *native(struct parser *p, enum ct_kind kind, struct ct_node *of)
{
    struct ct_node *n = node(p, kind, p->token->at);

    if (!n)
        return NULL;
    if (p->token->kind != CT_NAME)
        return expected(p, kind == CT_FILTER ? "a filter's name" : "a test's name");
    n->a = of;
    n->name = p->token++->text;
    n->native = kind == CT_FILTER ? ct_filter(n->name) : ct_test(n->name);
    if (!n->native)
        return FAIL(p, n->at, "the %s '%.*s' is not supported", kind == CT_FILTER ? "filter" : "test",
                    n->name.size > 60 ? 60 : (int)n->name.size, n->name.data);
    return n;
}

/* Whether a test's argument without brackets can begin here. */
static bool at_operand(const struct parser *p)
{
    if (p->token->kind == CT_NAME)
        return !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and") && !at_name(p, "if") && !at_name(p, "in") &&
               !at_name(p, "is") && !at_name(p, "not");
    return p->token->kind == CT_STRING || p->token->kind == CT_INTEGER || p->token->kind == CT_FLOAT || at_op(p, "[") ||
           at_op(p, "{");
}

static struct ct_node *test(struct parser *p, struct ct_node *of)
{
    uint32_t at = p->token->at;
    bool negated = skip_name(p, "not");
    struct ct_node *n = native(p, CT_TEST, of), *argument;

    if (!n)
        return NULL;
    if (at_op(p, "(")) {
        if (arguments(p, &n->list) < 0)
            return NULL;
    } else if (at_name(p, "is"))
        return FAIL(p, p->token->at, "tests cannot follow each other");
    else if (at_operand(p)) {
        if (!(n->list = node(p, CT_ARGUMENT, p->token->at)) || !(argument = primary(p)) ||
            !(n->list->a = postfix(p, argument)))
            return NULL;
    }
    if (!negated)
        return n;
    if (!(argument = node(p, CT_NOT, at)))
        return NULL;
    argument->a = n;
    return argument;
}

/* |filter and is test, as many as follow. In a block tag the first filter may stand without its |. */
static struct ct_node *filters(struct parser *p, struct ct_node *n, bool in_line)
{
    unsigned chained = 0;

    while (in_line || at_op(p, "|") || at_name(p, "is") || (n && at_op(p, "("))) {
        if (++chained > CT_NESTING_LIMIT)
            return FAIL(p, p->token->at, "more than %d in a chain", CT_NESTING_LIMIT);
        if (!in_line && at_op(p, "("))
            n = call(p, n);
        else if (!in_line && skip_name(p, "is"))
            n = test(p, n);
        else {
            p->token += !in_line;
            in_line = false;
            n = native(p, CT_FILTER, n);
            if (n && at_op(p, "(") && arguments(p, &n->list) < 0)
                return NULL;
        }
        if (!n)
            return NULL;
    }
    return n;
}

static struct ct_node *signed_operand(struct parser *p, enum ct_kind kind)
{
    struct ct_node *n = node(p, kind, p->token->at);

    if (!n || enter(p) < 0)
        return NULL;
    p->token++;
    n->a = unary(p, false);
    p->depth--;
    return n->a ? n : NULL;
}

static struct ct_node *unary(struct parser *p, bool with_filter)
{
    struct ct_node *n = at_op(p, "-") ? signed_operand(p, CT_NEGATE)
                        : at_op(p, "+") ? signed_operand(p, CT_POSITIVE)
                                        : primary(p);

    n = n ? postfix(p, n) : NULL;
    return n && with_filter ? filters(p, n, false) : n;
}

static const struct binary {
    const char *text;
    int op;
} powers[] = { { "**", CT_POWER }, { NULL, 0 } },
  products[] = { { "*", '*' }, { "//", CT_FLOOR_DIVIDE }, { "/", '/' }, { "%", '%' }, { NULL, 0 } },
  sums[] = { { "+", '+' }, { "-", '-' }, { NULL, 0 } },
  comparisons[] = { { "==", CT_EQ }, { "!=", CT_NE }, { "<=", CT_LE }, { ">=", CT_GE }, { "<", '<' }, { ">", '>' }, { NULL, 0 } };

static int skip_operator(struct parser *p, const struct binary *operators)
{
    for (; operators->text; operators++)
        if (skip_op(p, operators->text))
            return operators->op;
    return 0;
}

/* Operands joined by operators of one strength, from the left. */
static struct ct_node *left_to_right(struct parser *p, const struct binary *operators,
                                     struct ct_node *(*each)(struct parser *))
{
    struct ct_node *left = each(p), *n;
    uint32_t at = p->token->at;
    int op;

    while (left && (op = skip_operator(p, operators))) {
        if (!(n = node(p, CT_BINARY, at)))
            return NULL;
        n->op = op;
        n->a = left;
        if (!(n->b = each(p)))
            return NULL;
        left = n;
        at = p->token->at;
    }
    return left;
}

static struct ct_node *operand(struct parser *p)
{
    return unary(p, true);
}

static struct ct_node *power(struct parser *p)
{
    return left_to_right(p, powers, operand);
}

static struct ct_node *product(struct parser *p)
{
    return left_to_right(p, products, power);
}

static struct ct_node *concatenation(struct parser *p)
{
    struct ct_node *first = product(p), *n;
    struct chain c = { 0 };

    if (!first || !at_op(p, "~"))
        return first;
    if (!(n = node(p, CT_CONCAT, p->token->at)))
        return NULL;
    add(&c, first);
    while (skip_op(p, "~")) {
        struct ct_node *item = product(p);

        if (!item)
            return NULL;
        add(&c, item);
    }
    n->list = c.first;
    return n;
}

static struct ct_node *sum(struct parser *p)
{
    return left_to_right(p, sums, concatenation);
}

static struct ct_node *comparison(struct parser *p)
{
    struct ct_node *first = sum(p), *n = NULL;
    struct chain c = { 0 };

    while (first) {
        uint32_t at = p->token->at;
        int op = skip_operator(p, comparisons);

        if (!op && skip_name(p, "in"))
            op = CT_IN;
        if (!op && at_name(p, "not") && p->token[1].kind == CT_NAME && ct_text_is(p->token[1].text, "in")) {
            p->token += 2;
            op = CT_NOT_IN;
        }
        if (!op)
            break;
        if (!n && !(n = node(p, CT_COMPARE, at)))
            return NULL;
        n->a = first;
        struct ct_node *o = node(p, CT_OPERAND, at);
        if (!o || !(o->a = sum(p)))
            return NULL;
        o->op = op;
        add(&c, o);
    }
    if (!n || !first)
        return first;
    n->list = c.first;
    return n;
}

static struct ct_node *negation(struct parser *p)
{
    struct ct_node *n;

    if (!at_name(p, "not"))
        return comparison(p);
    if (!(n = node(p, CT_NOT, p->token->at)) || enter(p) < 0)
        return NULL;
    p->token++;
    n->a = negation(p);
    p->depth--;
    return n->a ? n : NULL;
}

static struct ct_node *joined(struct parser *p, const char *word, enum ct_kind kind, struct ct_node *(*each)(struct parser *))
{
    struct ct_node *left = each(p), *n;

    while (left && at_name(p, word)) {
        if (!(n = node(p, kind, p->token->at)))
            return NULL;
        p->token++;
        n->a = left;
        if (!(n->b = each(p)))
            return NULL;
        left = n;
    }
    return left;
}

static struct ct_node *both(struct parser *p)
{
    return joined(p, "and", CT_AND, negation);
}

/* Everything but the conditional expression. */
static struct ct_node *either(struct parser *p)
{
    struct ct_node *n = NULL;

    if (enter(p) == 0) {
        n = joined(p, "or", CT_OR, both);
        p->depth--;
    }
    return n;
}

static struct ct_node *expression(struct parser *p)
{
    struct ct_node *then = either(p), *n;

    while (then && at_name(p, "if")) {
        if (!(n = node(p, CT_CONDITION, p->token->at)))
            return NULL;
        p->token++;
        n->b = then;
        if (!(n->a = either(p)))
            return NULL;
        if (skip_name(p, "else")) {
            if (enter(p) < 0)
                return NULL;
            n->c = expression(p);
            p->depth--;
            if (!n->c)
                return NULL;
        }
        then = n;
    }
    return then;
}

/* ---- statements ------------------------------------------------------------------------------------ */

static int body(struct parser *p, const char *const *ends, struct ct_node **list);

static int end_block(struct parser *p)
{
    if (p->token->kind == CT_BLOCK_END) {
        p->token++;
        return 0;
    }
    expected(p, "'%}'");
    return -1;
}

/* The body of a block up to {% end %}. */
static int body_until(struct parser *p, const char *end, struct ct_node **list)
{
    return body(p, (const char *const[]){ end, NULL }, list) < 0 || (p->token++, end_block(p)) < 0 ? -1 : 0;
}

/* What can stand left of = or of in: a name, ns.name, or several of them. */
static struct ct_node *target_item(struct parser *p)
{
    struct ct_node *n;

    if (skip_op(p, "(")) {
        n = tuple(p, target_item);
        return n && expect_op(p, ")") == 0 ? n : NULL;
    }
    if (p->token->kind != CT_NAME)
        return expected(p, "a name");
    uint32_t at = p->token->at;
    n = name(p);
    if (n && n->kind == CT_CONSTANT)
        return FAIL(p, at, "a constant cannot be assigned to");
    if (n && at_op(p, "."))
        n = postfix_once(p, n);
    return !n || n->kind == CT_VARIABLE || n->kind == CT_ATTRIBUTE ? n : expected(p, "a name behind '.'");
}

static struct ct_node *target(struct parser *p)
{
    struct ct_node *n = NULL;

    if (enter(p) == 0) {
        n = tuple(p, target_item);
        p->depth--;
    }
    return n;
}

static int parse_if(struct parser *p, struct ct_node *n)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };

    for (;;) { /* n: the if, then each elif */
        n->kind = CT_IF;
        if (!(n->a = tuple(p, either)) || end_block(p) < 0 || body(p, ends, &n->body) < 0)
            return -1;
        if (!skip_name(p, "elif"))
            break;
        if (!(n->other = node(p, CT_IF, p->token->at)))
            return -1;
        n->op = 1;
        n = n->other;
    }
    if (skip_name(p, "else") && (end_block(p) < 0 || body(p, ends + 2, &n->other) < 0))
        return -1;
    p->token++;
    return end_block(p);
}

static int parse_for(struct parser *p, struct ct_node *n)
{
    static const char *const ends[] = { "else", "endfor", NULL };

    n->kind = CT_FOR;
    if (!(n->a = target(p)))
        return -1;
    if (!skip_name(p, "in")) {
        expected(p, "'in'");
        return -1;
    }
    if (!(n->b = tuple(p, either)) || (skip_name(p, "if") && !(n->c = expression(p))))
        return -1;
    n->op = skip_name(p, "recursive");
    p->loops++;
    if (end_block(p) < 0 || body(p, ends, &n->body) < 0)
        return -1;
    p->loops--;
    if (skip_name(p, "else") && (end_block(p) < 0 || body(p, ends + 1, &n->other) < 0))
        return -1;
    p->token++;
    return end_block(p);
}

static int parse_set(struct parser *p, struct ct_node *n)
{
    if (!(n->a = target(p)))
        return -1;
    if (skip_op(p, "=")) {
        n->kind = CT_SET;
        return !(n->b = tuple(p, expression)) ? -1 : end_block(p);
    }
    n->kind = CT_SET_BLOCK;
    if (n->a->kind == CT_MAKE_TUPLE) {
        WRONG(p, n->at, "a block can be set to one name only");
        return -1;
    }
    if (at_op(p, "|") && !(n->b = filters(p, NULL, false)))
        return -1;
    return end_block(p) < 0 ? -1 : body_until(p, "endset", &n->body);
}

/* (a, b=c): the parameters of a macro. */
static int parameters(struct parser *p, struct ct_node *n)
{
    struct chain c = { 0 };

    if (expect_op(p, "(") < 0)
        return -1;
    while (!skip_op(p, ")")) {
        struct ct_node *parameter;

        if (c.first && expect_op(p, ",") < 0)
            return -1;
        if (skip_op(p, ")"))
            break;
        if (p->token->kind != CT_NAME) {
            expected(p, "a parameter's name");
            return -1;
        }
        if (!(parameter = node(p, CT_PARAMETER, p->token->at)))
            return -1;
        parameter->name = p->token++->text;
        if (skip_op(p, "=") && !(parameter->a = expression(p)))
            return -1;
        add(&c, parameter);
    }
    n->list = c.first;
    return 0;
}

/* The body of a macro or call block: loops outside of it cannot be left from inside. */
static int macro_body(struct parser *p, struct ct_node *n, const char *end)
{
    struct ct_node *outer = p->macro;
    unsigned loops = p->loops;
    int result;

    p->macro = n;
    p->loops = 0;
    result = end_block(p) < 0 ? -1 : body_until(p, end, &n->body);
    p->macro = outer;
    p->loops = loops;
    return result;
}

static int parse_macro(struct parser *p, struct ct_node *n)
{
    n->kind = CT_DEFINE;
    if (p->token->kind != CT_NAME) {
        expected(p, "the macro's name");
        return -1;
    }
    n->name = p->token++->text;
    return parameters(p, n) < 0 ? -1 : macro_body(p, n, "endmacro");
}

static int parse_call(struct parser *p, struct ct_node *n)
{
    n->kind = CT_CALL_BLOCK;
    n->name = CT_TEXT("caller");
    if (at_op(p, "(") && parameters(p, n) < 0)
        return -1;
    if (!(n->b = expression(p)))
        return -1;
    if (n->b->kind != CT_CALL) {
        WRONG(p, n->b->at, "'call' needs the call of a macro");
        return -1;
    }
    return macro_body(p, n, "endcall");
}

static int parse_filter(struct parser *p, struct ct_node *n)
{
    n->kind = CT_FILTER_BLOCK;
    return !(n->b = filters(p, NULL, true)) || end_block(p) < 0 ? -1 : body_until(p, "endfilter", &n->body);
}

static int parse_with(struct parser *p, struct ct_node *n)
{
    struct chain c = { 0 };

    n->kind = CT_WITH;
    while (p->token->kind != CT_BLOCK_END) {
        struct ct_node *set = node(p, CT_SET, p->token->at);

        if (!set || (c.first && expect_op(p, ",") < 0) || !(set->a = target_item(p)) || expect_op(p, "=") < 0 ||
            !(set->b = expression(p)))
            return -1;
        add(&c, set);
    }
    n->list = c.first;
    return end_block(p) < 0 ? -1 : body_until(p, "endwith", &n->body);
}

static int parse_generation(struct parser *p, struct ct_node *n)
{
    n->kind = CT_GENERATION;
    p->template->marks = true;
    return macro_body(p, n, "endgeneration");
}

static int parse_jump(struct parser *p, struct ct_node *n)
{
    n->kind = ct_text_is(p->token[-1].text, "break") ? CT_BREAK : CT_CONTINUE;
    if (p->loops)
        return end_block(p);
    WRONG(p, n->at, "'%s' outside of a loop", n->kind == CT_BREAK ? "break" : "continue");
    return -1;
}

static const struct {
    const char *name;
    int (*parse)(struct parser *p, struct ct_node *n);
} statements[] = {
    { "if", parse_if },         { "for", parse_for },   { "set", parse_set },
    { "macro", parse_macro },   { "call", parse_call }, { "filter", parse_filter },
    { "with", parse_with },     { "break", parse_jump }, { "generation", parse_generation },
    { "continue", parse_jump },
};

static struct ct_node *statement(struct parser *p)
{
    const struct ct_token *t = p->token;
    struct ct_node *n = node(p, CT_WRITE, t->at);

    if (t->kind != CT_NAME)
        return expected(p, "a statement");
    for (size_t i = 0; n && i < sizeof(statements) / sizeof(*statements); i++)
        if (ct_text_is(t->text, statements[i].name)) {
            p->token++;
            return statements[i].parse(p, n) < 0 ? NULL : n;
        }
    if (!strncmp(t->text.data, "end", 3) || ct_text_is(t->text, "else") || ct_text_is(t->text, "elif"))
        return FAIL(p, t->at, "'%.*s' without what it belongs to", (int)(t->text.size > 60 ? 60 : t->text.size), t->text.data);
    return FAIL(p, t->at, "the statement '%.*s' is not supported", (int)(t->text.size > 60 ? 60 : t->text.size),
                t->text.data);
}

static struct ct_node *output(struct parser *p)
{
    struct ct_node *n = node(p, CT_OUTPUT, p->token->at);

    p->token++;
    if (!n || !(n->a = tuple(p, expression)))
        return NULL;
    if (p->token->kind != CT_PRINT_END)
        return expected(p, "'}}'");
    p->token++;
    return n;
}

static bool at_any(const struct parser *p, const char *const *names)
{
    for (; *names; names++)
        if (at_name(p, *names))
            return true;
    return false;
}

/* Statements up to one of ends, whose name is then the next token; ends NULL: up to the template's end. */
static int body(struct parser *p, const char *const *ends, struct ct_node **list)
{
    struct chain c = { 0 };

    if (enter(p) < 0)
        return -1;
    while (p->token->kind != CT_END) {
        struct ct_node *n;

        if (p->token->kind == CT_DATA) {
            if (!(n = node(p, CT_WRITE, p->token->at)))
                return -1;
            n->value = ct_string(p->token++->text);
        } else if (p->token->kind == CT_PRINT_BEGIN)
            n = output(p);
        else {
            p->token++;
            if (ends && at_any(p, ends))
                break;
            n = statement(p);
        }
        if (!n)
            return -1;
        add(&c, n);
    }
    p->depth--;
    *list = c.first;
    if (!ends || p->token->kind != CT_END)
        return 0;
    WRONG(p, p->token->at, "the template ends where '%s' is expected", ends[0]);
    return -1;
}

int ct_parse(struct rlhf_template *t, struct rlhf_error *err)
{
    struct parser p = { .template = t, .err = err };
    struct ct_node *all = NULL;

    if (!(p.token = ct_lex(&t->source, t->arena, err)) || body(&p, NULL, &all) < 0)
        return -1;
    t->body = all;
    return 0;
}
