/* The event file of a folder of fixtures ($RLHF_FIXTURES/events, or $RLHF_SHARED/fixtures/events), which TensorBoard wrote:
 * every record and every scalar as expected.json has it, exactly. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/io.h"
#include "events/events.h"
#include "support/suite.h"

static char folder[512];
static json_t *expected;
static size_t seen;

static void open_fixture(void)
{
    const char *fixtures = getenv("RLHF_FIXTURES"), *shared = getenv("RLHF_SHARED");

    if (fixtures)
        snprintf(folder, sizeof folder, "%s/events", fixtures);
    else
        snprintf(folder, sizeof folder, "%s/fixtures/events", shared ? shared : "../shared");
    if (!(expected = json_load_file(in_directory(folder, "expected.json"), 0, NULL)))
        skip("no fixtures: %s is not there (set RLHF_FIXTURES)", folder);
}

static double number(const json_t *value)
{
    return json_is_string(value) ? strtod(json_string_value(value), NULL) : json_number_value(value);
}

static void on_version(void *ctx, double wall_time, const char *version)
{
    (void)ctx;
    ck_assert_str_eq(version, json_string_value(json_object_get(expected, "file_version")));
    ck_assert(wall_time == number(json_object_get(expected, "first_wall_time")));
}

static void on_scalar(void *ctx, const struct rlhf_event_scalar *s)
{
    json_t *e = json_array_get(json_object_get(expected, "scalars"), seen++);
    double value = number(json_object_get(e, "value"));

    (void)ctx;
    ck_assert_str_eq(s->tag, json_string_value(json_object_get(e, "tag")));
    ck_assert_int_eq(s->step, json_integer_value(json_object_get(e, "step")));
    ck_assert(s->wall_time == number(json_object_get(e, "wall_time")));
    ck_assert_msg(s->value == value || (isnan(s->value) && isnan(value)), "%s: %.9g, expected %.9g", s->tag, s->value,
                  value);
    ck_assert_str_eq(s->tensor ? "tensor" : "simple_value", json_string_value(json_object_get(e, "encoding")));
}

static uint32_t hex(const json_t *o, const char *key)
{
    return (uint32_t)strtoul(json_string_value(json_object_get(o, key)), NULL, 16);
}

START_TEST(every_record_and_every_scalar_is_as_tensorboard_wrote_it)
{
    const struct rlhf_event_reader reader = {.version = on_version, .scalar = on_scalar};
    const char *name = json_string_value(json_object_get(expected, "file"));
    struct rlhf_event_record r;
    struct rlhf_mapping file;
    struct rlhf_error err = {0};
    uint64_t offset = 0;
    size_t records = 0;
    int more;

    expect_ok(rlhf_map_file(&file, in_directory(folder, name), &err), err);
    while ((more = rlhf_event_record(file.data, file.size, &offset, &r, &err)) > 0) {
        json_t *e = json_array_get(json_object_get(expected, "records"), records++);
        ck_assert_int_eq(r.offset, json_integer_value(json_object_get(e, "offset")));
        ck_assert_int_eq(r.length, json_integer_value(json_object_get(e, "length")));
        ck_assert_uint_eq(r.length_crc, hex(e, "masked_crc_length"));
        ck_assert_uint_eq(r.data_crc, hex(e, "masked_crc_data"));
        expect_ok(rlhf_event_read(&r, &reader, &err), err);
    }
    expect_ok(more, err);
    ck_assert_int_eq(records, json_integer_value(json_object_get(expected, "n_records")));
    ck_assert_uint_eq(seen, json_array_size(json_object_get(expected, "scalars")));
    rlhf_unmap(&file);
}
END_TEST

START_TEST(crcs_are_those_of_the_vectors)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(expected, "crc32c_vectors"), i, v)
    {
        const char *text = json_string_value(json_object_get(v, "hex"));
        uint8_t bytes[256];
        size_t size = strlen(text) / 2;
        ck_assert_uint_le(size, sizeof bytes);
        for (size_t j = 0; j < size; j++)
            sscanf(text + 2 * j, "%2hhx", &bytes[j]);
        ck_assert_uint_eq(rlhf_crc32c(0, bytes, size), hex(v, "crc32c"));
        ck_assert_uint_eq(rlhf_event_mask(rlhf_crc32c(0, bytes, size)), hex(v, "masked"));
    }
}
END_TEST

int main(void)
{
    return RUN_SUITE_AFTER(open_fixture, "events/fixture", every_record_and_every_scalar_is_as_tensorboard_wrote_it,
                           crcs_are_those_of_the_vectors);
}
