#include "reward/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/suite.h"

static struct rlhf_source *a_source(struct rlhf_source_settings s)
{
    struct rlhf_error err = { 0 };
    struct rlhf_source *made;

    s.name = "rule";
    made = rlhf_source_new(&s, &err);
    expect_some(made, err);
    return made;
}

/* Of one completion. */
static float reward_of(const struct rlhf_source *s, const char *completion, const char *answer)
{
    struct rlhf_error why = { 0 };

    return rlhf_rule_reward(s, &(struct rlhf_source_text){ "2 + 2?", completion, answer, 7 }, &why);
}

START_TEST(a_pattern_rewards_the_completions_that_it_matches)
{
    struct rlhf_source *s = a_source((struct rlhf_source_settings){
        .kind = RLHF_SOURCE_PATTERN, .expression = "(?i)\\bplease\\b|süß$", .matched = 0.5, .unmatched = -0.25 });

    ck_assert_double_eq(reward_of(s, "Yes, Please.", NULL), 0.5);
    ck_assert_double_eq(reward_of(s, "pleased", NULL), -0.25);
    ck_assert_double_eq(reward_of(s, "how SÜß", NULL), 0.5);
    ck_assert_double_eq(reward_of(s, "", NULL), -0.25);
    rlhf_source_free(s);
}
END_TEST

START_TEST(an_expression_that_runs_away_is_a_missing_reward_and_says_so)
{
    struct rlhf_source *s
        = a_source((struct rlhf_source_settings){ .kind = RLHF_SOURCE_PATTERN, .expression = "^(a+)+$", .matched = 1 });
    struct rlhf_source_text t = { "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", NULL, 1 };
    struct rlhf_error why = { 0 };

    ck_assert(isnan(rlhf_rule_reward(s, &t, &why)));
    expect_contains(why.text, "limit");
    t.completion = "\xff\xfe"; /* and so is a text that is none */
    ck_assert(isnan(rlhf_rule_reward(s, &t, &why)));
    expect_contains(why.text, "UTF-8");
    rlhf_source_free(s);
}
END_TEST

START_TEST(a_length_costs_what_lies_outside_of_its_range_by_unit)
{
    struct rlhf_source_settings o
        = { .kind = RLHF_SOURCE_LENGTH, .unit = RLHF_LENGTH_WORDS, .low = 2, .high = 4, .per_unit = 0.5 };
    struct rlhf_source *s = a_source(o);

    ck_assert_double_eq(reward_of(s, " one two  three\n", NULL), 0);
    ck_assert_double_eq(reward_of(s, "one", NULL), -0.5);
    ck_assert_double_eq(reward_of(s, "", NULL), -1);
    ck_assert_double_eq(reward_of(s, "a b c d e f", NULL), -1);
    rlhf_source_free(s);
    o.unit = RLHF_LENGTH_CHARACTERS;
    s = a_source(o);
    ck_assert_double_eq(reward_of(s, "über", NULL), 0); /* four characters, five bytes */
    ck_assert_double_eq(reward_of(s, "übers", NULL), -0.5);
    rlhf_source_free(s);
    o.unit = RLHF_LENGTH_TOKENS;
    s = a_source(o);
    ck_assert_double_eq(reward_of(s, "x", NULL), -1.5); /* reward_of() says seven */
    rlhf_source_free(s);
}
END_TEST

START_TEST(an_exact_answer_is_found_in_the_completion_and_compared_as_a_number)
{
    struct rlhf_source *s = a_source((struct rlhf_source_settings){
        .kind = RLHF_SOURCE_EXACT, .expression = "#### (\\-?[$0-9.,%]+)", .matched = 1, .unmatched = 0, .numbers = true });
    /* As gsm8k has it: the reasoning, then the answer. */
    const char *expected = "Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\n#### 1018";

    ck_assert_double_eq(reward_of(s, "So 9 * 113.1\n#### 1,018", expected), 1);
    ck_assert_double_eq(reward_of(s, "#### $1018.00.", expected), 1);
    ck_assert_double_eq(reward_of(s, "#### 1018 or rather #### 1019", expected), 0); /* the last one counts */
    ck_assert_double_eq(reward_of(s, "It is 1018.", expected), 0);                   /* not where it belongs */
    ck_assert_double_eq(reward_of(s, "#### 1018", "1018"), 1); /* an answer alone stands as it is */
    ck_assert_double_eq(reward_of(s, "#### 1018", "101"), 0);
    rlhf_source_free(s);
}
END_TEST

