#include "store_vendors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_parts.h"

enum { SWEEPS_MISSED = 2 }; /* one may miss what moves while it goes from page to page */

static int64_t now_us(const struct collector_store *s)
{
    return s->clock->wall_us(s->clock);
}

/* ---- what is remembered ------------------------------------------------------------------------- */

int collector_vendor_remembered(struct collector_store *s, const char *vendor, json_t **memory, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, VENDOR_MEMORY, "t", vendor);
    int rc = collector_rows_next(st, err);

    *memory = NULL;
    if (rc < 0)
        return -1;
    *memory = rc > 0 ? json_loads(collector_rows_text(st, 0), 0, NULL) : json_object();
    if (rc > 0)
        collector_rows_done(st);
    return json_is_object(*memory) ? 0 : collector_database_damaged(s->db, err);
}

int collector_vendor_remember(struct collector_store *s, const char *vendor, const json_t *memory,
                              struct rlhf_error *err)
{
    char *text = json_dumps(memory, JSON_COMPACT);
    int rc = !text                                                     ? rlhf_fail(err, RLHF_FULL, "out of memory")
             : RUN(s, err, KEEP_VENDOR_MEMORY, "tt", vendor, text) < 0 ? -1
                                                                       : 0;

    free(text);
    return rc;
}

int collector_vendor_hold(struct collector_store *s, const char *vendor, const char *owner, bool *held, bool *anew,
                          struct rlhf_error *err)
{
    char sql[160];
    int64_t locked, changed;

    *held = true;
    *anew = false;
    if (!collector_database_shared(s->db))
        return 0;
    /* The server lets go of it when our connection ends, however we died. Names have no quotes in them. */
    snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock(hashtext('rlhfd vendor'), hashtext('%.60s'))::int", vendor);
    if (collector_database_ask(s->db, sql, &locked, err) < 0)
        return -1;
    *held = locked != 0;
    if (!*held)
        return 0;
    changed = RUN(s, err, HOLD_VENDOR, "tt", vendor, owner);
    *anew = changed > 0;
    return changed < 0 ? -1 : 0;
}

/* ---- the outbox ---------------------------------------------------------------------------------- */

/* A task chosen to be given. */
struct choice {
    int64_t task, wanted; /* judgements that nobody owes yet */
    char presented[NUMBERS_TEXT];
};

static int choose(struct collector_store *s, const char *vendor, struct collector_rows *st, struct choice *chosen,
                  size_t limit, size_t *count, struct rlhf_error *err)
{
    uint8_t order[COLLECTOR_MAX_COMPLETIONS];
    uint32_t numbers[COLLECTOR_MAX_COMPLETIONS];
    int rc;

    *count = 0;
    while ((rc = collector_rows_next(st, err)) > 0) {
        size_t k = (size_t)collector_rows_integer(st, 2);
        if (*count == limit)
            continue;
        collector_presentation_order(s, collector_rows_text(st, 1), vendor, k, order);
        for (size_t i = 0; i < k; ++i)
            numbers[i] = order[i];
        chosen[*count].task = collector_rows_integer(st, 0);
        chosen[*count].wanted = collector_rows_integer(st, 3);
        collector_print_numbers(chosen[(*count)++].presented, numbers, k);
    }
    return rc;
}

static int give_one(struct collector_store *s, const char *vendor, const struct choice *c, const struct collector_gift *gift,
                    struct rlhf_error *err)
{
    int64_t owes = gift->until_us <= 0 ? 0 : c->wanted < (int64_t)gift->people ? c->wanted : (int64_t)gift->people;

    return RUN(s, err, GIVE, "titii", vendor, c->task, c->presented, owes, gift->until_us) < 0
                   || (owes && RUN(s, err, HOLD_TASK, "ii", c->task, owes) < 0)
               ? -1
               : 0;
}

int collector_vendor_give(struct collector_store *s, const char *vendor, const struct collector_gift *gift, size_t *given,
                          struct rlhf_error *err)
{
    struct choice *chosen = calloc(gift->limit ? gift->limit : 1, sizeof(*chosen));
    int rc = -1;

    *given = 0;
    if (!chosen)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    if (collector_database_within(s->db, err) == 0 && RUN(s, err, EXPIRE, "i", collector_reservation_clock(s)) >= 0)
        rc = choose(s, vendor,
                    QUERY(s, err, *gift->round ? CHOOSE_IN_ROUND : CHOOSE_ANY, "ttiii", vendor, gift->round,
                          (int64_t)gift->k_min, (int64_t)gift->k_max, (int64_t)gift->limit),
                    chosen, gift->limit, given, err);
    for (size_t i = 0; rc == 0 && i < *given; ++i)
        rc = give_one(s, vendor, &chosen[i], gift, err);
    free(chosen);
    return rc;
}

