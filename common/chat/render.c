/* Runs the statements of a template. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "chat/parts.h"

static int run(struct ct_run *r, const struct ct_node *list);

/* ---- variables ------------------------------------------------------------------------------------- */

static int bind_name(struct ct_run *r, struct ct_scope *scope, struct ct_text name, struct ct_value value)
{
    struct ct_binding *b;

    for (b = scope->first; b; b = b->next)
        if (ct_text_equal(b->name, name)) {
            b->value = value;
            return 0;
        }
    if (!(b = ct_get(r, 1, sizeof(*b))))
        return -1;
    *b = (struct ct_binding){ name, value, scope->first };
    scope->first = b;
    return 0;
}

static struct ct_scope *new_scope(struct ct_run *r, struct ct_scope *parent)
{
    struct ct_scope *s = ct_get(r, 1, sizeof(*s));

    if (s)
        *s = (struct ct_scope){ .parent = parent };
    return s;
}

/* ns.name = value */
static int set_attribute(struct ct_run *r, const struct ct_node *target, struct ct_value value)
{
    struct ct_value of;

    if (ct_evaluate(r, target->a, &of) < 0)
        return -1;
    r->at = target->at;
    if (of.type != CT_NAMESPACE)
        return ct_fail(r, "cannot assign attribute on non-namespace object");
    if (target->name.data[0] == '_')
        return ct_fail(r, "a namespace cannot have attributes that begin with an underscore");
    return ct_dict_put(r, of.dict, ct_string(target->name), value);
}

static int assign(struct ct_run *r, const struct ct_node *target, struct ct_value value)
{
    const struct ct_value *item;
    size_t count, wanted = 0;

    if (target->kind == CT_VARIABLE)
        return bind_name(r, r->scope, target->name, value);
    if (target->kind == CT_ATTRIBUTE)
        return set_attribute(r, target, value);
    r->at = target->at;
    if (ct_items(r, value, &item, &count) < 0)
        return -1;
    for (const struct ct_node *t = target->list; t; t = t->next)
        wanted++;
    if (count != wanted)
        return ct_fail(r, "%s values to unpack (%zu where %zu are expected)", count < wanted ? "not enough" : "too many",
                       count, wanted);
    for (const struct ct_node *t = target->list; t; t = t->next)
        if (assign(r, t, *item++) < 0)
            return -1;
    return 0;
}

/* ---- text that is not written at once -------------------------------------------------------------- */

/* What the body writes, as a string; in a scope of its own. */
static int capture(struct ct_run *r, const struct ct_node *body, struct ct_scope *scope, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 }, *before = r->out;
    struct ct_scope *outer = r->scope;
    int result;

    if (++r->depth > CT_DEPTH_LIMIT)
        return ct_fail(r, "macros and blocks are nested deeper than %d", CT_DEPTH_LIMIT);
    r->out = &text;
    r->scope = scope;
    result = run(r, body);
    r->out = before;
    r->scope = outer;
    r->depth--;
    if (result == 0)
        return ct_take(r, &text, out);
    rlhf_bytes_free(&text);
    return -1;
}

/* The filters of a block over its text: the innermost has no operand of its own. */
static int filter_text(struct ct_run *r, const struct ct_node *filter, struct ct_value text, struct ct_value *out)
{
    struct ct_node constant = { .kind = CT_CONSTANT, .at = filter->at, .value = text }, with_operand = *filter;

    if (filter->a && filter_text(r, filter->a, text, &constant.value) < 0)
        return -1;
    with_operand.a = &constant;
    return ct_evaluate(r, &with_operand, out);
}

/* ---- macros ---------------------------------------------------------------------------------------- */

static bool is_parameter(const struct ct_node *node, struct ct_text name)
{
    for (const struct ct_node *p = node->list; p; p = p->next)
        if (ct_text_equal(p->name, name))
            return true;
    return false;
}

