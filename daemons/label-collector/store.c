#include "store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/random.h"

#define OFFERED                                                                                              \
    "SELECT t.task, t.id, t.round, i.prompt, i.completions, t.kind FROM tasks t JOIN items i ON i.item = "   \
    "t.item"
#define NOT_JUDGED                                                                                           \
    " AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.task = t.task AND l.labeler = ?2"                       \
    " AND coalesce(l.excluded, '') <> 'undone')"                                                             \
    " AND NOT EXISTS (SELECT 1 FROM skips k WHERE k.task = t.task AND k.labeler = ?2)"
#define NEXT_TASKS(where)                                                                                    \
    OFFERED " WHERE " where " AND t.missing > t.away"                                                        \
            " AND (SELECT count(*) FROM reservations r WHERE r.task = t.task AND r.labeler <> ?2) < "        \
            "t.missing - t.away" NOT_JUDGED " ORDER BY t.labels, t.task LIMIT ?3"
/* Each has an index of its own: however few of a million tasks it chooses, it is quick. */
#define TASKS_WHERE(chosen)                                                                                  \
    "SELECT task, id, round, kind, labels, missing, created_us,"                                             \
    " CAST(CASE WHEN gold IS NULL THEN 0 ELSE 1 END AS bigint) FROM tasks"                                   \
    " WHERE task > ?1 AND " chosen " ORDER BY task LIMIT ?3"
/* Gold items are for everybody; those that nobody of this name has seen, as they came. */
#define GOLD_TASKS(where)                                                                                    \
    OFFERED " WHERE " where " AND t.gold IS NOT NULL" NOT_JUDGED " ORDER BY t.task LIMIT ?3"
#define LIST_ROWS(where)                                                                                     \
    "SELECT r.sequence, r.revision, r.stored_us, l.id, l.source, l.labeler, t.id, r.round, i.prompt,"        \
    " i.completions, r.ranks, r.presented, r.seconds, r.strength, r.flags, r.note, r.ratings, r.answer,"     \
    " r.excluded, r.gold, t.kind, t.policies, coalesce(s.weight, 1)"                                         \
    " FROM revisions r JOIN labels l ON l.label = r.label JOIN items i ON i.item = r.item"                   \
    " LEFT JOIN tasks t ON t.task = l.task"                                                                  \
    " LEFT JOIN standing s ON s.scope = 'labeler' AND s.name = l.labeler"                                    \
    " WHERE r.sequence > ?2 AND r.sequence <= ?3" where " ORDER BY r.sequence LIMIT ?4"
/* One label, all of a labeler's, or all of a source's; what is NULL chooses none. */
#define CHOSEN                                                                                               \
    "(SELECT label FROM labels WHERE label = ?1 UNION SELECT label FROM labels WHERE labeler = ?2"           \
    " UNION SELECT label FROM labels WHERE source = ?3)"

/* For a vendor: like those that people are offered, but never again. */
#define CHOOSE_TASKS(where)                                                                                  \
    "SELECT t.task, t.id, i.k, t.missing - t.away FROM tasks t JOIN items i ON i.item = t.item"              \
    " WHERE " where " AND t.missing > t.away AND t.kind = 'ranking' AND i.k >= ?3 AND i.k <= ?4"             \
    " AND (SELECT count(*) FROM reservations r WHERE r.task = t.task) < t.missing - t.away"                  \
    " AND NOT EXISTS (SELECT 1 FROM vendor_tasks v WHERE v.vendor = ?1 AND v.task = t.task)"                 \
    " ORDER BY t.labels, t.task LIMIT ?5"
#define STANDING_COLUMNS                                                                                     \
    "SELECT scope, name, labels, quota, gold_seen, gold_right, gold_ratio, weight, quarantine, by_hand FROM standing"

