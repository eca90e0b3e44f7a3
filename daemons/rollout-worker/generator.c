#include "rollout-worker/generator.h"

#include <stdlib.h>
#include <string.h>

struct weights {
    struct rlhf_digest digest;
    struct rlhf_model *model;
};

struct job {
    struct generator_job job;
    int32_t *prompt;
    struct rlhf_ends ends; /* all of them */
    struct job *next;
};

struct slot {
    struct job *job;    /* NULL: free */
    struct job *before; /* while free: the one whose prompt the cache still holds, or NULL */
    int32_t *ids;    /* [context] completion so far */
    float *logprob, *logprob_raw;
    size_t count;
};

struct generator {
    size_t slot_count, max_prefill;
    struct rlhf_pool *pool;
    generator_done *done;
    void *ctx;
    struct weights *weights;
    size_t weights_count;
    struct job *first, **last; /* waiting */
    size_t active;             /* slots in use; all by the model below */
    size_t prefilled;          /* prompt tokens computed */
    struct rlhf_digest model_digest;
    struct rlhf_model *model;
    struct rlhf_cache *cache; /* of the model's shape */
    struct rlhf_model_config shape;
    struct slot *slots;
    struct rlhf_extend *items;   /* [slots] */
    size_t *item_slot;           /* [slots] */
    float *logits;               /* [slots, V] */
    float *scratch;              /* [slots, 2 V] */
    struct rlhf_sampled *sampled; /* [slots] */
    struct rlhf_error *errors;    /* [slots] */
};

static void job_free(struct job *job)
{
    if (job)
        free(job->prompt);
    free(job);
}

static void fail_job(struct generator *g, const struct job *job, const struct rlhf_error *err)
{
    g->done(g->ctx, &(struct generator_result){ .tag = job->job.tag, .error = err });
}

static struct rlhf_model *find_model(struct generator *g, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < g->weights_count; i++)
        if (rlhf_digest_equal(&g->weights[i].digest, digest))
            return g->weights[i].model;
    return NULL;
}

/* What free slots hold of prompts: of weights that are no longer those in use. */
static void forget_prompts(struct generator *g)
{
    for (size_t s = 0; s < g->slot_count; s++) {
        job_free(g->slots[s].before);
        g->slots[s].before = NULL;
    }
}

static void release_buffers(struct generator *g)
{
    forget_prompts(g);
    rlhf_cache_free(g->cache);
    g->cache = NULL;
    free(g->logits);
    free(g->scratch);
    g->logits = g->scratch = NULL;
    for (size_t i = 0; i < g->slot_count; i++) {
        free(g->slots[i].ids);
        free(g->slots[i].logprob);
        free(g->slots[i].logprob_raw);
        g->slots[i] = (struct slot){ 0 };
    }
    g->shape = (struct rlhf_model_config){ 0 };
}

/* Buffers for models of this shape; kept from one policy version to the next. */
static int fit_buffers(struct generator *g, const struct rlhf_model_config *c, struct rlhf_error *err)
{
    if (g->cache && memcmp(&g->shape, c, sizeof *c) == 0)
        return 0;
    release_buffers(g);
    if (!(g->logits = rlhf_aligned_new(g->slot_count * c->vocabulary, sizeof *g->logits, err))
        || !(g->scratch = rlhf_aligned_new(2 * g->slot_count * c->vocabulary, sizeof *g->scratch, err)))
        return -1;
    for (size_t i = 0; i < g->slot_count; i++) {
        struct slot *s = &g->slots[i];

        s->ids = calloc(c->context, sizeof *s->ids);
        s->logprob = calloc(c->context, sizeof *s->logprob);
        s->logprob_raw = calloc(c->context, sizeof *s->logprob_raw);
        if (!s->ids || !s->logprob || !s->logprob_raw)
            return rlhf_fail(err, RLHF_FULL, "no memory for %zu slots of %u tokens", g->slot_count, c->context);
    }
    if (!(g->cache = rlhf_cache_new(c, g->slot_count, c->context, g->pool, err)))
        return -1;
    g->shape = *c;
    return 0;
}

