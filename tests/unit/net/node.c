/* Sessions: greeting, heartbeats, silence, restarts, and who may send what. */
#include "net/node.h"

#include <string.h>

#include "net/checks.h"
#include "net/codec.h"
#include "proto/control.pb-c.h"
#include "proto/work.pb-c.h"
#include "support/loopback.h"
#include "support/suite.h"

#define LEARNER RLHF__V1__ROLE__ROLE_LEARNER
#define WORKER RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER
#define SCORER RLHF__V1__ROLE__ROLE_REWARD_SCORER
#define TYPE(name) RLHF__V1__MESSAGE_TYPE__##name
enum { SECOND = 1000000 };

struct machine {
    struct loopback_peers peers; /* first */
    unsigned credits, others, errors, beats;
    uint32_t jobs;           /* of the last credit */
    size_t listed;           /* ids in the last heartbeat */
    uint64_t held[4];
    size_t held_count;
    struct rlhf_error fail;  /* what on_credit answers */
    char said[512];          /* text of the last Error */
};

static int on_credit(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct machine *machine = state;

    ck_assert_uint_eq(peer->role, WORKER);
    machine->credits++;
    machine->jobs = ((const Rlhf__V1__Credit *)m->body)->jobs;
    return machine->fail.code ? rlhf_fail(err, machine->fail.code, "%s", machine->fail.text) : 0;
}

static int on_error(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct machine *machine = state;

    (void)peer;
    (void)err;
    machine->errors++;
    strncpy(machine->said, ((const Rlhf__V1__Error *)m->body)->text, sizeof machine->said - 1);
    return 0;
}

static int on_other(void *state, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    (void)peer;
    (void)m;
    (void)err;
    ((struct machine *)state)->others++;
    return 0;
}

static void heartbeat(void *state, struct rlhf_peer *peer, const uint64_t *ids, size_t count)
{
    struct machine *machine = state;

    (void)peer;
    machine->beats++;
    machine->listed = count;
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(ids[i], 100 + i);
}

static size_t held_jobs(void *state, uint64_t *ids, size_t max)
{
    struct machine *machine = state;

    ck_assert_uint_ge(max, machine->held_count);
    memcpy(ids, machine->held, machine->held_count * sizeof *ids);
    return machine->held_count;
}

static const struct rlhf_handler service_rows[] = {
    { TYPE(CREDIT), &rlhf__v1__credit__descriptor, RLHF_ROLE_BIT(WORKER), 64, 0, 0, rlhf_check_credit, on_credit },
    { TYPE(ERROR), &rlhf__v1__error__descriptor, ~0u, 4096, 0, 0, rlhf_check_error, on_error },
    { 0 },
};
static const struct rlhf_handler client_rows[] = {
    { TYPE(ERROR), &rlhf__v1__error__descriptor, RLHF_ROLE_BIT(LEARNER), 4096, 0, 0, rlhf_check_error, on_error },
    { 0 },
};

struct pair {
    struct loopback wire;
    struct machine service, client;
    struct rlhf_machine service_machine, client_machine;
};

static struct rlhf_machine a_machine(struct machine *state, const struct rlhf_handler *rows)
{
    return (struct rlhf_machine){
        .handlers = rows,
        .state = state,
        .peer_up = loopback_peer_up,
        .peer_lost = loopback_peer_lost,
        .held_jobs = held_jobs,
        .heartbeat = heartbeat,
    };
}

static void a_pair(struct pair *p)
{
    memset(p, 0, sizeof *p);
    loopback_init(&p->wire);
    p->service_machine = a_machine(&p->service, service_rows);
    p->client_machine = a_machine(&p->client, client_rows);
    loopback_service(&p->wire, LEARNER, &p->service_machine);
    loopback_client(&p->wire, WORKER, LEARNER, &p->client_machine);
}

