/* models.c - what transformers computed for the models of a folder of fixtures, computed again.
 *
 * The folder is $RLHF_FIXTURES, or $RLHF_SHARED/fixtures; its README says what the tensors mean. Every model
 * folder found is taken, and all must agree. Rows are packed here and padded there, so padding is compared too.
 *
 * Tolerances are the fixtures' advice: about ten times the distance of their own fp32 from fp64. */
#include "fixture.h"
#include "model/sampler.h"

/* ---- the folder ------------------------------------------------------------------------------------ */

static struct fixtures all;

/* ---- one fixture ----------------------------------------------------------------------------------- */

struct fixture {
    const char *name;
    struct rlhf_model *model;
    struct rlhf_model_config shape; /* of passes: transformers does not end where the model's context does */
    struct rlhf_pool *pool;
    struct rlhf_pass *pass;
    json_t *meta, *config;
    struct golden golden;
};

static void open_fixture(struct fixture *f, const char *name)
{
    char path[FIXTURE_PATH];
    struct rlhf_error err = { 0 };

    *f = (struct fixture){ .name = name };
    snprintf(path, sizeof path, "%s/%s", all.folder, name);
    expect_ok(rlhf_path(f->golden.path, sizeof f->golden.path, path, "expected.safetensors", &err), err);
    f->model = rlhf_model_load(path, &err);
    ck_assert_msg(f->model != NULL, "%s", err.text);
    f->shape = *rlhf_model_get_config(f->model);
    if (f->shape.position == RLHF_POSITION_ROTARY)
        f->shape.context = 1 << 20;
    f->meta = json_at(path, "meta.json");
    f->config = json_at(path, "config.json");
    f->pool = rlhf_pool_new(2, &err);
    f->pass = rlhf_pass_new(&f->shape, f->pool, 1, &err);
    expect_some(f->pass, err);
    open_golden(&f->golden);
}

static void close_fixture(struct fixture *f)
{
    close_golden(&f->golden);
    rlhf_pass_free(f->pass);
    rlhf_pool_free(f->pool);
    rlhf_model_free(f->model);
    json_decref(f->meta);
    json_decref(f->config);
}

static bool is_reward_model(const struct fixture *f)
{
    return rlhf_model_get_config(f->model)->head == RLHF_HEAD_SCALAR;
}

static double rounding(const struct fixture *f, const char *what)
{
    return json_number_value(json_object_get(json_object_get(f->meta, "fp32_vs_fp64"), what));
}

/* The rows under "right", "left" and so on. */
static struct packed rows_of(const struct fixture *f, const char *prefix)
{
    const struct rlhf_safetensor *ids = expected(&f->golden, prefix, ".input_ids");

    return pack(ids, expected(&f->golden, prefix, ".attention_mask"), 0, ids->shape[0]);
}

static void forward(struct fixture *f, const struct packed *p)
{
    const struct rlhf_batch batch = { .tokens = p->ids, .start = p->start, .sequences = p->rows };
    struct rlhf_error err = { 0 };

    ck_assert_msg(rlhf_pass_forward(f->pass, f->model, &batch, &err) == 0, "%s: %s", f->name, err.text);
}

/* Runs check over every fixture of the wanted kind. */
static void each(bool reward_models, void (*check)(struct fixture *f))
{
    for (size_t i = 0; i < all.count; i++) {
        struct fixture f;

        open_fixture(&f, all.names[i]);
        if (is_reward_model(&f) == reward_models)
            check(&f);
        close_fixture(&f);
    }
}

/* ---- language models ------------------------------------------------------------------------------- */

static void check_logits(struct fixture *f)
{
    static const char *const sides[] = { "right", "left" };
    const size_t v = rlhf_model_get_config(f->model)->vocabulary;
    const double tolerance = fmax(1e-4, 10 * rounding(f, "logits"));

    for (int side = 0; side < 2; side++) {
        const struct rlhf_safetensor *wanted = expected(&f->golden, sides[side], ".logits");
        struct packed p = rows_of(f, sides[side]);
        float *logits = calloc(p.tokens * v, sizeof *logits);
        struct comparison c = { 0 };
        struct rlhf_error err = { 0 };

        forward(f, &p);
        expect_ok(rlhf_pass_logits(f->pass, f->model, logits, &err), err);
        for (size_t b = 0; b < p.rows; b++)
            for (size_t t = p.start[b]; t < p.start[b + 1]; t++)
                for (size_t i = 0; i < v; i++)
                    compare(&c, (double)logits[t * v + i],
                            (double)f32(wanted, (b * p.width + p.column[t]) * v + i), tolerance, 0);
        expect_agreement(&c, f->name, sides[side]);
        free(logits);
        free_packed(&p);
    }
}

