#include "model/sampler.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/suite.h"
#include "tensor/ops.h"

enum { V = 600 };

static const struct rlhf_sampling plainly = { .temperature = 1, .top_p = 1, .max_new_tokens = 1 };

/* ---- the filters by their definitions, with full sorts ---------------------------------------------- */

static const float *sorted_by; /* qsort has no context */

/* Rising, and stable: of equal scores the lower index first. */
static int rising(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    if (sorted_by[x] != sorted_by[y])
        return sorted_by[x] < sorted_by[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

static void plain_filter(const float *logits, size_t v, const struct rlhf_sampling *s, float *scores)
{
    uint32_t order[V];
    double total = 0, below = 0;

    for (size_t i = 0; i < v; i++) {
        scores[i] = logits[i] / s->temperature;
        order[i] = (uint32_t)i;
    }
    sorted_by = scores;
    qsort(order, v, sizeof *order, rising);
    if (s->top_k && s->top_k < v) {
        float least = scores[order[v - s->top_k]];

        for (size_t i = 0; i < v; i++)
            if (scores[i] < least)
                scores[i] = -INFINITY;
    }
    if (s->top_p >= 1)
        return;
    for (size_t i = 0; i < v; i++)
        total += exp((double)scores[i] - (double)scores[order[v - 1]]);
    for (size_t i = 0; i + 1 < v; i++) {
        below += exp((double)scores[order[i]] - (double)scores[order[v - 1]]);
        if (below > (1 - (double)s->top_p) * total)
            break;
        scores[order[i]] = -INFINITY;
        sorted_by = scores; /* the sorted order itself is kept */
    }
}

static void random_logits(float *logits, size_t v, uint32_t round)
{
    struct rlhf_random random;

    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, round, 0);
    for (size_t i = 0; i < v; i++) {
        logits[i] = 3 * rlhf_random_normal(&random);
        if (round % 4 == 1)
            logits[i] = rintf(logits[i]); /* ties everywhere */
        if (round % 5 == 2 && i % 3 == 0)
            logits[i] = -INFINITY;
    }
    if (round % 7 == 3)
        for (size_t i = 0; i < v; i++)
            logits[i] = 1.5F;
}

START_TEST(filters_keep_what_their_definitions_keep)
{
    static const uint32_t ks[] = { 0, 1, 2, 5, 50, V - 1, V, V + 10 };
    static const float ps[] = { 1, 0.95F, 0.5F, 0.01F }, temperatures[] = { 1, 0.7F, 2.5F };
    float logits[V], scores[V], wanted[V], scratch[V];

    for (uint32_t round = 0; round < 400; round++) {
        const size_t v = round % 3 ? V : 1 + round % 37;
        const struct rlhf_sampling s = { .temperature = temperatures[round % 3], .top_k = ks[round % 8],
                                         .top_p = ps[round / 8 % 4], .max_new_tokens = 1 };
        struct rlhf_error err = { 0 };

        random_logits(logits, v, round);
        if (v == 1)
            logits[0] = 0;
        expect_ok(rlhf_sampling_scores(logits, v, &s, NULL, scores, scratch, &err), err);
        plain_filter(logits, v, &s, wanted);
        for (size_t i = 0; i < v; i++)
            ck_assert_msg(scores[i] == wanted[i], "round %u (k %u, p %g), score %zu: %g, not %g", round, s.top_k,
                          s.top_p, i, (double)scores[i], (double)wanted[i]);
    }
}
END_TEST

/* The other filters, each by its definition over one row without the cleverness. */

static void plain_probabilities(const float *scores, size_t v, double *p)
{
    double most = -INFINITY, total = 0;

    for (size_t i = 0; i < v; i++)
        most = fmax(most, (double)scores[i]);
    for (size_t i = 0; i < v; i++)
        total += p[i] = exp((double)scores[i] - most);
    for (size_t i = 0; i < v; i++)
        p[i] /= total;
}

START_TEST(min_p_keeps_what_has_its_share_of_the_likeliest)
{
    static const float shares[] = { 0.01F, 0.1F, 0.5F };
    float logits[V], scores[V], scratch[V];
    double p[V];

    for (uint32_t round = 0; round < 100; round++) {
        struct rlhf_sampling s = plainly;
        struct rlhf_error err = { 0 };
        double most = 0;

        random_logits(logits, V, round);
        s.min_p = shares[round % 3];
        expect_ok(rlhf_sampling_scores(logits, V, &s, NULL, scores, scratch, &err), err);
        plain_probabilities(logits, V, p);
        for (size_t i = 0; i < V; i++)
            most = fmax(most, p[i]);
        for (size_t i = 0; i < V; i++)
            if (fabs(p[i] / most - (double)s.min_p) > 1e-6)
                ck_assert_int_eq(scores[i] > -INFINITY, p[i] >= (double)s.min_p * most);
    }
}
END_TEST

START_TEST(typical_p_keeps_the_nearest_to_the_entropy)
{
    float logits[V], scores[V], scratch[V];
    double p[V];

    for (uint32_t round = 0; round < 100; round++) {
        struct rlhf_sampling s = plainly;
        struct rlhf_error err = { 0 };
        double entropy = 0, held = 0, farthest = 0, nearest_removed = INFINITY;

        random_logits(logits, V, round);
        s.typical_p = round % 2 ? 0.6F : 0.95F;
        expect_ok(rlhf_sampling_scores(logits, V, &s, NULL, scores, scratch, &err), err);
        plain_probabilities(logits, V, p);
        for (size_t i = 0; i < V; i++)
            entropy -= p[i] > 0 ? p[i] * log(p[i]) : 0;
        for (size_t i = 0; i < V; i++) {
            double distance = fabs(-log(p[i]) - entropy);

            if (scores[i] > -INFINITY) {
                held += p[i];
                farthest = fmax(farthest, distance);
            } else if (p[i] > 0) {
                nearest_removed = fmin(nearest_removed, distance);
            }
        }
        ck_assert_double_ge(held, (double)s.typical_p - 1e-6);
        ck_assert_double_le(farthest, nearest_removed + 1e-5);
        for (size_t i = 0; i < V; i++) /* without its farthest ones it would hold too little */
            if (scores[i] > -INFINITY && fabs(-log(p[i]) - entropy) > farthest - 1e-5)
                held -= p[i];
        ck_assert_double_lt(held, (double)s.typical_p + 1e-6);
    }
}
END_TEST

START_TEST(at_least_so_many_tokens_are_left)
{
    float logits[V], scores[V], scratch[V];

    for (uint32_t keep = 1; keep < 6; keep++)
        for (int which = 0; which < 4; which++) {
            struct rlhf_sampling s = plainly;
            struct rlhf_error err = { 0 };
            uint32_t kept = 0;

            random_logits(logits, V, 0);
            s.temperature = 0.1F;
            s.min_tokens_to_keep = keep;
            s.top_k = which == 0;
            s.top_p = which == 1 ? 1e-9 : 1;
            s.min_p = which == 2;
            s.typical_p = which == 3 ? 1e-9F : 0;
            expect_ok(rlhf_sampling_scores(logits, V, &s, NULL, scores, scratch, &err), err);
            for (size_t i = 0; i < V; i++)
                kept += scores[i] > -INFINITY;
            ck_assert_uint_eq(kept, keep);
        }
}
END_TEST

/* Ten equal logits and p in tenths: what 1 - p in double, compared with sums in fp32, decides. */
START_TEST(ties_at_the_edge_of_top_p_fall_as_in_transformers)
{
    static const uint32_t kept[] = { 2, 2, 3, 4, 5, 6, 7, 8, 9 }; /* p = 0.1, 0.2, ...: transformers 5.23 */
    static const float logits[10] = { 0 };
    float scores[10], scratch[10];

    for (int i = 0; i < 9; i++) {
        struct rlhf_sampling s = plainly;
        struct rlhf_error err = { 0 };
        uint32_t n = 0;

        s.top_p = (i + 1) / 10.0;
        expect_ok(rlhf_sampling_scores(logits, 10, &s, NULL, scores, scratch, &err), err);
        for (int j = 0; j < 10; j++)
            n += scores[j] > -INFINITY;
        ck_assert_uint_eq(n, kept[i]);
        ck_assert(scores[9] == 0);
    }
}
END_TEST

/* ---- what came before ------------------------------------------------------------------------------- */

START_TEST(tokens_seen_are_penalised_once)
{
    static const float logits[6] = { 2, -2, 3, -3, 0, 1 };
    static const int32_t prompt[] = { 0, 1, 0, 77, -1 }, completion[] = { 4, 1 };
    const struct rlhf_history h = { .prompt = prompt, .prompt_count = 5, .completion = completion, .completion_count = 2 };
    struct rlhf_sampling s = plainly;
    struct rlhf_error err = { 0 };
    float scores[6], scratch[6];

    s.repetition_penalty = 2;
    expect_ok(rlhf_sampling_scores(logits, 6, &s, &h, scores, scratch, &err), err);
    ck_assert(scores[0] == 1 && scores[1] == -4 && scores[2] == 3 && scores[3] == -3 && scores[4] == 0 && scores[5] == 1);
}
END_TEST

START_TEST(an_ngram_comes_once_across_prompt_and_completion)
{
    static const float logits[6] = { 2, -2, 3, -3, 0, 1 };
    static const int32_t prompt[] = { 0, 1, 2, 3, 1, 2, 4 }, completion[] = { 5, 1, 2 };
    struct rlhf_history h = { .prompt = prompt, .prompt_count = 7, .completion = completion, .completion_count = 3 };
    struct rlhf_sampling s = plainly;
    struct rlhf_error err = { 0 };
    float scores[6], scratch[6];

    s.no_repeat_ngram = 3; /* 1 2 was followed by 3 and by 4 */
    expect_ok(rlhf_sampling_scores(logits, 6, &s, &h, scores, scratch, &err), err);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(scores[i] == -INFINITY, i == 3 || i == 4);
    s.no_repeat_ngram = 4; /* 5 1 2 is new */
    expect_ok(rlhf_sampling_scores(logits, 6, &s, &h, scores, scratch, &err), err);
    for (int i = 0; i < 6; i++)
        ck_assert(scores[i] == logits[i]);
    s.no_repeat_ngram = 1; /* all but one were seen: all six */
    ck_assert_int_eq(rlhf_sampling_scores(logits, 6, &s, &h, scores, scratch, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "no_repeat_ngram_size");
    h.prompt_count = h.completion_count = 1;
    s.no_repeat_ngram = 3; /* nothing so long is there yet */
    expect_ok(rlhf_sampling_scores(logits, 6, &s, &h, scores, scratch, &err), err);
    ck_assert(scores[3] == -3);
}
END_TEST

START_TEST(no_end_comes_before_the_least_length)
{
    static const float logits[4] = { 9, 1, 8, 2 };
    static const int32_t ends[] = { 0, 2, 99 }, completion[] = { 1, 3 };
    struct rlhf_history h = { .completion = completion, .completion_count = 1, .ends = ends, .end_count = 3 };
    struct rlhf_sampling s = plainly;
    struct rlhf_error err = { 0 };
    struct rlhf_sampled out;
    float scores[4], scratch[8];

    s.min_new_tokens = 2;
    expect_ok(rlhf_sampling_scores(logits, 4, &s, &h, scores, scratch, &err), err);
    ck_assert(scores[0] == -INFINITY && scores[1] == 1 && scores[2] == -INFINITY && scores[3] == 2);
    s.temperature = 0;
    expect_ok(rlhf_sample_after(logits, 4, &s, &h, NULL, 1, scratch, &out, &err), err);
    ck_assert_int_eq(out.token, 3);
    ck_assert(out.logprob == 0 && out.logprob_raw < -6);
    h.completion_count = 2;
    expect_ok(rlhf_sample_after(logits, 4, &s, &h, NULL, 2, scratch, &out, &err), err);
    ck_assert_int_eq(out.token, 0);
}
END_TEST

START_TEST(logprobs_of_penalised_draws_are_of_what_was_sampled_from)
{
    const struct rlhf_sample_key key = { 5, RLHF_PURPOSE_SAMPLE, 1, 1 };
    float logits[V], scratch[2 * V], scores[V], rest[V];
    int32_t prompt[50];
    const struct rlhf_history h = { .prompt = prompt, .prompt_count = 50 };
    struct rlhf_sampling s = { .temperature = 0.8F, .top_p = 0.9, .max_new_tokens = 1, .repetition_penalty = 1.5F,
                               .no_repeat_ngram = 2, .min_p = 0.001F, .typical_p = 0.9F, .top_k = 100 };
    struct rlhf_sampled out;
    struct rlhf_error err = { 0 };

    random_logits(logits, V, 0);
    for (int i = 0; i < 50; i++)
        prompt[i] = i * 7 % 13;
    for (uint32_t i = 0; i < 100; i++) {
        expect_ok(rlhf_sampling_scores(logits, V, &s, &h, scores, rest, &err), err);
        expect_ok(rlhf_sample_after(logits, V, &s, &h, &key, i, scratch, &out, &err), err);
        ck_assert(out.logprob == rlhf_vocab_logprob_row(scores, V, 1, out.token));
        ck_assert(out.logprob_raw == rlhf_vocab_logprob_row(logits, V, 1, out.token));
    }
}
END_TEST

/* ---- drawing --------------------------------------------------------------------------------------- */

/* Chi-squared of 20000 draws over the 8 outcomes; 7 degrees of freedom stay below 29.9 in all but 1 of 10 000. */
static void expect_distribution(const float *logits, size_t v, const struct rlhf_sampling *s)
{
    enum { DRAWS = 20000 };
    float scores[16], scratch[32];
    double total = 0, chi = 0, counts[16] = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_sampling_scores(logits, v, s, NULL, scores, scratch, &err), err);
    for (size_t i = 0; i < v; i++)
        total += exp((double)scores[i]);
    for (uint32_t i = 0; i < DRAWS; i++) {
        const struct rlhf_sample_key key = { 5, RLHF_PURPOSE_SAMPLE, i / 10, i % 10 };
        struct rlhf_sampled out;

        expect_ok(rlhf_sample(logits, v, s, &key, i % 7, scratch, &out, &err), err);
        counts[out.token]++;
        ck_assert(fabs((double)out.logprob - ((double)scores[out.token] - log(total))) < 1e-5);
    }
    for (size_t i = 0; i < v; i++) {
        double wanted = DRAWS * exp((double)scores[i]) / total;

        ck_assert_msg(wanted > 0 || counts[i] == 0, "a removed token %zu was drawn", i);
        chi += wanted > 0 ? (counts[i] - wanted) * (counts[i] - wanted) / wanted : 0;
    }
    ck_assert_msg(chi < 29.9, "chi-squared %.1f", chi);
}

START_TEST(tokens_come_with_their_probabilities)
{
    static const float logits[8] = { 0, 1, -1, 2, 0.5F, -INFINITY, 1.5F, -0.25F };
    struct rlhf_sampling s = plainly;

    expect_distribution(logits, 8, &s);
    s.temperature = 0.6F;
    expect_distribution(logits, 8, &s);
    s.top_k = 4;
    expect_distribution(logits, 8, &s);
    s.top_p = 0.8F;
    expect_distribution(logits, 8, &s);
}
END_TEST

START_TEST(greedy_takes_the_first_of_the_largest_and_is_sure_of_it)
{
    const struct rlhf_sampling greedy = { .temperature = 0, .top_p = 1, .max_new_tokens = 1 };
    static const float logits[5] = { 1, 3, 2, 3, -INFINITY };
    float scratch[10];
    struct rlhf_sampled out;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_sample(logits, 5, &greedy, NULL, 0, scratch, &out, &err), err);
    ck_assert_int_eq(out.token, 1);
    ck_assert(out.logprob == 0);
    ck_assert(fabs((double)out.logprob_raw + log(2 + exp(-1) + exp(-2))) < 1e-6);
}
END_TEST

