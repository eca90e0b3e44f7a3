#include "net/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/checks.h"
#include "net/codec.h"
#include "telemetry/log.h"

enum {
    BUCKETS = 1024,          /* of the route table                                              */
    MAX_LINKS = 16,
    HELLO_MIN_US = 100000,   /* between greetings, doubled up to ...                            */
    HELLO_MAX_US = 5000000,
    REFUSED_US = 10000000,   /* after a service said no: somebody has to change something first */
    HELLOS_PER_CONNECTION = 8, /* unanswered ones before the connection is made anew            */
    UNSENT_MIN_US = 1000,    /* before one that found no connection is tried again, doubled up to HELLO_MIN_US */
    UNSENT_HELLOS = 100,     /* such ones before the connection is made anew: about 10 s        */
    SOFTWARE_MAX = 64,
    MAX_LIVENESS = 100,
    MAX_HEARTBEAT_MS = 60000,
};

struct peer {
    struct rlhf_peer pub; /* first: handed out as such */
    uint64_t route;
    int64_t heard_us, beat_us; /* last heard; next heartbeat of ours */
    int64_t silence_us;        /* after which it is gone */
    int64_t interval_us;       /* of heartbeats */
    char software[SOFTWARE_MAX];
    char key[SOFTWARE_MAX];    /* name of the key that it proved to have; "" where none is asked for */
    char run[RLHF_RUN_MAX];    /* what its messages carry */
    bool up;                   /* the state machine knows it: not before it was sent our Welcome */
    bool doomed;               /* a send failed: it goes at the next tick */
    bool complained;           /* its first bad message was logged; later ones are only counted */
    struct link *link;         /* NULL for clients */
    struct peer *next, *prev;  /* in the order of greeting */
    struct peer *chain;        /* in its bucket */
};

/* Our side of a connection to a service. */
struct link {
    uint64_t route, epoch;
    Rlhf__V1__Role service;
    struct peer *peer;    /* NULL while greeting */
    int64_t hello_us;     /* next Hello */
    int64_t interval_us;
    unsigned unanswered, unsent;
    bool warned;
};

struct rlhf_node {
    struct rlhf_node_config config;
    const struct rlhf_env *env;
    const struct rlhf_machine *machine;
    struct rlhf_budget *budget;
    struct rlhf_bytes out;
    struct peer *first, *last, *buckets[BUCKETS];
    struct link links[MAX_LINKS];
    size_t link_count, peer_count;
    uint64_t next_id;
    uint64_t epoch;        /* of this life */
    unsigned roles;        /* that some row of the table admits */
    int64_t due_us;        /* the earliest thing of our own; may be early, never late */
    int64_t ticked_us;
    bool leaving;
    struct rlhf_node_counters counters;
};

/* A message being taken in. */
struct incoming {
    uint64_t route;
    const struct rlhf_sender *sender; /* NULL: whoever it says */
    struct rlhf_header header;
    struct rlhf_message message;
    struct peer *peer; /* NULL before the greeting */
    struct link *link;
    bool greet;        /* tell the sender to greet */
};

static int64_t now_us(const struct rlhf_node *n)
{
    return rlhf_now(n->env->clock);
}

static uint64_t random_u64(const struct rlhf_node *n)
{
    uint64_t high = rlhf_random_u32(n->env->random);

    return high << 32 | rlhf_random_u32(n->env->random);
}

/* Between 3/4 and 5/4 of us: many peers that lost one service do not return in step. */
static int64_t jitter(const struct rlhf_node *n, int64_t us)
{
    return us - us / 4 + (int64_t)rlhf_random_below(n->env->random, (uint32_t)(us / 2 + 1));
}

static void due(struct rlhf_node *n, int64_t at_us)
{
    if (at_us < n->due_us)
        n->due_us = at_us;
}

/* ---- peers ----------------------------------------------------------------------------------------- */

static struct peer **bucket_of(struct rlhf_node *n, uint64_t route)
{
    uint64_t mixed = route * UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing */

    return &n->buckets[mixed >> 54];
}

static struct peer *find_peer(struct rlhf_node *n, uint64_t route)
{
    struct peer *p = *bucket_of(n, route);

    while (p && p->route != route)
        p = p->chain;
    return p;
}

