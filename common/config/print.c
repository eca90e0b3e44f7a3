/* print.c - the table as text: a configuration with comments, and a section of a manual page. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/config.h"
#include "config/table.h"

enum { HELP_COLUMN = 40, MOST_SCHEMAS = 64 };

struct print {
    struct rlhf_bytes *out;
    struct rlhf_error *err;
    const struct rlhf_config_schema *told[MOST_SCHEMAS]; /* whose help stands above already */
    size_t told_count;
};

/* True the first time that s is asked for. */
static bool first_time(struct print *p, const struct rlhf_config_schema *s)
{
    for (size_t i = 0; i < p->told_count; i++)
        if (p->told[i] == s)
            return false;
    if (p->told_count < MOST_SCHEMAS)
        p->told[p->told_count++] = s;
    return true;
}

#define PUT(p, ...) rlhf_bytes_printf((p)->out, (p)->err, __VA_ARGS__)

/* Text that YAML reads back as the same text without quotes. */
static bool is_plain(const char *text)
{
    static const char *const words[] = { "true", "false", "null", "yes", "no", "on", "off", "y", "n", NULL };
    const char *rest = text;

    if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || *text == '/'))
        return false;
    for (; *rest; rest++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-", *rest)
            && !(*rest == ':' && rest[1] && rest[1] != ' '))
            return false;
    for (size_t i = 0; words[i]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return false;
    return true;
}

static int put_text(struct print *p, const char *text)
{
    struct config_node scalar = { .kind = CONFIG_SCALAR, .text = text, .size = strlen(text) };

    return is_plain(text) ? PUT(p, "%s", text) : config_tree_emit(&scalar, p->out, p->err);
}

/* The shortest digits that come back as the same number. */
static int put_number(struct print *p, double x)
{
    char text[40];

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    return PUT(p, "%s", text);
}

static int put_strings(struct print *p, const struct rlhf_config_strings *strings)
{
    int result = PUT(p, "[");

    for (size_t i = 0; result == 0 && i < strings->count; i++) {
        result = PUT(p, "%s", i ? ", " : "");
        if (result == 0)
            result = put_text(p, strings->items[i]);
    }
    return result < 0 ? -1 : PUT(p, "]");
}

/* The value of a key without keys of its own. */
static int put_value(struct print *p, const struct rlhf_config_key *k, const void *member)
{
    switch (k->type) {
    case RLHF_CONFIG_BOOL:
        return PUT(p, "%s", *(const bool *)member ? "true" : "false");
    case RLHF_CONFIG_INTEGER:
        return PUT(p, "%lld", (long long)*(const int64_t *)member);
    case RLHF_CONFIG_NUMBER:
        return put_number(p, *(const double *)member);
    case RLHF_CONFIG_CHOICE:
        return PUT(p, "%s", k->choices[*(const int *)member]);
    case RLHF_CONFIG_STRING:
        return put_text(p, *(char *const *)member);
    default:
        return put_strings(p, member);
    }
}

/* "   # help (an integer from 1 to 8)" behind a line that began at byte start of the output. */
static int put_help(struct print *p, const struct rlhf_config_key *k, size_t start, bool help)
{
    size_t width = p->out->size - start;

    if (!help || !k->help)
        return PUT(p, "\n");
    if (PUT(p, "%*s# %s", width < HELP_COLUMN ? (int)(HELP_COLUMN - width) : 2, "", k->help) < 0)
        return -1;
    if (k->type != RLHF_CONFIG_MAP && k->type != RLHF_CONFIG_OPTION && k->type != RLHF_CONFIG_BOOL
        && (PUT(p, " (") < 0 || config_describe(k, p->out, p->err) < 0 || PUT(p, ")") < 0))
        return -1;
    return PUT(p, "\n");
}

static int put_map(struct print *p, const struct rlhf_config_schema *s, const char *data, int indent, bool in_list);

static int put_list(struct print *p, const struct rlhf_config_key *k, const struct rlhf_config_list *list, int indent)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < list->count; i++) {
        if (PUT(p, "%*s- ", indent, "") < 0)
            return -1;
        result = put_map(p, k->sub, (const char *)list->items + i * k->sub->size, indent + 2, true);
    }
    return result;
}

