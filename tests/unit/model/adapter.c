/* LoRA: what an adapter adds, its gradients, training it, its files. */
#include "model/adapter.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/dropout.h"
#include "model/safetensors.h"
#include "tiny.h"

static const size_t lengths[] = { 7, 1, 12, 3, 0 };

static const struct rlhf_adapter_settings everything = { .rank = 3, .alpha = 7 };

/* A new adapter with values that show, in B too. */
static struct rlhf_adapter *lively(const struct rlhf_model *m, const struct rlhf_adapter_settings *s)
{
    struct rlhf_error err = { 0 };
    struct rlhf_adapter *a = rlhf_adapter_new(m, s, 5, &err);
    struct rlhf_random random;
    size_t count;
    float *w;

    expect_some(a, err);
    w = rlhf_adapter_parameters(a, &count);
    rlhf_random_init(&random, 9, RLHF_PURPOSE_FAULT, 3, 3);
    for (size_t i = 0; i < count; i++)
        w[i] += 0.2F * rlhf_random_normal(&random);
    rlhf_adapter_touch(a, NULL);
    return a;
}

/* Log-probs [T] of a batch, zero without target, with an adapter or without. */
static float *logprobs(const struct rlhf_model *m, const struct rlhf_adapter *a, const struct ragged *r,
                       struct rlhf_pool *pool)
{
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), pool, 0, &err);
    float *out = calloc(r->t, sizeof *out);

    expect_some(p, err);
    rlhf_pass_adapt(p, a, NULL);
    expect_ok(rlhf_pass_forward(p, m, &r->batch, &err), err);
    expect_ok(rlhf_pass_logprobs(p, m, r->target, 1, out, NULL, &err), err);
    rlhf_pass_free(p);
    return out;
}

/* The loss -sum(logprob), and its gradients: of the adapter, and of the model where wanted. */
static double loss_and_gradients(const struct rlhf_model *m, const struct rlhf_adapter *a, const struct ragged *r,
                                 float *grad, float *model_grad, struct rlhf_pool *pool)
{
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), pool, 1, &err);
    float *out = calloc(r->t, sizeof *out), *d = calloc(r->t, sizeof *d);
    double loss = 0;

    expect_some(p, err);
    rlhf_pass_adapt(p, a, grad);
    expect_ok(rlhf_pass_forward(p, m, &r->batch, &err), err);
    expect_ok(rlhf_pass_logprobs(p, m, r->target, 1, out, NULL, &err), err);
    for (size_t t = 0; t < r->t; t++) {
        loss -= (double)out[t];
        d[t] = -1;
    }
    expect_ok(rlhf_pass_backward_logprobs(p, m, d, NULL, model_grad, &err), err);
    rlhf_pass_free(p);
    free(out);
    free(d);
    return loss;
}

START_TEST(a_new_adapter_changes_nothing)
{
    for (int v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model((enum variant)v, RLHF_HEAD_LM);
        struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
        struct rlhf_error err = { 0 };
        struct rlhf_adapter *a = rlhf_adapter_new(m, &everything, 5, &err);
        float *without, *with;

        expect_some(a, err);
        without = logprobs(m, NULL, &r, NULL);
        with = logprobs(m, a, &r, NULL);
        ck_assert(memcmp(without, with, r.t * sizeof *with) == 0);
        free(without);
        free(with);
        rlhf_adapter_free(a);
        free_ragged(&r);
        rlhf_model_free(m);
    }
}
END_TEST

START_TEST(with_it_a_model_is_the_merged_model)
{
    for (int v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model((enum variant)v, RLHF_HEAD_LM);
        struct rlhf_adapter *a = lively(m, &everything);
        struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
        struct rlhf_error err = { 0 };
        float *without = logprobs(m, NULL, &r, NULL), *with = logprobs(m, a, &r, NULL), *merged;
        double changed = 0;

        expect_ok(rlhf_adapter_merge(a, m, &err), err);
        merged = logprobs(m, NULL, &r, NULL);
        for (size_t t = 0; t < r.t; t++) {
            ck_assert_msg(fabs((double)with[t] - (double)merged[t]) < 2e-4, "variant %d, token %zu: %g, merged %g", v, t,
                          (double)with[t], (double)merged[t]);
            changed = fmax(changed, fabs((double)with[t] - (double)without[t]));
        }
        ck_assert_double_gt(changed, 0.1);
        free(without);
        free(with);
        free(merged);
        rlhf_adapter_free(a);
        free_ragged(&r);
        rlhf_model_free(m);
    }
}
END_TEST

