/* reward-scorer: rewards and reference log-probs of leased sequences. */
#include <stdlib.h>

#include "daemon/daemon.h"
#include "reward-scorer/config.h"
#include "reward-scorer/engine.h"
#include "reward-scorer/scorer.h"
#include "telemetry/log.h"
#include "tensor/ops.h"

static const struct rlhf_daemon_info info = {
    .name = "reward-scorer",
    .summary = "scores completions for a learner: rewards, reference log-probs",
    .role = RLHF__V1__ROLE__ROLE_REWARD_SCORER,
    .schema = &reward_scorer_schema,
    .config_size = sizeof(struct reward_scorer_config),
};

static void drain(void *ctx)
{
    scorer_drain(ctx, "the scorer is asked to stop");
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
    struct reward_scorer_config cfg = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_daemon *d = rlhf_daemon_new(&info, argc, argv, &cfg, &err);
    struct engine_options engine_options = { (size_t)cfg.max_tokens, (unsigned)cfg.threads };
    struct scorer_options options = { .member = { .credit = (uint32_t)cfg.credit,
                                                  .max_weights_bytes = (size_t)cfg.max_model_mb << 20,
                                                  .max_weights = (size_t)cfg.max_models,
                                                  .host = rlhf_boot_id() },
                                      .flush_us = 5000 };
    struct engine *e = NULL;
    struct scorer *s = NULL;
    struct rlhf_node *n;

    if (d && rlhf_tensor_start(&err) == 0 && (e = engine_new(d, &engine_options, &err))
        && (s = scorer_new(&options, rlhf_daemon_env(d), engine_interface(e), &err))
        && (n = rlhf_daemon_node(d, scorer_machine(s), NULL, rlhf_tensor_profile(), &err))) {
        scorer_join(s, n);
        engine_join(e, s);
        rlhf_daemon_on_drain(d, drain, s);
        rlhf_daemon_on_stop(d, stop_engine, e);
        scorer_on_drain(s, stop_daemon, d);
        if ((!cfg.control || rlhf_daemon_serve(d, cfg.control, cfg.insecure, &err) == 0)
            && rlhf_daemon_link(d, cfg.learner, RLHF__V1__ROLE__ROLE_LEARNER, &err) == 0)
            rlhf_daemon_run(d, &err);
    }
    if (err.code != RLHF_OK)
        rlhf_log_error("failed", &err);
    scorer_free(s);
    engine_free(e);
    rlhf_daemon_free(d);
    rlhf_config_free(&reward_scorer_schema, &cfg);
    return err.code == RLHF_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
