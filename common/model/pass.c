/* pass.c - forward and backward over packed sequences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "model/adapter_internal.h"
#include "model/dropout.h"

/* One layer's weights laid out for its products, forward or backward. A pass that trains lays out every layer anew in
 * this same memory: that takes as long as the products of some ten tokens, and all layers' would be as large as the model. */
struct layer_panels {
    struct rlhf_packed qkv, out, up, down;
};

/* Logits are kept for backward when they are no more than this many floats, 128 MB; else they are computed twice. */
enum { KEPT_LOGITS = 32 << 20 };

/* The rows that a head was applied to. */
struct head_rows {
    size_t count;
    uint32_t *row;       /* [count] which of the T rows; NULL: all of them */
    const float *x;      /* [count, C] before the final norm */
    float *hidden;       /* [count, C] after it */
    float *mean, *rstd;  /* [count] */
    int32_t *target;     /* [count] language-model head, as are the rest */
    float *lse, *logprob, *entropy;
    float *d_hidden;     /* [count, C] backward: the gradient of hidden */
    float *logits;       /* [count, V], or NULL: not kept; the last in the arena, for what backward needs to take their place */
    size_t before_logits; /* mark */
    float temperature;
    bool has_entropy;
};

struct rlhf_pass {
    struct rlhf_model_config config;
    struct rlhf_pool *pool;
    bool train;
    struct rlhf_arena *arena;

    /* of the last forward */
    size_t t; /* 0: there is none */
    size_t sequences;
    int32_t *tokens;    /* [T]     */
    uint32_t *start;    /* [B + 1] */
    uint32_t *prefix;   /* [B], or NULL */
    uint32_t *position; /* [T]     */
    struct rlhf_activations *layers; /* [L] with train, else [1] */
    float *x;           /* [T, C] what leaves the last layer */
    size_t after_forward; /* mark of the arena */
    struct head_rows head;

    struct rlhf_adapting by;     /* its adapter NULL: none */
    struct rlhf_dropout dropout; /* rates 0: none */
    float *waste; /* backward: where gradients go that nobody wants, [2 C] or more */

    struct rlhf_rope rope;
    struct layer_panels panels;
    struct rlhf_packed head_panels, back_head; /* where logits are kept, head_panels is both in turn */
};

struct rlhf_pass *rlhf_pass_new(const struct rlhf_model_config *c, struct rlhf_pool *pool, int train,
                                struct rlhf_error *err)
{
    struct rlhf_pass *p;

    if (rlhf_model_config_check(c, err) < 0)
        return NULL;
    if (!(p = calloc(1, sizeof *p))) {
        rlhf_fail(err, RLHF_FULL, "no memory for a pass");
        return NULL;
    }
    p->config = *c;
    p->pool = pool;
    p->train = train != 0;
    if (!(p->layers = calloc(train ? c->layers : 1, sizeof *p->layers))) {
        rlhf_fail(err, RLHF_FULL, "no memory for a pass over %u layers", c->layers);
    } else if ((p->arena = rlhf_arena_new(0, err))) {
        return p;
    }
    rlhf_pass_free(p);
    return NULL;
}

void rlhf_pass_adapt(struct rlhf_pass *p, const struct rlhf_adapter *a, float *grad)
{
    RLHF_ASSERT(!a || (a->layers == p->config.layers && a->channels == p->config.channels));
    p->by = (struct rlhf_adapting){ .a = a, .grad = grad };
    p->t = 0; /* a forward comes first */
}

void rlhf_pass_adapt_merged(struct rlhf_pass *p, const struct rlhf_adapter *a, float *grad)
{
    rlhf_pass_adapt(p, a, grad);
    p->by.merged = a != NULL;
}

void rlhf_pass_free(struct rlhf_pass *p)
{
    if (!p)
        return;
    rlhf_packed_free(&p->panels.qkv);
    rlhf_packed_free(&p->panels.out);
    rlhf_packed_free(&p->panels.up);
    rlhf_packed_free(&p->panels.down);
    rlhf_packed_free(&p->head_panels);
    rlhf_packed_free(&p->back_head);
    free(p->rope.cos_sin);
    free(p->layers);
    rlhf_arena_free(p->arena);
    free(p);
}

