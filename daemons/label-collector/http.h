/* http.h - the HTTP door: libmicrohttpd on a thread of its own, requests answered on the reactor's.
 *
 * The door's thread owns the sockets: it reads requests, refuses those that need no store for that, and sends answers. The
 * reactor owns the store and everything else. A request is either's alone: it is handed over whole (mailbox.h), with its
 * connection at rest, and comes back answered. Writes that arrive while a transaction is under way wait together for the
 * next, so the slower the disk, the more of them share a sync.
 *
 * Promises: a write is answered after the commit that holds it, and the writes that arrive together share
 * one. A client that sends slowly, never, or too much costs itself the connection and others nothing: header,
 * body, connections, time for a request and bytes held for all of them have limits. Browsers are believed
 * only when they come from this daemon's own page. Who asks is settled (access.h) before a body is read. */
#ifndef LABEL_COLLECTOR_HTTP_H
#define LABEL_COLLECTOR_HTTP_H

#include "collector.h"

struct collector_http;

/* Binds config->http and starts the door; what it hands over is answered once run. Borrows c. The error names the address: not loopback and
 * not insecure, busy, not an address. */
struct collector_http *collector_http_new(struct collector *c, struct rlhf_error *err);
const char *
collector_http_address(const struct collector_http *h); /* "http://127.0.0.1:8477", the port that was bound */
int collector_http_fd(const struct collector_http *h);  /* readable: call run */
void collector_http_run(void *http);                    /* never blocks for long */
/* Answers what was handed over, then closes the door: what comes later is not answered. NULL is fine. */
void collector_http_free(struct collector_http *h);

#endif
