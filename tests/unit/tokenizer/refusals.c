#include <stdio.h>
#include <string.h>

#include "support/suite.h"
#include "tokenizer/tokenizer.h"

#define MODEL "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [[\"a\", \"b\"]]}"

static void refused(const char *json, const char *because)
{
    struct rlhf_error err = { 0 };

    ck_assert_msg(!rlhf_tokenizer_parse(json, strlen(json), NULL, 0, "dir", &err), "%s was accepted", json);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "dir");
    expect_contains(err.text, because);
}

START_TEST(what_is_not_supported_is_named)
{
    refused("{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}", "WordPiece");
    refused("{\"normalizer\": {\"type\": \"Precompiled\"}, " MODEL "}", "Precompiled");
    refused("{\"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}, " MODEL "}", "UnicodeScripts");
    refused("{\"decoder\": {\"type\": \"CTC\"}, " MODEL "}", "CTC");
    refused("{\"post_processor\": {\"type\": \"Odd\"}, " MODEL "}", "Odd");
    refused("{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"behavior\": \"Isolated\","
            " \"pattern\": {\"Regex\": \"[a-z&&[^b]]\"}}]}, " MODEL "}", "&&");
    refused("{\"model\": {\"type\": \"BPE\", \"dropout\": 0.1, \"vocab\": {}, \"merges\": []}}", "dropout");
}
END_TEST

START_TEST(broken_files_are_refused_with_the_place)
{
    refused("{\"model\": ", "not JSON");
    refused("[]", "object");
    refused("{}", "model");
    refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\", \"b\"]]}}", "\"b\" is not in");
    refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}", "id 0");
    refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}", "-1");
    refused("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 2000000000}, \"merges\": []}}", "2000000000");
    refused("{\"added_tokens\": [{\"id\": 9, \"content\": \"<s>\"}], " MODEL "}", "3 is expected");
    refused("{\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": \"(a\"}}, " MODEL "}",
            "does not compile");
}
END_TEST

/* (a+)+$ costs 2^n steps on a^n b: the bound on backtracking ends it with an error, not a hang. */
START_TEST(a_pattern_that_backtracks_without_end_is_an_error)
{
    static const char json[] = "{\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": {\"Regex\": "
                               "\"(?:(a+)\\\\1?)+[xy]\"}}, " MODEL "}";
    struct rlhf_error err = { 0 };
    struct rlhf_tokenizer *t = rlhf_tokenizer_parse(json, strlen(json), NULL, 0, "dir", &err);
    struct rlhf_tokens ids = { 0 };
    char text[200];

    expect_some(t, err);
    memset(text, 'a', sizeof(text));
    ck_assert_int_eq(rlhf_tokenizer_encode(t, text, sizeof(text), &ids, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "pattern");
    ck_assert_uint_eq(ids.size, 0);
    rlhf_tokens_free(&ids);
    rlhf_tokenizer_free(t);
}
END_TEST

int main(void)
{
    return RUN_SUITE("tokenizer/refusals", what_is_not_supported_is_named, broken_files_are_refused_with_the_place,
                     a_pattern_that_backtracks_without_end_is_an_error);
}
