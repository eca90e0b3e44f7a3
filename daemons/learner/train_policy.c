/* train_policy.c - PPO against a reward model (recipe.md; InstructGPT section 3.5 and appendix C.4).
 *
 * An iteration: publish the policy, have completions sampled, have them scored (reward model, reference
 * log-probs), turn scores and the per-token KL penalty into advantages with the critic's values, update
 * policy and critic in minibatches; PPO-ptx adds the gradient of pretraining text to each. State is saved
 * between iterations, so what an iteration does is a function of the weights it began with. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/train_parts.h"
#include "rl/advantage.h"
#include "rl/kl.h"
#include "rl/ppo.h"
#include "rl/statistics.h"
#include "telemetry/log.h"

enum { MIX_SALT = 0x70747800, MINIBATCH_SALT = 0x6d626200 };

/* What one iteration learns from. Completion tokens are packed: completion i is [start[i], start[i + 1]) of
 * T. */
struct rollouts {
    size_t count, tokens, capacity, token_capacity;
    struct rlhf_tokens ids;          /* prompts and completions */
    struct learner_item *items;      /* [count], into ids */
    uint32_t *start;                 /* [count + 1] */
    float *score;                    /* [count] reward model's, or missing_end_reward */
    double *kl;                      /* [count] nats */
    float *logprob_old;              /* [T] under the policy that sampled, at the sampling temperature */
    float *logprob_ref;              /* [T] */
    float *value;                    /* [T] the critic's, of the state before the token */
    float *reward, *advantage, *ret; /* [T] */
};

/* One minibatch of them, gathered, packed likewise. */
struct minibatch {
    struct learner_item *items;                                 /* [minibatch] */
    float *logprob_old, *value, *advantage, *ret, *now, *slope; /* [T of the iteration] */
};

/* Means over an iteration. */
struct statistics {
    struct rlhf_ppo_statistics policy, value;
    double entropy, mix_loss, norm, value_norm, tokens;
    size_t updates;
};

struct ppo {
    struct learner_work *w;
    const struct rlhf_stage_policy *settings;
    struct rlhf_sampling sampling;
    struct rlhf_model *policy, *critic;
    struct learner_compute policy_pass, critic_pass;
    struct learner_optimizer policy_optimizer, critic_optimizer;
    struct rlhf_digest reference, reward_model;
    struct rlhf_demonstrations prompts;
    size_t prompt_count;
    struct learner_order order;
    struct learner_windows mix;
    struct learner_generate_job *jobs; /* [per iteration] */
    struct learner_score_job *score_jobs;
    uint32_t *shuffled;
    struct rollouts r;
    struct minibatch mb;
};

/* ---- building ---------------------------------------------------------------------------------------- */

static size_t per_iteration(const struct rlhf_stage_policy *s)
{
    return (size_t)(s->prompts_per_iteration * s->samples);
}

static void ppo_free(struct ppo *p)
{
    struct rollouts *r = &p->r;
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
    rlhf_tokens_free(&r->ids);
    free(p->jobs), free(p->score_jobs), free(p->shuffled);
    free(r->items), free(r->start), free(r->score), free(r->kl), free(r->logprob_old);
    free(mb->items), free(mb->logprob_old);
}

/* Per-token arrays: one block each for rollouts and minibatch, carved. */
static int reserve_tokens(struct ppo *p, size_t tokens, struct rlhf_error *err)
{
    struct rollouts *r = &p->r;
    struct minibatch *mb = &p->mb;
    float *a, *b;

    if (tokens <= r->token_capacity)
        return 0;
    a = calloc(6 * tokens, sizeof *a);
    b = calloc(6 * tokens, sizeof *b);
    if (!a || !b) {
        free(a), free(b);
        return rlhf_fail(err, RLHF_FULL, "out of memory for an iteration of %zu tokens", tokens);
    }
    free(r->logprob_old), free(mb->logprob_old);
    r->logprob_old = a;
    r->logprob_ref = a + tokens;
    r->value = a + 2 * tokens;
    r->reward = a + 3 * tokens;
    r->advantage = a + 4 * tokens;
    r->ret = a + 5 * tokens;
    mb->logprob_old = b;
    mb->value = b + tokens;
    mb->advantage = b + 2 * tokens;
    mb->ret = b + 3 * tokens;
    mb->now = b + 4 * tokens;
    mb->slope = b + 5 * tokens;
    r->token_capacity = tokens;
    return 0;
}

