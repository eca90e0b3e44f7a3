/* Gradients of whole models against central differences of a plain forward pass in double. */
#include "tiny.h"

#include "model/dropout.h"

static const size_t lengths[] = { 7, 1, 4, 12, 2, 0 }, few[] = { 8, 1, 3, 0 }; /* longer than any window */

/* Both heads at once: sum over t of by_logprob[t] * logprob[t] + by_entropy[t] * entropy[t], or by_scalar. */
struct loss {
    struct plain plain;
    const struct ragged *r;
    float temperature;
    bool with_entropy;
    float *by_value, *by_entropy; /* [T] the loss's derivatives */
    double *value, *entropy;      /* [T] */
};

static double plain_loss(const struct loss *l)
{
    const bool scalar = rlhf_model_get_config(l->plain.m)->head == RLHF_HEAD_SCALAR;
    double sum = 0;

    plain_heads(&l->plain, l->r, (double)l->temperature, scalar ? NULL : l->value, l->entropy,
                scalar ? l->value : NULL);
    for (size_t t = 0; t < l->r->t; t++)
        sum += (double)l->by_value[t] * l->value[t]
               + (l->with_entropy ? (double)l->by_entropy[t] * l->entropy[t] : 0);
    return sum;
}

static void run_pass(const struct loss *l, struct rlhf_pass *p, float *value, float *entropy, float *grad)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_pass_forward(p, l->plain.m, &l->r->batch, &err), err);
    if (rlhf_model_get_config(l->plain.m)->head == RLHF_HEAD_SCALAR) {
        expect_ok(rlhf_pass_scalars(p, l->plain.m, value, &err), err);
        expect_ok(rlhf_pass_backward_scalars(p, l->plain.m, l->by_value, grad, &err), err);
        return;
    }
    expect_ok(rlhf_pass_logprobs(p, l->plain.m, l->r->target, l->temperature, value,
                                 l->with_entropy ? entropy : NULL, &err), err);
    expect_ok(rlhf_pass_backward_logprobs(p, l->plain.m, l->by_value, l->with_entropy ? l->by_entropy : NULL, grad,
                                          &err), err);
}

static void check_values(const struct loss *l, const float *value, const float *entropy)
{
    plain_loss(l);
    for (size_t t = 0; t < l->r->t; t++) {
        ck_assert_msg(fabs((double)value[t] - l->value[t]) < 2e-5 * (1 + fabs(l->value[t])), "position %zu: %g, not %g",
                      t, (double)value[t], l->value[t]);
        if (l->with_entropy)
            ck_assert_msg(fabs((double)entropy[t] - l->entropy[t]) < 2e-5, "entropy %zu: %g, not %g", t,
                          (double)entropy[t], l->entropy[t]);
    }
}

/* By central differences in double, along a direction of +1 and -1. */
static double slope_along(struct loss *l, double *w, const struct rlhf_parameter *p, const double *sign)
{
    const double step = 1e-5;
    double up, down;

    for (size_t j = 0; j < p->count; j++)
        w[p->offset + j] += step * sign[j];
    up = plain_loss(l);
    for (size_t j = 0; j < p->count; j++)
        w[p->offset + j] -= 2 * step * sign[j];
    down = plain_loss(l);
    for (size_t j = 0; j < p->count; j++)
        w[p->offset + j] += step * sign[j];
    return (up - down) / (2 * step);
}

/* Names the element that is furthest from its own difference. */
static _Noreturn void blame(struct loss *l, double *w, const struct rlhf_parameter *p, const float *grad)
{
    double *sign = calloc(p->count, sizeof *sign), most = -1, difference = 0;
    size_t worst = 0;

    for (size_t j = 0; j < p->count; j++) {
        sign[j] = 1;
        double slope = slope_along(l, w, p, sign), off = fabs(slope - (double)grad[p->offset + j]);
        sign[j] = 0;
        if (off <= most)
            continue;
        most = off;
        worst = j;
        difference = slope;
    }
    free(sign);
    ck_abort_msg("%s[%zu]: %.8g, by differences %.8g", p->name, worst, (double)grad[p->offset + worst], difference);
}

/* A tensor's gradient g is compared along random directions s of +1 and -1: a mistake e of g, in however few of its elements, shows
 * as s·e, of the size of |e| and for an s of its own sign in each direction. The pass rounds to fp32 (6e-8 an operation, sums
 * of some hundred); differences in double with step 1e-5 are good to 1e-7. 1e-4 of the tensor's largest entry
 * separates the two from any mistake. */
