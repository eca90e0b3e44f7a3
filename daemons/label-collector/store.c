#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"
#include "database.h"
#include "telemetry/log.h"

enum statement {
    FIND_ITEM,
    ADD_ITEM,
    FIND_TASK,
    ADD_TASK,
    COUNT_TASK,
    FIND_LABEL,
    FIND_REVISION,
    NEXT_SEQUENCE,
    ADD_LABEL,
    MOVE_LABEL,
    ADD_REVISION,
    LABEL_TASK,
    COUNT_LABEL,
    COUNT_LABELER,
    HAS_JUDGED,
    FIND_SKIP,
    ADD_SKIP,
    DROP_SKIP,
    EXPIRE,
    RESERVE,
    RESERVED,
    RELEASE,
    NEXT_IN_ROUND,
    NEXT_ANY,
    LIST_IN_ROUND,
    LIST_ANY,
    LATEST_IN_ROUND,
    LATEST_ANY,
    COUNT_ROUND,
    COUNT_ALL,
    COUNT_STORE,
    ROUNDS,
    LABELERS,
    MINE,
    STATEMENTS
};

#define NEXT_TASKS(where)                                                                                    \
    "SELECT t.task, t.id, t.round, i.prompt, i.completions FROM tasks t JOIN items i ON i.item = t.item"     \
    " WHERE " where " AND t.labels < ?2"                                                                     \
    " AND t.labels + (SELECT count(*) FROM reservations r WHERE r.task = t.task AND r.labeler <> ?3) < ?2"   \
    " AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.task = t.task AND l.labeler = ?3)"                      \
    " AND NOT EXISTS (SELECT 1 FROM skips k WHERE k.task = t.task AND k.labeler = ?3)"                       \
    " ORDER BY t.labels, t.task LIMIT ?4"
#define LIST_ROWS(where)                                                                                     \
    "SELECT r.sequence, r.revision, r.stored_us, l.id, l.source, l.labeler, t.id, r.round, i.prompt,"        \
    " i.completions, r.ranks, r.presented, r.seconds, r.strength, r.flags, r.note"                           \
    " FROM revisions r JOIN labels l ON l.label = r.label JOIN items i ON i.item = r.item"                   \
    " LEFT JOIN tasks t ON t.task = l.task WHERE r.sequence > ?2 AND r.sequence <= ?3" where                 \
    " ORDER BY r.sequence LIMIT ?4"

