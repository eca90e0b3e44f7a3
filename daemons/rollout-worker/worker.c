#include "rollout-worker/worker.h"

#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "proto/control.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "telemetry/log.h"

enum { MAX_ROLLOUTS_A_MESSAGE = 256, FLUSH_TOKENS = 65536 };

struct worker {
    struct rlhf_member *member; /* first: rlhf_member_on_...() find it here */
    struct worker_options options;
    const struct rlhf_env *env;
    struct worker_engine *engine;
    struct rlhf_node *node;
    struct rlhf_machine machine;
    uint64_t life; /* grows with every cancel */
    /* finished, not yet sent */
    Rlhf__V1__Rollout outbox[MAX_ROLLOUTS_A_MESSAGE];
    struct rlhf_digest outbox_weights[MAX_ROLLOUTS_A_MESSAGE];
    size_t outbox_count;
    struct rlhf_bytes ids, logprob, logprob_raw;
    int64_t flush_at;
    uint64_t done, tokens;
    bool draining;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- results --------------------------------------------------------------------------------------- */

static void clear_outbox(struct worker *w)
{
    w->outbox_count = 0;
    rlhf_bytes_clear(&w->ids);
    rlhf_bytes_clear(&w->logprob);
    rlhf_bytes_clear(&w->logprob_raw);
}

static void flush(struct worker *w)
{
    Rlhf__V1__Rollouts body = RLHF__V1__ROLLOUTS__INIT;
    Rlhf__V1__Rollout *list[MAX_ROLLOUTS_A_MESSAGE];
    struct rlhf_peer *learner = rlhf_member_learner(w->member);
    struct rlhf_error err = { 0 };

    if (w->outbox_count == 0)
        return;
    for (size_t i = 0; i < w->outbox_count; i++) {
        w->outbox[i].weights = rlhf_digest_field(&w->outbox_weights[i]);
        list[i] = &w->outbox[i];
    }
    body.rollouts = list;
    body.n_rollouts = w->outbox_count;
    if (learner
        && rlhf_node_send(w->node, learner,
                          &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__ROLLOUTS,
                                                  .body = &body.base,
                                                  .blobs = { { w->ids.data, w->ids.size },
                                                             { w->logprob.data, w->logprob.size },
                                                             { w->logprob_raw.data, w->logprob_raw.size } },
                                                  .blob_count = 3 },
                          &err)
               < 0)
        rlhf_log_error("rollouts-not-sent", &err); /* no heartbeat lists them any more: somebody does them again */
    clear_outbox(w);
}

static struct worker_job *current(struct worker *w, uint64_t life, uint64_t id)
{
    return life == w->life ? (struct worker_job *)rlhf_member_find(w->member, id) : NULL;
}

void worker_finished(struct worker *w, uint64_t life, const struct worker_result *r)
{
    struct worker_job *job = current(w, life, r->id);
    Rlhf__V1__Rollout *out = &w->outbox[w->outbox_count];
    size_t size = r->count * sizeof *r->ids;
    struct rlhf_error err = { 0 };

    if (!job)
        return;
    if (rlhf_bytes_append(&w->ids, r->ids, size, &err) < 0 || rlhf_bytes_append(&w->logprob, r->logprob, size, &err) < 0
        || rlhf_bytes_append(&w->logprob_raw, r->logprob_raw, size, &err) < 0) {
        size_t whole = 0; /* cut back to what the outbox lists */

        for (size_t i = 0; i < w->outbox_count; i++)
            whole += w->outbox[i].tokens * sizeof *r->ids;
        w->ids.size = w->logprob.size = w->logprob_raw.size = whole;
        rlhf_member_return(w->member, &job->member, err.text);
        return;
    }
    rlhf__v1__rollout__init(out);
    out->id = r->id;
    out->attempt = job->member.attempt;
    out->finish = r->ended ? RLHF__V1__FINISH_REASON__FINISH_END : RLHF__V1__FINISH_REASON__FINISH_LENGTH;
    out->tokens = (uint32_t)r->count;
    w->outbox_weights[w->outbox_count++] = job->member.weights[0];
    w->done++;
    w->tokens += r->count;
    rlhf_member_finish(w->member, &job->member);
    if (w->outbox_count == 1)
        w->flush_at = rlhf_now(w->env->clock) + w->options.flush_us;
    if (w->outbox_count == MAX_ROLLOUTS_A_MESSAGE || w->ids.size >= FLUSH_TOKENS * sizeof *r->ids
        || rlhf_member_held(w->member) == 0)
        flush(w);
}

void worker_failed(struct worker *w, uint64_t life, uint64_t id, const struct rlhf_error *why)
{
    struct worker_job *job = current(w, life, id);

    if (!job)
        return;
    rlhf_log_error("job-failed", why);
    rlhf_member_return(w->member, &job->member, why->text);
}

/* ---- jobs ------------------------------------------------------------------------------------------ */

static struct rlhf_sampling sampling_of(const Rlhf__V1__Sampling *s)
{
    return (struct rlhf_sampling){ .temperature = s->temperature,
                                   .top_k = s->top_k,
                                   .top_p = s->top_p_exact > 0 ? s->top_p_exact : (double)s->top_p,
                                   .max_new_tokens = s->max_new_tokens,
                                   .min_p = s->min_p,
                                   .typical_p = s->typical_p,
                                   .repetition_penalty = s->repetition_penalty,
                                   .no_repeat_ngram = s->no_repeat_ngram,
                                   .min_new_tokens = s->min_new_tokens };
}

