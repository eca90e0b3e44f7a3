#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "engine.h"

int collector_database_init(struct collector_database *d, const struct collector_engine *engine,
                            const struct collector_database_config *c, char *name, struct rlhf_error *err)
{
    d->engine = engine;
    d->name = name;
    d->sql = c->sql;
    d->statements = c->statements;
    d->rows = calloc(c->statements ? c->statements : 1, sizeof(*d->rows));
    if (!d->name || !d->rows)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    for (size_t i = 0; i < c->statements; ++i)
        d->rows[i] = (struct collector_rows){.database = d, .statement = i};
    return 0;
}

struct collector_database *collector_database_open(const struct collector_database_config *c,
                                                   struct rlhf_error *err)
{
    bool server = strncmp(c->where, "postgresql://", 13) == 0 || strncmp(c->where, "postgres://", 11) == 0;

    return server ? collector_postgresql_open(c, err) : collector_sqlite_open(c, err);
}

int collector_database_ready(struct collector_database *d, struct rlhf_error *err)
{
    return d->engine->ready ? d->engine->ready(d, err) : 0;
}

void collector_database_close(struct collector_database *d)
{
    if (d)
        d->engine->close(d);
}

const char *collector_database_name(const struct collector_database *d)
{
    return d->name;
}

bool collector_database_shared(const struct collector_database *d)
{
    return d->engine->shared;
}

int collector_database_begin(struct collector_database *d, struct rlhf_error *err)
{
    return d->engine->begin(d, err);
}

int collector_database_commit(struct collector_database *d, struct rlhf_error *err)
{
    if (d->engine->within(d, err) == 0 && d->engine->commit(d, err) == 0)
        return 0;
    d->engine->rollback(d);
    return -1;
}

void collector_database_rollback(struct collector_database *d)
{
    d->engine->rollback(d);
}

int collector_database_within(struct collector_database *d, struct rlhf_error *err)
{
    return d->engine->within(d, err);
}

uint64_t collector_database_changes(const struct collector_database *d)
{
    return d->engine->changes(d);
}

int collector_database_mark(struct collector_database *d, struct rlhf_error *err)
{
    return d->engine->exec(d, "SAVEPOINT request", err);
}

int collector_database_unmark(struct collector_database *d, bool keep, struct rlhf_error *err)
{
    if (!keep && d->engine->exec(d, "ROLLBACK TO request", err) < 0)
        return -1;
    return d->engine->exec(d, "RELEASE request", err);
}

int collector_database_exec(struct collector_database *d, const char *sql, struct rlhf_error *err)
{
    return d->engine->exec(d, sql, err);
}

int collector_database_ask(struct collector_database *d, const char *sql, int64_t *value,
                           struct rlhf_error *err)
{
    return d->engine->ask(d, sql, value, err);
}

static struct collector_value value_of(char type, va_list *args)
{
    struct collector_value v = {0};

    switch (type) {
    case 't':
        v.text = va_arg(*args, const char *);
        v.kind = v.text ? COLLECTOR_TEXT : COLLECTOR_NULL;
        break;
    case 'i':
    case 'o':
        v.integer = va_arg(*args, int64_t);
        v.kind = type == 'o' && v.integer == INT64_MIN ? COLLECTOR_NULL : COLLECTOR_INTEGER;
        break;
    case 'd':
    case 'f':
        v.real = va_arg(*args, double);
        v.kind = type == 'd' && v.real < 0 ? COLLECTOR_NULL : COLLECTOR_REAL;
        break;
    case 'b':
        v.digest = va_arg(*args, const struct rlhf_digest *);
        v.kind = COLLECTOR_DIGEST;
        break;
    default:
        RLHF_ASSERT(false); /* not one of the letters of database.h */
    }
    return v;
}

struct collector_rows *collector_database_query(struct collector_database *d, size_t statement,
                                                struct rlhf_error *err, const char *types, ...)
{
    struct collector_value values[COLLECTOR_MAX_PARAMETERS];
    struct collector_rows *rows = &d->rows[statement];
    size_t count = 0;
    va_list args;

    RLHF_ASSERT(statement < d->statements && strlen(types) <= COLLECTOR_MAX_PARAMETERS);
    va_start(args, types);
    for (; types[count]; ++count)
        values[count] = value_of(types[count], &args);
    va_end(args);
    return d->engine->start(rows, values, count, err) < 0 ? NULL : rows;
}

int collector_rows_next(struct collector_rows *rows, struct rlhf_error *err)
{
    return rows ? rows->database->engine->next(rows, err) : -1;
}

void collector_rows_done(struct collector_rows *rows)
{
    rows->database->engine->done(rows);
}

bool collector_rows_null(struct collector_rows *rows, int column)
{
    return rows->database->engine->null(rows, column);
}

int64_t collector_rows_integer(struct collector_rows *rows, int column)
{
    return rows->database->engine->integer(rows, column);
}

double collector_rows_real(struct collector_rows *rows, int column)
{
    return rows->database->engine->real(rows, column);
}

const char *collector_rows_text(struct collector_rows *rows, int column)
{
    return rows->database->engine->text(rows, column);
}

bool collector_rows_digest(struct collector_rows *rows, int column, struct rlhf_digest *digest)
{
    return rows->database->engine->digest(rows, column, digest);
}

int64_t collector_rows_run(struct collector_rows *rows, struct rlhf_error *err)
{
    int rc = collector_rows_next(rows, err);

    RLHF_ASSERT(rc <= 0); /* a statement with rows is read row by row */
    return rc < 0 ? -1 : rows->database->engine->changed(rows);
}

int collector_database_damaged(struct collector_database *d, struct rlhf_error *err)
{
    return d->engine->damaged(d, err);
}