static void a_greeted_pair(struct pair *p)
{
    a_pair(p);
    loopback_run(&p->wire, SECOND);
    ck_assert_ptr_nonnull(p->client.peers.peer);
    ck_assert_ptr_nonnull(p->service.peers.peer);
}

static int send_credit(struct pair *p, uint32_t jobs)
{
    Rlhf__V1__Credit body = RLHF__V1__CREDIT__INIT;

    body.jobs = jobs;
    return rlhf_node_send(p->wire.client.node, p->client.peers.peer,
                          &(struct rlhf_message){ .type = TYPE(CREDIT), .body = &body.base }, NULL);
}

START_TEST(a_greeting_makes_peers_of_both_sides)
{
    struct pair p;

    a_greeted_pair(&p);
    ck_assert_uint_eq(p.client.peers.up, 1);
    ck_assert_uint_eq(p.service.peers.up, 1);
    ck_assert(p.client.peers.peer->is_link && !p.service.peers.peer->is_link);
    ck_assert_uint_eq(p.client.peers.peer->role, LEARNER);
    ck_assert_uint_eq(p.service.peers.peer->role, WORKER);
    ck_assert(p.service.peers.peer->same_host && p.client.peers.peer->same_host);
    ck_assert_str_eq(p.service.peers.peer->software, "rollout-worker");
    ck_assert_int_eq(send_credit(&p, 7), 0);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.service.jobs, 7);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(heartbeats_keep_an_idle_session_alive_and_list_what_is_held)
{
    struct pair p;

    a_greeted_pair(&p);
    p.client.held_count = 2;
    p.client.held[0] = 100;
    p.client.held[1] = 101;
    loopback_run(&p.wire, 3600ll * SECOND);
    ck_assert_uint_eq(p.client.peers.lost + p.service.peers.lost, 0);
    ck_assert_uint_eq(p.service.listed, 2);
    ck_assert_uint_ge(p.service.beats, 3500);
    ck_assert_uint_ge(p.client.beats, 3500);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_lost_hello_or_welcome_is_made_good)
{
    for (unsigned lost = 1; lost <= 6; lost++) {
        struct pair p;

        a_pair(&p);
        p.wire.drop_to_service = lost / 2;
        p.wire.drop_to_client = (lost + 1) / 2;
        loopback_run(&p.wire, 30 * SECOND);
        ck_assert_ptr_nonnull(p.client.peers.peer);
        ck_assert_uint_eq(p.service.peers.up, 1);
        ck_assert_uint_eq(p.client.peers.up, 1);
        loopback_end(&p.wire);
    }
}
END_TEST

