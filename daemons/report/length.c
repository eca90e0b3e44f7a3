/* length.c - reward against length, completion by completion. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/completions.h"

enum { POLICIES = 8, DOTS = 160 }; /* a policy */

struct cloud {
    double length[DOTS], reward[DOTS];
    size_t count;
};

/* Pearson's correlation over all completions; NaN where one of both does not vary. */
static double correlation(const json_t *lines)
{
    double n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    json_t *line;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)lines, i, line)
    {
        double a = completions_number(line, "tokens"), b = completions_number(line, "reward");
        if (!isfinite(a) || !isfinite(b))
            continue;
        n++;
        x += a, y += b, xx += a * a, yy += b * b, xy += a * b;
    }
    return (n * xy - x * y) / sqrt((n * xx - x * x) * (n * yy - y * y));
}

static void take(struct cloud *c, const json_t *lines)
{
    size_t all = json_array_size(lines), every = (all + DOTS - 1) / DOTS;

    for (size_t i = 0; i < all && c->count < DOTS; i += every) {
        const json_t *line = json_array_get(lines, i);
        c->length[c->count] = completions_number(line, "tokens");
        c->reward[c->count] = completions_number(line, "reward");
        if (isfinite(c->length[c->count]) && isfinite(c->reward[c->count]))
            c->count++;
    }
}

bool report_length(struct report *r)
{
    struct completions policies[POLICIES];
    struct cloud *clouds = calloc(POLICIES, sizeof *clouds);
    size_t count = completions_read(r, policies, POLICIES), used = 0;
    char note[POLICIES * 60] = "Correlation of reward and length: ";
    struct plot p = {.x = "tokens", .y = "reward", .note = note, .wide = true};

    for (size_t i = 0; clouds && i < count; i++) {
        size_t n = strlen(note);
        char number[MARKUP_NUMBER];
        take(&clouds[i], policies[i].lines);
        if (clouds[i].count == 0)
            continue;
        snprintf(note + n, sizeof note - n, "%s%s %s", used++ ? ", " : "", policies[i].policy,
                 markup_format(number, round(100 * correlation(policies[i].lines)) / 100));
        p.series[p.count++] = (struct plot_series){.name = policies[i].policy, .x = clouds[i].length, .y = clouds[i].reward,
                                                   .count = clouds[i].count, .colour = (unsigned)i, .points = true};
    }
    if (p.count > 0) {
        char title[200];
        snprintf(title, sizeof title, "Completions of %s", policies[0].stage);
        p.title = title;
        plot_put(&r->page, &p);
    }
    completions_free(policies, count);
    free(clouds);
    return p.count ? true : report_missing(r, "No evaluate stage with a reward model has completed prompts yet.");
}
