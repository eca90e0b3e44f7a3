/* train_evaluate.c - what policies do on prompts that nobody trained on, under the same random numbers for
 * each.
 *
 * For every policy: DIR/evaluations/STAGE/POLICY.jsonl (completions), POLICY.exact.jsonl (exact-match tasks)
 * and POLICY.metrics.json; at the end metrics.json with all of them. A policy whose metrics are there is not
 * done again.
 *
 * Exact match: the greedy completion up to its first newline, leading white space dropped, begins with the
 * expected text, and the character behind it is not a letter or digit (recipe.md: T = 0, cut at the first
 * newline). */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "learner/train_sources.h"
#include "learner/train_suites.h"

/* Prompts of all files of one list, one behind the other. */
struct prompts {
    const struct rlhf_run_file *files;
    struct rlhf_demonstrations *sets; /* [count] */
    size_t *used;                     /* [count] */
    size_t count, total;
};

struct evaluation {
    struct learner_work *w;
    const struct rlhf_stage_evaluate *settings;
    uint32_t context;
    struct prompts prompts, exact;
    struct rlhf_sequences *documents; /* [settings->perplexity.count] */
    struct learner_suites *suites;
    struct rlhf_digest reference, reward_model;
    struct learner_sources sources;
    float *model, *reward;              /* [completions of a policy] the reward model's; of all sources */
    const char **prompt_text, **answer; /* [completions of a policy] borrowed of prompts               */
};

/* ---- reading ----------------------------------------------------------------------------------------- */

static void prompts_free(struct prompts *p)
{
    for (size_t i = 0; p->sets && i < p->count; i++)
        rlhf_demonstrations_free(&p->sets[i]);
    free(p->sets);
    free(p->used);
}

static int prompts_read(struct evaluation *e, struct prompts *p, const struct rlhf_config_list *list,
                        struct rlhf_error *err)
{
    p->files = list->items;
    if (list->count == 0)
        return 0;
    p->sets = calloc(list->count, sizeof *p->sets);
    p->used = calloc(list->count, sizeof *p->used);
    if (!p->sets || !p->used)
        return rlhf_fail(err, RLHF_FULL, "out of memory for prompts");
    for (p->count = 0; p->count < list->count; p->count++) {
        const struct rlhf_run_file *f = &p->files[p->count];
        if (learner_read_prompts(e->w, f->file, e->context, e->settings->sampling.max_new_tokens, f->count,
                                 &p->sets[p->count], &p->used[p->count], err) < 0)
            return -1;
        p->total += p->used[p->count];
    }
    return 0;
}

