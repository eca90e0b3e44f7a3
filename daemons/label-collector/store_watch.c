/* store_watch.c - what the owner looks at: the tasks, what was decided, how fast labels come. */
#include "store_parts.h"

int collector_store_tasks(struct collector_store *s, int64_t after, const char *round, bool open, size_t limit,
                          void (*each)(void *ctx, const struct collector_listed *t), void *ctx, struct rlhf_error *err)
{
    static const enum statement lists[2][2] = {{LIST_TASKS, LIST_OPEN}, {LIST_TASKS_IN_ROUND, LIST_OPEN_IN_ROUND}};
    struct collector_rows *rows = QUERY(s, err, lists[*round != '\0'][open], "iti", after, round, (int64_t)limit);
    int rc;

    while ((rc = collector_rows_next(rows, err)) > 0) {
        struct collector_listed t = {.number = collector_rows_integer(rows, 0),
                                     .id = collector_rows_text(rows, 1),
                                     .round = collector_rows_text(rows, 2),
                                     .kind = collector_rows_text(rows, 3),
                                     .labels = (uint64_t)collector_rows_integer(rows, 4),
                                     .missing = (uint64_t)collector_rows_integer(rows, 5),
                                     .created_us = collector_rows_integer(rows, 6),
                                     .gold = collector_rows_integer(rows, 7) != 0};
        each(ctx, &t);
    }
    return rc;
}

int collector_store_deeds(struct collector_store *s, int64_t before, size_t limit,
                          void (*each)(void *ctx, const struct collector_deed *d), void *ctx, struct rlhf_error *err)
{
    struct collector_rows *rows = QUERY(s, err, LIST_DEEDS, "ii", before, (int64_t)limit);
    int rc;

    while ((rc = collector_rows_next(rows, err)) > 0) {
        struct collector_deed d = {.number = collector_rows_integer(rows, 0),
                                   .at_us = collector_rows_integer(rows, 1),
                                   .who = collector_rows_text(rows, 2),
                                   .what = collector_rows_text(rows, 3),
                                   .of_whom = collector_rows_text(rows, 4),
                                   .why = collector_rows_text(rows, 5)};
        each(ctx, &d);
    }
    return rc;
}

/* The first label that came at that time or later, between low and last; last + 1 where none did. */
static int first_since(struct collector_store *s, int64_t time_us, int64_t low, int64_t last, int64_t *found,
                       struct rlhf_error *err)
{
    int64_t high = last + 1;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        struct collector_rows *rows = QUERY(s, err, LABEL_TIME, "i", middle);
        int rc = collector_rows_next(rows, err);
        if (rc < 0)
            return -1;
        bool earlier = rc > 0 && collector_rows_integer(rows, 1) < time_us;
        low = earlier ? collector_rows_integer(rows, 0) + 1 : low;
        high = earlier ? high : middle;
        if (rc > 0)
            collector_rows_done(rows);
    }
    *found = low;
    return 0;
}

int collector_store_arrivals(struct collector_store *s, int64_t from_us, int64_t span_us, size_t count, uint64_t *labels,
                             struct rlhf_error *err)
{
    int64_t last, at, next;

    if (collector_one_number(s, QUERY(s, err, LAST_LABEL, ""), &last, err) < 0 ||
        first_since(s, from_us, 1, last, &at, err) < 0)
        return -1;
    for (size_t i = 0; i < count; ++i, at = next) {
        if (first_since(s, from_us + (int64_t)(i + 1) * span_us, at, last, &next, err) < 0)
            return -1;
        labels[i] = (uint64_t)(next - at);
    }
    return 0;
}
