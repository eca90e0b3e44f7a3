/* Models that are opened or viewed, not loaded: the same bits, from files that nobody copied. */
#include <pthread.h>

#include "base/io.h"
#include "model/panel_file.h"
#include "model/safetensors.h"
#include "tiny.h"

static const size_t lengths[] = { 7, 1, 18, 33, 2, 40, 0 };
static const enum rlhf_dtype dtypes[] = { RLHF_DTYPE_F32, RLHF_DTYPE_BF16, RLHF_DTYPE_F16 };

static enum rlhf_number number_of(enum rlhf_dtype d)
{
    return d == RLHF_DTYPE_F32 ? RLHF_NUMBER_F32 : d == RLHF_DTYPE_BF16 ? RLHF_NUMBER_BF16 : RLHF_NUMBER_F16;
}

static void put(const char *dir, const char *name, const struct rlhf_bytes *b)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_write_file(&rlhf_system_io, in_directory(dir, name), b->data, b->size, &err), err);
}

/* A directory below the test's own, each time another. */
static const char *another_directory(void)
{
    static const char *base;
    static char path[8][300];
    static unsigned made;
    char *dir = path[made % 8];

    base = base ? base : a_directory();
    snprintf(dir, sizeof path[0], "%s/%u", base, made++);
    expect_ok(rlhf_make_dirs(&rlhf_system_io, dir, NULL), (struct rlhf_error){ 0 });
    return dir;
}

/* The model's directory, its tensors stored as d; spoil, if any, is made infinite at this element. */
static const char *stored_as(const struct rlhf_model *m, enum rlhf_dtype d, const char *spoil, size_t at)
{
    const char *dir = another_directory();
    struct rlhf_bytes config = { 0 }, tensors = { 0 }, out = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_safetensors s;

    expect_ok(rlhf_model_write(m, &config, &tensors, &err), err);
    expect_ok(rlhf_safetensors_parse(&s, tensors.data, tensors.size, &err), err);
    for (size_t i = 0; i < s.count; i++) {
        struct rlhf_safetensor *t = &s.tensors[i];
        size_t count = rlhf_safetensor_elements(t), bytes = rlhf_dtype_size(d);
        uint8_t *data = malloc(count * bytes);
        static const uint8_t infinite[3][4] = { { 0, 0, 0x80, 0x7f }, { 0x80, 0x7f }, { 0, 0x7c } };

        ck_assert_uint_eq(rlhf_narrow(number_of(d), (const float *)t->data, count, data), count);
        if (spoil && strcmp(strcmp(t->name, "embed_out.weight") == 0 ? "lm_head.weight" : t->name, spoil) == 0)
            memcpy(data + at * bytes, infinite[number_of(d)], bytes);
        t->data = data;
        t->dtype = d;
        t->size = count * bytes;
    }
    expect_ok(rlhf_safetensors_write(s.tensors, s.count, &out, &err), err);
    put(dir, "config.json", &config);
    put(dir, "model.safetensors", &out);
    for (size_t i = 0; i < s.count; i++)
        free((void *)s.tensors[i].data);
    rlhf_safetensors_free(&s);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    rlhf_bytes_free(&out);
    return dir;
}

/* Everything that a model computes of these sequences, forward and backward. */
struct results {
    size_t t, count;
    float *logits, *logprob, *entropy, *decoded, *grad;
};

