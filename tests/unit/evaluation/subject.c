#include "evaluation/subject.h"

#include <math.h>
#include <stdlib.h>

#include "small.h"

static const char *const asked[][2] = {
    { "Where is it? It is", " here." },  { "Where is it? It is", " there." }, { "Where is it? It is", " here." },
    { "Where is he? He is", " out." },   { "", "Alone." },                    { "", "Alone too." },
    { "Where is it? It is", " h" },      { "Where", " is it?" },              { "Where is he? He is", " out and about." },
    { "W", "here is it? It is here." },  { "Quite another one", ", short." }, { "", "Where is it? It is" },
};
enum { ASKED = sizeof(asked) / sizeof(*asked) };

static void make_requests(struct rlhf_requests *r, const struct rlhf_framing *f)
{
    struct rlhf_error err = { 0 };

    *r = (struct rlhf_requests){ 0 };
    for (size_t i = 0; i < ASKED; i++)
        expect_ok(rlhf_requests_add(r, f, asked[i][0], asked[i][1], &err), err);
}

/* Each request by itself, through a pass over the whole of it: its log-prob, and whether all of it has the largest logits. */
static void score_plainly(const struct rlhf_model *m, const struct rlhf_requests *r, size_t i, double *logprob, bool *greedy)
{
    const size_t v = rlhf_model_get_config(m)->vocabulary;
    const struct rlhf_request *q = &r->at[i];
    const int32_t *tokens = r->tokens.data + q->start;
    const uint32_t start[] = { 0, q->size - 1 };
    const struct rlhf_batch b = { .tokens = tokens, .start = start, .sequences = 1 };
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 0, &err);
    float *logits = calloc((q->size - 1) * v, sizeof *logits), *logprobs = calloc(q->size, sizeof *logprobs);
    int32_t *target = calloc(q->size, sizeof *target);

    *logprob = 0;
    *greedy = true;
    for (uint32_t t = 0; t + 1 < q->size; t++)
        target[t] = t + 1 < q->size - q->wanted ? -1 : tokens[t + 1];
    expect_ok(rlhf_pass_forward(p, m, &b, &err), err);
    expect_ok(rlhf_pass_logprobs(p, m, target, 1, logprobs, NULL, &err), err);
    expect_ok(rlhf_pass_logits(p, m, logits, &err), err);
    for (uint32_t t = 0; t + 1 < q->size; t++) {
        size_t most = 0;

        for (size_t j = 1; j < v; j++)
            if (logits[t * v + j] > logits[t * v + most])
                most = j;
        *logprob += (double)logprobs[t];
        *greedy = *greedy && (target[t] < 0 || (size_t)target[t] == most);
    }
    free(logits);
    free(logprobs);
    free(target);
    rlhf_pass_free(p);
}

START_TEST(shared_contexts_and_batches_change_no_bit)
{
    static const char *const styles[] = { "gpt2", "llama", "mistral" };

    for (size_t style = 0; style < 3; style++) {
        struct rlhf_model *m = a_model(styles[style], 64);
        struct rlhf_tokenizer *t = a_tokenizer();
        struct rlhf_error err = { 0 };

        for (size_t batch = 1; batch < 5000; batch *= 3) {
            struct rlhf_pool *pool = rlhf_pool_new(batch % 2 ? 1 : 3, &err);
            struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, pool, batch, &err);
            struct rlhf_requests r;
            double logprob[ASKED], plain;
            bool greedy[ASKED], plain_greedy;

            expect_some(s, err);
            make_requests(&r, rlhf_subject_framing(s));
            expect_ok(rlhf_subject_score(s, &r, logprob, greedy, &err), err);
            for (size_t i = 0; i < ASKED; i++) {
                score_plainly(m, &r, i, &plain, &plain_greedy);
                ck_assert_msg(logprob[i] == plain, "%zu: %.17g is not %.17g", i, logprob[i], plain);
                ck_assert_int_eq(greedy[i], plain_greedy);
            }
            rlhf_requests_free(&r);
            rlhf_subject_free(s);
            rlhf_pool_free(pool);
        }
        rlhf_tokenizer_free(t);
        rlhf_model_free(m);
    }
}
END_TEST

static char **complete(struct rlhf_subject *s, const char *const *prompts, size_t count, const struct rlhf_completing *c)
{
    char **text = calloc(count * c->samples, sizeof *text);
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_subject_complete(s, prompts, count, c, text, &err), err);
    return text;
}

/* What a greedy completion continues with is what greedy[] says of it. */
START_TEST(greedy_completions_are_what_is_likeliest)
{
    static const char *const prompts[] = { "Where", "Who", "", "How long is it? It is" };
    const struct rlhf_completing c = { .sampling = { .top_p = 1, .max_new_tokens = 9 }, .samples = 1 };
    struct rlhf_model *m = a_model("llama", 64);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, NULL, 64, &err), *other = rlhf_subject_new(m, NULL, t, NULL, 1, &err);
    char **text = complete(s, prompts, 4, &c), **again = complete(other, prompts, 4, &c);

    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(text[i], again[i]);
        free(text[i]);
        free(again[i]);
    }
    free(text);
    free(again);
    rlhf_subject_free(s);
    rlhf_subject_free(other);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
}
END_TEST

