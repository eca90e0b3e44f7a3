#include "net/member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/checks.h"
#include "proto/control.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "telemetry/log.h"

enum {
    CREDIT_EVERY_US = 5000000, /* said again: should it be lost, the learner would starve us */
    RETURN_AT_ONCE = 256,
    LET_GO_US = 1000000, /* after the last weights left: unmapping keeps others from mapping */
    ROWS = 8,
};

struct held_weights {
    struct rlhf_digest digest;
    uint64_t used; /* larger = later */
    struct rlhf_weights *w; /* shared with the engine: who frees last unmaps, and that is to be this thread */
};

struct rlhf_member {
    struct rlhf_member_config config;
    const struct rlhf_env *env;
    const struct rlhf_member_ops *ops;
    struct rlhf_member_engine *engine;
    void *ctx;
    struct rlhf_handler handlers[ROWS];
    struct rlhf_machine machine;
    struct rlhf_node *node;
    struct rlhf_peer *learner;
    struct rlhf_weights_store *store;
    struct rlhf_member_job *jobs; /* in order of arrival */
    struct rlhf_member_job **last;
    size_t held;
    struct held_weights *weights; /* [max_weights + what jobs need beyond] */
    size_t weights_count, weights_capacity;
    struct rlhf_weights **leaving; /* [weights_capacity] dropped, until the engine has let go of them */
    size_t leaving_count;
    int64_t left_us; /* when the last one was dropped */
    uint64_t uses;
    uint64_t life;                             /* grows with every cancel */
    uint64_t finished[RLHF_RESULTS_A_MESSAGE]; /* ids of results not yet sent */
    size_t finished_count;
    uint64_t done, tokens;
    int64_t credit_at, started_us, flush_at;
    bool draining;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- weights --------------------------------------------------------------------------------------- */

static struct held_weights *have(struct rlhf_member *m, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < m->weights_count; i++)
        if (rlhf_digest_equal(&m->weights[i].digest, digest))
            return &m->weights[i];
    return NULL;
}

static bool names(const struct rlhf_member_job *job, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < job->weights_count; i++)
        if (rlhf_digest_equal(&job->weights[i], digest))
            return true;
    return false;
}

static bool needed(const struct rlhf_member *m, const struct rlhf_digest *digest)
{
    for (const struct rlhf_member_job *job = m->jobs; job; job = job->next)
        if (names(job, digest))
            return true;
    return false;
}

static void let_go(struct rlhf_member *m, int64_t now)
{
    for (size_t i = now < m->left_us + LET_GO_US ? 0 : m->leaving_count; i-- > 0;)
        if (!rlhf_weights_shared(m->leaving[i])) {
            rlhf_weights_store_recycle(m->store, m->leaving[i]);
            m->leaving[i] = m->leaving[--m->leaving_count];
        }
}

static void drop_weights(struct rlhf_member *m, struct held_weights *w)
{
    struct rlhf_digest digest = w->digest;

    if (m->leaving_count == m->weights_capacity) /* an engine that is that far behind unmaps itself */
        rlhf_weights_free(w->w);
    else
        m->leaving[m->leaving_count++] = w->w;
    m->left_us = rlhf_now(m->env->clock);
    *w = m->weights[--m->weights_count];
    m->engine->drop_weights(m->engine, &digest);
}

/* Least recently used first, as long as no job names them. */
static void make_room(struct rlhf_member *m)
{
    while (m->weights_count >= m->config.max_weights) {
        struct held_weights *oldest = NULL;

        for (size_t i = 0; i < m->weights_count; i++)
            if ((!oldest || m->weights[i].used < oldest->used) && !needed(m, &m->weights[i].digest))
                oldest = &m->weights[i];
        if (!oldest)
            return;
        drop_weights(m, oldest);
    }
}

static bool begin_if_ready(struct rlhf_member *m, struct rlhf_member_job *job)
{
    for (size_t i = 0; i < job->weights_count; i++)
        if (!have(m, &job->weights[i]))
            return false;
    for (size_t i = 0; i < job->weights_count; i++)
        have(m, &job->weights[i])->used = ++m->uses;
    job->begun = true;
    m->engine->begin(m->engine, m->life, job);
    return true;
}

