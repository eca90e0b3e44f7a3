/* The real daemon over real sockets: what every route says to good and to hostile requests, and that it lives
 * on. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "support/collector.h"
#include "support/suite.h"

static void setup(void)
{
    collector_start("request_seconds: 600\n"); /* a machine that stands still meanwhile is nobody's fault */
}

/* Every test ends so: the daemon has to be alive, and to stop cleanly (under ASan: without leaks). */
static void teardown(void)
{
    struct http_answer a = http_get(collector_address, "/healthz");

    ck_assert_int_eq(a.status, 200);
    http_answer_free(&a);
    collector_stop();
}

/* The answer has this status and, when it is an error, tells so as a problem. Frees it. */
static void expect_answer(struct http_answer a, int status, const char *what)
{
    json_t *json = a.body ? json_loadb(a.body, a.body_size, JSON_DISABLE_EOF_CHECK, NULL) : NULL;

    ck_assert_msg(a.status == status, "%.200s: %d expected, got %d %.500s", what, status, a.status,
                  a.body ? a.body : "");
    if (status >= 400) {
        ck_assert_msg(json_integer_value(json_object_get(json, "status")) == status
                          && json_string_value(json_object_get(json, "type")) != NULL
                          && json_string_value(json_object_get(json, "detail")) != NULL,
                      "%.200s: not a problem: %.500s", what, a.body);
        expect_contains(a.head, "application/problem+json");
    }
    json_decref(json);
    http_answer_free(&a);
}

/* The same, and its first error points there. */
static void expect_fault(struct http_answer a, int status, const char *pointer, const char *what)
{
    json_t *json = a.body ? json_loads(a.body, 0, NULL) : NULL;
    const char *said =
        json_string_value(json_object_get(json_array_get(json_object_get(json, "errors"), 0), "pointer"));

    ck_assert_msg(pointer && said ? strcmp(said, pointer) == 0 : pointer == said, "%.200s: %s expected, got %.500s", what,
                  pointer ? pointer : "no pointer", a.body);
    json_decref(json);
    expect_answer(a, status, what);
}

static void post(const char *target, const char *json, int status)
{
    expect_answer(http_post(collector_address, target, json), status, json);
}

static void import(const char *target, const char *lines, int status, const char *part)
{
    struct http_answer a =
        http_request(collector_address, "POST", target, "", "application/x-ndjson", lines, strlen(lines));

    expect_contains(a.body, part);
    expect_answer(a, status, target);
}

static void get(const char *target, int status)
{
    expect_answer(http_get(collector_address, target), status, target);
}

/* A number out of GET target, by key. */
static json_int_t number(const char *target, const char *key)
{
    struct http_answer a = http_get(collector_address, target);
    json_t *json = a.body ? json_loads(a.body, 0, NULL) : NULL;
    json_int_t n = json_integer_value(json_object_get(json, key));

    ck_assert_int_eq(a.status, 200);
    json_decref(json);
    http_answer_free(&a);
    return n;
}

static const char pair_task[] =
    "{\"id\":\"r/1\",\"round\":\"r\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}";

START_TEST(a_judgement_goes_from_task_to_list)
{
    post("/api/v1/tasks", pair_task, 200);
    post("/api/v1/tasks", pair_task, 200);
    get("/api/v1/tasks/next?labeler=ada&round=r&count=3", 200);
    post("/api/v1/tasks/r%2F1/label",
         "{\"labeler\":\"ada\",\"ranks\":[2,1],\"seconds\":1.5,\"flags\":{\"x\":true}}", 200);
    ck_assert_int_eq(number("/api/v1/stats", "labels"), 1);
    struct http_answer a = http_get(collector_address, "/api/v1/comparisons?round=r");
    expect_contains(a.body, "\"ranks\":[2,1]");
    expect_contains(a.body, "\"id\":\"ada@r/1\"");
    expect_contains(a.body, "\"presented\":[");
    expect_contains(a.body, "\"flags\":{\"x\":true}");
    http_answer_free(&a);
}
END_TEST

