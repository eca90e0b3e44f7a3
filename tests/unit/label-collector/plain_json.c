/* JSON of the plain kind, beside the library that it spares. */
#include "label-collector/plain_json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "support/suite.h"

static const char label[] = "{\"id\":\"x-1\", \"prompt\":\"\\n\\nHuman: \xe2\x80\x9cWhy?\xe2\x80\x9d\\t\\\"so\\\" \\\\ \\/\",\r\n"
                            "\"completions\":[\"\",\"b\xf0\x9f\x99\x82\"],\"ranks\":[1,2],\"seconds\":12.25,\"strength\":-3,"
                            "\"flags\":{\"a\":true,\"b\":[false,null,0,-0,-0.5]}}";

/* In a block of its own, so that a sanitizer sees who reads behind it. */
static json_t *read(const char *text, size_t size)
{
    char *copy = malloc(size ? size : 1);

    memcpy(copy, text, size);
    json_t *value = collector_plain_json(copy, size);
    free(copy);
    return value;
}

/* True when it was read; then the library has read the same. */
static bool agrees(const char *text, size_t size)
{
    json_t *fast = read(text, size), *slow = fast ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool was_read = fast != NULL;

    ck_assert_msg(!fast || (slow && json_equal(fast, slow)), "read otherwise: %.*s", (int)size, text);
    json_decref(fast);
    json_decref(slow);
    return was_read;
}

START_TEST(plain_documents_are_read_as_the_library_reads_them)
{
    static const char *const plain[] = { label,      "[]",          "{}",          " [ ] ",      "{\"\":\"\"}", "[[[[]]],{}]",
                                         "[\"a\\b\"]", "[0,-1,10]",   "[999999999999999999]", "[0.1,-3.75,100.0]" };

    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); ++i)
        ck_assert_msg(agrees(plain[i], strlen(plain[i])), "not read: %s", plain[i]);
}
END_TEST

START_TEST(what_is_not_plain_is_left_to_the_library)
{
    static const char *const other[] = { "",
                                         " ",
                                         "1",
                                         "\"a\"",
                                         "[1,]",
                                         "[,1]",
                                         "[1 2]",
                                         "[01]",
                                         "[-]",
                                         "[1.]",
                                         "[.5]",
                                         "[+1]",
                                         "[1e3]",
                                         "[1234567890123456789]",
                                         "[\"\\u0041\"]",
                                         "[\"\\u0000\"]",
                                         "[\"\\x\"]",
                                         "[\"\\",
                                         "[\"\\\"",
                                         "[\"",
                                         "[\"a",
                                         "[\"a\n\"]",
                                         "[\"\xff\"]",
                                         "[\"\\n\xc0\x80\"]",
                                         "[tru]",
                                         "[nul",
                                         "{\"a\":1,\"a\":2}",
                                         "{\"a\"}",
                                         "{\"a\":}",
                                         "{a:1}",
                                         "{\"a\":1,}",
                                         "[] []",
                                         "[]x",
                                         "[1}" };

    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); ++i)
        ck_assert_msg(!agrees(other[i], strlen(other[i])), "read: %s", other[i]);
    char deep[256];
    memset(deep, '[', 128);
    memset(deep + 128, ']', 128);
    ck_assert(!agrees(deep, sizeof(deep)));
    ck_assert(!agrees("[\0]", 3));
}
END_TEST

/* Cut anywhere, and with any byte changed to any other that means something. */
START_TEST(damaged_documents_are_never_read_otherwise)
{
    static const char bytes[] = "\"\\{}[],:0-.et\n \x80\xe2\xff\x01u";
    char text[sizeof(label)];
    size_t size = sizeof(label) - 1;

    for (size_t cut = 0; cut < size; ++cut)
        ck_assert_msg(!agrees(label, cut), "read after %zu bytes", cut);
    for (size_t i = 0; i < size; ++i) {
        for (size_t k = 0; k < sizeof(bytes); ++k) {
            memcpy(text, label, size);
            text[i] = bytes[k];
            agrees(text, size);
        }
    }
}
END_TEST

START_TEST(random_documents_are_never_read_otherwise)
{
    static const char *const parts[] = { "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\\n\"", "1", "-0.5", "true", "null", " ", "\"" };
    struct rlhf_random random;
    size_t was_read = 0;

    rlhf_random_init(&random, 7, RLHF_PURPOSE_COLLECT, 0, 0);
    for (int i = 0; i < 200000; ++i) {
        char text[128] = "[";
        for (uint64_t n = rlhf_random_below(&random, 7); n > 0; --n)
            strcat(text, parts[rlhf_random_below(&random, sizeof(parts) / sizeof(parts[0]))]);
        strcat(text, i % 2 ? "]" : "");
        was_read += agrees(text, strlen(text));
    }
    ck_assert_uint_gt(was_read, 1000);
}
END_TEST

int main(void)
{
    return RUN_SUITE("label-collector/plain_json", plain_documents_are_read_as_the_library_reads_them,
                     what_is_not_plain_is_left_to_the_library, damaged_documents_are_never_read_otherwise,
                     random_documents_are_never_read_otherwise);
}
