#include "api_parts.h"

#include <string.h>

enum {
    BODY_TINY = 4 * 1024,
    BODY_SMALL = 64 * 1024,
    BODY_LARGE = 8 * 1024 * 1024,
    BODY_IMPORT = 32 * 1024 * 1024,
};

/* ---- the table --------------------------------------------------------------------------------- */

#define PEOPLE (COLLECTOR_LABELER | COLLECTOR_VENDOR | COLLECTOR_OWNER)
#define BRINGS (COLLECTOR_VENDOR | COLLECTOR_OWNER)
#define TRAINS (COLLECTOR_LEARNER | COLLECTOR_OWNER)
#define OWNER COLLECTOR_OWNER
#define ANY COLLECTOR_ANY_ROLE
#define PUBLIC COLLECTOR_PUBLIC

static const struct collector_route routes[] = {
    /* method  path              who     max body  writes lines  handler          */
    { "GET", "/", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/page.css", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/page.js", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/diff.js", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/session.js", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/owner", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/owner.css", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/owner.js", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/plot.js", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/openapi.json", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/icon.svg", PUBLIC, 0, false, false, collector_get_page },
    { "GET", "/healthz", PUBLIC, 0, false, false, collector_get_health },
    { "GET", "/metrics", TRAINS, 0, false, false, collector_get_metrics },
    { "GET", "/api/v1/session", ANY, 0, false, false, collector_get_session },
    { "POST", "/api/v1/session", PUBLIC, BODY_TINY, true, false, collector_post_session },
    { "DELETE", "/api/v1/session", ANY, 0, true, false, collector_delete_session },
    { "GET", "/api/v1/tokens", OWNER, 0, false, false, collector_get_tokens },
    { "POST", "/api/v1/tokens", OWNER, BODY_TINY, true, false, collector_post_tokens },
    { "DELETE", "/api/v1/tokens/{id}", OWNER, 0, true, false, collector_delete_token },
    { "GET", "/api/v1/stats", TRAINS, 0, false, false, collector_get_stats },
    { "GET", "/api/v1/rounds", TRAINS, 0, false, false, collector_get_rounds },
    { "GET", "/api/v1/labelers", OWNER, 0, false, false, collector_get_labelers },
    { "GET", "/api/v1/settings", ANY, 0, false, false, collector_get_settings },
    { "GET", "/api/v1/throughput", OWNER, 0, false, false, collector_get_throughput },
    { "GET", "/api/v1/audit", OWNER, 0, false, false, collector_get_audit },
    { "GET", "/api/v1/tasks", TRAINS, 0, false, false, collector_get_tasks },
    { "POST", "/api/v1/tasks", TRAINS, BODY_LARGE, true, false, collector_post_tasks },
    { "GET", "/api/v1/tasks/next", PEOPLE, 0, false, false, collector_get_next },
    { "POST", "/api/v1/tasks/{id}/label", PEOPLE, BODY_SMALL, true, false, collector_post_label },
    { "POST", "/api/v1/tasks/{id}/skip", PEOPLE, BODY_SMALL, true, false, collector_post_skip },
    { "POST", "/api/v1/tasks/{id}/undo", PEOPLE, BODY_SMALL, true, false, collector_post_undo },
    { "GET", "/api/v1/standing", OWNER, 0, false, false, collector_get_standing },
    { "POST", "/api/v1/standing", OWNER, BODY_SMALL, true, false, collector_post_standing },
    { "POST", "/api/v1/quarantine", OWNER, BODY_SMALL, true, false, collector_post_quarantine },
    { "GET", "/api/v1/agreement", TRAINS, 0, false, false, collector_get_agreement },
    { "POST", "/api/v1/weights", OWNER, BODY_SMALL, true, false, collector_post_weights },
    { "POST", "/api/v1/comparisons", BRINGS, BODY_LARGE, true, false, collector_post_comparisons },
    { "GET", "/api/v1/comparisons", TRAINS, 0, false, false, collector_get_comparisons },
    { "POST", "/api/v1/rankings", BRINGS, BODY_LARGE, true, false, collector_post_rankings },
    { "POST", "/api/v1/import", BRINGS, BODY_IMPORT, true, true, collector_post_import },
    { "GET", "/api/v1/export", TRAINS, 0, false, false, collector_get_export },
    { "GET", "/api/v1/vendors", OWNER, 0, false, false, collector_get_vendors },
    { "POST", "/api/v1/vendors/{id}/push", OWNER, BODY_SMALL, true, false, collector_post_push },
    { "POST", "/api/v1/vendors/{id}/pull", OWNER, 0, true, false, collector_post_pull },
    { "POST", "/hooks/{id}", PUBLIC, BODY_LARGE, true, false, collector_post_hook }, /* proves itself */
};

