/* config.h - the rollout-worker's settings. */
#ifndef ROLLOUT_WORKER_CONFIG_H
#define ROLLOUT_WORKER_CONFIG_H

#include "config/config.h"

struct rollout_worker_config {
    char *learner; /* endpoint */
    char *control; /* endpoint to bind for rlhfctl; NULL: none */
    bool insecure;
    int64_t threads, slots, max_prefill, max_models, max_model_mb;
};
extern const struct rlhf_config_schema rollout_worker_schema;

#endif
