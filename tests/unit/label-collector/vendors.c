/* What the store promises about tasks given to vendors, on both engines; and whose callbacks are believed. */
#include <stdlib.h>
#include <string.h>

#include "label-collector/signature.h"
#include "label-collector/store_vendors.h"
#include "label-collector/transfer.h"
#include "label-collector/vendors.h"
#include "support/fake_clock.h"
#include "support/postgresql.h"
#include "support/suite.h"

enum { SECOND = 1000000 };

static struct fake_clock fake;
static struct rlhf_error err;
static bool on_server;
static char database[300];

static struct collector_store *open_store(const char *where)
{
    struct collector_store *s = collector_store_open(
        &(struct collector_store_config){ .database = where, .labels_per_task = 1, .reservation_us = 60 * SECOND },
        &fake.clock, &err);

    expect_some(s, err);
    return s;
}

/* With count tasks t0, t1 ... of two completions, in a transaction. */
static struct collector_store *a_store(size_t count)
{
    fake_clock_init(&fake);
    snprintf(database, sizeof(database), "%s", on_server ? a_postgresql_database() : ":memory:");
    struct collector_store *s = open_store(database);
    struct collector_receipt r;
    char id[16];

    expect_ok(collector_store_begin(s, &err), err);
    for (size_t i = 0; i < count; ++i) {
        snprintf(id, sizeof(id), "t%zu", i);
        struct collector_task t = { .id = id, .round = "r",
                                    .content = { .prompt = "p", .completion = { "good", "bad" }, .count = 2 } };
        expect_ok(collector_store_put_task(s, &t, &r, &err), err);
    }
    return s;
}

/* To people of its, for so long; 0: they are offered to others meanwhile. */
static size_t give_for(struct collector_store *s, const char *vendor, size_t limit, size_t people, int64_t us)
{
    struct collector_gift gift = { .round = "r", .k_min = 2, .k_max = 2, .limit = limit, .people = people,
                                   .until_us = us ? fake.clock.wall_us(&fake.clock) + us : 0 };
    size_t given;

    expect_ok(collector_vendor_give(s, vendor, &gift, &given, &err), err);
    return given;
}

static size_t give(struct collector_store *s, const char *vendor, size_t limit)
{
    return give_for(s, vendor, limit, 1, 0);
}

static struct collector_given counts(struct collector_store *s, const char *vendor)
{
    struct collector_given g;

    expect_ok(collector_vendor_counts(s, vendor, &g, &err), err);
    return g;
}

static void sweep(struct collector_store *s, int64_t number, const char *saw)
{
    int64_t began = fake.clock.wall_us(&fake.clock);

    if (saw)
        expect_ok(collector_vendor_saw(s, "v", saw, "remote", number, &err), err);
    expect_ok(collector_vendor_swept(s, "v", number, began, 60 * SECOND, &err), err);
}

START_TEST(a_task_is_given_to_a_vendor_once)
{
    struct collector_store *s = a_store(3);
    json_t *tasks;

    ck_assert_uint_eq(give(s, "v", 2), 2);
    ck_assert_uint_eq(give(s, "v", 9), 1);
    ck_assert_uint_eq(give(s, "v", 9), 0);
    ck_assert_uint_eq(give(s, "w", 9), 3);
    expect_ok(collector_vendor_queued(s, "v", 2, &tasks, &err), err);
    ck_assert_uint_eq(json_array_size(tasks), 2);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(tasks, 1), "uid")), "t1");
    json_decref(tasks);
    collector_store_close(s);
}
END_TEST

