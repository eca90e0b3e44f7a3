#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "net/weights_part.h"
#include "proto/weights.pb-c.h"
#include "telemetry/log.h"

enum { MAX_SERVED = 64 };

struct rlhf_weights_source {
    char host[64];
    struct rlhf_weights *served[MAX_SERVED];
    size_t count;
};

struct rlhf_weights_source *rlhf_weights_source_new(const char *host, struct rlhf_error *err)
{
    struct rlhf_weights_source *s = calloc(1, sizeof *s);

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "no memory to serve weights");
        return NULL;
    }
    strncpy(s->host, host ? host : "", sizeof s->host - 1);
    return s;
}

static size_t find(const struct rlhf_weights_source *s, const struct rlhf_digest *digest)
{
    size_t i = 0;

    while (i < s->count && !rlhf_digest_equal(&s->served[i]->digest, digest))
        i++;
    return i;
}

int rlhf_weights_source_add(struct rlhf_weights_source *s, struct rlhf_weights *w, struct rlhf_error *err)
{
    size_t at = find(s, &w->digest);

    if (at < s->count) {
        struct rlhf_weights *known = s->served[at];

        /* The newer one wrote its shared file over the older one's, under the same name and with the same bytes. */
        if (w->shared_file && known->shared_file && strcmp(w->shared_file, known->shared_file) == 0) {
            free(known->shared_file);
            known->shared_file = NULL;
        }
        s->served[at] = w;
        rlhf_weights_free(known);
        return 0;
    }
    if (s->count == MAX_SERVED) {
        rlhf_weights_free(w);
        return rlhf_fail(err, RLHF_FULL, "%d weights are served already: drop some before publishing more",
                         MAX_SERVED);
    }
    s->served[s->count++] = w;
    rlhf_log(RLHF_LEVEL_INFO, "weights_published name=%s version=%llu bytes=%zu shared=%d", w->name,
             (unsigned long long)w->version, w->size, w->shared_file != NULL);
    return 0;
}

int rlhf_weights_source_publish(struct rlhf_weights_source *s, const struct rlhf_weights_spec *spec,
                                struct rlhf_digest *digest, struct rlhf_error *err)
{
    struct rlhf_weights *w = rlhf_weights_new(spec, err);

    if (!w)
        return -1;
    *digest = w->digest;
    return rlhf_weights_source_add(s, w, err);
}

const struct rlhf_weights *rlhf_weights_source_get(const struct rlhf_weights_source *s,
                                                   const struct rlhf_digest *digest)
{
    size_t at = find(s, digest);

    return at < s->count ? s->served[at] : NULL;
}

struct rlhf_weights *rlhf_weights_source_take(struct rlhf_weights_source *s, const struct rlhf_digest *digest)
{
    size_t at = find(s, digest);
    struct rlhf_weights *w = at < s->count ? s->served[at] : NULL;

    if (w)
        s->served[at] = s->served[--s->count];
    return w;
}

void rlhf_weights_source_drop(struct rlhf_weights_source *s, const struct rlhf_digest *digest)
{
    rlhf_weights_free(rlhf_weights_source_take(s, digest));
}

int rlhf_weights_source_announce(const struct rlhf_weights_source *s, struct rlhf_node *n, struct rlhf_peer *peer,
                                 const struct rlhf_digest *digest, const struct rlhf_digest *drop,
                                 size_t drop_count, struct rlhf_error *err)
{
    Rlhf__V1__WeightsAnnounce body = RLHF__V1__WEIGHTS_ANNOUNCE__INIT;
    struct rlhf_message m = { .type = RLHF__V1__MESSAGE_TYPE__WEIGHTS_ANNOUNCE, .body = &body.base };
    const struct rlhf_weights *w = digest ? rlhf_weights_source_get(s, digest) : NULL;
    ProtobufCBinaryData gone[RLHF_MAX_DIGESTS];

    if (drop_count > RLHF_MAX_DIGESTS)
        return rlhf_fail(err, RLHF_REJECT, "%zu weights to drop; at most %d go into a message", drop_count,
                         RLHF_MAX_DIGESTS);
    if (w) {
        body.digest = rlhf_digest_field(&w->digest);
        body.name = w->name;
        body.version = w->version;
    }
    for (size_t i = 0; i < drop_count; i++)
        gone[i] = rlhf_digest_field(&drop[i]);
    body.drop = gone;
    body.n_drop = drop_count;
    return rlhf_node_send(n, peer, &m, err);
}