static void check_differences(struct loss *l, double *w, const float *grad)
{
    enum { DIRECTIONS = 4 };
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(l->plain.m, &tensors);
    struct rlhf_random random;

    rlhf_random_init(&random, 4, RLHF_PURPOSE_FAULT, 4, 4);
    for (const struct rlhf_parameter *p = table; p < table + tensors; p++) {
        double largest = 0, *sign = calloc(p->count, sizeof *sign);

        for (size_t j = 0; j < p->count; j++)
            largest = fmax(largest, fabs((double)grad[p->offset + j]));
        ck_assert_msg(largest > 1e-3, "%s: its gradient is nothing", p->name);
        for (int i = 0; i < DIRECTIONS; i++) {
            double slope = 0;

            for (size_t j = 0; j < p->count; j++) {
                sign[j] = rlhf_random_below(&random, 2) ? 1 : -1;
                slope += sign[j] * (double)grad[p->offset + j];
            }
            if (!(fabs(slope_along(l, w, p, sign) - slope) <= 1e-4 * largest + 1e-6))
                blame(l, w, p, grad);
        }
        free(sign);
    }
}

static void check_gradients(enum variant variant, enum rlhf_head head, float temperature, bool with_entropy)
{
    struct rlhf_model *m = tiny_model(variant, head);
    struct ragged r = ragged(variant <= LLAMA_TIED ? lengths : few, rlhf_model_get_config(m)->vocabulary, 5);
    struct loss l = { .plain.m = m, .r = &r, .temperature = temperature, .with_entropy = with_entropy };
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(2, &err);
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), pool, 1, &err);
    struct rlhf_random random;
    size_t count;
    const float *parameters = rlhf_model_parameters(m, &count);
    float *grad = calloc(count, sizeof *grad), *value = calloc(r.t, sizeof *value);
    float *entropy = calloc(r.t, sizeof *entropy);
    double *w = calloc(count, sizeof *w);

    expect_some(p, err);
    l.plain.w = w;
    l.by_value = calloc(r.t, sizeof *l.by_value);
    l.by_entropy = calloc(r.t, sizeof *l.by_entropy);
    l.value = calloc(r.t, sizeof *l.value);
    l.entropy = calloc(r.t, sizeof *l.entropy);
    for (size_t i = 0; i < count; i++)
        w[i] = (double)parameters[i];
    rlhf_random_init(&random, 3, RLHF_PURPOSE_FAULT, 3, 3);
    for (size_t t = 0; t < r.t; t++) {
        l.by_value[t] = rlhf_random_normal(&random);
        l.by_entropy[t] = rlhf_random_normal(&random);
    }
    run_pass(&l, p, value, entropy, grad);
    check_values(&l, value, entropy);
    check_differences(&l, w, grad);
    free(l.by_value);
    free(l.by_entropy);
    free(l.value);
    free(l.entropy);
    free(grad);
    free(value);
    free(entropy);
    free(w);
    rlhf_pass_free(p);
    rlhf_pool_free(pool);
    free_ragged(&r);
    rlhf_model_free(m);
}

START_TEST(every_gradient_of_gpt2_style_is_its_finite_difference)
{
    check_gradients(GPT2, RLHF_HEAD_LM, 1, false);
    check_gradients(GPT2_UNTIED, RLHF_HEAD_LM, 0.7F, true);
}
END_TEST

START_TEST(every_gradient_of_llama_style_is_its_finite_difference)
{
    check_gradients(LLAMA, RLHF_HEAD_LM, 1, true);
    check_gradients(LLAMA_TIED, RLHF_HEAD_LM, 1.6F, false);
}
END_TEST

START_TEST(every_gradient_of_mistral_and_qwen_style_is_its_finite_difference)
{
    check_gradients(LLAMA_BIASED, RLHF_HEAD_LM, 1, false);
    check_gradients(MISTRAL, RLHF_HEAD_LM, 1, false);
    check_gradients(QWEN2, RLHF_HEAD_LM, 1, true);
    check_gradients(QWEN3, RLHF_HEAD_LM, 1, false);
}
END_TEST

START_TEST(every_gradient_of_neox_and_gemma_style_is_its_finite_difference)
{
    check_gradients(NEOX, RLHF_HEAD_LM, 1, false);
    check_gradients(NEOX_SEQUENTIAL, RLHF_HEAD_LM, 1, true);
    check_gradients(GEMMA2, RLHF_HEAD_LM, 0.8F, true);
}
END_TEST

