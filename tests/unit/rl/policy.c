/* The one policy loss in all its settings: its derivative against finite differences, its edges by hand. */
#include "rl/policy.h"

#include <math.h>
#include <string.h>

#include "rl/algorithm.h"
#include "rl/ppo.h"
#include "support/suite.h"

/* Ratios on both sides of every clip range, off its edges; one empty completion. */
enum { B = 4, T = 9 };
static const uint32_t start[] = {0, 4, 5, 5, 9};
static const float old[T] = {-1.0f, -2.0f, -0.5f, -1.5f, -3.0f, -0.7f, -1.1f, -2.2f, -0.9f};
static const float difference[T] = {0.5f, -0.4f, 0.05f, -0.03f, 0.11f, 0.7f, -0.9f, 0.02f, 0.3f};
static const float ref[T] = {-1.3f, -1.2f, -0.6f, -1.9f, -2.5f, -0.1f, -1.4f, -2.0f, -0.8f};
static const float by_completion[B] = {1.2f, -0.7f, 0.4f, -0.3f};
static const float by_token[T] = {0.5f, -0.5f, 1, -1, 0.3f, -0.8f, 0.9f, 0.2f, -0.1f};
static const float importance[B] = {0.5f, 2, 1, 0.7f};
static const float importance_by_token[T] = {1, 0, 0.5f, 1.5f, 2, 0.3f, 1, 0.9f, 1.1f};

struct example {
    float now[T];
    double weight[B];
    struct rlhf_policy_loss loss;
    struct rlhf_policy_batch batch;
};

static void an_example(struct example *e, const struct rlhf_policy_loss *loss)
{
    memset(e, 0, sizeof *e);
    for (size_t t = 0; t < T; t++)
        e->now[t] = old[t] + difference[t];
    e->loss = *loss;
    e->batch = (struct rlhf_policy_batch){.completions = {start, B},
                                          .logprob_new = e->now,
                                          .logprob_old = old,
                                          .logprob_ref = ref,
                                          .advantage = by_completion,
                                          .weight = e->weight};
    rlhf_policy_weights(loss->mean, &e->batch.completions, 8, T, 1, e->weight);
}

static double loss_of(const struct example *e, float *d)
{
    struct rlhf_policy_statistics sum = {0};
    float ignored[T];

    rlhf_policy_loss(&e->loss, &e->batch, d ? d : ignored, &sum);
    return sum.loss;
}

static void expect_finite_differences(struct example *e)
{
    const float h = 1.0f / 1024;
    float d[T];

    loss_of(e, d);
    for (size_t t = 0; t < T; t++) {
        float here = e->now[t], up = here + h, down = here - h;
        double high, low;

        e->now[t] = up;
        high = loss_of(e, NULL);
        e->now[t] = down;
        low = loss_of(e, NULL);
        e->now[t] = here;
        ck_assert_msg(fabs(d[t] - (high - low) / ((double)up - down)) < 2e-5, "token %zu: %g, not %g", t,
                      d[t], (high - low) / ((double)up - down));
    }
}

/* CISPO's factor is held constant: only then does its loss have this derivative. Checked by hand below. */
static bool has_differences(const struct rlhf_policy_loss *loss)
{
    return loss->surrogate != RLHF_SURROGATE_CISPO;
}

static void expect_finite_differences_in_all_settings(struct rlhf_policy_loss loss)
{
    struct example e;

    for (unsigned setting = 0; setting < 4 * 3 * 2; setting++) {
        unsigned penalty = setting % 4, weights = setting / 4 % 3, tokens = setting / 12;

        loss.beta = penalty ? 0.3 : 0;
        loss.kl = penalty == 2 ? RLHF_KL_K2 : RLHF_KL_K3;
        loss.kl_corrected = penalty == 3;
        loss.ratio_limit = tokens ? 1.4 : 0;
        an_example(&e, &loss);
        if (weights == 1)
            e.batch.importance = importance;
        if (weights == 2)
            e.batch.importance_token = importance_by_token;
        if (tokens && loss.ratio == RLHF_RATIO_TOKEN)
            e.batch.advantage = NULL, e.batch.advantage_token = by_token;
        expect_finite_differences(&e);
    }
}

