/* TensorBoard's event files: what is put is read again, and no damage passes for an event. */
#include "events/events.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "support/suite.h"

enum { MOST = 8 };

static struct seen {
    char version[32];
    int64_t start;
    size_t scalars;
    char tag[MOST][32];
    struct rlhf_event_scalar scalar[MOST];
} seen;

static void on_version(void *ctx, double wall_time, const char *version)
{
    (void)ctx, (void)wall_time;
    snprintf(seen.version, sizeof seen.version, "%s", version);
}

static void on_start(void *ctx, double wall_time, int64_t step)
{
    (void)ctx, (void)wall_time;
    seen.start = step;
}

static void on_scalar(void *ctx, const struct rlhf_event_scalar *s)
{
    (void)ctx;
    ck_assert_uint_lt(seen.scalars, MOST);
    snprintf(seen.tag[seen.scalars], sizeof seen.tag[0], "%s", s->tag);
    seen.scalar[seen.scalars++] = *s;
}

static const struct rlhf_event_reader reader = {on_version, on_start, on_scalar, NULL};

/* 0 at the end of the file, -1 at what is wrong. */
static int read_all(const struct rlhf_bytes *file, struct rlhf_error *err)
{
    struct rlhf_event_record r;
    uint64_t offset = 0;
    int more;

    seen = (struct seen){.start = -1};
    while ((more = rlhf_event_record((const uint8_t *)file->data, file->size, &offset, &r, err)) > 0)
        if (rlhf_event_read(&r, &reader, err) < 0)
            return -1;
    return more;
}

static struct rlhf_bytes a_file(void)
{
    const struct rlhf_scalar scalars[] = {{"sft/loss", 2.5f}, {"sft/grad_norm", NAN}, {"sft/rate", -INFINITY}};
    struct rlhf_bytes out = {0};
    struct rlhf_error err = {0};

    expect_ok(rlhf_event_put_version(&out, 1700000000.5, &err), err);
    expect_ok(rlhf_event_put_start(&out, 1700000001, 7, &err), err);
    expect_ok(rlhf_event_put_scalars(&out, 1700000002.25, (int64_t)1 << 33, scalars, 3, &err), err);
    return out;
}

START_TEST(crcs_are_masked_as_tensorflow_masks_them)
{
    ck_assert_uint_eq(rlhf_event_mask(rlhf_crc32c(0, "", 0)), 0xa282ead8u);
    ck_assert_uint_eq(rlhf_event_mask(rlhf_crc32c(0, "123456789", 9)), 0xc78ab0e5u);
}
END_TEST

START_TEST(what_is_put_is_read)
{
    struct rlhf_bytes file = a_file();
    struct rlhf_error err = {0};

    expect_ok(read_all(&file, &err), err);
    ck_assert_str_eq(seen.version, "brain.Event:2");
    ck_assert_int_eq(seen.start, 7);
    ck_assert_uint_eq(seen.scalars, 3);
    ck_assert_str_eq(seen.tag[0], "sft/loss");
    ck_assert(seen.scalar[0].value == 2.5 && seen.scalar[0].step == (int64_t)1 << 33);
    ck_assert(seen.scalar[0].wall_time == 1700000002.25 && !seen.scalar[0].tensor);
    ck_assert(isnan(seen.scalar[1].value) && seen.scalar[2].value == -INFINITY);
    rlhf_bytes_free(&file);
}
END_TEST

START_TEST(a_file_that_ends_within_a_record_says_so_and_what_is_whole_is_read)
{
    struct rlhf_bytes file = a_file();
    size_t whole = file.size;

    for (file.size = 1; file.size < whole; file.size++) {
        struct rlhf_error err = {0};
        if (read_all(&file, &err) < 0)
            expect_code(err, RLHF_AGAIN);
        ck_assert_uint_eq(seen.scalars, 0);
    }
    rlhf_bytes_free(&file);
}
END_TEST

START_TEST(a_flipped_bit_anywhere_is_seen)
{
    struct rlhf_bytes file = a_file();

    for (size_t bit = 0; bit < 8 * file.size; bit++) {
        struct rlhf_error err = {0};
        file.data[bit / 8] ^= (char)(1 << bit % 8);
        ck_assert_msg(read_all(&file, &err) < 0, "bit %zu passed", bit);
        expect_code(err, RLHF_CORRUPT);
        file.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    rlhf_bytes_free(&file);
}
END_TEST

START_TEST(a_record_that_is_no_event_is_refused)
{
    const uint8_t payload[] = {0x2a, 0x7f, 'x'}; /* a summary that claims 127 bytes */
    struct rlhf_event_record r = {.offset = 40, .length = sizeof payload, .data = payload};
    struct rlhf_error err = {0};

    ck_assert_int_lt(rlhf_event_read(&r, &reader, &err), 0);
    expect_code(err, RLHF_CORRUPT);
    expect_contains(err.text, "byte 40");
}
END_TEST

int main(void)
{
    return RUN_SUITE("events/events", crcs_are_masked_as_tensorflow_masks_them, what_is_put_is_read,
                     a_file_that_ends_within_a_record_says_so_and_what_is_whole_is_read,
                     a_flipped_bit_anywhere_is_seen, a_record_that_is_no_event_is_refused);
}
