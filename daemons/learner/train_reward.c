/* train_reward.c - a reward model from comparisons: the K-wise loss, held-out accuracy, the bias that makes
 * demonstrations score 0 on average. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_comparisons.h"
#include "rl/advantage.h"
#include "rl/preference.h"
#include "rl/reward.h"
#include "rl/statistics.h"
#include "telemetry/log.h"

enum { MOST_TOGETHER = 64 }; /* comparisons of one pass */

struct reward {
    struct learner_work *w;
    const struct rlhf_stage_reward *settings;
    size_t limit; /* tokens of a sequence */
    struct learner_comparisons train, validation;
    struct learner_order order;
    struct learner_item *items; /* of a step, or of all validation completions */
    size_t item_capacity;
};

/* ---- reading ----------------------------------------------------------------------------------------- */

static int read_round(struct reward *r, const char *round, struct rlhf_error *err)
{
    const double held = r->settings->validation.count ? 0 : r->settings->held_out;
    json_t *lines = learner_comparisons_round(r->w, round, err), *line;
    size_t i;
    int rc = 0;

    if (!lines)
        return -1;
    json_array_foreach(lines, i, line)
    {
        if (rc == 0 && learner_comparison_held_out(line, held))
            rc = learner_comparisons_add(&r->validation, r->limit, line, err);
        else if (rc == 0 && learner_comparison_has_pair(line))
            rc = learner_comparisons_add(&r->train, r->limit, line, err);
    }
    json_decref(lines);
    return rc;
}

