/* train_policy.h - what a policy stage holds, and its duties in the order of an iteration. Private to
 * train_policy*.c. */
#ifndef LEARNER_TRAIN_POLICY_H
#define LEARNER_TRAIN_POLICY_H

#include "learner/train_parts.h"
#include "learner/train_rollouts.h"
#include "learner/train_sources.h"
#include "rl/algorithm.h"
#include "rl/kl.h"
#include "rl/policy.h"
#include "rl/ppo.h"

/* A minibatch of the iteration's completions, gathered, packed likewise. */
struct learner_minibatch {
    struct learner_item *items;                                              /* [minibatch]          */
    uint32_t *start;                                                         /* [minibatch + 1]      */
    float *whole;                                                            /* [minibatch]          */
    double *weight;                                                          /* [minibatch]          */
    float *logprob_old, *logprob_ref, *value, *advantage, *ret, *now, *slope; /* [T of the iteration] */
    float *logprob_sampled, *importance;                                     /* [T of the iteration] with lag */
    float *importance_whole;                                                 /* [minibatch] with lag */
    size_t token_capacity;
};

/* Sums over the updates of an iteration. */
struct learner_policy_sums {
    struct rlhf_policy_statistics policy;
    struct rlhf_ppo_statistics value;
    double entropy, mix_loss, norm, value_norm;
    double importance, importance_cut, weighed; /* with lag: sums over weights, and how many */
    size_t updates;
};

/* What the watch has seen of one metric. */
struct learner_seen {
    uint32_t key;      /* of the metric's name; a record with count 0 is free */
    uint32_t released; /* somebody said go on: it trips no more               */
    uint32_t averaged; /* highest and lowest are there                        */
    uint32_t reserved;
    uint64_t count;
    double highest, lowest;            /* averages */
    double value[RLHF_RUN_WATCH_OVER]; /* the last ones, in a ring */
};

/* With lag: older policies, and the batch that one of them samples while the present one is trained. */
struct learner_lag {
    struct rlhf_model *behaviour; /* NULL: there is no lag. The policy that samples               */
    uint64_t version;             /* its iteration                                                */
    struct rlhf_digest weights;   /* published                                                    */
    float *past;                  /* [lag][parameters] of the last iterations, version v in v % lag */
    size_t parameters;
    bool begun; /* a batch was asked for and did not come yet */
};

struct learner_policy {
    struct learner_work *w;
    const struct rlhf_stage_policy *settings;
    const struct rlhf_algorithm *algorithm;
    struct rlhf_policy_loss loss;
    enum rlhf_scale scale;
    enum rlhf_kl_estimator reward_kl;   /* of the penalty on rewards, and            */
    double reward_beta;                 /* its factor; 0: there is none              */
    struct rlhf_kl_controller kl;       /* of its factor, there or in the loss       */
    float *average;                     /* [parameters] NULL: weights as they are    */
    struct rlhf_sampling sampling;
    struct rlhf_model *policy, *critic; /* critic NULL: the algorithm has none */
    uint32_t context;
    struct learner_compute policy_pass, critic_pass;
    struct learner_optimizer policy_optimizer, critic_optimizer;
    struct rlhf_digest reference, reward_model[RLHF_RUN_ENSEMBLE];
    size_t reward_models;
    float *rewards; /* [reward_models + 3][per iteration]: each one's, the ensemble's, the mean, a deviation below it */
    struct learner_lag lag;
    struct learner_sources sources;
    const char **prompt_text, **answer; /* [per iteration] for the sources; borrowed of prompts */
    struct rlhf_demonstrations prompts;
    size_t prompt_count;
    struct learner_order order;
    struct learner_windows mix;
    struct learner_generate_job *jobs; /* [per iteration] */
    struct learner_score_job *score_jobs;
    uint32_t *shuffled; /* [capacity of r] */
    bool *keep;         /* [capacity of r] */
    struct learner_rollouts r;
    struct learner_minibatch mb;
    struct learner_seen seen[RLHF_RUN_LIMITS];
};

/* ---- train_policy_open.c ------------------------------------------------------------------------------ */

