#include "rollout-worker/config.h"

#define AT(member) offsetof(struct rollout_worker_config, member)

static const struct rlhf_config_key keys[] = {
    { .key = "learner", .type = RLHF_CONFIG_STRING, .offset = AT(learner), .required = true,
      .help = "Endpoint of the learner, such as tcp://10.0.0.5:5701 or ipc:///run/rlhfd/learner.sock." },
    { .key = "control", .type = RLHF_CONFIG_STRING, .offset = AT(control),
      .help = "Endpoint to bind for rlhfctl status; absent: none." },
    { .key = "insecure", .type = RLHF_CONFIG_BOOL, .offset = AT(insecure), .def = "false",
      .help = "Allow control on an address that is neither loopback nor ipc://, in the clear." },
    { .key = "threads", .type = RLHF_CONFIG_INTEGER, .offset = AT(threads), .def = "0", .min = 0, .max = 1024,
      .help = "Threads that compute; 0 is one a core." },
    { .key = "slots", .type = RLHF_CONFIG_INTEGER, .offset = AT(slots), .def = "64", .min = 1, .max = 4096,
      .help = "Sequences generated at a time; each holds keys and values of the model's whole context." },
    { .key = "max_prefill", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_prefill), .def = "2048", .min = 1,
      .max = 1 << 20, .help = "Prompt tokens taken into one step at most." },
    { .key = "max_models", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_models), .def = "3", .min = 1, .max = 64,
      .help = "Models kept in memory; the least recently used one leaves." },
    { .key = "max_model_mb", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_model_mb), .def = "16384", .min = 1,
      .max = 1 << 20, .help = "Larger weights are refused." },
    { 0 },
};

const struct rlhf_config_schema rollout_worker_schema = {
    .name = "rollout-worker", .keys = keys, .size = sizeof(struct rollout_worker_config)
};
