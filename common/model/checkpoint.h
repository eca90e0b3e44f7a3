/* checkpoint.h - the tensors of a model directory: model.safetensors, or shards and their index, mapped.
 *
 * Names are unique over all files, and an index must tell the truth about every tensor that it names. The tensors stay valid
 * for as long as the checkpoint is open. Files are mapped, not copied: whoever replaces a checkpoint renames new files over
 * the old, as every writer of them does; one that is shortened in place ends whoever reads it with SIGBUS. */
#ifndef RLHF_MODEL_CHECKPOINT_H
#define RLHF_MODEL_CHECKPOINT_H

#include "base/io.h"
#include "model/safetensors.h"

enum { RLHF_CHECKPOINT_FILES = 1024, RLHF_CHECKPOINT_INDEX = 16 << 20 /* bytes */ };

struct rlhf_checkpoint {
    struct rlhf_mapping *maps;      /* [files]; empty ones for a checkpoint in memory */
    struct rlhf_safetensors *parts; /* [files] */
    char (*names)[256];             /* [files] */
    size_t files;
    const struct rlhf_safetensor **tensors; /* [count] of all files, sorted by name */
    size_t count;
};

int rlhf_checkpoint_open(struct rlhf_checkpoint *k, const char *dir, struct rlhf_error *err);
/* The bytes of one file; borrows them. */
int rlhf_checkpoint_view(struct rlhf_checkpoint *k, const void *data, size_t size, struct rlhf_error *err);
const struct rlhf_safetensor *rlhf_checkpoint_find(const struct rlhf_checkpoint *k, const char *name);
/* Gives back the memory of a tensor's mapped pages; they come again when they are read. */
void rlhf_checkpoint_release(const struct rlhf_checkpoint *k, const struct rlhf_safetensor *t);
void rlhf_checkpoint_close(struct rlhf_checkpoint *k); /* leaves it empty */

#endif
