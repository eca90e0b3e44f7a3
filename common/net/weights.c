#include "net/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/weights_part.h"
#include "telemetry/log.h"

/* ---- the manifest ---------------------------------------------------------------------------------- */

static void put_u32(uint8_t *out, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> 8 * i);
}

/* BLAKE2b-256(config ‖ u64 size ‖ u32 chunk_size ‖ chunk digests), little-endian: proto/weights.proto. */
int rlhf_manifest_digest(const char *config, uint64_t size, uint32_t chunk_size, const struct rlhf_digest *chunks,
                         size_t count, struct rlhf_digest *out, struct rlhf_error *err)
{
    struct rlhf_hasher *h = rlhf_hasher_new();
    uint8_t sizes[12];

    if (!h)
        return rlhf_fail(err, RLHF_FULL, "no memory to hash a manifest");
    put_u32(sizes, (uint32_t)size);
    put_u32(sizes + 4, (uint32_t)(size >> 32));
    put_u32(sizes + 8, chunk_size);
    rlhf_hasher_add(h, config, strlen(config));
    rlhf_hasher_add(h, sizes, sizeof sizes);
    rlhf_hasher_add(h, chunks, count * sizeof *chunks);
    *out = rlhf_hasher_end(h);
    return 0;
}

size_t rlhf_chunk_bytes(uint64_t size, uint32_t chunk_size, size_t index)
{
    uint64_t left = size - (uint64_t)index * chunk_size;

    return left < chunk_size ? (size_t)left : chunk_size;
}

void rlhf_chunks_hash(const uint8_t *data, uint64_t size, uint32_t chunk_size, const uint32_t *index, size_t count,
                      struct rlhf_digest *out)
{
    const uint8_t *whole[RLHF_CHUNKS_AT_ONCE] = { NULL };
    struct rlhf_digest got[RLHF_CHUNKS_AT_ONCE];
    size_t at[RLHF_CHUNKS_AT_ONCE], n = 0;

    for (size_t i = 0; i < count; i++) {
        const uint8_t *chunk = data + (size_t)index[i] * chunk_size;
        size_t bytes = rlhf_chunk_bytes(size, chunk_size, index[i]);

        if (bytes < chunk_size) { /* the last one */
            out[i] = rlhf_digest_of(chunk, bytes);
        } else {
            whole[n] = chunk;
            at[n++] = i;
        }
    }
    rlhf_digests_of(whole, chunk_size, n, got);
    for (size_t i = 0; i < n; i++)
        out[at[i]] = got[i];
}

/* ---- the payload ----------------------------------------------------------------------------------- */

struct rlhf_weights *rlhf_weights_share(struct rlhf_weights *w)
{
    atomic_fetch_add(&w->uses, 1);
    return w;
}

bool rlhf_weights_shared(const struct rlhf_weights *w)
{
    return atomic_load(&w->uses) > 1;
}

static void keep(struct rlhf_keeper *k)
{
    rlhf_weights_share((struct rlhf_weights *)k);
}

static void release(struct rlhf_keeper *k)
{
    rlhf_weights_free((struct rlhf_weights *)k);
}

struct rlhf_weights *rlhf_weights_alloc(const char *name, uint64_t version, const char *config, uint64_t size,
                                        uint32_t chunk_size, struct rlhf_error *err)
{
    struct rlhf_weights *w = calloc(1, sizeof *w);

    if (w)
        atomic_init(&w->uses, 1);
    if (!w || !(w->name = strdup(name)) || !(w->config = strdup(config))
        || !(w->chunks = calloc((size_t)((size - 1) / chunk_size + 1), sizeof *w->chunks))) {
        rlhf_weights_free(w);
        rlhf_fail(err, RLHF_FULL, "no memory for the manifest of %s", name);
        return NULL;
    }
    w->keeper = (struct rlhf_keeper){ keep, release };
    w->version = version;
    w->size = (size_t)size;
    w->chunk_size = chunk_size;
    w->chunk_count = (size_t)((size - 1) / chunk_size + 1);
    return w;
}

/* A file of its size, mapped: all its blocks are there before anybody writes, so that a full disk is an error here and no
 * SIGBUS there. */
