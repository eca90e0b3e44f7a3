/* panel_file.h - weights as they are published: every product laid out as passes read it.
 *
 * A safetensors file like any other but for its tensors. "panels.0.qkv", ..., "panels.head" hold a product each, in the panels
 * of tensor/ops.h, of the numbers that the configuration multiplies; vectors, positions and the embedding are rows under
 * their own names, the embedding only where panels of fp32 do not hold it, too (a tied head's). Every tensor begins at a
 * multiple of 64 bytes of the file.
 *
 * Whoever views such a file (rlhf_model_view) multiplies from it as it lies there: nothing is packed, nothing is copied, and
 * all processes of a host that map it share one. The bits of every result are those of the model that was written. */
#ifndef RLHF_MODEL_PANEL_FILE_H
#define RLHF_MODEL_PANEL_FILE_H

#include "model/model.h"

/* What a model's file will be; zeroed at first. */
struct rlhf_panel_file {
    struct rlhf_bytes config; /* config.json */
    struct rlhf_bytes head;   /* the file's beginning */
    size_t size;              /* of the whole file, bytes */
};
/* m may not be one that was opened. */
int rlhf_panel_file_plan(struct rlhf_panel_file *p, const struct rlhf_model *m, struct rlhf_error *err);
/* Writes the whole file to `to`, with all threads of pool: equal weights, equal bytes. Weights that are not finite are not
 * written, RLHF_FATAL. */
int rlhf_panel_file_write(const struct rlhf_panel_file *p, const struct rlhf_model *m, void *to, struct rlhf_pool *pool,
                      struct rlhf_error *err);
void rlhf_panel_file_free(struct rlhf_panel_file *p); /* leaves it zeroed */

#endif
