/* Scores are the same bits whatever is scored beside them. */
#include "reward-scorer/marker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/shape.h"
#include "support/suite.h"

enum { JOBS = 30, CONTEXT = 40, VOCABULARY = 61 };

struct score {
    unsigned done;
    float reward, logprob[CONTEXT];
    size_t count;
    struct rlhf_error error;
};
static struct score results[JOBS];

static void on_done(void *ctx, const struct marker_result *r)
{
    struct score *s = &results[r->tag];

    (void)ctx;
    s->done++;
    s->reward = r->reward;
    s->count = r->count;
    if (r->error)
        s->error = *r->error;
    if (r->count)
        memcpy(s->logprob, r->logprob_ref, r->count * sizeof *r->logprob_ref);
}

static struct rlhf_model *a_model(uint64_t seed, enum rlhf_head head)
{
    struct rlhf_model_config c = a_config("llama", (struct shape){ 2, 2, 8, 32, VOCABULARY, CONTEXT });
    struct rlhf_error err = { 0 };
    struct rlhf_model *m;

    c.head = head;
    expect_some(m = rlhf_model_new(&c, seed, &err), err);
    return m;
}

static struct rlhf_digest named(const char *name)
{
    return rlhf_digest_of(name, strlen(name));
}

/* Four have a prompt in common. */
static struct marker_job a_job(unsigned i, int32_t *ids)
{
    struct marker_job job = {
        .tag = i,
        .reward_model = named("reward"),
        .reference = named("reference"),
        .temperature = 0.8f,
        .ids = ids,
        .prompt_count = 1 + i / 4 * 5 % (CONTEXT / 2),
    };

    job.count = job.prompt_count + 1 + i * 7 % (CONTEXT - job.prompt_count);
    for (size_t t = 0; t < job.count; t++)
        ids[t] = (int32_t)(((t < job.prompt_count ? i / 4 : i) * 13 + t * 29) % VOCABULARY);
    return job;
}

static struct marker *a_marker(size_t max_tokens, struct rlhf_pool *pool)
{
    struct rlhf_error err = { 0 };
    struct marker *k = marker_new(max_tokens, pool, on_done, NULL, &err);
    struct rlhf_digest reward = named("reward"), reference = named("reference");

    expect_some(k, err);
    expect_ok(marker_add_model(k, &reward, a_model(1, RLHF_HEAD_SCALAR), &err), err);
    expect_ok(marker_add_model(k, &reference, a_model(2, RLHF_HEAD_LM), &err), err);
    memset(results, 0, sizeof results);
    return k;
}

static void add(struct marker *k, const struct marker_job *job)
{
    struct rlhf_error err = { 0 };

    expect_ok(marker_add(k, job, &err), err);
}

START_TEST(scores_are_the_same_bits_however_they_are_batched)
{
    static const struct {
        size_t tokens;
        unsigned threads, stride;
    } ways[] = { { 1, 1, 1 }, { 64, 2, 7 }, { 100, 3, 11 }, { 100000, 2, 29 } };
    struct score alone[JOBS];
    struct rlhf_error err = { 0 };

    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
        struct rlhf_pool *pool = rlhf_pool_new(ways[w].threads, &err);
        struct marker *k = a_marker(ways[w].tokens, pool);

        for (unsigned n = 0; n < JOBS; n++) {
            int32_t ids[CONTEXT + 2];
            struct marker_job job = a_job(n * ways[w].stride % JOBS, ids);

            add(k, &job);
        }
        while (marker_step(k))
            ;
        for (unsigned i = 0; i < JOBS; i++) {
            int32_t ids[CONTEXT + 2];
            struct marker_job job = a_job(i, ids);

            ck_assert_uint_eq(results[i].done, 1);
            ck_assert_uint_eq(results[i].count, job.count - job.prompt_count);
            ck_assert_msg(w == 0 || memcmp(&results[i], &alone[i], sizeof results[i]) == 0, "job %u", i);
        }
        memcpy(alone, results, sizeof alone);
        marker_free(k);
        rlhf_pool_free(pool);
    }
}
END_TEST

