/* cache.c - generation: keys and values of the tokens so far, and the rows that follow them. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/adapter_internal.h"

enum { PANEL = 16 }; /* tokens in a panel of keys, as rlhf_attention_extend() wants them */

/* Slots of one family, not 0, begin with the same tokens: as many as the one has that has fewer. */
struct prefix {
    uint64_t family;
    size_t length;
};

/* A slot's memory is [L] times a block of keys and a block of values, room the context in whole panels. */
struct rlhf_cache {
    struct rlhf_model_config config;
    struct rlhf_pool *pool;
    struct rlhf_arena *arena; /* activations of one call */
    size_t slots, context;
    size_t *length;           /* [slots] */
    struct prefix *prefix;    /* [slots] */
    uint64_t families;        /* so far */
    float *memory;            /* of `bytes`; what no slot has reached yet is not there */
    size_t bytes;
    size_t room;              /* tokens, of a slot */
    size_t block;             /* floats of a slot's layer's keys, and as many of its values */
    struct rlhf_rope rope;
    const struct rlhf_adapter *adapter; /* NULL: none */
};

struct rlhf_cache *rlhf_cache_new(const struct rlhf_model_config *c, size_t slots, size_t context,
                                  struct rlhf_pool *pool, struct rlhf_error *err)
{
    struct rlhf_attention_shape shape;
    struct rlhf_cache *k;
    size_t floats;

    if (rlhf_model_config_check(c, err) < 0)
        return NULL;
    if (slots < 1 || context < 1 || context > c->context) {
        rlhf_fail(err, RLHF_REJECT, "a cache of %zu slots of %zu tokens: needs at least one, and at most the model's "
                  "context of %u tokens", slots, context, c->context);
        return NULL;
    }
    if (c->rope.type == RLHF_ROPE_DYNAMIC && context > c->rope.original) { /* keys of shorter sequences turn otherwise */
        rlhf_fail(err, RLHF_REJECT, "a cache of %zu tokens: with dynamic rope scaling at most the %u of the first "
                  "training", context, c->rope.original);
        return NULL;
    }
    if (!(k = calloc(1, sizeof *k))) {
        rlhf_fail(err, RLHF_FULL, "no memory for a cache");
        return NULL;
    }
    k->config = *c;
    k->pool = pool;
    k->slots = slots;
    k->context = context;
    k->room = (context + PANEL - 1) / PANEL * PANEL;
    shape = rlhf_layer_attention(c, 0, NULL, 0);
    k->block = rlhf_attention_block(&shape, k->room);
    if (!rlhf_mul_size(slots, 2 * k->block * c->layers, &floats) || floats > SIZE_MAX / sizeof *k->memory)
        rlhf_fail(err, RLHF_FULL, "a cache of %zu slots of %zu tokens is larger than memory", slots, context);
    else if ((k->length = rlhf_aligned_new(slots, sizeof *k->length, err))
             && (k->prefix = rlhf_aligned_new(slots, sizeof *k->prefix, err))
             && (k->memory = rlhf_pages_new(k->bytes = floats * sizeof *k->memory, err))
             && (k->arena = rlhf_arena_new(0, err))
             && rlhf_rope_grow(&k->rope, context, c, err) == 0)
        return k;
    rlhf_cache_free(k);
    return NULL;
}

void rlhf_cache_free(struct rlhf_cache *k)
{
    if (!k)
        return;
    free(k->rope.cos_sin);
    rlhf_arena_free(k->arena);
    rlhf_pages_free(k->memory, k->bytes);
    free(k->length);
    free(k->prefix);
    free(k);
}

void rlhf_cache_adapt(struct rlhf_cache *k, const struct rlhf_adapter *a)
{
    RLHF_ASSERT(!a || (a->layers == k->config.layers && a->channels == k->config.channels));
    k->adapter = a;
}

size_t rlhf_cache_length(const struct rlhf_cache *k, size_t slot)
{
    RLHF_ASSERT(slot < k->slots);
    return k->length[slot];
}

void rlhf_cache_clear(struct rlhf_cache *k, size_t slot)
{
    RLHF_ASSERT(slot < k->slots);
    k->length[slot] = 0;
    k->prefix[slot] = (struct prefix){ 0 };
}

static struct rlhf_attention_item slot_item(const struct rlhf_cache *k, size_t slot, size_t layer)
{
    float *keys = k->memory + (slot * k->config.layers + layer) * 2 * k->block;

    return (struct rlhf_attention_item){ .keys = keys, .values = keys + k->block, .room = k->room };
}

