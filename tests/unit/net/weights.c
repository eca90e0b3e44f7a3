/* Weights on the wire: whole or not at all, whatever happens on the way. */
#include "net/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/checks.h"
#include "proto/weights.pb-c.h"
#include "support/loopback.h"
#include "support/suite.h"

#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define WORKER RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER
#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { SECOND = 1000000, PAYLOAD = 40 * RLHF_CHUNK_SIZE + 12345 };

struct publisher {
    struct loopback_peers peers; /* first */
    struct rlhf_weights_source *source;
    struct rlhf_node *node;
    unsigned manifests, chunk_requests, chunks_asked;
    uint32_t tamper_chunk;       /* this chunk is sent with one bit changed, so often */
    unsigned tamper_times;
};

static int on_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct publisher *p = state;

    p->manifests++;
    return rlhf_weights_source_on_request(p->source, p->node, peer, m, err);
}

static int on_chunk_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ChunkRequest *body = (const Rlhf__V1__ChunkRequest *)m->body;
    struct publisher *p = state;

    p->chunk_requests++;
    p->chunks_asked += (unsigned)body->n_index;
    for (size_t i = 0; i < body->n_index; i++) {
        struct rlhf_digest digest = rlhf_digest_of_field(&body->digest);
        const struct rlhf_weights *w = rlhf_weights_source_get(p->source, &digest);
        Rlhf__V1__Chunk chunk = RLHF__V1__CHUNK__INIT;
        static uint8_t bytes[RLHF_CHUNK_SIZE];

        if (!w || p->tamper_times == 0 || body->index[i] != p->tamper_chunk)
            continue;
        p->tamper_times--;
        memcpy(bytes, (const uint8_t *)rlhf_weights_payload(w).data + (size_t)p->tamper_chunk * RLHF_CHUNK_SIZE,
               sizeof bytes);
        bytes[777] ^= 4;
        chunk.digest = body->digest;
        chunk.index = p->tamper_chunk;
        rlhf_node_send(p->node, peer,
                       &(struct rlhf_message){ .type = TYPE(CHUNK),
                                               .body = &chunk.base,
                                               .blobs = { { bytes, sizeof bytes } },
                                               .blob_count = 1 },
                       NULL);
    }
    return rlhf_weights_source_on_chunk_request(p->source, p->node, peer, m, err);
}

static const struct rlhf_handler publisher_rows[] = {
    { TYPE(WEIGHTS_REQUEST), &rlhf__v1__weights_request__descriptor, RLHF_ROLE_BIT(WORKER), 256, 0, 0,
      rlhf_check_weights_request, on_request },
    { TYPE(CHUNK_REQUEST), &rlhf__v1__chunk_request__descriptor, RLHF_ROLE_BIT(WORKER), 512, 0, 0,
      rlhf_check_chunk_request, on_chunk_request },
    { 0 },
};

struct fetcher {
    struct loopback_peers peers; /* first */
    struct rlhf_weights_store *store;
    struct rlhf_node *node;
    struct rlhf_weights *got;
    unsigned ready, failed, announced, spoiled;
    struct rlhf_error why;
};

static int on_manifest(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return rlhf_weights_store_on_manifest(((struct fetcher *)state)->store, peer, m, err);
}

static int on_chunk(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return rlhf_weights_store_on_chunk(((struct fetcher *)state)->store, peer, m, err);
}

static int on_error(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)err;
    rlhf_weights_store_on_error(((struct fetcher *)state)->store, peer, m);
    return 0;
}

static int on_announce(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__WeightsAnnounce *body = (const Rlhf__V1__WeightsAnnounce *)m->body;

    (void)peer;
    (void)err;
    ck_assert_str_eq(body->name, "policy");
    ck_assert_uint_eq(body->n_drop, 1);
    ((struct fetcher *)state)->announced++;
    return 0;
}

static const struct rlhf_handler fetcher_rows[] = {
    { TYPE(WEIGHTS_MANIFEST), &rlhf__v1__weights_manifest__descriptor, RLHF_ROLE_BIT(LEARNER), RLHF_MANIFEST_BYTES, 0,
      0, rlhf_check_weights_manifest, on_manifest },
    { TYPE(CHUNK), &rlhf__v1__chunk__descriptor, RLHF_ROLE_BIT(LEARNER), 256, 1, RLHF_CHUNK_SIZE, rlhf_check_chunk,
      on_chunk },
    { TYPE(WEIGHTS_ANNOUNCE), &rlhf__v1__weights_announce__descriptor, RLHF_ROLE_BIT(LEARNER), 4096, 0, 0,
      rlhf_check_weights_announce, on_announce },
    { TYPE(ERROR), &rlhf__v1__error__descriptor, RLHF_ROLE_BIT(LEARNER), 4096, 0, 0, rlhf_check_error, on_error },
    { 0 },
};

