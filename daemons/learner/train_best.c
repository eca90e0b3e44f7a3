/* train_best.c - the best of n completions: demonstrations for rejection-sampling fine-tuning (Touvron et al. 2023,
 * section 3.2.3), and the best against the worst as comparisons for a direct stage.
 *
 * DIR/comparisons/STAGE.jsonl and DIR/demonstrations/STAGE.jsonl appear at once, at the end; a stage that was killed
 * samples the same again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "learner/train_sources.h"
#include "rl/group.h"
#include "telemetry/log.h"

struct best {
    struct learner_work *w;
    const struct rlhf_stage_best *settings;
    struct rlhf_demonstrations prompts;
    size_t count, samples; /* prompts; of each */
    struct rlhf_digest policy, reward_model;
    uint32_t context;
    struct learner_generate_job *jobs; /* [count · samples] */
    struct learner_score_job *score_jobs;
    struct rlhf_tokens ids; /* of score_jobs */
    struct learner_sources sources;
    const char **prompt_text, **answer; /* [count · samples] borrowed of prompts */
    float *model, *reward;              /* [count · samples] the reward model's; of all sources */
    uint32_t *start; /* [count + 1] */
    int64_t *top, *bottom;
    struct rlhf_bytes comparisons, demonstrations;
    double mean, best, worst;
    size_t scored, rewarded, pairs, kept;
};

static void best_free(struct best *b)
{
    rlhf_demonstrations_free(&b->prompts);
    rlhf_tokens_free(&b->ids);
    rlhf_bytes_free(&b->comparisons);
    rlhf_bytes_free(&b->demonstrations);
    learner_sources_close(&b->sources);
    free(b->prompt_text), free(b->answer), free(b->model);
    free(b->jobs), free(b->score_jobs), free(b->reward), free(b->start), free(b->top), free(b->bottom);
}

static int publish(struct best *b, const char *stage, enum rlhf_head head, enum learner_name name,
                   struct rlhf_digest *out, struct rlhf_error *err)
{
    struct rlhf_model *m = learner_load_model(b->w, stage, head, err);
    int rc;

    if (!m)
        return -1;
    if (rlhf_model_get_config(m)->context < b->context)
        b->context = rlhf_model_get_config(m)->context;
    rc = learner_publish(b->w, name, 0, m, out, err);
    rlhf_model_free(m);
    return rc;
}

static int best_init(struct best *b, struct rlhf_error *err)
{
    const struct rlhf_stage_best *s = b->settings;
    size_t all;

    b->context = UINT32_MAX;
    b->samples = (size_t)s->samples;
    if (publish(b, rlhf_stage_from(b->w->t->run, b->w->index), RLHF_HEAD_LM, LEARNER_NAME_POLICY, &b->policy, err) < 0 ||
        (s->reward_model &&
         publish(b, s->reward_model, RLHF_HEAD_SCALAR, LEARNER_NAME_REWARD_MODEL, &b->reward_model, err) < 0) ||
        learner_read_prompts(b->w, s->prompts, b->context, s->sampling.max_new_tokens, s->count, &b->prompts, &b->count,
                             err) < 0)
        return -1;
    all = b->count * b->samples;
    b->jobs = calloc(all, sizeof *b->jobs);
    b->score_jobs = calloc(all, sizeof *b->score_jobs);
    b->reward = calloc(all, sizeof *b->reward);
    b->model = calloc(all, sizeof *b->model);
    b->prompt_text = calloc(all, sizeof *b->prompt_text);
    b->answer = calloc(all, sizeof *b->answer);
    b->start = calloc(b->count + 1, sizeof *b->start);
    b->top = calloc(b->count, sizeof *b->top);
    b->bottom = calloc(b->count, sizeof *b->bottom);
    if (!b->jobs || !b->score_jobs || !b->reward || !b->model || !b->prompt_text || !b->answer || !b->start || !b->top ||
        !b->bottom)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions", all);
    for (size_t p = 0; p <= b->count; p++)
        b->start[p] = (uint32_t)(p * b->samples);
    return learner_sources_open(&b->sources, b->w, &s->rewards, s->reward_model != NULL, all, err);
}

