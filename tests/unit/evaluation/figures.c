#include "evaluation/figures.h"

#include <math.h>

#include "evaluation/report.h"
#include "support/suite.h"

static struct rlhf_figure *figure(struct rlhf_figures *f, enum rlhf_figure_kind kind, const double *x, const double *w, size_t n)
{
    struct rlhf_error err = { 0 };
    struct rlhf_figure *made = rlhf_figures_add(f, "figure", kind, RLHF_HIGHER, &err);

    expect_some(made, err);
    for (size_t i = 0; i < n; i++)
        expect_ok(rlhf_figure_append(made, x[i], w ? w[i] : 1, &err), err);
    return made;
}

static void close_to(double a, double b)
{
    ck_assert_msg(fabs(a - b) < 1e-9 * (1 + fabs(b)), "%.12g is not %.12g", a, b);
}

/* statsmodels: proportion_confint(7, 10, method="wilson") */
START_TEST(a_rates_interval_is_wilsons)
{
    struct rlhf_figures f = { 0 };
    const double x[] = { 1, 0, 1, 1, 0, 1, 1, 0, 1, 1 };
    struct rlhf_estimate e = rlhf_estimate(figure(&f, RLHF_RATE, x, NULL, 10));

    close_to(e.value, 0.7);
    close_to(e.low, 0.39677814746114537);
    close_to(e.high, 0.8922087325936989);
    close_to(e.error, sqrt(0.7 * 0.3 / 9));
    ck_assert_str_eq(e.method, "wilson");
    rlhf_figures_free(&f);
}
END_TEST

START_TEST(a_rate_of_all_or_none_keeps_its_value_inside)
{
    struct rlhf_figures f = { 0 };
    const double none[3] = { 0 }, all[] = { 1, 1, 1 };
    struct rlhf_estimate e = rlhf_estimate(figure(&f, RLHF_RATE, none, NULL, 3));

    ck_assert(e.low == 0 && e.high > 0.5 && e.high < 0.6);
    e = rlhf_estimate(figure(&f, RLHF_RATE, all, NULL, 3));
    ck_assert(e.high == 1 && e.low > 0.4 && e.low < 0.5);
    rlhf_figures_free(&f);
}
END_TEST

START_TEST(a_mean_has_its_standard_error)
{
    struct rlhf_figures f = { 0 };
    const double x[] = { 1, 2, 4, 9 };
    struct rlhf_estimate e = rlhf_estimate(figure(&f, RLHF_MEAN, x, NULL, 4));

    close_to(e.value, 4);
    close_to(e.error, sqrt((9 + 4 + 0 + 25) / 3.0 / 4));
    close_to(e.low, 4 - 1.959963984540054 * e.error);
    close_to(e.high, 4 + 1.959963984540054 * e.error);
    rlhf_figures_free(&f);
}
END_TEST

/* Two windows of 10 and 30 words: sum x / sum w, not the mean of ratios. */
START_TEST(a_perplexity_is_of_all_the_text)
{
    struct rlhf_figures f = { 0 };
    const double x[] = { 20, 90 }, w[] = { 10, 30 };
    struct rlhf_estimate e = rlhf_estimate(figure(&f, RLHF_PERPLEXITY, x, w, 2));
    const double ratio = 110.0 / 40, error = sqrt((pow(20 - ratio * 10, 2) + pow(90 - ratio * 30, 2)) / 1 / 2) / 20;

    close_to(e.value, exp(ratio));
    close_to(e.low, exp(ratio - 1.959963984540054 * error));
    close_to(e.high, exp(ratio + 1.959963984540054 * error));
    ck_assert_str_eq(e.method, "normal-log");
    e = rlhf_estimate(figure(&f, RLHF_BITS, x, w, 2));
    close_to(e.value, ratio / log(2));
    close_to(e.error, error / log(2));
    rlhf_figures_free(&f);
}
END_TEST

