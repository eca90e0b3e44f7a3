/* Sockets under CURVE: who is let in, and as what. Both ends in this process, over TCP loopback. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "daemon/sockets.h"
#include "net/checks.h"
#include "net/codec.h"
#include "net/node.h"
#include "proto/control.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "support/suite.h"

#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
#define ROLE(name) RLHF__V1__ROLE__ROLE_##name
#define BIT(name) RLHF_ROLE_BIT(ROLE(name))

static const Rlhf__V1__Role roles[] = { ROLE(LEARNER), ROLE(ROLLOUT_WORKER), ROLE(REWARD_SCORER), ROLE(LABEL_COLLECTOR),
                                        ROLE(CONTROL) };
enum { ROLES = 5, PARTIES = ROLES + 2 };

/* A service, or one of its clients. */
struct party {
    struct rlhf_keys *keys;
    struct rlhf_sockets *sockets;
    struct rlhf_random random;
    struct rlhf_env env;
    struct rlhf_machine machine;
    struct rlhf_node *node;
    struct rlhf_peer *peer;
    unsigned up, lost, handled;
};

static const char *dir;

static char *path(const char *name)
{
    static char paths[8][512];
    static unsigned next;

    return strcpy(paths[next++ % 8], in_directory(dir, name));
}

/* The line of a new key for the peers file. */
static const char *a_key(const char *name, const char *role, const char *limit)
{
    static char lines[PARTIES][200];
    static unsigned next;
    char *line = lines[next++ % PARTIES], public_key[RLHF_KEY_TEXT];
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_keys_make(path(name), public_key, &err), err);
    snprintf(line, sizeof lines[0], "%s %s %s %s\n", public_key, role, name, limit);
    return line;
}

static void write_peers(const char *const *lines, size_t count)
{
    FILE *f = fopen(path("peers"), "w");

    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < count; i++)
        fputs(lines[i], f);
    fclose(f);
}

static int on_message(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)peer;
    (void)m;
    (void)err;
    ((struct party *)state)->handled++;
    return 0;
}

static void on_up(void *state, struct rlhf_peer *peer)
{
    struct party *p = state;

    p->peer = peer;
    p->up++;
}

static void on_lost(void *state, struct rlhf_peer *peer)
{
    struct party *p = state;

    if (p->peer == peer)
        p->peer = NULL;
    p->lost++;
}

/* What the learner takes, as far as a message can be made by hand; every role may greet. */
static const struct rlhf_handler rows[] = {
    { TYPE(CREDIT), &rlhf__v1__credit__descriptor, BIT(ROLLOUT_WORKER) | BIT(REWARD_SCORER), 64, 0, 0, rlhf_check_credit,
      on_message },
    { TYPE(STATUS_REQUEST), &rlhf__v1__status_request__descriptor, BIT(CONTROL), 64, 0, 0, NULL, on_message },
    { TYPE(TASKS_STORED), &rlhf__v1__credit__descriptor, BIT(LABEL_COLLECTOR), 64, 0, 0, NULL, on_message },
    { TYPE(DRAIN), &rlhf__v1__credit__descriptor, BIT(LEARNER) | BIT(CONTROL), 64, 0, 0, NULL, on_message },
    { 0 },
};

static void a_party(struct party *p, const char *key, Rlhf__V1__Role role)
{
    struct rlhf_node_config c = { .role = role, .run = role == ROLE(LEARNER) ? "run" : NULL, .liveness = 60 };
    struct rlhf_error err = { 0 };

    *p = (struct party){ 0 };
    expect_some(p->sockets = rlhf_sockets_new(&err), err);
    if (key) {
        expect_some(p->keys = rlhf_keys_open(path(key), path("peers"), &err), err);
        expect_ok(rlhf_sockets_protect(p->sockets, p->keys, &err), err);
    }
    rlhf_random_init(&p->random, (uint64_t)(uintptr_t)p, RLHF_PURPOSE_FAULT, role, 0);
    p->env = (struct rlhf_env){ &rlhf_system_clock, &rlhf_system_io, rlhf_sockets_transport(p->sockets), &p->random };
    p->machine = (struct rlhf_machine){ .handlers = rows, .state = p, .peer_up = on_up, .peer_lost = on_lost };
    expect_some(p->node = rlhf_node_new(&c, &p->env, &p->machine, &err), err);
}

