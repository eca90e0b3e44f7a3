/* Cuts a template into tokens, as jinja2's lexer does with trim_blocks and lstrip_blocks on:
 *   {%- {{- {#-   take the white space before them away, -%} -}} -#} that behind them
 *   {% and {#     take the blanks before them away where they are the first on their line; {%+ does not
 *   %} and #}     take one newline behind them away; +%} does not */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chat/parts.h"

struct lexer {
    const struct ct_source *source;
    const char *text;
    size_t size, at;
    bool line_starting; /* the last tag took a newline with it, or nothing was read yet */
    struct ct_token *token;
    size_t count;
    struct rlhf_error *err;
};

int ct_source_fail(const struct ct_source *s, size_t at, struct rlhf_error *err, const char *fmt, ...)
{
    char message[300];
    size_t line = 1, start = 0;
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    for (size_t i = 0; i < at && i < s->text.size; i++)
        if (s->text.data[i] == '\n') {
            line++;
            start = i + 1;
        }
    size_t column = 1 + ct_count_chars((struct ct_text){ s->text.data + start, at - start });
    return rlhf_fail(err, RLHF_REJECT, "%s: line %zu, column %zu: %s", s->where, line, column, message);
}

static bool looking_at(const struct lexer *l, const char *text)
{
    size_t size = strlen(text);

    return l->size - l->at >= size && !memcmp(l->text + l->at, text, size);
}

/* How many bytes of white space there are at a place. */
static size_t space_size(const struct lexer *l, size_t at)
{
    size_t from = at, n;

    while (at < l->size && rlhf_is_space(rlhf_char(l->text + at, &n)))
        at += n;
    return at - from;
}

