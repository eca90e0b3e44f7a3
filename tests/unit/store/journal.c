/* The journal on a disk that loses power, fills up, fails and rots. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"
#include "support/fake_disk.h"
#include "support/suite.h"

enum { RECORDS = 24, LONGEST = 1500 };

static struct rlhf_error err;

/* Record i has a size and bytes of its own: some empty, some beyond a sector. */
static size_t record_bytes(size_t i, uint8_t bytes[LONGEST])
{
    size_t size = i * i * 37 % LONGEST * (i % 5 != 0);

    for (size_t k = 0; k < size; k++)
        bytes[k] = (uint8_t)(i * 131 + k * 7);
    return size;
}

struct reader {
    size_t count;
    size_t stop_at; /* replay fails there; 0: nowhere */
};

static int read_record(void *ctx, const void *record, size_t size, struct rlhf_error *e)
{
    struct reader *r = ctx;
    uint8_t expected[LONGEST];

    if (r->stop_at && r->count == r->stop_at)
        return rlhf_fail(e, RLHF_REJECT, "not this one");
    ck_assert_uint_eq(size, record_bytes(r->count, expected));
    if (size)
        ck_assert_mem_eq(record, expected, size);
    r->count++;
    return 0;
}

/* Opens, checks every record, appends up to the number wanted, closes. Returns how many appends were acknowledged or
 * found, SIZE_MAX when it cannot be opened. */
static size_t run_to(const struct rlhf_io *io, size_t wanted)
{
    struct reader r = { 0 };
    struct rlhf_journal *j;
    uint8_t bytes[LONGEST];

    memset(&err, 0, sizeof err);
    j = rlhf_journal_open(io, "journal", read_record, &r, &err);
    if (!j)
        return SIZE_MAX;
    while (r.count < wanted) {
        size_t size = record_bytes(r.count, bytes);

        if (rlhf_journal_append(j, bytes, size, &err) < 0)
            break;
        r.count++;
    }
    rlhf_journal_close(j);
    return r.count;
}

START_TEST(records_come_back_in_order)
{
    struct fake_disk disk;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    for (size_t n = 0; n <= RECORDS; n += 3)
        ck_assert_uint_eq(run_to(&disk.io, n), n);
    ck_assert_uint_eq(run_to(&disk.io, 0), RECORDS);
    fake_disk_free(&disk);
}
END_TEST

START_TEST(a_real_file_works_too)
{
    const char *path = in_directory(a_directory(), "journal");
    struct rlhf_journal *j = rlhf_journal_open(&rlhf_system_io, path, NULL, NULL, &err);
    struct reader r = { 0 };
    uint8_t bytes[LONGEST];

    expect_some(j, err);
    for (size_t i = 0; i < RECORDS; i++)
        expect_ok(rlhf_journal_append(j, bytes, record_bytes(i, bytes), &err), err);
    rlhf_journal_close(j);
    j = rlhf_journal_open(&rlhf_system_io, path, read_record, &r, &err);
    expect_some(j, err);
    ck_assert_uint_eq(r.count, RECORDS);
    rlhf_journal_close(j);
    rlhf_journal_close(NULL);
}
END_TEST

/* Cuts the power at the 1st, 2nd, 3rd ... call until a run is left alone; then again in the run that recovers. */
START_TEST(acknowledged_records_survive_any_power_cut)
{
    struct fake_disk disk;
    unsigned cut = 0;
    bool fired;

    do {
        cut++;
        for (unsigned again = 1; again < 40; again += 3) {
            size_t acked, found, after;

            fake_disk_init(&disk, FAKE_POWER_CUT, cut);
            fake_disk_seed(&disk, cut * 1000 + again);
            acked = run_to(&disk.io, RECORDS);
            fired = disk.fired;
            fake_disk_reboot(&disk);
            if (acked == SIZE_MAX)
                acked = 0;
            fake_disk_arm(&disk, FAKE_POWER_CUT, again);
            found = run_to(&disk.io, RECORDS);
            if (found != SIZE_MAX)
                ck_assert_uint_ge(found, acked);
            else
                ck_assert(disk.fired);
            fake_disk_reboot(&disk);
            after = run_to(&disk.io, RECORDS);
            ck_assert_msg(after == RECORDS, "cut %u, %u: %s", cut, again, err.text);
            fake_disk_free(&disk);
        }
    } while (fired);
    ck_assert_uint_gt(cut, 2 * RECORDS);
}
END_TEST

