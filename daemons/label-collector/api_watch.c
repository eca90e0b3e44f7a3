/* api_watch.c - how it goes, and the page. */
#include "api_parts.h"

#include "page.h"
#include "export.h"

enum { MOST_ROUNDS = 1000, MOST_LABELERS = 1000 };

static void add_round(void *ctx, const char *round, const struct collector_counts *n)
{
    collector_page_add(ctx,
                       json_pack("{s:s, s:I, s:I, s:I}", "round", round, "tasks", (json_int_t)n->tasks, "open",
                                 (json_int_t)n->open, "labels", (json_int_t)n->labels),
                       0, round);
}

void collector_get_rounds(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_page page;
    struct rlhf_error err;

    if (collector_query_page(q, COLLECTOR_LIST_ROUNDS, true, MOST_ROUNDS, &page, r) < 0)
        return;
    if (collector_store_rounds(c->store, collector_page_name(&page), page.limit, add_round, &page, &err) == 0) {
        collector_page_respond(&page, "rounds", r);
        return;
    }
    collector_page_free(&page);
    collector_respond_failure(r, &err);
}

static void add_labeler(void *ctx, const struct collector_labeler *l)
{
    char time[32];

    collector_time_text(l->last_us, time);
    collector_page_add(ctx,
                       json_pack("{s:s, s:I, s:I, s:f, s:s}", "labeler", l->name, "labels", (json_int_t)l->labels,
                                 "skips", (json_int_t)l->skips, "seconds", l->seconds, "last_at", time),
                       0, l->name);
}

void collector_get_labelers(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const char *round = collector_query_name(q, "round", r);
    struct collector_page page;
    struct rlhf_error err;

    if (!round || collector_query_page(q, COLLECTOR_LIST_LABELERS, true, MOST_LABELERS, &page, r) < 0)
        return;
    if (collector_store_labelers(c->store, round, collector_page_name(&page), page.limit, add_labeler, &page, &err) == 0) {
        collector_page_respond(&page, "labelers", r);
        return;
    }
    collector_page_free(&page);
    collector_respond_failure(r, &err);
}

void collector_get_stats(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const char *round = collector_query_name(q, "round", r);
    struct collector_page page;
    struct collector_counts n;
    struct rlhf_error err;

    if (!round)
        return;
    if (collector_store_counts(c->store, round, &n, &err) < 0) {
        collector_respond_failure(r, &err);
        return;
    }
    collector_respond(r, 200,
                      json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "tasks", (json_int_t)n.tasks, "open",
                                (json_int_t)n.open, "labels", (json_int_t)n.labels, "revisions",
                                (json_int_t)n.revisions, "skips", (json_int_t)n.skips, "cursor",
                                collector_comparisons_cursor(&page, n.sequence)));
}

void collector_get_health(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_counts n;
    struct rlhf_error err;

    (void)q;
    if (c->trouble.code == RLHF_AGAIN && collector_store_counts(c->store, "", &n, &err) == 0)
        collector_wrote(c, NULL); /* it is back, though nobody has written since */
    if (c->trouble.code == RLHF_OK)
        collector_respond(r, 200, json_pack("{s:s}", "status", "ok"));
    else
        collector_respond_error(r, 503, collector_verdict_of(COLLECTOR_FAILED, &c->trouble).code, "%s",
                                c->trouble.text);
}

void collector_get_page(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const struct collector_page_file *file = collector_page_find(q->path);

    (void)c;
    r->status = 200;
    r->content_type = file->content_type;
    r->fixed = file->data;
    r->fixed_size = file->size;
}