static struct results run(const struct rlhf_model *m, struct rlhf_pool *pool, size_t parameters)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(m);
    struct ragged r = ragged(lengths, c->vocabulary, 9);
    struct results s = { .t = r.t, .count = parameters };
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(c, pool, 1, &err);
    float *d = calloc(r.t, sizeof *d);

    expect_some(p, err);
    s.logits = calloc(r.t * c->vocabulary, sizeof(float));
    s.logprob = calloc(r.t, sizeof(float));
    s.entropy = calloc(r.t, sizeof(float));
    s.decoded = calloc(r.t * c->vocabulary, sizeof(float));
    s.grad = calloc(parameters, sizeof(float));
    for (size_t i = 0; i < r.t; i++)
        d[i] = 0.01F * (float)i - 0.5F;
    expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
    if (c->head == RLHF_HEAD_SCALAR) {
        expect_ok(rlhf_pass_scalars(p, m, s.logprob, &err), err);
        expect_ok(rlhf_pass_backward_scalars(p, m, d, s.grad, &err), err);
    } else {
        struct rlhf_cache *k = rlhf_cache_new(c, 1, c->context, pool, &err);
        size_t n = 0;

        expect_ok(rlhf_pass_logits(p, m, s.logits, &err), err);
        expect_ok(rlhf_pass_logprobs(p, m, r.target, 0.8F, s.logprob, s.entropy, &err), err);
        expect_ok(rlhf_pass_backward_logprobs(p, m, d, d, s.grad, &err), err);
        for (size_t i = 0; i < r.t && n < c->context; i++, n++)
            expect_ok(rlhf_cache_extend(k, m, &(struct rlhf_extend){ 0, r.tokens + i, 1 }, 1,
                                        s.decoded + i * c->vocabulary, &err), err);
        rlhf_cache_free(k);
    }
    free(d);
    rlhf_pass_free(p);
    free_ragged(&r);
    return s;
}

static void free_results(struct results *s)
{
    free(s->logits);
    free(s->logprob);
    free(s->entropy);
    free(s->decoded);
    free(s->grad);
}

static void expect_same_results(const struct results *a, const struct results *b, size_t vocabulary)
{
    ck_assert_mem_eq(a->logits, b->logits, a->t * vocabulary * sizeof(float));
    ck_assert_mem_eq(a->logprob, b->logprob, a->t * sizeof(float));
    ck_assert_mem_eq(a->entropy, b->entropy, a->t * sizeof(float));
    ck_assert_mem_eq(a->decoded, b->decoded, a->t * vocabulary * sizeof(float));
    ck_assert_mem_eq(a->grad, b->grad, a->count * sizeof(float));
}

START_TEST(an_opened_model_computes_the_bits_of_a_loaded_one)
{
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(2, &err);

    for (int i = 0; i < 12 * VARIANTS; i++) {
        struct rlhf_model *m = tiny_model((enum variant)(i / 12), i % 2 ? RLHF_HEAD_SCALAR : RLHF_HEAD_LM);
        const char *dir = stored_as(m, dtypes[i % 3], NULL, 0);
        struct rlhf_model *loaded = rlhf_model_load_parallel(dir, pool, &err);
        struct rlhf_model *opened = rlhf_model_open(dir, RLHF_PANELS_STORED, &err);
        struct rlhf_model *floats = rlhf_model_open(dir, RLHF_PANELS_F32, &err);
        struct results a, b, c;
        size_t count;

        expect_some(loaded, err);
        expect_some(opened, err);
        expect_some(floats, err);
        ck_assert(rlhf_model_is_frozen(opened) && !rlhf_model_is_frozen(loaded));
        rlhf_model_parameters(loaded, &count);
        if (i / 6 % 2) {
            rlhf_model_set_products(loaded, RLHF_PRODUCTS_BF16);
            rlhf_model_set_products(opened, RLHF_PRODUCTS_BF16);
            rlhf_model_set_products(floats, RLHF_PRODUCTS_BF16);
        }
        a = run(loaded, pool, count);
        b = run(opened, NULL, count);
        c = run(floats, pool, count);
        expect_same_results(&a, &b, rlhf_model_get_config(m)->vocabulary);
        expect_same_results(&a, &c, rlhf_model_get_config(m)->vocabulary);
        free_results(&a);
        free_results(&b);
        free_results(&c);
        rlhf_model_free(m);
        rlhf_model_free(loaded);
        rlhf_model_free(opened);
        rlhf_model_free(floats);
    }
    rlhf_pool_free(pool);
}
END_TEST

