/* sqlite.c - the embedded engine: one file, one connection. */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/io.h"
#include "engine.h"
#include "schema.h"
#include "telemetry/log.h"

enum {
    QUICK_CHECK_BYTES = 64 << 20, /* larger files are not read whole at start: about 0.2 s here */
    BUSY_MS = 5000,
    WAL_LIMIT = 64 << 20, /* bytes the -wal file is cut back to after a checkpoint */
    CACHE_KIB = 64 << 10, /* pages held in memory: digests fall anywhere, and what is not here is read again */
};

struct sqlite {
    struct collector_database base;
    struct sqlite3 *db;
};

static struct sqlite *sqlite_of(const struct collector_database *d)
{
    return (struct sqlite *)(uintptr_t)d;
}

/* What a result code asks of the caller, in words that name the file. */
static int fail(const struct sqlite *s, int rc, struct rlhf_error *err)
{
    const char *why = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc), *path = s->base.name;
    int system = s->db ? sqlite3_system_errno(s->db) : 0;

    if ((rc & 0xFF) == SQLITE_FULL || ((rc & 0xFF) == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT)))
        return rlhf_fail(err, RLHF_FULL,
                         "the disk under %s is full: nothing was stored; make room, then send again", path);
    switch (rc & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return rlhf_fail(err, RLHF_AGAIN, "%s is locked by another program: close it, then try again", path);
    case SQLITE_NOMEM:
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    case SQLITE_TOOBIG:
        return rlhf_fail(err, RLHF_REJECT, "a text is too long for the database");
    case SQLITE_NOTADB:
        return rlhf_fail(err, RLHF_CORRUPT,
                         "%s is not an SQLite database: move it away, or set `database` to another file",
                         path);
    case SQLITE_CORRUPT:
        return rlhf_fail(err, RLHF_CORRUPT,
                         "%s is damaged (%s): keep a copy, then rescue what can be read with"
                         " `sqlite3 %s .recover | sqlite3 recovered.db`",
                         path, why, path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return rlhf_fail(err, RLHF_FATAL,
                         "%s cannot be written (%s): check owner and mode of it and its directory", path,
                         why);
    case SQLITE_CANTOPEN:
        return rlhf_fail(err, RLHF_FATAL,
                         "%s cannot be opened (%s): does its directory exist, may it be written?", path,
                         system ? strerror(system) : why);
    default:
        return rlhf_fail(err, RLHF_FATAL, "%s: %s (SQLite %d, %s)", path, why, rc,
                         system ? strerror(system) : "no system error");
    }
}

static int exec(struct collector_database *d, const char *text, struct rlhf_error *err)
{
    int rc = sqlite3_exec(sqlite_of(d)->db, text, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : fail(sqlite_of(d), rc, err);
}

static int ask(struct collector_database *d, const char *text, int64_t *value, struct rlhf_error *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(sqlite_of(d)->db, text, -1, &st, NULL);

    *value = 0;
    if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        *value = sqlite3_column_int64(st, 0);
        rc = SQLITE_OK;
    }
    if (rc == SQLITE_DONE)
        rc = SQLITE_OK;
    if (rc != SQLITE_OK)
        fail(sqlite_of(d), rc, err);
    sqlite3_finalize(st);
    return rc == SQLITE_OK ? 0 : -1;
}

/* ---- transactions ------------------------------------------------------------------------------ */

static int begin(struct collector_database *d, struct rlhf_error *err)
{
    return exec(d, "BEGIN IMMEDIATE", err); /* the one writer that a file can have */
}

static int commit(struct collector_database *d, struct rlhf_error *err)
{
    return exec(d, "COMMIT", err);
}

static int within(struct collector_database *d, struct rlhf_error *err)
{
    if (!sqlite3_get_autocommit(sqlite_of(d)->db))
        return 0;
    return rlhf_fail(err, RLHF_FULL, "%s: the transaction was rolled back; send again", d->name);
}

static void rollback(struct collector_database *d)
{
    struct rlhf_error ignored;

    if (within(d, &ignored) == 0)
        exec(d, "ROLLBACK", &ignored);
}

/* ---- statements -------------------------------------------------------------------------------- */

/* INSERT ... RETURNING the key of the row: SQLite builds a table in memory for what is returned, which costs as much as the
 * insertion. So it gets the statement without it, and its last key is the one row. rows->row says which of them it is. */
