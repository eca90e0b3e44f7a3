/* The same bits whatever else is in the batch, in whatever order, with however many threads, and the same from
 * training's pass as from generation's cache. */
#include "model/sampler.h"
#include "tiny.h"

static const size_t lengths[] = { 7, 1, 18, 33, 2, 16, 17, 40, 3, 0 };
enum { SEQUENCES = 9 };

/* A bit larger than tiny, so that kernels have panels and threads have work. */
static struct rlhf_model *middling_model(enum variant variant, enum rlhf_products products)
{
    struct rlhf_model_config c = tiny_config(variant, RLHF_HEAD_LM);
    struct rlhf_error err = { 0 };
    struct rlhf_model *m;

    expect_ok(rlhf_tensor_start(&err), err);
    c.heads = 4;
    c.kv_heads = c.norm == RLHF_NORM_LAYER ? 4 : 2;
    c.head_size = 12;
    c.channels = 48;
    c.mlp_size = 100;
    c.vocabulary = 301;
    if (c.window)
        c.window = 20; /* more than a panel of keys */
    m = rlhf_model_new(&c, 3, &err);
    expect_some(m, err);
    enliven(m, 4);
    rlhf_model_set_products(m, products);
    return m;
}

static void logprobs_of(const struct rlhf_model *m, const struct ragged *r, float temperature, unsigned threads,
                        float *logprob, float *entropy)
{
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(threads, &err);
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), pool, 0, &err);

    expect_some(p, err);
    expect_ok(rlhf_pass_forward(p, m, &r->batch, &err), err);
    expect_ok(rlhf_pass_logprobs(p, m, r->target, temperature, logprob, entropy, &err), err);
    rlhf_pass_free(p);
    rlhf_pool_free(pool);
}

START_TEST(a_sequence_alone_gives_the_bits_it_gives_in_a_batch)
{
    for (size_t i = 0; i < 2 * VARIANTS; i++) {
        struct rlhf_model *m = middling_model(i / 2, (enum rlhf_products)(i % 2));
        struct ragged all = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 9);
        float *together = calloc(all.t, sizeof *together), *entropy = calloc(all.t, sizeof *entropy);
        float alone[64], entropy_alone[64];

        logprobs_of(m, &all, 1, 2, together, entropy);
        for (size_t s = 0; s < SEQUENCES; s++) {
            size_t at = all.start[s], n = lengths[s];
            struct ragged one = ragged((size_t[]){ n, 0 }, 2, 0);

            memcpy(one.tokens, all.tokens + at, n * sizeof *one.tokens);
            memcpy(one.target, all.target + at, n * sizeof *one.target);
            logprobs_of(m, &one, 1, 1, alone, entropy_alone);
            ck_assert_mem_eq(alone, together + at, n * sizeof *alone);
            ck_assert_mem_eq(entropy_alone, entropy + at, n * sizeof *alone);
            free_ragged(&one);
        }
        free(together);
        free(entropy);
        free_ragged(&all);
        rlhf_model_free(m);
    }
}
END_TEST

/* The beginnings of two pairs of sequences are the same; the second of a pair comes without its own. */
START_TEST(a_prefix_computed_once_gives_the_bits_of_whole_sequences)
{
    enum { COMMON = 19, ALL = 33 + 40 + 20 + 25 };
    static const uint32_t start[] = { 0, 33, 33 + 40 - COMMON, 53 + 40 - COMMON, ALL - 2 * COMMON }, prefix[] = { 0, COMMON, 0, COMMON };

    for (size_t which = 0; which < 2 * VARIANTS; which++) {
        struct rlhf_model *m = middling_model(which / 2, (enum rlhf_products)(which % 2));
        struct ragged whole = ragged((size_t[]){ 33, 40, 20, 25, 0 }, rlhf_model_get_config(m)->vocabulary, 9), rest = whole;
        float expected[ALL], got[ALL];
        int32_t tokens[ALL], target[ALL];

        memcpy(whole.tokens + 33, whole.tokens, COMMON * sizeof *tokens);
        memcpy(whole.tokens + 93, whole.tokens + 73, COMMON * sizeof *tokens);
        logprobs_of(m, &whole, 1, 1, expected, NULL);
        for (size_t s = 0; s < 4; s++) {
            size_t from = whole.start[s] + prefix[s], count = start[s + 1] - start[s];

            memcpy(tokens + start[s], whole.tokens + from, count * sizeof *tokens);
            memcpy(target + start[s], whole.target + from, count * sizeof *target);
        }
        rest.target = target;
        rest.batch = (struct rlhf_batch){ .tokens = tokens, .start = start, .sequences = 4, .prefix = prefix };
        logprobs_of(m, &rest, 1, 2, got, NULL);
        for (size_t s = 0; s < 4; s++)
            ck_assert_mem_eq(got + start[s], expected + whole.start[s] + prefix[s], (start[s + 1] - start[s]) * sizeof *got);
        free_ragged(&whole);
        rlhf_model_free(m);
    }
}
END_TEST

