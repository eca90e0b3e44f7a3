/* How often somebody may do something. */
#include "label-collector/throttle.h"

#include <stdio.h>

#include "support/fake_clock.h"
#include "support/suite.h"

static struct fake_clock fake;
static struct rlhf_error err;

static struct collector_throttle *a_throttle(double per_second, double burst)
{
    fake_clock_init(&fake);
    struct collector_throttle *t = collector_throttle_new(&fake.clock, per_second, burst, &err);
    expect_some(t, err);
    return t;
}

START_TEST(permits_run_out_and_come_back_with_time)
{
    struct collector_throttle *t = a_throttle(0.5, 3);

    for (int i = 0; i < 3; ++i)
        ck_assert_uint_eq(collector_throttle_take(t, "a"), 0);
    ck_assert_uint_eq(collector_throttle_take(t, "a"), 2);
    ck_assert_uint_eq(collector_throttle_wait(t, "a"), 2); /* refusals cost nothing */
    fake_clock_advance(&fake, 1000000);
    ck_assert_uint_eq(collector_throttle_take(t, "a"), 1);
    fake_clock_advance(&fake, 1000000);
    ck_assert_uint_eq(collector_throttle_take(t, "a"), 0);
    fake_clock_advance(&fake, 3600 * 1000000ll);
    for (int i = 0; i < 3; ++i) /* no more is saved up */
        ck_assert_uint_eq(collector_throttle_take(t, "a"), 0);
    ck_assert_uint_ne(collector_throttle_take(t, "a"), 0);
    collector_throttle_free(t);
}
END_TEST

START_TEST(names_do_not_share)
{
    struct collector_throttle *t = a_throttle(1, 1);
    char name[32];

    for (int i = 0; i < 1000; ++i) {
        snprintf(name, sizeof(name), "address %d", i);
        ck_assert_uint_eq(collector_throttle_take(t, name), 0);
        ck_assert_uint_eq(collector_throttle_take(t, name), 1);
    }
    collector_throttle_free(t);
}
END_TEST

/* Thousands of names pass through the room for some: whoever asks all the time is not the one forgotten. */
START_TEST(who_asks_all_the_time_is_remembered)
{
    struct collector_throttle *t = a_throttle(0.001, 1);
    char name[32];

    ck_assert_uint_eq(collector_throttle_take(t, "busy"), 0);
    for (int i = 0; i < 100000; ++i) {
        fake_clock_advance(&fake, 1);
        snprintf(name, sizeof(name), "passer %d", i);
        collector_throttle_take(t, name);
        ck_assert_uint_ne(collector_throttle_wait(t, "busy"), 0);
    }
    collector_throttle_free(t);
}
END_TEST

int main(void)
{
    return RUN_SUITE("label-collector/throttle", permits_run_out_and_come_back_with_time, names_do_not_share,
                     who_asks_all_the_time_is_remembered);
}
