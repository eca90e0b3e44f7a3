/* api_tasks.c - tasks in, tasks handed out, tasks passed on. */
#include "api_parts.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_OFFERS = 500,             /* tasks handed out at once */
    MAX_ANSWER = 4 * 1024 * 1024, /* bytes of text in such a list */
};

void collector_post_tasks(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_complaints complaints = { .count = 0 };
    size_t count[2] = { 0 }; /* stored, known */
    json_t *list, *element;
    bool single;
    size_t i;

    if (collector_read_elements(q, &list, &single, r) < 0)
        return;
    json_array_foreach (list, i, element) {
        struct collector_receipt receipt = { .outcome = COLLECTOR_INVALID };
        struct collector_task task = { 0 };
        struct rlhf_error err;
        bool stored = collector_task_parse(&task, element, &err) == 0 && collector_task_check(&task, &err) == 0
                      && collector_store_put_task(c->store, &task, &receipt, &err) == 0;
        collector_task_free(&task);
        if (stored) {
            ++count[receipt.outcome == COLLECTOR_KNOWN];
            continue;
        }
        collector_complain(&complaints, i, receipt.outcome, &err);
        if (!collector_is_refusal(&err))
            break; /* the others would fail as well */
    }
    if (complaints.count)
        collector_respond_complaints(r, &complaints, single);
    else
        collector_respond(r, 200,
                json_pack("{s:I, s:I}", "stored", (json_int_t)count[0], "known", (json_int_t)count[1]));
    json_decref(list);
}

struct offers {
    json_t *list;
    size_t bytes;
    int64_t reservation_seconds;
};

static bool add_offer(void *ctx, const struct collector_offer *o)
{
    struct offers *offers = ctx;
    const struct collector_content *content = &o->task.content;
    json_t *completions = json_array(), *presented = json_array();

    offers->bytes += strlen(content->prompt);
    for (size_t k = 0; k < content->count; ++k) {
        offers->bytes += strlen(content->completion[k]);
        json_array_append_new(completions, json_string(content->completion[k]));
        json_array_append_new(presented, json_integer(o->presented[k]));
    }
    if (offers->bytes > MAX_ANSWER && json_array_size(offers->list) > 0) {
        json_decref(completions);
        json_decref(presented);
        return false;
    }
    return json_array_append_new(offers->list,
                                 json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:I}", "id", o->task.id, "round",
                                           o->task.round, "kind", collector_kind_name(o->task.kind), "prompt", content->prompt, "completions",
                                           completions, "presented", presented, "reserved_seconds",
                                           (json_int_t)offers->reservation_seconds))
           == 0;
}

void collector_get_next(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct offers offers = { .reservation_seconds = c->config->reservation_seconds };
    struct collector_counts counts;
    struct rlhf_error err;
    uint64_t count, mine;
    const char *labeler = collector_query_name(q, "labeler", r);
    const char *round = labeler ? collector_query_name(q, "round", r) : NULL;

    if (!round || collector_query_number(q, "count", 1, MAX_OFFERS, &count, r) < 0)
        return;
    const char *as = *labeler ? labeler : NULL, *source = NULL;
    if (collector_act_as(&q->who, &as, &source, &err) < 0) {
        collector_respond_failure(r, &err);
        return;
    }
    labeler = as ? as : "";
    if (!*labeler) {
        collector_respond_error(r, 400, "bad_request", "query parameter labeler is missing: who asks?");
        return;
    }
    offers.list = json_array();
    if (collector_store_next(c->store, labeler, round, count, add_offer, &offers, &err) < 0
        || collector_store_counts(c->store, round, &counts, &err) < 0
        || collector_store_mine(c->store, labeler, round, &mine, &err) < 0) {
        json_decref(offers.list);
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        return;
    }
    collector_respond(r, 200,
            json_pack("{s:o, s:{s:I, s:I, s:I, s:I}}", "tasks", offers.list, "progress", "tasks",
                      (json_int_t)counts.tasks, "open", (json_int_t)counts.open, "labels",
                      (json_int_t)counts.labels, "mine", (json_int_t)mine));
}

void collector_post_skip(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_receipt receipt = { .outcome = COLLECTOR_INVALID };
    struct rlhf_error err = { .code = RLHF_OK };
    json_t *list, *element;
    bool single;

    if (collector_read_elements(q, &list, &single, r) < 0)
        return;
    char *task = collector_path_id(q->path, "/api/v1/tasks/", "/skip");
    element = json_array_get(list, 0);
    const char *labeler = json_string_value(json_object_get(element, "labeler"));
    const char *reason = json_string_value(json_object_get(element, "reason")), *source = NULL;
    if (!single || !json_is_object(element))
        rlhf_fail(&err, RLHF_REJECT, "a skip must be one object");
    else if (!task)
        rlhf_fail(&err, RLHF_FULL, "out of memory");
    else if (collector_name_check("task", task, false, &err) == 0
             && collector_act_as(&q->who, &labeler, &source, &err) == 0
             && collector_name_check("labeler", labeler, false, &err) == 0
             && collector_name_check("reason", reason ? reason : "", true, &err) == 0)
        collector_store_put_skip(c->store, task, labeler, reason ? reason : "", &receipt, &err);
    if (err.code == RLHF_OK)
        collector_respond(r, 200, json_pack("{s:s}", "status", collector_outcome_name(receipt.outcome)));
    else
        collector_respond_verdict(r, receipt.outcome, &err);
    free(task);
    json_decref(list);
}
