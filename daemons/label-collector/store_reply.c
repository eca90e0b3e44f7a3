/* store_reply.c - what was answered to writes that their senders named, so that the same again is answered so again. */
#include <stdlib.h>
#include <string.h>

#include "store_parts.h"

#define KEPT_US (72 * INT64_C(3600000000)) /* no client retries for longer */

int collector_store_find_reply(struct collector_store *s, const char *scope, const char *key,
                               struct rlhf_digest *request, unsigned *status, char **body, struct rlhf_error *err)
{
    struct collector_rows *rows = QUERY(s, err, FIND_REPLY, "tt", scope, key);
    int rc = collector_rows_next(rows, err);

    if (rc <= 0)
        return rc;
    bool whole = collector_rows_digest(rows, 0, request) && !collector_rows_null(rows, 2);
    *status = (unsigned)collector_rows_integer(rows, 1);
    *body = whole ? strdup(collector_rows_text(rows, 2)) : NULL;
    collector_rows_done(rows);
    if (!whole)
        return collector_database_damaged(s->db, err);
    return *body ? 1 : rlhf_fail(err, RLHF_FULL, "out of memory");
}

int collector_store_put_reply(struct collector_store *s, const char *scope, const char *key,
                              const struct rlhf_digest *request, unsigned status, const char *body,
                              struct rlhf_error *err)
{
    int64_t now = s->clock->wall_us(s->clock);

    return collector_database_within(s->db, err) < 0 || RUN(s, err, EXPIRE_REPLIES, "i", now - KEPT_US) < 0
                   || RUN(s, err, ADD_REPLY, "ttbiti", scope, key, request, (int64_t)status, body, now) < 0
               ? -1
               : 0;
}
