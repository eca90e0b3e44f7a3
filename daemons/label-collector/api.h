/* api.h - the HTTP API of API.md as functions of requests: no sockets, no HTTP library.
 *
 * Routes are one table: method, path, how big a body may be, whether it writes. Reads answer from what is
 * committed. Writes are run in groups, one transaction for all, because a commit costs a sync of the disk
 * however much is in it; each is undone alone when it is refused. */
#ifndef LABEL_COLLECTOR_API_H
#define LABEL_COLLECTOR_API_H

#include "access.h"
#include "base/memory.h"
#include "collector.h"

struct collector_export;
struct collector_labels;

struct collector_request {
    const char *method; /* HEAD counts as GET */
    const char *path;   /* decoded, without the query */
    const char *body;
    size_t body_size;
    const char *content_type;    /* NULL = none given */
    const char *idempotency_key; /* NULL = none given */
    const char *query_text; /* all of the query, where there is such a key */
    size_t query_size;
    struct collector_identity who;
    const char *address; /* the client's */
    const char *session; /* the cookie, NULL = none */
    const struct collector_labels *labels; /* what the body says, where it was prepared; NULL = the handler reads it */
    /* Decoded value of a query parameter, or NULL. */
    const char *(*query)(void *ctx, const char *key);
    /* Value of a header, or NULL. */
    const char *(*header)(void *ctx, const char *name);
    void *ctx; /* of both */
};

struct collector_response {
    unsigned status;
    const char *content_type; /* static */
    char allow[32];           /* for 405: the methods */
    char *set_cookie;         /* owned; NULL = none */
    unsigned retry_after;     /* seconds; 0 = not said */
    bool authenticate;        /* 401: says how */
    bool secret;              /* never to be kept */
    bool repeated;            /* as it was answered before */
    struct rlhf_bytes body;
    const void *fixed; /* in place of body: static bytes */
    size_t fixed_size;
    struct collector_export *export; /* in place of body: read it with collector_export_read(); owned */
    struct rlhf_error failure;       /* of the store, behind a 5xx; else RLHF_OK */
};
void collector_response_free(struct collector_response *r); /* leaves it zeroed */

typedef void collector_handle(struct collector *c, const struct collector_request *q,
                              struct collector_response *r);

struct collector_route {
    const char *method;
    const char *path; /* one "{id}" may stand for the rest up to what follows it */
    unsigned roles; /* that may use it: of enum collector_role, COLLECTOR_ANY_ROLE or COLLECTOR_PUBLIC */
    size_t max_body; /* 0 = none is looked at */
    bool writes;
    bool lines; /* the body is JSON lines */
    collector_handle *handle;
};

/* The route of a request, or NULL and the error in *r (404, 405). */
const struct collector_route *collector_route_find(const char *method, const char *path,
                                                   struct collector_response *r);
/* Whether the body's type is one that the route takes; otherwise the error (415) in *r. */
bool collector_route_accepts(const struct collector_route *route, const char *content_type,
                             struct collector_response *r);

/* Makes of a body of labels what can be made without the store, on whichever thread; q->who is settled. NULL: there is
 * nothing to prepare, or the body is not as it must be, which the handler will say. */
struct collector_labels *collector_labels_prepare(const struct collector_route *route, const struct collector_request *q);
void collector_labels_free(struct collector_labels *l); /* NULL is fine */

/* Answers a read. */
void collector_api_read(struct collector *c, const struct collector_route *route,
                        const struct collector_request *q, struct collector_response *r);

/* Answers writes: what is answered with 2xx is committed when this returns. */
struct collector_exchange {
    const struct collector_route *route;
    struct collector_request request;
    struct collector_response response;
};
void collector_api_write(struct collector *c, struct collector_exchange **exchanges, size_t count);

/* Fills *r with application/problem+json; of 400, 403 and 422 the text begins with what is at fault (fault.h). code:
 * "invalid", "not_found", ... */
void collector_respond_error(struct collector_response *r, unsigned status, const char *code, const char *fmt,
                             ...) __attribute__((format(printf, 4, 5)));

/* The store failed: 5xx. */
void collector_respond_failure(struct collector_response *r, const struct rlhf_error *err);

#endif