/* One row. data NULL: its default. */
static int put_key(struct print *p, const struct rlhf_config_key *k, const char *data, int indent, bool help)
{
    const void *member = data ? data + k->offset : NULL;
    const struct rlhf_config_list *list = member;
    size_t start = p->out->size;
    bool absent;

    start -= (size_t)indent;
    switch (k->type) {
    case RLHF_CONFIG_MAP:
        if (PUT(p, "%s:", k->key) < 0 || put_help(p, k, start, help) < 0)
            return -1;
        return put_map(p, k->sub, member, indent + 2, false);
    case RLHF_CONFIG_OPTION:
        if (PUT(p, "%s:", k->key) < 0 || put_help(p, k, start, help) < 0)
            return -1;
        return put_map(p, k->sub, *(char *const *)member, indent + 2, false);
    case RLHF_CONFIG_LIST:
        if (!list || list->count == 0)
            return PUT(p, "%s: []", k->key) < 0 ? -1 : put_help(p, k, start, help);
        if (PUT(p, "%s:", k->key) < 0 || put_help(p, k, start, help) < 0)
            return -1;
        return put_list(p, k, list, indent);
    default:
        break;
    }
    absent = k->type == RLHF_CONFIG_STRING && (member ? *(char *const *)member == NULL : k->def == NULL);
    if (!member && !k->def && k->type != RLHF_CONFIG_STRINGS)
        absent = true;
    if (absent) /* a comment: to be absent is its only way to have no value */
        return PUT(p, "# %s:%s", k->key, k->required ? " REQUIRED" : "") < 0 ? -1 : put_help(p, k, start, help);
    if (PUT(p, "%s: ", k->key) < 0)
        return -1;
    if (member ? put_value(p, k, member) < 0
        : k->type == RLHF_CONFIG_STRING ? put_text(p, k->def) < 0
                                        : PUT(p, "%s", k->def ? k->def : "[]") < 0)
        return -1;
    return put_help(p, k, start, help);
}

static int put_map(struct print *p, const struct rlhf_config_schema *s, const char *data, int indent, bool in_list)
{
    bool help = first_time(p, s);
    bool dash = in_list; /* the dash has made the first line's indentation */
    int result = 0;

    for (const struct rlhf_config_key *k = s->keys; result == 0 && k->key; k++) {
        if (k->type == RLHF_CONFIG_OPTION && (!data || !*(char *const *)(data + k->offset)))
            continue;
        if (!dash && PUT(p, "%*s", indent, "") < 0)
            return -1;
        dash = false;
        result = put_key(p, k, data, indent, help);
    }
    if (result == 0 && dash) /* not one key is there */
        result = PUT(p, "{}\n");
    return result;
}

int rlhf_config_print(const struct rlhf_config_schema *s, const void *config, struct rlhf_bytes *out,
                      struct rlhf_error *err)
{
    struct print p = { .out = out, .err = err };

    return put_map(&p, s, config, 0, false);
}

/* Text in troff: no line begins with a control character, backslashes and hyphens are themselves. */
static int put_troff(struct print *p, const char *text)
{
    int result = 0;

    if (*text == '.' || *text == '\'')
        result = PUT(p, "\\&");
    for (; result == 0 && *text; text++) {
        if (*text == '\\')
            result = PUT(p, "\\e");
        else if (*text == '-')
            result = PUT(p, "\\-");
        else
            result = PUT(p, "%c", *text);
    }
    return result;
}

static int put_manual(struct print *p, const struct rlhf_config_schema *s);

static int put_manual_key(struct print *p, const struct rlhf_config_key *k)
{
    struct rlhf_bytes type = { 0 };
    int result = -1;

    if (PUT(p, ".TP\n.B ") == 0 && put_troff(p, k->key) == 0 && PUT(p, "\n") == 0
        && (!k->help || (put_troff(p, k->help) == 0 && PUT(p, "\n") == 0)) && config_describe(k, &type, p->err) == 0) {
        type.data[0] = (char)(type.data[0] >= 'a' && type.data[0] <= 'z' ? type.data[0] - 'a' + 'A' : type.data[0]);
        result = put_troff(p, type.data);
    }
    rlhf_bytes_free(&type);
    if (result == 0)
        result = k->required ? PUT(p, "; required") : 0;
    if (result == 0 && k->def && (PUT(p, "; default ") < 0 || put_troff(p, k->def) < 0))
        result = -1;
    if (result < 0 || PUT(p, ".\n") < 0)
        return -1;
    if (!k->sub)
        return 0;
    if (!first_time(p, k->sub))
        return PUT(p, "Its keys are those of\n.B ") < 0 || put_troff(p, k->sub->name) < 0 || PUT(p, "\nabove.\n") < 0 ? -1 : 0;
    return PUT(p, ".RS\n") < 0 || put_manual(p, k->sub) < 0 || PUT(p, ".RE\n") < 0 ? -1 : 0;
}

static int put_manual(struct print *p, const struct rlhf_config_schema *s)
{
    for (const struct rlhf_config_key *k = s->keys; k->key; k++)
        if (put_manual_key(p, k) < 0)
            return -1;
    return 0;
}

int rlhf_config_man(const struct rlhf_config_schema *s, struct rlhf_bytes *out, struct rlhf_error *err)
{
    struct print p = { .out = out, .err = err };

    return PUT(&p, ".SH CONFIGURATION\n") < 0 ? -1 : put_manual(&p, s);
}
