/* Continuous batching: a completion is the same bits whatever is computed beside it. */
#include "rollout-worker/generator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/shape.h"
#include "support/suite.h"

enum { JOBS = 40, CONTEXT = 48, VOCABULARY = 97, MOST = 64 };

struct completion {
    unsigned done;
    size_t count;
    bool ended;
    int32_t ids[MOST];
    float logprob[MOST], logprob_raw[MOST];
    struct rlhf_error error;
};

static struct completion results[JOBS];
static uint64_t finished_order[4 * JOBS];
static size_t finished;

static void on_done(void *ctx, const struct generator_result *r)
{
    struct completion *c = &results[r->tag];

    (void)ctx;
    finished_order[finished++] = r->tag;
    c->done++;
    if (r->error) {
        c->error = *r->error;
        ck_assert_uint_eq(r->count, 0);
        return;
    }
    c->count = r->count;
    c->ended = r->ended;
    memcpy(c->ids, r->ids, r->count * sizeof *r->ids);
    memcpy(c->logprob, r->logprob, r->count * sizeof *r->logprob);
    memcpy(c->logprob_raw, r->logprob_raw, r->count * sizeof *r->logprob_raw);
}

static struct rlhf_model *a_model(const char *style, uint64_t seed, enum rlhf_head head)
{
    struct rlhf_model_config c = a_config(style, (struct shape){ 2, 4, 8, 64, VOCABULARY, CONTEXT });
    struct rlhf_error err = { 0 };
    struct rlhf_model *m;
    float *parameters;
    size_t count;

    c.kv_heads = strcmp(style, "llama") == 0 ? 2 : 4;
    c.head = head;
    expect_some(m = rlhf_model_new(&c, seed, &err), err);
    parameters = rlhf_model_parameters(m, &count);
    for (size_t i = 0; i < count; i++) /* livelier distributions than fresh weights give */
        parameters[i] *= 8;
    rlhf_model_touch(m, NULL);
    return m;
}

static struct rlhf_digest digest_of_model(unsigned i)
{
    return rlhf_digest_of(&i, sizeof i);
}

/* Job i: some prompts are shared, lengths and samplings differ. */
static struct generator_job a_job(unsigned i, int32_t *prompt)
{
    unsigned p = i / 4; /* four samples a prompt */
    struct generator_job job = {
        .tag = i,
        .weights = digest_of_model(0),
        .sampling = { .temperature = i % 5 ? 0.9f : 0, .top_k = i % 3 ? 0 : 20, .top_p = i % 2 ? 1 : 0.95f,
                      .max_new_tokens = 1 + i * 7 % 40 },
        .key = { .seed = 11, .purpose = RLHF_PURPOSE_SAMPLE, .prompt = p, .sample = i % 4 },
        .end_token = i % 6 ? 3 : -1,
        .prompt = prompt,
        .prompt_count = 1 + p * 5 % 23,
    };

    for (size_t t = 0; t < job.prompt_count; t++)
        prompt[t] = (int32_t)((p * 31 + t * 17) % VOCABULARY);
    return job;
}

static struct generator *a_generator(size_t slots, size_t prefill, struct rlhf_pool *pool)
{
    struct rlhf_error err = { 0 };
    struct generator *g = generator_new(slots, prefill, pool, on_done, NULL, &err);

    expect_some(g, err);
    memset(results, 0, sizeof results);
    finished = 0;
    return g;
}

static void add(struct generator *g, const struct generator_job *job)
{
    struct rlhf_error err = { 0 };

    expect_ok(generator_add(g, job, &err), err);
}

static void run(struct generator *g)
{
    for (unsigned n = 0; generator_step(g); n++)
        ck_assert_uint_lt(n, 100000);
}

static void expect_equal(const struct completion *a, const struct completion *b, unsigned i)
{
    ck_assert_uint_eq(a->done, 1);
    ck_assert_msg(a->count == b->count && a->ended == b->ended, "job %u: %zu tokens, not %zu", i, a->count, b->count);
    ck_assert_msg(memcmp(a->ids, b->ids, a->count * sizeof *a->ids) == 0, "job %u: other tokens", i);
    ck_assert_msg(memcmp(a->logprob, b->logprob, a->count * sizeof *a->logprob) == 0, "job %u: other log-probs", i);
    ck_assert_msg(memcmp(a->logprob_raw, b->logprob_raw, a->count * sizeof *a->logprob_raw) == 0,
                  "job %u: other untempered log-probs", i);
}