START_TEST(a_model_packed_in_bfloat16_is_the_model_stored_in_bfloat16)
{
    for (enum variant v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model(v, RLHF_HEAD_LM), *opened, *half;
        const struct rlhf_parameter *table = rlhf_model_table(m, &(size_t){ 0 });
        size_t count, tensors;
        float *w = rlhf_model_parameters(m, &count);
        struct rlhf_error err = { 0 };
        struct results a, b;

        /* what is no product stays as it is: vectors, rows of embeddings */
        rlhf_model_table(m, &tensors);
        for (size_t i = 0; i < tensors; i++)
            if (table[i].dims == 1 || strstr(table[i].name, "wte") || strstr(table[i].name, "wpe")
                || strstr(table[i].name, "embed_tokens") || strstr(table[i].name, "embed_in")) {
                uint16_t *room = malloc(table[i].count * sizeof *room);

                rlhf_narrow(RLHF_NUMBER_BF16, w + table[i].offset, table[i].count, room);
                rlhf_widen(RLHF_NUMBER_BF16, room, table[i].count, w + table[i].offset);
                free(room);
            }
        opened = rlhf_model_open(stored_as(m, RLHF_DTYPE_F32, NULL, 0), RLHF_PANELS_BF16, &err);
        half = rlhf_model_open(stored_as(m, RLHF_DTYPE_BF16, NULL, 0), RLHF_PANELS_STORED, &err);
        expect_some(opened, err);
        expect_some(half, err);
        a = run(opened, NULL, count);
        b = run(half, NULL, count);
        expect_same_results(&a, &b, rlhf_model_get_config(m)->vocabulary);
        free_results(&a);
        free_results(&b);
        rlhf_model_free(m);
        rlhf_model_free(opened);
        rlhf_model_free(half);
    }
}
END_TEST

START_TEST(a_clone_of_an_opened_model_can_be_trained)
{
    for (int i = 0; i < 2 * VARIANTS; i++) {
        struct rlhf_model *m = tiny_model((enum variant)(i / 2), i % 2 ? RLHF_HEAD_SCALAR : RLHF_HEAD_LM);
        struct rlhf_error err = { 0 };
        struct rlhf_model *opened = rlhf_model_open(stored_as(m, RLHF_DTYPE_F32, NULL, 0), RLHF_PANELS_STORED, &err);
        struct rlhf_model *clone, *reward[2];
        size_t count, more;

        expect_some(opened, err);
        clone = rlhf_model_clone(opened, rlhf_model_get_config(m)->head, 0, &err);
        expect_some(clone, err);
        ck_assert_mem_eq(rlhf_model_parameters(clone, &more), rlhf_model_parameters(m, &count), count * sizeof(float));
        ck_assert_uint_eq(count, more);
        reward[0] = rlhf_model_clone(opened, RLHF_HEAD_SCALAR, 5, &err);
        reward[1] = rlhf_model_clone(m, RLHF_HEAD_SCALAR, 5, &err);
        ck_assert_mem_eq(rlhf_model_parameters(reward[0], &count), rlhf_model_parameters(reward[1], &more),
                         count * sizeof(float));
        for (int j = 0; j < 2; j++)
            rlhf_model_free(reward[j]);
        rlhf_model_free(clone);
        rlhf_model_free(opened);
        rlhf_model_free(m);
    }
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------------- */

struct reader {
    const struct rlhf_model *m;
    float logprob[128];
};

static void *read_logprobs(void *ctx)
{
    struct reader *r = ctx;
    struct ragged batch = ragged(lengths, rlhf_model_get_config(r->m)->vocabulary, 9);
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(r->m), NULL, 0, &err);

    if (rlhf_pass_forward(p, r->m, &batch.batch, &err) < 0
        || rlhf_pass_logprobs(p, r->m, batch.target, 1, r->logprob, NULL, &err) < 0)
        r->logprob[0] = NAN;
    rlhf_pass_free(p);
    free_ragged(&batch);
    return NULL;
}

START_TEST(threads_that_meet_an_opened_model_together_wait_for_one_to_pack_it)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    const char *dir = stored_as(m, RLHF_DTYPE_BF16, NULL, 0);

    for (int round = 0; round < 20; round++) {
        struct rlhf_error err = { 0 };
        struct rlhf_model *opened = rlhf_model_open(dir, RLHF_PANELS_STORED, &err);
        struct reader r[4];
        pthread_t thread[4];

        for (int i = 0; i < 4; i++) {
            r[i] = (struct reader){ .m = opened };
            ck_assert_int_eq(pthread_create(&thread[i], NULL, read_logprobs, &r[i]), 0);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(thread[i], NULL);
        for (int i = 0; i < 4; i++)
            ck_assert(isfinite(r[i].logprob[0]) && memcmp(r[0].logprob, r[i].logprob, sizeof r[i].logprob) == 0);
        rlhf_model_free(opened);
    }
    rlhf_model_free(m);
}
END_TEST

