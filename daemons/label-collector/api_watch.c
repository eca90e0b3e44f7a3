/* api_watch.c - how it goes, and the page. */
#include "api_parts.h"

#include "page.h"
#include "transfer.h"

enum { MAX_LABELERS = 100 };

static void add_round(void *ctx, const char *round, const struct collector_counts *n)
{
    json_array_append_new(ctx,
                          json_pack("{s:s, s:I, s:I, s:I}", "round", round, "tasks", (json_int_t)n->tasks,
                                    "open", (json_int_t)n->open, "labels", (json_int_t)n->labels));
}

static void add_labeler(void *ctx, const struct collector_labeler *l)
{
    char time[32];

    collector_time_text(l->last_us, time);
    json_array_append_new(ctx, json_pack("{s:s, s:I, s:I, s:f, s:s}", "labeler", l->name, "labels",
                                         (json_int_t)l->labels, "skips", (json_int_t)l->skips, "seconds",
                                         l->seconds, "last_at", time));
}

void collector_get_stats(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const char *round = collector_query_name(q, "round", r);
    json_t *rounds, *labelers;
    struct collector_counts n;
    struct rlhf_error err;

    if (!round)
        return;
    rounds = json_array();
    labelers = json_array();
    if (collector_store_counts(c->store, round, &n, &err) < 0
        || collector_store_rounds(c->store, add_round, rounds, &err) < 0
        || collector_store_labelers(c->store, round, MAX_LABELERS, add_labeler, labelers, &err) < 0) {
        json_decref(rounds);
        json_decref(labelers);
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        return;
    }
    collector_respond(r, 200,
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "tasks", (json_int_t)n.tasks, "open",
                      (json_int_t)n.open, "labels", (json_int_t)n.labels, "revisions",
                      (json_int_t)n.revisions, "skips", (json_int_t)n.skips, "cursor", (json_int_t)n.sequence,
                      "rounds", rounds, "labelers", labelers));
}

void collector_get_health(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    (void)q;
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