static const char *const sql[STATEMENTS] = {
    [FIND_ITEM] = "SELECT item FROM items WHERE digest = ?1",
    [ADD_ITEM] = "INSERT INTO items (digest, prompt, completions, k) VALUES (?1, ?2, ?3, ?4)"
                 " ON CONFLICT (digest) DO NOTHING RETURNING item",
    [FIND_TASK] = "SELECT t.task, t.item, t.round, t.missing, i.digest, i.k, t.kind, t.gold"
                  " FROM tasks t JOIN items i ON i.item = t.item WHERE t.id = ?1",
    [ADD_TASK] = "INSERT INTO tasks (id, item, round, created_us, kind, wanted, missing, gold, policies)"
                 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [COUNT_TASK] = "INSERT INTO rounds (round, tasks, open) VALUES (?1, 1, ?2)"
                   " ON CONFLICT (round) DO UPDATE SET tasks = rounds.tasks + 1, open = rounds.open + ?2",
    [FIND_LABEL] = "SELECT l.label, t.id, l.round, l.labeler, r.revision, r.digest, r.sequence, l.excluded"
                   " FROM labels l JOIN revisions r ON r.sequence = l.sequence"
                   " LEFT JOIN tasks t ON t.task = l.task WHERE l.source = ?1 AND l.id = ?2",
    [FIND_REVISION] = "SELECT digest FROM revisions WHERE label = ?1 AND revision = ?2",
    [NEXT_SEQUENCE] = "SELECT coalesce(max(sequence), 0) + 1 FROM revisions",
    [ADD_LABEL] = "INSERT INTO labels (source, id, task, round, labeler, sequence, excluded)"
                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING label",
    [MOVE_LABEL] = "UPDATE labels SET sequence = ?2, excluded = ?3 WHERE label = ?1",
    [ADD_REVISION] =
        "INSERT INTO revisions (sequence, label, revision, digest, item, round, ranks, presented,"
        " seconds, strength, flags, note, stored_us, ratings, answer, gold, excluded)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    [LABEL_TASK] = "UPDATE tasks SET labels = labels + 1,"
                   " missing = CASE WHEN missing > 0 THEN missing - 1 ELSE 0 END WHERE task = ?1",
    [COUNT_LABEL] = "INSERT INTO rounds (round, labels) VALUES (?1, ?2)"
                    " ON CONFLICT (round) DO UPDATE SET labels = rounds.labels + ?2, open = rounds.open - ?3",
    [COUNT_LABELER] = "INSERT INTO labelers (labeler, round, labels, skips, seconds, last_us)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (labeler, round) DO UPDATE SET"
                      " labels = labelers.labels + ?3, skips = labelers.skips + ?4,"
                      " seconds = labelers.seconds + ?5, last_us = ?6",
    [HAS_JUDGED] = "SELECT 1 FROM labels WHERE task = ?1 AND labeler = ?2"
                   " AND coalesce(excluded, '') <> 'undone'",
    [FIND_SKIP] = "SELECT 1 FROM skips WHERE task = ?1 AND labeler = ?2",
    [ADD_SKIP] = "INSERT INTO skips (task, labeler, reason, stored_us) VALUES (?1, ?2, ?3, ?4)",
    [DROP_SKIP] = "DELETE FROM skips WHERE task = ?1 AND labeler = ?2",
    [EXPIRE] = "DELETE FROM reservations WHERE expires_us <= ?1",
    [RESERVE] = "INSERT INTO reservations (task, labeler, expires_us) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (task, labeler) DO UPDATE SET expires_us = excluded.expires_us",
    [RESERVED] = "SELECT 1 FROM reservations WHERE task = ?1 AND labeler = ?2",
    [RELEASE] = "DELETE FROM reservations WHERE task = ?1 AND labeler = ?2",
    [NEXT_IN_ROUND] = NEXT_TASKS("t.round = ?1"),
    [NEXT_ANY] = NEXT_TASKS("?1 = ''"),
    [GOLD_IN_ROUND] = GOLD_TASKS("t.round = ?1"),
    [GOLD_ANY] = GOLD_TASKS("?1 = ''"),
    [LIST_IN_ROUND] = LIST_ROWS(" AND r.round = ?1"),
    [LIST_ANY] = LIST_ROWS(" AND ?1 = ''"),
    [LATEST_IN_ROUND] = LIST_ROWS(" AND r.round = ?1 AND l.sequence = r.sequence"),
    [LATEST_ANY] = LIST_ROWS(" AND ?1 = '' AND l.sequence = r.sequence"),
    [JUDGED] = "SELECT l.task, l.labeler, r.ranks, r.presented FROM revisions r JOIN labels l ON l.label = r.label"
               " WHERE r.sequence > ?2 AND (?1 = '' OR r.round = ?1) AND l.sequence = r.sequence AND r.excluded IS NULL"
               " AND l.task IS NOT NULL ORDER BY r.sequence",
    [COUNT_ROUND] = "SELECT tasks, open, labels FROM rounds WHERE round = ?1",
    [COUNT_ALL] = "SELECT CAST(coalesce(sum(tasks), 0) AS bigint), CAST(coalesce(sum(open), 0) AS bigint), "
                  "CAST(coalesce(sum(labels), 0) AS bigint) FROM rounds",
    [COUNT_STORE] = "SELECT (SELECT coalesce(max(sequence), 0) FROM revisions),"
                    " (SELECT CAST(coalesce(sum(skips), 0) AS bigint) FROM labelers)",
    [ROUNDS] = "SELECT round, tasks, open, labels FROM rounds WHERE round > ?1 OR ?1 IS NULL ORDER BY round LIMIT ?2",
    [LABELERS] = "SELECT l.labeler, CAST(sum(l.labels) AS bigint), CAST(sum(l.skips) AS bigint), sum(l.seconds),"
                 " max(l.last_us), coalesce(max(s.weight), 1) FROM labelers l"
                 " LEFT JOIN standing s ON s.scope = 'labeler' AND s.name = l.labeler"
                 " WHERE (l.labeler > ?2 OR ?2 IS NULL) AND (?1 = '' OR l.round = ?1)"
                 " GROUP BY l.labeler ORDER BY l.labeler LIMIT ?3",
    [MINE] = "SELECT CAST(coalesce(sum(labels), 0) AS bigint) FROM labelers WHERE labeler = ?1 AND (?2 = '' "
             "OR round = ?2)",
    [STANDING] = "SELECT quarantine, quota, labels FROM standing WHERE scope = ?1 AND name = ?2",
    [COUNT_STANDING] = "INSERT INTO standing (scope, name, labels) VALUES (?1, ?2, ?3)"
                       " ON CONFLICT (scope, name) DO UPDATE SET labels = standing.labels + ?3",
    [SET_STANDING] =
        "INSERT INTO standing (scope, name, quarantine, quota, weight, by_hand) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT (scope, name) DO UPDATE SET quarantine = excluded.quarantine,"
        " quota = excluded.quota, weight = excluded.weight, by_hand = excluded.by_hand",
    [GOLD_STANDING] =
        "UPDATE standing SET gold_seen = gold_seen + 1, gold_right = gold_right + ?3, gold_ratio = ?4"
        " WHERE scope = ?1 AND name = ?2",
    [ADD_AUDIT] = "INSERT INTO audit (at_us, who, what, of_whom, why) VALUES (?1, ?2, ?3, ?4, ?5)",
    /* Each chosen label that counts (or no longer does) gets one more revision that says the same and changes
       that. */
    [EXCLUDE_REVISIONS] =
        "INSERT INTO revisions (sequence, label, revision, digest, item, round, ranks, presented, seconds,"
        " strength, flags, note, stored_us, ratings, answer, gold, excluded)"
        " SELECT ?5 + row_number() OVER (ORDER BY r.sequence), r.label, r.revision + 1, r.digest, r.item, "
        "r.round,"
        " r.ranks, r.presented, r.seconds, r.strength, r.flags, r.note, ?6, r.ratings, r.answer, r.gold,"
        " CASE WHEN ?7 = '' THEN NULL ELSE ?7 END"
        " FROM labels l JOIN revisions r ON r.sequence = l.sequence"
        " WHERE l.label IN " CHOSEN " AND coalesce(l.excluded, '') = ?4",
    [UNCOUNT_ROUNDS] =
        "UPDATE rounds SET labels = labels + ?5 * (SELECT count(*) FROM labels l WHERE l.label IN " CHOSEN
        " AND l.round = rounds.round AND coalesce(l.excluded, '') = ?4)"
        " WHERE round IN (SELECT round FROM labels WHERE label IN " CHOSEN ")",
    [EXCLUDE_LABELS] = "UPDATE labels SET excluded = CASE WHEN ?5 = '' THEN NULL ELSE ?5 END, sequence ="
                       " (SELECT max(r.sequence) FROM revisions r WHERE r.label = labels.label)"
                       " WHERE label IN " CHOSEN " AND coalesce(excluded, '') = ?4",
    [RECOUNT_TASKS] =
        "UPDATE tasks SET labels = n.n, missing = CASE WHEN tasks.gold IS NOT NULL OR n.n >= "
        "coalesce(tasks.wanted, ?4)"
        " THEN 0 ELSE coalesce(tasks.wanted, ?4) - n.n END"
        " FROM (SELECT l.task AS task, count(*) FILTER (WHERE l.excluded IS NULL) AS n FROM labels l"
        " WHERE l.task IN (SELECT c.task FROM labels c WHERE c.label IN " CHOSEN ") GROUP BY l.task) AS n"
        " WHERE n.task = tasks.task",
    [RECOUNT_OPEN] = "UPDATE rounds SET open = (SELECT count(*) FROM tasks t WHERE t.round = rounds.round "
                     "AND t.missing > 0)"
                     " WHERE round IN (SELECT round FROM labels WHERE label IN " CHOSEN ")",
    [FIND_LABEL_NUMBER] = "SELECT label FROM labels WHERE source = ?1 AND id = ?2 AND labeler = coalesce(?3, labeler)",
    [PERSON] = STANDING_COLUMNS " WHERE scope = ?1 AND name = ?2",
    [PEOPLE] = STANDING_COLUMNS " WHERE scope = ?1 AND (name > ?2 OR ?2 IS NULL) ORDER BY name LIMIT ?3",
    [ADD_TOKEN] = "INSERT INTO tokens (digest, role, name, made_us) VALUES (?1, ?2, ?3, ?4) RETURNING token",
    [REVOKE_TOKEN] = "UPDATE tokens SET revoked_us = ?2 WHERE token = ?1 AND revoked_us IS NULL",
    [LIST_TOKENS] = "SELECT token, role, name, made_us, revoked_us FROM tokens WHERE token > ?1 ORDER BY token LIMIT ?2",
    [FIND_TOKEN] = "SELECT token, role, name, made_us, revoked_us, digest FROM tokens WHERE digest = ?1",
    [COUNT_TOKENS] = "SELECT CAST(count(*) AS bigint) FROM (SELECT 1 FROM tokens LIMIT 1) AS any_token",
    [ADD_SESSION] = "INSERT INTO sessions (digest, token, expires_us) VALUES (?1, ?2, ?3)",
    [FIND_SESSION] = "SELECT t.token, t.role, t.name, t.made_us, t.revoked_us, s.digest FROM sessions s"
                     " JOIN tokens t ON t.token = s.token WHERE s.digest = ?1 AND s.expires_us > ?2",
    [END_SESSION] = "DELETE FROM sessions WHERE digest = ?1",
    [LIST_TASKS] = TASKS_WHERE("?2 = ''"),
    [LIST_TASKS_IN_ROUND] = TASKS_WHERE("round = ?2"),
    [LIST_OPEN] = TASKS_WHERE("?2 = '' AND missing > 0"),
    [LIST_OPEN_IN_ROUND] = TASKS_WHERE("round = ?2 AND missing > 0"),
    [LIST_DEEDS] = "SELECT number, at_us, who, what, of_whom, why FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
    [LAST_LABEL] = "SELECT coalesce(max(label), 0) FROM labels",
    [LABEL_TIME] = "SELECT l.label, r.stored_us FROM labels l JOIN revisions r ON r.label = l.label AND r.revision = 1"
                   " WHERE l.label >= ?1 ORDER BY l.label LIMIT 1",
    [FIND_REPLY] = "SELECT request, status, body FROM replies WHERE scope = ?1 AND key = ?2",
    [ADD_REPLY] = "INSERT INTO replies (scope, key, request, status, body, at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [EXPIRE_REPLIES] = "DELETE FROM replies WHERE at_us < ?1",
    [EXPIRE_SESSIONS] = "DELETE FROM sessions WHERE expires_us <= ?1",
    [VENDOR_MEMORY] = "SELECT memory FROM vendors WHERE vendor = ?1",
    [KEEP_VENDOR_MEMORY] = "INSERT INTO vendors (vendor, memory) VALUES (?1, ?2)"
                           " ON CONFLICT (vendor) DO UPDATE SET memory = excluded.memory",
    [HOLD_VENDOR] = "INSERT INTO vendors (vendor, memory, owner) VALUES (?1, '{}', ?2)"
                    " ON CONFLICT (vendor) DO UPDATE SET owner = excluded.owner"
                    " WHERE coalesce(vendors.owner, '') <> excluded.owner",
    [CHOOSE_IN_ROUND] = CHOOSE_TASKS("t.round = ?2"),
    [CHOOSE_ANY] = CHOOSE_TASKS("?2 = ''"),
    [GIVE] = "INSERT INTO vendor_tasks (vendor, task, state, presented, owes, until_us)"
             " VALUES (?1, ?2, 'queued', ?3, ?4, ?5)",
    [HOLD_TASK] = "UPDATE tasks SET away = away + ?2 WHERE task = ?1",
    [PAY_GIVEN] = "UPDATE vendor_tasks SET owes = owes - 1 WHERE vendor = ?1 AND owes > 0"
                  " AND task = (SELECT task FROM tasks WHERE id = ?2) RETURNING task",
    [FREE_TASK] = "UPDATE tasks SET away = away - (SELECT v.owes FROM vendor_tasks v"
                  " WHERE v.vendor = ?1 AND v.task = tasks.task)"
                  " WHERE id = ?2 AND EXISTS (SELECT 1 FROM vendor_tasks v WHERE v.vendor = ?1 AND v.task = tasks.task)",
    [FREE_GIVEN] = "UPDATE vendor_tasks SET owes = 0"
                   " WHERE vendor = ?1 AND owes > 0 AND task = (SELECT task FROM tasks WHERE id = ?2)",
    [LIST_OVERDUE] = "SELECT v.vendor, t.id FROM vendor_tasks v JOIN tasks t ON t.task = v.task"
                     " WHERE v.owes > 0 AND v.until_us <= ?1 ORDER BY v.until_us LIMIT ?2",
    [LIST_QUEUED] = "SELECT t.id, i.prompt, i.completions, v.presented FROM vendor_tasks v"
                    " JOIN tasks t ON t.task = v.task JOIN items i ON i.item = t.item"
                    " WHERE v.vendor = ?1 AND v.state = 'queued' ORDER BY v.task LIMIT ?2",
    [MOVE_GIVEN] = "UPDATE vendor_tasks SET state = ?3, remote = coalesce(?4, remote), error = ?5,"
                   " tried_us = CASE WHEN ?3 = 'sending' THEN ?6 ELSE tried_us END, missed = 0"
                   " WHERE vendor = ?1 AND task = (SELECT task FROM tasks WHERE id = ?2)",
    [GIVEN_ORDER] = "SELECT v.presented, v.vendor FROM vendor_tasks v JOIN tasks t ON t.task = v.task WHERE t.id = ?1",
    [GIVEN_REMOTE] = "SELECT t.id FROM vendor_tasks v JOIN tasks t ON t.task = v.task"
                     " WHERE v.vendor = ?1 AND v.remote = ?2",
    [SAW_GIVEN] = "UPDATE vendor_tasks SET state = 'sent', remote = ?3, sweep = ?4, missed = 0, error = NULL"
                  " WHERE vendor = ?1 AND task = (SELECT task FROM tasks WHERE id = ?2)",
    [MISS_GIVEN] = "UPDATE vendor_tasks SET missed = missed + 1 WHERE vendor = ?1 AND state IN ('sending', 'sent')"
                   " AND sweep <> ?2 AND tried_us <= ?3",
    [REQUEUE_GIVEN] = "UPDATE vendor_tasks SET state = 'queued', missed = 0"
                      " WHERE vendor = ?1 AND state = 'sending' AND missed >= ?2",
    [LIST_GONE] = "SELECT t.id FROM vendor_tasks v JOIN tasks t ON t.task = v.task"
                  " WHERE v.vendor = ?1 AND v.state = 'sent' AND v.missed >= ?2",
    [UNSETTLED] = "SELECT count(*), coalesce(max(tried_us), 0) FROM vendor_tasks WHERE vendor = ?1 AND state = 'sending'",
    [HINT] = "UPDATE vendor_tasks SET hints = hints + 1 WHERE vendor = ?1 AND remote = ?2",
    [LIST_HINTED] = "SELECT remote, hints FROM vendor_tasks WHERE vendor = ?1 AND hints > 0 AND remote IS NOT NULL"
                    " ORDER BY task LIMIT 1",
    [DROP_HINTS] = "UPDATE vendor_tasks SET hints = hints - ?3 WHERE vendor = ?1 AND remote = ?2 AND hints >= ?3",
    [GIVEN_STATES] = "SELECT state, count(*), max(error), CAST(coalesce(sum(owes), 0) AS bigint) FROM vendor_tasks"
                     " WHERE vendor = ?1 GROUP BY state ORDER BY state",
    [ADD_CALLBACK] = "INSERT INTO callbacks (vendor, id, at_us) VALUES (?1, ?2, ?3) ON CONFLICT (vendor, id) DO NOTHING",
    [EXPIRE_CALLBACKS] = "DELETE FROM callbacks WHERE at_us < ?1",
    [LABELS_OF_TASK] = "SELECT l.id FROM labels l JOIN tasks t ON t.task = l.task"
                       " JOIN revisions r ON r.sequence = l.sequence WHERE l.source = ?1 AND t.id = ?2"
                       " AND r.stored_us < ?3 AND coalesce(l.excluded, '') <> 'deleted'",
    [POLICIES_OF_TASK] = "SELECT t.policies, i.k FROM tasks t JOIN items i ON i.item = t.item WHERE t.id = ?1",
    [TASK_OF_LABEL] = "SELECT v.remote FROM labels l JOIN vendor_tasks v ON v.vendor = l.source AND v.task = l.task"
                      " WHERE l.source = ?1 AND l.id = ?2 AND v.remote IS NOT NULL",
};