static const char *const sql[STATEMENTS] = {
    [FIND_ITEM] = "SELECT item FROM items WHERE digest = ?1",
    [ADD_ITEM] = "INSERT INTO items (digest, prompt, completions, k) VALUES (?1, ?2, ?3, ?4) RETURNING item",
    [FIND_TASK] = "SELECT t.task, t.item, t.round, t.labels, i.digest, i.k"
                  " FROM tasks t JOIN items i ON i.item = t.item WHERE t.id = ?1",
    [ADD_TASK] = "INSERT INTO tasks (id, item, round, created_us) VALUES (?1, ?2, ?3, ?4)",
    [COUNT_TASK] = "INSERT INTO rounds (round, tasks, open) VALUES (?1, 1, 1)"
                   " ON CONFLICT (round) DO UPDATE SET tasks = rounds.tasks + 1, open = rounds.open + 1",
    [FIND_LABEL] = "SELECT l.label, t.id, l.round, l.labeler, r.revision, r.digest, r.sequence"
                   " FROM labels l JOIN revisions r ON r.sequence = l.sequence"
                   " LEFT JOIN tasks t ON t.task = l.task WHERE l.source = ?1 AND l.id = ?2",
    [FIND_REVISION] = "SELECT digest FROM revisions WHERE label = ?1 AND revision = ?2",
    [NEXT_SEQUENCE] = "SELECT coalesce(max(sequence), 0) + 1 FROM revisions",
    [ADD_LABEL] = "INSERT INTO labels (source, id, task, round, labeler, sequence)"
                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING label",
    [MOVE_LABEL] = "UPDATE labels SET sequence = ?2 WHERE label = ?1",
    [ADD_REVISION] =
        "INSERT INTO revisions (sequence, label, revision, digest, item, round, ranks, presented,"
        " seconds, strength, flags, note, stored_us)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [LABEL_TASK] = "UPDATE tasks SET labels = labels + 1 WHERE task = ?1",
    [COUNT_LABEL] = "INSERT INTO rounds (round, labels) VALUES (?1, 1)"
                    " ON CONFLICT (round) DO UPDATE SET labels = rounds.labels + 1, open = rounds.open - ?2",
    [COUNT_LABELER] = "INSERT INTO labelers (labeler, round, labels, skips, seconds, last_us)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (labeler, round) DO UPDATE SET"
                      " labels = labelers.labels + ?3, skips = labelers.skips + ?4,"
                      " seconds = labelers.seconds + ?5, last_us = ?6",
    [HAS_JUDGED] = "SELECT 1 FROM labels WHERE task = ?1 AND labeler = ?2",
    [FIND_SKIP] = "SELECT 1 FROM skips WHERE task = ?1 AND labeler = ?2",
    [ADD_SKIP] = "INSERT INTO skips (task, labeler, reason, stored_us) VALUES (?1, ?2, ?3, ?4)",
    [DROP_SKIP] = "DELETE FROM skips WHERE task = ?1 AND labeler = ?2",
    [EXPIRE] = "DELETE FROM reservations WHERE expires_us <= ?1",
    [RESERVE] = "INSERT INTO reservations (task, labeler, expires_us) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (task, labeler) DO UPDATE SET expires_us = excluded.expires_us",
    [RESERVED] = "SELECT 1 FROM reservations WHERE task = ?1 AND labeler = ?2",
    [RELEASE] = "DELETE FROM reservations WHERE task = ?1 AND labeler = ?2",
    [NEXT_IN_ROUND] = NEXT_TASKS("t.round = ?1"),
    [NEXT_ANY] = NEXT_TASKS("?1 = ''"),
    [LIST_IN_ROUND] = LIST_ROWS(" AND r.round = ?1"),
    [LIST_ANY] = LIST_ROWS(" AND ?1 = ''"),
    [LATEST_IN_ROUND] = LIST_ROWS(" AND r.round = ?1 AND l.sequence = r.sequence"),
    [LATEST_ANY] = LIST_ROWS(" AND ?1 = '' AND l.sequence = r.sequence"),
    [COUNT_ROUND] = "SELECT tasks, open, labels FROM rounds WHERE round = ?1",
    [COUNT_ALL] = "SELECT CAST(coalesce(sum(tasks), 0) AS bigint), CAST(coalesce(sum(open), 0) AS bigint), "
                  "CAST(coalesce(sum(labels), 0) AS bigint) FROM rounds",
    [COUNT_STORE] = "SELECT (SELECT coalesce(max(sequence), 0) FROM revisions),"
                    " (SELECT CAST(coalesce(sum(skips), 0) AS bigint) FROM labelers)",
    [ROUNDS] = "SELECT round, tasks, open, labels FROM rounds ORDER BY round",
    [LABELERS] = "SELECT labeler, CAST(sum(labels) AS bigint) AS n, CAST(sum(skips) AS bigint), "
                 "sum(seconds), max(last_us) FROM labelers"
                 " WHERE ?1 = '' OR round = ?1 GROUP BY labeler ORDER BY n DESC, labeler LIMIT ?2",
    [MINE] = "SELECT CAST(coalesce(sum(labels), 0) AS bigint) FROM labelers WHERE labeler = ?1 AND (?2 = '' "
             "OR round = ?2)",
};

struct collector_store {
    struct collector_database *db;
    const struct rlhf_clock *clock;
    uint32_t labels_per_task;
    int64_t reservation_us;
    uint64_t order_seed;
};

/* A statement without rows: how many it changed, or -1. */
#define RUN(s, err, ...) collector_rows_run(QUERY(s, err, __VA_ARGS__), err)
/* And one with them. */
#define QUERY(s, err, statement, ...) collector_database_query((s)->db, statement, err, __VA_ARGS__)

/* ---- opening ----------------------------------------------------------------------------------- */

/* How many tasks are open depends on labels_per_task, which may have changed since. */
static int recount_open(struct collector_store *s, struct rlhf_error *err)
{
    char text[512];

    snprintf(text, sizeof(text),
             "WITH now (round, n) AS (SELECT round, count(*) FROM tasks WHERE labels < %u GROUP BY round)"
             " UPDATE rounds SET open = coalesce((SELECT n FROM now WHERE now.round = rounds.round), 0)"
             " WHERE open <> coalesce((SELECT n FROM now WHERE now.round = rounds.round), 0)",
             s->labels_per_task);
    return collector_database_exec(s->db, text, err);
}

