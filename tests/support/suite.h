/* suite.h - the frame of a unit suite on Check: its main() in one line, and a few expectations.
 *
 *     int main(void)
 *     {
 *         return RUN_SUITE("net/lease", a_job_is_done_once, an_expired_lease_is_granted_again);
 *     }
 *
 * Tests run in forked children, with a generous time limit: it ends hangs, it measures nothing. */
#ifndef SUPPORT_SUITE_H
#define SUPPORT_SUITE_H

#include <check.h>

#include "base/error.h"

#define RUN_SUITE(name, ...) run_suite((name), NULL, (const TTest *const[]){ __VA_ARGS__, NULL })
/* before() runs once, in the parent of all tests: what it makes, every test sees as it was made. */
#define RUN_SUITE_AFTER(before, name, ...)                                                                   \
    run_suite((name), (before), (const TTest *const[]){ __VA_ARGS__, NULL })
/* setup() before and teardown() after every test, in the test's own process. */
#define RUN_SUITE_WITH(name, setup, teardown, ...)                                                           \
    run_suite_with((name), (setup), (teardown), (const TTest *const[]){ __VA_ARGS__, NULL })

/* The exit status of main(). */
int run_suite(const char *name, void (*before)(void), const TTest *const *tests);
int run_suite_with(const char *name, void (*setup)(void), void (*teardown)(void), const TTest *const *tests);

/* A failure with this code, its text in what is shown. */
#define expect_code(err, expected)                                                                           \
    ck_assert_msg((err).code == (expected), "%s expected, got %s: %s", rlhf_code_name(expected),             \
                  rlhf_code_name((err).code), (err).text)
/* A call that returned 0 (or a pointer that is not NULL). */
#define expect_ok(call, err) ck_assert_msg((call) == 0, "%s: %s", #call, (err).text)
#define expect_some(pointer, err) ck_assert_msg((pointer) != NULL, "%s: %s", #pointer, (err).text)
/* text is contained, so that messages can be checked without spelling them out. */
#define expect_contains(text, part)                                                                          \
    ck_assert_msg(strstr((text), (part)) != NULL, "\"%s\" does not contain \"%s\"", (text), (part))

/* A new directory below $TMPDIR, removed with all in it when the test's process exits. Static storage. */
const char *a_directory(void);

/* dir/name in static storage, for the next 8 calls. */
const char *in_directory(const char *dir, const char *name);

/* Ends the process with ctest's code for a skipped test, saying why. */
_Noreturn void skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
