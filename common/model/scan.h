/* scan.h - the JSON of checkpoints, read by hand: a parser of all JSON makes 75 times its size of a hostile text, and only
 * little of JSON may stand in a safetensors header or an index of shards. */
#ifndef RLHF_MODEL_SCAN_H
#define RLHF_MODEL_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct rlhf_scan {
    const char *what; /* "the header": for errors */
    const char *begin, *at, *end;
    char *names; /* where the next name is stored; all of them together are shorter than the text */
    struct rlhf_error *err;
};

/* Fails with what was expected at this place. */
int rlhf_scan_expected(const struct rlhf_scan *r, const char *what);
void rlhf_scan_space(struct rlhf_scan *r);
/* Takes c when it comes next. */
bool rlhf_scan_take(struct rlhf_scan *r, char c);
/* A string without its quotes, escapes as they stand. */
int rlhf_scan_string(struct rlhf_scan *r, const char **text, size_t *size);
/* A name of UTF-8 without escapes (any other is in no model), kept in names. */
int rlhf_scan_name(struct rlhf_scan *r, const char **name);
/* Passes over a value of any kind. */
int rlhf_scan_skip(struct rlhf_scan *r);

#endif
