/* generation_config.json, and the parameters of `rlhfctl sample probs`, which one reader takes. */
#include "fuzz.h"
#include "model/generation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rlhf_generation g = rlhf_generation_default;
    int64_t prompt_length;

    rlhf_generation_read(&g, (const char *)data, size, NULL);
    rlhf_generation_params(&g, &prompt_length, (const char *)data, size, NULL);
    return 0;
}
