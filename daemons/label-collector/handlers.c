/* handlers.c - the conversations "labels" (with the learner) and "control" (with rlhfctl). */
#include <stdlib.h>
#include <string.h>

#include "collector.h"
#include "net/checks.h"
#include "proto/control.pb-c.h"
#include "proto/labels.pb-c.h"
#include "sync.h"
#include "telemetry/log.h"

enum {
    MAX_SUBMIT = 64 << 20,    /* bytes of TasksSubmit */
    MAX_PULL = 1000,          /* comparisons in one answer ... */
    MAX_PULL_BYTES = 4 << 20, /* ... and bytes of their text */
    MAX_WEIGHTS = 1000,       /* labelers in one answer */
    MAX_PEERS_SHOWN = 16,
};

/* ---- labels ------------------------------------------------------------------------------------ */

static int take_task(struct collector *c, const Rlhf__V1__Task *from, uint32_t count[2],
                     struct rlhf_error *err)
{
    struct collector_task t = { .id = from->id, .round = from->round, .content = { .prompt = from->prompt } };
    struct collector_receipt receipt;

    if (from->n_completions > COLLECTOR_MAX_COMPLETIONS)
        return rlhf_fail(err, RLHF_REJECT, "%zu completions, 2 to %d are allowed", from->n_completions,
                         COLLECTOR_MAX_COMPLETIONS);
    for (size_t k = 0; k < from->n_completions; ++k)
        t.content.completion[t.content.count++] = from->completions[k];
    if (collector_task_check(&t, err) < 0 || collector_store_put_task(c->store, &t, &receipt, err) < 0)
        return -1;
    ++count[receipt.outcome == COLLECTOR_KNOWN];
    return 0;
}

/* All of them or none. */
static int take_tasks(struct collector *c, const Rlhf__V1__TasksSubmit *body, uint32_t count[2],
                      struct rlhf_error *err)
{
    if (collector_store_begin(c->store, err) < 0)
        return -1;
    for (size_t i = 0; i < body->n_tasks; ++i) {
        if (take_task(c, body->tasks[i], count, err) < 0) {
            collector_store_rollback(c->store);
            return rlhf_fail_prefix(err, "task %zu of %zu", i + 1, body->n_tasks);
        }
    }
    return collector_store_commit(c->store, err);
}

static int on_tasks(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m,
                    struct rlhf_error *err)
{
    struct collector *c = machine;
    Rlhf__V1__TasksStored stored = RLHF__V1__TASKS_STORED__INIT;
    uint32_t count[2] = { 0 };

    if (c->draining)
        return rlhf_fail(err, RLHF_AGAIN, "the label-collector is about to stop: send again when it is back");
    if (take_tasks(c, (const Rlhf__V1__TasksSubmit *)m->body, count, err) < 0) {
        if (err->code != RLHF_REJECT)
            collector_wrote(c, err);
        return -1;
    }
    collector_wrote(c, NULL);
    stored.stored = count[0];
    stored.known = count[1];
    return rlhf_node_reply(c->node, peer, m, RLHF__V1__MESSAGE_TYPE__TASKS_STORED, &stored.base, err);
}

/* Rows as they leave the store, copied: the answer is packed after the last. */
struct answer {
    Rlhf__V1__Comparison *items, **list;
    Rlhf__V1__LabelerWeight *weights, **weight_list;
    size_t count, weight_count, bytes;
    uint64_t seen; /* sequence of the last row looked at */
    size_t rows;
    bool cut;    /* by its size */
    bool failed; /* by lack of memory */
};

static char *copy(struct answer *a, const char *text)
{
    char *out = strdup(text ? text : "");
    a->failed = a->failed || !out;
    return out;
}

static bool add_comparison(void *ctx, const struct collector_row *row)
{
    struct answer *a = ctx;
    const struct collector_label *l = &row->label;
    size_t bytes = strlen(l->content.prompt);

    a->seen = row->sequence;
    a->rows++;
    if (l->rank_count < 2) /* ratings and demonstrations are no comparisons */
        return true;
    for (size_t k = 0; k < l->content.count; ++k)
        bytes += strlen(l->content.completion[k]);
    if (a->count > 0 && a->bytes + bytes > MAX_PULL_BYTES) {
        a->seen = a->items[a->count - 1].sequence;
        a->cut = true;
        return false;
    }
    a->bytes += bytes;
    Rlhf__V1__Comparison *to = &a->items[a->count];
    rlhf__v1__comparison__init(to);
    a->list[a->count++] = to;
    to->sequence = row->sequence;
    to->revision = row->revision;
    to->id = copy(a, l->id);
    to->task = copy(a, l->task);
    to->prompt = copy(a, l->content.prompt);
    to->source = copy(a, l->source);
    to->labeler = copy(a, l->labeler);
    to->round = copy(a, l->round);
    to->excluded = copy(a, row->excluded);
    to->distrust = (float)(1 - row->weight);
    to->completions = calloc(l->content.count, sizeof(*to->completions));
    to->ranks = calloc(l->content.count, sizeof(*to->ranks));
    a->failed = a->failed || !to->completions || !to->ranks;
    for (size_t k = 0; !a->failed && k < l->content.count; ++k) {
        to->completions[to->n_completions++] = copy(a, l->content.completion[k]);
        to->ranks[to->n_ranks++] = l->rank[k];
    }
    return !a->failed;
}

