#include "api_parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "page.h"
#include "transfer.h"
#include "vendors.h"

enum {
    BODY_SMALL = 64 * 1024,
    BODY_LARGE = 8 * 1024 * 1024,
    BODY_IMPORT = 32 * 1024 * 1024,
    MAX_ELEMENTS = 10000,         /* of an array in one request */
    MAX_ERRORS = 100,             /* told one by one in an answer */
    MAX_OFFERS = 500,             /* tasks handed out at once */
    MAX_ROWS = 1000,              /* comparisons listed at once */
    MAX_ANSWER = 4 * 1024 * 1024, /* bytes of text in such a list */
    MAX_LABELERS = 100,
};

/* ---- answers ----------------------------------------------------------------------------------- */

void collector_response_free(struct collector_response *r)
{
    rlhf_bytes_free(&r->body);
    collector_export_free(r->export);
    *r = (struct collector_response){ 0 };
}

static int append(const char *data, size_t size, void *ctx)
{
    return rlhf_bytes_append(ctx, data, size, NULL);
}

/* Takes json; NULL means that memory ran out while it was made. */
void collector_respond(struct collector_response *r, unsigned status, json_t *json)
{
    static const char sorry[] =
        "{\"error\":{\"code\":\"memory\",\"message\":\"out of memory: send the same again later\"}}\n";

    collector_response_free(r);
    r->content_type = "application/json";
    r->status = status;
    if (!json || json_dump_callback(json, append, &r->body, JSON_COMPACT) < 0
        || append("\n", 1, &r->body) < 0) {
        rlhf_bytes_free(&r->body);
        r->status = 503;
        r->fixed = sorry;
        r->fixed_size = sizeof(sorry) - 1;
    }
    json_decref(json);
}

/* Messages may quote what was sent, but an answer is always UTF-8. */
static json_t *text_json(const char *text)
{
    return rlhf_utf8_valid(text, strlen(text)) ? json_string(text) : json_string("(not UTF-8)");
}

static json_t *error_json(const char *code, const char *message)
{
    return json_pack("{s:{s:s, s:o}}", "error", "code", code, "message", text_json(message));
}

