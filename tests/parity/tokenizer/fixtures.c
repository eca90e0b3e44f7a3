/* Every tokenizer in the golden fixtures (or in $RLHF_TOKENIZERS) against what Hugging Face's tokenizers computed: ids, with and without
 * the post-processor's tokens, and decoded texts. The comparison is exact. */
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/suite.h"
#include "tokenizer/tokenizer.h"

static const char *folder(const char *name)
{
    static char path[4096];
    const char *shared = getenv("RLHF_SHARED"), *other = getenv("RLHF_TOKENIZERS");

    if (other)
        snprintf(path, sizeof(path), "%s/%s", other, name);
    else
        snprintf(path, sizeof(path), "%s/fixtures/tokenizers/%s", shared ? shared : "../shared", name);
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

static void check_tokenizer(const char *name, size_t *done, size_t *skipped)
{
    char dir[4096];
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t;

    strcpy(dir, folder(name));
    t = rlhf_tokenizer_load(dir, &err);
    if (!t && strstr(err.text, "is not supported")) {
        printf("%s: SKIPPED: %s\n", name, err.text);
        ++*skipped;
        return;
    }
    expect_some(t, err);
    size_t cases = check_file(t, dir, "cases.jsonl", check_case);
    size_t decodes = check_file(t, dir, "decode_cases.jsonl", check_decode_case);
    printf("%s: %zu texts, %zu id lists\n", name, cases, decodes);
    rlhf_tokenizer_free(t);
    ++*done;
}

START_TEST(ids_and_texts_are_those_of_hugging_face)
{
    DIR *dir = opendir(folder(""));
    struct dirent *entry;
    size_t done = 0, skipped = 0;

    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            check_tokenizer(entry->d_name, &done, &skipped);
    closedir(dir);
    printf("%zu tokenizers equal, %zu skipped\n", done, skipped);
    ck_assert_uint_gt(done, 0);
}
END_TEST

int main(void)
{
    DIR *dir = opendir(folder(""));

    if (!dir)
        skip("no golden fixtures at %s", folder(""));
    closedir(dir);
    return RUN_SUITE("tokenizer/fixtures", ids_and_texts_are_those_of_hugging_face);
}
