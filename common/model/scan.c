#include "model/scan.h"

#include <string.h>

#include "base/text.h"

enum { DEPTH = 16 };

int rlhf_scan_expected(const struct rlhf_scan *r, const char *what)
{
    return rlhf_fail(r->err, RLHF_CORRUPT, "byte %zu of %s: expected %s", (size_t)(r->at - r->begin), r->what, what);
}

void rlhf_scan_space(struct rlhf_scan *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

bool rlhf_scan_take(struct rlhf_scan *r, char c)
{
    rlhf_scan_space(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

int rlhf_scan_string(struct rlhf_scan *r, const char **text, size_t *size)
{
    if (!rlhf_scan_take(r, '"'))
        return rlhf_scan_expected(r, "a string");
    *text = r->at;
    while (r->at < r->end && *r->at != '"' && (unsigned char)*r->at >= ' ')
        r->at += *r->at == '\\' && r->end - r->at > 1 ? 2 : 1;
    if (r->at >= r->end || *r->at != '"')
        return rlhf_scan_expected(r, "the end of a string");
    *size = (size_t)(r->at++ - *text);
    return 0;
}

int rlhf_scan_name(struct rlhf_scan *r, const char **name)
{
    const char *text;
    size_t size;

    if (rlhf_scan_string(r, &text, &size) < 0)
        return -1;
    if (memchr(text, '\\', size) || !rlhf_utf8_valid(text, size))
        return rlhf_scan_expected(r, "a name of UTF-8 without escapes");
    *name = memcpy(r->names, text, size);
    r->names[size] = '\0';
    r->names += size + 1;
    return 0;
}

/* Containers are counted, not entered: their members are values, names, commas and colons, in whatever order. */
int rlhf_scan_skip(struct rlhf_scan *r)
{
    char open[DEPTH];
    size_t depth = 0;

    do {
        const char *text;
        size_t size;

        rlhf_scan_space(r);
        if (r->at == r->end)
            return rlhf_scan_expected(r, "a value");
        if (*r->at == '"') {
            if (rlhf_scan_string(r, &text, &size) < 0)
                return -1;
        } else if (*r->at == '{' || *r->at == '[') {
            if (depth == DEPTH)
                return rlhf_scan_expected(r, "less depth");
            open[depth++] = *r->at++;
        } else if (*r->at == '}' || *r->at == ']') {
            if (!depth || open[--depth] != (*r->at == '}' ? '{' : '['))
                return rlhf_scan_expected(r, "a value");
            r->at++;
        } else if (depth && (*r->at == ',' || *r->at == ':')) {
            r->at++;
        } else {
            text = r->at;
            while (r->at < r->end && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *r->at) && *r->at)
                r->at++;
            if (r->at == text)
                return rlhf_scan_expected(r, "a value");
        }
    } while (depth);
    return 0;
}