void collector_respond_error(struct collector_response *r, unsigned status, const char *code, const char *fmt,
                             ...)
{
    char message[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    collector_respond(r, status, error_json(code, message));
}

/* How a refusal or failure is told. */
struct verdict {
    unsigned status;
    const char *code;
};

static struct verdict verdict_of(enum collector_outcome outcome, const struct rlhf_error *err)
{
    switch (err->code) {
    case RLHF_FULL:
        return (struct verdict){ 507, "disk_full" };
    case RLHF_AGAIN:
        return (struct verdict){ 503, "busy" };
    case RLHF_REJECT:
        break;
    default:
        return (struct verdict){ 500, "internal" };
    }
    return outcome == COLLECTOR_MISSING    ? (struct verdict){ 404, "not_found" }
           : outcome == COLLECTOR_CONFLICT ? (struct verdict){ 409, "conflict" }
                                           : (struct verdict){ 422, "invalid" };
}

void collector_respond_verdict(struct collector_response *r, enum collector_outcome outcome,
                            const struct rlhf_error *err)
{
    struct verdict v = verdict_of(outcome, err);

    collector_respond(r, v.status, error_json(v.code, err->text));
    if (v.status >= 500)
        r->failure = *err;
}

static const char *outcome_name(enum collector_outcome outcome)
{
    return outcome == COLLECTOR_STORED ? "stored" : outcome == COLLECTOR_REVISED ? "revised" : "known";
}

/* ---- requests ---------------------------------------------------------------------------------- */

/* A name from the query; "" where absent. NULL and the answer (400) when it is none. */
const char *collector_query_name(const struct collector_request *q, const char *key,
                              struct collector_response *r)
{
    struct rlhf_error err;
    const char *text = q->query(q->query_ctx, key);

    if (!text || collector_name_check(key, text, true, &err) == 0)
        return text ? text : "";
    collector_respond_error(r, 400, "bad_request", "query parameter %s", err.text);
    return NULL;
}

int collector_query_number(const struct collector_request *q, const char *key, uint64_t def, uint64_t max,
                        uint64_t *value, struct collector_response *r)
{
    const char *text = q->query(q->query_ctx, key);
    char *end;

    *value = def;
    if (!text)
        return 0;
    if (*text && strlen(text) < 20 && strspn(text, "0123456789") == strlen(text)) {
        *value = strtoull(text, &end, 10);
        if (*value <= max)
            return 0;
    }
    collector_respond_error(r, 400, "bad_request", "query parameter %s must be a whole number up to %llu",
                            key, (unsigned long long)max);
    return -1;
}

/* The body as JSON: *list becomes a new array of the object or objects sent. */
int collector_read_elements(const struct collector_request *q, json_t **list, bool *single,
                         struct collector_response *r)
{
    json_error_t where;
    json_t *json = json_loadb(q->body ? q->body : "", q->body_size, JSON_REJECT_DUPLICATES, &where);

    if (!json) {
        collector_respond_error(r, 400, "bad_request", "the body is not JSON: line %d, column %d: %s",
                                where.line, where.column, where.text);
        return -1;
    }
    *single = !json_is_array(json);
    *list = *single ? json_pack("[o]", json) : json;
    size_t count = json_array_size(*list);
    if (*list && count > 0 && count <= MAX_ELEMENTS)
        return 0;
    json_decref(*list);
    collector_respond_error(r, 422, "invalid", "an array must have 1 to %d elements, this one has %zu",
                            MAX_ELEMENTS, count);
    return -1;
}

/* What is wrong with which element of a request; the first one decides the status. */
struct complaints {
    const char *key; /* "index" or "line" */
    json_t *list;
    size_t count;
    struct rlhf_error first;
    enum collector_outcome outcome; /* of the first */
};

static void complain(struct complaints *c, size_t place, enum collector_outcome outcome,
                     const struct rlhf_error *err)
{
    if (c->count++ == 0 || err->code != RLHF_REJECT) { /* a failure is worse than any refusal */
        c->first = *err;
        c->outcome = outcome;
    }
    if (!c->list)
        c->list = json_array();
    if (c->count <= MAX_ERRORS)
        json_array_append_new(
            c->list, json_pack("{s:I, s:o}", c->key, (json_int_t)place, "message", text_json(err->text)));
}

/* Answers with the complaints; takes their list. */
static void respond_complaints(struct collector_response *r, struct complaints *c, bool single)
{
    if (single || c->first.code != RLHF_REJECT) {
        json_decref(c->list);
        collector_respond_verdict(r, c->outcome, &c->first);
        return;
    }
    struct verdict v = verdict_of(c->outcome, &c->first);
    json_t *json = error_json(v.code, c->first.text);
    json_object_set_new(json, "errors", c->list);
    collector_respond(r, v.status, json);
}

/* ---- tasks ------------------------------------------------------------------------------------- */

static void post_tasks(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct complaints complaints = { .key = "index" };
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
        complain(&complaints, i, receipt.outcome, &err);
        if (err.code != RLHF_REJECT)
            break; /* the others would fail as well */
    }
    if (complaints.count)
        respond_complaints(r, &complaints, single);
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

static void get_next(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct offers offers = { .reservation_seconds = c->config->reservation_seconds };
    struct collector_counts counts;
    struct rlhf_error err;
    uint64_t count, mine;
    const char *labeler = collector_query_name(q, "labeler", r);
    const char *round = labeler ? collector_query_name(q, "round", r) : NULL;

    if (!round || collector_query_number(q, "count", 1, MAX_OFFERS, &count, r) < 0)
        return;
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

/* The {id} of a path that matched "before{id}after". */
char *collector_path_id(const char *path, const char *before, const char *after)
{
    return strndup(path + strlen(before), strlen(path) - strlen(before) - strlen(after));
}

static void post_skip(struct collector *c, const struct collector_request *q, struct collector_response *r)
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
    const char *reason = json_string_value(json_object_get(element, "reason"));
    if (!single || !json_is_object(element))
        rlhf_fail(&err, RLHF_REJECT, "a skip must be one object");
    else if (!task)
        rlhf_fail(&err, RLHF_FULL, "out of memory");
    else if (collector_name_check("task", task, false, &err) == 0
             && collector_name_check("labeler", labeler, false, &err) == 0
             && collector_name_check("reason", reason ? reason : "", true, &err) == 0)
        collector_store_put_skip(c->store, task, labeler, reason ? reason : "", &receipt, &err);
    if (err.code == RLHF_OK)
        collector_respond(r, 200, json_pack("{s:s}", "status", outcome_name(receipt.outcome)));
    else
        collector_respond_verdict(r, receipt.outcome, &err);
    free(task);
    json_decref(list);
}

/* ---- labels ------------------------------------------------------------------------------------ */

/* What every label of a request has in common. */
struct submission {
    const char *task; /* from the path; NULL = the body says */
    const char *idempotency_key;
    bool ranking, single;
};

/* Fills what the submitter left out. name has room for a derived id. */
static int complete_label(struct collector_label *l, const struct submission *s, size_t index, char *name,
                          size_t size, struct rlhf_error *err)
{
    if (s->task && l->task && strcmp(s->task, l->task) != 0)
        return rlhf_fail(err, RLHF_REJECT, "task differs from the one in the path");
    l->task = s->task ? s->task : l->task;
    l->source = l->source ? l->source : "api";
    if (l->id)
        return 0;
    if (s->idempotency_key && s->single)
        snprintf(name, size, "%s", s->idempotency_key);
    else if (s->idempotency_key)
        snprintf(name, size, "%s/%zu", s->idempotency_key, index);
    else if (l->task)
        snprintf(name, size, "%s@%s", l->labeler ? l->labeler : "", l->task);
    else
        return rlhf_fail(err, RLHF_REJECT, "id is missing: a label needs one, or the header Idempotency-Key");
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
                                                 outcome_name(receipt->outcome), "sequence",
                                                 (json_int_t)receipt->sequence, "revision",
                                                 (json_int_t)receipt->revision));
    collector_label_free(&l);
    return rc;
}