START_TEST(logits_are_those_of_transformers)
{
    each(false, check_logits);
}
END_TEST

/* hidden.0, hidden.1 and so on, as many as there are; the last of them is after the final norm. */
static void check_hidden(struct fixture *f)
{
    const struct rlhf_model_config *config = rlhf_model_get_config(f->model);
    struct packed p = rows_of(f, "right");
    float *hidden = calloc(p.tokens * config->channels, sizeof *hidden);
    struct rlhf_error err = { 0 };

    forward(f, &p);
    for (uint32_t layer = 0; layer <= config->layers; layer++) {
        struct comparison c = { 0 };
        const struct rlhf_safetensor *wanted;
        char name[40];

        snprintf(name, sizeof name, ".hidden.%u", layer);
        wanted = expected(&f->golden, "right", name);
        expect_ok(rlhf_pass_hidden(f->pass, f->model, layer, hidden, &err), err);
        for (size_t b = 0; b < p.rows; b++)
            for (size_t t = p.start[b]; t < p.start[b + 1]; t++)
                for (size_t i = 0; i < config->channels; i++)
                    compare(&c, (double)hidden[t * config->channels + i],
                            (double)f32(wanted, (b * p.width + p.column[t]) * config->channels + i), 1e-4, 1e-4);
        expect_agreement(&c, f->name, name + 1);
    }
    free(hidden);
    free_packed(&p);
}

START_TEST(hidden_states_are_those_of_transformers)
{
    each(false, check_hidden);
}
END_TEST

static void check_logprobs(struct fixture *f)
{
    const struct rlhf_safetensor *logprobs = expected(&f->golden, "right", ".logprobs");
    const struct rlhf_safetensor *entropies = expected(&f->golden, "right", ".entropy");
    struct packed p = rows_of(f, "right");
    int32_t *target = calloc(p.tokens, sizeof *target);
    float *logprob = calloc(p.tokens, sizeof *logprob), *entropy = calloc(p.tokens, sizeof *entropy);
    struct comparison c = { 0 };
    struct rlhf_error err = { 0 };

    for (size_t b = 0; b < p.rows; b++)
        for (size_t t = p.start[b]; t < p.start[b + 1]; t++)
            target[t] = t + 1 < p.start[b + 1] ? p.ids[t + 1] : -1;
    forward(f, &p);
    expect_ok(rlhf_pass_logprobs(f->pass, f->model, target, 1, logprob, entropy, &err), err);
    for (size_t b = 0; b < p.rows; b++)
        for (size_t t = p.start[b]; t + 1 < p.start[b + 1]; t++) {
            size_t at = b * (p.width - 1) + p.column[t];

            compare(&c, (double)logprob[t], (double)f32(logprobs, at), 5e-5, 1e-5);
            compare(&c, (double)entropy[t], (double)f32(entropies, at), 5e-5, 1e-5);
        }
    expect_agreement(&c, f->name, "a log-prob or entropy");
    free(target);
    free(logprob);
    free(entropy);
    free_packed(&p);
}

START_TEST(logprobs_and_entropies_are_those_of_transformers)
{
    each(false, check_logprobs);
}
END_TEST

/* Mean over the labels of -logprob, and the gradient of that when grad is not NULL. */
static double loss_of(struct fixture *f, const char *labels, float *grad)
{
    const struct rlhf_safetensor *label = expected(&f->golden, "right", labels);
    struct packed p = rows_of(f, "right");
    int32_t *target = calloc(p.tokens, sizeof *target);
    float *logprob = calloc(p.tokens, sizeof *logprob), *d = calloc(p.tokens, sizeof *d);
    struct rlhf_error err = { 0 };
    double sum = 0, n = 0;

    for (size_t b = 0; b < p.rows; b++)
        for (size_t t = p.start[b]; t < p.start[b + 1]; t++) {
            target[t] = t + 1 < p.start[b + 1] ? (int32_t)i64(label, b * p.width + p.column[t + 1]) : -1;
            n += target[t] >= 0;
        }
    forward(f, &p);
    expect_ok(rlhf_pass_logprobs(f->pass, f->model, target, 1, logprob, NULL, &err), err);
    for (size_t t = 0; t < p.tokens; t++) {
        sum -= (double)logprob[t];
        d[t] = target[t] >= 0 ? (float)(-1 / n) : 0;
    }
    if (grad)
        expect_ok(rlhf_pass_backward_logprobs(f->pass, f->model, d, NULL, grad, &err), err);
    free(target);
    free(logprob);
    free(d);
    free_packed(&p);
    return sum / n;
}

