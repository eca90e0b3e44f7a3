#include "reward-scorer/engine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "daemon/engine.h"
#include "reward-scorer/marker.h"
#include "telemetry/log.h"

enum command_kind { ADD_WEIGHTS, DROP_WEIGHTS, BEGIN, CANCEL };

/* Reactor thread to compute thread. */
struct command {
    enum command_kind kind;
    struct rlhf_weights *weights;
    struct rlhf_digest digest;
    uint64_t life;
    struct marker_job job; /* its ids are in ids[] */
    int32_t ids[];
};

/* Compute thread to reactor thread. */
struct report {
    struct engine *engine;
    uint64_t life;
    uint64_t id;
    float reward;
    struct rlhf_error error;
    size_t count;
    float logprob_ref[];
};

struct engine {
    struct scorer_engine interface; /* first */
    struct rlhf_daemon *daemon;
    struct rlhf_engine *thread;
    struct scorer *scorer;
    struct rlhf_pool *pool;
    struct marker *marker;     /* compute thread's */
    uint64_t life;               /* compute thread's: of the jobs it has */
};

/* ---- compute thread -------------------------------------------------------------------------------- */

static void deliver(void *ctx) /* (on the reactor thread) */
{
    struct report *r = ctx;

    if (r->error.code == RLHF_OK)
        scorer_finished(r->engine->scorer, r->life, r->id, r->reward, r->logprob_ref, r->count);
    else
        scorer_failed(r->engine->scorer, r->life, r->id, &r->error);
    free(r);
}

/* Without its result a job would be held for ever, and every heartbeat would renew its lease. Ended, this process is started
 * again, and the learner gives its jobs to others. */
_Noreturn static void give_up(void)
{
    rlhf_log(RLHF_LEVEL_ERROR, "no-memory what=result");
    _exit(EXIT_FAILURE);
}

static void on_done(void *ctx, const struct marker_result *k)
{
    struct engine *e = ctx;
    struct report *r = calloc(1, sizeof *r + k->count * sizeof *r->logprob_ref);

    if (!r)
        give_up();
    r->engine = e;
    r->life = e->life;
    r->id = k->tag;
    r->reward = k->reward;
    r->count = k->count;
    if (k->error)
        r->error = *k->error;
    else if (k->count > 0)
        memcpy(r->logprob_ref, k->logprob_ref, k->count * sizeof *k->logprob_ref);
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
    if (!m || marker_add_model(e->marker, &digest, m, &err) < 0)
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
        marker_drop_model(e->marker, &c->digest);
        break;
    case BEGIN:
        e->life = c->life;
        c->job.ids = c->ids;
        if (marker_add(e->marker, &c->job, &err) < 0)
            on_done(e, &(struct marker_result){ .tag = c->job.tag, .error = &err });
        break;
    case CANCEL:
        marker_cancel(e->marker);
        break;
    }
    free(c);
}

static bool step(void *core)
{
    return marker_step(((struct engine *)core)->marker);
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

static struct command *a_command(enum command_kind kind, size_t ids)
{
    struct command *c = calloc(1, sizeof *c + ids * sizeof *c->ids);

    if (c)
        c->kind = kind;
    else
        rlhf_log(RLHF_LEVEL_ERROR, "no-memory command=%d", kind);
    return c;
}

static void tell(struct scorer_engine *interface, struct command *c)
{
    struct rlhf_error err = { 0 };

    if (c && rlhf_engine_tell(((struct engine *)interface)->thread, c, &err) < 0)
        rlhf_log_error("engine", &err);
}

static void add_weights(struct scorer_engine *e, struct rlhf_weights *w)
{
    struct command *c = a_command(ADD_WEIGHTS, 0);

    if (c)
        c->weights = w;
    else
        rlhf_weights_free(w);
    tell(e, c);
}

static void drop_weights(struct scorer_engine *e, const struct rlhf_digest *digest)
{
    struct command *c = a_command(DROP_WEIGHTS, 0);

    if (c)
        c->digest = *digest;
    tell(e, c);
}

static void begin(struct scorer_engine *e, uint64_t life, const struct scorer_job *job)
{
    struct command *c = a_command(BEGIN, job->count);

    if (!c) {
        struct rlhf_error err = { 0 };

        rlhf_fail(&err, RLHF_FULL, "no memory for the job");
        scorer_failed(((struct engine *)e)->scorer, life, job->member.id, &err);
        return;
    }
    c->life = life;
    c->job = (struct marker_job){ .tag = job->member.id,
                                  .reward_model = job->reward_model,
                                  .reference = job->reference,
                                  .temperature = job->temperature,
                                  .count = job->count,
                                  .prompt_count = job->prompt_count };
    memcpy(c->ids, job->ids, job->count * sizeof *c->ids);
    tell(e, c);
}

static void cancel(struct scorer_engine *e)
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
    e->interface = (struct scorer_engine){
        .add_weights = add_weights, .drop_weights = drop_weights, .begin = begin, .cancel = cancel
    };
    e->daemon = d;
    if (!(e->pool = rlhf_pool_new(o->threads, err))
        || !(e->marker = marker_new(o->max_tokens, e->pool, on_done, e, err))
        || !(e->thread = rlhf_engine_new(d, &ops, e, err))) {
        engine_free(e);
        return NULL;
    }
    return e;
}

struct scorer_engine *engine_interface(struct engine *e)
{
    return &e->interface;
}

void engine_join(struct engine *e, struct scorer *w)
{
    e->scorer = w;
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
    marker_free(e->marker);
    rlhf_pool_free(e->pool);
    free(e);
}
