/* api_vendors.c - how dealing with vendors goes, and what the owner asks for by hand. */
#include "api_parts.h"

#include <stdlib.h>

#include "sync.h"

enum { MAX_GIVEN = 10000 }; /* tasks in one request */

void collector_get_vendors(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    json_t *list = json_array();
    struct rlhf_error err = { .code = RLHF_OK };

    (void)q;
    for (size_t i = 0; c->sync && i < collector_sync_accounts(c->sync)->count; ++i) {
        json_t *one = collector_account_json(&collector_sync_accounts(c->sync)->items[i], c, &err);
        if (!one && err.code != RLHF_OK) {
            json_decref(list);
            collector_respond_verdict(r, COLLECTOR_FAILED, &err);
            return;
        }
        json_array_append_new(list, one);
    }
    collector_respond(r, 200, json_pack("{s:o}", "vendors", list));
}

/* The account in a path; NULL and the answer where there is none that is given tasks. */
static struct collector_account *account_of(struct collector *c, const struct collector_request *q, const char *after,
                                            struct collector_response *r)
{
    char *name = collector_path_id(q->path, "/api/v1/vendors/", after);
    struct collector_account *a =
        name && c->sync ? collector_account_find(collector_sync_accounts(c->sync), name) : NULL;

    if (!a)
        collector_respond_error(r, 404, "not_found", "no vendor %.60s is configured", name ? name : "");
    else if (!a->server)
        collector_respond_error(r, 422, "invalid", "%s only calls: it has no server to deal with", name);
    free(name);
    return a && a->server ? a : NULL;
}

void collector_post_push(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_account *a = account_of(c, q, "/push", r);
    struct rlhf_error err = { .code = RLHF_OK };
    json_t *wish = a ? collector_read_object(q, r) : NULL;
    size_t given;

    if (!wish)
        return;
    const json_t *round = json_object_get(wish, "round"), *count = json_object_get(wish, "count");
    json_int_t limit = count ? json_integer_value(count) : MAX_GIVEN;
    if (round && !json_is_string(round))
        rlhf_fail(&err, RLHF_REJECT, "round must be a text");
    else if (limit < 1 || limit > MAX_GIVEN)
        rlhf_fail(&err, RLHF_REJECT, "count must be 1 to %d", MAX_GIVEN);
    else if (!round || collector_name_check("round", json_string_value(round), true, &err) == 0)
        collector_account_give(a, c->store, json_string_value(round), (size_t)limit, c->env->clock->wall_us(c->env->clock),
                               &given, &err);
    if (err.code == RLHF_OK) {
        collector_respond(r, 200, json_pack("{s:s, s:I}", "status", "queued", "tasks", (json_int_t)given));
        collector_sync_wake(c->sync, a, false);
    } else {
        collector_respond_verdict(r, COLLECTOR_INVALID, &err);
    }
    json_decref(wish);
}

void collector_post_pull(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_account *a = account_of(c, q, "/pull", r);

    if (!a)
        return;
    collector_sync_wake(c->sync, a, true);
    collector_respond(r, 200, json_pack("{s:s}", "status", "begun"));
}
