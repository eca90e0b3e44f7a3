#include "access.h"

#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "base/text.h"
#include "throttle.h"

enum {
    SECRET_BYTES = 32,
    REMEMBERED = 256,     /* identities, so that not every request asks the database */
    RECHECK_US = 1000000, /* ... for so long */
    WRONG_BURST = 10,     /* wrong secrets from an address at once, then one every WRONG_SECONDS */
    WRONG_SECONDS = 6,
};

struct remembered {
    struct rlhf_digest digest;
    struct collector_identity who;
    bool session;
    int64_t until_us; /* 0 = free */
};

struct collector_access {
    const struct collector_config *config;
    struct collector_store *store;
    const struct rlhf_clock *clock;
    bool tls;
    pthread_mutex_t lock; /* of what follows */
    struct collector_throttle *wrong;    /* secrets, by address */
    struct collector_throttle *requests; /* by token, or by address; NULL = no limit */
    bool has_tokens; /* once true it stays so: tokens are revoked, never removed */
    int64_t open_until_us;
    struct remembered remembered[REMEMBERED];
};

struct collector_access *collector_access_new(const struct collector_config *config, struct collector_store *store,
                                              const struct rlhf_clock *clock, struct rlhf_error *err)
{
    struct collector_access *a = sodium_init() < 0 ? NULL : calloc(1, sizeof(*a));

    if (!a) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    a->config = config;
    a->store = store;
    a->clock = clock;
    pthread_mutex_init(&a->lock, NULL);
    a->tls = config->public_url && rlhf_starts_with(config->public_url, "https://");
    double rate = config->requests_per_second;
    if (!(a->wrong = collector_throttle_new(clock, 1.0 / WRONG_SECONDS, WRONG_BURST, err)) ||
        (rate > 0 && !(a->requests = collector_throttle_new(clock, rate, rate > 1 ? 2 * rate : 2, err)))) {
        collector_access_free(a);
        return NULL;
    }
    return a;
}

