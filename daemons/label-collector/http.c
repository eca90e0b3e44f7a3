#include "http.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "access.h"
#include "export.h"
#include "http_parts.h"
#include "mailbox.h"
#include "overdue.h"
#include "telemetry/log.h"
#include "weights.h"

enum {
    HELD_BYTES = 96 << 20,   /* bodies of all requests together */
    PREPARED_BYTES = 4 << 20, /* of them, those that are parsed here; the others' documents live one by one, in their turn */
    SWALLOW_BYTES = 1 << 20, /* of a refused body that are read, so that the client gets to see the answer */
    CONNECTION_MEMORY = 32 << 10, /* header and read buffer of a connection */
    ENOUGH = 32, /* requests for which an idle reactor need not wait for the end of a turn */
    LAST_TURNS = 16,
    TICK_MS = 1000, /* between looks at what is late, on both sides */
    LEAVING = 32, /* of the spare descriptors for clients that were sent away and are not gone yet: the library takes a
                     few new ones before it sees that, and resets those above its limit */
    EXPORT_BLOCK = 64 << 10,
};

/* A connection. All of them stand in a list, longest without a finished request first. */
struct wire {
    int fd;
    int64_t since_us; /* accepted, or its last request finished */
    bool busy;        /* has sent a whole header and waits for the answer */
    bool closing;
    struct wire *before, *after;
};

/* What the reactor is asked to do with a request. */
enum errand {
    NOTHING,
    ADMIT,  /* say who sends it: its body is read only then */
    ANSWER, /* a read or a write; and first the same, where that is not known yet */
    FILL,   /* the next block of an export */
};

/* A request on its way. The door's; between hand_over() and the reactor's answer, the reactor's. */
struct visit {
    struct collector_letter letter; /* first: see mailbox.h */
    enum errand errand;
    struct collector_http *http;
    struct MHD_Connection *connection;
    struct wire *wire;
    const struct collector_route *route; /* NULL: refused, the answer stands in exchange.response */
    struct collector_exchange exchange;
    struct rlhf_bytes body;
    size_t swallowed;
    int64_t since_us; /* its header was there */
    char *path, *method, *content_type, *idempotency_key, *session;
    struct rlhf_bytes query_text; /* names and values, each with its NUL */
    bool no_memory;
    char client[INET6_ADDRSTRLEN];
    bool undecided; /* who sends it is to be asked of the store */
    bool answered;
    struct collector_labels *labels;
    struct rlhf_bytes block; /* of an export ... */
    size_t sent;             /* ... and how much of it the client has */
    bool last_block, failed;
};

struct collector_http {
    struct collector *collector; /* the reactor's, but for what is written once, and what locks itself (access, counters) */
    struct collector_site site;
    struct collector_mailbox *asked, *answered; /* to the reactor; and back */
    int epoll, timer;                           /* the reactor's */
    atomic_bool idle;                           /* it has done everything that was handed over */

    /* The door's alone, as soon as it runs. */
    pthread_t thread;
    bool running;
    struct MHD_Daemon *daemon;
    int door_epoll;
    struct wire *oldest, *newest;
    size_t wires, max_wires;
    int64_t swept_us;
    size_t held, prepared;        /* bytes of bodies */
    struct collector_letters out; /* to be handed over at the end of this turn, or when the reactor is idle */
    size_t out_count;
    size_t away;                  /* handed over and not back */
};

/* ---- connections ------------------------------------------------------------------------------- */

static void wire_remove(struct collector_http *h, struct wire *w)
{
    *(w->before ? &w->before->after : &h->oldest) = w->after;
    *(w->after ? &w->after->before : &h->newest) = w->before;
    w->before = w->after = NULL;
}

static void wire_append(struct collector_http *h, struct wire *w)
{
    w->since_us = rlhf_now(h->collector->env->clock);
    w->before = h->newest;
    w->after = NULL;
    *(h->newest ? &h->newest->after : &h->oldest) = w;
    h->newest = w;
}

/* The library has no call to close a connection from outside; it does it itself when its socket ends. */
static void wire_close(struct wire *w)
{
    w->closing = true;
    shutdown(w->fd, SHUT_RDWR);
}

/* Full house: who has asked for nothing for the longest time leaves. */
static void make_room(struct collector_http *h)
{
    for (struct wire *w = h->oldest; w; w = w->after) {
        if (!w->busy && !w->closing) {
            wire_close(w);
            return;
        }
    }
}

