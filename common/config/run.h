/* run.h - the run file: one YAML file that says what a run is made of. The learner executes it, `rlhfctl up`
 * starts its daemons.
 *
 *   run: {name: quickstart, dir: runs/quickstart, seed: 1}
 *   tokenizer:
 *     train: {files: [world/corpus.jsonl], vocab_size: 512, digits_alone: true}
 *   model: {style: gpt2, layers: 3, heads: 4, channels: 128, context: 128}
 *   up: {rollout_workers: 2, reward_scorers: 1}
 *   stages:
 *     - pretrain:
 *         name: pretrained
 *         data: [world/corpus.jsonl]
 *         epochs: 1
 *         batch: 16
 *         window: 64
 *         optimizer: {learning_rate: 3e-3, schedule: cosine, final_rate: 0.05, warmup: 100}
 *     - sft:
 *         name: sft
 *         data: [world/demonstrations.jsonl]
 *         epochs: 3
 *         batch: 32
 *         optimizer: {learning_rate: 4e-4, schedule: linear, final_rate: 0.1}
 *         mix: {data: [world/corpus.jsonl], weight: 0.5, windows: 8, window: 64}
 *     - collect:
 *         name: comparisons-1
 *         policies: [sft]
 *         prompts: world/comparison_prompts.jsonl
 *         samples: 6
 *     - reward:
 *         name: reward-1
 *         from: sft
 *         rounds: [comparisons-1]
 *         zero_mean_on: world/demonstrations.jsonl
 *         epochs: 2
 *         batch: 8
 *         optimizer: {learning_rate: 4e-4, schedule: linear, final_rate: 0.1, warmup: 10}
 *     - policy:
 *         name: ppo-1
 *         from: sft
 *         reward_model: reward-1
 *         prompts: world/policy_prompts.jsonl
 *         iterations: 30
 *         prompts_per_iteration: 128
 *         kl_coefficient: 0.2
 *         optimizer: {learning_rate: 2e-4, schedule: linear, final_rate: 0.1, warmup: 5}
 *         value_optimizer: {learning_rate: 5e-4}
 *     - evaluate:
 *         name: report
 *         policies: [pretrained, sft, ppo-1]
 *         reference: sft
 *         prompts: [{name: held_out, file: world/evaluation_prompts.jsonl}]
 *
 * A stage is a map with one key, its kind; each kind has its own keys, so a key that a kind does not use is
 * an error like any unknown key. Comparisons that exist already (imports) are waited for by a collect stage
 * without policies:
 *
 *     - collect: {name: hh, want: 40000}      # rlhfctl label import --round hh FILE...
 *
 * A policy from comparisons without a reward model:
 *
 *     - direct: {name: dpo, rounds: [comparisons-1], loss: sigmoid, epochs: 1}
 *
 * And rejection sampling: the best of n become demonstrations (and their best and worst a round of comparisons):
 *
 *     - best_of: {name: best, reward_model: reward-1, prompts: world/policy_prompts.jsonl, samples: 16}
 *     - sft: {name: sft-2, best_of: [best], epochs: 1}
 *
 * A gate promotes a policy or rolls it back; where a later stage names the gate, it means the policy that won:
 *
 *     - gate:
 *         name: gate-1
 *         candidate: ppo-1
 *         incumbent: sft
 *         evaluation: report               # an evaluate stage that measured both, with a reward_model
 *         win_rate: 0.5                    # the lower end of its 95 % interval must be above
 *         truthfulness: [{metrics: [exact.facts]}]
 *         tax: [{metrics: [perplexity.without_forum], better: lower, budget: 0.01}]
 *         retries: 2                       # of the policy stage, each with twice the weight of mix
 *         otherwise: stop
 *     - policy: {name: ppo-2, from: gate-1, ...}
 *
 * Rewards may come from other sources beside the reward model, or in its place where the algorithm has no critic:
 *
 *     - policy:
 *         name: sums
 *         algorithm: grpo
 *         prompts: gsm8k.jsonl                # {"question", "answer"}, or {"prompt", "answer"}
 *         samples: 8
 *         rewards:
 *           - exact: {name: right, expression: '#### (-?[$0-9.,]+)', numbers: true}
 *           - length: {name: short, weight: 0.1, at_most: 200, per_unit: 0.01}
 *           - service: {name: toxicity, weight: -1, url: 'http://127.0.0.1:9000/score'}
 *           - judge:
 *               name: helpful
 *               weight: 0.2
 *               url: https://api.example.org/v1/chat/completions
 *               credential: judge-key
 *               model: a-model
 *               question: 'Rate the answer from 0 to 10 as {"score": N}. Question: {prompt} Answer: {completion}'
 *
 * Paths are relative to the current directory. Rates' schedules count the stage's steps: optimiser updates,
 * and in a policy stage iterations. */