static void put_labels(struct collector *c, const struct collector_request *q, struct submission *s,
                       struct collector_response *r)
{
    struct complaints complaints = { .key = "index" };
    struct collector_receipt receipt;
    json_t *list, *element, *results;
    size_t count[3] = { 0 }; /* by outcome: stored, known, revised */
    uint64_t cursor = 0;
    struct rlhf_error err;
    size_t i;

    if (collector_read_elements(q, &list, &s->single, r) < 0)
        return;
    s->idempotency_key = q->idempotency_key;
    results = json_array();
    json_array_foreach (list, i, element) {
        if (put_label(c, element, s, i, results, &receipt, &err) < 0) {
            complain(&complaints, i, receipt.outcome, &err);
            if (err.code != RLHF_REJECT)
                break; /* the others would fail as well */
            continue;
        }
        ++count[receipt.outcome];
        cursor = receipt.sequence > cursor ? receipt.sequence : cursor;
    }
    if (complaints.count) {
        json_decref(results);
        respond_complaints(r, &complaints, s->single);
    } else if (s->task) {
        json_t *only = json_incref(json_array_get(results, 0));
        json_decref(results);
        collector_respond(r, 200, only);
    } else {
        collector_respond(r, 200,
                json_pack("{s:I, s:I, s:I, s:I, s:o}", "stored", (json_int_t)count[COLLECTOR_STORED], "known",
                          (json_int_t)count[COLLECTOR_KNOWN], "revised", (json_int_t)count[COLLECTOR_REVISED],
                          "cursor", (json_int_t)cursor, "results", results));
    }
    json_decref(list);
}

static void post_comparisons(struct collector *c, const struct collector_request *q,
                             struct collector_response *r)
{
    put_labels(c, q, &(struct submission){ .ranking = false }, r);
}

