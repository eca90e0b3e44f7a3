/* dispatch.c - jobs to those who have credit, results back into the order in which they were asked for. */
#include "learner/fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/log.h"

enum { LOGPROB_SLACK = 1 }; /* nats above 0 that rounding can never explain */

/* ---- who wants jobs ---------------------------------------------------------------------------------- */

static struct learner_hungry *table_of(struct learner *l, const struct learner_peer *worker)
{
    return worker->peer->role == RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER ? &l->workers : &l->scorers;
}

static size_t room(const struct learner_peer *worker)
{
    return worker->credit > worker->holder.held ? worker->credit - worker->holder.held : 0;
}

void learner_leaves_table(struct learner *l, struct learner_peer *worker)
{
    struct learner_hungry *h = table_of(l, worker);

    if (!worker->hungry)
        return;
    *(worker->before ? &worker->before->next : &h->first) = worker->next;
    *(worker->next ? &worker->next->before : &h->last) = worker->before;
    worker->hungry = false;
    h->count--;
}

void learner_appetite(struct learner *l, struct learner_peer *worker)
{
    struct learner_hungry *h = table_of(l, worker);

    if (room(worker) == 0) {
        learner_leaves_table(l, worker);
    } else if (!worker->hungry) {
        worker->hungry = true;
        worker->next = NULL;
        worker->before = h->last;
        *(h->last ? &h->last->next : &h->first) = worker;
        h->last = worker;
        h->count++;
    }
}

/* ---- jobs ---------------------------------------------------------------------------------------------- */

static void send_generate(struct learner *l, struct rlhf_peer *peer, const size_t *index, const uint32_t *attempt,
                          size_t count)
{
    const struct learner_action *a = l->action;
    struct rlhf_bytes prompts = { 0 };
    Rlhf__V1__GenerateJob job[LEARNER_MAX_JOBS_A_MESSAGE], *jobs[LEARNER_MAX_JOBS_A_MESSAGE];
    Rlhf__V1__JobName name[LEARNER_MAX_JOBS_A_MESSAGE];
    ProtobufCBinaryData digest[LEARNER_MAX_JOBS_A_MESSAGE];
    Rlhf__V1__Sampling sampling = RLHF__V1__SAMPLING__INIT, *samplings[] = { &sampling };
    Rlhf__V1__GenerateJobs body = RLHF__V1__GENERATE_JOBS__INIT;
    struct rlhf_error err = { 0 };

    sampling.temperature = a->sampling.temperature;
    sampling.top_k = a->sampling.top_k;
    sampling.top_p = (float)a->sampling.top_p;
    sampling.max_new_tokens = a->sampling.max_new_tokens;
    sampling.end_token = a->end_token;
    sampling.top_p_exact = a->sampling.top_p;
    sampling.min_p = a->sampling.min_p;
    sampling.typical_p = a->sampling.typical_p;
    sampling.repetition_penalty = a->sampling.repetition_penalty;
    sampling.no_repeat_ngram = a->sampling.no_repeat_ngram;
    sampling.min_new_tokens = a->sampling.min_new_tokens;
    sampling.more_ends = (int32_t *)a->more_ends.id;
    sampling.n_more_ends = a->more_ends.count;
    body.sampling = samplings;
    body.n_sampling = 1;
    body.weights = digest;
    body.jobs = jobs;
    body.n_jobs = count;
    for (size_t i = 0; i < count; i++) {
        const struct learner_generate_job *want = &a->generate[index[i]];
        size_t model = 0;

        while (model < body.n_weights && memcmp(digest[model].data, want->weights.bytes, RLHF_DIGEST_SIZE) != 0)
            model++;
        if (model == body.n_weights)
            digest[body.n_weights++] = (ProtobufCBinaryData){ RLHF_DIGEST_SIZE, (uint8_t *)want->weights.bytes };
        rlhf__v1__job_name__init(&name[i]);
        name[i].stage = a->stage;
        name[i].step = want->step;
        name[i].prompt = want->prompt;
        name[i].sample = want->sample;
        rlhf__v1__generate_job__init(&job[i]);
        job[i].id = l->first_job + index[i];
        job[i].attempt = attempt[i];
        job[i].name = &name[i];
        job[i].purpose = (Rlhf__V1__Purpose)a->purpose;
        job[i].seed = a->seed;
        job[i].model = (uint32_t)model;
        job[i].prompt_tokens = want->prompt_count;
        job[i].key_prompt = want->key_prompt;
        job[i].key_sample = want->key_sample;
        jobs[i] = &job[i];
        if (rlhf_bytes_append(&prompts, want->prompt_ids, want->prompt_count * sizeof *want->prompt_ids, &err) < 0)
            goto out;
    }
    rlhf_node_send(l->node, peer,
                   &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__GENERATE_JOBS,
                                           .body = &body.base,
                                           .blobs = { { prompts.data, prompts.size } },
                                           .blob_count = 1 },
                   &err);