START_TEST(answers_are_taken_back_and_people_set_aside_and_readmitted)
{
    post("/api/v1/tasks", pair_task, 200);
    post("/api/v1/tasks/r%2F1/label", "{\"labeler\":\"ada\",\"ranks\":[2,1]}", 200);
    ck_assert_int_eq(number("/api/v1/stats", "open"), 0);
    post("/api/v1/tasks/r%2F1/undo", "{\"labeler\":\"bob\"}", 404);
    post("/api/v1/tasks/r%2F1/undo", "{\"labeler\":\"ada\"}", 200);
    post("/api/v1/tasks/r%2F1/undo", "{\"labeler\":\"ada\"}", 404);
    ck_assert_int_eq(number("/api/v1/stats", "open"), 1);
    post("/api/v1/tasks/r%2F1/label", "{\"labeler\":\"ada\",\"ranks\":[1,2]}", 200);
    post("/api/v1/quarantine", "{\"scope\":\"labeler\",\"name\":\"ada\",\"why\":\"flips\"}", 422); /* who says so? */
    post("/api/v1/quarantine", "{\"scope\":\"planet\",\"name\":\"ada\",\"who\":\"o\",\"why\":\"flips\"}", 422);
    post("/api/v1/quarantine", "{\"scope\":\"labeler\",\"name\":\"ada\",\"who\":\"o\",\"why\":\"flips\"}", 200);
    struct http_answer a = http_get(collector_address, "/api/v1/standing?scope=labeler&name=ada");
    expect_contains(a.body, "\"quarantine\":\"flips\"");
    http_answer_free(&a);
    a = http_get(collector_address, "/api/v1/export");
    ck_assert_uint_eq(a.body_size, 0);
    http_answer_free(&a);
    post("/api/v1/quarantine", "{\"scope\":\"labeler\",\"name\":\"ada\",\"who\":\"o\",\"why\":null}", 200);
    a = http_get(collector_address, "/api/v1/export");
    expect_contains(a.body, "\"ranks\":[1,2]");
    http_answer_free(&a);
    post("/api/v1/standing", "{\"scope\":\"source\",\"name\":\"api\",\"who\":\"o\",\"quota\":-1}", 422);
    post("/api/v1/standing", "{\"scope\":\"source\",\"name\":\"api\",\"who\":\"o\",\"quota\":1,\"weight\":0.5}", 200);
    post("/api/v1/standing", "{\"scope\":\"source\",\"name\":\"api\",\"who\":\"o\",\"weight\":\"heavy\"}", 422);
    post("/api/v1/standing", "{\"scope\":\"source\",\"name\":\"api\",\"who\":\"o\",\"weight\":0.25}", 200);
    a = http_get(collector_address, "/api/v1/standing?scope=source&name=api");
    expect_contains(a.body, "\"quota\":1,"); /* what is left out stays */
    expect_contains(a.body, "\"weight\":0.25");
    http_answer_free(&a);
    get("/api/v1/standing?scope=planet", 400);
    a = http_get(collector_address, "/api/v1/agreement?round=r");
    expect_contains(a.body, "\"alpha\":{\"value\":null");
    http_answer_free(&a);
    post("/api/v1/weights", "{\"round\":\"r\"}", 422); /* who says so? */
    post("/api/v1/weights", "{\"who\":\"o\",\"round\":\"r\"}", 200);
}
END_TEST

START_TEST(every_kind_of_task_goes_from_offer_to_list)
{
    post("/api/v1/tasks",
         "[{\"id\":\"a\",\"kind\":\"likert\",\"prompt\":\"p\",\"completions\":[\"x\"],\"wanted\":2,"
         "\"policies\":[{\"policy\":\"sft\",\"version\":3}]},"
         "{\"id\":\"b\",\"kind\":\"demonstration\",\"prompt\":\"write\"}]",
         200);
    post("/api/v1/tasks", "{\"id\":\"c\",\"kind\":\"dance\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}", 422);
    post("/api/v1/tasks", "{\"id\":\"c\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"],\"gold\":{\"ranks\":[1]}}", 422);
    struct http_answer a = http_get(collector_address, "/api/v1/tasks/next?labeler=ada&count=9");
    expect_contains(a.body, "\"kind\":\"likert\"");
    expect_contains(a.body, "\"kind\":\"demonstration\"");
    http_answer_free(&a);
    post("/api/v1/tasks/a/label", "{\"labeler\":\"ada\",\"ratings\":[8]}", 422);
    post("/api/v1/tasks/a/label", "{\"labeler\":\"ada\",\"ratings\":[7]}", 200);
    post("/api/v1/tasks/b/label", "{\"labeler\":\"ada\",\"answer\":\" \"}", 422);
    post("/api/v1/tasks/b/label", "{\"labeler\":\"ada\",\"answer\":\"so\"}", 200);
    ck_assert_int_eq(number("/api/v1/stats", "open"), 1); /* somebody else may still rate */
    a = http_get(collector_address, "/api/v1/comparisons");
    expect_contains(a.body, "\"ratings\":[7]");
    expect_contains(a.body, "\"answer\":\"so\"");
    expect_contains(a.body, "\"version\":3");
    http_answer_free(&a);
}
END_TEST