#ifndef RLHF_CONFIG_RUN_H
#define RLHF_CONFIG_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

enum rlhf_stage_kind {
    RLHF_STAGE_PRETRAIN, /* language-model loss on windows of documents: makes a policy      */
    RLHF_STAGE_SFT,      /* supervised fine-tuning on demonstrations: makes a policy         */
    RLHF_STAGE_COLLECT,  /* completions to people, comparisons back: makes a round           */
    RLHF_STAGE_REWARD,   /* K-wise loss on comparisons: makes a reward model                 */
    RLHF_STAGE_POLICY,   /* PPO, GRPO ... against a reward model: makes a policy             */
    RLHF_STAGE_DIRECT,   /* DPO, KTO, ORPO on comparisons: makes a policy                     */
    RLHF_STAGE_BEST_OF,  /* the best of n completions: makes demonstrations and comparisons  */
    RLHF_STAGE_EVALUATE, /* completions, rewards, KL, perplexity, exact match: makes a report */
    RLHF_STAGE_GATE,     /* promotes one of two policies: stands for it                      */
    RLHF_STAGE_KINDS
};

enum rlhf_run_schedule {
    RLHF_RUN_CONSTANT,
    RLHF_RUN_LINEAR,
    RLHF_RUN_COSINE
}; /* as enum rlhf_schedule of rl/schedule.h */

struct rlhf_run_optimizer { /* AdamW */
    double learning_rate;
    int schedule;       /* enum rlhf_run_schedule                                  */
    double final_rate;  /* at the last step, as a fraction of learning_rate        */
    int64_t warmup;     /* steps of linear rise                                    */
    double warmup_from; /* where it begins, as a fraction of learning_rate         */
    double weight_decay, beta1, beta2, epsilon;
    bool epsilon_inside; /* TF1's placement of epsilon                             */
    double clip_norm;    /* of the gradient; 0 = off                                */
};

struct rlhf_run_sampling {
    double temperature;
    int64_t top_k;
    double top_p, min_p, typical_p, repetition_penalty;
    int64_t no_repeat_ngram, min_new_tokens, max_new_tokens;
    struct rlhf_config_strings end_tokens, stop;
    int64_t stop_after; /* tokens */
};

struct rlhf_run_adapter { /* LoRA: what the stage trains beside a frozen model */
    int64_t rank;
    double alpha;
    bool rslora;
    double dropout; /* of what goes into its matrices; in sft stages */
    struct rlhf_config_strings targets; /* none: every product of the layers */
};

struct rlhf_run_mix { /* pretraining text mixed in: SFT's 10 %, PPO-ptx's gamma */
    struct rlhf_config_strings data;
    double weight;   /* 0: none                               */
    int64_t windows; /* per step (in a policy stage: minibatch) */
    int64_t window;  /* tokens                                */
};

/* What a policy stage does with the rewards: names and settings as in rl/algorithm.h. */
enum rlhf_run_algorithm {
    RLHF_RUN_PPO,
    RLHF_RUN_GRPO,
    RLHF_RUN_BNPO,
    RLHF_RUN_DR_GRPO,
    RLHF_RUN_DAPO,
    RLHF_RUN_GSPO,
    RLHF_RUN_CISPO,
    RLHF_RUN_SAPO,
    RLHF_RUN_RLOO,
    RLHF_RUN_REINFORCE_PLUS_PLUS,
    RLHF_RUN_REINFORCE_PLUS_PLUS_BASELINE,
    RLHF_RUN_ALGORITHMS
};
/* Numbers that the run file leaves to the algorithm are RLHF_RUN_OWN, and so is index 0 of a choice. */
#define RLHF_RUN_OWN (-1.0)

struct rlhf_run_file {
    char *name, *file;
    int64_t count; /* of its lines; 0 = all */
};

