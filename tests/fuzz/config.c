/* A configuration: what is accepted prints, and reads back. */
#include "base/check.h"
#include "config/run.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rlhf_bytes text = { 0 };
    struct rlhf_run run, back;

    if (rlhf_config_parse(&rlhf_run_schema, (const char *)data, size, "fuzz", &run, NULL) < 0)
        return 0;
    RLHF_ASSERT(rlhf_config_print(&rlhf_run_schema, &run, &text, NULL) == 0);
    RLHF_ASSERT(rlhf_config_parse(&rlhf_run_schema, text.data, text.size, "printed", &back, NULL) == 0);
    rlhf_config_free(&rlhf_run_schema, &back);
    rlhf_config_free(&rlhf_run_schema, &run);
    rlhf_bytes_free(&text);
    return 0;
}