static int read_all(struct reward *r, struct rlhf_error *err)
{
    const struct rlhf_config_strings *rounds = &r->settings->rounds, *files = &r->settings->validation;

    for (size_t i = 0; i < rounds->count; i++)
        if (read_round(r, rounds->items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < files->count; i++)
        if (learner_comparisons_read(&r->validation, NULL, 0, r->w, r->limit, files->items[i], err) < 0)
            return -1;
    if (r->train.skipped + r->validation.skipped)
        rlhf_log(RLHF_LEVEL_WARNING, "comparisons-too-large stage=%s left_out=%zu limit=%zu", r->w->name,
                 r->train.skipped + r->validation.skipped, r->limit);
    if (r->train.count == 0)
        return rlhf_fail(err, RLHF_REJECT,
                         "the rounds hold no comparison with a preference of at most %zu tokens", r->limit);
    rlhf_log(RLHF_LEVEL_INFO, "comparisons-read stage=%s train=%zu held_out=%zu", r->w->name, r->train.count,
             r->validation.count);
    return learner_order_init(&r->order, (uint64_t)r->w->t->run->run.seed, r->w->key, r->train.count, err);
}

/* ---- training ---------------------------------------------------------------------------------------- */

/* Appends comparison i's completions to r->items[n...]; returns the new n, 0 when out of memory. */
static size_t put_items(struct reward *r, const struct learner_comparisons *c, size_t i, size_t n,
                        struct rlhf_error *err)
{
    size_t k = c->first[i + 1] - c->first[i];

    if (n + k > r->item_capacity) {
        size_t wanted = 2 * (n + k);
        struct learner_item *grown = reallocarray(r->items, wanted, sizeof *grown);
        if (!grown) {
            rlhf_fail(err, RLHF_FULL, "out of memory for %zu completions", wanted);
            return 0;
        }
        r->items = grown;
        r->item_capacity = wanted;
    }
    for (uint32_t j = c->first[i]; j < c->first[i + 1]; j++) {
        uint32_t from = c->sequences.start[j], to = c->sequences.start[j + 1];
        r->items[n++] = (struct learner_item){.ids = c->sequences.tokens.data + from, .count = to - from};
    }
    return n;
}

/* The pairs of the packed comparisons index[0 .. count), whose completions r->items are, forward and
 * backward. */
static int pairs_gradient(struct reward *r, struct learner_training *tr, const uint32_t *index, size_t count,
                          size_t items, double scale, double *loss, struct rlhf_agreement *a,
                          struct rlhf_error *err)
{
    const struct rlhf_stage_reward *s = r->settings;
    const struct rlhf_preference preference = {s->label_smoothing, s->center, s->margin};
    struct learner_batch *b = &tr->compute.batch;

    if (learner_compute_forward_all(&tr->compute, tr->model, r->items, items, err) < 0 ||
        rlhf_pass_scalars(tr->compute.pass, tr->model, b->value, err) < 0)
        return -1;
    memset(b->slope, 0, b->tokens.size * sizeof *b->slope);
    for (size_t i = 0, n = 0; i < count; i++) {
        uint32_t first = r->train.first[index[i]], k = r->train.first[index[i] + 1] - first;
        float reward[LEARNER_COMPLETIONS], slope[LEARNER_COMPLETIONS];
        for (uint32_t j = 0; j < k; j++) {
            reward[j] = b->value[b->start[n + j + 1] - 1];
            slope[j] = 0;
        }
        double weighted = scale * (double)r->train.weight[index[i]];
        *loss += weighted * rlhf_kway_loss(&preference, reward, r->train.rank + first, k, weighted, slope, NULL);
        rlhf_agreement_add(a, reward, r->train.rank + first, k);
        for (uint32_t j = 0; j < k; j++)
            b->slope[b->start[n + j + 1] - 1] = slope[j];
        n += k;
    }
    return rlhf_pass_backward_scalars(tr->compute.pass, tr->model, b->slope, tr->optimizer.grad, err);
}

static size_t tokens_of(const struct learner_comparisons *c, size_t i)
{
    return c->sequences.start[c->first[i + 1]] - c->sequences.start[c->first[i]];
}

static int step(struct learner_training *tr, void *ctx, uint64_t number, double *loss, uint64_t *tokens,
                json_t *metrics, struct rlhf_error *err)
{
    struct reward *r = ctx;
    size_t batch = (size_t)r->settings->batch;
    struct rlhf_agreement a = {0};

    for (size_t i = 0; i < batch;) {
        uint32_t index[MOST_TOGETHER];
        size_t count = 0, items = 0, packed = 0;
        while (i < batch && count < MOST_TOGETHER) { /* all completions of a prompt in one pass */
            uint32_t at = learner_order_at(&r->order, number * batch + i);
            if (count > 0 && packed + tokens_of(&r->train, at) > tr->compute.limit)
                break;
            packed += tokens_of(&r->train, at);
            if ((items = put_items(r, &r->train, at, items, err)) == 0)
                return -1;
            index[count++] = at;
            i++;
        }
        *tokens += packed;
        if (pairs_gradient(r, tr, index, count, items, 1 / (double)batch, loss, &a, err) < 0)
            return -1;
    }
    learner_metric(metrics, "accuracy", a.right / (double)a.pairs);
    return 0;
}

/* ---- measuring --------------------------------------------------------------------------------------- */

static int validate(struct reward *r, struct learner_training *tr, json_t *o, struct rlhf_error *err)
{
    struct learner_comparisons *c = &r->validation;
    struct rlhf_agreement model = {0}, length = {0};
    struct rlhf_bytes lines = {0};
    char path[LEARNER_PATH];
    float *score = calloc(2 * c->sequences.count + 1, sizeof *score), *size = score + c->sequences.count;
    size_t items = 0;
    int rc = score ? 0 : rlhf_fail(err, RLHF_FULL, "out of memory for validation");

    for (size_t i = 0; rc == 0 && i < c->count; i++)
        rc = (items = put_items(r, c, i, items, err)) == 0 ? -1 : 0;
    if (rc == 0 && items > 0)
        rc = learner_last_scalars(&tr->compute, tr->model, r->items, items, score, err);
    for (size_t i = 0; rc == 0 && i < items; i++)
        size[i] = (float)r->items[i].count;
    for (size_t i = 0; rc == 0 && i < c->count; i++) {
        uint32_t first = c->first[i], k = c->first[i + 1] - first;
        json_t *line = json_deep_copy(json_array_get(c->sources, i)), *scores = json_array(), *entry;
        size_t j;
        rlhf_agreement_add(&model, score + first, c->rank + first, k);
        rlhf_agreement_add(&length, size + first, c->rank + first, k);
        for (j = 0; j < k; j++)
            json_array_append_new(scores, json_real(score[first + j]) ?: json_null());
        json_object_set_new(line, "scores", scores);
        json_object_del(line, "prompt_ids");
        json_array_foreach(json_object_get(line, "completions"), j, entry) json_object_del(entry, "ids");
        rc = learner_append_json(&lines, line, err);
        json_decref(line);
    }
    if (rc == 0) {
        json_object_set_new(o, "comparisons", json_integer((json_int_t)c->count));
        learner_put_agreement(o, "", &model);
        learner_put_agreement(o, "length_", &length);
        rc = learner_path(r->w->t, path, sizeof path, err, "evaluations/%s/validation.jsonl", r->w->name) <
                         0 ||
                     learner_write_file(r->w, path, &lines, err) < 0
                 ? -1
                 : 0;
    }
    rlhf_bytes_free(&lines);
    free(score);
    return rc;
}

/* Multiplies every reward that the model gives. */
static void multiply(struct learner_training *tr, double gain)
{
    const struct rlhf_parameter *table;
    size_t count, all;
    float *param = rlhf_model_parameters(tr->model, &all);

    table = rlhf_model_table(tr->model, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, "score.weight") == 0)
            for (size_t j = 0; j < table[i].count; j++)
                param[table[i].offset + j] = (float)(gain * param[table[i].offset + j]);
    rlhf_model_set_bias(tr->model, (float)(gain * rlhf_model_bias(tr->model)));
    rlhf_model_touch(tr->model, tr->work->t->pool);
}

