/* config.h - the rollout-worker's settings. */
#ifndef ROLLOUT_WORKER_CONFIG_H
#define ROLLOUT_WORKER_CONFIG_H

#include "config/config.h"
#include "daemon/member.h"

struct rollout_worker_config {
    struct rlhf_member_settings member; /* first */
    int64_t slots, max_prefill;
};
extern const struct rlhf_config_schema rollout_worker_schema;

#endif
