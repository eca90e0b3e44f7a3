/* Who may do what, against the real daemon: tokens and their roles, sessions of browsers, wrong guesses. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/collector.h"
#include "support/process.h"
#include "support/suite.h"

static const char *owner, *ada, *vendor, *learner;

static void setup(void)
{
    collector_start("");
}

static void teardown(void)
{
    collector_stop();
}

static void make_tokens(void)
{
    owner = collector_token("add --role owner olga");
    ada = collector_token("add --role labeler ada");
    vendor = collector_token("add --role vendor acme");
    learner = collector_token("add --role learner trainer");
    for (int i = 0; i < 3000; ++i) { /* the daemon takes notice within a second */
        struct http_answer a = http_get(collector_address, "/api/v1/stats");
        int status = a.status;
        http_answer_free(&a);
        if (status == 401)
            return;
        usleep(2000);
    }
    ck_abort_msg("tokens are there, and everything is still open");
}

static const char task[] = "{\"id\":\"t\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}";

START_TEST(without_tokens_loopback_is_open)
{
    expect_contains(collector_expect(200, NULL, "GET", "/api/v1/session", NULL), "\"open\":true");
    collector_expect(200, NULL, "POST", "/api/v1/tasks", task);
    collector_expect(200, NULL, "POST", "/api/v1/tasks/t/label", "{\"labeler\":\"any\",\"ranks\":[1,2]}");
    collector_expect(200, NULL, "GET", "/api/v1/standing", NULL);
}
END_TEST

START_TEST(each_route_is_for_its_roles)
{
    /* What labeler, vendor, learner and owner get; bodies are wrong on purpose: 422 and 404 are answers to who may ask. */
    static const struct {
        const char *method, *target, *body;
        int status[4];
    } routes[] = {
        {"GET", "/api/v1/session", NULL, {200, 200, 200, 200}},
        {"GET", "/api/v1/tokens", NULL, {403, 403, 403, 200}},
        {"POST", "/api/v1/tokens", "{}", {403, 403, 403, 422}},
        {"DELETE", "/api/v1/tokens/99", NULL, {403, 403, 403, 404}},
        {"GET", "/api/v1/stats", NULL, {403, 403, 200, 200}},
        {"POST", "/api/v1/tasks", "{}", {403, 403, 422, 422}},
        {"GET", "/api/v1/tasks/next?labeler=ada", NULL, {200, 200, 403, 200}},
        {"POST", "/api/v1/tasks/none/label", "{\"ranks\":[1,2]}", {404, 422, 403, 422}},
        {"POST", "/api/v1/tasks/none/skip", "{}", {404, 422, 403, 422}},
        {"POST", "/api/v1/tasks/none/undo", "{}", {404, 422, 403, 422}},
        {"GET", "/api/v1/standing", NULL, {403, 403, 403, 200}},
        {"POST", "/api/v1/standing", "{}", {403, 403, 403, 422}},
        {"POST", "/api/v1/quarantine", "{}", {403, 403, 403, 422}},
        {"GET", "/api/v1/agreement", NULL, {403, 403, 200, 200}},
        {"POST", "/api/v1/weights", "{}", {403, 403, 403, 200}},
        {"POST", "/api/v1/comparisons", "{}", {403, 422, 403, 422}},
        {"GET", "/api/v1/comparisons", NULL, {403, 403, 200, 200}},
        {"POST", "/api/v1/rankings", "{}", {403, 422, 403, 422}},
        {"POST", "/api/v1/import", "{}", {403, 422, 403, 422}},
        {"GET", "/api/v1/export", NULL, {403, 403, 200, 200}},
    };

    make_tokens();
    const char *const token[4] = {ada, vendor, learner, owner};
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); ++i) {
        for (int k = 0; k < 4; ++k)
            collector_expect(routes[i].status[k], token[k], routes[i].method, routes[i].target, routes[i].body);
        struct http_answer a = collector_ask(NULL, routes[i].method, routes[i].target, "", routes[i].body);
        ck_assert_int_eq(a.status, 401);
        expect_contains(a.head, "WWW-Authenticate: Bearer");
        http_answer_free(&a);
    }
    collector_expect(200, NULL, "GET", "/", NULL);
    collector_expect(200, NULL, "GET", "/healthz", NULL);
}
END_TEST