static int check(struct generator *g, const struct generator_job *job, struct rlhf_error *err)
{
    const struct rlhf_model *m = find_model(g, &job->weights);
    const struct rlhf_model_config *c = m ? rlhf_model_get_config(m) : NULL;

    if (!m)
        return rlhf_fail(err, RLHF_REJECT, "the job's weights are not here");
    if (c->head != RLHF_HEAD_LM)
        return rlhf_fail(err, RLHF_REJECT, "the job's weights are no language model, completions cannot come from it");
    if (job->prompt_count == 0 || job->prompt_count >= c->context)
        return rlhf_fail(err, RLHF_REJECT, "the prompt has %zu tokens, the model takes 1 to %u and a completion",
                         job->prompt_count, c->context - 1);
    for (size_t i = 0; i < job->prompt_count; i++)
        if (job->prompt[i] < 0 || (uint32_t)job->prompt[i] >= c->vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "token %zu of the prompt is %d, outside the vocabulary of %u", i,
                             job->prompt[i], c->vocabulary);
    if (job->more_ends.count >= RLHF_MAX_ENDS)
        return rlhf_fail(err, RLHF_REJECT, "%u more end tokens; %d are allowed", job->more_ends.count, RLHF_MAX_ENDS - 1);
    return rlhf_sampling_check(&job->sampling, err);
}

int generator_add(struct generator *g, const struct generator_job *job, struct rlhf_error *err)
{
    struct job *j = calloc(1, sizeof *j);
    struct rlhf_error why = { 0 };

    if (!j || !(j->prompt = calloc(job->prompt_count + 1, sizeof *j->prompt))) {
        job_free(j);
        return rlhf_fail(err, RLHF_FULL, "no memory for a job");
    }
    j->job = *job;
    memcpy(j->prompt, job->prompt, job->prompt_count * sizeof *j->prompt);
    j->job.prompt = j->prompt;
    if (check(g, job, &why) < 0) {
        fail_job(g, j, &why);
        job_free(j);
        return 0;
    }
    j->ends = job->more_ends;
    if (job->end_token >= 0)
        j->ends.id[j->ends.count++] = job->end_token;
    *g->last = j;
    g->last = &j->next;
    return 0;
}

static bool same_prompt(const struct job *a, const struct job *b)
{
    return a->job.prompt_count == b->job.prompt_count
           && memcmp(a->prompt, b->prompt, a->job.prompt_count * sizeof *a->prompt) == 0;
}

/* The slots are empty: the oldest job's model is next. */
static int switch_model(struct generator *g, struct rlhf_error *err)
{
    struct rlhf_model *m = find_model(g, &g->first->job.weights);

    if (m != g->model)
        forget_prompts(g);
    g->model = NULL;
    if (!m)
        return rlhf_fail(err, RLHF_REJECT, "the job's weights were dropped before its turn");
    if (fit_buffers(g, rlhf_model_get_config(m), err) < 0)
        return -1;
    g->model = m;
    g->model_digest = g->first->job.weights;
    return 0;
}

static struct job *take_out(struct generator *g, struct job **at)
{
    struct job *job = *at;

    if (!(*at = job->next))
        g->last = at;
    job->next = NULL;
    return job;
}

static struct job *pop(struct generator *g)
{
    return take_out(g, &g->first);
}

/* True when one of this step's fresh items prefills the same prompt: next step its slot can be copied. */
static bool being_prefilled(const struct generator *g, const struct job *job, size_t fresh, size_t items)
{
    for (size_t i = fresh; i < items; i++)
        if (same_prompt(g->slots[g->item_slot[i]].job, job))
            return true;
    return false;
}

/* The slot whose cache holds this prompt, whether it is in use or was before; SIZE_MAX: none. */
static size_t holder(const struct generator *g, const struct job *job)
{
    for (size_t s = 0; s < g->slot_count; s++) {
        const struct job *of = g->slots[s].job ? g->slots[s].job : g->slots[s].before;

        if (of && same_prompt(of, job) && rlhf_cache_length(g->cache, s) >= job->job.prompt_count)
            return s;
    }
    return SIZE_MAX;
}

