#include "daemon/member.h"

enum { FLUSH_US = 5000 };

struct rlhf_member_config rlhf_member_config_of(const struct rlhf_member_settings *s, uint32_t credit)
{
    return (struct rlhf_member_config){ .credit = credit,
                                        .max_weights_bytes = (size_t)s->max_model_mb << 20,
                                        .max_weights = (size_t)s->max_models,
                                        .host = rlhf_boot_id(),
                                        .flush_us = FLUSH_US };
}

static void drain(void *ctx)
{
    rlhf_member_drain(ctx, "this one is asked to stop");
}

static void stop_daemon(void *ctx)
{
    rlhf_daemon_stop(ctx);
}

static void stop_engine(void *ctx)
{
    rlhf_engine_stop(ctx);
}

int rlhf_member_run(struct rlhf_daemon *d, const struct rlhf_member_settings *s, const char *profile,
                    struct rlhf_member *m, struct rlhf_engine *e, struct rlhf_error *err)
{
    struct rlhf_node *n = rlhf_daemon_node(d, rlhf_member_machine(m), NULL, profile, err);

    if (!n)
        return -1;
    rlhf_member_join(m, n);
    rlhf_engine_join(e, m);
    rlhf_daemon_on_drain(d, drain, m);
    rlhf_daemon_on_stop(d, stop_engine, e);
    rlhf_member_on_drain(m, stop_daemon, d);
    return rlhf_daemon_keys(d, s->key, s->peers, err) < 0
                   || (s->control && rlhf_daemon_serve(d, s->control, s->insecure, err) < 0)
                   || rlhf_daemon_link(d, s->learner, RLHF__V1__ROLE__ROLE_LEARNER, err) < 0
               ? -1
               : rlhf_daemon_run(d, err);
}
