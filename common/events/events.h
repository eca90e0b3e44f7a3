/* events.h - TensorBoard's event files: records that are framed and checked (TFRecord), each a small protobuf message
 * (tensorboard.proto).
 *
 * A record is its length (u64), the masked CRC-32C of those eight bytes, the payload, and the masked CRC-32C of the
 * payload; all little-endian. */
#ifndef RLHF_EVENTS_EVENTS_H
#define RLHF_EVENTS_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/memory.h"

/* TFRecord's: a CRC stored beside what it guards is rotated and offset, so that a CRC of data that holds CRCs stays good. */
uint32_t rlhf_event_mask(uint32_t crc);

/* ---- writing: each appends one record to out ---------------------------------------------------------- */

struct rlhf_scalar {
    const char *tag;
    float value; /* NaN and infinity are values, too */
};
/* The first record of every file. */
int rlhf_event_put_version(struct rlhf_bytes *out, double wall_time, struct rlhf_error *err);
/* Whoever reads on undoes what it knows of this step and later ones, under every tag. */
int rlhf_event_put_start(struct rlhf_bytes *out, double wall_time, int64_t step, struct rlhf_error *err);
int rlhf_event_put_scalars(struct rlhf_bytes *out, double wall_time, int64_t step, const struct rlhf_scalar *scalars,
                           size_t count, struct rlhf_error *err);

/* ---- reading ------------------------------------------------------------------------------------------ */

struct rlhf_event_record {
    uint64_t offset, length;        /* in the file; of the payload */
    uint32_t length_crc, data_crc; /* masked, as stored */
    const uint8_t *data;           /* points into the file */
};
/* The record at *offset, which is moved behind it. 1: there is one; 0: the file ends here; -1: RLHF_CORRUPT, and *offset
 * stays. A file that is being written may end within a record: that is RLHF_AGAIN. */
int rlhf_event_record(const uint8_t *file, size_t size, uint64_t *offset, struct rlhf_event_record *r,
                      struct rlhf_error *err);

/* One value of a record. Borrowed for the call. */
struct rlhf_event_scalar {
    const char *tag; /* UTF-8 */
    int64_t step;
    double wall_time, value;
    bool tensor; /* stored as a tensor, not as simple_value */
};
struct rlhf_event_reader { /* any may be NULL */
    void (*version)(void *ctx, double wall_time, const char *version);
    void (*start)(void *ctx, double wall_time, int64_t step);
    void (*scalar)(void *ctx, const struct rlhf_event_scalar *s);
    void *ctx;
};
/* Tells reader what the record says; what is neither of these (images, graphs, tensors of more than one number) is passed
 * over. RLHF_CORRUPT when it is no event. */
int rlhf_event_read(const struct rlhf_event_record *r, const struct rlhf_event_reader *reader, struct rlhf_error *err);

#endif