static struct link *find_link(struct rlhf_node *n, uint64_t route)
{
    for (size_t i = 0; i < n->link_count; i++)
        if (n->links[i].route == route)
            return &n->links[i];
    return NULL;
}

static struct peer *add_peer(struct rlhf_node *n, uint64_t route, Rlhf__V1__Role role, const char *software,
                             const char *host, struct rlhf_error *err)
{
    struct peer **bucket = bucket_of(n, route);
    struct peer *p = calloc(1, sizeof *p);
    int64_t now = now_us(n);

    if (!p) {
        rlhf_fail(err, RLHF_FULL, "no memory for another peer");
        return NULL;
    }
    strncpy(p->software, software, sizeof p->software - 1);
    p->pub = (struct rlhf_peer){
        .id = ++n->next_id,
        .role = role,
        .software = p->software,
        .same_host = host[0] && strcmp(host, n->config.host) == 0,
    };
    p->route = route;
    p->interval_us = (int64_t)n->config.heartbeat_ms * 1000;
    p->silence_us = p->interval_us * n->config.liveness;
    p->heard_us = now;
    p->beat_us = now + p->interval_us;
    p->chain = *bucket;
    *bucket = p;
    p->prev = n->last;
    *(n->last ? &n->last->next : &n->first) = p;
    n->last = p;
    n->peer_count++;
    due(n, p->beat_us);
    return p;
}

/* Takes p out of all lists, tells the state machine, frees p. */
static void lose_peer(struct rlhf_node *n, struct peer *p, const char *why)
{
    struct peer **at = bucket_of(n, p->route);

    while (*at != p)
        at = &(*at)->chain;
    *at = p->chain;
    *(p->prev ? &p->prev->next : &n->first) = p->next;
    *(p->next ? &p->next->prev : &n->last) = p->prev;
    n->peer_count--;
    n->counters.lost_peers++;
    if (p->link)
        p->link->peer = NULL;
    rlhf_log(RLHF_LEVEL_INFO, "peer_lost role=%s id=%llu software=\"%s\" why=\"%s\"", rlhf_role_name(p->pub.role),
             (unsigned long long)p->pub.id, p->software, why);
    if (p->up && n->machine->peer_lost)
        n->machine->peer_lost(n->machine->state, &p->pub);
    free(p);
}

static void peer_up(struct rlhf_node *n, struct peer *p)
{
    rlhf_log(RLHF_LEVEL_INFO, "peer_up role=%s id=%llu software=\"%s\" same_host=%d key=\"%s\"", rlhf_role_name(p->pub.role),
             (unsigned long long)p->pub.id, p->software, p->pub.same_host, p->key);
    p->up = true;
    if (n->machine->peer_up)
        n->machine->peer_up(n->machine->state, &p->pub);
}

/* ---- sending --------------------------------------------------------------------------------------- */

static int send_on(struct rlhf_node *n, uint64_t route, const char *run, const struct rlhf_message *m,
                   struct rlhf_error *err)
{
    struct rlhf_blob frames[RLHF_MAX_FRAMES];
    struct rlhf_header header = {
        .protocol = RLHF_PROTOCOL,
        .sent_us = (uint64_t)n->env->clock->wall_us(n->env->clock),
    };
    int count;

    strncpy(header.run, run, sizeof header.run - 1);
    if ((count = rlhf_pack_message(&n->out, &header, m, frames, err)) < 0
        || n->env->transport->send(n->env->transport, route, frames, (size_t)count, m->keeper, err) < 0)
        return -1;
    n->counters.sent++;
    return 0;
}

static int send_to(struct rlhf_node *n, struct peer *p, const struct rlhf_message *m, struct rlhf_error *err)
{
    if (p->doomed)
        return rlhf_fail(err, RLHF_AGAIN, "the %s is gone or takes no more", rlhf_role_name(p->pub.role));
    if (send_on(n, p->route, p->run, m, err) < 0) {
        p->doomed = true;
        due(n, now_us(n));
        return -1;
    }
    return 0;
}

int rlhf_node_send(struct rlhf_node *n, struct rlhf_peer *peer, const struct rlhf_message *m,
                   struct rlhf_error *err)
{
    RLHF_ASSERT(m->blob_count <= RLHF_MAX_BLOBS);
    return send_to(n, (struct peer *)peer, m, err);
}