static void fetcher_up(void *state, struct rlhf_peer *peer)
{
    struct fetcher *f = state;

    loopback_peer_up(state, peer);
    rlhf_weights_store_peer_up(f->store, f->node, peer);
}

static void fetcher_lost(void *state, struct rlhf_peer *peer)
{
    rlhf_weights_store_peer_lost(((struct fetcher *)state)->store, peer);
    loopback_peer_lost(state, peer);
}

static void tick(void *state, int64_t now)
{
    rlhf_weights_store_tick(((struct fetcher *)state)->store, now);
}

static int64_t deadline(void *state)
{
    return rlhf_weights_store_deadline(((struct fetcher *)state)->store);
}

static void ready(void *ctx, struct rlhf_weights *w)
{
    struct fetcher *f = ctx;

    f->ready++;
    rlhf_weights_free(f->got);
    f->got = w;
}

static void failed(void *ctx, const struct rlhf_digest *digest, const struct rlhf_error *why)
{
    struct fetcher *f = ctx;

    (void)digest;
    f->failed++;
    f->why = *why;
}

static void spoiled(void *ctx, const struct rlhf_digest *digest)
{
    struct fetcher *f = ctx;

    ck_assert(rlhf_digest_equal(rlhf_weights_digest(f->got), digest));
    f->spoiled++;
}

struct pair {
    struct loopback wire;
    struct publisher publisher;
    struct fetcher fetcher;
    struct rlhf_machine publisher_machine, fetcher_machine;
};

static uint8_t *payload; /* [PAYLOAD] */

static struct rlhf_weights_spec a_spec(const char *shared_dir)
{
    if (!payload) {
        payload = malloc(PAYLOAD);
        for (size_t i = 0; i < PAYLOAD; i++)
            payload[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    return (struct rlhf_weights_spec){ "policy", 3, "{\"model_type\": \"gpt2\"}", payload, PAYLOAD, shared_dir, NULL };
}

static void start_publisher(struct pair *p)
{
    p->publisher.node = loopback_service(&p->wire, LEARNER, &p->publisher_machine);
}

static void a_pair_that(struct pair *p, const char *host, void (*is_spoiled)(void *ctx, const struct rlhf_digest *digest))
{
    struct rlhf_weights_store_config c = { host, 1 << 30, &p->fetcher, ready, is_spoiled, failed };
    struct rlhf_error err = { 0 };

    memset(p, 0, sizeof *p);
    loopback_init(&p->wire);
    p->publisher_machine = (struct rlhf_machine){
        .handlers = publisher_rows, .state = &p->publisher, .peer_up = loopback_peer_up, .peer_lost = loopback_peer_lost
    };
    p->fetcher_machine = (struct rlhf_machine){ .handlers = fetcher_rows,
                                                .state = &p->fetcher,
                                                .peer_up = fetcher_up,
                                                .peer_lost = fetcher_lost,
                                                .tick = tick,
                                                .deadline = deadline };
    expect_some(p->publisher.source = rlhf_weights_source_new("a-host", &err), err);
    expect_some(p->fetcher.store = rlhf_weights_store_new(&p->wire.client.env, &c, &err), err);
    start_publisher(p);
    p->fetcher.node = loopback_client(&p->wire, WORKER, LEARNER, &p->fetcher_machine);
    loopback_run(&p->wire, SECOND);
}

static void a_pair(struct pair *p, const char *host)
{
    a_pair_that(p, host, NULL);
}

static void end_pair(struct pair *p)
{
    rlhf_weights_free(p->fetcher.got);
    loopback_end(&p->wire);
    rlhf_weights_store_free(p->fetcher.store);
    rlhf_weights_source_free(p->publisher.source);
    free(payload);
    payload = NULL;
}

static struct rlhf_digest publish(struct pair *p, const char *shared_dir)
{
    struct rlhf_weights_spec spec = a_spec(shared_dir);
    struct rlhf_digest digest = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_weights_source_publish(p->publisher.source, &spec, &digest, &err), err);
    return digest;
}

static void want(struct pair *p, const struct rlhf_digest *digest)
{
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_weights_store_want(p->fetcher.store, digest, &err), err);
}

