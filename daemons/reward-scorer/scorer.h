/* scorer.h - the reward-scorer's state machine: leased sequences in, rewards and reference log-probs out.
 *
 * Stateless towards the run: whatever it holds can be done again by any other scorer with the same bits. */
#ifndef REWARD_SCORER_SCORER_H
#define REWARD_SCORER_SCORER_H

#include "net/member.h"
#include "net/node.h"
#include "reward/source.h"

struct scorer;

/* A job as the scorer holds it, and its engine takes it. */
struct scorer_job {
    struct rlhf_member_job member;              /* first */
    struct rlhf_digest reward_model, reference; /* zero: not wanted */
    float temperature;
    const struct rlhf_source *source; /* NULL: models score; the scorer's own, until it is freed  */
    uint32_t count, prompt_count;
    uint32_t text[3]; /* with a source: bytes of prompt, completion and answer, which stand behind ids, each with a NUL */
    bool has_answer;
    int32_t ids[];
};
/* What the source is to reward; borrows job. */
struct rlhf_source_text scorer_job_text(const struct scorer_job *job);

/* Borrows env and engine. */
struct scorer *scorer_new(const struct rlhf_member_config *c, const struct rlhf_env *env,
                          struct rlhf_member_engine *engine, struct rlhf_error *err);
struct rlhf_member *scorer_member(struct scorer *s); /* its machine; the scorer's own */

/* From the engine. life is the one given to begin: results of a life that was cancelled are dropped. Copies. reward NaN: the
 * source has none, why saying what kept it away. */
void scorer_finished(struct scorer *s, uint64_t life, uint64_t id, float reward, const float *logprob_ref, size_t count,
                     const char *why);

void scorer_free(struct scorer *s); /* NULL is fine */

#endif