int rlhf_node_reply(struct rlhf_node *n, struct rlhf_peer *peer, const struct rlhf_message *m, uint32_t type,
                    const ProtobufCMessage *body, struct rlhf_error *err)
{
    struct rlhf_message answer = { .type = type, .request = m->request, .body = body };

    return rlhf_node_send(n, peer, &answer, err);
}

static void send_heartbeat(struct rlhf_node *n, struct peer *p, int64_t now)
{
    Rlhf__V1__Heartbeat body = RLHF__V1__HEARTBEAT__INIT;
    uint64_t jobs[RLHF_MAX_JOBS];

    if (p->link && n->machine->held_jobs) {
        body.n_jobs = n->machine->held_jobs(n->machine->state, jobs, RLHF_MAX_JOBS);
        body.jobs = jobs;
    }
    p->beat_us = now + p->interval_us;
    send_to(n, p, &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__HEARTBEAT, .body = &body.base }, NULL);
}

/* ---- greeting -------------------------------------------------------------------------------------- */

/* The interval of the next attempt. */
static void retry_hello(struct rlhf_node *n, struct link *l, int64_t in_us)
{
    l->hello_us = now_us(n) + in_us;
    due(n, l->hello_us);
}

static void restart_greeting(struct rlhf_node *n, struct link *l, bool reset)
{
    if (reset)
        n->env->transport->reset(n->env->transport, l->route);
    l->epoch = random_u64(n) | 1;
    l->unanswered = 0;
    l->interval_us = HELLO_MIN_US;
    retry_hello(n, l, jitter(n, HELLO_MIN_US));
}

static void send_hello(struct rlhf_node *n, struct link *l)
{
    Rlhf__V1__Hello body = RLHF__V1__HELLO__INIT;
    struct rlhf_message m = {
        .type = RLHF__V1__MESSAGE_TYPE__HELLO,
        .request = l->epoch, /* the Welcome that repeats it is this greeting's */
        .body = &body.base,
    };

    if (l->unanswered >= HELLOS_PER_CONNECTION) {
        n->env->transport->reset(n->env->transport, l->route);
        l->unanswered = 0;
    }
    body.protocol = RLHF_PROTOCOL;
    body.role = n->config.role;
    body.epoch = l->epoch;
    body.software = (char *)n->config.software;
    body.host = (char *)n->config.host;
    body.profile = (char *)n->config.profile;
    if (send_on(n, l->route, "", &m, NULL) < 0) {
        /* Not connected yet: asking again costs nothing. But libzmq never connects again after an answer that was not
         * ZMTP (a proxy's error page, a damaged greeting). */
        if (++l->unsent >= UNSENT_HELLOS) {
            n->env->transport->reset(n->env->transport, l->route);
            l->unsent = 0;
        }
        retry_hello(n, l, jitter(n, l->unsent < 7 ? UNSENT_MIN_US << l->unsent : HELLO_MIN_US));
        return;
    }
    l->unsent = 0;
    l->unanswered++;
    retry_hello(n, l, jitter(n, l->interval_us));
    l->interval_us = l->interval_us * 2 < HELLO_MAX_US ? l->interval_us * 2 : HELLO_MAX_US;
}

static int send_welcome(struct rlhf_node *n, struct peer *p, uint64_t request, struct rlhf_error *err)
{
    Rlhf__V1__Welcome body = RLHF__V1__WELCOME__INIT;

    body.protocol = RLHF_PROTOCOL;
    body.run = (char *)n->config.run;
    body.epoch = n->epoch;
    body.host = (char *)n->config.host;
    body.heartbeat_ms = n->config.heartbeat_ms;
    body.liveness = n->config.liveness;
    return send_to(n, p,
                   &(struct rlhf_message){
                       .type = RLHF__V1__MESSAGE_TYPE__WELCOME, .request = request, .body = &body.base },
                   err);
}

/* What to upgrade when the other side, called `them`, speaks `protocol`. */
static int wrong_version(const struct rlhf_node *n, const char *them, uint32_t protocol, struct rlhf_error *err)
{
    bool ours = protocol > RLHF_PROTOCOL;

    return rlhf_fail(err, RLHF_REJECT, "%s speaks protocol %u and %s speaks protocol %d: upgrade %s", them, protocol,
                     n->config.software, RLHF_PROTOCOL, ours ? n->config.software : them);
}

