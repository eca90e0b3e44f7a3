/* transcript.h - dialogues as text in the HH form ("\n\nHuman: ...\n\nAssistant: ..."); private to common/data. */
#ifndef RLHF_DATA_TRANSCRIPT_H
#define RLHF_DATA_TRANSCRIPT_H

#include <jansson.h>

#include "base/memory.h"

/* Bytes of text up to and including the last "\n\nAssistant:" within its first `limit` bytes; 0 when there is none. A prompt ends
 * so, and the completion begins with the space behind it. */
size_t rlhf_transcript_prompt(const char *text, size_t limit);

/* A list of {"role", "content"} as a transcript. Roles: system (its text first), user or human, assistant. With open, the last turn must be
 * a user's and "\n\nAssistant:" is put behind it (a prompt); without, assistant turns only begin with a space (a completion). */
int rlhf_transcript_render(const json_t *turns, bool open, const char *where, const char *key, struct rlhf_bytes *out,
                           struct rlhf_error *err);

#endif
