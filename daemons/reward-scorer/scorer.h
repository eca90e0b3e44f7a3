/* scorer.h - the reward-scorer's state machine: leased sequences in, rewards and reference log-probs out.
 *
 * Stateless towards the run: whatever it holds can be done again by any other scorer with the same bits. */
#ifndef REWARD_SCORER_SCORER_H
#define REWARD_SCORER_SCORER_H

#include "net/member.h"
#include "net/node.h"

struct scorer;

/* A job as the scorer holds it; the engine borrows it for the call of begin. */
struct scorer_job {
    struct rlhf_member_job member;              /* first */
    struct rlhf_digest reward_model, reference; /* zero: not wanted */
    float temperature;
    uint32_t count, prompt_count;
    int32_t ids[];
};

/* What computes. Results come back, later, by scorer_finished() or scorer_failed() on the machine's thread. */
struct scorer_engine {
    void (*add_weights)(struct scorer_engine *e, struct rlhf_weights *w); /* takes */
    void (*drop_weights)(struct scorer_engine *e, const struct rlhf_digest *digest);
    void (*begin)(struct scorer_engine *e, uint64_t life, const struct scorer_job *job);
    void (*cancel)(struct scorer_engine *e); /* forget everything begun */
};

struct scorer_options {
    struct rlhf_member_config member;
    int64_t flush_us; /* results wait at most this long to travel together */
};

/* Borrows env and engine. */
struct scorer *scorer_new(const struct scorer_options *o, const struct rlhf_env *env, struct scorer_engine *engine,
                          struct rlhf_error *err);
const struct rlhf_machine *scorer_machine(struct scorer *s);
void scorer_join(struct scorer *s, struct rlhf_node *n);

/* From the engine. life is the one given to begin: results of a life that was cancelled are dropped. Copies. */
void scorer_finished(struct scorer *s, uint64_t life, uint64_t id, float reward, const float *logprob_ref, size_t count);
void scorer_failed(struct scorer *s, uint64_t life, uint64_t id, const struct rlhf_error *why);

void scorer_drain(struct scorer *s, const char *reason); /* hands everything back and takes no more */
void scorer_on_drain(struct scorer *s, void (*drained)(void *ctx), void *ctx);
void scorer_free(struct scorer *s); /* NULL is fine */

#endif