/* Sessions of one key are counted when one more is wanted: that is seldom. */
static int admit(const struct rlhf_node *n, const struct incoming *in, Rlhf__V1__Role role, struct rlhf_error *err)
{
    const struct rlhf_sender *s = in->sender;
    size_t open = 0;

    if (!s)
        return 0;
    if (!(s->roles & RLHF_ROLE_BIT(role)))
        return rlhf_fail(err, RLHF_DENIED, "the key of %s is not that of a %s", s->name, rlhf_role_name(role));
    for (const struct peer *p = n->first; p; p = p->next)
        open += p != in->peer && strcmp(p->key, s->name) == 0;
    if (s->sessions > 0 && open >= s->sessions)
        return rlhf_fail(err, RLHF_FULL, "%s has its %zu sessions already: try again later", s->name, s->sessions);
    return 0;
}

static int on_hello(struct rlhf_node *n, struct incoming *in, struct rlhf_error *err)
{
    const Rlhf__V1__Hello *hello = (const Rlhf__V1__Hello *)in->message.body;
    struct peer *p = in->peer;

    if (in->link)
        return rlhf_fail(err, RLHF_DENIED, "a service does not say Hello to its client");
    if (hello->protocol != RLHF_PROTOCOL)
        return wrong_version(n, hello->software, hello->protocol, err);
    if (!(n->roles & RLHF_ROLE_BIT(hello->role)))
        return rlhf_fail(err, RLHF_DENIED, "%s has nothing to do with a %s: connect it elsewhere",
                         n->config.software, rlhf_role_name(hello->role));
    if (admit(n, in, hello->role, err) < 0)
        return -1;
    if (n->leaving)
        return rlhf_fail(err, RLHF_AGAIN, "%s is leaving: try again later", n->config.software);
    if (p && p->pub.epoch == hello->epoch) /* the Welcome was lost, or the Hello came twice */
        return send_welcome(n, p, in->message.request, err);
    if (p) {
        in->peer = NULL;
        lose_peer(n, p, "greeted again");
    }
    if (n->peer_count >= n->config.max_peers)
        return rlhf_fail(err, RLHF_FULL, "%s has its %zu peers already: try again later", n->config.software,
                         n->config.max_peers);
    if (!(p = add_peer(n, in->route, hello->role, hello->software, hello->host, err)))
        return -1;
    p->pub.epoch = hello->epoch;
    if (in->sender)
        strncpy(p->key, in->sender->name, sizeof p->key - 1);
    strncpy(p->run, n->config.run, sizeof p->run - 1);
    if (send_welcome(n, p, in->message.request, err) < 0)
        return 0; /* doomed, and never up: the next tick clears it away */
    peer_up(n, p);
    return 0;
}

static int on_welcome(struct rlhf_node *n, struct incoming *in, struct rlhf_error *err)
{
    const Rlhf__V1__Welcome *welcome = (const Rlhf__V1__Welcome *)in->message.body;
    struct link *l = in->link;
    struct peer *p;

    if (!l)
        return rlhf_fail(err, RLHF_DENIED, "a client does not say Welcome to its service");
    if (l->peer || in->message.request != l->epoch)
        return 0; /* an old greeting's */
    if (welcome->protocol != RLHF_PROTOCOL)
        return wrong_version(n, rlhf_role_name(l->service), welcome->protocol, err);
    if (!(p = add_peer(n, l->route, l->service, rlhf_role_name(l->service), welcome->host, err)))
        return -1;
    p->pub.is_link = true;
    p->pub.epoch = welcome->epoch;
    p->interval_us = (int64_t)welcome->heartbeat_ms * 1000;
    p->silence_us = p->interval_us * welcome->liveness;
    p->beat_us = now_us(n) + p->interval_us;
    strncpy(p->run, welcome->run, sizeof p->run - 1);
    p->link = l;
    l->peer = p;
    l->hello_us = INT64_MAX;
    l->warned = false;
    due(n, p->beat_us);
    peer_up(n, p);
    return 0;
}

/* ---- receiving ------------------------------------------------------------------------------------- */