/* ---- opening ----------------------------------------------------------------------------------- */

/* How many judgements tasks wait for that do not say it themselves may have been configured anew. */
static int recount_missing(struct collector_store *s, struct rlhf_error *err)
{
    int64_t before;
    char text[768];

    if (collector_database_ask(s->db, "SELECT value FROM meta WHERE key = 'labels_per_task'", &before, err) <
        0)
        return -1;
    if (s->labels_per_task == 0)
        s->labels_per_task = before > 0 ? (uint32_t)before : 1;
    if (before == s->labels_per_task)
        return 0;
    snprintf(text, sizeof(text),
             "UPDATE tasks SET missing = CASE WHEN labels < %u THEN %u - labels ELSE 0 END"
             " WHERE wanted IS NULL AND gold IS NULL;"
             "UPDATE rounds SET open = (SELECT count(*) FROM tasks t WHERE t.round = rounds.round AND "
             "t.missing > 0);"
             "INSERT INTO meta VALUES ('labels_per_task', '%u')"
             " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
             s->labels_per_task, s->labels_per_task, s->labels_per_task);
    if (collector_database_begin(s->db, err) < 0)
        return -1;
    if (collector_database_exec(s->db, text, err) == 0)
        return collector_database_commit(s->db, err);
    collector_database_rollback(s->db);
    return -1;
}

