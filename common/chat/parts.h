/* parts.h - the steps of a chat template, private to this room.
 *
 * The source becomes tokens (lexer.c), the tokens a tree (parser.c), and the tree with some variables a text
 * (render.c for statements, expression.c for expressions). Values are Python's (value.c), and so is their text
 * (python.c); what can be called on them stands in tables (filters.c, tests.c, methods.c, functions.c). Trees live in the
 * template's arena, values in the run's. All strings are valid UTF-8; positions and lengths that templates see count
 * characters. */
#ifndef RLHF_CHAT_PARTS_H
#define RLHF_CHAT_PARTS_H

#include <stdint.h>

#include "base/text.h"
#include "chat/template.h"

enum {
    CT_SOURCE_LIMIT = 1 << 20,   /* bytes of a template; published ones have at most some 30 KB          */
    CT_NESTING_LIMIT = 200,      /* of expressions and blocks in a template, and of values               */
    CT_DEPTH_LIMIT = 1000,       /* of evaluation, macros calling macros included                        */
    CT_STEP_LIMIT = 30000000,    /* nodes evaluated and items handled; real conversations need thousands */
    CT_MEMORY_LIMIT = 256 << 20, /* bytes of values                                                      */
    CT_TEXT_LIMIT = 64 << 20,    /* bytes of any one string, the text itself included                    */
    CT_RANGE_LIMIT = 100000      /* length of a range(); jinja2's sandbox has the same                   */
};

struct ct_text {
    const char *data;
    size_t size;
};
#define CT_TEXT(literal) ((struct ct_text){ (literal), sizeof(literal) - 1 })
bool ct_text_is(struct ct_text t, const char *text);
bool ct_text_equal(struct ct_text a, struct ct_text b);

/* ---- tokens (lexer.c) ------------------------------------------------------------------------------ */

