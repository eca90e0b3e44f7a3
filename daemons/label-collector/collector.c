#include "collector.h"

#include <stdlib.h>

#include "access.h"
#include "quality.h"
#include "telemetry/log.h"

struct collector *collector_new(const struct rlhf_env *env, const struct collector_config *config,
                                struct rlhf_error *err)
{
    struct collector *c = calloc(1, sizeof(*c));

    if (!c) {
        rlhf_fail(err, RLHF_FULL, "out of memory");
        return NULL;
    }
    c->env = env;
    c->config = config;
    c->started_us = rlhf_now(env->clock);
    c->store = collector_store_open(
        &(struct collector_store_config){ .database = config->database,
                                          .labels_per_task = (uint32_t)config->labels_per_task,
                                          .reservation_us = config->reservation_seconds * 1000000,
                                          .gold_share = config->gold_share,
                                          .auto_quarantine = config->auto_quarantine },
        env->clock, err);
    if (c->store && (c->access = collector_access_new(config, c->store, env->clock, err))
        && (c->measured = collector_measured_new(err)))
        return c;
    collector_free(c);
    return NULL;
}

void collector_on_end(struct collector *c, void (*fatal)(void *ctx, const struct rlhf_error *err),
                      void (*drain)(void *ctx), void *ctx)
{
    c->fatal = fatal;
    c->drain = drain;
    c->hook_ctx = ctx;
}

struct rlhf_machine collector_machine(struct collector *c)
{
    return (struct rlhf_machine){ .handlers = collector_handlers, .state = c };
}

void collector_attach(struct collector *c, struct rlhf_node *node)
{
    c->node = node;
}

void collector_wrote(struct collector *c, const struct rlhf_error *err)
{
    if (!err) {
        if (c->trouble.code != RLHF_OK)
            rlhf_log(RLHF_LEVEL_INFO, "store-recovered");
        c->trouble = (struct rlhf_error){ .code = RLHF_OK };
        return;
    }
    if (c->trouble.code != err->code) /* once, not for every request that meets it */
        rlhf_log_error("store", err);
    c->trouble = *err;
    if ((err->code == RLHF_FATAL || err->code == RLHF_CORRUPT) && c->fatal)
        c->fatal(c->hook_ctx, err);
}

void collector_free(struct collector *c)
{
    if (!c)
        return;
    collector_measured_free(c->measured);
    collector_access_free(c->access);
    collector_store_close(c->store);
    free(c);
}
