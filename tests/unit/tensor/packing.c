/* Weights in pieces and in halves: the bits that one matrix of floats gives. */
#include "unit/tensor/compare.h"

static float bf16_value(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* By the definition: sign, fraction and exponent. */
static float f16_value(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double x = exponent == 31 ? (fraction ? NAN : INFINITY)
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);

    return (float)(half & 0x8000 ? -x : x);
}

static bool same_float(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

START_TEST(every_half_is_widened_exactly)
{
    uint16_t *halves = malloc(65536 * sizeof *halves);
    float *floats = malloc(65536 * sizeof *floats);
    char *odd = malloc(65536 * sizeof *halves + 1);

    for (int i = 0; i < 65536; i++)
        halves[i] = (uint16_t)i;
    memcpy(odd + 1, halves, 65536 * sizeof *halves); /* files align nothing */
    WITH_EVERY_SET({
        rlhf_widen(RLHF_NUMBER_F16, odd + 1, 65536, floats);
        for (int i = 0; i < 65536; i++)
            ck_assert_msg(same_float(floats[i], f16_value((uint16_t)i)), "F16 %04x is %g", i, (double)floats[i]);
        rlhf_widen(RLHF_NUMBER_BF16, odd + 1, 65536, floats);
        for (int i = 0; i < 65536; i++)
            ck_assert_msg(same_float(floats[i], bf16_value((uint16_t)i)), "BF16 %04x is %g", i, (double)floats[i]);
    })
    free(halves);
    free(floats);
    free(odd);
}
END_TEST

/* Every half comes back, and between two neighbours the nearer one is taken, the even one at the middle. */
static void expect_rounding(enum rlhf_number number, float (*value)(uint16_t), uint16_t infinite)
{
    for (uint16_t h = 0; h < infinite; h++) {
        float low = value(h), high = h + 1 < infinite ? value((uint16_t)(h + 1)) : 0, middle = low + (high - low) / 2;
        float tried[] = { low, -low, middle, nextafterf(middle, 0), nextafterf(middle, INFINITY) };
        uint16_t wanted[] = { h, (uint16_t)(h | 0x8000), (uint16_t)(h + h % 2), h, (uint16_t)(h + 1) }, is[5];
        size_t count = h + 1 < infinite ? 5 : 2;

        ck_assert_uint_eq(rlhf_narrow(number, tried, count, is), count);
        for (size_t i = 0; i < count; i++)
            ck_assert_msg(is[i] == wanted[i], "%a as number %d is %04x, not %04x", (double)tried[i], number, is[i],
                          wanted[i]);
    }
}

START_TEST(floats_are_rounded_to_the_nearest_half_and_to_the_even_one_between_two)
{
    const float bad[][3] = { { 1, 65520, 1 }, { 1, 1, NAN }, { -INFINITY, 1, 1 }, { 1, 3.4e38f, 1 }, { 1, 2, 3 } };
    const size_t good[][5] = { { 1, 2, 0, 1, 3 }, { 3, 2, 0, 1, 3 }, { 3, 2, 0, 3, 3 } };
    const enum rlhf_number numbers[] = { RLHF_NUMBER_F16, RLHF_NUMBER_BF16, RLHF_NUMBER_F32 };
    float out[3];

    expect_rounding(RLHF_NUMBER_F16, f16_value, 0x7c00);
    expect_rounding(RLHF_NUMBER_BF16, bf16_value, 0x7f80);
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 5; i++)
            ck_assert_uint_eq(rlhf_narrow(numbers[n], bad[i], 3, out), good[n][i]);
}
END_TEST

/* ---- packing --------------------------------------------------------------------------------------- */

enum { MOST_M = 31 };

/* A matrix that is exact in every kind of number, as floats and as each kind. */
struct stored {
    struct both floats;
    void *as[3]; /* [enum rlhf_number] */
};

static struct stored a_matrix(size_t count)
{
    struct stored s = { .floats = some(count, 1) };
    uint16_t *half = malloc(count * sizeof *half);