static void on_connection(void *ctx, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct collector_http *h = ctx;
    struct wire *w = *socket_context;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (!(w = calloc(1, sizeof(*w))))
            return;
        w->fd = info->connect_fd;
        wire_append(h, w);
        h->collector->counters.connections = h->wires + 1;
        if (++h->wires > h->max_wires)
            make_room(h);
        *socket_context = w;
    } else if (w) {
        wire_remove(h, w);
        h->collector->counters.connections = --h->wires;
        free(w);
        *socket_context = NULL;
    }
}

/* Once in TICK_MS, however much else there is to do. */
static void sweep(struct collector_http *h)
{
    int64_t now = rlhf_now(h->collector->env->clock);
    int64_t limit = now - h->collector->config->request_seconds * 1000000;

    if (now < h->swept_us + TICK_MS * INT64_C(1000))
        return;
    h->swept_us = now;
    for (struct wire *w = h->oldest; w && w->since_us < limit; w = w->after)
        if (!w->closing)
            wire_close(w);
}

/* ---- handing over ------------------------------------------------------------------------------ */

static void post(struct collector_http *h)
{
    if (h->out_count > 0)
        atomic_store(&h->idle, false);
    h->out_count = 0;
    collector_mailbox_put(h->asked, &h->out);
}

/* Until the reactor is done with it the connection rests, and the library touches nothing of it. */
static void hand_over(struct visit *v, enum errand errand)
{
    struct collector_http *h = v->http;

    v->errand = errand;
    MHD_suspend_connection(v->connection);
    collector_letters_add(&h->out, &v->letter);
    ++h->away;
    if (++h->out_count >= ENOUGH && atomic_load(&h->idle))
        post(h);
}

/* They go on where they were. */
static void take_back(struct collector_http *h, struct collector_letter *letter)
{
    while (letter) {
        struct visit *v = (struct visit *)letter;
        letter = letter->next;
        --h->away;
        MHD_resume_connection(v->connection);
    }
}

/* ---- answers ----------------------------------------------------------------------------------- */

static ssize_t read_export(void *ctx, uint64_t position, char *out, size_t max)
{
    struct visit *v = ctx;
    size_t left = v->block.size - v->sent, size = left < max ? left : max;

    (void)position;
    if (left > 0) {
        memcpy(out, v->block.data + v->sent, size);
        v->sent += size;
        return (ssize_t)size;
    }
    if (v->failed)
        return MHD_CONTENT_READER_END_WITH_ERROR; /* the transfer ends short: the client sees it */
    if (v->last_block)
        return MHD_CONTENT_READER_END_OF_STREAM;
    hand_over(v, FILL);
    return 0;
}

static struct MHD_Response *make_response(struct visit *v)
{
    struct collector_response *r = &v->exchange.response;
    struct MHD_Response *response;

    if (r->export) {
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EXPORT_BLOCK, read_export, v, NULL);
    } else if (r->fixed) {
        response = MHD_create_response_from_buffer(r->fixed_size, (void *)(uintptr_t)r->fixed,
                                                   MHD_RESPMEM_PERSISTENT);
    } else {
        response = MHD_create_response_from_buffer(r->body.size, r->body.data ? r->body.data : "",
                                                   MHD_RESPMEM_MUST_COPY);
    }
    return response;
}

