/* weights.c - how fast weights reach a remote worker, beside what libzmq does on the same link. One JSON line a case.
 *
 *     bench-weights [seconds a case, 1 by default] [case]
 *
 *   hash        BLAKE2b-256 of chunks of 1 MiB on one thread, one after the other and several at once
 *   link        libzmq alone: messages of 1 MiB from a ROUTER to a DEALER over TCP loopback, sent without a copy, read and
 *               thrown away; then 440 MB of weights over the same, whole in memory and given to whoever computes with them at
 *               the end, as workers are (they verify meanwhile, and send nothing before): a first version, and the next one, which
 *               comes into memory of one that left; next-verified: the same and its verification behind it
 *   link-curve  both under CURVE
 *
 * Sender and receiver are two processes, each with what a daemon has: a socket, a thread of libzmq's, a reactor. Link and
 * weights take turns; a figure is MB (10^6 bytes) over the median time of the turns. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/hash.h"
#include "bench.h"
#include "daemon/sockets.h"
#include "net/checks.h"
#include "net/weights.h"
#include "proto/weights.pb-c.h"

#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define WORKER RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER
enum { PAYLOAD = 440000000, CHUNKS = PAYLOAD / RLHF_CHUNK_SIZE, MAX_TURNS = 64 };

static struct bench_arguments arguments;
static bool curve; /* both ends have keys */
static struct {
    char public_key[41], secret[41];
} learner_keys, worker_keys;
static char files[] = "/tmp/rlhfd-bench-XXXXXX";

static void print(const char *name, double value, const char *unit)
{
    printf("{\"case\":\"%s\",\"value\":%.5g,\"unit\":\"%s\"}\n", name, value, unit);
    fflush(stdout);
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static uint8_t *a_payload(void)
{
    uint8_t *bytes = malloc(PAYLOAD);
    uint64_t state = 1;

    if (!bytes)
        fail("payload");
    for (size_t i = 0; i + 8 <= PAYLOAD; i += 8) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        memcpy(bytes + i, &state, 8);
    }
    return bytes;
}

/* ---- the hash -------------------------------------------------------------------------------------- */

static void bench_hash(const uint8_t *payload)
{
    enum { SOME = 64 };
    const uint8_t *chunks[SOME];
    struct rlhf_digest digests[SOME];
    double one[MAX_TURNS], many[MAX_TURNS], end = bench_now() + arguments.seconds;
    size_t turns = 0;

    for (size_t i = 0; i < SOME; i++)
        chunks[i] = payload + i * RLHF_CHUNK_SIZE;
    while (turns < MAX_TURNS && (turns < 3 || bench_now() < end)) {
        double begin = bench_now();

        for (size_t i = 0; i < SOME; i++)
            digests[i] = rlhf_digest_of(chunks[i], RLHF_CHUNK_SIZE);
        one[turns] = bench_now() - begin;
        begin = bench_now();
        rlhf_digests_of(chunks, RLHF_CHUNK_SIZE, SOME, digests);
        many[turns++] = bench_now() - begin;
    }
    print("hash-one", SOME * RLHF_CHUNK_SIZE * 1e-6 / bench_median(one, turns), "MB/s");
    print("hash-lanes", SOME * RLHF_CHUNK_SIZE * 1e-6 / bench_median(many, turns), "MB/s");
}

/* ---- two processes --------------------------------------------------------------------------------- */

/* Runs receive(endpoint) in a child, which returns seconds, and serve() here until it has ended. */
struct turn {
    double (*receive)(const char *endpoint);
    void (*serve)(void *ctx);
    void *ctx;
    const char *endpoint;
};

