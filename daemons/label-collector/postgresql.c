/* postgresql.c - the engine for several collectors on one server: one connection, prepared statements,
 * parameters never in the text.
 *
 * Writers of all processes take turns by one advisory lock a transaction. That costs nothing that matters (a
 * collector commits in groups) and gives revisions numbers in the order in which they become visible, so that
 * a reader's cursor never passes one by.
 *
 * Whoever calls is the thread that also answers heartbeats, so no call waits for long: statements go out without blocking and
 * are waited for with a limit, behind which the connection counts as lost. A lost connection is made anew by the next call
 * outside of a transaction, which waits a little and then leaves the rest to later calls; what was under way is answered with
 * RLHF_AGAIN. (A host's name is looked up by libpq before that, and may take as long as the resolver does.) */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "engine.h"
#include "schema.h"
#include "telemetry/log.h"

enum {
    ANSWER_MS = 4000,      /* for a statement: peers take us for dead after 5 s of silence (net/node.h) */
    OPENING_MS = 3600000,  /* ... while opening: migrations take their time, and nobody waits yet */
    CONNECT_MS = 250,      /* waited for a connection by one call ... */
    RETRY_US = 1000000,    /* ... in so long */
    CONNECT_US = 10000000, /* then it is begun again */
};

/* One schema of the database is ours; whatever else is there stays untouched. */
#define OUR_SCHEMA "label_collector"
#define SESSION                                                                                              \
    "-c search_path=" OUR_SCHEMA " -c synchronous_commit=on -c statement_timeout=3s -c lock_timeout=2s"     \
    " -c default_transaction_isolation=read\\ committed -c standard_conforming_strings=on"

struct postgresql {
    struct collector_database base;
    PGconn *connection;
    bool *prepared;   /* [statements] on this connection */
    bool inside;      /* between begin and its end, whatever has become of the connection */
    int patience_ms;  /* for an answer */
    bool lost;        /* it did not come, or not in time */
    bool connecting;
    PostgresPollingStatusType polling; /* what connecting waits for */
    int64_t begun_us, retry_us;        /* connecting; not looked at before */
    int64_t changed;  /* by the last statement without rows */
    uint64_t changes; /* statements so far that may have changed something */
};

static struct postgresql *postgresql_of(const struct collector_database *d)
{
    return (struct postgresql *)(uintptr_t)d;
}

/* ---- errors ------------------------------------------------------------------------------------ */

/* What an SQLSTATE asks of the caller. https://www.postgresql.org/docs/15/errcodes-appendix.html */
static enum rlhf_code code_of(const char *state)
{
    static const struct {
        const char *begins;
        enum rlhf_code code;
    } table[] = {
        {"08", RLHF_AGAIN},    /* connection */
        {"57P0", RLHF_AGAIN},  /* the server stops or starts */
        {"57014", RLHF_AGAIN}, /* statement_timeout */
        {"55P03", RLHF_AGAIN}, /* lock_timeout */
        {"40", RLHF_AGAIN},    /* deadlock and the like */
        {"23505", RLHF_AGAIN}, /* somebody was quicker */
        {"25P02", RLHF_AGAIN}, /* behind another error of this transaction */
        {"25006", RLHF_AGAIN}, /* a standby: read only until it takes over */
        {"53", RLHF_FULL},     /* disk, memory, connections */
        {"22", RLHF_REJECT},   /* a value that no column takes */
        {"54", RLHF_REJECT},   /* too long, too complex */
        {"XX001", RLHF_CORRUPT}, {"XX002", RLHF_CORRUPT},
    };

    for (size_t i = 0; state && i < sizeof(table) / sizeof(table[0]); ++i)
        if (strncmp(state, table[i].begins, strlen(table[i].begins)) == 0)
            return table[i].code;
    return RLHF_FATAL;
}

/* libpq ends its messages with a newline. */
static void copy_line(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
    to[strcspn(to, "\n")] = '\0';
}

static int away(struct postgresql *p, struct rlhf_error *err)
{
    char why[160];

    copy_line(why, sizeof(why), PQerrorMessage(p->connection));
    if (!*why)
        snprintf(why, sizeof(why), "no answer in %d ms", p->patience_ms);
    return rlhf_fail(err, RLHF_AGAIN, "%s cannot be reached (%s): nothing was stored; send again later",
                     p->base.name, why);
}

static bool good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

static bool usable(const struct postgresql *p)
{
    return !p->lost && !p->connecting && PQstatus(p->connection) == CONNECTION_OK;
}

