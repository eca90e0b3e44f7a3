/* train_sources.c - rewards from several sources: asked for, journaled, normalised, weighted. */
#include "learner/train_sources.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "evaluation/judge.h"
#include "rl/reward.h"
#include "telemetry/log.h"

/* ---- opening ----------------------------------------------------------------------------------------- */

/* The sources of a list, the reward model first where the list does not say where it stands. */
static void list_sources(struct learner_sources *s, const struct rlhf_config_list *list, bool model)
{
    const struct rlhf_run_reward *r = list->items;
    bool listed = false;
    int kind;

    for (size_t i = 0; i < list->count; i++)
        listed |= r[i].reward_model != NULL;
    if (model && !listed)
        s->source[s->count++] = (struct learner_source){.name = "reward_model", .model = true};
    for (size_t i = 0; i < list->count; i++) {
        const struct rlhf_run_source *one = rlhf_run_source(&r[i], &kind);
        struct learner_source *to = &s->source[s->count++];

        *to = (struct learner_source){.name = kind ? one->name : "reward_model", .settings = one, .model = kind == 0};
        if (kind > 0) {
            to->asked = rlhf_judge_settings(one, kind);
            to->remote = rlhf_source_is_remote(to->asked.kind);
        }
    }
}

int learner_sources_open(struct learner_sources *s, struct learner_work *w, const struct rlhf_config_list *list, bool model,
                         size_t capacity, struct rlhf_error *err)
{
    *s = (struct learner_sources){.w = w, .named = list->count > 0, .capacity = capacity};
    list_sources(s, list, model);
    for (size_t i = 0; i < s->count; i++) {
        s->scale[i].gain = 1;
        if (!(s->source[i].reward = calloc(capacity, sizeof *s->source[i].reward)))
            return rlhf_fail(err, RLHF_FULL, "out of memory for %zu rewards", capacity);
    }
    if (!(s->scaled = calloc(s->count * capacity, sizeof *s->scaled)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu rewards", s->count * capacity);
    return 0;
}

int learner_check_rewards(const struct rlhf_run *run, struct rlhf_error *err)
{
    for (size_t i = 0; i < rlhf_run_stages(run); i++) {
        const struct rlhf_stage *stage = rlhf_run_stage(run, i);
        const struct rlhf_config_list *list = stage->policy    ? &stage->policy->rewards
                                              : stage->best_of ? &stage->best_of->rewards
                                              : stage->evaluate ? &stage->evaluate->rewards
                                                                : NULL;
        const struct rlhf_run_reward *r = list ? list->items : NULL;

        for (size_t k = 0; list && k < list->count; k++) {
            int kind;
            const struct rlhf_run_source *one = rlhf_run_source(&r[k], &kind);
            struct rlhf_source_settings asked = kind ? rlhf_judge_settings(one, kind) : (struct rlhf_source_settings){0};
            struct rlhf_source *made = kind ? rlhf_source_new(&asked, err) : NULL;

            if (kind && !made)
                return rlhf_fail_prefix(err, "stage %s", rlhf_stage_name(stage));
            rlhf_source_free(made);
        }
    }
    return 0;
}

void learner_sources_close(struct learner_sources *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->source[i].reward);
    rlhf_bytes_free(&s->texts);
    free(s->scaled);
    *s = (struct learner_sources){0};
}

void learner_sources_begin(struct learner_sources *s)
{
    memcpy(s->before, s->scale, sizeof s->before);
    for (size_t i = 0; i < s->count; i++)
        s->source[i].sum = s->source[i].scored = s->source[i].missing = 0;
}

void learner_sources_undo(struct learner_sources *s)
{
    memcpy(s->scale, s->before, sizeof s->scale);
}

/* ---- asking ------------------------------------------------------------------------------------------ */

/* Puts their texts into the jobs. */
static int take_texts(struct learner_sources *s, struct learner_score_job *jobs, size_t count, const char *const *prompt,
                      const char *const *answer, struct rlhf_error *err)
{
    size_t *at = calloc(count + 1, sizeof *at);
    int rc = at ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for %zu texts", count);

    rlhf_bytes_clear(&s->texts);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint32_t from = jobs[i].prompt_count;

        at[i] = s->texts.size;
        rc = learner_decode(s->w->t, jobs[i].ids + from, jobs[i].count - from, &s->texts, err) < 0 ||
                     rlhf_bytes_append(&s->texts, "", 1, err) < 0
                 ? -1
                 : 0;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) /* the buffer has stopped moving */
        jobs[i].text = (struct rlhf_source_text){prompt[i], s->texts.data + at[i], answer[i],
                                                 jobs[i].count - jobs[i].prompt_count};
    free(at);
    return rc;
}

