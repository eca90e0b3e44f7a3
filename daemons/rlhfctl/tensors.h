/* tensors.h - safetensors files as what a command reads and writes. */
#ifndef RLHFCTL_TENSORS_H
#define RLHFCTL_TENSORS_H

#include "base/io.h"
#include "model/safetensors.h"

struct ctl_tensors {
    const char *path; /* borrowed */
    struct rlhf_mapping map;
    struct rlhf_safetensors file;
};
int ctl_tensors_open(struct ctl_tensors *t, const char *path, struct rlhf_error *err);
void ctl_tensors_close(struct ctl_tensors *t); /* zeroed is fine */
bool ctl_tensors_has(const struct ctl_tensors *t, const char *name);

/* A matrix [*rows, *columns], to be freed: whole numbers of any type within int32, or F32, F16 or BF16. When
 * *rows or *columns is not 0 the shape must agree. Errors name file and tensor. */
int32_t *ctl_tensors_ints(const struct ctl_tensors *t, const char *name, size_t *rows, size_t *columns,
                          struct rlhf_error *err);
float *ctl_tensors_floats(const struct ctl_tensors *t, const char *name, size_t *rows, size_t *columns,
                          struct rlhf_error *err);

/* input_ids [B, S] with attention_mask [B, S] (all ones where there is none), padding on either side: the masked
 * rows one behind the other. */
struct ctl_batch {
    size_t rows, width;  /* B, S */
    int32_t *ids;        /* [T] */
    size_t *column;      /* [T] where each token stood */
    uint32_t *start;     /* [B + 1] */
    int32_t *padded;     /* [B, S] as in the file */
};
/* A mask that is neither 0 nor 1, with a hole or with an empty row is an error, as is an id outside the vocabulary. */
int ctl_batch_read(struct ctl_batch *b, const struct ctl_tensors *t, uint32_t vocabulary, struct rlhf_error *err);
void ctl_batch_free(struct ctl_batch *b); /* zeroed is fine */

/* Fills one tensor for ctl_tensors_write(), borrowing name and data. */
struct rlhf_safetensor ctl_tensor(const char *name, enum rlhf_dtype dtype, const void *data, size_t dims,
                                  const size_t *shape);
/* Replaces the file at path. */
int ctl_tensors_write(const char *path, const struct rlhf_safetensor *tensors, size_t count, struct rlhf_error *err);

#endif
