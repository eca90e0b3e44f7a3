/* Schedules, AdamW and twenty whole training steps against transformers and torch.optim.AdamW (fixtures:
 * optim/). */
#include <math.h>

#include "../rl/fixture.h"
#include "learner/train_parts.h"
#include "rl/schedule.h"
#include "support/suite.h"
#include "tensor/ops.h"

/* fixtures/README.md */
#define NEAR(got, want, tolerance) ck_assert_double_eq_tol(got, want, tolerance)

static char folder[1000];
static json_t *meta;

static struct fixture open_file(const char *name)
{
    char path[1200];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fixture_open(path);
}

START_TEST(schedules_are_those_of_transformers)
{
    static const char *const names[] = {"constant_with_warmup", "linear", "cosine"};
    json_t *all = json_object_get(meta, "schedules_warmup3_total17_lr1");

    for (int k = 0; k < 3; k++) {
        struct rlhf_schedule_settings s = {.kind = (enum rlhf_schedule)k, .warmup = 3, .total = 17};
        json_t *want = json_object_get(all, names[k]);
        for (size_t i = 0; i <= 17; i++) /* at 18 their cosine rises again, ours stays */
            NEAR(rlhf_schedule_at(&s, i), json_number_value(json_array_get(want, i)), 1e-12);
    }
}
END_TEST

START_TEST(an_update_is_that_of_pytorch)
{
    struct fixture f = open_file("adamw_unit.safetensors");
    size_t steps, columns;
    double *grads = fixture_get(&f, "grads", &steps, &columns), *w = fixture_get(&f, "w0", NULL, NULL),
           *b = fixture_get(&f, "b0", NULL, NULL);
    float weights[40], grad[40], m[40] = {0}, v[40] = {0};

    ck_assert_uint_eq(columns, 40);
    for (int i = 0; i < 40; i++)
        weights[i] = (float)(i < 35 ? w[i] : b[i - 35]);
    free(w), free(b);
    for (size_t t = 0; t < steps; t++) {
        struct rlhf_adamw a = {.lr = 0.01f,
                               .beta1 = 0.9f,
                               .beta2 = 0.95f,
                               .epsilon = 1e-6f,
                               .weight_decay = 0.05f,
                               .step = t + 1};
        char name[40];
        for (int i = 0; i < 40; i++)
            grad[i] = (float)grads[t * 40 + (size_t)i];
        rlhf_adamw_step(&a, 1, true, grad, m, v, weights, 35, NULL);
        rlhf_adamw_step(&a, 1, false, grad + 35, m + 35, v + 35, weights + 35, 5, NULL);
        snprintf(name, sizeof name, "w%zu", t + 1);
        w = fixture_get(&f, name, NULL, NULL);
        snprintf(name, sizeof name, "b%zu", t + 1);
        b = fixture_get(&f, name, NULL, NULL);
        ck_assert_ptr_nonnull(w);
        for (int i = 0; i < 40; i++)
            NEAR(weights[i], i < 35 ? w[i] : b[i - 35], 2e-6);
        free(w), free(b);
    }
    free(grads);
    fixture_close(&f);
}
END_TEST

static void same_tensors(const struct rlhf_model *model, const struct fixture *f, const char *prefix,
                         const float *got, double tolerance)
{
    size_t count;
    const struct rlhf_parameter *table = rlhf_model_table(model, &count);

    for (size_t i = 0; i < count; i++) {
        char name[200];
        double *want;
        snprintf(name, sizeof name, "%s.%s", prefix, table[i].name);
        want = fixture_get(f, name, NULL, NULL);
        ck_assert_msg(want != NULL, "no %s", name);
        for (size_t j = 0; j < table[i].count; j++)
            ck_assert_msg(fabs(got[table[i].offset + j] - want[j]) <= tolerance,
                          "%s[%zu]: %.9g, expected %.9g", name, j, got[table[i].offset + j], want[j]);
        free(want);
    }
}