static struct rlhf_digest digest_of(const struct learner_score_job *jobs, size_t count)
{
    struct rlhf_hasher *h = rlhf_hasher_new();
    struct rlhf_digest d = {0};

    for (size_t i = 0; h && i < count; i++) {
        rlhf_hasher_add(h, &jobs[i].count, sizeof jobs[i].count);
        rlhf_hasher_add(h, &jobs[i].prompt_count, sizeof jobs[i].prompt_count);
        rlhf_hasher_add(h, jobs[i].ids, jobs[i].count * sizeof *jobs[i].ids);
    }
    return h ? rlhf_hasher_end(h) : d;
}

/* What the journal has of a source's rewards for these completions. */
static bool journaled(const struct learner_sources *s, struct learner_source *source, const char *of, size_t count,
                      uint64_t step, uint64_t round)
{
    const json_t *o = learner_journaled_rewards(s->w->record, source->name, step, round);
    const json_t *list = json_object_get(o, "rewards");
    const char *known = json_string_value(json_object_get(o, "of"));

    if (!o)
        return false;
    if (!known || strcmp(known, of) != 0 || json_array_size(list) != count) {
        rlhf_log(RLHF_LEVEL_WARNING,
                 "rewards-of-others stage=%s source=%s iteration=%llu those in the journal are of other completions; asking anew",
                 s->w->name, source->name, (unsigned long long)step + 1);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        source->reward[i] = json_is_number(one) ? (float)json_number_value(one) : NAN;
    }
    return true;
}

static int journal(struct learner_sources *s, const struct learner_source *source, const char *of, size_t count, uint64_t step,
                   uint64_t round, struct rlhf_error *err)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, isnan(source->reward[i]) ? json_null() : json_real((double)source->reward[i]));
    return learner_journal(s->w, "rewards",
                           json_pack("{s:s, s:I, s:I, s:s, s:o}", "source", source->name, "iteration", (json_int_t)step,
                                     "round", (json_int_t)round, "of", of, "rewards", list),
                           err);
}

static size_t count_missing(const float *reward, size_t count)
{
    size_t missing = 0;

    for (size_t i = 0; i < count; i++)
        missing += isnan(reward[i]);
    return missing;
}

/* Says that rewards are missing; -1 where the run file says that the run then stops. */
static int react(const struct learner_sources *s, const struct learner_source *source, size_t missing, size_t count,
                 const char *reason, struct rlhf_error *err)
{
    if (missing == 0)
        return 0;
    rlhf_log(RLHF_LEVEL_WARNING, "rewards-missing stage=%s source=%s missing=%zu of=%zu reason=\"%s\"", s->w->name, source->name,
             missing, count, reason);
    if (!source->remote || source->settings->when_missing != RLHF_RUN_MISSING_STOP)
        return 0;
    return rlhf_fail(err, RLHF_FATAL,
                     "source of rewards '%s' has none for %zu of %zu completions (%.120s), and when_missing says stop; start the "
                     "run again when it answers",
                     source->name, missing, count, reason);
}