static void on_failed(void *ctx, const struct rlhf_digest *digest, const struct rlhf_error *why)
{
    struct rlhf_member *m = ctx;

    rlhf_log_error("weights-not-to-be-had", why);
    for (struct rlhf_member_job *job = m->jobs, *next; job; job = next) {
        next = job->next;
        if (!job->begun && names(job, digest))
            rlhf_member_return(m, job, why->text);
    }
}

static void on_ready(void *ctx, struct rlhf_weights *w)
{
    struct rlhf_member *m = ctx;
    struct rlhf_digest digest = *rlhf_weights_digest(w);

    if (have(m, &digest)) {
        rlhf_weights_free(w);
        return;
    }
    make_room(m);
    if (m->weights_count == m->weights_capacity) {
        size_t capacity = 2 * m->weights_capacity + 8;
        struct held_weights *more = reallocarray(m->weights, capacity, sizeof *more);
        struct rlhf_weights **leaving = reallocarray(m->leaving, capacity, sizeof *leaving);

        m->weights = more ? more : m->weights;
        m->leaving = leaving ? leaving : m->leaving;
        if (!more || !leaving) { /* jobs that went on waiting would be held, and renewed, for ever */
            struct rlhf_error err = { 0 };

            rlhf_fail(&err, RLHF_FULL, "no memory for more weights");
            rlhf_weights_free(w);
            on_failed(m, &digest, &err);
            return;
        }
        m->weights_capacity = capacity;
    }
    m->weights[m->weights_count++] =
        (struct held_weights){ .digest = digest, .used = ++m->uses, .w = rlhf_weights_share(w) };
    m->engine->add_weights(m->engine, w);
    for (struct rlhf_member_job *job = m->jobs, *next; job; job = next) {
        next = job->next; /* begin may end the job */
        if (!job->begun && names(job, &digest))
            begin_if_ready(m, job);
    }
}

/* ---- jobs ------------------------------------------------------------------------------------------ */

static void unlink_job(struct rlhf_member *m, struct rlhf_member_job *job)
{
    struct rlhf_member_job **at = &m->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (m->last == &job->next)
        m->last = at;
    m->held--;
}

static void end_job(struct rlhf_member *m, struct rlhf_member_job *job)
{
    unlink_job(m, job);
    free(job);
}

static void free_jobs(struct rlhf_member *m)
{
    while (m->jobs)
        end_job(m, m->jobs);
}

static void forget_all(struct rlhf_member *m)
{
    m->life++;
    m->finished_count = 0;
    m->ops->forget(m->ctx);
    m->engine->cancel(m->engine);
    free_jobs(m);
}

static struct rlhf_member_job *find(struct rlhf_member *m, uint64_t id)
{
    for (struct rlhf_member_job *job = m->jobs; job; job = job->next)
        if (job->id == id)
            return job;
    return NULL;
}

static void return_ids(struct rlhf_member *m, uint64_t *ids, size_t count, const char *reason)
{
    Rlhf__V1__JobsReturned body = RLHF__V1__JOBS_RETURNED__INIT;
    char line[sizeof((struct rlhf_error *)NULL)->text];

    snprintf(line, sizeof line, "%s", reason);
    for (char *c = line; *c; c++) /* a reason is one line (checks.h); an error's text may quote anything */
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    body.ids = ids;
    body.n_ids = count;
    body.reason = line;
    if (count > 0) /* unsent, their leases will end */
        rlhf_member_send(m, &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__JOBS_RETURNED, .body = &body.base },
                         "jobs-not-returned");
}

void *rlhf_member_job(struct rlhf_member *m, uint64_t id, uint32_t attempt, size_t size, struct rlhf_error *err)
{
    struct rlhf_member_job *job = calloc(1, size);

    if (!job) { /* what came before it is held; the rest comes back when its lease ends */
        return_ids(m, &id, 1, "no memory for the job");
        rlhf_fail(err, RLHF_FULL, "no memory for a job of %zu bytes", size);
        return NULL;
    }
    job->id = id;
    job->attempt = attempt;
    job->size = size;
    return job;
}

