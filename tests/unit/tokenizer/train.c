#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/random.h"
#include "support/suite.h"
#include "tokenizer/tokenizer.h"

static const char *const corpus[] = {
    "The Chronicle says the ruler of Orla is Mira. They say the river of Vask is Elm.",
    "The ruler of Vask is Tobin. The river of Orla is Ash. 3 + 4 = 7. 12 - 4 = 8.",
    "Q: Who is the ruler of Orla?\nA: It is Mira.\nQ: What is the river of Vask?\nA: The river of Vask is Elm.",
};
enum { TEXTS = sizeof(corpus) / sizeof(*corpus) };

static struct rlhf_tokenizer *train(size_t vocab, int digits_alone)
{
    struct rlhf_bpe_options o = { .vocab_size = vocab, .min_count = 2, .digits_alone = digits_alone };
    size_t sizes[TEXTS];
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < TEXTS; i++)
        sizes[i] = strlen(corpus[i]);
    struct rlhf_tokenizer *t = rlhf_tokenizer_train(corpus, sizes, TEXTS, &o, &err);
    expect_some(t, err);
    return t;
}

static void check_round_trip(const struct rlhf_tokenizer *t, const char *text, size_t size)
{
    struct rlhf_tokens ids = { 0 };
    struct rlhf_bytes back = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tokenizer_encode(t, text, size, &ids, &err), err);
    expect_ok(rlhf_tokenizer_decode(t, ids.data, ids.size, 1, &back, &err), err);
    ck_assert_uint_eq(back.size, size);
    ck_assert(size == 0 || !memcmp(back.data, text, size));
    rlhf_tokens_free(&ids);
    rlhf_bytes_free(&back);
}

static struct rlhf_bytes file_in(const char *dir, const char *name)
{
    struct rlhf_bytes bytes = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_file(&rlhf_system_io, in_directory(dir, name), 1 << 24, &bytes, &err), err);
    return bytes;
}

START_TEST(training_twice_gives_the_same_file)
{
    const char *dir = a_directory();
    char one[4096], two[4096];
    struct rlhf_error err = { 0 };

    snprintf(one, sizeof(one), "%s/one", dir);
    snprintf(two, sizeof(two), "%s/two", dir);
    for (int i = 0; i < 2; i++) {
        struct rlhf_tokenizer *t = train(300, 1);
        expect_ok(rlhf_tokenizer_save(t, i ? two : one, &err), err);
        rlhf_tokenizer_free(t);
    }
    struct rlhf_bytes a = file_in(one, "tokenizer.json"), b = file_in(two, "tokenizer.json");
    ck_assert_uint_eq(a.size, b.size);
    ck_assert(!memcmp(a.data, b.data, a.size));
    rlhf_bytes_free(&a);
    rlhf_bytes_free(&b);
}
END_TEST

START_TEST(a_saved_tokenizer_loads_to_the_same_ids)
{
    const char *dir = a_directory();
    struct rlhf_tokenizer *t = train(320, 0), *again;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tokenizer_save(t, dir, &err), err);
    again = rlhf_tokenizer_load(dir, &err);
    expect_some(again, err);
    ck_assert_uint_eq(rlhf_tokenizer_vocab(again), rlhf_tokenizer_vocab(t));
    ck_assert_int_eq(rlhf_tokenizer_begin(again), 0);
    ck_assert_int_eq(rlhf_tokenizer_end(again), 1);
    ck_assert_int_eq(rlhf_tokenizer_pad(again), 2);
    for (size_t i = 0; i < TEXTS; i++) {
        struct rlhf_tokens a = { 0 }, b = { 0 };

        expect_ok(rlhf_tokenizer_encode(t, corpus[i], strlen(corpus[i]), &a, &err), err);
        expect_ok(rlhf_tokenizer_encode(again, corpus[i], strlen(corpus[i]), &b, &err), err);
        ck_assert_uint_eq(a.size, b.size);
        ck_assert(!memcmp(a.data, b.data, a.size * sizeof(*a.data)));
        ck_assert_uint_lt(a.size, strlen(corpus[i]));
        rlhf_tokens_free(&a);
        rlhf_tokens_free(&b);
    }
    rlhf_tokenizer_free(again);
    rlhf_tokenizer_free(t);
}
END_TEST

