#include "reward-scorer/marker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEQUENCES = 256 };

struct weights {
    struct rlhf_digest digest;
    struct rlhf_model *model;
    struct rlhf_pass *pass; /* made at first use */
};

struct job {
    struct marker_job job;
    int32_t *ids;
    struct job *next;
};

struct marker {
    size_t max_tokens;
    struct rlhf_pool *pool;
    marker_done *done;
    void *ctx;
    struct weights *weights;
    size_t weights_count;
    struct job *first, **last;
    /* of one batch, [capacity] tokens */
    int32_t *tokens, *target;
    float *logprob, *scalar;
    size_t capacity;
};

static void job_free(struct job *job)
{
    if (job)
        free(job->ids);
    free(job);
}

static struct weights *find(struct marker *k, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < k->weights_count; i++)
        if (rlhf_digest_equal(&k->weights[i].digest, digest))
            return &k->weights[i];
    return NULL;
}

static struct job *take_out(struct marker *k, struct job **at)
{
    struct job *job = *at;

    if (!(*at = job->next))
        k->last = at;
    return job;
}

static struct job *pop(struct marker *k)
{
    return take_out(k, &k->first);
}

static void fail_job(struct marker *k, struct job *job, const struct rlhf_error *err)
{
    k->done(k->ctx, &(struct marker_result){ .tag = job->job.tag, .error = err });
}

static int check_model(struct marker *k, const struct marker_job *job, const struct rlhf_digest *digest,
                       enum rlhf_head head, const char *what, struct rlhf_error *err)
{
    const struct weights *w = find(k, digest);
    const struct rlhf_model_config *c = w ? rlhf_model_get_config(w->model) : NULL;

    if (!w)
        return rlhf_fail(err, RLHF_REJECT, "the job's %s is not here", what);
    if (c->head != head)
        return rlhf_fail(err, RLHF_REJECT, "the job's %s has %s head", what,
                         c->head == RLHF_HEAD_LM ? "a language-model" : "a scalar");
    if (job->count > c->context)
        return rlhf_fail(err, RLHF_REJECT, "the sequence has %zu tokens, the %s takes up to %u", job->count, what,
                         c->context);
    for (size_t i = 0; i < job->count; i++)
        if (job->ids[i] < 0 || (uint32_t)job->ids[i] >= c->vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "token %zu is %d, outside the %s's vocabulary of %u", i, job->ids[i],
                             what, c->vocabulary);
    return 0;
}

static int check(struct marker *k, const struct marker_job *job, struct rlhf_error *err)
{
    if (job->prompt_count == 0 || job->prompt_count >= job->count)
        return rlhf_fail(err, RLHF_REJECT, "%zu tokens of which %zu are the prompt's leave nothing to score",
                         job->count, job->prompt_count);
    if (!rlhf_digest_is_zero(&job->reward_model)
        && check_model(k, job, &job->reward_model, RLHF_HEAD_SCALAR, "reward model", err) < 0)
        return -1;
    if (!rlhf_digest_is_zero(&job->reference)
        && (check_model(k, job, &job->reference, RLHF_HEAD_LM, "reference", err) < 0
            || !(job->temperature > 0 && isfinite(job->temperature))))
        return err->code != RLHF_OK ? -1
                                    : rlhf_fail(err, RLHF_REJECT, "the temperature %g is not above 0",
                                                (double)job->temperature);
    return 0;
}

int marker_add(struct marker *k, const struct marker_job *job, struct rlhf_error *err)
{
    struct job *j = calloc(1, sizeof *j);
    struct rlhf_error why = { 0 };

    if (!j || !(j->ids = calloc(job->count + 1, sizeof *j->ids))) {
        job_free(j);
        return rlhf_fail(err, RLHF_FULL, "no memory for a job");
    }
    j->job = *job;
    memcpy(j->ids, job->ids, job->count * sizeof *j->ids);
    j->job.ids = j->ids;
    if (check(k, job, &why) < 0) {
        fail_job(k, j, &why);
        job_free(j);
        return 0;
    }
    *k->last = j;
    k->last = &j->next;
    return 0;
}

