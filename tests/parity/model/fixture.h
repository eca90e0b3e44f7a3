/* fixture.h - reading golden files and comparing with them; for the suites of this folder. */
#ifndef TESTS_PARITY_MODEL_FIXTURE_H
#define TESTS_PARITY_MODEL_FIXTURE_H

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/check.h"
#include "base/io.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "support/suite.h"
#include "tensor/ops.h"

enum { FIXTURE_PATH = PATH_MAX + 300 };

/* Where a kind of fixtures is: $RLHF_FIXTURES/kind, or $RLHF_SHARED/fixtures/kind. */
static inline void fixture_folder(const char *kind, char path[PATH_MAX])
{
    const char *fixtures = getenv("RLHF_FIXTURES"), *shared = getenv("RLHF_SHARED");

    if (fixtures)
        snprintf(path, PATH_MAX, "%s/%s", fixtures, kind);
    else
        snprintf(path, PATH_MAX, "%s/fixtures/%s", shared ? shared : "", kind);
    if (!rlhf_exists(&rlhf_system_io, path))
        skip("no fixtures: %s is not there (set RLHF_FIXTURES)", path);
}

/* The folders of a kind that hold a meta.json, by name. For the life of the process. */
struct fixtures {
    char folder[PATH_MAX];
    char *names[256];
    size_t count;
};

static inline int fixture_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void find_fixtures(struct fixtures *f, const char *kind)
{
    struct dirent *entry;
    DIR *dir;

    fixture_folder(kind, f->folder);
    if (!(dir = opendir(f->folder)))
        skip("%s is not a folder that can be read", f->folder);
    while ((entry = readdir(dir))) {
        char path[FIXTURE_PATH];

        snprintf(path, sizeof path, "%s/%s/meta.json", f->folder, entry->d_name);
        if (entry->d_name[0] == '.' || !rlhf_exists(&rlhf_system_io, path))
            continue;
        RLHF_ASSERT(f->count < sizeof f->names / sizeof f->names[0]);
        f->names[f->count++] = strdup(entry->d_name);
    }
    closedir(dir);
    qsort(f->names, f->count, sizeof *f->names, fixture_by_name);
}

/* A safetensors file, open until the process ends. */
struct golden {
    char path[FIXTURE_PATH];
    struct rlhf_mapping map;
    struct rlhf_safetensors tensors;
};

static inline void open_golden(struct golden *g)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_map_file(&g->map, g->path, &err), err);
    expect_ok(rlhf_safetensors_parse(&g->tensors, g->map.data, g->map.size, &err), err);
}

static inline void close_golden(struct golden *g)
{
    rlhf_safetensors_free(&g->tensors);
    rlhf_unmap(&g->map);
}

static inline const struct rlhf_safetensor *expected(const struct golden *g, const char *prefix, const char *what)
{
    const struct rlhf_safetensor *t;
    char name[200];

    snprintf(name, sizeof name, "%s%s", prefix, what);
    t = rlhf_safetensors_find(&g->tensors, name);
    ck_assert_msg(t != NULL, "%s has no %s", g->path, name);
    return t;
}

static inline json_t *json_at(const char *folder, const char *file)
{
    char path[FIXTURE_PATH];
    struct rlhf_error err = { 0 };
    json_t *root;

    expect_ok(rlhf_path(path, sizeof path, folder, file, &err), err);
    root = json_load_file(path, 0, NULL);
    ck_assert_msg(root != NULL, "%s is not JSON", path);
    return root;
}

static inline float f32(const struct rlhf_safetensor *t, size_t i)
{
    float value;

    ck_assert(t->dtype == RLHF_DTYPE_F32 && i < rlhf_safetensor_elements(t));
    memcpy(&value, t->data + i * sizeof value, sizeof value);
    return value;
}

static inline int64_t i64(const struct rlhf_safetensor *t, size_t i)
{
    int64_t value;

    ck_assert(t->dtype == RLHF_DTYPE_I64 && i < rlhf_safetensor_elements(t));
    memcpy(&value, t->data + i * sizeof value, sizeof value);
    return value;
}

/* Remembers the worst of many comparisons, against the tolerance absolute + relative * |expected|. */
struct comparison {
    double worst, at_worst_is, at_worst_wanted; /* worst: distance over tolerance */
    size_t compared;
};

static inline void compare(struct comparison *c, double is, double wanted, double absolute, double relative)
{
    double distance = fabs(is - wanted) / (absolute + relative * fabs(wanted));

    c->compared++;
    if (!(distance <= c->worst)) {
        c->worst = distance;
        c->at_worst_is = is;
        c->at_worst_wanted = wanted;
    }
}

static inline void expect_agreement(const struct comparison *c, const char *name, const char *what)
{
    ck_assert_msg(c->compared > 0, "%s: nothing of %s was compared", name, what);
    ck_assert_msg(c->worst <= 1, "%s: %s is %.9g where transformers has %.9g (%.1f times the tolerance)", name, what,
                  c->at_worst_is, c->at_worst_wanted, c->worst);
}

/* Ragged rows, packed. */
struct packed {
    size_t rows, width; /* B, S */
    size_t tokens;      /* T    */
    int32_t *ids;
    uint32_t *start;
    size_t *column; /* [T] where each token stood in its padded row */
};

/* The rows from `row` on of padded ids and their mask, whatever side the padding is on. */
static inline struct packed pack(const struct rlhf_safetensor *ids, const struct rlhf_safetensor *mask, size_t row,
                          size_t rows)
{
    struct packed p = { .rows = rows, .width = ids->shape[ids->dims - 1] };

    p.ids = calloc(p.rows * p.width, sizeof *p.ids);
    p.column = calloc(p.rows * p.width, sizeof *p.column);
    p.start = calloc(p.rows + 1, sizeof *p.start);
    for (size_t b = 0; b < p.rows; b++) {
        for (size_t s = 0; s < p.width; s++)
            if (i64(mask, (row + b) * p.width + s)) {
                p.column[p.tokens] = s;
                p.ids[p.tokens++] = (int32_t)i64(ids, (row + b) * p.width + s);
            }
        p.start[b + 1] = (uint32_t)p.tokens;
    }
    return p;
}

static inline void free_packed(struct packed *p)
{
    free(p->ids);
    free(p->column);
    free(p->start);
}

#endif