static int no_memory(const struct rlhf_pass *p, struct rlhf_error *err)
{
    return rlhf_fail(err, RLHF_FULL, "no memory for the activations of a batch of %zu tokens; use smaller batches",
                     p->t);
}

/* ---- forward --------------------------------------------------------------------------------------- */

static int check_batch(const struct rlhf_pass *p, const struct rlhf_batch *b, size_t *longest,
                       struct rlhf_error *err)
{
    const struct rlhf_model_config *c = &p->config;
    size_t shared = 0; /* tokens that a prefix may be of */

    *longest = 0;
    if (b->sequences == 0 || b->start[0] != 0)
        return rlhf_fail(err, RLHF_REJECT, "the batch has no sequence, or its first does not start at 0");
    for (size_t s = 0; s < b->sequences; s++) {
        size_t length = b->start[s + 1] > b->start[s] ? b->start[s + 1] - b->start[s] : 0;

        if (b->prefix && b->prefix[s] == 0)
            shared = length;
        RLHF_ASSERT(!b->prefix || (!p->train && b->prefix[s] <= shared));
        if (length > 0 && b->prefix)
            length += b->prefix[s];
        if (length == 0 || length > c->context)
            return rlhf_fail(err, RLHF_REJECT, "sequence %zu: its length is not between 1 and the context of %u: %zu",
                             s, c->context, length);
        if (length > *longest)
            *longest = length;
    }
    for (size_t i = 0; i < b->start[b->sequences]; i++)
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= c->vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "token %zu: id %d is not in the vocabulary of %u", i, b->tokens[i],
                             c->vocabulary);
    return 0;
}

static int lay_out_adapter(struct rlhf_pass *p)
{
    struct rlhf_adapting *by = &p->by;
    bool drops = p->dropout.adapter_rate > 0;

    by->dropout = drops ? &p->dropout : NULL;
    by->batch = (struct rlhf_batch){ .start = p->start, .sequences = p->sequences };
    by->position = p->position;
    by->room = rlhf_arena_get(p->arena, p->t, 2 * by->a->widest * sizeof *by->room);
    by->dropped = drops ? rlhf_arena_get(p->arena, p->t, by->a->longest * sizeof *by->dropped) : NULL;
    return by->room && (by->dropped || !drops) ? 0 : -1;
}

/* The arena's part that lasts until the next forward. */
static int lay_out(struct rlhf_pass *p, const struct rlhf_batch *b)
{
    const size_t layers = p->train ? p->config.layers : 1;

    rlhf_arena_reset(p->arena, 0);
    p->head = (struct head_rows){ 0 };
    p->sequences = b->sequences;
    p->prefix = NULL;
    if (!(p->tokens = rlhf_arena_get(p->arena, p->t, sizeof *p->tokens))
        || !(p->position = rlhf_arena_get(p->arena, p->t, sizeof *p->position))
        || !(p->start = rlhf_arena_get(p->arena, b->sequences + 1, sizeof *p->start))
        || (b->prefix && !(p->prefix = rlhf_arena_get(p->arena, b->sequences, sizeof *p->prefix))))
        return -1;
    if (p->by.a && lay_out_adapter(p) < 0)
        return -1;
    for (size_t i = 0; i < layers; i++)
        if (rlhf_activations_get(&p->layers[i], &p->config, p->t, p->train, i > 0 ? &p->layers[0] : NULL, p->arena) < 0)
            return -1;
    p->x = p->layers[0].x; /* without train one set of activations serves all layers, and its x is the stream */
    if (p->train && !(p->x = rlhf_arena_get(p->arena, p->t, p->config.channels * sizeof *p->x)))
        return -1;
    memcpy(p->tokens, b->tokens, p->t * sizeof *p->tokens);
    memcpy(p->start, b->start, (b->sequences + 1) * sizeof *p->start);
    if (p->prefix)
        memcpy(p->prefix, b->prefix, b->sequences * sizeof *p->prefix);
    for (size_t s = 0; s < b->sequences; s++)
        for (uint32_t i = b->start[s]; i < b->start[s + 1]; i++)
            p->position[i] = i - b->start[s] + (p->prefix ? p->prefix[s] : 0);
    p->after_forward = rlhf_arena_mark(p->arena);
    return 0;
}

