/* requests.h - what a model is asked, in tokens, cut as lm-evaluation-harness 0.4 cuts it (lm_eval/api/model.py, models/huggingface.py).
 *
 * A request is a context and a continuation, whose log-probs are wanted. Both are encoded together; the continuation is what
 * follows the context's own tokens, and white space at the context's end counts to it. An empty context is the
 * model's token to begin with (or its end token). What is longer than the model's context loses tokens at the left. */
#ifndef RLHF_EVALUATION_REQUESTS_H
#define RLHF_EVALUATION_REQUESTS_H

#include "tokenizer/tokenizer.h"

struct rlhf_framing {
    const struct rlhf_tokenizer *tokenizer; /* borrowed */
    int32_t prefix;           /* what an empty context is: the token to begin with, or the end token; -1: there is none */
    struct rlhf_bytes begins; /* its text: what begins so gets no special tokens */
    size_t context;           /* tokens that the model reads at most */
};
int rlhf_framing_init(struct rlhf_framing *f, const struct rlhf_tokenizer *t, size_t context, struct rlhf_error *err);
void rlhf_framing_free(struct rlhf_framing *f);

/* Many of them in one block. */
struct rlhf_requests {
    struct rlhf_tokens tokens;
    struct rlhf_request {
        size_t start;        /* of its tokens, the context first */
        uint32_t size, wanted; /* all of them; how many at the end are the continuation: wanted < size <= context + 1 */
    } *at;
    size_t count, capacity;
};

/* Both are NUL-terminated. A continuation that adds no token, or more than the model's context, is RLHF_REJECT. */
int rlhf_requests_add(struct rlhf_requests *r, const struct rlhf_framing *f, const char *context, const char *continuation,
                      struct rlhf_error *err);
/* A whole text, every token of it wanted once: windows as long as the model's context, which do not overlap but for
 * the one token that the next begins with. An empty text gives none. */
int rlhf_requests_add_text(struct rlhf_requests *r, const struct rlhf_framing *f, const char *text, size_t size,
                           struct rlhf_error *err);
/* The tokens of a prompt to complete, the last `most` of them, appended to out. */
int rlhf_frame_prompt(const struct rlhf_framing *f, const char *prompt, size_t most, struct rlhf_tokens *out,
                      struct rlhf_error *err);
/* Leaves the last `most` of the tokens from `start` on. */
void rlhf_frame_cut(struct rlhf_tokens *tokens, size_t start, size_t most);
void rlhf_requests_free(struct rlhf_requests *r);

#endif
