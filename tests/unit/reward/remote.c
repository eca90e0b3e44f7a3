/* Reward services and judges over real HTTP, and what they do wrong. */
#include "reward/remote.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/reward_service.h"
#include "support/suite.h"

enum { MOST = 64 };

/* Whoever waits for rewards. */
struct asker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rlhf_remote *remote;
    float reward[MOST];
    char why[MOST][400];
    unsigned answers[MOST];
    size_t answered, forgotten;
};

static size_t index_of(void *tag)
{
    return (size_t)(uintptr_t)tag - 1;
}

static void rewarded(void *ctx, void *tag, float reward, const struct rlhf_error *why)
{
    struct asker *a = ctx;
    size_t i = index_of(tag);

    pthread_mutex_lock(&a->lock);
    a->reward[i] = reward;
    a->answers[i]++;
    a->answered++;
    snprintf(a->why[i], sizeof a->why[i], "%s", why ? why->text : "");
    ck_assert_int_eq(isnan(reward) != 0, why != NULL);
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static void forgotten(void *ctx, void *tag)
{
    struct asker *a = ctx;

    pthread_mutex_lock(&a->lock);
    a->answers[index_of(tag)]++;
    a->forgotten++;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static void an_asker(struct asker *a, const char *credentials)
{
    struct rlhf_error err = { 0 };

    *a = (struct asker){ 0 };
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->remote = rlhf_remote_new(&rlhf_system_io, credentials, &(struct rlhf_remote_taker){ rewarded, forgotten, a }, &err);
    expect_some(a->remote, err);
}

static struct rlhf_source_settings settings(const struct reward_service *service, enum rlhf_source_kind kind)
{
    return (struct rlhf_source_settings){ .kind = kind,
                                          .name = "remote",
                                          .url = reward_service_url(service),
                                          .timeout_ms = 20000,
                                          .attempts = 5,
                                          .backoff_ms = 1,
                                          .batch = 4,
                                          .concurrency = 3,
                                          .model = "a-judge",
                                          .system = "You grade.",
                                          .question = "Grade {completion} to {prompt}, {answer} being right: {completion}",
                                          .key = "score",
                                          .high = 10,
                                          .max_tokens = 20 };
}

static struct rlhf_source *a_source(const struct rlhf_source_settings *s)
{
    struct rlhf_error err = { 0 };
    struct rlhf_source *made = rlhf_source_new(s, &err);

    expect_some(made, err);
    return made;
}

/* Texts of 1 ... count letters. */
static void ask(struct asker *a, const struct rlhf_source *s, size_t count)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl";
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < count; i++)
        expect_ok(rlhf_remote_add(a->remote, s,
                                  &(struct rlhf_source_text){ "p", letters + sizeof letters - 2 - i, i % 2 ? "r" : NULL, 1 },
                                  (void *)(uintptr_t)(i + 1), &err),
                  err);
    rlhf_remote_flush(a->remote);
}

