/* server_label_studio.c - Label Studio's own server, as measured with 1.23.2.
 *
 * A legacy token is sent as it is; a personal access token (a JWT) is exchanged for one that lives 300 s. An import
 * knows no idempotency: data.uid, our id, is looked for in the list of tasks. A task's updated_at moves with every
 * change of its annotations, deletions too, so it tells what has changed. */
#include "servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 100,                /* what the server falls back to */
    ACCESS_US = 270 * 1000000, /* of 300 s */
};

static bool is_refresh_token(const char *key)
{
    const char *dot = strchr(key, '.');

    return dot && strchr(dot + 1, '.');
}

static bool must_login(const struct collector_deal *d)
{
    return is_refresh_token(d->key) && json_integer_value(json_object_get(d->session, "access_until")) <= d->now_us;
}

static const char *project_of(const struct collector_deal *d)
{
    return collector_text_of(json_object_get(d->memory, "project"));
}

/* ---- asking --------------------------------------------------------------------------------------- */

static json_t *new_project(const struct collector_vendor_config *v)
{
    static const char *const layouts[] = {
        [COLLECTOR_PAIRS_ONLY] =
            "<View><Text name=\"prompt\" value=\"$prompt\"/>"
            "<Pairwise name=\"comparison\" toName=\"answer1,answer2\"/>"
            "<Text name=\"answer1\" value=\"$answer1\"/><Text name=\"answer2\" value=\"$answer2\"/></View>",
        [COLLECTOR_RANKINGS] = "<View><Text name=\"prompt\" value=\"$prompt\"/>"
                               "<List name=\"answers\" value=\"$items\" title=\"Responses\"/>"
                               "<Ranker name=\"rank\" toName=\"answers\"/></View>",
    };

    return json_pack("{s:s, s:s, s:s, s:I}", "title", v->title, "label_config", layouts[v->layout],
                     "expert_instruction", v->instructions, "maximum_annotations", (json_int_t)v->overlap);
}

/* People see the ids of a ranker's items: they tell the place, and nothing of who wrote them. */
static json_t *task_data(const json_t *task, enum collector_layout layout)
{
    json_t *data =
        json_pack("{s:O, s:O}", "prompt", json_object_get(task, "prompt"), "uid", json_object_get(task, "uid"));
    json_t *items = json_array(), *text;
    char name[32];
    size_t i;

    json_array_foreach (json_object_get(task, "completions"), i, text) {
        if (layout == COLLECTOR_PAIRS_ONLY) {
            snprintf(name, sizeof(name), "answer%zu", i + 1);
            json_object_set(data, name, text);
        } else {
            snprintf(name, sizeof(name), "r%zu", i);
            json_array_append_new(items, json_pack("{s:s, s:s, s:O}", "id", name, "title", "", "body", text));
        }
    }
    if (layout == COLLECTOR_RANKINGS)
        json_object_set(data, "items", items);
    json_decref(items);
    return json_pack("{s:o}", "data", data);
}

static int ask_push(struct collector_deal *d, struct rlhf_error *err)
{
    json_t *list = json_array(), *task;
    size_t i;

    json_array_foreach (d->tasks, i, task)
        json_array_append_new(list, task_data(task, (enum collector_layout)d->vendor->layout));
    return collector_deal_request(d, "POST", COLLECTOR_TOKEN, list, err, "/api/projects/%s/import?return_task_ids=true",
                                  project_of(d));
}

/* A sweep goes through all tasks by id, page by page. Otherwise tasks come in the order of their last change, from the
 * last one seen on: one that changes meanwhile comes again at the end, so none is missed. */
static json_t *pull_query(const struct collector_deal *d)
{
    bool sweep = json_is_true(json_object_get(json_object_get(d->memory, "pull"), "sweep"));
    const char *since = sweep ? NULL : json_string_value(json_object_get(d->memory, "since"));
    json_t *query = json_pack("{s:[s]}", "ordering", sweep ? "tasks:id" : "tasks:updated_at");
    char time[64];

    if (since) { /* the server takes times with a fraction only */
        snprintf(time, sizeof(time), "%.*s%s", (int)strcspn(since, "Z"), since, strchr(since, '.') ? "Z" : ".000000Z");
        json_object_set_new(query, "filters",
                            json_pack("{s:s, s:[{s:s, s:s, s:s, s:s}]}", "conjunction", "and", "items", "filter",
                                      "filter:tasks:updated_at", "operator", "greater_or_equal", "type", "Datetime",
                                      "value", time));
    }
    return query;
}

