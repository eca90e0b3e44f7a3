#include "rlhfctl/summary.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static json_t *read_before(const char *path)
{
    struct rlhf_bytes text = {0};
    json_t *root = NULL;

    if (rlhf_exists(&rlhf_system_io, path) &&
        rlhf_read_file(&rlhf_system_io, path, 1u << 20, &text, NULL) == 0)
        root = json_loadb(text.data, text.size, 0, NULL);
    rlhf_bytes_free(&text);
    return root;
}

static json_t *stage_before(json_t *before, const char *name)
{
    json_t *stages = json_object_get(before, "stages");

    for (size_t i = 0; i < json_array_size(stages); i++) {
        json_t *stage = json_array_get(stages, i);
        const char *its = json_string_value(json_object_get(stage, "name"));
        if (its && strcmp(its, name) == 0)
            return stage;
    }
    return NULL;
}

static double larger(double now, json_t *before, const char *key)
{
    double then = json_number_value(json_object_get(before, key));

    return now > then ? now : then;
}

int ctl_summary_write(const char *path, const Rlhf__V1__Status *status, double seconds, unsigned restarts,
                      bool done, struct rlhf_error *err)
{
    json_t *before = read_before(path), *stages = json_array(), *root;
    char *text;
    int result;

    for (size_t i = 0; status && i < status->n_stages; i++) {
        const Rlhf__V1__StageStatus *s = status->stages[i];
        json_t *then = stage_before(before, s->name);
        json_array_append_new(stages,
                              json_pack("{s:s, s:s, s:f, s:I, s:I, s:b}", "name", s->name, "kind", s->kind,
                                        "seconds", larger(s->seconds, then, "seconds"), "steps",
                                        (json_int_t)larger((double)s->step, then, "steps"), "tokens",
                                        (json_int_t)larger((double)s->tokens, then, "tokens"), "done",
                                        s->done || done));
    }
    root = json_pack("{s:f, s:I, s:b, s:o}", "seconds",
                     seconds + json_number_value(json_object_get(before, "seconds")), "restarts",
                     (json_int_t)restarts + json_integer_value(json_object_get(before, "restarts")), "done",
                     done, "stages", stages);
    json_decref(before);
    text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(8)) : NULL;
    json_decref(root);
    if (!text)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %s", path);
    result = rlhf_write_file(&rlhf_system_io, path, text, strlen(text), err);
    free(text);
    return result;
}
