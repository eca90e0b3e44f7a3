#include "rollout-worker/program.h"

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

int rollout_worker_main(int argc, char **argv)
{
    struct rollout_worker_config cfg = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_daemon *d = rlhf_daemon_new(&info, argc, argv, &cfg, &err);
    struct engine_options engine_options = { (size_t)cfg.slots, (size_t)cfg.max_prefill, (unsigned)cfg.member.threads };
    struct rlhf_member_config config = rlhf_member_config_of(&cfg.member, (uint32_t)(2 * cfg.slots));
    struct engine *e = NULL;
    struct worker *w = NULL;

    if (d && rlhf_tensor_start(&err) == 0 && (e = engine_new(d, &engine_options, &err))
        && (w = worker_new(&config, rlhf_daemon_env(d), rlhf_engine_interface(engine_thread(e)), &err))) {
        engine_join(e, w);
        rlhf_member_run(d, &cfg.member, rlhf_tensor_profile(), worker_member(w), engine_thread(e), &err);
    }
    if (err.code != RLHF_OK)
        rlhf_log_error("failed", &err);
    worker_free(w);
    engine_free(e);
    rlhf_daemon_free(d);
    rlhf_config_free(&rollout_worker_schema, &cfg);
    return err.code == RLHF_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