out: /* what was not sent is leased all the same: the lease ends, or the peer is lost, and it is granted again */
    if (err.code != RLHF_OK)
        rlhf_log_error("jobs-not-sent", &err);
    rlhf_bytes_free(&prompts);
}

static Rlhf__V1__RewardSource source_message(const struct rlhf_source_settings *s)
{
    Rlhf__V1__RewardSource m = RLHF__V1__REWARD_SOURCE__INIT;

    m.kind = (Rlhf__V1__RewardKind)(s->kind + 1); /* both enums are one list */
    m.name = (char *)s->name;
    m.expression = (char *)s->expression;
    m.matched = s->matched;
    m.unmatched = s->unmatched;
    m.numbers = s->numbers;
    m.unit = (Rlhf__V1__LengthUnit)(s->unit + 1);
    m.low = s->low;
    m.high = s->high;
    m.per_unit = s->per_unit;
    m.url = (char *)s->url;
    m.credential = (char *)s->credential;
    m.timeout_ms = s->timeout_ms;
    m.attempts = s->attempts;
    m.backoff_ms = s->backoff_ms;
    m.batch = s->batch;
    m.concurrency = s->concurrency;
    m.model = (char *)s->model;
    m.system = (char *)s->system;
    m.question = (char *)s->question;
    m.key = (char *)s->key;
    m.max_tokens = s->max_tokens;
    return m;
}

static int append_text(struct rlhf_bytes *texts, const char *text, uint32_t *size, struct rlhf_error *err)
{
    *size = text ? (uint32_t)strlen(text) : 0;
    return rlhf_bytes_append(texts, text, *size, err);
}

static void send_score(struct learner *l, struct rlhf_peer *peer, const size_t *index, const uint32_t *attempt,
                       size_t count)
{
    const struct learner_action *a = l->action;
    struct rlhf_bytes ids = { 0 }, texts = { 0 };
    Rlhf__V1__ScoreJob job[LEARNER_MAX_JOBS_A_MESSAGE], *jobs[LEARNER_MAX_JOBS_A_MESSAGE];
    Rlhf__V1__ScoreJobs body = RLHF__V1__SCORE_JOBS__INIT;
    Rlhf__V1__RewardSource source;
    struct rlhf_error err = { 0 };

    if (!rlhf_digest_is_zero(&a->reward_model))
        body.reward_model = (ProtobufCBinaryData){ RLHF_DIGEST_SIZE, (uint8_t *)a->reward_model.bytes };
    if (!rlhf_digest_is_zero(&a->reference))
        body.reference = (ProtobufCBinaryData){ RLHF_DIGEST_SIZE, (uint8_t *)a->reference.bytes };
    if (a->source) {
        source = source_message(a->source);
        body.source = &source;
    }
    body.temperature = a->temperature;
    body.jobs = jobs;
    body.n_jobs = count;
    for (size_t i = 0; i < count; i++) {
        const struct learner_score_job *want = &a->score[index[i]];
        const struct rlhf_source_text *t = &want->text;

        rlhf__v1__score_job__init(&job[i]);
        job[i].id = l->first_job + index[i];
        job[i].attempt = attempt[i];
        job[i].tokens = want->count;
        job[i].prompt_tokens = want->prompt_count;
        job[i].has_answer = a->source && t->answer;
        jobs[i] = &job[i];
        if (rlhf_bytes_append(&ids, want->ids, want->count * sizeof *want->ids, &err) < 0
            || (a->source
                && (append_text(&texts, t->prompt, &job[i].prompt_bytes, &err) < 0
                    || append_text(&texts, t->completion, &job[i].completion_bytes, &err) < 0
                    || append_text(&texts, t->answer, &job[i].answer_bytes, &err) < 0)))
            goto out;
    }
    rlhf_node_send(l->node, peer,
                   &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__SCORE_JOBS,
                                           .body = &body.base,
                                           .blobs = { { ids.data, ids.size }, { texts.data, texts.size } },
                                           .blob_count = a->source ? 2 : 1 },
                   &err);