START_TEST(a_score_is_the_last_scalar_and_the_completions_log_probs)
{
    struct rlhf_error err = { 0 };
    struct marker *k = a_marker(100, NULL);
    struct rlhf_model *reward = a_model(1, RLHF_HEAD_SCALAR), *reference = a_model(2, RLHF_HEAD_LM);
    struct rlhf_pass *rp = rlhf_pass_new(rlhf_model_get_config(reward), NULL, 0, &err);
    struct rlhf_pass *lp = rlhf_pass_new(rlhf_model_get_config(reference), NULL, 0, &err);

    for (unsigned i = 0; i < JOBS; i++) {
        int32_t ids[CONTEXT + 2], target[CONTEXT + 2];
        float scalar[CONTEXT + 2], logprob[CONTEXT + 2];
        struct marker_job job = a_job(i, ids);
        uint32_t start[] = { 0, (uint32_t)job.count };
        struct rlhf_batch batch = { .tokens = ids, .start = start, .sequences = 1 };

        add(k, &job);
        while (marker_step(k))
            ;
        for (size_t t = 0; t < job.count; t++)
            target[t] = t + 1 < job.count && t + 1 >= job.prompt_count ? ids[t + 1] : -1;
        expect_ok(rlhf_pass_forward(rp, reward, &batch, &err), err);
        expect_ok(rlhf_pass_scalars(rp, reward, scalar, &err), err);
        expect_ok(rlhf_pass_forward(lp, reference, &batch, &err), err);
        expect_ok(rlhf_pass_logprobs(lp, reference, target, job.temperature, logprob, NULL, &err), err);
        ck_assert(memcmp(&results[i].reward, &scalar[job.count - 1], sizeof(float)) == 0);
        ck_assert(memcmp(results[i].logprob, logprob + job.prompt_count - 1,
                         (job.count - job.prompt_count) * sizeof *logprob)
                  == 0);
    }
    rlhf_pass_free(rp);
    rlhf_pass_free(lp);
    rlhf_model_free(reward);
    rlhf_model_free(reference);
    marker_free(k);
}
END_TEST

START_TEST(only_what_was_asked_for_is_computed)
{
    struct marker *k = a_marker(1000, NULL);
    int32_t ids[CONTEXT + 2];
    struct marker_job job = a_job(3, ids);

    job.reference = (struct rlhf_digest){ 0 };
    job.temperature = 0;
    add(k, &job);
    job = a_job(4, ids);
    job.reward_model = (struct rlhf_digest){ 0 };
    add(k, &job);
    while (marker_step(k))
        ;
    ck_assert_uint_eq(results[3].done + results[4].done, 2);
    ck_assert(results[3].reward != 0 && results[3].count == 0);
    ck_assert(results[4].reward == 0 && results[4].count > 0);
    marker_free(k);
}
END_TEST

START_TEST(a_job_that_cannot_be_done_ends_with_the_reason_and_harms_no_other)
{
    static const char *const reasons[] = { "reward model is not here", "scalar head", "language-model head",
                                           "takes up to 40", "outside the reward model's vocabulary",
                                           "leave nothing to score", "temperature" };
    struct marker *k = a_marker(1000, NULL);

    for (unsigned i = 0; i < 8; i++) {
        int32_t ids[CONTEXT + 2] = { 0 };
        struct marker_job job = a_job(i, ids);

        if (i == 0)
            job.reward_model = named("unknown");
        else if (i == 1)
            job.reference = job.reward_model;
        else if (i == 2)
            job.reward_model = job.reference;
        else if (i == 3)
            job.count = CONTEXT + 1;
        else if (i == 4)
            ids[job.count - 1] = VOCABULARY;
        else if (i == 5)
            job.prompt_count = job.count;
        else if (i == 6)
            job.temperature = 0;
        add(k, &job);
    }
    while (marker_step(k))
        ;
    for (unsigned i = 0; i < 7; i++) {
        ck_assert_uint_eq(results[i].done, 1);
        expect_code(results[i].error, RLHF_REJECT);
        expect_contains(results[i].error.text, reasons[i]);
    }
    ck_assert_int_eq(results[7].error.code, RLHF_OK);
    ck_assert_uint_eq(results[7].done, 1);
    marker_free(k);
}
END_TEST

START_TEST(a_score_that_is_no_number_is_an_error)
{
    struct rlhf_error err = { 0 };
    struct marker *k = a_marker(1000, NULL);
    struct rlhf_model *m[] = { a_model(1, RLHF_HEAD_SCALAR), a_model(1, RLHF_HEAD_LM) };
    static const char *const names[] = { "broken reward", "broken reference" };

    for (unsigned i = 0; i < 2; i++) {
        struct rlhf_digest digest = named(names[i]);
        int32_t ids[CONTEXT + 2];
        struct marker_job job = a_job(5 + i, ids);
        size_t count;
        float *parameters = rlhf_model_parameters(m[i], &count);

        for (size_t p = 0; p < count; p++)
            parameters[p] = NAN;
        rlhf_model_touch(m[i], NULL);
        expect_ok(marker_add_model(k, &digest, m[i], &err), err);
        *(i ? &job.reference : &job.reward_model) = digest;
        add(k, &job);
    }
    while (marker_step(k))
        ;
    expect_code(results[5].error, RLHF_CORRUPT);
    expect_code(results[6].error, RLHF_CORRUPT);
    marker_free(k);
}
END_TEST

int main(void)
{
    return RUN_SUITE("reward-scorer/marker", scores_are_the_same_bits_however_they_are_batched,
                     a_score_is_the_last_scalar_and_the_completions_log_probs, only_what_was_asked_for_is_computed,
                     a_job_that_cannot_be_done_ends_with_the_reason_and_harms_no_other,
                     a_score_that_is_no_number_is_an_error);
}
