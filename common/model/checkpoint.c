#include "model/checkpoint.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/scan.h"

void rlhf_checkpoint_close(struct rlhf_checkpoint *k)
{
    for (size_t i = 0; i < k->files; i++) {
        rlhf_safetensors_free(&k->parts[i]);
        rlhf_unmap(&k->maps[i]);
    }
    free(k->parts);
    free(k->maps);
    free(k->names);
    free(k->tensors);
    *k = (struct rlhf_checkpoint){ 0 };
}

static int make_room(struct rlhf_checkpoint *k, size_t files, struct rlhf_error *err)
{
    k->maps = calloc(files, sizeof *k->maps);
    k->parts = calloc(files, sizeof *k->parts);
    k->names = calloc(files, sizeof *k->names);
    return k->maps && k->parts && k->names ? 0 : rlhf_fail(err, RLHF_FULL, "no memory for %zu files", files);
}

/* ---- the tensors of all files ----------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct rlhf_safetensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static const char *file_of(const struct rlhf_checkpoint *k, const struct rlhf_safetensor *t)
{
    size_t i = 0;

    while (t < k->parts[i].tensors || t >= k->parts[i].tensors + k->parts[i].count)
        i++;
    return k->names[i];
}

static int collect(struct rlhf_checkpoint *k, struct rlhf_error *err)
{
    size_t count = 0;

    for (size_t i = 0; i < k->files; i++)
        count += k->parts[i].count;
    if (!(k->tensors = calloc(count + 1, sizeof *k->tensors)))
        return rlhf_fail(err, RLHF_FULL, "no memory for a list of %zu tensors", count);
    for (size_t i = 0; i < k->files; i++)
        for (size_t j = 0; j < k->parts[i].count; j++)
            k->tensors[k->count++] = &k->parts[i].tensors[j];
    qsort(k->tensors, count, sizeof *k->tensors, by_name);
    for (size_t i = 1; i < count; i++)
        if (strcmp(k->tensors[i - 1]->name, k->tensors[i]->name) == 0)
            return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s stands in %.60s and in %.60s", k->tensors[i]->name,
                             file_of(k, k->tensors[i - 1]), file_of(k, k->tensors[i]));
    return 0;
}

const struct rlhf_safetensor *rlhf_checkpoint_find(const struct rlhf_checkpoint *k, const char *name)
{
    const struct rlhf_safetensor wanted = { .name = name }, *key = &wanted;
    const struct rlhf_safetensor **found = k->count ? bsearch(&key, k->tensors, k->count, sizeof *k->tensors, by_name)
                                                    : NULL;

    return found ? *found : NULL;
}

void rlhf_checkpoint_release(const struct rlhf_checkpoint *k, const struct rlhf_safetensor *t)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)t->data / page * page;
    size_t i = 0;

    while (t < k->parts[i].tensors || t >= k->parts[i].tensors + k->parts[i].count)
        i++;
    if (k->maps[i].data && t->size) /* neighbours on its first and last page are read from the file again, no more */
        madvise((void *)from, (uintptr_t)t->data + t->size - from, MADV_DONTNEED);
}

/* ---- files ------------------------------------------------------------------------------------------ */

static int open_file(struct rlhf_checkpoint *k, const char *dir, const char *name, struct rlhf_error *err)
{
    size_t i = k->files;
    char path[PATH_MAX];

    if (rlhf_path(path, sizeof path, dir, name, err) < 0 || rlhf_map_file(&k->maps[i], path, err) < 0)
        return -1;
    if (rlhf_safetensors_parse(&k->parts[i], k->maps[i].data, k->maps[i].size, err) < 0) {
        rlhf_unmap(&k->maps[i]);
        return rlhf_fail_prefix(err, "%.200s", path);
    }
    snprintf(k->names[i], sizeof k->names[i], "%s", name);
    k->files++;
    return 0;
}

int rlhf_checkpoint_view(struct rlhf_checkpoint *k, const void *data, size_t size, struct rlhf_error *err)
{
    *k = (struct rlhf_checkpoint){ 0 };
    if (make_room(k, 1, err) == 0 && rlhf_safetensors_parse(&k->parts[0], data, size, err) == 0) {
        k->files = 1;
        if (collect(k, err) == 0)
            return 0;
    }
    rlhf_checkpoint_close(k);
    return -1;
}

/* ---- the index: {"metadata": {...}, "weight_map": {"tensor": "file", ...}} --------------------------- */

struct entry {
    const char *tensor, *file;
};

struct index {
    struct rlhf_bytes text;
    char *names; /* storage */
    struct entry *entries;
    size_t count, room;
};

static void free_index(struct index *x)
{
    rlhf_bytes_free(&x->text);
    free(x->names);
    free(x->entries);
}

static bool is_local(const char *file)
{
    return file[0] && file[0] != '.' && !strchr(file, '/') && strlen(file) < 256;
}

