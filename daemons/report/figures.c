#include "report/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/sections.h"

enum { DEEPEST = 6 };

static double number_in(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void add(struct figures *f, const char *path, double value, double low, double high)
{
    struct figure *grown = reallocarray(f->items, f->count + 1, sizeof *grown);

    if (!grown)
        return;
    f->items = grown;
    grown = &grown[f->count++];
    snprintf(grown->path, sizeof grown->path, "%s", path);
    grown->value = value;
    grown->low = isfinite(low) && isfinite(high) ? low : 1;
    grown->high = isfinite(low) && isfinite(high) ? high : 0;
}

static void walk(struct figures *f, const json_t *o, const char *path, int depth)
{
    char below[FIGURE_PATH];
    const char *key;
    json_t *value;

    if (depth > DEEPEST)
        return;
    if (json_is_number(json_object_get(o, "value"))) {
        add(f, path, number_in(o, "value"), number_in(o, "low"), number_in(o, "high"));
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", key);
        if (json_is_object(value))
            walk(f, value, below, depth + 1);
        else if (json_is_number(value) && strcmp(key, "low") != 0 && strcmp(key, "high") != 0)
            add(f, below, json_number_value(value), strcmp(key, "accuracy") == 0 ? number_in(o, "low") : (double)NAN,
                strcmp(key, "accuracy") == 0 ? number_in(o, "high") : (double)NAN);
    }
}

struct figures figures_of(const json_t *model)
{
    struct figures f = {0};

    walk(&f, model, "", 0);
    return f;
}

void figures_free(struct figures *f)
{
    free(f->items);
    *f = (struct figures){0};
}

const struct figure *figures_find(const struct figures *f, const char *path)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->items[i].path, path) == 0)
            return &f->items[i];
    return NULL;
}

/* ---- the section --------------------------------------------------------------------------------------- */

static void put_cell(struct markup *m, const struct figure *f)
{
    markup_put(m, "<td>");
    if (f) {
        markup_number(m, f->value);
        if (f->low <= f->high) {
            markup_put(m, " <small>");
            markup_number(m, f->low);
            markup_put(m, "\u2013");
            markup_number(m, f->high);
            markup_put(m, "</small>");
        }
    }
    markup_put(m, "</td>");
}

/* Has a row already, by a policy before `index`? */
static bool was_seen(const struct figures *all, size_t index, const char *path)
{
    for (size_t i = 0; i < index; i++)
        if (figures_find(&all[i], path))
            return true;
    return false;
}

static void put_table(struct markup *m, const char *stage, const json_t *models)
{
    size_t count = json_object_size(models), i = 0;
    struct figures *all = calloc(count ? count : 1, sizeof *all);
    const char *name;
    json_t *model;

    markup_put(m, "<div class=\"scroll\"><table><caption>");
    markup_text(m, stage);
    markup_put(m, "</caption><thead><tr><th scope=\"col\">measured</th>");
    json_object_foreach((json_t *)(uintptr_t)models, name, model)
    {
        markup_put(m, "<th scope=\"col\">");
        markup_text(m, name);
        markup_put(m, "</th>");
        if (all)
            all[i++] = figures_of(model);
    }
    markup_put(m, "</tr></thead><tbody>");
    for (i = 0; all && i < count; i++)
        for (size_t j = 0; j < all[i].count; j++) {
            const char *path = all[i].items[j].path;
            if (was_seen(all, i, path))
                continue;
            markup_put(m, "<tr><th scope=\"row\">");
            markup_text(m, path);
            markup_put(m, "</th>");
            for (size_t k = 0; k < count; k++)
                put_cell(m, figures_find(&all[k], path));
            markup_put(m, "</tr>");
        }
    markup_put(m, "</tbody></table></div>\n");
    for (i = 0; all && i < count; i++)
        figures_free(&all[i]);
    free(all);
}

bool report_figures(struct report *r)
{
    size_t stages = rlhf_run_stages(&r->run->run), shown = 0, known = 0;

    for (size_t i = 0; (i = report_next(r, i, RLHF_STAGE_EVALUATE)) < stages; i++) {
        const char *name = report_stage_name(r, i);
        json_t *all = rundir_json(r->run, "evaluations/%s/metrics.json", name), *models = json_object_get(all, "models");
        known++;
        if (json_object_size(models) > 0) {
            put_table(&r->page, name, models);
            shown++;
        } else {
            report_missing(r, "%s has not measured its policies yet.", name);
        }
        json_decref(all);
    }
    return known ? shown > 0 : report_missing(r, "The run file has no evaluate stage.");
}
