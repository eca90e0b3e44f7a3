/* make.h - writes the kingdom's files into a directory. */
#ifndef KINGDOM_MAKE_H
#define KINGDOM_MAKE_H

#include "world.h"

struct kingdom_sizes {
    unsigned documents; /* of the corpus, about 32 tokens each */
    unsigned tokenizer_documents, tokenizer_dialogues;
    unsigned held_out; /* documents, mixed by share */
    unsigned demonstrations;
    unsigned comparisons[2]; /* prompts of each round */
    unsigned policy[2];      /* prompts of each round */
    unsigned validation;     /* prompts that only judge the reward model */
    unsigned evaluation;     /* prompts: half about seen, half about held-out towns */
    unsigned sums, copies;
};
extern const struct kingdom_sizes kingdom_default_sizes;

/* Makes DIR and in it world.json, corpus.jsonl, tokenizer.jsonl, heldout.jsonl, heldout_without_forum.jsonl,
 * demonstrations.jsonl, comparisons-N.jsonl, policy-N.jsonl, validation.jsonl, evaluation.jsonl, sums.jsonl,
 * copies.jsonl, recall.jsonl, asked.jsonl. */
int kingdom_make(const struct kingdom_world *w, const struct kingdom_sizes *sizes, const char *dir,
                 struct rlhf_error *err);

#endif