static int read_map(struct index *x, struct rlhf_scan *r)
{
    if (!rlhf_scan_take(r, '{'))
        return rlhf_scan_expected(r, "{");
    if (rlhf_scan_take(r, '}'))
        return 0;
    do {
        struct entry e;

        if (rlhf_scan_name(r, &e.tensor) < 0)
            return -1;
        if (!rlhf_scan_take(r, ':'))
            return rlhf_scan_expected(r, ":");
        if (rlhf_scan_name(r, &e.file) < 0)
            return -1;
        if (!is_local(e.file))
            return rlhf_fail(r->err, RLHF_CORRUPT, "weight_map: %.80s is not in a file of this directory", e.tensor);
        if (x->count == x->room)
            return rlhf_scan_expected(r, "fewer tensors");
        x->entries[x->count++] = e;
    } while (rlhf_scan_take(r, ','));
    return rlhf_scan_take(r, '}') ? 0 : rlhf_scan_expected(r, ", or }");
}

static int read_index(struct index *x, struct rlhf_error *err)
{
    struct rlhf_scan r = { .what = "it", .begin = x->text.data, .at = x->text.data,
                           .end = x->text.data + x->text.size, .err = err };
    bool found = false;

    x->room = x->text.size / 8 + 1; /* bytes of the shortest entry: "a":"b", */
    x->names = r.names = malloc(x->text.size + 1);
    x->entries = calloc(x->room, sizeof *x->entries);
    if (!x->names || !x->entries)
        return rlhf_fail(err, RLHF_FULL, "no memory for an index of %zu bytes", x->text.size);
    if (!rlhf_scan_take(&r, '{'))
        return rlhf_scan_expected(&r, "{");
    do {
        const char *key;

        if (rlhf_scan_name(&r, &key) < 0)
            return -1;
        if (!rlhf_scan_take(&r, ':'))
            return rlhf_scan_expected(&r, ":");
        if (strcmp(key, "weight_map") == 0 && found)
            return rlhf_fail(err, RLHF_CORRUPT, "weight_map stands there twice");
        found = found || strcmp(key, "weight_map") == 0;
        if ((strcmp(key, "weight_map") == 0 ? read_map(x, &r) : rlhf_scan_skip(&r)) < 0)
            return -1;
    } while (rlhf_scan_take(&r, ','));
    if (!rlhf_scan_take(&r, '}'))
        return rlhf_scan_expected(&r, ", or }");
    rlhf_scan_space(&r);
    if (r.at != r.end)
        return rlhf_scan_expected(&r, "nothing more");
    return found ? 0 : rlhf_fail(err, RLHF_CORRUPT, "weight_map is missing");
}

static int by_file(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return strcmp(x->file, y->file);
}

/* Entries sorted by file: opens each, and looks for its tensors there. */
static int open_shards(struct rlhf_checkpoint *k, const char *dir, struct index *x, struct rlhf_error *err)
{
    size_t files = 0;

    if (x->count)
        qsort(x->entries, x->count, sizeof *x->entries, by_file);
    for (size_t i = 0; i < x->count; i++)
        files += i == 0 || strcmp(x->entries[i - 1].file, x->entries[i].file) != 0;
    if (files == 0 || files > RLHF_CHECKPOINT_FILES)
        return rlhf_fail(err, RLHF_CORRUPT, "weight_map names %zu files, needs 1 to %d", files, RLHF_CHECKPOINT_FILES);
    if (make_room(k, files, err) < 0)
        return -1;
    for (size_t i = 0; i < x->count; i++) {
        const struct entry *e = &x->entries[i];

        if ((i == 0 || strcmp(e[-1].file, e->file) != 0) && open_file(k, dir, e->file, err) < 0)
            return -1;
        if (!rlhf_safetensors_find(&k->parts[k->files - 1], e->tensor))
            return rlhf_fail(err, RLHF_CORRUPT, "weight_map: %.80s is missing in %.80s", e->tensor, e->file);
    }
    return 0;
}

static int open_index(struct rlhf_checkpoint *k, const char *dir, const char *path, struct rlhf_error *err)
{
    struct index x = { 0 };
    int rc = rlhf_read_file(&rlhf_system_io, path, RLHF_CHECKPOINT_INDEX, &x.text, err);

    if (rc == 0 && (read_index(&x, err) < 0 || open_shards(k, dir, &x, err) < 0))
        rc = rlhf_fail_prefix(err, "%.200s", path);
    free_index(&x);
    return rc;
}

int rlhf_checkpoint_open(struct rlhf_checkpoint *k, const char *dir, struct rlhf_error *err)
{
    char path[PATH_MAX], index[PATH_MAX];
    int rc;

    *k = (struct rlhf_checkpoint){ 0 };
    if (rlhf_path(path, sizeof path, dir, "model.safetensors", err) < 0
        || rlhf_path(index, sizeof index, dir, "model.safetensors.index.json", err) < 0)
        return -1;
    if (rlhf_exists(&rlhf_system_io, path))
        rc = make_room(k, 1, err) < 0 ? -1 : open_file(k, dir, "model.safetensors", err);
    else if (rlhf_exists(&rlhf_system_io, index))
        rc = open_index(k, dir, index, err);
    else
        rc = rlhf_fail(err, RLHF_REJECT, "%.200s: neither model.safetensors nor model.safetensors.index.json is there",
                       dir);
    if (rc == 0 && collect(k, err) < 0)
        rc = rlhf_fail_prefix(err, "%.200s", dir);
    if (rc < 0)
        rlhf_checkpoint_close(k);
    return rc;
}
