#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/checks.h"
#include "net/weights_part.h"
#include "proto/weights.pb-c.h"
#include "telemetry/log.h"

enum {
    MAX_TRANSFERS = 16,
    VERIFY_AT_ONCE = 16,      /* chunks between two looks at the network: 6 to 25 ms */
    VERIFY_BEHIND = 8,        /* the same while somebody computes with it, who wants the cores: a slice every ... */
    VERIFY_BEHIND_US = 15000, /* so that 440 MB take 0.8 s, about as long as a completion */
    VERIFY_REST_US = 100000,  /* after it was given: its first tokens come first */
    SPARE = 1 << 30,          /* bytes of the largest payload whose memory is kept for the next */
    PATIENCE_US = 10000000,   /* without progress before asking again                                  */
    MAX_FALSE_CHUNKS = 8,     /* of one transfer, before its service is not believed any more          */
};

enum state {
    ASKING,    /* for the manifest        */
    FETCHING,  /* chunk by chunk          */
    VERIFYING, /* what is whole: a mapped file, or chunks that were not verified as they came */
};
enum chunk { LACKING, ASKED, UNVERIFIED, HERE };

struct transfer {
    struct rlhf_digest digest;
    uint64_t request; /* of its messages: tells which transfer an Error is about */
    enum state state;
    bool given;   /* while it is still being verified */
    bool doubted; /* it was false once: chunks are verified as they come */
    struct rlhf_weights *w; /* from the manifest on */
    uint8_t *chunks;        /* enum chunk [chunk_count] */
    size_t here, asked;     /* how many; VERIFYING: `here` are verified */
    uint32_t unverified[RLHF_CHUNKS_AT_ONCE];
    size_t unverified_count;
    size_t false_chunks;
    int64_t retry_us;       /* ask again then */
};

struct rlhf_weights_store {
    struct rlhf_weights_store_config config;
    const struct rlhf_env *env;
    struct rlhf_node *node;
    struct rlhf_peer *service; /* NULL while there is none */
    struct transfer transfers[MAX_TRANSFERS]; /* oldest first */
    size_t count;
    uint64_t last_request;
    int64_t verify_us; /* the next slice of what was given */
    uint8_t *spare;    /* memory of a payload that left; NULL: none */
    size_t spare_size;
    bool due; /* something can be asked for or verified now */
};

struct rlhf_weights_store *rlhf_weights_store_new(const struct rlhf_env *env,
                                                  const struct rlhf_weights_store_config *c,
                                                  struct rlhf_error *err)
{
    struct rlhf_weights_store *s = calloc(1, sizeof *s);

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "no memory to fetch weights");
        return NULL;
    }
    s->config = *c;
    s->env = env;
    return s;
}

static struct transfer *find(struct rlhf_weights_store *s, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < s->count; i++)
        if (rlhf_digest_equal(&s->transfers[i].digest, digest))
            return &s->transfers[i];
    return NULL;
}

/* Takes the transfer out of the table, keeping the order of the others. */
static struct transfer take_out(struct rlhf_weights_store *s, struct transfer *t)
{
    struct transfer out = *t;
    size_t at = (size_t)(t - s->transfers);

    memmove(t, t + 1, (--s->count - at) * sizeof *t);
    free(out.chunks);
    out.chunks = NULL;
    s->due = true; /* another one may have its turn */
    return out;
}

static void succeed(struct rlhf_weights_store *s, struct transfer *t)
{
    struct transfer done = take_out(s, t);

    rlhf_log(RLHF_LEVEL_INFO, "weights_fetched name=%s version=%llu bytes=%zu mapped=%d", done.w->name,
             (unsigned long long)done.w->version, done.w->size, done.w->mapped);
    if (done.given)
        rlhf_weights_free(done.w);
    else
        s->config.ready(s->config.ctx, done.w);
}

static void fail(struct rlhf_weights_store *s, struct transfer *t, const struct rlhf_error *why)
{
    struct transfer failed = take_out(s, t);

    rlhf_weights_free(failed.w);
    rlhf_log(RLHF_LEVEL_WARNING, "weights_not_fetched why=\"%s\"", why->text);
    if (s->config.failed)
        s->config.failed(s->config.ctx, &failed.digest, why);
}