static bool same_models(const struct marker_job *a, const struct marker_job *b)
{
    return rlhf_digest_equal(&a->reward_model, &b->reward_model) && rlhf_digest_equal(&a->reference, &b->reference)
           && a->temperature == b->temperature;
}

static int grow(struct marker *k, size_t tokens, struct rlhf_error *err)
{
    if (tokens <= k->capacity)
        return 0;
    free(k->tokens);
    free(k->target);
    free(k->logprob);
    free(k->scalar);
    k->tokens = calloc(tokens, sizeof *k->tokens);
    k->target = calloc(tokens, sizeof *k->target);
    k->logprob = calloc(tokens, sizeof *k->logprob);
    k->scalar = calloc(tokens, sizeof *k->scalar);
    k->capacity = tokens;
    if (k->tokens && k->target && k->logprob && k->scalar)
        return 0;
    k->capacity = 0;
    return rlhf_fail(err, RLHF_FULL, "no memory for a batch of %zu tokens", tokens);
}

static int forward(struct marker *k, struct weights *w, const struct rlhf_batch *b, struct rlhf_error *err)
{
    if (!w)
        return rlhf_fail(err, RLHF_REJECT, "the job's weights were dropped before its turn");
    if (!w->pass && !(w->pass = rlhf_pass_new(rlhf_model_get_config(w->model), k->pool, 0, err)))
        return -1;
    return rlhf_pass_forward(w->pass, w->model, b, err);
}

static int mark(struct marker *k, const struct marker_job *job, const struct rlhf_batch *b, struct rlhf_error *err)
{
    struct weights *w;

    if (!rlhf_digest_is_zero(&job->reward_model)) {
        w = find(k, &job->reward_model);
        if (forward(k, w, b, err) < 0 || rlhf_pass_scalars(w->pass, w->model, k->scalar, err) < 0)
            return -1;
    }
    if (!rlhf_digest_is_zero(&job->reference)) {
        w = find(k, &job->reference);
        if (forward(k, w, b, err) < 0
            || rlhf_pass_logprobs(w->pass, w->model, k->target, job->temperature, k->logprob, NULL, err) < 0)
            return -1;
    }
    return 0;
}

/* Says what became of a job of the batch: `end` is past its last row. Weights that are no numbers give none. */
static void report(struct marker *k, struct job *job, size_t end, const struct rlhf_error *failed)
{
    const struct marker_job *j = &job->job;
    struct marker_result r = { .tag = j->tag };
    struct rlhf_error err = *failed;

    if (!rlhf_digest_is_zero(&j->reward_model))
        r.reward = k->scalar[end - 1];
    if (!rlhf_digest_is_zero(&j->reference)) {
        r.logprob_ref = k->logprob + end - 1 - (j->count - j->prompt_count);
        r.count = j->count - j->prompt_count;
    }
    if (err.code == RLHF_OK && !isfinite(r.reward))
        rlhf_fail(&err, RLHF_CORRUPT, "the reward is %g: the reward model's weights are damaged", (double)r.reward);
    for (size_t t = 0; t < r.count && err.code == RLHF_OK; t++)
        if (!isfinite(r.logprob_ref[t]))
            rlhf_fail(&err, RLHF_CORRUPT, "reference log-prob %zu is %g: the reference's weights are damaged", t,
                      (double)r.logprob_ref[t]);
    if (err.code != RLHF_OK)
        fail_job(k, job, &err);
    else
        k->done(k->ctx, &r);
}

static bool same_prompt(const struct marker_job *a, const struct marker_job *b)
{
    return a->prompt_count == b->prompt_count && memcmp(a->ids, b->ids, a->prompt_count * sizeof *a->ids) == 0;
}

/* Jobs of the same models, which are computed together. */
struct batch {
    struct job *jobs[MAX_SEQUENCES];
    uint32_t start[MAX_SEQUENCES + 1], prefix[MAX_SEQUENCES];
    size_t count;
};

/* Where the job waits that goes into the batch next: one of the last one's prompt, which was computed with that, or else the first.
 * *prefix is how many of its tokens are there already: all of the prompt but the last, whose row says what follows it. */
