/* train_comparisons.h - what people preferred, as token sequences. Private to train*.c. */
#ifndef LEARNER_TRAIN_COMPARISONS_H
#define LEARNER_TRAIN_COMPARISONS_H

#include "learner/train_parts.h"
#include "rl/preference.h"

enum { LEARNER_COMPLETIONS = 64 }; /* of a comparison at most; others are skipped */

/* Comparison i has the completions first[i] .. first[i + 1] - 1. */
struct learner_comparisons {
    struct rlhf_sequences sequences; /* [begin] prompt completion [end], as sampled */
    uint32_t *rank;                  /* [sequences] 1 = best                        */
    uint32_t *first;                 /* [count + 1]                                 */
    uint32_t *prompt_size;           /* [count] tokens                              */
    float *weight;                   /* [count] of its loss, 0 to 1                 */
    json_t *sources;                 /* [count] the lines they were read from       */
    size_t count, skipped;
};
void learner_comparisons_free(struct learner_comparisons *c);

/* What names a label: its id, which is unique within its source. */
enum { LEARNER_LABEL_KEY = 600 };
void learner_label_key(const char *source, const char *id, char out[LEARNER_LABEL_KEY]);
/* Adds a line of DIR/comparisons/ROUND.jsonl; one with a sequence of more than limit tokens is skipped. */
int learner_comparisons_add(struct learner_comparisons *c, size_t limit, json_t *line, struct rlhf_error *err);
/* Whether a line prefers anything to anything. */
bool learner_comparison_has_pair(const json_t *line);
/* Whether it is one of the share that is held out: that depends on its prompt alone, so that a prompt is never on both sides. */
bool learner_comparison_held_out(const json_t *line, double share);
/* Ends a and puts it into metrics as PREFIXaccuracy, low and high; without a prefix also its counts and margins. */
void learner_put_agreement(json_t *o, const char *prefix, struct rlhf_agreement *a);
/* The lines of a round as they stand now, each with its name as "round", counted in w's provenance. */
json_t *learner_comparisons_round(struct learner_work *w, const char *round, struct rlhf_error *err);
/* Adds what a file of comparisons given as text holds, tokenised; the share that is held out to held (NULL: none is). */
int learner_comparisons_read(struct learner_comparisons *to, struct learner_comparisons *held, double share,
                             const struct learner_work *w, size_t limit, const char *path, struct rlhf_error *err);

/* Lines (taken) of a round as they stood when the stage began: without those taken back, revised ones as they were judged
 * last, with the weights that their labelers had by then; NULL and *err. (train_changes.c) */
json_t *learner_changes_apply(struct learner_work *w, const char *round, json_t *lines, struct rlhf_error *err);

/* ---- for labels.jsonl (train_labels.c) ---- */

/* Steps of `batch` items in the order given, which are made of c: of[item] is the comparison of an item (NULL: item i is
 * comparison i). */
struct learner_use {
    struct learner_order *order;
    const uint32_t *of;
    uint64_t steps, batch;
};
/* c's comparisons, where they are labels, are among those that w's updates are made of. use NULL: they are measured on only. */
int learner_labels_add(struct learner_work *w, const struct learner_comparisons *c, const struct learner_use *use,
                       struct rlhf_error *err);

#endif