START_TEST(a_task_whose_answer_was_lost_is_missed_twice_before_it_is_sent_again)
{
    struct collector_store *s = a_store(2);

    give(s, "v", 2);
    expect_ok(collector_vendor_move(s, "v", "t0", "sending", NULL, NULL, &err), err);
    expect_ok(collector_vendor_move(s, "v", "t1", "sending", NULL, NULL, &err), err);
    sweep(s, 1, NULL); /* too early to tell */
    sweep(s, 2, NULL);
    ck_assert_uint_eq(counts(s, "v").sending, 2);
    fake_clock_advance(&fake, 61 * SECOND);
    sweep(s, 3, "t0");
    ck_assert_uint_eq(counts(s, "v").sending, 1);
    ck_assert_uint_eq(counts(s, "v").sent, 1);
    sweep(s, 4, "t0");
    ck_assert_uint_eq(counts(s, "v").queued, 1);
    ck_assert_uint_eq(counts(s, "v").sent, 1);
    collector_store_close(s);
}
END_TEST

/* A record of Label Studio's with one annotation, which prefers the left side. */
static json_t *a_record(const json_t *task)
{
    return json_pack("{s:i, s:{s:O, s:O, s:O, s:O}, s:[{s:i, s:i, s:[{s:s, s:{s:s}}]}]}", "id", 5, "data", "prompt",
                     json_object_get(task, "prompt"), "uid", json_object_get(task, "uid"), "answer1",
                     json_array_get(json_object_get(task, "completions"), 0), "answer2",
                     json_array_get(json_object_get(task, "completions"), 1), "annotations", "id", 7, "completed_by", 1,
                     "result", "type", "pairwise", "value", "selected", "left");
}

static struct collector_import put(struct collector_store *s, const json_t *record, const char *source, int64_t as_of_us)
{
    struct collector_import i = { .source = source, .round = "" };

    expect_ok(collector_put_record(s, &collector_label_studio, &collector_default_guesses, record, as_of_us, &i, &err), err);
    return i;
}

static bool check_row(void *ctx, const struct collector_row *row)
{
    const struct collector_label *l = &row->label;

    ++*(size_t *)ctx;
    ck_assert(l->presented_count == 2);
    ck_assert_uint_eq(l->rank[l->presented[0]], 1); /* what stood on the left */
    ck_assert_str_eq(l->content.completion[0], "good");
    return true;
}

START_TEST(what_was_given_in_an_order_comes_back_in_the_tasks)
{
    enum { TASKS = 20 };
    struct collector_store *s = a_store(TASKS);
    size_t rows = 0, swapped = 0, i;
    json_t *tasks, *task;

    give(s, "v", TASKS);
    expect_ok(collector_vendor_queued(s, "v", TASKS, &tasks, &err), err);
    json_array_foreach (tasks, i, task) {
        json_t *record = a_record(task);
        json_object_set_new(json_array_get(json_object_get(record, "annotations"), 0), "id", json_integer((json_int_t)i));
        ck_assert_uint_eq(put(s, record, "v", 0).stored, 1);
        swapped += json_integer_value(json_array_get(json_object_get(task, "presented"), 0)) == 1;
        if (i == 0) /* whose order is not known, says nothing */
            ck_assert_uint_eq(put(s, record, "label_studio", 0).rejected, 1);
        json_decref(record);
    }
    json_decref(tasks);
    ck_assert(swapped > 0 && swapped < TASKS);
    expect_ok(collector_store_commit(s, &err), err);
    struct collector_range range = { .round = "", .last = UINT64_MAX, .limit = 100 };
    expect_ok(collector_store_list(s, &range, check_row, &rows, &err), err);
    ck_assert_uint_eq(rows, TASKS);
    collector_store_close(s);
}
END_TEST

static bool count_offer(void *ctx, const struct collector_offer *o)
{
    (void)o;
    ++*(size_t *)ctx;
    return true;
}

/* How many tasks somebody new is offered. */
static size_t offered(struct collector_store *s)
{
    static unsigned people;
    char name[32];
    size_t count = 0;

    snprintf(name, sizeof(name), "person-%u", people++);
    expect_ok(collector_store_commit(s, &err), err);
    expect_ok(collector_store_next(s, name, "r", 100, count_offer, &count, &err), err);
    expect_ok(collector_store_begin(s, &err), err);
    if (count)
        ck_assert_uint_eq(give_for(s, "another", 9, 1, 1), 0); /* what somebody is looking at, is nobody's to give */
    fake_clock_advance(&fake, 61 * SECOND); /* which gives them back */
    return count;
}