static int share(struct rlhf_weights *w, const char *dir)
{
    static atomic_uint made;
    void *map = MAP_FAILED;
    int fd, failed;

    if (asprintf(&w->shared_file, "%s/%ld-%u.unsealed", dir, (long)getpid(), atomic_fetch_add(&made, 1)) < 0) {
        w->shared_file = NULL;
        return -1;
    }
    fd = open(w->shared_file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    failed = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)w->size);
    if (!failed && (map = mmap(NULL, w->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        failed = errno;
    if (fd >= 0)
        close(fd);
    if (!failed) {
        w->data = map;
        w->mapped = true;
        return 0;
    }
    if (fd >= 0)
        unlink(w->shared_file);
    free(w->shared_file);
    w->shared_file = NULL;
    errno = failed;
    return -1;
}

/* Gives the file the name of its digest: whoever finds the name finds it whole. */
static int name_file(struct rlhf_weights *w, struct rlhf_error *err)
{
    size_t dir = (size_t)(strrchr(w->shared_file, '/') - w->shared_file);
    char hex[RLHF_DIGEST_TEXT], *name;

    rlhf_digest_text(&w->digest, hex);
    if (asprintf(&name, "%.*s/%s.weights", (int)dir, w->shared_file, hex) < 0)
        return rlhf_fail(err, RLHF_FULL, "no memory for a file's name");
    if (mprotect((void *)w->data, w->size, PROT_READ) < 0 || rename(w->shared_file, name) < 0) {
        rlhf_fail_errno(err, errno, "weights cannot be published as %s", name);
        free(name);
        return -1;
    }
    free(w->shared_file);
    w->shared_file = name;
    return 0;
}

static void hash_some(void *ctx, size_t task)
{
    struct rlhf_weights *w = ctx;
    size_t from = task * RLHF_CHUNKS_AT_ONCE, count = 0;
    uint32_t index[RLHF_CHUNKS_AT_ONCE];

    while (count < RLHF_CHUNKS_AT_ONCE && from + count < w->chunk_count) {
        index[count] = (uint32_t)(from + count);
        count++;
    }
    rlhf_chunks_hash(w->data, w->size, w->chunk_size, index, count, w->chunks + from);
}

struct rlhf_weights *rlhf_weights_room(const struct rlhf_weights_spec *spec, void **to, struct rlhf_error *err)
{
    struct rlhf_weights *w;

    if (spec->size == 0 || spec->size > (size_t)RLHF_CHUNKS_MAX * RLHF_CHUNK_SIZE
        || strlen(spec->config) > RLHF_WEIGHTS_CONFIG_MAX) {
        rlhf_fail(err, RLHF_REJECT, "weights of %zu bytes cannot be published", spec->size);
        return NULL;
    }
    if (!(w = rlhf_weights_alloc(spec->name, spec->version, spec->config, spec->size, RLHF_CHUNK_SIZE, err)))
        return NULL;
    if (!spec->shared_dir || share(w, spec->shared_dir) < 0) {
        if (spec->shared_dir)
            rlhf_log(RLHF_LEVEL_WARNING, "weights_not_shared dir=%s why=\"%s\"", spec->shared_dir, strerror(errno));
        if (!(w->owned = rlhf_block_new(w->size, err))) {
            rlhf_weights_free(w);
            return NULL;
        }
        w->data = w->owned;
    }
    *to = (void *)w->data;
    return w;
}

int rlhf_weights_seal(struct rlhf_weights *w, struct rlhf_pool *pool, struct rlhf_error *err)
{
    rlhf_pool_for(pool, (w->chunk_count - 1) / RLHF_CHUNKS_AT_ONCE + 1, hash_some, w);
    if (rlhf_manifest_digest(w->config, w->size, w->chunk_size, w->chunks, w->chunk_count, &w->digest, err) < 0)
        return -1;
    return w->shared_file ? name_file(w, err) : 0;
}

struct rlhf_weights *rlhf_weights_new(const struct rlhf_weights_spec *spec, struct rlhf_error *err)
{
    void *to;
    struct rlhf_weights *w = rlhf_weights_room(spec, &to, err);

    if (!w)
        return NULL;
    memcpy(to, spec->payload, spec->size);
    if (rlhf_weights_seal(w, spec->pool, err) == 0)
        return w;
    rlhf_weights_free(w);
    return NULL;
}

const struct rlhf_digest *rlhf_weights_digest(const struct rlhf_weights *w)
{
    return &w->digest;
}

const char *rlhf_weights_name(const struct rlhf_weights *w)
{
    return w->name;
}

uint64_t rlhf_weights_version(const struct rlhf_weights *w)
{
    return w->version;
}

const char *rlhf_weights_config(const struct rlhf_weights *w)
{
    return w->config;
}

struct rlhf_blob rlhf_weights_payload(const struct rlhf_weights *w)
{
    return (struct rlhf_blob){ w->data, w->size };
}

enum { UNMAP_AT_ONCE = 32 << 20 }; /* bytes, 1 to 2 ms: meanwhile no thread of the process can map or fault in another page */

static void unmap(const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size; at += UNMAP_AT_ONCE)
        munmap((void *)(data + at), size - at < UNMAP_AT_ONCE ? size - at : UNMAP_AT_ONCE);
}

void rlhf_weights_free(struct rlhf_weights *w)
{
    if (!w || atomic_fetch_sub(&w->uses, 1) > 1)
        return;
    if (w->mapped)
        unmap(w->data, w->size);
    if (w->shared_file)
        unlink(w->shared_file);
    free(w->shared_file);
    free(w->owned);
    free(w->chunks);
    free(w->config);
    free(w->name);
    free(w);
}
