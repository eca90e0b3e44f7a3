/* train_parts.h - what the files of the training side share: the trainer, the stage at work, batches,
 * optimisers, state on disk. Private to train*.c. */
#ifndef LEARNER_TRAIN_PARTS_H
#define LEARNER_TRAIN_PARTS_H

#include <jansson.h>

#include "base/hash.h"
#include "base/pool.h"
#include "data/data.h"
#include "learner/train.h"
#include "model/adapter.h"
#include "model/dropout.h"
#include "model/model.h"
#include "store/store.h"
#include "tokenizer/tokenizer.h"

/* ---- the trainer (train.c) --------------------------------------------------------------------------- */

enum { LEARNER_NAME = 80 }; /* of a stage, with .try-N behind it */

/* What the journal says of a stage. */
struct learner_record {
    bool started, done;
    char hash[RLHF_DIGEST_TEXT];   /* of the stage's settings                                          */
    char inputs[RLHF_DIGEST_TEXT]; /* of its data files                                                */
    uint64_t metrics;              /* size of metrics.jsonl when the stage started                     */
    uint64_t steps, tokens;
    double seconds;
    uint64_t cursor;              /* collect: behind the last comparison that was pulled              */
    int64_t asked_us;             /* collect: wall time when people were first asked; 0: not yet      */
    uint64_t iterations;          /* policy: how many are in `consumed`                               */
    bool has_reference;           /* direct: the reference's log-probs are in state/STAGE.reference */
    struct rlhf_digest reference; /* and these are they                                             */
    struct rlhf_digest *consumed; /* policy: rollouts and scores of each iteration, in order          */
    bool paused;                  /* policy: by its watch, and not resumed                            */
    char promoted[LEARNER_NAME];  /* gate: the stage, or .try-N of one, that it stands for; empty: undecided */
    struct learner_record *tries; /* gate: [2 * retries] of the candidate and of the evaluation, in turn */
    size_t try_count;
    json_t *rewards;              /* what services and judges said: learner_journaled_rewards()       */
};

/* What workers and scorers are given weights as. */
enum learner_name {
    LEARNER_NAME_POLICY,
    LEARNER_NAME_REFERENCE,
    LEARNER_NAME_REWARD_MODEL, /* and behind it those of an ensemble */
    LEARNER_NAMES = LEARNER_NAME_REWARD_MODEL + RLHF_RUN_ENSEMBLE
};
struct learner_published {
    struct rlhf_digest digest;   /* now; zero: nothing yet            */
    struct rlhf_digest outdated; /* to be dropped at the next, if drop */
    size_t drop;                 /* 0 or 1                            */
};

/* What DIR/tokenizer and checkpoints have of a tokenizer. */
enum { LEARNER_TOKENIZER_FILES = 3 };
extern const char *const learner_tokenizer_files[LEARNER_TOKENIZER_FILES];

struct learner_trainer {
    const struct rlhf_run *run;
    const struct rlhf_io *io;
    const struct rlhf_clock *clock;
    struct learner_port *port; /* while running */
    struct rlhf_pool *pool;
    struct rlhf_tokenizer *tokenizer;
    struct rlhf_form form;           /* how text becomes tokens; its chat is owned, if any */
    struct rlhf_bytes tokenizer_files[LEARNER_TOKENIZER_FILES]; /* what checkpoints carry; empty: there is none */
    struct rlhf_journal *journal;
    struct learner_record *records; /* [stages] */
    struct learner_published published[LEARNER_NAMES];
    int metrics_fd, lock_fd;
    uint64_t metrics_size;
    bool reserved, waits_for_room; /* DIR/reserved is there; the disk is full and it was said */
    struct {
        int fd;         /* of the file that is written; -1: none yet */
        uint64_t size;  /* of it                                     */
        uint64_t lines; /* bytes of metrics.jsonl that are in it     */
        bool failing;   /* and it was said                           */
    } events;
};