/* What is given beyond the parameters: varargs, kwargs and caller, where the body names them. */
static int bind_rest(struct ct_run *r, const struct ct_node *node, const struct ct_arguments *given, size_t used,
                     struct ct_scope *scope)
{
    struct ct_value varargs, kwargs, none = ct_none();
    size_t positional = 0, extra;
    bool caller = false;

    while (positional < given->count && !given->item[positional].name.data)
        positional++;
    extra = positional > used ? positional - used : 0;
    if (extra && !node->takes_varargs)
        return ct_fail(r, "macro '%.*s' takes not more than %zu argument(s)", (int)node->name.size, node->name.data, used);
    if (ct_list_new(r, CT_TUPLE, extra, &varargs) < 0 || ct_dict_new(r, CT_DICT, 0, &kwargs) < 0)
        return -1;
    for (size_t i = 0; i < extra; i++)
        varargs.list->item[i] = given->item[used + i].value;
    for (size_t i = positional; i < given->count; i++) {
        const struct ct_argument *a = &given->item[i];

        if (is_parameter(node, a->name))
            continue;
        if (ct_text_is(a->name, "caller") && node->takes_caller) {
            caller = true;
            if (bind_name(r, scope, a->name, a->value) < 0)
                return -1;
        } else if (!node->takes_kwargs)
            return ct_fail(r, "macro '%.*s' takes no keyword argument '%.*s'", (int)node->name.size, node->name.data,
                           (int)(a->name.size > 60 ? 60 : a->name.size), a->name.data);
        else if (ct_dict_put(r, kwargs.dict, ct_string(a->name), a->value) < 0)
            return -1;
    }
    if (node->takes_caller && !caller && node->kind == CT_DEFINE &&
        (ct_undefined(r, &none, "No caller defined") < 0 || bind_name(r, scope, CT_TEXT("caller"), none) < 0))
        return -1;
    if (node->takes_varargs && bind_name(r, scope, CT_TEXT("varargs"), varargs) < 0)
        return -1;
    return node->takes_kwargs ? bind_name(r, scope, CT_TEXT("kwargs"), kwargs) : 0;
}

static int bind_parameters(struct ct_run *r, const struct ct_node *node, const struct ct_arguments *given,
                           struct ct_scope *scope)
{
    struct ct_scope *outer = r->scope;
    size_t place = 0;

    for (const struct ct_node *p = node->list; p; p = p->next, place++) {
        struct ct_value value = { .type = CT_MISSING };
        int result = 0;

        if (place < given->count && !given->item[place].name.data)
            value = given->item[place].value;
        for (size_t i = 0; i < given->count; i++)
            if (given->item[i].name.data && ct_text_equal(given->item[i].name, p->name)) {
                if (value.type != CT_MISSING)
                    return ct_fail(r, "macro '%.*s' got '%.*s' twice", (int)node->name.size, node->name.data,
                                   (int)p->name.size, p->name.data);
                value = given->item[i].value;
            }
        if (value.type == CT_MISSING && p->a) { /* defaults see the parameters before them */
            r->scope = scope;
            result = ct_evaluate(r, p->a, &value);
            r->scope = outer;
        } else if (value.type == CT_MISSING)
            result = ct_undefined(r, &value, "parameter '%.*s' was not provided", (int)p->name.size, p->name.data);
        if (result < 0 || bind_name(r, scope, p->name, value) < 0)
            return -1;
    }
    return bind_rest(r, node, given, place, scope);
}

int ct_call_macro(struct ct_run *r, const struct ct_macro *m, const struct ct_arguments *given, struct ct_value *out)
{
    struct ct_scope *scope = new_scope(r, m->scope);

    return !scope || bind_parameters(r, m->node, given, scope) < 0 ? -1 : capture(r, m->node->body, scope, out);
}

static int new_macro(struct ct_run *r, const struct ct_node *n, struct ct_value *out)
{
    struct ct_macro *m = ct_get(r, 1, sizeof(*m));

    if (!m)
        return -1;
    *m = (struct ct_macro){ n, r->scope };
    *out = (struct ct_value){ .type = CT_MACRO, .macro = m };
    return 0;
}