struct collector_store *collector_store_open(const struct collector_store_config *c,
                                             const struct rlhf_clock *clock, struct rlhf_error *err)
{
    struct collector_store *s = calloc(1, sizeof(*s));
    int64_t seed;

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    s->clock = clock;
    s->labels_per_task = c->labels_per_task;
    s->reservation_us = c->reservation_us;
    s->gold_share = c->gold_share;
    s->auto_quarantine = c->auto_quarantine;
    if (!(s->tally = collector_tally_new(sql))) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        collector_store_close(s);
        return NULL;
    }
    s->db = collector_database_open(
        &(struct collector_database_config){
            .where = c->database, .vfs = c->vfs, .sql = sql, .statements = STATEMENTS},
        err);
    if (!s->db || recount_missing(s, err) < 0 ||
        collector_database_ask(s->db, "SELECT value FROM meta WHERE key = 'order_seed'", &seed, err) < 0
        || collector_database_ready(s->db, err) < 0) {
        collector_store_close(s);
        return NULL;
    }
    s->order_seed = (uint64_t)seed;
    return s;
}

void collector_store_close(struct collector_store *s)
{
    if (!s)
        return;
    collector_database_close(s->db);
    collector_tally_free(s->tally);
    free(s);
}

/* ---- transactions ------------------------------------------------------------------------------ */

