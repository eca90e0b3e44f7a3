/* supervisor.h - what a service manager is told (the protocol of sd_notify(3), spoken directly: one datagram). */
#ifndef RLHF_DAEMON_SUPERVISOR_H
#define RLHF_DAEMON_SUPERVISOR_H

#include <stdint.h>

/* "READY=1" and the like, to $NOTIFY_SOCKET; nothing without one. */
void rlhf_supervisor_tell(const char *state);
/* How often WATCHDOG=1 is to be sent, from $WATCHDOG_USEC; 0: never. A third of the limit. */
int64_t rlhf_supervisor_watchdog_us(void);

#endif
