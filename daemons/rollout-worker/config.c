#include "rollout-worker/config.h"

#define AT(member) offsetof(struct rollout_worker_config, member)

static const struct rlhf_config_key keys[] = {
    RLHF_MEMBER_KEYS("3", 1),
    { .key = "slots", .type = RLHF_CONFIG_INTEGER, .offset = AT(slots), .def = "64", .min = 1, .max = 4096,
      .help = "Sequences generated at a time; each holds keys and values of as many tokens as jobs asked for so far." },
    { .key = "max_prefill", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_prefill), .def = "2048", .min = 1,
      .max = 1 << 20, .help = "Prompt tokens taken into one step at most." },
    { 0 },
};

const struct rlhf_config_schema rollout_worker_schema = {
    .name = "rollout-worker", .keys = keys, .size = sizeof(struct rollout_worker_config)
};
