#include "daemon/engine.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "telemetry/log.h"

enum command_kind { ADD_WEIGHTS, DROP_WEIGHTS, BEGIN, CANCEL };

/* Reactor thread to compute thread. */
struct command {
    enum command_kind kind;
    struct rlhf_weights *weights;
    struct rlhf_digest digest;
    uint64_t life;
    struct command *next;
    max_align_t job[]; /* a copy: the daemon's own ends with a cancel */
};

struct rlhf_engine {
    struct rlhf_member_engine interface; /* first */
    struct rlhf_daemon *daemon;
    struct rlhf_member *member;
    const struct rlhf_engine_ops *ops;
    void *core;
    uint64_t life;        /* compute thread's: of the jobs it has */
    pthread_mutex_t lock; /* guards all below */
    struct command *first, **last;
    bool running; /* a work is submitted and has not yet decided to end */
    bool stopping;
};

/* ---- compute thread -------------------------------------------------------------------------------- */

static struct command *next_command(struct rlhf_engine *e, bool *stopping)
{
    struct command *c;

    pthread_mutex_lock(&e->lock);
    c = e->first;
    if (c && !(e->first = c->next))
        e->last = &e->first;
    *stopping = e->stopping;
    pthread_mutex_unlock(&e->lock);
    return c;
}

static void take(struct rlhf_engine *e, struct command *c)
{
    const struct rlhf_member_job *job = (const struct rlhf_member_job *)c->job;
    struct rlhf_error err = { 0 };

    switch (c->kind) {
    case ADD_WEIGHTS:
        e->ops->add_weights(e->core, c->weights);
        break;
    case DROP_WEIGHTS:
        e->ops->drop_weights(e->core, &c->digest);
        break;
    case BEGIN:
        e->life = c->life;
        if (e->ops->begin(e->core, job, &err) < 0)
            rlhf_engine_failed(e, job->id, &err);
        break;
    case CANCEL:
        e->ops->cancel(e->core);
        break;
    }
    free(c);
}

/* True when the work ends: nothing is left to do and nothing was told meanwhile. */
static bool rest(struct rlhf_engine *e)
{
    bool more;

    pthread_mutex_lock(&e->lock);
    more = e->running = e->first && !e->stopping;
    pthread_mutex_unlock(&e->lock);
    return !more; /* by now another work may have been submitted */
}

static void work(void *ctx)
{
    struct rlhf_engine *e = ctx;
    bool stopping = false, more = true;

    while (!stopping) {
        struct command *c;

        while ((c = next_command(e, &stopping)))
            take(e, c);
        if (!stopping)
            more = e->ops->step(e->core);
        rlhf_daemon_progress(e->daemon);
        if (!more && rest(e))
            return;
    }
    pthread_mutex_lock(&e->lock);
    e->running = false;
    pthread_mutex_unlock(&e->lock);
}

_Noreturn static void give_up(void)
{
    rlhf_log(RLHF_LEVEL_ERROR, "no-memory what=result");
    _exit(EXIT_FAILURE);
}

void *rlhf_engine_result(struct rlhf_engine *e, uint64_t id, size_t size)
{
    struct rlhf_engine_result *r = calloc(1, size);

    if (!r)
        give_up();
    r->engine = e;
    r->life = e->life;
    r->id = id;
    return r;
}

static void deliver(void *ctx) /* (on the reactor thread) */
{
    struct rlhf_engine_result *r = ctx;

    if (r->error.code == RLHF_OK)
        r->engine->ops->deliver(r->engine->core, r);
    else
        rlhf_member_failed(r->engine->member, r->life, r->id, &r->error);
    free(r);
}

void rlhf_engine_send(struct rlhf_engine_result *r)
{
    if (rlhf_daemon_post(r->engine->daemon, deliver, r, NULL) < 0)
        give_up();
}

void rlhf_engine_failed(struct rlhf_engine *e, uint64_t id, const struct rlhf_error *why)
{
    struct rlhf_engine_result *r = rlhf_engine_result(e, id, sizeof *r);

    r->error = *why;
    rlhf_engine_send(r);
}

/* ---- reactor thread -------------------------------------------------------------------------------- */

static void discard(struct command *c)
{
    rlhf_weights_free(c->weights);
    free(c);
}

static struct command *a_command(enum command_kind kind, size_t job)
{
    struct command *c = calloc(1, sizeof *c + job);

    if (c)
        c->kind = kind;
    else
        rlhf_log(RLHF_LEVEL_ERROR, "no-memory command=%d", kind);
    return c;
}

static void tell(struct rlhf_member_engine *interface, struct command *c)
{
    struct rlhf_engine *e = (struct rlhf_engine *)interface;
    struct rlhf_error err = { 0 };
    bool submit;

    if (!c)
        return;
    pthread_mutex_lock(&e->lock);
    *e->last = c;
    e->last = &c->next;
    submit = !e->running && !e->stopping;
    e->running |= submit;
    pthread_mutex_unlock(&e->lock);
    if (submit && rlhf_daemon_compute(e->daemon, work, NULL, e, &err) < 0)
        rlhf_log_error("engine", &err);
}

static void add_weights(struct rlhf_member_engine *e, struct rlhf_weights *w)
{
    struct command *c = a_command(ADD_WEIGHTS, 0);

    if (c)
        c->weights = w;
    else
        rlhf_weights_free(w);
    tell(e, c);
}

static void drop_weights(struct rlhf_member_engine *e, const struct rlhf_digest *digest)
{
    struct command *c = a_command(DROP_WEIGHTS, 0);

    if (c)
        c->digest = *digest;
    tell(e, c);
}

static void begin(struct rlhf_member_engine *e, uint64_t life, const struct rlhf_member_job *job)
{
    struct command *c = a_command(BEGIN, job->size);

    if (!c) {
        struct rlhf_error err;

        rlhf_fail(&err, RLHF_FULL, "no memory for the job");
        rlhf_member_failed(((struct rlhf_engine *)e)->member, life, job->id, &err);
        return;
    }
    c->life = life;
    memcpy(c->job, job, job->size);
    tell(e, c);
}

static void cancel(struct rlhf_member_engine *e)
{
    tell(e, a_command(CANCEL, 0));
}

struct rlhf_engine *rlhf_engine_new(struct rlhf_daemon *d, const struct rlhf_engine_ops *ops, void *core,
                                    struct rlhf_error *err)
{
    struct rlhf_engine *e = calloc(1, sizeof *e);

    if (!e) {
        rlhf_fail(err, RLHF_FULL, "no memory for the engine");
        return NULL;
    }
    e->interface = (struct rlhf_member_engine){
        .add_weights = add_weights, .drop_weights = drop_weights, .begin = begin, .cancel = cancel
    };
    e->daemon = d;
    e->ops = ops;
    e->core = core;
    e->last = &e->first;
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

struct rlhf_member_engine *rlhf_engine_interface(struct rlhf_engine *e)
{
    return &e->interface;
}

void rlhf_engine_join(struct rlhf_engine *e, struct rlhf_member *m)
{
    e->member = m;
}

void rlhf_engine_stop(struct rlhf_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_mutex_unlock(&e->lock);
    if (e->ops->stop)
        e->ops->stop(e->core);
}

void rlhf_engine_free(struct rlhf_engine *e)
{
    if (!e)
        return;
    for (struct command *c = e->first, *next; c; c = next) {
        next = c->next;
        discard(c);
    }
    pthread_mutex_destroy(&e->lock);
    free(e);
}
