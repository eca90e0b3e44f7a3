#include "reward-scorer/config.h"

#define AT(member) offsetof(struct reward_scorer_config, member)

static const struct rlhf_config_key keys[] = {
    RLHF_MEMBER_KEYS("4", 2),
    { .key = "credit", .type = RLHF_CONFIG_INTEGER, .offset = AT(credit), .def = "256", .min = 1, .max = 4096,
      .help = "Sequences held at a time." },
    { .key = "max_tokens", .type = RLHF_CONFIG_INTEGER, .offset = AT(max_tokens), .def = "2048", .min = 1,
      .max = 1 << 20, .help = "Tokens of a batch; a longer sequence is a batch of its own." },
    { .key = "credentials", .type = RLHF_CONFIG_STRING, .offset = AT(credentials),
      .help = "Folder with the keys of reward services and judges, each in the first line of a file named as the run file's "
              "credential; absent: $CREDENTIALS_DIRECTORY, as systemd's LoadCredential= sets it." },
    { 0 },
};

const struct rlhf_config_schema reward_scorer_schema = {
    .name = "reward-scorer", .keys = keys, .size = sizeof(struct reward_scorer_config)
};