struct collector_store *collector_store_open(const struct collector_store_config *c,
                                             const struct rlhf_clock *clock, struct rlhf_error *err)
{
    struct collector_store *s = calloc(1, sizeof(*s));
    int64_t seed;

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    s->clock = clock;
    s->labels_per_task = c->labels_per_task ? c->labels_per_task : 1;
    s->reservation_us = c->reservation_us;
    s->db = collector_database_open(
        &(struct collector_database_config){
            .where = c->database, .vfs = c->vfs, .sql = sql, .statements = STATEMENTS},
        err);
    if (!s->db || recount_open(s, err) < 0 ||
        collector_database_ask(s->db, "SELECT value FROM meta WHERE key = 'order_seed'", &seed, err) < 0) {
        collector_store_close(s);
        return NULL;
    }
    s->order_seed = (uint64_t)seed;
    return s;
}

void collector_store_close(struct collector_store *s)
{
    if (!s)
        return;
    collector_database_close(s->db);
    free(s);
}

/* ---- transactions ------------------------------------------------------------------------------ */

int collector_store_begin(struct collector_store *s, struct rlhf_error *err)
{
    return collector_database_begin(s->db, err);
}

int collector_store_commit(struct collector_store *s, struct rlhf_error *err)
{
    return collector_database_commit(s->db, err);
}

void collector_store_rollback(struct collector_store *s)
{
    collector_database_rollback(s->db);
}

int collector_store_mark(struct collector_store *s, struct rlhf_error *err)
{
    return collector_database_mark(s->db, err);
}

int collector_store_unmark(struct collector_store *s, bool keep, struct rlhf_error *err)
{
    return collector_database_unmark(s->db, keep, err);
}

/* ---- JSON columns ------------------------------------------------------------------------------ */

static char *print_strings(const struct collector_content *c)
{
    json_t *list = json_array();
    char *text = NULL;

    for (size_t i = 0; i < c->count; ++i)
        if (json_array_append_new(list, json_string_nocheck(c->completion[i])) < 0)
            goto out;
    text = json_dumps(list, JSON_COMPACT);
out:
    json_decref(list);
    return text;
}

/* Fills completion[] and count, borrowed from the document returned. NULL when the column is not what was
 * stored. */
static json_t *parse_strings(struct collector_content *c, const char *text)
{
    json_t *list = text ? json_loads(text, 0, NULL) : NULL;

    c->count = json_array_size(list);
    if (c->count < 2 || c->count > COLLECTOR_MAX_COMPLETIONS)
        c->count = 0;
    for (size_t i = 0; i < c->count; ++i)
        if (!(c->completion[i] = json_string_value(json_array_get(list, i))))
            c->count = 0;
    if (c->count)
        return list;
    json_decref(list);
    return NULL;
}

enum { NUMBERS_TEXT = COLLECTOR_MAX_COMPLETIONS * 4 + 3 };

static void print_numbers(char out[NUMBERS_TEXT], const uint32_t *numbers, size_t count)
{
    size_t used = 0;

    for (size_t i = 0; i < count; ++i)
        used += (size_t)snprintf(out + used, NUMBERS_TEXT - used, "%c%u", i ? ',' : '[', numbers[i]);
    snprintf(out + used, NUMBERS_TEXT - used, "]");
}

static size_t parse_numbers(const char *text, uint32_t *numbers)
{
    size_t count = 0;

    while (text && *text && *text != ']' && count < COLLECTOR_MAX_COMPLETIONS) {
        char *end;
        numbers[count++] = (uint32_t)strtoul(text + 1, &end, 10);
        text = end;
    }
    return count;
}

/* ---- writing ----------------------------------------------------------------------------------- */

/* The one number that a statement gives. */
static int one_number(struct collector_store *s, struct collector_rows *st, int64_t *id,
                      struct rlhf_error *err)
{
    int rc = collector_rows_next(st, err);

    *id = 0;
    if (rc <= 0)
        return rc < 0 ? -1 : collector_database_damaged(s->db, err);
    *id = collector_rows_integer(st, 0);
    collector_rows_done(st);
    return 0;
}

static int put_item(struct collector_store *s, const struct collector_content *c,
                    const struct rlhf_digest *digest, int64_t *item, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, FIND_ITEM, "b", digest);
    int rc = collector_rows_next(st, err);

    if (rc > 0) {
        *item = collector_rows_integer(st, 0);
        collector_rows_done(st);
    }
    if (rc != 0)
        return rc > 0 ? 0 : -1;
    char *completions = print_strings(c);
    if (!completions)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    st = QUERY(s, err, ADD_ITEM, "btti", digest, c->prompt, completions, (int64_t)c->count);
    rc = one_number(s, st, item, err);
    free(completions);
    return rc;
}