static void expect_same_bits_however_batched(const char *style)
{
    static const struct {
        unsigned slots, threads;
        size_t prefill;
        unsigned stride; /* job n is the (n * stride) % JOBS-th; coprime to JOBS */
    } ways[] = { { 1, 1, 1000, 1 }, { 2, 1, 1, 7 }, { 5, 3, 16, 1 }, { 7, 2, 1000, 3 }, { 16, 2, 40, 11 }, { 64, 4, 1000, 39 } };
    struct completion alone[JOBS];
    struct rlhf_error err = { 0 };

    for (size_t w = 0; w <= sizeof ways / sizeof ways[0]; w++) {
        struct rlhf_pool *pool = rlhf_pool_new(w ? ways[w - 1].threads : 1, &err);
        struct generator *g = a_generator(w ? ways[w - 1].slots : 1, w ? ways[w - 1].prefill : 1000, pool);
        struct rlhf_digest digest = digest_of_model(0);

        expect_ok(generator_add_model(g, &digest, a_model(style, 5, RLHF_HEAD_LM), &err), err);
        for (unsigned n = 0; n < JOBS; n++) {
            int32_t prompt[CONTEXT];
            struct generator_job job = a_job(w ? n * ways[w - 1].stride % JOBS : n, prompt);

            add(g, &job);
            if (w == 0) /* the first time each one alone */
                run(g);
            else if (n % 3 == 0) /* else they come while others are under way */
                generator_step(g);
        }
        run(g);
        if (w == 0)
            memcpy(alone, results, sizeof alone);
        else
            for (unsigned i = 0; i < JOBS; i++)
                expect_equal(&results[i], &alone[i], i);
        generator_free(g);
        rlhf_pool_free(pool);
    }
    for (unsigned i = 0, different = 0; i < JOBS; i++) { /* else the comparison shows little */
        different += alone[i].count > 1 && alone[i].ids[0] != alone[i].ids[1];
        ck_assert(i + 1 < JOBS || different > JOBS / 2);
    }
}

START_TEST(gpt2_completions_are_the_same_bits_however_they_are_batched)
{
    expect_same_bits_however_batched("gpt2");
}
END_TEST

START_TEST(llama_completions_are_the_same_bits_however_they_are_batched)
{
    expect_same_bits_however_batched("llama");
}
END_TEST

START_TEST(log_probs_are_those_of_scoring_the_same_tokens)
{
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(2, &err);
    struct generator *g = a_generator(8, 100, pool);
    struct rlhf_digest digest = digest_of_model(0);
    struct rlhf_model *m = a_model("llama", 5, RLHF_HEAD_LM);
    struct rlhf_pass *pass = rlhf_pass_new(rlhf_model_get_config(m), pool, 0, &err);

    expect_some(pass, err);
    expect_ok(generator_add_model(g, &digest, a_model("llama", 5, RLHF_HEAD_LM), &err), err);
    for (unsigned i = 0; i < JOBS; i++) {
        int32_t prompt[CONTEXT];
        struct generator_job job = a_job(i, prompt);

        job.sampling = (struct rlhf_sampling){ .temperature = 0.7f, .top_p = 1, .max_new_tokens = 20 };
        add(g, &job);
    }
    run(g);
    for (unsigned i = 0; i < JOBS; i++) {
        int32_t tokens[CONTEXT], target[CONTEXT];
        float logprob[CONTEXT];
        struct generator_job job = a_job(i, tokens);
        size_t count = job.prompt_count + results[i].count;
        uint32_t start[] = { 0, (uint32_t)count };

        memcpy(tokens + job.prompt_count, results[i].ids, results[i].count * sizeof *tokens);
        for (size_t t = 0; t < count; t++)
            target[t] = t + 1 < count && t + 1 >= job.prompt_count ? tokens[t + 1] : -1;
        expect_ok(rlhf_pass_forward(pass, m, &(struct rlhf_batch){ .tokens = tokens, .start = start, .sequences = 1 }, &err), err);
        expect_ok(rlhf_pass_logprobs(pass, m, target, 0.7f, logprob, NULL, &err), err);
        for (size_t t = 0; t < results[i].count; t++)
            ck_assert_msg(memcmp(&logprob[job.prompt_count - 1 + t], &results[i].logprob[t], sizeof(float)) == 0,
                          "job %u token %zu: %.9g when scored, %.9g when sampled", i, t,
                          (double)logprob[job.prompt_count - 1 + t], (double)results[i].logprob[t]);
    }
    rlhf_pass_free(pass);
    rlhf_model_free(m);
    generator_free(g);
    rlhf_pool_free(pool);
}
END_TEST