START_TEST(one_unit_has_no_interval)
{
    struct rlhf_figures f = { 0 };
    const double x[] = { 3 };
    struct rlhf_estimate e = rlhf_estimate(figure(&f, RLHF_MEAN, x, NULL, 1));
    json_t *o;

    ck_assert(!e.interval && e.low == 3 && e.high == 3);
    o = rlhf_figures_json(&f);
    ck_assert(json_is_null(json_object_get(json_object_get(o, "figure"), "low")));
    ck_assert(json_number_value(json_object_get(json_object_get(o, "figure"), "value")) == 3);
    json_decref(o);
    rlhf_figures_free(&f);
}
END_TEST

/* Questions are hard or easy for both: the difference is known far better than either. */
START_TEST(a_difference_is_paired)
{
    struct rlhf_figures f = { 0 }, g = { 0 };
    const double a[] = { 1, 5, 9, 14 }, b[] = { 0, 4, 8, 12 };
    const struct rlhf_figure *x = figure(&f, RLHF_MEAN, a, NULL, 4), *y = figure(&g, RLHF_MEAN, b, NULL, 4);
    struct rlhf_estimate e = rlhf_difference(x, y);

    close_to(e.value, 1.25);
    close_to(e.error, 0.25);
    ck_assert(e.interval && e.low > 0);
    y = figure(&g, RLHF_MEAN, b, NULL, 3);
    e = rlhf_difference(x, y);
    ck_assert(!e.interval);
    close_to(e.value, 7.25 - 4);
    rlhf_figures_free(&f);
    rlhf_figures_free(&g);
}
END_TEST

START_TEST(a_missing_unit_counts_for_nothing_and_keeps_its_place)
{
    struct rlhf_figures f = { 0 }, g = { 0 }, h = { 0 };
    const double a[] = { 1, NAN, 9, 14 }, b[] = { 0, 4, 8, NAN }, none[] = { NAN, 1, NAN, NAN }, both[] = { 1, 9 };
    const struct rlhf_figure *x = figure(&f, RLHF_MEAN, a, NULL, 4), *y = figure(&g, RLHF_MEAN, b, NULL, 4);
    struct rlhf_estimate e = rlhf_estimate(x);

    ck_assert_uint_eq(e.count, 3);
    close_to(e.value, 8);
    e = rlhf_difference(x, y); /* of the first and the third */
    ck_assert_uint_eq(e.count, 2);
    close_to(e.value, 1);
    close_to(e.error, 0);
    close_to(rlhf_estimate(figure(&h, RLHF_MEAN, both, NULL, 2)).value, 5);
    ck_assert(isnan(rlhf_difference(x, figure(&h, RLHF_MEAN, none, NULL, 4)).value));
    ck_assert_uint_eq(rlhf_figure_units(x), 3);
    rlhf_figures_free(&f);
    rlhf_figures_free(&g);
    rlhf_figures_free(&h);
}
END_TEST

/* By hand: the figure with a unit's value moved a little, and what the first-order term says of it. */
START_TEST(a_difference_of_perplexities_has_the_slope_of_each)
{
    struct rlhf_figures f = { 0 }, g = { 0 };
    const double a[] = { 20, 90, 45 }, b[] = { 22, 99, 46 }, w[] = { 10, 30, 20 }, v[] = { 9, 33, 18 };
    struct rlhf_estimate e = rlhf_difference(figure(&f, RLHF_PERPLEXITY, a, w, 3), figure(&g, RLHF_PERPLEXITY, b, v, 3));
    const double p = 155.0 / 60, q = 167.0 / 60;
    double squares = 0;

    for (size_t i = 0; i < 3; i++)
        squares += pow(exp(p) * (a[i] - p * w[i]) / 20 - exp(q) * (b[i] - q * v[i]) / 20, 2);
    close_to(e.value, exp(p) - exp(q));
    close_to(e.error, sqrt(squares / 2 / 3));
    rlhf_figures_free(&f);
    rlhf_figures_free(&g);
}
END_TEST

int main(void)
{
    return RUN_SUITE("evaluation/figures", a_rates_interval_is_wilsons, a_rate_of_all_or_none_keeps_its_value_inside,
                     a_mean_has_its_standard_error, a_perplexity_is_of_all_the_text, one_unit_has_no_interval, a_difference_is_paired,
                     a_missing_unit_counts_for_nothing_and_keeps_its_place,
                     a_difference_of_perplexities_has_the_slope_of_each);
}
