/* train_choose.c - which of a collect stage's candidates people are asked about: a random share, and the most informative.
 *
 * A candidate is a prompt with its completions. The random share is drawn first and from all of them, so what is measured on it
 * alone is measured without bias; the rest go by what the reward models say: where they disagree most about what a completion
 * is worth, and where one scores high although it lies far from the reference, which is where a policy exploits its reward
 * model. Every task says by which rule it was chosen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/train_parts.h"
#include "telemetry/log.h"

enum { CHOICE_SALT = 0x63686f00 };

enum rule { NOT_CHOSEN, RANDOM, DISAGREEMENT, REWARD_KL, RULES };
static const char *const rule_names[RULES] = {"", "random", "disagreement", "reward_kl"};

struct choice {
    struct learner_work *w;
    const struct rlhf_run_choice *settings;
    json_t *tasks; /* candidates */
    size_t count, completions;
    size_t *task_of;                /* [completions] */
    double *logprob;                /* [completions] under the policy that wrote it */
    struct learner_score_job *jobs; /* [completions] */
    int32_t *ids;                   /* what they point into */
    double *reward, *square, *kl;   /* [completions] sums over the models: of rewards, of their squares; nats */
    enum rule *rule;                /* [count] */
};

static void choice_free(struct choice *s)
{
    free(s->task_of), free(s->logprob), free(s->jobs), free(s->ids), free(s->reward), free(s->square), free(s->kl);
    free(s->rule);
}

static size_t copy_ids(const json_t *from, int32_t *to)
{
    for (size_t i = 0; i < json_array_size(from); i++)
        to[i] = (int32_t)json_integer_value(json_array_get(from, i));
    return json_array_size(from);
}

/* Counts completions and their tokens; the caller then allocates. */
static size_t measure(struct choice *s)
{
    size_t tokens = 0;

    for (size_t t = 0; t < s->count; t++) {
        const json_t *task = json_array_get(s->tasks, t), *list = json_object_get(task, "completions");
        for (size_t k = 0; k < json_array_size(list); k++, s->completions++)
            tokens += json_array_size(json_object_get(task, "prompt_ids")) +
                      json_array_size(json_object_get(json_array_get(list, k), "ids"));
    }
    return tokens;
}

static int make_jobs(struct choice *s, struct rlhf_error *err)
{
    size_t tokens = measure(s), at = 0, n = 0, size = s->completions + 1;

    s->task_of = calloc(size, sizeof *s->task_of);
    s->logprob = calloc(size, sizeof *s->logprob);
    s->jobs = calloc(size, sizeof *s->jobs);
    s->ids = calloc(tokens + 1, sizeof *s->ids);
    s->reward = calloc(size, sizeof *s->reward);
    s->square = calloc(size, sizeof *s->square);
    s->kl = calloc(size, sizeof *s->kl);
    s->rule = calloc(s->count + 1, sizeof *s->rule);
    if (!s->task_of || !s->logprob || !s->jobs || !s->ids || !s->reward || !s->square || !s->kl || !s->rule)
        return rlhf_fail(err, RLHF_FULL, "out of memory to choose from %zu completions", s->completions);
    for (size_t t = 0; t < s->count; t++) {
        const json_t *task = json_array_get(s->tasks, t), *list = json_object_get(task, "completions");
        for (size_t k = 0; k < json_array_size(list); k++, n++) {
            const json_t *entry = json_array_get(list, k);
            size_t prompt = copy_ids(json_object_get(task, "prompt_ids"), s->ids + at);
            size_t count = prompt + copy_ids(json_object_get(entry, "ids"), s->ids + at + prompt);
            s->task_of[n] = t;
            s->logprob[n] = json_number_value(json_object_get(entry, "logprob"));
            s->jobs[n] = (struct learner_score_job){
                .ids = s->ids + at, .count = (uint32_t)count, .prompt_count = (uint32_t)prompt};
            at += count;
        }
    }
    return 0;
}

/* ---- what the models say ----------------------------------------------------------------------------- */

