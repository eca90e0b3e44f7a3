/* The real daemon on a real file system that is full: 507, nothing acknowledged is lost, and it goes on when
 * there is room. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/collector.h"
#include "support/mount.h"
#include "support/process.h"
#include "support/suite.h"

static char disk[320];

static void setup(void)
{
    const char *dir = a_directory();

    snprintf(disk, sizeof(disk), "%s/disk", dir);
    ck_assert_int_eq(mkdir(disk, 0700), 0);
    ck_assert_msg(mount("small", disk, "tmpfs", 0, "size=1m") == 0, "mount: %s", strerror(errno));
    collector_place(dir, in_directory(disk, "labels.db"));
    collector_start("");
}

static void teardown(void)
{
    end_process(collector_pid, SIGTERM);
    umount2(disk, MNT_DETACH);
}

static int submit(int number)
{
    char body[4096];

    sprintf(body,
            "{\"id\":\"%d\",\"labeler\":\"a\",\"prompt\":\"%02000d\",\"chosen\":\"x\",\"rejected\":\"y\"}",
            number, number);
    struct http_answer a = http_post(collector_address, "/api/v1/comparisons", body);
    int status = a.status;
    if (status == 507) {
        expect_contains(a.body, "disk_full");
        expect_contains(a.body, disk);
        expect_contains(a.head, "Retry-After");
    }
    http_answer_free(&a);
    return status;
}

static json_int_t stored(void)
{
    struct http_answer a = http_get(collector_address, "/api/v1/stats");
    json_t *json = json_loads(a.body ? a.body : "", 0, NULL);
    json_int_t n = json_integer_value(json_object_get(json, "labels"));

    ck_assert_int_eq(a.status, 200);
    json_decref(json);
    http_answer_free(&a);
    return n;
}

static int health(void)
{
    struct http_answer a = http_get(collector_address, "/healthz");
    int status = a.status;

    http_answer_free(&a);
    return status;
}

START_TEST(a_full_disk_is_answered_with_507_and_loses_nothing)
{
    int acknowledged = 0, refused = 0;

    while (acknowledged < 2000) {
        int status = submit(acknowledged);
        if (status == 507 && ++refused == 5)
            break;
        ck_assert_msg(status == 200 || status == 507, "status %d", status);
        acknowledged += status == 200;
    }
    ck_assert_int_eq(refused, 5);
    ck_assert_int_gt(acknowledged, 10);
    ck_assert_int_eq(health(), 503);
    ck_assert_int_eq(stored(), acknowledged); /* reading goes on */

    ck_assert_msg(mount("small", disk, "tmpfs", MS_REMOUNT, "size=8m") == 0, "remount: %s", strerror(errno));
    ck_assert_int_eq(submit(acknowledged), 200);
    ++acknowledged;
    ck_assert_int_eq(health(), 200);
    end_process(collector_pid, SIGKILL);
    collector_start("");
    ck_assert_int_eq(stored(), acknowledged);
}
END_TEST

START_TEST(a_daemon_killed_on_a_full_disk_starts_again)
{
    int acknowledged = 0;

    while (submit(acknowledged) == 200)
        ++acknowledged;
    end_process(collector_pid, SIGKILL);
    ck_assert_msg(mount("small", disk, "tmpfs", MS_REMOUNT, "size=8m") == 0, "remount: %s", strerror(errno));
    collector_start("");
    ck_assert_int_eq(stored(), acknowledged);
    ck_assert_int_eq(submit(acknowledged), 200);
}
END_TEST

int main(void)
{
    skip_without_tmpfs();
    return RUN_SUITE_WITH("label-collector/full", setup, teardown,
                          a_full_disk_is_answered_with_507_and_loses_nothing,
                          a_daemon_killed_on_a_full_disk_starts_again);
}
