/* train_ask.c - what the training side asks of the fleet, and the checks on what comes back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "rl/statistics.h"
#include "telemetry/log.h"
#include "tokenizer/stop.h"

static int ask(struct learner_work *w, struct learner_action *a, struct learner_answer *out,
               struct rlhf_error *err)
{
    *out = (struct learner_answer){0};
    a->stage = w->index;
    a->seed = (uint64_t)w->t->run->run.seed;
    return w->t->port->ask(w->t->port, a, out, err);
}

/* What `name` held before, when no name holds it any more. */
static size_t outdated(struct learner_trainer *t, struct learner_published *slot, struct rlhf_digest now,
                       struct rlhf_digest *drop)
{
    struct rlhf_digest before = slot->digest;

    slot->digest = now;
    if (rlhf_digest_is_zero(&before))
        return 0;
    for (size_t i = 0; i < LEARNER_NAMES; i++)
        if (rlhf_digest_equal(&t->published[i].digest, &before))
            return 0;
    *drop = before;
    return 1;
}

int learner_publish(struct learner_work *w, enum learner_name name, uint64_t version,
                    const struct rlhf_model *m, struct rlhf_digest *out, struct rlhf_error *err)
{
    static const char *const names[] = {"policy", "reference", "reward_model"};
    struct learner_published *slot = &w->t->published[name];
    struct learner_action a = {.kind = LEARNER_PUBLISH,
                               .name = names[name < LEARNER_NAME_REWARD_MODEL ? name : LEARNER_NAME_REWARD_MODEL],
                               .version = version,
                               .model = m,
                               .pool = w->t->pool,
                               .drop = &slot->outdated,
                               .drop_count = slot->drop};
    struct learner_answer answer = {0};
    int rc = ask(w, &a, &answer, err);

    if (rc == 0) {
        *out = answer.digest;
        slot->drop = outdated(w->t, slot, answer.digest, &slot->outdated);
    }
    learner_answer_free(&answer);
    return rc;
}

struct rlhf_sampling learner_sampling(const struct rlhf_run_sampling *s)
{
    return (struct rlhf_sampling){.temperature = (float)s->temperature,
                                  .top_k = (uint32_t)s->top_k,
                                  .top_p = s->top_p,
                                  .min_p = (float)s->min_p,
                                  .typical_p = (float)s->typical_p,
                                  .repetition_penalty = (float)s->repetition_penalty,
                                  .no_repeat_ngram = (uint32_t)s->no_repeat_ngram,
                                  .min_new_tokens = (uint32_t)s->min_new_tokens,
                                  .max_new_tokens = (uint32_t)s->max_new_tokens};
}

bool learner_sampling_whole(const struct rlhf_sampling *s)
{
    return rlhf_sampling_whole(s);
}

static int find_ends(const struct learner_work *w, const struct rlhf_run_sampling *settings, struct rlhf_ends *ends,
                     struct rlhf_error *err)
{
    for (size_t i = 0; i < settings->end_tokens.count; i++) {
        int32_t id = rlhf_tokenizer_find(w->t->tokenizer, settings->end_tokens.items[i]);

        if (id < 0)
            return rlhf_fail(err, RLHF_REJECT, "sampling.end_tokens: the tokenizer has no token '%.60s'",
                             settings->end_tokens.items[i]);
        ends->id[ends->count++] = id; /* as many as the run file may name */
    }
    return 0;
}

/* Ends r with the first token, behind stop_after others, that completes a text of stop. What comes behind it was sampled in
 * vain, and hung on nothing but what stays: a worker that knew the texts would have sent the same. */
