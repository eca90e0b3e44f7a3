/* Writes that come together: one commit for all, and each for itself. And what becomes of vendors, as the API sees them. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "label-collector/api.h"
#include "support/fake_clock.h"
#include "support/postgresql.h"
#include "support/suite.h"

enum { MOST = 8 };

static struct fake_clock fake;
static struct rlhf_env env;
static struct collector_config config;
static struct collector *collector;
static bool on_server;

static void setup(void)
{
    struct rlhf_error err;

    setenv("RLHF_LOG", "error", 1);
    fake_clock_init(&fake);
    env = (struct rlhf_env){.clock = &fake.clock};
    config = (struct collector_config){.database = (char *)(uintptr_t)(on_server ? a_postgresql_database() : ":memory:"),
                                       .labels_per_task = 1,
                                       .reservation_seconds = 60,
                                       .auto_quarantine = true,
                                       .session_hours = 1};
    collector = collector_new(&env, &config, &err);
    expect_some(collector, err);
}

static void teardown(void)
{
    collector_free(collector);
}

static const char *no_query(void *ctx, const char *key)
{
    (void)ctx;
    (void)key;
    return NULL;
}

/* Comparisons, each body a request; their statuses. */
static void write_together(const char *const *bodies, size_t count, unsigned *status)
{
    struct collector_exchange exchange[MOST] = {0}, *list[MOST];

    for (size_t i = 0; i < count; ++i) {
        exchange[i].request = (struct collector_request){.method = "POST",
                                                         .path = "/api/v1/comparisons",
                                                         .body = bodies[i],
                                                         .body_size = strlen(bodies[i]),
                                                         .who = {.role = COLLECTOR_OWNER},
                                                         .query = no_query};
        exchange[i].route = collector_route_find("POST", "/api/v1/comparisons", &exchange[i].response);
        list[i] = &exchange[i];
    }
    collector_api_write(collector, list, count);
    for (size_t i = 0; i < count; ++i) {
        status[i] = exchange[i].response.status;
        collector_response_free(&exchange[i].response);
    }
}

static uint64_t labels(void)
{
    struct collector_counts n;
    struct rlhf_error err;

    expect_ok(collector_store_counts(collector->store, "", &n, &err), err);
    return n.labels;
}

#define LABEL(id, chosen)                                                                                    \
    "{\"id\":\"" id "\",\"labeler\":\"ada\",\"prompt\":\"p\",\"chosen\":\"" chosen "\",\"rejected\":\"y\"}"

START_TEST(writes_that_come_together_share_a_commit)
{
    unsigned status[3];

    write_together((const char *const[]){LABEL("1", "x"), LABEL("2", "x"), LABEL("1", "x")}, 3, status);
    for (int i = 0; i < 3; ++i)
        ck_assert_uint_eq(status[i], 200);
    ck_assert_uint_eq(labels(), 2);
    ck_assert_uint_eq(collector->counters.groups, 1);
    ck_assert_uint_eq(collector->counters.grouped, 3);
}
END_TEST

/* The second request has stored a label when its other one turns out to be no label. */
START_TEST(a_refused_write_takes_back_what_it_changed_and_nothing_else)
{
    unsigned status[4];

    write_together((const char *const[]){LABEL("1", "x"), "[" LABEL("2", "x") ",{\"id\":\"3\"}]", "no JSON", LABEL("4", "x")}, 4,
                   status);
    ck_assert_uint_eq(status[0], 200);
    ck_assert_uint_eq(status[1], 422);
    ck_assert_uint_eq(status[2], 400);
    ck_assert_uint_eq(status[3], 200);
    ck_assert_uint_eq(labels(), 2);

    write_together((const char *const[]){"[" LABEL("5", "x") ",{\"id\":\"6\"}]"}, 1, status);
    ck_assert_uint_eq(status[0], 422);
    ck_assert_uint_eq(labels(), 2);
}
END_TEST

/* ---- vendors ----------------------------------------------------------------------------------- */

enum { GOLD = 50, HONEST = 500, FLIPPERS = 100 };

