/* The label database: retries, revisions, cursors, assignment, and what it says of files that are not its
 * own. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "label-collector/store.h"
#include "support/fake_clock.h"
#include "support/postgresql.h"
#include "support/suite.h"

static struct fake_clock fake;
static struct rlhf_error err;

static struct collector_store *open_at(const char *path, uint32_t labels_per_task)
{
    fake_clock_init(&fake);
    struct collector_store *s = collector_store_open(
        &(struct collector_store_config){
            .database = path, .labels_per_task = labels_per_task, .reservation_us = 60 * 1000000},
        &fake.clock, &err);
    expect_some(s, err);
    return s;
}

/* Which engine the tests run on that are not about SQLite's files. */
static bool on_server;

static const char *a_database(void)
{
    return on_server ? a_postgresql_database() : in_directory(a_directory(), "labels.db");
}

static struct collector_store *a_store_wanting(uint32_t labels_per_task)
{
    return open_at(on_server ? a_postgresql_database() : ":memory:", labels_per_task);
}

static struct collector_store *a_store(void)
{
    return a_store_wanting(1);
}

static void refuses_to_open(const char *path, enum rlhf_code code, const char *part)
{
    struct collector_store *s = collector_store_open(
        &(struct collector_store_config){.database = path, .labels_per_task = 1}, &rlhf_system_clock, &err);

    ck_assert_ptr_null(s);
    expect_code(err, code);
    expect_contains(err.text, path);
    expect_contains(err.text, part);
}

static struct collector_task a_task(const char *id, const char *round)
{
    return (struct collector_task){
        .id = id, .round = round, .content = {.prompt = id, .completion = {"good", "bad"}, .count = 2}};
}

static struct collector_label a_label(const char *id, const char *task, const char *labeler)
{
    return (struct collector_label){.id = id,
                                    .source = "api",
                                    .labeler = labeler,
                                    .task = task,
                                    .round = "",
                                    .rank = {1, 2},
                                    .rank_count = 2,
                                    .seconds = -1};
}

static enum collector_outcome put(struct collector_store *s, const struct collector_label *l)
{
    struct collector_receipt r;

    expect_ok(collector_store_begin(s, &err), err);
    collector_store_put_label(s, l, &r, &err);
    expect_ok(collector_store_commit(s, &err), err);
    return r.outcome;
}

static enum collector_outcome put_task(struct collector_store *s, const char *id, const char *round)
{
    struct collector_task t = a_task(id, round);
    struct collector_receipt r;

    expect_ok(collector_store_begin(s, &err), err);
    collector_store_put_task(s, &t, &r, &err);
    expect_ok(collector_store_commit(s, &err), err);
    return r.outcome;
}

static enum collector_outcome put_skip(struct collector_store *s, const char *task, const char *labeler)
{
    struct collector_receipt r;

    expect_ok(collector_store_begin(s, &err), err);
    collector_store_put_skip(s, task, labeler, "no idea", &r, &err);
    expect_ok(collector_store_commit(s, &err), err);
    return r.outcome;
}

/* Ids of what was offered or listed, joined by blanks. */
static char seen[4096];
static uint8_t order[2];

static bool see_offer(void *ctx, const struct collector_offer *o)
{
    (void)ctx;
    strcat(strcat(seen, *seen ? " " : ""), o->task.id);
    memcpy(order, o->presented, sizeof(order));
    return true;
}

static const char *next(struct collector_store *s, const char *labeler, const char *round, size_t count)
{
    *seen = '\0';
    expect_ok(collector_store_next(s, labeler, round, count, see_offer, NULL, &err), err);
    return seen;
}

static uint64_t last_sequence;

static bool see_row(void *ctx, const struct collector_row *row)
{
    (void)ctx;
    ck_assert_uint_gt(row->sequence, last_sequence);
    last_sequence = row->sequence;
    sprintf(seen + strlen(seen), "%s%s.%u:%u%u", *seen ? " " : "", row->label.id, row->revision,
            row->label.rank[0], row->label.rank[1]);
    return true;
}

static const char *list(struct collector_store *s, const char *round, uint64_t cursor, size_t limit,
                        bool latest)
{
    struct collector_range range = {
        .round = round, .cursor = cursor, .last = UINT64_MAX, .limit = limit, .latest = latest};

    *seen = '\0';
    last_sequence = cursor;
    expect_ok(collector_store_list(s, &range, see_row, NULL, &err), err);
    return seen;
}

static struct collector_counts counts(struct collector_store *s, const char *round)
{
    struct collector_counts c;

    expect_ok(collector_store_counts(s, round, &c, &err), err);
    return c;
}

START_TEST(what_was_committed_is_there_after_reopening)
{
    const char *path = a_database();
    struct collector_store *s = open_at(path, 1);

    put_task(s, "t", "r");
    struct collector_label l = a_label("l", "t", "ada");
    l.seconds = 2.5;
    l.note = "close";
    ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    collector_store_close(s);

    s = open_at(path, 1);
    ck_assert_str_eq(list(s, "", 0, 10, false), "l.1:12");
    ck_assert_uint_eq(counts(s, "r").labels, 1);
    ck_assert_uint_eq(counts(s, "r").open, 0);
    ck_assert_int_eq(put(s, &l), COLLECTOR_KNOWN);
    collector_store_close(s);
}
END_TEST

START_TEST(the_same_label_again_changes_nothing)
{
    struct collector_store *s = a_store();

    put_task(s, "t", "");
    struct collector_label l = a_label("l", "t", "ada");
    ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    l.seconds = 9; /* a retry may have been timed anew */
    ck_assert_int_eq(put(s, &l), COLLECTOR_KNOWN);
    ck_assert_str_eq(list(s, "", 0, 10, false), "l.1:12");
    ck_assert_uint_eq(counts(s, "").labels, 1);
    collector_store_close(s);
}
END_TEST

START_TEST(another_answer_under_the_same_id_is_a_revision_with_history)
{
    struct collector_store *s = a_store();

    put_task(s, "t", "");
    struct collector_label l = a_label("l", "t", "ada");
    put(s, &l);
    uint64_t cursor = counts(s, "").sequence;
    l.rank[0] = 2, l.rank[1] = 1;
    ck_assert_int_eq(put(s, &l), COLLECTOR_REVISED);
    ck_assert_str_eq(list(s, "", 0, 10, false), "l.1:12 l.2:21");
    ck_assert_str_eq(list(s, "", 0, 10, true), "l.2:21");
    ck_assert_str_eq(list(s, "", cursor, 10, false), "l.2:21");
    l.rank[0] = 1, l.rank[1] = 2; /* changing one's mind twice counts */
    ck_assert_int_eq(put(s, &l), COLLECTOR_REVISED);
    ck_assert_uint_eq(counts(s, "").labels, 1);
    ck_assert_uint_eq(counts(s, "").revisions, 3);
    collector_store_close(s);
}
END_TEST