/* A task as stored. */
struct known_task {
    int64_t task, item, labels, completions;
    struct rlhf_digest digest;
    char round[COLLECTOR_MAX_NAME + 1];
};

/* 1 found, 0 not, -1 *err. */
static int find_task(struct collector_store *s, const char *id, struct known_task *t, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, FIND_TASK, "t", id);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return rc;
    t->task = collector_rows_integer(st, 0);
    t->item = collector_rows_integer(st, 1);
    snprintf(t->round, sizeof(t->round), "%s", collector_rows_text(st, 2));
    t->labels = collector_rows_integer(st, 3);
    bool whole = collector_rows_digest(st, 4, &t->digest);
    t->completions = collector_rows_integer(st, 5);
    collector_rows_done(st);
    return whole ? 1 : collector_database_damaged(s->db, err);
}

static int refuse(struct collector_receipt *r, enum collector_outcome outcome)
{
    r->outcome = outcome;
    return -1;
}

/* Work inside of begin and commit. */
static int in_transaction(struct collector_store *s, struct collector_receipt *r, struct rlhf_error *err)
{
    *r = (struct collector_receipt){.outcome = COLLECTOR_FAILED};
    return collector_database_within(s->db, err);
}

int collector_store_put_task(struct collector_store *s, const struct collector_task *t,
                             struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task known;
    struct rlhf_digest digest;
    int64_t item;

    if (in_transaction(s, receipt, err) < 0 || collector_content_digest(&t->content, &digest, err) < 0)
        return -1;
    int found = find_task(s, t->id, &known, err);
    if (found < 0)
        return -1;
    if (found) {
        if (!rlhf_digest_equal(&digest, &known.digest) || strcmp(t->round, known.round) != 0) {
            rlhf_fail(err, RLHF_REJECT, "task %s is stored already with another %s: give new tasks new ids",
                      t->id, strcmp(t->round, known.round) ? "round" : "prompt or other completions");
            return refuse(receipt, COLLECTOR_CONFLICT);
        }
        receipt->outcome = COLLECTOR_KNOWN;
        return 0;
    }
    if (put_item(s, &t->content, &digest, &item, err) < 0 ||
        RUN(s, err, ADD_TASK, "titi", t->id, item, t->round, s->clock->wall_us(s->clock)) < 0 ||
        RUN(s, err, COUNT_TASK, "t", t->round) < 0)
        return -1;
    receipt->outcome = COLLECTOR_STORED;
    return 0;
}

/* A label as stored: its latest revision. */
struct known_label {
    int64_t label, revision, sequence;
    struct rlhf_digest digest;
};

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* 1 found, 0 not, -1 *err: also when the id belongs to another task, round or labeler. */
static int find_label(struct collector_store *s, const struct collector_label *l, const char *round,
                      struct known_label *k, struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, FIND_LABEL, "tt", l->source, l->id);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return rc;
    const char *other = !same_text(l->task, collector_rows_text(st, 1))      ? "task"
                        : !same_text(round, collector_rows_text(st, 2))      ? "round"
                        : !same_text(l->labeler, collector_rows_text(st, 3)) ? "labeler"
                                                                             : NULL;
    k->label = collector_rows_integer(st, 0);
    k->revision = collector_rows_integer(st, 4);
    k->sequence = collector_rows_integer(st, 6);
    bool whole = collector_rows_digest(st, 5, &k->digest);
    collector_rows_done(st);
    if (!whole)
        return collector_database_damaged(s->db, err);
    if (!other)
        return 1;
    rlhf_fail(err, RLHF_REJECT, "label id %s of source %s belongs to another %s: give new labels new ids",
              l->id, l->source, other);
    return refuse(receipt, COLLECTOR_CONFLICT);
}