START_TEST(the_derivative_of_every_algorithm_is_its_finite_difference)
{
    for (size_t k = 0; k < rlhf_algorithms_count; k++)
        if (has_differences(&rlhf_algorithms[k].loss))
            expect_finite_differences_in_all_settings(rlhf_algorithms[k].loss);
}
END_TEST

START_TEST(cispo_gives_every_token_its_gradient_also_where_its_ratio_is_cut)
{
    struct rlhf_policy_loss loss = rlhf_algorithm_named("cispo")->loss;
    struct example e;
    float d[T];

    loss.clip_high = 1.2;
    an_example(&e, &loss);
    loss_of(&e, d);
    for (size_t i = 0; i < B; i++)
        for (uint32_t t = start[i]; t < start[i + 1]; t++) {
            double r = exp((double)e.now[t] - old[t]);
            ck_assert_double_eq_tol(d[t], -fmin(r, 1.2) * by_completion[i] / T, 1e-7);
        }
}
END_TEST

START_TEST(the_means_weigh_tokens_as_their_papers_say)
{
    const struct rlhf_ragged c = {start, B};
    double w[B];

    rlhf_policy_weights(RLHF_MEAN_TOKENS, &c, 0, 0, 1, w);
    ck_assert_double_eq_tol(w[0], 1.0 / 9, 1e-15);
    ck_assert_double_eq_tol(w[1], 1.0 / 9, 1e-15);
    rlhf_policy_weights(RLHF_MEAN_COMPLETIONS, &c, 0, 0, 1, w);
    ck_assert_double_eq_tol(w[0], 1.0 / 16, 1e-15);
    ck_assert_double_eq_tol(w[1], 1.0 / 4, 1e-15);
    rlhf_policy_weights(RLHF_MEAN_LIMIT, &c, 50, 0, 1, w);
    ck_assert_double_eq_tol(w[0], 1.0 / 200, 1e-15);
    ck_assert_double_eq_tol(w[1], 1.0 / 200, 1e-15);
    rlhf_policy_weights(RLHF_MEAN_ITEMS, &c, 0, 36, 4, w); /* items are of all micro-batches */
    ck_assert_double_eq_tol(w[0], 1.0 / 36, 1e-15);
    rlhf_policy_weights(RLHF_MEAN_TOKENS, &c, 0, 0, 4, w);
    ck_assert_double_eq_tol(w[0], 1.0 / 36, 1e-15);
}
END_TEST

START_TEST(pieces_with_the_weights_of_the_whole_add_up_to_it)
{
    for (size_t k = 0; k < rlhf_algorithms_count; k++) {
        struct rlhf_policy_statistics whole = {0}, pieces = {0};
        float a[T], b[T];
        struct example e;

        an_example(&e, &rlhf_algorithms[k].loss);
        rlhf_policy_loss(&e.loss, &e.batch, a, &whole);
        for (size_t i = 0; i < B; i++) { /* arrays of the whole, rows of the piece */
            struct rlhf_policy_batch piece = e.batch;
            piece.completions = (struct rlhf_ragged){start + i, 1};
            piece.advantage = by_completion + i;
            piece.weight = e.weight + i;
            rlhf_policy_loss(&e.loss, &piece, b, &pieces);
        }
        ck_assert_double_eq(whole.loss, pieces.loss);
        ck_assert_double_eq(whole.kl, pieces.kl);
        ck_assert_double_eq(whole.ratios, pieces.ratios);
        ck_assert_mem_eq(a, b, sizeof a);
    }
}
END_TEST