static int load_models(struct ppo *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    const char *from = rlhf_stage_from(w->t->run, w->index);
    struct rlhf_model *reference;
    int rc;

    if (!(p->policy = learner_load_model(w, from, RLHF_HEAD_LM, err)) ||
        !(p->critic = learner_load_model(w, p->settings->reward_model, RLHF_HEAD_SCALAR, err)) ||
        learner_publish(w, LEARNER_NAME_REWARD_MODEL, 0, p->critic, &p->reward_model, err) < 0 ||
        !(reference = learner_load_model(w, p->settings->reference ?: from, RLHF_HEAD_LM, err)))
        return -1;
    rc = learner_publish(w, LEARNER_NAME_REFERENCE, 0, reference, &p->reference, err);
    rlhf_model_free(reference);
    return rc;
}

static int ppo_init(struct ppo *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    const struct rlhf_stage_policy *s = p->settings;
    size_t count = per_iteration(s);
    uint32_t context;

    if (load_models(p, err) < 0)
        return -1;
    context = rlhf_model_get_config(p->policy)->context;
    if (rlhf_model_get_config(p->critic)->context < context)
        context = rlhf_model_get_config(p->critic)->context;
    p->jobs = calloc(count, sizeof *p->jobs);
    p->score_jobs = calloc(count, sizeof *p->score_jobs);
    p->shuffled = calloc(count, sizeof *p->shuffled);
    p->r.items = calloc(count, sizeof *p->r.items);
    p->r.start = calloc(count + 1, sizeof *p->r.start);
    p->r.score = calloc(count, sizeof *p->r.score);
    p->r.kl = calloc(count, sizeof *p->r.kl);
    p->mb.items = calloc((size_t)s->minibatch, sizeof *p->mb.items);
    if (!p->jobs || !p->score_jobs || !p->shuffled || !p->r.items || !p->r.start || !p->r.score || !p->r.kl ||
        !p->mb.items)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions an iteration", count);
    if (learner_read_prompts(w, s->prompts, context, s->sampling.max_new_tokens, 0, &p->prompts,
                             &p->prompt_count, err) < 0 ||
        learner_order_init(&p->order, (uint64_t)w->t->run->run.seed, w->key, p->prompt_count, err) < 0 ||
        learner_compute_init(&p->policy_pass, rlhf_model_get_config(p->policy), w->t->pool, true, err) < 0 ||
        learner_compute_init(&p->critic_pass, rlhf_model_get_config(p->critic), w->t->pool, true, err) < 0 ||
        learner_optimizer_init_adapter(&p->policy_optimizer, w, p->policy, p->policy_pass.pass, &s->optimizer,
                                       s->adapter, (uint64_t)s->iterations, err) < 0 ||
        learner_optimizer_init(&p->critic_optimizer, p->critic, &s->value_optimizer, (uint64_t)s->iterations,
                               w->t->pool, err) < 0)
        return -1;
    return s->mix.weight > 0
               ? learner_windows_init(&p->mix, w, &s->mix.data, s->mix.window, s->mix.windows, MIX_SALT, err)
               : 0;
}

/* ---- rollouts ---------------------------------------------------------------------------------------- */

