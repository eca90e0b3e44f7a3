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
};

struct held_weights {
    struct rlhf_digest digest;
    uint64_t used; /* larger = later */
};

struct rlhf_member {
    struct rlhf_member_config config;
    const struct rlhf_env *env;
    const struct rlhf_member_ops *ops;
    void *ctx;
    struct rlhf_node *node;
    struct rlhf_peer *learner;
    struct rlhf_weights_store *store;
    struct rlhf_member_job *jobs; /* in order of arrival */
    struct rlhf_member_job **last;
    size_t held;
    struct held_weights *weights; /* [max_weights + what jobs need beyond] */
    size_t weights_count, weights_capacity;
    uint64_t uses;
    int64_t credit_at, started_us;
    bool draining;
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

static void drop_weights(struct rlhf_member *m, struct held_weights *w)
{
    struct rlhf_digest digest = w->digest;

    *w = m->weights[--m->weights_count];
    m->ops->drop_weights(m->ctx, &digest);
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
    m->ops->begin(m->ctx, job);
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

        if (!more) { /* jobs that went on waiting would be held, and renewed, for ever */
            struct rlhf_error err = { 0 };

            rlhf_fail(&err, RLHF_FULL, "no memory for more weights");
            rlhf_weights_free(w);
            on_failed(m, &digest, &err);
            return;
        }
        m->weights = more;
        m->weights_capacity = capacity;
    }
    m->weights[m->weights_count++] = (struct held_weights){ .digest = digest, .used = ++m->uses };
    m->ops->add_weights(m->ctx, w);
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

static void free_jobs(struct rlhf_member *m)
{
    while (m->jobs) {
        struct rlhf_member_job *job = m->jobs;

        unlink_job(m, job);
        m->ops->free_job(m->ctx, job);
    }
}

static void forget_all(struct rlhf_member *m)
{
    m->ops->cancel(m->ctx);
    free_jobs(m);
}

void rlhf_member_take(struct rlhf_member *m, struct rlhf_member_job *job)
{
    struct rlhf_error err = { 0 };

    if (rlhf_member_find(m, job->id)) {
        m->ops->free_job(m->ctx, job);
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

struct rlhf_member_job *rlhf_member_find(struct rlhf_member *m, uint64_t id)
{
    for (struct rlhf_member_job *job = m->jobs; job; job = job->next)
        if (job->id == id)
            return job;
    return NULL;
}

void rlhf_member_finish(struct rlhf_member *m, struct rlhf_member_job *job)
{
    unlink_job(m, job);
    m->ops->free_job(m->ctx, job);
}

void rlhf_member_return_ids(struct rlhf_member *m, uint64_t *ids, size_t count, const char *reason)
{
    Rlhf__V1__JobsReturned body = RLHF__V1__JOBS_RETURNED__INIT;
    struct rlhf_error err = { 0 };
    char line[sizeof err.text];

    if (!m->learner || count == 0)
        return;
    snprintf(line, sizeof line, "%s", reason);
    for (char *c = line; *c; c++) /* a reason is one line (checks.h); an error's text may quote anything */
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    body.ids = ids;
    body.n_ids = count;
    body.reason = line;
    if (rlhf_node_send(m->node, m->learner,
                       &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__JOBS_RETURNED, .body = &body.base },
                       &err)
        < 0)
        rlhf_log_error("jobs-not-returned", &err); /* their leases will end */
}

void rlhf_member_return(struct rlhf_member *m, struct rlhf_member_job *job, const char *reason)
{
    uint64_t id = job->id;

    rlhf_member_finish(m, job);
    rlhf_member_return_ids(m, &id, 1, reason);
}

static void say_credit(struct rlhf_member *m)
{
    Rlhf__V1__Credit body = RLHF__V1__CREDIT__INIT;
    struct rlhf_error err = { 0 };

    m->credit_at = rlhf_now(m->env->clock) + CREDIT_EVERY_US;
    if (!m->learner)
        return;
    body.jobs = m->draining ? 0 : m->config.credit;
    if (rlhf_node_send(m->node, m->learner,
                       &(struct rlhf_message){ .type = RLHF__V1__MESSAGE_TYPE__CREDIT, .body = &body.base }, &err)
        < 0)
        rlhf_log_error("credit-not-sent", &err); /* said again soon */
}

void rlhf_member_drain(struct rlhf_member *m, const char *reason)
{
    uint64_t ids[RETURN_AT_ONCE];
    size_t count = 0;

    m->draining = true;
    say_credit(m);
    for (const struct rlhf_member_job *job = m->jobs; job; job = job->next) {
        ids[count++] = job->id;
        if (count == RETURN_AT_ONCE || !job->next) {
            rlhf_member_return_ids(m, ids, count, reason);
            count = 0;
        }
    }
    forget_all(m);
}

struct rlhf_peer *rlhf_member_learner(struct rlhf_member *m)
{
    return m->learner;
}

size_t rlhf_member_held(const struct rlhf_member *m)
{
    return m->held;
}

/* ---- what the daemon's machine passes on ------------------------------------------------------------ */

static struct rlhf_member *member(void *machine)
{
    return *(struct rlhf_member **)machine;
}

void rlhf_member_peer_up(void *machine, struct rlhf_peer *peer)
{
    struct rlhf_member *m = member(machine);

    if (peer->role != RLHF__V1__ROLE__ROLE_LEARNER || !peer->is_link)
        return;
    m->learner = peer;
    rlhf_weights_store_peer_up(m->store, m->node, peer);
    say_credit(m);
}

void rlhf_member_peer_lost(void *machine, struct rlhf_peer *peer)
{
    struct rlhf_member *m = member(machine);

    if (peer != m->learner)
        return;
    rlhf_log(RLHF_LEVEL_WARNING, "learner-lost jobs=%zu", m->held);
    m->learner = NULL;
    rlhf_weights_store_peer_lost(m->store, peer);
    forget_all(m); /* job ids mean something in one connection to one life of the learner only */
}

void rlhf_member_tick(struct rlhf_member *m, int64_t now_us)
{
    rlhf_weights_store_tick(m->store, now_us);
    if (m->learner && now_us >= m->credit_at)
        say_credit(m);
}

int64_t rlhf_member_deadline(struct rlhf_member *m)
{
    int64_t weights = rlhf_weights_store_deadline(m->store);

    return m->learner && m->credit_at < weights ? m->credit_at : weights;
}

size_t rlhf_member_held_jobs(struct rlhf_member *m, uint64_t *ids, size_t max)
{
    size_t count = 0;

    for (const struct rlhf_member_job *job = m->jobs; job && count < max; job = job->next)
        ids[count++] = job->id;
    return count;
}

int rlhf_member_on_announce(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    const Rlhf__V1__WeightsAnnounce *body = (const Rlhf__V1__WeightsAnnounce *)msg->body;
    struct rlhf_member *m = member(machine);

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

int rlhf_member_on_manifest(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    struct rlhf_member *m = member(machine);

    return rlhf_weights_store_on_manifest(m->store, peer, msg, err);
}

int rlhf_member_on_chunk(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    struct rlhf_member *m = member(machine);

    return rlhf_weights_store_on_chunk(m->store, peer, msg, err);
}

int rlhf_member_on_error(void *machine, struct rlhf_peer *peer, const struct rlhf_message *msg, struct rlhf_error *err)
{
    const Rlhf__V1__Error *body = (const Rlhf__V1__Error *)msg->body;
    struct rlhf_member *m = member(machine);

    (void)err;
    rlhf_log(RLHF_LEVEL_WARNING, "peer-error type=%u text=\"%s\"", body->type, body->text);
    rlhf_weights_store_on_error(m->store, peer, msg);
    return 0;
}

int rlhf_member_send_status(struct rlhf_member *m, struct rlhf_peer *peer, const struct rlhf_message *msg,
                            const struct rlhf_member_status *status, struct rlhf_error *err)
{
    Rlhf__V1__Gauge held = RLHF__V1__GAUGE__INIT, done = RLHF__V1__GAUGE__INIT, tokens = RLHF__V1__GAUGE__INIT;
    Rlhf__V1__Gauge connected = RLHF__V1__GAUGE__INIT, *gauges[] = { &held, &done, &tokens, &connected };
    Rlhf__V1__Status body = RLHF__V1__STATUS__INIT;

    held.name = (char *)"jobs_held";
    held.value = (double)m->held;
    done.name = (char *)status->results;
    done.value = (double)status->done;
    tokens.name = (char *)"tokens";
    tokens.value = (double)status->tokens;
    connected.name = (char *)"learner";
    connected.value = m->learner ? 1 : 0;
    body.daemon = (char *)status->daemon;
    body.version = (char *)RLHF_VERSION;
    body.uptime_ms = (uint64_t)(rlhf_now(m->env->clock) - m->started_us) / 1000;
    body.state = (char *)(status->draining ? "draining" : "running");
    body.gauges = gauges;
    body.n_gauges = sizeof gauges / sizeof gauges[0];
    return rlhf_node_reply(m->node, peer, msg, RLHF__V1__MESSAGE_TYPE__STATUS, &body.base, err);
}

/* ---- life ------------------------------------------------------------------------------------------ */

struct rlhf_member *rlhf_member_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                                    const struct rlhf_member_ops *ops, void *ctx, struct rlhf_error *err)
{
    struct rlhf_member *m = calloc(1, sizeof *m);
    struct rlhf_weights_store_config store = {
        .host = c->host, .max_bytes = c->max_weights_bytes, .ctx = m, .ready = on_ready, .failed = on_failed
    };

    if (!m) {
        rlhf_fail(err, RLHF_FULL, "no memory");
        return NULL;
    }
    m->config = *c;
    m->env = env;
    m->ops = ops;
    m->ctx = ctx;
    m->last = &m->jobs;
    m->credit_at = m->started_us = rlhf_now(env->clock);
    if (!(m->store = rlhf_weights_store_new(env, &store, err))) {
        free(m);
        return NULL;
    }
    return m;
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
    rlhf_weights_store_free(m->store);
    free(m->weights);
    free(m);
}