/* {% call f(x) %}: f gets the block as its caller. */
static int call_block(struct ct_run *r, const struct ct_node *n)
{
    struct ct_node caller = { .kind = CT_CONSTANT, .at = n->at };
    struct ct_node argument = { .kind = CT_ARGUMENT, .at = n->at, .a = &caller, .name = CT_TEXT("caller") };
    struct ct_node call = *n->b, *copies;
    struct ct_value text;
    size_t count = 0;

    for (const struct ct_node *a = n->b->list; a; a = a->next)
        count++;
    if (new_macro(r, n, &caller.value) < 0 || !(copies = ct_get(r, count, sizeof(*copies))))
        return -1;
    count = 0;
    for (const struct ct_node *a = n->b->list; a; a = a->next, count++) {
        copies[count] = *a;
        copies[count].next = a->next ? &copies[count + 1] : &argument;
    }
    call.list = count ? copies : &argument;
    return ct_evaluate(r, &call, &text) < 0 ? -1 : ct_append_str(r, text, r->out);
}

/* ---- loops ----------------------------------------------------------------------------------------- */

/* The items that the loop's condition lets through. */
static int filter_items(struct ct_run *r, const struct ct_node *n, struct ct_scope *around, const struct ct_value **items,
                        size_t *count)
{
    struct ct_value *kept;
    size_t all = *count;

    if (!n->c)
        return 0;
    if (!(kept = ct_get(r, all, sizeof(*kept))))
        return -1;
    *count = 0;
    for (size_t i = 0; i < all; i++) {
        struct ct_value truth;

        if (!(r->scope = new_scope(r, around)) || assign(r, n->a, (*items)[i]) < 0 || ct_evaluate(r, n->c, &truth) < 0)
            return -1;
        if (ct_truth(truth))
            kept[(*count)++] = (*items)[i];
    }
    *items = kept;
    return 0;
}

static int run_loop(struct ct_run *r, const struct ct_node *n, struct ct_value over, struct ct_scope *around)
{
    struct ct_loop *loop = ct_get(r, 1, sizeof(*loop));
    struct ct_scope *outer = r->scope;
    int result = 0;

    if (!loop)
        return -1;
    *loop = (struct ct_loop){ .node = n, .scope = around, .depth = r->loop_depth + 1 };
    r->at = n->at;
    if (ct_items(r, over, &loop->item, &loop->count) < 0)
        return -1;
    result = filter_items(r, n, around, &loop->item, &loop->count);
    for (; result == 0 && loop->index < loop->count; loop->index++) {
        size_t mark_depth = r->loop_depth;

        if (!(r->scope = new_scope(r, around)) ||
            bind_name(r, r->scope, CT_TEXT("loop"), (struct ct_value){ .type = CT_LOOP, .loop = loop }) < 0 ||
            assign(r, n->a, loop->item[loop->index]) < 0) {
            result = -1;
            break;
        }
        r->loop_depth = n->op ? (unsigned)loop->depth : 0;
        result = run(r, n->body);
        r->loop_depth = (unsigned)mark_depth;
        bool broke = r->flow == CT_BREAKING;
        r->flow = CT_GOING;
        if (broke)
            break;
    }
    if (result == 0 && loop->count == 0 && n->other)
        result = (r->scope = new_scope(r, around)) ? run(r, n->other) : -1;
    r->scope = outer;
    return result;
}

int ct_call_loop(struct ct_run *r, const struct ct_loop *loop, struct ct_value items, struct ct_value *out)
{
    struct rlhf_bytes text = { 0 }, *before = r->out;
    int result = -1;

    if (!loop->node->op)
        return ct_fail(r, "loop() in a loop that is not recursive");
    if (++r->depth > CT_DEPTH_LIMIT)
        return ct_fail(r, "loop() is nested deeper than %d", CT_DEPTH_LIMIT);
    r->out = &text;
    r->loop_depth = (unsigned)loop->depth;
    result = run_loop(r, loop->node, items, loop->scope);
    r->out = before;
    r->depth--;
    if (result == 0)
        return ct_take(r, &text, out);
    rlhf_bytes_free(&text);
    return -1;
}

