/* database.h - the SQL database under the store, one of two engines behind one seam: SQLite in a file,
 * PostgreSQL on a server.
 *
 * The store speaks one SQL that both understand: parameters ?1 ?2 ..., INSERT ... RETURNING its table's one-column key
 * (at the end), ON CONFLICT with its target, counters qualified by their table. Its statements are given at opening, named by their index, and
 * prepared when first used.
 *
 * Promises:
 *  - Writers take turns, those of other processes too: between begin and commit nobody else writes. So what
 * was looked up there stays true, and numbers given out there grow in the order in which they become visible.
 *  - What was committed is durable (SQLite: WAL and synchronous=FULL; PostgreSQL: synchronous_commit=on).
 *  - Errors name the database and what to do. RLHF_FULL: no room; RLHF_AGAIN: somebody holds it, or the
 * server is away: nothing was stored, or (a commit whose answer was lost) the same may be sent again;
 * RLHF_CORRUPT, RLHF_FATAL: stop. */
#ifndef LABEL_COLLECTOR_DATABASE_H
#define LABEL_COLLECTOR_DATABASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

struct collector_database;
struct collector_rows;

struct collector_database_config {
    const char *where;      /* a file, ":memory:", or postgresql://... as libpq takes it */
    const char *vfs;        /* SQLite's; NULL = the default. Tests: a disk that fails */
    const char *const *sql; /* [statements]; borrowed */
    size_t statements;
};
/* Opens, creating or migrating (schema.h), which may take its time. */
struct collector_database *collector_database_open(const struct collector_database_config *c,
                                                   struct rlhf_error *err);
/* From here on others wait while a call does: on a server that does not answer, no longer than some seconds. */
int collector_database_ready(struct collector_database *d, struct rlhf_error *err);
void collector_database_close(
    struct collector_database *d); /* NULL is fine; rolls back what was not committed */
/* For messages: the file or the address, without a password. */
const char *collector_database_name(const struct collector_database *d);
/* Whether other processes may use it at the same time. */
bool collector_database_shared(const struct collector_database *d);

int collector_database_begin(struct collector_database *d, struct rlhf_error *err);
int collector_database_commit(struct collector_database *d,
                              struct rlhf_error *err); /* on failure rolls back */
void collector_database_rollback(struct collector_database *d);
/* 0 between begin and commit. -1 *err: a full disk, or a server that went away, has ended the transaction
 * behind our back. */
int collector_database_within(struct collector_database *d, struct rlhf_error *err);
/* Grows with every row that is changed: equal before and after, nothing was. */
uint64_t collector_database_changes(const struct collector_database *d);
/* A part of the transaction that can be undone alone: mark, then unmark. Not nested. It costs a copy of every page
 * (SQLite) or two round trips (PostgreSQL). */
int collector_database_mark(struct collector_database *d, struct rlhf_error *err);
int collector_database_unmark(struct collector_database *d, bool keep, struct rlhf_error *err);

/* Any statements, without parameters or rows. */
int collector_database_exec(struct collector_database *d, const char *sql, struct rlhf_error *err);
/* The first column of the first row; 0 when there is none. */
int collector_database_ask(struct collector_database *d, const char *sql, int64_t *value,
                           struct rlhf_error *err);

/* Begins a statement. types has one letter a parameter: t text or NULL, i int64_t, o int64_t (INT64_MIN =
 * NULL), d double (negative =
 * NULL), f double, b const struct rlhf_digest *. Text is borrowed until the rows are done.
 * NULL and *err on failure. */
struct collector_rows *collector_database_query(struct collector_database *d, size_t statement,
                                                struct rlhf_error *err, const char *types, ...);
/* 1: a row is there, to be read before the next call. 0: none is left, and the rows are done. -1: *err, done.
 * rows may be NULL: the query failed. */
int collector_rows_next(struct collector_rows *rows, struct rlhf_error *err);
void collector_rows_done(struct collector_rows *rows);
/* Values of the present row; text is valid until the next call. NULL reads as 0, or NULL. */
bool collector_rows_null(struct collector_rows *rows, int column);
int64_t collector_rows_integer(struct collector_rows *rows, int column);
double collector_rows_real(struct collector_rows *rows, int column);
const char *collector_rows_text(struct collector_rows *rows, int column);
/* False when the column holds anything else. */
bool collector_rows_digest(struct collector_rows *rows, int column, struct rlhf_digest *digest);
/* A statement that gives no rows: how many it changed, or -1. */
int64_t collector_rows_run(struct collector_rows *rows, struct rlhf_error *err);
/* RLHF_CORRUPT: what was read is not what was stored. -1. */
int collector_database_damaged(struct collector_database *d, struct rlhf_error *err);

#endif