/* Lets waiting jobs of the present model in while slots are free, oldest first; those of others wait until the slots are
 * empty, so that they come in one batch, too. A job whose prompt some slot's cache holds copies it, all but the last token,
 * whose logits it needs. */
static size_t admit(struct generator *g, size_t items)
{
    size_t prefill = 0, fresh = items;
    struct job **at = &g->first;

    for (size_t s = 0; s < g->slot_count; s++) {
        struct slot *slot = &g->slots[s];
        size_t shared;
        struct job *job;

        if (slot->job)
            continue;
        while (*at && (!rlhf_digest_equal(&(*at)->job.weights, &g->model_digest)
                       || being_prefilled(g, *at, fresh, items)))
            at = &(*at)->next;
        if (!(job = *at) || (prefill > 0 && prefill + job->job.prompt_count > g->max_prefill))
            break;
        shared = holder(g, job);
        job_free(slot->before);
        *slot = (struct slot){ .job = take_out(g, at), .ids = slot->ids, .logprob = slot->logprob,
                               .logprob_raw = slot->logprob_raw };
        g->active++;
        g->items[items] = (struct rlhf_extend){ s, job->prompt, job->job.prompt_count };
        if (shared != SIZE_MAX) {
            rlhf_cache_fork(g->cache, shared, s, job->job.prompt_count - 1);
            g->items[items].tokens += job->job.prompt_count - 1;
            g->items[items].count = 1;
        } else {
            rlhf_cache_clear(g->cache, s);
        }
        prefill += g->items[items].count;
        g->prefilled += g->items[items].count;
        g->item_slot[items++] = s;
    }
    return items;
}

static void leave(struct generator *g, struct slot *slot)
{
    slot->before = slot->job;
    slot->job = NULL;
    slot->count = 0;
    g->active--;
}

static void sample(void *ctx, size_t i)
{
    struct generator *g = ctx;
    const struct slot *slot = &g->slots[g->item_slot[i]];
    const struct job *job = slot->job;
    const struct rlhf_history history = { .prompt = job->prompt,
                                          .prompt_count = job->job.prompt_count,
                                          .completion = slot->ids,
                                          .completion_count = slot->count,
                                          .ends = job->ends.id,
                                          .end_count = job->ends.count };
    size_t v = g->shape.vocabulary;

    g->errors[i] = (struct rlhf_error){ 0 };
    rlhf_sample_after(g->logits + i * v, v, &job->job.sampling, &history, &job->job.key, (uint32_t)slot->count,
                      g->scratch + 2 * i * v, &g->sampled[i], &g->errors[i]);
}

/* Appends the token sampled for item i; the sequence may be finished with it. */
static void take_token(struct generator *g, size_t i)
{
    struct slot *slot = &g->slots[g->item_slot[i]];
    const struct generator_job *job = &slot->job->job;
    bool ended;

    if (g->errors[i].code != RLHF_OK) {
        fail_job(g, slot->job, &g->errors[i]);
        leave(g, slot);
        return;
    }
    slot->ids[slot->count] = g->sampled[i].token;
    slot->logprob[slot->count] = g->sampled[i].logprob;
    slot->logprob_raw[slot->count++] = g->sampled[i].logprob_raw;
    ended = rlhf_ends_has(&slot->job->ends, g->sampled[i].token);
    if (!ended && slot->count < job->sampling.max_new_tokens && job->prompt_count + slot->count < g->shape.context)
        return;
    g->done(g->ctx, &(struct generator_result){ .tag = job->tag,
                                                .ids = slot->ids,
                                                .logprob = slot->logprob,
                                                .logprob_raw = slot->logprob_raw,
                                                .count = slot->count,
                                                .ended = ended });
    leave(g, slot);
}

static void fail_all_active(struct generator *g, const struct rlhf_error *err)
{
    for (size_t s = 0; s < g->slot_count; s++)
        if (g->slots[s].job) {
            fail_job(g, g->slots[s].job, err);
            leave(g, &g->slots[s]);
        }
}

