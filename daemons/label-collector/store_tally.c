/* store_tally.c - what a transaction's labels add to the counters of rounds, labelers and sources.
 *
 * Every label moves four of them, and a group of labels mostly the same four rows again and again. So they are added up here
 * and written once: before the commit, before a mark, and before any statement that looks at their tables. How labelers and
 * sources stand is read once, too: between begin and commit nobody else writes. */
#include "store_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SUMS = 512, SLOTS = 2 * MAX_SUMS };

enum counter { OF_ROUND, OF_LABELER, OF_STANDING };

/* What is added to one row. */
struct sum {
    enum counter counter;
    char name[COLLECTOR_MAX_NAME + 1], with[COLLECTOR_MAX_NAME + 1]; /* with: a labeler's round, a standing's scope */
    int64_t labels, skips, closed, last_us;
    double seconds;
    struct collector_stand stand; /* of a labeler or source */
};

struct collector_tally {
    struct sum sums[MAX_SUMS];
    size_t count;
    uint16_t slot[SLOTS]; /* 1 + where in sums; 0 = free */
    uint64_t changes;
    bool looks[STATEMENTS]; /* reads or sets a row that may have to be written first */
};

/* Statements that only add to such rows, and those of this file: they may come in any order. */
static const bool adds[STATEMENTS] = { [COUNT_TASK] = true, [COUNT_LABEL] = true, [COUNT_LABELER] = true,
                                       [COUNT_STANDING] = true, [STANDING] = true };

struct collector_tally *collector_tally_new(const char *const sql[STATEMENTS])
{
    struct collector_tally *t = calloc(1, sizeof(*t));

    for (size_t i = 0; t && i < STATEMENTS; ++i)
        t->looks[i] = !adds[i] && (strstr(sql[i], "rounds") || strstr(sql[i], "labelers") || strstr(sql[i], "standing"));
    return t;
}

void collector_tally_free(struct collector_tally *t)
{
    free(t);
}

uint64_t collector_tally_changes(const struct collector_tally *t)
{
    return t->changes;
}

void collector_tally_drop(struct collector_tally *t)
{
    if (t->count)
        memset(t->slot, 0, sizeof(t->slot));
    t->count = 0;
}

/* ---- writing ------------------------------------------------------------------------------------- */

static int write_sum(struct collector_store *s, const struct sum *sum, struct rlhf_error *err)
{
    switch (sum->counter) {
    case OF_ROUND:
        return RUN(s, err, COUNT_LABEL, "tii", sum->name, sum->labels, sum->closed) < 0 ? -1 : 0;
    case OF_LABELER:
        return RUN(s, err, COUNT_LABELER, "ttiifi", sum->name, sum->with, sum->labels, sum->skips, sum->seconds, sum->last_us) < 0
                   ? -1
                   : 0;
    case OF_STANDING:
        return sum->labels > 0 && RUN(s, err, COUNT_STANDING, "tti", sum->with, sum->name, sum->labels) < 0 ? -1 : 0;
    }
    return 0;
}

int collector_tally_write(struct collector_store *s, struct rlhf_error *err)
{
    struct collector_tally *t = s->tally;
    int rc = t->count ? collector_database_within(s->db, err) : 0;

    for (size_t i = 0; rc == 0 && i < t->count; ++i)
        rc = write_sum(s, &t->sums[i], err);
    collector_tally_drop(t);
    return rc;
}

int collector_tally_before(struct collector_store *s, enum statement statement, struct rlhf_error *err)
{
    return s->tally->count && s->tally->looks[statement] ? collector_tally_write(s, err) : 0;
}

/* ---- adding -------------------------------------------------------------------------------------- */

/* FNV-1a */
static uint32_t hash(enum counter counter, const char *name, const char *with)
{
    uint32_t h = 2166136261u ^ (uint32_t)counter;

    for (; *name; ++name)
        h = (h ^ (unsigned char)*name) * 16777619u;
    for (h *= 16777619u; *with; ++with)
        h = (h ^ (unsigned char)*with) * 16777619u;
    return h;
}

/* The sum of that row; *fresh: it begins now. NULL and *err: a full table could not be written. */
static struct sum *sum_of(struct collector_store *s, enum counter counter, const char *name, const char *with, bool *fresh,
                          struct rlhf_error *err)
{
    struct collector_tally *t = s->tally;
    uint32_t h = hash(counter, name, with);

    if (t->count == MAX_SUMS && collector_tally_write(s, err) < 0)
        return NULL;
    for (; t->slot[h % SLOTS]; ++h) {
        struct sum *sum = &t->sums[t->slot[h % SLOTS] - 1];
        *fresh = false;
        if (sum->counter == counter && strcmp(sum->name, name) == 0 && strcmp(sum->with, with) == 0)
            return sum;
    }
    struct sum *sum = &t->sums[t->count++];
    t->slot[h % SLOTS] = (uint16_t)t->count;
    *fresh = true;
    sum->counter = counter;
    sum->labels = sum->skips = sum->closed = sum->last_us = 0;
    sum->seconds = 0;
    snprintf(sum->name, sizeof(sum->name), "%s", name);
    snprintf(sum->with, sizeof(sum->with), "%s", with);
    return sum;
}

int collector_tally_round(struct collector_store *s, const char *round, bool closed, struct rlhf_error *err)
{
    bool fresh;
    struct sum *sum = sum_of(s, OF_ROUND, round, "", &fresh, err);

    if (!sum)
        return -1;
    ++sum->labels;
    sum->closed += closed;
    ++s->tally->changes;
    return 0;
}

int collector_tally_labeler(struct collector_store *s, const char *labeler, const char *round,
                            const struct collector_labeler *more, struct rlhf_error *err)
{
    bool fresh;
    struct sum *sum = sum_of(s, OF_LABELER, labeler, round, &fresh, err);

    if (!sum)
        return -1;
    sum->labels += (int64_t)more->labels;
    sum->skips += (int64_t)more->skips;
    sum->seconds += more->seconds;
    sum->last_us = more->last_us;
    ++s->tally->changes;
    return 0;
}

static struct sum *stand_of(struct collector_store *s, const char *scope, const char *name, struct rlhf_error *err)
{
    bool fresh;
    struct sum *sum = sum_of(s, OF_STANDING, name, scope, &fresh, err);

    if (!sum || !fresh)
        return sum;
    sum->stand = (struct collector_stand){ .quota = -1 };
    struct collector_rows *rows = QUERY(s, err, STANDING, "tt", scope, name);
    int rc = collector_rows_next(rows, err);
    if (rc > 0) {
        sum->stand.quarantined = !collector_rows_null(rows, 0);
        sum->stand.quota = collector_rows_null(rows, 1) ? -1 : collector_rows_integer(rows, 1);
        sum->stand.labels = collector_rows_integer(rows, 2);
        collector_rows_done(rows);
    }
    if (rc < 0)
        collector_tally_drop(s->tally); /* the transaction has failed, and this sum is not what it says */
    return rc < 0 ? NULL : sum;
}

int collector_tally_stand(struct collector_store *s, const char *scope, const char *name, struct collector_stand *stand,
                          struct rlhf_error *err)
{
    struct sum *sum = stand_of(s, scope, name, err);

    if (!sum)
        return -1;
    *stand = sum->stand;
    stand->labels += sum->labels;
    return 0;
}

int collector_tally_standing(struct collector_store *s, const char *scope, const char *name, struct rlhf_error *err)
{
    struct sum *sum = stand_of(s, scope, name, err);

    if (!sum)
        return -1;
    ++sum->labels;
    ++s->tally->changes;
    return 0;
}
