/* train_sources.h - the rewards of a stage: of its reward model, and of the sources beside it (reward/source.h), each
 * normalised as it is set, weighted and added. Private to train*.c.
 *
 * What a service or a judge said is not of the same bits when it is asked again, so it is journaled before it is used: a
 * resumed stage uses the same. A missing reward is NaN; the sum is missing where a source whose weight is not 0 is. */
#ifndef LEARNER_TRAIN_SOURCES_H
#define LEARNER_TRAIN_SOURCES_H

#include "learner/train_parts.h"
#include "reward/source.h"

/* Of all rewards so far, or of the first iteration's: reward' = (reward - mean) / deviation. */
struct learner_scale {
    double count, mean, squares; /* of the moments (Welford 1962)         */
    double gain, bias;           /* as of the first iteration             */
};

struct learner_source {
    const char *name;
    const struct rlhf_run_source *settings; /* NULL: the reward model as it is */
    struct rlhf_source_settings asked;      /* what scorers are asked          */
    bool model, remote;
    float *reward;              /* [capacity] of the last completions, as they came */
    double sum, scored, missing; /* of the iteration */
};

struct learner_sources {
    struct learner_work *w;
    struct learner_source source[RLHF_RUN_REWARDS + 1];
    struct learner_scale scale[RLHF_RUN_REWARDS + 1], before[RLHF_RUN_REWARDS + 1]; /* now; when the iteration began */
    size_t count;
    bool named; /* the run file names sources: there is more to report than the reward model */
    struct rlhf_bytes texts; /* of completions */
    float *scaled;           /* [count][capacity] */
    size_t capacity;
};

/* For up to `capacity` completions at a time; model: the stage has a reward model. Borrows w and list. */
int learner_sources_open(struct learner_sources *s, struct learner_work *w, const struct rlhf_config_list *list, bool model,
                         size_t capacity, struct rlhf_error *err);
void learner_sources_close(struct learner_sources *s);

/* A new iteration: sums begin at 0. undo: what the present one has moved in the scales goes back. */
void learner_sources_begin(struct learner_sources *s);
void learner_sources_undo(struct learner_sources *s);

/* reward[count] of the jobs' completions, whose prompts are the texts prompt[] and expect the answers answer[] (NULL: none).
 * model[count] are the reward model's (NULL where there is none). step and round name them in the journal. */
int learner_sources_reward(struct learner_sources *s, struct learner_score_job *jobs, size_t count, const char *const *prompt,
                           const char *const *answer, const float *model, uint64_t step, uint64_t round, float *reward,
                           struct rlhf_error *err);

/* Means and missing counts of the iteration: reward.NAME, missing.NAME. */
void learner_sources_report(const struct learner_sources *s, json_t *metrics);

#endif