static int ask(struct learner_sources *s, struct learner_source *source, const struct learner_score_job *jobs, size_t count,
               uint64_t step, uint64_t round, struct rlhf_error *err)
{
    struct learner_answer scores = {0};
    char of[RLHF_DIGEST_TEXT];
    struct rlhf_digest d = digest_of(jobs, count);
    int rc;

    rlhf_digest_text(&d, of);
    if (source->remote && journaled(s, source, of, count, step, round))
        return 0;
    if (learner_score_source(s->w, jobs, count, &source->asked, &scores, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        source->reward[i] = scores.scores[i].reward;
    rc = react(s, source, count_missing(source->reward, count), count,
               scores.reason[0] ? scores.reason : "no reward-scorer could ask it", err);
    learner_answer_free(&scores);
    return rc == 0 && source->remote ? journal(s, source, of, count, step, round, err) : rc;
}

/* ---- from rewards to one ----------------------------------------------------------------------------- */

static void observe(struct learner_scale *c, const float *reward, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double off = (double)reward[i] - c->mean;

        if (isnan(reward[i]))
            continue;
        c->mean += off / ++c->count;
        c->squares += off * ((double)reward[i] - c->mean);
    }
}

/* What the source's rewards count as. */
static void normalize(struct learner_scale *c, const struct learner_source *source, size_t count, bool first, float *out)
{
    const struct rlhf_run_source *o = source->settings;
    struct rlhf_reward_scale scale = {1, 0};

    memcpy(out, source->reward, count * sizeof *out);
    if (!o)
        return;
    if (o->normalize == RLHF_RUN_NORMALIZE_FIRST) {
        if (first) {
            scale = rlhf_reward_scale_fit(out, count, 0, 1);
            c->gain = scale.gain, c->bias = scale.bias;
        }
        scale = (struct rlhf_reward_scale){c->gain, c->bias};
    } else if (o->normalize == RLHF_RUN_NORMALIZE_RUNNING) {
        observe(c, out, count);
        scale.gain = c->count > 1 && c->squares > 0 ? 1 / sqrt(c->squares / (c->count - 1)) : 1;
        scale.bias = -scale.gain * c->mean;
    }
    rlhf_reward_scale_apply(&scale, out, count);
    if (o->clip > 0)
        rlhf_reward_clip(out, count, -o->clip, o->clip);
}

int learner_sources_reward(struct learner_sources *s, struct learner_score_job *jobs, size_t count, const char *const *prompt,
                           const char *const *answer, const float *model, uint64_t step, uint64_t round, float *reward,
                           struct rlhf_error *err)
{
    const float *each[RLHF_RUN_REWARDS + 1];
    double weight[RLHF_RUN_REWARDS + 1];

    if (s->named && take_texts(s, jobs, count, prompt, answer, err) < 0)
        return -1;
    for (size_t i = 0; i < s->count; i++) {
        struct learner_source *source = &s->source[i];

        if (source->model)
            memcpy(source->reward, model, count * sizeof *model);
        else if (ask(s, source, jobs, count, step, round, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < s->count; i++) {
        struct learner_source *source = &s->source[i];
        float *scaled = s->scaled + i * s->capacity;

        for (size_t k = 0; k < count; k++)
            source->sum += isnan(source->reward[k]) ? 0 : (double)source->reward[k];
        source->missing += (double)count_missing(source->reward, count);
        source->scored += (double)(count - count_missing(source->reward, count));
        normalize(&s->scale[i], source, count, step == 0 && round == 0, scaled);
        each[i] = scaled;
        weight[i] = source->settings ? source->settings->weight : 1;
    }
    rlhf_reward_mix(each, weight, s->count, count, reward);
    return 0;
}

void learner_sources_report(const struct learner_sources *s, json_t *metrics)
{
    char key[100];

    for (size_t i = 0; s->named && i < s->count; i++) {
        const struct learner_source *source = &s->source[i];

        snprintf(key, sizeof key, "reward.%s", source->name);
        learner_metric(metrics, key, source->sum / source->scored);
        snprintf(key, sizeof key, "missing.%s", source->name);
        learner_metric(metrics, key, source->missing);
    }
}