/* kill -9 in place of a power cut: the kernel keeps what was written. */
START_TEST(a_killed_writer_loses_nothing_acknowledged)
{
    struct fake_disk disk;
    unsigned cut = 0;
    bool fired;

    do {
        struct reader r = { 0 };
        struct rlhf_journal *j;
        size_t acked;

        fake_disk_init(&disk, FAKE_POWER_CUT, ++cut);
        acked = run_to(&disk.io, RECORDS);
        fired = disk.fired;
        fake_disk_kill(&disk);
        j = rlhf_journal_open(&disk.io, "journal", read_record, &r, &err);
        expect_some(j, err);
        if (acked != SIZE_MAX)
            ck_assert_uint_ge(r.count, acked);
        fake_disk_reboot(&disk); /* what the reader has seen is on the disk from then on */
        rlhf_journal_close(j);
        ck_assert_uint_eq(run_to(&disk.io, 0), r.count);
        ck_assert_uint_eq(run_to(&disk.io, RECORDS), RECORDS);
        fake_disk_free(&disk);
    } while (fired);
}
END_TEST

/* The mark of one record ends a sector, the next record begins another: of one write the record may reach the disk and
 * the mark before it not. That is a torn append, no damage. */
START_TEST(a_mark_lost_in_front_of_a_whole_record_is_no_damage)
{
    static char bytes[512];
    unsigned kept = 0;

    for (unsigned seed = 0; seed < 64; seed++) {
        struct fake_disk disk;
        struct rlhf_journal *j;
        size_t size;

        fake_disk_init(&disk, FAKE_NOTHING, 0);
        j = rlhf_journal_open(&disk.io, "journal", NULL, NULL, &err);
        expect_ok(rlhf_journal_append(j, bytes, 512 - 8 - 16 - 4, &err), err);
        fake_disk_arm(&disk, FAKE_POWER_CUT, 2); /* after the write, in the sync */
        fake_disk_seed(&disk, seed);
        ck_assert_int_eq(rlhf_journal_append(j, bytes, 100, &err), -1);
        fake_disk_reboot(&disk);
        rlhf_journal_close(j);
        for (int times = 0; times < 2; times++) {
            j = rlhf_journal_open(&disk.io, "journal", NULL, NULL, &err);
            expect_some(j, err);
            expect_ok(rlhf_journal_append(j, bytes, 7, &err), err);
            fake_disk_reboot(&disk);
            rlhf_journal_close(j);
        }
        size = fake_disk_size(&disk, "journal");
        kept += size > 512 + 2 * (16 + 7 + 4);
        fake_disk_free(&disk);
    }
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_lt(kept, 64);
}
END_TEST

START_TEST(a_full_disk_refuses_and_harms_nothing)
{
    struct fake_disk disk;
    unsigned full = 0;
    bool fired;

    do {
        size_t acked;

        fake_disk_init(&disk, FAKE_ENOSPC, ++full);
        acked = run_to(&disk.io, RECORDS);
        fired = disk.fired;
        if (fired && acked != RECORDS) /* else only the mark at close found no room */
            expect_code(err, RLHF_FULL);
        fake_disk_arm(&disk, FAKE_NOTHING, 0);
        if (acked != SIZE_MAX)
            ck_assert_uint_eq(run_to(&disk.io, 0), acked); /* not one more: it was refused */
        ck_assert_uint_eq(run_to(&disk.io, RECORDS), RECORDS);
        fake_disk_free(&disk);
    } while (fired);
}
END_TEST

