#include "evaluation/judge.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "reward/remote.h"

_Static_assert((int)RLHF_SOURCE_JUDGE == 4 && (int)RLHF_LENGTH_CHARACTERS == 2, "the run file's lists are these");

struct rlhf_source_settings rlhf_judge_settings(const struct rlhf_run_source *s, int kind)
{
    return (struct rlhf_source_settings){
        .kind = (enum rlhf_source_kind)(kind - 1),
        .name = s->name,
        .expression = s->expression ?: "",
        .matched = s->matched,
        .unmatched = s->unmatched,
        .numbers = s->numbers,
        .unit = (enum rlhf_length_unit)s->unit,
        .low = s->low,
        .high = s->high,
        .per_unit = s->per_unit,
        .url = s->url ?: "",
        .credential = s->credential ?: "",
        .timeout_ms = (uint32_t)s->timeout_ms,
        .attempts = (uint32_t)s->attempts,
        .backoff_ms = (uint32_t)s->backoff_ms,
        .batch = s->batch > 0 ? (uint32_t)s->batch : 1,
        .concurrency = (uint32_t)s->concurrency,
        .model = s->model ?: "",
        .system = s->system ?: "",
        .question = s->question ?: "",
        .key = s->key ?: "",
        .max_tokens = (uint32_t)s->max_tokens,
    };
}

struct rlhf_judge {
    struct rlhf_run_reward entry;
    struct rlhf_source *source;
    struct rlhf_remote *remote;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t waiting, missing;
    struct rlhf_error why;
};

/* ---- answers, on the thread of their own -------------------------------------------------------------- */

static void rewarded(void *ctx, void *tag, float reward, const struct rlhf_error *why)
{
    struct rlhf_judge *j = ctx;

    pthread_mutex_lock(&j->lock);
    *(double *)tag = reward;
    if (why) {
        j->missing++;
        j->why = *why;
    }
    j->waiting--;
    pthread_cond_signal(&j->changed);
    pthread_mutex_unlock(&j->lock);
}

static void forgotten(void *ctx, void *tag)
{
    rewarded(ctx, tag, NAN, &(struct rlhf_error){ .text = "the evaluation ended" });
}

/* ---- asking ------------------------------------------------------------------------------------------- */

static int reward_all(void *ctx, const char *const *prompts, const char *const *completions, size_t count, double *reward,
                      struct rlhf_error *err)
{
    struct rlhf_judge *j = ctx;
    int rc = 0;

    for (size_t i = 0; i < count; i++)
        reward[i] = NAN;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct rlhf_source_text text = { .prompt = prompts[i], .completion = completions[i] };

        pthread_mutex_lock(&j->lock);
        j->waiting++;
        pthread_mutex_unlock(&j->lock);
        if ((rc = rlhf_remote_add(j->remote, j->source, &text, &reward[i], err)) < 0) {
            pthread_mutex_lock(&j->lock);
            j->waiting--;
            pthread_mutex_unlock(&j->lock);
        }
    }
    rlhf_remote_flush(j->remote);
    pthread_mutex_lock(&j->lock);
    while (j->waiting > 0)
        pthread_cond_wait(&j->changed, &j->lock);
    pthread_mutex_unlock(&j->lock);
    return rc;
}

struct rlhf_judge *rlhf_judge_open(const char *path, const char *credentials, struct rlhf_error *err)
{
    struct rlhf_judge *j = calloc(1, sizeof *j);
    const struct rlhf_run_source *one;
    struct rlhf_source_settings settings;
    int kind;

    if (!j) {
        rlhf_fail(err, RLHF_FULL, "no memory for a judge");
        return NULL;
    }
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->changed, NULL);
    if (rlhf_run_reward_read(&j->entry, path, err) < 0)
        goto failed;
    one = rlhf_run_source(&j->entry, &kind);
    if (kind == 0 || !rlhf_source_is_remote((enum rlhf_source_kind)(kind - 1))) {
        rlhf_fail(err, RLHF_REJECT, "%s: describe a judge or a service; others are not asked over HTTP", path);
        goto failed;
    }
    settings = rlhf_judge_settings(one, kind);
    if (!(j->source = rlhf_source_new(&settings, err))) {
        rlhf_fail_prefix(err, "%s", path);
        goto failed;
    }
    if (!(j->remote = rlhf_remote_new(&rlhf_system_io, credentials, &(struct rlhf_remote_taker){ rewarded, forgotten, j }, err)))
        goto failed;
    return j;
failed:
    rlhf_judge_free(j);
    return NULL;
}

struct rlhf_rewarder rlhf_judge_rewarder(struct rlhf_judge *j)
{
    return (struct rlhf_rewarder){ .reward = reward_all, .ctx = j };
}

size_t rlhf_judge_missing(const struct rlhf_judge *j, const char **why)
{
    *why = j->why.text;
    return j->missing;
}

void rlhf_judge_free(struct rlhf_judge *j)
{
    if (!j)
        return;
    rlhf_remote_free(j->remote);
    rlhf_source_free(j->source);
    rlhf_run_reward_free(&j->entry);
    pthread_cond_destroy(&j->changed);
    pthread_mutex_destroy(&j->lock);
    free(j);
}