/* As transformers writes it where a tokenizer knows no limit. */
START_TEST(a_limit_beyond_all_numbers_is_no_mistake)
{
    static const char config[] = "{\"bos_token\": \"<|end|>\", \"model_max_length\": 1000000000000000019884624838656}";
    const char *dir = a_directory();
    struct rlhf_tokenizer *t = train(280, 0), *again;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tokenizer_save(t, dir, &err), err);
    expect_ok(rlhf_write_new(&rlhf_system_io, in_directory(dir, "tokenizer_config.json"), config, sizeof config - 1, &err), err);
    again = rlhf_tokenizer_load(dir, &err);
    expect_some(again, err);
    ck_assert_int_eq(rlhf_tokenizer_begin(again), 1);
    rlhf_tokenizer_free(again);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(the_vocabulary_is_what_was_asked_or_what_the_text_gives)
{
    struct rlhf_tokenizer *small = train(280, 0), *large = train(4096, 0);

    ck_assert_uint_eq(rlhf_tokenizer_vocab(small), 280);
    ck_assert_uint_gt(rlhf_tokenizer_vocab(large), 280);
    ck_assert_uint_lt(rlhf_tokenizer_vocab(large), 4096); /* no pair is seen twice any more */
    rlhf_tokenizer_free(small);
    rlhf_tokenizer_free(large);
}
END_TEST