START_TEST(silence_is_noticed_within_six_seconds_and_both_sides_meet_again)
{
    struct pair p;

    a_greeted_pair(&p);
    p.wire.cut = true;
    loopback_run(&p.wire, 6 * SECOND);
    ck_assert_uint_eq(p.client.peers.lost, 1);
    ck_assert_uint_eq(p.service.peers.lost, 1);
    loopback_run(&p.wire, 600ll * SECOND);
    p.wire.cut = false;
    loopback_run(&p.wire, 15 * SECOND);
    ck_assert_uint_eq(p.client.peers.up, 2);
    ck_assert_uint_eq(p.service.peers.up, 2);
    ck_assert_int_eq(send_credit(&p, 3), 0);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_one_way_cut_ends_the_session_on_both_sides)
{
    struct pair p;

    a_greeted_pair(&p);
    p.wire.drop_to_service = 1u << 30;
    loopback_run(&p.wire, 60 * SECOND);
    ck_assert_ptr_null(p.service.peers.peer);
    p.wire.drop_to_service = 0;
    loopback_run(&p.wire, 15 * SECOND);
    ck_assert_ptr_nonnull(p.service.peers.peer);
    ck_assert_ptr_nonnull(p.client.peers.peer);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_process_that_slept_itself_does_not_blame_the_others)
{
    struct pair p;

    a_greeted_pair(&p);
    fake_clock_advance(&p.wire.clock, 3600ll * SECOND); /* a suspended machine: nobody ticked */
    loopback_run(&p.wire, 30 * SECOND);
    ck_assert_uint_eq(p.client.peers.lost + p.service.peers.lost, 0);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_wall_clock_that_jumps_changes_nothing)
{
    struct pair p;

    a_greeted_pair(&p);
    for (int i = -3; i <= 3; i++) {
        p.wire.clock.wall_offset_us += i * 86400ll * SECOND;
        loopback_run(&p.wire, 10 * SECOND);
    }
    ck_assert_uint_eq(p.client.peers.lost + p.service.peers.lost, 0);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_service_that_comes_back_is_another_one)
{
    struct pair p;
    uint64_t epoch;

    a_greeted_pair(&p);
    epoch = p.client.peers.peer->epoch;
    loopback_kill_service(&p.wire);
    memset(&p.service, 0, sizeof p.service);
    loopback_run(&p.wire, 100000);
    loopback_service(&p.wire, LEARNER, &p.service_machine);
    loopback_run(&p.wire, 3 * SECOND); /* the next heartbeat is answered: say Hello first */
    ck_assert_uint_eq(p.client.peers.lost, 1);
    ck_assert_ptr_nonnull(p.client.peers.peer);
    ck_assert_uint_ne(p.client.peers.peer->epoch, epoch);
    ck_assert_ptr_nonnull(p.service.peers.peer);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_goodbye_frees_at_once)
{
    struct pair p;

    a_greeted_pair(&p);
    rlhf_node_leave(p.wire.client.node);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.service.peers.lost, 1);
    ck_assert_ptr_null(rlhf_node_peers(p.wire.service.node, NULL));
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_peer_that_takes_no_more_is_lost)
{
    struct pair p;

    a_greeted_pair(&p);
    p.wire.full = true;
    ck_assert_int_eq(send_credit(&p, 1), -1);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.client.peers.lost, 1);
    p.wire.full = false;
    loopback_run(&p.wire, 15 * SECOND);
    ck_assert_uint_eq(p.client.peers.up, 2);
    loopback_end(&p.wire);
}
END_TEST

/* A message as frames, for injection. The body is packed as it is. */
struct raw {
    struct rlhf_bytes bytes;
    struct rlhf_blob frames[RLHF_MAX_FRAMES];
    size_t count;
};

static void pack_raw(struct raw *r, uint32_t protocol, uint32_t type, const char *run, const ProtobufCMessage *body)
{
    struct rlhf_header h = { .protocol = protocol };

    *r = (struct raw){ 0 };
    strcpy(h.run, run);
    r->count = (size_t)rlhf_pack_message(&r->bytes, &h, &(struct rlhf_message){ .type = type, .request = 9, .body = body },
                                 r->frames, NULL);
}

static void inject(struct pair *p, uint64_t route, uint32_t protocol, uint32_t type, const ProtobufCMessage *body)
{
    struct raw r;

    pack_raw(&r, protocol, type, "a-run", body);
    loopback_inject(&p->wire, route, r.frames, r.count);
    rlhf_bytes_free(&r.bytes);
}

