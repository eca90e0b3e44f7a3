#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/suite.h"

static const struct rlhf_io *const io = &rlhf_system_io;
static struct rlhf_error err;

START_TEST(a_file_comes_back_as_it_was_written)
{
    const char *path = in_directory(a_directory(), "file");
    static char data[100000];
    struct rlhf_bytes back = { 0 };

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 31);
    for (size_t size = 0; size <= sizeof data; size = size * 3 + 1) {
        expect_ok(rlhf_write_file(io, path, data, size, &err), err);
        rlhf_bytes_clear(&back);
        expect_ok(rlhf_bytes_append(&back, "before", 6, &err), err);
        expect_ok(rlhf_read_file(io, path, sizeof data, &back, &err), err);
        ck_assert_uint_eq(back.size, 6 + size);
        ck_assert_mem_eq(back.data, "before", 6);
        ck_assert_mem_eq(back.data + 6, data, size);
    }
    rlhf_bytes_free(&back);
}
END_TEST

START_TEST(nothing_is_left_aside_after_a_write)
{
    const char *dir = a_directory();
    struct rlhf_bytes names = { 0 };

    expect_ok(rlhf_write_file(io, in_directory(dir, "b"), "1", 1, &err), err);
    expect_ok(rlhf_write_file(io, in_directory(dir, "a"), "2", 1, &err), err);
    ck_assert_int_eq(io->list(io, dir, &names), 0);
    ck_assert_str_eq(names.data, "a\nb\n");
    rlhf_bytes_free(&names);
}
END_TEST