static int on_heartbeat(struct rlhf_node *n, struct incoming *in, struct rlhf_error *err)
{
    const Rlhf__V1__Heartbeat *beat = (const Rlhf__V1__Heartbeat *)in->message.body;

    (void)err;
    if (n->machine->heartbeat)
        n->machine->heartbeat(n->machine->state, &in->peer->pub, beat->jobs, beat->n_jobs);
    return 0;
}

static int on_goodbye(struct rlhf_node *n, struct incoming *in, struct rlhf_error *err)
{
    struct link *l = in->link;

    (void)err;
    lose_peer(n, in->peer, "goodbye");
    in->peer = NULL;
    if (l)
        restart_greeting(n, l, false);
    return 0;
}

static const struct rlhf_handler *find_row(const struct rlhf_handler *rows, uint32_t type)
{
    while (rows->type != 0 && rows->type != type)
        rows++;
    return rows->type ? rows : NULL;
}

static int on_error(struct rlhf_node *n, struct incoming *in, struct rlhf_error *err)
{
    const Rlhf__V1__Error *said = (const Rlhf__V1__Error *)in->message.body;
    const struct rlhf_handler *row = find_row(n->machine->handlers, RLHF__V1__MESSAGE_TYPE__ERROR);
    struct link *l = in->link;

    if (l && !l->peer && said->request == l->epoch) {
        rlhf_log(l->warned ? RLHF_LEVEL_DEBUG : RLHF_LEVEL_WARNING, "greeting_refused by=%s why=\"%s\"",
                 rlhf_role_name(l->service), said->text);
        l->warned = true;
        retry_hello(n, l, jitter(n, said->code == RLHF_AGAIN ? HELLO_MIN_US * 10 : REFUSED_US));
        return 0;
    }
    if (!in->peer)
        return 0;
    if (l && said->greet) {
        lose_peer(n, in->peer, "it does not know us any more");
        in->peer = NULL;
        restart_greeting(n, l, false);
        return 0;
    }
    rlhf_log(in->peer->complained ? RLHF_LEVEL_DEBUG : RLHF_LEVEL_WARNING,
             "refused_by_peer role=%s id=%llu type=%s why=\"%s\"", rlhf_role_name(in->peer->pub.role),
             (unsigned long long)in->peer->pub.id, rlhf_message_name(said->type), said->text);
    in->peer->complained = true;
    return row ? row->handle(n->machine->state, &in->peer->pub, &in->message, err) : 0;
}

/* What the node itself understands; roles and handle are not used. */
static const struct session_row {
    struct rlhf_handler row;
    int (*act)(struct rlhf_node *n, struct incoming *in, struct rlhf_error *err);
    bool greeted; /* only from a greeted peer */
} session_rows[] = {
    { { RLHF__V1__MESSAGE_TYPE__HELLO, &rlhf__v1__hello__descriptor, 0, 1024, 0, 0, rlhf_check_hello, NULL },
      on_hello, false },
    { { RLHF__V1__MESSAGE_TYPE__WELCOME, &rlhf__v1__welcome__descriptor, 0, 1024, 0, 0, rlhf_check_welcome, NULL },
      on_welcome, false },
    { { RLHF__V1__MESSAGE_TYPE__ERROR, &rlhf__v1__error__descriptor, 0, 4096, 0, 0, rlhf_check_error, NULL },
      on_error, false },
    { { RLHF__V1__MESSAGE_TYPE__HEARTBEAT, &rlhf__v1__heartbeat__descriptor, 0, 10 * RLHF_MAX_JOBS + 16, 0, 0,
        rlhf_check_heartbeat, NULL },
      on_heartbeat, true },
    { { RLHF__V1__MESSAGE_TYPE__GOODBYE, &rlhf__v1__goodbye__descriptor, 0, 64, 0, 0, NULL, NULL },
      on_goodbye, true },
};

static const struct session_row *find_session_row(uint32_t type)
{
    for (size_t i = 0; i < sizeof session_rows / sizeof session_rows[0]; i++)
        if (session_rows[i].row.type == type)
            return &session_rows[i];
    return NULL;
}

