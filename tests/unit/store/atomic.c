/* Directories and files that are there whole or not at all, on a disk that fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"
#include "support/fake_disk.h"
#include "support/suite.h"

static struct rlhf_error err;

/* Puts generation g of a checkpoint in place: three files whose bytes tell the generation. */
static int publish(const struct rlhf_io *io, int g)
{
    struct rlhf_atomic_dir *a = rlhf_atomic_begin(io, "run/checkpoint", &err);
    char text[2000];

    if (!a)
        return -1;
    memset(text, 'a' + g, sizeof text);
    for (int i = 0; i < 3; i++) {
        const char *const names[] = { "config.json", "model safetensors", "state" };

        if (rlhf_atomic_put(a, names[i], text, (size_t)(i * 700 + g), &err) < 0) {
            rlhf_atomic_abort(a);
            return -1;
        }
    }
    return rlhf_atomic_commit(a, &err);
}

/* The generation in place, verified; -1 when there is none. */
static int generation(const struct rlhf_io *io)
{
    struct rlhf_bytes text = { 0 };
    int g = -1;

    memset(&err, 0, sizeof err);
    if (rlhf_atomic_verify(io, "run/checkpoint", &err) == 0
        && rlhf_read_file(io, "run/checkpoint/state", 5000, &text, &err) == 0)
        g = text.data[0] - 'a';
    rlhf_bytes_free(&text);
    return g;
}

START_TEST(a_directory_is_replaced_whole)
{
    struct fake_disk disk;
    struct rlhf_bytes names = { 0 };

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    for (int g = 1; g < 4; g++) {
        expect_ok(publish(&disk.io, g), err);
        ck_assert_int_eq(generation(&disk.io), g);
        fake_disk_reboot(&disk); /* nothing was left to chance */
        ck_assert_int_eq(generation(&disk.io), g);
    }
    ck_assert_int_eq(disk.io.list(&disk.io, "run", &names), 0);
    ck_assert_str_eq(names.data, "checkpoint\n");
    rlhf_bytes_free(&names);
    fake_disk_free(&disk);
}
END_TEST

START_TEST(after_any_power_cut_the_old_or_the_new_directory_is_whole)
{
    struct fake_disk disk;
    unsigned cut = 0;
    bool fired;

    do {
        cut++;
        for (unsigned variant = 0; variant < 8; variant++) {
            int after, done;

            fake_disk_init(&disk, FAKE_NOTHING, 0);
            expect_ok(publish(&disk.io, 1), err);
            fake_disk_arm(&disk, FAKE_POWER_CUT, cut);
            fake_disk_seed(&disk, cut * 100 + variant);
            done = publish(&disk.io, 2);
            fired = disk.fired;
            fake_disk_reboot(&disk);
            after = generation(&disk.io);
            ck_assert_msg(after == 2 || (after == 1 && done < 0), "cut %u.%u: %d %s", cut, variant, after, err.text);
            /* And the next one succeeds over whatever was left. */
            expect_ok(publish(&disk.io, 3), err);
            fake_disk_reboot(&disk);
            ck_assert_int_eq(generation(&disk.io), 3);
            fake_disk_free(&disk);
        }
    } while (fired);
    ck_assert_uint_gt(cut, 20);
}
END_TEST

START_TEST(any_failing_call_leaves_the_old_directory_or_the_new)
{
    static const enum fake_fault faults[] = { FAKE_EIO, FAKE_ENOSPC };

    for (size_t f = 0; f < 2; f++) {
        struct fake_disk disk;
        unsigned at = 0;
        bool fired;

        do {
            int done;

            fake_disk_init(&disk, FAKE_NOTHING, 0);
            expect_ok(publish(&disk.io, 1), err);
            fake_disk_arm(&disk, faults[f], ++at);
            memset(&err, 0, sizeof err);
            done = publish(&disk.io, 2);
            fired = disk.fired;
            if (fired && faults[f] == FAKE_ENOSPC)
                expect_code(err, RLHF_FULL);
            fake_disk_arm(&disk, FAKE_NOTHING, 0);
            if (done == 0)
                ck_assert_int_eq(generation(&disk.io), 2);
            else
                ck_assert_int_ge(generation(&disk.io), 1);
            fake_disk_free(&disk);
        } while (fired);
    }
}
END_TEST

START_TEST(any_damage_to_a_directory_is_named)
{
    static const char *const files[] = { "MANIFEST", "config.json", "model safetensors", "state" };
    struct fake_disk disk;

    for (size_t f = 0; f < 4; f++) {
        const char *path = in_directory("run/checkpoint", files[f]);
        size_t size;

        fake_disk_init(&disk, FAKE_NOTHING, 0);
        expect_ok(publish(&disk.io, 5), err);
        size = fake_disk_size(&disk, path);
        for (size_t byte = 0; byte < size; byte++) {
            fake_disk_flip(&disk, path, byte, 4);
            if (generation(&disk.io) != -1 || err.code != RLHF_CORRUPT || !strstr(err.text, files[f]))
                ck_abort_msg("%s byte %zu: %s", path, byte, err.text);
            fake_disk_flip(&disk, path, byte, 4);
        }
        ck_assert_int_eq(generation(&disk.io), 5);
        while (size-- > 0) {
            fake_disk_cut(&disk, path, size);
            if (generation(&disk.io) != -1 || err.code != RLHF_CORRUPT || !strstr(err.text, files[f]))
                ck_abort_msg("%s cut to %zu: %s", path, size, err.text);
        }
        ck_assert_int_eq(disk.io.unlink(&disk.io, path), 0);
        ck_assert_int_eq(generation(&disk.io), -1);
        expect_code(err, RLHF_CORRUPT);
        expect_contains(err.text, files[f]);
        fake_disk_free(&disk);
    }
}
END_TEST