out:
    if (err.code != RLHF_OK)
        rlhf_log_error("jobs-not-sent", &err);
    rlhf_bytes_free(&ids);
    rlhf_bytes_free(&texts);
}

/* One helping: a fair share of what is pending, so that the first to ask does not take it all. */
static size_t feed(struct learner *l, struct learner_peer *worker, size_t share)
{
    size_t index[LEARNER_MAX_JOBS_A_MESSAGE], credit = room(worker), granted;
    uint32_t attempt[LEARNER_MAX_JOBS_A_MESSAGE];

    if (credit > share)
        credit = share;
    if (credit > LEARNER_MAX_JOBS_A_MESSAGE)
        credit = LEARNER_MAX_JOBS_A_MESSAGE;
    granted = learner_leases_grant(l->leases, &worker->holder, credit, index, attempt);
    if (granted == 0)
        return 0;
    l->counters.granted += granted;
    if (l->action->kind == LEARNER_GENERATE)
        send_generate(l, worker->peer, index, attempt, granted);
    else
        send_score(l, worker->peer, index, attempt, granted);
    return granted;
}

static void finish_when_done(struct learner *l)
{
    size_t aside = learner_leases_aside(l->leases);

    if (learner_leases_open_jobs(l->leases) > 0)
        return;
    for (size_t i = 0; aside > 0 && i < l->answer.count; i++) {
        if (!learner_leases_is_aside(l->leases, i))
            continue;
        if (l->action->kind == LEARNER_GENERATE)
            l->answer.rollouts[i].missing = true;
        else
            l->answer.scores[i].missing = true;
        rlhf_log(RLHF_LEVEL_ERROR, "job-set-aside stage=%u kind=%s job=%zu attempts=%u", l->action->stage,
                 l->action->kind == LEARNER_GENERATE ? "generate" : "score", i, l->options.max_attempts);
    }
    l->counters.aside += aside;
    learner_finish(l, NULL);
}

void learner_dispatch(struct learner *l)
{
    struct learner_hungry *h;
    size_t pending, fed = 1;

    if (!l->action || (l->action->kind != LEARNER_GENERATE && l->action->kind != LEARNER_SCORE))
        return;
    h = l->action->kind == LEARNER_GENERATE ? &l->workers : &l->scorers;
    while (fed > 0 && learner_leases_pending(l->leases) > 0) { /* rounds: who could take more stands at the end again */
        fed = 0;
        for (size_t left = h->count; left > 0 && (pending = learner_leases_pending(l->leases)) > 0; left--) {
            struct learner_peer *worker = h->first;

            learner_leaves_table(l, worker);
            fed += feed(l, worker, (pending + left - 1) / left);
            learner_appetite(l, worker);
        }
    }
    finish_when_done(l);
}

int learner_dispatch_begin(struct learner *l, struct rlhf_error *err)
{
    const struct learner_action *a = l->action;
    size_t count = a->kind == LEARNER_GENERATE ? a->generate_count : a->score_count;

    for (size_t i = 0; a->kind == LEARNER_GENERATE && i < count; i++)
        if (!learner_find_published(l, a->generate[i].weights.bytes))
            return rlhf_fail(err, RLHF_FATAL, "completions were asked for from weights that are not published");
    if (a->kind == LEARNER_GENERATE)
        l->answer.rollouts = calloc(count + 1, sizeof *l->answer.rollouts);
    else
        l->answer.scores = calloc(count + 1, sizeof *l->answer.scores);
    if (!l->answer.rollouts && !l->answer.scores)
        return rlhf_fail(err, RLHF_FULL, "no memory for %zu results", count);
    l->answer.count = count;
    if (learner_leases_open(l->leases, count, &l->first_job, err) < 0)
        return -1;
    learner_dispatch(l);
    return 0;
}

