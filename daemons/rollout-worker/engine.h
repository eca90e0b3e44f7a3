/* engine.h - the generator on the daemon's compute thread. */
#ifndef ROLLOUT_WORKER_ENGINE_H
#define ROLLOUT_WORKER_ENGINE_H

#include "daemon/engine.h"
#include "rollout-worker/worker.h"

struct engine;

struct engine_options {
    size_t slots, max_prefill;
    unsigned threads; /* 0: one a core */
};
/* Borrows d. */
struct engine *engine_new(struct rlhf_daemon *d, const struct engine_options *o, struct rlhf_error *err);
struct rlhf_engine *engine_thread(struct engine *e);
void engine_join(struct engine *e, struct worker *w); /* where results go; borrows */
void engine_free(struct engine *e); /* after the daemon's loop has ended; NULL is fine */

#endif