START_TEST(a_target_has_its_logprob_whichever_others_are_asked_for)
{
    struct rlhf_model *m = middling_model(LLAMA, RLHF_PRODUCTS_F32);
    struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 9);
    float *some = calloc(r.t, sizeof *some), *more = calloc(r.t, sizeof *more);
    int32_t *wanted = calloc(r.t, sizeof *wanted);

    memcpy(wanted, r.target, r.t * sizeof *wanted);
    logprobs_of(m, &r, 1, 2, some, NULL);
    for (size_t t = 0; t < r.t; t++)
        if (r.target[t] < 0)
            r.target[t] = 5;
    logprobs_of(m, &r, 1, 2, more, NULL);
    for (size_t t = 0; t < r.t; t++)
        ck_assert(wanted[t] < 0 ? some[t] == 0 : some[t] == more[t]);
    free(some);
    free(more);
    free(wanted);
    free_ragged(&r);
    rlhf_model_free(m);
}
END_TEST

START_TEST(threads_do_not_change_a_bit_of_values_or_gradients)
{
    for (size_t which = 0; which < 2 * VARIANTS; which++) {
        struct rlhf_model *m = middling_model(which / 2, (enum rlhf_products)(which % 2));
        struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 9);
        struct rlhf_error err = { 0 };
        float *value[3], *entropy[3], *grad[3], d[256];
        size_t count;

        rlhf_model_parameters(m, &count);
        for (size_t t = 0; t < r.t; t++)
            d[t] = 0.01F * (float)t - 0.5F;
        for (int i = 0; i < 3; i++) {
            struct rlhf_pool *pool = i ? rlhf_pool_new((unsigned)i, &err) : NULL;
            struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), pool, 1, &err);

            value[i] = calloc(r.t, sizeof **value);
            entropy[i] = calloc(r.t, sizeof **entropy);
            grad[i] = calloc(count, sizeof **grad);
            rlhf_model_touch(m, pool);
            expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
            expect_ok(rlhf_pass_logprobs(p, m, r.target, 0.8F, value[i], entropy[i], &err), err);
            expect_ok(rlhf_pass_backward_logprobs(p, m, d, d, grad[i], &err), err);
            ck_assert_mem_eq(value[0], value[i], r.t * sizeof **value);
            ck_assert_mem_eq(entropy[0], entropy[i], r.t * sizeof **entropy);
            ck_assert_mem_eq(grad[0], grad[i], count * sizeof **grad);
            rlhf_pass_free(p);
            rlhf_pool_free(pool);
        }
        for (int i = 0; i < 3; i++) {
            free(value[i]);
            free(entropy[i]);
            free(grad[i]);
        }
        free_ragged(&r);
        rlhf_model_free(m);
    }
}
END_TEST

/* ---- generation ------------------------------------------------------------------------------------ */

/* The logits behind every token of sequence s, each token at its turn: how many at once is up to chunk(). */
struct schedule {
    const char *name;
    size_t slots; /* sequences at work at a time: a finished one leaves, the next enters */
    size_t (*chunk)(size_t sequence, size_t at);
};

static size_t whole(size_t sequence, size_t at)
{
    (void)sequence;
    return at ? 1 : 1000;
}

static size_t single(size_t sequence, size_t at)
{
    (void)sequence;
    (void)at;
    return 1;
}