static void post_rankings(struct collector *c, const struct collector_request *q,
                          struct collector_response *r)
{
    put_labels(c, q, &(struct submission){ .ranking = true }, r);
}

static void post_label(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    char *task = collector_path_id(q->path, "/api/v1/tasks/", "/label");

    if (task)
        put_labels(c, q, &(struct submission){ .task = task }, r);
    else
        collector_respond(r, 503, NULL);
    free(task);
}

struct listing {
    json_t *list;
    size_t bytes;
    uint64_t cursor;
    bool more; /* cut short by its size */
    bool failed;
};

static bool add_row(void *ctx, const struct collector_row *row)
{
    struct listing *l = ctx;
    const struct collector_content *content = &row->label.content;

    l->bytes += strlen(content->prompt);
    for (size_t k = 0; k < content->count; ++k)
        l->bytes += strlen(content->completion[k]);
    if (l->bytes > MAX_ANSWER && json_array_size(l->list) > 0) {
        l->more = true;
        return false;
    }
    l->failed = json_array_append_new(l->list, collector_row_json(row)) < 0;
    l->cursor = row->sequence;
    return !l->failed;
}

static void get_comparisons(struct collector *c, const struct collector_request *q,
                            struct collector_response *r)
{
    struct collector_range range = { .last = UINT64_MAX };
    struct listing listing = { 0 };
    struct rlhf_error err;
    uint64_t limit;

    range.round = collector_query_name(q, "round", r);
    if (!range.round || collector_query_number(q, "cursor", 0, INT64_MAX, &range.cursor, r) < 0
        || collector_query_number(q, "limit", 100, MAX_ROWS, &limit, r) < 0)
        return;
    listing.list = json_array();
    listing.cursor = range.cursor;
    range.limit = limit;
    if (collector_store_list(c->store, &range, add_row, &listing, &err) < 0) {
        json_decref(listing.list);
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        return;
    }
    bool more = listing.more || (limit && json_array_size(listing.list) == limit);
    json_t *json = json_pack("{s:o, s:I, s:b}", "comparisons", listing.list, "cursor",
                             (json_int_t)listing.cursor, "more", more);
    if (listing.failed) {
        json_decref(json);
        json = NULL;
    }
    collector_respond(r, 200, json);
}

/* ---- files ------------------------------------------------------------------------------------- */

static void refuse_line(void *ctx, size_t line, const char *why)
{
    struct rlhf_error err = { .code = RLHF_REJECT };

    snprintf(err.text, sizeof(err.text), "%s", why);
    complain(ctx, line, COLLECTOR_INVALID, &err);
}

static void post_import(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct complaints complaints = { .key = "line" };
    struct collector_import i = { .refused = refuse_line, .ctx = &complaints };
    struct rlhf_error err;

    if (!(i.round = collector_query_name(q, "round", r)) || !(i.labeler = collector_query_name(q, "labeler", r))
        || !(i.source = collector_query_name(q, "source", r)))
        return;
    i.labeler = *i.labeler ? i.labeler : "import";
    const char *format = q->query(q->query_ctx, "format");
    const struct collector_vendor *vendor = format ? collector_vendor_find(format) : NULL;
    if (format && !vendor) {
        collector_respond_error(r, 400, "bad_request",
                                "query parameter format must be label_studio, labelbox, scale, surge or argilla");
        return;
    }
    i.source = *i.source ? i.source : vendor ? vendor->name : "import";
    const char *body = q->body ? q->body : "";
    if ((vendor ? collector_import_vendor(c->store, vendor, body, q->body_size, &i, &err)
                : collector_import(c->store, body, q->body_size, &i, &err))
        < 0) {
        json_decref(complaints.list);
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        return;
    }
    json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "skipped", (json_int_t)i.skipped, "lines",
                             (json_int_t)i.lines, "stored",
                             (json_int_t)i.stored, "known", (json_int_t)i.known, "revised",
                             (json_int_t)i.revised, "rejected", (json_int_t)i.rejected, "errors",
                             complaints.list ? complaints.list : json_array());
    bool none = i.stored + i.known + i.revised + i.skipped == 0;
    if (none && json) {
        json_t *error =
            error_json("invalid", i.rejected ? complaints.first.text : "there is no line to import");
        json_object_update_missing_new(json, error);
    }
    collector_respond(r, none ? 422 : 200, json);
}

