/* Writes that come together: one commit for all, and each for itself. */
#include <stdlib.h>
#include <string.h>

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

#define ON_BOTH writes_that_come_together_share_a_commit, a_refused_write_takes_back_what_it_changed_and_nothing_else

int main(void)
{
    int failed = RUN_SUITE_WITH("label-collector/api", setup, teardown, ON_BOTH);

    if ((on_server = start_postgresql()))
        failed |= RUN_SUITE_WITH("label-collector/api on PostgreSQL", setup, teardown, ON_BOTH);
    return failed;
}
