#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "model/scan.h"
#include "tensor/ops.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [RLHF_DTYPE_F32] = { "F32", 4 }, [RLHF_DTYPE_F16] = { "F16", 2 }, [RLHF_DTYPE_BF16] = { "BF16", 2 },
    [RLHF_DTYPE_F64] = { "F64", 8 }, [RLHF_DTYPE_I64] = { "I64", 8 }, [RLHF_DTYPE_I32] = { "I32", 4 },
    [RLHF_DTYPE_I16] = { "I16", 2 }, [RLHF_DTYPE_I8] = { "I8", 1 },   [RLHF_DTYPE_U8] = { "U8", 1 },
    [RLHF_DTYPE_BOOL] = { "BOOL", 1 },
};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *rlhf_dtype_name(enum rlhf_dtype d)
{
    return dtypes[d].name;
}

size_t rlhf_dtype_size(enum rlhf_dtype d)
{
    return dtypes[d].size;
}

const char *rlhf_safetensor_shape(const struct rlhf_safetensor *t, char *text, size_t size)
{
    size_t used = 1;

    snprintf(text, size, "[");
    for (size_t i = 0; i < t->dims && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i ? ", " : "", t->shape[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
    return text;
}

size_t rlhf_safetensor_elements(const struct rlhf_safetensor *t)
{
    return t->size / rlhf_dtype_size(t->dtype);
}

/* ---- reading --------------------------------------------------------------------------------------- */

/* The header holds only this much of JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}, and
 * "__metadata__" with strings. */
/* A size: digits alone, as many as fit. */
static int read_size(struct rlhf_scan *r, size_t *out)
{
    const char *first;

    rlhf_scan_space(r);
    first = r->at;
    *out = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        if (!rlhf_mul_size(*out, 10, out) || !rlhf_add_size(*out, (size_t)(*r->at - '0'), out))
            return rlhf_scan_expected(r, "a smaller number");
        r->at++;
    }
    if (r->at == first || (*first == '0' && r->at - first > 1))
        return rlhf_scan_expected(r, "a size");
    return 0;
}

/* [size, ...] of at most `most`. */
static int read_sizes(struct rlhf_scan *r, size_t *sizes, size_t most, size_t *count)
{
    *count = 0;
    if (!rlhf_scan_take(r, '['))
        return rlhf_scan_expected(r, "a list of sizes");
    if (rlhf_scan_take(r, ']'))
        return 0;
    do {
        if (*count == most)
            return rlhf_fail(r->err, RLHF_CORRUPT, "byte %zu of the header: a list has more than %zu sizes",
                             (size_t)(r->at - r->begin), most);
        if (read_size(r, &sizes[(*count)++]) < 0)
            return -1;
    } while (rlhf_scan_take(r, ','));
    return rlhf_scan_take(r, ']') ? 0 : rlhf_scan_expected(r, ", or ]");
}

static int read_dtype(struct rlhf_scan *r, enum rlhf_dtype *dtype)
{
    const char *text;
    size_t size;

    if (rlhf_scan_string(r, &text, &size) < 0)
        return -1;
    for (int i = 0; i < DTYPES; i++)
        if (strlen(dtypes[i].name) == size && memcmp(text, dtypes[i].name, size) == 0) {
            *dtype = (enum rlhf_dtype)i;
            return 0;
        }
    return rlhf_fail(r->err, RLHF_CORRUPT, "dtype %.*s is not one of F32, F16, BF16, F64, I64, I32, I16, I8, U8, BOOL",
                     (int)(size < 20 ? size : 20), text);
}

/* The three members of a tensor, each once, in any order. place[2] are its data_offsets. */
static int read_members(struct rlhf_scan *r, struct rlhf_safetensor *t, size_t place[2])
{
    static const char *const names[] = { "dtype", "shape", "data_offsets" };
    unsigned seen = 0;

    if (!rlhf_scan_take(r, '{'))
        return rlhf_scan_expected(r, "{");
    do {
        const char *text;
        size_t size, count = 2, which = 0;
        int rc;

        if (rlhf_scan_string(r, &text, &size) < 0)
            return -1;
        while (which < 3 && (strlen(names[which]) != size || memcmp(text, names[which], size) != 0))
            which++;
        if (which == 3 || seen & 1u << which || !rlhf_scan_take(r, ':'))
            return rlhf_scan_expected(r, "dtype, shape and data_offsets, each once");
        seen |= 1u << which;
        rc = which == 0 ? read_dtype(r, &t->dtype)
             : which == 1 ? read_sizes(r, t->shape, RLHF_SAFETENSORS_DIMS, &t->dims) : read_sizes(r, place, 2, &count);
        if (rc < 0)
            return -1;
        if (count != 2)
            return rlhf_scan_expected(r, "two data_offsets");
    } while (rlhf_scan_take(r, ','));
    if (!rlhf_scan_take(r, '}') || seen != 7)
        return rlhf_scan_expected(r, "dtype, shape and data_offsets, and then }");
    return 0;
}

/* Puts the tensor into the `size` bytes of data behind the header. */
static int place_tensor(struct rlhf_safetensor *t, const size_t place[2], const uint8_t *data, size_t size,
                        struct rlhf_error *err)
{
    size_t bytes = rlhf_dtype_size(t->dtype);

    for (size_t i = 0; i < t->dims; i++)
        if (!rlhf_mul_size(bytes, t->shape[i], &bytes))
            return rlhf_fail(err, RLHF_CORRUPT, "the product of its shape is too large");
    if (place[0] > place[1] || place[1] > size)
        return rlhf_fail(err, RLHF_CORRUPT, "data_offsets [%zu, %zu] are not a range within the file's %zu bytes of "
                         "data (is it truncated?)", place[0], place[1], size);
    if (place[1] - place[0] != bytes)
        return rlhf_fail(err, RLHF_CORRUPT, "dtype and shape need %zu bytes, data_offsets give %zu", bytes,
                         place[1] - place[0]);
    t->data = data + place[0];
    t->size = bytes;
    return 0;
}

static int read_metadata(struct rlhf_scan *r)
{
    const char *text;
    size_t size;

    if (!rlhf_scan_take(r, '{'))
        return rlhf_scan_expected(r, "{");
    if (rlhf_scan_take(r, '}'))
        return 0;
    do {
        if (rlhf_scan_string(r, &text, &size) < 0)
            return -1;
        if (!rlhf_scan_take(r, ':'))
            return rlhf_scan_expected(r, ":");
        if (rlhf_scan_string(r, &text, &size) < 0)
            return -1;
    } while (rlhf_scan_take(r, ','));
    return rlhf_scan_take(r, '}') ? 0 : rlhf_scan_expected(r, ", or }");
}

static int read_member(struct rlhf_safetensors *s, struct rlhf_scan *r, const uint8_t *data, size_t size)
{
    struct rlhf_safetensor *t = &s->tensors[s->count];
    size_t place[2] = { 0, 0 };

    if (rlhf_scan_name(r, &t->name) < 0)
        return -1;
    if (!rlhf_scan_take(r, ':'))
        return rlhf_scan_expected(r, ":");
    if (strcmp(t->name, "__metadata__") == 0)
        return read_metadata(r);
    if (read_members(r, t, place) < 0 || place_tensor(t, place, data, size, r->err) < 0)
        return rlhf_fail_prefix(r->err, "tensor %.80s", t->name);
    s->count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct rlhf_safetensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static int by_place(const void *a, const void *b)
{
    const struct rlhf_safetensor *x = a, *y = b;

    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

/* The tensors must tile the data: no byte in two of them, none in no tensor. */
static int check_tiling(struct rlhf_safetensors *s, const uint8_t *data, size_t size, struct rlhf_error *err)
{
    const uint8_t *at = data;

    qsort(s->tensors, s->count, sizeof *s->tensors, by_place);
    for (size_t i = 0; i < s->count; i++) {
        if (s->tensors[i].data != at)
            return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: its data %s", s->tensors[i].name,
                             s->tensors[i].data < at ? "overlaps another tensor's" : "leave a hole before them");
        at += s->tensors[i].size;
    }
    if (at != data + size)
        return rlhf_fail(err, RLHF_CORRUPT, "%zu bytes at the end belong to no tensor", (size_t)(data + size - at));
    qsort(s->tensors, s->count, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->count; i++)
        if (strcmp(s->tensors[i - 1].name, s->tensors[i].name) == 0)
            return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: stands there twice", s->tensors[i].name);
    return 0;
}

enum { LEAST_MEMBER = 40 }; /* bytes: "":{"dtype":"U8","shape":[],"data_offsets":[0,1]} has 50 */

static int read_header(struct rlhf_safetensors *s, const char *header, size_t header_size, const uint8_t *data,
                       size_t size, struct rlhf_error *err)
{
    struct rlhf_scan r = { .what = "the header", .begin = header, .at = header, .end = header + header_size, .err = err };

    s->names = r.names = malloc(header_size + 1);
    s->tensors = calloc(header_size / LEAST_MEMBER + 2, sizeof *s->tensors);
    if (!s->names || !s->tensors)
        return rlhf_fail(err, RLHF_FULL, "no memory for the table of a header of %zu bytes", header_size);
    if (!rlhf_scan_take(&r, '{'))
        return rlhf_scan_expected(&r, "{ (is this a safetensors file?)");
    if (!rlhf_scan_take(&r, '}')) {
        do
            if (read_member(s, &r, data, size) < 0)
                return -1;
        while (rlhf_scan_take(&r, ','));
        if (!rlhf_scan_take(&r, '}'))
            return rlhf_scan_expected(&r, ", or }");
    }
    rlhf_scan_space(&r);
    return r.at == r.end ? check_tiling(s, data, size, err) : rlhf_scan_expected(&r, "nothing more");
}

int rlhf_safetensors_parse(struct rlhf_safetensors *s, const void *data, size_t size, struct rlhf_error *err)
{
    const uint8_t *bytes = data;
    uint64_t header;

    *s = (struct rlhf_safetensors){ 0 };
    if (size < sizeof header)
        return rlhf_fail(err, RLHF_CORRUPT, "%zu bytes are too few for a safetensors file", size);
    memcpy(&header, bytes, sizeof header);
    if (header > size - sizeof header)
        return rlhf_fail(err, RLHF_CORRUPT, "the header's %llu bytes do not fit in a file of %zu (truncated, or not "
                         "safetensors)", (unsigned long long)header, size);
    if (header > RLHF_SAFETENSORS_HEADER)
        return rlhf_fail(err, RLHF_CORRUPT, "the header has %llu bytes, at most %d are accepted",
                         (unsigned long long)header, RLHF_SAFETENSORS_HEADER);
    bytes += sizeof header;
    if (read_header(s, (const char *)bytes, header, bytes + header, size - sizeof header - header, err) == 0)
        return 0;
    rlhf_safetensors_free(s);
    return -1;
}

const struct rlhf_safetensor *rlhf_safetensors_find(const struct rlhf_safetensors *s, const char *name)
{
    const struct rlhf_safetensor wanted = { .name = name };

    return s->count ? bsearch(&wanted, s->tensors, s->count, sizeof *s->tensors, by_name) : NULL;
}

void rlhf_safetensors_free(struct rlhf_safetensors *s)
{
    free(s->tensors);
    free(s->names);
    *s = (struct rlhf_safetensors){ 0 };
}

/* ---- elements -------------------------------------------------------------------------------------- */

int rlhf_safetensor_floats(const struct rlhf_safetensor *t, float *out, struct rlhf_error *err)
{
    size_t count = rlhf_safetensor_elements(t);

    switch (t->dtype) {
    case RLHF_DTYPE_F32:
        rlhf_widen(RLHF_NUMBER_F32, t->data, count, out);
        return 0;
    case RLHF_DTYPE_BF16:
        rlhf_widen(RLHF_NUMBER_BF16, t->data, count, out);
        return 0;
    case RLHF_DTYPE_F16:
        rlhf_widen(RLHF_NUMBER_F16, t->data, count, out);
        return 0;
    default:
        return rlhf_fail(err, RLHF_REJECT, "tensor %.80s has dtype %s; F32, F16 or BF16 is needed", t->name,
                         rlhf_dtype_name(t->dtype));
    }
}

/* ---- writing --------------------------------------------------------------------------------------- */

static int write_header(const struct rlhf_safetensor *tensors, size_t count, struct rlhf_bytes *out,
                        struct rlhf_error *err)
{
    size_t at = 0;

    if (rlhf_bytes_printf(out, err, "{\"__metadata__\":{\"format\":\"pt\"}") < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        char shape[24 * RLHF_SAFETENSORS_DIMS];

        rlhf_safetensor_shape(&tensors[i], shape, sizeof shape);
        if (rlhf_bytes_printf(out, err, ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                              tensors[i].name, rlhf_dtype_name(tensors[i].dtype), shape, at,
                              at + tensors[i].size) < 0)
            return -1;
        at += tensors[i].size;
    }
    return rlhf_bytes_append(out, "}", 1, err);
}

int rlhf_safetensors_header(const struct rlhf_safetensor *tensors, size_t count, struct rlhf_bytes *out,
                            struct rlhf_error *err)
{
    size_t begin = out->size;
    uint64_t header = 0;

    if (rlhf_bytes_append(out, &header, sizeof header, err) < 0 || write_header(tensors, count, out, err) < 0)
        return -1;
    while ((out->size - begin) % 8) /* so that the data are aligned in a mapped file */
        if (rlhf_bytes_append(out, " ", 1, err) < 0)
            return -1;
    header = out->size - begin - sizeof header;
    memcpy(out->data + begin, &header, sizeof header);
    return 0;
}

int rlhf_safetensors_write(const struct rlhf_safetensor *tensors, size_t count, struct rlhf_bytes *out,
                           struct rlhf_error *err)
{
    if (rlhf_safetensors_header(tensors, count, out, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (rlhf_bytes_append(out, tensors[i].data, tensors[i].size, err) < 0)
            return -1;
    return 0;
}