/* Iteration n takes the next prompts of the order; a completion's sampling key is its place in the stage. */
static void make_jobs(struct ppo *p, struct rlhf_digest weights)
{
    const struct rlhf_sequences *q = &p->prompts.sequences;
    uint64_t first = p->w->step * (uint64_t)p->settings->prompts_per_iteration;
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

static int gather(struct ppo *p, const struct learner_answer *answer, struct rlhf_error *err)
{
    struct rollouts *r = &p->r;
    size_t at = 0;

    rlhf_tokens_clear(&r->ids);
    r->count = answer->count;
    r->tokens = 0;
    r->start[0] = 0;
    for (size_t i = 0; i < r->count; i++) {
        if (rlhf_tokens_append(&r->ids, p->jobs[i].prompt_ids, p->jobs[i].prompt_count, err) < 0 ||
            rlhf_tokens_append(&r->ids, answer->rollouts[i].ids, answer->rollouts[i].count, err) < 0)
            return -1;
        r->tokens += answer->rollouts[i].count;
        r->start[i + 1] = (uint32_t)r->tokens;
    }
    if (reserve_tokens(p, r->tokens, err) < 0)
        return -1;
    for (size_t i = 0; i < r->count; i++) { /* ids has stopped moving */
        uint32_t prompt = p->jobs[i].prompt_count, count = prompt + answer->rollouts[i].count;
        r->items[i] = (struct learner_item){.ids = r->ids.data + at, .count = count, .first = prompt};
        p->score_jobs[i] =
            (struct learner_score_job){.ids = r->items[i].ids, .count = count, .prompt_count = prompt};
        memcpy(r->logprob_old + r->start[i], answer->rollouts[i].logprob,
               answer->rollouts[i].count * sizeof(float));
        at += count;
    }
    return 0;
}

/* out[T of items]: the values the pass left at predicted positions, in order. */
static size_t pick(const struct learner_batch *b, const float *from, float *out)
{
    size_t n = 0;

    for (size_t t = 0; t < b->tokens.size; t++)
        if (b->target[t] >= 0)
            out[n++] = from[t];
    return n;
}

/* Log-probs of the items' predicted tokens at a temperature, packed. */
static int policy_logprobs(struct ppo *p, const struct learner_item *items, size_t count, float temperature,
                           float *out, struct rlhf_error *err)
{
    struct learner_batch *b = &p->policy_pass.batch;

    for (size_t i = 0; i < count;) {
        if ((i = learner_compute_forward(&p->policy_pass, p->policy, items, i, count, err)) == 0 ||
            rlhf_pass_logprobs(p->policy_pass.pass, p->policy, b->target, temperature, b->value, NULL, err) <
                0)
            return -1;
        out += pick(b, b->value, out);
    }
    return 0;
}

/* The learner and the samplers must run one model, to the bit; a sample of every iteration shows it. */
static int verify(struct ppo *p, const struct learner_answer *answer, struct rlhf_error *err)
{
    size_t count = p->r.count, wanted = (size_t)p->w->t->run->learner.verify_tokens;
    size_t from = (size_t)(p->w->step * 7919 % count), to = from, tokens = 0;
    float *again = p->mb.now;
    int rc;

    while (to < count && tokens < wanted)
        tokens += answer->rollouts[to++].count;
    if (tokens == 0)
        return 0;
    rc = policy_logprobs(p, p->r.items + from, to - from, 1, again, err);
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
static int record(struct ppo *p, struct rlhf_error *err)
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

/* Completions of this policy and their scores. *rewards: the reward model's mean. */
static int roll_out(struct ppo *p, json_t *metrics, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct learner_answer completions = {0}, scores = {0};
    struct rlhf_digest weights;
    double reward = 0, ended = 0;
    int rc = -1;

    if (learner_publish(p->w, LEARNER_NAME_POLICY, p->w->step, p->policy, &weights, err) < 0)
        return -1;
    make_jobs(p, weights);
    if (learner_generate(p->w, p->jobs, per_iteration(s), &s->sampling, &p->sampling, RLHF_PURPOSE_SAMPLE,
                         &completions,
                         err) < 0 ||
        gather(p, &completions, err) < 0 || verify(p, &completions, err) < 0)
        goto out;
    /* The ratio compares whole distributions; a truncated one would make it meaningless. */
    if (!learner_sampling_whole(&p->sampling) &&
        policy_logprobs(p, p->r.items, p->r.count, p->sampling.temperature, p->r.logprob_old, err) < 0)
        goto out;
    if (learner_score(p->w, p->score_jobs, p->r.count, p->reward_model, p->reference, p->sampling.temperature,
                      &scores, err) < 0)
        goto out;
    for (size_t i = 0; i < p->r.count; i++) {
        bool replace = s->penalize_missing_end && !completions.rollouts[i].ended;
        p->r.score[i] = replace ? (float)s->missing_end_reward : scores.scores[i].reward;
        memcpy(p->r.logprob_ref + p->r.start[i], scores.scores[i].logprob_ref,
               completions.rollouts[i].count * sizeof(float));
        reward += scores.scores[i].reward / (double)p->r.count;
        ended += completions.rollouts[i].ended / (double)p->r.count;
    }
    learner_metric(metrics, "reward", reward);
    learner_metric(metrics, "ended", ended);
    learner_metric(metrics, "length", (double)p->r.tokens / (double)p->r.count);
    rc = record(p, err);
out:
    learner_answer_free(&completions);
    learner_answer_free(&scores);
    return rc;
}

/* ---- advantages -------------------------------------------------------------------------------------- */

static int critic_values(struct ppo *p, struct rlhf_error *err)
{
    struct learner_batch *b = &p->critic_pass.batch;
    float *out = p->r.value;

    for (size_t i = 0; i < p->r.count;) {
        if ((i = learner_compute_forward(&p->critic_pass, p->critic, p->r.items, i, p->r.count, err)) == 0 ||
            rlhf_pass_scalars(p->critic_pass.pass, p->critic, b->value, err) < 0)
            return -1;
        out += pick(b, b->value, out);
    }
    return 0;
}

/* *finite is false when anything that training would use is not. */
static int advantages(struct ppo *p, json_t *metrics, double *kl, bool *finite, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct rollouts *r = &p->r;
    const struct rlhf_ragged completions = {r->start, r->count};
    double score = 0;

    if (critic_values(p, err) < 0)
        return -1;
    rlhf_kl_rewards(RLHF_KL_K1, &completions, r->logprob_old, r->logprob_ref, r->score, s->kl_coefficient,
                    r->reward, r->kl);
    if (s->whiten_rewards)
        rlhf_whiten(r->reward, r->tokens, true);
    rlhf_gae(&completions, r->reward, r->value, s->discount, s->gae_lambda, r->advantage, r->ret);
    if (s->whiten_advantages)
        rlhf_whiten(r->advantage, r->tokens, false);
    *finite = rlhf_all_finite(r->advantage, r->tokens) && rlhf_all_finite(r->ret, r->tokens);
    *kl = 0;
    for (size_t i = 0; i < r->count; i++) {
        *kl += r->kl[i] / (double)r->count;
        score += r->score[i] / (double)r->count;
    }
    learner_metric(metrics, "kl", *kl);
    learner_metric(metrics, "score", score);
    learner_metric(metrics, "explained_variance", rlhf_explained_variance(r->value, r->ret, r->tokens));
    return 0;
}

/* ---- updates ----------------------------------------------------------------------------------------- */

/* Copies the packed arrays of completions index[0 .. count) behind each other. Returns their tokens. */
static size_t gather_minibatch(struct ppo *p, const uint32_t *index, size_t count)
{
    const struct rollouts *r = &p->r;
    struct minibatch *mb = &p->mb;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t from = r->start[index[i]], size = r->start[index[i] + 1] - from;
        mb->items[i] = r->items[index[i]];
        memcpy(mb->logprob_old + n, r->logprob_old + from, size * sizeof(float));
        memcpy(mb->value + n, r->value + from, size * sizeof(float));
        memcpy(mb->advantage + n, r->advantage + from, size * sizeof(float));
        memcpy(mb->ret + n, r->ret + from, size * sizeof(float));
        n += size;
    }
    return n;
}

/* The derivatives of packed completion tokens back to their positions. */
static void spread(struct learner_batch *b, const float *slope)
{
    size_t n = 0;

    for (size_t t = 0; t < b->tokens.size; t++)
        b->slope[t] = b->target[t] >= 0 ? slope[n++] : 0;
}

static int policy_gradient(struct ppo *p, size_t count, size_t tokens, struct rlhf_ppo_statistics *s,
                           double *entropy, struct rlhf_error *err)
{
    struct learner_batch *b = &p->policy_pass.batch;
    struct minibatch *mb = &p->mb;
    double weight = 1 / (double)tokens;
    size_t at = 0;

    for (size_t i = 0; i < count;) {
        size_t n;
        if ((i = learner_compute_forward(&p->policy_pass, p->policy, mb->items, i, count, err)) == 0 ||
            rlhf_pass_logprobs(p->policy_pass.pass, p->policy, b->target, p->sampling.temperature, b->value,
                               b->entropy, err) < 0)
            return -1;
        n = pick(b, b->value, mb->now);
        rlhf_ppo_policy(mb->now, mb->logprob_old + at, mb->advantage + at, n, p->settings->clip, weight,
                        mb->slope, s);
        for (size_t t = 0; t < b->tokens.size; t++)
            *entropy += b->target[t] >= 0 ? weight * b->entropy[t] : 0;
        spread(b, mb->slope);
        if (rlhf_pass_backward_logprobs(p->policy_pass.pass, p->policy, b->slope, NULL,
                                        learner_optimizer_grad(&p->policy_optimizer), err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

static int critic_gradient(struct ppo *p, size_t count, size_t tokens, struct rlhf_ppo_statistics *s,
                           struct rlhf_error *err)
{
    struct learner_batch *b = &p->critic_pass.batch;
    struct minibatch *mb = &p->mb;
    double weight = 1 / (double)tokens;
    size_t at = 0;

    for (size_t i = 0; i < count;) {
        size_t n;
        if ((i = learner_compute_forward(&p->critic_pass, p->critic, mb->items, i, count, err)) == 0 ||
            rlhf_pass_scalars(p->critic_pass.pass, p->critic, b->value, err) < 0)
            return -1;
        n = pick(b, b->value, mb->now);
        rlhf_ppo_value(mb->now, mb->value + at, mb->ret + at, n, p->settings->value_clip, weight,
                       mb->slope, s);
        spread(b, mb->slope);
        if (rlhf_pass_backward_scalars(p->critic_pass.pass, p->critic, b->slope, p->critic_optimizer.grad,
                                       err) < 0)
            return -1;
        at += n;
    }
    return 0;
}

static void add_statistics(struct rlhf_ppo_statistics *sum, const struct rlhf_ppo_statistics *one)
{
    sum->loss += one->loss;
    sum->clip_fraction += one->clip_fraction;
    sum->ratio += one->ratio;
    sum->kl_k1 += one->kl_k1;
    sum->kl_k2 += one->kl_k2;
    sum->kl_k3 += one->kl_k3;
}

static int update(struct ppo *p, const uint32_t *index, size_t count, struct statistics *s, bool *finite,
                  struct rlhf_error *err)
{
    struct rlhf_ppo_statistics policy = {0}, value = {0};
    size_t tokens = gather_minibatch(p, index, count);
    const struct rlhf_run_mix *mix = &p->settings->mix;
    double mix_loss = 0;
    bool policy_updated, critic_updated;

    if (policy_gradient(p, count, tokens, &policy, &s->entropy, err) < 0 ||
        critic_gradient(p, count, tokens, &value, err) < 0)
        return -1;
    if (mix->weight > 0) {
        uint64_t per_epoch = (per_iteration(p->settings) + (size_t)p->settings->minibatch - 1) /
                             (size_t)p->settings->minibatch;
        uint64_t number = p->w->step * per_epoch * (uint64_t)p->settings->inner_epochs + s->updates;
        const struct learner_item *windows = learner_windows_at(&p->mix, number);
        for (size_t i = 0; i < p->mix.per_step; i++)
            p->w->tokens += windows[i].count;
        if (learner_lm_gradient(&p->policy_pass, p->policy, windows, p->mix.per_step, mix->weight,
                                learner_optimizer_grad(&p->policy_optimizer), &mix_loss, err) < 0)
            return -1;
    }
    learner_optimizer_step(&p->policy_optimizer, p->w->step, policy.loss + mix_loss, &policy_updated);
    learner_optimizer_step(&p->critic_optimizer, p->w->step, value.loss, &critic_updated);
    *finite = *finite && policy_updated && critic_updated;
    add_statistics(&s->policy, &policy);
    add_statistics(&s->value, &value);
    s->mix_loss += mix_loss;
    s->norm += p->policy_optimizer.norm;
    s->value_norm += p->critic_optimizer.norm;
    s->updates++;
    return 0;
}

static int updates(struct ppo *p, struct statistics *s, bool *finite, struct rlhf_error *err)
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

static void report(struct ppo *p, json_t *metrics, const struct statistics *s)
{
    double n = (double)(s->updates ? s->updates : 1);

    learner_metric(metrics, "entropy", s->entropy / n);
    learner_metric(metrics, "policy_loss", s->policy.loss / n);
    learner_metric(metrics, "value_loss", s->value.loss / n);
    learner_metric(metrics, "clip_fraction", s->policy.clip_fraction / n);
    learner_metric(metrics, "value_clip_fraction", s->value.clip_fraction / n);
    learner_metric(metrics, "ratio", s->policy.ratio / n);
    learner_metric(metrics, "approx_kl", s->policy.kl_k3 / n);
    if (p->settings->mix.weight > 0)
        learner_metric(metrics, "mix_loss", s->mix_loss / n);
    learner_metric(metrics, "grad_norm", s->norm / n);
    learner_metric(metrics, "value_grad_norm", s->value_norm / n);
    learner_metric(metrics, "learning_rate", p->policy_optimizer.rate);
    learner_metric(metrics, "value_learning_rate", p->critic_optimizer.rate);
}

/* ---- the iterations ---------------------------------------------------------------------------------- */

static int iterate(struct ppo *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    json_t *metrics = learner_metrics_new(w);
    struct statistics s = {0};
    double kl = 0, reward;
    bool finite = true;

    if (!metrics)
        return rlhf_fail(err, RLHF_FULL, "out of memory for metrics");
    if (roll_out(p, metrics, err) < 0 || advantages(p, metrics, &kl, &finite, err) < 0) {
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
    w->tokens += p->r.ids.size;
    if (finite && updates(p, &s, &finite, err) < 0) {
        json_decref(metrics);
        return -1;
    }
    report(p, metrics, &s);
    learner_metric(metrics, "skipped", (double)w->skipped + !finite);
    reward = json_number_value(json_object_get(metrics, "reward"));
    if (learner_metrics_write(w, metrics, err) < 0 || learner_count_step(w, finite, err) < 0)
        return -1;
    w->step++;
    learner_progress(w, "reward %.2f kl %.2f", reward, kl);
    return 0;
}

static int run(struct ppo *p, struct rlhf_error *err)
{
    struct learner_work *w = p->w;
    struct learner_optimizer *a = &p->policy_optimizer, *c = &p->critic_optimizer;
    const struct learner_block blocks[] = {
        {"policy.weights", a->param, a->count * sizeof(float)},
        {"policy.moment1", a->m, a->count * sizeof(float)},
        {"policy.moment2", a->v, a->count * sizeof(float)},
        {"policy.updates", &a->updates, sizeof a->updates},
        {"critic.weights", c->param, c->count * sizeof(float)},
        {"critic.moment1", c->m, c->count * sizeof(float)},
        {"critic.moment2", c->v, c->count * sizeof(float)},
        {"critic.updates", &c->updates, sizeof c->updates},
    };
    enum { BLOCKS = sizeof blocks / sizeof *blocks };
    uint64_t every = (uint64_t)p->settings->checkpoint_every, saved;

    w->steps = (uint64_t)p->settings->iterations;
    if (learner_state_load(w, blocks, BLOCKS, err) < 0)
        return -1;
    learner_optimizer_changed(a);
    learner_optimizer_changed(c);
    saved = w->step;
    while (w->step < w->steps) {
        struct rlhf_error why = {0};
        bool stopping = learner_stopping(w);
        int rc = stopping ? learner_stopped(&why) : 0;
        if (!stopping && w->step > saved && (learner_state_due(w) || (every && w->step % every == 0))) {
            if (learner_state_save(w, blocks, BLOCKS, err) < 0)
                return -1;
            saved = w->step;
        }
        if (rc == 0 && iterate(p, &why) == 0)
            continue;
        /* Nothing is asked once updating has begun, so weights and step still belong together. */
        if (why.code == RLHF_AGAIN && w->step > saved && learner_state_save(w, blocks, BLOCKS, err) < 0)
            return -1;
        if (err)
            *err = why;
        return -1;
    }
    return learner_adapter_save(w, a, err) < 0 ? -1 : learner_save_model(w, p->policy, err);
}

int learner_policy(struct learner_work *w, struct rlhf_error *err)
{
    struct ppo p = {
        .w = w, .settings = w->stage->policy, .sampling = learner_sampling(&w->stage->policy->sampling)};
    int rc = ppo_init(&p, err) < 0 || run(&p, err) < 0 ? -1 : 0;

    ppo_free(&p);
    return rc;
}