/* Whether the pass lays out weights for itself. Weights that stay in files are laid out once, in the model. */
static bool lays_out(const struct rlhf_pass *p, const struct rlhf_model *m)
{
    return p->train && !rlhf_model_is_frozen(m);
}

static int pack_layer(struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_layer *l, bool back,
                      struct rlhf_error *err)
{
    struct layer_panels *to = &p->panels;

    return rlhf_product_pack(m, &l->qkv, back, &to->qkv, p->pool, err) < 0
                   || rlhf_product_pack(m, &l->out, back, &to->out, p->pool, err) < 0
                   || rlhf_product_pack(m, &l->up, back, &to->up, p->pool, err) < 0
                   || rlhf_product_pack(m, &l->down, back, &to->down, p->pool, err) < 0 ? -1 : 0;
}

static int run_body(struct rlhf_pass *p, const struct rlhf_model *m, struct rlhf_error *err)
{
    const struct rlhf_attending over = { .start = p->start, .sequences = p->sequences, .prefix = p->prefix, .position = p->position,
                                         .cos_sin = p->rope.cos_sin,
                                         .dropout = p->dropout.rate > 0 ? &p->dropout : NULL, .adapting = p->by.a ? &p->by : NULL };
    const uint32_t layers = p->config.layers;

    if (rlhf_model_embed(m, p->tokens, p->position, p->t, p->layers[0].x, p->pool, err) < 0)
        return -1;
    for (uint32_t i = 0; i < layers; i++) {
        const struct rlhf_activations *a = &p->layers[p->train ? i : 0];
        float *y = p->train && i + 1 < layers ? p->layers[i + 1].x : p->x;

        struct rlhf_layer l = m->layers[i];

        if (lays_out(p, m)) {
            if (pack_layer(p, m, &l, false, err) < 0)
                return -1;
            l.qkv.packed = p->panels.qkv;
            l.out.packed = p->panels.out;
            l.up.packed = p->panels.up;
            l.down.packed = p->panels.down;
        }
        rlhf_layer_forward(m, &l, a, &over, p->t, y, p->pool);
    }
    return 0;
}

/* A pass is made for one shape; a model of another one is a mistake of ours. */
static void check_model(const struct rlhf_pass *p, const struct rlhf_model *m)
{
    const struct rlhf_model_config *a = &p->config, *b = &m->config;

    RLHF_ASSERT(a->family == b->family && a->head == b->head && a->layers == b->layers && a->heads == b->heads
                && a->kv_heads == b->kv_heads && a->head_size == b->head_size && a->channels == b->channels
                && a->mlp_size == b->mlp_size && a->vocabulary == b->vocabulary
                && (a->context == b->context || a->position == RLHF_POSITION_ROTARY));
}

int rlhf_pass_set_dropout(struct rlhf_pass *p, const struct rlhf_dropout *d, struct rlhf_error *err)
{
    if (d->rate > 0 && p->config.norm_post)
        return rlhf_fail(err, RLHF_REJECT, "dropout: models with norms behind their branches have none; set it to 0");
    p->dropout = *d;
    return 0;
}

int rlhf_pass_forward(struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_batch *b,
                      struct rlhf_error *err)
{
    size_t longest;

    check_model(p, m);
    p->t = 0;
    if (check_batch(p, b, &longest, err) < 0 || (!lays_out(p, m) && rlhf_model_ready(m, p->pool, err) < 0)
        || rlhf_rope_grow(&p->rope, longest, &p->config, err) < 0)
        return -1;
    p->t = b->start[b->sequences];
    if ((lay_out(p, b) < 0 ? no_memory(p, err) : run_body(p, m, err)) == 0)
        return 0;
    p->t = 0;
    return -1;
}

/* ---- heads ----------------------------------------------------------------------------------------- */

/* Puts the rows whose target is not negative side by side. */
static int gather_rows(struct rlhf_pass *p, const int32_t *target)
{
    const size_t c = p->config.channels;
    struct head_rows *h = &p->head;
    float *x = rlhf_arena_get(p->arena, h->count, c * sizeof *x);
    size_t n = 0;

    h->row = rlhf_arena_get(p->arena, h->count, sizeof *h->row);
    if (!x || !h->row)
        return -1;
    for (size_t i = 0; i < p->t; i++)
        if (target[i] >= 0) {
            memcpy(x + n * c, p->x + i * c, c * sizeof *x);
            h->row[n++] = (uint32_t)i;
        }
    h->x = x;
    return 0;
}

