/* api_access.c - tokens and sessions. */
#include "api_parts.h"

#include <stdlib.h>
#include <string.h>

#include "export.h"

enum { MAX_TOKENS = 1000 }; /* listed at once */

/* ---- tokens ------------------------------------------------------------------------------------ */

static json_t *token_json(const struct collector_token *t)
{
    char made[32], revoked[32];

    collector_time_text(t->made_us, made);
    collector_time_text(t->revoked_us, revoked);
    return json_pack("{s:I, s:s, s:s, s:s, s:s?}", "number", (json_int_t)t->number, "role",
                     collector_role_name(t->role), "name", t->name, "made_at", made, "revoked_at",
                     t->revoked_us ? revoked : NULL);
}

static void add_token(void *ctx, const struct collector_token *t)
{
    collector_page_add(ctx, token_json(t), (uint64_t)t->number, NULL);
}

void collector_get_tokens(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_page page;
    struct rlhf_error err;

    if (collector_query_page(q, COLLECTOR_LIST_TOKENS, false, MAX_TOKENS, &page, r) < 0)
        return;
    if (collector_store_tokens(c->store, (int64_t)page.number, page.limit, add_token, &page, &err) == 0) {
        collector_page_respond(&page, "tokens", r);
        return;
    }
    collector_page_free(&page);
    collector_respond_failure(r, &err);
}

void collector_post_tokens(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    json_t *object = collector_read_object(q, r);
    const char *name = object ? collector_object_name(object, "name", r) : NULL;
    struct collector_token t = {.name = name, .made_us = c->env->clock->wall_us(c->env->clock)};
    char text[COLLECTOR_SECRET_TEXT];
    struct rlhf_digest digest;
    struct rlhf_error err;

    if (name) {
        collector_secret_new(COLLECTOR_TOKEN_PREFIX, text, &digest);
        if (collector_role_parse(&t.role, json_string_value(json_object_get(object, "role")), &err) < 0
            || collector_token_check(t.role, name, &err) < 0) {
            collector_respond_error(r, 422, "invalid", "%s", err.text);
        } else if (collector_store_add_token(c->store, &digest, t.role, name, collector_asker(q), &t.number, &err) < 0) {
            collector_respond_failure(r, &err);
        } else {
            json_t *json = token_json(&t);
            json_object_set_new(json, "token", json_string(text));
            collector_respond(r, 201, json);
            r->secret = true;
            collector_access_changed(c->access);
        }
        rlhf_wipe(text, sizeof(text));
    }
    json_decref(object);
}

void collector_delete_token(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    char *text = collector_path_id(q->path, "/api/v1/tokens/", ""), *end;
    long long number = text ? strtoll(text, &end, 10) : 0;
    struct rlhf_error err;
    bool found;

    if (!text)
        collector_respond(r, 503, NULL);
    else if (*end || number <= 0)
        collector_respond_error(r, 404, "not_found", "tokens are named by their numbers");
    else if (collector_store_revoke_token(c->store, number, collector_asker(q), &found, &err) < 0)
        collector_respond_failure(r, &err);
    else if (!found)
        collector_respond_error(r, 404, "not_found", "there is no token %lld that is still good", number);
    else
        collector_respond(r, 200, json_pack("{s:s}", "status", "revoked"));
    collector_access_changed(c->access);
    free(text);
}

/* ---- sessions ---------------------------------------------------------------------------------- */

static json_t *identity_json(const struct collector_identity *who)
{
    return json_pack("{s:b, s:s, s:s}", "open", who->token == 0, "role", collector_role_name(who->role), "name",
                     who->name);
}

void collector_get_session(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    (void)c;
    collector_respond(r, 200, identity_json(&q->who));
}

/* Signing in: the token goes over the line once, the browser keeps the session's secret instead. */
void collector_post_session(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    json_t *object = collector_read_object(q, r);
    const char *token = object ? collector_object_name(object, "token", r) : NULL;
    int64_t until = c->env->clock->wall_us(c->env->clock) + c->config->session_hours * 3600 * 1000000;
    char text[COLLECTOR_SECRET_TEXT];
    struct collector_identity who;
    struct rlhf_digest digest;
    struct rlhf_error err;

    if (token && !q->header(q->ctx, COLLECTOR_PAGE_HEADER)) {
        collector_respond_error(r, 403, "forgery", "signing in needs the header " COLLECTOR_PAGE_HEADER);
    } else if (token && collector_access_identify(c->access, token, q->address, &who, r) == 0) {
        collector_secret_new("", text, &digest);
        if (!who.role) {
            collector_respond_error(r, 401, "unauthorized", "this token is not known, or was revoked");
        } else if (collector_store_add_session(c->store, &digest, who.token, until, &err) < 0) {
            collector_respond_failure(r, &err);
        } else {
            collector_respond(r, 200, identity_json(&who));
            r->set_cookie = collector_access_set_cookie(c->access, text);
            r->secret = true;
        }
        rlhf_wipe(text, sizeof(text));
    }
    json_decref(object);
}

void collector_delete_session(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct rlhf_error err;

    if (q->session) {
        struct rlhf_digest digest = rlhf_digest_of(q->session, strlen(q->session));
        if (collector_store_end_session(c->store, &digest, &err) < 0) {
            collector_respond_failure(r, &err);
            return;
        }
        collector_access_changed(c->access);
    }
    collector_respond(r, 200, json_pack("{s:s}", "status", "signed out"));
    r->set_cookie = collector_access_set_cookie(c->access, NULL);
}
