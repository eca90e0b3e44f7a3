#include "rollout-worker/engine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "daemon/engine.h"
#include "rollout-worker/generator.h"
#include "telemetry/log.h"

enum command_kind { ADD_WEIGHTS, DROP_WEIGHTS, BEGIN, CANCEL };

/* Reactor thread to compute thread. */
struct command {
    enum command_kind kind;
    struct rlhf_weights *weights;
    struct rlhf_digest digest;
    uint64_t life;
    struct generator_job job; /* its prompt is in prompt[] */
    int32_t prompt[];
};

/* Compute thread to reactor thread. */
struct report {
    struct engine *engine;
    uint64_t life;
    struct worker_result result; /* its arrays are in data[] */
    struct rlhf_error error;
    int32_t data[]; /* ids, then the two arrays of log-probs */
};

struct engine {
    struct worker_engine interface; /* first */
    struct rlhf_daemon *daemon;
    struct rlhf_engine *thread;
    struct worker *worker;
    struct rlhf_pool *pool;
    struct generator *generator; /* compute thread's */
    uint64_t life;               /* compute thread's: of the jobs it has */
};

/* ---- compute thread -------------------------------------------------------------------------------- */

static void deliver(void *ctx) /* (on the reactor thread) */
{
    struct report *r = ctx;

    if (r->error.code == RLHF_OK)
        worker_finished(r->engine->worker, r->life, &r->result);
    else
        worker_failed(r->engine->worker, r->life, r->result.id, &r->error);
    free(r);
}

/* Without its result a job would be held for ever, and every heartbeat would renew its lease. Ended, this process is started
 * again, and the learner gives its jobs to others. */
_Noreturn static void give_up(void)
{
    rlhf_log(RLHF_LEVEL_ERROR, "no-memory what=result");
    _exit(EXIT_FAILURE);
}

static void on_done(void *ctx, const struct generator_result *g)
{
    struct engine *e = ctx;
    struct report *r = calloc(1, sizeof *r + 3 * g->count * sizeof *r->data);
    float *logprob, *logprob_raw;

    if (!r)
        give_up();
    logprob = (float *)(r->data + g->count);
    logprob_raw = logprob + g->count;
    r->engine = e;
    r->life = e->life;
    r->result = (struct worker_result){ g->tag, r->data, logprob, logprob_raw, g->count, g->ended };
    if (g->error) {
        r->error = *g->error;
    } else {
        memcpy(r->data, g->ids, g->count * sizeof *g->ids);
        memcpy(logprob, g->logprob, g->count * sizeof *logprob);
        memcpy(logprob_raw, g->logprob_raw, g->count * sizeof *logprob_raw);
    }
    if (rlhf_daemon_post(e->daemon, deliver, r, NULL) < 0)
        give_up();
}

static void release_weights(void *w)
{
    rlhf_weights_free(w);
}

/* The model reads its weights where they came in, in memory or in a file shared on this host, and keeps them. */
static void load(struct engine *e, struct rlhf_weights *w)
{
    const char *config = rlhf_weights_config(w);
    struct rlhf_blob payload = rlhf_weights_payload(w);
    struct rlhf_digest digest = *rlhf_weights_digest(w);
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = rlhf_model_view(config, strlen(config), payload.data, payload.size, release_weights, w, &err);

    if (m && rlhf_model_ready(m, e->pool, &err) < 0) {
        rlhf_model_free(m);
        m = NULL;
    }
    if (!m || generator_add_model(e->generator, &digest, m, &err) < 0)
        rlhf_log_error("weights-unusable", &err); /* jobs that name them fail, and are handed back with the reason */
}