    ck_assert_uint_eq(rlhf_narrow(RLHF_NUMBER_BF16, s.floats.f, count, half), count);
    rlhf_widen(RLHF_NUMBER_BF16, half, count, s.floats.f);
    for (size_t i = 0; i < count; i++) /* F16 has no exponents below -24 */
        s.floats.f[i] = fabsf(s.floats.f[i]) < 0x1p-10f ? 0 : s.floats.f[i];
    for (int n = 0; n < 3; n++) {
        s.as[n] = malloc(count * 4 + 1);
        ck_assert_uint_eq(rlhf_narrow((enum rlhf_number)n, s.floats.f, count, s.as[n]), count);
    }
    free(half);
    return s;
}

static void free_matrix(struct stored *s)
{
    done(&s->floats);
    for (int n = 0; n < 3; n++)
        free(s->as[n]);
}

static void expect_same_product(const struct rlhf_packed *a, const struct rlhf_packed *b)
{
    struct both x = some(MOST_M * a->k, 1), bias = some(a->n, 1), ya = nothing(MOST_M * a->n), yb = nothing(MOST_M * a->n);

    for (size_t m = 1; m <= MOST_M; m += m < 9 ? 1 : 11) {
        rlhf_linear(a, x.f, a->k, m, bias.f, false, ya.f, a->n, NULL);
        rlhf_linear(b, x.f, a->k, m, bias.f, false, yb.f, a->n, NULL);
        expect_same_bits(ya.f, yb.f, m * a->n);
        rlhf_linear(a, x.f, a->k, m, NULL, true, ya.f, a->n, NULL);
        rlhf_linear(b, x.f, a->k, m, NULL, true, yb.f, a->n, NULL);
        expect_same_bits(ya.f, yb.f, m * a->n);
    }
    done(&x), done(&bias), done(&ya), done(&yb);
}

/* [rows, columns] in up to three pieces of different numbers, as x·wᵀ and as x·w. */
static void expect_pieces_are_one(size_t rows, size_t columns)
{
    struct stored s = a_matrix(rows * columns);
    size_t cut[] = { 0, rows / 3, rows / 2 + 1 < rows ? rows / 2 + 1 : rows, rows };
    struct rlhf_error err = { 0 };
    struct rlhf_piece pieces[3];

    for (size_t i = 0; i < 3; i++)
        pieces[i] = (struct rlhf_piece){ (char *)s.as[i] + cut[i] * columns * rlhf_number_size((enum rlhf_number)i),
                                         (enum rlhf_number)i, cut[i + 1] - cut[i] };
    for (int transposed = 0; transposed < 2; transposed++) {
        size_t n = transposed ? columns : rows, k = transposed ? rows : columns;
        struct rlhf_packed one = { 0 }, whole = { 0 }, halves = { 0 };

        expect_ok(rlhf_pack(&one, s.floats.f, n, k, transposed, NULL, &err), err);
        expect_ok(rlhf_pack_pieces(&whole, pieces, 3, n, k, transposed, false, NULL, &err), err);
        expect_ok(rlhf_pack_pieces(&halves, pieces, 3, n, k, transposed, true, NULL, &err), err);
        expect_same_product(&one, &whole);
        expect_same_product(&one, &halves);
        rlhf_packed_free(&one);
        rlhf_packed_free(&whole);
        rlhf_packed_free(&halves);
    }
    free_matrix(&s);
}

START_TEST(pieces_of_any_number_give_the_bits_of_one_matrix_of_floats)
{
    WITH_EVERY_SET({
        expect_pieces_are_one(1, 1);
        expect_pieces_are_one(3, 2);
        expect_pieces_are_one(33, 17);
        expect_pieces_are_one(48, 257);
        expect_pieces_are_one(260, 131);
        expect_pieces_are_one(129, 515);
    })
}
END_TEST

