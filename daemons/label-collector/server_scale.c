/* server_scale.c - Scale AI's GenAI tasks (v2), as its published library and documents have them.
 *
 * One task a request, with our id in metadata.pair_id; v2 has no idempotency key, so lost answers are looked for in the
 * list. Which template variables a project takes is agreed upon with the vendor (guesses). */
#include "servers.h"

#include <stdio.h>
#include <string.h>

static enum collector_auth auth_of(const struct collector_deal *d)
{
    return d->vendor->guesses.scale_auth ? COLLECTOR_BASIC : COLLECTOR_BEARER;
}

static int ask_push(struct collector_deal *d, struct rlhf_error *err)
{
    const struct collector_guesses *g = &d->vendor->guesses;
    const json_t *task = json_array_get(d->tasks, 0);
    char url[512];
    json_t *body = json_pack("{s:s, s:{s:O, s:O}, s:{s:O, s:O}}", "project_name", d->vendor->project,
                             "template_variables", g->prompt_variable, json_object_get(task, "prompt"),
                             g->responses_variable, json_object_get(task, "completions"), "metadata", "pair_id",
                             json_object_get(task, "uid"), "presented", json_object_get(task, "presented"));

    if (d->vendor->callback) {
        snprintf(url, sizeof(url), "%s/hooks/%s", d->vendor->callback, d->vendor->name);
        json_object_set_new(body, "callback_url", json_string(url));
    }
    return collector_deal_request(d, "POST", auth_of(d), body, err, "/v2/task/chat");
}

static int add_parameter(struct collector_deal *d, const char *name, const char *value, struct rlhf_error *err)
{
    if (!value)
        return 0;
    return rlhf_bytes_printf(&d->path, err, "&%s=", name) < 0 ? -1 : collector_append_escaped(&d->path, value, err);
}

static int ask_pull(struct collector_deal *d, struct rlhf_error *err)
{
    const json_t *pull = json_object_get(d->memory, "pull");
    bool sweep = json_is_true(json_object_get(pull, "sweep"));

    if (collector_deal_request(d, "GET", auth_of(d), NULL, err, "/v2/tasks?limit=100") < 0
        || add_parameter(d, "project_name", d->vendor->project, err) < 0
        || add_parameter(d, "completed_after", sweep ? NULL : json_string_value(json_object_get(d->memory, "since")),
                         err)
               < 0)
        return -1;
    return add_parameter(d, "next_token", json_string_value(json_object_get(pull, "next_token")), err);
}

static int ask(struct collector_deal *d, struct rlhf_error *err)
{
    if (d->job == COLLECTOR_PUSH)
        return ask_push(d, err);
    if (d->job == COLLECTOR_PULL)
        return ask_pull(d, err);
    if (collector_deal_request(d, "GET", auth_of(d), NULL, err, "/v2/task?task_id=") < 0)
        return -1;
    return collector_append_escaped(&d->path, d->remote, err);
}

static int take_pull(struct collector_deal *d, const json_t *json, struct rlhf_error *err)
{
    json_t *pull = json_object_get(d->memory, "pull"), *tasks = json_object_get(json, "tasks"), *task;
    json_t *token = json_object_get(json, "next_token");
    size_t i;

    if (!json_is_array(tasks))
        return collector_deal_unread("tasks", err);
    json_array_foreach (tasks, i, task)
        collector_pull_saw(d, json_object_get(task, "completed_at"));
    d->records = json_incref(tasks);
    if (json_is_string(token) && *json_string_value(token))
        json_object_set(pull, "next_token", token);
    else
        collector_pull_ended(d);
    return 0;
}

static int answer(struct collector_deal *d, unsigned status, const char *text, size_t size, const json_t *json,
                  struct rlhf_error *err)
{
    json_t *id = json_object_get(json, "task_id");

    (void)text;
    (void)size;
    if (d->job == COLLECTOR_PULL)
        return take_pull(d, json, err);
    d->done = true;
    d->gone = d->job == COLLECTOR_FETCH && status == 404;
    if (d->gone)
        return 0;
    if (!*collector_text_of(id))
        return collector_deal_unread("task_id", err);
    if (d->job == COLLECTOR_PUSH)
        d->pushed = json_pack("[[O, O]]", json_object_get(json_array_get(d->tasks, 0), "uid"), id);
    else
        d->records = json_pack("[O]", json);
    return 0;
}

const struct collector_server collector_scale_server = {
    .url = "https://api.scale.com", .batch = 1, .incremental = true, .fetches = true, .ask = ask, .answer = answer
};
