/* train_direct.h - what the parts of a direct stage share: what is read (train_direct_read.c), and what is learned from it and
 * measured (train_direct.c). */
#ifndef LEARNER_TRAIN_DIRECT_H
#define LEARNER_TRAIN_DIRECT_H

#include "learner/train_comparisons.h"
#include "rl/direct.h"

/* What one step of a batch is about: a pair, or of KTO one completion. */
struct direct_unit {
    uint32_t chosen;   /* row; of KTO the completion                                  */
    uint32_t rejected; /* row; of KTO the same prompt with another prompt's completion */
    bool good;         /* KTO                                                         */
};

struct direct {
    struct learner_work *w;
    const struct rlhf_stage_direct *settings;
    size_t limit; /* tokens of a sequence */
    struct learner_comparisons comparisons, held; /* learned from; measured on */
    struct rlhf_sequences mismatched; /* KTO's */
    struct learner_item *rows;        /* [row_count] of comparisons, mismatched and held */
    uint32_t *start;                  /* [row_count + 1] into reference */
    size_t row_count, held_from;      /* held_from: the first row of held */
    struct direct_unit *units;
    size_t unit_count;
    float *reference; /* [start[row_count]] log-probs of completion tokens; NULL: ORPO */
    struct learner_order order;
    struct rlhf_dpo_term terms[2];
    struct rlhf_dpo dpo;
    /* One piece of a step. */
    uint32_t *row;              /* [2 · batch] */
    struct learner_item *items; /* [2 · batch] */
    uint32_t *piece_start;      /* [2 · batch + 1] */
    double *sum;                /* [2 · batch] */
    bool *good;                 /* [batch] */
    float *weight;              /* [batch] of the labels */
    float *now, *ref, *slope;   /* [piece_tokens], one block */
    float *kl_now, *kl_ref;     /* [batch], one block */
    size_t piece_tokens;
};

static inline bool direct_is_kto(const struct direct *d)
{
    return d->settings->loss == RLHF_RUN_KTO;
}

/* Reads the comparisons and makes their rows and units. d->limit is set. */
int direct_read(struct direct *d, struct rlhf_error *err);
/* Every row under the reference, computed once and kept until direct_reference_drop(); policy is what the stage starts from, still
 * untouched. Nothing for ORPO. */
int direct_reference(struct direct *d, const struct rlhf_model *policy, struct rlhf_error *err);
int direct_reference_drop(struct direct *d, struct rlhf_error *err);
/* The comparison that a unit's chosen row is of. */
size_t direct_comparison(const struct direct *d, const struct direct_unit *u);

#endif
