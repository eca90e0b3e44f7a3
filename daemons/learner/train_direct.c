/* train_direct.c - a policy from comparisons without a reward model: DPO in its kinds, KTO, ORPO (rl/direct.h).
 *
 * What the reference thinks of every completion never changes, so it is computed once, kept in state/STAGE.reference
 * and journaled; the reference itself is in memory only for that long. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_comparisons.h"
#include "rl/direct.h"
#include "telemetry/log.h"

_Static_assert((int)RLHF_RUN_DIRECT_DPO_KINDS == (int)RLHF_DPO_SFT, "the run file's kinds are rl's but sft");

/* What one step of a batch is about: a pair, or of KTO one completion. */
struct unit {
    uint32_t chosen;   /* row; of KTO the completion                                  */
    uint32_t rejected; /* row; of KTO the same prompt with another prompt's completion */
    bool good;         /* KTO                                                         */
};

struct direct {
    struct learner_work *w;
    const struct rlhf_stage_direct *settings;
    size_t limit; /* tokens of a sequence */
    struct learner_comparisons comparisons;
    struct rlhf_sequences mismatched; /* KTO's */
    struct learner_item *rows;        /* [row_count] */
    uint32_t *start;                  /* [row_count + 1] into reference */
    size_t row_count;
    struct unit *units;
    size_t unit_count;
    float *reference; /* [start[row_count]] log-probs of completion tokens; NULL: ORPO */
    struct learner_order order;
    struct rlhf_dpo_term terms[2];
    struct rlhf_dpo dpo;
    /* One piece of a step. */
    uint32_t *row;              /* [2 · batch] */
    struct learner_item *items; /* [2 · batch] */
    uint32_t *piece_start;      /* [2 · batch + 1] */
    double *sum;                /* [2 · batch] */
    bool *good;                 /* [batch] */
    float *now, *ref, *slope;   /* [piece_tokens], one block */
    float *kl_now, *kl_ref;     /* [batch], one block */
    size_t piece_tokens;
};

static void direct_free(struct direct *d)
{
    learner_comparisons_free(&d->comparisons);
    rlhf_sequences_free(&d->mismatched);
    learner_order_free(&d->order);
    free(d->rows), free(d->start), free(d->units), free(d->reference);
    free(d->row), free(d->items), free(d->piece_start), free(d->sum), free(d->good), free(d->now), free(d->kl_now);
}

static bool is_kto(const struct direct *d)
{
    return d->settings->loss == RLHF_RUN_KTO;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

static int read_comparisons(struct direct *d, struct rlhf_error *err)
{
    const struct rlhf_config_strings *rounds = &d->settings->rounds, *files = &d->settings->data;

    for (size_t i = 0; i < rounds->count; i++) {
        json_t *lines = learner_comparisons_round(d->w, rounds->items[i], err), *line;
        size_t n;
        int rc = lines ? 0 : -1;
        json_array_foreach(lines, n, line)
        {
            if (rc == 0 && learner_comparison_has_pair(line))
                rc = learner_comparisons_add(&d->comparisons, d->limit, line, err);
        }
        json_decref(lines);
        if (rc < 0)
            return -1;
    }
    for (size_t i = 0; i < files->count; i++)
        if (learner_comparisons_read(&d->comparisons, d->w, d->limit, files->items[i], err) < 0)
            return -1;
    if (d->comparisons.skipped)
        rlhf_log(RLHF_LEVEL_WARNING, "comparisons-too-large stage=%s left_out=%zu limit=%zu", d->w->name,
                 d->comparisons.skipped, d->limit);
    return 0;
}

static int add_unit(struct direct *d, struct unit unit, struct rlhf_error *err)
{
    if ((d->unit_count & (d->unit_count - 1)) == 0) { /* full at every power of two */
        size_t wanted = d->unit_count ? 2 * d->unit_count : 1;
        struct unit *grown = reallocarray(d->units, wanted, sizeof *grown);
        if (!grown)
            return rlhf_fail(err, RLHF_FULL, "out of memory for %zu pairs", wanted);
        d->units = grown;
    }
    d->units[d->unit_count++] = unit;
    return 0;
}

/* Every ordered pair of comparison i. */
static int add_pairs(struct direct *d, size_t i, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;

    for (uint32_t a = c->first[i]; a < c->first[i + 1]; a++)
        for (uint32_t b = c->first[i]; b < c->first[i + 1]; b++)
            if (c->rank[a] < c->rank[b] && add_unit(d, (struct unit){.chosen = a, .rejected = b}, err) < 0)
                return -1;
    return 0;
}

/* Its best completions as good ones and its worst as bad ones. */
static int add_thumbs(struct direct *d, size_t i, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;
    uint32_t best = UINT32_MAX, worst = 0;

    for (uint32_t j = c->first[i]; j < c->first[i + 1]; j++) {
        best = c->rank[j] < best ? c->rank[j] : best;
        worst = c->rank[j] > worst ? c->rank[j] : worst;
    }
    for (uint32_t j = c->first[i]; best < worst && j < c->first[i + 1]; j++)
        if ((c->rank[j] == best || c->rank[j] == worst) &&
            add_unit(d, (struct unit){.chosen = j, .good = c->rank[j] == best}, err) < 0)
            return -1;
    return 0;
}

static size_t comparison_of(const struct learner_comparisons *c, uint32_t row)
{
    size_t low = 0, high = c->count;

    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        *(c->first[middle] <= row ? &low : &high) = middle;
    }
    return low;
}

