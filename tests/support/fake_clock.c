#include "support/fake_clock.h"

#include "base/check.h"

static int64_t monotonic_us(const struct rlhf_clock *c)
{
    return ((const struct fake_clock *)c)->now_us;
}

static int64_t wall_us(const struct rlhf_clock *c)
{
    const struct fake_clock *fake = (const struct fake_clock *)c;

    return fake->now_us + fake->wall_offset_us;
}

void fake_clock_init(struct fake_clock *c)
{
    *c = (struct fake_clock){
        .clock = { .monotonic_us = monotonic_us, .wall_us = wall_us },
        .now_us = 1000000,
        .wall_offset_us = INT64_C(1770000000) * 1000000,
    };
}

void fake_clock_advance(struct fake_clock *c, int64_t us)
{
    RLHF_ASSERT(us >= 0);
    c->now_us += us;
}
