/* A node that serves and has a link, under any sequence of frames and of time.
 *
 * Input: pieces [route] [frames] [size of each frame] [frame ...], single bytes but for the frames; route 255 lets
 * [frames] * 100 ms pass instead. Routes 1 to 3 have been greeted before, 9 is the link. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"
#include "net/checks.h"
#include "net/codec.h"
#include "net/node.h"
#include "proto/control.pb-c.h"
#include "proto/labels.pb-c.h"
#include "proto/work.pb-c.h"
#include "support/fake_clock.h"

#define BIT(role) RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_##role)
#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { LINK = 9, TIME = 255 };

static uint64_t greeting; /* request of the link's last Hello */
static size_t peers;

static int on_message(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)state;
    RLHF_ASSERT(peer && m->body);
    return m->request % 3 ? 0 : rlhf_fail(err, RLHF_REJECT, "not today");
}

static void peer_up(void *state, struct rlhf_peer *peer)
{
    (void)state;
    RLHF_ASSERT(peer->role > 0 && ++peers <= 8);
}

static void peer_lost(void *state, struct rlhf_peer *peer)
{
    (void)state;
    (void)peer;
    RLHF_ASSERT(peers-- > 0);
}

static const struct rlhf_handler rows[] = {
    { TYPE(CREDIT), &rlhf__v1__credit__descriptor, BIT(ROLLOUT_WORKER), 64, 0, 0, rlhf_check_credit, on_message },
    { TYPE(ROLLOUTS), &rlhf__v1__rollouts__descriptor, BIT(ROLLOUT_WORKER), 4096, 3, 4096, rlhf_check_rollouts,
      on_message },
    { TYPE(STATUS_REQUEST), &rlhf__v1__status_request__descriptor, BIT(CONTROL), 64, 0, 0, NULL, on_message },
    { TYPE(COMPARISONS), &rlhf__v1__comparisons__descriptor, BIT(LABEL_COLLECTOR), 4096, 0, 0, rlhf_check_comparisons,
      on_message },
    { TYPE(ERROR), &rlhf__v1__error__descriptor, ~0u, 4096, 0, 0, rlhf_check_error, on_message },
    { 0 },
};

static int send(struct rlhf_transport *t, uint64_t route, const struct rlhf_blob *frames, size_t count,
                struct rlhf_keeper *keeper, struct rlhf_error *err)
{
    Rlhf__V1__Header *header;

    (void)keeper;
    (void)t;
    RLHF_ASSERT(count >= 2 && count <= RLHF_MAX_FRAMES);
    RLHF_ASSERT((header = rlhf__v1__header__unpack(NULL, frames[0].size, frames[0].data)));
    if (header->type == TYPE(HELLO))
        greeting = header->request;
    rlhf__v1__header__free_unpacked(header, NULL);
    return route == 3 ? rlhf_fail(err, RLHF_AGAIN, "no room") : 0;
}

static void reset(struct rlhf_transport *t, uint64_t route)
{
    (void)t;
    (void)route;
}

static void receive(struct rlhf_node *n, uint64_t route, uint32_t type, uint64_t request, const ProtobufCMessage *body)
{
    struct rlhf_bytes bytes = { 0 };
    struct rlhf_header h = { .protocol = RLHF_PROTOCOL };
    struct rlhf_blob frames[RLHF_MAX_FRAMES];
    int count = rlhf_pack_message(&bytes, &h, &(struct rlhf_message){ .type = type, .request = request, .body = body }, frames,
                          NULL);

    RLHF_ASSERT(count == 2);
    rlhf_node_receive(n, route, frames, 2);
    rlhf_bytes_free(&bytes);
}

static void greet(struct rlhf_node *n, uint64_t route, Rlhf__V1__Role role)
{
    Rlhf__V1__Hello hello = RLHF__V1__HELLO__INIT;

    hello.protocol = RLHF_PROTOCOL;
    hello.role = role;
    hello.epoch = route;
    hello.software = (char *)"x";
    receive(n, route, TYPE(HELLO), 1, &hello.base);
}

static void welcome(struct rlhf_node *n)
{
    Rlhf__V1__Welcome body = RLHF__V1__WELCOME__INIT;

    body.protocol = RLHF_PROTOCOL;
    body.heartbeat_ms = 1000;
    body.liveness = 5;
    receive(n, LINK, TYPE(WELCOME), greeting, &body.base);
}

/* One piece of the input; returns what follows it. */
static const uint8_t *happen(struct rlhf_node *n, struct fake_clock *clock, const uint8_t *data, const uint8_t *end)
{
    struct rlhf_blob frames[RLHF_MAX_FRAMES + 1];
    uint64_t route = data[0];
    size_t count = data[1];
    const uint8_t *sizes = data + 2;

    if (route == TIME) {
        fake_clock_advance(clock, (int64_t)count * 100000);
        rlhf_node_tick(n);
        return data + 2;
    }
    if (count > RLHF_MAX_FRAMES + 1 || (size_t)(end - sizes) < count)
        return end;
    data = sizes + count;
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] > end - data)
            return end;
        frames[i] = (struct rlhf_blob){ data, sizes[i] };
        data += sizes[i];
    }
    rlhf_node_receive(n, route, frames, count);
    return data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fake_clock clock;
    struct rlhf_random random;
    struct rlhf_transport transport = { .send = send, .reset = reset };
    struct rlhf_env env = { &clock.clock, NULL, &transport, &random };
    struct rlhf_node_config c = {
        .role = RLHF__V1__ROLE__ROLE_LEARNER, .software = "fuzzed", .max_peers = 8
    };
    struct rlhf_machine machine = { .handlers = rows, .peer_up = peer_up, .peer_lost = peer_lost };
    struct rlhf_node *n;
    const uint8_t *end = data + size;

    setenv("RLHF_LOG", "error", 0);
    fake_clock_init(&clock);
    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    peers = 0;
    RLHF_ASSERT((n = rlhf_node_new(&c, &env, &machine, NULL)));
    RLHF_ASSERT(rlhf_node_link(n, LINK, RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, NULL) == 0);
    greet(n, 1, RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER);
    greet(n, 2, RLHF__V1__ROLE__ROLE_CONTROL);
    fake_clock_advance(&clock, 1000000);
    rlhf_node_tick(n);
    welcome(n);
    RLHF_ASSERT(peers == 3);
    while (end - data >= 2)
        data = happen(n, &clock, data, end);
    rlhf_node_leave(n);
    rlhf_node_free(n);
    return 0;
}