enum ct_token_kind {
    CT_DATA,
    CT_BLOCK_BEGIN, /* {% */
    CT_BLOCK_END,
    CT_PRINT_BEGIN, /* {{ */
    CT_PRINT_END,
    CT_NAME,
    CT_STRING, /* text: with its quotes */
    CT_INTEGER,
    CT_FLOAT,
    CT_OPERATOR,
    CT_END
};
struct ct_token {
    enum ct_token_kind kind;
    uint32_t at; /* offset in the source */
    struct ct_text text;
};
struct ct_source {
    const char *where;
    struct ct_text text; /* newlines are \n, one at the end is gone */
};
/* An error at an offset: "WHERE: line L, column C: ...". Returns -1. */
int ct_source_fail(const struct ct_source *s, size_t at, struct rlhf_error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* All tokens, CT_END last, in the arena. */
struct ct_token *ct_lex(const struct ct_source *s, struct rlhf_arena *arena, struct rlhf_error *err);

/* ---- values (value.c) ------------------------------------------------------------------------------ */

enum ct_type {
    CT_MISSING, /* an argument that was not given */
    CT_UNDEFINED,
    CT_NONE,
    CT_BOOL,
    CT_INT,
    CT_REAL,
    CT_TEXT_VALUE,
    CT_LIST,
    CT_TUPLE,
    CT_VIEW,      /* dict.keys() and its like: can be walked and counted, not indexed */
    CT_GENERATOR, /* map(), select(): can be walked once                              */
    CT_RANGE,
    CT_DICT,
    CT_NAMESPACE,
    CT_MACRO,
    CT_LOOP,
    CT_METHOD,
    CT_FUNCTION
};

struct ct_value {
    enum ct_type type;
    union {
        bool truth;
        int64_t integer;
        double real;
        struct ct_text text; /* UNDEFINED: what the error says that using it gives */
        struct ct_list *list; /* LIST, TUPLE, VIEW, GENERATOR */
        struct ct_dict *dict; /* DICT, NAMESPACE */
        const struct ct_steps *range;
        const struct ct_macro *macro;
        struct ct_loop *loop;
        const struct ct_method *method;
        const struct ct_native *function;
    };
};
struct ct_list {
    struct ct_value *item;
    size_t count;
    size_t done;      /* GENERATOR: how many were taken */
    const char *name; /* VIEW: "dict_keys" */
};
struct ct_pair {
    struct ct_value key, value;
};
struct ct_dict {
    struct ct_pair *pair; /* in order of insertion */
    size_t count, room;
};
struct ct_steps {
    int64_t start, step, count, stop;
};

struct ct_run;
struct ct_node;

static inline struct ct_value ct_none(void)
{
    return (struct ct_value){ .type = CT_NONE };
}
static inline struct ct_value ct_bool(bool truth)
{
    return (struct ct_value){ .type = CT_BOOL, .truth = truth };
}
static inline struct ct_value ct_int(int64_t integer)
{
    return (struct ct_value){ .type = CT_INT, .integer = integer };
}
static inline struct ct_value ct_real(double real)
{
    return (struct ct_value){ .type = CT_REAL, .real = real };
}
static inline struct ct_value ct_string(struct ct_text text)
{
    return (struct ct_value){ .type = CT_TEXT_VALUE, .text = text };
}
static inline bool ct_is_sequence(struct ct_value v) /* has items in a list */
{
    return v.type >= CT_LIST && v.type <= CT_GENERATOR;
}
static inline bool ct_is_integer(struct ct_value v) /* bool is an int in Python */
{
    return v.type == CT_INT || v.type == CT_BOOL;
}
static inline int64_t ct_integer(struct ct_value v)
{
    return v.type == CT_BOOL ? v.truth : v.integer;
}
static inline bool ct_is_number(struct ct_value v)
{
    return ct_is_integer(v) || v.type == CT_REAL;
}
static inline double ct_number(struct ct_value v)
{
    return v.type == CT_REAL ? v.real : (double)ct_integer(v);
}

const char *ct_type_name(struct ct_value v); /* as Python says it: "str" */
bool ct_truth(struct ct_value v);
/* From JSON; strings are borrowed. */
int ct_from_json(struct ct_run *r, const json_t *json, unsigned depth, struct ct_value *out);

/* Room in the run's arena; NULL and the run's error beyond CT_MEMORY_LIMIT. */
void *ct_get(struct ct_run *r, size_t count, size_t size);
int ct_copy(struct ct_run *r, const char *data, size_t size, struct ct_value *out); /* a string of its own */
/* Copies what printf would write; for messages and numbers. */
int ct_print(struct ct_run *r, struct ct_value *out, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int ct_list_new(struct ct_run *r, enum ct_type type, size_t count, struct ct_value *out); /* items not set */
int ct_dict_new(struct ct_run *r, enum ct_type type, size_t room, struct ct_value *out);
int ct_dict_put(struct ct_run *r, struct ct_dict *d, struct ct_value key, struct ct_value value);
const struct ct_value *ct_dict_get(struct ct_run *r, const struct ct_dict *d, struct ct_value key); /* NULL */
/* Python's ==; -1 where values are nested too deeply. */
int ct_equal(struct ct_run *r, struct ct_value a, struct ct_value b, bool *equal);
/* Python's < as -1, 0, 1 in *order; -1 and an error where the two have no order. */
int ct_order(struct ct_run *r, struct ct_value a, struct ct_value b, int *order);
/* All items of something that can be walked, not to be written to; takes those of a generator. */
int ct_items(struct ct_run *r, struct ct_value v, const struct ct_value **items, size_t *count);
int ct_length(struct ct_run *r, struct ct_value v, size_t *length);

/* ---- text as Python has it (python.c) -------------------------------------------------------------- */

size_t ct_count_chars(struct ct_text t);
/* The byte where character number index begins; index may be the count. */
size_t ct_char_offset(struct ct_text t, size_t index);
struct ct_text ct_strip(struct ct_text t, const struct ct_text *chars, bool left, bool right); /* NULL: spaces */
enum ct_case { CT_UPPER, CT_LOWER, CT_CAPITALIZE, CT_TITLE, CT_SWAP };
int ct_change_case(struct ct_run *r, struct ct_text t, enum ct_case how, struct ct_value *out);
/* Appends str(v), repr(v). */
int ct_append_str(struct ct_run *r, struct ct_value v, struct rlhf_bytes *out);
int ct_append_repr(struct ct_run *r, struct ct_value v, unsigned depth, struct rlhf_bytes *out);
int ct_str(struct ct_run *r, struct ct_value v, struct ct_text *out); /* str(v) */
/* Takes the buffer's bytes as a string and empties it, also on failure. */
int ct_take(struct ct_run *r, struct rlhf_bytes *buffer, struct ct_value *out);
int ct_append(struct ct_run *r, struct rlhf_bytes *out, const char *data, size_t size); /* within CT_TEXT_LIMIT */
struct ct_json_style {
    bool ensure_ascii, sort_keys, pretty;
    struct ct_text indent, item_separator, key_separator;
};
int ct_append_json(struct ct_run *r, struct ct_value v, const struct ct_json_style *style, unsigned depth,
                   struct rlhf_bytes *out);
/* format % values, values a tuple, a dict or one value. */
int ct_percent(struct ct_run *r, struct ct_text format, struct ct_value values, struct ct_value *out);

/* ---- the tree (parser.c) --------------------------------------------------------------------------- */

enum ct_kind {
    /* expressions: value, or operands a, b, c */
    CT_CONSTANT,  /* value                                             */
    CT_VARIABLE,  /* name                                              */
    CT_MAKE_LIST, /* list                                              */
    CT_MAKE_TUPLE,
    CT_MAKE_DICT, /* list of CT_ENTRY                                  */
    CT_ENTRY,     /* a: b                                              */
    CT_ATTRIBUTE, /* a.name                                            */
    CT_ITEM,      /* a[b]; b may be a CT_SLICE                         */
    CT_SLICE,     /* a:b:c, each may be NULL                           */
    CT_CALL,      /* a(list of CT_ARGUMENT)                            */
    CT_ARGUMENT,  /* a; name where it has one; op '*' or "**" spreads it */
    CT_FILTER,    /* a|name(list); a NULL: the text of a block         */
    CT_TEST,      /* a is name(list)                                   */
    CT_CONDITION, /* b if a else c; c may be NULL                      */
    CT_OR,
    CT_AND,
    CT_NOT,
    CT_COMPARE, /* a, then list of CT_OPERAND                          */
    CT_OPERAND, /* op a                                                */
    CT_BINARY,  /* a op b                                              */
    CT_CONCAT,  /* list joined by ~                                    */
    CT_NEGATE,
    CT_POSITIVE,
    /* statements */
    CT_WRITE,      /* value: text of the template                        */
    CT_OUTPUT,     /* {{ a }}                                            */
    CT_IF,         /* a: body; other: what follows else; op: other is an elif */
    CT_FOR,        /* for a in b if c: body; other: else; op: recursive  */
    CT_SET,        /* a = b                                              */
    CT_SET_BLOCK,  /* a = body through the filters b                     */
    CT_DEFINE,     /* macro name(list of CT_PARAMETER): body             */
    CT_PARAMETER,  /* name, a: default or NULL                           */
    CT_CALL_BLOCK, /* call b with caller(list): body                     */
    CT_FILTER_BLOCK,
    CT_WITH, /* list of CT_SET: body                                     */
    CT_GENERATION,
    CT_BREAK,
    CT_CONTINUE
};

/* What < and its like are called; single characters stand for themselves. */
enum ct_op { CT_EQ = 256, CT_NE, CT_LE, CT_GE, CT_IN, CT_NOT_IN, CT_FLOOR_DIVIDE, CT_POWER, CT_SPREAD_DICT };

struct ct_node {
    enum ct_kind kind;
    int op;
    uint32_t at;
    bool takes_varargs, takes_kwargs, takes_caller; /* CT_DEFINE, CT_CALL_BLOCK: their body names them */
    struct ct_node *next; /* in a list */
    struct ct_node *a, *b, *c, *list, *body, *other;
    struct ct_text name;
    struct ct_value value;
    const struct ct_native *native; /* CT_FILTER, CT_TEST */
};

struct rlhf_template {
    struct rlhf_arena *arena;
    struct ct_source source;
    const struct ct_node *body;
    bool marks;
};
int ct_parse(struct rlhf_template *t, struct rlhf_error *err);

/* ---- running (render.c, expression.c) -------------------------------------------------------------- */

struct ct_binding {
    struct ct_text name;
    struct ct_value value;
    struct ct_binding *next;
};
struct ct_scope {
    struct ct_scope *parent;
    struct ct_binding *first;
};
struct ct_macro {
    const struct ct_node *node; /* CT_DEFINE, or CT_CALL_BLOCK as its caller() */
    struct ct_scope *scope;     /* where it was defined */
};
struct ct_loop {
    const struct ct_node *node;
    struct ct_scope *scope; /* around the loop */
    const struct ct_value *item;
    size_t count, index, depth;
    struct ct_value changed; /* what loop.changed() saw last; CT_MISSING: nothing */
};
struct ct_method {
    struct ct_value self;
    const struct ct_native *native;
};
struct ct_argument {
    struct ct_text name; /* data NULL: by position; those come first */
    struct ct_value value;
};
struct ct_arguments {
    const struct ct_argument *item;
    size_t count;
};

enum { CT_PARAMETERS = 5 };
/* One call of something built in. */
struct ct_call {
    struct ct_value self;              /* what is filtered, tested, or whose method it is; CT_MISSING for functions */
    struct ct_value arg[CT_PARAMETERS]; /* by the native's parameters; CT_MISSING where not given                   */
    struct ct_arguments given;          /* all of them                                                              */
    int tag;                            /* the native's                                                             */
};
struct ct_native {
    const char *name;
    const char *parameters; /* names between blanks, "required? optional"; NULL: takes ct_call.given */
    int (*apply)(struct ct_run *r, const struct ct_call *call, struct ct_value *out);
    int tag; /* for tables whose entries share a function */
};

struct ct_run {
    const struct rlhf_template *template;
    struct rlhf_arena *arena;
    struct ct_scope *scope;
    struct rlhf_bytes *out; /* what statements write to: the text, or the buffer of a macro or block */
    struct rlhf_rendered *rendered;
    uint64_t steps;
    unsigned depth, loop_depth;
    uint32_t at; /* what is evaluated now */
    enum { CT_GOING, CT_BREAKING, CT_CONTINUING } flow;
    time_t now;
    struct rlhf_error *err;
};

/* An error at what is evaluated now. Returns -1. */
int ct_fail(struct ct_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int ct_charge(struct ct_run *r, size_t steps); /* -1 and an error once CT_STEP_LIMIT is reached */
int ct_undefined(struct ct_run *r, struct ct_value *out, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* An error where v is undefined, and it is not to be used. */
int ct_defined(struct ct_run *r, struct ct_value v);

int ct_evaluate(struct ct_run *r, const struct ct_node *n, struct ct_value *out);
int ct_attribute(struct ct_run *r, struct ct_value v, struct ct_text name, struct ct_value *out); /* v.name  */
int ct_item(struct ct_run *r, struct ct_value v, struct ct_value key, struct ct_value *out);       /* v[key] */
int ct_contains(struct ct_run *r, struct ct_value v, struct ct_value item, bool *found);           /* in     */
int ct_add(struct ct_run *r, struct ct_value a, struct ct_value b, struct ct_value *out);
int ct_invoke(struct ct_run *r, struct ct_value callee, const struct ct_arguments *given, struct ct_value *out);
/* Binds the arguments to the native's parameters and calls it. */
int ct_apply(struct ct_run *r, const struct ct_native *n, struct ct_value self, const struct ct_arguments *given,
             struct ct_value *out);
/* Runs a macro, a caller(), or a recursive loop once more (render.c). */
int ct_call_macro(struct ct_run *r, const struct ct_macro *m, const struct ct_arguments *given, struct ct_value *out);
int ct_call_loop(struct ct_run *r, const struct ct_loop *loop, struct ct_value items, struct ct_value *out);

const struct ct_native *ct_filter(struct ct_text name);   /* NULL where there is none */
const struct ct_native *ct_test(struct ct_text name);
const struct ct_native *ct_method_of(enum ct_type type, struct ct_text name);
bool ct_method_is_unsafe(enum ct_type type, struct ct_text name); /* it would change what templates may not change */
const struct ct_native *ct_function(struct ct_text name);

#endif
