#include "model/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "support/suite.h"

/* A file with this header and this many bytes of data, 1, 2, 3, ... */
static struct rlhf_bytes file_of(const char *header, size_t data)
{
    struct rlhf_bytes file = { 0 };
    struct rlhf_error err = { 0 };
    uint64_t size = strlen(header);

    expect_ok(rlhf_bytes_append(&file, &size, sizeof size, &err), err);
    expect_ok(rlhf_bytes_append(&file, header, size, &err), err);
    for (size_t i = 1; i <= data; i++)
        expect_ok(rlhf_bytes_append(&file, (char[]){ (char)i }, 1, &err), err);
    return file;
}

START_TEST(tensors_that_were_written_read_back_the_same)
{
    static const float a[6] = { 1, -2, 3, 1e-40F, INFINITY, 0 };
    static const int64_t b[2] = { -1, INT64_MAX };
    const struct rlhf_safetensor tensors[] = {
        { "z.first", RLHF_DTYPE_F32, 2, { 2, 3 }, (const uint8_t *)a, sizeof a },
        { "a.second", RLHF_DTYPE_I64, 1, { 2 }, (const uint8_t *)b, sizeof b },
        { "nothing", RLHF_DTYPE_F32, 2, { 0, 3 }, NULL, 0 },
        { "scalar", RLHF_DTYPE_F32, 0, { 0 }, (const uint8_t *)a, 4 },
    };
    struct rlhf_bytes file = { 0 }, again = { 0 };
    struct rlhf_safetensors s;
    struct rlhf_error err = { 0 };
    char text[64];
    float back[6];

    expect_ok(rlhf_safetensors_write(tensors, 4, &file, &err), err);
    expect_ok(rlhf_safetensors_write(tensors, 4, &again, &err), err);
    ck_assert_uint_eq(file.size, again.size);
    ck_assert_mem_eq(file.data, again.data, file.size);
    expect_ok(rlhf_safetensors_parse(&s, file.data, file.size, &err), err);
    ck_assert_uint_eq(s.count, 4);
    for (int i = 0; i < 4; i++) {
        const struct rlhf_safetensor *t = rlhf_safetensors_find(&s, tensors[i].name);

        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(t->dtype, tensors[i].dtype);
        ck_assert_uint_eq(t->dims, tensors[i].dims);
        ck_assert_mem_eq(t->shape, tensors[i].shape, t->dims * sizeof *t->shape);
        ck_assert_uint_eq(t->size, tensors[i].size);
        if (t->size)
            ck_assert_mem_eq(t->data, tensors[i].data, t->size);
    }
    ck_assert_uint_eq((uintptr_t)(rlhf_safetensors_find(&s, "z.first")->data - (uint8_t *)file.data) % 8, 0);
    ck_assert_str_eq(rlhf_safetensor_shape(rlhf_safetensors_find(&s, "z.first"), text, sizeof text), "[2, 3]");
    ck_assert_str_eq(rlhf_safetensor_shape(rlhf_safetensors_find(&s, "z.first"), text, 4), "[2,");
    expect_ok(rlhf_safetensor_floats(rlhf_safetensors_find(&s, "z.first"), back, &err), err);
    ck_assert_mem_eq(back, a, sizeof a);
    ck_assert_int_eq(rlhf_safetensor_floats(rlhf_safetensors_find(&s, "a.second"), back, &err), -1);
    expect_contains(err.text, "I64");
    ck_assert_ptr_null(rlhf_safetensors_find(&s, "a"));
    rlhf_safetensors_free(&s);
    rlhf_bytes_free(&file);
    rlhf_bytes_free(&again);
}
END_TEST

/* IEEE 754 binary16 by its definition: (-1)^s 2^(e-15) (1 + f/1024), e = 0 subnormal, e = 31 infinite or NaN. */
START_TEST(every_half_and_every_bfloat_converts_exactly)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint8_t bytes[2] = { (uint8_t)bits, (uint8_t)(bits >> 8) };
        struct rlhf_safetensor t = { .name = "x", .dtype = RLHF_DTYPE_F16, .dims = 1, .shape = { 1 }, .data = bytes,
                                     .size = 2 };
        double sign = bits & 0x8000 ? -1 : 1, fraction = bits % 1024 / 1024.0;
        int exponent = (int)(bits >> 10 & 31);
        double wanted = exponent == 31 ? (bits % 1024 ? NAN : INFINITY)
                        : exponent ? ldexp(1 + fraction, exponent - 15) : ldexp(fraction, -14);
        uint32_t wide = bits << 16;
        float value, wide_value;
        struct rlhf_error err;

        expect_ok(rlhf_safetensor_floats(&t, &value, &err), err);
        if (isnan(wanted))
            ck_assert(isnan(value));
        else
            ck_assert_msg((double)value == sign * wanted && !signbit(value) == (sign > 0), "%x: %g, not %g", bits,
                          (double)value, sign * wanted);
        t.dtype = RLHF_DTYPE_BF16;
        expect_ok(rlhf_safetensor_floats(&t, &value, &err), err);
        memcpy(&wide_value, &wide, sizeof wide);
        ck_assert_mem_eq(&value, &wide_value, sizeof value);
    }
}
END_TEST

