/* answers.h - what reward services and judges are sent, and what they answer, as text. Pure. remote.h says the forms. */
#ifndef RLHF_REWARD_ANSWERS_H
#define RLHF_REWARD_ANSWERS_H

#include "base/memory.h"
#include "reward/source.h"

/* The JSON that a service is sent for count texts. */
int rlhf_service_request(const struct rlhf_source *s, const struct rlhf_source_text *text, size_t count, struct rlhf_bytes *out,
                         struct rlhf_error *err);
/* reward[count] of its answer, NaN for null; -1 and RLHF_REJECT where the answer has another form. */
int rlhf_service_rewards(const char *json, size_t size, size_t count, float *reward, struct rlhf_error *err);

/* The JSON that a judge is sent for a text. */
int rlhf_judge_request(const struct rlhf_source *s, const struct rlhf_source_text *t, struct rlhf_bytes *out,
                       struct rlhf_error *err);
/* What a judge said, out of the answer of its chat API: to be freed. NULL and *err where it has another form. */
char *rlhf_judge_words(const char *json, size_t size, struct rlhf_error *err);
/* The score in its words; NaN and *why where there is none, or none in the source's range. */
float rlhf_judge_score(const struct rlhf_source *s, const char *words, struct rlhf_error *why);

#endif