static const struct rlhf_parameter *model_tensor(const struct rlhf_model *m, const char *lora)
{
    size_t count;
    const struct rlhf_parameter *table = rlhf_model_table(m, &count);
    char name[200];

    snprintf(name, sizeof name, "%s", lora + strlen("base_model.model."));
    memcpy(strstr(name, ".lora_"), ".weight", sizeof ".weight");
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    ck_abort_msg("%s is not in the model", name);
}

/* dW of the merged model gives both: dA = s·Bᵀ·dW, dB = s·dW·Aᵀ. */
START_TEST(gradients_are_those_of_the_merged_weights_by_the_chain_rule)
{
    for (int v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model((enum variant)v, RLHF_HEAD_LM);
        struct rlhf_adapter *a = lively(m, &everything);
        struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
        struct rlhf_error err = { 0 };
        const struct rlhf_parameter *table;
        size_t count, floats, tensors;
        const float *w = rlhf_adapter_parameters(a, &count);
        float *grad = calloc(count, sizeof *grad), *whole;
        const double s = 7.0 / 3;

        loss_and_gradients(m, a, &r, grad, NULL, NULL);
        expect_ok(rlhf_adapter_merge(a, m, &err), err);
        rlhf_model_parameters(m, &floats);
        whole = calloc(floats, sizeof *whole);
        loss_and_gradients(m, NULL, &r, NULL, whole, NULL);
        table = rlhf_adapter_table(a, &tensors);
        for (size_t i = 0; i < tensors; i += 2) {
            const struct rlhf_parameter *down = &table[i], *up = &table[i + 1], *e = model_tensor(m, down->name);
            const size_t rank = down->shape[0], k = down->shape[1], n = up->shape[0];
            const bool transposed = v <= GPT2_UNTIED;
            double worst = 0, largest = 1;

            for (size_t x = 0; x < rank; x++) {
                for (size_t j = 0; j < k; j++) {
                    double sum = 0;

                    for (size_t o = 0; o < n; o++)
                        sum += s * (double)w[up->offset + o * rank + x]
                               * (double)whole[e->offset + (transposed ? j * n + o : o * k + j)];
                    worst = fmax(worst, fabs(sum - (double)grad[down->offset + x * k + j]));
                    largest = fmax(largest, fabs(sum));
                }
                for (size_t o = 0; o < n; o++) {
                    double sum = 0;

                    for (size_t j = 0; j < k; j++)
                        sum += s * (double)w[down->offset + x * k + j]
                               * (double)whole[e->offset + (transposed ? j * n + o : o * k + j)];
                    worst = fmax(worst, fabs(sum - (double)grad[up->offset + o * rank + x]));
                    largest = fmax(largest, fabs(sum));
                }
            }
            ck_assert_msg(worst <= 1e-4 * largest, "variant %d, %s: %g off, of up to %g", v, down->name, worst, largest);
        }
        free(grad);
        free(whole);
        rlhf_adapter_free(a);
        free_ragged(&r);
        rlhf_model_free(m);
    }
}
END_TEST

