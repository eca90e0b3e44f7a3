#include "daemon/engine.h"

#include <pthread.h>
#include <stdlib.h>

struct told {
    void *command;
    struct told *next;
};

struct rlhf_engine {
    struct rlhf_daemon *daemon;
    const struct rlhf_engine_ops *ops;
    void *core;
    pthread_mutex_t lock; /* guards all below */
    struct told *first, **last;
    bool running; /* a work is submitted and has not yet decided to end */
    bool stopping;
};

static struct told *next_command(struct rlhf_engine *e, bool *stopping)
{
    struct told *told;

    pthread_mutex_lock(&e->lock);
    told = e->first;
    if (told && !(e->first = told->next))
        e->last = &e->first;
    *stopping = e->stopping;
    pthread_mutex_unlock(&e->lock);
    return told;
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
        struct told *told;

        while ((told = next_command(e, &stopping))) {
            e->ops->take(e->core, told->command);
            free(told);
        }
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

struct rlhf_engine *rlhf_engine_new(struct rlhf_daemon *d, const struct rlhf_engine_ops *ops, void *core,
                                    struct rlhf_error *err)
{
    struct rlhf_engine *e = calloc(1, sizeof *e);

    if (!e) {
        rlhf_fail(err, RLHF_FULL, "no memory for the engine");
        return NULL;
    }
    e->daemon = d;
    e->ops = ops;
    e->core = core;
    e->last = &e->first;
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

int rlhf_engine_tell(struct rlhf_engine *e, void *command, struct rlhf_error *err)
{
    struct told *told = malloc(sizeof *told);
    bool submit;

    if (!told) {
        e->ops->discard(e->core, command);
        return rlhf_fail(err, RLHF_FULL, "no memory for a command");
    }
    *told = (struct told){ .command = command };
    pthread_mutex_lock(&e->lock);
    *e->last = told;
    e->last = &told->next;
    submit = !e->running && !e->stopping;
    e->running |= submit;
    pthread_mutex_unlock(&e->lock);
    return submit ? rlhf_daemon_compute(e->daemon, work, NULL, e, err) : 0;
}

void rlhf_engine_stop(struct rlhf_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_mutex_unlock(&e->lock);
}

void rlhf_engine_free(struct rlhf_engine *e)
{
    if (!e)
        return;
    while (e->first) {
        struct told *told = e->first;

        e->first = told->next;
        e->ops->discard(e->core, told->command);
        free(told);
    }
    pthread_mutex_destroy(&e->lock);
    free(e);
}