static json_int_t page_of(const json_t *pull)
{
    json_int_t page = json_integer_value(json_object_get(pull, "page"));

    return page ? page : 1;
}

static int ask_pull(struct collector_deal *d, struct rlhf_error *err)
{
    json_t *query = pull_query(d);
    char *text = json_dumps(query, JSON_COMPACT);
    int rc =
        !text ? rlhf_fail(err, RLHF_FULL, "no memory for a request")
              : collector_deal_request(d, "GET", COLLECTOR_TOKEN, NULL, err,
                                       "/api/tasks/?project=%s&page=%lld&page_size=%d&fields=all&query=", project_of(d),
                                       (long long)page_of(json_object_get(d->memory, "pull")), PAGE);
    if (rc == 0)
        rc = collector_append_escaped(&d->path, text, err);
    free(text);
    json_decref(query);
    return rc;
}

/* First whether the project has a webhook to our address; then that one is brought up to date, or one is made. */
static int ask_hook(struct collector_deal *d, struct rlhf_error *err)
{
    const json_t *found = json_object_get(d->session, "hook_found");
    char url[512];

    if (!found)
        return collector_deal_request(d, "GET", COLLECTOR_TOKEN, NULL, err, "/api/webhooks/?project=%s", project_of(d));
    snprintf(url, sizeof(url), "%s/hooks/%s", d->vendor->callback, d->vendor->name);
    json_t *body = json_pack("{s:s, s:s, s:b, s:b, s:[s, s, s, s, s], s:{s:s}}", "url", url, "project", project_of(d),
                             "send_payload", true, "send_for_all_actions", false, "actions", "ANNOTATION_CREATED",
                             "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_DELETED",
                             "headers", "X-Collector-Secret", d->secret);
    if (json_is_integer(found))
        return collector_deal_request(d, "PATCH", COLLECTOR_TOKEN, body, err, "/api/webhooks/%s/",
                                      collector_text_of(found));
    return collector_deal_request(d, "POST", COLLECTOR_TOKEN, body, err, "/api/webhooks/");
}

static int ask_project(struct collector_deal *d, struct rlhf_error *err)
{
    if (json_object_get(d->session, "project_missing"))
        return collector_deal_request(d, "POST", COLLECTOR_TOKEN, new_project(d->vendor), err, "/api/projects/");
    if (collector_deal_request(d, "GET", COLLECTOR_TOKEN, NULL, err, "/api/projects/?page=1&page_size=100&title=") < 0)
        return -1;
    return collector_append_escaped(&d->path, d->vendor->title, err);
}

static int ask(struct collector_deal *d, struct rlhf_error *err)
{
    int rc = -1;

    switch (d->job) {
    case COLLECTOR_LOGIN:
        return collector_deal_request(d, "POST", COLLECTOR_NO_AUTH, json_pack("{s:s}", "refresh", d->key), err,
                                      "/api/token/refresh/");
    case COLLECTOR_PROJECT: rc = ask_project(d, err); break;
    case COLLECTOR_HOOK: rc = ask_hook(d, err); break;
    case COLLECTOR_PUSH: rc = ask_push(d, err); break;
    case COLLECTOR_PULL: rc = ask_pull(d, err); break;
    default: rc = collector_deal_request(d, "GET", COLLECTOR_TOKEN, NULL, err, "/api/tasks/%s/", d->remote);
    }
    if (is_refresh_token(d->key)) {
        d->auth = COLLECTOR_BEARER;
        d->auth_key = collector_text_of(json_object_get(d->session, "access"));
    }
    return rc;
}

/* ---- answers -------------------------------------------------------------------------------------- */

static int take_login(struct collector_deal *d, const json_t *json, struct rlhf_error *err)
{
    json_t *access = json_object_get(json, "access");

    if (!json_is_string(access))
        return collector_deal_unread("access token", err);
    json_object_set(d->session, "access", access);
    json_object_set_new(d->session, "access_until", json_integer(d->now_us + ACCESS_US));
    d->done = true;
    return 0;
}

