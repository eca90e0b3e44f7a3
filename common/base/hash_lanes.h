/* hash_lanes.h - BLAKE2b-256 of several messages of one size at once, one in each lane of vector registers: the same digests as
 * one by one, at a multiple of the rate. For hash.c and its test. */
#ifndef RLHF_BASE_HASH_LANES_H
#define RLHF_BASE_HASH_LANES_H

#include <stdbool.h>

#include "base/hash.h"

struct rlhf_hash_lanes {
    const char *name;
    size_t width; /* messages at once */
    bool (*works)(void); /* on this processor */
    void (*hash)(const uint8_t *const *data, size_t size, struct rlhf_digest *out); /* [width] each */
};

/* Widest first; ends with width 0. */
extern const struct rlhf_hash_lanes rlhf_hash_lanes[];

#endif