static int cut_at_stop(const struct learner_work *w, const struct rlhf_run_sampling *settings,
                       const struct learner_generate_job *job, struct learner_rollout *r, struct rlhf_error *err)
{
    const struct rlhf_config_strings *stop = &settings->stop;
    struct rlhf_tokens ids = {0};
    bool reached = false;
    int rc = rlhf_tokens_append(&ids, job->prompt_ids, job->prompt_count, err);

    for (uint32_t i = 0; rc == 0 && i < r->count && !reached; i++) {
        rc = rlhf_tokens_append(&ids, &r->ids[i], 1, err);
        if (rc == 0 && i >= (uint32_t)settings->stop_after)
            rc = rlhf_stop_reached(w->t->tokenizer, ids.data, ids.size, (const char *const *)stop->items, stop->count, &reached,
                                   err);
        if (reached) {
            r->count = i + 1;
            r->ended = true;
        }
    }
    rlhf_tokens_free(&ids);
    return rc;
}

static int make_generate(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                         const struct rlhf_run_sampling *settings, const struct rlhf_sampling *sampling,
                         enum rlhf_purpose purpose, struct learner_action *a, struct rlhf_error *err)
{
    *a = (struct learner_action){.kind = LEARNER_GENERATE,
                                 .stage = w->index,
                                 .seed = (uint64_t)w->t->run->run.seed,
                                 .generate = jobs,
                                 .generate_count = count,
                                 .sampling = *sampling,
                                 .end_token = rlhf_tokenizer_end(w->t->tokenizer),
                                 .purpose = purpose};
    return find_ends(w, settings, &a->more_ends, err);
}

static int check_rollouts(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                          const struct rlhf_run_sampling *settings, struct learner_answer *out, struct rlhf_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (out->count != count || out->rollouts[i].count == 0 ||
            !rlhf_all_finite(out->rollouts[i].logprob, out->rollouts[i].count) ||
            !rlhf_all_finite(out->rollouts[i].logprob_raw, out->rollouts[i].count)) {
            learner_answer_free(out);
            return rlhf_fail(err, RLHF_FATAL,
                             "completion %zu of %zu came back empty or with log-probs that are not finite", i,
                             count);
        }
    for (size_t i = 0; settings->stop.count && i < count; i++)
        if (cut_at_stop(w, settings, &jobs[i], &out->rollouts[i], err) < 0) {
            learner_answer_free(out);
            return -1;
        }
    return 0;
}

int learner_generate(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                     const struct rlhf_run_sampling *settings, const struct rlhf_sampling *sampling, enum rlhf_purpose purpose,
                     struct learner_answer *out, struct rlhf_error *err)
{
    struct learner_action a;

    return make_generate(w, jobs, count, settings, sampling, purpose, &a, err) < 0 || ask(w, &a, out, err) < 0
               ? -1
               : check_rollouts(w, jobs, count, settings, out, err);
}

int learner_generate_begin(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                           const struct rlhf_run_sampling *settings, const struct rlhf_sampling *sampling,
                           enum rlhf_purpose purpose, struct rlhf_error *err)
{
    struct learner_action a;

    return make_generate(w, jobs, count, settings, sampling, purpose, &a, err) < 0 ? -1
                                                                                   : w->t->port->begin(w->t->port, &a, err);
}

int learner_generate_finish(struct learner_work *w, const struct learner_generate_job *jobs, size_t count,
                            const struct rlhf_run_sampling *settings, struct learner_answer *out, struct rlhf_error *err)
{
    return w->t->port->finish(w->t->port, out, err) < 0 ? -1 : check_rollouts(w, jobs, count, settings, out, err);
}

