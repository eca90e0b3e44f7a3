/* sampler.h - the next token from logits, keyed by the counter-based generator. */
#ifndef RLHF_MODEL_SAMPLER_H
#define RLHF_MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/random.h"

/* In transformers' order: temperature, top-k, top-p. temperature 0 is greedy (first of equals). top_k 0 and
 * top_p 1 are off. */
struct rlhf_sampling {
    float temperature;
    uint32_t top_k;
    float top_p;
    uint32_t max_new_tokens;
};
int rlhf_sampling_check(const struct rlhf_sampling *s, struct rlhf_error *err);

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

/* The logits after temperature, top-k and top-p, -inf where a token is removed, into scores [V]; their softmax
 * is the distribution sampled from. scratch is [V] floats. Errors as rlhf_sample(). */
int rlhf_sampling_scores(const float *logits, size_t vocabulary, const struct rlhf_sampling *s, float *scores,
                         float *scratch, struct rlhf_error *err);

/* scratch is [2 V] floats. position is the index of the new token in the completion, from 0. Logits that are
 * not finite (all of them -inf, or any NaN) give RLHF_CORRUPT. */
int rlhf_sample(const float *logits, size_t vocabulary, const struct rlhf_sampling *s,
                const struct rlhf_sample_key *key, uint32_t position, float *scratch,
                struct rlhf_sampled *out, struct rlhf_error *err);

#endif