/* ---- statements ------------------------------------------------------------------------------------ */

static int run_if(struct ct_run *r, const struct ct_node *n)
{
    for (;; n = n->other) {
        struct ct_value truth;

        if (ct_evaluate(r, n->a, &truth) < 0)
            return -1;
        if (ct_truth(truth))
            return run(r, n->body);
        if (!n->op) /* no elif follows */
            return run(r, n->other);
    }
}

static int run_with(struct ct_run *r, const struct ct_node *n)
{
    struct ct_scope *outer = r->scope, *inner = new_scope(r, outer);
    int result = inner ? 0 : -1;

    for (const struct ct_node *set = n->list; result == 0 && set; set = set->next) {
        struct ct_value value;

        result = ct_evaluate(r, set->b, &value);
        if (result == 0 && set->a->kind != CT_VARIABLE)
            result = ct_fail(r, "'with' sets names only");
        if (result == 0)
            result = bind_name(r, inner, set->a->name, value);
    }
    r->scope = inner ? inner : outer;
    if (result == 0)
        result = run(r, n->body);
    r->scope = outer;
    return result;
}

/* transformers counts from what was written so far, also where the block stands in a macro. */
static int run_generation(struct ct_run *r, const struct ct_node *n)
{
    struct rlhf_rendered *out = r->rendered;
    struct ct_scope *scope = new_scope(r, r->scope);
    struct ct_value text;

    if (!scope || capture(r, n->body, scope, &text) < 0)
        return -1;
    if (out->generated_count == out->generated_room) {
        size_t room = out->generated_room ? 2 * out->generated_room : 8;
        struct rlhf_range *larger = reallocarray(out->generated, room, sizeof(*larger));

        if (!larger)
            return rlhf_fail(r->err, RLHF_FULL, "out of memory for a conversation's spans");
        out->generated = larger;
        out->generated_room = room;
    }
    out->generated[out->generated_count++] =
        (struct rlhf_range){ out->text.size, out->text.size + text.text.size };
    return ct_append(r, r->out, text.text.data, text.text.size);
}

static int run_block(struct ct_run *r, const struct ct_node *n, struct ct_value *text)
{
    struct ct_scope *scope = new_scope(r, r->scope);

    if (!scope || capture(r, n->body, scope, text) < 0)
        return -1;
    return n->b ? filter_text(r, n->b, *text, text) : 0;
}

static int run_one(struct ct_run *r, const struct ct_node *n)
{
    struct ct_value v;

    switch (n->kind) {
    case CT_WRITE:
        return ct_append(r, r->out, n->value.text.data, n->value.text.size);
    case CT_OUTPUT:
        if (ct_evaluate(r, n->a, &v) < 0)
            return -1;
        r->at = n->a->at;
        return ct_append_str(r, v, r->out);
    case CT_IF:
        return run_if(r, n);
    case CT_FOR:
        return ct_evaluate(r, n->b, &v) < 0 ? -1 : run_loop(r, n, v, r->scope);
    case CT_SET:
        return ct_evaluate(r, n->b, &v) < 0 ? -1 : assign(r, n->a, v);
    case CT_SET_BLOCK:
        return run_block(r, n, &v) < 0 ? -1 : assign(r, n->a, v);
    case CT_DEFINE:
        return new_macro(r, n, &v) < 0 ? -1 : bind_name(r, r->scope, n->name, v);
    case CT_CALL_BLOCK:
        return call_block(r, n);
    case CT_FILTER_BLOCK:
        return run_block(r, n, &v) < 0 ? -1 : ct_append_str(r, v, r->out);
    case CT_WITH:
        return run_with(r, n);
    case CT_GENERATION:
        return run_generation(r, n);
    case CT_BREAK:
        r->flow = CT_BREAKING;
        return 0;
    case CT_CONTINUE:
        r->flow = CT_CONTINUING;
        return 0;
    default:
        return ct_fail(r, "this is no statement");
    }
}

