/* fake_clock.h - time that moves when a test says so. */
#ifndef SUPPORT_FAKE_CLOCK_H
#define SUPPORT_FAKE_CLOCK_H

#include "base/clock.h"

struct fake_clock {
    struct rlhf_clock clock; /* first: &fake.clock is what is handed out */
    int64_t now_us;          /* monotonic */
    int64_t wall_offset_us;  /* wall = now + this; a test may make it jump (promise P8) */
};

/* Starts one second in, at a wall time of a day in 2026. */
void fake_clock_init(struct fake_clock *c);
void fake_clock_advance(struct fake_clock *c, int64_t us);

#endif
