/* status.c - what `rlhfctl status` and `rlhfctl up` show. */
#include "learner/fleet.h"

enum { MAX_PEERS_SHOWN = 64 };

static void gauge(Rlhf__V1__Gauge *gauges, Rlhf__V1__Gauge **list, size_t *count, const char *name, double value)
{
    Rlhf__V1__Gauge *g = &gauges[*count];

    rlhf__v1__gauge__init(g);
    g->name = (char *)name;
    g->value = value;
    g->unit = (char *)"";
    list[(*count)++] = g;
}

int learner_send_status(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                        struct rlhf_error *err)
{
    Rlhf__V1__StageStatus stage[LEARNER_MAX_STAGES], *stages[LEARNER_MAX_STAGES];
    Rlhf__V1__PeerStatus shown[MAX_PEERS_SHOWN], *peers[MAX_PEERS_SHOWN];
    Rlhf__V1__Gauge gauges[16], *gauge_list[16];
    Rlhf__V1__Status body = RLHF__V1__STATUS__INIT;
    const struct learner_counters *c = &l->counters;
    bool jobs = l->action && (l->action->kind == LEARNER_GENERATE || l->action->kind == LEARNER_SCORE);

    body.daemon = (char *)"learner";
    body.version = (char *)RLHF_VERSION;
    body.run = (char *)l->options.run;
    body.uptime_ms = (uint64_t)(rlhf_now(l->env->clock) - l->started_us) / 1000;
    body.state = (char *)l->state;
    body.error = l->error;
    body.stage = (uint32_t)l->stage;
    body.stages = stages;
    for (; body.n_stages < l->stage_count; body.n_stages++) {
        const struct learner_stage *from = &l->stages[body.n_stages];
        Rlhf__V1__StageStatus *to = &stage[body.n_stages];

        rlhf__v1__stage_status__init(to);
        to->name = from->name;
        to->kind = (char *)from->kind;
        to->step = from->step;
        to->steps = from->steps;
        to->seconds = (double)from->spent_us * 1e-6;
        to->tokens = from->tokens;
        to->detail = (char *)from->detail;
        to->done = from->done;
        stages[body.n_stages] = to;
    }
    body.peers = peers;
    for (struct rlhf_peer *p = rlhf_node_peers(l->node, NULL); p && body.n_peers < MAX_PEERS_SHOWN;
         p = rlhf_node_peers(l->node, p)) {
        const struct learner_peer *worker = p->state;
        Rlhf__V1__PeerStatus *to = &shown[body.n_peers];

        rlhf__v1__peer_status__init(to);
        to->role = p->role;
        to->software = (char *)p->software;
        to->jobs = worker ? (uint32_t)worker->holder.held : 0;
        to->done = worker ? worker->done : 0;
        peers[body.n_peers++] = to;
    }
    body.gauges = gauge_list;
    gauge(gauges, gauge_list, &body.n_gauges, "jobs_pending", jobs ? (double)learner_leases_pending(l->leases) : 0);
    gauge(gauges, gauge_list, &body.n_gauges, "jobs_open", jobs ? (double)learner_leases_open_jobs(l->leases) : 0);
    gauge(gauges, gauge_list, &body.n_gauges, "jobs_granted", (double)c->granted);
    gauge(gauges, gauge_list, &body.n_gauges, "jobs_done", (double)c->done);
    gauge(gauges, gauge_list, &body.n_gauges, "jobs_late", (double)c->late);
    gauge(gauges, gauge_list, &body.n_gauges, "leases_expired", (double)c->expired);
    gauge(gauges, gauge_list, &body.n_gauges, "jobs_returned", (double)c->returned);
    gauge(gauges, gauge_list, &body.n_gauges, "jobs_set_aside", (double)c->aside);
    gauge(gauges, gauge_list, &body.n_gauges, "results_refused", (double)c->refused);
    gauge(gauges, gauge_list, &body.n_gauges, "label_collector", l->collector ? 1 : 0);
    return rlhf_node_reply(l->node, peer, m, RLHF__V1__MESSAGE_TYPE__STATUS, &body.base, err);
}
