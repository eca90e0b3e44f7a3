#include "events/events.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "events/tensorboard.pb-c.h"

#define FILE_VERSION "brain.Event:2" /* the one that all readers of today expect */

enum { HEAD = 12, TAIL = 4 };                                                 /* bytes around a payload */
enum { DTYPE_FLOAT = 1, DTYPE_DOUBLE = 2, DTYPE_INT32 = 3, DTYPE_INT64 = 9 }; /* tensorflow/core/framework/types.proto */

uint32_t rlhf_event_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static void put_u32(char *to, uint32_t value)
{
    value = htole32(value);
    memcpy(to, &value, sizeof value);
}

static int put(struct rlhf_bytes *out, const Tensorboard__Event *e, struct rlhf_error *err)
{
    size_t size = tensorboard__event__get_packed_size(e);
    uint64_t length = htole64(size);
    char *head;

    if (rlhf_bytes_reserve(out, HEAD + size + TAIL, err) < 0)
        return -1;
    head = out->data + out->size;
    memcpy(head, &length, sizeof length);
    put_u32(head + 8, rlhf_event_mask(rlhf_crc32c(0, head, 8)));
    tensorboard__event__pack(e, (uint8_t *)head + HEAD);
    put_u32(head + HEAD + size, rlhf_event_mask(rlhf_crc32c(0, head + HEAD, size)));
    out->size += HEAD + size + TAIL;
    out->data[out->size] = '\0';
    return 0;
}

int rlhf_event_put_version(struct rlhf_bytes *out, double wall_time, struct rlhf_error *err)
{
    Tensorboard__Event e = TENSORBOARD__EVENT__INIT;

    e.wall_time = wall_time;
    e.what_case = TENSORBOARD__EVENT__WHAT_FILE_VERSION;
    e.file_version = (char *)(uintptr_t)FILE_VERSION;
    return put(out, &e, err);
}

int rlhf_event_put_start(struct rlhf_bytes *out, double wall_time, int64_t step, struct rlhf_error *err)
{
    Tensorboard__SessionLog log = TENSORBOARD__SESSION_LOG__INIT;
    Tensorboard__Event e = TENSORBOARD__EVENT__INIT;

    log.status = TENSORBOARD__SESSION_LOG__STATUS__START;
    e.wall_time = wall_time;
    e.step = step;
    e.what_case = TENSORBOARD__EVENT__WHAT_SESSION_LOG;
    e.session_log = &log;
    return put(out, &e, err);
}

int rlhf_event_put_scalars(struct rlhf_bytes *out, double wall_time, int64_t step, const struct rlhf_scalar *scalars,
                           size_t count, struct rlhf_error *err)
{
    Tensorboard__Summary__Value *values = calloc(count ? count : 1, sizeof *values), **list;
    Tensorboard__Summary summary = TENSORBOARD__SUMMARY__INIT;
    Tensorboard__Event e = TENSORBOARD__EVENT__INIT;
    int rc = -1;

    list = calloc(count ? count : 1, sizeof *list);
    if (!values || !list) {
        rlhf_fail(err, RLHF_FULL, "out of memory for an event of %zu values", count);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        tensorboard__summary__value__init(&values[i]);
        values[i].tag = (char *)(uintptr_t)scalars[i].tag;
        values[i].value_case = TENSORBOARD__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
        values[i].simple_value = scalars[i].value;
        list[i] = &values[i];
    }
    summary.n_value = count;
    summary.value = list;
    e.wall_time = wall_time;
    e.step = step;
    e.what_case = TENSORBOARD__EVENT__WHAT_SUMMARY;
    e.summary = &summary;
    rc = put(out, &e, err);
out:
    free(values);
    free(list);
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static uint32_t get_u32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof value);
    return le32toh(value);
}

int rlhf_event_record(const uint8_t *file, size_t size, uint64_t *offset, struct rlhf_event_record *r,
                      struct rlhf_error *err)
{
    size_t left = *offset <= size ? size - (size_t)*offset : 0;
    const uint8_t *head = file + (size - left);
    uint64_t length;

