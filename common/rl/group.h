/* group.h - the completions of one prompt against each other: advantages without a critic, and what is chosen.
 *
 * Groups are rows of completions (ragged.h): the samples of prompt p of P are [start[p], start[p + 1]) of the B
 * rewards. A NaN reward is a missing one: it takes part in nothing and its completion gets advantage 0, never the
 * advantage of a reward 0. Infinite rewards are refused. */
#ifndef RLHF_RL_GROUP_H
#define RLHF_RL_GROUP_H

#include <stdbool.h>

#include "base/error.h"
#include "rl/ragged.h"

enum rlhf_baseline {
    RLHF_BASELINE_NONE,          /* 0                                                                              */
    RLHF_BASELINE_MEAN,          /* the mean of the group: GRPO (Shao et al. 2024, section 4.1.2)                  */
    RLHF_BASELINE_LEAVE_ONE_OUT, /* the mean of the others of the group: RLOO (Kool et al. 2019; Ahmadian et al.
                                  * 2024)                                                                          */
};

/* Standard deviations are over n - 1, and 1e-4 is added to them (TRL). */
enum rlhf_scale {
    RLHF_SCALE_NONE,   /* 1: Dr. GRPO (Liu et al. 2025) calls the division a bias towards easy and hard prompts      */
    RLHF_SCALE_GROUP,  /* the group's rewards: GRPO                                                               */
    RLHF_SCALE_BATCH,  /* all rewards of the batch (Lite PPO, Liu et al. 2025)                                      */
    RLHF_SCALE_WHITEN, /* all advantages of the batch, which lose their mean as well: RLOO's option in TRL         */
};

/* advantage[B] = (reward - baseline) / scale. mean[P] and deviation[P] of the groups' rewards may be NULL; NaN where
 * a group has no reward, or for the deviation fewer than two. One reward in a group has nothing to be compared with:
 * where the baseline or the scale is the group's, its advantage is 0. advantage may be reward. RLHF_REJECT for an
 * infinite reward; nothing is written then. */
int rlhf_group_advantages(const struct rlhf_ragged *groups, const float *reward, enum rlhf_baseline baseline,
                          enum rlhf_scale scale, float *advantage, double *mean, double *deviation,
                          struct rlhf_error *err);

/* Dynamic sampling (DAPO, Yu et al. 2025, eq. 11: 0 < correct < G): keep[P] is true for the groups with two rewards
 * that differ by more than `spread`: the others teach nothing. Returns how many are kept. */
size_t rlhf_group_filter(const struct rlhf_ragged *groups, const float *reward, double spread, bool *keep);

/* best[P] and worst[P] (either may be NULL): the entry with the highest and the lowest reward, the first of equals;
 * RLHF_NOBODY where the group has no reward. Best-of-n, rejection-sampling fine-tuning (Touvron et al. 2023, section
 * 3.2.3), and the pair of online DPO, which is one only where the two differ. */
enum { RLHF_NOBODY = -1 };
void rlhf_group_extremes(const struct rlhf_ragged *groups, const float *reward, int64_t *best, int64_t *worst);

#endif