static void expect_whole(const struct fetcher *f, const struct rlhf_digest *digest)
{
    struct rlhf_blob got;

    ck_assert_msg(f->ready == 1 && f->failed == 0, "ready %u failed %u: %s", f->ready, f->failed, f->why.text);
    got = rlhf_weights_payload(f->got);
    ck_assert_uint_eq(got.size, PAYLOAD);
    ck_assert(memcmp(got.data, payload, PAYLOAD) == 0);
    ck_assert(rlhf_digest_equal(rlhf_weights_digest(f->got), digest));
    ck_assert_str_eq(rlhf_weights_config(f->got), "{\"model_type\": \"gpt2\"}");
    ck_assert_str_eq(rlhf_weights_name(f->got), "policy");
    ck_assert_uint_eq(rlhf_weights_version(f->got), 3);
}

START_TEST(chunks_arrive_whole_and_no_more_are_asked_for_than_may_be_in_flight)
{
    struct pair p;
    struct rlhf_digest digest;

    a_pair(&p, "another-host");
    digest = publish(&p, NULL);
    want(&p, &digest);
    want(&p, &digest); /* once is enough */
    ck_assert(rlhf_weights_store_fetching(p.fetcher.store, &digest));
    loopback_settle(&p.wire);
    expect_whole(&p.fetcher, &digest);
    ck_assert_uint_eq(p.publisher.manifests, 1);
    ck_assert_uint_eq(p.publisher.chunks_asked, 41);
    ck_assert(!rlhf_weights_store_fetching(p.fetcher.store, &digest));
    end_pair(&p);
}
END_TEST

START_TEST(the_next_version_comes_into_the_memory_of_one_that_left)
{
    struct rlhf_weights *shared = NULL;
    const void *memory = NULL;
    struct rlhf_digest digest;
    struct pair p;

    a_pair(&p, "another-host");
    digest = publish(&p, NULL);
    for (int round = 0; round < 3; round++) {
        want(&p, &digest);
        loopback_settle(&p.wire);
        expect_whole(&p.fetcher, &digest);
        ck_assert(round != 1 || rlhf_weights_payload(p.fetcher.got).data == memory);
        ck_assert(round != 2 || rlhf_weights_payload(p.fetcher.got).data != memory); /* that is still somebody's */
        memory = rlhf_weights_payload(p.fetcher.got).data;
        if (round == 1)
            shared = rlhf_weights_share(p.fetcher.got);
        rlhf_weights_store_recycle(p.fetcher.store, p.fetcher.got);
        p.fetcher.got = NULL;
        p.fetcher.ready = 0;
    }
    rlhf_weights_free(shared);
    end_pair(&p);
}
END_TEST

START_TEST(the_digest_is_that_of_the_canonical_manifest)
{
    struct rlhf_weights *w;
    struct rlhf_digest chunk = rlhf_digest_of("payload", 7), expected;
    struct rlhf_weights_spec spec = { "x", 9, "{}", "payload", 7, NULL, NULL };
    uint8_t canonical[2 + 8 + 4 + RLHF_DIGEST_SIZE] = { '{', '}', 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0 };

    memcpy(canonical + 14, chunk.bytes, sizeof chunk.bytes);
    expected = rlhf_digest_of(canonical, sizeof canonical);
    w = rlhf_weights_new(&spec, NULL);
    ck_assert(rlhf_digest_equal(rlhf_weights_digest(w), &expected));
    rlhf_weights_free(w);
}
END_TEST

START_TEST(a_publisher_killed_at_any_chunk_costs_only_what_was_in_flight)
{
    for (unsigned kill_at = 0; kill_at <= 41; kill_at += 3) {
        struct pair p;
        struct rlhf_digest digest;

        a_pair(&p, "another-host");
        digest = publish(&p, NULL);
        want(&p, &digest);
        while (p.wire.seen[TYPE(CHUNK)] < kill_at && loopback_step(&p.wire))
            ;
        loopback_kill_service(&p.wire);
        memset(&p.publisher.peers, 0, sizeof p.publisher.peers);
        loopback_run(&p.wire, 2 * SECOND);
        start_publisher(&p);
        loopback_run(&p.wire, 30 * SECOND);
        expect_whole(&p.fetcher, &digest);
        ck_assert_uint_le(p.publisher.chunks_asked, 41 + RLHF_CHUNKS_IN_FLIGHT);
        end_pair(&p);
    }
}
END_TEST