START_TEST(twenty_steps_of_training_are_those_of_pytorch)
{
    struct fixture f = open_file("expected.safetensors");
    const struct rlhf_run_optimizer settings = {.learning_rate = 0.003,
                                                .schedule = RLHF_RUN_COSINE,
                                                .warmup = 4,
                                                .weight_decay = 0.1,
                                                .beta1 = 0.9,
                                                .beta2 = 0.999,
                                                .epsilon = 1e-8,
                                                .clip_norm = 1};
    size_t rows, length;
    double *ids = fixture_get(&f, "input_ids", &rows, &length),
           *mask = fixture_get(&f, "attention_mask", NULL, NULL);
    double *losses = fixture_get(&f, "losses", NULL, NULL),
           *norms = fixture_get(&f, "grad_norms", NULL, NULL);
    double *rates = fixture_get(&f, "lrs", NULL, NULL);
    struct learner_optimizer o;
    struct learner_compute c;
    struct rlhf_error err = {0};
    char path[1200];
    struct rlhf_model *model;
    size_t batch = rows / 20;
    int32_t *tokens = calloc(rows * length, sizeof *tokens);
    struct learner_item items[64];

    expect_ok(rlhf_tensor_start(&err), err);
    snprintf(path, sizeof path, "%s/model", folder);
    model = rlhf_model_load(path, &err);
    expect_some(model, err);
    expect_ok(learner_optimizer_init(&o, model, &settings, 20, NULL, &err), err);
    expect_ok(learner_compute_init(&c, rlhf_model_get_config(model), NULL, true, &err), err);
    ck_assert_uint_le(batch, 64);
    for (size_t i = 0; i < rows * length; i++)
        tokens[i] = (int32_t)ids[i];
    for (size_t step = 0; step < 20; step++) {
        double loss;
        bool updated;
        for (size_t i = 0; i < batch; i++) {
            size_t row = (step * batch + i) * length;
            items[i] = (struct learner_item){.ids = tokens + row};
            for (size_t t = 0; t < length; t++)
                items[i].count += mask[row + t] != 0;
        }
        expect_ok(learner_lm_gradient(&c, model, items, batch, 1, o.grad, &loss, &err), err);
        NEAR(loss, losses[step], 2e-5);
        learner_optimizer_step(&o, step, loss, &updated);
        ck_assert(updated);
        NEAR(o.norm, norms[step], 2e-5);
        NEAR(o.rate, rates[step], 1e-9);
        if (step == 4)
            same_tensors(model, &f, "after5", o.param, 1e-5);
    }
    same_tensors(model, &f, "final", o.param, 5e-5);
    same_tensors(model, &f, "exp_avg", o.m, 5e-5);
    same_tensors(model, &f, "exp_avg_sq", o.v, 5e-5);
    learner_optimizer_free(&o);
    learner_compute_free(&c);
    rlhf_model_free(model);
    free(ids), free(mask), free(losses), free(norms), free(rates), free(tokens);
    fixture_close(&f);
}
END_TEST

/* The loss of a batch worked off in pieces is normalised by the whole batch's tokens (fixture: grad_accum).
 */
START_TEST(pieces_of_a_batch_add_up_to_the_whole)
{
    struct fixture f = open_file("grad_accum.safetensors");
    size_t rows, length;
    double *ids = fixture_get(&f, "input_ids", &rows, &length),
           *mask = fixture_get(&f, "attention_mask", NULL, NULL), loss;
    const struct rlhf_run_optimizer settings = {0};
    struct learner_optimizer o;
    struct learner_compute c;
    struct rlhf_error err = {0};
    struct learner_item items[64] = {0};
    int32_t *tokens = calloc(rows * length, sizeof *tokens);
    struct rlhf_model *model;
    char path[1200];
    size_t batch = rows;

    expect_ok(rlhf_tensor_start(&err), err);
    snprintf(path, sizeof path, "%s/model", folder);
    model = rlhf_model_load(path, &err);
    expect_some(model, err);
    expect_ok(learner_optimizer_init(&o, model, &settings, 1, NULL, &err), err);
    expect_ok(learner_compute_init(&c, rlhf_model_get_config(model), NULL, true, &err), err);
    c.limit = length + 3; /* one or two sequences at a time */
    for (size_t i = 0; i < batch; i++) {
        items[i].ids = tokens + i * length;
        for (size_t t = 0; t < length; t++) {
            tokens[i * length + t] = (int32_t)ids[i * length + t];
            items[i].count += mask[i * length + t] != 0;
        }
    }
    expect_ok(learner_lm_gradient(&c, model, items, batch, 1, o.grad, &loss, &err), err);
    NEAR(loss, json_number_value(json_object_get(json_object_get(meta, "grad_accum"), "loss_full")), 2e-5);
    same_tensors(model, &f, "grad_full", o.grad, 1e-5);
    learner_optimizer_free(&o);
    learner_compute_free(&c);
    rlhf_model_free(model);
    free(ids), free(mask), free(tokens);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    const char *shared = getenv("RLHF_SHARED"), *fixtures = getenv("RLHF_FIXTURES");
    char path[1100];

    snprintf(folder, sizeof folder, "%s%s/optim",
             fixtures ? fixtures
             : shared ? shared
                      : ".",
             fixtures ? "" : "/fixtures");
    snprintf(path, sizeof path, "%s/meta.json", folder);
    if (!(meta = json_load_file(path, 0, NULL)))
        skip("no golden fixtures at %s (set RLHF_SHARED or RLHF_FIXTURES)", path);
    return RUN_SUITE("parity/optimizer", schedules_are_those_of_transformers, an_update_is_that_of_pytorch,
                     twenty_steps_of_training_are_those_of_pytorch, pieces_of_a_batch_add_up_to_the_whole);
}
