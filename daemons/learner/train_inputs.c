/* train_inputs.c - what a stage is made from, so that a change is noticed: its settings and its data files.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "learner/train_parts.h"
#include "telemetry/log.h"

int learner_stage_hash(const struct learner_trainer *t, size_t index, char text[RLHF_DIGEST_TEXT],
                       struct rlhf_error *err)
{
    struct rlhf_stage one = *rlhf_run_stage(t->run, index);
    struct rlhf_stage_collect collect;
    struct rlhf_stage_policy policy;
    struct rlhf_stage_gate gate;
    struct rlhf_run part = {.tokenizer = t->run->tokenizer, .model = t->run->model, .stages = {&one, 1}};
    struct rlhf_bytes printed = {0};
    struct rlhf_digest d;

    if (one.collect) { /* how long to wait may be changed while waiting; what came in the end is journaled */
        collect = *one.collect;
        collect.want = collect.patience_seconds = collect.deadline_seconds = collect.at_least = 0;
        one.collect = &collect;
    }
    if (one.policy) { /* limits may be changed while it is paused; what was done about them is journaled */
        policy = *one.policy;
        policy.watch = (struct rlhf_run_watch){0};
        one.policy = &policy;
    }
    if (one.gate) { /* and what follows a rejection, when it is known; the decision is journaled */
        gate = *one.gate;
        gate.retries = gate.otherwise = 0;
        one.gate = &gate;
    }
    part.run.name = t->run->run.name;
    part.run.seed = t->run->run.seed;
    /* Where a stage stands names its draws, and what it starts from may follow from the stages before it. */
    if (rlhf_config_print(&rlhf_run_schema, &part, &printed, err) < 0 ||
        rlhf_bytes_printf(&printed, err, "place %zu from %s", index, rlhf_stage_from(t->run, index) ?: "") <
            0) {
        rlhf_bytes_free(&printed);
        return -1;
    }
    d = rlhf_digest_of(printed.data, printed.size);
    rlhf_digest_text(&d, text);
    rlhf_bytes_free(&printed);
    return 0;
}

static int add_input(struct rlhf_hasher *h, json_t *files, const char *path, struct rlhf_error *err)
{
    struct rlhf_mapping m;
    struct rlhf_digest d;
    char text[RLHF_DIGEST_TEXT];

    if (!path)
        return 0;
    if (rlhf_map_file(&m, path, err) < 0)
        return -1;
    d = rlhf_digest_of(m.data, m.size);
    rlhf_unmap(&m);
    rlhf_digest_text(&d, text);
    rlhf_hasher_add(h, d.bytes, sizeof d.bytes);
    json_object_set_new(files, path, json_string(text));
    return 0;
}

static int add_inputs(struct rlhf_hasher *h, json_t *files, const struct rlhf_config_strings *paths,
                      struct rlhf_error *err)
{
    for (size_t i = 0; i < paths->count; i++)
        if (add_input(h, files, paths->items[i], err) < 0)
            return -1;
    return 0;
}

static int add_named(struct rlhf_hasher *h, json_t *files, const struct rlhf_config_list *list,
                     struct rlhf_error *err)
{
    const struct rlhf_run_file *f = list->items;

    for (size_t i = 0; i < list->count; i++)
        if (add_input(h, files, f[i].file, err) < 0)
            return -1;
    return 0;
}

/* Only the weights: a sharded model is named by its index. */
static int add_suites(struct rlhf_hasher *h, json_t *files, const struct rlhf_config_list *list, struct rlhf_error *err)
{
    const struct rlhf_run_suite *s = list->items;

    for (size_t i = 0; i < list->count; i++)
        if (add_input(h, files, s[i].file, err) < 0 || add_input(h, files, s[i].companion, err) < 0)
            return -1;
    return 0;
}

static int add_model(struct rlhf_hasher *h, json_t *files, const char *dir, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    if (rlhf_path(path, sizeof path, dir, "model.safetensors", err) < 0)
        return -1;
    if (access(path, R_OK) < 0 && rlhf_path(path, sizeof path, dir, "model.safetensors.index.json", err) < 0)
        return -1;
    return add_input(h, files, path, err);
}

