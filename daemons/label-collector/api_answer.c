/* api_answer.c - answers and refusals as JSON, and what a request says. */
#include "api_parts.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "fault.h"
#include "export.h"

enum {
    MAX_ELEMENTS = 10000, /* of an array in one request */
    MAX_ERRORS = 100,     /* told one by one in an answer */
    MAX_DETAIL = 512,     /* bytes of text of each */
};

/* ---- answers ----------------------------------------------------------------------------------- */

void collector_response_free(struct collector_response *r)
{
    rlhf_bytes_free(&r->body);
    collector_export_free(r->export);
    free(r->set_cookie);
    *r = (struct collector_response){ 0 };
}

static int append(const char *data, size_t size, void *ctx)
{
    return rlhf_bytes_append(ctx, data, size, NULL);
}

/* Takes json; NULL means that memory ran out while it was made. */
static void respond_as(struct collector_response *r, unsigned status, const char *type, json_t *json)
{
    static const char sorry[] = "{\"type\":\"urn:rlhfd:problem:memory\",\"title\":\"Memory\",\"status\":503,"
                                "\"detail\":\"out of memory: send the same again later\"}\n";

    collector_response_free(r);
    r->content_type = type;
    r->status = status;
    if (!json || json_dump_callback(json, append, &r->body, JSON_COMPACT) < 0 || append("\n", 1, &r->body) < 0) {
        rlhf_bytes_free(&r->body);
        r->content_type = COLLECTOR_PROBLEM;
        r->status = 503;
        r->fixed = sorry;
        r->fixed_size = sizeof(sorry) - 1;
    }
    json_decref(json);
}

void collector_respond(struct collector_response *r, unsigned status, json_t *json)
{
    respond_as(r, status, "application/json", json);
}

void collector_respond_text(struct collector_response *r, unsigned status, const char *json)
{
    collector_response_free(r);
    r->content_type = "application/json";
    r->status = status;
    if (append(json, strlen(json), &r->body) < 0)
        collector_respond(r, 503, NULL);
}

void collector_respond_problem(struct collector_response *r, json_t *problem)
{
    respond_as(r, (unsigned)json_integer_value(json_object_get(problem, "status")), COLLECTOR_PROBLEM, problem);
}

/* Messages may quote what was sent, and be cut within a character, but an answer is always UTF-8. */
static const char *clean_text(const char *text, char *out, size_t size)
{
    size_t length = strnlen(text, size - 1);

    memcpy(out, text, length);
    for (size_t cut = 0; cut < 4 && cut <= length; ++cut) {
        out[length - cut] = '\0';
        if (rlhf_utf8_valid(out, length - cut))
            return out;
    }
    return "(not UTF-8)";
}

json_t *collector_problem(unsigned status, const char *code, const char *detail)
{
    char type[64], title[32], text[MAX_DETAIL];
    const char *clean = clean_text(detail, text, sizeof(text));
    json_t *problem, *fault = status == 400 || status == 403 || status == 422 ? collector_fault_json(clean) : NULL;

    snprintf(type, sizeof(type), "urn:rlhfd:problem:%s", code);
    snprintf(title, sizeof(title), "%s", code);
    title[0] = (char)(title[0] - 'a' + 'A');
    for (char *c = title; *c; ++c)
        *c = *c == '_' ? ' ' : *c;
    problem = json_pack("{s:s, s:s, s:i, s:s}", "type", type, "title", title, "status", (int)status, "detail", clean);
    if (fault)
        json_object_set_new(problem, "errors", json_pack("[o]", fault));
    return problem;
}

void collector_respond_error(struct collector_response *r, unsigned status, const char *code, const char *fmt,
                             ...)
{
    char detail[MAX_DETAIL];
    va_list args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    collector_respond_problem(r, collector_problem(status, code, detail));
}

struct collector_verdict collector_verdict_of(enum collector_outcome outcome, const struct rlhf_error *err)
{
    switch (err->code) {
    case RLHF_FULL:
        return (struct collector_verdict){ 507, "disk_full" };
    case RLHF_AGAIN:
        return (struct collector_verdict){ 503, "busy" };
    case RLHF_DENIED:
        return (struct collector_verdict){ 403, "forbidden" };
    case RLHF_REJECT:
        break;
    default:
        return (struct collector_verdict){ 500, "internal" };
    }
    return outcome == COLLECTOR_MISSING    ? (struct collector_verdict){ 404, "not_found" }
           : outcome == COLLECTOR_CONFLICT ? (struct collector_verdict){ 409, "conflict" }
                                           : (struct collector_verdict){ 422, "invalid" };
}

