#include "daemon/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "net/codec.h"
#include "telemetry/log.h"

enum {
    MAX_SOCKETS = 16,
    IDENTITY_SIZE = 5,        /* a zero and 4 bytes: what a ROUTER gives to who chose none */
    LINGER_MS = 1000,
    HANDSHAKE_MS = 5000,
    PING_MS = 2000,           /* dead connections; our own heartbeats say whether the program lives */
    PING_TIMEOUT_MS = 6000,
    MAX_RETRANSMIT_MS = 10000,
    RECONNECT_MS = 100,       /* libzmq adds the jitter */
    RECONNECT_MAX_MS = 10000,
    BACKLOG = 1024,
    QUEUE = 256,              /* messages to and from one peer; the real bound is our credit in bytes */
    DEFAULT_MAX_FRAME = 1 << 20,
    FIRST_BLOB = 2,           /* of a message's frames: header and body come before */
};
static const uint64_t LINK_ROUTE = UINT64_C(1) << 63;

/* With a domain libzmq refuses the greetings of ZMTP 1 and 2, which it otherwise takes from anyone: it aborts the process when
 * the routing id of such a peer arrives while the socket closes (process_routing_id_msg, libzmq 4.3.4). Without keys nobody
 * answers for the domain, which lets ZMTP 3 pass as before. */
static const char DOMAIN[] = "rlhfd";

static const char ZAP[] = "inproc://zeromq.zap.01"; /* RFC 27: where libzmq asks who may connect */

struct socket {
    void *handle;
    char *endpoint;         /* to connect to again; NULL for services */
    Rlhf__V1__Role service; /* of a link */
    bool curve;
};

struct rlhf_sockets {
    struct rlhf_transport transport; /* first */
    void *context;
    struct socket items[MAX_SOCKETS];
    size_t count;
    size_t max_frame;
    char endpoint[256];
    const struct rlhf_keys *keys;     /* NULL: no CURVE */
    void *zap;                        /* answers ZAP */
    const struct rlhf_sender *sender; /* of the message being received */
};

static int set_int(void *handle, int option, int value)
{
    return zmq_setsockopt(handle, option, &value, sizeof value);
}

/* ---- keys ------------------------------------------------------------------------------------------ */

static bool under_curve(const struct rlhf_sockets *s, const char *endpoint)
{
    return s->keys && strncmp(endpoint, "tcp://", 6) == 0;
}

static int set_text(void *handle, int option, const char *text)
{
    return zmq_setsockopt(handle, option, text, strlen(text));
}

/* service: whose key the other side must have; for sockets that bind it is not used. */
static int set_keys(const struct rlhf_sockets *s, void *handle, int type, Rlhf__V1__Role service, struct rlhf_error *err)
{
    const char *server = NULL;

    if (type == ZMQ_DEALER && !(server = rlhf_keys_of_service(s->keys, service, err)))
        return -1;
    if ((server ? set_text(handle, ZMQ_CURVE_SERVERKEY, server) < 0
                      || set_text(handle, ZMQ_CURVE_PUBLICKEY, rlhf_keys_public(s->keys)) < 0
                : set_int(handle, ZMQ_CURVE_SERVER, 1) < 0)
        || set_text(handle, ZMQ_CURVE_SECRETKEY, rlhf_keys_secret(s->keys)) < 0)
        return rlhf_fail(err, RLHF_FATAL, "libzmq takes no keys: %s", zmq_strerror(errno));
    return 0;
}

/* Whom the request is about, by its frames (RFC 27): the mechanism, then its credentials. */
static bool admitted(const struct rlhf_sockets *s, const char *mechanism, const uint8_t *credentials, size_t size,
                     char user[RLHF_KEY_TEXT])
{
    user[0] = 0;
    if (strcmp(mechanism, "NULL") == 0)
        return true; /* only sockets of ipc:// have it: libzmq holds peers to a socket's mechanism */
    return strcmp(mechanism, "CURVE") == 0 && size == RLHF_KEY_SIZE && zmq_z85_encode(user, credentials, size)
           && rlhf_keys_find(s->keys, user);
}

enum { ZAP_VERSION, ZAP_REQUEST, ZAP_DOMAIN, ZAP_ADDRESS, ZAP_IDENTITY, ZAP_MECHANISM, ZAP_CREDENTIALS };