/* What the vendor's people say of the first task. */
static json_t *first_record(struct collector_store *s, const char *vendor)
{
    json_t *tasks;

    expect_ok(collector_vendor_queued(s, vendor, 1, &tasks, &err), err);
    json_t *record = a_record(json_array_get(tasks, 0));
    json_decref(tasks);
    return record;
}

START_TEST(what_a_vendor_has_is_not_offered_unless_more_is_wanted)
{
    struct collector_store *s = a_store(3);
    struct collector_receipt r;
    struct collector_task t = { .id = "wants-three", .round = "r", .wanted = 3,
                                .content = { .prompt = "p", .completion = { "good", "bad" }, .count = 2 } };

    ck_assert_uint_eq(offered(s), 3);
    ck_assert_uint_eq(give_for(s, "v", 2, 1, 3600 * (int64_t)SECOND), 2);
    ck_assert_uint_eq(offered(s), 1);
    ck_assert_uint_eq(give_for(s, "w", 9, 1, 3600 * (int64_t)SECOND), 1); /* nor given to another one */
    ck_assert_uint_eq(offered(s), 0);
    expect_ok(collector_store_put_task(s, &t, &r, &err), err);
    ck_assert_uint_eq(give_for(s, "v", 9, 2, 3600 * (int64_t)SECOND), 1);
    ck_assert_uint_eq(counts(s, "v").owed, 4);
    ck_assert_uint_eq(offered(s), 1); /* to a third one */
    ck_assert_uint_eq(give_for(s, "w", 9, 9, 3600 * (int64_t)SECOND), 1);
    ck_assert_uint_eq(counts(s, "w").owed, 2); /* what was left */
    ck_assert_uint_eq(offered(s), 0);
    collector_store_close(s);
}
END_TEST

START_TEST(what_comes_back_from_a_vendor_is_offered_again)
{
    struct collector_store *s = a_store(4);
    size_t freed;

    ck_assert_uint_eq(give_for(s, "v", 4, 1, 3600 * (int64_t)SECOND), 4);
    json_t *record = first_record(s, "v"), *skip = json_deep_copy(record);
    json_t *annotation = json_array_get(json_object_get(skip, "annotations"), 0);
    json_object_set_new(annotation, "was_cancelled", json_true());
    json_object_set_new(annotation, "id", json_integer(8));
    ck_assert_uint_eq(put(s, record, "v", 0).stored, 1);
    ck_assert_uint_eq(put(s, record, "v", 0).known, 1);
    ck_assert_uint_eq(counts(s, "v").owed, 3);
    ck_assert_uint_eq(offered(s), 0);
    json_object_set_new(json_object_get(skip, "data"), "uid", json_string("t1"));
    ck_assert_uint_eq(put(s, skip, "v", 0).skipped, 1);
    ck_assert_uint_eq(offered(s), 1);
    expect_ok(collector_vendor_move(s, "v", "t2", "refused", NULL, "no", &err), err);
    ck_assert_uint_eq(offered(s), 2);
    expect_ok(collector_vendor_free_overdue(s, 9, &freed, &err), err);
    ck_assert_uint_eq(freed, 0);
    fake_clock_advance(&fake, 3601 * (int64_t)SECOND);
    expect_ok(collector_vendor_free_overdue(s, 9, &freed, &err), err);
    ck_assert_uint_eq(freed, 1);
    ck_assert_uint_eq(counts(s, "v").owed, 0);
    ck_assert_uint_eq(offered(s), 3);
    json_decref(record);
    json_decref(skip);
    collector_store_close(s);
}
END_TEST

