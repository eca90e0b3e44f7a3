/* train_state.c - training state inside a stage: DIR/state/STAGE.STEP, written whole or not at all, the last
 * two kept. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "telemetry/log.h"
#include "tensor/ops.h"

enum { KEEP = 2 };

/* The steps of w's states, newest first; other names (.tmp, .damaged-N, other stages) are passed over. */
static int list_states(const struct learner_work *w, uint64_t **steps, size_t *count, struct rlhf_error *err)
{
    struct rlhf_bytes names = {0};
    char path[LEARNER_PATH], *at, *line;
    size_t prefix = strlen(w->name);

    *steps = NULL;
    *count = 0;
    if (learner_path(w->t, path, sizeof path, err, "state") < 0)
        return -1;
    if (w->t->io->list(w->t->io, path, &names) < 0) {
        rlhf_bytes_free(&names);
        return rlhf_fail(err, RLHF_FATAL, "cannot list %s: %s", path, strerror(errno));
    }
    for (at = names.data; at && (line = strsep(&at, "\n"));) {
        char *end;
        uint64_t step;
        size_t i;
        if (strncmp(line, w->name, prefix) != 0 || line[prefix] != '.' || line[prefix + 1] < '0' ||
            line[prefix + 1] > '9')
            continue;
        step = strtoull(line + prefix + 1, &end, 10);
        if (*end)
            continue;
        uint64_t *grown = realloc(*steps, (*count + 1) * sizeof *grown);
        if (!grown) {
            free(*steps);
            rlhf_bytes_free(&names);
            return rlhf_fail(err, RLHF_FULL, "out of memory for the list of states");
        }
        *steps = grown;
        for (i = (*count)++; i > 0 && grown[i - 1] < step; i--)
            grown[i] = grown[i - 1];
        grown[i] = step;
    }
    rlhf_bytes_free(&names);
    return 0;
}

static int state_path(const struct learner_work *w, uint64_t step, char *path, size_t size,
                      struct rlhf_error *err)
{
    return learner_path(w->t, path, size, err, "state/%s.%010llu", w->name, (unsigned long long)step);
}

int learner_state_remove(struct learner_work *w, size_t keep, struct rlhf_error *err)
{
    uint64_t *steps;
    size_t count;
    char path[LEARNER_PATH];
    int rc = list_states(w, &steps, &count, err);

    if (rc < 0)
        return -1;
    for (size_t i = keep; rc == 0 && i < count; i++)
        rc = state_path(w, steps[i], path, sizeof path, err) < 0 || rlhf_remove_tree(w->t->io, path, err) < 0
                 ? -1
                 : 0;
    free(steps);
    return rc;
}

bool learner_state_due(const struct learner_work *w)
{
    return rlhf_now(w->t->clock) - w->saved_us >= w->t->run->learner.checkpoint_seconds * 1000000;
}

static json_t *counters(const struct learner_work *w)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:f, s:I, s:s}", "step", (json_int_t)w->step, "tokens",
                     (json_int_t)w->tokens, "skipped", (json_int_t)w->skipped, "skipped_in_row",
                     (json_int_t)w->skipped_in_row, "seconds", learner_seconds(w), "metrics",
                     (json_int_t)w->t->metrics_size, "profile", rlhf_tensor_profile());
}

static int put_state(struct learner_work *w, const char *path, const struct learner_block *blocks,
                     size_t count, struct rlhf_error *err)
{
    struct rlhf_atomic_dir *dir = rlhf_atomic_begin(w->t->io, path, err);
    json_t *o = counters(w);
    char *text = o ? json_dumps(o, JSON_REAL_PRECISION(17)) : NULL;
    int rc = dir ? 0 : -1;

    if (rc == 0 && !text)
        rc = rlhf_fail(err, RLHF_FULL, "out of memory for %s", path);
    if (rc == 0)
        rc = rlhf_atomic_put(dir, "state.json", text, strlen(text), err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = rlhf_atomic_put(dir, blocks[i].name, blocks[i].data, blocks[i].size, err);
    if (rc == 0)
        rc = rlhf_atomic_commit(dir, err);
    else
        rlhf_atomic_abort(dir);
    free(text);
    json_decref(o);
    return rc;
}

static int reserve(struct learner_work *w, const struct learner_block *blocks, size_t count, struct rlhf_error *err)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += blocks[i].size;
    return learner_room_reserve(w, size, err);
}