/* The row's sizes and schema, then the values. */
static int open_message(struct rlhf_node *n, struct incoming *in, const struct rlhf_handler *row,
                        const struct rlhf_blob *frames, size_t count, struct rlhf_error *err)
{
    struct rlhf_message *m = &in->message;
    size_t bytes = 0;

    if (frames[1].size > row->max_bytes)
        return rlhf_fail(err, RLHF_REJECT, "a body of %zu bytes; at most %zu are allowed", frames[1].size,
                         row->max_bytes);
    if (count - 2 > row->max_blobs)
        return rlhf_fail(err, RLHF_REJECT, "%zu blobs; at most %zu are allowed", count - 2, row->max_blobs);
    for (size_t i = 2; i < count; i++)
        if (frames[i].size > row->max_blob_bytes || (bytes += frames[i].size) > row->max_blob_bytes)
            return rlhf_fail(err, RLHF_REJECT, "blobs of more than %zu bytes", row->max_blob_bytes);
    if (!(m->body = rlhf_unpack(n->budget, row->schema, frames[1].data, frames[1].size, err)))
        return -1;
    for (size_t i = 2; i < count; i++) {
        struct rlhf_blob blob = frames[i];

        if ((uintptr_t)blob.data % 8) { /* libzmq leaves small frames where they stood in its buffer */
            void *copy = rlhf_budget_get(n->budget, blob.size);

            if (!copy)
                return rlhf_fail(err, RLHF_FULL, "no memory for a blob of %zu bytes", blob.size);
            memcpy(copy, blob.data, blob.size);
            blob.data = copy;
        }
        m->blobs[m->blob_count++] = blob;
    }
    return row->check ? row->check(m, err) : 0;
}

static int not_greeted(const struct rlhf_node *n, struct incoming *in, struct rlhf_error *err)
{
    in->greet = true;
    return rlhf_fail(err, RLHF_AGAIN, "%s does not know you: say Hello first", n->config.software);
}

/* The key that this connection was let in with is not known any more, or for another role: the session ends, and nothing of
 * the message is looked at. (It cannot connect again.) */
static bool revoked(struct rlhf_node *n, struct incoming *in)
{
    const struct rlhf_sender *s = in->sender;

    if (s->roles && !(in->peer && !(s->roles & RLHF_ROLE_BIT(in->peer->pub.role))))
        return false;
    n->counters.refused++;
    n->counters.denied++;
    if (in->peer) {
        lose_peer(n, in->peer, "its key was revoked");
        in->peer = NULL;
    }
    return true;
}

static int take(struct rlhf_node *n, struct incoming *in, const struct rlhf_blob *frames, size_t count,
                struct rlhf_error *err)
{
    const struct session_row *session;
    const struct rlhf_handler *row;

    in->link = find_link(n, in->route);
    in->peer = find_peer(n, in->route);
    if (n->env->transport->sender)
        in->sender = n->env->transport->sender(n->env->transport);
    if (in->sender && revoked(n, in))
        return 0;
    if (count < 2 || count > RLHF_MAX_FRAMES)
        return rlhf_fail(err, RLHF_REJECT, "a message of %zu frames; it has a header, a body and up to %d blobs",
                         count, RLHF_MAX_BLOBS);
    if (rlhf_header_read(&in->header, n->budget, &frames[0], err) < 0)
        return -1;
    in->message.type = in->header.type;
    in->message.request = in->header.request;
    if (in->peer && !in->peer->up)
        return 0; /* it never got our Welcome, and soon greets again */
    if (in->peer)
        in->peer->heard_us = now_us(n);

    if ((session = find_session_row(in->header.type))) {
        if (session->greeted && !in->peer)
            return not_greeted(n, in, err);
        return open_message(n, in, &session->row, frames, count, err) < 0 ? -1 : session->act(n, in, err);
    }
    if (!in->peer)
        return not_greeted(n, in, err);
    if (in->header.protocol != RLHF_PROTOCOL)
        return wrong_version(n, in->peer->software, in->header.protocol, err);
    if (strcmp(in->header.run, in->peer->run) != 0) {
        in->greet = true;
        return rlhf_fail(err, RLHF_AGAIN, "a message of another run: say Hello again");
    }
    if (!(row = find_row(n->machine->handlers, in->header.type)))
        return rlhf_fail(err, RLHF_REJECT, "%s does not take a %s (type %u)", n->config.software,
                         rlhf_message_name(in->header.type), in->header.type);
    if (!(row->roles & RLHF_ROLE_BIT(in->peer->pub.role)))
        return rlhf_fail(err, RLHF_DENIED, "a %s may not send a %s", rlhf_role_name(in->peer->pub.role),
                         rlhf_message_name(in->header.type));
    if (open_message(n, in, row, frames, count, err) < 0)
        return -1;
    return row->handle(n->machine->state, &in->peer->pub, &in->message, err);
}

