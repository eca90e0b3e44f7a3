/* screen.h - what `rlhfctl up` shows: one line a stage and one for the daemons, drawn in place on a terminal;
 * log lines elsewhere. */
#ifndef RLHFCTL_SCREEN_H
#define RLHFCTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/control.pb-c.h"

struct ctl_screen;

/* tty: draw in place. */
struct ctl_screen *ctl_screen_new(bool tty);
/* status: the learner's, NULL: none. daemons: the last line. */
void ctl_screen_show(struct ctl_screen *s, const Rlhf__V1__Status *status, const char *daemons);
/* The same at once, for the last time. */
void ctl_screen_finish(struct ctl_screen *s, const Rlhf__V1__Status *status, const char *daemons);
/* A line that stays. */
void ctl_screen_say(struct ctl_screen *s, const char *text);
/* Leaves what stands there. */
void ctl_screen_free(struct ctl_screen *s);

/* One stage as a line of at most columns; rate: tokens a second, 0: unknown. */
void ctl_stage_line(char *out, size_t size, unsigned columns, const Rlhf__V1__StageStatus *stage,
                    bool current, double rate);

#endif
