#include <check.h>
#include <stdlib.h>

#include "rl/schedule.h"

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
    Suite *suite = suite_create("schedule");
    TCase *tc = tcase_create("schedule");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tc, a_warm_up_rises_from_its_first_multiplier_to_one);
    tcase_add_test(tc, linear_and_cosine_fall_to_the_final_multiplier_and_stay_there);
    suite_add_tcase(suite, tc);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
