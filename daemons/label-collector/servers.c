#include "servers.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct collector_server *collector_server_of(enum collector_vendor_kind kind)
{
    static const struct collector_server *const servers[COLLECTOR_SERVERS] = {
        [COLLECTOR_LABEL_STUDIO] = &collector_label_studio_server,
        [COLLECTOR_LABELBOX] = &collector_labelbox_server,
        [COLLECTOR_SCALE] = &collector_scale_server,
        [COLLECTOR_SURGE] = &collector_surge_server,
    };

    return kind < COLLECTOR_SERVERS ? servers[kind] : NULL;
}

void collector_deal_clear(struct collector_deal *d)
{
    rlhf_bytes_clear(&d->path);
    rlhf_bytes_clear(&d->body);
    json_decref(d->records);
    json_decref(d->pushed);
    d->records = d->pushed = NULL;
    d->content_type = d->auth_key = NULL;
    d->done = d->gone = false;
    d->wait_ms = 0;
}

static int append(const char *data, size_t size, void *ctx)
{
    return rlhf_bytes_append(ctx, data, size, NULL);
}

int collector_deal_request(struct collector_deal *d, const char *method, enum collector_auth auth, json_t *body,
                           struct rlhf_error *err, const char *fmt, ...)
{
    char path[1024];
    va_list args;

    va_start(args, fmt);
    int size = vsnprintf(path, sizeof(path), fmt, args);
    va_end(args);
    d->method = method;
    d->auth = auth;
    int rc = size < 0 || (size_t)size >= sizeof(path) ? rlhf_fail(err, RLHF_REJECT, "an address that is too long")
             : rlhf_bytes_append(&d->path, path, (size_t)size, err) < 0
                     || (body && json_dump_callback(body, append, &d->body, JSON_COMPACT) < 0)
                 ? rlhf_fail(err, RLHF_FULL, "no memory for a request")
                 : 0;
    json_decref(body);
    return rc;
}

int collector_append_escaped(struct rlhf_bytes *b, const char *text, struct rlhf_error *err)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    int rc = escaped ? rlhf_bytes_append(b, escaped, strlen(escaped), err) : rlhf_fail(err, RLHF_FULL, "out of memory for an address");

    curl_free(escaped);
    return rc;
}

int collector_deal_unread(const char *what, struct rlhf_error *err)
{
    return rlhf_fail(err, RLHF_AGAIN, "its answer has no %s", what);
}

int collector_deal_fetched(struct collector_deal *d, unsigned status, const json_t *json, struct rlhf_error *err)
{
    d->done = true;
    d->gone = status == 404;
    if (!d->gone && !json_is_object(json))
        return collector_deal_unread("task", err);
    d->records = d->gone ? NULL : json_pack("[O]", json);
    return 0;
}

static void keep_latest(json_t *object, const json_t *time)
{
    const char *known = json_string_value(json_object_get(object, "newest")), *text = json_string_value(time);

    if (text && (!known || strcmp(text, known) > 0)) /* ISO 8601 in UTC is in the order of its letters */
        json_object_set(object, "newest", (json_t *)(uintptr_t)time);
}

void collector_pull_saw(struct collector_deal *d, const json_t *time)
{
    keep_latest(json_object_get(d->memory, "pull"), time);
}

void collector_pull_ended(struct collector_deal *d)
{
    json_t *newest = json_object_get(d->memory, "newest");

    if (newest)
        json_object_set(d->memory, "since", newest);
    keep_latest(d->memory, json_object_get(json_object_get(d->memory, "pull"), "newest"));
    d->done = true;
}