START_TEST(completions_end_with_the_end_token_or_by_length)
{
    struct rlhf_error err = { 0 };
    struct completion open_ended[JOBS];
    int32_t prompt[CONTEXT];

    for (unsigned way = 0; way < 2; way++) {
        struct generator *g = a_generator(4, 100, NULL);
        struct rlhf_digest digest = digest_of_model(0);

        expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5, RLHF_HEAD_LM), &err), err);
        for (unsigned i = 0; i < JOBS; i++) {
            struct generator_job job = a_job(i, prompt);

            job.sampling.max_new_tokens = i % 2 ? 1000 : 10; /* by the context, or by what was asked for */
            job.end_token = way ? open_ended[i].ids[open_ended[i].count / 2] : -1;
            add(g, &job);
        }
        run(g);
        for (unsigned i = 0; i < JOBS; i++) {
            struct generator_job job = a_job(i, prompt);
            size_t room = CONTEXT - job.prompt_count;

            ck_assert_int_eq(results[i].ended, way);
            if (way == 0) {
                ck_assert_uint_eq(results[i].count, i % 2 || room < 10 ? room : 10);
                continue;
            }
            ck_assert_uint_le(results[i].count, open_ended[i].count / 2 + 1);
            ck_assert(memcmp(results[i].ids, open_ended[i].ids, results[i].count * sizeof *results[i].ids) == 0);
            ck_assert_int_eq(results[i].ids[results[i].count - 1], open_ended[i].ids[open_ended[i].count / 2]);
        }
        memcpy(open_ended, results, sizeof open_ended);
        generator_free(g);
    }
}
END_TEST

START_TEST(a_finished_sequence_leaves_and_the_next_enters_at_once)
{
    struct rlhf_error err = { 0 };
    struct generator *g = a_generator(2, 1000, NULL);
    struct rlhf_digest digest = digest_of_model(0);
    static const uint32_t lengths[] = { 30, 3, 3, 3, 3, 3 };

    expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5, RLHF_HEAD_LM), &err), err);
    for (unsigned i = 0; i < 6; i++) {
        int32_t prompt[CONTEXT] = { 0 };
        struct generator_job job = a_job(4 * i, prompt);

        job.tag = i;
        job.prompt_count = 3;
        job.end_token = -1;
        job.sampling.max_new_tokens = lengths[i];
        add(g, &job);
    }
    for (unsigned n = 0; n < 16; n++)
        generator_step(g);
    ck_assert_uint_eq(finished, 5); /* all the short ones passed through one slot */
    ck_assert_uint_eq(results[0].done, 0);
    run(g);
    ck_assert_uint_eq(results[0].done, 1);
    generator_free(g);
}
END_TEST

/* Samples from .. to - 1 of one prompt of 20 tokens, and all steps they take. */
static void add_samples(struct generator *g, unsigned from, unsigned to, unsigned weights)
{
    int32_t prompt[CONTEXT];
    struct generator_job job = a_job(0, prompt);

    for (size_t t = 0; t < 20; t++)
        prompt[t] = (int32_t)(t * 17 % VOCABULARY);
    job.prompt_count = 20;
    job.weights = digest_of_model(weights);
    job.end_token = -1;
    for (unsigned i = from; i < to; i++) {
        job.tag = job.key.sample = i;
        job.sampling.max_new_tokens = 3 + i % 2;
        add(g, &job);
    }
    run(g);
}

