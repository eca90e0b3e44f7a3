/* curves.c - learning curves, a stage after the other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/sections.h"

/* What is drawn together, for the kinds of stages that have it. */
static const struct curve {
    const char *title, *y;
    const char *keys[3], *names[3];
} curves[] = {
    {"Loss", "nats", {"loss"}, {"loss"}},
    {"Loss by its parts", "nats a token", {"loss_demonstrations", "loss_mix"}, {"demonstrations", "mixed-in text"}},
    {"Reward", "reward", {"reward", "score"}, {"reward model", "with penalties"}},
    {"KL to the reference", "nats a completion", {"kl"}, {"KL"}},
    {"Pairs ordered as people did", "share of the batch", {"accuracy"}, {"accuracy"}},
    {"Log-ratios to the reference", "\u03b2 \u00d7 log-ratio", {"chosen", "rejected"}, {"chosen", "rejected"}},
    {"Entropy", "nats a token", {"entropy"}, {"entropy"}},
    {"Length", "tokens a completion", {"length"}, {"length"}},
    {"Completions that ended", "share", {"ended"}, {"ended"}},
    {"Value loss", "\u00bd(V \u2212 R)\u00b2", {"value_loss"}, {"value loss"}},
    {"Explained variance", "1 \u2212 Var(R \u2212 V) / Var(R)", {"explained_variance"}, {"explained variance"}},
    {"Clipped tokens", "share", {"clip_fraction", "value_clip_fraction"}, {"policy", "value"}},
    {"Loss on the mixed-in text", "nats a token", {"mix_loss"}, {"PPO-ptx"}},
    {"KL coefficient", "\u03b2", {"kl_coefficient"}, {"\u03b2"}},
    {"Disagreement of the ensemble", "standard deviation", {"disagreement"}, {"disagreement"}},
    {"Repetition", "share", {"repetition"}, {"repetition"}},
    {"Correlation with the score", "correlation", {"length_correlation", "repetition_correlation"}, {"length", "repetition"}},
    {"Gradient norm before clipping", "norm", {"grad_norm", "value_grad_norm"}, {"policy", "value"}},
    {"Learning rate", "rate", {"learning_rate", "value_learning_rate"}, {"policy", "value"}},
};

/* False when every value is the same or none: a number says more than a line does. */
static bool moves(const double *values, size_t count)
{
    double low = INFINITY, high = -INFINITY;

    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i])) {
            low = fmin(low, values[i]);
            high = fmax(high, values[i]);
        }
    return low < high;
}

/* The mean of the steps around each one, as many as make a long line calm. NULL: short lines are as they are. */
static double *calm(const double *values, size_t count)
{
    size_t half = count / 50;
    double *out = half > 0 ? calloc(count, sizeof *out) : NULL, sum = 0, n = 0;

    for (size_t i = 0; out && i < count + half; i++) { /* values[i] comes in; values[i - 2 half - 1] goes out */
        if (i < count && isfinite(values[i]))
            sum += values[i], n++;
        if (i > 2 * half && isfinite(values[i - 2 * half - 1]))
            sum -= values[i - 2 * half - 1], n--;
        if (i >= half)
            out[i - half] = n > 0 ? sum / n : NAN;
    }
    return out;
}

static void put_curve(struct report *r, const struct report_stage *s, const struct curve *c)
{
    const double *step = report_metrics_of(s, "step");
    struct plot p = {.title = c->title, .x = "step", .y = c->y};
    double *calmed[3] = {NULL};

    for (size_t i = 0; step && i < 3 && c->keys[i]; i++) {
        const double *y = report_metrics_of(s, c->keys[i]);
        if (!y || !moves(y, s->rows))
            continue;
        if ((calmed[i] = calm(y, s->rows)))
            p.series[p.count++] = (struct plot_series){.x = step, .y = y, .count = s->rows, .colour = (unsigned)i,
                                                       .line = true, .faint = true, .silent = true};
        p.series[p.count++] = (struct plot_series){.name = c->names[i], .x = step, .y = calmed[i] ? calmed[i] : y,
                                                   .count = s->rows, .colour = (unsigned)i, .line = true};
    }
    if (p.count > 0)
        plot_put(&r->page, &p);
    for (size_t i = 0; i < 3; i++)
        free(calmed[i]);
}

static void put_stage(struct report *r, const struct report_stage *s)
{
    int index = rlhf_run_find(&r->run->run, s->name);
    const struct rlhf_stage *stage = index < 0 ? NULL : rlhf_run_stage(&r->run->run, (size_t)index);

    markup_put(&r->page, "<details open><summary><b>");
    markup_text(&r->page, s->name);
    markup_put(&r->page, "</b> <span>%s \u00b7 %zu steps%s</span></summary><div class=\"plots\">",
               stage ? rlhf_stage_kind_name(rlhf_stage_kind(stage)) : "not in the run file: a gate's further try", s->rows,
               !stage || rundir_done(r->run, s->name) ? "" : " so far");
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        put_curve(r, s, &curves[i]);
    markup_put(&r->page, "</div></details>\n");
}

bool report_curves(struct report *r)
{
    for (size_t i = 0; i < r->metrics.count; i++)
        put_stage(r, &r->metrics.stages[i]);
    return r->metrics.count ? true : report_missing(r, "No stage has made a step yet (metrics.jsonl is empty).");
}
