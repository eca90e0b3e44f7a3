/* Products of operands rounded to bfloat16: one order, and its bits with every kernel set. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/pool.h"
#include "unit/tensor/compare.h"

static const char *const rounding_sets[] = { "generic", "avx2", "avx512", "avx512_bf16", "amx" };
enum { ROUNDING_SETS = sizeof rounding_sets / sizeof rounding_sets[0] };

#define WITH_EVERY_ROUNDING_SET(statement) \
    for (size_t set = 0; set < ROUNDING_SETS; set++) \
        if (rlhf_kernels_choose(rounding_sets[set])) { \
            statement; \
        }

static struct rlhf_packed packed(const float *w, size_t n, size_t k, bool transposed)
{
    struct rlhf_packed p = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_pack_rounded(&p, w, n, k, transposed, NULL, &err), err);
    return p;
}

static float *copy_of(const float *x, size_t count)
{
    float *copy = malloc((count + 1) * sizeof *copy);

    memcpy(copy, x, count * sizeof *copy);
    return copy;
}

/* NaN is NaN, whatever it carries. */
static void expect_same_numbers(const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isnan(a[i]) || !isnan(b[i]))
            ck_assert_msg(memcmp(&a[i], &b[i], sizeof *a) == 0, "%s kernels: element %zu of %zu is %a and %a",
                          rlhf_kernels()->set, i, count, (double)a[i], (double)b[i]);
}

/* ---- against the twin ------------------------------------------------------------------------------- */

/* What numbers are made of: ordinary ones; ones whose sums cancel, overflow or are subnormal; any bits at all. */
enum kind { ORDINARY, CANCELLING, HUGE_ONES, TINY, ANY_BITS, KINDS };