START_TEST(a_peer_that_could_not_be_welcomed_is_no_peer_yet)
{
    struct pair p;

    a_pair(&p);
    fake_clock_advance(&p.wire.clock, SECOND);
    while (loopback_step(&p.wire) && !p.wire.first) /* until the Hello is on its way */
        ;
    ck_assert_uint_eq(p.wire.first->type, TYPE(HELLO));
    p.wire.full = true;
    loopback_step(&p.wire);
    ck_assert_ptr_null(rlhf_node_peers(p.wire.service.node, NULL));
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.service.peers.up, 0);
    ck_assert_uint_eq(p.service.peers.lost, 0);
    p.wire.full = false;
    loopback_run(&p.wire, 30 * SECOND);
    ck_assert_uint_eq(p.service.peers.up, 1);
    ck_assert_uint_eq(p.service.peers.lost, 0);
    ck_assert_ptr_nonnull(rlhf_node_peers(p.wire.service.node, NULL));
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_link_that_never_connects_is_made_anew)
{
    struct pair p;

    a_pair(&p);
    p.wire.full = true;
    loopback_run(&p.wire, 5 * SECOND);
    ck_assert_uint_eq(p.wire.resets, 0);
    loopback_run(&p.wire, 10 * SECOND);
    ck_assert_uint_eq(p.wire.resets, 1);
    p.wire.full = false;
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.service.peers.up, 1);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(an_incompatible_version_is_told_what_to_upgrade)
{
    struct pair p;
    Rlhf__V1__Hello hello = RLHF__V1__HELLO__INIT;

    a_greeted_pair(&p);
    hello.role = SCORER;
    hello.epoch = 5;
    hello.software = (char *)"rollout-worker 9.0.0";
    hello.role = WORKER;
    hello.protocol = 2;
    inject(&p, p.wire.service_route, 2, TYPE(HELLO), &hello.base); /* its Error goes to the present client */
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.client.errors, 1);
    expect_contains(p.client.said, "rollout-worker 9.0.0 speaks protocol 2");
    expect_contains(p.client.said, "upgrade learner");
    hello.protocol = 0;
    hello.software = (char *)"rollout-worker 0.0.1";
    inject(&p, p.wire.service_route, 0, TYPE(HELLO), &hello.base);
    loopback_settle(&p.wire);
    expect_contains(p.client.said, "upgrade rollout-worker 0.0.1");
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_second_hello_on_a_route_is_a_new_peer_and_a_repeated_one_is_not)
{
    struct pair p;
    Rlhf__V1__Hello hello = RLHF__V1__HELLO__INIT;

    a_greeted_pair(&p);
    hello.protocol = RLHF_PROTOCOL;
    hello.role = WORKER;
    hello.epoch = 77;
    hello.software = (char *)"another";
    for (unsigned i = 0; i < 3; i++)
        inject(&p, p.wire.service_route, 1, TYPE(HELLO), &hello.base);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.service.peers.up, 2);
    ck_assert_uint_eq(p.service.peers.lost, 1);
    ck_assert_str_eq(p.service.peers.peer->software, "another");
    loopback_end(&p.wire);
}
END_TEST

/* Every type that exists and some that do not, from every role: only what a row admits reaches a handler. */
START_TEST(only_what_the_table_admits_reaches_a_handler)
{
    static const Rlhf__V1__Role roles[] = { LEARNER, WORKER, SCORER, RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR,
                                            RLHF__V1__ROLE__ROLE_CONTROL };
    static const struct rlhf_handler rows[] = {
        { TYPE(CREDIT), &rlhf__v1__credit__descriptor, RLHF_ROLE_BIT(WORKER), 64, 0, 0, rlhf_check_credit, on_credit },
        { TYPE(STATUS_REQUEST), &rlhf__v1__status_request__descriptor,
          RLHF_ROLE_BIT(SCORER) | RLHF_ROLE_BIT(LEARNER) | RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR)
              | RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_CONTROL),
          64, 0, 0, NULL, on_other },
        { 0 },
    };

    for (size_t r = 0; r < sizeof roles / sizeof roles[0]; r++) {
        for (uint32_t type = 0; type < 80; type++) {
            Rlhf__V1__Hello hello = RLHF__V1__HELLO__INIT;
            Rlhf__V1__StatusRequest empty = RLHF__V1__STATUS_REQUEST__INIT;
            struct machine m = { 0 };
            struct rlhf_machine machine = a_machine(&m, rows);
            struct pair p = { 0 };
            uint64_t denied, refused;
            bool session = type >= TYPE(HELLO) && type <= TYPE(GOODBYE);
            bool admitted = roles[r] == WORKER ? type == TYPE(CREDIT) : type == TYPE(STATUS_REQUEST);

            loopback_init(&p.wire);
            loopback_service(&p.wire, LEARNER, &machine);
            hello.protocol = RLHF_PROTOCOL;
            hello.role = roles[r];
            hello.epoch = 5;
            hello.software = (char *)"x";
            inject(&p, p.wire.service_route, 1, TYPE(HELLO), &hello.base);
            loopback_settle(&p.wire);
            ck_assert_uint_eq(m.peers.up, 1);
            inject(&p, p.wire.service_route, 1, type, &empty.base);
            loopback_settle(&p.wire);
            denied = rlhf_node_counters(p.wire.service.node).denied;
            refused = rlhf_node_counters(p.wire.service.node).refused;
            ck_assert_uint_eq(m.credits + m.others, admitted);
            if (!session)
                ck_assert_msg(refused == !admitted, "role %d type %u: refused %d", roles[r], type, (int)refused);
            if (type == TYPE(CREDIT) || type == TYPE(STATUS_REQUEST))
                ck_assert_uint_eq(denied, !admitted);
            loopback_end(&p.wire);
        }
    }
}
END_TEST