static void check_losses(struct fixture *f)
{
    struct comparison c = { 0 };

    compare(&c, loss_of(f, ".labels_all", NULL), (double)f32(expected(&f->golden, "loss", ".all"), 0), 1e-5, 1e-5);
    compare(&c, loss_of(f, ".labels_completion", NULL), (double)f32(expected(&f->golden, "loss", ".completion"), 0), 1e-5,
            1e-5);
    expect_agreement(&c, f->name, "a loss");
}

START_TEST(losses_are_those_of_transformers)
{
    each(false, check_losses);
}
END_TEST

/* Every gradient of the file belongs to a parameter, and every parameter has one. */
static void compare_gradients(struct fixture *f, const float *grad)
{
    size_t tensors, found = 0;
    const struct rlhf_parameter *table = rlhf_model_table(f->model, &tensors);

    for (size_t i = 0; i < tensors; i++) {
        const struct rlhf_safetensor *wanted = expected(&f->golden, "grad.", table[i].name);
        struct comparison c = { 0 };

        ck_assert_uint_eq(rlhf_safetensor_elements(wanted), table[i].count);
        for (size_t j = 0; j < table[i].count; j++)
            compare(&c, (double)grad[table[i].offset + j], (double)f32(wanted, j), 1e-5, 1e-4);
        expect_agreement(&c, f->name, wanted->name);
    }
    for (size_t i = 0; i < f->golden.tensors.count; i++)
        found += strncmp(f->golden.tensors.tensors[i].name, "grad.", 5) == 0;
    ck_assert_uint_eq(found, tensors);
}

static void check_gradients(struct fixture *f)
{
    size_t n;
    float *grad;

    rlhf_model_parameters(f->model, &n);
    grad = calloc(n, sizeof *grad);
    loss_of(f, ".labels_all", grad);
    compare_gradients(f, grad);
    free(grad);
}

START_TEST(gradients_are_those_of_transformers)
{
    each(false, check_gradients);
}
END_TEST

/* All rows decoded together, prompts in one prefill. `stopped` ends its rows at end_id, then pads. */
static void check_greedy(struct fixture *f)
{
    const struct rlhf_safetensor *sequences = expected(&f->golden, "gen", ".sequences");
    const struct rlhf_safetensor *logprobs = expected(&f->golden, "gen", ".logprobs");
    const struct rlhf_safetensor *stopped = expected(&f->golden, "gen_eos", ".sequences");
    const size_t generated = logprobs->shape[1];
    const struct rlhf_sampling greedy = { .temperature = 0, .top_p = 1, .max_new_tokens = (uint32_t)generated };
    const struct rlhf_model_config *config = &f->shape;
    const size_t v = config->vocabulary;
    const int64_t end_id = json_integer_value(json_object_get(f->meta, "eos_for_gen_eos"));
    const int64_t pad_id = json_integer_value(json_object_get(f->meta, "pad_token_id"));
    struct packed p = rows_of(f, "gen");
    struct rlhf_error err = { 0 };
    struct rlhf_cache *cache = rlhf_cache_new(config, p.rows, p.width + generated, f->pool, &err);
    struct rlhf_extend *items = calloc(p.rows, sizeof *items);
    int32_t *next = calloc(p.rows, sizeof *next);
    bool *ended = calloc(p.rows, sizeof *ended);
    float *logits = calloc(p.rows * v, sizeof *logits), *scratch = calloc(2 * v, sizeof *scratch);
    struct comparison c = { 0 };

    expect_some(cache, err);
    for (size_t b = 0; b < p.rows; b++)
        items[b] = (struct rlhf_extend){ .slot = b, .tokens = p.ids + p.start[b],
                                         .count = p.start[b + 1] - p.start[b] };
    for (size_t step = 0; step < generated; step++) {
        expect_ok(rlhf_cache_extend(cache, f->model, items, p.rows, logits, &err), err);
        for (size_t b = 0; b < p.rows; b++) {
            size_t column = p.width + step;
            struct rlhf_sampled out;

            expect_ok(rlhf_sample(logits + b * v, v, &greedy, NULL, (uint32_t)step, scratch, &out, &err), err);
            ck_assert_msg(out.token == i64(sequences, b * sequences->shape[1] + column),
                          "%s: row %zu, step %zu: token %d, transformers chose %lld", f->name, b, step, out.token,
                          (long long)i64(sequences, b * sequences->shape[1] + column));
            compare(&c, (double)out.logprob_raw, (double)f32(logprobs, b * generated + step), 5e-5, 1e-5);
            if (column < stopped->shape[1])
                ck_assert_int_eq(ended[b] ? pad_id : out.token, i64(stopped, b * stopped->shape[1] + column));
            ended[b] |= out.token == end_id;
            next[b] = out.token;
            items[b].tokens = &next[b];
            items[b].count = 1;
        }
    }
    expect_agreement(&c, f->name, "a generated token's log-prob");
    rlhf_cache_free(cache);
    free(items);
    free(next);
    free(ended);
    free(logits);
    free(scratch);
    free_packed(&p);
}

