/* training.c - a run of AdamW in PyTorch, step by step: losses, gradient norms, weights and moments, over
 * the folder optim of the fixtures. Hyperparameters and learning rates are read from there. */
#include "fixture.h"

static char folder[PATH_MAX];

struct run {
    struct golden golden;
    json_t *meta;
    struct rlhf_model *m;
    struct rlhf_pass *p;
    struct rlhf_adamw adamw;
    size_t count;
    float *weights, *grad, *first, *second;
};

static double number(const json_t *meta, const char *key)
{
    const json_t *value = json_object_get(meta, key);

    ck_assert_msg(json_is_number(value), "meta.json has no %s", key);
    return json_number_value(value);
}

static void open_run(struct run *r, const char *file)
{
    char path[FIXTURE_PATH];
    struct rlhf_error err = { 0 };

    *r = (struct run){ .meta = json_at(folder, "meta.json") };
    snprintf(r->golden.path, sizeof r->golden.path, "%s/%s", folder, file);
    open_golden(&r->golden);
    snprintf(path, sizeof path, "%s/model", folder);
    expect_some(r->m = rlhf_model_load(path, &err), err);
    expect_some(r->p = rlhf_pass_new(rlhf_model_get_config(r->m), NULL, 1, &err), err);
    r->weights = rlhf_model_parameters(r->m, &r->count);
    r->grad = calloc(r->count, sizeof *r->grad);
    r->first = calloc(r->count, sizeof *r->first);
    r->second = calloc(r->count, sizeof *r->second);
    r->adamw = (struct rlhf_adamw){
        .beta1 = (float)json_number_value(json_array_get(json_object_get(r->meta, "betas"), 0)),
        .beta2 = (float)json_number_value(json_array_get(json_object_get(r->meta, "betas"), 1)),
        .epsilon = (float)number(r->meta, "eps"), .weight_decay = (float)number(r->meta, "weight_decay"),
    };
}

static void close_run(struct run *r)
{
    close_golden(&r->golden);
    json_decref(r->meta);
    rlhf_pass_free(r->p);
    rlhf_model_free(r->m);
    free(r->grad);
    free(r->first);
    free(r->second);
}

/* Adds the gradient of -logprob / targets to grad; targets 0: of the mean over these rows. Returns its sum. */
static double add_gradient(struct run *r, const struct packed *rows, double targets)
{
    const struct rlhf_batch batch = { .tokens = rows->ids, .start = rows->start, .sequences = rows->rows };
    int32_t *target = calloc(rows->tokens, sizeof *target);
    float *logprob = calloc(rows->tokens, sizeof *logprob), *d = calloc(rows->tokens, sizeof *d);
    struct rlhf_error err = { 0 };
    double sum = 0;

    if (targets == 0)
        targets = (double)(rows->tokens - rows->rows);
    for (size_t b = 0; b < rows->rows; b++)
        for (size_t t = rows->start[b]; t < rows->start[b + 1]; t++) {
            target[t] = t + 1 < rows->start[b + 1] ? rows->ids[t + 1] : -1;
            d[t] = target[t] >= 0 ? (float)(-1 / targets) : 0;
        }
    expect_ok(rlhf_pass_forward(r->p, r->m, &batch, &err), err);
    expect_ok(rlhf_pass_logprobs(r->p, r->m, target, 1, logprob, NULL, &err), err);
    expect_ok(rlhf_pass_backward_logprobs(r->p, r->m, d, NULL, r->grad, &err), err);
    for (size_t t = 0; t < rows->tokens; t++)
        sum -= (double)logprob[t] / targets;
    free(target);
    free(logprob);
    free(d);
    return sum;
}

static bool listed(const struct run *r, const char *list, const char *parameter)
{
    size_t index;
    json_t *name;

    json_array_foreach(json_object_get(r->meta, list), index, name)
        if (strcmp(json_string_value(name), parameter) == 0)
            return true;
    return false;
}

static void update(struct run *r, double norm)
{
    const double most = number(r->meta, "clip_max_norm");
    const float scale = (float)fmin(1, most / (norm + 1e-6));
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(r->m, &tensors);

    for (size_t i = 0; i < tensors; i++) {
        size_t at = table[i].offset;

        rlhf_adamw_step(&r->adamw, scale, listed(r, "decay_params", table[i].name), r->grad + at, r->first + at, r->second + at,
                        r->weights + at, table[i].count, NULL);
    }
    rlhf_model_touch(r->m, NULL);
}