/* Where KTO's reference point comes from: each prompt with the completion that follows it in another comparison, cut
 * at the limit. */
static int add_mismatched(struct direct *d, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;
    const struct rlhf_sequences *q = &c->sequences;

    for (size_t i = 0; i < d->unit_count; i++) {
        uint32_t row = d->units[i].chosen, other = row;
        size_t mine = comparison_of(c, row), prompt = c->prompt_size[mine], theirs, size;
        struct rlhf_tokens ids = {0};
        int rc;

        for (size_t step = 1; step <= d->unit_count; step++) {
            other = d->units[(i + step) % d->unit_count].chosen;
            if (comparison_of(c, other) != mine)
                break;
        }
        theirs = q->start[other] + c->prompt_size[comparison_of(c, other)];
        size = q->start[other + 1] - theirs;
        size = prompt + size > d->limit ? d->limit - prompt : size;
        rc = rlhf_tokens_append(&ids, q->tokens.data + q->start[row], prompt, err) < 0 ||
                     rlhf_tokens_append(&ids, q->tokens.data + theirs, size, err) < 0 ||
                     rlhf_sequences_append(&d->mismatched, ids.data, ids.size, err) < 0
                 ? -1
                 : 0;
        rlhf_tokens_free(&ids);
        if (rc < 0)
            return -1;
        d->units[i].rejected = (uint32_t)(q->count + i);
    }
    return 0;
}

static struct learner_item item_of(const struct rlhf_sequences *q, size_t i, uint32_t prompt)
{
    return (struct learner_item){
        .ids = q->tokens.data + q->start[i], .count = q->start[i + 1] - q->start[i], .first = prompt};
}

static int make_rows(struct direct *d, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->comparisons;

    d->row_count = c->sequences.count + d->mismatched.count;
    d->rows = calloc(d->row_count, sizeof *d->rows);
    d->start = calloc(d->row_count + 1, sizeof *d->start);
    if (!d->rows || !d->start)
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions", d->row_count);
    for (size_t i = 0; i < c->count; i++)
        for (uint32_t j = c->first[i]; j < c->first[i + 1]; j++)
            d->rows[j] = item_of(&c->sequences, j, c->prompt_size[i]);
    for (size_t i = 0; i < d->mismatched.count; i++)
        d->rows[c->sequences.count + i] =
            item_of(&d->mismatched, i, d->rows[d->units[i].chosen].first);
    for (size_t i = 0; i < d->row_count; i++) {
        size_t end = d->start[i] + learner_targets(&d->rows[i], 1);
        if (end > UINT32_MAX)
            return rlhf_fail(err, RLHF_REJECT, "the comparisons have more than %u tokens", UINT32_MAX);
        d->start[i + 1] = (uint32_t)end;
    }
    return 0;
}

