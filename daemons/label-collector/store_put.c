/* store_put.c - what goes in: tasks, labels with their revisions, skips. */
#include "store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int put_item(struct collector_store *s, const struct collector_content *c,
                    const struct rlhf_digest *digest, int64_t *item, struct rlhf_error *err)
{
    char *printed = c->made ? NULL : collector_completions_json(c);
    const char *completions = c->made ? c->made->completions : printed;
    struct collector_rows *st;

    if (!completions)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    st = QUERY(s, err, ADD_ITEM, "btti", digest, c->prompt, completions, (int64_t)c->count);
    int rc = collector_rows_next(st, err);
    if (rc > 0) {
        *item = collector_rows_integer(st, 0);
        collector_rows_done(st);
    }
    free(printed);
    if (rc != 0)
        return rc > 0 ? 0 : -1;
    return collector_one_number(s, QUERY(s, err, FIND_ITEM, "b", digest), item, err); /* it was there */
}

int collector_next_sequence(struct collector_store *s, int64_t *sequence, struct rlhf_error *err)
{
    if (s->sequence == 0)
        return collector_one_number(s, QUERY(s, err, NEXT_SEQUENCE, ""), sequence, err);
    *sequence = s->sequence + 1;
    return 0;
}

/* A task as stored. */
struct known_task {
    int64_t task, item, missing, completions;
    struct rlhf_digest digest;
    enum collector_kind kind;
    char gold[COLLECTOR_MAX_NOTE + 1]; /* "" = not a gold item */
    char round[COLLECTOR_MAX_NAME + 1];
};

/* 1 found, 0 not, -1 *err. */
static int find_task(struct collector_store *s, const char *id, struct known_task *t, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, FIND_TASK, "t", id);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return rc;
    t->task = collector_rows_integer(st, 0);
    t->item = collector_rows_integer(st, 1);
    snprintf(t->round, sizeof(t->round), "%s", collector_rows_text(st, 2));
    t->missing = collector_rows_integer(st, 3);
    t->completions = collector_rows_integer(st, 5);
    bool whole = collector_rows_digest(st, 4, &t->digest) &&
                 collector_kind_parse(&t->kind, collector_rows_text(st, 6), NULL) == 0;
    snprintf(t->gold, sizeof(t->gold), "%s", collector_rows_null(st, 7) ? "" : collector_rows_text(st, 7));
    collector_rows_done(st);
    return whole ? 1 : collector_database_damaged(s->db, err);
}

static int refuse(struct collector_receipt *r, enum collector_outcome outcome)
{
    r->outcome = outcome;
    return -1;
}

/* Work inside of begin and commit. */
static int in_transaction(struct collector_store *s, struct collector_receipt *r, struct rlhf_error *err)
{
    *r = (struct collector_receipt){.outcome = COLLECTOR_FAILED};
    return collector_database_within(s->db, err);
}

int collector_store_put_task(struct collector_store *s, const struct collector_task *t,
                             struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task known;
    struct rlhf_digest digest;
    int64_t item, missing;

    if (in_transaction(s, receipt, err) < 0 || collector_content_digest(&t->content, &digest, err) < 0)
        return -1;
    int found = find_task(s, t->id, &known, err);
    if (found < 0)
        return -1;
    if (found) {
        const char *other = strcmp(t->round, known.round) != 0 ? "round"
                            : t->kind != known.kind            ? "kind"
                            : strcmp(t->gold ? t->gold : "", known.gold) != 0 ? "gold answer"
                            : !rlhf_digest_equal(&digest, &known.digest) ? "prompt or other completions"
                                                                         : NULL;
        if (other) {
            rlhf_fail(err, RLHF_REJECT, "task %s is stored already with another %s: give new tasks new ids",
                      t->id, other);
            return refuse(receipt, COLLECTOR_CONFLICT);
        }
        receipt->outcome = COLLECTOR_KNOWN;
        return 0;
    }
    missing = t->gold ? 0 : t->wanted ? t->wanted : s->labels_per_task;
    if (put_item(s, &t->content, &digest, &item, err) < 0 ||
        RUN(s, err, ADD_TASK, "tititoitt", t->id, item, t->round, s->clock->wall_us(s->clock),
            collector_kind_name(t->kind), t->wanted ? (int64_t)t->wanted : INT64_MIN, missing, t->gold,
            t->policies) < 0 ||
        RUN(s, err, COUNT_TASK, "ti", t->round, (int64_t)(missing > 0)) < 0)
        return -1;
    receipt->outcome = COLLECTOR_STORED;
    return 0;
}

