#include "base/text.h"

#include <string.h>

bool rlhf_utf8_valid(const char *text, size_t size)
{
    const unsigned char *s = (const unsigned char *)text;

    for (size_t i = 0; i < size;) {
        unsigned char lead = s[i];
        unsigned char least = 0x80, most = 0xbf; /* of the second byte */
        size_t length;

        if (lead < 0x80) {
            i++;
            continue;
        }
        if (lead >= 0xc2 && lead <= 0xdf) {
            length = 2;
        } else if (lead >= 0xe0 && lead <= 0xef) {
            length = 3;
            if (lead == 0xe0)
                least = 0xa0; /* overlong below */
            else if (lead == 0xed)
                most = 0x9f; /* surrogates above */
        } else if (lead >= 0xf0 && lead <= 0xf4) {
            length = 4;
            if (lead == 0xf0)
                least = 0x90;
            else if (lead == 0xf4)
                most = 0x8f; /* beyond U+10FFFF */
        } else {
            return false;
        }
        if (size - i < length || s[i + 1] < least || s[i + 1] > most)
            return false;
        for (size_t k = 2; k < length; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return false;
        i += length;
    }
    return true;
}

size_t rlhf_char_size(const char *text)
{
    uint8_t c = (uint8_t)*text;

    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

uint32_t rlhf_char(const char *text, size_t *size)
{
    uint32_t c = (uint8_t)*text;

    *size = rlhf_char_size(text);
    if (*size == 1)
        return c;
    c &= 0x7fu >> *size;
    for (size_t i = 1; i < *size; i++)
        c = c << 6 | ((uint8_t)text[i] & 0x3f);
    return c;
}

bool rlhf_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool rlhf_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool rlhf_ends_with(const char *text, const char *suffix)
{
    size_t size = strlen(text), tail = strlen(suffix);

    return size >= tail && memcmp(text + size - tail, suffix, tail) == 0;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance, three rows at a time. */
size_t rlhf_edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t na = strlen(a), nb = strlen(b);

    if (na > LONGEST || nb > LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *oldest = before;

        before = above;
        above = row;
        row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
    }
    return row[nb];
}

const char *rlhf_did_you_mean(const char *word, const char *const *names)
{
    size_t best = strlen(word) / 3 + 1; /* one slip for every three letters, and one more */
    const char *near = NULL;

    for (; *names; names++) {
        size_t distance = rlhf_edit_distance(word, *names);

        if (distance < strlen(*names) && (distance < best || (distance == best && !near))) {
            best = distance;
            near = *names;
        }
    }
    return near;
}
