/* handlers.c - every message that the learner accepts, from whom, and how big. */
#include "learner/fleet.h"

#include "net/checks.h"
#include "telemetry/log.h"

#define WORKER RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER)
#define SCORER RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_REWARD_SCORER)
#define COLLECTOR RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR)
#define CONTROL RLHF_ROLE_BIT(RLHF__V1__ROLE__ROLE_CONTROL)

static int on_credit(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner_peer *worker = peer->state;

    if (!worker)
        return rlhf_fail(err, RLHF_FULL, "the learner has no memory for another worker; try again later");
    worker->credit = ((const Rlhf__V1__Credit *)m->body)->jobs;
    learner_appetite(machine, worker);
    learner_dispatch(machine);
    return 0;
}

static int on_rollouts(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return learner_take_rollouts(machine, peer, m, err);
}

static int on_scores(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return learner_take_scores(machine, peer, m, err);
}

static int on_returned(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return learner_take_back(machine, peer, m, err);
}

static int on_weights(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = machine;

    return rlhf_weights_source_on_request(l->weights, l->node, peer, m, err);
}

static int on_chunks(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = machine;

    return rlhf_weights_source_on_chunk_request(l->weights, l->node, peer, m, err);
}

static int on_stored(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return learner_take_stored(machine, peer, m, err);
}

static int on_comparisons(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m,
                          struct rlhf_error *err)
{
    return learner_take_comparisons(machine, peer, m, err);
}

static int on_status(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    return learner_send_status(machine, peer, m, err);
}

static int on_drain(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = machine;

    rlhf_log(RLHF_LEVEL_INFO, "drain reason=\"%s\"", ((const Rlhf__V1__Drain *)m->body)->reason);
    learner_set_state(l, "draining", NULL);
    if (learner_send_status(l, peer, m, err) < 0)
        return -1;
    if (l->drain)
        l->drain(l->drain_ctx);
    return 0;
}

static int on_resume(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    struct learner *l = machine;

    rlhf_log(RLHF_LEVEL_INFO, "resume reason=\"%s\"", ((const Rlhf__V1__Resume *)m->body)->reason);
    if (learner_send_status(l, peer, m, err) < 0)
        return -1;
    if (l->resume)
        l->resume(l->resume_ctx);
    return 0;
}

/* What a service could not do for us. The label-collector's refusal of a task would be refused again. */
static int on_error(void *machine, struct rlhf_peer *peer, const struct rlhf_message *m, struct rlhf_error *err)
{
    const Rlhf__V1__Error *body = (const Rlhf__V1__Error *)m->body;
    struct learner *l = machine;
    bool ours = peer == l->collector && l->action && l->request && body->request == l->request;

    (void)err;
    rlhf_log(RLHF_LEVEL_WARNING, "peer-error peer=%llu type=%u text=\"%s\"", (unsigned long long)peer->id,
             body->type, body->text);
    if (ours && (body->code == RLHF_REJECT || body->code == RLHF_DENIED)) {
        struct rlhf_error why = { 0 };

        rlhf_fail(&why, (enum rlhf_code)body->code, "the label-collector refused: %s", body->text);
        learner_finish(l, &why);
    }
    return 0; /* anything else is asked again at labels_at */
}

const struct rlhf_handler learner_handlers[] = {
    { RLHF__V1__MESSAGE_TYPE__CREDIT, &rlhf__v1__credit__descriptor, WORKER | SCORER, 1u << 6, 0, 0,
      rlhf_check_credit, on_credit },
    { RLHF__V1__MESSAGE_TYPE__ROLLOUTS, &rlhf__v1__rollouts__descriptor, WORKER, 1u << 20, 3, 64u << 20,
      rlhf_check_rollouts, on_rollouts },
    { RLHF__V1__MESSAGE_TYPE__SCORES, &rlhf__v1__scores__descriptor, SCORER, 1u << 20, 1, 64u << 20,
      rlhf_check_scores, on_scores },
    { RLHF__V1__MESSAGE_TYPE__JOBS_RETURNED, &rlhf__v1__jobs_returned__descriptor, WORKER | SCORER, 1u << 17, 0, 0,
      rlhf_check_jobs_returned, on_returned },
    { RLHF__V1__MESSAGE_TYPE__WEIGHTS_REQUEST, &rlhf__v1__weights_request__descriptor, WORKER | SCORER, 1u << 8, 0, 0,
      rlhf_check_weights_request, on_weights },
    { RLHF__V1__MESSAGE_TYPE__CHUNK_REQUEST, &rlhf__v1__chunk_request__descriptor, WORKER | SCORER, 1u << 9, 0, 0,
      rlhf_check_chunk_request, on_chunks },
    { RLHF__V1__MESSAGE_TYPE__TASKS_STORED, &rlhf__v1__tasks_stored__descriptor, COLLECTOR, 1u << 6, 0, 0,
      rlhf_check_tasks_stored, on_stored },
    { RLHF__V1__MESSAGE_TYPE__COMPARISONS, &rlhf__v1__comparisons__descriptor, COLLECTOR, 64u << 20, 0, 0,
      rlhf_check_comparisons, on_comparisons },
    { RLHF__V1__MESSAGE_TYPE__ERROR, &rlhf__v1__error__descriptor, WORKER | SCORER | COLLECTOR | CONTROL, 1u << 12, 0,
      0, rlhf_check_error, on_error },
    { RLHF__V1__MESSAGE_TYPE__STATUS_REQUEST, &rlhf__v1__status_request__descriptor, CONTROL, 1u << 6, 0, 0, NULL,
      on_status },
    { RLHF__V1__MESSAGE_TYPE__DRAIN, &rlhf__v1__drain__descriptor, CONTROL, 1u << 12, 0, 0, rlhf_check_drain,
      on_drain },
    { RLHF__V1__MESSAGE_TYPE__RESUME, &rlhf__v1__resume__descriptor, CONTROL, 1u << 12, 0, 0, rlhf_check_resume,
      on_resume },
    { 0 },
};
