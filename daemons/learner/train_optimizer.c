/* train_optimizer.c - AdamW with clipping and a schedule; the loop that pretrain, sft and reward share. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "rl/schedule.h"
#include "telemetry/log.h"
#include "tensor/ops.h"

_Static_assert((int)RLHF_RUN_COSINE == (int)RLHF_SCHEDULE_COSINE &&
                   (int)RLHF_RUN_LINEAR == (int)RLHF_SCHEDULE_LINEAR,
               "the run file's schedules are rl's");

enum { SKIPPED_IN_A_ROW = 10 };

static int allocate(struct learner_optimizer *o, struct rlhf_error *err)
{
    o->grad = rlhf_aligned_new(o->count, sizeof *o->grad, err);
    o->m = rlhf_aligned_new(o->count, sizeof *o->m, err);
    o->v = rlhf_aligned_new(o->count, sizeof *o->v, err);
    if (o->grad && o->m && o->v)
        return 0;
    learner_optimizer_free(o);
    return -1;
}

int learner_optimizer_init(struct learner_optimizer *o, struct rlhf_model *model,
                           const struct rlhf_run_optimizer *settings, uint64_t steps, struct rlhf_pool *pool,
                           struct rlhf_error *err)
{
    *o = (struct learner_optimizer){.settings = settings, .model = model, .pool = pool, .steps = steps};
    o->param = rlhf_model_parameters(model, &o->count);
    return allocate(o, err);
}

int learner_optimizer_init_adapter(struct learner_optimizer *o, const struct learner_work *w, struct rlhf_model *model,
                                   struct rlhf_pass *pass, const struct rlhf_run_optimizer *settings,
                                   const struct rlhf_run_adapter *adapter, uint64_t steps, struct rlhf_error *err)
{
    if (!adapter)
        return learner_optimizer_init(o, model, settings, steps, w->t->pool, err);
    *o = (struct learner_optimizer){.settings = settings, .model = model, .pool = w->t->pool, .steps = steps};
    if (learner_adapter_new(o, w, adapter, err) < 0) {
        learner_optimizer_free(o);
        return -1;
    }
    if (allocate(o, err) < 0)
        return -1;
    rlhf_pass_adapt_merged(pass, o->adapter, o->grad);
    return 0;
}

void learner_optimizer_free(struct learner_optimizer *o)
{
    free(o->grad);
    free(o->m);
    free(o->v);
    free(o->kept);
    rlhf_adapter_free(o->adapter);
    *o = (struct learner_optimizer){0};
}

float *learner_optimizer_grad(const struct learner_optimizer *o)
{
    return o->adapter ? NULL : o->grad;
}

void learner_optimizer_changed(struct learner_optimizer *o)
{
    if (!o->adapter) {
        rlhf_model_touch(o->model, o->pool);
        return;
    }
    rlhf_adapter_touch(o->adapter, o->pool); /* backward multiplies by its matrices */
    rlhf_adapter_apply(o->adapter, o->kept, o->model, o->pool);
}

/* One call for every run of neighbours in the table that are decayed alike. */
static void update(struct learner_optimizer *o, float scale)
{
    const struct rlhf_run_optimizer *s = o->settings;
    struct rlhf_adamw a = {.lr = (float)o->rate,
                           .beta1 = (float)s->beta1,
                           .beta2 = (float)s->beta2,
                           .epsilon = (float)s->epsilon,
                           .weight_decay = (float)s->weight_decay,
                           .step = o->updates,
                           .epsilon_inside_tf1 = s->epsilon_inside};
    float *param = o->param;
    const struct rlhf_parameter *table;
    size_t count;

    table = o->adapter ? rlhf_adapter_table(o->adapter, &count) : rlhf_model_table(o->model, &count);
    for (size_t i = 0, j; i < count; i = j) {
        size_t from = table[i].offset, end = from + table[i].count;
        for (j = i + 1; j < count && table[j].offset == end && !table[j].decayed == !table[i].decayed; j++)
            end += table[j].count;
        rlhf_adamw_step(&a, scale, table[i].decayed, o->grad + from, o->m + from, o->v + from, param + from,
                        end - from, o->pool);
    }
    learner_optimizer_changed(o);
}