static float number(enum kind kind)
{
    static const uint32_t from[] = { [CANCELLING] = 120, [HUGE_ONES] = 186, [TINY] = 0 };
    static const uint32_t span[] = { [CANCELLING] = 14, [HUGE_ONES] = 10, [TINY] = 80 };
    uint32_t bits = (uint32_t)((noise() + 1) * 0x1p31);
    float x;

    if (kind == ORDINARY)
        return (float)noise();
    if (kind != ANY_BITS)
        bits = (bits & 0x807fffffu) | (from[kind] + (bits >> 8) % span[kind]) << 23;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float *numbers(enum kind kind, size_t count)
{
    float *x = malloc((count + 1) * sizeof *x);

    for (size_t i = 0; i <= count; i++)
        x[i] = number(kind);
    return x;
}

static void compare_linear(enum kind kind, size_t m, size_t n, size_t k, bool transposed, bool accumulate, bool biased)
{
    float *w = numbers(kind, n * k), *x = numbers(kind, m * (k + 3)), *bias = numbers(kind, n);
    float *y = numbers(kind, m * (n + 5)), *twin = copy_of(y, m * (n + 5));
    struct rlhf_packed p;

    rlhf_reference_linear_rounded(w, x, k + 3, m, n, k, transposed, biased ? bias : NULL, accumulate, twin, n + 5);
    WITH_EVERY_ROUNDING_SET({
        float *mine = copy_of(y, m * (n + 5));

        p = packed(w, n, k, transposed);
        rlhf_linear(&p, x, k + 3, m, biased ? bias : NULL, accumulate, mine, n + 5, NULL);
        expect_same_numbers(mine, twin, m * (n + 5)); /* and what is between the rows is as it was */
        rlhf_packed_free(&p);
        free(mine);
    })
    free(w), free(x), free(bias), free(y), free(twin);
}

START_TEST(a_product_has_the_bits_of_its_twin)
{
    static const size_t odd[] = { 0, 1, 2, 5, 17, 33, 67 };
    enum { ODD = sizeof odd / sizeof odd[0] };

    for (size_t m = 0; m < ODD; m++)
        for (size_t n = 0; n < ODD; n++)
            for (size_t k = 1; k < ODD; k++)
                compare_linear(ORDINARY, odd[m], odd[n], odd[k], (m + n + k) % 2, n % 2, k % 3);
    compare_linear(ORDINARY, 7, 200, 1100, false, false, true);
    compare_linear(ORDINARY, 129, 70, 513, true, true, false);
}
END_TEST

START_TEST(a_product_of_numbers_that_cancel_overflow_or_vanish_has_the_bits_of_its_twin)
{
    for (enum kind kind = CANCELLING; kind < KINDS; kind++) {
        compare_linear(kind, 37, 75, 96, kind % 2, true, false);
        compare_linear(kind, 3, 75, 96, kind % 2, false, true);
    }
}
END_TEST

/* The gradient is a product of dy turned with x. */
static void compare_gradient(size_t m, size_t n, size_t k, bool transposed)
{
    struct both dy = some(m * (n + 2), 1), x = some(m * (k + 1), 1), dw = some(n * k, 1), db = some(n, 1);
    const struct both *rows = transposed ? &x : &dy, *cols = transposed ? &dy : &x;
    size_t a = transposed ? k : n, b = transposed ? n : k, a_stride = a + (transposed ? 1 : 2), b_stride = b + (transposed ? 2 : 1);
    float *turned = malloc(a * m * sizeof *turned + 1), *dense = malloc(m * b * sizeof *dense + 1), *twin = copy_of(dw.f, n * k);

    for (size_t t = 0; t < m; t++) {
        for (size_t i = 0; i < a; i++)
            turned[i * m + t] = rows->f[t * a_stride + i];
        memcpy(dense + t * b, cols->f + t * b_stride, b * sizeof *dense);
        for (size_t i = 0; i < n; i++)
            db.d[i] += dy.d[t * (n + 2) + i];
    }
    rlhf_reference_linear_rounded(dense, turned, m, a, b, m, true, NULL, true, twin, b);
    WITH_EVERY_ROUNDING_SET({
        float *mine = copy_of(dw.f, n * k);
        float *sums = copy_of(db.f, n + 1);

        rlhf_linear_backward_weight_rounded(dy.f, n + 2, x.f, k + 1, m, n, k, transposed, mine, sums, NULL);
        expect_same_numbers(mine, twin, n * k);
        for (size_t i = 0; i < n; i++)
            ck_assert_double_le(fabs((double)sums[i] - db.d[i]), 1e-4);
        free(mine);
        free(sums);
    })
    free(turned), free(dense), free(twin);
    done(&dy), done(&x), done(&dw), done(&db);
}

START_TEST(the_gradient_of_a_weight_has_the_bits_of_its_twin)
{
    static const size_t odd[] = { 1, 2, 17, 33, 100 };
    enum { ODD = sizeof odd / sizeof odd[0] };

    for (size_t m = 0; m < ODD; m++)
        for (size_t n = 0; n < ODD; n++)
            for (size_t k = 0; k < ODD; k++)
                compare_gradient(odd[m], odd[n], odd[k], (m + n + k) % 2);
}
END_TEST

/* ---- batches, threads, and how weights were packed --------------------------------------------------- */

static void expect_row_alone_in_any_batch(size_t n, size_t k)
{
    enum { M = 64 };
    struct both w = some(n * k, 1), x = some(M * k, 1), bias = some(n, 1), y = nothing(M * n);
    struct rlhf_packed p = packed(w.f, n, k, false);
    float *alone = calloc(M * n, sizeof *alone);

    for (size_t i = 0; i < M; i++)
        rlhf_linear(&p, x.f + i * k, k, 1, bias.f, false, alone + i * n, n, NULL);
    for (size_t m = 1; m <= M; m++) {
        rlhf_linear(&p, x.f, k, m, bias.f, false, y.f, n, NULL);
        expect_same_bits(y.f, alone, m * n);
        rlhf_linear(&p, x.f + (M - m) * k, k, m, bias.f, false, y.f, n, NULL); /* elsewhere in the batch */
        expect_same_bits(y.f, alone + (M - m) * n, m * n);
    }
    rlhf_packed_free(&p);
    free(alone);
    done(&w), done(&x), done(&bias), done(&y);
}

START_TEST(a_row_alone_is_the_row_in_any_batch)
{
    WITH_EVERY_ROUNDING_SET({
        expect_row_alone_in_any_batch(96, 128);
        expect_row_alone_in_any_batch(101, 300);
    })
}
END_TEST

START_TEST(pieces_of_files_give_the_products_of_one_matrix)
{
    enum { N = 70, K = 101, M = 20 };
    struct both w = some(N * K, 1), x = some(M * K, 1);
    float y[2][M * N], larger[N * 128];

    memset(larger, 0xff, sizeof larger); /* NaN: what the memory held before */
    for (int transposed = 0; transposed < 2; transposed++) {
        struct rlhf_packed one = packed(w.f, N, K, transposed), pieces = packed(larger, N, 128, false);
        size_t rows = transposed ? K : N, width = transposed ? N : K;
        struct rlhf_piece two[] = { { w.f, RLHF_NUMBER_F32, 33 }, { w.f + 33 * width, RLHF_NUMBER_F32, rows - 33 } };
        struct rlhf_error err = { 0 };

        expect_ok(rlhf_pack_pieces(&pieces, two, 2, N, K, transposed, true, NULL, &err), err);
        pieces.products = RLHF_PRODUCTS_BF16;
        rlhf_linear(&one, x.f, K, M, NULL, false, y[0], N, NULL);
        rlhf_linear(&pieces, x.f, K, M, NULL, false, y[1], N, NULL);
        expect_same_bits(y[0], y[1], M * N);
        rlhf_packed_free(&one), rlhf_packed_free(&pieces);
    }
    done(&w), done(&x);
}
END_TEST

enum { T = 300, C = 200, N = 450, V = 1100 };

/* Products forwards and backwards and a vocabulary, large enough to be shared among threads. */
static float *run_everything(struct rlhf_pool *pool, size_t *count)
{
    enum { ROOM = T * N + T * C + N * C + N + 3 * T + T * C + V * C };
    struct rlhf_packed w, back, head, head_back;
    struct rlhf_error err = { 0 };
    float *all = calloc(ROOM, sizeof *all), *y = all, *dx = y + T * N, *dw = dx + T * C, *logprob = dw + N * C + N;
    int32_t target[T];

    noise_state = 7;
    struct both weight = some(N * C, 1), x = some(T * C, 1), dy = some(T * N, 1), vocabulary = some(V * C, 0.1);
    for (size_t i = 0; i < T; i++)
        target[i] = (int32_t)noise_below(V);
    w = packed(weight.f, N, C, false), back = packed(weight.f, C, N, true);
    head = packed(vocabulary.f, V, C, false), head_back = packed(vocabulary.f, C, V, true);
    expect_ok(rlhf_pack_rounded(&w, weight.f, N, C, false, pool, &err), err);
    rlhf_linear(&w, x.f, C, T, dy.f, false, y, N, pool);
    rlhf_linear(&back, dy.f, N, T, NULL, false, dx, C, pool);
    rlhf_linear_backward_weight_rounded(dy.f, N, x.f, C, T, N, C, false, dw, dw + N * C, pool);
    rlhf_vocab_logprobs(&head, x.f, target, T, 2, 0.8f, logprob, logprob + T, logprob + 2 * T, NULL, pool);
    rlhf_vocab_logprobs_backward(&head, &head_back, x.f, target, T, 2, 0.8f, logprob + 2 * T, logprob + T, x.f, dy.f, NULL,
                                 logprob + 3 * T, logprob + 3 * T + T * C, pool);
    rlhf_packed_free(&w), rlhf_packed_free(&back), rlhf_packed_free(&head), rlhf_packed_free(&head_back);
    done(&weight), done(&x), done(&dy), done(&vocabulary);
    *count = ROOM;
    return all;
}

/* But for the generic set, whose other operations round otherwise without FMA. */
START_TEST(kernel_sets_and_threads_change_no_bit)
{
    float *first = NULL, *e;
    size_t count;

    if (!rlhf_kernels_choose("avx2"))
        skip("this machine has no AVX2");
    for (size_t set = 1; set < ROUNDING_SETS; set++)
        for (unsigned threads = 1; rlhf_kernels_choose(rounding_sets[set]) && threads <= 3; threads++) {
            struct rlhf_error err = { 0 };
            struct rlhf_pool *pool = rlhf_pool_new(threads, &err);

            expect_some(pool, err);
            e = run_everything(pool, &count);
            if (!first)
                first = copy_of(e, count);
            expect_same_bits(e, first, count);
            free(e);
            rlhf_pool_free(pool);
        }
    free(first);
}
END_TEST

START_TEST(log_probs_alone_are_those_in_any_batch)
{
    enum { ROWS = 40, WORDS = 600, WIDTH = 48 };
    struct both w = some(WORDS * WIDTH, 1), hidden = some(ROWS * WIDTH, 2);
    float logprob[ROWS], lse[ROWS], logits[WORDS], alone, alone_lse;
    int32_t target[ROWS];

    for (size_t i = 0; i < ROWS; i++)
        target[i] = (int32_t)noise_below(WORDS);
    WITH_EVERY_ROUNDING_SET({
        struct rlhf_packed p = packed(w.f, WORDS, WIDTH, false);

        rlhf_vocab_logprobs(&p, hidden.f, target, ROWS, 0, 0.9f, logprob, NULL, lse, NULL, NULL);
        for (size_t i = 0; i < ROWS; i++) {
            rlhf_vocab_logprobs(&p, hidden.f + i * WIDTH, target + i, 1, 0, 0.9f, &alone, NULL, &alone_lse, NULL, NULL);
            expect_same_bits(&alone, &logprob[i], 1);
            rlhf_linear(&p, hidden.f + i * WIDTH, WIDTH, 1, NULL, false, logits, WORDS, NULL); /* as a sampler does */
            alone = rlhf_vocab_logprob_row(logits, WORDS, 0.9f, target[i]);
            expect_same_bits(&alone, &logprob[i], 1);
        }
        rlhf_packed_free(&p);
    })
    done(&w), done(&hidden);
}
END_TEST

/* ---- matrix tiles that are announced, but do not work ------------------------------------------------ */

/* From here on arch_prctl(2) does what `action` says: as on a machine whose system, or sandbox, does not know it. */
static void break_arch_prctl(uint32_t action)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof rules / sizeof rules[0], rules };

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        skip("this system has no seccomp filters to break matrix tiles with");
}

