/* suite.h - sets of questions that show what a model knows and does, in the files they were published in, scored as
 * lm-evaluation-harness 0.4 scores them: same prompts, same tokens, same formulas. */
#ifndef RLHF_EVALUATION_SUITE_H
#define RLHF_EVALUATION_SUITE_H

#include "evaluation/figures.h"
#include "evaluation/rewarder.h"
#include "evaluation/subject.h"

struct rlhf_suite_settings {
    const char *name;        /* of rlhf_suite_names[] */
    const char *file;        /* its questions */
    const char *companion;   /* gsm8k: the file of its examples, not looked at without shots; toxicity: the lexicon; may be NULL */
    size_t limit;            /* the first so many questions; 0: all of them */
    size_t shots;            /* gsm8k: examples before each question */
    uint32_t max_new_tokens; /* of suites that want text; 0: as many as is usual for the suite */
    float temperature;       /* win_rate: that completions are sampled with; 0: greedily */
    uint64_t seed;           /* win_rate: of the draws, the same for every model */
    const struct rlhf_rewarder *rewarder; /* win_rate: who judges; toxicity: who says how toxic a text is, may be NULL; borrowed */
};

extern const char *const rlhf_suite_names[]; /* NULL at the end */
const char *rlhf_suite_about(const char *name);
size_t rlhf_suite_usual_shots(const char *name);
/* The files of a folder that a suite's questions (or their companion) may be in, as published: the first that is there is written to out,
 * which is empty otherwise. The data set's own folder in DIR and DIR itself are looked into, with and without .gz. */
int rlhf_suite_find(const char *name, const char *dir, bool companion, char *out, size_t size, struct rlhf_error *err);

struct rlhf_suite;

/* Reads the file. Errors name file, line and field. Borrows nothing. */
struct rlhf_suite *rlhf_suite_read(const struct rlhf_suite_settings *s, struct rlhf_error *err);
size_t rlhf_suite_size(const struct rlhf_suite *s); /* questions */

/* Asks and scores. Figures are added to out; the same ones in the same order with as many units for every model, but for the windows of
 * perplexity, which depend on its tokenizer and context. */
int rlhf_suite_examine(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out,
                       struct rlhf_error *err);
/* What two models' figures say of each other, beyond differences: win_rate, of the first against the second. Nothing for other suites. */
int rlhf_suite_compare(const struct rlhf_suite *s, const struct rlhf_figures *a, const struct rlhf_figures *b,
                       struct rlhf_figures *out, struct rlhf_error *err);
void rlhf_suite_free(struct rlhf_suite *s); /* NULL is fine */

#endif
