/* lora.c - what PEFT computed for the adapters of a folder of fixtures ($RLHF_FIXTURES/lora, or
 * $RLHF_SHARED/fixtures/lora): logits with and without the adapter, loss, gradients, merged weights and their logits.
 * Every folder with a meta.json is taken. Tolerances are the fixtures' advice. The base is opened, not loaded: it is
 * frozen, and shared by the adapter and itself alone. */
#include "fixture.h"
#include "model/adapter.h"

static struct fixtures all;

struct fixture {
    const char *name;
    char base[FIXTURE_PATH], adapter[FIXTURE_PATH];
    struct rlhf_model *model;
    struct rlhf_adapter *lora;
    struct rlhf_pool *pool;
    struct rlhf_pass *pass;
    struct golden golden;
    struct packed rows;
    struct rlhf_batch batch;
};

static void open_fixture(struct fixture *f, const char *name)
{
    struct rlhf_error err = { 0 };

    *f = (struct fixture){ .name = name };
    snprintf(f->base, sizeof f->base, "%s/%s/base", all.folder, name);
    snprintf(f->adapter, sizeof f->adapter, "%s/%s/adapter", all.folder, name);
    snprintf(f->golden.path, sizeof f->golden.path, "%s/%s/expected.safetensors", all.folder, name);
    expect_some(f->model = rlhf_model_open(f->base, RLHF_PANELS_STORED, &err), err);
    expect_some(f->lora = rlhf_adapter_load(f->model, f->adapter, &err), err);
    expect_some(f->pool = rlhf_pool_new(2, &err), err);
    expect_some(f->pass = rlhf_pass_new(rlhf_model_get_config(f->model), f->pool, 1, &err), err);
    open_golden(&f->golden);
    f->rows = pack(expected(&f->golden, "", "right.input_ids"), expected(&f->golden, "", "right.attention_mask"), 0,
                   expected(&f->golden, "", "right.input_ids")->shape[0]);
    f->batch = (struct rlhf_batch){ .tokens = f->rows.ids, .start = f->rows.start, .sequences = f->rows.rows };
}

static void close_fixture(struct fixture *f)
{
    free_packed(&f->rows);
    close_golden(&f->golden);
    rlhf_pass_free(f->pass);
    rlhf_adapter_free(f->lora);
    rlhf_model_free(f->model);
    rlhf_pool_free(f->pool);
}

static void compare_logits(struct fixture *f, const struct rlhf_model *m, const char *wanted)
{
    const struct rlhf_safetensor *t = expected(&f->golden, "", wanted);
    size_t v = t->shape[2];
    float *logits = calloc(f->rows.tokens * v, sizeof *logits);
    struct comparison c = { 0 };
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_pass_forward(f->pass, m, &f->batch, &err), err);
    expect_ok(rlhf_pass_logits(f->pass, m, logits, &err), err);
    for (size_t row = 0; row < f->rows.rows; row++)
        for (size_t at = f->rows.start[row]; at < f->rows.start[row + 1]; at++)
            for (size_t i = 0; i < v; i++)
                compare(&c, logits[at * v + i], f32(t, (row * f->rows.width + f->rows.column[at]) * v + i), 1e-4, 1e-4);
    expect_agreement(&c, f->name, wanted);
    free(logits);
}

START_TEST(logits_with_and_without_the_adapter_agree)
{
    for (size_t i = 0; i < all.count; i++) {
        struct fixture f;

        open_fixture(&f, all.names[i]);
        compare_logits(&f, f.model, "base.logits");
        rlhf_pass_adapt(f.pass, f.lora, NULL);
        compare_logits(&f, f.model, "adapter.logits");
        rlhf_pass_adapt(f.pass, NULL, NULL);
        compare_logits(&f, f.model, "base.logits");
        close_fixture(&f);
    }
}
END_TEST

