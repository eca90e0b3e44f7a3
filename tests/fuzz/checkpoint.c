/* A whole model from memory, loaded as a learner does and viewed as a worker does: 2 bytes of size, config.json,
 * model.safetensors. */
#include "fuzz.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t config = size >= 2 ? (size_t)(data[0] | data[1] << 8) : 0;
    const char *text = (const char *)data + 2;
    struct rlhf_model *m;

    if (size < 2 || config > size - 2)
        return 0;
    rlhf_model_free(rlhf_model_read(text, config, data + 2 + config, size - 2 - config, NULL));
    if ((m = rlhf_model_view(text, config, data + 2 + config, size - 2 - config, NULL, NULL, NULL)))
        rlhf_model_ready(m, NULL, NULL);
    rlhf_model_free(m);
    return 0;
}
