/* examples.h - which examples stand before a question: the draws of Python's random.Random(seed).sample(), as the harness makes them, so that
 * prompts are the same. */
#ifndef RLHF_EVALUATION_EXAMPLES_H
#define RLHF_EVALUATION_EXAMPLES_H

#include <stddef.h>
#include <stdint.h>

/* MT19937 (Matsumoto and Nishimura 1998), seeded as random.seed(int). */
struct rlhf_examples {
    uint32_t state[624];
    size_t used;
};
void rlhf_examples_init(struct rlhf_examples *e, uint32_t seed);
/* `wanted` different numbers below count into out, in the order of random.sample(range(count), wanted). wanted <= count, and
 * wanted <= RLHF_EXAMPLES_MAX. */
enum { RLHF_EXAMPLES_MAX = 100 };
void rlhf_examples_draw(struct rlhf_examples *e, size_t count, size_t wanted, size_t *out);

#endif