int rlhf_weights_store_want(struct rlhf_weights_store *s, const struct rlhf_digest *digest, struct rlhf_error *err)
{
    if (find(s, digest))
        return 0;
    if (s->count == MAX_TRANSFERS)
        return rlhf_fail(err, RLHF_FULL, "%d weights are being fetched already", MAX_TRANSFERS);
    s->transfers[s->count++] = (struct transfer){ .digest = *digest, .request = ++s->last_request };
    s->due = true;
    return 0;
}

bool rlhf_weights_store_fetching(const struct rlhf_weights_store *s, const struct rlhf_digest *digest)
{
    return find((struct rlhf_weights_store *)s, digest) != NULL;
}

void rlhf_weights_store_drop(struct rlhf_weights_store *s, const struct rlhf_digest *digest)
{
    struct transfer *t = find(s, digest);

    if (t)
        rlhf_weights_free(take_out(s, t).w);
}

/* ---- asking ---------------------------------------------------------------------------------------- */

static int64_t now_us(const struct rlhf_weights_store *s)
{
    return rlhf_now(s->env->clock);
}

static void ask_for_manifest(struct rlhf_weights_store *s, struct transfer *t)
{
    Rlhf__V1__WeightsRequest body = RLHF__V1__WEIGHTS_REQUEST__INIT;

    body.digest = rlhf_digest_field(&t->digest);
    t->retry_us = now_us(s) + PATIENCE_US;
    rlhf_node_send(s->node, s->service,
                   &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__WEIGHTS_REQUEST,
                                           .request = t->request,
                                           .body = &body.base },
                   NULL);
}

/* Up to `most` chunks that are lacking, as many as go into a message; returns how many. */
static size_t ask_for_chunks(struct rlhf_weights_store *s, struct transfer *t, size_t most)
{
    Rlhf__V1__ChunkRequest body = RLHF__V1__CHUNK_REQUEST__INIT;
    uint32_t index[RLHF_CHUNKS_A_REQUEST];
    size_t n = 0;

    for (size_t i = 0; i < t->w->chunk_count && n < most && n < RLHF_CHUNKS_A_REQUEST; i++)
        if (t->chunks[i] == LACKING)
            index[n++] = (uint32_t)i;
    if (n == 0)
        return 0;
    body.digest = rlhf_digest_field(&t->digest);
    body.n_index = n;
    body.index = index;
    t->retry_us = now_us(s) + PATIENCE_US;
    if (rlhf_node_send(s->node, s->service,
                       &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__CHUNK_REQUEST,
                                               .request = t->request,
                                               .body = &body.base },
                       NULL)
        < 0)
        return 0; /* the node will say that the service is lost, and greet it again */
    for (size_t i = 0; i < n; i++)
        t->chunks[index[i]] = ASKED;
    t->asked += n;
    return n;
}

static void forget_asked(struct transfer *t)
{
    for (size_t i = 0; t->state == FETCHING && i < t->w->chunk_count; i++)
        if (t->chunks[i] == ASKED)
            t->chunks[i] = LACKING;
    t->asked = 0;
}

/* Asks for as much as may be in flight, oldest transfer first. */
static void ask(struct rlhf_weights_store *s)
{
    int64_t now = now_us(s);
    size_t in_flight = 0;

    if (!s->service)
        return;
    for (size_t i = 0; i < s->count; i++) {
        struct transfer *t = &s->transfers[i];

        if (t->state == FETCHING && t->asked && now >= t->retry_us)
            forget_asked(t);
        in_flight += t->asked;
        if (t->state == ASKING && now >= t->retry_us)
            ask_for_manifest(s, t);
    }
    for (size_t i = 0, asked; i < s->count && in_flight < RLHF_CHUNKS_IN_FLIGHT; i++)
        do {
            asked = s->transfers[i].state == FETCHING
                        ? ask_for_chunks(s, &s->transfers[i], RLHF_CHUNKS_IN_FLIGHT - in_flight) : 0;
            in_flight += asked;
        } while (asked > 0 && in_flight < RLHF_CHUNKS_IN_FLIGHT);
}

void rlhf_weights_store_peer_up(struct rlhf_weights_store *s, struct rlhf_node *n, struct rlhf_peer *service)
{
    s->node = n;
    s->service = service;
    s->due = true;
    for (size_t i = 0; i < s->count; i++)
        s->transfers[i].retry_us = 0;
}