START_TEST(every_route_refuses_what_is_not_its_own)
{
    static const char *const gets[] = { "/",
                                        "/page.js",
                                        "/page.css",
                                        "/icon.svg",
                                        "/healthz",
                                        "/api/v1/stats",
                                        "/api/v1/comparisons",
                                        "/api/v1/tasks/next?labeler=a",
                                        "/api/v1/export" };
    static const char *const posts[] = { "/api/v1/tasks",  "/api/v1/comparisons",   "/api/v1/rankings",
                                         "/api/v1/import", "/api/v1/tasks/t/label", "/api/v1/tasks/t/skip" };
    static const char *const methods[] = { "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW" };
    static const char *const not_json[] = {
        "",     "{",    "{\"id\":\"\\u0000\"}", "{\"id\":\"a\",\"id\":\"b\"}", "\"\xff\xfe\"", "1e999",
        "null", "{} {}"
    };

    for (size_t i = 0; i < sizeof(gets) / sizeof(gets[0]); ++i) {
        get(gets[i], 200);
        for (size_t m = 0; m < 6; ++m)
            if (strcmp(gets[i], "/api/v1/comparisons") != 0)
                expect_answer(http_request(collector_address, methods[m], gets[i], "", NULL, NULL, 0), 405, gets[i]);
    }
    for (size_t i = 0; i < sizeof(posts) / sizeof(posts[0]); ++i) {
        for (size_t m = 0; m < 6; ++m)
            expect_answer(http_request(collector_address, methods[m], posts[i], "", NULL, NULL, 0), 405, posts[i]);
        expect_answer(http_request(collector_address, "POST", posts[i], "", "text/plain", "{}", 2), 415, posts[i]);
        expect_answer(http_request(collector_address, "POST", posts[i], "", NULL, "{}", 2), 415, posts[i]);
        if (strcmp(posts[i], "/api/v1/import") == 0)
            continue;
        for (size_t k = 0; k < sizeof(not_json) / sizeof(not_json[0]); ++k)
            post(posts[i], not_json[k], 400);
        post(posts[i], "[]", 422);
        post(posts[i], "[1,2]", 422);
        post(posts[i], "{}", 422);
    }
    get("/nothing", 404);
    get("/api/v1/tasks//label", 404);
    get("/../../etc/passwd", 404);
    get("/%2e%2e/etc/passwd", 404);
}
END_TEST

START_TEST(values_are_checked_field_by_field)
{
    static const char task[] = "/api/v1/tasks", label[] = "/api/v1/tasks/r%2F1/label";
    static const char comparisons[] = "/api/v1/comparisons", rankings[] = "/api/v1/rankings";
    static const struct {
        int status;
        const char *target, *body, *pointer; /* to the field at fault; NULL = none */
    } cases[] = {
        { 422, task, "{\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}", "/id" },
        { 422, task, "{\"id\":7,\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}", "/id" },
        { 422, task, "{\"id\":\"a\\nb\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}", "/id" },
        { 422, task, "{\"id\":\"t\",\"completions\":[\"x\",\"y\"]}", "/prompt" },
        { 422, task, "{\"id\":\"t\",\"prompt\":\"p\",\"completions\":[\"x\"]}", "/completions" },
        { 422, task, "{\"id\":\"t\",\"prompt\":\"p\",\"completions\":[\"x\",5]}", "/completions/1" },
        { 422, task, "{\"id\":\"t\",\"prompt\":\"p\",\"completions\":{}}", "/completions" },
        { 409, task, "{\"id\":\"r/1\",\"round\":\"r\",\"prompt\":\"other\",\"completions\":[\"x\",\"y\"]}", NULL },
        { 422, label, "{\"ranks\":[1,2]}", "/labeler" },
        { 422, label, "{\"labeler\":\"a\"}", "/ranks" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1]}", "/ranks" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[0,1]}", "/ranks/0" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,3]}", "/ranks/1" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1.5,1]}", "/ranks/0" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2,3]}", "/ranks" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"presented\":[0,0]}", "/presented" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"presented\":[0,-1]}", "/presented/1" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"seconds\":-1}", "/seconds" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"seconds\":\"5\"}", "/seconds" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"strength\":101}", "/strength" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"flags\":7}", "/flags" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"source\":\"a b\"}", "/source" },
        { 422, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"task\":\"else\"}", "/task" },
        { 409, label, "{\"labeler\":\"a\",\"ranks\":[1,2],\"revision\":2}", NULL },
        { 404, "/api/v1/tasks/none/label", "{\"labeler\":\"a\",\"ranks\":[1,2]}", NULL },
        { 404, "/api/v1/tasks/none/skip", "{\"labeler\":\"a\"}", NULL },
        { 422, "/api/v1/tasks/r%2F1/skip", "{\"labeler\":\"\"}", "/labeler" },
        { 422, comparisons, "{\"labeler\":\"a\",\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"}", "/id" },
        { 422, comparisons, "{\"id\":\"i\",\"labeler\":\"a\",\"prompt\":\"p\",\"chosen\":\"x\"}", "/rejected" },
        { 422, comparisons,
          "{\"id\":\"i\",\"labeler\":\"a\",\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"x\"}", "/chosen" },
        { 422, comparisons, "{\"id\":\"i\",\"labeler\":\"a\",\"chosen\":\"x\",\"rejected\":\"y\"}", "/prompt" },
        { 422, rankings, "{\"task\":\"r/1\",\"labeler\":\"a\",\"ranking\":[0,0]}", "/ranking" },
        { 422, rankings, "{\"task\":\"r/1\",\"labeler\":\"a\",\"ranking\":[1]}", "/ranking" },
        { 422, rankings, "{\"task\":\"r/1\",\"labeler\":\"a\",\"ranking\":[[0,[1]]]}", "/ranking" },
        { 422, rankings, "{\"task\":\"r/1\",\"labeler\":\"a\",\"ranking\":[0,99999999999]}", "/ranking" },
    };

    post("/api/v1/tasks", pair_task, 200);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i)
        expect_fault(http_post(collector_address, cases[i].target, cases[i].body), cases[i].status, cases[i].pointer,
                     cases[i].body);
    expect_fault(http_post(collector_address, task, "[{\"id\":\"a\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]},{\"id\":\"b\","
                                          "\"prompt\":\"p\",\"completions\":[\"x\",\"y\"],\"gold\":{\"ranks\":[1,7]}}]"),
                 422, "/1/gold/ranks/1", "an array");
    get("/api/v1/tasks/next", 400);
    get("/api/v1/tasks/next?labeler=a&count=501", 400);
    get("/api/v1/tasks/next?labeler=a&count=-1", 400);
    get("/api/v1/tasks/next?labeler=%ff", 400);
    get("/api/v1/comparisons?cursor=c99999999999999999999", 400);
    get("/api/v1/comparisons?limit=many", 400);
    get("/api/v1/export?format=csv", 400);
    ck_assert_int_eq(number("/api/v1/stats", "labels"), 0);
}
END_TEST

