#include "store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/io.h"
#include "base/random.h"
#include "schema.h"
#include "telemetry/log.h"

enum {
    QUICK_CHECK_BYTES = 64 << 20, /* larger files are not read whole at start: about 0.2 s here */
    BUSY_MS = 5000,
    WAL_LIMIT = 64 << 20, /* bytes the -wal file is cut back to after a checkpoint */
};

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    MARK,
    MARK_KEEP,
    MARK_UNDO,
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
    "SELECT t.task, t.id, t.round, i.prompt, i.completions FROM tasks t CROSS JOIN items i ON i.item = "     \
    "t.item"                                                                                                 \
    " WHERE " where " AND t.labels < ?2"                                                                     \
    " AND t.labels + (SELECT count(*) FROM reservations r WHERE r.task = t.task AND r.labeler <> ?3) < ?2"   \
    " AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.task = t.task AND l.labeler = ?3)"                      \
    " AND NOT EXISTS (SELECT 1 FROM skips k WHERE k.task = t.task AND k.labeler = ?3)"                       \
    " ORDER BY t.labels, t.task LIMIT ?4"
#define LIST_ROWS(where)                                                                                     \
    "SELECT r.sequence, r.revision, r.stored_us, l.id, l.source, l.labeler, t.id, r.round, i.prompt,"        \
    " i.completions, r.ranks, r.presented, r.seconds, r.strength, r.flags, r.note"                           \
    " FROM revisions r CROSS JOIN labels l ON l.label = r.label CROSS JOIN items i ON i.item = r.item"       \
    " LEFT JOIN tasks t ON t.task = l.task WHERE r.sequence > ?2 AND r.sequence <= ?3" where                 \
    " ORDER BY r.sequence LIMIT ?4"

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [MARK] = "SAVEPOINT request",
    [MARK_KEEP] = "RELEASE request",
    [MARK_UNDO] = "ROLLBACK TO request",
    [FIND_ITEM] = "SELECT item FROM items WHERE digest = ?1",
    [ADD_ITEM] = "INSERT INTO items (digest, prompt, completions) VALUES (?1, ?2, ?3)",
    [FIND_TASK] = "SELECT t.task, t.item, t.round, t.labels, i.digest, json_array_length(i.completions)"
                  " FROM tasks t CROSS JOIN items i ON i.item = t.item WHERE t.id = ?1",
    [ADD_TASK] = "INSERT INTO tasks (id, item, round, created_us) VALUES (?1, ?2, ?3, ?4)",
    [COUNT_TASK] = "INSERT INTO rounds (round, tasks, open) VALUES (?1, 1, 1)"
                   " ON CONFLICT DO UPDATE SET tasks = tasks + 1, open = open + 1",
    [FIND_LABEL] = "SELECT l.label, t.id, l.round, l.labeler, r.revision, r.digest, r.sequence"
                   " FROM labels l CROSS JOIN revisions r ON r.sequence = l.sequence"
                   " LEFT JOIN tasks t ON t.task = l.task WHERE l.source = ?1 AND l.id = ?2",
    [FIND_REVISION] = "SELECT digest FROM revisions WHERE label = ?1 AND revision = ?2",
    [NEXT_SEQUENCE] = "SELECT coalesce(max(sequence), 0) + 1 FROM revisions",
    [ADD_LABEL] = "INSERT INTO labels (source, id, task, round, labeler, sequence)"
                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [MOVE_LABEL] = "UPDATE labels SET sequence = ?2 WHERE label = ?1",
    [ADD_REVISION] =
        "INSERT INTO revisions (sequence, label, revision, digest, item, round, ranks, presented,"
        " seconds, strength, flags, note, stored_us)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [LABEL_TASK] = "UPDATE tasks SET labels = labels + 1 WHERE task = ?1",
    [COUNT_LABEL] = "INSERT INTO rounds (round, labels) VALUES (?1, 1)"
                    " ON CONFLICT DO UPDATE SET labels = labels + 1, open = open - ?2",
    [COUNT_LABELER] = "INSERT INTO labelers (labeler, round, labels, skips, seconds, last_us)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET labels = labels + ?3,"
                      " skips = skips + ?4, seconds = seconds + ?5, last_us = ?6",
    [HAS_JUDGED] = "SELECT 1 FROM labels WHERE task = ?1 AND labeler = ?2",
    [FIND_SKIP] = "SELECT 1 FROM skips WHERE task = ?1 AND labeler = ?2",
    [ADD_SKIP] = "INSERT INTO skips (task, labeler, reason, stored_us) VALUES (?1, ?2, ?3, ?4)",
    [DROP_SKIP] = "DELETE FROM skips WHERE task = ?1 AND labeler = ?2",
    [EXPIRE] = "DELETE FROM reservations WHERE expires_us <= ?1",
    [RESERVE] = "INSERT OR REPLACE INTO reservations (task, labeler, expires_us) VALUES (?1, ?2, ?3)",
    [RESERVED] = "SELECT 1 FROM reservations WHERE task = ?1 AND labeler = ?2",
    [RELEASE] = "DELETE FROM reservations WHERE task = ?1 AND labeler = ?2",
    [NEXT_IN_ROUND] = NEXT_TASKS("t.round = ?1"),
    [NEXT_ANY] = NEXT_TASKS("?1 = ''"),
    [LIST_IN_ROUND] = LIST_ROWS(" AND r.round = ?1"),
    [LIST_ANY] = LIST_ROWS(" AND ?1 = ''"),
    [LATEST_IN_ROUND] = LIST_ROWS(" AND r.round = ?1 AND l.sequence = r.sequence"),
    [LATEST_ANY] = LIST_ROWS(" AND ?1 = '' AND l.sequence = r.sequence"),
    [COUNT_ROUND] = "SELECT tasks, open, labels FROM rounds WHERE round = ?1",
    [COUNT_ALL] =
        "SELECT coalesce(sum(tasks), 0), coalesce(sum(open), 0), coalesce(sum(labels), 0) FROM rounds",
    [COUNT_STORE] = "SELECT (SELECT coalesce(max(sequence), 0) FROM revisions),"
                    " (SELECT coalesce(sum(skips), 0) FROM labelers)",
    [ROUNDS] = "SELECT round, tasks, open, labels FROM rounds ORDER BY round",
    [LABELERS] = "SELECT labeler, sum(labels) AS n, sum(skips), sum(seconds), max(last_us) FROM labelers"
                 " WHERE ?1 = '' OR round = ?1 GROUP BY labeler ORDER BY n DESC, labeler LIMIT ?2",
    [MINE] = "SELECT coalesce(sum(labels), 0) FROM labelers WHERE labeler = ?1 AND (?2 = '' OR round = ?2)",
};