struct rlhf_run_shape { /* of a model beside the run's, for a reward model of another size; 0: as the run's */
    int64_t layers, heads, channels, mlp_size;
};

struct rlhf_stage_pretrain {
    char *name, *from; /* from NULL: the run's model, or one of its style, context and tokenizer in this shape: */
    struct rlhf_run_shape shape;
    struct rlhf_config_strings data;
    int64_t steps, epochs, tokens; /* one of them is set, the others 0 */
    int64_t batch;                 /* windows a step */
    int64_t window;                /* tokens */
    struct rlhf_run_optimizer optimizer;
};

struct rlhf_run_select { /* which step's policy a stage ends with */
    char *reward_model; /* stage: by its mean reward on prompts; NULL: by the loss on validation */
    char *prompts;
    int64_t count, samples; /* of prompts, 0 = all; of each */
    struct rlhf_run_sampling sampling;
    struct rlhf_config_strings validation; /* files of demonstrations */
    int64_t every;                         /* steps; 0 = a pass over the data */
};

struct rlhf_stage_sft {
    char *name, *from;
    struct rlhf_config_strings data;
    struct rlhf_config_strings best_of; /* stages */
    int64_t steps, epochs; /* one is set */
    int64_t batch;         /* demonstrations a step */
    int64_t max_tokens;    /* longer demonstrations are left out; 0 = the model's context */
    double dropout;        /* of the residual branches */
    struct rlhf_run_optimizer optimizer;
    struct rlhf_run_adapter *adapter; /* NULL: the whole model is trained */
    struct rlhf_run_mix mix;
    struct rlhf_run_select *select; /* NULL: the last step's */
};

/* Which candidates a collect stage submits: shares of its count. */
struct rlhf_run_choice {
    double random, disagreement, reward_kl;
    struct rlhf_config_strings reward_models; /* stages */
    char *reference;                          /* stage */
    int64_t candidates;                       /* prompts; 0 = all of the file */
};

struct rlhf_stage_collect {
    char *name;                          /* also the round's name */
    struct rlhf_config_strings policies; /* stages; empty: the round's comparisons come from elsewhere */
    char *prompts;
    int64_t count;   /* of prompts; 0 = all */
    int64_t samples; /* of each policy for each prompt */
    struct rlhf_run_choice *select; /* NULL: the first count prompts */
    struct rlhf_run_sampling sampling;
    int64_t want; /* comparisons to wait for; 0 = one for every task submitted */
    int64_t patience_seconds; /* without an open task and a new comparison; 0 = for ever */
    int64_t deadline_seconds; /* since its tasks were submitted; 0 = none */
    int64_t at_least;         /* comparisons that suffice when deadline or patience is over; 0 = want */
};

struct rlhf_stage_reward {
    char *name, *from;
    struct rlhf_config_strings rounds;
    struct rlhf_config_strings validation; /* files of comparisons */
    double held_out;                       /* fraction of prompts held out when validation is empty */
    char *zero_mean_on;                    /* demonstrations; NULL: bias stays 0 */
    int64_t zero_mean_count;
    bool unit_deviation; /* and the head's gain their standard deviation 1 */
    double label_smoothing, center, margin;
    int64_t epochs;
    int64_t batch;      /* prompts a step */
    int64_t max_tokens; /* longer completions' comparisons are left out; 0 = the model's context */
    struct rlhf_run_optimizer optimizer;
};

enum { RLHF_RUN_ENSEMBLE = 8, RLHF_RUN_REWARDS = 16 };

/* A source of rewards, as in reward/source.h; each kind has its own keys of these. */
enum rlhf_run_normalize { RLHF_RUN_NORMALIZE_NONE, RLHF_RUN_NORMALIZE_FIRST, RLHF_RUN_NORMALIZE_RUNNING };
enum rlhf_run_missing { RLHF_RUN_MISSING_LEAVE_OUT, RLHF_RUN_MISSING_STOP };

struct rlhf_run_source {
    char *name;
    double weight;
    int normalize; /* enum rlhf_run_normalize */
    double clip;   /* 0 = off */
    char *expression;
    double matched, unmatched;
    bool numbers;
    int unit; /* enum rlhf_length_unit */
    double low, high, per_unit;
    char *url, *credential;
    int64_t timeout_ms, attempts, backoff_ms, batch, concurrency;
    int when_missing; /* enum rlhf_run_missing */
    char *model, *system, *question, *key;
    int64_t max_tokens;
};