START_TEST(lost_chunks_are_asked_for_again)
{
    struct pair p;
    struct rlhf_digest digest;

    a_pair(&p, "another-host");
    digest = publish(&p, NULL);
    want(&p, &digest);
    rlhf_node_tick(p.fetcher.node);
    p.wire.drop_to_client = 1; /* the manifest */
    loopback_run(&p.wire, 11 * SECOND);
    ck_assert_uint_eq(p.publisher.manifests, 2);
    end_pair(&p);

    a_pair(&p, "another-host");
    digest = publish(&p, NULL);
    want(&p, &digest);
    p.publisher.tamper_chunk = 7; /* ... and chunks that are not what they should be */
    p.publisher.tamper_times = 3;
    loopback_run(&p.wire, 60 * SECOND);
    expect_whole(&p.fetcher, &digest);
    end_pair(&p);
}
END_TEST

START_TEST(a_publisher_that_lies_about_a_chunk_is_given_up)
{
    struct pair p;
    struct rlhf_digest digest;
    struct rlhf_weights_spec spec = a_spec(NULL);
    struct rlhf_weights *w = rlhf_weights_new(&spec, NULL);

    a_pair(&p, "another-host");
    digest = *rlhf_weights_digest(w);
    ((uint8_t *)rlhf_weights_payload(w).data)[5] ^= 1; /* after hashing */
    ck_assert_int_eq(rlhf_weights_source_add(p.publisher.source, w, NULL), 0);
    want(&p, &digest);
    loopback_run(&p.wire, 600ll * SECOND);
    ck_assert_uint_eq(p.fetcher.ready, 0);
    ck_assert_uint_eq(p.fetcher.failed, 1);
    expect_contains(p.fetcher.why.text, "chunk 0");
    end_pair(&p);
}
END_TEST

START_TEST(weights_that_nobody_publishes_fail_at_once)
{
    struct pair p;
    struct rlhf_digest digest = rlhf_digest_of("nothing", 7);

    a_pair(&p, "another-host");
    want(&p, &digest);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.fetcher.failed, 1);
    expect_contains(p.fetcher.why.text, "not published");
    digest = publish(&p, NULL);
    want(&p, &digest);
    rlhf_weights_source_drop(p.publisher.source, &digest); /* between the wish and the request */
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.fetcher.failed, 2);
    end_pair(&p);
}
END_TEST

START_TEST(weights_larger_than_allowed_are_refused)
{
    struct pair p;
    struct rlhf_digest digest;
    struct rlhf_weights_store_config c = { "x", PAYLOAD - 1, &p.fetcher, ready, NULL, failed };

    a_pair(&p, "another-host");
    rlhf_weights_store_free(p.fetcher.store);
    p.fetcher.store = rlhf_weights_store_new(&p.wire.client.env, &c, NULL);
    rlhf_weights_store_peer_up(p.fetcher.store, p.fetcher.node, p.fetcher.peers.peer);
    digest = publish(&p, NULL);
    want(&p, &digest);
    loopback_settle(&p.wire);
    expect_code(p.fetcher.why, RLHF_FULL);
    end_pair(&p);
}
END_TEST

START_TEST(on_one_host_the_shared_file_is_mapped_and_no_chunk_travels)
{
    struct pair p;
    struct rlhf_digest digest;
    char hex[RLHF_DIGEST_TEXT], path[600];
    const char *dir = a_directory();

    a_pair(&p, "a-host");
    digest = publish(&p, dir);
    want(&p, &digest);
    loopback_run(&p.wire, SECOND);
    expect_whole(&p.fetcher, &digest);
    ck_assert_uint_eq(p.publisher.chunk_requests, 0);
    rlhf_digest_text(&digest, hex);
    snprintf(path, sizeof path, "%s/%s.weights", dir, hex);
    ck_assert_int_eq(access(path, R_OK), 0);
    rlhf_weights_source_drop(p.publisher.source, &digest);
    ck_assert_int_ne(access(path, F_OK), 0);
    expect_whole(&p.fetcher, &digest); /* still mapped */
    end_pair(&p);
}
END_TEST

