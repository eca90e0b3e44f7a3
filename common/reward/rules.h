/* rules.h - rewards that are computed from the text alone. Pure: same text, same bits. */
#ifndef RLHF_REWARD_RULES_H
#define RLHF_REWARD_RULES_H

#include "reward/source.h"

/* The reward of a source that is not remote. NaN where it is missing, *why then saying what kept it away: an expression that
 * ran over its limits, a prompt without an answer. */
float rlhf_rule_reward(const struct rlhf_source *s, const struct rlhf_source_text *t, struct rlhf_error *why);

/* A number as one spells it: "$1,000.50", "1000.5 ", "+1000.5." and "1000.5%" become "1000.5", "-0.0" becomes "0". False
 * where text is none, or longer than out takes. */
bool rlhf_number_normal(const char *text, size_t size, char *out, size_t capacity);

#endif