START_TEST(every_gradient_of_a_scalar_head_is_its_finite_difference)
{
    check_gradients(GPT2, RLHF_HEAD_SCALAR, 1, false);
    check_gradients(LLAMA, RLHF_HEAD_SCALAR, 1, false);
    check_gradients(NEOX, RLHF_HEAD_SCALAR, 1, false);
    check_gradients(GEMMA2, RLHF_HEAD_SCALAR, 1, false);
}
END_TEST

/* The loss with dropout, by_logprob being -1/T everywhere. */
static double dropped_loss(const struct rlhf_model *m, struct rlhf_pass *p, const struct ragged *r, float *grad)
{
    float value[26], d[26];
    struct rlhf_error err = { 0 };
    double sum = 0;

    for (size_t t = 0; t < r->t; t++)
        d[t] = -1 / (float)r->t;
    expect_ok(rlhf_pass_forward(p, m, &r->batch, &err), err);
    expect_ok(rlhf_pass_logprobs(p, m, r->target, 1, value, NULL, &err), err);
    if (grad)
        expect_ok(rlhf_pass_backward_logprobs(p, m, d, NULL, grad, &err), err);
    for (size_t t = 0; t < r->t; t++)
        sum += (double)d[t] * value[t];
    return sum;
}

START_TEST(what_dropout_dropped_gets_no_gradient)
{
    static const enum variant variants[] = { GPT2, LLAMA, NEOX };

    for (size_t v = 0; v < 3; v++) {
        struct rlhf_model *m = tiny_model(variants[v], RLHF_HEAD_LM);
        struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 5);
        struct rlhf_error err = { 0 };
        struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 1, &err);
        struct rlhf_dropout d = { .rate = 0.3F, .sequence = 7 };
        double norm = 0, up, down, plain;
        size_t count;
        float *w = rlhf_model_parameters(m, &count), *grad = calloc(count, sizeof *grad), *kept = malloc(count * sizeof *kept);

        plain = dropped_loss(m, p, &r, NULL);
        rlhf_dropout_key(3, 1, 4, d.key);
        expect_ok(rlhf_pass_set_dropout(p, &d, &err), err);
        ck_assert_double_ne(dropped_loss(m, p, &r, grad), plain);
        for (size_t i = 0; i < count; i++)
            norm += (double)grad[i] * grad[i];
        norm = sqrt(norm);
        memcpy(kept, w, count * sizeof *w);
        const double step = 2e-3; /* along the gradient the slope is its norm; fp32 leaves four digits of it */
        for (size_t i = 0; i < count; i++)
            w[i] = (float)(kept[i] + step * grad[i] / norm);
        rlhf_model_touch(m, NULL);
        up = dropped_loss(m, p, &r, NULL);
        for (size_t i = 0; i < count; i++)
            w[i] = (float)(kept[i] - step * grad[i] / norm);
        rlhf_model_touch(m, NULL);
        down = dropped_loss(m, p, &r, NULL);
        ck_assert_double_eq_tol((up - down) / (2 * step) / norm, 1, 2e-3);
        memcpy(w, kept, count * sizeof *w);
        rlhf_model_touch(m, NULL);
        d.rate = 0;
        expect_ok(rlhf_pass_set_dropout(p, &d, &err), err);
        ck_assert_double_eq(dropped_loss(m, p, &r, NULL), plain); /* and off it is off */
        rlhf_pass_free(p);
        rlhf_model_free(m);
        free_ragged(&r);
        free(grad);
        free(kept);
    }
}
END_TEST

