/* hooks.c - callbacks of vendors: verified as each vendor does it before anything of the body is read, and stored
 * before they are answered.
 *
 * A callback is a hint that something has changed: what it names is fetched. Where it brings a judgement that nobody
 * has heard of, that is stored at once; one that is known is never changed by a callback, because callbacks may come
 * late and out of order. */
#include "api_parts.h"

#include <stdlib.h>
#include <string.h>

#include "signature.h"
#include "store_vendors.h"
#include "sync.h"
#include "telemetry/log.h"
#include "transfer.h"

enum { DELIVERIES_KEPT_S = 7 * 86400 };

/* A callback while it is taken. */
struct call {
    struct collector *collector;
    struct collector_account *account;
    const struct collector_request *request;
    const char *secret; /* the path's end; "" = none */
    json_t *body;
    struct collector_import import;
    char rejected[200]; /* the first of import.rejected */
    bool poll;          /* look at the vendor at once */
};

static const char *header(const struct call *k, const char *name)
{
    return k->request->header ? k->request->header(k->request->ctx, name) : NULL;
}

/* ---- who calls ------------------------------------------------------------------------------------ */

static int verify_standard(const struct call *k, struct rlhf_error *err)
{
    const struct rlhf_clock *clock = k->collector->env->clock;
    struct collector_standard_webhook w = { .id = header(k, "webhook-id"),
                                            .timestamp = header(k, "webhook-timestamp"),
                                            .signature = header(k, "webhook-signature"),
                                            .body = k->request->body,
                                            .size = k->request->body_size };

    return collector_standard_signed(&w, &k->account->secrets, clock->wall_us(clock) / 1000000,
                                     k->account->vendor->tolerance_seconds, err);
}

static int verify(const struct call *k, struct rlhf_error *err)
{
    const struct rlhf_config_strings *secrets = &k->account->secrets;
    const char *sha256 = header(k, "X-Hub-Signature-256"), *body = k->request->body ? k->request->body : "";

    if (secrets->count == 0)
        return rlhf_fail(err, RLHF_DENIED, "vendor %s has no secret_files: its callbacks are not taken",
                         k->account->vendor->name);
    switch (k->account->vendor->kind) {
    case COLLECTOR_LABEL_STUDIO:
        return collector_secret_known(header(k, "X-Collector-Secret"), secrets)
                   ? 0
                   : rlhf_fail(err, RLHF_DENIED, "X-Collector-Secret is missing or is not ours");
    case COLLECTOR_LABELBOX:
        return collector_hub_signed(sha256 ? sha256 : header(k, "X-Hub-Signature"), secrets, body,
                                    k->request->body_size)
                   ? 0
                   : rlhf_fail(err, RLHF_DENIED, "X-Hub-Signature-256 is missing or does not sign this body");
    case COLLECTOR_SCALE:
        return collector_secret_known(header(k, "scale-callback-auth"), secrets)
                   ? 0
                   : rlhf_fail(err, RLHF_DENIED, "scale-callback-auth is missing or is not ours");
    case COLLECTOR_SURGE:
        return collector_secret_known(k->secret, secrets)
                   ? 0
                   : rlhf_fail(err, RLHF_DENIED, "the address does not end in our secret");
    default: return verify_standard(k, err);
    }
}

/* ---- what they say -------------------------------------------------------------------------------- */

/* 0, or -1 *err when the database failed. Something has changed with the vendor's task of this id. */
static int hint(struct call *k, const json_t *remote, struct rlhf_error *err)
{
    bool known = false;
    const char *id = collector_text_of(remote);

    if (*id && collector_vendor_hint(k->collector->store, k->account->vendor->name, id, &known, err) < 0)
        return -1;
    k->poll = k->poll || !known;
    return 0;
}

static int put(struct call *k, const json_t *record, struct rlhf_error *err)
{
    return collector_put_record(k->collector->store, k->account->records ? k->account->records : &collector_own_words,
                                &k->account->vendor->guesses, record, 0, &k->import, err);
}

/* A record with one judgement, of this id: stored where it is new, else a hint. */
static int put_new(struct call *k, const json_t *record, const char *label, const json_t *remote,
                   struct rlhf_error *err)
{
    size_t before = k->import.stored;
    bool known = true;

    if (collector_vendor_knows(k->collector->store, k->account->vendor->name, label, &known, err) < 0)
        return -1;
    if (!known && put(k, record, err) < 0)
        return -1;
    return known || k->import.stored == before ? hint(k, remote, err) : 0;
}

/* Object or list: Label Studio sends one in most events, several in some. */
static json_t *as_list(json_t *value)
{
    return json_is_array(value) ? json_incref(value) : value ? json_pack("[O]", value) : json_array();
}

static const json_t *task_with(const json_t *tasks, const json_t *id)
{
    json_t *task;
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)tasks, i, task)
        if (json_equal(json_object_get(task, "id"), id))
            return task;
    return NULL;
}