static void take(void *core, void *ctx)
{
    struct command *c = ctx;
    struct engine *e = core;
    struct rlhf_error err = { 0 };

    switch (c->kind) {
    case ADD_WEIGHTS:
        load(e, c->weights);
        break;
    case DROP_WEIGHTS:
        generator_drop_model(e->generator, &c->digest);
        break;
    case BEGIN:
        e->life = c->life;
        c->job.prompt = c->prompt;
        if (generator_add(e->generator, &c->job, &err) < 0)
            on_done(e, &(struct generator_result){ .tag = c->job.tag, .error = &err });
        break;
    case CANCEL:
        generator_cancel(e->generator);
        break;
    }
    free(c);
}

static bool step(void *core)
{
    return generator_step(((struct engine *)core)->generator);
}

static void discard(void *core, void *ctx)
{
    struct command *c = ctx;

    (void)core;
    rlhf_weights_free(c->weights);
    free(c);
}

static const struct rlhf_engine_ops ops = { .take = take, .step = step, .discard = discard };

/* ---- reactor thread -------------------------------------------------------------------------------- */

static struct command *a_command(enum command_kind kind, size_t prompt)
{
    struct command *c = calloc(1, sizeof *c + prompt * sizeof *c->prompt);

    if (c)
        c->kind = kind;
    else
        rlhf_log(RLHF_LEVEL_ERROR, "no-memory command=%d", kind);
    return c;
}

static void tell(struct worker_engine *interface, struct command *c)
{
    struct rlhf_error err = { 0 };

    if (c && rlhf_engine_tell(((struct engine *)interface)->thread, c, &err) < 0)
        rlhf_log_error("engine", &err);
}

static void add_weights(struct worker_engine *e, struct rlhf_weights *w)
{
    struct command *c = a_command(ADD_WEIGHTS, 0);

    if (c)
        c->weights = w;
    else
        rlhf_weights_free(w);
    tell(e, c);
}

static void drop_weights(struct worker_engine *e, const struct rlhf_digest *digest)
{
    struct command *c = a_command(DROP_WEIGHTS, 0);

    if (c)
        c->digest = *digest;
    tell(e, c);
}

static void begin(struct worker_engine *e, uint64_t life, const struct worker_job *job)
{
    struct command *c = a_command(BEGIN, job->prompt_count);

    if (!c) {
        struct rlhf_error err = { 0 };

        rlhf_fail(&err, RLHF_FULL, "no memory for the job");
        worker_failed(((struct engine *)e)->worker, life, job->member.id, &err);
        return;
    }
    c->life = life;
    c->job = (struct generator_job){ .tag = job->member.id,
                                     .weights = job->member.weights[0],
                                     .sampling = job->sampling,
                                     .key = job->key,
                                     .end_token = job->end_token,
                                     .more_ends = job->more_ends,
                                     .prompt_count = job->prompt_count };
    memcpy(c->prompt, job->prompt, job->prompt_count * sizeof *c->prompt);
    tell(e, c);
}

static void cancel(struct worker_engine *e)
{
    tell(e, a_command(CANCEL, 0));
}

struct engine *engine_new(struct rlhf_daemon *d, const struct engine_options *o, struct rlhf_error *err)
{
    struct engine *e = calloc(1, sizeof *e);

    if (!e) {
        rlhf_fail(err, RLHF_FULL, "no memory for the engine");
        return NULL;
    }
    e->interface = (struct worker_engine){
        .add_weights = add_weights, .drop_weights = drop_weights, .begin = begin, .cancel = cancel
    };
    e->daemon = d;
    if (!(e->pool = rlhf_pool_new(o->threads, err))
        || !(e->generator = generator_new(o->slots, o->max_prefill, e->pool, on_done, e, err))
        || !(e->thread = rlhf_engine_new(d, &ops, e, err))) {
        engine_free(e);
        return NULL;
    }
    return e;
}

struct worker_engine *engine_interface(struct engine *e)
{
    return &e->interface;
}

void engine_join(struct engine *e, struct worker *w)
{
    e->worker = w;
}

void engine_stop(struct engine *e)
{
    rlhf_engine_stop(e->thread);
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