/* The gradient by way of merged weights is that by way of the products beside them, but for rounding. */
START_TEST(an_applied_adapter_has_the_same_gradient_and_can_be_applied_again)
{
    for (int v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model((enum variant)v, RLHF_HEAD_LM), *base = tiny_model((enum variant)v, RLHF_HEAD_LM);
        struct rlhf_adapter *a = lively(m, &everything);
        struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
        struct rlhf_error err = { 0 };
        struct rlhf_pool *pool = rlhf_pool_new(3, &err);
        struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), pool, 1, &err);
        float *kept = rlhf_adapter_keep(a, m, &err), *d = calloc(r.t, sizeof *d), *out = calloc(r.t, sizeof *out);
        float *grad, *beside;
        const float *w, *merged;
        size_t count, floats;
        double worst = 0, largest = 1;

        rlhf_adapter_parameters(a, &count);
        grad = calloc(count, sizeof *grad);
        beside = calloc(count, sizeof *beside);
        loss_and_gradients(base, a, &r, beside, NULL, pool);
        rlhf_adapter_apply(a, kept, m, pool);
        rlhf_adapter_apply(a, kept, m, pool);
        expect_ok(rlhf_adapter_merge(a, base, &err), err);
        w = rlhf_model_parameters(m, &floats);
        merged = rlhf_model_parameters(base, &floats);
        ck_assert(memcmp(w, merged, floats * sizeof *w) == 0);
        for (size_t t = 0; t < r.t; t++)
            d[t] = -1;
        rlhf_pass_adapt_merged(p, a, grad);
        expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
        expect_ok(rlhf_pass_logprobs(p, m, r.target, 1, out, NULL, &err), err);
        expect_ok(rlhf_pass_backward_logprobs(p, m, d, NULL, NULL, &err), err);
        for (size_t i = 0; i < count; i++) {
            worst = fmax(worst, fabs((double)grad[i] - (double)beside[i]));
            largest = fmax(largest, fabs((double)grad[i]));
        }
        ck_assert_msg(worst <= 2e-4 * largest, "variant %d: %g off, of up to %g", v, worst, largest);
        free(kept);
        free(d);
        free(out);
        free(grad);
        free(beside);
        rlhf_pass_free(p);
        rlhf_pool_free(pool);
        rlhf_adapter_free(a);
        free_ragged(&r);
        rlhf_model_free(m);
        rlhf_model_free(base);
    }
}
END_TEST

/* Of -sum(logprob) with lora_dropout: the adapter beside m, or merged into it. */
static double dropping_loss(const struct rlhf_model *m, const struct rlhf_adapter *a, const struct ragged *r, bool merged,
                            float rate, float *grad)
{
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 1, &err);
    struct rlhf_dropout drop = { .adapter_rate = rate, .sequence = 3 };
    float out[64], d[64];
    double loss = 0;

    expect_some(p, err);
    ck_assert_uint_le(r->t, 64);
    rlhf_dropout_key(1, 2, 3, drop.key);
    expect_ok(rlhf_pass_set_dropout(p, &drop, &err), err);
    (merged ? rlhf_pass_adapt_merged : rlhf_pass_adapt)(p, a, grad);
    expect_ok(rlhf_pass_forward(p, m, &r->batch, &err), err);
    expect_ok(rlhf_pass_logprobs(p, m, r->target, 1, out, NULL, &err), err);
    for (size_t t = 0; t < r->t; t++) {
        loss -= (double)out[t];
        d[t] = -1;
    }
    if (grad)
        expect_ok(rlhf_pass_backward_logprobs(p, m, d, NULL, NULL, &err), err);
    rlhf_pass_free(p);
    return loss;
}

/* What is dropped goes in neither forward nor backward: along the gradient the slope is its norm, and it is the same loss
 * and gradient whether the adapter stands beside its base or is merged into it. */