START_TEST(strangers_are_told_to_greet_and_reach_no_handler)
{
    struct pair p;
    Rlhf__V1__Credit credit = RLHF__V1__CREDIT__INIT;

    a_greeted_pair(&p);
    inject(&p, 4711, 1, TYPE(CREDIT), &credit.base);
    inject(&p, 4711, 1, TYPE(HEARTBEAT), &credit.base);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.service.credits, 0);
    ck_assert_uint_eq(rlhf_node_counters(p.wire.service.node).refused, 2);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_message_of_another_run_leads_to_a_new_greeting)
{
    struct pair p;
    struct raw r;
    Rlhf__V1__Credit credit = RLHF__V1__CREDIT__INIT;

    a_greeted_pair(&p);
    pack_raw(&r, 1, TYPE(CREDIT), "another-run", &credit.base);
    loopback_inject(&p.wire, p.wire.service_route, r.frames, r.count);
    loopback_run(&p.wire, SECOND);
    ck_assert_uint_eq(p.service.credits, 0);
    ck_assert_uint_eq(p.client.peers.up, 2);
    rlhf_bytes_free(&r.bytes);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_failing_handler_is_answered_with_its_reason)
{
    struct pair p;

    a_greeted_pair(&p);
    rlhf_fail(&p.service.fail, RLHF_FULL, "no room for \"you\"");
    send_credit(&p, 1);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.client.errors, 1);
    ck_assert_str_eq(p.client.said, "no room for \"you\"");
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_refusal_that_finds_no_room_costs_the_session_nothing)
{
    struct pair p;

    a_greeted_pair(&p);
    rlhf_fail(&p.service.fail, RLHF_REJECT, "no");
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(send_credit(&p, 5), 0);
        p.wire.full = true;
        loopback_settle(&p.wire);
        p.wire.full = false;
    }
    loopback_run(&p.wire, 10 * SECOND);
    ck_assert_uint_eq(p.service.credits, 3);
    ck_assert_uint_eq(rlhf_node_counters(p.wire.service.node).refused, 3);
    ck_assert_uint_eq(p.client.errors, 0);
    ck_assert_uint_eq(p.service.peers.lost + p.client.peers.lost, 0);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(garbage_of_every_kind_is_refused_and_harms_nobody)
{
    static const uint8_t noise[4096] = { 0xff, 0x08, 0x01, 0x10, 0x10 };
    struct pair p;
    struct rlhf_random random;
    uint64_t before;

    a_greeted_pair(&p);
    rlhf_random_init(&random, 3, RLHF_PURPOSE_FAULT, 0, 0);
    before = rlhf_node_counters(p.wire.service.node).refused;
    for (unsigned i = 0; i < 20000; i++) {
        struct rlhf_blob frames[LOOPBACK_FRAMES];
        uint8_t bytes[LOOPBACK_FRAMES][64];
        size_t count = rlhf_random_below(&random, LOOPBACK_FRAMES);

        for (size_t f = 0; f < count; f++) {
            size_t size = rlhf_random_below(&random, 64);

            for (size_t b = 0; b < size; b++)
                bytes[f][b] = (uint8_t)rlhf_random_u32(&random);
            frames[f] = (struct rlhf_blob){ bytes[f], size };
            if (f == 0 && i % 2) { /* a sound header half of the time */
                static const uint8_t header[] = { 0x08, 1, 0x10, 0, 0x22, 5, 'a', '-', 'r', 'u', 'n' };

                memcpy(bytes[0], header, sizeof header);
                bytes[0][3] = (uint8_t)rlhf_random_below(&random, 70);
                frames[0].size = sizeof header;
            }
        }
        if (i % 50 == 0)
            frames[0] = (struct rlhf_blob){ noise, sizeof noise };
        loopback_inject(&p.wire, i % 3 ? p.wire.service_route : 5000 + i, frames, i % 50 ? count : 1);
        loopback_settle(&p.wire);
    }
    ck_assert_uint_ge(rlhf_node_counters(p.wire.service.node).refused - before, 10000);
    loopback_run(&p.wire, 20 * SECOND);
    ck_assert_ptr_nonnull(p.service.peers.peer);
    p.service.credits = 0;
    ck_assert_int_eq(send_credit(&p, 5), 0);
    loopback_settle(&p.wire);
    ck_assert_uint_eq(p.service.credits, 1);
    loopback_end(&p.wire);
}
END_TEST