static bool path_matches(const char *pattern, const char *path)
{
    const char *hole = strstr(pattern, "{id}");

    if (!hole)
        return strcmp(pattern, path) == 0;
    size_t before = (size_t)(hole - pattern), after = strlen(hole + 4), size = strlen(path);
    return size > before + after && strncmp(pattern, path, before) == 0
           && strcmp(path + size - after, hole + 4) == 0;
}

const struct collector_route *collector_route_find(const char *method, const char *path,
                                                   struct collector_response *r)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    char allow[sizeof(r->allow)] = "";

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); ++i) {
        if (!path_matches(routes[i].path, path))
            continue;
        if (strcmp(routes[i].method, wanted) == 0)
            return &routes[i];
        size_t used = strlen(allow);
        snprintf(allow + used, sizeof(allow) - used, "%s%s", used ? ", " : "",
                 strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method);
    }
    if (!*allow) {
        collector_respond_error(r, 404, "not_found", "there is nothing at %.200s", path);
        return NULL;
    }
    collector_respond_error(r, 405, "method_not_allowed", "%.200s takes %s, not %.20s", path, allow, method);
    strcpy(r->allow, allow);
    return NULL;
}

bool collector_route_accepts(const struct collector_route *route, const char *content_type,
                             struct collector_response *r)
{
    static const char *const types[] = { "application/json", "application/x-ndjson", "application/jsonl", "text/csv" };
    size_t size = content_type ? strcspn(content_type, "; \t") : 0;

    if (route->max_body == 0)
        return true;
    for (size_t i = 0; i < (route->lines ? 4 : 1); ++i)
        if (size == strlen(types[i]) && strncasecmp(content_type, types[i], size) == 0)
            return true;
    collector_respond_error(r, 415, "media_type", "Content-Type must be %s",
                            route->lines ? "application/x-ndjson" : "application/json");
    return false;
}

/* ---- running ----------------------------------------------------------------------------------- */

void collector_api_read(struct collector *c, const struct collector_route *route,
                        const struct collector_request *q, struct collector_response *r)
{
    collector_response_free(r);
    route->handle(c, q, r);
    if (r->failure.code == RLHF_CORRUPT || r->failure.code == RLHF_FATAL)
        collector_wrote(c, &r->failure); /* a store that cannot be read must not be written */
}

/* One write within the group's transaction; apart: so that it can be undone without the others. 1: it was refused after it
 * had changed something, and was not apart. -1: the database failed. Either way the whole group has to be undone. */
static int write_one(struct collector *c, struct collector_exchange *x, bool apart, struct rlhf_error *err)
{
    struct collector_response *r = &x->response;
    uint64_t before = collector_store_changes(c->store);
    struct collector_repeat repeat;

    collector_response_free(r);
    if (apart && collector_store_mark(c->store, err) < 0)
        return -1;
    int answered = collector_repeat_find(c, &x->request, &repeat, r, err);
    if (answered < 0)
        return -1;
    if (!answered) {
        x->route->handle(c, &x->request, r);
        if (collector_repeat_keep(c, &x->request, &repeat, r, err) < 0)
            return -1;
    }
    bool keep = r->status < 300;
    if (r->status >= 500) {
        *err = r->failure;
        return err->code == RLHF_OK ? rlhf_fail(err, RLHF_FULL, "out of memory") : -1;
    }
    if (apart)
        return collector_store_unmark(c->store, keep, err);
    return !keep && collector_store_changes(c->store) != before;
}

static int write_group(struct collector *c, struct collector_exchange **exchanges, size_t count, bool apart,
                       struct rlhf_error *err)
{
    if (collector_store_begin(c->store, err) < 0)
        return -1;
    for (size_t i = 0; i < count; ++i) {
        int rc = write_one(c, exchanges[i], apart, err);
        if (rc != 0) {
            collector_store_rollback(c->store);
            return rc;
        }
    }
    return collector_store_commit(c->store, err);
}

void collector_api_write(struct collector *c, struct collector_exchange **exchanges, size_t count)
{
    struct rlhf_error err = { .code = RLHF_OK };
    int rc = write_group(c, exchanges, count, false, &err);

    if (rc > 0 && count > 1) /* seldom: most refusals come before the first change */
        rc = write_group(c, exchanges, count, true, &err);
    if (rc >= 0) {
        ++c->counters.groups;
        c->counters.grouped += count;
        collector_wrote(c, NULL);
        return;
    }
    if (count > 1
        && (err.code == RLHF_FULL || err.code == RLHF_AGAIN)) { /* perhaps one of them does not fit */
        for (size_t i = 0; i < count; ++i)
            collector_api_write(c, &exchanges[i], 1);
        return;
    }
    for (size_t i = 0; i < count; ++i)
        collector_respond_verdict(&exchanges[i]->response, COLLECTOR_FAILED, &err);
    collector_wrote(c, &err);
}
