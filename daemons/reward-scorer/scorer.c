#include "reward-scorer/scorer.h"

#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "proto/work.pb-c.h"

enum { FLUSH_TOKENS = 65536 };

struct scorer {
    struct rlhf_member *member;
    /* finished, not yet sent; all by these models */
    Rlhf__V1__Score outbox[RLHF_RESULTS_A_MESSAGE];
    struct rlhf_digest reward_model, reference;
    size_t outbox_count;
    struct rlhf_bytes logprob;
};

/* ---- results --------------------------------------------------------------------------------------- */

static void forget(void *ctx)
{
    struct scorer *s = ctx;

    s->outbox_count = 0;
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

void scorer_finished(struct scorer *s, uint64_t life, uint64_t id, float reward, const float *logprob_ref, size_t count)
{
    struct scorer_job *job = (struct scorer_job *)rlhf_member_current(s->member, life, id);
    struct rlhf_error err = { 0 };
    Rlhf__V1__Score *out;

    if (!job)
        return;
    if (!rlhf_digest_equal(&s->reward_model, &job->reward_model) || !rlhf_digest_equal(&s->reference, &job->reference))
        rlhf_member_flush(s->member);
    if (rlhf_bytes_append(&s->logprob, logprob_ref, count * sizeof *logprob_ref, &err) < 0) {
        rlhf_member_return(s->member, &job->member, err.text);
        return;
    }
    s->reward_model = job->reward_model;
    s->reference = job->reference;
    out = &s->outbox[s->outbox_count++];
    rlhf__v1__score__init(out);
    out->id = id;
    out->attempt = job->member.attempt;
    out->reward = reward;
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

static int take(void *ctx, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ScoreJobs *body = (const Rlhf__V1__ScoreJobs *)m->body;
    const int32_t *ids = m->blobs[0].data;
    struct scorer *s = ctx;

    for (size_t i = 0; i < body->n_jobs; i++) {
        const Rlhf__V1__ScoreJob *j = body->jobs[i];
        struct scorer_job *job = rlhf_member_job(s->member, j->id, j->attempt, sizeof *job + j->tokens * sizeof *ids, err);

        if (!job)
            return -1;
        add_digest(job, &body->reward_model, &job->reward_model);
        add_digest(job, &body->reference, &job->reference);
        job->temperature = body->temperature;
        job->count = j->tokens;
        job->prompt_count = j->prompt_tokens;
        memcpy(job->ids, ids, j->tokens * sizeof *ids);
        ids += j->tokens;
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
    rlhf_bytes_free(&s->logprob);
    free(s);
}
