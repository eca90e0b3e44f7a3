/* Trains a new adapter for a few steps and saves it, for lora_live.py:
 * lora-tool MODEL OUT RANK ALPHA RSLORA(0|1) [TARGET...] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "model/adapter.h"
#include "tensor/ops.h"

enum { TOKENS = 24, STEPS = 5 };

static int train(struct rlhf_adapter *a, const struct rlhf_model *m, struct rlhf_error *err)
{
    const struct rlhf_model_config *c = rlhf_model_get_config(m);
    struct rlhf_pass *p = rlhf_pass_new(c, NULL, 1, err);
    const uint32_t start[] = { 0, TOKENS };
    int32_t ids[TOKENS], target[TOKENS];
    float logprob[TOKENS], slope[TOKENS];
    const struct rlhf_batch batch = { .tokens = ids, .start = start, .sequences = 1 };
    struct rlhf_random random;
    size_t count;
    float *w = rlhf_adapter_parameters(a, &count), *state = calloc(3 * count, sizeof *state);
    int rc = p && state ? 0 : -1;

    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = (int32_t)rlhf_random_below(&random, c->vocabulary);
        slope[i] = -1.0F / TOKENS;
    }
    for (int i = 0; i < TOKENS; i++)
        target[i] = i + 1 < TOKENS ? ids[i + 1] : -1;
    if (rc == 0)
        rlhf_pass_adapt(p, a, state);
    for (uint64_t step = 1; rc == 0 && step <= STEPS; step++) {
        const struct rlhf_adamw o = { .lr = 0.02F, .beta1 = 0.9F, .beta2 = 0.95F, .epsilon = 1e-8F, .step = step };

        memset(state, 0, count * sizeof *state);
        rc = rlhf_pass_forward(p, m, &batch, err) < 0 || rlhf_pass_logprobs(p, m, target, 1, logprob, NULL, err) < 0
                     || rlhf_pass_backward_logprobs(p, m, slope, NULL, NULL, err) < 0
                 ? -1
                 : 0;
        if (rc == 0) {
            rlhf_adamw_step(&o, 1, true, state, state + count, state + 2 * count, w, count, NULL);
            rlhf_adapter_touch(a, NULL);
        }
    }
    free(state);
    rlhf_pass_free(p);
    return rc;
}

int main(int argc, char **argv)
{
    struct rlhf_error err = { 0 };
    struct rlhf_model *m = NULL;
    struct rlhf_adapter *a = NULL;
    int rc = EXIT_FAILURE;

    if (argc < 6) {
        fprintf(stderr, "usage: lora-tool MODEL OUT RANK ALPHA RSLORA [TARGET...]\n");
        return EXIT_FAILURE;
    }
    const struct rlhf_adapter_settings s = { .rank = (uint32_t)atoi(argv[3]), .alpha = atof(argv[4]),
                                             .rslora = atoi(argv[5]) != 0,
                                             .targets = (const char *const *)argv + 6,
                                             .target_count = (size_t)argc - 6 };
    if (rlhf_tensor_start(&err) == 0 && (m = rlhf_model_open(argv[1], RLHF_PANELS_STORED, &err))
        && (a = rlhf_adapter_new(m, &s, 3, &err)) && train(a, m, &err) == 0 && rlhf_adapter_save(a, argv[2], &err) == 0)
        rc = EXIT_SUCCESS;
    if (rc != EXIT_SUCCESS)
        fprintf(stderr, "lora-tool: %s\n", err.text);
    rlhf_adapter_free(a);
    rlhf_model_free(m);
    return rc;
}
