/* train_excluded.c - comparisons that were taken back after their round had been pulled: DIR/comparisons/STAGE.excluded.json
 * says, for each round that a stage is trained on, which ones it leaves out. The label-collector is asked for them once, when
 * a stage begins; a stage that goes on after a stop leaves out the same ones. */
#include <string.h>

#include "learner/train_comparisons.h"
#include "telemetry/log.h"

enum { PATIENCE_S = 20 }; /* for a label-collector that is not there: a run whose rounds are complete needs none */

static int excluded_path(const struct learner_trainer *t, const char *stage, char *path, struct rlhf_error *err)
{
    return learner_path(t, path, LEARNER_PATH, err, "comparisons/%s.excluded.json", stage);
}

int learner_excluded_forget(struct learner_work *w, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    if (excluded_path(w->t, w->name, path, err) < 0)
        return -1;
    if (!rlhf_exists(w->t->io, path) || w->t->io->unlink(w->t->io, path) == 0)
        return 0;
    return rlhf_fail(err, RLHF_FATAL, "cannot remove %s, which is of an earlier try", path);
}

/* {key: labeler} of what was taken back behind the collect stage's cursor. */
static json_t *ask(struct learner_work *w, const char *round, uint64_t cursor, struct rlhf_error *err)
{
    struct learner_action a = {.kind = LEARNER_PULL, .stage = w->index, .round = round, .cursor = cursor,
                               .seed = (uint64_t)w->t->run->run.seed, .patience_us = (int64_t)PATIENCE_S * 1000000};
    struct learner_answer answer = {0};
    json_t *keys = json_object();

    learner_progress(w, "asking what was taken back of %s", round);
    if (w->t->port->ask(w->t->port, &a, &answer, err) < 0) {
        json_decref(keys);
        return NULL;
    }
    for (size_t i = 0; i < answer.count; i++) { /* the last revision of a comparison stands */
        const struct learner_comparison *c = &answer.comparisons[i];
        char key[LEARNER_LABEL_KEY];
        learner_label_key(c->source, c->id, key);
        if (c->excluded)
            json_object_set_new(keys, key, json_string(c->labeler ?: ""));
        else
            json_object_del(keys, key);
    }
    learner_answer_free(&answer);
    return keys;
}

/* The stage's answer for the round; asked for where it is not written down yet. Owned by the caller. */
static json_t *excluded_of(struct learner_work *w, const char *round, const struct learner_record *collect,
                           struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    struct rlhf_bytes text = {0};
    json_t *all = NULL, *keys = NULL;

    if (excluded_path(w->t, w->name, path, err) < 0)
        return NULL;
    if (rlhf_exists(w->t->io, path)) {
        if (rlhf_read_file(w->t->io, path, LEARNER_FILE_LIMIT, &text, err) < 0)
            return NULL;
        all = json_loadb(text.data, text.size, 0, NULL);
        rlhf_bytes_free(&text);
        if (!json_is_object(all)) {
            json_decref(all);
            rlhf_fail(err, RLHF_CORRUPT, "%s is not JSON; remove it, and the stage's state with it", path);
            return NULL;
        }
    } else {
        all = json_object();
    }
    if ((keys = json_incref(json_object_get(all, round))) == NULL && (keys = ask(w, round, collect->cursor, err))) {
        json_object_set(all, round, keys);
        if (learner_write_json(w, path, all, err) < 0) {
            json_decref(keys);
            keys = NULL;
        }
    }
    json_decref(all);
    return keys;
}

json_t *learner_excluded_leave_out(struct learner_work *w, const char *round, json_t *lines, struct rlhf_error *err)
{
    int index = rlhf_run_find(w->t->run, round);
    json_t *keys, *kept, *line, *counts;
    size_t i, left_out;

    if (index < 0 || !rlhf_run_stage(w->t->run, (size_t)index)->collect) /* nobody can take back what a best_of stage chose */
        return lines;
    if (!(keys = excluded_of(w, round, &w->t->records[index], err))) {
        json_decref(lines);
        return NULL;
    }
    kept = json_array();
    json_array_foreach(lines, i, line)
    {
        char key[LEARNER_LABEL_KEY];
        learner_label_key(json_string_value(json_object_get(line, "source")), json_string_value(json_object_get(line, "id")), key);
        if (!json_object_get(keys, key))
            json_array_append(kept, line);
    }
    left_out = json_array_size(lines) - json_array_size(kept);
    if (left_out > 0) {
        rlhf_log(RLHF_LEVEL_WARNING, "comparisons-taken-back stage=%s round=%s left_out=%zu of=%zu", w->name, round, left_out,
                 json_array_size(lines));
        if (!(counts = json_object_get(w->provenance, "excluded"))) {
            counts = json_object();
            json_object_set_new(w->provenance, "excluded", counts);
        }
        json_object_set_new(counts, round, json_integer((json_int_t)left_out));
    }
    json_decref(keys);
    json_decref(lines);
    return kept;
}
