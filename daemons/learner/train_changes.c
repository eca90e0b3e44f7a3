/* train_changes.c - what changed in a round after it had been pulled: comparisons that were taken back or judged anew, and
 * how far their labelers are believed. DIR/comparisons/STAGE.changes.json says it for each round that a stage is trained on.
 * The label-collector is asked once, when a stage begins; a stage that goes on after a stop goes by the same answer. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "learner/train_comparisons.h"
#include "telemetry/log.h"

enum { PATIENCE_S = 20 }; /* for a label-collector that is not there: a run whose rounds are complete needs none */

static int changes_path(const struct learner_trainer *t, const char *stage, char *path, struct rlhf_error *err)
{
    return learner_path(t, path, LEARNER_PATH, err, "comparisons/%s.changes.json", stage);
}

int learner_changes_forget(struct learner_work *w, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    if (changes_path(w->t, w->name, path, err) < 0)
        return -1;
    if (!rlhf_exists(w->t->io, path) || w->t->io->unlink(w->t->io, path) == 0)
        return 0;
    return rlhf_fail(err, RLHF_FATAL, "cannot remove %s, which is of an earlier try", path);
}

static json_t *revised_json(const struct learner_comparison *c)
{
    json_t *ranks = json_array(), *texts = json_array();

    for (size_t k = 0; k < c->count; k++) {
        json_array_append_new(ranks, json_integer(c->ranks[k]));
        json_array_append_new(texts, json_string(c->completions[k]));
    }
    return json_pack("{s:I, s:o, s:o}", "revision", (json_int_t)c->revision, "ranks", ranks, "completions", texts);
}

/* {"excluded": {key: labeler}, "revised": {key: {"revision", "ranks", "completions"}}, "weights": {labeler: weight}} behind
 * the collect stage's cursor. */
static json_t *ask(struct learner_work *w, const char *round, uint64_t cursor, struct rlhf_error *err)
{
    struct learner_action a = {.kind = LEARNER_PULL, .stage = w->index, .round = round, .cursor = cursor, .weigh = true,
                               .seed = (uint64_t)w->t->run->run.seed, .patience_us = (int64_t)PATIENCE_S * 1000000};
    struct learner_answer answer = {0};
    json_t *excluded = json_object(), *revised = json_object(), *weights = json_object();

    learner_progress(w, "asking what changed in %s", round);
    int rc = w->t->port->ask(w->t->port, &a, &answer, err);
    for (size_t i = 0; i < answer.count; i++) { /* the last revision of a comparison stands */
        const struct learner_comparison *c = &answer.comparisons[i];
        char key[LEARNER_LABEL_KEY];
        learner_label_key(c->source, c->id, key);
        json_object_del(c->excluded ? revised : excluded, key);
        json_object_set_new(c->excluded ? excluded : revised, key,
                            c->excluded ? json_string(c->labeler ?: "") : revised_json(c));
    }
    for (size_t i = 0; i < answer.weight_count; i++)
        json_object_set_new(weights, answer.weights[i].labeler, json_real(1 - (double)answer.weights[i].distrust));
    learner_answer_free(&answer);
    json_t *changes = json_pack("{s:o, s:o, s:o}", "excluded", excluded, "revised", revised, "weights", weights);
    if (rc == 0)
        return changes;
    json_decref(changes);
    return NULL;
}

/* The file of all of the stage's rounds, an empty object where there is none yet. */
static json_t *read_changes(struct learner_work *w, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};

    if (!rlhf_exists(w->t->io, path))
        return json_object();
    if (rlhf_read_file(w->t->io, path, LEARNER_FILE_LIMIT, &text, err) < 0)
        return NULL;
    json_t *all = json_loadb(text.data, text.size, 0, NULL);
    rlhf_bytes_free(&text);
    if (json_is_object(all))
        return all;
    json_decref(all);
    rlhf_fail(err, RLHF_CORRUPT, "%s is not JSON; remove it, and the stage's state with it", path);
    return NULL;
}

/* The stage's answer for the round; asked for where it is not written down yet. Owned by the caller. */
static json_t *changes_of(struct learner_work *w, const char *round, const struct learner_record *collect,
                          struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    json_t *all, *changes;

    if (changes_path(w->t, w->name, path, err) < 0 || !(all = read_changes(w, path, err)))
        return NULL;
    if (!(changes = json_incref(json_object_get(all, round))) && (changes = ask(w, round, collect->cursor, err))) {
        json_object_set(all, round, changes);
        if (learner_write_json(w, path, all, err) < 0) {
            json_decref(changes);
            changes = NULL;
        }
    }
    json_decref(all);
    return changes;
}

/* The same completions in another order of preference. */
static bool revise(json_t *line, const json_t *revised)
{
    json_t *list = json_object_get(line, "completions"), *texts = json_object_get(revised, "completions"), *entry;
    size_t i;

    if (!revised || json_array_size(list) != json_array_size(texts))
        return false;
    json_array_foreach(list, i, entry)
    {
        if (!json_equal(json_object_get(entry, "text"), json_array_get(texts, i)))
            return false;
    }
    json_object_set(line, "ranks", json_object_get(revised, "ranks"));
    json_object_set(line, "revision", json_object_get(revised, "revision"));
    return true;
}

static bool weigh(json_t *line, const json_t *weights)
{
    json_t *weight = json_object_get(weights, json_string_value(json_object_get(line, "labeler")) ?: "");

    if (!weight || fabs(json_number_value(weight) - json_number_value(json_object_get(line, "weight"))) < 1e-6)
        return false;
    json_object_set(line, "weight", weight);
    return true;
}

static void count_in_provenance(struct learner_work *w, const char *what, const char *round, size_t count)
{
    json_t *counts = json_object_get(w->provenance, what);

    if (count == 0)
        return;
    if (!counts) {
        counts = json_object();
        json_object_set_new(w->provenance, what, counts);
    }
    json_object_set_new(counts, round, json_integer((json_int_t)count));
}

json_t *learner_changes_apply(struct learner_work *w, const char *round, json_t *lines, struct rlhf_error *err)
{
    int index = rlhf_run_find(w->t->run, round);
    json_t *changes, *kept, *line;
    size_t i, left_out, revised = 0, weighed = 0;

    if (index < 0 || !rlhf_run_stage(w->t->run, (size_t)index)->collect) /* nobody can take back what a best_of stage chose */
        return lines;
    if (!(changes = changes_of(w, round, &w->t->records[index], err))) {
        json_decref(lines);
        return NULL;
    }
    kept = json_array();
    json_array_foreach(lines, i, line)
    {
        char key[LEARNER_LABEL_KEY];
        learner_label_key(json_string_value(json_object_get(line, "source")), json_string_value(json_object_get(line, "id")), key);
        if (json_object_get(json_object_get(changes, "excluded"), key))
            continue;
        revised += revise(line, json_object_get(json_object_get(changes, "revised"), key));
        weighed += weigh(line, json_object_get(changes, "weights"));
        json_array_append(kept, line);
    }
    left_out = json_array_size(lines) - json_array_size(kept);
    if (left_out + revised + weighed > 0)
        rlhf_log(RLHF_LEVEL_WARNING, "comparisons-changed stage=%s round=%s left_out=%zu revised=%zu weighed_anew=%zu of=%zu",
                 w->name, round, left_out, revised, weighed, json_array_size(lines));
    count_in_provenance(w, "excluded", round, left_out);
    count_in_provenance(w, "revised", round, revised);
    count_in_provenance(w, "weighed_anew", round, weighed);
    json_decref(changes);
    json_decref(lines);
    return kept;
}