static int documents_read(struct evaluation *e, struct rlhf_error *err)
{
    const struct rlhf_config_list *list = &e->settings->perplexity;
    const struct rlhf_run_file *files = list->items;

    if (list->count && !(e->documents = calloc(list->count, sizeof *e->documents)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for documents");
    for (size_t i = 0; i < list->count; i++) {
        if (rlhf_read_documents(files[i].file, e->w->t->tokenizer, &e->documents[i], err) < 0)
            return -1;
        if (e->documents[i].count == 0)
            return rlhf_fail(err, RLHF_REJECT, "%s: no document", files[i].file);
    }
    return 0;
}

/* Publishes what every policy is measured against, and finds the context that all models have. */
static int others_publish(struct evaluation *e, struct rlhf_error *err)
{
    const struct rlhf_stage_evaluate *s = e->settings;
    const struct {
        const char *stage;
        enum rlhf_head head;
        enum learner_name name;
        struct rlhf_digest *digest;
    } others[] = {{s->reference, RLHF_HEAD_LM, LEARNER_NAME_REFERENCE, &e->reference},
                  {s->reward_model, RLHF_HEAD_SCALAR, LEARNER_NAME_REWARD_MODEL, &e->reward_model}};

    e->context = UINT32_MAX;
    for (size_t i = 0; i < 2; i++) {
        struct rlhf_model *m;
        int rc;
        if (!others[i].stage)
            continue;
        if (!(m = learner_load_model(e->w, others[i].stage, others[i].head, err)))
            return -1;
        if (rlhf_model_get_config(m)->context < e->context)
            e->context = rlhf_model_get_config(m)->context;
        rc = learner_publish(e->w, others[i].name, 0, m, others[i].digest, err);
        rlhf_model_free(m);
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < s->policies.count; i++) {
        struct rlhf_model *m = learner_load_model(e->w, s->policies.items[i], RLHF_HEAD_LM, err);
        if (!m)
            return -1;
        if (rlhf_model_get_config(m)->context < e->context)
            e->context = rlhf_model_get_config(m)->context;
        rlhf_model_free(m);
    }
    return 0;
}

/* ---- jobs -------------------------------------------------------------------------------------------- */

/* samples completions of every prompt; a draw is named by file, prompt and sample, never by the policy. */
static struct learner_generate_job *make_jobs(const struct prompts *p, uint32_t samples,
                                              struct rlhf_digest weights, struct rlhf_error *err)
{
    struct learner_generate_job *jobs = calloc(p->total * samples, sizeof *jobs);
    size_t n = 0;

    if (!jobs) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu jobs", p->total * samples);
        return NULL;
    }
    for (size_t f = 0; f < p->count; f++)
        for (size_t i = 0; i < p->used[f]; i++)
            for (uint32_t s = 0; s < samples; s++) {
                const struct rlhf_sequences *q = &p->sets[f].sequences;
                uint32_t name = (uint32_t)(f << 24 | i);
                jobs[n++] = (struct learner_generate_job){.prompt = name,
                                                          .sample = s,
                                                          .key_prompt = name,
                                                          .key_sample = s,
                                                          .weights = weights,
                                                          .prompt_ids = q->tokens.data + q->start[i],
                                                          .prompt_count = q->start[i + 1] - q->start[i]};
            }
    return jobs;
}

/* Prompts with their completions, to be scored. The ids are one block, *block, freed by the caller. */
static struct learner_score_job *make_score_jobs(const struct learner_generate_job *jobs,
                                                 const struct learner_answer *a, int32_t **block,
                                                 struct rlhf_error *err)
{
    struct learner_score_job *out = calloc(a->count, sizeof *out);
    size_t total = 0, at = 0;

    for (size_t i = 0; i < a->count; i++)
        total += jobs[i].prompt_count + a->rollouts[i].count;
    *block = calloc(total ? total : 1, sizeof **block);
    if (!out || !*block) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu tokens to score", total);
        free(out);
        return NULL;
    }
    for (size_t i = 0; i < a->count; i++) {
        uint32_t prompt = jobs[i].prompt_count, count = a->rollouts[i].count;
        memcpy(*block + at, jobs[i].prompt_ids, prompt * sizeof **block);
        memcpy(*block + at + prompt, a->rollouts[i].ids, count * sizeof **block);
        out[i] =
            (struct learner_score_job){.ids = *block + at, .count = prompt + count, .prompt_count = prompt};
        at += prompt + count;
    }
    return out;
}

/* ---- completions ------------------------------------------------------------------------------------- */

struct sums {
    double n, kl, reward, rewarded, tokens, ended;
};

static bool has_rewards(const struct evaluation *e)
{
    return e->settings->reward_model || e->settings->rewards.count > 0;
}

static json_t *means(const struct evaluation *e, const struct sums *s)
{
    json_t *o = json_object();

    if (e->settings->reference)
        learner_metric(o, "kl", s->kl / s->n);
    if (has_rewards(e))
        learner_metric(o, "reward", s->reward / s->rewarded);
    if (has_rewards(e) && s->rewarded < s->n)
        learner_metric(o, "missing", s->n - s->rewarded);
    learner_metric(o, "length", s->tokens / s->n);
    learner_metric(o, "ended", s->ended / s->n);
    return o;
}

/* The KL of a completion: of the distribution it was sampled from where that is whole, else of the untempered
 * one. */
static double kl_of(const struct learner_rollout *r, const float *logprob_ref, bool whole)
{
    double kl = 0;

    for (uint32_t t = 0; t < r->count; t++)
        kl += (double)(whole ? r->logprob[t] : r->logprob_raw[t]) - logprob_ref[t];
    return kl;
}