void rlhf_weights_store_peer_lost(struct rlhf_weights_store *s, struct rlhf_peer *service)
{
    if (s->service != service)
        return;
    s->service = NULL;
    for (size_t i = 0; i < s->count; i++)
        forget_asked(&s->transfers[i]);
}

/* ---- the manifest ---------------------------------------------------------------------------------- */

/* A regular file of the right size, mapped; anything else is no reason to fail. */
static void map_shared(struct transfer *t, const char *path)
{
    struct stat st;
    void *map;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == t->w->size
        && (map = mmap(NULL, t->w->size, PROT_READ, MAP_SHARED, fd, 0)) != MAP_FAILED) {
        t->w->data = map;
        t->w->mapped = true;
        t->state = VERIFYING;
    }
    close(fd);
}

void rlhf_weights_store_recycle(struct rlhf_weights_store *s, struct rlhf_weights *w)
{
    if (!rlhf_weights_shared(w) && w->owned && w->size <= SPARE) {
        free(s->spare);
        s->spare = w->owned;
        s->spare_size = w->size;
        w->owned = NULL;
    }
    rlhf_weights_free(w);
}

static int begin_fetching(struct rlhf_weights_store *s, struct transfer *t, struct rlhf_error *err)
{
    if (s->spare && s->spare_size == t->w->size) {
        t->w->owned = s->spare;
        s->spare = NULL;
    } else if (!(t->w->owned = rlhf_block_new(t->w->size, err))) {
        return -1;
    }
    t->w->data = t->w->owned;
    t->state = FETCHING;
    memset(t->chunks, LACKING, t->w->chunk_count);
    t->here = t->asked = 0;
    t->retry_us = 0;
    return 0;
}

static int read_manifest(struct rlhf_weights_store *s, struct transfer *t, const Rlhf__V1__WeightsManifest *body,
                         struct rlhf_error *err)
{
    struct rlhf_digest digest;

    if (body->size > s->config.max_bytes)
        return rlhf_fail(err, RLHF_FULL, "weights of %llu bytes; at most %zu are taken here",
                         (unsigned long long)body->size, s->config.max_bytes);
    if (!(t->w = rlhf_weights_alloc(body->name, body->version, body->config, body->size, body->chunk_size, err)))
        return -1;
    if (!(t->chunks = calloc(t->w->chunk_count, 1)))
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu chunks of weights", t->w->chunk_count);
    for (size_t i = 0; i < t->w->chunk_count; i++)
        t->w->chunks[i] = rlhf_digest_of_field(&body->chunks[i]);
    if (rlhf_manifest_digest(t->w->config, t->w->size, t->w->chunk_size, t->w->chunks, t->w->chunk_count, &digest,
                             err) < 0)
        return -1;
    if (!rlhf_digest_equal(&digest, &t->digest))
        return rlhf_fail(err, RLHF_REJECT, "a manifest that does not have the digest asked for");
    t->w->digest = digest;
    if (body->shared_file[0] && s->config.host[0] && strcmp(body->host, s->config.host) == 0)
        map_shared(t, body->shared_file);
    return t->state == VERIFYING ? 0 : begin_fetching(s, t, err);
}

int rlhf_weights_store_on_manifest(struct rlhf_weights_store *s, struct rlhf_peer *peer,
                                   const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__WeightsManifest *body = (const Rlhf__V1__WeightsManifest *)m->body;
    struct rlhf_digest digest = rlhf_digest_of_field(&body->digest);
    struct transfer *t = find(s, &digest);
    struct rlhf_error why = { 0 };

    if (peer != s->service || !t || t->state != ASKING)
        return 0; /* not asked for any more */
    if (read_manifest(s, t, body, &why) < 0) {
        fail(s, t, &why);
        return why.code == RLHF_REJECT ? rlhf_fail(err, why.code, "%s", why.text) : 0;
    }
    s->due = true;
    return 0;
}

/* ---- the bytes ------------------------------------------------------------------------------------- */

