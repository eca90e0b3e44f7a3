#include "throttle.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { SETS = 512, WAYS = 8 };

struct bucket {
    uint64_t name; /* its hash; 0 = free */
    double permits;
    int64_t at_us; /* when it held them */
};

struct collector_throttle {
    const struct rlhf_clock *clock;
    double per_second, burst;
    unsigned char key[crypto_shorthash_KEYBYTES]; /* else one could look for names that push others out */
    struct bucket bucket[SETS][WAYS];
};

struct collector_throttle *collector_throttle_new(const struct rlhf_clock *clock, double per_second, double burst,
                                                  struct rlhf_error *err)
{
    struct collector_throttle *t = sodium_init() < 0 ? NULL : calloc(1, sizeof(*t));

    if (!t) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    t->clock = clock;
    t->per_second = per_second;
    t->burst = burst;
    randombytes_buf(t->key, sizeof(t->key));
    return t;
}

void collector_throttle_free(struct collector_throttle *t)
{
    free(t);
}

/* The bucket of this name, filled up to now; a new one takes the place of the one used longest ago. */
static struct bucket *find(struct collector_throttle *t, const char *name)
{
    uint64_t hash;
    int64_t now = rlhf_now(t->clock);

    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)name, strlen(name), t->key);
    hash |= 1;
    struct bucket *set = t->bucket[hash / 2 % SETS], *found = set;
    for (size_t i = 0; i < WAYS && found->name != hash; ++i)
        if (set[i].name == hash || set[i].at_us < found->at_us)
            found = &set[i];
    if (found->name != hash)
        *found = (struct bucket){.name = hash, .permits = t->burst, .at_us = now};
    found->permits = fmin(t->burst, found->permits + (double)(now - found->at_us) / 1e6 * t->per_second);
    found->at_us = now;
    return found;
}

static unsigned wait_for(const struct collector_throttle *t, const struct bucket *b)
{
    return b->permits >= 1 ? 0 : (unsigned)ceil((1 - b->permits) / t->per_second);
}

unsigned collector_throttle_wait(struct collector_throttle *t, const char *name)
{
    return wait_for(t, find(t, name));
}

unsigned collector_throttle_take(struct collector_throttle *t, const char *name)
{
    struct bucket *b = find(t, name);
    unsigned wait = wait_for(t, b);

    b->permits -= wait == 0;
    return wait;
}
