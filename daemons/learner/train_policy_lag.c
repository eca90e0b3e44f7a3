/* train_policy_lag.c - a fixed lag between sampling and training: batch n is always sampled by the policy of iteration
 * max(0, n - lag), whoever does it and whenever it comes, so what a stage ends with does not hang on time.
 *
 * While the present policy is trained on batch n, batch n + 1 is sampled by an older one, whose weights are kept: `lag`
 * copies, which are part of the stage's state. Off-policy data is corrected for by a formula, not by luck: decoupled PPO
 * (Hilton et al. 2021, section 3; Fu et al. 2025, AReaL) with truncated or masked importance weights.
 *
 * Importance weights make of a lagged batch a sample of the present policy, so the KL penalty in its rewards is the
 * present policy's too: log pi_prox - log pi_ref. With the sampling policy's the penalty of a drift would come `lag`
 * iterations late. */
#include <stdlib.h>
#include <string.h>

#include "learner/train_policy.h"

_Static_assert((int)RLHF_IMPORTANCE_MASK == 1, "the run file's list is this");

int learner_lag_open(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_lag *l = &p->lag;
    size_t lag = (size_t)p->settings->lag;

    if (lag == 0)
        return 0;
    if (!(l->behaviour = rlhf_model_clone(p->policy, RLHF_HEAD_LM, 0, err)))
        return -1;
    rlhf_model_parameters(p->policy, &l->parameters);
    if (!(l->past = calloc(lag * l->parameters, sizeof *l->past)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu older policies; lower lag", lag);
    return 0;
}

void learner_lag_close(struct learner_policy *p)
{
    if (p->lag.begun)
        p->w->t->port->drop(p->w->t->port);
    rlhf_model_free(p->lag.behaviour);
    free(p->lag.past);
    p->lag = (struct learner_lag){0};
}

bool learner_lag_decoupled(const struct learner_policy *p)
{
    return p->lag.behaviour && p->settings->off_policy == RLHF_RUN_DECOUPLED;
}

const float *learner_lag_logprob(const struct learner_policy *p)
{
    return learner_lag_decoupled(p) ? p->r.logprob_prox : p->r.logprob_old;
}

static float *past(struct learner_policy *p, uint64_t version)
{
    return p->lag.past + version % (uint64_t)p->settings->lag * p->lag.parameters;
}

int learner_lag_begin(struct learner_policy *p, uint64_t step, struct rlhf_error *err)
{
    struct learner_lag *l = &p->lag;
    uint64_t lag = (uint64_t)p->settings->lag, version = step > lag ? step - lag : 0;
    size_t count;
    float *to = rlhf_model_parameters(l->behaviour, &count);
    const float *from = version == p->w->step ? rlhf_model_parameters(p->policy, &count) : past(p, version);

    memcpy(to, from, count * sizeof *to);
    rlhf_model_touch(l->behaviour, p->w->t->pool);
    l->version = version;
    if (learner_publish(p->w, LEARNER_NAME_POLICY, version, l->behaviour, &l->weights, err) < 0)
        return -1;
    learner_policy_jobs(p, l->weights, step, 0);
    if (learner_generate_begin(p->w, p->jobs, learner_policy_per_iteration(p->settings), &p->settings->sampling, &p->sampling,
                               RLHF_PURPOSE_SAMPLE, err) < 0)
        return -1;
    l->begun = true;
    return 0;
}

int learner_lag_finish(struct learner_policy *p, struct learner_answer *out, struct rlhf_error *err)
{
    p->lag.begun = false;
    return learner_generate_finish(p->w, p->jobs, learner_policy_per_iteration(p->settings), &p->settings->sampling, out, err);
}

void learner_lag_keep(struct learner_policy *p)
{
    size_t count;

    memcpy(past(p, p->w->step), rlhf_model_parameters(p->policy, &count), p->lag.parameters * sizeof(float));
}

void learner_lag_weigh(struct learner_policy *p, size_t count, size_t tokens, struct learner_policy_sums *s)
{
    const struct rlhf_stage_policy *o = p->settings;
    const struct rlhf_ragged completions = {p->mb.start, count};
    bool whole = o->importance_by_completion;
    float *weight = whole ? p->mb.importance_whole : p->mb.importance;
    size_t n = whole ? count : tokens;

    rlhf_importance((enum rlhf_importance)o->importance, whole, &completions, p->mb.logprob_old, p->mb.logprob_sampled,
                    o->importance_low, o->importance_high, weight);
    for (size_t i = 0; i < n; i++) {
        s->importance += (double)weight[i];
        s->importance_cut += weight[i] <= (float)o->importance_low || weight[i] >= (float)o->importance_high;
    }
    s->weighed += (double)n;
}
