/* A run on a real file system that fills up at any moment: it waits, loses nothing, and goes on when there is room. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "support/learner/tiny_run.h"
#include "support/mount.h"

enum { EVERY_CALL_US = 200000 }; /* a state inside a stage every few steps */

static const char *const results[] = { "checkpoints/pre/model.safetensors", "checkpoints/rm/model.safetensors",
                                       "checkpoints/ppo/model.safetensors", "evaluations/report/metrics.json",
                                       "metrics.jsonl" };
enum { RESULTS = 4, METRICS = 4 };

static struct local_port port;
static const char *world, *calm;
static char disk[400];
static uint64_t calm_calls, fill_at, waited, lines;
static void (*show)(struct learner_port *p, uint32_t stage, uint64_t step, uint64_t steps, uint64_t tokens,
                    const char *detail);

static uint64_t lines_of(const char *dir)
{
    FILE *f = fopen(in_directory(dir, results[METRICS]), "r");
    uint64_t n = 0;

    ck_assert_ptr_nonnull(f);
    for (int c; (c = fgetc(f)) != EOF;)
        n += c == '\n';
    fclose(f);
    return n;
}

/* Every byte that is left. */
static void fill(void)
{
    static const char zeros[4096];
    int fd = open(in_directory(disk, "other"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
    ck_assert_int_eq(errno, ENOSPC);
    close(fd);
}

/* Somebody fills the disk, and makes room once the run says that it waits. */
static void watch(struct learner_port *p, uint32_t stage, uint64_t step, uint64_t steps, uint64_t tokens,
                  const char *detail)
{
    show(p, stage, step, steps, tokens, detail);
    if (port.progress == fill_at)
        fill();
    if (strncmp(detail, "waiting for room", 16) == 0) {
        expect_contains(detail, disk); /* where */
        if (++waited % 2 == 0)
            unlink(in_directory(disk, "other"));
    }
}

static void calm_run(void)
{
    struct rlhf_error err = { 0 };

    tiny_place(&world, &calm);
    local_port_init(&port, tiny_utility);
    expect_ok(tiny_go(TINY_RUN, calm, world, &rlhf_system_io, &port, EVERY_CALL_US, &err), err);
    calm_calls = port.progress;
    lines = lines_of(calm);
}

/* 8 MiB at `disk`, gone with this process. */
static void mount_disk(void)
{
    struct rlhf_error err = { 0 };

    snprintf(disk, sizeof disk, "%s/disk", a_directory());
    expect_ok(rlhf_make_dirs(&rlhf_system_io, disk, &err), err);
    ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
    ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    ck_assert_msg(mount("small", disk, "tmpfs", 0, "size=8m") == 0, "mount: %s", strerror(errno));
}

static void on_a_small_disk(uint64_t at)
{
    struct rlhf_error err = { 0 };
    char dir[500];

    snprintf(dir, sizeof dir, "%s/run-%llu", disk, (unsigned long long)at);
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    show = port.port.progress;
    port.port.progress = watch;
    fill_at = at;
    expect_ok(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, EVERY_CALL_US, &err), err);
    for (size_t i = 0; i < RESULTS; i++) {
        struct rlhf_digest a = tiny_digest(dir, results[i]), b = tiny_digest(calm, results[i]);

        ck_assert_msg(rlhf_digest_equal(&a, &b), "%s differs after the disk was full at call %llu", results[i],
                      (unsigned long long)at);
    }
    ck_assert_uint_eq(lines_of(dir), lines);
    ck_assert_msg(!rlhf_exists(&rlhf_system_io, in_directory(dir, "reserved")), "the reservation is left behind");
    expect_ok(rlhf_remove_tree(&rlhf_system_io, dir, &err), err);
}

START_TEST(a_run_waits_for_room_and_ends_with_the_same_bits)
{
    unsigned waits = 0, fills = 0;

    mount_disk();
    for (uint64_t at = 1; at < calm_calls; at += calm_calls / 12 | 1, fills++) {
        waited = 0;
        on_a_small_disk(at);
        waits += waited > 0;
    }
    ck_assert_uint_ge(fills, 10);
    ck_assert_uint_ge(waits, fills - 1); /* the last step may need no more room */
}
END_TEST

START_TEST(a_learner_stopped_while_it_waits_for_room_goes_on_later)
{
    struct rlhf_error err = { 0 };
    char dir[500];

    mount_disk();
    snprintf(dir, sizeof dir, "%s/run", disk);
    local_port_free(&port);
    local_port_init(&port, tiny_utility);
    show = port.port.progress;
    port.port.progress = watch;
    fill_at = calm_calls / 2;
    port.stop_at = (unsigned)fill_at; /* asked to stop, and the disk is full */
    ck_assert_int_lt(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, EVERY_CALL_US, &err), 0);
    expect_code(err, RLHF_AGAIN);
    unlink(in_directory(disk, "other"));
    fill_at = 0;
    port.stop_at = 0;
    expect_ok(tiny_go(TINY_RUN, dir, world, &rlhf_system_io, &port, EVERY_CALL_US, &err), err);
    for (size_t i = 0; i < RESULTS; i++) {
        struct rlhf_digest a = tiny_digest(dir, results[i]), b = tiny_digest(calm, results[i]);

        ck_assert_msg(rlhf_digest_equal(&a, &b), "%s differs", results[i]);
    }
    expect_ok(rlhf_remove_tree(&rlhf_system_io, dir, &err), err);
}
END_TEST

int main(void)
{
    skip_without_tmpfs();
    setenv("RLHF_LOG", "error", 0);
    return RUN_SUITE_AFTER(calm_run, "learner/full", a_run_waits_for_room_and_ends_with_the_same_bits,
                           a_learner_stopped_while_it_waits_for_room_goes_on_later);
}
