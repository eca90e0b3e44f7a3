#include "config/tree.h"

#include <string.h>
#include <yaml.h>

struct parse {
    yaml_parser_t parser;
    struct rlhf_arena *arena;
    const char *text, *where;
    size_t size, nodes;
    struct rlhf_error *err;
};

static unsigned line_of(const yaml_mark_t *mark)
{
    return (unsigned)mark->line + 1;
}

/* libyaml knows the offset of a byte that it cannot read, but not its line. */
static unsigned line_at(const struct parse *p, size_t offset)
{
    unsigned line = 1;

    for (size_t i = 0; i < offset && i < p->size; i++)
        line += p->text[i] == '\n';
    return line;
}

static int complain(struct parse *p, unsigned line, const char *what)
{
    return rlhf_fail(p->err, RLHF_REJECT, "%s:%u: %s", p->where, line, what);
}

static int next_event(struct parse *p, yaml_event_t *event)
{
    if (yaml_parser_parse(&p->parser, event))
        return 0;
    switch (p->parser.error) {
    case YAML_MEMORY_ERROR:
        return rlhf_fail(p->err, RLHF_FULL, "%s: out of memory", p->where);
    case YAML_READER_ERROR:
        return complain(p, line_at(p, p->parser.problem_offset), "not UTF-8 text, or a character that YAML forbids");
    default:
        return rlhf_fail(p->err, RLHF_REJECT, "%s:%u: not YAML: %s%s%s", p->where,
                         line_of(&p->parser.problem_mark),
                         p->parser.problem ? p->parser.problem : "syntax error", p->parser.context ? " " : "",
                         p->parser.context ? p->parser.context : "");
    }
}

struct config_node *config_node_new(struct rlhf_arena *a, enum config_kind kind, unsigned line, struct rlhf_error *err)
{
    struct config_node *n = rlhf_arena_zero(a, 1, sizeof *n);

    if (!n) {
        rlhf_fail(err, RLHF_FULL, "out of memory for the configuration");
        return NULL;
    }
    n->kind = kind;
    n->line = line;
    return n;
}

void config_node_append(struct config_node *parent, struct config_node *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

struct config_node *config_node_find(const struct config_node *mapping, const char *key)
{
    for (struct config_node *n = mapping->first; n; n = n->next)
        if (strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

static const char *keep(struct parse *p, const yaml_event_t *scalar)
{
    size_t size = scalar->data.scalar.length;
    char *text = rlhf_arena_get(p->arena, size + 1, 1);

    if (!text) {
        rlhf_fail(p->err, RLHF_FULL, "%s: out of memory", p->where);
        return NULL;
    }
    memcpy(text, scalar->data.scalar.value, size);
    text[size] = '\0';
    return text;
}

/* An anchor or a tag, on a node of any kind; false when there is neither. */
static bool is_decorated(const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return e->data.scalar.anchor || e->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return e->data.sequence_start.anchor || e->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return e->data.mapping_start.anchor || e->data.mapping_start.tag;
    default:
        return false;
    }
}

static struct config_node *parse_node(struct parse *p, const yaml_event_t *e, unsigned depth);

static int parse_sequence(struct parse *p, struct config_node *n, unsigned depth)
{
    for (;;) {
        struct config_node *entry;
        yaml_event_t e;

        if (next_event(p, &e) < 0)
            return -1;
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return 0;
        }
        entry = parse_node(p, &e, depth);
        yaml_event_delete(&e);
        if (!entry)
            return -1;
        config_node_append(n, entry);
    }
}

static int parse_mapping(struct parse *p, struct config_node *n, unsigned depth)
{
    for (;;) {
        struct config_node *value, *twin;
        const char *key = NULL;
        unsigned line;
        yaml_event_t e;

        if (next_event(p, &e) < 0)
            return -1;
        line = line_of(&e.start_mark);
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return 0;
        }
        if (e.type != YAML_SCALAR_EVENT || is_decorated(&e)
            || memchr(e.data.scalar.value, '\0', e.data.scalar.length))
            complain(p, line, "a key must be a plain word");
        else
            key = keep(p, &e);
        yaml_event_delete(&e);
        if (!key)
            return -1;
        twin = config_node_find(n, key);
        if (twin)
            return rlhf_fail(p->err, RLHF_REJECT, "%s:%u: %.100s: this key stands in line %u already", p->where, line, key,
                             twin->key_line);
        if (next_event(p, &e) < 0)
            return -1;
        value = parse_node(p, &e, depth);
        yaml_event_delete(&e);
        if (!value)
            return -1;
        value->key = key;
        value->key_line = line;
        config_node_append(n, value);
    }
}

