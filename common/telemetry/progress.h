/* progress.h - long work shows progress: a bar with rate and time left on a terminal, log lines elsewhere. */
#ifndef RLHF_TELEMETRY_PROGRESS_H
#define RLHF_TELEMETRY_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct rlhf_progress;
/* Borrows clock. total 0: unknown. NULL when out of memory, which the others take. */
struct rlhf_progress *rlhf_progress_new(const struct rlhf_clock *clock, const char *what, uint64_t total,
                                        const char *unit);
/* detail: short text behind the bar, NULL keeps the last. Cheap: draws at most 10 times a second, or logs every 15 s. */
void rlhf_progress_update(struct rlhf_progress *p, uint64_t done, const char *detail);
void rlhf_progress_end(struct rlhf_progress *p); /* last state, newline, frees; NULL is fine */

/* One bar as text of at most columns, for screens that draw several:
 * "what [#####     ]  50%  12 steps/s  0:10 left  detail". Returns its length in bytes. */
size_t rlhf_progress_text(char *out, size_t size, unsigned columns, const char *what, uint64_t done,
                          uint64_t total, double seconds, const char *unit, const char *detail);

#endif
