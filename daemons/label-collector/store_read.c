/* store_read.c - what comes out: offers, revisions behind a cursor, counts. */
#include "store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

/* Who asks, and what has been given so far. */
struct offering {
    const char *labeler;
    bool (*each)(void *ctx, const struct collector_offer *o);
    void *ctx;
    int64_t *taken;
    size_t count;
};

/* Whether a gold item is due after so many judgements: drawn, but the same whenever it is asked again. */
static bool gold_due(const struct collector_store *s, const char *labeler, uint64_t judged)
{
    struct rlhf_digest digest = rlhf_digest_of(labeler, strlen(labeler));
    uint32_t word;

    memcpy(&word, digest.bytes, sizeof(word));
    return rlhf_draw(s->order_seed, RLHF_PURPOSE_COLLECT, word, (uint32_t)(judged >> 32), (uint32_t)judged) <
           (float)s->gold_share;
}

/* Hands out the row: 1, or 0 when there was no room for it, or -1. */
static int offer_row(struct collector_store *s, struct collector_rows *st, struct offering *to,
                     struct rlhf_error *err)
{
    struct collector_offer o = {
        .task = {.id = collector_rows_text(st, 1),
                 .round = collector_rows_text(st, 2),
                 .content = {.prompt = collector_rows_text(st, 3)}},
    };
    json_t *strings = collector_parse_strings(&o.task.content, collector_rows_text(st, 4));

    if (!strings || collector_kind_parse(&o.task.kind, collector_rows_text(st, 5), NULL) < 0) {
        json_decref(strings);
        return collector_database_damaged(s->db, err);
    }
    collector_presentation_order(s, o.task.id, to->labeler, o.task.content.count, o.presented);
    bool room = to->each(to->ctx, &o);
    json_decref(strings);
    if (room)
        to->taken[to->count++] = collector_rows_integer(st, 0);
    return room;
}

/* Up to count tasks, gold items among them where they are due. */
static int offer(struct collector_store *s, const char *round, size_t count, struct offering *to,
                 struct rlhf_error *err)
{
    enum { TASKS, GOLD };
    struct collector_rows *st[2] = {
        QUERY(s, err, *round ? NEXT_IN_ROUND : NEXT_ANY, "tti", round, to->labeler, (int64_t)count), NULL};
    bool more[2] = {true, s->gold_share > 0};
    uint64_t judged = 0;
    int rc = 0;

    if (more[GOLD]) {
        st[GOLD] =
            QUERY(s, err, *round ? GOLD_IN_ROUND : GOLD_ANY, "tti", round, to->labeler, (int64_t)count);
        if (!st[GOLD] || collector_store_mine(s, to->labeler, "", &judged, err) < 0)
            rc = -1;
    }
    while (rc >= 0 && more[TASKS] && to->count < count) {
        int from = more[GOLD] && gold_due(s, to->labeler, judged + to->count) ? GOLD : TASKS;
        rc = collector_rows_next(st[from], err);
        more[from] = rc > 0;
        if (rc > 0 && (rc = offer_row(s, st[from], to, err)) == 0)
            break;
    }
    for (int i = 0; i < 2; ++i)
        if (st[i] && more[i])
            collector_rows_done(st[i]);
    return rc < 0 ? -1 : 0;
}

int collector_store_next(struct collector_store *s, const char *labeler, const char *round, size_t count,
                         bool (*each)(void *ctx, const struct collector_offer *o), void *ctx,
                         struct rlhf_error *err)
{
    bool shared = collector_database_shared(s->db); /* then two collectors may look at once */
    int64_t now = collector_reservation_clock(s);
    struct offering to = {
        .labeler = labeler, .each = each, .ctx = ctx, .taken = calloc(count + 1, sizeof(*to.taken))};

    if (!to.taken)
        return rlhf_fail(err, RLHF_FULL, "out of memory");
    bool good = (!shared || collector_database_begin(s->db, err) == 0) &&
                RUN(s, err, EXPIRE, "i", now) >= 0 && offer(s, round, count, &to, err) == 0;
    while (good && to.count-- > 0)
        good = RUN(s, err, RESERVE, "iti", to.taken[to.count], labeler, now + s->reservation_us) >= 0;
    if (shared && good)
        good = collector_database_commit(s->db, err) == 0;
    else if (shared)
        collector_database_rollback(s->db);
    free(to.taken);
    return good ? 0 : -1;
}

static json_t *read_row(struct collector_row *row, struct collector_rows *st)
{
    uint32_t numbers[COLLECTOR_MAX_COMPLETIONS];
    struct collector_label *l = &row->label;

    *row = (struct collector_row){
        .sequence = (uint64_t)collector_rows_integer(st, 0),
        .revision = (uint32_t)collector_rows_integer(st, 1),
        .stored_us = collector_rows_integer(st, 2),
        .label = {.id = collector_rows_text(st, 3),
                  .source = collector_rows_text(st, 4),
                  .labeler = collector_rows_text(st, 5),
                  .task = collector_rows_text(st, 6),
                  .round = collector_rows_text(st, 7),
                  .content = {.prompt = collector_rows_text(st, 8)},
                  .seconds = collector_rows_null(st, 12) ? -1 : collector_rows_real(st, 12),
                  .has_strength = !collector_rows_null(st, 13),
                  .strength = (int)collector_rows_integer(st, 13),
                  .flags = (char *)(uintptr_t)collector_rows_text(st, 14),
                  .note = collector_rows_text(st, 15),
                  .ratings = (char *)(uintptr_t)collector_rows_text(st, 16),
                  .answer = collector_rows_text(st, 17)},
        .excluded = collector_rows_text(st, 18),
        .gold = collector_rows_null(st, 19) ? -1 : (int)collector_rows_integer(st, 19),
        .policies = collector_rows_text(st, 21),
        .weight = collector_rows_real(st, 22),
    };
    json_t *strings = collector_parse_strings(&l->content, collector_rows_text(st, 9));
    l->rank_count = collector_parse_numbers(collector_rows_text(st, 10), l->rank);
    size_t presented = collector_parse_numbers(collector_rows_text(st, 11), numbers);
    l->presented_count = presented == l->content.count ? presented : 0;
    for (size_t i = 0; i < l->presented_count; ++i)
        l->presented[i] = (uint8_t)numbers[i];
    const char *kind = collector_rows_text(st, 20); /* none: free-standing, and then a ranking */
    if (strings && (!kind || collector_kind_parse(&row->kind, kind, NULL) == 0) &&
        (l->rank_count == 0 || l->rank_count == l->content.count))
        return strings;
    json_decref(strings);
    return NULL;
}

