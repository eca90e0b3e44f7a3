/* chat.h - conversations as a model's chat template writes them, by transformers' rules for finding the template.
 *
 * A model's folder has its template in chat_template.jinja, or in tokenizer_config.json as "chat_template": a text, or
 * a list of {"name", "template"} (further ones in additional_chat_templates/NAME.jinja). Templates are parsed when they
 * are first wanted, so an unsupported one that is never used does no harm; immutable otherwise, for one thread. */
#ifndef RLHF_CHAT_CHAT_H
#define RLHF_CHAT_CHAT_H

#include "chat/template.h"
#include "tokenizer/tokenizer.h"

struct rlhf_chat;

/* Reads DIR. RLHF_REJECT where it has no template. */
struct rlhf_chat *rlhf_chat_load(const char *dir, struct rlhf_error *err);

/* request: {"messages": [...]}, and if wanted "tools", "documents", "add_generation_prompt" (false),
 * "continue_final_message" (false), "chat_template" (the name of one; otherwise "tool_use" where there are tools and it
 * exists, or "default"). All other keys are variables of the template, as are bos_token and its like. Keys of messages whose
 * value is null are left out. Replaces *out; the error of raise_exception() is its message. */
int rlhf_chat_render(struct rlhf_chat *c, const json_t *request, time_t now, struct rlhf_rendered *out,
                     struct rlhf_error *err);

/* The template that the request would use marks what the assistant wrote. */
bool rlhf_chat_marks(struct rlhf_chat *c, const json_t *request);

/* For each of the count tokens of r->text whether a {% generation %} block wrote it, as transformers' assistant mask
 * says: mask[count] of 0 and 1. ranges: where the tokens stand. */
void rlhf_chat_mask(const struct rlhf_rendered *r, const struct rlhf_token_range *ranges, size_t count, uint8_t *mask);

void rlhf_chat_free(struct rlhf_chat *c); /* NULL is fine */

#endif