static size_t ragged_chunks(size_t sequence, size_t at)
{
    return 1 + (sequence * 7 + at * 5) % 19;
}

/* Runs all sequences through a cache, and calls see() with the logits behind each item's last token. */
static void generate(const struct rlhf_model *m, const struct ragged *r, const struct schedule *how, size_t prompt,
                     unsigned threads, void (*see)(void *ctx, size_t row, const float *logits), void *ctx)
{
    const size_t v = rlhf_model_get_config(m)->vocabulary;
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(threads, &err);
    struct rlhf_cache *k = rlhf_cache_new(rlhf_model_get_config(m), how->slots, 40, pool, &err);
    struct rlhf_extend *items = calloc(how->slots, sizeof *items);
    float *logits = calloc(how->slots * v, sizeof *logits);
    size_t *sequence = calloc(how->slots, sizeof *sequence), *row = calloc(how->slots, sizeof *row);
    size_t next = 0;

    expect_some(k, err);
    for (size_t i = 0; i < how->slots; i++)
        sequence[i] = next++;
    for (;;) {
        size_t count = 0;

        for (size_t i = how->slots; i-- > 0;) { /* slots from the last: order is no matter */
            size_t s = sequence[i], length, at, chunk;

            if (s >= r->batch.sequences)
                continue;
            length = r->start[s + 1] - r->start[s];
            at = rlhf_cache_length(k, i);
            if (at == length) {
                rlhf_cache_clear(k, i);
                sequence[i] = s = next++;
                at = 0;
                if (s >= r->batch.sequences)
                    continue;
                length = r->start[s + 1] - r->start[s];
            }
            chunk = at == 0 && prompt ? prompt : how->chunk(s, at);
            if (chunk > length - at)
                chunk = length - at;
            row[count] = r->start[s] + at + chunk - 1;
            items[count++] = (struct rlhf_extend){ .slot = i, .tokens = r->tokens + r->start[s] + at, .count = chunk };
        }
        if (!count)
            break;
        expect_ok(rlhf_cache_extend(k, m, items, count, logits, &err), err);
        for (size_t i = 0; i < count; i++)
            see(ctx, row[i], logits + i * v);
    }
    rlhf_cache_free(k);
    rlhf_pool_free(pool);
    free(items);
    free(logits);
    free(sequence);
    free(row);
}

struct scored {
    const struct rlhf_model *m;
    const struct ragged *r;
    const float *logprob; /* [T] from the pass */
    float temperature;
    size_t compared;
};

static void see_logprob(void *ctx, size_t row, const float *logits)
{
    struct scored *s = ctx;
    size_t v = rlhf_model_get_config(s->m)->vocabulary;

    if (s->r->target[row] < 0)
        return;
    s->compared++;
    ck_assert_msg(rlhf_vocab_logprob_row(logits, v, s->temperature, s->r->target[row]) == s->logprob[row],
                  "row %zu: %.9g when generating, %.9g when scoring", row,
                  (double)rlhf_vocab_logprob_row(logits, v, s->temperature, s->r->target[row]),
                  (double)s->logprob[row]);
}

START_TEST(generation_has_the_bits_of_scoring_in_any_order_and_batch)
{
    static const struct schedule schedules[] = {
        { "all at once, then token by token", SEQUENCES, whole }, { "one after another", 1, single },
        { "three at work", 3, single }, { "chunks", 4, ragged_chunks }, { "chunks, two at work", 2, ragged_chunks },
    };
    static const float temperatures[] = { 1, 0.6F };

    for (size_t which = 0; which < 2 * VARIANTS; which++)
        for (size_t i = which % 2; i < 2 * sizeof schedules / sizeof schedules[0]; i += 1 + which % 2) {
            struct rlhf_model *m = middling_model(which / 2, (enum rlhf_products)(which % 2));
            struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 9);
            float *logprob = calloc(r.t, sizeof *logprob);
            struct scored s = { .m = m, .r = &r, .logprob = logprob, .temperature = temperatures[i % 2] };

            logprobs_of(m, &r, s.temperature, 1 + i % 2, logprob, NULL);
            generate(m, &r, &schedules[i / 2], i % 3 ? 4 : 0, 1 + i / 2 % 2, see_logprob, &s);
            ck_assert_msg(s.compared >= SEQUENCES - 2 || i / 2 == 0, "%s: %zu compared", schedules[i / 2].name,
                          s.compared);
            free(logprob);
            free_ragged(&r);
            rlhf_model_free(m);
        }
}
END_TEST

