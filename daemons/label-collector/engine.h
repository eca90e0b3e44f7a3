/* engine.h - what an engine gives database.c: sqlite.c, postgresql.c. Private to the two and database.c. */
#ifndef LABEL_COLLECTOR_ENGINE_H
#define LABEL_COLLECTOR_ENGINE_H

#include "database.h"

enum { COLLECTOR_MAX_PARAMETERS = 24 };

/* A parameter of a statement. */
struct collector_value {
    enum { COLLECTOR_NULL, COLLECTOR_INTEGER, COLLECTOR_REAL, COLLECTOR_TEXT, COLLECTOR_DIGEST } kind;
    int64_t integer;
    double real;
    const char *text;
    const struct rlhf_digest *digest;
};

/* A statement, prepared or not, and its rows while it runs. */
struct collector_rows {
    struct collector_database *database;
    size_t statement;
    void *handle; /* the engine's */
    int row;      /* the engine's */
};

struct collector_engine {
    bool shared;
    int (*ready)(struct collector_database *d, struct rlhf_error *err); /* NULL: always is */
    void (*close)(struct collector_database *d);
    int (*begin)(struct collector_database *d, struct rlhf_error *err);
    int (*commit)(struct collector_database *d, struct rlhf_error *err);
    void (*rollback)(struct collector_database *d);
    /* -1 and why, when there is no transaction (any more). */
    int (*within)(struct collector_database *d, struct rlhf_error *err);
    int (*exec)(struct collector_database *d, const char *sql, struct rlhf_error *err);
    int (*ask)(struct collector_database *d, const char *sql, int64_t *value, struct rlhf_error *err);
    int (*start)(struct collector_rows *rows, const struct collector_value *values, size_t count,
                 struct rlhf_error *err);
    int (*next)(struct collector_rows *rows, struct rlhf_error *err);
    void (*done)(struct collector_rows *rows);
    bool (*null)(struct collector_rows *rows, int column);
    int64_t (*integer)(struct collector_rows *rows, int column);
    double (*real)(struct collector_rows *rows, int column);
    const char *(*text)(struct collector_rows *rows, int column);
    bool (*digest)(struct collector_rows *rows, int column, struct rlhf_digest *digest);
    int64_t (*changed)(struct collector_rows *rows); /* by the statement that next() has just ended */
    uint64_t (*changes)(const struct collector_database *d); /* by all statements so far */
    int (*damaged)(struct collector_database *d, struct rlhf_error *err);
};

/* The first member of an engine's own. */
struct collector_database {
    const struct collector_engine *engine;
    char *name; /* owned */
    const char *const *sql;
    size_t statements;
    struct collector_rows *rows; /* [statements] */
};

struct collector_database *collector_sqlite_open(const struct collector_database_config *c,
                                                 struct rlhf_error *err);
struct collector_database *collector_postgresql_open(const struct collector_database_config *c,
                                                     struct rlhf_error *err);

/* What both begin with: rows and name (taken). -1 when memory is out. */
int collector_database_init(struct collector_database *d, const struct collector_engine *engine,
                            const struct collector_database_config *c, char *name, struct rlhf_error *err);

#endif
