#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "data/file.h"
#include "support/process.h"
#include "support/suite.h"

/* One token a byte: ids are 3 + byte, begin 0, end 1. */
static struct rlhf_tokenizer *bytes_only(void)
{
    struct rlhf_bpe_options o = { .vocab_size = 259 };
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t = rlhf_tokenizer_train(NULL, NULL, 0, &o, &err);

    expect_some(t, err);
    return t;
}

/* A file with this content, in the test's directory. */
static const char *with(const char *name, const char *content)
{
    static const char *directory;

    if (!directory)
        directory = a_directory();
    const char *path = in_directory(directory, name);
    write_file(path, "%s", content);
    return path;
}

static void check_sequence(const struct rlhf_sequences *s, size_t i, const char *text, int begin, int end)
{
    const int32_t *ids = s->tokens.data + s->start[i];
    size_t size = s->start[i + 1] - s->start[i], at = 0;

    ck_assert_uint_lt(i, s->count);
    ck_assert_uint_eq(size, strlen(text) + (size_t)begin + (size_t)end);
    if (begin)
        ck_assert_int_eq(ids[at++], 0);
    for (; *text; text++)
        ck_assert_int_eq(ids[at++], 3 + (uint8_t)*text);
    if (end)
        ck_assert_int_eq(ids[at], 1);
}

START_TEST(documents_are_lines_or_paragraphs_between_begin_and_end)
{
    struct rlhf_tokenizer *t = bytes_only();
    struct rlhf_sequences s = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_documents(with("a.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"two\\n\"}\r\n{\"chosen\": \"three\"}"), t, &s,
                                  &err),
              err);
    expect_ok(rlhf_read_documents(with("a.txt", "\n\nfour\nlines\n \n\nfive\r\nsix\r\n\r\nseven"), t, &s, &err), err);
    ck_assert_uint_eq(s.count, 6);
    check_sequence(&s, 0, "one", 1, 1);
    check_sequence(&s, 1, "two\n", 1, 1);
    check_sequence(&s, 2, "three", 1, 1);
    check_sequence(&s, 3, "four\nlines", 1, 1);
    check_sequence(&s, 4, "five\r\nsix", 1, 1);
    check_sequence(&s, 5, "seven", 1, 1);
    rlhf_sequences_free(&s);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(texts_are_the_same_documents_without_tokens)
{
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };
    size_t *sizes = NULL, count = 0;

    expect_ok(rlhf_read_texts(with("a.txt", "one\n\ntwo two\n"), &text, &sizes, &count, &err), err);
    expect_ok(rlhf_read_texts(with("a.jsonl", "{\"text\": \"three\"}\n"), &text, &sizes, &count, &err), err);
    ck_assert_uint_eq(count, 3);
    ck_assert_str_eq(text.data, "onetwo twothree");
    ck_assert_uint_eq(sizes[1], 7);
    free(sizes);
    rlhf_bytes_free(&text);
}
END_TEST

START_TEST(windows_hold_every_token_once_in_order)
{
    struct rlhf_sequences documents = { 0 }, windows = { 0 };
    struct rlhf_error err = { 0 };

    for (int32_t i = 0, size = 1; i < 40; i += size++)
        expect_ok(rlhf_sequences_append(&documents, (int32_t[]){ i, i + 1, i + 2, i + 3, i + 4, i + 5, i + 6, i + 7, i + 8 },
                                        (size_t)size, &err),
                  err);
    expect_ok(rlhf_cut_windows(&documents, 7, &windows, &err), err);
    ck_assert_uint_eq(windows.tokens.size, documents.tokens.size);
    ck_assert(!memcmp(windows.tokens.data, documents.tokens.data, windows.tokens.size * sizeof(int32_t)));
    for (size_t i = 0; i + 1 < windows.count; i++)
        ck_assert_uint_eq(windows.start[i + 1] - windows.start[i], 7);
    ck_assert_int_eq(rlhf_cut_windows(&documents, 1, &windows, &err), -1);
    rlhf_sequences_free(&documents);
    rlhf_sequences_free(&windows);
}
END_TEST