START_TEST(dropout_of_an_adapter_is_of_what_goes_into_its_matrices_merged_or_not)
{
    const double step = 5e-4;

    for (int v = 0; v < VARIANTS; v++) {
        struct rlhf_model *m = tiny_model((enum variant)v, RLHF_HEAD_LM), *merged = tiny_model((enum variant)v, RLHF_HEAD_LM);
        struct rlhf_adapter *a = lively(m, &everything);
        struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
        struct rlhf_error err = { 0 };
        size_t count;
        float *w = rlhf_adapter_parameters(a, &count), *grad = calloc(count, sizeof *grad), *other = calloc(count, sizeof *other);
        double plain = dropping_loss(m, a, &r, false, 0, NULL), loss = dropping_loss(m, a, &r, false, 0.3F, grad);
        double norm = 0, off = 0, up, down;

        expect_ok(rlhf_adapter_merge(a, merged, &err), err);
        ck_assert_double_gt(fabs(loss - plain), 0.01);
        ck_assert_double_eq_tol(dropping_loss(merged, a, &r, true, 0.3F, other), loss, 1e-4 * fabs(loss));
        for (size_t i = 0; i < count; i++) {
            norm += (double)grad[i] * (double)grad[i];
            off += ((double)grad[i] - (double)other[i]) * ((double)grad[i] - (double)other[i]);
        }
        norm = sqrt(norm);
        ck_assert_msg(sqrt(off) < 1e-3 * norm, "variant %d: merged the gradient is off by %g of %g", v, sqrt(off), norm);
        for (size_t i = 0; i < count; i++)
            w[i] = (float)((double)w[i] + step * (double)grad[i] / norm);
        rlhf_adapter_touch(a, NULL);
        up = dropping_loss(m, a, &r, false, 0.3F, NULL);
        for (size_t i = 0; i < count; i++)
            w[i] = (float)((double)w[i] - 2 * step * (double)grad[i] / norm);
        rlhf_adapter_touch(a, NULL);
        down = dropping_loss(m, a, &r, false, 0.3F, NULL);
        ck_assert_msg(fabs((up - down) / (2 * step) / norm - 1) < 5e-3, "variant %d: slope %g, norm %g", v, (up - down) / (2 * step), norm);
        free(grad);
        free(other);
        rlhf_adapter_free(a);
        free_ragged(&r);
        rlhf_model_free(m);
        rlhf_model_free(merged);
    }
}
END_TEST

START_TEST(the_models_own_gradient_is_there_when_asked_for)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct rlhf_adapter *a = lively(m, &everything);
    struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
    size_t count, floats, touched = 0;
    float *grad, *alone, *whole;

    rlhf_adapter_parameters(a, &count);
    rlhf_model_parameters(m, &floats);
    grad = calloc(count, sizeof *grad);
    alone = calloc(count, sizeof *alone);
    whole = calloc(floats, sizeof *whole);
    loss_and_gradients(m, a, &r, grad, whole, NULL);
    loss_and_gradients(m, a, &r, alone, NULL, NULL);
    ck_assert(memcmp(grad, alone, count * sizeof *grad) == 0);
    for (size_t i = 0; i < floats; i++)
        touched += whole[i] != 0;
    ck_assert_uint_gt(touched, floats / 2);
    free(grad);
    free(alone);
    free(whole);
    rlhf_adapter_free(a);
    free_ragged(&r);
    rlhf_model_free(m);
}
END_TEST

/* 40 steps of AdamW; returns the last loss, and the digest of all losses and of the adapter in *digest. */
static double train(struct rlhf_model *m, struct rlhf_pool *pool, struct rlhf_digest *digest, double *first)
{
    static const char *const targets[] = { "q_proj", "v_proj", "down_proj" };
    const struct rlhf_adapter_settings s = { .rank = 2, .alpha = 4, .rslora = true, .targets = targets, .target_count = 3 };
    struct rlhf_error err = { 0 };
    struct rlhf_adapter *a = rlhf_adapter_new(m, &s, 21, &err);
    struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), pool, 1, &err);
    float *w, *grad, *moment, *square, *out = calloc(r.t, sizeof *out), *d = calloc(r.t, sizeof *d);
    double loss = 0;
    size_t count;

    expect_some(a, err);
    w = rlhf_adapter_parameters(a, &count);
    grad = calloc(count, sizeof *grad);
    moment = calloc(count, sizeof *moment);
    square = calloc(count, sizeof *square);
    for (size_t t = 0; t < r.t; t++)
        d[t] = -0.1F;
    rlhf_pass_adapt(p, a, grad);
    for (uint64_t step = 1; step <= 40; step++) {
        const struct rlhf_adamw o = { .lr = 0.02F, .beta1 = 0.9F, .beta2 = 0.99F, .epsilon = 1e-8F, .step = step };

        memset(grad, 0, count * sizeof *grad);
        expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
        expect_ok(rlhf_pass_logprobs(p, m, r.target, 1, out, NULL, &err), err);
        loss = 0;
        for (size_t t = 0; t < r.t; t++)
            loss -= 0.1 * (double)out[t];
        if (step == 1)
            *first = loss;
        expect_ok(rlhf_pass_backward_logprobs(p, m, d, NULL, NULL, &err), err);
        rlhf_adamw_step(&o, 1, true, grad, moment, square, w, count, pool);
        rlhf_adapter_touch(a, pool);
    }
    *digest = rlhf_digest_of(w, count * sizeof *w);
    rlhf_pass_free(p);
    rlhf_adapter_free(a);
    free_ragged(&r);
    free(grad);
    free(moment);
    free(square);
    free(out);
    free(d);
    return loss;
}

