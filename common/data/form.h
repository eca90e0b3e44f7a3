/* form.h - the one place where prompts and completions become tokens: as the text stands, or as a chat template writes it.
 *
 * Without a template a prompt is [begin] text, a completion text [end], each encoded by itself, so that the prompt's ids are
 * the same whatever is answered, and text that looks like a special token stays text.
 *
 * With one, a prompt is the dialogue that its transcript ("\n\nHuman: ...\n\nAssistant:") tells, or what a user says where it
 * has no turns, up to where the assistant is to speak (add_generation_prompt); an assistant's turn that has begun is gone on with
 * (continue_final_message). A completion, its first space left out, is what the template writes of that turn and behind it, as far
 * as the end token, which is added where the template writes none. People and vendors see transcripts all the while. */
#ifndef RLHF_DATA_FORM_H
#define RLHF_DATA_FORM_H

#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "chat/chat.h"
#include "tokenizer/tokenizer.h"

struct rlhf_form {
    const struct rlhf_tokenizer *tokenizer;
    struct rlhf_chat *chat; /* NULL: text as it stands */
    time_t today;           /* what the template is told; a fixed day, so that the same run has the same tokens */
};

/* Noon of a day written YYYY-MM-DD, so that templates see the same day in every time zone. */
time_t rlhf_form_day(const char *text);

/* Append the ids to *out. -1: RLHF_REJECT for a dialogue that the template refuses, with its words. */
int rlhf_form_prompt(const struct rlhf_form *f, const char *prompt, struct rlhf_tokens *out, struct rlhf_error *err);
int rlhf_form_completion(const struct rlhf_form *f, const char *prompt, const char *completion, struct rlhf_tokens *out,
                         struct rlhf_error *err);

#endif