static void expect_no_tiles(uint32_t action)
{
    struct rlhf_error err = { 0 };
    char set[16];

    break_arch_prctl(action);
    snprintf(set, sizeof set, "%s", rlhf_kernels()->set);
    ck_assert_str_ne(set, "amx");
    ck_assert(!rlhf_kernels_choose("amx"));
    setenv("RLHF_ISA", "amx", 1);
    ck_assert_int_eq(rlhf_tensor_start(&err), -1);
    expect_contains(err.text, "RLHF_ISA=amx");
    unsetenv("RLHF_ISA");
    expect_ok(rlhf_tensor_start(&err), err);
    expect_contains(rlhf_tensor_profile(), set);
}

START_TEST(tiles_that_the_system_does_not_permit_are_not_used)
{
    expect_no_tiles(SECCOMP_RET_ERRNO | EPERM);
}
END_TEST

START_TEST(tiles_that_kill_who_uses_them_kill_a_child_only)
{
    expect_no_tiles(SECCOMP_RET_KILL_PROCESS);
}
END_TEST

/* The twin goes by the distance to the neighbours, in double. */
static float nearest_half(float x)
{
    uint32_t bits, below, above;
    float low, high;

    memcpy(&bits, &x, sizeof bits);
    below = bits & 0xffff0000u;
    above = below + 0x10000u;
    memcpy(&low, &below, sizeof low);
    memcpy(&high, &above, sizeof high);
    if (!isfinite(x))
        return x;
    double upper = isinf(high) ? copysign(0x1p128, (double)x) : (double)high;
    double to_low = fabs((double)x - (double)low), to_high = fabs(upper - (double)x);
    return to_low < to_high || (to_low == to_high && !(below >> 16 & 1)) ? low : high;
}