static void get_export(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    static const char *const names[] = {
        [COLLECTOR_KWAY] = "kway", [COLLECTOR_PAIRS] = "pairs", [COLLECTOR_HH] = "hh"
    };
    const char *format = q->query(q->query_ctx, "format");
    const char *round = collector_query_name(q, "round", r);
    struct rlhf_error err;
    size_t i = 0;

    if (!round)
        return;
    while (format && i < 3 && strcmp(format, names[i]) != 0)
        ++i;
    if (i == 3) {
        collector_respond_error(r, 400, "bad_request", "query parameter format must be kway, pairs or hh");
        return;
    }
    struct collector_export *e = collector_export_new(c->store, round, (enum collector_format)i, &err);
    if (!e) {
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        return;
    }
    r->status = 200;
    r->content_type = "application/x-ndjson";
    r->export = e;
}

/* ---- watching ---------------------------------------------------------------------------------- */

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

static void get_stats(struct collector *c, const struct collector_request *q, struct collector_response *r)
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

static void get_health(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    (void)q;
    if (c->trouble.code == RLHF_OK)
        collector_respond(r, 200, json_pack("{s:s}", "status", "ok"));
    else
        collector_respond_error(r, 503, verdict_of(COLLECTOR_FAILED, &c->trouble).code, "%s",
                                c->trouble.text);
}

static void get_page(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const struct collector_page_file *file = collector_page_find(q->path);

    (void)c;
    r->status = 200;
    r->content_type = file->content_type;
    r->fixed = file->data;
    r->fixed_size = file->size;
}

/* ---- the table --------------------------------------------------------------------------------- */

static const struct collector_route routes[] = {
    /* method  path                        max body    writes lines  handler          */
    { "GET", "/", 0, false, false, get_page },
    { "GET", "/page.css", 0, false, false, get_page },
    { "GET", "/page.js", 0, false, false, get_page },
    { "GET", "/icon.svg", 0, false, false, get_page },
    { "GET", "/healthz", 0, false, false, get_health },
    { "GET", "/api/v1/stats", 0, false, false, get_stats },
    { "POST", "/api/v1/tasks", BODY_LARGE, true, false, post_tasks },
    { "GET", "/api/v1/tasks/next", 0, false, false, get_next },
    { "POST", "/api/v1/tasks/{id}/label", BODY_SMALL, true, false, post_label },
    { "POST", "/api/v1/tasks/{id}/skip", BODY_SMALL, true, false, post_skip },
    { "POST", "/api/v1/tasks/{id}/undo", BODY_SMALL, true, false, collector_post_undo },
    { "GET", "/api/v1/standing", 0, false, false, collector_get_standing },
    { "POST", "/api/v1/standing", BODY_SMALL, true, false, collector_post_standing },
    { "POST", "/api/v1/quarantine", BODY_SMALL, true, false, collector_post_quarantine },
    { "GET", "/api/v1/agreement", 0, false, false, collector_get_agreement },
    { "POST", "/api/v1/weights", BODY_SMALL, true, false, collector_post_weights },
    { "POST", "/api/v1/comparisons", BODY_LARGE, true, false, post_comparisons },
    { "GET", "/api/v1/comparisons", 0, false, false, get_comparisons },
    { "POST", "/api/v1/rankings", BODY_LARGE, true, false, post_rankings },
    { "POST", "/api/v1/import", BODY_IMPORT, true, true, post_import },
    { "GET", "/api/v1/export", 0, false, false, get_export },
};

