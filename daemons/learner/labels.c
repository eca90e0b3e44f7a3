/* labels.c - tasks to the label-collector, comparisons back. Both are safe to repeat: tasks have ids, pulls a cursor. */
#include "learner/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/log.h"

int learner_labels_begin(struct learner *l, struct rlhf_error *err)
{
    (void)err;
    l->submitted = 0;
    l->request = 0;
    l->idle_us = 0;
    l->cursor = l->action->cursor;
    l->answer.cursor = l->cursor;
    l->comparisons_capacity = 0;
    l->labels_at = l->heard_us = rlhf_now(l->env->clock);
    l->deadline_us = l->heard_us + l->action->deadline_us;
    if (l->action->kind == LEARNER_SUBMIT && l->action->task_count == 0)
        learner_finish(l, NULL);
    else
        learner_labels_send(l);
    return 0;
}

static int submit(struct learner *l, struct rlhf_error *err)
{
    const struct learner_action *a = l->action;
    size_t count = a->task_count - l->submitted;
    Rlhf__V1__Task task[LEARNER_TASKS_A_MESSAGE], *tasks[LEARNER_TASKS_A_MESSAGE];
    Rlhf__V1__TasksSubmit body = RLHF__V1__TASKS_SUBMIT__INIT;

    if (count > LEARNER_TASKS_A_MESSAGE)
        count = LEARNER_TASKS_A_MESSAGE;
    for (size_t i = 0; i < count; i++) {
        const struct learner_task *want = &a->tasks[l->submitted + i];

        rlhf__v1__task__init(&task[i]);
        task[i].id = (char *)want->id;
        task[i].prompt = (char *)want->prompt;
        task[i].completions = (char **)want->completions;
        task[i].n_completions = want->count;
        task[i].round = (char *)a->round;
        tasks[i] = &task[i];
    }
    body.tasks = tasks;
    body.n_tasks = count;
    l->submitting = count;
    return rlhf_node_send(l->node, l->collector,
                          &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__TASKS_SUBMIT,
                                                  .request = l->request,
                                                  .body = &body.base },
                          err);
}

static int pull(struct learner *l, struct rlhf_error *err)
{
    Rlhf__V1__ComparisonsPull body = RLHF__V1__COMPARISONS_PULL__INIT;

    body.cursor = l->cursor;
    body.limit = LEARNER_PULL_LIMIT;
    body.round = (char *)(l->action->round ? l->action->round : "");
    body.weights = l->action->weigh;
    body.labeler = l->answer.weight_count ? l->answer.weights[l->answer.weight_count - 1].labeler : (char *)"";
    return rlhf_node_send(l->node, l->collector,
                          &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__COMPARISONS_PULL,
                                                  .request = l->request,
                                                  .body = &body.base },
                          err);
}

void learner_labels_send(struct learner *l)
{
    struct rlhf_error err = { 0 };

    if (!l->action || !l->collector || l->request
        || (l->action->kind != LEARNER_SUBMIT && l->action->kind != LEARNER_PULL))
        return;
    l->request = ++l->last_request;
    l->labels_at = rlhf_now(l->env->clock) + l->options.label_retry_us;
    if ((l->action->kind == LEARNER_SUBMIT ? submit(l, &err) : pull(l, &err)) < 0)
        rlhf_log_error("labels-not-sent", &err); /* tried again at labels_at, or when the collector is back */
}

static bool expected(const struct learner *l, const struct rlhf_message *m, enum learner_action_kind kind)
{
    return l->action && l->action->kind == kind && l->request && m->request == l->request;
}

int learner_take_stored(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                        struct rlhf_error *err)
{
    const Rlhf__V1__TasksStored *body = (const Rlhf__V1__TasksStored *)m->body;

    (void)peer;
    if (!expected(l, m, LEARNER_SUBMIT))
        return 0; /* the answer to a message that was sent again */
    if ((size_t)body->stored + body->known != l->submitting)
        return rlhf_fail(err, RLHF_REJECT, "%zu tasks were submitted, %u are acknowledged", l->submitting,
                         body->stored + body->known);
    l->request = 0;
    l->submitted += l->submitting;
    if (l->submitted == l->action->task_count)
        learner_finish(l, NULL);
    else
        learner_labels_send(l);
    return 0;
}

static char *text(const char *s)
{
    return strdup(s ? s : "");
}