/* The label's task; created when it is not known and the label brings the content (an export's line). */
static int resolve_task(struct collector_store *s, const struct collector_label *l, struct known_task *t,
                        struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct rlhf_digest digest;
    int found = find_task(s, l->task, t, err);

    if (found == 0 && l->content.count) {
        struct collector_task task = {.id = l->task, .round = l->round, .content = l->content};
        if (collector_name_check("round", l->round, true, err) < 0)
            return refuse(receipt, COLLECTOR_INVALID);
        if (collector_store_put_task(s, &task, receipt, err) < 0)
            return -1;
        receipt->outcome = COLLECTOR_FAILED;
        found = find_task(s, l->task, t, err);
    }
    if (found < 0)
        return -1;
    if (found == 0) {
        rlhf_fail(err, RLHF_REJECT, "there is no task %s", l->task);
        return refuse(receipt, COLLECTOR_MISSING);
    }
    if ((int64_t)l->rank_count != t->completions) {
        rlhf_fail(err, RLHF_REJECT, "ranks: %zu given, task %s has %d completions", l->rank_count, l->task,
                  (int)t->completions);
        return refuse(receipt, COLLECTOR_INVALID);
    }
    if (l->content.count) {
        if (collector_content_digest(&l->content, &digest, err) < 0)
            return -1;
        if (!rlhf_digest_equal(&digest, &t->digest)) {
            rlhf_fail(err, RLHF_REJECT, "task %s has another prompt or other completions than this label",
                      l->task);
            return refuse(receipt, COLLECTOR_CONFLICT);
        }
    }
    return 0;
}

/* Random, but the same for a labeler who comes back to the task. */
static void presentation_order(const struct collector_store *s, const char *task, const char *labeler,
                               size_t count, uint8_t *order)
{
    char key[2 * COLLECTOR_MAX_NAME + 2];
    uint32_t words[2], items[COLLECTOR_MAX_COMPLETIONS];
    struct rlhf_random random;

    int size = snprintf(key, sizeof(key), "%s\n%s", task, labeler);
    struct rlhf_digest digest = rlhf_digest_of(key, (size_t)size);
    memcpy(words, digest.bytes, sizeof(words));
    rlhf_random_init(&random, s->order_seed, RLHF_PURPOSE_COLLECT, words[0], words[1]);
    for (uint32_t i = 0; i < count; ++i)
        items[i] = i;
    rlhf_random_shuffle(&random, items, count);
    for (size_t i = 0; i < count; ++i)
        order[i] = (uint8_t)items[i];
}

/* The order shown: what the label says, else what was handed out to this labeler. NULL: not known. */
static const char *presented_text(struct collector_store *s, const struct collector_label *l,
                                  const struct known_task *t, char text[NUMBERS_TEXT])
{
    uint8_t order[COLLECTOR_MAX_COMPLETIONS];
    uint32_t numbers[COLLECTOR_MAX_COMPLETIONS];
    struct rlhf_error ignored;

    if (l->has_presented) {
        memcpy(order, l->presented, sizeof(order));
    } else {
        struct collector_rows *st = l->task ? QUERY(s, &ignored, RESERVED, "it", t->task, l->labeler) : NULL;
        if (collector_rows_next(st, &ignored) <= 0)
            return NULL;
        collector_rows_done(st);
        presentation_order(s, l->task, l->labeler, l->rank_count, order);
    }
    for (size_t i = 0; i < l->rank_count; ++i)
        numbers[i] = order[i];
    print_numbers(text, numbers, l->rank_count);
    return text;
}

static int add_revision(struct collector_store *s, const struct collector_label *l,
                        const struct known_task *t, const char *round, const struct rlhf_digest *digest,
                        int64_t item, int64_t label, const struct collector_receipt *r,
                        struct rlhf_error *err)
{
    char ranks[NUMBERS_TEXT], presented[NUMBERS_TEXT];

    print_numbers(ranks, l->rank, l->rank_count);
    return RUN(s, err, ADD_REVISION, "iiibitttdotti", (int64_t)r->sequence, label, (int64_t)r->revision,
               digest, item, round, ranks, presented_text(s, l, t, presented), l->seconds,
               l->has_strength ? (int64_t)l->strength : INT64_MIN, l->flags, l->note,
               s->clock->wall_us(s->clock)) < 0
               ? -1
               : 0;
}

