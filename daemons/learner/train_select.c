/* train_select.c - measuring policies of a stage, and keeping the best. */
#include "learner/train_select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/log.h"

/* ---- opening ----------------------------------------------------------------------------------------- */

static int open_validation(struct learner_select *s, struct learner_work *w, uint32_t context, struct rlhf_error *err)
{
    const struct rlhf_config_strings *files = &s->settings->validation;

    if (files->count == 0)
        return 0;
    if (!(s->validation = calloc(files->count, sizeof *s->validation)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for demonstrations");
    for (size_t i = 0; i < files->count; i++) {
        if (rlhf_read_demonstrations(files->items[i], &w->t->form, context, &s->validation[i], err) < 0)
            return -1;
        s->item_count += s->validation[i].sequences.count;
    }
    if (s->item_count == 0)
        return rlhf_fail(err, RLHF_REJECT, "select.validation: no demonstration of at most %u tokens", context);
    if (!(s->items = calloc(s->item_count, sizeof *s->items)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu demonstrations", s->item_count);
    for (size_t f = 0, n = 0; f < files->count; f++)
        for (size_t i = 0; i < s->validation[f].sequences.count; i++) {
            const struct rlhf_sequences *q = &s->validation[f].sequences;
            s->items[n++] = (struct learner_item){.ids = q->tokens.data + q->start[i],
                                                  .count = q->start[i + 1] - q->start[i],
                                                  .first = s->validation[f].prompt_size[i]};
        }
    return 0;
}

static int open_prompts(struct learner_select *s, struct learner_work *w, uint32_t context, struct rlhf_error *err)
{
    const struct rlhf_run_select *o = s->settings;
    struct rlhf_model *m;
    size_t all;
    int rc;

    if (!o->reward_model)
        return 0;
    if (!(m = learner_load_model(w, o->reward_model, RLHF_HEAD_SCALAR, err)))
        return -1;
    if (rlhf_model_get_config(m)->context < context)
        context = rlhf_model_get_config(m)->context;
    rc = learner_publish(w, LEARNER_NAME_REWARD_MODEL, 0, m, &s->reward_model, err);
    rlhf_model_free(m);
    if (rc < 0 || learner_read_prompts(w, o->prompts, context, o->sampling.max_new_tokens, o->count, &s->prompts,
                                       &s->prompt_count, err) < 0)
        return -1;
    all = s->prompt_count * (size_t)o->samples;
    s->jobs = calloc(all, sizeof *s->jobs);
    s->scores = calloc(all, sizeof *s->scores);
    return s->jobs && s->scores ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions", all);
}

int learner_select_open(struct learner_select *s, struct learner_training *tr, const struct rlhf_run_select *settings,
                        uint64_t every, struct rlhf_error *err)
{
    uint32_t context = rlhf_model_get_config(tr->model)->context;

    *s = (struct learner_select){.settings = settings};
    if (!settings)
        return 0;
    s->every = settings->every > 0 ? (uint64_t)settings->every : every > 0 ? every : 1;
    s->best.score = -INFINITY;
    if (!(s->weights = calloc(tr->optimizer.count, sizeof *s->weights)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for the best of %zu weights", tr->optimizer.count);
    tr->more[tr->more_count++] = (struct learner_block){"best.weights", s->weights, tr->optimizer.count * sizeof *s->weights};
    tr->more[tr->more_count++] = (struct learner_block){"best", &s->best, sizeof s->best};
    return open_validation(s, tr->work, context, err) < 0 ? -1 : open_prompts(s, tr->work, context, err);
}

void learner_select_close(struct learner_select *s)
{
    for (size_t i = 0; s->validation && i < s->settings->validation.count; i++)
        rlhf_demonstrations_free(&s->validation[i]);
    rlhf_demonstrations_free(&s->prompts);
    free(s->validation), free(s->items), free(s->jobs), free(s->scores), free(s->weights);
    *s = (struct learner_select){0};
}

/* ---- measuring --------------------------------------------------------------------------------------- */

static void make_jobs(struct learner_select *s, struct rlhf_digest weights)
{
    const struct rlhf_sequences *q = &s->prompts.sequences;
    size_t samples = (size_t)s->settings->samples;

    for (size_t i = 0; i < s->prompt_count * samples; i++) {
        uint32_t at = (uint32_t)(i / samples), sample = (uint32_t)(i % samples);
        s->jobs[i] = (struct learner_generate_job){.prompt = at,
                                                   .sample = sample,
                                                   .key_prompt = at,
                                                   .key_sample = sample,
                                                   .weights = weights,
                                                   .prompt_ids = q->tokens.data + q->start[at],
                                                   .prompt_count = q->start[at + 1] - q->start[at]};
    }
}

/* Mean reward of the completions that have one. */
static int score(struct learner_select *s, struct learner_work *w, const struct learner_answer *completions, double *mean,
                 struct rlhf_error *err)
{
    struct learner_answer scores = {0};
    struct rlhf_tokens ids = {0};
    double sum = 0, scored = 0;
    size_t at = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < completions->count; i++)
        rc = rlhf_tokens_append(&ids, s->jobs[i].prompt_ids, s->jobs[i].prompt_count, err) < 0 ||
                     rlhf_tokens_append(&ids, completions->rollouts[i].ids, completions->rollouts[i].count, err) < 0
                 ? -1
                 : 0;
    for (size_t i = 0; rc == 0 && i < completions->count; i++) { /* ids has stopped moving */
        uint32_t prompt = s->jobs[i].prompt_count, count = prompt + completions->rollouts[i].count;
        s->scores[i] = (struct learner_score_job){.ids = ids.data + at, .count = count, .prompt_count = prompt};
        at += count;
    }
    if (rc == 0)
        rc = learner_score(w, s->scores, completions->count, s->reward_model, (struct rlhf_digest){0}, 1, &scores, err);
    for (size_t i = 0; rc == 0 && i < completions->count; i++)
        if (isfinite(scores.scores[i].reward)) {
            sum += (double)scores.scores[i].reward;
            scored++;
        }
    *mean = sum / scored;
    learner_answer_free(&scores);
    rlhf_tokens_free(&ids);
    return rc;
}

static int measure_reward(struct learner_select *s, struct learner_training *tr, double *mean, struct rlhf_error *err)
{
    struct rlhf_sampling sampling = learner_sampling(&s->settings->sampling);
    struct learner_work *w = tr->work;
    struct learner_answer completions = {0};
    struct rlhf_digest weights;
    int rc;

    if (learner_publish(w, LEARNER_NAME_POLICY, w->step + 1, tr->model, &weights, err) < 0)
        return -1;
    make_jobs(s, weights);
    rc = learner_generate(w, s->jobs, s->prompt_count * (size_t)s->settings->samples, &s->settings->sampling, &sampling,
                          RLHF_PURPOSE_EVALUATE, &completions, err) < 0 ||
                 score(s, w, &completions, mean, err) < 0
             ? -1
             : 0;
    learner_answer_free(&completions);
    return rc;
}

int learner_select_measure(struct learner_select *s, struct learner_training *tr, json_t *metrics, struct rlhf_error *err)
{
    uint64_t step = tr->work->step + 1;
    double loss, reward, result = NAN;

    if (!s->settings || (step % s->every != 0 && step != tr->work->steps))
        return 0;
    if (s->item_count > 0) {
        if (learner_lm_sum(&tr->compute, tr->model, s->items, s->item_count, &loss, err) < 0)
            return -1;
        loss /= (double)learner_targets(s->items, s->item_count);
        learner_metric(metrics, "validation_loss", loss);
        result = -loss;
    }
    if (s->settings->reward_model) {
        if (measure_reward(s, tr, &reward, err) < 0)
            return -1;
        learner_metric(metrics, "validation_reward", reward);
        result = reward;
    }
    if (!(result > s->best.score)) /* the first of equals; and nothing that is no number */
        return 0;
    s->best.score = result;
    s->best.step = step;
    memcpy(s->weights, tr->optimizer.param, tr->optimizer.count * sizeof *s->weights);
    return 0;
}

void learner_select_finish(struct learner_select *s, struct learner_training *tr)
{
    if (!s->settings || s->best.step == 0)
        return;
    memcpy(tr->optimizer.param, s->weights, tr->optimizer.count * sizeof *s->weights);
    learner_optimizer_changed(&tr->optimizer);
    json_object_set_new(tr->work->provenance, "selected_step", json_integer((json_int_t)s->best.step));
    rlhf_log(RLHF_LEVEL_INFO, "selected stage=%s step=%llu of=%llu %s=%.4f", tr->work->name, (unsigned long long)s->best.step,
             (unsigned long long)tr->work->steps, s->settings->reward_model ? "reward" : "loss", fabs(s->best.score));
}
