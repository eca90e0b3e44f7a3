/* generation.h - generation_config.json: how a checkpoint wants its completions made.
 *
 * Names, order and defaults are transformers'. A setting that would change a completion and is not built is an
 * error that names the key; settings that cannot change one (its version, caches, what is returned) are let pass. */
#ifndef RLHF_MODEL_GENERATION_H
#define RLHF_MODEL_GENERATION_H

#include "model/sampler.h"

enum { RLHF_MAX_STOPS = 16, RLHF_MAX_STOP = 100 };

struct rlhf_generation {
    struct rlhf_sampling sampling; /* temperature is never 0 here; max_new_tokens 0: not given */
    bool do_sample;                /* false: greedy, whatever the temperature */
    struct rlhf_ends ends;
    int32_t pad;                   /* the first end token where none is named; -1 without any */
    char stops[RLHF_MAX_STOPS][RLHF_MAX_STOP]; /* strings that end a completion */
    size_t stop_count;
};

/* What transformers generates with when nothing is said: greedy; once it samples, temperature 1, top-k 50. */
extern const struct rlhf_generation rlhf_generation_default;

/* Text of a generation_config.json over what *g holds. RLHF_REJECT names the key. */
int rlhf_generation_read(struct rlhf_generation *g, const char *json, size_t size, struct rlhf_error *err);

/* DIR/generation_config.json over the defaults; where there is none, the end and padding tokens of config.json. */
int rlhf_generation_load(struct rlhf_generation *g, const char *dir, struct rlhf_error *err);

/* The parameters of one filtering, by the same names: what `rlhfctl sample probs --params` takes. Two more are
 * known: min_tokens_to_keep, and prompt_length, how many of the tokens before are no new ones (-1: not given);
 * eos may stand for eos_token_id. */
int rlhf_generation_params(struct rlhf_generation *g, int64_t *prompt_length, const char *json, size_t size,
                           struct rlhf_error *err);

#endif
