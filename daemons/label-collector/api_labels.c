/* api_labels.c - labels in, and the list of what is stored. */
#include "api_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "export.h"

enum {
    MAX_ROWS = 1000,              /* comparisons listed at once */
    MAX_ANSWER = 4 * 1024 * 1024, /* bytes of text in such a list */
};

/* ---- what a body says, before the store is asked ---------------------------------------------------- */

/* A label of a request, or why it is none. */
struct element {
    struct collector_label label; /* borrows from the document, the request, and this */
    struct collector_made made;
    char name[2 * COLLECTOR_MAX_NAME + 64]; /* room for a derived id */
    struct rlhf_error err;                  /* RLHF_OK: the label is good */
};

struct collector_labels {
    json_t *list; /* the document */
    bool single;
    char *task; /* from the path; NULL = the body says */
    size_t count;
    struct element elements[];
};

void collector_labels_free(struct collector_labels *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; ++i) {
        collector_label_free(&l->elements[i].label);
        collector_made_free(&l->elements[i].made);
    }
    json_decref(l->list);
    free(l->task);
    free(l);
}

/* Fills what the submitter left out. */
static int complete_label(struct element *e, const struct collector_labels *s, const struct collector_request *q, size_t index,
                          struct rlhf_error *err)
{
    struct collector_label *l = &e->label;

    if (s->task && l->task && strcmp(s->task, l->task) != 0)
        return rlhf_fail(err, RLHF_REJECT, "task differs from the one in the path");
    l->task = s->task ? s->task : l->task;
    if (collector_act_as(&q->who, &l->labeler, &l->source, err) < 0)
        return -1;
    bool own = q->who.role == COLLECTOR_LABELER; /* nobody may take an id that is another labeler's */
    const char *key = own ? NULL : q->idempotency_key;
    if (l->id && !own)
        return 0;
    if (key && s->single)
        snprintf(e->name, sizeof(e->name), "%s", key);
    else if (key)
        snprintf(e->name, sizeof(e->name), "%s/%zu", key, index);
    else if (l->task)
        snprintf(e->name, sizeof(e->name), "%s@%s", l->labeler ? l->labeler : "", l->task);
    else
        return rlhf_fail(err, RLHF_REJECT, "id is missing: a label needs one, or the header Idempotency-Key");
    if (l->id && strcmp(l->id, e->name) != 0)
        return rlhf_fail(err, RLHF_DENIED, "id must be %.150s with a labeler's token; leave it out", e->name);
    l->id = e->name;
    return 0;
}

/* NULL: the answer says why not. */
static struct collector_labels *read_labels(const struct collector_request *q, bool ranking, bool of_task,
                                            struct collector_response *r)
{
    json_t *list, *value;
    bool single;
    size_t i;

    if (collector_read_elements(q, &list, &single, r) < 0)
        return NULL;
    size_t count = json_array_size(list);
    struct collector_labels *labels = calloc(1, sizeof(*labels) + count * sizeof(labels->elements[0]));
    char *task = labels && of_task ? collector_path_id(q->path, "/api/v1/tasks/", "/label") : NULL;
    if (!labels || (of_task && !task)) {
        json_decref(list);
        free(labels);
        collector_respond(r, 503, NULL);
        return NULL;
    }
    *labels = (struct collector_labels){ .list = list, .single = single, .task = task, .count = count };
    json_array_foreach (list, i, value) {
        struct element *e = &labels->elements[i];
        struct collector_label *l = &e->label;
        if (collector_label_parse(l, value, ranking, &e->err) == 0 && complete_label(e, labels, q, i, &e->err) == 0
            && collector_label_check(l, &e->err) == 0
            && (l->content.count == 0 || collector_content_make(&l->content, &e->made, &e->err) == 0))
            e->err.code = RLHF_OK;
    }
    return labels;
}

struct collector_labels *collector_labels_prepare(const struct collector_route *route, const struct collector_request *q)
{
    struct collector_response ignored = { 0 }; /* the handler will find the same, and say it */
    bool ranking = route->handle == collector_post_rankings, of_task = route->handle == collector_post_label;

    if (!ranking && !of_task && route->handle != collector_post_comparisons)
        return NULL;
    struct collector_labels *labels = read_labels(q, ranking, of_task, &ignored);
    collector_response_free(&ignored);
    return labels;
}

/* ---- labels in ------------------------------------------------------------------------------------- */