struct collector_store {
    struct sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS]; /* prepared when first used */
    const struct rlhf_clock *clock;
    char *path;
    uint32_t labels_per_task;
    int64_t reservation_us;
    uint64_t order_seed;
};

/* ---- talking to SQLite ------------------------------------------------------------------------- */

/* What a result code asks of the caller, in words that name the file. */
static int fail(struct collector_store *s, int rc, struct rlhf_error *err)
{
    const char *why = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc);
    int system = s->db ? sqlite3_system_errno(s->db) : 0;

    if ((rc & 0xFF) == SQLITE_FULL || ((rc & 0xFF) == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT)))
        return rlhf_fail(err, RLHF_FULL,
                         "the disk under %s is full: nothing was stored; make room, then send again",
                         s->path);
    switch (rc & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return rlhf_fail(err, RLHF_AGAIN, "%s is locked by another program: close it, then try again",
                         s->path);
    case SQLITE_NOMEM:
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    case SQLITE_TOOBIG:
        return rlhf_fail(err, RLHF_REJECT, "a text is too long for the database");
    case SQLITE_NOTADB:
        return rlhf_fail(err, RLHF_CORRUPT,
                         "%s is not an SQLite database: move it away, or set `database` to another file",
                         s->path);
    case SQLITE_CORRUPT:
        return rlhf_fail(err, RLHF_CORRUPT,
                         "%s is damaged (%s): keep a copy, then rescue what can be read with"
                         " `sqlite3 %s .recover | sqlite3 recovered.db`",
                         s->path, why, s->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return rlhf_fail(err, RLHF_FATAL,
                         "%s cannot be written (%s): check owner and mode of it and its directory", s->path,
                         why);
    case SQLITE_CANTOPEN:
        return rlhf_fail(err, RLHF_FATAL,
                         "%s cannot be opened (%s): does its directory exist, may it be written?", s->path,
                         system ? strerror(system) : why);
    default:
        return rlhf_fail(err, RLHF_FATAL, "%s: %s (SQLite %d, %s)", s->path, why, rc,
                         system ? strerror(system) : "no system error");
    }
}