START_TEST(a_draw_is_named_by_its_key_and_position_alone)
{
    float logits[V], scratch[2 * V];
    const struct rlhf_sample_key key = { 5, RLHF_PURPOSE_SAMPLE, 17, 3 };
    struct rlhf_sampled first, again;
    struct rlhf_error err = { 0 };
    int different = 0;

    random_logits(logits, V, 0);
    expect_ok(rlhf_sample(logits, V, &plainly, &key, 4, scratch, &first, &err), err);
    for (uint32_t i = 0; i < 60; i++) {
        struct rlhf_sample_key other = key;

        other.prompt += i % 3 == 0;
        other.sample += i % 3 == 1;
        expect_ok(rlhf_sample(logits, V, &plainly, &other, i % 3 == 2 ? 5 + i : 4, scratch, &again, &err), err);
        different += again.token != first.token;
        expect_ok(rlhf_sample(logits, V, &plainly, &key, 4, scratch, &again, &err), err);
        ck_assert_int_eq(again.token, first.token);
        ck_assert(again.logprob == first.logprob && again.logprob_raw == first.logprob_raw);
    }
    ck_assert_int_gt(different, 10);
}
END_TEST

START_TEST(logprobs_are_of_what_was_sampled_from_and_of_the_raw_logits)
{
    float logits[V], scratch[2 * V];
    const struct rlhf_sample_key key = { 5, RLHF_PURPOSE_SAMPLE, 1, 1 };
    struct rlhf_sampling s = plainly;
    struct rlhf_sampled out;
    struct rlhf_error err = { 0 };

    random_logits(logits, V, 0);
    expect_ok(rlhf_sample(logits, V, &s, &key, 0, scratch, &out, &err), err);
    ck_assert(out.logprob == out.logprob_raw && out.logprob == rlhf_vocab_logprob_row(logits, V, 1, out.token));
    s.temperature = 0.7F;
    expect_ok(rlhf_sample(logits, V, &s, &key, 0, scratch, &out, &err), err);
    ck_assert(out.logprob == rlhf_vocab_logprob_row(logits, V, 0.7F, out.token));
    ck_assert(out.logprob_raw == rlhf_vocab_logprob_row(logits, V, 1, out.token));
    s.top_k = 1;
    expect_ok(rlhf_sample(logits, V, &s, &key, 0, scratch, &out, &err), err);
    ck_assert(out.logprob == 0 && out.logprob_raw < 0);
    for (int i = 0; i < V; i++)
        ck_assert(logits[i] <= logits[out.token]);
}
END_TEST