static void make_jobs(struct best *b)
{
    const struct rlhf_sequences *q = &b->prompts.sequences;

    for (size_t i = 0; i < b->count * b->samples; i++) {
        size_t p = i / b->samples;
        uint32_t sample = (uint32_t)(i % b->samples);
        b->jobs[i] = (struct learner_generate_job){.prompt = (uint32_t)p,
                                                   .sample = sample,
                                                   .key_prompt = (uint32_t)p,
                                                   .key_sample = b->w->index << 16 | sample,
                                                   .weights = b->policy,
                                                   .prompt_ids = q->tokens.data + q->start[p],
                                                   .prompt_count = q->start[p + 1] - q->start[p]};
    }
}

/* The reward model's rewards; missing where there is no model. */
static int ask_model(struct best *b, size_t count, struct rlhf_error *err)
{
    struct learner_answer scores = {0};

    for (size_t i = 0; i < count; i++)
        b->model[i] = NAN;
    if (!b->settings->reward_model)
        return 0;
    if (learner_score(b->w, b->score_jobs, count, b->reward_model, (struct rlhf_digest){0}, 1, &scores, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        b->model[i] = isfinite(scores.scores[i].reward) ? scores.scores[i].reward : NAN;
    learner_answer_free(&scores);
    return 0;
}

static int score(struct best *b, const struct learner_answer *completions, struct rlhf_error *err)
{
    size_t at = 0;

    for (size_t i = 0; i < completions->count; i++) {
        const struct learner_generate_job *job = &b->jobs[i];
        if (rlhf_tokens_append(&b->ids, job->prompt_ids, job->prompt_count, err) < 0 ||
            rlhf_tokens_append(&b->ids, completions->rollouts[i].ids, completions->rollouts[i].count, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < completions->count; i++) { /* ids has stopped moving */
        uint32_t prompt = b->jobs[i].prompt_count, count = prompt + completions->rollouts[i].count;
        b->score_jobs[i] =
            (struct learner_score_job){.ids = b->ids.data + at, .count = count, .prompt_count = prompt};
        b->prompt_text[i] = b->prompts.text[b->jobs[i].prompt];
        b->answer[i] = b->prompts.expected[b->jobs[i].prompt];
        at += count;
    }
    learner_progress(b->w, "scoring");
    learner_sources_begin(&b->sources);
    if (ask_model(b, completions->count, err) < 0 ||
        learner_sources_reward(&b->sources, b->score_jobs, completions->count, b->prompt_text, b->answer, b->model, 0, 0,
                               b->reward, err) < 0)
        return -1;
    for (size_t i = 0; i < completions->count; i++) {
        b->mean += isnan(b->reward[i]) ? 0 : b->reward[i];
        b->scored += !isnan(b->reward[i]);
    }
    b->w->tokens += b->ids.size;
    return 0;
}

static json_t *completion(struct best *b, const struct learner_rollout *r, float reward, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    json_t *o = NULL;

    if (learner_decode(b->w->t, r->ids, r->count, &text, err) == 0 &&
        !(o = json_pack("{s:s, s:o, s:f, s:b}", "text", text.data ? text.data : "", "ids",
                        learner_ids_json(r->ids, r->count), "reward", (double)reward, "ended", r->ended)))
        rlhf_fail(err, RLHF_FULL, "out of memory for completions");
    rlhf_bytes_free(&text);
    return o;
}

/* The best of prompt p against its worst, where they differ, and the best as a demonstration, where it ended. */
static int put_prompt(struct best *b, const struct learner_answer *a, size_t p, struct rlhf_error *err)
{
    const struct rlhf_sequences *q = &b->prompts.sequences;
    int64_t top = b->top[p], bottom = b->bottom[p];
    json_t *good, *bad;
    const char *text;
    int rc = 0;

    if (top == RLHF_NOBODY)
        return 0;
    b->rewarded++;
    b->best += b->reward[top];
    b->worst += b->reward[bottom];
    good = completion(b, &a->rollouts[top], b->reward[top], err);
    bad = completion(b, &a->rollouts[bottom], b->reward[bottom], err);
    if (!good || !bad) {
        json_decref(good), json_decref(bad);
        return -1;
    }
    text = json_string_value(json_object_get(good, "text"));
    if (b->reward[top] > b->reward[bottom] && strcmp(text, json_string_value(json_object_get(bad, "text"))) != 0) {
        json_t *line = json_pack("{s:s, s:o, s:[O, O], s:[i, i]}", "prompt", b->prompts.text[p], "prompt_ids",
                                 learner_ids_json(q->tokens.data + q->start[p], q->start[p + 1] - q->start[p]),
                                 "completions", good, bad, "ranks", 1, 2);
        rc = line ? learner_append_json(&b->comparisons, line, err)
                  : rlhf_fail(err, RLHF_FULL, "out of memory for comparisons (or a prompt that is not UTF-8)");
        b->pairs += rc == 0;
        json_decref(line);
    }
    if (rc == 0 && a->rollouts[top].ended && b->reward[top] >= b->settings->at_least) {
        json_t *line = json_pack("{s:s, s:s, s:f}", "prompt", b->prompts.text[p], "completion", text, "reward",
                                 (double)b->reward[top]);
        rc = line ? learner_append_json(&b->demonstrations, line, err)
                  : rlhf_fail(err, RLHF_FULL, "out of memory for demonstrations (or a prompt that is not UTF-8)");
        b->kept += rc == 0;
        json_decref(line);
    }
    json_decref(good), json_decref(bad);
    return rc;
}

static int choose(struct best *b, const struct learner_answer *completions, struct rlhf_error *err)
{
    rlhf_group_extremes(&(struct rlhf_ragged){b->start, b->count}, b->reward, b->top, b->bottom);
    for (size_t p = 0; p < b->count; p++)
        if (put_prompt(b, completions, p, err) < 0)
            return -1;
    if (b->kept == 0)
        return rlhf_fail(err, RLHF_REJECT,
                         "of %zu prompts not one has a best completion that ended with a reward of %g or more: lower "
                         "at_least or raise samples or sampling.max_new_tokens",
                         b->count, b->settings->at_least);
    return 0;
}

static int write_measured(struct best *b, struct rlhf_error *err)
{
    json_t *o = json_pack("{s:I, s:I, s:I, s:I}", "prompts", (json_int_t)b->count, "missing",
                          (json_int_t)(b->count * b->samples - b->scored), "demonstrations", (json_int_t)b->kept, "pairs",
                          (json_int_t)b->pairs);
    int rc;

    if (!o)
        return rlhf_fail(err, RLHF_FULL, "out of memory for metrics");
    learner_metric(o, "reward", b->mean / (double)b->scored);
    learner_metric(o, "best", b->best / (double)b->rewarded);
    learner_metric(o, "worst", b->worst / (double)b->rewarded);
    learner_sources_report(&b->sources, o);
    rc = learner_write_measured(b->w, o, err);
    json_decref(o);
    rlhf_log(RLHF_LEVEL_INFO, "best-of stage=%s prompts=%zu samples=%zu demonstrations=%zu pairs=%zu reward=%.3f best=%.3f",
             b->w->name, b->count, b->samples, b->kept, b->pairs, b->mean / (double)b->scored,
             b->best / (double)b->rewarded);
    return rc;
}

static int write_chosen(struct best *b, struct rlhf_error *err)
{
    struct learner_work *w = b->w;
    char path[LEARNER_PATH];

    if (learner_path(w->t, path, sizeof path, err, "comparisons/%s.jsonl", w->name) < 0 ||
        learner_write_file(w, path, &b->comparisons, err) < 0 ||
        learner_path(w->t, path, sizeof path, err, "demonstrations") < 0 || rlhf_make_dirs(w->t->io, path, err) < 0 ||
        learner_path(w->t, path, sizeof path, err, "demonstrations/%s.jsonl", w->name) < 0 ||
        learner_write_file(w, path, &b->demonstrations, err) < 0)
        return -1;
    return write_measured(b, err);
}

int learner_best(struct learner_work *w, struct rlhf_error *err)
{
    struct best b = {.w = w, .settings = w->stage->best_of};
    struct rlhf_sampling sampling = learner_sampling(&b.settings->sampling);
    struct learner_answer completions = {0};
    int rc = -1;

    if (best_init(&b, err) == 0) {
        make_jobs(&b);
        learner_progress(w, "generating");
        rc = learner_generate(w, b.jobs, b.count * b.samples, &b.settings->sampling, &sampling, RLHF_PURPOSE_COLLECT,
                              &completions, err) < 0 ||
                     score(&b, &completions, err) < 0 || choose(&b, &completions, err) < 0 || write_chosen(&b, err) < 0
                 ? -1
                 : 0;
    }
    w->step = b.count;
    learner_answer_free(&completions);
    best_free(&b);
    return rc;
}
