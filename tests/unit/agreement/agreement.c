/* Agreement against the numbers of the papers, and labelers against people of known accuracy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "agreement/labelers.h"
#include "base/random.h"
#include "support/suite.h"

static struct rlhf_error err;

static struct rlhf_answers answers(const struct rlhf_answer *list, size_t count, uint32_t categories)
{
    struct rlhf_answers a;

    expect_ok(rlhf_answers_new(&a, list, count, categories, &err), err);
    return a;
}

/* Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: 4 observers, 12 units, '.' missing. */
static struct rlhf_answers krippendorffs_example(void)
{
    static const char *const rows[] = { "123321412...", "1233224125.3", ".3332342251.", "12332441251." };
    struct rlhf_answer list[48];
    size_t count = 0;

    for (uint32_t person = 0; person < 4; person++)
        for (uint32_t item = 0; item < 12; item++)
            if (rows[person][item] != '.')
                list[count++] = (struct rlhf_answer){ item, person, (uint32_t)(rows[person][item] - '1') };
    return answers(list, count, 5);
}

START_TEST(krippendorffs_alpha_is_the_published_one)
{
    struct rlhf_answers a = krippendorffs_example();

    ck_assert_double_eq_tol(rlhf_krippendorff_alpha(&a, RLHF_NOMINAL), 0.743, 5e-4);
    ck_assert_double_eq_tol(rlhf_krippendorff_alpha(&a, RLHF_ORDINAL), 0.815, 5e-4);
    rlhf_answers_free(&a);
}
END_TEST

START_TEST(fleiss_kappa_is_the_published_one)
{
    /* the usual worked example: 10 items, 14 answers, 5 categories, kappa 0.210 */
    static const int votes[10][5] = { { 0, 0, 0, 0, 14 }, { 0, 2, 6, 4, 2 }, { 0, 0, 3, 5, 6 }, { 0, 3, 9, 2, 0 },
                                      { 2, 2, 8, 1, 1 },  { 7, 7, 0, 0, 0 }, { 3, 2, 6, 3, 0 }, { 2, 5, 3, 2, 2 },
                                      { 6, 5, 2, 1, 0 },  { 0, 2, 2, 3, 7 } };
    struct rlhf_answer list[141];
    size_t count = 0;

    for (uint32_t i = 0; i < 10; i++)
        for (uint32_t c = 0, person = 0; c < 5; c++)
            for (int v = 0; v < votes[i][c]; v++)
                list[count++] = (struct rlhf_answer){ i, person++, c };
    list[count++] = (struct rlhf_answer){ 99, 0, 0 }; /* has another number of answers: left out */
    struct rlhf_answers a = answers(list, count, 5);
    ck_assert_double_eq_tol(rlhf_fleiss_kappa(&a, 14), 0.210, 5e-4);
    ck_assert(isnan(rlhf_fleiss_kappa(&a, 3)));
    rlhf_answers_free(&a);
}
END_TEST

START_TEST(cohens_kappa_is_the_published_one)
{
    static const int table[2][2] = { { 20, 5 }, { 10, 15 } }; /* 0.4 */
    struct rlhf_answer list[101];
    size_t count = 0;
    uint32_t item = 0;

    for (uint32_t x = 0; x < 2; x++)
        for (uint32_t y = 0; y < 2; y++)
            for (int i = 0; i < table[x][y]; i++, item++) {
                list[count++] = (struct rlhf_answer){ item, 3, x };
                list[count++] = (struct rlhf_answer){ item, 7, y };
            }
    list[count++] = (struct rlhf_answer){ item, 3, 1 }; /* nobody else's */
    struct rlhf_answers a = answers(list, count, 2);
    ck_assert_double_eq_tol(rlhf_cohen_kappa(&a, 3, 7), 0.4, 1e-12);
    ck_assert_double_eq_tol(rlhf_raw_agreement(&a), 0.7, 1e-12);
    ck_assert(isnan(rlhf_cohen_kappa(&a, 3, 8)));
    rlhf_answers_free(&a);
}
END_TEST

static double raw(const struct rlhf_answers *a, const void *ctx)
{
    (void)ctx;
    return rlhf_raw_agreement(a);
}

static double alpha(const struct rlhf_answers *a, const void *ctx)
{
    (void)ctx;
    return rlhf_krippendorff_alpha(a, RLHF_NOMINAL);
}