START_TEST(an_array_is_stored_as_a_whole_or_not_at_all)
{
    static const char two[] =
        "[{\"labeler\":\"a\",\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"},"
        "{\"labeler\":\"a\",\"prompt\":\"p\",\"completions\":[\"1\",\"2\",\"3\"],\"ranks\":[1,1,2]}]";

    post("/api/v1/comparisons",
         "[{\"id\":\"1\",\"labeler\":\"a\",\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"},"
         "{\"id\":\"2\",\"labeler\":\"a\",\"prompt\":\"p\",\"chosen\":\"x\"},"
         "{\"id\":\"3\",\"labeler\":\"a\",\"task\":\"none\",\"ranks\":[1,2]}]",
         422);
    ck_assert_int_eq(number("/api/v1/stats", "labels"), 0);
    struct http_answer a = http_request(collector_address, "POST", "/api/v1/comparisons", "Idempotency-Key: k\r\n",
                                        "application/json", two, strlen(two));
    expect_contains(a.body, "\"id\":\"k/1\"");
    expect_answer(a, 200, "idempotency key");
    a = http_get(collector_address, "/api/v1/comparisons");
    expect_contains(a.body, "\"ranks\":[1,1,3]"); /* one spelling of ties */
    http_answer_free(&a);
}
END_TEST

START_TEST(other_sites_are_refused)
{
    static const struct {
        int status;
        const char *headers;
    } cases[] = {
        { 200, "" },
        { 403, "Origin: http://evil.example\r\n" },
        { 403, "Origin: null\r\n" },
        { 403, "Sec-Fetch-Site: cross-site\r\n" },
        { 403, "Sec-Fetch-Site: same-site\r\n" },
        { 200, "Sec-Fetch-Site: same-origin\r\n" },
    };
    static const char link[] = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    char own[256];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        expect_answer(http_request(collector_address, "POST", "/api/v1/tasks", cases[i].headers, "application/json",
                                   pair_task, strlen(pair_task)),
                      cases[i].status, cases[i].headers);
        expect_answer(http_request(collector_address, "GET", "/api/v1/stats", cases[i].headers, NULL, NULL, 0),
                      cases[i].status, cases[i].headers);
    }
    snprintf(own, sizeof(own), "Origin: %s\r\n", collector_address);
    expect_answer(
        http_request(collector_address, "POST", "/api/v1/tasks", own, "application/json", pair_task, strlen(pair_task)),
        200, own);
    /* A link from elsewhere may lead to the page, and to nothing else. */
    expect_answer(http_request(collector_address, "GET", "/", link, NULL, NULL, 0), 200, "link");
    expect_answer(http_request(collector_address, "GET", "/api/v1/export", link, NULL, NULL, 0), 403, "link");
}
END_TEST

/* Sends raw bytes; the status of what comes, 0 when nothing does. */
static int raw(const char *bytes, size_t size)
{
    int fd = http_connect(collector_address);

    ck_assert_int_ge(fd, 0);
    http_send(fd, bytes, size);
    struct http_answer a = http_read(fd);
    int status = a.status;
    http_answer_free(&a);
    close(fd);
    return status;
}

