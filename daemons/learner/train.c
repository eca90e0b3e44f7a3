/* train.c - the stages of a run, one after another. */
#include "learner/train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "learner/train_parts.h"
#include "telemetry/log.h"
#include "tensor/ops.h"

/* ---- small things every stage uses ------------------------------------------------------------------- */

double learner_seconds(const struct learner_work *w)
{
    return w->seconds + (double)(rlhf_now(w->t->clock) - w->since_us) / 1e6;
}

void learner_progress(struct learner_work *w, const char *fmt, ...)
{
    char detail[160];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    if (w->t->port->progress)
        w->t->port->progress(w->t->port, w->index, w->step, w->steps, w->tokens, detail);
}

bool learner_stopping(const struct learner_work *w)
{
    return w->t->port->stopping && w->t->port->stopping(w->t->port);
}

int learner_stopped(struct rlhf_error *err)
{
    return rlhf_fail(err, RLHF_AGAIN, "asked to stop; start again to go on");
}

/* ---- the run ----------------------------------------------------------------------------------------- */

static int write_stages(struct learner_work *w, struct rlhf_error *err)
{
    const struct learner_trainer *t = w->t;
    json_t *list = json_array();
    char path[LEARNER_PATH];
    int rc;

    for (size_t i = 0; i < rlhf_run_stages(t->run); i++) {
        const struct learner_record *r = &t->records[i];
        const struct rlhf_stage *s = rlhf_run_stage(t->run, i);
        if (r->done)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:f, s:I, s:I}", "name", rlhf_stage_name(s), "kind",
                                            rlhf_stage_kind_name(rlhf_stage_kind(s)), "seconds", r->seconds,
                                            "steps", (json_int_t)r->steps, "tokens", (json_int_t)r->tokens));
    }
    rc = learner_path(t, path, sizeof path, err, "stages.json") < 0 ||
                 learner_write_json(w, path, list, err) < 0
             ? -1
             : 0;
    json_decref(list);
    return rc;
}

static int start_stage(struct learner_work *w, struct rlhf_error *err)
{
    struct learner_record *r = w->record;
    char hash[RLHF_DIGEST_TEXT], inputs[RLHF_DIGEST_TEXT];

    if (learner_stage_hash(w->t, w->index, hash, err) < 0 || learner_stage_inputs(w, inputs, err) < 0)
        return -1;
    json_object_set_new(w->provenance, "settings", json_string(hash));
    if (r->started) {
        if (strcmp(inputs, r->inputs) != 0)
            return rlhf_fail(err, RLHF_REJECT,
                             "a data file changed after the stage was started; put it back, or give the run "
                             "another run.dir");
        return 0;
    }
    if (learner_changes_forget(w, err) < 0)
        return -1;
    r->started = true;
    r->metrics = w->t->metrics_size;
    memcpy(r->hash, hash, sizeof hash);
    memcpy(r->inputs, inputs, sizeof inputs);
    return learner_journal(w, "started",
                           json_pack("{s:s, s:s, s:I, s:s}", "hash", hash, "inputs", inputs, "metrics",
                                     (json_int_t)r->metrics, "profile", rlhf_tensor_profile()),
                           err);
}

static int finish_stage(struct learner_work *w, struct rlhf_error *err)
{
    struct learner_record *r = w->record;

    r->steps = w->step;
    r->tokens = w->tokens;
    r->seconds = learner_seconds(w);
    learner_events_follow(w->t);
    if (learner_journal(w, "done",
                        json_pack("{s:I, s:I, s:f}", "steps", (json_int_t)r->steps, "tokens",
                                  (json_int_t)r->tokens, "seconds", r->seconds),
                        err) < 0)
        return -1;
    r->done = true;
    rlhf_log(RLHF_LEVEL_INFO, "stage-done stage=%s steps=%llu tokens=%llu seconds=%.1f", w->name,
             (unsigned long long)r->steps, (unsigned long long)r->tokens, r->seconds);
    return learner_state_remove(w, 0, err) < 0 || write_stages(w, err) < 0 ? -1 : 0;
}