static int make_units(struct direct *d, struct rlhf_error *err)
{
    for (size_t i = 0; i < d->comparisons.count; i++)
        if ((is_kto(d) ? add_thumbs : add_pairs)(d, i, err) < 0)
            return -1;
    if (d->unit_count == 0)
        return rlhf_fail(err, RLHF_REJECT, "there is no comparison with a preference of at most %zu tokens", d->limit);
    if (is_kto(d) && add_mismatched(d, err) < 0)
        return -1;
    rlhf_log(RLHF_LEVEL_INFO, "comparisons-read stage=%s comparisons=%zu %s=%zu", d->w->name, d->comparisons.count,
             is_kto(d) ? "completions" : "pairs", d->unit_count);
    return make_rows(d, err);
}

/* ---- the reference ----------------------------------------------------------------------------------- */

static int compute_reference(struct direct *d, const struct rlhf_model *m, struct rlhf_error *err)
{
    struct learner_compute c;
    float *out = d->reference;

    if (learner_compute_init(&c, rlhf_model_get_config(m), d->w->t->pool, false, err) < 0)
        return -1;
    for (size_t i = 0; i < d->row_count;) {
        if (learner_stopping(d->w)) {
            learner_compute_free(&c);
            return learner_stopped(err);
        }
        if ((i = learner_compute_forward(&c, m, d->rows, i, d->row_count, err)) == 0 ||
            rlhf_pass_logprobs(c.pass, m, c.batch.target, 1, c.batch.value, NULL, err) < 0) {
            learner_compute_free(&c);
            return -1;
        }
        out += learner_batch_pick(&c.batch, c.batch.value, out);
        learner_progress(d->w, "reference %zu of %zu", i, d->row_count);
    }
    learner_compute_free(&c);
    return 0;
}

/* What an earlier life of this stage kept; false where there is none or it is damaged. */
static bool kept_reference(struct direct *d, const char *path, size_t size)
{
    struct rlhf_bytes bytes = {0};
    struct rlhf_digest digest;
    bool good = d->w->record->has_reference && rlhf_read_file(d->w->t->io, path, size, &bytes, NULL) == 0 &&
                bytes.size == size;

    if (good) {
        digest = rlhf_digest_of(bytes.data, bytes.size);
        good = rlhf_digest_equal(&digest, &d->w->record->reference);
    }
    if (good)
        memcpy(d->reference, bytes.data, size);
    else if (d->w->record->has_reference)
        rlhf_log(RLHF_LEVEL_WARNING, "reference-damaged path=%s it is computed again", path);
    rlhf_bytes_free(&bytes);
    return good;
}

static int keep_reference(struct direct *d, const char *path, size_t size, struct rlhf_error *err)
{
    struct learner_record *r = d->w->record;
    char text[RLHF_DIGEST_TEXT];

    r->reference = rlhf_digest_of(d->reference, size);
    rlhf_digest_text(&r->reference, text);
    if (learner_write_file(d->w, path, &(struct rlhf_bytes){.data = (char *)d->reference, .size = size}, err) < 0 ||
        learner_journal(d->w, "reference", json_pack("{s:s}", "digest", text), err) < 0)
        return -1;
    r->has_reference = true;
    return 0;
}

static int reference_path(const struct direct *d, char *path, size_t size, struct rlhf_error *err)
{
    return learner_path(d->w->t, path, size, err, "state/%s.reference", d->w->name);
}

