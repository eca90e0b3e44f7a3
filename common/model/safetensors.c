#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

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

static int read_size(const json_t *value, size_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return -1;
    *out = (size_t)json_integer_value(value);
    return 0;
}

static int read_dtype(struct rlhf_safetensor *t, const json_t *value, struct rlhf_error *err)
{
    const char *name = json_string_value(value);

    for (int i = 0; name && i < DTYPES; i++)
        if (strcmp(name, dtypes[i].name) == 0) {
            t->dtype = (enum rlhf_dtype)i;
            return 0;
        }
    return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: dtype %.20s is not one of F32, F16, BF16, F64, I64, I32, "
                     "I16, I8, U8, BOOL", t->name, name ? name : "(missing)");
}

/* Shape, element type and place of one tensor; data is the `size` bytes behind the header. */
static int read_tensor(struct rlhf_safetensor *t, const json_t *entry, const uint8_t *data, size_t size,
                       struct rlhf_error *err)
{
    const json_t *shape = json_object_get(entry, "shape"), *place = json_object_get(entry, "data_offsets");
    size_t bytes, begin, end;

    if (!json_is_object(entry) || json_object_size(entry) != 3 || !json_is_array(shape) || !json_is_array(place))
        return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: needs exactly dtype, shape and data_offsets", t->name);
    if (read_dtype(t, json_object_get(entry, "dtype"), err) < 0)
        return -1;
    t->dims = json_array_size(shape);
    if (t->dims > RLHF_SAFETENSORS_DIMS)
        return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: %zu dimensions, at most %d are supported", t->name,
                         t->dims, RLHF_SAFETENSORS_DIMS);
    bytes = rlhf_dtype_size(t->dtype);
    for (size_t i = 0; i < t->dims; i++)
        if (read_size(json_array_get(shape, i), &t->shape[i]) < 0
            || !rlhf_mul_size(bytes, t->shape[i], &bytes))
            return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: dimension %zu of its shape is not a size, or the "
                             "product of them is too large", t->name, i);
    if (json_array_size(place) != 2 || read_size(json_array_get(place, 0), &begin) < 0
        || read_size(json_array_get(place, 1), &end) < 0 || begin > end || end > size)
        return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: data_offsets are not a range within the file's %zu bytes "
                         "of data (is it truncated?)", t->name, size);
    if (end - begin != bytes)
        return rlhf_fail(err, RLHF_CORRUPT, "tensor %.80s: dtype and shape need %zu bytes, data_offsets give %zu",
                         t->name, bytes, end - begin);
    t->data = data + begin;
    t->size = bytes;
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
    return 0;
}

static int read_header(struct rlhf_safetensors *s, json_t *root, const uint8_t *data, size_t size,
                       struct rlhf_error *err)
{
    const char *name;
    json_t *entry;

    s->tensors = calloc(json_object_size(root) + 1, sizeof *s->tensors);
    if (!s->tensors)
        return rlhf_fail(err, RLHF_FULL, "no memory for the table of %zu tensors", json_object_size(root));
    json_object_foreach(root, name, entry) {
        struct rlhf_safetensor *t = &s->tensors[s->count];

        if (strcmp(name, "__metadata__") == 0)
            continue;
        t->name = name;
        if (read_tensor(t, entry, data, size, err) < 0)
            return -1;
        s->count++;
    }
    return check_tiling(s, data, size, err);
}

int rlhf_safetensors_parse(struct rlhf_safetensors *s, const void *data, size_t size, struct rlhf_error *err)
{
    const uint8_t *bytes = data;
    uint64_t header;
    json_error_t wrong;
    json_t *root;

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
    root = json_loadb((const char *)bytes + sizeof header, header, JSON_REJECT_DUPLICATES, &wrong);
    if (!root)
        return rlhf_fail(err, RLHF_CORRUPT, "the header is not JSON: %s at byte %d", wrong.text, wrong.position);
    s->names = root; /* the names are the keys of the parsed header */
    if (!json_is_object(root))
        rlhf_fail(err, RLHF_CORRUPT, "the header is not a JSON object");
    else if (read_header(s, root, bytes + sizeof header + header, size - sizeof header - header, err) == 0)
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
    json_decref(s->names);
    *s = (struct rlhf_safetensors){ 0 };
}

/* ---- elements -------------------------------------------------------------------------------------- */

static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 1023u, bits;
    float value;

    if (exponent == 0) { /* zero and subnormals: fraction · 2^-24 */
        value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

int rlhf_safetensor_floats(const struct rlhf_safetensor *t, float *out, struct rlhf_error *err)
{
    size_t count = rlhf_safetensor_elements(t);

    switch (t->dtype) {
    case RLHF_DTYPE_F32:
        if (t->size)
            memcpy(out, t->data, t->size);
        return 0;
    case RLHF_DTYPE_BF16:
        for (size_t i = 0; i < count; i++) {
            uint32_t bits = (uint32_t)t->data[2 * i] << 16 | (uint32_t)t->data[2 * i + 1] << 24;

            memcpy(&out[i], &bits, sizeof bits);
        }
        return 0;
    case RLHF_DTYPE_F16:
        for (size_t i = 0; i < count; i++)
            out[i] = from_half((uint16_t)(t->data[2 * i] | t->data[2 * i + 1] << 8));
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

int rlhf_safetensors_write(const struct rlhf_safetensor *tensors, size_t count, struct rlhf_bytes *out,
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
    for (size_t i = 0; i < count; i++)
        if (rlhf_bytes_append(out, tensors[i].data, tensors[i].size, err) < 0)
            return -1;
    return 0;
}