/* What rlhf_sample() records is what a pass computes for the same tokens: tempered and untempered. */
START_TEST(a_sampled_tokens_logprob_is_that_of_scoring_to_the_bit)
{
    enum { PROMPT = 21, NEW = 19, ALL = PROMPT + NEW, SAMPLES = 6 }; /* a panel of the cache is the prompt's alone */
    const struct rlhf_sampling sampling = { .temperature = 0.9F, .top_p = 1, .max_new_tokens = NEW };

    for (size_t which = 0; which < 2 * VARIANTS; which++) {
        struct rlhf_model *m = middling_model(which / 2, (enum rlhf_products)(which % 2));
        const size_t v = rlhf_model_get_config(m)->vocabulary;
        struct rlhf_error err = { 0 };
        struct rlhf_pool *pool = rlhf_pool_new(2, &err);
        struct rlhf_cache *k = rlhf_cache_new(rlhf_model_get_config(m), SAMPLES, PROMPT + NEW, pool, &err);
        struct ragged prompt = ragged((size_t[]){ PROMPT, 0 }, (uint32_t)v, 31), r;
        struct rlhf_extend items[SAMPLES] = { { .slot = 0, .tokens = prompt.tokens, .count = PROMPT } };
        float *logits = calloc(SAMPLES * v, sizeof *logits), *scratch = calloc(2 * v, sizeof *scratch);
        float tempered[SAMPLES][NEW], raw[SAMPLES][NEW], *logprob;

        expect_some(k, err);
        r = ragged((size_t[]){ ALL, ALL, ALL, ALL, ALL, ALL, 0 }, (uint32_t)v, 1);
        expect_ok(rlhf_cache_extend(k, m, items, 1, logits, &err), err);
        for (size_t i = 1; i < SAMPLES; i++) {
            rlhf_cache_fork(k, 0, i, PROMPT);
            memcpy(logits + i * v, logits, v * sizeof *logits);
        }
        for (uint32_t step = 0; step < NEW; step++) {
            for (size_t i = 0; i < SAMPLES; i++) {
                const struct rlhf_sample_key key = { 11, RLHF_PURPOSE_SAMPLE, 0, (uint32_t)i };
                struct rlhf_sampled out;

                expect_ok(rlhf_sample(logits + i * v, v, &sampling, &key, step, scratch, &out, &err), err);
                tempered[i][step] = out.logprob;
                raw[i][step] = out.logprob_raw;
                r.tokens[i * ALL + PROMPT + step] = out.token;
                items[i] = (struct rlhf_extend){ .slot = i, .tokens = &r.tokens[i * ALL + PROMPT + step], .count = 1 };
            }
            expect_ok(rlhf_cache_extend(k, m, items, SAMPLES, logits, &err), err);
        }
        for (size_t i = 0; i < SAMPLES; i++) {
            memcpy(r.tokens + i * ALL, prompt.tokens, PROMPT * sizeof *r.tokens);
            for (size_t j = 0; j < ALL; j++)
                r.target[i * ALL + j] = j >= PROMPT - 1 && j < ALL - 1 ? r.tokens[i * ALL + j + 1] : -1;
        }
        ck_assert(memcmp(r.tokens, r.tokens + ALL, ALL * sizeof *r.tokens) != 0);
        logprob = calloc(r.t, sizeof *logprob);
        logprobs_of(m, &r, 0.9F, 1, logprob, NULL);
        for (size_t i = 0; i < SAMPLES; i++)
            ck_assert_mem_eq(logprob + i * ALL + PROMPT - 1, tempered[i], NEW * sizeof *logprob);
        logprobs_of(m, &r, 1, 2, logprob, NULL);
        for (size_t i = 0; i < SAMPLES; i++)
            ck_assert_mem_eq(logprob + i * ALL + PROMPT - 1, raw[i], NEW * sizeof *logprob);
        free(logits);
        free(scratch);
        free(logprob);
        free_ragged(&prompt);
        free_ragged(&r);
        rlhf_cache_free(k);
        rlhf_pool_free(pool);
        rlhf_model_free(m);
    }
}
END_TEST