START_TEST(a_late_retry_of_an_earlier_revision_is_known_as_one)
{
    struct collector_store *s = a_store();

    put_task(s, "t", "");
    struct collector_label first = a_label("l", "t", "ada"), second = first, wrong;
    first.revision = 1;
    second.revision = 2;
    second.rank[0] = second.rank[1] = 1;
    ck_assert_int_eq(put(s, &second), COLLECTOR_CONFLICT);
    ck_assert_int_eq(put(s, &first), COLLECTOR_STORED);
    ck_assert_int_eq(put(s, &second), COLLECTOR_REVISED);
    ck_assert_int_eq(put(s, &first), COLLECTOR_KNOWN);
    ck_assert_int_eq(put(s, &second), COLLECTOR_KNOWN);
    wrong = second;
    wrong.revision = 1;
    ck_assert_int_eq(put(s, &wrong), COLLECTOR_CONFLICT);
    ck_assert_str_eq(list(s, "", 0, 10, true), "l.2:11");
    collector_store_close(s);
}
END_TEST

START_TEST(ids_are_not_taken_over)
{
    struct collector_store *s = a_store();
    struct collector_task other = a_task("t", "");
    struct collector_receipt r;

    ck_assert_int_eq(put_task(s, "t", ""), COLLECTOR_STORED);
    ck_assert_int_eq(put_task(s, "t", ""), COLLECTOR_KNOWN);
    ck_assert_int_eq(put_task(s, "t", "r"), COLLECTOR_CONFLICT);
    put_task(s, "u", "");
    other.content.completion[1] = "worse";
    expect_ok(collector_store_begin(s, &err), err);
    ck_assert_int_lt(collector_store_put_task(s, &other, &r, &err), 0);
    ck_assert_int_eq(r.outcome, COLLECTOR_CONFLICT);
    expect_contains(err.text, "new tasks new ids");
    collector_store_rollback(s);

    struct collector_label l = a_label("l", "t", "ada");
    put(s, &l);
    l.task = "u";
    ck_assert_int_eq(put(s, &l), COLLECTOR_CONFLICT);
    l.task = "t";
    l.labeler = "bob";
    ck_assert_int_eq(put(s, &l), COLLECTOR_CONFLICT);
    l.labeler = "ada";
    l.source = "page"; /* ids are the submitter's */
    ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    l.task = "nowhere";
    ck_assert_int_eq(put(s, &l), COLLECTOR_MISSING);
    l = a_label("m", "t", "ada");
    l.rank_count = 3;
    l.rank[2] = 3;
    ck_assert_int_eq(put(s, &l), COLLECTOR_INVALID);
    collector_store_close(s);
}
END_TEST

START_TEST(a_cursor_sees_every_revision_once)
{
    struct collector_store *s = a_store();
    char id[16];
    uint64_t cursor = 0;
    size_t total = 0;

    for (int i = 0; i < 50; ++i) {
        sprintf(id, "t%d", i);
        put_task(s, id, i % 2 ? "odd" : "even");
        struct collector_label l = a_label(id, id, "ada");
        put(s, &l);
    }
    for (;;) {
        const char *text = list(s, "", cursor, 7, false);
        if (!*text)
            break;
        for (const char *c = text; c; c = strchr(c + 1, ' '))
            ++total;
        cursor = last_sequence;
    }
    ck_assert_uint_eq(total, 50);
    ck_assert_str_eq(list(s, "odd", 94, 10, false), "");
    ck_assert_str_eq(list(s, "odd", 44, 2, false), "t45.1:12 t47.1:12");
    ck_assert_str_eq(list(s, "even", 0, 2, false), "t0.1:12 t2.1:12");
    collector_store_close(s);
}
END_TEST

START_TEST(tasks_with_the_fewest_labels_come_first)
{
    struct collector_store *s = a_store_wanting(3);
    struct collector_label l = a_label("l", "a", "bob");

    put_task(s, "a", "r");
    put_task(s, "b", "r");
    put_task(s, "c", "other");
    put(s, &l);
    ck_assert_str_eq(next(s, "ada", "r", 10), "b a");
    ck_assert_str_eq(next(s, "eve", "", 10), "b c a");
    ck_assert_str_eq(next(s, "bob", "r", 10), "b"); /* has judged a */
    ck_assert_str_eq(next(s, "bob", "nowhere", 10), "");
    collector_store_close(s);
}
END_TEST

START_TEST(two_people_do_not_get_the_same_task_at_once)
{
    struct collector_store *s = a_store();

    put_task(s, "a", "");
    put_task(s, "b", "");
    ck_assert_str_eq(next(s, "ada", "", 1), "a");
    ck_assert_str_eq(next(s, "bob", "", 1), "b");
    ck_assert_str_eq(next(s, "eve", "", 1), "");
    ck_assert_str_eq(next(s, "ada", "", 1), "a"); /* a reload */
    fake_clock_advance(&fake, 61 * 1000000);
    ck_assert_str_eq(next(s, "eve", "", 2), "a b"); /* nobody is kept waiting for ever */
    collector_store_close(s);
}
END_TEST

START_TEST(a_task_is_given_to_as_many_people_as_it_wants_labels)
{
    struct collector_store *s = a_store_wanting(2);
    struct collector_label l = a_label("l", "a", "ada");

    put_task(s, "a", "");
    ck_assert_str_eq(next(s, "ada", "", 1), "a");
    ck_assert_str_eq(next(s, "bob", "", 1), "a");
    ck_assert_str_eq(next(s, "eve", "", 1), "");
    put(s, &l);
    ck_assert_uint_eq(counts(s, "").open, 1);
    ck_assert_str_eq(next(s, "eve", "", 1), ""); /* one is in, one reserved */
    l.id = "m";
    l.labeler = "bob";
    put(s, &l);
    ck_assert_uint_eq(counts(s, "").open, 0);
    collector_store_close(s);
}
END_TEST

START_TEST(an_offer_that_is_not_taken_is_not_reserved)
{
    struct collector_store *s = a_store();

    put_task(s, "a", "");
    ck_assert_str_eq(next(s, "ada", "", 0), "");
    ck_assert_str_eq(next(s, "bob", "", 1), "a");
    collector_store_close(s);
}
END_TEST