/* Which revision l is: sets the receipt to what it will be. 1 = to be stored, 0 = known, -1 refused. */
static int revise(struct collector_store *s, const struct collector_label *l, const struct known_label *k,
                  const struct rlhf_digest *digest, struct collector_receipt *r, struct rlhf_error *err)
{
    bool same = rlhf_digest_equal(digest, &k->digest);

    r->sequence = (uint64_t)k->sequence;
    r->revision = (uint32_t)k->revision;
    if (l->revision && l->revision < k->revision) { /* a late retry of an earlier answer? */
        struct collector_rows *st = QUERY(s, err, FIND_REVISION, "ii", k->label, (int64_t)l->revision);
        struct rlhf_digest old;
        int rc = collector_rows_next(st, err);
        if (rc < 0)
            return -1;
        same = rc > 0 && collector_rows_digest(st, 0, &old) && rlhf_digest_equal(&old, digest);
        if (rc > 0)
            collector_rows_done(st);
    }
    if (same) {
        r->outcome = COLLECTOR_KNOWN;
        return 0;
    }
    if (l->revision && l->revision != k->revision + 1) {
        rlhf_fail(err, RLHF_REJECT, "label %s: revision %d was sent, %d is next", l->id, (int)l->revision,
                  (int)k->revision + 1);
        return refuse(r, COLLECTOR_CONFLICT);
    }
    return 1;
}

/* A label that is new (not only a new revision) counts for its round, its task, its labeler. */
static int count_label(struct collector_store *s, const struct collector_label *l, const struct known_task *t,
                       const char *round, struct rlhf_error *err)
{
    int64_t closes = l->task && t->labels + 1 == (int64_t)s->labels_per_task;

    int64_t now = s->clock->wall_us(s->clock), skips;

    if (RUN(s, err, COUNT_LABEL, "ti", round, closes) < 0 ||
        RUN(s, err, COUNT_LABELER, "ttiidi", l->labeler, round, (int64_t)1, (int64_t)0,
            l->seconds > 0 ? l->seconds : 0.0, now) < 0)
        return -1;
    if (!l->task)
        return 0;
    if (RUN(s, err, LABEL_TASK, "i", t->task) < 0 ||
        (skips = RUN(s, err, DROP_SKIP, "it", t->task, l->labeler)) < 0)
        return -1;
    if (skips == 0)
        return 0;
    /* the skip is taken back */
    return RUN(s, err, COUNT_LABELER, "ttiidi", l->labeler, round, (int64_t)0, (int64_t)-1, 0.0, now) < 0 ? -1
                                                                                                          : 0;
}

int collector_store_put_label(struct collector_store *s, const struct collector_label *l,
                              struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task task = {0};
    struct known_label label = {0};
    struct rlhf_digest digest;
    struct collector_rows *st;
    int64_t sequence;

    if (in_transaction(s, receipt, err) < 0 || (l->task && resolve_task(s, l, &task, receipt, err) < 0))
        return -1;
    if (!l->task && collector_content_digest(&l->content, &task.digest, err) < 0)
        return -1;
    const char *round = l->task ? task.round : l->round;
    if (collector_label_digest(l, &task.digest, &digest, err) < 0)
        return -1;
    int found = find_label(s, l, round, &label, receipt, err);
    if (found < 0)
        return -1;
    if (!found && l->revision > 1) {
        rlhf_fail(err, RLHF_REJECT, "label %s: revision %d was sent, 1 is next", l->id, (int)l->revision);
        return refuse(receipt, COLLECTOR_CONFLICT);
    }
    if (found && (found = revise(s, l, &label, &digest, receipt, err)) <= 0)
        return found;

    if (!l->task && put_item(s, &l->content, &task.digest, &task.item, err) < 0)
        return -1;
    if (one_number(s, QUERY(s, err, NEXT_SEQUENCE, ""), &sequence, err) < 0)
        return -1;
    receipt->sequence = (uint64_t)sequence;
    receipt->revision = (uint32_t)label.revision + 1;
    if (found) {
        if (RUN(s, err, MOVE_LABEL, "ii", label.label, (int64_t)receipt->sequence) < 0)
            return -1;
    } else {
        st = QUERY(s, err, ADD_LABEL, "ttotti", l->source, l->id, l->task ? task.task : INT64_MIN, round,
                   l->labeler, (int64_t)receipt->sequence);
        if (one_number(s, st, &label.label, err) < 0 || count_label(s, l, &task, round, err) < 0)
            return -1;
    }
    if (add_revision(s, l, &task, round, &digest, task.item, label.label, receipt, err) < 0 ||
        (l->task && RUN(s, err, RELEASE, "it", task.task, l->labeler) < 0))
        return -1;
    receipt->outcome = found ? COLLECTOR_REVISED : COLLECTOR_STORED;
    return 0;
}

