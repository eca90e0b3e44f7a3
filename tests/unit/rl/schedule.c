#include "rl/schedule.h"
#include "support/suite.h"

START_TEST(a_warm_up_rises_from_its_first_multiplier_to_one)
{
    struct rlhf_schedule_settings s = {.warmup = 4, .total = 10, .warmup_from = 0.1};

    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 0), 0.1, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 2), 0.55, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 4), 1, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 9), 1, 1e-12);
}
END_TEST

START_TEST(linear_and_cosine_fall_to_the_final_multiplier_and_stay_there)
{
    struct rlhf_schedule_settings s = {.kind = RLHF_SCHEDULE_LINEAR, .total = 10, .final = 0.1};

    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 0), 1, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 5), 0.55, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 10), 0.1, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 99), 0.1, 1e-12);
    s.kind = RLHF_SCHEDULE_COSINE;
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 0), 1, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 5), 0.55, 1e-12);
    ck_assert_double_eq_tol(rlhf_schedule_at(&s, 99), 0.1, 1e-12);
}
END_TEST

int main(void)
{
    return RUN_SUITE("rl/schedule", a_warm_up_rises_from_its_first_multiplier_to_one,
                     linear_and_cosine_fall_to_the_final_multiplier_and_stay_there);
}
