/* stop.h - strings that end a completion. */
#ifndef RLHF_TOKENIZER_STOP_H
#define RLHF_TOKENIZER_STOP_H

#include <stdbool.h>

#include "tokenizer/tokenizer.h"

/* *reached: one of the strings [n] occurs in the text of ids and ends within what the last of them adds, as
 * transformers' StopStringCriteria has it: special tokens count with their text, and the prompt's end may hold the
 * string's begin. Asked after every token this finds the first place where a completion is to end. */
int rlhf_stop_reached(const struct rlhf_tokenizer *t, const int32_t *ids, size_t count, const char *const *strings,
                      size_t n, bool *reached, struct rlhf_error *err);

#endif