static int publish(struct choice *s, const char *stage, enum rlhf_head head, enum learner_name name, struct rlhf_digest *digest,
                   struct rlhf_error *err)
{
    struct rlhf_model *m = learner_load_model(s->w, stage, head, err);
    int rc = m ? learner_publish(s->w, name, 0, m, digest, err) : -1;

    rlhf_model_free(m);
    return rc;
}

/* One model's rewards; with the first, log-probs under the reference. */
static int score(struct choice *s, size_t model, float temperature, struct rlhf_error *err)
{
    const struct rlhf_run_choice *settings = s->settings;
    struct rlhf_digest reward_model, reference = {0};
    struct learner_answer a = {0};

    if (publish(s, settings->reward_models.items[model], RLHF_HEAD_SCALAR, LEARNER_NAME_REWARD_MODEL, &reward_model, err) < 0 ||
        (model == 0 && settings->reference &&
         publish(s, settings->reference, RLHF_HEAD_LM, LEARNER_NAME_REFERENCE, &reference, err) < 0) ||
        learner_score(s->w, s->jobs, s->completions, reward_model, reference, temperature, &a, err) < 0)
        return -1;
    for (size_t i = 0; i < s->completions; i++) {
        double reward = a.scores[i].reward;
        s->reward[i] += reward; /* NaN where it is missing: such a completion is chosen by chance only */
        s->square[i] += reward * reward;
        for (uint32_t t = 0; a.scores[i].logprob_ref && t < s->jobs[i].count - s->jobs[i].prompt_count; t++)
            s->kl[i] -= a.scores[i].logprob_ref[t];
        s->kl[i] += model == 0 ? s->logprob[i] : 0;
    }
    learner_answer_free(&a);
    return 0;
}

/* In units of its standard deviation over all completions, from its mean. */
static void standardize(double *x, size_t count)
{
    double sum = 0, square = 0, n = 0, mean, deviation;

    for (size_t i = 0; i < count; i++)
        if (isfinite(x[i]))
            sum += x[i], square += x[i] * x[i], n++;
    mean = n > 0 ? sum / n : 0;
    deviation = n > 0 ? sqrt(fmax(0, square / n - mean * mean)) : 0;
    for (size_t i = 0; i < count; i++)
        x[i] = (x[i] - mean) / (deviation > 0 ? deviation : 1); /* what is missing stays so */
}

/* worth[task] by a rule: the mean deviation of the models from each other; the completion of the largest reward and KL. */
static void weigh(const struct choice *s, enum rule rule, double *worth)
{
    double models = (double)s->settings->reward_models.count;

    for (size_t t = 0; t < s->count; t++)
        worth[t] = rule == REWARD_KL ? -INFINITY : 0;
    for (size_t i = 0; i < s->completions; i++) {
        size_t t = s->task_of[i];
        const json_t *list = json_object_get(json_array_get(s->tasks, t), "completions");
        double mean = s->reward[i] / models, deviation = sqrt(fmax(0, s->square[i] / models - mean * mean));
        if (rule == DISAGREEMENT)
            worth[t] += (isfinite(deviation) ? deviation : 0) / (double)json_array_size(list);
    }
}

static int weigh_reward_kl(const struct choice *s, double *worth, struct rlhf_error *err)
{
    double *reward = malloc((s->completions + 1) * sizeof *reward), *kl = malloc((s->completions + 1) * sizeof *kl);

    if (!reward || !kl) {
        free(reward), free(kl);
        return rlhf_fail(err, RLHF_FULL, "out of memory to choose from %zu completions", s->completions);
    }
    memcpy(reward, s->reward, s->completions * sizeof *reward);
    memcpy(kl, s->kl, s->completions * sizeof *kl);
    standardize(reward, s->completions);
    standardize(kl, s->completions);
    for (size_t i = 0; i < s->completions; i++)
        if (isfinite(reward[i] + kl[i]) && reward[i] + kl[i] > worth[s->task_of[i]])
            worth[s->task_of[i]] = reward[i] + kl[i];
    free(reward), free(kl);
    return 0;
}

/* ---- choosing ---------------------------------------------------------------------------------------- */