/* The final norm of the rows whose target is not negative, or of all when target is NULL. */
static int norm_rows(struct rlhf_pass *p, const struct rlhf_model *m, const int32_t *target, struct rlhf_error *err)
{
    struct head_rows *h = &p->head;

    RLHF_ASSERT(p->t > 0);
    rlhf_arena_reset(p->arena, p->after_forward);
    *h = (struct head_rows){ .x = p->x };
    for (size_t i = 0; i < p->t; i++)
        h->count += !target || target[i] >= 0;
    if ((target && h->count < p->t && gather_rows(p, target) < 0)
        || !(h->hidden = rlhf_arena_get(p->arena, h->count, p->config.channels * sizeof *h->hidden))
        || !(h->mean = rlhf_arena_get(p->arena, h->count, sizeof *h->mean))
        || !(h->rstd = rlhf_arena_get(p->arena, h->count, sizeof *h->rstd)))
        return no_memory(p, err);
    rlhf_norm_forward(m, &m->norm, h->x, h->count, h->hidden, h->mean, h->rstd, p->pool);
    return 0;
}

/* The head's weights laid out for logits; NULL on failure. */
static const struct rlhf_packed *head_panels(struct rlhf_pass *p, const struct rlhf_model *m, struct rlhf_error *err)
{
    if (!lays_out(p, m))
        return &m->head.packed;
    return rlhf_product_pack(m, &m->head, false, &p->head_panels, p->pool, err) < 0 ? NULL : &p->head_panels;
}

static size_t row_of(const struct head_rows *h, size_t i)
{
    return h->row ? h->row[i] : i;
}

int rlhf_pass_logprobs(struct rlhf_pass *p, const struct rlhf_model *m, const int32_t *target, float temperature,
                       float *logprob, float *entropy, struct rlhf_error *err)
{
    struct head_rows *h = &p->head;
    const struct rlhf_packed *w;

    RLHF_ASSERT(p->config.head == RLHF_HEAD_LM);
    if (!(temperature > 0))
        return rlhf_fail(err, RLHF_REJECT, "log-probs need a temperature above 0, not %g", (double)temperature);
    for (size_t i = 0; i < p->t; i++)
        if (target[i] >= (int64_t)p->config.vocabulary)
            return rlhf_fail(err, RLHF_REJECT, "target %zu: id %d is not in the vocabulary of %u", i, target[i],
                             p->config.vocabulary);
    if (norm_rows(p, m, target, err) < 0 || !(w = head_panels(p, m, err)))
        return -1;
    if (!(h->target = rlhf_arena_get(p->arena, h->count, sizeof *h->target))
        || !(h->lse = rlhf_arena_get(p->arena, h->count, sizeof *h->lse))
        || !(h->logprob = rlhf_arena_get(p->arena, h->count, sizeof *h->logprob))
        || !(h->entropy = rlhf_arena_get(p->arena, h->count, sizeof *h->entropy))
        || (p->train && !(h->d_hidden = rlhf_arena_get(p->arena, h->count, p->config.channels * sizeof *h->d_hidden))))
        return no_memory(p, err);
    h->before_logits = rlhf_arena_mark(p->arena);
    if (p->train && h->count * p->config.vocabulary <= KEPT_LOGITS
        && !(h->logits = rlhf_arena_get(p->arena, h->count, p->config.vocabulary * sizeof *h->logits)))
        return no_memory(p, err);
    h->temperature = temperature;
    h->has_entropy = entropy != NULL;
    for (size_t i = 0; i < h->count; i++)
        h->target[i] = target[row_of(h, i)];
    rlhf_vocab_logprobs(w, h->hidden, h->target, h->count, p->config.logit_cap, temperature, h->logprob,
                        entropy ? h->entropy : NULL, h->lse, h->logits, p->pool);
    memset(logprob, 0, p->t * sizeof *logprob);
    if (entropy)
        memset(entropy, 0, p->t * sizeof *entropy);
    for (size_t i = 0; i < h->count; i++) {
        logprob[row_of(h, i)] = h->logprob[i];
        if (entropy)
            entropy[row_of(h, i)] = h->entropy[i];
    }
    return 0;
}

