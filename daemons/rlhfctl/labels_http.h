/* labels_http.h - one label-collector's HTTP API, as rlhfctl's label commands use it. */
#ifndef RLHFCTL_LABELS_HTTP_H
#define RLHFCTL_LABELS_HTTP_H

#include <curl/curl.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"

struct http {
    CURL *curl;
    struct rlhf_bytes answer;
    FILE *to; /* instead of answer, for exports that succeed */
    char base[300];
};
/* address_file NULL: url itself. Zero-initialise h; close it also after a failure. */
int http_open(struct http *h, const char *url, const char *address_file, struct rlhf_error *err);
void http_close(struct http *h);

/* Appends "&key=value", escaped. */
int http_add_query(struct http *h, struct rlhf_bytes *url, const char *key, const char *value, struct rlhf_error *err);
/* One request, with the token in $RLHF_TOKEN where there is one; body NULL: GET. RLHF_AGAIN: worth another try. *status: HTTP's, 0 when nobody answered. */
int http_request(struct http *h, const char *url, const char *type, const char *body, size_t size, long *status,
                 struct rlhf_error *err);
/* Says in *err why the answer is not 2xx. Returns -1. */
int http_refused(const struct http *h, long status, struct rlhf_error *err);

#endif
