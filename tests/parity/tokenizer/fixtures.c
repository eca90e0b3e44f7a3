/* Every tokenizer of the golden fixtures, and of the project's own small ones, against what Hugging Face's tokenizers and
 * transformers computed: ids, with and without the post-processor's tokens, decoded texts, conversations through the
 * chat template and what it refuses. The comparison is exact. RLHF_TOKENIZERS names another folder of tokenizers,
 * RLHF_FIXTURES another folder of fixtures. */
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chat/chat.h"
#include "support/suite.h"
#include "tokenizer/tokenizer.h"

/* Folders of tokenizers to walk. */
static const char *own(void)
{
    static char path[4096];

    snprintf(path, sizeof(path), "%s/tests/parity/fixtures/tokenizers", getenv("RLHF_SOURCE") ? getenv("RLHF_SOURCE") : ".");
    return path;
}

static const char *golden(void)
{
    static char path[4096];
    const char *shared = getenv("RLHF_SHARED"), *fixtures = getenv("RLHF_FIXTURES"), *other = getenv("RLHF_TOKENIZERS");

    if (other)
        return other;
    if (fixtures)
        snprintf(path, sizeof(path), "%s/tokenizers", fixtures);
    else
        snprintf(path, sizeof(path), "%s/fixtures/tokenizers", shared ? shared : "../shared");
    return path;
}

static void check_ids(const struct rlhf_tokens *ids, const json_t *expected, const char *what, const char *where)
{
    bool same = ids->size == json_array_size(expected);

    for (size_t i = 0; same && i < ids->size; i++)
        same = ids->data[i] == json_integer_value(json_array_get(expected, i));
    if (!same) {
        fprintf(stderr, "%s: %s\n  expected %s\n  got      [", where, what, json_dumps(expected, JSON_COMPACT));
        for (size_t i = 0; i < ids->size; i++)
            fprintf(stderr, "%s%d", i ? "," : "", ids->data[i]);
        fprintf(stderr, "]\n");
    }
    ck_assert(same);
}

static void check_decode(const struct rlhf_tokenizer *t, const json_t *ids, int keep, const json_t *expected,
                         const char *where)
{
    struct rlhf_tokens tokens = { 0 };
    struct rlhf_bytes text = { 0 };
    struct rlhf_error err = { 0 };
    size_t i;
    json_t *id;

    json_array_foreach(ids, i, id)
        expect_ok(rlhf_tokens_append(&tokens, &(int32_t){ (int32_t)json_integer_value(id) }, 1, &err), err);
    expect_ok(rlhf_tokenizer_decode_text(t, tokens.data, tokens.size, keep, &text, &err), err);
    ck_assert_msg(text.size == json_string_length(expected) &&
                      (!text.size || !memcmp(text.data, json_string_value(expected), text.size)),
                  "%s: \"%s\" expected, got \"%s\"", where, json_string_value(expected), text.data);
    rlhf_tokens_free(&tokens);
    rlhf_bytes_free(&text);
}

static void check_case(const struct rlhf_tokenizer *t, const json_t *c, const char *where)
{
    const json_t *text = json_object_get(c, "text");
    struct rlhf_tokens ids = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_tokenizer_encode_special(t, json_string_value(text), json_string_length(text), &ids, &err), err);
    check_ids(&ids, json_object_get(c, "ids"), json_string_value(text), where);
    rlhf_tokens_clear(&ids);
    expect_ok(rlhf_tokenizer_encode_wrapped(t, json_string_value(text), json_string_length(text), &ids, &err), err);
    check_ids(&ids, json_object_get(c, "ids_with_special"), json_string_value(text), where);
    rlhf_tokens_free(&ids);
    check_decode(t, json_object_get(c, "ids"), 1, json_object_get(c, "decode"), where);
    check_decode(t, json_object_get(c, "ids_with_special"), 1, json_object_get(c, "decode_with_special"), where);
    check_decode(t, json_object_get(c, "ids_with_special"), 0, json_object_get(c, "decode_skip_special"), where);
}

static void check_decode_case(const struct rlhf_tokenizer *t, const json_t *c, const char *where)
{
    check_decode(t, json_object_get(c, "ids"), 1, json_object_get(c, "decode"), where);
    check_decode(t, json_object_get(c, "ids"), 0, json_object_get(c, "decode_skip_special"), where);
}

static size_t check_file(const struct rlhf_tokenizer *t, const char *dir, const char *name,
                         void (*check)(const struct rlhf_tokenizer *, const json_t *, const char *))
{
    char path[5000], where[5100], *line = NULL;
    size_t room = 0, count = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s does not open", path);
    while (getline(&line, &room, file) > 0) {
        json_t *c = json_loads(line, JSON_ALLOW_NUL, NULL);

        snprintf(where, sizeof(where), "%s:%zu", path, ++count);
        ck_assert_msg(c != NULL, "%s is not JSON", where);
        check(t, c, where);
        json_decref(c);
    }
    free(line);
    fclose(file);
    return count;
}

