#include "report/markup.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void append(struct markup *m, const char *text, size_t size)
{
    if (m->err.code == RLHF_OK)
        rlhf_bytes_append(&m->bytes, text, size, &m->err);
}

void markup_put(struct markup *m, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    int size;

    va_start(ap, fmt);
    size = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (size < 0 || (size_t)size >= sizeof text) {
        if (m->err.code == RLHF_OK)
            rlhf_fail(&m->err, RLHF_FATAL, "a piece of the page is longer than %zu bytes", sizeof text);
        return;
    }
    append(m, text, (size_t)size);
}

/* What stands for one byte; NULL: itself. */
static const char *escaped(unsigned char c, char picture[4])
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\n':
    case '\t':
        return NULL;
    case 0x7f:
        return "\u2421";
    default:
        if (c >= 0x20)
            return NULL;
        snprintf(picture, 4, "\xe2\x90%c", 0x80 + c); /* U+2400 + c: a picture of it */
        return picture;
    }
}

void markup_text_size(struct markup *m, const char *text, size_t size)
{
    size_t from = 0;

    for (size_t i = 0; i < size; i++) {
        char picture[4];
        const char *instead = escaped((unsigned char)text[i], picture);
        if (!instead)
            continue;
        append(m, text + from, i - from);
        append(m, instead, strlen(instead));
        from = i + 1;
    }
    append(m, text + from, size - from);
}

void markup_text(struct markup *m, const char *text)
{
    markup_text_size(m, text, strlen(text));
}

/* Thousands apart, by a thin space. */
static void put_whole(char out[MARKUP_NUMBER], double value)
{
    char digits[32];
    size_t size, n = 0;

    snprintf(digits, sizeof digits, "%.0f", fabs(value));
    size = strlen(digits);
    if (value < 0)
        n += (size_t)snprintf(out, MARKUP_NUMBER, "\u2212");
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0 && size > 4)
            n += (size_t)snprintf(out + n, MARKUP_NUMBER - n, "\u202f");
        n += (size_t)snprintf(out + n, MARKUP_NUMBER - n, "%c", digits[i]);
    }
}

const char *markup_format(char out[MARKUP_NUMBER], double value)
{
    char text[32];

    if (isnan(value))
        return strcpy(out, "\u2013");
    if (isinf(value))
        return strcpy(out, value > 0 ? "\u221e" : "\u2212\u221e");
    if (fabs(value) < 1e9 && (value == floor(value) || fabs(value) >= 1e4)) {
        put_whole(out, value);
        return out;
    }
    snprintf(text, sizeof text, "%.4g", value);
    snprintf(out, MARKUP_NUMBER, "%s%s", *text == '-' ? "\u2212" : "", *text == '-' ? text + 1 : text);
    return out;
}

void markup_number(struct markup *m, double value)
{
    char text[MARKUP_NUMBER];

    markup_text(m, markup_format(text, value));
}
