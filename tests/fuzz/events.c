/* Any bytes as an event file: read or refused; and any bytes as the payload of a record whose checks hold. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
#include "events/events.h"

static void on_scalar(void *ctx, const struct rlhf_event_scalar *s)
{
    RLHF_ASSERT(s->tag && (isnan(s->value) || s->value <= INFINITY));
    ++*(size_t *)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t scalars = 0;
    const struct rlhf_event_reader reader = {.scalar = on_scalar, .ctx = &scalars};
    struct rlhf_event_record r = {.length = size, .data = data};
    uint64_t offset = 0;

    rlhf_event_read(&r, &reader, NULL);
    while (rlhf_event_record(data, size, &offset, &r, NULL) > 0)
        rlhf_event_read(&r, &reader, NULL);
    return 0;
}
