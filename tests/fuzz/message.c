/* Every message: what passes the row of a handler table (wire, unpacking, values) obeys what is promised, and passes again
 * when it is packed again.
 *
 * Input: [row] [blobs] [size of each blob] [blob ...] [body], single bytes but for the last two. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "fuzz.h"
#include "net/checks.h"
#include "net/codec.h"
#include "proto/control.pb-c.h"
#include "proto/labels.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"

static const struct {
    const ProtobufCMessageDescriptor *schema;
    int (*check)(const struct rlhf_message *m, struct rlhf_error *err);
} rows[] = {
    { &rlhf__v1__hello__descriptor, rlhf_check_hello },
    { &rlhf__v1__welcome__descriptor, rlhf_check_welcome },
    { &rlhf__v1__heartbeat__descriptor, rlhf_check_heartbeat },
    { &rlhf__v1__error__descriptor, rlhf_check_error },
    { &rlhf__v1__credit__descriptor, rlhf_check_credit },
    { &rlhf__v1__generate_jobs__descriptor, rlhf_check_generate_jobs },
    { &rlhf__v1__rollouts__descriptor, rlhf_check_rollouts },
    { &rlhf__v1__score_jobs__descriptor, rlhf_check_score_jobs },
    { &rlhf__v1__scores__descriptor, rlhf_check_scores },
    { &rlhf__v1__jobs_returned__descriptor, rlhf_check_jobs_returned },
    { &rlhf__v1__weights_announce__descriptor, rlhf_check_weights_announce },
    { &rlhf__v1__weights_request__descriptor, rlhf_check_weights_request },
    { &rlhf__v1__weights_manifest__descriptor, rlhf_check_weights_manifest },
    { &rlhf__v1__chunk_request__descriptor, rlhf_check_chunk_request },
    { &rlhf__v1__chunk__descriptor, rlhf_check_chunk },
    { &rlhf__v1__tasks_submit__descriptor, rlhf_check_tasks_submit },
    { &rlhf__v1__tasks_stored__descriptor, rlhf_check_tasks_stored },
    { &rlhf__v1__comparisons_pull__descriptor, rlhf_check_comparisons_pull },
    { &rlhf__v1__comparisons__descriptor, rlhf_check_comparisons },
    { &rlhf__v1__status__descriptor, rlhf_check_status },
    { &rlhf__v1__drain__descriptor, rlhf_check_drain },
    { &rlhf__v1__resume__descriptor, rlhf_check_resume },
    { &rlhf__v1__header__descriptor, NULL },
};

static void expect_accepted(size_t row, const struct rlhf_message *m, size_t size)
{
    struct rlhf_budget *b = rlhf_budget_new(NULL);
    uint8_t *packed = malloc(size + 1);
    struct rlhf_message again = *m;

    RLHF_ASSERT(b && packed && protobuf_c_message_pack(m->body, packed) == size);
    rlhf_budget_reset(b, size * RLHF_BUDGET_FACTOR + RLHF_BUDGET_BASE);
    again.body = rlhf_unpack(b, rows[row].schema, packed, size, NULL);
    RLHF_ASSERT(again.body && (!rows[row].check || rows[row].check(&again, NULL) == 0));
    free(packed);
    rlhf_budget_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rlhf_message m = { .type = RLHF__V1__MESSAGE_TYPE__HELLO };
    struct rlhf_budget *b;
    const uint8_t *end = data + size, *sizes;
    uint8_t blobs[4][256] __attribute__((aligned(8)));
    struct rlhf_error err = { 0 };
    size_t row;

    if (size < 2 || (row = data[0]) >= sizeof rows / sizeof rows[0] || data[1] > RLHF_MAX_BLOBS
        || size < 2u + data[1])
        return 0;
    m.blob_count = data[1];
    sizes = data + 2;
    data += 2 + m.blob_count;
    for (size_t i = 0; i < m.blob_count; i++) {
        if (sizes[i] > end - data)
            return 0;
        memcpy(blobs[i], data, sizes[i]);
        m.blobs[i] = (struct rlhf_blob){ blobs[i], sizes[i] };
        data += sizes[i];
    }
    size = (size_t)(end - data);
    RLHF_ASSERT((b = rlhf_budget_new(NULL)));
    rlhf_budget_reset(b, size * RLHF_BUDGET_FACTOR + RLHF_BUDGET_BASE / 2);
    m.body = rlhf_unpack(b, rows[row].schema, data, size, &err);
    if (m.body && (!rows[row].check || rows[row].check(&m, &err) == 0))
        expect_accepted(row, &m, protobuf_c_message_get_packed_size(m.body));
    else
        RLHF_ASSERT(err.code == RLHF_REJECT && err.text[0]);
    RLHF_ASSERT(rlhf_budget_peak(b) <= size * RLHF_BUDGET_FACTOR + RLHF_BUDGET_BASE);
    rlhf_budget_free(b);
    return 0;
}
