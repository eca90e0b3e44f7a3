/* train_pretrain.c - language-model training on windows of documents. */
#include "learner/train_parts.h"

static int step(struct learner_training *tr, void *ctx, uint64_t index, double *loss, uint64_t *tokens,
                json_t *metrics, struct rlhf_error *err)
{
    struct learner_windows *windows = ctx;
    const struct learner_item *items = learner_windows_at(windows, index);

    (void)metrics;
    for (size_t i = 0; i < windows->per_step; i++)
        *tokens += items[i].count;
    return learner_lm_gradient(&tr->compute, tr->model, items, windows->per_step, 1, tr->optimizer.grad, loss,
                               err);
}

static uint64_t steps_of(const struct rlhf_stage_pretrain *s, const struct learner_windows *windows)
{
    uint64_t steps = s->steps    ? (uint64_t)s->steps
                     : s->tokens ? (uint64_t)s->tokens / (uint64_t)(s->batch * s->window)
                                 : (uint64_t)s->epochs * windows->windows.count / (uint64_t)s->batch;
    return steps ? steps : 1;
}

int learner_pretrain(struct learner_work *w, struct rlhf_error *err)
{
    const struct rlhf_stage_pretrain *s = w->stage->pretrain;
    struct rlhf_model *model = learner_load_model(w, s->from, RLHF_HEAD_LM, err);
    struct learner_windows windows = {0};
    struct learner_training tr = {0};
    int rc = -1;

    if (!model)
        return -1;
    if (s->window > rlhf_model_get_config(model)->context) {
        rlhf_fail(err, RLHF_REJECT, "window %lld is longer than the model's context %u", (long long)s->window,
                  rlhf_model_get_config(model)->context);
        rlhf_model_free(model);
        return -1;
    }
    if (learner_windows_init(&windows, w, &s->data, s->window, s->batch, 0, err) < 0) {
        rlhf_model_free(model);
        return -1;
    }
    if (learner_training_init(&tr, w, model, &s->optimizer, NULL, steps_of(s, &windows), err) == 0) {
        tr.step = step;
        tr.ctx = &windows;
        rc = learner_training_run(&tr, err) < 0 || learner_save_model(w, tr.model, err) < 0 ? -1 : 0;
        learner_training_free(&tr);
    }
    learner_windows_free(&windows);
    return rc;
}
