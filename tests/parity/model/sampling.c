/* sampling.c - the filters of transformers, over the cases of a folder of fixtures ($RLHF_FIXTURES/sampling, or
 * $RLHF_SHARED/fixtures/sampling). Cases with settings that are not built are named and counted as skipped.
 * The kept set must be exact, probabilities within 1e-5. */
#include "fixture.h"
#include "model/sampler.h"

static char folder[PATH_MAX];
static struct golden golden;

/* False when the case has a setting that is not built; *missing names it. */
static bool settings_of(const json_t *params, struct rlhf_sampling *s, const char **missing)
{
    const char *key;
    json_t *value;

    *s = (struct rlhf_sampling){ .temperature = 1, .top_p = 1, .max_new_tokens = 1 };
    json_object_foreach((json_t *)params, key, value) {
        if (strcmp(key, "temperature") == 0) {
            s->temperature = (float)json_number_value(value);
        } else if (strcmp(key, "top_k") == 0) {
            s->top_k = (uint32_t)json_integer_value(value);
        } else if (strcmp(key, "top_p") == 0) {
            s->top_p = (float)json_number_value(value);
        } else {
            *missing = key;
            return false;
        }
    }
    return true;
}

static float *floats_of(const char *name, size_t *rows, size_t *v)
{
    const struct rlhf_safetensor *t = expected(&golden, "", name);
    struct rlhf_error err = { 0 };
    float *out;

    ck_assert_uint_eq(t->dims, 2);
    *rows = t->shape[0];
    *v = t->shape[1];
    out = calloc(*rows * *v, sizeof *out);
    expect_ok(rlhf_safetensor_floats(t, out, &err), err);
    return out;
}

static void check_row(size_t index, const float *logits, const float *scores, const float *probabilities, size_t v,
                      const struct rlhf_sampling *s)
{
    float *is = calloc(v, sizeof *is), *scratch = calloc(2 * v, sizeof *scratch);
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_sampling_scores(logits, v, s, is, scratch, &err), err);
    for (size_t i = 0; i < v; i++) {
        ck_assert_msg((is[i] == -INFINITY) == (scores[i] == -INFINITY), "case %zu: token %zu is %s", index, i,
                      is[i] == -INFINITY ? "removed" : "kept");
        if (is[i] > -INFINITY) {
            double logprob = (double)rlhf_vocab_logprob_row(is, v, 1, (int32_t)i);

            ck_assert_msg(fabs(exp(logprob) - (double)probabilities[i]) <= 1e-5, "case %zu: token %zu has %g, not %g",
                          index, i, exp(logprob), (double)probabilities[i]);
        }
    }
    for (uint32_t draw = 0; draw < 50; draw++) {
        const struct rlhf_sample_key key = { 1, RLHF_PURPOSE_SAMPLE, 0, 0 };
        struct rlhf_sampled out;

        expect_ok(rlhf_sample(logits, v, s, &key, draw, scratch, &out, &err), err);
        ck_assert_msg(scores[out.token] > -INFINITY, "case %zu: a removed token was drawn", index);
        ck_assert(fabs(exp((double)out.logprob) - (double)probabilities[out.token]) <= 1e-5);
    }
    free(is);
    free(scratch);
}

START_TEST(filtered_probabilities_are_those_of_transformers)
{
    json_t *cases = json_at(folder, "cases.json"), *one;
    size_t index, computed = 0;

    snprintf(golden.path, sizeof golden.path, "%s/expected.safetensors", folder);
    open_golden(&golden);
    json_array_foreach(cases, index, one) {
        const char *missing;
        struct rlhf_sampling s;
        size_t rows, v, number = (size_t)json_integer_value(json_object_get(one, "case"));
        float *logits, *scores, *probabilities;
        char name[40];

        if (!settings_of(json_object_get(one, "params"), &s, &missing)) {
            printf("skipped case %zu: no %s\n", number, missing);
            continue;
        }
        computed++;
        logits = floats_of(json_string_value(json_object_get(one, "logits")), &rows, &v);
        snprintf(name, sizeof name, "case%zu.scores", number);
        scores = floats_of(name, &rows, &v);
        snprintf(name, sizeof name, "case%zu.probs", number);
        probabilities = floats_of(name, &rows, &v);
        for (size_t b = 0; b < rows; b++)
            check_row(number, logits + b * v, scores + b * v, probabilities + b * v, v, &s);
        free(logits);
        free(scores);
        free(probabilities);
    }
    printf("%zu cases computed, %zu skipped\n", computed, json_array_size(cases) - computed);
    ck_assert_uint_gt(computed, 0);
    json_decref(cases);
    close_golden(&golden);
}
END_TEST

int main(void)
{
    struct rlhf_error err = { 0 };

    fixture_folder("sampling", folder);
    if (rlhf_tensor_start(&err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return RUN_SUITE("parity/sampling", filtered_probabilities_are_those_of_transformers);
}
