/* train_collect.c - completions to people, their comparisons back.
 *
 * DIR/comparisons/ROUND.tasks.jsonl holds what was generated, with token ids; once it is there, nothing is
 * generated again. Tasks are submitted under ids that are stable over restarts, so submitting twice changes
 * nothing. Comparisons are pulled from the round's beginning until enough have come, and become
 * DIR/comparisons/ROUND.jsonl at once, in an order that does not depend on when they came. The token ids of a
 * task's completions are those that were sampled; text from elsewhere is tokenised. */
#include <stdlib.h>
#include <string.h>

#include "learner/train_comparisons.h"
#include "telemetry/log.h"

enum { SUBMIT_TASKS = 64 };

/* ---- generating -------------------------------------------------------------------------------------- */

struct collect {
    struct learner_work *w;
    const struct rlhf_stage_collect *settings;
    struct rlhf_demonstrations prompts;
    size_t count;  /* of prompts */
    json_t *tasks; /* array */
};

/* Adds a completion to its task unless its text is there already: equal texts cannot be compared. */
static int add_completion(struct collect *c, json_t *task, const struct learner_rollout *r,
                          const char *policy, struct rlhf_error *err)
{
    json_t *list = json_object_get(task, "completions"), *other, *entry;
    struct rlhf_bytes text = {0};
    double logprob = 0;
    size_t i;

    for (uint32_t t = 0; t < r->count; t++)
        logprob += r->logprob[t];
    if (learner_decode(c->w->t, r->ids, r->count, &text, err) < 0) {
        rlhf_bytes_free(&text);
        return -1;
    }
    json_array_foreach(list, i, other)
    {
        if (strcmp(json_string_value(json_object_get(other, "text")), text.data ? text.data : "") == 0) {
            rlhf_bytes_free(&text);
            return 0;
        }
    }
    entry = json_pack("{s:s, s:o, s:s, s:b, s:f}", "text", text.data ? text.data : "", "ids",
                      learner_ids_json(r->ids, r->count), "policy", policy, "ended", r->ended, "logprob", logprob);
    rlhf_bytes_free(&text);
    if (!entry || json_array_append_new(list, entry) < 0)
        return rlhf_fail(err, RLHF_FULL, "out of memory for tasks");
    return 0;
}

static int generate_from(struct collect *c, size_t policy, struct rlhf_error *err)
{
    const struct rlhf_sequences *q = &c->prompts.sequences;
    struct rlhf_sampling sampling = learner_sampling(&c->settings->sampling);
    uint32_t samples = (uint32_t)c->settings->samples;
    const char *name = c->settings->policies.items[policy];
    struct rlhf_model *model = learner_load_model(c->w, name, RLHF_HEAD_LM, err);
    struct learner_generate_job *jobs = NULL;
    struct learner_answer answer = {0};
    struct rlhf_digest weights;
    int rc = -1;

    if (!model || learner_publish(c->w, LEARNER_NAME_POLICY, policy, model, &weights, err) < 0)
        goto out;
    if (!(jobs = calloc(c->count * samples, sizeof *jobs))) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu jobs", c->count * samples);
        goto out;
    }
    for (uint32_t p = 0; p < c->count; p++)
        for (uint32_t s = 0; s < samples; s++) {
            uint32_t sample = (uint32_t)policy * samples + s;
            jobs[p * samples + s] =
                (struct learner_generate_job){.step = (uint32_t)policy,
                                              .prompt = p,
                                              .sample = s,
                                              .key_prompt = p,
                                              .key_sample = c->w->index << 16 | sample,
                                              .weights = weights,
                                              .prompt_ids = q->tokens.data + q->start[p],
                                              .prompt_count = q->start[p + 1] - q->start[p]};
        }
    learner_progress(c->w, "generating with %s", name);
    if (learner_generate(c->w, jobs, c->count * samples, &c->settings->sampling, &sampling,
                         RLHF_PURPOSE_COLLECT, &answer, err) < 0)
        goto out;
    rc = 0;
    for (size_t i = 0; rc == 0 && i < answer.count; i++) {
        rc = add_completion(c, json_array_get(c->tasks, i / samples), &answer.rollouts[i], name, err);
        c->w->tokens += jobs[i].prompt_count + answer.rollouts[i].count;
    }