START_TEST(a_skipped_task_goes_to_someone_else)
{
    struct collector_store *s = a_store();
    struct collector_label l = a_label("l", "a", "ada");
    uint64_t mine;

    put_task(s, "a", "");
    next(s, "ada", "", 1);
    ck_assert_int_eq(put_skip(s, "a", "ada"), COLLECTOR_STORED);
    ck_assert_int_eq(put_skip(s, "a", "ada"), COLLECTOR_KNOWN);
    ck_assert_int_eq(put_skip(s, "b", "ada"), COLLECTOR_MISSING);
    ck_assert_uint_eq(counts(s, "").skips, 1);
    ck_assert_str_eq(next(s, "ada", "", 1), "");
    ck_assert_str_eq(next(s, "bob", "", 1), "a");
    put(s, &l); /* undone: the label takes the skip's place */
    ck_assert_uint_eq(counts(s, "").skips, 0);
    ck_assert_int_eq(put_skip(s, "a", "ada"), COLLECTOR_CONFLICT);
    expect_ok(collector_store_mine(s, "ada", "", &mine, &err), err);
    ck_assert_uint_eq(mine, 1);
    collector_store_close(s);
}
END_TEST

/* What was handed out is stored, although the label did not say it. */
static bool was_shown_so(void *first, const struct collector_row *row)
{
    ck_assert(row->label.presented_count);
    ck_assert_mem_eq(row->label.presented, first, 2);
    return true;
}

START_TEST(the_order_shown_is_random_but_fixed_and_stored)
{
    struct collector_store *s = a_store_wanting(1000);
    char name[16];
    uint8_t first[2];
    int swapped = 0;

    put_task(s, "a", "");
    for (int i = 0; i < 200; ++i) {
        sprintf(name, "p%d", i);
        next(s, name, "", 1);
        memcpy(first, order, sizeof(first));
        swapped += order[0] == 1;
        next(s, name, "", 1);
        ck_assert_mem_eq(first, order, sizeof(first));
    }
    ck_assert_int_gt(swapped, 60); /* 200 fair coins: 6 sigma */
    ck_assert_int_lt(swapped, 140);

    struct collector_label l = a_label("l", "a", name);
    put(s, &l);
    struct collector_range range = {.round = "", .last = UINT64_MAX, .limit = 1};
    expect_ok(collector_store_list(s, &range, was_shown_so, first, &err), err);
    collector_store_close(s);
}
END_TEST

START_TEST(a_request_is_undone_alone)
{
    struct collector_store *s = a_store();
    struct collector_label l = a_label("one", NULL, "ada");
    struct collector_receipt r;

    l.content = a_task("p", "").content;
    expect_ok(collector_store_begin(s, &err), err);
    for (int i = 0; i < 3; ++i) {
        l.id = i == 0 ? "one" : i == 1 ? "two" : "three";
        expect_ok(collector_store_mark(s, &err), err);
        expect_ok(collector_store_put_label(s, &l, &r, &err), err);
        expect_ok(collector_store_unmark(s, i != 1, &err), err);
    }
    expect_ok(collector_store_commit(s, &err), err);
    ck_assert_str_eq(list(s, "", 0, 9, false), "one.1:12 three.1:12");

    expect_ok(collector_store_begin(s, &err), err);
    l.id = "four";
    expect_ok(collector_store_put_label(s, &l, &r, &err), err);
    collector_store_rollback(s);
    ck_assert_uint_eq(counts(s, "").labels, 2);
    ck_assert_int_lt(collector_store_put_label(s, &l, &r, &err), 0); /* not outside of a transaction */
    collector_store_close(s);
}
END_TEST

START_TEST(open_tasks_follow_the_labels_wanted)
{
    const char *path = a_database();
    struct collector_store *s = open_at(path, 1);
    struct collector_label l = a_label("l", "a", "ada");

    put_task(s, "a", "");
    put_task(s, "b", "");
    put(s, &l);
    ck_assert_uint_eq(counts(s, "").open, 1);
    collector_store_close(s);
    s = open_at(path, 2);
    ck_assert_uint_eq(counts(s, "").open, 2);
    collector_store_close(s);
}
END_TEST

START_TEST(a_label_that_brings_its_content_makes_its_task)
{
    struct collector_store *s = a_store();
    struct collector_label l = a_label("l", "a", "ada");

    l.content = a_task("a", "").content;
    l.round = "r";
    ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    ck_assert_uint_eq(counts(s, "r").tasks, 1);
    ck_assert_uint_eq(counts(s, "r").open, 0);
    l.content.prompt = "another";
    ck_assert_int_eq(put(s, &l), COLLECTOR_CONFLICT);
    collector_store_close(s);
}
END_TEST

static void write_text(const char *path, const char *text, size_t size)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
}

static void run_sql(const char *path, const char *text)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

START_TEST(files_that_are_not_its_own_are_refused_by_name)
{
    const char *dir = a_directory();
    const char *path = in_directory(dir, "noise.db");
    char noise[5000];

    memset(noise, 'x', sizeof(noise));
    write_text(path, noise, sizeof(noise));
    refuses_to_open(path, RLHF_CORRUPT, "not an SQLite database");
    path = in_directory(dir, "other.db");
    run_sql(path, "CREATE TABLE t (x)");
    refuses_to_open(path, RLHF_REJECT, "another program's");
    path = in_directory(dir, "newer.db");
    collector_store_close(open_at(path, 1));
    run_sql(path, "PRAGMA user_version=99");
    refuses_to_open(path, RLHF_REJECT, "newer label-collector (schema 99");
    refuses_to_open(in_directory(dir, "missing/labels.db"), RLHF_FATAL, "does its directory exist");
    refuses_to_open(dir, RLHF_FATAL, "cannot be opened");
}
END_TEST

START_TEST(a_damaged_file_is_refused_with_the_way_to_rescue_it)
{
    const char *path = in_directory(a_directory(), "labels.db");
    struct collector_store *s = open_at(path, 1);
    char id[16];

    for (int i = 0; i < 100; ++i) {
        sprintf(id, "t%d", i);
        put_task(s, id, "");
    }
    collector_store_close(s);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    char noise[512];
    memset(noise, 0x5A, sizeof(noise));
    for (off_t page = 2; page < 20; ++page)
        ck_assert_int_eq(pwrite(fd, noise, sizeof(noise), page * 4096), (int)sizeof(noise));
    close(fd);
    refuses_to_open(path, RLHF_CORRUPT, ".recover");
}
END_TEST

/* ---- what counts ------------------------------------------------------------------------------- */

static char excluded[64]; /* of the last row seen */

