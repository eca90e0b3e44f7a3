/* config.json: what is accepted obeys the rules, and prints and reads back. */
#include "base/check.h"
#include "fuzz.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rlhf_model_config c, back;
    struct rlhf_bytes json = { 0 };

    if (rlhf_model_config_parse(&c, (const char *)data, size, NULL) < 0)
        return 0;
    RLHF_ASSERT(rlhf_model_config_print(&c, &json, NULL) == 0);
    RLHF_ASSERT(rlhf_model_config_parse(&back, json.data, json.size, NULL) == 0);
    rlhf_bytes_free(&json);
    return 0;
}