static void answer_zap(const struct rlhf_sockets *s, zmq_msg_t *frames, size_t count)
{
    char mechanism[16] = "", user[RLHF_KEY_TEXT] = "", address[64] = "";
    bool yes;

    if (count < ZAP_CREDENTIALS)
        return; /* libzmq itself asks, and never so */
    snprintf(mechanism, sizeof mechanism, "%.*s", (int)zmq_msg_size(&frames[ZAP_MECHANISM]),
             (const char *)zmq_msg_data(&frames[ZAP_MECHANISM]));
    snprintf(address, sizeof address, "%.*s", (int)zmq_msg_size(&frames[ZAP_ADDRESS]),
             (const char *)zmq_msg_data(&frames[ZAP_ADDRESS]));
    yes = count > ZAP_CREDENTIALS ? admitted(s, mechanism, zmq_msg_data(&frames[ZAP_CREDENTIALS]),
                                             zmq_msg_size(&frames[ZAP_CREDENTIALS]), user)
                                  : admitted(s, mechanism, NULL, 0, user);
    if (!yes)
        rlhf_log(RLHF_LEVEL_WARNING, "key_refused address=%s key=\"%s\"", address, user);
    zmq_send(s->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(s->zap, zmq_msg_data(&frames[ZAP_REQUEST]), zmq_msg_size(&frames[ZAP_REQUEST]), ZMQ_SNDMORE);
    zmq_send(s->zap, yes ? "200" : "400", 3, ZMQ_SNDMORE);
    zmq_send(s->zap, "", 0, ZMQ_SNDMORE);
    zmq_send(s->zap, user, yes ? strlen(user) : 0, ZMQ_SNDMORE);
    zmq_send(s->zap, "", 0, 0);
}

int rlhf_sockets_protect(struct rlhf_sockets *s, const struct rlhf_keys *k, struct rlhf_error *err)
{
    if (!zmq_has("curve"))
        return rlhf_fail(err, RLHF_FATAL, "this libzmq was built without CURVE");
    if (!(s->zap = zmq_socket(s->context, ZMQ_REP)) || set_int(s->zap, ZMQ_LINGER, 0) < 0 || zmq_bind(s->zap, ZAP) < 0)
        return rlhf_fail(err, RLHF_FATAL, "nobody can answer who may connect: %s", zmq_strerror(errno));
    s->keys = k;
    return 0;
}

static const struct rlhf_sender *transport_sender(struct rlhf_transport *t)
{
    return ((const struct rlhf_sockets *)t)->sender;
}

/* Whose key the connection was admitted with, as the list says now. */
static const struct rlhf_sender *sender_of(const struct rlhf_sockets *s, const struct socket *item, zmq_msg_t *frame)
{
    static const struct rlhf_sender nobody = { .name = "nobody" };
    const struct rlhf_sender *known;
    const char *user;

    if (!item->curve || item->endpoint) /* a service proves itself by being able to answer */
        return NULL;
    user = zmq_msg_gets(frame, "User-Id");
    known = user ? rlhf_keys_find(s->keys, user) : NULL;
    return known ? known : &nobody;
}

/* ---- a socket -------------------------------------------------------------------------------------- */

/* A socket with nothing left at a default that can hurt. */
static void *open_socket(struct rlhf_sockets *s, int type, const char *endpoint, Rlhf__V1__Role service,
                         struct rlhf_error *err)
{
    int64_t max_frame = (int64_t)s->max_frame;
    int ttl = PING_TIMEOUT_MS;
    void *handle = zmq_socket(s->context, type);

    if (!handle || set_int(handle, ZMQ_LINGER, LINGER_MS) < 0
        || zmq_setsockopt(handle, ZMQ_MAXMSGSIZE, &max_frame, sizeof max_frame) < 0
        || zmq_setsockopt(handle, ZMQ_ZAP_DOMAIN, DOMAIN, sizeof DOMAIN - 1) < 0
        || set_int(handle, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) < 0 || set_int(handle, ZMQ_HEARTBEAT_IVL, PING_MS) < 0
        || set_int(handle, ZMQ_HEARTBEAT_TIMEOUT, PING_TIMEOUT_MS) < 0
        || set_int(handle, ZMQ_HEARTBEAT_TTL, ttl) < 0 || set_int(handle, ZMQ_TCP_MAXRT, MAX_RETRANSMIT_MS) < 0
        || set_int(handle, ZMQ_SNDHWM, QUEUE) < 0 || set_int(handle, ZMQ_RCVHWM, QUEUE) < 0
        || set_int(handle, ZMQ_IPV6, strchr(endpoint, '[') != NULL) < 0
        || (type == ZMQ_ROUTER ? set_int(handle, ZMQ_ROUTER_MANDATORY, 1) < 0
                                     || set_int(handle, ZMQ_BACKLOG, BACKLOG) < 0
                               : set_int(handle, ZMQ_IMMEDIATE, 1) < 0
                                     || set_int(handle, ZMQ_RECONNECT_IVL, RECONNECT_MS) < 0
                                     || set_int(handle, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS) < 0)) {
        rlhf_fail(err, RLHF_FATAL, "no socket for %s: %s", endpoint, zmq_strerror(errno));
        if (handle)
            zmq_close(handle);
        return NULL;
    }
    if (under_curve(s, endpoint) && set_keys(s, handle, type, service, err) < 0) {
        zmq_close(handle);
        return NULL;
    }
    return handle;
}

/* ---- sending --------------------------------------------------------------------------------------- */

static int send_frame(void *handle, const void *data, size_t size, bool more)
{
    return zmq_send(handle, data, size, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0 ? -1 : 0;
}

static void release_kept(void *data, void *keeper)
{
    (void)data;
    ((struct rlhf_keeper *)keeper)->release(keeper);
}

/* Without a copy. libzmq's own thread releases it, when it is sent or never will be. */
static int send_kept(void *handle, const struct rlhf_blob *blob, struct rlhf_keeper *keeper, bool more)
{
    zmq_msg_t frame;

    keeper->keep(keeper);
    if (zmq_msg_init_data(&frame, (void *)blob->data, blob->size, release_kept, keeper) < 0) {
        keeper->release(keeper);
        return -1;
    }
    if (zmq_msg_send(&frame, handle, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0) {
        zmq_msg_close(&frame);
        return -1;
    }
    return 0;
}

static int transport_send(struct rlhf_transport *t, uint64_t route, const struct rlhf_blob *frames, size_t count,
                          struct rlhf_keeper *keeper, struct rlhf_error *err)
{
    struct rlhf_sockets *s = (struct rlhf_sockets *)t;
    bool link = route & LINK_ROUTE;
    size_t index = (size_t)((route & ~LINK_ROUTE) >> 32);
    void *handle = s->items[index].handle;
    uint8_t identity[IDENTITY_SIZE] = { 0 };
    uint32_t client = (uint32_t)route;

    memcpy(identity + 1, &client, sizeof client);
    /* Whether the message is taken is decided with its first frame: the queue counts whole messages. */
    if ((!link && send_frame(handle, identity, sizeof identity, true) < 0)
        || (link && send_frame(handle, frames[0].data, frames[0].size, count > 1) < 0))
        return rlhf_fail(err, RLHF_AGAIN, "%s",
                         errno == EHOSTUNREACH ? "the peer is gone"
                         : errno == EAGAIN     ? "the peer is not connected or takes no more"
                                               : zmq_strerror(errno));
    for (size_t i = link ? 1 : 0; i < count; i++)
        while ((keeper && i >= FIRST_BLOB ? send_kept(handle, &frames[i], keeper, i + 1 < count)
                                          : send_frame(handle, frames[i].data, frames[i].size, i + 1 < count))
               < 0)
            if (errno != EINTR)
                return rlhf_fail(err, RLHF_AGAIN, "the peer is gone");
    return 0;
}

static void transport_reset(struct rlhf_transport *t, uint64_t route)
{
    struct rlhf_sockets *s = (struct rlhf_sockets *)t;
    struct socket *item = &s->items[(route & ~LINK_ROUTE) >> 32];
    struct rlhf_error err = { 0 };
    void *fresh;

    if (!(route & LINK_ROUTE))
        return; /* a ROUTER forgets a client when its connection ends; pings see to that */
    if (!(fresh = open_socket(s, ZMQ_DEALER, item->endpoint, item->service, &err)) || zmq_connect(fresh, item->endpoint) < 0) {
        rlhf_log(RLHF_LEVEL_WARNING, "reconnect_failed endpoint=%s why=\"%s\"", item->endpoint,
                 fresh ? zmq_strerror(errno) : err.text);
        if (fresh)
            zmq_close(fresh);
        return; /* the old socket goes on trying */
    }
    set_int(item->handle, ZMQ_LINGER, 0);
    zmq_close(item->handle);
    item->handle = fresh;
}

/* ---- opening --------------------------------------------------------------------------------------- */

static bool is_loopback(const char *endpoint)
{
    static const char *const prefixes[] = { "ipc://", "inproc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:" };

    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(endpoint, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* libzmq would quietly take over the path of a living service. */
static bool somebody_listens(const char *endpoint)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    bool listens = false;
    int fd;

    if (strncmp(endpoint, "ipc://", 6) != 0 || strlen(endpoint + 6) >= sizeof address.sun_path)
        return false;
    strcpy(address.sun_path, endpoint + 6);
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0) {
        listens = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
        close(fd);
    }
    return listens;
}

static int busy(const char *endpoint, struct rlhf_error *err)
{
    const char *port = strrchr(endpoint, ':');

    if (strncmp(endpoint, "tcp://", 6) == 0)
        return rlhf_fail(err, RLHF_FATAL,
                         "%s is in use by another process: `ss -ltnp 'sport = %s'` says which; stop it or listen "
                         "elsewhere",
                         endpoint, port);
    return rlhf_fail(err, RLHF_FATAL, "%s is in use by another process: `ss -lxp` says which; stop it or listen "
                                      "elsewhere",
                     endpoint);
}

static struct socket *new_item(struct rlhf_sockets *s, const char *endpoint, struct rlhf_error *err)
{
    if (s->count == MAX_SOCKETS) {
        rlhf_fail(err, RLHF_FULL, "no room for %s: %d sockets are open", endpoint, MAX_SOCKETS);
        return NULL;
    }
    return &s->items[s->count];
}

int rlhf_sockets_serve(struct rlhf_sockets *s, const char *endpoint, bool insecure, struct rlhf_error *err)
{
    struct socket *item = new_item(s, endpoint, err);
    size_t size = sizeof s->endpoint;
    void *handle;

    if (!item)
        return -1;
    if (!insecure && !is_loopback(endpoint) && !under_curve(s, endpoint))
        return rlhf_fail(err, RLHF_FATAL,
                         "%s is not loopback and would be open to everybody: set `key` and `peers` (rlhfctl keys new), "
                         "listen on tcp://127.0.0.1 or ipc://, or set `insecure: true` on a network you trust",
                         endpoint);
    if (somebody_listens(endpoint))
        return busy(endpoint, err);
    if (!(handle = open_socket(s, ZMQ_ROUTER, endpoint, RLHF__V1__ROLE__ROLE_UNSPECIFIED, err)))
        return -1;
    if (zmq_bind(handle, endpoint) < 0 || zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, s->endpoint, &size) < 0) {
        int why = errno;

        zmq_close(handle);
        return why == EADDRINUSE ? busy(endpoint, err)
                                 : rlhf_fail(err, RLHF_FATAL, "cannot listen on %s: %s", endpoint, zmq_strerror(why));
    }
    *item = (struct socket){ .handle = handle, .curve = under_curve(s, endpoint) };
    s->count++;
    return 0;
}

int rlhf_sockets_link(struct rlhf_sockets *s, const char *endpoint, Rlhf__V1__Role service, uint64_t *route,
                      struct rlhf_error *err)
{
    struct socket *item = new_item(s, endpoint, err);
    char *copy = strdup(endpoint);
    void *handle = NULL;

    if (!item || !copy || !(handle = open_socket(s, ZMQ_DEALER, endpoint, service, err))) {
        free(copy);
        return item && !copy ? rlhf_fail(err, RLHF_FULL, "no memory for a link") : -1;
    }
    if (zmq_connect(handle, endpoint) < 0) {
        int why = errno;

        zmq_close(handle);
        free(copy);
        return rlhf_fail(err, RLHF_FATAL, "cannot connect to %s: %s; an endpoint looks like tcp://127.0.0.1:5701 or "
                                          "ipc:///run/rlhfd/learner",
                         endpoint, zmq_strerror(why));
    }
    *item = (struct socket){ .handle = handle, .endpoint = copy, .service = service, .curve = under_curve(s, endpoint) };
    *route = LINK_ROUTE | (uint64_t)s->count << 32;
    s->count++;
    return 0;
}

/* ---- receiving ------------------------------------------------------------------------------------- */

/* One message's frames; what is over the room for them is counted as one more and thrown away. */
struct taken {
    zmq_msg_t frames[1 + RLHF_MAX_FRAMES + 1]; /* identity, message, too many */
    size_t count;
};

static bool take(void *handle, struct taken *t)
{
    bool more = true;

    for (t->count = 0; more;) {
        zmq_msg_t *frame = &t->frames[t->count];

        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, handle, ZMQ_DONTWAIT) < 0) {
            if (errno == EINTR)
                continue;
            zmq_msg_close(frame);
            return false;
        }
        more = zmq_msg_more(frame);
        if (t->count + 1 < sizeof t->frames / sizeof t->frames[0])
            t->count++;
        else
            zmq_msg_close(frame);
    }
    return true;
}

