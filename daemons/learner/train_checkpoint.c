/* train_checkpoint.c - models in and out of DIR/checkpoints. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "learner/train_parts.h"

/* The run's shape; of a pretrain stage what it says itself. */
static struct rlhf_run_shape shape_of(const struct learner_work *w)
{
    const struct rlhf_run *run = w->t->run;
    struct rlhf_run_shape own = w->stage->pretrain ? w->stage->pretrain->shape : (struct rlhf_run_shape){0};

    return (struct rlhf_run_shape){.layers = own.layers ? own.layers : run->model.layers,
                                   .heads = own.heads ? own.heads : run->model.heads,
                                   .channels = own.channels ? own.channels : run->model.channels,
                                   .mlp_size = own.mlp_size || own.channels ? own.mlp_size : run->model.mlp_size};
}

static struct rlhf_model *first_model(struct learner_work *w, struct rlhf_error *err)
{
    const struct rlhf_run *run = w->t->run;
    const struct rlhf_run_shape shape = shape_of(w);
    bool own_heads = w->stage->pretrain && w->stage->pretrain->shape.heads;
    struct rlhf_model_config c = {0};

    if (run->model.load)
        return rlhf_model_load_parallel(run->model.load, w->t->pool, err);
    if (rlhf_model_config_style(&c, rlhf_run_model_style(run), err) < 0)
        return NULL;
    c.layers = (uint32_t)shape.layers;
    c.heads = (uint32_t)shape.heads;
    c.kv_heads = (uint32_t)(run->model.kv_heads && !own_heads ? run->model.kv_heads : shape.heads);
    c.channels = (uint32_t)shape.channels;
    c.head_size = c.channels / c.heads;
    if (shape.mlp_size)
        c.mlp_size = (uint32_t)shape.mlp_size;
    else if (c.gated)
        c.mlp_size = (c.channels * 8 / 3 + 31) / 32 * 32;
    else
        c.mlp_size = 4 * c.channels;
    c.context = (uint32_t)run->model.context;
    c.tied = run->model.tied;
    c.vocabulary = (uint32_t)rlhf_tokenizer_vocab(w->t->tokenizer);
    c.begin_id = rlhf_tokenizer_begin(w->t->tokenizer);
    c.end_id = rlhf_tokenizer_end(w->t->tokenizer);
    c.pad_id = rlhf_tokenizer_pad(w->t->tokenizer);
    c.head = RLHF_HEAD_LM;
    return rlhf_model_new(&c, (uint64_t)run->run.seed, err);
}

static struct rlhf_model *read_model(struct learner_work *w, const char *stage, struct rlhf_error *err)
{
    char dir[LEARNER_PATH], path[LEARNER_PATH], text[RLHF_DIGEST_TEXT];
    struct rlhf_bytes config = {0}, tensors = {0};
    struct rlhf_model *m = NULL;
    struct rlhf_digest d;

    if (learner_path(w->t, dir, sizeof dir, err, "checkpoints/%s", stage) == 0 &&
        rlhf_atomic_verify(w->t->io, dir, err) == 0 &&
        rlhf_path(path, sizeof path, dir, "config.json", err) == 0 &&
        rlhf_read_file(w->t->io, path, LEARNER_FILE_LIMIT, &config, err) == 0 &&
        rlhf_path(path, sizeof path, dir, "model.safetensors", err) == 0 &&
        rlhf_read_file(w->t->io, path, LEARNER_FILE_LIMIT, &tensors, err) == 0)
        m = rlhf_model_read(config.data, config.size, tensors.data, tensors.size, err);
    if (m) {
        d = rlhf_digest_of(tensors.data, tensors.size);
        rlhf_digest_text(&d, text);
        json_object_set_new(json_object_get(w->provenance, "parents"), stage, json_string(text));
    }
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    return m;
}

/* Whatever the directory that a model came from says: one run multiplies in one way. */
static void set_products(const struct learner_work *w, struct rlhf_model *m)
{
    enum rlhf_products products = RLHF_PRODUCTS_F32;

    RLHF_ASSERT(rlhf_products_named(rlhf_run_products(w->t->run), &products));
    rlhf_model_set_products(m, products);
}

struct rlhf_model *learner_load_model(struct learner_work *w, const char *stage, enum rlhf_head head,
                                      struct rlhf_error *err)
{
    struct rlhf_model *m, *other;

    if (stage)
        stage = learner_promoted(w->t, stage);
    m = stage ? read_model(w, stage, err) : first_model(w, err);
    if (!m) {
        rlhf_fail_prefix(err, "model of %s", stage ? stage : "the run");
        return NULL;
    }
    if (rlhf_model_get_config(m)->vocabulary < rlhf_tokenizer_vocab(w->t->tokenizer)) {
        rlhf_fail(err, RLHF_REJECT,
                  "the tokenizer has %zu tokens, the model of %s only %u; they do not belong together",
                  rlhf_tokenizer_vocab(w->t->tokenizer), stage ? stage : "the run",
                  rlhf_model_get_config(m)->vocabulary);
        rlhf_model_free(m);
        return NULL;
    }
    set_products(w, m);
    if (rlhf_model_get_config(m)->head == head)
        return m;
    other = rlhf_model_clone(m, head, (uint64_t)w->t->run->run.seed + w->key, err);
    rlhf_model_free(m);
    return other;
}

static int put_tokenizer(const struct learner_trainer *t, struct rlhf_atomic_dir *dir, struct rlhf_error *err)
{
    for (size_t i = 0; i < LEARNER_TOKENIZER_FILES; i++) {
        const struct rlhf_bytes *file = &t->tokenizer_files[i];
        if (file->size && rlhf_atomic_put(dir, learner_tokenizer_files[i], file->data, file->size, err) < 0)
            return -1;
    }
    return 0;
}

static int put_model(struct learner_work *w, const struct rlhf_model *m, struct rlhf_error *err)
{
    struct learner_trainer *t = w->t;
    struct rlhf_bytes config = {0}, tensors = {0}, labels = {0};
    struct rlhf_atomic_dir *dir = NULL;
    char path[LEARNER_PATH], *provenance = NULL;
    int rc = -1;

    if (learner_labels_write(w, &labels, err) == 0 &&
        (provenance = json_dumps(w->provenance, JSON_INDENT(1) | JSON_SORT_KEYS)) &&
        rlhf_model_write(m, &config, &tensors, err) == 0 &&
        learner_path(t, path, sizeof path, err, "checkpoints/%s", w->name) == 0 &&
        (dir = rlhf_atomic_begin(t->io, path, err)) &&
        rlhf_atomic_put(dir, "config.json", config.data, config.size, err) == 0 &&
        rlhf_atomic_put(dir, "model.safetensors", tensors.data, tensors.size, err) == 0 &&
        put_tokenizer(t, dir, err) == 0 &&
        (labels.size == 0 || rlhf_atomic_put(dir, "labels.jsonl", labels.data, labels.size, err) == 0) &&
        rlhf_atomic_put(dir, "provenance.json", provenance, strlen(provenance), err) == 0)
        rc = 0;
    if (rc == 0)
        rc = rlhf_atomic_commit(dir, err);
    else
        rlhf_atomic_abort(dir);
    free(provenance);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    rlhf_bytes_free(&labels);
    return rc;
}

int learner_save_model(struct learner_work *w, const struct rlhf_model *m, struct rlhf_error *err)
{
    struct rlhf_error why = {0};

    while (put_model(w, m, &why) < 0)
        if (learner_room_wait(w, &why, err) < 0)
            return -1;
    return 0;
}
