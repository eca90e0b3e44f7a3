/* DPO and its relatives, KTO, ORPO: derivatives against finite differences, ends and pieces by hand. */
#include "rl/direct.h"

#include <math.h>
#include <string.h>

#include "support/suite.h"

enum { PAIRS = 3, ROWS = 2 * PAIRS, T = 12 };
static const uint32_t start[] = {0, 3, 4, 6, 7, 12, 12}; /* the last rejected one is empty */
static const float logprob[T] = {-0.5f, -1.2f, -0.3f, -2.1f, -0.9f, -1.4f,
                                 -0.2f, -1.1f, -0.6f, -0.4f, -1.7f, -0.8f};
static const double reference[ROWS] = {-2.4, -1.5, -2.0, -0.9, -3.9, 0};
static const enum rlhf_divergence divergences[] = {RLHF_DIVERGENCE_REVERSE_KL, RLHF_DIVERGENCE_FORWARD_KL,
                                                   RLHF_DIVERGENCE_JS, RLHF_DIVERGENCE_ALPHA};

static const struct rlhf_pairs pairs = {
    .completions = {start, ROWS}, .logprob = logprob, .reference = reference};

static double dpo_of(const struct rlhf_dpo *s, const float *now, float *d)
{
    struct rlhf_pairs b = pairs;
    struct rlhf_pairs_statistics sum = {0};
    float ignored[T];

    b.logprob = now;
    rlhf_dpo_loss(s, &b, d ? d : ignored, &sum);
    return sum.loss;
}

static double orpo_of(const void *beta, const float *now, float *d)
{
    struct rlhf_pairs b = pairs;
    struct rlhf_pairs_statistics sum = {0};
    float ignored[T];

    b.logprob = now;
    rlhf_orpo_loss(*(const double *)beta, &b, d ? d : ignored, &sum, NULL);
    return sum.loss;
}

static const bool good[ROWS] = {true, false, true, true, false, false};

static double kto_of(const struct rlhf_kto *s, const float *now, float *d)
{
    struct rlhf_kto_statistics sum = {0};
    float ignored[T];

    rlhf_kto_loss(s, &pairs.completions, now, reference, good, NULL, 0.4, 0, d ? d : ignored, &sum);
    return sum.loss;
}

#define EXPECT_FINITE_DIFFERENCES(of, s)                                                                     \
    do {                                                                                                     \
        const float h = 1.0f / 1024;                                                                         \
        float d[T], now[T];                                                                                  \
        memcpy(now, logprob, sizeof now);                                                                    \
        of(s, now, d);                                                                                       \
        for (size_t t = 0; t < T; t++) {                                                                     \
            float here = now[t], up = here + h, down = here - h;                                             \
            double high = (now[t] = up, of(s, now, NULL)), low = (now[t] = down, of(s, now, NULL));          \
            double slope = (high - low) / ((double)up - down);                                               \
            now[t] = here;                                                                                   \
            ck_assert_msg(fabs(d[t] - slope) < 3e-5 * (1 + fabs(slope)), "token %zu: %g, not %g", t, d[t],   \
                          slope);                                                                            \
        }                                                                                                    \
    } while (0)

START_TEST(the_derivative_of_every_kind_and_divergence_is_its_finite_difference)
{
    for (int kind = RLHF_DPO_SIGMOID; kind <= RLHF_DPO_SFT; kind++)
        for (size_t i = 0; i < 4; i++)
            for (int tail = 0; tail < 2; tail++) {
                const struct rlhf_dpo_term terms[] = {{(enum rlhf_dpo_kind)kind, 0.7, 0.1},
                                                      {RLHF_DPO_SIGMOID, 0.3, 0.2}};
                struct rlhf_dpo s = {.beta = 0.3,
                                     .divergence = divergences[i],
                                     .alpha = 0.4,
                                     .desensitized = tail,
                                     .tail = 0.25,
                                     .terms = terms,
                                     .count = 2};
                EXPECT_FINITE_DIFFERENCES(dpo_of, &s);
            }
}
END_TEST

START_TEST(the_derivatives_of_orpo_and_kto_are_their_finite_differences)
{
    const double beta = 0.6;
    const struct rlhf_kto kto = {.beta = 0.5, .desirable = 1.2, .undesirable = 0.8};

    EXPECT_FINITE_DIFFERENCES(orpo_of, &beta);
    EXPECT_FINITE_DIFFERENCES(kto_of, &kto);
}
END_TEST