static double take_turn(const struct turn *t)
{
    int ends[2], status;
    double seconds = 0;
    pid_t pid;

    if (pipe(ends) < 0 || (pid = fork()) < 0)
        fail("fork");
    if (pid == 0) {
        seconds = t->receive(t->endpoint);
        _exit(write(ends[1], &seconds, sizeof seconds) == sizeof seconds ? 0 : 1);
    }
    close(ends[1]);
    while (waitpid(pid, &status, WNOHANG) == 0)
        t->serve(t->ctx);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || read(ends[0], &seconds, sizeof seconds) != sizeof seconds)
        fail("receiver");
    close(ends[0]);
    return seconds;
}

/* ---- libzmq alone ---------------------------------------------------------------------------------- */

/* Both ends as daemon/sockets.c sets them, in what the rate depends on. */
struct link {
    void *context, *router;
    const uint8_t *payload;
    size_t sent;
    char endpoint[64];
};

static void keep(void *data, void *hint)
{
    (void)data;
    (void)hint;
}

/* Sends all chunks to whoever says a word. */
static void serve_link(void *ctx)
{
    struct link *l = ctx;
    zmq_pollitem_t item = { .socket = l->router, .events = ZMQ_POLLIN };
    zmq_msg_t peer, word;

    if (zmq_poll(&item, 1, 10) <= 0)
        return;
    zmq_msg_init(&peer);
    zmq_msg_init(&word);
    if (zmq_msg_recv(&peer, l->router, 0) < 0 || zmq_msg_recv(&word, l->router, 0) < 0)
        fail("word");
    for (size_t i = 0; i < CHUNKS; i++) {
        zmq_msg_t to, chunk;

        zmq_msg_init(&to);
        zmq_msg_copy(&to, &peer);
        zmq_msg_init_data(&chunk, (void *)(l->payload + i * RLHF_CHUNK_SIZE), RLHF_CHUNK_SIZE, keep, NULL);
        if (zmq_msg_send(&to, l->router, ZMQ_SNDMORE) < 0 || zmq_msg_send(&chunk, l->router, 0) < 0)
            fail("send");
    }
    zmq_msg_close(&peer);
    zmq_msg_close(&word);
}

static double receive_link(const char *endpoint)
{
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER);
    double begin = 0;

    if (curve) {
        zmq_setsockopt(dealer, ZMQ_CURVE_SERVERKEY, learner_keys.public_key, 40);
        zmq_setsockopt(dealer, ZMQ_CURVE_PUBLICKEY, worker_keys.public_key, 40);
        zmq_setsockopt(dealer, ZMQ_CURVE_SECRETKEY, worker_keys.secret, 40);
    }
    if (!dealer || zmq_connect(dealer, endpoint) < 0 || zmq_send(dealer, "", 0, 0) < 0)
        fail("connect");
    for (size_t i = 0; i < CHUNKS; i++) {
        zmq_msg_t chunk;

        zmq_msg_init(&chunk);
        if (zmq_msg_recv(&chunk, dealer, 0) != RLHF_CHUNK_SIZE)
            fail("chunk");
        zmq_msg_close(&chunk);
        if (i == 0)
            begin = bench_now();
    }
    return bench_now() - begin;
}

static void open_link(struct link *l, const uint8_t *payload)
{
    size_t size = sizeof l->endpoint;

    *l = (struct link){ .context = zmq_ctx_new(), .payload = payload };
    if (!(l->router = zmq_socket(l->context, ZMQ_ROUTER))
        || (curve
            && (zmq_setsockopt(l->router, ZMQ_CURVE_SERVER, &(int){ 1 }, sizeof(int)) < 0
                || zmq_setsockopt(l->router, ZMQ_CURVE_SECRETKEY, learner_keys.secret, 40) < 0))
        || zmq_setsockopt(l->router, ZMQ_SNDHWM, &(int){ CHUNKS + 1 }, sizeof(int)) < 0
        || zmq_bind(l->router, "tcp://127.0.0.1:0") < 0
        || zmq_getsockopt(l->router, ZMQ_LAST_ENDPOINT, l->endpoint, &size) < 0)
        fail("bind");
}

static void close_link(struct link *l)
{
    zmq_close(l->router);
    zmq_ctx_term(l->context);
}