static void wait_for(struct asker *a, size_t count)
{
    pthread_mutex_lock(&a->lock);
    while (a->answered + a->forgotten < count)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static void finish(struct asker *a, struct rlhf_source *s, struct reward_service *service)
{
    rlhf_remote_free(a->remote);
    rlhf_source_free(s);
    reward_service_free(service);
}

static enum service_conduct well(unsigned request)
{
    (void)request;
    return SERVICE_GOOD;
}

START_TEST(a_service_is_asked_in_batches_and_rewards_each_text)
{
    struct reward_service *service = reward_service_new(well);
    struct rlhf_source_settings o = settings(service, RLHF_SOURCE_SERVICE);
    struct rlhf_source *s = a_source(&o);
    struct asker a;

    an_asker(&a, NULL);
    ask(&a, s, 10);
    wait_for(&a, 10);
    for (size_t i = 0; i < 10; i++)
        ck_assert_double_eq(a.reward[i], (double)i + 1);
    ck_assert_uint_eq(reward_service_requests(service), 3);
    ck_assert(reward_service_saw(service, "\"answers\":[null,\"r\",null,\"r\"]"));
    finish(&a, s, service);
}
END_TEST

/* Everything that a server can do wrong and do right later, one after the other. */
static enum service_conduct badly_at_first(unsigned request)
{
    static const enum service_conduct first[]
        = { SERVICE_FAILS, SERVICE_IS_BUSY, SERVICE_GARBAGE, SERVICE_TOO_FEW, SERVICE_TRUNCATES, SERVICE_CLOSES };

    return request < sizeof first / sizeof *first ? first[request] : SERVICE_GOOD;
}

START_TEST(what_may_pass_is_tried_again_until_it_is_answered)
{
    struct reward_service *service = reward_service_new(badly_at_first);
    struct rlhf_source_settings o = settings(service, RLHF_SOURCE_SERVICE);
    struct rlhf_source *s;
    struct asker a;

    o.attempts = 7;
    o.concurrency = 1;
    s = a_source(&o);
    an_asker(&a, NULL);
    ask(&a, s, 4);
    wait_for(&a, 4);
    for (size_t i = 0; i < 4; i++)
        ck_assert_double_eq(a.reward[i], (double)i + 1);
    ck_assert_uint_eq(reward_service_requests(service), 7);
    finish(&a, s, service);
}
END_TEST

/* What becomes of texts where every request is treated alike. */
static enum service_conduct always;
static enum service_conduct as_always(unsigned request)
{
    (void)request;
    return always;
}

/* requests 0: how many reach the service in time is not known. */
static void expect_missing(enum service_conduct conduct, enum rlhf_source_kind kind, uint32_t timeout_ms, unsigned requests,
                           const char *says)
{
    struct reward_service *service;
    struct rlhf_source_settings o;
    struct rlhf_source *s;
    struct asker a;

    always = conduct;
    service = reward_service_new(as_always);
    o = settings(service, kind);
    o.attempts = 3;
    o.timeout_ms = timeout_ms;
    s = a_source(&o);
    an_asker(&a, NULL);
    ask(&a, s, 1);
    wait_for(&a, 1);
    ck_assert(isnan(a.reward[0]));
    expect_contains(a.why[0], says);
    if (requests > 0)
        ck_assert_uint_eq(reward_service_requests(service), requests);
    finish(&a, s, service);
}

START_TEST(who_never_answers_well_is_a_missing_reward_that_says_why_after_the_attempts)
{
    expect_missing(SERVICE_FAILS, RLHF_SOURCE_SERVICE, 20000, 3, "after 3 attempts: HTTP status 500");
    expect_missing(SERVICE_GARBAGE, RLHF_SOURCE_SERVICE, 20000, 3, "not JSON");
    expect_missing(SERVICE_TOO_FEW, RLHF_SOURCE_SERVICE, 20000, 3, "\"rewards\" of 1");
    expect_missing(SERVICE_TRUNCATES, RLHF_SOURCE_SERVICE, 20000, 3, "after 3 attempts");
    expect_missing(SERVICE_CLOSES, RLHF_SOURCE_JUDGE, 20000, 3, "after 3 attempts");
    expect_missing(SERVICE_HANGS, RLHF_SOURCE_SERVICE, 30, 0, "timed out");
    expect_missing(SERVICE_DRIPS, RLHF_SOURCE_JUDGE, 30, 0, "timed out");
    expect_missing(SERVICE_FLOODS, RLHF_SOURCE_JUDGE, 20000, 3, "more than 16 MiB");
}
END_TEST

START_TEST(a_refusal_is_not_tried_again)
{
    expect_missing(SERVICE_REFUSES, RLHF_SOURCE_SERVICE, 20000, 1, "HTTP status 400");
    expect_missing(SERVICE_REFUSES, RLHF_SOURCE_JUDGE, 20000, 1, "HTTP status 400");
}
END_TEST

START_TEST(nobody_there_is_a_missing_reward)
{
    struct reward_service *service = reward_service_new(well);
    struct rlhf_source_settings o = settings(service, RLHF_SOURCE_SERVICE);
    char url[100];
    struct rlhf_source *s;
    struct asker a;

    snprintf(url, sizeof url, "%s", o.url);
    o.url = url;
    reward_service_free(service);
    s = a_source(&o);
    an_asker(&a, NULL);
    ask(&a, s, 5);
    wait_for(&a, 5);
    ck_assert(isnan(a.reward[0]) && isnan(a.reward[4]));
    expect_contains(a.why[0], "after 5 attempts");
    rlhf_remote_free(a.remote);
    rlhf_source_free(s);
}
END_TEST

START_TEST(null_from_a_service_is_missing_and_its_neighbours_are_not)
{
    struct reward_service *service;
    struct rlhf_source_settings o;
    struct rlhf_source *s;
    struct asker a;

    always = SERVICE_NULLS;
    service = reward_service_new(as_always);
    o = settings(service, RLHF_SOURCE_SERVICE);
    s = a_source(&o);
    an_asker(&a, NULL);
    ask(&a, s, 4);
    wait_for(&a, 4);
    ck_assert_double_eq(a.reward[0], 1);
    ck_assert(isnan(a.reward[1]));
    ck_assert_double_eq(a.reward[2], 3);
    ck_assert_uint_eq(reward_service_requests(service), 1);
    finish(&a, s, service);
}
END_TEST

/* A request is answered only when another one is under way, so fewer than two at a time would never end. */
static enum service_conduct in_company(unsigned request)
{
    return request < 2 ? SERVICE_IS_SLOW : SERVICE_GOOD;
}

START_TEST(requests_overlap_up_to_the_sources_limit)
{
    struct reward_service *service = reward_service_new(in_company);
    struct rlhf_source_settings o = settings(service, RLHF_SOURCE_SERVICE);
    struct rlhf_source *s;
    struct asker a;

    o.batch = 1;
    o.concurrency = 2;
    s = a_source(&o);
    an_asker(&a, NULL);
    ask(&a, s, 20);
    wait_for(&a, 20);
    ck_assert_uint_eq(reward_service_most(service), 2);
    ck_assert_uint_eq(reward_service_requests(service), 20);
    finish(&a, s, service);
}
END_TEST

START_TEST(a_judge_is_asked_at_temperature_zero_and_its_score_read)
{
    struct reward_service *service = reward_service_new(well);
    struct rlhf_source_settings o = settings(service, RLHF_SOURCE_JUDGE);
    struct rlhf_source *s = a_source(&o);
    struct asker a;

    an_asker(&a, NULL);
    ask(&a, s, 3);
    wait_for(&a, 3);
    /* The question without its places has 29 bytes, the prompt 1, the answer 0 or 1. */
    for (size_t i = 0; i < 3; i++)
        ck_assert_double_eq(a.reward[i], (double)((strlen("Grade  to p,  being right: ") + i % 2 + 2 * (i + 1)) % 11));
    ck_assert_uint_eq(reward_service_requests(service), 3);
    ck_assert(reward_service_saw(service, "\"temperature\":0,"));
    ck_assert(reward_service_saw(service, "\"model\":\"a-judge\""));
    ck_assert(reward_service_saw(service, "{\"role\":\"system\",\"content\":\"You grade.\"}"));
    finish(&a, s, service);
}
END_TEST

START_TEST(a_judge_who_gives_no_score_is_missing_and_not_asked_again)
{
    expect_missing(SERVICE_MUMBLES, RLHF_SOURCE_JUDGE, 20000, 1, "no score");
}
END_TEST

START_TEST(the_key_comes_from_a_file_and_goes_with_the_request_only)
{
    const char *dir = a_directory();
    struct reward_service *service = reward_service_new(well);
    struct rlhf_source_settings o = settings(service, RLHF_SOURCE_JUDGE);
    FILE *f = fopen(in_directory(dir, "openai"), "w");
    struct rlhf_error err = { 0 };
    struct rlhf_source *s;
    struct asker a;

    fputs("sk-secret\nsecond line\n", f);
    fclose(f);
    o.credential = "openai";
    s = a_source(&o);
    an_asker(&a, dir);
    ask(&a, s, 1);
    wait_for(&a, 1);
    ck_assert(!isnan(a.reward[0]));
    ck_assert(reward_service_saw(service, "Authorization: Bearer sk-secret\r\n"));
    ck_assert(!reward_service_saw(service, "second"));
    rlhf_remote_free(a.remote);
    an_asker(&a, NULL); /* another scorer, which has no keys */
    ck_assert_int_lt(rlhf_remote_add(a.remote, s, &(struct rlhf_source_text){ "p", "c", NULL, 1 }, (void *)1, &err), 0);
    expect_contains(err.text, "no credential 'openai'");
    finish(&a, s, service);
}
END_TEST

START_TEST(what_is_forgotten_comes_back_once_and_without_a_reward)
{
    struct reward_service *service;
    struct rlhf_source_settings o;
    struct rlhf_source *s;
    struct asker a;

    always = SERVICE_HANGS;
    service = reward_service_new(as_always);
    o = settings(service, RLHF_SOURCE_SERVICE);
    s = a_source(&o);
    an_asker(&a, NULL);
    ask(&a, s, 30); /* three requests under way, others wait for a lane */
    rlhf_remote_forget(a.remote);
    wait_for(&a, 30);
    ck_assert_uint_eq(a.forgotten, 30);
    ask(&a, s, 5); /* and what is under way when it ends */
    rlhf_remote_free(a.remote);
    for (size_t i = 0; i < 30; i++)
        ck_assert_uint_eq(a.answers[i], i < 5 ? 2 : 1);
    rlhf_source_free(s);
    reward_service_free(service);
}
END_TEST

int main(void)
{
    return RUN_SUITE("reward/remote", a_service_is_asked_in_batches_and_rewards_each_text,
                     what_may_pass_is_tried_again_until_it_is_answered,
                     who_never_answers_well_is_a_missing_reward_that_says_why_after_the_attempts,
                     a_refusal_is_not_tried_again, nobody_there_is_a_missing_reward,
                     null_from_a_service_is_missing_and_its_neighbours_are_not,
                     requests_overlap_up_to_the_sources_limit, a_judge_is_asked_at_temperature_zero_and_its_score_read,
                     a_judge_who_gives_no_score_is_missing_and_not_asked_again,
                     the_key_comes_from_a_file_and_goes_with_the_request_only,
                     what_is_forgotten_comes_back_once_and_without_a_reward);
}