START_TEST(agreement_without_meaning_is_not_a_number)
{
    struct rlhf_answer same[] = { { 1, 0, 2 }, { 1, 1, 2 }, { 2, 0, 2 }, { 2, 1, 2 } };
    struct rlhf_answers a = answers(same, 4, 3), none = answers(NULL, 0, 3);
    struct rlhf_estimate e;

    ck_assert(isnan(rlhf_krippendorff_alpha(&a, RLHF_NOMINAL)));
    ck_assert(isnan(rlhf_fleiss_kappa(&a, 2)));
    ck_assert(isnan(rlhf_cohen_kappa(&a, 0, 1)));
    ck_assert_double_eq(rlhf_raw_agreement(&a), 1);
    ck_assert(isnan(rlhf_raw_agreement(&none)));
    ck_assert(isnan(rlhf_krippendorff_alpha(&none, RLHF_ORDINAL)));
    expect_ok(rlhf_bootstrap(&none, &(struct rlhf_measure){ alpha, NULL, &e }, 1, 10, 1, &err), err);
    ck_assert(isnan(e.value) && isnan(e.low) && isnan(e.high));
    rlhf_answers_free(&a);
    rlhf_answers_free(&none);
}
END_TEST

START_TEST(false_answers_are_named)
{
    struct rlhf_answer twice[] = { { 5, 1, 0 }, { 4, 1, 0 }, { 5, 1, 1 } }, beyond[] = { { 5, 1, 2 } };
    struct rlhf_answers a;

    ck_assert_int_lt(rlhf_answers_new(&a, twice, 3, 2, &err), 0);
    expect_contains(err.text, "person 1 answered item 5 twice");
    ck_assert_int_lt(rlhf_answers_new(&a, beyond, 1, 2, &err), 0);
    expect_contains(err.text, "category 2, there are 2");
}
END_TEST

START_TEST(an_interval_covers_the_value_and_repeats)
{
    struct rlhf_answers a = krippendorffs_example();
    struct rlhf_estimate first, e, again;
    const struct rlhf_measure together[] = { { raw, NULL, &first }, { alpha, NULL, &e } }, alone = { alpha, NULL, &again };

    expect_ok(rlhf_bootstrap(&a, together, 2, 500, 7, &err), err);
    expect_ok(rlhf_bootstrap(&a, &alone, 1, 500, 7, &err), err);
    ck_assert(first.low < first.value && first.value < first.high);
    ck_assert(e.low < e.value && e.value < e.high && e.low > 0.2 && e.high <= 1);
    ck_assert(memcmp(&e, &again, sizeof e) == 0);
    rlhf_answers_free(&a);
}
END_TEST

enum { PEOPLE = 6, ITEMS = 3000 };
static const double accuracy[PEOPLE] = { 0.95, 0.85, 0.85, 0.7, 0.5, 0.1 };

/* Three of the six answer each item; person p is right with probability accuracy[p]. */
static struct rlhf_answers a_crowd(struct rlhf_random *random, uint32_t truth[ITEMS])
{
    static struct rlhf_answer list[3 * ITEMS];
    size_t count = 0;

    for (uint32_t i = 0; i < ITEMS; i++) {
        uint32_t who[PEOPLE] = { 0, 1, 2, 3, 4, 5 };
        truth[i] = rlhf_random_below(random, 2);
        rlhf_random_shuffle(random, who, PEOPLE);
        for (int j = 0; j < 3; j++) {
            bool right = rlhf_random_uniform(random) < (float)accuracy[who[j]];
            list[count++] = (struct rlhf_answer){ i, who[j], right ? truth[i] : 1 - truth[i] };
        }
    }
    return answers(list, count, 2);
}

