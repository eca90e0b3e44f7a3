/* sampler.h - the next token from logits, keyed by the counter-based generator.
 *
 * What is kept is what transformers keeps, ties included: its comparisons are repeated in its precision (fp32
 * probabilities, cumulated in double and rounded). Order, as there: repetition penalty, no repeated n-gram, no
 * end too early; then, unless greedy, temperature, top-k, top-p, min-p, typical-p. */
#ifndef RLHF_MODEL_SAMPLER_H
#define RLHF_MODEL_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/random.h"

/* Tokens that end a completion. */
enum { RLHF_MAX_ENDS = 32 };
struct rlhf_ends {
    int32_t id[RLHF_MAX_ENDS];
    uint32_t count;
};
bool rlhf_ends_has(const struct rlhf_ends *e, int32_t token);

struct rlhf_sampling {
    float temperature; /* 0: greedy, the first of equals */
    uint32_t top_k;    /* 0: off */
    double top_p;      /* 1: off; in double, since ties hang on 1 - p */
    uint32_t max_new_tokens;
    /* Off when 0, all of them. */
    float min_p;               /* as a share of the likeliest token's probability, up to 1              */
    float typical_p;           /* of the probability (Meister et al. 2022); 1 is off, too               */
    float repetition_penalty;  /* logits of tokens seen are divided by it, negative ones multiplied; 1 is off, too */
    uint32_t no_repeat_ngram;  /* no n-gram comes twice, the prompt's included                          */
    uint32_t min_new_tokens;   /* no end token before so many others                                    */
    uint32_t min_tokens_to_keep; /* that top-p, min-p and typical-p leave; 0 is 1                        */
};
int rlhf_sampling_check(const struct rlhf_sampling *s, struct rlhf_error *err);

/* True when tokens come from softmax(logits / temperature), nothing removed or penalised. */
bool rlhf_sampling_whole(const struct rlhf_sampling *s);

/* What the penalties look at. Borrowed; ids outside the vocabulary are allowed and never come up. */
struct rlhf_history {
    const int32_t *prompt, *completion; /* so far */
    size_t prompt_count, completion_count;
    const int32_t *ends; /* the end tokens */
    size_t end_count;
};

/* Names a completion: with the token's index it names every draw made for it. */
struct rlhf_sample_key {
    uint64_t seed;
    enum rlhf_purpose purpose;
    uint32_t prompt, sample;
};

struct rlhf_sampled {
    int32_t token;
    float logprob;     /* natural log, of the distribution really sampled from      */
    float logprob_raw; /* untempered, full vocabulary: log softmax(logits)[token]   */
};

/* The logits after all of the above, -inf where a token is removed, into scores [V]; their softmax is the
 * distribution sampled from. h NULL: nothing came before. scratch is [V] floats. Errors as rlhf_sample(). */
int rlhf_sampling_scores(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                         const struct rlhf_history *h, float *scores, float *scratch, struct rlhf_error *err);

/* scratch is [2 V] floats. position is the index of the new token in the completion, from 0. Logits that are
 * not finite (all of them -inf, or any NaN) give RLHF_CORRUPT; penalties that leave no token RLHF_REJECT. */
int rlhf_sample_after(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                      const struct rlhf_history *h, const struct rlhf_sample_key *key, uint32_t position,
                      float *scratch, struct rlhf_sampled *out, struct rlhf_error *err);
/* The same when nothing came before, or s looks at nothing that did. */
int rlhf_sample(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                const struct rlhf_sample_key *key, uint32_t position, float *scratch,
                struct rlhf_sampled *out, struct rlhf_error *err);

#endif