static void expect_block(const struct run *r, const char *prefix, const float *block, double absolute,
                         double relative)
{
    size_t tensors;
    const struct rlhf_parameter *table = rlhf_model_table(r->m, &tensors);

    for (size_t i = 0; i < tensors; i++) {
        const struct rlhf_safetensor *wanted = expected(&r->golden, prefix, table[i].name);
        struct comparison c = { 0 };

        for (size_t j = 0; j < table[i].count; j++)
            compare(&c, (double)block[table[i].offset + j], (double)f32(wanted, j), absolute, relative);
        expect_agreement(&c, r->golden.path, wanted->name);
    }
}

/* Trainer of transformers picks by words in names, so that it decays GPT-2's norms (ln_1), but not Llama's. */
START_TEST(the_table_decays_matrices_and_nothing_that_trainer_does_not_decay)
{
    struct run r;
    size_t tensors;
    const struct rlhf_parameter *table;

    open_run(&r, "expected.safetensors");
    table = rlhf_model_table(r.m, &tensors);
    for (size_t i = 0; i < tensors; i++) {
        ck_assert_msg(listed(&r, "decay_params", table[i].name) != listed(&r, "no_decay_params", table[i].name),
                      "%s is in both groups or none", table[i].name);
        ck_assert_int_eq(table[i].decayed != 0, listed(&r, "decay_params", table[i].name) && table[i].dims == 2);
    }
    close_run(&r);
}
END_TEST

START_TEST(a_run_of_adamw_is_that_of_pytorch)
{
    const struct rlhf_safetensor *ids, *mask, *rates;
    struct comparison losses = { 0 }, norms = { 0 };
    struct run r;

    open_run(&r, "expected.safetensors");
    ids = expected(&r.golden, "", "input_ids");
    mask = expected(&r.golden, "", "attention_mask");
    rates = expected(&r.golden, "", "lrs");
    for (size_t step = 0; step < ids->shape[0]; step++) {
        struct packed rows = pack(ids, mask, step * ids->shape[1], ids->shape[1]);
        double norm;

        memset(r.grad, 0, r.count * sizeof *r.grad);
        compare(&losses, add_gradient(&r, &rows, 0), (double)f32(expected(&r.golden, "", "losses"), step), 2e-5, 1e-5);
        norm = sqrt(rlhf_sum_squares(r.grad, r.count, NULL));
        compare(&norms, norm, (double)f32(expected(&r.golden, "", "grad_norms"), step), 2e-5, 1e-5);
        r.adamw.step = step + 1;
        r.adamw.lr = f32(rates, step);
        update(&r, norm);
        if (step == 4)
            expect_block(&r, "after5.", r.weights, 1e-5, 0);
        free_packed(&rows);
    }
    expect_agreement(&losses, r.golden.path, "a loss");
    expect_agreement(&norms, r.golden.path, "a gradient norm");
    expect_block(&r, "final.", r.weights, 5e-5, 0);
    expect_block(&r, "exp_avg.", r.first, 5e-5, 0);
    expect_block(&r, "exp_avg_sq.", r.second, 5e-5, 0);
    close_run(&r);
}
END_TEST

START_TEST(micro_batches_normalised_by_all_tokens_are_the_whole_batch)
{
    const struct rlhf_safetensor *ids, *mask;
    struct run r;
    struct packed all;

    open_run(&r, "grad_accum.safetensors");
    ids = expected(&r.golden, "", "input_ids");
    mask = expected(&r.golden, "", "attention_mask");
    all = pack(ids, mask, 0, ids->shape[0]);
    for (size_t b = 0; b < ids->shape[0]; b++) {
        struct packed row = pack(ids, mask, b, 1);

        add_gradient(&r, &row, (double)(all.tokens - all.rows));
        free_packed(&row);
    }
    expect_block(&r, "grad_full.", r.grad, 1e-5, 1e-4);
    free_packed(&all);
    close_run(&r);
}
END_TEST

int main(void)
{
    struct rlhf_error err = { 0 };

    fixture_folder("optim", folder);
    if (rlhf_tensor_start(&err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return RUN_SUITE("parity/training", the_table_decays_matrices_and_nothing_that_trainer_does_not_decay,
                     a_run_of_adamw_is_that_of_pytorch,
                     micro_batches_normalised_by_all_tokens_are_the_whole_batch);
}