/* The stage at work. */
struct learner_work {
    struct learner_trainer *t;
    const struct rlhf_stage *stage;
    struct learner_record *record;
    const char *name;
    uint32_t index; /* in the run                                          */
    uint32_t key;   /* of its name: keys its shuffles, wherever it stands  */
    uint64_t step, steps, tokens;
    uint64_t skipped, skipped_in_row; /* steps that were not finite */
    double seconds;                   /* before `since_us` */
    int64_t since_us, saved_us;
    json_t *provenance; /* grows while the stage works; goes into its checkpoint  */
    json_t *labels;     /* that its own updates were made of, as in labels.jsonl  */
};

double learner_seconds(const struct learner_work *w);
void learner_progress(struct learner_work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool learner_stopping(const struct learner_work *w);
int learner_stopped(struct rlhf_error *err); /* -1 with RLHF_AGAIN */

/* The stages: 0 when done, else -1. */
int learner_pretrain(struct learner_work *w, struct rlhf_error *err);
int learner_sft(struct learner_work *w, struct rlhf_error *err);
int learner_collect(struct learner_work *w, struct rlhf_error *err);
int learner_reward(struct learner_work *w, struct rlhf_error *err);
int learner_policy(struct learner_work *w, struct rlhf_error *err);
int learner_direct(struct learner_work *w, struct rlhf_error *err);
int learner_best(struct learner_work *w, struct rlhf_error *err);
int learner_evaluate(struct learner_work *w, struct rlhf_error *err);
int learner_gate(struct learner_work *w, struct rlhf_error *err);

/* train_choose.c: leaves in *tasks (an array, each with its completions' ids and log-probs at the temperature) those that w's
 * collect stage submits, with the rule that chose it as "chosen_by". */
int learner_choose(struct learner_work *w, json_t **tasks, float temperature, struct rlhf_error *err);

/* The n-th try of a stage, of those that gates have tried again: STAGE, STAGE.try-2, STAGE.try-3 ... */
void learner_try_name(char out[LEARNER_NAME], const char *stage, unsigned n);
/* Does w's stage, journaled, from where it was: w has t, stage, record, name, index and key. */
int learner_work_do(struct learner_work *w, struct rlhf_error *err);

/* ---- the run's directory (train_journal.c) ---------------------------------------------------------- */

enum { LEARNER_PATH = 1024 };
#define LEARNER_FILE_LIMIT ((size_t)1 << 36) /* 64 GiB: no file of a run is larger */

/* A path below the run's directory. */
int learner_path(const struct learner_trainer *t, char *out, size_t size, struct rlhf_error *err,
                 const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Both wait while the disk is full. */
int learner_write_file(struct learner_work *w, const char *path, const struct rlhf_bytes *bytes,
                       struct rlhf_error *err);
int learner_write_json(struct learner_work *w, const char *path, const json_t *value, struct rlhf_error *err);
/* As evaluations/STAGE/metrics.json. */
int learner_write_measured(struct learner_work *w, const json_t *value, struct rlhf_error *err);
int learner_append_json(struct rlhf_bytes *out, const json_t *value, struct rlhf_error *err); /* one line */
json_t *learner_read_lines(const struct learner_trainer *t, const char *path,
                           struct rlhf_error *err); /* an array */
json_t *learner_read_json(const struct learner_trainer *t, const char *path, struct rlhf_error *err);

/* Appends {"event": event, "stage": name, ...details} to the journal. Takes details (may be NULL). Waits while the
 * disk is full. */
int learner_journal(struct learner_work *w, const char *event, json_t *details, struct rlhf_error *err);
/* The event "rewards" of a source, iteration and round; NULL where there is none. */
const json_t *learner_journaled_rewards(const struct learner_record *r, const char *source, uint64_t iteration, uint64_t round);
/* Puts a record of it into the trainer ctx. */
int learner_replay(void *ctx, const void *record, size_t size, struct rlhf_error *err);
/* The record of a stage, or of a try of one; NULL where the run file has none. */
struct learner_record *learner_record_of(const struct learner_trainer *t, const char *name);
/* The stage that this name stands for: itself, or what a gate promoted. */
const char *learner_promoted(const struct learner_trainer *t, const char *name);

/* Metrics: a JSON object a step, one line each. learner_metric() writes null for what is not finite. */
int learner_metrics_open(struct learner_trainer *t, struct rlhf_error *err);
json_t *learner_metrics_new(const struct learner_work *w);
void learner_metric(json_t *metrics, const char *key, double value);
int learner_metrics_write(struct learner_work *w, json_t *metrics,
                          struct rlhf_error *err); /* takes metrics */
/* Cuts off the lines behind size bytes: of steps that will be done again. */
int learner_metrics_cut(struct learner_trainer *t, uint64_t size, struct rlhf_error *err);

/* DIR/tensorboard says what metrics.jsonl says now (train_events.c). A failure is logged and made up for at the next call. */
void learner_events_follow(struct learner_trainer *t);
void learner_events_close(struct learner_trainer *t); /* the next call begins a new file, from the first line on */

/* ---- what a stage is made from (train_inputs.c) ------------------------------------------------------ */

/* Of the settings that make its result: its own, the model's, the tokenizer's, the seed. */
int learner_stage_hash(const struct learner_trainer *t, size_t index, char text[RLHF_DIGEST_TEXT],
                       struct rlhf_error *err);
/* Of the data files that it reads; each one's own goes into the provenance. */
int learner_stage_inputs(struct learner_work *w, char text[RLHF_DIGEST_TEXT], struct rlhf_error *err);
/* Refuses stages that were started with other settings; a damaged checkpoint is set aside, its stage not
 * done. */
int learner_check_done(struct learner_trainer *t, struct rlhf_error *err);
/* The latter of one stage, or try, that is done. */
int learner_check_checkpoint(struct learner_trainer *t, const char *name, struct learner_record *r, struct rlhf_error *err);

/* ---- tokenizer and models (train_tokenizer.c, train_checkpoint.c) ------------------------------------- */

int learner_tokenizer_open(struct learner_trainer *t, struct rlhf_error *err);
/* The model of a finished stage with the wanted head, or with stage NULL the run's own. A gate's is the one that it
 * promoted. */
struct rlhf_model *learner_load_model(struct learner_work *w, const char *stage, enum rlhf_head head,
                                      struct rlhf_error *err);
/* DIR/checkpoints/STAGE, atomically, with w's provenance. Waits while the disk is full. */
int learner_save_model(struct learner_work *w, const struct rlhf_model *m, struct rlhf_error *err);

/* Before a stage begins anew: what an earlier try of it was told is asked for again. (train_changes.c) */
int learner_changes_forget(struct learner_work *w, struct rlhf_error *err);

/* ---- the labels behind a checkpoint (train_labels.c) --------------------------------------------------- */

/* labels.jsonl of w's checkpoint: those in w->labels, and those that the stages which it is made of were trained on. */
int learner_labels_write(struct learner_work *w, struct rlhf_bytes *out, struct rlhf_error *err);

/* ---- room on disk (train_room.c) ---------------------------------------------------------------------- */

/* Blocks for the next state of size bytes and what comes with it, in DIR/reserved; waits until there are. */
int learner_room_reserve(struct learner_work *w, size_t size, struct rlhf_error *err);
void learner_room_release(struct learner_trainer *t);
/* After a write that failed: 0 to try again, with the reservation spent or a moment later, where the disk was full; -1
 * with *why, or when the process is asked to stop. */
int learner_room_wait(struct learner_work *w, const struct rlhf_error *why, struct rlhf_error *err);

/* ---- state inside a stage (train_state.c) ------------------------------------------------------------ */

struct learner_block {
    const char *name;
    void *data;
    size_t size;
};
/* Writes DIR/state/STAGE.STEP, keeps the last two and reserves room for the next. Waits while the disk is full. */
int learner_state_save(struct learner_work *w, const struct learner_block *blocks, size_t count,
                       struct rlhf_error *err);
/* Fills blocks and w's counters from the newest whole state, and cuts metrics.jsonl there. Leaves them as
 * they are where there is none. Reserves room for the first state to come. */
int learner_state_load(struct learner_work *w, const struct learner_block *blocks, size_t count,
                       struct rlhf_error *err);
/* True when learner.checkpoint_seconds have passed since the last one. */
bool learner_state_due(const struct learner_work *w);
int learner_state_remove(struct learner_work *w, size_t keep, struct rlhf_error *err);

/* ---- batches (train_batch.c) ------------------------------------------------------------------------- */

/* A sequence to learn from; the tokens from `first` on are predicted, those before only condition them. */
struct learner_item {
    const int32_t *ids; /* [count], borrowed */
    uint32_t count, first;
};

/* Packed sequences and arrays beside their tokens. */
struct learner_batch {
    struct rlhf_tokens tokens;
    uint32_t *start; /* [sequences + 1] */
    size_t sequences, sequence_capacity, capacity;
    int32_t *target;                /* [T] the next token where it is predicted, else -1 */
    float *value, *entropy, *slope; /* [T] log-probs or scalars; entropies; derivatives */
    size_t targets;                 /* how many target >= 0 */
};
void learner_batch_clear(struct learner_batch *b);
int learner_batch_add(struct learner_batch *b, const struct learner_item *item, struct rlhf_error *err);
struct rlhf_batch learner_batch_view(const struct learner_batch *b);
void learner_batch_free(struct learner_batch *b);
/* out gets what from[T of the batch] has at predicted positions, in order; returns how many. */
size_t learner_batch_pick(const struct learner_batch *b, const float *from, float *out);
/* b->slope: what was picked, back at its position, 0 elsewhere. */
void learner_batch_spread(struct learner_batch *b, const float *picked);

/* A model's passes over items, as many at a time as fit a fixed number of tokens: a function of the shape of
 * the model alone, so that how a batch is cut never depends on the machine. */
struct learner_compute {
    struct rlhf_pass *pass;
    struct learner_batch batch;
    size_t limit; /* tokens */
    struct rlhf_dropout dropout; /* rates 0: none; its sequence is the number of items[0] */
};
int learner_compute_init(struct learner_compute *c, const struct rlhf_model_config *config,
                         struct rlhf_pool *pool, bool train, struct rlhf_error *err);
void learner_compute_free(struct learner_compute *c);
/* Packs items[from ...] while they fit (at least one) and runs the body forward. Returns the index behind the
 * last one packed, 0 on failure. */
size_t learner_compute_forward(struct learner_compute *c, const struct rlhf_model *m,
                               const struct learner_item *items, size_t from, size_t count,
                               struct rlhf_error *err);

/* Packs them all. */
int learner_compute_forward_all(struct learner_compute *c, const struct rlhf_model *m,
                                const struct learner_item *items, size_t count, struct rlhf_error *err);

size_t learner_targets(const struct learner_item *items, size_t count);
/* *loss = mean over the items' predicted tokens of -log p; weight times its gradient is added to grad. */
int learner_lm_gradient(struct learner_compute *c, const struct rlhf_model *m,
                        const struct learner_item *items, size_t count, double weight, float *grad,
                        double *loss, struct rlhf_error *err);
/* *sum of -log p over the predicted tokens. */
int learner_lm_sum(struct learner_compute *c, const struct rlhf_model *m, const struct learner_item *items,
                   size_t count, double *sum, struct rlhf_error *err);
/* score[i] = the scalar head at the last token of item i. */
int learner_last_scalars(struct learner_compute *c, const struct rlhf_model *m,
                         const struct learner_item *items, size_t count, float *score,
                         struct rlhf_error *err);

/* The order of n items over epochs: index i is item at(i), every epoch a new permutation that is a function
 * of (seed, key, epoch). */
struct learner_order {
    uint64_t seed, epoch;
    uint32_t key, count;
    uint32_t *item; /* [count] of `epoch` */
    bool ready;
};
int learner_order_init(struct learner_order *o, uint64_t seed, uint32_t key, size_t count,
                       struct rlhf_error *err);
uint32_t learner_order_at(struct learner_order *o, uint64_t index);
void learner_order_free(struct learner_order *o);

/* Windows of documents from files, with their order: what pretraining learns from, and what is mixed in. */
struct learner_windows {
    struct rlhf_sequences windows;
    struct learner_order order;
    struct learner_item *items; /* [per_step] */
    size_t per_step;
};
int learner_windows_init(struct learner_windows *s, struct learner_work *w,
                         const struct rlhf_config_strings *files, int64_t window, int64_t per_step,
                         uint32_t salt, struct rlhf_error *err);
/* The items of a step, until the next call. */
const struct learner_item *learner_windows_at(struct learner_windows *s, uint64_t step);
void learner_windows_free(struct learner_windows *s);

/* ---- the optimiser and the common loop (train_optimizer.c) ------------------------------------------- */

struct learner_optimizer {
    const struct rlhf_run_optimizer *settings;
    struct rlhf_model *model; /* borrowed */
    struct rlhf_adapter *adapter; /* NULL: the model itself is trained; else it is the base with this applied */
    float *kept;         /* of the base, what the adapter changes */
    struct rlhf_pool *pool;
    float *param;        /* [count] the model's, or the adapter's, borrowed */
    float *grad, *m, *v; /* [count] */
    size_t count;
    uint64_t updates;  /* made: bias correction */
    uint64_t steps;    /* of the schedule */
    double rate, norm; /* of the last step */
};
int learner_optimizer_init(struct learner_optimizer *o, struct rlhf_model *model,
                           const struct rlhf_run_optimizer *settings, uint64_t steps, struct rlhf_pool *pool,
                           struct rlhf_error *err);
/* The same for a new adapter beside the model (NULL: for the model itself); pass is where gradients come from. */
int learner_optimizer_init_adapter(struct learner_optimizer *o, const struct learner_work *w, struct rlhf_model *model,
                                   struct rlhf_pass *pass, const struct rlhf_run_optimizer *settings,
                                   const struct rlhf_run_adapter *adapter, uint64_t steps, struct rlhf_error *err);
/* Where a backward pass adds the model's own gradient: NULL where an adapter is trained, whose gradient the pass knows. */
float *learner_optimizer_grad(const struct learner_optimizer *o);
/* After param has been written to: the model follows. */
void learner_optimizer_changed(struct learner_optimizer *o);
/* AdamW with the rate of schedule step `step`, the gradient clipped by its norm; clears the gradient.
 * *updated is false, and nothing but the gradient has changed, when loss or gradient are not finite. */
void learner_optimizer_step(struct learner_optimizer *o, uint64_t step, double loss, bool *updated);
/* Counts a step that was or was not finite; ten in a row that were not are an error. */
int learner_count_step(struct learner_work *w, bool finite, struct rlhf_error *err);
void learner_optimizer_free(struct learner_optimizer *o);

/* train_adapter.c: the adapter of o's model, new, as what o trains. */
int learner_adapter_new(struct learner_optimizer *o, const struct learner_work *w, const struct rlhf_run_adapter *s,
                        struct rlhf_error *err);
/* DIR/adapters/STAGE in PEFT's format, atomically; nothing where o trains a whole model. */
int learner_adapter_save(struct learner_work *w, const struct learner_optimizer *o, struct rlhf_error *err);

/* One model, one loss, w->steps steps: pretrain, sft and reward. */
struct learner_training {
    struct learner_work *work;
    struct rlhf_model *model;
    struct learner_compute compute;
    struct learner_optimizer optimizer;
    /* Adds the gradient of the step's loss to optimizer.grad, sets *loss and *tokens, adds to metrics. */
    int (*step)(struct learner_training *tr, void *ctx, uint64_t step, double *loss, uint64_t *tokens,
                json_t *metrics, struct rlhf_error *err);
    /* After the update of w->step, which is not counted yet. May be NULL. */
    int (*updated)(struct learner_training *tr, void *ctx, json_t *metrics, struct rlhf_error *err);
    void *ctx;
    struct learner_block more[2]; /* what a state holds beside weights and moments */
    size_t more_count;
};
/* Takes model. */
int learner_training_init(struct learner_training *tr, struct learner_work *w, struct rlhf_model *model,
                          const struct rlhf_run_optimizer *settings, const struct rlhf_run_adapter *adapter,
                          uint64_t steps, struct rlhf_error *err);
int learner_training_run(struct learner_training *tr, struct rlhf_error *err);
void learner_training_free(struct learner_training *tr);

/* ---- asking (train_ask.c) ---------------------------------------------------------------------------- */

/* Sends m's weights to workers and scorers under the name; *out is what jobs call them. What the name held
 * before is dropped with its publication after this one, unless another name holds it. */
int learner_publish(struct learner_work *w, enum learner_name name, uint64_t version,
                    const struct rlhf_model *m, struct rlhf_digest *out, struct rlhf_error *err);
struct rlhf_sampling learner_sampling(const struct rlhf_run_sampling *s);
bool learner_sampling_whole(
    const struct rlhf_sampling *s); /* the tempered distribution, not truncated, not greedy */
/* Answers are checked: count, at least one token each, finite log-probs. Completions end with the tokens and
 * texts that settings names; sampling is made of it, or is another one. */
int learner_generate(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                     const struct rlhf_run_sampling *settings, const struct rlhf_sampling *sampling, enum rlhf_purpose purpose,
                     struct learner_answer *out, struct rlhf_error *err);
/* The same in two, training going on between them: jobs are borrowed until finish, or port->drop(). */
int learner_generate_begin(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                           const struct rlhf_run_sampling *settings, const struct rlhf_sampling *sampling,
                           enum rlhf_purpose purpose, struct rlhf_error *err);
int learner_generate_finish(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                            const struct rlhf_run_sampling *settings, struct learner_answer *out, struct rlhf_error *err);
int learner_score(struct learner_work *w, const struct learner_score_job *jobs, size_t count,
                  struct rlhf_digest reward_model, struct rlhf_digest reference, float temperature,
                  struct learner_answer *out, struct rlhf_error *err);
/* The same of a source of rewards: jobs have their texts. */
int learner_score_source(struct learner_work *w, const struct learner_score_job *jobs, size_t count,
                         const struct rlhf_source_settings *source, struct learner_answer *out, struct rlhf_error *err);
/* Prompts of a file that leave room for a completion; says how many were too long. The first *used count (all
 * of them when count is 0, or when there are fewer). */
int learner_read_prompts(struct learner_work *w, const char *path, uint32_t context, int64_t max_new_tokens,
                         int64_t count, struct rlhf_demonstrations *out, size_t *used,
                         struct rlhf_error *err);
/* Text of a completion as valid UTF-8 without NUL: what is not becomes U+FFFD. */
int learner_decode(const struct learner_trainer *t, const int32_t *ids, size_t count, struct rlhf_bytes *out,
                   struct rlhf_error *err);
/* Ids as a JSON array; those of text in the run's form. NULL on failure. */
json_t *learner_ids_json(const int32_t *ids, size_t count);
json_t *learner_prompt_ids(const struct learner_trainer *t, const char *prompt, struct rlhf_error *err);
json_t *learner_completion_ids(const struct learner_trainer *t, const char *prompt, const char *completion,
                               struct rlhf_error *err);

#endif