static enum MHD_Result answer(struct visit *v)
{
    static const char *const headers[][2] = {
        { "Cache-Control", "no-store" },
        { "Content-Security-Policy",
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
          " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
          " trusted-types 'none'" },
        { "Cross-Origin-Opener-Policy", "same-origin" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Referrer-Policy", "no-referrer" },
        { "X-Content-Type-Options", "nosniff" },
        { "X-Frame-Options", "DENY" },
    };
    struct collector_response *r = &v->exchange.response;
    struct MHD_Response *response = make_response(v);
    enum MHD_Result rc;

    if (!response)
        return MHD_NO;
    ++v->http->collector->counters.requests;
    v->http->collector->counters.refused += r->status >= 400 && r->status < 500;
    v->http->collector->counters.failed += r->status >= 500;
    v->http->collector->counters.throttled += r->status == 429;
    if (v->route)
        collector_count_duration(&v->http->collector->counters, v->route->writes,
                                 rlhf_now(v->http->collector->env->clock) - v->since_us);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); ++i)
        MHD_add_response_header(response, headers[i][0], headers[i][1]);
    MHD_add_response_header(response, "Content-Type", r->content_type);
    if (*r->allow)
        MHD_add_response_header(response, "Allow", r->allow);
    if (r->authenticate)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (r->repeated)
        MHD_add_response_header(response, "Idempotency-Replayed", "true");
    if (r->set_cookie)
        MHD_add_response_header(response, "Set-Cookie", r->set_cookie);
    if (r->retry_after || r->status == 503 || r->status == 507) {
        char seconds[12];
        snprintf(seconds, sizeof(seconds), "%u", r->retry_after ? r->retry_after : 2);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    rc = MHD_queue_response(v->connection, r->status, response);
    MHD_destroy_response(response);
    return rc;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static const char *query(void *ctx, const char *key)
{
    return MHD_lookup_connection_value(ctx, MHD_GET_ARGUMENT_KIND, key);
}

static void visit_free(struct visit *v)
{
    if (!v)
        return;
    v->http->prepared -= v->labels ? v->body.size : 0;
    v->http->held -= v->body.size;
    collector_labels_free(v->labels);
    rlhf_bytes_free(&v->body);
    collector_response_free(&v->exchange.response);
    free(v->path);
    free(v->method);
    free(v->content_type);
    free(v->idempotency_key);
    free(v->session);
    rlhf_bytes_free(&v->block);
    rlhf_bytes_free(&v->query_text);
    free(v);
}

static const char *request_header(void *ctx, const char *name)
{
    return collector_header(ctx, name);
}

static enum MHD_Result add_argument(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct visit *v = ctx;

    (void)kind;
    v->no_memory = rlhf_bytes_append(&v->query_text, key, strlen(key) + 1, NULL) < 0
                   || rlhf_bytes_append(&v->query_text, value ? value : "", value ? strlen(value) + 1 : 1, NULL) < 0;
    return v->no_memory ? MHD_NO : MHD_YES;
}

static char *copy_header(struct MHD_Connection *c, const char *name)
{
    const char *text = collector_header(c, name);
    return text ? strdup(text) : NULL;
}

/* Whether the sender may use the route; otherwise the answer says why not. Only the reactor may ask the store. */
static enum collector_admission admit(struct visit *v, bool ask)
{
    struct collector_access *access = v->http->collector->access;
    struct collector_credentials c = { .authorization = collector_header(v->connection, "Authorization"),
                                       .session = v->session,
                                       .page = collector_header(v->connection, COLLECTOR_PAGE_HEADER),
                                       .address = v->client };

    return collector_access_admit(access, &c, v->route->roles, v->route->writes, ask, &v->exchange.request.who,
                                  &v->exchange.response);
}

static void set_route(struct visit *v, const struct collector_route *route)
{
    v->route = v->exchange.route = route;
}

/* Who asks is settled: what else can be refused without the body? */
static void check_header(struct visit *v)
{
    const char *length = collector_header(v->connection, "Content-Length");

    if (v->route && v->route->writes && !collector_route_accepts(v->route, v->content_type, &v->exchange.response))
        set_route(v, NULL);
    if (v->route && length && strtoull(length, NULL, 10) > v->route->max_body) {
        collector_respond_error(&v->exchange.response, 413, "too_large", "the body has %.20s bytes, %zu are allowed here",
                                length, v->route->max_body);
        set_route(v, NULL);
    }
}

static bool has_body(struct MHD_Connection *c)
{
    return collector_header(c, "Content-Length") || collector_header(c, "Transfer-Encoding");
}

/* The header is there. Decides on the route and on everything that can be refused without the body. */
static struct visit *visit_new(struct collector_http *h, struct MHD_Connection *connection, const char *path,
                               const char *method)
{
    struct visit *v = calloc(1, sizeof(*v));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    if (!v)
        return NULL;
    v->http = h;
    v->connection = connection;
    v->since_us = rlhf_now(h->collector->env->clock);
    v->wire = info ? info->socket_context : NULL;
    if (v->wire)
        v->wire->busy = true;
    v->path = strdup(path);
    v->method = strdup(method);
    v->content_type = copy_header(connection, "Content-Type");
    v->idempotency_key = copy_header(connection, "Idempotency-Key");
    const char *session =
        MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, collector_access_cookie(h->collector->access));
    v->session = session ? strdup(session) : NULL;
    collector_site_client(&h->site, connection, v->client);
    if (v->idempotency_key)
        MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, add_argument, v);
    if (!v->path || !v->method || v->no_memory) {
        visit_free(v);
        return NULL;
    }
    v->exchange.request = (struct collector_request){ .method = v->method,
                                                      .path = v->path,
                                                      .content_type = v->content_type,
                                                      .idempotency_key = v->idempotency_key,
                                                      .session = v->session,
                                                      .address = v->client,
                                                      .query_text = v->query_text.data,
                                                      .query_size = v->query_text.size,
                                                      .query = query,
                                                      .header = request_header,
                                                      .ctx = connection };
    struct collector_response *r = &v->exchange.response;
    if (collector_site_admits(&h->site, connection, path, method, r))
        set_route(v, collector_route_find(method, path, r));
    enum collector_admission admission = v->route ? admit(v, false) : COLLECTOR_REFUSED;
    v->undecided = admission == COLLECTOR_UNDECIDED;
    if (admission == COLLECTOR_REFUSED)
        set_route(v, NULL);
    if (!v->undecided)
        check_header(v);
    return v;
}

