/* parts.h - what the suites are made of; private to this room. */
#ifndef RLHF_EVALUATION_PARTS_H
#define RLHF_EVALUATION_PARTS_H

#include <jansson.h>

#include "evaluation/rows.h"
#include "evaluation/suite.h"

/* A context and what may follow it. */
struct rlhf_question {
    const char *where;         /* file:line */
    const char *context;
    const char *const *choice; /* [choices], as it stands behind the context and the delimiter */
    size_t choices;
    const bool *right;         /* [choices] */
    const char *group;         /* what the suite sorts it by; may be NULL */
};

struct rlhf_suite {
    const struct rlhf_suite_kind *kind;
    struct rlhf_suite_settings settings; /* its strings are the arena's */
    struct rlhf_arena *arena;            /* all text */
    struct rlhf_question *questions;     /* [count] */
    size_t count, capacity;
    const char **terms;                  /* [term_count] toxicity: the lexicon, folded */
    size_t term_count;
    size_t rows;                         /* read from the file, of which a question or several were made */
};

/* Takes what a row says into s. */
typedef int rlhf_suite_row(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err);

struct rlhf_suite_kind {
    const char *name, *about;
    const char *folder;            /* of the data set */
    const char *const *files;      /* names of its questions, NULL at the end */
    const char *companion_folder;  /* NULL: the same */
    const char *const *companions; /* names of the file that goes with them; NULL: there is none */
    size_t shots;                  /* usual */
    const char *delimiter;         /* between context and choice */
    rlhf_suite_row *row;                                       /* a row of the file; NULL: it has none */
    int (*whole)(struct rlhf_suite *s, struct rlhf_error *err); /* after all rows; may be NULL */
    int (*examine)(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_figures *out, struct rlhf_error *err);
    int (*compare)(const struct rlhf_figures *a, const struct rlhf_figures *b, struct rlhf_figures *out, struct rlhf_error *err);
};
extern const struct rlhf_suite_kind rlhf_truthfulqa, rlhf_crows_pairs, rlhf_winogender, rlhf_hellaswag, rlhf_arithmetic,
    rlhf_gsm8k, rlhf_perplexity, rlhf_toxicity, rlhf_win_rate;

/* Each of the file's rows, up to the limit, of which there must be one. */
int rlhf_suite_rows(struct rlhf_suite *s, rlhf_suite_row *row, struct rlhf_error *err);
/* Copies of text and zeroed blocks, for as long as the suite lives; NULL and *err when out of memory. */
char *rlhf_suite_text(struct rlhf_suite *s, const char *text, struct rlhf_error *err);
char *rlhf_suite_printf(struct rlhf_suite *s, struct rlhf_error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void *rlhf_suite_block(struct rlhf_suite *s, size_t count, size_t size, struct rlhf_error *err);
/* q's strings and arrays must be the arena's. */
int rlhf_suite_add(struct rlhf_suite *s, const struct rlhf_question *q, struct rlhf_error *err);

/* Copies the list of strings into the arena. */
const char *const *rlhf_suite_texts(struct rlhf_suite *s, const json_t *list, const char *key, const char *where,
                                    struct rlhf_error *err);
/* Whole numbers, also as text ("2"), from 0 to most - 1. */
int rlhf_suite_index(const json_t *row, const char *key, size_t most, const char *where, size_t *out, struct rlhf_error *err);

/* The prompt of a row: "prompt" (a string, or {"text"} as RealToxicityPrompts has it), "instruction", or what goes before the last answer of
 * an HH transcript "chosen". Adds it as a question without choices. */
int rlhf_suite_prompt(struct rlhf_suite *s, const json_t *row, const char *where, struct rlhf_error *err);
/* What subject makes of all questions' contexts, each behind `before`: text[count], to be freed with rlhf_suite_forget(). NULL on
 * failure. */
char **rlhf_suite_complete(const struct rlhf_suite *s, struct rlhf_subject *subject, const char *before,
                           const struct rlhf_completing *c, struct rlhf_error *err);
void rlhf_suite_forget(const struct rlhf_suite *s, char **text);
/* What the suite's rewarder gives the text for the questions' contexts, a unit each, also where it is missing; RLHF_REJECT where all are. */
int rlhf_suite_reward(const struct rlhf_suite *s, char *const *text, struct rlhf_figure *rewards, struct rlhf_error *err);

/* logprob[i][c] of choice c of question i; freed with free(). NULL on failure. */
double **rlhf_suite_ask(const struct rlhf_suite *s, struct rlhf_subject *subject, struct rlhf_error *err);
/* Whether the number in text is that of answer: the one behind "#### " (strict), or the last one. */
bool rlhf_gsm8k_right(const char *text, const char *answer, bool strict);
bool rlhf_lexicon_finds(const struct rlhf_suite *s, const char *text); /* a term of it */
size_t rlhf_most(const double *values, size_t count); /* the first of the largest */

#endif
