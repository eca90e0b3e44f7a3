/* schema.h - the database's tables, one step a version. Forwards only: a step that was released never
 * changes. */
#ifndef LABEL_COLLECTOR_SCHEMA_H
#define LABEL_COLLECTOR_SCHEMA_H

enum { COLLECTOR_APPLICATION_ID = 0x726C6C62 }; /* "rllb" */

static const char *const collector_migrations[] = {
    /* 1 */
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "INSERT INTO meta VALUES ('order_seed', random());" /* of presentation orders */
    /* A prompt and its completions, once for everything that refers to them. */
    "CREATE TABLE items ("
    " item INTEGER PRIMARY KEY,"
    " digest BLOB NOT NULL UNIQUE," /* BLAKE2b-256 */
    " prompt TEXT NOT NULL,"
    " completions TEXT NOT NULL" /* JSON array of K strings */
    ") STRICT;"
    "CREATE TABLE tasks ("
    " task INTEGER PRIMARY KEY,"
    " id TEXT NOT NULL UNIQUE,"
    " item INTEGER NOT NULL REFERENCES items,"
    " round TEXT NOT NULL,"
    " created_us INTEGER NOT NULL,"
    " labels INTEGER NOT NULL DEFAULT 0"
    ") STRICT;"
    "CREATE INDEX tasks_by_round ON tasks (round, labels, task);"
    "CREATE INDEX tasks_by_labels ON tasks (labels, task);"
    /* The identity of a label. What it says is in its revisions. */
    "CREATE TABLE labels ("
    " label INTEGER PRIMARY KEY,"
    " source TEXT NOT NULL,"
    " id TEXT NOT NULL,"
    " task INTEGER REFERENCES tasks," /* NULL: free-standing */
    " round TEXT NOT NULL,"
    " labeler TEXT NOT NULL,"
    " sequence INTEGER NOT NULL," /* of the revision that stands */
    " UNIQUE (source, id)"
    ") STRICT;"
    "CREATE INDEX labels_by_task ON labels (task, labeler) WHERE task IS NOT NULL;"
    "CREATE TABLE revisions ("
    " sequence INTEGER PRIMARY KEY," /* 1, 2, 3 ... without gaps: rows are never deleted */
    " label INTEGER NOT NULL REFERENCES labels,"
    " revision INTEGER NOT NULL," /* 1 at first */
    " digest BLOB NOT NULL,"      /* of the judgement: tells a retry from a revision */
    " item INTEGER NOT NULL REFERENCES items,"
    " round TEXT NOT NULL,"
    " ranks TEXT NOT NULL," /* JSON: [1,2] */
    " presented TEXT,"      /* JSON: [1,0] */
    " seconds REAL,"
    " strength INTEGER,"
    " flags TEXT," /* JSON object or list */
    " note TEXT,"
    " stored_us INTEGER NOT NULL,"
    " UNIQUE (label, revision)"
    ") STRICT;"
    "CREATE INDEX revisions_by_round ON revisions (round, sequence);"
    "CREATE TABLE skips ("
    " task INTEGER NOT NULL REFERENCES tasks,"
    " labeler TEXT NOT NULL,"
    " reason TEXT NOT NULL,"
    " stored_us INTEGER NOT NULL,"
    " PRIMARY KEY (task, labeler)"
    ") STRICT, WITHOUT ROWID;"
    /* Counters, kept in the same transactions, so that a million labels are counted at once. */
    "CREATE TABLE rounds ("
    " round TEXT PRIMARY KEY,"
    " tasks INTEGER NOT NULL DEFAULT 0,"
    " open INTEGER NOT NULL DEFAULT 0,"
    " labels INTEGER NOT NULL DEFAULT 0"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE labelers ("
    " labeler TEXT NOT NULL,"
    " round TEXT NOT NULL,"
    " labels INTEGER NOT NULL DEFAULT 0,"
    " skips INTEGER NOT NULL DEFAULT 0,"
    " seconds REAL NOT NULL DEFAULT 0,"
    " last_us INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY (labeler, round)"
    ") STRICT, WITHOUT ROWID;",
};

enum { COLLECTOR_SCHEMA = sizeof(collector_migrations) / sizeof(collector_migrations[0]) };

/* Lives in memory, as long as the connection. */
static const char collector_temporary[] =
    "CREATE TEMP TABLE reservations ("
    " task INTEGER NOT NULL,"
    " labeler TEXT NOT NULL,"
    " expires_us INTEGER NOT NULL," /* monotonic */
    " PRIMARY KEY (task, labeler)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX temp.reservations_by_time ON reservations (expires_us);";

#endif