static uint64_t labels(struct collector_store *s)
{
    struct collector_counts n;

    expect_ok(collector_store_counts(s, "", &n, &err), err);
    return n.labels;
}

START_TEST(a_label_that_a_record_no_longer_has_is_deleted_unless_it_came_since)
{
    struct collector_store *s = a_store(1);
    json_t *tasks, *record, *without;

    give(s, "v", 1);
    expect_ok(collector_vendor_queued(s, "v", 1, &tasks, &err), err);
    record = a_record(json_array_get(tasks, 0));
    without = json_deep_copy(record);
    json_array_clear(json_object_get(without, "annotations"));
    int64_t asked_us = fake.clock.wall_us(&fake.clock);
    fake_clock_advance(&fake, SECOND);
    put(s, record, "v", 0); /* a callback, while the list was on its way */
    ck_assert_uint_eq(put(s, without, "v", asked_us).deleted, 0);
    fake_clock_advance(&fake, SECOND);
    ck_assert_uint_eq(put(s, without, "v", fake.clock.wall_us(&fake.clock)).deleted, 1);
    ck_assert_uint_eq(labels(s), 0);
    ck_assert_uint_eq(put(s, record, "v", fake.clock.wall_us(&fake.clock)).revised, 1); /* back again */
    ck_assert_uint_eq(labels(s), 1);
    json_decref(tasks);
    json_decref(record);
    json_decref(without);
    collector_store_close(s);
}
END_TEST

START_TEST(hints_that_come_while_a_task_is_fetched_are_kept)
{
    struct collector_store *s = a_store(1);
    char remote[64];
    int64_t hints;
    bool known;

    give(s, "v", 1);
    expect_ok(collector_vendor_move(s, "v", "t0", "sent", "77", NULL, &err), err);
    expect_ok(collector_vendor_hint(s, "v", "78", &known, &err), err);
    ck_assert(!known);
    expect_ok(collector_vendor_hint(s, "v", "77", &known, &err), err);
    expect_ok(collector_vendor_hinted(s, "v", remote, sizeof(remote), &hints, &err), err);
    ck_assert_str_eq(remote, "77");
    expect_ok(collector_vendor_hint(s, "v", "77", &known, &err), err);
    expect_ok(collector_vendor_fetched(s, "v", "77", hints, &err), err);
    expect_ok(collector_vendor_hinted(s, "v", remote, sizeof(remote), &hints, &err), err);
    ck_assert_str_eq(remote, "77");
    ck_assert_int_eq(hints, 1);
    collector_store_close(s);
}
END_TEST

START_TEST(a_delivery_is_fresh_once_until_it_is_too_old)
{
    struct collector_store *s = a_store(0);
    bool fresh;

    expect_ok(collector_vendor_callback(s, "v", "d1", 10 * SECOND, &fresh, &err), err);
    ck_assert(fresh);
    expect_ok(collector_vendor_callback(s, "v", "d1", 10 * SECOND, &fresh, &err), err);
    ck_assert(!fresh);
    expect_ok(collector_vendor_callback(s, "w", "d1", 10 * SECOND, &fresh, &err), err);
    ck_assert(fresh);
    fake_clock_advance(&fake, 11 * SECOND);
    expect_ok(collector_vendor_callback(s, "v", "d1", 10 * SECOND, &fresh, &err), err);
    ck_assert(fresh);
    collector_store_close(s);
}
END_TEST