void rlhf_member_take(struct rlhf_member *m, struct rlhf_member_job *job)
{
    struct rlhf_error err = { 0 };

    if (find(m, job->id)) {
        free(job);
        return;
    }
    job->next = NULL;
    job->begun = false;
    *m->last = job;
    m->last = &job->next;
    m->held++;
    if (m->draining || m->held > RLHF_MAX_JOBS) {
        rlhf_member_return(m, job, m->draining ? "this one is stopping" : "it holds more jobs than any may");
        return;
    }
    if (begin_if_ready(m, job))
        return;
    for (size_t i = 0; i < job->weights_count; i++)
        if (!have(m, &job->weights[i]) && !rlhf_weights_store_fetching(m->store, &job->weights[i])
            && rlhf_weights_store_want(m->store, &job->weights[i], &err) < 0) {
            rlhf_member_return(m, job, err.text);
            return;
        }
}

struct rlhf_member_job *rlhf_member_current(struct rlhf_member *m, uint64_t life, uint64_t id)
{
    return life == m->life ? find(m, id) : NULL;
}

void rlhf_member_finish(struct rlhf_member *m, struct rlhf_member_job *job, uint64_t tokens, bool full)
{
    if (m->finished_count == 0)
        m->flush_at = rlhf_now(m->env->clock) + m->config.flush_us;
    m->finished[m->finished_count++] = job->id;
    m->done++;
    m->tokens += tokens;
    end_job(m, job);
    if (full || m->finished_count == RLHF_RESULTS_A_MESSAGE || m->held == 0)
        rlhf_member_flush(m);
}

void rlhf_member_return(struct rlhf_member *m, struct rlhf_member_job *job, const char *reason)
{
    uint64_t id = job->id;

    end_job(m, job);
    return_ids(m, &id, 1, reason);
}

void rlhf_member_failed(struct rlhf_member *m, uint64_t life, uint64_t id, const struct rlhf_error *why)
{
    struct rlhf_member_job *job = rlhf_member_current(m, life, id);

    if (!job)
        return;
    rlhf_log_error("job-failed", why);
    rlhf_member_return(m, job, why->text);
}

void rlhf_member_flush(struct rlhf_member *m)
{
    if (m->finished_count > 0)
        rlhf_weights_store_settle(m->store);
    if (m->finished_count > 0)
        m->ops->send(m->ctx);
    m->finished_count = 0;
}

void rlhf_member_send(struct rlhf_member *m, const struct rlhf_message *msg, const char *failure)
{
    struct rlhf_error err = { 0 };

    if (m->learner && rlhf_node_send(m->node, m->learner, msg, &err) < 0)
        rlhf_log_error(failure, &err);
}

static void say_credit(struct rlhf_member *m)
{
    Rlhf__V1__Credit body = RLHF__V1__CREDIT__INIT;

    m->credit_at = rlhf_now(m->env->clock) + CREDIT_EVERY_US;
    body.jobs = m->draining ? 0 : m->config.credit;
    rlhf_member_send(m, &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__CREDIT, .body = &body.base },
                     "credit-not-sent"); /* said again soon */
}

/* Every job goes back. */
static void hand_back(struct rlhf_member *m, const char *reason)
{
    uint64_t ids[RETURN_AT_ONCE];
    size_t count = 0;

    for (const struct rlhf_member_job *job = m->jobs; job; job = job->next) {
        ids[count++] = job->id;
        if (count == RETURN_AT_ONCE || !job->next) {
            return_ids(m, ids, count, reason);
            count = 0;
        }
    }
    forget_all(m);
}

/* Weights proved false, and no result has left that was made of them: all that is not sent is done again. */
static void on_spoiled(void *ctx, const struct rlhf_digest *digest)
{
    static const char reason[] = "its weights proved false";
    struct rlhf_member *m = ctx;
    struct held_weights *w = have(m, digest);

    return_ids(m, m->finished, m->finished_count, reason);
    hand_back(m, reason);
    if (w)
        drop_weights(m, w);
}

void rlhf_member_drain(struct rlhf_member *m, const char *reason)
{
    m->draining = true;
    rlhf_member_flush(m);
    say_credit(m);
    hand_back(m, reason);
    if (m->drained)
        m->drained(m->drained_ctx);
}

void rlhf_member_on_drain(struct rlhf_member *m, void (*drained)(void *ctx), void *ctx)
{
    m->drained = drained;
    m->drained_ctx = ctx;
}

/* ---- the machine ----------------------------------------------------------------------------------- */

static void peer_up(void *machine, struct rlhf_peer *peer)
{
    struct rlhf_member *m = machine;

    if (peer->role != RLHF__V1__ROLE__ROLE_LEARNER || !peer->is_link)
        return;
    m->learner = peer;
    rlhf_weights_store_peer_up(m->store, m->node, peer);
    say_credit(m);
}

