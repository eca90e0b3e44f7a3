/* engine.h - work that goes on on the compute thread while messages arrive on the reactor thread.
 *
 * The reactor thread tells the engine commands; the compute thread takes them all, does a step, looks again, and sleeps
 * when there is nothing to do. Results go back with rlhf_daemon_post(). */
#ifndef RLHF_DAEMON_ENGINE_H
#define RLHF_DAEMON_ENGINE_H

#include "daemon/daemon.h"

struct rlhf_engine;

struct rlhf_engine_ops {
    /* Compute thread: one command, in the order told. Takes command. */
    void (*take)(void *core, void *command);
    /* Compute thread: some milliseconds of work. False when there is none until another command comes. */
    bool (*step)(void *core);
    /* A command that is never taken, because the process stops. */
    void (*discard)(void *core, void *command);
};

/* Borrows all. */
struct rlhf_engine *rlhf_engine_new(struct rlhf_daemon *d, const struct rlhf_engine_ops *ops, void *core,
                                    struct rlhf_error *err);
/* Reactor thread. Takes command, also on failure (it is discarded then). */
int rlhf_engine_tell(struct rlhf_engine *e, void *command, struct rlhf_error *err);
/* Any thread: the compute thread returns after its present step. */
void rlhf_engine_stop(struct rlhf_engine *e);
void rlhf_engine_free(struct rlhf_engine *e); /* after the daemon's loop has ended; NULL is fine */

#endif