START_TEST(training_lowers_the_loss_repeats_its_bits_and_leaves_the_base_alone)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(3, &err);
    size_t floats;
    const float *w = rlhf_model_parameters(m, &floats);
    const struct rlhf_digest before = rlhf_digest_of(w, floats * sizeof *w);
    struct rlhf_digest first, again, after;
    double from, to = train(m, NULL, &first, &from);

    ck_assert_msg(to < 0.7 * from, "the loss went from %g to %g", from, to);
    ck_assert(train(m, pool, &again, &from) == to);
    ck_assert(rlhf_digest_equal(&first, &again));
    after = rlhf_digest_of(w, floats * sizeof *w);
    ck_assert(rlhf_digest_equal(&before, &after));
    rlhf_pool_free(pool);
    rlhf_model_free(m);
}
END_TEST

START_TEST(generation_has_the_bits_of_scoring)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct rlhf_adapter *a = lively(m, &everything);
    const struct rlhf_model_config *c = rlhf_model_get_config(m);
    struct ragged r = ragged(lengths, c->vocabulary, 1);
    struct rlhf_error err = { 0 };
    struct rlhf_cache *k = rlhf_cache_new(c, 1, c->context, NULL, &err);
    float *wanted, logits[64];

    for (size_t t = 0; t < r.t; t++)
        r.target[t] = r.tokens[(t + 1) % r.t];
    wanted = logprobs(m, a, &r, NULL);
    expect_some(k, err);
    rlhf_cache_adapt(k, a);
    for (size_t s = 0; s < r.batch.sequences; s++) {
        rlhf_cache_clear(k, 0);
        for (size_t t = r.start[s]; t < r.start[s + 1]; t++) {
            const struct rlhf_extend one = { 0, &r.tokens[t], 1 };

            expect_ok(rlhf_cache_extend(k, m, &one, 1, logits, &err), err);
            ck_assert(rlhf_vocab_logprob_row(logits, c->vocabulary, 1, r.target[t]) == wanted[t]);
        }
    }
    free(wanted);
    rlhf_cache_free(k);
    rlhf_adapter_free(a);
    free_ragged(&r);
    rlhf_model_free(m);
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------------- */

static void expect_equal(const struct rlhf_adapter *a, const struct rlhf_adapter *b)
{
    struct rlhf_bytes config[2] = { 0 }, tensors[2] = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_adapter_write(a, &config[0], &tensors[0], &err), err);
    expect_ok(rlhf_adapter_write(b, &config[1], &tensors[1], &err), err);
    ck_assert_str_eq(config[0].data, config[1].data);
    ck_assert_uint_eq(tensors[0].size, tensors[1].size);
    ck_assert(memcmp(tensors[0].data, tensors[1].data, tensors[0].size) == 0);
    for (int i = 0; i < 2; i++) {
        rlhf_bytes_free(&config[i]);
        rlhf_bytes_free(&tensors[i]);
    }
}

START_TEST(what_is_saved_is_loaded)
{
    static const char *const targets[] = { "attn.c_proj", "c_attn" };
    const struct rlhf_adapter_settings s = { .rank = 2, .alpha = 3, .targets = targets, .target_count = 2 };
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM);
    struct rlhf_adapter *a = lively(m, &s), *b;
    struct rlhf_error err = { 0 };
    char dir[] = "/tmp/rlhf-adapter-XXXXXX";
    size_t tensors;

    rlhf_adapter_table(a, &tensors);
    ck_assert_uint_eq(tensors, 8); /* two layers, two targets, A and B */
    ck_assert_ptr_nonnull(mkdtemp(dir));
    expect_ok(rlhf_adapter_save(a, dir, &err), err);
    expect_some(b = rlhf_adapter_load(m, dir, &err), err);
    expect_equal(a, b);
    rlhf_adapter_free(a);
    rlhf_adapter_free(b);
    rlhf_model_free(m);
}
END_TEST

