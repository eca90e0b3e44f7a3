/* train_policy.c - PPO, GRPO and their kin against a reward model (recipe.md; InstructGPT section 3.5 and appendix
 * C.4; rl/algorithm.h).
 *
 * An iteration: publish the policy, have completions sampled, have them scored (reward model and other sources,
 * reference log-probs), turn scores into advantages (PPO: with the per-token KL penalty and the critic's values; the others:
 * against each other), update the policy and, where there is one, the critic in minibatches; PPO-ptx adds the
 * gradient of pretraining text to each. State is saved between iterations, so what an iteration does is a function of
 * the weights it began with.
 *
 * Here is the loop over iterations; building, sampling, advantages and updates are in train_policy_*.c beside it. */
#include <string.h>

#include "base/check.h"
#include "learner/train_policy.h"

static int iterate(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    json_t *metrics = learner_metrics_new(w);
    struct learner_policy_sums s = {0};
    double kl = 0, reward;
    bool finite = true, rewarded;
    size_t completions;

    if (!metrics)
        return rlhf_fail(err, RLHF_FULL, "out of memory for metrics");
    if (learner_policy_roll_out(p, metrics, &rewarded, err) < 0 ||
        learner_policy_advantages(p, metrics, &kl, &finite, err) < 0) {
        json_decref(metrics);
        return -1;
    }
    if (p->settings->stop_at_kl > 0 && kl > p->settings->stop_at_kl) {
        json_decref(metrics);
        return rlhf_fail(err, RLHF_FATAL,
                         "iteration %llu: KL %.2f nats a completion is above stop_at_kl %.2f: the policy has "
                         "left what the reward "
                         "model knows; raise kl_coefficient or lower the learning rate",
                         (unsigned long long)w->step + 1, kl, p->settings->stop_at_kl);
    }
    finite = finite && rewarded;
    completions = p->r.count;
    w->tokens += p->r.ids.size;
    if (finite && learner_policy_updates(p, &s, &finite, err) < 0) {
        json_decref(metrics);
        return -1;
    }
    learner_policy_report(p, metrics, &s);
    if (learner_watch_measure(p, metrics, err) < 0 ||
        (finite && completions > 0 && learner_watch_see(p, metrics, err) < 0)) {
        json_decref(metrics);
        return -1;
    }
    if (finite && completions > 0 && p->settings->kl_target > 0) {
        learner_metric(metrics, "kl_coefficient", p->kl.beta);
        rlhf_kl_controller_update(&p->kl, kl, (double)completions);
        learner_policy_set_beta(p);
    }
    learner_metric(metrics, "skipped", (double)w->skipped + !finite);
    reward = json_number_value(json_object_get(metrics, "reward"));
    if (learner_metrics_write(w, metrics, err) < 0 || learner_count_step(w, finite, err) < 0)
        return -1;
    w->step++;
    learner_progress(w, "reward %.2f kl %.2f", reward, kl);
    return 0;
}

