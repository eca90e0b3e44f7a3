#include "tokenizer/parts.h"

#include <string.h>
#include <utf8proc.h>

/* How many bytes of the character that p[0] >= 0x80 begins are there and well-formed (1 to *want), 0 where
 * p[0] begins none. The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF. */
static size_t good_bytes(const uint8_t *p, size_t size, size_t *want)
{
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    size_t n = 1;

    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    *want = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (size < 2 || p[1] < low || p[1] > high)
        return 1;
    while (++n < *want)
        if (n == size || (p[n] & 0xc0) != 0x80)
            break;
    return n;
}

size_t tk_utf8_size(const char *text, size_t size)
{
    size_t want = 1;

    if (size == 0)
        return 0;
    if (!(*text & 0x80))
        return 1;
    return good_bytes((const uint8_t *)text, size, &want) == want ? want : 0;
}

size_t tk_utf8_valid(const char *text, size_t size)
{
    size_t at = 0;

    while (at < size) {
        uint64_t word;

        if (at + sizeof(word) <= size) { /* eight ASCII bytes at once */
            memcpy(&word, text + at, sizeof(word));
            if (!(word & UINT64_C(0x8080808080808080))) {
                at += sizeof(word);
                continue;
            }
        }
        size_t n = tk_utf8_size(text + at, size - at);
        if (n == 0)
            break;
        at += n;
    }
    return at;
}

uint32_t tk_utf8_get(const char *text, size_t char_size)
{
    const uint8_t *p = (const uint8_t *)text;

    switch (char_size) {
    case 1:
        return p[0];
    case 2:
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    case 3:
        return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    default:
        return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 | (uint32_t)(p[2] & 0x3f) << 6 |
               (p[3] & 0x3f);
    }
}

size_t tk_utf8_put(char out[4], uint32_t codepoint)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)codepoint, (utf8proc_uint8_t *)out);
}

int tk_utf8_lossy(const char *text, size_t size, struct rlhf_bytes *out, struct rlhf_error *err)
{
    for (size_t at = 0; at < size;) {
        size_t n = tk_utf8_valid(text + at, size - at);

        if (rlhf_bytes_append(out, text + at, n, err) < 0)
            return -1;
        at += n;
        if (at < size) {
            if (rlhf_bytes_append(out, "\xef\xbf\xbd", 3, err) < 0)
                return -1;
            size_t want, good = good_bytes((const uint8_t *)text + at, size - at, &want);
            at += good ? good : 1;
        }
    }
    return 0;
}

bool tk_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool tk_is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* the symbols that are Alphabetic (circled and squared letters), and Join_Control */
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
               (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c || c == 0x200d;
    }
}

static bool stands_for_itself(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

uint32_t tk_byte_char(uint8_t byte)
{
    /* The 68 bytes that print nothing take the characters from U+0100 on, in order. */
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte <= 0xa0)
        return 0x121u + (byte - 0x7fu);
    return 0x143; /* 0xad */
}

int tk_char_byte(uint32_t c)
{
    if (stands_for_itself(c))
        return (int)c;
    if (c >= 0x100 && c <= 0x120)
        return (int)(c - 0x100);
    if (c >= 0x121 && c <= 0x142)
        return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}