START_TEST(of_those_who_share_a_database_one_deals_with_a_vendor)
{
    struct collector_store *s = a_store(0);
    bool held, anew;

    expect_ok(collector_vendor_hold(s, "v", "one", &held, &anew, &err), err);
    ck_assert(held && anew == on_server);
    expect_ok(collector_vendor_hold(s, "v", "one", &held, &anew, &err), err);
    ck_assert(held && !anew);
    expect_ok(collector_store_commit(s, &err), err);
    if (on_server) {
        struct collector_store *other = open_store(database);
        expect_ok(collector_store_begin(other, &err), err);
        expect_ok(collector_vendor_hold(other, "v", "another", &held, &anew, &err), err);
        ck_assert(!held);
        expect_ok(collector_vendor_hold(other, "w", "another", &held, &anew, &err), err);
        ck_assert(held && anew);
        collector_store_close(s); /* dies: the other one takes over, and knows that it does */
        for (held = false; !held;) /* once the server has noticed */
            expect_ok(collector_vendor_hold(other, "v", "another", &held, &anew, &err), err);
        ck_assert(anew);
        s = other;
    }
    collector_store_close(s);
}
END_TEST

/* ---- signatures ------------------------------------------------------------------------------------ */

static const struct rlhf_config_strings secrets = { .items = (char *[]){ (char *)"new", (char *)"public-test-secret" },
                                                    .count = 2 };

static const char body[] =
    "{\"id\":\"lbl-1\",\"label\":\"{\\\"classifications\\\": [{\\\"value\\\": \\\"choose_the_best_response\\\", "
    "\\\"answer\\\": {\\\"title\\\": \\\"Response B\\\", \\\"value\\\": \\\"response_b\\\"}}]}\",\"secondsToLabel\":21.4,"
    "\"project\":{\"id\":\"prj0001\",\"name\":\"helpful pairs\"},\"dataRow\":{\"id\":\"row-1\",\"externalId\":\"row-1\"},"
    "\"createdBy\":{\"email\":\"w17@example.org\"}}";

static bool hub(const char *given, const char *text)
{
    return collector_hub_signed(given, &secrets, text, strlen(text));
}

START_TEST(a_body_is_signed_to_the_last_byte)
{
    static const char sha256[] = "sha256=eb24bcb64361298a3ee8a3cefdf68a8865714f302113d909438b039c36ba2a89";
    static const char sha1[] = "sha1=6765f9f172c2032ca16c7b524f2ce30f0bf431b2";
    char *other = strdup(body);

    ck_assert(hub(sha256, body) && hub(sha1, body));
    other[strlen(other) - 2] ^= 1;
    ck_assert(!hub(sha256, other) && !hub(sha1, other));
    ck_assert(!hub(NULL, body) && !hub("", body) && !hub("sha256=", body) && !hub(sha256 + 7, body));
    ck_assert(!hub("sha1=eb24bcb64361298a3ee8a3cefdf68a8865714f302113d909438b039c36ba2a89", body));
    free(other);
}
END_TEST

START_TEST(a_secret_is_known_as_a_whole)
{
    ck_assert(collector_secret_known("new", &secrets) && collector_secret_known("public-test-secret", &secrets));
    ck_assert(!collector_secret_known(NULL, &secrets) && !collector_secret_known("", &secrets));
    ck_assert(!collector_secret_known("newer", &secrets) && !collector_secret_known("ne", &secrets));
}
END_TEST

#define ON_BOTH                                                                                                         \
    a_task_is_given_to_a_vendor_once, a_task_whose_answer_was_lost_is_missed_twice_before_it_is_sent_again,            \
        what_was_given_in_an_order_comes_back_in_the_tasks, what_a_vendor_has_is_not_offered_unless_more_is_wanted,     \
        what_comes_back_from_a_vendor_is_offered_again,                                                                 \
        a_label_that_a_record_no_longer_has_is_deleted_unless_it_came_since,                                            \
        hints_that_come_while_a_task_is_fetched_are_kept, a_delivery_is_fresh_once_until_it_is_too_old,                 \
        of_those_who_share_a_database_one_deals_with_a_vendor

int main(void)
{
    int failed = RUN_SUITE("label-collector/vendors", ON_BOTH, a_body_is_signed_to_the_last_byte,
                           a_secret_is_known_as_a_whole);

    on_server = start_postgresql();
    if (on_server)
        failed |= RUN_SUITE("label-collector/vendors on PostgreSQL", ON_BOTH);
    return failed;
}