START_TEST(samples_of_a_prompt_cost_one_prefill_whenever_they_come)
{
    struct rlhf_error err = { 0 };
    struct generator *g = a_generator(3, 1000, NULL);

    for (unsigned i = 0; i < 2; i++) {
        struct rlhf_digest digest = digest_of_model(i);

        expect_ok(generator_add_model(g, &digest, a_model("llama", 5 + i, RLHF_HEAD_LM), &err), err);
    }
    add_samples(g, 0, 8, 0); /* more than there are slots */
    ck_assert_uint_eq(generator_prefilled(g), 20 + 7);
    add_samples(g, 8, 12, 0); /* nobody is left of those */
    ck_assert_uint_eq(generator_prefilled(g), 20 + 11);
    add_samples(g, 0, 2, 1); /* what other weights cached is worth nothing */
    ck_assert_uint_eq(generator_prefilled(g), 2 * 20 + 12);
    add_samples(g, 12, 13, 0); /* in the slot that those did not take */
    ck_assert_uint_eq(generator_prefilled(g), 2 * 20 + 13);
    generator_free(g);
}
END_TEST

START_TEST(jobs_of_several_models_never_mix_and_are_batched_by_model)
{
    struct rlhf_error err = { 0 };
    struct completion one[JOBS];
    unsigned steps = 0;

    for (unsigned way = 0; way < 2; way++) {
        struct generator *g = a_generator(16, 1000, NULL);

        for (unsigned m = 0; m < 2; m++) {
            struct rlhf_digest digest = digest_of_model(m);

            expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5 + m, RLHF_HEAD_LM), &err), err);
        }
        for (unsigned i = 0; i < JOBS; i++) {
            int32_t prompt[CONTEXT];
            struct generator_job job = a_job(i, prompt);

            job.weights = digest_of_model(i % 2);
            add(g, &job);
            if (way == 0)
                run(g);
        }
        for (; generator_step(g); steps++)
            ;
        if (way == 0)
            memcpy(one, results, sizeof one);
        else
            for (unsigned i = 0; i < JOBS; i++)
                expect_equal(&results[i], &one[i], i);
        generator_free(g);
    }
    ck_assert_uint_lt(steps, 200); /* 20 jobs a model, up to 40 tokens each, 16 at a time; alternating it were 800 */
}
END_TEST

START_TEST(a_new_model_is_in_use_at_once_beside_what_is_under_way)
{
    struct rlhf_error err = { 0 };
    struct completion alone[3];

    for (int together = 0; together < 2; together++) {
        struct generator *g = a_generator(3, 1000, NULL);

        for (unsigned i = 0; i < 3; i++) {
            struct rlhf_digest digest = digest_of_model(i / 2);
            int32_t prompt[CONTEXT];
            struct generator_job job = a_job(i, prompt);

            job.weights = digest;
            job.end_token = -1;
            job.sampling.max_new_tokens = i < 2 ? 30 : 1;
            if (i % 2 == 0)
                expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5 + i, RLHF_HEAD_LM), &err), err);
            add(g, &job);
            if (together)
                generator_step(g);
            else
                run(g);
        }
        if (together) { /* the step after it was told of gave its token */
            ck_assert_uint_eq(results[2].done, 1);
            ck_assert_uint_eq(results[0].done + results[1].done, 0);
            run(g);
            for (unsigned i = 0; i < 3; i++)
                expect_equal(&results[i], &alone[i], i);
        }
        memcpy(alone, results, sizeof alone);
        generator_free(g);
    }
}
END_TEST

