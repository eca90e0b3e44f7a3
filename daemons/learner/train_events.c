/* train_events.c - DIR/tensorboard: metrics.jsonl as TensorBoard reads it.
 *
 * The newest file there says what metrics.jsonl says, line by line, and follows it as it grows. A learner that goes on
 * writes a new file, from the first line on; it opens with a SessionLog that makes TensorBoard forget the ones before. So
 * no step ever shows twice, and nothing here needs to be synced: what a crash loses is written again. The file before
 * the newest stays, because a TensorBoard that is at work on it would never get past its end.
 *
 * Nobody trains on these files. A failure to write them is said once and never ends a run. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "events/events.h"
#include "learner/train_parts.h"
#include "telemetry/log.h"

#define PREFIX "events.out.tfevents."

enum { MOST_VALUES = 64, PIECE = 1 << 20 };

static double wall(const struct learner_trainer *t)
{
    return (double)t->clock->wall_us(t->clock) / 1e6;
}

/* One line of metrics.jsonl as a record: all its numbers, as STAGE/KEY. */
static int put_line(struct rlhf_bytes *out, const char *line, size_t size, struct rlhf_error *err)
{
    json_t *o = json_loadb(line, size, 0, NULL), *value;
    const char *stage = json_string_value(json_object_get(o, "stage")), *key;
    struct rlhf_scalar scalars[MOST_VALUES];
    char tags[MOST_VALUES][160];
    size_t count = 0;
    int rc = 0;

    if (!stage) { /* a line that somebody else wrote */
        json_decref(o);
        return 0;
    }
    json_object_foreach(o, key, value)
    {
        if ((!json_is_number(value) && !json_is_null(value)) || strcmp(key, "step") == 0 ||
            strcmp(key, "time_ms") == 0 || count == MOST_VALUES)
            continue;
        snprintf(tags[count], sizeof tags[count], "%s/%s", stage, key);
        scalars[count] = (struct rlhf_scalar){
            tags[count], json_is_null(value) ? NAN : (float)json_number_value(value)};
        count++;
    }
    rc = rlhf_event_put_scalars(out, (double)json_integer_value(json_object_get(o, "time_ms")) / 1e3,
                                json_integer_value(json_object_get(o, "step")), scalars, count, err);
    json_decref(o);
    return rc;
}

/* Whole lines of metrics.jsonl from t->events.lines on, at most a piece, as records in out; *behind: where they end. */
static int put_lines(struct learner_trainer *t, struct rlhf_bytes *out, uint64_t *behind, struct rlhf_error *err)
{
    uint64_t from = t->events.lines, left = t->metrics_size - from;
    size_t size = left < PIECE ? (size_t)left : PIECE, got = 0;
    char *text = malloc(size + 1), *line = text, *end;
    int rc = text ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for %zu bytes of metrics", size);

    if (rc == 0 && rlhf_pread(t->io, t->metrics_fd, text, size, (off_t)from, &got) < 0)
        rc = rlhf_fail_errno(err, errno, "cannot read %s/metrics.jsonl", t->run->run.dir);
    for (; rc == 0 && (end = memchr(line, '\n', got - (size_t)(line - text))); line = end + 1)
        rc = put_line(out, line, (size_t)(end - line), err);
    *behind = from + (size_t)(line - text);
    free(text);
    return rc;
}

/* Files in dir but the newest are removed; *last: the seconds in its name, 0 where there is none. TensorBoard reads files in
 * the order of their names. */
static int leave_newest(struct learner_trainer *t, const char *dir, long long *last, struct rlhf_error *err)
{
    struct rlhf_bytes names = {0};
    char path[LEARNER_PATH], *at, *name, *newest = NULL;

    if (t->io->list(t->io, dir, &names) < 0)
        return rlhf_fail_errno(err, errno, "cannot list %s", dir);
    for (at = names.data; at && (name = strsep(&at, "\n"));) {
        if (!rlhf_starts_with(name, PREFIX))
            continue;
        if (newest && rlhf_path(path, sizeof path, dir, newest, NULL) == 0)
            t->io->unlink(t->io, path);
        newest = name;
    }
    *last = newest ? atoll(newest + strlen(PREFIX)) : 0;
    rlhf_bytes_free(&names);
    return 0;
}

/* A new file, behind those before it. */
static int begin(struct learner_trainer *t, struct rlhf_error *err)
{
    char dir[LEARNER_PATH], path[LEARNER_PATH], name[64];
    struct rlhf_bytes head = {0};
    long long seconds = (long long)wall(t), last = 0;
    int rc = -1;

    if (learner_path(t, dir, sizeof dir, err, "tensorboard") < 0 || rlhf_make_dirs(t->io, dir, err) < 0 ||
        leave_newest(t, dir, &last, err) < 0)
        return -1;
    if (seconds <= last)
        seconds = last + 1;
    snprintf(name, sizeof name, PREFIX "%010lld.learner", seconds);
    if (rlhf_path(path, sizeof path, dir, name, err) < 0 || rlhf_event_put_version(&head, wall(t), err) < 0 ||
        rlhf_event_put_start(&head, wall(t), 0, err) < 0 ||
        (t->events.fd = rlhf_open(t->io, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644, err)) < 0)
        goto out;
    t->events.size = t->events.lines = 0;
    if (rlhf_pwrite(t->io, t->events.fd, head.data, head.size, 0) < 0) {
        rlhf_fail_errno(err, errno, "cannot write %s", path);
        goto out;
    }
    t->events.size = head.size;
    rc = 0;
out:
    if (rc < 0)
        learner_events_close(t);
    rlhf_bytes_free(&head);
    return rc;
}

static int follow(struct learner_trainer *t, struct rlhf_error *err)
{
    struct rlhf_bytes records = {0};
    uint64_t behind = 0;
    int rc = 0;

    if (t->events.fd < 0 && begin(t, err) < 0)
        return -1;
    while (rc == 0 && t->events.lines < t->metrics_size) {
        rlhf_bytes_clear(&records);
        if ((rc = put_lines(t, &records, &behind, err)) < 0 || behind == t->events.lines)
            break;
        if (rlhf_pwrite(t->io, t->events.fd, records.data, records.size, (off_t)t->events.size) < 0) {
            rc = rlhf_fail_errno(err, errno, "cannot write to %s/tensorboard", t->run->run.dir);
            break;
        }
        t->events.size += records.size;
        t->events.lines = behind;
    }
    rlhf_bytes_free(&records);
    return rc;
}

void learner_events_follow(struct learner_trainer *t)
{
    struct rlhf_error err = {0};

    if (t->metrics_size == 0)
        return;
    if (follow(t, &err) == 0)
        t->events.failing = false;
    else if (!t->events.failing) {
        t->events.failing = true;
        rlhf_log(RLHF_LEVEL_WARNING, "events-not-written reason=\"%s\" TensorBoard lags behind metrics.jsonl", err.text);
    }
}

void learner_events_close(struct learner_trainer *t)
{
    if (t->events.fd >= 0)
        t->io->close(t->io, t->events.fd);
    t->events.fd = -1;
}