int collector_vendor_paid(struct collector_store *s, const char *vendor, const char *task, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, PAY_GIVEN, "tt", vendor, task);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return rc; /* none of its tasks, or more than it owed */
    int64_t number = collector_rows_integer(st, 0);
    collector_rows_done(st);
    return RUN(s, err, HOLD_TASK, "ii", number, (int64_t)-1) < 0 ? -1 : 0;
}

/* It owes nothing any more: others are asked. */
static int free_task(struct collector_store *s, const char *vendor, const char *task, struct rlhf_error *err)
{
    return RUN(s, err, FREE_TASK, "tt", vendor, task) < 0 || RUN(s, err, FREE_GIVEN, "tt", vendor, task) < 0 ? -1 : 0;
}

int collector_vendor_free_overdue(struct collector_store *s, size_t limit, size_t *freed, struct rlhf_error *err)
{
    json_t *overdue = json_array(), *one;
    struct collector_rows *st = QUERY(s, err, LIST_OVERDUE, "ii", now_us(s), (int64_t)limit);
    size_t i;
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0)
        json_array_append_new(overdue, json_pack("[s, s]", collector_rows_text(st, 0), collector_rows_text(st, 1)));
    *freed = json_array_size(overdue);
    json_array_foreach (overdue, i, one) {
        if (rc == 0)
            rc = free_task(s, json_string_value(json_array_get(one, 0)), json_string_value(json_array_get(one, 1)), err);
    }
    json_decref(overdue);
    return rc;
}

/* A queued task as it is sent, from its row. NULL: not what was stored. */
static json_t *queued_task(struct collector_rows *st)
{
    struct collector_content content;
    uint32_t order[COLLECTOR_MAX_COMPLETIONS];
    json_t *texts = collector_parse_strings(&content, collector_rows_text(st, 2)), *shown = json_array(),
           *presented = json_array();
    size_t k = collector_parse_numbers(collector_rows_text(st, 3), order);
    bool whole = texts && k == content.count;

    for (size_t i = 0; whole && i < k; ++i) {
        whole = order[i] < k;
        json_array_append(shown, json_array_get(texts, order[i]));
        json_array_append_new(presented, json_integer(order[i]));
    }
    json_decref(texts);
    if (whole)
        return json_pack("{s:s, s:s, s:o, s:o}", "uid", collector_rows_text(st, 0), "prompt",
                         collector_rows_text(st, 1), "completions", shown, "presented", presented);
    json_decref(shown);
    json_decref(presented);
    return NULL;
}

int collector_vendor_queued(struct collector_store *s, const char *vendor, size_t limit, json_t **tasks,
                            struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, LIST_QUEUED, "ti", vendor, (int64_t)limit);
    bool whole = true;
    int rc;

    *tasks = json_array();
    while ((rc = collector_rows_next(st, err)) > 0)
        whole = json_array_append_new(*tasks, queued_task(st)) == 0 && whole;
    if (rc == 0 && whole)
        return 0;
    json_decref(*tasks);
    *tasks = NULL;
    return rc < 0 ? -1 : collector_database_damaged(s->db, err);
}

int collector_vendor_move(struct collector_store *s, const char *vendor, const char *task, const char *state,
                          const char *remote, const char *error, struct rlhf_error *err)
{
    bool lost = strcmp(state, "refused") == 0 || strcmp(state, "gone") == 0;

    return RUN(s, err, MOVE_GIVEN, "ttttti", vendor, task, state, remote, error, now_us(s)) < 0
                   || (lost && free_task(s, vendor, task, err) < 0)
               ? -1
               : 0;
}

int collector_vendor_order(struct collector_store *s, const char *vendor, const char *task, char *presented,
                           size_t size, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, GIVEN_ORDER, "t", task);
    char other[COLLECTOR_MAX_NAME + 1] = "";
    int rc;

    *presented = '\0';
    while ((rc = collector_rows_next(st, err)) > 0) {
        if (strcmp(collector_rows_text(st, 1), vendor) == 0)
            snprintf(presented, size, "%s", collector_rows_text(st, 0));
        else
            snprintf(other, sizeof(other), "%s", collector_rows_text(st, 1));
    }
    if (rc == 0 && !*presented && *other)
        return rlhf_fail(err, RLHF_REJECT, "task %s was given to %s, in its own order: name it as the source", task,
                         other);
    return rc;
}