START_TEST(greedy_generation_is_that_of_transformers)
{
    each(false, check_greedy);
}
END_TEST

/* ---- reward models --------------------------------------------------------------------------------- */

static void scalars_of(struct fixture *f, const struct packed *p, float *scalar)
{
    struct rlhf_error err = { 0 };

    forward(f, p);
    expect_ok(rlhf_pass_scalars(f->pass, f->model, scalar, &err), err);
}

/* transformers reads a reward at the last position whose id is not the pad id, whatever the mask says. */
static size_t reward_at(const struct fixture *f, const struct packed *p, size_t row)
{
    const int64_t pad = json_integer_value(json_object_get(f->config, "pad_token_id"));
    size_t t = p->start[row + 1] - 1;

    while (t > p->start[row] && p->ids[t] == pad)
        t--;
    return t;
}

static void check_rewards(struct fixture *f)
{
    static const char *const sides[] = { "right", "left", "pad_in_text" };
    struct comparison c = { 0 };

    for (int side = 0; side < 3; side++) {
        const struct rlhf_safetensor *rewards = expected(&f->golden, sides[side], ".rewards");
        struct packed p = rows_of(f, sides[side]);
        float *scalar = calloc(p.tokens, sizeof *scalar);

        scalars_of(f, &p, scalar);
        for (size_t b = 0; b < p.rows; b++) {
            compare(&c, (double)scalar[reward_at(f, &p, b)], (double)f32(rewards, b), 5e-5, 1e-5);
            for (size_t t = p.start[b]; side == 0 && t < p.start[b + 1]; t++)
                compare(&c, (double)scalar[t],
                        (double)f32(expected(&f->golden, "right", ".per_token_rewards"), b * p.width + p.column[t]), 5e-5,
                        1e-5);
        }
        free(scalar);
        free_packed(&p);
    }
    expect_agreement(&c, f->name, "a reward");
}

START_TEST(rewards_are_those_of_transformers)
{
    each(true, check_rewards);
}
END_TEST

/* Bradley-Terry over the pairs (row i, row i + B/2): -log sigmoid(chosen - rejected), mean. */
static void check_reward_gradients(struct fixture *f)
{
    struct packed p = rows_of(f, "right");
    float *scalar = calloc(p.tokens, sizeof *scalar), *d = calloc(p.tokens, sizeof *d), *grad;
    struct rlhf_error err = { 0 };
    struct comparison c = { 0 };
    size_t pairs = p.rows / 2, n;
    double loss = 0;

    scalars_of(f, &p, scalar);
    for (size_t i = 0; i < pairs; i++) {
        size_t chosen = reward_at(f, &p, i), rejected = reward_at(f, &p, i + pairs);
        double margin = (double)scalar[chosen] - (double)scalar[rejected];

        loss += log1p(exp(-margin)) / (double)pairs;
        d[chosen] = (float)(-1 / (1 + exp(margin)) / (double)pairs);
        d[rejected] = -d[chosen];
    }
    compare(&c, loss, (double)f32(expected(&f->golden, "bt_loss", ""), 0), 1e-5, 1e-5);
    expect_agreement(&c, f->name, "the loss");
    rlhf_model_parameters(f->model, &n);
    grad = calloc(n, sizeof *grad);
    expect_ok(rlhf_pass_backward_scalars(f->pass, f->model, d, grad, &err), err);
    compare_gradients(f, grad);
    free(grad);
    free(scalar);
    free(d);
    free_packed(&p);
}

START_TEST(reward_gradients_are_those_of_transformers)
{
    each(true, check_reward_gradients);
}
END_TEST

