/* train_policy.c - PPO, GRPO and their kin against a reward model (recipe.md; InstructGPT section 3.5 and appendix
 * C.4; rl/algorithm.h).
 *
 * An iteration: publish the policy, have completions sampled, have them scored (reward model, reference
 * log-probs), turn scores into advantages (PPO: with the per-token KL penalty and the critic's values; the others:
 * against each other), update the policy and, where there is one, the critic in minibatches; PPO-ptx adds the
 * gradient of pretraining text to each. State is saved between iterations, so what an iteration does is a function of
 * the weights it began with. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/train_parts.h"
#include "learner/train_rollouts.h"
#include "rl/advantage.h"
#include "rl/algorithm.h"
#include "rl/average.h"
#include "rl/kl.h"
#include "rl/ppo.h"
#include "rl/reward.h"
#include "rl/statistics.h"
#include "telemetry/log.h"

_Static_assert((int)RLHF_KL_K3 == 2 && (int)RLHF_MEAN_ITEMS == 3 && (int)RLHF_SCALE_WHITEN == 3,
               "the run file's choices are these behind `own`");

enum { MIX_SALT = 0x70747800, MINIBATCH_SALT = 0x6d626200 };

/* A minibatch of the iteration's completions, gathered, packed likewise. */
struct minibatch {
    struct learner_item *items;                                              /* [minibatch]          */
    uint32_t *start;                                                         /* [minibatch + 1]      */
    float *whole;                                                            /* [minibatch]          */
    double *weight;                                                          /* [minibatch]          */
    float *logprob_old, *logprob_ref, *value, *advantage, *ret, *now, *slope; /* [T of the iteration] */
    size_t token_capacity;
};

/* Sums over an iteration. */
struct statistics {
    struct rlhf_policy_statistics policy;
    struct rlhf_ppo_statistics value;
    double entropy, mix_loss, norm, value_norm;
    size_t updates;
};

/* What was sampled in an iteration, kept or not. */
struct sampled {
    double count, scored, reward, ended, tokens;
    double deviation; /* of an ensemble's models from each other */
};

struct policy_stage {
    struct learner_work *w;
    const struct rlhf_stage_policy *settings;
    const struct rlhf_algorithm *algorithm;
    struct rlhf_policy_loss loss;
    enum rlhf_scale scale;
    enum rlhf_kl_estimator reward_kl;   /* of the penalty on rewards, and            */
    double reward_beta;                 /* its factor; 0: there is none              */
    struct rlhf_kl_controller kl;       /* of its factor, there or in the loss       */
    float *average;                     /* [parameters] NULL: weights as they are    */
    struct rlhf_sampling sampling;
    struct rlhf_model *policy, *critic; /* critic NULL: the algorithm has none */
    uint32_t context;
    struct learner_compute policy_pass, critic_pass;
    struct learner_optimizer policy_optimizer, critic_optimizer;
    struct rlhf_digest reference, reward_model[RLHF_RUN_ENSEMBLE];
    size_t reward_models;
    float *rewards; /* [reward_models + 3][per iteration]: each one's, the ensemble's, the mean, a deviation below it */
    struct rlhf_demonstrations prompts;
    size_t prompt_count;
    struct learner_order order;
    struct learner_windows mix;
    struct learner_generate_job *jobs; /* [per iteration] */
    struct learner_score_job *score_jobs;
    uint32_t *shuffled; /* [capacity of r] */
    bool *keep;         /* [capacity of r] */
    struct learner_rollouts r;
    struct minibatch mb;
};

/* ---- building ---------------------------------------------------------------------------------------- */

static size_t per_iteration(const struct rlhf_stage_policy *s)
{
    return (size_t)(s->prompts_per_iteration * s->samples);
}

/* Rounds of prompts that an iteration may take. */
static uint64_t rounds_of(const struct rlhf_stage_policy *s)
{
    return s->dynamic_sampling > 1 ? (uint64_t)s->dynamic_sampling : 1;
}

static void stage_free(struct policy_stage *p)
{
    struct minibatch *mb = &p->mb;

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
    free(p->average), free(p->rewards), free(p->jobs), free(p->score_jobs), free(p->shuffled), free(p->keep);
    free(mb->items), free(mb->start), free(mb->whole), free(mb->weight), free(mb->logprob_old);
}