static void a_service(struct party *p)
{
    struct rlhf_error err = { 0 };

    a_party(p, "service", ROLE(LEARNER));
    expect_ok(rlhf_sockets_serve(p->sockets, "tcp://127.0.0.1:0", false, &err), err);
}

static void a_client(struct party *p, const char *key, Rlhf__V1__Role role, const struct party *service)
{
    struct rlhf_error err = { 0 };
    uint64_t route;

    a_party(p, key, role);
    expect_ok(rlhf_sockets_link(p->sockets, rlhf_sockets_endpoint(service->sockets), ROLE(LEARNER), &route, &err), err);
    expect_ok(rlhf_node_link(p->node, route, ROLE(LEARNER), &err), err);
}

static void end(struct party *p)
{
    rlhf_node_free(p->node);
    rlhf_sockets_free(p->sockets);
    rlhf_keys_free(p->keys);
}

static void receive(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    rlhf_node_receive(((struct party *)ctx)->node, route, frames, count);
}

static void live(struct party *const *parties, size_t count)
{
    zmq_pollitem_t items[2 * PARTIES];
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        for (size_t s = 0; s < rlhf_sockets_count(parties[i]->sockets); s++)
            items[n++] =
                (zmq_pollitem_t){ .socket = rlhf_sockets_handle(parties[i]->sockets, s), .events = ZMQ_POLLIN };
    zmq_poll(items, (int)n, 20);
    for (size_t i = 0; i < count; i++) {
        for (size_t s = 0; s < rlhf_sockets_count(parties[i]->sockets); s++)
            rlhf_sockets_receive(parties[i]->sockets, s, 100, receive, parties[i]);
        rlhf_node_tick(parties[i]->node);
    }
}

