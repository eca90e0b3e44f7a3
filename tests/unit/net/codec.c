/* Bytes and messages: what is refused before the parser, and what parsing may cost. */
#include "net/codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net/wire.h"
#include "proto/control.pb-c.h"
#include "proto/labels.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"
#include "support/suite.h"

/* Unpacks under the limits that a node sets; true when accepted. The memory held stays within the promise. */
static bool accepts(const ProtobufCMessageDescriptor *schema, const void *data, size_t size, struct rlhf_error *err)
{
    struct rlhf_budget *b = rlhf_budget_new(err);
    bool accepted;

    rlhf_budget_reset(b, size * RLHF_BUDGET_FACTOR + RLHF_BUDGET_BASE / 2);
    accepted = rlhf_unpack(b, schema, data, size, err) != NULL;
    ck_assert_uint_le(rlhf_budget_peak(b), size * RLHF_BUDGET_FACTOR + RLHF_BUDGET_BASE);
    rlhf_budget_free(b);
    return accepted;
}

static void refused(const ProtobufCMessageDescriptor *schema, const void *data, size_t size, const char *because)
{
    struct rlhf_error err = { 0 };

    ck_assert(!accepts(schema, data, size, &err));
    expect_code(err, RLHF_REJECT);
    expect_contains(err.text, because);
}
#define REFUSED(schema, because, ...)                                                                        \
    refused(schema, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), because)

START_TEST(a_message_comes_out_as_it_went_in)
{
    Rlhf__V1__JobsReturned body = RLHF__V1__JOBS_RETURNED__INIT, *back;
    uint64_t ids[] = { 1, UINT64_MAX, 3 };
    struct rlhf_header h = { .protocol = 1, .run = "a-run", .sent_us = 17 }, got;
    struct rlhf_message m = { .type = RLHF__V1__MESSAGE_TYPE__JOBS_RETURNED, .request = 99, .body = &body.base };
    struct rlhf_blob frames[RLHF_MAX_FRAMES];
    struct rlhf_bytes out = { 0 };
    struct rlhf_budget *b = rlhf_budget_new(NULL);
    struct rlhf_error err = { 0 };

    body.n_ids = 3;
    body.ids = ids;
    body.reason = (char *)"größer";
    m.blobs[0] = (struct rlhf_blob){ "abc", 3 };
    m.blob_count = 1;
    ck_assert_int_eq(rlhf_pack_message(&out, &h, &m, frames, &err), 3);
    rlhf_budget_reset(b, 1 << 20);
    expect_ok(rlhf_header_read(&got, b, &frames[0], &err), err);
    ck_assert_uint_eq(got.type, m.type);
    ck_assert_uint_eq(got.request, 99);
    ck_assert_str_eq(got.run, "a-run");
    back = (Rlhf__V1__JobsReturned *)rlhf_unpack(b, body.base.descriptor, frames[1].data, frames[1].size, &err);
    expect_some(back, err);
    ck_assert_uint_eq(back->n_ids, 3);
    ck_assert_uint_eq(back->ids[1], UINT64_MAX);
    ck_assert_str_eq(back->reason, "größer");
    ck_assert_ptr_eq(frames[2].data, m.blobs[0].data);
    rlhf_budget_free(b);
    rlhf_bytes_free(&out);
}
END_TEST

START_TEST(broken_bytes_are_refused_by_name)
{
    const ProtobufCMessageDescriptor *hello = &rlhf__v1__hello__descriptor, *score = &rlhf__v1__score__descriptor,
                                     *credit = &rlhf__v1__credit__descriptor;

    REFUSED(credit, "broken tag", 0x80);
    REFUSED(credit, "broken tag", 0x00, 0x01);                         /* field 0 */
    REFUSED(credit, "cut off", 0x08);                                  /* tag without value */
    REFUSED(credit, "cut off", 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02); /* 65 bits */
    REFUSED(credit, "cut off", 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00);
    REFUSED(credit, "cut off", 0x0b, 0x0c);                            /* a group */
    REFUSED(credit, "cut off", 0x0f, 0x00);                            /* wire type 7 */
    REFUSED(credit, "wrong wire type", 0x0d, 1, 2, 3, 4);
    REFUSED(credit, "comes twice", 0x08, 1, 0x08, 2);
    REFUSED(hello, "cut off", 0x22, 5, 'a', 'b');                      /* a string longer than the message */
    REFUSED(hello, "cut off", 0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01);
    REFUSED(hello, "UTF-8", 0x22, 2, 'a', 0);                          /* NUL */
    REFUSED(hello, "UTF-8", 0x22, 2, 0xc0, 0x80);                      /* NUL, over-long */
    REFUSED(hello, "UTF-8", 0x22, 3, 0xed, 0xa0, 0x80);                /* a surrogate */
    REFUSED(hello, "UTF-8", 0x22, 1, 0xff);
    REFUSED(hello, "not known", 0x10, 99);                             /* role 99 */
    REFUSED(hello, "not known", 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01); /* role -1 */
    REFUSED(score, "not finite", 0x1d, 0, 0, 0xc0, 0x7f);              /* NaN */
    REFUSED(score, "not finite", 0x1d, 0, 0, 0x80, 0xff);              /* -Inf */
    REFUSED(&rlhf__v1__heartbeat__descriptor, "cut off", 0x0a, 3, 1, 2, 0x80); /* packed, the last one open */
    REFUSED(&rlhf__v1__gauge__descriptor, "not finite", 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f);
}
END_TEST

