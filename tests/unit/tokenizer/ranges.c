/* Where tokens stand in the text, through normalisation, splitting and added tokens. */
#include <string.h>

#include "support/suite.h"
#include "tokenizer/tokenizer.h"

static const char metaspace[] =
    "{\"added_tokens\":[{\"id\":6,\"content\":\"<t>\",\"special\":true,\"normalized\":false,\"rstrip\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}]},"
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\"},\"post_processor\":null,"
    "\"decoder\":null,\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,"
    "\"vocab\":{\"?\":0,\"\xe2\x96\x81\":1,\"f\":2,\"i\":3,\"fi\":4,\"\xe2\x96\x81\x66i\":5},\"merges\":[\"f i\",\"\xe2\x96\x81 fi\"]}}";

static void check(const char *json, const char *text, size_t count, const size_t (*expected)[3])
{
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t = rlhf_tokenizer_parse(json, strlen(json), NULL, 0, "test", &err);
    struct rlhf_token_ranges ranges = { 0 };
    struct rlhf_tokens ids = { 0 };

    expect_some(t, err);
    expect_ok(rlhf_tokenizer_encode_ranges(t, text, strlen(text), &ids, &ranges, &err), err);
    ck_assert_uint_eq(ids.size, count);
    ck_assert_uint_eq(ranges.size, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(ids.data[i], (int)expected[i][0]);
        ck_assert_msg(ranges.at[i].start == expected[i][1] && ranges.at[i].end == expected[i][2],
                      "token %zu stands at %zu to %zu", i, ranges.at[i].start, ranges.at[i].end);
    }
    rlhf_token_ranges_free(&ranges);
    rlhf_tokens_free(&ids);
    rlhf_tokenizer_free(t);
}

START_TEST(ranges_are_those_of_the_given_text)
{
    /* A ligature of three bytes becomes two letters, three spaces one, and a mark is put in front. */
    static const size_t expected[][3] = { { 5, 0, 3 }, { 5, 5, 8 }, { 0, 8, 10 }, { 6, 10, 15 }, { 5, 15, 17 } };

    check(metaspace, "\xef\xac\x81   fiXY<t>  fi", 5, expected);
}
END_TEST

START_TEST(the_parts_of_a_character_stand_for_all_of_it)
{
    static const char bytes[] = "{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                                "\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xc3\x83\":1,\"\xc2\xa9\":2},\"merges\":[]}}";
    static const size_t expected[][3] = { { 0, 0, 1 }, { 1, 1, 3 }, { 2, 1, 3 }, { 0, 3, 4 } };

    check(bytes, "a\xc3\xa9\x61", 4, expected);
}
END_TEST

int main(void)
{
    return RUN_SUITE("tokenizer/ranges", ranges_are_those_of_the_given_text, the_parts_of_a_character_stand_for_all_of_it);
}
