/* port.h - the seam of action.h between two threads: the trainer asks on the compute thread, the fleet side answers on
 * the reactor thread. Nothing else is shared. */
#ifndef LEARNER_PORT_H
#define LEARNER_PORT_H

#include "config/run.h"
#include "daemon/daemon.h"
#include "learner/learner.h"

struct learner_bridge;

/* Borrows all. */
struct learner_bridge *learner_bridge_new(struct rlhf_daemon *d, struct learner *l, const struct rlhf_run *run,
                                          struct rlhf_error *err);
/* Runs the trainer over all stages on the compute thread; the daemon stops when it is through, or fails. */
int learner_bridge_start(struct learner_bridge *b, struct rlhf_error *err);
void learner_bridge_free(struct learner_bridge *b); /* after the daemon's loop has ended, and the learner; NULL is fine */

#endif