void rlhf_cache_fork(struct rlhf_cache *k, size_t from, size_t to, size_t length)
{
    const struct rlhf_attention_shape shape = rlhf_layer_attention(&k->config, 0, NULL, 0);

    RLHF_ASSERT(from < k->slots && to < k->slots && length <= k->length[from]);
    k->length[to] = length;
    if (from == to) {
        k->prefix[to].length = k->prefix[to].length < length ? k->prefix[to].length : length;
        return;
    }
    if (k->prefix[from].length < length)
        k->prefix[from] = (struct prefix){ ++k->families, length };
    k->prefix[to] = (struct prefix){ k->prefix[from].family, length };
    for (size_t l = 0; l < k->config.layers; l++) {
        const struct rlhf_attention_item source = slot_item(k, from, l), copy = slot_item(k, to, l);

        rlhf_attention_copy(&shape, &source, &copy, length);
    }
}

/* ---- extend ---------------------------------------------------------------------------------------- */

static int check_items(const struct rlhf_cache *k, const struct rlhf_extend *items, size_t count, size_t *rows,
                       struct rlhf_error *err)
{
    *rows = 0;
    for (size_t i = 0; i < count; i++) {
        RLHF_ASSERT(items[i].slot < k->slots);
        if (items[i].count < 1 || items[i].count > k->context - k->length[items[i].slot])
            return rlhf_fail(err, RLHF_REJECT, "%zu tokens do not fit behind %zu in a cache of %zu", items[i].count,
                             k->length[items[i].slot], k->context);
        for (size_t j = 0; j < items[i].count; j++)
            if (items[i].tokens[j] < 0 || (uint32_t)items[i].tokens[j] >= k->config.vocabulary)
                return rlhf_fail(err, RLHF_REJECT, "token %zu: id %d is not in the vocabulary of %u", j,
                                 items[i].tokens[j], k->config.vocabulary);
        *rows += items[i].count;
    }
    return 0;
}

/* The rows of one call, from the arena. */
struct rows {
    size_t count;
    int32_t *tokens;
    uint32_t *position;
    struct rlhf_attention_item *items;
    struct rlhf_activations a;
    size_t heads;                       /* rows that the head is applied to */
    float *last, *hidden, *mean, *rstd; /* of those */
    float *room;                        /* for an adapter */
};

static int rows_get(struct rows *r, const struct rlhf_cache *k, const struct rlhf_extend *items, size_t count,
                    struct rlhf_error *err)
{
    const size_t stream = k->config.channels * sizeof(float);
    size_t at = 0;

    rlhf_arena_reset(k->arena, 0);
    if (!(r->tokens = rlhf_arena_get(k->arena, r->count, sizeof *r->tokens))
        || !(r->position = rlhf_arena_get(k->arena, r->count, sizeof *r->position))
        || !(r->items = rlhf_arena_get(k->arena, count, sizeof *r->items))
        || !(r->last = rlhf_arena_get(k->arena, r->heads, stream))
        || !(r->hidden = rlhf_arena_get(k->arena, r->heads, stream))
        || !(r->mean = rlhf_arena_get(k->arena, r->heads, sizeof *r->mean))
        || !(r->rstd = rlhf_arena_get(k->arena, r->heads, sizeof *r->rstd))
        || (k->adapter && !(r->room = rlhf_arena_get(k->arena, r->count, 2 * k->adapter->widest * sizeof *r->room)))
        || rlhf_activations_get(&r->a, &k->config, r->count, false, NULL, k->arena) < 0)
        return rlhf_fail(err, RLHF_FULL, "no memory for the activations of %zu tokens", r->count);
    for (size_t i = 0; i < count; i++) {
        size_t length = k->length[items[i].slot];

        for (size_t j = 0; j < items[i].count; j++, at++) {
            r->tokens[at] = items[i].tokens[j];
            r->position[at] = (uint32_t)(length + j);
        }
    }
    return 0;
}

static size_t common_beginning(const struct prefix *a, const struct prefix *b)
{
    if (a->family == 0 || a->family != b->family)
        return 0;
    return a->length < b->length ? a->length : b->length;
}

