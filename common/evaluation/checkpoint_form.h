/* checkpoint_form.h - how text becomes tokens for the model in a directory: as its run had it, which its provenance.json says. */
#ifndef RLHF_EVALUATION_CHECKPOINT_FORM_H
#define RLHF_EVALUATION_CHECKPOINT_FORM_H

#include "data/form.h"

/* chat: through its chat template whatever is said there, as for models from elsewhere. Borrows t; f->chat is freed by the caller. */
int rlhf_checkpoint_form(struct rlhf_form *f, const char *dir, const struct rlhf_tokenizer *t, bool chat, struct rlhf_error *err);

#endif
