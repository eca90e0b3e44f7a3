/* completions.h - what the policies of an evaluate stage said: evaluations/STAGE/POLICY.jsonl. */
#ifndef REPORT_COMPLETIONS_H
#define REPORT_COMPLETIONS_H

#include "report/sections.h"

struct completions {
    const char *stage, *policy; /* borrowed from the run */
    json_t *lines;              /* objects with "prompt" and "completion" */
};
/* Of the last evaluate stage that has any, one entry a policy that it has: how many, at most `most`. */
size_t completions_read(struct report *r, struct completions *out, size_t most);
void completions_free(struct completions *c, size_t count);

/* Members of a line; "" and NaN where they are not there. */
const char *completions_text(const json_t *line, const char *key);
double completions_number(const json_t *line, const char *key);

#endif