/* What is known of the transaction, or of its undone part, holds no longer. */
static void forget(struct collector_store *s)
{
    collector_tally_drop(s->tally);
    s->sequence = 0;
}

int collector_store_begin(struct collector_store *s, struct rlhf_error *err)
{
    forget(s);
    return collector_database_begin(s->db, err);
}

int collector_store_commit(struct collector_store *s, struct rlhf_error *err)
{
    if (collector_tally_write(s, err) < 0) {
        collector_store_rollback(s);
        return -1;
    }
    forget(s);
    return collector_database_commit(s->db, err);
}

void collector_store_rollback(struct collector_store *s)
{
    forget(s);
    collector_database_rollback(s->db);
}

uint64_t collector_store_changes(const struct collector_store *s)
{
    return collector_database_changes(s->db) + collector_tally_changes(s->tally);
}

int collector_store_mark(struct collector_store *s, struct rlhf_error *err)
{
    return collector_tally_write(s, err) < 0 ? -1 : collector_database_mark(s->db, err);
}

int collector_store_unmark(struct collector_store *s, bool keep, struct rlhf_error *err)
{
    if (!keep)
        forget(s);
    return collector_database_unmark(s->db, keep, err);
}

/* ---- shared by the files of the store --------------------------------------------------------- */

int collector_one_number(struct collector_store *s, struct collector_rows *st, int64_t *id,
                         struct rlhf_error *err)
{
    int rc = collector_rows_next(st, err);

