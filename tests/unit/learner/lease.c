/* The lease table: every job counts once, whoever does it, however often. */
#include "learner/lease.h"

#include <check.h>
#include <stdlib.h>

static int64_t now_us;

static int64_t fake_now(const struct rlhf_clock *c)
{
    (void)c;
    return now_us;
}

static const struct rlhf_clock fake = { .monotonic_us = fake_now, .wall_us = fake_now };

static struct learner_leases *a_table(uint32_t attempts)
{
    struct learner_leases *t = learner_leases_new(&fake, 1000, attempts, NULL);

    ck_assert_ptr_nonnull(t);
    now_us = 1;
    return t;
}

START_TEST(first_result_counts_and_later_ones_are_late)
{
    struct learner_leases *t = a_table(5);
    struct learner_holder a = { 0 };
    size_t index[4];
    uint32_t attempt[4];
    uint64_t first;

    ck_assert_int_eq(learner_leases_open(t, 3, &first, NULL), 0);
    ck_assert_uint_eq(learner_leases_grant(t, &a, 2, index, attempt), 2);
    ck_assert_int_eq(learner_leases_done(t, first + 2), LEARNER_UNKNOWN); /* never given out */
    ck_assert_int_eq(learner_leases_done(t, first), LEARNER_FIRST);
    ck_assert_int_eq(learner_leases_done(t, first), LEARNER_LATE);
    ck_assert_int_eq(learner_leases_done(t, first + 99), LEARNER_UNKNOWN);
    ck_assert_uint_eq(a.held, 1);
    ck_assert_uint_eq(learner_leases_open_jobs(t), 2);
    learner_leases_free(t);
}
END_TEST

START_TEST(an_expired_lease_is_granted_again_and_its_first_holder_may_still_win)
{
    struct learner_leases *t = a_table(5);
    struct learner_holder a = { 0 }, b = { 0 };
    size_t index[4], at;
    uint32_t attempt[4];
    uint64_t first;

    ck_assert_int_eq(learner_leases_open(t, 2, &first, NULL), 0);
    ck_assert_uint_eq(learner_leases_grant(t, &a, 2, index, attempt), 2);
    now_us += 600;
    learner_leases_renew(t, &a, first + 1);
    learner_leases_renew(t, &b, first); /* not its holder: no effect */
    now_us += 600;
    ck_assert_uint_eq(learner_leases_expire(t), 1);
    ck_assert_uint_eq(learner_leases_grant(t, &b, 2, index, attempt), 1);
    ck_assert_uint_eq(index[0], 0);
    ck_assert_uint_eq(attempt[0], 2);
    ck_assert(learner_leases_wanted(t, first, &at));
    ck_assert_int_eq(learner_leases_done(t, first), LEARNER_FIRST); /* from a, too late for its lease but first */
    ck_assert_int_eq(learner_leases_done(t, first), LEARNER_LATE);  /* from b */
    ck_assert_uint_eq(b.held, 0);
    learner_leases_free(t);
}
END_TEST

START_TEST(a_lost_holder_gives_everything_back_and_only_that)
{
    struct learner_leases *t = a_table(5);
    struct learner_holder a = { 0 }, b = { 0 };
    size_t index[8];
    uint32_t attempt[8];
    uint64_t first;

    ck_assert_int_eq(learner_leases_open(t, 6, &first, NULL), 0);
    learner_leases_grant(t, &a, 2, index, attempt);
    learner_leases_grant(t, &b, 2, index, attempt);
    learner_leases_grant(t, &a, 2, index, attempt);
    learner_leases_return(t, &a, first + 2); /* b's: not a's to give */
    ck_assert_uint_eq(b.held, 2);
    learner_leases_done(t, first + 4);
    learner_leases_release(t, &a);
    ck_assert_uint_eq(a.held, 0);
    ck_assert_uint_eq(learner_leases_pending(t), 3);
    ck_assert_uint_eq(learner_leases_grant(t, &b, 8, index, attempt), 3);
    ck_assert_uint_eq(index[0], 0);
    ck_assert_uint_eq(index[1], 1);
    ck_assert_uint_eq(index[2], 5);
    learner_leases_free(t);
}
END_TEST

START_TEST(a_job_that_never_comes_home_is_set_aside)
{
    struct learner_leases *t = a_table(3);
    size_t index[1];
    uint32_t attempt[1];
    uint64_t first;

    ck_assert_int_eq(learner_leases_open(t, 1, &first, NULL), 0);
    for (uint32_t i = 1; i <= 3; i++) {
        struct learner_holder dying = { 0 };

        ck_assert_uint_eq(learner_leases_grant(t, &dying, 1, index, attempt), 1);
        ck_assert_uint_eq(attempt[0], i);
        learner_leases_release(t, &dying);
    }
    ck_assert_uint_eq(learner_leases_open_jobs(t), 0);
    ck_assert(learner_leases_is_aside(t, 0));
    ck_assert_int_eq(learner_leases_done(t, first), LEARNER_LATE);
    learner_leases_free(t);
}
END_TEST

START_TEST(results_of_an_earlier_action_are_late)
{
    struct learner_leases *t = a_table(3);
    struct learner_holder a = { 0 };
    size_t index[2];
    uint32_t attempt[2];
    uint64_t first, second;

    ck_assert_int_eq(learner_leases_open(t, 2, &first, NULL), 0);
    learner_leases_grant(t, &a, 2, index, attempt);
    ck_assert_int_eq(learner_leases_open(t, 2, &second, NULL), 0);
    ck_assert_uint_eq(a.held, 0);
    ck_assert_uint_eq(second, first + 2);
    ck_assert_int_eq(learner_leases_done(t, first), LEARNER_LATE);
    ck_assert_uint_eq(learner_leases_open_jobs(t), 2);
    learner_leases_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lease");
    TCase *c = tcase_create("lease");
    SRunner *r;
    int failed;

    tcase_add_test(c, first_result_counts_and_later_ones_are_late);
    tcase_add_test(c, an_expired_lease_is_granted_again_and_its_first_holder_may_still_win);
    tcase_add_test(c, a_lost_holder_gives_everything_back_and_only_that);
    tcase_add_test(c, a_job_that_never_comes_home_is_set_aside);
    tcase_add_test(c, results_of_an_earlier_action_are_late);
    suite_add_tcase(s, c);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
