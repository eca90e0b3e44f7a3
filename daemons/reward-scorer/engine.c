#include "reward-scorer/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "reward-scorer/marker.h"
#include "serving/model.h"
#include "telemetry/log.h"

/* Compute thread to reactor thread. */
struct result {
    struct rlhf_engine_result head;
    float reward;
    size_t count;
    float logprob_ref[];
};

struct engine {
    struct rlhf_engine *thread;
    struct scorer *scorer;
    struct rlhf_pool *pool;
    struct marker *marker; /* compute thread's */
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

static int begin(void *core, const struct rlhf_member_job *held, struct rlhf_error *err)
{
    const struct scorer_job *job = (const struct scorer_job *)held;

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
}

static bool step(void *core)
{
    return marker_step(((struct engine *)core)->marker);
}

/* ---- reactor thread -------------------------------------------------------------------------------- */

static void deliver(void *core, const struct rlhf_engine_result *head)
{
    const struct result *r = (const struct result *)head;

    scorer_finished(((struct engine *)core)->scorer, head->life, head->id, r->reward, r->logprob_ref, r->count);
}

static const struct rlhf_engine_ops ops = { .add_weights = add_weights,
                                            .drop_weights = drop_weights,
                                            .begin = begin,
                                            .cancel = cancel,
                                            .step = step,
                                            .deliver = deliver };

struct engine *engine_new(struct rlhf_daemon *d, const struct engine_options *o, struct rlhf_error *err)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e) {
        rlhf_fail(err, RLHF_FULL, "no memory for the engine");
        return NULL;
    }
    if (!(e->pool = rlhf_pool_new(o->threads, err))
        || !(e->marker = marker_new(o->max_tokens, e->pool, on_done, e, err))
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
    rlhf_engine_free(e->thread);
    marker_free(e->marker);
    rlhf_pool_free(e->pool);
    free(e);
}
