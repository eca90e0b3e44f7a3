/* sockets.h - the transport of real daemons: ZeroMQ, one ROUTER a service, one DEALER a link.
 *
 * Every option whose default is dangerous is set here (no size limit, no heartbeat, endless linger, growing queues); see
 * reliability.md section 4. Routes: a client's is its service's index and the 4 bytes by which the ROUTER knows it; peers that
 * choose a routing id themselves are not heard. */
#ifndef RLHF_DAEMON_SOCKETS_H
#define RLHF_DAEMON_SOCKETS_H

#include <stdbool.h>

#include "daemon/keys.h"
#include "net/env.h"

struct rlhf_sockets;

/* RLHF_FATAL when the library is older than 4.3.4. */
struct rlhf_sockets *rlhf_sockets_new(struct rlhf_error *err);
struct rlhf_transport *rlhf_sockets_transport(struct rlhf_sockets *s);
/* Before the first socket: TCP under CURVE, where only those in k are admitted (ZAP) and each in its role. ipc:// stays as it is:
 * who may open the socket's file is the file system's affair. Borrows k. */
int rlhf_sockets_protect(struct rlhf_sockets *s, const struct rlhf_keys *k, struct rlhf_error *err);
/* For sockets opened from now on: a longer frame costs its sender the connection. */
void rlhf_sockets_limit(struct rlhf_sockets *s, size_t max_frame);

/* See rlhf_daemon_serve() and rlhf_daemon_link(). */
int rlhf_sockets_serve(struct rlhf_sockets *s, const char *endpoint, bool insecure, struct rlhf_error *err);
int rlhf_sockets_link(struct rlhf_sockets *s, const char *endpoint, Rlhf__V1__Role service, uint64_t *route,
                      struct rlhf_error *err);
const char *rlhf_sockets_endpoint(const struct rlhf_sockets *s); /* of the last serve */

/* One after the other: services and links, then the answerer of ZAP. */
size_t rlhf_sockets_count(const struct rlhf_sockets *s);
void *rlhf_sockets_handle(const struct rlhf_sockets *s, size_t index); /* for zmq_poll(); changes with a reset */
/* Takes up to `most` messages from one socket; true when there may be more. */
bool rlhf_sockets_receive(struct rlhf_sockets *s, size_t index, unsigned most,
                          void (*receive)(void *ctx, uint64_t route, const struct rlhf_blob *frames, size_t count),
                          void *ctx);
/* Sends what is queued for up to the linger of 1 s. NULL is fine. */
void rlhf_sockets_free(struct rlhf_sockets *s);

#endif
