/* labeler.h - a person who compares answers, simulated: prefers what the judge would prefer, with a person's
 * noise.
 *
 * The ranking orders completions by utility + 0.7 Gumbel noise, so that a pair is ordered i before j with
 * probability sigmoid((u_i - u_j) / 0.7), which is Bradley-Terry. Each pair is then swapped with probability
 * 0.05: one ranking in twenty is handed in upside down (read as "worst first"), which swaps each of its pairs
 * with exactly that probability and leaves a ranking. Completions of equal text get equal ranks. All noise is
 * a function of (seed, prompt, completion text), so a labeler that is killed and started again gives the same
 * labels. */
#ifndef KINGDOM_LABELER_H
#define KINGDOM_LABELER_H

#include "judge.h"

#define KINGDOM_LABELER_TAU 0.7
#define KINGDOM_LABELER_SWAP 0.05
enum { KINGDOM_MAX_COMPLETIONS = 16 };

struct kingdom_pairs { /* of unequal text */
    double pairs;      /* which the label orders                                    */
    double agreed;     /* and orders as the judge does; pairs equal to the judge count half */
};

/* Fills ranks[count], 1 = best. noise false: by utility alone, equal utilities tie. pairs may be NULL, else
 * is added to. RLHF_REJECT when the prompt is none of the kingdom's. */
int kingdom_rank(const struct kingdom_world *w, const char *prompt, const char *const *completions,
                 size_t count, bool noise, uint32_t *ranks, struct kingdom_pairs *pairs,
                 struct rlhf_error *err);

struct kingdom_labeler_options {
    const char *url;          /* http://127.0.0.1:8477 */
    const char *address_file; /* instead of url: a file that will hold it */
    const char *round;        /* NULL: all */
    const char *name;         /* of the labeler */
    const char *stats;        /* file for the ceiling, rewritten as labels are given; NULL: none */
    bool noise;
    uint64_t count;      /* stop after so many labels; 0: until told */
    double idle_seconds; /* stop when there was no task for so long; 0: never */
};
/* Labels tasks over the label-collector's HTTP API until told to stop (*stop set from a signal handler), or
 * as the options say. Waits for a collector that is not there yet or restarts. */
int kingdom_label(const struct kingdom_world *w, const struct kingdom_labeler_options *options,
                  const volatile int *stop, struct rlhf_error *err);

#endif