START_TEST(dropout_is_the_same_bits_for_any_threads_and_any_batch_and_drops_its_share)
{
    enum { T = 40, C = 64 };
    static const uint32_t start[] = { 0, 17, 17, 40 }, tail[] = { 0, 23 };
    static float x[T * C], whole[T * C], part[T * C];
    uint32_t position[T];
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(3, &err);
    struct rlhf_dropout d = { .rate = 0.2F, .sequence = 5 }, other;
    double dropped = 0;

    for (size_t i = 0; i < T * C; i++)
        x[i] = 1;
    for (uint32_t t = 0; t < T; t++)
        position[t] = t < 17 ? t : t - 17;
    rlhf_dropout_key(1, 2, 3, d.key);
    rlhf_dropout_apply(&d, 4, &(struct rlhf_batch){ .start = start, .sequences = 3 }, position, C, x, whole, pool);
    rlhf_dropout_apply(&d, 4, &(struct rlhf_batch){ .start = start, .sequences = 3 }, position, C, x, part, NULL);
    ck_assert_mem_eq(whole, part, sizeof whole);
    other = d;
    other.sequence += 2; /* the third sequence alone */
    rlhf_dropout_apply(&other, 4, &(struct rlhf_batch){ .start = tail, .sequences = 1 }, position + 17, C, x, part, NULL);
    ck_assert_mem_eq(whole + 17 * C, part, 23 * C * sizeof *part);
    for (size_t i = 0; i < T * C; i++) {
        ck_assert(whole[i] == 0 || whole[i] == 1 / (1 - 0.2F));
        dropped += whole[i] == 0;
    }
    ck_assert_double_eq_tol(dropped / (T * C), 0.2, 4 * sqrt(0.2 * 0.8 / (T * C)));
    rlhf_dropout_key(1, 2, 4, other.key);
    rlhf_dropout_apply(&other, 4, &(struct rlhf_batch){ .start = tail, .sequences = 1 }, position + 17, C, x, part, NULL);
    ck_assert_mem_ne(whole + 17 * C, part, 23 * C * sizeof *part); /* every step drops others */
    rlhf_pool_free(pool);
}
END_TEST

/* bfloat16 keeps 8 bits: values that are sums of many products are off by less than that, gradients by some times that. */
START_TEST(gradients_of_rounded_products_are_near_those_of_exact_ones)
{
    for (enum variant variant = 0; variant < VARIANTS; variant++)
        for (int scalar = 0; scalar < 2; scalar++) {
            struct rlhf_model *m = tiny_model(variant, scalar ? RLHF_HEAD_SCALAR : RLHF_HEAD_LM);
            struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 5);
            struct rlhf_error err = { 0 };
            struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 1, &err);
            float d[26], value[2][26], entropy[26], *grad[2];
            struct loss l = { .plain = { .m = m }, .r = &r, .temperature = 1, .by_value = d };
            double off = 0, size = 0;
            size_t count;

            rlhf_model_parameters(m, &count);
            for (size_t t = 0; t < r.t; t++)
                d[t] = t % 2 ? 1 : -0.5F;
            for (int products = RLHF_PRODUCTS_F32; products <= RLHF_PRODUCTS_BF16; products++) {
                grad[products] = calloc(count, sizeof **grad);
                rlhf_model_set_products(m, (enum rlhf_products)products);
                run_pass(&l, p, value[products], entropy, grad[products]);
            }
            ck_assert_mem_ne(value[0], value[1], r.t * sizeof **value);
            for (size_t t = 0; t < r.t; t++)
                ck_assert_msg(fabsf(value[0][t] - value[1][t]) < 0.05F * (1 + fabsf(value[0][t])), "position %zu: %g, %g", t,
                              (double)value[0][t], (double)value[1][t]);
            for (size_t i = 0; i < count; i++) {
                off += pow((double)(grad[1][i] - grad[0][i]), 2);
                size += pow((double)grad[0][i], 2);
            }
            ck_assert_msg(off < 0.08 * 0.08 * size, "%s: gradients are off by %.1f %%", variant_style(variant), 100 * sqrt(off / size));
            free(grad[0]);
            free(grad[1]);
            rlhf_pass_free(p);
            free_ragged(&r);
            rlhf_model_free(m);
        }
}
END_TEST

/* Gradients add up: a batch in two parts gives the sum, to rounding; and grad is added to, never overwritten. */
START_TEST(gradients_of_micro_batches_add_up)
{
    static const size_t halves[2][4] = { { 7, 1, 4, 0 }, { 12, 2, 0, 0 } };
    struct rlhf_model *m = tiny_model(GPT2, RLHF_HEAD_LM);
    struct ragged whole = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 5);
    struct rlhf_error err = { 0 };
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(m), NULL, 1, &err);
    float *at_once, *in_parts, d[26], value[26];
    size_t count;

    rlhf_model_parameters(m, &count);
    at_once = calloc(count, sizeof *at_once);
    in_parts = calloc(count, sizeof *in_parts);
    for (size_t t = 0; t < whole.t; t++)
        d[t] = 0.1F * (float)(t + 1);
    expect_ok(rlhf_pass_forward(p, m, &whole.batch, &err), err);
    expect_ok(rlhf_pass_logprobs(p, m, whole.target, 1, value, NULL, &err), err);
    expect_ok(rlhf_pass_backward_logprobs(p, m, d, NULL, at_once, &err), err);
    for (size_t part = 0, at = 0; part < 2; part++) {
        struct ragged r = ragged(halves[part], rlhf_model_get_config(m)->vocabulary, 0);

        memcpy(r.tokens, whole.tokens + at, r.t * sizeof *r.tokens);
        expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
        expect_ok(rlhf_pass_logprobs(p, m, whole.target + at, 1, value, NULL, &err), err);
        expect_ok(rlhf_pass_backward_logprobs(p, m, d + at, NULL, in_parts, &err), err);
        at += r.t;
        free_ragged(&r);
    }
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(fabsf(at_once[i] - in_parts[i]) <= 1e-5F * (1 + fabsf(at_once[i])), "%zu: %g, %g", i,
                      (double)at_once[i], (double)in_parts[i]);
    free(at_once);
    free(in_parts);
    rlhf_pass_free(p);
    free_ragged(&whole);
    rlhf_model_free(m);
}
END_TEST

