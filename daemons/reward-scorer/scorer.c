#include "reward-scorer/scorer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "proto/work.pb-c.h"
#include "reward-scorer/sources.h"
#include "telemetry/log.h"

enum { FLUSH_TOKENS = 65536 };

struct scorer {
    struct rlhf_member *member;
    struct scorer_sources sources;
    /* finished, not yet sent; all by these models, or this source */
    Rlhf__V1__Score outbox[RLHF_RESULTS_A_MESSAGE];
    struct rlhf_digest reward_model, reference;
    const struct rlhf_source *source;
    size_t outbox_count;
    struct rlhf_bytes logprob;
    char reason[200];    /* of the last missing one */
    uint64_t missing; /* rewards in a row */
};

/* ---- results --------------------------------------------------------------------------------------- */

static void forget(void *ctx)
{
    struct scorer *s = ctx;

    s->outbox_count = 0;
    s->reason[0] = '\0';
    rlhf_bytes_clear(&s->logprob);
}

static ProtobufCBinaryData field_of(const struct rlhf_digest *d)
{
    return rlhf_digest_is_zero(d) ? (ProtobufCBinaryData){ 0 } : rlhf_digest_field(d);
}

static void send(void *ctx)
{
    Rlhf__V1__Scores body = RLHF__V1__SCORES__INIT;
    Rlhf__V1__Score *list[RLHF_RESULTS_A_MESSAGE];
    struct scorer *s = ctx;

    for (size_t i = 0; i < s->outbox_count; i++)
        list[i] = &s->outbox[i];
    body.reward_model = field_of(&s->reward_model);
    body.reference = field_of(&s->reference);
    if (s->source)
        body.source = (char *)rlhf_source_settings(s->source)->name;
    body.reason = s->reason;
    body.scores = list;
    body.n_scores = s->outbox_count;
    rlhf_member_send(s->member,
                     &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__SCORES,
                                             .body = &body.base,
                                             .blobs = { { s->logprob.data, s->logprob.size } },
                                             .blob_count = 1 },
                     "scores-not-sent");
    forget(s);
}

