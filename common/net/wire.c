#include "net/wire.h"

#include <math.h>
#include <string.h>

#include "base/text.h"

enum wire_type { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };

/* What is left to read, and what a whole message has used up. */
struct reader {
    const uint8_t *at, *end;
};
struct walk {
    size_t fields;
    struct rlhf_error *err;
};

static bool read_varint(struct reader *r, uint64_t *out)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte;

        if (r->at == r->end)
            return false;
        byte = *r->at++;
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool read_bytes(struct reader *r, size_t size, struct reader *out)
{
    if (size > (size_t)(r->end - r->at))
        return false;
    out->at = r->at;
    out->end = r->at += size;
    return true;
}

/* Reads the value of a field of wire type `type`: the number of a varint in *number, the bytes of others in *bytes. */
static bool read_value(struct reader *r, unsigned type, uint64_t *number, struct reader *bytes)
{
    switch (type) {
    case VARINT:
        return read_varint(r, number);
    case FIXED64:
        return read_bytes(r, 8, bytes);
    case FIXED32:
        return read_bytes(r, 4, bytes);
    case DELIMITED:
        return read_varint(r, number) && *number <= SIZE_MAX && read_bytes(r, (size_t)*number, bytes);
    default:
        return false; /* groups, and what does not exist */
    }
}

static unsigned wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return DELIMITED;
    default:
        return VARINT;
    }
}

static int refuse(struct walk *w, const ProtobufCMessageDescriptor *d, const char *field, const char *why)
{
    return rlhf_fail(w->err, RLHF_REJECT, "%s.%s %s", d->short_name, field, why);
}

/* One scalar: number holds a varint, bytes the others. */
static int check_scalar(struct walk *w, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                        uint64_t number, const struct reader *bytes)
{
    if (f->type == PROTOBUF_C_TYPE_ENUM) {
        if (number > INT32_MAX || !protobuf_c_enum_descriptor_get_value(f->descriptor, (int)number))
            return refuse(w, d, f->name, "has a value that is not known here");
    } else if (f->type == PROTOBUF_C_TYPE_FLOAT) {
        float value;

        memcpy(&value, bytes->at, sizeof value);
        if (!isfinite(value))
            return refuse(w, d, f->name, "is not finite");
    } else if (f->type == PROTOBUF_C_TYPE_DOUBLE) {
        double value;

        memcpy(&value, bytes->at, sizeof value);
        if (!isfinite(value))
            return refuse(w, d, f->name, "is not finite");
    }
    return 0;
}

static int check_packed(struct walk *w, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                        struct reader packed)
{
    while (packed.at < packed.end) {
        struct reader bytes = { 0 };
        uint64_t number = 0;

        if (!read_value(&packed, wire_type_of(f->type), &number, &bytes))
            return refuse(w, d, f->name, "is cut off");
        if (check_scalar(w, d, f, number, &bytes) < 0)
            return -1;
    }
    return 0;
}

static int check_message(struct walk *w, const ProtobufCMessageDescriptor *d, struct reader r, unsigned depth);

static int check_field(struct walk *w, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                       unsigned type, uint64_t number, const struct reader *bytes, unsigned depth)
{
    unsigned expected = wire_type_of(f->type);

    if (type != expected) {
        if (type == DELIMITED && expected != DELIMITED && f->label == PROTOBUF_C_LABEL_REPEATED)
            return check_packed(w, d, f, *bytes);
        return refuse(w, d, f->name, "has the wrong wire type");
    }
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return check_message(w, f->descriptor, *bytes, depth + 1);
    case PROTOBUF_C_TYPE_STRING:
        if (memchr(bytes->at, '\0', (size_t)(bytes->end - bytes->at))
            || !rlhf_utf8_valid((const char *)bytes->at, (size_t)(bytes->end - bytes->at)))
            return refuse(w, d, f->name, "is not UTF-8 without NUL");
        return 0;
    case PROTOBUF_C_TYPE_BYTES:
        return 0;
    default:
        return check_scalar(w, d, f, number, bytes);
    }
}

static int check_message(struct walk *w, const ProtobufCMessageDescriptor *d, struct reader r, unsigned depth)
{
    uint64_t seen = 0; /* bit i: singular field i has come; our messages have fewer than 64 fields */

    if (depth >= RLHF_WIRE_MAX_DEPTH)
        return refuse(w, d, "*", "is nested too deeply");
    while (r.at < r.end) {
        const ProtobufCFieldDescriptor *f;
        struct reader bytes = { 0 };
        uint64_t tag = 0, number = 0;

        if (++w->fields > RLHF_WIRE_MAX_FIELDS)
            return refuse(w, d, "*", "has too many fields");
        if (!read_varint(&r, &tag) || tag >> 3 == 0 || tag >> 3 > (1u << 29) - 1)
            return refuse(w, d, "*", "has a broken tag");
        f = protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
        if (!read_value(&r, (unsigned)(tag & 7), &number, &bytes))
            return refuse(w, d, f ? f->name : "*", "is cut off");
        if (!f)
            continue;
        if (f->label != PROTOBUF_C_LABEL_REPEATED && f - d->fields < 64) {
            uint64_t bit = UINT64_C(1) << (f - d->fields);

            if (seen & bit)
                return refuse(w, d, f->name, "comes twice");
            seen |= bit;
        }
        if (check_field(w, d, f, (unsigned)(tag & 7), number, &bytes, depth) < 0)
            return -1;
    }
    return 0;
}

int rlhf_wire_check(const ProtobufCMessageDescriptor *d, const void *data, size_t size, struct rlhf_error *err)
{
    struct walk w = { .err = err };
    const uint8_t *bytes = data;

    return check_message(&w, d, (struct reader){ bytes, bytes + size }, 0);
}