/* Takes result, which may be NULL. */
static int fail(struct postgresql *p, PGresult *result, struct rlhf_error *err)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    enum rlhf_code code = code_of(state);
    char why[160];

    if (!usable(p)) {
        PQclear(result);
        return away(p, err);
    }
    copy_line(why, sizeof(why),
              state ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : PQerrorMessage(p->connection));
    if (code == RLHF_FULL)
        rlhf_fail(err, code, "%s has no room: %s; nothing was stored; make room, then send again",
                  p->base.name, why);
    else
        rlhf_fail(err, code, "%s: %s (SQLSTATE %s)", p->base.name, why, state ? state : "none");
    PQclear(result);
    return -1;
}

/* ---- the connection ---------------------------------------------------------------------------- */

/* False: not until then. */
static bool wait_socket(const PGconn *c, short events, int64_t until_us)
{
    struct pollfd fd = {.fd = PQsocket(c), .events = events};
    int64_t left;
    int rc = 0;

    while (rc <= 0 && (left = until_us - rlhf_now(&rlhf_system_clock)) > 0)
        if ((rc = poll(&fd, 1, (int)(left / 1000) + 1)) < 0 && errno != EINTR)
            return false;
    return rc > 0;
}

/* What was sent goes out, and input comes in, until a result is there. */
static bool answered(struct postgresql *p, int64_t until_us)
{
    int unsent;

    while ((unsent = PQflush(p->connection)) > 0 || PQisBusy(p->connection))
        if (!wait_socket(p->connection, unsent > 0 ? POLLIN | POLLOUT : POLLIN, until_us)
            || !PQconsumeInput(p->connection))
            return false;
    return unsent == 0;
}

/* The result of what was sent: the last, or the first that is an error. NULL, or an error: look at usable(). */
static PGresult *result_of(struct postgresql *p, int sent)
{
    int64_t until = rlhf_now(&rlhf_system_clock) + p->patience_ms * INT64_C(1000);
    PGresult *kept = NULL, *next;

    while (!p->lost) {
        if (!sent || !answered(p, until)) {
            p->lost = true; /* whatever the reason: nobody knows what would come next on it */
        } else if (!(next = PQgetResult(p->connection))) {
            break;
        } else if (kept && !good(kept)) {
            PQclear(next);
        } else {
            PQclear(kept);
            kept = next;
        }
    }
    if (usable(p))
        return kept;
    PQclear(kept);
    return NULL;
}

/* A part of the way to a new connection; true when it has come to an end, good or bad. */
static bool connect_on(struct postgresql *p, int64_t until_us)
{
    while (p->polling == PGRES_POLLING_READING || p->polling == PGRES_POLLING_WRITING) {
        if (!wait_socket(p->connection, p->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_us))
            return false;
        p->polling = PQresetPoll(p->connection);
    }
    return true;
}

/* A lost connection is made anew, unless a transaction was under way on it: its owner has to hear of that first. */
static int connected(struct postgresql *p, struct rlhf_error *err)
{
    int64_t now = rlhf_now(&rlhf_system_clock);

    if (usable(p))
        return 0;
    if (p->inside || now < p->retry_us)
        return away(p, err);
    if (!p->connecting || now > p->begun_us + CONNECT_US) {
        memset(p->prepared, 0, p->base.statements * sizeof(*p->prepared));
        p->lost = false;
        p->connecting = PQresetStart(p->connection);
        p->polling = p->connecting ? PGRES_POLLING_WRITING : PGRES_POLLING_FAILED;
        p->begun_us = now;
    }
    if (connect_on(p, now + CONNECT_MS * INT64_C(1000)))
        p->connecting = false;
    if (usable(p) && PQsetnonblocking(p->connection, 1) == 0) {
        rlhf_log(RLHF_LEVEL_INFO, "store-connected database=%s", p->base.name);
        return 0;
    }
    p->retry_us = rlhf_now(&rlhf_system_clock) + RETRY_US;
    return away(p, err);
}

static int exec(struct collector_database *d, const char *sql, struct rlhf_error *err)
{
    struct postgresql *p = postgresql_of(d);

    if (connected(p, err) < 0)
        return -1;
    PGresult *result = result_of(p, PQsendQuery(p->connection, sql));
    if (!good(result))
        return fail(p, result, err);
    PQclear(result);
    return 0;
}

