/* store.h - the label database: tasks, labels with all their revisions, skips, and who works on what.
 *
 * Promises:
 *  - What was put is durable once collector_store_commit() returned 0.
 *    A put outside of begin and commit is refused.
 *  - A label counts once: (source, id) is unique for ever. The same id with the same content is
 *    COLLECTOR_KNOWN, with other content a new revision. Nothing is ever overwritten.
 *  - Every revision has a sequence number that grows with every commit; a reader that remembers the last
 *    one it has seen (its cursor) sees every revision once.
 *  - A failure leaves the database as it was at the last commit. RLHF_FULL: the disk is full, the
 *    transaction has to be rolled back and tried again later. RLHF_AGAIN: someone else holds the file.
 *    RLHF_CORRUPT, RLHF_FATAL: stop.
 *
 * Reservations live as long as the process (SQLite) or the server: losing them costs two people judging one task, no more. */
#ifndef LABEL_COLLECTOR_STORE_H
#define LABEL_COLLECTOR_STORE_H

#include "base/clock.h"
#include "judgement.h"

struct collector_store;

struct collector_store_config {
    const char *database;     /* a file, ":memory:", or postgresql://... (database.h) */
    const char *vfs;          /* SQLite VFS; NULL = the default. Tests: a disk that fails */
    uint32_t labels_per_task; /* judgements that a task waits for, >= 1 */
    int64_t reservation_us;
};

/* Opens, creating or migrating the file. Borrows clock. The error names the file and what to do: not a
 * database, another program's, written by a newer version, damaged, no permission. */
struct collector_store *collector_store_open(const struct collector_store_config *c,
                                             const struct rlhf_clock *clock, struct rlhf_error *err);
void collector_store_close(struct collector_store *s); /* NULL is fine; rolls back what was not committed */

/* ---- writing ----------------------------------------------------------------------------------- */

int collector_store_begin(struct collector_store *s, struct rlhf_error *err);
int collector_store_commit(struct collector_store *s, struct rlhf_error *err); /* on failure rolls back */
void collector_store_rollback(struct collector_store *s);
/* A request within the transaction: undone alone, without touching the ones before it. Not nested. */
int collector_store_mark(struct collector_store *s, struct rlhf_error *err);
int collector_store_unmark(struct collector_store *s, bool keep, struct rlhf_error *err);

enum collector_outcome {
    COLLECTOR_STORED,   /* new */
    COLLECTOR_KNOWN,    /* a retry: nothing changed */
    COLLECTOR_REVISED,  /* a label: same id, other content: next revision */
    COLLECTOR_MISSING,  /* refused: no such task */
    COLLECTOR_CONFLICT, /* refused: the id is taken by something else */
    COLLECTOR_INVALID,  /* refused: does not fit the task */
    COLLECTOR_FAILED,   /* the database */
};
struct collector_receipt {
    enum collector_outcome outcome; /* set on failure, too */
    uint64_t sequence;              /* labels: of the revision that now stands */
    uint32_t revision;
};

/* Values must have passed their checks (judgement.h). 0 when stored, known or revised. */
int collector_store_put_task(struct collector_store *s, const struct collector_task *t,
                             struct collector_receipt *receipt, struct rlhf_error *err);
int collector_store_put_label(struct collector_store *s, const struct collector_label *l,
                              struct collector_receipt *receipt, struct rlhf_error *err);
/* COLLECTOR_CONFLICT: this labeler has judged the task. */
int collector_store_put_skip(struct collector_store *s, const char *task, const char *labeler,
                             const char *reason, struct collector_receipt *receipt, struct rlhf_error *err);

/* ---- reading: committed state only, never between begin and commit ----------------------------- */

/* A task handed out. Borrowed for the call. */
struct collector_offer {
    struct collector_task task;
    uint8_t presented[COLLECTOR_MAX_COMPLETIONS]; /* random, fixed for (task, labeler) */
};
/* Reserves up to count tasks for labeler and calls each for every one; each returns false when it has room
 * for no more (that one is not reserved). round "" = any. */
int collector_store_next(struct collector_store *s, const char *labeler, const char *round, size_t count,
                         bool (*each)(void *ctx, const struct collector_offer *o), void *ctx,
                         struct rlhf_error *err);

/* A stored revision. Borrowed for the call. */
struct collector_row {
    uint64_t sequence;
    uint32_t revision;
    int64_t stored_us;            /* wall clock */
    struct collector_label label; /* task NULL when free-standing */
};
/* Revisions behind cursor in the order of sequence, up to and with last (UINT64_MAX: all), until each returns
 * false. latest: only those that stand. */
struct collector_range {
    const char *round; /* "" = any */
    uint64_t cursor, last;
    size_t limit;
    bool latest;
};
int collector_store_list(struct collector_store *s, const struct collector_range *range,
                         bool (*each)(void *ctx, const struct collector_row *row), void *ctx,
                         struct rlhf_error *err);

struct collector_counts {
    uint64_t tasks, open, labels;        /* open: with fewer judgements than labels_per_task */
    uint64_t revisions, skips, sequence; /* of the whole store: revisions, skips, newest sequence number */
};
/* round "" = all of them. */
int collector_store_counts(struct collector_store *s, const char *round, struct collector_counts *c,
                           struct rlhf_error *err);
int collector_store_rounds(struct collector_store *s,
                           void (*each)(void *ctx, const char *round, const struct collector_counts *c),
                           void *ctx, struct rlhf_error *err);

struct collector_labeler {
    const char *name;
    uint64_t labels, skips;
    double seconds;
    int64_t last_us;
};
/* The limit labelers with most labels. */
int collector_store_labelers(struct collector_store *s, const char *round, size_t limit,
                             void (*each)(void *ctx, const struct collector_labeler *l), void *ctx,
                             struct rlhf_error *err);
/* Judgements by labeler in round ("" = all). */
int collector_store_mine(struct collector_store *s, const char *labeler, const char *round, uint64_t *labels,
                         struct rlhf_error *err);

#endif
