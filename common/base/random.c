#include "base/random.h"

#include <math.h>

/* Constants of Philox4x32, from the paper's section 4.3 and table 2. */
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u /* golden ratio */
#define WEYL_1 0xBB67AE85u /* sqrt(3) - 1  */

enum { ROUNDS = 10 };

void rlhf_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0;
        uint64_t p1 = (uint64_t)MULTIPLIER_1 * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static float to_uniform(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}

float rlhf_draw(uint64_t seed, enum rlhf_purpose purpose, uint32_t a, uint32_t b, uint32_t position)
{
    const uint32_t counter[4] = { position, a, b, (uint32_t)purpose };
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    uint32_t out[4];

    rlhf_philox(counter, key, out);
    return to_uniform(out[0]);
}

/* Streams set the top bit of the purpose's word, so that no stream shares a block with a draw. */
#define STREAM 0x80000000u
#define CARRY 0x100u /* above every purpose */

void rlhf_random_init(struct rlhf_random *r, uint64_t seed, enum rlhf_purpose purpose, uint32_t a, uint32_t b)
{
    *r = (struct rlhf_random){
        .key = { (uint32_t)seed, (uint32_t)(seed >> 32) },
        .counter = { 0, a, b, STREAM | (uint32_t)purpose },
        .used = 4,
    };
}

uint32_t rlhf_random_u32(struct rlhf_random *r)
{
    if (r->used >= 4) {
        rlhf_philox(r->counter, r->key, r->block);
        r->used = 0;
        if (++r->counter[0] == 0)
            r->counter[3] += CARRY;
    }
    return r->block[r->used++];
}

/* Lemire, "Fast random integer generation in an interval", 2019: the rare draws that would favour some values are
 * drawn again. */
uint32_t rlhf_random_below(struct rlhf_random *r, uint32_t n)
{
    uint64_t product = (uint64_t)rlhf_random_u32(r) * n;

    if ((uint32_t)product < n) {
        uint32_t least = -n % n;

        while ((uint32_t)product < least)
            product = (uint64_t)rlhf_random_u32(r) * n;
    }
    return (uint32_t)(product >> 32);
}

float rlhf_random_uniform(struct rlhf_random *r)
{
    return to_uniform(rlhf_random_u32(r));
}

float rlhf_random_normal(struct rlhf_random *r)
{
    double radius = 1.0 - (double)rlhf_random_uniform(r); /* (0, 1]: its logarithm is finite */
    double angle = 2.0 * M_PI * (double)rlhf_random_uniform(r);

    return (float)(sqrt(-2.0 * log(radius)) * cos(angle));
}

void rlhf_random_shuffle(struct rlhf_random *r, uint32_t *items, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = rlhf_random_below(r, (uint32_t)i);
        uint32_t item = items[i - 1];

        items[i - 1] = items[j];
        items[j] = item;
    }
}