START_TEST(models_of_different_shapes_take_turns)
{
    struct rlhf_error err = { 0 };
    struct generator *g = a_generator(3, 1000, NULL);

    for (unsigned m = 0; m < 2; m++) {
        struct rlhf_digest digest = digest_of_model(m);

        expect_ok(generator_add_model(g, &digest, a_model(m ? "llama" : "gpt2", 5, RLHF_HEAD_LM), &err), err);
    }
    for (unsigned i = 0; i < JOBS; i++) {
        int32_t prompt[CONTEXT];
        struct generator_job job = a_job(i, prompt);

        job.weights = digest_of_model(i / 4 % 2);
        add(g, &job);
    }
    run(g);
    for (unsigned i = 0; i < JOBS; i++)
        ck_assert_uint_eq(results[i].done, 1);
    generator_free(g);
}
END_TEST

START_TEST(a_job_that_cannot_be_done_ends_with_the_reason_and_harms_no_other)
{
    struct rlhf_error err = { 0 };
    struct generator *g = a_generator(4, 1000, NULL);
    struct rlhf_digest digest = digest_of_model(0), scalar = digest_of_model(1);
    static const char *const reasons[] = { "weights are not here", "language model", "prompt has 0",
                                           "prompt has 48", "outside the vocabulary", "outside the vocabulary",
                                           "temperature" };

    expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5, RLHF_HEAD_LM), &err), err);
    expect_ok(generator_add_model(g, &scalar, a_model("gpt2", 5, RLHF_HEAD_SCALAR), &err), err);
    for (unsigned i = 0; i < 8; i++) {
        int32_t prompt[CONTEXT] = { 0 };
        struct generator_job job = a_job(i, prompt);

        if (i == 0)
            job.weights = digest_of_model(9);
        else if (i == 1)
            job.weights = scalar;
        else if (i == 2)
            job.prompt_count = 0;
        else if (i == 3)
            job.prompt_count = CONTEXT;
        else if (i == 4)
            prompt[0] = VOCABULARY;
        else if (i == 5)
            prompt[0] = -1;
        else if (i == 6)
            job.sampling.temperature = NAN;
        add(g, &job);
    }
    run(g);
    for (unsigned i = 0; i < 7; i++) {
        ck_assert_uint_eq(results[i].done, 1);
        expect_code(results[i].error, RLHF_REJECT);
        expect_contains(results[i].error.text, reasons[i]);
    }
    ck_assert_uint_gt(results[7].count, 0);
    generator_free(g);
}
END_TEST

START_TEST(weights_that_are_not_numbers_fail_their_jobs_and_nothing_else)
{
    struct rlhf_error err = { 0 };
    struct generator *g = a_generator(4, 1000, NULL);
    struct rlhf_digest sound = digest_of_model(0), broken = digest_of_model(1);
    struct rlhf_model *m = a_model("gpt2", 5, RLHF_HEAD_LM);
    size_t count;
    float *parameters = rlhf_model_parameters(m, &count);

    for (size_t i = 0; i < count; i++)
        parameters[i] = NAN;
    rlhf_model_touch(m, NULL);
    expect_ok(generator_add_model(g, &sound, a_model("gpt2", 5, RLHF_HEAD_LM), &err), err);
    expect_ok(generator_add_model(g, &broken, m, &err), err);
    for (unsigned i = 0; i < 8; i++) {
        int32_t prompt[CONTEXT];
        struct generator_job job = a_job(i, prompt);

        job.weights = i % 2 ? broken : sound;
        job.sampling.temperature = 1;
        add(g, &job);
    }
    run(g);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_uint_eq(results[i].done, 1);
        ck_assert_int_eq(results[i].error.code, i % 2 ? RLHF_CORRUPT : RLHF_OK);
    }
    generator_free(g);
}
END_TEST

START_TEST(cancelled_jobs_are_never_heard_of_again)
{
    struct rlhf_error err = { 0 };
    struct generator *g = a_generator(4, 1000, NULL);
    struct rlhf_digest digest = digest_of_model(0);
    int32_t prompt[CONTEXT];
    struct generator_job job;

    expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5, RLHF_HEAD_LM), &err), err);
    for (unsigned i = 0; i < 20; i++) {
        job = a_job(i, prompt);
        job.sampling.max_new_tokens = 30;
        job.end_token = -1;
        add(g, &job);
    }
    generator_step(g);
    generator_cancel(g);
    ck_assert(!generator_step(g));
    ck_assert_uint_eq(finished, 0);
    job = a_job(21, prompt);
    add(g, &job);
    run(g);
    ck_assert_uint_eq(finished, 1);
    generator_drop_model(g, &digest);
    add(g, &job);
    expect_contains(results[21].error.text, "not here");
    generator_free(g);
}
END_TEST