START_TEST(completions_without_a_token_give_no_loss_and_no_nan)
{
    static const uint32_t nothing[] = {3, 3, 3};
    const struct rlhf_ragged c = {nothing, 2}, none = {nothing, 0};

    for (size_t k = 0; k < rlhf_algorithms_count; k++) {
        struct rlhf_policy_statistics sum = {0};
        struct example e;
        double w[2];
        bool sequence = rlhf_algorithms[k].loss.ratio == RLHF_RATIO_SEQUENCE;

        an_example(&e, &rlhf_algorithms[k].loss);
        rlhf_policy_weights(e.loss.mean, &c, 8, 0, 1, w);
        ck_assert(isfinite(w[0]) && isfinite(w[1]));
        e.batch.completions = c;
        e.batch.weight = w;
        ck_assert_double_eq_tol(loss_of(&e, NULL), sequence ? -(1.2f - 0.7f) / 2 : 0, 1e-7);
        e.batch.completions = none;
        rlhf_policy_loss(&e.loss, &e.batch, NULL, &sum);
        ck_assert_double_eq(sum.loss, 0);
    }
}
END_TEST

START_TEST(what_is_not_a_number_makes_the_loss_none)
{
    const float bad[] = {NAN, -INFINITY, INFINITY};

    for (size_t k = 0; k < rlhf_algorithms_count; k++)
        for (size_t i = 0; i < 3; i++) {
            float advantage[B], reference[T];
            struct example e;

            an_example(&e, &rlhf_algorithms[k].loss);
            e.now[7] = bad[i];
            ck_assert_msg(!isfinite(loss_of(&e, NULL)), "%s hides a log-prob %g", rlhf_algorithms[k].name,
                          bad[i]);
            an_example(&e, &rlhf_algorithms[k].loss);
            memcpy(advantage, by_completion, sizeof advantage);
            advantage[3] = NAN;
            e.batch.advantage = advantage;
            ck_assert_msg(isnan(loss_of(&e, NULL)), "%s hides an advantage", rlhf_algorithms[k].name);
            an_example(&e, &rlhf_algorithms[k].loss);
            memcpy(reference, ref, sizeof reference);
            reference[0] = bad[i];
            e.batch.logprob_ref = reference;
            e.loss.beta = 0.1;
            ck_assert_msg(!isfinite(loss_of(&e, NULL)), "%s hides a reference", rlhf_algorithms[k].name);
        }
}
END_TEST

START_TEST(a_good_token_whose_ratio_overflows_is_cut_like_any_other)
{
    const char *const bounded[] = {"ppo", "rloo", "gspo", "sapo"};
    const uint32_t one[] = {0, 1};
    const float before = -1000, now = -1, advantage = 1;
    const double w = 1;

    for (size_t i = 0; i < 4; i++) {
        struct rlhf_policy_loss loss = rlhf_algorithm_named(bounded[i])->loss;
        struct rlhf_policy_statistics s = {0};
        float d;

        rlhf_policy_loss(&loss,
                         &(struct rlhf_policy_batch){.completions = {one, 1},
                                                     .logprob_new = &now,
                                                     .logprob_old = &before,
                                                     .advantage = &advantage,
                                                     .weight = &w},
                         &d, &s);
        ck_assert(isfinite(s.loss));
        ck_assert_float_eq(d, 0);
    }
}
END_TEST

START_TEST(a_ratio_limit_bounds_the_loss_of_a_bad_token_that_became_likely)
{
    const uint32_t one[] = {0, 1};
    const float before = -3, now = -1, bad = -1; /* ratio e² */
    const double w = 1;
    struct rlhf_policy_loss loss = {.clip_low = 0.2, .clip_high = 0.2};
    const struct rlhf_policy_batch b = {.completions = {one, 1},
                                        .logprob_new = &now,
                                        .logprob_old = &before,
                                        .advantage = &bad,
                                        .weight = &w};
    struct rlhf_policy_statistics free = {0}, limited = {0};
    float d;

    rlhf_policy_loss(&loss, &b, &d, &free);
    ck_assert_double_eq_tol(free.loss, exp(2), 1e-9);
    ck_assert_float_gt(d, 7);
    loss.ratio_limit = 3;
    rlhf_policy_loss(&loss, &b, &d, &limited);
    ck_assert_double_eq_tol(limited.loss, 3, 1e-12);
    ck_assert_float_eq(d, 0);
}
END_TEST