/* A refused result goes back to the others; its sender is told why. */
static int refuse(struct learner *l, struct rlhf_peer *peer, uint64_t id)
{
    struct learner_peer *worker = peer->state;

    l->counters.refused++;
    if (worker)
        learner_leases_return(l->leases, &worker->holder, id);
    learner_dispatch(l);
    return -1;
}

static void *copy(const void *data, size_t size)
{
    void *p = malloc(size ? size : 1);

    return p ? memcpy(p, data, size) : NULL;
}

static bool is_end(const struct learner_action *a, int32_t id)
{
    return id == a->end_token || rlhf_ends_has(&a->more_ends, id);
}

static int check_rollout(const struct learner *l, const Rlhf__V1__Rollout *r, size_t index, const int32_t *ids,
                         const float *logprob, const float *raw, struct rlhf_error *err)
{
    const struct learner_action *a = l->action;
    const struct learner_generate_job *want = &a->generate[index];
    const struct learner_published *weights = learner_find_published(l, want->weights.bytes);
    bool ends;

    if (memcmp(r->weights.data, want->weights.bytes, RLHF_DIGEST_SIZE) != 0)
        return rlhf_fail(err, RLHF_REJECT, "rollout %llu was sampled from other weights than its job names",
                         (unsigned long long)r->id);
    if (r->tokens == 0 || r->tokens > a->sampling.max_new_tokens)
        return rlhf_fail(err, RLHF_REJECT, "rollout %llu has %u tokens, 1 to %u were asked for",
                         (unsigned long long)r->id, r->tokens, a->sampling.max_new_tokens);
    for (uint32_t i = 0; i < r->tokens; i++) {
        if (ids[i] < 0 || (weights->vocabulary && (uint32_t)ids[i] >= weights->vocabulary))
            return rlhf_fail(err, RLHF_REJECT, "rollout %llu: token %u is %d, outside the vocabulary of %u",
                             (unsigned long long)r->id, i, ids[i], weights->vocabulary);
        if (!isfinite(logprob[i]) || !isfinite(raw[i]) || logprob[i] > LOGPROB_SLACK || raw[i] > LOGPROB_SLACK)
            return rlhf_fail(err, RLHF_REJECT, "rollout %llu: the log-prob of token %u is no log-prob",
                             (unsigned long long)r->id, i);
        if (is_end(a, ids[i]) && i + 1 < r->tokens)
            return rlhf_fail(err, RLHF_REJECT, "rollout %llu goes on behind its end token",
                             (unsigned long long)r->id);
    }
    ends = is_end(a, ids[r->tokens - 1]);
    if (ends != (r->finish == RLHF__V1__FINISH_REASON__FINISH_END))
        return rlhf_fail(err, RLHF_REJECT, "rollout %llu: finish reason and last token disagree",
                         (unsigned long long)r->id);
    return 0;
}

static void count_result(struct learner *l, struct rlhf_peer *peer)
{
    struct learner_peer *worker = peer->state;

    l->counters.done++;
    if (worker)
        worker->done++;
}

int learner_take_rollouts(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                          struct rlhf_error *err)
{
    const Rlhf__V1__Rollouts *body = (const Rlhf__V1__Rollouts *)m->body;
    const int32_t *ids = m->blobs[0].data;
    const float *logprob = m->blobs[1].data, *raw = m->blobs[2].data;
    int rc = 0;

    for (size_t i = 0; i < body->n_rollouts; i++) {
        const Rlhf__V1__Rollout *r = body->rollouts[i];
        struct learner_rollout *out, taken = { .count = r->tokens };
        size_t index;

        if (!l->action || l->action->kind != LEARNER_GENERATE || !learner_leases_wanted(l->leases, r->id, &index)) {
            l->counters.late++;
        } else if (check_rollout(l, r, index, ids, logprob, raw, err) < 0) {
            rc = refuse(l, peer, r->id);
        } else {
            taken.ids = copy(ids, r->tokens * sizeof *ids);
            taken.logprob = copy(logprob, r->tokens * sizeof *logprob);
            taken.logprob_raw = copy(raw, r->tokens * sizeof *raw);
            taken.ended = r->finish == RLHF__V1__FINISH_REASON__FINISH_END;
            out = &l->answer.rollouts[index];
            if (!taken.ids || !taken.logprob || !taken.logprob_raw) {
                free(taken.ids);
                free(taken.logprob);
                free(taken.logprob_raw);
                return rlhf_fail(err, RLHF_FULL, "no memory for a rollout of %u tokens", r->tokens);
            }
            *out = taken;
            learner_leases_done(l->leases, r->id);
            count_result(l, peer);
        }
        ids += r->tokens;
        logprob += r->tokens;
        raw += r->tokens;
    }
    learner_dispatch(l);
    return rc;
}

