/* train_policy_open.c - what a policy stage is made of: the algorithm's settings, models, optimisers, buffers. */
#include <stdlib.h>
#include <string.h>

#include "learner/train_policy.h"
#include "telemetry/log.h"

_Static_assert((int)RLHF_KL_K3 == 2 && (int)RLHF_MEAN_ITEMS == 3 && (int)RLHF_SCALE_WHITEN == 3,
               "the run file's choices are these behind `own`");

enum { MIX_SALT = 0x70747800 };

size_t learner_policy_per_iteration(const struct rlhf_stage_policy *s)
{
    return (size_t)(s->prompts_per_iteration * s->samples);
}

uint64_t learner_policy_rounds(const struct rlhf_stage_policy *s)
{
    return s->dynamic_sampling > 1 ? (uint64_t)s->dynamic_sampling : 1;
}

void learner_policy_close(struct learner_policy *p)
{
    struct learner_minibatch *mb = &p->mb;

    learner_lag_close(p); /* first: what it asked for borrows the jobs */
    learner_optimizer_free(&p->policy_optimizer);
    learner_optimizer_free(&p->critic_optimizer);
    learner_compute_free(&p->policy_pass);
    learner_compute_free(&p->critic_pass);
    rlhf_model_free(p->policy);
    rlhf_model_free(p->critic);
    rlhf_demonstrations_free(&p->prompts);
    learner_order_free(&p->order);
    learner_windows_free(&p->mix);
    learner_rollouts_free(&p->r);
    learner_sources_close(&p->sources);
    free(mb->importance_whole);
    free(p->prompt_text), free(p->answer);
    free(p->average), free(p->rewards), free(p->jobs), free(p->score_jobs), free(p->shuffled), free(p->keep);
    free(mb->items), free(mb->start), free(mb->whole), free(mb->weight), free(mb->logprob_old);
}

static void override(double *own, double value)
{
    if (value != RLHF_RUN_OWN)
        *own = value;
}

void learner_policy_set_beta(struct learner_policy *p)
{
    p->reward_beta = p->algorithm->kl_in_reward ? p->kl.beta : 0;
    p->loss.beta = p->algorithm->kl_in_reward ? 0 : p->kl.beta;
}

/* The algorithm with what the run file sets. */
static int choose(struct learner_policy *p, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct rlhf_policy_loss *l = &p->loss;
    double beta;

    if (!(p->algorithm = rlhf_algorithm_named(rlhf_run_algorithm(s))))
        return rlhf_fail(err, RLHF_FATAL, "algorithm %s has no formula in this build", rlhf_run_algorithm(s));
    *l = p->algorithm->loss;
    override(&l->clip_low, s->clip);
    override(&l->clip_high, s->clip);
    override(&l->clip_low, s->clip_low);
    override(&l->clip_high, s->clip_high);
    override(&l->temperature_positive, s->temperature_positive);
    override(&l->temperature_negative, s->temperature_negative);
    l->ratio_limit = s->ratio_limit;
    l->kl_corrected = s->kl_corrected;
    if (s->loss_mean)
        l->mean = (enum rlhf_mean)(s->loss_mean - 1);
    p->scale = s->advantage_scale ? (enum rlhf_scale)(s->advantage_scale - 1) : p->algorithm->scale;
    beta = p->algorithm->kl_in_reward ? 0.05 : l->beta;
    override(&beta, s->kl_coefficient);
    p->kl = (struct rlhf_kl_controller){beta, s->kl_target, s->kl_target > 0 ? s->kl_horizon : 0};
    learner_policy_set_beta(p);
    p->reward_kl = s->kl_estimator ? (enum rlhf_kl_estimator)(s->kl_estimator - 1) : RLHF_KL_K1;
    l->kl = s->kl_estimator ? (enum rlhf_kl_estimator)(s->kl_estimator - 1) : RLHF_KL_K3;
    rlhf_log(RLHF_LEVEL_INFO,
             "algorithm stage=%s name=%s clip_low=%g clip_high=%g kl_coefficient=%g kl_in=%s mean=%d scale=%d", p->w->name,
             p->algorithm->name, l->clip_low, l->clip_high, beta, p->algorithm->kl_in_reward ? "rewards" : "loss", l->mean,
             p->scale);
    return rlhf_policy_loss_check(l, err);
}

static void narrow(struct learner_policy *p, const struct rlhf_model *m)
{
    uint32_t context = rlhf_model_get_config(m)->context;

    p->context = context < p->context ? context : p->context;
}