void collector_access_free(struct collector_access *a)
{
    if (!a)
        return;
    collector_throttle_free(a->wrong);
    collector_throttle_free(a->requests);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* 1 open, 0 not, -1: the store has to be asked. */
static int known_open(struct collector_access *a)
{
    pthread_mutex_lock(&a->lock);
    int open = a->has_tokens ? 0 : rlhf_now(a->clock) < a->open_until_us ? 1 : -1;
    pthread_mutex_unlock(&a->lock);
    return open;
}

int collector_access_open(struct collector_access *a, struct rlhf_error *err)
{
    int64_t now = rlhf_now(a->clock);
    int open = known_open(a);
    bool has_tokens;

    if (open >= 0)
        return open;
    if (collector_store_has_tokens(a->store, &has_tokens, err) < 0)
        return -1;
    pthread_mutex_lock(&a->lock);
    a->has_tokens = has_tokens;
    a->open_until_us = now + RECHECK_US;
    pthread_mutex_unlock(&a->lock);
    return !has_tokens;
}

void collector_access_changed(struct collector_access *a)
{
    pthread_mutex_lock(&a->lock);
    a->open_until_us = 0;
    memset(a->remembered, 0, sizeof(a->remembered));
    pthread_mutex_unlock(&a->lock);
}

/* ---- secrets ----------------------------------------------------------------------------------- */

void collector_secret_new(const char *prefix, char text[COLLECTOR_SECRET_TEXT], struct rlhf_digest *digest)
{
    unsigned char bytes[SECRET_BYTES];
    int size = snprintf(text, COLLECTOR_SECRET_TEXT, "%s", prefix);

    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2base64(text + size, COLLECTOR_SECRET_TEXT - (size_t)size, bytes, sizeof(bytes),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bytes, sizeof(bytes));
    *digest = rlhf_digest_of(text, strlen(text));
}

int collector_token_check(enum collector_role role, const char *name, struct rlhf_error *err)
{
    return role == COLLECTOR_VENDOR ? collector_source_check(name, err) : collector_name_check("name", name, false, err);
}

static void take_identity(void *ctx, const struct collector_token *t)
{
    struct collector_identity *who = ctx;

    who->role = t->role;
    who->token = t->number;
    snprintf(who->name, sizeof(who->name), "%s", t->name);
}

static bool remembers(struct collector_access *a, const struct rlhf_digest *digest, bool session,
                      struct collector_identity *who)
{
    const struct remembered *r = &a->remembered[digest->bytes[0] % REMEMBERED];

    pthread_mutex_lock(&a->lock);
    bool known = r->until_us > rlhf_now(a->clock) && r->session == session &&
                 sodium_memcmp(r->digest.bytes, digest->bytes, sizeof(digest->bytes)) == 0;
    if (known)
        *who = r->who;
    pthread_mutex_unlock(&a->lock);
    return known;
}

/* who->role stays 0 when the secret is none, or not any more. 1: it is known; 0: only the store knows; -1 *err. */
static int look_up(struct collector_access *a, const char *secret, bool session, bool ask,
                   struct collector_identity *who, struct rlhf_error *err)
{
    struct rlhf_digest digest = rlhf_digest_of(secret, strlen(secret));
    int64_t now = rlhf_now(a->clock);

    if (remembers(a, &digest, session, who))
        return 1;
    if (!ask)
        return 0;
    if (collector_store_find_token(a->store, &digest, session, take_identity, who, err) < 0)
        return -1;
    if (who->role) {
        pthread_mutex_lock(&a->lock);
        a->remembered[digest.bytes[0] % REMEMBERED] = (struct remembered){
            .digest = digest, .who = *who, .session = session, .until_us = now + RECHECK_US};
        pthread_mutex_unlock(&a->lock);
    }
    return 1;
}

/* How long this address has to wait because of its wrong tokens; one more: this was one. */
static unsigned wait_for_wrong(struct collector_access *a, const char *address, bool one_more)
{
    pthread_mutex_lock(&a->lock);
    unsigned wait = (one_more ? collector_throttle_take : collector_throttle_wait)(a->wrong, address);
    pthread_mutex_unlock(&a->lock);
    return wait;
}

static void respond_wait(struct collector_response *r, unsigned seconds, const char *what)
{
    collector_respond_error(r, 429, "too_many", "%s: try again in %u s", what, seconds);
    r->retry_after = seconds;
}

static enum collector_admission identify(struct collector_access *a, const char *secret, bool session,
                                         const char *address, bool ask, struct collector_identity *who,
                                         struct collector_response *r)
{
    struct rlhf_error err = {.code = RLHF_OK};
    unsigned wait = session ? 0 : wait_for_wrong(a, address, false); /* a session is no guess */

    if (wait > 0) {
        respond_wait(r, wait, "too many wrong tokens from this address");
        return COLLECTOR_REFUSED;
    }
    int known = look_up(a, secret, session, ask, who, &err);
    if (known < 0)
        collector_respond_failure(r, &err);
    if (known <= 0)
        return known < 0 ? COLLECTOR_REFUSED : COLLECTOR_UNDECIDED;
    if (!who->role && !session)
        wait_for_wrong(a, address, true);
    return COLLECTOR_ADMITTED;
}

int collector_access_identify(struct collector_access *a, const char *secret, const char *address,
                              struct collector_identity *who, struct collector_response *r)
{
    *who = (struct collector_identity){.role = COLLECTOR_NOBODY};
    return identify(a, secret, false, address, true, who, r) == COLLECTOR_ADMITTED ? 0 : -1;
}

/* ---- cookies ----------------------------------------------------------------------------------- */

const char *collector_access_cookie(const struct collector_access *a)
{
    return a->tls ? "__Host-rlhfd" : "rlhfd"; /* browsers take the former only with Secure, Path=/ and over TLS */
}

char *collector_access_set_cookie(const struct collector_access *a, const char *secret)
{
    char *text;
    int size = asprintf(&text, "%s=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%" PRId64 "%s",
                        collector_access_cookie(a), secret ? secret : "",
                        secret ? a->config->session_hours * 3600 : 0, a->tls ? "; Secure" : "");

    return size < 0 ? NULL : text;
}

/* ---- the decision ------------------------------------------------------------------------------ */

/* "Bearer SECRET"; NULL when it is another scheme. */
static const char *bearer(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return NULL;
    return authorization + 7 + strspn(authorization + 7, " ");
}

static enum collector_admission refuse(struct collector_response *r, const char *why)
{
    collector_respond_error(r, 401, "unauthorized", "%s", why);
    r->authenticate = true;
    return COLLECTOR_REFUSED;
}

/* "labeler, owner" */
static void list_roles(unsigned roles, char *text, size_t size)
{
    size_t used = 0;

    for (unsigned role = COLLECTOR_LABELER; role <= COLLECTOR_OWNER && used < size; role <<= 1)
        if (roles & role)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     collector_role_name((enum collector_role)role));
}