/* Per-token arrays: one block, carved. */
static int reserve_tokens(struct policy_stage *p, struct rlhf_error *err)
{
    struct minibatch *mb = &p->mb;
    size_t tokens = p->r.tokens;
    float *block;

    if (tokens <= mb->token_capacity)
        return 0;
    if (!(block = calloc(7 * tokens, sizeof *block)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for an iteration of %zu tokens", tokens);
    free(mb->logprob_old);
    mb->logprob_old = block;
    mb->logprob_ref = block + tokens;
    mb->value = block + 2 * tokens;
    mb->advantage = block + 3 * tokens;
    mb->ret = block + 4 * tokens;
    mb->now = block + 5 * tokens;
    mb->slope = block + 6 * tokens;
    mb->token_capacity = tokens;
    return 0;
}

static void override(double *own, double value)
{
    if (value != RLHF_RUN_OWN)
        *own = value;
}

/* Where the algorithm has the penalty. */
static void set_beta(struct policy_stage *p)
{
    p->reward_beta = p->algorithm->kl_in_reward ? p->kl.beta : 0;
    p->loss.beta = p->algorithm->kl_in_reward ? 0 : p->kl.beta;
}

/* The algorithm with what the run file sets. */
static int choose(struct policy_stage *p, struct rlhf_error *err)
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
    set_beta(p);
    p->reward_kl = s->kl_estimator ? (enum rlhf_kl_estimator)(s->kl_estimator - 1) : RLHF_KL_K1;
    l->kl = s->kl_estimator ? (enum rlhf_kl_estimator)(s->kl_estimator - 1) : RLHF_KL_K3;
    rlhf_log(RLHF_LEVEL_INFO,
             "algorithm stage=%s name=%s clip_low=%g clip_high=%g kl_coefficient=%g kl_in=%s mean=%d scale=%d", p->w->name,
             p->algorithm->name, l->clip_low, l->clip_high, beta, p->algorithm->kl_in_reward ? "rewards" : "loss", l->mean,
             p->scale);
    return rlhf_policy_loss_check(l, err);
}

static void narrow(struct policy_stage *p, const struct rlhf_model *m)
{
    uint32_t context = rlhf_model_get_config(m)->context;

    p->context = context < p->context ? context : p->context;
}

/* Those besides the first. */
static int load_ensemble(struct policy_stage *p, struct rlhf_error *err)
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

static int load_models(struct policy_stage *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    const char *from = rlhf_stage_from(w->t->run, w->index);
    struct rlhf_model *reference;
    int rc;

    if (!(p->policy = learner_load_model(w, from, RLHF_HEAD_LM, err)) ||
        !(p->critic = learner_load_model(w, p->settings->reward_model, RLHF_HEAD_SCALAR, err)) ||
        learner_publish(w, LEARNER_NAME_REWARD_MODEL, 0, p->critic, &p->reward_model[0], err) < 0 ||
        !(reference = learner_load_model(w, p->settings->reference ?: from, RLHF_HEAD_LM, err)))
        return -1;
    rc = learner_publish(w, LEARNER_NAME_REFERENCE, 0, reference, &p->reference, err);
    rlhf_model_free(reference);
    if (rc < 0)
        return -1;
    p->context = rlhf_model_get_config(p->policy)->context;
    narrow(p, p->critic);
    if (p->algorithm->credit != RLHF_CREDIT_CRITIC) {
        rlhf_model_free(p->critic); /* it was only the reward model */
        p->critic = NULL;
    }
    return load_ensemble(p, err);
}

static int init_buffers(struct policy_stage *p, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    size_t count = per_iteration(s), minibatch = (size_t)s->minibatch;
    size_t capacity = count * (rounds_of(s) > 1 ? 2 : 1); /* almost all that is wanted, and a round */

    p->jobs = calloc(count, sizeof *p->jobs);
    p->score_jobs = calloc(count, sizeof *p->score_jobs);
    p->shuffled = calloc(capacity, sizeof *p->shuffled);
    p->keep = calloc(capacity, sizeof *p->keep);
    p->rewards = calloc((p->reward_models + 3) * count, sizeof *p->rewards);
    p->mb.items = calloc(minibatch, sizeof *p->mb.items);
    p->mb.start = calloc(minibatch + 1, sizeof *p->mb.start);
    p->mb.whole = calloc(minibatch, sizeof *p->mb.whole);
    p->mb.weight = calloc(minibatch, sizeof *p->mb.weight);
    if (!p->jobs || !p->score_jobs || !p->shuffled || !p->keep || !p->rewards || !p->mb.items || !p->mb.start || !p->mb.whole ||
        !p->mb.weight)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions an iteration", capacity);
    return learner_rollouts_init(&p->r, capacity, err);
}

static int init_critic(struct policy_stage *p, struct rlhf_error *err)
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

static int init_average(struct policy_stage *p, struct rlhf_error *err)
{
    const struct learner_optimizer *o = &p->policy_optimizer;

    if (p->settings->average <= 0)
        return 0;
    if (!(p->average = calloc(o->count, sizeof *p->average)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for the average of %zu weights", o->count);
    memcpy(p->average, o->param, o->count * sizeof *p->average);
    return 0;
}

static int stage_init(struct policy_stage *p, struct rlhf_error *err)
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
        init_average(p, err) < 0 || init_critic(p, err) < 0)
        return -1;
    return s->mix.weight > 0
               ? learner_windows_init(&p->mix, w, &s->mix.data, s->mix.window, s->mix.windows, MIX_SALT, err)
               : 0;
}

/* ---- rollouts ---------------------------------------------------------------------------------------- */

/* Where in the order the prompts of this iteration's round begin; a completion's sampling key is its place in the
 * stage. */
static uint64_t first_place(const struct policy_stage *p, uint64_t round)
{
    return (p->w->step * rounds_of(p->settings) + round) * (uint64_t)p->settings->prompts_per_iteration;
}

static void make_jobs(struct policy_stage *p, struct rlhf_digest weights, uint64_t round)
{
    const struct rlhf_sequences *q = &p->prompts.sequences;
    uint64_t first = first_place(p, round);
    uint32_t samples = (uint32_t)p->settings->samples;

    for (size_t i = 0; i < per_iteration(p->settings); i++) {
        uint64_t place = first + i / samples;
        uint32_t at = learner_order_at(&p->order, place), sample = (uint32_t)(i % samples);
        p->jobs[i] = (struct learner_generate_job){.step = (uint32_t)p->w->step,
                                                   .prompt = at,
                                                   .sample = sample,
                                                   .key_prompt = (uint32_t)place,
                                                   .key_sample = p->w->index << 16 | sample,
                                                   .weights = weights,
                                                   .prompt_ids = q->tokens.data + q->start[at],
                                                   .prompt_count = q->start[at + 1] - q->start[at]};
    }
}

/* Adds a round's completions and makes jobs of scoring them. */
static int gather(struct policy_stage *p, const struct learner_answer *answer, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    size_t before = r->count;

    for (size_t i = 0; i < answer->count; i++)
        if (learner_rollouts_add(r, &p->jobs[i], &answer->rollouts[i], p->jobs[i].key_prompt, err) < 0)
            return -1;
    learner_rollouts_locate(r);
    for (size_t i = 0; i < answer->count; i++) {
        const struct learner_item *item = &r->items[before + i];
        p->score_jobs[i] =
            (struct learner_score_job){.ids = item->ids, .count = item->count, .prompt_count = item->first};
    }
    return reserve_tokens(p, err);
}

/* Log-probs of the items' predicted tokens at a temperature, packed. */
static int policy_logprobs(struct policy_stage *p, const struct learner_item *items, size_t count, float temperature,
                           float *out, struct rlhf_error *err)
{
    struct learner_batch *b = &p->policy_pass.batch;

    for (size_t i = 0; i < count;) {
        if ((i = learner_compute_forward(&p->policy_pass, p->policy, items, i, count, err)) == 0 ||
            rlhf_pass_logprobs(p->policy_pass.pass, p->policy, b->target, temperature, b->value, NULL, err) <
                0)
            return -1;
        out += learner_batch_pick(b, b->value, out);
    }
    return 0;
}

/* The learner and the samplers must run one model, to the bit; a sample of every iteration shows it. */
static int verify(struct policy_stage *p, const struct learner_answer *answer, struct rlhf_error *err)
{
    const struct learner_item *items = p->r.items + (p->r.count - answer->count);
    size_t count = answer->count, wanted = (size_t)p->w->t->run->learner.verify_tokens;
    size_t from = (size_t)(p->w->step * 7919 % count), to = from, tokens = 0;
    float *again = p->mb.now;
    int rc;

    while (to < count && tokens < wanted)
        tokens += answer->rollouts[to++].count;
    if (tokens == 0)
        return 0;
    rc = policy_logprobs(p, items + from, to - from, 1, again, err);
    for (size_t i = from; rc == 0 && i < to; i++) {
        const struct learner_rollout *r = &answer->rollouts[i];
        for (uint32_t t = 0; t < r->count; t++)
            if (memcmp(&r->logprob_raw[t], again++, sizeof(float)) != 0)
                return rlhf_fail(
                    err, RLHF_FATAL,
                    "iteration %llu: token %u of completion %zu was sampled with log-prob %.9g, the learner "
                    "computes "
                    "%.9g from the same weights; a rollout-worker differs in its kernels or its build",
                    (unsigned long long)p->w->step + 1, t, i, r->logprob_raw[t], again[-1]);
    }
    return rc;
}

/* One record an iteration: what was consumed. A resumed run consumes the same. */
static int record(struct policy_stage *p, struct rlhf_error *err)
{
    struct learner_record *known = p->w->record;
    struct rlhf_hasher *h = rlhf_hasher_new();
    char text[RLHF_DIGEST_TEXT];
    struct rlhf_digest d, *grown;

    if (!h)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a digest");
    rlhf_hasher_add(h, p->r.ids.data, p->r.ids.size * sizeof *p->r.ids.data);
    rlhf_hasher_add(h, p->r.logprob_old, p->r.tokens * sizeof(float));
    rlhf_hasher_add(h, p->r.logprob_ref, p->r.tokens * sizeof(float));
    rlhf_hasher_add(h, p->r.score, p->r.count * sizeof(float));
    d = rlhf_hasher_end(h);
    if (p->w->step < known->iterations) {
        if (!rlhf_digest_equal(&d, &known->consumed[p->w->step]))
            rlhf_log(RLHF_LEVEL_WARNING,
                     "iteration-differs stage=%s iteration=%llu rollouts or scores are not those of before "
                     "the restart",
                     p->w->name, (unsigned long long)p->w->step + 1);
        return 0;
    }
    if (!(grown = realloc(known->consumed, (known->iterations + 1) * sizeof *grown)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for the journal");
    known->consumed = grown;
    grown[known->iterations++] = d;
    rlhf_digest_text(&d, text);
    return learner_journal(p->w, "iteration",
                           json_pack("{s:I, s:s}", "iteration", (json_int_t)p->w->step, "digest", text), err);
}

/* Rewards of the completions from `before` on and, from the first model's answer, their reference log-probs. */
static int score(struct policy_stage *p, size_t before, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    size_t count = r->count - before, models = p->reward_models;
    const float *each[RLHF_RUN_ENSEMBLE];

    for (size_t m = 0; m < models; m++) {
        struct learner_answer scores = {0};
        float *reward = p->rewards + m * count;

        if (learner_score(p->w, p->score_jobs, count, p->reward_model[m], m ? (struct rlhf_digest){0} : p->reference,
                          p->sampling.temperature, &scores, err) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            reward[i] = scores.scores[i].reward;
        for (size_t i = before; m == 0 && i < r->count; i++)
            memcpy(r->logprob_ref + r->start[i], scores.scores[i - before].logprob_ref,
                   (r->start[i + 1] - r->start[i]) * sizeof(float));
        learner_answer_free(&scores);
        each[m] = reward;
    }
    rlhf_reward_ensemble(each, models, count, p->settings->ensemble_deviations, p->rewards + models * count);
    rlhf_reward_ensemble(each, models, count, 0, p->rewards + (models + 1) * count);
    rlhf_reward_ensemble(each, models, count, 1, p->rewards + (models + 2) * count);
    return 0;
}

/* What the algorithm is given for the completions from `before` on. */
static void take_scores(struct policy_stage *p, size_t before, struct sampled *sum)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct learner_rollouts *r = &p->r;
    size_t count = r->count - before, models = p->reward_models;

    for (size_t i = before; i < r->count; i++) {
        const float *one = p->rewards + (i - before);
        float reward = one[models * count];
        size_t tokens = r->start[i + 1] - r->start[i];
        bool replace = s->penalize_missing_end && !r->ended[i];

        r->score[i] = replace ? (float)s->missing_end_reward : reward;
        if (s->overlong_cache > 0)
            r->score[i] += (float)(s->overlong_penalty * rlhf_overlong_penalty(tokens, (size_t)s->sampling.max_new_tokens,
                                                                               (size_t)s->overlong_cache));
        sum->scored += !isnan(reward);
        sum->reward += isnan(reward) ? 0 : reward;
        sum->deviation += isnan(reward) ? 0 : one[(models + 1) * count] - one[(models + 2) * count];
        sum->ended += r->ended[i];
        sum->tokens += (double)tokens;
    }
    sum->count += (double)count;
}

/* One round of prompts: their completions and what those are worth. */
static int sample_round(struct policy_stage *p, struct rlhf_digest weights, uint64_t round, struct sampled *sum,
                        struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct learner_answer completions = {0};
    struct learner_rollouts *r = &p->r;
    size_t before = r->count;
    int rc = -1;

    make_jobs(p, weights, round);
    if (learner_generate(p->w, p->jobs, per_iteration(s), &s->sampling, &p->sampling, RLHF_PURPOSE_SAMPLE,
                         &completions, err) < 0 ||
        gather(p, &completions, err) < 0 || verify(p, &completions, err) < 0)
        goto out;
    /* The ratio compares whole distributions; a truncated one would make it meaningless. */
    if (!learner_sampling_whole(&p->sampling) &&
        policy_logprobs(p, r->items + before, r->count - before, p->sampling.temperature,
                        r->logprob_old + r->start[before], err) < 0)
        goto out;
    if (score(p, before, err) < 0)
        goto out;
    take_scores(p, before, sum);
    rc = 0;
out:
    learner_answer_free(&completions);
    return rc;
}

/* Dynamic sampling: leaves out prompts whose rewards do not differ, and what is more than an iteration wants. */
static void filter(struct policy_stage *p)
{
    struct rlhf_ragged groups = learner_rollouts_groups(&p->r);
    size_t wanted = (size_t)p->settings->prompts_per_iteration, kept = 0;

    rlhf_group_filter(&groups, p->r.score, p->settings->dynamic_sampling_spread, p->keep);
    for (size_t g = 0; g < groups.count; g++) {
        p->keep[g] = p->keep[g] && kept < wanted;
        kept += p->keep[g];
    }
    for (size_t g = groups.count; g-- > 0;) /* from groups to completions, in place */
        for (uint32_t i = groups.start[g + 1]; i-- > groups.start[g];)
            p->keep[i] = p->keep[g];
    learner_rollouts_keep(&p->r, p->keep);
}

/* A missing reward is a state: its completion is left out, of others' baselines too. */
static void leave_missing_out(struct policy_stage *p)
{
    for (size_t i = 0; i < p->r.count; i++)
        p->keep[i] = !isnan(p->r.score[i]);
    learner_rollouts_keep(&p->r, p->keep);
}

/* Completions of this policy and their scores. *rewarded is false when not one reward came. */
static int roll_out(struct policy_stage *p, json_t *metrics, bool *rewarded, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct sampled sum = {0};
    struct rlhf_digest weights;
    uint64_t round = 0;

    if (learner_publish(p->w, LEARNER_NAME_POLICY, p->w->step, p->policy, &weights, err) < 0)
        return -1;
    learner_rollouts_clear(&p->r);
    do {
        if (sample_round(p, weights, round, &sum, err) < 0)
            return -1;
        if (s->dynamic_sampling > 0)
            filter(p);
    } while (++round < rounds_of(s) && learner_rollouts_groups(&p->r).count < (size_t)s->prompts_per_iteration);
    *rewarded = sum.scored > 0;
    learner_metric(metrics, "reward", sum.reward / sum.scored);
    learner_metric(metrics, "ended", sum.ended / sum.count);
    learner_metric(metrics, "length", sum.tokens / sum.count);
    if (p->reward_models > 1)
        learner_metric(metrics, "disagreement", sum.deviation / sum.scored);
    if (sum.scored < sum.count)
        learner_metric(metrics, "missing", sum.count - sum.scored);
    if (s->dynamic_sampling > 0) {
        learner_metric(metrics, "rounds", (double)round);
        learner_metric(metrics, "prompts", (double)learner_rollouts_groups(&p->r).count);
    }
    if (record(p, err) < 0)
        return -1;
    leave_missing_out(p);
    return 0;
}

/* ---- advantages -------------------------------------------------------------------------------------- */

static int critic_values(struct policy_stage *p, struct rlhf_error *err)
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

static int critic_advantages(struct policy_stage *p, json_t *metrics, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct learner_rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count};

    if (critic_values(p, err) < 0)
        return -1;
    rlhf_kl_rewards(p->reward_kl, &completions, r->logprob_old, r->logprob_ref, r->score, p->reward_beta, r->reward,
                    NULL);
    if (s->whiten_rewards)
        rlhf_whiten(r->reward, r->tokens, true);
    rlhf_gae(&completions, r->reward, r->value, s->discount, s->gae_lambda, r->advantage, r->ret);
    if (s->whiten_advantages)
        rlhf_whiten(r->advantage, r->tokens, false);
    learner_metric(metrics, "explained_variance", rlhf_explained_variance(r->value, r->ret, r->tokens));
    return 0;
}

/* Completions against each other. */
static int group_advantages(struct policy_stage *p, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count}, groups = learner_rollouts_groups(r);

    memcpy(r->whole, r->score, r->count * sizeof *r->whole);
    if (p->reward_beta > 0) {
        rlhf_kl_rewards(p->reward_kl, &completions, r->logprob_old, r->logprob_ref, r->score, 0, r->reward, r->kl);
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
static int return_advantages(struct policy_stage *p, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count}, groups = learner_rollouts_groups(r);

    if (rlhf_group_advantages(&groups, r->score, p->algorithm->baseline, p->scale, r->whole, NULL, NULL, err) < 0)
        return -1;
    rlhf_kl_rewards(p->reward_kl, &completions, r->logprob_old, r->logprob_ref, r->whole, p->reward_beta, r->advantage,
                    NULL);
    rlhf_returns(&completions, r->advantage, p->settings->discount, r->advantage);
    rlhf_normalize(r->advantage, r->tokens);
    return 0;
}

static int credit(struct policy_stage *p, json_t *metrics, struct rlhf_error *err)
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

/* *finite is false when anything that training would use is not. */
static int advantages(struct policy_stage *p, json_t *metrics, double *kl, bool *finite, struct rlhf_error *err)
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

/* ---- updates ----------------------------------------------------------------------------------------- */

/* Copies the packed arrays of completions index[0 .. count) behind each other. Returns their tokens. */
static size_t gather_minibatch(struct policy_stage *p, const uint32_t *index, size_t count)
{
    const struct learner_rollouts *r = &p->r;
    struct minibatch *mb = &p->mb;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t from = r->start[index[i]];
        size_t size = r->start[index[i] + 1] - from;

        mb->items[i] = r->items[index[i]];
        mb->whole[i] = r->whole[index[i]];
        memcpy(mb->logprob_old + n, r->logprob_old + from, size * sizeof(float));
        memcpy(mb->logprob_ref + n, r->logprob_ref + from, size * sizeof(float));
        memcpy(mb->value + n, r->value + from, size * sizeof(float));
        memcpy(mb->advantage + n, r->advantage + from, size * sizeof(float));
        memcpy(mb->ret + n, r->ret + from, size * sizeof(float));
        n += size;
        mb->start[i + 1] = (uint32_t)n;
    }
    rlhf_policy_weights(p->loss.mean, &(struct rlhf_ragged){mb->start, count},
                        (double)p->settings->sampling.max_new_tokens, (double)n, 1, mb->weight);
    return n;
}

static int policy_gradient(struct policy_stage *p, size_t count, size_t tokens, struct rlhf_policy_statistics *s,
                           double *entropy, struct rlhf_error *err)
{
    struct learner_batch *b = &p->policy_pass.batch;
    struct minibatch *mb = &p->mb;

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

static int critic_gradient(struct policy_stage *p, size_t count, size_t tokens, struct rlhf_ppo_statistics *s,
                           struct rlhf_error *err)
{
    struct learner_batch *b = &p->critic_pass.batch;
    struct minibatch *mb = &p->mb;
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
static int mix_gradient(struct policy_stage *p, size_t update, double *loss, struct rlhf_error *err)
{
    const struct rlhf_run_mix *mix = &p->settings->mix;
    uint64_t minibatch = (uint64_t)p->settings->minibatch;
    uint64_t per_epoch = (per_iteration(p->settings) + minibatch - 1) / minibatch;
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

static int update(struct policy_stage *p, const uint32_t *index, size_t count, struct statistics *s, bool *finite,
                  struct rlhf_error *err)
{
    struct rlhf_policy_statistics policy = {0};
    struct rlhf_ppo_statistics value = {0};
    double mix_loss = 0;
    size_t tokens = gather_minibatch(p, index, count);
    bool policy_updated, critic_updated = true;

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

static int updates(struct policy_stage *p, struct statistics *s, bool *finite, struct rlhf_error *err)
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

static void report(struct policy_stage *p, json_t *metrics, const struct statistics *s)
{
    const struct rlhf_policy_statistics *a = &s->policy;
    double n = (double)(s->updates ? s->updates : 1), ratios = a->ratios > 0 ? a->ratios : 1;
    double tokens = a->tokens > 0 ? a->tokens : 1;

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

/* ---- the iterations ---------------------------------------------------------------------------------- */

static int iterate(struct policy_stage *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    json_t *metrics = learner_metrics_new(w);
    struct statistics s = {0};
    double kl = 0, reward;
    bool finite = true, rewarded;
    size_t completions;

    if (!metrics)
        return rlhf_fail(err, RLHF_FULL, "out of memory for metrics");
    if (roll_out(p, metrics, &rewarded, err) < 0 || advantages(p, metrics, &kl, &finite, err) < 0) {
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
    if (finite && updates(p, &s, &finite, err) < 0) {
        json_decref(metrics);
        return -1;
    }
    report(p, metrics, &s);
    if (finite && completions > 0 && p->settings->kl_target > 0) {
        learner_metric(metrics, "kl_coefficient", p->kl.beta);
        rlhf_kl_controller_update(&p->kl, kl, (double)completions);
        set_beta(p);
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
enum { BLOCKS = 10 };
static size_t list_blocks(struct policy_stage *p, struct learner_block *blocks)
{
    struct learner_optimizer *a = &p->policy_optimizer, *c = &p->critic_optimizer;
    size_t n = 0;

    blocks[n++] = (struct learner_block){"policy.weights", a->param, a->count * sizeof(float)};
    blocks[n++] = (struct learner_block){"policy.moment1", a->m, a->count * sizeof(float)};
    blocks[n++] = (struct learner_block){"policy.moment2", a->v, a->count * sizeof(float)};
    blocks[n++] = (struct learner_block){"policy.updates", &a->updates, sizeof a->updates};
    if (p->average)
        blocks[n++] = (struct learner_block){"policy.average", p->average, a->count * sizeof(float)};
    if (p->settings->kl_target > 0)
        blocks[n++] = (struct learner_block){"policy.kl_coefficient", &p->kl.beta, sizeof p->kl.beta};
    if (p->critic) {
        blocks[n++] = (struct learner_block){"critic.weights", c->param, c->count * sizeof(float)};
        blocks[n++] = (struct learner_block){"critic.moment1", c->m, c->count * sizeof(float)};
        blocks[n++] = (struct learner_block){"critic.moment2", c->v, c->count * sizeof(float)};
        blocks[n++] = (struct learner_block){"critic.updates", &c->updates, sizeof c->updates};
    }
    return n;
}

/* The policy that the stage ends with. */
static int finish(struct policy_stage *p, struct rlhf_error *err)
{
    struct learner_optimizer *o = &p->policy_optimizer;

    if (p->average) {
        memcpy(o->param, p->average, o->count * sizeof *p->average);
        learner_optimizer_changed(o);
    }
    return learner_adapter_save(p->w, o, err) < 0 ? -1 : learner_save_model(p->w, p->policy, err);
}

static int run(struct policy_stage *p, struct rlhf_error *err)
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
    set_beta(p);
    saved = w->step;
    while (w->step < w->steps) {
        struct rlhf_error why = {0};
        bool stopping = learner_stopping(w);
        int rc = stopping ? learner_stopped(&why) : 0;
        if (!stopping && w->step > saved && (learner_state_due(w) || (every && w->step % every == 0))) {
            if (learner_state_save(w, blocks, count, err) < 0)
                return -1;
            saved = w->step;
        }
        if (rc == 0 && iterate(p, &why) == 0)
            continue;
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
    struct policy_stage p = {
        .w = w, .settings = w->stage->policy, .sampling = learner_sampling(&w->stage->policy->sampling)};
    int rc = stage_init(&p, err) < 0 || run(&p, err) < 0 ? -1 : 0;

    stage_free(&p);
    return rc;
}