static int put_completion(struct evaluation *e, const struct rlhf_run_file *file, size_t index,
                          uint32_t sample, const char *prompt, const struct learner_rollout *r,
                          const struct learner_score *score, float reward, bool whole, struct sums *set,
                          struct rlhf_bytes *lines, struct rlhf_error *err)
{
    struct rlhf_bytes text = {0};
    json_t *o;
    int rc = learner_decode(e->w->t, r->ids, r->count, &text, err);

    o = rc == 0 ? json_pack("{s:s, s:I, s:I, s:s, s:s, s:b, s:I}", "set", file->name, "index",
                            (json_int_t)index, "sample", (json_int_t)sample, "prompt", prompt, "completion",
                            text.data ? text.data : "", "ended", r->ended, "tokens", (json_int_t)r->count)
                : NULL;
    set->n++;
    set->tokens += r->count;
    set->ended += r->ended;
    if (o && score && e->settings->reference) {
        double kl = kl_of(r, score->logprob_ref, whole);
        learner_metric(o, "kl", kl);
        set->kl += kl;
    }
    if (o && has_rewards(e)) {
        learner_metric(o, "reward", reward);
        set->reward += isnan(reward) ? 0 : reward;
        set->rewarded += !isnan(reward);
    }
    if (rc == 0)
        rc = o ? learner_append_json(lines, o, err)
               : rlhf_fail(err, RLHF_FULL, "out of memory for completions");
    json_decref(o);
    rlhf_bytes_free(&text);
    return rc;
}

static int rewards_open(struct evaluation *e, struct rlhf_error *err)
{
    const struct rlhf_stage_evaluate *s = e->settings;
    const struct prompts *p = &e->prompts;
    size_t all = p->total * (size_t)s->samples, n = 0;

    e->model = calloc(all + 1, sizeof *e->model);
    e->reward = calloc(all + 1, sizeof *e->reward);
    e->prompt_text = calloc(all + 1, sizeof *e->prompt_text);
    e->answer = calloc(all + 1, sizeof *e->answer);
    if (!e->model || !e->reward || !e->prompt_text || !e->answer)
        return rlhf_fail(err, RLHF_FULL, "out of memory for the rewards of %zu completions", all);
    for (size_t f = 0; f < p->count; f++)
        for (size_t i = 0; i < p->used[f]; i++)
            for (int64_t k = 0; k < s->samples; k++, n++) {
                e->prompt_text[n] = p->sets[f].text[i];
                e->answer[n] = p->sets[f].expected[i];
            }
    return learner_sources_open(&e->sources, e->w, &s->rewards, s->reward_model != NULL, all + 1, err);
}

static void rewards_close(struct evaluation *e)
{
    learner_sources_close(&e->sources);
    free(e->model), free(e->reward), free(e->prompt_text), free(e->answer);
}

/* Of all sources, of which a model's are in scores. */
static int reward(struct evaluation *e, struct learner_score_job *jobs, size_t count, const struct learner_answer *scores,
                  json_t *metrics, struct rlhf_error *err)
{
    if (!has_rewards(e))
        return 0;
    for (size_t i = 0; i < count; i++)
        e->model[i] = e->settings->reward_model ? scores->scores[i].reward : NAN;
    learner_sources_begin(&e->sources);
    if (learner_sources_reward(&e->sources, jobs, count, e->prompt_text, e->answer, e->model, e->w->step, 0, e->reward, err) < 0)
        return -1;
    learner_sources_report(&e->sources, metrics);
    return 0;
}

