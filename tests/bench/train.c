/* train.c - how fast whole models train and generate here. One JSON line a case.
 *
 *     bench-train [seconds a case, 1 by default] [case]
 *
 * A training step is forward, log-probs, backward, the norm of the gradient, AdamW, and the weights packed anew: all
 * that a step of the learner does with tensors. A figure is tokens over the median time of a step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/random.h"
#include "model/model.h"
#include "support/shape.h"
#include "tensor/ops.h"

enum { STEPS = 2000 };

static double seconds_a_case = 1;
static const char *only;

static _Noreturn void fail(const struct rlhf_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* The quickstart's model: 0.68 M parameters. */
static struct rlhf_model_config quickstart(void)
{
    return a_config("gpt2", (struct shape){ 3, 4, 32, 512, 512, 128 });
}

/* Llama style, 5.9 M parameters. */
static struct rlhf_model_config tiny(void)
{
    struct rlhf_model_config c = a_config("llama", (struct shape){ 6, 4, 64, 704, 4096, 512 });

    c.tied = true;
    return c;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double now(void)
{
    return (double)rlhf_now(&rlhf_system_clock) * 1e-6;
}

static void print(const char *name, const char *model, size_t batch, unsigned threads, double value)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("{\"case\":\"%s\",\"model\":\"%s\",\"batch\":%zu,\"threads\":%u,\"dtype\":\"f32\",\"value\":%.0f,"
           "\"unit\":\"tokens/s\",\"peak_rss_mb\":%ld}\n", name, model, batch, threads, value,
           usage.ru_maxrss / 1024);
    fflush(stdout);
}

struct training {
    struct rlhf_model *m;
    struct rlhf_pool *pool;
    struct rlhf_pass *pass;
    struct rlhf_batch batch;
    const int32_t *target;
    size_t count, t;
    float *parameters, *grad, *first, *second, *logprob, *d;
    struct rlhf_adamw adamw;
};

static void train_step(struct training *s)
{
    struct rlhf_error err = { 0 };
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(s->m, &tensors);
    double norm;

    memset(s->grad, 0, s->count * sizeof *s->grad);
    if (rlhf_pass_forward(s->pass, s->m, &s->batch, &err) < 0
        || rlhf_pass_logprobs(s->pass, s->m, s->target, 1, s->logprob, NULL, &err) < 0
        || rlhf_pass_backward_logprobs(s->pass, s->m, s->d, NULL, s->grad, &err) < 0)
        fail(&err);
    norm = rlhf_sum_squares(s->grad, s->count, s->pool);
    s->adamw.step++;
    for (size_t i = 0; i < tensors; i++)
        rlhf_adamw_step(&s->adamw, norm > 1 ? 0.5F : 1, table[i].decayed, s->grad + table[i].offset,
                        s->first + table[i].offset, s->second + table[i].offset, s->parameters + table[i].offset,
                        table[i].count, s->pool);
    rlhf_model_touch(s->m, s->pool);
}

/* Lengths vary between shortest and longest; the same for both when they are equal. */
static void bench_training(const char *name, const char *model, const struct rlhf_model_config *c, size_t sequences,
                           uint32_t shortest, uint32_t longest, unsigned threads)
{
    struct rlhf_error err = { 0 };
    struct training s = { .adamw = { .lr = 1e-4F, .beta1 = 0.9F, .beta2 = 0.95F, .epsilon = 1e-8F } };
    int32_t *tokens = calloc(sequences * longest, sizeof *tokens), *target = calloc(sequences * longest, sizeof *target);
    uint32_t *start = calloc(sequences + 1, sizeof *start);
    double times[STEPS], end;
    struct rlhf_random random;
    size_t steps = 0;

    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (size_t i = 0; i < sequences; i++) {
        start[i + 1] = start[i] + shortest + rlhf_random_below(&random, longest - shortest + 1);
        for (uint32_t t = start[i]; t < start[i + 1]; t++) {
            tokens[t] = (int32_t)rlhf_random_below(&random, c->vocabulary);
            target[t] = t + 1 < start[i + 1] ? (int32_t)rlhf_random_below(&random, c->vocabulary) : -1;
        }
    }
    s.t = start[sequences];
    s.batch = (struct rlhf_batch){ .tokens = tokens, .start = start, .sequences = sequences };
    s.target = target;
    if (!(s.m = rlhf_model_new(c, 1, &err)) || !(s.pool = rlhf_pool_new(threads, &err))
        || !(s.pass = rlhf_pass_new(c, s.pool, 1, &err)))
        fail(&err);
    s.parameters = rlhf_model_parameters(s.m, &s.count);
    s.grad = rlhf_aligned_new(s.count, sizeof *s.grad, &err);
    s.first = rlhf_aligned_new(s.count, sizeof *s.first, &err);
    s.second = rlhf_aligned_new(s.count, sizeof *s.second, &err);
    s.logprob = calloc(s.t, sizeof *s.logprob);
    s.d = calloc(s.t, sizeof *s.d);
    for (size_t t = 0; t < s.t; t++)
        s.d[t] = -1 / (float)s.t;
    train_step(&s);
    for (end = now() + seconds_a_case; steps < STEPS && (steps < 3 || now() < end); steps++) {
        double begin = now();

        train_step(&s);
        times[steps] = now() - begin;
    }
    qsort(times, steps, sizeof *times, by_value);
    print(name, model, sequences, threads, (double)s.t / times[steps / 2]);
    rlhf_pass_free(s.pass);
    rlhf_pool_free(s.pool);
    rlhf_model_free(s.m);
    free(s.grad);
    free(s.first);
    free(s.second);
    free(s.logprob);
    free(s.d);
    free(tokens);
    free(target);
    free(start);
}

