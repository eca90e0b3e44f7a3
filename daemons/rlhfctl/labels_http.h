/* labels_http.h - one label-collector's HTTP API, as rlhfctl's label commands use it. */
#ifndef RLHFCTL_LABELS_HTTP_H
#define RLHFCTL_LABELS_HTTP_H

#include <argp.h>
#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"

/* Where the label-collector is: what --url and --address-file say. */
struct http_where {
    const char *url, *address_file;
};
/* A command whose struct of options begins with a struct http_where has these as `children` of its parser, and hands its input on
 * with http_where_init() when it is initialised. */
extern const struct argp_child http_where_options[];
void http_where_init(struct http_where *w, struct argp_state *state);

struct http {
    CURL *curl;
    struct rlhf_bytes answer;
    FILE *to; /* instead of answer, for exports that succeed */
    char base[300];
};
/* Zero-initialise h; close it also after a failure. */
int http_open(struct http *h, const struct http_where *where, struct rlhf_error *err);
void http_close(struct http *h);

/* Appends "&key=value", escaped. */
int http_add_query(struct http *h, struct rlhf_bytes *url, const char *key, const char *value, struct rlhf_error *err);
/* One request, with the token in $RLHF_TOKEN where there is one; body NULL: GET. RLHF_AGAIN: worth another try. *status: HTTP's, 0 when nobody answered. */
int http_request(struct http *h, const char *url, const char *type, const char *body, size_t size, long *status,
                 struct rlhf_error *err);
/* Says in *err why the answer is not 2xx. Returns -1. */
int http_refused(const struct http *h, long status, struct rlhf_error *err);
/* All of it for one request, body NULL: GET. The answer's JSON, owned; NULL and *err. */
json_t *http_ask(const struct http_where *where, const char *path, const char *body, struct rlhf_error *err);

#endif