/* One pair of one token each, without a reference: u and v are the log-probs. */
static double one_pair(enum rlhf_dpo_kind kind, double smoothing, float u, float v, float d[2])
{
    const uint32_t rows[] = {0, 1, 2};
    const float both[] = {u, v};
    const struct rlhf_dpo_term term = {kind, 1, smoothing};
    const struct rlhf_dpo s = {.beta = 1, .terms = &term, .count = 1};
    struct rlhf_pairs_statistics sum = {0};

    rlhf_dpo_loss(&s, &(struct rlhf_pairs){.completions = {rows, 2}, .logprob = both}, d, &sum);
    return sum.loss;
}

START_TEST(losses_of_equal_completions_are_what_one_computes_by_hand)
{
    const struct {
        enum rlhf_dpo_kind kind;
        double smoothing, loss;
    } known[] = {
        {RLHF_DPO_SIGMOID, 0, log(2)},
        {RLHF_DPO_SIGMOID, 0.3, log(2)},
        {RLHF_DPO_SIGMOID_NORM, 0, log(2)},
        {RLHF_DPO_HINGE, 0, 1},
        {RLHF_DPO_IPO, 0, 0.25},
        {RLHF_DPO_EXO_PAIR, 0.1, -log(2) - 0.5 * log(0.9) - 0.5 * log(0.1)},
        {RLHF_DPO_ROBUST, 0.1, log(2)},
        {RLHF_DPO_APO_DOWN, 0, 1 / (1 + exp(1)) + 0.5},
        {RLHF_DPO_APO_ZERO, 0, 1},
        {RLHF_DPO_SPPO_HARD, 0, 1.5 * 1.5 + 0.5 * 0.5},
        {RLHF_DPO_BCO_PAIR, 0, log1p(exp(1)) + log1p(exp(-1))},
        {RLHF_DPO_NCA_PAIR, 0, log1p(exp(1)) + log1p(exp(-1))},
        {RLHF_DPO_DISCOPOP, 0, 0.5 * log(2) + 0.5},
        {RLHF_DPO_SFT, 0, 1},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        float d[2];
        double loss = one_pair(known[i].kind, known[i].smoothing, -1, -1, d);
        ck_assert_msg(fabs(loss - known[i].loss) < 1e-12, "%zu: %g, not %g", i, loss, known[i].loss);
    }
}
END_TEST

START_TEST(far_ends_neither_overflow_nor_lose_their_slope)
{
    for (int kind = RLHF_DPO_SIGMOID; kind <= RLHF_DPO_SFT; kind++) {
        float d[2];
        ck_assert(isfinite(one_pair((enum rlhf_dpo_kind)kind, 0.1, -3000, 0, d)));
        ck_assert(isfinite(d[0]) && isfinite(d[1]));
        ck_assert(isfinite(one_pair((enum rlhf_dpo_kind)kind, 0.1, 0, -3000, d)));
        ck_assert(isfinite(d[0]) && isfinite(d[1]));
    }
    float d[2];
    ck_assert_double_eq_tol(one_pair(RLHF_DPO_SIGMOID, 0, -3000, 0, d), 3000, 1e-9);
    ck_assert_float_eq(d[0], -1);
    ck_assert_float_eq(d[1], 1);
}
END_TEST

START_TEST(what_is_not_a_number_makes_the_loss_none)
{
    const float bad[] = {NAN, -INFINITY, INFINITY};
    const double beta = 0.1;
    const struct rlhf_kto kto = {.beta = 0.5, .desirable = 1, .undesirable = 1};

    for (size_t i = 0; i < 3; i++)
        for (size_t t = 0; t < 4; t++) { /* two of a pair's chosen tokens, two of others */
            float now[T];
            memcpy(now, logprob, sizeof now);
            now[t] = bad[i];
            for (int kind = RLHF_DPO_SIGMOID; kind <= RLHF_DPO_SFT; kind++) {
                const struct rlhf_dpo_term term = {(enum rlhf_dpo_kind)kind, 1, 0.1};
                const struct rlhf_dpo s = {.beta = 0.3, .terms = &term, .count = 1};
                ck_assert_msg(isnan(dpo_of(&s, now, NULL)), "kind %d hides %g", kind, bad[i]);
            }
            ck_assert(isnan(orpo_of(&beta, now, NULL)));
            ck_assert(isnan(kto_of(&kto, now, NULL)));
        }
}
END_TEST