START_TEST(a_header_that_lies_is_refused_by_the_name_of_the_tensor)
{
    static const struct {
        const char *header;
        size_t data;
        const char *part;
    } cases[] = {
        { "", 0, "is this a safetensors file" },
        { "[]", 0, "byte 0" },
        { "{", 0, "a string" },
        { "{\"t\"}", 0, "expected :" },
        { "{\"t\":{\"dtype\":\"F32", 0, "end of a string" },
        { "{\"t\\u0041\":{}}", 0, "without escapes" },
        { "{\"t\xff\":{}}", 0, "UTF-8" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "a string" },
        { "{\"__metadata__\":{\"a\":\"b\"},}", 0, "a string" },
        { "{\"t\":1}", 0, "tensor t" },
        { "{\"t\":{}}", 0, "tensor t" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"more\":1}}", 8, "tensor t" },
        { "{\"t\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "F31" },
        { "{\"t\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "a string" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "tensor t" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "a size" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, ", or ]" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]}}", 8, "a size" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "each once" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2,\"3\"],\"data_offsets\":[0,8]}}", 8, "a size" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "more than 8" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,2],\"data_offsets\":[0,8]}}", 8, "too large" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2305843009213693952,8,4],\"data_offsets\":[0,0]}}", 0, "too large" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8, "smaller number" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,12]}}", 8, "truncated" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "data_offsets" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "data_offsets" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,-8]}}", 8, "a size" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "need 12 bytes" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "hole" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "belong to no tensor" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"u\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "overlaps" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"u\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "overlaps" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "twice" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} and more", 4, "nothing more" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rlhf_bytes file = file_of(cases[i].header, cases[i].data);
        struct rlhf_safetensors s;
        struct rlhf_error err = { 0 };

        ck_assert_msg(rlhf_safetensors_parse(&s, file.data, file.size, &err) == -1, "accepted: %s", cases[i].header);
        expect_code(err, RLHF_CORRUPT);
        ck_assert_msg(strstr(err.text, cases[i].part), "%s: \"%s\" has no %s", cases[i].header, err.text,
                      cases[i].part);
        ck_assert_ptr_null(s.tensors);
        rlhf_bytes_free(&file);
    }
}
END_TEST

static struct rlhf_bytes good_file(void)
{
    return file_of("{\"__metadata__\":{\"format\":\"pt\"},\"t\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":"
                   "[4,16]},\"u\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 16);
}

START_TEST(a_file_cut_anywhere_is_refused)
{
    struct rlhf_bytes file = good_file();
    struct rlhf_safetensors s;
    struct rlhf_error err = { 0 };

    expect_ok(rlhf_safetensors_parse(&s, file.data, file.size, &err), err);
    rlhf_safetensors_free(&s);
    for (size_t size = 0; size < file.size; size++) {
        char *cut = malloc(size); /* so that a read behind the end is seen */

        memcpy(cut, file.data, size);
        ck_assert_int_eq(rlhf_safetensors_parse(&s, cut, size, &err), -1);
        expect_code(err, RLHF_CORRUPT);
        free(cut);
    }
    rlhf_bytes_free(&file);
}
END_TEST

START_TEST(a_header_size_that_lies_is_refused)
{
    static const uint64_t sizes[] = { 0, 1, 1u << 20, RLHF_SAFETENSORS_HEADER + 1, UINT64_MAX, UINT64_MAX - 7 };
    struct rlhf_bytes file = good_file();

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct rlhf_safetensors s;
        struct rlhf_error err = { 0 };

        memcpy(file.data, &sizes[i], sizeof sizes[i]);
        ck_assert_int_eq(rlhf_safetensors_parse(&s, file.data, file.size, &err), -1);
        expect_code(err, RLHF_CORRUPT);
    }
    rlhf_bytes_free(&file);
}
END_TEST

/* Any damage is refused or leaves tensors that lie within the file. */
START_TEST(a_damaged_file_never_leads_outside_of_it)
{
    struct rlhf_bytes file = good_file();
    struct rlhf_random random;
    uint8_t *damaged = malloc(file.size);

    rlhf_random_init(&random, 1, RLHF_PURPOSE_FAULT, 0, 0);
    for (int round = 0; round < 20000; round++) {
        struct rlhf_safetensors s;
        struct rlhf_error err = { 0 };

        memcpy(damaged, file.data, file.size);
        for (uint32_t i = 0, n = 1 + rlhf_random_below(&random, 3); i < n; i++)
            damaged[rlhf_random_below(&random, (uint32_t)file.size)] = (uint8_t)rlhf_random_below(&random, 256);
        if (rlhf_safetensors_parse(&s, damaged, file.size, &err) < 0)
            continue;
        for (size_t i = 0; i < s.count; i++)
            ck_assert(s.tensors[i].data >= damaged
                      && s.tensors[i].size <= (size_t)(damaged + file.size - s.tensors[i].data));
        rlhf_safetensors_free(&s);
    }
    free(damaged);
    rlhf_bytes_free(&file);
}
END_TEST

int main(void)
{
    return RUN_SUITE("model/safetensors", tensors_that_were_written_read_back_the_same,
                     every_half_and_every_bfloat_converts_exactly,
                     a_header_that_lies_is_refused_by_the_name_of_the_tensor, a_file_cut_anywhere_is_refused,
                     a_header_size_that_lies_is_refused, a_damaged_file_never_leads_outside_of_it);
}
