/* Scales, text and plots of the report: round ticks over whatever comes, and nothing of a run becomes markup. */
#include "report/plot.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/scale.h"
#include "support/suite.h"

/* ---- scales -------------------------------------------------------------------------------------------- */

static bool is_round(double step)
{
    double digit = step / pow(10, floor(log10(step) + 1e-9));

    return fabs(digit - 1) < 1e-6 || fabs(digit - 2) < 1e-6 || fabs(digit - 5) < 1e-6;
}

static void expect_scale(double low, double high)
{
    for (unsigned ticks = 2; ticks < 12; ticks++) {
        struct scale s = scale_of(low, high, ticks, 0, 100);
        ck_assert_msg(is_round(s.step), "step %g over %g to %g", s.step, low, high);
        ck_assert(s.low <= low + 0.0501 * s.step && s.high >= high - 0.0501 * s.step);
        ck_assert(s.low > low - 1.0001 * s.step && s.high < high + 1.0001 * s.step);
        ck_assert_uint_ge(scale_ticks(&s), 2);
        ck_assert_uint_le(scale_ticks(&s), 2 * ticks + 2);
        ck_assert_double_eq_tol(scale_at(&s, s.low), 0, 1e-9);
        ck_assert_double_eq_tol(scale_at(&s, s.high), 100, 1e-9);
    }
}

START_TEST(scales_have_round_steps_and_hold_what_they_are_for)
{
    static const double spans[][2] = {{0, 1},        {0, 1953},    {-0.7, 2.3},  {1e-9, 3e-9},  {-5e6, 12},
                                      {0.499, 0.51}, {2.2, 2.335}, {-1e-3, 1e3}, {99, 101},     {1e12, 2e12},
                                      {0, 2e-4},     {-4, -3.99},  {0.5, 1},     {-1e-6, 1e-6}, {7, 1234567}};

    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
        expect_scale(spans[i][0], spans[i][1]);
}
END_TEST

START_TEST(a_scale_of_one_value_or_of_none_is_a_scale)
{
    static const double odd[][2] = {{3, 3}, {0, 0}, {-2e-7, -2e-7}, {INFINITY, -INFINITY}, {NAN, NAN}, {0, INFINITY}, {5, 1}};

    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct scale s = scale_of(odd[i][0], odd[i][1], 5, 0, 100);
        ck_assert(isfinite(s.low) && isfinite(s.high) && s.low < s.high && s.step > 0);
        ck_assert_uint_le(scale_ticks(&s), 20);
        if (odd[i][0] == odd[i][1])
            ck_assert(scale_at(&s, odd[i][0]) > 0 && scale_at(&s, odd[i][0]) < 100);
    }
}
END_TEST

static const char *label(double low, double high, double tick)
{
    static char out[SCALE_LABEL];
    struct scale s = scale_of(low, high, 5, 0, 1);

    scale_label(&s, tick, out);
    return out;
}

START_TEST(labels_have_the_digits_that_their_step_needs)
{
    ck_assert_str_eq(label(0, 1.2, 0.5), "0.5");
    ck_assert_str_eq(label(0, 0.8, 0.2), "0.2");
    ck_assert_str_eq(label(0, 4, 2), "2");
    ck_assert_str_eq(label(-2, 2, -1), "\u22121");
    ck_assert_str_eq(label(0, 40000, 20000), "20k");
    ck_assert_str_eq(label(0, 2e-4, 5e-5), "5e-05");
    ck_assert_str_eq(label(0, 5e8, 1e8), "1e+08");
}
END_TEST

START_TEST(zero_is_zero_where_rounding_leaves_a_little)
{
    struct scale s = scale_of(-0.3, 0.6, 10, 0, 1);
    char out[SCALE_LABEL];
    bool seen = false;

    for (size_t i = 0; i < scale_ticks(&s); i++) {
        scale_label(&s, scale_tick(&s, i), out);
        ck_assert_str_ne(out, "\u22120.0");
        seen |= scale_tick(&s, i) == 0;
    }
    ck_assert(seen);
}
END_TEST

/* ---- text ---------------------------------------------------------------------------------------------- */

START_TEST(text_of_a_run_is_never_markup)
{
    struct markup m = {0};

    markup_text(&m, "<script>\"it's\" & so on</script>\n\t\x07\x1b[31m\x7f \u05e9");
    ck_assert_str_eq(m.bytes.data, "&lt;script&gt;&quot;it&#39;s&quot; &amp; so on&lt;/script&gt;\n\t\u2407\u241b[31m\u2421 \u05e9");
    rlhf_bytes_free(&m.bytes);
}
END_TEST