int rlhf_pass_scalars(struct rlhf_pass *p, const struct rlhf_model *m, float *scalar, struct rlhf_error *err)
{
    const struct rlhf_packed *w;

    RLHF_ASSERT(p->config.head == RLHF_HEAD_SCALAR);
    if (norm_rows(p, m, NULL, err) < 0 || !(w = head_panels(p, m, err)))
        return -1;
    rlhf_linear(p->by.a && !p->by.merged && p->by.a->head != RLHF_NOWHERE ? &p->by.a->head_packed : w,
                p->head.hidden, p->config.channels, p->t, &m->bias, false, scalar, 1, p->pool);
    return 0;
}

int rlhf_pass_logits(struct rlhf_pass *p, const struct rlhf_model *m, float *logits, struct rlhf_error *err)
{
    const struct rlhf_packed *w;

    RLHF_ASSERT(p->config.head == RLHF_HEAD_LM);
    if (norm_rows(p, m, NULL, err) < 0 || !(w = head_panels(p, m, err)))
        return -1;
    rlhf_linear(w, p->head.hidden, p->config.channels, p->t, NULL, false, logits, p->config.vocabulary, p->pool);
    if (p->config.logit_cap > 0)
        rlhf_soft_cap(logits, p->t * p->config.vocabulary, p->config.logit_cap, p->pool);
    return 0;
}

int rlhf_pass_hidden(struct rlhf_pass *p, const struct rlhf_model *m, uint32_t layer, float *hidden,
                     struct rlhf_error *err)
{
    const size_t size = p->t * p->config.channels * sizeof *hidden;

    RLHF_ASSERT(p->train && p->t > 0 && layer <= p->config.layers);
    if (layer < p->config.layers) {
        memcpy(hidden, p->layers[layer].x, size);
        return 0;
    }
    if (norm_rows(p, m, NULL, err) < 0)
        return -1;
    memcpy(hidden, p->head.hidden, size);
    return 0;
}

/* ---- backward -------------------------------------------------------------------------------------- */

/* Gradients on their way down. All are [T, ...] and written by every layer anew, but stream. */
struct flow {
    float *stream;    /* [T, C] by the residual stream: layers add to it */
    float *branch;    /* [T, C] by a norm's output */
    float *post;      /* [T, C] norm_post, dropout: by what goes into a branch's last norm */
    float *aside;     /* [T, C] parallel: what feed-forward adds to the stream, once attention has read it */
    float *qkv;       /* [T, (H + 2G) D] */
    float *attention; /* [T, H D] */
    float *up;        /* [T, M] or [T, 2M] */
    float *activated; /* [T, M] */
};

/* What the first products of backward need, so that nothing can fail once gradients have been added to. */
static int begin_backward(struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_packed **w,
                          struct rlhf_packed **back, struct rlhf_error *err)
{
    *back = p->head.logits && lays_out(p, m) ? &p->head_panels : &p->back_head;
    if ((w && !p->head.logits && !(*w = head_panels(p, m, err)))
        || rlhf_product_pack(m, &m->head, true, *back, p->pool, err) < 0)
        return -1;
    return pack_layer(p, m, &m->layers[p->config.layers - 1], true, err);
}

/* Where the gradient of what stands at offset is added. */
static float *wanted(const struct rlhf_pass *p, float *grad, size_t offset)
{
    return grad ? grad + offset : p->waste;
}

static void norm_backward(const struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_norm_place *place,
                          const float *dy, const float *x, const float *mean, const float *rstd, size_t t, float *dx,
                          float *grad)
{
    const float *gain = m->block + place->gain;

    float *d_gain = wanted(p, grad, place->gain);

    if (p->config.norm == RLHF_NORM_LAYER)
        rlhf_layernorm_backward(dy, x, gain, mean, rstd, t, p->config.channels, dx, d_gain,
                                grad ? grad + place->shift : d_gain + p->config.channels, p->pool);
    else
        rlhf_rmsnorm_backward(dy, x, gain, p->config.norm_offset, rstd, t, p->config.channels, dx, d_gain, p->pool);
}

