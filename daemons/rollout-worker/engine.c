#include "rollout-worker/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "rollout-worker/generator.h"
#include "serving/model.h"
#include "telemetry/log.h"

/* Compute thread to reactor thread. */
struct result {
    struct rlhf_engine_result head;
    struct worker_result rollout; /* its arrays are in data[] */
    int32_t data[];               /* ids, then the two arrays of log-probs */
};

struct engine {
    struct rlhf_engine *thread;
    struct worker *worker;
    struct rlhf_pool *pool;
    struct generator *generator; /* compute thread's */
};

/* ---- compute thread -------------------------------------------------------------------------------- */

static void on_done(void *ctx, const struct generator_result *g)
{
    struct engine *e = ctx;
    struct result *r;
    float *logprob, *logprob_raw;

    if (g->error) {
        rlhf_engine_failed(e->thread, g->tag, g->error);
        return;
    }
    r = rlhf_engine_result(e->thread, g->tag, sizeof *r + 3 * g->count * sizeof *r->data);
    logprob = (float *)(r->data + g->count);
    logprob_raw = logprob + g->count;
    memcpy(r->data, g->ids, g->count * sizeof *g->ids);
    memcpy(logprob, g->logprob, g->count * sizeof *logprob);
    memcpy(logprob_raw, g->logprob_raw, g->count * sizeof *logprob_raw);
    r->rollout = (struct worker_result){ g->tag, r->data, logprob, logprob_raw, g->count, g->ended };
    rlhf_engine_send(&r->head);
}

static void add_weights(void *core, struct rlhf_weights *w)
{
    struct rlhf_digest digest = *rlhf_weights_digest(w);
    struct engine *e = core;
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = serving_model(w, e->pool, &err);

    if (!m || generator_add_model(e->generator, &digest, m, &err) < 0)
        rlhf_log_error("weights-unusable", &err); /* jobs that name them fail, and are handed back with the reason */
}

static void drop_weights(void *core, const struct rlhf_digest *digest)
{
    generator_drop_model(((struct engine *)core)->generator, digest);
}

static int begin(void *core, const struct rlhf_member_job *held, struct rlhf_error *err)
{
    const struct worker_job *job = (const struct worker_job *)held;

    return generator_add(((struct engine *)core)->generator,
                         &(struct generator_job){ .tag = held->id,
                                                  .weights = held->weights[0],
                                                  .sampling = job->sampling,
                                                  .key = job->key,
                                                  .end_token = job->end_token,
                                                  .more_ends = job->more_ends,
                                                  .prompt_count = job->prompt_count,
                                                  .prompt = job->prompt },
                         err);
}

static void cancel(void *core)
{
    generator_cancel(((struct engine *)core)->generator);
}

static bool step(void *core)
{
    return generator_step(((struct engine *)core)->generator);
}

/* ---- reactor thread -------------------------------------------------------------------------------- */

static void deliver(void *core, const struct rlhf_engine_result *r)
{
    worker_finished(((struct engine *)core)->worker, r->life, &((const struct result *)r)->rollout);
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
        || !(e->generator = generator_new(o->slots, o->max_prefill, e->pool, on_done, e, err))
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

void engine_join(struct engine *e, struct worker *w)
{
    e->worker = w;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    rlhf_engine_free(e->thread);
    generator_free(e->generator);
    rlhf_pool_free(e->pool);
    free(e);
}
