/* Idempotency-Key, against the real daemon: what is sent again is answered again and done once. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/collector.h"
#include "support/process.h"
#include "support/suite.h"

static void setup(void)
{
    collector_start("");
    collector_expect(200, NULL, "POST", "/api/v1/tasks", "{\"id\":\"t\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\"]}");
}

static void teardown(void)
{
    collector_stop();
}

/* The answer to a POST under a key: status, whether it is one of before, and the body (static, the last one's). */
static char body[4096];
static int post(const char *token, const char *key, const char *target, const char *json, bool *repeated)
{
    char headers[400];

    snprintf(headers, sizeof(headers), "Idempotency-Key: %s\r\n", key);
    struct http_answer a = collector_ask(token, "POST", target, headers, json);
    snprintf(body, sizeof(body), "%s", a.body ? a.body : "");
    *repeated = a.head && strstr(a.head, "Idempotency-Replayed: true");
    int status = a.status;
    http_answer_free(&a);
    return status;
}

static void expect(int status, bool repeated, const char *key, const char *target, const char *json)
{
    bool again;
    int got = post(NULL, key, target, json, &again);

    ck_assert_msg(got == status && again == repeated, "%s %s %s: %d%s expected, got %d%s %s", key, target, json, status,
                  repeated ? " repeated" : "", got, again ? " repeated" : "", body);
}

#define LABEL "/api/v1/tasks/t/label"
#define FIRST "{\"labeler\":\"ada\",\"ranks\":[1,2]}"
#define SECOND "{\"labeler\":\"ada\",\"ranks\":[2,1]}"

START_TEST(a_late_retry_is_answered_and_changes_nothing)
{
    char first[sizeof(body)];

    expect(200, false, "k1", LABEL, FIRST);
    strcpy(first, body);
    expect(200, false, "k2", LABEL, SECOND); /* under another key: another label */
    expect(200, true, "k1", LABEL, FIRST);
    ck_assert_str_eq(body, first);
    expect_contains(collector_expect(200, NULL, "GET", "/api/v1/stats", NULL), "\"revisions\":2");
    expect(200, false, "u", "/api/v1/tasks/t/undo", "{\"labeler\":\"ada\",\"id\":\"k1\"}");
    expect(200, true, "u", "/api/v1/tasks/t/undo", "{\"labeler\":\"ada\",\"id\":\"k1\"}");
    expect(404, false, "v", "/api/v1/tasks/t/undo", "{\"labeler\":\"ada\",\"id\":\"k1\"}");
}
END_TEST

START_TEST(a_key_is_of_one_request)
{
    expect(200, false, "k", LABEL, FIRST);
    expect(422, false, "k", LABEL, SECOND);
    expect(422, false, "k", "/api/v1/tasks/t/skip", FIRST);
    expect(422, false, "k", LABEL "?a=b", FIRST);
    expect_contains(body, "idempotency_key");
    expect(400, false, "with space", LABEL, FIRST);
    char longest[260];
    memset(longest, 'k', sizeof(longest) - 1);
    longest[251] = '\0';
    expect(400, false, longest, LABEL, FIRST);
    ck_assert_int_eq(strstr(collector_expect(200, NULL, "GET", "/api/v1/stats", NULL), "\"revisions\":1") != NULL, 1);
}
END_TEST

START_TEST(what_was_refused_may_be_mended)
{
    expect(422, false, "k", LABEL, "{\"labeler\":\"ada\",\"ranks\":[1]}");
    expect(200, false, "k", LABEL, FIRST);
}
END_TEST

