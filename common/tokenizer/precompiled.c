/* Precompiled: SentencePiece's table of replacements, as it stands in tokenizer.json: base64 of
 *   u32 bytes of the trie, the trie (little-endian u32 units of a double array), the replacements, each ended by NUL.
 * A leaf's value is where its replacement begins. Units are those of the Darts-clone library: bits 0-7 the label (with bit
 * 31: a value), bit 8 "a leaf follows", bits 10-30 the offset to the children, 256 times as far where bit 9 is set. */
#include "tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define WHERE "tokenizer.json: normalizer: Precompiled"

static int sextet(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;

    return at ? (int)(at - alphabet) : -1;
}

static int decode_base64(const char *text, size_t size, uint8_t *out, size_t *out_size)
{
    uint32_t bits = 0;
    unsigned held = 0;

    *out_size = 0;
    while (size && text[size - 1] == '=')
        size--;
    for (size_t i = 0; i < size; i++) {
        int six = sextet(text[i]);

        if (six < 0)
            return -1;
        bits = bits << 6 | (uint32_t)six;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[(*out_size)++] = (uint8_t)(bits >> held);
        }
    }
    return 0;
}

static uint32_t unit_at(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

int tk_precompiled_load(struct tk_normalizer *n, const json_t *json, struct rlhf_error *err)
{
    const json_t *value = json_object_get(json, "precompiled_charsmap");
    uint8_t *bytes;
    size_t size = 0, trie;

    if (!json_is_string(value))
        return rlhf_fail(err, RLHF_REJECT, WHERE " has no \"precompiled_charsmap\"");
    if (!(bytes = malloc(json_string_length(value) + 1)))
        return rlhf_fail(err, RLHF_FULL, WHERE ": out of memory");
    if (decode_base64(json_string_value(value), json_string_length(value), bytes, &size) < 0 || size < 4 ||
        (trie = unit_at(bytes)) > size - 4 || trie % 4 || trie == 0) {
        free(bytes);
        return rlhf_fail(err, RLHF_REJECT, WHERE ": \"precompiled_charsmap\" is no such table");
    }
    n->units = trie / 4;
    n->size = size - 4 - trie;
    n->unit = malloc(trie);
    n->text = malloc(n->size + 1);
    if (n->unit && n->text) {
        for (size_t i = 0; i < n->units; i++)
            n->unit[i] = unit_at(bytes + 4 + 4 * i);
        memcpy(n->text, bytes + 4 + trie, n->size);
        n->text[n->size] = '\0';
    }
    free(bytes);
    return n->unit && n->text ? 0 : rlhf_fail(err, RLHF_FULL, WHERE ": out of memory");
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* What the shortest known beginning of text is replaced by; NULL where none is known. */
static const char *find(const struct tk_normalizer *n, const char *text, size_t size)
{
    size_t at = offset_of(n->unit[0]);

    for (size_t i = 0; i < size && text[i]; i++) {
        uint32_t unit;

        at ^= (uint8_t)text[i];
        if (at >= n->units)
            return NULL;
        unit = n->unit[at];
        if ((unit & (1u << 31 | 0xff)) != (uint8_t)text[i])
            return NULL;
        at ^= offset_of(unit);
        if (unit & 1u << 8) {
            size_t start = at < n->units ? n->unit[at] & ~(1u << 31) : SIZE_MAX;

            return start < n->size ? n->text + start : NULL;
        }
    }
    return NULL;
}

static int append_chars(const struct tk_normalizer *n, const char *text, size_t size, struct rlhf_bytes *out,
                        struct rlhf_error *err)
{
    for (size_t at = 0, step; at < size; at += step) {
        const char *found;

        step = tk_utf8_size(text + at, size - at);
        found = find(n, text + at, step);
        if (rlhf_bytes_append(out, found ? found : text + at, found ? strlen(found) : step, err) < 0)
            return -1;
    }
    return 0;
}

size_t tk_grapheme_size(const char *text, size_t size)
{
    utf8proc_int32_t state = 0, before, after;
    size_t end = tk_utf8_size(text, size), step;

    before = (utf8proc_int32_t)tk_utf8_get(text, end);
    for (; end < size; end += step) {
        step = tk_utf8_size(text + end, size - end);
        after = (utf8proc_int32_t)tk_utf8_get(text + end, step);
        if (utf8proc_grapheme_break_stateful(before, after, &state))
            break;
        before = after;
    }
    return end;
}

/* Short grapheme clusters are looked up whole, then character by character. */
int tk_precompiled_apply(const struct tk_normalizer *n, const char *text, size_t size, struct rlhf_bytes *out,
                         struct rlhf_error *err)
{
    for (size_t at = 0, count; at < size; at += count) {
        count = tk_grapheme_size(text + at, size - at);
        const char *found = count < 6 ? find(n, text + at, count) : NULL;
        if ((found ? rlhf_bytes_append(out, found, strlen(found), err) : append_chars(n, text + at, count, out, err)) < 0)
            return -1;
        if (out->size > TK_TEXT_LIMIT)
            return rlhf_fail(err, RLHF_REJECT, "a text grows beyond %d bytes when it is normalised", TK_TEXT_LIMIT);
    }
    return 0;
}