void learner_optimizer_step(struct learner_optimizer *o, uint64_t step, double loss, bool *updated)
{
    const struct rlhf_run_optimizer *s = o->settings;
    struct rlhf_schedule_settings schedule = {.kind = (enum rlhf_schedule)s->schedule,
                                              .warmup = (uint64_t)s->warmup,
                                              .total = o->steps,
                                              .warmup_from = s->warmup_from,
                                              .final = s->final_rate};

    o->norm = sqrt(rlhf_sum_squares(o->grad, o->count, o->pool));
    o->rate = s->learning_rate * rlhf_schedule_at(&schedule, step);
    *updated = isfinite(loss) && isfinite(o->norm);
    if (*updated) {
        /* as torch.nn.utils.clip_grad_norm_ */
        double scale = s->clip_norm > 0 ? fmin(1, s->clip_norm / (o->norm + 1e-6)) : 1;
        o->updates++;
        update(o, (float)scale); /* leaves zeros */
    } else {
        memset(o->grad, 0, o->count * sizeof *o->grad);
    }
}

int learner_count_step(struct learner_work *w, bool finite, struct rlhf_error *err)
{
    if (finite) {
        w->skipped_in_row = 0;
        return 0;
    }
    w->skipped++;
    w->skipped_in_row++;
    rlhf_log(RLHF_LEVEL_WARNING, "step-skipped stage=%s step=%llu in_a_row=%llu reason=\"not finite\"",
             w->name, (unsigned long long)w->step + 1, (unsigned long long)w->skipped_in_row);
    if (w->skipped_in_row < SKIPPED_IN_A_ROW)
        return 0;
    return rlhf_fail(err, RLHF_FATAL,
                     "%d steps in a row were not finite (the last is step %llu); lower the learning rate or "
                     "look at the data",
                     SKIPPED_IN_A_ROW, (unsigned long long)w->step + 1);
}

/* ---- the loop ---------------------------------------------------------------------------------------- */

int learner_training_init(struct learner_training *tr, struct learner_work *w, struct rlhf_model *model,
                          const struct rlhf_run_optimizer *settings, const struct rlhf_run_adapter *adapter,
                          uint64_t steps, struct rlhf_error *err)
{
    *tr = (struct learner_training){.work = w, .model = model};
    w->steps = steps;
    if (learner_compute_init(&tr->compute, rlhf_model_get_config(model), w->t->pool, true, err) == 0 &&
        learner_optimizer_init_adapter(&tr->optimizer, w, model, tr->compute.pass, settings, adapter, steps, err) == 0)
        return 0;
    learner_training_free(tr);
    return -1;
}

void learner_training_free(struct learner_training *tr)
{
    learner_optimizer_free(&tr->optimizer);
    learner_compute_free(&tr->compute);
    rlhf_model_free(tr->model);
    *tr = (struct learner_training){0};
}

static int one_step(struct learner_training *tr, struct rlhf_error *err)
{
    struct learner_work *w = tr->work;
    struct learner_optimizer *o = &tr->optimizer;
    json_t *metrics = learner_metrics_new(w);
    uint64_t tokens = 0;
    double loss = 0;
    bool updated;

    if (!metrics || tr->step(tr, tr->ctx, w->step, &loss, &tokens, metrics, err) < 0) {
        json_decref(metrics);
        return metrics ? -1 : rlhf_fail(err, RLHF_FULL, "out of memory for metrics");
    }
    learner_optimizer_step(o, w->step, loss, &updated);
    w->tokens += tokens;
    learner_metric(metrics, "loss", loss);
    learner_metric(metrics, "grad_norm", o->norm);
    learner_metric(metrics, "learning_rate", o->rate);
    learner_metric(metrics, "skipped", (double)w->skipped + !updated);
    if (tr->updated && tr->updated(tr, tr->ctx, metrics, err) < 0) {
        json_decref(metrics);
        return -1;
    }
    if (learner_metrics_write(w, metrics, err) < 0 || learner_count_step(w, updated, err) < 0)
        return -1;
    w->step++;
    learner_progress(w, "loss %.3f", loss);
    return 0;
}

int learner_training_run(struct learner_training *tr, struct rlhf_error *err)
{
    struct learner_work *w = tr->work;
    struct learner_optimizer *o = &tr->optimizer;
    struct learner_block blocks[4 + sizeof tr->more / sizeof *tr->more] = {
        {"weights", o->param, o->count * sizeof(float)},
        {"moment1", o->m, o->count * sizeof(float)},
        {"moment2", o->v, o->count * sizeof(float)},
        {"updates", &o->updates, sizeof o->updates},
    };
    const size_t count = 4 + tr->more_count;

    memcpy(blocks + 4, tr->more, tr->more_count * sizeof *tr->more);
    if (learner_state_load(w, blocks, count, err) < 0)
        return -1;
    learner_optimizer_changed(o);
    while (w->step < w->steps) {
        bool stopping = learner_stopping(w);
        if ((stopping || learner_state_due(w)) && learner_state_save(w, blocks, count, err) < 0)
            return -1;
        if (stopping)
            return learner_stopped(err);
        if (one_step(tr, err) < 0)
            return -1;
    }
    return 0;
}