static struct job **next_job(struct marker *k, const struct batch *b, uint32_t *prefix)
{
    const struct marker_job *last = b->count > 0 ? &b->jobs[b->count - 1]->job : NULL;
    struct job **at = &k->first;

    while (last && *at && !(same_models(&(*at)->job, last) && same_prompt(&(*at)->job, last)))
        at = &(*at)->next;
    *prefix = last && *at ? (uint32_t)last->prompt_count - 1 : 0;
    return *at ? at : &k->first;
}

/* Takes jobs of the first one's models, as many as fit. */
static void take_jobs(struct marker *k, struct batch *b)
{
    uint32_t prefix = 0;

    *b = (struct batch){ 0 };
    while (k->first && b->count < MAX_SEQUENCES) {
        struct job **at = next_job(k, b, &prefix);
        size_t end = b->start[b->count] + (*at)->job.count - prefix;

        if (b->count > 0 && (!same_models(&(*at)->job, &b->jobs[0]->job) || end > k->max_tokens))
            return;
        b->jobs[b->count] = take_out(k, at);
        b->prefix[b->count++] = prefix;
        b->start[b->count] = (uint32_t)end;
    }
}

/* The rows of job i. */
static void fill(struct marker *k, const struct batch *b, size_t i)
{
    const struct marker_job *job = &b->jobs[i]->job;
    size_t at = b->start[i];

    for (size_t t = b->prefix[i]; t < job->count; t++, at++) { /* position t predicts token t + 1 */
        k->tokens[at] = job->ids[t];
        k->target[at] = t + 1 >= job->prompt_count && t + 1 < job->count ? job->ids[t + 1] : -1;
    }
}

bool marker_step(struct marker *k)
{
    struct rlhf_error err = { 0 };
    struct batch b;

    if (!k->first)
        return false;
    take_jobs(k, &b);
    if (grow(k, b.start[b.count], &err) == 0) {
        for (size_t i = 0; i < b.count; i++)
            fill(k, &b, i);
        mark(k, &b.jobs[0]->job, &(struct rlhf_batch){ .tokens = k->tokens, .start = b.start, .sequences = b.count, .prefix = b.prefix }, &err);
    }
    for (size_t i = 0; i < b.count; i++) {
        report(k, b.jobs[i], b.start[i + 1], &err);
        job_free(b.jobs[i]);
    }
    return true;
}

int marker_add_model(struct marker *k, const struct rlhf_digest *digest, struct rlhf_model *m, struct rlhf_error *err)
{
    struct weights *more;

    if (find(k, digest)) {
        rlhf_model_free(m);
        return 0;
    }
    if (!(more = reallocarray(k->weights, k->weights_count + 1, sizeof *more))) {
        rlhf_model_free(m);
        return rlhf_fail(err, RLHF_FULL, "no memory for another model");
    }
    k->weights = more;
    k->weights[k->weights_count++] = (struct weights){ .digest = *digest, .model = m };
    return 0;
}

static void weights_free(struct weights *w)
{
    rlhf_pass_free(w->pass);
    rlhf_model_free(w->model);
}

void marker_drop_model(struct marker *k, const struct rlhf_digest *digest)
{
    struct weights *w = find(k, digest);

    if (!w)
        return;
    weights_free(w);
    *w = k->weights[--k->weights_count];
}

void marker_cancel(struct marker *k)
{
    while (k->first)
        job_free(pop(k));
}

struct marker *marker_new(size_t max_tokens, struct rlhf_pool *pool, marker_done *done, void *ctx, struct rlhf_error *err)
{
    struct marker *k = calloc(1, sizeof *k);

    if (!k) {
        rlhf_fail(err, RLHF_FULL, "no memory");
        return NULL;
    }
    k->max_tokens = max_tokens;
    k->pool = pool;
    k->done = done;
    k->ctx = ctx;
    k->last = &k->first;
    return k;
}

void marker_free(struct marker *k)
{
    if (!k)
        return;
    marker_cancel(k);
    for (size_t i = 0; i < k->weights_count; i++)
        weights_free(&k->weights[i]);
    free(k->weights);
    free(k->tokens);
    free(k->target);
    free(k->logprob);
    free(k->scalar);
    free(k);
}
