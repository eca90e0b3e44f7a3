/* http_address.c - where the HTTP door listens, and which requests come from where they say. */
#include "http_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "telemetry/log.h"

enum {
    BACKLOG = 1024,
    SPARE_DESCRIPTORS = 64, /* for everything but clients */
};

/* ---- who may ask ------------------------------------------------------------------------------- */

/* A page of another site whose name was made to resolve to us (DNS rebinding) still sends its own name. */
static bool host_is_ours(const struct collector_site *site, const char *host)
{
    static const char *const loopback[] = { "localhost", "127.0.0.1", "[::1]" };
    const struct rlhf_config_strings *more = &site->config->hosts;
    size_t size = strcspn(host, *host == '[' ? "]" : ":") + (*host == '[');

    if (strlen(host) < size
        || (host[size] && (host[size] != ':' || host[size + 1 + strspn(host + size + 1, "0123456789")])))
        return false;
    if (site->any_host)
        return true;
    for (size_t i = 0; i < sizeof(loopback) / sizeof(loopback[0]); ++i)
        if (strlen(loopback[i]) == size && strncasecmp(loopback[i], host, size) == 0)
            return true;
    if (site->public_host && strcspn(site->public_host, ":/") == size && strncasecmp(site->public_host, host, size) == 0)
        return true;
    for (size_t i = 0; i < more->count; ++i)
        if (strlen(more->items[i]) == size && strncasecmp(more->items[i], host, size) == 0)
            return true;
    return strlen(site->host) == size && strncasecmp(site->host, host, size) == 0;
}

static bool origin_is_ours(const char *origin, const char *host)
{
    const char *name = rlhf_starts_with(origin, "http://")    ? origin + 7
                       : rlhf_starts_with(origin, "https://") ? origin + 8
                                                              : NULL;
    return name && strcasecmp(name, host) == 0;
}

/* The proxy may have given us a name of its own. */
static bool origin_is_public(const struct collector_site *site, const char *origin)
{
    const char *url = site->config->public_url;
    size_t size = site->public_host ? (size_t)(site->public_host - url) + strcspn(site->public_host, "/") : 0;

    return size > 0 && strlen(origin) == size && strncasecmp(origin, url, size) == 0;
}

/* Sets the answer (403) and returns false when a browser carries someone else's request. */
static bool same_site(const struct collector_site *site, struct MHD_Connection *c, struct collector_response *r)
{
    const char *host = collector_header(c, "Host"), *origin = collector_header(c, "Origin"), *fetch = collector_header(c, "Sec-Fetch-Site");

    if (!host || !host_is_ours(site, host)) {
        collector_respond_error(r, 403, "host",
                                "this is not %.100s: use %s, or add the name to `hosts` in the configuration",
                                host && rlhf_utf8_valid(host, strlen(host)) ? host : "that host", site->address);
        return false;
    }
    if ((origin && !origin_is_ours(origin, host) && !origin_is_public(site, origin))
        || (fetch && strcmp(fetch, "same-origin") != 0 && strcmp(fetch, "none") != 0)) {
        collector_respond_error(r, 403, "origin", "requests from pages of other sites are refused");
        return false;
    }
    return true;
}

/* A link from elsewhere may open the page itself. */
bool collector_site_admits(const struct collector_site *site, struct MHD_Connection *c, const char *path, const char *method,
                           struct collector_response *r)
{
    const char *mode = collector_header(c, "Sec-Fetch-Mode"), *host = collector_header(c, "Host");

    if ((strcmp(path, "/") == 0 || strcmp(path, "/owner") == 0) && strcmp(method, "GET") == 0 && mode && strcmp(mode, "navigate") == 0
        && host && host_is_ours(site, host))
        return true;
    return same_site(site, c, r);
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
void collector_site_client(const struct collector_site *site, struct MHD_Connection *c, char text[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const char *forwarded = site->public_host ? collector_header(c, "X-Forwarded-For") : NULL;
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
static int may_leave_host(struct collector *collector, struct rlhf_error *err)
{
    const struct collector_config *c = collector->config;
    int open = collector_access_open(collector->access, err);

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

int collector_site_open(struct collector_site *site, struct collector *collector, struct rlhf_error *err)
{
    const struct collector_config *c = collector->config;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV },
                    *found = NULL;
    char name[80], port[6], bare[80];
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    int fd = -1, on = 1;

    site->config = c;
    site->public_host = c->public_url && strstr(c->public_url, "://") ? strstr(c->public_url, "://") + 3 : NULL;
    if (split_address(c->http, name, sizeof(name), port, err) < 0)
        return -1;
    snprintf(bare, sizeof(bare), "%s", *name == '[' ? name + 1 : name);
    bare[strcspn(bare, "]")] = '\0';
    int rc = getaddrinfo(bare, port, &hints, &found);
    if (rc != 0)
        return rlhf_fail(err, RLHF_REJECT, "http: %s: %s", c->http, gai_strerror(rc));
    if (!is_loopback(found->ai_addr) && may_leave_host(collector, err) < 0)
        goto failed;
    site->any_host = !is_loopback(found->ai_addr) && c->hosts.count == 0;
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
    snprintf(site->host, sizeof(site->host), "%s", name);
    snprintf(site->address, sizeof(site->address), "http://%s:%d", name, number);
    freeaddrinfo(found);
    return fd;
failed:
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return -1;
}

unsigned collector_connection_limit(const struct collector_config *c)
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
