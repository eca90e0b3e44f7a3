/* train_rollouts.h - the completions that an iteration of a policy stage learns from. Private to train_policy*.c.
 *
 * Completion tokens are packed: completion i is [start[i], start[i + 1]) of T. Completions of one prompt stand behind
 * each other and have one number in `prompt`. */
#ifndef LEARNER_TRAIN_ROLLOUTS_H
#define LEARNER_TRAIN_ROLLOUTS_H

#include "learner/train_parts.h"
#include "rl/ragged.h"

struct learner_rollouts {
    size_t count, capacity, tokens, token_capacity;
    struct rlhf_tokens ids;      /* prompts and completions                                                 */
    struct learner_item *items;  /* [count], into ids after learner_rollouts_locate()                        */
    uint32_t *start;             /* [count + 1]                                                              */
    uint32_t *prompt;            /* [count]                                                                  */
    uint32_t *group;             /* [count + 1] of learner_rollouts_groups()                                 */
    bool *ended;                 /* [count]                                                                  */
    float *score;                /* [count] what the algorithm is given; NaN: missing                        */
    float *whole;                /* [count] advantages of completions                                        */
    double *kl;                  /* [count] nats                                                             */
    float *logprob_old;          /* [T] under the policy that sampled, at the sampling temperature           */
    float *logprob_prox;         /* [T] with lag: under the policy that is about to be updated               */
    float *logprob_ref;          /* [T]                                                                      */
    float *value;                /* [T] the critic's, of the state before the token                          */
    float *reward, *advantage, *ret; /* [T]                                                                  */
};

/* For up to `capacity` completions. */
int learner_rollouts_init(struct learner_rollouts *r, size_t capacity, struct rlhf_error *err);
void learner_rollouts_free(struct learner_rollouts *r);
void learner_rollouts_clear(struct learner_rollouts *r);
/* Its score and logprob_ref are then the caller's to fill in. */
int learner_rollouts_add(struct learner_rollouts *r, const struct learner_generate_job *job,
                         const struct learner_rollout *rollout, uint32_t prompt, struct rlhf_error *err);
/* Points items into ids, which stay where they are until something is added or left out. */
void learner_rollouts_locate(struct learner_rollouts *r);
/* Leaves out the completions whose keep[i] is false, of every array. */
void learner_rollouts_keep(struct learner_rollouts *r, const bool *keep);
/* Rows of completions of one prompt. */
struct rlhf_ragged learner_rollouts_groups(struct learner_rollouts *r);

#endif