START_TEST(clip_higher_lets_a_good_token_rise_further_and_no_bad_one_fall_further)
{
    const uint32_t one[] = {0, 2};
    const float before[] = {-1, -1}, now[] = {-1 + 0.23f, -1 - 0.3f}, advantage[] = {1, -1}; /* 1.26, 0.74 */
    const double w = 1;
    const struct rlhf_policy_batch b = {.completions = {one, 1},
                                        .logprob_new = now,
                                        .logprob_old = before,
                                        .advantage_token = advantage,
                                        .weight = &w};
    struct rlhf_policy_statistics s = {0};
    float d[2];

    rlhf_policy_loss(&rlhf_algorithm_named("grpo")->loss,
                     &(struct rlhf_policy_batch){.completions = {one, 1},
                                                 .logprob_new = now,
                                                 .logprob_old = before,
                                                 .logprob_ref = now,
                                                 .advantage_token = advantage,
                                                 .weight = &w},
                     d, &s);
    ck_assert_float_eq(d[0], 0);
    ck_assert_float_eq(d[1], 0);
    ck_assert_double_eq(s.clipped_high, 1);
    ck_assert_double_eq(s.clipped_low, 1);
    rlhf_policy_loss(&rlhf_algorithm_named("dapo")->loss, &b, d, &s);
    ck_assert_float_lt(d[0], -1);
    ck_assert_float_eq(d[1], 0);
}
END_TEST

START_TEST(ppos_own_function_is_the_general_loss_bit_for_bit)
{
    const uint32_t whole[] = {0, T};
    struct rlhf_policy_statistics sum = {0};
    struct rlhf_ppo_statistics s = {0};
    struct example e;
    const double w = 1.0 / T;
    float a[T], b[T];

    an_example(&e, &rlhf_algorithm_named("ppo")->loss);
    e.batch.completions = (struct rlhf_ragged){whole, 1};
    e.batch.advantage = NULL, e.batch.advantage_token = by_token;
    e.batch.weight = &w;
    rlhf_policy_loss(&e.loss, &e.batch, a, &sum);
    rlhf_ppo_policy(e.now, old, by_token, T, 0.2, w, b, &s);
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert_double_eq(sum.loss, s.loss);
    ck_assert_double_eq(w * (sum.clipped_low + sum.clipped_high), s.clip_fraction);
}
END_TEST

START_TEST(importance_weights_are_truncated_or_masked_by_tokens_or_by_completions)
{
    const uint32_t rows[] = {0, 2, 2, 4};
    const struct rlhf_ragged c = {rows, 3};
    const float now[] = {-1, -1, -1, -2},
                then[] = {-1.5f, -3, -0.5f, NAN}; /* e^0.5, e^2, e^-0.5, not recorded */
    float w[4];

    rlhf_importance(RLHF_IMPORTANCE_TRUNCATE, false, &c, now, then, 0.7, 2, w);
    ck_assert_float_eq_tol(w[0], expf(0.5f), 1e-6f);
    ck_assert_float_eq(w[1], 2);
    ck_assert_float_eq_tol(w[2], 0.7f, 1e-7f);
    ck_assert_float_eq(w[3], 1);
    rlhf_importance(RLHF_IMPORTANCE_MASK, false, &c, now, then, 0.7, 2, w);
    ck_assert_float_eq_tol(w[0], expf(0.5f), 1e-6f);
    ck_assert_float_eq(w[1], 0);
    ck_assert_float_eq(w[2], 0);
    rlhf_importance(RLHF_IMPORTANCE_TRUNCATE, true, &c, now, then, 0, INFINITY, w);
    ck_assert_float_eq_tol(w[0], expf(2.5f), 1e-5f);
    ck_assert_float_eq(w[1], 1);
    ck_assert_float_eq_tol(w[2], expf(-0.5f), 1e-6f);
    rlhf_importance(RLHF_IMPORTANCE_MASK, true, &c, now, then, 0, 5, w);
    ck_assert_float_eq(w[0], 0);
}
END_TEST