/* After new weights (touch), backward must not use the old ones' packed copies. */
START_TEST(gradients_follow_the_weights)
{
    struct rlhf_model *m = tiny_model(LLAMA, RLHF_HEAD_LM), *other;
    struct ragged r = ragged(lengths, rlhf_model_get_config(m)->vocabulary, 5);
    struct rlhf_error err = { 0 };
    struct rlhf_pass *used = rlhf_pass_new(rlhf_model_get_config(m), NULL, 1, &err);
    struct rlhf_pass *fresh = rlhf_pass_new(rlhf_model_get_config(m), NULL, 1, &err);
    float *grad[2], d[26], value[26], *w;
    size_t count;

    w = rlhf_model_parameters(m, &count);
    other = rlhf_model_clone(m, RLHF_HEAD_LM, 0, &err);
    for (size_t t = 0; t < r.t; t++)
        d[t] = 1;
    for (int i = 0; i < 2; i++)
        grad[i] = calloc(count, sizeof **grad);
    expect_ok(rlhf_pass_forward(used, m, &r.batch, &err), err);
    expect_ok(rlhf_pass_logprobs(used, m, r.target, 1, value, NULL, &err), err);
    expect_ok(rlhf_pass_backward_logprobs(used, m, d, NULL, grad[0], &err), err);
    for (size_t i = 0; i < count; i++)
        w[i] *= 1.25F;
    rlhf_model_touch(m, NULL);
    for (int i = 0; i < 2; i++) {
        struct rlhf_pass *p = i ? fresh : used;

        memset(grad[i], 0, count * sizeof **grad);
        expect_ok(rlhf_pass_forward(p, m, &r.batch, &err), err);
        expect_ok(rlhf_pass_logprobs(p, m, r.target, 1, value, NULL, &err), err);
        expect_ok(rlhf_pass_backward_logprobs(p, m, d, NULL, grad[i], &err), err);
    }
    ck_assert_mem_eq(grad[0], grad[1], count * sizeof **grad);
    for (int i = 0; i < 2; i++) { /* another model of the same shape, through the same pass */
        struct rlhf_pass *p = i ? fresh : used;

        memset(grad[i], 0, count * sizeof **grad);
        if (i == 0)
            w = rlhf_model_parameters(other, &count);
        expect_ok(rlhf_pass_forward(p, other, &r.batch, &err), err);
        expect_ok(rlhf_pass_logprobs(p, other, r.target, 1, value, NULL, &err), err);
        expect_ok(rlhf_pass_backward_logprobs(p, other, d, NULL, grad[i], &err), err);
        rlhf_pass_free(p);
    }
    ck_assert_mem_eq(grad[0], grad[1], count * sizeof **grad);
    for (int i = 0; i < 2; i++)
        free(grad[i]);
    rlhf_model_free(other);
    rlhf_model_free(m);
    free_ragged(&r);
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/gradient", every_gradient_of_gpt2_style_is_its_finite_difference,
                     every_gradient_of_llama_style_is_its_finite_difference,
                     every_gradient_of_mistral_and_qwen_style_is_its_finite_difference,
                     every_gradient_of_neox_and_gemma_style_is_its_finite_difference,
                     every_gradient_of_a_scalar_head_is_its_finite_difference, what_dropout_dropped_gets_no_gradient,
                     dropout_is_the_same_bits_for_any_threads_and_any_batch_and_drops_its_share,
                     gradients_of_rounded_products_are_near_those_of_exact_ones, gradients_of_micro_batches_add_up,
                     gradients_follow_the_weights);
}
