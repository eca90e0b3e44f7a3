#include "learner/fleet.h"

#include <stdlib.h>
#include <string.h>

#include "telemetry/log.h"

enum { EXPIRE_EVERY_US = 1000000 };

static bool is_worker(const struct rlhf_peer *peer)
{
    return peer->role == RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER || peer->role == RLHF__V1__ROLE__ROLE_REWARD_SCORER;
}

static void on_peer_up(void *machine, struct rlhf_peer *peer)
{
    struct learner *l = machine;

    if (is_worker(peer)) {
        peer->state = calloc(1, sizeof(struct learner_peer));
        if (!peer->state) {
            rlhf_log(RLHF_LEVEL_ERROR, "no-memory peer=%llu", (unsigned long long)peer->id);
            return; /* it never gets credit, so never a job */
        }
        ((struct learner_peer *)peer->state)->peer = peer;
        rlhf_log(RLHF_LEVEL_INFO, "peer-up peer=%llu software=\"%s\"", (unsigned long long)peer->id,
                 peer->software);
        learner_announce(l, peer);
    } else if (peer->role == RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR && peer->is_link) {
        l->collector = peer;
        l->request = 0;
        learner_labels_send(l);
    }
}

static void on_peer_lost(void *machine, struct rlhf_peer *peer)
{
    struct learner *l = machine;

    if (peer == l->collector) {
        l->collector = NULL;
        l->request = 0;
        l->idle_us = 0; /* what comes while it is away is not known */
        rlhf_log(RLHF_LEVEL_WARNING, "label-collector-lost waiting=%d", l->action != NULL);
    }
    if (is_worker(peer) && peer->state) {
        struct learner_peer *worker = peer->state;

        rlhf_log(RLHF_LEVEL_WARNING, "peer-lost peer=%llu software=\"%s\" jobs=%zu",
                 (unsigned long long)peer->id, peer->software, worker->holder.held);
        learner_leases_release(l->leases, &worker->holder);
        learner_leaves_table(l, worker);
        free(worker);
        peer->state = NULL;
        learner_dispatch(l);
    }
}

static void on_room(void *ctx, struct learner_holder *h)
{
    learner_appetite(ctx, (struct learner_peer *)h);
}

static void on_heartbeat(void *machine, struct rlhf_peer *peer, const uint64_t *ids, size_t count)
{
    struct learner *l = machine;
    struct learner_peer *worker = is_worker(peer) ? peer->state : NULL;

    for (size_t i = 0; worker && i < count; i++)
        learner_leases_renew(l->leases, &worker->holder, ids[i]);
}

static bool has_jobs(const struct learner *l)
{
    return l->action && (l->action->kind == LEARNER_GENERATE || l->action->kind == LEARNER_SCORE);
}

static bool has_labels(const struct learner *l)
{
    return l->action && (l->action->kind == LEARNER_SUBMIT || l->action->kind == LEARNER_PULL);
}

/* When an answer of nobody becomes the answer; INT64_MAX: never. */
static int64_t gives_up_at(const struct learner *l)
{
    return l->action && l->action->kind == LEARNER_PULL && l->action->want == 0 && l->action->patience_us > 0
               ? l->heard_us + l->action->patience_us
               : INT64_MAX;
}

static int64_t next_deadline(void *machine)
{
    struct learner *l = machine;
    int64_t deadline = INT64_MAX;

    if (has_jobs(l))
        deadline = l->expire_at;
    if (has_labels(l) && l->collector && l->labels_at < deadline)
        deadline = l->labels_at;
    return deadline < gives_up_at(l) ? deadline : gives_up_at(l);
}

static void on_tick(void *machine, int64_t now)
{
    struct learner *l = machine;

    if (has_jobs(l) && now >= l->expire_at) {
        size_t expired = learner_leases_expire(l->leases);

        l->expire_at = now + EXPIRE_EVERY_US;
        if (expired > 0) {
            l->counters.expired += expired;
            rlhf_log(RLHF_LEVEL_WARNING, "leases-expired jobs=%zu", expired);
        }
        learner_dispatch(l);
    }
    if (now >= gives_up_at(l)) {
        rlhf_log(RLHF_LEVEL_WARNING, "label-collector-silent round=%s seconds=%lld what was taken back of it is not known",
                 l->action->round, (long long)(l->action->patience_us / 1000000));
        learner_finish(l, NULL);
    }
    if (has_labels(l) && now >= l->labels_at) {
        l->request = 0; /* unanswered: ask again */
        learner_labels_send(l);
    }
}

struct learner *learner_new(const struct learner_options *o, const struct rlhf_env *env, struct rlhf_error *err)
{
    struct learner *l = calloc(1, sizeof *l);

