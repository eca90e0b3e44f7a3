/* Where a stop string ends a completion. */
#include "tokenizer/stop.h"

#include <string.h>

#include "support/suite.h"

static struct rlhf_tokenizer *t;

/* Letters, "he", "llo", and <end>. */
static void setup(void)
{
    static const char json[] =
        "{\"added_tokens\": [{\"id\": 8, \"content\": \"<end>\", \"special\": true}],"
        " \"decoder\": {\"type\": \"ByteLevel\"},"
        " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true},"
        " \"model\": {\"type\": \"BPE\", \"vocab\": {\"h\": 0, \"e\": 1, \"l\": 2, \"o\": 3, \"he\": 4, \"ll\": 5, \"llo\": 6,"
        " \"\xc4\xa0\": 7}, \"merges\": [[\"h\", \"e\"], [\"l\", \"l\"], [\"ll\", \"o\"]]}}";
    struct rlhf_error err = { 0 };

    expect_some(t = rlhf_tokenizer_parse(json, strlen(json), NULL, 0, "test", &err), err);
}

/* How many of the tokens are taken until one of the strings is reached; 0: never. */
static size_t until(const int32_t *ids, size_t count, const char *a, const char *b)
{
    const char *strings[] = { a, b };
    struct rlhf_error err = { 0 };
    bool reached = false;

    for (size_t n = 1; n <= count; n++) {
        expect_ok(rlhf_stop_reached(t, ids, n, strings, b ? 2 : 1, &reached, &err), err);
        if (reached)
            return n;
    }
    return 0;
}

START_TEST(it_ends_within_the_last_token)
{
    static const int32_t ids[] = { 4, 6, 7, 4, 6, 8, 0 }; /* he llo _ he llo <end> h */

    ck_assert_uint_eq(until(ids, 7, "hello", NULL), 2);
    ck_assert_uint_eq(until(ids, 7, "l", NULL), 2);
    ck_assert_uint_eq(until(ids, 7, "e", NULL), 1);
    ck_assert_uint_eq(until(ids, 7, "o h", NULL), 4);
    ck_assert_uint_eq(until(ids, 7, "o hell", NULL), 5);
    ck_assert_uint_eq(until(ids, 7, "x", "o "), 3);
    ck_assert_uint_eq(until(ids, 7, "nd", NULL), 6);
    ck_assert_uint_eq(until(ids, 7, "o<end>h", NULL), 7);
    ck_assert_uint_eq(until(ids, 7, "hellohello", "ee"), 0);
}
END_TEST

START_TEST(what_stood_before_does_not_end_it_again)
{
    static const int32_t ids[] = { 4, 6, 0 };
    const char *strings[] = { "hello" };
    struct rlhf_error err = { 0 };
    bool reached = true;

    expect_ok(rlhf_stop_reached(t, ids, 3, strings, 1, &reached, &err), err);
    ck_assert(!reached);
    expect_ok(rlhf_stop_reached(t, ids, 0, strings, 1, &reached, &err), err);
    ck_assert(!reached);
}
END_TEST

START_TEST(only_the_end_of_a_long_text_is_looked_at)
{
    int32_t ids[3000];

    for (int i = 0; i < 3000; i++)
        ids[i] = i % 2 ? 3 : 2;
    ids[2998] = 0;
    ids[2999] = 1;
    ck_assert_uint_eq(until(ids, 3000, "lohe", NULL), 3000);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(setup, "tokenizer/stop", it_ends_within_the_last_token, what_stood_before_does_not_end_it_again,
                     only_the_end_of_a_long_text_is_looked_at);
}
