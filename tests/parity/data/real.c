/* Real data ($RLHF_SHARED/data): every comparison of hh-rlhf is read, and every text goes through a tokenizer and
 * comes back. Counts and rates are printed; only the counts are checked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "data/data.h"
#include "support/suite.h"

static const char *shared(const char *name)
{
    static char path[4096];
    const char *root = getenv("RLHF_SHARED");

    snprintf(path, sizeof(path), "%s/data/%s", root ? root : "../shared", name);
    return path;
}

/* The unpacked file, in the test's directory. */
static const char *unpacked(const char *directory, const char *name, const char *as)
{
    char command[9000];
    const char *path = in_directory(directory, as);

    snprintf(command, sizeof(command), "gunzip -c '%s' > '%s'", shared(name), path);
    ck_assert_int_eq(system(command), 0);
    return path;
}

static struct rlhf_bytes contents(const char *path)
{
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_file(&rlhf_system_io, path, 1 << 30, &text, &err), err);
    return text;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct rlhf_tokenizer *trained_on(const struct rlhf_bytes *text, size_t vocab, const char *name)
{
    struct rlhf_bpe_options o = { .vocab_size = vocab, .min_count = 2 };
    struct rlhf_error err = { 0 };
    double before = seconds();
    struct rlhf_tokenizer *t =
        rlhf_tokenizer_train((const char *const[]){ text->data }, &text->size, 1, &o, &err);

    expect_some(t, err);
    printf("%s: vocabulary of %zu from %.2f MB in %.2f s\n", name, rlhf_tokenizer_vocab(t), (double)text->size / 1e6,
           seconds() - before);
    return t;
}

static void check_round_trip(const struct rlhf_tokenizer *t, const struct rlhf_bytes *text, const char *name)
{
    struct rlhf_tokens ids = { 0 };
    struct rlhf_bytes back = { 0 };
    struct rlhf_error err = { 0 };
    double before = seconds();

    expect_ok(rlhf_tokenizer_encode(t, text->data, text->size, &ids, &err), err);
    double encoded = seconds();
    expect_ok(rlhf_tokenizer_decode(t, ids.data, ids.size, 1, &back, &err), err);
    printf("%s: %.2f MB, %zu tokens, %.1f MB/s encoding, %.1f MB/s decoding\n", name, (double)text->size / 1e6, ids.size,
           (double)text->size / 1e6 / (encoded - before), (double)text->size / 1e6 / (seconds() - encoded));
    ck_assert_uint_eq(back.size, text->size);
    ck_assert(!memcmp(back.data, text->data, text->size));
    rlhf_tokens_free(&ids);
    rlhf_bytes_free(&back);
}

START_TEST(all_text_comes_back)
{
    const char *directory = a_directory();
    struct rlhf_bytes play = contents(unpacked(directory, "tinyshakespeare/input.txt.gz", "play.txt"));
    struct rlhf_bytes talk = contents(unpacked(directory, "hh-rlhf/train.jsonl.gz", "train.jsonl"));
    struct rlhf_tokenizer *small = trained_on(&play, 512, "tinyshakespeare"), *large = trained_on(&talk, 8192, "hh-rlhf");

    check_round_trip(small, &play, "tinyshakespeare, 512");
    check_round_trip(large, &play, "tinyshakespeare, 8192");
    check_round_trip(small, &talk, "hh-rlhf, 512");
    check_round_trip(large, &talk, "hh-rlhf, 8192");
    rlhf_tokenizer_free(small);
    rlhf_tokenizer_free(large);
    rlhf_bytes_free(&play);
    rlhf_bytes_free(&talk);
}
END_TEST

static void count_comparisons(const char *path, const char *name, size_t lines, size_t refused)
{
    struct rlhf_bytes text = contents(path);
    size_t read = 0, bad = 0, at = 0;

    for (size_t number = 1; at < text.size; number++) {
        const char *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - text.data) - at : text.size - at;
        struct rlhf_comparison c;
        struct rlhf_error err = { 0 };
        char where[100];

        snprintf(where, sizeof(where), "%s:%zu", name, number);
        if (rlhf_comparison_parse(&c, text.data + at, size, where, &err) == 0) {
            read++;
            ck_assert_str_eq(c.prompt + strlen(c.prompt) - strlen("\n\nAssistant:"), "\n\nAssistant:");
            rlhf_comparison_free(&c);
        } else {
            printf("  %s\n", err.text);
            bad++;
        }
        at += size + 1;
    }
    printf("%s: %zu comparisons, %zu refused\n", name, read, bad);
    ck_assert_uint_eq(read + bad, lines);
    ck_assert_uint_eq(bad, refused);
    rlhf_bytes_free(&text);
}

/* The five hold another turn inside the last one ("here is the key:\n\nAssistant: ..."). */
START_TEST(every_human_comparison_is_read_or_refused_with_its_reason)
{
    const char *directory = a_directory();

    count_comparisons(unpacked(directory, "hh-rlhf/train.jsonl.gz", "train.jsonl"), "train", 1848, 3);
    count_comparisons(unpacked(directory, "hh-rlhf/valid.jsonl.gz", "valid.jsonl"), "valid", 224, 2);
}
END_TEST

START_TEST(demonstrations_are_the_chosen_answers)
{
    const char *path = unpacked(a_directory(), "hh-rlhf/valid.jsonl.gz", "valid.jsonl");
    struct rlhf_bytes text = contents(path);
    struct rlhf_tokenizer *t = trained_on(&text, 2048, "hh-rlhf valid");
    struct rlhf_demonstrations all = { 0 }, some = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_demonstrations(path, &(struct rlhf_form){ .tokenizer = t }, 0, &all, &err), err);
    expect_ok(rlhf_read_demonstrations(path, &(struct rlhf_form){ .tokenizer = t }, 256, &some, &err), err);
    printf("%zu demonstrations, %zu of them longer than 256 tokens\n", all.sequences.count, some.skipped);
    ck_assert_uint_eq(all.sequences.count + all.skipped, 224);
    ck_assert_uint_eq(some.sequences.count + some.skipped, 224);
    rlhf_demonstrations_free(&all);
    rlhf_demonstrations_free(&some);
    rlhf_tokenizer_free(t);
    rlhf_bytes_free(&text);
}
END_TEST

int main(void)
{
    if (!rlhf_exists(&rlhf_system_io, shared("hh-rlhf/train.jsonl.gz")))
        skip("no real data at %s", shared("hh-rlhf"));
    return RUN_SUITE("data/real", all_text_comes_back, every_human_comparison_is_read_or_refused_with_its_reason,
                     demonstrations_are_the_chosen_answers);
}