/* Those besides the first. */
static int load_ensemble(struct learner_policy *p, struct rlhf_error *err)
{
    const struct rlhf_config_strings *names = &p->settings->ensemble;

    for (p->reward_models = 1; p->reward_models <= names->count; p->reward_models++) {
        enum learner_name slot = (enum learner_name)(LEARNER_NAME_REWARD_MODEL + p->reward_models);
        struct rlhf_model *m = learner_load_model(p->w, names->items[p->reward_models - 1], RLHF_HEAD_SCALAR, err);
        int rc = m ? learner_publish(p->w, slot, 0, m, &p->reward_model[p->reward_models], err) : -1;

        if (m)
            narrow(p, m);
        rlhf_model_free(m);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int load_models(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    const char *from = rlhf_stage_from(w->t->run, w->index);
    const char *reward_model = p->settings->reward_model;
    struct rlhf_model *reference;
    int rc;

    if (!(p->policy = learner_load_model(w, from, RLHF_HEAD_LM, err)) ||
        (reward_model && !(p->critic = learner_load_model(w, reward_model, RLHF_HEAD_SCALAR, err))) ||
        (reward_model && learner_publish(w, LEARNER_NAME_REWARD_MODEL, 0, p->critic, &p->reward_model[0], err) < 0) ||
        !(reference = learner_load_model(w, p->settings->reference ?: from, RLHF_HEAD_LM, err)))
        return -1;
    rc = learner_publish(w, LEARNER_NAME_REFERENCE, 0, reference, &p->reference, err);
    rlhf_model_free(reference);
    if (rc < 0)
        return -1;
    p->context = rlhf_model_get_config(p->policy)->context;
    if (!reward_model)
        return 0;
    narrow(p, p->critic);
    if (p->algorithm->credit != RLHF_CREDIT_CRITIC) {
        rlhf_model_free(p->critic); /* it was only the reward model */
        p->critic = NULL;
    }
    return load_ensemble(p, err);
}

static int init_buffers(struct learner_policy *p, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    size_t count = learner_policy_per_iteration(s), minibatch = (size_t)s->minibatch;
    size_t capacity = count * (learner_policy_rounds(s) > 1 ? 2 : 1); /* almost all that is wanted, and a round */

    p->jobs = calloc(count, sizeof *p->jobs);
    p->score_jobs = calloc(count, sizeof *p->score_jobs);
    p->shuffled = calloc(capacity, sizeof *p->shuffled);
    p->keep = calloc(capacity, sizeof *p->keep);
    p->rewards = calloc((p->reward_models + 3) * count, sizeof *p->rewards);
    p->prompt_text = calloc(count, sizeof *p->prompt_text);
    p->answer = calloc(count, sizeof *p->answer);
    p->mb.items = calloc(minibatch, sizeof *p->mb.items);
    p->mb.start = calloc(minibatch + 1, sizeof *p->mb.start);
    p->mb.whole = calloc(minibatch, sizeof *p->mb.whole);
    p->mb.weight = calloc(minibatch, sizeof *p->mb.weight);
    p->mb.importance_whole = calloc(minibatch, sizeof *p->mb.importance_whole);
    if (!p->jobs || !p->score_jobs || !p->shuffled || !p->keep || !p->rewards || !p->prompt_text || !p->answer ||
        !p->mb.items || !p->mb.start || !p->mb.whole || !p->mb.weight || !p->mb.importance_whole)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions an iteration", capacity);
    return learner_sources_open(&p->sources, p->w, &s->rewards, s->reward_model != NULL, count, err) < 0
               ? -1
               : learner_rollouts_init(&p->r, capacity, err);
}

static int init_critic(struct learner_policy *p, struct rlhf_error *err)
{
    const struct learner_work *w = p->w;

    if (!p->critic)
        return 0;
    return learner_compute_init(&p->critic_pass, rlhf_model_get_config(p->critic), w->t->pool, true, err) < 0 ||
                   learner_optimizer_init(&p->critic_optimizer, p->critic, &p->settings->value_optimizer,
                                          (uint64_t)p->settings->iterations, w->t->pool, err) < 0
               ? -1
               : 0;
}

static int init_average(struct learner_policy *p, struct rlhf_error *err)
{
    const struct learner_optimizer *o = &p->policy_optimizer;

    if (p->settings->average <= 0)
        return 0;
    if (!(p->average = calloc(o->count, sizeof *p->average)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for the average of %zu weights", o->count);
    memcpy(p->average, o->param, o->count * sizeof *p->average);
    return 0;
}

int learner_policy_open(struct learner_policy *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    const struct rlhf_stage_policy *s = p->settings;

    if (choose(p, err) < 0 || load_models(p, err) < 0 || init_buffers(p, err) < 0 ||
        learner_read_prompts(w, s->prompts, p->context, s->sampling.max_new_tokens, 0, &p->prompts, &p->prompt_count,
                             err) < 0 ||
        learner_order_init(&p->order, (uint64_t)w->t->run->run.seed, w->key, p->prompt_count, err) < 0 ||
        learner_compute_init(&p->policy_pass, rlhf_model_get_config(p->policy), w->t->pool, true, err) < 0 ||
        learner_optimizer_init_adapter(&p->policy_optimizer, w, p->policy, p->policy_pass.pass, &s->optimizer,
                                       s->adapter, (uint64_t)s->iterations, err) < 0 ||
        init_average(p, err) < 0 || init_critic(p, err) < 0 || learner_lag_open(p, err) < 0)
        return -1;
    return s->mix.weight > 0
               ? learner_windows_init(&p->mix, w, &s->mix.data, s->mix.window, s->mix.windows, MIX_SALT, err)
               : 0;
}
