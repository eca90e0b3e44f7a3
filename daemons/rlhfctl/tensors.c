#include "rlhfctl/tensors.h"

#include <stdlib.h>
#include <string.h>


int ctl_tensors_open(struct ctl_tensors *t, const char *path, struct rlhf_error *err)
{
    struct rlhf_error why = {0};

    *t = (struct ctl_tensors){.path = path};
    if (rlhf_map_file(&t->map, path, err) < 0)
        return -1;
    if (rlhf_safetensors_parse(&t->file, t->map.data, t->map.size, &why) == 0)
        return 0;
    ctl_tensors_close(t);
    return rlhf_fail(err, why.code, "%s: %s", path, why.text);
}

void ctl_tensors_close(struct ctl_tensors *t)
{
    rlhf_safetensors_free(&t->file);
    if (t->map.data)
        rlhf_unmap(&t->map);
    *t = (struct ctl_tensors){0};
}

bool ctl_tensors_has(const struct ctl_tensors *t, const char *name)
{
    return rlhf_safetensors_find(&t->file, name) != NULL;
}

static const struct rlhf_safetensor *find(const struct ctl_tensors *t, const char *name, size_t *rows,
                                          size_t *columns, struct rlhf_error *err)
{
    const struct rlhf_safetensor *found = rlhf_safetensors_find(&t->file, name);
    char shape[80];

    if (!found) {
        rlhf_fail(err, RLHF_REJECT, "%s: there is no tensor %s", t->path, name);
        return NULL;
    }
    if (found->dims != 2 || found->shape[0] == 0 || found->shape[1] == 0 ||
        (*rows && found->shape[0] != *rows) || (*columns && found->shape[1] != *columns)) {
        rlhf_fail(err, RLHF_REJECT, "%s: %s is %s; a matrix%s is wanted", t->path, name,
                  rlhf_safetensor_shape(found, shape, sizeof shape),
                  *rows || *columns ? " of the shape of the one beside it" : "");
        return NULL;
    }
    *rows = found->shape[0];
    *columns = found->shape[1];
    return found;
}

/* Element i of a whole-number tensor. */
static int64_t whole(const struct rlhf_safetensor *t, size_t i)
{
    const uint8_t *at = t->data + i * rlhf_dtype_size(t->dtype);
    int64_t wide;
    int32_t word;
    int16_t half;

    switch (t->dtype) {
    case RLHF_DTYPE_I64:
        memcpy(&wide, at, sizeof wide);
        return wide;
    case RLHF_DTYPE_I32:
        memcpy(&word, at, sizeof word);
        return word;
    case RLHF_DTYPE_I16:
        memcpy(&half, at, sizeof half);
        return half;
    case RLHF_DTYPE_I8:
        return (int8_t)*at;
    default:
        return *at;
    }
}

int32_t *ctl_tensors_ints(const struct ctl_tensors *t, const char *name, size_t *rows, size_t *columns,
                          struct rlhf_error *err)
{
    const struct rlhf_safetensor *found = find(t, name, rows, columns, err);
    int32_t *out;

    if (!found)
        return NULL;
    if (found->dtype == RLHF_DTYPE_F32 || found->dtype == RLHF_DTYPE_F16 || found->dtype == RLHF_DTYPE_BF16 ||
        found->dtype == RLHF_DTYPE_F64) {
        rlhf_fail(err, RLHF_REJECT, "%s: %s is of type %s; whole numbers are wanted", t->path, name,
                  rlhf_dtype_name(found->dtype));
        return NULL;
    }
    if (!(out = calloc(*rows * *columns, sizeof *out))) {
        rlhf_fail(err, RLHF_FULL, "%s: no memory for %s", t->path, name);
        return NULL;
    }
    for (size_t i = 0; i < *rows * *columns; i++) {
        int64_t value = whole(found, i);

        if (value < INT32_MIN || value > INT32_MAX) {
            rlhf_fail(err, RLHF_REJECT, "%s: %s[%zu, %zu] is %lld, beyond 32 bits", t->path, name, i / *columns,
                      i % *columns, (long long)value);
            free(out);
            return NULL;
        }
        out[i] = (int32_t)value;
    }
    return out;
}

float *ctl_tensors_floats(const struct ctl_tensors *t, const char *name, size_t *rows, size_t *columns,
                          struct rlhf_error *err)
{
    const struct rlhf_safetensor *found = find(t, name, rows, columns, err);
    struct rlhf_error why = {0};
    float *out;