static bool path_matches(const char *pattern, const char *path)
{
    const char *hole = strstr(pattern, "{id}");

    if (!hole)
        return strcmp(pattern, path) == 0;
    size_t before = (size_t)(hole - pattern), after = strlen(hole + 4), size = strlen(path);
    return size > before + after && strncmp(pattern, path, before) == 0
           && strcmp(path + size - after, hole + 4) == 0;
}

const struct collector_route *collector_route_find(const char *method, const char *path,
                                                   struct collector_response *r)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    bool get = false, post = false;

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); ++i) {
        if (!path_matches(routes[i].path, path))
            continue;
        if (strcmp(routes[i].method, wanted) == 0)
            return &routes[i];
        get = get || strcmp(routes[i].method, "GET") == 0;
        post = post || strcmp(routes[i].method, "POST") == 0;
    }
    if (!get && !post) {
        collector_respond_error(r, 404, "not_found", "there is nothing at %.200s", path);
        return NULL;
    }
    const char *allow = get && post ? "GET, HEAD, POST" : get ? "GET, HEAD" : "POST";
    collector_respond_error(r, 405, "method_not_allowed", "%.200s takes %s, not %.20s", path, allow, method);
    r->allow = allow;
    return NULL;
}

bool collector_route_accepts(const struct collector_route *route, const char *content_type,
                             struct collector_response *r)
{
    static const char *const types[] = { "application/json", "application/x-ndjson", "application/jsonl", "text/csv" };
    size_t size = content_type ? strcspn(content_type, "; \t") : 0;

    for (size_t i = 0; i < (route->lines ? 4 : 1); ++i)
        if (size == strlen(types[i]) && strncasecmp(content_type, types[i], size) == 0)
            return true;
    collector_respond_error(r, 415, "media_type", "Content-Type must be %s",
                            route->lines ? "application/x-ndjson" : "application/json");
    return false;
}

/* ---- running ----------------------------------------------------------------------------------- */

void collector_api_read(struct collector *c, const struct collector_route *route,
                        const struct collector_request *q, struct collector_response *r)
{
    collector_response_free(r);
    route->handle(c, q, r);
    if (r->failure.code == RLHF_CORRUPT || r->failure.code == RLHF_FATAL)
        collector_wrote(c, &r->failure); /* a store that cannot be read must not be written */
}

/* One write within the group's transaction. -1: the database failed and the whole group has to be undone. */
static int write_one(struct collector *c, struct collector_exchange *x, struct rlhf_error *err)
{
    struct collector_response *r = &x->response;

    collector_response_free(r);
    if (collector_store_mark(c->store, err) < 0)
        return -1;
    x->route->handle(c, &x->request, r);
    bool keep = r->status < 300;
    if (r->status >= 500) {
        *err = r->failure;
        return err->code == RLHF_OK ? rlhf_fail(err, RLHF_FULL, "out of memory") : -1;
    }
    return collector_store_unmark(c->store, keep, err);
}

static int write_group(struct collector *c, struct collector_exchange **exchanges, size_t count,
                       struct rlhf_error *err)
{
    if (collector_store_begin(c->store, err) < 0)
        return -1;
    for (size_t i = 0; i < count; ++i) {
        if (write_one(c, exchanges[i], err) < 0) {
            collector_store_rollback(c->store);
            return -1;
        }
    }
    return collector_store_commit(c->store, err);
}

void collector_api_write(struct collector *c, struct collector_exchange **exchanges, size_t count)
{
    struct rlhf_error err = { .code = RLHF_OK };

    if (write_group(c, exchanges, count, &err) == 0) {
        ++c->counters.groups;
        c->counters.grouped += count;
        collector_wrote(c, NULL);
        return;
    }
    if (count > 1
        && (err.code == RLHF_FULL || err.code == RLHF_AGAIN)) { /* perhaps one of them does not fit */
        for (size_t i = 0; i < count; ++i)
            collector_api_write(c, &exchanges[i], 1);
        return;
    }
    for (size_t i = 0; i < count; ++i)
        collector_respond_verdict(&exchanges[i]->response, COLLECTOR_FAILED, &err);
    collector_wrote(c, &err);
}