/* ---- what is wrong is found, where it is -------------------------------------------------------------- */

/* Opens, and when that goes well runs a pass over the token. */
static void try(const char *dir, enum rlhf_panels panels, int32_t token, struct rlhf_error *err)
{
    struct rlhf_model *m = rlhf_model_open(dir, panels, err);
    const uint32_t start[] = { 0, 3 };
    const int32_t tokens[] = { token, token, token };
    struct rlhf_pass *p;

    if (!m)
        return;
    p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 0, err);
    ck_assert_int_eq(rlhf_pass_forward(p, m, &(struct rlhf_batch){ .tokens = tokens, .start = start, .sequences = 1 }, err),
                     err->code == RLHF_OK ? 0 : -1);
    if (err->code != RLHF_OK) { /* and it does not get better */
        struct rlhf_error again = { 0 };

        ck_assert_int_eq(rlhf_pass_forward(p, m, &(struct rlhf_batch){ .tokens = tokens, .start = start, .sequences = 1 }, &again), -1);
        ck_assert_str_eq(err->text, again.text);
    }
    rlhf_pass_free(p);
    rlhf_model_free(m);
}

START_TEST(a_weight_that_is_not_finite_is_named_before_anything_is_computed_with_it)
{
    for (enum variant v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model(v, RLHF_HEAD_LM);
        const struct rlhf_parameter *table;
        size_t tensors;

        table = rlhf_model_table(m, &tensors);
        for (size_t i = 0; i < tensors; i++)
            for (size_t d = 0; d < 3; d++) {
                struct rlhf_error err = { 0 };
                size_t at = (table[i].count - 1) / 2;
                char element[40];

                snprintf(element, sizeof element, "element %zu is inf", at);
                try(stored_as(m, dtypes[d], table[i].name, at), RLHF_PANELS_STORED,
                    i == 0 ? (int32_t)(at / table[i].shape[1]) : 0, &err); /* the first is the embedding */
                if (strstr(table[i].name, "wpe")) { /* row 19 of 40 is of no position of three */
                    ck_assert_int_eq(err.code, RLHF_OK);
                    continue;
                }
                expect_code(err, RLHF_CORRUPT);
                expect_contains(err.text, table[i].name);
                expect_contains(err.text, element);
            }
        rlhf_model_free(m);
    }
}
END_TEST

START_TEST(a_weight_too_large_for_bfloat16_is_refused_only_there)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    const char *dir;
    size_t count, tensors;
    const struct rlhf_parameter *table = rlhf_model_table(m, &tensors);
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < tensors; i++)
        if (strstr(table[i].name, "1.mlp.down_proj"))
            rlhf_model_parameters(m, &count)[table[i].offset + 3] = 3.4e38F;
    dir = stored_as(m, RLHF_DTYPE_F32, NULL, 0);
    try(dir, RLHF_PANELS_STORED, 1, &err);
    expect_code(err, RLHF_OK);
    try(dir, RLHF_PANELS_BF16, 1, &err);
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "model.layers.1.mlp.down_proj.weight");
    expect_contains(err.text, "bfloat16");
    rlhf_model_free(m);
}
END_TEST

