#include "base/hash.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash_lanes.h"

/* sodium_init() picks the implementation for this processor. */
static void init_sodium(void)
{
    RLHF_ASSERT(sodium_init() >= 0);
}

static void ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, init_sodium);
}

struct rlhf_digest rlhf_digest_of(const void *data, size_t size)
{
    struct rlhf_digest d;

    ready();
    crypto_generichash(d.bytes, sizeof d.bytes, data, size, NULL, 0);
    return d;
}

enum {
    MAX_LANES = 8,
    WORTH_LANES = 3, /* all lanes take as long as about two messages of libsodium's (AVX-512: 2.6 against 0.7 GB/s) */
};

static const struct rlhf_hash_lanes *lanes_here(void)
{
    const struct rlhf_hash_lanes *lanes = rlhf_hash_lanes;

    while (lanes->width && !lanes->works())
        lanes++;
    return lanes;
}

void rlhf_digests_of(const uint8_t *const *data, size_t size, size_t count, struct rlhf_digest *out)
{
    const struct rlhf_hash_lanes *lanes = lanes_here();

    while (lanes->width && count >= WORTH_LANES) {
        size_t some = count < lanes->width ? count : lanes->width;
        const uint8_t *lane[MAX_LANES];
        struct rlhf_digest got[MAX_LANES];

        for (size_t i = 0; i < lanes->width; i++)
            lane[i] = data[i < some ? i : 0];
        lanes->hash(lane, size, got);
        memcpy(out, got, some * sizeof *out);
        data += some;
        out += some;
        count -= some;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = rlhf_digest_of(data[i], size);
}

bool rlhf_digest_equal(const struct rlhf_digest *a, const struct rlhf_digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool rlhf_digest_is_zero(const struct rlhf_digest *d)
{
    static const struct rlhf_digest zero;

    return rlhf_digest_equal(d, &zero);
}

void rlhf_digest_text(const struct rlhf_digest *d, char text[RLHF_DIGEST_TEXT])
{
    sodium_bin2hex(text, RLHF_DIGEST_TEXT, d->bytes, sizeof d->bytes);
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool rlhf_digest_parse(struct rlhf_digest *d, const char *text)
{
    struct rlhf_digest parsed;

    if (strnlen(text, RLHF_DIGEST_TEXT) != RLHF_DIGEST_TEXT - 1)
        return false;
    for (size_t i = 0; i < RLHF_DIGEST_SIZE; i++) {
        int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *d = parsed;
    return true;
}

struct rlhf_hasher {
    crypto_generichash_state state;
};

struct rlhf_hasher *rlhf_hasher_new(void)
{
    struct rlhf_hasher *h = aligned_alloc(_Alignof(struct rlhf_hasher), sizeof *h);

    if (h) {
        ready();
        crypto_generichash_init(&h->state, NULL, 0, RLHF_DIGEST_SIZE);
    }
    return h;
}

void rlhf_hasher_add(struct rlhf_hasher *h, const void *data, size_t size)
{
    crypto_generichash_update(&h->state, data, size);
}

struct rlhf_digest rlhf_hasher_end(struct rlhf_hasher *h)
{
    struct rlhf_digest d;

    crypto_generichash_final(&h->state, d.bytes, sizeof d.bytes);
    free(h);
    return d;
}

/* CRC-32C (Castagnoli), reflected polynomial 0x82F63B78, as in RFC 3720 appendix B.4. */
static uint32_t table[256];

static void fill_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        table[i] = crc;
    }
}

uint32_t rlhf_crc32c_plain(uint32_t crc, const void *data, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *bytes = data;

    pthread_once(&once, fill_table);
    crc = ~crc;
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
    return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *bytes, size_t size)
{
    uint64_t wide = ~crc;

    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;

        memcpy(&word, bytes, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size > 0; bytes++, size--)
        crc = __builtin_ia32_crc32qi(crc, *bytes);
    return ~crc;
}
#endif

uint32_t rlhf_crc32c(uint32_t crc, const void *data, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, data, size);
#endif
    return rlhf_crc32c_plain(crc, data, size);
}
