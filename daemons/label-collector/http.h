/* http.h - the HTTP door: libmicrohttpd on the reactor thread, one file descriptor to watch.
 *
 * Promises: a write is answered after the commit that holds it, and the writes that arrive together share
 * one. A client that sends slowly, never, or too much costs itself the connection and others nothing: header,
 * body, connections, time for a request and bytes held for all of them have limits. Browsers are believed
 * only when they come from this daemon's own page. Who asks is settled (access.h) before a body is read. */
#ifndef LABEL_COLLECTOR_HTTP_H
#define LABEL_COLLECTOR_HTTP_H

#include "collector.h"

struct collector_http;

/* Binds config->http and starts to answer once run. Borrows c. The error names the address: not loopback and
 * not insecure, busy, not an address. */
struct collector_http *collector_http_new(struct collector *c, struct rlhf_error *err);
const char *
collector_http_address(const struct collector_http *h); /* "http://127.0.0.1:8477", the port that was bound */
int collector_http_fd(const struct collector_http *h);  /* readable: call run */
void collector_http_run(void *http);                    /* never blocks for long */
void collector_http_free(struct collector_http *h);     /* NULL is fine */

#endif
