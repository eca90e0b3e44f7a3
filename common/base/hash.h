/* hash.h - BLAKE2b-256 (libsodium) names content; CRC-32C guards journal records. */
#ifndef RLHF_BASE_HASH_H
#define RLHF_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RLHF_DIGEST_SIZE = 32, RLHF_DIGEST_TEXT = 2 * RLHF_DIGEST_SIZE + 1 };
struct rlhf_digest {
    uint8_t bytes[RLHF_DIGEST_SIZE];
};

struct rlhf_digest rlhf_digest_of(const void *data, size_t size);
/* Of count messages of `size` bytes each; several at a time in vector registers, where there are 3 or more. */
void rlhf_digests_of(const uint8_t *const *data, size_t size, size_t count, struct rlhf_digest *out);
bool rlhf_digest_equal(const struct rlhf_digest *a, const struct rlhf_digest *b);
bool rlhf_digest_is_zero(const struct rlhf_digest *d);
void rlhf_digest_text(const struct rlhf_digest *d, char text[RLHF_DIGEST_TEXT]); /* lower-case hex */
bool rlhf_digest_parse(struct rlhf_digest *d, const char *text);

/* The same in pieces. */
struct rlhf_hasher;
struct rlhf_hasher *rlhf_hasher_new(void); /* NULL when out of memory */
void rlhf_hasher_add(struct rlhf_hasher *h, const void *data, size_t size);
struct rlhf_digest rlhf_hasher_end(struct rlhf_hasher *h); /* frees h */

uint32_t rlhf_crc32c(uint32_t crc, const void *data, size_t size); /* start with 0 */
uint32_t rlhf_crc32c_plain(uint32_t crc, const void *data, size_t size); /* its plain twin */

#endif
