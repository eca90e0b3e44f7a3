/* throttle.h - how often somebody may do something: a bucket of permits for every name, refilled as time goes by.
 *
 * The names that were seen last are remembered, a fixed number of them; one that is forgotten begins with a full
 * bucket. Which names push each other out nobody can foresee. */
#ifndef LABEL_COLLECTOR_THROTTLE_H
#define LABEL_COLLECTOR_THROTTLE_H

#include "base/clock.h"
#include "base/error.h"

struct collector_throttle;

/* per_second permits a name, at most burst saved up. Borrows clock. */
struct collector_throttle *collector_throttle_new(const struct rlhf_clock *clock, double per_second, double burst,
                                                  struct rlhf_error *err);
void collector_throttle_free(struct collector_throttle *t); /* NULL is fine */

/* Seconds until name has a permit, rounded up; 0 = now. */
unsigned collector_throttle_wait(struct collector_throttle *t, const char *name);
/* The same, and takes the permit when there is one. */
unsigned collector_throttle_take(struct collector_throttle *t, const char *name);

#endif
