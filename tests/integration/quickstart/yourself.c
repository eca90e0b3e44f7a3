/* deploy/quickstart.sh --yourself, small: a person judges in a real Chromium what the models of both rounds wrote, pair by pair
 * with the keyboard, and the learner trains on just that. */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/browser.h"
#include "support/process.h"
#include "support/suite.h"

enum { PAIRS = 6, GIVE_UP_S = 400, POLL_MS = 20 };

static char run[320], address[128];
static pid_t script;

/* In a process group of its own, which ends with the test. */
static void start_script(const char *base, const char *yaml)
{
    char path[600], count[8];

    snprintf(path, sizeof path, "%s/deploy/quickstart.sh", getenv("RLHF_SOURCE"));
    snprintf(count, sizeof count, "%d", PAIRS);
    setenv("QUICKSTART_YAML", yaml, 1);
    setenv("RLHF_BIN", getenv("RLHF_BUILD"), 1);
    const char *log = in_directory(base, "out");
    script = fork();
    if (script != 0) {
        ck_assert_int_gt(script, 0);
        return;
    }
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execlp("bash", "bash", path, "--yourself", "--count", count, "--dir", run, "--port", "0", (char *)NULL);
    _exit(127);
}

static bool is_there(const char *name)
{
    return access(in_directory(run, name), F_OK) == 0;
}

/* One key, if there is a pair to judge, and the next pair or none is awaited. */
static bool judge(unsigned number)
{
    char condition[200];

    if (!browser_holds("document.querySelectorAll('.answer .text').length === 2 && document.querySelector('#choose-a')"))
        return false;
    json_t *before = browser_script("return window.judged = document.querySelector('.answer')");
    json_decref(before);
    if (number == 1)
        browser_screenshot("yourself");
    browser_press(number % 3 ? "a" : "b");
    snprintf(condition, sizeof condition, "document.querySelector('.answer') !== window.judged");
    browser_wait_until(condition);
    return true;
}

/* Who judged the lines of a round's file. */
static size_t judged_by(const char *file, const char *labeler)
{
    FILE *f = fopen(in_directory(run, file), "r");
    size_t count = 0;
    json_t *line;

    ck_assert_msg(f != NULL, "%s is not there", file);
    while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL))) {
        ck_assert_str_eq(json_string_value(json_object_get(line, "labeler")), labeler);
        ck_assert_str_eq(json_string_value(json_object_get(line, "source")), "page");
        ck_assert_uint_eq(json_array_size(json_object_get(line, "completions")), 2);
        json_decref(line);
        ++count;
    }
    fclose(f);
    return count;
}

START_TEST(a_person_on_the_page_is_all_the_labelers_there_are)
{
    const char *base = a_directory();
    char command[800], url[200], yaml[400];
    unsigned pairs = 0;
    time_t begun = time(NULL);

    snprintf(run, sizeof run, "%s/run", base);
    snprintf(yaml, sizeof yaml, "%s/small.yaml", base);
    snprintf(command, sizeof command, "'%s/tests/integration/quickstart/small_yaml.sh' '%s'", getenv("RLHF_SOURCE"), yaml);
    ck_assert_int_eq(system(command), 0);
    start_script(base, yaml);
    wait_for_file(in_directory(run, "labels.http"), address, sizeof address, script, in_directory(base, "out"));
    snprintf(url, sizeof url, "%s/?labeler=ada", address);
    browser_start(base);
    browser_open(url);
    while (!is_there("comparisons/comparisons-2.jsonl")) {
        ck_assert_msg(waitpid(script, NULL, WNOHANG) == 0, "the quickstart has ended; see %s/out", base);
        ck_assert_msg(time(NULL) - begun < GIVE_UP_S, "after %u pairs there is no second round", pairs);
        if (judge(pairs))
            ++pairs;
        else
            nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000 }, NULL);
    }
    browser_stop();
    ck_assert_uint_eq(judged_by("comparisons/comparisons-1.jsonl", "ada"), PAIRS);
    ck_assert_uint_eq(judged_by("comparisons/comparisons-2.jsonl", "ada"), PAIRS);
    ck_assert_uint_eq(pairs, 2 * PAIRS);
    ck_assert(is_there("checkpoints/reward-1/labels.jsonl"));
    kill(-script, SIGTERM); /* the rest needs nobody */
    wait_for_end(script);
}
END_TEST

int main(void)
{
#if defined(__SANITIZE_ADDRESS__)
    skip("the whole recipe takes minutes under sanitizers; integration/learner/click has a person there");
#endif
    browser_or_skip();
    return RUN_SUITE("quickstart/yourself", a_person_on_the_page_is_all_the_labelers_there_are);
}