START_TEST(dawid_and_skene_find_who_is_right)
{
    const struct rlhf_dawid_skene_prior prior = { .expected = 0.85, .strength = 10 };
    struct rlhf_random random;
    uint32_t truth[ITEMS];
    size_t right = 0, majority = 0;

    rlhf_random_init(&random, 11, RLHF_PURPOSE_FAULT, 0, 0);
    struct rlhf_answers a = a_crowd(&random, truth);
    struct rlhf_dawid_skene d;
    expect_ok(rlhf_dawid_skene_fit(&d, &a, &prior, &err), err);
    for (size_t p = 0; p < PEOPLE; p++)
        ck_assert_double_eq_tol(rlhf_dawid_skene_accuracy(&d, p), accuracy[p], 0.03);
    for (size_t i = 0; i < ITEMS; i++) {
        int votes = 0;
        for (size_t j = a.start[i]; j < a.start[i + 1]; j++)
            votes += a.answer[j].category == truth[i];
        majority += votes >= 2;
        right += d.truth[i * 2 + truth[i]] > 0.5;
    }
    ck_assert_uint_gt(right, majority + ITEMS / 20); /* it hears the one who always says the contrary, too */
    ck_assert_double_eq_tol(rlhf_dawid_skene_weight(&d, &prior, 0), 1, 1e-12);
    ck_assert_double_eq_tol(rlhf_dawid_skene_weight(&d, &prior, 3), (0.7 - 0.5) / (0.85 - 0.5), 0.08);
    ck_assert_double_eq_tol(rlhf_dawid_skene_weight(&d, &prior, 5), 0, 1e-12);
    rlhf_dawid_skene_free(&d);
    rlhf_answers_free(&a);
}
END_TEST

START_TEST(who_shares_no_item_is_believed_as_anybody)
{
    const struct rlhf_dawid_skene_prior prior = { .expected = 0.85, .strength = 10 };
    struct rlhf_answer list[] = { { 0, 0, 1 }, { 1, 0, 0 }, { 2, 1, 1 } };
    struct rlhf_answers a = answers(list, 3, 2);
    struct rlhf_dawid_skene d;

    expect_ok(rlhf_dawid_skene_fit(&d, &a, &prior, &err), err);
    ck_assert_double_eq(rlhf_dawid_skene_weight(&d, &prior, 0), 1);
    ck_assert_double_eq(rlhf_dawid_skene_weight(&d, &prior, 1), 1);
    rlhf_dawid_skene_free(&d);
    rlhf_answers_free(&a);
}
END_TEST

/* After how many gold answers somebody of this accuracy is called bad; most + 1 when never. */
static unsigned called_bad_after(struct rlhf_random *random, double right, unsigned most)
{
    double ratio = 0;

    for (unsigned i = 1; i <= most; i++)
        if (rlhf_gold_test_step(&rlhf_gold_test_default, &ratio, rlhf_random_uniform(random) < (float)right) == RLHF_BAD)
            return i;
    return most + 1;
}

START_TEST(a_flipper_is_found_within_50_gold_items_and_the_honest_are_left_alone)
{
    enum { RUNS = 4000 };
    struct rlhf_random random;
    unsigned late = 0, false_alarms = 0;

    rlhf_random_init(&random, 5, RLHF_PURPOSE_FAULT, 1, 0);
    for (int run = 0; run < RUNS; run++) {
        late += called_bad_after(&random, 0.15, 50) > 50;
        false_alarms += called_bad_after(&random, 0.85, 1000) <= 1000;
    }
    ck_assert_uint_eq(late, 0);
    ck_assert_uint_lt(false_alarms, RUNS / 100);
}
END_TEST

START_TEST(who_turns_bad_after_a_good_year_is_found_as_well)
{
    double ratio = 0;
    unsigned wrong = 0;

    for (int i = 0; i < 5000; i++)
        ck_assert_int_ne(rlhf_gold_test_step(&rlhf_gold_test_default, &ratio, true), RLHF_BAD);
    while (rlhf_gold_test_step(&rlhf_gold_test_default, &ratio, false) != RLHF_BAD)
        wrong++;
    ck_assert_uint_lt(wrong, 20);
}
END_TEST

int main(void)
{
    return RUN_SUITE("agreement/agreement", krippendorffs_alpha_is_the_published_one, fleiss_kappa_is_the_published_one,
                     cohens_kappa_is_the_published_one, agreement_without_meaning_is_not_a_number, false_answers_are_named,
                     an_interval_covers_the_value_and_repeats, dawid_and_skene_find_who_is_right,
                     who_shares_no_item_is_believed_as_anybody,
                     a_flipper_is_found_within_50_gold_items_and_the_honest_are_left_alone,
                     who_turns_bad_after_a_good_year_is_found_as_well);
}