START_TEST(a_draw_is_named_by_prompt_and_sample_alone)
{
    static const char *const prompts[] = { "Where", "Who", "Where" };
    struct rlhf_completing c = { .sampling = { .temperature = 1, .top_p = 1, .max_new_tokens = 12 }, .samples = 3, .seed = 4 };
    struct rlhf_model *m = a_model("gpt2", 64);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, NULL, 16, &err);
    char **all = complete(s, prompts, 3, &c), **one;

    c.first_prompt = 2;
    one = complete(s, prompts + 2, 1, &c);
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(all[6 + i], one[i]);
    ck_assert_str_ne(all[0], all[6]); /* the same prompt in another place */
    ck_assert_str_ne(all[0], all[1]);
    for (size_t i = 0; i < 9; i++)
        free(all[i]);
    for (size_t i = 0; i < 3; i++)
        free(one[i]);
    free(all);
    free(one);
    rlhf_subject_free(s);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
}
END_TEST

/* The text that comes is cut where the stop begins, wherever in it the stop stands. */
START_TEST(stops_cut_the_text)
{
    static const char *const prompts[] = { "Where" };
    struct rlhf_completing c = { .sampling = { .top_p = 1, .max_new_tokens = 12 }, .samples = 1, .stop_count = 1 };
    struct rlhf_model *m = a_model("llama", 64);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, NULL, 16, &err);
    const char *nothing = "\x01 never \x02";
    char **whole, **cut, stop[3] = "";

    c.stops = &nothing;
    whole = complete(s, prompts, 1, &c);
    ck_assert_uint_gt(strlen(whole[0]), 5);
    memcpy(stop, whole[0] + 3, 2);
    c.stops = (const char *const[]){ stop };
    cut = complete(s, prompts, 1, &c);
    ck_assert_uint_eq(strlen(cut[0]), (size_t)(strstr(whole[0], stop) - whole[0]));
    ck_assert(strncmp(whole[0], cut[0], strlen(cut[0])) == 0);
    free(whole[0]);
    free(cut[0]);
    free(whole);
    free(cut);
    rlhf_subject_free(s);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
}
END_TEST

/* The first token of a greedy completion, made an end. It is no special token, and stays. */
START_TEST(end_tokens_of_the_configuration_end_completions)
{
    const struct rlhf_completing c = { .sampling = { .top_p = 1, .max_new_tokens = 12 }, .samples = 1 };
    struct rlhf_model *m = a_model("llama", 64);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    size_t ended = 0;

    for (char letter[] = "a"; *letter <= 'z'; ++*letter) {
        struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, NULL, 16, &err);
        struct rlhf_generation g = rlhf_generation_default;
        const char *prompt = letter;
        char **whole = complete(s, &prompt, 1, &c), **cut;

        g.ends.id[0] = BYTES + (uint8_t)whole[0][0];
        g.ends.count = 1;
        expect_ok(rlhf_subject_settle(s, &g, &err), err);
        cut = complete(s, &prompt, 1, &c);
        if ((uint8_t)whole[0][0] < 0x80 && strlen(whole[0]) > 1) { /* others are shown as another character */
            ck_assert_uint_eq(strlen(cut[0]), 1);
            ended++;
        }
        free(whole[0]);
        free(cut[0]);
        free(whole);
        free(cut);
        rlhf_subject_free(s);
    }
    ck_assert_uint_gt(ended, 3);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
}
END_TEST

static int give_up(void *ctx, uint64_t done, uint64_t total, struct rlhf_error *err)
{
    (void)done;
    (void)total;
    return ++*(int *)ctx < 2 ? 0 : rlhf_fail(err, RLHF_AGAIN, "stopped");
}

START_TEST(who_watches_may_end_it)
{
    struct rlhf_model *m = a_model("gpt2", 64), *reward = NULL;
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, NULL, 1, &err);
    struct rlhf_requests r;
    double logprob[ASKED];
    int calls = 0;

    make_requests(&r, rlhf_subject_framing(s));
    rlhf_subject_watch(s, &(struct rlhf_examination){ give_up, &calls });
    ck_assert_int_eq(rlhf_subject_score(s, &r, logprob, NULL, &err), -1);
    expect_code(err, RLHF_AGAIN);
    ck_assert_int_eq(calls, 2);
    reward = rlhf_model_clone(m, RLHF_HEAD_SCALAR, 1, &err);
    ck_assert_ptr_null(rlhf_subject_new(reward, NULL, t, NULL, 1, &err));
    expect_contains(err.text, "reward model");
    rlhf_requests_free(&r);
    rlhf_subject_free(s);
    rlhf_tokenizer_free(t);
    rlhf_model_free(reward);
    rlhf_model_free(m);
}
END_TEST

START_TEST(a_prompt_needs_room)
{
    const struct rlhf_completing c = { .sampling = { .top_p = 1, .max_new_tokens = 64 }, .samples = 1 };
    struct rlhf_model *m = a_model("gpt2", 64);
    struct rlhf_tokenizer *t = a_tokenizer();
    struct rlhf_error err = { 0 };
    struct rlhf_subject *s = rlhf_subject_new(m, NULL, t, NULL, 16, &err);
    char *text = NULL;

    ck_assert_int_eq(rlhf_subject_complete(s, (const char *const[]){ "x" }, 1, &c, &text, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "64 new tokens leave no room");
    ck_assert_ptr_null(text);
    rlhf_subject_free(s);
    rlhf_tokenizer_free(t);
    rlhf_model_free(m);
}
END_TEST

int main(void)
{
    return RUN_SUITE("evaluation/subject", shared_contexts_and_batches_change_no_bit, greedy_completions_are_what_is_likeliest,
                     a_draw_is_named_by_prompt_and_sample_alone, stops_cut_the_text,
                     end_tokens_of_the_configuration_end_completions, who_watches_may_end_it, a_prompt_needs_room);
}
