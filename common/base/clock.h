/* clock.h - time as a dependency. Durations use the monotonic time only; wall time is for display. */
#ifndef RLHF_BASE_CLOCK_H
#define RLHF_BASE_CLOCK_H

#include <stdint.h>

struct rlhf_clock {
    int64_t (*monotonic_us)(const struct rlhf_clock *c);
    int64_t (*wall_us)(const struct rlhf_clock *c); /* since 1970, UTC */
};
static inline int64_t rlhf_now(const struct rlhf_clock *c)
{
    return c->monotonic_us(c);
}
extern const struct rlhf_clock rlhf_system_clock;

#endif
