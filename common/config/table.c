#include "config/table.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { LONGEST_PATH = 200, MOST_KEYS = 256 };

struct check {
    const char *where;
    struct rlhf_arena *arena;
    struct rlhf_error *err;
    char path[LONGEST_PATH]; /* "stages[1].sft" */
};

static int check_map(struct check *c, const struct rlhf_config_schema *s, struct config_node *n);

/* Appends to the path for the time of a call; returns where to cut it off again. */
__attribute__((format(printf, 2, 3))) static size_t descend(struct check *c, const char *fmt, ...)
{
    size_t length = strlen(c->path);
    va_list args;

    va_start(args, fmt);
    vsnprintf(c->path + length, sizeof c->path - length, fmt, args);
    va_end(args);
    return length;
}

static size_t descend_to_key(struct check *c, const char *key)
{
    return descend(c, "%s%s", c->path[0] ? "." : "", key);
}

__attribute__((format(printf, 3, 4))) static int complain(struct check *c, unsigned line, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return rlhf_fail(c->err, RLHF_REJECT, "%s:%u: %s%s%s", c->where, line, c->path, c->path[0] ? ": " : "", what);
}

static bool is_limited(const struct rlhf_config_key *k)
{
    return k->min < k->max || (k->min != 0 && k->min == k->max);
}

static int describe_limits(const struct rlhf_config_key *k, const char *before, struct rlhf_bytes *out,
                           struct rlhf_error *err)
{
    if (!is_limited(k))
        return 0;
    if (k->max >= 1e15) /* as good as none */
        return rlhf_bytes_printf(out, err, "%s%.15g or more", before, k->min);
    return rlhf_bytes_printf(out, err, "%s%.15g to %.15g", before, k->min, k->max);
}

int config_describe(const struct rlhf_config_key *k, struct rlhf_bytes *out, struct rlhf_error *err)
{
    static const char *const types[] = {
        [RLHF_CONFIG_BOOL] = "true or false",  [RLHF_CONFIG_INTEGER] = "an integer", [RLHF_CONFIG_NUMBER] = "a number",
        [RLHF_CONFIG_STRING] = "a text",       [RLHF_CONFIG_CHOICE] = "one of",      [RLHF_CONFIG_STRINGS] = "a list of texts",
        [RLHF_CONFIG_MAP] = "a map",           [RLHF_CONFIG_LIST] = "a list of maps", [RLHF_CONFIG_OPTION] = "a map",
    };
    int result = rlhf_bytes_printf(out, err, "%s", types[k->type]);

    if (result < 0)
        return -1;
    switch (k->type) {
    case RLHF_CONFIG_INTEGER:
    case RLHF_CONFIG_NUMBER:
        return describe_limits(k, k->max >= 1e15 ? ", " : " from ", out, err);
    case RLHF_CONFIG_STRING:
        if (!is_limited(k))
            return 0;
        return describe_limits(k, " of ", out, err) < 0 ? -1 : rlhf_bytes_printf(out, err, " bytes");
    case RLHF_CONFIG_STRINGS:
    case RLHF_CONFIG_LIST:
        if (!is_limited(k))
            return 0;
        return describe_limits(k, ", ", out, err) < 0 ? -1 : rlhf_bytes_printf(out, err, " of them");
    case RLHF_CONFIG_CHOICE:
        for (size_t i = 0; result == 0 && k->choices[i]; i++)
            result = rlhf_bytes_printf(out, err, "%s %s", i ? "," : "", k->choices[i]);
        return result;
    default:
        return 0;
    }
}

/* What stands where something else was expected: "the text \"abc\"", "a list". */
static void describe_found(const struct config_node *n, char *out, size_t size)
{
    enum { SHOWN = 40 };

    if (n->kind == CONFIG_SEQUENCE) {
        snprintf(out, size, "a list");
    } else if (n->kind == CONFIG_MAPPING) {
        snprintf(out, size, "a map");
    } else if (n->size == 0 && !n->quoted) {
        snprintf(out, size, "nothing");
    } else {
        char shown[SHOWN + 1];
        size_t length = n->size < SHOWN ? n->size : SHOWN;

        while (length < n->size && length > 0 && !rlhf_utf8_valid(n->text, length))
            length--; /* never half a character */
        for (size_t i = 0; i < length; i++)
            shown[i] = (unsigned char)n->text[i] < 0x20 ? ' ' : n->text[i];
        shown[length] = '\0';
        snprintf(out, size, "%s\"%s%s\"", n->quoted ? "the text " : "", shown, length < n->size ? "..." : "");
    }
}

