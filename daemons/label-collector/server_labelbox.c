/* server_labelbox.c - Labelbox: GraphQL, as its published library speaks it.
 *
 * A push is a chain: the rows are uploaded as a file, then a manifest that names it, then upserted, then made a batch
 * of the project. Rows are keyed by our id (global_key), so each step may be done twice. A pull is an export: asked
 * for, waited for, then read file by file. What its library only shows in passing is a guess: the query of a task's
 * state, how a row is shown (a conversation of three messages), and that its files end with whole lines. */
#include "servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAIT_MS = 2000, OVERLAP_S = 300 /* of two exports, for clocks that differ */ };

#define BOUNDARY "rlhfd-5d7b0f6c2a"

static const char *step_of(const json_t *chain)
{
    return collector_text_of(json_object_get(chain, "step"));
}

static void set_step(json_t *chain, const char *step)
{
    json_object_set_new(chain, "step", json_string(step));
}

/* ---- asking --------------------------------------------------------------------------------------- */

static int graphql(struct collector_deal *d, const char *query, json_t *variables, struct rlhf_error *err)
{
    return collector_deal_request(d, "POST", COLLECTOR_BEARER,
                                  json_pack("{s:s, s:o}", "query", query, "variables", variables), err, "/graphql");
}

/* An upload: operation, map and file as parts of a form (the multipart convention of GraphQL). Takes content. */
static int upload(struct collector_deal *d, const char *filename, json_t *content, struct rlhf_error *err)
{
    char *text = json_dumps(content, JSON_COMPACT), *operation = NULL;
    json_t *request =
        json_pack("{s:s, s:{s:n, s:I, s:b}}", "query",
                  "mutation UploadFile($file: Upload!, $contentLength: Int!, $sign: Boolean)"
                  " {uploadFile(file: $file, contentLength: $contentLength, sign: $sign) {url filename}}",
                  "variables", "file", "contentLength", (json_int_t)(text ? strlen(text) : 0), "sign", false);
    int rc = -1;

    json_decref(content);
    if (!text || !(operation = json_dumps(request, JSON_COMPACT)))
        rlhf_fail(err, RLHF_FULL, "no memory for a request");
    else if (collector_deal_request(d, "POST", COLLECTOR_BEARER, NULL, err, "/graphql") == 0)
        rc = rlhf_bytes_printf(&d->body, err,
                               "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n%s\r\n"
                               "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n"
                               "{\"1\": [\"variables.file\"]}\r\n"
                               "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"1\"; filename=\"%s\"\r\n"
                               "Content-Type: application/json\r\n\r\n%s\r\n--" BOUNDARY "--\r\n",
                               operation, filename, text);
    d->content_type = "Content-Type: multipart/form-data; boundary=" BOUNDARY;
    json_decref(request);
    free(operation);
    free(text);
    return rc;
}

static json_t *message(const char *id, json_t *text)
{
    return json_pack("{s:s, s:O, s:{s:s, s:s}, s:s, s:b}", "messageId", id, "content", text, "user", "userId", id,
                     "name", id, "align", "left", "canLabel", true);
}

static json_t *rows_of(const struct collector_deal *d)
{
    json_t *rows = json_array(), *task;
    size_t i;

    json_array_foreach (d->tasks, i, task) {
        json_t *uid = json_object_get(task, "uid"), *texts = json_object_get(task, "completions");
        json_t *messages =
            json_pack("[o, o, o]", message("prompt", json_object_get(task, "prompt")),
                      message("Response A", json_array_get(texts, 0)), message("Response B", json_array_get(texts, 1)));
        json_array_append_new(rows, json_pack("{s:{s:s, s:O}, s:{s:s, s:O, s:{s:s, s:i, s:o}}}", "id", "type", "GKEY",
                                              "value", uid, "payload", "dataset_id", d->vendor->dataset, "global_key",
                                              uid, "row_data", "type", "application/vnd.labelbox.conversational",
                                              "version", 1, "messages", messages));
    }
    return rows;
}