/* Says what was wrong, counts it, logs the first of each peer. For an Error there need not be room: who waits for an answer
 * asks again, and whoever floods us with bad messages fills the way back with their refusals. Its session goes on as long as
 * what else it is sent finds room. */
static void refuse(struct rlhf_node *n, struct incoming *in, const struct rlhf_error *why)
{
    Rlhf__V1__Error body = RLHF__V1__ERROR__INIT;
    struct rlhf_message m = { .type = RLHF__V1__MESSAGE_TYPE__ERROR, .body = &body.base };

    n->counters.refused++;
    if (why->code == RLHF_DENIED)
        n->counters.denied++;
    rlhf_log(in->peer && !in->peer->complained ? RLHF_LEVEL_WARNING : RLHF_LEVEL_DEBUG,
             "refused type=%s from=%s id=%llu key=\"%s\" code=%s why=\"%s\"", rlhf_message_name(in->header.type),
             in->peer ? rlhf_role_name(in->peer->pub.role) : "stranger",
             (unsigned long long)(in->peer ? in->peer->pub.id : 0), in->sender ? in->sender->name : "",
             rlhf_code_name(why->code), why->text);
    if (in->peer)
        in->peer->complained = true;
    if (in->header.type == RLHF__V1__MESSAGE_TYPE__ERROR || (in->link && !in->peer))
        return; /* an Error is never answered, and a service that does not know us is greeted, not lectured */
    body.text = (char *)why->text;
    body.code = why->code;
    body.type = in->header.type;
    body.request = in->header.request;
    body.greet = in->greet;
    send_on(n, in->route, in->peer ? in->peer->run : "", &m, NULL);
}

void rlhf_node_receive(struct rlhf_node *n, uint64_t route, const struct rlhf_blob *frames, size_t count)
{
    struct incoming in = { .route = route };
    struct rlhf_error err = { 0 };
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        bytes += frames[i].size;
    n->counters.received++;
    rlhf_budget_reset(n->budget, bytes * RLHF_BUDGET_FACTOR + RLHF_BUDGET_BASE / 2);
    if (take(n, &in, frames, count, &err) < 0)
        refuse(n, &in, &err);
    rlhf_budget_reset(n->budget, 0);
}

/* ---- time ------------------------------------------------------------------------------------------ */

/* When this process slept (stopped, swapped, a suspended machine), silence says nothing about the others. */
static void forgive_own_sleep(struct rlhf_node *n, int64_t now)
{
    int64_t late = now - n->due_us;

    if (n->due_us == INT64_MAX || late < (int64_t)n->config.heartbeat_ms * 1000)
        return;
    for (struct peer *p = n->first; p; p = p->next)
        p->heard_us = p->heard_us + late < now ? p->heard_us + late : now;
}

static void tick_peer(struct rlhf_node *n, struct peer *p, int64_t now)
{
    struct link *l = p->link;

    if (p->doomed || now - p->heard_us >= p->silence_us) {
        uint64_t route = p->route;

        n->counters.timeouts += !p->doomed;
        lose_peer(n, p, p->doomed ? "it takes no more" : "silent");
        if (l)
            restart_greeting(n, l, true);
        else
            n->env->transport->reset(n->env->transport, route);
        return;
    }
    if (now >= p->beat_us)
        send_heartbeat(n, p, now);
    due(n, p->beat_us);
    due(n, p->heard_us + p->silence_us);
}

void rlhf_node_tick(struct rlhf_node *n)
{
    int64_t now = now_us(n);

    if (now >= n->due_us) {
        struct peer *p = n->first;

        forgive_own_sleep(n, now);
        n->due_us = INT64_MAX;
        while (p) {
            struct peer *next = p->next;

            tick_peer(n, p, now);
            p = next;
        }
        for (size_t i = 0; i < n->link_count && !n->leaving; i++) {
            struct link *l = &n->links[i];

            if (l->peer)
                continue;
            if (now >= l->hello_us)
                send_hello(n, l);
            due(n, l->hello_us);
        }
    }
    if (n->machine->tick && n->machine->deadline && n->machine->deadline(n->machine->state) <= now)
        n->machine->tick(n->machine->state, now);
}

