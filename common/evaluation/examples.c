#include "evaluation/examples.h"

#include <math.h>
#include <stdbool.h>

#include "base/check.h"

enum { N = 624, M = 397, LARGEST_POOL = 21 + 1024 /* for RLHF_EXAMPLES_MAX */ };

/* init_by_array({seed}), as CPython's Modules/_randommodule.c seeds with an integer below 2^32. */
void rlhf_examples_init(struct rlhf_examples *e, uint32_t seed)
{
    uint32_t *s = e->state;
    size_t i = 1;

    s[0] = 19650218;
    for (size_t k = 1; k < N; k++)
        s[k] = 1812433253U * (s[k - 1] ^ s[k - 1] >> 30) + (uint32_t)k;
    for (size_t k = 0; k < 2 * N - 1; k++) {
        const uint32_t mixed = s[i - 1] ^ s[i - 1] >> 30;

        s[i] = k < N ? (s[i] ^ mixed * 1664525U) + seed : (s[i] ^ mixed * 1566083941U) - (uint32_t)i;
        if (++i == N) {
            s[0] = s[N - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000U;
    e->used = N;
}

static uint32_t next(struct rlhf_examples *e)
{
    uint32_t *s = e->state, y;

    if (e->used == N) {
        for (size_t k = 0; k < N; k++) {
            y = (s[k] & 0x80000000U) | (s[(k + 1) % N] & 0x7fffffffU);
            s[k] = s[(k + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfU : 0);
        }
        e->used = 0;
    }
    y = s[e->used++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680U;
    y ^= y << 15 & 0xefc60000U;
    return y ^ y >> 18;
}

/* _randbelow(n): as many bits as n has, until they are below. */
static size_t below(struct rlhf_examples *e, size_t n)
{
    unsigned bits = 0;
    size_t r;

    while (n >> bits)
        bits++;
    do
        r = next(e) >> (32 - bits);
    while (r >= n);
    return r;
}

/* Small populations are drawn from without replacement; of larger ones a number that came before is drawn again. */
void rlhf_examples_draw(struct rlhf_examples *e, size_t count, size_t wanted, size_t *out)
{
    size_t small = 21, pool[LARGEST_POOL];

    RLHF_ASSERT(wanted <= count && wanted <= RLHF_EXAMPLES_MAX && count <= UINT32_MAX);
    if (wanted > 5)
        small += (size_t)pow(4, ceil(log((double)wanted * 3) / log(4)));
    for (size_t i = 0; count <= small && i < count; i++)
        pool[i] = i;
    for (size_t i = 0; i < wanted; i++) {
        bool again;

        if (count <= small) {
            size_t at = below(e, count - i);

            out[i] = pool[at];
            pool[at] = pool[count - i - 1];
            continue;
        }
        do {
            out[i] = below(e, count);
            again = false;
            for (size_t j = 0; j < i; j++)
                again = again || out[j] == out[i];
        } while (again);
    }
}