int collector_store_put_skip(struct collector_store *s, const char *task, const char *labeler,
                             const char *reason, struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task t;
    int64_t now = s->clock->wall_us(s->clock);
    struct collector_rows *st;
    int rc;

    if (in_transaction(s, receipt, err) < 0 || (rc = find_task(s, task, &t, err)) < 0)
        return -1;
    if (rc == 0) {
        rlhf_fail(err, RLHF_REJECT, "there is no task %s", task);
        return refuse(receipt, COLLECTOR_MISSING);
    }
    if ((rc = collector_rows_next((st = QUERY(s, err, HAS_JUDGED, "it", t.task, labeler)), err)) < 0)
        return -1;
    if (rc > 0) {
        collector_rows_done(st);
        rlhf_fail(err, RLHF_REJECT, "%s has judged task %s already: send the label again to change it",
                  labeler, task);
        return refuse(receipt, COLLECTOR_CONFLICT);
    }
    if ((rc = collector_rows_next((st = QUERY(s, err, FIND_SKIP, "it", t.task, labeler)), err)) < 0)
        return -1;
    if (rc > 0) {
        collector_rows_done(st);
        receipt->outcome = COLLECTOR_KNOWN;
        return 0;
    }
    if (RUN(s, err, ADD_SKIP, "itti", t.task, labeler, reason, now) < 0 ||
        RUN(s, err, COUNT_LABELER, "ttiidi", labeler, t.round, (int64_t)0, (int64_t)1, 0.0, now) < 0 ||
        RUN(s, err, RELEASE, "it", t.task, labeler) < 0)
        return -1;
    receipt->outcome = COLLECTOR_STORED;
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Time for reservations: one that all who share the database know, else one that does not jump. */
static int64_t reservation_clock(const struct collector_store *s)
{
    return collector_database_shared(s->db) ? s->clock->wall_us(s->clock) : rlhf_now(s->clock);
}

/* The tasks that each had room for, in taken[]: how many, or -1. */
static ptrdiff_t offer(struct collector_store *s, const char *labeler, const char *round, size_t count,
                       bool (*each)(void *ctx, const struct collector_offer *o), void *ctx, int64_t *taken,
                       struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, *round ? NEXT_IN_ROUND : NEXT_ANY, "titi", round,
                                      (int64_t)s->labels_per_task, labeler, (int64_t)count);
    ptrdiff_t n = 0;
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_offer o = {
            .task = {.id = collector_rows_text(st, 1),
                     .round = collector_rows_text(st, 2),
                     .content = {.prompt = collector_rows_text(st, 3)}},
        };
        json_t *strings = parse_strings(&o.task.content, collector_rows_text(st, 4));
        if (!strings) {
            collector_rows_done(st);
            return collector_database_damaged(s->db, err);
        }
        presentation_order(s, o.task.id, labeler, o.task.content.count, o.presented);
        bool room = each(ctx, &o);
        json_decref(strings);
        if (!room) {
            collector_rows_done(st);
            return n;
        }
        taken[n++] = collector_rows_integer(st, 0);
    }
    return rc < 0 ? -1 : n;
}

int collector_store_next(struct collector_store *s, const char *labeler, const char *round, size_t count,
                         bool (*each)(void *ctx, const struct collector_offer *o), void *ctx,
                         struct rlhf_error *err)
{
    bool shared = collector_database_shared(s->db); /* then two collectors may look at once */
    int64_t now = reservation_clock(s);
    int64_t *taken = calloc(count ? count : 1, sizeof(*taken));
    ptrdiff_t n = -1;

    if (!taken)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    if ((!shared || collector_database_begin(s->db, err) == 0) && RUN(s, err, EXPIRE, "i", now) >= 0)
        n = offer(s, labeler, round, count, each, ctx, taken, err);
    bool good = n >= 0;
    while (good && n-- > 0)
        good = RUN(s, err, RESERVE, "iti", taken[n], labeler, now + s->reservation_us) >= 0;
    if (shared && good)
        good = collector_database_commit(s->db, err) == 0;
    else if (shared)
        collector_database_rollback(s->db);
    free(taken);
    return good ? 0 : -1;
}