static void check_chat(const struct rlhf_tokenizer *t, struct rlhf_chat *chat, const json_t *c, const char *where)
{
    const json_t *text = json_object_get(c, "text"), *error = json_object_get(c, "error");
    struct rlhf_rendered rendered = { 0 };
    const json_t *expected_mask = json_object_get(c, "assistant_mask");
    struct rlhf_token_ranges ranges = { 0 };
    struct rlhf_tokens ids = { 0 };
    struct rlhf_error err = { 0 };
    int result = rlhf_chat_render(chat, c, 0, &rendered, &err);

    if (error) {
        ck_assert_msg(result < 0, "%s: rendered, but \"%s\" is expected", where, json_string_value(error));
        ck_assert_str_eq(err.text, json_string_value(error));
        rlhf_rendered_free(&rendered);
        return;
    }
    ck_assert_msg(result == 0, "%s: %s", where, err.text);
    ck_assert_msg(rendered.text.size == json_string_length(text) &&
                      !memcmp(rendered.text.data, json_string_value(text), rendered.text.size),
                  "%s:\n  expected %s\n  got      %s", where, json_string_value(text), rendered.text.data);
    expect_ok(rlhf_tokenizer_encode_special(t, rendered.text.data, rendered.text.size, &ids, &err), err);
    check_ids(&ids, json_object_get(c, "ids"), rendered.text.data, where);
    rlhf_tokens_clear(&ids);
    expect_ok(rlhf_tokenizer_encode_ranges(t, rendered.text.data, rendered.text.size, &ids, &ranges, &err), err);
    check_ids(&ids, json_object_get(c, "ids"), rendered.text.data, where);
    ck_assert_uint_eq(ranges.size, ids.size);
    if (expected_mask) {
        uint8_t *mask = malloc(ids.size + 1);

        rlhf_chat_mask(&rendered, ranges.at, ranges.size, mask);
        for (size_t i = 0; i < ids.size; i++)
            ck_assert_msg(mask[i] == json_integer_value(json_array_get(expected_mask, i)), "%s: token %zu is marked %d",
                          where, i, mask[i]);
        free(mask);
    }
    rlhf_token_ranges_free(&ranges);
    rlhf_tokens_free(&ids);
    rlhf_rendered_free(&rendered);
}

static size_t check_chats(const struct rlhf_tokenizer *t, const char *dir)
{
    char path[5000], where[5100];
    struct rlhf_error err = { 0 };
    struct rlhf_chat *chat;
    json_t *cases, *c;
    size_t i;

    snprintf(path, sizeof(path), "%s/chat_cases.json", dir);
    if (access(path, F_OK) != 0)
        return 0;
    cases = json_load_file(path, JSON_ALLOW_NUL, NULL);
    ck_assert_msg(json_is_array(cases), "%s is no list", path);
    expect_some(chat = rlhf_chat_load(dir, &err), err);
    json_array_foreach(cases, i, c) {
        snprintf(where, sizeof(where), "%s[%zu]", path, i);
        check_chat(t, chat, c, where);
    }
    rlhf_chat_free(chat);
    json_decref(cases);
    return i;
}

static void check_tokenizer(const char *folder, const char *name)
{
    char dir[4096];
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t;

    ck_assert_int_lt(snprintf(dir, sizeof(dir), "%s/%s", folder, name), (int)sizeof(dir));
    expect_some(t = rlhf_tokenizer_load(dir, &err), err);
    size_t texts = check_file(t, dir, "cases.jsonl", check_case);
    size_t lists = check_file(t, dir, "decode_cases.jsonl", check_decode_case);
    printf("%s: %zu texts, %zu id lists, %zu conversations\n", dir, texts, lists, check_chats(t, dir));
    rlhf_tokenizer_free(t);
}

static size_t check_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    size_t done = 0;

    ck_assert_msg(dir != NULL, "%s does not open", folder);
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            check_tokenizer(folder, entry->d_name);
            done++;
        }
    closedir(dir);
    return done;
}

START_TEST(the_small_fixtures_of_the_project_are_met)
{
    ck_assert_uint_gt(check_folder(own()), 0);
}
END_TEST

START_TEST(ids_texts_and_conversations_are_those_of_hugging_face)
{
    ck_assert_uint_gt(check_folder(golden()), 0);
}
END_TEST

int main(void)
{
    DIR *dir = opendir(golden());

    if (dir) {
        closedir(dir);
        return RUN_SUITE("tokenizer/fixtures", the_small_fixtures_of_the_project_are_met,
                         ids_texts_and_conversations_are_those_of_hugging_face);
    }
    int failed = RUN_SUITE("tokenizer/fixtures", the_small_fixtures_of_the_project_are_met);
    if (!failed)
        skip("no golden fixtures at %s; only the project's own were compared", golden());
    return failed;
}