static void refuse(struct visit *v, unsigned status, const char *code, const char *what, size_t limit)
{
    set_route(v, NULL);
    v->http->held -= v->body.size;
    rlhf_bytes_free(&v->body);
    collector_respond_error(&v->exchange.response, status, code, what, limit);
}

/* Part of the body. */
static enum MHD_Result visit_body(struct visit *v, const char *data, size_t size)
{
    struct collector_http *h = v->http;

    if (v->route && v->body.size + size > v->route->max_body)
        refuse(v, 413, "too_large", "the body is over the %zu bytes allowed here", v->route->max_body);
    else if (v->route && h->held + size > HELD_BYTES)
        refuse(v, 503, "busy", "more than %zu bytes of requests are waiting: try again soon", HELD_BYTES);
    if (v->route && rlhf_bytes_append(&v->body, data, size, NULL) == 0) {
        h->held += size;
        return MHD_YES;
    }
    if (v->route)
        refuse(v, 503, "busy", "no memory for a body of this size: try again soon", 0);
    v->swallowed += size;
    return v->swallowed <= SWALLOW_BYTES ? MHD_YES : MHD_NO;
}

/* Who asks before sending is told at once; who sends anyway is heard out, within limits. */
static enum MHD_Result header_done(struct visit *v)
{
    return !v->route && collector_header(v->connection, "Expect") ? answer(v) : MHD_YES;
}

/* Spares the reactor the reading of labels. */
static void prepare(struct visit *v)
{
    struct collector_http *h = v->http;

    if (!v->undecided && h->prepared + v->body.size <= PREPARED_BYTES)
        v->labels = collector_labels_prepare(v->route, &v->exchange.request);
    v->exchange.request.labels = v->labels;
    h->prepared += v->labels ? v->body.size : 0;
}

static enum MHD_Result visit_ready(struct visit *v)
{
    v->exchange.request.body = v->body.data;
    v->exchange.request.body_size = v->body.size;
    if (!v->route || v->answered)
        return answer(v);
    prepare(v);
    hand_over(v, ANSWER);
    return MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **state)
{
    struct visit *v = *state;

    (void)version;
    if (!v) {
        *state = v = visit_new(ctx, connection, path, method);
        if (!v)
            return MHD_NO;
        if (!v->undecided || !has_body(connection))
            return header_done(v);
        hand_over(v, ADMIT);
        return MHD_YES;
    }
    if (v->failed) /* the end has come first */
        return MHD_NO;
    if (v->errand == ADMIT) { /* back from there, the library calls for the header once more */
        v->errand = NOTHING;
        check_header(v);
        return header_done(v);
    }
    if (*size > 0) {
        enum MHD_Result rc = visit_body(v, data, *size);
        *size = 0;
        return rc;
    }
    return visit_ready(v);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how)
{
    struct collector_http *h = ctx;
    struct visit *v = *state;

    (void)connection;
    (void)how;
    if (!v)
        return;
    if (v->wire) {
        v->wire->busy = false;
        wire_remove(h, v->wire);
        wire_append(h, v->wire);
    }
    visit_free(v);
    *state = NULL;
}