/* Hashes what came, several chunks at once. A false one counts as not come: it is asked for again when patience ends. */
static int verify_arrived(struct transfer *t, struct rlhf_error *err)
{
    struct rlhf_digest got[RLHF_CHUNKS_AT_ONCE];
    int rc = 0;

    rlhf_chunks_hash(t->w->data, t->w->size, t->w->chunk_size, t->unverified, t->unverified_count, got);
    for (size_t i = 0; i < t->unverified_count; i++) {
        uint32_t index = t->unverified[i];
        bool good = rlhf_digest_equal(&got[i], &t->w->chunks[index]);

        t->chunks[index] = good ? HERE : ASKED;
        t->here += good;
        t->asked += !good;
        t->false_chunks += !good;
        if (!good)
            rc = rlhf_fail(err, RLHF_REJECT, "chunk %u of %s is not what its manifest says", index, t->w->name);
    }
    t->unverified_count = 0;
    return rc;
}

/* Keeps a chunk until all are there, where somebody takes weights that are verified behind; else until there are enough to
 * verify, or no more is under way. */
static int take_chunk(struct transfer *t, uint32_t index, const struct rlhf_blob *blob, bool behind, struct rlhf_error *err)
{
    if (blob->size != rlhf_chunk_bytes(t->w->size, t->w->chunk_size, index)) {
        t->false_chunks++;
        return rlhf_fail(err, RLHF_REJECT, "chunk %u of %s has %zu bytes, not what its manifest says", index, t->w->name,
                         blob->size);
    }
    memcpy(t->w->owned + (size_t)index * t->w->chunk_size, blob->data, blob->size);
    t->asked -= t->chunks[index] == ASKED;
    if (behind) {
        t->chunks[index] = HERE;
        t->here++;
        return 0;
    }
    t->chunks[index] = UNVERIFIED;
    t->unverified[t->unverified_count++] = index;
    return t->unverified_count == RLHF_CHUNKS_AT_ONCE || t->asked == 0 ? verify_arrived(t, err) : 0;
}

int rlhf_weights_store_on_chunk(struct rlhf_weights_store *s, struct rlhf_peer *peer, const struct rlhf_message *m,
                                struct rlhf_error *err)
{
    const Rlhf__V1__Chunk *body = (const Rlhf__V1__Chunk *)m->body;
    struct rlhf_digest digest = rlhf_digest_of_field(&body->digest);
    struct transfer *t = find(s, &digest);
    const bool behind = s->config.spoiled && t && !t->doubted;
    struct rlhf_error why = { 0 };

    if (peer != s->service || !t || t->state != FETCHING || body->index >= t->w->chunk_count
        || t->chunks[body->index] >= UNVERIFIED)
        return 0; /* late, or twice */
    if (take_chunk(t, body->index, &m->blobs[0], behind, &why) < 0) {
        if (t->false_chunks > MAX_FALSE_CHUNKS)
            fail(s, t, &why);
        return rlhf_fail(err, why.code, "%s", why.text);
    }
    t->retry_us = now_us(s) + PATIENCE_US;
    if (t->here == t->w->chunk_count && behind) {
        t->state = VERIFYING;
        t->here = 0;
        s->due = true;
    } else if (t->here == t->w->chunk_count)
        succeed(s, t);
    else if (t->asked <= RLHF_CHUNKS_IN_FLIGHT / 2)
        ask(s); /* at once: what else has come is heard first before the next tick, and the link would stand idle */
    return 0;
}

void rlhf_weights_store_on_error(struct rlhf_weights_store *s, struct rlhf_peer *peer,
                                 const struct rlhf_message *m)
{
    const Rlhf__V1__Error *said = (const Rlhf__V1__Error *)m->body;
    struct rlhf_error why;

    if (peer != s->service
        || (said->type != RLHF__V1__MESSAGE_TYPE__WEIGHTS_REQUEST
            && said->type != RLHF__V1__MESSAGE_TYPE__CHUNK_REQUEST))
        return;
    for (size_t i = 0; i < s->count; i++) {
        struct transfer *t = &s->transfers[i];

        if (t->request != said->request)
            continue;
        rlhf_fail(&why, (enum rlhf_code)said->code, "%s", said->text);
        if (why.code != RLHF_AGAIN && why.code != RLHF_FULL) /* those are asked again when patience ends */
            fail(s, t, &why);
        return;
    }
}

