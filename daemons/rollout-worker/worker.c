#include "rollout-worker/worker.h"

#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "proto/work.pb-c.h"

enum { FLUSH_TOKENS = 65536 };

struct worker {
    struct rlhf_member *member;
    /* finished, not yet sent */
    Rlhf__V1__Rollout outbox[RLHF_RESULTS_A_MESSAGE];
    struct rlhf_digest outbox_weights[RLHF_RESULTS_A_MESSAGE];
    size_t outbox_count;
    struct rlhf_bytes ids, logprob, logprob_raw;
};

/* ---- results --------------------------------------------------------------------------------------- */

static void forget(void *ctx)
{
    struct worker *w = ctx;

    w->outbox_count = 0;
    rlhf_bytes_clear(&w->ids);
    rlhf_bytes_clear(&w->logprob);
    rlhf_bytes_clear(&w->logprob_raw);
}

static void send(void *ctx)
{
    Rlhf__V1__Rollouts body = RLHF__V1__ROLLOUTS__INIT;
    Rlhf__V1__Rollout *list[RLHF_RESULTS_A_MESSAGE];
    struct worker *w = ctx;

    for (size_t i = 0; i < w->outbox_count; i++) {
        w->outbox[i].weights = rlhf_digest_field(&w->outbox_weights[i]);
        list[i] = &w->outbox[i];
    }
    body.rollouts = list;
    body.n_rollouts = w->outbox_count;
    rlhf_member_send(w->member,
                     &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__ROLLOUTS,
                                             .body = &body.base,
                                             .blobs = { { w->ids.data, w->ids.size },
                                                        { w->logprob.data, w->logprob.size },
                                                        { w->logprob_raw.data, w->logprob_raw.size } },
                                             .blob_count = 3 },
                     "rollouts-not-sent");
    forget(w);
}

void worker_finished(struct worker *w, uint64_t life, const struct worker_result *r)
{
    struct rlhf_member_job *job = rlhf_member_current(w->member, life, r->id);
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
        rlhf_member_return(w->member, job, err.text);
        return;
    }
    rlhf__v1__rollout__init(out);
    out->id = r->id;
    out->attempt = job->attempt;
    out->finish = r->ended ? RLHF__V1__FINISH_REASON__FINISH_END : RLHF__V1__FINISH_REASON__FINISH_LENGTH;
    out->tokens = (uint32_t)r->count;
    w->outbox_weights[w->outbox_count++] = job->weights[0];
    rlhf_member_finish(w->member, job, r->count, w->ids.size >= FLUSH_TOKENS * sizeof *r->ids);
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

static int take(void *ctx, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__GenerateJobs *body = (const Rlhf__V1__GenerateJobs *)m->body;
    const int32_t *prompt = m->blobs[0].data;
    struct worker *w = ctx;

    for (size_t i = 0; i < body->n_jobs; i++) {
        const Rlhf__V1__GenerateJob *j = body->jobs[i];
        const Rlhf__V1__Sampling *s = body->sampling[j->sampling];
        struct worker_job *job =
            rlhf_member_job(w->member, j->id, j->attempt, sizeof *job + j->prompt_tokens * sizeof *prompt, err);

        if (!job)
            return -1;
        job->member.weights[0] = rlhf_digest_of_field(&body->weights[j->model]);
        job->member.weights_count = 1;
        job->sampling = sampling_of(s);
        job->key = (struct rlhf_sample_key){ j->seed, (enum rlhf_purpose)j->purpose, j->key_prompt, j->key_sample };
        job->end_token = s->end_token;
        job->more_ends.count = (uint32_t)s->n_more_ends; /* as checked: they fit */
        if (s->n_more_ends > 0)
            memcpy(job->more_ends.id, s->more_ends, s->n_more_ends * sizeof *s->more_ends);
        job->prompt_count = j->prompt_tokens;
        memcpy(job->prompt, prompt, j->prompt_tokens * sizeof *prompt);
        prompt += j->prompt_tokens;
        rlhf_member_take(w->member, &job->member);
    }
    return 0;
}

static const struct rlhf_member_ops ops = {
    .daemon = "rollout-worker",
    .results = "rollouts",
    .type = RLHF__V1__MESSAGE_TYPE__GENERATE_JOBS,
    .schema = &rlhf__v1__generate_jobs__descriptor,
    .check = rlhf_check_generate_jobs,
    .take = take,
    .send = send,
    .forget = forget,
};

/* ---- life ------------------------------------------------------------------------------------------ */

struct worker *worker_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                          struct rlhf_member_engine *engine, struct rlhf_error *err)
{
    struct worker *w = calloc(1, sizeof *w);

    if (!w) {
        rlhf_fail(err, RLHF_FULL, "no memory for the worker");
        return NULL;
    }
    if (!(w->member = rlhf_member_new(c, env, &ops, engine, w, err))) {
        free(w);
        return NULL;
    }
    return w;
}

struct rlhf_member *worker_member(struct worker *w)
{
    return w->member;
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