/* A label as stored: its latest revision. */
struct known_label {
    int64_t label, revision, sequence;
    struct rlhf_digest digest;
    char excluded[32]; /* "" = it counts */
};

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

/* 1 found, 0 not, -1 *err: also when the id belongs to another task, round or labeler. */
static int find_label(struct collector_store *s, const struct collector_label *l, const char *round,
                      struct known_label *k, struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, FIND_LABEL, "tt", l->source, l->id);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return rc;
    const char *other = !same_text(l->task, collector_rows_text(st, 1))      ? "task"
                        : !same_text(round, collector_rows_text(st, 2))      ? "round"
                        : !same_text(l->labeler, collector_rows_text(st, 3)) ? "labeler"
                                                                             : NULL;
    k->label = collector_rows_integer(st, 0);
    k->revision = collector_rows_integer(st, 4);
    k->sequence = collector_rows_integer(st, 6);
    bool whole = collector_rows_digest(st, 5, &k->digest);
    snprintf(k->excluded, sizeof(k->excluded), "%s",
             collector_rows_null(st, 7) ? "" : collector_rows_text(st, 7));
    collector_rows_done(st);
    if (!whole)
        return collector_database_damaged(s->db, err);
    if (!other)
        return 1;
    rlhf_fail(err, RLHF_REJECT, "label id %s of source %s belongs to another %s: give new labels new ids",
              l->id, l->source, other);
    return refuse(receipt, COLLECTOR_CONFLICT);
}

/* The label's task; created when it is not known and the label brings the content (an export's line). */
static int resolve_task(struct collector_store *s, const struct collector_label *l, struct known_task *t,
                        struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct rlhf_digest digest;
    int found = find_task(s, l->task, t, err);

    if (found == 0 && l->content.count) {
        struct collector_task task = {.id = l->task, .round = l->round, .content = l->content};
        if (collector_name_check("round", l->round, true, err) < 0)
            return refuse(receipt, COLLECTOR_INVALID);
        if (collector_store_put_task(s, &task, receipt, err) < 0)
            return -1;
        receipt->outcome = COLLECTOR_FAILED;
        found = find_task(s, l->task, t, err);
    }
    if (found < 0)
        return -1;
    if (found == 0) {
        rlhf_fail(err, RLHF_REJECT, "there is no task %s", l->task);
        return refuse(receipt, COLLECTOR_MISSING);
    }
    if (collector_label_fits(l, t->kind, (size_t)t->completions, err) < 0)
        return refuse(receipt, COLLECTOR_INVALID);
    if (l->content.count) {
        if (collector_content_digest(&l->content, &digest, err) < 0)
            return -1;
        if (!rlhf_digest_equal(&digest, &t->digest)) {
            rlhf_fail(err, RLHF_REJECT, "completions: task %s has another prompt or other completions than this label",
                      l->task);
            return refuse(receipt, COLLECTOR_CONFLICT);
        }
    }
    return 0;
}

/* The order shown: what the label says, else what was handed out to this labeler. NULL: not known. */
static const char *presented_text(struct collector_store *s, const struct collector_label *l,
                                  const struct known_task *t, char text[NUMBERS_TEXT])
{
    uint8_t order[COLLECTOR_MAX_COMPLETIONS];
    uint32_t numbers[COLLECTOR_MAX_COMPLETIONS];
    size_t count = l->task ? (size_t)t->completions : l->rank_count;
    struct rlhf_error ignored;

    if (l->presented_count) {
        memcpy(order, l->presented, sizeof(order));
    } else {
        struct collector_rows *st = l->task ? QUERY(s, &ignored, RESERVED, "it", t->task, l->labeler) : NULL;
        if (collector_rows_next(st, &ignored) <= 0)
            return NULL;
        collector_rows_done(st);
        collector_presentation_order(s, l->task, l->labeler, count, order);
    }
    for (size_t i = 0; i < count; ++i)
        numbers[i] = order[i];
    collector_print_numbers(text, numbers, count);
    return text;
}

/* A label on its way into the database. */
struct putting {
    const struct collector_label *label;
    const struct known_task *task; /* all zero for a free-standing one, but item */
    const char *round;
    struct rlhf_digest digest;
    const char *excluded; /* why it does not count; NULL = it does */
    int64_t gold;         /* INT64_MIN: not a gold item's */
};

