/* train_policy_update.c - an iteration's updates of policy and critic, in minibatches. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/train_policy.h"
#include "rl/advantage.h"
#include "rl/average.h"

enum { MINIBATCH_SALT = 0x6d626200 };

int learner_policy_reserve(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_minibatch *mb = &p->mb;
    size_t tokens = p->r.tokens;
    float *block;

    if (tokens <= mb->token_capacity)
        return 0;
    if (!(block = calloc(9 * tokens, sizeof *block)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for an iteration of %zu tokens", tokens);
    free(mb->logprob_old);
    mb->logprob_old = block;
    mb->logprob_ref = block + tokens;
    mb->value = block + 2 * tokens;
    mb->advantage = block + 3 * tokens;
    mb->ret = block + 4 * tokens;
    mb->now = block + 5 * tokens;
    mb->slope = block + 6 * tokens;
    mb->logprob_sampled = block + 7 * tokens;
    mb->importance = block + 8 * tokens;
    mb->token_capacity = tokens;
    return 0;
}

/* Copies the packed arrays of completions index[0 .. count) behind each other. Returns their tokens. */
static size_t gather_minibatch(struct learner_policy *p, const uint32_t *index, size_t count)
{
    const struct learner_rollouts *r = &p->r;
    struct learner_minibatch *mb = &p->mb;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t from = r->start[index[i]];
        size_t size = r->start[index[i] + 1] - from;

        mb->items[i] = r->items[index[i]];
        mb->whole[i] = r->whole[index[i]];
        memcpy(mb->logprob_old + n, learner_lag_logprob(p) + from, size * sizeof(float));
        memcpy(mb->logprob_sampled + n, r->logprob_old + from, size * sizeof(float));
        memcpy(mb->logprob_ref + n, r->logprob_ref + from, size * sizeof(float));
        memcpy(mb->value + n, r->value + from, size * sizeof(float));
        memcpy(mb->advantage + n, r->advantage + from, size * sizeof(float));
        memcpy(mb->ret + n, r->ret + from, size * sizeof(float));
        n += size;
        mb->start[i + 1] = (uint32_t)n;
    }
    if (p->settings->whiten_minibatches)
        rlhf_whiten(mb->advantage, n, false);
    rlhf_policy_weights(p->loss.mean, &(struct rlhf_ragged){mb->start, count},
                        (double)p->settings->sampling.max_new_tokens, (double)n, 1, mb->weight);
    return n;
}

static int policy_gradient(struct learner_policy *p, size_t count, size_t tokens, struct rlhf_policy_statistics *s,
                           double *entropy, struct rlhf_error *err)
{
    struct learner_batch *b = &p->policy_pass.batch;
    struct learner_minibatch *mb = &p->mb;
    bool by_completion = p->settings->importance_by_completion;

    for (size_t i = 0, from = 0; i < count; from = i) {
        float *now = mb->now + mb->start[from];
        if ((i = learner_compute_forward(&p->policy_pass, p->policy, mb->items, i, count, err)) == 0 ||
            rlhf_pass_logprobs(p->policy_pass.pass, p->policy, b->target, p->sampling.temperature, b->value,
                               b->entropy, err) < 0)
            return -1;
        learner_batch_pick(b, b->value, now);
        rlhf_policy_loss(&p->loss,
                         &(struct rlhf_policy_batch){
                             .completions = {mb->start + from, i - from},
                             .logprob_new = mb->now,
                             .logprob_old = mb->logprob_old,
                             .logprob_ref = mb->logprob_ref,
                             .advantage = p->algorithm->credit == RLHF_CREDIT_GROUP ? mb->whole + from : NULL,
                             .advantage_token = p->algorithm->credit == RLHF_CREDIT_GROUP ? NULL : mb->advantage,
                             .importance = learner_lag_decoupled(p) && by_completion ? mb->importance_whole + from : NULL,
                             .importance_token = learner_lag_decoupled(p) && !by_completion ? mb->importance : NULL,
                             .weight = mb->weight + from,
                         },
                         mb->slope, s);
        for (size_t t = 0; t < b->tokens.size; t++)
            *entropy += b->target[t] >= 0 ? b->entropy[t] / (double)tokens : 0;
        learner_batch_spread(b, mb->slope + mb->start[from]);
        if (rlhf_pass_backward_logprobs(p->policy_pass.pass, p->policy, b->slope, NULL,
                                        learner_optimizer_grad(&p->policy_optimizer), err) < 0)
            return -1;
    }
    return 0;
}

static int critic_gradient(struct learner_policy *p, size_t count, size_t tokens, struct rlhf_ppo_statistics *s,
                           struct rlhf_error *err)
{
    struct learner_batch *b = &p->critic_pass.batch;
    struct learner_minibatch *mb = &p->mb;
    double weight = 1 / (double)tokens;
    size_t at = 0;