START_TEST(a_service_has_no_more_peers_than_it_may)
{
    struct machine m = { 0 };
    struct rlhf_machine machine = a_machine(&m, service_rows);
    struct pair p = { 0 };
    struct rlhf_node_config c = { .role = LEARNER, .run = "a-run", .max_peers = 10 };

    loopback_init(&p.wire);
    p.wire.service.node = rlhf_node_new(&c, &p.wire.service.env, &machine, NULL);
    for (uint64_t route = 0; route < 50; route++) {
        Rlhf__V1__Hello hello = RLHF__V1__HELLO__INIT;

        hello.protocol = RLHF_PROTOCOL;
        hello.role = WORKER;
        hello.epoch = 5;
        hello.software = (char *)"x";
        p.wire.service_route = route;
        inject(&p, route, 1, TYPE(HELLO), &hello.base);
        loopback_settle(&p.wire);
    }
    ck_assert_uint_eq(m.peers.up, 10);
    ck_assert_uint_eq(rlhf_node_counters(p.wire.service.node).refused, 40);
    loopback_end(&p.wire);
}
END_TEST

int main(void)
{
    return RUN_SUITE("net/node", a_greeting_makes_peers_of_both_sides,
                     heartbeats_keep_an_idle_session_alive_and_list_what_is_held,
                     a_lost_hello_or_welcome_is_made_good,
                     silence_is_noticed_within_six_seconds_and_both_sides_meet_again,
                     a_one_way_cut_ends_the_session_on_both_sides,
                     a_process_that_slept_itself_does_not_blame_the_others, a_wall_clock_that_jumps_changes_nothing,
                     a_service_that_comes_back_is_another_one, a_goodbye_frees_at_once,
                     a_peer_that_takes_no_more_is_lost,
                     a_peer_that_could_not_be_welcomed_is_no_peer_yet, a_link_that_never_connects_is_made_anew, an_incompatible_version_is_told_what_to_upgrade,
                     a_second_hello_on_a_route_is_a_new_peer_and_a_repeated_one_is_not,
                     only_what_the_table_admits_reaches_a_handler, strangers_are_told_to_greet_and_reach_no_handler,
                     a_message_of_another_run_leads_to_a_new_greeting, a_failing_handler_is_answered_with_its_reason,
                     a_refusal_that_finds_no_room_costs_the_session_nothing,
                     garbage_of_every_kind_is_refused_and_harms_nobody, a_service_has_no_more_peers_than_it_may);
}