/* ---- source and store ------------------------------------------------------------------------------ */

struct side {
    struct rlhf_sockets *sockets;
    struct rlhf_keys *keys;
    struct rlhf_random random;
    struct rlhf_env env;
    struct rlhf_machine machine;
    struct rlhf_node *node;
    struct rlhf_weights_source *source;
    struct rlhf_weights_store *store;
    struct rlhf_weights *got;
    double begun, took;
};

static struct rlhf_digest wanted;

static int on_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct side *s = state;

    return rlhf_weights_source_on_request(s->source, s->node, peer, m, err);
}

static int on_chunk_request(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct side *s = state;

    return rlhf_weights_source_on_chunk_request(s->source, s->node, peer, m, err);
}

static int on_manifest(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return rlhf_weights_store_on_manifest(((struct side *)state)->store, peer, m, err);
}

static int on_chunk(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return rlhf_weights_store_on_chunk(((struct side *)state)->store, peer, m, err);
}

static const struct rlhf_handler learner_rows[] = {
    { TYPE(WEIGHTS_REQUEST), &rlhf__v1__weights_request__descriptor, RLHF_ROLE_BIT(WORKER), 256, 0, 0,
      rlhf_check_weights_request, on_request },
    { TYPE(CHUNK_REQUEST), &rlhf__v1__chunk_request__descriptor, RLHF_ROLE_BIT(WORKER), 512, 0, 0,
      rlhf_check_chunk_request, on_chunk_request },
    { 0 },
};
static const struct rlhf_handler worker_rows[] = {
    { TYPE(WEIGHTS_MANIFEST), &rlhf__v1__weights_manifest__descriptor, RLHF_ROLE_BIT(LEARNER), RLHF_MANIFEST_BYTES, 0, 0,
      rlhf_check_weights_manifest, on_manifest },
    { TYPE(CHUNK), &rlhf__v1__chunk__descriptor, RLHF_ROLE_BIT(LEARNER), 256, 1, RLHF_CHUNK_SIZE, rlhf_check_chunk,
      on_chunk },
    { 0 },
};

static void ready(void *ctx, struct rlhf_weights *w)
{
    struct side *s = ctx;

    s->took = bench_now() - s->begun;
    s->got = w;
}

static void spoiled(void *ctx, const struct rlhf_digest *digest)
{
    (void)ctx;
    (void)digest;
    bench_fail(&(struct rlhf_error){ .text = "weights came false" });
}

static void failed(void *ctx, const struct rlhf_digest *digest, const struct rlhf_error *why)
{
    (void)ctx;
    (void)digest;
    bench_fail(why);
}

static void peer_up(void *state, struct rlhf_peer *peer)
{
    struct side *s = state;

    if (s->store) {
        s->begun = bench_now();
        rlhf_weights_store_peer_up(s->store, s->node, peer);
    }
}

static void tick(void *state, int64_t now_us)
{
    rlhf_weights_store_tick(((struct side *)state)->store, now_us);
}

static int64_t deadline(void *state)
{
    const struct side *s = state;

    return s->store ? rlhf_weights_store_deadline(s->store) : INT64_MAX;
}

static const char *in_files(const char *name)
{
    static char paths[2][64];
    static unsigned next;

    snprintf(paths[next % 2], sizeof paths[0], "%s/%s", files, name);
    return paths[next++ % 2];
}

static void write_keys(const char *name, const char *secret)
{
    FILE *f = fopen(in_files(name), "w");

    if (!f || fchmod(fileno(f), 0600) < 0)
        fail("keys");
    fprintf(f, "%s\n", secret);
    fclose(f);
}

