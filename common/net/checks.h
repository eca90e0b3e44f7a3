/* checks.h - one value check a message: what the handler table's row `check` names.
 *
 * Runs after wire.h (UTF-8 without NUL, known enum values, finite floats) and after unpacking, and sees what only the
 * message's own meaning says: digests have 32 bytes, ids are there, indexes are in range, counts agree with the
 * sizes of the blobs, numbers lie in their ranges. A message that passes satisfies the invariants that its
 * comment in proto/ promises; what needs a model (vocabulary, context) is checked by who has one. */
#ifndef RLHF_NET_CHECKS_H
#define RLHF_NET_CHECKS_H

#include "base/hash.h"
#include "net/node.h"

enum {
    RLHF_MAX_JOBS = 4096,           /* in one message, and held by one peer            */
    RLHF_MAX_JOB_TOKENS = 1 << 20,  /* prompt and completion of one job                */
    RLHF_MAX_TASKS = 4096,          /* in one message                                  */
    RLHF_MAX_COMPLETIONS = 64,      /* K of one task or comparison                     */
    RLHF_MAX_DIGESTS = 64,          /* named by one message                            */
};

/* common */
int rlhf_check_hello(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_welcome(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_heartbeat(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_error(const struct rlhf_message *m, struct rlhf_error *err);
/* work */
int rlhf_check_credit(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_generate_jobs(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_rollouts(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_score_jobs(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_scores(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_jobs_returned(const struct rlhf_message *m, struct rlhf_error *err);
/* weights */
int rlhf_check_weights_announce(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_weights_request(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_weights_manifest(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_chunk_request(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_chunk(const struct rlhf_message *m, struct rlhf_error *err);
/* labels */
int rlhf_check_tasks_submit(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_tasks_stored(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_comparisons_pull(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_comparisons(const struct rlhf_message *m, struct rlhf_error *err);
/* control */
int rlhf_check_status(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_drain(const struct rlhf_message *m, struct rlhf_error *err);
int rlhf_check_resume(const struct rlhf_message *m, struct rlhf_error *err);

/* A digest field that a check has passed. */
struct rlhf_digest rlhf_digest_of_field(const ProtobufCBinaryData *field);
/* A digest as a field to send; borrows d. */
ProtobufCBinaryData rlhf_digest_field(const struct rlhf_digest *d);

#endif
