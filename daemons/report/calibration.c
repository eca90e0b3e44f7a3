/* calibration.c - held-out pairs of a reward model: in bins of the probability that it gave to the completion it likes better,
 * how often people did (Guo et al., "On Calibration of Modern Neural Networks", 2017, for the expected calibration error). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/sections.h"
#include "rl/statistics.h"

enum { BINS = 10 }; /* of [0.5, 1] */

struct bins {
    double sure[BINS], agreed[BINS], count[BINS]; /* sums; pairs */
    double pairs, ties;
};

static void add_pair(struct bins *b, double better, double worse)
{
    double sure = 1 / (1 + exp(-fabs(better - worse)));
    int bin = (int)((sure - 0.5) * 2 * BINS);

    bin = bin < BINS ? bin : BINS - 1;
    b->sure[bin] += sure;
    b->agreed[bin] += better > worse ? 1 : better == worse ? 0.5 : 0;
    b->count[bin]++;
    b->pairs++;
}

static bool on_comparison(void *ctx, json_t *line)
{
    struct bins *b = ctx;
    json_t *ranks = json_object_get(line, "ranks"), *scores = json_object_get(line, "scores");
    size_t k = json_array_size(scores);

    for (size_t i = 0; i < k && json_array_size(ranks) == k; i++)
        for (size_t j = 0; j < k; j++) {
            json_int_t a = json_integer_value(json_array_get(ranks, i)), c = json_integer_value(json_array_get(ranks, j));
            json_t *x = json_array_get(scores, i), *y = json_array_get(scores, j);
            if (!json_is_number(x) || !json_is_number(y))
                continue;
            if (a < c)
                add_pair(b, json_number_value(x), json_number_value(y));
            b->ties += i < j && a == c;
        }
    return true;
}

static double expected_error(const struct bins *b)
{
    double sum = 0;

    for (int i = 0; i < BINS; i++)
        sum += fabs(b->agreed[i] - b->sure[i]);
    return sum / b->pairs;
}

static void put_plot(struct report *r, const char *stage, const struct bins *b)
{
    double x[BINS], y[BINS], low[BINS], high[BINS], right = 0;
    char texts[BINS][48], note[300], error[MARKUP_NUMBER], pairs[MARKUP_NUMBER];
    const char *notes[BINS];
    struct plot p = {.title = stage, .x = "probability that the model gave", .y = "share in which people agreed", .note = note,
                     .x_low = 0.5, .x_high = 1, .y_low = 0.4, .y_high = 1, .diagonal = true};
    size_t n = 0;

    for (int i = 0; i < BINS; i++) {
        struct rlhf_interval interval = rlhf_wilson(b->agreed[i], b->count[i], 1.96);
        right += b->agreed[i];
        if (b->count[i] == 0)
            continue;
        x[n] = b->sure[i] / b->count[i];
        y[n] = b->agreed[i] / b->count[i];
        low[n] = interval.low;
        high[n] = interval.high;
        snprintf(texts[n], sizeof texts[n], "%.0f pairs", b->count[i]);
        notes[n] = texts[n];
        n++;
    }
    snprintf(note, sizeof note, "%s pairs; %.1f\u202f%% ordered as people did; expected calibration error %s; %.0f ties left out.",
             markup_format(pairs, b->pairs), 100 * right / b->pairs, markup_format(error, expected_error(b)), b->ties);
    p.series[p.count++] = (struct plot_series){.name = "held-out pairs", .x = x, .y = y, .low = low, .high = high, .notes = notes,
                                               .count = n, .points = true, .line = true};
    plot_put(&r->page, &p);
}

bool report_calibration(struct report *r)
{
    size_t stages = rlhf_run_stages(&r->run->run), known = 0, shown = 0;

    markup_put(&r->page, "<div class=\"plots\">");
    for (size_t i = 0; (i = report_next(r, i, RLHF_STAGE_REWARD)) < stages; i++) {
        struct bins b = {0};
        const char *name = report_stage_name(r, i);
        known++;
        rundir_lines(r->run, on_comparison, &b, "evaluations/%s/validation.jsonl", name);
        if (b.pairs > 0) {
            put_plot(r, name, &b);
            shown++;
        } else {
            report_missing(r, "%s has no held-out pairs%s.", name,
                           rundir_done(r->run, name) ? " (held_out is 0 and there is no validation file)" : " yet");
        }
    }
    if (known == 0)
        report_missing(r, "The run file has no reward stage.");
    markup_put(&r->page, "</div>\n");
    return shown > 0;
}
