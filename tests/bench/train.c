/* train.c - how fast whole models train here. One JSON line a case.
 *
 *     bench-train [seconds a case, 1 by default] [case] [threads]
 *
 * A training step is forward, log-probs, backward, the norm of the gradient, AdamW, and the weights packed anew: all
 * that a step of the learner does with tensors. Cases whose names end in -bf16 multiply numbers rounded to bfloat16. A figure is tokens over the median time of a step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "bench.h"
#include "model/model.h"
#include "tensor/ops.h"

enum { STEPS = 2000 };

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
        bench_fail(&err);
    norm = rlhf_sum_squares(s->grad, s->count, s->pool);
    s->adamw.step++;
    for (size_t i = 0; i < tensors; i++)
        rlhf_adamw_step(&s->adamw, norm > 1 ? 0.5F : 1, table[i].decayed, s->grad + table[i].offset,
                        s->first + table[i].offset, s->second + table[i].offset, s->parameters + table[i].offset,
                        table[i].count, s->pool);
    rlhf_model_touch(s->m, s->pool);
}

/* A case: lengths vary between shortest and longest; the same for both when they are equal. */
struct training_case {
    const char *name, *model;
    size_t sequences;
    uint32_t shortest, longest;
};

static void bench_training(const struct bench_arguments *a, const struct training_case *k, enum rlhf_products products,
                           const char *dtype, unsigned threads)
{
    const size_t sequences = k->sequences;
    const uint32_t shortest = k->shortest, longest = k->longest;
    struct rlhf_model_config c = bench_shape(k->model);
    struct rlhf_error err = { 0 };
    struct training s = { .adamw = { .lr = 1e-4F, .beta1 = 0.9F, .beta2 = 0.95F, .epsilon = 1e-8F } };
    int32_t *tokens = calloc(sequences * longest, sizeof *tokens), *target = calloc(sequences * longest, sizeof *target);
    uint32_t *start = calloc(sequences + 1, sizeof *start);
    double times[STEPS], end;
    struct rlhf_random random;
    size_t steps = 0;

    c.products = products;
    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (size_t i = 0; i < sequences; i++) {
        start[i + 1] = start[i] + shortest + rlhf_random_below(&random, longest - shortest + 1);
        for (uint32_t t = start[i]; t < start[i + 1]; t++) {
            tokens[t] = (int32_t)rlhf_random_below(&random, c.vocabulary);
            target[t] = t + 1 < start[i + 1] ? (int32_t)rlhf_random_below(&random, c.vocabulary) : -1;
        }
    }
    s.t = start[sequences];
    s.batch = (struct rlhf_batch){ .tokens = tokens, .start = start, .sequences = sequences };
    s.target = target;
    if (!(s.m = rlhf_model_new(&c, 1, &err)) || !(s.pool = rlhf_pool_new(threads, &err))
        || !(s.pass = rlhf_pass_new(&c, s.pool, 1, &err)))
        bench_fail(&err);
    s.parameters = rlhf_model_parameters(s.m, &s.count);
    s.grad = rlhf_aligned_new(s.count, sizeof *s.grad, &err);
    s.first = rlhf_aligned_new(s.count, sizeof *s.first, &err);
    s.second = rlhf_aligned_new(s.count, sizeof *s.second, &err);
    s.logprob = calloc(s.t, sizeof *s.logprob);
    s.d = calloc(s.t, sizeof *s.d);
    for (size_t t = 0; t < s.t; t++)
        s.d[t] = -1 / (float)s.t;
    train_step(&s);
    for (end = bench_now() + a->seconds; steps < STEPS && (steps < 3 || bench_now() < end); steps++) {
        double begin = bench_now();

        train_step(&s);
        times[steps] = bench_now() - begin;
    }
    double value = (double)s.t / bench_median(times, steps), rate = bench_sgemm_rate(threads) * 1e9;
    bench_print(&(struct bench_line){ .name = k->name, .model = k->model, .dtype = dtype, .batch = sequences, .threads = threads, .value = value,
                                      .gemm_fraction = rate > 0 ? 3 * bench_flops_a_token(&c) * value / rate : 0 });
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

int main(int argc, char **argv)
{
    const struct bench_arguments a = bench_start(argc, argv);
    static const struct training_case cases[] = {
        { "train-windows", "quickstart", 16, 64, 64 }, { "train-ragged", "quickstart", 32, 14, 36 },
        { "train-tiny", "tiny", 16, 128, 128 },        { "train-l100", "l100", 4, 256, 256 },
        { "train-gpt2", "gpt2", 4, 64, 64 },
    };

    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++)
        for (unsigned threads = a.least; threads <= a.most; threads++) {
            enum rlhf_products products = (enum rlhf_products)(i % 2);
            const char *dtype;

            if (bench_wanted_products(&a, cases[i / 2].name, products, &dtype))
                bench_training(&a, &cases[i / 2], products, dtype, threads);
        }
    return 0;
}
