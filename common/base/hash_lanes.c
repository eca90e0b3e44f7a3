#include "base/hash_lanes.h"

#include <string.h>

enum { BLOCK = 128, WORDS = 16, ROUNDS = 12 };

#ifdef __x86_64__

/* RFC 7693, sections 2.6 and 2.7. */
static const uint64_t iv[8] = {
    UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b), UINT64_C(0xa54ff53a5f1d36f1),
    UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f), UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179),
};
static const uint8_t sigma[ROUNDS][WORDS] = {
    { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }, { 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
    { 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 }, { 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
    { 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 }, { 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
    { 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 }, { 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
    { 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 }, { 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
    { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }, { 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
};
/* h[0] of an unkeyed digest of 32 bytes: section 2.5's parameter block. */
static const uint64_t parameters = UINT64_C(0x01010000) ^ RLHF_DIGEST_SIZE;

/* The G of section 3.1 on word vectors of v. */
#define MIX(rotate, a, b, c, d, x, y)                                                                                            \
    do {                                                                                                                 \
        v[a] += v[b] + (x);                                                                                              \
        v[d] = rotate(v[d] ^ v[a], 32);                                                                                  \
        v[c] += v[d];                                                                                                    \
        v[b] = rotate(v[b] ^ v[c], 24);                                                                                  \
        v[a] += v[b] + (y);                                                                                              \
        v[d] = rotate(v[d] ^ v[a], 16);                                                                                  \
        v[c] += v[d];                                                                                                    \
        v[b] = rotate(v[b] ^ v[c], 63);                                                                                  \
    } while (0)
#define SHIFTED(x, n) ((x) >> (n) | (x) << (64 - (n)))

/* The two hash functions differ in the width of their vectors and in the transposition of a block's words. The compiler lowers
 * vectors before it inlines, so that code shared as a function would be scalar: it is shared as text. */
#define COMPRESS_AND_HASH(set, target_set, lanes)                                                                        \
    __attribute__((target(target_set))) static void compress_##set(vector_##set *h, const vector_##set *m, uint64_t at,  \
                                                                   uint64_t last)                                        \
    {                                                                                                                    \
        vector_##set v[16];                                                                                              \
                                                                                                                         \
        for (size_t i = 0; i < 8; i++) {                                                                                 \
            v[i] = h[i];                                                                                                 \
            v[8 + i] = (vector_##set){ 0 } + iv[i];                                                                      \
        }                                                                                                                \
        v[12] ^= at;                                                                                                     \
        v[14] ^= last;                                                                                                   \
        _Pragma("GCC unroll 12") for (size_t r = 0; r < ROUNDS; r++)                                                     \
        {                                                                                                                \
            const uint8_t *s = sigma[r];                                                                                 \
                                                                                                                         \
            MIX(rotate_##set, 0, 4, 8, 12, m[s[0]], m[s[1]]);                                                                          \
            MIX(rotate_##set, 1, 5, 9, 13, m[s[2]], m[s[3]]);                                                                          \
            MIX(rotate_##set, 2, 6, 10, 14, m[s[4]], m[s[5]]);                                                                         \
            MIX(rotate_##set, 3, 7, 11, 15, m[s[6]], m[s[7]]);                                                                         \
            MIX(rotate_##set, 0, 5, 10, 15, m[s[8]], m[s[9]]);                                                                         \
            MIX(rotate_##set, 1, 6, 11, 12, m[s[10]], m[s[11]]);                                                                       \
            MIX(rotate_##set, 2, 7, 8, 13, m[s[12]], m[s[13]]);                                                                        \
            MIX(rotate_##set, 3, 4, 9, 14, m[s[14]], m[s[15]]);                                                                        \
        }                                                                                                                \
        for (size_t i = 0; i < 8; i++)                                                                                   \
            h[i] ^= v[i] ^ v[8 + i];                                                                                     \
    }                                                                                                                    \
                                                                                                                         \
    __attribute__((target(target_set))) static void hash_##set(const uint8_t *const *data, size_t size,                  \
                                                               struct rlhf_digest *out)                                  \
    {                                                                                                                    \
        uint8_t ends[lanes][BLOCK] = { 0 };                                                                              \
        const uint8_t *end[lanes];                                                                                       \
        vector_##set h[8], m[WORDS];                                                                                     \
        size_t at = 0;                                                                                                   \
                                                                                                                         \
        for (size_t i = 0; i < 8; i++)                                                                                   \
            h[i] = (vector_##set){ 0 } + (i ? iv[i] : iv[i] ^ parameters);                                               \
        for (; size - at > BLOCK; at += BLOCK) {                                                                         \
            load_##set(m, data, at);                                                                                     \
            compress_##set(h, m, at + BLOCK, 0);                                                                         \
        }                                                                                                                \
        for (size_t l = 0; l < lanes; l++) {                                                                             \
            if (size > at)                                                                                               \
                memcpy(ends[l], data[l] + at, size - at);                                                                \
            end[l] = ends[l];                                                                                            \
        }                                                                                                                \
        load_##set(m, end, 0);                                                                                           \
        compress_##set(h, m, size, UINT64_MAX);                                                                          \
        for (size_t l = 0; l < lanes; l++)                                                                               \
            for (size_t i = 0; i < RLHF_DIGEST_SIZE / 8; i++)                                                            \
                memcpy(out[l].bytes + 8 * i, (const uint64_t *)&h[i] + l, 8);                                            \
    }

/* m[i] holds word i of the block at `at` of every message. Words are little-endian, as this processor's are. */

typedef uint64_t vector_avx2 __attribute__((vector_size(32), may_alias));

__attribute__((target("avx2"))) static inline void load_avx2(vector_avx2 *m, const uint8_t *const *data, size_t at)
{
    for (size_t i = 0; i < WORDS; i += 4) {
        vector_avx2 row[4], pair[4];

        for (size_t l = 0; l < 4; l++)
            memcpy(&row[l], data[l] + at + 8 * i, sizeof row[l]);
        for (size_t l = 0; l < 4; l += 2) {
            pair[l] = __builtin_shufflevector(row[l], row[l + 1], 0, 4, 2, 6);
            pair[l + 1] = __builtin_shufflevector(row[l], row[l + 1], 1, 5, 3, 7);
        }
        for (size_t k = 0; k < 2; k++) {
            m[i + k] = __builtin_shufflevector(pair[k], pair[2 + k], 0, 1, 4, 5);
            m[i + 2 + k] = __builtin_shufflevector(pair[k], pair[2 + k], 2, 3, 6, 7);
        }
    }
}

/* This set has no rotation: by whole bytes a shuffle does it. */
typedef uint8_t bytes_avx2 __attribute__((vector_size(32), may_alias));
#define BY_BYTES(x, a, b, c, d, e, f, g, h)                                                                              \
    (vector_avx2) __builtin_shufflevector((bytes_avx2)(x), (bytes_avx2)(x), a, b, c, d, e, f, g, h, 8 + a, 8 + b, 8 + c, \
                                          8 + d, 8 + e, 8 + f, 8 + g, 8 + h, 16 + a, 16 + b, 16 + c, 16 + d, 16 + e,     \
                                          16 + f, 16 + g, 16 + h, 24 + a, 24 + b, 24 + c, 24 + d, 24 + e, 24 + f,        \
                                          24 + g, 24 + h)

__attribute__((target("avx2"))) static inline vector_avx2 rotate_avx2(vector_avx2 x, unsigned n)
{
    switch (n) {
    case 32:
        return BY_BYTES(x, 4, 5, 6, 7, 0, 1, 2, 3);
    case 24:
        return BY_BYTES(x, 3, 4, 5, 6, 7, 0, 1, 2);
    case 16:
        return BY_BYTES(x, 2, 3, 4, 5, 6, 7, 0, 1);
    default:
        return SHIFTED(x, n);
    }
}

COMPRESS_AND_HASH(avx2, "avx2", 4)

static bool works_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

typedef uint64_t vector_avx512 __attribute__((vector_size(64), may_alias));

__attribute__((target("avx512f"))) static inline void load_avx512(vector_avx512 *m, const uint8_t *const *data, size_t at)
{
    for (size_t i = 0; i < WORDS; i += 8) {
        vector_avx512 row[8], pair[8], four[8];

        for (size_t l = 0; l < 8; l++)
            memcpy(&row[l], data[l] + at + 8 * i, sizeof row[l]);
        for (size_t l = 0; l < 8; l += 2) {
            pair[l] = __builtin_shufflevector(row[l], row[l + 1], 0, 8, 2, 10, 4, 12, 6, 14);
            pair[l + 1] = __builtin_shufflevector(row[l], row[l + 1], 1, 9, 3, 11, 5, 13, 7, 15);
        }
        for (size_t l = 0; l < 8; l += 4)
            for (size_t k = 0; k < 2; k++) {
                four[l + k] = __builtin_shufflevector(pair[l + k], pair[l + 2 + k], 0, 1, 8, 9, 4, 5, 12, 13);
                four[l + 2 + k] = __builtin_shufflevector(pair[l + k], pair[l + 2 + k], 2, 3, 10, 11, 6, 7, 14, 15);
            }
        for (size_t k = 0; k < 4; k++) {
            m[i + k] = __builtin_shufflevector(four[k], four[4 + k], 0, 1, 2, 3, 8, 9, 10, 11);
            m[i + 4 + k] = __builtin_shufflevector(four[k], four[4 + k], 4, 5, 6, 7, 12, 13, 14, 15);
        }
    }
}

__attribute__((target("avx512f"))) static inline vector_avx512 rotate_avx512(vector_avx512 x, unsigned n)
{
    return SHIFTED(x, n);
}

COMPRESS_AND_HASH(avx512, "avx512f", 8)

static bool works_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}

#endif

const struct rlhf_hash_lanes rlhf_hash_lanes[] = {
#ifdef __x86_64__
    { "avx512", 8, works_avx512, hash_avx512 },
    { "avx2", 4, works_avx2, hash_avx2 },
#endif
    { 0 },
};
