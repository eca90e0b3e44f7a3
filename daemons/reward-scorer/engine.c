#include "reward-scorer/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "reward-scorer/marker.h"
#include "reward/remote.h"
#include "reward/rules.h"
#include "serving/model.h"
#include "telemetry/log.h"

/* Compute thread, or that of the network, to reactor thread. */
struct result {
    struct rlhf_engine_result head;
    float reward; /* NaN: missing */
    char why[200];
    size_t count;
    float logprob_ref[];
};

struct engine {
    struct rlhf_engine *thread;
    struct scorer *scorer;
    struct rlhf_pool *pool;
    struct marker *marker;      /* compute thread's */
    struct rlhf_remote *remote; /* has a thread of its own */
};

/* ---- compute thread -------------------------------------------------------------------------------- */

static void on_done(void *ctx, const struct marker_result *k)
{
    struct engine *e = ctx;
    struct result *r;

    if (k->error) {
        rlhf_engine_failed(e->thread, k->tag, k->error);
        return;
    }
    r = rlhf_engine_result(e->thread, k->tag, sizeof *r + k->count * sizeof *r->logprob_ref);
    r->reward = k->reward;
    r->count = k->count;
    if (k->count > 0)
        memcpy(r->logprob_ref, k->logprob_ref, k->count * sizeof *k->logprob_ref);
    rlhf_engine_send(&r->head);
}

static void add_weights(void *core, struct rlhf_weights *w)
{
    struct rlhf_digest digest = *rlhf_weights_digest(w);
    struct engine *e = core;
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = serving_model(w, e->pool, &err);

    if (!m || marker_add_model(e->marker, &digest, m, &err) < 0)
        rlhf_log_error("weights-unusable", &err); /* jobs that name them fail, and are handed back with the reason */
}

static void drop_weights(void *core, const struct rlhf_digest *digest)
{
    marker_drop_model(((struct engine *)core)->marker, digest);
}

/* Also on the network's thread: the tag is the result, begun with its job. */
static void rewarded(void *ctx, void *tag, float reward, const struct rlhf_error *why)
{
    struct result *r = tag;

    (void)ctx;
    r->reward = reward;
    if (why)
        snprintf(r->why, sizeof r->why, "%.*s", (int)sizeof r->why - 1, why->text);
    rlhf_engine_send(&r->head);
}

static void forgotten(void *ctx, void *tag)
{
    (void)ctx;
    free(tag);
}

static int begin_source(struct engine *e, const struct scorer_job *job, struct rlhf_error *err)
{
    struct rlhf_source_text text = scorer_job_text(job);
    struct result *r = rlhf_engine_result(e->thread, job->member.id, sizeof *r);
    struct rlhf_error why = { 0 };
    float reward;

    if (rlhf_source_is_remote(rlhf_source_settings(job->source)->kind)) {
        if (rlhf_remote_add(e->remote, job->source, &text, r, err) == 0)
            return 0;
        free(r);
        return -1;
    }
    reward = rlhf_rule_reward(job->source, &text, &why);
    rewarded(e, r, reward, isnan(reward) ? &why : NULL);
    return 0;
}

static int begin(void *core, const struct rlhf_member_job *held, struct rlhf_error *err)
{
    const struct scorer_job *job = (const struct scorer_job *)held;

    if (job->source)
        return begin_source(core, job, err);
    return marker_add(((struct engine *)core)->marker,
                      &(struct marker_job){ .tag = held->id,
                                            .reward_model = job->reward_model,
                                            .reference = job->reference,
                                            .temperature = job->temperature,
                                            .count = job->count,
                                            .prompt_count = job->prompt_count,
                                            .ids = job->ids },
                      err);
}

static void cancel(void *core)
{
    marker_cancel(((struct engine *)core)->marker);
    rlhf_remote_forget(((struct engine *)core)->remote);
}

static bool step(void *core)
{
    rlhf_remote_flush(((struct engine *)core)->remote); /* all jobs that were told of have begun */
    return marker_step(((struct engine *)core)->marker);
}

/* ---- reactor thread -------------------------------------------------------------------------------- */

static void deliver(void *core, const struct rlhf_engine_result *head)
{
    const struct result *r = (const struct result *)head;

    scorer_finished(((struct engine *)core)->scorer, head->life, head->id, r->reward, r->logprob_ref, r->count, r->why);
}

static void stop(void *core)
{
    rlhf_remote_stop(((struct engine *)core)->remote);
}

static const struct rlhf_engine_ops ops = { .add_weights = add_weights,
                                            .drop_weights = drop_weights,
                                            .begin = begin,
                                            .cancel = cancel,
                                            .step = step,
                                            .deliver = deliver,
                                            .stop = stop };

struct engine *engine_new(struct rlhf_daemon *d, const struct engine_options *o, struct rlhf_error *err)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e) {
        rlhf_fail(err, RLHF_FULL, "no memory for the engine");
        return NULL;
    }
    if (!(e->pool = rlhf_pool_new(o->threads, err))
        || !(e->marker = marker_new(o->max_tokens, e->pool, on_done, e, err))
        || !(e->remote = rlhf_remote_new(rlhf_daemon_env(d)->io, o->credentials,
                                         &(struct rlhf_remote_taker){ rewarded, forgotten, e }, err))
        || !(e->thread = rlhf_engine_new(d, &ops, e, err))) {
        engine_free(e);
        return NULL;
    }
    return e;
}

struct rlhf_engine *engine_thread(struct engine *e)
{
    return e->thread;
}

void engine_join(struct engine *e, struct scorer *s)
{
    e->scorer = s;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    rlhf_remote_free(e->remote);
    rlhf_engine_free(e->thread);
    marker_free(e->marker);
    rlhf_pool_free(e->pool);
    free(e);
}
