/* access.h - who asks, and whether they may.
 *
 * A request shows a token (Authorization: Bearer), or the cookie of a session that was begun with one. As long as no
 * token was ever made everything is open: the daemon listens on loopback only then, and whoever is there is its owner.
 *
 * Promises: a request without a good token or session gets 401, with one of another role 403, before its body is read.
 * Secrets are looked up and compared by their hashes, in constant time. Who keeps sending wrong ones waits (429). What
 * is revoked by another process is refused a second later at most, by this one at once.
 *
 * The HTTP door decides on its own thread by what is remembered; only the reactor's thread, which owns the store, may ask
 * it (and change what it holds). What both look at has a lock, which nobody holds while the store is asked. */
#ifndef LABEL_COLLECTOR_ACCESS_H
#define LABEL_COLLECTOR_ACCESS_H

#include "store.h"

struct collector_access;
struct collector_config;
struct collector_response;

enum {
    COLLECTOR_PUBLIC = 1 << 7, /* a route's: whoever it is; the route verifies what it needs itself */
    COLLECTOR_ANY_ROLE = COLLECTOR_LABELER | COLLECTOR_VENDOR | COLLECTOR_LEARNER | COLLECTOR_OWNER,
    COLLECTOR_SECRET_TEXT = 64, /* bytes that hold a token or a session's secret */
};

/* What a request says of its sender; NULL = nothing. */
struct collector_credentials {
    const char *authorization;
    const char *session; /* the cookie's value */
    const char *page;    /* the header that only a page of ours can add (COLLECTOR_PAGE_HEADER) */
    const char *address; /* the client's, never NULL */
};
#define COLLECTOR_PAGE_HEADER "X-Rlhfd-Page"

/* Who asks. */
struct collector_identity {
    enum collector_role role; /* 0 = nobody (of a public route) */
    int64_t token;            /* 0 = open: there are no tokens */
    char name[COLLECTOR_MAX_NAME + 1]; /* "" = nobody, or open */
};

/* Borrows all of them. */
struct collector_access *collector_access_new(const struct collector_config *config, struct collector_store *store,
                                              const struct rlhf_clock *clock, struct rlhf_error *err);
void collector_access_free(struct collector_access *a); /* NULL is fine */

/* Whether everything is open. -1: the store failed. Asks the store. */
int collector_access_open(struct collector_access *a, struct rlhf_error *err);
/* Whether who sent this may use a route for these roles; writes: it changes something. */
enum collector_admission {
    COLLECTOR_REFUSED, /* the answer (401, 403, 429, 5xx) is in *r */
    COLLECTOR_ADMITTED,
    COLLECTOR_UNDECIDED, /* the store would have to be asked; nothing was counted */
};
enum collector_admission collector_access_admit(struct collector_access *a, const struct collector_credentials *c,
                                                unsigned roles, bool writes, bool ask, struct collector_identity *who,
                                                struct collector_response *r);
/* The token's holder; who->role 0 when it is none. -1: the answer (429, 5xx) in *r. Asks the store. */
int collector_access_identify(struct collector_access *a, const char *secret, const char *address,
                              struct collector_identity *who, struct collector_response *r);
/* Tokens or sessions have changed. */
void collector_access_changed(struct collector_access *a);
/* The cookie's name: it says whether the browser must use TLS. */
const char *collector_access_cookie(const struct collector_access *a);
/* A Set-Cookie line, caller's; secret NULL: the end of the session. NULL: out of memory. */
char *collector_access_set_cookie(const struct collector_access *a, const char *secret);

/* As whom a judgement is given: a labeler only as itself, a vendor only from itself as the source. Fills in what was
 * left out (NULL). RLHF_DENIED: it would be as somebody else. */
int collector_act_as(const struct collector_identity *who, const char **labeler, const char **source,
                     struct rlhf_error *err);
#define COLLECTOR_TOKEN_PREFIX "rlhf_"
/* Whether a token of this role may have this name: a labeler's, or a vendor's, which is the source of its labels. */
int collector_token_check(enum collector_role role, const char *name, struct rlhf_error *err);
/* A new token ("rlhf_...") or session secret, and the hash that is kept of it. */
void collector_secret_new(const char *prefix, char text[COLLECTOR_SECRET_TEXT], struct rlhf_digest *digest);

#endif