static int take_project(struct collector_deal *d, const json_t *json, struct rlhf_error *err)
{
    json_t *project, *id = json_object_get(json, "id");
    size_t i;

    json_array_foreach (json_object_get(json, "results"), i, project)
        if (strcmp(collector_text_of(json_object_get(project, "title")), d->vendor->title) == 0)
            id = json_object_get(project, "id");
    if (!id && json_is_array(json_object_get(json, "results"))) {
        json_object_set_new(d->session, "project_missing", json_true());
        return 0;
    }
    if (!json_is_integer(id))
        return collector_deal_unread("project", err);
    json_object_set(d->memory, "project", id);
    d->done = true;
    return 0;
}

static int take_hook(struct collector_deal *d, const json_t *json, struct rlhf_error *err)
{
    json_t *hook;
    char url[512];
    size_t i;

    if (!json_is_array(json)) {
        d->done = json_is_integer(json_object_get(json, "id"));
        return d->done ? 0 : collector_deal_unread("webhook", err);
    }
    snprintf(url, sizeof(url), "%s/hooks/%s", d->vendor->callback, d->vendor->name);
    json_object_set_new(d->session, "hook_found", json_false());
    json_array_foreach ((json_t *)(uintptr_t)json, i, hook)
        if (strcmp(collector_text_of(json_object_get(hook, "url")), url) == 0)
            json_object_set(d->session, "hook_found", json_object_get(hook, "id"));
    return 0;
}

static int take_push(struct collector_deal *d, const json_t *json, struct rlhf_error *err)
{
    const json_t *ids = json_object_get(json, "task_ids");
    json_t *task;
    size_t i;

    if (json_array_size(ids) != json_array_size(d->tasks))
        return collector_deal_unread("task_ids for what was sent", err);
    d->pushed = json_array();
    json_array_foreach (d->tasks, i, task)
        json_array_append_new(
            d->pushed, json_pack("[O, s]", json_object_get(task, "uid"), collector_text_of(json_array_get(ids, i))));
    d->done = true;
    return 0;
}

/* A page; a short one is the last, and so is one that is past the end. */
static int take_pull(struct collector_deal *d, unsigned status, const json_t *json, struct rlhf_error *err)
{
    json_t *pull = json_object_get(d->memory, "pull"), *tasks = json_object_get(json, "tasks");
    size_t count = json_array_size(tasks);
    json_int_t page = page_of(pull) + 1;

    if (status == 404 ? strcmp(collector_text_of(json_object_get(json, "detail")), "Invalid page.") != 0 || page == 2
                      : !json_is_array(tasks))
        return collector_deal_unread("tasks of the project", err);
    if (count && !json_is_true(json_object_get(pull, "sweep"))) {
        const char *newest = collector_text_of(json_object_get(json_array_get(tasks, count - 1), "updated_at"));
        if (strcmp(newest, collector_text_of(json_object_get(d->memory, "since"))) > 0) {
            json_object_set_new(d->memory, "since", json_string(newest));
            page = 1;
        }
    }
    json_object_set_new(pull, "page", json_integer(page));
    d->records = json_incref(tasks);
    d->done = count < PAGE;
    return 0;
}

static int answer(struct collector_deal *d, unsigned status, const char *text, size_t size, const json_t *json,
                  struct rlhf_error *err)
{
    (void)text;
    (void)size;
    switch (d->job) {
    case COLLECTOR_LOGIN: return take_login(d, json, err);
    case COLLECTOR_PROJECT: return take_project(d, json, err);
    case COLLECTOR_HOOK: return take_hook(d, json, err);
    case COLLECTOR_PUSH: return take_push(d, json, err);
    case COLLECTOR_PULL: return take_pull(d, status, json, err);
    default: break;
    }
    return collector_deal_fetched(d, status, json, err);
}

const struct collector_server collector_label_studio_server = { .batch = 1000,
                                                                .incremental = true,
                                                                .hooks = true,
                                                                .fetches = true,
                                                                .must_login = must_login,
                                                                .ask = ask,
                                                                .answer = answer };