/* ---- writing --------------------------------------------------------------------------------------- */

static void expect_same_config(const struct rlhf_model_config *a, const struct rlhf_model_config *b)
{
#define SAME(field) ck_assert_msg(a->field == b->field, #field " is lost in writing")
    SAME(family); SAME(norm); SAME(position); SAME(activation); SAME(head);
    SAME(layers); SAME(heads); SAME(kv_heads); SAME(head_size); SAME(channels); SAME(mlp_size);
    SAME(vocabulary); SAME(context);
    SAME(norm_epsilon); SAME(rope_theta);
    SAME(rope.type); SAME(rope.factor); SAME(rope.low_frequency); SAME(rope.high_frequency); SAME(rope.beta_fast);
    SAME(rope.beta_slow); SAME(rope.whole); SAME(rope.amplitude); SAME(rope.original);
    SAME(rotary_part);
    SAME(tied); SAME(gated); SAME(bias_qkv); SAME(bias_out); SAME(bias_mlp); SAME(interleaved); SAME(norm_offset);
    SAME(norm_qk); SAME(norm_post); SAME(parallel); SAME(scale_by_layer); SAME(embedding_scaled);
    SAME(query_scalar); SAME(attention_cap); SAME(logit_cap); SAME(window);
    for (uint32_t i = 0; i < a->layers; i++)
        ck_assert_msg(rlhf_model_config_window(a, i) == rlhf_model_config_window(b, i), "a window is lost in writing");
    SAME(begin_id); SAME(end_id); SAME(pad_id); SAME(more_ends);
#undef SAME
}

/* Byte for byte what transformers wrote: names, shapes, values. A checkpoint that is sharded, narrow, or names its
 * tensors in the bare way is written otherwise, and is left out. */
static void check_written(struct fixture *f)
{
    char path[FIXTURE_PATH];
    struct rlhf_mapping map;
    struct rlhf_bytes config = { 0 }, tensors = { 0 };
    struct rlhf_safetensors ours, theirs;
    struct rlhf_model *back;
    struct rlhf_error err = { 0 };
    size_t count_of_ours;

    snprintf(path, sizeof path, "%s/%s/model.safetensors", all.folder, f->name);
    if (rlhf_map_file(&map, path, &err) < 0)
        return;
    expect_ok(rlhf_model_write(f->model, &config, &tensors, &err), err);
    back = rlhf_model_read(config.data, config.size, tensors.data, tensors.size, &err);
    expect_some(back, err);
    expect_same_config(rlhf_model_get_config(back), rlhf_model_get_config(f->model));
    expect_ok(rlhf_safetensors_parse(&ours, tensors.data, tensors.size, &err), err);
    expect_ok(rlhf_safetensors_parse(&theirs, map.data, map.size, &err), err);
    rlhf_model_table(f->model, &count_of_ours);
    if (theirs.count == count_of_ours && theirs.tensors[0].dtype == RLHF_DTYPE_F32)
        for (size_t i = 0; i < theirs.count; i++) {
            const struct rlhf_safetensor *t = &theirs.tensors[i], *u = rlhf_safetensors_find(&ours, t->name);

            ck_assert_msg(u && u->dims == t->dims && u->size == t->size
                          && memcmp(u->shape, t->shape, t->dims * sizeof *t->shape) == 0
                          && memcmp(u->data, t->data, t->size) == 0, "%s: %s is written otherwise", f->name, t->name);
        }
    rlhf_safetensors_free(&ours);
    rlhf_safetensors_free(&theirs);
    rlhf_unmap(&map);
    rlhf_bytes_free(&config);
    rlhf_bytes_free(&tensors);
    rlhf_model_free(back);
}

START_TEST(what_is_written_is_what_transformers_wrote)
{
    each(false, check_written);
    each(true, check_written);
}
END_TEST

int main(void)
{
    struct rlhf_error err = { 0 };

    find_fixtures(&all, "models");
    if (rlhf_tensor_start(&err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%zu models in %s\n", all.count, all.folder);
    fflush(stdout);
    return RUN_SUITE("parity/model", logits_are_those_of_transformers, hidden_states_are_those_of_transformers,
                     logprobs_and_entropies_are_those_of_transformers, losses_are_those_of_transformers,
                     gradients_are_those_of_transformers, greedy_generation_is_that_of_transformers,
                     rewards_are_those_of_transformers, reward_gradients_are_those_of_transformers,
                     what_is_written_is_what_transformers_wrote);
}