    for (size_t i = 0; p->critic && i < count;) {
        size_t n;
        if ((i = learner_compute_forward(&p->critic_pass, p->critic, mb->items, i, count, err)) == 0 ||
            rlhf_pass_scalars(p->critic_pass.pass, p->critic, b->value, err) < 0)
            return -1;
        n = learner_batch_pick(b, b->value, mb->now);
        rlhf_ppo_value(mb->now, mb->value + at, mb->ret + at, n, p->settings->value_clip, weight,
                       mb->slope, s);
        learner_batch_spread(b, mb->slope);
        if (rlhf_pass_backward_scalars(p->critic_pass.pass, p->critic, b->slope, p->critic_optimizer.grad,
                                       err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

/* PPO-ptx: the gradient of the next windows of pretraining text. */
static int mix_gradient(struct learner_policy *p, size_t update, double *loss, struct rlhf_error *err)
{
    const struct rlhf_run_mix *mix = &p->settings->mix;
    uint64_t minibatch = (uint64_t)p->settings->minibatch;
    uint64_t per_epoch = (learner_policy_per_iteration(p->settings) + minibatch - 1) / minibatch;
    uint64_t number = p->w->step * per_epoch * (uint64_t)p->settings->inner_epochs + update;
    const struct learner_item *windows;

    if (mix->weight <= 0)
        return 0;
    windows = learner_windows_at(&p->mix, number);
    for (size_t i = 0; i < p->mix.per_step; i++)
        p->w->tokens += windows[i].count;
    return learner_lm_gradient(&p->policy_pass, p->policy, windows, p->mix.per_step, mix->weight,
                               learner_optimizer_grad(&p->policy_optimizer), loss, err);
}

static void add_statistics(struct rlhf_policy_statistics *sum, const struct rlhf_policy_statistics *one)
{
    sum->loss += one->loss;
    sum->tokens += one->tokens;
    sum->ratios += one->ratios;
    sum->ratio += one->ratio;
    sum->clipped_low += one->clipped_low;
    sum->clipped_high += one->clipped_high;
    sum->kl += one->kl;
    sum->kl_old_k3 += one->kl_old_k3;
}

static int update(struct learner_policy *p, const uint32_t *index, size_t count, struct learner_policy_sums *s,
                  bool *finite, struct rlhf_error *err)
{
    struct rlhf_policy_statistics policy = {0};
    struct rlhf_ppo_statistics value = {0};
    double mix_loss = 0;
    size_t tokens = gather_minibatch(p, index, count);
    bool policy_updated, critic_updated = true;

    if (learner_lag_decoupled(p))
        learner_lag_weigh(p, count, tokens, s);
    if (policy_gradient(p, count, tokens, &policy, &s->entropy, err) < 0 ||
        critic_gradient(p, count, tokens, &value, err) < 0 || mix_gradient(p, s->updates, &mix_loss, err) < 0)
        return -1;
    learner_optimizer_step(&p->policy_optimizer, p->w->step, policy.loss + mix_loss, &policy_updated);
    if (p->critic)
        learner_optimizer_step(&p->critic_optimizer, p->w->step, value.loss, &critic_updated);
    if (p->average && policy_updated)
        rlhf_average_update(p->average, p->policy_optimizer.param, p->policy_optimizer.count, p->settings->average);
    *finite = *finite && policy_updated && critic_updated;
    add_statistics(&s->policy, &policy);
    s->value.loss += value.loss;
    s->value.clip_fraction += value.clip_fraction;
    s->mix_loss += mix_loss;
    s->norm += p->policy_optimizer.norm;
    s->value_norm += p->critic_optimizer.norm;
    s->updates++;
    return 0;
}

int learner_policy_updates(struct learner_policy *p, struct learner_policy_sums *s, bool *finite,
                           struct rlhf_error *err)
{
    size_t minibatch = (size_t)p->settings->minibatch;

    for (int64_t epoch = 0; epoch < p->settings->inner_epochs; epoch++) {
        struct rlhf_random random;
        for (uint32_t i = 0; i < p->r.count; i++)
            p->shuffled[i] = i;
        rlhf_random_init(&random, (uint64_t)p->w->t->run->run.seed, RLHF_PURPOSE_SHUFFLE,
                         p->w->key ^ MINIBATCH_SALT,
                         (uint32_t)(p->w->step * (uint64_t)p->settings->inner_epochs + (uint64_t)epoch));
        rlhf_random_shuffle(&random, p->shuffled, p->r.count);
        for (size_t i = 0; i < p->r.count; i += minibatch)
            if (update(p, p->shuffled + i, p->r.count - i < minibatch ? p->r.count - i : minibatch, s, finite,
                       err) < 0)
                return -1;
    }
    return 0;
}

void learner_policy_report(const struct learner_policy *p, json_t *metrics, const struct learner_policy_sums *s)
{
    const struct rlhf_policy_statistics *a = &s->policy;
    double n = (double)(s->updates ? s->updates : 1), ratios = a->ratios > 0 ? a->ratios : 1;
    double tokens = a->tokens > 0 ? a->tokens : 1;

    if (s->weighed > 0) {
        learner_metric(metrics, "importance", s->importance / s->weighed);
        learner_metric(metrics, "importance_cut", s->importance_cut / s->weighed);
    }
    learner_metric(metrics, "entropy", s->entropy / n);
    learner_metric(metrics, "policy_loss", a->loss / n);
    learner_metric(metrics, "clip_fraction", (a->clipped_low + a->clipped_high) / ratios);
    learner_metric(metrics, "ratio", a->ratio / ratios);
    learner_metric(metrics, "approx_kl", a->kl_old_k3 / tokens);
    if (p->loss.beta > 0)
        learner_metric(metrics, "kl_loss", p->loss.beta * a->kl / tokens);
    if (p->settings->mix.weight > 0)
        learner_metric(metrics, "mix_loss", s->mix_loss / n);
    learner_metric(metrics, "grad_norm", s->norm / n);
    learner_metric(metrics, "learning_rate", p->policy_optimizer.rate);
    if (!p->critic)
        return;
    learner_metric(metrics, "value_loss", s->value.loss / n);
    learner_metric(metrics, "value_clip_fraction", s->value.clip_fraction / n);
    learner_metric(metrics, "value_grad_norm", s->value_norm / n);
    learner_metric(metrics, "value_learning_rate", p->critic_optimizer.rate);
}
