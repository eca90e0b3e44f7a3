#include "base/hash.h"

#include <stdio.h>
#include <string.h>

#include "base/hash_lanes.h"

#include "support/suite.h"

START_TEST(digests_are_blake2b_256)
{
    /* hashlib.blake2b(b"abc", digest_size=32), and of nothing. */
    static const char *const abc = "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319";
    static const char *const empty = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8";
    struct rlhf_digest d = rlhf_digest_of("abc", 3);
    char text[RLHF_DIGEST_TEXT];

    rlhf_digest_text(&d, text);
    ck_assert_str_eq(text, abc);
    d = rlhf_digest_of("", 0);
    rlhf_digest_text(&d, text);
    ck_assert_str_eq(text, empty);
}
END_TEST

START_TEST(a_digest_in_pieces_is_the_same)
{
    char data[1000];
    struct rlhf_digest whole, pieces;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    whole = rlhf_digest_of(data, sizeof data);
    for (size_t piece = 1; piece < 300; piece += 37) {
        struct rlhf_hasher *h = rlhf_hasher_new();

        for (size_t at = 0; at < sizeof data; at += piece)
            rlhf_hasher_add(h, data + at, at + piece < sizeof data ? piece : sizeof data - at);
        pieces = rlhf_hasher_end(h);
        ck_assert(rlhf_digest_equal(&whole, &pieces));
    }
    data[999] ^= 1;
    pieces = rlhf_digest_of(data, sizeof data);
    ck_assert(!rlhf_digest_equal(&whole, &pieces));
}
END_TEST

static const size_t sizes[] = { 0, 1, 7, 127, 128, 129, 255, 256, 257, 1000, 4099 };
static uint8_t messages[17][4099];

static void fill_messages(void)
{
    for (size_t i = 0; i < sizeof messages; i++)
        ((uint8_t *)messages)[i] = (uint8_t)(i * 2654435761u >> 13);
}

START_TEST(lanes_give_the_digests_that_libsodium_gives)
{
    fill_messages();
    for (const struct rlhf_hash_lanes *lanes = rlhf_hash_lanes; lanes->width; lanes++) {
        if (!lanes->works()) {
            printf("this processor has no %s\n", lanes->name);
            continue;
        }
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const uint8_t *data[8];
            struct rlhf_digest got[8], want;

            for (size_t l = 0; l < lanes->width; l++)
                data[l] = messages[2 * l] + l; /* aligned and not */
            lanes->hash(data, sizes[s], got);
            for (size_t l = 0; l < lanes->width; l++) {
                want = rlhf_digest_of(data[l], sizes[s]);
                ck_assert_msg(rlhf_digest_equal(&got[l], &want), "%s, lane %zu, size %zu", lanes->name, l, sizes[s]);
            }
        }
    }
}
END_TEST

START_TEST(any_number_of_messages_is_hashed_together)
{
    const uint8_t *data[17];
    struct rlhf_digest got[18], want;

    fill_messages();
    for (size_t i = 0; i < 17; i++)
        data[i] = messages[i];
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t count = 0; count <= 17; count++) {
            memset(got, 0, sizeof got);
            rlhf_digests_of(data, sizes[s], count, got);
            for (size_t i = 0; i < count; i++) {
                want = rlhf_digest_of(data[i], sizes[s]);
                ck_assert_msg(rlhf_digest_equal(&got[i], &want), "message %zu of %zu, size %zu", i, count, sizes[s]);
            }
            ck_assert(rlhf_digest_is_zero(&got[count]));
        }
}
END_TEST

START_TEST(digests_are_read_back_and_nothing_else_is)
{
    struct rlhf_digest d = rlhf_digest_of("x", 1), back = { 0 };
    char text[RLHF_DIGEST_TEXT + 1] = { 0 };

    ck_assert(rlhf_digest_is_zero(&back));
    rlhf_digest_text(&d, text);
    ck_assert(rlhf_digest_parse(&back, text));
    ck_assert(rlhf_digest_equal(&d, &back));
    ck_assert(!rlhf_digest_is_zero(&back));
    text[64] = '0';
    ck_assert(!rlhf_digest_parse(&back, text)); /* too long */
    text[63] = '\0';
    ck_assert(!rlhf_digest_parse(&back, text)); /* too short */
    memset(text, 'A', 64);
    text[64] = '\0';
    ck_assert(!rlhf_digest_parse(&back, text)); /* one spelling only */
    ck_assert(!rlhf_digest_parse(&back, ""));
    ck_assert(rlhf_digest_equal(&d, &back));
}
END_TEST

START_TEST(crc32c_matches_the_known_answers)
{
    /* RFC 3720, B.4, and the check value of the catalogue. */
    uint8_t data[32];

    ck_assert_uint_eq(rlhf_crc32c(0, "123456789", 9), 0xe3069283);
    memset(data, 0, sizeof data);
    ck_assert_uint_eq(rlhf_crc32c(0, data, sizeof data), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    ck_assert_uint_eq(rlhf_crc32c(0, data, sizeof data), 0x62a8ab43);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    ck_assert_uint_eq(rlhf_crc32c(0, data, sizeof data), 0x46dd794e);
}
END_TEST

START_TEST(the_fast_crc_equals_its_plain_twin)
{
    uint8_t data[200];

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i + 3);
    for (size_t from = 0; from < 9; from++)
        for (size_t size = 0; size + from <= sizeof data; size++)
            ck_assert_uint_eq(rlhf_crc32c(0, data + from, size), rlhf_crc32c_plain(0, data + from, size));
    ck_assert_uint_eq(rlhf_crc32c(rlhf_crc32c(0, data, 77), data + 77, 123), rlhf_crc32c_plain(0, data, 200));
}
END_TEST

int main(void)
{
    return RUN_SUITE("base/hash", digests_are_blake2b_256, a_digest_in_pieces_is_the_same,
                     lanes_give_the_digests_that_libsodium_gives, any_number_of_messages_is_hashed_together,
                     digests_are_read_back_and_nothing_else_is, crc32c_matches_the_known_answers,
                     the_fast_crc_equals_its_plain_twin);
}
