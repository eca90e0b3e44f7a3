/* sampling.c - the filters of transformers, over the cases of a folder of fixtures ($RLHF_FIXTURES/sampling, or
 * $RLHF_SHARED/fixtures/sampling). The kept set must be exact, probabilities within 1e-5. */
#include "fixture.h"
#include "model/generation.h"

static char folder[PATH_MAX];
static struct golden golden;

/* A case's parameters, which are those of `rlhfctl sample probs`. */
static void settings_of(const json_t *params, struct rlhf_generation *g, int64_t *prompt_length)
{
    char *text = json_dumps(params, 0);
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_generation_params(g, prompt_length, text, strlen(text), &err), err);
    free(text);
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
                      const struct rlhf_sampling *s, const struct rlhf_history *h)
{
    float *is = calloc(v, sizeof *is), *scratch = calloc(2 * v, sizeof *scratch);
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_sampling_scores(logits, v, s, h, is, scratch, &err), err);
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

        expect_ok(rlhf_sample_after(logits, v, s, h, &key, draw, scratch, &out, &err), err);
        ck_assert_msg(scores[out.token] > -INFINITY, "case %zu: a removed token was drawn", index);
        ck_assert(fabs(exp((double)out.logprob) - (double)probabilities[out.token]) <= 1e-5);
        ck_assert(out.logprob_raw == rlhf_vocab_logprob_row(logits, v, 1, out.token));
    }
    free(is);
    free(scratch);
}

START_TEST(filtered_probabilities_are_those_of_transformers)
{
    json_t *cases = json_at(folder, "cases.json"), *one;
    size_t index;

    snprintf(golden.path, sizeof golden.path, "%s/expected.safetensors", folder);
    open_golden(&golden);
    json_array_foreach(cases, index, one) {
        struct rlhf_generation g;
        int64_t prompt_length;
        const struct rlhf_safetensor *ids = expected(&golden, "", "input_ids");
        size_t rows, v, width = ids->shape[1], number = (size_t)json_integer_value(json_object_get(one, "case"));
        float *logits, *scores, *probabilities;
        char name[40];

        settings_of(json_object_get(one, "params"), &g, &prompt_length);
        logits = floats_of(json_string_value(json_object_get(one, "logits")), &rows, &v);
        snprintf(name, sizeof name, "case%zu.scores", number);
        scores = floats_of(name, &rows, &v);
        snprintf(name, sizeof name, "case%zu.probs", number);
        probabilities = floats_of(name, &rows, &v);
        for (size_t b = 0; b < rows; b++) {
            int32_t *before = calloc(width, sizeof *before);
            struct rlhf_history h = { .prompt = before, .ends = g.ends.id, .end_count = g.ends.count };

            for (size_t i = 0; i < width; i++)
                before[i] = (int32_t)i64(ids, b * width + i);
            h.prompt_count = prompt_length >= 0 ? (size_t)prompt_length : width;
            h.completion = before + h.prompt_count;
            h.completion_count = width - h.prompt_count;
            check_row(number, logits + b * v, scores + b * v, probabilities + b * v, v, &g.sampling, &h);
            free(before);
        }
        free(logits);
        free(scores);
        free(probabilities);
    }
    printf("%zu cases\n", json_array_size(cases));
    ck_assert_uint_gt(json_array_size(cases), 0);
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
