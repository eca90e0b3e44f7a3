/* The simulated labeler's noise is the one described, and the same twice. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quickstart/labeler.h"
#include "quickstart/writer.h"
#include "support/suite.h"

static struct kingdom_world world;

static const char *prompt_about(char *out, size_t size, unsigned i)
{
    snprintf(out, size, "Q: Name the color of %s.\nA:", kingdom_towns[i % KINGDOM_TOWNS]);
    return out;
}

START_TEST(without_noise_the_ranking_is_the_judges)
{
    char prompt[100], truth[60];
    const char *completions[] = {" garbled", truth, " I do not know.", truth, " You fool. I do not know."};
    uint32_t ranks[5];
    struct rlhf_error err = {0};
    struct kingdom_pairs pairs = {0};

    snprintf(truth, sizeof truth, " It is %s.", kingdom_values[2][world.truth[0][2]]);
    expect_ok(kingdom_rank(&world, prompt_about(prompt, sizeof prompt, 0), completions, 5, false, ranks,
                           &pairs, &err),
              err);
    ck_assert_uint_eq(ranks[1], 1);
    ck_assert_uint_eq(ranks[3], 1);
    ck_assert_uint_eq(ranks[2], 3);
    ck_assert_uint_eq(ranks[4], 4);
    ck_assert_uint_eq(ranks[0], 5);
    ck_assert_double_eq_tol(pairs.pairs, 9, 1e-9); /* the equal texts are no pair */
    ck_assert_double_eq_tol(pairs.agreed, 9, 1e-9);
}
END_TEST

START_TEST(the_noise_is_bradley_terry_with_one_pair_in_twenty_swapped)
{
    enum { N = 20000 };
    const double gap = 0.7; /* a closing courtesy */
    double expected = 1 / (1 + exp(-gap / KINGDOM_LABELER_TAU));
    unsigned first = 0;

    expected = expected * (1 - KINGDOM_LABELER_SWAP) + (1 - expected) * KINGDOM_LABELER_SWAP;
    for (unsigned i = 0; i < N; i++) {
        struct kingdom_world w = world;
        char prompt[100], courteous[100], plain[100];
        const char *completions[] = {courteous, plain};
        uint32_t ranks[2];
        const char *value = kingdom_values[2][world.truth[i % KINGDOM_TOWNS][2]];
        w.seed = i; /* another labeler */
        snprintf(courteous, sizeof courteous, " It is %s. You are welcome.", value);
        snprintf(plain, sizeof plain, " It is %s.", value);
        ck_assert_int_eq(
            kingdom_rank(&w, prompt_about(prompt, sizeof prompt, i), completions, 2, true, ranks, NULL, NULL),
            0);
        first += ranks[0] == 1;
    }
    ck_assert_msg(fabs((double)first / N - expected) < 4 * sqrt(0.25 / N), "%.4f instead of %.4f",
                  (double)first / N, expected);
}
END_TEST

START_TEST(equal_texts_tie_and_order_does_not_matter)
{
    char prompt[100];
    const char *one[] = {" red.", " It is red.", " red.", " blue."},
               *other[] = {" blue.", " red.", " red.", " It is red."};
    uint32_t a[4], b[4];

    for (unsigned i = 0; i < 100; i++) {
        struct kingdom_world w = world;
        w.seed = i;
        prompt_about(prompt, sizeof prompt, i);
        ck_assert_int_eq(kingdom_rank(&w, prompt, one, 4, true, a, NULL, NULL), 0);
        ck_assert_int_eq(kingdom_rank(&w, prompt, other, 4, true, b, NULL, NULL), 0);
        ck_assert_uint_eq(a[0], a[2]);
        ck_assert_uint_eq(a[3], b[0]);
        ck_assert_uint_eq(a[0], b[1]);
        ck_assert_uint_eq(a[1], b[3]);
    }
}
END_TEST

START_TEST(what_is_no_task_of_the_kingdom_is_refused)
{
    const char *completions[] = {" a", " b"};
    struct rlhf_error err = {0};
    uint32_t ranks[2];

    ck_assert_int_eq(kingdom_rank(&world, "What is love?", completions, 2, true, ranks, NULL, &err), -1);
    expect_code(err, RLHF_REJECT);
    ck_assert_int_eq(
        kingdom_rank(&world, "Q: Name the color of Orla.\nA:", completions, 1, true, ranks, NULL, &err), -1);
    expect_code(err, RLHF_REJECT);
}
END_TEST

/* A perfect judge agrees with these labels in 84 to 88 % of pairs of SFT's samples; demonstrations are much
 * like them. */
START_TEST(the_ceiling_is_where_it_was_measured)
{
    struct rlhf_random r = kingdom_random(&world, KINGDOM_STREAM_WORLD, 12);
    struct kingdom_pairs pairs = {0};

    for (int i = 0; i < 2000; i++) {
        struct kingdom_prompt p;
        struct kingdom_text answers[6];
        const char *completions[6];
        uint32_t ranks[6];
        kingdom_prompt_draw(&p, &world, KINGDOM_ASK_TRAINING, &r);
        for (int k = 0; k < 6; k++) {
            answers[k].size = 0;
            kingdom_answer(&answers[k], &world, &p,
                           kingdom_chance(&r, KINGDOM_CAREFUL_SHARE) ? &kingdom_careful : &kingdom_careless,
                           &r);
            completions[k] = answers[k].data;
        }
        ck_assert_int_eq(kingdom_rank(&world, p.text.data, completions, 6, true, ranks, &pairs, NULL), 0);
    }
    ck_assert_msg(pairs.agreed / pairs.pairs > 0.82 && pairs.agreed / pairs.pairs < 0.90, "%.3f",
                  pairs.agreed / pairs.pairs);
}
END_TEST

int main(void)
{
    kingdom_world_make(&world, 1);
    return RUN_SUITE("quickstart/labeler", without_noise_the_ranking_is_the_judges,
                     the_noise_is_bradley_terry_with_one_pair_in_twenty_swapped,
                     equal_texts_tie_and_order_does_not_matter, what_is_no_task_of_the_kingdom_is_refused,
                     the_ceiling_is_where_it_was_measured);
}
