/* A whole model from memory, as a worker gets it: 2 bytes of size, config.json, model.safetensors. */
#include "fuzz.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t config = size >= 2 ? (size_t)(data[0] | data[1] << 8) : 0;

    if (size < 2 || config > size - 2)
        return 0;
    rlhf_model_free(rlhf_model_read((const char *)data + 2, config, data + 2 + config, size - 2 - config, NULL));
    return 0;
}