    *id = 0;
    if (rc <= 0)
        return rc < 0 ? -1 : collector_database_damaged(s->db, err);
    *id = collector_rows_integer(st, 0);
    collector_rows_done(st);
    return 0;
}

void collector_presentation_order(const struct collector_store *s, const char *task, const char *labeler,
                                  size_t count, uint8_t *order)
{
    char key[2 * COLLECTOR_MAX_NAME + 2];
    uint32_t words[2], items[COLLECTOR_MAX_COMPLETIONS];
    struct rlhf_random random;

    int size = snprintf(key, sizeof(key), "%s\n%s", task, labeler);
    struct rlhf_digest digest = rlhf_digest_of(key, (size_t)size);
    memcpy(words, digest.bytes, sizeof(words));
    rlhf_random_init(&random, s->order_seed, RLHF_PURPOSE_COLLECT, words[0], words[1]);
    for (uint32_t i = 0; i < count; ++i)
        items[i] = i;
    rlhf_random_shuffle(&random, items, count);
    for (size_t i = 0; i < count; ++i)
        order[i] = (uint8_t)items[i];
}

int64_t collector_reservation_clock(const struct collector_store *s)
{
    return collector_database_shared(s->db) ? s->clock->wall_us(s->clock) : rlhf_now(s->clock);
}

