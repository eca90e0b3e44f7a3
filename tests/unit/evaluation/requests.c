#include "evaluation/requests.h"

#include "small.h"

/* One request more; its context as text, and its continuation, bytes of begin tokens shown as '^'. */
static void expect_request(const struct rlhf_requests *r, size_t i, const char *context, const char *continuation)
{
    char shown[200];
    const struct rlhf_request *q = &r->at[i];

    ck_assert_uint_lt(i, r->count);
    for (size_t t = 0; t < q->size; t++) {
        int32_t id = r->tokens.data[q->start + t];

        shown[t] = id == BEGIN ? '^' : (char)(id - BYTES);
    }
    shown[q->size] = '\0';
    ck_assert_uint_eq(q->size - q->wanted, strlen(context));
    ck_assert_str_eq(shown + q->size - q->wanted, continuation);
    ck_assert(strncmp(shown, context, strlen(context)) == 0);
}

START_TEST(white_space_at_the_end_of_a_context_belongs_to_the_continuation)
{
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_requests r = { 0 };
    struct rlhf_framing f;

    expect_ok(rlhf_framing_init(&f, t, 100, &err), err);
    expect_ok(rlhf_requests_add(&r, &f, "Q: a \u00a0\n", "b", &err), err);
    expect_ok(rlhf_requests_add(&r, &f, "Q:", " b", &err), err);
    expect_ok(rlhf_requests_add(&r, &f, "", "b", &err), err);
    expect_ok(rlhf_requests_add(&r, &f, "", "<|begin|>b", &err), err);
    expect_ok(rlhf_requests_add(&r, &f, "<|begin|>a", "b", &err), err);
    expect_request(&r, 0, "^Q: a", " \u00a0\nb");
    expect_request(&r, 1, "^Q:", " b");
    expect_request(&r, 2, "^", "b");
    expect_request(&r, 3, "^", "b");
    expect_request(&r, 4, "^a", "b");
    ck_assert_int_eq(rlhf_requests_add(&r, &f, "a", "", &err), -1);
    expect_contains(err.text, "adds no token");
    ck_assert_int_eq(rlhf_requests_add(&r, &f, "", "", &err), -1);
    ck_assert_uint_eq(r.count, 5);
    rlhf_requests_free(&r);
    rlhf_framing_free(&f);
    rlhf_tokenizer_free(t);
}
END_TEST

START_TEST(what_is_too_long_loses_its_beginning)
{
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_requests r = { 0 };
    struct rlhf_tokens prompt = { 0 };
    struct rlhf_framing f;

    expect_ok(rlhf_framing_init(&f, t, 6, &err), err);
    expect_ok(rlhf_requests_add(&r, &f, "abcdefgh", "ij", &err), err);
    expect_ok(rlhf_requests_add(&r, &f, "abc", "defghi", &err), err);
    expect_request(&r, 0, "defgh", "ij"); /* the last token is never read, so there is one more */
    expect_request(&r, 1, "c", "defghi");
    ck_assert_int_eq(rlhf_requests_add(&r, &f, "abc", "defghij", &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "7 tokens; the model's context is 6");
    ck_assert_uint_eq(r.tokens.size, 10 + 1 + 9 + 1);
    expect_ok(rlhf_frame_prompt(&f, "abcdef", 4, &prompt, &err), err);
    ck_assert_uint_eq(prompt.size, 4);
    ck_assert_int_eq(prompt.data[0], BYTES + 'c');
    rlhf_tokens_free(&prompt);
    rlhf_requests_free(&r);
    rlhf_framing_free(&f);
    rlhf_tokenizer_free(t);
}
END_TEST

/* As lm_eval.utils.get_rolling_token_windows() and make_disjoint_window() cut [BEGIN a b c d e f g] for 3 tokens: BEGIN is predicted, too. */
START_TEST(every_token_of_a_text_is_wanted_once)
{
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_requests r = { 0 };
    struct rlhf_framing f;

    expect_ok(rlhf_framing_init(&f, t, 3, &err), err);
    expect_ok(rlhf_requests_add_text(&r, &f, "abcdefg", 7, &err), err);
    ck_assert_uint_eq(r.count, 3);
    expect_request(&r, 0, "^", "^ab");
    expect_request(&r, 1, "b", "cde");
    expect_request(&r, 2, "de", "fg");
    expect_ok(rlhf_requests_add_text(&r, &f, "a", 1, &err), err);
    expect_request(&r, 3, "^", "^a");
    rlhf_requests_free(&r);
    rlhf_framing_free(&f);
    rlhf_tokenizer_free(t);
}
END_TEST

int main(void)
{
    return RUN_SUITE("evaluation/requests", white_space_at_the_end_of_a_context_belongs_to_the_continuation,
                     what_is_too_long_loses_its_beginning, every_token_of_a_text_is_wanted_once);
}
