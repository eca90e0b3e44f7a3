#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "access.h"
#include "api.h"
#include "base/text.h"
#include "overdue.h"
#include "telemetry/log.h"
#include "weights.h"
#include "export.h"

enum {
    HELD_BYTES = 96 << 20,   /* bodies of all requests together */
    SWALLOW_BYTES = 1 << 20, /* of a refused body that are read, so that the client gets to see the answer */
    CONNECTION_MEMORY = 32 << 10, /* header and read buffer of a connection */
    BACKLOG = 1024,
    TURNS = 64, /* of the loop in one call of run */
    SWEEP_MS = 1000,
    SPARE_DESCRIPTORS = 64, /* for everything but clients */
    LEAVING = 32, /* of them for clients that were sent away and are not gone yet: the library takes a
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

/* A request on its way. */
struct visit {
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
    bool answered;      /* a write: committed or refused */
    struct visit *next; /* among those that wait for the commit */
};

struct collector_http {
    struct collector *collector;
    struct MHD_Daemon *daemon;
    int epoll, timer;
    char host[80], address[112];
    bool any_host;
    const char *public_host; /* of public_url, behind its "//"; NULL = none */
    struct wire *oldest, *newest;
    size_t wires, max_wires;
    int64_t swept_us;
    size_t held;                 /* bytes of bodies */
    struct visit *first, **last; /* writes that wait for the commit */
    size_t waiting;
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

/* Once in SWEEP_MS, however much else there is to do. */
static void sweep(struct collector_http *h)
{
    int64_t now = rlhf_now(h->collector->env->clock);
    int64_t limit = now - h->collector->config->request_seconds * 1000000;

    if (now < h->swept_us + SWEEP_MS * INT64_C(1000))
        return;
    h->swept_us = now;
    for (struct wire *w = h->oldest; w && w->since_us < limit; w = w->after)
        if (!w->closing)
            wire_close(w);
}

/* ---- who may ask ------------------------------------------------------------------------------- */

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* A page of another site whose name was made to resolve to us (DNS rebinding) still sends its own name. */
static bool host_is_ours(const struct collector_http *h, const char *host)
{
    static const char *const loopback[] = { "localhost", "127.0.0.1", "[::1]" };
    const struct rlhf_config_strings *more = &h->collector->config->hosts;
    size_t size = strcspn(host, *host == '[' ? "]" : ":") + (*host == '[');

    if (strlen(host) < size
        || (host[size] && (host[size] != ':' || host[size + 1 + strspn(host + size + 1, "0123456789")])))
        return false;
    if (h->any_host)
        return true;
    for (size_t i = 0; i < sizeof(loopback) / sizeof(loopback[0]); ++i)
        if (strlen(loopback[i]) == size && strncasecmp(loopback[i], host, size) == 0)
            return true;
    if (h->public_host && strcspn(h->public_host, ":/") == size && strncasecmp(h->public_host, host, size) == 0)
        return true;
    for (size_t i = 0; i < more->count; ++i)
        if (strlen(more->items[i]) == size && strncasecmp(more->items[i], host, size) == 0)
            return true;
    return strlen(h->host) == size && strncasecmp(h->host, host, size) == 0;
}

static bool origin_is_ours(const char *origin, const char *host)
{
    const char *name = rlhf_starts_with(origin, "http://")    ? origin + 7
                       : rlhf_starts_with(origin, "https://") ? origin + 8
                                                              : NULL;
    return name && strcasecmp(name, host) == 0;
}

/* The proxy may have given us a name of its own. */
static bool origin_is_public(const struct collector_http *h, const char *origin)
{
    const char *url = h->collector->config->public_url;
    size_t size = h->public_host ? (size_t)(h->public_host - url) + strcspn(h->public_host, "/") : 0;

    return size > 0 && strlen(origin) == size && strncasecmp(origin, url, size) == 0;
}

/* Sets the answer (403) and returns false when a browser carries someone else's request. */
static bool same_site(const struct collector_http *h, struct MHD_Connection *c, struct collector_response *r)
{
    const char *host = header(c, "Host"), *origin = header(c, "Origin"), *site = header(c, "Sec-Fetch-Site");

    if (!host || !host_is_ours(h, host)) {
        collector_respond_error(r, 403, "host",
                                "this is not %.100s: use %s, or add the name to `hosts` in the configuration",
                                host && rlhf_utf8_valid(host, strlen(host)) ? host : "that host", h->address);
        return false;
    }
    if ((origin && !origin_is_ours(origin, host) && !origin_is_public(h, origin))
        || (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)) {
        collector_respond_error(r, 403, "origin", "requests from pages of other sites are refused");
        return false;
    }
    return true;
}

/* A link from elsewhere may open the page itself. */
static bool may_enter(const struct collector_http *h, struct MHD_Connection *c, const char *path,
                      const char *method, struct collector_response *r)
{
    const char *mode = header(c, "Sec-Fetch-Mode"), *host = header(c, "Host");

    if ((strcmp(path, "/") == 0 || strcmp(path, "/owner") == 0) && strcmp(method, "GET") == 0 && mode && strcmp(mode, "navigate") == 0 && host
        && host_is_ours(h, host))
        return true;
    return same_site(h, c, r);
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6
           && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* Whose requests are counted together: an IPv6 client has a whole /64. */
static void print_address(const struct sockaddr *a, char text[INET6_ADDRSTRLEN])
{
    struct in6_addr network = { 0 };

    if (a->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, text, INET6_ADDRSTRLEN);
        return;
    }
    memcpy(&network, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 8);
    inet_ntop(AF_INET6, &network, text, INET6_ADDRSTRLEN);
}

/* A proxy on this host says for whom it asks, behind what its client may have said; others are not believed. */
static void find_client(const struct collector_http *h, struct MHD_Connection *c, char text[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const char *forwarded = h->public_host ? header(c, "X-Forwarded-For") : NULL;
    const char *last = forwarded ? strrchr(forwarded, ',') : NULL;

    snprintf(text, INET6_ADDRSTRLEN, "unknown");
    if (!info || !info->client_addr)
        return;
    print_address(info->client_addr, text);
    if (forwarded && is_loopback(info->client_addr)) {
        last = last ? last + 1 + strspn(last + 1, " ") : forwarded;
        snprintf(text, INET6_ADDRSTRLEN, "%.*s", (int)strcspn(last, " "), last);
    }
}

/* ---- answers ----------------------------------------------------------------------------------- */

static ssize_t read_export(void *ctx, uint64_t position, char *out, size_t max)
{
    struct rlhf_error err;
    ptrdiff_t size = collector_export_read(ctx, out, max, &err);

    (void)position;
    if (size > 0)
        return size;
    if (size == 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    rlhf_log_error("export", &err);
    return MHD_CONTENT_READER_END_WITH_ERROR; /* the transfer ends short: the client sees it */
}

static void free_export(void *ctx)
{
    collector_export_free(ctx);
}

static struct MHD_Response *make_response(struct collector_response *r)
{
    struct MHD_Response *response;

    if (r->export) {
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EXPORT_BLOCK, read_export, r->export,
                                                     free_export);
        if (response)
            r->export = NULL; /* the response owns it */
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
    struct MHD_Response *response = make_response(r);
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
    v->http->held -= v->body.size;
    rlhf_bytes_free(&v->body);
    collector_response_free(&v->exchange.response);
    free(v->path);
    free(v->method);
    free(v->content_type);
    free(v->idempotency_key);
    free(v->session);
    rlhf_bytes_free(&v->query_text);
    free(v);
}

static const char *request_header(void *ctx, const char *name)
{
    return header(ctx, name);
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
    const char *text = header(c, name);
    return text ? strdup(text) : NULL;
}

/* Whether the sender may use the route; otherwise the answer says why not. */
static bool admit(struct visit *v, const struct collector_route *route)
{
    struct collector_access *access = v->http->collector->access;
    struct collector_credentials c = { .authorization = header(v->connection, "Authorization"),
                                       .session = v->session,
                                       .page = header(v->connection, COLLECTOR_PAGE_HEADER),
                                       .address = v->client };

    bool admitted = collector_access_admit(access, &c, route->roles, route->writes, &v->exchange.request.who,
                                           &v->exchange.response);
    if (v->exchange.response.failure.code != RLHF_OK)
        collector_wrote(v->http->collector, &v->exchange.response.failure);
    return admitted;
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
    find_client(h, connection, v->client);
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
    const struct collector_route *route =
        may_enter(h, connection, path, method, r) ? collector_route_find(method, path, r) : NULL;
    if (route && !admit(v, route))
        route = NULL;
    if (route && route->writes && !collector_route_accepts(route, v->content_type, r))
        route = NULL;
    const char *length = header(connection, "Content-Length");
    if (route && length && strtoull(length, NULL, 10) > route->max_body) {
        collector_respond_error(r, 413, "too_large", "the body has %.20s bytes, %zu are allowed here", length,
                                route->max_body);
        route = NULL;
    }
    v->route = v->exchange.route = route;
    return v;
}

static void refuse(struct visit *v, unsigned status, const char *code, const char *what, size_t limit)
{
    v->route = v->exchange.route = NULL;
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

static enum MHD_Result visit_ready(struct visit *v)
{
    struct collector_http *h = v->http;

    v->exchange.request.body = v->body.data;
    v->exchange.request.body_size = v->body.size;
    if (!v->route || v->answered)
        return answer(v);
    if (!v->route->writes) {
        collector_api_read(h->collector, v->route, &v->exchange.request, &v->exchange.response);
        return answer(v);
    }
    v->next = NULL;
    *h->last = v;
    h->last = &v->next;
    ++h->waiting;
    MHD_suspend_connection(v->connection);
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
        /* Who asks before sending is told at once; who sends anyway is heard out, within limits. */
        return !v->route && header(connection, "Expect") ? answer(v) : MHD_YES;
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

/* ---- running ----------------------------------------------------------------------------------- */

/* Commits all writes that have arrived, then lets their connections go on. */
static void commit_waiting(struct collector_http *h)
{
    struct collector_exchange **exchanges = calloc(h->waiting, sizeof(*exchanges));
    struct visit *v, *next;
    size_t n = 0;

    for (v = h->first; v; v = v->next) {
        if (exchanges)
            exchanges[n++] = &v->exchange;
        else
            collector_api_write(h->collector, &(struct collector_exchange *){ &v->exchange }, 1);
    }
    if (exchanges)
        collector_api_write(h->collector, exchanges, n);
    free(exchanges);
    v = h->first;
    h->first = NULL;
    h->last = &h->first;
    h->waiting = 0;
    for (; v; v = next) {
        next = v->next;
        v->answered = true;
        MHD_resume_connection(v->connection);
    }
}

static void arm(struct collector_http *h, int64_t ms)
{
    struct itimerspec when = { .it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 } };

    if (ms == 0)
        when.it_value.tv_nsec = 1;
    if (ms < 0)
        when.it_value.tv_sec = when.it_value.tv_nsec = 0; /* off */
    timerfd_settime(h->timer, 0, &when, NULL);
}

void collector_http_run(void *http)
{
    struct collector_http *h = http;
    MHD_UNSIGNED_LONG_LONG ms = 0;
    uint64_t expirations;
    bool more = true, timed = false;

    while (read(h->timer, &expirations, sizeof(expirations)) > 0)
        ;
    sweep(h);
    collector_weigh_when_due(h->collector);
    collector_free_overdue(h->collector);
    for (int turn = 0; more && turn < TURNS; ++turn) {
        MHD_run(h->daemon);
        more = h->first != NULL;
        if (more)
            commit_waiting(h);
        timed = MHD_get_timeout(h->daemon, &ms) == MHD_YES;
        more = more || (timed && ms == 0);
    }
    arm(h, more ? 0 : timed && ms < SWEEP_MS ? (int64_t)ms : h->wires ? SWEEP_MS : -1);
}

/* ---- opening ----------------------------------------------------------------------------------- */

/* "127.0.0.1:8477", "[::1]:0", "localhost:8477" -> host (as in a URL) and port. */
static int split_address(const char *text, char *host, size_t size, char port[6], struct rlhf_error *err)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;

    if (!n || n >= size || !colon[1] || strlen(colon + 1) > 5
        || strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535
        || (*text != '[' && memchr(text, ':', n)))
        return rlhf_fail(err, RLHF_REJECT,
                         "http: %s is not an address: write it as 127.0.0.1:8477 or [::1]:8477", text);
    memcpy(host, text, n);
    host[n] = '\0';
    strcpy(port, colon + 1);
    return 0;
}

/* Beyond loopback nobody is the owner just by being there, and tokens should not be read on their way. */
static int may_leave_host(struct collector_http *h, struct rlhf_error *err)
{
    const struct collector_config *c = h->collector->config;
    int open = collector_access_open(h->collector->access, err);

    if (open < 0)
        return -1;
    if (open)
        return rlhf_fail(err, RLHF_DENIED,
                         "http: %s is not loopback, and there is no token: make one with `rlhfctl token add --role "
                         "owner NAME`",
                         c->http);
    if (!c->insecure && !(c->public_url && rlhf_starts_with(c->public_url, "https://")))
        return rlhf_fail(err, RLHF_DENIED,
                         "http: %s is not loopback: put a TLS proxy in front and set `public_url: https://...`, or set "
                         "`insecure: true` to send tokens in the clear",
                         c->http);
    return 0;
}

/* A listening socket on config->http; fills host and address. */
static int bind_socket(struct collector_http *h, struct rlhf_error *err)
{
    const struct collector_config *c = h->collector->config;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV },
                    *found = NULL;
    char name[80], port[6], bare[80];
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    int fd = -1, on = 1;

    if (split_address(c->http, name, sizeof(name), port, err) < 0)
        return -1;
    snprintf(bare, sizeof(bare), "%s", *name == '[' ? name + 1 : name);
    bare[strcspn(bare, "]")] = '\0';
    int rc = getaddrinfo(bare, port, &hints, &found);
    if (rc != 0)
        return rlhf_fail(err, RLHF_REJECT, "http: %s: %s", c->http, gai_strerror(rc));
    if (!is_loopback(found->ai_addr) && may_leave_host(h, err) < 0)
        goto failed;
    h->any_host = !is_loopback(found->ai_addr) && c->hosts.count == 0;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0
        || bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0
        || getsockname(fd, (struct sockaddr *)&bound, &size) < 0) {
        if (errno == EADDRINUSE)
            rlhf_fail(err, RLHF_AGAIN,
                      "http: %s is in use: see who has it with `ss -ltnp 'sport = :%s'`, or set `http` to "
                      "another port"
                      " (0 picks one)",
                      c->http, port);
        else
            rlhf_fail(err, RLHF_FATAL, "http: %s: %s", c->http, strerror(errno));
        goto failed;
    }
    int number = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                   : ((struct sockaddr_in *)&bound)->sin_port);
    snprintf(h->host, sizeof(h->host), "%s", name);
    snprintf(h->address, sizeof(h->address), "http://%s:%d", name, number);
    freeaddrinfo(found);
    return fd;
failed:
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return -1;
}

/* As many connections as the configuration wants and the process may have descriptors for. */
static unsigned connection_limit(const struct collector_config *c)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)c->max_connections + SPARE_DESCRIPTORS;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return (unsigned)c->max_connections;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted)
        return (unsigned)c->max_connections;
    unsigned possible = limit.rlim_cur > 2 * SPARE_DESCRIPTORS ? (unsigned)limit.rlim_cur - SPARE_DESCRIPTORS
                                                               : SPARE_DESCRIPTORS;
    rlhf_log(RLHF_LEVEL_WARNING, "http-connections limit=%u wanted=%lld reason=open-files", possible,
             (long long)c->max_connections);
    return possible;
}

