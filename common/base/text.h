/* text.h - small questions about strings. */
#ifndef RLHF_BASE_TEXT_H
#define RLHF_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Well-formed UTF-8 as in RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. NUL bytes are valid
 * UTF-8; who forbids them asks for them with memchr(). */
bool rlhf_utf8_valid(const char *text, size_t size);

/* Valid UTF-8 by characters: the bytes of the one that begins here, and its code point. */
size_t rlhf_char_size(const char *text);
uint32_t rlhf_char(const char *text, size_t *size);
bool rlhf_is_space(uint32_t codepoint); /* Python's str.isspace() */

bool rlhf_starts_with(const char *text, const char *prefix);
bool rlhf_ends_with(const char *text, const char *suffix);

/* Insertions, deletions, substitutions and swaps of neighbours between a and b, both at most 63 bytes; SIZE_MAX when
 * one is longer. */
size_t rlhf_edit_distance(const char *a, const char *b);

/* The one of the NULL-terminated names that word was probably meant to be; NULL when none is near. */
const char *rlhf_did_you_mean(const char *word, const char *const *names);

#endif
