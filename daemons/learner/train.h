/* train.h - the training side of the learner: it carries out the stages of a run file, one after another.
 *
 * Straight-line code for the compute thread. Everything that needs another process is asked through a
 * learner_port (action.h); everything durable is in the run's directory:
 *
 *   DIR/settings.yaml                  the run file, with every default filled in
 *   DIR/journal                        what was started, finished and consumed, in order (JSON records)
 *   DIR/tokenizer/                     tokenizer.json, tokenizer_config.json, chat_template.jinja
 *   DIR/adapters/STAGE/                the LoRA adapter that the stage trained, in PEFT's format, MANIFEST
 *   DIR/checkpoints/STAGE/             the stage's model as a Hugging Face directory, provenance.json, labels.jsonl
 *                                      (the labels behind it), MANIFEST
 *   DIR/state/STAGE.STEP/              training state inside a stage: weights, moments, counters; the last two
 *   DIR/state/STAGE.reference          of a direct stage at work: log-probs under its reference
 *   DIR/comparisons/ROUND.tasks.jsonl  what was generated for people to compare, with its token ids
 *   DIR/comparisons/ROUND.jsonl        their comparisons, with token ids, labeler and revision
 *   DIR/comparisons/STAGE.changes.json of a stage that is trained on rounds: what had changed in them when it began
 *   DIR/demonstrations/STAGE.jsonl     of a best_of stage: the best completions; its DIR/comparisons/STAGE.jsonl
 *                                      has the best against the worst
 *   DIR/evaluations/STAGE/             what an evaluate stage measured; of a reward stage its held-out pairs
 *   DIR/metrics.jsonl                  one line a step
 *   DIR/tensorboard/                   the same as an event file of TensorBoard's
 *   DIR/stages.json                    finished stages: name, kind, seconds, steps, tokens
 *
 * Promises: a run that was killed at any instant and started again ends with the weights, to the bit, of one
 * that was not (on the same numeric profile; another one is said aloud). A damaged state directory is set
 * aside and the one before it used; a damaged checkpoint is set aside and its stage done again. A directory
 * belongs to one run file: a stage that was started and then changed in the file is refused. */
#ifndef LEARNER_TRAIN_H
#define LEARNER_TRAIN_H

#include "base/clock.h"
#include "base/error.h"
#include "base/io.h"
#include "config/run.h"
#include "learner/action.h"

struct learner_trainer;

/* Opens the run's directory (made where there is none). Borrows run, io and clock. NULL and *err on failure.
 */
struct learner_trainer *learner_trainer_new(const struct rlhf_run *run, const struct rlhf_io *io,
                                            const struct rlhf_clock *clock, struct rlhf_error *err);

/* What the run file's table cannot check: RLHF_REJECT with the source of rewards that makes no sense, by its expression or
 * its URL. */
int learner_check_rewards(const struct rlhf_run *run, struct rlhf_error *err);

/* Does the stages that are not yet done. 0 when all are; -1 and RLHF_AGAIN when port->stopping() became true
 * or an ask said so (everything worth keeping is on disk); -1 and another code when the run cannot go on. */
int learner_trainer_run(struct learner_trainer *t, struct learner_port *port, struct rlhf_error *err);

/* Finished stages. */
size_t learner_trainer_done(const struct learner_trainer *t);

void learner_trainer_free(struct learner_trainer *t); /* NULL is fine */

#endif
