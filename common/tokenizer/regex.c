#include "tokenizer/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Patterns in tokenizer.json are written for Oniguruma (Ruby syntax, UTF-8). Most of it means the same to
 * PCRE2. These do not, and are rewritten:
 *   \s \S     White_Space only; PCRE2's \s also takes U+180E
 *   \w \W \b  Alphabetic, marks, decimal numbers, connector punctuation, the numbers of Latin-1; PCRE2: letters,
 *             numbers, _
 *   \h \H     a hexadecimal digit; PCRE2: horizontal white space
 *   (?m)      dot matches newline; PCRE2 calls that (?s). ^ and $ always match at lines
 *   \v \uHHHH vertical tab, a code point; PCRE2: vertical white space, nothing
 * Class intersection (&&), \S or \H inside a class and {n,m}+ (possessive in PCRE2 only) cannot be
 * expressed: an error names them. */
#define SPACE "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe"

struct tk_regex {
    pcre2_code *code;
    pcre2_match_context *context;
    bool jit;
};

struct translation {
    const char *pattern, *where;
    size_t size, at;
    bool in_class;
    struct rlhf_bytes *out;
    struct rlhf_error *err;
};

static int put(struct translation *t, const char *text)
{
    return rlhf_bytes_append(t->out, text, strlen(text), t->err);
}

static int copy(struct translation *t, size_t count)
{
    size_t from = t->at;

    t->at += count;
    return rlhf_bytes_append(t->out, t->pattern + from, count, t->err);
}

static int unsupported(struct translation *t, const char *what)
{
    return rlhf_fail(t->err, RLHF_REJECT, "%s: the pattern uses %s, which is not supported", t->where, what);
}

static int translate_escape(struct translation *t)
{
    char c = t->at + 1 < t->size ? t->pattern[t->at + 1] : '\0';
    static const struct {
        char letter;
        const char *outside, *inside; /* inside a class; NULL: cannot be said there */
    } escapes[] = {
        { 's', "[" SPACE "]", SPACE },
        { 'S', "[^" SPACE "]", NULL },
        { 'w', "[" WORD "]", WORD },
        { 'W', "[^" WORD "]", NULL },
        { 'h', "[0-9a-fA-F]", "0-9a-fA-F" },
        { 'H', "[^0-9a-fA-F]", NULL },
        { 'v', "\\x0b", "\\x0b" },
        { 'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\x08" },
        { 'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL },
    };

    if (c == '\0')
        return unsupported(t, "a \\ at its end");
    for (size_t i = 0; i < sizeof(escapes) / sizeof(*escapes); i++)
        if (c == escapes[i].letter) {
            char name[32] = { '\\', c };

            if (t->in_class && !escapes[i].inside)
                return unsupported(t, strcat(name, " inside [...]"));
            t->at += 2;
            return put(t, t->in_class ? escapes[i].inside : escapes[i].outside);
        }
    if (c == 'p' || c == 'P') { /* \p{^Name} is understood by both; copy up to the brace's end */
        const char *end = memchr(t->pattern + t->at, '}', t->size - t->at);

        return end && t->pattern[t->at + 2] == '{' ? copy(t, (size_t)(end - t->pattern) + 1 - t->at)
                                                   : unsupported(t, "\\p without {Name}");
    }
    if (c == 'u' && t->size - t->at >= 6) {
        char point[16];

        snprintf(point, sizeof(point), "\\x{%.4s}", t->pattern + t->at + 2);
        t->at += 6;
        return put(t, point);
    }
    if (c == 'g' || c == 'k' || c == 'K' || c == 'G' || c == 'Q' || c == 'C' || c == 'N')
        return unsupported(t, "\\g, \\k, \\K, \\G, \\Q, \\C or \\N");
    return copy(t, 2); /* of an escaped multi-byte character the first byte; the rest follows as it is */
}

/* (?flags) and (?flags: with Ruby's m turned into s. */
static int translate_group(struct translation *t)
{
    size_t end = t->at + 2;

    while (end < t->size && memchr("imx-", t->pattern[end], 4))
        end++;
    if (end == t->at + 2 || end >= t->size || (t->pattern[end] != ':' && t->pattern[end] != ')'))
        return copy(t, 2);
    for (copy(t, 2); t->at < end; t->at++) {
        char flag[2] = { t->pattern[t->at] == 'm' ? 's' : t->pattern[t->at] };
        if (put(t, flag) < 0)
            return -1;
    }
    return 0;
}

static int translate_interval(struct translation *t)
{
    size_t end = t->at + 1;

    while (end < t->size && memchr("0123456789,", t->pattern[end], 11))
        end++;
    if (end < t->size && t->pattern[end] == '}' && end + 1 < t->size && t->pattern[end + 1] == '+')
        return unsupported(t, "+ behind {n,m}");
    return copy(t, 1);
}

static int translate(struct translation *t)
{
    while (t->at < t->size) {
        char c = t->pattern[t->at];
        int result;

        if (c == '\\')
            result = translate_escape(t);
        else if (t->in_class) {
            if (c == '[' && !(t->at + 1 < t->size && t->pattern[t->at + 1] == ':'))
                return unsupported(t, "a class inside a class");
            if (c == '&' && t->at + 1 < t->size && t->pattern[t->at + 1] == '&')
                return unsupported(t, "&& inside a class");
            if (c == '[') { /* [:name:] */
                const char *end = memmem(t->pattern + t->at, t->size - t->at, ":]", 2);
                if (!end)
                    return unsupported(t, "a class that does not end");
                result = copy(t, (size_t)(end - t->pattern) + 2 - t->at);
            } else {
                t->in_class = c != ']';
                result = copy(t, 1);
            }
        } else if (c == '[') {
            t->in_class = true;
            result = copy(t, 1);
            if (result == 0 && t->at < t->size && t->pattern[t->at] == '^')
                result = copy(t, 1);
            if (result == 0 && t->at < t->size && t->pattern[t->at] == ']')
                result = copy(t, 1); /* a literal ] */
        } else if (c == '(' && t->at + 1 < t->size && t->pattern[t->at + 1] == '?')
            result = translate_group(t);
        else if (c == '{')
            result = translate_interval(t);
        else
            result = copy(t, 1);
        if (result < 0)
            return -1;
    }
    return 0;
}

static struct tk_regex *compile(const char *pattern, size_t size, uint32_t options, const char *where,
                                struct rlhf_error *err)
{
    struct tk_regex *r = calloc(1, sizeof(*r));
    int code;
    PCRE2_SIZE at;

    if (!r || !(r->context = pcre2_match_context_create(NULL))) {
        rlhf_fail(err, RLHF_FULL, "%s: out of memory for a pattern", where);
        tk_regex_free(r);
        return NULL;
    }
    /* Bounds what a pattern that backtracks without end may cost: an error instead of a hang. */
    pcre2_set_match_limit(r->context, 1000 * 1000);
    pcre2_set_heap_limit(r->context, 64 * 1024);
    r->code = pcre2_compile((PCRE2_SPTR)pattern, size, options | PCRE2_UTF | PCRE2_NO_UTF_CHECK, &code, &at, NULL);
    if (!r->code) {
        char message[120];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message));
        rlhf_fail(err, RLHF_REJECT, "%s: the pattern does not compile: %s", where, message);
        tk_regex_free(r);
        return NULL;
    }
    r->jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
    return r;
}

