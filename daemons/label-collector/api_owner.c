/* api_owner.c - what the owner looks at: the queue, what was decided, how fast labels come; and the settings of pages. */
#include <string.h>

#include "api_parts.h"
#include "export.h"

enum { MOST_TASKS = 1000, MOST_DEEDS = 1000, MOST_SPANS = 400 };

static void add_task(void *ctx, const struct collector_listed *t)
{
    char time[32];

    collector_time_text(t->created_us, time);
    collector_page_add(ctx,
                       json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:s}", "id", t->id, "round", t->round, "kind", t->kind,
                                 "labels", (json_int_t)t->labels, "missing", (json_int_t)t->missing, "gold", t->gold,
                                 "created_at", time),
                       (uint64_t)t->number, NULL);
}

void collector_get_tasks(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const char *round = collector_query_name(q, "round", r);
    struct collector_page page;
    struct rlhf_error err;
    uint64_t open;

    if (!round || collector_query_number(q, "open", 0, 1, &open, r) < 0
        || collector_query_page(q, COLLECTOR_LIST_TASKS, false, MOST_TASKS, &page, r) < 0)
        return;
    if (collector_store_tasks(c->store, (int64_t)page.number, round, open, page.limit, add_task, &page, &err) == 0) {
        collector_page_respond(&page, "tasks", r);
        return;
    }
    collector_page_free(&page);
    collector_respond_failure(r, &err);
}

static void add_deed(void *ctx, const struct collector_deed *d)
{
    char time[32];

    collector_time_text(d->at_us, time);
    collector_page_add(ctx,
                       json_pack("{s:s, s:s, s:s, s:s, s:s}", "at", time, "who", d->who, "what", d->what, "of_whom",
                                 d->of_whom, "why", d->why),
                       (uint64_t)d->number, NULL);
}

void collector_get_audit(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_page page;
    struct rlhf_error err;

    if (collector_query_page(q, COLLECTOR_LIST_AUDIT, false, MOST_DEEDS, &page, r) < 0)
        return;
    if (collector_store_deeds(c->store, page.begun ? (int64_t)page.number : INT64_MAX, page.limit, add_deed, &page, &err)
        == 0) {
        collector_page_respond(&page, "audit", r);
        return;
    }
    collector_page_free(&page);
    collector_respond_failure(r, &err);
}

void collector_get_throughput(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const char *by = q->query(q->ctx, "by");
    bool day = by && strcmp(by, "day") == 0;
    int64_t span = (day ? 24 : 1) * INT64_C(3600000000), now = c->env->clock->wall_us(c->env->clock);
    uint64_t count, labels[MOST_SPANS];
    struct rlhf_error err;
    char time[32];

    if (by && !day && strcmp(by, "hour") != 0) {
        collector_respond_error(r, 400, "bad_request", "query parameter by must be hour or day");
        return;
    }
    if (collector_query_number(q, "count", 48, MOST_SPANS, &count, r) < 0)
        return;
    int64_t from = (now / span + 1 - (int64_t)count) * span; /* the last one is the present hour or day, in UTC */
    if (collector_store_arrivals(c->store, from, span, count, labels, &err) < 0) {
        collector_respond_failure(r, &err);
        return;
    }
    json_t *spans = json_array();
    for (size_t i = 0; i < count; ++i) {
        collector_time_text(from + (int64_t)i * span, time);
        json_array_append_new(spans, json_pack("{s:s, s:I}", "from", time, "labels", (json_int_t)labels[i]));
    }
    collector_respond(r, 200, json_pack("{s:s, s:o}", "by", day ? "day" : "hour", "spans", spans));
}

void collector_get_settings(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const struct collector_instructions *i = &c->config->instructions;

    (void)q;
    collector_respond(r, 200,
                      json_pack("{s:s, s:I, s:{s:s?, s:s?, s:s?, s:s?, s:s?}}", "currency", c->config->currency,
                                "labels_per_task", (json_int_t)c->config->labels_per_task, "instructions", "ranking",
                                i->ranking, "likert", i->likert, "toxicity", i->toxicity, "flags", i->flags,
                                "demonstration", i->demonstration));
}