/* Models, prompts, optimisers and buffers of the stage p->settings of p->w. On failure p is still to be closed. */
int learner_policy_open(struct learner_policy *p, struct rlhf_error *err);
void learner_policy_close(struct learner_policy *p);
/* After p->kl has changed: puts the factor where the algorithm has the penalty. */
void learner_policy_set_beta(struct learner_policy *p);
/* Completions of a round of prompts. */
size_t learner_policy_per_iteration(const struct rlhf_stage_policy *s);
/* Rounds of prompts that an iteration may take. */
uint64_t learner_policy_rounds(const struct rlhf_stage_policy *s);

/* ---- train_policy_sample.c ---------------------------------------------------------------------------- */

/* Completions of this policy and their scores, into p->r. *rewarded is false when not one reward came. */
int learner_policy_roll_out(struct learner_policy *p, json_t *metrics, bool *rewarded, struct rlhf_error *err);

/* Jobs of a round of prompts of batch `step`, into p->jobs. */
void learner_policy_jobs(struct learner_policy *p, struct rlhf_digest weights, uint64_t step, uint64_t round);

/* ---- train_policy_lag.c ------------------------------------------------------------------------------- */

int learner_lag_open(struct learner_policy *p, struct rlhf_error *err);
void learner_lag_close(struct learner_policy *p);
/* Has the first round of batch `step` sampled, by the policy that the lag says, into p->lag; returns at once. */
int learner_lag_begin(struct learner_policy *p, uint64_t step, struct rlhf_error *err);
/* Waits for it. */
int learner_lag_finish(struct learner_policy *p, struct learner_answer *out, struct rlhf_error *err);
/* Keeps the present policy for batches to come. After the next batch was begun, and before it is updated. */
void learner_lag_keep(struct learner_policy *p);
/* Ratios are to the policy that is about to be updated, not to the one that sampled. */
bool learner_lag_decoupled(const struct learner_policy *p);
/* [T] of p->r: log-probs under the policy that ratios and the KL penalty in the rewards are of. */
const float *learner_lag_logprob(const struct learner_policy *p);
/* Importance weights of the minibatch's tokens, into p->mb: pi_prox / pi_sampled in its range. Adds to *s. */
void learner_lag_weigh(struct learner_policy *p, size_t count, size_t tokens, struct learner_policy_sums *s);

/* ---- train_policy_advantages.c ------------------------------------------------------------------------ */

/* What p->r is worth; *kl is nats a completion. *finite is false when anything that training would use is not. */
int learner_policy_advantages(struct learner_policy *p, json_t *metrics, double *kl, bool *finite,
                              struct rlhf_error *err);

/* ---- train_policy_update.c ---------------------------------------------------------------------------- */

/* Room in p->mb for p->r.tokens. */
int learner_policy_reserve(struct learner_policy *p, struct rlhf_error *err);
/* Updates policy and critic with p->r. *finite becomes false when one of them was not. */
int learner_policy_updates(struct learner_policy *p, struct learner_policy_sums *s, bool *finite,
                           struct rlhf_error *err);
void learner_policy_report(const struct learner_policy *p, json_t *metrics, const struct learner_policy_sums *s);

/* ---- train_policy_watch.c ----------------------------------------------------------------------------- */

/* Adds to the metrics what only a watch looks at: repetition, and how the score goes with it and with length. */
int learner_watch_measure(struct learner_policy *p, json_t *metrics, struct rlhf_error *err);
/* Takes an iteration's metrics in. Fails when a limit names one that the stage does not have. */
int learner_watch_see(struct learner_policy *p, const json_t *metrics, struct rlhf_error *err);
/* The metric that is beyond its limit, and in why the sentence that says so; NULL: none. */
enum { LEARNER_WHY = 160 };
const char *learner_watch_tripped(struct learner_policy *p, char why[LEARNER_WHY]);
/* At rest when a limit was passed (the state is saved): 0 to go on, at once or in the end, -1 to stop. */
int learner_watch_pause(struct learner_policy *p, struct rlhf_error *err);
/* DIR/watch/STAGE.json; why NULL: nothing tripped. */
int learner_watch_write(struct learner_policy *p, const char *why, struct rlhf_error *err);

#endif