static void write_one(const char *path, const char *body)
{
    struct collector_exchange x = {.request = {.method = "POST",
                                               .path = path,
                                               .body = body,
                                               .body_size = strlen(body),
                                               .who = {.role = COLLECTOR_OWNER},
                                               .query = no_query}};

    x.route = collector_route_find("POST", path, &x.response);
    collector_api_write(collector, &(struct collector_exchange *){&x}, 1);
    ck_assert_msg(x.response.status == 200, "%.*s", (int)x.response.body.size, x.response.body.data);
    collector_response_free(&x.response);
}

static const char *asked_name;

static const char *about_source(void *ctx, const char *key)
{
    (void)ctx;
    return strcmp(key, "scope") == 0 ? "source" : strcmp(key, "name") == 0 ? asked_name : NULL;
}

/* What the API says of the vendor. */
static bool is_quarantined(const char *name)
{
    struct collector_request q = {.method = "GET",
                                  .path = "/api/v1/standing",
                                  .who = {.role = COLLECTOR_OWNER},
                                  .query = about_source};
    struct collector_response r = {0};

    asked_name = name;
    collector_api_read(collector, collector_route_find("GET", q.path, &r), &q, &r);
    json_t *json = json_loadb(r.body.data, r.body.size, 0, NULL);
    json_t *standing = json_array_get(json_object_get(json, "standing"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(standing, "gold_seen")), GOLD);
    bool quarantined = json_is_string(json_object_get(standing, "quarantine"));
    json_decref(json);
    collector_response_free(&r);
    return quarantined;
}

/* A vendor answers all gold items, each right with this probability. */
static bool ends_in_quarantine(const char *name, struct rlhf_random *random, double right)
{
    char body[GOLD * 100], *to = body;

    for (int i = 0; i < GOLD; ++i) {
        bool so = rlhf_random_uniform(random) < right;
        to += sprintf(to, "%c{\"source\":\"%s\",\"id\":\"%d\",\"labeler\":\"%s's\",\"task\":\"g%d\",\"ranks\":%s}",
                      i ? ',' : '[', name, i, name, i, so ? "[1,2]" : "[2,1]");
    }
    strcpy(to, "]");
    write_one("/api/v1/comparisons", body);
    return is_quarantined(name);
}

START_TEST(who_flips_all_labels_is_set_aside_and_who_is_honest_is_not)
{
    char body[160], name[16];
    struct rlhf_random random;
    int honest = 0, flippers = 0;

    for (int i = 0; i < GOLD; ++i) {
        sprintf(body, "{\"id\":\"g%d\",\"prompt\":\"%d\",\"completions\":[\"x\",\"y\"],\"gold\":{\"ranks\":[1,2]}}", i, i);
        write_one("/api/v1/tasks", body);
    }
    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (int i = 0; i < HONEST; ++i) {
        sprintf(name, "honest-%d", i);
        honest += ends_in_quarantine(name, &random, 0.85);
    }
    for (int i = 0; i < FLIPPERS; ++i) { /* an honest one's labels, each the other way round */
        sprintf(name, "flipper-%d", i);
        flippers += ends_in_quarantine(name, &random, 0.15);
    }
    printf("set aside within %d gold items: %d of %d honest vendors, %d of %d that flip\n", GOLD, honest, HONEST, flippers,
           FLIPPERS);
    ck_assert_int_lt(honest, HONEST / 100);
    ck_assert_int_eq(flippers, FLIPPERS);
}
END_TEST

#define ON_BOTH writes_that_come_together_share_a_commit, a_refused_write_takes_back_what_it_changed_and_nothing_else

int main(void)
{
    int failed = RUN_SUITE_WITH("label-collector/api", setup, teardown, ON_BOTH,
                                who_flips_all_labels_is_set_aside_and_who_is_honest_is_not);

    if ((on_server = start_postgresql()))
        failed |= RUN_SUITE_WITH("label-collector/api on PostgreSQL", setup, teardown, ON_BOTH);
    return failed;
}