START_TEST(a_shared_file_that_is_false_or_gone_or_no_file_is_not_used)
{
    const char *dir = a_directory();

    for (unsigned how = 0; how < 5; how++) {
        struct pair p;
        struct rlhf_digest digest;
        char hex[RLHF_DIGEST_TEXT], path[600], aside[600];
        FILE *f;

        a_pair(&p, "a-host");
        digest = publish(&p, dir);
        rlhf_digest_text(&digest, hex);
        snprintf(path, sizeof path, "%s/%s.weights", dir, hex);
        snprintf(aside, sizeof aside, "%s/aside", dir);
        ck_assert_int_eq(rename(path, aside), 0); /* what is served stays mapped */
        if (how == 1) { /* one bit differs in the last chunk */
            payload[PAYLOAD - 1] ^= 1;
            f = fopen(path, "wb");
            ck_assert_uint_eq(fwrite(payload, 1, PAYLOAD, f), PAYLOAD);
            fclose(f);
            payload[PAYLOAD - 1] ^= 1;
        } else if (how == 2) { /* too short */
            f = fopen(path, "wb");
            fputs("short", f);
            fclose(f);
        } else if (how == 3) {
            ck_assert_int_eq(mkfifo(path, 0600), 0);
        } else if (how == 4) {
            ck_assert_int_eq(symlink(aside, path), 0);
        }
        want(&p, &digest);
        loopback_run(&p.wire, SECOND);
        expect_whole(&p.fetcher, &digest);
        ck_assert_uint_eq(p.publisher.chunks_asked, 41);
        end_pair(&p);
        unlink(path);
        unlink(aside);
    }
}
END_TEST

/* Publishes, and puts a file with one false bit in the place of the shared one. */
static struct rlhf_digest publish_falsely(struct pair *p, const char *dir, char path[600])
{
    struct rlhf_digest digest = publish(p, dir);
    char hex[RLHF_DIGEST_TEXT];
    FILE *f;

    rlhf_digest_text(&digest, hex);
    snprintf(path, 600, "%s/%s.weights", dir, hex);
    unlink(path);
    payload[PAYLOAD - 1] ^= 1;
    f = fopen(path, "wb");
    ck_assert_uint_eq(fwrite(payload, 1, PAYLOAD, f), PAYLOAD);
    fclose(f);
    payload[PAYLOAD - 1] ^= 1;
    return digest;
}

START_TEST(fetched_weights_are_given_before_they_are_verified_and_said_to_be_false)
{
    for (unsigned tampered = 0; tampered < 2; tampered++) {
        struct rlhf_digest digest;
        struct pair p;

        a_pair_that(&p, "another-host", spoiled);
        p.publisher.tamper_chunk = 17;
        p.publisher.tamper_times = tampered;
        digest = publish(&p, NULL);
        want(&p, &digest);
        while (p.fetcher.ready == 0 && loopback_step(&p.wire))
            ;
        ck_assert_uint_eq(p.fetcher.ready, 1);
        ck_assert_uint_eq(p.fetcher.spoiled, 0);
        ck_assert(rlhf_weights_store_fetching(p.fetcher.store, &digest)); /* still verified */
        rlhf_weights_store_settle(p.fetcher.store);
        ck_assert_uint_eq(p.fetcher.spoiled, tampered);
        loopback_settle(&p.wire);
        ck_assert(!rlhf_weights_store_fetching(p.fetcher.store, &digest));
        ck_assert_uint_eq(p.fetcher.ready, 1 + tampered);
        p.fetcher.ready = 1;
        expect_whole(&p.fetcher, &digest);
        end_pair(&p);
    }
}
END_TEST

