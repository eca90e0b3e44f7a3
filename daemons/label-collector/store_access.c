/* store_access.c - tokens and sessions: who may use the API. */
#include "store_parts.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum collector_role role;
    const char *name;
} roles[] = {
    {COLLECTOR_LABELER, "labeler"},
    {COLLECTOR_VENDOR, "vendor"},
    {COLLECTOR_LEARNER, "learner"},
    {COLLECTOR_OWNER, "owner"},
};

const char *collector_role_name(enum collector_role role)
{
    size_t i = 0;

    while (i < sizeof(roles) / sizeof(roles[0]) - 1 && roles[i].role != role)
        ++i;
    return roles[i].name;
}

int collector_role_parse(enum collector_role *role, const char *name, struct rlhf_error *err)
{
    for (size_t i = 0; name && i < sizeof(roles) / sizeof(roles[0]); ++i) {
        if (strcmp(roles[i].name, name) == 0) {
            *role = roles[i].role;
            return 0;
        }
    }
    return rlhf_fail(err, RLHF_REJECT, "role must be labeler, vendor, learner or owner");
}

int collector_store_add_token(struct collector_store *s, const struct rlhf_digest *digest, enum collector_role role,
                              const char *name, const char *who, int64_t *number, struct rlhf_error *err)
{
    char text[64];

    if (collector_database_within(s->db, err) < 0 ||
        collector_one_number(s,
                             QUERY(s, err, ADD_TOKEN, "btti", digest, collector_role_name(role), name,
                                   s->clock->wall_us(s->clock)),
                             number, err) < 0)
        return -1;
    snprintf(text, sizeof(text), "%s, number %" PRId64, collector_role_name(role), *number);
    return collector_store_audit(s, who, "token", name, text, err);
}

int collector_store_revoke_token(struct collector_store *s, int64_t number, const char *who, bool *found,
                                 struct rlhf_error *err)
{
    char text[24];
    int64_t changed = -1;

    if (collector_database_within(s->db, err) == 0)
        changed = RUN(s, err, REVOKE_TOKEN, "ii", number, s->clock->wall_us(s->clock));
    *found = changed > 0;
    if (changed <= 0)
        return changed < 0 ? -1 : 0;
    snprintf(text, sizeof(text), "%" PRId64, number);
    return collector_store_audit(s, who, "revoke", text, "", err);
}

int collector_store_add_session(struct collector_store *s, const struct rlhf_digest *digest, int64_t token,
                                int64_t expires_us, struct rlhf_error *err)
{
    return collector_database_within(s->db, err) < 0 ||
                   RUN(s, err, EXPIRE_SESSIONS, "i", s->clock->wall_us(s->clock)) < 0 ||
                   RUN(s, err, ADD_SESSION, "bii", digest, token, expires_us) < 0
               ? -1
               : 0;
}

int collector_store_end_session(struct collector_store *s, const struct rlhf_digest *digest, struct rlhf_error *err)
{
    return collector_database_within(s->db, err) < 0 || RUN(s, err, END_SESSION, "b", digest) < 0 ? -1 : 0;
}

static int read_token(struct collector_store *s, struct collector_rows *rows, struct collector_token *t,
                      struct rlhf_error *err)
{
    *t = (struct collector_token){.number = collector_rows_integer(rows, 0),
                                  .name = collector_rows_text(rows, 2),
                                  .made_us = collector_rows_integer(rows, 3),
                                  .revoked_us = collector_rows_integer(rows, 4)};
    if (collector_role_parse(&t->role, collector_rows_text(rows, 1), NULL) == 0 && t->name)
        return 0;
    collector_rows_done(rows);
    return collector_database_damaged(s->db, err);
}

int collector_store_tokens(struct collector_store *s, int64_t after, size_t limit,
                           void (*each)(void *ctx, const struct collector_token *t), void *ctx,
                           struct rlhf_error *err)
{
    struct collector_rows *rows = QUERY(s, err, LIST_TOKENS, "ii", after, (int64_t)limit);
    int rc;

    while ((rc = collector_rows_next(rows, err)) > 0) {
        struct collector_token t;
        if (read_token(s, rows, &t, err) < 0)
            return -1;
        each(ctx, &t);
    }
    return rc;
}

int collector_store_find_token(struct collector_store *s, const struct rlhf_digest *digest, bool session,
                               void (*each)(void *ctx, const struct collector_token *t), void *ctx,
                               struct rlhf_error *err)
{
    struct collector_rows *rows =
        session ? QUERY(s, err, FIND_SESSION, "bi", digest, s->clock->wall_us(s->clock))
                : QUERY(s, err, FIND_TOKEN, "b", digest);
    struct rlhf_digest stored;
    struct collector_token t;
    int rc = collector_rows_next(rows, err);

    if (rc <= 0)
        return rc;
    if (read_token(s, rows, &t, err) < 0)
        return -1;
    /* The index has compared already, but not in constant time. */
    if (collector_rows_digest(rows, 5, &stored) && t.revoked_us == 0 &&
        sodium_memcmp(stored.bytes, digest->bytes, sizeof(stored.bytes)) == 0)
        each(ctx, &t);
    collector_rows_done(rows);
    return 0;
}

int collector_store_has_tokens(struct collector_store *s, bool *has, struct rlhf_error *err)
{
    int64_t count;
    int rc = collector_one_number(s, QUERY(s, err, COUNT_TOKENS, ""), &count, err);

    *has = count > 0;
    return rc;
}