static int keep(struct learner *l, const Rlhf__V1__Comparison *got, struct rlhf_error *err)
{
    struct learner_comparison c = { .sequence = got->sequence, .revision = got->revision,
                                    .excluded = *got->excluded != '\0', .distrust = got->distrust };
    bool whole;

    if (l->answer.count == l->comparisons_capacity) {
        size_t capacity = l->comparisons_capacity ? 2 * l->comparisons_capacity : 256;
        struct learner_comparison *more = reallocarray(l->answer.comparisons, capacity, sizeof *more);

        if (!more)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu comparisons", capacity);
        l->answer.comparisons = more;
        l->comparisons_capacity = capacity;
    }
    c.id = text(got->id);
    c.task = text(got->task);
    c.prompt = text(got->prompt);
    c.labeler = text(got->labeler);
    c.source = text(got->source);
    c.completions = calloc(got->n_completions, sizeof *c.completions);
    c.ranks = calloc(got->n_ranks, sizeof *c.ranks);
    whole = c.id && c.task && c.prompt && c.labeler && c.source && c.completions && c.ranks;
    for (; whole && c.count < got->n_completions; c.count++) {
        whole = (c.completions[c.count] = text(got->completions[c.count]));
        c.ranks[c.count] = got->ranks[c.count];
    }
    if (!whole) {
        learner_comparison_free(&c);
        return rlhf_fail(err, RLHF_FULL, "no memory for a comparison");
    }
    l->answer.comparisons[l->answer.count++] = c;
    l->cursor = l->answer.cursor = got->sequence;
    return 0;
}

static int keep_weights(struct learner *l, const Rlhf__V1__Comparisons *body, struct rlhf_error *err)
{
    struct learner_answer *a = &l->answer;
    size_t all = a->weight_count + body->n_weights;
    struct learner_weight *more;

    if (all > LEARNER_MAX_LABELERS)
        return rlhf_fail(err, RLHF_REJECT, "weights of more than %d labelers", LEARNER_MAX_LABELERS);
    if (!(more = reallocarray(a->weights, all + 1, sizeof *more)))
        return rlhf_fail(err, RLHF_FULL, "no memory for the weights of %zu labelers", all);
    a->weights = more;
    for (size_t i = 0; i < body->n_weights; i++) {
        char *name = text(body->weights[i]->labeler);
        if (!name)
            return rlhf_fail(err, RLHF_FULL, "no memory for the weights of %zu labelers", all);
        more[a->weight_count++] = (struct learner_weight){ .labeler = name, .distrust = body->weights[i]->distrust };
    }
    return 0;
}

/* True when waiting on is in vain as far as can be known: nobody is asked for a comparison, and none came for long. */
static bool waited_enough(struct learner *l, const Rlhf__V1__Comparisons *body)
{
    int64_t now = rlhf_now(l->env->clock);

    if (body->n_comparisons > 0 || body->open_tasks > 0) {
        l->idle_us = 0;
        return false;
    }
    if (l->idle_us == 0) {
        l->idle_us = now;
        if (l->action->want > 0)
            rlhf_log(RLHF_LEVEL_WARNING, "no-task-open round=%s have=%zu want=%zu waiting_seconds=%lld",
                     l->action->round, l->action->have + l->answer.count, l->action->have + l->action->want,
                     (long long)(l->action->patience_us / 1000000));
    }
    return l->action->patience_us > 0 && now - l->idle_us >= l->action->patience_us;
}

/* True when the deadline has passed and all that there are suffice. */
static bool late_enough(const struct learner *l, const Rlhf__V1__Comparisons *body)
{
    return l->action->at_least > 0 && body->n_comparisons == 0 && l->action->have + l->answer.count >= l->action->at_least &&
           rlhf_now(l->env->clock) >= l->deadline_us;
}

int learner_take_comparisons(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                             struct rlhf_error *err)
{
    const Rlhf__V1__Comparisons *body = (const Rlhf__V1__Comparisons *)m->body;

    (void)peer;
    if (!expected(l, m, LEARNER_PULL))
        return 0;
    l->request = 0;
    l->heard_us = rlhf_now(l->env->clock);
    for (size_t i = 0; i < body->n_comparisons; i++) {
        if (body->comparisons[i]->sequence <= l->cursor)
            return rlhf_fail(err, RLHF_REJECT, "comparison %llu came again or out of order",
                             (unsigned long long)body->comparisons[i]->sequence);
        if (keep(l, body->comparisons[i], err) < 0)
            return -1;
    }
    if (body->cursor > l->cursor) /* skips what other rounds hold */
        l->cursor = l->answer.cursor = body->cursor;
    if (l->action->weigh && keep_weights(l, body, err) < 0)
        return -1;
    bool more = body->n_comparisons > 0 || (l->action->weigh && body->n_weights > 0);
    if (l->action->stage < l->stage_count && l->action->want > 0) {
        size_t have = l->action->have + l->answer.count, want = l->action->have + l->action->want;
        char detail[80];

        snprintf(detail, sizeof detail, "%zu of %zu comparisons, %u tasks open", have, want, body->open_tasks);
        learner_set_progress(l, l->action->stage, have, want, l->stages[l->action->stage].tokens, detail);
    }
    if (waited_enough(l, body) || late_enough(l, body)
        || (l->action->want > 0 ? l->answer.count >= l->action->want : !more))
        learner_finish(l, NULL);
    else if (more)
        learner_labels_send(l);
    else
        l->labels_at = rlhf_now(l->env->clock) + l->options.label_poll_us;
    return 0;
}