/* The first chosen completion has 3 tokens, its rejected one 1: two of the three are tail. */
START_TEST(ld_dpo_weighs_the_tokens_beyond_the_shorter_length)
{
    const struct rlhf_dpo_term term = {RLHF_DPO_SIGMOID, 1, 0};
    const struct rlhf_dpo s = {.beta = 0.3, .desensitized = true, .tail = 0.5, .terms = &term, .count = 1};
    double sum[ROWS];
    float d[T];

    rlhf_pair_sums(&s, &pairs.completions, logprob, sum);
    ck_assert_double_eq_tol(sum[0], -0.5 - 0.5 * (1.2 + 0.3), 1e-6);
    ck_assert_double_eq_tol(sum[3], -0.2, 1e-6);
    ck_assert_double_eq_tol(sum[1], -2.1, 1e-6);
    ck_assert_double_eq_tol(sum[4], -1.1 - 0.5 * (0.6 + 0.4 + 1.7 + 0.8), 1e-6);
    dpo_of(&s, logprob, d);
    ck_assert_float_eq_tol(d[1], d[0] / 2, 1e-7f);
    ck_assert_float_eq_tol(d[2], d[0] / 2, 1e-7f);
}
END_TEST

/* Twice the weight is as good as another copy, and none as the pair's absence, in a mean over as many. */
START_TEST(a_pair_counts_for_its_weight)
{
    const struct rlhf_dpo_term terms[] = {{RLHF_DPO_SIGMOID, 1, 0.1}, {RLHF_DPO_SFT, 0.5, 0}};
    const struct rlhf_dpo s = {.beta = 0.3, .terms = terms, .count = 2};
    const struct rlhf_kto kto = {.beta = 0.5, .desirable = 1, .undesirable = 0.5};
    struct rlhf_pairs b = {.completions = {start, ROWS}, .logprob = logprob, .reference = reference};
    float weight[ROWS], d[3][T];
    double loss[3], orpo[3], thumbs[3];

    for (size_t i = 0; i < 3; i++) { /* none, as it is, twice: of the first */
        struct rlhf_pairs_statistics sum = {0}, odds = {0};
        struct rlhf_kto_statistics each = {0};
        float ignored[T];

        for (size_t k = 0; k < ROWS; k++)
            weight[k] = k ? 1 : (float)i;
        b.weight = weight;
        rlhf_dpo_loss(&s, &b, d[i], &sum);
        rlhf_orpo_loss(0.3, &b, ignored, &odds, NULL);
        rlhf_kto_loss(&kto, &b.completions, logprob, reference, good, weight, 0.4, 0, ignored, &each);
        loss[i] = sum.loss, orpo[i] = odds.loss, thumbs[i] = each.loss;
        ck_assert_double_eq(sum.pairs, PAIRS);
    }
    b.weight = NULL;
    ck_assert_double_eq_tol(loss[1], dpo_of(&s, logprob, NULL), 1e-12);
    ck_assert_double_eq_tol(loss[2] - loss[1], loss[1] - loss[0], 1e-12);
    ck_assert_double_eq_tol(orpo[2] - orpo[1], orpo[1] - orpo[0], 1e-12);
    ck_assert_double_eq_tol(thumbs[2] - thumbs[1], thumbs[1] - thumbs[0], 1e-12);
    ck_assert(fabs(loss[1] - loss[0]) > 1e-3 && fabs(orpo[1] - orpo[0]) > 1e-3 && fabs(thumbs[1] - thumbs[0]) > 1e-3);
    for (uint32_t t = 0; t < T; t++) {
        bool first = t < start[1] || (t >= start[PAIRS] && t < start[PAIRS + 1]);

        ck_assert_float_eq_tol(d[2][t], first ? 2 * d[1][t] : d[1][t], 1e-7f);
        ck_assert_float_eq_tol(d[0][t], first ? 0 : d[1][t], 1e-7f);
    }
}
END_TEST

START_TEST(pieces_of_a_minibatch_add_up_to_it)
{
    const struct rlhf_dpo_term terms[] = {{RLHF_DPO_IPO, 1, 0}, {RLHF_DPO_SFT, 0.5, 0}};
    const struct rlhf_dpo s = {.beta = 0.3, .terms = terms, .count = 2};
    const struct rlhf_kto kto = {.beta = 0.5, .desirable = 1, .undesirable = 0.5};
    struct rlhf_pairs_statistics sum = {0};
    struct rlhf_kto_statistics each = {0};
    float whole[T], part[T];
    double loss = dpo_of(&s, logprob, whole);

    for (size_t i = 0; i < PAIRS; i++) { /* chosen i and rejected i, copied beside each other */
        uint32_t n = start[i + 1] - start[i], m = start[PAIRS + i + 1] - start[PAIRS + i];
        const uint32_t rows[] = {0, n, n + m};
        const double two[] = {reference[i], reference[PAIRS + i]};
        float x[T];
        memcpy(x, logprob + start[i], n * sizeof *x);
        memcpy(x + n, logprob + start[PAIRS + i], m * sizeof *x);
        rlhf_dpo_loss(&s,
                      &(struct rlhf_pairs){.completions = {rows, 2},
                                           .logprob = x,
                                           .reference = two,
                                           .of_pairs = PAIRS,
                                           .of_tokens = start[PAIRS]},
                      part, &sum);
        ck_assert_mem_eq(part, whole + start[i], n * sizeof *part);
        ck_assert_mem_eq(part + n, whole + start[PAIRS + i], m * sizeof *part);
    }
    ck_assert_double_eq_tol(sum.loss, loss, 1e-12);
    ck_assert_double_eq(sum.pairs, PAIRS);
    for (size_t i = 0; i < ROWS; i++)
        rlhf_kto_loss(&kto, &(struct rlhf_ragged){start + i, 1}, logprob, reference + i, good + i, NULL, 0.4, ROWS,
                      part, &each);
    ck_assert_double_eq_tol(each.loss, kto_of(&kto, logprob, whole), 1e-12);
    ck_assert_mem_eq(part, whole, sizeof part);
    ck_assert_double_eq(each.good + each.bad, ROWS);
}
END_TEST

