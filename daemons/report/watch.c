/* watch.c - the completions with the highest rewards. A policy that has learnt to please its reward model and nobody else shows
 * here first. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/completions.h"

enum { POLICIES = 8, SHOWN = 8 };

#define HEAD "<thead><tr><th scope=\"col\">reward</th><th scope=\"col\">prompt</th><th scope=\"col\">completion</th></tr></thead>"

static int by_reward(const void *a, const void *b)
{
    double x = completions_number(*(json_t *const *)a, "reward"), y = completions_number(*(json_t *const *)b, "reward");

    return (x < y) - (x > y);
}

static void put_row(struct markup *m, const json_t *line)
{
    markup_put(m, "<tr><td>");
    markup_number(m, completions_number(line, "reward"));
    markup_put(m, "</td><td class=\"text\">");
    markup_text(m, completions_text(line, "prompt"));
    markup_put(m, "</td><td class=\"text\">");
    markup_text(m, completions_text(line, "completion") + strspn(completions_text(line, "completion"), " "));
    markup_put(m, "</td></tr>");
}

/* The best of a policy, each text once. */
static bool put_best(struct report *r, const struct completions *c, bool open)
{
    size_t all = json_array_size(c->lines), count = 0, shown = 0;
    json_t **sorted = calloc(all, sizeof *sorted), *line;
    size_t i;

    json_array_foreach(c->lines, i, line)
    {
        if (sorted && isfinite(completions_number(line, "reward")))
            sorted[count++] = line;
    }
    if (count == 0) {
        free(sorted);
        return false;
    }
    qsort(sorted, count, sizeof *sorted, by_reward);
    markup_put(&r->page, "<details%s><summary><b>", open ? " open" : "");
    markup_text(&r->page, c->policy);
    markup_put(&r->page, "</b> <span>at the evaluation ");
    markup_text(&r->page, c->stage);
    markup_put(&r->page, "</span></summary><div class=\"scroll\"><table class=\"texts\">" HEAD "<tbody>");
    for (i = 0; i < count && shown < SHOWN; i++) {
        if (i > 0 && strcmp(completions_text(sorted[i], "completion"), completions_text(sorted[i - 1], "completion")) == 0)
            continue;
        put_row(&r->page, sorted[i]);
        shown++;
    }
    markup_put(&r->page, "</tbody></table></div></details>\n");
    free(sorted);
    return true;
}

/* What the watch over a policy stage left: watch/STAGE.json. */
static bool put_stage(struct report *r, const char *stage)
{
    json_t *o = rundir_json(r->run, "watch/%s.json", stage), *samples = json_object_get(o, "samples"), *line;
    struct markup *m = &r->page;
    const char *why = completions_text(o, "why");
    size_t i;

    if (*why) {
        markup_put(m, "<p class=\"verdict fails\"><b>");
        markup_text(m, stage);
        markup_put(m, " was paused</b> \u2013 ");
        markup_text(m, why);
        markup_put(m, "</p>");
    }
    if (json_array_size(samples) > 0) {
        markup_put(m, "<details open><summary><b>");
        markup_text(m, stage);
        markup_put(m, "</b> <span>while it was trained, iteration ");
        markup_number(m, completions_number(o, "iteration"));
        markup_put(m, "</span></summary><div class=\"scroll\"><table class=\"texts\">" HEAD "<tbody>");
        json_array_foreach(samples, i, line)
        {
            if (i < SHOWN)
                put_row(m, line);
        }
        markup_put(m, "</tbody></table></div></details>\n");
    }
    i = json_array_size(samples);
    json_decref(o);
    return i > 0;
}

bool report_watch(struct report *r)
{
    struct completions policies[POLICIES];
    size_t count = completions_read(r, policies, POLICIES), shown = 0, stages = rlhf_run_stages(&r->run->run);

    for (size_t i = 0; (i = report_next(r, i, RLHF_STAGE_POLICY)) < stages; i++)
        shown += put_stage(r, report_stage_name(r, i));

    for (size_t i = 0; i < count; i++)
        shown += put_best(r, &policies[i], shown == 0 && i + 1 == count);
    completions_free(policies, count);
    return shown ? true : report_missing(r, "No policy stage has ended, and no evaluate stage with a reward model has completed prompts yet.");
}
