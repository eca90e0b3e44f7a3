/* save.h - writes a model directory that transformers loads. */
#ifndef RLHF_MODEL_SAVE_H
#define RLHF_MODEL_SAVE_H

#include <stdbool.h>

#include "model/model.h"
#include "tensor/ops.h"

struct rlhf_save {
    bool as_stored;          /* every tensor keeps the numbers that it is stored in (fp32 unless the model was opened) */
    enum rlhf_number number; /* otherwise all of them are rounded to these: to nearest, ties to even */
    size_t shard_size;       /* bytes of tensors in a file, which a larger tensor has for itself; 0: one file */
    const char *carry;       /* a model directory whose other files come along byte for byte: tokenizer, chat template,
                                generation_config.json, licence; NULL: none */
};

/* Writes config.json, model.safetensors (or model-00001-of-0000N.safetensors and their index) and what is carried into
 * dir, which is there and has none of them, and syncs each. A tied head is not written, as transformers does it. Memory
 * is bounded, whatever the model's size. A weight that is not finite, or too large for the numbers wanted, is RLHF_FATAL
 * and named; dir then holds a part. */
int rlhf_model_save(const struct rlhf_model *m, const char *dir, const struct rlhf_save *how, struct rlhf_error *err);

/* What tensor `tensor` of the table is stored in. */
enum rlhf_number rlhf_model_number(const struct rlhf_model *m, size_t tensor);
/* "F32", "BF16", "F16". */
const char *rlhf_number_name(enum rlhf_number n);

#endif