START_TEST(penalties_see_the_prompt_and_the_completion)
{
    struct rlhf_digest digest = digest_of_model(0);
    struct rlhf_error err = { 0 };
    int32_t prompt[CONTEXT];

    for (unsigned slots = 1; slots <= 7; slots += 6) {
        struct generator *g = a_generator(slots, 100, NULL);

        expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5, RLHF_HEAD_LM), &err), err);
        for (unsigned i = 0; i < JOBS; i++) {
            struct generator_job job = a_job(i, prompt);

            job.sampling.max_new_tokens = 20;
            job.sampling.no_repeat_ngram = 2;
            job.sampling.repetition_penalty = 1.1f;
            job.sampling.min_p = i % 2 ? 0.01f : 0;
            job.sampling.min_new_tokens = 5;
            for (unsigned e = 0; e < 30; e++)
                job.more_ends.id[e] = (int32_t)(2 * e);
            job.more_ends.count = 30;
            add(g, &job);
        }
        run(g);
        for (unsigned i = 0; i < JOBS; i++) {
            struct generator_job job = a_job(i, prompt);
            int32_t all[CONTEXT + MOST];
            size_t count = job.prompt_count + results[i].count;

            memcpy(all, prompt, job.prompt_count * sizeof *all);
            memcpy(all + job.prompt_count, results[i].ids, results[i].count * sizeof *all);
            ck_assert_uint_gt(results[i].count, 5);
            for (size_t t = 0; t < results[i].count; t++) {
                bool end = (results[i].ids[t] % 2 == 0 && results[i].ids[t] < 60) || results[i].ids[t] == job.end_token;

                ck_assert_msg(!end || (t >= 5 && t + 1 == results[i].count), "job %u goes on behind an end", i);
                if (t + 1 == results[i].count)
                    ck_assert_int_eq(results[i].ended, end);
            }
            for (size_t b = job.prompt_count; b < count; b++)
                for (size_t a = 0; a + 1 < b; a++)
                    ck_assert_msg(all[a] != all[b - 1] || all[a + 1] != all[b], "job %u: %d %d comes twice", i,
                                  all[b - 1], all[b]);
        }
        generator_free(g);
    }
}
END_TEST

START_TEST(too_many_end_tokens_are_refused)
{
    struct generator *g = a_generator(1, 100, NULL);
    struct rlhf_digest digest = digest_of_model(0);
    struct rlhf_error err = { 0 };
    int32_t prompt[CONTEXT];
    struct generator_job job = a_job(1, prompt);

    expect_ok(generator_add_model(g, &digest, a_model("gpt2", 5, RLHF_HEAD_LM), &err), err);
    job.more_ends.count = RLHF_MAX_ENDS;
    add(g, &job);
    expect_contains(results[1].error.text, "end tokens");
    generator_free(g);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rollout-worker/generator",
                     gpt2_completions_are_the_same_bits_however_they_are_batched,
                     llama_completions_are_the_same_bits_however_they_are_batched,
                     log_probs_are_those_of_scoring_the_same_tokens,
                     completions_end_with_the_end_token_or_by_length,
                     a_finished_sequence_leaves_and_the_next_enters_at_once,
                     samples_of_a_prompt_cost_one_prefill_whenever_they_come,
                     jobs_of_several_models_never_mix_and_are_batched_by_model,
                     a_new_model_is_in_use_at_once_beside_what_is_under_way, models_of_different_shapes_take_turns,
                     a_job_that_cannot_be_done_ends_with_the_reason_and_harms_no_other,
                     weights_that_are_not_numbers_fail_their_jobs_and_nothing_else,
                     penalties_see_the_prompt_and_the_completion, too_many_end_tokens_are_refused,
                     cancelled_jobs_are_never_heard_of_again);
}
