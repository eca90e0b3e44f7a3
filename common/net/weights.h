/* weights.h - weights on the wire: content-addressed payloads in chunks (proto/weights.proto).
 *
 * Promise: who gets a payload from a store has exactly the bytes that its digest names, or is told before anything made of it
 * may leave that it has not, whatever happened on the way: a digest is that of the manifest (config, size, chunk digests), every chunk is verified against it, and a
 * transfer interrupted at any point goes on with the chunks that are still lacking.
 *
 * The publisher (learner) has a source, workers and scorers have a store. Both are told of messages by the
 * state machine's handlers and send through the node; neither blocks. */
#ifndef RLHF_NET_WEIGHTS_H
#define RLHF_NET_WEIGHTS_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/pool.h"
#include "net/env.h"
#include "net/node.h"

enum {
    RLHF_CHUNK_SIZE = 1 << 20,     /* of every chunk but the last                              */
    RLHF_CHUNKS_MAX = 1 << 16,     /* a manifest's: 64 GiB                                     */
    RLHF_CHUNKS_IN_FLIGHT = 32,    /* asked for at a time: the link is busy while some are hashed */
    RLHF_CHUNKS_A_REQUEST = 16,    /* named by one message                                     */
    RLHF_WEIGHTS_CONFIG_MAX = 1 << 16,
    RLHF_MANIFEST_BYTES = 4 << 20, /* for the handler table: body of the largest manifest      */
};

/* ---- a payload: immutable, any thread -------------------------------------------------------------- */

struct rlhf_weights;

struct rlhf_weights_spec {
    const char *name; /* "policy", ... */
    uint64_t version;
    const char *config; /* config.json, NUL-terminated */
    const void *payload; /* model.safetensors, its tensors in rows or in panels */
    size_t size;
    const char *shared_dir; /* where workers of this host may map it from ("/dev/shm/..."), or NULL: memory only */
    struct rlhf_pool *pool; /* to hash with; NULL: alone */
};
/* Hashes and copies: into SHARED_DIR/DIGEST.weights, which is then mapped, or into memory. With a shared_dir that
 * cannot be written it falls back to memory and logs why. Long work (1 to 3 GB/s a thread): call it off the reactor thread. */
struct rlhf_weights *rlhf_weights_new(const struct rlhf_weights_spec *spec, struct rlhf_error *err);
/* The same in two, for a payload that is made where it will lie: room (spec->payload is not looked at) gives its memory, which
 * begins a page or is aligned to 64 bytes; seal hashes what was written there, and nobody writes to it from then on. */
struct rlhf_weights *rlhf_weights_room(const struct rlhf_weights_spec *spec, void **to, struct rlhf_error *err);
int rlhf_weights_seal(struct rlhf_weights *w, struct rlhf_pool *pool, struct rlhf_error *err);
const struct rlhf_digest *rlhf_weights_digest(const struct rlhf_weights *w);
const char *rlhf_weights_name(const struct rlhf_weights *w);
uint64_t rlhf_weights_version(const struct rlhf_weights *w);
const char *rlhf_weights_config(const struct rlhf_weights *w); /* NUL-terminated config.json */
struct rlhf_blob rlhf_weights_payload(const struct rlhf_weights *w);
/* One more owner, who frees it, too. */
struct rlhf_weights *rlhf_weights_share(struct rlhf_weights *w);
bool rlhf_weights_shared(const struct rlhf_weights *w); /* by anybody but the caller */
/* Of the last owner: unmaps (10 to 30 ms for 440 MB), once the chunks under way are sent; removes the shared file if this process wrote it (who has it mapped keeps
 * it). NULL is fine. */
void rlhf_weights_free(struct rlhf_weights *w);

/* ---- source: what the publisher serves -------------------------------------------------------------- */

struct rlhf_weights_source;

/* host: the boot id that manifests name. */
struct rlhf_weights_source *rlhf_weights_source_new(const char *host, struct rlhf_error *err);
/* Serves w from now on; takes it, also on failure. Weights served already (same digest) are kept once. */
int rlhf_weights_source_add(struct rlhf_weights_source *s, struct rlhf_weights *w, struct rlhf_error *err);
/* rlhf_weights_new() and add in one, for payloads that are small or threads that may wait. */
int rlhf_weights_source_publish(struct rlhf_weights_source *s, const struct rlhf_weights_spec *spec,
                                struct rlhf_digest *digest, struct rlhf_error *err);
/* NULL when not served. Borrowed until dropped. */
const struct rlhf_weights *rlhf_weights_source_get(const struct rlhf_weights_source *s,
                                                   const struct rlhf_digest *digest);