struct tk_regex *tk_regex_new(const char *pattern, size_t size, const char *where, struct rlhf_error *err)
{
    struct rlhf_bytes translated = { 0 };
    struct translation t = { .pattern = pattern, .size = size, .where = where, .out = &translated, .err = err };
    struct tk_regex *r = NULL;

    if (translate(&t) == 0)
        r = compile(translated.data ? translated.data : "", translated.size, PCRE2_UCP | PCRE2_MULTILINE, where, err);
    rlhf_bytes_free(&translated);
    return r;
}

struct tk_regex *tk_regex_literal(const char *text, size_t size, const char *where, struct rlhf_error *err)
{
    if (size == 0) {
        rlhf_fail(err, RLHF_REJECT, "%s: the pattern is empty", where);
        return NULL;
    }
    return compile(text, size, PCRE2_LITERAL, where, err);
}

void tk_regex_free(struct tk_regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    pcre2_match_context_free(r->context);
    free(r);
}

static int match(const struct tk_regex *r, pcre2_match_data *scratch, const char *text, size_t size, size_t from)
{
    int found = PCRE2_ERROR_JIT_STACKLIMIT;

    if (r->jit)
        found = pcre2_jit_match(r->code, (PCRE2_SPTR)text, size, from, PCRE2_NO_UTF_CHECK, scratch, r->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(r->code, (PCRE2_SPTR)text, size, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch,
                            r->context);
    return found;
}

int tk_regex_next(const struct tk_regex *r, struct tk_search *s, pcre2_match_data *scratch, const char *text,
                  size_t size, struct tk_span *span, struct rlhf_error *err)
{
    while (s->from <= size) {
        int found = match(r, scratch, text, size, s->from);

        if (found == PCRE2_ERROR_NOMATCH)
            return 0;
        if (found < 0) {
            char message[120];
            pcre2_get_error_message(found, (PCRE2_UCHAR *)message, sizeof(message));
            return rlhf_fail(err, RLHF_REJECT, "the tokenizer's pattern failed %zu bytes into a text: %s", s->from,
                             message);
        }
        const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(scratch);
        if (pair[1] > pair[0] || !s->any || s->last_end != pair[1]) {
            *span = (struct tk_span){ .start = pair[0], .end = pair[1], .match = true };
            s->from = s->last_end = span->end;
            s->any = true;
            return 1;
        }
        /* An empty match right behind the last one: go on one character later. */
        size_t step = tk_utf8_size(text + s->from, size - s->from);
        s->from += step ? step : 1;
    }
    return 0;
}