/* What the stage's checkpoint will say of how it was made; parents, files and measurements are added as they come up. */
static json_t *new_provenance(const struct learner_work *w)
{
    const struct learner_trainer *t = w->t;
    const char *from = rlhf_stage_from(t->run, w->index) ?: t->run->model.load;
    bool *made_of = calloc(rlhf_run_stages(t->run), sizeof *made_of);
    json_t *stages = json_array(), *reward_models = json_array(), *o = NULL;
    const struct rlhf_stage_policy *policy = w->stage->policy;

    if (made_of && stages && reward_models) {
        rlhf_run_made_of(t->run, w->index, false, made_of);
        for (size_t i = 0; i < w->index; i++)
            if (made_of[i])
                json_array_append_new(stages, json_string(rlhf_stage_name(rlhf_run_stage(t->run, i))));
        if (policy)
            json_array_append_new(reward_models, json_string(policy->reward_model));
        for (size_t i = 0; policy && i < policy->ensemble.count; i++)
            json_array_append_new(reward_models, json_string(policy->ensemble.items[i]));
        o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s?, s:O, s:{}, s:s, s:{s:b, s:s}}", "run", t->run->run.name, "stage", w->name,
                      "kind", rlhf_stage_kind_name(rlhf_stage_kind(w->stage)), "version", RLHF_VERSION, "seed",
                      (json_int_t)t->run->run.seed, "from", from, "made_of", stages, "parents", "profile",
                      rlhf_tensor_profile(), "form", "chat", t->run->tokenizer.chat, "today", t->run->tokenizer.today);
        if (json_array_size(reward_models) > 0)
            json_object_set(o, "reward_models", reward_models);
    }
    json_decref(stages);
    json_decref(reward_models);
    free(made_of);
    return o;
}

int learner_work_do(struct learner_work *w, struct rlhf_error *err)
{
    static int (*const stages[RLHF_STAGE_KINDS])(struct learner_work *, struct rlhf_error *) = {
        [RLHF_STAGE_PRETRAIN] = learner_pretrain, [RLHF_STAGE_SFT] = learner_sft,
        [RLHF_STAGE_COLLECT] = learner_collect,   [RLHF_STAGE_REWARD] = learner_reward,
        [RLHF_STAGE_POLICY] = learner_policy,     [RLHF_STAGE_DIRECT] = learner_direct,
        [RLHF_STAGE_BEST_OF] = learner_best,      [RLHF_STAGE_EVALUATE] = learner_evaluate,
        [RLHF_STAGE_GATE] = learner_gate,
    };
    enum rlhf_stage_kind kind = rlhf_stage_kind(w->stage);
    int rc;

    w->since_us = w->saved_us = rlhf_now(w->t->clock);
    w->provenance = new_provenance(w);
    w->labels = json_array();
    if (!w->provenance || !w->labels)
        return rlhf_fail(err, RLHF_FULL, "out of memory for the stage's provenance");
    rlhf_log(RLHF_LEVEL_INFO, "stage-%s stage=%s kind=%s", w->record->started ? "resumed" : "started", w->name,
             rlhf_stage_kind_name(kind));
    rc = start_stage(w, err) < 0 || stages[kind](w, err) < 0 || finish_stage(w, err) < 0 ? -1 : 0;
    learner_room_release(w->t);
    json_decref(w->provenance);
    json_decref(w->labels);
    return rc < 0 ? rlhf_fail_prefix(err, "stage %s", w->name) : 0;
}

static int run_stage(struct learner_trainer *t, size_t index, struct rlhf_error *err)
{
    const struct rlhf_stage *s = rlhf_run_stage(t->run, index);
    const char *name = rlhf_stage_name(s);
    struct learner_work w = {
        .t = t,
        .stage = s,
        .record = &t->records[index],
        .name = name,
        .index = (uint32_t)index,
        .key = rlhf_crc32c(0, name, strlen(name)),
    };

    return learner_work_do(&w, err);
}

int learner_trainer_run(struct learner_trainer *t, struct learner_port *port, struct rlhf_error *err)
{
    t->port = port;
    for (size_t i = 0; i < rlhf_run_stages(t->run); i++) {
        if (t->records[i].done)
            continue;
        if (port->stopping && port->stopping(port))
            return learner_stopped(err);
        if (run_stage(t, i, err) < 0)
            return -1;
    }
    return 0;
}

size_t learner_trainer_done(const struct learner_trainer *t)
{
    size_t done = 0;

    for (size_t i = 0; i < rlhf_run_stages(t->run); i++)
        done += t->records[i].done;
    return done;
}

