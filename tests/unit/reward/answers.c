#include "reward/answers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/suite.h"

static struct rlhf_source *a_judge(const char *expression)
{
    struct rlhf_error err = { 0 };
    struct rlhf_source *s
        = rlhf_source_new(&(struct rlhf_source_settings){ .kind = RLHF_SOURCE_JUDGE,
                                                          .name = "judge",
                                                          .url = "https://example.org/v1/chat/completions",
                                                          .expression = expression,
                                                          .timeout_ms = 1,
                                                          .attempts = 1,
                                                          .batch = 1,
                                                          .concurrency = 1,
                                                          .low = 1,
                                                          .high = 10,
                                                          .model = "m",
                                                          .question = "{prompt}|{completion}|{answer}|{other}",
                                                          .key = "score" },
                          &err);

    expect_some(s, err);
    return s;
}

static float score(const struct rlhf_source *s, const char *words, const char *says)
{
    struct rlhf_error why = { 0 };
    float value = rlhf_judge_score(s, words, &why);

    ck_assert_int_eq(isnan(value) != 0, says != NULL);
    if (says)
        expect_contains(why.text, says);
    return value;
}

START_TEST(a_judges_score_is_a_number_in_a_json_object_and_in_its_range)
{
    struct rlhf_source *s = a_judge("");

    ck_assert_double_eq(score(s, " {\"reason\": \"fine\", \"score\": 7.5}\n", NULL), 7.5);
    ck_assert_double_eq(score(s, "```json\n{\"score\": 3}\n```\n", NULL), 3);
    ck_assert_double_eq(score(s, "\n```\n{\"score\": 4}```", NULL), 4);
    score(s, "```", "no score");
    score(s, "``````", "no score");
    score(s, "Sure:\n```json\n{\"score\": 3}\n```", "no score");
    score(s, "{\"score\": \"7\"}", "no score");
    score(s, "{\"score\": 7", "no score");
    score(s, "{\"score\": 7, \"score\": 9}", "no score"); /* which one? */
    score(s, "7", "no score");
    score(s, "[7]", "no score");
    score(s, "Sure! {\"score\": 7}", "no score");
    score(s, "{\"score\": 11}", "outside of 1 to 10");
    score(s, "", "no score");
    score(s, "{\"score\": NaN}", "no score");
    score(s, "{\"score\": 1e999}", "no score");
    score(s, "{\"score\": 99999999999999999999}", "no score");
    rlhf_source_free(s);
}
END_TEST

START_TEST(or_it_stands_where_an_expression_finds_it)
{
    struct rlhf_source *s = a_judge("Score:\\s*([-+0-9.]+)");

    ck_assert_double_eq(score(s, "Well done.\nScore: 3\nNo, Score: 8.5", NULL), 8.5); /* the last */
    score(s, "I give it an 8", "no score");
    score(s, "Score: 1.2.3", "no score");
    score(s, "Score: -4", "outside");
    rlhf_source_free(s);
}
END_TEST

START_TEST(what_is_filled_into_a_question_is_not_looked_at_again)
{
    struct rlhf_source *s = a_judge("");
    struct rlhf_source_text t = { "{completion}", "say \"{answer}\"", "42", 1 };
    struct rlhf_bytes out = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_judge_request(s, &t, &out, &err), err);
    expect_contains(out.data, "\"content\":\"{completion}|say \\\"{answer}\\\"|42|{other}\"");
    t.prompt = "\xff";
    ck_assert_int_lt(rlhf_judge_request(s, &t, &out, &err), 0);
    expect_contains(err.text, "UTF-8");
    rlhf_bytes_free(&out);
    rlhf_source_free(s);
}
END_TEST

START_TEST(a_services_answer_has_as_many_rewards_as_it_was_asked_for)
{
    static const struct {
        const char *json, *says;
    } bad[] = {
        { "", "not JSON" },
        { "[1, 2]", "\"rewards\" of 2" },
        { "{\"rewards\": [1]}", "\"rewards\" of 2" },
        { "{\"rewards\": [1, 2, 3]}", "\"rewards\" of 2" },
        { "{\"rewards\": [1, \"2\"]}", "reward 1" },
        { "{\"rewards\": [1, 1e300]}", "reward 1" },
        { "{\"rewards\": [1, NaN]}", "not JSON" },
    };
    struct rlhf_error err = { 0 };
    float reward[2];

    expect_ok(rlhf_service_rewards("{\"rewards\": [0.5, null]}", 24, 2, reward, &err), err);
    ck_assert_double_eq(reward[0], 0.5);
    ck_assert(isnan(reward[1]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_lt(rlhf_service_rewards(bad[i].json, strlen(bad[i].json), 2, reward, &err), 0);
        expect_contains(err.text, bad[i].says);
    }
}
END_TEST

START_TEST(an_answer_that_is_no_chat_completion_is_told)
{
    static const char *const bad[] = { "", "{}", "{\"choices\": []}", "{\"choices\": [{\"message\": {\"content\": null}}]}",
                                       "{\"error\": {\"message\": \"quota\"}}" };
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_ptr_null(rlhf_judge_words(bad[i], strlen(bad[i]), &err));
        expect_contains(err.text, "chat completion");
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE("reward/answers", a_judges_score_is_a_number_in_a_json_object_and_in_its_range,
                     or_it_stands_where_an_expression_finds_it, what_is_filled_into_a_question_is_not_looked_at_again,
                     a_services_answer_has_as_many_rewards_as_it_was_asked_for,
                     an_answer_that_is_no_chat_completion_is_told);
}