static void weight_backward(const struct rlhf_pass *p, const struct rlhf_product *product, enum rlhf_products products,
                            const float *dy, const float *x, size_t t, float *grad)
{
    (products == RLHF_PRODUCTS_BF16 ? rlhf_linear_backward_weight_rounded : rlhf_linear_backward_weight)(
        dy, product->n, x, product->k, t, product->n, product->k, product->transposed, grad + product->weight,
        product->bias == RLHF_NOWHERE ? NULL : grad + product->bias, p->pool);
}

static void product_backward(const struct rlhf_pass *p, const struct rlhf_product *product,
                             const struct rlhf_packed *back, const float *dy, const float *x, size_t t, float *dx,
                             float *grad)
{
    if (grad)
        weight_backward(p, product, back->products, dy, x, t, grad);
    rlhf_linear(back, dy, product->n, t, NULL, false, dx, product->k, p->pool);
}

/* A product of layer l, and an adapter beside it. */
static void project_backward(const struct rlhf_pass *p, const struct rlhf_layer *l, enum rlhf_slot slot,
                             const struct rlhf_packed *back, const float *dy, const float *x, float *dx, float *grad)
{
    const struct rlhf_product *product = rlhf_layer_product(l, slot);

    product_backward(p, product, back, dy, x, p->t, dx, grad);
    if (p->by.a)
        rlhf_adapter_backward(&p->by, l->index, slot, dy, product->n, x, p->t, dx, p->pool);
}

/* By the output of a branch's last product: what comes down the stream, less what was dropped, through the branch's own norm
 * where it has one. */
static const float *into_branch(const struct rlhf_pass *p, const struct rlhf_model *m, uint32_t place,
                                const struct rlhf_norm_place *post, const float *x, const float *mean, const float *rstd,
                                const struct flow *d, float *grad)
{
    const struct rlhf_batch b = { .start = p->start, .sequences = p->sequences };

    if (p->dropout.rate > 0) {
        rlhf_dropout_apply(&p->dropout, place, &b, p->position, p->config.channels, d->stream, d->post, p->pool);
        return d->post;
    }
    if (!p->config.norm_post)
        return d->stream;
    memset(d->post, 0, p->t * p->config.channels * sizeof *d->post);
    norm_backward(p, m, post, d->stream, x, mean, rstd, p->t, d->post, grad);
    return d->post;
}

static void mlp_backward(const struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_layer *l,
                         const struct layer_panels *b, const struct rlhf_activations *a, const struct flow *d,
                         float *grad)
{
    const struct rlhf_model_config *c = &p->config;
    const size_t t = p->t;
    const float *dy = into_branch(p, m, 2 * l->index + 1, &l->post2, a->post2, a->mean4, a->rstd4, d, grad);

    if (p->by.a) /* its gradient is of them */
        rlhf_layer_activate(c, a, t, p->pool);
    project_backward(p, l, RLHF_SLOT_DOWN, &b->down, dy, a->activated, d->activated, NULL);
    if (c->gated)
        rlhf_gate_backward(c->activation, d->activated, a->up, t, c->mlp_size, a->activated, d->up, p->pool);
    else
        rlhf_activate_backward(c->activation, d->activated, a->up, t * c->mlp_size, a->activated, d->up, p->pool);
    if (grad)
        weight_backward(p, &l->down, b->down.products, dy, a->activated, t, grad);
    rlhf_norm_forward(m, &l->norm2, c->parallel ? a->x : a->middle, t, a->norm2, a->mean2, a->rstd2, p->pool);
    project_backward(p, l, RLHF_SLOT_UP, &b->up, d->up, a->norm2, d->branch, grad);
    if (c->parallel)
        memset(d->aside, 0, t * c->channels * sizeof *d->aside);
    norm_backward(p, m, &l->norm2, d->branch, c->parallel ? a->x : a->middle, a->mean2, a->rstd2, t,
                  c->parallel ? d->aside : d->stream, grad);
}

static void norm_heads_backward(const struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_layer *l,
                                const struct rlhf_activations *a, const struct flow *d, float *grad)
{
    const struct rlhf_model_config *c = &p->config;
    const size_t q = (size_t)c->heads * c->head_size, kv = (size_t)c->kv_heads * c->head_size;

    rlhf_head_norm_backward(a->raw, q + kv, m->block + l->q.gain, c->norm_offset, a->rstd_q, p->t, c->heads,
                            c->head_size, d->qkv, q + 2 * kv, wanted(p, grad, l->q.gain), p->pool);
    rlhf_head_norm_backward(a->raw + q, q + kv, m->block + l->k.gain, c->norm_offset, a->rstd_k, p->t, c->kv_heads,
                            c->head_size, d->qkv + q, q + 2 * kv, wanted(p, grad, l->k.gain), p->pool);
}

