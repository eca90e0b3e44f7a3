/* Schedules, AdamW and whole training steps against transformers and torch.optim.AdamW: what lies in optim/ of the golden
 * fixtures. Every setting is read there, from meta.json. */
#include <inttypes.h>
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

static double setting(const char *name)
{
    json_t *value = json_object_get(meta, name);

    ck_assert_msg(json_is_number(value), "meta.json: no number %s", name);
    return json_number_value(value);
}

/* The key says warm-up and length: schedules_warmup3_total17_lr1. */
START_TEST(schedules_are_those_of_transformers)
{
    static const char *const names[] = {"constant_with_warmup", "linear", "cosine"};
    int found = 0;
    const char *key;
    json_t *all;

    json_object_foreach(meta, key, all)
    {
        struct rlhf_schedule_settings s = {0};
        uint64_t warmup, total;

        if (sscanf(key, "schedules_warmup%" SCNu64 "_total%" SCNu64 "_lr1", &warmup, &total) != 2)
            continue;
        s.warmup = warmup;
        s.total = total;
        for (int k = 0; k < 3; k++, found++) {
            json_t *want = json_object_get(all, names[k]);

            s.kind = (enum rlhf_schedule)k;
            ck_assert_uint_gt(json_array_size(want), total);
            for (size_t i = 0; i <= total; i++) /* behind the end their cosine rises again, ours stays */
                NEAR(rlhf_schedule_at(&s, i), json_number_value(json_array_get(want, i)), 1e-12);
        }
    }
    ck_assert_int_gt(found, 0);
}
END_TEST

static void step_part(struct rlhf_adamw a, float decay, const double *grads, float *m, float *v, float *param,
                      size_t count)
{
    float *grad = calloc(count, sizeof *grad);

    for (size_t i = 0; i < count; i++)
        grad[i] = (float)grads[i];
    a.weight_decay = decay;
    rlhf_adamw_step(&a, 1, decay > 0, grad, m, v, param, count, NULL);
    free(grad);
}

static void expect_weights(const struct fixture *f, char letter, size_t step, const float *got, size_t count)
{
    char name[40];
    double *want;

    snprintf(name, sizeof name, "%c%zu", letter, step);
    want = fixture_get(f, name, NULL, NULL);
    ck_assert_msg(want != NULL, "no %s", name);
    for (size_t i = 0; i < count; i++)
        NEAR(got[i], want[i], 2e-6);
    free(want);
}

/* A matrix w that decays and a vector b that does not; the settings stand in meta.json's sentence. */
START_TEST(an_update_is_that_of_pytorch)
{
    struct fixture f = open_file("adamw_unit.safetensors");
    const char *sentence = json_string_value(json_object_get(meta, "adamw_unit"));
    struct rlhf_adamw a = {0};
    float decay, decay_b;
    size_t rows, columns, matrix, vector, steps, both;
    double *grads = fixture_get(&f, "grads", &steps, &both), *w = fixture_get(&f, "w0", NULL, NULL),
           *b = fixture_get(&f, "b0", NULL, NULL);
    float *weights = calloc(both, sizeof *weights), *m = calloc(both, sizeof *m), *v = calloc(both, sizeof *v);

    ck_assert_ptr_nonnull(sentence);
    ck_assert_int_eq(sscanf(sentence, "%*s w(%zux%zu, wd %f) and b(%zu, wd %f), lr %f, betas (%f,%f), eps %f", &rows,
                            &columns, &decay, &vector, &decay_b, &a.lr, &a.beta1, &a.beta2, &a.epsilon),
                     9);
    matrix = rows * columns;
    ck_assert_uint_eq(both, matrix + vector);
    for (size_t i = 0; i < both; i++)
        weights[i] = (float)(i < matrix ? w[i] : b[i - matrix]);
    for (size_t t = 0; t < steps; t++) {
        a.step = t + 1;
        step_part(a, decay, grads + t * both, m, v, weights, matrix);
        step_part(a, decay_b, grads + t * both + matrix, m + matrix, v + matrix, weights + matrix, vector);
        expect_weights(&f, 'w', t + 1, weights, matrix);
        expect_weights(&f, 'b', t + 1, weights + matrix, vector);
    }
    free(w), free(b), free(grads), free(weights), free(m), free(v);
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

/* Which parameters decay is the fixture's choice: it goes by names, and takes GPT-2's ln_1 for a matrix. */
static void take_decay(struct rlhf_model *model)
{
    size_t count;
    struct rlhf_parameter *table = (struct rlhf_parameter *)(uintptr_t)rlhf_model_table(model, &count);
    json_t *decayed = json_object_get(meta, "decay_params"), *name;

    ck_assert(json_is_array(decayed));
    for (size_t i = 0, at; i < count; i++) {
        table[i].decayed = 0;
        json_array_foreach(decayed, at, name)
            if (strcmp(json_string_value(name), table[i].name) == 0)
                table[i].decayed = 1;
    }
}

/* As advised, or as far as the reference came from its own float64 run: the gradient of a key's bias is 0 but for rounding, which
 * AdamW makes a step of. */
static double limit(const char *what, double advised)
{
    return fmax(advised, json_number_value(json_object_get(json_object_get(meta, "fp32_vs_fp64"), what)));
}

START_TEST(steps_of_training_are_those_of_pytorch)
{
    struct fixture f = open_file("expected.safetensors");
    json_t *betas = json_object_get(meta, "betas");
    const size_t steps = (size_t)setting("total_steps");
    const struct rlhf_run_optimizer settings = {.learning_rate = setting("lr"),
                                                .schedule = RLHF_RUN_COSINE,
                                                .warmup = (uint32_t)setting("warmup_steps"),
                                                .weight_decay = setting("weight_decay"),
                                                .beta1 = json_number_value(json_array_get(betas, 0)),
                                                .beta2 = json_number_value(json_array_get(betas, 1)),
                                                .epsilon = setting("eps"),
                                                .clip_norm = setting("clip_max_norm")};
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
    size_t batch = rows / steps;
    int32_t *tokens = calloc(rows * length, sizeof *tokens);
    struct learner_item items[64];

    expect_ok(rlhf_tensor_start(&err), err);
    snprintf(path, sizeof path, "%s/model", folder);
    model = rlhf_model_load(path, &err);
    expect_some(model, err);
    take_decay(model);
    expect_ok(learner_optimizer_init(&o, model, &settings, steps, NULL, &err), err);
    expect_ok(learner_compute_init(&c, rlhf_model_get_config(model), NULL, true, &err), err);
    ck_assert_uint_le(batch, 64);
    for (size_t i = 0; i < rows * length; i++)
        tokens[i] = (int32_t)ids[i];
    for (size_t step = 0; step < steps; step++) {
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
            same_tensors(model, &f, "after5", o.param, limit("after5", 1e-5));
    }
    same_tensors(model, &f, "final", o.param, limit("final", 5e-5));
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
                     steps_of_training_are_those_of_pytorch, pieces_of_a_batch_add_up_to_the_whole);
}