static int watch(int epoll, int fd, struct rlhf_error *err)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    return rlhf_fail(err, RLHF_FATAL, "epoll: %s", strerror(errno));
}

static int start(struct collector_http *h, int fd, struct rlhf_error *err)
{
    unsigned limit = connection_limit(h->collector->config);

    h->max_wires = limit;
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
                                 on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, limit + LEAVING,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                                 MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                                 h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
    if (!h->daemon) {
        close(fd);
        return rlhf_fail(err, RLHF_FATAL, "http: libmicrohttpd did not start");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (h->epoll < 0 || h->timer < 0 || !info)
        return rlhf_fail(err, RLHF_FATAL, "http: %s", strerror(errno));
    return watch(h->epoll, info->epoll_fd, err) < 0 || watch(h->epoll, h->timer, err) < 0 ? -1 : 0;
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
    h->epoll = h->timer = -1;
    h->last = &h->first;
    const char *url = c->config->public_url;
    h->public_host = url && strstr(url, "://") ? strstr(url, "://") + 3 : NULL;
    const char *file = c->config->http_address_file;
    if (file)
        c->env->io->unlink(c->env->io, file); /* what a former life wrote */
    if ((fd = bind_socket(h, err)) < 0 || start(h, fd, err) < 0
        || (file && rlhf_write_file(c->env->io, file, h->address, strlen(h->address), err) < 0)) {
        collector_http_free(h);
        return NULL;
    }
    arm(h, 0);
    rlhf_log(RLHF_LEVEL_INFO, "http address=%s", h->address);
    return h;
}

const char *collector_http_address(const struct collector_http *h)
{
    return h->address;
}

int collector_http_fd(const struct collector_http *h)
{
    return h->epoll;
}

void collector_http_free(struct collector_http *h)
{
    if (!h)
        return;
    if (h->daemon)
        MHD_stop_daemon(h->daemon); /* closes the socket, and completes every visit */
    if (h->epoll >= 0)
        close(h->epoll);
    if (h->timer >= 0)
        close(h->timer);
    free(h);
}