static void add_weight(void *ctx, const struct collector_labeler *l)
{
    struct answer *a = ctx;
    Rlhf__V1__LabelerWeight *to = &a->weights[a->weight_count];

    rlhf__v1__labeler_weight__init(to);
    to->labeler = copy(a, l->name);
    to->distrust = (float)(1 - l->weight);
    a->weight_list[a->weight_count++] = to;
}

/* How far the round's labelers are believed now; those behind the one named. */
static int list_weights(struct collector *c, const Rlhf__V1__ComparisonsPull *body, struct answer *a, struct rlhf_error *err)
{
    const char *after = *body->labeler ? body->labeler : NULL;

    a->weights = calloc(MAX_WEIGHTS, sizeof(*a->weights));
    a->weight_list = calloc(MAX_WEIGHTS, sizeof(*a->weight_list));
    if (!a->weights || !a->weight_list)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    return collector_store_labelers(c->store, body->round, after, MAX_WEIGHTS, add_weight, a, err);
}

static void answer_free(struct answer *a)
{
    for (size_t i = 0; i < a->weight_count; ++i)
        free(a->weights[i].labeler);
    free(a->weights);
    free(a->weight_list);
    for (size_t i = 0; i < a->count; ++i) {
        Rlhf__V1__Comparison *r = &a->items[i];
        for (size_t k = 0; k < r->n_completions; ++k)
            free(r->completions[k]);
        free(r->completions);
        free(r->ranks);
        free(r->id);
        free(r->task);
        free(r->prompt);
        free(r->source);
        free(r->labeler);
        free(r->round);
        free(r->excluded);
    }
    free(a->items);
    free(a->list);
}

/* What stands behind the cursor, and the weights where nothing more does; out borrows from a. */
static int list_answer(struct collector *c, const Rlhf__V1__ComparisonsPull *body, size_t limit, struct answer *a,
                       Rlhf__V1__Comparisons *out, struct rlhf_error *err)
{
    struct collector_range range = { .round = body->round, .cursor = body->cursor, .last = UINT64_MAX, .limit = limit };
    struct collector_counts counts;

    a->items = calloc(limit, sizeof(*a->items));
    a->list = calloc(limit, sizeof(*a->list));
    if (!a->items || !a->list)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    if (collector_store_list(c->store, &range, add_comparison, a, err) < 0
        || collector_store_counts(c->store, body->round, &counts, err) < 0)
        return -1;
    bool end = !a->cut && a->rows < limit; /* nothing of this round is left behind the cursor */
    uint64_t seen = a->rows ? a->seen : body->cursor;
    if (end && body->weights && list_weights(c, body, a, err) < 0)
        return -1;
    out->comparisons = a->list;
    out->n_comparisons = a->count;
    out->weights = a->weight_list;
    out->n_weights = a->weight_count;
    out->cursor = end && counts.sequence > seen ? counts.sequence : seen;
    out->open_tasks = (uint32_t)counts.open;
    out->total = (uint32_t)counts.labels;
    return a->failed ? rlhf_fail(err, RLHF_FULL, "out of memory") : 0;
}

static int on_pull(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m,
                   struct rlhf_error *err)
{
    struct collector *c = machine;
    const Rlhf__V1__ComparisonsPull *body = (const Rlhf__V1__ComparisonsPull *)m->body;
    Rlhf__V1__Comparisons out = RLHF__V1__COMPARISONS__INIT;
    size_t limit = body->limit < MAX_PULL ? body->limit : MAX_PULL;
    struct answer a = { .count = 0 };
    int rc = list_answer(c, body, limit, &a, &out, err);

    if (rc == 0)
        rc = rlhf_node_reply(c->node, peer, m, RLHF__V1__MESSAGE_TYPE__COMPARISONS, &out.base, err);
    else if (err->code == RLHF_CORRUPT || err->code == RLHF_FATAL)
        collector_wrote(c, err);
    answer_free(&a);
    return rc;
}