/* The next few chunks are what the manifest says. */
static bool verify_next(struct transfer *t, struct rlhf_error *why)
{
    size_t count = 0;

    for (; count < RLHF_CHUNKS_AT_ONCE && t->here + count < t->w->chunk_count; count++)
        t->unverified[count] = (uint32_t)(t->here + count);
    t->unverified_count = count;
    return verify_arrived(t, why) == 0;
}

static struct transfer *oldest_whole(struct rlhf_weights_store *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->transfers[i].state == VERIFYING)
            return &s->transfers[i];
    return NULL;
}

/* Whoever waits has them once they are whole: hashing 440 MB takes 0.2 s. False when nobody did. */
static bool give_whole(struct rlhf_weights_store *s)
{
    bool gave = false;

    for (size_t i = 0; s->config.spoiled && i < s->count; i++) {
        struct transfer *t = &s->transfers[i];

        if (t->state != VERIFYING || t->given)
            continue;
        t->given = gave = true;
        s->verify_us = now_us(s) + VERIFY_REST_US;
        s->config.ready(s->config.ctx, rlhf_weights_share(t->w));
        i = SIZE_MAX; /* it may have wanted others, or dropped some */
    }
    return gave;
}

/* They are false: the bytes come over the network, once more if they did, into weights of their own. */
static void fetch_instead(struct rlhf_weights_store *s, struct transfer *t)
{
    struct rlhf_weights *before = t->w, *w;
    struct rlhf_error why = { 0 };
    bool given = t->given;
    struct rlhf_digest digest = t->digest;

    w = rlhf_weights_alloc(before->name, before->version, before->config, before->size, before->chunk_size, &why);
    if (w) {
        memcpy(w->chunks, before->chunks, before->chunk_count * sizeof *before->chunks);
        w->digest = digest;
    }
    rlhf_weights_free(before);
    t->w = w;
    t->given = false;
    t->doubted = true;
    s->due = true;
    if (!w || begin_fetching(s, t, &why) < 0)
        fail(s, t, &why);
    if (given)
        s->config.spoiled(s->config.ctx, &digest);
}

/* So many chunks of t, the oldest that is whole; a false one sends the transfer to the network. */
static void verify(struct rlhf_weights_store *s, struct transfer *t, size_t most)
{
    struct rlhf_error why = { 0 };

    for (size_t n = 0; n < most && t->here < t->w->chunk_count; n += RLHF_CHUNKS_AT_ONCE)
        if (!verify_next(t, &why)) {
            rlhf_log(RLHF_LEVEL_WARNING, "%s_false name=%s why=\"%s\"", t->w->mapped ? "shared_file" : "weights", t->w->name, why.text);
            fetch_instead(s, t);
            return;
        }
    if (t->here == t->w->chunk_count)
        succeed(s, t);
}

/* The next slice of the oldest that is whole, when it is time. */
static void verify_some(struct rlhf_weights_store *s, int64_t now)
{
    struct transfer *t = oldest_whole(s);

    if (!t || (t->given && now < s->verify_us))
        return;
    s->due = !t->given;
    s->verify_us = now + VERIFY_BEHIND_US;
    verify(s, t, t->given ? VERIFY_BEHIND : VERIFY_AT_ONCE);
}

void rlhf_weights_store_settle(struct rlhf_weights_store *s)
{
    for (struct transfer *t; (t = oldest_whole(s)) && t->given;)
        verify(s, t, SIZE_MAX);
}

void rlhf_weights_store_tick(struct rlhf_weights_store *s, int64_t now_us)
{
    s->due = false;
    if (!give_whole(s))
        verify_some(s, now_us);
    ask(s);
}

int64_t rlhf_weights_store_deadline(const struct rlhf_weights_store *s)
{
    int64_t at = INT64_MAX;

    if (s->due)
        return s->service || s->count ? 0 : INT64_MAX;
    for (size_t i = 0; i < s->count && s->service; i++) {
        const struct transfer *t = &s->transfers[i];

        if ((t->state == ASKING || t->asked) && t->retry_us < at) /* others wait for their turn */
            at = t->retry_us;
    }
    for (size_t i = 0; i < s->count; i++)
        if (s->transfers[i].state == VERIFYING && s->verify_us < at)
            at = s->verify_us;
    return at;
}

void rlhf_weights_store_free(struct rlhf_weights_store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        rlhf_weights_free(s->transfers[i].w);
        free(s->transfers[i].chunks);
    }
    free(s->spare);
    free(s);
}