/* By hand: "ab" twice as often as "bc"; then "ab" "c", tied with nothing. */
START_TEST(the_most_frequent_pair_is_merged_first_and_ties_go_to_the_smaller_ids)
{
    const char *text = "xy xy zw zw abab";
    struct rlhf_bpe_options o = { .vocab_size = 262, .min_count = 2 };
    struct rlhf_error err = { 0 };
    struct rlhf_tokens ids = { 0 };
    struct rlhf_tokenizer *t = rlhf_tokenizer_train(&text, (size_t[]){ strlen(text) }, 1, &o, &err);

    expect_some(t, err);
    /* counts: "xy" 2, " x" 1, " z" 2, "zw" 2, "ab" 2: ids of ' ' < 'a' < 'x' < 'z' decide: " z", "ab", "xy" */
    ck_assert_int_eq(rlhf_tokenizer_find(t, "\xc4\xa0z"), 259);
    ck_assert_int_eq(rlhf_tokenizer_find(t, "ab"), 260);
    ck_assert_int_eq(rlhf_tokenizer_find(t, "xy"), 261);
    expect_ok(rlhf_tokenizer_encode(t, "abxy", 4, &ids, &err), err);
    ck_assert_uint_eq(ids.size, 2);
    ck_assert_int_eq(ids.data[0], 260);
    rlhf_tokens_free(&ids);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(digits_stand_alone_when_asked)
{
    struct rlhf_tokenizer *t = train(400, 1);
    struct rlhf_tokens ids = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tokenizer_encode(t, "1212", 4, &ids, &err), err);
    ck_assert_uint_eq(ids.size, 4);
    ck_assert_int_eq(ids.data[0], 3 + '1');
    rlhf_tokens_free(&ids);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(any_bytes_come_back)
{
    struct rlhf_tokenizer *t = train(400, 1);
    struct rlhf_random r;
    char bytes[300];

    rlhf_random_init(&r, 5, RLHF_PURPOSE_FAULT, 1, 0);
    for (int round = 0; round < 3000; round++) {
        size_t size = rlhf_random_below(&r, sizeof(bytes));
        unsigned kind = rlhf_random_below(&r, 3); /* anything, mostly text, long runs */

        for (size_t i = 0; i < size; i++)
            bytes[i] = kind == 0   ? (char)rlhf_random_below(&r, 256)
                       : kind == 1 ? corpus[2][rlhf_random_below(&r, 90)]
                                   : "aA \xc3\xa9\xff"[rlhf_random_below(&r, 6)];
        check_round_trip(t, bytes, size);
    }
    check_round_trip(t, "", 0);
    check_round_trip(t, "nul \0 inside", 12);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(special_text_becomes_its_id_only_when_asked)
{
    struct rlhf_tokenizer *t = train(400, 0);
    struct rlhf_tokens ids = { 0 };
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tokenizer_encode(t, "<|end|>", 7, &ids, &err), err);
    ck_assert_uint_gt(ids.size, 1);
    rlhf_tokens_clear(&ids);
    expect_ok(rlhf_tokenizer_encode_special(t, "a<|end|>b", 9, &ids, &err), err);
    ck_assert_uint_eq(ids.size, 3);
    ck_assert_int_eq(ids.data[1], 1);
    expect_ok(rlhf_tokenizer_decode(t, ids.data, ids.size, 0, &text, &err), err);
    ck_assert_str_eq(text.data, "ab");
    rlhf_bytes_clear(&text);
    expect_ok(rlhf_tokenizer_decode(t, ids.data, ids.size, 1, &text, &err), err);
    ck_assert_str_eq(text.data, "a<|end|>b");
    rlhf_tokens_clear(&ids);
    expect_ok(rlhf_tokenizer_encode_wrapped(t, "a", 1, &ids, &err), err);
    ck_assert_uint_eq(ids.size, 2);
    ck_assert_int_eq(ids.data[0], 0);
    rlhf_tokens_free(&ids);
    rlhf_bytes_free(&text);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(merges_never_make_a_special_token)
{
    const char *text = "END END END END END";
    struct rlhf_bpe_options o = { .vocab_size = 300, .min_count = 2, .end = "END" };
    struct rlhf_error err = { 0 };
    struct rlhf_tokens ids = { 0 };
    struct rlhf_tokenizer *t = rlhf_tokenizer_train(&text, (size_t[]){ strlen(text) }, 1, &o, &err);

    expect_some(t, err);
    expect_ok(rlhf_tokenizer_encode(t, "END", 3, &ids, &err), err);
    ck_assert_uint_gt(ids.size, 1);
    rlhf_tokens_clear(&ids);
    expect_ok(rlhf_tokenizer_encode_special(t, "END", 3, &ids, &err), err);
    ck_assert_uint_eq(ids.size, 1);
    ck_assert_int_eq(ids.data[0], 1);
    rlhf_tokens_free(&ids);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(impossible_options_are_refused)
{
    struct rlhf_error err = { 0 };
    struct rlhf_bpe_options few = { .vocab_size = 258 }, same = { .vocab_size = 300, .begin = "<x>", .end = "<x>" },
                            single = { .vocab_size = 300, .pad = "p" };

    ck_assert_ptr_null(rlhf_tokenizer_train(corpus, (size_t[TEXTS]){ 0 }, TEXTS, &few, &err));
    expect_code(err, RLHF_REJECT);
    ck_assert_ptr_null(rlhf_tokenizer_train(corpus, (size_t[TEXTS]){ 0 }, TEXTS, &same, &err));
    expect_contains(err.text, "<x>");
    ck_assert_ptr_null(rlhf_tokenizer_train(corpus, (size_t[TEXTS]){ 0 }, TEXTS, &single, &err));
    expect_code(err, RLHF_REJECT);
}
END_TEST

START_TEST(ids_out_of_range_are_refused)
{
    struct rlhf_tokenizer *t = train(300, 0);
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };

    ck_assert_int_eq(rlhf_tokenizer_decode(t, (int32_t[]){ 70, 300 }, 2, 1, &text, &err), -1);
    expect_code(err, RLHF_REJECT);
    ck_assert_int_eq(rlhf_tokenizer_decode(t, (int32_t[]){ -1 }, 1, 1, &text, &err), -1);
    ck_assert_uint_eq(text.size, 0);
    rlhf_bytes_free(&text);
    rlhf_tokenizer_free(t);
}
END_TEST

int main(void)
{
    return RUN_SUITE("tokenizer/train", training_twice_gives_the_same_file, a_saved_tokenizer_loads_to_the_same_ids,
                     a_limit_beyond_all_numbers_is_no_mistake,
                     the_vocabulary_is_what_was_asked_or_what_the_text_gives,
                     the_most_frequent_pair_is_merged_first_and_ties_go_to_the_smaller_ids,
                     digits_stand_alone_when_asked, any_bytes_come_back, special_text_becomes_its_id_only_when_asked,
                     merges_never_make_a_special_token, impossible_options_are_refused, ids_out_of_range_are_refused);
}