/* Hilton et al. 2021: clip around the proximal policy, weigh by proximal over behaviour. */
START_TEST(decoupled_ppo_clips_around_the_proximal_policy_and_weighs_by_the_behaviour_policy)
{
    const uint32_t one[] = {0, 2};
    const struct rlhf_ragged c = {one, 1};
    const float behaviour[] = {-2, -1}, proximal[] = {-1.5f, -1.2f}, now[] = {-1.4f, -0.9f},
                advantage[] = {1, 1};
    const double w = 0.5;
    float ratio[2], d[2];
    struct rlhf_policy_statistics s = {0};

    rlhf_importance(RLHF_IMPORTANCE_TRUNCATE, false, &c, proximal, behaviour, 0, INFINITY, ratio);
    rlhf_policy_loss(&rlhf_algorithm_named("ppo")->loss,
                     &(struct rlhf_policy_batch){.completions = c,
                                                 .logprob_new = now,
                                                 .logprob_old = proximal,
                                                 .advantage_token = advantage,
                                                 .importance_token = ratio,
                                                 .weight = &w},
                     d, &s);
    ck_assert_double_eq_tol(s.loss, -0.5 * (exp(0.5) * exp(0.1) + exp(-0.2) * 1.2), 1e-6);
    ck_assert_double_eq_tol(d[0], -0.5 * exp(0.6), 1e-6);
    ck_assert_float_eq(d[1], 0);
}
END_TEST

START_TEST(algorithms_have_names_of_their_own_and_settings_that_make_sense)
{
    struct rlhf_error err = {0};

    for (size_t i = 0; i < rlhf_algorithms_count; i++) {
        ck_assert_ptr_eq(rlhf_algorithm_named(rlhf_algorithms[i].name), &rlhf_algorithms[i]);
        expect_ok(rlhf_policy_loss_check(&rlhf_algorithms[i].loss, &err), err);
    }
    ck_assert_ptr_null(rlhf_algorithm_named("grpo2"));
    ck_assert_ptr_null(rlhf_algorithm_named(""));
}
END_TEST

START_TEST(settings_that_make_no_sense_are_refused_by_name)
{
    const struct {
        struct rlhf_policy_loss loss;
        const char *name;
    } bad[] = {
        {{.clip_low = 0, .clip_high = 0.2}, "clip_low"},
        {{.clip_low = 1.1, .clip_high = 0.2}, "clip_low"},
        {{.clip_low = NAN, .clip_high = 0.2}, "clip_low"},
        {{.clip_low = 0.2, .clip_high = -1}, "clip_high"},
        {{.surrogate = RLHF_SURROGATE_CISPO}, "clip_high"},
        {{.clip_low = 0.2, .clip_high = 0.2, .ratio_limit = 0.5}, "ratio_limit"},
        {{.clip_low = 0.2, .clip_high = 0.2, .beta = -0.1}, "beta"},
        {{.clip_low = 0.2, .clip_high = 0.2, .beta = NAN}, "beta"},
        {{.surrogate = RLHF_SURROGATE_SAPO, .temperature_positive = 1}, "temperature"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rlhf_error err = {0};
        ck_assert_int_eq(rlhf_policy_loss_check(&bad[i].loss, &err), -1);
        expect_code(err, RLHF_REJECT);
        expect_contains(err.text, bad[i].name);
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE(
        "rl/policy", the_derivative_of_every_algorithm_is_its_finite_difference,
        cispo_gives_every_token_its_gradient_also_where_its_ratio_is_cut,
        the_means_weigh_tokens_as_their_papers_say, pieces_with_the_weights_of_the_whole_add_up_to_it,
        completions_without_a_token_give_no_loss_and_no_nan, what_is_not_a_number_makes_the_loss_none,
        a_good_token_whose_ratio_overflows_is_cut_like_any_other,
        a_ratio_limit_bounds_the_loss_of_a_bad_token_that_became_likely,
        clip_higher_lets_a_good_token_rise_further_and_no_bad_one_fall_further,
        ppos_own_function_is_the_general_loss_bit_for_bit,
        importance_weights_are_truncated_or_masked_by_tokens_or_by_completions,
        decoupled_ppo_clips_around_the_proximal_policy_and_weighs_by_the_behaviour_policy,
        algorithms_have_names_of_their_own_and_settings_that_make_sense,
        settings_that_make_no_sense_are_refused_by_name);
}