/* Decoding alone: slots sequences at once, behind prompts of `prompt` tokens. */
static void bench_decode(const char *name, const char *model, const struct rlhf_model_config *c, size_t slots,
                         size_t prompt, size_t new_tokens, unsigned threads)
{
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = rlhf_model_new(c, 1, &err);
    struct rlhf_pool *pool = rlhf_pool_new(threads, &err);
    struct rlhf_cache *k = rlhf_cache_new(c, slots, prompt + new_tokens, pool, &err);
    struct rlhf_extend *items = calloc(slots, sizeof *items);
    float *logits = calloc(slots * c->vocabulary, sizeof *logits);
    int32_t *tokens = calloc(prompt, sizeof *tokens);
    double times[STEPS], end;
    size_t steps = 0;

    if (!m || !pool || !k)
        fail(&err);
    for (end = now() + seconds_a_case; steps < STEPS && (steps < 3 || now() < end);) {
        for (size_t i = 0; i < slots; i++) {
            rlhf_cache_clear(k, i);
            items[i] = (struct rlhf_extend){ .slot = i, .tokens = tokens, .count = prompt };
        }
        if (rlhf_cache_extend(k, m, items, slots, logits, &err) < 0)
            fail(&err);
        for (size_t i = 0; i < slots; i++)
            items[i].count = 1;
        for (size_t j = 0; j < new_tokens && steps < STEPS; j++, steps++) {
            double begin = now();

            if (rlhf_cache_extend(k, m, items, slots, logits, &err) < 0)
                fail(&err);
            times[steps] = now() - begin;
        }
    }
    qsort(times, steps, sizeof *times, by_value);
    print(name, model, slots, threads, (double)slots / times[steps / 2]);
    rlhf_cache_free(k);
    rlhf_pool_free(pool);
    rlhf_model_free(m);
    free(items);
    free(logits);
    free(tokens);
}

static bool wanted(const char *name)
{
    return !only || strcmp(only, name) == 0;
}

int main(int argc, char **argv)
{
    const struct rlhf_model_config q = quickstart(), t = tiny();
    struct rlhf_error err = { 0 };

    if (argc > 1)
        seconds_a_case = atof(argv[1]);
    if (argc > 2)
        only = argv[2];
    if (rlhf_tensor_start(&err) < 0)
        fail(&err);
    fprintf(stderr, "%s\n", rlhf_tensor_profile());
    for (unsigned threads = 1; threads <= 2; threads++) {
        if (wanted("train-windows"))
            bench_training("train-windows", "quickstart", &q, 16, 64, 64, threads);
        if (wanted("train-ragged"))
            bench_training("train-ragged", "quickstart", &q, 32, 14, 36, threads);
        if (wanted("decode"))
            bench_decode("decode", "quickstart", &q, 32, 16, 36, threads);
        if (wanted("train-tiny"))
            bench_training("train-tiny", "tiny", &t, 16, 128, 128, threads);
        if (wanted("decode-tiny"))
            bench_decode("decode-tiny", "tiny", &t, 32, 64, 128, threads);
    }
    return 0;
}
