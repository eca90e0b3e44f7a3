#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#include "support/suite.h"

START_TEST(sizes_report_overflow_and_leave_the_result_alone)
{
    size_t out = 17;

    ck_assert(!rlhf_mul_size(SIZE_MAX / 2, 3, &out));
    ck_assert(!rlhf_add_size(SIZE_MAX, 1, &out));
    ck_assert_uint_eq(out, 17);
    ck_assert(rlhf_mul_size(SIZE_MAX, 1, &out) && out == SIZE_MAX);
    ck_assert(rlhf_mul_size(SIZE_MAX, 0, &out) && out == 0);
    ck_assert(rlhf_add_size(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
}
END_TEST

START_TEST(aligned_blocks_are_aligned_and_zero)
{
    static const size_t counts[] = { 0, 1, 3, 1000, (9u << 20) / sizeof(float) + 1 };
    struct rlhf_error err = { 0 };

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        float *block = rlhf_aligned_new(counts[i], sizeof *block, &err);

        expect_some(block, err);
        ck_assert_uint_eq((uintptr_t)block % 64, 0);
        size_t others = 0;

        for (size_t k = 0; k < counts[i]; k++)
            others += block[k] != 0;
        ck_assert_uint_eq(others, 0);
        free(block);
    }
    ck_assert_ptr_null(rlhf_aligned_new(SIZE_MAX / 2, 4, &err));
    expect_code(err, RLHF_FULL);
}
END_TEST

START_TEST(an_arena_never_moves_what_it_gave)
{
    struct rlhf_arena *a = rlhf_arena_new(0, NULL);
    unsigned char *given[300];

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 300; i++) {
            size_t size = i * i + 1;

            given[i] = rlhf_arena_get(a, size, 1);
            ck_assert_ptr_nonnull(given[i]);
            ck_assert_uint_eq((uintptr_t)given[i] % 64, 0);
            memset(given[i], (int)(i & 0xff), size);
        }
        for (size_t i = 0; i < 300; i++) {
            ck_assert_uint_eq(given[i][0], i & 0xff);
            ck_assert_mem_eq(given[i], given[i] + i, i * i + 1 - i);
        }
        rlhf_arena_reset(a, 0);
    }
    rlhf_arena_free(a);
}
END_TEST

START_TEST(an_arena_reset_to_a_mark_gives_the_same_place_again)
{
    struct rlhf_arena *a = rlhf_arena_new(0, NULL);
    char *before = rlhf_arena_zero(a, 100, 1);
    size_t mark = rlhf_arena_mark(a);
    char *first = rlhf_arena_get(a, 5000, 1), *again;

    strcpy(before, "kept");
    for (int i = 0; i < 100; i++)
        ck_assert_ptr_nonnull(rlhf_arena_get(a, 40000, 1)); /* several blocks */
    rlhf_arena_reset(a, mark);
    ck_assert_uint_eq(rlhf_arena_mark(a), mark);
    again = rlhf_arena_get(a, 5000, 1);
    ck_assert_ptr_eq(first, again);
    memset(again, 1, 5000);
    ck_assert_str_eq(before, "kept");
    rlhf_arena_free(a);
}
END_TEST

START_TEST(an_arena_keeps_to_its_limit_exactly)
{
    struct rlhf_arena *a = rlhf_arena_new(100 * 64, NULL);

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++)
            ck_assert_ptr_nonnull(rlhf_arena_get(a, 64, 1));
        ck_assert_ptr_null(rlhf_arena_get(a, 1, 1));
        rlhf_arena_reset(a, 0);
        ck_assert_ptr_null(rlhf_arena_get(a, 101, 64));
    }
    ck_assert_ptr_null(rlhf_arena_get(a, SIZE_MAX / 2, 3));
    rlhf_arena_free(a);
    rlhf_arena_free(NULL);
}
END_TEST

START_TEST(nested_marks_unwind_in_any_pattern)
{
    struct rlhf_arena *a = rlhf_arena_new(0, NULL);
    size_t marks[20];
    unsigned *numbers[20];

    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 20; i++) {
            marks[i] = rlhf_arena_mark(a);
            numbers[i] = rlhf_arena_get(a, (i + round) % 7 * 3000 + 1, sizeof(unsigned));
            *numbers[i] = i;
        }
        for (unsigned i = 20; i-- > round;) {
            ck_assert_uint_eq(*numbers[i], i);
            rlhf_arena_reset(a, marks[i]);
        }
        for (unsigned i = 0; i < round; i++)
            ck_assert_uint_eq(*numbers[i], i);
        rlhf_arena_reset(a, 0);
    }
    rlhf_arena_free(a);
}
END_TEST

START_TEST(bytes_grow_and_stay_terminated)
{
    struct rlhf_bytes b = { 0 };

    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(rlhf_bytes_printf(&b, NULL, "%d,", i), 0);
        ck_assert_uint_eq(strlen(b.data), b.size);
    }
    ck_assert_int_eq(rlhf_bytes_append(&b, "\0x", 2, NULL), 0);
    ck_assert_int_eq(b.data[b.size], '\0');
    ck_assert_int_eq(b.data[b.size - 1], 'x');
    ck_assert_int_eq(rlhf_bytes_append(&b, NULL, 0, NULL), 0);
    rlhf_bytes_clear(&b);
    ck_assert_uint_eq(b.size, 0);
    ck_assert_str_eq(b.data, "");
    ck_assert_int_eq(rlhf_bytes_reserve(&b, SIZE_MAX, NULL), -1);
    ck_assert_int_eq(rlhf_bytes_reserve(&b, SIZE_MAX - 1, NULL), -1);
    ck_assert_str_eq(b.data, "");
    rlhf_bytes_free(&b);
    ck_assert_ptr_null(b.data);
    rlhf_bytes_clear(&b);
}
END_TEST

START_TEST(tokens_grow_and_keep_their_order)
{
    struct rlhf_tokens t = { 0 };

    for (int32_t i = 0; i < 1000; i += 2)
        ck_assert_int_eq(rlhf_tokens_append(&t, (const int32_t[]){ i, i + 1 }, 2, NULL), 0);
    ck_assert_uint_eq(t.size, 1000);
    for (int32_t i = 0; i < 1000; i++)
        ck_assert_int_eq(t.data[i], i);
    rlhf_tokens_clear(&t);
    ck_assert_uint_eq(t.size, 0);
    rlhf_tokens_free(&t);
}
END_TEST

START_TEST(wiped_memory_is_zero)
{
    char secret[8] = "secret";

    rlhf_wipe(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        ck_assert_int_eq(secret[i], 0);
    rlhf_wipe(NULL, 0);
}
END_TEST

int main(void)
{
    return RUN_SUITE("base/memory", sizes_report_overflow_and_leave_the_result_alone,
                     aligned_blocks_are_aligned_and_zero, an_arena_never_moves_what_it_gave,
                     an_arena_reset_to_a_mark_gives_the_same_place_again, an_arena_keeps_to_its_limit_exactly,
                     nested_marks_unwind_in_any_pattern, bytes_grow_and_stay_terminated,
                     tokens_grow_and_keep_their_order, wiped_memory_is_zero);
}