static bool may(const struct collector_identity *who, unsigned roles, struct collector_response *r)
{
    char names[64];

    if (roles & who->role)
        return true;
    list_roles(roles, names, sizeof(names));
    collector_respond_error(r, 403, "forbidden", "this is for tokens of role %s, yours is %s", names,
                            collector_role_name(who->role));
    return false;
}

/* One request more of this token, or of this address. */
static bool within_rate(struct collector_access *a, const char *address, const struct collector_identity *who,
                        struct collector_response *r)
{
    char name[32];

    if (!a->requests)
        return true;
    snprintf(name, sizeof(name), "token %" PRId64, who->token);
    pthread_mutex_lock(&a->lock);
    unsigned wait = collector_throttle_take(a->requests, who->token ? name : address);
    pthread_mutex_unlock(&a->lock);
    if (wait == 0)
        return true;
    respond_wait(r, wait, "too many requests");
    return false;
}

enum collector_admission collector_access_admit(struct collector_access *a, const struct collector_credentials *c,
                                                unsigned roles, bool writes, bool ask, struct collector_identity *who,
                                                struct collector_response *r)
{
    const char *secret = bearer(c->authorization);
    struct rlhf_error err = {.code = RLHF_OK};
    enum collector_admission known;

    *who = (struct collector_identity){.role = COLLECTOR_NOBODY};
    int open = ask ? collector_access_open(a, &err) : known_open(a);
    if (open < 0 && !ask)
        return COLLECTOR_UNDECIDED;
    if (open < 0) {
        collector_respond_failure(r, &err);
        return COLLECTOR_REFUSED;
    }
    if (open) {
        who->role = roles & COLLECTOR_PUBLIC ? COLLECTOR_NOBODY : COLLECTOR_OWNER;
        return COLLECTOR_ADMITTED;
    }
    if (roles & COLLECTOR_PUBLIC)
        return within_rate(a, c->address, who, r) ? COLLECTOR_ADMITTED : COLLECTOR_REFUSED;
    if (!secret && !c->session)
        return refuse(r, "a token is needed: Authorization: Bearer TOKEN, or sign in on the page");
    if ((known = identify(a, secret ? secret : c->session, !secret, c->address, ask, who, r)) != COLLECTOR_ADMITTED)
        return known;
    if (!who->role)
        return refuse(r, secret ? "this token is not known, or was revoked"
                                : "the session is over: sign in again");
    if (writes && !secret && !c->page) {
        collector_respond_error(r, 403, "forgery", "with a session's cookie changes need the header " COLLECTOR_PAGE_HEADER
                                                   ", which no page of another site can send");
        return COLLECTOR_REFUSED;
    }
    return may(who, roles, r) && within_rate(a, c->address, who, r) ? COLLECTOR_ADMITTED : COLLECTOR_REFUSED;
}

int collector_act_as(const struct collector_identity *who, const char **labeler, const char **source,
                     struct rlhf_error *err)
{
    bool page = *source && (strcmp(*source, "api") == 0 || strcmp(*source, "page") == 0);

    if (who->role == COLLECTOR_LABELER && *labeler && strcmp(*labeler, who->name) != 0)
        return rlhf_fail(err, RLHF_DENIED, "labeler is %.60s, but this is %.60s's token", *labeler, who->name);
    if (who->role == COLLECTOR_LABELER && *source && !page)
        return rlhf_fail(err, RLHF_DENIED, "source may be api or page with a labeler's token");
    if (who->role == COLLECTOR_VENDOR && *source && strcmp(*source, who->name) != 0)
        return rlhf_fail(err, RLHF_DENIED, "source is %.60s, but this is %.60s's token", *source, who->name);
    if (who->role == COLLECTOR_LABELER)
        *labeler = who->name;
    if (!*source)
        *source = who->role == COLLECTOR_VENDOR ? who->name : "api";
    return 0;
}