/* What a state holds; returns how many blocks. */
enum { BLOCKS = 13 };
static size_t list_blocks(struct learner_policy *p, struct learner_block *blocks)
{
    struct learner_optimizer *a = &p->policy_optimizer, *c = &p->critic_optimizer;
    size_t n = 0;

    blocks[n++] = (struct learner_block){"policy.weights", a->param, a->count * sizeof(float)};
    blocks[n++] = (struct learner_block){"policy.moment1", a->m, a->count * sizeof(float)};
    blocks[n++] = (struct learner_block){"policy.moment2", a->v, a->count * sizeof(float)};
    blocks[n++] = (struct learner_block){"policy.updates", &a->updates, sizeof a->updates};
    blocks[n++] = (struct learner_block){"policy.watch", p->seen, sizeof p->seen};
    if (p->average)
        blocks[n++] = (struct learner_block){"policy.average", p->average, a->count * sizeof(float)};
    if (p->settings->kl_target > 0)
        blocks[n++] = (struct learner_block){"policy.kl_coefficient", &p->kl.beta, sizeof p->kl.beta};
    if (p->lag.behaviour)
        blocks[n++] = (struct learner_block){"policy.past", p->lag.past,
                                             (size_t)p->settings->lag * p->lag.parameters * sizeof(float)};
    if (p->sources.named)
        blocks[n++] = (struct learner_block){"rewards.scale", p->sources.scale, p->sources.count * sizeof *p->sources.scale};
    if (p->critic) {
        blocks[n++] = (struct learner_block){"critic.weights", c->param, c->count * sizeof(float)};
        blocks[n++] = (struct learner_block){"critic.moment1", c->m, c->count * sizeof(float)};
        blocks[n++] = (struct learner_block){"critic.moment2", c->v, c->count * sizeof(float)};
        blocks[n++] = (struct learner_block){"critic.updates", &c->updates, sizeof c->updates};
    }
    RLHF_ASSERT(n <= BLOCKS);
    return n;
}

/* The policy that the stage ends with. */
static int finish(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_optimizer *o = &p->policy_optimizer;

    if (p->average) {
        memcpy(o->param, p->average, o->count * sizeof *p->average);
        learner_optimizer_changed(o);
    }
    return learner_watch_write(p, NULL, err) < 0 || learner_adapter_save(p->w, o, err) < 0
               ? -1
               : learner_save_model(p->w, p->policy, err);
}

/* Between iterations: where the watch says so, pauses with everything saved. */
static int rest(struct learner_policy *p, const struct learner_block *blocks, size_t count, uint64_t *saved,
                struct rlhf_error *err)
{
    char why[LEARNER_WHY];

    if (!learner_watch_tripped(p, why) && !p->w->record->paused)
        return 0;
    if (p->w->step > *saved && learner_state_save(p->w, blocks, count, err) < 0)
        return -1;
    *saved = p->w->step;
    return learner_watch_pause(p, err) < 0 || learner_state_save(p->w, blocks, count, err) < 0 ? -1 : 0;
}

static int run(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    struct learner_block blocks[BLOCKS];
    const size_t count = list_blocks(p, blocks);
    uint64_t every = (uint64_t)p->settings->checkpoint_every, saved;

    w->steps = (uint64_t)p->settings->iterations;
    if (learner_state_load(w, blocks, count, err) < 0)
        return -1;
    learner_optimizer_changed(&p->policy_optimizer);
    if (p->critic)
        learner_optimizer_changed(&p->critic_optimizer);
    learner_policy_set_beta(p);
    saved = w->step;
    if (rest(p, blocks, count, &saved, err) < 0)
        return -1;
    while (w->step < w->steps) {
        struct rlhf_error why = {0};
        bool stopping = learner_stopping(w);
        int rc = stopping ? learner_stopped(&why) : 0;
        if (!stopping && w->step > saved && (learner_state_due(w) || (every && w->step % every == 0))) {
            if (learner_state_save(w, blocks, count, err) < 0)
                return -1;
            saved = w->step;
        }
        if (rc == 0 && iterate(p, &why) == 0) {
            if (rest(p, blocks, count, &saved, err) < 0)
                return -1;
            continue;
        }
        /* Nothing is asked once updating has begun, so weights and step still belong together. */
        if (why.code == RLHF_AGAIN && w->step > saved && learner_state_save(w, blocks, count, err) < 0)
            return -1;
        if (err)
            *err = why;
        return -1;
    }
    return finish(p, err);
}

int learner_policy(struct learner_work *w, struct rlhf_error *err)
{
    struct learner_policy p = {
        .w = w, .settings = w->stage->policy, .sampling = learner_sampling(&w->stage->policy->sampling)};
    int rc = learner_policy_open(&p, err) < 0 || run(&p, err) < 0 ? -1 : 0;

    learner_policy_close(&p);
    return rc;
}
