/* collector.h - a real label-collector on a free port of loopback, with a directory and a database of its own. One at a
 * time. Failures end the test. */
#ifndef SUPPORT_COLLECTOR_H
#define SUPPORT_COLLECTOR_H

#include <sys/types.h>

#include "support/http.h"

/* "http://127.0.0.1:PORT", its process, and where its files are (collector.yaml, address, labels.sock, labels.db, log). */
extern char collector_address[128], collector_directory[300];
extern pid_t collector_pid;

/* Where it is going to be: a directory that is there (NULL: a new one), and a database (NULL: labels.db in it). */
void collector_place(const char *directory, const char *database);
/* A daemon there; without a place in a new directory. settings: further lines of its configuration. */
void collector_start(const char *settings);
/* Another one on the same directory; http: the address to bind. */
void collector_start_again(const char *http, const char *settings);
void collector_stop(void); /* SIGTERM; it must end cleanly */
/* A second daemon beside it, on these settings, must not start, and say part. */
void collector_refuses(const char *settings, const char *part);

/* `label-collector token ...` on its database: the first line that it prints, in static storage for the next 16
 * calls. */
const char *collector_token(const char *arguments);

/* One request with "Authorization: Bearer token" (NULL: without) and headers ("", or lines with "\r\n"); json NULL: no
 * body. */
struct http_answer collector_ask(const char *token, const char *method, const char *target, const char *headers,
                                 const char *json);
/* The same, which must be answered with status; the body, in static storage for the next 8 calls. */
const char *collector_expect(int status, const char *token, const char *method, const char *target, const char *json);

#endif