/* Exactly one is not NULL. */
struct rlhf_run_reward {
    struct rlhf_run_source *reward_model; /* the stage's; not named here: weight 1, as it is */
    struct rlhf_run_source *pattern, *length, *exact, *service, *judge;
};

enum { RLHF_RUN_LIMITS = 16, RLHF_RUN_WATCH_OVER = 64 };

struct rlhf_run_limit {
    char *metric; /* a key of the stage's lines in metrics.jsonl */
    double at_least, at_most;
    double fall, rise; /* from the best average so far; 0: any */
};

struct rlhf_run_watch {
    int64_t over;                   /* iterations that are averaged */
    struct rlhf_config_list limits; /* of struct rlhf_run_limit, at most RLHF_RUN_LIMITS */
    int otherwise;                  /* 0 pause, 1 stop the run */
    int64_t samples;                /* of the largest rewards that are shown */
};

enum { RLHF_RUN_LAG = 8 };
enum rlhf_run_off_policy { RLHF_RUN_DECOUPLED, RLHF_RUN_RATIO }; /* ratios are to the policy at hand; to the one that sampled */

struct rlhf_stage_policy {
    char *name, *from;
    char *reference;    /* default: from */
    char *reward_model; /* stage; NULL: the rewards alone */
    struct rlhf_config_strings ensemble; /* further ones, at most RLHF_RUN_ENSEMBLE in all */
    double ensemble_deviations;
    struct rlhf_config_list rewards; /* of struct rlhf_run_reward */
    char *prompts;
    int64_t iterations, prompts_per_iteration, samples;
    int64_t lag;      /* batch n is sampled by the policy of iteration n - lag */
    int off_policy;   /* enum rlhf_run_off_policy                              */
    int importance;   /* enum rlhf_importance of rl/policy.h                   */
    bool importance_by_completion;
    double importance_low, importance_high;
    int64_t inner_epochs;
    int64_t minibatch; /* completions */
    int algorithm;     /* enum rlhf_run_algorithm */
    double kl_coefficient;
    double kl_target, kl_horizon; /* kl_target 0: the coefficient stays */
    int kl_estimator; /* 0 own, else 1 + enum rlhf_kl_estimator */
    bool kl_corrected;
    double gae_lambda, discount;
    double clip, clip_low, clip_high, ratio_limit;
    double temperature_positive, temperature_negative; /* SAPO's */
    int loss_mean, advantage_scale;                    /* 0 own, else 1 + enum rlhf_mean, enum rlhf_scale */
    double value_clip;                                 /* 0 = off */
    int64_t dynamic_sampling;                          /* rounds of prompts an iteration at most; 0 = off */
    double dynamic_sampling_spread;
    int64_t overlong_cache; /* tokens before max_new_tokens over which the penalty grows; 0 = off */
    double overlong_penalty;
    bool overlong_filter;
    double missing_end_reward;
    bool penalize_missing_end; /* missing_end_reward in place of the reward model's */
    bool whiten_rewards, whiten_advantages;
    bool whiten_minibatches; /* advantages over a minibatch in place of the iteration */
    double average;           /* decay of the averaged weights; 0 = off */
    double stop_at_kl;        /* nats a completion; 0 = never */
    struct rlhf_run_watch watch;
    int64_t checkpoint_every; /* iterations; 0 = by time only */
    struct rlhf_run_sampling sampling;
    struct rlhf_run_optimizer optimizer, value_optimizer;
    struct rlhf_run_adapter *adapter; /* NULL: the whole policy is trained; the critic always is */
    struct rlhf_run_mix mix;
};

/* Names and settings as in rl/direct.h; the kinds of DPO come first, in its order. */
enum rlhf_run_direct { RLHF_RUN_DIRECT_DPO_KINDS = 12, RLHF_RUN_KTO = RLHF_RUN_DIRECT_DPO_KINDS, RLHF_RUN_ORPO };