START_TEST(a_reward_models_head_is_trained_and_saved_with_it)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_SCALAR);
    struct rlhf_adapter *a = lively(m, &everything), *b;
    struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 1);
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 1, &err);
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    size_t count, n, touched = 0;
    const struct rlhf_parameter *table = rlhf_adapter_table(a, &n);
    float *grad, *with = calloc(r.t, sizeof *with), *merged = calloc(r.t, sizeof *merged), *d = calloc(r.t, sizeof *d);

    ck_assert_str_eq(table[n - 1].name, "base_model.model.score.weight");
    rlhf_adapter_parameters(a, &count);
    grad = calloc(count, sizeof *grad);
    rlhf_pass_adapt(p, a, grad);
    expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
    expect_ok(rlhf_pass_scalars(p, m, with, &err), err);
    for (size_t t = 0; t < r.t; t++)
        d[t] = 1;
    expect_ok(rlhf_pass_backward_scalars(p, m, d, NULL, &err), err);
    for (size_t i = 0; i < count; i++)
        touched += grad[i] != 0;
    ck_assert_uint_eq(touched, count);
    expect_ok(rlhf_adapter_write(a, &config, &tensors, &err), err);
    expect_some(b = rlhf_adapter_read(m, config.data, config.size, tensors.data, tensors.size, &err), err);
    expect_equal(a, b);
    expect_ok(rlhf_adapter_merge(b, m, &err), err);
    rlhf_pass_adapt(p, NULL, NULL);
    expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
    expect_ok(rlhf_pass_scalars(p, m, merged, &err), err);
    for (size_t t = 0; t < r.t; t++)
        ck_assert(fabs((double)with[t] - (double)merged[t]) < 1e-3);
    rlhf_pass_free(p);
    rlhf_adapter_free(a);
    rlhf_adapter_free(b);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    free_ragged(&r);
    free(grad);
    free(with);
    free(merged);
    free(d);
    rlhf_model_free(m);
}
END_TEST

/* What adapter_config.json says beside "r": 2, how many matrices it targets; or which error it is. */
static struct rlhf_model *beside;

static size_t targeted(const char *more, const char *because)
{
    struct rlhf_error err = { 0 };
    struct rlhf_bytes config = { 0 };
    struct rlhf_adapter *a;
    size_t count = 0;

    expect_ok(rlhf_bytes_printf(&config, &err, "{\"peft_type\": \"LORA\", \"r\": 2%s%s}", *more ? ", " : "", more), err);
    a = rlhf_adapter_read(beside, config.data, config.size, "", 0, &err); /* the tensors come after the settings */
    ck_assert_ptr_null(a);
    if (because) {
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, "adapter_config.json");
        ck_assert_msg(strstr(err.text, because) != NULL, "%s: %s", more, err.text);
    } else {
        ck_assert_msg(strstr(err.text, "adapter_model.safetensors") != NULL, "%s: %s", more, err.text);
        count = 1;
    }
    rlhf_bytes_free(&config);
    return count;
}

