/* rewarder.h - who says how good (or how toxic) a completion is: a reward model, or whoever else fills the struct in, as a judge behind
 * HTTP. */
#ifndef RLHF_EVALUATION_REWARDER_H
#define RLHF_EVALUATION_REWARDER_H

#include "data/form.h"
#include "model/model.h"

struct rlhf_rewarder {
    /* reward[count]; one that cannot be had is NaN, and its completion is left out. */
    int (*reward)(void *ctx, const char *const *prompts, const char *const *completions, size_t count, double *reward,
                  struct rlhf_error *err);
    void *ctx;
};

/* A reward model reads a prompt and its completion in the form in which it was trained, and its reward is that of the last token. What is
 * longer than its context loses tokens at the left. */
struct rlhf_reward_model;
/* Borrows all of them. batch: tokens in one pass, about. */
struct rlhf_reward_model *rlhf_reward_model_new(const struct rlhf_model *m, const struct rlhf_form *f, struct rlhf_pool *pool,
                                                size_t batch, struct rlhf_error *err);
struct rlhf_rewarder rlhf_reward_model_rewarder(struct rlhf_reward_model *r);
void rlhf_reward_model_free(struct rlhf_reward_model *r); /* NULL is fine */

#endif
