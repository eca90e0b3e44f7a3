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
    size_t room; /* tokens of the cache that it may come to take */
    struct rlhf_ends ends; /* all of them */
    struct job *next;
};

struct slot {
    struct job *job;    /* NULL: free */
    struct job *before; /* while free: the one whose prompt the cache still holds, or NULL */
    const struct rlhf_model *model; /* the job's */
    const int32_t *next; /* tokens that the next step appends: a prompt at first, then what was sampled last */
    size_t next_count;
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
    size_t active;             /* slots in use */
    size_t prefilled;          /* prompt tokens computed */
    struct rlhf_digest model_digest;
    const struct rlhf_model *model; /* whose jobs are let in; those of others of its shape may still be under way */
    struct rlhf_cache *cache; /* of that shape, `room` tokens a slot */
    size_t room;
    struct rlhf_model_config shape;
    struct slot *slots;
    struct rlhf_extend *items;   /* [slots] of one model's pass */
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

/* What free slots hold of prompts. */
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

enum { ROOMS = 8 }; /* sizes of a cache: few, so that it seldom grows */

static bool same_shape(const struct generator *g, const struct rlhf_model_config *c)
{
    return g->cache && memcmp(&g->shape, c, sizeof *c) == 0;
}

/* What the waiting jobs of this model may come to take, in steps of the context. */
static size_t room_wanted(const struct generator *g, const struct rlhf_digest *weights, size_t context)
{
    const size_t step = (context + ROOMS - 1) / ROOMS;
    size_t most = 1;

    for (const struct job *job = g->first; job; job = job->next)
        if (rlhf_digest_equal(&job->job.weights, weights) && job->room > most)
            most = job->room;
    most = (most + step - 1) / step * step;
    return most < context ? most : context;
}

/* Buffers for models of this shape; kept from one policy version to the next. A context is long, completions often are not:
 * the cache has the room that jobs asked for so far. */
static int fit_buffers(struct generator *g, const struct rlhf_model_config *c, size_t room, struct rlhf_error *err)
{
    if (same_shape(g, c) && room <= g->room)
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
    if (!(g->cache = rlhf_cache_new(c, g->slot_count, room, g->pool, err)))
        return -1;
    g->room = room;
    g->shape = *c;
    return 0;
}

static int check(struct generator *g, const struct generator_job *job, size_t *room, struct rlhf_error *err)
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
    *room = c->context - job->prompt_count;
    *room = job->prompt_count + (job->sampling.max_new_tokens < *room ? job->sampling.max_new_tokens : *room);
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
    if (check(g, job, &j->room, &why) < 0) {
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
    return a->job.prompt_count == b->job.prompt_count && rlhf_digest_equal(&a->job.weights, &b->job.weights)
           && memcmp(a->prompt, b->prompt, a->job.prompt_count * sizeof *a->prompt) == 0;
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

/* ---- who enters --------------------------------------------------------------------------------------- */

/* The oldest waiting job's model is next. Another shape, or more room in the cache, wants the slots empty: false until they
 * are. */
static bool switch_model(struct generator *g)
{
    struct rlhf_model *m = find_model(g, &g->first->job.weights);
    const struct rlhf_model_config *c = m ? rlhf_model_get_config(m) : NULL;
    struct rlhf_error err = { 0 };
    bool fits = m && same_shape(g, c) && g->first->room <= g->room;

    if (m && !fits && g->active > 0)
        return false;
    if (!m)
        rlhf_fail(&err, RLHF_REJECT, "the job's weights were dropped before its turn");
    if (m && (fits || fit_buffers(g, c, room_wanted(g, &g->first->job.weights, c->context), &err) == 0)) {
        g->model = m;
        g->model_digest = g->first->job.weights;
    } else {
        struct job *job = pop(g);

        g->model = NULL;
        fail_job(g, job, &err);
        job_free(job);
    }
    return true;
}

/* Whether it is the present model's, and fits beside what is under way. */
static bool may_enter(const struct generator *g, const struct job *job)
{
    return g->model && rlhf_digest_equal(&job->job.weights, &g->model_digest) && job->room <= g->room;
}

static bool any_waits(const struct generator *g)
{
    for (const struct job *job = g->first; job; job = job->next)
        if (may_enter(g, job))
            return true;
    return false;
}

/* A sample of a prompt that this step computes waits for the next step, which copies it. */
static bool being_prefilled(const struct generator *g, const struct job *job)
{
    for (size_t s = 0; s < g->slot_count; s++)
        if (g->slots[s].job && g->slots[s].count == 0 && same_prompt(g->slots[s].job, job))
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

/* A job whose prompt some slot's cache holds copies it, all but the last token, whose logits it needs. */
static void enter(struct generator *g, size_t s, struct job *job)
{
    struct slot *slot = &g->slots[s];
    size_t shared = holder(g, job);

    job_free(slot->before);
    *slot = (struct slot){ .job = job, .model = g->model, .next = job->prompt, .next_count = job->job.prompt_count,
                           .ids = slot->ids, .logprob = slot->logprob, .logprob_raw = slot->logprob_raw };
    g->active++;
    if (shared != SIZE_MAX) {
        rlhf_cache_fork(g->cache, shared, s, job->job.prompt_count - 1);
        slot->next += job->job.prompt_count - 1;
        slot->next_count = 1;
    } else {
        rlhf_cache_clear(g->cache, s);
    }
    g->prefilled += slot->next_count;
}

/* Lets waiting jobs of the present model in while slots are free, oldest first, so that its jobs come in one batch. */
static void admit(struct generator *g, size_t *prefill)
{
    struct job **at = &g->first;

    for (size_t s = 0; s < g->slot_count; s++) {
        if (g->slots[s].job)
            continue;
        while (*at && (!may_enter(g, *at) || being_prefilled(g, *at)))
            at = &(*at)->next;
        if (!*at || (*prefill > 0 && *prefill + (*at)->job.prompt_count > g->max_prefill))
            break;
        enter(g, s, take_out(g, at));
        *prefill += g->slots[s].next_count;
    }
}

/* When the present model has no job that waits, the next one's enter beside those of it that are under way: a new policy
 * is in use at once, and the last completions of the one before leave no slot empty. */
static void let_in(struct generator *g)
{
    size_t prefill = 0;

    while (g->first && g->active < g->slot_count && (any_waits(g) || switch_model(g))) {
        admit(g, &prefill);
        if (any_waits(g))
            return;
    }
}

/* ---- a step ------------------------------------------------------------------------------------------- */

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
    slot->logprob_raw[slot->count] = g->sampled[i].logprob_raw;
    slot->next = &slot->ids[slot->count++];
    slot->next_count = 1;
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

static void fail_active(struct generator *g, const struct rlhf_model *m, const struct rlhf_error *err)
{
    for (size_t s = 0; s < g->slot_count; s++)
        if (g->slots[s].job && g->slots[s].model == m) {
            fail_job(g, g->slots[s].job, err);
            leave(g, &g->slots[s]);
        }
}

/* One step of the slots that m is at work in. */
static void step_model(struct generator *g, const struct rlhf_model *m)
{
    struct rlhf_error err = { 0 };
    size_t items = 0;

    for (size_t s = 0; s < g->slot_count; s++) {
        const struct slot *slot = &g->slots[s];

        if (!slot->job || slot->model != m)
            continue;
        g->items[items] = (struct rlhf_extend){ s, slot->next, slot->next_count };
        g->item_slot[items++] = s;
    }
    if (items == 0)
        return;
    if (rlhf_cache_extend(g->cache, m, g->items, items, g->logits, &err) < 0) {
        fail_active(g, m, &err);
        return;
    }
    rlhf_pool_for(g->pool, items, sample, g);
    for (size_t i = 0; i < items; i++)
        take_token(g, i);
}

bool generator_step(struct generator *g)
{
    if (g->active == 0 && !g->first)
        return false;
    let_in(g);
    for (size_t i = g->weights_count; i-- > 0;) /* the newest first: somebody waits for its first tokens */
        step_model(g, g->weights[i].model);
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
        fail_active(g, g->weights[i].model,
                    &(struct rlhf_error){ .code = RLHF_REJECT, .text = "the weights were dropped while in use" });
        if (g->model == g->weights[i].model)
            g->model = NULL;
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