/* Sets the bias so that demonstrations score 0 on average (InstructGPT, appendix C.2). */
static int center(struct reward *r, struct learner_training *tr, json_t *o, struct rlhf_error *err)
{
    struct rlhf_demonstrations d = {0};
    struct learner_order order = {0};
    size_t count = (size_t)r->settings->zero_mean_count;
    struct learner_item *items = NULL;
    float *score = NULL;
    struct rlhf_reward_scale scale;
    struct rlhf_moments measured;
    int rc = -1;

    if (rlhf_read_demonstrations(r->settings->zero_mean_on, &r->w->t->form, r->limit, &d, err) < 0)
        return -1;
    count = count < d.sequences.count ? count : d.sequences.count;
    if (count == 0) {
        rlhf_fail(err, RLHF_REJECT, "%s: no demonstration of at most %zu tokens", r->settings->zero_mean_on,
                  r->limit);
        goto out;
    }
    items = calloc(count, sizeof *items);
    score = calloc(count, sizeof *score);
    if (!items || !score) {
        rlhf_fail(err, RLHF_FULL, "out of memory for %zu demonstrations", count);
        goto out;
    }
    if (learner_order_init(&order, (uint64_t)r->w->t->run->run.seed, r->w->key, d.sequences.count, err) < 0)
        goto out;
    for (size_t i = 0; i < count; i++) {
        uint32_t at = learner_order_at(&order, i), from = d.sequences.start[at];
        items[i] = (struct learner_item){.ids = d.sequences.tokens.data + from,
                                         .count = d.sequences.start[at + 1] - from};
    }
    if (learner_last_scalars(&tr->compute, tr->model, items, count, score, err) < 0)
        goto out;
    scale = r->settings->unit_deviation ? rlhf_reward_scale_fit(score, count, 0, 1) : rlhf_reward_bias_fit(score, count, 0);
    if (r->settings->unit_deviation) {
        multiply(tr, scale.gain);
        learner_metric(o, "gain", scale.gain);
    }
    rlhf_model_set_bias(tr->model, rlhf_model_bias(tr->model) + (float)scale.bias);
    if (learner_last_scalars(&tr->compute, tr->model, items, count, score, err) < 0) /* what came of it */
        goto out;
    measured = rlhf_moments(score, count);
    learner_metric(o, "bias", rlhf_model_bias(tr->model));
    learner_metric(o, "demonstrations_mean", measured.mean);
    learner_metric(o, "demonstrations_sd", sqrt(measured.variance));
    rc = 0;
out:
    free(items);
    free(score);
    learner_order_free(&order);
    rlhf_demonstrations_free(&d);
    return rc;
}

