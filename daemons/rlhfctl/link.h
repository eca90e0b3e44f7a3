/* link.h - a connection to one daemon's control conversation: asks for its status again and again.
 *
 * Nothing blocks but ctl_links_wait(). A daemon that is not there yet, restarts or hangs just has no status.
 */
#ifndef RLHFCTL_LINK_H
#define RLHFCTL_LINK_H

#include "daemon/keys.h"
#include "net/node.h"
#include "proto/control.pb-c.h"

struct ctl_link;

/* Under CURVE with these keys, where the endpoint is tcp://; NULL: in the clear. Borrows them. */
struct ctl_link *ctl_link_new(const char *endpoint, Rlhf__V1__Role service, const struct rlhf_keys *keys,
                              struct rlhf_error *err);
/* Takes what has come; asks again when it is time. */
void ctl_link_turn(struct ctl_link *l);
/* The latest status, valid until the next turn; NULL: none yet, or none since the daemon was lost. */
const Rlhf__V1__Status *ctl_link_status(const struct ctl_link *l);
/* Sends Resume as soon as the daemon is greeted, once. */
void ctl_link_resume(struct ctl_link *l);
/* True when that was sent and a later status came. */
bool ctl_link_resumed(const struct ctl_link *l);
/* Sleeps until something comes for one of the links, a signal, or the time is over; then takes a turn on
 * each. */
void ctl_links_wait(struct ctl_link *const *links, size_t count, int timeout_ms);
void ctl_link_free(struct ctl_link *l); /* NULL is fine */

#endif