static void on_log(void *ctx, const char *fmt, va_list args)
{
    char text[256];

    (void)ctx;
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    rlhf_log(RLHF_LEVEL_DEBUG, "http-client text=\"%s\"", text);
}

/* ---- the reactor's side ------------------------------------------------------------------------ */

/* False: refused. */
static bool admitted(struct visit *v)
{
    if (v->undecided && admit(v, true) == COLLECTOR_REFUSED) {
        if (v->exchange.response.failure.code != RLHF_OK)
            collector_wrote(v->http->collector, &v->exchange.response.failure);
        set_route(v, NULL);
    }
    v->undecided = false;
    return v->route != NULL;
}

static void fill_block(struct visit *v)
{
    struct rlhf_error err;

    rlhf_bytes_clear(&v->block);
    v->sent = 0;
    ptrdiff_t size = rlhf_bytes_reserve(&v->block, EXPORT_BLOCK, &err) < 0
                         ? -1
                         : collector_export_read(v->exchange.response.export, v->block.data, EXPORT_BLOCK, &err);
    v->failed = size < 0;
    v->last_block = size == 0;
    v->block.size = size > 0 ? (size_t)size : 0;
    if (v->failed)
        rlhf_log_error("export", &err);
}

/* Everything but writes, which are left for the group: true for those. */
static bool run_errand(struct visit *v)
{
    struct collector *c = v->http->collector;

    if (v->errand == FILL) {
        fill_block(v);
    } else if (admitted(v) && v->errand == ANSWER) {
        if (v->route->writes)
            return true;
        collector_api_read(c, v->route, &v->exchange.request, &v->exchange.response);
        v->answered = true;
    }
    return false;
}

/* Commits all writes that have arrived. */
static void commit(struct collector *c, struct collector_letters *writes, size_t count)
{
    struct collector_exchange **exchanges = calloc(count, sizeof(*exchanges));
    size_t n = 0;

    for (struct collector_letter *l = writes->first; l; l = l->next) {
        struct visit *v = (struct visit *)l;
        v->answered = true;
        if (exchanges)
            exchanges[n++] = &v->exchange;
        else
            collector_api_write(c, &(struct collector_exchange *){ &v->exchange }, 1);
    }
    if (n > 0)
        collector_api_write(c, exchanges, n);
    free(exchanges);
}

static void run_errands(struct collector_http *h)
{
    struct collector_letters writes, others;
    struct collector_letter *letter, *next;
    size_t count = 0;

    collector_letters_init(&writes);
    collector_letters_init(&others);
    for (letter = collector_mailbox_take(h->asked); letter; letter = next) {
        next = letter->next;
        bool write = run_errand((struct visit *)letter);
        collector_letters_add(write ? &writes : &others, letter);
        count += write;
    }
    collector_mailbox_put(h->answered, &others); /* need not wait for the disk */
    if (count > 0)
        commit(h->collector, &writes, count);
    collector_mailbox_put(h->answered, &writes);
    atomic_store(&h->idle, collector_mailbox_empty(h->asked));
}

void collector_http_run(void *http)
{
    struct collector_http *h = http;
    uint64_t expirations;

    while (read(h->timer, &expirations, sizeof(expirations)) > 0)
        ;
    collector_weigh_when_due(h->collector);
    collector_free_overdue(h->collector);
    run_errands(h);
}

/* ---- the door's side --------------------------------------------------------------------------- */

/* What is on its way to the reactor when the end comes is not answered: its sender sees the connection close. */
static void drop_all(struct collector_http *h)
{
    post(h);
    for (struct collector_letter *l = collector_mailbox_take(h->asked), *next; l; l = next) {
        struct visit *v = (struct visit *)l;
        next = l->next;
        v->failed = true;
        --h->away;
        MHD_resume_connection(v->connection);
    }
}

/* Lets the library do what is to be done now; how long it may rest then. */
static int turn(struct collector_http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;

    MHD_run(h->daemon);
    post(h);
    bool timed = MHD_get_timeout(h->daemon, &ms) == MHD_YES;
    return timed && ms < TICK_MS ? (int)ms : h->wires ? TICK_MS : -1;
}

