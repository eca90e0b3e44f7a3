/* Products of backward out of three bfloat16 parts: the bits of their twin, and as exact as fp32. */
#include "base/pool.h"
#include "unit/tensor/compare.h"

static void want_parts(void)
{
    if (!rlhf_kernels_choose("amx"))
        skip("this machine has no matrix tiles that may be used");
}

static struct rlhf_packed packed(const float *w, size_t n, size_t k, bool transposed, struct rlhf_pool *pool)
{
    struct rlhf_packed p = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_pack_parts(&p, w, n, k, transposed, pool, &err), err);
    return p;
}

static float *copy_of(const float *x, size_t count)
{
    float *copy = malloc((count + 1) * sizeof *copy);

    memcpy(copy, x, count * sizeof *copy);
    return copy;
}

static void compare_linear(size_t m, size_t n, size_t k, bool transposed, bool accumulate, bool biased)
{
    struct both w = some(n * k, 1), x = some(m * (k + 3), 3), bias = some(n, 1), y = some(m * (n + 5), 1);
    float *twin = copy_of(y.f, m * (n + 5));
    struct rlhf_packed p = packed(w.f, n, k, transposed, NULL);

    rlhf_reference_linear_in_parts(w.f, x.f, k + 3, m, n, k, transposed, biased ? bias.f : NULL, accumulate, twin, n + 5);
    rlhf_linear(&p, x.f, k + 3, m, biased ? bias.f : NULL, accumulate, y.f, n + 5, NULL);
    expect_same_bits(y.f, twin, m * (n + 5)); /* and what is between the rows is as it was */
    rlhf_packed_free(&p);
    free(twin);
    done(&w), done(&x), done(&bias), done(&y);
}

START_TEST(a_product_has_the_bits_of_its_twin)
{
    static const size_t rows[] = { 0, 1, 2, 17, 33 }, sides[] = { 1, 7, 33, 67 };

    want_parts();
    for (size_t m = 0; m < 5; m++)
        for (size_t n = 0; n < 4; n++)
            for (size_t k = 0; k < 4; k++)
                compare_linear(rows[m], sides[n], sides[k], (m + n + k) % 2, n % 2, k % 3);
    compare_linear(3, 40, 600, false, false, false);   /* more of k than rounded rows or weights stay in a cache */
    compare_linear(150, 70, 400, true, true, false); /* rows of their own tasks */
}
END_TEST

/* The gradient is a product of dy turned with x. */
static void compare_gradient(size_t m, size_t n, size_t k, bool transposed)
{
    struct both dy = some(m * (n + 2), 1), x = some(m * (k + 1), 1), dw = some(n * k, 1);
    const struct both *rows = transposed ? &x : &dy, *cols = transposed ? &dy : &x;
    size_t a = transposed ? k : n, b = transposed ? n : k, a_stride = a + (transposed ? 1 : 2), b_stride = b + (transposed ? 2 : 1);
    float *turned = malloc(a * m * sizeof *turned), *dense = malloc(m * b * sizeof *dense), *twin = copy_of(dw.f, n * k);

    for (size_t t = 0; t < m; t++) {
        for (size_t i = 0; i < a; i++)
            turned[i * m + t] = rows->f[t * a_stride + i];
        memcpy(dense + t * b, cols->f + t * b_stride, b * sizeof *dense);
    }
    rlhf_reference_linear_in_parts(dense, turned, m, a, b, m, true, NULL, true, twin, b);
    rlhf_parts_backward_weight(dy.f, n + 2, x.f, k + 1, m, n, k, transposed, dw.f, NULL);
    expect_same_bits(dw.f, twin, n * k);
    free(turned), free(dense), free(twin);
    done(&dy), done(&x), done(&dw);
}

START_TEST(the_gradient_of_a_weight_has_the_bits_of_its_twin)
{
    static const size_t odd[] = { 1, 2, 33, 70 };

    want_parts();
    for (size_t m = 0; m < 4; m++)
        for (size_t n = 0; n < 4; n++)
            for (size_t k = 0; k < 4; k++)
                compare_gradient(odd[m], odd[n], odd[k], (m + n + k) % 2);
    compare_gradient(40, 150, 35, false);
    compare_gradient(300, 33, 35, true);
}
END_TEST

