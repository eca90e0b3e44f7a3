/* train_batch.c - packing sequences, their order, and a model's passes over them. */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "learner/train_parts.h"

/* ---- packing ----------------------------------------------------------------------------------------- */

void learner_batch_clear(struct learner_batch *b)
{
    rlhf_tokens_clear(&b->tokens);
    b->sequences = 0;
    b->targets = 0;
    if (b->start)
        b->start[0] = 0;
}

static int grow(void **block, size_t count, size_t size, struct rlhf_error *err)
{
    void *grown = reallocarray(*block, count, size);

    if (!grown)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a batch of %zu", count);
    *block = grown;
    return 0;
}

static int reserve(struct learner_batch *b, size_t tokens, struct rlhf_error *err)
{
    if (b->sequences + 2 > b->sequence_capacity) {
        size_t wanted = b->sequence_capacity ? 2 * b->sequence_capacity : 64;
        bool first = !b->start;
        if (grow((void **)&b->start, wanted, sizeof *b->start, err) < 0)
            return -1;
        b->sequence_capacity = wanted;
        if (first)
            b->start[0] = 0;
    }
    if (tokens > b->capacity) {
        size_t wanted = tokens > 2 * b->capacity ? tokens : 2 * b->capacity;
        if (grow((void **)&b->target, wanted, sizeof *b->target, err) < 0 ||
            grow((void **)&b->value, wanted, sizeof *b->value, err) < 0 ||
            grow((void **)&b->entropy, wanted, sizeof *b->entropy, err) < 0 ||
            grow((void **)&b->slope, wanted, sizeof *b->slope, err) < 0)
            return -1;
        b->capacity = wanted;
    }
    return 0;
}

int learner_batch_add(struct learner_batch *b, const struct learner_item *item, struct rlhf_error *err)
{
    size_t at = b->tokens.size;

    if (reserve(b, at + item->count, err) < 0 ||
        rlhf_tokens_append(&b->tokens, item->ids, item->count, err) < 0)
        return -1;
    for (uint32_t i = 0; i < item->count; i++) {
        bool predicted = i + 1 < item->count && i + 1 >= item->first;
        b->target[at + i] = predicted ? item->ids[i + 1] : -1;
        b->targets += predicted;
    }
    b->start[++b->sequences] = (uint32_t)b->tokens.size;
    return 0;
}

struct rlhf_batch learner_batch_view(const struct learner_batch *b)
{
    return (struct rlhf_batch){.tokens = b->tokens.data, .start = b->start, .sequences = b->sequences};
}

void learner_batch_free(struct learner_batch *b)
{
    rlhf_tokens_free(&b->tokens);
    free(b->start);
    free(b->target);
    free(b->value);
    free(b->entropy);
    free(b->slope);
    *b = (struct learner_batch){0};
}

size_t learner_batch_pick(const struct learner_batch *b, const float *from, float *out)
{
    size_t n = 0;

    for (size_t t = 0; t < b->tokens.size; t++)
        if (b->target[t] >= 0)
            out[n++] = from[t];
    return n;
}

void learner_batch_spread(struct learner_batch *b, const float *picked)
{
    size_t n = 0;

    for (size_t t = 0; t < b->tokens.size; t++)
        b->slope[t] = b->target[t] >= 0 ? picked[n++] : 0;
}

/* ---- passes ------------------------------------------------------------------------------------------ */

/* What one pass that trains holds stays near 400 MB: a layer and token keep about 6 rows of C and 2 of the feed-forward
 * width, and backward wants about as much again for gradients on their way and for the head. */
static size_t token_limit(const struct rlhf_model_config *c)
{
    const size_t floats = (size_t)100 << 20;
    size_t per_token = c->layers * (12 * (size_t)c->channels + 4 * (size_t)c->mlp_size);
    size_t tokens = floats / per_token;

    tokens = tokens > 8192 ? 8192 : tokens;
    return tokens < c->context ? c->context : tokens;
}

int learner_compute_init(struct learner_compute *c, const struct rlhf_model_config *config,
                         struct rlhf_pool *pool, bool train, struct rlhf_error *err)
{
    *c = (struct learner_compute){.limit = token_limit(config)};
    c->pass = rlhf_pass_new(config, pool, train, err);
    return c->pass ? 0 : -1;
}

void learner_compute_free(struct learner_compute *c)
{
    rlhf_pass_free(c->pass);
    learner_batch_free(&c->batch);
    *c = (struct learner_compute){0};
}

int learner_compute_forward_all(struct learner_compute *c, const struct rlhf_model *m,
                                const struct learner_item *items, size_t count, struct rlhf_error *err)
{
    struct rlhf_batch view;

    learner_batch_clear(&c->batch);
    for (size_t i = 0; i < count; i++)
        if (learner_batch_add(&c->batch, &items[i], err) < 0)
            return -1;
    view = learner_batch_view(&c->batch);
    return rlhf_pass_forward(c->pass, m, &view, err);
}

size_t learner_compute_forward(struct learner_compute *c, const struct rlhf_model *m,
                               const struct learner_item *items, size_t from, size_t count,
                               struct rlhf_error *err)
{
    struct rlhf_dropout dropout = c->dropout;
    size_t to = from, tokens = 0;

    dropout.sequence += (uint32_t)from;
    if (rlhf_pass_set_dropout(c->pass, &dropout, err) < 0)
        return 0;
    do
        tokens += items[to++].count;
    while (to < count && tokens + items[to].count <= c->limit);
    return learner_compute_forward_all(c, m, items + from, to - from, err) < 0 ? 0 : to;
}