START_TEST(a_foreign_host_name_is_refused)
{
    static const char *const refused[] = { "evil.example", "127.0.0.1.evil.example", "localhost:80:90",
                                           "[::1].evil", "[" };
    char request[256];
    int n;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); ++i) {
        n = snprintf(request, sizeof(request),
                     "GET /api/v1/stats HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", refused[i]);
        ck_assert_int_eq(raw(request, (size_t)n), 403);
    }
    n = snprintf(request, sizeof(request),
                 "GET /api/v1/stats HTTP/1.1\r\nHost: LocalHost:1\r\nConnection: close\r\n\r\n");
    ck_assert_int_eq(raw(request, (size_t)n), 200);
}
END_TEST

START_TEST(the_page_may_not_be_framed_or_extended)
{
    struct http_answer a = http_get(collector_address, "/");

    expect_contains(a.head, "default-src 'none'");
    expect_contains(a.head, "frame-ancestors 'none'");
    expect_contains(a.head, "X-Frame-Options: DENY");
    expect_contains(a.head, "nosniff");
    expect_contains(a.head, "text/html");
    ck_assert_ptr_null(strstr(a.body, "http://")); /* nothing from elsewhere */
    ck_assert_ptr_null(strstr(a.body, "https://"));
    http_answer_free(&a);
}
END_TEST

START_TEST(bodies_over_the_limit_get_413)
{
    static const char announced[] =
        "POST /api/v1/comparisons HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        "Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
    static const char chunked[] = "POST /api/v1/tasks/t/label HTTP/1.1\r\nHost: localhost\r\n"
                                  "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    static char body[100001];
    bool open = true;

    memset(body, ' ', sizeof(body) - 1);
    ck_assert_int_eq(raw(announced, strlen(announced)), 413); /* before a byte of it */
    post("/api/v1/tasks/t/label", body, 413);
    int fd = http_connect(collector_address); /* without an announced size: heard out for a while, then cut off */
    http_send(fd, chunked, strlen(chunked));
    for (int i = 0; open && i < 1024; ++i)
        open = http_send(fd, "10000\r\n", 7) && http_send(fd, body, 65536) && http_send(fd, "\r\n", 2);
    ck_assert(!open);
    close(fd);
}
END_TEST

START_TEST(deep_and_wide_json_is_harmless)
{
    size_t size = 4u << 20;
    char *body = malloc(size + 1);

    memset(body, '[', size);
    body[size] = '\0';
    post("/api/v1/comparisons", body, 400);
    for (size_t i = 0; i + 5 <= size; i += 5)
        memcpy(body + i, "{\"a\":", 5);
    post("/api/v1/tasks", body, 400);
    for (size_t i = 0; i + 2 <= size; i += 2)
        memcpy(body + i, i ? "0," : "[ ", 2);
    memcpy(body + size - 2, "0]", 2);
    post("/api/v1/tasks", body, 422);
    free(body);
}
END_TEST

