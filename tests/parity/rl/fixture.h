/* fixture.h - one safetensors file of the golden fixtures as arrays of double. For tests: any surprise exits.
 */
#ifndef TESTS_PARITY_RL_FIXTURE_H
#define TESTS_PARITY_RL_FIXTURE_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    unsigned char *bytes;
    size_t size;
    json_t *header;
};

static inline void fixture_die(const char *what, const char *name)
{
    fprintf(stderr, "fixture: %s: %s\n", what, name);
    exit(2);
}

static inline struct fixture fixture_open(const char *path)
{
    struct fixture f = {0};
    uint64_t header;
    FILE *file = fopen(path, "rb");

    if (!file)
        fixture_die("cannot open", path);
    fseek(file, 0, SEEK_END);
    f.size = (size_t)ftell(file);
    rewind(file);
    f.bytes = malloc(f.size);
    if (f.size < 8 || fread(f.bytes, 1, f.size, file) != f.size)
        fixture_die("cannot read", path);
    fclose(file);
    memcpy(&header, f.bytes, 8);
    f.header = json_loadb((const char *)f.bytes + 8, header, 0, NULL);
    if (!f.header)
        fixture_die("header is not JSON", path);
    return f;
}

static inline void fixture_close(struct fixture *f)
{
    json_decref(f->header);
    free(f->bytes);
}

/* A tensor as doubles (F32 or I64), its shape in *rows × *columns (a vector has one column; a matrix of
 * higher rank keeps its last dimension as columns). Freed by the caller. NULL when absent. */
static inline double *fixture_get(const struct fixture *f, const char *name, size_t *rows, size_t *columns)
{
    json_t *entry = json_object_get(f->header, name), *shape, *offsets;
    const unsigned char *data;
    size_t count = 1, dims, last;
    uint64_t header;
    double *out;
    int wide;

    if (!entry)
        return NULL;
    memcpy(&header, f->bytes, 8);
    shape = json_object_get(entry, "shape");
    offsets = json_object_get(entry, "data_offsets");
    dims = json_array_size(shape);
    for (size_t i = 0; i < dims; i++)
        count *= (size_t)json_integer_value(json_array_get(shape, i));
    last = dims > 1 ? (size_t)json_integer_value(json_array_get(shape, dims - 1)) : 1;
    if (rows)
        *rows = count / last;
    if (columns)
        *columns = last;
    wide = strcmp(json_string_value(json_object_get(entry, "dtype")), "I64") == 0;
    data = f->bytes + 8 + header + (size_t)json_integer_value(json_array_get(offsets, 0));
    out = malloc((count ? count : 1) * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        if (wide) {
            int64_t v;
            memcpy(&v, data + 8 * i, 8);
            out[i] = (double)v;
        } else {
            float v;
            memcpy(&v, data + 4 * i, 4);
            out[i] = v;
        }
    }
    return out;
}

#endif
