/* train_labels.c - the labels behind a checkpoint, labels.jsonl: for each its id, revision, labeler, source and round, the
 * stage that was trained on it, and that stage's updates, [step, epoch], from 1. Which they are follows from the order of
 * the data, which is a function of the seed. */
#include <stdlib.h>
#include <string.h>

#include "learner/train_comparisons.h"

/* ---- of one stage -------------------------------------------------------------------------------------- */

/* NULL: not a label (a line of a file, a best_of stage's own comparison). */
static json_t *label_of(const struct learner_work *w, const json_t *source)
{
    static const char *const taken[] = {"id", "revision", "labeler", "source", "round"};
    json_t *label = json_object_get(source, "id") ? json_object() : NULL;

    for (size_t i = 0; label && i < sizeof taken / sizeof *taken; i++)
        if (json_object_get(source, taken[i]))
            json_object_set(label, taken[i], json_object_get(source, taken[i]));
    json_object_set_new(label, "stage", json_string(w->name));
    return label;
}

static bool is_last(const json_t *updates, json_int_t step, json_int_t epoch)
{
    json_t *last = json_array_get(updates, json_array_size(updates) - 1);

    return json_integer_value(json_array_get(last, 0)) == step && json_integer_value(json_array_get(last, 1)) == epoch;
}

/* Adds every step to the labels of its items, once where several items of a label are in it. */
static void add_updates(json_t *labels, const struct learner_use *use)
{
    for (uint64_t n = 0; n < use->steps * use->batch; n++) {
        uint32_t item = learner_order_at(use->order, n), at = use->of ? use->of[item] : item;
        json_int_t step = (json_int_t)(n / use->batch + 1), epoch = (json_int_t)(n / use->order->count + 1);
        json_t *updates = json_object_get(json_array_get(labels, at), "updates");
        if (updates && !is_last(updates, step, epoch))
            json_array_append_new(updates, json_pack("[I, I]", step, epoch));
    }
}

int learner_labels_add(struct learner_work *w, const struct learner_comparisons *c, const struct learner_use *use,
                       struct rlhf_error *err)
{
    json_t *labels = json_array(), *label;
    size_t i;

    if (!labels)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu labels", c->count);
    for (i = 0; i < c->count; i++) {
        label = label_of(w, json_array_get(c->sources, i));
        if (label && use)
            json_object_set_new(label, "updates", json_array());
        else if (label)
            json_object_set_new(label, "held_out", json_true());
        json_array_append_new(labels, label ?: json_null());
    }
    if (use)
        add_updates(labels, use);
    json_array_foreach(labels, i, label)
    {
        if (json_is_object(label))
            json_array_append(w->labels, label);
    }
    json_decref(labels);
    return 0;
}

/* ---- of a checkpoint ----------------------------------------------------------------------------------- */

static bool is_of(const json_t *line, const char *stage)
{
    const char *name = json_string_value(json_object_get(line, "stage"));

    return name && strcmp(name, stage) == 0;
}

/* What stage index itself was trained on: its checkpoint lists that and more. */
static int add_ancestor(const struct learner_trainer *t, size_t index, struct rlhf_bytes *out, json_t *stages,
                        size_t *count, struct rlhf_error *err)
{
    const char *stage = rlhf_stage_name(rlhf_run_stage(t->run, index));
    char path[LEARNER_PATH];
    json_t *lines, *line;
    size_t i, before = *count;
    int rc = 0;

    if (learner_path(t, path, sizeof path, err, "checkpoints/%s/labels.jsonl", stage) < 0)
        return -1;
    if (!rlhf_exists(t->io, path))
        return 0;
    if (!(lines = learner_read_lines(t, path, err)))
        return -1;
    json_array_foreach(lines, i, line)
    {
        if (rc == 0 && is_of(line, stage)) {
            rc = learner_append_json(out, line, err);
            ++*count;
        }
    }
    if (*count > before)
        json_object_set_new(stages, stage, json_integer((json_int_t)(*count - before)));
    json_decref(lines);
    return rc;
}

int learner_labels_write(struct learner_work *w, struct rlhf_bytes *out, struct rlhf_error *err)
{
    const struct rlhf_run *run = w->t->run;
    bool *made_of = calloc(rlhf_run_stages(run), sizeof *made_of);
    json_t *stages = json_object(), *label;
    size_t i, count = json_array_size(w->labels);
    char text[RLHF_DIGEST_TEXT];
    struct rlhf_digest d;
    int rc = made_of && stages ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for the labels of %s", w->name);

    if (rc == 0 && count > 0)
        json_object_set_new(stages, w->name, json_integer((json_int_t)count));
    json_array_foreach(w->labels, i, label)
    {
        if (rc == 0)
            rc = learner_append_json(out, label, err);
    }
    if (rc == 0)
        rlhf_run_made_of(run, w->index, true, made_of);
    for (i = w->index; rc == 0 && i-- > 0;)
        if (made_of[i])
            rc = add_ancestor(w->t, i, out, stages, &count, err);
    if (rc == 0 && count > 0) {
        d = rlhf_digest_of(out->data, out->size);
        rlhf_digest_text(&d, text);
        json_object_set_new(w->provenance, "labels", json_pack("{s:I, s:O, s:s}", "count", (json_int_t)count, "stages", stages,
                                                             "digest", text));
    }
    json_decref(stages);
    free(made_of);
    return rc;
}
