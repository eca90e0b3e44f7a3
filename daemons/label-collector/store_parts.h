/* store_parts.h - what the files of the store share: its statements, its columns of JSON. Private to
 * store*.c. */
#ifndef LABEL_COLLECTOR_STORE_PARTS_H
#define LABEL_COLLECTOR_STORE_PARTS_H

#include "database.h"
#include "store.h"

/* The texts are in store.c. */
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
    JUDGED,
    COUNT_ROUND,
    COUNT_ALL,
    COUNT_STORE,
    ROUNDS,
    LABELERS,
    MINE,
    STANDING,
    COUNT_STANDING,
    SET_STANDING,
    GOLD_STANDING,
    ADD_AUDIT,
    EXCLUDE_REVISIONS,
    EXCLUDE_LABELS,
    RECOUNT_TASKS,
    UNCOUNT_ROUNDS,
    RECOUNT_OPEN,
    FIND_LABEL_NUMBER,
    GOLD_IN_ROUND,
    GOLD_ANY,
    PERSON,
    PEOPLE,
    ADD_TOKEN,
    REVOKE_TOKEN,
    LIST_TOKENS,
    FIND_TOKEN,
    COUNT_TOKENS,
    ADD_SESSION,
    FIND_SESSION,
    END_SESSION,
    EXPIRE_SESSIONS,
    VENDOR_MEMORY,
    KEEP_VENDOR_MEMORY,
    HOLD_VENDOR,
    CHOOSE_IN_ROUND,
    CHOOSE_ANY,
    GIVE,
    HOLD_TASK,
    PAY_GIVEN,
    FREE_TASK,
    FREE_GIVEN,
    LIST_OVERDUE,
    LIST_QUEUED,
    MOVE_GIVEN,
    GIVEN_ORDER,
    GIVEN_REMOTE,
    SAW_GIVEN,
    MISS_GIVEN,
    REQUEUE_GIVEN,
    LIST_GONE,
    UNSETTLED,
    HINT,
    LIST_HINTED,
    DROP_HINTS,
    GIVEN_STATES,
    ADD_CALLBACK,
    EXPIRE_CALLBACKS,
    LABELS_OF_TASK,
    POLICIES_OF_TASK,
    TASK_OF_LABEL,
    LIST_TASKS,
    LIST_TASKS_IN_ROUND,
    LIST_OPEN,
    LIST_OPEN_IN_ROUND,
    LIST_DEEDS,
    LAST_LABEL,
    LABEL_TIME,
    FIND_REPLY,
    ADD_REPLY,
    EXPIRE_REPLIES,
    STATEMENTS
};

struct collector_store {
    struct collector_database *db;
    const struct rlhf_clock *clock;
    uint32_t labels_per_task;
    int64_t reservation_us;
    double gold_share;
    bool auto_quarantine;
    uint64_t order_seed;
    struct collector_tally *tally;
    int64_t sequence; /* the last one given in this transaction; 0 = none yet */
};

/* A statement without rows: how many it changed, or -1. */
#define RUN(s, err, ...) collector_rows_run(QUERY(s, err, __VA_ARGS__), err)
/* And one with them. */
#define QUERY(s, err, statement, ...)                                                                        \
    (collector_tally_before(s, statement, err) < 0 ? NULL                                                    \
                                                   : collector_database_query((s)->db, statement, err, __VA_ARGS__))

/* ---- store_tally.c: counters, written once a transaction ------------------------------------------- */

/* How a labeler or a source stands. */
struct collector_stand {
    bool quarantined;
    int64_t quota, labels; /* quota: negative = no limit */
};

struct collector_tally *collector_tally_new(const char *const sql[STATEMENTS]); /* NULL: out of memory */
void collector_tally_free(struct collector_tally *t);                           /* NULL is fine */
/* One more label that counts in a round; closed: with it a task has all it waits for. */
int collector_tally_round(struct collector_store *s, const char *round, bool closed, struct rlhf_error *err);
/* Labels, skips and seconds of a labeler in a round; the name in more is not looked at. */
int collector_tally_labeler(struct collector_store *s, const char *labeler, const char *round,
                            const struct collector_labeler *more, struct rlhf_error *err);
/* How one stands with the labels of this transaction, and one label more. */
int collector_tally_stand(struct collector_store *s, const char *scope, const char *name, struct collector_stand *stand,
                          struct rlhf_error *err);
int collector_tally_standing(struct collector_store *s, const char *scope, const char *name, struct rlhf_error *err);
/* Writes what was added up; when this fails the transaction has to be rolled back. */
int collector_tally_write(struct collector_store *s, struct rlhf_error *err);
/* The same, if the statement looks at what is not written yet. */
int collector_tally_before(struct collector_store *s, enum statement statement, struct rlhf_error *err);
void collector_tally_drop(struct collector_tally *t); /* it was undone */
uint64_t collector_tally_changes(const struct collector_tally *t); /* grows with every sum */

/* store_put.c: the number of the next revision. Who stores revisions sets s->sequence to the last of theirs. */
int collector_next_sequence(struct collector_store *s, int64_t *sequence, struct rlhf_error *err);

/* store_standing.c: who did what, for whoever asks later. */
int collector_store_audit(struct collector_store *s, const char *who, const char *what, const char *of_whom,
                          const char *why, struct rlhf_error *err);
/* store_standing.c: a new answer to a gold item. */
int collector_store_gold(struct collector_store *s, const struct collector_label *l, bool right,
                         struct rlhf_error *err);
/* The one number that a statement gives. */
int collector_one_number(struct collector_store *s, struct collector_rows *st, int64_t *number,
                         struct rlhf_error *err);

/* Random, but the same for a labeler who comes back to the task. */
void collector_presentation_order(const struct collector_store *s, const char *task, const char *labeler,
                                  size_t count, uint8_t *order);
/* Time for reservations: one that all who share the database know, else one that does not jump. */
int64_t collector_reservation_clock(const struct collector_store *s);

/* ---- columns that hold JSON: completions, ranks, orders ------------------------------------------ */

/* Fills completion[] and count, borrowed from the document returned. NULL when the column is not what was
 * stored. */
json_t *collector_parse_strings(struct collector_content *c, const char *text);

enum { NUMBERS_TEXT = COLLECTOR_MAX_COMPLETIONS * 4 + 3 };
void collector_print_numbers(char out[NUMBERS_TEXT], const uint32_t *numbers, size_t count);
size_t collector_parse_numbers(const char *text, uint32_t *numbers); /* how many */

#endif