enum { PLAIN, GIVES_KEY, GAVE_KEY };

static void done(struct collector_rows *rows)
{
    if (rows->row == GAVE_KEY)
        rows->row = GIVES_KEY;
    sqlite3_reset(rows->handle);
    sqlite3_clear_bindings(rows->handle);
}

static int bind(sqlite3_stmt *st, int i, const struct collector_value *v)
{
    switch (v->kind) {
    case COLLECTOR_INTEGER:
        return sqlite3_bind_int64(st, i, v->integer);
    case COLLECTOR_REAL:
        return sqlite3_bind_double(st, i, v->real);
    case COLLECTOR_TEXT:
        return sqlite3_bind_text(st, i, v->text, -1, SQLITE_STATIC);
    case COLLECTOR_DIGEST:
        return sqlite3_bind_blob(st, i, v->digest->bytes, RLHF_DIGEST_SIZE, SQLITE_STATIC);
    case COLLECTOR_NULL:
        break;
    }
    return sqlite3_bind_null(st, i);
}

static int start(struct collector_rows *rows, const struct collector_value *values, size_t count,
                 struct rlhf_error *err)
{
    struct sqlite *s = sqlite_of(rows->database);
    sqlite3_stmt *st = rows->handle;
    int rc = SQLITE_OK;

    if (!st) {
        const char *text = s->base.sql[rows->statement], *returning = strstr(text, " RETURNING ");
        rc = sqlite3_prepare_v3(s->db, text, returning ? (int)(returning - text) : -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
        rows->handle = st;
        rows->row = returning ? GIVES_KEY : PLAIN;
    }
    for (size_t i = 0; rc == SQLITE_OK && i < count; ++i)
        rc = bind(st, (int)i + 1, &values[i]);
    return rc == SQLITE_OK ? 0 : fail(s, rc, err);
}

static int next(struct collector_rows *rows, struct rlhf_error *err)
{
    int rc = rows->row == GAVE_KEY ? SQLITE_DONE : sqlite3_step(rows->handle);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE && rows->row == GIVES_KEY && sqlite3_changes(sqlite_of(rows->database)->db) > 0) {
        rows->row = GAVE_KEY;
        return 1;
    }
    if (rc != SQLITE_DONE)
        fail(sqlite_of(rows->database), rc, err);
    done(rows);
    return rc == SQLITE_DONE ? 0 : -1;
}

static bool null(struct collector_rows *rows, int column)
{
    return sqlite3_column_type(rows->handle, column) == SQLITE_NULL;
}

static int64_t integer(struct collector_rows *rows, int column)
{
    return rows->row == GAVE_KEY ? sqlite3_last_insert_rowid(sqlite_of(rows->database)->db)
                                 : sqlite3_column_int64(rows->handle, column);
}

static double real(struct collector_rows *rows, int column)
{
    return sqlite3_column_double(rows->handle, column);
}

static const char *text(struct collector_rows *rows, int column)
{
    return (const char *)sqlite3_column_text(rows->handle, column);
}

static bool digest(struct collector_rows *rows, int column, struct rlhf_digest *out)
{
    if (sqlite3_column_bytes(rows->handle, column) != RLHF_DIGEST_SIZE)
        return false;
    memcpy(out->bytes, sqlite3_column_blob(rows->handle, column), RLHF_DIGEST_SIZE);
    return true;
}

static int64_t changed(struct collector_rows *rows)
{
    return sqlite3_changes(sqlite_of(rows->database)->db);
}

static uint64_t changes(const struct collector_database *d)
{
    return (uint64_t)sqlite3_total_changes64(sqlite_of(d)->db);
}

static int damaged(struct collector_database *d, struct rlhf_error *err)
{
    return fail(sqlite_of(d), SQLITE_CORRUPT, err);
}

/* ---- opening ----------------------------------------------------------------------------------- */

static void close_database(struct collector_database *d)
{
    for (size_t i = 0; d->rows && i < d->statements; ++i)
        sqlite3_finalize(d->rows[i].handle);
    sqlite3_close(sqlite_of(d)->db);
    free(d->rows);
    free(d->name);
    free(d);
}