START_TEST(mapped_weights_are_given_before_they_are_verified_and_said_to_be_false)
{
    const char *dir = a_directory();

    for (int settled = 0; settled < 2; settled++) {
        struct rlhf_digest digest;
        struct pair p;
        char path[600];

        a_pair_that(&p, "a-host", spoiled);
        digest = publish(&p, dir);
        want(&p, &digest);
        while (p.fetcher.ready == 0 && loopback_step(&p.wire))
            ;
        ck_assert_uint_eq(p.fetcher.ready, 1);
        ck_assert(rlhf_weights_store_fetching(p.fetcher.store, &digest)); /* still verified */
        if (settled)
            rlhf_weights_store_settle(p.fetcher.store);
        loopback_run(&p.wire, SECOND);
        expect_whole(&p.fetcher, &digest);
        ck_assert(!rlhf_weights_store_fetching(p.fetcher.store, &digest));
        ck_assert_uint_eq(p.publisher.chunk_requests + p.fetcher.spoiled, 0);
        end_pair(&p);

        a_pair_that(&p, "a-host", spoiled);
        digest = publish_falsely(&p, dir, path);
        want(&p, &digest);
        while (p.fetcher.ready == 0 && loopback_step(&p.wire))
            ;
        ck_assert_uint_eq(p.fetcher.ready, 1);
        ck_assert_uint_eq(p.fetcher.spoiled, 0);
        if (settled) {
            rlhf_weights_store_settle(p.fetcher.store);
            ck_assert_uint_eq(p.fetcher.spoiled, 1);
        }
        loopback_run(&p.wire, SECOND);
        ck_assert_uint_eq(p.fetcher.spoiled, 1);
        ck_assert_uint_eq(p.fetcher.ready, 2);
        p.fetcher.ready = 1;
        expect_whole(&p.fetcher, &digest);
        ck_assert_uint_eq(p.publisher.chunks_asked, 41);
        end_pair(&p);
        unlink(path);
    }
}
END_TEST

START_TEST(a_directory_that_cannot_be_written_means_memory)
{
    struct pair p;
    struct rlhf_digest digest;

    a_pair(&p, "a-host");
    digest = publish(&p, "/nonexistent/directory");
    want(&p, &digest);
    loopback_run(&p.wire, SECOND);
    expect_whole(&p.fetcher, &digest);
    end_pair(&p);
}
END_TEST

START_TEST(publishing_the_same_bytes_again_keeps_them_served)
{
    struct pair p;
    struct rlhf_digest first, second;

    a_pair(&p, "a-host");
    first = publish(&p, a_directory());
    second = publish(&p, NULL);
    ck_assert(rlhf_digest_equal(&first, &second));
    want(&p, &first);
    loopback_run(&p.wire, SECOND);
    expect_whole(&p.fetcher, &first);
    end_pair(&p);
}
END_TEST

START_TEST(announcements_name_weights_and_what_may_go)
{
    struct pair p;
    struct rlhf_digest digest, gone = rlhf_digest_of("gone", 4);
    struct rlhf_error err = { 0 };

    a_pair(&p, "another-host");
    digest = publish(&p, NULL);
    expect_ok(rlhf_weights_source_announce(p.publisher.source, p.publisher.node, p.publisher.peers.peer, &digest, &gone,
                                           1, &err),
              err);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.fetcher.announced, 1);
    end_pair(&p);
}
END_TEST

START_TEST(several_transfers_share_what_may_be_in_flight)
{
    struct pair p;
    struct rlhf_digest digest[3];
    struct rlhf_error err = { 0 };

    a_pair(&p, "another-host");
    for (unsigned i = 0; i < 3; i++) {
        struct rlhf_weights_spec spec = a_spec(NULL);

        payload[i]++;
        expect_ok(rlhf_weights_source_publish(p.publisher.source, &spec, &digest[i], &err), err);
        want(&p, &digest[i]);
    }
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.fetcher.ready, 3);
    ck_assert_uint_eq(p.publisher.chunks_asked, 3 * 41);
    end_pair(&p);
}
END_TEST

int main(void)
{
    return RUN_SUITE("net/weights", chunks_arrive_whole_and_no_more_are_asked_for_than_may_be_in_flight,
                     the_next_version_comes_into_the_memory_of_one_that_left,
                     the_digest_is_that_of_the_canonical_manifest,
                     a_publisher_killed_at_any_chunk_costs_only_what_was_in_flight, lost_chunks_are_asked_for_again,
                     a_publisher_that_lies_about_a_chunk_is_given_up, weights_that_nobody_publishes_fail_at_once,
                     weights_larger_than_allowed_are_refused,
                     on_one_host_the_shared_file_is_mapped_and_no_chunk_travels,
                     a_shared_file_that_is_false_or_gone_or_no_file_is_not_used,
                     fetched_weights_are_given_before_they_are_verified_and_said_to_be_false,
                     mapped_weights_are_given_before_they_are_verified_and_said_to_be_false,
                     a_directory_that_cannot_be_written_means_memory,
                     publishing_the_same_bytes_again_keeps_them_served, announcements_name_weights_and_what_may_go,
                     several_transfers_share_what_may_be_in_flight);
}