START_TEST(settings_that_are_not_supported_are_named)
{
#define T "\"target_modules\": [\"q_proj\"]"
    beside = tiny_model(LLAMA, RLHF_HEAD_LM);
    targeted(T, NULL);
    targeted(T ", \"lora_dropout\": 0.1, \"revision\": null, \"layers_pattern\": null, \"use_dora\": false, \"loftq_config\": {}", NULL);
    targeted(T ", \"use_dora\": true", "use_dora");
    targeted(T ", \"bias\": \"all\"", "bias");
    targeted(T ", \"init_lora_weights\": \"pissa\"", "init_lora_weights");
    targeted(T ", \"layer_replication\": [[0, 2]]", "layer_replication");
    targeted(T ", \"modules_to_save\": [\"lm_head\"]", "modules_to_save");
    targeted(T ", \"modules_to_save\": [\"score\"]", "modules_to_save");
    targeted(T ", \"task_type\": \"SEQ_2_SEQ_LM\"", "task_type");
    targeted(T ", \"lora_alpha\": \"x\"", "lora_alpha");
    targeted(T ", \"lora_alpha\": 1e300", "lora_alpha");
    targeted(T ", \"lora_dropout\": 2", "lora_dropout");
    targeted(T ", \"use_rslora\": 1", "use_rslora");
    targeted(T ", \"of_my_own\": null", "of_my_own");
    targeted(T ", \"rank_pattern\": {\"q_proj\": 0}", "rank_pattern");
    targeted(T ", \"rank_pattern\": {\"(\": 1}", "rank_pattern");
    targeted(T ", \"alpha_pattern\": {\"q_proj\": \"x\"}", "alpha_pattern");
    targeted(T ", \"layers_to_transform\": \"x\"", "layers_to_transform");
    targeted(T ", \"layers_to_transform\": [7]", "no product");
    targeted(T ", \"exclude_modules\": [\"self_attn.q_proj\"]", "no product");
    targeted("", "target_modules");
    targeted("\"target_modules\": []", "target_modules");
    targeted("\"target_modules\": [1]", "target_modules");
    targeted("\"target_modules\": [\"proj\"]", "no product");
    targeted("\"target_modules\": [\"embed_tokens\"]", "model.embed_tokens");
    targeted("\"target_modules\": [\"lm_head\"]", "lm_head");
    targeted("\"target_modules\": \".*self_attn[\"", "target_modules");
    targeted("\"target_modules\": \"(?:(?:a|model)+\\\\.?|.+)+x{2}(.*)*y\"", "target_modules");
    targeted("\"target_modules\": \"q_proj\"", "no product"); /* a pattern is of the whole name */
    targeted("\"target_modules\": \"model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.(up|gate)_proj\"", NULL);
    targeted("\"target_modules\": \"all-linear\"", NULL);
#undef T
    rlhf_model_free(beside);
}
END_TEST

/* The names and ranks of A that a configuration asks for, as "module:rank ". */
static void expect_places(const char *settings, const char *wanted)
{
    struct rlhf_error err = { 0 };
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    struct rlhf_safetensor list[64];
    char names[64][100], text[600] = "";
    float zeros[400] = { 0 };
    size_t n = 0;

    /* A file that has what is wanted and nothing else is taken. */
    snprintf(text, sizeof text, "%s", wanted);
    for (char *place = strtok(text, " "); place; place = strtok(NULL, " ")) {
        size_t rank = (size_t)atoi(strchr(place, ':') + 1), count;
        const struct rlhf_parameter *table = rlhf_model_table(beside, &count);

        *strchr(place, ':') = 0;
        for (size_t i = 0; i < count; i++) {
            char full[100];

            snprintf(full, sizeof full, "%s.weight", place);
            if (strcmp(table[i].name, full) != 0)
                continue;
            for (int half = 0; half < 2; half++, n++) {
                snprintf(names[n], sizeof names[n], "base_model.model.%s.lora_%c.weight", place, "AB"[half]);
                list[n] = (struct rlhf_safetensor){ .name = names[n], .dtype = RLHF_DTYPE_F32, .dims = 2,
                                                    .shape = { half ? table[i].shape[0] : rank, half ? rank : table[i].shape[1] },
                                                    .data = (const uint8_t *)zeros };
                list[n].size = list[n].shape[0] * list[n].shape[1] * sizeof *zeros;
            }
        }
    }
    expect_ok(rlhf_bytes_printf(&config, &err, "{\"peft_type\": \"LORA\", \"r\": 2, %s}", settings), err);
    expect_ok(rlhf_safetensors_write(list, n, &tensors, &err), err);
    rlhf_adapter_free(rlhf_adapter_read(beside, config.data, config.size, tensors.data, tensors.size, &err));
    ck_assert_msg(err.code == RLHF_OK, "%s: %s", settings, err.text);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
}