START_TEST(requests_that_arrive_together_are_done_once)
{
    static const char request[] = "POST " LABEL " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                  "Idempotency-Key: k\r\nContent-Length: 31\r\n\r\n" FIRST;
    int fd[8], repeats = 0;

    for (int i = 0; i < 8; ++i)
        ck_assert_int_ge(fd[i] = http_connect(collector_address), 0);
    kill(collector_pid, SIGSTOP); /* so that one commit finds all of them */
    for (int i = 0; i < 8; ++i)
        ck_assert(http_send(fd[i], request, sizeof(request) - 1));
    kill(collector_pid, SIGCONT);
    for (int i = 0; i < 8; ++i) {
        struct http_answer a = http_read(fd[i]);
        ck_assert_int_eq(a.status, 200);
        expect_contains(a.body, "\"status\":\"stored\"");
        repeats += strstr(a.head, "Idempotency-Replayed") != NULL;
        http_answer_free(&a);
        close(fd[i]);
    }
    ck_assert_int_eq(repeats, 7);
}
END_TEST

/* Whether the daemon got to it or not before it was killed: sent again until answered, it is done once. */
START_TEST(keys_survive_kill_9)
{
    char target[64], key[16], headers[256], task[128];
    bool repeated;

    for (int i = 0; i < 20; ++i) {
        snprintf(task, sizeof(task), "{\"id\":\"t%d\",\"prompt\":\"%d\",\"completions\":[\"x\",\"y\"]}", i, i);
        collector_expect(200, NULL, "POST", "/api/v1/tasks", task);
        snprintf(target, sizeof(target), "/api/v1/tasks/t%d/label", i);
        snprintf(key, sizeof(key), "k%d", i);
        int size = snprintf(headers, sizeof(headers),
                            "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: "
                            "%s\r\nContent-Length: %zu\r\n\r\n" FIRST,
                            target, key, strlen(FIRST));
        int fd = http_connect(collector_address);
        http_send(fd, headers, (size_t)size);
        usleep((useconds_t)(i * 40)); /* before, at and after the commit: any moment is right */
        end_process(collector_pid, SIGKILL);
        close(fd);
        collector_start_again("127.0.0.1:0", "");
        ck_assert_int_eq(post(NULL, key, target, FIRST, &repeated), 200);
        ck_assert_int_eq(post(NULL, key, target, FIRST, &repeated), 200);
        ck_assert(repeated);
        expect_contains(body, "\"status\":\"stored\"");
    }
    expect_contains(collector_expect(200, NULL, "GET", "/api/v1/stats", NULL), "\"revisions\":20");
}
END_TEST

START_TEST(everybody_has_keys_of_their_own_and_secrets_are_not_kept)
{
    const char *owner = collector_token("add --role owner olga"), *ada = collector_token("add --role labeler ada");
    const char *bob = collector_token("add --role labeler bob");
    char command[700], secret[128];
    bool repeated;

    collector_stop();
    collector_start_again("127.0.0.1:0", "labels_per_task: 2\n");
    ck_assert_int_eq(post(ada, "k", LABEL, "{\"ranks\":[1,2]}", &repeated), 200);
    ck_assert_int_eq(post(bob, "k", LABEL, "{\"ranks\":[2,1]}", &repeated), 200);
    ck_assert_int_eq(post(bob, "k", LABEL, "{\"ranks\":[2,1]}", &repeated), 200);
    expect_contains(body, "bob@t");
    ck_assert_int_eq(post(owner, "t", "/api/v1/tokens", "{\"role\":\"labeler\",\"name\":\"eve\"}", &repeated), 201);
    json_t *made = json_loads(body, 0, NULL);
    snprintf(secret, sizeof(secret), "%s", json_string_value(json_object_get(made, "token")));
    json_decref(made);
    snprintf(command, sizeof(command), "grep -rqF -e '%s' %s", secret, collector_directory);
    ck_assert_int_ne(system(command), 0);
    ck_assert_int_eq(post(owner, "t", "/api/v1/tokens", "{\"role\":\"labeler\",\"name\":\"eve\"}", &repeated), 201);
    ck_assert(!repeated);
}
END_TEST

int main(void)
{
    return RUN_SUITE_WITH("label-collector/repeat", setup, teardown, a_late_retry_is_answered_and_changes_nothing,
                          a_key_is_of_one_request, what_was_refused_may_be_mended,
                          requests_that_arrive_together_are_done_once, keys_survive_kill_9,
                          everybody_has_keys_of_their_own_and_secrets_are_not_kept);
}