static void release(struct taken *t)
{
    for (size_t i = 0; i < t->count; i++)
        zmq_msg_close(&t->frames[i]);
}

/* The route of a client from the identity that the ROUTER puts in front; false for one that was chosen by the peer. */
static bool route_of(size_t index, zmq_msg_t *identity, uint64_t *route)
{
    const uint8_t *bytes = zmq_msg_data(identity);
    uint32_t client;

    if (zmq_msg_size(identity) != IDENTITY_SIZE || bytes[0] != 0)
        return false;
    memcpy(&client, bytes + 1, sizeof client);
    *route = (uint64_t)index << 32 | client;
    return true;
}

static bool take_zap(struct rlhf_sockets *s)
{
    struct taken t;
    bool whole = take(s->zap, &t);

    if (whole)
        answer_zap(s, t.frames, t.count);
    release(&t);
    return whole;
}

bool rlhf_sockets_receive(struct rlhf_sockets *s, size_t index, unsigned most,
                          void (*receive)(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count),
                          void *ctx)
{
    bool link = index < s->count && s->items[index].endpoint;

    if (index == s->count)
        return take_zap(s);
    for (unsigned n = 0; n < most; n++) {
        struct rlhf_blob frames[1 + RLHF_MAX_FRAMES];
        uint64_t route = LINK_ROUTE | (uint64_t)index << 32;
        size_t first = link ? 0 : 1, count = 0;
        struct taken t;
        bool whole = take(s->items[index].handle, &t);

        if (whole && (link || (t.count > 0 && route_of(index, &t.frames[0], &route)))) {
            for (size_t i = first; i < t.count && count < sizeof frames / sizeof frames[0]; i++)
                frames[count++] = (struct rlhf_blob){ zmq_msg_data(&t.frames[i]), zmq_msg_size(&t.frames[i]) };
            s->sender = sender_of(s, &s->items[index], &t.frames[t.count - 1]);
            receive(ctx, route, frames, count);
            s->sender = NULL;
        }
        release(&t);
        if (!whole)
            return false;
    }
    return true;
}

