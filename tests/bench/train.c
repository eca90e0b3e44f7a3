/* train.c - how fast whole models train here. One JSON line a case.
 *
 *     bench-train [seconds a case, 1 by default] [case] [threads]
 *
 * A training step is forward, log-probs, backward, the norm of the gradient, AdamW, and the weights packed anew: all
 * that a step of the learner does with tensors. A figure is tokens over the median time of a step. Cases whose names end
 * in -bf16 multiply numbers rounded to bfloat16. After every step sgemm is
 * measured, so that gemm_fraction compares what ran within the same second. Cases train-hh-… train on real conversations, whose
 * token ids are in $RLHF_HH_IDS/hh-VOCABULARY.ids (peers/hh_ids.py), a line each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "bench.h"
#include "model/model.h"
#include "tensor/ops.h"

enum { STEPS = 2000, BATCHES = 4 };

struct packed {
    struct rlhf_tokens tokens, target;
    uint32_t *start;
    size_t sequences;
};

struct training {
    struct rlhf_model *m;
    struct rlhf_pool *pool;
    struct rlhf_pass *pass;
    size_t count;
    float *parameters, *grad, *first, *second, *logprob, *d;
    struct rlhf_adamw adamw;
};

static void train_step(struct training *s, const struct packed *p)
{
    const struct rlhf_batch batch = { .tokens = p->tokens.data, .start = p->start, .sequences = p->sequences };
    struct rlhf_error err = { 0 };
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(s->m, &tensors);
    double norm;

    for (size_t t = 0; t < p->tokens.size; t++)
        s->d[t] = -1 / (float)p->tokens.size;
    if (rlhf_pass_forward(s->pass, s->m, &batch, &err) < 0
        || rlhf_pass_logprobs(s->pass, s->m, p->target.data, 1, s->logprob, NULL, &err) < 0
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

/* ---- batches ---------------------------------------------------------------------------------------- */

static void add_sequence(struct packed *p, const int32_t *ids, size_t count)
{
    const int32_t none = -1;
    struct rlhf_error err = { 0 };

    p->start = realloc(p->start, (p->sequences + 2) * sizeof *p->start);
    p->start[0] = 0;
    if (rlhf_tokens_append(&p->tokens, ids, count, &err) < 0 || rlhf_tokens_append(&p->target, ids + 1, count - 1, &err) < 0
        || rlhf_tokens_append(&p->target, &none, 1, &err) < 0)
        bench_fail(&err);
    p->start[++p->sequences] = (uint32_t)p->tokens.size;
}

static void random_batch(struct packed *p, size_t sequences, uint32_t shortest, uint32_t longest, uint32_t vocabulary)
{
    struct rlhf_random random;
    int32_t ids[1024];

    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (size_t s = 0; s < sequences; s++) {
        uint32_t length = shortest + rlhf_random_below(&random, longest - shortest + 1);

        for (uint32_t t = 0; t < length; t++)
            ids[t] = (int32_t)rlhf_random_below(&random, vocabulary);
        add_sequence(p, ids, length);
    }
}

/* The next `sequences` lines of ids. */
static void read_batch(struct packed *p, FILE *f, size_t sequences)
{
    char *line = NULL, *at, *end;
    size_t room = 0, count;
    int32_t ids[1024];

    while (p->sequences < sequences && getline(&line, &room, f) > 0) {
        for (at = line, count = 0; count < 1024; at = end, count++) {
            ids[count] = (int32_t)strtol(at, &end, 10);
            if (end == at)
                break;
        }
        if (count > 0)
            add_sequence(p, ids, count);
    }
    free(line);
}

static FILE *open_ids(uint32_t vocabulary)
{
    const char *folder = getenv("RLHF_HH_IDS");
    char path[4096];

    snprintf(path, sizeof path, "%s/hh-%u.ids", folder ? folder : ".", vocabulary);
    return folder ? fopen(path, "re") : NULL;
}

/* ---- cases ------------------------------------------------------------------------------------------ */

struct training_case {
    const char *name, *model;
    size_t batches, sequences;
    uint32_t shortest, longest; /* lengths; 0: those of conversations */
};