static void attention_backward(const struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_layer *l,
                               const struct layer_panels *b, const struct rlhf_activations *a,
                               const struct flow *d, float *grad)
{
    const struct rlhf_model_config *c = &p->config;
    const struct rlhf_attention_shape shape = rlhf_layer_attention(c, l->index, p->start,
                                                                   p->sequences);
    const float *dy = into_branch(p, m, 2 * l->index, &l->post1, a->post1, a->mean3, a->rstd3, d, grad);

    project_backward(p, l, RLHF_SLOT_OUT, &b->out, dy, a->attention, d->attention, grad);
    rlhf_attention_backward(&shape, d->attention, a->qkv, a->attention, a->lse, d->qkv, p->pool);
    if (c->position == RLHF_POSITION_ROTARY)
        rlhf_layer_rotate(c, d->qkv, p->position, p->t, p->rope.cos_sin, true, p->pool);
    if (c->norm_qk)
        norm_heads_backward(p, m, l, a, d, grad);
    rlhf_norm_forward(m, &l->norm1, a->x, p->t, a->norm1, a->mean1, a->rstd1, p->pool);
    project_backward(p, l, RLHF_SLOT_QKV, &b->qkv, d->qkv, a->norm1, d->branch, grad);
    norm_backward(p, m, &l->norm1, d->branch, a->x, a->mean1, a->rstd1, p->t, d->stream, grad);
}

static void layer_backward(const struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_layer *l,
                           const struct layer_panels *b, const struct rlhf_activations *a,
                           const struct flow *d, float *grad)
{
    mlp_backward(p, m, l, b, a, d, grad);
    attention_backward(p, m, l, b, a, d, grad);
    if (p->config.parallel)
        rlhf_add(d->aside, p->t * p->config.channels, d->stream, p->pool);
}

static int flow_get(struct flow *d, const struct rlhf_pass *p)
{
    const struct rlhf_model_config *c = &p->config;
    const size_t up = (c->gated ? 2 : 1) * (size_t)c->mlp_size, stream = c->channels * sizeof(float);
    const size_t q = (size_t)c->heads * c->head_size, kv = (size_t)c->kv_heads * c->head_size;

    return (d->stream = rlhf_arena_zero(p->arena, p->t, stream))
                   && (d->branch = rlhf_arena_get(p->arena, p->t, stream))
                   && ((!c->norm_post && p->dropout.rate <= 0) || (d->post = rlhf_arena_get(p->arena, p->t, stream)))
                   && (!c->parallel || (d->aside = rlhf_arena_get(p->arena, p->t, stream)))
                   && (d->qkv = rlhf_arena_get(p->arena, p->t, (q + 2 * kv) * sizeof(float)))
                   && (d->attention = rlhf_arena_get(p->arena, p->t, q * sizeof(float)))
                   && (d->up = rlhf_arena_get(p->arena, p->t, up * sizeof(float)))
                   && (d->activated = rlhf_arena_get(p->arena, p->t, c->mlp_size * sizeof(float))) ? 0 : -1;
}

/* From the gradient by the head's input, d_hidden [count, C], down to the embeddings. */
static int body_backward(struct rlhf_pass *p, const struct rlhf_model *m, const float *d_hidden, float *grad,
                         struct rlhf_error *err)
{
    const struct head_rows *h = &p->head;
    const size_t c = p->config.channels;
    struct flow d = { 0 };