START_TEST(patterns_choose_modules_ranks_and_layers)
{
    beside = tiny_model(LLAMA, RLHF_HEAD_LM);
    expect_places("\"target_modules\": [\"o_proj\"]", "model.layers.0.self_attn.o_proj:2 model.layers.1.self_attn.o_proj:2");
    expect_places("\"target_modules\": [\"o_proj\", \"up_proj\"], \"layers_to_transform\": 1",
                  "model.layers.1.self_attn.o_proj:2 model.layers.1.mlp.up_proj:2");
    expect_places("\"target_modules\": [\"o_proj\"], \"rank_pattern\": {\"1.self_attn.o_proj\": 3, \"o_proj\": 1}",
                  "model.layers.0.self_attn.o_proj:1 model.layers.1.self_attn.o_proj:3");
    expect_places("\"target_modules\": [\"o_proj\"], \"rank_pattern\": {\"^model.layers.0.*\": 4}",
                  "model.layers.0.self_attn.o_proj:4 model.layers.1.self_attn.o_proj:2");
    expect_places("\"target_modules\": \"all-linear\", \"exclude_modules\": \".*(self_attn|gate_proj|layers.0).*\"",
                  "model.layers.1.mlp.up_proj:2 model.layers.1.mlp.down_proj:2");
    rlhf_model_free(beside);
}
END_TEST

START_TEST(tensors_that_do_not_fit_are_named)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);
    struct rlhf_adapter *a = lively(m, &everything);
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    struct rlhf_error err = { 0 };
    const char *small = "{\"peft_type\": \"LORA\", \"r\": 3, \"target_modules\": [\"q_proj\"]}";
    const char *other = "{\"peft_type\": \"LORA\", \"r\": 4, \"target_modules\": \"all-linear\"}";
    size_t count;
    float *w = rlhf_adapter_parameters(a, &count);

    expect_ok(rlhf_adapter_write(a, &config, &tensors, &err), err);
    ck_assert_ptr_null(rlhf_adapter_read(m, small, strlen(small), tensors.data, tensors.size, &err));
    expect_contains(err.text, "targets no such matrix");
    ck_assert_ptr_null(rlhf_adapter_read(m, other, strlen(other), tensors.data, tensors.size, &err));
    expect_contains(err.text, "must be [4, 9]");
    w[5] = NAN;
    ck_assert_int_eq(rlhf_adapter_write(a, &config, &tensors, &err), -1);
    expect_contains(err.text, "not finite");
    rlhf_adapter_free(a);
    rlhf_model_free(m);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
}
END_TEST

START_TEST(targets_that_are_nowhere_are_named)
{
    static const char *const wrong[][1] = { { "c_attn" }, { "embed_tokens" }, { "proj" }, { "q_proj\"" } };
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM);

    for (size_t i = 0; i < 4; i++) {
        const struct rlhf_adapter_settings s = { .rank = 2, .alpha = 2, .targets = wrong[i], .target_count = 1 };
        struct rlhf_error err = { 0 };

        ck_assert_ptr_null(rlhf_adapter_new(m, &s, 1, &err));
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, wrong[i][0]);
    }
    rlhf_model_free(m);
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/adapter", a_new_adapter_changes_nothing, with_it_a_model_is_the_merged_model,
                     gradients_are_those_of_the_merged_weights_by_the_chain_rule,
                     an_applied_adapter_has_the_same_gradient_and_can_be_applied_again,
                     the_models_own_gradient_is_there_when_asked_for,
                     dropout_of_an_adapter_is_of_what_goes_into_its_matrices_merged_or_not,
                     training_lowers_the_loss_repeats_its_bits_and_leaves_the_base_alone,
                     generation_has_the_bits_of_scoring, what_is_saved_is_loaded,
                     a_reward_models_head_is_trained_and_saved_with_it, settings_that_are_not_supported_are_named,
                     patterns_choose_modules_ranks_and_layers, tensors_that_do_not_fit_are_named,
                     targets_that_are_nowhere_are_named);
}