START_TEST(ktos_reference_point_is_a_mean_that_is_never_negative)
{
    const float a[] = {-3, -4, -1}, b[] = {-5, -4, -2}, none = 0;

    ck_assert_double_eq_tol(rlhf_kto_kl(a, b, 3), 1, 1e-12);
    ck_assert_double_eq(rlhf_kto_kl(b, a, 3), 0);
    ck_assert_double_eq(rlhf_kto_kl(&none, &none, 0), 0);
    ck_assert(isnan(rlhf_kto_kl((const float[]){NAN}, b, 1)));
}
END_TEST

START_TEST(orpos_odds_of_certainty_are_finite)
{
    const uint32_t rows[] = {0, 1, 3};
    const float certain[] = {0, -1, -2}, lost[] = {-50, 0, 0};
    struct rlhf_pairs b = {.completions = {rows, 2}, .logprob = certain};
    struct rlhf_pairs_statistics sum = {0};
    double odds = 0;
    float d[3];

    rlhf_orpo_loss(1, &b, d, &sum, &odds);
    ck_assert(isfinite(odds) && isfinite(sum.loss) && isfinite(d[0]) && isfinite(d[1]));
    b.logprob = lost;
    rlhf_orpo_loss(1, &b, d, &sum, &odds);
    ck_assert(isfinite(sum.loss) && isfinite(d[0]) && isfinite(d[1]));
}
END_TEST

START_TEST(settings_that_make_no_sense_are_refused_by_name)
{
    static const struct rlhf_dpo_term fine = {RLHF_DPO_SIGMOID, 1, 0}, half = {RLHF_DPO_ROBUST, 1, 0.5},
                                      sharp = {RLHF_DPO_EXO_PAIR, 1, 0}, weightless = {RLHF_DPO_IPO, NAN, 0};
    const struct {
        struct rlhf_dpo s;
        const char *name;
    } bad[] = {
        {{.beta = 0, .terms = &fine, .count = 1}, "beta"},
        {{.beta = NAN, .terms = &fine, .count = 1}, "beta"},
        {{.beta = 1, .desensitized = true, .tail = 1.5, .terms = &fine, .count = 1}, "tail"},
        {{.beta = 1}, "no loss"},
        {{.beta = 1, .terms = &half, .count = 1}, "robust: label_smoothing"},
        {{.beta = 1, .terms = &sharp, .count = 1}, "exo_pair: label_smoothing"},
        {{.beta = 1, .terms = &weightless, .count = 1}, "ipo: weight"},
    };
    const struct rlhf_dpo right = {.beta = 0.1, .terms = &fine, .count = 1};
    struct rlhf_error err = {0};

    expect_ok(rlhf_dpo_check(&right, &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(rlhf_dpo_check(&bad[i].s, &err), -1);
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, bad[i].name);
    }
    ck_assert_int_eq(rlhf_dpo_kind_named("apo_down"), RLHF_DPO_APO_DOWN);
    ck_assert_int_eq(rlhf_dpo_kind_named("apo"), -1);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rl/direct", the_derivative_of_every_kind_and_divergence_is_its_finite_difference,
                     the_derivatives_of_orpo_and_kto_are_their_finite_differences,
                     losses_of_equal_completions_are_what_one_computes_by_hand,
                     far_ends_neither_overflow_nor_lose_their_slope, what_is_not_a_number_makes_the_loss_none,
                     ld_dpo_weighs_the_tokens_beyond_the_shorter_length, a_pair_counts_for_its_weight,
                     pieces_of_a_minibatch_add_up_to_it,
                     ktos_reference_point_is_a_mean_that_is_never_negative,
                     orpos_odds_of_certainty_are_finite, settings_that_make_no_sense_are_refused_by_name);
}