START_TEST(without_an_expression_all_of_the_text_is_the_answer_but_for_spaces_around)
{
    struct rlhf_source *s
        = a_source((struct rlhf_source_settings){ .kind = RLHF_SOURCE_EXACT, .matched = 1, .unmatched = -1 });

    ck_assert_double_eq(reward_of(s, " Paris\n", "Paris"), 1);
    ck_assert_double_eq(reward_of(s, "paris", "Paris"), -1);
    ck_assert_double_eq(reward_of(s, "7.0", "7"), -1); /* numbers was not asked for */
    rlhf_source_free(s);
}
END_TEST

START_TEST(a_prompt_without_an_answer_is_a_missing_reward_and_not_a_wrong_one)
{
    struct rlhf_source *s = a_source((struct rlhf_source_settings){ .kind = RLHF_SOURCE_EXACT, .matched = 1 });
    struct rlhf_error why = { 0 };

    ck_assert(isnan(rlhf_rule_reward(s, &(struct rlhf_source_text){ "?", "4", NULL, 1 }, &why)));
    expect_contains(why.text, "no answer");
    rlhf_source_free(s);
}
END_TEST

START_TEST(numbers_have_one_spelling)
{
    static const char *const spelled[][2] = {
        { "42", "42" },       { " 42. ", "42" },    { "+42.00", "42" }, { "$1,000.50", "1000.5" }, { "007", "7" },
        { "0.0", "0" },       { "-0.0", "0" },      { ".5", "0.5" },    { "-.50", "-0.5" },        { "00", "0" },
        { "-1,234", "-1234" }, { "50%", "50" },     { "0.10", "0.1" },  { "-$3", "-3" },           { "10", "10" },
    };
    static const char *const none[] = { "", " ", ".", "-", "1.2.3", "four", "4 2", "$", "1e5", "--1", ",1" };
    char out[64];

    for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++) {
        ck_assert_msg(rlhf_number_normal(spelled[i][0], strlen(spelled[i][0]), out, sizeof out), "%s", spelled[i][0]);
        ck_assert_str_eq(out, spelled[i][1]);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert_msg(!rlhf_number_normal(none[i], strlen(none[i]), out, sizeof out), "'%s' is no number", none[i]);
    ck_assert(!rlhf_number_normal("123456", 6, out, 6)); /* and no room for its end */
}
END_TEST

START_TEST(settings_that_make_no_sense_are_refused_by_name)
{
    static const struct {
        struct rlhf_source_settings s;
        const char *says;
    } bad[] = {
        { { .kind = RLHF_SOURCE_PATTERN, .name = "x", .expression = "(" }, "expression" },
        { { .kind = RLHF_SOURCE_PATTERN, .name = "x" }, "expression: missing" },
        { { .kind = RLHF_SOURCE_PATTERN, .name = "a/b", .expression = "a" }, "name" },
        { { .kind = RLHF_SOURCE_PATTERN, .name = "x", .expression = "a", .matched = NAN }, "not finite" },
        { { .kind = RLHF_SOURCE_LENGTH, .name = "x", .low = 2, .high = 1 }, "is empty" },
        { { .kind = RLHF_SOURCE_SERVICE, .name = "x", .url = "file:///etc/passwd" }, "https://" },
        { { .kind = RLHF_SOURCE_SERVICE, .name = "x", .url = "http://example.org/", .credential = "key" }, "in the clear" },
        { { .kind = RLHF_SOURCE_SERVICE, .name = "x", .url = "http://127.0.0.1.example.org/", .credential = "key" },
          "in the clear" },
        { { .kind = RLHF_SOURCE_SERVICE, .name = "x", .url = "https://example.org/", .credential = "../key" }, "credential" },
        { { .kind = RLHF_SOURCE_SERVICE, .name = "x", .url = "https://example.org/" }, "attempts" },
        { { .kind = RLHF_SOURCE_JUDGE, .name = "x", .url = "https://example.org/", .timeout_ms = 1, .attempts = 1, .batch = 1,
            .concurrency = 1, .model = "m", .question = "Is it good?" },
          "{completion}" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rlhf_error err = { 0 };

        ck_assert_ptr_null(rlhf_source_new(&bad[i].s, &err));
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, bad[i].says);
        expect_contains(err.text, bad[i].s.name);
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE("reward/rules", a_pattern_rewards_the_completions_that_it_matches,
                     an_expression_that_runs_away_is_a_missing_reward_and_says_so,
                     a_length_costs_what_lies_outside_of_its_range_by_unit,
                     an_exact_answer_is_found_in_the_completion_and_compared_as_a_number,
                     without_an_expression_all_of_the_text_is_the_answer_but_for_spaces_around,
                     a_prompt_without_an_answer_is_a_missing_reward_and_not_a_wrong_one, numbers_have_one_spelling,
                     settings_that_make_no_sense_are_refused_by_name);
}
