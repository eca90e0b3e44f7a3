/* config.h - the reward-scorer's settings. */
#ifndef REWARD_SCORER_CONFIG_H
#define REWARD_SCORER_CONFIG_H

#include "config/config.h"

struct reward_scorer_config {
    char *learner; /* endpoint */
    char *control; /* endpoint to bind for rlhfctl; NULL: none */
    bool insecure;
    int64_t threads, credit, max_tokens, max_models, max_model_mb;
};
extern const struct rlhf_config_schema reward_scorer_schema;

#endif