static int ask_push(struct collector_deal *d, struct rlhf_error *err)
{
    const json_t *push = json_object_get(d->memory, "push");
    const char *step = step_of(push);

    if (!push)
        return upload(d, "rows.json", rows_of(d), err);
    if (strcmp(step, "manifest") == 0)
        return upload(d, "manifest.json",
                      json_pack("{s:s, s:I, s:[O]}", "source", "SDK", "item_count",
                                (json_int_t)json_array_size(json_object_get(push, "uids")), "chunk_uris",
                                json_object_get(push, "chunk")),
                      err);
    if (strcmp(step, "upsert") == 0)
        return graphql(d,
                       "mutation UpsertDataRowsPyApi($manifestUri: String!)"
                       " {upsertDataRows(data: {manifestUri: $manifestUri}) {id status}}",
                       json_pack("{s:O}", "manifestUri", json_object_get(push, "manifest")), err);
    if (strcmp(step, "wait") == 0)
        return graphql(d, "query GetTaskPyApi($where: WhereUniqueIdInput!) {task(where: $where) {status}}",
                       json_pack("{s:{s:O}}", "where", "id", json_object_get(push, "task")), err);
    return graphql(
        d,
        "mutation createBatchV2PyApi($projectId: ID!, $batchInput: CreateBatchInput!)"
        " {project(where: {id: $projectId}) {createBatchV2(input: $batchInput) {batch {id} failedDataRowIds}}}",
        json_pack("{s:s, s:{s:O, s:O, s:i}}", "projectId", d->vendor->project, "batchInput", "name",
                  json_object_get(push, "name"), "globalKeys", json_object_get(push, "uids"), "priority", 5),
        err);
}

