/* train_sft.c - supervised fine-tuning: loss on the completions of demonstrations, pretraining text mixed in.
 */
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "learner/train_select.h"
#include "telemetry/log.h"

enum { MIX_SALT = 0x6d697800, MIX_SEQUENCE = 1 << 30 /* numbers of windows, behind those of demonstrations */ };

struct sft {
    const struct rlhf_stage_sft *settings;
    struct learner_item *items; /* [count] all demonstrations */
    size_t count;
    size_t file_count;
    struct rlhf_demonstrations *files; /* [file_count] what items borrow from */
    struct learner_order order;
    struct learner_item *batch; /* [settings->batch] */
    struct learner_windows mix;
    struct learner_select select;
};

static void sft_free(struct sft *s)
{
    for (size_t i = 0; s->files && i < s->file_count; i++)
        rlhf_demonstrations_free(&s->files[i]);
    free(s->files);
    free(s->items);
    free(s->batch);
    learner_order_free(&s->order);
    learner_windows_free(&s->mix);
    learner_select_close(&s->select);
}

/* File i: of data, then of the best_of stages. */
static int file_path(const struct sft *s, const struct learner_work *w, size_t i, char path[LEARNER_PATH],
                     struct rlhf_error *err)
{
    const struct rlhf_config_strings *data = &s->settings->data, *best = &s->settings->best_of;

    if (i >= data->count)
        return learner_path(w->t, path, LEARNER_PATH, err, "demonstrations/%s.jsonl", best->items[i - data->count]);
    if (strlen(data->items[i]) >= LEARNER_PATH)
        return rlhf_fail(err, RLHF_REJECT, "data: the path of file %zu is too long", i + 1);
    strcpy(path, data->items[i]);
    return 0;
}

static int read_demonstrations(struct sft *s, struct learner_work *w, uint32_t context,
                               struct rlhf_error *err)
{
    char path[LEARNER_PATH];
    size_t limit = s->settings->max_tokens && s->settings->max_tokens < context
                       ? (size_t)s->settings->max_tokens
                       : context;
    size_t skipped = 0;

    s->file_count = s->settings->data.count + s->settings->best_of.count;
    if (!(s->files = calloc(s->file_count, sizeof *s->files)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for demonstrations");
    for (size_t i = 0; i < s->file_count; i++) {
        if (file_path(s, w, i, path, err) < 0 ||
            rlhf_read_demonstrations(path, &w->t->form, limit, &s->files[i], err) < 0)
            return -1;
        s->count += s->files[i].sequences.count;
        skipped += s->files[i].skipped;
    }
    if (skipped)
        rlhf_log(RLHF_LEVEL_WARNING, "demonstrations-too-long stage=%s left_out=%zu limit=%zu", w->name,
                 skipped, limit);
    if (s->count == 0)
        return rlhf_fail(err, RLHF_REJECT, "%s: no demonstration of at most %zu tokens", path, limit);
    if (!(s->items = calloc(s->count, sizeof *s->items)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for %zu demonstrations", s->count);
    for (size_t i = 0, n = 0; i < s->file_count; i++)
        for (size_t j = 0; j < s->files[i].sequences.count; j++) {
            const struct rlhf_sequences *q = &s->files[i].sequences;
            s->items[n++] = (struct learner_item){.ids = q->tokens.data + q->start[j],
                                                  .count = q->start[j + 1] - q->start[j],
                                                  .first = s->files[i].prompt_size[j]};
        }
    return 0;
}

static int sft_init(struct sft *s, struct learner_work *w, uint32_t context, struct rlhf_error *err)
{
    const struct rlhf_run_mix *mix = &s->settings->mix;

    if (read_demonstrations(s, w, context, err) < 0 ||
        learner_order_init(&s->order, (uint64_t)w->t->run->run.seed, w->key, s->count, err) < 0)
        return -1;
    if (!(s->batch = calloc((size_t)s->settings->batch, sizeof *s->batch)))
        return rlhf_fail(err, RLHF_FULL, "out of memory for a batch of %lld", (long long)s->settings->batch);
    return mix->weight > 0
               ? learner_windows_init(&s->mix, w, &mix->data, mix->window, mix->windows, MIX_SALT, err)
               : 0;
}

static int step(struct learner_training *tr, void *ctx, uint64_t index, double *loss, uint64_t *tokens,
                json_t *metrics, struct rlhf_error *err)
{
    struct sft *s = ctx;
    size_t batch = (size_t)s->settings->batch;
    double mix_loss = 0, weight = s->settings->mix.weight;

    for (size_t i = 0; i < batch; i++) {
        s->batch[i] = s->items[learner_order_at(&s->order, index * batch + i)];
        *tokens += s->batch[i].count;
    }
    tr->compute.dropout = (struct rlhf_dropout){
        .rate = (float)s->settings->dropout,
        .adapter_rate = s->settings->adapter ? (float)s->settings->adapter->dropout : 0,
    };
    rlhf_dropout_key((uint64_t)tr->work->t->run->run.seed, tr->work->key, index, tr->compute.dropout.key);
    if (learner_lm_gradient(&tr->compute, tr->model, s->batch, batch, 1, learner_optimizer_grad(&tr->optimizer), loss, err) < 0)
        return -1;
    if (weight <= 0)
        return 0;
    const struct learner_item *windows = learner_windows_at(&s->mix, index);
    tr->compute.dropout.sequence = MIX_SEQUENCE;
    for (size_t i = 0; i < s->mix.per_step; i++)
        *tokens += windows[i].count;
    if (learner_lm_gradient(&tr->compute, tr->model, windows, s->mix.per_step, weight, learner_optimizer_grad(&tr->optimizer),
                            &mix_loss, err) < 0)
        return -1;
    learner_metric(metrics, "loss_demonstrations", *loss);
    learner_metric(metrics, "loss_mix", mix_loss);
    *loss += weight * mix_loss;
    return 0;
}

static int updated(struct learner_training *tr, void *ctx, json_t *metrics, struct rlhf_error *err)
{
    tr->compute.dropout = (struct rlhf_dropout){0}; /* measured as it is sampled from */
    return learner_select_measure(&((struct sft *)ctx)->select, tr, metrics, err);
}

int learner_sft(struct learner_work *w, struct rlhf_error *err)
{
    const struct rlhf_stage_sft *settings = w->stage->sft;
    struct rlhf_model *model = learner_load_model(w, rlhf_stage_from(w->t->run, w->index), RLHF_HEAD_LM, err);
    struct sft s = {.settings = settings};
    struct learner_training tr = {0};
    uint64_t steps;
    int rc = -1;

    if (!model)
        return -1;
    if (sft_init(&s, w, rlhf_model_get_config(model)->context, err) < 0) {
        rlhf_model_free(model);
        goto out;
    }
    steps = settings->steps ? (uint64_t)settings->steps
                            : (uint64_t)settings->epochs * s.count / (uint64_t)settings->batch;
    if (learner_training_init(&tr, w, model, &settings->optimizer, settings->adapter,
                              steps ? steps : 1, err) < 0)
        goto out;
    tr.step = step;
    tr.updated = updated;
    tr.ctx = &s;
    if (learner_select_open(&s.select, &tr, settings->select, s.count / (uint64_t)settings->batch, err) == 0 &&
        learner_training_run(&tr, err) == 0) {
        learner_select_finish(&s.select, &tr);
        rc = learner_adapter_save(w, &tr.optimizer, err) < 0 || learner_save_model(w, tr.model, err) < 0 ? -1 : 0;
    }
    learner_training_free(&tr);
out:
    sft_free(&s);
    return rc;
}
