/* plain_json.h - JSON of the kind that labels are made of, read ten times as fast as the library does.
 *
 * Promise: what it reads is what json_loadb(text, size, JSON_REJECT_DUPLICATES) reads, value for value. Whatever is out of
 * the ordinary (an error, \u, an exponent, a number of 19 digits, a 33rd level) it leaves to that function, which knows, and
 * says what is wrong. A label is mostly two long texts, and the library looks at each of their bytes in several calls: that
 * was a quarter of all that a label cost. */
#ifndef LABEL_COLLECTOR_PLAIN_JSON_H
#define LABEL_COLLECTOR_PLAIN_JSON_H

#include <jansson.h>

/* The caller's; NULL: not plain, or out of memory. Nothing behind text[size - 1] is looked at. */
json_t *collector_plain_json(const char *text, size_t size);

#endif