static bool see_excluded(void *ctx, const struct collector_row *row)
{
    (void)ctx;
    snprintf(excluded, sizeof(excluded), "%s", row->excluded ? row->excluded : "counts");
    return see_row(ctx, row);
}

/* Why the newest revision does not count, or "counts". */
static const char *newest(struct collector_store *s)
{
    struct collector_range range = {.round = "", .last = UINT64_MAX, .limit = 100};

    *seen = '\0';
    last_sequence = 0;
    expect_ok(collector_store_list(s, &range, see_excluded, NULL, &err), err);
    return excluded;
}

static uint64_t exclude(struct collector_store *s, const struct collector_choice *which, const char *from,
                        const char *to)
{
    uint64_t changed;

    expect_ok(collector_store_begin(s, &err), err);
    expect_ok(collector_store_exclude(s, which, from, to, &changed, &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    return changed;
}

static uint64_t quarantine(struct collector_store *s, const char *scope, const char *name, const char *why)
{
    uint64_t changed;

    expect_ok(collector_store_begin(s, &err), err);
    expect_ok(collector_store_quarantine(s, scope, name, why, "owner", &changed, &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    return changed;
}

START_TEST(a_label_taken_back_opens_its_task_and_may_be_given_again)
{
    struct collector_store *s = a_store();
    struct collector_label l = a_label("l0", "t0", "ada");
    struct collector_choice which = {.source = "api", .id = "l0"};

    put_task(s, "t0", "r");
    ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    ck_assert_uint_eq(counts(s, "r").open, 0);
    ck_assert_str_eq(next(s, "bob", "", 1), "");
    ck_assert_uint_eq(exclude(s, &which, "", "undone"), 1);
    ck_assert_str_eq(newest(s), "undone");
    ck_assert_uint_eq(counts(s, "r").open, 1);
    ck_assert_uint_eq(counts(s, "r").labels, 0);
    ck_assert_str_eq(next(s, "ada", "", 1), "t0");
    ck_assert_uint_eq(exclude(s, &which, "", "undone"), 0);
    ck_assert_int_eq(put(s, &l), COLLECTOR_REVISED); /* the same answer again */
    ck_assert_str_eq(newest(s), "counts");
    ck_assert_uint_eq(counts(s, "r").open, 0);
    ck_assert_uint_eq(counts(s, "r").labels, 1);
    ck_assert_str_eq(list(s, "", 0, 9, false), "l0.1:12 l0.2:12 l0.3:12");
    collector_store_close(s);
}
END_TEST

START_TEST(taking_one_label_back_leaves_the_labelers_others)
{
    struct collector_store *s = a_store();
    struct collector_label first = a_label("l0", "t0", "ada"), second = a_label("l1", "t1", "ada");
    struct collector_choice of_bob = {.source = "api", .id = "l0", .labeler = "bob"},
                            of_ada = {.source = "api", .id = "l0", .labeler = "ada"};

    put_task(s, "t0", "r");
    put_task(s, "t1", "r");
    ck_assert_int_eq(put(s, &first), COLLECTOR_STORED);
    ck_assert_int_eq(put(s, &second), COLLECTOR_STORED);
    ck_assert_uint_eq(exclude(s, &of_bob, "", "undone"), 0); /* not bob's to take back */
    ck_assert_uint_eq(exclude(s, &of_ada, "", "undone"), 1);
    ck_assert_uint_eq(counts(s, "r").labels, 1);
    ck_assert_str_eq(next(s, "ada", "", 9), "t0");
    collector_store_close(s);
}
END_TEST

START_TEST(quarantine_takes_everything_out_and_the_end_of_it_brings_it_back)
{
    struct collector_store *s = a_store();

    for (int i = 0; i < 4; ++i) {
        char id[16], label[16];
        sprintf(id, "t%d", i);
        sprintf(label, "l%d", i);
        put_task(s, id, "r");
        struct collector_label l = a_label(label, id, i < 3 ? "bob" : "ada");
        ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    }
    ck_assert_uint_eq(quarantine(s, "labeler", "bob", "flips"), 3);
    ck_assert_uint_eq(counts(s, "r").labels, 1);
    ck_assert_uint_eq(counts(s, "r").open, 3);
    ck_assert_uint_eq(quarantine(s, "labeler", "bob", "flips"), 0);
    put_task(s, "t4", "r");
    struct collector_label late = a_label("l4", "t4", "bob");
    ck_assert_int_eq(put(s, &late), COLLECTOR_STORED); /* kept, and does not count */
    ck_assert_str_eq(newest(s), "quarantine");
    ck_assert_uint_eq(counts(s, "r").open, 4);
    ck_assert_uint_eq(quarantine(s, "labeler", "bob", NULL), 4);
    ck_assert_str_eq(newest(s), "counts");
    ck_assert_uint_eq(counts(s, "r").labels, 5);
    ck_assert_uint_eq(counts(s, "r").open, 0);
    ck_assert_uint_eq(quarantine(s, "source", "api", "bought"), 5);
    ck_assert_uint_eq(counts(s, "r").labels, 0);
    collector_store_close(s);
}
END_TEST

static struct collector_standing standing;

static void see_standing(void *ctx, const struct collector_standing *st)
{
    (void)ctx;
    standing = *st;
    standing.quarantine = st->quarantine ? "quarantined" : NULL;
}

START_TEST(who_answers_gold_items_wrongly_is_quarantined)
{
    struct collector_store *s = collector_store_open(
        &(struct collector_store_config){.database = on_server ? a_postgresql_database() : ":memory:",
                                         .labels_per_task = 1,
                                         .auto_quarantine = true},
        &rlhf_system_clock, &err);
    int answers = 0;

    expect_some(s, err);
    standing.quarantine = NULL;
    for (int i = 0; i < 50 && !standing.quarantine; ++i) {
        char id[16];
        struct collector_task t = a_task(id, "r");
        struct collector_receipt r;
        sprintf(id, "g%d", i);
        t.gold = "{\"ranks\":[2,1]}";
        expect_ok(collector_store_begin(s, &err), err);
        expect_ok(collector_store_put_task(s, &t, &r, &err), err);
        expect_ok(collector_store_commit(s, &err), err);
        struct collector_label wrong = a_label(id, id, "bob"), right = a_label("", id, "ada");
        ck_assert_int_eq(put(s, &wrong), COLLECTOR_STORED);
        ck_assert_str_eq(newest(s), "gold"); /* what is known needs no learning */
        right.id = "a";
        right.source = "page";
        right.rank[0] = 2;
        right.rank[1] = 1;
        char name[16];
        sprintf(name, "a%d", i);
        right.id = name;
        ck_assert_int_eq(put(s, &right), COLLECTOR_STORED);
        expect_ok(collector_store_standing(s, "labeler", "bob", NULL, 1, see_standing, NULL, &err), err);
        answers++;
    }
    ck_assert_ptr_nonnull(standing.quarantine);
    ck_assert_int_lt(answers, 20);
    ck_assert_uint_eq(standing.gold_right, 0);
    expect_ok(collector_store_standing(s, "labeler", "ada", NULL, 1, see_standing, NULL, &err), err);
    ck_assert_ptr_null(standing.quarantine);
    ck_assert_uint_eq(standing.gold_right, (uint64_t)answers);
    ck_assert_uint_eq(counts(s, "r").open, 0); /* gold items wait for nobody */
    collector_store_close(s);
}
END_TEST

START_TEST(gold_items_come_among_the_others_and_only_once)
{
    fake_clock_init(&fake);
    struct collector_store *s = collector_store_open(
        &(struct collector_store_config){.database = on_server ? a_postgresql_database() : ":memory:",
                                         .labels_per_task = 1,
                                         .reservation_us = 60 * 1000000,
                                         .gold_share = 0.5},
        &fake.clock, &err);
    int gold = 0;

    expect_some(s, err);
    for (int i = 0; i < 40; ++i) {
        char id[16];
        struct collector_task t = a_task(id, "r");
        struct collector_receipt r;
        sprintf(id, "%s%d", i % 4 ? "t" : "g", i);
        t.gold = i % 4 ? NULL : "{\"ranks\":[1,2]}";
        expect_ok(collector_store_begin(s, &err), err);
        expect_ok(collector_store_put_task(s, &t, &r, &err), err);
        expect_ok(collector_store_commit(s, &err), err);
    }
    for (int i = 0; i < 30; ++i) {
        char task[32], again[32];
        snprintf(task, sizeof(task), "%s", next(s, "ada", "r", 1));
        snprintf(again, sizeof(again), "%s", next(s, "ada", "r", 1));
        ck_assert_str_eq(task, again); /* a reload shows the same */
        gold += *task == 'g';
        struct collector_label l = a_label(task, task, "ada");
        ck_assert_int_eq(put(s, &l), COLLECTOR_STORED); /* never one that was judged before */
    }
    ck_assert_int_ge(gold, 5);
    ck_assert_int_le(gold, 10);
    collector_store_close(s);
}
END_TEST

START_TEST(labels_beyond_the_quota_are_kept_and_do_not_count)
{
    struct collector_store *s = a_store();
    const int64_t quota = 2;

    expect_ok(collector_store_begin(s, &err), err);
    expect_ok(collector_store_set_standing(s, "source", "api", &(struct collector_change){.quota = &quota}, "owner", &err), err);
    expect_ok(collector_store_commit(s, &err), err);
    for (int i = 0; i < 3; ++i) {
        char id[16];
        sprintf(id, "t%d", i);
        put_task(s, id, "r");
        struct collector_label l = a_label(id, id, "ada");
        ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
        ck_assert_str_eq(newest(s), i < 2 ? "counts" : "quota");
    }
    ck_assert_uint_eq(counts(s, "r").labels, 2);
    ck_assert_uint_eq(counts(s, "r").open, 1);
    collector_store_close(s);
}
END_TEST

START_TEST(every_kind_of_task_takes_its_answer_and_no_other)
{
    static const struct {
        enum collector_kind kind;
        const char *ratings, *flags, *answer;
    } kinds[] = {{COLLECTOR_LIKERT, "[7,1]", NULL, NULL},
                 {COLLECTOR_TOXICITY, "[0,2]", NULL, NULL},
                 {COLLECTOR_FLAGS, NULL, "[[],[\"hallucination\"]]", NULL},
                 {COLLECTOR_DEMONSTRATION, NULL, NULL, "like this"}};
    struct collector_store *s = a_store();

    for (size_t i = 0; i < 4; ++i) {
        char id[16];
        struct collector_task t = a_task(id, "r");
        struct collector_receipt r;
        sprintf(id, "t%zu", i);
        t.kind = kinds[i].kind;
        if (t.kind == COLLECTOR_DEMONSTRATION)
            t.content.count = 0;
        expect_ok(collector_task_check(&t, &err), err);
        expect_ok(collector_store_begin(s, &err), err);
        expect_ok(collector_store_put_task(s, &t, &r, &err), err);
        expect_ok(collector_store_commit(s, &err), err);
        struct collector_label l = a_label(id, id, "ada");
        ck_assert_int_eq(put(s, &l), COLLECTOR_INVALID); /* ranks */
        l.rank_count = 0;
        ck_assert_int_eq(put(s, &l), COLLECTOR_INVALID); /* nothing */
        l.ratings = (char *)(uintptr_t)kinds[i].ratings;
        l.flags = (char *)(uintptr_t)kinds[i].flags;
        l.answer = kinds[i].answer;
        expect_ok(collector_label_check(&l, &err), err);
        ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
        ck_assert_int_eq(put(s, &l), COLLECTOR_KNOWN);
    }
    ck_assert_uint_eq(counts(s, "r").open, 0);
    collector_store_close(s);
}
END_TEST

/* ---- PostgreSQL only --------------------------------------------------------------------------- */

START_TEST(two_collectors_share_one_database)
{
    const char *database = a_database();
    struct collector_store *a = open_at(database, 1), *b = open_at(database, 1);

    for (int i = 0; i < 4; ++i) {
        char id[16];
        sprintf(id, "t%d", i);
        put_task(i % 2 ? a : b, id, "");
    }
    ck_assert_str_eq(next(a, "ada", "", 2), "t0 t1");
    ck_assert_str_eq(next(b, "bob", "", 9), "t2 t3"); /* what a handed out, b keeps back */
    struct collector_label by_ada = a_label("l0", "t0", "ada"), by_bob = a_label("l1", "t2", "bob");
    ck_assert_int_eq(put(a, &by_ada), COLLECTOR_STORED);
    ck_assert_int_eq(put(b, &by_bob), COLLECTOR_STORED);
    ck_assert_int_eq(put(b, &by_ada), COLLECTOR_KNOWN);
    ck_assert_str_eq(list(a, "", 0, 9, false), "l0.1:12 l1.1:12");
    ck_assert_uint_eq(counts(a, "").open, 2);
    collector_store_close(a);
    collector_store_close(b);
}
END_TEST

enum { WRITERS = 4, EACH = 60 };

static _Noreturn void write_labels(const char *database, int writer)
{
    struct collector_store *s = open_at(database, 1);

    for (int i = 0; i < EACH; ++i) {
        char id[32];
        sprintf(id, "w%d-%d", writer, i);
        struct collector_label l = a_label(id, NULL, "ada");
        l.content = (struct collector_content){.prompt = id, .completion = {"x", "y"}, .count = 2};
        ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    }
    _exit(0);
}

static bool count_row(void *ctx, const struct collector_row *row)
{
    uint64_t *cursor = ctx;

    ck_assert_uint_eq(row->sequence, *cursor + 1); /* a number seen later would be one that was passed by */
    *cursor = row->sequence;
    return true;
}

START_TEST(a_reader_passes_nothing_by_while_others_write)
{
    const char *database = a_database();
    struct collector_store *s = open_at(database, 1);
    uint64_t cursor = 0;
    pid_t writers[WRITERS];

    for (int i = 0; i < WRITERS; ++i)
        if ((writers[i] = fork()) == 0)
            write_labels(database, i);
    while (cursor < WRITERS * EACH)
        expect_ok(
            collector_store_list(
                s, &(struct collector_range){.round = "", .cursor = cursor, .last = UINT64_MAX, .limit = 50},
                count_row, &cursor, &err),
            err);
    for (int i = 0; i < WRITERS; ++i) {
        int status;
        ck_assert_int_eq(waitpid(writers[i], &status, 0), writers[i]);
        ck_assert_int_eq(status, 0);
    }
    collector_store_close(s);
}
END_TEST

START_TEST(a_lost_connection_costs_the_transaction_alone)
{
    const char *database = a_database();
    struct collector_store *s = open_at(database, 1);
    struct collector_label first = a_label("l0", "t0", "ada"), second = a_label("l1", "t1", "ada");
    struct collector_receipt r;

    put_task(s, "t0", "");
    put_task(s, "t1", "");
    ck_assert_int_eq(put(s, &first), COLLECTOR_STORED);
    expect_ok(collector_store_begin(s, &err), err);
    run_in_postgresql(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                " WHERE datname = current_database() AND pid <> pg_backend_pid()");
    ck_assert_int_lt(collector_store_put_label(s, &second, &r, &err), 0);
    expect_code(err, RLHF_AGAIN);
    ck_assert_int_lt(collector_store_put_label(s, &second, &r, &err),
                     0); /* no statement outside of a transaction */
    ck_assert_int_lt(collector_store_commit(s, &err), 0);
    expect_code(err, RLHF_AGAIN);
    ck_assert_str_eq(list(s, "", 0, 9, false), "l0.1:12");
    ck_assert_int_eq(put(s, &second), COLLECTOR_STORED);
    ck_assert_str_eq(list(s, "", 0, 9, false), "l0.1:12 l1.1:12");
    collector_store_close(s);
}
END_TEST

START_TEST(addresses_that_lead_nowhere_are_named_without_their_password)
{
    struct collector_store_config c = {.database = "postgresql://ada:secret@/x?host=/nowhere",
                                       .labels_per_task = 1};

    ck_assert_ptr_null(collector_store_open(&c, &rlhf_system_clock, &err));
    expect_code(err, RLHF_AGAIN);
    expect_contains(err.text, "postgresql://ada@/nowhere/x cannot be opened");
    ck_assert_ptr_null(strstr(err.text, "secret"));
    c.database = "postgresql://host/x?colour=red";
    ck_assert_ptr_null(collector_store_open(&c, &rlhf_system_clock, &err));
    expect_code(err, RLHF_REJECT);
}
END_TEST

START_TEST(a_newer_schema_is_refused)
{
    const char *database = a_database();

    collector_store_close(open_at(database, 1));
    run_in_postgresql(database, "UPDATE label_collector.meta SET value = '99' WHERE key = 'schema'");
    struct collector_store_config c = {.database = database, .labels_per_task = 1};
    ck_assert_ptr_null(collector_store_open(&c, &rlhf_system_clock, &err));
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "newer label-collector (schema 99");
}
END_TEST

static void see_token(void *ctx, const struct collector_token *t)
{
    char *text = ctx;

    sprintf(text + strlen(text), "%lld %s %s%s;", (long long)t->number, collector_role_name(t->role), t->name,
            t->revoked_us ? " revoked" : "");
}

static void begun(struct collector_store *s)
{
    expect_ok(collector_store_begin(s, &err), err);
}

static void ended(struct collector_store *s)
{
    expect_ok(collector_store_commit(s, &err), err);
}

START_TEST(tokens_and_sessions_are_found_by_their_hashes_until_they_end)
{
    struct collector_store *s = a_store();
    struct rlhf_digest token = rlhf_digest_of("token", 5), other = rlhf_digest_of("other", 5),
                       session = rlhf_digest_of("session", 7);
    int64_t number, second, now = fake.clock.wall_us(&fake.clock);
    char found_ones[256] = "";
    bool has, found;

    expect_ok(collector_store_has_tokens(s, &has, &err), err);
    ck_assert(!has);
    begun(s);
    expect_ok(collector_store_add_token(s, &token, COLLECTOR_LABELER, "ada", "olga", &number, &err), err);
    expect_ok(collector_store_add_token(s, &other, COLLECTOR_OWNER, "olga", "olga", &second, &err), err);
    expect_ok(collector_store_add_session(s, &session, number, now + 1000, &err), err);
    ended(s);
    expect_ok(collector_store_has_tokens(s, &has, &err), err);
    ck_assert(has);
    expect_ok(collector_store_find_token(s, &token, false, see_token, found_ones, &err), err);
    expect_ok(collector_store_find_token(s, &session, true, see_token, found_ones, &err), err);
    ck_assert_str_eq(found_ones, "1 labeler ada;1 labeler ada;");
    expect_ok(collector_store_find_token(s, &token, true, see_token, found_ones, &err), err); /* each in its own place */
    expect_ok(collector_store_find_token(s, &session, false, see_token, found_ones, &err), err);
    fake_clock_advance(&fake, 1000);
    expect_ok(collector_store_find_token(s, &session, true, see_token, found_ones, &err), err); /* it is over */
    ck_assert_str_eq(found_ones, "1 labeler ada;1 labeler ada;");
    begun(s);
    expect_ok(collector_store_add_session(s, &session, second, now + 5000, &err), err); /* the old one made room */
    expect_ok(collector_store_revoke_token(s, second, "olga", &found, &err), err);
    ck_assert(found);
    expect_ok(collector_store_revoke_token(s, second, "olga", &found, &err), err);
    ck_assert(!found);
    ended(s);
    found_ones[0] = '\0';
    expect_ok(collector_store_find_token(s, &other, false, see_token, found_ones, &err), err);
    expect_ok(collector_store_find_token(s, &session, true, see_token, found_ones, &err), err); /* ends with its token */
    ck_assert_str_eq(found_ones, "");
    expect_ok(collector_store_tokens(s, 0, 1, see_token, found_ones, &err), err);
    expect_ok(collector_store_tokens(s, 1, 9, see_token, found_ones, &err), err);
    ck_assert_str_eq(found_ones, "1 labeler ada;2 owner olga revoked;");
    collector_store_close(s);
}
END_TEST

/* What lists give, each followed by ";". */
static char listed[4096];

static void list_task(void *ctx, const struct collector_listed *t)
{
    (void)ctx;
    sprintf(listed + strlen(listed), "%s %s %s %d/%d%s;", t->id, t->round, t->kind, (int)t->labels, (int)t->missing,
            t->gold ? " gold" : "");
}

static void list_deed(void *ctx, const struct collector_deed *d)
{
    *(int64_t *)ctx = d->number;
    sprintf(listed + strlen(listed), "%s %s %s;", d->who, d->what, d->of_whom);
}

static void list_round(void *ctx, const char *round, const struct collector_counts *n)
{
    (void)ctx;
    sprintf(listed + strlen(listed), "'%s' %d;", round, (int)n->tasks);
}

static void list_labeler(void *ctx, const struct collector_labeler *l)
{
    (void)ctx;
    sprintf(listed + strlen(listed), "%s %d;", l->name, (int)l->labels);
}

static void list_standing(void *ctx, const struct collector_standing *st)
{
    (void)ctx;
    sprintf(listed + strlen(listed), "%s %.2f%s;", st->name, st->weight, st->weight_by_hand ? " set" : "");
}

static const char *take_listed(void)
{
    static char taken[sizeof(listed)];

    strcpy(taken, listed);
    listed[0] = '\0';
    return taken;
}

START_TEST(lists_begin_behind_what_was_seen)
{
    struct collector_store *s = a_store();
    struct collector_task gold = a_task("t3", "r");
    struct collector_receipt receipt;
    const double weight = 0.5;
    const bool by_hand = true;
    int64_t number;

    put_task(s, "t1", "");
    put_task(s, "t2", "r");
    gold.gold = strdup("{\"ranks\":[1,2]}");
    begun(s);
    expect_ok(collector_store_put_task(s, &gold, &receipt, &err), err);
    for (int i = 0; i < 3; ++i)
        expect_ok(collector_store_set_standing(s, "labeler", (const char *[]){"a", "b", "c"}[i],
                                               &(struct collector_change){.weight = &weight, .by_hand = &by_hand}, "olga", &err),
                  err);
    ended(s);
    collector_task_free(&gold);
    struct collector_label l = a_label("1", "t1", "zoe"), m = a_label("2", "t2", "ada");
    ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
    ck_assert_int_eq(put(s, &m), COLLECTOR_STORED);

    expect_ok(collector_store_tasks(s, 0, "", false, 2, list_task, NULL, &err), err);
    ck_assert_str_eq(take_listed(), "t1  ranking 1/0;t2 r ranking 1/0;");
    expect_ok(collector_store_tasks(s, 2, "", false, 2, list_task, NULL, &err), err);
    ck_assert_str_eq(take_listed(), "t3 r ranking 0/0 gold;");
    expect_ok(collector_store_tasks(s, 0, "r", true, 9, list_task, NULL, &err), err);
    ck_assert_str_eq(take_listed(), "");
    expect_ok(collector_store_deeds(s, INT64_MAX, 2, list_deed, &number, &err), err);
    ck_assert_str_eq(take_listed(), "olga standing c;olga standing b;");
    expect_ok(collector_store_deeds(s, number, 9, list_deed, &number, &err), err);
    ck_assert_str_eq(take_listed(), "olga standing a;");
    expect_ok(collector_store_rounds(s, NULL, 1, list_round, NULL, &err), err);
    expect_ok(collector_store_rounds(s, "", 9, list_round, NULL, &err), err);
    ck_assert_str_eq(take_listed(), "'' 1;'r' 2;");
    expect_ok(collector_store_labelers(s, "", NULL, 1, list_labeler, NULL, &err), err);
    expect_ok(collector_store_labelers(s, "", "ada", 9, list_labeler, NULL, &err), err);
    expect_ok(collector_store_labelers(s, "r", NULL, 9, list_labeler, NULL, &err), err);
    ck_assert_str_eq(take_listed(), "ada 1;zoe 1;ada 1;");
    expect_ok(collector_store_standing(s, "labeler", "", NULL, 2, list_standing, NULL, &err), err);
    expect_ok(collector_store_standing(s, "labeler", "", "b", 1, list_standing, NULL, &err), err);
    ck_assert_str_eq(take_listed(), "a 0.50 set;ada 1.00;c 0.50 set;");
    collector_store_close(s);
}
END_TEST

/* One of the things that a group may hold: mostly a label of one of three people, and what looks at counters between them. */
static void step(struct collector_store *s, int i)
{
    static const char *const people[] = {"ada", "bob", "eve"};
    const struct collector_choice third = {.source = "api", .id = "t3"};
    const int64_t quota = 5;
    char id[16];
    uint64_t changed;
    struct collector_receipt r;

    sprintf(id, "t%d", i);
    struct collector_task t = a_task(id, i % 2 ? "odd" : "even");
    struct collector_label l = a_label(id, id, people[i % 3]);
    l.seconds = 1;
    expect_ok(collector_store_put_task(s, &t, &r, &err), err);
    if (i == 7)
        expect_ok(collector_store_mark(s, &err), err);
    expect_ok(i == 8 ? collector_store_put_skip(s, id, "eve", "no", &r, &err) : collector_store_put_label(s, &l, &r, &err), err);
    if (i == 7)
        expect_ok(collector_store_unmark(s, false, &err), err);
    if (i == 10)
        expect_ok(collector_store_set_standing(s, "labeler", "ada", &(struct collector_change){.quota = &quota}, "owner", &err), err);
    if (i == 13 || i == 23)
        expect_ok(collector_store_quarantine(s, "labeler", "bob", i == 13 ? "x" : NULL, "owner", &changed, &err), err);
    if (i == 17)
        expect_ok(collector_store_exclude(s, &third, "", "undone", &changed, &err), err);
}

static void list_counted(void *ctx, const struct collector_standing *st)
{
    (void)ctx;
    sprintf(listed + strlen(listed), "%s %d;", st->name, (int)st->labels);
}

/* Every counter there is. */
static const char *counters(struct collector_store *s)
{
    static const char *const rounds[] = {"even", "odd", ""};

    for (size_t i = 0; i < 3; ++i) {
        struct collector_counts n = counts(s, rounds[i]);
        sprintf(listed + strlen(listed), "%d/%d/%d %d %d;", (int)n.tasks, (int)n.open, (int)n.labels, (int)n.skips, (int)n.sequence);
    }
    expect_ok(collector_store_labelers(s, "", NULL, 9, list_labeler, NULL, &err), err);
    expect_ok(collector_store_standing(s, "labeler", "", NULL, 9, list_counted, NULL, &err), err);
    expect_ok(collector_store_standing(s, "source", "", NULL, 9, list_counted, NULL, &err), err);
    return take_listed();
}

START_TEST(a_group_counts_what_its_labels_count_one_by_one)
{
    struct collector_store *group = a_store(), *single = a_store();
    char rows[sizeof(seen)], all[sizeof(listed)];

    begun(group);
    for (int i = 0; i < 30; ++i) {
        step(group, i);
        begun(single);
        step(single, i);
        ended(single);
    }
    ended(group);
    strcpy(rows, list(single, "", 0, 99, false));
    strcpy(all, counters(single));
    ck_assert_str_eq(list(group, "", 0, 99, false), rows);
    ck_assert_str_eq(counters(group), all);
    expect_contains(all, "ada 10;"); /* of which 5 count */
    collector_store_close(group);
    collector_store_close(single);
}
END_TEST

START_TEST(labels_are_counted_by_when_they_came)
{
    struct collector_store *s = a_store();
    int64_t from = fake.clock.wall_us(&fake.clock);
    uint64_t came[4];
    char id[16];

    expect_ok(collector_store_arrivals(s, from, 1000, 4, came, &err), err);
    ck_assert(came[0] == 0 && came[3] == 0);
    for (int i = 0; i < 10; ++i) { /* at 0, 300, 600 ... 2700 */
        snprintf(id, sizeof(id), "t%d", i);
        put_task(s, id, "r");
        struct collector_label l = a_label(id, id, "ada");
        ck_assert_int_eq(put(s, &l), COLLECTOR_STORED);
        l.rank[0] = 2;
        l.rank[1] = 1;
        ck_assert_int_eq(put(s, &l), COLLECTOR_REVISED); /* is no other label */
        fake_clock_advance(&fake, 300);
    }
    expect_ok(collector_store_arrivals(s, from, 1000, 4, came, &err), err);
    ck_assert(came[0] == 4 && came[1] == 3 && came[2] == 3 && came[3] == 0);
    expect_ok(collector_store_arrivals(s, from - 5000, 1000, 4, came, &err), err);
    ck_assert(came[0] + came[1] + came[2] + came[3] == 0);
    expect_ok(collector_store_arrivals(s, from + 1200, 900, 1, came, &err), err);
    ck_assert_uint_eq(came[0], 3);
    collector_store_close(s);
}
END_TEST

START_TEST(an_answer_is_found_under_its_key_for_three_days)
{
    struct collector_store *s = a_store();
    struct rlhf_digest one = rlhf_digest_of("1", 1), found;
    unsigned status = 0;
    char *body = NULL;

    begun(s);
    ck_assert_int_eq(collector_store_find_reply(s, "labeler:ada", "k", &found, &status, &body, &err), 0);
    expect_ok(collector_store_put_reply(s, "labeler:ada", "k", &one, 200, "{}", &err), err);
    ck_assert_int_eq(collector_store_find_reply(s, "labeler:bob", "k", &found, &status, &body, &err), 0);
    ck_assert_int_eq(collector_store_find_reply(s, "labeler:ada", "k", &found, &status, &body, &err), 1);
    ck_assert(rlhf_digest_equal(&one, &found) && status == 200);
    ck_assert_str_eq(body, "{}");
    free(body);
    fake_clock_advance(&fake, 3 * 86400 * 1000000ll + 1);
    expect_ok(collector_store_put_reply(s, "labeler:ada", "other", &one, 200, "{}", &err), err);
    ck_assert_int_eq(collector_store_find_reply(s, "labeler:ada", "k", &found, &status, &body, &err), 0);
    ended(s);
    collector_store_close(s);
}
END_TEST

#define ON_BOTH                                                                                              \
    what_was_committed_is_there_after_reopening,                                                             \
    tokens_and_sessions_are_found_by_their_hashes_until_they_end, lists_begin_behind_what_was_seen, \
    labels_are_counted_by_when_they_came, a_group_counts_what_its_labels_count_one_by_one, an_answer_is_found_under_its_key_for_three_days, the_same_label_again_changes_nothing,                       \
        another_answer_under_the_same_id_is_a_revision_with_history,                                         \
        a_late_retry_of_an_earlier_revision_is_known_as_one, ids_are_not_taken_over,                         \
        a_cursor_sees_every_revision_once, tasks_with_the_fewest_labels_come_first,                          \
        two_people_do_not_get_the_same_task_at_once, a_task_is_given_to_as_many_people_as_it_wants_labels,   \
        an_offer_that_is_not_taken_is_not_reserved, a_skipped_task_goes_to_someone_else,                     \
        the_order_shown_is_random_but_fixed_and_stored, a_request_is_undone_alone,                           \
        open_tasks_follow_the_labels_wanted, a_label_that_brings_its_content_makes_its_task,                 \
        a_label_taken_back_opens_its_task_and_may_be_given_again,                                            \
        taking_one_label_back_leaves_the_labelers_others, \
        quarantine_takes_everything_out_and_the_end_of_it_brings_it_back,                                    \
        who_answers_gold_items_wrongly_is_quarantined, gold_items_come_among_the_others_and_only_once,       \
        labels_beyond_the_quota_are_kept_and_do_not_count, every_kind_of_task_takes_its_answer_and_no_other

int main(void)
{
    int failed = RUN_SUITE("label-collector/store", ON_BOTH, files_that_are_not_its_own_are_refused_by_name,
                           a_damaged_file_is_refused_with_the_way_to_rescue_it);

    on_server = start_postgresql();
    if (on_server)
        failed |= RUN_SUITE(
            "label-collector/store on PostgreSQL", ON_BOTH, two_collectors_share_one_database,
            a_reader_passes_nothing_by_while_others_write, a_lost_connection_costs_the_transaction_alone,
            addresses_that_lead_nowhere_are_named_without_their_password, a_newer_schema_is_refused);
    return failed;
}