static void make_keys(void)
{
    FILE *f;

    if (!mkdtemp(files) || zmq_curve_keypair(learner_keys.public_key, learner_keys.secret) < 0
        || zmq_curve_keypair(worker_keys.public_key, worker_keys.secret) < 0)
        fail("keys");
    write_keys("learner", learner_keys.secret);
    write_keys("worker", worker_keys.secret);
    if (!(f = fopen(in_files("peers"), "w")))
        fail("peers");
    fprintf(f, "%s learner learner\n%s rollout-worker worker\n", learner_keys.public_key, worker_keys.public_key);
    fclose(f);
}

static void remove_keys(void)
{
    unlink(in_files("learner"));
    unlink(in_files("worker"));
    unlink(in_files("peers"));
    rmdir(files);
}

static void open_side(struct side *s, Rlhf__V1__Role role)
{
    struct rlhf_node_config c = { .role = role, .run = role == LEARNER ? "bench" : NULL, .host = "" };
    struct rlhf_error err = { 0 };

    *s = (struct side){ 0 };
    rlhf_random_init(&s->random, (uint64_t)getpid(), RLHF_PURPOSE_FAULT, role, 0);
    if (!(s->sockets = rlhf_sockets_new(&err)))
        bench_fail(&err);
    if (curve
        && (!(s->keys = rlhf_keys_open(in_files(role == LEARNER ? "learner" : "worker"), in_files("peers"), &err))
            || rlhf_sockets_protect(s->sockets, s->keys, &err) < 0))
        bench_fail(&err);
    rlhf_sockets_limit(s->sockets, RLHF_MANIFEST_BYTES);
    s->env = (struct rlhf_env){ &rlhf_system_clock, &rlhf_system_io, rlhf_sockets_transport(s->sockets), &s->random };
    s->machine = (struct rlhf_machine){ .handlers = role == LEARNER ? learner_rows : worker_rows,
                                        .state = s,
                                        .peer_up = peer_up,
                                        .tick = tick,
                                        .deadline = deadline };
    if (!(s->node = rlhf_node_new(&c, &s->env, &s->machine, &err)))
        bench_fail(&err);
}

static void receive(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    rlhf_node_receive(((struct side *)ctx)->node, route, frames, count);
}

/* As daemon/daemon.c does it. */
static void live(void *ctx)
{
    struct side *s = ctx;
    zmq_pollitem_t items[2]; /* under keys the second one is asked who may connect */
    size_t count = rlhf_sockets_count(s->sockets);
    int64_t wait = rlhf_node_deadline(s->node) - rlhf_now(&rlhf_system_clock);

    for (size_t i = 0; i < count; i++)
        items[i] = (zmq_pollitem_t){ .socket = rlhf_sockets_handle(s->sockets, i), .events = ZMQ_POLLIN };
    zmq_poll(items, (int)count, wait <= 0 ? 0 : wait < 10000 ? (long)(wait + 999) / 1000 : 10);
    for (size_t i = 0; i < count; i++)
        while (rlhf_sockets_receive(s->sockets, i, 128, receive, s))
            ;
    rlhf_node_tick(s->node);
}

/* A version into memory that is new to this process or, again, into that of one before; with or without the time it takes to
 * verify it. */
static double receive_version(const char *endpoint, bool again, bool verified)
{
    struct rlhf_error err = { 0 };
    struct side s;
    uint64_t route;

    open_side(&s, WORKER);
    if (!(s.store = rlhf_weights_store_new(&s.env,
                                           &(struct rlhf_weights_store_config){
                                               .host = "", .max_bytes = PAYLOAD, .ctx = &s, .ready = ready, .spoiled = spoiled,
                                               .failed = failed },
                                           &err))
        || rlhf_weights_store_want(s.store, &wanted, &err) < 0 || rlhf_sockets_link(s.sockets, endpoint, LEARNER, &route, &err) < 0
        || rlhf_node_link(s.node, route, LEARNER, &err) < 0)
        bench_fail(&err);
    while (s.took == 0)
        live(&s);
    if (again) {
        rlhf_weights_store_settle(s.store);
        rlhf_weights_store_recycle(s.store, s.got);
        s.took = 0;
        s.begun = bench_now();
        if (rlhf_weights_store_want(s.store, &wanted, &err) < 0)
            bench_fail(&err);
        while (s.took == 0)
            live(&s);
    }
    if (verified) {
        rlhf_weights_store_settle(s.store);
        s.took = bench_now() - s.begun;
    }
    rlhf_weights_free(s.got);
    rlhf_node_leave(s.node);
    rlhf_node_free(s.node);
    rlhf_sockets_free(s.sockets);
    rlhf_keys_free(s.keys);
    return s.took;
}