/* ---- sweeps -------------------------------------------------------------------------------------- */

int collector_vendor_saw(struct collector_store *s, const char *vendor, const char *task, const char *remote,
                         int64_t sweep, struct rlhf_error *err)
{
    return RUN(s, err, SAW_GIVEN, "ttti", vendor, task, remote, sweep) < 0 ? -1 : 0;
}

/* It is not there any more, and its labels go with it. */
static int move_gone(struct collector_store *s, const char *vendor, const char *task, struct rlhf_error *err)
{
    json_t *none = json_array();
    size_t deleted;
    int rc = collector_vendor_labels(s, vendor, task, none, INT64_MAX, &deleted, err) < 0
                     || collector_vendor_move(s, vendor, task, "gone", NULL, NULL, err) < 0
                 ? -1
                 : 0;

    json_decref(none);
    return rc;
}

int collector_vendor_requeue(struct collector_store *s, const char *vendor, struct rlhf_error *err)
{
    return RUN(s, err, REQUEUE_GIVEN, "ti", vendor, (int64_t)0) < 0 ? -1 : 0;
}

/* Texts of one column, as a list. */
static int list_texts(struct collector_rows *st, json_t **list, struct rlhf_error *err)
{
    int rc;

    *list = json_array();
    while ((rc = collector_rows_next(st, err)) > 0)
        json_array_append_new(*list, json_string(collector_rows_text(st, 0)));
    return rc;
}

int collector_vendor_swept(struct collector_store *s, const char *vendor, int64_t sweep, int64_t began_us,
                           int64_t settle_us, struct rlhf_error *err)
{
    json_t *gone = NULL, *task;
    size_t i;
    int rc = 0;

    if (RUN(s, err, MISS_GIVEN, "tii", vendor, sweep, began_us - settle_us) < 0
        || RUN(s, err, REQUEUE_GIVEN, "ti", vendor, (int64_t)SWEEPS_MISSED) < 0
        || list_texts(QUERY(s, err, LIST_GONE, "ti", vendor, (int64_t)SWEEPS_MISSED), &gone, err) < 0)
        rc = -1;
    json_array_foreach (gone, i, task) {
        if (rc == 0)
            rc = move_gone(s, vendor, json_string_value(task), err);
    }
    json_decref(gone);
    return rc;
}

int collector_vendor_vanished(struct collector_store *s, const char *vendor, const char *remote, struct rlhf_error *err)
{
    json_t *tasks, *task;
    size_t i;
    int rc = list_texts(QUERY(s, err, GIVEN_REMOTE, "tt", vendor, remote), &tasks, err);

    json_array_foreach (tasks, i, task) {
        if (rc == 0)
            rc = move_gone(s, vendor, json_string_value(task), err);
    }
    json_decref(tasks);
    return rc;
}

static bool among(const json_t *list, const char *text)
{
    json_t *one;
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)list, i, one) {
        if (strcmp(json_string_value(one), text) == 0)
            return true;
    }
    return false;
}

int collector_vendor_labels(struct collector_store *s, const char *vendor, const char *task, const json_t *ids,
                            int64_t as_of_us, size_t *deleted, struct rlhf_error *err)
{
    static const char *const from[] = { "", "quarantine", "quota" };
    json_t *ours, *id;
    uint64_t changed;
    size_t i;
    int rc = list_texts(QUERY(s, err, LABELS_OF_TASK, "tti", vendor, task, as_of_us), &ours, err);

    *deleted = 0;
    json_array_foreach (ours, i, id) {
        struct collector_choice which = { .source = vendor, .id = json_string_value(id) };
        if (among(ids, which.id))
            continue;
        for (size_t k = 0; rc == 0 && k < sizeof(from) / sizeof(from[0]); ++k) {
            rc = collector_store_exclude(s, &which, from[k], "deleted", &changed, err);
            *deleted += rc == 0 ? changed : 0;
        }
    }
    json_decref(ours);
    return rc;
}

/* The first column of the first row, "" where there is none; the second into *number where it is given. */
static int first_text(struct collector_rows *st, char *text, size_t size, int64_t *number, struct rlhf_error *err)
{
    int rc = collector_rows_next(st, err);

    *text = '\0';
    if (rc <= 0)
        return rc;
    snprintf(text, size, "%s", collector_rows_text(st, 0));
    if (number)
        *number = collector_rows_integer(st, 1);
    collector_rows_done(st);
    return 0;
}

