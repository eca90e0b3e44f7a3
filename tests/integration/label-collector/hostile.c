/* SQL and markup in every field of every body, and in every parameter of every query: text, and nothing else. And a vendor that
 * flips what it is asked. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "support/collector.h"
#include "support/suite.h"

/* Each would show if it were pasted into a statement of either engine, or into a page. */
static const char *const payloads[] = {
    "'; DROP TABLE labels; --",
    "x'); DELETE FROM revisions; --",
    "\" OR \"\"=\"",
    "' OR '1'='1",
    "?1 $1 :name @name %s %n",
    "\\'; UPDATE standing SET weight = 0; --",
    "<script>alert(1)</script>",
    "${7*7}{{7*7}}<!--",
};
enum { PAYLOADS = sizeof(payloads) / sizeof(payloads[0]) };

/* A body that is taken as it is, for every route that takes one. */
static const struct {
    const char *target, *body;
} writes[] = {
    { "/api/v1/tasks", "{\"id\":\"n\",\"round\":\"r\",\"kind\":\"ranking\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"],"
                       "\"policies\":[\"a\",\"b\"]}" },
    { "/api/v1/comparisons", "{\"id\":\"c\",\"source\":\"api\",\"labeler\":\"ada\",\"round\":\"r\",\"prompt\":\"p\",\"chosen\":\"x\","
                             "\"rejected\":\"y\",\"flags\":{\"why\":\"f\"},\"note\":\"n\"}" },
    { "/api/v1/rankings", "{\"id\":\"k\",\"labeler\":\"ada\",\"round\":\"r\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"],"
                          "\"ranking\":[0,1]}" },
    { "/api/v1/tasks/t/label", "{\"id\":\"l\",\"labeler\":\"bob\",\"ranks\":[1,2],\"note\":\"n\"}" },
    { "/api/v1/tasks/t/skip", "{\"labeler\":\"cat\",\"reason\":\"r\"}" },
    { "/api/v1/tasks/t/undo", "{\"labeler\":\"bob\",\"id\":\"l\",\"source\":\"api\"}" },
    { "/api/v1/standing", "{\"scope\":\"labeler\",\"name\":\"dan\",\"who\":\"owner\",\"quota\":9,\"weight\":1}" },
    { "/api/v1/quarantine", "{\"scope\":\"labeler\",\"name\":\"dan\",\"who\":\"owner\",\"why\":\"w\"}" },
    { "/api/v1/weights", "{\"who\":\"owner\",\"round\":\"r\"}" },
    { "/api/v1/import?format=argilla", "{\"id\":\"i\",\"external_id\":\"t\",\"fields\":{\"prompt\":\"p\",\"a\":\"x\",\"b\":\"y\"}}" },
};

static const char *const reads[] = {
    "/api/v1/stats?round=", "/api/v1/labelers?round=", "/api/v1/tasks/next?labeler=", "/api/v1/tasks/next?labeler=ada&round=",
    "/api/v1/comparisons?round=", "/api/v1/comparisons?cursor=", "/api/v1/comparisons?limit=", "/api/v1/standing?scope=",
    "/api/v1/standing?name=", "/api/v1/agreement?round=", "/api/v1/export?round=", "/api/v1/export?format=", "/api/v1/",
};

/* Answered, whatever with, but not by a failure. */
static int ask(const char *method, const char *target, const char *json)
{
    struct http_answer a = collector_ask(NULL, method, target, "", json);
    int status = a.status;

    ck_assert_msg(status >= 200 && status < 500, "%s %s %s: %d %s", method, target, json ? json : "", status,
                  a.body ? a.body : "");
    http_answer_free(&a);
    return status;
}

static json_int_t count(const char *key)
{
    json_t *json = json_loads(collector_expect(200, NULL, "GET", "/api/v1/stats", NULL), 0, NULL);
    json_int_t n = json_integer_value(json_object_get(json, key));

    json_decref(json);
    return n;
}

/* Sends the body once for every string in it, with text in that string's place. */
static void with_each_string(const char *target, json_t *body, json_t *part, const char *text)
{
    const char *key;
    json_t *value;
    size_t i;
    void *tmp;

    if (json_is_array(part)) {
        json_array_foreach (part, i, value)
            with_each_string(target, body, value, text);
        return;
    }
    if (json_is_string(part)) {
        char *was = strdup(json_string_value(part));
        json_string_set(part, text);
        char *sent = json_dumps(body, 0);
        ask("POST", target, sent);
        free(sent);
        json_string_set(part, was);
        free(was);
        return;
    }
    json_object_foreach_safe (part, tmp, key, value)
        with_each_string(target, body, value, text);
}

static void encode(char *to, const char *text)
{
    for (; *text; ++text)
        to += sprintf(to, "%%%02X", (unsigned char)*text);
    *to = '\0';
}