START_TEST(nobody_acts_as_somebody_else)
{
    make_tokens();
    collector_expect(200, owner, "POST", "/api/v1/tasks", task);
    collector_expect(403, ada, "GET", "/api/v1/tasks/next?labeler=bob", NULL);
    expect_contains(collector_expect(200, ada, "GET", "/api/v1/tasks/next", NULL), "\"id\":\"t\"");
    collector_expect(403, ada, "POST", "/api/v1/tasks/t/label", "{\"labeler\":\"bob\",\"ranks\":[1,2]}");
    collector_expect(403, ada, "POST", "/api/v1/tasks/t/label", "{\"source\":\"acme\",\"ranks\":[1,2]}");
    collector_expect(403, ada, "POST", "/api/v1/tasks/t/label", "{\"id\":\"bob@t\",\"ranks\":[1,2]}");
    collector_expect(403, ada, "POST", "/api/v1/tasks/t/skip", "{\"labeler\":\"bob\"}");
    collector_expect(403, ada, "POST", "/api/v1/tasks/t/undo", "{\"labeler\":\"bob\"}");
    collector_expect(200, ada, "POST", "/api/v1/tasks/t/label", "{\"source\":\"page\",\"ranks\":[1,2]}");
    expect_contains(collector_expect(200, owner, "GET", "/api/v1/comparisons", NULL), "\"labeler\":\"ada\"");

    collector_expect(403, vendor, "POST", "/api/v1/tasks/t/label", "{\"labeler\":\"b\",\"source\":\"api\",\"ranks\":[1,2]}");
    collector_expect(200, vendor, "POST", "/api/v1/tasks/t/label", "{\"labeler\":\"b\",\"ranks\":[1,2]}");
    expect_contains(collector_expect(200, owner, "GET", "/api/v1/comparisons", NULL), "\"source\":\"acme\"");
    collector_expect(403, vendor, "POST", "/api/v1/import?source=other", "{\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"}");
    collector_expect(422, vendor, "POST", "/api/v1/import",
                     "{\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\",\"source\":\"other\"}");
    collector_expect(200, vendor, "POST", "/api/v1/import", "{\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"}");
}
END_TEST

/* What an owner decides stands under the token's name, whatever the body says. */
START_TEST(tokens_are_made_and_revoked_over_http)
{
    char name[128];
    json_t *made;

    make_tokens();
    made = json_loads(collector_expect(201, owner, "POST", "/api/v1/tokens", "{\"role\":\"labeler\",\"name\":\"eve\"}"), 0,
                      NULL);
    const char *eve = json_string_value(json_object_get(made, "token"));
    int number = (int)json_integer_value(json_object_get(made, "number"));
    ck_assert(eve && strncmp(eve, "rlhf_", 5) == 0);
    collector_expect(200, eve, "GET", "/api/v1/tasks/next", NULL);
    const char *list = collector_expect(200, owner, "GET", "/api/v1/tokens", NULL);
    expect_contains(list, "\"name\":\"eve\"");
    ck_assert_ptr_null(strstr(list, eve)); /* shown once */
    collector_expect(422, owner, "POST", "/api/v1/tokens", "{\"role\":\"king\",\"name\":\"eve\"}");
    collector_expect(422, owner, "POST", "/api/v1/tokens", "{\"role\":\"vendor\",\"name\":\"no source\"}");
    snprintf(name, sizeof(name), "/api/v1/tokens/%d", number);
    collector_expect(200, owner, "DELETE", name, NULL);
    collector_expect(401, eve, "GET", "/api/v1/tasks/next", NULL); /* at once */
    collector_expect(404, owner, "DELETE", name, NULL);
    json_decref(made);
}
END_TEST

/* The value of the cookie that an answer sets, as a Cookie header. */
static void cookie_of(const struct http_answer *a, char *text, size_t size)
{
    const char *set = strstr(a->head, "Set-Cookie: ");

    ck_assert_ptr_nonnull(set);
    snprintf(text, size, "Cookie: %.*s\r\n", (int)strcspn(set + 12, ";"), set + 12);
}

static struct http_answer sign_in(const char *token, const char *headers)
{
    char body[128];

