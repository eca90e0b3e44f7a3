/* loopback.h - a client's node and a service's node in one process, joined by a wire that a test can watch, cut and tamper
 * with. Nothing happens by itself: messages travel in loopback_settle(), time passes in loopback_run(). */
#ifndef SUPPORT_LOOPBACK_H
#define SUPPORT_LOOPBACK_H

#include <stdbool.h>

#include "net/node.h"
#include "support/fake_clock.h"

enum { LOOPBACK_FRAMES = 8 };

/* A message on its way. */
struct loopback_message {
    bool to_service;
    uint64_t route; /* at the receiver */
    size_t count;
    struct rlhf_blob frames[LOOPBACK_FRAMES]; /* owned copies */
    uint32_t type;                            /* from its header; 0 when that is broken */
    struct loopback_message *next;
};

struct loopback_side {
    struct rlhf_transport transport;
    struct loopback *wire;
    struct rlhf_random random;
    struct rlhf_env env;
    struct rlhf_node *node; /* NULL: not alive; what arrives is lost */
};

struct loopback {
    struct fake_clock clock;
    struct loopback_side service, client;
    uint64_t service_route; /* of the present connection: another one after every reset */
    struct loopback_message *first, **last;
    unsigned drop_to_service, drop_to_client; /* so many of the next messages are lost */
    bool cut;                                 /* all are */
    bool full;                                /* sends fail with RLHF_AGAIN */
    size_t seen[128];                         /* messages delivered, by type */
    unsigned resets;
};

enum { LOOPBACK_LINK = 1 }; /* the client's route */

void loopback_init(struct loopback *l);
/* The nodes, with heartbeats each second, liveness 5. Borrow machine. */
struct rlhf_node *loopback_service(struct loopback *l, Rlhf__V1__Role role, const struct rlhf_machine *machine);
struct rlhf_node *loopback_client(struct loopback *l, Rlhf__V1__Role role, Rlhf__V1__Role service,
                                  const struct rlhf_machine *machine);
/* Lets the nodes act and messages travel until nothing more happens; time stands still. */
void loopback_settle(struct loopback *l);
/* Delivers one message, or lets one node act; false when there is nothing to do now. */
bool loopback_step(struct loopback *l);
/* The same while so much time passes. */
void loopback_run(struct loopback *l, int64_t us);
/* The service dies (kill -9): its node is freed, the connection ends. Start another with loopback_service(). */
void loopback_kill_service(struct loopback *l);
/* Puts raw frames on the wire towards the service, as if from `route`. */
void loopback_inject(struct loopback *l, uint64_t route, const struct rlhf_blob *frames, size_t count);
void loopback_end(struct loopback *l);

/* A machine's peers, counted: a state to begin with. */
struct loopback_peers {
    struct rlhf_peer *peer; /* the newest; NULL when lost */
    unsigned up, lost;
};
void loopback_peer_up(void *machine, struct rlhf_peer *peer);   /* machine begins with a struct loopback_peers */
void loopback_peer_lost(void *machine, struct rlhf_peer *peer);

#endif
