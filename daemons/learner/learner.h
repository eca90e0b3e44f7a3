/* learner.h - the learner's fleet side: a state machine that carries out one action at a time.
 *
 * It gives jobs to workers and scorers on credit, publishes weights, and speaks to the label-collector. It runs on
 * the reactor thread and touches the outside only through struct rlhf_env and its node, so the simulator
 * runs it unchanged. See action.h for the other side and proto/PROTOCOL.md for the conversations. */
#ifndef LEARNER_LEARNER_H
#define LEARNER_LEARNER_H

#include "learner/action.h"
#include "net/node.h"
#include "proto/control.pb-c.h"

struct learner;

struct learner_options {
    const char *run;        /* run id; borrowed */
    const char *host;       /* boot id that manifests name; borrowed */
    int64_t lease_us;       /* a lease that no heartbeat renews ends after this */
    uint32_t max_attempts;  /* then a job is set aside */
    int64_t label_retry_us; /* an unanswered message to the label-collector is sent again after this */
    int64_t label_poll_us;  /* between pulls while comparisons are awaited */
};
#define LEARNER_OPTIONS_DEFAULT                                                                              \
    { .lease_us = 15000000, .max_attempts = 5, .label_retry_us = 10000000, .label_poll_us = 200000 }

/* Borrows env and the strings of o. */
struct learner *learner_new(const struct learner_options *o, const struct rlhf_env *env, struct rlhf_error *err);
/* What a node is made of; lives as long as the learner. */
const struct rlhf_machine *learner_machine(struct learner *l);
void learner_join(struct learner *l, struct rlhf_node *node); /* borrows; once, before anything arrives */

/* Called once when the action is done: takes over *answer (learner_answer_free()), or *err says why there is none. */
typedef void learner_answered(void *ctx, struct learner_answer *answer, const struct rlhf_error *err);

/* Starts an action; borrows it until answered, which may happen before this returns. One at a time. -1 when it cannot
 * even start (answered is not called then). a->weights are taken in any case. */
int learner_act(struct learner *l, const struct learner_action *a, learner_answered *answered, void *ctx,
                struct rlhf_error *err);
/* Forgets the action without answering: the process stops. */
void learner_abandon(struct learner *l);

/* What `rlhfctl status` shows. Stages are declared once, then updated. */
int learner_declare_stage(struct learner *l, const char *name, const char *kind, struct rlhf_error *err);
void learner_set_progress(struct learner *l, size_t stage, uint64_t step, uint64_t steps, uint64_t tokens,
                          const char *detail);
void learner_set_state(struct learner *l, const char *state, const char *error); /* state: static text */
/* Called when a control peer asks for Drain. */
void learner_on_drain(struct learner *l, void (*drain)(void *ctx), void *ctx);
/* And for Resume. */
void learner_on_resume(struct learner *l, void (*resume)(void *ctx), void *ctx);

struct learner_counters {
    uint64_t granted, done, late, expired, returned, aside, refused;
};
struct learner_counters learner_get_counters(const struct learner *l);

void learner_free(struct learner *l); /* NULL is fine */

#endif
