/* sync.h - keeps us and vendors' servers in step: gives them tasks, brings back what people there say.
 *
 * One request a vendor is under way at a time, on a thread of its own (http/post.h); answers are applied on the reactor
 * thread, each in one transaction with the cursor behind it. So whoever dies when, what was read is read again or
 * stands, and a task is sent once (store_vendors.h). Callbacks are hints: the task that one names is fetched, or, where
 * a vendor has no call for that, the next pull begins at once. Failures are tried again after a pause that doubles up
 * to five minutes, with jitter, and is never shorter than the server asks for. */
#ifndef LABEL_COLLECTOR_SYNC_H
#define LABEL_COLLECTOR_SYNC_H

#include "accounts.h"

struct collector_sync;

/* Sets c->sync; borrows c. NULL and *err on failure. */
struct collector_sync *collector_sync_new(struct collector *c, struct rlhf_error *err);
struct collector_accounts *collector_sync_accounts(struct collector_sync *s);
const char *collector_sync_trouble(struct collector_sync *s); /* of a vendor that fails; "" = all is well */
int collector_sync_fd(const struct collector_sync *s);        /* readable: call run */
void collector_sync_run(void *sync);
/* There is something to do for a: tasks to push, a task that was hinted at, or (poll) anything. */
void collector_sync_wake(struct collector_sync *s, struct collector_account *a, bool poll);
void collector_sync_free(struct collector_sync *s); /* NULL is fine */

#endif
