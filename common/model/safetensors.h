/* safetensors.h - the file format of Hugging Face weights: an 8-byte header size, a JSON header, the data.
 *
 * The reader trusts nothing: sizes, overlaps, holes, products that overflow, unknown element types, names
 * given twice are errors that name the tensor. It copies no data, and takes at most five times the header's
 * size of memory, which is at most RLHF_SAFETENSORS_HEADER. Everything is little-endian, as are the machines rlhfd runs on. */
#ifndef RLHF_MODEL_SAFETENSORS_H
#define RLHF_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

enum {
    RLHF_SAFETENSORS_HEADER = 8 << 20, /* longest header; one of 50 000 tensors has 6 MB */
    RLHF_SAFETENSORS_DIMS = 8,
};

enum rlhf_dtype {
    RLHF_DTYPE_F32, RLHF_DTYPE_F16, RLHF_DTYPE_BF16, RLHF_DTYPE_F64,
    RLHF_DTYPE_I64, RLHF_DTYPE_I32, RLHF_DTYPE_I16, RLHF_DTYPE_I8, RLHF_DTYPE_U8, RLHF_DTYPE_BOOL,
};
const char *rlhf_dtype_name(enum rlhf_dtype d); /* "F32" and so on, as in the files */
size_t rlhf_dtype_size(enum rlhf_dtype d);      /* bytes an element */

struct rlhf_safetensor {
    const char *name;
    enum rlhf_dtype dtype;
    size_t dims, shape[RLHF_SAFETENSORS_DIMS];
    const uint8_t *data; /* of any alignment */
    size_t size;         /* bytes */
};

struct rlhf_safetensors {
    struct rlhf_safetensor *tensors; /* sorted by name */
    size_t count;
    char *names; /* storage of the names */
};

/* Borrows data for as long as s lives. RLHF_CORRUPT on anything wrong. */
int rlhf_safetensors_parse(struct rlhf_safetensors *s, const void *data, size_t size, struct rlhf_error *err);
const struct rlhf_safetensor *rlhf_safetensors_find(const struct rlhf_safetensors *s, const char *name);
void rlhf_safetensors_free(struct rlhf_safetensors *s); /* leaves it empty */

/* "[2, 3]" into text, cut when it does not fit; returns text. */
const char *rlhf_safetensor_shape(const struct rlhf_safetensor *t, char *text, size_t size);
size_t rlhf_safetensor_elements(const struct rlhf_safetensor *t);

/* Converts F32, F16 and BF16 exactly to fp32. RLHF_REJECT for other types. */
int rlhf_safetensor_floats(const struct rlhf_safetensor *t, float *out, struct rlhf_error *err);

/* Appends the beginning of such a file, behind which the tensors' data follow without gaps; their data here are not looked
 * at. */
int rlhf_safetensors_header(const struct rlhf_safetensor *tensors, size_t count, struct rlhf_bytes *out,
                            struct rlhf_error *err);
/* Appends a file with these tensors in this order; equal input gives equal bytes. */
int rlhf_safetensors_write(const struct rlhf_safetensor *tensors, size_t count, struct rlhf_bytes *out,
                           struct rlhf_error *err);

#endif