static int on_jobs(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__GenerateJobs *body = (const Rlhf__V1__GenerateJobs *)m->body;
    const int32_t *prompt = m->blobs[0].data;
    struct worker *w = machine;

    (void)peer;
    for (size_t i = 0; i < body->n_jobs; i++) {
        const Rlhf__V1__GenerateJob *j = body->jobs[i];
        const Rlhf__V1__Sampling *s = body->sampling[j->sampling];
        struct worker_job *job = calloc(1, sizeof *job + j->prompt_tokens * sizeof *prompt);

        if (!job) { /* what came before it is held; the rest comes back when its lease ends */
            rlhf_member_return_ids(w->member, &body->jobs[i]->id, 1, "no memory for the job");
            return rlhf_fail(err, RLHF_FULL, "no memory for a job of %u tokens", j->prompt_tokens);
        }
        job->member.id = j->id;
        job->member.attempt = j->attempt;
        job->member.weights[0] = rlhf_digest_of_field(&body->weights[j->model]);
        job->member.weights_count = 1;
        job->sampling = sampling_of(s);
        job->key = (struct rlhf_sample_key){ j->seed, (enum rlhf_purpose)j->purpose, j->key_prompt, j->key_sample };
        job->end_token = s->end_token;
        job->more_ends.count = (uint32_t)s->n_more_ends; /* as checked: they fit */
        memcpy(job->more_ends.id, s->more_ends, s->n_more_ends * sizeof *s->more_ends);
        job->prompt_count = j->prompt_tokens;
        memcpy(job->prompt, prompt, j->prompt_tokens * sizeof *prompt);
        prompt += j->prompt_tokens;
        rlhf_member_take(w->member, &job->member);
    }
    return 0;
}

static void begin(void *ctx, struct rlhf_member_job *job)
{
    struct worker *w = ctx;

    w->engine->begin(w->engine, w->life, (const struct worker_job *)job);
}

static void cancel(void *ctx)
{
    struct worker *w = ctx;

    w->life++;
    clear_outbox(w);
    w->engine->cancel(w->engine);
}

static void add_weights(void *ctx, struct rlhf_weights *weights)
{
    struct worker *w = ctx;

    w->engine->add_weights(w->engine, weights);
}

static void drop_weights(void *ctx, const struct rlhf_digest *digest)
{
    struct worker *w = ctx;

    w->engine->drop_weights(w->engine, digest);
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
    struct worker *w = machine;

    return rlhf_member_send_status(w->member, peer, m,
                                   &(struct rlhf_member_status){ .daemon = "rollout-worker", .results = "rollouts",
                                                                 .done = w->done, .tokens = w->tokens,
                                                                 .draining = w->draining },
                                   err);
}

static int on_drain(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct worker *w = machine;
    int rc;

    w->draining = true;
    rc = on_status(machine, peer, m, err);
    worker_drain(w, ((const Rlhf__V1__Drain *)m->body)->reason);
    return rc;
}

#define LEARNER RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LEARNER)
#define CONTROL RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_CONTROL)

static const struct rlhf_handler handlers[] = {
    { RLHF__V1__MESSAGE_TYPE__GENERATE_JOBS, &rlhf__v1__generate_jobs__descriptor, LEARNER, 1u << 20, 1, 64u << 20,
      rlhf_check_generate_jobs, on_jobs },
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
    struct worker *w = machine;

    rlhf_member_tick(w->member, now);
    if (w->outbox_count > 0 && now >= w->flush_at)
        flush(w);
}

static int64_t deadline(void *machine)
{
    struct worker *w = machine;
    int64_t at = rlhf_member_deadline(w->member);

    return w->outbox_count > 0 && w->flush_at < at ? w->flush_at : at;
}

static size_t held_jobs(void *machine, uint64_t *ids, size_t max)
{
    struct worker *w = machine;
    size_t count = rlhf_member_held_jobs(w->member, ids, max);

    for (size_t i = 0; i < w->outbox_count && count < max; i++)
        ids[count++] = w->outbox[i].id;
    return count;
}

struct worker *worker_new(const struct worker_options *o, const struct rlhf_env *env, struct worker_engine *engine,
                          struct rlhf_error *err)
{
    struct worker *w = calloc(1, sizeof *w);

    if (!w) {
        rlhf_fail(err, RLHF_FULL, "no memory for the worker");
        return NULL;
    }
    w->options = *o;
    w->env = env;
    w->engine = engine;
    w->life = 1;
    w->machine = (struct rlhf_machine){ .handlers = handlers,
                                        .state = w,
                                        .peer_up = rlhf_member_peer_up,
                                        .peer_lost = rlhf_member_peer_lost,
                                        .tick = tick,
                                        .deadline = deadline,
                                        .held_jobs = held_jobs };
    if (!(w->member = rlhf_member_new(&o->member, env, &member_ops, w, err))) {
        free(w);
        return NULL;
    }
    return w;
}

const struct rlhf_machine *worker_machine(struct worker *w)
{
    return &w->machine;
}

void worker_join(struct worker *w, struct rlhf_node *n)
{
    w->node = n;
    rlhf_member_join(w->member, n);
}

void worker_drain(struct worker *w, const char *reason)
{
    w->draining = true;
    flush(w);
    rlhf_member_drain(w->member, reason);
    if (w->drained)
        w->drained(w->drained_ctx);
}

void worker_on_drain(struct worker *w, void (*drained)(void *ctx), void *ctx)
{
    w->drained = drained;
    w->drained_ctx = ctx;
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    rlhf_member_free(w->member);
    rlhf_bytes_free(&w->ids);
    rlhf_bytes_free(&w->logprob);
    rlhf_bytes_free(&w->logprob_raw);
    free(w);
}
