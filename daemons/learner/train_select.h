/* train_select.h - which step's policy a stage ends with: the best by a reward model's mean score on prompts, or by the loss
 * on demonstrations kept aside. Private to train*.c.
 *
 * InstructGPT picks its SFT model by the reward model: the loss overfits after an epoch while people go on liking it better
 * (recipe.md). Every measurement uses the same prompts and draws. */
#ifndef LEARNER_TRAIN_SELECT_H
#define LEARNER_TRAIN_SELECT_H

#include "learner/train_parts.h"

struct learner_select {
    const struct rlhf_run_select *settings; /* NULL: the last policy is the one */
    uint64_t every;
    struct rlhf_digest reward_model;
    struct rlhf_demonstrations prompts, *validation; /* validation: [settings->validation.count] */
    size_t prompt_count, item_count;
    struct learner_item *items;         /* [item_count] of validation             */
    struct learner_generate_job *jobs;  /* [prompt_count * samples]               */
    struct learner_score_job *scores;   /* likewise                               */
    struct { /* a block of the state */
        double score;  /* of the best; the negative of a loss */
        uint64_t step; /* 0: none was measured                */
    } best;
    float *weights; /* [parameters that are trained] the best's */
};

/* every: steps of a pass over the data. Adds its blocks to tr's state. Borrows settings (NULL: nothing is selected). */
int learner_select_open(struct learner_select *s, struct learner_training *tr, const struct rlhf_run_select *settings,
                        uint64_t every, struct rlhf_error *err);
void learner_select_close(struct learner_select *s);
/* After the update of tr->work->step: measures where that is due, and at the last step. */
int learner_select_measure(struct learner_select *s, struct learner_training *tr, json_t *metrics, struct rlhf_error *err);
/* tr's model becomes the best one. */
void learner_select_finish(struct learner_select *s, struct learner_training *tr);

#endif