/* ---- control ----------------------------------------------------------------------------------- */

struct gauges {
    Rlhf__V1__Gauge items[16], *list[16];
    size_t count;
};

static void gauge(struct gauges *g, const char *name, uint64_t value)
{
    Rlhf__V1__Gauge *item = &g->items[g->count];

    rlhf__v1__gauge__init(item);
    item->name = (char *)(uintptr_t)name;
    item->value = (double)value;
    item->unit = (char *)(uintptr_t) "";
    g->list[g->count++] = item;
}

static int send_status(struct collector *c, struct rlhf_peer *peer, const struct rlhf_message *m,
                       struct rlhf_error *err)
{
    Rlhf__V1__Status out = RLHF__V1__STATUS__INIT;
    Rlhf__V1__PeerStatus peers[MAX_PEERS_SHOWN], *list[MAX_PEERS_SHOWN];
    struct gauges g = { .count = 0 };
    struct collector_counts n = { 0 };

    if (collector_store_counts(c->store, "", &n, err) < 0)
        return -1;
    gauge(&g, "tasks", n.tasks);
    gauge(&g, "open_tasks", n.open);
    gauge(&g, "labels", n.labels);
    gauge(&g, "revisions", n.revisions);
    gauge(&g, "skips", n.skips);
    gauge(&g, "http_requests", c->counters.requests);
    gauge(&g, "http_refused", c->counters.refused);
    gauge(&g, "http_failed", c->counters.failed);
    gauge(&g, "commits", c->counters.groups);
    gauge(&g, "writes", c->counters.grouped);
    for (struct rlhf_peer *p = rlhf_node_peers(c->node, NULL); p && out.n_peers < MAX_PEERS_SHOWN;
         p = rlhf_node_peers(c->node, p)) {
        Rlhf__V1__PeerStatus *to = &peers[out.n_peers];
        rlhf__v1__peer_status__init(to);
        to->role = p->role;
        to->software = (char *)(uintptr_t)p->software;
        list[out.n_peers++] = to;
    }
    out.daemon = (char *)(uintptr_t) "label-collector";
    out.version = (char *)(uintptr_t)RLHF_VERSION;
    out.run = c->config->run;
    out.uptime_ms = (uint64_t)(rlhf_now(c->env->clock) - c->started_us) / 1000;
    out.state = (char *)(uintptr_t)(c->draining ? "draining" : "running");
    const char *vendor = c->sync ? collector_sync_trouble(c->sync) : "";
    out.error = c->trouble.code == RLHF_OK ? (char *)(uintptr_t)vendor : c->trouble.text;
    out.gauges = g.list;
    out.n_gauges = g.count;
    out.peers = list;
    return rlhf_node_reply(c->node, peer, m, RLHF__V1__MESSAGE_TYPE__STATUS, &out.base, err);
}

static int on_status(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m,
                     struct rlhf_error *err)
{
    return send_status(machine, peer, m, err);
}

static int on_drain(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m,
                    struct rlhf_error *err)
{
    struct collector *c = machine;
    const Rlhf__V1__Drain *body = (const Rlhf__V1__Drain *)m->body;

    rlhf_log(RLHF_LEVEL_INFO, "drain reason=\"%s\"", body->reason);
    c->draining = true;
    int rc = send_status(c, peer, m, err);
    if (c->drain)
        c->drain(c->hook_ctx);
    return rc;
}

#define LEARNER RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LEARNER)
#define CONTROL RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_CONTROL)

const struct rlhf_handler collector_handlers[] = {
    /* type, schema, who may send it, bytes of the body, blobs and their bytes, check, handler */
    { RLHF__V1__MESSAGE_TYPE__TASKS_SUBMIT, &rlhf__v1__tasks_submit__descriptor, LEARNER, MAX_SUBMIT, 0, 0,
      rlhf_check_tasks_submit, on_tasks },
    { RLHF__V1__MESSAGE_TYPE__COMPARISONS_PULL, &rlhf__v1__comparisons_pull__descriptor, LEARNER, 1u << 10, 0,
      0, rlhf_check_comparisons_pull, on_pull },
    { RLHF__V1__MESSAGE_TYPE__STATUS_REQUEST, &rlhf__v1__status_request__descriptor, CONTROL, 1u << 6, 0, 0,
      NULL, on_status },
    { RLHF__V1__MESSAGE_TYPE__DRAIN, &rlhf__v1__drain__descriptor, CONTROL, 1u << 12, 0, 0, rlhf_check_drain,
      on_drain },
    { 0 },
};
