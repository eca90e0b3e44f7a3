/* markup.h - HTML as it is written: everything that comes from a run passes markup_text(), which leaves nothing in it that a
 * browser would take for markup. The first failure stops all that follows; it is asked for once, at the end. */
#ifndef REPORT_MARKUP_H
#define REPORT_MARKUP_H

#include <stdbool.h>

#include "base/memory.h"

struct markup {
    struct rlhf_bytes bytes;
    struct rlhf_error err; /* of the first failure */
};
/* As it is: for what we wrote ourselves, and numbers. */
void markup_put(struct markup *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Escaped, for text and for attributes in double quotes. Control characters show as pictures of themselves. */
void markup_text(struct markup *m, const char *text);
void markup_text_size(struct markup *m, const char *text, size_t size);
/* A number for people: four digits, thousands apart, "-" for NaN. */
void markup_number(struct markup *m, double value);

/* The same number into out. */
enum { MARKUP_NUMBER = 40 };
const char *markup_format(char out[MARKUP_NUMBER], double value);

#endif
