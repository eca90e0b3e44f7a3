/* A LoRA adapter beside a small model: 2 bytes of size, adapter_config.json, adapter_model.safetensors. */
#include <stdlib.h>

#include "fuzz.h"
#include "model/adapter.h"

/* Rotary, with q, k, v apart and a tied head. */
static struct rlhf_model *a_model(void)
{
    struct rlhf_model_config c;

    if (rlhf_model_config_style(&c, "llama", NULL) < 0)
        abort();
    c.layers = 1;
    c.heads = c.kv_heads = 2;
    c.head_size = 4;
    c.channels = 8;
    c.mlp_size = 8;
    c.vocabulary = 16;
    c.context = 16;
    c.tied = true;
    return rlhf_model_new(&c, 1, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rlhf_model *model;
    size_t config = size >= 2 ? (size_t)(data[0] | data[1] << 8) : 0;

    if (!model && !(model = a_model()))
        abort();
    if (size < 2 || config > size - 2)
        return 0;
    rlhf_adapter_free(rlhf_adapter_read(model, (const char *)data + 2, config, data + 2 + config, size - 2 - config, NULL));
    return 0;
}
