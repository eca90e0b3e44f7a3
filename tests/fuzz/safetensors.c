/* The header of a safetensors file, and every byte that it leads to. */
#include "fuzz.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rlhf_safetensors s;
    volatile uint8_t sum = 0;

    if (rlhf_safetensors_parse(&s, data, size, NULL) < 0)
        return 0;
    for (size_t i = 0; i < s.count; i++)
        for (size_t j = 0; j < s.tensors[i].size; j++)
            sum = (uint8_t)(sum + s.tensors[i].data[j]);
    rlhf_safetensors_free(&s);
    return 0;
}
