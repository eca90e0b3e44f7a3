/* node.h - a daemon's place in the network: its peers, their sessions, and the dispatch of messages.
 *
 * A node serves clients (ROUTER) and has links to services (DEALER); to the state machine both are peers. The
 * node does the greeting (Hello, Welcome), heartbeats and liveness, checks every incoming message against its
 * row of the handler table before a handler sees it (type, role of the peer, size of body and blobs, budgeted
 * unpacking, values), and packs what is sent. What fails costs its sender an Error reply, never the process. */
#ifndef RLHF_NET_NODE_H
#define RLHF_NET_NODE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "net/env.h"
#include "proto/common.pb-c.h"

struct rlhf_node;

enum { RLHF_MAX_BLOBS = 4 };

/* A message as handlers see it and senders give it. Everything is borrowed for the call. The blobs that a handler
 * sees are aligned to 8 bytes, so they can be read as arrays of what the body describes. */
struct rlhf_message {
    uint32_t type;                            /* Rlhf__V1__MessageType                  */
    uint64_t request;                         /* 0, or what an answer repeats           */
    const ProtobufCMessage *body;             /* of the type's schema                   */
    struct rlhf_blob blobs[RLHF_MAX_BLOBS];
    size_t blob_count;
    struct rlhf_keeper *keeper;               /* senders: the blobs need not be copied; NULL: borrowed for the call */
};

/* What handlers and callbacks know of the other side. */
struct rlhf_peer {
    uint64_t id;           /* unique in this life of the node, never reused: a peer that comes back is another */
    Rlhf__V1__Role role;
    bool is_link;          /* a service we connected to */
    uint64_t epoch;        /* of its life, from Hello or Welcome: a service that comes back with another one was
                              restarted and knows nothing of what was before */
    const char *software;  /* from Hello */
    bool same_host;        /* shared memory works */
    void *state;           /* the state machine's, for this peer; NULL at first */
};

#define RLHF_ROLE_BIT(role) (1u << (role))

/* One row for every message a node accepts. The value check runs after unpacking and sees body and blobs
 * (rlhf_check_<message>() in checks.h); handle changes state and queues replies. Its failure becomes an Error reply. */
struct rlhf_handler {
    uint32_t type;
    const ProtobufCMessageDescriptor *schema;
    unsigned roles;        /* RLHF_ROLE_BIT()s of who may send it */
    size_t max_bytes;      /* of the body */
    size_t max_blobs;
    size_t max_blob_bytes; /* of all blobs together */
    int (*check)(const struct rlhf_message *m, struct rlhf_error *err); /* NULL: nothing to check */
    int (*handle)(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err);
};

struct rlhf_machine {
    const struct rlhf_handler *handlers; /* ends with type 0 */
    void *state;
    void (*peer_up)(void *machine, struct rlhf_peer *peer);   /* greeted; may be NULL */
    void (*peer_lost)(void *machine, struct rlhf_peer *peer); /* gone or silent; peer is freed after it; may be NULL */
    void (*tick)(void *machine, int64_t now_us);              /* time has reached deadline(); may be NULL */
    int64_t (*deadline)(void *machine);                       /* monotonic us, INT64_MAX = none */
    /* Job ids that this side's heartbeats to a service list; returns how many (<= max). May be NULL. */
    size_t (*held_jobs)(void *machine, uint64_t *ids, size_t max);
    /* A heartbeat arrived from peer listing the jobs it holds; may be NULL. */
    void (*heartbeat)(void *machine, struct rlhf_peer *peer, const uint64_t *ids, size_t count);
};

struct rlhf_node_config {
    Rlhf__V1__Role role;
    const char *software;   /* "rollout-worker 0.1.0" */
    const char *run;        /* run id a service announces; NULL for those that only connect */
    const char *host;       /* boot id */
    const char *profile;    /* numeric profile */
    uint32_t heartbeat_ms;  /* 1000 */
    uint32_t liveness;      /* 5 */
    size_t max_peers;       /* 2048 */
};

/* Borrows env and machine. */
struct rlhf_node *rlhf_node_new(const struct rlhf_node_config *c, const struct rlhf_env *env,
                                const struct rlhf_machine *machine, struct rlhf_error *err);

/* A route to a service exists (connected or still trying): the node greets it and keeps greeting. */
int rlhf_node_link(struct rlhf_node *n, uint64_t route, Rlhf__V1__Role service, struct rlhf_error *err);

/* Frames arrived on route: [Header][Body][blob ...], without the ROUTER's identity. Never fails: what is bad is
 * answered, counted and dropped. */
void rlhf_node_receive(struct rlhf_node *n, uint64_t route, const struct rlhf_blob *frames, size_t count);

/* Sends to a greeted peer. RLHF_AGAIN when it is gone or cannot take more. */
int rlhf_node_send(struct rlhf_node *n, struct rlhf_peer *peer, const struct rlhf_message *m,
                   struct rlhf_error *err);
/* The answer to message m: repeats its request. */
int rlhf_node_reply(struct rlhf_node *n, struct rlhf_peer *peer, const struct rlhf_message *m, uint32_t type,
                    const ProtobufCMessage *body, struct rlhf_error *err);
/* Greeted peers in the order of their greeting; NULL ends. */
struct rlhf_peer *rlhf_node_peers(struct rlhf_node *n, struct rlhf_peer *after);
/* The list of keys has changed: the sessions of keys that are not known any more, or for another role, end. */
void rlhf_node_revoke(struct rlhf_node *n, bool (*known)(void *ctx, const char *key, Rlhf__V1__Role role), void *ctx);
/* Says Goodbye to all. */
void rlhf_node_leave(struct rlhf_node *n);

int64_t rlhf_node_deadline(struct rlhf_node *n);
void rlhf_node_tick(struct rlhf_node *n);

struct rlhf_node_counters {
    uint64_t received, sent, refused, denied, lost_peers, timeouts;
};
struct rlhf_node_counters rlhf_node_counters(const struct rlhf_node *n);
void rlhf_node_free(struct rlhf_node *n);

#endif