static void push(struct lexer *l, enum ct_token_kind kind, size_t from, size_t to)
{
    l->token[l->count++] = (struct ct_token){ kind, (uint32_t)from, { l->text + from, to - from } };
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- text between tags ----------------------------------------------------------------------------- */

/* What {% or {# or {{ at `to` leaves of the text before it; sign: the character behind it. */
static size_t end_of_data(const struct lexer *l, size_t from, size_t to, char sign, bool variable)
{
    struct ct_text all = { l->text + from, to - from };
    size_t line;

    if (sign == '-')
        return from + ct_strip(all, NULL, false, true).size;
    if (sign == '+' || variable)
        return to;
    for (line = to; line > from && l->text[line - 1] != '\n'; line--)
        continue;
    if (line == from && !l->line_starting)
        return to;
    return ct_strip((struct ct_text){ l->text + line, to - line }, NULL, true, false).size == 0 ? line : to;
}

/* Steps over the end of a block or comment, "%}" or "#}" with its sign; false where there is none. */
static bool skip_end(struct lexer *l, const char *end, bool trim)
{
    size_t from = l->at;
    char sign = l->text[from] == '-' || (l->text[from] == '+' && trim) ? l->text[from] : 0;

    l->at += sign != 0;
    if (!looking_at(l, end)) {
        l->at = from;
        return false;
    }
    l->at += 2;
    if (sign == '-')
        l->at += space_size(l, l->at);
    else if (!sign && trim && l->at < l->size && l->text[l->at] == '\n')
        l->at++;
    l->line_starting = l->text[l->at - 1] == '\n';
    return true;
}

/* ---- inside tags ----------------------------------------------------------------------------------- */

/* Digits with single underscores between them. */
static size_t digits(const struct lexer *l, size_t at)
{
    size_t from = at;

    while (at < l->size && (is_digit(l->text[at]) || (l->text[at] == '_' && at > from && l->text[at - 1] != '_' &&
                                                      at + 1 < l->size && is_digit(l->text[at + 1]))))
        at++;
    return at - from;
}

static void lex_number(struct lexer *l)
{
    size_t from = l->at, fraction = 0, at;
    bool real = false;

    l->at += digits(l, l->at);
    if (l->at < l->size && l->text[l->at] == '.' && (fraction = digits(l, l->at + 1))) {
        l->at += 1 + fraction;
        real = true;
    }
    if (l->at < l->size && (l->text[l->at] | 32) == 'e') {
        at = l->at + 1;
        at += at < l->size && (l->text[at] == '+' || l->text[at] == '-');
        if (digits(l, at)) {
            l->at = at + digits(l, at);
            real = true;
        }
    }
    push(l, real ? CT_FLOAT : CT_INTEGER, from, l->at);
}

static int lex_string(struct lexer *l)
{
    size_t from = l->at;
    char quote = l->text[l->at++];

    while (l->at < l->size && l->text[l->at] != quote)
        l->at += l->text[l->at] == '\\' ? 2 : 1;
    if (l->at >= l->size)
        return ct_source_fail(l->source, from, l->err, "a string that does not end");
    push(l, CT_STRING, from, ++l->at);
    return 0;
}

static int lex_operator(struct lexer *l, char *open, size_t *opened)
{
    static const char *const operators[] = { "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]",
                                             "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";" };
    char c = l->text[l->at];

    if (strchr("([{", c)) {
        if (*opened == CT_NESTING_LIMIT)
            return ct_source_fail(l->source, l->at, l->err, "brackets are nested deeper than %d", CT_NESTING_LIMIT);
        open[(*opened)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c) && (*opened == 0 || open[--*opened] != c))
        return ct_source_fail(l->source, l->at, l->err, "'%c' without what it closes", c);
    for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++)
        if (looking_at(l, operators[i])) {
            push(l, CT_OPERATOR, l->at, l->at + strlen(operators[i]));
            l->at += strlen(operators[i]);
            return 0;
        }
    return ct_source_fail(l->source, l->at, l->err, "unexpected character '%.*s'", (int)rlhf_char_size(l->text + l->at),
                          l->text + l->at);
}

/* The tokens of one {% ... %} or {{ ... }}, its end included. */
static int lex_tag(struct lexer *l, size_t begin, bool variable)
{
    char open[CT_NESTING_LIMIT];
    size_t opened = 0;

    for (;;) {
        size_t from;

        l->at += space_size(l, l->at);
        from = l->at;
        if (l->at >= l->size)
            return ct_source_fail(l->source, begin, l->err, "'%s' that does not end", variable ? "{{" : "{%");
        if (opened == 0 && skip_end(l, variable ? "}}" : "%}", !variable)) {
            push(l, variable ? CT_PRINT_END : CT_BLOCK_END, from, l->at);
            return 0;
        }
        char c = l->text[l->at];
        if (is_letter(c) || (c & 0x80)) {
            while (l->at < l->size && (is_letter(l->text[l->at]) || is_digit(l->text[l->at]) || (l->text[l->at] & 0x80)))
                l->at++;
            push(l, CT_NAME, from, l->at);
        } else if (is_digit(c))
            lex_number(l);
        else if (c == '"' || c == '\'') {
            if (lex_string(l) < 0)
                return -1;
        } else if (lex_operator(l, open, &opened) < 0)
            return -1;
    }
}

/* ---- the whole ------------------------------------------------------------------------------------- */

/* Whether {% at `at` is {% word %}, and what sign it has; *end: behind the word. */
static bool is_block(const struct lexer *l, size_t at, const char *word, char *sign, size_t *end)
{
    at += 2;
    *sign = at < l->size && (l->text[at] == '-' || l->text[at] == '+') ? l->text[at] : 0;
    at += *sign != 0;
    at += space_size(l, at);
    size_t size = strlen(word);
    if (l->size - at < size || memcmp(l->text + at, word, size) != 0)
        return false;
    at += size;
    at += space_size(l, at);
    *end = at;
    return l->size - at >= 2 && (l->text[at] == '%' || l->text[at] == '-' || l->text[at] == '+');
}

/* From behind "raw": the text up to {% endraw %}, whatever it holds. */
static int lex_raw(struct lexer *l, size_t begin)
{
    size_t from, to, end;
    char sign;

    if (!skip_end(l, "%}", false))
        return ct_source_fail(l->source, begin, l->err, "'raw' takes no arguments");
    from = l->at;
    for (; l->at < l->size; l->at++) {
        if (!looking_at(l, "{%") || !is_block(l, l->at, "endraw", &sign, &end))
            continue;
        to = end_of_data(l, from, l->at, sign, false);
        l->at = end;
        if (!skip_end(l, "%}", true))
            return ct_source_fail(l->source, l->at, l->err, "'endraw' takes no arguments");
        if (to > from)
            push(l, CT_DATA, from, to);
        return 0;
    }
    return ct_source_fail(l->source, begin, l->err, "'raw' without 'endraw'");
}

static int lex_comment(struct lexer *l, size_t begin)
{
    while (l->at < l->size) {
        const char *end = memmem(l->text + l->at, l->size - l->at, "#}", 2);

        if (!end)
            break;
        size_t to = (size_t)(end - l->text);
        l->at = to > l->at && strchr("-+", l->text[to - 1]) ? to - 1 : to;
        if (skip_end(l, "#}", true))
            return 0;
    }
    return ct_source_fail(l->source, begin, l->err, "a comment that does not end");
}

static int lex_next(struct lexer *l)
{
    size_t from = l->at, begin, to, end;
    char sign;

    for (begin = from; begin + 1 < l->size; begin++)
        if (l->text[begin] == '{' && strchr("%{#", l->text[begin + 1]) && l->text[begin + 1])
            break;
    if (begin + 1 >= l->size) {
        push(l, CT_DATA, from, l->size);
        l->at = l->size;
        return 0;
    }
    bool variable = l->text[begin + 1] == '{', raw = l->text[begin + 1] == '%' && is_block(l, begin, "raw", &sign, &end);
    sign = begin + 2 < l->size ? l->text[begin + 2] : 0;
    to = end_of_data(l, from, begin, sign, variable);
    if (to > from)
        push(l, CT_DATA, from, to);
    l->at = begin + 2 + (sign == '-' || sign == '+');
    if (raw) {
        l->at = end;
        return lex_raw(l, begin);
    }
    if (l->text[begin + 1] == '#')
        return lex_comment(l, begin);
    push(l, variable ? CT_PRINT_BEGIN : CT_BLOCK_BEGIN, begin, begin + 2);
    return lex_tag(l, begin, variable);
}

struct ct_token *ct_lex(const struct ct_source *s, struct rlhf_arena *arena, struct rlhf_error *err)
{
    struct lexer l = { .source = s, .text = s->text.data, .size = s->text.size, .line_starting = true, .err = err };

    /* Every token but the last takes at least a byte. */
    l.token = rlhf_arena_get(arena, l.size + 1, sizeof(*l.token));
    if (!l.token) {
        rlhf_fail(err, RLHF_FULL, "%s: out of memory for %zu bytes of template", s->where, l.size);
        return NULL;
    }
    while (l.at < l.size)
        if (lex_next(&l) < 0)
            return NULL;
    push(&l, CT_END, l.size, l.size);
    return l.token;
}
