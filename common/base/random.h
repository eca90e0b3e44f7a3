/* random.h - Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC'11). A draw is a pure function of its key and counter, so it never depends on which
 * process made it, in which order, or in which batch. */
#ifndef RLHF_BASE_RANDOM_H
#define RLHF_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* The 10-round bijection; out[4] from counter[4] and key[2]. */
void rlhf_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* What a draw is for. A new purpose gets a new number; numbers are never reused. */
enum rlhf_purpose {
    RLHF_PURPOSE_INIT = 1,     /* initial weights                          */
    RLHF_PURPOSE_SAMPLE = 2,   /* sampling a completion's tokens           */
    RLHF_PURPOSE_SHUFFLE = 3,  /* order of training examples               */
    RLHF_PURPOSE_EVALUATE = 4, /* sampling for evaluation                  */
    RLHF_PURPOSE_COLLECT = 5,  /* sampling completions for people to judge */
    RLHF_PURPOSE_WORLD = 6,    /* the quickstart's generator and labelers  */
    RLHF_PURPOSE_FAULT = 7,    /* the simulator                            */
    RLHF_PURPOSE_HEAD = 8,     /* initial scalar heads                     */
    RLHF_PURPOSE_DROPOUT = 9,  /* what training drops                      */
    RLHF_PURPOSE_AGREEMENT = 16, /* resampling of labels                   */
};

/* One draw, uniform in [0, 1) with 24 bits, keyed by everything that names it. Shapes: seed is the run's;
 * a, b, position name the object (for a completion: prompt, sample, token position). The mapping onto
 * Philox is key = {seed low, seed high}, counter = {position, a, b, purpose}. */
float rlhf_draw(uint64_t seed, enum rlhf_purpose purpose, uint32_t a, uint32_t b, uint32_t position);

/* A sequential stream for code that just wants "the next number"; the same key gives the same stream. */
struct rlhf_random {
    uint32_t key[2], counter[4], block[4];
    unsigned used; /* of block */
};
void rlhf_random_init(struct rlhf_random *r, uint64_t seed, enum rlhf_purpose purpose, uint32_t a, uint32_t b);
uint32_t rlhf_random_u32(struct rlhf_random *r);
uint32_t rlhf_random_below(struct rlhf_random *r, uint32_t n); /* unbiased, n > 0 */
float rlhf_random_uniform(struct rlhf_random *r);              /* [0, 1), 24 bits */
float rlhf_random_normal(struct rlhf_random *r);               /* N(0, 1), Box-Muller */
void rlhf_random_shuffle(struct rlhf_random *r, uint32_t *items, size_t count); /* Fisher-Yates */

#endif