static json_t *read_row(struct collector_row *row, struct collector_rows *st)
{
    uint32_t numbers[COLLECTOR_MAX_COMPLETIONS];
    struct collector_label *l = &row->label;

    *row = (struct collector_row){
        .sequence = (uint64_t)collector_rows_integer(st, 0),
        .revision = (uint32_t)collector_rows_integer(st, 1),
        .stored_us = collector_rows_integer(st, 2),
        .label = {.id = collector_rows_text(st, 3),
                  .source = collector_rows_text(st, 4),
                  .labeler = collector_rows_text(st, 5),
                  .task = collector_rows_text(st, 6),
                  .round = collector_rows_text(st, 7),
                  .content = {.prompt = collector_rows_text(st, 8)},
                  .seconds = collector_rows_null(st, 12) ? -1 : collector_rows_real(st, 12),
                  .has_strength = !collector_rows_null(st, 13),
                  .strength = (int)collector_rows_integer(st, 13),
                  .flags = (char *)(uintptr_t)collector_rows_text(st, 14),
                  .note = collector_rows_text(st, 15)},
    };
    json_t *strings = parse_strings(&l->content, collector_rows_text(st, 9));
    l->rank_count = parse_numbers(collector_rows_text(st, 10), l->rank);
    l->has_presented = parse_numbers(collector_rows_text(st, 11), numbers) == l->content.count;
    for (size_t i = 0; l->has_presented && i < l->content.count; ++i)
        l->presented[i] = (uint8_t)numbers[i];
    if (l->rank_count == l->content.count)
        return strings;
    json_decref(strings);
    return NULL;
}

int collector_store_list(struct collector_store *s, const struct collector_range *range,
                         bool (*each)(void *ctx, const struct collector_row *row), void *ctx,
                         struct rlhf_error *err)
{
    enum statement which = range->latest ? (*range->round ? LATEST_IN_ROUND : LATEST_ANY)
                                         : (*range->round ? LIST_IN_ROUND : LIST_ANY);
    int64_t cursor = range->cursor > INT64_MAX ? INT64_MAX : (int64_t)range->cursor;
    int64_t last = range->last > INT64_MAX ? INT64_MAX : (int64_t)range->last;
    int64_t limit = range->limit > INT64_MAX ? INT64_MAX : (int64_t)range->limit;
    struct collector_rows *st = QUERY(s, err, which, "tiii", range->round, cursor, last, limit);
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_row row;
        json_t *strings = read_row(&row, st);
        bool more = strings && each(ctx, &row);
        json_decref(strings);
        if (more)
            continue;
        collector_rows_done(st);
        return strings ? 0 : collector_database_damaged(s->db, err);
    }
    return rc;
}

int collector_store_counts(struct collector_store *s, const char *round, struct collector_counts *c,
                           struct rlhf_error *err)
{
    struct collector_rows *st =
        *round ? QUERY(s, err, COUNT_ROUND, "t", round) : QUERY(s, err, COUNT_ALL, "");
    int rc = collector_rows_next(st, err);

    *c = (struct collector_counts){0};
    if (rc > 0) {
        c->tasks = (uint64_t)collector_rows_integer(st, 0);
        c->open = (uint64_t)collector_rows_integer(st, 1);
        c->labels = (uint64_t)collector_rows_integer(st, 2);
        collector_rows_done(st);
    }
    if (rc < 0 || collector_rows_next((st = QUERY(s, err, COUNT_STORE, "")), err) < 0)
        return -1;
    c->sequence = c->revisions = (uint64_t)collector_rows_integer(st, 0);
    c->skips = (uint64_t)collector_rows_integer(st, 1);
    collector_rows_done(st);
    return 0;
}

int collector_store_rounds(struct collector_store *s,
                           void (*each)(void *ctx, const char *round, const struct collector_counts *c),
                           void *ctx, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, ROUNDS, "");
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_counts c = {.tasks = (uint64_t)collector_rows_integer(st, 1),
                                     .open = (uint64_t)collector_rows_integer(st, 2),
                                     .labels = (uint64_t)collector_rows_integer(st, 3)};
        each(ctx, collector_rows_text(st, 0), &c);
    }
    return rc;
}

int collector_store_labelers(struct collector_store *s, const char *round, size_t limit,
                             void (*each)(void *ctx, const struct collector_labeler *l), void *ctx,
                             struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, LABELERS, "ti", round, (int64_t)limit);
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_labeler l = {.name = collector_rows_text(st, 0),
                                      .labels = (uint64_t)collector_rows_integer(st, 1),
                                      .skips = (uint64_t)collector_rows_integer(st, 2),
                                      .seconds = collector_rows_real(st, 3),
                                      .last_us = collector_rows_integer(st, 4)};
        each(ctx, &l);
    }
    return rc;
}

int collector_store_mine(struct collector_store *s, const char *labeler, const char *round, uint64_t *labels,
                         struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, MINE, "tt", labeler, round);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return -1;
    *labels = (uint64_t)collector_rows_integer(st, 0);
    collector_rows_done(st);
    return 0;
}
