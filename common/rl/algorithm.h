/* algorithm.h - which algorithm is which setting: where its advantages come from, and its loss (policy.h). */
#ifndef RLHF_RL_ALGORITHM_H
#define RLHF_RL_ALGORITHM_H

#include "rl/group.h"
#include "rl/policy.h"

/* What a completion's or a token's advantage is made of. */
enum rlhf_credit {
    RLHF_CREDIT_CRITIC,  /* rlhf_gae() over token rewards and a critic's values                                    */
    RLHF_CREDIT_GROUP,   /* rlhf_group_advantages(): one for the whole completion                                  */
    RLHF_CREDIT_RETURNS, /* rlhf_group_advantages(), as the score of rlhf_kl_rewards(); then rlhf_returns() and
                          * rlhf_normalize() over all tokens of the batch                                          */
};

struct rlhf_algorithm {
    const char *name; /* as in run files and in TRL's loss_type */
    enum rlhf_credit credit;
    enum rlhf_baseline baseline;
    enum rlhf_scale scale;
    bool kl_in_reward; /* the KL penalty is taken off the reward, by tokens or in sum, and not in the loss */
    struct rlhf_policy_loss loss; /* with the paper's settings where it names them */
};

extern const struct rlhf_algorithm rlhf_algorithms[];
extern const size_t rlhf_algorithms_count;

/* NULL when there is none of that name. */
const struct rlhf_algorithm *rlhf_algorithm_named(const char *name);

#endif
