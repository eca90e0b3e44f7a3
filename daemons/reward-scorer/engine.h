/* engine.h - the marker, and the rules of sources, on the daemon's compute thread; what is asked for over a network comes on
 * another. */
#ifndef REWARD_SCORER_ENGINE_H
#define REWARD_SCORER_ENGINE_H

#include "daemon/engine.h"
#include "reward-scorer/scorer.h"

struct engine;

struct engine_options {
    size_t max_tokens; /* of a batch */
    unsigned threads; /* 0: one a core */
    const char *credentials; /* folder of keys; NULL: none. Borrowed */
};
/* Borrows d. */
struct engine *engine_new(struct rlhf_daemon *d, const struct engine_options *o, struct rlhf_error *err);
struct rlhf_engine *engine_thread(struct engine *e);
void engine_join(struct engine *e, struct scorer *s); /* where results go; borrows */
void engine_free(struct engine *e); /* after the daemon's loop has ended; NULL is fine */

#endif