/* False when their ids are not here. */
static bool read_batches(const struct training_case *k, uint32_t vocabulary, struct packed batches[BATCHES])
{
    FILE *f = NULL;

    if (!k->longest && !(f = open_ids(vocabulary))) {
        fprintf(stderr, "%s: skipped, $RLHF_HH_IDS has no hh-%u.ids (peers/hh_ids.py)\n", k->name, vocabulary);
        return false;
    }
    for (size_t b = 0; b < k->batches; b++)
        if (f)
            read_batch(&batches[b], f, k->sequences);
        else
            random_batch(&batches[b], k->sequences, k->shortest, k->longest, vocabulary);
    if (f)
        fclose(f);
    return true;
}

static void start_training(struct training *s, const struct rlhf_model_config *c, size_t most, unsigned threads)
{
    struct rlhf_error err = { 0 };

    *s = (struct training){ .adamw = { .lr = 1e-4F, .beta1 = 0.9F, .beta2 = 0.95F, .epsilon = 1e-8F } };
    if (!(s->m = rlhf_model_new(c, 1, &err)) || !(s->pool = rlhf_pool_new(threads, &err))
        || !(s->pass = rlhf_pass_new(c, s->pool, 1, &err)))
        bench_fail(&err);
    s->parameters = rlhf_model_parameters(s->m, &s->count);
    s->grad = rlhf_aligned_new(s->count, sizeof *s->grad, &err);
    s->first = rlhf_aligned_new(s->count, sizeof *s->first, &err);
    s->second = rlhf_aligned_new(s->count, sizeof *s->second, &err);
    s->logprob = calloc(most, sizeof *s->logprob);
    s->d = calloc(most, sizeof *s->d);
    if (!s->grad || !s->first || !s->second || !s->logprob || !s->d)
        bench_fail(&err);
}

static void end_training(struct training *s)
{
    rlhf_pass_free(s->pass);
    rlhf_pool_free(s->pool);
    rlhf_model_free(s->m);
    free(s->grad);
    free(s->first);
    free(s->second);
    free(s->logprob);
    free(s->d);
}

static void bench_training(const struct bench_arguments *a, const struct training_case *k, enum rlhf_products products,
                           const char *dtype, unsigned threads)
{
    struct rlhf_model_config c = bench_shape(k->model);
    struct packed batches[BATCHES] = { 0 };
    struct training s;
    static double times[BATCHES][STEPS], rates[STEPS];
    double end, step = 0;
    size_t steps = 0, tokens = 0, most = 0;

    if (!read_batches(k, c.vocabulary, batches))
        return;
    c.products = products;
    for (size_t b = 0; b < k->batches; b++) {
        tokens += batches[b].tokens.size;
        most = batches[b].tokens.size > most ? batches[b].tokens.size : most;
    }
    start_training(&s, &c, most, threads);
    train_step(&s, &batches[0]);
    for (end = bench_now() + a->seconds; steps < STEPS && (steps < 3 || bench_now() < end); steps++) {
        for (size_t b = 0; b < k->batches; b++) {
            double begin = bench_now();

            train_step(&s, &batches[b]);
            times[b][steps] = bench_now() - begin;
        }
        rates[steps] = bench_sgemm_rate(threads);
    }
    for (size_t b = 0; b < k->batches; b++)
        step += bench_median(times[b], steps);
    double value = (double)tokens / step, rate = bench_median(rates, steps) * 1e9;
    bench_print(&(struct bench_line){ .name = k->name, .model = k->model, .dtype = dtype, .batch = k->sequences, .threads = threads, .value = value,
                                      .gemm_fraction = rate > 0 ? 3 * bench_flops_a_token(&c) * value / rate : 0 });
    end_training(&s);
    for (size_t b = 0; b < k->batches; b++) {
        rlhf_tokens_free(&batches[b].tokens);
        rlhf_tokens_free(&batches[b].target);
        free(batches[b].start);
    }
}

int main(int argc, char **argv)
{
    const struct bench_arguments a = bench_start(argc, argv);
    static const struct training_case cases[] = {
        { "train-windows", "quickstart", 1, 16, 64, 64 }, { "train-ragged", "quickstart", 1, 32, 14, 36 },
        { "train-tiny", "tiny", 1, 16, 128, 128 },        { "train-l100", "l100", 1, 4, 256, 256 },
        { "train-gpt2", "gpt2", 1, 4, 64, 64 },           { "train-hh-tiny", "tiny", 4, 16, 0, 0 },
        { "train-hh-l100", "l100", 2, 8, 0, 0 },
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