START_TEST(a_tied_head_that_contradicts_the_embedding_is_refused_when_it_would_be_used)
{
    struct rlhf_model *m = tiny_model(LLAMA_TIED, RLHF_HEAD_LM);

    for (int lies = 0; lies < 2; lies++) {
        struct rlhf_bytes config = { 0 }, tensors = { 0 }, out = { 0 };
        struct rlhf_error err = { 0 };
        struct rlhf_safetensors s;
        struct rlhf_safetensor list[64];
        const char *dir = another_directory();
        uint8_t *head;

        expect_ok(rlhf_model_write(m, &config, &tensors, &err), err);
        expect_ok(rlhf_safetensors_parse(&s, tensors.data, tensors.size, &err), err);
        memcpy(list, s.tensors, s.count * sizeof *list);
        list[s.count] = *rlhf_safetensors_find(&s, "model.embed_tokens.weight");
        list[s.count].name = "lm_head.weight";
        head = memcpy(malloc(list[s.count].size), list[s.count].data, list[s.count].size);
        head[list[s.count].size - 4] ^= (uint8_t)lies;
        list[s.count].data = head;
        expect_ok(rlhf_safetensors_write(list, s.count + 1, &out, &err), err);
        put(dir, "config.json", &config);
        put(dir, "model.safetensors", &out);
        try(dir, RLHF_PANELS_STORED, 1, &err);
        expect_code(err, lies ? RLHF_CORRUPT : RLHF_OK);
        if (lies)
            expect_contains(err.text, "lm_head.weight differs from model.embed_tokens.weight");
        free(head);
        rlhf_safetensors_free(&s);
        rlhf_bytes_free(&config);
        rlhf_bytes_free(&tensors);
        rlhf_bytes_free(&out);
    }
    rlhf_model_free(m);
}
END_TEST

/* ---- from memory ------------------------------------------------------------------------------------- */

static void count_release(void *owner)
{
    (*(int *)owner)++;
}

START_TEST(viewed_memory_is_released_once_whatever_happens)
{
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM), *viewed;
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    struct rlhf_error err = { 0 };
    struct results a, b;
    size_t count;
    int released = 0;

    expect_ok(rlhf_model_write(m, &config, &tensors, &err), err);
    ck_assert_ptr_null(rlhf_model_view("{}", 2, tensors.data, tensors.size, count_release, &released, &err));
    ck_assert_int_eq(released, 1);
    ck_assert_ptr_null(rlhf_model_view(config.data, config.size, tensors.data, 100, count_release, &released, &err));
    ck_assert_int_eq(released, 2);
    ck_assert_ptr_null(rlhf_model_view(config.data, config.size, "\2\0\0\0\0\0\0\0{}", 10, count_release, &released, &err));
    ck_assert_int_eq(released, 3);
    viewed = rlhf_model_view(config.data, config.size, tensors.data, tensors.size, count_release, &released, &err);
    expect_some(viewed, err);
    rlhf_model_parameters(m, &count);
    a = run(m, NULL, count);
    b = run(viewed, NULL, count);
    expect_same_results(&a, &b, rlhf_model_get_config(m)->vocabulary);
    ck_assert_int_eq(released, 3);
    rlhf_model_free(viewed);
    ck_assert_int_eq(released, 4);
    free_results(&a);
    free_results(&b);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    rlhf_model_free(m);
}
END_TEST

/* ---- panels ------------------------------------------------------------------------------------------ */

/* m's panels, in memory that held something else. */
static struct rlhf_bytes in_panels(const struct rlhf_model *m, struct rlhf_pool *pool, int before, struct rlhf_bytes *config)
{
    struct rlhf_bytes file = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_panel_file p;

    expect_ok(rlhf_panel_file_plan(&p, m, &err), err);
    file.data = aligned_alloc(64, (p.size + 63) / 64 * 64);
    file.size = p.size;
    memset(file.data, before, file.size);
    expect_ok(rlhf_panel_file_write(&p, m, file.data, pool, &err), err);
    if (config)
        expect_ok(rlhf_bytes_append(config, p.config.data, p.config.size, &err), err);
    rlhf_panel_file_free(&p);
    return file;
}