/* The statement with its parameters bound: t text or NULL, i int64_t, o int64_t (INT64_MIN = NULL), d double
 * (negative = NULL), b digest. Text is borrowed until the statement is done(). */
static sqlite3_stmt *bind(struct collector_store *s, enum statement which, struct rlhf_error *err,
                          const char *types, ...)
{
    sqlite3_stmt **st = &s->statements[which];
    int rc = *st ? SQLITE_OK : sqlite3_prepare_v3(s->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL);
    va_list args;

    va_start(args, types);
    for (int i = 1; rc == SQLITE_OK && types[i - 1]; ++i) {
        double d;
        int64_t n;
        switch (types[i - 1]) {
        case 't':
            rc = sqlite3_bind_text(*st, i, va_arg(args, const char *), -1, SQLITE_STATIC);
            break;
        case 'i':
            rc = sqlite3_bind_int64(*st, i, va_arg(args, int64_t));
            break;
        case 'd':
            d = va_arg(args, double);
            rc = d < 0 ? sqlite3_bind_null(*st, i) : sqlite3_bind_double(*st, i, d);
            break;
        case 'b':
            rc = sqlite3_bind_blob(*st, i, va_arg(args, const struct rlhf_digest *)->bytes, RLHF_DIGEST_SIZE,
                                   SQLITE_STATIC);
            break;
        case 'o':
            n = va_arg(args, int64_t);
            rc = n == INT64_MIN ? sqlite3_bind_null(*st, i) : sqlite3_bind_int64(*st, i, n);
            break;
        default:
            RLHF_ASSERT(false); /* not one of the letters above */
        }
    }
    va_end(args);
    if (rc == SQLITE_OK)
        return *st;
    fail(s, rc, err);
    return NULL;
}