static void *keep_door(void *http)
{
    struct collector_http *h = http;
    struct epoll_event event;
    int rest = 0;

    pthread_setname_np(pthread_self(), "http");
    while (!collector_mailbox_closed(h->answered)) {
        if (rest != 0)
            epoll_wait(h->door_epoll, &event, 1, rest);
        take_back(h, collector_mailbox_take(h->answered));
        sweep(h);
        rest = turn(h);
    }
    take_back(h, collector_mailbox_take(h->answered));
    drop_all(h);
    for (int i = 0; i < LAST_TURNS && turn(h) == 0; ++i)
        ; /* what was answered goes out */
    drop_all(h);
    return NULL;
}

/* ---- opening ----------------------------------------------------------------------------------- */

static int watch(int epoll, int fd, struct rlhf_error *err)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    return rlhf_fail(err, RLHF_FATAL, "epoll: %s", strerror(errno));
}

/* An epoll descriptor that is readable when one of the two is; -1 *err. */
static int watch_both(int a, int b, struct rlhf_error *err)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0)
        return rlhf_fail(err, RLHF_FATAL, "epoll: %s", strerror(errno));
    if (watch(epoll, a, err) == 0 && watch(epoll, b, err) == 0)
        return epoll;
    close(epoll);
    return -1;
}

/* Takes fd. */
static int start_library(struct collector_http *h, int fd, struct rlhf_error *err)
{
    unsigned limit = collector_connection_limit(h->collector->config);

    h->max_wires = limit;
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
                                 on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, limit + LEAVING,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                                 MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                                 h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
    if (h->daemon)
        return 0;
    close(fd);
    return rlhf_fail(err, RLHF_FATAL, "http: libmicrohttpd did not start");
}

/* What both sides wait for. */
static int make_ways(struct collector_http *h, struct rlhf_error *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct itimerspec tick = { .it_value.tv_nsec = 1, .it_interval.tv_sec = TICK_MS / 1000 };

    h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (h->timer < 0 || !info || timerfd_settime(h->timer, 0, &tick, NULL) < 0)
        return rlhf_fail(err, RLHF_FATAL, "http: %s", strerror(errno));
    if (!(h->asked = collector_mailbox_new(err)) || !(h->answered = collector_mailbox_new(err))
        || (h->epoll = watch_both(collector_mailbox_fd(h->asked), h->timer, err)) < 0
        || (h->door_epoll = watch_both(collector_mailbox_fd(h->answered), info->epoll_fd, err)) < 0)
        return -1;
    return 0;
}

static int start_thread(struct collector_http *h, struct rlhf_error *err)
{
    int failed = pthread_create(&h->thread, NULL, keep_door, h);

    h->running = !failed;
    return failed ? rlhf_fail(err, RLHF_AGAIN, "no thread for HTTP: %s", strerror(failed)) : 0;
}

struct collector_http *collector_http_new(struct collector *c, struct rlhf_error *err)
{
    struct collector_http *h = calloc(1, sizeof(*h));
    int fd;

    if (!h) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    h->collector = c;
    h->epoll = h->timer = h->door_epoll = -1;
    collector_letters_init(&h->out);
    const char *file = c->config->http_address_file;
    if (file)
        c->env->io->unlink(c->env->io, file); /* what a former life wrote */
    if ((fd = collector_site_open(&h->site, c, err)) < 0 || start_library(h, fd, err) < 0 || make_ways(h, err) < 0
        || start_thread(h, err) < 0
        || (file && rlhf_write_file(c->env->io, file, h->site.address, strlen(h->site.address), err) < 0)) {
        collector_http_free(h);
        return NULL;
    }
    rlhf_log(RLHF_LEVEL_INFO, "http address=%s", h->site.address);
    return h;
}

const char *collector_http_address(const struct collector_http *h)
{
    return h->site.address;
}

int collector_http_fd(const struct collector_http *h)
{
    return h->epoll;
}

void collector_http_free(struct collector_http *h)
{
    if (!h)
        return;
    enum rlhf_code trouble = h->collector->trouble.code;
    if (h->running) {
        if (trouble != RLHF_CORRUPT && trouble != RLHF_FATAL)
            run_errands(h); /* what has come so far is still answered */
        collector_mailbox_close(h->answered);
        pthread_join(h->thread, NULL);
    }
    if (h->daemon)
        MHD_stop_daemon(h->daemon); /* closes the socket, and completes every visit */
    const int fds[] = { h->epoll, h->timer, h->door_epoll };
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); ++i)
        if (fds[i] >= 0)
            close(fds[i]);
    collector_mailbox_free(h->asked);
    collector_mailbox_free(h->answered);
    free(h);
}
