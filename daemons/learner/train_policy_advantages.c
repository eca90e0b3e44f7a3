/* train_policy_advantages.c - from scores to advantages: PPO with the per-token KL penalty and the critic's values; the
 * others by comparing completions with each other. */
#include <string.h>

#include "learner/train_policy.h"
#include "rl/advantage.h"
#include "rl/group.h"
#include "rl/statistics.h"

static int critic_values(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_batch *b = &p->critic_pass.batch;
    float *out = p->r.value;

    for (size_t i = 0; i < p->r.count;) {
        if ((i = learner_compute_forward(&p->critic_pass, p->critic, p->r.items, i, p->r.count, err)) == 0 ||
            rlhf_pass_scalars(p->critic_pass.pass, p->critic, b->value, err) < 0)
            return -1;
        out += learner_batch_pick(b, b->value, out);
    }
    return 0;
}

static int critic_advantages(struct learner_policy *p, json_t *metrics, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct learner_rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count};

    if (critic_values(p, err) < 0)
        return -1;
    rlhf_kl_rewards(p->reward_kl, &completions, learner_lag_logprob(p), r->logprob_ref, r->score, p->reward_beta,
                    r->reward, NULL);
    if (s->whiten_rewards)
        rlhf_whiten(r->reward, r->tokens, true);
    rlhf_gae(&completions, r->reward, r->value, s->discount, s->gae_lambda, r->advantage, r->ret);
    if (s->whiten_advantages && !s->whiten_minibatches)
        rlhf_whiten(r->advantage, r->tokens, false);
    learner_metric(metrics, "explained_variance", rlhf_explained_variance(r->value, r->ret, r->tokens));
    return 0;
}

/* Completions against each other. */
static int group_advantages(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count}, groups = learner_rollouts_groups(r);

    memcpy(r->whole, r->score, r->count * sizeof *r->whole);
    if (p->reward_beta > 0) {
        rlhf_kl_rewards(p->reward_kl, &completions, learner_lag_logprob(p), r->logprob_ref, r->score, 0, r->reward, r->kl);
        for (size_t i = 0; i < r->count; i++)
            r->whole[i] = (float)(r->whole[i] - p->reward_beta * r->kl[i]);
    }
    if (rlhf_group_advantages(&groups, r->whole, p->algorithm->baseline, p->scale, r->whole, NULL, NULL, err) < 0)
        return -1;
    for (size_t i = 0; i < r->count; i++)
        for (uint32_t t = r->start[i]; t < r->start[i + 1]; t++)
            r->advantage[t] = r->whole[i];
    return 0;
}

/* What is still to come, normalised over the iteration's tokens. */
static int return_advantages(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count}, groups = learner_rollouts_groups(r);

    if (rlhf_group_advantages(&groups, r->score, p->algorithm->baseline, p->scale, r->whole, NULL, NULL, err) < 0)
        return -1;
    rlhf_kl_rewards(p->reward_kl, &completions, learner_lag_logprob(p), r->logprob_ref, r->whole, p->reward_beta,
                    r->advantage, NULL);
    rlhf_returns(&completions, r->advantage, p->settings->discount, r->advantage);
    rlhf_normalize(r->advantage, r->tokens);
    return 0;
}

static int credit(struct learner_policy *p, json_t *metrics, struct rlhf_error *err)
{
    switch (p->algorithm->credit) {
    case RLHF_CREDIT_CRITIC:
        return critic_advantages(p, metrics, err);
    case RLHF_CREDIT_GROUP:
        return group_advantages(p, err);
    default:
        return return_advantages(p, err);
    }
}

int learner_policy_advantages(struct learner_policy *p, json_t *metrics, double *kl, bool *finite,
                              struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count};
    double score = 0;

    *kl = 0;
    *finite = rlhf_all_finite(r->score, r->count);
    if (r->count == 0 || !*finite)
        return 0;
    if (credit(p, metrics, err) < 0)
        return -1;
    *finite = rlhf_all_finite(r->advantage, r->tokens) && (!p->critic || rlhf_all_finite(r->ret, r->tokens));
    rlhf_kl_rewards(RLHF_KL_K1, &completions, r->logprob_old, r->logprob_ref, r->score, 0, r->reward, r->kl);
    for (size_t i = 0; i < r->count; i++) {
        *kl += r->kl[i] / (double)r->count;
        score += r->score[i] / (double)r->count;
    }
    learner_metric(metrics, "kl", *kl);
    learner_metric(metrics, "score", score);
    if (p->settings->overlong_filter)
        learner_rollouts_keep(r, r->ended);
    return 0;
}
