/* Chat templates: any source parses or is refused, and what parses renders within its bounds, without a fault. */
#include <jansson.h>
#include <string.h>

#include "base/check.h"
#include "base/text.h"
#include "chat/template.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char given[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\" h\\u00e9 \"},"
        "{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1.5}}}]}],"
        "\"tools\":[{\"function\":{\"name\":\"f\"}}],\"add_generation_prompt\":true,\"bos_token\":\"<s>\"}";
    struct rlhf_template *t = rlhf_template_new((const char *)data, size, "fuzz", NULL);
    struct rlhf_rendered out = { 0 };
    struct rlhf_error err = { 0 };
    json_t *variables;

    if (!t)
        return 0;
    variables = json_loads(given, 0, NULL);
    if (rlhf_template_render(t, variables, 0, &out, &err) == 0) {
        RLHF_ASSERT(rlhf_utf8_valid(out.text.data, out.text.size));
        for (size_t i = 0; i < out.generated_count; i++)
            RLHF_ASSERT(out.generated[i].start <= out.generated[i].end);
    } else
        RLHF_ASSERT(err.code != RLHF_OK);
    rlhf_rendered_free(&out);
    json_decref(variables);
    rlhf_template_free(t);
    return 0;
}