START_TEST(unknown_fields_pass)
{
    const uint8_t data[] = { 0x08, 7, 0x92, 0x4e, 3, 'n', 'e', 'w', 0x99, 0x4e, 1, 2, 3, 4, 5, 6, 7, 8 };
    struct rlhf_error err = { 0 };

    ck_assert_msg(accepts(&rlhf__v1__credit__descriptor, data, sizeof data, &err), "%s", err.text);
}
END_TEST

/* What turned 2 MiB into 176 MB: so many empty sub-messages. */
START_TEST(empty_sub_messages_cannot_be_multiplied)
{
    static const size_t sizes[] = { 1000, 100000, 250000, 1 << 20, 2 << 20 };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *data = malloc(sizes[i]);
        struct rlhf_error err = { 0 };

        for (size_t at = 0; at < sizes[i]; at += 2) {
            data[at] = 0x1a; /* GenerateJobs.jobs */
            data[at + 1] = 0;
        }
        ck_assert_int_eq(accepts(&rlhf__v1__generate_jobs__descriptor, data, sizes[i], &err), i == 0);
        if (i > 0)
            expect_code(err, RLHF_REJECT);
        free(data);
    }
}
END_TEST

/* Its like: many strings, many bytes fields, many unknown fields, packed integers. */
START_TEST(no_small_field_can_be_multiplied)
{
    static const struct {
        const ProtobufCMessageDescriptor *schema;
        uint8_t unit[4];
        size_t size;
    } kinds[] = {
        { &rlhf__v1__task__descriptor, { 0x1a, 0 }, 2 },                /* empty completions */
        { &rlhf__v1__weights_announce__descriptor, { 0x22, 0 }, 2 },    /* empty digests     */
        { &rlhf__v1__credit__descriptor, { 0x50, 1 }, 2 },              /* unknown numbers   */
        { &rlhf__v1__credit__descriptor, { 0x52, 0 }, 2 },              /* unknown strings   */
        { &rlhf__v1__heartbeat__descriptor, { 0x08, 1 }, 2 },           /* unpacked integers */
        { &rlhf__v1__status__descriptor, { 0x32, 2, 0x10, 0 }, 4 },     /* stages with a name missing */
    };

    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t count = 16; count <= 1 << 20; count *= 4) {
            uint8_t *data = malloc(count * kinds[k].size);
            struct rlhf_error err = { 0 };
            bool accepted;

            for (size_t i = 0; i < count; i++)
                memcpy(data + i * kinds[k].size, kinds[k].unit, kinds[k].size);
            accepted = accepts(kinds[k].schema, data, count * kinds[k].size, &err);
            ck_assert_msg(accepted || err.code == RLHF_REJECT, "%s", err.text);
            ck_assert(count < 1 << 20 || !accepted);
            free(data);
        }
}
END_TEST

START_TEST(packed_integers_stay_within_the_budget)
{
    size_t size = 1 << 20;
    uint8_t *data = malloc(size);
    struct rlhf_error err = { 0 };

    memset(data, 1, size);
    data[0] = 0x0a;
    data[1] = 0xfb | 0x80; /* size - 5 = 1048571 = 0x3ffffb */
    data[2] = 0xff;
    data[3] = 0x3f;
    size = 4 + 0xffffb;
    accepts(&rlhf__v1__heartbeat__descriptor, data, size, &err); /* either way, within the budget */
    free(data);
}
END_TEST

START_TEST(what_nests_in_unknown_fields_is_not_looked_into)
{
    uint8_t data[64];
    size_t size = 0;
    struct rlhf_error err = { 0 };

    /* No message of ours is recursive; what nests in an unknown field is never looked into. */
    for (; size + 2 <= sizeof data; size += 2) {
        data[size] = 0x7a;
        data[size + 1] = (uint8_t)(sizeof data - size - 2);
    }
    ck_assert(accepts(&rlhf__v1__credit__descriptor, data, sizeof data, &err));
}
END_TEST

