#include "report/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    struct report_metrics *m;
    struct rlhf_error *err;
    bool failed;
};

static bool full(struct reading *r)
{
    r->failed = true;
    rlhf_fail(r->err, RLHF_FULL, "out of memory for metrics.jsonl");
    return false;
}

static struct report_stage *stage_of(struct report_metrics *m, const char *name)
{
    struct report_stage *grown;

    for (size_t i = m->count; i-- > 0;) /* lines of a stage stand together */
        if (strcmp(m->stages[i].name, name) == 0)
            return &m->stages[i];
    if (!(grown = reallocarray(m->stages, m->count + 1, sizeof *grown)))
        return NULL;
    m->stages = grown;
    grown[m->count] = (struct report_stage){.name = strdup(name)};
    return grown[m->count].name ? &grown[m->count++] : NULL;
}

static bool make_room(struct report_stage *s)
{
    size_t capacity = s->capacity ? 2 * s->capacity : 256;

    if (s->rows < s->capacity)
        return true;
    for (size_t i = 0; i < s->metric_count; i++) {
        double *grown = reallocarray(s->metrics[i].value, capacity, sizeof *grown);
        if (!grown)
            return false;
        s->metrics[i].value = grown;
    }
    s->capacity = capacity;
    return true;
}

static double *values_of(struct report_stage *s, const char *key)
{
    struct report_metric *grown;

    for (size_t i = 0; i < s->metric_count; i++)
        if (strcmp(s->metrics[i].key, key) == 0)
            return s->metrics[i].value;
    if (!(grown = reallocarray(s->metrics, s->metric_count + 1, sizeof *grown)))
        return NULL;
    s->metrics = grown;
    grown = &grown[s->metric_count];
    *grown = (struct report_metric){strdup(key), calloc(s->capacity, sizeof *grown->value)};
    s->metric_count++; /* freed whether whole or not */
    for (size_t i = 0; grown->value && i < s->rows; i++)
        grown->value[i] = NAN;
    return grown->key ? grown->value : NULL;
}

static bool on_line(void *ctx, json_t *line)
{
    struct reading *r = ctx;
    const char *name = json_string_value(json_object_get(line, "stage")), *key;
    struct report_stage *s;
    json_t *value;

    if (!name)
        return true;
    if (!(s = stage_of(r->m, name)) || !make_room(s))
        return full(r);
    for (size_t i = 0; i < s->metric_count; i++)
        s->metrics[i].value[s->rows] = NAN;
    json_object_foreach(line, key, value)
    {
        double *values;
        if (!json_is_number(value))
            continue;
        if (!(values = values_of(s, key)))
            return full(r);
        values[s->rows] = json_number_value(value);
    }
    s->rows++;
    return true;
}

int report_metrics_read(struct report_metrics *m, struct rundir *run, struct rlhf_error *err)
{
    struct reading r = {m, err, false};

    rundir_lines(run, on_line, &r, "metrics.jsonl");
    return r.failed ? -1 : 0;
}

void report_metrics_free(struct report_metrics *m)
{
    for (size_t i = 0; i < m->count; i++) {
        struct report_stage *s = &m->stages[i];
        for (size_t j = 0; j < s->metric_count; j++) {
            free(s->metrics[j].key);
            free(s->metrics[j].value);
        }
        free(s->metrics);
        free(s->name);
    }
    free(m->stages);
    *m = (struct report_metrics){0};
}

const struct report_stage *report_metrics_stage(const struct report_metrics *m, const char *stage)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->stages[i].name, stage) == 0)
            return &m->stages[i];
    return NULL;
}

const double *report_metrics_of(const struct report_stage *s, const char *key)
{
    for (size_t i = 0; s && i < s->metric_count; i++)
        if (strcmp(s->metrics[i].key, key) == 0)
            return s->metrics[i].value;
    return NULL;
}