static int add_revision(struct collector_store *s, const struct putting *p, int64_t label,
                        const struct collector_receipt *r, struct rlhf_error *err)
{
    const struct collector_label *l = p->label;
    char ranks[NUMBERS_TEXT], presented[NUMBERS_TEXT];

    collector_print_numbers(ranks, l->rank, l->rank_count);
    if (RUN(s, err, ADD_REVISION, "iiibitttdottittot", (int64_t)r->sequence, label, (int64_t)r->revision,
            &p->digest, p->task->item, p->round, ranks, presented_text(s, l, p->task, presented),
            l->seconds, l->has_strength ? (int64_t)l->strength : INT64_MIN, l->flags, l->note,
            s->clock->wall_us(s->clock), l->ratings, l->answer, p->gold, p->excluded) < 0)
        return -1;
    s->sequence = (int64_t)r->sequence;
    return 0;
}

/* Which revision l is: sets the receipt to what it will be. 1 = to be stored, 0 = known, -1 refused. */
static int revise(struct collector_store *s, const struct collector_label *l, const struct known_label *k,
                  const struct rlhf_digest *digest, struct collector_receipt *r, struct rlhf_error *err)
{
    bool same = rlhf_digest_equal(digest, &k->digest);

    r->sequence = (uint64_t)k->sequence;
    r->revision = (uint32_t)k->revision;
    if (l->revision && l->revision < k->revision) { /* a late retry of an earlier answer? */
        struct collector_rows *st = QUERY(s, err, FIND_REVISION, "ii", k->label, (int64_t)l->revision);
        struct rlhf_digest old;
        int rc = collector_rows_next(st, err);
        if (rc < 0)
            return -1;
        same = rc > 0 && collector_rows_digest(st, 0, &old) && rlhf_digest_equal(&old, digest);
        if (rc > 0)
            collector_rows_done(st);
    }
    /* Taken back, or deleted at the vendor and seen there again, the same may be said again. */
    if (same && strcmp(k->excluded, "undone") != 0 && strcmp(k->excluded, "deleted") != 0) {
        r->outcome = COLLECTOR_KNOWN;
        return 0;
    }
    if (l->revision && l->revision != k->revision + 1) {
        rlhf_fail(err, RLHF_REJECT, "label %s: revision %d was sent, %d is next", l->id, (int)l->revision,
                  (int)k->revision + 1);
        return refuse(r, COLLECTOR_CONFLICT);
    }
    return 1;
}

/* A label that counts, and did not before, counts for its round and its task. */
static int count_label(struct collector_store *s, const struct putting *p, struct rlhf_error *err)
{
    if (collector_tally_round(s, p->round, p->label->task && p->task->missing == 1, err) < 0)
        return -1;
    return !p->label->task || RUN(s, err, LABEL_TASK, "i", p->task->task) >= 0 ? 0 : -1;
}

/* A label that is new (not only a new revision) counts for its labeler, and takes the labeler's skip back. */
static int count_labeler(struct collector_store *s, const struct putting *p, struct rlhf_error *err)
{
    const struct collector_label *l = p->label;
    int64_t skips = 0;

    if (l->task && (skips = RUN(s, err, DROP_SKIP, "it", p->task->task, l->labeler)) < 0)
        return -1;
    const struct collector_labeler more = {.labels = 1,
                                           .skips = -(uint64_t)skips,
                                           .seconds = l->seconds > 0 ? l->seconds : 0.0,
                                           .last_us = s->clock->wall_us(s->clock)};
    return collector_tally_labeler(s, l->labeler, p->round, &more, err) < 0 ||
                   collector_tally_standing(s, "labeler", l->labeler, err) < 0 ||
                   collector_tally_standing(s, "source", l->source, err) < 0
               ? -1
               : 0;
}

/* Whether the label counts, as its labeler and its source stand. */
static int judge_standing(struct collector_store *s, struct putting *p, struct rlhf_error *err)
{
    const char *const who[][2] = {{"labeler", p->label->labeler}, {"source", p->label->source}};
    struct collector_stand stand;

    for (size_t i = 0; i < 2; ++i) {
        if (collector_tally_stand(s, who[i][0], who[i][1], &stand, err) < 0)
            return -1;
        if (stand.quota >= 0 && stand.labels >= stand.quota && !p->excluded)
            p->excluded = "quota";
        if (stand.quarantined)
            p->excluded = "quarantine";
    }
    if (p->task->gold[0]) { /* what is known needs no learning */
        p->gold = collector_gold_right(p->task->gold, p->label);
        p->excluded = "gold";
    }
    return 0;
}