/* Every completion under the reference; policy is what the stage starts from, still untouched. */
static int make_reference(struct direct *d, const struct rlhf_model *policy, struct rlhf_error *err)
{
    size_t size = d->start[d->row_count] * sizeof *d->reference;
    struct rlhf_model *other = NULL;
    char path[LEARNER_PATH];
    int rc;

    if (d->settings->loss == RLHF_RUN_ORPO)
        return 0;
    if (!(d->reference = calloc(d->start[d->row_count] + 1, sizeof *d->reference)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for the reference's log-probs");
    if (reference_path(d, path, sizeof path, err) < 0)
        return -1;
    /* Loaded also when it is not needed any more: the provenance names it. */
    if (d->settings->reference && !(other = learner_load_model(d->w, d->settings->reference, RLHF_HEAD_LM, err)))
        return -1;
    rc = kept_reference(d, path, size) ? 0
         : compute_reference(d, other ? other : policy, err) < 0 || keep_reference(d, path, size, err) < 0 ? -1
                                                                                                             : 0;
    rlhf_model_free(other);
    return rc;
}

static int drop_reference(struct direct *d, struct rlhf_error *err)
{
    const struct rlhf_io *io = d->w->t->io;
    char path[LEARNER_PATH];

    if (!d->reference)
        return 0;
    if (reference_path(d, path, sizeof path, err) < 0)
        return -1;
    if (io->unlink(io, path) < 0 && errno != ENOENT)
        return rlhf_fail(err, RLHF_FATAL, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}

/* ---- a step ------------------------------------------------------------------------------------------ */

/* The first count of d->row forward: their completions' log-probs in d->now, the reference's in d->ref. */
static int forward(struct direct *d, struct learner_training *tr, size_t count, struct rlhf_error *err)
{
    struct learner_batch *b = &tr->compute.batch;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t row = d->row[i], from = d->start[row], size = d->start[row + 1] - from;

        d->items[i] = d->rows[row];
        if (d->reference)
            memcpy(d->ref + n, d->reference + from, size * sizeof *d->ref);
        n += size;
        d->piece_start[i + 1] = (uint32_t)n;
    }
    if (learner_compute_forward_all(&tr->compute, tr->model, d->items, count, err) < 0 ||
        rlhf_pass_logprobs(tr->compute.pass, tr->model, b->target, 1, b->value, NULL, err) < 0)
        return -1;
    learner_batch_pick(b, b->value, d->now);
    return 0;
}

static int backward(struct direct *d, struct learner_training *tr, struct rlhf_error *err)
{
    struct learner_batch *b = &tr->compute.batch;

    learner_batch_spread(b, d->slope);
    return b->targets == 0 ? 0
                           : rlhf_pass_backward_logprobs(tr->compute.pass, tr->model, b->slope, NULL,
                                                         learner_optimizer_grad(&tr->optimizer), err);
}

static const struct unit *unit_at(struct direct *d, uint64_t step, size_t i)
{
    return &d->units[learner_order_at(&d->order, step * (uint64_t)d->settings->batch + i)];
}

/* How many of a step's units from `from` on fit into one pass, one at least, of the rows that `rows` says: 1 chosen, 2
 * rejected, 3 both. */
static size_t fitting(struct direct *d, const struct learner_training *tr, uint64_t step, size_t from, int rows)
{
    size_t to = from, tokens = 0;

    while (to < (size_t)d->settings->batch) {
        const struct unit *u = unit_at(d, step, to);
        tokens += (rows & 1 ? d->rows[u->chosen].count : 0) + (rows & 2 ? d->rows[u->rejected].count : 0);
        if (to > from && tokens > tr->compute.limit)
            break;
        to++;
    }
    return to - from;
}

/* ORPO's other half: all tokens of the chosen sequences, prompts too. */
static int chosen_gradient(struct direct *d, struct learner_training *tr, uint64_t step, double *loss,
                           struct rlhf_error *err)
{
    size_t batch = (size_t)d->settings->batch;

    for (size_t i = 0; i < batch; i++) {
        d->items[i] = d->rows[unit_at(d, step, i)->chosen];
        d->items[i].first = 0;
    }
    return learner_lm_gradient(&tr->compute, tr->model, d->items, batch, 1, learner_optimizer_grad(&tr->optimizer), loss,
                               err);
}

static int pairs_step(struct learner_training *tr, void *ctx, uint64_t step, double *loss, uint64_t *tokens,
                      json_t *metrics, struct rlhf_error *err)
{
    struct direct *d = ctx;
    size_t batch = (size_t)d->settings->batch, chosen = 0;
    struct rlhf_pairs_statistics sum = {0};
    double nll = 0;

    for (size_t i = 0; i < batch; i++)
        chosen += learner_targets(&d->rows[unit_at(d, step, i)->chosen], 1);
    if (!d->reference && chosen_gradient(d, tr, step, &nll, err) < 0)
        return -1;
    for (size_t at = 0, n; at < batch; at += n) {
        struct rlhf_pairs pairs = {.of_pairs = batch, .of_tokens = chosen};

        n = fitting(d, tr, step, at, 3);
        for (size_t i = 0; i < n; i++) {
            d->row[i] = unit_at(d, step, at + i)->chosen;
            d->row[n + i] = unit_at(d, step, at + i)->rejected;
        }
        if (forward(d, tr, 2 * n, err) < 0)
            return -1;
        *tokens += tr->compute.batch.tokens.size;
        pairs.completions = (struct rlhf_ragged){d->piece_start, 2 * n};
        pairs.logprob = d->now;
        if (d->reference) {
            rlhf_pair_sums(&d->dpo, &pairs.completions, d->ref, d->sum);
            pairs.reference = d->sum;
            rlhf_dpo_loss(&d->dpo, &pairs, d->slope, &sum);
        } else {
            rlhf_orpo_loss(d->settings->beta, &pairs, d->slope, &sum, NULL);
        }
        if (backward(d, tr, err) < 0)
            return -1;
    }
    *loss = sum.loss + nll;
    if (!d->reference)
        learner_metric(metrics, "loss_chosen", nll);
    learner_metric(metrics, "accuracy", sum.right / sum.pairs);
    learner_metric(metrics, "chosen", sum.chosen / sum.pairs);
    learner_metric(metrics, "rejected", sum.rejected / sum.pairs);
    return 0;
}

/* Sums of mismatched completions under policy and reference: KTO's reference point. */
static int reference_point(struct direct *d, struct learner_training *tr, uint64_t step, double *kl, uint64_t *tokens,
                           struct rlhf_error *err)
{
    size_t batch = (size_t)d->settings->batch;

    for (size_t at = 0, n; at < batch; at += n) {
        struct rlhf_ragged rows = {d->piece_start, 0};

        rows.count = n = fitting(d, tr, step, at, 2);
        for (size_t i = 0; i < n; i++)
            d->row[i] = unit_at(d, step, at + i)->rejected;
        if (forward(d, tr, n, err) < 0)
            return -1;
        *tokens += tr->compute.batch.tokens.size;
        rlhf_ragged_sums(&rows, d->now, d->sum);
        for (size_t i = 0; i < n; i++)
            d->kl_now[at + i] = (float)d->sum[i];
        rlhf_ragged_sums(&rows, d->ref, d->sum);
        for (size_t i = 0; i < n; i++)
            d->kl_ref[at + i] = (float)d->sum[i];
    }
    *kl = rlhf_kto_kl(d->kl_now, d->kl_ref, batch);
    return 0;
}

static int thumbs_step(struct learner_training *tr, void *ctx, uint64_t step, double *loss, uint64_t *tokens,
                       json_t *metrics, struct rlhf_error *err)
{
    struct direct *d = ctx;
    const struct rlhf_kto kto = {d->settings->beta, d->settings->desirable, d->settings->undesirable};
    size_t batch = (size_t)d->settings->batch;
    struct rlhf_kto_statistics sum = {0};
    double kl;

    if (reference_point(d, tr, step, &kl, tokens, err) < 0)
        return -1;
    for (size_t at = 0, n; at < batch; at += n) {
        struct rlhf_ragged rows = {d->piece_start, 0};

        rows.count = n = fitting(d, tr, step, at, 1);
        for (size_t i = 0; i < n; i++) {
            d->row[i] = unit_at(d, step, at + i)->chosen;
            d->good[i] = unit_at(d, step, at + i)->good;
        }
        if (forward(d, tr, n, err) < 0)
            return -1;
        *tokens += tr->compute.batch.tokens.size;
        rlhf_ragged_sums(&rows, d->ref, d->sum);
        rlhf_kto_loss(&kto, &rows, d->now, d->sum, d->good, kl, batch, d->slope, &sum);
        if (backward(d, tr, err) < 0)
            return -1;
    }
    *loss = sum.loss;
    learner_metric(metrics, "reference_point", kl);
    learner_metric(metrics, "chosen", sum.good_reward / sum.good);
    learner_metric(metrics, "rejected", sum.bad_reward / sum.bad);
    return 0;
}

/* ---- the stage --------------------------------------------------------------------------------------- */

static int set_loss(struct direct *d, struct rlhf_error *err)
{
    const struct rlhf_stage_direct *s = d->settings;

    d->terms[0] = (struct rlhf_dpo_term){(enum rlhf_dpo_kind)s->loss, 1, s->label_smoothing};
    d->terms[1] = (struct rlhf_dpo_term){RLHF_DPO_SFT, s->sft_weight, 0};
    d->dpo = (struct rlhf_dpo){.beta = s->beta,
                               .divergence = (enum rlhf_divergence)s->divergence,
                               .alpha = s->alpha,
                               .desensitized = s->tail < 1,
                               .tail = s->tail,
                               .terms = d->terms,
                               .count = s->sft_weight > 0 ? 2 : 1};
    return s->loss < RLHF_RUN_DIRECT_DPO_KINDS ? rlhf_dpo_check(&d->dpo, err) : 0;
}

/* A piece is at most what fits a pass, or one pair. */
static int init_buffers(struct direct *d, const struct learner_training *tr, struct rlhf_error *err)
{
    size_t batch = (size_t)d->settings->batch;

    d->piece_tokens = tr->compute.limit + 2 * d->limit;
    d->row = calloc(2 * batch, sizeof *d->row);
    d->items = calloc(2 * batch, sizeof *d->items);
    d->piece_start = calloc(2 * batch + 1, sizeof *d->piece_start);
    d->sum = calloc(2 * batch, sizeof *d->sum);
    d->good = calloc(batch, sizeof *d->good);
    d->now = calloc(3 * d->piece_tokens, sizeof *d->now);
    d->kl_now = calloc(2 * batch, sizeof *d->kl_now);
    if (!d->row || !d->items || !d->piece_start || !d->sum || !d->good || !d->now || !d->kl_now)
        return rlhf_fail(err, RLHF_FULL, "out of memory for a batch of %zu", batch);
    d->ref = d->now + d->piece_tokens;
    d->slope = d->ref + d->piece_tokens;
    d->kl_ref = d->kl_now + batch;
    return learner_order_init(&d->order, (uint64_t)d->w->t->run->run.seed, d->w->key, d->unit_count, err);
}

static int list_labels(struct direct *d, struct rlhf_error *err)
{
    struct learner_use use = {&d->order, NULL, d->w->steps, (uint64_t)d->settings->batch};
    uint32_t *of = calloc(d->unit_count, sizeof *of);
    int rc;

    if (!of)
        return rlhf_fail(err, RLHF_FULL, "out of memory for the labels of %zu pairs", d->unit_count);
    for (size_t i = 0; i < d->unit_count; i++)
        of[i] = (uint32_t)comparison_of(&d->comparisons, d->units[i].chosen);
    use.of = of;
    rc = learner_labels_add(d->w, &d->comparisons, &use, err);
    free(of);
    return rc;
}

static int train(struct direct *d, struct learner_training *tr, struct rlhf_error *err)
{
    if (init_buffers(d, tr, err) < 0)
        return -1;
    tr->step = is_kto(d) ? thumbs_step : pairs_step;
    tr->ctx = d;
    return learner_training_run(tr, err) < 0 || learner_adapter_save(d->w, &tr->optimizer, err) < 0 ||
                   list_labels(d, err) < 0 || learner_save_model(d->w, tr->model, err) < 0 || drop_reference(d, err) < 0
               ? -1
               : 0;
}

int learner_direct(struct learner_work *w, struct rlhf_error *err)
{
    const struct rlhf_stage_direct *s = w->stage->direct;
    struct rlhf_model *model = learner_load_model(w, rlhf_stage_from(w->t->run, w->index), RLHF_HEAD_LM, err);
    struct direct d = {.w = w, .settings = s};
    struct learner_training tr = {0};
    uint64_t steps;
    int rc = -1;

    if (!model)
        return -1;
    d.limit = rlhf_model_get_config(model)->context;
    if (s->max_tokens && (size_t)s->max_tokens < d.limit)
        d.limit = (size_t)s->max_tokens;
    if (set_loss(&d, err) < 0 || read_comparisons(&d, err) < 0 || make_units(&d, err) < 0 ||
        make_reference(&d, model, err) < 0) {
        rlhf_model_free(model);
        goto out;
    }
    steps = s->steps ? (uint64_t)s->steps : (uint64_t)s->epochs * d.unit_count / (uint64_t)s->batch;
    if (learner_training_init(&tr, w, model, &s->optimizer, s->adapter, steps ? steps : 1, err) < 0)
        goto out;
    rc = train(&d, &tr, err);
    learner_training_free(&tr);
out:
    direct_free(&d);
    return rc;
}
