#include "reward-scorer/scorer.h"

#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "proto/control.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "telemetry/log.h"

enum { MAX_SCORES_A_MESSAGE = 256, FLUSH_TOKENS = 65536 };

struct scorer {
    struct rlhf_member *member; /* first: rlhf_member_on_...() find it here */
    struct scorer_options options;
    const struct rlhf_env *env;
    struct scorer_engine *engine;
    struct rlhf_node *node;
    struct rlhf_machine machine;
    uint64_t life; /* grows with every cancel */
    /* finished, not yet sent; all by these models */
    Rlhf__V1__Score outbox[MAX_SCORES_A_MESSAGE];
    struct rlhf_digest reward_model, reference;
    size_t outbox_count;
    struct rlhf_bytes logprob;
    int64_t flush_at;
    uint64_t done, tokens;
    bool draining;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- results --------------------------------------------------------------------------------------- */

static void clear_outbox(struct scorer *s)
{
    s->outbox_count = 0;
    rlhf_bytes_clear(&s->logprob);
}

static ProtobufCBinaryData field_of(const struct rlhf_digest *d)
{
    return rlhf_digest_is_zero(d) ? (ProtobufCBinaryData){ 0 } : rlhf_digest_field(d);
}

static void flush(struct scorer *s)
{
    Rlhf__V1__Scores body = RLHF__V1__SCORES__INIT;
    Rlhf__V1__Score *list[MAX_SCORES_A_MESSAGE];
    struct rlhf_peer *learner = rlhf_member_learner(s->member);
    struct rlhf_error err = { 0 };

    if (s->outbox_count == 0)
        return;
    for (size_t i = 0; i < s->outbox_count; i++)
        list[i] = &s->outbox[i];
    body.reward_model = field_of(&s->reward_model);
    body.reference = field_of(&s->reference);
    body.scores = list;
    body.n_scores = s->outbox_count;
    if (learner
        && rlhf_node_send(s->node, learner,
                          &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__SCORES,
                                                  .body = &body.base,
                                                  .blobs = { { s->logprob.data, s->logprob.size } },
                                                  .blob_count = 1 },
                          &err)
               < 0)
        rlhf_log_error("scores-not-sent", &err); /* no heartbeat lists them any more: somebody does them again */
    clear_outbox(s);
}

static struct scorer_job *current(struct scorer *s, uint64_t life, uint64_t id)
{
    return life == s->life ? (struct scorer_job *)rlhf_member_find(s->member, id) : NULL;
}

void scorer_finished(struct scorer *s, uint64_t life, uint64_t id, float reward, const float *logprob_ref, size_t count)
{
    struct scorer_job *job = current(s, life, id);
    Rlhf__V1__Score *out;
    struct rlhf_error err = { 0 };

    if (!job)
        return;
    if (s->outbox_count > 0
        && (!rlhf_digest_equal(&s->reward_model, &job->reward_model)
            || !rlhf_digest_equal(&s->reference, &job->reference)))
        flush(s);
    if (rlhf_bytes_append(&s->logprob, logprob_ref, count * sizeof *logprob_ref, &err) < 0) {
        rlhf_member_return(s->member, &job->member, err.text);
        return;
    }
    if (s->outbox_count == 0) {
        s->reward_model = job->reward_model;
        s->reference = job->reference;
        s->flush_at = rlhf_now(s->env->clock) + s->options.flush_us;
    }
    out = &s->outbox[s->outbox_count++];
    rlhf__v1__score__init(out);
    out->id = id;
    out->attempt = job->member.attempt;
    out->reward = reward;
    out->logprobs = (uint32_t)count;
    s->done++;
    s->tokens += job->count;
    rlhf_member_finish(s->member, &job->member);
    if (s->outbox_count == MAX_SCORES_A_MESSAGE || s->logprob.size >= FLUSH_TOKENS * sizeof *logprob_ref
        || rlhf_member_held(s->member) == 0)
        flush(s);
}

void scorer_failed(struct scorer *s, uint64_t life, uint64_t id, const struct rlhf_error *why)
{
    struct scorer_job *job = current(s, life, id);

    if (!job)
        return;
    rlhf_log_error("job-failed", why);
    rlhf_member_return(s->member, &job->member, why->text);
}

/* ---- jobs ------------------------------------------------------------------------------------------ */

static void add_digest(struct scorer_job *job, const ProtobufCBinaryData *field, struct rlhf_digest *digest)
{
    if (field->len == 0)
        return;
    *digest = rlhf_digest_of_field(field);
    job->member.weights[job->member.weights_count++] = *digest;
}