    if (!l) {
        rlhf_fail(err, RLHF_FULL, "no memory for the learner");
        return NULL;
    }
    l->options = *o;
    l->env = env;
    l->state = "starting";
    l->started_us = rlhf_now(env->clock);
    l->machine = (struct rlhf_machine){
        .handlers = learner_handlers,
        .state = l,
        .peer_up = on_peer_up,
        .peer_lost = on_peer_lost,
        .tick = on_tick,
        .deadline = next_deadline,
        .heartbeat = on_heartbeat,
    };
    if (!(l->leases = learner_leases_new(env->clock, o->lease_us, o->max_attempts, err))
        || !(l->weights = rlhf_weights_source_new(o->host, err))) {
        learner_free(l);
        return NULL;
    }
    learner_leases_on_room(l->leases, on_room, l);
    return l;
}

const struct rlhf_machine *learner_machine(struct learner *l)
{
    return &l->machine;
}

void learner_join(struct learner *l, struct rlhf_node *node)
{
    l->node = node;
}

int learner_act(struct learner *l, const struct learner_action *a, learner_answered *answered, void *ctx,
                struct rlhf_error *err)
{
    int rc = -1;

    if (l->action)
        return rlhf_fail(err, RLHF_FATAL, "an action was asked for while another is under way");
    l->action = a;
    l->answered = answered;
    l->answered_ctx = ctx;
    l->answer = (struct learner_answer){ 0 };
    switch (a->kind) {
    case LEARNER_PUBLISH:
        rc = learner_serve_weights(l, err);
        break;
    case LEARNER_GENERATE:
    case LEARNER_SCORE:
        l->expire_at = rlhf_now(l->env->clock) + EXPIRE_EVERY_US;
        rc = learner_dispatch_begin(l, err);
        break;
    case LEARNER_SUBMIT:
    case LEARNER_PULL:
        rc = learner_labels_begin(l, err);
        break;
    }
    if (rc < 0)
        learner_abandon(l);
    return rc;
}

void learner_abandon(struct learner *l)
{
    l->action = NULL;
    learner_answer_free(&l->answer);
}

void learner_finish(struct learner *l, const struct rlhf_error *err)
{
    struct learner_answer answer = l->answer;

    l->action = NULL;
    l->answer = (struct learner_answer){ 0 };
    if (err)
        learner_answer_free(&answer);
    l->answered(l->answered_ctx, &answer, err);
}

int learner_declare_stage(struct learner *l, const char *name, const char *kind, struct rlhf_error *err)
{
    struct learner_stage *stage = &l->stages[l->stage_count];

    if (l->stage_count == LEARNER_MAX_STAGES)
        return rlhf_fail(err, RLHF_REJECT, "a run has at most %d stages", LEARNER_MAX_STAGES);
    if (!(stage->name = strdup(name)))
        return rlhf_fail(err, RLHF_FULL, "no memory for stage %s", name);
    stage->kind = kind;
    l->stage_count++;
    return 0;
}

void learner_set_progress(struct learner *l, size_t index, uint64_t step, uint64_t steps, uint64_t tokens,
                          const char *detail)
{
    struct learner_stage *stage = &l->stages[index];
    int64_t now = rlhf_now(l->env->clock);

    if (index >= l->stage_count)
        return;
    if (stage->begun_us == 0)
        stage->begun_us = now;
    stage->spent_us = now - stage->begun_us;
    stage->step = step;
    stage->steps = steps;
    stage->tokens = tokens;
    stage->done = steps > 0 && step >= steps;
    if (detail) {
        size_t size = strnlen(detail, sizeof stage->detail - 1);

        memcpy(stage->detail, detail, size);
        stage->detail[size] = '\0';
    }
    l->stage = index;
}

void learner_set_state(struct learner *l, const char *state, const char *error)
{
    size_t size = error ? strnlen(error, sizeof l->error - 1) : 0;

    l->state = state;
    memcpy(l->error, error ? error : "", size);
    l->error[size] = '\0';
}

void learner_on_drain(struct learner *l, void (*drain)(void *ctx), void *ctx)
{
    l->drain = drain;
    l->drain_ctx = ctx;
}

void learner_on_resume(struct learner *l, void (*resume)(void *ctx), void *ctx)
{
    l->resume = resume;
    l->resume_ctx = ctx;
}

struct learner_counters learner_get_counters(const struct learner *l)
{
    return l->counters;
}

void learner_free(struct learner *l)
{
    if (!l)
        return;
    for (struct rlhf_peer *p = l->node ? rlhf_node_peers(l->node, NULL) : NULL; p; p = rlhf_node_peers(l->node, p)) {
        if (is_worker(p))
            free(p->state);
        p->state = NULL;
    }
    learner_answer_free(&l->answer);
    for (size_t i = 0; i < l->stage_count; i++)
        free(l->stages[i].name);
    learner_leases_free(l->leases);
    rlhf_weights_source_free(l->weights);
    free(l);
}