static int run_layers(const struct rlhf_cache *k, const struct rlhf_model *m, const struct rlhf_extend *items,
                      size_t count, struct rows *r, struct rlhf_error *err)
{
    const struct rlhf_adapting by = { .a = k->adapter, .room = r->room };
    const struct rlhf_attending over = { .items = r->items, .count = count, .position = r->position,
                                         .cos_sin = k->rope.cos_sin, .adapting = by.a ? &by : NULL };

    if (rlhf_model_embed(m, r->tokens, r->position, r->count, r->a.x, k->pool, err) < 0)
        return -1;
    for (size_t l = 0; l < k->config.layers; l++) {
        for (size_t i = 0; i < count; i++) {
            r->items[i] = slot_item(k, items[i].slot, l);
            r->items[i].length = k->length[items[i].slot];
            r->items[i].count = items[i].count;
            r->items[i].shared = i > 0 ? common_beginning(&k->prefix[items[i - 1].slot], &k->prefix[items[i].slot]) : 0;
        }
        rlhf_layer_forward(m, &m->layers[l], &r->a, &over, r->count, r->a.x, k->pool);
    }
    return 0;
}

/* All but the head. */
static int run_body(struct rlhf_cache *k, const struct rlhf_model *m, const struct rlhf_extend *items, size_t count,
                    struct rows *r, struct rlhf_error *err)
{
    RLHF_ASSERT(k->config.head == RLHF_HEAD_LM && m->config.head == RLHF_HEAD_LM
                && m->config.channels == k->config.channels && m->config.layers == k->config.layers
                && m->config.products == k->config.products
                && m->config.vocabulary == k->config.vocabulary);
    if (check_items(k, items, count, &r->count, err) < 0 || rlhf_model_ready(m, k->pool, err) < 0
        || rows_get(r, k, items, count, err) < 0 || run_layers(k, m, items, count, r, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        k->length[items[i].slot] += items[i].count;
    return 0;
}

int rlhf_cache_extend(struct rlhf_cache *k, const struct rlhf_model *m, const struct rlhf_extend *items,
                      size_t count, float *logits, struct rlhf_error *err)
{
    const size_t c = k->config.channels;
    struct rows r = { .heads = count };

    if (count == 0)
        return 0;
    if (run_body(k, m, items, count, &r, err) < 0)
        return -1;
    for (size_t i = 0, end = 0; i < count; i++) {
        end += items[i].count;
        memcpy(r.last + i * c, r.a.x + (end - 1) * c, c * sizeof *r.last);
    }
    rlhf_norm_forward(m, &m->norm, r.last, count, r.hidden, r.mean, r.rstd, k->pool);
    rlhf_product_forward(m, &m->head, r.hidden, count, logits, k->pool);
    if (k->config.logit_cap > 0)
        rlhf_soft_cap(logits, count * k->config.vocabulary, k->config.logit_cap, k->pool);
    return 0;
}

int rlhf_cache_logprobs(struct rlhf_cache *k, const struct rlhf_model *m, const struct rlhf_extend *items,
                        size_t count, const int32_t *target, float *logprob, struct rlhf_error *err)
{
    const size_t c = k->config.channels;
    struct rows r = { 0 };
    int32_t *targets;
    float *logprobs, *lse;
    size_t tokens = 0, n = 0;

    for (size_t i = 0; i < count; i++)
        tokens += items[i].count;
    for (size_t i = 0; i < tokens; i++) {
        if (target[i] >= (int64_t)k->config.vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "target %zu: id %d is not in the vocabulary of %u", i, target[i],
                             k->config.vocabulary);
        r.heads += target[i] >= 0;
    }
    if (count == 0)
        return 0;
    if (run_body(k, m, items, count, &r, err) < 0)
        return -1;
    if (!(targets = rlhf_arena_get(k->arena, r.heads, sizeof *targets))
        || !(logprobs = rlhf_arena_get(k->arena, r.heads, sizeof *logprobs))
        || !(lse = rlhf_arena_get(k->arena, r.heads, sizeof *lse)))
        return rlhf_fail(err, RLHF_FULL, "no memory for the log-probs of %zu tokens", r.heads);
    for (size_t i = 0; i < tokens; i++)
        if (target[i] >= 0) {
            memcpy(r.last + n * c, r.a.x + i * c, c * sizeof *r.last);
            targets[n++] = target[i];
        }
    if (n > 0) {
        rlhf_norm_forward(m, &m->norm, r.last, n, r.hidden, r.mean, r.rstd, k->pool);
        rlhf_vocab_logprobs(&m->head.packed, r.hidden, targets, n, k->config.logit_cap, 1, logprobs, NULL, lse, NULL, k->pool);
    }
    for (size_t i = 0, j = 0; i < tokens; i++)
        logprob[i] = target[i] >= 0 ? logprobs[j++] : 0;
    return 0;
}