    snprintf(body, sizeof(body), "{\"token\":\"%s\"}", token);
    return collector_ask(NULL, "POST", "/api/v1/session", headers, body);
}

#define PAGE "X-Rlhfd-Page: 1\r\n"

static void expect_with(int status, const char *cookie, const char *more, const char *method, const char *target,
                        const char *json)
{
    char headers[512];

    snprintf(headers, sizeof(headers), "%s%s", cookie, more);
    struct http_answer a = collector_ask(NULL, method, target, headers, json);
    ck_assert_msg(a.status == status, "%s %s: %d expected, got %d %s", method, target, status, a.status, a.body);
    http_answer_free(&a);
}

START_TEST(a_browser_has_a_session_that_other_sites_cannot_use)
{
    char cookie[256];

    make_tokens();
    collector_expect(200, owner, "POST", "/api/v1/tasks", task);
    struct http_answer a = sign_in(ada, "");
    ck_assert_int_eq(a.status, 403); /* a form of another site could send it */
    http_answer_free(&a);
    a = sign_in("rlhf_wrong", PAGE);
    ck_assert_int_eq(a.status, 401);
    http_answer_free(&a);
    a = sign_in(ada, PAGE);
    ck_assert_int_eq(a.status, 200);
    expect_contains(a.head, "HttpOnly; SameSite=Strict");
    ck_assert_ptr_null(strstr(a.head, "Secure"));
    ck_assert_ptr_null(strstr(a.head, ada)); /* the cookie is not the token */
    cookie_of(&a, cookie, sizeof(cookie));
    http_answer_free(&a);

    expect_with(200, cookie, "", "GET", "/api/v1/tasks/next", NULL);
    expect_with(403, cookie, "", "GET", "/api/v1/tokens", NULL);
    expect_with(403, cookie, "", "POST", "/api/v1/tasks/t/label", "{\"ranks\":[1,2]}"); /* no header of the page's */
    expect_with(403, cookie, PAGE "Sec-Fetch-Site: cross-site\r\n", "POST", "/api/v1/tasks/t/label", "{\"ranks\":[1,2]}");
    expect_with(403, cookie, PAGE "Origin: http://evil.example\r\n", "POST", "/api/v1/tasks/t/label", "{\"ranks\":[1,2]}");
    expect_with(200, cookie, PAGE "Sec-Fetch-Site: same-origin\r\n", "POST", "/api/v1/tasks/t/label", "{\"ranks\":[1,2]}");
    expect_with(200, cookie, PAGE, "DELETE", "/api/v1/session", NULL);
    expect_with(401, cookie, "", "GET", "/api/v1/tasks/next", NULL);
    expect_with(401, "Cookie: rlhfd=x\r\n", "", "GET", "/api/v1/tasks/next", NULL);
}
END_TEST

START_TEST(sessions_outlive_the_daemon_and_end_with_their_token)
{
    char cookie[256];

    make_tokens();
    struct http_answer a = sign_in(ada, PAGE);
    cookie_of(&a, cookie, sizeof(cookie));
    http_answer_free(&a);
    end_process(collector_pid, SIGKILL);
    collector_start_again("127.0.0.1:0", "");
    expect_with(200, cookie, "", "GET", "/api/v1/tasks/next", NULL);
    collector_expect(200, owner, "DELETE", "/api/v1/tokens/2", NULL);
    expect_with(401, cookie, "", "GET", "/api/v1/tasks/next", NULL);
}
END_TEST

START_TEST(behind_a_proxy_with_tls_cookies_are_secure)
{
    make_tokens();
    collector_stop();
    collector_start_again("127.0.0.1:0", "public_url: https://labels.example.org/\n");
    struct http_answer a = sign_in(ada, PAGE "Origin: https://labels.example.org\r\n");
    ck_assert_int_eq(a.status, 200);
    expect_contains(a.head, "Set-Cookie: __Host-rlhfd=");
    expect_contains(a.head, "; Secure");
    http_answer_free(&a);
    a = sign_in(ada, PAGE "Origin: https://labels.example.org.evil\r\n");
    ck_assert_int_eq(a.status, 403);
    http_answer_free(&a);
}
END_TEST