struct rlhf_stage_direct {
    char *name, *from;
    char *reference;                   /* default: from */
    struct rlhf_config_strings rounds; /* of collect stages */
    struct rlhf_config_strings data;   /* files of comparisons */
    struct rlhf_config_strings validation; /* files of comparisons */
    double held_out;                   /* fraction of prompts held out when validation is empty */
    int loss;                          /* enum rlhf_run_direct */
    double beta, label_smoothing;
    int divergence; /* enum rlhf_divergence */
    double alpha, tail;
    double sft_weight;
    double desirable, undesirable;
    int64_t steps, epochs; /* one is set */
    int64_t batch;         /* pairs a step; KTO: completions */
    int64_t max_tokens;    /* longer completions' comparisons are left out; 0 = the model's context */
    struct rlhf_run_optimizer optimizer;
    struct rlhf_run_adapter *adapter; /* NULL: the whole model is trained */
};

struct rlhf_stage_best {
    char *name, *from;
    char *reward_model; /* stage; NULL: the rewards alone */
    struct rlhf_config_list rewards; /* of struct rlhf_run_reward */
    char *prompts;
    int64_t count;   /* of prompts; 0 = all */
    int64_t samples; /* for each prompt */
    double at_least; /* rewards of demonstrations */
    struct rlhf_run_sampling sampling;
};

/* Published questions (evaluation/suite.h), which a policy is asked. */
struct rlhf_run_suite {
    char *suite, *file;
    char *companion; /* gsm8k's examples, toxicity's lexicon; NULL: none */
    int64_t count, shots, max_new_tokens;
};

struct rlhf_stage_evaluate {
    char *name;
    struct rlhf_config_strings policies;
    char *reference;                 /* NULL: no KL */
    char *reward_model;              /* NULL: no rewards of a model */
    struct rlhf_config_list rewards; /* of struct rlhf_run_reward */
    struct rlhf_config_list prompts; /* of struct rlhf_run_file */
    int64_t samples;
    struct rlhf_run_sampling sampling;
    struct rlhf_config_list perplexity; /* of struct rlhf_run_file: documents */
    struct rlhf_config_list exact; /* of struct rlhf_run_file: {"prompt", "expected"}, decoded greedily */
    struct rlhf_config_list suites; /* of struct rlhf_run_suite */
};

/* What a gate's candidate may lose against the incumbent. */
struct rlhf_run_clause {
    struct rlhf_config_strings metrics; /* paths below a policy's entry in the evaluation's metrics.json; their mean */
    int better;                         /* enum rlhf_run_better */
    double budget;
    bool relative; /* budget is a fraction of the incumbent's value */
    double standard_errors; /* of the difference, beside the budget */
};
enum rlhf_run_better { RLHF_RUN_BETTER_UNSAID, RLHF_RUN_BETTER_HIGHER, RLHF_RUN_BETTER_LOWER };
enum { RLHF_RUN_RETRIES = 8 };

struct rlhf_stage_gate {
    char *name, *candidate;
    char *incumbent;  /* NULL: what the candidate started from */
    char *evaluation; /* stage */
    double win_rate;
    struct rlhf_config_list truthfulness, toxicity, tax; /* of struct rlhf_run_clause */
    int64_t retries;                                     /* at most RLHF_RUN_RETRIES */
    double retry_mix, retry_kl; /* factors, a retry, of the candidate's mix.weight and kl_coefficient */
    int otherwise; /* 0 stop, 1 go on with the incumbent */
};

/* Exactly one is not NULL. */
struct rlhf_stage {
    struct rlhf_stage_pretrain *pretrain;
    struct rlhf_stage_sft *sft;
    struct rlhf_stage_collect *collect;
    struct rlhf_stage_reward *reward;
    struct rlhf_stage_policy *policy;
    struct rlhf_stage_direct *direct;
    struct rlhf_stage_best *best_of;
    struct rlhf_stage_evaluate *evaluate;
    struct rlhf_stage_gate *gate;
};

