/* api_labels.c - labels in, and the list of what is stored. */
#include "api_parts.h"

#include <stdlib.h>
#include <string.h>

#include "export.h"

enum {
    MAX_ROWS = 1000,              /* comparisons listed at once */
    MAX_ANSWER = 4 * 1024 * 1024, /* bytes of text in such a list */
};

/* What every label of a request has in common. */
struct submission {
    const char *task; /* from the path; NULL = the body says */
    const char *idempotency_key;
    const struct collector_identity *who;
    bool ranking, single;
};

/* Fills what the submitter left out. name has room for a derived id. */
static int complete_label(struct collector_label *l, const struct submission *s, size_t index, char *name,
                          size_t size, struct rlhf_error *err)
{
    if (s->task && l->task && strcmp(s->task, l->task) != 0)
        return rlhf_fail(err, RLHF_REJECT, "task differs from the one in the path");
    l->task = s->task ? s->task : l->task;
    if (collector_act_as(s->who, &l->labeler, &l->source, err) < 0)
        return -1;
    bool own = s->who->role == COLLECTOR_LABELER; /* nobody may take an id that is another labeler's */
    const char *key = own ? NULL : s->idempotency_key;
    if (l->id && !own)
        return 0;
    if (key && s->single)
        snprintf(name, size, "%s", key);
    else if (key)
        snprintf(name, size, "%s/%zu", key, index);
    else if (l->task)
        snprintf(name, size, "%s@%s", l->labeler ? l->labeler : "", l->task);
    else
        return rlhf_fail(err, RLHF_REJECT, "id is missing: a label needs one, or the header Idempotency-Key");
    if (l->id && strcmp(l->id, name) != 0)
        return rlhf_fail(err, RLHF_DENIED, "id must be %.150s with a labeler's token; leave it out", name);
    l->id = name;
    return 0;
}

static int put_label(struct collector *c, const json_t *element, const struct submission *s, size_t index,
                     json_t *results, struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct collector_label l = { 0 };
    char name[2 * COLLECTOR_MAX_NAME + 64];
    int rc = -1;

    *receipt = (struct collector_receipt){ .outcome = COLLECTOR_INVALID };
    if (collector_label_parse(&l, element, s->ranking, err) == 0
        && complete_label(&l, s, index, name, sizeof(name), err) == 0 && collector_label_check(&l, err) == 0)
        rc = collector_store_put_label(c->store, &l, receipt, err);
    if (rc == 0)
        json_array_append_new(results, json_pack("{s:s, s:s, s:I, s:I}", "id", l.id, "status",
                                                 collector_outcome_name(receipt->outcome), "sequence",
                                                 (json_int_t)receipt->sequence, "revision",
                                                 (json_int_t)receipt->revision));
    collector_label_free(&l);
    return rc;
}

static void put_labels(struct collector *c, const struct collector_request *q, struct submission *s,
                       struct collector_response *r)
{
    struct collector_complaints complaints = { .count = 0 };
    struct collector_receipt receipt;
    json_t *list, *element, *results;
    size_t count[3] = { 0 }; /* by outcome: stored, known, revised */
    struct collector_page page;
    uint64_t cursor = 0;
    struct rlhf_error err;
    size_t i;

    if (collector_read_elements(q, &list, &s->single, r) < 0)
        return;
    s->idempotency_key = q->idempotency_key;
    s->who = &q->who;
    results = json_array();
    json_array_foreach (list, i, element) {
        if (put_label(c, element, s, i, results, &receipt, &err) < 0) {
            collector_complain(&complaints, i, receipt.outcome, &err);
            if (!collector_is_refusal(&err))
                break; /* the others would fail as well */
            continue;
        }
        ++count[receipt.outcome];
        cursor = receipt.sequence > cursor ? receipt.sequence : cursor;
    }
    if (complaints.count) {
        json_decref(results);
        collector_respond_complaints(r, &complaints, s->single);
    } else if (s->task) {
        json_t *only = json_incref(json_array_get(results, 0));
        json_decref(results);
        collector_respond(r, 200, only);
    } else {
        collector_respond(r, 200,
                json_pack("{s:I, s:I, s:I, s:s, s:o}", "stored", (json_int_t)count[COLLECTOR_STORED], "known",
                          (json_int_t)count[COLLECTOR_KNOWN], "revised", (json_int_t)count[COLLECTOR_REVISED],
                          "cursor", collector_comparisons_cursor(&page, cursor), "results", results));
    }
    json_decref(list);
}

void collector_post_comparisons(struct collector *c, const struct collector_request *q,
                             struct collector_response *r)
{
    put_labels(c, q, &(struct submission){ .ranking = false }, r);
}

void collector_post_rankings(struct collector *c, const struct collector_request *q,
                          struct collector_response *r)
{
    put_labels(c, q, &(struct submission){ .ranking = true }, r);
}

void collector_post_label(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    char *task = collector_path_id(q->path, "/api/v1/tasks/", "/label");

    if (task)
        put_labels(c, q, &(struct submission){ .task = task }, r);
    else
        collector_respond(r, 503, NULL);
    free(task);
}

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
