#include "plain_json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { MAX_DEPTH = 32, MAX_DIGITS = 18, MAX_NUMBER = 40 };

struct reader {
    const char *at, *end;
    char *room; /* for texts with escapes: as long as all of it, made when first needed */
    size_t size;
};

/* A text, in the document or in room. */
struct span {
    const char *text;
    size_t size;
};

static json_t *read_value(struct reader *r, int depth);

static char peek(const struct reader *r)
{
    return r->at < r->end ? *r->at : '\0';
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        ++r->at;
}

/* The next character but space, if it is c. */
static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (peek(r) != c)
        return false;
    ++r->at;
    return true;
}

/* ---- texts --------------------------------------------------------------------------------------- */

/* No control characters, well-formed. */
static bool is_text(const char *text, size_t size)
{
    unsigned char high = 0;
    bool control = false;

    for (size_t i = 0; i < size; ++i) {
        high |= (unsigned char)text[i];
        control |= (unsigned char)text[i] < 0x20;
    }
    return !control && (high < 0x80 || rlhf_utf8_valid(text, size));
}

/* What stands behind a backslash for what; '\0': not here. */
static char unescaped(char c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(from, c) : NULL;

    return found ? to[found - from] : '\0';
}

/* r->at behind the quote. Copies into room what stands between escapes. */
static bool read_escaped(struct reader *r, struct span *s)
{
    char *to = r->room ? r->room : (r->room = malloc(r->size));

    s->text = to;
    while (to) {
        size_t size = 0, left = (size_t)(r->end - r->at);
        while (size < left && r->at[size] != '"' && r->at[size] != '\\')
            ++size;
        if (size + 1 >= left || !is_text(r->at, size)) /* the document does not end in a text */
            return false;
        memcpy(to, r->at, size);
        to += size;
        r->at += size + 1;
        if (r->at[-1] == '"') {
            s->size = (size_t)(to - s->text);
            return true;
        }
        if (!(*to++ = unescaped(*r->at++)))
            return false;
    }
    return false;
}

static bool read_text(struct reader *r, struct span *s)
{
    if (!take(r, '"'))
        return false;
    const char *quote = memchr(r->at, '"', (size_t)(r->end - r->at));
    if (!quote)
        return false;
    *s = (struct span){ r->at, (size_t)(quote - r->at) };
    if (memchr(s->text, '\\', s->size))
        return read_escaped(r, s);
    r->at = quote + 1;
    return is_text(s->text, s->size);
}

/* ---- other values -------------------------------------------------------------------------------- */

static size_t skip_digits(struct reader *r)
{
    const char *begin = r->at;

    while (peek(r) >= '0' && peek(r) <= '9')
        ++r->at;
    return (size_t)(r->at - begin);
}

static json_t *read_number(struct reader *r)
{
    const char *begin = r->at;
    char text[MAX_NUMBER];
    bool real = false;

    r->at += peek(r) == '-';
    bool zero = peek(r) == '0';
    size_t digits = skip_digits(r);
    if (digits == 0 || digits > MAX_DIGITS || (zero && digits > 1))
        return NULL;
    if (peek(r) == '.') {
        ++r->at;
        real = true;
        if (skip_digits(r) == 0)
            return NULL;
    }
    size_t size = (size_t)(r->at - begin);
    if (peek(r) == 'e' || peek(r) == 'E' || size >= sizeof(text))
        return NULL;
    memcpy(text, begin, size);
    text[size] = '\0';
    return real ? json_real(strtod(text, NULL)) : json_integer(strtoll(text, NULL, 10));
}

static json_t *read_word(struct reader *r, const char *word, json_t *value)
{
    size_t size = strlen(word);

    if ((size_t)(r->end - r->at) < size || memcmp(r->at, word, size) != 0)
        return NULL;
    r->at += size;
    return value;
}

static json_t *read_array(struct reader *r, int depth)
{
    json_t *list = json_array();

    ++r->at;
    if (take(r, ']'))
        return list;
    while (json_array_append_new(list, read_value(r, depth)) == 0) {
        if (take(r, ']'))
            return list;
        if (!take(r, ','))
            break;
    }
    json_decref(list);
    return NULL;
}

/* A key that is there already, the library complains of. */
static bool read_member(struct reader *r, json_t *object, int depth)
{
    char key[64];
    struct span name;

    if (!read_text(r, &name) || name.size >= sizeof(key) || !take(r, ':'))
        return false;
    memcpy(key, name.text, name.size);
    key[name.size] = '\0';
    return !json_object_get(object, key) && json_object_set_new_nocheck(object, key, read_value(r, depth)) == 0;
}

static json_t *read_object(struct reader *r, int depth)
{
    json_t *object = json_object();

    ++r->at;
    if (take(r, '}'))
        return object;
    while (object && read_member(r, object, depth)) {
        if (take(r, '}'))
            return object;
        if (!take(r, ','))
            break;
    }
    json_decref(object);
    return NULL;
}

static json_t *read_value(struct reader *r, int depth)
{
    struct span text;

    skip_space(r);
    switch (peek(r)) {
    case '"':
        return read_text(r, &text) ? json_stringn_nocheck(text.text, text.size) : NULL;
    case '[':
        return depth < MAX_DEPTH ? read_array(r, depth + 1) : NULL;
    case '{':
        return depth < MAX_DEPTH ? read_object(r, depth + 1) : NULL;
    case 't':
        return read_word(r, "true", json_true());
    case 'f':
        return read_word(r, "false", json_false());
    case 'n':
        return read_word(r, "null", json_null());
    default:
        return read_number(r);
    }
}

json_t *collector_plain_json(const char *text, size_t size)
{
    struct reader r = { .at = text, .end = text + size, .size = size };
    json_t *value = NULL;

    skip_space(&r);
    if (peek(&r) == '[' || peek(&r) == '{')
        value = read_value(&r, 0);
    skip_space(&r);
    free(r.room);
    if (r.at == r.end)
        return value;
    json_decref(value);
    return NULL;
}
