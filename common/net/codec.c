#include "net/codec.h"

#include <stdlib.h>
#include <string.h>

#include "net/wire.h"

/* Under ASan every allocation is a block of its own, so that a step outside of it is found. */
#if defined(__SANITIZE_ADDRESS__)
enum { BLOCK_SIZE = 0 };
#else
enum { BLOCK_SIZE = 16 << 10 };
#endif

struct block {
    struct block *next;
    size_t size;
};

struct rlhf_budget {
    ProtobufCAllocator allocator;
    struct block *blocks;
    uint8_t *at;
    size_t left; /* in the newest block */
    size_t held, limit, peak;
};

static void *allocate(void *ctx, size_t size)
{
    return rlhf_budget_get(ctx, size);
}

static void release(void *ctx, void *p)
{
    (void)ctx;
    (void)p; /* the arena goes at once */
}

struct rlhf_budget *rlhf_budget_new(struct rlhf_error *err)
{
    struct rlhf_budget *b = calloc(1, sizeof *b);

    if (!b) {
        rlhf_fail(err, RLHF_FULL, "no memory for a message budget");
        return NULL;
    }
    b->allocator = (ProtobufCAllocator){ .alloc = allocate, .free = release, .allocator_data = b };
    return b;
}

void rlhf_budget_reset(struct rlhf_budget *b, size_t limit)
{
    /* The oldest block is kept when it is of the common size: small messages then cost no malloc. */
    while (b->blocks && (b->blocks->next || b->blocks->size != BLOCK_SIZE)) {
        struct block *gone = b->blocks;

        b->blocks = gone->next;
        free(gone);
    }
    b->held = b->blocks ? b->blocks->size : 0;
    b->at = b->blocks ? (uint8_t *)(b->blocks + 1) : NULL;
    b->left = b->held;
    b->limit = limit;
}

void *rlhf_budget_get(struct rlhf_budget *b, size_t size)
{
    void *given;

    if (size > SIZE_MAX - 7)
        return NULL;
    size = size ? (size + 7) & ~(size_t)7 : 8;
    if (size > b->left) {
        size_t want = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        struct block *block;

        if (want > b->limit || b->held > b->limit - want || !(block = malloc(sizeof *block + want)))
            return NULL;
        block->size = want;
        b->held += want;
        b->peak = b->held > b->peak ? b->held : b->peak;
        if (want > BLOCK_SIZE && b->blocks) { /* a block for one: the newest one goes on being filled */
            block->next = b->blocks->next;
            b->blocks->next = block;
            return block + 1;
        }
        block->next = b->blocks;
        b->blocks = block;
        b->at = (uint8_t *)(block + 1);
        b->left = want;
    }
    given = b->at;
    b->at += size;
    b->left -= size;
    return given;
}

size_t rlhf_budget_peak(const struct rlhf_budget *b)
{
    return b->peak;
}

void rlhf_budget_free(struct rlhf_budget *b)
{
    if (!b)
        return;
    while (b->blocks) {
        struct block *gone = b->blocks;

        b->blocks = gone->next;
        free(gone);
    }
    free(b);
}

ProtobufCMessage *rlhf_unpack(struct rlhf_budget *b, const ProtobufCMessageDescriptor *schema, const void *data,
                              size_t size, struct rlhf_error *err)
{
    ProtobufCMessage *m;

    if (rlhf_wire_check(schema, data, size, err) < 0)
        return NULL;
    if (!(m = protobuf_c_message_unpack(schema, &b->allocator, size, data)))
        rlhf_fail(err, RLHF_REJECT, "%s of %zu bytes cannot be unpacked within %zu bytes of memory",
                  schema->short_name, size, b->limit);
    return m;
}

int rlhf_header_read(struct rlhf_header *h, struct rlhf_budget *b, const struct rlhf_blob *frame,
                     struct rlhf_error *err)
{
    const Rlhf__V1__Header *header;

    if (frame->size > RLHF_HEADER_MAX)
        return rlhf_fail(err, RLHF_REJECT, "a header of %zu bytes; at most %d are allowed", frame->size,
                         RLHF_HEADER_MAX);
    header = (const Rlhf__V1__Header *)rlhf_unpack(b, &rlhf__v1__header__descriptor, frame->data, frame->size, err);
    if (!header)
        return -1;
    if (strlen(header->run) >= RLHF_RUN_MAX)
        return rlhf_fail(err, RLHF_REJECT, "a run id longer than %d bytes", RLHF_RUN_MAX - 1);
    *h = (struct rlhf_header){
        .protocol = header->protocol,
        .type = header->type,
        .request = header->request,
        .sent_us = header->sent_us,
    };
    strcpy(h->run, header->run);
    return 0;
}

/* protobuf-c writes into a growing buffer. */
struct sink {
    ProtobufCBuffer base;
    struct rlhf_bytes *out;
    bool failed;
};

static void sink_append(ProtobufCBuffer *base, size_t size, const uint8_t *data)
{
    struct sink *sink = (struct sink *)base;

    sink->failed |= rlhf_bytes_append(sink->out, data, size, NULL) < 0;
}

int rlhf_pack_message(struct rlhf_bytes *out, const struct rlhf_header *h, const struct rlhf_message *m,
              struct rlhf_blob *frames, struct rlhf_error *err)
{
    Rlhf__V1__Header header = RLHF__V1__HEADER__INIT;
    uint8_t packed[RLHF_HEADER_MAX];
    size_t header_size, body_size;
    struct sink sink = { .base = { .append = sink_append }, .out = out };

    header.protocol = h->protocol;
    header.type = m->type;
    header.request = m->request;
    header.run = (char *)h->run;
    header.sent_us = h->sent_us;
    header_size = rlhf__v1__header__pack(&header, packed);

    rlhf_bytes_clear(out);
    if (rlhf_bytes_append(out, packed, header_size, err) < 0)
        return -1;
    protobuf_c_message_pack_to_buffer(m->body, &sink.base);
    if (sink.failed)
        return rlhf_fail(err, RLHF_FULL, "no memory to pack a %s", rlhf_message_name(m->type));
    body_size = out->size - header_size;
    frames[0] = (struct rlhf_blob){ out->data, header_size };
    frames[1] = (struct rlhf_blob){ out->data + header_size, body_size };
    for (size_t i = 0; i < m->blob_count; i++)
        frames[2 + i] = m->blobs[i];
    return (int)(2 + m->blob_count);
}

const char *rlhf_message_name(uint32_t type)
{
    const ProtobufCEnumValue *value =
        type <= INT32_MAX
            ? protobuf_c_enum_descriptor_get_value(&rlhf__v1__message_type__descriptor, (int)type)
            : NULL;

    return value ? value->name : "message";
}

const char *rlhf_role_name(Rlhf__V1__Role role)
{
    switch (role) {
    case RLHF__V1__ROLE__ROLE_LEARNER:
        return "learner";
    case RLHF__V1__ROLE__ROLE_ROLLOUT_WORKER:
        return "rollout-worker";
    case RLHF__V1__ROLE__ROLE_REWARD_SCORER:
        return "reward-scorer";
    case RLHF__V1__ROLE__ROLE_LABEL_COLLECTOR:
        return "label-collector";
    case RLHF__V1__ROLE__ROLE_CONTROL:
        return "rlhfctl";
    default:
        return "nobody";
    }
}
