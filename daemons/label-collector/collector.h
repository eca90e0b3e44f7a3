/* collector.h - the label-collector's state machine: tasks go in from the learner, judgements from people,
 * judgements go out to the learner.
 *
 * It has two doors, the messages of handlers.c and the HTTP API of api.c, and one store behind both. All of
 * it runs on the reactor thread, and needs neither sockets nor HTTP: the simulator calls the same functions.
 * Sockets of HTTP clients, and what can be made of their requests and answers without the store, are a thread's of
 * their own (http.h): so requests are read while a transaction is written and synced. */
#ifndef LABEL_COLLECTOR_COLLECTOR_H
#define LABEL_COLLECTOR_COLLECTOR_H

#include "config/config.h"
#include "net/node.h"
#include "store.h"

/* What people are told to do, by kind of task; NULL: the page's own words. */
struct collector_instructions {
    char *ranking, *likert, *toxicity, *flags, *demonstration;
};
/* What a label of somebody costs. */
struct collector_price {
    char *labeler;
    double price;
};

struct collector_config {
    char *listen, *http, *http_address_file, *database, *run;
    char *public_url; /* under which people reach the page, where a proxy stands in front; NULL = none does */
    bool insecure;
    char *key, *peers; /* files: daemon/keys.h */
    struct rlhf_config_strings hosts;
    int64_t labels_per_task, reservation_seconds, max_connections, request_seconds, session_hours;
    double requests_per_second; /* of a token or an address; 0 = no limit */
    int64_t weights_seconds, weights_labels;
    double gold_share;
    bool auto_quarantine;
    struct collector_instructions instructions;
    char *currency;
    double price; /* of a label by who is not in prices */
    struct rlhf_config_list prices; /* of struct collector_price */
    struct rlhf_config_list vendors; /* of struct collector_vendor_config */
};
extern const struct rlhf_config_schema collector_config_schema;

struct collector_access;
struct collector_measured;

enum { COLLECTOR_DURATIONS = 11 };
/* Counted by the HTTP door's thread, read by the reactor's. */
struct collector_counters {
    _Atomic uint64_t requests, refused, failed; /* HTTP: answered; with 4xx; with 5xx */
    _Atomic uint64_t groups, grouped;           /* commits for HTTP, and requests in them */
    _Atomic uint64_t connections, throttled;    /* now; refused with 429 */
    _Atomic uint64_t duration[2][COLLECTOR_DURATIONS], duration_us[2]; /* reads and writes, by how long they took; and in all */
};

/* One more request that took so long. The last of the counters is for what took longer than all bounds. */
void collector_count_duration(struct collector_counters *n, bool writes, int64_t us);
extern const int64_t collector_duration_bounds_us[COLLECTOR_DURATIONS - 1];

struct collector {
    const struct rlhf_env *env;
    const struct collector_config *config;
    struct collector_store *store;
    struct collector_access *access;
    struct collector_measured *measured; /* how far people agree (quality.h) */
    struct collector_sync *sync; /* set by collector_sync_new(); NULL without */
    struct rlhf_node *node; /* set by collector_attach(); NULL without peers */
    struct collector_counters counters;
    int64_t started_us;
    bool draining;
    int64_t weigh_at_us; /* not before: weights.h */
    int64_t overdue_at_us; /* not before: overdue.h */
    uint64_t weighed;    /* sequence number up to which labels were looked at for weights */
    struct rlhf_error trouble; /* of the last write; RLHF_OK when it was stored */
    void (*fatal)(void *ctx, const struct rlhf_error *err); /* the store must not be used any more */
    void (*drain)(void *ctx);                               /* someone asked for the end */
    void *hook_ctx;
};

/* Opens the database. Borrows env and config. */
struct collector *collector_new(const struct rlhf_env *env, const struct collector_config *config,
                                struct rlhf_error *err);
/* Both hooks get ctx; they may be NULL. */
void collector_on_end(struct collector *c, void (*fatal)(void *ctx, const struct rlhf_error *err),
                      void (*drain)(void *ctx), void *ctx);
/* For rlhf_daemon_node() or rlhf_node_new(): handlers and callbacks with c as their state. */
struct rlhf_machine collector_machine(struct collector *c);
void collector_attach(struct collector *c, struct rlhf_node *node); /* borrows */
void collector_free(struct collector *c);                           /* NULL is fine */

/* After every write: remembers err (NULL = it was stored), logs a change, and ends the daemon when the store
 * must not be used any more. */
void collector_wrote(struct collector *c, const struct rlhf_error *err);

/* The message table (handlers.c); ends with type 0. */
extern const struct rlhf_handler collector_handlers[];

#endif