START_TEST(an_append_after_a_full_disk_succeeds)
{
    struct fake_disk disk;
    struct rlhf_journal *j;
    uint8_t bytes[LONGEST];
    size_t done = 0;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    j = rlhf_journal_open(&disk.io, "journal", NULL, NULL, &err);
    while (done < RECORDS) {
        size_t size = record_bytes(done, bytes);

        fake_disk_arm(&disk, FAKE_ENOSPC, 1);
        ck_assert_int_eq(rlhf_journal_append(j, bytes, size, &err), -1);
        expect_code(err, RLHF_FULL);
        fake_disk_arm(&disk, FAKE_NOTHING, 0);
        expect_ok(rlhf_journal_append(j, bytes, size, &err), err);
        done++;
    }
    fake_disk_reboot(&disk); /* without close */
    rlhf_journal_close(j);
    ck_assert_uint_eq(run_to(&disk.io, 0), RECORDS);
    fake_disk_free(&disk);
}
END_TEST

/* Each call fails once with EIO; a failed sync ends all writing, as what the file holds is not known. */
START_TEST(no_failing_call_loses_an_acknowledged_record)
{
    struct fake_disk disk;
    unsigned at = 0;
    bool fired;

    do {
        size_t acked;

        fake_disk_init(&disk, FAKE_EIO, ++at);
        acked = run_to(&disk.io, RECORDS);
        fired = disk.fired;
        fake_disk_reboot(&disk);
        if (acked != SIZE_MAX)
            ck_assert_uint_ge(run_to(&disk.io, 0), acked);
        ck_assert_uint_eq(run_to(&disk.io, RECORDS), RECORDS);
        fake_disk_free(&disk);
    } while (fired);
}
END_TEST

START_TEST(after_a_failed_sync_nothing_more_is_acknowledged)
{
    struct fake_disk disk;
    struct rlhf_journal *j;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    j = rlhf_journal_open(&disk.io, "journal", NULL, NULL, &err);
    fake_disk_arm(&disk, FAKE_EIO, 2); /* the write, then the sync */
    ck_assert_int_eq(rlhf_journal_append(j, "x", 1, &err), -1);
    expect_code(err, RLHF_FATAL);
    ck_assert_int_eq(rlhf_journal_append(j, "x", 1, &err), -1);
    expect_code(err, RLHF_FATAL);
    expect_contains(err.text, "restart");
    rlhf_journal_close(j);
    fake_disk_free(&disk);
}
END_TEST

START_TEST(short_reads_and_writes_change_nothing)
{
    struct fake_disk disk;

    fake_disk_init(&disk, FAKE_SHORT, 1);
    ck_assert_uint_eq(run_to(&disk.io, RECORDS), RECORDS);
    ck_assert(disk.fired);
    ck_assert_uint_eq(run_to(&disk.io, 0), RECORDS);
    fake_disk_free(&disk);
}
END_TEST

/* Every bit of a closed journal: found, or no record lost. */
START_TEST(any_flipped_bit_is_found)
{
    struct fake_disk disk;
    size_t size, harmless = 0;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    run_to(&disk.io, 6);
    size = fake_disk_size(&disk, "journal");
    fake_disk_free(&disk);
    setenv("RLHF_LOG", "error", 1);
    for (size_t byte = 0; byte < size; byte++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            size_t found;

            fake_disk_init(&disk, FAKE_NOTHING, 0);
            run_to(&disk.io, 6);
            fake_disk_flip(&disk, "journal", byte, (uint8_t)(1u << bit));
            found = run_to(&disk.io, 0);
            if (found == SIZE_MAX) {
                if (err.code != RLHF_CORRUPT || fake_disk_size(&disk, "journal") != size)
                    ck_abort_msg("byte %zu: %s", byte, err.text);
            } else if (found != 6) {
                ck_abort_msg("byte %zu bit %u: %zu records", byte, bit, found);
            } else {
                harmless++;
            }
            fake_disk_free(&disk);
            if (byte > 40 && byte + 40 < size && byte % 512 > 2)
                break; /* within payloads one bit a byte will do */
        }
    }
    ck_assert_uint_le(harmless, 32); /* the last mark, behind the last record */
}
END_TEST