/* DIR/settings.yaml: the run file that this directory belongs to, as it was understood. */
static int write_run(struct learner_trainer *t, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0}, before = {0};
    char path[LEARNER_PATH];
    int rc = -1;

    if (learner_path(t, path, sizeof path, err, "settings.yaml") == 0 &&
        rlhf_config_print(&rlhf_run_schema, t->run, &text, err) == 0 &&
        (!rlhf_exists(t->io, path) || rlhf_read_file(t->io, path, LEARNER_FILE_LIMIT, &before, err) == 0))
        rc = before.size == text.size && memcmp(before.data, text.data, text.size) == 0
                 ? 0
                 : rlhf_write_file(t->io, path, text.data, text.size, err);
    rlhf_bytes_free(&text);
    rlhf_bytes_free(&before);
    return rc;
}

static int new_records(struct learner_trainer *t, struct rlhf_error *err)
{
    size_t stages = rlhf_run_stages(t->run);

    if (!(t->records = calloc(stages, sizeof *t->records)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu stages", stages);
    for (size_t i = 0; i < stages; i++) {
        const struct rlhf_stage_gate *g = rlhf_run_stage(t->run, i)->gate;
        struct learner_record *r = &t->records[i];

        if (!g || g->retries == 0)
            continue;
        if (!(r->tries = calloc(2 * (size_t)g->retries, sizeof *r->tries)))
            return rlhf_fail(err, RLHF_FULL, "out of memory for %lld retries", (long long)g->retries);
        r->try_count = 2 * (size_t)g->retries;
    }
    return 0;
}

static void free_records(struct learner_record *records, size_t count)
{
    for (size_t i = 0; records && i < count; i++) {
        free(records[i].consumed), json_decref(records[i].rewards);
        free_records(records[i].tries, records[i].try_count);
    }
    free(records);
}

/* One learner a directory: two would write over each other. The lock ends with the process. */
static int lock(struct learner_trainer *t, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    if (learner_path(t, path, sizeof path, err, "lock") < 0)
        return -1;
    t->lock_fd = t->io->open(t->io, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t->lock_fd < 0)
        return rlhf_fail(err, RLHF_FATAL, "cannot open %s: %s", path, strerror(errno));
    if (flock(t->lock_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return rlhf_fail(err, RLHF_REJECT,
                         "another learner is at work here; stop it, or give this run another run.dir");
    return 0;
}

struct learner_trainer *learner_trainer_new(const struct rlhf_run *run, const struct rlhf_io *io,
                                            const struct rlhf_clock *clock, struct rlhf_error *err)
{
    static const char *const folders[] = {"checkpoints", "state", "comparisons", "evaluations", "gates", "watch"};
    struct learner_trainer *t = calloc(1, sizeof *t);
    char path[LEARNER_PATH];

    if (!t) {
        rlhf_fail(err, RLHF_FULL, "out of memory for the trainer");
        return NULL;
    }
    *t = (struct learner_trainer){.run = run, .io = io, .clock = clock, .metrics_fd = -1, .lock_fd = -1,
                                  .events.fd = -1};
    if (new_records(t, err) < 0 || rlhf_tensor_start(err) < 0 ||
        !(t->pool = rlhf_pool_new((unsigned)run->learner.threads, err)))
        goto failed;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (learner_path(t, path, sizeof path, err, "%s", folders[i]) < 0 ||
            rlhf_make_dirs(io, path, err) < 0)
            goto failed;
    if (lock(t, err) < 0 || learner_path(t, path, sizeof path, err, "journal") < 0 ||
        !(t->journal = rlhf_journal_open(io, path, learner_replay, t, err)) ||
        learner_metrics_open(t, err) < 0 || learner_check_done(t, err) < 0 || write_run(t, err) < 0 ||
        learner_tokenizer_open(t, err) < 0)
        goto failed;
    return t;
failed:
    rlhf_fail_prefix(err, "run directory %s", run->run.dir);
    learner_trainer_free(t);
    return NULL;
}

void learner_trainer_free(struct learner_trainer *t)
{
    if (!t)
        return;
    learner_events_close(t);
    if (t->metrics_fd >= 0)
        t->io->close(t->io, t->metrics_fd);
    if (t->lock_fd >= 0)
        t->io->close(t->io, t->lock_fd);
    rlhf_journal_close(t->journal);
    free_records(t->records, rlhf_run_stages(t->run));
    for (size_t i = 0; i < LEARNER_TOKENIZER_FILES; i++)
        rlhf_bytes_free(&t->tokenizer_files[i]);
    rlhf_chat_free(t->form.chat);
    rlhf_tokenizer_free(t->tokenizer);
    rlhf_pool_free(t->pool);
    free(t);
}
