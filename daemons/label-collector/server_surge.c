/* server_surge.c - Surge AI's projects and tasks, as its published library has them.
 *
 * Nothing there is idempotent: our id travels in the task's fields, where lists show it. How callbacks prove who they
 * are is not documented: their address ends in a secret, and what they say is fetched. */
#include "servers.h"

#include <stdio.h>
#include <string.h>

static json_t *new_project(const struct collector_deal *d)
{
    const struct collector_vendor_config *v = d->vendor;
    json_t *project = json_pack(
        "{s:s, s:s, s:[{s:s, s:s, s:s, s:[s, s, s, s, s, s, s], s:b}], s:s, s:I, s:[s]}", "name", v->title,
        "instructions", v->instructions, "questions", "text", v->guesses.question, "label", "preference", "type",
        "likert", "options", "A much better", "A better", "A slightly better", "Same", "B slightly better", "B better",
        "B much better", "required", true, "fields_template", "{{prompt}}\n\nA: {{response_a}}\n\nB: {{response_b}}",
        "num_workers_per_task", (json_int_t)v->overlap, "tags", "rlhfd");
    char url[640];

    if (v->callback) {
        snprintf(url, sizeof(url), "%s/hooks/%s/%s", v->callback, v->name, d->secret);
        json_object_set_new(project, "callback_url", json_string(url));
    }
    if (v->price > 0)
        json_object_set_new(project, "payment_per_response", json_real(v->price));
    return project;
}

static int ask_push(struct collector_deal *d, const char *project, struct rlhf_error *err)
{
    json_t *list = json_array(), *task;
    size_t i;

    json_array_foreach (d->tasks, i, task) {
        const json_t *texts = json_object_get(task, "completions");
        json_array_append_new(list, json_pack("{s:O, s:O, s:O, s:O}", "prompt", json_object_get(task, "prompt"),
                                              "response_a", json_array_get(texts, 0), "response_b",
                                              json_array_get(texts, 1), "pair_id", json_object_get(task, "uid")));
    }
    return collector_deal_request(d, "POST", COLLECTOR_BASIC, json_pack("{s:o, s:b}", "tasks", list, "launch", true),
                                  err, "/projects/%s/tasks/create_tasks", project);
}

static int ask(struct collector_deal *d, struct rlhf_error *err)
{
    const json_t *pull = json_object_get(d->memory, "pull");
    const char *project = collector_text_of(json_object_get(d->memory, "project"));
    json_int_t page = json_integer_value(json_object_get(d->job == COLLECTOR_PULL ? pull : d->session, "page"));

    page = page ? page : 1;
    switch (d->job) {
    case COLLECTOR_PROJECT:
        if (json_object_get(d->session, "project_missing"))
            return collector_deal_request(d, "POST", COLLECTOR_BASIC, new_project(d), err, "/projects");
        return collector_deal_request(d, "GET", COLLECTOR_BASIC, NULL, err, "/projects?page=%lld", (long long)page);
    case COLLECTOR_PUSH: return ask_push(d, project, err);
    case COLLECTOR_PULL:
        return collector_deal_request(d, "GET", COLLECTOR_BASIC, NULL, err, "/projects/%s/tasks?page=%lld&per_page=100",
                                      project, (long long)page);
    default: return collector_deal_request(d, "GET", COLLECTOR_BASIC, NULL, err, "/tasks/%s", d->remote);
    }
}

/* A page of projects, until ours is on one or one is empty; or the one made. */
static int take_project(struct collector_deal *d, const json_t *json, struct rlhf_error *err)
{
    json_t *project, *id = json_object_get(json, "id");
    json_int_t page = json_integer_value(json_object_get(d->session, "page"));
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)json, i, project)
        if (strcmp(collector_text_of(json_object_get(project, "name")), d->vendor->title) == 0)
            id = json_object_get(project, "id");
    if (*collector_text_of(id)) {
        json_object_set(d->memory, "project", id);
        d->done = true;
        return 0;
    }
    if (!json_is_array(json))
        return collector_deal_unread("project", err);
    json_object_set_new(d->session, "page", json_integer((page ? page : 1) + 1));
    if (json_array_size(json) == 0)
        json_object_set_new(d->session, "project_missing", json_true());
    return 0;
}

static int take_push(struct collector_deal *d, const json_t *json, struct rlhf_error *err)
{
    json_t *task;
    size_t i;

    if (json_array_size(json) != json_array_size(d->tasks))
        return collector_deal_unread("tasks for what was sent", err);
    d->pushed = json_array();
    json_array_foreach ((json_t *)(uintptr_t)json, i, task) {
        json_t *uid = json_object_get(json_object_get(task, "fields"), "pair_id");
        if (json_is_string(uid))
            json_array_append_new(d->pushed, json_pack("[O, s]", uid, collector_text_of(json_object_get(task, "id"))));
    }
    d->done = true;
    return 0;
}

static int answer(struct collector_deal *d, unsigned status, const char *text, size_t size, const json_t *json,
                  struct rlhf_error *err)
{
    json_t *pull = json_object_get(d->memory, "pull");
    json_int_t page = json_integer_value(json_object_get(pull, "page"));

    (void)text;
    (void)size;
    if (d->job == COLLECTOR_PROJECT)
        return take_project(d, json, err);
    if (d->job == COLLECTOR_PUSH)
        return take_push(d, json, err);
    if (d->job == COLLECTOR_FETCH)
        return collector_deal_fetched(d, status, json, err);
    if (!json_is_array(json))
        return collector_deal_unread("list of tasks", err);
    d->records = json_incref((json_t *)(uintptr_t)json);
    d->done = json_array_size(json) == 0; /* its documents say 25 a page, its library asks for 100 */
    json_object_set_new(pull, "page", json_integer((page ? page : 1) + 1));
    return 0;
}

const struct collector_server collector_surge_server = {
    .url = "https://app.surgehq.ai/api", .batch = 1000, .fetches = true, .ask = ask, .answer = answer
};
