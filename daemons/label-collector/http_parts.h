/* http_parts.h - what the files of the HTTP door share. Private to http*.c. */
#ifndef LABEL_COLLECTOR_HTTP_PARTS_H
#define LABEL_COLLECTOR_HTTP_PARTS_H

#include <microhttpd.h>
#include <netinet/in.h>

#include "api.h"
#include "http.h"

/* ---- http_address.c: where it listens, and whom it believes ---------------------------------------- */

/* What is known of the address once it is bound. */
struct collector_site {
    char host[80], address[112]; /* "127.0.0.1"; "http://127.0.0.1:8477", the port that was bound */
    bool any_host;
    const char *public_host;            /* of public_url, behind its "//"; NULL = none */
    const struct collector_config *config;
};

/* A listening socket on config->http; fills *site. */
int collector_site_open(struct collector_site *site, struct collector *c, struct rlhf_error *err);
/* As many connections as the configuration wants and the process may have descriptors for. */
unsigned collector_connection_limit(const struct collector_config *c);

/* Whether the browser comes from a page of ours, or opens one; otherwise the answer (403) in *r. */
bool collector_site_admits(const struct collector_site *site, struct MHD_Connection *c, const char *path, const char *method,
                           struct collector_response *r);
/* For whom the connection asks: its address, or what our proxy says. */
void collector_site_client(const struct collector_site *site, struct MHD_Connection *c, char text[INET6_ADDRSTRLEN]);

static inline const char *collector_header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

#endif
