/* weights_part.h - what weights.c, weights_source.c and weights_store.c share. Not for others. */
#ifndef RLHF_NET_WEIGHTS_PART_H
#define RLHF_NET_WEIGHTS_PART_H

#include <stdatomic.h>

#include "net/weights.h"

enum { RLHF_CHUNKS_AT_ONCE = 8 }; /* that are hashed together: base/hash_lanes.h */

struct rlhf_weights {
    struct rlhf_keeper keeper; /* first */
    atomic_uint uses;          /* its owners, and one of every chunk that is being sent */
    char *name, *config;
    uint64_t version;
    struct rlhf_digest digest, *chunks; /* [chunk_count] */
    size_t size, chunk_count;
    uint32_t chunk_size;
    const uint8_t *data;  /* mapped or owned */
    uint8_t *owned;
    bool mapped;
    char *shared_file;    /* written by us, removed with us, under its own name once it is sealed; NULL otherwise */
};

int rlhf_manifest_digest(const char *config, uint64_t size, uint32_t chunk_size, const struct rlhf_digest *chunks,
                         size_t count, struct rlhf_digest *out, struct rlhf_error *err);
/* Bytes of chunk index: chunk_size, or what is left for the last one. */
size_t rlhf_chunk_bytes(uint64_t size, uint32_t chunk_size, size_t index);
/* The digests of the chunks index[0 .. count - 1] of a payload, count <= RLHF_CHUNKS_AT_ONCE. */
void rlhf_chunks_hash(const uint8_t *data, uint64_t size, uint32_t chunk_size, const uint32_t *index, size_t count,
                      struct rlhf_digest *out);
/* With room for the chunk digests, but without data. size > 0. */
struct rlhf_weights *rlhf_weights_alloc(const char *name, uint64_t version, const char *config, uint64_t size,
                                        uint32_t chunk_size, struct rlhf_error *err);

#endif