START_TEST(a_file_too_many_and_no_directory_are_told_apart)
{
    struct fake_disk disk;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    ck_assert_int_eq(generation(&disk.io), -1);
    expect_code(err, RLHF_REJECT);
    expect_ok(publish(&disk.io, 1), err);
    expect_ok(rlhf_write_file(&disk.io, "run/checkpoint/json", "x", 1, &err), err);
    ck_assert_int_eq(generation(&disk.io), -1);
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "run/checkpoint/json is not in the manifest");
    fake_disk_free(&disk);
}
END_TEST

START_TEST(files_written_by_others_belong_to_it)
{
    struct fake_disk disk;
    struct rlhf_atomic_dir *a;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    a = rlhf_atomic_begin(&disk.io, "d", &err);
    expect_some(a, err);
    ck_assert_str_eq(rlhf_atomic_path(a), "d.tmp");
    expect_ok(rlhf_write_file(&disk.io, "d.tmp/other", "bytes", 5, &err), err);
    expect_ok(rlhf_atomic_put(a, "mine", "", 0, &err), err);
    expect_ok(rlhf_atomic_commit(a, &err), err);
    expect_ok(rlhf_atomic_verify(&disk.io, "d/", &err), err);
    ck_assert_uint_eq(fake_disk_size(&disk, "d/other"), 5);
    fake_disk_free(&disk);
}
END_TEST

START_TEST(names_that_lead_elsewhere_are_refused)
{
    static const char *const names[] = { "", ".", "..", "a/b", "../x", "MANIFEST", "a\nb", " a" };
    struct fake_disk disk;
    struct rlhf_atomic_dir *a;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    a = rlhf_atomic_begin(&disk.io, "d", &err);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ck_assert_int_eq(rlhf_atomic_put(a, names[i], "x", 1, &err), -1);
        expect_code(err, RLHF_REJECT);
    }
    rlhf_atomic_abort(a);
    rlhf_atomic_abort(NULL);
    ck_assert(!rlhf_exists(&disk.io, "d.tmp"));
    fake_disk_free(&disk);
}
END_TEST

START_TEST(damaged_directories_are_set_aside_not_overwritten)
{
    struct fake_disk disk;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    for (int g = 1; g < 4; g++) {
        expect_ok(publish(&disk.io, g), err);
        expect_ok(rlhf_set_aside(&disk.io, "run/checkpoint", &err), err);
        ck_assert_int_eq(generation(&disk.io), -1);
    }
    ck_assert_uint_eq(fake_disk_size(&disk, "run/checkpoint.damaged-1/state"), 1401);
    ck_assert_uint_eq(fake_disk_size(&disk, "run/checkpoint.damaged-3/state"), 1403);
    ck_assert_int_eq(rlhf_set_aside(&disk.io, "run/none", &err), -1);
    expect_code(err, RLHF_REJECT);
    fake_disk_free(&disk);
}
END_TEST

/* rlhf_write_file() of the base room makes the same promise for one file. */
START_TEST(a_file_is_the_old_or_the_new_one_after_any_power_cut)
{
    static char old[1500], new[2600];
    struct fake_disk disk;
    unsigned cut = 0;
    bool fired;

    memset(old, 'o', sizeof old);
    memset(new, 'n', sizeof new);
    do {
        cut++;
        for (unsigned variant = 0; variant < 8; variant++) {
            struct rlhf_bytes text = { 0 };
            int done;

            fake_disk_init(&disk, FAKE_NOTHING, 0);
            expect_ok(rlhf_write_file(&disk.io, "file", old, sizeof old, &err), err);
            fake_disk_arm(&disk, FAKE_POWER_CUT, cut);
            fake_disk_seed(&disk, cut * 100 + variant);
            done = rlhf_write_file(&disk.io, "file", new, sizeof new, &err);
            fired = disk.fired;
            fake_disk_reboot(&disk);
            expect_ok(rlhf_read_file(&disk.io, "file", 10000, &text, &err), err);
            if (done == 0 || text.size == sizeof new)
                ck_assert(text.size == sizeof new && memcmp(text.data, new, sizeof new) == 0);
            else
                ck_assert(text.size == sizeof old && memcmp(text.data, old, sizeof old) == 0);
            rlhf_bytes_free(&text);
            fake_disk_free(&disk);
        }
    } while (fired);
    ck_assert_uint_gt(cut, 5);
}
END_TEST

int main(void)
{
    setenv("RLHF_LOG", "error", 1);
    return RUN_SUITE("store/atomic", a_directory_is_replaced_whole,
                     after_any_power_cut_the_old_or_the_new_directory_is_whole,
                     any_failing_call_leaves_the_old_directory_or_the_new, any_damage_to_a_directory_is_named,
                     a_file_too_many_and_no_directory_are_told_apart, files_written_by_others_belong_to_it,
                     names_that_lead_elsewhere_are_refused, damaged_directories_are_set_aside_not_overwritten,
                     a_file_is_the_old_or_the_new_one_after_any_power_cut);
}