static int complete(struct evaluation *e, struct rlhf_digest weights, struct rlhf_bytes *lines,
                    json_t *metrics, struct rlhf_error *err)
{
    struct prompts *p = &e->prompts;
    struct rlhf_sampling sampling = learner_sampling(&e->settings->sampling);
    bool whole = learner_sampling_whole(&sampling),
         scored = e->settings->reference || e->settings->reward_model;
    uint32_t samples = (uint32_t)e->settings->samples;
    struct learner_generate_job *jobs = make_jobs(p, samples, weights, err);
    struct learner_score_job *score_jobs = NULL;
    struct learner_answer a = {0}, scores = {0};
    struct sums all = {0};
    json_t *sets = json_object();
    int32_t *block = NULL;
    size_t n = 0;
    int rc = -1;

    if (!jobs ||
        learner_generate(e->w, jobs, p->total * samples, &e->settings->sampling, &sampling,
                         RLHF_PURPOSE_EVALUATE, &a, err) < 0)
        goto out;
    if (!(score_jobs = make_score_jobs(jobs, &a, &block, err)) ||
        (scored && learner_score(e->w, score_jobs, a.count, e->reward_model, e->reference, whole ? sampling.temperature : 1,
                                 &scores, err) < 0) ||
        reward(e, score_jobs, a.count, &scores, metrics, err) < 0)
        goto out;
    for (size_t f = 0; f < p->count; f++) {
        struct sums set = {0};
        for (size_t i = 0; i < p->used[f]; i++)
            for (uint32_t s = 0; s < samples; s++, n++)
                if (put_completion(e, &p->files[f], i, s, p->sets[f].text[i], &a.rollouts[n],
                                   scored ? &scores.scores[n] : NULL, e->reward[n], whole, &set, lines, err) < 0)
                    goto out;
        json_object_set_new(sets, p->files[f].name, means(e, &set));
        all.n += set.n, all.kl += set.kl, all.reward += set.reward, all.rewarded += set.rewarded, all.tokens += set.tokens,
            all.ended += set.ended;
    }
    e->w->tokens += (uint64_t)all.tokens;
    json_object_update_new(metrics, means(e, &all));
    json_object_set(metrics, "sets", sets);
    rc = 0;
out:
    json_decref(sets);
    learner_answer_free(&a);
    learner_answer_free(&scores);
    free(jobs);
    free(score_jobs);
    free(block);
    return rc;
}

/* ---- exact match ------------------------------------------------------------------------------------- */

static bool matches(const char *completion, const char *expected)
{
    const char *end;
    size_t size;

    completion += strspn(completion, " \t");
    expected += strspn(expected, " \t");
    size = strlen(expected);
    end = completion + strcspn(completion, "\n");
    return (size_t)(end - completion) >= size && memcmp(completion, expected, size) == 0 &&
           !isalnum((unsigned char)completion[size]);
}

/* Two tokens more than the longest expected text: enough to see where the answer ends. */
static int longest_expected(struct evaluation *e, uint32_t *tokens, struct rlhf_error *err)
{
    struct prompts *p = &e->exact;
    struct rlhf_tokens ids = {0};
    int rc = 0;

    *tokens = 1;
    for (size_t f = 0; f < p->count; f++)
        for (size_t i = 0; rc == 0 && i < p->used[f]; i++) {
            const char *expected = p->sets[f].expected[i];
            if (!expected) {
                rc = rlhf_fail(err, RLHF_REJECT, "%s: prompt %zu has no \"expected\"", p->files[f].file,
                               i + 1);
                break;
            }
            rlhf_tokens_clear(&ids);
            rc = rlhf_tokenizer_encode(e->w->t->tokenizer, expected, strlen(expected), &ids, err);
            *tokens = ids.size > *tokens ? (uint32_t)ids.size : *tokens;
        }
    rlhf_tokens_free(&ids);
    *tokens += 2;
    if (*tokens > (uint32_t)e->settings->sampling.max_new_tokens)
        *tokens = (uint32_t)e->settings->sampling.max_new_tokens;
    return rc;
}

static int exact(struct evaluation *e, struct rlhf_digest weights, struct rlhf_bytes *lines, json_t *metrics,
                 struct rlhf_error *err)
{
    struct prompts *p = &e->exact;
    struct rlhf_sampling greedy = {.top_p = 1};
    struct learner_generate_job *jobs = NULL;
    struct learner_answer a = {0};
    json_t *accuracies = json_object();
    size_t n = 0;
    int rc = -1;

