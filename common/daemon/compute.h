/* compute.h - the compute thread, and the way back from any thread to the reactor's. */
#ifndef RLHF_DAEMON_COMPUTE_H
#define RLHF_DAEMON_COMPUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct rlhf_compute;

struct rlhf_compute *rlhf_compute_new(struct rlhf_error *err);
/* Readable when something was posted: then the reactor calls rlhf_compute_posted(). */
int rlhf_compute_fd(const struct rlhf_compute *c);
void rlhf_compute_posted(struct rlhf_compute *c);
int rlhf_compute_post(struct rlhf_compute *c, void (*call)(void *ctx), void *ctx, struct rlhf_error *err);
int rlhf_compute_submit(struct rlhf_compute *c, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx,
                        struct rlhf_error *err);

void rlhf_compute_progress(struct rlhf_compute *c);
/* False when a work that reports progress has reported none since the last call. */
bool rlhf_compute_alive(struct rlhf_compute *c);

/* Drops works not begun, waits for the one that runs, at most until the monotonic time; false when it still runs. */
bool rlhf_compute_stop(struct rlhf_compute *c, int64_t until_us);
void rlhf_compute_free(struct rlhf_compute *c); /* after a stop that returned true; NULL is fine */

#endif
