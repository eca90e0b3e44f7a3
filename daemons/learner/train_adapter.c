/* train_adapter.c - stages that train a LoRA adapter: the model they work with is the base with the adapter applied, so
 * that scoring, publishing and checkpoints are as ever; only what the optimiser moves is another block. */
#include <string.h>

#include "learner/train_parts.h"
#include "telemetry/log.h"

int learner_adapter_new(struct learner_optimizer *o, const struct learner_work *w, const struct rlhf_run_adapter *s,
                        struct rlhf_error *err)
{
    const struct rlhf_adapter_settings settings = {.rank = (uint32_t)s->rank,
                                                   .alpha = s->alpha,
                                                   .rslora = s->rslora,
                                                   .dropout = s->dropout,
                                                   .targets = (const char *const *)s->targets.items,
                                                   .target_count = s->targets.count};
    size_t whole;

    if (!(o->adapter = rlhf_adapter_new(o->model, &settings, (uint64_t)w->t->run->run.seed + w->key, err))) {
        rlhf_fail_prefix(err, "stage %s: adapter", w->name);
        return -1;
    }
    if (!(o->kept = rlhf_adapter_keep(o->adapter, o->model, err)))
        return -1;
    rlhf_model_parameters(o->model, &whole);
    o->param = rlhf_adapter_parameters(o->adapter, &o->count);
    rlhf_log(RLHF_LEVEL_INFO, "adapter stage=%s parameters=%zu of=%zu", w->name, o->count, whole);
    return 0;
}

static int put_adapter(struct learner_work *w, const struct rlhf_adapter *a, struct rlhf_error *err)
{
    struct rlhf_bytes config = {0}, tensors = {0};
    struct rlhf_atomic_dir *dir = NULL;
    char path[LEARNER_PATH];
    int rc = -1;

    if (rlhf_adapter_write(a, &config, &tensors, err) == 0 && learner_path(w->t, path, sizeof path, err, "adapters") == 0 &&
        rlhf_make_dirs(w->t->io, path, err) == 0 &&
        learner_path(w->t, path, sizeof path, err, "adapters/%s", w->name) == 0 &&
        (dir = rlhf_atomic_begin(w->t->io, path, err)) &&
        rlhf_atomic_put(dir, "adapter_config.json", config.data, config.size, err) == 0 &&
        rlhf_atomic_put(dir, "adapter_model.safetensors", tensors.data, tensors.size, err) == 0)
        rc = 0;
    if (rc == 0)
        rc = rlhf_atomic_commit(dir, err);
    else
        rlhf_atomic_abort(dir);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    return rc;
}

int learner_adapter_save(struct learner_work *w, const struct learner_optimizer *o, struct rlhf_error *err)
{
    struct rlhf_error why = {0};

    if (!o->adapter)
        return 0;
    while (put_adapter(w, o->adapter, &why) < 0)
        if (learner_room_wait(w, &why, err) < 0)
            return -1;
    return 0;
}