struct rlhf_run {
    struct {
        char *name;
        char *dir; /* default runs/NAME */
        int64_t seed;
        int products; /* see rlhf_run_products() */
    } run;
    struct {
        char *load; /* a directory with tokenizer.json */
        bool chat;   /* dialogues become tokens as its chat template has them */
        char *today; /* what the template takes for today, YYYY-MM-DD */
        struct {
            struct rlhf_config_strings files;
            int64_t vocab_size;
            bool digits_alone;
        } train;
    } tokenizer;
    struct {
        char *load; /* a Hugging Face directory; the rest is then not read */
        int style;  /* 0 gpt2, 1 llama: rlhf_run_model_style() */
        int64_t layers, heads, kv_heads, channels, mlp_size, context;
        bool tied;
    } model;
    struct {
        char *listen; /* default ipc://DIR/learner.sock */
        char *remote; /* endpoint for other hosts; NULL: none */
        bool insecure;
        char *key, *peers; /* files: daemon/keys.h */
        char *memory; /* a file system in memory, for published weights */
        int64_t threads; /* 0 = as many as there are cores */
        int64_t lease_ms;
        int64_t checkpoint_seconds;
        int64_t verify_tokens; /* of every PPO iteration, recomputed and compared with the sampler's bits */
    } learner;
    char *labels; /* the label-collector's endpoint for the learner; default ipc://DIR/labels.sock */
    struct {
        int64_t rollout_workers, reward_scorers, worker_threads, scorer_threads;
        struct {
            bool start;
            char *http;     /* ADDRESS:PORT of page and API */
            char *database; /* default DIR/labels.db */
        } label_collector;
    } up;
    struct rlhf_config_list stages; /* of struct rlhf_stage */
};

extern const struct rlhf_config_schema rlhf_run_schema;

/* Reads, fills in the defaults that depend on other keys, and checks what the table cannot: names are unique,
 * a stage refers to earlier stages of the right kind, and so on. The error names file, stage and key. */
int rlhf_run_read(struct rlhf_run *run, const char *path, struct rlhf_error *err);
int rlhf_run_parse(struct rlhf_run *run, const char *text, size_t size, const char *where,
                   struct rlhf_error *err);
/* What both of them do after the table's part, for who reads by the table (struct rlhf_run *config). On
 * failure *config is freed. */
int rlhf_run_finish(void *config, const char *where, struct rlhf_error *err);
void rlhf_run_free(struct rlhf_run *run); /* leaves it zeroed */

size_t rlhf_run_stages(const struct rlhf_run *run);
const struct rlhf_stage *rlhf_run_stage(const struct rlhf_run *run, size_t index);
enum rlhf_stage_kind rlhf_stage_kind(const struct rlhf_stage *s);
const char *rlhf_stage_kind_name(enum rlhf_stage_kind kind); /* "pretrain" ... */
const char *rlhf_stage_name(const struct rlhf_stage *s);
/* Index of the stage so named; -1 where there is none. */
int rlhf_run_find(const struct rlhf_run *run, const char *name);
/* The stage whose model this one starts from: `from`, or else the last earlier one that makes a policy; NULL:
 * the run's model. For collect, evaluate and gate NULL. */
const char *rlhf_stage_from(const struct rlhf_run *run, size_t index);
/* made_of[i] of every stage is set to whether stage index reads what stage i makes: its model, its rounds, its
 * demonstrations. `all`: or whatever those are made of, and so on. */
void rlhf_run_made_of(const struct rlhf_run *run, size_t index, bool all, bool *made_of);
/* What the candidate of this gate stage is compared with; NULL: the run's model. */
const char *rlhf_run_incumbent(const struct rlhf_run *run, size_t index);
/* One entry of `rewards:` in a file of its own. -1: RLHF_REJECT. */
int rlhf_run_reward_read(struct rlhf_run_reward *r, const char *path, struct rlhf_error *err);
void rlhf_run_reward_free(struct rlhf_run_reward *r); /* leaves it zeroed */
/* The source, and its kind: 0 for the stage's reward model, else 1 + enum rlhf_source_kind. */
const struct rlhf_run_source *rlhf_run_source(const struct rlhf_run_reward *r, int *kind);
const char *rlhf_run_algorithm(const struct rlhf_stage_policy *s); /* "ppo" ... */
const char *rlhf_run_direct_loss(const struct rlhf_stage_direct *s);    /* "sigmoid" ... */
bool rlhf_run_algorithm_has_critic(int algorithm);
bool rlhf_run_algorithm_compares(int algorithm);   /* the completions of a prompt with each other */
bool rlhf_run_algorithm_kl_in_loss(int algorithm); /* else it is taken off the rewards */
extern const char *const rlhf_run_suites[]; /* those an evaluate stage may name, as evaluation/suite.h has them; NULL at the end */
const char *rlhf_run_products(const struct rlhf_run *run); /* "fp32", "bf16": rlhf_products_named() */
const char *rlhf_run_model_style(const struct rlhf_run *run); /* "gpt2" or "llama" */

#endif