START_TEST(loss_and_gradients_agree)
{
    for (size_t i = 0; i < all.count; i++) {
        struct rlhf_error err = { 0 };
        struct fixture f;
        size_t floats, tensors, targets = 0;
        const struct rlhf_parameter *table;
        float *grad, *logprob, *d;
        int32_t *target;
        double loss = 0;
        struct comparison losses = { 0 };

        open_fixture(&f, all.names[i]);
        rlhf_adapter_parameters(f.lora, &floats);
        table = rlhf_adapter_table(f.lora, &tensors);
        grad = calloc(floats, sizeof *grad);
        target = calloc(f.rows.tokens, sizeof *target);
        logprob = calloc(f.rows.tokens, sizeof *logprob);
        d = calloc(f.rows.tokens, sizeof *d);
        for (size_t row = 0; row < f.rows.rows; row++)
            for (size_t t = f.rows.start[row]; t < f.rows.start[row + 1]; t++) {
                target[t] = t + 1 < f.rows.start[row + 1] ? f.rows.ids[t + 1] : -1;
                targets += target[t] >= 0;
            }
        rlhf_pass_adapt(f.pass, f.lora, grad);
        expect_ok(rlhf_pass_forward(f.pass, f.model, &f.batch, &err), err);
        expect_ok(rlhf_pass_logprobs(f.pass, f.model, target, 1, logprob, NULL, &err), err);
        for (size_t t = 0; t < f.rows.tokens; t++) {
            loss -= (double)logprob[t] / (double)targets;
            d[t] = -1 / (float)targets;
        }
        compare(&losses, loss, f32(expected(&f.golden, "", "adapter.loss"), 0), 1e-5, 1e-5);
        expect_agreement(&losses, f.name, "the loss");
        expect_ok(rlhf_pass_backward_logprobs(f.pass, f.model, d, NULL, NULL, &err), err);
        for (size_t p = 0; p < tensors; p++) {
            const struct rlhf_safetensor *t = expected(&f.golden, "grad.", table[p].name);
            struct comparison c = { 0 };

            ck_assert_uint_eq(rlhf_safetensor_elements(t), table[p].count);
            for (size_t j = 0; j < table[p].count; j++)
                compare(&c, grad[table[p].offset + j], f32(t, j), 1e-5, 1e-4);
            expect_agreement(&c, f.name, table[p].name);
        }
        free(grad);
        free(target);
        free(logprob);
        free(d);
        close_fixture(&f);
    }
}
END_TEST

START_TEST(merged_weights_and_their_logits_agree)
{
    for (size_t i = 0; i < all.count; i++) {
        struct rlhf_error err = { 0 };
        struct fixture f;
        struct rlhf_model *merged;
        const struct rlhf_parameter *table;
        size_t tensors, floats, found = 0;
        const float *block;

        open_fixture(&f, all.names[i]);
        expect_some(merged = rlhf_model_load(f.base, &err), err);
        expect_ok(rlhf_adapter_merge(f.lora, merged, &err), err);
        table = rlhf_model_table(merged, &tensors);
        block = rlhf_model_parameters(merged, &floats);
        for (size_t p = 0; p < tensors; p++) {
            char name[300];
            const struct rlhf_safetensor *t;
            struct comparison c = { 0 };

            snprintf(name, sizeof name, "merged.weight.%s", table[p].name);
            if (!(t = rlhf_safetensors_find(&f.golden.tensors, name)))
                continue;
            found++;
            for (size_t j = 0; j < table[p].count; j++)
                compare(&c, block[table[p].offset + j], f32(t, j), 2e-6, 2e-6);
            expect_agreement(&c, f.name, name);
        }
        ck_assert_uint_gt(found, 0);
        compare_logits(&f, merged, "merged.logits");
        rlhf_model_free(merged);
        close_fixture(&f);
    }
}
END_TEST

int main(void)
{
    struct rlhf_error err = { 0 };

    find_fixtures(&all, "lora");
    if (all.count == 0)
        skip("%s holds no adapter", all.folder);
    if (rlhf_tensor_start(&err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return RUN_SUITE("parity/lora", logits_with_and_without_the_adapter_agree, loss_and_gradients_agree,
                     merged_weights_and_their_logits_agree);
}