START_TEST(logits_that_are_no_numbers_are_corrupt)
{
    static const float bad[][3] = { { 0, NAN, 1 }, { 0, INFINITY, 1 }, { -INFINITY, -INFINITY, -INFINITY } };
    const struct rlhf_sample_key key = { 5, RLHF_PURPOSE_SAMPLE, 1, 1 };

    for (int i = 0; i < 6; i++) {
        struct rlhf_sampling s = plainly;
        struct rlhf_sampled out;
        struct rlhf_error err = { 0 };
        float scratch[6];

        s.temperature = (float)(i % 2);
        ck_assert_int_eq(rlhf_sample(bad[i / 2], 3, &s, &key, 0, scratch, &out, &err), -1);
        expect_code(err, RLHF_CORRUPT);
    }
}
END_TEST

START_TEST(extreme_but_finite_logits_are_sampled)
{
    static const float logits[4] = { FLT_MAX / 8, -FLT_MAX / 8, 0, FLT_MAX / 8 };
    const struct rlhf_sample_key key = { 5, RLHF_PURPOSE_SAMPLE, 1, 1 };
    struct rlhf_sampled out;
    struct rlhf_error err = { 0 };
    float scratch[8];

    expect_ok(rlhf_sample(logits, 4, &plainly, &key, 0, scratch, &out, &err), err);
    ck_assert(out.token == 0 || out.token == 3);
    ck_assert(fabs((double)out.logprob + log(2)) < 1e-6);
}
END_TEST