static void done(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

/* 1: a row is there, to be read before done(). 0: none is left. -1: *err. st may be NULL: bind() failed. */
static int step(struct collector_store *s, sqlite3_stmt *st, struct rlhf_error *err)
{
    if (!st)
        return -1;
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        fail(s, rc, err);
    done(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int exec(struct collector_store *s, const char *text, struct rlhf_error *err)
{
    int rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : fail(s, rc, err);
}

/* The first column of the first row; 0 when there is none. */
static int ask(struct collector_store *s, const char *text, int64_t *value, struct rlhf_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

    *value = 0;
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *value = sqlite3_column_int64(st, 0);
        rc = SQLITE_OK;
    }
    if (rc == SQLITE_DONE)
        rc = SQLITE_OK;
    if (rc != SQLITE_OK)
        fail(s, rc, err);
    sqlite3_finalize(st);
    return rc == SQLITE_OK ? 0 : -1;
}

static const char *column_text(sqlite3_stmt *st, int column)
{
    return (const char *)sqlite3_column_text(st, column);
}

/* ---- opening ----------------------------------------------------------------------------------- */

static int open_file(struct collector_store *s, const struct collector_store_config *c,
                     struct rlhf_error *err)
{
    /* The WAL index needs shared memory of the VFS, unless nobody else may have the file. */
    const char *locking = c->vfs ? "PRAGMA locking_mode=EXCLUSIVE;" : "";
    char text[512];
    int rc = sqlite3_open_v2(
        c->path, &s->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, c->vfs);

    if (rc != SQLITE_OK)
        return fail(s, rc, err);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    snprintf(text, sizeof(text),
             "%sPRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA foreign_keys=ON;"
             "PRAGMA temp_store=MEMORY; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=%d",
             locking, WAL_LIMIT);
    return exec(s, text, err);
}

/* Someone else's file, or a newer version's, is refused before anything is written to it. */
static int identify(struct collector_store *s, int64_t *version, struct rlhf_error *err)
{
    int64_t id, tables;

    if (ask(s, "PRAGMA application_id", &id, err) < 0 || ask(s, "PRAGMA user_version", version, err) < 0
        || ask(s, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
        return -1;
    if (id != COLLECTOR_APPLICATION_ID && (id != 0 || tables > 0))
        return rlhf_fail(
            err, RLHF_REJECT,
            "%s is another program's database (application id 0x%08x): set `database` to another file",
            s->path, (unsigned)id);
    if (*version > COLLECTOR_SCHEMA)
        return rlhf_fail(err, RLHF_REJECT,
                         "%s was written by a newer label-collector (schema %d, this one knows %d): upgrade",
                         s->path, (int)*version, COLLECTOR_SCHEMA);
    return 0;
}

static int verify(struct collector_store *s, struct rlhf_error *err)
{
    int64_t pages, page_size;
    sqlite3_stmt *st = NULL;

    if (ask(s, "PRAGMA page_count", &pages, err) < 0 || ask(s, "PRAGMA page_size", &page_size, err) < 0)
        return -1;
    if (pages * page_size > QUICK_CHECK_BYTES)
        return 0;
    int rc = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    bool good = rc == SQLITE_ROW && strcmp(column_text(st, 0), "ok") == 0;
    sqlite3_finalize(st);
    return good ? 0 : fail(s, rc == SQLITE_ROW ? SQLITE_CORRUPT : rc, err);
}

static int migrate(struct collector_store *s, int64_t version, struct rlhf_error *err)
{
    char text[96];

    if (exec(s, "PRAGMA journal_mode=WAL", err) < 0)
        return -1;
    for (; version < COLLECTOR_SCHEMA; ++version) {
        snprintf(text, sizeof(text), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
                 COLLECTOR_APPLICATION_ID, (int)version + 1);
        if (exec(s, "BEGIN IMMEDIATE", err) < 0 || exec(s, collector_migrations[version], err) < 0
            || exec(s, text, err) < 0)
            return -1; /* closing rolls back */
        rlhf_log(RLHF_LEVEL_INFO, "store-migrated database=%s schema=%d", s->path, (int)version + 1);
    }
    return 0;
}

/* How many tasks are open depends on labels_per_task, which may have changed since. */
static int recount_open(struct collector_store *s, struct rlhf_error *err)
{
    char text[512];

    snprintf(text, sizeof(text),
             "WITH now (round, n) AS (SELECT round, count(*) FROM tasks WHERE labels < %u GROUP BY round)"
             " UPDATE rounds SET open = coalesce((SELECT n FROM now WHERE now.round = rounds.round), 0)"
             " WHERE open <> coalesce((SELECT n FROM now WHERE now.round = rounds.round), 0)",
             s->labels_per_task);
    return exec(s, text, err);
}

/* The new file's name must survive a power cut, too. */
static int sync_parent(const char *path, struct rlhf_error *err)
{
    char *parent = strdup(path);
    char *slash = parent ? strrchr(parent, '/') : NULL;

    if (!parent)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    if (slash)
        slash[slash == parent] = '\0';
    int rc = rlhf_sync_dir(&rlhf_system_io, slash ? parent : ".", err);
    free(parent);
    return rc;
}

struct collector_store *collector_store_open(const struct collector_store_config *c,
                                             const struct rlhf_clock *clock, struct rlhf_error *err)
{
    struct collector_store *s = calloc(1, sizeof(*s));
    int64_t version, seed;

    if (!s || !(s->path = strdup(c->path))) {
        free(s);
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    s->clock = clock;
    s->labels_per_task = c->labels_per_task ? c->labels_per_task : 1;
    s->reservation_us = c->reservation_us;
    bool in_file = !c->vfs && strcmp(c->path, ":memory:") != 0;
    if (open_file(s, c, err) < 0 || identify(s, &version, err) < 0 || verify(s, err) < 0
        || migrate(s, version, err) < 0 || (in_file && sync_parent(c->path, err) < 0)
        || exec(s, collector_temporary, err) < 0 || recount_open(s, err) < 0
        || ask(s, "SELECT value FROM meta WHERE key = 'order_seed'", &seed, err) < 0) {
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
    for (int i = 0; i < STATEMENTS; ++i)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    free(s->path);
    free(s);
}

/* ---- transactions ------------------------------------------------------------------------------ */

static int run(struct collector_store *s, enum statement which, struct rlhf_error *err)
{
    return step(s, bind(s, which, err, ""), err);
}

int collector_store_begin(struct collector_store *s, struct rlhf_error *err)
{
    return run(s, BEGIN, err);
}

int collector_store_commit(struct collector_store *s, struct rlhf_error *err)
{
    if (sqlite3_get_autocommit(s->db)) /* a full disk has rolled it back already */
        return rlhf_fail(err, RLHF_FULL, "%s: the transaction was rolled back; send again", s->path);
    if (run(s, COMMIT, err) == 0)
        return 0;
    collector_store_rollback(s);
    return -1;
}

void collector_store_rollback(struct collector_store *s)
{
    struct rlhf_error ignored;

    if (!sqlite3_get_autocommit(s->db))
        run(s, ROLLBACK, &ignored);
}

int collector_store_mark(struct collector_store *s, struct rlhf_error *err)
{
    return run(s, MARK, err);
}

int collector_store_unmark(struct collector_store *s, bool keep, struct rlhf_error *err)
{
    if (!keep && run(s, MARK_UNDO, err) < 0)
        return -1;
    return run(s, MARK_KEEP, err);
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

static int put_item(struct collector_store *s, const struct collector_content *c,
                    const struct rlhf_digest *digest, int64_t *item, struct rlhf_error *err)
{
    sqlite3_stmt *st = bind(s, FIND_ITEM, err, "b", digest);
    int rc = step(s, st, err);

    if (rc > 0) {
        *item = sqlite3_column_int64(st, 0);
        done(st);
    }
    if (rc != 0)
        return rc > 0 ? 0 : -1;
    char *completions = print_strings(c);
    if (!completions)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    rc = step(s, bind(s, ADD_ITEM, err, "btt", digest, c->prompt, completions), err);
    free(completions);
    *item = sqlite3_last_insert_rowid(s->db);
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
    sqlite3_stmt *st = bind(s, FIND_TASK, err, "t", id);
    int rc = step(s, st, err);

    if (rc <= 0)
        return rc;
    t->task = sqlite3_column_int64(st, 0);
    t->item = sqlite3_column_int64(st, 1);
    snprintf(t->round, sizeof(t->round), "%s", column_text(st, 2));
    t->labels = sqlite3_column_int64(st, 3);
    bool whole = sqlite3_column_bytes(st, 4) == RLHF_DIGEST_SIZE;
    if (whole)
        memcpy(t->digest.bytes, sqlite3_column_blob(st, 4), RLHF_DIGEST_SIZE);
    t->completions = sqlite3_column_int64(st, 5);
    done(st);
    return whole ? 1 : fail(s, SQLITE_CORRUPT, err);
}

static int refuse(struct collector_receipt *r, enum collector_outcome outcome)
{
    r->outcome = outcome;
    return -1;
}

/* Work inside of begin and commit; a disk that filled up has ended the transaction behind our back. */
static int in_transaction(struct collector_store *s, struct collector_receipt *r, struct rlhf_error *err)
{
    *r = (struct collector_receipt){ .outcome = COLLECTOR_FAILED };
    if (!sqlite3_get_autocommit(s->db))
        return 0;
    return rlhf_fail(err, RLHF_FULL, "%s: the transaction was rolled back; send again", s->path);
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
    if (put_item(s, &t->content, &digest, &item, err) < 0
        || step(s, bind(s, ADD_TASK, err, "titi", t->id, item, t->round, s->clock->wall_us(s->clock)), err)
               < 0
        || step(s, bind(s, COUNT_TASK, err, "t", t->round), err) < 0)
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
    sqlite3_stmt *st = bind(s, FIND_LABEL, err, "tt", l->source, l->id);
    int rc = step(s, st, err);

    if (rc <= 0)
        return rc;
    const char *other = !same_text(l->task, column_text(st, 1))      ? "task"
                        : !same_text(round, column_text(st, 2))      ? "round"
                        : !same_text(l->labeler, column_text(st, 3)) ? "labeler"
                                                                     : NULL;
    k->label = sqlite3_column_int64(st, 0);
    k->revision = sqlite3_column_int64(st, 4);
    k->sequence = sqlite3_column_int64(st, 6);
    bool whole = sqlite3_column_bytes(st, 5) == RLHF_DIGEST_SIZE;
    if (whole)
        memcpy(k->digest.bytes, sqlite3_column_blob(st, 5), RLHF_DIGEST_SIZE);
    done(st);
    if (!whole)
        return fail(s, SQLITE_CORRUPT, err);
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
        struct collector_task task = { .id = l->task, .round = l->round, .content = l->content };
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
        sqlite3_stmt *st = l->task ? bind(s, RESERVED, &ignored, "it", t->task, l->labeler) : NULL;
        if (step(s, st, &ignored) <= 0)
            return NULL;
        done(st);
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
    return step(s,
                bind(s, ADD_REVISION, err, "iiibitttdotti", (int64_t)r->sequence, label, (int64_t)r->revision,
                     digest, item, round, ranks, presented_text(s, l, t, presented), l->seconds,
                     l->has_strength ? (int64_t)l->strength : INT64_MIN, l->flags, l->note,
                     s->clock->wall_us(s->clock)),
                err);
}

/* Which revision l is: sets the receipt to what it will be. 1 = to be stored, 0 = known, -1 refused. */
static int revise(struct collector_store *s, const struct collector_label *l, const struct known_label *k,
                  const struct rlhf_digest *digest, struct collector_receipt *r, struct rlhf_error *err)
{
    bool same = rlhf_digest_equal(digest, &k->digest);

    r->sequence = (uint64_t)k->sequence;
    r->revision = (uint32_t)k->revision;
    if (l->revision && l->revision < k->revision) { /* a late retry of an earlier answer? */
        sqlite3_stmt *st = bind(s, FIND_REVISION, err, "ii", k->label, (int64_t)l->revision);
        int rc = step(s, st, err);
        if (rc < 0)
            return -1;
        same = rc > 0 && sqlite3_column_bytes(st, 0) == RLHF_DIGEST_SIZE
               && memcmp(sqlite3_column_blob(st, 0), digest->bytes, RLHF_DIGEST_SIZE) == 0;
        if (rc > 0)
            done(st);
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

    if (step(s, bind(s, COUNT_LABEL, err, "ti", round, closes), err) < 0
        || step(s,
                bind(s, COUNT_LABELER, err, "ttiidi", l->labeler, round, (int64_t)1, (int64_t)0,
                     l->seconds > 0 ? l->seconds : 0.0, s->clock->wall_us(s->clock)),
                err)
               < 0)
        return -1;
    if (!l->task)
        return 0;
    if (step(s, bind(s, LABEL_TASK, err, "i", t->task), err) < 0
        || step(s, bind(s, DROP_SKIP, err, "it", t->task, l->labeler), err) < 0)
        return -1;
    if (sqlite3_changes(s->db) == 0)
        return 0;
    return step(s, /* the skip is taken back */
                bind(s, COUNT_LABELER, err, "ttiidi", l->labeler, round, (int64_t)0, (int64_t)-1, 0.0,
                     s->clock->wall_us(s->clock)),
                err);
}

int collector_store_put_label(struct collector_store *s, const struct collector_label *l,
                              struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task task = { 0 };
    struct known_label label = { 0 };
    struct rlhf_digest digest;
    sqlite3_stmt *st;

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
    if (step(s, (st = bind(s, NEXT_SEQUENCE, err, "")), err) < 0)
        return -1;
    receipt->sequence = (uint64_t)sqlite3_column_int64(st, 0);
    receipt->revision = (uint32_t)label.revision + 1;
    done(st);
    if (found) {
        if (step(s, bind(s, MOVE_LABEL, err, "ii", label.label, (int64_t)receipt->sequence), err) < 0)
            return -1;
    } else {
        if (step(s,
                 bind(s, ADD_LABEL, err, "ttotti", l->source, l->id, l->task ? task.task : INT64_MIN, round,
                      l->labeler, (int64_t)receipt->sequence),
                 err)
            < 0)
            return -1;
        label.label = sqlite3_last_insert_rowid(s->db);
        if (count_label(s, l, &task, round, err) < 0)
            return -1;
    }
    if (add_revision(s, l, &task, round, &digest, task.item, label.label, receipt, err) < 0
        || (l->task && step(s, bind(s, RELEASE, err, "it", task.task, l->labeler), err) < 0))
        return -1;
    receipt->outcome = found ? COLLECTOR_REVISED : COLLECTOR_STORED;
    return 0;
}

int collector_store_put_skip(struct collector_store *s, const char *task, const char *labeler,
                             const char *reason, struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task t;
    int64_t now = s->clock->wall_us(s->clock);
    sqlite3_stmt *st;
    int rc;

    if (in_transaction(s, receipt, err) < 0 || (rc = find_task(s, task, &t, err)) < 0)
        return -1;
    if (rc == 0) {
        rlhf_fail(err, RLHF_REJECT, "there is no task %s", task);
        return refuse(receipt, COLLECTOR_MISSING);
    }
    if ((rc = step(s, (st = bind(s, HAS_JUDGED, err, "it", t.task, labeler)), err)) < 0)
        return -1;
    if (rc > 0) {
        done(st);
        rlhf_fail(err, RLHF_REJECT, "%s has judged task %s already: send the label again to change it",
                  labeler, task);
        return refuse(receipt, COLLECTOR_CONFLICT);
    }
    if ((rc = step(s, (st = bind(s, FIND_SKIP, err, "it", t.task, labeler)), err)) < 0)
        return -1;
    if (rc > 0) {
        done(st);
        receipt->outcome = COLLECTOR_KNOWN;
        return 0;
    }
    if (step(s, bind(s, ADD_SKIP, err, "itti", t.task, labeler, reason, now), err) < 0
        || step(s, bind(s, COUNT_LABELER, err, "ttiidi", labeler, t.round, (int64_t)0, (int64_t)1, 0.0, now),
                err)
               < 0
        || step(s, bind(s, RELEASE, err, "it", t.task, labeler), err) < 0)
        return -1;
    receipt->outcome = COLLECTOR_STORED;
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------- */

int collector_store_next(struct collector_store *s, const char *labeler, const char *round, size_t count,
                         bool (*each)(void *ctx, const struct collector_offer *o), void *ctx,
                         struct rlhf_error *err)
{
    int64_t now = rlhf_now(s->clock);
    int64_t *taken = calloc(count ? count : 1, sizeof(*taken));
    size_t n = 0;
    bool room = true;
    int rc = -1;

    if (!taken)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    if (step(s, bind(s, EXPIRE, err, "i", now), err) < 0)
        goto out;
    sqlite3_stmt *st = bind(s, *round ? NEXT_IN_ROUND : NEXT_ANY, err, "titi", round,
                            (int64_t)s->labels_per_task, labeler, (int64_t)count);
    while (room && (rc = step(s, st, err)) > 0) {
        struct collector_offer o = {
            .task = { .id = column_text(st, 1),
                      .round = column_text(st, 2),
                      .content = { .prompt = column_text(st, 3) } },
        };
        json_t *strings = parse_strings(&o.task.content, column_text(st, 4));
        if (!strings) {
            done(st);
            rc = fail(s, SQLITE_CORRUPT, err);
            goto out;
        }
        presentation_order(s, o.task.id, labeler, o.task.content.count, o.presented);
        room = each(ctx, &o);
        if (room)
            taken[n++] = sqlite3_column_int64(st, 0);
        json_decref(strings);
    }
    if (rc > 0)
        done(st);
    if (rc < 0)
        goto out;
    for (rc = 0; rc == 0 && n-- > 0;)
        rc = step(s, bind(s, RESERVE, err, "iti", taken[n], labeler, now + s->reservation_us), err);
out:
    free(taken);
    return rc;
}

static json_t *read_row(struct collector_row *row, sqlite3_stmt *st)
{
    uint32_t numbers[COLLECTOR_MAX_COMPLETIONS];
    struct collector_label *l = &row->label;

    *row = (struct collector_row){
        .sequence = (uint64_t)sqlite3_column_int64(st, 0),
        .revision = (uint32_t)sqlite3_column_int64(st, 1),
        .stored_us = sqlite3_column_int64(st, 2),
        .label = { .id = column_text(st, 3),
                   .source = column_text(st, 4),
                   .labeler = column_text(st, 5),
                   .task = column_text(st, 6),
                   .round = column_text(st, 7),
                   .content = { .prompt = column_text(st, 8) },
                   .seconds = sqlite3_column_type(st, 12) == SQLITE_NULL ? -1 : sqlite3_column_double(st, 12),
                   .has_strength = sqlite3_column_type(st, 13) != SQLITE_NULL,
                   .strength = sqlite3_column_int(st, 13),
                   .flags = (char *)(uintptr_t)column_text(st, 14),
                   .note = column_text(st, 15) },
    };
    json_t *strings = parse_strings(&l->content, column_text(st, 9));
    l->rank_count = parse_numbers(column_text(st, 10), l->rank);
    l->has_presented = parse_numbers(column_text(st, 11), numbers) == l->content.count;
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
    sqlite3_stmt *st = bind(s, which, err, "tiii", range->round, cursor, last, limit);
    int rc;

    while ((rc = step(s, st, err)) > 0) {
        struct collector_row row;
        json_t *strings = read_row(&row, st);
        bool more = strings && each(ctx, &row);
        json_decref(strings);
        if (more)
            continue;
        done(st);
        return strings ? 0 : fail(s, SQLITE_CORRUPT, err);
    }
    return rc;
}

int collector_store_counts(struct collector_store *s, const char *round, struct collector_counts *c,
                           struct rlhf_error *err)
{
    sqlite3_stmt *st = *round ? bind(s, COUNT_ROUND, err, "t", round) : bind(s, COUNT_ALL, err, "");
    int rc = step(s, st, err);

    *c = (struct collector_counts){ 0 };
    if (rc > 0) {
        c->tasks = (uint64_t)sqlite3_column_int64(st, 0);
        c->open = (uint64_t)sqlite3_column_int64(st, 1);
        c->labels = (uint64_t)sqlite3_column_int64(st, 2);
        done(st);
    }
    if (rc < 0 || step(s, (st = bind(s, COUNT_STORE, err, "")), err) < 0)
        return -1;
    c->sequence = c->revisions = (uint64_t)sqlite3_column_int64(st, 0);
    c->skips = (uint64_t)sqlite3_column_int64(st, 1);
    done(st);
    return 0;
}

int collector_store_rounds(struct collector_store *s,
                           void (*each)(void *ctx, const char *round, const struct collector_counts *c),
                           void *ctx, struct rlhf_error *err)
{
    sqlite3_stmt *st = bind(s, ROUNDS, err, "");
    int rc;

    while ((rc = step(s, st, err)) > 0) {
        struct collector_counts c = { .tasks = (uint64_t)sqlite3_column_int64(st, 1),
                                      .open = (uint64_t)sqlite3_column_int64(st, 2),
                                      .labels = (uint64_t)sqlite3_column_int64(st, 3) };
        each(ctx, column_text(st, 0), &c);
    }
    return rc;
}

int collector_store_labelers(struct collector_store *s, const char *round, size_t limit,
                             void (*each)(void *ctx, const struct collector_labeler *l), void *ctx,
                             struct rlhf_error *err)
{
    sqlite3_stmt *st = bind(s, LABELERS, err, "ti", round, (int64_t)limit);
    int rc;

    while ((rc = step(s, st, err)) > 0) {
        struct collector_labeler l = { .name = column_text(st, 0),
                                       .labels = (uint64_t)sqlite3_column_int64(st, 1),
                                       .skips = (uint64_t)sqlite3_column_int64(st, 2),
                                       .seconds = sqlite3_column_double(st, 3),
                                       .last_us = sqlite3_column_int64(st, 4) };
        each(ctx, &l);
    }
    return rc;
}

int collector_store_mine(struct collector_store *s, const char *labeler, const char *round, uint64_t *labels,
                         struct rlhf_error *err)
{
    sqlite3_stmt *st = bind(s, MINE, err, "tt", labeler, round);
    int rc = step(s, st, err);

    if (rc <= 0)
        return -1;
    *labels = (uint64_t)sqlite3_column_int64(st, 0);
    done(st);
    return 0;
}
