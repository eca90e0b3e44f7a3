/* What a batch of sequences teaches: the tokens behind their prompts, however they are packed, times a weight. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "learner/train_parts.h"
#include "support/shape.h"
#include "support/suite.h"
#include "tensor/ops.h"

enum { ITEMS = 4, TOKENS = 23, CONTEXT = 12 };
static const int32_t ids[TOKENS] = {1, 5, 9, 3, 7, 2, 4, 4, 8, 6, 1, 3, 11, 12, 2, 9, 10, 5, 5, 0, 7, 8, 6};
/* A demonstration, one of which only the last token is its own, a document, a prompt alone. */
static const struct learner_item items[ITEMS] = {{ids, 8, 3}, {ids + 8, 5, 4}, {ids + 13, 7, 0}, {ids + 20, 3, 3}};
static const size_t targets[ITEMS] = {5, 1, 6, 0};

static struct rlhf_model *model;
static struct learner_compute compute;
static size_t count; /* of its parameters */

static void open_model(void)
{
    const struct rlhf_model_config c = a_config("llama", (struct shape){2, 2, 8, 16, 13, CONTEXT});
    struct rlhf_error err = {0};

    expect_ok(rlhf_tensor_start(&err), err);
    model = rlhf_model_new(&c, 5, &err);
    expect_some(model, err);
    rlhf_model_parameters(model, &count);
    expect_ok(learner_compute_init(&compute, &c, NULL, true, &err), err);
}

/* -log p of the item's predicted tokens, of a pass of its own. */
static double alone(const struct learner_item *item)
{
    struct rlhf_error err = {0};
    struct rlhf_pass *p = rlhf_pass_new(rlhf_model_get_config(model), NULL, 0, &err);
    const uint32_t start[] = {0, item->count};
    int32_t next[CONTEXT];
    float logprob[CONTEXT];
    double sum = 0;

    for (uint32_t i = 0; i < item->count; i++)
        next[i] = i + 1 < item->count ? item->ids[i + 1] : -1;
    expect_ok(rlhf_pass_forward(p, model, &(struct rlhf_batch){.tokens = item->ids, .start = start, .sequences = 1}, &err), err);
    expect_ok(rlhf_pass_logprobs(p, model, next, 1, logprob, NULL, &err), err);
    for (uint32_t i = 1; i < item->count; i++)
        sum -= i >= item->first ? (double)logprob[i - 1] : 0;
    rlhf_pass_free(p);
    return sum;
}

static double gradient(const struct learner_item *of, size_t n, double weight, float *grad)
{
    struct rlhf_error err = {0};
    double loss;

    expect_ok(learner_lm_gradient(&compute, model, of, n, weight, grad, &loss, &err), err);
    return loss;
}

START_TEST(a_demonstration_teaches_its_completion_and_not_its_prompt)
{
    float *grad = calloc(count, sizeof *grad);

    for (size_t i = 0; i < ITEMS; i++) {
        double loss = gradient(&items[i], 1, 1, grad);

        ck_assert_uint_eq(learner_targets(&items[i], 1), targets[i]);
        ck_assert_double_eq_tol(loss, targets[i] ? alone(&items[i]) / (double)targets[i] : 0, 1e-12);
    }
    memset(grad, 0, count * sizeof *grad);
    gradient(&items[3], 1, 1, grad);
    for (size_t i = 0; i < count; i++)
        ck_assert(grad[i] == 0);
    free(grad);
}
END_TEST

/* Neighbours in a pass do not see each other, and the mean is over all tokens, wherever passes are cut. */
START_TEST(packed_sequences_have_the_loss_and_gradient_that_they_have_alone)
{
    const size_t whole = compute.limit;
    float *packed = calloc(count, sizeof *packed), *single = calloc(count, sizeof *single);
    double loss = gradient(items, ITEMS, 1, packed), sum = 0;

    for (size_t i = 0; i < ITEMS; i++)
        sum += alone(&items[i]);
    ck_assert_double_eq_tol(loss, sum / 12, 1e-12);
    compute.limit = CONTEXT;
    ck_assert_double_eq_tol(gradient(items, ITEMS, 1, single), loss, 1e-12);
    compute.limit = whole;
    for (size_t i = 0; i < count; i++)
        ck_assert_float_eq_tol(packed[i], single[i], 1e-6f);
    free(packed);
    free(single);
}
END_TEST

/* PPO-ptx: for each minibatch the pretraining gradient, times gamma, is added to PPO's (InstructGPT, appendix C.4). */
START_TEST(a_pretraining_gradient_is_added_27_8_times)
{
    float *once = calloc(count, sizeof *once), *mixed = calloc(count, sizeof *mixed);
    double loss = gradient(&items[2], 1, 1, once);

    for (size_t i = 0; i < count; i++)
        mixed[i] = (float)(i % 7) - 3; /* PPO's */
    ck_assert_double_eq(gradient(&items[2], 1, 27.8, mixed), loss); /* itself it is told without */
    for (size_t i = 0; i < count; i++)
        ck_assert_double_eq_tol(mixed[i], (double)(i % 7) - 3 + 27.8 * (double)once[i], 2e-5 * (1 + fabs(27.8 * (double)once[i])));
    free(once);
    free(mixed);
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(open_model, "learner-train/batch", a_demonstration_teaches_its_completion_and_not_its_prompt,
                           packed_sequences_have_the_loss_and_gradient_that_they_have_alone,
                           a_pretraining_gradient_is_added_27_8_times);
}
