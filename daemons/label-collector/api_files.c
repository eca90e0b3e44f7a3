/* api_files.c - files in and out. */
#include "api_parts.h"

#include <string.h>

#include "export.h"
#include "transfer.h"
#include "vendors.h"

static void refuse_line(void *ctx, size_t line, const char *why)
{
    struct rlhf_error err = { .code = RLHF_REJECT };

    snprintf(err.text, sizeof(err.text), "%s", why);
    collector_complain(ctx, line, COLLECTOR_INVALID, &err);
}

void collector_post_import(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    struct collector_complaints complaints = { .lines = true };
    struct collector_import i = { .refused = refuse_line, .ctx = &complaints };
    struct rlhf_error err;

    if (!(i.round = collector_query_name(q, "round", r)) || !(i.labeler = collector_query_name(q, "labeler", r))
        || !(i.source = collector_query_name(q, "source", r)))
        return;
    i.labeler = *i.labeler ? i.labeler : "import";
    const char *format = q->query(q->ctx, "format");
    const struct collector_vendor *vendor = format ? collector_vendor_find(format) : NULL;
    if (format && !vendor) {
        collector_respond_error(r, 400, "bad_request",
                                "query parameter format must be label_studio, labelbox, scale, surge or argilla");
        return;
    }
    if (q->who.role == COLLECTOR_VENDOR) {
        if (*i.source && strcmp(i.source, q->who.name) != 0) {
            collector_respond_error(r, 403, "forbidden", "source is %s, but this is %s's token", i.source, q->who.name);
            return;
        }
        i.source = i.only_source = q->who.name;
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
    json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "skipped", (json_int_t)i.skipped, "lines",
                             (json_int_t)i.lines, "stored",
                             (json_int_t)i.stored, "known", (json_int_t)i.known, "revised",
                             (json_int_t)i.revised, "rejected", (json_int_t)i.rejected, "warned", (json_int_t)i.warned,
                             "errors",
                             complaints.list ? complaints.list : json_array());
    bool none = i.stored + i.known + i.revised + i.skipped == 0;
    if (none && json) {
        json_object_update_missing_new(
            json, collector_problem(422, "invalid", i.rejected ? complaints.first.text : "there is no line to import"));
        collector_respond_problem(r, json);
        return;
    }
    collector_respond(r, 200, json);
}

void collector_get_export(struct collector *c, const struct collector_request *q, struct collector_response *r)
{
    const char *name = q->query(q->ctx, "format");
    const char *round = collector_query_name(q, "round", r);
    enum collector_format format = COLLECTOR_KWAY;
    struct rlhf_error err;

    if (!round)
        return;
    if (name && collector_format_find(&format, name) < 0) {
        collector_respond_error(r, 400, "bad_request", "query parameter format must be " COLLECTOR_FORMAT_NAMES);
        return;
    }
    struct collector_export *e = collector_export_new(c->store, round, format, &err);
    if (!e) {
        collector_respond_verdict(r, COLLECTOR_FAILED, &err);
        return;
    }
    r->status = 200;
    r->content_type = collector_format_type(format);
    r->export = e;
}