static int list_labels(struct reward *r, const struct learner_training *tr, struct rlhf_error *err)
{
    const struct learner_use use = {&r->order, NULL, tr->work->steps, (uint64_t)r->settings->batch};

    return learner_labels_add(r->w, &r->train, &use, err) < 0 || learner_labels_add(r->w, &r->validation, NULL, err) < 0
               ? -1
               : 0;
}

static int finish(struct reward *r, struct learner_training *tr, struct rlhf_error *err)
{
    json_t *o = json_object();
    char path[LEARNER_PATH];
    int rc = -1;

    learner_progress(r->w, "measuring");
    if (learner_path(r->w->t, path, sizeof path, err, "evaluations/%s", r->w->name) == 0 &&
        rlhf_make_dirs(r->w->t->io, path, err) == 0 &&
        (!r->settings->zero_mean_on || center(r, tr, o, err) == 0) && validate(r, tr, o, err) == 0 &&
        learner_write_measured(r->w, o, err) == 0) {
        rlhf_log(
            RLHF_LEVEL_INFO,
            "reward-model stage=%s accuracy=%.3f low=%.3f high=%.3f length_accuracy=%.3f pairs=%lld sd=%.3f",
            r->w->name, json_number_value(json_object_get(o, "accuracy")),
            json_number_value(json_object_get(o, "low")), json_number_value(json_object_get(o, "high")),
            json_number_value(json_object_get(o, "length_accuracy")),
            (long long)json_integer_value(json_object_get(o, "pairs")),
            json_number_value(json_object_get(o, "demonstrations_sd")));
        json_object_set(r->w->provenance, "measured", o);
        rc = list_labels(r, tr, err) < 0 || learner_save_model(r->w, tr->model, err) < 0 ? -1 : 0;
    }
    json_decref(o);
    return rc;
}

int learner_reward(struct learner_work *w, struct rlhf_error *err)
{
    const struct rlhf_stage_reward *s = w->stage->reward;
    struct rlhf_model *model =
        learner_load_model(w, rlhf_stage_from(w->t->run, w->index), RLHF_HEAD_SCALAR, err);
    struct reward r = {.w = w, .settings = s};
    struct learner_training tr = {0};
    uint64_t steps;
    int rc = -1;

    if (!model)
        return -1;
    r.limit = rlhf_model_get_config(model)->context;
    if (s->max_tokens && (size_t)s->max_tokens < r.limit)
        r.limit = (size_t)s->max_tokens;
    if (read_all(&r, err) < 0) {
        rlhf_model_free(model);
        goto out;
    }
    steps = (uint64_t)s->epochs * r.train.count / (uint64_t)s->batch;
    if (learner_training_init(&tr, w, model, &s->optimizer, NULL, steps ? steps : 1, err) < 0)
        goto out;
    tr.step = step;
    tr.ctx = &r;
    rc = learner_training_run(&tr, err) < 0 || finish(&r, &tr, err) < 0 ? -1 : 0;
    learner_training_free(&tr);
out:
    learner_comparisons_free(&r.train);
    learner_comparisons_free(&r.validation);
    learner_order_free(&r.order);
    free(r.items);
    return rc;
}