START_TEST(a_journal_cut_anywhere_keeps_its_whole_records)
{
    struct fake_disk disk;
    size_t size, last = SIZE_MAX;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    run_to(&disk.io, RECORDS);
    size = fake_disk_size(&disk, "journal");
    while (size-- > 8) {
        size_t found;

        fake_disk_cut(&disk, "journal", size);
        found = run_to(&disk.io, 0);
        ck_assert_uint_le(found, last); /* also: never SIZE_MAX */
        last = found;
        if (size > fake_disk_size(&disk, "journal"))
            size = fake_disk_size(&disk, "journal");
    }
    ck_assert_uint_eq(last, 0);
    fake_disk_cut(&disk, "journal", 3);
    ck_assert_uint_eq(run_to(&disk.io, 0), SIZE_MAX);
    expect_code(err, RLHF_CORRUPT);
    fake_disk_free(&disk);
}
END_TEST

START_TEST(a_reader_that_refuses_ends_the_open)
{
    struct fake_disk disk;
    struct reader r = { .stop_at = 3 };

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    run_to(&disk.io, 6);
    ck_assert_ptr_null(rlhf_journal_open(&disk.io, "journal", read_record, &r, &err));
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, "record 3 of the journal journal: not this one");
    ck_assert_uint_eq(run_to(&disk.io, 0), 6);
    fake_disk_free(&disk);
}
END_TEST

START_TEST(what_is_no_journal_is_refused)
{
    struct fake_disk disk;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    expect_ok(rlhf_write_file(&disk.io, "journal", "#!/bin/sh\n", 10, &err), err);
    ck_assert_uint_eq(run_to(&disk.io, 0), SIZE_MAX);
    expect_code(err, RLHF_CORRUPT);
    ck_assert_ptr_null(rlhf_journal_open(&disk.io, "no/such/journal", NULL, NULL, &err));
    expect_code(err, RLHF_REJECT);
    fake_disk_free(&disk);
}
END_TEST

START_TEST(a_record_too_large_is_refused)
{
    struct fake_disk disk;
    struct rlhf_journal *j;

    fake_disk_init(&disk, FAKE_NOTHING, 0);
    j = rlhf_journal_open(&disk.io, "journal", NULL, NULL, &err);
    ck_assert_int_eq(rlhf_journal_append(j, "", (size_t)RLHF_JOURNAL_LARGEST + 1, &err), -1);
    expect_code(err, RLHF_REJECT);
    rlhf_journal_close(j);
    fake_disk_free(&disk);
}
END_TEST

int main(void)
{
    setenv("RLHF_LOG", "error", 1);
    return RUN_SUITE("store/journal", records_come_back_in_order, a_real_file_works_too,
                     acknowledged_records_survive_any_power_cut, a_killed_writer_loses_nothing_acknowledged,
                     a_mark_lost_in_front_of_a_whole_record_is_no_damage,
                     a_full_disk_refuses_and_harms_nothing, an_append_after_a_full_disk_succeeds,
                     no_failing_call_loses_an_acknowledged_record, after_a_failed_sync_nothing_more_is_acknowledged,
                     short_reads_and_writes_change_nothing, any_flipped_bit_is_found,
                     a_journal_cut_anywhere_keeps_its_whole_records, a_reader_that_refuses_ends_the_open,
                     what_is_no_journal_is_refused, a_record_too_large_is_refused);
}