int learner_state_save(struct learner_work *w, const struct learner_block *blocks, size_t count,
                       struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    struct rlhf_error why = {0};

    w->saved_us = rlhf_now(w->t->clock);
    if (w->t->io->fsync(w->t->io, w->t->metrics_fd) < 0 && errno != ENOSPC)
        return rlhf_fail(err, RLHF_FATAL, "cannot sync %s/metrics.jsonl: %s", w->t->run->run.dir,
                         strerror(errno));
    if (state_path(w, w->step, path, sizeof path, err) < 0)
        return -1;
    learner_room_release(w->t); /* it was for this */
    while (put_state(w, path, blocks, count, &why) < 0)
        if (learner_room_wait(w, &why, err) < 0)
            return -1;
    return learner_state_remove(w, KEEP, err) < 0 || reserve(w, blocks, count, err) < 0 ? -1 : 0;
}

static int read_block(const struct learner_work *w, const char *dir, const struct learner_block *b,
                      struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    struct rlhf_bytes bytes = {0};
    int rc;

    if (rlhf_path(path, sizeof path, dir, b->name, err) < 0 ||
        rlhf_read_file(w->t->io, path, b->size, &bytes, err) < 0)
        return -1;
    rc = bytes.size == b->size
             ? 0
             : rlhf_fail(err, RLHF_CORRUPT, "%s has %zu bytes instead of %zu", path, bytes.size, b->size);
    if (rc == 0)
        memcpy(b->data, bytes.data, b->size);
    rlhf_bytes_free(&bytes);
    return rc;
}

/* From a directory that was verified. *metrics: how long metrics.jsonl was; it was synced before the state
 * was written. */
static int read_state(struct learner_work *w, const char *dir, const struct learner_block *blocks,
                      size_t count, uint64_t *metrics, struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    struct rlhf_bytes bytes = {0};
    const char *profile;
    json_t *o;

    if (rlhf_path(path, sizeof path, dir, "state.json", err) < 0 ||
        rlhf_read_file(w->t->io, path, 1 << 20, &bytes, err) < 0)
        return -1;
    o = json_loadb(bytes.data, bytes.size, 0, NULL);
    rlhf_bytes_free(&bytes);
    if (!o)
        return rlhf_fail(err, RLHF_CORRUPT, "%s is not JSON", path);
    for (size_t i = 0; i < count; i++)
        if (read_block(w, dir, &blocks[i], err) < 0) {
            json_decref(o);
            return -1;
        }
    w->step = (uint64_t)json_integer_value(json_object_get(o, "step"));
    w->tokens = (uint64_t)json_integer_value(json_object_get(o, "tokens"));
    w->skipped = (uint64_t)json_integer_value(json_object_get(o, "skipped"));
    w->skipped_in_row = (uint64_t)json_integer_value(json_object_get(o, "skipped_in_row"));
    w->seconds = json_number_value(json_object_get(o, "seconds"));
    *metrics = (uint64_t)json_integer_value(json_object_get(o, "metrics"));
    profile = json_string_value(json_object_get(o, "profile"));
    if (profile && strcmp(profile, rlhf_tensor_profile()) != 0)
        rlhf_log(RLHF_LEVEL_WARNING,
                 "profile-changed stage=%s was=\"%s\" is=\"%s\" the run goes on, but not bit for bit as it "
                 "would have",
                 w->name, profile, rlhf_tensor_profile());
    json_decref(o);
    return 0;
}

int learner_state_load(struct learner_work *w, const struct learner_block *blocks, size_t count,
                       struct rlhf_error *err)
{
    uint64_t *steps, metrics = w->record->metrics;
    size_t states;
    int rc = list_states(w, &steps, &states, err);

    for (size_t i = 0; rc == 0 && i < states; i++) {
        struct rlhf_error damage = {0};
        char dir[LEARNER_PATH];
        if ((rc = state_path(w, steps[i], dir, sizeof dir, err)) < 0)
            break;
        if (rlhf_atomic_verify(w->t->io, dir, &damage) == 0) {
            rc = read_state(w, dir, blocks, count, &metrics, err);
            rlhf_log(RLHF_LEVEL_INFO, "state-loaded stage=%s step=%llu", w->name,
                     (unsigned long long)w->step);
            break;
        }
        rlhf_log(RLHF_LEVEL_WARNING, "state-damaged path=%s reason=\"%s\" the one before is used", dir,
                 damage.text);
        if (damage.code != RLHF_CORRUPT) {
            rc = rlhf_fail(err, damage.code, "%s", damage.text);
            break;
        }
        rc = rlhf_set_aside(w->t->io, dir, err);
    }
    free(steps);
    return rc < 0 || learner_metrics_cut(w->t, metrics, err) < 0 ? -1 : reserve(w, blocks, count, err);
}