    if (!found)
        return NULL;
    if (!(out = calloc(*rows * *columns, sizeof *out))) {
        rlhf_fail(err, RLHF_FULL, "%s: no memory for %s", t->path, name);
    } else if (rlhf_safetensor_floats(found, out, &why) < 0) {
        rlhf_fail(err, why.code, "%s: %s", t->path, why.text);
        free(out);
        out = NULL;
    }
    return out;
}

/* ---- padded batches --------------------------------------------------------------------------------- */

static int pack_row(struct ctl_batch *b, const int32_t *mask, size_t row, uint32_t vocabulary, const char *path,
                    struct rlhf_error *err)
{
    size_t count = b->start[row], holes = 0;

    for (size_t s = 0; s < b->width; s++) {
        size_t i = row * b->width + s;

        if (mask && mask[i] != 0 && mask[i] != 1)
            return rlhf_fail(err, RLHF_REJECT, "%s: attention_mask[%zu, %zu] is %d, neither 0 nor 1", path, row, s,
                             mask[i]);
        if (mask && mask[i] == 0)
            continue;
        if (b->padded[i] < 0 || (uint32_t)b->padded[i] >= vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "%s: input_ids[%zu, %zu] is %d, outside the vocabulary of %u", path,
                             row, s, b->padded[i], vocabulary);
        holes += count > b->start[row] && b->column[count - 1] + 1 != s;
        b->column[count] = s;
        b->ids[count++] = b->padded[i];
    }
    b->start[row + 1] = (uint32_t)count;
    if (count == b->start[row])
        return rlhf_fail(err, RLHF_REJECT, "%s: row %zu is all padding", path, row);
    if (holes)
        return rlhf_fail(err, RLHF_REJECT, "%s: attention_mask has a hole in row %zu; padding goes to one side", path,
                         row);
    return 0;
}

int ctl_batch_read(struct ctl_batch *b, const struct ctl_tensors *t, uint32_t vocabulary, struct rlhf_error *err)
{
    int32_t *mask = NULL;
    size_t count;
    int rc = -1;

    *b = (struct ctl_batch){0};
    if (!(b->padded = ctl_tensors_ints(t, "input_ids", &b->rows, &b->width, err)) ||
        (ctl_tensors_has(t, "attention_mask") &&
         !(mask = ctl_tensors_ints(t, "attention_mask", &b->rows, &b->width, err))))
        goto out;
    count = b->rows * b->width;
    b->ids = calloc(count, sizeof *b->ids);
    b->column = calloc(count, sizeof *b->column);
    b->start = calloc(b->rows + 1, sizeof *b->start);
    if (count > UINT32_MAX || !b->ids || !b->column || !b->start) {
        rlhf_fail(err, RLHF_FULL, "%s: no memory for %zu tokens", t->path, count);
        goto out;
    }
    rc = 0;
    for (size_t row = 0; rc == 0 && row < b->rows; row++)
        rc = pack_row(b, mask, row, vocabulary, t->path, err);
out:
    free(mask);
    if (rc < 0)
        ctl_batch_free(b);
    return rc;
}

void ctl_batch_free(struct ctl_batch *b)
{
    free(b->ids);
    free(b->column);
    free(b->start);
    free(b->padded);
    *b = (struct ctl_batch){0};
}

/* ---- writing ---------------------------------------------------------------------------------------- */

struct rlhf_safetensor ctl_tensor(const char *name, enum rlhf_dtype dtype, const void *data, size_t dims,
                                  const size_t *shape)
{
    struct rlhf_safetensor t = {.name = name, .dtype = dtype, .dims = dims, .data = data};

    t.size = rlhf_dtype_size(dtype);
    for (size_t i = 0; i < dims; i++) {
        t.shape[i] = shape[i];
        t.size *= shape[i];
    }
    return t;
}

int ctl_tensors_write(const char *path, const struct rlhf_safetensor *tensors, size_t count, struct rlhf_error *err)
{
    struct rlhf_bytes bytes = {0};
    int rc = rlhf_safetensors_write(tensors, count, &bytes, err) < 0
                     || rlhf_write_file(&rlhf_system_io, path, bytes.data, bytes.size, err) < 0
                 ? -1
                 : 0;

    rlhf_bytes_free(&bytes);
    return rc;
}