static int open_file(struct sqlite *s, const struct collector_database_config *c, struct rlhf_error *err)
{
    /* The WAL index needs shared memory of the VFS, unless nobody else may have the file. 2,048 pages come together in the
     * -wal file before they go into the database: hot ones once for many commits, and yet few enough not to be waited for. */
    const char *locking = c->vfs ? "PRAGMA locking_mode=EXCLUSIVE;" : "PRAGMA wal_autocheckpoint=2048;";
    char text[512];
    /* Before the library's first use in the process, or not at all: nobody reads its account of memory, and keeping it
     * costs a lock for every allocation. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    int rc = sqlite3_open_v2(
        c->where, &s->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, c->vfs);

    if (rc != SQLITE_OK)
        return fail(s, rc, err);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    snprintf(text, sizeof(text),
             "%sPRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA foreign_keys=ON;"
             "PRAGMA temp_store=MEMORY; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=%d;"
             "PRAGMA cache_size=-%d",
             locking, WAL_LIMIT, CACHE_KIB);
    return exec(&s->base, text, err);
}

/* Someone else's file, or a newer version's, is refused before anything is written to it. */
static int identify(struct sqlite *s, int64_t *version, struct rlhf_error *err)
{
    int64_t id, tables;

    if (ask(&s->base, "PRAGMA application_id", &id, err) < 0 ||
        ask(&s->base, "PRAGMA user_version", version, err) < 0 ||
        ask(&s->base, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
        return -1;
    if (id != COLLECTOR_APPLICATION_ID && (id != 0 || tables > 0))
        return rlhf_fail(
            err, RLHF_REJECT,
            "%s is another program's database (application id 0x%08x): set `database` to another file",
            s->base.name, (unsigned)id);
    if (*version > COLLECTOR_SCHEMA)
        return rlhf_fail(err, RLHF_REJECT,
                         "%s was written by a newer label-collector (schema %d, this one knows %d): upgrade",
                         s->base.name, (int)*version, COLLECTOR_SCHEMA);
    return 0;
}

static int verify(struct sqlite *s, struct rlhf_error *err)
{
    int64_t pages, page_size;
    sqlite3_stmt *st = NULL;

    if (ask(&s->base, "PRAGMA page_count", &pages, err) < 0 ||
        ask(&s->base, "PRAGMA page_size", &page_size, err) < 0)
        return -1;
    if (pages * page_size > QUICK_CHECK_BYTES)
        return 0;
    int rc = sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    bool good = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
    sqlite3_finalize(st);
    return good ? 0 : fail(s, rc == SQLITE_ROW ? SQLITE_CORRUPT : rc, err);
}

static int migrate(struct sqlite *s, int64_t version, struct rlhf_error *err)
{
    char text[96];

    if (exec(&s->base, "PRAGMA journal_mode=WAL", err) < 0)
        return -1;
    for (; version < COLLECTOR_SCHEMA; ++version) {
        snprintf(text, sizeof(text), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
                 COLLECTOR_APPLICATION_ID, (int)version + 1);
        if (begin(&s->base, err) < 0 || exec(&s->base, collector_migrations[version].sqlite, err) < 0 ||
            exec(&s->base, text, err) < 0)
            return -1; /* closing rolls back */
        rlhf_log(RLHF_LEVEL_INFO, "store-migrated database=%s schema=%d", s->base.name, (int)version + 1);
    }
    return exec(&s->base, collector_temporary, err);
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

static const struct collector_engine engine = {.close = close_database,
                                               .begin = begin,
                                               .commit = commit,
                                               .rollback = rollback,
                                               .within = within,
                                               .exec = exec,
                                               .ask = ask,
                                               .start = start,
                                               .next = next,
                                               .done = done,
                                               .null = null,
                                               .integer = integer,
                                               .real = real,
                                               .text = text,
                                               .digest = digest,
                                               .changed = changed,
                                               .changes = changes,
                                               .damaged = damaged};

struct collector_database *collector_sqlite_open(const struct collector_database_config *c,
                                                 struct rlhf_error *err)
{
    struct sqlite *s = calloc(1, sizeof(*s));
    bool in_file = !c->vfs && strcmp(c->where, ":memory:") != 0;
    int64_t version;

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    if (collector_database_init(&s->base, &engine, c, strdup(c->where), err) == 0 &&
        open_file(s, c, err) == 0 && identify(s, &version, err) == 0 && verify(s, err) == 0 &&
        migrate(s, version, err) == 0 && (!in_file || sync_parent(c->where, err) == 0))
        return &s->base;
    close_database(&s->base);
    return NULL;
}
