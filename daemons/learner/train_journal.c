/* train_journal.c - what the run's directory says: paths, JSON, the journal, the metrics. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "telemetry/log.h"

/* ---- files ------------------------------------------------------------------------------------------- */

int learner_path(const struct learner_trainer *t, char *out, size_t size, struct rlhf_error *err,
                 const char *fmt, ...)
{
    char below[LEARNER_PATH];
    va_list ap;
    int length;

    va_start(ap, fmt);
    length = vsnprintf(below, sizeof below, fmt, ap);
    va_end(ap);
    if (length < 0 || (size_t)length >= sizeof below)
        return rlhf_fail(err, RLHF_REJECT, "run directory %s: a path below it is too long", t->run->run.dir);
    return rlhf_path(out, size, t->run->run.dir, below, err);
}

int learner_append_json(struct rlhf_bytes *out, const json_t *value, struct rlhf_error *err)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9) | JSON_ENSURE_ASCII);
    int rc;

    if (!text)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a line of JSON");
    rc = rlhf_bytes_append(out, text, strlen(text), err) < 0 || rlhf_bytes_append(out, "\n", 1, err) < 0 ? -1
                                                                                                         : 0;
    free(text);
    return rc;
}

int learner_write_json(struct learner_work *w, const char *path, const json_t *value, struct rlhf_error *err)
{
    char *text = json_dumps(value, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    int rc;

    if (!text)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %s", path);
    rc = learner_write_file(w, path, &(struct rlhf_bytes){.data = text, .size = strlen(text)}, err);
    free(text);
    return rc;
}

int learner_write_measured(struct learner_work *w, const json_t *value, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    return learner_path(w->t, path, sizeof path, err, "evaluations/%s", w->name) < 0 || rlhf_make_dirs(w->t->io, path, err) < 0 ||
                   learner_path(w->t, path, sizeof path, err, "evaluations/%s/metrics.json", w->name) < 0
               ? -1
               : learner_write_json(w, path, value, err);
}

json_t *learner_read_json(const struct learner_trainer *t, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes bytes = {0};
    json_t *o;

    if (rlhf_read_file(t->io, path, 1 << 24, &bytes, err) < 0)
        return NULL;
    o = json_loadb(bytes.data, bytes.size, 0, NULL);
    rlhf_bytes_free(&bytes);
    if (!o)
        rlhf_fail(err, RLHF_CORRUPT, "%s is not JSON; remove it, it is made again", path);
    return o;
}

json_t *learner_read_lines(const struct learner_trainer *t, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes bytes = {0};
    json_t *list = json_array();
    char *line, *at;
    size_t number = 0;

    if (rlhf_read_file(t->io, path, LEARNER_FILE_LIMIT, &bytes, err) < 0) {
        json_decref(list);
        return NULL;
    }
    for (at = bytes.data; at && (line = strsep(&at, "\n"));) {
        json_t *o;
        number++;
        if (!*line)
            continue;
        if (!(o = json_loads(line, 0, NULL)) || json_array_append_new(list, o) < 0) {
            rlhf_fail(err, RLHF_CORRUPT, "%s:%zu: not JSON; remove the file, it is made again", path, number);
            json_decref(list);
            list = NULL;
            break;
        }
    }
    rlhf_bytes_free(&bytes);
    return list;
}

/* ---- journal ----------------------------------------------------------------------------------------- */

struct learner_record *learner_record_of(const struct learner_trainer *t, const char *name)
{
    int index = rlhf_run_find(t->run, name);

    if (index >= 0)
        return &t->records[index];
    for (size_t i = 0; i < rlhf_run_stages(t->run); i++) {
        const struct rlhf_stage_gate *g = rlhf_run_stage(t->run, i)->gate;
        for (size_t n = 0; g && n < t->records[i].try_count; n++) {
            char other[LEARNER_NAME];
            learner_try_name(other, n % 2 ? g->evaluation : g->candidate, (unsigned)(n / 2 + 2));
            if (strcmp(other, name) == 0)
                return &t->records[i].tries[n];
        }
    }
    return NULL;
}

const char *learner_promoted(const struct learner_trainer *t, const char *name)
{
    int index;

    while ((index = rlhf_run_find(t->run, name)) >= 0 && t->records[index].promoted[0])
        name = t->records[index].promoted;
    return name;
}

static void rewards_key(char *key, size_t size, const char *source, uint64_t iteration, uint64_t round)
{
    snprintf(key, size, "%s %llu %llu", source, (unsigned long long)iteration, (unsigned long long)round);
}

const json_t *learner_journaled_rewards(const struct learner_record *r, const char *source, uint64_t iteration, uint64_t round)
{
    char key[200];

    rewards_key(key, sizeof key, source, iteration, round);
    return json_object_get(r->rewards, key);
}

/* Kept also when the stage is done: should its checkpoint be damaged, it is done again with the same. */
static void keep_rewards(struct learner_record *r, json_t *o)
{
    char key[200];

    rewards_key(key, sizeof key, json_string_value(json_object_get(o, "source")) ?: "",
                (uint64_t)json_integer_value(json_object_get(o, "iteration")),
                (uint64_t)json_integer_value(json_object_get(o, "round")));
    if (!r->rewards)
        r->rewards = json_object();
    json_object_set(r->rewards, key, o);
}

/* Every event names its stage; what it says beyond that is in the records' fields. */
int learner_replay(void *ctx, const void *record, size_t size, struct rlhf_error *err)
{
    struct learner_trainer *t = ctx;
    json_t *o = json_loadb(record, size, 0, NULL);
    const char *event = json_string_value(json_object_get(o, "event"));
    const char *name = json_string_value(json_object_get(o, "stage"));
    struct learner_record *r;

    if (!event || !name) {
        json_decref(o);
        return rlhf_fail(err, RLHF_CORRUPT, "journal of %s: a record has no event or stage", t->run->run.dir);
    }
    if (!(r = learner_record_of(t, name))) {
        rlhf_log(RLHF_LEVEL_WARNING, "stage-not-in-file stage=%s its results in %s are kept and not used",
                 name, t->run->run.dir);
        json_decref(o);
        return 0;
    }
    if (strcmp(event, "started") == 0) {
        r->started = true;
        r->done = false;
        r->iterations = 0;
        r->asked_us = 0;
        r->has_reference = r->paused = false;
        snprintf(r->hash, sizeof r->hash, "%s", json_string_value(json_object_get(o, "hash")) ?: "");
        snprintf(r->inputs, sizeof r->inputs, "%s", json_string_value(json_object_get(o, "inputs")) ?: "");
        r->metrics = (uint64_t)json_integer_value(json_object_get(o, "metrics"));
    } else if (strcmp(event, "done") == 0) {
        r->done = true;
        r->steps = (uint64_t)json_integer_value(json_object_get(o, "steps"));
        r->tokens = (uint64_t)json_integer_value(json_object_get(o, "tokens"));
        r->seconds = json_number_value(json_object_get(o, "seconds"));
    } else if (strcmp(event, "asked") == 0) {
        r->asked_us = json_integer_value(json_object_get(o, "time_ms")) * 1000;
    } else if (strcmp(event, "labels") == 0) {
        r->cursor = (uint64_t)json_integer_value(json_object_get(o, "cursor"));
    } else if (strcmp(event, "reference") == 0) {
        const char *digest = json_string_value(json_object_get(o, "digest"));
        r->has_reference = digest && rlhf_digest_parse(&r->reference, digest);
    } else if (strcmp(event, "paused") == 0 || strcmp(event, "resumed") == 0) {
        r->paused = *event == 'p';
    } else if (strcmp(event, "decision") == 0) {
        snprintf(r->promoted, sizeof r->promoted, "%s", json_string_value(json_object_get(o, "promoted")) ?: "");
    } else if (strcmp(event, "rewards") == 0) {
        keep_rewards(r, o);
    } else if (strcmp(event, "iteration") == 0) {
        const char *digest = json_string_value(json_object_get(o, "digest"));
        uint64_t n = (uint64_t)json_integer_value(json_object_get(o, "iteration"));
        struct rlhf_digest *grown = realloc(r->consumed, (r->iterations + 1) * sizeof *grown);
        if (!grown) {
            json_decref(o);
            return rlhf_fail(err, RLHF_FULL, "out of memory for the journal");
        }
        r->consumed = grown;
        if (n == r->iterations && digest && rlhf_digest_parse(&grown[n], digest))
            r->iterations++;
    }
    json_decref(o);
    return 0;
}

int learner_journal(struct learner_work *w, const char *event, json_t *details, struct rlhf_error *err)
{
    json_t *o = json_pack("{s:s, s:s}", "event", event, "stage", w->name);
    struct rlhf_error why = {0};
    char *text = NULL;
    int rc = -1;

    if (o && details)
        json_object_update(o, details);
    json_decref(details);
    if (o && (text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9))))
        while ((rc = rlhf_journal_append(w->t->journal, text, strlen(text), &why)) < 0 &&
               learner_room_wait(w, &why, err) == 0)
            ;
    else
        rlhf_fail(err, RLHF_FULL, "out of memory for the journal");
    free(text);
    json_decref(o);
    return rc;
}

