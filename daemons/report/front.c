/* front.c - KL against reward: the path of every policy stage, and its over-optimisation front, the most reward that was had
 * for at most so much KL (after Gao et al., "Scaling laws for reward model overoptimization", 2023). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/sections.h"

enum { SMOOTH = 5 }; /* iterations of a moving average: one is noisy */

struct path {
    double *kl, *reward;          /* [rows] smoothed          */
    double *front_kl, *front;     /* [front_count] a staircase */
    char (*note)[48];             /* [rows] */
    const char **notes;           /* [rows] */
    size_t rows, front_count, best;
};

static double around(const double *values, size_t rows, size_t at)
{
    double sum = 0, n = 0;

    for (size_t i = at < SMOOTH / 2 ? 0 : at - SMOOTH / 2; i <= at + SMOOTH / 2 && i < rows; i++)
        if (isfinite(values[i])) {
            sum += values[i];
            n++;
        }
    return n > 0 ? sum / n : NAN;
}

static int by_kl(const void *a, const void *b, void *ctx)
{
    const struct path *p = ctx;
    double x = p->kl[*(const size_t *)a], y = p->kl[*(const size_t *)b];

    return (x > y) - (x < y);
}

static void put_step(struct path *p, double kl, double reward)
{
    p->front_kl[p->front_count] = kl;
    p->front[p->front_count++] = reward;
}

static void find_front(struct path *p, size_t *order)
{
    double best = -INFINITY, last = 0;

    for (size_t i = 0; i < p->rows; i++)
        order[i] = i;
    qsort_r(order, p->rows, sizeof *order, by_kl, p);
    for (size_t i = 0; i < p->rows; i++) {
        size_t at = order[i];
        if (!isfinite(p->kl[at]) || !isfinite(p->reward[at]) || p->reward[at] <= best)
            continue;
        if (p->front_count > 0)
            put_step(p, p->kl[at], best);
        best = p->reward[at];
        p->best = at;
        put_step(p, p->kl[at], best);
        last = p->kl[at];
    }
    for (size_t i = p->rows; i-- > 0 && p->front_count > 0;)
        if (isfinite(p->kl[order[i]])) {
            if (p->kl[order[i]] > last)
                put_step(p, p->kl[order[i]], best);
            break;
        }
}

static void path_free(struct path *p)
{
    free(p->kl);
    free(p->note);
    free(p->notes);
    *p = (struct path){0};
}

static bool path_make(struct path *p, const struct report_stage *s)
{
    const double *kl = report_metrics_of(s, "kl"), *reward = report_metrics_of(s, "reward"), *step = report_metrics_of(s, "step");
    size_t *order;

    *p = (struct path){.rows = s->rows};
    if (!kl || !reward || !step || s->rows < 2)
        return false;
    p->kl = calloc(6 * s->rows + 2, sizeof *p->kl);
    p->note = calloc(s->rows, sizeof *p->note);
    p->notes = calloc(s->rows, sizeof *p->notes);
    order = calloc(s->rows, sizeof *order);
    if (!p->kl || !p->note || !p->notes || !order) {
        free(order);
        path_free(p);
        return false;
    }
    p->reward = p->kl + s->rows;
    p->front_kl = p->reward + s->rows;
    p->front = p->front_kl + 2 * s->rows + 1;
    for (size_t i = 0; i < s->rows; i++) {
        p->kl[i] = around(kl, s->rows, i);
        p->reward[i] = around(reward, s->rows, i);
        snprintf(p->note[i], sizeof p->note[i], "iteration %.0f", step[i]);
        p->notes[i] = p->note[i];
    }
    find_front(p, order);
    free(order);
    if (p->front_count == 0)
        path_free(p);
    return p->front_count > 0;
}

/* Where the path stands at its end, against the best of its front. */
static void verdict(const struct path *p, const char *stage, char *out, size_t size)
{
    double end = p->reward[p->rows - 1], best = p->reward[p->best], at = p->kl[p->best];
    char a[MARKUP_NUMBER], b[MARKUP_NUMBER], c[MARKUP_NUMBER], d[MARKUP_NUMBER];

    markup_format(a, best), markup_format(b, at), markup_format(c, end), markup_format(d, p->kl[p->rows - 1]);
    if (end < best - 0.02 * fabs(best))
        snprintf(out, size, "%s: best %s at KL %s, and %s at the end, at KL %s.", stage, a, b, c, d);
    else
        snprintf(out, size, "%s: ends at its best, %s at KL %s.", stage, c, d);
}

static void add(struct plot *p, const struct path *path, const char *stage, unsigned colour)
{
    if (p->count + 2 > PLOT_SERIES)
        return;
    p->series[p->count++] = (struct plot_series){.name = stage, .x = path->kl, .y = path->reward, .notes = path->notes,
                                                 .count = path->rows, .colour = colour, .points = true, .line = path->rows < 200};
}

bool report_front(struct report *r)
{
    enum { MOST = PLOT_SERIES / 2 };
    struct path paths[MOST] = {{0}};
    struct plot p = {.title = "Reward by KL, mean of five iterations", .x = "KL to the reference, nats a completion",
                     .y = "reward", .wide = true};
    char notes[MOST * 200 + 40] = "Dashed: the front. ";
    size_t count = 0;

    for (size_t i = 0; i < r->metrics.count && count < MOST; i++) { /* a gate's further tries are not in the run file */
        const struct report_stage *s = &r->metrics.stages[i];
        size_t used = strlen(notes);
        if (!path_make(&paths[count], s))
            continue;
        add(&p, &paths[count], s->name, (unsigned)count);
        p.series[p.count++] = (struct plot_series){.x = paths[count].front_kl, .y = paths[count].front,
                                                   .count = paths[count].front_count, .colour = (unsigned)count, .line = true,
                                                   .dashed = true, .silent = true};
        verdict(&paths[count], s->name, notes + used, sizeof notes - used - 1);
        strcat(notes, " ");
        count++;
    }
    p.note = notes;
    if (count > 0)
        plot_put(&r->page, &p);
    for (size_t i = 0; i < MOST; i++)
        path_free(&paths[i]);
    return count ? true : report_missing(r, "No policy stage has made two iterations yet.");
}