size_t learner_targets(const struct learner_item *items, size_t count)
{
    size_t targets = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t first = items[i].first ? items[i].first : 1;
        targets += items[i].count > first ? items[i].count - first : 0;
    }
    return targets;
}

int learner_lm_gradient(struct learner_compute *c, const struct rlhf_model *m,
                        const struct learner_item *items, size_t count, double weight, float *grad,
                        double *loss, struct rlhf_error *err)
{
    double targets = (double)learner_targets(items, count), sum = 0;
    struct learner_batch *b = &c->batch;

    for (size_t i = 0; i < count;) {
        if ((i = learner_compute_forward(c, m, items, i, count, err)) == 0 ||
            rlhf_pass_logprobs(c->pass, m, b->target, 1, b->value, NULL, err) < 0)
            return -1;
        for (size_t t = 0; t < b->tokens.size; t++) {
            sum -= b->value[t];
            b->slope[t] = b->target[t] >= 0 ? (float)(-weight / targets) : 0;
        }
        if (b->targets > 0 && rlhf_pass_backward_logprobs(c->pass, m, b->slope, NULL, grad, err) < 0)
            return -1;
    }
    *loss = targets > 0 ? sum / targets : 0;
    return 0;
}

int learner_lm_sum(struct learner_compute *c, const struct rlhf_model *m, const struct learner_item *items,
                   size_t count, double *sum, struct rlhf_error *err)
{
    struct learner_batch *b = &c->batch;

    *sum = 0;
    for (size_t i = 0; i < count;) {
        if ((i = learner_compute_forward(c, m, items, i, count, err)) == 0 ||
            rlhf_pass_logprobs(c->pass, m, b->target, 1, b->value, NULL, err) < 0)
            return -1;
        for (size_t t = 0; t < b->tokens.size; t++)
            *sum -= b->value[t];
    }
    return 0;
}

int learner_last_scalars(struct learner_compute *c, const struct rlhf_model *m,
                         const struct learner_item *items, size_t count, float *score, struct rlhf_error *err)
{
    struct learner_batch *b = &c->batch;

    for (size_t i = 0; i < count;) {
        size_t from = i;
        if ((i = learner_compute_forward(c, m, items, i, count, err)) == 0 ||
            rlhf_pass_scalars(c->pass, m, b->value, err) < 0)
            return -1;
        for (size_t j = from; j < i; j++)
            score[j] = b->value[b->start[j - from + 1] - 1];
    }
    return 0;
}

/* ---- order ------------------------------------------------------------------------------------------- */

int learner_order_init(struct learner_order *o, uint64_t seed, uint32_t key, size_t count,
                       struct rlhf_error *err)
{
    *o = (struct learner_order){.seed = seed, .key = key, .count = (uint32_t)count};
    o->item = calloc(count ? count : 1, sizeof *o->item);
    return o->item ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for the order of %zu items", count);
}

uint32_t learner_order_at(struct learner_order *o, uint64_t index)
{
    uint64_t epoch = index / o->count;

    if (!o->ready || epoch != o->epoch) {
        struct rlhf_random r;
        for (uint32_t i = 0; i < o->count; i++)
            o->item[i] = i;
        rlhf_random_init(&r, o->seed, RLHF_PURPOSE_SHUFFLE, o->key, (uint32_t)epoch);
        rlhf_random_shuffle(&r, o->item, o->count);
        o->epoch = epoch;
        o->ready = true;
    }
    return o->item[index % o->count];
}

void learner_order_free(struct learner_order *o)
{
    free(o->item);
    *o = (struct learner_order){0};
}

/* ---- windows of documents ---------------------------------------------------------------------------- */

int learner_windows_init(struct learner_windows *s, struct learner_work *w,
                         const struct rlhf_config_strings *files, int64_t window, int64_t per_step,
                         uint32_t salt, struct rlhf_error *err)
{
    struct rlhf_sequences documents = {0};
    int rc = 0;

    *s = (struct learner_windows){.per_step = (size_t)per_step};
    for (size_t i = 0; rc == 0 && i < files->count; i++)
        rc = rlhf_read_documents(files->items[i], w->t->tokenizer, &documents, err);
    if (rc == 0)
        rc = rlhf_cut_windows(&documents, (size_t)window, &s->windows, err);
    rlhf_sequences_free(&documents);
    while (rc == 0 && s->windows.count > 0 /* a last window of one token predicts nothing */
           && s->windows.start[s->windows.count] - s->windows.start[s->windows.count - 1] < 2)
        s->windows.count--;
    if (rc == 0 && s->windows.count == 0)
        rc = rlhf_fail(err, RLHF_REJECT, "%s: no document with two tokens",
                       files->count ? files->items[0] : "data");
    if (rc == 0 && !(s->items = calloc(s->per_step, sizeof *s->items)))
        rc = rlhf_fail(err, RLHF_FULL, "out of memory for %zu windows a step", s->per_step);
    if (rc == 0)
        rc = learner_order_init(&s->order, (uint64_t)w->t->run->run.seed, w->key ^ salt, s->windows.count,
                                err);
    if (rc < 0)
        learner_windows_free(s);
    return rc;
}

const struct learner_item *learner_windows_at(struct learner_windows *s, uint64_t step)
{
    for (size_t i = 0; i < s->per_step; i++) {
        uint32_t at = learner_order_at(&s->order, step * s->per_step + i), from = s->windows.start[at];
        s->items[i] = (struct learner_item){.ids = s->windows.tokens.data + from,
                                            .count = s->windows.start[at + 1] - from};
    }
    return s->items;
}

void learner_windows_free(struct learner_windows *s)
{
    rlhf_sequences_free(&s->windows);
    learner_order_free(&s->order);
    free(s->items);
    *s = (struct learner_windows){0};
}