static int ask(struct collector_database *d, const char *sql, int64_t *value, struct rlhf_error *err)
{
    struct postgresql *p = postgresql_of(d);

    *value = 0;
    if (connected(p, err) < 0)
        return -1;
    PGresult *result = result_of(p, PQsendQuery(p->connection, sql));
    if (!good(result))
        return fail(p, result, err);
    if (PQntuples(result) > 0)
        *value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return 0;
}

/* ---- transactions ------------------------------------------------------------------------------ */

static int begin(struct collector_database *d, struct rlhf_error *err)
{
    char text[96];

    snprintf(text, sizeof(text), "BEGIN; SELECT pg_advisory_xact_lock(%d)", COLLECTOR_APPLICATION_ID);
    int rc = exec(d, text, err);
    postgresql_of(d)->inside = true;
    if (rc < 0)
        d->engine->rollback(d); /* the lock may have been refused behind BEGIN */
    return rc;
}

static int within(struct collector_database *d, struct rlhf_error *err)
{
    struct postgresql *p = postgresql_of(d);

    if (p->inside && usable(p))
        return 0;
    return rlhf_fail(err, RLHF_AGAIN, "%s: the connection was lost, and with it the transaction; send again",
                     d->name);
}

static int commit(struct collector_database *d, struct rlhf_error *err)
{
    struct postgresql *p = postgresql_of(d);
    PGresult *result = result_of(p, PQsendQuery(p->connection, "COMMIT"));

    p->inside = false;
    if (!usable(p))
        return rlhf_fail(err, RLHF_AGAIN, "%s: the connection was lost before the answer to the commit: send the same again",
                         d->name);
    if (!good(result))
        return fail(p, result, err);
    bool rolled_back = strcmp(PQcmdStatus(result), "ROLLBACK") == 0; /* what COMMIT does behind an error */
    PQclear(result);
    return rolled_back
               ? rlhf_fail(err, RLHF_AGAIN, "%s: the transaction was rolled back; send again", d->name)
               : 0;
}

static void rollback(struct collector_database *d)
{
    struct postgresql *p = postgresql_of(d);
    PGTransactionStatusType status = PQtransactionStatus(p->connection);

    p->inside = false;
    if (usable(p) && (status == PQTRANS_INTRANS || status == PQTRANS_INERROR))
        PQclear(result_of(p, PQsendQuery(p->connection, "ROLLBACK")));
}

/* ---- statements -------------------------------------------------------------------------------- */

/* The store's ?1 as the server's $1. */
static char *translate(const char *sql)
{
    char *text = strdup(sql);

    for (char *at = text; at && (at = strchr(at, '?')); ++at)
        *at = '$';
    return text;
}

static void statement_name(const struct collector_rows *rows, char name[16])
{
    snprintf(name, 16, "s%zu", rows->statement);
}

static int prepare(struct postgresql *p, const struct collector_rows *rows, struct rlhf_error *err)
{
    char name[16], *text;

    if (p->prepared[rows->statement])
        return 0;
    if (!(text = translate(p->base.sql[rows->statement])))
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    statement_name(rows, name);
    PGresult *result = result_of(p, PQsendPrepare(p->connection, name, text, 0, NULL));
    free(text);
    if (!good(result))
        return fail(p, result, err);
    PQclear(result);
    p->prepared[rows->statement] = true;
    return 0;
}

/* Room for what is no text yet: \x and two digits a byte. */
typedef char printed[2 * RLHF_DIGEST_SIZE + 3];

static const char *print_value(const struct collector_value *v, printed to)
{
    switch (v->kind) {
    case COLLECTOR_TEXT:
        return v->text;
    case COLLECTOR_INTEGER:
        snprintf(to, sizeof(printed), "%lld", (long long)v->integer);
        return to;
    case COLLECTOR_REAL:
        snprintf(to, sizeof(printed), "%.17g", v->real);
        return to;
    case COLLECTOR_DIGEST:
        memcpy(to, "\\x", 3);
        for (size_t i = 0; i < RLHF_DIGEST_SIZE; ++i)
            snprintf(to + 2 + 2 * i, 3, "%02x", v->digest->bytes[i]);
        return to;
    case COLLECTOR_NULL:
        break;
    }
    return NULL;
}

static void done(struct collector_rows *rows)
{
    PQclear(rows->handle);
    rows->handle = NULL;
}