START_TEST(requests_cut_short_cost_only_their_sender)
{
    static const char whole[] =
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\n[{\"id\r\n3\r\n\":1\r\n0\r\n\r\n";
    static const char broken[] =
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n";

    for (size_t size = 0; size < sizeof(whole) - 1; ++size) {
        int fd = http_connect(collector_address);
        ck_assert_int_ge(fd, 0);
        http_send(fd, whole, size);
        close(fd);
    }
    int status = raw(broken, strlen(broken));
    ck_assert_msg(status == 0 || status == 400, "status %d", status);
    ck_assert_int_eq(number("/api/v1/stats", "tasks"), 0);
}
END_TEST

START_TEST(random_bytes_are_harmless)
{
    struct rlhf_random random;
    char noise[4096], head[40000], body[sizeof(pair_task)];

    rlhf_random_init(&random, 7, RLHF_PURPOSE_FAULT, 0, 0);
    for (int i = 0; i < 300; ++i) {
        size_t size = rlhf_random_below(&random, sizeof(noise));
        for (size_t k = 0; k < size; ++k)
            noise[k] = (char)rlhf_random_u32(&random);
        int fd = http_connect(collector_address);
        ck_assert_int_ge(fd, 0);
        http_send(fd, noise, size);
        close(fd);
    }
    for (int i = 0; i < 300; ++i) { /* well-formed requests with some bytes of the body changed */
        memcpy(body, pair_task, sizeof(body));
        for (int k = 0; k < 3; ++k)
            body[rlhf_random_below(&random, sizeof(body) - 1)] = (char)rlhf_random_u32(&random);
        struct http_answer a =
            http_request(collector_address, "POST", "/api/v1/tasks", "", "application/json", body, sizeof(body) - 1);
        ck_assert_msg(a.status == 200 || a.status == 400 || a.status == 409 || a.status == 422, "status %d",
                      a.status);
        http_answer_free(&a);
    }
    memset(head, 'x', sizeof(head));
    memcpy(head, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", 43);
    int status = raw(head, sizeof(head));
    ck_assert_msg(status == 0 || status >= 400, "endless header: %d", status);
}
END_TEST

/* libmicrohttpd answers these itself (API.md): nothing is known of them but the status. */
START_TEST(what_is_not_http_is_refused_and_the_next_one_served)
{
    static const char *const broken[] = {
        "GARBAGE\r\n\r\n",
        "GET /healthz SMTP/1.0\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };

    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        int status = raw(broken[i], strlen(broken[i]));

        ck_assert_msg(status == 0 || status >= 400, "request %zu: %d", i, status);
        get("/healthz", 200);
    }
}
END_TEST

/* fixtures/vendors/NAME of $RLHF_SHARED; NULL, said aloud, when it is not there. */
static char *vendor_file(const char *name)
{
    const char *shared = getenv("RLHF_SHARED");
    char path[512];
    long size;

    snprintf(path, sizeof(path), "%s/fixtures/vendors/%s", shared ? shared : ".", name);
    FILE *f = fopen(path, "r");
    if (!f) {
        printf("skipped: RLHF_SHARED has no fixtures/vendors/%s\n", name);
        return NULL;
    }
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    char *text = calloc(1, (size_t)size + 1);
    ck_assert_uint_eq(fread(text, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    return text;
}

static void import_vendor(const char *format, const char *file, const char *part)
{
    char target[128], *text = vendor_file(file);

    snprintf(target, sizeof(target), "/api/v1/import?round=v&format=%s", format);
    if (text)
        import(target, text, 200, part);
    free(text);
}

/* Twice: the second time nothing is new. */
static void import_twice(const char *format, const char *file, int judgements)
{
    char part[64];

    for (int again = 0; again < 2; ++again) {
        snprintf(part, sizeof(part), "\"stored\":%d,\"known\":%d", again ? 0 : judgements, again ? judgements : 0);
        import_vendor(format, file, part);
    }
}

/* Facts in API.md: what was passed on or left empty is never a tie, what cannot be understood is named. */
START_TEST(exports_of_label_studio_import)
{
    import_twice("label_studio", "label_studio/export_JSON.json", 1);
    import_vendor("label_studio", "label_studio/export_JSON.json", "judged as up, not left or right");
    import_vendor("label_studio", "label_studio/export_JSON.json", "\"skipped\":1");
    import_vendor("label_studio", "label_studio/export_JSON_MIN.json", "\"stored\":0,\"known\":1");
    import_vendor("label_studio", "label_studio/export_CSV.csv", "\"stored\":0,\"known\":1");
}
END_TEST

START_TEST(tasks_of_scale_import)
{
    import_twice("scale", "scale/v2_tasks_page.json", 2);
    import_twice("scale", "scale/v2_task_ranked_choices.json", 1);
    struct http_answer a = http_get(collector_address, "/api/v1/comparisons?round=v");
    expect_contains(a.body, "\"source\":\"scale\"");
    expect_contains(a.body, "\"ranks\":[2,4,1,3]"); /* resp_2, resp_0, resp_3, resp_1 */
    expect_contains(a.body, "\"ranks\":[1,1,3]");
    http_answer_free(&a);
}
END_TEST

START_TEST(tasks_of_surge_and_records_of_argilla_import)
{
    import_twice("surge", "surge/tasks_page1.json", 3);
    import_twice("argilla", "argilla/records.json", 2);
}
END_TEST

START_TEST(a_labelbox_export_finds_the_tasks_it_names)
{
    char *text = vendor_file("labelbox/export_v2.ndjson");

    if (!text)
        return;
    import("/api/v1/import?format=labelbox", text, 422, "there is no task pair-0001");
    post("/api/v1/tasks",
         "[{\"id\":\"pair-0001\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]},"
         "{\"id\":\"pair-0002\",\"prompt\":\"q\",\"completions\":[\"x\",\"y\"]}]",
         200);
    import("/api/v1/import?format=labelbox", text, 200, "\"stored\":2,\"known\":0");
    import("/api/v1/import?format=labelbox", text, 200, "\"stored\":0,\"known\":2");
    free(text);
    struct http_answer a = http_get(collector_address, "/api/v1/comparisons");
    expect_contains(a.body, "\"labeler\":\"w17@example.org\"");
    expect_contains(a.body, "B answers the question asked.");
    http_answer_free(&a);
    import("/api/v1/import?format=nobody", "[]", 400, "format must be label_studio");
}
END_TEST

START_TEST(imports_report_bad_lines_and_store_good_ones)
{
    static const char lines[] =
        "{\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: yes\",\"rejected\":\"\\n\\nHuman: a\\n\\nAssistant: "
        "no\"}\n"
        "not json\n"
        "\n"
        "{\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\",\"labeler\":\"eve\",\"id\":\"mine\"}\r\n"
        "{\"prompt\":\"p\",\"chosen\":\"x\"}\n"
        "{\"prompt\":\"p\",\"responses\":[\"a\",\"b\",\"c\"],\"ranks\":[1,1,3]}"; /* no newline at the end */

    import("/api/v1/import?round=r", lines, 200,
           "\"lines\":6,\"stored\":3,\"known\":0,\"revised\":0,\"rejected\":2");
    import("/api/v1/import?round=r", lines, 200,
           "\"lines\":6,\"stored\":0,\"known\":3,\"revised\":0,\"rejected\":2");
    import("/api/v1/import?round=r", lines, 200, "{\"line\":2,");
    import("/api/v1/import?round=r", lines, 200, "{\"line\":5,");
    ck_assert_int_eq(number("/api/v1/stats?round=r", "labels"), 3);
    import("/api/v1/import", "nothing good", 422, "\"line\":1");
    import("/api/v1/import", "", 422, "no line");
}
END_TEST

/* A file of fixtures, or NULL where the shared folder is not there. Owned by the caller. */
static char *read_fixture(const char *name)
{
    const char *shared = getenv("RLHF_SHARED");
    char path[512];

    snprintf(path, sizeof(path), "%s/fixtures/vendors/hf/%s", shared ? shared : ".", name);
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    char *text = calloc(1, 65536);
    ck_assert_uint_lt(fread(text, 1, 65535, f), 65535);
    fclose(f);
    return text;
}

START_TEST(files_of_the_field_import)
{
    static const struct {
        const char *name, *part;
    } files[] = {
        { "chosen_rejected_transcript.jsonl", "\"stored\":2,\"known\":0,\"revised\":0,\"rejected\":0" },
        { "kway.jsonl", "\"stored\":1,\"known\":0,\"revised\":0,\"rejected\":0" },
        /* The first of them in another form: the same comparison, which counts once. */
        { "conversational.jsonl", "\"stored\":0,\"known\":1,\"revised\":0,\"rejected\":0" },
    };

    for (size_t i = 0; i < 3; ++i) {
        char *text = read_fixture(files[i].name);
        if (!text) {
            printf("skipped: RLHF_SHARED has no fixtures/vendors/hf/%s\n", files[i].name);
            return;
        }
        import("/api/v1/import", text, 200, files[i].part);
        free(text);
    }
    struct http_answer a = http_get(collector_address, "/api/v1/export?format=hh");
    char *text = read_fixture("chosen_rejected_transcript.jsonl");
    json_t *out = json_loads(a.body, JSON_DISABLE_EOF_CHECK, NULL),
           *in = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert(json_equal(in, out)); /* transcripts come back as they went in */
    json_decref(in);
    json_decref(out);
    free(text);
    http_answer_free(&a);
}
END_TEST

/* Everything exported from one collector and imported into another exports the same. */
START_TEST(an_export_imports_back_without_loss)
{
    char second_place[320];

    post("/api/v1/tasks", pair_task, 200);
    get("/api/v1/tasks/next?labeler=ada", 200);
    post("/api/v1/tasks/r%2F1/label",
         "{\"labeler\":\"ada\",\"ranks\":[1,1],\"seconds\":2.25,\"note\":\"n \\u00e9\",\"flags\":{\"a\":1},"
         "\"strength\":-3}",
         200);
    post("/api/v1/comparisons",
         "{\"id\":\"k\",\"labeler\":\"b\",\"round\":\"s\",\"prompt\":\"p\",\"completions\":[\"a\",\"b\","
         "\"c\"],"
         "\"ranks\":[3,1,1]}",
         200);
    struct http_answer first = http_get(collector_address, "/api/v1/export");
    ck_assert_int_eq(first.status, 200);

    collector_stop();
    snprintf(second_place, sizeof(second_place), "%s/second", collector_directory);
    ck_assert_int_eq(mkdir(second_place, 0700), 0);
    collector_place(second_place, NULL);
    collector_start("");
    import("/api/v1/import", first.body, 200, "\"stored\":2");
    struct http_answer second = http_get(collector_address, "/api/v1/export");
    for (char *x = first.body, *y = second.body;
         (x = strstr(x, "\"stored_at\"")) && (y = strstr(y, "\"stored_at\"")); ++x, ++y)
        memcpy(x, y, 41); /* the one thing that is new */
    ck_assert_str_eq(first.body, second.body);
    http_answer_free(&first);
    http_answer_free(&second);
}
END_TEST

START_TEST(exports_have_three_forms)
{
    post("/api/v1/comparisons",
         "{\"id\":\"k\",\"labeler\":\"b\",\"prompt\":\"p\",\"completions\":[\"a\",\"b\",\"c\"],\"ranks\":[2,"
         "1,1]}",
         200);
    struct http_answer a = http_get(collector_address, "/api/v1/export?format=pairs");
    ck_assert_str_eq(
        a.body, "{\"prompt\":\"p\",\"chosen\":\"b\",\"rejected\":\"a\",\"id\":\"k/1-0\",\"labeler\":\"b\","
                "\"round\":\"\"}\n"
                "{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"a\",\"id\":\"k/2-0\",\"labeler\":\"b\","
                "\"round\":\"\"}\n");
    http_answer_free(&a);
    a = http_get(collector_address, "/api/v1/export?format=hh");
    expect_contains(a.body, "{\"chosen\":\"\\n\\nHuman: p\\n\\nAssistant: b\",\"rejected\":\"\\n\\nHuman: "
                            "p\\n\\nAssistant: a\"}\n");
    http_answer_free(&a);
}
END_TEST

START_TEST(a_long_export_arrives_whole)
{
    enum { BATCHES = 8, LABELS = 500 };
    char *body = malloc(LABELS * 600 + 8), *p;
    size_t lines = 0;

    for (int b = 0; b < BATCHES; ++b) {
        p = body + sprintf(body, "[");
        for (int i = 0; i < LABELS; ++i)
            p += sprintf(p,
                         "%s{\"id\":\"%d\",\"labeler\":\"a\",\"prompt\":\"%0400d\",\"chosen\":\"x\","
                         "\"rejected\":\"y\"}",
                         i ? "," : "", b * LABELS + i, i);
        strcpy(p, "]");
        post("/api/v1/comparisons", body, 200);
    }
    struct http_answer a = http_get(collector_address, "/api/v1/export");
    for (p = a.body; (p = strchr(p, '\n')); ++p)
        ++lines;
    ck_assert_uint_eq(lines, BATCHES * LABELS);
    http_answer_free(&a);
    free(body);
}
END_TEST

START_TEST(idle_and_slow_clients_do_not_shut_others_out)
{
    enum { CLIENTS = 600 };
    int fd[CLIENTS];
    char byte;

    collector_stop();
    collector_start_again("127.0.0.1:0", "max_connections: 64\nrequest_seconds: 1\n");
    for (int i = 0; i < CLIENTS; ++i) {
        fd[i] = http_connect(collector_address);
        if (fd[i] >= 0 && i % 2)
            http_send(fd[i], "POST /api/v1/tasks HTTP/1.1\r\nHost: local", 41); /* and no more */
        if (i % 50 == 0)
            get("/healthz", 200);
    }
    get("/healthz", 200);
    for (int i = 0; i < CLIENTS; ++i) { /* all of them are let go */
        ssize_t n = 1;
        while (fd[i] >= 0 && ((n = recv(fd[i], &byte, 1, 0)) > 0 || (n < 0 && errno == EINTR)))
            ;
        ck_assert_msg(n == 0 || errno == ECONNRESET, "client %d was not let go: %s", i, strerror(errno));
        close(fd[i]);
    }
}
END_TEST

START_TEST(what_cannot_be_bound_is_named)
{
    char settings[256];

    snprintf(settings, sizeof(settings), "http: %s\n", collector_address + 7);
    collector_refuses(settings, "is in use: see who has it");
    collector_refuses("http: 0.0.0.0:0\n", "there is no token");
    collector_refuses("http: nonsense\n", "is not an address");
    collector_refuses("http: 127.0.0.1:99999\n", "is not an address");
    collector_refuses("htpp: 127.0.0.1:0\n", "htpp");
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH(
        "label-collector/http", setup, teardown, a_judgement_goes_from_task_to_list,
        answers_are_taken_back_and_people_set_aside_and_readmitted, every_kind_of_task_goes_from_offer_to_list,
        every_route_refuses_what_is_not_its_own, values_are_checked_field_by_field,
        an_array_is_stored_as_a_whole_or_not_at_all, other_sites_are_refused, a_foreign_host_name_is_refused,
        the_page_may_not_be_framed_or_extended, bodies_over_the_limit_get_413, deep_and_wide_json_is_harmless,
        requests_cut_short_cost_only_their_sender, random_bytes_are_harmless,
        what_is_not_http_is_refused_and_the_next_one_served,
        imports_report_bad_lines_and_store_good_ones, exports_of_label_studio_import, tasks_of_scale_import,
        tasks_of_surge_and_records_of_argilla_import,
        a_labelbox_export_finds_the_tasks_it_names, files_of_the_field_import,
        an_export_imports_back_without_loss, exports_have_three_forms, a_long_export_arrives_whole,
        idle_and_slow_clients_do_not_shut_others_out, what_cannot_be_bound_is_named);
}
