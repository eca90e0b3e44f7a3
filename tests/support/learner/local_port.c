#include "support/learner/local_port.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reward/rules.h"

static struct rlhf_model *find(struct local_port *p, struct rlhf_digest d)
{
    for (size_t i = 0; i < LOCAL_MODELS; i++)
        if (p->models[i].model && rlhf_digest_equal(&p->models[i].digest, &d))
            return p->models[i].model;
    return NULL;
}

static int publish(struct local_port *p, const struct learner_action *a, struct learner_answer *out,
                   struct rlhf_error *err)
{
    struct rlhf_bytes config = {0}, tensors = {0};
    struct rlhf_hasher *h = rlhf_hasher_new();
    int rc = rlhf_model_write(a->model, &config, &tensors, err);

    rlhf_hasher_add(h, config.data, config.size);
    rlhf_hasher_add(h, tensors.data, tensors.size);
    out->digest = rlhf_hasher_end(h);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    if (rc < 0)
        return -1;
    p->published++;
    for (size_t d = 0; d < a->drop_count; d++)
        for (size_t i = 0; i < LOCAL_MODELS; i++)
            if (p->models[i].model && rlhf_digest_equal(&p->models[i].digest, &a->drop[d])) {
                rlhf_model_free(p->models[i].model);
                p->models[i].model = NULL;
                p->dropped++;
            }
    if (find(p, out->digest))
        return 0;
    for (size_t i = 0; i < LOCAL_MODELS; i++)
        if (!p->models[i].model) {
            p->models[i].digest = out->digest;
            p->models[i].model = rlhf_model_clone(a->model, rlhf_model_get_config(a->model)->head, 0, err);
            return p->models[i].model ? 0 : -1;
        }
    return rlhf_fail(err, RLHF_FULL, "more than %d models: are they never dropped?", LOCAL_MODELS);
}

static int generate_one(struct local_port *p, const struct learner_action *a,
                        const struct learner_generate_job *job, struct learner_rollout *r,
                        struct rlhf_error *err)
{
    struct rlhf_model *m = find(p, job->weights);
    const struct rlhf_model_config *c = m ? rlhf_model_get_config(m) : NULL;
    struct rlhf_sample_key key = {a->seed, a->purpose, job->key_prompt, job->key_sample};
    uint32_t most = a->sampling.max_new_tokens;
    struct rlhf_cache *cache;
    struct rlhf_ends ends = a->more_ends;
    struct rlhf_history history = {.prompt = job->prompt_ids, .prompt_count = job->prompt_count, .ends = ends.id};
    float *logits, *scratch;
    int rc = 0;

    if (!m)
        return rlhf_fail(err, RLHF_FATAL, "a job names weights that were not published");
    if (a->end_token >= 0)
        ends.id[ends.count++] = a->end_token;
    if (most > c->context - job->prompt_count)
        most = c->context - job->prompt_count;
    cache = rlhf_cache_new(c, 1, c->context, NULL, err);
    logits = calloc(c->vocabulary, sizeof *logits);
    scratch = calloc(2 * c->vocabulary, sizeof *scratch);
    r->ids = calloc(most, sizeof *r->ids);
    r->logprob = calloc(most, sizeof *r->logprob);
    r->logprob_raw = calloc(most, sizeof *r->logprob_raw);
    history.completion = r->ids;
    history.end_count = ends.count;
    for (uint32_t t = 0; rc == 0 && t < most && !r->ended; t++) {
        struct rlhf_extend item = {
            .slot = 0, .tokens = t ? &r->ids[t - 1] : job->prompt_ids, .count = t ? 1 : job->prompt_count};
        struct rlhf_sampled s;
        history.completion_count = t;
        rc = rlhf_cache_extend(cache, m, &item, 1, logits, err) < 0 ||
                     rlhf_sample_after(logits, c->vocabulary, &a->sampling, &history, &key, t, scratch, &s, err) < 0
                 ? -1
                 : 0;
        if (rc < 0)
            break;
        r->ids[t] = s.token;
        r->logprob[t] = s.logprob;
        r->logprob_raw[t] = s.logprob_raw;
        r->count = t + 1;
        r->ended = rlhf_ends_has(&ends, s.token);
    }
    rlhf_cache_free(cache);
    free(logits);
    free(scratch);
    return rc;
}

static int generate(struct local_port *p, const struct learner_action *a, struct learner_answer *out,
                    struct rlhf_error *err)
{
    out->rollouts = calloc(a->generate_count, sizeof *out->rollouts);
    out->count = a->generate_count;
    for (size_t i = 0; i < a->generate_count; i++)
        if (generate_one(p, a, &a->generate[i], &out->rollouts[i], err) < 0)
            return -1;
    return 0;
}

