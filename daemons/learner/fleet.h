/* fleet.h - the learner's state, shared by the files of its fleet side and by nobody else. */
#ifndef LEARNER_FLEET_H
#define LEARNER_FLEET_H

#include "learner/learner.h"
#include "learner/lease.h"
#include "net/weights.h"
#include "proto/labels.pb-c.h"
#include "proto/weights.pb-c.h"
#include "proto/work.pb-c.h"

enum {
    LEARNER_MAX_STAGES = 64,
    LEARNER_MAX_JOBS_A_MESSAGE = 256,
    LEARNER_MAX_PUBLISHED = 64, /* at a time; the trainer drops what it no longer names */
    LEARNER_TASKS_A_MESSAGE = 64,
    LEARNER_PULL_LIMIT = 256,
    LEARNER_MAX_LABELERS = 1 << 20, /* whose weights are kept */
};

/* Of a worker or scorer. */
struct learner_peer {
    struct learner_holder holder; /* first */
    struct rlhf_peer *peer;
    size_t credit; /* the most jobs it may hold */
    uint64_t done; /* results that counted      */
    struct learner_peer *next, *before; /* among the hungry */
    bool hungry;
};

/* Those of one role that may hold more jobs than they do, in the order in which they became so: dispatching costs what is
 * dispatched, however many workers there are. */
struct learner_hungry {
    struct learner_peer *first, *last;
    size_t count;
};

struct learner_published {
    struct rlhf_digest digest;
    uint32_t vocabulary; /* 0: not a language model; bounds the token ids of rollouts */
};

struct learner_stage {
    char *name;
    const char *kind; /* borrowed */
    uint64_t step, steps, tokens;
    int64_t begun_us, spent_us;
    char detail[160];
    bool done;
};

struct learner {
    struct learner_options options;
    const struct rlhf_env *env;
    struct rlhf_node *node;
    struct rlhf_machine machine;
    struct rlhf_weights_source *weights;
    struct learner_published published[LEARNER_MAX_PUBLISHED];
    size_t published_count;

    /* the action under way */
    const struct learner_action *action; /* NULL: none */
    learner_answered *answered;
    void *answered_ctx;
    struct learner_answer answer;

    /* of GENERATE and SCORE: lease.c knows the jobs */
    struct learner_leases *leases;
    struct learner_hungry workers, scorers;
    uint64_t first_job;
    int64_t expire_at; /* next look at the leases */

    /* of SUBMIT and PULL */
    struct rlhf_peer *collector; /* NULL: not connected */
    uint64_t request;            /* of the message that awaits an answer; 0: none */
    uint64_t last_request;
    size_t submitted;            /* tasks stored there */
    size_t submitting;           /* tasks in the message under way */
    uint64_t cursor;
    size_t comparisons_capacity;
    int64_t labels_at; /* send (again) at this time */
    int64_t heard_us;  /* when the question was asked, or last answered */
    int64_t deadline_us; /* from when on at_least comparisons suffice */
    int64_t idle_us;   /* since when no task is open and no comparison comes; 0: one is or did */

    struct learner_stage stages[LEARNER_MAX_STAGES];
    size_t stage_count, stage;
    const char *state;
    char error[400];
    int64_t started_us;
    void (*drain)(void *ctx);
    void *drain_ctx;
    void (*resume)(void *ctx);
    void *resume_ctx;
    struct learner_counters counters;
};

extern const struct rlhf_handler learner_handlers[]; /* handlers.c */

/* learner.c: the action is done, or failed with *err. */
void learner_finish(struct learner *l, const struct rlhf_error *err);

/* dispatch.c */
int learner_dispatch_begin(struct learner *l, struct rlhf_error *err);
void learner_dispatch(struct learner *l);
/* What worker holds, or may hold, has changed. */
void learner_appetite(struct learner *l, struct learner_peer *worker);
void learner_leaves_table(struct learner *l, struct learner_peer *worker); /* it will get nothing more */
int learner_take_rollouts(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                          struct rlhf_error *err);
int learner_take_scores(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                        struct rlhf_error *err);
int learner_take_back(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                      struct rlhf_error *err);

/* publish.c */
int learner_serve_weights(struct learner *l, struct rlhf_error *err);
void learner_announce(struct learner *l, struct rlhf_peer *peer); /* everything published, to a newcomer */
const struct learner_published *learner_find_published(const struct learner *l, const void *digest);

/* labels.c */
int learner_labels_begin(struct learner *l, struct rlhf_error *err);
void learner_labels_send(struct learner *l); /* what is due, if the collector is there */
int learner_take_stored(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                        struct rlhf_error *err);
int learner_take_comparisons(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                             struct rlhf_error *err);

/* status.c */
int learner_send_status(struct learner *l, struct rlhf_peer *peer, const struct rlhf_message *m,
                        struct rlhf_error *err);

#endif
