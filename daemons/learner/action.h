/* action.h - the seam inside the learner: what the training side asks of the fleet.
 *
 * The training side (train*.c, on the compute thread) is straight-line code: it asks, waits, computes. The fleet side
 * (learner.c, on the reactor thread) carries an action out with workers, scorers and the label-collector and
 * answers once, with results in the order of the jobs asked for, whoever did them and however often they were
 * dispatched. Nothing else crosses this seam, so a test can stand on either side of it: tests run the trainer
 * against a local answerer, and the simulator runs the fleet under a scripted asker.
 *
 * Ownership: an action and everything it points to is borrowed until its answer. An answer belongs to the asker, who
 * frees it with learner_answer_free(). */
#ifndef LEARNER_ACTION_H
#define LEARNER_ACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/pool.h"
#include "base/random.h"
#include "model/model.h"
#include "model/sampler.h"
#include "reward/source.h"

struct rlhf_weights; /* net/weights.h */

/* One completion wanted. */
struct learner_generate_job {
    uint32_t step, prompt, sample;   /* its name in this stage                                       */
    uint32_t key_prompt, key_sample; /* what rlhf_draw() is keyed with: unique for (stage, step, prompt,
                                        sample) in training, equal over models in evaluation           */
    struct rlhf_digest weights;       /* published */
    const int32_t *prompt_ids;        /* [prompt_count] */
    uint32_t prompt_count;
};

/* One sequence to score. */
struct learner_score_job {
    const int32_t *ids; /* [count] prompt + completion */
    uint32_t count, prompt_count;
    struct rlhf_source_text text; /* for a source of rewards */
};

/* K completions of a prompt for people to compare. */
struct learner_task {
    const char *id; /* unique in the run, stable over restarts */
    const char *prompt;
    const char *const *completions;
    size_t count;
};

enum learner_action_kind {
    LEARNER_PUBLISH,  /* weights to workers and scorers; answer: digest                    */
    LEARNER_GENERATE, /* answer: rollouts                                                  */
    LEARNER_SCORE,    /* answer: scores                                                    */
    LEARNER_SUBMIT,   /* tasks to the label-collector; answered when committed there       */
    LEARNER_PULL,     /* comparisons behind a cursor; answered when `want` have come       */
};

struct learner_action {
    enum learner_action_kind kind;
    uint32_t stage;                        /* index of the stage in the run */
    /* PUBLISH: the fleet side keeps serving them until they are dropped */
    const char *name;                      /* "policy", "reference", "reward_model", ... */
    uint64_t version;
    const struct rlhf_model *model;
    struct rlhf_pool *pool;                /* to lay out and hash its weights with */
    struct rlhf_weights *weights;          /* made of the above by the port, on the compute thread; taken */
    const struct rlhf_digest *drop;        /* digests that no job will name again */
    size_t drop_count;
    /* GENERATE */
    const struct learner_generate_job *generate;
    size_t generate_count;
    struct rlhf_sampling sampling;
    int32_t end_token;                     /* -1 none */
    struct rlhf_ends more_ends;
    enum rlhf_purpose purpose;
    uint64_t seed;
    /* SCORE */
    const struct learner_score_job *score;
    size_t score_count;
    struct rlhf_digest reward_model;       /* zero: no rewards wanted */
    struct rlhf_digest reference;          /* zero: no reference log-probs wanted */
    float temperature;                     /* of the reference's logits */
    const struct rlhf_source_settings *source; /* of rewards, in place of a reward model; NULL: none */
    /* SUBMIT */
    const struct learner_task *tasks;
    size_t task_count;
    const char *round;                     /* also for PULL */
    /* PULL */
    uint64_t cursor;
    size_t want;                           /* comparisons in all behind cursor; 0: what there is now */
    size_t have;                           /* comparisons pulled before */
    int64_t patience_us;                   /* fewer than want are the answer when none came for so long while no task of
                                              the round was open; with want 0, when nobody answered for so long; 0: never */
    size_t at_least;                       /* so many, `have` included, are an answer as well, */
    int64_t deadline_us;                   /* but not before so long from now; at_least 0: want alone counts */
    bool weigh;                            /* with want 0: also how far labelers are believed now */
};

struct learner_rollout {
    int32_t *ids;          /* [count] completion, end token included where sampled */
    float *logprob;        /* [count] of the distribution sampled from */
    float *logprob_raw;    /* [count] untempered */
    uint32_t count;
    bool ended;            /* with the end token */
    bool missing;          /* nobody could do this job: arrays NULL, count 0; leave it out, never invent it */
};

struct learner_score {
    float reward;
    float *logprob_ref;    /* [count - prompt_count], NULL when not asked for */
    bool missing;          /* nobody could do this job, or its source has no reward: a state, not a reward of 0 */
};

struct learner_comparison {
    uint64_t sequence;
    char *id, *task;       /* task: learner_task.id, "" for imports */
    char *prompt;
    char **completions;    /* [count] */
    uint32_t *ranks;       /* [count] 1 = best, equal = tie */
    size_t count;
    uint32_t revision;
    char *labeler, *source; /* "" where they are not known */
    bool excluded;          /* this revision takes the comparison back */
    float distrust;         /* 0: counts in full, 1: not at all        */
};

struct learner_weight {
    char *labeler;
    float distrust; /* as above, by now */
};

struct learner_answer {
    struct rlhf_digest digest;             /* PUBLISH */
    struct learner_rollout *rollouts;      /* GENERATE: [generate_count] */
    struct learner_score *scores;          /* SCORE: [score_count] */
    char reason[200];                      /* SCORE: what kept the last missing reward of the source away */
    struct learner_comparison *comparisons; /* PULL, by sequence */
    size_t count;                          /* of the array that is set */
    uint64_t cursor;                       /* PULL: for the next one */
    struct learner_weight *weights;        /* PULL: [weight_count], of the round's labelers, where asked for */
    size_t weight_count;
};
void learner_answer_free(struct learner_answer *a);         /* leaves it zeroed */
void learner_comparison_free(struct learner_comparison *c); /* leaves it zeroed */

/* What the training side is given. */
struct learner_port {
    /* Carries out a, waits, fills *out. -1 and *err: RLHF_AGAIN when the process is asked to stop (unwind, keep what is
     * durable), anything else ends the run. */
    int (*ask)(struct learner_port *p, const struct learner_action *a, struct learner_answer *out,
               struct rlhf_error *err);
    /* The same in two: begin() returns at once, and a is copied, but what it points to is borrowed until finish() has
     * returned the answer, or drop() that nobody wants it. One at a time, and nothing is asked between both. */
    int (*begin)(struct learner_port *p, const struct learner_action *a, struct rlhf_error *err);
    int (*finish)(struct learner_port *p, struct learner_answer *out, struct rlhf_error *err);
    void (*drop)(struct learner_port *p);
    /* Progress of the current stage for status, log and screens; cheap, any time. */
    void (*progress)(struct learner_port *p, uint32_t stage, uint64_t step, uint64_t steps, uint64_t tokens,
                     const char *detail);
    /* True when the process is asked to stop: finish the step, checkpoint, return RLHF_AGAIN. */
    bool (*stopping)(struct learner_port *p);
    /* True once after somebody told a paused stage to go on. NULL: nobody can. */
    bool (*resumed)(struct learner_port *p);
};

#endif