#define AWAIT(condition, ...)                                                                                \
    do {                                                                                                     \
        struct party *const all[] = { __VA_ARGS__ };                                                         \
        int64_t until_us = rlhf_now(&rlhf_system_clock) + 120000000;                                         \
        while (!(condition)) {                                                                               \
            ck_assert_msg(rlhf_now(&rlhf_system_clock) < until_us, "%s never came", #condition);             \
            live(all, sizeof all / sizeof all[0]);                                                           \
        }                                                                                                    \
    } while (0)

static struct rlhf_node_counters counted(const struct party *p)
{
    return rlhf_node_counters(p->node);
}

/* All roles' keys, the service's, and one that is not on the list ("stranger"). */
static void all_keys(void)
{
    const char *lines[ROLES + 1];

    dir = a_directory();
    for (size_t i = 0; i < ROLES; i++)
        lines[i] = a_key(rlhf_role_name(roles[i]), rlhf_role_name(roles[i]), "");
    ck_assert_int_eq(link(path("learner"), path("service")), 0);
    a_key("stranger", "learner", "");
    write_peers(lines, ROLES);
}

START_TEST(a_key_is_good_for_its_own_role_only)
{
    struct party service, client;

    all_keys();
    a_service(&service);
    for (size_t k = 0; k < ROLES; k++)
        for (size_t r = 0; r < ROLES; r++) {
            struct rlhf_node_counters before = counted(&service);
            unsigned up = service.up;

            a_client(&client, rlhf_role_name(roles[k]), roles[r], &service);
            AWAIT(service.up > up || counted(&service).denied > before.denied, &service, &client);
            ck_assert_int_eq(service.up > up, k == r);
            rlhf_node_leave(client.node);
            end(&client);
        }
    end(&service);
}
END_TEST

/* Every type of message from every role under its key: what its row does not admit is denied, and reaches no handler. */
START_TEST(every_message_comes_only_from_the_roles_of_its_row)
{
    struct party service, client;

    all_keys();
    a_service(&service);
    for (size_t r = 0; r < ROLES; r++) {
        a_client(&client, rlhf_role_name(roles[r]), roles[r], &service);
        AWAIT(client.peer, &service, &client);
        for (const struct rlhf_handler *row = rows; row->type; row++) {
            Rlhf__V1__StatusRequest body = RLHF__V1__STATUS_REQUEST__INIT;
            unsigned handled = service.handled;
            uint64_t denied = counted(&service).denied;

            ck_assert_int_eq(rlhf_node_send(client.node, client.peer,
                                            &(struct rlhf_message){ .type = row->type, .body = &body.base }, NULL),
                             0);
            AWAIT(service.handled > handled || counted(&service).denied > denied, &service, &client);
            ck_assert_int_eq(service.handled > handled, (row->roles & RLHF_ROLE_BIT(roles[r])) != 0);
        }
        end(&client);
    }
    end(&service);
}
END_TEST

/* A bare socket at the service, with these keys or in the clear: what becomes of its handshake. */
static int handshake(struct party *service, const char *secret, const char *public_key)
{
    void *context = zmq_ctx_new(), *dealer = zmq_socket(context, ZMQ_DEALER), *monitor = zmq_socket(context, ZMQ_PAIR);
    int event = 0, linger = 0;

    zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
    if (secret) {
        zmq_setsockopt(dealer, ZMQ_CURVE_SERVERKEY, rlhf_keys_public(service->keys), RLHF_KEY_TEXT - 1);
        zmq_setsockopt(dealer, ZMQ_CURVE_PUBLICKEY, public_key, RLHF_KEY_TEXT - 1);
        zmq_setsockopt(dealer, ZMQ_CURVE_SECRETKEY, secret, RLHF_KEY_TEXT - 1);
    }
    ck_assert_int_eq(zmq_socket_monitor(dealer, "inproc://monitor",
                                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
                                            | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
                                            | ZMQ_EVENT_DISCONNECTED),
                     0);
    ck_assert_int_eq(zmq_connect(monitor, "inproc://monitor"), 0);
    ck_assert_int_eq(zmq_connect(dealer, rlhf_sockets_endpoint(service->sockets)), 0);
    while (event == 0) {
        uint8_t frame[6], address[256];

        live(&service, 1);
        if (zmq_recv(monitor, frame, sizeof frame, ZMQ_DONTWAIT) == sizeof frame) {
            event = frame[0] | frame[1] << 8;
            zmq_recv(monitor, address, sizeof address, 0);
        }
    }
    zmq_close(monitor);
    zmq_close(dealer);
    zmq_ctx_term(context);
    return event;
}

START_TEST(who_has_no_key_or_another_one_does_not_connect)
{
    struct party service;
    struct rlhf_keys *known, *stranger;
    struct rlhf_error err = { 0 };

    all_keys();
    a_service(&service);
    expect_some(known = rlhf_keys_open(path("rollout-worker"), path("peers"), &err), err);
    expect_some(stranger = rlhf_keys_open(path("stranger"), path("peers"), &err), err);
    ck_assert_int_eq(handshake(&service, rlhf_keys_secret(known), rlhf_keys_public(known)), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    ck_assert_int_eq(handshake(&service, rlhf_keys_secret(stranger), rlhf_keys_public(stranger)),
                     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    /* a public key that everybody may know, without its secret; and none at all */
    ck_assert_int_ne(handshake(&service, rlhf_keys_secret(stranger), rlhf_keys_public(known)),
                     ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    ck_assert_int_ne(handshake(&service, NULL, NULL), ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    ck_assert_uint_eq(service.up, 0);
    rlhf_keys_free(known);
    rlhf_keys_free(stranger);
    end(&service);
}
END_TEST

static bool know(void *keys, const char *name, Rlhf__V1__Role role)
{
    return rlhf_keys_know(keys, name, role);
}

START_TEST(a_revoked_key_ends_its_sessions_and_connects_no_more)
{
    Rlhf__V1__Credit body = RLHF__V1__CREDIT__INIT;
    struct party service, worker, scorer;
    const char *lines[3];
    struct rlhf_error err = { 0 };

    dir = a_directory();
    lines[0] = a_key("service", "learner", "");
    lines[1] = a_key("scorer", "reward-scorer", "");
    lines[2] = a_key("worker", "rollout-worker", "");
    write_peers(lines, 3);
    a_service(&service);
    a_client(&worker, "worker", ROLE(ROLLOUT_WORKER), &service);
    a_client(&scorer, "scorer", ROLE(REWARD_SCORER), &service);
    AWAIT(worker.peer && scorer.peer, &service, &worker, &scorer);

    write_peers(lines, 2);
    expect_ok(rlhf_keys_reload(service.keys, &err), err);
    rlhf_node_revoke(service.node, know, service.keys);
    ck_assert_uint_eq(service.lost, 1);
    ck_assert_int_eq(rlhf_node_send(worker.node, worker.peer,
                                    &(struct rlhf_message){ .type = TYPE(CREDIT), .body = &body.base }, NULL),
                     0);
    AWAIT(counted(&service).denied == 1, &service, &worker, &scorer);
    ck_assert_uint_eq(service.handled, 0);
    ck_assert_int_eq(handshake(&service, rlhf_keys_secret(worker.keys), rlhf_keys_public(worker.keys)),
                     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    ck_assert_ptr_nonnull(scorer.peer); /* the others go on */

    write_peers(lines, 3);
    expect_ok(rlhf_keys_reload(service.keys, &err), err);
    ck_assert_int_eq(handshake(&service, rlhf_keys_secret(worker.keys), rlhf_keys_public(worker.keys)),
                     ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    end(&worker);
    end(&scorer);
    end(&service);
}
END_TEST

START_TEST(a_key_has_no_more_sessions_than_it_may)
{
    struct party service, first, second;
    const char *lines[2];

    dir = a_directory();
    lines[0] = a_key("service", "learner", "");
    lines[1] = a_key("worker", "rollout-worker", "sessions=1");
    write_peers(lines, 2);
    a_service(&service);
    a_client(&first, "worker", ROLE(ROLLOUT_WORKER), &service);
    AWAIT(first.peer, &service, &first);
    a_client(&second, "worker", ROLE(ROLLOUT_WORKER), &service);
    AWAIT(counted(&service).refused == 1, &service, &first, &second);
    ck_assert_uint_eq(service.up, 1);
    rlhf_node_leave(first.node);
    end(&first);
    AWAIT(service.lost == 1, &service, &second);
    end(&second);
    a_client(&second, "worker", ROLE(ROLLOUT_WORKER), &service); /* at once: the refused one would wait */
    AWAIT(second.peer, &service, &second);
    end(&second);
    end(&service);
}
END_TEST

START_TEST(an_open_address_needs_keys_and_ipc_none)
{
    struct party service, client;
    const char *lines[1];
    struct rlhf_error err = { 0 };
    char endpoint[600];
    uint64_t route;

    dir = a_directory();
    lines[0] = a_key("service", "learner", "");
    write_peers(lines, 1);
    a_party(&service, NULL, ROLE(LEARNER));
    ck_assert_int_eq(rlhf_sockets_serve(service.sockets, "tcp://0.0.0.0:0", false, &err), -1);
    expect_contains(err.text, "`key` and `peers`");
    end(&service);

    a_party(&service, "service", ROLE(LEARNER));
    expect_ok(rlhf_sockets_serve(service.sockets, "tcp://0.0.0.0:0", false, &err), err);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path("socket"));
    expect_ok(rlhf_sockets_serve(service.sockets, endpoint, false, &err), err);
    a_party(&client, NULL, ROLE(ROLLOUT_WORKER));
    expect_ok(rlhf_sockets_link(client.sockets, endpoint, ROLE(LEARNER), &route, &err), err);
    expect_ok(rlhf_node_link(client.node, route, ROLE(LEARNER), &err), err);
    AWAIT(client.peer, &service, &client);
    end(&client);
    end(&service);
}
END_TEST

int main(void)
{
    return RUN_SUITE("daemon/curve", a_key_is_good_for_its_own_role_only,
                     every_message_comes_only_from_the_roles_of_its_row, who_has_no_key_or_another_one_does_not_connect,
                     a_revoked_key_ends_its_sessions_and_connects_no_more, a_key_has_no_more_sessions_than_it_may,
                     an_open_address_needs_keys_and_ipc_none);
}
