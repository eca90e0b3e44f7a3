#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "support/suite.h"

static struct rlhf_comparison parsed(const char *json)
{
    struct rlhf_comparison c;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_comparison_parse(&c, json, strlen(json), "file:7", &err), err);
    return c;
}

static void refused(const char *json, const char *because)
{
    struct rlhf_comparison c;
    struct rlhf_error err = { 0 };

    ck_assert_msg(rlhf_comparison_parse(&c, json, strlen(json), "file:7", &err) == -1, "%s was accepted", json);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "file:7");
    expect_contains(err.text, because);
    ck_assert_ptr_null(c.prompt);
    ck_assert_uint_eq(c.count, 0);
}

static void check_pair(const char *json, const char *prompt, const char *chosen, const char *rejected)
{
    struct rlhf_comparison c = parsed(json);

    ck_assert_str_eq(c.prompt, prompt);
    ck_assert_uint_eq(c.count, 2);
    ck_assert_str_eq(c.completion[0], chosen);
    ck_assert_str_eq(c.completion[1], rejected);
    ck_assert_uint_eq(c.rank[0], 1);
    ck_assert_uint_eq(c.rank[1], 2);
    rlhf_comparison_free(&c);
}

START_TEST(a_transcript_is_cut_behind_the_last_common_assistant_turn)
{
    check_pair("{\"chosen\": \"\\n\\nHuman: Hi\\n\\nAssistant: Hello!\\n\\nHuman: And 2+2?\\n\\nAssistant: 4\","
               " \"rejected\": \"\\n\\nHuman: Hi\\n\\nAssistant: Hello!\\n\\nHuman: And 2+2?\\n\\nAssistant: 5\"}",
               "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: And 2+2?\n\nAssistant:", " 4", " 5");
    /* The common prefix reaches into the answers: " Th" belongs to them. */
    check_pair("{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: The Moon\","
               " \"rejected\": \"\\n\\nHuman: q\\n\\nAssistant: This\"}",
               "\n\nHuman: q\n\nAssistant:", " The Moon", " This");
}
END_TEST

START_TEST(what_only_looks_like_a_turn_is_text)
{
    check_pair("{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: a\\n\\nHuman-like\","
               " \"rejected\": \"\\n\\nHuman: q\\n\\nAssistant: b\"}",
               "\n\nHuman: q\n\nAssistant:", " a\n\nHuman-like", " b");
}
END_TEST

START_TEST(an_answer_that_is_the_beginning_of_the_other_is_a_pair)
{
    check_pair("{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: yes indeed\","
               " \"rejected\": \"\\n\\nHuman: q\\n\\nAssistant: yes\"}",
               "\n\nHuman: q\n\nAssistant:", " yes indeed", " yes");
}
END_TEST

START_TEST(explicit_strings_are_taken_as_they_are)
{
    check_pair("{\"prompt\": \"Q: x\\nA:\", \"chosen\": \" y.\", \"rejected\": \" z.\", \"other\": 1}", "Q: x\nA:", " y.",
               " z.");
}
END_TEST

START_TEST(conversations_become_transcripts)
{
    check_pair("{\"prompt\": [{\"role\": \"user\", \"content\": \"Explain tides.\"}],"
               " \"chosen\": [{\"role\": \"assistant\", \"content\": \"The Moon.\"}],"
               " \"rejected\": [{\"role\": \"assistant\", \"content\": \"Fish.\"}]}",
               "\n\nHuman: Explain tides.\n\nAssistant:", " The Moon.", " Fish.");
    check_pair("{\"chosen\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"q\"},"
               " {\"role\": \"assistant\", \"content\": \"a\"}],"
               " \"rejected\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"q\"},"
               " {\"role\": \"assistant\", \"content\": \"b\"}]}",
               "Be brief.\n\nHuman: q\n\nAssistant:", " a", " b");
}
END_TEST

