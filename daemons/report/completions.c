#include "report/completions.h"

#include <math.h>
#include <string.h>

static bool on_line(void *ctx, json_t *line)
{
    if (json_is_string(json_object_get(line, "prompt")) && json_is_string(json_object_get(line, "completion")))
        json_array_append(ctx, line);
    return true;
}

size_t completions_read(struct report *r, struct completions *out, size_t most)
{
    size_t count = 0;

    for (size_t i = rlhf_run_stages(&r->run->run); count == 0 && i-- > 0;) {
        if (!rlhf_run_stage(&r->run->run, i)->evaluate)
            continue;
        for (size_t j = 0; j < report_policies(r, i)->count && count < most; j++) {
            struct completions c = {report_stage_name(r, i), report_policies(r, i)->items[j], json_array()};
            rundir_lines(r->run, on_line, c.lines, "evaluations/%s/%s.jsonl", c.stage, c.policy);
            if (json_array_size(c.lines) > 0)
                out[count++] = c;
            else
                json_decref(c.lines);
        }
    }
    return count;
}

void completions_free(struct completions *c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        json_decref(c[i].lines);
}

const char *completions_text(const json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key)) ?: "";
}

double completions_number(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}