START_TEST(settings_out_of_range_are_refused_by_name)
{
    struct rlhf_error err = { 0 };
    struct rlhf_sampling s = plainly;

    expect_ok(rlhf_sampling_check(&s, &err), err);
    s.temperature = -1;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    expect_contains(err.text, "temperature");
    s.temperature = NAN;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    s = plainly;
    s.top_p = 0;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    expect_contains(err.text, "top_p");
    s = plainly;
    s.max_new_tokens = 0;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    expect_contains(err.text, "max_new_tokens");
    s = plainly;
    s.min_new_tokens = 2;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    expect_contains(err.text, "min_new_tokens");
    s = plainly;
    s.min_p = 1.1F;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    expect_contains(err.text, "min_p");
    s = plainly;
    s.typical_p = NAN;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    expect_contains(err.text, "typical_p");
    s = plainly;
    s.repetition_penalty = -1;
    ck_assert_int_eq(rlhf_sampling_check(&s, &err), -1);
    expect_contains(err.text, "repetition_penalty");
}
END_TEST

int main(void)
{
    struct rlhf_error err = { 0 };

    if (rlhf_tensor_start(&err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return RUN_SUITE("model/sampler", filters_keep_what_their_definitions_keep, tokens_come_with_their_probabilities,
                     greedy_takes_the_first_of_the_largest_and_is_sure_of_it,
                     a_draw_is_named_by_its_key_and_position_alone,
                     logprobs_are_of_what_was_sampled_from_and_of_the_raw_logits,
                     min_p_keeps_what_has_its_share_of_the_likeliest, typical_p_keeps_the_nearest_to_the_entropy,
                     at_least_so_many_tokens_are_left, ties_at_the_edge_of_top_p_fall_as_in_transformers,
                     tokens_seen_are_penalised_once, an_ngram_comes_once_across_prompt_and_completion,
                     no_end_comes_before_the_least_length, logprobs_of_penalised_draws_are_of_what_was_sampled_from,
                     logits_that_are_no_numbers_are_corrupt, extreme_but_finite_logits_are_sampled,
                     settings_out_of_range_are_refused_by_name);
}