static void peer_lost(void *machine, struct rlhf_peer *peer)
{
    struct rlhf_member *m = machine;

    if (peer != m->learner)
        return;
    rlhf_log(RLHF_LEVEL_WARNING, "learner-lost jobs=%zu", m->held);
    m->learner = NULL;
    rlhf_weights_store_peer_lost(m->store, peer);
    forget_all(m); /* job ids mean something in one connection to one life of the learner only */
}

static void tick(void *machine, int64_t now_us)
{
    struct rlhf_member *m = machine;

    rlhf_weights_store_tick(m->store, now_us);
    let_go(m, now_us);
    if (m->learner && now_us >= m->credit_at)
        say_credit(m);
    if (m->finished_count > 0 && now_us >= m->flush_at)
        rlhf_member_flush(m);
}

static int64_t deadline(void *machine)
{
    struct rlhf_member *m = machine;
    int64_t at = rlhf_weights_store_deadline(m->store);

    if (m->learner && m->credit_at < at)
        at = m->credit_at;
    return m->finished_count > 0 && m->flush_at < at ? m->flush_at : at;
}

static size_t held_jobs(void *machine, uint64_t *ids, size_t max)
{
    const struct rlhf_member *m = machine;
    size_t count = 0;

    for (const struct rlhf_member_job *job = m->jobs; job && count < max; job = job->next)
        ids[count++] = job->id;
    for (size_t i = 0; i < m->finished_count && count < max; i++)
        ids[count++] = m->finished[i];
    return count;
}

static int on_jobs(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    struct rlhf_member *m = machine;

    (void)peer;
    return m->ops->take(m->ctx, msg, err);
}

static int on_announce(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    const Rlhf__V1__WeightsAnnounce *body = (const Rlhf__V1__WeightsAnnounce *)msg->body;
    struct rlhf_member *m = machine;

    (void)peer;
    (void)err;
    for (size_t i = 0; i < body->n_drop; i++) {
        struct rlhf_digest digest = rlhf_digest_of_field(&body->drop[i]);
        struct held_weights *w = have(m, &digest);

        if (needed(m, &digest))
            continue; /* make_room() will find it later */
        rlhf_weights_store_drop(m->store, &digest);
        if (w)
            drop_weights(m, w);
    }
    return 0;
}

static int on_manifest(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    struct rlhf_member *m = machine;

    return rlhf_weights_store_on_manifest(m->store, peer, msg, err);
}

static int on_chunk(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    struct rlhf_member *m = machine;

    return rlhf_weights_store_on_chunk(m->store, peer, msg, err);
}

static int on_error(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    const Rlhf__V1__Error *body = (const Rlhf__V1__Error *)msg->body;
    struct rlhf_member *m = machine;

    (void)err;
    rlhf_log(RLHF_LEVEL_WARNING, "peer-error type=%u text=\"%s\"", body->type, body->text);
    rlhf_weights_store_on_error(m->store, peer, msg);
    return 0;
}

static int on_status(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    const struct rlhf_member *m = machine;
    Rlhf__V1__Gauge held = RLHF__V1__GAUGE__INIT, done = RLHF__V1__GAUGE__INIT, tokens = RLHF__V1__GAUGE__INIT;
    Rlhf__V1__Gauge connected = RLHF__V1__GAUGE__INIT, *gauges[] = { &held, &done, &tokens, &connected };
    Rlhf__V1__Status body = RLHF__V1__STATUS__INIT;

    held.name = (char *)"jobs_held";
    held.value = (double)m->held;
    done.name = (char *)m->ops->results;
    done.value = (double)m->done;
    tokens.name = (char *)"tokens";
    tokens.value = (double)m->tokens;
    connected.name = (char *)"learner";
    connected.value = m->learner ? 1 : 0;
    body.daemon = (char *)m->ops->daemon;
    body.version = (char *)RLHF_VERSION;
    body.uptime_ms = (uint64_t)(rlhf_now(m->env->clock) - m->started_us) / 1000;
    body.state = (char *)(m->draining ? "draining" : "running");
    body.gauges = gauges;
    body.n_gauges = sizeof gauges / sizeof gauges[0];
    return rlhf_node_reply(m->node, peer, msg, RLHF__V1__MESSAGE_TYPE__STATUS, &body.base, err);
}

