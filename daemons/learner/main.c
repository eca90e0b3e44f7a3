/* learner: executes a run file. The only process that computes gradients; coordinates the fleet. */
#include <stdlib.h>

#include "config/run.h"
#include "daemon/daemon.h"
#include "learner/learner.h"
#include "learner/port.h"
#include "learner/train.h"
#include "telemetry/log.h"
#include "tensor/ops.h"

static int finish(void *config, const char *where, struct rlhf_error *err)
{
    if (rlhf_run_finish(config, where, err) < 0)
        return -1;
    if (learner_check_rewards(config, err) == 0)
        return 0;
    rlhf_run_free(config);
    return rlhf_fail_prefix(err, "%s", where);
}

static const struct rlhf_daemon_info info = {
    .name = "learner",
    .summary = "executes a run: pretraining, supervised fine-tuning, reward model, PPO",
    .role = RLHF__V1__ROLE__ROLE_LEARNER,
    .schema = &rlhf_run_schema,
    .config_size = sizeof(struct rlhf_run),
    .finish = finish,
};

static struct learner *fleet(struct rlhf_daemon *d, const struct rlhf_run *run, struct rlhf_error *err)
{
    struct learner_options options = LEARNER_OPTIONS_DEFAULT;
    struct learner *l;
    struct rlhf_node *node;

    options.run = run->run.name;
    options.host = rlhf_boot_id();
    options.lease_us = run->learner.lease_ms * 1000;
    if (!(l = learner_new(&options, rlhf_daemon_env(d), err)))
        return NULL;
    for (size_t i = 0; i < rlhf_run_stages(run); i++) {
        const struct rlhf_stage *stage = rlhf_run_stage(run, i);

        if (learner_declare_stage(l, rlhf_stage_name(stage), rlhf_stage_kind_name(rlhf_stage_kind(stage)), err) < 0)
            goto fail;
    }
    if (!(node = rlhf_daemon_node(d, learner_machine(l), run->run.name, rlhf_tensor_profile(), err)))
        goto fail;
    learner_join(l, node);
    if (rlhf_daemon_keys(d, run->learner.key, run->learner.peers, err) < 0
        || rlhf_daemon_serve(d, run->learner.listen, run->learner.insecure, err) < 0
        || (run->learner.remote && rlhf_daemon_serve(d, run->learner.remote, run->learner.insecure, err) < 0)
        || rlhf_daemon_link(d, run->labels, RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR, err) < 0)
        goto fail;
    return l;
fail:
    learner_free(l);
    return NULL;
}

int main(int argc, char **argv)
{
    struct rlhf_run run = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_daemon *d = NULL;
    struct learner *l = NULL;
    struct learner_bridge *b = NULL;

    if ((d = rlhf_daemon_new(&info, argc, argv, &run, &err)) && rlhf_tensor_start(&err) == 0
        && (l = fleet(d, &run, &err)) && (b = learner_bridge_new(d, l, &run, &err))
        && learner_bridge_start(b, &err) == 0)
        rlhf_daemon_run(d, &err);

    if (err.code != RLHF_OK)
        rlhf_log_error("failed", &err);
    learner_free(l);
    learner_bridge_free(b);
    rlhf_daemon_free(d);
    rlhf_run_free(&run);
    return err.code == RLHF_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