static int complain_expected(struct check *c, const struct rlhf_config_key *k, const struct config_node *n)
{
    struct rlhf_bytes expected = { 0 };
    char found[80];
    int result;

    describe_found(n, found, sizeof found);
    if (config_describe(k, &expected, c->err) < 0)
        result = -1;
    else if (k->type == RLHF_CONFIG_STRINGS && n->kind == CONFIG_SCALAR && n->size > 0)
        result = complain(c, n->line, "%s expected, found %s; write it in brackets: [%.40s]", expected.data, found, n->text);
    else
        result = complain(c, n->line, "%s expected, found %s", expected.data, found);
    rlhf_bytes_free(&expected);
    return result;
}

static bool within(const struct rlhf_config_key *k, double x)
{
    return !is_limited(k) || (x >= k->min && x <= k->max);
}

/* Plain scalars that stand for "no value" in YAML. */
static bool is_null(const struct config_node *n)
{
    return n->kind == CONFIG_SCALAR && !n->quoted
           && (n->size == 0 || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}

/* Decimal, without leading zeros: libcyaml would read those as octal. */
static bool is_integer(const struct config_node *n, double *value)
{
    const char *digits = n->text + strspn(n->text, "+-");
    char *end;

    if (digits[0] == '0' && digits[1])
        return false;
    errno = 0;
    *value = (double)strtoll(n->text, &end, 10);
    return !n->quoted && n->size > 0 && strspn(n->text, "+-0123456789") == n->size && *end == '\0' && errno == 0;
}

static bool is_number(const struct config_node *n, double *value)
{
    char *end;

    *value = strtod(n->text, &end);
    return !n->quoted && n->size > 0 && strspn(n->text, "+-.0123456789eE") == n->size && *end == '\0'
           && isfinite(*value);
}

static int check_text(struct check *c, const struct config_node *n)
{
    if (n->kind != CONFIG_SCALAR || is_null(n))
        return 1; /* not a text */
    if (memchr(n->text, '\0', n->size))
        return complain(c, n->line, "a text without NUL bytes expected");
    return 0;
}

static int check_scalar(struct check *c, const struct rlhf_config_key *k, const struct config_node *n)
{
    double value;
    bool good = false;
    int text;

    if (n->kind != CONFIG_SCALAR || is_null(n))
        return complain_expected(c, k, n);
    switch (k->type) {
    case RLHF_CONFIG_BOOL:
        good = !n->quoted && (strcmp(n->text, "true") == 0 || strcmp(n->text, "false") == 0);
        break;
    case RLHF_CONFIG_INTEGER:
        good = is_integer(n, &value) && within(k, value);
        break;
    case RLHF_CONFIG_NUMBER:
        good = is_number(n, &value) && within(k, value);
        break;
    case RLHF_CONFIG_CHOICE:
        for (size_t i = 0; k->choices[i]; i++)
            good |= strcmp(n->text, k->choices[i]) == 0;
        if (!good) {
            const char *meant = rlhf_did_you_mean(n->text, k->choices);

            if (meant)
                return complain(c, n->line, "\"%.60s\" is not a choice; did you mean %s?", n->text, meant);
        }
        break;
    default:
        text = check_text(c, n);
        if (text < 0)
            return -1;
        good = text == 0 && within(k, (double)n->size);
    }
    return good ? 0 : complain_expected(c, k, n);
}

static int check_strings(struct check *c, const struct rlhf_config_key *k, const struct config_node *n)
{
    static const struct rlhf_config_key entry = { .type = RLHF_CONFIG_STRING };
    size_t i = 0;

    if (n->kind != CONFIG_SEQUENCE)
        return complain_expected(c, k, n);
    for (const struct config_node *e = n->first; e; e = e->next) {
        size_t cut = descend(c, "[%zu]", i++);

        if (check_scalar(c, &entry, e) < 0)
            return -1;
        c->path[cut] = '\0';
    }
    return 0;
}

static int check_list(struct check *c, const struct rlhf_config_key *k, struct config_node *n)
{
    size_t i = 0;

    if (n->kind != CONFIG_SEQUENCE)
        return complain_expected(c, k, n);
    for (struct config_node *e = n->first; e; e = e->next) {
        size_t cut = descend(c, "[%zu]", i++);

        if (check_map(c, k->sub, e) < 0)
            return -1;
        c->path[cut] = '\0';
    }
    return 0;
}

static int check_value(struct check *c, const struct rlhf_config_key *k, struct config_node *n)
{
    int result;

    switch (k->type) {
    case RLHF_CONFIG_MAP:
    case RLHF_CONFIG_OPTION:
        return check_map(c, k->sub, n);
    case RLHF_CONFIG_STRINGS:
    case RLHF_CONFIG_LIST:
        result = k->type == RLHF_CONFIG_LIST ? check_list(c, k, n) : check_strings(c, k, n);
        if (result == 0 && !within(k, (double)n->count) && !(n->count == 0 && !k->required)) {
            struct rlhf_bytes limits = { 0 };

            if (describe_limits(k, "", &limits, c->err) == 0)
                complain(c, n->line, "%s entries expected, found %zu", limits.data, n->count);
            rlhf_bytes_free(&limits);
            result = -1;
        }
        return result;
    default:
        return check_scalar(c, k, n);
    }
}

static const struct rlhf_config_key *find_key(const struct rlhf_config_schema *s, const char *key)
{
    for (const struct rlhf_config_key *k = s->keys; k->key; k++)
        if (strcmp(k->key, key) == 0)
            return k;
    return NULL;
}

static int complain_unknown(struct check *c, const struct rlhf_config_schema *s, const struct config_node *n)
{
    const char *names[MOST_KEYS + 1] = { NULL };
    struct rlhf_bytes known = { 0 };
    const char *meant;
    size_t count = 0;
    int result;

    for (const struct rlhf_config_key *k = s->keys; k->key && count < MOST_KEYS; k++)
        names[count++] = k->key;
    meant = rlhf_did_you_mean(n->key, names);
    if (meant) {
        result = complain(c, n->key_line, "unknown key; did you mean %s?", meant);
    } else {
        for (size_t i = 0; i < count; i++)
            rlhf_bytes_printf(&known, NULL, "%s%s", i ? ", " : "", names[i]);
        result = complain(c, n->key_line, "unknown key; here may stand: %s", known.data ? known.data : "none");
        rlhf_bytes_free(&known);
    }
    return result;
}

/* A default as a node: of a list of texts it is written as YAML, of all else it is the value itself. */
static struct config_node *default_of(struct check *c, const struct rlhf_config_key *k)
{
    struct config_node *n;

    if (k->type == RLHF_CONFIG_STRINGS)
        return config_tree_parse(c->arena, k->def, strlen(k->def), "default", c->err);
    n = config_node_new(c->arena, CONFIG_SCALAR, 0, c->err);
    if (!n)
        return NULL;
    n->text = k->def;
    n->size = strlen(k->def);
    n->quoted = k->type == RLHF_CONFIG_STRING;
    return n;
}

/* Puts in what the document leaves out and the table knows. */
static int fill_in(struct check *c, const struct rlhf_config_schema *s, struct config_node *n)
{
    for (const struct rlhf_config_key *k = s->keys; k->key; k++) {
        struct config_node *value = NULL;

        if (config_node_find(n, k->key))
            continue;
        if (k->type == RLHF_CONFIG_MAP)
            value = config_node_new(c->arena, CONFIG_MAPPING, n->line, c->err);
        else if (k->def)
            value = default_of(c, k);
        else if (!k->required)
            continue;
        else
            complain(c, n->line, "%s is missing: %s", k->key, k->help ? k->help : "it is required");
        if (!value)
            return -1;
        value->key = k->key;
        value->line = value->key_line = n->line;
        value->filled_in = true;
        config_node_append(n, value);
    }
    return 0;
}

static int check_map(struct check *c, const struct rlhf_config_schema *s, struct config_node *n)
{
    static const struct rlhf_config_key map = { .type = RLHF_CONFIG_MAP };

    if (is_null(n)) /* "optimizer:" with every key commented out */
        n->kind = CONFIG_MAPPING;
    if (n->kind != CONFIG_MAPPING)
        return complain_expected(c, &map, n);
    for (int filled = 0; filled <= 1; filled++) { /* first what stands there, so that typos are told before gaps */
        for (struct config_node *e = n->first; e; e = e->next) {
            const struct rlhf_config_key *k = find_key(s, e->key);
            size_t cut;

            if (e->filled_in != filled)
                continue;
            cut = descend_to_key(c, e->key);
            if (!k)
                return complain_unknown(c, s, e);
            if (check_value(c, k, e) < 0)
                return -1;
            c->path[cut] = '\0';
        }
        if (!filled && fill_in(c, s, n) < 0)
            return -1;
    }
    return 0;
}

int config_table_apply(const struct rlhf_config_schema *s, struct config_node *root, const char *where,
                       struct rlhf_arena *a, struct rlhf_error *err)
{
    struct check c = { .where = where, .arena = a, .err = err };

    return check_map(&c, s, root);
}