START_TEST(errors_name_the_path_and_the_reason)
{
    const char *dir = a_directory();
    struct rlhf_bytes out = { 0 };

    ck_assert_int_eq(rlhf_read_file(io, in_directory(dir, "missing"), 10, &out, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "missing");
    expect_contains(err.text, "No such file");
    ck_assert_int_eq(rlhf_read_file(io, dir, 10, &out, &err), -1);
    expect_contains(err.text, "Is a directory");
    ck_assert_int_eq(rlhf_write_file(io, in_directory(dir, "no/such"), "x", 1, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_ok(rlhf_write_file(io, in_directory(dir, "big"), "0123456789a", 11, &err), err);
    ck_assert_int_eq(rlhf_read_file(io, in_directory(dir, "big"), 10, &out, &err), -1);
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "larger than 10 bytes");
    ck_assert_ptr_null(out.data);
}
END_TEST

START_TEST(sizeless_files_are_read_to_their_end)
{
    struct rlhf_bytes out = { 0 };

    expect_ok(rlhf_read_file(io, "/proc/self/status", 1 << 20, &out, &err), err);
    expect_contains(out.data, "Pid:");
    rlhf_bytes_free(&out);
}
END_TEST

START_TEST(directories_are_made_and_removed_in_depth)
{
    const char *dir = a_directory(), *top = in_directory(dir, "a");

    expect_ok(rlhf_make_dirs(io, in_directory(dir, "a/b//c/"), &err), err);
    expect_ok(rlhf_make_dirs(io, in_directory(dir, "a/b/c"), &err), err);
    expect_ok(rlhf_write_file(io, in_directory(dir, "a/b/c/file"), "x", 1, &err), err);
    expect_ok(rlhf_write_file(io, in_directory(dir, "a/b/other"), "x", 1, &err), err);
    ck_assert_int_eq(symlink("/", in_directory(dir, "a/b/root")), 0); /* never followed */
    ck_assert_int_eq(rlhf_make_dirs(io, in_directory(dir, "a/b/other"), &err), -1);
    ck_assert_int_eq(rlhf_make_dirs(io, in_directory(dir, "a/b/other/below"), &err), -1);
    expect_contains(err.text, "other");
    ck_assert_int_eq(rlhf_make_dirs(io, "", &err), -1);
    ck_assert(rlhf_exists(io, in_directory(dir, "a/b/c/file")));
    expect_ok(rlhf_remove_tree(io, top, &err), err);
    ck_assert(!rlhf_exists(io, top));
    ck_assert(rlhf_exists(io, "/tmp"));
    expect_ok(rlhf_remove_tree(io, top, &err), err);
}
END_TEST

START_TEST(a_tree_beyond_all_measure_is_refused_not_walked)
{
    const char *dir = a_directory();
    char path[512];

    snprintf(path, sizeof path, "%s/d", dir);
    for (int i = 0; i < 80; i++)
        strcat(path, "/d");
    expect_ok(rlhf_make_dirs(io, path, &err), err);
    ck_assert_int_eq(rlhf_remove_tree(io, in_directory(dir, "d"), &err), -1);
    expect_code(err, RLHF_REJECT);
    strcpy(path, dir);
    for (int i = 0; i < 40; i++)
        strcat(path, "/d");
    expect_ok(rlhf_remove_tree(io, path, &err), err);
}
END_TEST

START_TEST(a_mapping_shows_the_file)
{
    const char *dir = a_directory(), *path = in_directory(dir, "file");
    struct rlhf_mapping m = { 0 };

    expect_ok(rlhf_write_file(io, path, "weights", 7, &err), err);
    expect_ok(rlhf_map_file(&m, path, &err), err);
    ck_assert_uint_eq(m.size, 7);
    ck_assert_mem_eq(m.data, "weights", 7);
    rlhf_unmap(&m);
    ck_assert_ptr_null(m.data);
    expect_ok(rlhf_write_file(io, path, "", 0, &err), err);
    expect_ok(rlhf_map_file(&m, path, &err), err);
    ck_assert_uint_eq(m.size, 0);
    rlhf_unmap(&m);
    ck_assert_int_eq(rlhf_map_file(&m, dir, &err), -1);
    ck_assert_int_eq(rlhf_map_file(&m, in_directory(dir, "none"), &err), -1);
    expect_code(err, RLHF_REJECT);
}
END_TEST

START_TEST(paths_are_joined_with_one_slash)
{
    char out[8];

    expect_ok(rlhf_path(out, sizeof out, "ab", "cd", &err), err);
    ck_assert_str_eq(out, "ab/cd");
    expect_ok(rlhf_path(out, sizeof out, "/", "cd", &err), err);
    ck_assert_str_eq(out, "/cd");
    expect_ok(rlhf_path(out, sizeof out, "", "cd", &err), err);
    ck_assert_str_eq(out, "cd");
    ck_assert_int_eq(rlhf_path(out, sizeof out, "abcd", "efg", &err), -1);
    expect_code(err, RLHF_REJECT);
}
END_TEST

/* A disk that gives and takes one byte a call, interrupted every other time. */
static ssize_t tiny_pread(const struct rlhf_io *self, int fd, void *data, size_t size, off_t offset)
{
    static unsigned calls;

    (void)self;
    if (calls++ % 2) {
        errno = EINTR;
        return -1;
    }
    return pread(fd, data, size ? 1 : 0, offset);
}

static ssize_t tiny_pwrite(const struct rlhf_io *self, int fd, const void *data, size_t size, off_t offset)
{
    static unsigned calls;

    (void)self;
    if (calls++ % 2) {
        errno = EINTR;
        return -1;
    }
    return pwrite(fd, data, size ? 1 : 0, offset);
}

static int failing_fsync(const struct rlhf_io *self, int fd)
{
    (void)self;
    (void)fd;
    errno = EIO;
    return -1;
}

START_TEST(short_and_interrupted_calls_are_finished)
{
    const char *path = in_directory(a_directory(), "file");
    struct rlhf_io tiny = rlhf_system_io;
    struct rlhf_bytes out = { 0 };

    tiny.pread = tiny_pread;
    tiny.pwrite = tiny_pwrite;
    expect_ok(rlhf_write_file(&tiny, path, "a longer text", 13, &err), err);
    expect_ok(rlhf_read_file(&tiny, path, 100, &out, &err), err);
    ck_assert_str_eq(out.data, "a longer text");
    rlhf_bytes_free(&out);
}
END_TEST

START_TEST(a_failed_sync_is_fatal_and_leaves_the_old_file)
{
    const char *dir = a_directory(), *path = in_directory(dir, "file");
    struct rlhf_io bad = rlhf_system_io;
    struct rlhf_bytes out = { 0 };

    bad.fsync = failing_fsync;
    expect_ok(rlhf_write_file(io, path, "old", 3, &err), err);
    ck_assert_int_eq(rlhf_write_file(&bad, path, "new", 3, &err), -1);
    expect_code(err, RLHF_FATAL);
    expect_ok(rlhf_read_file(io, path, 100, &out, &err), err);
    ck_assert_str_eq(out.data, "old");
    ck_assert(!rlhf_exists(io, in_directory(dir, "file.tmp")));
    rlhf_bytes_free(&out);
}
END_TEST

START_TEST(the_clock_goes_forward)
{
    int64_t before = rlhf_now(&rlhf_system_clock);

    ck_assert_int_ge(rlhf_now(&rlhf_system_clock), before);
    ck_assert_int_gt(rlhf_system_clock.wall_us(&rlhf_system_clock), INT64_C(1600000000) * 1000000);
}
END_TEST

int main(void)
{
    return RUN_SUITE("base/io", a_file_comes_back_as_it_was_written, nothing_is_left_aside_after_a_write,
                     errors_name_the_path_and_the_reason, sizeless_files_are_read_to_their_end,
                     directories_are_made_and_removed_in_depth, a_tree_beyond_all_measure_is_refused_not_walked,
                     a_mapping_shows_the_file, paths_are_joined_with_one_slash,
                     short_and_interrupted_calls_are_finished, a_failed_sync_is_fatal_and_leaves_the_old_file,
                     the_clock_goes_forward);
}