int collector_vendor_policies(struct collector_store *s, const char *vendor, char *task, size_t size, json_t **policies,
                              size_t *count, struct rlhf_error *err)
{
    char ours[COLLECTOR_MAX_NAME + 1];
    struct collector_rows *st;
    int rc;

    *policies = NULL;
    *count = 0;
    if (first_text(QUERY(s, err, GIVEN_REMOTE, "tt", vendor, task), ours, sizeof(ours), NULL, err) < 0)
        return -1;
    if (*ours)
        snprintf(task, size, "%s", ours);
    if ((rc = collector_rows_next((st = QUERY(s, err, POLICIES_OF_TASK, "t", task)), err)) <= 0)
        return rc;
    *policies = collector_rows_null(st, 0) ? NULL : json_loads(collector_rows_text(st, 0), 0, NULL);
    *count = (size_t)collector_rows_integer(st, 1);
    collector_rows_done(st);
    return 0;
}

/* ---- hints and callbacks -------------------------------------------------------------------------- */

int collector_vendor_hint(struct collector_store *s, const char *vendor, const char *remote, bool *known,
                          struct rlhf_error *err)
{
    int64_t changed = RUN(s, err, HINT, "tt", vendor, remote);

    *known = changed > 0;
    return changed < 0 ? -1 : 0;
}

int collector_vendor_label_task(struct collector_store *s, const char *vendor, const char *label, char *remote,
                                size_t size, struct rlhf_error *err)
{
    return first_text(QUERY(s, err, TASK_OF_LABEL, "tt", vendor, label), remote, size, NULL, err);
}

int collector_vendor_knows(struct collector_store *s, const char *vendor, const char *label, bool *known,
                           struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, FIND_LABEL_NUMBER, "ttt", vendor, label, (const char *)NULL);
    int rc = collector_rows_next(st, err);

    *known = rc > 0;
    if (rc > 0)
        collector_rows_done(st);
    return rc < 0 ? -1 : 0;
}

int collector_vendor_hinted(struct collector_store *s, const char *vendor, char *remote, size_t size, int64_t *hints,
                            struct rlhf_error *err)
{
    *hints = 0;
    return first_text(QUERY(s, err, LIST_HINTED, "t", vendor), remote, size, hints, err);
}

int collector_vendor_fetched(struct collector_store *s, const char *vendor, const char *remote, int64_t hints,
                             struct rlhf_error *err)
{
    return RUN(s, err, DROP_HINTS, "tti", vendor, remote, hints) < 0 ? -1 : 0;
}

int collector_vendor_callback(struct collector_store *s, const char *vendor, const char *id, int64_t keep_us,
                              bool *fresh, struct rlhf_error *err)
{
    int64_t added = -1;

    if (RUN(s, err, EXPIRE_CALLBACKS, "i", now_us(s) - keep_us) >= 0)
        added = RUN(s, err, ADD_CALLBACK, "tti", vendor, id, now_us(s));
    *fresh = added > 0;
    return added < 0 ? -1 : 0;
}

/* ---- reading -------------------------------------------------------------------------------------- */

int collector_vendor_counts(struct collector_store *s, const char *vendor, struct collector_given *given,
                            struct rlhf_error *err)
{
    static const char *const names[] = { "queued", "sending", "sent", "refused", "gone" };
    uint64_t *const counts[] = { &given->queued, &given->sending, &given->sent, &given->refused, &given->gone };
    struct collector_rows *st;
    int rc;

    *given = (struct collector_given){ 0 };
    st = QUERY(s, err, GIVEN_STATES, "t", vendor);
    while ((rc = collector_rows_next(st, err)) > 0) {
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i)
            if (strcmp(collector_rows_text(st, 0), names[i]) == 0)
                *counts[i] = (uint64_t)collector_rows_integer(st, 1);
        given->owed += (uint64_t)collector_rows_integer(st, 3);
        if (!collector_rows_null(st, 2))
            snprintf(given->error, sizeof(given->error), "%s", collector_rows_text(st, 2));
    }
    return rc;
}

int collector_vendor_unsettled(struct collector_store *s, const char *vendor, uint64_t *count, int64_t *tried_us,
                               struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, UNSETTLED, "t", vendor);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return rc;
    *count = (uint64_t)collector_rows_integer(st, 0);
    *tried_us = collector_rows_integer(st, 1);
    collector_rows_done(st);
    return 0;
}