static int score_one(const struct learner_action *a, const struct learner_score_job *job,
                     struct rlhf_model *reward, struct rlhf_model *reference, struct learner_score *s,
                     struct rlhf_error *err)
{
    const uint32_t start[] = {0, job->count};
    const struct rlhf_batch batch = {.tokens = job->ids, .start = start, .sequences = 1};
    int32_t *target = calloc(job->count, sizeof *target);
    float *values = calloc(job->count, sizeof *values);
    struct rlhf_pass *pass;
    int rc = 0;

    for (uint32_t t = 0; t < job->count; t++)
        target[t] = t + 1 < job->count && t + 1 >= job->prompt_count ? job->ids[t + 1] : -1;
    if (reward) {
        pass = rlhf_pass_new(rlhf_model_get_config(reward), NULL, 0, err);
        rc = !pass || rlhf_pass_forward(pass, reward, &batch, err) < 0 ||
                     rlhf_pass_scalars(pass, reward, values, err) < 0
                 ? -1
                 : 0;
        s->reward = values[job->count - 1];
        rlhf_pass_free(pass);
    }
    if (rc == 0 && reference) {
        pass = rlhf_pass_new(rlhf_model_get_config(reference), NULL, 0, err);
        rc = !pass || rlhf_pass_forward(pass, reference, &batch, err) < 0 ||
                     rlhf_pass_logprobs(pass, reference, target, a->temperature, values, NULL, err) < 0
                 ? -1
                 : 0;
        s->logprob_ref = calloc(job->count - job->prompt_count, sizeof(float));
        memcpy(s->logprob_ref, values + job->prompt_count - 1,
               (job->count - job->prompt_count) * sizeof(float));
        rlhf_pass_free(pass);
    }
    free(target);
    free(values);
    return rc;
}

/* Rules as a scorer computes them; services and judges as the test says. */
static int score_by_source(struct local_port *p, const struct learner_action *a, struct learner_answer *out,
                           struct rlhf_error *err)
{
    struct rlhf_source *s = rlhf_source_new(a->source, err);

    if (!s)
        return -1;
    out->scores = calloc(a->score_count, sizeof *out->scores);
    out->count = a->score_count;
    for (size_t i = 0; i < a->score_count; i++) {
        struct rlhf_error why = {0};
        float reward = !rlhf_source_is_remote(a->source->kind) ? rlhf_rule_reward(s, &a->score[i].text, &why)
                       : p->say                                ? p->say(p, a->source, &a->score[i].text)
                                                               : NAN;

        out->scores[i].missing = isnan(reward);
        out->scores[i].reward = isnan(reward) ? 0 : reward;
        if (isnan(reward))
            snprintf(out->reason, sizeof out->reason, "%s", why.code ? "a rule has none" : "nobody answers");
    }
    p->said += rlhf_source_is_remote(a->source->kind);
    rlhf_source_free(s);
    return 0;
}

static int score(struct local_port *p, const struct learner_action *a, struct learner_answer *out,
                 struct rlhf_error *err)
{
    struct rlhf_model *reward = rlhf_digest_is_zero(&a->reward_model) ? NULL : find(p, a->reward_model);
    struct rlhf_model *reference = rlhf_digest_is_zero(&a->reference) ? NULL : find(p, a->reference);

    if ((!reward && !rlhf_digest_is_zero(&a->reward_model)) ||
        (!reference && !rlhf_digest_is_zero(&a->reference)))
        return rlhf_fail(err, RLHF_FATAL, "a score job names weights that were not published");
    if (a->source)
        return score_by_source(p, a, out, err);
    out->scores = calloc(a->score_count, sizeof *out->scores);
    out->count = a->score_count;
    for (size_t i = 0; i < a->score_count; i++)
        if (score_one(a, &a->score[i], reward, reference, &out->scores[i], err) < 0)
            return -1;
    return 0;
}

static int submit(struct local_port *p, const struct learner_action *a, struct rlhf_error *err)
{
    for (size_t i = 0; i < a->task_count; i++) {
        const struct learner_task *t = &a->tasks[i];
        struct local_task *mine;
        size_t known;
        for (known = 0; known < p->task_count && strcmp(p->tasks[known].id, t->id) != 0; known++)
            ;
        if (known < p->task_count)
            continue;
        if (p->task_count == LOCAL_TASKS)
            return rlhf_fail(err, RLHF_FULL, "more than %d tasks", LOCAL_TASKS);
        p->submitted++;
        mine = &p->tasks[p->task_count++];
        *mine = (struct local_task){strdup(t->id), strdup(t->prompt), strdup(a->round),
                                    calloc(t->count, sizeof *mine->completions), t->count};
        for (size_t k = 0; k < t->count; k++)
            mine->completions[k] = strdup(t->completions[k]);
    }
    return 0;
}

/* People look at a task at once: comparison n is about task n, the completions in another order. Nobody looks at one
 * twice, so that whoever wants more than there are gets what there is, as after waiting in vain. */
