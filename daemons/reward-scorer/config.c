#include "reward-scorer/config.h"

#define AT(member) offsetof(struct reward_scorer_config, member)

static const struct rlhf_config_key keys[] = {
    { .key = "learner", .type = RLHF_CONFIG_STRING, .offset = AT(learner), .required = true,
      .help = "Endpoint of the learner, such as tcp://10.0.0.5:5701 or ipc:///run/rlhfd/learner.sock." },
    { .key = "control", .type = RLHF_CONFIG_STRING, .offset = AT(control),
      .help = "Endpoint to bind for rlhfctl status; absent: none." },
    { .key = "insecure", .type = RLHF_CONFIG_BOOL, .offset = AT(insecure), .def = "false",
      .help = "Allow control on an address that is neither loopback nor ipc://, in the clear." },
    { .key = "threads", .type = RLHF_CONFIG_INTEGER, .offset = AT(threads), .def = "0", .min = 0, .max = 1024,
      .help = "Threads that compute; 0 is one a core." },
    { .key = "credit", .type = RLHF_CONFIG_INTEGER, .offset = AT(credit), .def = "256", .min = 1, .max = 4096,
      .help = "Sequences held at a time." },
    { .key = "max_tokens", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_tokens), .def = "2048", .min = 1,
      .max = 1 << 20, .help = "Tokens of a batch; a longer sequence is a batch of its own." },
    { .key = "max_models", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_models), .def = "4", .min = 2, .max = 64,
      .help = "Models kept in memory; the least recently used one leaves." },
    { .key = "max_model_mb", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_model_mb), .def = "16384", .min = 1,
      .max = 1 << 20, .help = "Larger weights are refused." },
    { 0 },
};

const struct rlhf_config_schema reward_scorer_schema = {
    .name = "reward-scorer", .keys = keys, .size = sizeof(struct reward_scorer_config)
};
