/* Philox against the known-answer vectors of Random123 (kat_vectors, philox4x32 10), and the streams on top of it. */
#include "base/random.h"

#include <math.h>

#include "support/suite.h"

START_TEST(philox_matches_the_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    uint32_t out[4];

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        rlhf_philox(known[i].counter, known[i].key, out);
        for (int k = 0; k < 4; k++)
            ck_assert_uint_eq(out[k], known[i].out[k]);
    }
}
END_TEST

START_TEST(a_draw_is_the_first_word_of_its_block)
{
    /* The zero block's first word, 0x6627e8d5, cannot be had (no purpose is 0), so the block is computed. */
    const uint32_t counter[4] = { 7, 3, 5, RLHF_PURPOSE_SAMPLE }, key[2] = { 0x89abcdef, 0x01234567 };
    uint32_t out[4];

    rlhf_philox(counter, key, out);
    ck_assert(rlhf_draw(0x0123456789abcdefu, RLHF_PURPOSE_SAMPLE, 3, 5, 7) == (float)(out[0] >> 8) / 16777216.0f);
}
END_TEST

START_TEST(draws_are_below_one_and_uniform)
{
    enum { DRAWS = 100000, BINS = 20 };
    unsigned bins[BINS] = { 0 };
    double chi2 = 0;

    for (uint32_t i = 0; i < DRAWS; i++) {
        float u = rlhf_draw(42, RLHF_PURPOSE_SAMPLE, i % 100, i / 100 % 10, i / 1000);

        ck_assert(u >= 0 && u < 1);
        bins[(int)(u * BINS)]++;
    }
    for (int i = 0; i < BINS; i++)
        chi2 += pow(bins[i] - (double)DRAWS / BINS, 2) / ((double)DRAWS / BINS);
    ck_assert(chi2 < 43.8); /* 19 degrees of freedom, p = 0.001 */
}
END_TEST

START_TEST(a_stream_repeats_and_shares_nothing_with_its_neighbours)
{
    struct rlhf_random a, b, c;
    int same = 0;

    rlhf_random_init(&a, 1, RLHF_PURPOSE_SHUFFLE, 2, 3);
    rlhf_random_init(&b, 1, RLHF_PURPOSE_SHUFFLE, 2, 3);
    rlhf_random_init(&c, 1, RLHF_PURPOSE_SHUFFLE, 3, 2);
    for (int i = 0; i < 1000; i++) {
        uint32_t x = rlhf_random_u32(&a);

        ck_assert_uint_eq(x, rlhf_random_u32(&b));
        same += x == rlhf_random_u32(&c);
    }
    ck_assert_int_eq(same, 0);
}
END_TEST

START_TEST(a_stream_goes_on_past_its_32_bit_counter)
{
    struct rlhf_random r;
    uint32_t first, wrapped;

    rlhf_random_init(&r, 1, RLHF_PURPOSE_SHUFFLE, 0, 0);
    first = rlhf_random_u32(&r);
    r.counter[0] = UINT32_MAX;
    r.used = 4;
    for (int i = 0; i < 4; i++)
        rlhf_random_u32(&r); /* the last block before the wrap */
    wrapped = rlhf_random_u32(&r);
    ck_assert_uint_ne(first, wrapped);
}
END_TEST

START_TEST(below_is_unbiased_and_in_range)
{
    static const uint32_t limits[] = { 1, 2, 3, 7, 0x80000001u, UINT32_MAX };
    struct rlhf_random r;
    unsigned upper = 0;

    rlhf_random_init(&r, 9, RLHF_PURPOSE_FAULT, 0, 0);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        for (int k = 0; k < 1000; k++)
            ck_assert_uint_lt(rlhf_random_below(&r, limits[i]), limits[i]);
    /* With n just above 2^31, a plain modulus would give the upper half half the time of the lower. */
    for (int k = 0; k < 10000; k++)
        upper += rlhf_random_below(&r, 0x80000001u) >= 0x40000000u;
    ck_assert_uint_gt(upper, 4700);
    ck_assert_uint_lt(upper, 5300);
}
END_TEST

START_TEST(normals_have_mean_zero_and_variance_one)
{
    enum { DRAWS = 100000 };
    struct rlhf_random r;
    double sum = 0, square = 0, fourth = 0;

    rlhf_random_init(&r, 5, RLHF_PURPOSE_INIT, 0, 0);
    for (int i = 0; i < DRAWS; i++) {
        double x = rlhf_random_normal(&r);

        ck_assert(isfinite(x));
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
    }
    ck_assert(fabs(sum / DRAWS) < 0.015);
    ck_assert(fabs(square / DRAWS - 1) < 0.02);
    ck_assert(fabs(fourth / DRAWS - 3) < 0.15);
}
END_TEST

START_TEST(shuffle_is_a_permutation_and_every_order_comes_up)
{
    unsigned seen[27] = { 0 }, orders = 0;
    struct rlhf_random r;

    rlhf_random_init(&r, 5, RLHF_PURPOSE_SHUFFLE, 0, 0);
    for (int i = 0; i < 6000; i++) {
        uint32_t items[3] = { 0, 1, 2 };

        rlhf_random_shuffle(&r, items, 3);
        ck_assert_uint_eq(1u << items[0] | 1u << items[1] | 1u << items[2], 7);
        seen[items[0] * 9 + items[1] * 3 + items[2]]++;
    }
    for (int i = 0; i < 27; i++)
        if (seen[i]) {
            ck_assert_uint_gt(seen[i], 850);
            ck_assert_uint_lt(seen[i], 1150);
            orders++;
        }
    ck_assert_uint_eq(orders, 6);
    rlhf_random_shuffle(&r, NULL, 0);
}
END_TEST

int main(void)
{
    return RUN_SUITE("base/random", philox_matches_the_known_answers,
                     a_draw_is_the_first_word_of_its_block,
                     draws_are_below_one_and_uniform,
                     a_stream_repeats_and_shares_nothing_with_its_neighbours,
                     a_stream_goes_on_past_its_32_bit_counter,
                     below_is_unbiased_and_in_range,
                     normals_have_mean_zero_and_variance_one,
                     shuffle_is_a_permutation_and_every_order_comes_up);
}