START_TEST(rankings_keep_ties_and_order)
{
    struct rlhf_comparison c = parsed("{\"prompt\": \"p\", \"responses\": [\"a\", \"b\", \"c\"], \"ranks\": [1, 1, 3]}");

    ck_assert_uint_eq(c.count, 3);
    ck_assert_uint_eq(c.rank[1], 1);
    ck_assert_uint_eq(c.rank[2], 3);
    ck_assert_str_eq(c.completion[2], "c");
    rlhf_comparison_free(&c);
}
END_TEST

START_TEST(what_is_printed_reads_back_the_same)
{
    struct rlhf_comparison c = parsed("{\"prompt\": \"p \\\"q\\\"\\n\\u00e9\", \"chosen\": \" \\u6f22\", \"rejected\": \"\\t\"}");
    struct rlhf_bytes line = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_comparison_print(&c, &line, &err), err);
    ck_assert_int_eq(line.data[line.size - 1], '\n');
    ck_assert_ptr_eq(memchr(line.data, '\n', line.size), line.data + line.size - 1);
    struct rlhf_comparison back = parsed(line.data);
    ck_assert_str_eq(back.prompt, c.prompt);
    ck_assert_str_eq(back.completion[0], c.completion[0]);
    ck_assert_str_eq(back.completion[1], c.completion[1]);
    ck_assert_uint_eq(back.rank[1], 2);
    rlhf_comparison_free(&c);
    rlhf_comparison_free(&back);
    rlhf_bytes_free(&line);
}
END_TEST

START_TEST(equal_pairs_and_differing_prompts_are_refused)
{
    refused("{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"a\"}", "equal");
    refused("{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: a\", \"rejected\": \"\\n\\nHuman: q\\n\\nAssistant: a\"}", "equal");
    refused("{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: a\", \"rejected\": \"\\n\\nHuman: r\\n\\nAssistant: a\"}",
            "different prompts");
    refused("{\"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: a\\n\\nHuman: x\\n\\nAssistant: 1\","
            " \"rejected\": \"\\n\\nHuman: q\\n\\nAssistant: b\\n\\nHuman: x\\n\\nAssistant: 1\"}",
            "different prompts");
    refused("{\"chosen\": \"no turns\", \"rejected\": \"at all\"}", "transcripts");
}
END_TEST

START_TEST(bad_lines_are_refused_with_their_key_and_place)
{
    refused("", "not JSON");
    refused("chosen: yes", "chosen: yes");
    refused("[1, 2]", "[1, 2]");
    refused("{\"chosen\": \"a\"}", "rejected");
    refused("{\"prompt\": 1, \"chosen\": \"a\", \"rejected\": \"b\"}", "prompt");
    refused("{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": [\"b\"]}", "strings");
    refused("{\"prompt\": \"p\", \"chosen\": \"a\\u0000b\", \"rejected\": \"b\"}", "not JSON");
    refused("{\"prompt\": \"\xff\", \"chosen\": \"a\", \"rejected\": \"b\"}", "not JSON");
    refused("{\"prompt\": \"p\", \"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}", "duplicate");
    refused("{\"prompt\": \"p\", \"responses\": [\"a\"], \"ranks\": [1]}", "responses");
    refused("{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"ranks\": [1]}", "ranks");
    refused("{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"ranks\": [0, 1]}", "ranks[0]");
    refused("{\"prompt\": \"p\", \"responses\": [\"a\", 2], \"ranks\": [1, 2]}", "responses[1]");
    refused("{\"responses\": [\"a\", \"b\"], \"ranks\": [1, 2]}", "prompt");
    refused("{\"chosen\": [{\"role\": \"wizard\", \"content\": \"a\"}], \"rejected\": [{\"role\": \"user\"}]}", "wizard");
    refused("{\"chosen\": [], \"rejected\": []}", "chosen");
}
END_TEST

int main(void)
{
    return RUN_SUITE("data/comparison", a_transcript_is_cut_behind_the_last_common_assistant_turn,
                     what_only_looks_like_a_turn_is_text, an_answer_that_is_the_beginning_of_the_other_is_a_pair,
                     explicit_strings_are_taken_as_they_are, conversations_become_transcripts,
                     rankings_keep_ties_and_order, what_is_printed_reads_back_the_same,
                     equal_pairs_and_differing_prompts_are_refused, bad_lines_are_refused_with_their_key_and_place);
}
