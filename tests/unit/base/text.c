#include "base/text.h"

#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "support/suite.h"

START_TEST(well_formed_utf8_passes)
{
    static const char *const good[] = { "", "plain", "é", "\u0800", "\xed\x9f\xbf", "\ue000", "日本", "\U00010000",
                                        "\U0010ffff", "a\u0300" };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(rlhf_utf8_valid(good[i], strlen(good[i])), "%zu", i);
    ck_assert(rlhf_utf8_valid("a\0b", 3));
    ck_assert(rlhf_utf8_valid(NULL, 0));
}
END_TEST

START_TEST(ill_formed_utf8_is_refused)
{
    static const char *const bad[] = {
        "\x80",             /* a tail without a lead  */
        "\xc3",             /* cut short              */
        "\xe2\x82",         /* cut short              */
        "\xf0\x9f\x98",     /* cut short              */
        "\xc0\xaf",         /* overlong /             */
        "\xc1\xbf",         /* overlong               */
        "\xe0\x9f\xbf",     /* overlong               */
        "\xf0\x8f\xbf\xbf", /* overlong               */
        "\xed\xa0\x80",     /* surrogate              */
        "\xed\xbf\xbf",     /* surrogate              */
        "\xf4\x90\x80\x80", /* above U+10FFFF         */
        "\xf5\x80\x80\x80", "\xff", "ok\xfe", "\xc3(", "\xe2(\xa1", "\xe2\x82(", "\xf0\x9f\x98(",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!rlhf_utf8_valid(bad[i], strlen(bad[i])), "%zu", i);
}
END_TEST

/* Encodes every code point; exactly the scalar values are valid. */
START_TEST(all_scalar_values_and_no_others_are_valid)
{
    for (uint32_t c = 0x80; c < 0x200000; c++) {
        char s[4];
        size_t n;

        if (c < 0x800) {
            s[0] = (char)(0xc0 | c >> 6);
            n = 2;
        } else if (c < 0x10000) {
            s[0] = (char)(0xe0 | c >> 12);
            n = 3;
        } else {
            s[0] = (char)(0xf0 | c >> 18);
            n = 4;
        }
        for (size_t i = 1; i < n; i++)
            s[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
        if (rlhf_utf8_valid(s, n) != (c < 0x110000 && (c < 0xd800 || c > 0xdfff)))
            ck_abort_msg("U+%04X", c);
    }
}
END_TEST

START_TEST(characters_are_read_one_by_one)
{
    const char *text = "a\u00e9\u20ac\U0001f600";
    const uint32_t expected[] = { 'a', 0xe9, 0x20ac, 0x1f600 };

    for (size_t i = 0, n; i < 4; i++, text += n) {
        ck_assert_uint_eq(rlhf_char(text, &n), expected[i]);
        ck_assert_uint_eq(n, i + 1);
        ck_assert_uint_eq(rlhf_char_size(text), n);
    }
}
END_TEST

/* sum(chr(c).isspace() for c in range(0x110000)) in Python 3.11 */
START_TEST(white_space_is_pythons)
{
    size_t count = 0;

    for (uint32_t c = 0; c < 0x110000; c++)
        count += rlhf_is_space(c);
    ck_assert_uint_eq(count, 29);
    ck_assert(rlhf_is_space(0x1c) && rlhf_is_space(0xa0) && !rlhf_is_space(0x200b));
}
END_TEST

START_TEST(prefixes_and_suffixes_are_seen)
{
    ck_assert(rlhf_starts_with("tcp://x", "tcp://"));
    ck_assert(!rlhf_starts_with("tcp", "tcp://"));
    ck_assert(rlhf_ends_with("a.yaml", ".yaml"));
    ck_assert(!rlhf_ends_with("yaml", "a.yaml"));
    ck_assert(rlhf_ends_with("x", ""));
}
END_TEST

START_TEST(edit_distance_counts_slips)
{
    ck_assert_uint_eq(rlhf_edit_distance("", "abc"), 3);
    ck_assert_uint_eq(rlhf_edit_distance("kitten", "sitting"), 3);
    ck_assert_uint_eq(rlhf_edit_distance("learning_rat", "learning_rate"), 1);
    ck_assert_uint_eq(rlhf_edit_distance("saem", "same"), 1);
    ck_assert_uint_eq(rlhf_edit_distance("same", "same"), 0);
    ck_assert_uint_eq(
        rlhf_edit_distance("0123456789012345678901234567890123456789012345678901234567890123", "a"), SIZE_MAX);
}
END_TEST

START_TEST(a_slip_finds_the_word_that_was_meant)
{
    static const char *const names[] = { "learning_rate", "batch", "steps", "seed", NULL };

    ck_assert_str_eq(rlhf_did_you_mean("learning_rat", names), "learning_rate");
    ck_assert_str_eq(rlhf_did_you_mean("stesp", names), "steps");
    ck_assert_str_eq(rlhf_did_you_mean("sed", names), "seed");
    ck_assert_ptr_null(rlhf_did_you_mean("zebra", names));
    ck_assert_ptr_null(rlhf_did_you_mean("", names));
}
END_TEST

START_TEST(errors_keep_their_code_under_prefixes_and_never_overflow)
{
    struct rlhf_error err = { 0 };
    char longer[900];

    ck_assert_int_eq(rlhf_fail(&err, RLHF_FULL, "no room for %d", 7), -1);
    ck_assert_int_eq(rlhf_fail_prefix(&err, "stage %d", 2), -1);
    ck_assert_str_eq(err.text, "stage 2: no room for 7");
    expect_code(err, RLHF_FULL);
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    rlhf_fail_prefix(&err, "%s", longer);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    ck_assert_int_eq(rlhf_fail(NULL, RLHF_FULL, "x"), -1);
    ck_assert_str_eq(rlhf_code_name(RLHF_CORRUPT), "CORRUPT");
    ck_assert_str_eq(rlhf_code_name((enum rlhf_code)99), "UNKNOWN");
}
END_TEST

int main(void)
{
    return RUN_SUITE("base/text", well_formed_utf8_passes, ill_formed_utf8_is_refused,
                     all_scalar_values_and_no_others_are_valid, characters_are_read_one_by_one, white_space_is_pythons,
                     prefixes_and_suffixes_are_seen,
                     edit_distance_counts_slips, a_slip_finds_the_word_that_was_meant,
                     errors_keep_their_code_under_prefixes_and_never_overflow);
}
