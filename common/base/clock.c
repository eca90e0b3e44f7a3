#include "base/clock.h"

#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t monotonic_us(const struct rlhf_clock *c)
{
    (void)c;
    return read_us(CLOCK_MONOTONIC);
}

static int64_t wall_us(const struct rlhf_clock *c)
{
    (void)c;
    return read_us(CLOCK_REALTIME);
}

const struct rlhf_clock rlhf_system_clock = { .monotonic_us = monotonic_us, .wall_us = wall_us };