static int take_annotations(struct call *k, struct rlhf_error *err)
{
    json_t *one = json_object_get(k->body, "annotation"), *many = json_object_get(k->body, "annotations");
    json_t *annotations = as_list(one ? one : many), *tasks = as_list(json_object_get(k->body, "task")), *annotation;
    size_t i;
    int rc = 0;

    json_array_foreach (annotations, i, annotation) {
        json_t *id = json_object_get(annotation, "task");
        json_t *data = json_object_get(task_with(tasks, id), "data");
        json_t *record = json_pack("{s:O?, s:O?, s:[O]}", "id", id, "data", data, "annotations", annotation);
        if (rc == 0)
            rc = data ? put_new(k, record, collector_text_of(json_object_get(annotation, "id")), id, err)
                      : hint(k, id, err);
        json_decref(record);
    }
    json_decref(annotations);
    json_decref(tasks);
    return rc;
}

/* Deleted annotations come without their task: we know whose they were. */
static int hint_deleted(struct call *k, struct rlhf_error *err)
{
    json_t *annotation, *remote;
    char task[COLLECTOR_MAX_NAME + 1];
    size_t i;
    int rc = 0;

    json_array_foreach (json_object_get(k->body, "annotations"), i, annotation) {
        if (rc < 0
            || (rc = collector_vendor_label_task(k->collector->store, k->account->vendor->name,
                                                 collector_text_of(json_object_get(annotation, "id")), task,
                                                 sizeof(task), err))
                   < 0)
            break;
        remote = json_string(task);
        rc = hint(k, remote, err);
        json_decref(remote);
    }
    return rc;
}

static int take_label_studio(struct call *k, struct rlhf_error *err)
{
    const char *action = collector_text_of(json_object_get(k->body, "action"));
    json_t *task;
    size_t i;
    int rc = 0;

    if (strcmp(action, "ANNOTATIONS_DELETED") == 0)
        return hint_deleted(k, err);
    if (strncmp(action, "ANNOTATION", 10) == 0) {
        k->poll = !json_object_get(k->body, "annotation") && !json_object_get(k->body, "annotations");
        return take_annotations(k, err);
    }
    if (strcmp(action, "TASKS_DELETED") == 0)
        json_array_foreach (json_object_get(k->body, "tasks"), i, task)
            if (rc == 0)
                rc = hint(k, json_object_get(task, "id"), err);
    return rc;
}

/* v1 has the task and its answer side by side; v2's body is not documented: a task, or one inside. */
static int take_scale(struct call *k, struct rlhf_error *err)
{
    json_t *task = json_object_get(k->body, "task"), *id = json_object_get(k->body, "task_id");
    const json_t *record = json_object_get(k->body, "response") || !task ? k->body : task;

    id = id ? id : json_object_get(task, "task_id");
    return *collector_text_of(id) ? put_new(k, record, collector_text_of(id), id, err) : hint(k, NULL, err);
}

/* What its body holds is not documented: what looks like the id of a task of ours is fetched. */
static int take_surge(struct call *k, struct rlhf_error *err)
{
    json_t *task = json_object_get(k->body, "task"), *id = json_object_get(k->body, "task_id");

    id = id ? id : json_object_get(task, "id");
    return hint(k, id ? id : json_object_get(k->body, "id"), err);
}

static int delete_label(struct call *k, const char *id, struct rlhf_error *err)
{
    uint64_t changed;
    struct collector_choice which = { .source = k->account->vendor->name, .id = id };

    if (collector_store_exclude(k->collector->store, &which, "", "deleted", &changed, err) < 0)
        return -1;
    k->import.deleted += changed;
    return 0;
}

static int take_own_words(struct call *k, struct rlhf_error *err)
{
    const char *type = collector_text_of(json_object_get(k->body, "type"));
    json_t *list = as_list(json_object_get(k->body, "data")), *one;
    size_t i;
    int rc = 0;

    json_array_foreach (list, i, one) {
        if (rc == 0)
            rc = strcmp(type, "label.deleted") == 0
                     ? delete_label(k, collector_text_of(json_object_get(one, "id")), err)
                     : put(k, one, err);
    }
    json_decref(list);
    return rc;
}

/* A response beside or inside of its record (a guess). */
static int take_argilla(struct call *k, struct rlhf_error *err)
{
    const char *type = collector_text_of(json_object_get(k->body, "type"));
    json_t *data = json_object_get(k->body, "data"), *inside = json_object_get(data, "record");
    char label[COLLECTOR_MAX_NAME];

    if (!inside)
        return strncmp(type, "record.", 7) == 0 || json_object_get(data, "fields") ? put(k, data, err) : 0;
    snprintf(label, sizeof(label), "%.60s@%.50s", collector_text_of(json_object_get(inside, "id")),
             collector_text_of(json_object_get(data, "user_id")));
    if (strcmp(type, "response.deleted") == 0)
        return delete_label(k, label, err);
    json_t *record = json_copy(inside);
    json_object_set_new(record, "responses", json_pack("[O]", data));
    int rc = put(k, record, err);
    json_decref(record);
    return rc;
}