static struct rlhf_weights *wanted(const struct rlhf_weights_source *s, const ProtobufCBinaryData *field,
                                   struct rlhf_error *err)
{
    struct rlhf_digest digest = rlhf_digest_of_field(field);
    size_t at = find(s, &digest);

    if (at == s->count) {
        rlhf_fail(err, RLHF_REJECT, "these weights are not published here (any more)");
        return NULL;
    }
    return s->served[at];
}

int rlhf_weights_source_on_request(struct rlhf_weights_source *s, struct rlhf_node *n, struct rlhf_peer *peer,
                                   const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__WeightsRequest *request = (const Rlhf__V1__WeightsRequest *)m->body;
    Rlhf__V1__WeightsManifest body = RLHF__V1__WEIGHTS_MANIFEST__INIT;
    const struct rlhf_weights *w = wanted(s, &request->digest, err);
    ProtobufCBinaryData *chunks;

    if (!w)
        return -1;
    if (!(chunks = calloc(w->chunk_count, sizeof *chunks)))
        return rlhf_fail(err, RLHF_FULL, "no memory for a manifest");
    for (size_t i = 0; i < w->chunk_count; i++)
        chunks[i] = rlhf_digest_field(&w->chunks[i]);
    body.digest = rlhf_digest_field(&w->digest);
    body.name = w->name;
    body.version = w->version;
    body.config = w->config;
    body.size = w->size;
    body.chunk_size = w->chunk_size;
    body.n_chunks = w->chunk_count;
    body.chunks = chunks;
    body.shared_file = w->shared_file ? w->shared_file : (char *)"";
    body.host = s->host;
    /* A peer that cannot be sent to is lost at the next tick; that is no fault of its request. */
    rlhf_node_reply(n, peer, m, RLHF__V1__MESSAGE_TYPE__WEIGHTS_MANIFEST, &body.base, NULL);
    free(chunks);
    return 0;
}

int rlhf_weights_source_on_chunk_request(struct rlhf_weights_source *s, struct rlhf_node *n, struct rlhf_peer *peer,
                                         const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ChunkRequest *request = (const Rlhf__V1__ChunkRequest *)m->body;
    struct rlhf_weights *w = wanted(s, &request->digest, err);

    if (!w)
        return -1;
    for (size_t i = 0; i < request->n_index; i++)
        if (request->index[i] >= w->chunk_count)
            return rlhf_fail(err, RLHF_REJECT, "chunk %u of %zu", request->index[i], w->chunk_count);
    for (size_t i = 0; i < request->n_index; i++) {
        Rlhf__V1__Chunk body = RLHF__V1__CHUNK__INIT;
        uint32_t index = request->index[i];
        struct rlhf_message chunk = {
            .type = RLHF__V1__MESSAGE_TYPE__CHUNK,
            .request = m->request,
            .body = &body.base,
            .blobs = { { w->data + (size_t)index * w->chunk_size,
                         rlhf_chunk_bytes(w->size, w->chunk_size, index) } },
            .blob_count = 1,
            .keeper = &w->keeper,
        };

        body.digest = rlhf_digest_field(&w->digest);
        body.index = index;
        if (rlhf_node_send(n, peer, &chunk, NULL) < 0)
            return 0;
    }
    return 0;
}

void rlhf_weights_source_free(struct rlhf_weights_source *s)
{
    if (!s)
        return;
    while (s->count)
        rlhf_weights_free(s->served[--s->count]);
    free(s);
}