/* The node that begins with event e, which stays the caller's. */
static struct config_node *parse_node(struct parse *p, const yaml_event_t *e, unsigned depth)
{
    unsigned line = line_of(&e->start_mark);
    struct config_node *n;

    if (e->type == YAML_ALIAS_EVENT || is_decorated(e)) {
        complain(p, line, "anchors, aliases and tags (&, *, !) are not used here: write the value out");
        return NULL;
    }
    if (depth == 0 || ++p->nodes > CONFIG_MOST_NODES) {
        complain(p, line, depth == 0 ? "nested too deeply" : "too many entries");
        return NULL;
    }
    n = config_node_new(p->arena, CONFIG_SCALAR, line, p->err);
    if (!n)
        return NULL;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        n->size = e->data.scalar.length;
        n->text = keep(p, e);
        return n->text ? n : NULL;
    case YAML_SEQUENCE_START_EVENT:
        n->kind = CONFIG_SEQUENCE;
        return parse_sequence(p, n, depth - 1) < 0 ? NULL : n;
    case YAML_MAPPING_START_EVENT:
        n->kind = CONFIG_MAPPING;
        return parse_mapping(p, n, depth - 1) < 0 ? NULL : n;
    default:
        complain(p, line, "not YAML: a value is missing");
        return NULL;
    }
}

/* The start of the stream, one document or none, the end of the stream. */
static struct config_node *parse_document(struct parse *p)
{
    struct config_node *root = NULL;
    bool ended = false;

    while (!ended) {
        yaml_event_t e;
        int result = 0;

        if (next_event(p, &e) < 0)
            return NULL;
        switch (e.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (root)
                result = complain(p, line_of(&e.start_mark), "a second document begins here; one is allowed");
            break;
        case YAML_STREAM_END_EVENT:
            ended = true;
            break;
        default:
            root = parse_node(p, &e, CONFIG_DEEPEST);
            result = root ? 0 : -1;
        }
        yaml_event_delete(&e);
        if (result < 0)
            return NULL;
    }
    if (!root || (root->kind == CONFIG_SCALAR && root->size == 0 && !root->quoted))
        root = config_node_new(p->arena, CONFIG_MAPPING, 1, p->err);
    return root;
}

struct config_node *config_tree_parse(struct rlhf_arena *a, const char *text, size_t size, const char *where,
                                      struct rlhf_error *err)
{
    struct parse p = { .arena = a, .text = text, .size = size, .where = where, .err = err };
    struct config_node *root;

    if (size > CONFIG_LARGEST) {
        rlhf_fail(err, RLHF_REJECT, "%s: larger than %d bytes", where, CONFIG_LARGEST);
        return NULL;
    }
    if (!yaml_parser_initialize(&p.parser)) {
        rlhf_fail(err, RLHF_FULL, "%s: out of memory", where);
        return NULL;
    }
    yaml_parser_set_encoding(&p.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p.parser, (const unsigned char *)text, size);
    root = parse_document(&p);
    yaml_parser_delete(&p.parser);
    return root;
}

/* Double quotes with JSON's escapes, which YAML shares. */
static int emit_text(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    int result = rlhf_bytes_append(out, "\"", 1, err);

    for (size_t i = 0; result == 0 && i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\')
            result = rlhf_bytes_printf(out, err, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            result = rlhf_bytes_printf(out, err, "\\x%02x", c);
        else
            result = rlhf_bytes_append(out, text + i, 1, err);
    }
    return result < 0 ? -1 : rlhf_bytes_append(out, "\"", 1, err);
}

/* Flow style: braces and brackets, so that nothing hangs on indentation; a line for each entry keeps libyaml's limit
 * on the length of a line's keys away. */
int config_tree_emit(const struct config_node *root, struct rlhf_bytes *out, struct rlhf_error *err)
{
    bool mapping = root->kind == CONFIG_MAPPING;

    if (root->kind == CONFIG_SCALAR)
        return emit_text(root->text, root->size, out, err);
    if (rlhf_bytes_append(out, mapping ? "{" : "[", 1, err) < 0)
        return -1;
    for (const struct config_node *n = root->first; n; n = n->next) {
        if ((mapping && (emit_text(n->key, strlen(n->key), out, err) < 0 || rlhf_bytes_append(out, ": ", 2, err) < 0))
            || config_tree_emit(n, out, err) < 0 || (n->next && rlhf_bytes_append(out, ",\n", 2, err) < 0))
            return -1;
    }
    return rlhf_bytes_append(out, mapping ? "}" : "]", 1, err);
}