/* ---- metrics ----------------------------------------------------------------------------------------- */

json_t *learner_metrics_new(const struct learner_work *w)
{
    return json_pack("{s:s, s:I}", "stage", w->name, "step", (json_int_t)(w->step + 1));
}

void learner_metric(json_t *metrics, const char *key, double value)
{
    json_object_set_new(metrics, key, json_real(value) ?: json_null());
}

int learner_metrics_write(struct learner_work *w, json_t *metrics, struct rlhf_error *err)
{
    struct learner_trainer *t = w->t;
    struct rlhf_bytes line = {0};
    int rc;

    json_object_set_new(metrics, "tokens", json_integer((json_int_t)w->tokens));
    learner_metric(metrics, "seconds", learner_seconds(w));
    json_object_set_new(metrics, "time_ms", json_integer(t->clock->wall_us(t->clock) / 1000));
    rc = learner_append_json(&line, metrics, err);
    json_decref(metrics);
    for (size_t done = 0; rc == 0 && done < line.size;) {
        ssize_t n = t->io->pwrite(t->io, t->metrics_fd, line.data + done, line.size - done,
                                  (off_t)(t->metrics_size + done));
        if (n < 0 && errno != EINTR) {
            struct rlhf_error why;
            rlhf_fail_errno(&why, errno, "cannot write %s/metrics.jsonl", t->run->run.dir);
            rc = learner_room_wait(w, &why, err);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    if (rc == 0) {
        t->metrics_size += line.size;
        learner_events_follow(t);
    }
    rlhf_bytes_free(&line);
    return rc;
}

int learner_metrics_cut(struct learner_trainer *t, uint64_t size, struct rlhf_error *err)
{
    if (size >= t->metrics_size)
        return 0;
    if (t->io->ftruncate(t->io, t->metrics_fd, (off_t)size) < 0)
        return rlhf_fail(err, RLHF_FATAL, "cannot cut %s/metrics.jsonl to %llu bytes: %s", t->run->run.dir,
                         (unsigned long long)size, strerror(errno));
    t->metrics_size = size;
    learner_events_close(t);
    return 0;
}

int learner_metrics_open(struct learner_trainer *t, struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    struct stat st;

    if (learner_path(t, path, sizeof path, err, "metrics.jsonl") < 0)
        return -1;
    t->metrics_fd = t->io->open(t->io, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t->metrics_fd < 0 || t->io->fstat(t->io, t->metrics_fd, &st) < 0)
        return rlhf_fail(err, RLHF_FATAL, "cannot open %s: %s", path, strerror(errno));
    t->metrics_size = (uint64_t)st.st_size;
    return 0;
}