/* ISO 8601 in UTC. */
static json_t *time_json(int64_t us)
{
    time_t seconds = us / 1000000;
    struct tm tm;
    char text[32];

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static int ask_export(struct collector_deal *d, const json_t *pull, struct rlhf_error *err)
{
    const char *since =
        json_is_true(json_object_get(pull, "sweep")) ? NULL : json_string_value(json_object_get(d->memory, "since"));
    json_t *query = json_array();

    if (since)
        json_array_append_new(query, json_pack("{s:s, s:{s:s, s:s, s:s}}", "type", "data_row_last_activity_at", "value",
                                               "operator", "GREATER_THAN_OR_EQUAL", "timezone", "UTC", "value", since));
    return graphql(d,
                   "mutation exportDataRowsInProjectPyApi($input: ExportDataRowsInProjectInput!)"
                   " {exportDataRowsInProject(input: $input) {taskId isStreamable}}",
                   json_pack("{s:{s:s, s:b, s:{s:s, s:{s:n, s:o}}, s:{s:b, s:b, s:b, s:b}, s:b}}", "input", "taskName",
                             "rlhfd", "isStreamableReady", true, "filters", "projectId", d->vendor->project,
                             "searchQuery", "scope", "query", query, "params", "includeDataRowDetails", true,
                             "includeProjectDetails", true, "includePerformanceDetails", true, "includeLabelDetails",
                             true, "streamable", true),
                   err);
}

static int ask_pull(struct collector_deal *d, struct rlhf_error *err)
{
    const json_t *pull = json_object_get(d->memory, "pull");
    const char *step = step_of(pull);

    if (!*step)
        return ask_export(d, pull, err);
    if (strcmp(step, "wait") == 0)
        return graphql(
            d,
            "query GetExportMetadataHeaderPyApi($where: WhereUniqueIdInput!, $streamType: TaskStreamType!)"
            " {task(where: $where) {status exportMetadataHeader(streamType: $streamType) {totalSize}}}",
            json_pack("{s:{s:O}, s:s}", "where", "id", json_object_get(pull, "task"), "streamType", "RESULT"), err);
    if (strcmp(step, "file") == 0)
        return collector_deal_request(d, "GET", COLLECTOR_NO_AUTH, NULL, err, "%s",
                                      collector_text_of(json_object_get(pull, "file")));
    return graphql(
        d,
        "query GetExportFileFromOffsetPyApi($where: WhereUniqueIdInput, $streamType: TaskStreamType!, $offset: UInt64!)"
        " {task(where: $where) {exportFileFromOffset(streamType: $streamType, offset: $offset) {offsets {start end} "
        "file}}}",
        json_pack("{s:{s:O}, s:s, s:s}", "where", "id", json_object_get(pull, "task"), "streamType", "RESULT", "offset",
                  collector_text_of(json_object_get(pull, "offset"))),
        err);
}

static int ask_hook(struct collector_deal *d, struct rlhf_error *err)
{
    char url[512];

    snprintf(url, sizeof(url), "%s/hooks/%s", d->vendor->callback, d->vendor->name);
    return graphql(d,
                   "mutation CreateWebhookPyApi($project: ID!, $url: String!, $secret: String!)"
                   " {createWebhook(data: {project: {id: $project}, topics: {set: [LABEL_CREATED, LABEL_UPDATED,"
                   " LABEL_DELETED]}, url: $url, secret: $secret}) {id}}",
                   json_pack("{s:s, s:s, s:s}", "project", d->vendor->project, "url", url, "secret", d->secret), err);
}

static int ask(struct collector_deal *d, struct rlhf_error *err)
{
    return d->job == COLLECTOR_PUSH ? ask_push(d, err) : d->job == COLLECTOR_PULL ? ask_pull(d, err) : ask_hook(d, err);
}

/* ---- answers -------------------------------------------------------------------------------------- */

/* object[key] = value, and the chain goes on with step; unread where there is no value. */
static int take_value(json_t *chain, const char *key, json_t *value, const char *step, struct rlhf_error *err)
{
    if (!*collector_text_of(value))
        return collector_deal_unread(key, err);
    json_object_set(chain, key, value);
    set_step(chain, step);
    return 0;
}

static json_t *pushed_of(const json_t *push)
{
    json_t *pushed = json_array(), *uid;
    size_t i;

    json_array_foreach (json_object_get(push, "uids"), i, uid)
        json_array_append_new(pushed, json_pack("[O, O]", uid, uid));
    return pushed;
}

/* The rows are uploaded: from now on the chain is remembered. */
static int begin_push(struct collector_deal *d, json_t *url, struct rlhf_error *err)
{
    json_t *uids = json_array(), *task;
    char name[80];
    size_t i;

    if (!json_is_string(url) || json_array_size(d->tasks) == 0) {
        json_decref(uids);
        return collector_deal_unread("url of the upload", err);
    }
    json_array_foreach (d->tasks, i, task)
        json_array_append(uids, json_object_get(task, "uid"));
    snprintf(name, sizeof(name), "rlhfd %.40s +%zu", collector_text_of(json_array_get(uids, 0)), json_array_size(uids));
    json_object_set_new(
        d->memory, "push",
        json_pack("{s:s, s:O, s:o, s:s}", "step", "manifest", "chunk", url, "uids", uids, "name", name));
    return 0;
}

static int take_push(struct collector_deal *d, const json_t *data, struct rlhf_error *err)
{
    json_t *push = json_object_get(d->memory, "push"),
           *url = json_object_get(json_object_get(data, "uploadFile"), "url");
    const char *step = step_of(push);

    if (!push)
        return begin_push(d, url, err);
    if (strcmp(step, "manifest") == 0)
        return take_value(push, "manifest", url, "upsert", err);
    if (strcmp(step, "upsert") == 0)
        return take_value(push, "task", json_object_get(json_object_get(data, "upsertDataRows"), "id"), "wait", err);
    if (strcmp(step, "wait") == 0) {
        const char *status = collector_text_of(json_object_get(json_object_get(data, "task"), "status"));
        d->wait_ms = strcmp(status, "IN_PROGRESS") == 0 ? WAIT_MS : 0;
        if (strcmp(status, "FAILED") == 0)
            return rlhf_fail(err, RLHF_REJECT, "its upsert of data rows failed");
        if (strcmp(status, "COMPLETE") == 0)
            set_step(push, "batch");
        return *status ? 0 : collector_deal_unread("state of the upsert", err);
    }
    d->pushed = pushed_of(push);
    json_object_del(d->memory, "push");
    d->done = true;
    return 0;
}

static void end_export(struct collector_deal *d, const json_t *pull)
{
    if (!json_is_true(json_object_get(pull, "sweep")))
        json_object_set_new(d->memory, "since",
                            time_json(json_integer_value(json_object_get(pull, "began")) - OVERLAP_S * 1000000LL));
    d->done = true;
}

static int take_state(struct collector_deal *d, json_t *pull, const json_t *task, struct rlhf_error *err)
{
    const json_t *header = json_object_get(task, "exportMetadataHeader");
    const char *status = collector_text_of(json_object_get(task, "status"));

    if (!*status || strcmp(status, "FAILED") == 0)
        return collector_deal_unread("export: it failed", err);
    if (strcmp(status, "COMPLETE") != 0) {
        d->wait_ms = WAIT_MS;
        return 0;
    }
    long long total = atoll(collector_text_of(json_object_get(header, "totalSize")));
    json_object_set_new(pull, "total", json_integer(total));
    json_object_set_new(pull, "offset", json_integer(0));
    set_step(pull, "read");
    if (total == 0)
        end_export(d, pull);
    return 0;
}

static int take_file(struct collector_deal *d, json_t *pull, const char *text, size_t size, struct rlhf_error *err)
{
    if (!(d->records = collector_vendor_records(&collector_labelbox, text, size, err)))
        return collector_deal_unread("rows that can be read", err);
    json_object_set(pull, "offset", json_object_get(pull, "next"));
    set_step(pull, "read");
    if (json_integer_value(json_object_get(pull, "offset")) >= json_integer_value(json_object_get(pull, "total")))
        end_export(d, pull);
    return 0;
}

static int take_pull(struct collector_deal *d, const json_t *data, const char *text, size_t size,
                     struct rlhf_error *err)
{
    json_t *pull = json_object_get(d->memory, "pull"), *task = json_object_get(data, "task");
    const char *step = step_of(pull);

    if (!*step)
        return take_value(pull, "task", json_object_get(json_object_get(data, "exportDataRowsInProject"), "taskId"),
                          "wait", err);
    if (strcmp(step, "wait") == 0)
        return take_state(d, pull, task, err);
    if (strcmp(step, "file") == 0)
        return take_file(d, pull, text, size, err);
    json_t *part = json_object_get(task, "exportFileFromOffset");
    long long end = atoll(collector_text_of(json_object_get(json_object_get(part, "offsets"), "end")));
    json_object_set_new(pull, "next", json_integer(end + 1));
    if (end < json_integer_value(json_object_get(pull, "offset")))
        return collector_deal_unread("next part of the export", err);
    return take_value(pull, "file", json_object_get(part, "file"), "file", err);
}

static int answer(struct collector_deal *d, unsigned status, const char *text, size_t size, const json_t *json,
                  struct rlhf_error *err)
{
    const json_t *data = json_object_get(json, "data"), *errors = json_object_get(json, "errors");
    const char *why = collector_text_of(json_object_get(json_array_get(errors, 0), "message"));

    (void)status;
    if (json_array_size(errors) > 0)
        return rlhf_fail(err, RLHF_AGAIN, "%.150s", *why ? why : "GraphQL errors without a message");
    if (d->job == COLLECTOR_PUSH)
        return take_push(d, data, err);
    if (d->job == COLLECTOR_PULL)
        return take_pull(d, data, text, size, err);
    if (!*collector_text_of(json_object_get(json_object_get(data, "createWebhook"), "id")))
        return collector_deal_unread("webhook", err);
    json_object_set_new(d->memory, "hook", json_true()); /* a second one would only repeat what the first says */
    d->done = true;
    return 0;
}

const struct collector_server collector_labelbox_server = { .url = "https://api.labelbox.com",
                                                            .batch = 1000,
                                                            .incremental = true,
                                                            .idempotent = true,
                                                            .hooks = true,
                                                            .ask = ask,
                                                            .answer = answer };