static int take(struct call *k, struct rlhf_error *err)
{
    switch (k->account->vendor->kind) {
    case COLLECTOR_LABEL_STUDIO: return take_label_studio(k, err);
    case COLLECTOR_SCALE: return take_scale(k, err);
    case COLLECTOR_SURGE: return take_surge(k, err);
    case COLLECTOR_ARGILLA: return take_argilla(k, err);
    case COLLECTOR_WEBHOOK: return take_own_words(k, err);
    default: k->poll = true; return 0; /* Labelbox: what its body holds is not documented */
    }
}

/* ---- the route ------------------------------------------------------------------------------------ */

static void on_rejected(void *ctx, size_t line, const char *why)
{
    struct call *k = ctx;

    (void)line;
    if (!k->rejected[0])
        snprintf(k->rejected, sizeof(k->rejected), "%s", why);
    snprintf(k->account->counters.rejected_why, sizeof(k->account->counters.rejected_why), "%s", why);
}

/* Whether this delivery was taken before; vendors that number theirs. -1 *err. */
static int is_replay(struct call *k, struct rlhf_error *err)
{
    bool standard = k->account->vendor->kind >= COLLECTOR_SERVERS, fresh = true;
    const char *id = standard                                         ? header(k, "webhook-id")
                     : k->account->vendor->kind == COLLECTOR_LABELBOX ? header(k, "X-Labelbox-Id")
                                                                      : NULL;
    int64_t keep_s = standard ? 2 * k->account->vendor->tolerance_seconds : DELIVERIES_KEPT_S;

    if (!id || collector_name_check("id", id, false, err) < 0)
        return 0;
    if (collector_vendor_callback(k->collector->store, k->account->vendor->name, id, keep_s * 1000000, &fresh, err) < 0)
        return -1;
    return fresh ? 0 : 1;
}

static void respond(struct call *k, struct collector_response *r)
{
    const struct collector_import *i = &k->import;

    if (i->rejected && k->account->vendor->kind == COLLECTOR_WEBHOOK) {
        collector_respond_error(r, 422, "invalid", "%s", k->rejected);
        return;
    }
    k->account->counters.callbacks++;
    k->account->counters.stored += i->stored;
    k->account->counters.revised += i->revised;
    k->account->counters.deleted += i->deleted;
    k->account->counters.skipped += i->skipped;
    k->account->counters.rejected += i->rejected;
    collector_respond(r, 200,
                      json_pack("{s:s, s:I, s:I, s:I, s:I}", "status", "taken", "stored", (json_int_t)i->stored,
                                "revised", (json_int_t)i->revised, "deleted", (json_int_t)i->deleted, "rejected",
                                (json_int_t)i->rejected));
    collector_sync_wake(k->collector->sync, k->account, k->poll);
}

static void take_call(struct call *k, struct collector_response *r)
{
    json_error_t where;
    struct rlhf_error err = { .code = RLHF_OK };

    if (verify(k, &err) < 0) {
        if (k->account->counters.refused++ == 0) /* once, then counted */
            rlhf_log(RLHF_LEVEL_WARNING, "callback-refused vendor=%s error=\"%s\"", k->account->vendor->name, err.text);
        collector_respond_error(r, 401, "signature", "%s", err.text);
        return;
    }
    k->body =
        json_loadb(k->request->body ? k->request->body : "", k->request->body_size, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(k->body)) {
        collector_respond_error(r, 400, "bad_request", "the body is not a JSON object: %s",
                                k->body ? "another value" : where.text);
        return;
    }
    int rc = is_replay(k, &err);
    if (rc > 0) {
        ++k->account->counters.refused;
        collector_respond_error(r, 409, "replayed", "this delivery was taken before: nothing is left to do");
    } else if (rc < 0 || take(k, &err) < 0) {
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
    } else {
        respond(k, r);
    }
}

void collector_post_hook(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    char *name = collector_path_id(q->path, "/hooks/", "");
    size_t size = name ? strcspn(name, "/") : 0;
    struct call k = { .collector = c, .request = q, .secret = name && name[size] ? name + size + 1 : "" };

    if (name)
        name[size] = '\0';
    k.account = name && c->sync ? collector_account_find(collector_sync_accounts(c->sync), name) : NULL;
    if (k.account) {
        k.import = (struct collector_import){ .source = k.account->vendor->name,
                                              .round = k.account->vendor->round ? k.account->vendor->round : "",
                                              .refused = on_rejected,
                                              .ctx = &k };
        take_call(&k, r);
    } else {
        collector_respond_error(r, 404, "not_found", "no vendor of that name is configured");
    }
    json_decref(k.body);
    free(name);
}