START_TEST(a_fork_may_take_part_of_a_slot_and_leaves_it_alone)
{
    struct rlhf_model *m = middling_model(LLAMA, RLHF_PRODUCTS_F32);
    const size_t v = rlhf_model_get_config(m)->vocabulary;
    struct ragged r = ragged((size_t[]){ 21, 0 }, (uint32_t)v, 8);
    struct rlhf_error err = { 0 };
    struct rlhf_cache *k = rlhf_cache_new(rlhf_model_get_config(m), 3, 40, NULL, &err);
    float *logits = calloc(3 * v, sizeof *logits), *again = calloc(3 * v, sizeof *again);
    const struct rlhf_extend all = { .slot = 0, .tokens = r.tokens, .count = 20 };
    const struct rlhf_extend rest = { .slot = 2, .tokens = r.tokens + 17, .count = 3 };
    const struct rlhf_extend last[] = { { .slot = 0, .tokens = r.tokens + 20, .count = 1 },
                                        { .slot = 2, .tokens = r.tokens + 20, .count = 1 } };

    expect_some(k, err);
    expect_ok(rlhf_cache_extend(k, m, &all, 1, logits, &err), err);
    rlhf_cache_fork(k, 0, 2, 17);
    ck_assert_uint_eq(rlhf_cache_length(k, 2), 17);
    ck_assert_uint_eq(rlhf_cache_length(k, 0), 20);
    expect_ok(rlhf_cache_extend(k, m, &rest, 1, again, &err), err);
    ck_assert_mem_eq(logits, again, v * sizeof *logits);
    expect_ok(rlhf_cache_extend(k, m, last, 2, again, &err), err);
    ck_assert_mem_eq(again, again + v, v * sizeof *again);
    free(logits);
    free(again);
    free_ragged(&r);
    rlhf_cache_free(k);
    rlhf_model_free(m);
}
END_TEST

/* The first `shared` tokens of two sequences are the same ones, computed once; the others follow in both slots at once. */
START_TEST(continuations_of_one_context_have_the_bits_of_whole_sequences)
{
    for (int which = 0; which < 2 * VARIANTS; which++) {
        struct rlhf_model *m = middling_model(which / 2, (enum rlhf_products)(which % 2));
        struct ragged r = ragged((size_t[]){ 33, 21, 0 }, rlhf_model_get_config(m)->vocabulary, 5);
        struct rlhf_error err = { 0 };
        struct rlhf_cache *k = rlhf_cache_new(rlhf_model_get_config(m), 3, 40, NULL, &err);
        enum { SHARED = 17 };
        int32_t tokens[33 + 21], target[33 + 21];
        float whole[33 + 21], parts[33 + 21], none[SHARED];

        expect_some(k, err);
        memcpy(r.tokens + 33, r.tokens, SHARED * sizeof *r.tokens);
        for (size_t i = 0; i < 33 + 21; i++)
            if (i % 33 < SHARED - 1)
                r.target[i] = -1;
        logprobs_of(m, &r, 1, 1, whole, NULL);
        for (size_t i = 0; i < SHARED; i++)
            target[i] = -1;
        const struct rlhf_extend context = { 0, r.tokens, SHARED - 1 };
        expect_ok(rlhf_cache_logprobs(k, m, &context, 1, target, none, &err), err);
        for (size_t s = 0, at = 0; s < 2; s++) {
            size_t from = r.start[s] + SHARED - 1, count = r.start[s + 1] - from;

            rlhf_cache_fork(k, 0, s + 1, SHARED - 1);
            memcpy(tokens + at, r.tokens + from, count * sizeof *tokens);
            memcpy(target + at, r.target + from, count * sizeof *target);
            at += count;
        }
        const struct rlhf_extend items[] = { { 2, tokens + 33 - SHARED + 1, 21 - SHARED + 1 }, { 1, tokens, 33 - SHARED + 1 } };
        int32_t turned[33 + 21];
        memcpy(turned, target + 33 - SHARED + 1, (21 - SHARED + 1) * sizeof *turned);
        memcpy(turned + 21 - SHARED + 1, target, (33 - SHARED + 1) * sizeof *turned);
        expect_ok(rlhf_cache_logprobs(k, m, items, 2, turned, parts, &err), err);
        ck_assert(memcmp(parts, whole + 33 + SHARED - 1, (21 - SHARED + 1) * sizeof *parts) == 0);
        ck_assert(memcmp(parts + 21 - SHARED + 1, whole + SHARED - 1, (33 - SHARED + 1) * sizeof *parts) == 0);
        turned[0] = (int32_t)rlhf_model_get_config(m)->vocabulary;
        ck_assert_int_eq(rlhf_cache_logprobs(k, m, items, 1, turned, parts, &err), -1);
        expect_contains(err.text, "target 0");
        rlhf_cache_free(k);
        free_ragged(&r);
        rlhf_model_free(m);
    }
}
END_TEST