START_TEST(demonstrations_know_where_the_prompt_ends)
{
    struct rlhf_tokenizer *t = bytes_only();
    struct rlhf_demonstrations d = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_demonstrations(
                  with("d.jsonl",
                       "{\"prompt\": \"Q: x\\nA:\", \"completion\": \" y.\"}\n"
                       "{\"chosen\": \"\\n\\nHuman: a\\n\\nAssistant: b\\n\\nHuman: c\\n\\nAssistant: d\", \"rejected\": 5}\n"
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n"
                       "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"completion\": \"b\"}\n"
                       "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"completion\": [{\"role\": \"assistant\", "
                       "\"content\": \"b\"}]}\n"),
                  &(struct rlhf_form){ .tokenizer = t }, 0, &d, &err),
              err);
    ck_assert_uint_eq(d.sequences.count, 5);
    check_sequence(&d.sequences, 0, "Q: x\nA: y.", 1, 1);
    ck_assert_uint_eq(d.prompt_size[0], 8);
    check_sequence(&d.sequences, 1, "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d", 1, 1);
    ck_assert_str_eq(d.text[1], "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:");
    for (size_t i = 2; i < 5; i++) {
        check_sequence(&d.sequences, i, "\n\nHuman: a\n\nAssistant: b", 1, 1);
        ck_assert_uint_eq(d.prompt_size[i], 1 + strlen("\n\nHuman: a\n\nAssistant:"));
    }
    rlhf_demonstrations_free(&d);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(prompts_have_no_completion_and_no_end)
{
    struct rlhf_tokenizer *t = bytes_only();
    struct rlhf_demonstrations d = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_prompts(with("p.jsonl", "{\"prompt\": \"2 + 2 =\", \"expected\": \" 4.\", \"completion\": 7}\n"
                                                "{\"chosen\": \"\\n\\nHuman: a\\n\\nAssistant: b\"}\n"
                                                "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n"
                                                "{\"question\": \"1 + 1?\", \"answer\": \"#### 2\"}\n"), /* gsm8k's form */
                                &(struct rlhf_form){ .tokenizer = t }, 0, &d, &err),
              err);
    ck_assert_uint_eq(d.sequences.count, 4);
    check_sequence(&d.sequences, 3, "1 + 1?", 1, 0);
    ck_assert_str_eq(d.expected[3], "#### 2");
    check_sequence(&d.sequences, 0, "2 + 2 =", 1, 0);
    ck_assert_str_eq(d.expected[0], " 4.");
    ck_assert_ptr_null(d.expected[1]);
    check_sequence(&d.sequences, 1, "\n\nHuman: a\n\nAssistant:", 1, 0);
    check_sequence(&d.sequences, 2, "\n\nHuman: a\n\nAssistant:", 1, 0);
    rlhf_demonstrations_free(&d);
    rlhf_tokenizer_free(t);
}
END_TEST

/* With merges across the border ("A:" + " y") the prompt's ids would depend on the answer. */
START_TEST(a_prompt_has_the_same_ids_whatever_is_answered)
{
    const char *text = "xy xy xy xy";
    struct rlhf_bpe_options o = { .vocab_size = 262, .min_count = 2 };
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t = rlhf_tokenizer_train(&text, (size_t[]){ strlen(text) }, 1, &o, &err);
    struct rlhf_demonstrations d = { 0 }, p = { 0 };

    expect_some(t, err);
    const char *path = with("m.jsonl", "{\"prompt\": \"x\", \"completion\": \"y\"}\n");
    expect_ok(rlhf_read_demonstrations(path, &(struct rlhf_form){ .tokenizer = t }, 0, &d, &err), err);
    expect_ok(rlhf_read_prompts(path, &(struct rlhf_form){ .tokenizer = t }, 0, &p, &err), err);
    ck_assert_uint_eq(d.prompt_size[0], p.prompt_size[0]);
    ck_assert(!memcmp(d.sequences.tokens.data, p.sequences.tokens.data, p.sequences.tokens.size * sizeof(int32_t)));
    ck_assert_uint_eq(d.sequences.tokens.size, 4); /* begin x y end, not begin xy end */
    rlhf_demonstrations_free(&d);
    rlhf_demonstrations_free(&p);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(what_is_too_long_is_left_out_and_counted)
{
    struct rlhf_tokenizer *t = bytes_only();
    struct rlhf_demonstrations d = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_demonstrations(with("d.jsonl", "{\"prompt\": \"abc\", \"completion\": \"d\"}\n"
                                                       "{\"prompt\": \"abc\", \"completion\": \"de\"}\n"),
                                       &(struct rlhf_form){ .tokenizer = t }, 6, &d, &err),
              err);
    ck_assert_uint_eq(d.sequences.count, 1);
    ck_assert_uint_eq(d.skipped, 1);
    rlhf_demonstrations_free(&d);
    rlhf_tokenizer_free(t);
}
END_TEST