static int start(struct collector_rows *rows, const struct collector_value *values, size_t count,
                 struct rlhf_error *err)
{
    struct postgresql *p = postgresql_of(rows->database);
    const char *text[COLLECTOR_MAX_PARAMETERS];
    printed room[COLLECTOR_MAX_PARAMETERS];
    char name[16];

    done(rows);
    if (connected(p, err) < 0 || prepare(p, rows, err) < 0)
        return -1;
    for (size_t i = 0; i < count; ++i)
        text[i] = print_value(&values[i], room[i]);
    statement_name(rows, name);
    PGresult *result =
        result_of(p, PQsendQueryPrepared(p->connection, name, (int)count, text, NULL, NULL, 0));
    if (!good(result))
        return fail(p, result, err);
    p->changes += strncmp(PQcmdStatus(result), "SELECT", 6) != 0;
    rows->handle = result;
    rows->row = -1;
    return 0;
}

static int next(struct collector_rows *rows, struct rlhf_error *err)
{
    (void)err;
    if (++rows->row < PQntuples(rows->handle))
        return 1;
    postgresql_of(rows->database)->changed = strtoll(PQcmdTuples(rows->handle), NULL, 10);
    done(rows);
    return 0;
}

static bool null(struct collector_rows *rows, int column)
{
    return PQgetisnull(rows->handle, rows->row, column);
}

static const char *text(struct collector_rows *rows, int column)
{
    return null(rows, column) ? NULL : PQgetvalue(rows->handle, rows->row, column);
}

static int64_t integer(struct collector_rows *rows, int column)
{
    return strtoll(PQgetvalue(rows->handle, rows->row, column), NULL, 10);
}

static double real(struct collector_rows *rows, int column)
{
    return strtod(PQgetvalue(rows->handle, rows->row, column), NULL);
}

static bool digest(struct collector_rows *rows, int column, struct rlhf_digest *out)
{
    const char *hex = PQgetvalue(rows->handle, rows->row, column);

    if (PQgetlength(rows->handle, rows->row, column) != (int)sizeof(printed) - 1 || hex[0] != '\\' ||
        hex[1] != 'x')
        return false;
    for (size_t i = 0; i < RLHF_DIGEST_SIZE; ++i) {
        unsigned byte;
        if (sscanf(hex + 2 + 2 * i, "%2x", &byte) != 1)
            return false;
        out->bytes[i] = (uint8_t)byte;
    }
    return true;
}

static int64_t changed(struct collector_rows *rows)
{
    return postgresql_of(rows->database)->changed;
}

static uint64_t changes(const struct collector_database *d)
{
    return postgresql_of(d)->changes;
}

static int damaged(struct collector_database *d, struct rlhf_error *err)
{
    return rlhf_fail(err, RLHF_CORRUPT,
                     "%s: a row of schema " OUR_SCHEMA " does not hold what was stored: who changed it?",
                     d->name);
}

/* ---- opening ----------------------------------------------------------------------------------- */

static void close_database(struct collector_database *d)
{
    struct postgresql *p = postgresql_of(d);

    for (size_t i = 0; d->rows && i < d->statements; ++i)
        PQclear(d->rows[i].handle);
    PQfinish(p->connection); /* the server rolls back */
    free(p->prepared);
    free(d->rows);
    free(d->name);
    free(d);
}

/* The address without what is secret in it; NULL and *err when it is none. */
static char *name_of(const char *where, struct rlhf_error *err)
{
    char *why = NULL, *name = NULL, host[128] = "", port[16] = "", database[128] = "", user[80] = "";
    PQconninfoOption *options = PQconninfoParse(where, &why);

    if (!options) {
        char line[120];
        copy_line(line, sizeof(line), why);
        rlhf_fail(err, RLHF_REJECT,
                  "database: not an address of PostgreSQL (%s): write postgresql://user@host:port/name",
                  line);
        PQfreemem(why);
        return NULL;
    }
    for (PQconninfoOption *o = options; o->keyword; ++o) {
        const char *value = o->val ? o->val : "";
        if (strcmp(o->keyword, "host") == 0)
            snprintf(host, sizeof(host), "%s", value);
        else if (strcmp(o->keyword, "port") == 0)
            snprintf(port, sizeof(port), "%s%s", *value ? ":" : "", value);
        else if (strcmp(o->keyword, "dbname") == 0)
            snprintf(database, sizeof(database), "%s", value);
        else if (strcmp(o->keyword, "user") == 0)
            snprintf(user, sizeof(user), "%s%s", value, *value ? "@" : "");
    }
    PQconninfoFree(options);
    if (asprintf(&name, "postgresql://%s%s%s/%s", user, host, port, database) < 0) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    return name;
}