    if (longest_expected(e, &greedy.max_new_tokens, err) < 0 || !(jobs = make_jobs(p, 1, weights, err)) ||
        learner_generate(e->w, jobs, p->total, &e->settings->sampling, &greedy, RLHF_PURPOSE_EVALUATE, &a, err) < 0)
        goto out;
    for (size_t f = 0; f < p->count; f++) {
        double right = 0;
        for (size_t i = 0; i < p->used[f]; i++, n++) {
            const struct learner_rollout *r = &a.rollouts[n];
            struct rlhf_bytes text = {0};
            json_t *o;
            bool match;
            if (learner_decode(e->w->t, r->ids, r->count, &text, err) < 0) {
                rlhf_bytes_free(&text);
                goto out;
            }
            match = matches(text.data ? text.data : "", p->sets[f].expected[i]);
            right += match;
            e->w->tokens += r->count;
            o = json_pack("{s:s, s:I, s:s, s:s, s:s, s:b}", "set", p->files[f].name, "index", (json_int_t)i,
                          "prompt", p->sets[f].text[i], "completion", text.data ? text.data : "", "expected",
                          p->sets[f].expected[i], "right", match);
            rlhf_bytes_free(&text);
            if (!o || learner_append_json(lines, o, err) < 0) {
                json_decref(o);
                goto out;
            }
            json_decref(o);
        }
        learner_metric(accuracies, p->files[f].name, right / (double)p->used[f]);
    }
    json_object_set(metrics, "exact", accuracies);
    rc = 0;
out:
    json_decref(accuracies);
    learner_answer_free(&a);
    free(jobs);
    return rc;
}

/* ---- perplexity -------------------------------------------------------------------------------------- */

/* Items of at most the context: a longer document is read in pieces. Returns how many; *out is freed by the
 * caller. */
static size_t pieces(const struct rlhf_sequences *d, size_t documents, uint32_t context,
                     struct learner_item **out, struct rlhf_error *err)
{
    size_t n = 0, most = d->start[documents] / context + documents;

    if (!(*out = calloc(most, sizeof **out))) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu documents", documents);
        return 0;
    }
    for (size_t i = 0; i < documents; i++)
        for (uint32_t at = d->start[i]; at < d->start[i + 1]; at += context) {
            uint32_t left = d->start[i + 1] - at;
            (*out)[n++] =
                (struct learner_item){.ids = d->tokens.data + at, .count = left < context ? left : context};
        }
    return n;
}

static int perplexity(struct evaluation *e, const struct rlhf_model *m, json_t *metrics,
                      struct rlhf_error *err)
{
    const struct rlhf_run_file *files = e->settings->perplexity.items;
    uint32_t context = rlhf_model_get_config(m)->context;
    struct learner_compute c = {0};
    json_t *o = json_object();
    double all = 0, all_tokens = 0;
    int rc = learner_compute_init(&c, rlhf_model_get_config(m), e->w->t->pool, false, err);

    for (size_t f = 0; rc == 0 && f < e->settings->perplexity.count; f++) {
        size_t documents = e->documents[f].count;
        struct learner_item *items;
        double sum, tokens;
        size_t n;
        if (files[f].count && (size_t)files[f].count < documents)
            documents = (size_t)files[f].count;
        n = pieces(&e->documents[f], documents, context, &items, err);
        tokens = (double)learner_targets(items, n);
        rc = n == 0 ? -1 : learner_lm_sum(&c, m, items, n, &sum, err);
        free(items);
        if (rc < 0)
            break;
        learner_metric(o, files[f].name, exp(sum / tokens));
        all += sum;
        all_tokens += tokens;
    }
    if (rc == 0) {
        e->w->tokens += (uint64_t)all_tokens;
        json_object_set(metrics, "perplexity", o);
        learner_metric(metrics, "perplexity_overall", exp(all / all_tokens));
    }
    json_decref(o);
    learner_compute_free(&c);
    return rc;
}

/* ---- a policy, and all of them ----------------------------------------------------------------------- */

