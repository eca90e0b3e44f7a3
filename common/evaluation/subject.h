/* subject.h - the language model that is examined: log-probs of continuations, and completions.
 *
 * Requests are done in an order in which contexts that they share are computed once. No result depends on the order, on what is in a
 * batch, or on the number of threads. */
#ifndef RLHF_EVALUATION_SUBJECT_H
#define RLHF_EVALUATION_SUBJECT_H

#include "data/form.h"
#include "evaluation/requests.h"
#include "model/adapter.h"
#include "model/generation.h"

/* What is told of the work, and may end it: step returns -1 and *err, which the work then fails with. */
struct rlhf_examination {
    int (*step)(void *ctx, uint64_t done, uint64_t total, struct rlhf_error *err); /* NULL: nobody asks */
    void *ctx;
};

struct rlhf_subject;

/* Borrows all of them; adapter may be NULL. batch: tokens in one pass, about. Dynamic rope scaling keeps to the context of the first
 * training. */
struct rlhf_subject *rlhf_subject_new(const struct rlhf_model *m, const struct rlhf_adapter *a, const struct rlhf_tokenizer *t,
                                      struct rlhf_pool *pool, size_t batch, struct rlhf_error *err);
const struct rlhf_framing *rlhf_subject_framing(const struct rlhf_subject *s);
/* What generation_config.json says of every completion, as transformers' generate() takes it: its end tokens, beside the tokenizer's, its
 * penalties and least length. Copied. */
int rlhf_subject_settle(struct rlhf_subject *s, const struct rlhf_generation *g, struct rlhf_error *err);
void rlhf_subject_watch(struct rlhf_subject *s, const struct rlhf_examination *e); /* copied */

/* logprob[i]: natural log of the continuation of request i, the sum over its tokens. greedy[i]: whether each of them is the
 * likeliest one. Either may be NULL. */
int rlhf_subject_score(struct rlhf_subject *s, const struct rlhf_requests *r, double *logprob, bool *greedy,
                       struct rlhf_error *err);

/* Prompts of completions that are answers become tokens as f has it, for which the tokenizer is s's; borrowed. Without, as the text stands. */
void rlhf_subject_answer(struct rlhf_subject *s, const struct rlhf_form *f);

struct rlhf_completing {
    struct rlhf_sampling sampling; /* max_new_tokens > 0; temperature 0: greedy */
    const char *const *stops; /* [stop_count] strings, of which the first to come cuts the text */
    size_t stop_count;
    uint64_t seed;         /* a draw is named by it, */
    uint32_t first_prompt; /* prompt first_prompt + i / samples, and sample i % samples */
    uint32_t samples;      /* of each prompt */
    bool answers;          /* to the prompts; else texts that go on from them */
};
/* text[i] for prompt i / samples: [count * samples], freed by the caller, NULL-initialised by him. Prompts lose tokens at the left where
 * max_new_tokens would not fit behind them. */
int rlhf_subject_complete(struct rlhf_subject *s, const char *const *prompts, size_t count, const struct rlhf_completing *c,
                          char **text, struct rlhf_error *err);
void rlhf_subject_free(struct rlhf_subject *s); /* NULL is fine */

#endif