    if (left == 0)
        return 0;
    if (left < HEAD)
        return rlhf_fail(err, RLHF_AGAIN, "the file ends within a record, at byte %zu", size);
    memcpy(&length, head, sizeof length);
    *r = (struct rlhf_event_record){
        .offset = *offset, .length = le64toh(length), .length_crc = get_u32(head + 8), .data = head + HEAD};
    if (r->length_crc != rlhf_event_mask(rlhf_crc32c(0, head, 8)))
        return rlhf_fail(err, RLHF_CORRUPT, "byte %llu: the length of a record fails its check",
                         (unsigned long long)*offset);
    if (r->length > left - HEAD || left - HEAD - r->length < TAIL)
        return rlhf_fail(err, RLHF_AGAIN, "the file ends within the record at byte %llu", (unsigned long long)*offset);
    r->data_crc = get_u32(r->data + r->length);
    if (r->data_crc != rlhf_event_mask(rlhf_crc32c(0, r->data, (size_t)r->length)))
        return rlhf_fail(err, RLHF_CORRUPT, "byte %llu: the content of a record fails its check",
                         (unsigned long long)*offset);
    *offset += HEAD + r->length + TAIL;
    return 1;
}

/* A tensor of one number; false for any other. */
static bool scalar_of(const Tensorboard__Tensor *t, double *value)
{
    const uint8_t *content = t->content.data;
    union {
        float f;
        double d;
        int32_t i;
        int64_t l;
    } number;

    for (size_t i = 0; t->shape && i < t->shape->n_dim; i++)
        if (t->shape->dim[i]->size != 1)
            return false;
    switch (t->dtype) {
    case DTYPE_FLOAT:
        if (t->content.len == sizeof number.f)
            *value = (memcpy(&number, content, sizeof number.f), number.f);
        else if (t->n_float_val == 1)
            *value = t->float_val[0];
        else
            return false;
        return true;
    case DTYPE_DOUBLE:
        if (t->content.len == sizeof number.d)
            *value = (memcpy(&number, content, sizeof number.d), number.d);
        else if (t->n_double_val == 1)
            *value = t->double_val[0];
        else
            return false;
        return true;
    case DTYPE_INT32:
        if (t->content.len == sizeof number.i)
            *value = (memcpy(&number, content, sizeof number.i), number.i);
        else if (t->n_int_val == 1)
            *value = t->int_val[0];
        else
            return false;
        return true;
    case DTYPE_INT64:
        if (t->content.len == sizeof number.l)
            *value = (double)(memcpy(&number, content, sizeof number.l), number.l);
        else if (t->n_int64_val == 1)
            *value = (double)t->int64_val[0];
        else
            return false;
        return true;
    default:
        return false;
    }
}

static void read_value(const Tensorboard__Event *e, const Tensorboard__Summary__Value *v,
                       const struct rlhf_event_reader *reader)
{
    struct rlhf_event_scalar s = {.tag = v->tag, .step = e->step, .wall_time = e->wall_time};

    if (!rlhf_utf8_valid(v->tag, strlen(v->tag)))
        return;
    if (v->value_case == TENSORBOARD__SUMMARY__VALUE__VALUE_SIMPLE_VALUE) {
        s.value = v->simple_value;
    } else if (v->value_case == TENSORBOARD__SUMMARY__VALUE__VALUE_TENSOR) {
        s.tensor = true;
        if (!scalar_of(v->tensor, &s.value))
            return;
    } else {
        return;
    }
    reader->scalar(reader->ctx, &s);
}

int rlhf_event_read(const struct rlhf_event_record *r, const struct rlhf_event_reader *reader, struct rlhf_error *err)
{
    Tensorboard__Event *e = tensorboard__event__unpack(NULL, (size_t)r->length, r->data);

    if (!e)
        return rlhf_fail(err, RLHF_CORRUPT, "byte %llu: the record is no event", (unsigned long long)r->offset);
    if (e->what_case == TENSORBOARD__EVENT__WHAT_FILE_VERSION && reader->version)
        reader->version(reader->ctx, e->wall_time, e->file_version);
    if (e->what_case == TENSORBOARD__EVENT__WHAT_SESSION_LOG && reader->start &&
        e->session_log->status == TENSORBOARD__SESSION_LOG__STATUS__START)
        reader->start(reader->ctx, e->wall_time, e->step);
    if (e->what_case == TENSORBOARD__EVENT__WHAT_SUMMARY && reader->scalar)
        for (size_t i = 0; i < e->summary->n_value; i++)
            read_value(e, e->summary->value[i], reader);
    tensorboard__event__free_unpacked(e, NULL);
    return 0;
}