static double receive_first(const char *endpoint)
{
    return receive_version(endpoint, false, false);
}

static double receive_next(const char *endpoint)
{
    return receive_version(endpoint, true, false);
}

static double receive_verified(const char *endpoint)
{
    return receive_version(endpoint, true, true);
}

static void open_source(struct side *s, const uint8_t *payload)
{
    struct rlhf_error err = { 0 };

    open_side(s, LEARNER);
    if (!(s->source = rlhf_weights_source_new("", &err)) || rlhf_sockets_serve(s->sockets, "tcp://127.0.0.1:0", false, &err) < 0
        || rlhf_weights_source_publish(s->source,
                                       &(struct rlhf_weights_spec){
                                           .name = "policy", .version = 1, .config = "{}", .payload = payload, .size = PAYLOAD },
                                       &wanted, &err)
               < 0)
        bench_fail(&err);
}

/* ---- side by side ---------------------------------------------------------------------------------- */

static void bench_link(const uint8_t *payload)
{
    double alone[MAX_TURNS], first[MAX_TURNS], next[MAX_TURNS], verified[MAX_TURNS], end = bench_now() + arguments.seconds, a, f, n, v;
    struct link l;
    struct side s;
    size_t turns = 0;

    open_source(&s, payload);
    while (turns < MAX_TURNS && (turns < 5 || bench_now() < end)) {
        open_link(&l, payload);
        alone[turns] = take_turn(&(struct turn){ receive_link, serve_link, &l, l.endpoint });
        close_link(&l);
        first[turns] = take_turn(&(struct turn){ receive_first, live, &s, rlhf_sockets_endpoint(s.sockets) });
        next[turns] = take_turn(&(struct turn){ receive_next, live, &s, rlhf_sockets_endpoint(s.sockets) });
        verified[turns++] = take_turn(&(struct turn){ receive_verified, live, &s, rlhf_sockets_endpoint(s.sockets) });
    }
    a = (CHUNKS - 1) * (double)RLHF_CHUNK_SIZE * 1e-6 / bench_median(alone, turns);
    f = PAYLOAD * 1e-6 / bench_median(first, turns);
    n = PAYLOAD * 1e-6 / bench_median(next, turns);
    v = PAYLOAD * 1e-6 / bench_median(verified, turns);
    print(curve ? "link-curve" : "link-clear", a, "MB/s");
    print(curve ? "weights-curve-first" : "weights-clear-first", f, "MB/s");
    print(curve ? "weights-curve" : "weights-clear", n, "MB/s");
    print(curve ? "weights-curve-verified" : "weights-clear-verified", v, "MB/s");
    print(curve ? "weights-curve-first-of-link" : "weights-clear-first-of-link", f / a, "ratio");
    print(curve ? "weights-curve-of-link" : "weights-clear-of-link", n / a, "ratio");
    rlhf_node_free(s.node);
    rlhf_weights_source_free(s.source);
    rlhf_sockets_free(s.sockets);
    rlhf_keys_free(s.keys);
}

int main(int argc, char **argv)
{
    uint8_t *payload = a_payload();

    arguments = bench_start(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (bench_wanted(&arguments, "hash"))
        bench_hash(payload);
    if (bench_wanted(&arguments, "link"))
        bench_link(payload);
    if (bench_wanted(&arguments, "link-curve")) {
        curve = true;
        make_keys();
        bench_link(payload);
        remove_keys();
    }
    free(payload);
    return 0;
}