/* ---- life ------------------------------------------------------------------------------------------ */

struct rlhf_sockets *rlhf_sockets_new(struct rlhf_error *err)
{
    struct rlhf_sockets *s = calloc(1, sizeof *s);
    int major, minor, patch;

    zmq_version(&major, &minor, &patch);
    if (major * 10000 + minor * 100 + patch < 40304) {
        free(s);
        rlhf_fail(err, RLHF_FATAL, "libzmq %d.%d.%d has known flaws: 4.3.4 or newer is needed", major, minor, patch);
        return NULL;
    }
    if (!s || !(s->context = zmq_ctx_new())) {
        free(s);
        rlhf_fail(err, RLHF_FATAL, "no ZeroMQ context: %s", zmq_strerror(errno));
        return NULL;
    }
    s->transport =
        (struct rlhf_transport){ .send = transport_send, .reset = transport_reset, .sender = transport_sender };
    s->max_frame = DEFAULT_MAX_FRAME;
    return s;
}

struct rlhf_transport *rlhf_sockets_transport(struct rlhf_sockets *s)
{
    return &s->transport;
}

void rlhf_sockets_limit(struct rlhf_sockets *s, size_t max_frame)
{
    s->max_frame = max_frame;
}

const char *rlhf_sockets_endpoint(const struct rlhf_sockets *s)
{
    return s->endpoint;
}

size_t rlhf_sockets_count(const struct rlhf_sockets *s)
{
    return s->count + (s->zap != NULL);
}

void *rlhf_sockets_handle(const struct rlhf_sockets *s, size_t index)
{
    return index < s->count ? s->items[index].handle : s->zap;
}

void rlhf_sockets_free(struct rlhf_sockets *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        zmq_close(s->items[i].handle);
        free(s->items[i].endpoint);
    }
    if (s->zap)
        zmq_close(s->zap);
    zmq_ctx_term(s->context);
    free(s);
}
