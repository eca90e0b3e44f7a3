/* generate.c - how fast tokens are generated. One JSON line a case.
 *
 *     bench-generate [seconds a case, 1 by default] [case] [threads]
 *
 * Prompts of 64 tokens, 128 new ones, as many sequences at once as the line's batch says: the sampler draws at temperature 1.
 * generate: new tokens a second, from the first new one to the last. prefill: prompt tokens a second, every prompt
 * another. generate-group, prefill-group: the same where 8 samples share each prompt, which is then read once. Cases whose names end
 * in -bf16 multiply numbers rounded to bfloat16. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "bench.h"
#include "model/model.h"
#include "model/sampler.h"

enum { PROMPT = 64, NEW = 128, ROUNDS = 64, GROUP = 8 };

struct generation {
    struct rlhf_model *m;
    struct rlhf_pool *pool;
    struct rlhf_cache *cache;
    const struct rlhf_model_config *config;
    size_t batch;
    int32_t *prompts; /* [batch][PROMPT] */
    int32_t *last;    /* [batch] */
    struct rlhf_extend *items;
    float *logits, *scratch; /* [batch][V], [batch][2 V] */
    uint32_t position;
};

static void start(struct generation *g, const struct rlhf_model_config *c, size_t batch, unsigned threads)
{
    struct rlhf_error err = { 0 };
    struct rlhf_random random;

    *g = (struct generation){ .config = c, .batch = batch };
    g->m = rlhf_model_new(c, 1, &err);
    g->pool = rlhf_pool_new(threads, &err);
    g->cache = rlhf_cache_new(c, batch, PROMPT + NEW, g->pool, &err);
    g->prompts = rlhf_aligned_new(batch * PROMPT, sizeof *g->prompts, &err);
    g->last = rlhf_aligned_new(batch, sizeof *g->last, &err);
    g->items = rlhf_aligned_new(batch, sizeof *g->items, &err);
    g->logits = rlhf_aligned_new(batch * c->vocabulary, sizeof *g->logits, &err);
    g->scratch = rlhf_aligned_new(2 * batch * c->vocabulary, sizeof *g->scratch, &err);
    if (!g->m || !g->pool || !g->cache || !g->prompts || !g->last || !g->items || !g->logits || !g->scratch)
        bench_fail(&err);
    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (size_t i = 0; i < batch * PROMPT; i++)
        g->prompts[i] = (int32_t)rlhf_random_below(&random, c->vocabulary);
}

static void end(struct generation *g)
{
    rlhf_cache_free(g->cache);
    rlhf_pool_free(g->pool);
    rlhf_model_free(g->m);
    free(g->prompts);
    free(g->last);
    free(g->items);
    free(g->logits);
    free(g->scratch);
}

static void extend(struct generation *g, size_t count)
{
    struct rlhf_error err = { 0 };

    if (rlhf_cache_extend(g->cache, g->m, g->items, count, g->logits, &err) < 0)
        bench_fail(&err);
}

static void prefill(struct generation *g, size_t sharing)
{
    size_t count = 0;

    for (size_t i = 0; i < g->batch; i++)
        rlhf_cache_clear(g->cache, i);
    for (size_t i = 0; i < g->batch; i += sharing)
        g->items[count++] = (struct rlhf_extend){ .slot = i, .tokens = g->prompts + i * PROMPT, .count = PROMPT };
    extend(g, count);
    for (size_t i = 0; i < g->batch; i++)
        if (i % sharing)
            rlhf_cache_fork(g->cache, i - i % sharing, i, PROMPT);
}

static void draw_one(void *ctx, size_t i)
{
    static const struct rlhf_sampling sampling = { .temperature = 1, .top_p = 1, .max_new_tokens = NEW };
    struct generation *g = ctx;
    struct rlhf_sample_key key = { .seed = 1, .purpose = RLHF_PURPOSE_FAULT, .prompt = (uint32_t)i };
    size_t v = g->config->vocabulary;
    struct rlhf_error err = { 0 };
    struct rlhf_sampled drawn;

    if (rlhf_sample(g->logits + i * v, v, &sampling, &key, g->position, g->scratch + 2 * i * v, &drawn, &err) < 0)
        bench_fail(&err);
    g->last[i] = drawn.token;
    g->items[i] = (struct rlhf_extend){ .slot = i, .tokens = &g->last[i], .count = 1 };
}