/* One of the results as JSON text: there may be thousands. The id has passed its check, and holds no control character. */
static int add_result(struct rlhf_bytes *to, const char *id, const struct collector_receipt *receipt)
{
    char name[2 * COLLECTOR_MAX_LABEL_ID + 1];
    size_t size = 0;

    for (; *id; name[size++] = *id++)
        if (*id == '"' || *id == '\\')
            name[size++] = '\\';
    return rlhf_bytes_printf(to, NULL,
                             "%s{\"id\":\"%.*s\",\"status\":\"%s\",\"sequence\":%" PRIu64 ",\"revision\":%" PRIu32 "}",
                             to->size ? "," : "", (int)size, name, collector_outcome_name(receipt->outcome),
                             receipt->sequence, receipt->revision);
}

/* All of them go into the store, or are complained of. */
struct putting {
    struct collector_complaints complaints;
    struct rlhf_bytes results;
    size_t count[3]; /* by outcome: stored, known, revised */
    uint64_t cursor;
    bool no_memory;
};

static void put_all(struct collector *c, const struct collector_labels *labels, struct putting *p)
{
    for (size_t i = 0; i < labels->count; ++i) {
        const struct element *e = &labels->elements[i];
        struct collector_receipt receipt = { .outcome = COLLECTOR_INVALID };
        struct rlhf_error err = e->err;
        if (err.code == RLHF_OK && collector_store_put_label(c->store, &e->label, &receipt, &err) == 0) {
            ++p->count[receipt.outcome];
            p->cursor = receipt.sequence > p->cursor ? receipt.sequence : p->cursor;
            p->no_memory = p->no_memory || add_result(&p->results, e->label.id, &receipt) < 0;
            continue;
        }
        collector_complain(&p->complaints, i, receipt.outcome, &err);
        if (!collector_is_refusal(&err))
            break; /* the others would fail as well */
    }
}

static void respond_results(const struct collector_labels *labels, struct putting *p, struct collector_response *r)
{
    struct collector_page page;
    int rc = -1;

    collector_response_free(r);
    r->status = 200;
    r->content_type = "application/json";
    if (p->no_memory)
        ;
    else if (labels->task)
        rc = rlhf_bytes_printf(&r->body, NULL, "%s\n", p->results.data);
    else
        rc = rlhf_bytes_printf(&r->body, NULL,
                               "{\"stored\":%zu,\"known\":%zu,\"revised\":%zu,\"cursor\":\"%s\",\"results\":[%s]}\n",
                               p->count[COLLECTOR_STORED], p->count[COLLECTOR_KNOWN], p->count[COLLECTOR_REVISED],
                               collector_comparisons_cursor(&page, p->cursor), p->results.data);
    if (rc < 0)
        collector_respond(r, 503, NULL);
}

static void put_labels(struct collector *c, const struct collector_request *q, bool ranking, bool of_task,
                       struct collector_response *r)
{
    struct collector_labels *own = q->labels ? NULL : read_labels(q, ranking, of_task, r);
    const struct collector_labels *labels = q->labels ? q->labels : own;
    struct putting p = { .cursor = 0 };

    if (!labels)
        return;
    put_all(c, labels, &p);
    if (p.complaints.count)
        collector_respond_complaints(r, &p.complaints, labels->single);
    else
        respond_results(labels, &p, r);
    rlhf_bytes_free(&p.results);
    collector_labels_free(own);
}

void collector_post_comparisons(struct collector *c, const struct collector_request *q,
                             struct collector_response *r)
{
    put_labels(c, q, false, false, r);
}

void collector_post_rankings(struct collector *c, const struct collector_request *q,
                          struct collector_response *r)
{
    put_labels(c, q, true, false, r);
}

void collector_post_label(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    put_labels(c, q, false, true, r);
}

/* ---- labels out ------------------------------------------------------------------------------------ */

struct listing {
    struct collector_page page;
    size_t bytes;
};

static bool add_row(void *ctx, const struct collector_row *row)
{
    struct listing *l = ctx;
    const struct collector_content *content = &row->label.content;

    l->bytes += strlen(content->prompt);
    for (size_t k = 0; k < content->count; ++k)
        l->bytes += strlen(content->completion[k]);
    if (l->bytes > MAX_ANSWER && json_array_size(l->page.items) > 0) {
        l->page.cut = true;
        return false;
    }
    collector_page_add(&l->page, collector_row_json(row), row->sequence, NULL);
    return !l->page.failed;
}

void collector_get_comparisons(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_range range = { .last = UINT64_MAX, .round = collector_query_name(q, "round", r) };
    struct listing l = { .bytes = 0 };
    struct rlhf_error err;

    if (!range.round || collector_query_page(q, COLLECTOR_LIST_COMPARISONS, false, MAX_ROWS, &l.page, r) < 0)
        return;
    range.cursor = l.page.number;
    range.limit = l.page.limit;
    if (collector_store_list(c->store, &range, add_row, &l, &err) == 0) {
        collector_page_respond(&l.page, "comparisons", r);
        return;
    }
    collector_page_free(&l.page);
    collector_respond_failure(r, &err);
}
