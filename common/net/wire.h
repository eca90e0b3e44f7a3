/* wire.h - what every message must obey, read off its descriptor, before the parser sees it.
 *
 * protobuf-c 1.4.1 checks neither enum values nor UTF-8, lets strings hold NUL bytes, merges repeated singular fields,
 * and turned 2 MiB of empty sub-messages into 176 MB. So the bytes are walked once without allocating. Refused:
 * broken or over-long varints, groups, wire types that do not fit the field, singular fields that come twice, more
 * than RLHF_WIRE_MAX_FIELDS fields or RLHF_WIRE_MAX_DEPTH levels, strings that are not UTF-8 without NUL, unknown enum
 * values, floats that are not finite. Unknown fields pass. */
#ifndef RLHF_NET_WIRE_H
#define RLHF_NET_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/error.h"

enum { RLHF_WIRE_MAX_FIELDS = 1 << 17, RLHF_WIRE_MAX_DEPTH = 4 };

/* RLHF_REJECT names the field. */
int rlhf_wire_check(const ProtobufCMessageDescriptor *d, const void *data, size_t size, struct rlhf_error *err);

#endif