/* ---- columns that hold JSON ---------------------------------------------------------------------- */

json_t *collector_parse_strings(struct collector_content *c, const char *text)
{
    json_t *list = text ? json_loads(text, 0, NULL) : NULL;

    c->count = json_array_size(list);
    bool good = json_is_array(list) && c->count <= COLLECTOR_MAX_COMPLETIONS;
    for (size_t i = 0; good && i < c->count; ++i)
        good = (c->completion[i] = json_string_value(json_array_get(list, i))) != NULL;
    if (good)
        return list;
    c->count = 0;
    json_decref(list);
    return NULL;
}

void collector_print_numbers(char out[NUMBERS_TEXT], const uint32_t *numbers, size_t count)
{
    size_t used = 0;

    for (size_t i = 0; i < count; ++i) {
        RLHF_ASSERT(numbers[i] < 100 && i < COLLECTOR_MAX_COMPLETIONS);
        out[used++] = i ? ',' : '[';
        if (numbers[i] >= 10)
            out[used++] = (char)('0' + numbers[i] / 10);
        out[used++] = (char)('0' + numbers[i] % 10);
    }
    out[used++] = ']';
    out[used] = '\0';
}

size_t collector_parse_numbers(const char *text, uint32_t *numbers)
{
    size_t count = 0;

    while (text && *text && *text != ']' && count < COLLECTOR_MAX_COMPLETIONS) {
        char *end;
        numbers[count++] = (uint32_t)strtoul(text + 1, &end, 10);
        text = end;
    }
    return count;
}
