/* tax.c - the alignment tax: what each policy of an evaluation lost beside its reward, against the evaluation's reference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "report/figures.h"
#include "report/sections.h"
#include "rl/statistics.h"

enum { MOST = 16, BETTER = 0, WORSE = 1, NEUTRAL = 7 };

/* How many answers a share of exact matches is of. */
struct tally {
    const char *set;
    size_t count;
};

static bool on_answer(void *ctx, json_t *line)
{
    struct tally *t = ctx;
    const char *set = json_string_value(json_object_get(line, "set"));

    t->count += set && strcmp(set, t->set) == 0;
    return true;
}

static void label(char out[48], double value, double change, bool reference, const char *unit)
{
    char number[MARKUP_NUMBER];

    if (reference)
        snprintf(out, 48, "%s", markup_format(number, value));
    else
        snprintf(out, 48, "%s (%s%.1f%s)", markup_format(number, value),
                 fabs(change) < 0.05 ? "\u00b1" : change < 0 ? "\u2212" : "+", fabs(change), unit);
}

/* Perplexities: how much more than the reference's, in percent. */
static void put_perplexity(struct report *r, const char *path, const json_t *models, const char *reference)
{
    struct plot_bar bars[MOST];
    char notes[MOST][48], title[FIGURE_PATH + 40];
    struct figures of_reference = figures_of(json_object_get(models, reference));
    const struct figure *base = figures_find(&of_reference, path);
    const char *name;
    json_t *model;
    size_t count = 0;

    json_object_foreach((json_t *)(uintptr_t)models, name, model)
    {
        struct figures f = figures_of(model);
        const struct figure *mine = figures_find(&f, path);
        if (mine && base && count < MOST) {
            double change = 100 * (mine->value / base->value - 1);
            bool is_reference = strcmp(name, reference) == 0;
            label(notes[count], mine->value, change, is_reference, "\u202f%");
            bars[count] = (struct plot_bar){.name = name, .note = notes[count], .value = change, .low = 1, .high = 0,
                                            .colour = is_reference ? NEUTRAL : change > 0 ? WORSE : BETTER};
            count++;
        }
        figures_free(&f);
    }
    snprintf(title, sizeof title, "Perplexity: %s",
             rlhf_starts_with(path, "perplexity.") ? path + strlen("perplexity.") : "all files together");
    if (count > 0)
        plot_put_bars(&r->page, &(struct plot_bars){.title = title, .x = "% above the reference", .bars = bars, .count = count});
    figures_free(&of_reference);
}

/* Exact matches: the share itself, with its interval. */
static void put_exact(struct report *r, const char *stage, const char *path, const json_t *models, const char *reference)
{
    struct plot_bar bars[MOST];
    char notes[MOST][48], title[FIGURE_PATH + 40];
    struct figures of_reference = figures_of(json_object_get(models, reference));
    const struct figure *base = figures_find(&of_reference, path);
    const char *name, *set = path + strlen("exact.");
    json_t *model;
    size_t count = 0;

    json_object_foreach((json_t *)(uintptr_t)models, name, model)
    {
        struct figures f = figures_of(model);
        const struct figure *mine = figures_find(&f, path);
        if (mine && count < MOST) {
            double change = base ? 100 * (mine->value - base->value) : 0;
            bool is_reference = !base || strcmp(name, reference) == 0;
            struct tally t = {.set = set};
            struct rlhf_interval i;
            rundir_lines(r->run, on_answer, &t, "evaluations/%s/%s.exact.jsonl", stage, name);
            i = rlhf_wilson(mine->value * (double)t.count, (double)t.count, 1.96);
            label(notes[count], 100 * mine->value, change, is_reference, "");
            bars[count] = (struct plot_bar){.name = name, .note = notes[count], .value = 100 * mine->value,
                                            .low = t.count ? 100 * i.low : 1, .high = t.count ? 100 * i.high : 0,
                                            .colour = is_reference ? NEUTRAL : change < 0 ? WORSE : BETTER};
            count++;
        }
        figures_free(&f);
    }
    snprintf(title, sizeof title, "Exact match: %s", set);
    if (count > 0)
        plot_put_bars(&r->page, &(struct plot_bars){.title = title, .x = "% right, with 95\u202f% intervals", .bars = bars,
                                                    .count = count});
    figures_free(&of_reference);
}

static size_t put_evaluation(struct report *r, size_t index, const json_t *models)
{
    const struct rlhf_stage_evaluate *s = rlhf_run_stage(&r->run->run, index)->evaluate;
    const char *reference = s->reference && json_object_get(models, s->reference) ? s->reference : s->policies.items[0];
    struct figures f = figures_of(json_object_get(models, reference));
    size_t shown = 0;

    for (size_t i = 0; i < f.count; i++)
        shown += rlhf_starts_with(f.items[i].path, "perplexity") || rlhf_starts_with(f.items[i].path, "exact.");
    if (shown > 0) {
        markup_put(&r->page, "<h3>");
        markup_text(&r->page, s->name);
        markup_put(&r->page, " <small>against ");
        markup_text(&r->page, reference);
        markup_put(&r->page, "; <i class=\"swatch f0\"></i> better, <i class=\"swatch f1\"></i> worse</small></h3><div class=\"plots\">");
        for (size_t i = 0; i < f.count; i++) {
            if (rlhf_starts_with(f.items[i].path, "perplexity"))
                put_perplexity(r, f.items[i].path, models, reference);
            else if (rlhf_starts_with(f.items[i].path, "exact."))
                put_exact(r, s->name, f.items[i].path, models, reference);
        }
        markup_put(&r->page, "</div>\n");
    }
    figures_free(&f);
    return shown;
}

bool report_tax(struct report *r)
{
    size_t stages = rlhf_run_stages(&r->run->run), shown = 0;

    for (size_t i = 0; (i = report_next(r, i, RLHF_STAGE_EVALUATE)) < stages; i++) {
        json_t *all = rundir_json(r->run, "evaluations/%s/metrics.json", report_stage_name(r, i));
        if (json_object_size(json_object_get(all, "models")) > 0)
            shown += put_evaluation(r, i, json_object_get(all, "models"));
        json_decref(all);
    }
    return shown ? true : report_missing(r, "No evaluate stage has measured perplexity or exact matches yet.");
}
