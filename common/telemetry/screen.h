/* screen.h - one line at the bottom of the terminal that log lines push out of their way. Inside of this room only:
 * log.c and progress.c share stderr through it. */
#ifndef RLHF_TELEMETRY_SCREEN_H
#define RLHF_TELEMETRY_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

bool screen_is_terminal(void);    /* stderr, and it can move its cursor */
unsigned screen_columns(void);    /* 80 when unknown */
void screen_line(const char *line, size_t size); /* whole lines with their newline; the status line stays below */
void screen_status(const char *text); /* replaces the status line; NULL: finished, leaves what stands there */

#endif
