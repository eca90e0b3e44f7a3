/* One line of comparisons: what is accepted obeys the rules, and prints and reads back. */
#include <string.h>

#include "base/check.h"
#include "data/data.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rlhf_comparison c, back;
    struct rlhf_bytes line = { 0 };

    if (rlhf_comparison_parse(&c, (const char *)data, size, "fuzz:1", NULL) < 0)
        return 0;
    RLHF_ASSERT(c.count >= 2 && c.prompt);
    for (size_t i = 0; i < c.count; i++)
        RLHF_ASSERT(c.completion[i] && c.rank[i] >= 1 && c.rank[i] <= c.count);
    RLHF_ASSERT(rlhf_comparison_print(&c, &line, NULL) == 0);
    RLHF_ASSERT(rlhf_comparison_parse(&back, line.data, line.size, "fuzz:1", NULL) == 0);
    RLHF_ASSERT(back.count == c.count && strcmp(back.prompt, c.prompt) == 0);
    rlhf_comparison_free(&c);
    rlhf_comparison_free(&back);
    rlhf_bytes_free(&line);
    return 0;
}