static int write_lines(struct evaluation *e, const char *policy, const char *suffix,
                       const struct rlhf_bytes *lines, struct rlhf_error *err)
{
    char path[LEARNER_PATH];

    if (learner_path(e->w->t, path, sizeof path, err, "evaluations/%s/%s%s", e->w->name, policy, suffix) < 0)
        return -1;
    return learner_write_file(e->w, path, lines, err);
}

static int measure(struct evaluation *e, const char *policy, const char *path, struct rlhf_error *err)
{
    struct rlhf_model *m = learner_load_model(e->w, policy, RLHF_HEAD_LM, err);
    struct rlhf_bytes lines = {0}, exact_lines = {0};
    struct rlhf_digest weights;
    json_t *metrics = json_object();
    int rc = -1;

    learner_progress(e->w, "%s", policy);
    if (m && learner_publish(e->w, LEARNER_NAME_POLICY, e->w->step, m, &weights, err) == 0 &&
        (e->prompts.total == 0 || complete(e, weights, &lines, metrics, err) == 0) &&
        (e->exact.total == 0 || exact(e, weights, &exact_lines, metrics, err) == 0) &&
        (e->settings->perplexity.count == 0 || perplexity(e, m, metrics, err) == 0) &&
        learner_suites_measure(e->suites, e->w, m, policy, metrics, err) == 0 &&
        (e->prompts.total == 0 || write_lines(e, policy, ".jsonl", &lines, err) == 0) &&
        (e->exact.total == 0 || write_lines(e, policy, ".exact.jsonl", &exact_lines, err) == 0))
        rc = learner_write_json(e->w, path, metrics, err);
    json_decref(metrics);
    rlhf_bytes_free(&lines);
    rlhf_bytes_free(&exact_lines);
    rlhf_model_free(m);
    return rc;
}

static int measure_all(struct evaluation *e, struct rlhf_error *err)
{
    const struct rlhf_config_strings *policies = &e->settings->policies;
    json_t *models = json_object(), *all = json_pack("{s:o}", "models", models);
    char path[LEARNER_PATH];
    int rc = 0;

    e->w->steps = policies->count;
    for (size_t i = 0; rc == 0 && i < policies->count; i++) {
        const char *policy = policies->items[i];
        json_t *o;
        e->w->step = i;
        rc = learner_path(e->w->t, path, sizeof path, err, "evaluations/%s/%s.metrics.json", e->w->name,
                          policy);
        if (rc == 0 && !rlhf_exists(e->w->t->io, path))
            rc = learner_stopping(e->w) ? learner_stopped(err) : measure(e, policy, path, err);
        if (rc == 0) {
            o = learner_read_json(e->w->t, path, err);
            rc = o && json_object_set_new(models, policy, o) == 0 ? 0 : -1;
        }
    }
    e->w->step = policies->count;
    if (rc == 0)
        rc = learner_write_measured(e->w, all, err);
    json_decref(all);
    return rc;
}

int learner_evaluate(struct learner_work *w, struct rlhf_error *err)
{
    struct evaluation e = {.w = w, .settings = w->stage->evaluate};
    char path[LEARNER_PATH];
    int rc = -1;

    if (learner_path(w->t, path, sizeof path, err, "evaluations/%s", w->name) == 0 &&
        rlhf_make_dirs(w->t->io, path, err) == 0 && others_publish(&e, err) == 0 &&
        prompts_read(&e, &e.prompts, &e.settings->prompts, err) == 0 &&
        prompts_read(&e, &e.exact, &e.settings->exact, err) == 0 && documents_read(&e, err) == 0 && rewards_open(&e, err) == 0 &&
        (e.suites = learner_suites_read(&e.settings->suites, err)))
        rc = measure_all(&e, err);
    learner_suites_free(e.suites);
    rewards_close(&e);
    prompts_free(&e.prompts);
    prompts_free(&e.exact);
    for (size_t i = 0; e.documents && i < e.settings->perplexity.count; i++)
        rlhf_sequences_free(&e.documents[i]);
    free(e.documents);
    return rc;
}