/* Label or revision: moves what is known of it to the revision in *receipt. */
static int store_label(struct collector_store *s, const struct putting *p, struct known_label *known,
                       bool found, const struct collector_receipt *receipt, struct rlhf_error *err)
{
    const struct collector_label *l = p->label;
    bool counted = found && !known->excluded[0];

    if (found) {
        if (RUN(s, err, MOVE_LABEL, "iit", known->label, (int64_t)receipt->sequence, p->excluded) < 0)
            return -1;
    } else {
        struct collector_rows *st =
            QUERY(s, err, ADD_LABEL, "ttottit", l->source, l->id, l->task ? p->task->task : INT64_MIN,
                  p->round, l->labeler, (int64_t)receipt->sequence, p->excluded);
        if (collector_one_number(s, st, &known->label, err) < 0 || count_labeler(s, p, err) < 0)
            return -1;
    }
    if (!p->excluded && !counted && count_label(s, p, err) < 0)
        return -1;
    if (add_revision(s, p, known->label, receipt, err) < 0)
        return -1;
    return l->task && RUN(s, err, RELEASE, "it", p->task->task, l->labeler) < 0 ? -1 : 0;
}

int collector_store_put_label(struct collector_store *s, const struct collector_label *l,
                              struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task task = {0};
    struct known_label label = {0};
    struct putting p = {.label = l, .task = &task, .gold = INT64_MIN};
    int64_t sequence;

    if (in_transaction(s, receipt, err) < 0 || (l->task && resolve_task(s, l, &task, receipt, err) < 0))
        return -1;
    if (!l->task && collector_content_digest(&l->content, &task.digest, err) < 0)
        return -1;
    p.round = l->task ? task.round : l->round;
    if (collector_label_digest(l, &task.digest, &p.digest, err) < 0)
        return -1;
    int found = find_label(s, l, p.round, &label, receipt, err);
    if (found < 0)
        return -1;
    if (!found && l->revision > 1) {
        rlhf_fail(err, RLHF_REJECT, "label %s: revision %d was sent, 1 is next", l->id, (int)l->revision);
        return refuse(receipt, COLLECTOR_CONFLICT);
    }
    if (found && (found = revise(s, l, &label, &p.digest, receipt, err)) <= 0)
        return found;

    if ((!l->task && put_item(s, &l->content, &task.digest, &task.item, err) < 0) ||
        judge_standing(s, &p, err) < 0 ||
        collector_next_sequence(s, &sequence, err) < 0)
        return -1;
    receipt->sequence = (uint64_t)sequence;
    receipt->revision = (uint32_t)label.revision + 1;
    if (store_label(s, &p, &label, found, receipt, err) < 0 ||
        (p.gold >= 0 && !found && collector_store_gold(s, l, p.gold, err) < 0))
        return -1;
    receipt->outcome = found ? COLLECTOR_REVISED : COLLECTOR_STORED;
    return 0;
}

int collector_store_put_skip(struct collector_store *s, const char *task, const char *labeler,
                             const char *reason, struct collector_receipt *receipt, struct rlhf_error *err)
{
    struct known_task t;
    int64_t now = s->clock->wall_us(s->clock);
    struct collector_rows *st;
    int rc;

    if (in_transaction(s, receipt, err) < 0 || (rc = find_task(s, task, &t, err)) < 0)
        return -1;
    if (rc == 0) {
        rlhf_fail(err, RLHF_REJECT, "there is no task %s", task);
        return refuse(receipt, COLLECTOR_MISSING);
    }
    if ((rc = collector_rows_next((st = QUERY(s, err, HAS_JUDGED, "it", t.task, labeler)), err)) < 0)
        return -1;
    if (rc > 0) {
        collector_rows_done(st);
        rlhf_fail(err, RLHF_REJECT, "%s has judged task %s already: send the label again to change it",
                  labeler, task);
        return refuse(receipt, COLLECTOR_CONFLICT);
    }
    if ((rc = collector_rows_next((st = QUERY(s, err, FIND_SKIP, "it", t.task, labeler)), err)) < 0)
        return -1;
    if (rc > 0) {
        collector_rows_done(st);
        receipt->outcome = COLLECTOR_KNOWN;
        return 0;
    }
    if (RUN(s, err, ADD_SKIP, "itti", t.task, labeler, reason, now) < 0 ||
        collector_tally_labeler(s, labeler, t.round, &(struct collector_labeler){.skips = 1, .last_us = now}, err) < 0 ||
        RUN(s, err, RELEASE, "it", t.task, labeler) < 0)
        return -1;
    receipt->outcome = COLLECTOR_STORED;
    return 0;
}
