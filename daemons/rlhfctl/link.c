#include "rlhfctl/link.h"

#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "daemon/daemon.h"
#include "daemon/sockets.h"
#include "net/checks.h"

enum { ASK_US = 150000, MOST = 64, MAX_STATUS = 1 << 20, MAX_WAITED = 64 };

struct ctl_link {
    struct rlhf_sockets *sockets;
    struct rlhf_node *node;
    struct rlhf_env env;
    struct rlhf_random random;
    struct rlhf_machine machine;
    Rlhf__V1__Status *status; /* owned copy */
    struct rlhf_peer *daemon; /* greeted, or NULL */
    uint64_t request, resume; /* resume: the request that was it; 0: none */
    bool wants_resume, resumed;
    int64_t ask_at;
};

static int on_status(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m,
                     struct rlhf_error *err)
{
    struct ctl_link *l = machine;
    size_t size = protobuf_c_message_get_packed_size(m->body);
    uint8_t *packed = malloc(size ? size : 1);
    Rlhf__V1__Status *copy;

    (void)peer;
    if (l->resume && m->request == l->resume)
        l->resumed = true;
    if (!packed)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a status");
    protobuf_c_message_pack(m->body, packed);
    copy = rlhf__v1__status__unpack(NULL, size, packed);
    free(packed);
    if (!copy)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a status");
    if (l->status)
        rlhf__v1__status__free_unpacked(l->status, NULL);
    l->status = copy;
    return 0;
}

static void forget(struct ctl_link *l)
{
    if (l->status)
        rlhf__v1__status__free_unpacked(l->status, NULL);
    l->status = NULL;
}

static void on_up(void *machine, struct rlhf_peer *peer)
{
    struct ctl_link *l = machine;

    l->daemon = peer;
    l->ask_at = 0;
}

static void on_lost(void *machine, struct rlhf_peer *peer)
{
    struct ctl_link *l = machine;

    if (l->daemon == peer)
        l->daemon = NULL;
    forget(l);
}

#define SERVICES                                                                                             \
    (RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LEARNER) | RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER) |      \
     RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_REWARD_SCORER) |                                                     \
     RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR))

static const struct rlhf_handler handlers[] = {{RLHF__V1__MESSAGE_TYPE__STATUS, &rlhf__v1__status__descriptor,
                                                SERVICES, MAX_STATUS, 0, 0, rlhf_check_status, on_status},
                                               {0}};

struct ctl_link *ctl_link_new(const char *endpoint, Rlhf__V1__Role service, const struct rlhf_keys *keys,
                              struct rlhf_error *err)
{
    struct ctl_link *l = calloc(1, sizeof *l);
    struct rlhf_node_config config = {.role = RLHF__V1__ROLE__ROLE_CONTROL,
                                      .software = "rlhfctl " RLHF_VERSION,
                                      .host = rlhf_boot_id(),
                                      .profile = "",
                                      .heartbeat_ms = 1000,
                                      .liveness = 5,
                                      .max_peers = 4};
    uint64_t route, seed;

    if (!l) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    seed = (uint64_t)rlhf_system_clock.wall_us(&rlhf_system_clock) ^ (uint64_t)(uintptr_t)l;
    rlhf_random_init(&l->random, seed, RLHF_PURPOSE_FAULT, 0, 0);
    l->machine =
        (struct rlhf_machine){.handlers = handlers, .state = l, .peer_up = on_up, .peer_lost = on_lost};
    l->env = (struct rlhf_env){.clock = &rlhf_system_clock, .io = &rlhf_system_io, .random = &l->random};
    if ((l->sockets = rlhf_sockets_new(err))) {
        l->env.transport = rlhf_sockets_transport(l->sockets);
        if ((l->node = rlhf_node_new(&config, &l->env, &l->machine, err)) &&
            (!keys || rlhf_sockets_protect(l->sockets, keys, err) == 0) &&
            rlhf_sockets_link(l->sockets, endpoint, service, &route, err) == 0 &&
            rlhf_node_link(l->node, route, service, err) == 0)
            return l;
    }
    ctl_link_free(l);
    return NULL;
}

static void receive(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    rlhf_node_receive(ctx, route, frames, count);
}

void ctl_link_turn(struct ctl_link *l)
{
    Rlhf__V1__StatusRequest body = RLHF__V1__STATUS_REQUEST__INIT;
    int64_t now = rlhf_now(&rlhf_system_clock);

    for (size_t i = 0; i < rlhf_sockets_count(l->sockets); i++)
        rlhf_sockets_receive(l->sockets, i, MOST, receive, l->node);
    rlhf_node_tick(l->node);
    if (l->daemon && l->wants_resume && !l->resume) {
        Rlhf__V1__Resume resume = RLHF__V1__RESUME__INIT;
        struct rlhf_message m = {.type = RLHF__V1__MESSAGE_TYPE__RESUME, .request = ++l->request, .body = &resume.base};
        resume.reason = (char *)"asked for by rlhfctl";
        if (rlhf_node_send(l->node, l->daemon, &m, NULL) == 0)
            l->resume = m.request;
    }
    if (l->daemon && now >= l->ask_at) {
        struct rlhf_message m = {
            .type = RLHF__V1__MESSAGE_TYPE__STATUS_REQUEST, .request = ++l->request, .body = &body.base};
        rlhf_node_send(l->node, l->daemon, &m, NULL);
        l->ask_at = now + ASK_US;
    }
}

const Rlhf__V1__Status *ctl_link_status(const struct ctl_link *l)
{
    return l->status;
}

void ctl_link_resume(struct ctl_link *l)
{
    l->wants_resume = true;
}

bool ctl_link_resumed(const struct ctl_link *l)
{
    return l->resumed;
}

void ctl_links_wait(struct ctl_link *const *links, size_t count, int timeout_ms)
{
    zmq_pollitem_t items[MAX_WAITED];
    int n = 0;

    for (size_t i = 0; i < count && n < MAX_WAITED; i++)
        for (size_t j = 0; j < rlhf_sockets_count(links[i]->sockets) && n < MAX_WAITED; j++)
            items[n++] =
                (zmq_pollitem_t){.socket = rlhf_sockets_handle(links[i]->sockets, j), .events = ZMQ_POLLIN};
    zmq_poll(items, n, timeout_ms);
    for (size_t i = 0; i < count; i++)
        ctl_link_turn(links[i]);
}

void ctl_link_free(struct ctl_link *l)
{
    if (!l)
        return;
    if (l->node)
        rlhf_node_leave(l->node);
    rlhf_node_free(l->node);
    rlhf_sockets_free(l->sockets);
    forget(l);
    free(l);
}
