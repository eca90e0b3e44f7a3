#include "support/loopback.h"

#include <stdlib.h>
#include <string.h>

#include "proto/common.pb-c.h"

static void message_free(struct loopback_message *m)
{
    for (size_t i = 0; i < m->count; i++)
        free((void *)m->frames[i].data);
    free(m);
}

/* Exactly sized copies, so that ASan sees a step behind their ends; odd sizes also make unaligned blobs. */
static void enqueue(struct loopback *l, bool to_service, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    struct loopback_message *m = calloc(1, sizeof *m);
    Rlhf__V1__Header *header;

    m->to_service = to_service;
    m->route = route;
    m->count = count;
    for (size_t i = 0; i < count; i++) {
        void *copy = malloc(frames[i].size ? frames[i].size : 1);

        if (frames[i].size)
            memcpy(copy, frames[i].data, frames[i].size);
        m->frames[i] = (struct rlhf_blob){ copy, frames[i].size };
    }
    if (count > 0 && (header = rlhf__v1__header__unpack(NULL, frames[0].size, frames[0].data))) {
        m->type = header->type;
        rlhf__v1__header__free_unpacked(header, NULL);
    }
    *l->last = m;
    l->last = &m->next;
}

static int send(struct rlhf_transport *t, uint64_t route, const struct rlhf_blob *frames, size_t count,
                struct rlhf_keeper *keeper, struct rlhf_error *err)
{
    struct loopback_side *side = (struct loopback_side *)t;
    struct loopback *l = side->wire;
    bool to_service = side == &l->client;
    unsigned *drop = to_service ? &l->drop_to_service : &l->drop_to_client;

    (void)keeper;
    if (l->full || (to_service ? !l->service.node : route != l->service_route))
        return rlhf_fail(err, RLHF_AGAIN, "the peer is gone or has no room");
    if (l->cut || *drop > 0) {
        *drop -= *drop > 0;
        return 0;
    }
    enqueue(l, to_service, to_service ? l->service_route : LOOPBACK_LINK, frames, count);
    return 0;
}

static void forget_messages(struct loopback *l)
{
    while (l->first) {
        struct loopback_message *gone = l->first;

        l->first = gone->next;
        message_free(gone);
    }
    l->last = &l->first;
}

static void reset(struct rlhf_transport *t, uint64_t route)
{
    struct loopback *l = ((struct loopback_side *)t)->wire;

    (void)route;
    l->resets++;
    if (t == &l->client.transport) {
        forget_messages(l);
        l->service_route++;
    }
}

static void init_side(struct loopback *l, struct loopback_side *side, uint32_t key)
{
    side->wire = l;
    side->transport = (struct rlhf_transport){ .send = send, .reset = reset };
    rlhf_random_init(&side->random, 1, RLHF_PURPOSE_FAULT, key, 0);
    side->env = (struct rlhf_env){ &l->clock.clock, &rlhf_system_io, &side->transport, &side->random };
}

void loopback_init(struct loopback *l)
{
    *l = (struct loopback){ .service_route = 100 };
    l->last = &l->first;
    fake_clock_init(&l->clock);
    init_side(l, &l->service, 1);
    init_side(l, &l->client, 2);
}

static struct rlhf_node *a_node(struct loopback_side *side, Rlhf__V1__Role role, const char *run,
                                const struct rlhf_machine *machine)
{
    struct rlhf_node_config c = { .role = role, .run = run, .host = "a-host" };
    struct rlhf_error err = { 0 };

    if (!(side->node = rlhf_node_new(&c, &side->env, machine, &err)))
        abort();
    return side->node;
}

struct rlhf_node *loopback_service(struct loopback *l, Rlhf__V1__Role role, const struct rlhf_machine *machine)
{
    return a_node(&l->service, role, "a-run", machine);
}

struct rlhf_node *loopback_client(struct loopback *l, Rlhf__V1__Role role, Rlhf__V1__Role service,
                                  const struct rlhf_machine *machine)
{
    a_node(&l->client, role, NULL, machine);
    if (rlhf_node_link(l->client.node, LOOPBACK_LINK, service, NULL) < 0)
        abort();
    return l->client.node;
}

static void deliver(struct loopback *l)
{
    struct loopback_message *m = l->first;
    struct rlhf_node *to = m->to_service ? l->service.node : l->client.node;

    if (!(l->first = m->next))
        l->last = &l->first;
    if (to) {
        if (m->type < sizeof l->seen / sizeof l->seen[0])
            l->seen[m->type]++;
        rlhf_node_receive(to, m->route, m->frames, m->count);
    }
    message_free(m);
}

static int64_t deadline(const struct loopback_side *side)
{
    return side->node ? rlhf_node_deadline(side->node) : INT64_MAX;
}

bool loopback_step(struct loopback *l)
{
    struct loopback_side *sides[] = { &l->service, &l->client };

    for (size_t i = 0; i < 2; i++)
        if (deadline(sides[i]) <= l->clock.now_us) {
            rlhf_node_tick(sides[i]->node);
            return true;
        }
    if (!l->first)
        return false;
    deliver(l);
    return true;
}

void loopback_settle(struct loopback *l)
{
    while (loopback_step(l))
        ;
}

void loopback_run(struct loopback *l, int64_t us)
{
    int64_t until = l->clock.now_us + us;

    for (;;) {
        int64_t next;

        loopback_settle(l);
        next = deadline(&l->service) < deadline(&l->client) ? deadline(&l->service) : deadline(&l->client);
        if (next > until)
            break;
        fake_clock_advance(&l->clock, next - l->clock.now_us);
    }
    fake_clock_advance(&l->clock, until - l->clock.now_us);
    loopback_settle(l);
}

void loopback_kill_service(struct loopback *l)
{
    rlhf_node_free(l->service.node);
    l->service.node = NULL;
    forget_messages(l);
    l->service_route++;
}

void loopback_inject(struct loopback *l, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    enqueue(l, true, route, frames, count);
}

void loopback_end(struct loopback *l)
{
    rlhf_node_free(l->client.node);
    rlhf_node_free(l->service.node);
    forget_messages(l);
}

void loopback_peer_up(void *machine, struct rlhf_peer *peer)
{
    struct loopback_peers *peers = machine;

    peers->peer = peer;
    peers->up++;
}

void loopback_peer_lost(void *machine, struct rlhf_peer *peer)
{
    struct loopback_peers *peers = machine;

    if (peers->peer == peer)
        peers->peer = NULL;
    peers->lost++;
}
