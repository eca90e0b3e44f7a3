/* source.h - where rewards come from beside reward models: rules that a text keeps or breaks, a service, a judge.
 *
 * A source is made once from its settings (expressions are compiled then) and never changes, so threads may share it. A
 * reward that cannot be had is missing: NaN, a state that is never taken for 0. */
#ifndef RLHF_REWARD_SOURCE_H
#define RLHF_REWARD_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum rlhf_source_kind { /* as enum RewardKind of proto/work.proto, which begins with 1 */
    RLHF_SOURCE_PATTERN, /* does a regular expression match the completion?                 */
    RLHF_SOURCE_LENGTH,  /* is it too short or too long?                                    */
    RLHF_SOURCE_EXACT,   /* is its answer the one expected?                                 */
    RLHF_SOURCE_SERVICE, /* a reward service: POST of prompts and completions               */
    RLHF_SOURCE_JUDGE,   /* a language model behind an OpenAI-compatible chat API           */
    RLHF_SOURCE_KINDS
};

enum rlhf_length_unit { RLHF_LENGTH_TOKENS, RLHF_LENGTH_WORDS, RLHF_LENGTH_CHARACTERS };

struct rlhf_source_settings {
    enum rlhf_source_kind kind;
    const char *name;
    /* PATTERN: PCRE2. EXACT: finds the answer in the completion and in what is expected, the last match's first group (or
     * all of it) being the answer; empty: all of the text. JUDGE: finds the score likewise; empty: a JSON object. */
    const char *expression;
    double matched, unmatched; /* PATTERN, EXACT: the rewards                                          */
    bool numbers;              /* EXACT: 1,000.0 and $1000 are one answer                              */
    enum rlhf_length_unit unit;
    double low, high;          /* LENGTH: neither too short nor too long; JUDGE: of possible scores     */
    double per_unit;           /* LENGTH: what each unit outside of them costs                          */
    /* SERVICE, JUDGE */
    const char *url;           /* http:// or https://                                                   */
    const char *credential;    /* names the key that goes with it; empty: none                          */
    uint32_t timeout_ms;       /* of a request                                                          */
    uint32_t attempts;         /* at most, for one request                                              */
    uint32_t backoff_ms;       /* before the second; then twice as long each time, with jitter          */
    uint32_t batch;            /* SERVICE: completions in a request                                     */
    uint32_t concurrency;      /* requests under way at most                                            */
    /* JUDGE */
    const char *model, *system, *question; /* question: {prompt}, {completion}, {answer} are filled in */
    const char *key;                       /* of the score in the JSON object                           */
    uint32_t max_tokens;
};

struct rlhf_source;

/* Copies s. NULL and RLHF_REJECT with the setting that makes no sense. */
struct rlhf_source *rlhf_source_new(const struct rlhf_source_settings *s, struct rlhf_error *err);
const struct rlhf_source_settings *rlhf_source_settings(const struct rlhf_source *s);
void rlhf_source_free(struct rlhf_source *s); /* NULL is fine */

/* True where a network answers: not of the same bits each time. */
bool rlhf_source_is_remote(enum rlhf_source_kind kind);

/* What is to be rewarded: UTF-8, NUL-terminated, borrowed. */
struct rlhf_source_text {
    const char *prompt, *completion;
    const char *answer; /* what is expected; NULL: the prompt has none */
    uint32_t tokens;    /* of the completion */
};

/* The text that the source's expression finds, the last match's first group or all of it: *found is false where there is
 * none. -1 and *err where the match ran over its limits, or text is not UTF-8. */
int rlhf_source_find(const struct rlhf_source *s, const char *text, const char **at, size_t *size, bool *found,
                     struct rlhf_error *err);

#endif
