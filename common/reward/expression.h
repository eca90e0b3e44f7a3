/* expression.h - a regular expression (PCRE2, UTF-8) that cannot run away: matching has limits on steps and memory, and is the
 * same on every machine. */
#ifndef RLHF_REWARD_EXPRESSION_H
#define RLHF_REWARD_EXPRESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct rlhf_expression;

/* NULL and RLHF_REJECT with what is wrong, and where in text. */
struct rlhf_expression *rlhf_expression_new(const char *text, struct rlhf_error *err);
/* The last match in subject, that is its first group, or where it has none all of it. -1 and *err where the limits were
 * reached, or subject is not UTF-8. Any thread. */
int rlhf_expression_last(const struct rlhf_expression *e, const char *subject, const char **at, size_t *size, bool *found,
                         struct rlhf_error *err);
void rlhf_expression_free(struct rlhf_expression *e); /* NULL is fine */

#endif