START_TEST(wrong_tokens_and_lengths_are_refused_and_change_nothing)
{
    struct rlhf_model *m = middling_model(GPT2, RLHF_PRODUCTS_F32);
    struct rlhf_error err = { 0 };
    struct rlhf_cache *k = rlhf_cache_new(rlhf_model_get_config(m), 2, 8, NULL, &err);
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 0, &err);
    int32_t tokens[41] = { 1, 2, 301, -1 };
    uint32_t start[3] = { 0, 2, 2 };
    struct rlhf_batch batch = { .tokens = tokens, .start = start, .sequences = 1 };
    float logits[2 * 301];
    struct rlhf_extend items[2] = { { .slot = 0, .tokens = tokens, .count = 2 },
                                    { .slot = 1, .tokens = tokens, .count = 3 } };

    expect_some(k, err);
    ck_assert_int_eq(rlhf_cache_extend(k, m, items, 2, logits, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "301");
    ck_assert_uint_eq(rlhf_cache_length(k, 0), 0);
    items[1] = (struct rlhf_extend){ .slot = 1, .tokens = tokens, .count = 9 };
    ck_assert_int_eq(rlhf_cache_extend(k, m, items, 2, logits, &err), -1);
    items[1].count = 0;
    ck_assert_int_eq(rlhf_cache_extend(k, m, items, 2, logits, &err), -1);
    expect_ok(rlhf_cache_extend(k, m, items, 1, logits, &err), err);

    expect_ok(rlhf_pass_forward(p, m, &batch, &err), err);
    batch.sequences = 2; /* the second is empty */
    ck_assert_int_eq(rlhf_pass_forward(p, m, &batch, &err), -1);
    expect_code(err, RLHF_REJECT);
    start[2] = 3;
    ck_assert_int_eq(rlhf_pass_forward(p, m, &batch, &err), -1);
    expect_contains(err.text, "301");
    start[1] = 41; /* longer than the context */
    batch.sequences = 1;
    ck_assert_int_eq(rlhf_pass_forward(p, m, &batch, &err), -1);
    expect_contains(err.text, "context");
    ck_assert_ptr_null(rlhf_cache_new(rlhf_model_get_config(m), 1, 41, NULL, &err));
    expect_code(err, RLHF_REJECT);
    rlhf_pass_free(p);
    rlhf_cache_free(k);
    rlhf_model_free(m);
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/invariance", a_sequence_alone_gives_the_bits_it_gives_in_a_batch,
                     a_prefix_computed_once_gives_the_bits_of_whole_sequences,
                     a_target_has_its_logprob_whichever_others_are_asked_for,
                     threads_do_not_change_a_bit_of_values_or_gradients,
                     generation_has_the_bits_of_scoring_in_any_order_and_batch,
                     a_sampled_tokens_logprob_is_that_of_scoring_to_the_bit,
                     a_fork_may_take_part_of_a_slot_and_leaves_it_alone,
                     continuations_of_one_context_have_the_bits_of_whole_sequences,
                     wrong_tokens_and_lengths_are_refused_and_change_nothing);
}