static int run(struct ct_run *r, const struct ct_node *list)
{
    for (const struct ct_node *n = list; n && r->flow == CT_GOING; n = n->next) {
        r->at = n->at;
        if (ct_charge(r, 1) < 0 || run_one(r, n) < 0)
            return -1;
    }
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

/* \r\n and \r become \n; one newline at the end goes. */
static int read_source(struct rlhf_template *t, const char *source, size_t size, const char *where,
                       struct rlhf_error *err)
{
    char *text = rlhf_arena_get(t->arena, size + 1, 1), *name = rlhf_arena_get(t->arena, strlen(where) + 1, 1);
    size_t kept = 0;

    if (!text || !name)
        return rlhf_fail(err, RLHF_FULL, "%s: out of memory for %zu bytes of template", where, size);
    for (size_t i = 0; i < size; i++)
        if (source[i] != '\r')
            text[kept++] = source[i];
        else if (i + 1 == size || source[i + 1] != '\n')
            text[kept++] = '\n';
    if (kept && text[kept - 1] == '\n')
        kept--;
    text[kept] = '\0';
    t->source = (struct ct_source){ strcpy(name, where), { text, kept } };
    return 0;
}

struct rlhf_template *rlhf_template_new(const char *source, size_t size, const char *where, struct rlhf_error *err)
{
    struct rlhf_template *t = NULL;

    if (size > CT_SOURCE_LIMIT || !rlhf_utf8_valid(source, size)) {
        rlhf_fail(err, RLHF_REJECT, size > CT_SOURCE_LIMIT ? "%s: a template of more than %d bytes"
                                                           : "%s: the template is not UTF-8", where, CT_SOURCE_LIMIT);
        return NULL;
    }
    if (!(t = calloc(1, sizeof(*t))) || !(t->arena = rlhf_arena_new(CT_MEMORY_LIMIT, err))) {
        rlhf_fail(err, RLHF_FULL, "%s: out of memory for a template", where);
        free(t);
        return NULL;
    }
    if (read_source(t, source, size, where, err) == 0 && ct_parse(t, err) == 0)
        return t;
    rlhf_template_free(t);
    return NULL;
}

bool rlhf_template_marks(const struct rlhf_template *t)
{
    return t->marks;
}

static int bind_variables(struct ct_run *r, const json_t *variables)
{
    const char *name;
    json_t *item;

    json_object_foreach((json_t *)variables, name, item) {
        struct ct_value value;

        if (ct_from_json(r, item, 0, &value) < 0 ||
            bind_name(r, r->scope, (struct ct_text){ name, strlen(name) }, value) < 0)
            return -1;
    }
    return 0;
}

int rlhf_template_render(const struct rlhf_template *t, const json_t *variables, time_t now, struct rlhf_rendered *out,
                         struct rlhf_error *err)
{
    struct rlhf_error own = { 0 };
    struct ct_run r = { .template = t, .now = now, .rendered = out, .out = &out->text, .err = &own };
    int result = -1;

    rlhf_bytes_clear(&out->text);
    out->generated_count = 0;
    if (!(r.arena = rlhf_arena_new(CT_MEMORY_LIMIT, err)))
        return -1;
    if ((r.scope = new_scope(&r, NULL)) && bind_variables(&r, variables) == 0)
        result = run(&r, t->body);
    rlhf_arena_free(r.arena);
    if (result == 0)
        return rlhf_bytes_append(&out->text, "", 0, err);
    rlhf_bytes_clear(&out->text);
    if (err)
        *err = own;
    return -1;
}

void rlhf_rendered_free(struct rlhf_rendered *r)
{
    rlhf_bytes_free(&r->text);
    free(r->generated);
    *r = (struct rlhf_rendered){ 0 };
}

void rlhf_template_free(struct rlhf_template *t)
{
    if (!t)
        return;
    rlhf_arena_free(t->arena);
    free(t);
}