START_TEST(a_model_in_panels_computes_the_bits_of_the_model)
{
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(2, &err);

    for (int i = 0; i < 4 * VARIANTS; i++) {
        struct rlhf_model *m = tiny_model((enum variant)(i / 4), i % 2 ? RLHF_HEAD_SCALAR : RLHF_HEAD_LM), *viewed;
        struct rlhf_bytes config = { 0 }, file, again;
        struct results a, b;
        int released = 0;
        size_t count;

        rlhf_model_set_products(m, i / 2 % 2 ? RLHF_PRODUCTS_BF16 : RLHF_PRODUCTS_F32);
        rlhf_model_set_bias(m, i % 2 ? 0.5F : 0);
        file = in_panels(m, pool, 0xFF, &config);
        again = in_panels(m, NULL, 0, NULL);
        ck_assert_uint_eq(file.size, again.size);
        ck_assert_mem_eq(file.data, again.data, file.size);
        viewed = rlhf_model_view(config.data, config.size, file.data, file.size, count_release, &released, &err);
        expect_some(viewed, err);
        rlhf_model_parameters(m, &count);
        a = run(m, pool, count);
        b = run(viewed, pool, count);
        expect_same_results(&a, &b, rlhf_model_get_config(m)->vocabulary);
        ck_assert_mem_eq(file.data, again.data, file.size); /* only read */
        rlhf_model_free(viewed);
        ck_assert_int_eq(released, 1);
        free_results(&a);
        free_results(&b);
        rlhf_bytes_free(&config);
        free(file.data);
        free(again.data);
        rlhf_model_free(m);
    }
    rlhf_pool_free(pool);
}
END_TEST

START_TEST(panels_give_back_the_weights_that_were_laid_out)
{
    for (enum variant v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model(v, RLHF_HEAD_LM), *viewed, *clone;
        struct rlhf_bytes config = { 0 }, file = in_panels(m, NULL, 0, &config);
        struct rlhf_error err = { 0 };
        size_t count;

        viewed = rlhf_model_view(config.data, config.size, file.data, file.size, NULL, NULL, &err);
        expect_some(viewed, err);
        clone = rlhf_model_clone(viewed, RLHF_HEAD_LM, 1, &err);
        expect_some(clone, err);
        rlhf_model_parameters(m, &count);
        ck_assert_mem_eq(rlhf_model_parameters(m, &count), rlhf_model_parameters(clone, &count), count * sizeof(float));
        rlhf_model_free(clone);
        rlhf_model_free(viewed);
        rlhf_model_free(m);
        rlhf_bytes_free(&config);
        free(file.data);
    }
}
END_TEST

START_TEST(panels_that_are_not_of_this_model_are_refused_by_name)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM), *other = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct rlhf_bytes config = { 0 }, rounded = { 0 }, file = in_panels(m, NULL, 0, &config), half;
    struct rlhf_error err = { 0 };
    size_t count;

    rlhf_model_set_products(other, RLHF_PRODUCTS_BF16);
    half = in_panels(other, NULL, 0, &rounded);
    ck_assert_ptr_null(rlhf_model_view(config.data, config.size, half.data, half.size, NULL, NULL, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "misshapen panels.0.qkv");
    ck_assert_ptr_null(rlhf_model_read(config.data, config.size, file.data, file.size, &err));
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "viewed, not loaded");
    memcpy(strstr(file.data + 8, "panels.1.down"), "panels.9", 8);
    ck_assert_ptr_null(rlhf_model_view(config.data, config.size, file.data, file.size, NULL, NULL, &err));
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "missing panels.1.down");
    rlhf_model_parameters(m, &count)[count / 2] = INFINITY;
    {
        struct rlhf_panel_file p;

        expect_ok(rlhf_panel_file_plan(&p, m, &err), err);
        ck_assert_int_eq(rlhf_panel_file_write(&p, m, file.data, NULL, &err), -1);
        expect_code(err, RLHF_FATAL);
        expect_contains(err.text, "is inf, no weight");
        rlhf_panel_file_free(&p);
    }
    free(file.data);
    free(half.data);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&rounded);
    rlhf_model_free(m);
    rlhf_model_free(other);
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/opened", a_model_in_panels_computes_the_bits_of_the_model,
                     panels_give_back_the_weights_that_were_laid_out,
                     panels_that_are_not_of_this_model_are_refused_by_name,
                     an_opened_model_computes_the_bits_of_a_loaded_one,
                     a_model_packed_in_bfloat16_is_the_model_stored_in_bfloat16,
                     a_clone_of_an_opened_model_can_be_trained,
                     threads_that_meet_an_opened_model_together_wait_for_one_to_pack_it,
                     a_weight_that_is_not_finite_is_named_before_anything_is_computed_with_it,
                     a_weight_too_large_for_bfloat16_is_refused_only_there,
                     a_tied_head_that_contradicts_the_embedding_is_refused_when_it_would_be_used,
                     viewed_memory_is_released_once_whatever_happens);
}