out:
    learner_answer_free(&answer);
    free(jobs);
    rlhf_model_free(model);
    return rc;
}

static int new_tasks(struct collect *c, struct rlhf_error *err)
{
    const struct rlhf_sequences *q = &c->prompts.sequences;

    for (size_t p = 0; p < c->count; p++) {
        char id[256];
        json_t *task;
        snprintf(id, sizeof id, "%s/%s/%zu", c->w->t->run->run.name, c->w->name, p);
        task = json_pack("{s:s, s:s, s:o, s:[]}", "id", id, "prompt", c->prompts.text[p], "prompt_ids",
                         learner_ids_json(q->tokens.data + q->start[p], q->start[p + 1] - q->start[p]),
                         "completions");
        if (!task || json_array_append_new(c->tasks, task) < 0)
            return rlhf_fail(err, RLHF_FULL, "out of memory for %zu tasks (or a prompt that is not UTF-8)",
                             c->count);
    }
    return 0;
}

/* The largest context that all policies have. */
static int common_context(struct collect *c, uint32_t *context, struct rlhf_error *err)
{
    *context = UINT32_MAX;
    for (size_t i = 0; i < c->settings->policies.count; i++) {
        struct rlhf_model *m = learner_load_model(c->w, c->settings->policies.items[i], RLHF_HEAD_LM, err);
        if (!m)
            return -1;
        if (rlhf_model_get_config(m)->context < *context)
            *context = rlhf_model_get_config(m)->context;
        rlhf_model_free(m);
    }
    return 0;
}

/* Leaves out tasks without two different completions. */
static int leave_equal_out(struct collect *c, struct rlhf_error *err)
{
    size_t all = json_array_size(c->tasks);

    for (size_t i = all; i-- > 0;)
        if (json_array_size(json_object_get(json_array_get(c->tasks, i), "completions")) < 2)
            json_array_remove(c->tasks, i);
    if (json_array_size(c->tasks) == 0)
        return rlhf_fail(err, RLHF_REJECT,
                         "all completions of every prompt are equal; there is nothing to compare (is the "
                         "temperature 0?)");
    rlhf_log(RLHF_LEVEL_INFO, "tasks-generated stage=%s tasks=%zu left_out_all_equal=%zu", c->w->name,
             json_array_size(c->tasks), all - json_array_size(c->tasks));
    return 0;
}

/* One a line, to path. */
static int write_tasks(const struct collect *c, const char *path, struct rlhf_error *err)
{
    struct rlhf_bytes out = {0};
    json_t *task;
    size_t i;
    int rc = 0;

    json_array_foreach(c->tasks, i, task)
    {
        if (rc == 0)
            rc = learner_append_json(&out, task, err);
    }
    if (rc == 0)
        rc = learner_write_file(c->w, path, &out, err);
    rlhf_bytes_free(&out);
    return rc;
}

static int generate(struct collect *c, const char *path, struct rlhf_error *err)
{
    float temperature = (float)c->settings->sampling.temperature;
    uint32_t context;
    int rc = -1;

    if (common_context(c, &context, err) < 0 ||
        learner_read_prompts(c->w, c->settings->prompts, context, c->settings->sampling.max_new_tokens,
                             c->settings->select ? c->settings->select->candidates : c->settings->count, &c->prompts,
                             &c->count, err) < 0)
        return -1;
    if (!(c->tasks = json_array()) || new_tasks(c, err) < 0)
        goto out;
    for (size_t i = 0; i < c->settings->policies.count; i++)
        if (generate_from(c, i, err) < 0)
            goto out;
    rc = leave_equal_out(c, err) < 0 ||
                 (c->settings->select && learner_choose(c->w, &c->tasks, temperature > 0 ? temperature : 1, err) < 0) ||
                 write_tasks(c, path, err) < 0
             ? -1
             : 0;
out:
    json_decref(c->tasks);
    c->tasks = NULL;
    rlhf_demonstrations_free(&c->prompts);
    return rc;
}