int64_t rlhf_node_deadline(struct rlhf_node *n)
{
    int64_t theirs = n->machine->deadline ? n->machine->deadline(n->machine->state) : INT64_MAX;

    return theirs < n->due_us ? theirs : n->due_us;
}

/* ---- life ------------------------------------------------------------------------------------------ */

struct rlhf_node *rlhf_node_new(const struct rlhf_node_config *c, const struct rlhf_env *env,
                                const struct rlhf_machine *machine, struct rlhf_error *err)
{
    struct rlhf_node *n = calloc(1, sizeof *n);

    if (!n) {
        rlhf_fail(err, RLHF_FULL, "no memory for a node");
        return NULL;
    }
    n->config = *c;
    n->config.run = c->run ? c->run : "";
    n->config.host = c->host ? c->host : "";
    n->config.profile = c->profile ? c->profile : "";
    n->config.software = c->software ? c->software : rlhf_role_name(c->role);
    n->config.heartbeat_ms = c->heartbeat_ms ? c->heartbeat_ms : 1000;
    n->config.liveness = c->liveness ? c->liveness : 5;
    n->config.max_peers = c->max_peers ? c->max_peers : 2048;
    if (strlen(n->config.run) >= RLHF_RUN_MAX || strlen(n->config.software) >= SOFTWARE_MAX) {
        rlhf_fail(err, RLHF_REJECT, "run \"%s\" is longer than %d bytes", n->config.run, RLHF_RUN_MAX - 1);
        rlhf_node_free(n);
        return NULL;
    }
    n->env = env;
    n->machine = machine;
    n->due_us = INT64_MAX;
    n->epoch = random_u64(n) | 1;
    for (const struct rlhf_handler *row = machine->handlers; row->type != 0; row++) {
        RLHF_ASSERT(row->max_blobs <= RLHF_MAX_BLOBS && row->handle && row->schema);
        n->roles |= row->roles;
    }
    if (!(n->budget = rlhf_budget_new(err))) {
        rlhf_node_free(n);
        return NULL;
    }
    return n;
}

int rlhf_node_link(struct rlhf_node *n, uint64_t route, Rlhf__V1__Role service, struct rlhf_error *err)
{
    struct link *l;

    if (n->link_count == MAX_LINKS)
        return rlhf_fail(err, RLHF_FULL, "more than %d services to connect to", MAX_LINKS);
    l = &n->links[n->link_count++];
    *l = (struct link){ .route = route, .service = service };
    restart_greeting(n, l, false);
    retry_hello(n, l, 0); /* jitter is for those that lost one service together */
    return 0;
}

struct rlhf_peer *rlhf_node_peers(struct rlhf_node *n, struct rlhf_peer *after)
{
    struct peer *p = after ? ((struct peer *)after)->next : n->first;

    while (p && !p->up)
        p = p->next;
    return p ? &p->pub : NULL;
}

void rlhf_node_revoke(struct rlhf_node *n, bool (*known)(void *ctx, const char *key, Rlhf__V1__Role role), void *ctx)
{
    for (struct peer *p = n->first, *next; p; p = next) {
        next = p->next;
        if (p->key[0] && !known(ctx, p->key, p->pub.role))
            lose_peer(n, p, "its key was revoked");
    }
}

void rlhf_node_leave(struct rlhf_node *n)
{
    Rlhf__V1__Goodbye body = RLHF__V1__GOODBYE__INIT;
    struct rlhf_message m = { .type = RLHF__V1__MESSAGE_TYPE__GOODBYE, .body = &body.base };

    for (struct peer *p = n->first; p; p = p->next)
        send_to(n, p, &m, NULL);
    n->leaving = true;
}

struct rlhf_node_counters rlhf_node_counters(const struct rlhf_node *n)
{
    return n->counters;
}

void rlhf_node_free(struct rlhf_node *n)
{
    if (!n)
        return;
    while (n->first) {
        struct peer *gone = n->first;

        n->first = gone->next;
        free(gone);
    }
    rlhf_bytes_free(&n->out);
    rlhf_budget_free(n->budget);
    free(n);
}
