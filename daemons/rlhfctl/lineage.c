#include "rlhfctl/lineage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
    struct ctl_lineage *l;
    size_t stage;
    bool (*wanted)(const json_t *label, const char *what);
    const char *what;
    const char *round; /* of a file of comparisons */
};

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key)) ?: "";
}

/* The entry of a label, made where there is none. Ids are unique within their source. */
static json_t *entry_of(struct search *s, const json_t *line)
{
    static const char *const taken[] = {"id", "revision", "labeler", "source", "round"};
    char key[600];
    json_t *entry;

    snprintf(key, sizeof key, "%s %s", text_of(line, "source"), text_of(line, "id"));
    if (!(entry = json_object_get(s->l->labels, key))) {
        entry = json_pack("{s:[]}", "uses");
        json_object_set_new(s->l->labels, key, entry);
    }
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (json_object_get(line, taken[i]))
            json_object_set(entry, taken[i], json_object_get(line, taken[i]));
    if (s->round)
        json_object_set_new(entry, "round", json_string(s->round));
    return entry;
}

static bool on_use(void *ctx, json_t *line)
{
    struct search *s = ctx;
    const char *stage = rlhf_stage_name(rlhf_run_stage(&s->l->run->run, s->stage));
    json_t *use;

    if (strcmp(text_of(line, "stage"), stage) != 0 || !s->wanted(line, s->what))
        return true;
    use = json_pack("{s:s}", "stage", stage);
    if (json_object_get(line, "updates"))
        json_object_set(use, "updates", json_object_get(line, "updates"));
    else
        json_object_set_new(use, "held_out", json_true());
    json_array_append_new(json_object_get(entry_of(s, line), "uses"), use);
    s->l->trained[s->stage] |= json_array_size(json_object_get(line, "updates")) > 0;
    return true;
}

static bool on_pulled(void *ctx, json_t *line)
{
    struct search *s = ctx;

    if (s->wanted(line, s->what))
        entry_of(s, line);
    return true;
}

/* Every stage that reads an affected one is affected. Stages refer to earlier ones only. */
static int follow(struct ctl_lineage *l, struct rlhf_error *err)
{
    size_t count = rlhf_run_stages(&l->run->run);
    bool *reads = calloc(count, sizeof *reads);

    if (!reads)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu stages", count);
    for (size_t i = 0; i < count; i++) {
        rlhf_run_made_of(&l->run->run, i, false, reads);
        for (size_t j = 0; j < i; j++)
            l->made[i] |= reads[j] && (l->trained[j] || l->made[j]);
    }
    free(reads);
    return 0;
}

int ctl_lineage_find(struct ctl_lineage *l, struct rundir *run, bool (*wanted)(const json_t *label, const char *what),
                     const char *what, struct rlhf_error *err)
{
    size_t count = rlhf_run_stages(&run->run);
    struct search s = {.l = l, .wanted = wanted, .what = what};

    *l = (struct ctl_lineage){.run = run,
                              .labels = json_object(),
                              .trained = calloc(count, sizeof *l->trained),
                              .made = calloc(count, sizeof *l->made)};
    if (!l->labels || !l->trained || !l->made)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu stages", count);
    for (size_t i = 0; i < count; i++) {
        const char *stage = rlhf_stage_name(rlhf_run_stage(&run->run, i));
        if (rlhf_stage_kind(rlhf_run_stage(&run->run, i)) == RLHF_STAGE_COLLECT) {
            s.round = stage;
            rundir_lines(run, on_pulled, &s, "comparisons/%s.jsonl", stage);
            s.round = NULL;
        }
        s.stage = i;
        if (rundir_done(run, stage))
            rundir_lines(run, on_use, &s, "checkpoints/%s/labels.jsonl", stage);
    }
    return follow(l, err);
}

void ctl_lineage_free(struct ctl_lineage *l)
{
    json_decref(l->labels);
    free(l->trained);
    free(l->made);
    *l = (struct ctl_lineage){0};
}

static json_t *through(const struct ctl_lineage *l, size_t index, bool *reads)
{
    json_t *names = json_array();

    rlhf_run_made_of(&l->run->run, index, false, reads);
    for (size_t i = 0; i < index; i++)
        if (reads[i] && (l->trained[i] || l->made[i]))
            json_array_append_new(names, json_string(rlhf_stage_name(rlhf_run_stage(&l->run->run, i))));
    return names;
}

static int append_affected(const struct ctl_lineage *l, json_t *list, size_t index, const char *name, bool done, bool *reads)
{
    return json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:b, s:o}", "stage", name, "kind",
                                                 rlhf_stage_kind_name(rlhf_stage_kind(rlhf_run_stage(&l->run->run, index))),
                                                 "done", (int)done, "trained", (int)l->trained[index], "through",
                                                 through(l, index, reads)));
}

/* What a gate had done again of the stage: checkpoints of their own, of the same making. */
static void append_tries(const struct ctl_lineage *l, json_t *list, size_t index, bool *reads)
{
    const char *stage = rlhf_stage_name(rlhf_run_stage(&l->run->run, index));
    char name[200];
    json_t *made;

    for (unsigned n = 2;; n++) {
        snprintf(name, sizeof name, "%s.try-%u", stage, n);
        if (!(made = rundir_json(l->run, "checkpoints/%s/provenance.json", name)))
            return;
        json_decref(made);
        append_affected(l, list, index, name, true, reads);
    }
}

json_t *ctl_lineage_affected(const struct ctl_lineage *l)
{
    size_t count = rlhf_run_stages(&l->run->run);
    bool *reads = calloc(count, sizeof *reads);
    json_t *list = json_array();

    for (size_t i = 0; reads && i < count; i++) {
        const struct rlhf_stage *s = rlhf_run_stage(&l->run->run, i);
        if (!l->trained[i] && !l->made[i])
            continue;
        append_affected(l, list, i, rlhf_stage_name(s), rundir_done(l->run, rlhf_stage_name(s)) != NULL, reads);
        append_tries(l, list, i, reads);
    }
    free(reads);
    return list;
}