static int on_drain(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    struct rlhf_member *m = machine;
    int rc;

    m->draining = true;
    rc = on_status(machine, peer, msg, err);
    rlhf_member_drain(m, ((const Rlhf__V1__Drain *)msg->body)->reason);
    return rc;
}

#define LEARNER RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LEARNER)
#define CONTROL RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_CONTROL)

static const struct rlhf_handler rows[ROWS] = {
    { 0, NULL, LEARNER, 1u << 20, 2, 64u << 20, NULL, on_jobs }, /* the daemon says which */
    { RLHF__V1__MESSAGE_TYPE__WEIGHTS_ANNOUNCE, &rlhf__v1__weights_announce__descriptor, LEARNER, 1u << 13, 0, 0,
      rlhf_check_weights_announce, on_announce },
    { RLHF__V1__MESSAGE_TYPE__WEIGHTS_MANIFEST, &rlhf__v1__weights_manifest__descriptor, LEARNER,
      RLHF_MANIFEST_BYTES, 0, 0, rlhf_check_weights_manifest, on_manifest },
    { RLHF__V1__MESSAGE_TYPE__CHUNK, &rlhf__v1__chunk__descriptor, LEARNER, 1u << 8, 1, RLHF_CHUNK_SIZE,
      rlhf_check_chunk, on_chunk },
    { RLHF__V1__MESSAGE_TYPE__ERROR, &rlhf__v1__error__descriptor, LEARNER | CONTROL, 1u << 12, 0, 0, rlhf_check_error,
      on_error },
    { RLHF__V1__MESSAGE_TYPE__STATUS_REQUEST, &rlhf__v1__status_request__descriptor, CONTROL, 1u << 6, 0, 0, NULL,
      on_status },
    { RLHF__V1__MESSAGE_TYPE__DRAIN, &rlhf__v1__drain__descriptor, CONTROL, 1u << 12, 0, 0, rlhf_check_drain,
      on_drain },
};

/* ---- life ------------------------------------------------------------------------------------------ */

struct rlhf_member *rlhf_member_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                                    const struct rlhf_member_ops *ops, struct rlhf_member_engine *engine, void *ctx,
                                    struct rlhf_error *err)
{
    struct rlhf_member *m = calloc(1, sizeof *m);
    struct rlhf_weights_store_config store = {
        .host = c->host, .max_bytes = c->max_weights_bytes, .ctx = m, .ready = on_ready, .spoiled = on_spoiled,
        .failed = on_failed
    };

    if (!m) {
        rlhf_fail(err, RLHF_FULL, "no memory for a %s", ops->daemon);
        return NULL;
    }
    m->config = *c;
    m->env = env;
    m->ops = ops;
    m->engine = engine;
    m->ctx = ctx;
    m->life = 1;
    memcpy(m->handlers, rows, sizeof rows);
    m->handlers[0].type = ops->type;
    m->handlers[0].schema = ops->schema;
    m->handlers[0].check = ops->check;
    m->machine = (struct rlhf_machine){ .handlers = m->handlers,
                                        .state = m,
                                        .peer_up = peer_up,
                                        .peer_lost = peer_lost,
                                        .tick = tick,
                                        .deadline = deadline,
                                        .held_jobs = held_jobs };
    m->last = &m->jobs;
    m->credit_at = m->started_us = rlhf_now(env->clock);
    if (!(m->store = rlhf_weights_store_new(env, &store, err))) {
        free(m);
        return NULL;
    }
    return m;
}

const struct rlhf_machine *rlhf_member_machine(struct rlhf_member *m)
{
    return &m->machine;
}

void rlhf_member_join(struct rlhf_member *m, struct rlhf_node *n)
{
    m->node = n;
}

void rlhf_member_free(struct rlhf_member *m)
{
    if (!m)
        return;
    free_jobs(m); /* nothing works on them any more */
    for (size_t i = 0; i < m->weights_count; i++)
        rlhf_weights_free(m->weights[i].w);
    for (size_t i = 0; i < m->leaving_count; i++)
        rlhf_weights_free(m->leaving[i]);
    rlhf_weights_store_free(m->store);
    free(m->weights);
    free(m->leaving);
    free(m);
}
