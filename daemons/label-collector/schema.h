/* schema.h - the database's tables, one step a version, for both engines. Forwards only: a step that was released never
 * changes. */
#ifndef LABEL_COLLECTOR_SCHEMA_H
#define LABEL_COLLECTOR_SCHEMA_H

enum { COLLECTOR_APPLICATION_ID = 0x726C6C62 }; /* "rllb" */

struct collector_migration {
    const char *sqlite, *postgresql;
};

/* Of step 8. */
#define TASK_INDEXES                                                                        \
    "DROP INDEX tasks_open_by_round; DROP INDEX tasks_open;"                                \
    "CREATE INDEX tasks_by_round ON tasks (round, task);"                                   \
    "CREATE INDEX tasks_open ON tasks (task) WHERE missing > 0;"                            \
    "CREATE INDEX tasks_open_by_round ON tasks (round, task) WHERE missing > 0;"            \
    "CREATE INDEX tasks_offered ON tasks (labels, task) WHERE missing > away;"              \
    "CREATE INDEX tasks_offered_by_round ON tasks (round, labels, task) WHERE missing > away;" \
    "CREATE INDEX vendor_tasks_owed ON vendor_tasks (until_us) WHERE owes > 0;"

static const struct collector_migration collector_migrations[] = {
    /* 1 */
    {
        .sqlite =
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
        .postgresql =
            "CREATE TABLE meta (key text PRIMARY KEY, value text);"
            "INSERT INTO meta VALUES ('order_seed', floor(random() * 9007199254740992)::bigint::text);"
            "CREATE TABLE items ("
            " item bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " digest bytea NOT NULL UNIQUE,"
            " prompt text NOT NULL,"
            " completions text NOT NULL"
            ");"
            "CREATE TABLE tasks ("
            " task bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " id text NOT NULL UNIQUE,"
            " item bigint NOT NULL REFERENCES items,"
            " round text NOT NULL,"
            " created_us bigint NOT NULL,"
            " labels bigint NOT NULL DEFAULT 0"
            ");"
            "CREATE INDEX tasks_by_round ON tasks (round, labels, task);"
            "CREATE INDEX tasks_by_labels ON tasks (labels, task);"
            "CREATE TABLE labels ("
            " label bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " source text NOT NULL,"
            " id text NOT NULL,"
            " task bigint REFERENCES tasks,"
            " round text NOT NULL,"
            " labeler text NOT NULL,"
            " sequence bigint NOT NULL,"
            " UNIQUE (source, id)"
            ");"
            "CREATE INDEX labels_by_task ON labels (task, labeler) WHERE task IS NOT NULL;"
            "CREATE TABLE revisions ("
            " sequence bigint PRIMARY KEY,"
            " label bigint NOT NULL REFERENCES labels,"
            " revision bigint NOT NULL,"
            " digest bytea NOT NULL,"
            " item bigint NOT NULL REFERENCES items,"
            " round text NOT NULL,"
            " ranks text NOT NULL,"
            " presented text,"
            " seconds double precision,"
            " strength bigint,"
            " flags text,"
            " note text,"
            " stored_us bigint NOT NULL,"
            " UNIQUE (label, revision)"
            ");"
            "CREATE INDEX revisions_by_round ON revisions (round, sequence);"
            "CREATE TABLE skips ("
            " task bigint NOT NULL REFERENCES tasks,"
            " labeler text NOT NULL,"
            " reason text NOT NULL,"
            " stored_us bigint NOT NULL,"
            " PRIMARY KEY (task, labeler)"
            ");"
            "CREATE TABLE rounds ("
            " round text PRIMARY KEY,"
            " tasks bigint NOT NULL DEFAULT 0,"
            " open bigint NOT NULL DEFAULT 0,"
            " labels bigint NOT NULL DEFAULT 0"
            ");"
            "CREATE TABLE labelers ("
            " labeler text NOT NULL,"
            " round text NOT NULL,"
            " labels bigint NOT NULL DEFAULT 0,"
            " skips bigint NOT NULL DEFAULT 0,"
            " seconds double precision NOT NULL DEFAULT 0,"
            " last_us bigint NOT NULL DEFAULT 0,"
            " PRIMARY KEY (labeler, round)"
            ");"
            /* Shared by all collectors; what a crash loses costs two people judging one task, no more. */
            "CREATE UNLOGGED TABLE reservations ("
            " task bigint NOT NULL,"
            " labeler text NOT NULL,"
            " expires_us bigint NOT NULL,"
            " PRIMARY KEY (task, labeler)"
            ");"
            "CREATE INDEX reservations_by_time ON reservations (expires_us);",
    },
    /* 2: how many completions, without reading them */
    {
        .sqlite = "ALTER TABLE items ADD COLUMN k INTEGER NOT NULL DEFAULT 0;"
                  "UPDATE items SET k = json_array_length(completions);",
        .postgresql = "ALTER TABLE items ADD COLUMN k bigint NOT NULL DEFAULT 0;"
                      "UPDATE items SET k = json_array_length(completions::json);",
    },
    /* 3: kinds of tasks, labels that do not count (any more), gold items, and how far people are believed */
    {
        .sqlite =
            "ALTER TABLE tasks ADD COLUMN kind TEXT NOT NULL DEFAULT 'ranking';"
            "ALTER TABLE tasks ADD COLUMN wanted INTEGER;"                    /* judgements; NULL: labels_per_task */
            "ALTER TABLE tasks ADD COLUMN missing INTEGER NOT NULL DEFAULT 0;" /* of them; 0 for gold items */
            "ALTER TABLE tasks ADD COLUMN gold TEXT;"     /* JSON: the answer that is known, {\"ranks\": [1,2]} */
            "ALTER TABLE tasks ADD COLUMN policies TEXT;" /* JSON: who wrote each completion */
            "DROP INDEX tasks_by_round; DROP INDEX tasks_by_labels;"
            "CREATE INDEX tasks_open_by_round ON tasks (round, labels, task) WHERE missing > 0;"
            "CREATE INDEX tasks_open ON tasks (labels, task) WHERE missing > 0;"
            "CREATE INDEX tasks_gold ON tasks (task) WHERE gold IS NOT NULL;"
            "ALTER TABLE revisions ADD COLUMN ratings TEXT;" /* JSON: one a completion */
            "ALTER TABLE revisions ADD COLUMN answer TEXT;"  /* what a person wrote */
            "ALTER TABLE revisions ADD COLUMN gold INTEGER;" /* 1 as the gold item has it, 0 otherwise */
            "ALTER TABLE revisions ADD COLUMN excluded TEXT;" /* why it does not count; NULL: it does */
            "ALTER TABLE labels ADD COLUMN excluded TEXT;"    /* of the revision that stands */
            "CREATE INDEX labels_by_labeler ON labels (labeler);"
            "CREATE INDEX labels_by_source ON labels (source);"
            "CREATE TABLE standing ("
            " scope TEXT NOT NULL," /* labeler, source */
            " name TEXT NOT NULL,"
            " labels INTEGER NOT NULL DEFAULT 0,"
            " quota INTEGER," /* labels that count at most; NULL: no limit */
            " gold_seen INTEGER NOT NULL DEFAULT 0,"
            " gold_right INTEGER NOT NULL DEFAULT 0,"
            " gold_ratio REAL NOT NULL DEFAULT 0," /* of the running test (agreement/labelers.h) */
            " weight REAL NOT NULL DEFAULT 1,"
            " quarantine TEXT," /* why; NULL: none */
            " PRIMARY KEY (scope, name)"
            ") STRICT, WITHOUT ROWID;"
            "CREATE TABLE audit ("
            " number INTEGER PRIMARY KEY,"
            " at_us INTEGER NOT NULL,"
            " who TEXT NOT NULL,"
            " what TEXT NOT NULL,"
            " of_whom TEXT NOT NULL,"
            " why TEXT NOT NULL"
            ") STRICT;",
        .postgresql =
            "ALTER TABLE tasks ADD COLUMN kind text NOT NULL DEFAULT 'ranking';"
            "ALTER TABLE tasks ADD COLUMN wanted bigint;"
            "ALTER TABLE tasks ADD COLUMN missing bigint NOT NULL DEFAULT 0;"
            "ALTER TABLE tasks ADD COLUMN gold text;"
            "ALTER TABLE tasks ADD COLUMN policies text;"
            "DROP INDEX tasks_by_round; DROP INDEX tasks_by_labels;"
            "CREATE INDEX tasks_open_by_round ON tasks (round, labels, task) WHERE missing > 0;"
            "CREATE INDEX tasks_open ON tasks (labels, task) WHERE missing > 0;"
            "CREATE INDEX tasks_gold ON tasks (task) WHERE gold IS NOT NULL;"
            "ALTER TABLE revisions ADD COLUMN ratings text;"
            "ALTER TABLE revisions ADD COLUMN answer text;"
            "ALTER TABLE revisions ADD COLUMN gold bigint;"
            "ALTER TABLE revisions ADD COLUMN excluded text;"
            "ALTER TABLE labels ADD COLUMN excluded text;"
            "CREATE INDEX labels_by_labeler ON labels (labeler);"
            "CREATE INDEX labels_by_source ON labels (source);"
            "CREATE TABLE standing ("
            " scope text NOT NULL,"
            " name text NOT NULL,"
            " labels bigint NOT NULL DEFAULT 0,"
            " quota bigint,"
            " gold_seen bigint NOT NULL DEFAULT 0,"
            " gold_right bigint NOT NULL DEFAULT 0,"
            " gold_ratio double precision NOT NULL DEFAULT 0,"
            " weight double precision NOT NULL DEFAULT 1,"
            " quarantine text,"
            " PRIMARY KEY (scope, name)"
            ");"
            "CREATE TABLE audit ("
            " number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " at_us bigint NOT NULL,"
            " who text NOT NULL,"
            " what text NOT NULL,"
            " of_whom text NOT NULL,"
            " why text NOT NULL"
            ");",
    },
    /* 4: who may use the API. Of tokens and sessions only hashes are kept. */
    {
        .sqlite = "CREATE TABLE tokens ("
                  " token INTEGER PRIMARY KEY,"
                  " digest BLOB NOT NULL UNIQUE," /* BLAKE2b-256 of the text */
                  " role TEXT NOT NULL,"
                  " name TEXT NOT NULL,"
                  " made_us INTEGER NOT NULL,"
                  " revoked_us INTEGER" /* NULL: it is good */
                  ") STRICT;"
                  "CREATE TABLE sessions ("
                  " digest BLOB PRIMARY KEY,"
                  " token INTEGER NOT NULL REFERENCES tokens,"
                  " expires_us INTEGER NOT NULL"
                  ") STRICT, WITHOUT ROWID;"
                  "CREATE INDEX sessions_by_time ON sessions (expires_us);",
        .postgresql = "CREATE TABLE tokens ("
                      " token bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                      " digest bytea NOT NULL UNIQUE,"
                      " role text NOT NULL,"
                      " name text NOT NULL,"
                      " made_us bigint NOT NULL,"
                      " revoked_us bigint"
                      ");"
                      "CREATE TABLE sessions ("
                      " digest bytea PRIMARY KEY,"
                      " token bigint NOT NULL REFERENCES tokens,"
                      " expires_us bigint NOT NULL"
                      ");"
                      "CREATE INDEX sessions_by_time ON sessions (expires_us);",
    },
    /* 5: what was given to vendors' servers, what is known of them, and callbacks already taken */
    {
        .sqlite =
            "CREATE TABLE vendor_tasks ("
            " vendor TEXT NOT NULL,"
            " task INTEGER NOT NULL REFERENCES tasks,"
            " state TEXT NOT NULL,"     /* queued, sending, sent, refused, gone */
            " remote TEXT,"             /* the vendor's id of it */
            " presented TEXT NOT NULL," /* JSON: the order in which it gets the completions */
            " tried_us INTEGER NOT NULL DEFAULT 0," /* wall clock: last sent */
            " sweep INTEGER NOT NULL DEFAULT 0,"    /* number of the last one that found it there */
            " missed INTEGER NOT NULL DEFAULT 0,"   /* whole sweeps since that did not */
            " hints INTEGER NOT NULL DEFAULT 0,"    /* callbacks since it was fetched */
            " error TEXT,"
            " PRIMARY KEY (vendor, task)"
            ") STRICT, WITHOUT ROWID;"
            "CREATE INDEX vendor_tasks_by_state ON vendor_tasks (vendor, state, task);"
            "CREATE INDEX vendor_tasks_by_remote ON vendor_tasks (vendor, remote) WHERE remote IS NOT NULL;"
            "CREATE INDEX vendor_tasks_by_task ON vendor_tasks (task);"
            "CREATE INDEX vendor_tasks_hinted ON vendor_tasks (vendor, task) WHERE hints > 0;"
            "CREATE TABLE vendors ("
            " vendor TEXT PRIMARY KEY,"
            " memory TEXT NOT NULL," /* JSON: project, webhook, cursors */
            " owner TEXT"            /* the collector that dealt with it last */
            ") STRICT, WITHOUT ROWID;"
            "CREATE TABLE callbacks ("
            " vendor TEXT NOT NULL,"
            " id TEXT NOT NULL,"
            " at_us INTEGER NOT NULL,"
            " PRIMARY KEY (vendor, id)"
            ") STRICT, WITHOUT ROWID;"
            "CREATE INDEX callbacks_by_time ON callbacks (at_us);",
        .postgresql =
            "CREATE TABLE vendor_tasks ("
            " vendor text NOT NULL,"
            " task bigint NOT NULL REFERENCES tasks,"
            " state text NOT NULL,"
            " remote text,"
            " presented text NOT NULL,"
            " tried_us bigint NOT NULL DEFAULT 0,"
            " sweep bigint NOT NULL DEFAULT 0,"
            " missed bigint NOT NULL DEFAULT 0,"
            " hints bigint NOT NULL DEFAULT 0,"
            " error text,"
            " PRIMARY KEY (vendor, task)"
            ");"
            "CREATE INDEX vendor_tasks_by_state ON vendor_tasks (vendor, state, task);"
            "CREATE INDEX vendor_tasks_by_remote ON vendor_tasks (vendor, remote) WHERE remote IS NOT NULL;"
            "CREATE INDEX vendor_tasks_by_task ON vendor_tasks (task);"
            "CREATE INDEX vendor_tasks_hinted ON vendor_tasks (vendor, task) WHERE hints > 0;"
            "CREATE TABLE vendors ("
            " vendor text PRIMARY KEY,"
            " memory text NOT NULL,"
            " owner text"
            ");"
            "CREATE TABLE callbacks ("
            " vendor text NOT NULL,"
            " id text NOT NULL,"
            " at_us bigint NOT NULL,"
            " PRIMARY KEY (vendor, id)"
            ");"
            "CREATE INDEX callbacks_by_time ON callbacks (at_us);",
    },
    /* 6: answers to writes under an Idempotency-Key */
    {
        .sqlite = "CREATE TABLE replies ("
                  " scope TEXT NOT NULL," /* whose key it is: role:name */
                  " key TEXT NOT NULL,"
                  " request BLOB NOT NULL," /* its digest */
                  " status INTEGER NOT NULL,"
                  " body TEXT NOT NULL,"
                  " at_us INTEGER NOT NULL,"
                  " PRIMARY KEY (scope, key)"
                  ") STRICT, WITHOUT ROWID;"
                  "CREATE INDEX replies_by_time ON replies (at_us);",
        .postgresql = "CREATE TABLE replies ("
                      " scope text NOT NULL,"
                      " key text NOT NULL,"
                      " request bytea NOT NULL,"
                      " status bigint NOT NULL,"
                      " body text NOT NULL,"
                      " at_us bigint NOT NULL,"
                      " PRIMARY KEY (scope, key)"
                      ");"
                      "CREATE INDEX replies_by_time ON replies (at_us);",
    },
    /* 7: weights that the owner set are not measured over */
    {
        .sqlite = "ALTER TABLE standing ADD COLUMN by_hand INTEGER NOT NULL DEFAULT 0;",
        .postgresql = "ALTER TABLE standing ADD COLUMN by_hand bigint NOT NULL DEFAULT 0;",
    },
    /* 8: judgements of a task that vendors owe, whose people have it before them; until_us: it is kept from others no longer.
       And the tasks of a rare round, and the few that are open, without a look at all the others. */
    {
        .sqlite = "ALTER TABLE tasks ADD COLUMN away INTEGER NOT NULL DEFAULT 0;"
                  "ALTER TABLE vendor_tasks ADD COLUMN owes INTEGER NOT NULL DEFAULT 0;"
                  "ALTER TABLE vendor_tasks ADD COLUMN until_us INTEGER NOT NULL DEFAULT 0;" TASK_INDEXES,
        .postgresql = "ALTER TABLE tasks ADD COLUMN away bigint NOT NULL DEFAULT 0;"
                      "ALTER TABLE vendor_tasks ADD COLUMN owes bigint NOT NULL DEFAULT 0;"
                      "ALTER TABLE vendor_tasks ADD COLUMN until_us bigint NOT NULL DEFAULT 0;" TASK_INDEXES,
    },
    /* 9: the labels of a source are found by the index behind UNIQUE (source, id), too */
    {
        .sqlite = "DROP INDEX labels_by_source;",
        .postgresql = "DROP INDEX labels_by_source;",
    },
};

enum { COLLECTOR_SCHEMA = sizeof(collector_migrations) / sizeof(collector_migrations[0]) };

/* SQLite's reservations live in memory, as long as the connection. */
static const char collector_temporary[] =
    "CREATE TEMP TABLE reservations ("
    " task INTEGER NOT NULL,"
    " labeler TEXT NOT NULL,"
    " expires_us INTEGER NOT NULL,"
    " PRIMARY KEY (task, labeler)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX temp.reservations_by_time ON reservations (expires_us);";

#endif