static void refused(const char *path, const char *because)
{
    struct rlhf_tokenizer *t = bytes_only();
    struct rlhf_demonstrations d = { 0 };
    struct rlhf_error err = { 0 };

    ck_assert_int_eq(rlhf_read_demonstrations(path, &(struct rlhf_form){ .tokenizer = t }, 0, &d, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, path);
    expect_contains(err.text, because);
    ck_assert_uint_eq(d.sequences.count, 0);
    rlhf_tokenizer_free(t);
}

START_TEST(bad_lines_are_named_by_file_line_and_key)
{
    refused(with("d.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n\nprompt: x\n"), ":3");
    refused(with("d.jsonl", "prompt: x\n"), "prompt: x");
    refused(with("d.jsonl", "{\"prompt\": \"a\"}\n"), "\"completion\"");
    refused(with("d.jsonl", "{\"completion\": \"a\"}\n"), "\"prompt\"");
    refused(with("d.jsonl", "{\"prompt\": 3, \"completion\": \"a\"}\n"), "\"prompt\"");
    refused(with("d.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n"), "empty");
    refused(with("d.jsonl", "{\"chosen\": \"no turns\"}\n"), "assistant turn");
    refused(with("d.jsonl", "{\"prompt\": \"a\\u0000\", \"completion\": \"b\"}\n"), "not JSON");
    refused(with("d.jsonl", "{\"prompt\": \"\xc3\", \"completion\": \"b\"}\n"), "not JSON");
}
END_TEST

/* As gzip(1) packs it. */
static const char *packed(const char *path)
{
    static char name[512], command[1200];

    snprintf(name, sizeof name, "%s.gz", path);
    snprintf(command, sizeof command, "gzip -c '%s' > '%s'", path, name);
    ck_assert_int_eq(system(command), 0);
    return name;
}

START_TEST(packed_files_read_like_what_they_hold)
{
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };
    size_t *sizes = NULL, count = 0;

    expect_ok(rlhf_read_texts(packed(with("a.txt", "one\n\ntwo\n")), &text, &sizes, &count, &err), err);
    expect_ok(rlhf_read_texts(packed(with("a.jsonl", "{\"text\": \"three\"}\n")), &text, &sizes, &count, &err), err);
    ck_assert_uint_eq(count, 3);
    ck_assert_str_eq(text.data, "onetwothree");
    free(sizes);
    rlhf_bytes_free(&text);
}
END_TEST

/* Two packed files one behind the other are one, cut anywhere they are none. */
START_TEST(packed_files_are_read_whole_or_not_at_all)
{
    static char two[512], cut[1700];
    struct rlhf_bytes bytes = { 0 };
    struct rlhf_data_file f;
    struct rlhf_error err = { 0 };

    snprintf(two, sizeof two, "%s", packed(with("first", "first, ")));
    const char *both = with("both", "");
    snprintf(cut, sizeof cut, "cat '%s' '%s' > '%s'", two, packed(with("second", "second")), both);
    ck_assert_int_eq(system(cut), 0);
    expect_ok(rlhf_data_file_open(&f, both, &err), err);
    ck_assert_uint_eq(f.size, 13);
    ck_assert_str_eq(f.data, "first, second");
    rlhf_data_file_close(&f);
    expect_ok(rlhf_read_file(&rlhf_system_io, two, 1 << 20, &bytes, &err), err);
    for (size_t size = 3; size < bytes.size; size++) {
        const char *path = with("cut.gz", "");

        expect_ok(rlhf_write_new(&rlhf_system_io, path, bytes.data, size, &err), err);
        ck_assert_int_eq(rlhf_data_file_open(&f, path, &err), -1);
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, "cut.gz");
    }
    rlhf_bytes_free(&bytes);
    refused(with("d.jsonl.gz", "\x1f\x8b\x01"), "gzip");
}
END_TEST

START_TEST(huge_lines_are_refused)
{
    const char *path = with("d.jsonl", "");
    FILE *f = fopen(path, "w");

    for (int i = 0; i < 17 << 10; i++)
        fprintf(f, "%1024s", "");
    fprintf(f, "x\n");
    fclose(f);
    refused(path, "bytes");
}
END_TEST

/* Its length is a page's, so a reader that looks behind the end faults. */
START_TEST(a_file_of_blanks_holds_nothing)
{
    struct rlhf_tokenizer *t = bytes_only();
    struct rlhf_demonstrations d = { 0 };
    struct rlhf_error err = { 0 };
    char blanks[4097] = { 0 };

    memset(blanks, ' ', 4096);
    expect_ok(rlhf_read_demonstrations(with("d.jsonl", blanks), &(struct rlhf_form){ .tokenizer = t }, 0, &d, &err), err);
    ck_assert_uint_eq(d.sequences.count, 0);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(a_failed_read_leaves_the_documents_as_they_were)
{
    struct rlhf_tokenizer *t = bytes_only();
    struct rlhf_sequences s = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_read_documents(with("a.jsonl", "{\"text\": \"one\"}\n"), t, &s, &err), err);
    ck_assert_int_eq(rlhf_read_documents(with("b.jsonl", "{\"text\": \"two\"}\n{}\n"), t, &s, &err), -1);
    expect_contains(err.text, "b.jsonl:2");
    ck_assert_uint_eq(s.count, 1);
    ck_assert_uint_eq(s.tokens.size, 5);
    rlhf_sequences_free(&s);
    rlhf_tokenizer_free(t);
}
END_TEST

int main(void)
{
    return RUN_SUITE("data/files", documents_are_lines_or_paragraphs_between_begin_and_end,
                     texts_are_the_same_documents_without_tokens, windows_hold_every_token_once_in_order,
                     demonstrations_know_where_the_prompt_ends, prompts_have_no_completion_and_no_end,
                     a_prompt_has_the_same_ids_whatever_is_answered, what_is_too_long_is_left_out_and_counted,
                     bad_lines_are_named_by_file_line_and_key, packed_files_read_like_what_they_hold,
                     packed_files_are_read_whole_or_not_at_all,
                     huge_lines_are_refused, a_file_of_blanks_holds_nothing,
                     a_failed_read_leaves_the_documents_as_they_were);
}
