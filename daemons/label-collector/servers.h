/* servers.h - what to ask of vendors' servers, and what their answers mean: no sockets, no database, no clock.
 *
 * A deal is one job with one vendor, done in one request or several: ask() makes the next request, answer() reads what
 * came of it, until the deal is done. What has to survive a restart is kept in memory (a JSON object, stored with the
 * records of the same answer): project, where a pull has got to, since when. What needs not, is in session. */
#ifndef LABEL_COLLECTOR_SERVERS_H
#define LABEL_COLLECTOR_SERVERS_H

#include "base/memory.h"
#include "vendors.h"

enum collector_job {
    COLLECTOR_LOGIN,   /* a key for a while, from the one that we have */
    COLLECTOR_PROJECT, /* finds the project, or makes it: memory.project */
    COLLECTOR_HOOK,    /* has the vendor call us: session.hook */
    COLLECTOR_PUSH,    /* sends tasks */
    COLLECTOR_PULL,    /* a part of what it has: memory.pull says where we are */
    COLLECTOR_FETCH,   /* one task of its */
    COLLECTOR_JOBS
};

struct collector_deal {
    const struct collector_vendor_config *vendor;
    const char *key, *secret; /* secret: of its callbacks; NULL = none */
    enum collector_job job;
    json_t *memory, *session; /* borrowed */
    json_t *tasks; /* PUSH: as collector_vendor_queued() gives them; may be NULL when a push is gone on with */
    char remote[COLLECTOR_MAX_NAME + 1]; /* FETCH: the vendor's id */
    int64_t now_us;                      /* wall clock */
    /* The request: */
    const char *method;
    enum collector_auth { COLLECTOR_NO_AUTH, COLLECTOR_TOKEN, COLLECTOR_BEARER, COLLECTOR_BASIC } auth;
    const char *auth_key;
    struct rlhf_bytes path; /* behind the server's address; or a whole address of its own */
    struct rlhf_bytes body;
    const char *content_type; /* NULL: JSON; static */
    /* What came of it: */
    json_t *records; /* of its tasks, each with all of their labels; NULL or owned */
    json_t *pushed;  /* [[our id, the vendor's]]; NULL or owned */
    bool done;
    bool gone;       /* FETCH: it has no such task any more */
    int64_t wait_ms; /* before the next request of a deal that is not done */
};
void collector_deal_clear(struct collector_deal *d); /* what ask() and answer() have filled */

struct collector_server {
    const char *url;     /* by default; NULL = there is none */
    size_t batch;        /* tasks that one push takes at most */
    bool incremental;    /* a pull can be asked for what has changed since memory.since */
    bool idempotent;     /* what is pushed twice is there once */
    bool hooks, fetches; /* can be told to call us; can be asked for one task */
    bool (*must_login)(const struct collector_deal *d); /* NULL: never */
    int (*ask)(struct collector_deal *d, struct rlhf_error *err);
    /* text: the body of a 2xx, or 404, answer; json: the same read, NULL when it is none. -1: RLHF_AGAIN (later), or
     * RLHF_REJECT (not this request again). */
    int (*answer)(struct collector_deal *d, unsigned status, const char *text, size_t size, const json_t *json,
                  struct rlhf_error *err);
};
extern const struct collector_server collector_label_studio_server, collector_labelbox_server, collector_scale_server,
    collector_surge_server;
/* NULL for kinds that only call. */
const struct collector_server *collector_server_of(enum collector_vendor_kind kind);

/* ---- for the servers' files ----------------------------------------------------------------------- */

/* Sets method, path (printf) and authorisation; body, taken, where it is not NULL. */
int collector_deal_request(struct collector_deal *d, const char *method, enum collector_auth auth, json_t *body,
                           struct rlhf_error *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* Appends text as a part of a URL: percent-encoded. */
int collector_append_escaped(struct rlhf_bytes *b, const char *text, struct rlhf_error *err);
/* RLHF_AGAIN: an answer that we cannot read. */
int collector_deal_unread(const char *what, struct rlhf_error *err);
/* Ends a deal that fetched one task: it is the answer, or gone (404). */
int collector_deal_fetched(struct collector_deal *d, unsigned status, const json_t *json, struct rlhf_error *err);
/* For lists in no known order, of what has changed since memory.since: keeps the latest time seen in memory.pull.
 * Then, when the pull has ended, the next one begins where this one could have begun: what changed while it went on, on
 * a page already read, is in it. */
void collector_pull_saw(struct collector_deal *d, const json_t *time);
void collector_pull_ended(struct collector_deal *d);

#endif