/* ---- submitting -------------------------------------------------------------------------------------- */

static int submit_some(struct learner_work *w, const json_t *tasks, size_t from, size_t count,
                       struct rlhf_error *err)
{
    struct learner_task some[SUBMIT_TASKS];
    struct learner_action a = {.kind = LEARNER_SUBMIT,
                               .stage = w->index,
                               .tasks = some,
                               .task_count = count,
                               .round = w->name,
                               .seed = (uint64_t)w->t->run->run.seed};
    struct learner_answer answer = {0};
    size_t total = 0, at = 0;
    const char **texts;
    int rc;

    for (size_t i = 0; i < count; i++)
        total += json_array_size(json_object_get(json_array_get(tasks, from + i), "completions"));
    if (!(texts = calloc(total ? total : 1, sizeof *texts)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions", total);
    for (size_t i = 0; i < count; i++) {
        json_t *task = json_array_get(tasks, from + i), *list = json_object_get(task, "completions"), *entry;
        size_t j;
        some[i] = (struct learner_task){.id = json_string_value(json_object_get(task, "id")),
                                        .prompt = json_string_value(json_object_get(task, "prompt")),
                                        .completions = texts + at,
                                        .count = json_array_size(list)};
        json_array_foreach(list, j, entry) texts[at++] = json_string_value(json_object_get(entry, "text"));
    }
    rc = w->t->port->ask(w->t->port, &a, &answer, err);
    learner_answer_free(&answer);
    free(texts);
    return rc;
}

static int submit(struct learner_work *w, const json_t *tasks, struct rlhf_error *err)
{
    size_t total = json_array_size(tasks);

    for (size_t i = 0; i < total; i += SUBMIT_TASKS) {
        size_t count = total - i < SUBMIT_TASKS ? total - i : SUBMIT_TASKS;
        learner_progress(w, "submitting tasks: %zu of %zu", i, total);
        if (submit_some(w, tasks, i, count, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- comparisons back -------------------------------------------------------------------------------- */

struct pulled {
    struct learner_work *w;
    json_t *tasks;       /* id -> task, borrowed values */
    json_t *comparisons; /* learner_label_key() -> comparison with token ids */
    uint64_t cursor;     /* behind the last one */
    size_t retokenised;  /* of tasks, whose text came back changed */
};

/* The ids that were sampled for text in task; NULL when it is not there. */
static json_t *sampled_ids(json_t *task, const char *text)
{
    json_t *entry;
    size_t i;

    json_array_foreach(json_object_get(task, "completions"), i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "text")), text) == 0)
            return json_incref(json_object_get(entry, "ids"));
    }
    return NULL;
}

static json_t *with_ids(struct pulled *p, const struct learner_comparison *c, struct rlhf_error *err)
{
    const struct learner_trainer *t = p->w->t;
    json_t *task = c->task && *c->task ? json_object_get(p->tasks, c->task) : NULL;
    json_t *completions = json_array(), *ranks = json_array();
    json_t *prompt_ids = task ? json_incref(json_object_get(task, "prompt_ids"))
                              : learner_prompt_ids(t, c->prompt, err);

    for (size_t k = 0; prompt_ids && k < c->count; k++) {
        json_t *ids = task ? sampled_ids(task, c->completions[k]) : NULL;
        if (!ids) {
            p->retokenised += task != NULL;
            ids = learner_completion_ids(t, c->prompt, c->completions[k], err);
        }
        if (!ids) {
            json_decref(prompt_ids);
            prompt_ids = NULL;
            break;
        }
        json_array_append_new(completions, json_pack("{s:s, s:o}", "text", c->completions[k], "ids", ids));
        json_array_append_new(ranks, json_integer(c->ranks[k]));
    }
    if (!prompt_ids) {
        json_decref(completions);
        json_decref(ranks);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:f, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:O*}", "id", c->id, "revision",
                     (json_int_t)c->revision, "weight", 1 - (double)c->distrust, "labeler", c->labeler ?: "", "source",
                     c->source ?: "", "task", c->task ?: "", "prompt", c->prompt, "prompt_ids", prompt_ids, "completions",
                     completions, "ranks", ranks, "chosen_by", json_object_get(task, "chosen_by"));
}

/* Puts how long it is until the deadline in *left_us. It counts from when people were first asked, whoever was killed since. */
static int until_deadline(struct learner_work *w, int64_t *left_us, struct rlhf_error *err)
{
    int64_t now_us = w->t->clock->wall_us(w->t->clock);

    if (!w->record->asked_us) {
        w->record->asked_us = now_us;
        if (learner_journal(w, "asked", json_pack("{s:I}", "time_ms", (json_int_t)(now_us / 1000)), err) < 0)
            return -1;
    }
    *left_us = w->record->asked_us + w->stage->collect->deadline_seconds * 1000000 - now_us;
    return 0;
}

/* A later revision of a comparison replaces it, or takes it back. */
static int take(struct pulled *p, const struct learner_comparison *c, size_t want, struct rlhf_error *err)
{
    char key[LEARNER_LABEL_KEY];
    json_t *o;

    learner_label_key(c->source, c->id, key);
    if (c->excluded) { /* taken back, or of somebody who is not believed any more */
        json_object_del(p->comparisons, key);
        return 0;
    }
    if (json_object_size(p->comparisons) >= want && !json_object_get(p->comparisons, key))
        return 0;
    if (!(o = with_ids(p, c, err)) || json_object_set_new(p->comparisons, key, o) < 0)
        return err && err->code != RLHF_OK
                   ? -1
                   : rlhf_fail(err, RLHF_FULL, "out of memory for comparisons (or text that is not UTF-8)");
    return 0;
}

/* Fewer than want are the answer, and no more will come, or the deadline has passed: 0 when they suffice. */
static int make_do(const struct learner_work *w, size_t have, size_t want, struct rlhf_error *err)
{
    const struct rlhf_stage_collect *s = w->stage->collect;

    if (s->at_least > 0 && have >= (size_t)s->at_least) {
        rlhf_log(RLHF_LEVEL_INFO, "round-starts-with-fewer stage=%s have=%zu want=%zu", w->name, have, want);
        return 0;
    }
    return rlhf_fail(err, RLHF_REJECT,
                     "%zu of %zu comparisons came, no task is open, and none came for %lld s: set `want` or `at_least` to "
                     "%zu or less, or import the missing ones, and start again",
                     have, want, (long long)s->patience_seconds, have);
}

/* Until `want` different comparisons have come, or those that did suffice. */
static int pull(struct pulled *p, size_t want, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    const struct rlhf_stage_collect *s = w->stage->collect;
    struct learner_action a = {
        .kind = LEARNER_PULL, .stage = w->index, .round = w->name, .seed = (uint64_t)w->t->run->run.seed,
        .patience_us = s->patience_seconds * 1000000, .at_least = s->deadline_seconds > 0 ? (size_t)s->at_least : 0};
    bool enough = false;
    int rc = 0;

    while (rc == 0 && !enough && (w->step = a.have = json_object_size(p->comparisons)) < want) {
        struct learner_answer answer = {0};

        learner_progress(w, "waiting for comparisons");
        if (learner_stopping(w))
            return learner_stopped(err);
        if (a.at_least > 0 && until_deadline(w, &a.deadline_us, err) < 0)
            return -1;
        a.want = want - a.have;
        if (w->t->port->ask(w->t->port, &a, &answer, err) < 0)
            return -1;
        for (size_t i = 0; rc == 0 && i < answer.count; i++)
            rc = take(p, &answer.comparisons[i], want, err);
        p->cursor = a.cursor = answer.cursor;
        if (rc == 0 && answer.count < a.want) {
            size_t have = json_object_size(p->comparisons), told = a.have + answer.count;
            if (have < want && !(a.at_least > 0 && told >= a.at_least && have < a.at_least)) /* some take others back: ask on */
                rc = make_do(w, have, want, err), enough = true;
        }
        learner_answer_free(&answer);
    }
    w->steps = w->step = json_object_size(p->comparisons);
    return rc;
}

static int by_task_and_id(const void *a, const void *b)
{
    static const char *const keys[] = {"task", "id", "source"};
    json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int order = 0;

    for (size_t i = 0; order == 0 && i < sizeof keys / sizeof *keys; i++)
        order = strcmp(json_string_value(json_object_get(x, keys[i])), json_string_value(json_object_get(y, keys[i])));
    return order;
}

static int write_comparisons(struct pulled *p, const char *path, struct rlhf_error *err)
{
    size_t count = json_object_size(p->comparisons), i = 0;
    json_t **sorted = calloc(count ? count : 1, sizeof *sorted), *o, *labels = json_array();
    struct rlhf_bytes out = {0};
    const char *id;
    int rc = sorted && labels ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for %zu comparisons", count);

    if (rc == 0) {
        json_object_foreach(p->comparisons, id, o) sorted[i++] = o;
        qsort(sorted, count, sizeof *sorted, by_task_and_id);
        for (i = 0; rc == 0 && i < count; i++) {
            json_array_append(labels, json_object_get(sorted[i], "id"));
            rc = learner_append_json(&out, sorted[i], err);
        }
    }
    if (rc == 0)
        rc = learner_write_file(p->w, path, &out, err);
    if (rc == 0)
        rc = learner_journal(p->w, "labels", json_pack("{s:O, s:I}", "ids", labels, "cursor", (json_int_t)p->cursor), err);
    if (rc == 0)
        p->w->record->cursor = p->cursor;
    json_decref(labels);
    free(sorted);
    rlhf_bytes_free(&out);
    return rc;
}

static int fetch(struct learner_work *w, json_t *tasks, const char *path, struct rlhf_error *err)
{
    struct pulled p = {.w = w, .tasks = json_object(), .comparisons = json_object()};
    size_t i, want = (size_t)w->stage->collect->want;
    json_t *task;
    int rc;

    json_array_foreach(tasks, i, task)
        json_object_set(p.tasks, json_string_value(json_object_get(task, "id")), task);
    w->steps = want = want ? want : json_array_size(tasks);
    if (json_array_size(tasks) > 0 && want > json_array_size(tasks))
        rlhf_log(RLHF_LEVEL_WARNING,
                 "more-wanted-than-submitted stage=%s want=%zu tasks=%zu some tasks must be compared more than once",
                 w->name, want, json_array_size(tasks));
    rc = pull(&p, want, err) < 0 || write_comparisons(&p, path, err) < 0 ? -1 : 0;
    if (rc == 0 && p.retokenised)
        rlhf_log(RLHF_LEVEL_WARNING,
                 "completions-came-back-changed stage=%s count=%zu they were tokenised again", w->name,
                 p.retokenised);
    json_decref(p.tasks);
    json_decref(p.comparisons);
    return rc;
}

int learner_collect(struct learner_work *w, struct rlhf_error *err)
{
    struct collect c = {.w = w, .settings = w->stage->collect};
    char tasks_path[LEARNER_PATH], path[LEARNER_PATH];
    json_t *tasks = NULL;
    int rc;

    if (learner_path(w->t, tasks_path, sizeof tasks_path, err, "comparisons/%s.tasks.jsonl", w->name) < 0 ||
        learner_path(w->t, path, sizeof path, err, "comparisons/%s.jsonl", w->name) < 0)
        return -1;
    if (c.settings->policies.count == 0) {
        tasks = json_array();
    } else {
        if (!rlhf_exists(w->t->io, tasks_path) && generate(&c, tasks_path, err) < 0)
            return -1;
        if (!(tasks = learner_read_lines(w->t, tasks_path, err)))
            return -1;
    }
    rc = submit(w, tasks, err) < 0 || fetch(w, tasks, path, err) < 0 ? -1 : 0;
    json_decref(tasks);
    return rc;
}