static void draw(struct generation *g, uint32_t position) /* as a rollout-worker does */
{
    g->position = position;
    rlhf_pool_for(g->pool, g->batch, draw_one, g);
}

/* Seconds from the first new token to the last. */
static double decode_all(struct generation *g)
{
    double begin;

    draw(g, 0);
    begin = bench_now();
    for (uint32_t t = 1; t < NEW; t++) {
        extend(g, g->batch);
        draw(g, t);
    }
    return bench_now() - begin;
}

static void print(const struct generation *g, const char *name, const char *model, const char *dtype, unsigned threads, double value,
                  double gemm_fraction)
{
    bench_print(&(struct bench_line){ .name = name, .model = model, .dtype = dtype, .batch = g->batch, .threads = threads,
                                      .value = value, .gemm_fraction = gemm_fraction });
}

static void bench_generation(const struct bench_arguments *a, const char *model, size_t batch, enum rlhf_products products,
                             const char *dtype, unsigned threads)
{
    struct rlhf_model_config c = bench_shape(model);
    double decode[ROUNDS], decode_group[ROUNDS], fill[ROUNDS], fill_group[ROUNDS], until, value, rate = bench_sgemm_rate(threads) * 1e9;
    const double new_tokens = (double)(batch * (NEW - 1)), prompt_tokens = (double)(batch * PROMPT);
    struct generation g;
    size_t rounds = 0;

    c.products = products;
    start(&g, &c, batch, threads);
    prefill(&g, 1); /* packs the weights */
    for (until = bench_now() + a->seconds; rounds < ROUNDS && (rounds < 2 || bench_now() < until); rounds++) {
        double begin = bench_now();

        if (batch % GROUP == 0) {
            prefill(&g, GROUP);
            fill_group[rounds] = bench_now() - begin;
            decode_group[rounds] = decode_all(&g);
        }
        begin = bench_now();
        prefill(&g, 1);
        fill[rounds] = bench_now() - begin;
        decode[rounds] = decode_all(&g);
    }
    value = new_tokens / bench_median(decode, rounds);
    print(&g, "generate", model, dtype, threads, value, rate > 0 ? value * bench_flops_a_token(&c) / rate : 0);
    print(&g, "prefill", model, dtype, threads, prompt_tokens / bench_median(fill, rounds), 0);
    if (batch % GROUP == 0) {
        print(&g, "generate-group", model, dtype, threads, new_tokens / bench_median(decode_group, rounds), 0);
        print(&g, "prefill-group", model, dtype, threads, prompt_tokens / bench_median(fill_group, rounds), 0);
    }
    end(&g);
}

int main(int argc, char **argv)
{
    const struct bench_arguments a = bench_start(argc, argv);
    static const struct {
        const char *name, *model;
        size_t batch;
    } cases[] = {
        { "generate-l100-1", "l100", 1 }, { "generate-l100-8", "l100", 8 },   { "generate-l100-32", "l100", 32 },
        { "generate-tiny-1", "tiny", 1 }, { "generate-tiny-32", "tiny", 32 }, { "generate-tiny-64", "tiny", 64 },
        { "generate-quickstart-32", "quickstart", 32 },
    };

    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++)
        for (unsigned threads = a.least; threads <= a.most; threads++) {
            enum rlhf_products products = (enum rlhf_products)(i % 2);
            const char *dtype;

            if (bench_wanted_products(&a, cases[i / 2].name, products, &dtype))
                bench_generation(&a, cases[i / 2].model, cases[i / 2].batch, products, dtype, threads);
        }
    return 0;
}