bool generator_step(struct generator *g)
{
    struct rlhf_error err = { 0 };
    size_t items = 0;

    if (g->active == 0 && g->first && switch_model(g, &err) < 0) {
        struct job *job = pop(g);

        fail_job(g, job, &err);
        job_free(job);
        return true;
    }
    for (size_t s = 0; s < g->slot_count; s++) {
        struct slot *slot = &g->slots[s];

        if (!slot->job)
            continue;
        g->items[items] = (struct rlhf_extend){ s, &slot->ids[slot->count - 1], 1 };
        g->item_slot[items++] = s;
    }
    if (g->first)
        items = admit(g, items);
    if (items == 0)
        return false;
    if (rlhf_cache_extend(g->cache, g->model, g->items, items, g->logits, &err) < 0) {
        fail_all_active(g, &err);
        return true;
    }
    rlhf_pool_for(g->pool, items, sample, g);
    for (size_t i = 0; i < items; i++)
        take_token(g, i);
    return true;
}

int generator_add_model(struct generator *g, const struct rlhf_digest *digest, struct rlhf_model *m,
                        struct rlhf_error *err)
{
    struct weights *more;

    if (find_model(g, digest)) {
        rlhf_model_free(m);
        return 0;
    }
    if (!(more = reallocarray(g->weights, g->weights_count + 1, sizeof *more))) {
        rlhf_model_free(m);
        return rlhf_fail(err, RLHF_FULL, "no memory for another model");
    }
    g->weights = more;
    g->weights[g->weights_count++] = (struct weights){ *digest, m };
    return 0;
}

void generator_drop_model(struct generator *g, const struct rlhf_digest *digest)
{
    for (size_t i = 0; i < g->weights_count; i++) {
        if (!rlhf_digest_equal(&g->weights[i].digest, digest))
            continue;
        if (g->model == g->weights[i].model) {
            struct rlhf_error err = { .code = RLHF_REJECT, .text = "the weights were dropped while in use" };

            fail_all_active(g, &err);
            forget_prompts(g);
            g->model = NULL;
        }
        rlhf_model_free(g->weights[i].model);
        g->weights[i] = g->weights[--g->weights_count];
        return;
    }
}

void generator_cancel(struct generator *g)
{
    while (g->first)
        job_free(pop(g));
    for (size_t s = 0; s < g->slot_count; s++)
        if (g->slots[s].job)
            leave(g, &g->slots[s]);
}

size_t generator_prefilled(const struct generator *g)
{
    return g->prefilled;
}

struct generator *generator_new(size_t slots, size_t max_prefill, struct rlhf_pool *pool, generator_done *done, void *ctx,
                                struct rlhf_error *err)
{
    struct generator *g = calloc(1, sizeof *g);

    if (g) {
        g->slot_count = slots;
        g->max_prefill = max_prefill;
        g->pool = pool;
        g->done = done;
        g->ctx = ctx;
        g->last = &g->first;
        g->slots = calloc(slots, sizeof *g->slots);
        g->items = calloc(slots, sizeof *g->items);
        g->item_slot = calloc(slots, sizeof *g->item_slot);
        g->sampled = calloc(slots, sizeof *g->sampled);
        g->errors = calloc(slots, sizeof *g->errors);
    }
    if (!g || !g->slots || !g->items || !g->item_slot || !g->sampled || !g->errors) {
        rlhf_fail(err, RLHF_FULL, "no memory for %zu slots", slots);
        generator_free(g);
        return NULL;
    }
    return g;
}

void generator_free(struct generator *g)
{
    if (!g)
        return;
    if (g->slots) {
        generator_cancel(g);
        release_buffers(g);
    }
    for (size_t i = 0; i < g->weights_count; i++)
        rlhf_model_free(g->weights[i].model);
    free(g->weights);
    free(g->slots);
    free(g->items);
    free(g->item_slot);
    free(g->sampled);
    free(g->errors);
    free(g);
}