/* The files that w's stage reads: one digest over them, and each with its own in the provenance. */
int learner_stage_inputs(struct learner_work *w, char text[RLHF_DIGEST_TEXT], struct rlhf_error *err)
{
    const struct rlhf_stage *s = w->stage;
    struct rlhf_hasher *h = rlhf_hasher_new();
    json_t *files = json_object();
    struct rlhf_digest d;
    int rc = 0;

    if (!h || !files) {
        json_decref(files);
        if (h)
            rlhf_hasher_end(h);
        return rlhf_fail(err, RLHF_FULL, "out of memory for the digests of data files");
    }
    if (w->t->run->model.load && !rlhf_stage_from(w->t->run, w->index))
        rc = add_model(h, files, w->t->run->model.load, err);
    switch (rc < 0 ? RLHF_STAGE_KINDS : rlhf_stage_kind(s)) {
    case RLHF_STAGE_KINDS:
        break;
    case RLHF_STAGE_PRETRAIN:
        rc = add_inputs(h, files, &s->pretrain->data, err);
        break;
    case RLHF_STAGE_SFT:
        rc = add_inputs(h, files, &s->sft->data, err) < 0 || add_inputs(h, files, &s->sft->mix.data, err) < 0 ||
                     (s->sft->select && (add_input(h, files, s->sft->select->prompts, err) < 0 ||
                                         add_inputs(h, files, &s->sft->select->validation, err) < 0))
                 ? -1
                 : 0;
        break;
    case RLHF_STAGE_COLLECT:
        rc = add_input(h, files, s->collect->prompts, err);
        break;
    case RLHF_STAGE_REWARD:
        rc = add_inputs(h, files, &s->reward->validation, err) < 0 ||
                     add_input(h, files, s->reward->zero_mean_on, err) < 0
                 ? -1
                 : 0;
        break;
    case RLHF_STAGE_POLICY:
        rc = add_input(h, files, s->policy->prompts, err) < 0 ||
                     add_inputs(h, files, &s->policy->mix.data, err) < 0
                 ? -1
                 : 0;
        break;
    case RLHF_STAGE_DIRECT:
        rc = add_inputs(h, files, &s->direct->data, err) < 0 || add_inputs(h, files, &s->direct->validation, err) < 0 ? -1 : 0;
        break;
    case RLHF_STAGE_BEST_OF:
        rc = add_input(h, files, s->best_of->prompts, err);
        break;
    case RLHF_STAGE_EVALUATE:
        rc = add_named(h, files, &s->evaluate->prompts, err) < 0 ||
                     add_named(h, files, &s->evaluate->perplexity, err) < 0 ||
                     add_named(h, files, &s->evaluate->exact, err) < 0 || add_suites(h, files, &s->evaluate->suites, err) < 0
                 ? -1
                 : 0;
        break;
    case RLHF_STAGE_GATE: /* what it reads, stages before it made */
        break;
    }
    d = rlhf_hasher_end(h);
    rlhf_digest_text(&d, text);
    json_object_set_new(w->provenance, "files", files);
    return rc;
}

/* Where a finished stage's result is; evaluate, best_of, collect and gate leave plain files that appear at once. */
static bool makes_checkpoint(const struct rlhf_stage *s)
{
    enum rlhf_stage_kind k = rlhf_stage_kind(s);
    return k != RLHF_STAGE_COLLECT && k != RLHF_STAGE_EVALUATE && k != RLHF_STAGE_BEST_OF && k != RLHF_STAGE_GATE;
}

int learner_check_checkpoint(struct learner_trainer *t, const char *name, struct learner_record *r, struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    struct rlhf_error damage = {0};

    if (learner_path(t, path, sizeof path, err, "checkpoints/%s", name) < 0)
        return -1;
    if (rlhf_atomic_verify(t->io, path, &damage) == 0)
        return 0;
    rlhf_log(RLHF_LEVEL_WARNING, "checkpoint-damaged stage=%s reason=\"%s\" the stage is done again", name, damage.text);
    if (damage.code == RLHF_CORRUPT && rlhf_set_aside(t->io, path, err) < 0)
        return -1;
    r->done = r->started = false;
    r->iterations = 0;
    r->has_reference = false;
    return 0;
}

/* Those whose policy is damaged are made again, and the gate decides again. */
static int check_tries(struct learner_trainer *t, const struct rlhf_stage_gate *g, struct learner_record *gate,
                       struct rlhf_error *err)
{
    for (size_t n = 0; n < gate->try_count; n += 2) {
        struct learner_record *r = &gate->tries[n];
        char name[LEARNER_NAME];

        if (!r->done)
            continue;
        learner_try_name(name, g->candidate, (unsigned)(n / 2 + 2));
        if (learner_check_checkpoint(t, name, r, err) < 0)
            return -1;
        gate->done = gate->done && r->done;
    }
    return 0;
}

/* Stages that are done are checked against the run file and against their manifests. */
int learner_check_done(struct learner_trainer *t, struct rlhf_error *err)
{
    for (size_t i = 0; i < rlhf_run_stages(t->run); i++) {
        struct learner_record *r = &t->records[i];
        const struct rlhf_stage *s = rlhf_run_stage(t->run, i);
        char hash[RLHF_DIGEST_TEXT];

        if (!r->started)
            continue;
        if (learner_stage_hash(t, i, hash, err) < 0)
            return -1;
        if (strcmp(hash, r->hash) != 0)
            return rlhf_fail(
                err, RLHF_REJECT,
                "stage %s was %s with other settings (its own, its place in the file, the model's, the "
                "tokenizer's or the seed); put them back, add stages behind it only, or give the changed run "
                "another run.dir",
                rlhf_stage_name(s), r->done ? "done" : "started");
        if (r->done && s->collect && s->collect->want > 0 && (uint64_t)s->collect->want != r->steps &&
            (s->collect->at_least == 0 || (uint64_t)s->collect->want < r->steps || (uint64_t)s->collect->at_least > r->steps))
            return rlhf_fail(err, RLHF_REJECT,
                             "stage %s is done and has %llu comparisons: `want` must stay %llu, or give the changed run "
                             "another run.dir",
                             rlhf_stage_name(s), (unsigned long long)r->steps, (unsigned long long)r->steps);
        if (r->done && makes_checkpoint(s) && learner_check_checkpoint(t, rlhf_stage_name(s), r, err) < 0)
            return -1;
        if (s->gate && check_tries(t, s->gate, r, err) < 0)
            return -1;
    }
    return 0;
}
