/* codec.h - frames and messages: [Header][Body][blob ...].
 *
 * Unpacking spends a budget: at most 8 times the frame and 1 MiB, whatever protobuf-c makes of the bytes; over it the
 * message is refused. */
#ifndef RLHF_NET_CODEC_H
#define RLHF_NET_CODEC_H

#include "base/memory.h"
#include "net/node.h"
#include "proto/common.pb-c.h"

enum {
    RLHF_PROTOCOL = 1,           /* the version of proto/ that this tree speaks   */
    RLHF_HEADER_MAX = 512,       /* bytes of a header frame                       */
    RLHF_RUN_MAX = 64,           /* bytes of a run id, with NUL                   */
    RLHF_MAX_FRAMES = 2 + RLHF_MAX_BLOBS,
    RLHF_BUDGET_FACTOR = 8,
    RLHF_BUDGET_BASE = 1 << 20,
};

/* Memory of one message at a time: an arena that protobuf-c allocates from. */
struct rlhf_budget;
struct rlhf_budget *rlhf_budget_new(struct rlhf_error *err);
/* Frees everything given out, and sets how much may be given out next. */
void rlhf_budget_reset(struct rlhf_budget *b, size_t limit);
void *rlhf_budget_get(struct rlhf_budget *b, size_t size); /* aligned to 8; NULL when it is spent */
size_t rlhf_budget_peak(const struct rlhf_budget *b);      /* the most ever held at once */
void rlhf_budget_free(struct rlhf_budget *b);              /* NULL is fine */

/* Checks (wire.h) and unpacks; the result lives until the budget's next reset. RLHF_REJECT for what is not a message of
 * the schema, RLHF_FULL when memory is short. */
ProtobufCMessage *rlhf_unpack(struct rlhf_budget *b, const ProtobufCMessageDescriptor *schema, const void *data,
                              size_t size, struct rlhf_error *err);

struct rlhf_header {
    uint32_t protocol, type;
    uint64_t request;
    char run[RLHF_RUN_MAX];
    uint64_t sent_us;
};
int rlhf_header_read(struct rlhf_header *h, struct rlhf_budget *b, const struct rlhf_blob *frame,
                     struct rlhf_error *err);

/* The frames of m under h (whose type and request are taken from m): header and body go into out (cleared first), blobs are
 * borrowed. frames has room for RLHF_MAX_FRAMES; returns how many, or -1. */
int rlhf_pack_message(struct rlhf_bytes *out, const struct rlhf_header *h, const struct rlhf_message *m,
              struct rlhf_blob *frames, struct rlhf_error *err);

const char *rlhf_message_name(uint32_t type); /* "GENERATE_JOBS", or "message" */
const char *rlhf_role_name(Rlhf__V1__Role role); /* "rollout-worker" */

#endif