START_TEST(no_schema_is_recursive_or_wider_than_the_check_can_see)
{
    static const ProtobufCMessageDescriptor *const all[] = {
        &rlhf__v1__hello__descriptor,          &rlhf__v1__welcome__descriptor,
        &rlhf__v1__generate_jobs__descriptor,  &rlhf__v1__rollouts__descriptor,
        &rlhf__v1__score_jobs__descriptor,     &rlhf__v1__scores__descriptor,
        &rlhf__v1__weights_manifest__descriptor, &rlhf__v1__tasks_submit__descriptor,
        &rlhf__v1__comparisons__descriptor,    &rlhf__v1__status__descriptor,
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const ProtobufCMessageDescriptor *path[RLHF_WIRE_MAX_DEPTH] = { all[i] };
        size_t depth = 1;

        /* follow the first sub-message each time: our messages have one or two levels */
        for (bool deeper = true; deeper;) {
            deeper = false;
            ck_assert_uint_lt(path[depth - 1]->n_fields, 64);
            for (unsigned f = 0; !deeper && f < path[depth - 1]->n_fields; f++)
                if (path[depth - 1]->fields[f].type == PROTOBUF_C_TYPE_MESSAGE) {
                    ck_assert_uint_lt(depth, RLHF_WIRE_MAX_DEPTH);
                    path[depth] = path[depth - 1]->fields[f].descriptor;
                    depth++;
                    deeper = true;
                }
        }
    }
}
END_TEST

START_TEST(cutting_a_message_anywhere_is_survived)
{
    Rlhf__V1__Sampling sampling = RLHF__V1__SAMPLING__INIT, *samplings[] = { &sampling };
    Rlhf__V1__JobName name = RLHF__V1__JOB_NAME__INIT;
    Rlhf__V1__GenerateJob job = RLHF__V1__GENERATE_JOB__INIT, *jobs[] = { &job, &job };
    Rlhf__V1__GenerateJobs body = RLHF__V1__GENERATE_JOBS__INIT;
    uint8_t digest[32] = { 1 }, packed[1024];
    ProtobufCBinaryData weights[] = { { 32, digest } };
    size_t size, whole = 0;

    sampling.temperature = 1;
    sampling.max_new_tokens = 5;
    name.step = 3;
    job.id = 1u << 20;
    job.name = &name;
    job.purpose = RLHF__V1__PURPOSE__PURPOSE_SAMPLE;
    body.weights = weights;
    body.n_weights = 1;
    body.sampling = samplings;
    body.n_sampling = 1;
    body.jobs = jobs;
    body.n_jobs = 2;
    size = rlhf__v1__generate_jobs__pack(&body, packed);
    ck_assert_uint_lt(size, sizeof packed);
    for (size_t cut = 0; cut <= size; cut++) {
        uint8_t *exact = malloc(cut + 1);
        struct rlhf_error err = { 0 };

        memcpy(exact, packed, cut);
        whole += accepts(body.base.descriptor, exact, cut, &err);
        free(exact);
    }
    ck_assert_uint_eq(whole, 5); /* cut between its four fields, and before and behind them */
}
END_TEST

START_TEST(a_budget_gives_no_more_than_its_limit_and_takes_all_back)
{
    struct rlhf_budget *b = rlhf_budget_new(NULL);
    size_t given = 0;

    for (unsigned round = 0; round < 3; round++) {
        uint8_t *p;

        rlhf_budget_reset(b, 100000);
        for (given = 0; (p = rlhf_budget_get(b, 1 + given % 5000)); given += 1 + given % 5000) {
            ck_assert_uint_eq((uintptr_t)p % 8, 0);
            memset(p, 0xab, 1 + given % 5000);
        }
        ck_assert_uint_gt(given, 50000);
        ck_assert_uint_le(given, 100000);
        ck_assert_uint_le(rlhf_budget_peak(b), 100000);
    }
    ck_assert_ptr_null(rlhf_budget_get(b, SIZE_MAX));
    rlhf_budget_reset(b, 0);
    rlhf_budget_free(b);
}
END_TEST

int main(void)
{
    return RUN_SUITE("net/codec", a_message_comes_out_as_it_went_in, broken_bytes_are_refused_by_name,
                     unknown_fields_pass, empty_sub_messages_cannot_be_multiplied, no_small_field_can_be_multiplied,
                     packed_integers_stay_within_the_budget, what_nests_in_unknown_fields_is_not_looked_into,
                     no_schema_is_recursive_or_wider_than_the_check_can_see, cutting_a_message_anywhere_is_survived,
                     a_budget_gives_no_more_than_its_limit_and_takes_all_back);
}