int collector_store_list(struct collector_store *s, const struct collector_range *range,
                         bool (*each)(void *ctx, const struct collector_row *row), void *ctx,
                         struct rlhf_error *err)
{
    enum statement which = range->latest ? (*range->round ? LATEST_IN_ROUND : LATEST_ANY)
                                         : (*range->round ? LIST_IN_ROUND : LIST_ANY);
    int64_t cursor = range->cursor > INT64_MAX ? INT64_MAX : (int64_t)range->cursor;
    int64_t last = range->last > INT64_MAX ? INT64_MAX : (int64_t)range->last;
    int64_t limit = range->limit > INT64_MAX ? INT64_MAX : (int64_t)range->limit;
    struct collector_rows *st = QUERY(s, err, which, "tiii", range->round, cursor, last, limit);
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_row row;
        json_t *strings = read_row(&row, st);
        bool more = strings && each(ctx, &row);
        json_decref(strings);
        if (more)
            continue;
        collector_rows_done(st);
        return strings ? 0 : collector_database_damaged(s->db, err);
    }
    return rc;
}

int collector_store_judged(struct collector_store *s, const char *round, uint64_t cursor,
                           void (*each)(void *ctx, const struct collector_judged *j), void *ctx,
                           struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, JUDGED, "ti", round, (int64_t)cursor);
    uint32_t presented[COLLECTOR_MAX_COMPLETIONS];
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_judged j = {.task = collector_rows_integer(st, 0),
                                     .labeler = collector_rows_text(st, 1)};
        j.rank_count = collector_parse_numbers(collector_rows_text(st, 2), j.rank);
        j.first_shown = collector_parse_numbers(collector_rows_text(st, 3), presented) == j.rank_count
                            ? (int)presented[0]
                            : -1;
        if (j.rank_count >= 2)
            each(ctx, &j);
    }
    return rc;
}

int collector_store_counts(struct collector_store *s, const char *round, struct collector_counts *c,
                           struct rlhf_error *err)
{
    struct collector_rows *st =
        *round ? QUERY(s, err, COUNT_ROUND, "t", round) : QUERY(s, err, COUNT_ALL, "");
    int rc = collector_rows_next(st, err);

    *c = (struct collector_counts){0};
    if (rc > 0) {
        c->tasks = (uint64_t)collector_rows_integer(st, 0);
        c->open = (uint64_t)collector_rows_integer(st, 1);
        c->labels = (uint64_t)collector_rows_integer(st, 2);
        collector_rows_done(st);
    }
    if (rc < 0 || collector_rows_next((st = QUERY(s, err, COUNT_STORE, "")), err) < 0)
        return -1;
    c->sequence = c->revisions = (uint64_t)collector_rows_integer(st, 0);
    c->skips = (uint64_t)collector_rows_integer(st, 1);
    collector_rows_done(st);
    return 0;
}

int collector_store_rounds(struct collector_store *s, const char *after, size_t limit,
                           void (*each)(void *ctx, const char *round, const struct collector_counts *c),
                           void *ctx, struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, ROUNDS, "ti", after, (int64_t)limit);
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_counts c = {.tasks = (uint64_t)collector_rows_integer(st, 1),
                                     .open = (uint64_t)collector_rows_integer(st, 2),
                                     .labels = (uint64_t)collector_rows_integer(st, 3)};
        each(ctx, collector_rows_text(st, 0), &c);
    }
    return rc;
}

int collector_store_labelers(struct collector_store *s, const char *round, const char *after, size_t limit,
                             void (*each)(void *ctx, const struct collector_labeler *l), void *ctx,
                             struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, LABELERS, "tti", round, after, (int64_t)limit);
    int rc;

    while ((rc = collector_rows_next(st, err)) > 0) {
        struct collector_labeler l = {.name = collector_rows_text(st, 0),
                                      .labels = (uint64_t)collector_rows_integer(st, 1),
                                      .skips = (uint64_t)collector_rows_integer(st, 2),
                                      .seconds = collector_rows_real(st, 3),
                                      .last_us = collector_rows_integer(st, 4),
                                      .weight = collector_rows_real(st, 5)};
        each(ctx, &l);
    }
    return rc;
}

int collector_store_mine(struct collector_store *s, const char *labeler, const char *round, uint64_t *labels,
                         struct rlhf_error *err)
{
    struct collector_rows *st = QUERY(s, err, MINE, "tt", labeler, round);
    int rc = collector_rows_next(st, err);

    if (rc <= 0)
        return -1;
    *labels = (uint64_t)collector_rows_integer(st, 0);
    collector_rows_done(st);
    return 0;
}