START_TEST(a_rounded_number_is_the_nearest_half_and_is_rounded_no_further)
{
    enum { ROWS = 401, COLS = 171, STRIDE = 175, COUNT = ROWS * STRIDE };
    struct rlhf_error err = { 0 };
    struct rlhf_pool *pool = rlhf_pool_new(2, &err);

    for (int kind = 0; kind < KINDS; kind++) {
        float *x = numbers(kind, COUNT), *twin = malloc(COUNT * sizeof *twin);

        for (size_t i = 0; i < COUNT; i++)
            twin[i] = i % STRIDE < COLS ? nearest_half(x[i]) : x[i];
        WITH_EVERY_ROUNDING_SET({
            float *mine = copy_of(x, COUNT);

            rlhf_round_halves(mine, STRIDE, ROWS, COLS, set % 2 ? pool : NULL);
            expect_same_numbers(mine, twin, COUNT);
            rlhf_round_halves(mine, STRIDE, ROWS, COLS, NULL);
            expect_same_numbers(mine, twin, COUNT);
            free(mine);
        })
        free(x);
        free(twin);
    }
    rlhf_pool_free(pool);
}
END_TEST

int main(void)
{
    return RUN_SUITE("tensor/rounded", a_product_has_the_bits_of_its_twin,
                     a_product_of_numbers_that_cancel_overflow_or_vanish_has_the_bits_of_its_twin,
                     the_gradient_of_a_weight_has_the_bits_of_its_twin, a_row_alone_is_the_row_in_any_batch,
                     pieces_of_files_give_the_products_of_one_matrix, kernel_sets_and_threads_change_no_bit,
                     log_probs_alone_are_those_in_any_batch,
                     a_rounded_number_is_the_nearest_half_and_is_rounded_no_further, tiles_that_the_system_does_not_permit_are_not_used,
                     tiles_that_kill_who_uses_them_kill_a_child_only);
}
