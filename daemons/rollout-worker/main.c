/* rollout-worker: turns leased prompts into rollouts. */
#include <stdlib.h>

#include "daemon/daemon.h"
#include "rollout-worker/config.h"
#include "rollout-worker/engine.h"
#include "rollout-worker/worker.h"
#include "telemetry/log.h"
#include "tensor/ops.h"

static const struct rlhf_daemon_info info = {
    .name = "rollout-worker",
    .summary = "generates completions for a learner",
    .role = RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER,
    .schema = &rollout_worker_schema,
    .config_size = sizeof(struct rollout_worker_config),
};

static void drain(void *ctx)
{
    worker_drain(ctx, "the worker is asked to stop");
}

static void stop_daemon(void *ctx)
{
    rlhf_daemon_stop(ctx);
}

static void stop_engine(void *ctx)
{
    engine_stop(ctx);
}

int main(int argc, char **argv)
{
    struct rollout_worker_config cfg = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_daemon *d = rlhf_daemon_new(&info, argc, argv, &cfg, &err);
    struct engine_options engine_options = { (size_t)cfg.slots, (size_t)cfg.max_prefill, (unsigned)cfg.threads };
    struct worker_options options = { .member = { .credit = (uint32_t)(2 * cfg.slots),
                                                  .max_weights_bytes = (size_t)cfg.max_model_mb << 20,
                                                  .max_weights = (size_t)cfg.max_models,
                                                  .host = rlhf_boot_id() },
                                      .flush_us = 5000 };
    struct engine *e = NULL;
    struct worker *w = NULL;
    struct rlhf_node *n;

    if (d && rlhf_tensor_start(&err) == 0 && (e = engine_new(d, &engine_options, &err))
        && (w = worker_new(&options, rlhf_daemon_env(d), engine_interface(e), &err))
        && (n = rlhf_daemon_node(d, worker_machine(w), NULL, rlhf_tensor_profile(), &err))) {
        worker_join(w, n);
        engine_join(e, w);
        rlhf_daemon_on_drain(d, drain, w);
        rlhf_daemon_on_stop(d, stop_engine, e);
        worker_on_drain(w, stop_daemon, d);
        if ((!cfg.control || rlhf_daemon_serve(d, cfg.control, cfg.insecure, &err) == 0)
            && rlhf_daemon_link(d, cfg.learner, RLHF__V1__ROLE__ROLE_LEARNER, &err) == 0)
            rlhf_daemon_run(d, &err);
    }
    if (err.code != RLHF_OK)
        rlhf_log_error("failed", &err);
    worker_free(w);
    engine_free(e);
    rlhf_daemon_free(d);
    rlhf_config_free(&rollout_worker_schema, &cfg);
    return err.code == RLHF_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
