#include "rl/algorithm.h"

#include <string.h>

#define CLIP(low, high) .clip_low = (low), .clip_high = (high)
#define K3 .kl = RLHF_KL_K3

/* clang-format off */
const struct rlhf_algorithm rlhf_algorithms[] = {
    {"ppo", RLHF_CREDIT_CRITIC, RLHF_BASELINE_NONE, RLHF_SCALE_NONE, true,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_TOKEN, RLHF_MEAN_TOKENS, CLIP(0.2, 0.2)}},
    {"grpo", RLHF_CREDIT_GROUP, RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, false,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_TOKEN, RLHF_MEAN_COMPLETIONS, CLIP(0.2, 0.2), .beta = 0.04, K3}},
    {"bnpo", RLHF_CREDIT_GROUP, RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, false,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_TOKEN, RLHF_MEAN_TOKENS, CLIP(0.2, 0.2), K3}},
    {"dr_grpo", RLHF_CREDIT_GROUP, RLHF_BASELINE_MEAN, RLHF_SCALE_NONE, false,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_TOKEN, RLHF_MEAN_LIMIT, CLIP(0.2, 0.2), K3}},
    {"dapo", RLHF_CREDIT_GROUP, RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, false,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_TOKEN, RLHF_MEAN_ITEMS, CLIP(0.2, 0.28), K3}},
    {"gspo", RLHF_CREDIT_GROUP, RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, false,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_MEAN, RLHF_MEAN_COMPLETIONS, CLIP(3e-4, 4e-4), K3}},
    {"cispo", RLHF_CREDIT_GROUP, RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, false,
     {RLHF_SURROGATE_CISPO, RLHF_RATIO_TOKEN, RLHF_MEAN_ITEMS, .clip_high = 5, K3}},
    {"sapo", RLHF_CREDIT_GROUP, RLHF_BASELINE_MEAN, RLHF_SCALE_GROUP, false,
     {RLHF_SURROGATE_SAPO, RLHF_RATIO_TOKEN, RLHF_MEAN_COMPLETIONS, .temperature_positive = 1,
      .temperature_negative = 1.05, K3}},
    {"rloo", RLHF_CREDIT_GROUP, RLHF_BASELINE_LEAVE_ONE_OUT, RLHF_SCALE_NONE, true,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_SEQUENCE, RLHF_MEAN_COMPLETIONS, CLIP(0.2, 0.2)}},
    {"reinforce_plus_plus", RLHF_CREDIT_RETURNS, RLHF_BASELINE_NONE, RLHF_SCALE_NONE, true,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_TOKEN, RLHF_MEAN_TOKENS, CLIP(0.2, 0.2)}},
    {"reinforce_plus_plus_baseline", RLHF_CREDIT_RETURNS, RLHF_BASELINE_MEAN, RLHF_SCALE_NONE, true,
     {RLHF_SURROGATE_CLIP, RLHF_RATIO_TOKEN, RLHF_MEAN_TOKENS, CLIP(0.2, 0.2)}},
};
/* clang-format on */
const size_t rlhf_algorithms_count = sizeof rlhf_algorithms / sizeof *rlhf_algorithms;

const struct rlhf_algorithm *rlhf_algorithm_named(const char *name)
{
    for (size_t i = 0; i < rlhf_algorithms_count; i++)
        if (strcmp(rlhf_algorithms[i].name, name) == 0)
            return &rlhf_algorithms[i];
    return NULL;
}