START_TEST(whatever_is_written_into_a_field_is_text)
{
    char target[600], encoded[200];

    collector_start("");
    ask("POST", "/api/v1/tasks", "{\"id\":\"t\",\"round\":\"r\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}");
    for (size_t w = 0; w < sizeof(writes) / sizeof(writes[0]); ++w) {
        json_t *body = json_loads(writes[w].body, 0, NULL);
        ck_assert_ptr_nonnull(body);
        for (size_t i = 0; i < PAYLOADS; ++i)
            with_each_string(writes[w].target, body, body, payloads[i]);
        json_decref(body);
    }
    for (size_t i = 0; i < PAYLOADS; ++i) {
        encode(encoded, payloads[i]);
        for (size_t n = 0; n < sizeof(reads) / sizeof(reads[0]); ++n) {
            snprintf(target, sizeof(target), "%s%s", reads[n], encoded);
            ask("GET", target, NULL);
        }
        snprintf(target, sizeof(target), "/api/v1/tasks/%s/label", encoded);
        ask("POST", target, "{\"labeler\":\"eve\",\"ranks\":[1,2]}");
    }
    ck_assert_int_gt(count("labels"), PAYLOADS); /* the tables are there, and agree with the counters */
    ck_assert_int_gt(count("tasks"), PAYLOADS);
    collector_stop();
}
END_TEST

/* And comes back as it went in. */
START_TEST(text_comes_back_byte_by_byte)
{
    collector_start("");
    for (size_t i = 0; i < PAYLOADS; ++i) {
        json_t *label = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", payloads[i], "labeler", payloads[i], "round",
                                  payloads[i], "prompt", payloads[i], "chosen", payloads[i], "rejected", "y", "note", payloads[i]);
        char *sent = json_dumps(label, 0);
        ck_assert_int_eq(ask("POST", "/api/v1/comparisons", sent), 200);
        free(sent);
        json_decref(label);
    }
    json_t *page = json_loads(collector_expect(200, NULL, "GET", "/api/v1/comparisons", NULL), 0, NULL), *row;
    size_t i;
    ck_assert_uint_eq(json_array_size(json_object_get(page, "comparisons")), PAYLOADS);
    json_array_foreach (json_object_get(page, "comparisons"), i, row) {
        static const char *const keys[] = { "id", "labeler", "round", "prompt", "note" };
        for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); ++k)
            ck_assert_str_eq(json_string_value(json_object_get(row, keys[k])), payloads[i]);
        ck_assert_str_eq(json_string_value(json_array_get(json_object_get(row, "completions"), 0)), payloads[i]);
    }
    json_decref(page);
    collector_stop();
}
END_TEST

static void judge(const char *vendor, const char *task, const char *ranks)
{
    char body[200];

    snprintf(body, sizeof(body), "{\"source\":\"%s\",\"id\":\"%s\",\"labeler\":\"%s's\",\"task\":\"%s\",\"ranks\":%s}", vendor, task,
             vendor, task, ranks);
    collector_expect(200, NULL, "POST", "/api/v1/comparisons", body);
}

static bool is_set_aside(const char *vendor)
{
    char target[100];

    snprintf(target, sizeof(target), "/api/v1/standing?scope=source&name=%s", vendor);
    json_t *json = json_loads(collector_expect(200, NULL, "GET", target, NULL), 0, NULL);
    bool is = json_is_string(json_object_get(json_array_get(json_object_get(json, "standing"), 0), "quarantine"));
    json_decref(json);
    return is;
}

START_TEST(a_vendor_that_flips_everything_is_set_aside_with_all_it_said)
{
    char id[16], body[160];
    int asked = 0;

    collector_start("labels_per_task: 2\n");
    for (int i = 0; i < 50; ++i) {
        sprintf(body, "[{\"id\":\"t%d\",\"prompt\":\"p%d\",\"completions\":[\"x\",\"y\"]},{\"id\":\"g%d\",\"prompt\":\"q%d\",\"completions\":"
                      "[\"x\",\"y\"],\"gold\":{\"ranks\":[1,2]}}]", i, i, i, i);
        collector_expect(200, NULL, "POST", "/api/v1/tasks", body);
    }
    for (; asked < 50 && !is_set_aside("flipper"); ++asked) {
        sprintf(id, "t%d", asked);
        judge("honest", id, "[1,2]");
        judge("flipper", id, "[2,1]");
        sprintf(id, "g%d", asked);
        judge("honest", id, asked % 7 == 6 ? "[2,1]" : "[1,2]"); /* 86 % right */
        judge("flipper", id, asked % 7 == 6 ? "[1,2]" : "[2,1]");
    }
    ck_assert(is_set_aside("flipper"));
    ck_assert(!is_set_aside("honest"));
    ck_assert_int_lt(asked, 50);
    ck_assert_int_eq(count("labels"), asked); /* the honest one's alone */
    collector_stop();
}
END_TEST

int main(void)
{
    return RUN_SUITE("label-collector/hostile", whatever_is_written_into_a_field_is_text, text_comes_back_byte_by_byte,
                     a_vendor_that_flips_everything_is_set_aside_with_all_it_said);
}
