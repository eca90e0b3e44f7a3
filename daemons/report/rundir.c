#include "report/rundir.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"

enum { PATH = 1024 };

void rundir_problem(struct rundir *d, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(d->problems, json_string(text) ?: json_string("a problem whose text is not UTF-8"));
}

void rundir_warn(const struct rundir *d)
{
    json_t *text;
    size_t i;

    json_array_foreach(d->problems, i, text) fprintf(stderr, "rlhfctl: %s: %s\n", d->path, json_string_value(text));
}

static bool below(const struct rundir *d, char *path, const char *fmt, va_list ap)
{
    int n = snprintf(path, PATH, "%s/", d->path), m;

    if (n < 0 || n >= PATH)
        return false;
    m = vsnprintf(path + n, (size_t)(PATH - n), fmt, ap);
    return m >= 0 && m < PATH - n;
}

/* The name below the run's directory, for people. */
static const char *name_of(const struct rundir *d, const char *path)
{
    return path + strlen(d->path) + 1;
}

/* False when the file is not there, or cannot be read: then that is a problem of d. */
static bool map_below(struct rundir *d, struct rlhf_mapping *file, char path[PATH], const char *fmt, va_list ap)
{
    struct rlhf_error err = {0};

    if (!below(d, path, fmt, ap) || !rlhf_exists(&rlhf_system_io, path))
        return false;
    if (rlhf_map_file(file, path, &err) == 0)
        return true;
    rundir_problem(d, "%s", err.text);
    return false;
}

json_t *rundir_json(struct rundir *d, const char *fmt, ...)
{
    struct rlhf_mapping file;
    json_error_t why;
    char path[PATH];
    json_t *o;
    va_list ap;
    bool there;

    va_start(ap, fmt);
    there = map_below(d, &file, path, fmt, ap);
    va_end(ap);
    if (!there)
        return NULL;
    if (!(o = json_loadb((const char *)file.data, file.size, 0, &why)))
        rundir_problem(d, "%s:%d: not JSON (%s); left out", name_of(d, path), why.line, why.text);
    rlhf_unmap(&file);
    return o;
}

static void read_lines(struct rundir *d, const char *path, const struct rlhf_mapping *file,
                       bool (*each)(void *ctx, json_t *line), void *ctx)
{
    const char *at = (const char *)file->data, *behind = at + file->size, *end;
    size_t number = 0, first = 0, bad = 0;
    bool more = true;

    for (; more && at < behind && (end = memchr(at, '\n', (size_t)(behind - at))); at = end + 1) {
        json_t *o = json_loadb(at, (size_t)(end - at), 0, NULL);
        number++;
        if (json_is_object(o)) {
            more = each(ctx, o);
        } else if (end > at) {
            first = first ? first : number;
            bad++;
        }
        json_decref(o);
    }
    if (bad)
        rundir_problem(d, "%s:%zu: not a JSON object%s; left out", name_of(d, path), first,
                           bad > 1 ? ", nor are others behind it" : "");
}

bool rundir_lines(struct rundir *d, bool (*each)(void *ctx, json_t *line), void *ctx, const char *fmt, ...)
{
    struct rlhf_mapping file;
    char path[PATH];
    va_list ap;
    bool there;

    va_start(ap, fmt);
    there = map_below(d, &file, path, fmt, ap);
    va_end(ap);
    if (!there)
        return false;
    read_lines(d, path, &file, each, ctx);
    rlhf_unmap(&file);
    return true;
}

const json_t *rundir_done(const struct rundir *d, const char *stage)
{
    return json_object_get(d->done, stage);
}

int rundir_open(struct rundir *d, const char *path, struct rlhf_error *err)
{
    char file[PATH];
    json_t *stages, *entry;
    size_t i;

    *d = (struct rundir){.path = path};
    if (rlhf_path(file, sizeof file, path, "settings.yaml", err) < 0)
        return -1;
    if (!rlhf_exists(&rlhf_system_io, file))
        return rlhf_fail(err, RLHF_REJECT, "%s is no run's directory: it has no settings.yaml, which the learner writes first",
                         path);
    if (rlhf_run_read(&d->run, file, err) < 0)
        return -1;
    d->done = json_object();
    d->problems = json_array();
    stages = rundir_json(d, "stages.json");
    json_array_foreach(stages, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name)
            json_object_set(d->done, name, entry);
    }
    json_decref(stages);
    return 0;
}

void rundir_close(struct rundir *d)
{
    rlhf_run_free(&d->run);
    json_decref(d->done);
    json_decref(d->problems);
    *d = (struct rundir){0};
}