/* A source that fails repeatedly is logged once and then counted. The reason becomes one line, whatever it quotes. */
static void note_missing(struct scorer *s, const struct scorer_job *job, const char *why)
{
    snprintf(s->reason, sizeof s->reason, "%s", why ? why : "");
    for (char *c = s->reason; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
            *c = ' ';
    if (s->missing++ == 0)
        rlhf_log(RLHF_LEVEL_WARNING, "reward-missing source=%s reason=\"%s\" (others in a row are counted)",
                 rlhf_source_settings(job->source)->name, s->reason);
}

static void note_reward(struct scorer *s, const struct scorer_job *job)
{
    if (s->missing > 1)
        rlhf_log(RLHF_LEVEL_INFO, "rewards-again source=%s missing=%llu", rlhf_source_settings(job->source)->name,
                 (unsigned long long)s->missing);
    s->missing = 0;
}

void scorer_finished(struct scorer *s, uint64_t life, uint64_t id, float reward, const float *logprob_ref, size_t count,
                     const char *why)
{
    struct scorer_job *job = (struct scorer_job *)rlhf_member_current(s->member, life, id);
    struct rlhf_error err = { 0 };
    Rlhf__V1__Score *out;

    if (!job)
        return;
    if (!rlhf_digest_equal(&s->reward_model, &job->reward_model) || !rlhf_digest_equal(&s->reference, &job->reference)
        || s->source != job->source)
        rlhf_member_flush(s->member);
    if (rlhf_bytes_append(&s->logprob, logprob_ref, count * sizeof *logprob_ref, &err) < 0) {
        rlhf_member_return(s->member, &job->member, err.text);
        return;
    }
    s->reward_model = job->reward_model;
    s->reference = job->reference;
    s->source = job->source;
    if (isnan(reward))
        note_missing(s, job, why);
    else if (job->source)
        note_reward(s, job);
    out = &s->outbox[s->outbox_count++];
    rlhf__v1__score__init(out);
    out->id = id;
    out->attempt = job->member.attempt;
    out->missing = isnan(reward);
    out->reward = out->missing ? 0 : reward;
    out->logprobs = (uint32_t)count;
    rlhf_member_finish(s->member, &job->member, job->count, s->logprob.size >= FLUSH_TOKENS * sizeof *logprob_ref);
}

/* ---- jobs ------------------------------------------------------------------------------------------ */

static void add_digest(struct scorer_job *job, const ProtobufCBinaryData *field, struct rlhf_digest *digest)
{
    if (field->len == 0)
        return;
    *digest = rlhf_digest_of_field(field);
    job->member.weights[job->member.weights_count++] = *digest;
}

struct rlhf_source_text scorer_job_text(const struct scorer_job *job)
{
    const char *prompt = (const char *)(job->ids + job->count), *completion = prompt + job->text[0] + 1;

    return (struct rlhf_source_text){ .prompt = prompt,
                                      .completion = completion,
                                      .answer = job->has_answer ? completion + job->text[1] + 1 : NULL,
                                      .tokens = job->count - job->prompt_count };
}

/* Cuts a job's texts out of the blob; returns what is behind them. */
static const char *take_texts(struct scorer_job *job, const Rlhf__V1__ScoreJob *j, const char *from)
{
    const uint32_t sizes[] = { j->prompt_bytes, j->completion_bytes, j->answer_bytes };
    char *to = (char *)(job->ids + job->count);

    for (size_t i = 0; i < 3; i++) {
        memcpy(to, from, sizes[i]); /* the job was zeroed: behind it stands a NUL */
        job->text[i] = sizes[i];
        to += sizes[i] + 1;
        from += sizes[i];
    }
    job->has_answer = j->has_answer;
    return from;
}

static size_t size_of_job(const Rlhf__V1__ScoreJobs *body, const Rlhf__V1__ScoreJob *j)
{
    size_t size = sizeof(struct scorer_job) + j->tokens * sizeof(int32_t);

    return body->source ? size + j->prompt_bytes + j->completion_bytes + j->answer_bytes + 3 : size;
}

static int take(void *ctx, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ScoreJobs *body = (const Rlhf__V1__ScoreJobs *)m->body;
    const struct rlhf_source *source = NULL;
    const int32_t *ids = m->blobs[0].data;
    const char *texts = body->source ? m->blobs[1].data : NULL;
    struct scorer *s = ctx;

    if (body->source && !(source = scorer_source(&s->sources, body->source, err)))
        return -1;
    for (size_t i = 0; i < body->n_jobs; i++) {
        const Rlhf__V1__ScoreJob *j = body->jobs[i];
        struct scorer_job *job = rlhf_member_job(s->member, j->id, j->attempt, size_of_job(body, j), err);

        if (!job)
            return -1;
        add_digest(job, &body->reward_model, &job->reward_model);
        add_digest(job, &body->reference, &job->reference);
        job->temperature = body->temperature;
        job->source = source;
        job->count = j->tokens;
        job->prompt_count = j->prompt_tokens;
        memcpy(job->ids, ids, j->tokens * sizeof *ids);
        ids += j->tokens;
        if (source)
            texts = take_texts(job, j, texts);
        rlhf_member_take(s->member, &job->member);
    }
    return 0;
}

static const struct rlhf_member_ops ops = {
    .daemon = "reward-scorer",
    .results = "scores",
    .type = RLHF__V1__MESSAGE_TYPE__SCORE_JOBS,
    .schema = &rlhf__v1__score_jobs__descriptor,
    .check = rlhf_check_score_jobs,
    .take = take,
    .send = send,
    .forget = forget,
};

/* ---- life ------------------------------------------------------------------------------------------ */

struct scorer *scorer_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                          struct rlhf_member_engine *engine, struct rlhf_error *err)
{
    struct scorer *s = calloc(1, sizeof *s);

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "no memory for the scorer");
        return NULL;
    }
    if (!(s->member = rlhf_member_new(c, env, &ops, engine, s, err))) {
        free(s);
        return NULL;
    }
    return s;
}

struct rlhf_member *scorer_member(struct scorer *s)
{
    return s->member;
}

void scorer_free(struct scorer *s)
{
    if (!s)
        return;
    rlhf_member_free(s->member);
    scorer_sources_free(&s->sources);
    rlhf_bytes_free(&s->logprob);
    free(s);
}