static int pull(struct local_port *p, const struct learner_action *a, struct learner_answer *out)
{
    out->comparisons = calloc(p->task_count + 1, sizeof *out->comparisons);
    out->cursor = a->cursor;
    for (size_t i = a->cursor; i < p->task_count && (a->want == 0 || out->count < a->want); i++) {
        const struct local_task *t = &p->tasks[i];
        struct learner_comparison *c;
        out->cursor = i + 1;
        if (strcmp(t->round, a->round) != 0)
            continue;
        c = &out->comparisons[out->count++];
        *c = (struct learner_comparison){.sequence = i + 1,
                                         .task = strdup(t->id),
                                         .prompt = strdup(t->prompt),
                                         .completions = calloc(t->count, sizeof *c->completions),
                                         .ranks = calloc(t->count, sizeof *c->ranks),
                                         .count = t->count,
                                         .revision = 1,
                                         .labeler = strdup(i % 3 ? "ada" : "bo"),
                                         .source = strdup("api")};
        c->id = strdup(t->id);
        for (size_t k = 0; k < t->count; k++)
            c->completions[k] = strdup(t->completions[t->count - 1 - k]);
        for (size_t k = 0; k < t->count; k++) {
            c->ranks[k] = 1;
            for (size_t j = 0; j < t->count; j++)
                c->ranks[k] +=
                    p->utility(t->prompt, c->completions[j]) > p->utility(t->prompt, c->completions[k]);
        }
    }
    return 0;
}

static int ask(struct learner_port *port, const struct learner_action *a, struct learner_answer *out,
               struct rlhf_error *err)
{
    struct local_port *p = (struct local_port *)port;
    int rc = 0;

    memset(out, 0, sizeof *out);
    if (p->begun)
        return rlhf_fail(err, RLHF_FATAL, "something was asked beside what was begun");
    if (++p->asks == p->die_at)
        return rlhf_fail(err, RLHF_FATAL, "killed");
    switch (a->kind) {
    case LEARNER_PUBLISH:
        rc = publish(p, a, out, err);
        break;
    case LEARNER_GENERATE:
        rc = generate(p, a, out, err);
        break;
    case LEARNER_SCORE:
        rc = score(p, a, out, err);
        break;
    case LEARNER_SUBMIT:
        rc = submit(p, a, err);
        break;
    case LEARNER_PULL:
        rc = pull(p, a, out);
        break;
    }
    if (rc == 0 && p->spoil)
        p->spoil(p, a, out);
    if (rc < 0)
        learner_answer_free(out);
    return rc;
}

/* Answers at once and keeps the answer. */
static int begin(struct learner_port *port, const struct learner_action *a, struct rlhf_error *err)
{
    struct local_port *p = (struct local_port *)port;

    if (p->begun)
        return rlhf_fail(err, RLHF_FATAL, "a second action was begun beside one");
    if (ask(port, a, &p->later, err) < 0)
        return -1;
    p->begun = true;
    return 0;
}

static int finish(struct learner_port *port, struct learner_answer *out, struct rlhf_error *err)
{
    struct local_port *p = (struct local_port *)port;

    if (!p->begun)
        return rlhf_fail(err, RLHF_FATAL, "nothing was begun");
    *out = p->later;
    p->later = (struct learner_answer){0};
    p->begun = false;
    p->overlapped++;
    return 0;
}

static void drop(struct learner_port *port)
{
    struct local_port *p = (struct local_port *)port;

    learner_answer_free(&p->later);
    p->begun = false;
}

static void progress(struct learner_port *port, uint32_t stage, uint64_t step, uint64_t steps,
                     uint64_t tokens, const char *detail)
{
    (void)stage, (void)step, (void)steps, (void)tokens, (void)detail;
    ((struct local_port *)port)->progress++;
}

static bool stopping(struct learner_port *port)
{
    struct local_port *p = (struct local_port *)port;

    return ++p->stop_calls >= p->stop_at && p->stop_at > 0;
}

void local_port_init(struct local_port *p, double (*utility)(const char *prompt, const char *completion))
{
    memset(p, 0, sizeof *p);
    p->port = (struct learner_port){.ask = ask,
                                    .begin = begin,
                                    .finish = finish,
                                    .drop = drop,
                                    .progress = progress,
                                    .stopping = stopping};
    p->utility = utility;
}

void local_port_restart(struct local_port *p)
{
    for (size_t i = 0; i < LOCAL_MODELS; i++) {
        rlhf_model_free(p->models[i].model);
        p->models[i].model = NULL;
    }
    p->asks = p->stop_calls = 0;
}

void local_port_free(struct local_port *p)
{
    local_port_restart(p);
    for (size_t i = 0; i < p->task_count; i++) {
        struct local_task *t = &p->tasks[i];
        for (size_t k = 0; k < t->count; k++)
            free(t->completions[k]);
        free(t->completions), free(t->id), free(t->prompt), free(t->round);
    }
    memset(p, 0, sizeof *p);
}