void collector_respond_verdict(struct collector_response *r, enum collector_outcome outcome,
                            const struct rlhf_error *err)
{
    struct collector_verdict v = collector_verdict_of(outcome, err);

    collector_respond_problem(r, collector_problem(v.status, v.code, err->text));
    if (v.status >= 500)
        r->failure = *err;
}

void collector_respond_failure(struct collector_response *r, const struct rlhf_error *err)
{
    collector_respond_verdict(r, COLLECTOR_FAILED, err);
}

const char *collector_outcome_name(enum collector_outcome outcome)
{
    return outcome == COLLECTOR_STORED ? "stored" : outcome == COLLECTOR_REVISED ? "revised" : "known";
}

/* ---- requests ---------------------------------------------------------------------------------- */

/* A name from the query; "" where absent. NULL and the answer (400) when it is none. */
const char *collector_query_name(const struct collector_request *q, const char *key,
                              struct collector_response *r)
{
    struct rlhf_error err;
    const char *text = q->query(q->ctx, key);

    if (!text || collector_name_check(key, text, true, &err) == 0)
        return text ? text : "";
    collector_respond_error(r, 400, "bad_request", "query parameter %s", err.text);
    return NULL;
}

int collector_query_number(const struct collector_request *q, const char *key, uint64_t def, uint64_t max,
                        uint64_t *value, struct collector_response *r)
{
    const char *text = q->query(q->ctx, key);
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

/* The one object that the body must be; the caller's. NULL: the answer says why not. */
json_t *collector_read_object(const struct collector_request *q, struct collector_response *r)
{
    json_t *list, *object;
    bool single;

    if (collector_read_elements(q, &list, &single, r) < 0)
        return NULL;
    object = single ? json_incref(json_array_get(list, 0)) : NULL;
    json_decref(list);
    if (json_is_object(object))
        return object;
    json_decref(object);
    collector_respond_error(r, 422, "invalid", "the body must be one object");
    return NULL;
}

/* The name under key, borrowed. NULL: the answer (422) says why not. */
const char *collector_object_name(const json_t *object, const char *key, struct collector_response *r)
{
    struct rlhf_error err;
    const char *text = json_string_value(json_object_get(object, key));

    if (collector_name_check(key, text, false, &err) == 0)
        return text;
    collector_respond_error(r, 422, "invalid", "%s", err.text);
    return NULL;
}

const char *collector_asker(const struct collector_request *q)
{
    return q->who.token ? q->who.name : "owner";
}

bool collector_is_refusal(const struct rlhf_error *err)
{
    return err->code == RLHF_REJECT || err->code == RLHF_DENIED;
}

void collector_complain(struct collector_complaints *c, size_t place, enum collector_outcome outcome,
                     const struct rlhf_error *err)
{
    if (c->count++ == 0 || !collector_is_refusal(err)) { /* a failure is worse than any refusal */
        c->first = *err;
        c->outcome = outcome;
    }
    if (!c->list)
        c->list = json_array();
    if (c->count > MAX_ERRORS)
        return;
    char text[MAX_DETAIL], place_text[32], pointer[COLLECTOR_POINTER];
    const char *clean = clean_text(err->text, text, sizeof(text));
    snprintf(place_text, sizeof(place_text), "/%zu", place);
    collector_fault_pointer(clean, place_text, pointer);
    json_array_append_new(c->list, c->lines ? json_pack("{s:I, s:s}", "line", (json_int_t)place, "detail", clean)
                                            : json_pack("{s:s, s:s}", "pointer", pointer, "detail", clean));
}

/* Answers with the complaints; takes their list. */
void collector_respond_complaints(struct collector_response *r, struct collector_complaints *c, bool single)
{
    if (single || !collector_is_refusal(&c->first)) {
        json_decref(c->list);
        collector_respond_verdict(r, c->outcome, &c->first);
        return;
    }
    struct collector_verdict v = collector_verdict_of(c->outcome, &c->first);
    json_t *problem = collector_problem(v.status, v.code, c->first.text);
    json_object_set_new(problem, "errors", c->list);
    collector_respond_problem(r, problem);
}

/* The {id} of a path that matched "before{id}after". */
char *collector_path_id(const char *path, const char *before, const char *after)
{
    return strndup(path + strlen(before), strlen(path) - strlen(before) - strlen(after));
}