    if (flow_get(&d, p) < 0
        || (!grad && !(p->waste = rlhf_arena_zero(p->arena, 2 * c + p->config.head_size, sizeof *p->waste))))
        return no_memory(p, err);
    if (h->row) { /* branch is free yet, and holds the gradient of the rows that have one */
        memset(d.branch, 0, h->count * c * sizeof *d.branch);
        norm_backward(p, m, &m->norm, d_hidden, h->x, h->mean, h->rstd, h->count, d.branch, grad);
        for (size_t i = 0; i < h->count; i++)
            memcpy(d.stream + h->row[i] * c, d.branch + i * c, c * sizeof *d.stream);
    } else {
        norm_backward(p, m, &m->norm, d_hidden, h->x, h->mean, h->rstd, p->t, d.stream, grad);
    }
    for (uint32_t i = p->config.layers; i-- > 0;) {
        layer_backward(p, m, &m->layers[i], &p->panels, &p->layers[i], &d, grad);
        if (i > 0 && pack_layer(p, m, &m->layers[i - 1], true, err) < 0)
            return -1;
    }
    if (p->config.embedding_scaled)
        rlhf_scale(d.stream, p->t * c, sqrtf((float)c), p->pool);
    if (grad)
        rlhf_embed_backward(d.stream, p->tokens, p->position, p->t, c, grad + m->embedding,
                            m->positions == RLHF_NOWHERE ? NULL : grad + m->positions, p->pool);
    return 0;
}

int rlhf_pass_backward_logprobs(struct rlhf_pass *p, const struct rlhf_model *m, const float *d_logprob,
                                const float *d_entropy, float *grad, struct rlhf_error *err)
{
    struct head_rows *h = &p->head;
    const struct rlhf_packed *w = NULL;
    struct rlhf_packed *back;
    float *d_l, *d_e;
    int rc;

    RLHF_ASSERT(p->train && p->t > 0 && h->target && (!d_entropy || h->has_entropy));
    if (begin_backward(p, m, &w, &back, err) < 0)
        return -1;
    if (!(d_l = rlhf_arena_get(p->arena, h->count, sizeof *d_l))
        || !(d_e = rlhf_arena_get(p->arena, h->count, sizeof *d_e))) {
        rc = no_memory(p, err);
    } else {
        for (size_t i = 0; i < h->count; i++) {
            d_l[i] = d_logprob[row_of(h, i)];
            d_e[i] = d_entropy ? d_entropy[row_of(h, i)] : 0;
        }
        rlhf_vocab_logprobs_backward(w, back, h->hidden, h->target, h->count, p->config.logit_cap, h->temperature, h->lse,
                                     d_entropy ? h->entropy : NULL, d_l, d_entropy ? d_e : NULL, h->logits, h->d_hidden,
                                     grad ? grad + m->head.weight : NULL, p->pool);
        rlhf_arena_reset(p->arena, h->before_logits); /* logits have become their gradient, which has done its work */
        rc = body_backward(p, m, h->d_hidden, grad, err);
    }
    h->logits = NULL;
    rlhf_arena_reset(p->arena, h->before_logits);
    return rc;
}

/* The scalar head: the model's, or an adapter's own. */
static void head_backward(const struct rlhf_pass *p, const struct rlhf_model *m, const struct rlhf_packed *back,
                          const float *d_scalar, float *d_hidden, float *grad)
{
    const struct rlhf_adapter *a = p->by.a;
    const size_t c = p->config.channels;

    if (!a || a->head == RLHF_NOWHERE) {
        product_backward(p, &m->head, back, d_scalar, p->head.hidden, p->t, d_hidden, grad);
        return;
    }
    if (p->by.grad)
        rlhf_linear_backward_weight(d_scalar, 1, p->head.hidden, c, p->t, 1, c, false, p->by.grad + a->head, NULL,
                                    p->pool);
    rlhf_linear(&a->head_back, d_scalar, 1, p->t, NULL, false, d_hidden, c, p->pool);
}

int rlhf_pass_backward_scalars(struct rlhf_pass *p, const struct rlhf_model *m, const float *d_scalar, float *grad,
                               struct rlhf_error *err)
{
    const size_t mark = rlhf_arena_mark(p->arena);
    struct rlhf_packed *back;
    float *d_hidden;
    int rc;

    RLHF_ASSERT(p->train && p->t > 0 && p->config.head == RLHF_HEAD_SCALAR && p->head.hidden);
    if (begin_backward(p, m, NULL, &back, err) < 0)
        return -1;
    if (!(d_hidden = rlhf_arena_get(p->arena, p->t, p->config.channels * sizeof *d_hidden))) {
        rc = no_memory(p, err);
    } else {
        head_backward(p, m, back, d_scalar, d_hidden, grad);
        rc = body_backward(p, m, d_hidden, grad, err);
    }
    rlhf_arena_reset(p->arena, mark);
    return rc;
}