static int score(struct learner_work *w, struct learner_action *a, struct learner_answer *out, struct rlhf_error *err)
{
    size_t count = a->score_count;

    if (ask(w, a, out, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (out->count != count || (!rlhf_digest_is_zero(&a->reference) && !out->scores[i].logprob_ref)) {
            learner_answer_free(out);
            return rlhf_fail(err, RLHF_FATAL, "score %zu of %zu came back without its reference log-probs", i,
                             count);
        }
        if (out->scores[i].missing)
            out->scores[i].reward = NAN;
    }
    return 0;
}

int learner_score(struct learner_work *w, const struct learner_score_job *jobs, size_t count,
                  struct rlhf_digest reward_model, struct rlhf_digest reference, float temperature,
                  struct learner_answer *out, struct rlhf_error *err)
{
    struct learner_action a = {.kind = LEARNER_SCORE,
                               .score = jobs,
                               .score_count = count,
                               .reward_model = reward_model,
                               .reference = reference,
                               .temperature = temperature};

    return score(w, &a, out, err);
}

int learner_score_source(struct learner_work *w, const struct learner_score_job *jobs, size_t count,
                         const struct rlhf_source_settings *source, struct learner_answer *out, struct rlhf_error *err)
{
    struct learner_action a = {.kind = LEARNER_SCORE, .score = jobs, .score_count = count, .source = source};

    return score(w, &a, out, err);
}

int learner_read_prompts(struct learner_work *w, const char *path, uint32_t context, int64_t max_new_tokens,
                         int64_t count, struct rlhf_demonstrations *out, size_t *used, struct rlhf_error *err)
{
    *out = (struct rlhf_demonstrations){0};
    if (max_new_tokens >= context)
        return rlhf_fail(err, RLHF_REJECT,
                         "sampling.max_new_tokens %lld leaves no room for a prompt in a context of %u",
                         (long long)max_new_tokens, context);
    if (rlhf_read_prompts(path, &w->t->form, (size_t)(context - max_new_tokens), out, err) < 0)
        return -1;
    if (out->skipped)
        rlhf_log(RLHF_LEVEL_WARNING, "prompts-too-long path=%s left_out=%zu", path, out->skipped);
    *used = out->sequences.count;
    if (count > 0 && *used > (size_t)count)
        *used = (size_t)count;
    if (*used > 0)
        return 0;
    rlhf_demonstrations_free(out);
    return rlhf_fail(err, RLHF_REJECT, "%s: no prompt that fits %lld tokens", path,
                     (long long)(context - max_new_tokens));
}

/* Length of the valid UTF-8 character at s (of at most n bytes), 0 when there is none. */
static size_t utf8_character(const unsigned char *s, size_t n)
{
    size_t size = s[0] < 0x80                   ? 1
                  : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                  : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                  : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                                : 0;

    if (size == 0 || size > n || s[0] == 0)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)     /* overlong; surrogate */
        || (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) /* overlong; above U+10FFFF */
        return 0;
    return size;
}

int learner_decode(const struct learner_trainer *t, const int32_t *ids, size_t count, struct rlhf_bytes *out,
                   struct rlhf_error *err)
{
    struct rlhf_bytes raw = {0};
    int rc = rlhf_tokenizer_decode(t->tokenizer, ids, count, 0, &raw, err);

    for (size_t i = 0; rc == 0 && i < raw.size;) {
        size_t size = utf8_character((const unsigned char *)raw.data + i, raw.size - i);
        rc = size ? rlhf_bytes_append(out, raw.data + i, size, err)
                  : rlhf_bytes_append(out, "\xEF\xBF\xBD", 3, err);
        i += size ? size : 1;
    }
    rlhf_bytes_free(&raw);
    return rc;
}

json_t *learner_ids_json(const int32_t *ids, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

/* The ids as JSON, if it went well; they are freed. */
static json_t *taken(struct rlhf_tokens *ids, int rc)
{
    json_t *list = rc == 0 ? learner_ids_json(ids->data, ids->size) : NULL;

    rlhf_tokens_free(ids);
    return list;
}

json_t *learner_prompt_ids(const struct learner_trainer *t, const char *prompt, struct rlhf_error *err)
{
    struct rlhf_tokens ids = {0};

    return taken(&ids, rlhf_form_prompt(&t->form, prompt, &ids, err));
}

json_t *learner_completion_ids(const struct learner_trainer *t, const char *prompt, const char *completion, struct rlhf_error *err)
{
    struct rlhf_tokens ids = {0};

    return taken(&ids, rlhf_form_completion(&t->form, prompt, completion, &ids, err));
}