START_TEST(numbers_are_for_people)
{
    char out[MARKUP_NUMBER];

    ck_assert_str_eq(markup_format(out, 0.123456), "0.1235");
    ck_assert_str_eq(markup_format(out, -2), "\u22122");
    ck_assert_str_eq(markup_format(out, 1500), "1500");
    ck_assert_str_eq(markup_format(out, 1234567), "1\u202f234\u202f567");
    ck_assert_str_eq(markup_format(out, -12345.6), "\u221212\u202f346");
    ck_assert_str_eq(markup_format(out, 4.4e-5), "4.4e-05");
    ck_assert_str_eq(markup_format(out, NAN), "\u2013");
    ck_assert_str_eq(markup_format(out, -INFINITY), "\u2212\u221e");
    ck_assert_uint_lt(strlen(markup_format(out, DBL_MAX)), MARKUP_NUMBER);
}
END_TEST

/* ---- plots --------------------------------------------------------------------------------------------- */

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;

    for (; (text = strstr(text, part)); text += strlen(part))
        count++;
    return count;
}

START_TEST(values_that_are_not_finite_leave_a_plot_without_them)
{
    const double x[] = {1, 2, NAN, 4, 5}, y[] = {NAN, 2, 3, INFINITY, 1};
    struct plot p = {.title = "t", .x = "x", .y = "y",
                     .series = {{.name = "s", .x = x, .y = y, .count = 5, .points = true, .line = true}}, .count = 1};
    struct markup m = {0};

    plot_put(&m, &p);
    ck_assert_int_eq(m.err.code, RLHF_OK);
    ck_assert_uint_eq(count_of(m.bytes.data, "<circle"), 2);
    ck_assert_ptr_null(strstr(m.bytes.data, "nan"));
    ck_assert_ptr_null(strstr(m.bytes.data, "inf"));
    rlhf_bytes_free(&m.bytes);
}
END_TEST

START_TEST(an_empty_plot_has_axes)
{
    struct plot p = {.title = "nothing", .x = "x", .y = "y",
                     .series = {{.name = "s", .x = NULL, .y = NULL, .count = 0, .line = true}}, .count = 1};
    struct plot_bars bars = {.title = "none", .x = "x"};
    struct markup m = {0};

    plot_put(&m, &p);
    plot_put_bars(&m, &bars);
    ck_assert_int_eq(m.err.code, RLHF_OK);
    ck_assert_uint_eq(count_of(m.bytes.data, "<svg"), 2);
    ck_assert_uint_eq(count_of(m.bytes.data, "</svg>"), 2);
    rlhf_bytes_free(&m.bytes);
}
END_TEST

/* A million steps: the line stays small, and its extremes are in it. */
START_TEST(a_long_line_is_drawn_by_the_extremes_of_its_stretches)
{
    enum { STEPS = 1000000 };
    static double x[STEPS], y[STEPS];
    struct plot p = {.title = "long", .x = "x", .y = "y",
                     .series = {{.name = "s", .x = x, .y = y, .count = STEPS, .line = true}}, .count = 1};
    struct markup m = {0};

    for (int i = 0; i < STEPS; i++)
        x[i] = i;
    y[123457] = 10;
    plot_put(&m, &p);
    ck_assert_int_eq(m.err.code, RLHF_OK);
    ck_assert_uint_lt(m.bytes.size, 100000);
    ck_assert_uint_ge(count_of(m.bytes.data, " 26.0"), 1); /* the top of the field */
    rlhf_bytes_free(&m.bytes);
}
END_TEST

START_TEST(names_in_a_plot_are_text)
{
    const double x[] = {1, 2};
    const char *notes[] = {"<b>", "&"};
    struct plot p = {.title = "<i>", .x = "<u>", .y = "\"",
                     .series = {{.name = "<s>", .x = x, .y = x, .notes = notes, .count = 2, .points = true},
                                {.name = "<q>", .x = x, .y = x, .count = 2, .line = true}},
                     .count = 2, .note = "<em>"};
    struct plot_bar bar = {.name = "<a>", .note = "<b>", .value = 1, .low = 0.5, .high = 2};
    struct plot_bars bars = {.title = "<i>", .x = "<u>", .bars = &bar, .count = 1};
    struct markup m = {0};

    plot_put(&m, &p);
    plot_put_bars(&m, &bars);
    for (const char *const *bad = (const char *const[]){"<i>", "<u>", "<s>", "<q>", "<b>", "<em>", "<a>", NULL}; *bad; bad++)
        ck_assert_msg(!strstr(m.bytes.data, *bad), "%s is markup", *bad);
    rlhf_bytes_free(&m.bytes);
}
END_TEST

int main(void)
{
    return RUN_SUITE("report/plot", scales_have_round_steps_and_hold_what_they_are_for,
                     a_scale_of_one_value_or_of_none_is_a_scale, labels_have_the_digits_that_their_step_needs,
                     zero_is_zero_where_rounding_leaves_a_little, text_of_a_run_is_never_markup, numbers_are_for_people,
                     values_that_are_not_finite_leave_a_plot_without_them, an_empty_plot_has_axes,
                     a_long_line_is_drawn_by_the_extremes_of_its_stretches, names_in_a_plot_are_text);
}
