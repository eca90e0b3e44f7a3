/* transcript.h - dialogues as text in the HH form ("\n\nHuman: ...\n\nAssistant: ..."). */
#ifndef RLHF_DATA_TRANSCRIPT_H
#define RLHF_DATA_TRANSCRIPT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/memory.h"

/* Where the next turn is the assistant's to speak. */
#define RLHF_ASSISTANT_TURN "\n\nAssistant:"

/* Bytes of text up to and including the last "\n\nAssistant:" within its first `limit` bytes; 0 when there is none. A prompt
 * ends so, and the completion begins with the space behind it. */
size_t rlhf_transcript_prompt(const char *text, size_t limit);

/* Whether a turn begins somewhere in text. What only looks like one ("\n\nHuman-like") is text, because of the colon. */
bool rlhf_transcript_has_turn(const char *text);

/* Appends a list of {"role", "content"} as a transcript. Roles: system (its text alone), user or human, assistant. */
int rlhf_transcript_append(const json_t *turns, const char *key, struct rlhf_bytes *out, struct rlhf_error *err);

/* The way back: a list of {"role": system, user or assistant, "content"}. What stands before the first turn is the system's;
 * text without turns is what a user says. The last turn is the assistant's, empty where it has not begun. NULL: no memory, or
 * not UTF-8. */
json_t *rlhf_transcript_turns(const char *text);

#endif