/* The largest error of x·w against sums in double, as a share of Σ|x||w|. */
static double worst_error(const struct rlhf_packed *p, const struct both *w, const struct both *x, size_t m)
{
    struct both y = nothing(m * p->n);
    double worst = 0;

    rlhf_linear(p, x->f, p->k, m, NULL, false, y.f, p->n, NULL);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < p->n; j++) {
            double exact = 0, size = 0;

            for (size_t l = 0; l < p->k; l++) {
                exact += x->d[i * p->k + l] * w->d[j * p->k + l];
                size += fabs(x->d[i * p->k + l] * w->d[j * p->k + l]);
            }
            worst = fmax(worst, fabs((double)y.f[i * p->n + j] - exact) / size);
        }
    done(&y);
    return worst;
}

/* Ordinary numbers, and numbers of many sizes. Of few a sum of six blocks has three roundings more than FMAs. */
START_TEST(sums_of_parts_are_as_exact_as_those_of_fp32)
{
    static const size_t lengths[] = { 32, 300, 2048 };
    enum { M = 40, N = 48 };

    want_parts();
    for (size_t i = 0; i < 3; i++)
        for (int spread = 0; spread < 2; spread++) {
            struct both w = some(N * lengths[i], 1), x = some(M * lengths[i], 1);
            struct rlhf_packed parts, plain = { 0 };
            struct rlhf_error err = { 0 };

            for (size_t j = 0; spread && j < x.count; j++)
                x.d[j] = x.f[j] = ldexpf(x.f[j], (int)noise_below(60) - 30);
            parts = packed(w.f, N, lengths[i], false, NULL);
            expect_ok(rlhf_pack(&plain, w.f, N, lengths[i], false, NULL, &err), err);
            ck_assert_double_le(worst_error(&parts, &w, &x, M), fmax(worst_error(&plain, &w, &x, M), 0x1.8p-22));
            rlhf_packed_free(&parts), rlhf_packed_free(&plain);
            done(&w), done(&x);
        }
}
END_TEST

START_TEST(threads_change_no_bit)
{
    enum { T = 300, C = 200, N = 450, ROOM = T * C + N * C };
    float *first = NULL;

    want_parts();
    for (unsigned threads = 1; threads <= 3; threads++) {
        struct rlhf_error err = { 0 };
        struct rlhf_pool *pool = rlhf_pool_new(threads, &err);
        float *all = calloc(ROOM, sizeof *all);

        expect_some(pool, err);
        noise_state = 7;
        struct both weight = some(N * C, 1), x = some(T * C, 1), dy = some(T * N, 1);
        struct rlhf_packed back = packed(weight.f, C, N, true, pool);
        rlhf_linear(&back, dy.f, N, T, NULL, false, all, C, pool);
        rlhf_parts_backward_weight(dy.f, N, x.f, C, T, N, C, false, all + T * C, pool);
        rlhf_packed_free(&back);
        done(&weight), done(&x), done(&dy);
        if (first)
            expect_same_bits(all, first, ROOM);
        else
            first = copy_of(all, ROOM);
        free(all);
        rlhf_pool_free(pool);
    }
    free(first);
}
END_TEST

START_TEST(large_weights_alone_are_multiplied_in_parts)
{
    enum { LARGE = 512, SMALL = 500 };
    struct both w = some(LARGE * LARGE, 1);
    struct rlhf_packed p = { 0 };
    struct rlhf_error err = { 0 };

    want_parts();
    expect_ok(rlhf_pack_for_gradients(&p, w.f, LARGE, SMALL, true, NULL, &err), err);
    ck_assert(!p.parts);
    expect_ok(rlhf_pack_for_gradients(&p, w.f, LARGE, LARGE, true, NULL, &err), err);
    ck_assert(p.parts);
    ck_assert(rlhf_kernels_choose("avx512_bf16"));
    expect_ok(rlhf_pack_for_gradients(&p, w.f, LARGE, LARGE, true, NULL, &err), err);
    ck_assert(!p.parts);
    rlhf_packed_free(&p);
    done(&w);
}
END_TEST

int main(void)
{
    return RUN_SUITE("tensor/parts", large_weights_alone_are_multiplied_in_parts, a_product_has_the_bits_of_its_twin, the_gradient_of_a_weight_has_the_bits_of_its_twin,
                     sums_of_parts_are_as_exact_as_those_of_fp32, threads_change_no_bit);
}