static int choose_random(struct choice *s, size_t wanted, struct rlhf_error *err)
{
    uint32_t *order = malloc((s->count + 1) * sizeof *order);
    struct rlhf_random random;

    if (!order)
        return rlhf_fail(err, RLHF_FULL, "out of memory to choose from %zu tasks", s->count);
    for (uint32_t t = 0; t < s->count; t++)
        order[t] = t;
    rlhf_random_init(&random, (uint64_t)s->w->t->run->run.seed, RLHF_PURPOSE_SHUFFLE, s->w->key ^ CHOICE_SALT, 0);
    rlhf_random_shuffle(&random, order, s->count);
    for (size_t i = 0; i < wanted; i++)
        s->rule[order[i]] = RANDOM;
    free(order);
    return 0;
}

/* The tasks of the largest worth that are not chosen yet; of equals the first. */
static int choose_worth(struct choice *s, enum rule rule, size_t wanted, struct rlhf_error *err)
{
    double *worth = malloc((s->count + 1) * sizeof *worth);
    int rc = worth ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory to choose from %zu tasks", s->count);

    if (rc == 0 && wanted > 0) {
        weigh(s, rule, worth);
        if (rule == REWARD_KL)
            rc = weigh_reward_kl(s, worth, err);
    }
    for (size_t n = 0; rc == 0 && n < wanted; n++) {
        size_t best = s->count;
        for (size_t t = 0; t < s->count; t++)
            if (s->rule[t] == NOT_CHOSEN && (best == s->count || worth[t] > worth[best]))
                best = t;
        s->rule[best] = rule;
    }
    free(worth);
    return rc;
}

/* Leaves in *tasks the chosen ones, in their order, each with its rule. */
static int keep(struct choice *s, json_t **tasks, struct rlhf_error *err)
{
    json_t *kept = json_array();
    size_t by[RULES] = {0};

    for (size_t t = 0; kept && t < s->count; t++) {
        json_t *task = json_array_get(s->tasks, t);
        by[s->rule[t]]++;
        if (s->rule[t] == NOT_CHOSEN)
            continue;
        if (json_object_set_new(task, "chosen_by", json_string(rule_names[s->rule[t]])) < 0 || json_array_append(kept, task) < 0) {
            json_decref(kept);
            kept = NULL;
        }
    }
    if (!kept)
        return rlhf_fail(err, RLHF_FULL, "out of memory for the chosen tasks");
    rlhf_log(RLHF_LEVEL_INFO, "tasks-chosen stage=%s candidates=%zu random=%zu disagreement=%zu reward_kl=%zu", s->w->name,
             s->count, by[RANDOM], by[DISAGREEMENT], by[REWARD_KL]);
    json_decref(*tasks);
    *tasks = kept;
    return 0;
}

int learner_choose(struct learner_work *w, json_t **tasks, float temperature, struct rlhf_error *err)
{
    const struct rlhf_stage_collect *c = w->stage->collect;
    struct choice s = {.w = w, .settings = c->select, .tasks = *tasks, .count = json_array_size(*tasks)};
    size_t wanted = (size_t)c->count < s.count ? (size_t)c->count : s.count;
    size_t disagreement = (size_t)lround(c->select->disagreement * (double)wanted);
    size_t reward_kl = (size_t)lround(c->select->reward_kl * (double)wanted);
    int rc = make_jobs(&s, err);

    if (disagreement + reward_kl > wanted)
        reward_kl = wanted - disagreement;
    learner_progress(w, "choosing %zu of %zu tasks", wanted, s.count);
    for (size_t m = 0; rc == 0 && m < c->select->reward_models.count; m++)
        rc = score(&s, m, temperature, err);
    if (rc == 0)
        rc = choose_random(&s, wanted - disagreement - reward_kl, err) < 0 ||
                     choose_worth(&s, DISAGREEMENT, disagreement, err) < 0 ||
                     choose_worth(&s, REWARD_KL, reward_kl, err) < 0 || keep(&s, tasks, err) < 0
                 ? -1
                 : 0;
    choice_free(&s);
    return rc;
}