static int on_jobs(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__ScoreJobs *body = (const Rlhf__V1__ScoreJobs *)m->body;
    const int32_t *ids = m->blobs[0].data;
    struct scorer *s = machine;

    (void)peer;
    for (size_t i = 0; i < body->n_jobs; i++) {
        const Rlhf__V1__ScoreJob *j = body->jobs[i];
        struct scorer_job *job = calloc(1, sizeof *job + j->tokens * sizeof *ids);

        if (!job) { /* what came before it is held; the rest comes back when its lease ends */
            rlhf_member_return_ids(s->member, &body->jobs[i]->id, 1, "no memory for the job");
            return rlhf_fail(err, RLHF_FULL, "no memory for a job of %u tokens", j->tokens);
        }
        job->member.id = j->id;
        job->member.attempt = j->attempt;
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

static void begin(void *ctx, struct rlhf_member_job *job)
{
    struct scorer *s = ctx;

    s->engine->begin(s->engine, s->life, (const struct scorer_job *)job);
}

static void cancel(void *ctx)
{
    struct scorer *s = ctx;

    s->life++;
    clear_outbox(s);
    s->engine->cancel(s->engine);
}

static void add_weights(void *ctx, struct rlhf_weights *weights)
{
    struct scorer *s = ctx;

    s->engine->add_weights(s->engine, weights);
}

static void drop_weights(void *ctx, const struct rlhf_digest *digest)
{
    struct scorer *s = ctx;

    s->engine->drop_weights(s->engine, digest);
}

static void free_job(void *ctx, struct rlhf_member_job *job)
{
    (void)ctx;
    free(job);
}

static const struct rlhf_member_ops member_ops = {
    .add_weights = add_weights,
    .drop_weights = drop_weights,
    .begin = begin,
    .cancel = cancel,
    .free_job = free_job,
};

/* ---- the other messages ---------------------------------------------------------------------------- */

static int on_status(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct scorer *s = machine;

    return rlhf_member_send_status(s->member, peer, m,
                                   &(struct rlhf_member_status){ .daemon = "reward-scorer", .results = "scores",
                                                                 .done = s->done, .tokens = s->tokens,
                                                                 .draining = s->draining },
                                   err);
}

static int on_drain(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct scorer *s = machine;
    int rc;

    s->draining = true;
    rc = on_status(machine, peer, m, err);
    scorer_drain(s, ((const Rlhf__V1__Drain *)m->body)->reason);
    return rc;
}

#define LEARNER RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LEARNER)
#define CONTROL RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_CONTROL)

static const struct rlhf_handler handlers[] = {
    { RLHF__V1__MESSAGE_TYPE__SCORE_JOBS, &rlhf__v1__score_jobs__descriptor, LEARNER, 1u << 20, 1, 64u << 20,
      rlhf_check_score_jobs, on_jobs },
    { RLHF__V1__MESSAGE_TYPE__WEIGHTS_ANNOUNCE, &rlhf__v1__weights_announce__descriptor, LEARNER, 1u << 13, 0, 0,
      rlhf_check_weights_announce, rlhf_member_on_announce },
    { RLHF__V1__MESSAGE_TYPE__WEIGHTS_MANIFEST, &rlhf__v1__weights_manifest__descriptor, LEARNER,
      RLHF_MANIFEST_BYTES, 0, 0, rlhf_check_weights_manifest, rlhf_member_on_manifest },
    { RLHF__V1__MESSAGE_TYPE__CHUNK, &rlhf__v1__chunk__descriptor, LEARNER, 1u << 8, 1, RLHF_CHUNK_SIZE,
      rlhf_check_chunk, rlhf_member_on_chunk },
    { RLHF__V1__MESSAGE_TYPE__ERROR, &rlhf__v1__error__descriptor, LEARNER | CONTROL, 1u << 12, 0, 0, rlhf_check_error,
      rlhf_member_on_error },
    { RLHF__V1__MESSAGE_TYPE__STATUS_REQUEST, &rlhf__v1__status_request__descriptor, CONTROL, 1u << 6, 0, 0, NULL,
      on_status },
    { RLHF__V1__MESSAGE_TYPE__DRAIN, &rlhf__v1__drain__descriptor, CONTROL, 1u << 12, 0, 0, rlhf_check_drain,
      on_drain },
    { 0 },
};

/* ---- life ------------------------------------------------------------------------------------------ */

static void tick(void *machine, int64_t now)
{
    struct scorer *s = machine;

    rlhf_member_tick(s->member, now);
    if (s->outbox_count > 0 && now >= s->flush_at)
        flush(s);
}

static int64_t deadline(void *machine)
{
    struct scorer *s = machine;
    int64_t at = rlhf_member_deadline(s->member);

    return s->outbox_count > 0 && s->flush_at < at ? s->flush_at : at;
}

static size_t held_jobs(void *machine, uint64_t *ids, size_t max)
{
    struct scorer *s = machine;
    size_t count = rlhf_member_held_jobs(s->member, ids, max);

    for (size_t i = 0; i < s->outbox_count && count < max; i++)
        ids[count++] = s->outbox[i].id;
    return count;
}

struct scorer *scorer_new(const struct scorer_options *o, const struct rlhf_env *env, struct scorer_engine *engine,
                          struct rlhf_error *err)
{
    struct scorer *s = calloc(1, sizeof *s);

    if (!s) {
        rlhf_fail(err, RLHF_FULL, "no memory for the scorer");
        return NULL;
    }
    s->options = *o;
    s->env = env;
    s->engine = engine;
    s->life = 1;
    s->machine = (struct rlhf_machine){ .handlers = handlers,
                                        .state = s,
                                        .peer_up = rlhf_member_peer_up,
                                        .peer_lost = rlhf_member_peer_lost,
                                        .tick = tick,
                                        .deadline = deadline,
                                        .held_jobs = held_jobs };
    if (!(s->member = rlhf_member_new(&o->member, env, &member_ops, s, err))) {
        free(s);
        return NULL;
    }
    return s;
}

const struct rlhf_machine *scorer_machine(struct scorer *s)
{
    return &s->machine;
}

void scorer_join(struct scorer *s, struct rlhf_node *n)
{
    s->node = n;
    rlhf_member_join(s->member, n);
}

void scorer_drain(struct scorer *s, const char *reason)
{
    s->draining = true;
    flush(s);
    rlhf_member_drain(s->member, reason);
    if (s->drained)
        s->drained(s->drained_ctx);
}

void scorer_on_drain(struct scorer *s, void (*drained)(void *ctx), void *ctx)
{
    s->drained = drained;
    s->drained_ctx = ctx;
}

void scorer_free(struct scorer *s)
{
    if (!s)
        return;
    rlhf_member_free(s->member);
    rlhf_bytes_free(&s->logprob);
    free(s);
}
