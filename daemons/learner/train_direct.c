/* train_direct.c - a policy from comparisons without a reward model: DPO in its kinds, KTO, ORPO (rl/direct.h).
 *
 * What the reference thinks of every completion never changes, so it is computed once, kept in state/STAGE.reference
 * and journaled; the reference itself is in memory only for that long. */
#include "learner/train_direct.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)RLHF_RUN_DIRECT_DPO_KINDS == (int)RLHF_DPO_SFT, "the run file's kinds are rl's but sft");

static void direct_free(struct direct *d)
{
    learner_comparisons_free(&d->comparisons);
    learner_comparisons_free(&d->held);
    rlhf_sequences_free(&d->mismatched);
    learner_order_free(&d->order);
    free(d->rows), free(d->start), free(d->units), free(d->reference);
    free(d->row), free(d->items), free(d->piece_start), free(d->sum), free(d->good), free(d->weight), free(d->now), free(d->kl_now);
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

static const struct direct_unit *unit_at(struct direct *d, uint64_t step, size_t i)
{
    return &d->units[learner_order_at(&d->order, step * (uint64_t)d->settings->batch + i)];
}

/* How far the label is believed that the unit was made of. */
static float weight_of(const struct direct *d, const struct direct_unit *u)
{
    return d->comparisons.weight[direct_comparison(d, u)];
}

/* How many of a step's units from `from` on fit into one pass, one at least, of the rows that `rows` says: 1 chosen, 2
 * rejected, 3 both. */
static size_t fitting(struct direct *d, const struct learner_training *tr, uint64_t step, size_t from, int rows)
{
    size_t to = from, tokens = 0;

    while (to < (size_t)d->settings->batch) {
        const struct direct_unit *u = unit_at(d, step, to);
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
            d->weight[i] = weight_of(d, unit_at(d, step, at + i));
        }
        if (forward(d, tr, 2 * n, err) < 0)
            return -1;
        *tokens += tr->compute.batch.tokens.size;
        pairs.completions = (struct rlhf_ragged){d->piece_start, 2 * n};
        pairs.logprob = d->now;
        pairs.weight = d->weight;
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
            d->weight[i] = weight_of(d, unit_at(d, step, at + i));
        }
        if (forward(d, tr, n, err) < 0)
            return -1;
        *tokens += tr->compute.batch.tokens.size;
        rlhf_ragged_sums(&rows, d->ref, d->sum);
        rlhf_kto_loss(&kto, &rows, d->now, d->sum, d->good, d->weight, kl, batch, d->slope, &sum);
        if (backward(d, tr, err) < 0)
            return -1;
    }
    *loss = sum.loss;
    learner_metric(metrics, "reference_point", kl);
    learner_metric(metrics, "chosen", sum.good_reward / sum.good);
    learner_metric(metrics, "rejected", sum.bad_reward / sum.bad);
    return 0;
}

/* ---- measuring --------------------------------------------------------------------------------------- */

/* How much the policy likes each held-out completion: its log-ratio to the reference, without one its mean log-prob. */
static int held_scores(struct direct *d, struct learner_training *tr, float *score, struct rlhf_error *err)
{
    const size_t most = 2 * (size_t)d->settings->batch;

    for (size_t at = d->held_from, n; at < d->row_count; at += n) {
        struct rlhf_ragged rows = {d->piece_start, 0};
        size_t tokens = 0;

        for (n = 0; n < most && at + n < d->row_count; n++) {
            tokens += d->rows[at + n].count;
            if (n > 0 && tokens > tr->compute.limit)
                break;
            d->row[n] = (uint32_t)(at + n);
        }
        rows.count = n;
        if (forward(d, tr, n, err) < 0)
            return -1;
        rlhf_ragged_sums(&rows, d->now, d->sum);
        for (size_t i = 0; i < n; i++)
            score[at - d->held_from + i] = (float)d->sum[i] / (d->reference ? 1 : (float)(rows.start[i + 1] - rows.start[i]));
        if (!d->reference)
            continue;
        rlhf_ragged_sums(&rows, d->ref, d->sum);
        for (size_t i = 0; i < n; i++)
            score[at - d->held_from + i] -= (float)d->sum[i];
    }
    return 0;
}

/* evaluations/STAGE/metrics.json: how many held-out pairs the policy orders as people did. */
static int measure(struct direct *d, struct learner_training *tr, struct rlhf_error *err)
{
    const struct learner_comparisons *c = &d->held;
    float *score = calloc(c->sequences.count + 1, sizeof *score);
    struct rlhf_agreement a = {0};
    json_t *o = json_object();
    int rc = score && o ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for %zu held-out completions", c->sequences.count);

    learner_progress(d->w, "measuring");
    if (rc == 0)
        rc = held_scores(d, tr, score, err);
    if (rc == 0) {
        for (size_t i = 0; i < c->count; i++)
            rlhf_agreement_add(&a, score + c->first[i], c->rank + c->first[i], c->first[i + 1] - c->first[i]);
        json_object_set_new(o, "comparisons", json_integer((json_int_t)c->count));
        learner_put_agreement(o, "", &a);
        rc = learner_write_measured(d->w, o, err);
        json_object_set(d->w->provenance, "measured", o);
    }
    json_decref(o);
    free(score);
    return rc;
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
    d->weight = calloc(batch, sizeof *d->weight);
    d->now = calloc(3 * d->piece_tokens, sizeof *d->now);
    d->kl_now = calloc(2 * batch, sizeof *d->kl_now);
    if (!d->row || !d->items || !d->piece_start || !d->sum || !d->good || !d->weight || !d->now || !d->kl_now)
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
        of[i] = (uint32_t)direct_comparison(d, &d->units[i]);
    use.of = of;
    rc = learner_labels_add(d->w, &d->comparisons, &use, err) < 0 || learner_labels_add(d->w, &d->held, NULL, err) < 0 ? -1 : 0;
    free(of);
    return rc;
}

static int train(struct direct *d, struct learner_training *tr, struct rlhf_error *err)
{
    if (init_buffers(d, tr, err) < 0)
        return -1;
    tr->step = direct_is_kto(d) ? thumbs_step : pairs_step;
    tr->ctx = d;
    return learner_training_run(tr, err) < 0 || (d->held.count > 0 && measure(d, tr, err) < 0) ||
                   learner_adapter_save(d->w, &tr->optimizer, err) < 0 || list_labels(d, err) < 0 ||
                   learner_save_model(d->w, tr->model, err) < 0 || direct_reference_drop(d, err) < 0
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
    if (set_loss(&d, err) < 0 || direct_read(&d, err) < 0 || direct_reference(&d, model, err) < 0) {
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
