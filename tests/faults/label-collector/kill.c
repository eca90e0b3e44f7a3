/* kill -9 of the real daemon under 32 concurrent submitters, and crashes of its PostgreSQL: what was acknowledged is stored, and
 * stored once. RLHF_KILLS says how often, 25 times otherwise. */
#include <jansson.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "support/collector.h"
#include "support/postgresql.h"
#include "support/process.h"
#include "support/suite.h"

enum { SUBMITTERS = 32, KILLS = 25, CRASHES = 5, BATCH = 5, MAX_LABELS = 60000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char address[128]; /* changes with every life; under lock */
static atomic_bool stop;

static void start(void)
{
    collector_start("");
    pthread_mutex_lock(&lock);
    strcpy(address, collector_address);
    pthread_mutex_unlock(&lock);
}

static const char *database;

static void setup_on_server(void)
{
    if (!start_postgresql())
        return;
    collector_place(NULL, database = a_postgresql_database());
    start();
}

static void kill_daemon(void)
{
    end_process(collector_pid, SIGKILL);
    start();
}

static int connect_now(void)
{
    char text[sizeof(address)];

    pthread_mutex_lock(&lock);
    strcpy(text, address);
    pthread_mutex_unlock(&lock);
    return http_connect(text);
}

static void breathe(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

struct submitter {
    int number;
    unsigned acknowledged; /* labels 0 .. of this one */
    unsigned retries;
};

/* One request after the other, singles and batches in turn; each again and again until it is acknowledged. */
static void *submit(void *ctx)
{
    struct submitter *s = ctx;
    char body[BATCH * 256], *p;
    int fd = -1;

    while (!stop && s->acknowledged + BATCH < MAX_LABELS) {
        unsigned count = s->acknowledged % 2 ? BATCH : 1;
        p = body + sprintf(body, "[");
        for (unsigned i = 0; i < count; ++i)
            p += sprintf(p,
                         "%s{\"id\":\"%d-%u\",\"labeler\":\"s%d\",\"prompt\":\"%d\",\"chosen\":\"x\","
                         "\"rejected\":\"y\"}",
                         i ? "," : "", s->number, s->acknowledged + i, s->number, s->number);
        strcpy(p, "]");
        for (;;) {
            if (fd < 0)
                fd = connect_now();
            struct http_answer a =
                fd < 0 ? (struct http_answer){ 0 } : http_post_on(fd, "/api/v1/comparisons", body);
            int status = a.status;
            http_answer_free(&a);
            if (status == 200) {
                s->acknowledged += count;
                break;
            }
            if (fd >= 0)
                close(fd);
            fd = -1;
            ++s->retries;
            if (stop)
                return NULL;
            breathe();
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* Every stored label by submitter and number: how often it is there. */
static unsigned char stored[SUBMITTERS][MAX_LABELS];

static unsigned list_all(void)
{
    unsigned count = 0;
    char cursor[64] = "";

    for (bool more = true; more;) {
        char target[128];
        snprintf(target, sizeof(target), "/api/v1/comparisons?limit=1000%s%s", *cursor ? "&cursor=" : "", cursor);
        struct http_answer a = http_get(address, target);
        ck_assert_int_eq(a.status, 200);
        json_t *page = json_loads(a.body, 0, NULL), *row;
        size_t i;
        json_array_foreach (json_object_get(page, "comparisons"), i, row) {
            unsigned who, what;
            ck_assert_int_eq(sscanf(json_string_value(json_object_get(row, "id")), "%u-%u", &who, &what), 2);
            ++stored[who][what];
            ++count;
        }
        snprintf(cursor, sizeof(cursor), "%s", json_string_value(json_object_get(page, "cursor")));
        more = json_is_true(json_object_get(page, "more"));
        json_decref(page);
        http_answer_free(&a);
    }
    return count;
}

/* All the time 32 submitters are at it. */
static void strike(unsigned times, uint32_t most_ms, void (*blow)(void))
{
    struct submitter submitters[SUBMITTERS] = { 0 };
    pthread_t threads[SUBMITTERS];
    struct rlhf_random random;
    unsigned acknowledged = 0, retries = 0;

    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (int i = 0; i < SUBMITTERS; ++i) {
        submitters[i].number = i;
        pthread_create(&threads[i], NULL, submit, &submitters[i]);
    }
    for (unsigned n = 0; n < times; ++n) {
        nanosleep(&(struct timespec){ .tv_nsec = 1000000L * (5 + rlhf_random_below(&random, most_ms)) }, NULL);
        blow();
    }
    stop = true;
    for (int i = 0; i < SUBMITTERS; ++i)
        pthread_join(threads[i], NULL);
    kill_daemon();

    unsigned count = list_all();
    for (int i = 0; i < SUBMITTERS; ++i) {
        for (unsigned k = 0; k < submitters[i].acknowledged; ++k)
            ck_assert_msg(stored[i][k] == 1, "label %d-%u was acknowledged and is stored %d times", i, k,
                          stored[i][k]);
        for (unsigned k = submitters[i].acknowledged; k < MAX_LABELS; ++k)
            ck_assert_uint_le(stored[i][k], 1);
        acknowledged += submitters[i].acknowledged;
        retries += submitters[i].retries;
    }
    ck_assert_uint_ge(acknowledged, times);
    ck_assert_uint_ge(retries, times); /* it met someone */
    printf("%u times, %u labels acknowledged, %u stored, %u retries\n", times, acknowledged, count, retries);
    end_process(collector_pid, SIGTERM);
}

START_TEST(no_acknowledged_label_is_lost_or_doubled_by_kills)
{
    const char *many = getenv("RLHF_KILLS");

    strike(many ? (unsigned)atoi(many) : KILLS, 120, kill_daemon);
}
END_TEST

/* ---- duplicates -------------------------------------------------------------------------------- */

enum { SENDERS = 4, PARTS = 250, PART = 20, COPIES = 5 };

struct sender {
    uint32_t *parts; /* shuffled, each 1 to COPIES times over all senders */
    size_t count;
};

static void *send_parts(void *ctx)
{
    struct sender *s = ctx;
    int fd = connect_now();
    char body[PART * 160], *p;

    for (size_t n = 0; n < s->count; ++n) {
        p = body + sprintf(body, "[");
        for (unsigned i = 0; i < PART; ++i)
            p += sprintf(
                p,
                "%s{\"id\":\"0-%u\",\"labeler\":\"s\",\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"}",
                i ? "," : "", s->parts[n] * PART + i);
        strcpy(p, "]");
        struct http_answer a = http_post_on(fd, "/api/v1/comparisons", body);
        ck_assert_int_eq(a.status, 200);
        http_answer_free(&a);
    }
    close(fd);
    return NULL;
}

START_TEST(labels_sent_up_to_five_times_and_reordered_count_once)
{
    static uint32_t all[PARTS * COPIES];
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    struct rlhf_random random;
    size_t total = 0;

    rlhf_random_init(&random, 2, RLHF_PURPOSE_FAULT, 0, 0);
    for (uint32_t part = 0; part < PARTS; ++part)
        for (uint32_t n = 1 + rlhf_random_below(&random, COPIES); n > 0; --n)
            all[total++] = part;
    rlhf_random_shuffle(&random, all, total);
    for (size_t i = 0; i < SENDERS; ++i) {
        size_t from = total * i / SENDERS, to = total * (i + 1) / SENDERS;
        senders[i] = (struct sender){ .parts = all + from, .count = to - from };
        pthread_create(&threads[i], NULL, send_parts, &senders[i]);
    }
    for (int i = 0; i < SENDERS; ++i)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(list_all(), PARTS * PART);
    for (int k = 0; k < PARTS * PART; ++k)
        ck_assert_uint_eq(stored[0][k], 1);
    end_process(collector_pid, SIGTERM);
}
END_TEST

/* ---- PostgreSQL -------------------------------------------------------------------------------- */

START_TEST(no_acknowledged_label_is_lost_or_doubled_by_crashes_of_the_server)
{
    if (database)
        strike(CRASHES, 900, crash_postgresql);
}
END_TEST

/* The process that serves the collector's connection. */
static pid_t backend(void)
{
    PGconn *c = PQconnectdb(database);
    PGresult *r = PQexec(c, "SELECT pid FROM pg_stat_activity WHERE application_name = 'label-collector'");

    ck_assert_int_eq(PQntuples(r), 1);
    pid_t found = atoi(PQgetvalue(r, 0, 0));
    PQclear(r);
    PQfinish(c);
    return found;
}

static int ask(const char *target, const char *json)
{
    struct http_answer a = json ? http_post(address, target, json) : http_get(address, target);
    int status = a.status;

    http_answer_free(&a);
    return status;
}

START_TEST(a_server_that_hangs_costs_the_request_and_others_are_answered)
{
    static const char label[] =
        "{\"id\":\"0-0\",\"labeler\":\"a\",\"prompt\":\"p\",\"chosen\":\"x\",\"rejected\":\"y\"}";

    if (!database)
        return;
    ck_assert_int_eq(ask("/healthz", NULL), 200); /* so what it looks at by itself when it starts is behind it */
    pid_t stopped = backend();
    kill(stopped, SIGSTOP);
    ck_assert_int_eq(ask("/api/v1/comparisons", label), 503);
    ck_assert_int_eq(ask("/", NULL), 200);
    while (ask("/api/v1/comparisons", label) != 200) /* on a new connection, while the old one still hangs */
        breathe();
    ck_assert_int_eq(ask("/healthz", NULL), 200);
    kill(stopped, SIGCONT);
    ck_assert_uint_eq(list_all(), 1);
    ck_assert_uint_eq(stored[0][0], 1);
    end_process(collector_pid, SIGTERM);
}
END_TEST

int main(void)
{
    int failed = RUN_SUITE_WITH("label-collector/kill", start, NULL,
                                no_acknowledged_label_is_lost_or_doubled_by_kills,
                                labels_sent_up_to_five_times_and_reordered_count_once);

    return failed
           | RUN_SUITE_WITH("label-collector/kill on PostgreSQL", setup_on_server, NULL,
                            no_acknowledged_label_is_lost_or_doubled_by_crashes_of_the_server,
                            a_server_that_hangs_costs_the_request_and_others_are_answered);
}