/* Each address for itself: the proxy says whose. */
START_TEST(who_keeps_guessing_has_to_wait)
{
    struct http_answer a = {.status = 401};
    int tries = 0;

    make_tokens();
    collector_stop();
    collector_start_again("127.0.0.1:0", "public_url: https://labels.example.org\n");
    while (a.status == 401 && ++tries < 100) {
        http_answer_free(&a);
        a = collector_ask("rlhf_guess", "GET", "/api/v1/stats", "X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\n", NULL);
    }
    ck_assert_int_eq(a.status, 429);
    ck_assert_int_ge(tries, 10);
    expect_contains(a.head, "Retry-After: ");
    http_answer_free(&a);
    a = sign_in(ada, PAGE "X-Forwarded-For: 198.51.100.7\r\n"); /* a right one might be a guess, too */
    ck_assert_int_eq(a.status, 429);
    http_answer_free(&a);
    a = sign_in(ada, PAGE "X-Forwarded-For: 198.51.100.8\r\n");
    ck_assert_int_eq(a.status, 200);
    http_answer_free(&a);
    collector_expect(200, owner, "GET", "/api/v1/stats", NULL);
}
END_TEST

START_TEST(who_asks_too_often_has_to_wait)
{
    struct http_answer a = {.status = 200};
    int tries = 0;

    make_tokens();
    collector_stop();
    collector_start_again("127.0.0.1:0", "requests_per_second: 5\n");
    while (a.status == 200 && ++tries < 1000) {
        http_answer_free(&a);
        a = collector_ask(ada, "GET", "/api/v1/tasks/next", "", NULL);
    }
    ck_assert_int_eq(a.status, 429);
    ck_assert_int_gt(tries, 10);
    expect_contains(a.head, "Retry-After: 1");
    http_answer_free(&a);
    expect_contains(collector_expect(200, owner, "GET", "/metrics", NULL), "rlhf_collector_http_throttled_total 1\n");
    collector_expect(200, NULL, "GET", "/", NULL); /* an address has a bucket of its own */
}
END_TEST

START_TEST(metrics_are_for_prometheus)
{
    collector_expect(200, NULL, "POST", "/api/v1/tasks", task);
    collector_expect(422, NULL, "POST", "/api/v1/tasks", "{}");
    const char *text = collector_expect(200, NULL, "GET", "/metrics", NULL);
    expect_contains(text, "# TYPE rlhf_collector_open_tasks gauge\nrlhf_collector_open_tasks 1\n");
    expect_contains(text, "rlhf_collector_http_requests_total{outcome=\"refused\"} 1\n");
    expect_contains(text, "rlhf_collector_http_request_seconds_bucket{kind=\"write\",le=\"+Inf\"} 2\n");
    expect_contains(text, "rlhf_collector_http_request_seconds_count{kind=\"write\"} 2\n");
}
END_TEST

START_TEST(beyond_loopback_a_token_is_needed)
{
    char command[700];

    collector_refuses("http: 0.0.0.0:0\n", "there is no token");
    collector_refuses("http: 0.0.0.0:0\ninsecure: true\n", "there is no token");
    snprintf(command, sizeof(command), "%s/daemons/rlhfctl token add --config %s/second.yaml --role owner olga 2>&1",
             getenv("RLHF_BUILD"), collector_directory);
    ck_assert_int_eq(system(command), 0);
    collector_refuses("http: 0.0.0.0:0\n", "public_url");
    collector_refuses("http: 0.0.0.0:0\npublic_url: http://x\n", "public_url");
    collector_stop();
    collector_token("add --role owner olga");
    collector_start_again("0.0.0.0:0", "insecure: true\n");
    collector_expect(401, NULL, "GET", "/api/v1/stats", NULL);
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH("label-collector/access", setup, teardown, without_tokens_loopback_is_open,
                          each_route_is_for_its_roles, nobody_acts_as_somebody_else,
                          tokens_are_made_and_revoked_over_http, a_browser_has_a_session_that_other_sites_cannot_use,
                          sessions_outlive_the_daemon_and_end_with_their_token,
                          behind_a_proxy_with_tls_cookies_are_secure, who_keeps_guessing_has_to_wait,
                          who_asks_too_often_has_to_wait, metrics_are_for_prometheus,
                          beyond_loopback_a_token_is_needed);
}
