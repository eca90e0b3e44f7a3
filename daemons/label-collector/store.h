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
 * Reservations live as long as the process (SQLite) or the server: losing them costs two people judging one
 * task, no more. */
#ifndef LABEL_COLLECTOR_STORE_H
#define LABEL_COLLECTOR_STORE_H

#include "base/clock.h"
#include "judgement.h"

struct collector_store;

struct collector_store_config {
    const char *database;     /* a file, ":memory:", or postgresql://... (database.h) */
    const char *vfs;          /* SQLite VFS; NULL = the default. Tests: a disk that fails */
    uint32_t labels_per_task; /* judgements that a task waits for; 0 = as it was */
    int64_t reservation_us;
    double gold_share;    /* of the tasks handed out, where gold items are there; 0 = none */
    bool auto_quarantine; /* of who fails the test of gold answers */
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
/* Equal before and after: nothing was changed. */
uint64_t collector_store_changes(const struct collector_store *s);
/* A request within the transaction: undone alone, without touching the ones before it. Not nested. Dear. */
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

/* ---- what counts ------------------------------------------------------------------------------ */

/* Labels: one (source and id; of that labeler, where one is given), or all of a labeler or of a source. */
struct collector_choice {
    const char *source, *id, *labeler; /* NULL = not given */
};
/* Labels that count, or do not for the reason `from`, get a revision that does not for the reason `to` ("" =
 * it counts). Reasons: "undone" (by the labeler, who may judge again), "deleted" (by the vendor),
 * "quarantine", "forgotten". changed: how many. */
int collector_store_exclude(struct collector_store *s, const struct collector_choice *which, const char *from,
                            const char *to, uint64_t *changed, struct rlhf_error *err);
/* Quarantines a labeler ("labeler") or vendor ("source"): what they judged does not count, nor what they
 * still send. why NULL ends it, and their labels count again. who: on whose word. */
int collector_store_quarantine(struct collector_store *s, const char *scope, const char *name,
                               const char *why, const char *who, uint64_t *changed, struct rlhf_error *err);
/* How a labeler or vendor stands. */
struct collector_standing {
    const char *scope, *name; /* borrowed for the call */
    uint64_t labels;          /* in all */
    int64_t quota;            /* labels that count at most; negative = no limit */
    uint64_t gold_seen, gold_right;
    double gold_ratio, weight;
    const char *quarantine; /* why; NULL = none */
    bool weight_by_hand;    /* set by the owner, not measured */
};
/* What is NULL stays as it is. */
struct collector_change {
    const int64_t *quota; /* negative: no limit */
    const double *weight;
    const bool *by_hand; /* whether measuring leaves the weight alone from now on */
};
int collector_store_set_standing(struct collector_store *s, const char *scope, const char *name,
                                 const struct collector_change *to, const char *who, struct rlhf_error *err);

/* ---- writes that are named by their senders (store_reply.c) --------------------------------------- */

/* What was answered under this key (of a scope: whose it is) to which request. 1 found, and body is the caller's; 0 not;
 * -1 *err. Within a transaction, like the next. */
int collector_store_find_reply(struct collector_store *s, const char *scope, const char *key,
                               struct rlhf_digest *request, unsigned *status, char **body, struct rlhf_error *err);
/* Kept for three days. The key must be new. */
int collector_store_put_reply(struct collector_store *s, const char *scope, const char *key,
                              const struct rlhf_digest *request, unsigned status, const char *body,
                              struct rlhf_error *err);

/* ---- who may use the API ------------------------------------------------------------------------- */

/* What a token lets its holder do; a route names those that may use it. */
enum collector_role {
    COLLECTOR_NOBODY = 0,
    COLLECTOR_LABELER = 1 << 0, /* judges, as itself */
    COLLECTOR_VENDOR = 1 << 1,  /* brings judgements of its people, as itself (the source) */
    COLLECTOR_LEARNER = 1 << 2, /* brings tasks, takes judgements away */
    COLLECTOR_OWNER = 1 << 3,   /* everything */
};
const char *collector_role_name(enum collector_role role); /* "labeler", ... */
int collector_role_parse(enum collector_role *role, const char *name, struct rlhf_error *err);

struct collector_token {
    int64_t number; /* by which it is named: the token itself is not kept */
    enum collector_role role;
    const char *name; /* borrowed for the call */
    int64_t made_us, revoked_us; /* wall clock; 0 = not revoked */
};
/* Only the digest of a token is stored. Within a transaction; who: on whose word. */
int collector_store_add_token(struct collector_store *s, const struct rlhf_digest *digest, enum collector_role role,
                              const char *name, const char *who, int64_t *number, struct rlhf_error *err);
/* Its sessions end with it. found: it was good until now. */
int collector_store_revoke_token(struct collector_store *s, int64_t number, const char *who, bool *found,
                                 struct rlhf_error *err);
/* A session of a token: what the browser keeps in its place. Within a transaction. */
int collector_store_add_session(struct collector_store *s, const struct rlhf_digest *digest, int64_t token,
                                int64_t expires_us, struct rlhf_error *err);
int collector_store_end_session(struct collector_store *s, const struct rlhf_digest *digest, struct rlhf_error *err);
/* Reading. The limit tokens numbered above after, revoked ones, too. */
int collector_store_tokens(struct collector_store *s, int64_t after, size_t limit,
                           void (*each)(void *ctx, const struct collector_token *t), void *ctx,
                           struct rlhf_error *err);
/* Calls each for the token, or that of the session, with this digest; not when it was revoked or is over. */
int collector_store_find_token(struct collector_store *s, const struct rlhf_digest *digest, bool session,
                               void (*each)(void *ctx, const struct collector_token *t), void *ctx,
                               struct rlhf_error *err);
/* Whether a token was ever made. */
int collector_store_has_tokens(struct collector_store *s, bool *has, struct rlhf_error *err);

/* ---- reading: committed state only, never between begin and commit ----------------------------- */

/* Up to limit labelers or vendors in the order of their names, behind after (NULL: from the first); name "" = any. */
int collector_store_standing(struct collector_store *s, const char *scope, const char *name, const char *after, size_t limit,
                             void (*each)(void *ctx, const struct collector_standing *st), void *ctx,
                             struct rlhf_error *err);

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
    enum collector_kind kind;
    const char *excluded; /* why it does not count; NULL = it does */
    int gold;             /* 1 as the gold item has it, 0 otherwise, -1 not a gold item */
    const char *policies; /* JSON; NULL = not known */
    double weight;        /* of its labeler, now */
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

/* What a labeler said of a task's completions, and nothing else. Borrowed for the call. */
struct collector_judged {
    int64_t task; /* a number of the store's own */
    const char *labeler;
    uint32_t rank[COLLECTOR_MAX_COMPLETIONS];
    size_t rank_count; /* 2 and up */
    int first_shown;   /* the completion at the first position; -1 = not known */
};
/* The rankings that count of a round ("" = any), those behind cursor, in the order of sequence. */
int collector_store_judged(struct collector_store *s, const char *round, uint64_t cursor,
                           void (*each)(void *ctx, const struct collector_judged *j), void *ctx,
                           struct rlhf_error *err);

struct collector_counts {
    uint64_t tasks, open, labels;        /* open: with fewer judgements than labels_per_task */
    uint64_t revisions, skips, sequence; /* of the whole store: revisions, skips, newest sequence number */
};
/* round "" = all of them. */
int collector_store_counts(struct collector_store *s, const char *round, struct collector_counts *c,
                           struct rlhf_error *err);
/* Up to limit of them in the order of their names, behind after (NULL: from the first). */
int collector_store_rounds(struct collector_store *s, const char *after, size_t limit,
                           void (*each)(void *ctx, const char *round, const struct collector_counts *c),
                           void *ctx, struct rlhf_error *err);

struct collector_labeler {
    const char *name;
    uint64_t labels, skips;
    double seconds, weight; /* weight: how far they are believed now */
    int64_t last_us;
};
/* Likewise. */
int collector_store_labelers(struct collector_store *s, const char *round, const char *after, size_t limit,
                             void (*each)(void *ctx, const struct collector_labeler *l), void *ctx,
                             struct rlhf_error *err);
/* A task in the list of all of them. Borrowed for the call. */
struct collector_listed {
    int64_t number; /* they are listed in the order in which they came */
    const char *id, *round, *kind;
    uint64_t labels, missing;
    int64_t created_us;
    bool gold;
};
/* Up to limit behind that number, of a round ("" = any); open: only those that wait for judgements. */
int collector_store_tasks(struct collector_store *s, int64_t after, const char *round, bool open, size_t limit,
                          void (*each)(void *ctx, const struct collector_listed *t), void *ctx, struct rlhf_error *err);
/* What somebody decided. Borrowed for the call. */
struct collector_deed {
    int64_t number, at_us;
    const char *who, *what, *of_whom, *why;
};
/* The newest first, up to limit of those numbered below before (INT64_MAX: all). */
int collector_store_deeds(struct collector_store *s, int64_t before, size_t limit,
                          void (*each)(void *ctx, const struct collector_deed *d), void *ctx, struct rlhf_error *err);
/* How many labels came in each of count spans of time that begin at from_us. Found by their numbers, which grow with
 * time: quick however many there are; a PostgreSQL server leaves out numbers of transactions that failed, and those
 * are counted. */
int collector_store_arrivals(struct collector_store *s, int64_t from_us, int64_t span_us, size_t count, uint64_t *labels,
                             struct rlhf_error *err);
/* Judgements by labeler in round ("" = all). */
int collector_store_mine(struct collector_store *s, const char *labeler, const char *round, uint64_t *labels,
                         struct rlhf_error *err);

#endif
