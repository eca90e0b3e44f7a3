#include "evaluation/report.h"

#include <math.h>

static json_t *number(bool there, double x)
{
    return there && isfinite(x) ? json_real(x) : json_null();
}

static json_t *estimate_json(const struct rlhf_estimate *e, enum rlhf_better better)
{
    static const char *const names[] = { [RLHF_NEITHER] = "neither", [RLHF_HIGHER] = "higher", [RLHF_LOWER] = "lower" };

    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:s, s:s}", "value", number(true, e->value), "low", number(e->interval, e->low),
                     "high", number(e->interval, e->high), "stderr", number(e->interval, e->error), "n",
                     (json_int_t)e->count, "interval", e->method, "better", names[better]);
}

json_t *rlhf_figures_json(const struct rlhf_figures *f)
{
    json_t *o = json_object();

    for (size_t i = 0; o && i < f->count; i++)
        if (rlhf_figure_units(&f->at[i]) > 0) {
            struct rlhf_estimate e = rlhf_estimate(&f->at[i]);

            json_object_set_new(o, f->at[i].name, estimate_json(&e, f->at[i].better));
        }
    return o;
}

json_t *rlhf_differences_json(const struct rlhf_figures *a, const struct rlhf_figures *b)
{
    json_t *o = json_object();

    for (size_t i = 0; o && i < a->count; i++) {
        const struct rlhf_figure *f = &a->at[i], *g = rlhf_figures_find(b, f->name);

        if (g && rlhf_figure_units(f) > 0 && rlhf_figure_units(g) > 0) {
            struct rlhf_estimate e = rlhf_difference(f, g);

            json_object_set_new(o, f->name, estimate_json(&e, f->better));
        }
    }
    return o;
}