static void on_notice(void *ctx, const char *message)
{
    char line[200];

    (void)ctx;
    copy_line(line, sizeof(line), message);
    rlhf_log(RLHF_LEVEL_DEBUG, "store-notice text=\"%s\"", line);
}

static int connect_server(struct postgresql *p, const char *where, struct rlhf_error *err)
{
    static const char *const keys[] = {"dbname",
                                       "client_encoding",
                                       "fallback_application_name",
                                       "connect_timeout",
                                       "tcp_user_timeout",
                                       "options",
                                       NULL};
    const char *const values[] = {where, "UTF8", "label-collector", "5", "10000", SESSION, NULL};
    char why[160];

    p->connection = PQconnectdbParams(keys, values, 1);
    if (!p->connection)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    if (PQstatus(p->connection) != CONNECTION_OK) {
        copy_line(why, sizeof(why), PQerrorMessage(p->connection));
        return rlhf_fail(err, RLHF_AGAIN, "%s cannot be opened: %s", p->base.name, why);
    }
    PQsetNoticeProcessor(p->connection, on_notice, NULL);
    p->patience_ms = OPENING_MS;
    if (PQsetnonblocking(p->connection, 1) < 0)
        return away(p, err);
    return exec(&p->base, "SET statement_timeout = 0", err);
}

/* Makes our schema, and finds its version. */
static int identify(struct postgresql *p, int64_t *version, struct rlhf_error *err)
{
    int64_t there;

    if (ask(&p->base, "SELECT count(*) FROM pg_namespace WHERE nspname = '" OUR_SCHEMA "'", &there, err) < 0)
        return -1;
    if (!there && exec(&p->base, "CREATE SCHEMA " OUR_SCHEMA, err) < 0)
        return rlhf_fail_prefix(err, "this role may have to be granted CREATE on the database");
    if (ask(&p->base,
            "SELECT count(*) FROM pg_tables WHERE schemaname = '" OUR_SCHEMA "' AND tablename = 'meta'",
            &there, err) < 0)
        return -1;
    *version = 0;
    if (there && ask(&p->base, "SELECT value FROM meta WHERE key = 'schema'", version, err) < 0)
        return -1;
    if (*version > COLLECTOR_SCHEMA)
        return rlhf_fail(err, RLHF_REJECT,
                         "%s was written by a newer label-collector (schema %d, this one knows %d): upgrade",
                         p->base.name, (int)*version, COLLECTOR_SCHEMA);
    return 0;
}

/* In one transaction: whoever comes second finds it done. */
static int migrate(struct postgresql *p, struct rlhf_error *err)
{
    int64_t version;
    char text[128];

    if (begin(&p->base, err) < 0 || identify(p, &version, err) < 0)
        return -1; /* closing rolls back */
    for (; version < COLLECTOR_SCHEMA; ++version) {
        snprintf(
            text, sizeof(text),
            "INSERT INTO meta VALUES ('schema', '%d') ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (int)version + 1);
        if (exec(&p->base, collector_migrations[version].postgresql, err) < 0 ||
            exec(&p->base, text, err) < 0)
            return -1;
        rlhf_log(RLHF_LEVEL_INFO, "store-migrated database=%s schema=%d", p->base.name, (int)version + 1);
    }
    return commit(&p->base, err);
}

static int ready(struct collector_database *d, struct rlhf_error *err)
{
    if (exec(d, "RESET statement_timeout", err) < 0)
        return -1;
    postgresql_of(d)->patience_ms = ANSWER_MS;
    return 0;
}

static const struct collector_engine engine = {.shared = true,
                                               .ready = ready,
                                               .close = close_database,
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

struct collector_database *collector_postgresql_open(const struct collector_database_config *c,
                                                     struct rlhf_error *err)
{
    char *name = name_of(c->where, err);
    struct postgresql *p = name ? calloc(1, sizeof(*p)) : NULL;

    if (!p) {
        if (name)
            rlhf_fail(err, RLHF_FULL, "out of memory");
        free(name);
        return NULL;
    }
    if (collector_database_init(&p->base, &engine, c, name, err) == 0 &&
        (p->prepared = calloc(c->statements + 1, sizeof(*p->prepared))) &&
        connect_server(p, c->where, err) == 0 && migrate(p, err) == 0)
        return &p->base;
    close_database(&p->base);
    return NULL;
}
