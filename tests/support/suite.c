#include "support/suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

enum { SECONDS = 600, SKIPPED = 77 };

static int run_case(const char *name, TCase *t, const TTest *const *tests)
{
    Suite *s = suite_create(name);
    SRunner *r = srunner_create(s);
    int failed;

    tcase_set_timeout(t, SECONDS);
    for (; *tests; tests++)
        tcase_add_test(t, *tests);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int run_suite(const char *name, void (*before)(void), const TTest *const *tests)
{
    TCase *t = tcase_create(name);

    if (before)
        tcase_add_unchecked_fixture(t, before, NULL);
    return run_case(name, t, tests);
}

int run_suite_with(const char *name, void (*setup)(void), void (*teardown)(void), const TTest *const *tests)
{
    TCase *t = tcase_create(name);

    tcase_add_checked_fixture(t, setup, teardown);
    return run_case(name, t, tests);
}

static char directory[256];
static pid_t owner;

static void remove_directory(void)
{
    if (getpid() == owner)
        rlhf_remove_tree(&rlhf_system_io, directory, NULL);
}

const char *a_directory(void)
{
    const char *below = getenv("TMPDIR");

    ck_assert_msg(owner != getpid(), "a test has one directory");
    snprintf(directory, sizeof directory, "%s/rlhf-test-XXXXXX", below && *below ? below : "/tmp");
    ck_assert_msg(mkdtemp(directory) != NULL, "cannot make %s", directory);
    owner = getpid();
    atexit(remove_directory);
    return directory;
}

const char *in_directory(const char *dir, const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

void skip(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    printf("skipped: ");
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _exit(SKIPPED);
}