/* Stops serving them; the caller's then. NULL: an unknown digest. */
struct rlhf_weights *rlhf_weights_source_take(struct rlhf_weights_source *s, const struct rlhf_digest *digest);
/* The same, and frees. */
void rlhf_weights_source_drop(struct rlhf_weights_source *s, const struct rlhf_digest *digest);
/* Sends WeightsAnnounce for digest (NULL: none, drops only) with a drop list to one peer. */
int rlhf_weights_source_announce(const struct rlhf_weights_source *s, struct rlhf_node *n, struct rlhf_peer *peer,
                                 const struct rlhf_digest *digest, const struct rlhf_digest *drop,
                                 size_t drop_count, struct rlhf_error *err);
/* For the handler table: WEIGHTS_REQUEST and CHUNK_REQUEST (after their checks of checks.h). */
int rlhf_weights_source_on_request(struct rlhf_weights_source *s, struct rlhf_node *n, struct rlhf_peer *peer,
                                   const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_weights_source_on_chunk_request(struct rlhf_weights_source *s, struct rlhf_node *n, struct rlhf_peer *peer,
                                         const struct rlhf_message *m, struct rlhf_error *err);
void rlhf_weights_source_free(struct rlhf_weights_source *s); /* NULL is fine */

/* ---- store: what a worker fetches ------------------------------------------------------------------- */

struct rlhf_weights_store;

struct rlhf_weights_store_config {
    const char *host;   /* our boot id; a manifest of the same host may be mapped */
    size_t max_bytes;   /* of one payload; a larger manifest is refused            */
    void *ctx;
    /* All bytes are there and verified, or with `spoiled` whole and still to be verified. Takes w. */
    void (*ready)(void *ctx, struct rlhf_weights *w);
    /* What was given is false after all: whatever was made of it must go. The bytes are then fetched, verified as they come, and
     * given again. NULL: nothing is given before it is verified. */
    void (*spoiled)(void *ctx, const struct rlhf_digest *digest);
    /* Not to be had (unknown to the service, too large, manifest false): the transfer is forgotten. */
    void (*failed)(void *ctx, const struct rlhf_digest *digest, const struct rlhf_error *why);
};
/* Borrows env. */
struct rlhf_weights_store *rlhf_weights_store_new(const struct rlhf_env *env,
                                                  const struct rlhf_weights_store_config *c,
                                                  struct rlhf_error *err);
/* Begins to fetch digest, unless that is under way. Calls ready or failed later, never from inside; spoiled only after a ready. */
int rlhf_weights_store_want(struct rlhf_weights_store *s, const struct rlhf_digest *digest, struct rlhf_error *err);
bool rlhf_weights_store_fetching(const struct rlhf_weights_store *s, const struct rlhf_digest *digest);
/* Gives up a transfer; no callback. */
void rlhf_weights_store_drop(struct rlhf_weights_store *s, const struct rlhf_digest *digest);
/* Frees w, but keeps the memory that it was fetched into for the next of its size: what is touched for the first time costs
 * more than what the network brings. */
void rlhf_weights_store_recycle(struct rlhf_weights_store *s, struct rlhf_weights *w);
/* Verifies now whatever was given and not yet verified: from then on results may leave that were made of it. Calls spoiled from
 * inside. */
void rlhf_weights_store_settle(struct rlhf_weights_store *s);
/* The service that has them was greeted, or was lost (then transfers wait and go on where they were). */
void rlhf_weights_store_peer_up(struct rlhf_weights_store *s, struct rlhf_node *n, struct rlhf_peer *service);
void rlhf_weights_store_peer_lost(struct rlhf_weights_store *s, struct rlhf_peer *service);
/* For the handler table: WEIGHTS_MANIFEST, CHUNK, and ERROR (refusals of the two requests; others are ignored). */
int rlhf_weights_store_on_manifest(struct rlhf_weights_store *s, struct rlhf_peer *peer,
                                   const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_weights_store_on_chunk(struct rlhf_weights_store *s, struct rlhf_peer *peer, const struct rlhf_message *m,
                                struct rlhf_error *err);
void rlhf_weights_store_on_error(struct rlhf_weights_store *s, struct rlhf_peer *peer,
                                 const struct rlhf_message *m);
/* Verifies a slice of what is whole, asks again for what did not come. */
void rlhf_weights_store_tick(struct rlhf_weights_store *s, int64_t now_us);
int64_t rlhf_weights_store_deadline(const struct rlhf_weights_store *s); /* monotonic us, INT64_MAX = none */
void rlhf_weights_store_free(struct rlhf_weights_store *s); /* NULL is fine */

#endif