START_TEST(a_vocabulary_in_halves_gives_the_same_log_probs)
{
    enum { N = 40, V = 1103, C = 51 };
    struct stored s = a_matrix(V * C);
    struct both hidden = some(N * C, 1);
    const struct rlhf_piece piece = { s.as[RLHF_NUMBER_BF16], RLHF_NUMBER_BF16, V };
    float logprob[2][N], entropy[2][N], lse[2][N];
    int32_t target[N];

    for (size_t i = 0; i < N; i++)
        target[i] = (int32_t)noise_below(V);
    WITH_EVERY_SET({
        struct rlhf_packed *p = calloc(2, sizeof *p);
        struct rlhf_error err = { 0 };
        expect_ok(rlhf_pack(&p[0], s.floats.f, V, C, false, NULL, &err), err);
        expect_ok(rlhf_pack_pieces(&p[1], &piece, 1, V, C, false, true, NULL, &err), err);
        for (int i = 0; i < 2; i++) {
            rlhf_vocab_logprobs(&p[i], hidden.f, target, N, 0, 0.7f, logprob[i], entropy[i], lse[i], NULL, NULL);
            rlhf_packed_free(&p[i]);
        }
        free(p);
        expect_same_bits(logprob[0], logprob[1], N);
        expect_same_bits(entropy[0], entropy[1], N);
    })
    free_matrix(&s);
    done(&hidden);
}
END_TEST

START_TEST(floats_are_rounded_when_they_are_packed_in_halves)
{
    enum { N = 37, K = 45 };
    struct both w = some(N * K, 1), rounded = some(N * K, 1);
    uint16_t half[N * K];
    struct rlhf_packed one = { 0 }, halves = { 0 };
    struct rlhf_error err = { 0 };

    rlhf_narrow(RLHF_NUMBER_BF16, w.f, N * K, half);
    rlhf_widen(RLHF_NUMBER_BF16, half, N * K, rounded.f);
    expect_ok(rlhf_pack(&one, rounded.f, N, K, false, NULL, &err), err);
    expect_ok(rlhf_pack_pieces(&halves, &(struct rlhf_piece){ w.f, RLHF_NUMBER_F32, N }, 1, N, K, false, true, NULL,
                               &err), err);
    expect_same_product(&one, &halves);
    rlhf_packed_free(&one);
    rlhf_packed_free(&halves);
    done(&w), done(&rounded);
}
END_TEST

START_TEST(weights_that_are_not_finite_are_not_packed)
{
    enum { N = 21, K = 9 };
    const float bad[] = { NAN, -NAN, INFINITY, -INFINITY, 3.4e38f };
    struct both w = some(N * K, 1);
    const struct rlhf_piece piece = { w.f, RLHF_NUMBER_F32, N };

    WITH_EVERY_SET({
        for (size_t i = 0; i < 5; i++)
            for (size_t at = 0; at < N * K; at += 47)
                for (int halves = 0; halves < 2; halves++) {
                    struct rlhf_packed p = { 0 };
                    struct rlhf_error err = { 0 };
                    float was = w.f[at];
                    bool fits = i == 4 && !halves; /* as a float it is large, as a half infinite */

                    w.f[at] = bad[i];
                    ck_assert_int_eq(rlhf_pack_pieces(&p, &piece, 1, N, K, false, halves, NULL, &err), fits ? 0 : -1);
                    ck_assert_int_eq(err.code, fits ? RLHF_OK : RLHF_CORRUPT);
                    w.f[at] = was;
                    rlhf_packed_free(&p);
                }
    })
    done(&w);
}
END_TEST

int main(void)
{
    return RUN_SUITE("tensor/packing", every_half_is_widened_exactly,
                     floats_are_rounded_to_the_nearest_half_and_to_the_even_one_between_two,
                     pieces_of_any_number_give_the_bits_of_one_matrix_of_floats,
                     a_vocabulary_in_halves_gives_the_same_log_probs,
                     floats_are_rounded_when_they_are_packed_in_halves, weights_that_are_not_finite_are_not_packed);
}
