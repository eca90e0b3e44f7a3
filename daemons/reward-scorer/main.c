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
    .summary = "scores completions for a learner: rewards of models, rules and services, reference log-probs",
    .role = RLHF__V1__ROLE__ROLE_REWARD_SCORER,
    .schema = &reward_scorer_schema,
    .config_size = sizeof(struct reward_scorer_config),
};

int main(int argc, char **argv)
{
    struct reward_scorer_config cfg = { 0 };
    struct rlhf_error err = { 0 };
    struct rlhf_daemon *d = rlhf_daemon_new(&info, argc, argv, &cfg, &err);
    struct engine_options engine_options = { (size_t)cfg.max_tokens, (unsigned)cfg.member.threads,
                                             cfg.credentials ? cfg.credentials : getenv("CREDENTIALS_DIRECTORY") };
    struct rlhf_member_config config = rlhf_member_config_of(&cfg.member, (uint32_t)cfg.credit);
    struct engine *e = NULL;
    struct scorer *s = NULL;

    if (d && rlhf_tensor_start(&err) == 0 && (e = engine_new(d, &engine_options, &err))
        && (s = scorer_new(&config, rlhf_daemon_env(d), rlhf_engine_interface(engine_thread(e)), &err))) {
        engine_join(e, s);
        rlhf_member_run(d, &cfg.member, rlhf_tensor_profile(), scorer_member(s), engine_thread(e), &err);
    }
    if (err.code != RLHF_OK)
        rlhf_log_error("failed", &err);
    scorer_free(s);
    engine_free(e);
    rlhf_daemon_free(d);
    rlhf_config_free(&reward_scorer_schema, &cfg);
    return err.code == RLHF_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
