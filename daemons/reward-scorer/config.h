/* config.h - the reward-scorer's settings. */
#ifndef REWARD_SCORER_CONFIG_H
#define REWARD_SCORER_CONFIG_H

#include "config/config.h"
#include "daemon/member.h"

struct reward_scorer_config {
    struct rlhf_member_settings member; /* first */
    int64_t credit, max_tokens;
    char *credentials; /* NULL: systemd's folder, if it has set one */
};
extern const struct rlhf_config_schema reward_scorer_schema;

#endif
