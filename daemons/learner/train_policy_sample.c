/* train_policy_sample.c - an iteration's completions and what they are worth. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_policy.h"
#include "rl/group.h"
#include "rl/reward.h"
#include "telemetry/log.h"

/* What was sampled in an iteration, kept or not. */
struct sampled {
    double count, scored, reward, ended, tokens;
    double deviation; /* of an ensemble's models from each other */
};

/* Where in the order the prompts of a round of batch `step` begin; a completion's sampling key is its place in the
 * stage. */
static uint64_t first_place(const struct learner_policy *p, uint64_t step, uint64_t round)
{
    return (step * learner_policy_rounds(p->settings) + round) * (uint64_t)p->settings->prompts_per_iteration;
}

void learner_policy_jobs(struct learner_policy *p, struct rlhf_digest weights, uint64_t step, uint64_t round)
{
    const struct rlhf_sequences *q = &p->prompts.sequences;
    uint64_t first = first_place(p, step, round);
    uint32_t samples = (uint32_t)p->settings->samples;

    for (size_t i = 0; i < learner_policy_per_iteration(p->settings); i++) {
        uint64_t place = first + i / samples;
        uint32_t at = learner_order_at(&p->order, place), sample = (uint32_t)(i % samples);
        p->jobs[i] = (struct learner_generate_job){.step = (uint32_t)step,
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
static int gather(struct learner_policy *p, const struct learner_answer *answer, struct rlhf_error *err)
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
        p->prompt_text[i] = p->prompts.text[p->jobs[i].prompt];
        p->answer[i] = p->prompts.expected[p->jobs[i].prompt];
    }
    return learner_policy_reserve(p, err);
}

/* Log-probs of the items' predicted tokens under a policy at a temperature, packed. */
static int policy_logprobs(struct learner_policy *p, const struct rlhf_model *policy, const struct learner_item *items, size_t count, float temperature,
                           float *out, struct rlhf_error *err)
{
    struct learner_batch *b = &p->policy_pass.batch;

    for (size_t i = 0; i < count;) {
        if ((i = learner_compute_forward(&p->policy_pass, policy, items, i, count, err)) == 0 ||
            rlhf_pass_logprobs(p->policy_pass.pass, policy, b->target, temperature, b->value, NULL, err) <
                0)
            return -1;
        out += learner_batch_pick(b, b->value, out);
    }
    return 0;
}

/* The policy that samples. */
static const struct rlhf_model *behaviour(const struct learner_policy *p)
{
    return p->lag.behaviour ? p->lag.behaviour : p->policy;
}

/* The learner and the samplers must run one model, to the bit; a sample of every iteration shows it. */
static int verify(struct learner_policy *p, const struct learner_answer *answer, struct rlhf_error *err)
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
    rc = policy_logprobs(p, behaviour(p), items + from, to - from, 1, again, err);
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
static int record(struct learner_policy *p, struct rlhf_error *err)
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

/* Rewards of the completions from `before` on and, from the first model's answer (of none, where there is none), their
 * reference log-probs. */
static int score(struct learner_policy *p, size_t before, uint64_t round, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;
    size_t count = r->count - before, models = p->reward_models;
    const float *each[RLHF_RUN_ENSEMBLE];

    for (size_t m = 0; m < models || m == 0; m++) {
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
    return learner_sources_reward(&p->sources, p->score_jobs, count, p->prompt_text, p->answer, p->rewards + models * count,
                                  p->w->step, round, r->score + before, err);
}

/* What the algorithm is given for the completions from `before` on. */
static void take_scores(struct learner_policy *p, size_t before, struct sampled *sum)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct learner_rollouts *r = &p->r;
    size_t count = r->count - before, models = p->reward_models;

    for (size_t i = before; i < r->count; i++) {
        const float *one = p->rewards + (i - before);
        float reward = r->score[i], deviation = one[(models + 1) * count] - one[(models + 2) * count];
        size_t tokens = r->start[i + 1] - r->start[i];

        if (s->penalize_missing_end)
            rlhf_eos_penalty(&r->score[i], &r->ended[i], 1, s->missing_end_reward);
        if (s->overlong_cache > 0)
            r->score[i] += (float)(s->overlong_penalty * rlhf_overlong_penalty(tokens, (size_t)s->sampling.max_new_tokens,
                                                                               (size_t)s->overlong_cache));
        sum->scored += !isnan(reward);
        sum->reward += isnan(reward) ? 0 : reward;
        sum->deviation += isnan(reward) || isnan(deviation) ? 0 : deviation;
        sum->ended += r->ended[i];
        sum->tokens += (double)tokens;
    }
    sum->count += (double)count;
}

/* A round's completions; with lag those of the first were begun before. */
static int sample(struct learner_policy *p, struct rlhf_digest weights, uint64_t round, struct learner_answer *out,
                  struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;

    if (p->lag.behaviour && round == 0)
        return learner_lag_finish(p, out, err);
    learner_policy_jobs(p, weights, p->w->step, round);
    return learner_generate(p->w, p->jobs, learner_policy_per_iteration(s), &s->sampling, &p->sampling, RLHF_PURPOSE_SAMPLE, out,
                            err);
}

/* One round of prompts: their completions and what those are worth. */
static int sample_round(struct learner_policy *p, struct rlhf_digest weights, uint64_t round, struct sampled *sum,
                        struct rlhf_error *err)
{
    struct learner_answer completions = {0};
    struct learner_rollouts *r = &p->r;
    size_t before = r->count;
    int rc = -1;

    if (sample(p, weights, round, &completions, err) < 0 || gather(p, &completions, err) < 0 || verify(p, &completions, err) < 0)
        goto out;
    /* The ratio compares whole distributions; a truncated one would make it meaningless. */
    if (!learner_sampling_whole(&p->sampling) &&
        policy_logprobs(p, behaviour(p), r->items + before, r->count - before, p->sampling.temperature,
                        r->logprob_old + r->start[before], err) < 0)
        goto out;
    if (score(p, before, round, err) < 0)
        goto out;
    take_scores(p, before, sum);
    rc = 0;
out:
    learner_answer_free(&completions);
    return rc;
}

/* Dynamic sampling: leaves out prompts whose rewards do not differ, and what is more than an iteration wants. */
static void filter(struct learner_policy *p)
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
static void leave_missing_out(struct learner_policy *p)
{
    for (size_t i = 0; i < p->r.count; i++)
        p->keep[i] = !isnan(p->r.score[i]);
    learner_rollouts_keep(&p->r, p->keep);
}

/* Publishes the policy that samples this batch; with lag its first round is begun, unless it was before. */
static int begin_batch(struct learner_policy *p, struct rlhf_digest *weights, struct rlhf_error *err)
{
    if (!p->lag.behaviour)
        return learner_publish(p->w, LEARNER_NAME_POLICY, p->w->step, p->policy, weights, err);
    if (!p->lag.begun && learner_lag_begin(p, p->w->step, err) < 0)
        return -1;
    *weights = p->lag.weights;
    return 0;
}

/* With lag: what the present policy gives the tokens, and the next batch begun. Nothing else is asked until that is due. */
static int look_ahead(struct learner_policy *p, json_t *metrics, struct rlhf_error *err)
{
    struct learner_rollouts *r = &p->r;

    if (!p->lag.behaviour)
        return 0;
    learner_metric(metrics, "staleness", (double)(p->w->step - p->lag.version));
    if (policy_logprobs(p, p->policy, r->items, r->count, p->sampling.temperature, r->logprob_prox, err) < 0 ||
        (p->w->step + 1 < p->w->steps && learner_lag_begin(p, p->w->step + 1, err) < 0))
        return -1;
    learner_lag_keep(p);
    return 0;
}

static void report(struct learner_policy *p, const struct sampled *sum, uint64_t rounds, json_t *metrics)
{
    learner_metric(metrics, "reward", sum->reward / sum->scored);
    learner_metric(metrics, "ended", sum->ended / sum->count);
    learner_metric(metrics, "length", sum->tokens / sum->count);
    if (p->reward_models > 1)
        learner_metric(metrics, "disagreement", sum->deviation / sum->scored);
    if (sum->scored < sum->count)
        learner_metric(metrics, "missing", sum->count - sum->scored);
    learner_sources_report(&p->sources, metrics);
    if (p->settings->dynamic_sampling > 0) {
        learner_metric(metrics, "rounds", (double)rounds);
        learner_metric(metrics, "prompts", (double)learner_rollouts_groups(&p->r).count);
    }
}

static int roll_out(struct learner_policy *p, json_t *metrics, bool *rewarded, struct rlhf_error *err)
{
    const struct rlhf_stage_policy *s = p->settings;
    struct sampled sum = {0};
    struct rlhf_digest weights;
    uint64_t round = 0;

    if (begin_batch(p, &weights, err) < 0)
        return -1;
    learner_rollouts_clear(&p->r);
    do {
        if (sample_round(p, weights, round, &sum, err) < 0)
            return -1;
        if (s->dynamic_sampling > 0)
            filter(p);
    } while (++round < learner_policy_rounds(s) && learner_rollouts_groups(&p->r).count < (size_t)s->prompts_per_iteration);
    *rewarded = sum.scored > 0;
    report(p, &sum, round, metrics);
    if (record(p, err) < 0)
        return -1;
    leave_missing_out(p);
    return look_ahead(p, metrics, err);
}

int learner_policy_roll_out(struct learner_policy *p, json_t *metrics, bool *rewarded, struct rlhf_error *err)
{
    learner_sources_begin(&p->sources);
    if (roll_out(p, metrics, rewarded, err) == 0)
        return 0;
    learner_sources_undo(&p->sources);
    return -1;
}