static bool same_model(const ProtobufCBinaryData *got, const struct rlhf_digest *want)
{
    return rlhf_digest_is_zero(want) ? got->len == 0
                                     : got->len == RLHF_DIGEST_SIZE && memcmp(got->data, want->bytes, got->len) == 0;
}

static int check_score(const struct learner *l, const Rlhf__V1__Scores *body, const Rlhf__V1__Score *s,
                       size_t index, const float *logprob, struct rlhf_error *err)
{
    const struct learner_action *a = l->action;
    const struct learner_score_job *want = &a->score[index];
    uint32_t logprobs = rlhf_digest_is_zero(&a->reference) ? 0 : want->count - want->prompt_count;

    if (!same_model(&body->reward_model, &a->reward_model) || !same_model(&body->reference, &a->reference))
        return rlhf_fail(err, RLHF_REJECT, "score %llu comes from other models than its job names",
                         (unsigned long long)s->id);
    if (strcmp(body->source, a->source ? a->source->name : "") != 0)
        return rlhf_fail(err, RLHF_REJECT, "score %llu comes from another source than its job names",
                         (unsigned long long)s->id);
    if (s->logprobs != logprobs)
        return rlhf_fail(err, RLHF_REJECT, "score %llu has %u log-probs, %u were asked for",
                         (unsigned long long)s->id, s->logprobs, logprobs);
    if (!isfinite(s->reward))
        return rlhf_fail(err, RLHF_REJECT, "score %llu: the reward is not finite", (unsigned long long)s->id);
    for (uint32_t i = 0; i < logprobs; i++)
        if (!isfinite(logprob[i]) || logprob[i] > LOGPROB_SLACK)
            return rlhf_fail(err, RLHF_REJECT, "score %llu: the log-prob of token %u is no log-prob",
                             (unsigned long long)s->id, i);
    return 0;
}

int learner_take_scores(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                        struct rlhf_error *err)
{
    const Rlhf__V1__Scores *body = (const Rlhf__V1__Scores *)m->body;
    const float *logprob = m->blob_count ? m->blobs[0].data : NULL;
    int rc = 0;

    for (size_t i = 0; i < body->n_scores; i++) {
        const Rlhf__V1__Score *s = body->scores[i];
        size_t index;

        if (!l->action || l->action->kind != LEARNER_SCORE || !learner_leases_wanted(l->leases, s->id, &index)) {
            l->counters.late++;
        } else if (check_score(l, body, s, index, logprob, err) < 0) {
            rc = refuse(l, peer, s->id);
        } else {
            struct learner_score taken = { .reward = s->missing ? NAN : s->reward, .missing = s->missing };

            if (s->logprobs > 0 && !(taken.logprob_ref = copy(logprob, s->logprobs * sizeof *logprob)))
                return rlhf_fail(err, RLHF_FULL, "no memory for %u log-probs", s->logprobs);
            l->answer.scores[index] = taken;
            if (s->missing)
                snprintf(l->answer.reason, sizeof l->answer.reason, "%s", body->reason);
            learner_leases_done(l->leases, s->id);
            count_result(l, peer);
        }
        if (logprob)
            logprob += s->logprobs;
    }
    learner_dispatch(l);
    return rc;
}

int learner_take_back(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                      struct rlhf_error *err)
{
    const Rlhf__V1__JobsReturned *body = (const Rlhf__V1__JobsReturned *)m->body;
    struct learner_peer *worker = peer->state;

    (void)err;
    for (size_t i = 0; worker && i < body->n_ids; i++)
        learner_leases_return(l->leases, &worker->holder, body->ids[i]);
    l->counters.returned += body->n_ids;
    rlhf_log(RLHF_LEVEL_WARNING, "jobs-returned peer=%llu jobs=%zu reason=\"%s\"", (unsigned long long)peer->id,
             body->n_ids, body->reason);
    learner_dispatch(l);
    return 0;
}
